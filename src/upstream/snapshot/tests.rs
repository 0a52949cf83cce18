//! What is written is read; what is not as it was written costs itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::config::Target;
use crate::wire::Answer;
use crate::wire::query::{Decoded, Folded, decode};
use crate::wire::reply::Outcome;
use crate::wire::reply::properties::message as reply;

/// Octets of an entry before its content.
const FRAME: usize = 12;

fn target(address: &str, channel: Channel) -> Target {
    Target { address: address.parse().unwrap(), channel }
}

fn routes() -> Vec<Arc<Route>> {
    let tls = |host: &str| Channel::Tls(host.into());
    let https = |host: &str, path: &str| Channel::Https { host: host.into(), path: path.into() };
    let lists = [
        vec![target("10.0.0.2:53", Channel::Plain)],
        vec![target("10.0.0.2:54", Channel::Plain)],
        vec![target("10.0.0.2:53", Channel::Plain), target("10.0.0.3:53", Channel::Plain)],
        vec![target("10.0.0.3:53", Channel::Plain), target("10.0.0.2:53", Channel::Plain)],
        vec![target("[fd00::2]:53", Channel::Plain)],
        vec![target("[fe80::2%1]:53", Channel::Plain)],
        vec![target("[fe80::2%2]:53", Channel::Plain)],
        vec![target("10.0.0.2:853", tls("dns.example"))],
        vec![target("10.0.0.2:853", tls("dns.exampl"))],
        vec![target("10.0.0.2:853", https("dns.example", ""))],
        vec![target("10.0.0.2:853", https("dns.", "example"))],
        vec![target("10.0.0.2:853", https("dns.example", "/dns-query"))],
    ];
    lists.into_iter().map(|list| Arc::new(Route::new(list, &[]))).collect()
}

/// A row of replies as answers that are kept, of many routes.
fn kept(most: usize) -> impl Strategy<Value = Vec<Kept>> {
    let one = (reply(), any::<(bool, bool, bool)>(), 0..4_u8, 0..routes().len());
    let one =
        one.prop_filter_map("a reply", |((message, question), (dnssec_ok, checking_disabled, main), uses, route)| {
            let question = Question { dnssec_ok, checking_disabled, ..question };
            let Received { answer, outcome, .. } = reply::read(&message, &question, None).ok()?;
            let (route, now) = (Arc::clone(&routes()[route]), Instant::now());
            Some(Kept { route, question, answer, outcome, stored: now, expires: now, main, uses })
        });
    prop::collection::vec(one, 1..most)
}

/// Entries that were stored one second after the other, and end some seconds later.
fn snapshot(all: &[Kept]) -> Vec<Vec<u8>> {
    let entries = all.iter().zip(1..).map(|(kept, stored)| entry(kept, stored, stored * 10).unwrap());
    std::iter::once(HEAD.to_vec()).chain(entries).collect()
}

/// Whatever happens to an answer that was read.
fn used(entry: &Entry<'_>) {
    let Some((question, received)) = entry.open() else { return };
    let asked = question.message(1, question.name.as_wire(), true);
    let mut folded = Folded::default();
    let Decoded::Query(query) = decode(&asked, &mut folded) else { return };
    let mut answer = Arc::unwrap_or_clone(received.answer);
    let mut out = [0; 70_000];
    for place in [Placement::FRESH, Placement { age: 9, stale: true, turn: 7, apex: 1 }] {
        for limit in [0, 20, 512, 70_000] {
            assert!(answer.write(&query, place, limit, &mut out) <= limit);
        }
    }
    drop(Answer::spliced(question.name.as_wire(), (answer.aliases(), false), &answer, Placement::FRESH));
    answer.raise_ttls(5);
}

#[test]
fn every_route_is_written_in_its_own_way() {
    let routes = routes();
    for (number, route) in routes.iter().enumerate() {
        let alike: Vec<_> = routes.iter().map(|other| written(other) == written(route)).collect();
        assert_eq!(alike.iter().filter(|alike| **alike).count(), 1, "{route:?}");
        assert!(alike[number]);
        let again = Route::new(route.hops().iter().map(|hop| hop.target.clone()), &[route.hops()[0].address()]);
        assert_eq!(written(&again), written(route), "what is metered makes no other route");
    }
}

