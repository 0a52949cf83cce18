//! The rows: what each program is asked, and how that is measured beside the echo.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::generator::{Generator, Idle, Load};
use crate::latency::Single;
use crate::paced::Paced;
use crate::questions::{Client, Expected, NAMES, Questions, Work};
use crate::server::{Cores, Server, stay_on};
use crate::statistics::{GENERATOR_BOUND, Pair, Trips, hindrance};
use crate::tcp::{Pipelines, Visits};
use crate::window::Round;

/// Round trips of the latency row, to each server.
const ROUND_TRIPS: usize = 20_000;

/// Queries of the idle row, to each server, and how long there is none before each: long enough for what the last one
/// left in the processor's caches to be gone, and for its clock to fall.
const ROUSINGS: usize = 400;
const REST: Duration = Duration::from_millis(50);

/// How often a round is tried for each that shall count.
pub const TRIES: usize = 3;

/// A round of the paced row: ten queries are above its p99.9.
const PACED: Duration = Duration::from_millis(500);

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Buckets, asked by clients that may have the endpoint's address.
    Private,
    /// The same names, asked by clients that get the public answer; it is in the cache.
    Public,
    /// The same names, asked by clients that are not served.
    Refused,
    /// Forwarded names that are in the cache.
    Hit,
    /// Names nobody asked before; the resolver shares the generator's core.
    Miss,
    /// One query in flight, buckets.
    Latency,
    /// 20,000 queries a second, buckets.
    Paced,
    /// One query after a while without any, buckets.
    Idle,
    /// Buckets over TCP, many queries under way on a few connections.
    Tcp,
    /// Buckets over TCP, a connection for each query.
    TcpVisit,
    /// phzd with many buckets beside phzd with few.
    Tables,
    /// phzd with a query log beside phzd without.
    Log,
    /// phzd on two cores beside phzd on one.
    Cores,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Paired rounds that shall count.
    pub rounds: usize,
    /// The measured part of one.
    pub time: Duration,
    /// Where it runs.
    pub cores: Cores,
}

/// What came of a row.
pub enum Measured {
    /// As many queries as the server answers.
    Throughput(Vec<Pair<Round>>),
    /// How long clients waited.
    Waiting(Vec<Pair<Trips>>),
}

