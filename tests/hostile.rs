//! Any bytes at all, through the whole path: from clients into the responder, from resolvers into the forwarder.
//! Nothing may panic, exceed what the client takes, or be answered that is not a query.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use phzd::config::Config;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Ask, Forwarder};
use phzd::wire::Transport;
use proptest::collection::vec;
use proptest::prelude::*;

const CONFIG: &str = r#"
    [vpc]
    region = "ap-northeast-1"
    cidrs = ["172.31.0.0/16", "2001:db8::/56"]
    [[subnet]]
    name = "private-a"
    cidr = ["172.31.1.0/24", "2001:db8::/64"]
    [[endpoint]]
    name = "s3"
    addresses = ["172.31.1.152", "172.31.2.77", "2001:db8::152"]
    [[bucket]]
    names = ["xxxxx-bucket"]
    endpoint = "s3"
    allow = ["private-a"]
    [[zone]]
    name = "internal.example"
    records = [
        { name = "www", type = "CNAME", values = ["www.example."] },
        { name = "*.w", type = "MX", values = ["10 www", "20 www.example."] },
    ]
    [[zone]]
    name = "x.example"
    allow = ["172.31.1.0/28"]
    records = [{ name = "@", alias = "s3" }, { name = "*", type = "CNAME", values = ["www.internal.example."] }]
    [[rule]]
    domain = "corp.example"
    targets = ["172.31.0.3"]
"#;

/// Octets of the longest extended error that refuses.
const MOST_EXPLAINED: usize = 30;

fn hall() -> (Responder, Arc<Upstream>) {
    static PARSED: LazyLock<Config> = LazyLock::new(|| {
        let (mut config, _) = Config::parse("phzd.toml", CONFIG).unwrap();
        // Each case has a cache of its own, whose tables are made at full size.
        config.cache.bytes = 1 << 18;
        config
    });
    let config = &*PARSED;
    let upstream = Arc::new(Upstream::new(config));
    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(config)));
    (Responder::new(policy, Arc::clone(&upstream), Registry::default()), upstream)
}

/// A query that is well formed, for names inside and outside of zones.
fn query() -> impl Strategy<Value = Vec<u8>> {
    let names: [&[u8]; 8] = [
        b"\x03www\x08internal\x07example\x00",
        b"\x01a\x01w\x08internal\x07example\x00",
        b"\x01a\x01x\x07example\x00",
        b"\x0cxxxxx-bucket\x02s3\x0eap-northeast-1\x09amazonaws\x03com\x00",
        b"\x01a\x0cxxxxx-bucket\x02s3\x0eap-northeast-1\x09amazonaws\x03com\x00",
        b"\x03www\x04corp\x07example\x00",
        b"\x03www\x07example\x00",
        b"\x00",
    ];
    let kinds = prop::sample::select(vec![1_u16, 2, 5, 6, 16, 28, 41, 65, 252, 255, 4711]);
    (prop::sample::select(names.to_vec()), kinds, any::<[u8; 2]>(), any::<bool>()).prop_map(|(name, kind, id, opt)| {
        let mut packet = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt)];
        packet.extend(name);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(if opt { &[0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0][..] } else { &[] });
        packet
    })
}

