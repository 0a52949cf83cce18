//! The door: sockets outside, the responder inside. Bytes in, bytes out; nothing here knows DNS.
//!
//! UDP is served by plain threads (`udp`), TCP by tasks (`tcp`). Queries that must wait for a resolver leave as
//! [`Waiting`] and come back through [`Door`]. Sockets are given, or opened by [`sockets`].

mod datagrams;
mod door;
pub mod sockets;
mod tcp;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};

pub use self::datagrams::Asked;
pub use self::door::Door;
use crate::resolver::Resolver;
use crate::responder::Pending;

/// How long queries that are under way when the server stops may take to finish.
const GRACE: Duration = Duration::from_millis(1500);

/// A query that waits for a resolver, and the way back to who asked.
#[derive(Debug)]
pub struct Waiting {
    /// The query.
    pub pending: Pending,
    /// Where its reply goes.
    pub way_back: WayBack,
}

/// Where a reply goes.
#[derive(Debug)]
pub enum WayBack {
    /// To the client, as a datagram.
    Udp {
        /// The socket that received the query.
        socket: Arc<UdpSocket>,
        /// The address that was asked, where the socket is bound to none.
        asked: Option<Asked>,
    },
    /// Onto the client's connection: a place in its queue, held since the query came, so that the reply always fits.
    Tcp(mpsc::OwnedPermit<Vec<u8>>),
    /// To a caller of [`Resolver::resolve`](crate::resolver::Resolver::resolve).
    Caller(oneshot::Sender<Vec<u8>>),
}

impl WayBack {
    /// The socket, if the reply is a datagram.
    fn socket(&self) -> Option<&Arc<UdpSocket>> {
        match self {
            Self::Udp { socket, .. } => Some(socket),
            Self::Tcp(_) | Self::Caller(_) => None,
        }
    }
}

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
            threads.start(udp, limits.udp_threads, &resolver)?;
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
    /// Starts `count` threads on the sockets of one address, at least one for each.
    fn start(&mut self, sockets: Vec<UdpSocket>, count: usize, resolver: &Resolver) -> io::Result<()> {
        let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
        let count = count.max(sockets.len());
        for socket in sockets.iter().cycle().take(count) {
            // Linux shows 15 octets of a thread's name.
            let name = format!("udp-{}", self.running.len());
            self.running.push(udp::spawn(name, Arc::clone(socket), resolver.clone(), Arc::clone(&self.stop))?);
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Does the work for one query. A panic costs this query its reply, and nobody else anything: not the thread, not the
/// rest of the batch. What is shared with other threads sees to itself (a lock left by a panic is taken over).
fn shielded<T>(work: impl FnOnce() -> T) -> Option<T> {
    static SAID: Once = Once::new();
    catch_unwind(AssertUnwindSafe(work))
        .inspect_err(|_| SAID.call_once(|| tracing::error!("a query made the responder panic: please report it")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_only_the_query_that_made_it() {
        assert_eq!(shielded(|| 1), Some(1));
        assert_eq!(shielded(|| panic!("as a query might make it")), None::<u8>);
        assert_eq!(shielded(|| 2), Some(2));
    }
}
