//! What must hold of every message, shown on random ones.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asks, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, MX, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name as Presentation, RData, Record};
use proptest::prelude::*;

use super::super::query::{Decoded, Folded, Transport, decode};
use super::tests::{sent, shown};
use super::*;
use crate::wire::Placement;

/// Names of few labels, so that many have an end in common and are compressed; some with odd octets.
fn name() -> impl Strategy<Value = Presentation> {
    let label = prop_oneof![
        8 => prop::sample::select(vec![&b"a"[..], b"b", b"www", b"Example", b"example", b"com"]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..20),
        1 => Just(b"\xc0\xc0".to_vec()),
    ];
    prop::collection::vec(label, 0..5).prop_map(|labels| Presentation::from_labels(labels).unwrap())
}

fn rdata() -> impl Strategy<Value = RData> {
    prop_oneof![
        4 => any::<std::net::Ipv4Addr>().prop_map(|ip| RData::A(ip.into())),
        2 => any::<std::net::Ipv6Addr>().prop_map(|ip| RData::AAAA(ip.into())),
        4 => name().prop_map(|name| RData::CNAME(CNAME(name))),
        2 => name().prop_map(|name| RData::NS(NS(name))),
        2 => name().prop_map(|name| RData::PTR(PTR(name))),
        2 => (any::<u16>(), name()).prop_map(|(preference, name)| RData::MX(MX::new(preference, name))),
        2 => (any::<u16>(), name()).prop_map(|(port, name)| RData::SRV(SRV::new(1, 2, port, name))),
        2 => (name(), name(), any::<u32>()).prop_map(|(m, r, minimum)| RData::SOA(SOA::new(m, r, 1, 2, 3, 4, minimum))),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(|text| RData::TXT(TXT::from_bytes(vec![&text]))),
        2 => (1000..65_000_u16, prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(code, octets)| {
            RData::Unknown { code: code.into(), rdata: NULL::with(octets) }
        }),
    ]
}

fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    let ttl = prop_oneof![8 => 0..100_000_u32, 1 => any::<u32>()];
    let record = (name(), ttl, rdata()).prop_map(|(name, ttl, data)| Record::from_rdata(name, ttl, data));
    prop::collection::vec(record, 0..most)
}

/// A reply as a resolver would write it, its question, and where its OPT stands.
pub(crate) fn message() -> impl Strategy<Value = (Vec<u8>, Question)> {
    let code = prop_oneof![3 => Just(0), 1 => 0..12_u16];
    let kind = prop_oneof![Just(1), Just(5), Just(255), 60..249_u16];
    let sections = (records(12), records(4), records(8), prop::option::of(any::<prop::sample::Index>()));
    (name(), kind, code, sections).prop_map(|(name, kind, code, (answers, authorities, mut additionals, opt))| {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.metadata.response_code = ResponseCode::from_low(code as u8);
        message.add_query(Asks::query(name.clone(), kind.into()));
        if let Some(place) = opt {
            additionals.insert(place.index(additionals.len() + 1), Record::from(&Edns::new()));
        }
        message.add_answers(answers).add_authorities(authorities).add_additionals(additionals);
        let wire = name.iter().flat_map(|label| [&[label.len() as u8], label].concat()).chain([0]);
        let name = Name::from_wire(&wire.collect::<Vec<_>>()).unwrap();
        let question = Question { name, kind, dnssec_ok: true, checking_disabled: false };
        (message.to_vec().unwrap(), question)
    })
}

/// The records of a message, lower case, with the TTLs they have `age` seconds later.
fn aged(bytes: &[u8], age: u32) -> [Vec<Record>; 3] {
    let Message { answers, authorities, additionals, .. } = Message::from_vec(bytes).unwrap();
    [answers, authorities, additionals].map(|mut records| {
        for record in &mut records {
            record.ttl = i32::try_from(record.ttl).map_or(0, i32::cast_unsigned).saturating_sub(age);
        }
        records
    })
}

/// Whatever reads packets, on any bytes.
fn read_and_write(bytes: &[u8], question: &Question) {
    let mut out = [0; 1400];
    let query = question.message(1, question.name.as_wire(), true);
    let mut folded = Folded::default();
    let Decoded::Query(asked) = decode(&query, &mut folded) else { return };
    if let Ok(received) = read(bytes, question, None) {
        let mut answer = std::sync::Arc::unwrap_or_clone(received.answer);
        answer.raise_ttls(5);
        for limit in [0, 20, 512, 1232, 65_535] {
            let length = answer.write(&asked, Placement { age: 3, apex: 2, turn: 7, stale: false }, limit, &mut out);
            assert!(length <= limit && length <= out.len());
        }
    }
    let mut folded = Folded::default();
    match decode(bytes, &mut folded) {
        Decoded::Query(query) | Decoded::Unserved(query, _) => {
            let length = Answer::empty(0).write(&query, Placement::FRESH, query.limit(Transport::Udp), &mut out);
            assert!((HEADER..=1232).contains(&length));
            assert!(Asked::by(&query).to_question().is_some());
        }
        Decoded::Unreadable(code) => assert_eq!(super::super::query::error_header(bytes, code, &mut out), HEADER),
        Decoded::Drop => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A reply read and written again has the same records in the same order, whatever their types, wherever the OPT.
    #[test]
    fn what_a_resolver_says_is_what_the_client_gets((bytes, question) in message(), age in 0..200_000_u32) {
        let received = read(&bytes, &question, None);
        prop_assert!(received.is_ok(), "{received:?}: {:?}", shown(&bytes));
        let received = received.unwrap();
        let reply = sent(&received, &question, age);
        let (theirs, ours) = (aged(&bytes, age), aged(&reply, 0));
        prop_assert_eq!(&theirs, &ours);
        let ttls = |sections: &[Vec<Record>; 3]| sections.concat().iter().map(|record| record.ttl).collect::<Vec<_>>();
        prop_assert_eq!(ttls(&theirs), ttls(&ours));
        if let Some(least) = ttls(&aged(&bytes, 0)).into_iter().min() {
            prop_assert!(received.lifetime <= least);
        }
        let said = Message::from_vec(&bytes).unwrap().metadata.response_code;
        prop_assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, said);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// 400 messages, each changed at random in 60 ways, a few octets at a time or cut short.
    #[test]
    fn no_octets_make_it_panic(
        (bytes, question) in message(),
        noise in prop::collection::vec(any::<u8>(), 0..100),
        changes in prop::collection::vec(prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4), 60),
    ) {
        read_and_write(&noise, &question);
        let query = question.message(1, question.name.as_wire(), true);
        for (turn, change) in changes.iter().enumerate() {
            let mut bytes = if turn % 4 == 0 { query.clone() } else { bytes.clone() };
            for (at, octet) in change {
                // Half of them behind the question, where the records are.
                let first = if octet % 2 == 0 { 0 } else { question.name.as_wire().len().min(bytes.len() - 1) };
                let at = first + at.index(bytes.len() - first);
                match turn % 5 {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, *octet),
                    2 => bytes[at] = [0, 12, 41, 63, 64, 0xc0, 0xff, 5][usize::from(octet % 8)],
                    _ => bytes[at] = *octet,
                }
            }
            read_and_write(&bytes, &question);
        }
    }
}
