//! The hot path takes no memory: what is answered at once is answered without an allocation. A binary of its own,
//! because it counts what its allocator is asked for.
//!
//! Each case is warmed before: what a thread takes once in its life is not a query's.

mod path;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use allocation_counter::measure;
use arc_swap::ArcSwap;
use path::{Case, Hall, cases, query, with_edns};
use phzd::config::Config;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Responder};
use phzd::upstream::Upstream;
use phzd::wire::Transport;

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
    let mut hall = Hall::new(1_000_000);
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
fn nor_does_a_batch_that_is_foreseen() {
    let names: String = (0..20_000).map(|number| format!("\"team-{number}\",")).collect();
    let text = format!(
        "[vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"172.31.0.0/16\"]\nself = \"172.31.1.5\"\n\
         [[endpoint]]\nname = \"s3\"\naddresses = [\"172.31.1.152\"]\n\
         [[bucket]]\nendpoint = \"s3\"\nnames = [{names}]\n"
    );
    let (config, _) = Config::parse("phzd.toml", &text).unwrap();
    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
    let mut responder = Responder::new(policy, Arc::new(Upstream::new(&config)), Registry::default());
    let (client, now, mut out) = ("172.31.1.7:4242".parse().unwrap(), Instant::now(), [0; 512]);
    let host = |number: u32| format!("team-{}.s3.ap-northeast-1.amazonaws.com", number * 300);
    let batch: Vec<_> = (0..64).map(|number| query(&host(number), 1)).collect();
    let mut ask = || {
        let mut hall = responder.enter();
        hall.foresee(batch.iter().map(|packet| &**packet));
        for packet in &batch {
            let outcome = hall.respond(packet, client, Transport::Udp, now, &mut out);
            assert!(matches!(outcome, Outcome::Reply(_)) && out[7] == 1, "{outcome:?}");
        }
    };
    ask();
    assert_eq!(measure(ask).count_total, 0);
}

#[test]
fn nor_does_what_is_one_too_many() {
    let text = "[vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"172.31.0.0/16\"]\n[limits]\nqueries-per-second = 1\n";
    let (config, _) = Config::parse("phzd.toml", text).unwrap();
    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
    let mut responder = Responder::new(policy, Arc::new(Upstream::new(&config)), Registry::default());
    let (client, now, mut out) = ("172.31.1.7:4242".parse().unwrap(), Instant::now(), [0; 512]);
    let packets = [query("www.example.com", 1), with_edns(query("www.example.com", 1)), vec![0; 20]];
    let mut ask = |packet: &[u8]| responder.enter().respond(packet, client, Transport::Udp, now, &mut out);
    assert!(matches!(ask(&packets[0]), Outcome::Forward(_)));
    for packet in &packets {
        let mut told = [0; 2];
        let mut flood = || (0..TIMES).for_each(|_| told[usize::from(matches!(ask(packet), Outcome::Drop))] += 1);
        assert_eq!(measure(&mut flood).count_total, 0);
        let replies = if packet.len() > 20 { TIMES / 2 } else { 0 };
        assert_eq!(told, [replies, TIMES - replies]);
    }
}

#[test]
fn what_takes_turns_here_does() {
    let mut hall = Hall::new(1_000_000);
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
