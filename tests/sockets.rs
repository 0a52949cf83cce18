//! The door, on real sockets of the loopback interface.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use phzd::config::{Config, File, Machine};
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::responder::Outcome;
use phzd::server::sockets::{CannotListen, Reason, open, raise_descriptor_limit};
use phzd::server::{Limits, Listener, Server, UNDER_WAY};
use phzd::wire::Transport;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Far more than loopback needs, so that a test fails instead of hanging.
const SOON: Duration = Duration::from_secs(5);
/// How long a test waits for what must not come.
const MOMENT: Duration = Duration::from_millis(100);

/// Records of an answer of 60,800 octets.
const LONG: u16 = 3800;

const LIMITS: Limits = Limits {
    udp_threads: 1,
    pin_threads: false,
    busy_poll: Duration::ZERO,
    tcp_connections: 16,
    tcp_connections_per_client: 8,
    prefixes: Prefixes::new(32, 56),
    tcp_idle: Duration::from_secs(10),
};

/// A resolver of 127.0.0.1 that answers each question with 192.0.2.53, when it is told to.
struct Upstream {
    address: SocketAddr,
    /// A place for each answer that it may give.
    gate: mpsc::Sender<()>,
}

impl Upstream {
    /// One that answers at once.
    fn open() -> Self {
        let upstream = Self::closed();
        upstream.answer();
        upstream
    }

    /// One that answers nothing yet.
    fn closed() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (gate, opened) = mpsc::channel();
        thread::spawn(move || {
            let mut question = [0; 4096];
            // It ends with the test, whose end closes the gate.
            while let Ok((length, from)) = socket.recv_from(&mut question)
                && opened.recv().is_ok()
            {
                let name = question[12..length].iter().position(|octet| *octet == 0).unwrap();
                let mut answer = question[..12 + name + 5].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0\x02\x35");
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self { address, gate }
    }

    /// The same with an answer of more than 60,000 octets, for which it has to be asked over TCP.
    fn long() -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let (gate, opened) = mpsc::channel();
        let head = |question: &[u8], flags: u8, answers: u16| {
            let name = question[12..].iter().position(|octet| *octet == 0).unwrap();
            let mut answer = question[..12 + name + 5].to_vec();
            let [high, low] = answers.to_be_bytes();
            answer[2..12].copy_from_slice(&[flags, 0x80, 0, 1, high, low, 0, 0, 0, 0]);
            answer
        };
        thread::spawn(move || {
            let mut question = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut question)
                && opened.recv().is_ok()
            {
                udp.send_to(&head(&question[..length], 0x83, 0), from).unwrap();
            }
        });
        thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                thread::spawn(move || {
                    while let Some(question) = next_message(&mut stream) {
                        let mut answer = head(&question, 0x81, LONG);
                        for nth in 0..LONG {
                            answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\0\0\x04\xc0\0");
                            answer.extend(nth.to_be_bytes());
                        }
                        stream.write_all(&framed(&answer)).unwrap();
                    }
                });
            }
        });
        Self { address, gate }
    }

    /// From now on it answers: what waits, questions that were repeated among it, and what will be asked.
    fn answer(&self) {
        for _ in 0..1000 {
            self.gate.send(()).unwrap();
        }
    }

    /// A resolver with one private name, that asks this one for all others.
    fn resolver(&self) -> Resolver {
        Resolver::start(&self.config()).unwrap()
    }

    /// The configuration of that.
    fn config(&self) -> Config {
        let port = self.address.port();
        let text = format!(
            "[vpc]\nregion = 'eu-west-1'\ncidrs = ['172.31.0.0/16']\nself = '172.31.1.5'\nresolvers = ['127.0.0.1:{port}']\n\
             [upstream]\ntimeout-ms = 2000\n\
             [[endpoint]]\nname = 's3'\naddresses = ['172.31.1.152']\n\
             [[bucket]]\nnames = ['private']\nendpoint = 's3'\n"
        );
        let machine = Machine { cores: 1, addresses: Vec::new() };
        File::parse("test", &text).check(&machine).unwrap().0
    }
}

