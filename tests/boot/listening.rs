//! Listen addresses that are not there yet when the machine boots.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client;
use crate::machine::{BUCKET, Machine, PRIVATE};

#[test]
fn an_address_that_comes_ten_seconds_after_the_boot_is_served_then() {
    let mut machine = Machine::with_phzd();
    machine.configure("[server]\nlisten = [\"127.0.0.1:53\", \"172.31.1.77:53\"]\n");
    machine.boot();
    machine.wait_until_private("127.0.0.1");
    let before = machine.main_pid();
    let ask = format!("dig @172.31.1.77 +short +tries=1 +timeout=1 {BUCKET}");
    assert_ne!(machine.run(&ask).code, 0, "the address is nobody's");
    thread::sleep(Duration::from_secs(10));
    machine.run_well("ip address add 172.31.1.77/24 dev ens5");
    machine.wait_until(&ask, PRIVATE);
    machine.run_well(&ask);
    assert_eq!(machine.run_well(&format!("{ask} +tcp")).trim(), PRIVATE);
    // And for the other hosts of the subnet.
    machine.write("etc/netns/vpc/resolv.conf", "nameserver 172.31.1.77\n");
    let said = machine.run_well(&format!("ip netns exec vpc getent --service hosts:dns ahostsv4 {BUCKET}"));
    assert!(said.starts_with(PRIVATE));
    assert_eq!(machine.main_pid(), before, "without a restart");
}

#[test]
fn a_reload_opens_and_closes_addresses_of_port_53() {
    let machine = Machine::serving();
    let (before, ask) = (machine.main_pid(), format!("dig @127.0.0.2 +short +tries=1 +timeout=1 {BUCKET}"));
    machine.configure("[server]\nlisten = [\"127.0.0.1:53\", \"127.0.0.2:53\"]\n");
    machine.run_well("systemctl reload phzd.service");
    assert_eq!(machine.run_well(&ask).trim(), PRIVATE);
    assert_eq!(machine.run_well(&format!("{ask} +tcp")).trim(), PRIVATE);
    machine.run_well("systemctl --no-pager status phzd.service");
    // The new one is kept over a restart like the first.
    machine.run_well("systemctl restart phzd.service");
    assert_eq!(machine.run_well(&ask).trim(), PRIVATE);
    assert_ne!(machine.main_pid(), before);

    let before = machine.main_pid();
    machine.configure("");
    machine.run_well("systemctl reload phzd.service");
    assert_ne!(machine.run(&ask).code, 0, "nobody is there now");
    assert_eq!(machine.run_well("ss -Hlntu 'src 127.0.0.2'"), "", "nor does the service manager keep what is closed");
    assert_eq!(machine.run_well(&format!("dig @127.0.0.1 +short {BUCKET}")).trim(), PRIVATE);
    assert_eq!(machine.main_pid(), before);
}

#[test]
fn while_the_host_has_no_address_yet_nobody_is_told_the_public_one() {
    let mut machine = Machine::with_phzd();
    // An address comes from DHCP, and that comes late: long after phzd, whose programs ask all the time.
    machine.prepare("systemctl --quiet disable vpc-dhcp.service");
    machine.boot();
    machine.run_well("systemctl is-active phzd.service");
    let server = "127.0.0.1:53".parse().unwrap();
    let going = AtomicBool::new(true);
    let watch = thread::scope(|scope| {
        let watch = scope.spawn(|| machine.inside(|| client::watch(server, Duration::from_millis(10), &going)));
        thread::sleep(Duration::from_secs(2));
        machine.run_well("systemctl start vpc-dhcp.service");
        machine.wait_until_private("127.0.0.1");
        thread::sleep(Duration::from_secs(1));
        going.store(false, Ordering::Relaxed);
        watch.join().unwrap()
    });
    println!(
        "  = {} questions from the boot on: {} private, {} public, {} failures, the rest unanswered",
        watch.sent(),
        watch.answered(),
        watch.public,
        watch.wrong - watch.public
    );
    assert!(watch.answered() > 0);
    assert!(watch.public <= 6, "{} within 50 ms of its address, one every 10 ms", watch.public);
}
