//! The cache as its room uses it: bounds, ages, eviction, many threads.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Barrier;

use proptest::prelude::*;

use super::*;
use crate::wire::{ExtendedError, Name};

const MB: usize = 1 << 20;

fn route(last: u8) -> Arc<Route> {
    Route::new([SocketAddr::from(([10, 0, 0, last], 53)).into()], &[]).into()
}

fn question(name: &str) -> Question {
    Question { name: name.parse().unwrap(), kind: 1, dnssec_ok: false, checking_disabled: false }
}

/// An answer that can be told from others by its number, with `size` octets of text.
fn answer(number: u16, size: usize) -> Arc<Answer> {
    Arc::new(Answer::error(number, ExtendedError { code: 0, text: vec![b'x'; size].into() }))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Which answer is found, and its age.
fn found(cache: &Cache, route: &Route, question: &Question, now: Instant) -> Option<(u16, u32)> {
    cache.get(route, question.as_asked(), now).map(|hit| (hit.answer.rcode(), hit.age))
}

#[test]
fn an_answer_serves_until_its_lifetime_is_over() {
    let (cache, route, name, start) = (Cache::new(MB), route(2), question("a.example"), Instant::now());
    assert_eq!(found(&cache, &route, &name, start), None);
    cache.insert(&route, &name, (answer(1, 0), Outcome::Positive), seconds(60), start);
    let at = |millis: u64| found(&cache, &route, &name, start + Duration::from_millis(millis));
    assert_eq!(at(0), Some((1, 0)));
    assert_eq!(at(999), Some((1, 0)), "an age is in whole seconds");
    assert_eq!(at(1000), Some((1, 1)));
    assert_eq!(at(59_999), Some((1, 59)));
    assert_eq!(at(60_000), None);
    assert_eq!(cache.entries(), 1, "what has expired is not thrown away on sight");
    assert_eq!(found(&cache, &route, &name, start - seconds(1)), Some((1, 0)), "another thread's now may lag behind");
}

#[test]
fn a_lifetime_of_zero_is_not_kept_and_leaves_what_is_there() {
    let (cache, route, name, now) = (Cache::new(MB), route(2), question("a.example"), Instant::now());
    cache.insert(&route, &name, (answer(1, 0), Outcome::Positive), Duration::ZERO, now);
    assert_eq!(cache.entries(), 0);
    cache.insert(&route, &name, (answer(2, 0), Outcome::Positive), seconds(9), now);
    cache.insert(&route, &name, (answer(3, 0), Outcome::Positive), Duration::ZERO, now);
    assert_eq!(found(&cache, &route, &name, now), Some((2, 0)));
    cache.insert(&route, &name, (answer(4, 0), Outcome::Positive), Duration::MAX, now);
    assert_eq!(found(&cache, &route, &name, now), Some((2, 0)), "no instant is that far away");
    let day = Stale { positive: seconds(86_400), negative: Duration::ZERO };
    let past = cache.get_or_stale(&route, name.as_asked(), day, now + seconds(9));
    assert!(matches!(past, Err(None)), "it is not served past its time: what was said since is another");
    assert_eq!(cache.kept(day, now).count(), 0);
}

#[test]
fn a_newer_answer_takes_the_olders_place() {
    let (cache, route, name, start) = (Cache::new(MB), route(2), question("a.example"), Instant::now());
    cache.insert(&route, &name, (answer(1, 100), Outcome::Positive), seconds(60), start);
    let before = cache.bytes();
    cache.insert(&route, &name, (answer(2, 40), Outcome::Positive), seconds(5), start + seconds(10));
    assert_eq!((cache.entries(), cache.bytes()), (1, before - 60));
    assert_eq!(found(&cache, &route, &name, start + seconds(14)), Some((2, 4)));
    assert_eq!(found(&cache, &route, &name, start + seconds(15)), None);
}

#[test]
fn whatever_was_asked_differently_is_another_answer() {
    let (cache, now) = (Cache::new(MB), Instant::now());
    let plain = question("a.example");
    let keys = [
        (route(2), plain.clone()),
        (route(3), plain.clone()),
        (Arc::new(Route::new(route(2).addresses().chain(route(3).addresses()).map(Into::into), &[])), plain.clone()),
        (route(2), question("b.example")),
        (route(2), question("example")),
        (route(2), Question { kind: 28, ..plain.clone() }),
        (route(2), Question { dnssec_ok: true, ..plain.clone() }),
        (route(2), Question { checking_disabled: true, ..plain.clone() }),
        (route(2), Question { checking_disabled: true, dnssec_ok: true, ..plain.clone() }),
    ];
    for (number, (route, question)) in keys.iter().enumerate() {
        assert_eq!(found(&cache, route, question, now), None, "{question:?}");
        cache.insert(route, question, (answer(number as u16, 0), Outcome::Positive), seconds(60), now);
    }
    for (number, (route, question)) in keys.iter().enumerate() {
        assert_eq!(found(&cache, route, question, now), Some((number as u16, 0)), "{question:?}");
    }
    assert_eq!(found(&cache, &route(2), &plain, now), Some((0, 0)), "an equal route made by a reload is the same");
}

#[test]
fn nothing_is_lost_while_there_is_room() {
    let (cache, route, now) = (Cache::new(4 * MB), route(2), Instant::now());
    let names: Vec<_> = (0..4000).map(|number| question(&format!("n{number}.example"))).collect();
    for (number, name) in names.iter().enumerate() {
        cache.insert(&route, name, (answer(number as u16, 20), Outcome::Positive), seconds(60), now);
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(found(&cache, &route, name, now), Some((number as u16, 0)));
    }
    assert!(cache.bytes() <= 4 * MB);
    cache.clear();
    assert_eq!((cache.entries(), cache.bytes()), (0, Cache::new(4 * MB).bytes()));
}

#[test]
fn an_answer_larger_than_a_share_is_not_kept() {
    let (cache, route, name, now) = (Cache::new(MB), route(2), question("a.example"), Instant::now());
    cache.insert(&route, &name, (answer(1, MB / SHARDS), Outcome::Positive), seconds(60), now);
    assert_eq!(cache.entries(), 0);
    cache.insert(&route, &name, (answer(1, MB / SHARDS / 2), Outcome::Positive), seconds(60), now);
    assert_eq!(cache.entries(), 1);
    let none = Cache::new(0);
    none.insert(&route, &name, (answer(1, 0), Outcome::Positive), seconds(60), now);
    assert_eq!((none.entries(), found(&none, &route, &name, now)), (0, None));
}

#[test]
fn a_smaller_size_keeps_what_is_used() {
    let (cache, route, now) = (Cache::new(8 * MB), route(2), Instant::now());
    let names: Vec<_> = (0..10_000).map(|number| question(&format!("n{number}.example"))).collect();
    for (number, name) in names.iter().enumerate() {
        cache.insert(&route, name, (answer(number as u16, 20), Outcome::Positive), seconds(60), now);
    }
    let used = &names[3000..3200];
    for name in used.iter().chain(used) {
        assert!(found(&cache, &route, name, now).is_some());
    }
    cache.resize(MB);
    assert!(cache.bytes() <= MB, "{}", cache.bytes());
    assert!((500..3000).contains(&cache.entries()), "{}", cache.entries());
    for (number, name) in (3000..).zip(used) {
        assert_eq!(found(&cache, &route, name, now), Some((number, 0)));
    }
    let few = cache.entries();
    cache.resize(8 * MB);
    assert_eq!(cache.entries(), few);
    for name in &names {
        cache.insert(&route, name, (answer(1, 20), Outcome::Positive), seconds(60), now);
    }
    assert_eq!(cache.entries(), names.len(), "there is room again");
    cache.resize(0);
    assert_eq!(cache.entries(), 0);
}

/// A flood of names that are asked once, as random subdomains are, while a few are asked again and again.
#[test]
fn a_million_names_asked_once_do_not_push_out_a_hundred_asked_often() {
    const FLOOD: u32 = 1_000_000;
    let (cache, route, now) = (Cache::new(4 * MB), route(2), Instant::now());
    let popular: Vec<_> = (0..100).map(|number| question(&format!("popular{number}.example"))).collect();
    let said = answer(0, 20);
    let (mut asked, mut missed_early, mut missed_late) = (0, 0, 0);
    for number in 0..FLOOD {
        let name = Name::from_wire(format!("\x08{number:08x}\x07example\x00").as_bytes()).unwrap();
        let random = Question { name, ..popular[0].clone() };
        cache.insert(&route, &random, (Arc::clone(&said), Outcome::Positive), seconds(86_400), now);
        if number % 20 == 0 {
            // Each of the hundred once in 2,000 of the others: less often than the small queue would bear by itself.
            let question = &popular[asked % popular.len()];
            asked += 1;
            if found(&cache, &route, question, now).is_none() {
                *(if number < FLOOD / 10 { &mut missed_early } else { &mut missed_late }) += 1;
                cache.insert(&route, question, (Arc::clone(&said), Outcome::Positive), seconds(86_400), now);
            }
        }
    }
    assert!((100..400).contains(&missed_early), "each is had once, or a few times until it is known: {missed_early}");
    assert_eq!(missed_late, 0, "of {asked}");
    assert!(cache.bytes() <= 4 * MB);
}

#[test]
fn threads_find_what_threads_keep() {
    const THREADS: u16 = 4;
    let (cache, route, now) = (Cache::new(2 * MB), route(2), Instant::now());
    let names: Vec<_> = (0..500).map(|number| question(&format!("n{number}.example"))).collect();
    let start = Barrier::new(usize::from(THREADS) + 1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cache, route, names, start) = (&cache, &route, &names, &start);
            scope.spawn(move || {
                start.wait();
                for (number, name) in names.iter().enumerate().cycle().take(20_000) {
                    match found(cache, route, name, now) {
                        Some((code, _)) => assert_eq!(usize::from(code), number),
                        None => cache.insert(
                            route,
                            name,
                            (answer(number as u16, number * 7), Outcome::Positive),
                            seconds(60),
                            now,
                        ),
                    }
                    if thread == 0 && number == 250 {
                        cache.resize(MB + number * (number % 3));
                    }
                    assert!(number % 100 > 0 || cache.bytes() <= 2 * MB);
                }
            });
        }
        start.wait();
    });
    assert!(cache.entries() > 100);
}

