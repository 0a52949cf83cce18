//! Resolvers that misbehave, on real sockets of the loopback interface: what phzd makes of silence, refusal, lies and
//! haste, and what it costs.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use phzd::config::{File, Machine};
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::server::sockets::open;
use phzd::server::{Limits, Server};
use phzd::wire::{Question, Transport};
use tokio::runtime::Runtime;

use nix::sys::signal::Signal;

use crate::daemon::{Daemon, free_address};

/// Far more than loopback needs, so that a test fails instead of hanging.
pub const SOON: Duration = Duration::from_secs(10);
/// Half of the default deadline: who is told before has not waited it out.
const EARLY: Duration = Duration::from_millis(2000);
/// The answer of a resolver that means well.
pub const GOOD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// The answer of one that does not.
const BAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// The extended error No Reachable Authority (RFC 8914 section 4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

//------------ Resolvers ----------------------------------------------------------------------------------------------

/// A query that a resolver received.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The message.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub from: SocketAddr,
}

impl Asked {
    fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Where the question ends.
    fn end(&self) -> usize {
        12 + self.bytes[12..].iter().position(|octet| *octet == 0).unwrap() + 5
    }

    /// The name asked, in lower case and without its last dot.
    pub fn name(&self) -> String {
        let (mut name, mut at) = (Vec::new(), 12);
        while self.bytes[at] != 0 {
            let end = at + 1 + usize::from(self.bytes[at]);
            name.push(String::from_utf8(self.bytes[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        name.join(".").to_ascii_lowercase()
    }

    /// Whether it only looks for a forwarding loop.
    pub fn is_probe(&self) -> bool {
        self.name().contains(".loop-check.")
    }

    /// A reply with these flags and so many A records of `address`.
    fn reply(&self, flags: [u8; 2], address: Ipv4Addr, count: u16) -> Vec<u8> {
        let mut reply = self.bytes[..self.end()].to_vec();
        reply[2..4].copy_from_slice(&flags);
        reply[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        reply[6..8].copy_from_slice(&count.to_be_bytes());
        for _ in 0..count {
            reply.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\0\0\x04");
            reply.extend(address.octets());
        }
        reply
    }

    /// The reply that says `address`, to be kept for 256 seconds; NODATA if something else was asked for.
    pub fn answer(&self, address: Ipv4Addr) -> Vec<u8> {
        self.reply([0x81, 0x80], address, u16::from(self.bytes[self.end() - 3] == 1))
    }

    /// The reply that says to ask over TCP.
    fn truncated(&self) -> Vec<u8> {
        self.reply([0x83, 0x80], GOOD, 0)
    }
}

/// A resolver of 127.0.0.1 that does as the test says.
pub struct Standin {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Standin {
    /// Hands each datagram to `act`, with the socket to reply by. Nobody listens on TCP.
    pub fn udp(act: impl FnMut(&Asked, &UdpSocket) + Send + 'static) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").unwrap(), act)
    }

    /// Says that every answer is too long for a datagram, and hands each connection to `act`, after its first query.
    pub fn tcp(mut act: impl FnMut(&Asked, TcpStream) + Send + 'static) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let standin = Self::on(socket, |asked, socket| {
            let reply = if asked.is_probe() { asked.answer(GOOD) } else { asked.truncated() };
            socket.send_to(&reply, asked.from).unwrap();
        });
        let stop = Arc::clone(&standin.stop);
        thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept()
                && !stop.load(Ordering::Relaxed)
            {
                act(&Asked { bytes: next_message(&mut stream), from }, stream);
            }
        });
        standin
    }

    /// One that answers everything well.
    pub fn good() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    /// One at another address of this host.
    pub fn at(ip: impl Into<IpAddr>) -> Self {
        Self::on(UdpSocket::bind((ip.into(), 0)).unwrap(), well)
    }

    /// One that never says anything.
    fn silent() -> Self {
        Self::udp(|_, _| {})
    }

    fn on(socket: UdpSocket, mut act: impl FnMut(&Asked, &UdpSocket) + Send + 'static) -> Self {
        let address = socket.local_addr().unwrap();
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let standin = Self { address, asked: Arc::clone(&asked), stop: Arc::clone(&stop) };
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer)
                && !stop.load(Ordering::Relaxed)
            {
                let query = Asked { bytes: buffer[..length].to_vec(), from };
                let seen: &Mutex<Vec<_>> = &asked;
                seen.lock().unwrap().push(query.clone());
                act(&query, &socket);
            }
        });
        standin
    }

    /// The datagrams that asked for clients, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| !asked.is_probe()).cloned().collect()
    }

    /// How many of them asked for `name`.
    fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name() == name).count()
    }

    /// Waits until so many came.
    pub fn await_asked(&self, count: usize) {
        let began = Instant::now();
        while self.asked().len() < count {
            assert!(began.elapsed() < SOON, "{} of {count} queries came", self.asked().len());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its threads wait for somebody to come.
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        drop(waker.send_to(&[], self.address));
        drop(TcpStream::connect(self.address));
    }
}

