//! Clients and resolvers that mean ill, against the forwarder alone: what they cost, and what they take from others.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::config::Config;
use crate::wire::query::Decoded;
use crate::wire::query::{Folded, decode};

/// The `.2`, and the targets of rules.
const VPC: &str = "172.31.0.2:53";

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Where the forwarder's actions go: what is sent, and how many sockets are open.
struct Outside {
    forwarder: Forwarder<u64>,
    upstream: Arc<Upstream>,
    sent: Vec<(usize, Vec<u8>)>,
    fetched: Vec<(Flown, Vec<u8>)>,
    open: usize,
    most_open: usize,
    asked: u64,
}

impl Outside {
    fn new(packets_per_second: u32) -> Self {
        let text = format!(
            "[vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"172.31.0.0/16\"]\n[upstream]\npackets-per-second = \
             {packets_per_second}\n"
        );
        let (config, _) = Config::parse("phzd.toml", &text).unwrap();
        let upstream = Arc::new(Upstream::new(&config));
        let forwarder = Forwarder::new(Arc::clone(&upstream), [3; 32]);
        Self { forwarder, upstream, sent: vec![], fetched: vec![], open: 0, most_open: 0, asked: 0 }
    }

    fn ask(&mut self, name: &str, route: &Arc<Route>, client: Ipv4Addr, now: Instant) {
        let question = Question { name: name.parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false };
        let (route, deadline) = (Arc::clone(route), now + millis(4000));
        self.asked += 1;
        self.forwarder.ask(Ask { question, route, deadline, client: client.into(), waiter: self.asked }, now);
        self.look();
    }

    fn tick(&mut self, now: Instant) {
        self.forwarder.tick(now);
        self.look();
    }

    fn look(&mut self) {
        for action in std::mem::take(self.forwarder.actions()) {
            match action {
                Action::Open { .. } => self.open += 1,
                Action::Close { .. } => self.open -= 1,
                Action::Send { socket, message } => self.sent.push((socket, message)),
                Action::Fetch { flight, message, .. } => self.fetched.push((flight, message)),
            }
        }
        self.most_open = self.most_open.max(self.open);
    }

    /// What was sent since, with what is asked in it.
    fn sent(&mut self) -> Vec<(usize, Vec<u8>, String)> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().map(|(socket, message)| (socket, message.clone(), name_in(&message))).collect()
    }
}

fn name_in(message: &[u8]) -> String {
    let mut folded = Folded::default();
    let Decoded::Query(query) = decode(message, &mut folded) else { panic!("{message:?}") };
    crate::wire::Name::from_wire(query.name()).unwrap().to_string()
}

fn route(address: &str, metered: bool) -> Arc<Route> {
    let address: SocketAddr = address.parse().unwrap();
    Route::new([Target::from(address)], if metered { std::slice::from_ref(&address) } else { &[] }).into()
}

/// The reply with one address to what is asked in `message`, its question spelt as asked.
fn address_for(message: &[u8]) -> Vec<u8> {
    let end = HEADER + message[HEADER..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let mut reply = message[..end].to_vec();
    reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\xc0\x00\x02\x01");
    reply
}

fn spoofed(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(172, 31, 0, 0).to_bits() + nth)
}

/// How long each of `count` questions takes once so many clients wait.
fn cost_beside(clients: u32, count: u32) -> Duration {
    let (mut outside, route, now) = (Outside::new(900), route(VPC, true), Instant::now());
    (0..10_000).for_each(|nth| outside.ask(&format!("n{nth}.example"), &route, spoofed(nth % clients), now));
    let begun = Instant::now();
    (0..count).for_each(|nth| outside.ask(&format!("m{nth}.example"), &route, spoofed(nth % clients), now));
    begun.elapsed() / count
}

/// The least of a few tries: what else the machine does meanwhile is no cost of ours.
fn least(cost: impl FnMut(u32) -> Duration) -> Duration {
    (0..3).map(cost).min().unwrap_or_default()
}

#[test]
fn a_question_costs_the_same_however_many_clients_wait() {
    let (few, many) = (least(|_| cost_beside(20, 2000)), least(|_| cost_beside(10_000, 2000)));
    assert!(many < few * 8, "{few:?} beside 20 clients, {many:?} beside 10,000");
}

#[test]
fn a_question_of_many_clients_that_must_wait_again_stops_nobody() {
    let (mut outside, route, start) = (Outside::new(1), route(VPC, true), Instant::now());
    (0..9_000).for_each(|nth| outside.ask("popular.example", &route, spoofed(nth), start));
    let begun = Instant::now();
    outside.tick(start + millis(250));
    assert!(begun.elapsed() < millis(100), "one repetition took {:?}", begun.elapsed());
}

