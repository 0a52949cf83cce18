//! Names, queries and answers of any kind, written by the one and read by the other: hickory-proto and this room.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asks};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_proto::rr::{Name as Presentation, RData, Record};
use hickory_proto::serialize::binary::BinEncodable;
use proptest::collection::vec;
use proptest::prelude::*;

use super::answer::{Builder, Section};
use super::name::labels;
use super::query::{CLASS_IN, Decoded, Folded, HEADER, Transport, decode, kind};
use super::{Name, Placement, Question};

/// Names of any octets, up to the longest there is; some below others.
fn name() -> impl Strategy<Value = Presentation> {
    let label = prop_oneof![
        4 => prop::sample::select(vec![&b"a"[..], b"b", b"www", b"Example"]).prop_map(<[u8]>::to_vec),
        2 => vec(any::<u8>(), 1..20),
        1 => vec(any::<u8>(), 60..64),
    ];
    vec(label, 0..9).prop_filter_map("a name of 255 octets at most", |labels| Presentation::from_labels(labels).ok())
}

fn wire(name: &Presentation) -> Vec<u8> {
    name.iter().flat_map(|label| [&[label.len() as u8], label].concat()).chain([0]).collect()
}

/// Types that are served.
fn kinds() -> impl Strategy<Value = u16> {
    any::<u16>().prop_filter("a type that is served", |kind| !matches!(kind, 0 | 41 | 249..=254))
}

/// What a client says in its OPT: size, DO, an option.
fn edns() -> impl Strategy<Value = Edns> {
    (any::<u16>(), any::<bool>(), prop::option::of(vec(any::<u8>(), 8..40))).prop_map(|(size, dnssec_ok, cookie)| {
        let mut edns = Edns::new();
        edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
        if let Some(cookie) = cookie {
            edns.options_mut().insert(EdnsOption::Unknown(10, cookie));
        }
        edns
    })
}

/// A query as hickory-proto writes it.
fn query() -> impl Strategy<Value = Message> {
    let flags = any::<[bool; 3]>();
    (any::<u16>(), name(), kinds(), flags, prop::option::of(edns())).prop_map(|(id, name, kind, flags, edns)| {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        [message.metadata.recursion_desired, message.metadata.checking_disabled, message.metadata.authentic_data] =
            flags;
        message.add_query(Asks::query(name, kind.into()));
        message.edns = edns;
        message
    })
}

