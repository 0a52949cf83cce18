//! One cache filled, its snapshot put into another at another time.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::*;
use crate::config::{self, Config};
use crate::upstream::cache::Hit;
use crate::wire::answer::STALE_TTL;
use crate::wire::reply::{self, Outcome, Received};
use crate::wire::{Name, Question};

pub(in crate::upstream) const MB: usize = 1 << 20;
const TTL: u32 = 300;
const NEGATIVE: u32 = 60;

pub(in crate::upstream) fn upstream(bytes: usize) -> Upstream {
    let cache = config::Cache { bytes, min_ttl: 0, max_ttl: 86_400, max_negative_ttl: 900 };
    Upstream::new(&settings(cache, 86_400))
}

fn settings(cache: config::Cache, stale: u64) -> Config {
    let mut config = Config { cache, ..config::tests::minimal() };
    config.upstream.stale = Duration::from_secs(stale);
    config
}

pub(in crate::upstream) fn route(last: u8) -> Arc<Route> {
    Route::new([SocketAddr::from(([10, 0, 0, last], 53)).into()], &[]).into()
}

fn question(name: &str) -> Question {
    Question { name: name.parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false }
}

/// A reply with one address; or, with this code, one that says that there is nothing, with a SOA.
fn received(question: &Question, code: u8) -> Received {
    let mut message = question.message(7, question.name.as_wire(), false);
    (message[2], message[3]) = (0x81, 0x80 | code);
    if code == 0 {
        message[7] = 1;
        message.extend(b"\xc0\x0c\0\x01\0\x01");
        message.extend(TTL.to_be_bytes());
        message.extend(b"\0\x04\x0a\0\0\x01");
    } else {
        message[9] = 1;
        message.extend(b"\0\0\x06\0\x01");
        message.extend(NEGATIVE.to_be_bytes());
        message.extend(b"\0\x16\0\0");
        [1, 2, 3, 4, NEGATIVE].iter().for_each(|number| message.extend(number.to_be_bytes()));
    }
    reply::read(&message, question, None).unwrap()
}

pub(in crate::upstream) fn keep(upstream: &Upstream, route: &Arc<Route>, name: &str, code: u8, now: Instant) {
    let question = question(name);
    upstream.keep(route, &question, &mut received(&question, code), now);
}

fn snapshot(upstream: &Upstream, at: Moment) -> Vec<u8> {
    [snapshot::HEAD.to_vec(), upstream.snapshot(at).collect::<Vec<_>>().concat()].concat()
}

fn cached(upstream: &Upstream, route: &Arc<Route>, name: &str, now: Instant) -> Option<Hit> {
    upstream.cached(route, question(name).as_asked(), now)
}

/// Two moments: one of this process, and one of another that began long ago, so many seconds later.
fn moments(later: u64) -> (Moment, Moment) {
    let (now, time) = (Instant::now(), Duration::from_millis(1_800_000_000_700));
    let other = now + Duration::from_secs(123_456_789);
    (Moment { now, time }, Moment { now: other, time: time + Duration::from_secs(later) })
}

#[test]
fn what_was_kept_is_found_after_a_restart_and_has_aged() {
    let (before, after) = moments(100);
    let (one, other, route) = (upstream(MB), upstream(MB), route(2));
    keep(&one, &route, "a.example", 0, before.now - Duration::from_secs(50));
    keep(&one, &route, "b.example", 3, before.now);
    let tally = other.restore(&snapshot(&one, before), [&route], after);
    assert_eq!(tally, Ok(Tally { restored: 2, ..Tally::default() }));
    let hit = cached(&other, &route, "a.example", after.now).unwrap();
    let expected = received(&question("a.example"), 0).answer;
    assert_eq!((&hit.answer, hit.stale, hit.renew), (&expected, false, false));
    assert!((150..=151).contains(&hit.age), "seconds are counted as whole ones at most: {}", hit.age);
    let left = Duration::from_secs(u64::from(TTL) - 150);
    assert!(cached(&other, &route, "a.example", after.now + left - Duration::from_secs(2)).is_some());
    assert!(cached(&other, &route, "a.example", after.now + left).is_none());
    // Over, and may be served for want of a better.
    assert!(cached(&other, &route, "b.example", after.now).is_none());
    let stale = other.cached_or_stale(&route, question("b.example").as_asked(), after.now).unwrap_err().unwrap();
    assert_eq!((stale.answer.rcode(), stale.place().shown(NEGATIVE)), (3, STALE_TTL));
}