/// A server that runs until it is dropped.
struct Running {
    runtime: Runtime,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Running {
    fn at(ip: impl Into<IpAddr>) -> Self {
        Self::with(ip, LIMITS)
    }

    fn with(ip: impl Into<IpAddr>, limits: Limits) -> Self {
        let opened = open(SocketAddr::new(ip.into(), 0), limits.udp_threads, 0).unwrap();
        Self::on(opened.listener, limits)
    }

    fn on(listener: Listener, limits: Limits) -> Self {
        Self::forwarding(&Upstream::open(), listener, limits)
    }

    fn forwarding(upstream: &Upstream, listener: Listener, limits: Limits) -> Self {
        Self::on_all(upstream, vec![listener], limits)
    }

    /// On several addresses, of which the first is its own.
    fn on_all(upstream: &Upstream, listeners: Vec<Listener>, limits: Limits) -> Self {
        Self::of(upstream.resolver(), listeners, limits)
    }

    fn of(resolver: Resolver, listeners: Vec<Listener>, limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let inside = runtime.enter();
        let server = Server::start(resolver, listeners, limits).unwrap();
        drop(inside);
        let task = runtime.spawn(server.run(async { drop(stopped.await) }));
        Self { runtime, address, stop: Some(stop), task: Some(task) }
    }

    /// Its port at another of its addresses.
    fn at_address(&self, ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), self.address.port())
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, SOON).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// The same, by a client that has room for little of what it is sent.
    fn connect_narrowly(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Stops it; returns how long that took.
    fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.stop.take().unwrap().send(()).unwrap();
        self.runtime.block_on(self.task.take().unwrap()).unwrap();
        began.elapsed()
    }
}

