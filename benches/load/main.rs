//! The load bench: what phzd costs beside what the kernel costs anyway, and beside what else a user would install.
//!
//! Server on one core, load on another, in paired rounds: the same questions to an echo and to the program, right after
//! each other, so that what disturbs the machine disturbs both. Only ratios are to be quoted. A pair counts if
//! both servers' core was busy; otherwise the generator was the limit, or another program had the core. The CPU ratio
//! bears that better. Programs run one after another, each started once for all its rows.
//!
//! `cargo bench --bench load -- --help` lists what can be chosen.
#![forbid(unsafe_code)]

mod cores;
mod echo;
mod generator;
mod latency;
mod machine;
mod overview;
mod paced;
mod programs;
mod questions;
mod report;
mod rows;
mod run;
mod server;
mod statistics;
mod table;
mod tcp;
mod tcp_echo;
mod upstream;
mod variants;
mod window;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use programs::Program;
use rows::Row;
use server::Role;

/// Load on phzd, on its peers and on an echo, in turns.
#[derive(Parser)]
struct Arguments {
    /// Paired rounds that shall count of each row and program; where others have the cores, up to three times as many
    /// are tried.
    #[arg(long, default_value_t = 20, value_parser = positive)]
    rounds: usize,
    /// Only these rows; may be given several times.
    #[arg(long)]
    row: Vec<Row>,
    /// Only these programs; may be given several times.
    #[arg(long)]
    program: Vec<Program>,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 0.3)]
    seconds: f64,
    /// Say which rows there are, and which programs are found, and end.
    #[arg(long)]
    list: bool,
    /// The tables in Markdown, with what they were made on.
    #[arg(long)]
    markdown: bool,
    /// A server that runs already, in place of the programs.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "program")]
    against: Option<SocketAddr>,
    /// Its process, for its CPU time.
    #[arg(long, value_name = "PID", requires = "against")]
    pid: Option<i32>,
    /// Where the resolver for misses shall listen, so that the other server can be told.
    #[arg(long, value_name = "ADDRESS")]
    resolver: Option<SocketAddr>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be one of the children.
    #[arg(long, hide = true, requires = "at")]
    serve: Option<Role>,
    /// The child's address.
    #[arg(long, hide = true)]
    at: Option<SocketAddr>,
}

/// Parses a number of rounds.
fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "a whole number of at least 1".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (arguments.serve, arguments.at) {
        (Some(role), Some(address)) => role.serve(address),
        _ if arguments.list => {
            list();
            Ok(())
        }
        _ => run::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What there is to choose from.
fn list() {
    println!("rows:");
    Row::value_variants().iter().for_each(|row| println!("  {}: {}", row.name(), row.title()));
    println!("programs:");
    for program in Program::value_variants() {
        let version = program.file().map_or("not installed".to_owned(), |_| program.version().unwrap_or_default());
        println!("  {} {version}", program.name());
    }
}
