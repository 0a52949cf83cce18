//! Limits beside the simplest thing that does the same: a bucket for each client.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

/// Every client may ask `rate` times a second, and be sent as many octets beyond three times what it asked.
fn terms(rate: u32, slip: u32) -> Terms {
    let limits = config::Limits {
        queries_per_second: rate,
        slip,
        ipv4_prefix: 32,
        ipv6_prefix: 56,
        amplification: rate,
        forwards_per_client: 1000,
    };
    Terms::from(&limits)
}

fn ask(limits: &Limits, terms: &Terms, client: IpAddr, now: Instant) -> Option<TooMany> {
    limits.query(terms, client, now, &mut Clock::default())
}

fn client(number: u32) -> IpAddr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) + (u128::from(number) << 72) + 7).into()
}

/// A bucket that fills steadily, in ticks.
struct Bucket {
    content: u64,
    at: u64,
}

impl Bucket {
    fn take(&mut self, cost: u64, now: u64) -> bool {
        self.content = (self.content + now - self.at).min(SECOND);
        self.at = now;
        let enough = self.content >= cost;
        if enough {
            self.content -= cost;
        }
        enough
    }
}

proptest! {
    #[test]
    fn each_client_has_a_bucket_of_one_second(
        rate in prop::sample::select(vec![1_u32, 3, 50, 1000, 10_000, 1_000_000]),
        steps in prop::collection::vec((0..6_u32, 0..2_000_000_000_u64, 1..40_usize), 1..60),
        hurry in 0..4_u32,
    ) {
        let (limits, terms, began) = (Limits::default(), terms(rate, 0), Instant::now());
        let mut buckets = HashMap::new();
        let mut passed = 0;
        for (number, wait, times) in steps {
            passed += wait / 1000_u64.pow(hurry) / 16 * 16;
            let now = began + Duration::from_nanos(passed);
            let bucket = buckets.entry(number).or_insert(Bucket { content: SECOND, at: 0 });
            for _ in 0..times {
                let allowed = ask(&limits, &terms, client(number), now).is_none();
                prop_assert_eq!(allowed, bucket.take(SECOND.div_ceil(rate.into()), passed / 16));
            }
        }
    }

    #[test]
    fn octets_beyond_three_times_the_query_have_a_bucket_too(
        rate in prop::sample::select(vec![1_u32, 500, 100_000, 10_000_000]),
        steps in prop::collection::vec((0..3_u32, 0..1_000_000_000_u64, 17..100_usize, 12..1232_usize), 1..200),
    ) {
        let (limits, terms, began) = (Limits::default(), terms(rate, 0), Instant::now());
        let mut buckets = HashMap::new();
        let (mut passed, mut beyond) = (0, 0);
        for (number, wait, query, reply) in steps {
            passed += wait / 16 * 16;
            let now = began + Duration::from_nanos(passed);
            let sent = limits.reply(&terms, client(number), (query, reply), now);
            let more = reply.saturating_sub(3 * query) as u64;
            let bucket = buckets.entry(number).or_insert(Bucket { content: SECOND, at: 0 });
            let cost = (more * SECOND).div_ceil(rate.into());
            prop_assert_eq!(sent, more == 0 || bucket.take(cost, passed / 16));
            beyond += if sent { more } else { 0 };
        }
        // What all three could be sent at most, whatever they asked.
        prop_assert!(u128::from(beyond) <= 3 * u128::from(rate) * (1 + u128::from(passed) / 1_000_000_000 + 1));
    }
}

#[test]
fn every_nth_of_those_that_are_too_many_is_truncated() {
    use TooMany::{Drop, Truncate};
    for (slip, expected) in [
        (0, [Drop; 6]),
        (1, [Truncate; 6]),
        (2, [Drop, Truncate, Drop, Truncate, Drop, Truncate]),
        (3, [Drop, Drop, Truncate, Drop, Drop, Truncate]),
    ] {
        let (limits, terms, now) = (Limits::default(), terms(10, slip), Instant::now());
        let asks = |number| ask(&limits, &terms, client(number), now);
        assert!((0..10).all(|_| asks(1).is_none()));
        let verdicts: Vec<_> = (0..6).map(|_| asks(1)).collect();
        assert_eq!(verdicts, expected.map(Some), "slip {slip}");
        assert_eq!(asks(2), None, "another client is not concerned");
    }
}