/// A query for the address of `name`, with RD.
fn query_for(name: &str, id: u16) -> Vec<u8> {
    let mut query = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// A query for the private name, which is answered at once.
fn query(id: u16) -> Vec<u8> {
    query_for("private.s3.eu-west-1.amazonaws.com", id)
}

/// A query as it stands in a TCP stream.
fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// The next message of a TCP stream; `None` at its end.
fn next_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
        Err(error) => panic!("neither a message nor the end: {error}"),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

fn assert_replies(reply: &[u8], id: u16) {
    assert_eq!(reply.first_chunk(), Some(&id.to_be_bytes()), "the id of {reply:?}");
    assert_eq!(reply[2] & 0x80, 0x80, "QR of {reply:?}");
    let question = &query(id)[12..];
    assert_eq!(reply.get(12..12 + question.len()), Some(question), "the question of {reply:?}");
}

fn client(ip: impl Into<IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((ip.into(), 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// The id of the next reply, and where it came from.
fn next_reply(socket: &UdpSocket) -> (u16, SocketAddr) {
    let mut reply = [0; 2048];
    let (length, from) = socket.recv_from(&mut reply).unwrap();
    let id = u16::from_be_bytes([reply[0], reply[1]]);
    assert_replies(&reply[..length], id);
    (id, from)
}

fn assert_silence(socket: &UdpSocket) {
    socket.set_read_timeout(Some(MOMENT)).unwrap();
    let error = socket.recv_from(&mut [0; 2048]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_read_timeout(Some(SOON)).unwrap();
}

fn loopback(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

#[test]
fn batches_of_any_size_are_answered_one_by_one() {
    let server = Running::at(loopback(1));
    let client = client(loopback(1));
    let mut id = 0;
    for size in [1, 2, 63, 64, 65, 128, 200] {
        for nth in 0..size {
            client.send_to(&query(id + nth), server.address).unwrap();
        }
        let mut ids: Vec<_> = (0..size).map(|_| next_reply(&client).0).collect();
        ids.sort_unstable();
        assert_eq!(ids, (id..id + size).collect::<Vec<_>>());
        id += size;
    }
    assert_silence(&client);
}

#[test]
fn a_batch_is_answered_as_each_of_its_queries_is_by_itself() {
    let kinds: [fn(u16) -> Vec<u8>; 9] = [
        query,
        // AAAA: no data. AXFR: not served. Class CH: refused.
        |id| [&query(id)[..49], &[28, 0, 1]].concat(),
        |id| [&query(id)[..49], &[252, 0, 1]].concat(),
        |id| [&query(id)[..49], &[1, 0, 3]].concat(),
        |id| query_for("below.private.s3.eu-west-1.amazonaws.com", id),
        // Without RD, for a name that would be forwarded.
        |id| [&id.to_be_bytes()[..], &[0], &query_for("www.example.com", id)[3..]].concat(),
        // Two questions, by the header; a reply; nothing but an id. The first is malformed, the others get no reply.
        |id| [&id.to_be_bytes()[..], &[1, 0, 0, 2], &query(id)[6..]].concat(),
        |id| [&id.to_be_bytes()[..], &[0x81], &query(id)[3..]].concat(),
        |id| id.to_be_bytes().to_vec(),
    ];
    let batch: Vec<_> = (0..63).map(|id: u16| kinds[usize::from(id) % kinds.len()](id)).collect();
    for listen in [loopback(1), Ipv4Addr::UNSPECIFIED] {
        let upstream = Upstream::open();
        let listener = open(SocketAddr::new(listen.into(), 0), 1, 0).unwrap().listener;
        let port = listener.local_addr().unwrap().port();
        // Of a socket that is bound to no address, addresses in turns.
        let asked = |id: u16| {
            let last = if listen.is_unspecified() { 1 + id % 3 } else { 1 };
            SocketAddr::new(loopback(last as u8).into(), port)
        };
        let client = client(loopback(1));
        let me = client.local_addr().unwrap();
        let (mut alone, mut out) = (upstream.resolver(), [0; 1232]);
        let mut expected = Vec::new();
        for (id, packet) in (0..).zip(&batch) {
            if let Outcome::Reply(length) = alone.respond(packet, me, Transport::Udp, Instant::now(), &mut out) {
                expected.push((out[..length].to_vec(), asked(id)));
            }
        }
        // The kernel tells which address was asked of what comes once it has been asked to.
        let prepared = listener.udp[0].try_clone().unwrap();
        nix::sys::socket::setsockopt(&prepared, nix::sys::socket::sockopt::Ipv4PacketInfo, &true).unwrap();
        // All of it is there when the first is read.
        (0..).zip(&batch).for_each(|(id, packet)| _ = client.send_to(packet, asked(id)).unwrap());
        let server = Running::forwarding(&upstream, listener, LIMITS);
        let mut replies: Vec<_> = (0..expected.len())
            .map(|_| {
                let mut reply = [0; 2048];
                let (length, from) = client.recv_from(&mut reply).unwrap();
                (reply[..length].to_vec(), from)
            })
            .collect();
        assert_silence(&client);
        expected.sort_unstable();
        replies.sort_unstable();
        assert_eq!(replies, expected);
        assert_eq!(expected.len(), 49, "seven kinds of nine get a reply");
        server.stop();
    }
}

#[test]
fn replies_leave_from_the_address_that_was_asked() {
    let server = Running::at(Ipv4Addr::UNSPECIFIED);
    let clients: Vec<_> = (0..4).map(|nth| client(loopback(11 + nth))).collect();
    // Together, so that addresses and clients are mixed within a batch.
    for id in 0..40_u16 {
        for client in &clients {
            client.send_to(&query(id), server.at_address(loopback(1 + (id % 3) as u8))).unwrap();
        }
    }
    for client in &clients {
        let mut replies: Vec<_> = (0..40).map(|_| next_reply(client)).collect();
        replies.sort_unstable();
        let expected = (0..40).map(|id| (id, server.at_address(loopback(1 + (id % 3) as u8))));
        assert!(replies.iter().copied().eq(expected), "{replies:?}");
    }
}

#[test]
fn ipv6_wildcard_answers_and_leaves_ipv4_alone() {
    let server = Running::at(Ipv6Addr::UNSPECIFIED);
    let client = client(Ipv6Addr::LOCALHOST);
    for id in 0..70 {
        client.send_to(&query(id), server.at_address(Ipv6Addr::LOCALHOST)).unwrap();
    }
    for _ in 0..70 {
        assert_eq!(next_reply(&client).1, server.at_address(Ipv6Addr::LOCALHOST));
    }
    assert!(server.stop() < SOON);
    // The same port of IPv4 is free, unless a test beside this one has it just now.
    let free = (0..10).any(|_| {
        let server = Running::at(Ipv6Addr::UNSPECIFIED);
        let v4 = open(server.at_address(Ipv4Addr::UNSPECIFIED), 1, 0);
        server.stop();
        v4.is_ok()
    });
    assert!(free);
}

/// Link-local addresses mean something on one interface only; skipped where there is none.
#[test]
fn link_local_addresses_answer_with_their_scope() {
    let Some((address, scope)) = link_local() else {
        eprintln!("skipped: no link-local IPv6 address here");
        return;
    };
    let server = Running::at(Ipv6Addr::UNSPECIFIED);
    let to = SocketAddr::V6(SocketAddrV6::new(address, server.address.port(), 0, scope));
    let client = client(Ipv6Addr::UNSPECIFIED);
    client.send_to(&query(7), to).unwrap();
    assert_eq!(next_reply(&client), (7, to));
}

/// A link-local address of this host and its interface.
pub fn link_local() -> Option<(Ipv6Addr, u32)> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (address, index) = (fields.next()?, fields.next()?);
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let up = fields.nth(1)? == "20" && fields.next().is_some_and(|flags| flags == "80");
        (up && address.is_unicast_link_local()).then_some((address, u32::from_str_radix(index, 16).ok()?))
    })
}

#[test]
fn a_client_that_has_gone_costs_the_others_nothing() {
    for ip in [Ipv4Addr::UNSPECIFIED, loopback(1)] {
        let server = Running::at(ip);
        let address = server.at_address(loopback(1));
        let stays = client(loopback(1));
        for id in 0..100 {
            // Its socket is closed before the reply comes back: the kernel says so with an ICMP error.
            client(loopback(1)).send_to(&query(1000 + id), address).unwrap();
            stays.send_to(&query(id), address).unwrap();
        }
        let mut ids: Vec<_> = (0..100).map(|_| next_reply(&stays).0).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..100));
    }
}

/// A source port of 0, which nobody can reply to, in the middle of a batch. Needs a raw socket.
#[test]
fn a_client_without_a_port_costs_the_others_nothing() {
    use socket2::{Domain, Protocol, Socket, Type};
    let Ok(raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        eprintln!("skipped: raw sockets need CAP_NET_RAW");
        return;
    };
    for ip in [Ipv4Addr::UNSPECIFIED, loopback(1)] {
        let server = Running::at(ip);
        let address = server.at_address(loopback(1));
        let honest = client(loopback(1));
        for id in 0..100 {
            let message = query(1000 + id);
            let mut datagram = vec![0, 0];
            datagram.extend(address.port().to_be_bytes());
            datagram.extend(u16::try_from(8 + message.len()).unwrap().to_be_bytes());
            datagram.extend([0, 0]);
            datagram.extend(message);
            raw.send_to(&datagram, &SocketAddr::new(loopback(1).into(), 0).into()).unwrap();
            honest.send_to(&query(id), address).unwrap();
        }
        let mut ids: Vec<_> = (0..100).map(|_| next_reply(&honest).0).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..100));
    }
}

