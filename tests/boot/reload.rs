//! Reloads: under load without a loss, and with a mistake in the configuration without an end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{self, Loaded};
use crate::machine::{BUCKET, Machine, PRIVATE};

const DOOR: &str = "127.0.0.1:53";

/// For how long it is asked 20,000 times a second, with reloads and without.
const SECONDS: u64 = 6;

fn load(machine: &Machine) -> Loaded {
    let server: SocketAddr = DOOR.parse().unwrap();
    machine.inside(|| client::load(server, SECONDS)).unwrap()
}

#[test]
fn reloads_under_load_lose_nothing() {
    // With sockets of systemd there is room for half a second of this, so that the machine's other work does not show.
    let mut machine = Machine::with_phzd();
    machine.prepare("systemctl enable --quiet phzd.socket");
    machine.boot();
    machine.wait_until_private("127.0.0.1");
    let quiet = load(&machine);
    println!("  = without a reload: {quiet:?}");

    let going = AtomicBool::new(true);
    let (loaded, reloads) = thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let mut reloads = 0;
            while going.load(Ordering::Relaxed) {
                let said = machine.run_unseen("systemctl reload phzd.service");
                assert_eq!(said.code, 0, "{}", said.text);
                reloads += 1;
                thread::sleep(Duration::from_millis(300));
            }
            reloads
        });
        let loaded = load(&machine);
        going.store(false, Ordering::Relaxed);
        (loaded, reloading.join().unwrap())
    });
    println!("  = with {reloads} reloads: {loaded:?}");
    assert!(reloads >= 5, "{reloads} reloads");
    // What is lost the kernel has dropped for want of room, as it does without a reload where others keep the processors
    // busy.
    for loaded in [quiet, loaded] {
        assert!(loaded.lost as u64 <= loaded.dropped, "{loaded:?}");
        assert!(loaded.lost * 10 < loaded.sent, "{loaded:?}");
    }
}

#[test]
fn a_mistake_fails_the_reload_says_where_and_the_old_policy_serves_on() {
    let machine = Machine::serving();
    let before = machine.main_pid();
    machine.configure("[[bucket]]\nnames = [\"yyyyy-bucket\"]\nendpoint = \"s4\"\nallow = [\"private-a\"]\n");
    let line = machine.run_unseen("grep -n s4 /etc/phzd/phzd.toml | cut -d: -f1").text.trim().to_owned();
    let place = format!("/etc/phzd/phzd.toml:{line}:12: error:");

    let said = machine.run("systemctl reload phzd.service");
    assert_ne!(said.code, 0);
    assert!(said.text.contains("journalctl"), "it says where to look: {}", said.text);
    let status = machine.run("systemctl status --no-pager --lines=30 --full phzd.service");
    assert!(status.text.contains(&place), "{place} is not in systemctl status");
    assert!(status.text.contains("active (running)"));
    let journal = machine.run_unseen("journalctl --no-pager --unit phzd.service").text;
    assert!(journal.contains(&place));
    assert_eq!(machine.main_pid(), before);
    assert_eq!(machine.run_well(&format!("dig @127.0.0.1 +short {BUCKET}")).trim(), PRIVATE);

    machine.configure("[[bucket]]\nnames = [\"yyyyy-bucket\"]\nendpoint = \"s3\"\nallow = [\"private-a\"]\n");
    machine.run_well("systemctl reload phzd.service");
    let other = BUCKET.replace("xxxxx", "yyyyy");
    machine.wait_until(&format!("dig @127.0.0.1 +short {other}"), PRIVATE);
    machine.run_well(&format!("dig @127.0.0.1 +short {other}"));
    assert_eq!(machine.main_pid(), before);
}