#[test]
fn a_flood_is_remembered_while_strangers_come_and_go() {
    let (limits, terms) = (Limits::default(), terms(1000, 0));
    let now = Instant::now();
    assert_eq!((0..2000).filter(|_| ask(&limits, &terms, client(0), now).is_none()).count(), 1000);
    for number in 1..200_000 {
        assert_eq!(ask(&limits, &terms, client(number), now), None, "who asks once is never one too many");
    }
    assert!(ask(&limits, &terms, client(0), now).is_some(), "and who owes most is not forgotten for them");
}

#[test]
fn what_was_owed_is_forgotten_with_time() {
    let (limits, terms, began) = (Limits::default(), terms(10, 0), Instant::now());
    let at = |millis| began + Duration::from_millis(millis);
    let allowed = |now| (0..100).filter(|_| ask(&limits, &terms, client(1), now).is_none()).count();
    assert_eq!((allowed(at(0)), allowed(at(50)), allowed(at(100)), allowed(at(550))), (10, 0, 1, 4));
    // Longer than the time in an account, and somewhat before it has gone round.
    assert_eq!(allowed(at(1_000_000_000)), 10);
    assert_eq!(allowed(at(1_000_000_000 + 281_470_000)), 10);
    // A thread whose clock was read before.
    assert_eq!(allowed(at(1_000_000_000 + 281_469_900)), 0);
}

#[test]
fn threads_share_what_a_client_may_take() {
    let (limits, terms) = (Limits::default(), terms(10_000, 0));
    let now = Instant::now();
    assert_eq!(ask(&limits, &terms, client(1), now), None);
    let allowed = || (0..10_000).filter(|_| ask(&limits, &terms, client(1), now).is_none()).count();
    let sum: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(allowed)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sum, 9_999);
}

#[test]
fn who_came_over_tcp_is_sent_whatever_it_asks_for() {
    let (limits, terms) = (Limits::default(), terms(1000, 0));
    let reply = |number, now| limits.reply(&terms, client(number), (40, 1120), now);
    let now = Instant::now();
    assert!(reply(1, now), "a thousand octets more than three times the query");
    assert!(!reply(1, now));
    limits.came_over_tcp(&terms, client(1), now);
    assert!((0..1000).all(|_| reply(1, now)));
    // Its neighbour has not.
    let neighbour: IpAddr = "2001:db8:0:100::8".parse().unwrap();
    assert!(!limits.reply(&terms, neighbour, (40, 1120), now));
    assert!(limits.reply(&terms, neighbour, (40, 120), now), "three times is always free");
    let an_hour_on = now + Duration::from_secs(3600);
    assert!(reply(1, an_hour_on), "once, of what it may have");
    assert!(!reply(1, an_hour_on), "it is forgotten after an hour");
}

#[test]
fn addresses_that_have_shown_themselves_are_as_many_as_there_is_room_for() {
    let (shown, number) = (Shown::default(), 100_000);
    let address = |number: u32| IpAddr::from(number.to_be_bytes());
    (0..number).for_each(|number| shown.add(address(number), u64::from(number / 100)));
    let remembered = (0..number).filter(|number| shown.has(address(*number), 1000)).count();
    assert!((7_000..=8_192).contains(&remembered), "{remembered}");
    assert_eq!((number..2 * number).filter(|number| shown.has(address(*number), 1000)).count(), 0);
    // Lines are drawn: once in a thousand runs one has nine of the newest for its eight places.
    let newest = (number - 1000..number).filter(|number| shown.has(address(*number), 1000)).count();
    assert!(newest > 990, "{newest} of the thousand newest");
}

#[test]
fn nothing_is_limited_where_the_configuration_says_so() {
    let (limits, none) = (Limits::default(), terms(0, 2));
    let now = Instant::now();
    assert!((0..100_000).all(|_| ask(&limits, &none, client(1), now).is_none()));
    assert!((0..100_000).all(|_| limits.reply(&none, client(1), (17, 1232), now)));
    let one = terms(1, 2);
    for here in ["127.0.0.1", "::1", "::ffff:127.0.0.2"].map(|ip| ip.parse().unwrap()) {
        assert!((0..100).all(|_| ask(&limits, &one, here, now).is_none() && limits.reply(&one, here, (17, 1232), now)));
    }
}