/// A given socket may hold datagrams from before packet information was asked for, and may be a dual-stack one.
#[test]
fn given_sockets_are_served_as_they_are() {
    let early = UdpSocket::bind("0.0.0.0:0").unwrap();
    early.set_nonblocking(true).unwrap();
    let port = early.local_addr().unwrap().port();
    let client = client(loopback(1));
    for id in 0..10 {
        client.send_to(&query(id), (loopback(1), port)).unwrap();
    }
    let server = Running::on(Listener { udp: vec![early], tcp: None }, Limits { udp_threads: 3, ..LIMITS });
    let mut ids: Vec<_> = (0..10).map(|_| next_reply(&client).0).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..10));
    for id in 0..100 {
        client.send_to(&query(id), server.at_address(loopback(9))).unwrap();
    }
    for _ in 0..100 {
        assert_eq!(next_reply(&client).1, server.at_address(loopback(9)));
    }

    let both = UdpSocket::bind("[::]:0").unwrap();
    let server = Running::on(Listener { udp: vec![both], tcp: None }, LIMITS);
    client.send_to(&query(1), server.at_address(loopback(5))).unwrap();
    assert_eq!(next_reply(&client), (1, server.at_address(loopback(5))));
}

#[test]
fn a_datagram_too_long_to_be_a_query_gets_no_reply() {
    let server = Running::at(Ipv4Addr::UNSPECIFIED);
    let address = server.at_address(loopback(1));
    let client = client(loopback(1));
    let mut long = query(1);
    long.resize(5000, 0);
    client.send_to(&long, address).unwrap();
    client.send_to(&[], address).unwrap();
    client.send_to(&query(2), address).unwrap();
    assert_eq!(next_reply(&client).0, 2);
    assert_silence(&client);
}

#[test]
fn pipelined_queries_in_one_segment_are_all_answered() {
    let server = Running::at(loopback(1));
    let mut stream = server.connect();
    let all: Vec<u8> = (0..100).flat_map(|id| framed(&query(id))).collect();
    stream.write_all(&all).unwrap();
    for id in 0..100 {
        assert_replies(&next_message(&mut stream).unwrap(), id);
    }
    // And those sent before the client closed its half.
    stream.write_all(&all).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    for id in 0..100 {
        assert_replies(&next_message(&mut stream).unwrap(), id);
    }
    assert_eq!(next_message(&mut stream), None);
}

