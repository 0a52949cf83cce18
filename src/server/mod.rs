//! The door: sockets outside, the responder inside. Bytes in, bytes out; nothing here knows DNS.
//!
//! UDP is served by plain threads (`udp`), TCP by tasks (`tcp`). Queries that must wait for a resolver leave as
//! [`Waiting`](crate::way_back::Waiting); their replies do not pass here again. Sockets are given, or opened by
//! [`sockets`].

mod census;
mod door;
pub mod drops;
#[doc(hidden)] // for fuzz/
pub mod framing;
pub mod sockets;
mod tcp;
mod udp;

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::limits::Prefixes;
use crate::resolver::Resolver;
use door::Door;
pub use tcp::UNDER_WAY;

/// How long queries that are under way when the server stops may take to finish.
const GRACE: Duration = Duration::from_millis(1500);
/// How much longer connections may take to write what came at the last moment; how long their clients have to take it.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The sockets of one listen address, opened by [`sockets::open`] or inherited.
#[derive(Debug, Default)]
pub struct Listener {
    /// Every one is read; with more threads than sockets, a socket is read by several.
    pub udp: Vec<UdpSocket>,
    /// TCP, unless it is not served here.
    pub tcp: Option<TcpListener>,
}

impl Listener {
    /// The address that the sockets are bound to, if there is a socket.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match (self.udp.first(), &self.tcp) {
            (Some(udp), _) => udp.local_addr(),
            (None, Some(tcp)) => tcp.local_addr(),
            (None, None) => Err(io::Error::new(io::ErrorKind::NotFound, "a listener without sockets")),
        }
    }
}

/// How much the server takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Threads per listen address for UDP; each socket has at least one.
    pub udp_threads: usize,
    /// Each of these stays on a core of its own, as far as there are cores.
    pub pin_threads: bool,
    /// How long the kernel polls the network card for a datagram before it lets a thread sleep (SO_BUSY_POLL).
    pub busy_poll: Duration,
    /// TCP connections at a time, ...
    pub tcp_connections: usize,
    /// ... and of these of one client, ...
    pub tcp_connections_per_client: usize,
    /// ... who is so many addresses.
    pub prefixes: Prefixes,
    /// How long a TCP connection may be idle, a message take to arrive, a client leave its replies unread.
    pub tcp_idle: Duration,
}

/// Serves clients on sockets. Listen addresses come and go while it runs.
#[derive(Debug)]
pub struct Server {
    resolver: Resolver,
    connections: Arc<tcp::Connections>,
    runtime: Handle,
    open: Mutex<Open>,
}

/// What is open at the moment.
#[derive(Debug)]
struct Open {
    doors: Vec<Door>,
    limits: Limits,
    /// UDP threads that were ever started: each has a number of its own.
    threads: usize,
    /// Addresses that were closed. A query that waits for a resolver keeps the socket it came by until it is answered.
    closed: BTreeSet<SocketAddr>,
}

impl Server {
    /// Answers what comes to `listeners` as `resolver` says, until it is stopped or dropped. Needs a tokio runtime with time
    /// and I/O around it, for TCP.
    ///
    /// # Errors
    /// If a socket refuses an option or a thread cannot be had; nothing is served then.
    pub fn start(resolver: Resolver, listeners: Vec<Listener>, limits: Limits) -> io::Result<Self> {
        let connections = Arc::new(tcp::Connections::new(&resolver, limits));
        let open = Mutex::new(Open { doors: Vec::new(), limits, threads: 0, closed: BTreeSet::new() });
        let server = Self { resolver, connections, runtime: Handle::current(), open };
        listeners.into_iter().try_for_each(|listener| server.open(listener))?;
        Ok(server)
    }

    /// Serves one more address.
    ///
    /// # Errors
    /// As [`Server::start`]; all else is served as before.
    pub fn open(&self, listener: Listener) -> io::Result<()> {
        let mut open = self.opened();
        let Open { doors, limits, threads, .. } = &mut *open;
        // Accepting needs the runtime, wherever this is called from.
        let _inside = self.runtime.enter();
        doors.push(Door::open(listener, *limits, threads, &self.resolver, &self.connections)?);
        Ok(())
    }

    /// Lets [`sockets::open_beside`] have `address`, where what is served or was closed of late is in its way; whether something
    /// may be.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn share(&self, address: SocketAddr) -> io::Result<bool> {
        let open = self.opened();
        let in_the_way = |door: &&Door| door.address().is_some_and(|other| sockets::overlap(other, address));
        let mut shared = open.doors.iter().filter(in_the_way).map(Door::share).peekable();
        let some = shared.peek().is_some() || open.closed.iter().any(|other| sockets::overlap(*other, address));
        shared.collect::<io::Result<()>>().map(|()| some)
    }

    /// Serves an address no longer; whether it did. What has come there already is answered, which is waited for.
    pub fn close(&self, address: SocketAddr) -> bool {
        let closed = {
            let mut open = self.opened();
            let nth = open.doors.iter().position(|door| door.address() == Some(address));
            open.closed.extend(nth.map(|_| address));
            nth.map(|nth| open.doors.remove(nth))
        };
        closed.is_some_and(|door| {
            door.turn_away();
            door.close();
            true
        })
    }

    /// From now on, TCP clients are bounded as these say, and threads that are started later run so; what runs stays as it is.
    pub fn limit(&self, limits: Limits) {
        self.opened().limits = limits;
        self.connections.limit(limits);
    }

    /// Serves until `stop` is done, then stops.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        stop.await;
        self.stop().await;
    }

    /// Takes no more queries, and lets what is under way finish, for at most 1.5 s.
    pub async fn stop(&self) {
        let end = Instant::now() + GRACE;
        let doors = std::mem::take(&mut self.opened().doors);
        // All at once; each of their threads ends by itself, and the limit is for one that does not.
        doors.iter().for_each(Door::begin_to_close);
        let connections = doors.iter().map(Door::connections).collect::<Vec<_>>();
        let closed = tokio::task::spawn_blocking(|| doors.into_iter().for_each(Door::close));
        let _ = tokio::time::timeout_at(end, closed).await;
        while self.resolver.in_flight() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        for connections in connections {
            let _ = tokio::time::timeout_at(end + LAST_WORDS, connections.closed()).await;
        }
    }

    /// What is open, also after a panic of another holder: each change is complete at each step.
    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