#[test]
fn the_largest_answer_is_written_and_read() {
    let question = Question { name: "a.example".parse().unwrap(), kind: 16, dnssec_ok: true, checking_disabled: false };
    let mut message = question.message(7, question.name.as_wire(), false);
    message[2] = 0x80;
    let mut records: u16 = 0;
    while message.len() + 12 + 1000 <= 65_535 {
        message.extend(b"\xc0\x0c\0\x10\0\x01\0\0\x01\0\x03\xe8");
        message.resize(message.len() + 1000, 7);
        records += 1;
    }
    message[6..8].copy_from_slice(&records.to_be_bytes());
    let received = reply::read(&message, &question, None).unwrap();
    let (route, now) = (Arc::clone(&routes()[0]), Instant::now());
    let (answer, outcome) = (Arc::clone(&received.answer), received.outcome);
    let kept =
        Kept { route, question: question.clone(), answer, outcome, stored: now, expires: now, main: false, uses: 0 };
    let snapshot = [HEAD, &entry(&kept, 5, 6).unwrap()].concat();
    let read: Vec<_> = entries(&snapshot).unwrap().collect();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].unwrap().open(), Some((question, received)));
}

#[test]
fn what_does_not_begin_as_a_snapshot_is_told() {
    assert_eq!(entries(b"").unwrap_err(), Unreadable::Foreign);
    assert_eq!(entries(b"phzd").unwrap_err(), Unreadable::Foreign);
    assert_eq!(entries(&HEAD[1..]).unwrap_err(), Unreadable::Foreign);
    assert_eq!(entries(b"phzd cache, format 2\nwhatever").unwrap_err(), Unreadable::OtherFormat);
    assert_eq!(entries(b"phzd cache, format 10\n").unwrap_err(), Unreadable::OtherFormat);
    assert_eq!(entries(HEAD).unwrap().count(), 0);
}

#[test]
fn times_that_no_answer_has_are_damage() {
    let question = Question { name: "a.example".parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false };
    let (route, now, answer) = (Arc::clone(&routes()[0]), Instant::now(), Answer::empty(0).into());
    let outcome = Outcome::Negative;
    let kept = Kept { route, question, answer, outcome, stored: now, expires: now, main: true, uses: 3 };
    for (stored, expires, good) in [
        (7, 8, true),
        (7, 7, false),
        (7, 6, false),
        (0, MAX_TTL, true),
        (0, MAX_TTL + 1, false),
        (u64::MAX - 1, u64::MAX, true),
        (u64::MAX, 0, false),
        (0, u64::MAX, false),
    ] {
        let snapshot = [HEAD, &entry(&kept, stored, expires).unwrap()].concat();
        let read: Vec<_> = entries(&snapshot).unwrap().collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].is_ok(), good, "{stored} {expires}");
    }
}

