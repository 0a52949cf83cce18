//! How many instructions a query of each kind takes, and that it takes no more than it did.
//!
//! Instructions are counted, not timed: by valgrind's callgrind, of this very program, once with no queries and once
//! with many, so that everything but the queries cancels out. The figures hardly depend on what else the machine does;
//! on the compiler and the C library they do a little, and on the random keys of hash tables hardly: hence [`MARGIN`].
//!
//! What each kind took when somebody last looked stands in `benches/instructions.txt`; `BLESS=1` writes it anew. With
//! `show CASE` it tells where the instructions of one kind go.
#![forbid(unsafe_code)]

#[path = "../tests/hot_path/path.rs"]
mod path;

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use path::{Case, Hall, cases};

/// What each kind took, a line each: instructions, and the case's name.
const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
/// How many percent more than that it may take.
const MARGIN: u64 = 12;
/// How many fewer are worth to be written down, so that they are not lost again.
const WORTH_NOTING: u64 = 5;
/// Queries of the run that counts.
const QUERIES: u64 = 2000;
/// Queries of the run that shows where they go: the start is nothing beside them.
const QUERIES_SHOWN: u64 = 100_000;
/// The word by which this program is told to be the one that is counted.
const ASK: &str = "ask";

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match &*arguments {
        [word, name, queries, ..] if word == ASK => ask(name, queries),
        [word, name, ..] if word == "show" => show(name),
        _ => judge(),
    };
    done.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// What is counted: so many queries of one kind.
fn ask(name: &str, queries: &str) -> Result<(), Failure> {
    let cases = cases();
    let case = cases.iter().find(|case| case.name == name).ok_or("no such case")?;
    let mut hall = Hall::new(1_000_000);
    if hall.ask(case) != case.expected {
        return Err(format!("{name} does not get what it should").into());
    }
    for _ in 0..queries.parse()? {
        black_box(hall.ask(black_box(case)));
    }
    Ok(())
}

/// Counts every kind, and compares.
fn judge() -> Result<(), Failure> {
    let cases = cases();
    let start = counted(cases.first().ok_or("no case")?.name, 0)?;
    let took = |case: &Case| Ok((counted(case.name, QUERIES)?.saturating_sub(start) + QUERIES / 2) / QUERIES);
    let taken = cases.iter().map(took).collect::<Result<Vec<u64>, Failure>>()?;
    if env::var_os("BLESS").is_some() {
        return Ok(fs::write(FIGURES, table(&cases, &taken)?)?);
    }
    let written = fs::read_to_string(FIGURES)?;
    let mut too_many = 0;
    println!("instructions for a query: written down, at most, now\n");
    for (case, taken) in cases.iter().zip(taken) {
        let figure = figure(&written, case.name).ok_or_else(|| format!("{FIGURES} has no {}", case.name))?;
        let most = figure * (100 + MARGIN) / 100;
        let verdict = if taken > most {
            too_many += 1;
            "  TOO MANY"
        } else if taken * 100 < figure * (100 - WORTH_NOTING) {
            "  fewer"
        } else {
            ""
        };
        println!("{figure:>6} {most:>6} {taken:>6}  {}{verdict}", case.name);
    }
    println!("\nBLESS=1 writes down what they take now.");
    if too_many == 0 { Ok(()) } else { Err(format!("{too_many} kinds of query take too many instructions").into()) }
}

/// Instructions of this program from start to end, with so many queries of the case called `name`.
fn counted(name: &str, queries: u64) -> Result<u64, Failure> {
    let told = callgrind(name, queries, "/dev/null")?;
    let count = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("{name}: valgrind says\n{told}").into())
}

/// Prints which functions a case's instructions are in.
fn show(name: &str) -> Result<(), Failure> {
    let profile = concat!(env!("CARGO_TARGET_TMPDIR"), "/callgrind.out");
    callgrind(name, QUERIES_SHOWN, profile)?;
    println!("{QUERIES_SHOWN} times {name}, and one start");
    let shown = Command::new("callgrind_annotate").args(["--inclusive=yes", "--auto=no", profile]).status()?;
    if shown.success() { Ok(()) } else { Err("callgrind_annotate failed".into()) }
}

/// Runs this program under callgrind; returns what that says at the end.
fn callgrind(name: &str, queries: u64, profile: &str) -> Result<String, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={profile}")]);
    command.arg(env::current_exe()?).args([ASK, name, &queries.to_string()]).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("valgrind: {error} (`make tools` installs it)"))?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(told) } else { Err(format!("{name}: valgrind says\n{told}").into()) }
}

fn table(cases: &[Case], taken: &[u64]) -> Result<String, Failure> {
    let mut table = String::new();
    for (case, taken) in cases.iter().zip(taken) {
        writeln!(table, "{taken:>5} {}", case.name)?;
    }
    Ok(table)
}

fn figure(written: &str, name: &str) -> Option<u64> {
    written.lines().filter_map(|line| line.trim().split_once(' ')).find(|(_, of)| *of == name)?.0.parse().ok()
}