#[test]
fn what_is_too_old_for_anything_is_left_out() {
    let (one, route) = (upstream(MB), route(2));
    let (before, _) = moments(0);
    keep(&one, &route, "a.example", 0, before.now);
    keep(&one, &route, "b.example", 3, before.now);
    let bytes = snapshot(&one, before);
    for (later, stale, restored) in [
        (u64::from(NEGATIVE) + 598, 86_400, 2),
        (u64::from(NEGATIVE) + 600, 86_400, 1),
        (u64::from(TTL) + 86_398, 86_400, 1),
        (u64::from(TTL) + 86_400, 86_400, 0),
        (u64::from(NEGATIVE) - 2, 0, 2),
        (u64::from(TTL) - 2, 0, 1),
        (u64::from(TTL), 0, 0),
        (100 * 365 * 86_400, 86_400, 0),
    ] {
        let other = upstream(MB);
        let cache = config::Cache { bytes: MB, min_ttl: 0, max_ttl: 86_400, max_negative_ttl: 900 };
        other.configure(&settings(cache, stale));
        let tally = other.restore(&bytes, [&route], moments(later).1).unwrap();
        assert_eq!(tally, Tally { restored, over: 2 - restored, ..Tally::default() }, "{later} {stale}");
        assert_eq!(other.cache().entries(), restored);
    }
    // Nor is it written.
    assert_eq!(one.snapshot(before).count(), 2);
    let later = |seconds| Moment { now: before.now + Duration::from_secs(seconds), ..before };
    assert_eq!(one.snapshot(later(u64::from(NEGATIVE) + 600)).count(), 1);
    assert_eq!(one.snapshot(later(u64::from(TTL) + 86_400)).count(), 0);
}

#[test]
fn a_clock_set_back_is_noticed_and_one_before_1970_does_no_harm() {
    let (one, route) = (upstream(MB), route(2));
    let (before, after) = moments(0);
    keep(&one, &route, "a.example", 0, before.now);
    let bytes = snapshot(&one, before);
    let back = Moment { time: after.time - Duration::from_secs(1), ..after };
    let other = upstream(MB);
    assert_eq!(other.restore(&bytes, [&route], back), Ok(Tally { future: 1, ..Tally::default() }));
    assert_eq!(other.restore(&bytes, [&route], Moment { time: Duration::ZERO, ..after }).unwrap().future, 1);
    assert_eq!(other.cache().entries(), 0);
    let early = Moment { now: before.now + Duration::from_secs(9), time: Duration::from_secs(1) };
    assert_eq!(one.snapshot(early).count(), 0, "stored eight seconds before 1970");
}

#[test]
fn an_answer_older_than_the_machine_has_its_age() {
    let (one, route) = (upstream(MB), route(2));
    let (before, _) = moments(0);
    keep(&one, &route, "a.example", 0, before.now);
    let bytes = snapshot(&one, before);
    // This process's own clock, which began when the machine did.
    let after = Moment { now: Instant::now(), time: before.time + Duration::from_secs(80_000) };
    let other = upstream(MB);
    assert_eq!(other.restore(&bytes, [&route], after).unwrap().restored, 1);
    let stale = other.cached_or_stale(&route, question("a.example").as_asked(), after.now).unwrap_err().unwrap();
    assert!((80_000..=80_001).contains(&stale.age), "{}", stale.age);
    let decades = Duration::from_secs(40 * 365 * 86_400);
    assert!(after.now.checked_sub(decades).is_some(), "Linux knows times before the machine's start");
}

#[test]
fn what_others_said_is_left_out_and_what_an_equal_route_said_is_shared() {
    let (one, other) = (upstream(MB), upstream(MB));
    let (before, after) = moments(5);
    for last in [2, 3, 4] {
        keep(&one, &route(last), "a.example", 0, before.now);
        keep(&one, &route(last), "b.example", 0, before.now);
    }
    let ours = [route(3), route(4).as_ref().clone().or(&route(3)).into()];
    let tally = other.restore(&snapshot(&one, before), &ours, after);
    assert_eq!(tally, Ok(Tally { restored: 4, foreign: 2, ..Tally::default() }));
    assert!(cached(&other, &route(2), "a.example", after.now).is_none());
    assert!(ours.iter().all(|route| cached(&other, route, "b.example", after.now).is_some()));
    assert_eq!(ours.each_ref().map(Arc::strong_count), [1 + 2, 1 + 2], "each answer has the policy's own");
}

