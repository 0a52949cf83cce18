//! The soak: phzd under load for as long as it takes to show what a test of seconds cannot, while what is around it fails,
//! its configuration changes, and clients mean harm.
//!
//! Every reply is judged and every query accounted for: it was answered, or dropped by the kernel, who counts that, or
//! silence was the answer. Where phzd misses something, the program ends with 1.
//!
//! `cargo bench --bench soak -- --help` lists what can be chosen.
#![forbid(unsafe_code)]

mod abuse;
mod account;
mod asked;
mod connections;
mod crowd;
mod daemon;
mod dice;
mod lab;
mod names;
mod reload;
mod sky;
mod steady;
mod tally;
mod visitors;
mod weather;

#[path = "../faults/cores.rs"]
mod cores;
#[path = "../faults/namespace.rs"]
mod namespace;
#[path = "../faults/resolver.rs"]
#[expect(dead_code, reason = "the faults have one that knows every name")]
mod resolver;
#[path = "../faults/table.rs"]
#[expect(dead_code, reason = "the faults try a row again where the machine was busy")]
mod table;
#[path = "../../benches/load/upstream.rs"]
mod upstream;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use connections::Habit;
use namespace::Outcome;
use table::{Line, Measure};

/// phzd under load while all around it changes.
#[derive(Parser)]
struct Arguments {
    /// Only these rows; may be given several times.
    #[arg(long)]
    row: Vec<String>,
    /// Of the row `soak`.
    #[arg(long, env = "SOAK_SECONDS", default_value_t = 1200)]
    seconds: u64,
    /// Questions a second of the row `soak`.
    #[arg(long, default_value_t = 3000)]
    rate: u32,
    /// A tenth of the time: to see that the rows work, not to judge.
    #[arg(long)]
    quick: bool,
    /// Say which rows there are, and end.
    #[arg(long)]
    list: bool,
    /// Be one of those who take connections, ...
    #[arg(long, hide = true, requires = "count")]
    hold: Option<Habit>,
    /// ... and so many.
    #[arg(long, hide = true)]
    count: Option<usize>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// So many seconds, or a tenth of them.
    fn time(&self, seconds: u64) -> Duration {
        Duration::from_secs(if self.quick { seconds.div_ceil(10) } else { seconds })
    }
}

/// A row: its name, what happens, and what comes of it.
struct Row {
    name: &'static str,
    title: &'static str,
    run: fn(&Arguments) -> Outcome<Vec<Measure>>,
}

const ROWS: [Row; 7] = [
    Row { name: "soak", title: "everything at once, with faults", run: steady::row },
    Row { name: "reload", title: "a reload every 100 ms, 50,000 q/s", run: reload::row },
    Row { name: "flood", title: "20,000 new names a second from one client", run: abuse::flood },
    Row { name: "crowd", title: "20,000 connections, few let in", run: abuse::connections },
    Row { name: "crowd-in", title: "20,000 connections, all let in", run: abuse::all_connections },
    Row { name: "files", title: "20,000 connections, no files left", run: abuse::no_files },
    Row { name: "large", title: "large answers over UDP", run: abuse::amplification },
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.hold.zip(arguments.count) {
        Some((habit, count)) => connections::hold(habit, count).map(|()| true),
        None => judge(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the rows. Whether phzd kept its promises.
fn judge(arguments: &Arguments) -> Outcome<bool> {
    if arguments.list {
        ROWS.iter().for_each(|row| println!("{}: {}", row.name, row.title));
        return Ok(true);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    namespace::remove_leftovers(lab::PREFIX);
    println!("{}", table::head(&["phzd"]));
    let mut kept = true;
    let chosen = |row: &&Row| arguments.row.is_empty() || arguments.row.iter().any(|name| row.name == name);
    for row in ROWS.iter().filter(chosen) {
        let cell = (row.run)(arguments).map_err(|error| error.to_string());
        let line = Line { number: row.name, fault: row.title, cells: vec![("phzd", cell)] };
        print!("{}", line.text());
        kept &= line.is_kept_by("phzd");
    }
    Ok(kept)
}
