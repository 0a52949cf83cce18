//! What a hostile resolver says, into the cache and out again: a question of some client, whatever messages come back,
//! then the same question, and one that nobody asked, from clients of every kind at later times.
//!
//! Whatever a client is told was said by a resolver about just this question and is not told for longer than it said, or
//! is a zone's that exists for this client.

#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::BinEncodable;
use libfuzzer_sys::fuzz_target;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::forward::{Action, Ask, Forwarder};
use phzd::wire::Transport;
use phzd_fuzz::house::{Decides, NAMES, decides, hall, has_private, may_ask, wish};
use phzd_fuzz::public::query;
use phzd_fuzz::reply::{FILL, has_error, is_query, judge, owner, records, ttl};
use phzd_fuzz::story::Story;

/// The TTL of what is served past its time (RFC 8767 section 4), in seconds.
const STALE: u64 = 30;
/// How much time passes at once, in milliseconds.
const STEPS: [u64; 8] = [0, 5, 100, 400, 1000, 5000, 60_000, 600_000];
/// Messages that a resolver sends in one story.
const TURNS: u32 = 10;
/// The longest that a question is on its way here: somebody who asks again joins it, and waits 4 s, and then the longest step.
const LONGEST_WAIT: Duration = Duration::from_secs(604 * (TURNS as u64 + 1));
/// Who asks once the resolver has said all: some for whom zones exist, some for whom they do not, one who may not ask.
const CLIENTS: [&str; 6] = ["172.31.1.7", "172.31.1.200", "172.31.0.5", "2001:db8:0:6::7", "10.9.1.1", "192.0.2.9"];
/// How a message comes: as it is, or in reply to what was asked; not at all; after the client has asked again.
const RAW: u8 = 1;
const SILENT: u8 = 16;
const ASK_AGAIN: u8 = 32;
/// A name that nobody asks until the resolver has said all it wants to.
const NOT_ASKED: &str = "not-asked.example";

/// A record that a resolver said, and until when it is good.
struct Said {
    name: Name,
    data: RData,
    until: Instant,
}

/// The house, the resolver's words, and the time.
struct Scene {
    responder: Responder,
    forwarder: Forwarder<Pending>,
    out: Vec<u8>,
    now: Instant,
    said: Vec<Said>,
    /// hickory can read all that was said, so what is replied can be compared. A name that points into an address may be
    /// read before an OPT is taken out and not after, so it need not be able to read all of that.
    strict: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut story = Story(data);
    let name = story.one_of(&NAMES);
    let kind = story.one_of(&[1, 28, 5, 16, 15, 65, 255, 6]);
    let flags = story.octet();
    let client = story.client();
    let mut again = query(name, kind);
    again[3] |= flags & 0x30;
    let opt = again.len() - 11;
    if flags & 3 == 1 {
        // DO, in the OPT's flags.
        again[opt + 7] = 0x80;
    }
    let mut packet = again.clone();
    if flags & 3 == 2 {
        packet.truncate(opt);
        packet[11] = 0;
    }
    let transport = if flags & 4 != 0 { Transport::Tcp } else { Transport::Udp };
    let (responder, upstream) = hall();
    let mut scene = Scene {
        forwarder: Forwarder::new(Arc::clone(&upstream), [7; 32]),
        responder,
        out: vec![FILL; 65_535],
        now: Instant::now(),
        said: Vec::new(),
        strict: true,
    };
    let Some(asked) = scene.ask(&packet, client, transport) else { return };
    scene.forwarder.ask(asked, scene.now);
    let mut turns = 0;
    while let Some((how, message)) = next(&mut story)
        && turns < TURNS
    {
        if has_private(message) {
            return;
        }
        turns += 1;
        if how & ASK_AGAIN != 0
            && let Some(asked) = scene.ask(&packet, client, transport)
        {
            scene.forwarder.ask(asked, scene.now);
        }
        if how & SILENT == 0 {
            scene.answer(message, how & RAW != 0);
        }
        scene.deliver(&packet, transport);
        scene.now += Duration::from_millis(STEPS[usize::from(how >> 1 & 7)]);
        scene.forwarder.tick(scene.now);
        scene.deliver(&packet, transport);
    }
    let later = [0, 1, 29, 31, 600, 86_000].map(Duration::from_secs);
    for (later, client) in later.into_iter().flat_map(|later| CLIENTS.map(|client| (later, client))) {
        let client = SocketAddr::new(client.parse().expect("an address"), 4242);
        let now = scene.now;
        scene.now += later;
        // Over TCP, where there is room for the extended error that says what is stale.
        drop(scene.ask(&again, client, Transport::Tcp));
        if later.is_zero() {
            let asked = scene.ask(&query(NOT_ASKED, kind), client, Transport::Tcp);
            assert_eq!(asked.is_some(), may_ask(client.ip()), "{NOT_ASKED}, asked by {client}");
        }
        scene.now = now;
    }
    scene.forwarder.tick(scene.now + Duration::from_secs(60));
    scene.forwarder.answered().clear();
    assert!(scene.forwarder.is_idle(), "a flight does not end");
    assert!(upstream.cache().bytes() <= 1 << 19, "{} octets are kept", upstream.cache().bytes());
});

/// How the next message comes, and its octets.
fn next<'a>(story: &mut Story<'a>) -> Option<(u8, &'a [u8])> {
    let how = story.octet();
    Some((how, story.message()?))
}

