//! Sockets that phzd is given when it starts: of a socket unit, or its own that were kept over a restart.
//!
//! Apart from opening sockets, because here it is not phzd that chose them: each must be served, or said to be a mistake. A
//! socket that nobody reads swallows the queries of those who ask there.

use std::env;
use std::error::Error;
use std::fmt;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use tracing::warn;

use super::KEPT;
use phzd::server::Listener;

/// Sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Given>);

/// One socket, and what it is called.
#[derive(Debug)]
struct Given {
    name: String,
    address: SocketAddr,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Given {
    /// phzd opened it itself, before it was started again.
    fn was_kept(&self) -> bool {
        self.name.starts_with(KEPT)
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if matches!(self.socket, Socket::Udp(_)) { "UDP" } else { "TCP" };
        write!(f, "{} ({protocol}, of {})", self.address, self.name)
    }
}

impl Inherited {
    /// What this process was given. To be called once, before it has threads, since it changes the environment.
    ///
    /// # Errors
    /// Something that is neither a UDP nor a TCP socket.
    pub fn take() -> Result<Self, NotServed> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = ListenFd::from_env();
        let sockets = (0..given.len()).map(|nth| {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("(unnamed)").to_owned();
            let udp = given.take_udp_socket(nth).ok().flatten().map(Socket::Udp);
            let socket = udp.or_else(|| given.take_tcp_listener(nth).ok().flatten().map(Socket::Tcp));
            let socket = socket.ok_or_else(|| NotServed(format!("file descriptor {} of {name}", nth + 3)))?;
            let address = match &socket {
                Socket::Udp(udp) => udp.local_addr(),
                Socket::Tcp(tcp) => tcp.local_addr(),
            };
            let address = address.map_err(|error| NotServed(format!("a socket of {name} without address: {error}")))?;
            Ok(Given { name, address, socket })
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// The sockets at `address`, and whether whoever gave them keeps them anyway: those of a socket unit.
    pub fn at(&mut self, address: SocketAddr) -> (Listener, bool) {
        let (here, others) =
            std::mem::take(&mut self.0).into_iter().partition(|given: &Given| given.address == address);
        self.0 = others;
        let (mut listener, mut kept_anyway) = (Listener::default(), false);
        for given in here {
            kept_anyway |= !given.was_kept();
            match given.socket {
                Socket::Udp(udp) => listener.udp.push(udp),
                Socket::Tcp(tcp) => listener.tcp = Some(tcp),
            }
        }
        (listener, kept_anyway)
    }

    /// Lets go of what is left: own sockets at addresses that the configuration has no longer.
    ///
    /// # Errors
    /// A socket of a socket unit that no `server.listen` wants.
    pub fn none_left(self) -> Result<(), NotServed> {
        if let Some(given) = self.0.iter().find(|given| !given.was_kept()) {
            return Err(NotServed(given.to_string()));
        }
        for given in self.0 {
            warn!("no longer served, since it is not in server.listen: {given}");
            super::forget(given.address);
        }
        Ok(())
    }
}

/// A socket that phzd was given and would not serve.
#[derive(Debug)]
pub struct NotServed(String);

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "given by the service manager and not in server.listen, so nobody would answer there: {}; make ListenDatagram= and \
             ListenStream= of the socket unit and server.listen the same",
            self.0
        )
    }
}

impl Error for NotServed {}