#[test]
fn messages_may_come_octet_by_octet() {
    let server = Running::at(loopback(1));
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for id in 0..3 {
        for octet in framed(&query(id)) {
            stream.write_all(&[octet]).unwrap();
        }
        assert_replies(&next_message(&mut stream).unwrap(), id);
    }
    // Half a message and then nothing more: closed, without a reply.
    stream.write_all(&framed(&query(9))[..20]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(next_message(&mut stream), None);
}

#[test]
fn a_message_of_length_0_ends_the_connection_and_one_without_a_reply_does_not() {
    let server = Running::at(loopback(1));
    let mut stream = server.connect();
    let reply_itself = [&[0, 1, 0x80, 0][..], &query(1)[4..]].concat();
    stream.write_all(&[framed(&reply_itself), framed(&query(2))].concat()).unwrap();
    assert_replies(&next_message(&mut stream).unwrap(), 2);
    // What was asked before it is answered.
    stream.write_all(&[&framed(&query(3))[..], &[0, 0], &framed(&query(4))].concat()).unwrap();
    assert_replies(&next_message(&mut stream).unwrap(), 3);
    assert_eq!(next_message(&mut stream), None);
}

#[test]
fn a_long_message_is_answered_and_a_claimed_one_costs_little_and_not_for_long() {
    let server = Running::with(loopback(1), Limits { tcp_idle: Duration::from_millis(400), ..LIMITS });
    let mut stream = server.connect();
    let mut long = query(5);
    long.resize(65_535, 0);
    stream.write_all(&[framed(&long), framed(&query(6))].concat()).unwrap();
    // What follows the question makes it malformed: a header says so.
    assert_eq!(next_message(&mut stream).map(|reply| reply.len()), Some(12));
    assert_replies(&next_message(&mut stream).unwrap(), 6);

    let mut claiming: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let began = Instant::now();
    for stream in &mut claiming {
        stream.write_all(&[0xff, 0xff, 1]).unwrap();
    }
    for stream in &mut claiming {
        assert_eq!(next_message(stream), None);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_silent_or_dribbling_client_is_let_go() {
    let server = Running::with(loopback(1), Limits { tcp_idle: Duration::from_millis(300), ..LIMITS });
    let mut silent = server.connect();
    let mut dribbling = server.connect();
    dribbling.set_nodelay(true).unwrap();
    let began = Instant::now();
    let dribble = thread::spawn(move || {
        for octet in framed(&query(1)) {
            if dribbling.write_all(&[octet]).is_err() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        next_message(&mut dribbling).is_none()
    });
    assert_eq!(next_message(&mut silent), None);
    assert!((300..900).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(dribble.join().unwrap(), "a message that took four times as long as it may was answered");
}

/// What deserves no reply keeps no place: replies sent to us, here.
#[test]
fn a_client_that_sends_nothing_useful_is_let_go() {
    let server = Running::with(loopback(1), Limits { tcp_idle: Duration::from_millis(300), ..LIMITS });
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut useless = query(1);
    useless[2] |= 0x80;
    let began = Instant::now();
    // Until the server's end shows: as the end of what can be read, or as an error of writing.
    while stream.write_all(&framed(&useless)).is_ok()
        && stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    {
        assert!(began.elapsed() < SOON, "the connection stays open");
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let server = Running::with(loopback(1), Limits { tcp_idle: Duration::from_millis(300), ..LIMITS });
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_secs(4))).unwrap();
    let many: Vec<u8> = (0..1000).flat_map(|id| framed(&query(id))).collect();
    let began = Instant::now();
    // Until the buffers of both sides are full and the server stops reading; then it closes.
    let error = loop {
        if let Err(error) = stream.write_all(&many) {
            break error;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the server went on reading");
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn beyond_the_cap_the_longest_idle_connection_of_the_client_with_most_is_closed() {
    let limits = Limits { tcp_connections: 3, ..LIMITS };
    let server = Running::with(loopback(1), limits);
    let served = |last: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(loopback(last).into(), 0).into()).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SOON)).unwrap();
        let _ = stream.write_all(&framed(&query(1)));
        next_message(&mut stream).map(|reply| {
            assert_replies(&reply, 1);
            stream
        })
    };
    let (mut first, mut second, mut other) = (served(21).unwrap(), served(21).unwrap(), served(22).unwrap());
    // The first had a reply since, so the second has been idle for longer.
    thread::sleep(Duration::from_millis(5));
    first.write_all(&framed(&query(1))).unwrap();
    assert!(next_message(&mut first).is_some());
    let mut fourth = served(23).expect("room is made by the client with the most");
    assert!(next_message(&mut second).is_none(), "it was closed");
    for stream in [&mut first, &mut other, &mut fourth] {
        stream.write_all(&framed(&query(1))).unwrap();
        assert!(next_message(stream).is_some(), "it was not");
    }
}

/// A link-local address is in no subnet: whoever comes from there may not ask.
#[test]
fn strangers_keep_no_client_from_a_connection() {
    let Some((address, scope)) = link_local() else {
        eprintln!("skipped: no link-local IPv6 address here");
        return;
    };
    let server = Running::with(Ipv6Addr::UNSPECIFIED, Limits { tcp_connections: 2, ..LIMITS });
    let port = server.address.port();
    let connect = |to: SocketAddr| {
        let mut stream = TcpStream::connect_timeout(&to, SOON).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let _ = stream.write_all(&framed(&query(1)));
        let code = next_message(&mut stream).map(|reply| reply[3] & 0x0f);
        (stream, code)
    };
    let stranger = || connect(SocketAddrV6::new(address, port, 0, scope).into());
    let client = || connect(server.at_address(Ipv6Addr::LOCALHOST));
    let (mut first, code) = stranger();
    assert_eq!(code, Some(5), "a stranger is told REFUSED");
    let clients = [client(), client()];
    assert_eq!(next_message(&mut first), None, "the stranger has made room, though the client had as many");
    assert_eq!(stranger().1, None, "nobody makes room for a stranger");
    for (mut stream, code) in clients {
        assert_eq!(code, Some(0));
        stream.write_all(&framed(&query(2))).unwrap();
        assert!(next_message(&mut stream).is_some());
    }
}

#[test]
fn stop_answers_what_came_and_closes() {
    let server = Running::with(loopback(1), Limits { udp_threads: 2, ..LIMITS });
    let mut stream = server.connect();
    stream.write_all(&framed(&query(3))).unwrap();
    assert_replies(&next_message(&mut stream).unwrap(), 3);
    let address = server.address;
    let took = server.stop();
    assert!(took < Duration::from_millis(1000), "{took:?} with nothing under way");
    assert_eq!(next_message(&mut stream), None);
    // Nothing is left that holds the address.
    drop(open(address, 1, 0).unwrap());
}

#[test]
fn several_sockets_share_an_address_and_all_are_read() {
    let server = Running::with(loopback(1), Limits { udp_threads: 4, ..LIMITS });
    for id in 0..64 {
        let client = client(loopback(1));
        client.send_to(&query(id), server.address).unwrap();
        assert_eq!(next_reply(&client), (id, server.address));
    }
}

#[test]
fn pinned_threads_have_a_core_each_and_polling_ones_answer_too() {
    // One thread for each of two addresses: they must not begin with the same core.
    let limits = Limits { pin_threads: true, busy_poll: Duration::from_micros(50), ..LIMITS };
    let listeners = [1, 2].map(|last| open(SocketAddr::new(loopback(last).into(), 0), 1, 0).unwrap().listener);
    let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let _server = Running::on_all(&Upstream::open(), listeners.into(), limits);
    for (id, address) in (0..16).zip(addresses.iter().cycle()) {
        let client = client(loopback(1));
        client.send_to(&query(id), address).unwrap();
        assert_eq!(next_reply(&client), (id, *address));
    }
    let value = |status: &str, key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    };
    let status =
        |task: io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("status")).ok();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(status);
    let cores: BTreeSet<String> = threads
        .filter(|status| value(status, "Name").starts_with("udp-"))
        .map(|status| value(&status, "Cpus_allowed_list"))
        .filter(|cores| cores.parse::<usize>().is_ok())
        .collect();
    // Threads of other tests may be anywhere.
    assert_eq!(cores.len(), thread::available_parallelism().unwrap().get().min(2), "{cores:?}");
}

#[test]
fn an_address_in_use_is_told_with_who_has_it() {
    let me = std::fs::read_to_string("/proc/self/comm").unwrap();
    let pid = std::process::id();
    for threads in [1, 2] {
        let opened = open("127.0.0.31:0".parse().unwrap(), threads, 0).unwrap();
        let Listener { udp, tcp } = opened.listener;
        assert_eq!(udp.len(), threads);
        let address = udp[0].local_addr().unwrap();
        assert_eq!(tcp.as_ref().unwrap().local_addr().unwrap(), address);
        for again in [1, 2] {
            let tcp_error = open(address, again, 0).unwrap_err();
            let tells = format!("cannot listen on {address} (TCP): ");
            assert!(tcp_error.to_string().starts_with(&tells), "{tcp_error}");
        }
        drop(tcp);
        // Between its fork and its exec, a child of another test's holds the listener too.
        let began = Instant::now();
        let is_tcp = |error: &CannotListen| error.protocol == "TCP" && began.elapsed() < SOON;
        let refused = |address, threads| {
            iter::repeat_with(|| open(address, threads, 0).unwrap_err()).find(|error| !is_tcp(error)).unwrap()
        };
        for again in [1, 2] {
            let error = refused(address, again);
            let Reason::InUse { holder: Some(holder) } = &error.reason else { panic!("{error}") };
            // The kernel names threads, and a test runs in one of its own.
            assert!(holder.ends_with(&format!("(pid {pid})")), "{holder} is not {me}");
            let tells = format!(
                "cannot listen on {address} (UDP): {holder} has it; stop that program or choose another address in server.listen"
            );
            assert_eq!(error.to_string(), tells);
        }
        // A wildcard would swallow it.
        let error = refused(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), threads);
        assert!(matches!(error.reason, Reason::InUse { holder: Some(_) }), "{error}");
    }
}