impl Row {
    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Row::Private => "private",
            Row::Public => "public",
            Row::Refused => "refused",
            Row::Hit => "hit",
            Row::Miss => "miss",
            Row::Latency => "latency",
            Row::Paced => "paced",
            Row::Idle => "idle",
            Row::Tcp => "tcp",
            Row::TcpVisit => "tcp-visit",
            Row::Tables => "tables",
            Row::Log => "log",
            Row::Cores => "cores",
        }
    }

    /// The row in words.
    pub fn title(self) -> &'static str {
        match self {
            Row::Private => "buckets, for clients that may have the endpoint's address",
            Row::Public => "the same names, for clients that get the public answer, from the cache",
            Row::Refused => "the same names, for clients that are not served",
            Row::Hit => "forwarded names, from the cache",
            Row::Miss => "names nobody asked before; the resolver shares the generator's core",
            Row::Latency => "buckets, one query in flight; client and server on one core",
            Row::Paced => "buckets, 20,000 queries a second, each timed from when it was due",
            Row::Idle => "buckets, one query after 50 ms without any; client and server on one core",
            Row::Tcp => "buckets over TCP, 4 connections with up to 32 queries under way on each",
            Row::TcpVisit => "buckets over TCP, a connection for each query, 16 at a time",
            Row::Tables => "phzd, 100,000 and 1,000,000 buckets beside 10, asked at random",
            Row::Log => "phzd, buckets, with a query log beside none; who writes it has the same core",
            Row::Cores => "phzd, buckets, two threads on two cores beside one on one",
        }
    }

    /// Whether programs are measured beside the echo, or else phzd beside itself.
    pub fn is_paired(self) -> bool {
        !matches!(self, Row::Tables | Row::Log | Row::Cores)
    }

    /// Whether the row is about how many queries are answered, or else how long that takes.
    pub fn is_throughput(self) -> bool {
        !matches!(self, Row::Latency | Row::Paced | Row::Idle)
    }

    /// Whether its clients get what others do not.
    pub fn is_private(self) -> bool {
        !matches!(self, Row::Public | Row::Refused | Row::Hit | Row::Miss)
    }

    /// The percentiles of a row about waiting.
    pub fn percentiles(self) -> &'static [f64] {
        match self {
            Row::Paced => &[50.0, 99.0, 99.9],
            Row::Idle => &[50.0, 90.0],
            _ => &[50.0, 99.0],
        }
    }

    /// What is asked of a server.
    pub fn work(self) -> io::Result<Work> {
        let (client, questions, expected) = match self {
            Row::Public => (Client::Public, Questions::buckets(), Expected::PUBLIC),
            Row::Refused => (Client::Stranger(own_address()?), Questions::buckets(), Expected::Refused),
            Row::Hit => (Client::Private, Questions::cached(), Expected::PUBLIC),
            Row::Miss => (Client::Private, Questions::fresh(), Expected::PUBLIC),
            _ => (Client::Private, Questions::buckets(), Expected::PRIVATE),
        };
        Ok(Work { client, questions, expected })
    }

    /// The same for the echo.
    fn echoed(self) -> io::Result<Work> {
        Ok(Work { expected: Expected::Echo, ..self.work()? })
    }

    /// Measures the server beside the echo. Says why where it does not do what the row asks.
    pub fn measure(self, echo: &Server, server: &Server, plan: &Plan) -> Result<Measured, Box<dyn Error>> {
        self.try_out(server)?;
        match self {
            Row::Latency | Row::Idle => {
                // Client and server on one core: waking a sleeping core costs more than the whole round trip, and
                // varies.
                stay_on(&[plan.cores.server])?;
                let pairs = match self {
                    Row::Idle => self.single(echo, server, plan, ROUSINGS, REST),
                    _ => self.single(echo, server, plan, ROUND_TRIPS, Duration::ZERO),
                };
                stay_on(&[plan.cores.load])?;
                pairs
            }
            Row::Paced => self.paced(echo, server, plan),
            _ => self.throughput(echo, server, plan),
        }
    }

    /// Asks every name once: the answers must be right, and are then in a cache.
    fn try_out(self, server: &Server) -> Result<(), Box<dyn Error>> {
        let mut client = Single::new(server.address, self.work()?)?;
        for asked in 0..NAMES {
            // It may be busy with what it was asked before.
            if client.ask().is_none() && client.ask().is_none() {
                return Err(format!("wrong or no reply to question {asked} of {NAMES}").into());
            }
        }
        Ok(())
    }

    fn load(self, target: SocketAddr, work: Work) -> io::Result<Box<dyn Load>> {
        Ok(match self {
            Row::Tcp => Box::new(Pipelines::new(target, work)?),
            Row::TcpVisit => Box::new(Visits::new(target, work)),
            Row::Miss => Box::new(Generator::new(target, work, Idle::Sleep)?),
            _ => Box::new(Generator::new(target, work, Idle::Spin)?),
        })
    }

    fn throughput(self, echo: &Server, server: &Server, plan: &Plan) -> Result<Measured, Box<dyn Error>> {
        let mut to_echo = self.load(echo.address, self.echoed()?)?;
        let mut to_server = self.load(server.address, self.work()?)?;
        let mut pairs: Vec<Pair<Round>> = Vec::new();
        let mut counted = 0;
        while counted < plan.rounds && pairs.len() < TRIES * plan.rounds {
            let pair = Pair::in_turns(
                pairs.len(),
                || to_echo.round(plan.time, &|| echo.core()),
                || to_server.round(plan.time, &|| server.core()),
            )?;
            counted += usize::from(pair.echo.is_busy() && pair.server.is_busy());
            pairs.push(pair);
            // More of them would show no more than that the generator is the limit.
            if pairs.len() >= plan.rounds && counted == 0 && generator_bound(&pairs) {
                break;
            }
        }
        if pairs.iter().all(|pair| pair.server.replies == 0) {
            return Err("no right reply".into());
        }
        Ok(Measured::Throughput(pairs))
    }

    /// `count` queries to each, one after another, with a `rest` before each.
    fn single(
        self,
        echo: &Server,
        server: &Server,
        plan: &Plan,
        count: usize,
        rest: Duration,
    ) -> Result<Measured, Box<dyn Error>> {
        let mut to_echo = Single::new(echo.address, self.echoed()?)?;
        let mut to_server = Single::new(server.address, self.work()?)?;
        let count = count.div_ceil(plan.rounds);
        let pair = |nth| {
            let on_echo = || trips(echo, || Ok(to_echo.round_trips(count, rest)));
            Pair::in_turns(nth, on_echo, || trips(server, || Ok(to_server.round_trips(count, rest))))
        };
        Ok(Measured::Waiting((0..plan.rounds).map(pair).collect::<Result<_, _>>()?))
    }

    fn paced(self, echo: &Server, server: &Server, plan: &Plan) -> Result<Measured, Box<dyn Error>> {
        let mut to_echo = Paced::new(echo.address, self.echoed()?, PACED)?;
        let mut to_server = Paced::new(server.address, self.work()?, PACED)?;
        let pair = |nth| {
            let on_echo = || trips(echo, || to_echo.round());
            Pair::in_turns(nth, on_echo, || trips(server, || to_server.round()))
        };
        Ok(Measured::Waiting((0..plan.rounds).map(pair).collect::<Result<_, _>>()?))
    }
}

/// Whether one of both servers had time to spare.
fn generator_bound(pairs: &[Pair<Round>]) -> bool {
    let [echoes, servers]: [Vec<&Round>; 2] =
        [pairs.iter().map(|pair| &pair.echo).collect(), pairs.iter().map(|pair| &pair.server).collect()];
    [echoes, servers].iter().any(|rounds| hindrance(rounds) == GENERATOR_BOUND)
}

/// Does `ask` and looks at the server's core before and after.
fn trips(server: &Server, ask: impl FnOnce() -> io::Result<Vec<Duration>>) -> io::Result<Trips> {
    let before = server.core();
    let times = ask()?;
    Ok(Trips { times, core: server.core().since(before) })
}

/// An address of this machine that is no loopback one.
fn own_address() -> io::Result<Ipv4Addr> {
    nix::ifaddrs::getifaddrs()?
        .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .find(|address| !address.is_loopback())
        .ok_or_else(|| io::Error::other("this machine has loopback addresses alone"))
}
