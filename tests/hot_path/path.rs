//! The hot path, set up to be measured: a hall whose cache is filled, and a query of every kind that is answered at
//! once. Apart from what measures, because allocations, instructions and times are all taken of the same queries.
//!
//! No socket and no clock: the cache is filled by the forwarder itself, from messages written here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use phzd::config::Config;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Ask, Forwarder};
use phzd::wire::Transport;

const CONFIG: &str = r#"
    [vpc]
    region = "ap-northeast-1"
    cidrs = ["172.31.0.0/16", "2001:db8::/56"]
    self = "172.31.1.5"
    [[subnet]]
    name = "private-a"
    cidr = ["172.31.1.0/24", "2001:db8::/64"]
    [[subnet]]
    name = "v6-only"
    cidr = "2001:db8:0:6::/64"
    dns64 = true
    [[endpoint]]
    name = "one"
    addresses = ["172.31.1.152"]
    [[endpoint]]
    name = "three"
    addresses = ["172.31.1.152", "172.31.2.77", "172.31.3.9", "2001:db8::1", "2001:db8::2", "2001:db8::3"]
    [[bucket]]
    names = ["one-address"]
    endpoint = "one"
    allow = ["private-a"]
    [[bucket]]
    names = ["three-addresses"]
    endpoint = "three"
    allow = ["private-a"]
    [[bucket]]
    names = ["refused"]
    endpoint = "one"
    allow = ["private-a"]
    others = "refused"
    [[bucket]]
    names = ["dropped"]
    endpoint = "one"
    allow = ["private-a"]
    others = "drop"
    [[zone]]
    name = "internal.example"
    records = [
        { name = "in", type = "CNAME", values = ["db"] },
        { name = "out", type = "CNAME", values = ["www.example.com."] },
        { name = "db", type = "A", values = ["172.31.1.20"] },
        { name = "*.web", type = "A", values = ["172.31.1.21", "172.31.1.22"] },
    ]
"#;

/// Below it stand the buckets.
const S3: &str = "s3.ap-northeast-1.amazonaws.com";
/// A client that the buckets are for, the same over IPv6, one on this host, one that they are not for, one with IPv6
/// alone, and one that may not ask.
const PRIVATE: &str = "172.31.1.7:4242";
const PRIVATE_V6: &str = "[2001:db8::7]:4242";
const HERE: &str = "127.0.0.1:4242";
const PUBLIC: &str = "172.31.0.7:4242";
const V6_ONLY: &str = "[2001:db8:0:6::7]:4242";
const STRANGER: &str = "192.0.2.7:4242";

/// Seconds.
const HOUR: u32 = 3600;

/// Record types.
mod kind {
    pub const A: u16 = 1;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const AAAA: u16 = 28;
    pub const HTTPS: u16 = 65;
    pub const AXFR: u16 = 252;
}

/// A query, and what it must get.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is called where figures are told.
    pub name: &'static str,
    pub packet: Vec<u8>,
    pub client: SocketAddr,
    pub transport: Transport,
    pub expected: Expected,
}

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A reply with this code and so many records in its answer section.
    Reply(u8, u8),
    /// A resolver must be asked.
    Forward,
    /// No reply.
    Drop,
}

impl Case {
    fn new(name: &'static str, client: &str, packet: Vec<u8>, expected: Expected) -> Self {
        Self { name, packet, client: address(client), transport: Transport::Udp, expected }
    }
}

