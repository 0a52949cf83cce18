//! The load bench: what phzd costs beside what the kernel costs anyway.
//!
//! Server on one core, load on another, in paired rounds: the same questions to a UDP echo and to phzd, right after
//! each other, so that what disturbs the machine disturbs both. Only ratios are to be quoted. A pair counts if the
//! server's core was busy; otherwise the generator was the limit, or another program had the core. The CPU ratio bears
//! that better.
//!
//! `cargo bench --bench load -- --help` lists what can be chosen.
#![forbid(unsafe_code)]

mod echo;
mod generator;
mod latency;
mod questions;
mod report;
mod server;
mod upstream;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use generator::{Generator, Idle};
use latency::Single;
use questions::{Expected, NAMES, Questions};
use report::{Pair, Trips};
use server::{Cores, Role, Server, stay_on};

/// Round trips of the latency row, to each server.
const ROUND_TRIPS: usize = 20_000;

/// Load on phzd and on a UDP echo, in turns.
#[derive(Parser)]
struct Arguments {
    /// Paired rounds that shall count; up to half as many again are tried.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Only these rows; may be given several times.
    #[arg(long)]
    row: Vec<Row>,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 0.4)]
    seconds: f64,
    /// A server that runs already, in place of phzd.
    #[arg(long, value_name = "ADDRESS")]
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

/// A row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Buckets, asked by clients that may have the endpoint's address.
    Private,
    /// Forwarded names that are in the cache.
    Hit,
    /// Names nobody asked before; the resolver shares the generator's core.
    Miss,
    /// One query in flight, buckets.
    Latency,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (arguments.serve, arguments.at) {
        (Some(role), Some(address)) => role.serve(address),
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

/// Starts the servers, runs the rows, prints the tables.
fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Some(cores) = Cores::available()? else {
        println!("load: needs two cores, one for the server and one for the load; nothing measured");
        return Ok(());
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let resolver = Server::resolver(cores.load, arguments.resolver.unwrap_or(anywhere))?;
    let echo = Server::echo(cores.server)?;
    let (name, server) = match arguments.against {
        Some(address) => ("other", Server::running(address, arguments.pid)),
        None => ("phzd", Server::phzd(cores.server, resolver.address)?),
    };
    stay_on(cores.load)?;

    let rows = if arguments.row.is_empty() { Row::value_variants() } else { &arguments.row };
    if rows.iter().any(|&row| row != Row::Latency) {
        println!("echo and {name}: right replies a second. Core busy and CPU time: the echo's, then {name}'s\n");
        report::throughput_head(name);
    }
    for row in rows {
        match row {
            Row::Private => rounds(*row, Questions::buckets, Expected::PRIVATE, arguments, &echo, &server)?,
            Row::Hit => {
                fill_cache(&server)?;
                rounds(*row, Questions::cached, Expected::PUBLIC, arguments, &echo, &server)?;
            }
            Row::Miss => rounds(*row, Questions::fresh, Expected::PUBLIC, arguments, &echo, &server)?,
            Row::Latency => {
                // Client and server on one core: waking a sleeping core costs more than the whole round trip, and
                // varies.
                stay_on(cores.server)?;
                latency_row(name, arguments.rounds, &echo, &server)?;
                stay_on(cores.load)?;
            }
        }
    }
    Ok(())
}

/// One row of the first table.
fn rounds(
    row: Row,
    questions: fn() -> Questions,
    expected: Expected,
    arguments: &Arguments,
    echo: &Server,
    server: &Server,
) -> Result<(), Box<dyn Error>> {
    let idle = if row == Row::Miss { Idle::Sleep } else { Idle::Spin };
    let time = Duration::try_from_secs_f64(arguments.seconds)?;
    let mut to_echo = Generator::new(echo.address, questions(), Expected::Echo, idle)?;
    let mut to_server = Generator::new(server.address, questions(), expected, idle)?;
    let mut pairs: Vec<Pair> = Vec::new();
    let mut counted = 0;
    while counted < arguments.rounds && pairs.len() < arguments.rounds + arguments.rounds / 2 {
        let pair = Pair { echo: to_echo.round(time, || echo.cpu())?, server: to_server.round(time, || server.cpu())? };
        counted += usize::from(pair.counts());
        pairs.push(pair);
    }
    report::throughput(&format!("{row:?}").to_lowercase(), &pairs);
    Ok(())
}

/// Asks for every name of the hit row once.
fn fill_cache(server: &Server) -> Result<(), Box<dyn Error>> {
    let (mut client, mut questions) = (Single::new(server.address)?, Questions::cached());
    match client.round_trips(NAMES, &mut questions, Expected::PUBLIC).len() {
        NAMES => Ok(()),
        right => Err(format!("{right} of {NAMES} forwarded names got the resolver's answer").into()),
    }
}

/// The second table.
fn latency_row(name: &str, rounds: usize, echo: &Server, server: &Server) -> Result<(), Box<dyn Error>> {
    let (mut to_echo, mut to_server) = (Single::new(echo.address)?, Single::new(server.address)?);
    let (mut echoed, mut asked) = (Questions::buckets(), Questions::buckets());
    let count = ROUND_TRIPS.div_ceil(rounds.max(1));
    let trips: Vec<Trips> = (0..rounds.max(1))
        .map(|_| Trips {
            echo: to_echo.round_trips(count, &mut echoed, Expected::Echo),
            server: to_server.round_trips(count, &mut asked, Expected::PRIVATE),
        })
        .collect();
    report::latency(name, &trips, count * trips.len());
    Ok(())
}
