//! The load bench: what phzd costs beside what the kernel costs anyway, and beside what else a user would install.
//!
//! Server on one core, load on another, in paired rounds: the same questions to an echo and to the program, right after
//! each other, so that what disturbs the machine disturbs both. Only ratios are to be quoted. A pair counts if the
//! server's core was busy; otherwise the generator was the limit, or another program had the core. The CPU ratio bears
//! that better. Programs run one after another, each started once for all its rows.
//!
//! `cargo bench --bench load -- --help` lists what can be chosen.
#![forbid(unsafe_code)]

mod echo;
mod generator;
mod latency;
mod machine;
mod paced;
mod programs;
mod questions;
mod report;
mod rows;
mod server;
mod statistics;
mod table;
mod tcp;
mod tcp_echo;
mod upstream;
mod window;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use programs::Program;
use report::{Cell, Memory};
use rows::{Plan, Row};
use server::{Cores, Role, Server, stay_on};

/// Rounds for each peer, unless said otherwise.
const PEER_ROUNDS: usize = 8;

/// Load on phzd, on its peers and on an echo, in turns.
#[derive(Parser)]
struct Arguments {
    /// Paired rounds of phzd that shall count; up to half as many again are tried.
    #[arg(long, default_value_t = 20, value_parser = positive)]
    rounds: usize,
    /// The same for each peer; 8, or fewer if phzd has fewer.
    #[arg(long, value_parser = positive)]
    peer_rounds: Option<usize>,
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
        _ => measure(&arguments),
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
    Row::value_variants().iter().for_each(|row| println!("  {}", row.title()));
    println!("programs:");
    for program in Program::value_variants() {
        let version = program.file().map_or("not installed".to_owned(), |_| program.version().unwrap_or_default());
        println!("  {} {version}", program.name());
    }
}

/// Starts the servers, runs the rows, prints the tables.
fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Some(cores) = Cores::available()? else {
        println!("load: needs two cores, one for the server and one for the load; nothing measured");
        return Ok(());
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let resolver = Server::resolver(cores.load, arguments.resolver.unwrap_or(anywhere))?;
    let echo = Server::echo(cores.server)?;
    let rows = if arguments.row.is_empty() { Row::value_variants() } else { &arguments.row };
    let mut tables: Vec<(Row, Vec<Cell>)> = rows.iter().map(|&row| (row, Vec::new())).collect();
    let mut memory = Vec::new();

    let time = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut run = |program: Option<Program>, server: &Server| {
        let rounds = match program {
            None | Some(Program::Phzd) => arguments.rounds,
            _ => arguments.peer_rounds.unwrap_or(PEER_ROUNDS.min(arguments.rounds)),
        };
        let plan = Plan { rounds, time, cores };
        let name = program.map_or("other", Program::name);
        let at_start = server.resident();
        for (row, cells) in &mut tables {
            let cell = cell(*row, program, &echo, server, &plan);
            eprintln!("{name}, {}", told(*row, &cell));
            cells.push(cell);
        }
        memory.push(Memory { program: name, at_start, after: server.resident() });
    };
    if let Some(address) = arguments.against {
        stay_on(cores.load)?;
        run(None, &Server::running(address, arguments.pid));
    } else {
        for program in chosen(arguments) {
            let server = program.start(cores.server, resolver.address);
            stay_on(cores.load)?;
            match server {
                Ok(server) => run(Some(program), &server),
                Err(error) => eprintln!("{}, not measured: {error}", program.name()),
            }
        }
    }

    let mut all: Vec<_> = tables.iter().map(|(row, cells)| report::row(*row, cells)).collect();
    all.push(report::memory(&memory));
    if arguments.markdown {
        println!("{}\n", machine::description(&chosen(arguments)));
    }
    for table in all {
        println!("{}", if arguments.markdown { table.markdown() } else { table.text() });
    }
    Ok(())
}

/// The programs to be measured that are here.
fn chosen(arguments: &Arguments) -> Vec<Program> {
    let wanted = if arguments.program.is_empty() { Program::value_variants() } else { &arguments.program };
    let (here, missing): (Vec<Program>, Vec<Program>) =
        wanted.iter().copied().partition(|program| program.file().is_some());
    missing.iter().for_each(|program| eprintln!("{}, not installed", program.name()));
    here
}

/// Runs one row with one program.
fn cell(row: Row, program: Option<Program>, echo: &Server, server: &Server, plan: &Plan) -> Cell {
    let measured = match program.and_then(|program| program.lacks(row)) {
        Some(why) => Err(why.to_owned()),
        None => row.measure(echo, server, plan).map_err(|error| error.to_string()),
    };
    Cell { program: program.map_or("other", Program::name), measured, remark: program.and_then(Program::remark) }
}

/// A line for who waits.
fn told(row: Row, cell: &Cell) -> String {
    let (name, _) = row.title().split_once(':').unwrap_or_default();
    match &cell.measured {
        Ok(measured) => format!("{name}: {}", report::summary(measured)),
        Err(why) => format!("{name}: left out, {why}"),
    }
}
