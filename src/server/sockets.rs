//! Opening sockets, and saying clearly why one cannot be had.
//!
//! Apart from serving them, because sockets may as well be inherited from whoever started the program.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Listener;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;
/// How often a port that is free for both UDP and TCP is looked for, when any will do.
const ATTEMPTS: usize = 16;

/// Sockets of one listen address, just opened.
#[derive(Debug)]
pub struct Opened {
    /// The sockets.
    pub listener: Listener,
    /// Octets of receive buffer that each UDP socket was given: less than was asked for if the kernel's limit
    /// (`net.core.rmem_max`) is lower and the process may not exceed it.
    pub receive_buffer: usize,
}

/// Opens `threads` UDP sockets that share `address` (at least one), with receive buffers of `receive_buffer` octets,
/// and a TCP listener. Port 0 is any port that is free for both. The address need not exist yet.
///
/// # Errors
/// If a socket cannot be had: another program has the address, the port is a privileged one, ...
pub fn open(address: SocketAddr, threads: usize, receive_buffer: usize) -> Result<Opened, CannotListen> {
    open_as(address, threads, receive_buffer, false)
}

/// The same beside sockets of this process that are in the way, and that share their port
/// ([`Server::share`](super::Server::share)): one address and all addresses, of which the one goes when the other has come.
///
/// # Errors
/// As [`open`].
pub fn open_beside(address: SocketAddr, threads: usize, receive_buffer: usize) -> Result<Opened, CannotListen> {
    open_as(address, threads, receive_buffer, true)
}

fn open_as(address: SocketAddr, threads: usize, receive_buffer: usize, shared: bool) -> Result<Opened, CannotListen> {
    let attempts = if address.port() == 0 { ATTEMPTS } else { 1 };
    let attempt = || {
        let tcp = open_tcp(address, shared).map_err(|error| CannotListen::new(address, "TCP", error))?;
        let chosen = tcp.local_addr().map_err(|error| CannotListen::new(address, "TCP", error))?;
        let (udp, receive_buffer) = open_udp(chosen, threads, receive_buffer, shared)
            .map_err(|error| CannotListen::new(chosen, "UDP", error))?;
        Ok(Opened { listener: Listener { udp, tcp: Some(tcp) }, receive_buffer })
    };
    let mut result = attempt();
    for _ in 1..attempts {
        if !matches!(&result, Err(CannotListen { reason: Reason::InUse { .. }, .. })) {
            break;
        }
        result = attempt();
    }
    result
}

/// Opens what `listener`, whose sockets are at `address`, has none of: as many UDP sockets as [`open`] does, TCP. UDP sockets
/// that are there stay the only ones; `theirs` says that they were made by somebody else, and shall stay as they are.
///
/// # Errors
/// As [`open`].
pub fn complete(
    address: SocketAddr,
    listener: Listener,
    (threads, octets): (usize, usize),
    theirs: bool,
) -> Result<Opened, CannotListen> {
    let Listener { mut udp, mut tcp } = listener;
    let on_udp = |error| CannotListen::new(address, "UDP", error);
    let mut given = usize::MAX;
    for socket in &udp {
        let socket = SockRef::from(socket);
        if !theirs {
            // As if it were new; polling is set where it is wanted.
            let _ = socket.set_busy_poll(0);
            set_receive_buffer(&socket, octets).map_err(on_udp)?;
            enlarge_send_buffer(&socket, octets);
        }
        given = given.min(receive_buffer(&*socket).map_err(on_udp)?);
    }
    if udp.is_empty() {
        (udp, given) = open_udp(address, threads, octets, false).map_err(on_udp)?;
    }
    if tcp.is_none() {
        tcp = Some(open_tcp(address, false).map_err(|error| CannotListen::new(address, "TCP", error))?);
    }
    Ok(Opened { listener: Listener { udp, tcp }, receive_buffer: given })
}

/// A TCP listener on `address`.
fn open_tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = open_socket(address, Type::STREAM, Protocol::TCP)?;
    // Connections of an earlier run that linger do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// UDP sockets that share `address`, and the receive buffer each was given.
fn open_udp(
    address: SocketAddr,
    threads: usize,
    receive_buffer: usize,
    shared: bool,
) -> io::Result<(Vec<UdpSocket>, usize)> {
    let mut sockets: Vec<UdpSocket> = Vec::with_capacity(threads);
    let mut given = usize::MAX;
    for nth in 0..threads.max(1) {
        let socket = open_socket(address, Type::DGRAM, Protocol::UDP)?;
        given = given.min(set_receive_buffer(&socket, receive_buffer)?);
        enlarge_send_buffer(&socket, receive_buffer);
        // SO_REUSEPORT would join the sockets of any other process of this user, which would then get a part of the
        // queries. So the first socket is bound alone, which fails if anybody has the address, and then opened to
        // the others.
        socket.set_reuse_port(shared || nth > 0)?;
        socket.bind(&address.into())?;
        socket.set_reuse_port(threads > 1)?;
        sockets.push(socket.into());
    }
    Ok((sockets, given))
}

