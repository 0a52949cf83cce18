//! A network of its own for a thread: a namespace in which every address is this host's, so that any client and any
//! resolver a scenario names can have its real socket.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// phzd's host: 172.31.1.5, as in the case. The others are local without being an interface's, so that phzd takes none
/// of them for its own.
const ADDRESSES: &str = "\
link set lo up
address add 172.31.1.5/32 dev lo
route add local 0.0.0.0/0 dev lo src 172.31.1.5
route add local ::/0 dev lo
";
/// The ports that the kernel hands out: none that a scenario gives a client.
const PORTS: &str = "20000 29999";
/// Far more than a thousand replies need that nobody reads meanwhile.
const BUFFER: usize = 16 << 20;
/// How long an address may be taken by what is about to end.
const SOON: Duration = Duration::from_secs(5);

/// Leaves the machine's network; from now on this thread, and what it starts, is in one of its own, which goes with
/// the last of them.
pub fn enter() -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace: {error}"))?;
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let ip = ip.as_mut().map_err(|error| format!("ip: {error}"))?;
    ip.stdin.take().map_or(Ok(()), |mut input| input.write_all(ADDRESSES.as_bytes())).map_err(told)?;
    if !ip.wait().map_err(told)?.success() {
        let said = ip.stderr.take().map_or(Ok(String::new()), io::read_to_string);
        return Err(format!("ip: {}", said.map_err(told)?));
    }
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", PORTS).map_err(told)
}

/// A UDP socket bound to `address`, whether that exists or not.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bind(address, Type::DGRAM)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    Ok(socket.into())
}

/// A socket bound to `address`, whether that exists or not.
pub fn bind(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.cloexec(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    // Connections that linger do not keep a port.
    socket.set_reuse_address(kind == Type::STREAM)?;
    let began = Instant::now();
    loop {
        match socket.bind(&address.into()) {
            // A process that another thread has just begun holds all sockets of this one until it is its own program,
            // those too that were closed meanwhile.
            Err(error) if error.kind() == ErrorKind::AddrInUse && began.elapsed() < SOON => {
                thread::sleep(Duration::from_millis(1));
            }
            bound => return bound.map(|()| socket),
        }
    }
}

/// A datagram: from where, to which address of this host, what.
pub struct Datagram {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub message: Vec<u8>,
}

/// One port of every address of a family, for datagrams: so they are seen in the order in which they came, whatever
/// address they were sent to.
pub struct Everywhere {
    socket: UdpSocket,
    v4: bool,
    port: u16,
}

impl Everywhere {
    pub fn bind(any: IpAddr, port: u16) -> io::Result<Self> {
        let socket = bind_udp(SocketAddr::new(any, port))?;
        if any.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self { socket, v4: any.is_ipv4(), port })
    }

    /// The next datagram, if there is one within so long; not at all is looking at what is there.
    pub fn receive(&self, within: Option<Duration>) -> io::Result<Option<Datagram>> {
        self.socket.set_nonblocking(within.is_none())?;
        self.socket.set_read_timeout(within)?;
        let mut message = vec![0; 65_535];
        let mut control = cmsg_space!(in6_pktinfo);
        let mut slices = [IoSliceMut::new(&mut message)];
        let received =
            recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty());
        let received = match received.map_err(io::Error::from) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            received => received?,
        };
        let to = received.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(u32::from_be(info.ipi_addr.s_addr).to_be_bytes()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        });
        let to = SocketAddr::new(to.ok_or(ErrorKind::InvalidData)?, self.port);
        let from = received.address.as_ref().and_then(address_of).ok_or(ErrorKind::InvalidData)?;
        let length = received.bytes;
        message.truncate(length);
        Ok(Some(Datagram { from, to, message }))
    }

    /// Whether this address is among its own.
    pub fn is_for(&self, address: SocketAddr) -> bool {
        address.port() == self.port && self.v4 == address.is_ipv4()
    }

    /// Sends a datagram from one of them.
    pub fn send(&self, Datagram { from, to, message }: &Datagram) -> io::Result<()> {
        let (v4, v6);
        let control = match from.ip() {
            IpAddr::V4(address) => {
                let source = in_addr { s_addr: u32::from(address).to_be() };
                v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
                ControlMessage::Ipv4PacketInfo(&v4)
            }
            IpAddr::V6(address) => {
                v6 = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: address.octets() }, ipi6_ifindex: 0 };
                ControlMessage::Ipv6PacketInfo(&v6)
            }
        };
        let (slices, to) = ([IoSlice::new(message)], SockaddrStorage::from(*to));
        sendmsg(self.socket.as_raw_fd(), &slices, &[control], MsgFlags::empty(), Some(&to))?;
        Ok(())
    }
}

fn address_of(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::new(address.ip().into(), address.port()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::new(address.ip().into(), address.port())))
}

/// Tells `to` that nobody listens at `from`, as the kernel of that host would (RFC 792: destination unreachable, port
/// unreachable, and the head of the datagram that was sent there).
pub fn say_unreachable(from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let (IpAddr::V4(resolver), IpAddr::V4(asker)) = (from.ip(), to.ip()) else {
        return Err(io::Error::new(ErrorKind::Unsupported, "ICMP is told in IPv4 only"));
    };
    let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
    icmp.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    icmp.extend([asker.octets(), resolver.octets()].concat());
    icmp.extend([to.port().to_be_bytes(), from.port().to_be_bytes(), [0, 8], [0, 0]].concat());
    let sum = icmp.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    icmp[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    send_raw(from.ip(), to.ip(), Protocol::ICMPV4, &icmp)
}

/// Sends a datagram from where this host has no socket, or another's.
pub fn forge(from: SocketAddr, to: SocketAddr, message: &[u8]) -> io::Result<()> {
    let length = 8 + message.len() as u16;
    let head = [from.port().to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    send_raw(from.ip(), to.ip(), Protocol::UDP, &[&head, message].concat())
}

/// Sends what stands in an IP packet.
fn send_raw(from: IpAddr, to: IpAddr, protocol: Protocol, content: &[u8]) -> io::Result<()> {
    let address = |ip| SockAddr::from(SocketAddr::new(ip, 0));
    let socket = Socket::new(Domain::IPV4, Type::RAW.cloexec(), Some(protocol))?;
    socket.bind(&address(from))?;
    socket.send_to(content, &address(to)).map(drop)
}

/// The address that stands for all of a family.
pub const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