/// Data for which the set's answer is written.
fn data() -> impl Strategy<Value = Vec<RData>> {
    prop_oneof![
        vec(any::<std::net::Ipv4Addr>().prop_map(|ip| RData::A(A(ip))), 1..30),
        vec((any::<u16>(), name()).prop_map(|(preference, name)| RData::MX(MX::new(preference, name))), 1..4),
        vec(vec(any::<u8>(), 1..200).prop_map(|text| RData::TXT(TXT::from_bytes(vec![&text]))), 1..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_name_is_the_same_in_both_and_in_text(one in name(), other in name(), depth in 0..4_usize) {
        let (ours, theirs) = (Name::from_wire(&wire(&one)).unwrap(), &one);
        prop_assert_eq!(&ours.to_string().parse::<Name>().unwrap(), &ours);
        // hickory-proto reads no name back that has other octets in it.
        if !theirs.is_root() && theirs.iter().flatten().all(u8::is_ascii_alphanumeric) {
            prop_assert_eq!(Presentation::from_ascii(format!("{ours}.")).unwrap(), theirs.to_lowercase());
            prop_assert_eq!(&theirs.to_ascii().parse::<Name>().unwrap(), &ours);
        }
        prop_assert_eq!(ours.label_count(), theirs.iter().count());
        let above: Vec<_> = labels(ours.as_wire()).chain([ours.as_wire().len() - 1]).collect();
        let above = Name::from_wire(&ours.as_wire()[above[depth.min(above.len() - 1)]..]).unwrap();
        prop_assert!(ours.is_at_or_below(&above));
        let second = Name::from_wire(&wire(&other)).unwrap();
        prop_assert_eq!(second.is_at_or_below(&ours), one.zone_of(&other));
        prop_assert_eq!(ours.is_at_or_below(&second), other.zone_of(&one));
    }

    #[test]
    fn what_a_client_asks_is_what_is_read(message in query()) {
        let packet = message.to_vec().unwrap();
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { return Err(TestCaseError::fail("not read")) };
        let asked = &message.queries[0];
        prop_assert_eq!(query.name(), wire(&asked.name().to_lowercase()));
        prop_assert_eq!(query.kind(), u16::from(asked.query_type()));
        prop_assert_eq!(query.recursion_desired(), message.metadata.recursion_desired);
        prop_assert_eq!(query.checking_disabled(), message.metadata.checking_disabled);
        let edns = message.edns.as_ref();
        prop_assert_eq!(query.dnssec_ok(), edns.is_some_and(|edns| edns.flags().dnssec_ok));
        prop_assert_eq!(query.edns().map(|edns| edns.payload), edns.map(Edns::max_payload));
        prop_assert_eq!(query.limit(Transport::Udp), edns.map_or(512, |edns| edns.max_payload().clamp(512, 1232).into()));
        prop_assert_eq!(query.head(), &packet[..HEADER + query.name().len() + 4]);
        // What is kept of it while it waits asks the same.
        let kept = Message::from_vec(&query.essentials()).unwrap();
        prop_assert_eq!((&kept.queries, kept.id), (&message.queries, message.id));
        prop_assert_eq!(kept.edns.map(|edns| (edns.max_payload(), edns.flags().dnssec_ok)),
            edns.map(|edns| (edns.max_payload(), edns.flags().dnssec_ok)));
    }

    #[test]
    fn what_a_resolver_is_asked_is_what_it_reads(
        name in name(), kind in kinds(), flags in any::<[bool; 3]>(), id in any::<u16>(), bits in any::<[u8; 32]>(),
    ) {
        let [dnssec_ok, checking_disabled, edns] = flags;
        let question = Question { name: Name::from_wire(&wire(&name)).unwrap(), kind, dnssec_ok, checking_disabled };
        let message = Message::from_vec(&question.message(id, &question.spelt(&bits), edns)).unwrap();
        prop_assert_eq!(message.id, id);
        prop_assert!(message.metadata.message_type == MessageType::Query && message.metadata.recursion_desired);
        prop_assert_eq!(message.metadata.checking_disabled, checking_disabled);
        prop_assert_eq!(&message.queries, &[Asks::query(name, kind.into())]);
        prop_assert_eq!(u16::from(message.queries[0].query_class()), CLASS_IN);
        prop_assert_eq!(message.edns.is_some_and(|edns| edns.flags().dnssec_ok), dnssec_ok && edns);
    }

    /// The records of a zone, for whoever asks: owned by the name asked and the zone's, aged, in turns.
    #[test]
    fn what_a_zone_says_is_what_the_client_reads(
        message in query(),
        data in data(),
        (ttl, age, turn) in (0..100_000_u32, 0..200_000_u32, any::<u32>()),
        depth in 0..4_usize,
    ) {
        let packet = message.to_vec().unwrap();
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { return Err(TestCaseError::fail("not read")) };
        let asked = message.queries[0].name();
        let above: Vec<_> = labels(query.name()).chain([query.name().len() - 1]).collect();
        let depth = depth.min(above.len() - 1);
        let kind = u16::from(data[0].record_type());
        let soa = RData::SOA(SOA::new(Presentation::root(), Presentation::root(), 1, 2, 3, 4, 5));
        let octets = |data: &RData| data.to_bytes().unwrap();
        let mut builder = Builder::new(0);
        for data in &data {
            builder = builder.record(Section::Answer, kind, ttl, &octets(data));
        }
        builder = builder.record(Section::Authority, kind::SOA, ttl, &octets(&soa));
        let turns = kind == kind::A;
        let answer = if turns { builder.rotating(4) } else { builder }.build();
        let mut out = vec![0; 65_535];
        let place = Placement { age, apex: above[depth] as u16, turn, stale: false };
        let length = answer.write(&query, place, 65_535, &mut out);
        let reply = Message::from_vec(&out[..length]).unwrap();
        prop_assert_eq!((reply.id, &reply.queries, reply.edns.is_some()), (message.id, &message.queries, message.edns.is_some()));
        let left = ttl.saturating_sub(age);
        let first = if turns { turn as usize % data.len() } else { 0 };
        let expected: Vec<_> = data[first..].iter().chain(&data[..first]).collect();
        let told: Vec<_> = reply.answers.iter().map(|record| &record.data).collect();
        prop_assert_eq!(told, expected);
        let good = |record: &Record, owner: &Presentation| record.name == *owner && record.ttl == left;
        prop_assert!(reply.answers.iter().all(|record| good(record, asked)));
        let zone = asked.trim_to(asked.iter().count() - depth);
        prop_assert!(reply.authorities.len() == 1 && good(&reply.authorities[0], &zone), "{:?} {zone}", reply.authorities);
        // Cut short for who takes less, with question and OPT kept.
        let least = query.head().len() + message.edns.as_ref().map_or(0, |_| 11);
        let length = answer.write(&query, place, least, &mut out);
        let reply = Message::from_vec(&out[..length]).unwrap();
        prop_assert!(length == least && reply.metadata.truncation && reply.answers.is_empty());
        prop_assert_eq!(&reply.queries, &message.queries);
    }
}
