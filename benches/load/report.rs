//! From rounds to a table: medians, quartiles, and how far to trust them.

use std::time::Duration;

use crate::generator::Round;

/// The server's core counts as busy from this share of the time on; below, the generator was the limit.
const BUSY: f64 = 0.97;

/// The same load on the echo and on the server, one right after the other.
pub struct Pair {
    /// On the echo.
    pub echo: Round,
    /// On the server.
    pub server: Round,
}

impl Pair {
    /// Whether both cores were busy. A server whose CPU time is unknown is believed.
    pub fn counts(&self) -> bool {
        [&self.echo, &self.server].iter().all(|round| share(round).is_none_or(|share| share >= BUSY))
    }
}

/// Prints the head of the table of rounds.
pub fn throughput_head(server: &str) {
    println!(
        "{:<8} {:>9} {:>9}  {:^21} {:^11} {:^13} {:>9} {:>7} {:>5} {:>5}",
        "row", "echo", server, "ratio (quartiles)", "core busy", "CPU µs/query", "CPU ratio", "rounds", "lost", "wrong"
    );
}

/// Prints one row. Rounds that do not count are left out, unless that leaves none: then the row says so.
pub fn throughput(row: &str, pairs: &[Pair]) {
    let counted = pairs.iter().filter(|pair| pair.counts()).count();
    let used: Vec<&Pair> = pairs.iter().filter(|pair| counted == 0 || pair.counts()).collect();
    let median = |value: &dyn Fn(&Pair) -> Option<f64>| quartiles(used.iter().filter_map(|pair| value(pair)).collect());
    let middle = |value: &dyn Fn(&Pair) -> Option<f64>, decimals: usize| {
        median(value).map_or("-".to_owned(), |[_, middle, _]| format!("{middle:.decimals$}"))
    };
    let ratio = median(&|pair| Some(rate(&pair.server) / rate(&pair.echo)))
        .map_or("-".to_owned(), |[low, middle, high]| format!("{middle:.3} ({low:.3}-{high:.3})"));
    println!(
        "{row:<8} {:>9} {:>9}  {ratio:^21} {:^11} {:^13} {:>9} {:>7} {:>5} {:>5}",
        middle(&|pair| Some(rate(&pair.echo)), 0),
        middle(&|pair| Some(rate(&pair.server)), 0),
        format!("{} {}", middle(&|pair| share(&pair.echo), 2), middle(&|pair| share(&pair.server), 2)),
        format!("{} {}", middle(&|pair| cost(&pair.echo), 2), middle(&|pair| cost(&pair.server), 2)),
        middle(&|pair| Some(cost(&pair.echo)? / cost(&pair.server)?), 3),
        format!("{counted}/{}", pairs.len()),
        pairs.iter().map(|pair| pair.echo.lost + pair.server.lost).sum::<u64>(),
        pairs.iter().map(|pair| pair.echo.wrong + pair.server.wrong).sum::<u64>(),
    );
    if counted == 0 {
        println!("         no round counts: a server's core was idle or shared, so q/s is the generator's limit");
    }
}

/// Round trips of one alternation, the echo's and the server's.
pub struct Trips {
    /// To the echo.
    pub echo: Vec<Duration>,
    /// To the server.
    pub server: Vec<Duration>,
}

/// Prints the latency row: percentiles over all round trips, ratios over alternations.
pub fn latency(server: &str, rounds: &[Trips], asked: usize) {
    let all = |part: fn(&Trips) -> &Vec<Duration>| rounds.iter().flat_map(part).copied().collect::<Vec<_>>();
    let (echoes, replies) = (all(|trips| &trips.echo), all(|trips| &trips.server));
    let ratio = |percent| {
        let ratios = rounds.iter().filter_map(|trips| {
            Some(percentile(trips.server.clone(), percent)? / percentile(trips.echo.clone(), percent)?)
        });
        quartiles(ratios.collect())
            .map_or("-".to_owned(), |[low, middle, high]| format!("{middle:.3} ({low:.3}-{high:.3})"))
    };
    println!("\none query in flight, µs, {asked} round trips each, {} lost", 2 * asked - echoes.len() - replies.len());
    println!("{:<8} {:>9} {:>9}  {:^21}", "", "echo", server, "ratio (quartiles)");
    for percent in [50, 99] {
        let micros = |times: &[Duration]| percentile(times.to_vec(), percent).unwrap_or(f64::NAN);
        println!("p{percent:<7} {:>9.1} {:>9.1}  {:^21}", micros(&echoes), micros(&replies), ratio(percent));
    }
}

/// Right replies a second.
fn rate(round: &Round) -> f64 {
    round.replies as f64 / round.wall.as_secs_f64()
}

/// Share of the time in which the server's core worked for it.
fn share(round: &Round) -> Option<f64> {
    Some(round.cpu?.as_secs_f64() / round.wall.as_secs_f64())
}

/// The server's CPU time for each reply, in microseconds.
fn cost(round: &Round) -> Option<f64> {
    Some(round.cpu?.as_secs_f64() * 1e6 / round.replies as f64)
}

/// The lower quartile, the median and the upper quartile.
fn quartiles(mut values: Vec<f64>) -> Option<[f64; 3]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some([1, 2, 3].map(|quarter| {
        let (below, between) = (last * quarter / 4, (last * quarter % 4) as f64 / 4.0);
        let above = values[(below + 1).min(last)];
        values[below] + between * (above - values[below])
    }))
}

/// In microseconds.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Option<f64> {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).checked_sub(1)?;
    times.get(rank).map(|time| time.as_secs_f64() * 1e6)
}
