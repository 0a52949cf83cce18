//! What was measured, as tables: one for each row, with a line for the echo and one for each program.

use crate::rows::{Measured, Row};
use crate::statistics::{Pair, Quartiles, Trips, hindrance, median, percentile, quartiles};
use crate::table::Table;
use crate::window::Round;

/// What a program made of a row, or why it has no place there.
pub struct Cell {
    pub program: &'static str,
    pub measured: Result<Measured, String>,
    /// What is to be known of its place in the table.
    pub remark: Option<&'static str>,
}

impl Cell {
    /// What a row about throughput has of it.
    fn rounds(&self) -> Option<&[Pair<Round>]> {
        self.measured.as_ref().ok().and_then(|measured| match measured {
            Measured::Throughput(pairs) => Some(pairs.as_slice()),
            Measured::Waiting(_) => None,
        })
    }

    /// What a row about waiting has of it.
    fn trips(&self) -> Option<&[Pair<Trips>]> {
        self.measured.as_ref().ok().and_then(|measured| match measured {
            Measured::Throughput(_) => None,
            Measured::Waiting(pairs) => Some(pairs.as_slice()),
        })
    }
}

/// A program's resident memory in octets, where it is known.
pub struct Memory {
    pub program: &'static str,
    /// When it gave its first right answer.
    pub at_start: Option<u64>,
    /// After all its rows.
    pub after: Option<u64>,
}

/// How the tables are to be read.
pub const LEGEND: &str = "\
q/s: right replies a second. Medians over rounds; ratios are those of paired rounds, with quartiles. Of a row about
q/s, rounds count in which both servers' cores were busy; where there are none, the program or the echo is
generator-bound (its core had time to spare: it could do more) or disturbed (others had its core). CPU time is the
server's own.";

/// What stands where nothing is known.
pub const NOTHING: &str = "-";

/// The table of one row.
pub fn row(row: Row, cells: &[Cell]) -> Table {
    let mut table = if row.is_throughput() { throughput(cells) } else { waiting(row.percentiles(), cells) };
    table.title = format!("{}: {}", row.name(), row.title());
    for cell in cells {
        let words = cell.measured.as_ref().map_or_else(|why| Some(why.as_str()), |_| cell.remark);
        table.notes.extend(words.map(|words| format!("{}: {words}", cell.program)));
    }
    table
}

/// The table of memory.
pub fn memory(programs: &[Memory]) -> Table {
    let megabytes = |octets: Option<u64>| figure(octets.map(|octets| octets as f64 / 1e6), 1);
    let line = |memory: &Memory| vec![memory.program.into(), megabytes(memory.at_start), megabytes(memory.after)];
    Table {
        title: "memory: resident, with 1,000 private names configured".into(),
        head: strings(&["program", "at start, MB", "after its rows, MB"]),
        lines: programs.iter().map(line).collect(),
        notes: Vec::new(),
    }
}

/// One line about a cell, for who waits for the table.
pub fn summary(measured: &Measured) -> String {
    match measured {
        Measured::Throughput(pairs) => {
            let line = Served::of(pairs);
            format!("{} q/s, to the echo {}, rounds {}", line.rate, line.ratio, line.rounds)
        }
        Measured::Waiting(pairs) => {
            let p50 = median(pairs.iter().map(|pair| pair.server.percentile(50.0)));
            format!("p50 {} µs, rounds {}", figure(p50, 1), pairs.len())
        }
    }
}

/// A program's part of a table of throughput, in words.
pub struct Served {
    pub rate: String,
    ratio: String,
    /// The median of the ratio alone; where no round counts, that of CPU times.
    pub middle: String,
    pub cost: String,
    cost_ratio: String,
    /// Rounds that counted, ...
    pub counted: usize,
    /// ... and of how many.
    rounds: String,
    lost: u64,
    wrong: u64,
}

impl Served {
    /// Only rounds count in which both cores were busy. Where there are none, the line says so: figures are then those
    /// of the rounds in which at least the server's was, or of all.
    pub fn of(pairs: &[Pair<Round>]) -> Served {
        let busy: Vec<_> = pairs.iter().filter(|pair| pair.server.is_busy()).collect();
        let counted: Vec<_> = busy.iter().copied().filter(|pair| pair.echo.is_busy()).collect();
        let (used, least, most) = match (busy.is_empty(), counted.is_empty()) {
            (_, false) => (counted.clone(), "", ""),
            // The echo could do more than it was asked.
            (false, true) => (busy.clone(), "", "≤ "),
            (true, true) => (pairs.iter().collect(), "≥ ", ""),
        };
        let ratio = quartiles(used.iter().map(|pair| pair.server.rate() / pair.echo.rate()));
        let cost_ratio = quartiles(used.iter().filter_map(|pair| Some(pair.echo.cost()? / pair.server.cost()?)));
        let middle = |quartiles: Option<Quartiles>| figure(quartiles.map(|quartiles| quartiles.middle), 3);
        let servers: Vec<&Round> = pairs.iter().map(|pair| &pair.server).collect();
        Served {
            rate: thousands(median(used.iter().map(|pair| pair.server.rate())), least),
            ratio: if busy.is_empty() { hindrance(&servers).into() } else { format!("{most}{}", spread(ratio)) },
            middle: if counted.is_empty() { format!("C {}", middle(cost_ratio)) } else { middle(ratio) },
            cost: figure(median(used.iter().filter_map(|pair| pair.server.cost())), 2),
            cost_ratio: spread(cost_ratio),
            counted: counted.len(),
            rounds: format!("{}/{}", counted.len(), pairs.len()),
            lost: servers.iter().map(|round| round.lost).sum(),
            wrong: servers.iter().map(|round| round.wrong).sum(),
        }
    }
}

