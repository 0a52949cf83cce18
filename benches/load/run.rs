//! A run: one program after another, each started once for all its rows; then what is measured of phzd alone, and the
//! tables.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum as _;

use crate::programs::Program;
use crate::report::{Cell, Memory};
use crate::rows::{Plan, Row};
use crate::server::{Cores, Server, stay_on};
use crate::variants::{LOGS, TABLES};
use crate::{Arguments, cores, machine, overview, report, variants};

/// What stands in every run: the floor, and the resolver for misses.
struct Bench<'a> {
    arguments: &'a Arguments,
    cores: Cores,
    echo: Server,
    resolver: Server,
}

/// What was measured.
struct Results {
    rows: Vec<(Row, Vec<Cell>)>,
    memory: Vec<Memory>,
    /// Programs that are not in it, and why.
    missing: Vec<String>,
}

/// Measures what the arguments ask for and prints it.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Some(cores) = Cores::available()? else {
        println!("load: needs two cores, one for the server and one for the load; nothing measured");
        return Ok(());
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let resolver = Server::resolver(cores.load, arguments.resolver.unwrap_or(anywhere))?;
    let echo = Server::echo(cores.server)?;
    let bench = Bench { arguments, cores, echo, resolver };

    let rows = if arguments.row.is_empty() { Row::value_variants() } else { &arguments.row };
    let paired = rows.iter().filter(|row| row.is_paired());
    let mut results =
        Results { rows: paired.map(|&row| (row, Vec::new())).collect(), memory: Vec::new(), missing: Vec::new() };
    let programs = bench.compare(&mut results)?;
    let mut parts: Vec<_> = results.rows.iter().map(|(row, cells)| report::row(*row, cells)).collect();
    if !results.memory.is_empty() {
        parts.push(report::memory(&results.memory));
        parts.insert(0, overview::table(&results.rows, &results.memory, arguments.rounds));
    }
    if arguments.against.is_none() {
        for row in rows {
            let (cores, resolver, plan) = (&bench.cores, bench.resolver.address, bench.plan()?);
            let measured = match row {
                Row::Tables => variants::measure(title(*row), TABLES, cores, resolver, &plan),
                Row::Log => variants::measure(title(*row), LOGS, cores, resolver, &plan),
                Row::Cores => cores::measure(cores, resolver, &plan),
                _ => continue,
            };
            // What was measured before is not to be lost.
            match measured {
                Ok(table) => parts.push(table),
                Err(error) => results.missing.push(format!("{}: not measured, {error}", row.name())),
            }
        }
    }

    if arguments.markdown {
        println!("{}\n", machine::description(&programs));
    }
    println!("{}\n", report::LEGEND);
    if bench.cores.share_a_core() {
        println!("Server and load are two threads of one core here: each slows the other.\n");
    }
    results.missing.iter().for_each(|missing| println!("{missing}\n"));
    for table in parts {
        println!("{}", if arguments.markdown { table.markdown() } else { table.text() });
    }
    Ok(())
}

/// What stands above the table of a row that has one of its own.
fn title(row: Row) -> String {
    format!("{}: {}", row.name(), row.title())
}

impl Bench<'_> {
    /// Takes every program through the rows. Returns those that took part.
    fn compare(&self, results: &mut Results) -> Result<Vec<Program>, Box<dyn Error>> {
        if results.rows.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(address) = self.arguments.against {
            stay_on(&[self.cores.load])?;
            self.take_through(None, &Server::running(address, self.arguments.pid), results)?;
            return Ok(Vec::new());
        }
        let wanted = &self.arguments.program;
        let mut programs = if wanted.is_empty() { Program::value_variants().to_vec() } else { wanted.clone() };
        let mut failed = Vec::new();
        for &program in &programs {
            let server = program.start(&[self.cores.server], self.resolver.address);
            stay_on(&[self.cores.load])?;
            match server {
                Ok(server) => self.take_through(Some(program), &server, results)?,
                Err(error) => {
                    let missing = format!("{}: not measured, {error}", program.name());
                    eprintln!("{missing}");
                    results.missing.push(missing);
                    failed.push(program);
                }
            }
        }
        programs.retain(|program| !failed.contains(program));
        Ok(programs)
    }

    /// All rows of one program; `None` is one that is not known here.
    fn take_through(
        &self,
        program: Option<Program>,
        server: &Server,
        results: &mut Results,
    ) -> Result<(), Box<dyn Error>> {
        let (plan, name) = (self.plan()?, program.map_or("other", Program::name));
        let at_start = server.resident();
        for (row, cells) in &mut results.rows {
            let measured = match program.and_then(|program| program.lacks(*row)) {
                Some(why) => Err(why.to_owned()),
                None => row.measure(&self.echo, server, &plan).map_err(|error| error.to_string()),
            };
            let said = measured.as_ref().map_or_else(|why| format!("left out, {why}"), report::summary);
            eprintln!("{name}, {}: {said}", row.name());
            cells.push(Cell { program: name, measured, remark: program.and_then(|program| program.remark(*row)) });
        }
        results.memory.push(Memory { program: name, at_start, after: server.resident() });
        Ok(())
    }

    /// How much is measured of a row.
    fn plan(&self) -> Result<Plan, Box<dyn Error>> {
        let time = Duration::try_from_secs_f64(self.arguments.seconds)?;
        Ok(Plan { rounds: self.arguments.rounds, time, cores: self.cores })
    }
}