/// Answers as one should.
fn well(asked: &Asked, socket: &UdpSocket) {
    socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
}

/// An address of 127.0.0.1 where nobody listens.
fn closed_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A message as it stands in a TCP stream.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// The next message of a TCP stream.
pub fn next_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

//------------ phzd ---------------------------------------------------------------------------------------------------

/// A resolver of this library, asked without a socket between.
struct Phzd {
    runtime: Runtime,
    resolver: Resolver,
}

impl Phzd {
    fn new(resolvers: &[SocketAddr]) -> Self {
        Self::with_timeout(resolvers, 4000)
    }

    fn with_timeout(resolvers: &[SocketAddr], milliseconds: u32) -> Self {
        let list: Vec<String> = resolvers.iter().map(SocketAddr::to_string).collect();
        let text = format!(
            "[vpc]\nregion = 'eu-west-1'\ncidrs = ['172.31.0.0/16']\nself = '172.31.1.5'\nresolvers = {list:?}\n\
             [upstream]\ntimeout-ms = {milliseconds}\n"
        );
        let machine = Machine { cores: 1, addresses: Vec::new() };
        let (config, _) = File::parse("test", &text).check(&machine).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, resolver: Resolver::start(&config).unwrap() }
    }

    fn ask(&self, name: &str) -> Reply {
        self.ask_all([name]).remove(0)
    }

    /// Asks for all names at once.
    fn ask_all<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Reply> {
        let began = Instant::now();
        let asking = names.into_iter().map(|name| {
            let (query, mut resolver) = (query(name), self.resolver.clone());
            self.runtime.spawn(async move {
                let reply = resolver.resolve(&query, "127.0.0.1:4000".parse().unwrap(), Transport::Udp).await;
                Reply::new(&reply.unwrap(), began.elapsed())
            })
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().map(|asking| self.runtime.block_on(asking).unwrap()).collect()
    }
}

/// A query for the address of `name`, with EDNS.
pub fn query(name: &str) -> Vec<u8> {
    let question = Question { name: name.parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false };
    question.message(7, question.name.as_wire(), true)
}

/// What a client was told.
#[derive(Debug)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// Addresses in the answer section.
    pub addresses: Vec<Ipv4Addr>,
    /// Codes of extended errors.
    pub errors: Vec<u16>,
    took: Duration,
}

impl Reply {
    /// Reads a reply.
    pub fn new(bytes: &[u8], took: Duration) -> Self {
        let message = Message::from_vec(bytes).unwrap();
        let address = |data: &RData| if let RData::A(a) = data { Some(a.0) } else { None };
        let options = message.edns.iter().flat_map(|edns| edns.options().get_all(EdnsCode::from(15)));
        let code = |option: &EdnsOption| match option {
            EdnsOption::Unknown(_, data) => u16::from_be_bytes([data[0], data[1]]),
            other => panic!("{other:?}"),
        };
        Self {
            code: message.metadata.response_code,
            addresses: message.answers.iter().filter_map(|record| address(&record.data)).collect(),
            errors: options.into_iter().map(code).collect(),
            took,
        }
    }

    fn assert_good(&self) {
        assert_eq!((self.code, &*self.addresses), (ResponseCode::NoError, &[GOOD][..]), "{self:?}");
    }

