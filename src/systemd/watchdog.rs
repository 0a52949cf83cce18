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

/// The watchdog, which ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    _held: Arc<()>,
}

impl Watchdog {
    /// Starts it, if the service manager wants one.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(pulses: Pulses, listening: Arc<Listening>) -> io::Result<Self> {
        let held = Arc::new(());
        if let Some(time) = sd_notify::watchdog_enabled() {
            let wanted = Arc::downgrade(&held);
            let watching = move || watch(time, pulses, &listening, || wanted.strong_count() > 0);
            thread::Builder::new().name("watchdog".into()).spawn(watching)?;
        }
        Ok(Self { _held: held })
    }
}

/// The thread.
fn watch(time: Duration, pulses: Pulses, listening: &Listening, wanted: impl Fn() -> bool) {
    let (round, patience) = (time / ROUNDS, time / 2);
    let mut dog = Dog { watch: Watch::new(pulses), answered: Instant::now(), drops: 0 };
    let mut said = None;
    while wanted() {
        let began = Instant::now();
        let found = dog.look(listening, patience, round);
        if found.is_none() {
            super::tell(&[NotifyState::Watchdog]);
        }
        // A fault is said when it is found, and when it is over: not with every look.
        match &found {
            _ if found == said || !wanted() => {}
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
        let own = Machine::here().addresses;
        let doors: Vec<_> = listening.addresses().into_iter().filter_map(|address| askable(address, &own)).collect();
        let drops = listening.drops().values().sum();
        // Where the kernel drops what comes, ours may be among it: too much to do is no fault, and a restart no help.
        let excused = doors.is_empty() || drops > self.drops;
        self.drops = drops;
        if excused || doors.iter().any(|door| answers(*door, wait).unwrap_or(true)) {
            self.answered = Instant::now();
        }
        if !still.is_empty() {
            return Some(Fault::Still(still));
        }
        let silent = self.answered.elapsed() > patience;
        silent.then_some(Fault::Silent(doors))
    }
}

/// Where a query can be sent for `listened` without a packet leaving this host: none where `own` does not have the address
/// yet. Who has it may be another, who is not to be asked. And none for a link-local address: from there no reply finds its way
/// to loopback.
fn askable(listened: SocketAddr, own: &[IpAddr]) -> Option<SocketAddr> {
    let ip = match listened.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (ip.is_loopback() || own.contains(&ip) && !link_local).then(|| SocketAddr::new(ip, listened.port()))
}

/// Whether a query is answered in time, whatever is said. It comes from loopback, which no limit for clients is for.
///
/// # Errors
/// It could not be asked, for want of files or memory perhaps: that says nothing of who would have answered.
fn answers(address: SocketAddr, wait: Duration) -> io::Result<bool> {
    let here: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let socket = UdpSocket::bind((here, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(wait))?;
    let id: [u8; 2] = rand::random();
    socket.send(&[&id[..], &QUERY].concat())?;
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).unwrap_or(0);
    Ok(length >= 12 && reply[..2] == id && reply[2] & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_no_interface_and_is_of_this_host_is_asked() {
        let own: Vec<IpAddr> = ["10.0.0.1", "fd00::1", "fe80::1"].map(|ip| ip.parse().unwrap()).into();
        let asked = |listened: &str| askable(listened.parse().unwrap(), &own).map(|address| address.to_string());
        assert_eq!(asked("0.0.0.0:53").as_deref(), Some("127.0.0.1:53"));
        assert_eq!(asked("[::]:53").as_deref(), Some("[::1]:53"));
        assert_eq!(asked("10.0.0.1:53").as_deref(), Some("10.0.0.1:53"));
        assert_eq!(asked("[fd00::1]:53").as_deref(), Some("[fd00::1]:53"));
        assert_eq!((asked("10.0.0.2:53"), asked("[fe80::1%2]:53")), (None, None));
    }

    #[test]
    fn silence_is_not_the_same_as_a_query_that_could_not_be_sent() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wait = Duration::from_millis(10);
        assert!(!answers(silent.local_addr().unwrap(), wait).unwrap());
        // No interface is named.
        assert!(answers("[fe80::1]:53".parse().unwrap(), wait).is_err());
        let gone = silent.local_addr().unwrap();
        drop(silent);
        assert!(!answers(gone, wait).unwrap());
    }
}