#[derive(Debug, Clone)]
enum Step {
    Insert { key: u16, size: usize, lifetime: u64 },
    Get { key: u16 },
    GetOrStale { key: u16 },
    Fail { key: u16, last: bool },
    Forget { key: u16 },
    Wait { millis: u64 },
    Resize { kilobytes: usize },
    Restart,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    // Few that much happens to, and many that fill it.
    let key = || prop_oneof![0..8_u16, 0..400_u16];
    let size = prop_oneof![0..100_usize, 0..5000_usize, Just(40_000)];
    prop_oneof![
        40 => (key(), size, 0..20_u64).prop_map(|(key, size, lifetime)| Step::Insert { key, size, lifetime }),
        40 => key().prop_map(|key| Step::Get { key }),
        10 => key().prop_map(|key| Step::GetOrStale { key }),
        10 => (key(), any::<bool>()).prop_map(|(key, last)| Step::Fail { key, last }),
        2 => key().prop_map(|key| Step::Forget { key }),
        5 => (0..3000_u64).prop_map(|millis| Step::Wait { millis }),
        1 => (0..2000_usize).prop_map(|kilobytes| Step::Resize { kilobytes }),
        1 => Just(Step::Restart),
        1 => Just(Step::Clear),
    ]
}

/// What of a hit tells which it is.
#[derive(Debug, Clone, Copy)]
struct Seen {
    number: u16,
    age: u32,
    stale: bool,
}

