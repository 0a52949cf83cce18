//! The rows of the table: each a fault, how it is given, and what is promised then.

use std::thread;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

use crate::client::{Asked, PATIENCE, ask, evenly, per_mille};
use crate::floor;
use crate::forgery::{self, DIGITS, LETTERS, Ports};
use crate::lab::{Lab, Outcome, RESOLVERS, Way};
use crate::misses;
use crate::programs::{Program, Wish};
use crate::resolver::Mood;
use crate::table::{Measure, Must};

/// Questions a second where it is not the load that is the fault.
const RATE: u32 = 300;

/// Names that are asked again and again.
const KNOWN: usize = 100;

/// What tells how much of the latencies is the machine's.
pub const ECHO: &str = "ms, a bare echo's p99 meanwhile";

/// How long phzd lets a client wait (`upstream.timeout-ms`), and what it takes to say so.
const DEADLINE: Duration = Duration::from_millis(4050);

/// A row.
pub struct Row {
    /// Rows of one number are one fault in several forms.
    pub number: &'static str,
    pub fault: &'static str,
    pub run: fn(Trial) -> Outcome<Vec<Measure>>,
}

/// Who is tried, and how thoroughly.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub program: Program,
    /// Less load: to see that the rows work, not to judge.
    pub quick: bool,
}

impl Trial {
    /// So many seconds, or a fifth of them.
    pub fn seconds(self, seconds: u32) -> u32 {
        if self.quick { seconds.div_ceil(5) } else { seconds }
    }
}

/// All of them, in the table's order.
pub const ROWS: [Row; 15] = [
    Row { number: "1a", fault: "two resolvers, the first silent", run: |trial| silent(trial, false) },
    Row { number: "1b", fault: "two resolvers, the first falls silent", run: |trial| silent(trial, true) },
    Row { number: "2a", fault: "1 ms to the resolver, 1 % lost", run: |trial| loss(trial, 1, 2.4) },
    Row { number: "2b", fault: "1 ms to the resolver, 10 % lost", run: |trial| loss(trial, 10, 54.0) },
    Row { number: "3a", fault: "resolver silent, known names", run: |trial| outage(trial, Mood::Silent, Way::Good) },
    Row {
        number: "3b",
        fault: "resolver's port closed, known names",
        run: |trial| outage(trial, Mood::Silent, Way::Unreachable),
    },
    Row {
        number: "4",
        fault: "resolver says SERVFAIL, known names",
        run: |trial| outage(trial, Mood::Fails, Way::Good),
    },
    Row { number: "5", fault: "1,024 packets/s arrive, 3,000 q/s are asked", run: limit },
    Row { number: "6a", fault: "100 ms to the resolver, TTL 0, 3,000 q/s", run: |trial| zero(trial, 0, 0.036) },
    Row { number: "6b", fault: "the same, kept for 1 s at the least", run: |trial| zero(trial, 1, 0.004) },
    Row { number: "7", fault: "nothing but misses, one core", run: misses::row },
    Row {
        number: "8a",
        fault: "forged answers, names of letters",
        run: |trial| forgery::row(trial, LETTERS, Ports::Range),
    },
    Row {
        number: "8b",
        fault: "forged answers, names of digits",
        run: |trial| forgery::row(trial, DIGITS, Ports::Range),
    },
    Row {
        number: "8c",
        fault: "8a by one who knows the ports",
        run: |trial| forgery::row(trial, LETTERS, Ports::Open),
    },
    Row { number: "8d", fault: "8b by one who knows the ports", run: |trial| forgery::row(trial, DIGITS, Ports::Open) },
];

/// One of two resolvers says nothing: from the start, or from the middle on.
fn silent(trial: Trial, later: bool) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let [first, second] = RESOLVERS;
    let first = lab.resolver(first, 3600, Duration::ZERO)?;
    let _second = lab.resolver(second, 3600, Duration::ZERO)?;
    if !later {
        first.turn(Mood::Silent);
    }
    let _program = trial.program.start(&lab, &Wish::to(&RESOLVERS))?;
    let seconds = trial.seconds(20);
    let (asked, floor) = floor::beside(&lab, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_secs(1) * seconds / 2);
                first.turn(Mood::Silent);
            });
            ask(&lab, &evenly(Duration::ZERO, RATE, RATE * seconds), fresh)
        })
    })?;
    of_fresh_names(&lab, &asked, floor, 0.5, Must::AtMost(10.0))
}

/// Packets get lost on their way to the one resolver.
fn loss(trial: Trial, percent: u32, p99: f64) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let _resolver = lab.resolver(RESOLVERS[0], 3600, Duration::from_millis(1))?;
    let _program = trial.program.start(&lab, &Wish::to(&RESOLVERS[..1]))?;
    lab.way(Way::Loses(percent))?;
    let due = evenly(Duration::ZERO, RATE, RATE * trial.seconds(20));
    let (asked, floor) = floor::beside(&lab, || ask(&lab, &due, fresh))?;
    of_fresh_names(&lab, &asked, floor, p99, Must::Nothing)
}

