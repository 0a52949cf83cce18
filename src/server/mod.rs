//! The door: sockets outside, the responder inside. Bytes in, bytes out; nothing here knows DNS.
//!
//! UDP is served by plain threads (`udp`), TCP by tasks (`tcp`). Queries that must wait for a resolver leave as
//! [`Waiting`](crate::way_back::Waiting); their replies do not pass here again. Sockets are given, or opened by
//! [`sockets`].

pub mod drops;
#[doc(hidden)] // for fuzz/
pub mod framing;
pub mod sockets;
mod tcp;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::resolver::Resolver;

/// How long queries that are under way when the server stops may take to finish.
const GRACE: Duration = Duration::from_millis(1500);

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
    /// ... and of these from one client address.
    pub tcp_connections_per_client: usize,
    /// How long a TCP connection may be idle, a message take to arrive, a client leave its replies unread.
    pub tcp_idle: Duration,
}

/// Serves clients on sockets.
#[derive(Debug)]
pub struct Server {
    resolver: Resolver,
    listeners: Vec<Listener>,
    limits: Limits,
}

impl Server {
    /// A server that answers what comes to `listeners` as `resolver` says.
    pub fn new(resolver: Resolver, listeners: Vec<Listener>, limits: Limits) -> Self {
        Self { resolver, listeners, limits }
    }

    /// Serves until `stop` is done, then lets what is under way finish, for at most 1.5 s. Dropped before, it stops
    /// as well, but does not wait. Needs a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// If a socket refuses an option or a thread cannot be had; nothing is served then.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let Self { resolver, listeners, limits } = self;
        let (closing, open) = watch::channel(false);
        let connections = Arc::new(tcp::Connections::new(&resolver, limits));
        let mut threads = Threads::default();
        let mut acceptors = Vec::new();
        for Listener { udp, tcp } in listeners {
            threads.start(udp, limits, &resolver)?;
            if let Some(tcp) = tcp {
                tcp.set_nonblocking(true)?;
                acceptors.push(tokio::net::TcpListener::from_std(tcp)?);
            }
        }
        for acceptor in acceptors {
            tokio::spawn(tcp::accept(acceptor, Arc::clone(&connections), open.clone()));
        }
        drop(open);

        stop.await;
        let end = Instant::now() + GRACE;
        closing.send_replace(true);
        threads.stop.store(true, Relaxed);
        let ended = std::mem::take(&mut threads.running);
        let joined = tokio::task::spawn_blocking(|| ended.into_iter().for_each(|thread| drop(thread.join())));
        // Each of these ends by itself; the limit is for one that does not.
        let _ = timeout_at(end, joined).await;
        while resolver.in_flight() > 0 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        let _ = timeout_at(end + Duration::from_millis(100), closing.closed()).await;
        Ok(())
    }
}

/// The UDP threads, which stop when this is dropped.
#[derive(Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Starts the threads of one address, at least one for each of its sockets.
    fn start(&mut self, sockets: Vec<UdpSocket>, limits: Limits, resolver: &Resolver) -> io::Result<()> {
        let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
        let count = limits.udp_threads.max(sockets.len());
        sockets.iter().for_each(|socket| udp::poll_busily(socket, limits.busy_poll));
        let cores = if limits.pin_threads { udp::cores() } else { Vec::new() };
        for socket in sockets.iter().cycle().take(count) {
            // Over all addresses, so that those of the next one do not begin with the same cores.
            let nth = self.running.len();
            // Linux shows 15 octets of a thread's name.
            let name = format!("udp-{nth}");
            let core = cores.get(nth % cores.len().max(1)).copied();
            let (socket, stop) = (Arc::clone(socket), Arc::clone(&self.stop));
            self.running.push(udp::spawn(name, core, socket, resolver.clone(), stop)?);
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