impl Seen {
    fn new(hit: &Hit) -> Self {
        Self { number: hit.answer.rcode(), age: hit.age, stale: hit.stale }
    }
}

/// What was said last of a question, which is all that may be found of it.
#[derive(Debug, Default)]
struct Model {
    /// The answer's number, when it was kept, and when its time is over.
    answers: HashMap<u16, (u16, Instant, Instant)>,
    /// The failure's number, when it was, and whether it was the last word.
    failures: HashMap<u16, (u16, Instant, bool)>,
    /// Whose last answer could not be kept.
    superseded: HashSet<u16>,
}

impl Model {
    /// The longest that a failure may be served, and how long answers may be past their time.
    const FAILED: Duration = Duration::from_secs(4);
    const STALE: Stale = Stale { positive: Duration::from_secs(6), negative: Duration::ZERO };

    /// The answer of this number and no other, at its right age; past its time only if nothing was said since.
    fn is_answer(&self, key: u16, hit: Seen, now: Instant) -> bool {
        let good = |&(number, stored, expires): &(u16, Instant, Instant)| {
            let past = now.checked_duration_since(expires);
            let young = past.is_some_and(|past| past < Self::STALE.positive) && !self.superseded.contains(&key);
            let in_time = if hit.stale { young } else { past.is_none() };
            in_time && (hit.number, u64::from(hit.age)) == (number, (now - stored).as_secs())
        };
        self.answers.get(&key).is_some_and(good)
    }