/// The resolver is gone, or says that it cannot, and what the cache knows is past its TTL.
fn outage(trial: Trial, mood: Mood, way: Way) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let resolver = lab.resolver(RESOLVERS[0], 1, Duration::ZERO)?;
    let _program = trial.program.start(&lab, &Wish::to(&RESOLVERS[..1]))?;
    let known = |number: usize| format!("known-{}.service.example.com", number % KNOWN);
    let filled = ask(&lab, &evenly(Duration::ZERO, RATE, KNOWN as u32), known)?;
    if !filled.iter().all(Asked::is_well) {
        return Err("names got no answer before the fault".into());
    }
    // Some count whole seconds, and until both ends of one are past.
    thread::sleep(Duration::from_millis(2500));
    lab.way(way)?;
    resolver.turn(mood);
    let due = evenly(Duration::ZERO, RATE, RATE * trial.seconds(10));
    let (asked, floor) = floor::beside(&lab, || ask(&lab, &due, known))?;

    let first = asked.first().and_then(|first| first.reply).map_or(PATIENCE, |first| first.latency);
    let (before, after): (Vec<&Asked>, Vec<&Asked>) = asked.iter().partition(|asked| asked.due <= first);
    let says_stale = |asked: &Asked| asked.reply.is_some_and(|reply| reply.says_stale);
    let is_stale = |asked: &&Asked| asked.is_well() && (says_stale(asked) || trial.program != Program::Phzd);
    Ok(vec![
        Measure::new("not answered stale", count(&asked, |asked| !is_stale(&asked)), Must::AtMost(0.0)),
        Measure::new("ms, slowest before it is known", per_mille(before, 1000), Must::AtMost(500.0)),
        Measure::new("ms, p50 once it is known", per_mille(after.iter().copied(), 500), Must::Nothing),
        Measure::new("ms, p99 once it is known", per_mille(after.iter().copied(), 990), Must::AtMost(1.0)),
        Measure::new("ms, p99.9 once it is known", per_mille(after, 999), Must::Nothing),
        Measure::new("packets a query", lab.packets()? as f64 / asked.len() as f64, Must::Nothing),
        echo(floor),
    ])
}

/// More is asked than may be sent to the resolver.
fn limit(trial: Trial) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let _resolver = lab.resolver(RESOLVERS[0], 3600, Duration::ZERO)?;
    let _program = trial.program.start(&lab, &Wish::to(&RESOLVERS[..1]))?;
    lab.way(Way::Limit(1024))?;
    let mut due = evenly(Duration::ZERO, 3000, 15_000);
    due.extend(evenly(Duration::from_millis(5200), 50, 50));
    let (asked, floor) = floor::beside(&lab, || ask(&lab, &due, fresh))?;
    let packets = lab.packets()? as f64;
    let (burst, after) = asked.split_at(15_000);
    let in_time = |asked: &Asked| asked.reply.is_some_and(|reply| reply.latency <= DEADLINE);
    Ok(vec![
        Measure::new("no reply within 4.05 s", count(burst, |asked| !in_time(asked)), Must::AtMost(0.0)),
        Measure::new("answered well, of 15,000", count(burst, Asked::is_well), Must::AtLeast(5500.0)),
        Measure::new("SERVFAIL", count(burst, |asked| asked.got(ResponseCode::ServFail)), Must::Nothing),
        Measure::new("REFUSED", count(burst, |asked| asked.got(ResponseCode::Refused)), Must::Nothing),
        Measure::new("packets a query", packets / asked.len() as f64, Must::AtMost(1.0)),
        Measure::new("not well, of 50 from 0.2 s later", count(after, |asked| !asked.is_well()), Must::AtMost(0.0)),
        Measure::new("ms, their p99", per_mille(after, 990), Must::AtMost(5.0)),
        echo(floor),
    ])
}

/// Answers that may not be kept, from far away.
fn zero(trial: Trial, min_ttl: u32, packets: f64) -> Outcome<Vec<Measure>> {
    if min_ttl > 0 && !trial.program.has_min_ttl() {
        return Err("it cannot be told to keep answers longer than their TTL".into());
    }
    let lab = Lab::new()?;
    let _resolver = lab.resolver(RESOLVERS[0], 0, Duration::from_millis(100))?;
    let _program = trial.program.start(&lab, &Wish { min_ttl, ..Wish::to(&RESOLVERS[..1]) })?;
    lab.way(Way::Good)?;
    let names = |number: usize| format!("popular-{}.service.example.com", number % 10);
    let due = evenly(Duration::ZERO, 3000, 3000 * trial.seconds(10));
    let (asked, floor) = floor::beside(&lab, || ask(&lab, &due, names))?;
    Ok(vec![
        Measure::new("not answered well", count(&asked, |asked| !asked.is_well()), Must::AtMost(0.0)),
        Measure::new("packets a query", lab.packets()? as f64 / asked.len() as f64, Must::AtMost(packets)),
        Measure::new("ms, p50", per_mille(&asked, 500), Must::Nothing),
        Measure::new("ms, p99", per_mille(&asked, 990), Must::Nothing),
        echo(floor),
    ])
}

/// A name nobody has asked for.
fn fresh(number: usize) -> String {
    format!("fresh-{number}.service.example.com")
}

/// What is promised where nothing is known and something can answer.
fn of_fresh_names(lab: &Lab, asked: &[Asked], floor: f64, p99: f64, p999: Must) -> Outcome<Vec<Measure>> {
    Ok(vec![
        Measure::new("lost", count(asked, |asked| asked.reply.is_none()), Must::AtMost(0.0)),
        Measure::new("SERVFAIL", count(asked, |asked| asked.got(ResponseCode::ServFail)), Must::AtMost(0.0)),
        Measure::new("ms, p50", per_mille(asked, 500), Must::Nothing),
        Measure::new("ms, p99", per_mille(asked, 990), Must::AtMost(p99)),
        Measure::new("ms, p99.9", per_mille(asked, 999), p999),
        Measure::new("packets a query", lab.packets()? as f64 / asked.len() as f64, Must::Nothing),
        echo(floor),
    ])
}

/// The machine's own part in the latencies.
fn echo(p99: f64) -> Measure {
    Measure::new(ECHO, p99, Must::Nothing)
}

/// How many are so.
pub fn count(asked: &[Asked], is_so: impl Fn(&Asked) -> bool) -> f64 {
    asked.iter().filter(|asked| is_so(asked)).count() as f64
}