#[test]
fn turns_of_clients_who_have_gone_cost_nothing() {
    let (mut outside, vpc, start) = (Outside::new(900), route(VPC, true), Instant::now());
    (0..10_000).for_each(|nth| outside.ask(&format!("n{nth}.example"), &vpc, spoofed(nth), start));
    // All have been told SERVFAIL. Nothing was due meanwhile but their deadlines.
    outside.tick(start + millis(4000));
    assert!(outside.forwarder.is_idle() && outside.forwarder.line.is_clear());
    let begun = Instant::now();
    assert!((0..1000).all(|_| outside.forwarder.line.is_clear()));
    assert!(begun.elapsed() < millis(50), "a thousand looks at an empty line took {:?}", begun.elapsed());
}

#[test]
fn sockets_are_bounded_whoever_floods_a_rule_whose_target_is_silent_to_him() {
    let (mut outside, rule, start) = (Outside::new(900), route("10.0.0.53:53", false), Instant::now());
    // 172.31.1.1's own names are never answered; a name of somebody else is, so the target is not down.
    for tick in 0..9_000_u64 {
        let now = start + millis(tick);
        for nth in 0..3 {
            outside.ask(&format!("n{nth}.t{tick}.example"), &rule, spoofed(256 + (tick % 10) as u32), now);
        }
        if tick % 100 == 0 {
            outside.ask(&format!("good{tick}.example"), &rule, spoofed(7), now);
        }
        for (socket, message, name) in outside.sent() {
            if name.starts_with("good") {
                outside.forwarder.datagram(socket, &address_for(&message), now);
            }
        }
        outside.tick(now);
        outside.forwarder.answered().clear();
    }
    assert!(outside.most_open <= 2048, "{} sockets, {} flights", outside.most_open, outside.forwarder.flights.len());
}

#[test]
fn case_goes_off_though_somebody_asks_for_names_without_letters() {
    let (mut outside, vpc, mut now) = (Outside::new(0), route(VPC, true), Instant::now());
    for nth in 0..6 {
        // The client's: any resolver gives back digits as they were.
        outside.ask(&format!("{nth}.1"), &vpc, spoofed(66), now);
        for (socket, message, _) in outside.sent() {
            outside.forwarder.datagram(socket, &address_for(&message), now);
        }
        outside.ask(&format!("somebodyelse{nth}.example"), &vpc, spoofed(7), now);
        for wait in [0, 300, 600, 1200] {
            outside.tick(now + millis(wait));
            for (socket, message, _) in outside.sent() {
                let folded = address_for(&message).to_ascii_lowercase();
                outside.forwarder.datagram(socket, &folded, now + millis(wait));
            }
        }
        for (flight, message) in std::mem::take(&mut outside.fetched) {
            outside.forwarder.fetched(flight, Some(&address_for(&message)), now + millis(1200));
        }
        now += millis(2000);
    }
    let track = outside.forwarder.resolvers.get(VPC.parse().unwrap()).unwrap();
    assert!(!track.keeps_case(now), "six questions ran out of time and were confirmed over TCP");
}

#[test]
fn edns_is_tried_again_after_an_hour_though_questions_are_always_on_their_way() {
    let (mut outside, vpc, start) = (Outside::new(0), route(VPC, true), Instant::now());
    let hour = Duration::from_secs(3600);
    outside.forwarder.resolvers.of(VPC.parse().unwrap()).takes_no_edns(start);
    // Asked in the last millisecond of the hour, answered in the first of the next.
    outside.ask("a.example", &vpc, spoofed(1), start + hour - millis(1));
    for (socket, message, _) in outside.sent() {
        outside.forwarder.datagram(socket, &address_for(&message), start + hour + millis(1));
    }
    let track = outside.forwarder.resolvers.get(VPC.parse().unwrap()).unwrap();
    assert!(track.takes_edns(start + hour + millis(1)), "it was not asked with EDNS, so nothing was learned");
}

#[test]
fn a_known_name_is_asked_for_again_though_another_client_asks_what_nobody_answers() {
    let (mut outside, vpc, start) = (Outside::new(900), route(VPC, true), Instant::now());
    let hear = |outside: &mut Outside, now: Instant| {
        for (socket, message, name) in outside.sent() {
            if !name.contains("evil") {
                outside.forwarder.datagram(socket, &address_for(&message), now);
            }
        }
    };
    outside.ask("good.example", &vpc, spoofed(7), start);
    hear(&mut outside, start);
    outside.forwarder.answered().clear();
    // Its TTL is a second. From then on one client asks what is never answered, three times a second; another asks for
    // the good name ten times a second.
    let (mut stale, mut fresh) = (0, 0);
    for tick in 20..1000_u64 {
        let now = start + millis(tick * 10);
        if tick % 33 == 0 {
            outside.ask(&format!("n{tick}.evil.example"), &vpc, spoofed(66), now);
        }
        if tick > 300 && tick % 10 == 0 {
            outside.ask("good.example", &vpc, spoofed(7), now);
        }
        outside.tick(now);
        hear(&mut outside, now);
        for (_, hit) in outside.forwarder.answered().drain(..).filter(|(_, hit)| hit.answer.rcode() == 0) {
            if hit.stale { stale += 1 } else { fresh += 1 }
        }
    }
    assert!(fresh > stale, "the resolver answers at once: {fresh} fresh, {stale} stale");
    assert_eq!(outside.upstream.waiting(), 0);
}