/// Some octets of a packet changed, some cut off, some put behind.
fn damaged(packet: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let hits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (packet, hits, any::<prop::sample::Index>(), vec(any::<u8>(), 0..40)).prop_map(|(mut packet, hits, cut, tail)| {
        for (at, octet) in hits {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        if tail.len() % 3 == 0 {
            packet.truncate(cut.index(packet.len() + 1));
        }
        if tail.len() % 2 == 0 {
            packet.extend(tail);
        }
        packet
    })
}

fn clients() -> impl Strategy<Value = SocketAddr> {
    let known = ["172.31.1.5:4242", "172.31.0.5:0", "127.0.0.1:54", "192.0.2.9:99", "[2001:db8::5]:9", "[::1]:1"];
    prop::sample::select(known.map(|text| text.parse().unwrap()).to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_packet_of_a_client_harms(
        packet in prop_oneof![damaged(query()), vec(any::<u8>(), 0..600)],
        client in clients(),
        tcp in any::<bool>(),
    ) {
        let (mut responder, _) = hall();
        let (transport, most) = if tcp { (Transport::Tcp, 65_535) } else { (Transport::Udp, 1232) };
        let mut out = vec![0xee; 65_535];
        match responder.enter().respond(&packet, client, transport, Instant::now(), &mut out) {
            Outcome::Reply(length) => {
                prop_assert!((12..=most).contains(&length));
                prop_assert!(packet[2] & 0x80 == 0, "a reply is never replied to");
                prop_assert!(out[2] & 0x80 != 0 && out[..2] == packet[..2]);
                prop_assert!(client.port() != 0);
                // What phzd says of its own accord: no larger than what was asked, but for what explains it in an OPT.
                let explains = usize::from(out[11]) * MOST_EXPLAINED;
                let refuses = matches!(out[3] & 15, 1 | 4 | 5);
                prop_assert!(!refuses || length <= packet.len() + explains, "{length} octets for {}", packet.len());
                prop_assert!(!refuses || length <= 3 * packet.len());
                prop_assert!(out[length..].iter().all(|octet| *octet == 0xee), "no octet beyond the reply");
            }
            Outcome::Forward(pending) => prop_assert_eq!(pending.client(), client),
            Outcome::Drop => {}
        }
    }

    #[test]
    fn no_message_of_a_resolver_harms(
        packet in query(),
        messages in vec(prop_oneof![damaged(answer()), vec(any::<u8>(), 0..300)], 1..8),
    ) {
        let (mut responder, upstream) = hall();
        let mut forwarder: Forwarder<Pending> = Forwarder::new(upstream, [7; 32]);
        let mut out = vec![0; 65_535];
        let client = "172.31.1.5:4242".parse().unwrap();
        let now = Instant::now();
        let Outcome::Forward(pending) = responder.enter().respond(&packet, client, Transport::Udp, now, &mut out) else {
            return Ok(());
        };
        forwarder.ask(wish(pending), now);
        for (message, turn) in messages.into_iter().zip(1..) {
            let now = now + Duration::from_millis(turn * 400);
            for action in std::mem::take(forwarder.actions()) {
                match action {
                    // The id and the question are right, so that what follows them is read.
                    Action::Send { socket, message: asked } => {
                        forwarder.datagram(socket, &with_head_of(&asked, &message), now);
                        forwarder.datagram(socket, &message, now);
                    }
                    Action::Fetch { flight, message: asked, .. } => {
                        forwarder.fetched(flight, Some(&with_head_of(&asked, &message)), now);
                    }
                    Action::Open { .. } | Action::Close { .. } => {}
                }
            }
            forwarder.tick(now);
            let mut again = Vec::new();
            for (pending, answer) in forwarder.answered().drain(..) {
                match responder.enter().finish(pending, &answer, now, &mut out) {
                    Outcome::Reply(length) => prop_assert!(length <= 1232),
                    Outcome::Forward(pending) => again.push(pending),
                    Outcome::Drop => {}
                }
            }
            for pending in again {
                forwarder.ask(wish(pending), now);
            }
        }
        forwarder.tick(now + Duration::from_secs(60));
        forwarder.answered().clear();
        prop_assert!(forwarder.is_idle(), "every flight ends");
    }
}

/// A resolver's answer about `www.example`: a CNAME, an address, an authority, an OPT.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    any::<u8>().prop_map(|ttl| {
        let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, 2, 0, 1, 0, 1];
        message.extend(b"\x03www\x07example\x00\x00\x01\x00\x01");
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, ttl, 0, 4, 1, b'x', 0xc0, 16]);
        message.extend([0xc0, 41, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, 1]);
        message.extend([0xc0, 16, 0, 2, 0, 1, 0, 0, 1, 0, 0, 4, 1, b'n', 0xc0, 16]);
        message.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        message
    })
}

/// `message` with the id and question that were asked, in place of its own.
fn with_head_of(asked: &[u8], message: &[u8]) -> Vec<u8> {
    let question_end = asked.len() - 11;
    let mut whole = message.get(..12).map_or_else(|| asked[..12].to_vec(), <[u8]>::to_vec);
    whole[..2].copy_from_slice(&asked[..2]);
    whole.extend(&asked[12..question_end]);
    whole.extend(message.get(29..).unwrap_or_default());
    whole
}

/// What the forwarder is told of a query that waits.
fn wish(pending: Pending) -> Ask<Pending> {
    let (question, route) = (pending.question.clone(), Arc::clone(&pending.route));
    Ask { question, route, deadline: pending.deadline, client: pending.client().ip(), waiter: pending }
}
