//! A host of the VPC as the server sees it: one address that asks, over UDP or TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use socket2::{Domain, Protocol, Socket, Type};

use phzd::wire::Transport;

/// How long a reply may take: a stub resolver's patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks `server` from the address `host` for a name and type.
///
/// # Errors
/// No reply in time, or one that does not fit the question.
pub fn ask(
    host: Ipv4Addr,
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    transport: Transport,
) -> io::Result<Message> {
    let mut name = Name::from_ascii(name).map_err(io::Error::other)?;
    // A name without a dot at the end would not equal the one in the reply.
    name.set_fqdn(true);
    let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, kind));
    let packet = query.to_vec().map_err(io::Error::other)?;
    let reply = match transport {
        Transport::Udp => over_udp(host, server, &packet)?,
        Transport::Tcp => over_tcp(host, server, &packet)?,
    };
    let reply = Message::from_vec(&reply).map_err(io::Error::other)?;
    let fits = reply.metadata.id == query.metadata.id && reply.queries == query.queries;
    if fits { Ok(reply) } else { Err(io::Error::new(ErrorKind::InvalidData, "a reply to another question")) }
}

fn over_udp(host: Ipv4Addr, server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((host, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(packet)?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    let length = socket.recv(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

fn over_tcp(host: Ipv4Addr, server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((host, 0)).into())?;
    socket.connect_timeout(&server.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    // RFC 1035 section 4.2.2: a message's length goes before it.
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}
