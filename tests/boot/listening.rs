//! Listen addresses that are not there yet when the machine boots.

use std::thread;
use std::time::Duration;

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
    assert_eq!(machine.run_well(&format!("ip netns exec vpc {}", ask.replace("dig ", "true ")) ).trim(), "");
    assert_eq!(machine.main_pid(), before, "without a restart");
}