/// Every kind of query, as a stub resolver asks it.
pub fn cases() -> Vec<Case> {
    use Expected::{Drop, Forward, Reply};
    use kind::{A, AAAA, AXFR, HTTPS, SOA};
    let bucket = |name: &str, kind| query(&format!("{name}.{S3}"), kind);
    let public = |name: &str, kind| query(&format!("{name}.example.com"), kind);
    let changed = |mut packet: Vec<u8>, at: usize, octet| {
        packet[at] = octet;
        packet
    };
    let over_tcp = Case::new("hit A over TCP", PRIVATE, public("www", A), Reply(0, 1));
    vec![
        Case::new("private A", PRIVATE, bucket("one-address", A), Reply(0, 1)),
        Case::new("private A, EDNS", PRIVATE, with_edns(bucket("one-address", A)), Reply(0, 1)),
        Case::new("private A, client over IPv6", PRIVATE_V6, bucket("one-address", A), Reply(0, 1)),
        Case::new("private A, client on this host", HERE, bucket("one-address", A), Reply(0, 1)),
        Case::new("private A, three in turns", PRIVATE, bucket("three-addresses", A), Reply(0, 3)),
        Case::new("private AAAA, three in turns", PRIVATE, bucket("three-addresses", AAAA), Reply(0, 3)),
        Case::new("private AAAA, NODATA", PRIVATE, bucket("one-address", AAAA), Reply(0, 0)),
        Case::new("private HTTPS, NODATA", PRIVATE, bucket("one-address", HTTPS), Reply(0, 0)),
        Case::new("private SOA", PRIVATE, bucket("one-address", SOA), Reply(0, 1)),
        Case::new("private NXDOMAIN", PRIVATE, bucket("below.one-address", A), Reply(3, 0)),
        Case::new("private, refused to others", PUBLIC, bucket("refused", A), Reply(5, 0)),
        Case::new("private, dropped for others", PUBLIC, bucket("dropped", A), Drop),
        Case::new("zone A", PRIVATE, query("db.internal.example", A), Reply(0, 1)),
        Case::new("zone A, wildcard", PRIVATE, query("a.web.internal.example", A), Reply(0, 2)),
        Case::new("zone AAAA made of A", V6_ONLY, query("db.internal.example", AAAA), Reply(0, 1)),
        Case::new("zone A, by its CNAME", PRIVATE, query("in.internal.example", A), Reply(0, 2)),
        Case::new("zone A, by a cached CNAME", PRIVATE, public("into-zone", A), Reply(0, 2)),
        Case::new("zone NXDOMAIN", PRIVATE, query("nobody.internal.example", A), Reply(3, 0)),
        Case::new("hit A", PRIVATE, public("www", A), Reply(0, 1)),
        Case::new("hit A, EDNS", PRIVATE, with_edns(public("www", A)), Reply(0, 1)),
        Case { transport: Transport::Tcp, ..over_tcp },
        Case::new("hit A, two CNAMEs", PRIVATE, public("chain", A), Reply(0, 4)),
        Case::new("hit A, by a zone's CNAME", PRIVATE, query("out.internal.example", A), Reply(0, 2)),
        Case::new("hit A, truncated", PRIVATE, public("large", A), Reply(0, 0)),
        Case::new("hit A, stale", PRIVATE, public("stale", A), Reply(0, 1)),
        Case::new("hit AAAA", PRIVATE, public("www", AAAA), Reply(0, 1)),
        Case::new("hit HTTPS", PRIVATE, public("www", HTTPS), Reply(0, 1)),
        Case::new("hit NODATA", PRIVATE, public("v4", AAAA), Reply(0, 0)),
        Case::new("hit NXDOMAIN", PRIVATE, public("nobody", A), Reply(3, 0)),
        Case::new("hit SERVFAIL", PRIVATE, public("lost", A), Reply(2, 0)),
        Case::new("refused to a stranger", STRANGER, public("www", A), Reply(5, 0)),
        Case::new("refused without RD", PRIVATE, changed(public("www", A), 2, 0), Reply(5, 0)),
        Case::new("not served: AXFR", PRIVATE, public("www", AXFR), Reply(4, 0)),
        Case::new("malformed: two questions", PRIVATE, changed(public("www", A), 5, 2), Reply(1, 0)),
        Case::new("dropped: a reply", PRIVATE, changed(public("www", A), 2, 0x80), Drop),
        Case::new("dropped: port 0", "172.31.1.7:0", public("www", A), Drop),
        Case::new("miss, up to the forwarder", PRIVATE, public("unknown", A), Forward),
    ]
}

/// The hall, and all that a query is judged by.
pub struct Hall {
    responder: Responder,
    now: Instant,
    /// The last reply, and beyond it what was there before.
    pub out: Vec<u8>,
}

impl Hall {
    /// The hall in which every one of [`cases`] gets what it expects: its cache knows their public names.
    /// No time passes in it, so each client may ask `queries_per_second` queries, or any number for 0.
    pub fn new(queries_per_second: u32) -> Self {
        let (mut config, _) = Config::parse("phzd.toml", CONFIG).expect("a configuration without a mistake");
        config.limits.queries_per_second = queries_per_second;
        config.cache.bytes = 1 << 20;
        let upstream = Arc::new(Upstream::new(&config));
        let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
        let responder = Responder::new(policy, Arc::clone(&upstream), Registry::default());
        let mut hall = Self { responder, now: Instant::now(), out: vec![0; 65_535] };
        let mut forwarder = Forwarder::new(upstream, [7; 32]);
        let below = |name: &str, kind| query(&format!("{name}.example.com"), kind);
        for (name, kind, said) in public_names() {
            hall.learn(&mut forwarder, &below(name, kind), &said);
        }
        hall.now += Duration::from_secs(2);
        hall.lose(&mut forwarder, &["stale", "lost"].map(|name| below(name, kind::A)));
        hall
    }

    fn respond(&mut self, packet: &[u8], client: SocketAddr, transport: Transport) -> Outcome {
        self.responder.enter().respond(packet, client, transport, self.now, &mut self.out)
    }

    /// Asks, and says what came of it.
    pub fn ask(&mut self, case: &Case) -> Expected {
        match self.respond(&case.packet, case.client, case.transport) {
            Outcome::Reply(_) => Expected::Reply(self.out[3] & 0x0f, self.out[7]),
            Outcome::Forward(_) => Expected::Forward,
            Outcome::Drop => Expected::Drop,
        }
    }

