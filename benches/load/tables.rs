//! What many buckets cost: phzd with 10, with 100,000 and with 1,000,000, in turns, each asked for its own at random.
//!
//! At random, because names asked in turns come to lie in the processor's caches in turns as well.

use std::error::Error;
use std::net::SocketAddr;

use crate::generator::{Generator, Idle, Load as _};
use crate::programs::Program;
use crate::questions::{Client, Expected, Questions, Work};
use crate::report::{figure, spread, thousands};
use crate::rows::{Plan, TRIES};
use crate::server::{Cores, Server, stay_on};
use crate::statistics::{hindrance, median, quartiles};
use crate::table::Table;
use crate::window::Round;

/// Buckets, the fewest first.
const SIZES: [u32; 3] = [10, 100_000, 1_000_000];

/// Measures.
pub fn measure(cores: &Cores, resolver: SocketAddr, plan: &Plan) -> Result<Table, Box<dyn Error>> {
    let mut servers = Vec::new();
    for buckets in SIZES {
        let server = Program::Phzd.start_with(buckets as usize, &[cores.server], resolver)?;
        let work = Work { client: Client::Private, questions: Questions::any(buckets), expected: Expected::PRIVATE };
        servers.push((Generator::new(server.address, work, Idle::Spin)?, server));
    }
    stay_on(&[cores.load])?;
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    let is_busy = |rounds: &&Vec<Round>| rounds.iter().all(Round::is_busy);
    while rounds.iter().filter(is_busy).count() < plan.rounds && rounds.len() < TRIES * plan.rounds {
        let mut round = vec![Round::default(); SIZES.len()];
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
    Ok(table(&rounds, &resident))
}

fn table(rounds: &[Vec<Round>], resident: &[Option<u64>]) -> Table {
    let busy: Vec<_> = rounds.iter().filter(|rounds| rounds.iter().all(Round::is_busy)).collect();
    let used = if busy.is_empty() { rounds.iter().collect() } else { busy.clone() };
    let line = |(index, &buckets): (usize, &u32)| {
        let of = |rounds: &[Round]| (rounds[0], rounds[index]);
        let pairs: Vec<_> = used.iter().map(|rounds| of(rounds)).collect();
        let rate_ratio = quartiles(pairs.iter().map(|(few, many)| many.rate() / few.rate()));
        let cost_ratio = quartiles(pairs.iter().filter_map(|(few, many)| Some(few.cost()? / many.cost()?)));
        let all: Vec<&Round> = rounds.iter().map(|rounds| &rounds[index]).collect();
        vec![
            thousands(Some(f64::from(buckets)), ""),
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
        "buckets",
        "q/s",
        "of those with 10 (quartiles)",
        "CPU µs/query",
        "10's CPU/its own",
        "resident, MB",
        "rounds",
        "lost",
        "wrong",
    ];
    Table {
        title: "tables: phzd with many buckets beside phzd with 10, each asked for its own at random".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        lines: SIZES.iter().enumerate().map(line).collect(),
        notes: Vec::new(),
    }
}