#[test]
fn an_address_that_does_not_exist_yet_can_be_had() {
    // RFC 5737: for documentation, so no host has it.
    let opened = open("192.0.2.1:0".parse().unwrap(), 2, 64 * 1024).unwrap();
    assert_eq!(opened.listener.local_addr().unwrap().ip(), IpAddr::from([192, 0, 2, 1]));
    assert!(opened.receive_buffer > 0);
}

#[test]
fn the_receive_buffer_that_was_given_is_told() {
    let opened = open("127.0.0.1:0".parse().unwrap(), 1, 100_000).unwrap();
    assert_eq!(opened.receive_buffer, 100_000);
}

#[test]
fn descriptors_are_raised_as_far_as_allowed() {
    let now = raise_descriptor_limit(16).unwrap();
    assert!(now >= 16);
    let error = raise_descriptor_limit(u64::MAX).unwrap_err();
    assert!(error.limit >= now);
    assert!(error.to_string().contains("LimitNOFILE="), "{error}");
}

/// Nothing shared is left behind by many short lives.
#[test]
fn a_server_that_is_dropped_stops() {
    let opened = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap();
    let address = opened.listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inside = runtime.enter();
    let server = Server::start(Upstream::open().resolver(), vec![opened.listener], LIMITS).unwrap();
    drop(inside);
    let served = Arc::new(());
    let held = Arc::clone(&served);
    runtime.block_on(async {
        let running = server.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(MOMENT, running).await.is_err());
    });
    drop(runtime);
    assert_eq!(Arc::strong_count(&served), 1);
    let began = Instant::now();
    while let Err(error) = open(address, 1, 0) {
        assert!(began.elapsed() < SOON, "{error}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The address in a reply of one A record.
fn address_in(reply: &[u8]) -> Ipv4Addr {
    Ipv4Addr::from(*reply.last_chunk::<4>().unwrap())
}

const RESOLVERS_ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const PRIVATE_ANSWER: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 152);

#[test]
fn replies_that_waited_leave_from_the_address_that_was_asked() {
    let upstream = Upstream::closed();
    let listener = open("0.0.0.0:0".parse().unwrap(), 2, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, Limits { udp_threads: 2, ..LIMITS });
    let clients: Vec<_> = (0..6).map(|nth| client(loopback(11 + nth))).collect();
    for id in 0..30_u16 {
        for client in &clients {
            client.send_to(&query_for("one.example", id), server.at_address(loopback(1 + (id % 3) as u8))).unwrap();
        }
    }
    // All wait for one answer, and what needs none overtakes them.
    clients[0].send_to(&query(99), server.at_address(loopback(1))).unwrap();
    assert_eq!(next_reply(&clients[0]).0, 99);
    upstream.answer();
    for client in &clients {
        let mut replies: Vec<_> = (0..30)
            .map(|_| {
                let mut reply = [0; 512];
                let (length, from) = client.recv_from(&mut reply).unwrap();
                assert_eq!(address_in(&reply[..length]), RESOLVERS_ANSWER);
                (u16::from_be_bytes([reply[0], reply[1]]), from)
            })
            .collect();
        replies.sort_unstable();
        let expected = (0..30).map(|id| (id, server.at_address(loopback(1 + (id % 3) as u8))));
        assert!(replies.iter().copied().eq(expected), "{replies:?}");
    }
}

#[test]
fn over_tcp_what_is_ready_overtakes_what_waits() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let mut stream = server.connect();
    stream.write_all(&[framed(&query_for("slow.example", 1)), framed(&query(2))].concat()).unwrap();
    let first = next_message(&mut stream).unwrap();
    assert_eq!((first[1], address_in(&first)), (2, PRIVATE_ANSWER));
    upstream.answer();
    let second = next_message(&mut stream).unwrap();
    assert_eq!((second[1], address_in(&second)), (1, RESOLVERS_ANSWER));
}

