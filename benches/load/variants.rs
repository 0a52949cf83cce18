//! phzd beside itself, configured otherwise: what many buckets cost, and what it costs to note queries down.
//!
//! Names are asked for at random, because names asked in turns come to lie in the processor's caches in turns as well.

use std::error::Error;
use std::net::SocketAddr;

use crate::generator::{Generator, Idle, Load as _};
use crate::programs::Program;
use crate::questions::{Client, Expected, NAMES, Questions, Work};
use crate::report::{figure, spread, thousands};
use crate::rows::{Plan, TRIES};
use crate::server::{Cores, Server, stay_on};
use crate::statistics::{hindrance, median, quartiles};
use crate::table::Table;
use crate::window::Round;

/// One way to configure it.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// In words.
    pub label: &'static str,
    /// Private names.
    pub buckets: u32,
    /// What stands at the end of its configuration.
    pub setting: &'static str,
}

/// With more and more buckets.
pub const TABLES: &[Variant] = &[
    Variant { label: "10 buckets", buckets: 10, setting: "" },
    Variant { label: "100,000 buckets", buckets: 100_000, setting: "" },
    Variant { label: "1,000,000 buckets", buckets: 1_000_000, setting: "" },
];

/// Without a query log, with one of a hundredth, and with one of every query.
pub const LOGS: &[Variant] = &[
    Variant { label: "no query log", buckets: NAMES as u32, setting: "" },
    Variant {
        label: "of one query in 100",
        buckets: NAMES as u32,
        setting: "[query-log]\nto = \"./queries.jsonl\"\nsample = 100",
    },
    Variant { label: "of every query", buckets: NAMES as u32, setting: "[query-log]\nto = \"./queries.jsonl\"" },
];

/// Measures the `variants`, each beside the first.
pub fn measure(
    title: String,
    variants: &[Variant],
    cores: &Cores,
    resolver: SocketAddr,
    plan: &Plan,
) -> Result<Table, Box<dyn Error>> {
    let mut servers = Vec::new();
    for Variant { buckets, setting, .. } in variants {
        let server = Program::Phzd.start_with(*buckets as usize, setting, &[cores.server], resolver)?;
        let work = Work { client: Client::Private, questions: Questions::any(*buckets), expected: Expected::PRIVATE };
        servers.push((Generator::new(server.address, work, Idle::Spin)?, server));
    }
    stay_on(&[cores.load])?;
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    let is_busy = |rounds: &&Vec<Round>| rounds.iter().all(Round::is_busy);
    while rounds.iter().filter(is_busy).count() < plan.rounds && rounds.len() < TRIES * plan.rounds {
        let mut round = vec![Round::default(); variants.len()];
        let mut ask = |(into, (generator, server)): (&mut Round, &mut (Generator, Server))| {
            generator.round(plan.time, &|| server.core()).map(|measured| *into = measured)
        };
        // Who is first changes each time.
        let mut turns = round.iter_mut().zip(&mut servers);
        match rounds.len().is_multiple_of(2) {
            true => turns.try_for_each(&mut ask)?,
            false => turns.rev().try_for_each(&mut ask)?,
        }
        rounds.push(round);
    }
    let resident: Vec<_> = servers.iter().map(|(_, server)| server.resident()).collect();
    Ok(table(title, variants, &rounds, &resident))
}

fn table(title: String, variants: &[Variant], rounds: &[Vec<Round>], resident: &[Option<u64>]) -> Table {
    let busy: Vec<_> = rounds.iter().filter(|rounds| rounds.iter().all(Round::is_busy)).collect();
    let used = if busy.is_empty() { rounds.iter().collect() } else { busy.clone() };
    let line = |(index, variant): (usize, &Variant)| {
        let of = |rounds: &[Round]| (rounds[0], rounds[index]);
        let pairs: Vec<_> = used.iter().map(|rounds| of(rounds)).collect();
        let rate_ratio = quartiles(pairs.iter().map(|(few, many)| many.rate() / few.rate()));
        let cost_ratio = quartiles(pairs.iter().filter_map(|(few, many)| Some(few.cost()? / many.cost()?)));
        let all: Vec<&Round> = rounds.iter().map(|rounds| &rounds[index]).collect();
        vec![
            variant.label.to_owned(),
            thousands(median(pairs.iter().map(|(_, many)| many.rate())), ""),
            if busy.is_empty() { hindrance(&all).into() } else { spread(rate_ratio) },
            figure(median(pairs.iter().filter_map(|(_, many)| many.cost())), 2),
            spread(cost_ratio),
            figure(resident[index].map(|octets| octets as f64 / 1e6), 1),
            format!("{}/{}", busy.len(), rounds.len()),
            all.iter().map(|round| round.lost).sum::<u64>().to_string(),
            all.iter().map(|round| round.wrong).sum::<u64>().to_string(),
        ]
    };
    let head = [
        "phzd with",
        "q/s",
        "of the first's (quartiles)",
        "CPU µs/query",
        "the first's CPU/its own",
        "resident, MB",
        "rounds",
        "lost",
        "wrong",
    ];
    Table {
        title,
        head: head.map(str::to_owned).to_vec(),
        lines: variants.iter().enumerate().map(line).collect(),
        notes: Vec::new(),
    }
}
