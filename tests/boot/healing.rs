//! A daemon that is killed or hangs is healed, and what clients see of it: one that asks every 10 ms measures the gap.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Watch};
use crate::machine::{Machine, Side, wait};

const DOOR: &str = "127.0.0.1:53";

/// How long it is asked before and after.
const AROUND: Duration = Duration::from_secs(1);

/// What a client that asks every 10 ms sees while `harm` is done to phzd and is healed: until another process serves. And
/// how many datagrams the kernel dropped.
fn watched(machine: &Machine, harm: &str) -> (Watch, u64) {
    let server: SocketAddr = DOOR.parse().unwrap();
    let going = AtomicBool::new(true);
    let before = machine.main_pid();
    let dropped = machine.inside(Side::Inside, client::dropped);
    let watch = thread::scope(|scope| {
        let watch =
            scope.spawn(|| machine.inside(Side::Inside, || client::watch(server, Duration::from_millis(10), &going)));
        thread::sleep(AROUND);
        machine.run(harm);
        let begin = Instant::now();
        let healed = wait(|| (![0, before].contains(&machine.main_pid())).then(|| begin.elapsed()));
        machine.wait_until("systemctl is-active phzd.service", "active");
        thread::sleep(AROUND);
        going.store(false, Ordering::Relaxed);
        let watch = watch.join().unwrap();
        println!("    another process after {healed:.3?}");
        assert!(healed.is_some(), "it was not healed");
        watch
    });
    let dropped = machine.inside(Side::Inside, client::dropped) - dropped;
    println!(
        "    {} sent, {} answered, {} wrong, the longest without a reply {:.3?}, the longest wait {:.3?}, \
         {dropped} dropped by the kernel",
        watch.sent(),
        watch.answered(),
        watch.wrong,
        watch.gap(),
        watch.longest_wait()
    );
    (watch, dropped)
}

#[test]
fn a_daemon_that_is_killed_is_started_again() {
    let machine = Machine::serving();
    for _ in 0..3 {
        let (watch, _) = watched(&machine, "systemctl kill --kill-who=main --signal=KILL phzd.service");
        assert_eq!(watch.wrong, 0);
        assert!(watch.gap() < Duration::from_secs(5), "{:?}", watch.gap());
    }
    machine.run_well("systemctl show --property NRestarts phzd.service");
    assert_eq!(machine.property("NRestarts"), "3");
}