/// A socket for `address`, not yet bound.
fn open_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // An address that comes later (a container's bridge, a second interface) is no reason not to start.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    Ok(socket)
}

/// Asks for a receive buffer of so many octets; returns how many were given.
fn set_receive_buffer(socket: &Socket, octets: usize) -> io::Result<usize> {
    if octets > 0 && setsockopt(socket, sockopt::RcvBufForce, &octets).is_err() {
        setsockopt(socket, sockopt::RcvBuf, &octets)?;
    }
    receive_buffer(socket)
}

/// Makes the send buffer as large, as far as the kernel lets it (`net.core.wmem_max`). What is sent to a neighbour that is not
/// there stays in it for three seconds, and takes the room of replies to others.
fn enlarge_send_buffer(socket: &Socket, octets: usize) {
    if setsockopt(socket, sockopt::SndBufForce, &octets).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &octets);
    }
}

/// Octets of receive buffer that a socket has.
fn receive_buffer(socket: &impl AsFd) -> io::Result<usize> {
    // The kernel doubles what is asked for, to have room for its own notes (socket(7)).
    Ok(getsockopt(socket, sockopt::RcvBuf)? / 2)
}

/// Why there is no socket for a listen address.
#[derive(Debug)]
pub struct CannotListen {
    /// The address.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub protocol: &'static str,
    /// What is in the way.
    pub reason: Reason,
}

/// What is in the way of a socket.
#[derive(Debug)]
pub enum Reason {
    /// Another program has the address.
    InUse {
        /// That program, as `name (pid N)`, if it could be seen.
        holder: Option<String>,
    },
    /// The process may not have the port.
    NotPermitted,
    /// Anything else, as the kernel says it.
    Other(io::Error),
}

impl CannotListen {
    /// Looks into what `error` means.
    fn new(address: SocketAddr, protocol: &'static str, error: io::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::AddrInUse => Reason::InUse { holder: holder(address, protocol) },
            ErrorKind::PermissionDenied => Reason::NotPermitted,
            _ => Reason::Other(error),
        };
        Self { address, protocol, reason }
    }
}

impl fmt::Display for CannotListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, protocol, reason } = self;
        write!(f, "cannot listen on {address} ({protocol}): ")?;
        match reason {
            Reason::InUse { holder } => {
                let holder = holder.as_deref().unwrap_or("another program");
                write!(f, "{holder} has it; stop that program or choose another address in server.listen")
            }
            Reason::NotPermitted => {
                write!(f, "not permitted; start as root or with CAP_NET_BIND_SERVICE, or choose a port from 1024 up")
            }
            Reason::Other(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
                write!(f, "this host has no {family}; remove the address from server.listen")
            }
            Reason::Other(error) => write!(f, "{error}; is the address in server.listen right?"),
        }
    }
}

impl Error for CannotListen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Other(error) => Some(error),
            Reason::InUse { .. } | Reason::NotPermitted => None,
        }
    }
}

/// The program that has `address`, as `name (pid N)`, if this process may see it.
fn holder(address: SocketAddr, protocol: &'static str) -> Option<String> {
    held(address, protocol).into_iter().find_map(|holder| Some(holder.program?.to_string()))
}

/// Who has `address` (`UDP` or `TCP`), or one that is in its way, each socket by itself. Nothing is opened or sent. What
/// the kernel does not tell is not there.
pub fn held(address: SocketAddr, protocol: &'static str) -> Vec<Holder> {
    let tables: [&str; 2] =
        if protocol == "UDP" { ["/proc/net/udp", "/proc/net/udp6"] } else { ["/proc/net/tcp", "/proc/net/tcp6"] };
    let holding = |line: &str| {
        let entry = SocketEntry::parse(line)?;
        (entry.is_in_the_way_of(address) && (protocol == "UDP" || entry.listens)).then_some(entry.inode)
    };
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    let inodes: Vec<u64> = texts.flat_map(|text| text.lines().filter_map(holding).collect::<Vec<_>>()).collect();
    let mut programs = programs_with_sockets(&inodes);
    inodes.iter().map(|inode| Holder { program: programs.remove(inode) }).collect()
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The program, if this process may see it: another user's it may not.
    pub program: Option<Program>,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As the kernel calls it: at most 15 characters.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// A line of `/proc/net/udp` and its like.
#[derive(Debug, PartialEq, Eq)]
struct SocketEntry {
    local: SocketAddr,
    listens: bool,
    inode: u64,
}

impl SocketEntry {
    /// Reads `sl local_address rem_address st ... inode ...`; `None` for the heading.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let local = SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?);
        let listens = fields.nth(1)? == "0A";
        Some(Self { local, listens, inode: fields.nth(5)?.parse().ok()? })
    }

    /// Whether nobody can have `address` while this socket is there.
    fn is_in_the_way_of(&self, address: SocketAddr) -> bool {
        // A socket of IPv6 may take IPv4 as well, never the other way round.
        (self.local.is_ipv6() || address.is_ipv4()) && overlap(self.local, address)
    }
}