    fn assert_servfail(&self) {
        assert_eq!((self.code, &*self.errors), (ResponseCode::ServFail, &[NO_REACHABLE_AUTHORITY][..]), "{self:?}");
        assert!(self.addresses.is_empty(), "{self:?}");
    }
}

//------------ Silence and refusal ------------------------------------------------------------------------------------

#[test]
fn a_silent_resolver_costs_little_while_another_answers() {
    let (silent, good) = (Standin::silent(), Standin::good());
    let phzd = Phzd::new(&[silent.address, good.address]);
    let first = phzd.ask("first.example");
    first.assert_good();
    assert!(first.took < EARLY, "{first:?}");
    // Now it is known, and others are asked before it.
    for nth in 0..20 {
        phzd.ask(&format!("n{nth}.example")).assert_good();
    }
    let wasted = silent.asked().len();
    assert!(wasted <= 3, "a silent resolver was asked {wasted} times in 21 questions");
}

#[test]
fn silence_of_all_is_told_at_the_deadline() {
    let (one, other) = (Standin::silent(), Standin::silent());
    let phzd = Phzd::with_timeout(&[one.address, other.address], 300);
    let reply = phzd.ask("x.example");
    reply.assert_servfail();
    assert!((300..EARLY.as_millis()).contains(&reply.took.as_millis()), "{reply:?}");
    assert!(one.count("x.example") + other.count("x.example") >= 2, "both were asked");
}

#[test]
fn a_port_where_nobody_listens_is_left_at_once() {
    // A machine that is busy at one moment is not busy at all of them.
    let took = (0..5).map(|_| {
        let good = Standin::good();
        let reply = Phzd::new(&[closed_port(), good.address]).ask("x.example");
        reply.assert_good();
        reply.took
    });
    let took = took.min().unwrap();
    assert!(took < Duration::from_millis(200), "{took:?}: as slow as a resolver that is silent");

    let reply = Phzd::with_timeout(&[closed_port()], 300).ask("x.example");
    reply.assert_servfail();
    assert!(reply.took < EARLY, "{reply:?}");
}

#[test]
fn a_resolver_that_restarts_is_found_again() {
    let address = free_address();
    let phzd = Phzd::new(&[address]);
    thread::scope(|scope| {
        let asking = scope.spawn(|| phzd.ask("x.example"));
        let began = Instant::now();
        while phzd.resolver.in_flight() == 0 {
            assert!(began.elapsed() < SOON);
            thread::yield_now();
        }
        let _back = Standin::on(UdpSocket::bind(address).unwrap(), well);
        asking.join().unwrap().assert_good();
    });
}

#[test]
fn a_failure_is_the_last_word_only_when_nobody_does_better() {
    let failing = |code: u8| {
        Standin::udp(move |asked, socket| {
            socket.send_to(&asked.reply([0x81, 0x80 | code], GOOD, 0), asked.from).unwrap();
        })
    };
    let (servfail, refused, good) = (failing(2), failing(5), Standin::good());
    Phzd::new(&[servfail.address, refused.address, good.address]).ask("x.example").assert_good();
    let told = Phzd::new(&[servfail.address, refused.address]).ask("y.example");
    assert!([ResponseCode::Refused, ResponseCode::ServFail].contains(&told.code), "{told:?}");
    assert!(told.took < EARLY, "{told:?}");
    assert_eq!((servfail.count("y.example"), refused.count("y.example")), (1, 1), "nobody is asked twice");
    // A failure is kept for a moment.
    let again = Phzd::new(&[servfail.address]);
    for _ in 0..2 {
        assert_eq!(again.ask("y.example").code, ResponseCode::ServFail);
    }
    assert_eq!(servfail.count("y.example"), 2);
}

//------------ Lies ---------------------------------------------------------------------------------------------------

