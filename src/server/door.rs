//! One listen address that is served: its UDP threads, and the task that accepts its connections.
//!
//! Apart from the server, which has many of them: each is opened and closed by itself, while the others go on.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use socket2::{Socket, Type};
use tokio::sync::watch;

use super::{Limits, Listener, tcp, udp};
use crate::resolver::Resolver;

/// An open door. Dropped, it closes without waiting.
#[derive(Debug)]
pub(super) struct Door {
    address: Option<SocketAddr>,
    threads: Threads,
    /// Its sockets once more: what they share is set while others use them.
    sockets: Vec<Socket>,
    /// Tells the door's connections, and who accepts them, to end.
    closing: Arc<watch::Sender<bool>>,
}

impl Door {
    /// Serves what comes to `listener`. `started` counts the threads of all doors. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If a socket refuses an option or a thread cannot be had.
    pub fn open(
        Listener { udp, tcp }: Listener,
        limits: Limits,
        started: &mut usize,
        resolver: &Resolver,
        connections: &Arc<tcp::Connections>,
    ) -> io::Result<Self> {
        let first = udp.first().map(UdpSocket::local_addr).or_else(|| tcp.as_ref().map(TcpListener::local_addr));
        let address = first.transpose()?;
        let sockets = udp.iter().map(UdpSocket::try_clone).map(|socket| socket.map(Socket::from));
        let sockets = sockets.chain(tcp.iter().map(TcpListener::try_clone).map(|socket| socket.map(Socket::from)));
        let sockets = sockets.collect::<io::Result<_>>()?;
        let acceptor = tcp.map(|tcp| tcp.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(tcp)));
        let acceptor = acceptor.transpose()?;
        let mut threads = Threads::default();
        threads.start(udp, limits, started, resolver)?;
        let (closing, open) = watch::channel(false);
        if let Some(acceptor) = acceptor {
            tokio::spawn(tcp::accept(acceptor, Arc::clone(connections), open));
        }
        Ok(Self { address, threads, sockets, closing: Arc::new(closing) })
    }

    /// The address, if it has a socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Told once all connections have ended.
    pub fn connections(&self) -> Arc<watch::Sender<bool>> {
        Arc::clone(&self.closing)
    }

    /// Lets others have the port as well, on addresses that overlap with this one.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn share(&self) -> io::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.set_reuse_port(true))
    }

    /// Has the kernel give what arrives from now on to others, where others have the port, and turn it away where nobody has.
    /// What has arrived stays: without this, a datagram could come between the last look and the end of the socket.
    pub fn turn_away(&self) {
        let datagrams = self.sockets.iter().filter(|socket| socket.r#type().is_ok_and(|kind| kind == Type::DGRAM));
        for socket in datagrams {
            // A connected socket takes what its peer sends; it is its own, who sends nothing. If that cannot be had, only the
            // moment is lost that it would save.
            let _ = socket.local_addr().and_then(|own| socket.connect(&own));
            // A query that waits may keep it for a while, and must not keep the address.
            let _ = socket.set_reuse_port(true);
        }
    }

    /// Takes nothing new.
    pub fn begin_to_close(&self) {
        self.closing.send_replace(true);
        self.threads.stop.store(true, Relaxed);
    }

    /// Closes, once what has come as datagrams is answered or handed on.
    pub fn close(mut self) {
        self.begin_to_close();
        std::mem::take(&mut self.threads.running).into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// The UDP threads, which stop when this is dropped.
#[derive(Debug, Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Starts at least one thread for each of the sockets.
    fn start(
        &mut self,
        sockets: Vec<UdpSocket>,
        limits: Limits,
        started: &mut usize,
        resolver: &Resolver,
    ) -> io::Result<()> {
        let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
        let count = limits.udp_threads.max(sockets.len());
        sockets.iter().for_each(|socket| udp::poll_busily(socket, limits.busy_poll));
        let cores = if limits.pin_threads { udp::cores() } else { Vec::new() };
        for socket in sockets.iter().cycle().take(count) {
            // Over all addresses, so that those of the next one do not begin with the same cores.
            let nth = *started;
            *started += 1;
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