    /// What is served at once: the answer in its time or, after a failure that was not the last word, past it; or a failure
    /// that is not long ago.
    fn may_serve(&self, key: u16, hit: Seen, now: Instant) -> bool {
        let failed = self.failures.get(&key).filter(|(_, at, _)| now - *at < Self::FAILED);
        let is_failure = failed.is_some_and(|(number, ..)| !hit.stale && hit.number == *number);
        let excused = !hit.stale || failed.is_some_and(|(.., last)| !last);
        is_failure || excused && self.is_answer(key, hit, now)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against maps that forget nothing: what is found is the last that was said, in its time, and of the right age; and
    /// after each step the cache is within its bound, its queues and tables agree, and no table has grown.
    #[test]
    fn it_never_lies_and_never_outgrows_its_bound(steps in prop::collection::vec(step(), 1..1500)) {
        let (route, mut now, mut bound) = (route(2), Instant::now(), 300 << 10);
        let (cache, mut model) = (Cache::new(bound), Model::default());
        let asked = |key: u16| question(&format!("n{key}"));
        for (number, step) in (0_u16..).zip(steps) {
            match step {
                Step::Insert { key, size, lifetime } => {
                    let (question, answer) = (asked(key), answer(number, size));
                    let weight = weight(&question, &answer);
                    let fits = weight <= cache.shard(cache.hash(&route, question.as_asked())).room;
                    cache.insert(&route, &question, (answer, Outcome::Positive), seconds(lifetime), now);
                    if fits && lifetime > 0 {
                        model.answers.insert(key, (number, now, now + seconds(lifetime)));
                        model.failures.remove(&key);
                        model.superseded.remove(&key);
                    } else {
                        model.superseded.insert(key);
                    }
                }
                Step::Get { key } => {
                    let hit = cache.get(&route, asked(key).as_asked(), now).as_ref().map(Seen::new);
                    prop_assert!(hit.is_none_or(|hit| model.may_serve(key, hit, now)), "{key}: {hit:?}, {model:?}");
                }
                Step::GetOrStale { key } => {
                    let (hit, good) = match cache.get_or_stale(&route, asked(key).as_asked(), Model::STALE, now) {
                        Ok(hit) => (Seen::new(&hit), model.may_serve(key, Seen::new(&hit), now)),
                        Err(Some(hit)) => {
                            let hit = Seen::new(&hit);
                            (hit, hit.stale && model.is_answer(key, hit, now))
                        }
                        Err(None) => continue,
                    };
                    prop_assert!(good, "{key}: {hit:?}, {model:?}");
                }
                Step::Fail { key, last } => {
                    let told = cache.fail(&route, &asked(key), (answer(number, 10), last), Model::STALE, now);
                    let told = told.as_ref().map(Seen::new);
                    let good = |told| !last && model.is_answer(key, told, now);
                    prop_assert!(told.is_none_or(good), "{key}: {told:?}, {model:?}");
                    model.failures.insert(key, (number, now, last));
                }
                Step::Forget { key } => {
                    cache.forget(|name| *name == asked(key).name);
                    prop_assert!(cache.get(&route, asked(key).as_asked(), now).is_none());
                    model.answers.remove(&key);
                    model.failures.remove(&key);
                }
                Step::Wait { millis } => now += Duration::from_millis(millis),
                Step::Resize { kilobytes } => {
                    bound = kilobytes << 10;
                    cache.resize(bound);
                }
                Step::Restart => {
                    let kept: Vec<_> = cache.kept(Model::STALE, now).collect();
                    cache.clear();
                    kept.into_iter().for_each(|kept| cache.put_back(kept));
                    model.failures.clear();
                }
                Step::Clear => {
                    cache.clear();
                    prop_assert_eq!(cache.entries(), 0);
                    model = Model::default();
                }
            }
            check(&cache, bound)?;
        }
    }
}

fn check(cache: &Cache, bound: usize) -> Result<(), TestCaseError> {
    for shard in &cache.shards {
        let shard = shard.lock().unwrap();
        // A share too small for the fixed part of a shard keeps nothing.
        prop_assert!(shard.tables() + shard.weight() <= (bound / SHARDS).max(size_of::<Shard>() + 64), "{shard:?}");
        prop_assert_eq!(shard.room, shard.share.saturating_sub(shard.tables()), "a table has grown");
        prop_assert!(shard.table.allocation_size() <= shard.table_size, "the table of slots has outgrown its size");
        prop_assert_eq!(shard.table.len(), shard.entries.len());
        prop_assert_eq!(shard.small.slots.len() + shard.main.slots.len(), shard.entries.len());
        for (line, queue) in [(&shard.small, Queue::Small), (&shard.main, Queue::Main)] {
            let entries = line.slots.iter().map(|slot| shard.entries.get(*slot as usize));
            let mut weight = 0;
            for entry in entries {
                let entry = entry.expect("a slot in line has an entry");
                prop_assert_eq!(entry.queue, queue);
                weight += entry.weight;
            }
            prop_assert_eq!(weight, line.weight);
        }
    }
    Ok(())
}

#[test]
fn a_question_may_fail_for_hours() {
    let (cache, route, name, start) = (Cache::new(MB), route(2), question("a.example"), Instant::now());
    let stale = Stale { positive: seconds(86_400), negative: seconds(600) };
    cache.insert(&route, &name, (answer(1, 0), Outcome::Positive), seconds(1), start);
    for nth in 1..1000 {
        let told = cache.fail(&route, &name, (answer(2, 0), false), stale, start + seconds(5 * nth));
        assert!(told.is_some_and(|hit| hit.stale && hit.answer.rcode() == 1), "{nth}");
    }
}

#[test]
fn an_entry_is_two_lines_of_the_processors_cache() {
    assert_eq!((size_of::<Entry>(), size_of::<Option<Entry>>()), (128, 128));
}

#[test]
fn a_name_is_listed_and_forgotten_with_all_its_types() {
    let (cache, start) = (Cache::new(MB), Instant::now());
    let aaaa = |name| Question { kind: 28, ..question(name) };
    for question in [question("a.example"), aaaa("a.example"), question("b.a.example"), question("ba.example")] {
        cache.insert(&route(2), &question, (answer(1, 0), Outcome::Positive), seconds(60), start);
    }
    let name: Name = "a.example".parse().unwrap();
    let mut listed = cache.of_name(&name);
    listed.sort_by_key(|listed| listed.question.kind);
    assert_eq!(listed.iter().map(|listed| listed.question.kind).collect::<Vec<_>>(), [1, 28]);
    assert_eq!((listed[0].stored, listed[0].expires), (start, start + seconds(60)));
    let before = cache.bytes();
    assert_eq!(cache.forget(|other| *other == name), 2);
    assert!(cache.bytes() < before);
    assert_eq!(found(&cache, &route(2), &question("a.example"), start), None);
    assert_eq!(found(&cache, &route(2), &question("b.a.example"), start), Some((1, 0)));
    assert_eq!(cache.forget(|other| other.is_at_or_below(&name)), 1);
    assert_eq!((cache.entries(), cache.of_name(&name).len()), (1, 0));
    assert_eq!(cache.evicted(), 0, "who is told to go has not made room");
}

#[test]
fn a_cache_that_was_flushed_still_evicts_in_order() {
    let (cache, route, now) = (Cache::new(MB), route(2), Instant::now());
    for round in 0..3 {
        for number in 0..2000 {
            let question = question(&format!("{number}.{round}.example"));
            cache.insert(&route, &question, (answer(1, 1000), Outcome::Positive), seconds(60), now);
        }
        let kept = cache.entries();
        let gone = cache.forget(|name| name.to_string().contains("7."));
        assert_eq!(gone, kept - cache.entries());
        assert!(cache.bytes() <= cache.limit());
    }
    assert!(cache.evicted() > 3000, "{}", cache.evicted());
    let left = cache.entries();
    assert_eq!((cache.forget(|_| true), cache.entries()), (left, 0));
}