/// More queries than may be under way on a connection: the rest is read as these return.
#[test]
fn a_connection_with_many_queries_under_way_waits_its_turn() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let mut stream = server.connect();
    let slow = (0..300).flat_map(|id| framed(&query_for("slow.example", id)));
    stream.write_all(&slow.chain(framed(&query(300))).collect::<Vec<_>>()).unwrap();
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let early = stream.peek(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock, "the last query was read, past 300 under way");
    stream.set_read_timeout(Some(SOON)).unwrap();
    upstream.answer();
    let mut ids: Vec<_> = (0..301)
        .map(|_| {
            let reply = next_message(&mut stream).unwrap();
            u16::from_be_bytes([reply[0], reply[1]])
        })
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..301));
}

#[test]
fn stop_waits_for_what_is_under_way() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let client = client(loopback(1));
    let mut stream = server.connect();
    stream.write_all(&framed(&query_for("slow.example", 1))).unwrap();
    client.send_to(&query_for("slow.example", 2), server.address).unwrap();
    thread::sleep(MOMENT);
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(400));
            upstream.answer();
        });
        server.stop()
    });
    assert!((400..1200).contains(&took.as_millis()), "{took:?}");
    assert_eq!(next_message(&mut stream).map(|reply| address_in(&reply)), Some(RESOLVERS_ANSWER));
    assert_eq!(next_message(&mut stream), None);
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(address_in(&reply[..length]), RESOLVERS_ANSWER);
}

