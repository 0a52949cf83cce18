//! One question to one DNS server, as a command asks it: of a server that is named by its address, and of nobody else.
//!
//! Apart from the commands because several ask. The daemon's own questions are `phzd::upstream`'s.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use socket2::{Domain, Protocol, Socket, Type};

use phzd::wire::Transport;

/// How long a reply may take: a stub resolver's patience.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Octets of a datagram that is taken: what fits unfragmented through any network (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// Whom a question goes to, and how.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The server.
    pub server: SocketAddr,
    /// The address that asks; `None`: the kernel's choice.
    pub from: Option<IpAddr>,
    /// Over which of the two.
    pub transport: Transport,
    /// Whether an OPT record goes with it (RFC 6891).
    pub edns: bool,
    /// How long the reply may take.
    pub patience: Duration,
}

impl Way {
    /// Over UDP, without EDNS, from wherever the kernel likes, with a stub resolver's patience.
    pub fn plain(server: SocketAddr) -> Self {
        Self { server, from: None, transport: Transport::Udp, edns: false, patience: PATIENCE }
    }

    fn source(&self) -> SocketAddr {
        let any = if self.server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        (self.from.unwrap_or(any), 0).into()
    }
}

/// Asks for a name, absolute with or without the dot at its end, and a type.
///
/// # Errors
/// No reply in time, or none that fits the question.
pub fn ask(way: &Way, name: &str, kind: RecordType) -> io::Result<Message> {
    let mut name = Name::from_ascii(name).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    // A name without a dot at the end would not equal the one in the reply.
    name.set_fqdn(true);
    let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, kind));
    if way.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        query.set_edns(edns);
    }
    let packet = query.to_vec().map_err(io::Error::other)?;
    let fits = |reply: &Message| reply.metadata.id == query.metadata.id && reply.queries == query.queries;
    match way.transport {
        Transport::Udp => over_udp(way, &packet, fits),
        Transport::Tcp => over_tcp(way, &packet, fits),
    }
}

fn over_udp(way: &Way, packet: &[u8], fits: impl Fn(&Message) -> bool) -> io::Result<Message> {
    let socket = UdpSocket::bind(way.source())?;
    socket.connect(way.server)?;
    socket.send(packet)?;
    let deadline = Instant::now() + way.patience;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        // What else arrives here may be a late reply, or a guess: the right one may still come.
        if let Some(reply) = Message::from_vec(&buffer[..length]).ok().filter(|reply| fits(reply)) {
            return Ok(reply);
        }
    }
}

fn over_tcp(way: &Way, packet: &[u8], fits: impl Fn(&Message) -> bool) -> io::Result<Message> {
    let deadline = Instant::now() + way.patience;
    // A patience of zero would mean none at all to the socket.
    let left = || Some(deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let socket = Socket::new(Domain::for_address(way.server), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&way.source().into())?;
    socket.connect_timeout(&way.server.into(), way.patience)?;
    let mut stream = TcpStream::from(socket);
    // RFC 1035 section 4.2.2: a message's length goes before it.
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.set_write_timeout(left())?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat())?;
    // Octet by octet as they come: a server that sends one now and then has no more time than another.
    let mut read = |wanted: usize| -> io::Result<Vec<u8>> {
        let mut octets = Vec::with_capacity(wanted);
        while octets.len() < wanted {
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(left())?;
            let mut more = [0; 4096];
            let room = more.len().min(wanted - octets.len());
            match stream.read(&mut more[..room])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => octets.extend_from_slice(&more[..count]),
            }
        }
        Ok(octets)
    };
    let length = read(2)?.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    let reply = read(length)?;
    let reply = Message::from_vec(&reply).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    if fits(&reply) { Ok(reply) } else { Err(io::Error::new(ErrorKind::InvalidData, "a reply to another question")) }
}
