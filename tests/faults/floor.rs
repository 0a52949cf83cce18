//! What the machine itself costs while a row runs: a bare echo on the program's core, asked from the clients' core.
//!
//! A promise of half a millisecond says nothing about a program while the cores are somebody else's.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;

use crate::cores::{Cores, stay_on};
use crate::echo;
use crate::lab::{Host, Lab, Outcome};

/// A core is one's own while the echo's p99 is below this.
pub const QUIET: f64 = 0.25;

/// Between two questions to the echo. A disturbance that matters lasts longer or comes often.
const INTERVAL: Duration = Duration::from_millis(7);

/// How long an answer of the echo may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does `work`. Returns what it did, and the echo's p99 meanwhile, in milliseconds.
pub fn beside<T>(lab: &Lab, work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    let core = Cores::of_this_run()?.program;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
    let (server, client) =
        lab.inside(Host::Forwarder, || (echo::door(at), UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))))?;
    let ((server, _), client) = (server?, client?);
    // So that it looks whether it shall end.
    server.set_read_timeout(Some(Duration::from_millis(50)))?;
    client.connect(at)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let end = AtomicBool::new(false);
    let (done, trips) = thread::scope(|scope| {
        scope.spawn(|| {
            // If it cannot, it is disturbed less than the program.
            let _ = stay_on(core);
            while !end.load(Ordering::Relaxed) {
                echo::serve(&server, echo::echo);
            }
        });
        let trips = scope.spawn(|| round_trips(&client, &end));
        let done = work();
        end.store(true, Ordering::Relaxed);
        (done, trips.join())
    });
    let mut trips = trips.map_err(|_| "the echo's client panicked")?;
    trips.sort_unstable();
    let p99 = trips.get((trips.len() * 99).div_ceil(100).saturating_sub(1));
    Ok((done?, p99.map_or(f64::NAN, |trip| trip.as_secs_f64() * 1e3)))
}

/// Asks the echo until the `end`, at set times as the other clients do.
fn round_trips(client: &UdpSocket, end: &AtomicBool) -> Vec<Duration> {
    let _ = set_timerslack(1);
    let (mut trips, mut due) = (Vec::new(), Instant::now());
    let mut packet = [0; 64];
    while !end.load(Ordering::Relaxed) {
        due += INTERVAL;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // One that is lost took all the patience.
        let _ = client.send(&packet);
        let _ = client.recv(&mut packet);
        packet = [0; 64];
        trips.push(due.elapsed());
    }
    trips
}