#[test]
fn failures_and_probes_do_not_survive_and_answers_survive_failures() {
    let (one, other, route) = (upstream(MB), upstream(MB), route(2));
    let (before, after) = moments(1);
    let failure = || Arc::new(crate::wire::Answer::empty(2));
    keep(&one, &route, "a.example", 0, before.now);
    one.fail(&route, &question("a.example"), failure(), before.now);
    one.fail(&route, &question("b.example"), failure(), before.now);
    keep(
        &one,
        &route,
        one.loops.probe_again(([10, 0, 0, 2], 53).into(), &Name::root(), 7).unwrap().to_string().as_str(),
        3,
        before.now,
    );
    assert_eq!(one.cache().entries(), 3);
    assert_eq!(other.restore(&snapshot(&one, before), [&route], after).unwrap().restored, 1);
    assert!(cached(&other, &route, "a.example", after.now).is_some_and(|hit| !hit.stale));
}

#[test]
fn the_configuration_may_allow_less_than_it_did() {
    let (one, other, route) = (upstream(MB), upstream(MB), route(2));
    let (before, after) = moments(0);
    keep(&one, &route, "a.example", 0, before.now);
    keep(&one, &route, "b.example", 3, before.now);
    let less = config::Cache { bytes: MB, min_ttl: 0, max_ttl: 100, max_negative_ttl: 10 };
    other.configure(&settings(less, 86_400));
    assert_eq!(other.restore(&snapshot(&one, before), [&route], after).unwrap().restored, 2);
    let found = |seconds| {
        let now = after.now + Duration::from_secs(seconds);
        ["a.example", "b.example"].map(|name| cached(&other, &route, name, now).is_some())
    };
    assert_eq!([found(8), found(10), found(98), found(100)], [[true, true], [true, false], [true, false], [false; 2]]);
}

/// The names that are kept, in their order, each with how it stands.
fn order(upstream: &Upstream, now: Instant) -> Vec<(String, bool, u8)> {
    let kept = upstream.cache().kept(upstream.staleness(), now);
    kept.map(|kept| (kept.question.name.to_string(), kept.main, kept.uses)).collect()
}

#[test]
fn who_is_used_comes_first_and_stays() {
    let route = route(2);
    let (before, after) = moments(5);
    // A cache that is full, and one that is far from it, in which no answer has had to move to the main queue.
    for (size, full) in [(4 * MB, true), (64 * MB, false)] {
        let one = upstream(size);
        let mut used = HashSet::new();
        for number in 0..20_000 {
            let name = format!("n{number}.example");
            keep(&one, &route, &name, 0, before.now);
            if number % 20 == 0 {
                (0..2).for_each(|_| assert!(cached(&one, &route, &name, before.now).is_some()));
                used.insert(name);
            }
        }
        let kept = order(&one, before.now);
        assert_eq!((kept.len(), kept.len() < 20_000), (one.cache().entries(), full));
        let first: HashSet<_> = kept.iter().take(used.len()).map(|(name, ..)| name.clone()).collect();
        assert!(first == used, "who is used comes first");

        let bytes = snapshot(&one, before);
        let same = upstream(size);
        assert_eq!(same.restore(&bytes, [&route], after).unwrap().restored, kept.len());
        let (again, kept): (HashSet<_>, HashSet<_>) =
            (order(&same, after.now).into_iter().collect(), kept.into_iter().collect());
        // Names fall on other parts of the cache each time, so one that was full may have more than it takes.
        assert!(if full { again.len() > kept.len() * 9 / 10 } else { again == kept }, "{} {}", again.len(), kept.len());

        let small = upstream(3 * MB);
        small.restore(&bytes, [&route], after).unwrap();
        assert!(small.cache().bytes() <= 3 * MB && small.cache().entries() < 10_000);
        for cache in [same, small] {
            assert!(used.iter().all(|name| cached(&cache, &route, name, after.now).is_some()), "others went instead");
        }
    }
}

#[test]
fn the_snapshot_is_smaller_than_the_cache() {
    let (one, route) = (upstream(4 * MB), route(2));
    let (before, _) = moments(0);
    for number in 0..20_000 {
        keep(&one, &route, &format!("a-name-of-{number}.some-service.ap-northeast-1.example"), 0, before.now);
    }
    let (bytes, memory) = (snapshot(&one, before).len(), one.cache().bytes());
    assert!(one.cache().entries() > 5000 && bytes < memory, "{bytes} octets of {memory}");
}

#[test]
fn other_bytes_are_no_cache() {
    let (_, after) = moments(0);
    assert_eq!(upstream(MB).restore(b"", [], after), Err(Unreadable::Foreign));
    assert_eq!(upstream(MB).restore(b"phzd cache, format 0\n", [], after), Err(Unreadable::OtherFormat));
    let damaged = [snapshot::HEAD, b"nothing of ours"].concat();
    let route = route(2);
    assert_eq!(upstream(MB).restore(&damaged, [&route], after).unwrap().damaged, 1);
    assert_eq!(received(&question("a.example"), 3).outcome, Outcome::Negative);
}