/// Whether some datagram could come to a socket at either address, if one of IPv6 takes IPv4 as well.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (mine, others) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (mine == others || mine.is_unspecified() || others.is_unspecified())
}

/// An address as the kernel prints it: 32-bit words in hexadecimal, each in the machine's own order of octets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if text.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let mut octets = [0; 16];
    for (nth, four) in octets.chunks_exact_mut(4).enumerate() {
        four.copy_from_slice(&word(nth * 8)?);
    }
    Some(Ipv6Addr::from(octets).into())
}

/// The programs that have sockets with these inodes open, as far as this process may see them. Every process is looked at
/// once, however many sockets there are.
fn programs_with_sockets(inodes: &[u64]) -> HashMap<u64, Program> {
    let mut found = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if found.len() == inodes.len() {
            break;
        }
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        for inode in descriptors.filter_map(|open| inode_of(&fs::read_link(open.path()).ok()?)) {
            if inodes.contains(&inode)
                && let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm"))
            {
                found.insert(inode, Program { name: name.trim().to_owned(), pid });
            }
        }
    }
    found
}

/// The inode in `socket:[4242]`.
fn inode_of(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The hard limit of open files is lower than what the configuration needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewDescriptors {
    /// What is needed.
    pub needed: u64,
    /// What there is, now that the soft limit is as high as the hard one.
    pub limit: u64,
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, limit } = self;
        write!(
            f,
            "{limit} open files are allowed, {needed} are needed; raise the limit (LimitNOFILE= in the unit, ulimit -Hn \
             in a shell) or lower server.tcp-connections"
        )
    }
}

impl Error for TooFewDescriptors {}

/// Raises how many files this process may have open to `needed`, or as far as it may; returns the limit that is then
/// in force.
///
/// # Errors
/// If that is less than `needed`.
pub fn raise_descriptor_limit(needed: u64) -> Result<u64, TooFewDescriptors> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(needed) };
    let wanted = needed.clamp(soft.min(hard), hard);
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() { wanted } else { soft };
    if limit < needed { Err(TooFewDescriptors { needed, limit }) } else { Ok(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_socket_tables_are_read() {
        let heading =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(SocketEntry::parse(heading), None);
        let (v4, v6) = if cfg!(target_endian = "little") {
            ("0100007F", "00000000000000000000000001000000")
        } else {
            ("7F000001", "00000000000000000000000000000001")
        };
        let rest = "0A 00000000:00000000 00:00000000 00000000   0        0 4242 1 0000000000000000 100 0 0 10 0";
        for (address, expected) in [(v4, "127.0.0.1:53"), (v6, "[::1]:53")] {
            let entry = SocketEntry::parse(&format!("   0: {address}:0035 {address}:0000 {rest}")).unwrap();
            assert_eq!(entry, SocketEntry { local: expected.parse().unwrap(), listens: true, inode: 4242 });
        }
    }

    #[test]
    fn a_wildcard_is_in_everybodys_way() {
        let in_the_way = |mine: &str, other: &str| {
            let local = mine.parse().unwrap();
            SocketEntry { local, listens: false, inode: 1 }.is_in_the_way_of(other.parse().unwrap())
        };
        assert!(in_the_way("0.0.0.0:53", "127.0.0.1:53"));
        assert!(in_the_way("127.0.0.53:53", "0.0.0.0:53"));
        assert!(in_the_way("[::]:53", "127.0.0.1:53"));
        assert!(!in_the_way("127.0.0.53:53", "127.0.0.1:53"));
        assert!(!in_the_way("0.0.0.0:5353", "127.0.0.1:53"));
        assert!(!in_the_way("0.0.0.0:53", "[::1]:53"));
    }
}