#[test]
fn what_does_not_fit_the_question_is_waited_past() {
    let liar = Standin::udp(|asked, socket| {
        let mut lie = asked.answer(BAD);
        match asked.name().split('.').next().unwrap() {
            "id" => lie[1] ^= 1,
            "name" => lie[13] ^= 1,
            "type" => lie[asked.end() - 3] = 28,
            "class" => lie[asked.end() - 1] = 3,
            "query" => lie[2] &= 0x7f,
            "opcode" => lie[2] |= 0x28,
            "noquestion" => lie[5] = 0,
            "short" => lie.truncate(11),
            "empty" => lie.clear(),
            "garbage" => lie.iter_mut().enumerate().skip(2).for_each(|(at, octet)| *octet = (at * 37) as u8),
            _ => return,
        }
        socket.send_to(&lie, asked.from).unwrap();
        if !asked.name().contains("only-lies") {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    });
    let lies = ["id", "name", "type", "class", "query", "opcode", "noquestion", "short", "empty", "garbage"];
    let phzd = Phzd::new(&[liar.address]);
    for (lie, reply) in lies.iter().zip(phzd.ask_all(lies.map(|lie| format!("{lie}.example")).iter().map(|it| &**it))) {
        assert_eq!((reply.code, &*reply.addresses), (ResponseCode::NoError, &[GOOD][..]), "{lie}: {reply:?}");
    }
    let phzd = Phzd::with_timeout(&[liar.address], 300);
    let names = lies.map(|lie| format!("{lie}.only-lies.example"));
    for reply in phzd.ask_all(names.iter().map(|it| &**it)) {
        reply.assert_servfail();
        assert!(reply.took >= Duration::from_millis(300), "a lie ended the wait: {reply:?}");
    }
}

#[test]
fn a_reply_that_cannot_be_read_sends_the_question_to_the_next() {
    let broken = Standin::udp(|asked, socket| {
        let whole = asked.answer(BAD);
        socket.send_to(&whole[..whole.len() - 1], asked.from).unwrap();
    });
    let good = Standin::good();
    Phzd::new(&[broken.address, good.address]).ask("x.example").assert_good();
    assert_eq!((broken.count("x.example"), good.count("x.example")), (1, 1));
    let alone = Phzd::new(&[broken.address]).ask("x.example");
    alone.assert_servfail();
    assert!(alone.took < EARLY, "{alone:?}");
}

#[test]
fn only_the_first_of_two_answers_counts() {
    let hasty = Standin::udp(|asked, socket| {
        socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        socket.send_to(&asked.answer(BAD), asked.from).unwrap();
    });
    let phzd = Phzd::new(&[hasty.address]);
    for nth in 0..20 {
        let name = format!("n{nth}.example");
        phzd.ask(&name).assert_good();
        phzd.ask(&name).assert_good();
        assert_eq!(hasty.count(&name), 1, "the second came from the cache");
    }
}

//------------ Too long for a datagram --------------------------------------------------------------------------------

/// How long a stream that leads nowhere stays open.
fn hold(stream: TcpStream) {
    thread::spawn(move || {
        let _held = stream;
        thread::sleep(SOON);
    });
}

#[test]
fn what_was_truncated_is_fetched_over_tcp() {
    let whole = Standin::tcp(|asked, mut stream| stream.write_all(&framed(&asked.answer(GOOD))).unwrap());
    Phzd::new(&[whole.address]).ask("x.example").assert_good();
    let dribbling = Standin::tcp(|asked, mut stream| {
        stream.set_nodelay(true).unwrap();
        for octet in framed(&asked.answer(GOOD)) {
            stream.write_all(&[octet]).unwrap();
            thread::sleep(Duration::from_micros(500));
        }
    });
    Phzd::new(&[dribbling.address]).ask("x.example").assert_good();
}

#[test]
fn a_stream_that_fails_leaves_the_question_to_the_next_resolver() {
    let half = || {
        Standin::tcp(|asked, mut stream| {
            let answer = framed(&asked.answer(GOOD));
            stream.write_all(&answer[..answer.len() / 2]).unwrap();
        })
    };
    let refused = || {
        Standin::udp(|asked, socket| {
            socket.send_to(&asked.truncated(), asked.from).unwrap();
        })
    };
    let lying = || {
        Standin::tcp(|asked, mut stream| {
            let mut answer = asked.answer(BAD);
            answer[0] ^= 1;
            stream.write_all(&framed(&answer)).unwrap();
        })
    };
    for failing in [half(), refused(), lying()] {
        let alone = Phzd::new(&[failing.address]).ask("x.example");
        alone.assert_servfail();
        assert!(alone.took < EARLY, "{alone:?}");
        let good = Standin::good();
        let both = Phzd::new(&[failing.address, good.address]).ask("x.example");
        both.assert_good();
        assert!(both.took < EARLY, "{both:?}");
    }
}

#[test]
fn a_stream_that_claims_and_says_nothing_ends_at_the_deadline() {
    let claiming = Standin::tcp(|_, mut stream| {
        stream.write_all(&[0xff, 0xff]).unwrap();
        hold(stream);
    });
    let reply = Phzd::with_timeout(&[claiming.address], 300).ask("x.example");
    reply.assert_servfail();
    assert!((300..EARLY.as_millis()).contains(&reply.took.as_millis()), "{reply:?}");
}

#[test]
fn a_stream_that_comes_octet_by_octet_is_an_answer_all_the_same() {
    let slow = Standin::tcp(|asked, mut stream| {
        stream.set_nodelay(true).unwrap();
        for octet in framed(&asked.answer(GOOD)) {
            stream.write_all(&[octet]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    });
    Phzd::new(&[slow.address]).ask("x.example").assert_good();
}

#[test]
fn a_stream_that_says_nothing_leaves_time_for_the_next_resolver() {
    let claiming = Standin::tcp(|_, mut stream| {
        stream.write_all(&[0xff, 0xff]).unwrap();
        hold(stream);
    });
    let good = Standin::good();
    let reply = Phzd::new(&[claiming.address, good.address]).ask("x.example");
    reply.assert_good();
    assert!(reply.took < Duration::from_millis(3900), "{reply:?}");
}

#[test]
fn an_answer_of_64_kibibytes_reaches_a_tcp_client() {
    const RECORDS: u16 = 4092;
    let large = Standin::tcp(|asked, mut stream| {
        let answer = asked.reply([0x81, 0x80], GOOD, RECORDS);
        assert!((65_400..=65_535).contains(&answer.len()), "{}", answer.len());
        stream.write_all(&framed(&answer)).unwrap();
    });
    let phzd = Phzd::new(&[large.address]);
    let listener = open("127.0.0.1:0".parse().unwrap(), 1, 0).unwrap().listener;
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        udp_threads: 1,
        pin_threads: false,
        busy_poll: Duration::ZERO,
        tcp_connections: 4,
        tcp_connections_per_client: 4,
        prefixes: Prefixes::new(32, 56),
        tcp_idle: SOON,
    };
    let _inside = phzd.runtime.enter();
    let _server = Server::start(phzd.resolver.clone(), vec![listener], limits).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    for from in ["the resolver", "the cache"] {
        stream.write_all(&framed(&query("x.example"))).unwrap();
        let reply = Reply::new(&next_message(&mut stream), Duration::ZERO);
        assert_eq!((reply.code, reply.addresses.len()), (ResponseCode::NoError, RECORDS.into()), "from {from}");
    }
    // Over UDP it is cut, and says so.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.send_to(&query("x.example"), address).unwrap();
    let mut reply = [0; 4096];
    let length = client.recv(&mut reply).unwrap();
    assert!(length <= 1232 && reply[2] & 0x02 != 0, "{length} octets, flags {:02x}", reply[2]);
}

//------------ What it costs ------------------------------------------------------------------------------------------

#[test]
fn a_question_is_repeated_from_another_port_with_another_id() {
    let mut seen = HashSet::new();
    let deaf = Standin::udp(move |asked, socket| {
        if !seen.insert(asked.name()) {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    });
    let phzd = Phzd::new(&[deaf.address]);
    let names: Vec<_> = (0..8).map(|nth| format!("n{nth}.example")).collect();
    phzd.ask_all(names.iter().map(|it| &**it)).iter().for_each(Reply::assert_good);
    let mut repeated = HashMap::<_, Vec<_>>::new();
    for asked in deaf.asked() {
        repeated.entry(asked.name()).or_default().push((asked.from.port(), asked.id()));
    }
    assert_eq!(repeated.len(), names.len());
    for sent in repeated.values() {
        assert_ne!(sent[0].0, sent[1].0, "the port of {sent:?}");
    }
    assert!(repeated.values().any(|sent| sent[0].1 != sent[1].1), "ids are drawn anew: {repeated:?}");
}

#[test]
fn equal_questions_at_one_time_cost_one_packet() {
    /// What one question may cost when nobody answers.
    const MOST: usize = 6;
    for _ in 0..5 {
        let mut held = Vec::new();
        let slow = Standin::udp(move |asked, socket| {
            held.push(asked.clone());
            // Questions are taken in turn, so all that were asked before this one have joined their flight.
            if asked.name() == "last.example" {
                held.drain(..).for_each(|asked| well(&asked, socket));
            }
        });
        let phzd = Phzd::new(&[slow.address]);
        let began = Instant::now();
        let took = thread::scope(|scope| {
            let asking = scope.spawn(|| phzd.ask_all(["x.example"; 200]));
            while phzd.resolver.in_flight() < 200 {
                assert!(began.elapsed() < SOON, "{} wait", phzd.resolver.in_flight());
                thread::yield_now();
            }
            phzd.ask("last.example").assert_good();
            asking.join().unwrap().iter().for_each(Reply::assert_good);
            began.elapsed()
        });
        let count = slow.count("x.example");
        assert!(count <= MOST, "{count} packets");
        // A resolver that has not answered yet is asked again after 250 ms, and rightly so.
        if took < Duration::from_millis(200) {
            assert_eq!(count, 1, "in {took:?}");
            return;
        }
    }
    eprintln!(
        "this machine is too busy to ask 200 questions in a quarter of a second: seen was that they cost few packets"
    );
}

#[test]
fn questions_leave_from_many_ports_and_none_serves_long() {
    let good = Standin::good();
    let phzd = Phzd::new(&[good.address]);
    let ask = |range: std::ops::Range<u32>| {
        let names: Vec<_> = range.map(|nth| format!("n{nth}.example")).collect();
        // Few at a time: a receive buffer that overflows would be another test.
        for few in names.chunks(50) {
            phzd.ask_all(few.iter().map(|it| &**it)).iter().for_each(Reply::assert_good);
        }
    };
    let ports = || {
        let mut ports = HashMap::<u16, HashSet<u16>>::new();
        for asked in good.asked() {
            ports.entry(asked.from.port()).or_default().insert(asked.id());
        }
        ports
    };
    ask(0..200);
    assert!(ports().len() >= 12, "200 questions left from {} ports", ports().len());
    ask(200..6000);
    let busy: Vec<_> = ports().into_iter().filter(|(_, ids)| ids.len() > 256).collect();
    // The kernel may draw a port a second time after its socket was closed.
    assert!(busy.len() <= 1, "ports with more than 256 questions: {:?}", busy.iter().map(|(port, _)| port));
    assert!(ports().len() >= 26, "6000 questions left from {} ports", ports().len());
}

//------------ A loop -------------------------------------------------------------------------------------------------

/// phzd forwards to a second phzd, which forwards to the first.
#[test]
fn a_loop_of_two_is_seen_and_makes_no_storm() {
    let (here, there) = (free_address(), free_address());
    let loops = "this resolver forwards to phzd itself";
    let second = Daemon::forwarding(there, here);
    let first = Daemon::forwarding(here, there);
    // Whichever sees it first cuts the loop for both.
    let began = Instant::now();
    while !first.log().contains(loops) && !second.log().contains(loops) {
        assert!(began.elapsed() < SOON, "nobody saw the loop:\n{}\n{}", first.log(), second.log());
        thread::sleep(Duration::from_millis(5));
    }
    for nth in 0..10 {
        let began = Instant::now();
        let reply = first.ask(&format!("n{nth}.example"));
        assert_eq!(reply.code, ResponseCode::ServFail, "{reply:?}");
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?} before it was told", began.elapsed());
    }
    let mut queries = 0;
    for daemon in [second, first] {
        daemon.signal(Signal::SIGTERM);
        let ended = daemon.wait();
        let said = ended.log.matches(loops).count();
        assert!(said <= 1, "{}", ended.log);
        let (_, count) = ended.log.split_once("queries=").unwrap();
        queries += count.split(' ').next().unwrap().parse::<u32>().unwrap();
    }
    // 10 of the client, 2 probes, the probes' echoes and what was under way before they were seen.
    assert!((12..40).contains(&queries), "{queries} queries in all");
}