impl Scene {
    /// Asks; judges what is replied at once, and what a resolver would be asked.
    fn ask(&mut self, packet: &[u8], client: SocketAddr, transport: Transport) -> Option<Ask<Pending>> {
        match self.responder.enter().respond(packet, client, transport, self.now, &mut self.out) {
            Outcome::Reply(length) => {
                self.replied(packet, client, transport, length, None);
                None
            }
            Outcome::Forward(pending) => Some(wish(pending)),
            Outcome::Drop => None,
        }
    }

    /// The resolver answers all that it was asked. A message comes as it is, if it is `raw`; otherwise with the id and the
    /// question that were asked, so that what follows is looked at.
    fn answer(&mut self, message: &[u8], raw: bool) {
        for action in std::mem::take(self.forwarder.actions()) {
            let (asked, message) = match &action {
                Action::Send { message: asked, .. } | Action::Fetch { message: asked, .. } if !raw => {
                    (asked, in_reply_to(asked, message))
                }
                Action::Send { message: asked, .. } | Action::Fetch { message: asked, .. } => (asked, message.to_vec()),
                Action::Open { .. } | Action::Close { .. } => continue,
            };
            assert!(is_query(asked), "what a resolver is asked is a query");
            // With another id it is not looked at.
            if message.get(..2) == asked.get(..2) {
                self.note(&message);
            }
            match action {
                Action::Send { socket, .. } => self.forwarder.datagram(socket, &message, self.now),
                Action::Fetch { flight, .. } => self.forwarder.fetched(flight, Some(&message), self.now),
                Action::Open { .. } | Action::Close { .. } => {}
            }
        }
    }

    fn note(&mut self, octets: &[u8]) {
        let Ok(message) = Message::from_vec(octets) else {
            self.strict = false;
            return;
        };
        // A failure is told when nobody is left to be asked, or a client's time is over; its records have not aged by then.
        let failed = !matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        let grace = if failed { LONGEST_WAIT } else { Duration::ZERO };
        for record in records(&message) {
            let until = self.now + Duration::from_secs(ttl(record)) + grace;
            self.strict &= reads_alike(record, octets);
            self.said.push(Said { name: record.name.clone(), data: record.data.clone(), until });
        }
    }

    /// Those who waited and need wait no longer.
    fn deliver(&mut self, packet: &[u8], transport: Transport) {
        for (pending, hit) in std::mem::take(self.forwarder.answered()) {
            let client = pending.client();
            match self.responder.enter().finish(pending, &hit, self.now, &mut self.out) {
                Outcome::Reply(length) => self.replied(packet, client, transport, length, Some(hit.stale)),
                Outcome::Forward(pending) => self.forwarder.ask(wish(pending), self.now),
                Outcome::Drop => {}
            }
        }
    }

    /// Judges a reply. Whether it is `stale` may be known; otherwise the reply has to say so, if it has an OPT to say it in.
    fn replied(&mut self, packet: &[u8], client: SocketAddr, transport: Transport, length: usize, stale: Option<bool>) {
        let message = judge(packet, client, transport, (&self.out, length), false);
        let without_opt = packet.get(10..12) == Some(&[0, 0]);
        let stale = stale.unwrap_or_else(|| without_opt || has_error(&self.out[..length], 3));
        self.out[..length].fill(FILL);
        let Some(message) = message.filter(|_| self.strict) else { return };
        for record in records(&message) {
            let good = |said: &&Said| said.name == record.name && said.data == record.data;
            let until = self.said.iter().filter(good).map(|said| said.until).max();
            match until {
                Some(until) => {
                    let left = until.saturating_duration_since(self.now).as_millis().div_ceil(1000) as u64;
                    let ttl = ttl(record);
                    assert!(ttl <= left || stale && ttl <= STALE, "{record} for {left} s at most");
                }
                None => {
                    let zone = decides(client.ip(), &owner(record)) != Decides::Resolvers;
                    // A name that is a pointer into a TTL becomes another as that counts down: nonsense both.
                    let nonsense = record.to_string().contains('\\');
                    assert!(zone || nonsense, "{client} is told {record}, which nobody said");
                }
            }
        }
    }
}

/// Whether a record means the same in whatever message it stands. A pointer does not, in data that phzd leaves as it is, or
/// moves and hickory shows as it is: where hickory follows it, or a name leads there, another name is found in another message.
fn reads_alike(record: &Record, message: &[u8]) -> bool {
    let data = record.data.to_bytes().unwrap_or_default();
    let moves = matches!(u16::from(record.record_type()), 2..=9 | 12 | 14 | 15 | 17 | 18 | 21 | 26 | 33);
    match record.data {
        RData::A(_) | RData::AAAA(_) => true,
        RData::Unknown { .. } => data.iter().all(|octet| *octet < 0xc0),
        _ if moves || data.is_empty() => true,
        _ => data.iter().all(|octet| *octet < 0xc0) && message.windows(data.len()).any(|octets| octets == data),
    }
}

/// `message` with the id and the question of `asked` in place of its own.
fn in_reply_to(asked: &[u8], message: &[u8]) -> Vec<u8> {
    let question = |packet: &[u8]| {
        let mut at = 12;
        while let Some(length) = packet.get(at).filter(|length| (1..64).contains(*length)) {
            at += 1 + usize::from(*length);
        }
        (at + 5).min(packet.len())
    };
    let mut whole = message.get(..12).unwrap_or(&[0; 12]).to_vec();
    whole[..2].copy_from_slice(&asked[..2]);
    whole.extend(&asked[12..question(asked)]);
    whole.extend(message.get(question(message).max(12)..).unwrap_or_default());
    whole
}
