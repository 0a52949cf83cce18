//! The watchdog: the service manager is told that phzd lives for as long as it does (WatchdogSec=).
//!
//! Apart from what it watches. It is a thread of its own, so that it goes on whatever stands still; and it says nothing
//! good of a program whose threads move on, but that does not answer.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, info};

use phzd::config::Machine;
use phzd::pulse::{Pulses, Watch};

use crate::listening::Listening;

/// Rounds in the time that the service manager waits.
const ROUNDS: u32 = 8;
/// A query that needs no resolver, and that no zone decides, which might have it dropped: for a TXT record of the root in
/// class CH, whose answer is REFUSED. Before it comes its id.
const QUERY: [u8; 15] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 3];

/// Starts the watchdog, if the service manager wants one.
///
/// # Errors
/// No thread could be had.
pub fn start(pulses: Pulses, listening: Arc<Listening>) -> io::Result<()> {
    let Some(time) = sd_notify::watchdog_enabled() else { return Ok(()) };
    thread::Builder::new().name("watchdog".into()).spawn(move || watch(time, pulses, &listening))?;
    Ok(())
}

/// The thread.
fn watch(time: Duration, pulses: Pulses, listening: &Listening) {
    let (round, patience) = (time / ROUNDS, time / 2);
    let mut dog = Dog { watch: Watch::new(pulses), answered: Instant::now(), drops: 0 };
    let mut said = None;
    loop {
        let began = Instant::now();
        let found = dog.look(listening, patience, round);
        if found.is_none() {
            super::tell(&[NotifyState::Watchdog]);
        }
        // A fault is said when it is found, and when it is over: not with every look.
        match &found {
            _ if found == said => {}
            None => info!("the watchdog is content again"),
            Some(fault) => error!(
                "{fault} for {} ms: unless that changes, the service manager ends phzd and starts it again",
                patience.as_millis()
            ),
        }
        said = found;
        thread::sleep(round.saturating_sub(began.elapsed()));
    }
}

/// What is wrong.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// These do not move.
    Still(Vec<String>),
    /// Queries to these addresses are not answered.
    Silent(Vec<SocketAddr>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Still(who) => write!(f, "no sign of life from {}", who.join(", ")),
            Self::Silent(doors) => {
                let doors: Vec<_> = doors.iter().map(ToString::to_string).collect();
                write!(f, "no answer to a query at {}", doors.join(", "))
            }
        }
    }
}

/// What the watchdog knows.
struct Dog {
    watch: Watch,
    /// When a query was answered last, or need not have been.
    answered: Instant,
    /// Datagrams that the kernel had dropped by then.
    drops: u64,
}

impl Dog {
    /// Looks whether all threads have moved, and a query was answered, within `patience`.
    fn look(&mut self, listening: &Listening, patience: Duration, wait: Duration) -> Option<Fault> {
        let still = self.watch.still(patience, Instant::now());
        let doors: Vec<_> = listening.addresses().into_iter().filter_map(|address| Door::to(address).ok()).collect();
        let drops = listening.drops().values().sum();
        // Where the kernel drops what comes, ours may be among it: too much to do is no fault, and a restart no help.
        let excused = doors.is_empty() || drops > self.drops;
        self.drops = drops;
        if excused || doors.iter().any(|door| door.answers(wait)) {
            self.answered = Instant::now();
        }
        if !still.is_empty() {
            return Some(Fault::Still(still));
        }
        let silent = self.answered.elapsed() > patience;
        silent.then(|| Fault::Silent(doors.iter().map(|door| door.address).collect()))
    }
}

/// An address that can be asked without a packet leaving this host.
struct Door {
    address: SocketAddr,
    socket: UdpSocket,
}

impl Door {
    /// # Errors
    /// An address that this host does not have yet: who has it may be another, who is not to be asked.
    fn to(listened: SocketAddr) -> io::Result<Self> {
        let ip = match listened.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, listened.port());
        if !ip.is_loopback() && !Machine::here().addresses.contains(&ip) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
        socket.connect(address)?;
        Ok(Self { address, socket })
    }

    /// Whether a query is answered in time, whatever is said.
    fn answers(&self, wait: Duration) -> bool {
        let id: [u8; 2] = rand::random();
        let query = [&id[..], &QUERY].concat();
        let mut reply = [0; 512];
        let asked = self.socket.set_read_timeout(Some(wait)).and_then(|()| self.socket.send(&query));
        let answered = asked.and_then(|_| self.socket.recv(&mut reply));
        answered.is_ok_and(|length| length >= 12 && reply[..2] == id && reply[2] & 0x80 != 0)
    }
}