    /// Has the forwarder ask, and the resolver say what is to be cached.
    fn learn(&mut self, forwarder: &mut Forwarder<Pending>, packet: &[u8], said: &Said) {
        self.forward(forwarder, packet);
        for action in std::mem::take(forwarder.actions()) {
            if let Action::Send { socket, message } = action {
                forwarder.datagram(socket, &said.in_reply_to(&message), self.now);
            }
        }
        assert_eq!(forwarder.answered().drain(..).count(), 1, "the resolver's answer is taken");
    }

    /// Has the forwarder ask in vain, until it says so at once.
    fn lose(&mut self, forwarder: &mut Forwarder<Pending>, packets: &[Vec<u8>]) {
        packets.iter().for_each(|packet| self.forward(forwarder, packet));
        let waits = |hall: &mut Self, packet: &Vec<u8>| {
            matches!(hall.respond(packet, address(PRIVATE), Transport::Udp), Outcome::Forward(_))
        };
        while packets.iter().any(|packet| waits(self, packet)) {
            let due = forwarder.next_tick(self.now).expect("somebody waits");
            self.now = self.now.max(due);
            forwarder.tick(self.now);
        }
    }

    fn forward(&mut self, forwarder: &mut Forwarder<Pending>, packet: &[u8]) {
        let Outcome::Forward(waiter) = self.respond(packet, address(PRIVATE), Transport::Udp) else {
            panic!("it is not cached yet")
        };
        let (question, route) = (waiter.question.clone(), Arc::clone(&waiter.route));
        let (deadline, client) = (waiter.deadline, waiter.client().ip());
        forwarder.ask(Ask { question, route, deadline, client, waiter }, self.now);
    }
}

/// What the resolver says: its code, and records in answer and authority sections.
struct Said {
    code: u8,
    answers: u8,
    authorities: u8,
    records: Vec<u8>,
}

impl Said {
    /// The resolver's message; what it was asked ends with an OPT of eleven octets.
    fn in_reply_to(&self, asked: &[u8]) -> Vec<u8> {
        let mut message = asked[..asked.len() - 11].to_vec();
        message[2..4].copy_from_slice(&[0x81, 0x80 | self.code]);
        message[6..12].copy_from_slice(&[0, self.answers, 0, self.authorities, 0, 0]);
        message.extend(&self.records);
        message
    }
}

/// What is cached, below `example.com`.
fn public_names() -> Vec<(&'static str, u16, Said)> {
    use kind::{A, AAAA, CNAME, HTTPS};
    let answer = |answers, records| Said { code: 0, answers, authorities: 0, records };
    let nothing = |code| Said { code, answers: 0, authorities: 1, records: soa() };
    let asked = b"\xc0\x0c";
    // Names below that of the question `chain.example.com` without its first label.
    let [first, second] = [b"\x01a\xc0\x12", b"\x01b\xc0\x12"];
    let chain = [
        record(asked, CNAME, HOUR, first),
        record(first, CNAME, HOUR, second),
        record(second, A, HOUR, &[192, 0, 2, 1]),
        record(second, A, HOUR, &[192, 0, 2, 2]),
    ];
    // What stands at its end is left out for whoever has the zone.
    let zone = b"\x02db\x08internal\x07example\x00";
    let into_zone = [record(asked, CNAME, HOUR, zone), record(zone, A, HOUR, &[192, 0, 2, 1])];
    // More than a datagram takes.
    let large = (0..100).map(|number| record(asked, A, HOUR, &[192, 0, 2, number]));
    vec![
        ("www", A, answer(1, record(asked, A, HOUR, &[192, 0, 2, 1]))),
        ("chain", A, answer(4, chain.concat())),
        ("into-zone", A, answer(2, into_zone.concat())),
        ("large", A, answer(100, large.flatten().collect())),
        ("stale", A, answer(1, record(asked, A, 1, &[192, 0, 2, 1]))),
        ("www", AAAA, answer(1, record(asked, AAAA, HOUR, &[0x20; 16]))),
        ("www", HTTPS, answer(1, record(asked, HTTPS, HOUR, b"\x00\x01\x00\x00\x01\x00\x03\x02h2"))),
        ("v4", AAAA, nothing(0)),
        ("nobody", A, nothing(3)),
    ]
}

/// The SOA of `example.com`.
fn soa() -> Vec<u8> {
    let mut data = b"\x01n\x00\x01h\x00".to_vec();
    data.extend([1_u32, 2, 3, 4, HOUR].map(u32::to_be_bytes).concat());
    record(b"\x07example\x03com\x00", kind::SOA, HOUR, &data)
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    [owner, &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A query without EDNS, RD set.
pub fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.push(0);
    packet.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].concat());
    packet
}

/// The same query with an OPT (RFC 6891 section 6.1.2): 1232 octets, no flags. It must have none.
pub fn with_edns(mut packet: Vec<u8>) -> Vec<u8> {
    packet[11] = 1;
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    packet
}
