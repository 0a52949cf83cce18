//! The hot path takes no memory: what is answered at once is answered without an allocation. A binary of its own,
//! because it counts what its allocator is asked for.
//!
//! Each case is warmed before: what a thread takes once in its life is not a query's.

mod path;

use std::collections::BTreeSet;

use allocation_counter::measure;
use path::{Case, Hall, cases, with_edns};

/// How often each query is asked while allocations are counted.
const TIMES: u64 = 100;

/// What takes memory all the same, and how often a query of it allocates at most.
const ALLOWED: [(&str, u64); 4] = [
    // The packet it is finished from, and the name to ask for.
    ("miss, up to the forwarder", 2),
    // The chain, and the answer that is put together behind it.
    ("zone A, by its CNAME", 6),
    ("zone A, by a cached CNAME", 6),
    ("hit A, by a zone's CNAME", 6),
];

#[test]
fn what_is_answered_at_once_takes_no_memory() {
    let mut hall = Hall::new();
    let mut wasteful = Vec::new();
    for case in plain_and_with_edns() {
        let most = ALLOWED.iter().find(|(name, _)| *name == case.name).map_or(0, |(_, most)| most * TIMES);
        ask(&mut hall, &case);
        let counted = measure(|| ask(&mut hall, &case)).count_total;
        if counted > most {
            wasteful.push(format!("{counted} instead of {most}: {}, {} octets", case.name, case.packet.len()));
        }
    }
    assert!(wasteful.is_empty(), "allocations for {TIMES} queries:\n{}", wasteful.join("\n"));
}

#[test]
fn what_takes_turns_here_does() {
    let mut hall = Hall::new();
    for case in cases().iter().filter(|case| case.name.ends_with("in turns")) {
        // The record behind the question, its data at the end.
        let first = case.packet.len()..case.packet.len() + if case.name.contains("AAAA") { 28 } else { 16 };
        let mut ask = || {
            hall.ask(case);
            hall.out[first.clone()].to_vec()
        };
        let firsts: BTreeSet<_> = (0..TIMES).map(|_| ask()).collect();
        assert_eq!(firsts.len(), 3, "{}", case.name);
    }
}

fn ask(hall: &mut Hall, case: &Case) {
    for _ in 0..TIMES {
        assert_eq!(hall.ask(case), case.expected, "{}", case.name);
    }
}

/// Every case, and once more with EDNS what has none.
fn plain_and_with_edns() -> impl Iterator<Item = Case> {
    let has_edns = |case: &Case| case.packet[11] > 0;
    let changed = |case: Case| Case { packet: with_edns(case.packet.clone()), ..case };
    cases().into_iter().chain(cases().into_iter().filter(move |case| !has_edns(case)).map(changed))
}