/// The client has sent more than is read of it: a connection that is closed with octets unread is reset, and with that goes
/// what the client has not had yet.
#[test]
fn stop_loses_no_reply_to_a_client_that_asked_for_more() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let mut stream = server.connect_narrowly();
    let name = vec!["a".repeat(60); 4].join(".") + ".example";
    stream.write_all(&(0..300).flat_map(|id| framed(&query_for(&name, id))).collect::<Vec<_>>()).unwrap();
    thread::sleep(MOMENT);
    let replies = thread::scope(|scope| {
        scope.spawn(|| server.stop());
        thread::sleep(MOMENT);
        upstream.answer();
        iter::from_fn(|| next_message(&mut stream)).filter(|reply| address_in(reply) == RESOLVERS_ANSWER).count()
    });
    assert!(replies >= UNDER_WAY, "{replies} replies");
}

/// All wait for one long answer, and each has a copy of it.
#[test]
fn what_a_client_leaves_unread_takes_little_memory() {
    let upstream = Upstream::long();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let mut stream = server.connect_narrowly();
    let all = UNDER_WAY as u16;
    stream.write_all(&(0..all).flat_map(|id| framed(&query_for("long.example", id))).collect::<Vec<_>>()).unwrap();
    upstream.answer();
    thread::sleep(MOMENT * 5);
    let (mut ids, mut long, mut failed) = (BTreeSet::new(), 0, 0);
    for _ in 0..all {
        let reply = next_message(&mut stream).unwrap();
        ids.insert(u16::from_be_bytes([reply[0], reply[1]]));
        match reply[3] & 0x0f {
            0 if reply.len() > 60_000 => long += 1,
            2 if reply.len() < 512 => failed += 1,
            code => panic!("rcode {code} in {} octets", reply.len()),
        }
    }
    assert!(ids.into_iter().eq(0..all));
    // Beside what is kept here, the kernel takes some.
    assert!(long >= 4 && failed > 0, "{long} long replies, {failed} SERVFAIL");
    // Whoever reads again is answered again.
    stream.write_all(&framed(&query_for("long.example", 7))).unwrap();
    assert!(next_message(&mut stream).unwrap().len() > 60_000);
}

/// A time to wait that no clock can show is a mistake of ours, which no configuration can ask for.
#[test]
fn a_query_that_makes_the_responder_panic_costs_only_its_reply() {
    let mut config = Upstream::open().config();
    config.upstream.timeout = Duration::MAX;
    let resolver = Resolver::start(&config).unwrap();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::of(resolver.clone(), vec![listener], LIMITS);
    let mut stream = server.connect();
    stream.write_all(&[framed(&query(1)), framed(&query_for("slow.example", 2)), framed(&query(3))].concat()).unwrap();
    assert_replies(&next_message(&mut stream).unwrap(), 1);
    assert_replies(&next_message(&mut stream).unwrap(), 3);
    let client = client(loopback(1));
    client.send_to(&query_for("slow.example", 4), server.address).unwrap();
    client.send_to(&query(5), server.address).unwrap();
    assert_eq!(next_reply(&client).0, 5);
    assert_eq!(resolver.totals().panics, 2, "one over TCP, one over UDP");
    drop(stream);
    server.stop();
    let totals = resolver.totals();
    assert_eq!((totals.tcp_connections, totals.tcp_ended), (1, 1));
}

#[test]
fn stop_does_not_wait_for_ever() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let mut stream = server.connect();
    stream.write_all(&framed(&query_for("never.example", 1))).unwrap();
    thread::sleep(MOMENT);
    let took = server.stop();
    assert!((1300..1800).contains(&took.as_millis()), "{took:?}");
    assert_eq!(next_message(&mut stream), None);
}

#[test]
fn a_query_too_many_is_told_so_at_once() {
    let upstream = Upstream::closed();
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 8 << 20).unwrap().listener;
    let server = Running::forwarding(&upstream, listener, LIMITS);
    let client = client(loopback(1));
    let began = Instant::now();
    // 10,000 may wait.
    for id in 0..10_100 {
        client.send_to(&query_for("slow.example", id), server.address).unwrap();
        if id % 100 == 99 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    let mut reply = [0; 512];
    for _ in 0..100 {
        client.recv(&mut reply).unwrap();
        assert_eq!(reply[3] & 0x0f, 2, "SERVFAIL");
    }
    assert!(
        began.elapsed() < Duration::from_millis(1900),
        "{:?}, so these may be those that timed out",
        began.elapsed()
    );
}
