//! Sockets that phzd is given when it starts: of a socket unit, or its own that were kept over a restart.
//!
//! Apart from opening sockets, because here it is not phzd that chose them: each must be served, or said to be a mistake. A
//! socket that nobody reads swallows the queries of those who ask there.

use std::env;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use socket2::SockRef;
use tracing::warn;

use super::KEPT;
use phzd::server::Listener;
use phzd::server::sockets::overlap;

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

    /// Takes out what no address of `listen` wants: own sockets at addresses that the configuration has no longer.
    ///
    /// # Errors
    /// A socket of a socket unit among them.
    pub fn unwanted(&mut self, listen: &[SocketAddr]) -> Result<Unwanted, NotServed> {
        let wanted = |given: &Given| listen.contains(&given.address);
        let (wanted, unwanted) = std::mem::take(&mut self.0).into_iter().partition::<Vec<_>, _>(wanted);
        self.0 = wanted;
        match unwanted.iter().find(|given| !given.was_kept()) {
            Some(given) => Err(NotServed(given.to_string())),
            None => Ok(Unwanted(unwanted)),
        }
    }

    /// The sockets at `address`.
    pub fn at(&mut self, address: SocketAddr) -> Found {
        let (here, others) =
            std::mem::take(&mut self.0).into_iter().partition::<Vec<_>, _>(|given| given.address == address);
        self.0 = others;
        let mut found = Found::default();
        for given in here {
            let of_unit = !given.was_kept();
            match given.socket {
                Socket::Udp(udp) => {
                    found.udp_of_unit |= of_unit;
                    found.listener.udp.push(udp);
                }
                Socket::Tcp(tcp) => {
                    found.tcp_of_unit |= of_unit;
                    found.listener.tcp = Some(tcp);
                }
            }
        }
        found
    }
}

/// What was given at one address.
#[derive(Debug, Default)]
pub struct Found {
    /// The sockets.
    pub listener: Listener,
    /// Those for UDP are of a socket unit, which keeps them anyway; ...
    pub udp_of_unit: bool,
    /// ... and the one for TCP is.
    pub tcp_of_unit: bool,
}

/// Own sockets that are served no longer. The service manager has them as well, and lets go of them when it is told to.
#[derive(Debug)]
pub struct Unwanted(Vec<Given>);

impl Unwanted {
    /// Whether one of them is in the way of `address`; then it shares its port.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn share(&self, address: SocketAddr) -> io::Result<bool> {
        let in_the_way = self.0.iter().filter(|given| overlap(given.address, address));
        let shared = in_the_way.map(|given| match &given.socket {
            Socket::Udp(udp) => SockRef::from(udp).set_reuse_port(true),
            Socket::Tcp(tcp) => SockRef::from(tcp).set_reuse_port(true),
        });
        shared.collect::<io::Result<Vec<()>>>().map(|shared| !shared.is_empty())
    }

    /// Lets go of them.
    pub fn forget(self) {
        for given in self.0 {
            warn!("no longer served, since it is not in server.listen: {given}");
            super::forget(given.address);
        }
    }
}

/// A socket that phzd was given and would not serve.
#[derive(Debug)]
pub struct NotServed(String);

impl NotServed {
    /// One of a socket unit at an address that the configuration is about to have no longer.
    pub fn at(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

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
