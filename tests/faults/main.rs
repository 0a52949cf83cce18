//! The faults: what becomes of clients when resolvers are silent, lose packets, fail, refuse, or are impersonated.
//!
//! Each fault is given to phzd and to every peer that is installed, in network namespaces made for it. One table tells
//! what each did and what phzd must reach; where phzd misses something, the program ends with 1.
//!
//! `cargo bench --bench faults -- --help` lists what can be chosen.
#![forbid(unsafe_code)]

mod client;
mod cores;
mod floor;
mod forgery;
mod lab;
mod misses;
mod namespace;
mod programs;
#[expect(dead_code, reason = "the soak has it slow down")]
mod resolver;
mod rows;
mod table;

#[path = "../../benches/load/echo.rs"]
mod echo;
#[path = "../../benches/load/generator.rs"]
#[expect(dead_code, reason = "the load bench measures hits too")]
mod generator;
#[path = "../../benches/load/questions.rs"]
#[expect(dead_code, reason = "the load bench asks for buckets too")]
mod questions;
#[path = "../../benches/load/upstream.rs"]
mod upstream;
#[path = "../../benches/load/window.rs"]
mod window;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use cores::{Cores, stay_on};
use lab::Outcome;
use programs::Program;
use rows::{ECHO, ROWS, Row, Trial};
use table::{Cell, Line};

/// How often a row is tried on a machine that is busy with other things.
const TRIES: usize = 3;

/// Faults given to phzd and to the peers that are installed.
#[derive(Parser)]
struct Arguments {
    /// Only these rows, as 5 or 1b; may be given several times.
    #[arg(long)]
    row: Vec<String>,
    /// Only these programs; may be given several times.
    #[arg(long)]
    program: Vec<Program>,
    /// A fifth of the load: to see that the rows work, not to judge.
    #[arg(long)]
    quick: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match judge(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("faults: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the rows and prints the table. Whether phzd kept its promises.
fn judge(arguments: &Arguments) -> Outcome<bool> {
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    namespace::remove_leftovers(lab::PREFIX);
    stay_on(Cores::of_this_run()?.load)?;
    let wanted = if arguments.program.is_empty() { Program::value_variants() } else { &arguments.program };
    let (programs, missing): (Vec<Program>, Vec<Program>) =
        wanted.iter().copied().partition(|program| program.file().is_some());
    for program in missing {
        println!("not installed: {}", program.name());
    }
    let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
    let chosen = |number: &str| arguments.row.is_empty() || arguments.row.iter().any(|row| number.starts_with(row));

    println!("{}", table::head(&names));
    let mut kept = true;
    for row in ROWS.iter().filter(|row| chosen(row.number)) {
        let cell =
            |program: &Program| (program.name(), tried(row, Trial { program: *program, quick: arguments.quick }));
        let line = Line { number: row.number, fault: row.fault, cells: programs.iter().map(cell).collect() };
        print!("{}", line.text());
        kept &= line.is_kept_by(Program::Phzd.name());
    }
    Ok(kept)
}

/// What the program made of the row. phzd is tried again where it was late and so was the bare echo.
fn tried(row: &Row, trial: Trial) -> Cell {
    let run = || (row.run)(trial).map_err(|error| error.to_string());
    let mut cell = run();
    for _ in 1..TRIES {
        if trial.program != Program::Phzd || !table::is_the_machines(&cell, ECHO, floor::QUIET) {
            break;
        }
        cell = run();
    }
    cell
}