#[test]
fn a_file_of_nothing_but_damage_is_given_up() {
    let claim = [MARK, &40_u32.to_be_bytes(), &[0; 4]].concat();
    let snapshot = [HEAD, &claim.repeat(20_000)].concat();
    assert_eq!(entries(&snapshot).unwrap().count(), MOST_DAMAGES);
    assert!(entries(&snapshot).unwrap().all(|entry| entry == Err(Damaged)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(all in kept(8)) {
        let snapshot = snapshot(&all).concat();
        let read: Vec<_> = entries(&snapshot).unwrap().collect();
        prop_assert_eq!(read.len(), all.len());
        for ((entry, kept), stored) in read.into_iter().zip(&all).zip(1..) {
            let entry = entry.unwrap();
            prop_assert_eq!((entry.stored, entry.expires), (stored, stored * 10));
            prop_assert_eq!((entry.main, entry.uses), (kept.main, kept.uses));
            prop_assert_eq!(entry.route, written(&kept.route));
            let (question, received) = entry.open().unwrap();
            prop_assert_eq!(&question, &kept.question);
            prop_assert_eq!(&received.answer, &kept.answer);
            prop_assert_eq!(received.outcome, kept.outcome);
        }
    }

    /// Octets changed in one place, up to four in a row, cost the entries there and no other.
    #[test]
    fn damage_costs_the_entry_it_is_in(all in kept(8), place in any::<prop::sample::Index>(), noise in prop::collection::vec(1..=255_u8, 1..5)) {
        let whole = snapshot(&all);
        let mut damaged = whole.concat();
        let first = HEAD.len() + place.index(damaged.len() - HEAD.len());
        let last = (first + noise.len()).min(damaged.len());
        damaged[first..last].iter_mut().zip(&noise).for_each(|(octet, noise)| *octet ^= noise);
        let original = whole.concat();
        let mut begin = HEAD.len();
        let mut hit = |piece: &Vec<u8>| {
            let here = begin..begin + piece.len();
            begin = here.end;
            first < here.end && here.start < last
        };
        let hit: Vec<bool> = whole[1..].iter().map(&mut hit).collect();
        let left: Vec<_> = entries(&original).unwrap().zip(hit).filter(|(_, hit)| !hit).map(|(entry, _)| entry).collect();
        let read: Vec<_> = entries(&damaged).unwrap().collect();
        prop_assert!(read.contains(&Err(Damaged)));
        prop_assert_eq!(read.into_iter().filter(Result::is_ok).collect::<Vec<_>>(), left);
    }

    /// A file cut short has all entries that are whole.
    #[test]
    fn a_cut_costs_the_end(all in kept(6), place in any::<prop::sample::Index>()) {
        let whole = snapshot(&all);
        let original = whole.concat();
        let cut = HEAD.len() + place.index(original.len() - HEAD.len());
        let read: Vec<_> = entries(&original[..cut]).unwrap().collect();
        let (mut end, mut left) = (HEAD.len(), 0);
        while let Some(piece) = whole.get(1 + left).filter(|piece| end + piece.len() <= cut) {
            (end, left) = (end + piece.len(), left + 1);
        }
        let expected: Vec<_> = entries(&original).unwrap().take(left).collect();
        prop_assert_eq!(&read[..left], &expected[..]);
        prop_assert!(read[left..].iter().all(Result::is_err));
        prop_assert_eq!(read.len() > left, cut > end);
    }

    /// Entries changed by somebody who knows how to sum them: what is read of them can be used like any answer.
    #[test]
    fn a_good_checksum_is_no_reason_to_believe(
        all in kept(3),
        changes in prop::collection::vec(prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4), 40),
    ) {
        let whole = snapshot(&all);
        let mut opened = 0;
        for (turn, change) in changes.iter().enumerate() {
            let mut content = whole[1][FRAME..].to_vec();
            for (at, octet) in change {
                let at = at.index(content.len());
                match turn % 5 {
                    0 => content.truncate(at.max(1)),
                    1 => content.insert(at, *octet),
                    2 => content[at] = [0, 12, 41, 63, 64, 0xc0, 0xff, 5][usize::from(octet % 8)],
                    _ => content[at] = *octet,
                }
            }
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            let sum = checksum(length, &content).to_be_bytes();
            let snapshot = [HEAD, MARK, &length, &sum, &content].concat();
            for entry in entries(&snapshot).unwrap().flatten() {
                opened += 1;
                used(&entry);
            }
        }
        prop_assert!(opened <= changes.len());
    }

    #[test]
    fn no_octets_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..400), marks in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut noise = noise;
        for mark in marks {
            let at = mark.index(noise.len() + 1);
            noise.splice(at..at, MARK.iter().copied().chain([0, 0, 0, 9]));
        }
        prop_assert!(entries(&noise).is_err());
        let snapshot = [HEAD, &noise].concat();
        let read: Vec<_> = entries(&snapshot).unwrap().collect();
        prop_assert!(read.len() <= noise.len());
        read.iter().flatten().for_each(used);
        if let Some(entry) = Entry::read(&noise) {
            used(&entry);
        }
    }
}

#[test]
fn an_address_says_its_scope() {
    let scoped = |scope| SocketAddr::V6(std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 53, 0, scope));
    let route = |scope| Route::new([Target::from(scoped(scope))], &[]);
    assert_ne!(written(&route(1)), written(&route(2)));
}