fn throughput(cells: &[Cell]) -> Table {
    let echoes: Vec<&Round> = cells.iter().filter_map(Cell::rounds).flatten().map(|pair| &pair.echo).collect();
    let busy: Vec<&Round> = echoes.iter().copied().filter(|round| round.is_busy()).collect();
    let (used, ratio, at_least) = match (echoes.is_empty(), busy.is_empty()) {
        (true, _) => (&echoes, NOTHING, ""),
        (_, true) => (&echoes, hindrance(&echoes), "≥ "),
        _ => (&busy, "1", ""),
    };
    let echo = vec![
        "echo".into(),
        thousands(median(used.iter().map(|round| round.rate())), at_least),
        ratio.into(),
        figure(median(used.iter().filter_map(|round| round.cost())), 2),
        "1".into(),
        format!("{}/{}", busy.len(), echoes.len()),
        echoes.iter().map(|round| round.lost).sum::<u64>().to_string(),
        echoes.iter().map(|round| round.wrong).sum::<u64>().to_string(),
    ];
    let head = [
        "program",
        "q/s",
        "of the echo's (quartiles)",
        "CPU µs/query",
        "echo's CPU/its own",
        "rounds",
        "lost",
        "wrong",
    ];
    let line = |cell: &Cell| match cell.rounds().map(Served::of) {
        Some(Served { rate, ratio, cost, cost_ratio, rounds, lost, wrong, .. }) => {
            vec![cell.program.into(), rate, ratio, cost, cost_ratio, rounds, lost.to_string(), wrong.to_string()]
        }
        None => left_out(cell.program, head.len()),
    };
    let lines = std::iter::once(echo).chain(cells.iter().map(line)).collect();
    Table { title: String::new(), head: strings(&head), lines, notes: Vec::new() }
}

fn waiting(percentiles: &[f64], cells: &[Cell]) -> Table {
    let mut head = strings(&["program"]);
    for percent in percentiles {
        head.extend([format!("p{percent} µs"), "to the echo's (quartiles)".into()]);
    }
    head.extend(strings(&["CPU µs/query", "lost"]));

    let echoes: Vec<&Trips> = cells.iter().filter_map(Cell::trips).flatten().map(|pair| &pair.echo).collect();
    let mut lines = vec![line("echo", percentiles, &echoes, |_| "1".into())];
    for cell in cells {
        lines.push(match cell.trips() {
            Some(pairs) => {
                let served: Vec<&Trips> = pairs.iter().map(|pair| &pair.server).collect();
                // Where the echo itself got no reply, the round tells of the machine alone.
                let ratio = |percent| {
                    let ends =
                        pairs.iter().map(|pair| (pair.echo.percentile(percent), pair.server.percentile(percent)));
                    let whole = ends.filter(|(echo, _)| echo.is_finite());
                    spread(quartiles(whole.map(|(echo, server)| server / echo)))
                };
                line(cell.program, percentiles, &served, ratio)
            }
            None => left_out(cell.program, head.len()),
        });
    }
    Table { title: String::new(), head, lines, notes: Vec::new() }
}

/// Percentiles are over all queries of all rounds, ratios over pairs of rounds.
fn line(program: &str, percentiles: &[f64], rounds: &[&Trips], ratio: impl Fn(f64) -> String) -> Vec<String> {
    let times: Vec<_> = rounds.iter().flat_map(|trips| &trips.times).copied().collect();
    let mut cells = vec![program.to_owned()];
    for &percent in percentiles {
        cells.extend([figure(Some(percentile(times.clone(), percent)), 1), ratio(percent)]);
    }
    let lost = rounds.iter().map(|trips| trips.lost()).sum::<usize>();
    cells.extend([figure(median(rounds.iter().filter_map(|trips| trips.cost())), 2), lost.to_string()]);
    cells
}

fn left_out(program: &str, columns: usize) -> Vec<String> {
    let mut cells = vec![NOTHING.to_owned(); columns];
    program.clone_into(&mut cells[0]);
    cells
}

/// A median with its quartiles.
pub fn spread(quartiles: Option<Quartiles>) -> String {
    match quartiles {
        Some(Quartiles { middle, .. }) if !middle.is_finite() => figure(Some(middle), 0),
        Some(Quartiles { low, middle, high }) if middle < 10.0 => format!("{middle:.3} ({low:.3}-{high:.3})"),
        Some(Quartiles { low, middle, high }) => format!("{middle:.1} ({low:.1}-{high:.1})"),
        None => NOTHING.to_owned(),
    }
}

/// A number, if it is one.
pub fn figure(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.is_infinite() => "lost".to_owned(),
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        _ => NOTHING.to_owned(),
    }
}

/// A whole number in groups of three digits.
pub fn thousands(value: Option<f64>, before: &str) -> String {
    let Some(value) = value else { return NOTHING.to_owned() };
    let digits = format!("{value:.0}");
    let mut text = before.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
