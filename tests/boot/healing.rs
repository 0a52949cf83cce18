//! A daemon that is killed, hangs, or is restarted by hand: it is there again, and what arrived meanwhile waits for it, as far
//! as the receive buffer reaches. A client that asks all the time measures the gap.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Watch};
use crate::life::PORT_53;
use crate::machine::{Machine, wait};

const DOOR: &str = "127.0.0.1:53";

/// How long it is asked before and after.
const AROUND: Duration = Duration::from_secs(1);

const KILL: &str = "systemctl kill --kill-who=main --signal=KILL phzd.service";
const STOP: &str = "systemctl kill --kill-who=main --signal=STOP phzd.service";
const RESTART: &str = "systemctl restart phzd.service";
const UPGRADE: &str = "dpkg --install /root/phzd.deb";

/// Queries that a process may have had in hand when it was killed: what a thread receives at once.
const IN_HAND: usize = 64;

/// What a client saw.
struct Seen {
    watch: Watch,
    /// Datagrams that the kernel dropped meanwhile, for want of room.
    dropped: u64,
}

impl Seen {
    /// Nothing was answered wrong, and who was not answered was dropped by the kernel, or in the hands of who was killed.
    fn nothing_else_is_lost(&self, in_hand: usize) {
        let (sent, answered) = (self.watch.sent(), self.watch.answered());
        assert_eq!(self.watch.wrong, 0);
        assert!(
            answered as u64 + self.dropped + in_hand as u64 >= sent as u64,
            "{} of {sent} are lost",
            sent - answered
        );
    }
}

/// What a client that asks every `pause` sees while `harm` is done to phzd and is healed: until another process serves.
fn watched(machine: &Machine, pause: Duration, harm: &str) -> Seen {
    let server: SocketAddr = DOOR.parse().unwrap();
    let going = AtomicBool::new(true);
    let before = machine.main_pid();
    let dropped = machine.inside(client::dropped);
    let watch = thread::scope(|scope| {
        let watch = scope.spawn(|| machine.inside(|| client::watch(server, pause, &going)));
        thread::sleep(AROUND);
        let begin = Instant::now();
        machine.run_well(harm);
        let healed = wait(|| (![0, before].contains(&machine.main_pid())).then(|| begin.elapsed()));
        machine.wait_until("systemctl is-active phzd.service", "active");
        println!("  = {harm}: another process after {:.3?}", healed.expect("it is healed"));
        thread::sleep(AROUND);
        going.store(false, Ordering::Relaxed);
        watch.join().unwrap()
    });
    let dropped = machine.inside(client::dropped) - dropped;
    println!(
        "  = {} sent, {} answered, {} wrong, {dropped} dropped by the kernel; the longest without a reply {:.3?}, the longest \
         wait {:.3?}",
        watch.sent(),
        watch.answered(),
        watch.wrong,
        watch.gap(),
        watch.longest_wait()
    );
    Seen { watch, dropped }
}

#[test]
fn a_daemon_that_is_killed_is_started_again_and_answers_what_came_meanwhile() {
    let machine = Machine::serving();
    for pause in [10, 10, 1].map(Duration::from_millis) {
        let seen = watched(&machine, pause, KILL);
        seen.nothing_else_is_lost(IN_HAND);
        assert!(seen.watch.gap() < Duration::from_secs(8), "{:?}", seen.watch.gap());
    }
    machine.run_well("systemctl show --property NRestarts,NFileDescriptorStore phzd.service");
    assert_eq!(machine.property("NRestarts"), "3");
}

#[test]
fn a_daemon_that_hangs_is_ended_by_the_watchdog() {
    let machine = Machine::serving();
    machine.run_well("systemctl show --property WatchdogUSec phzd.service");
    let seen = watched(&machine, Duration::from_millis(10), STOP);
    seen.nothing_else_is_lost(IN_HAND);
    assert!(seen.watch.gap() < Duration::from_secs(20), "{:?}", seen.watch.gap());
    let journal = machine.run_well("journalctl --no-pager --unit phzd.service | grep -i -A4 watchdog");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
fn a_restart_by_hand_loses_nothing_nor_does_an_upgrade() {
    let machine = Machine::serving();
    for (pause, harm) in [(10, RESTART), (1, RESTART), (1, UPGRADE)] {
        watched(&machine, Duration::from_millis(pause), harm).nothing_else_is_lost(0);
    }
}

#[test]
fn with_sockets_of_systemd_all_of_it_waits() {
    let mut machine = Machine::with_phzd();
    machine.prepare("systemctl enable --quiet phzd.socket");
    machine.boot();
    machine.wait_until_private("127.0.0.1");
    machine.run_well("systemctl --no-pager status phzd.socket");
    machine.run_well("ss -nlup 'sport = :53'");
    for (harm, in_hand) in [(KILL, IN_HAND), (RESTART, 0), (UPGRADE, 0)] {
        let seen = watched(&machine, Duration::from_millis(1), harm);
        seen.nothing_else_is_lost(in_hand);
        assert_eq!(seen.dropped, 0, "the receive buffer that systemd gives holds seconds of this");
    }
    // Where phzd is stopped, the next query starts it.
    machine.run_well("systemctl stop phzd.service");
    machine.wait_until_private("127.0.0.1");
    machine.run_well("systemctl --no-pager status phzd.service");
    // And where it is removed, no query brings it back.
    machine.run_well("dpkg --purge phzd");
    assert_eq!(machine.run_well(PORT_53), "");
}
