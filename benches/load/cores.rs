//! What a second core is worth: phzd with one thread on one core, and with two threads on two.
//!
//! With four cores that is measured as it stands: two generators have a core each, and both servers are kept busy. With
//! fewer, server and generators share two cores, so queries a second would say how the kernel divides them; what is
//! compared then is how many replies a second of the server's own CPU time yields. Two threads that get in each other's
//! way need more of it for a reply. That is a hint, not a proof: with generators on the same cores both threads seldom
//! run at once.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::generator::{Generator, Idle, Load as _, RAMP};
use crate::programs::Program;
use crate::report::{figure, spread, thousands};
use crate::rows::{Plan, Row};
use crate::server::{Cores, Server, stay_on};
use crate::statistics::{BUSY, median, quartiles};
use crate::table::Table;
use crate::window::Round;

/// Measures, and says how.
pub fn measure(cores: &Cores, resolver: SocketAddr, plan: &Plan) -> Result<Table, Box<dyn Error>> {
    let both = [cores.server, cores.load];
    let (two, loads, idle) = match cores.spare {
        Some(spare) => (both, spare, Idle::Spin),
        None => (both, both, Idle::Sleep),
    };
    let servers = [Program::Phzd.start(&two[..1], resolver)?, Program::Phzd.start(&two, resolver)?];
    stay_on(&loads[1..])?;
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..plan.rounds {
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            rounds.push(round(server, loads, idle, plan.time)?);
        }
    }
    Ok(table(&rounds, idle))
}

/// One round with a generator on each of two cores.
fn round(server: &Server, loads: [usize; 2], idle: Idle, time: Duration) -> Result<Round, Box<dyn Error>> {
    let (begin, end) = (Barrier::new(3), Barrier::new(3));
    let one = |core: usize| -> io::Result<Round> {
        let started = stay_on(&[core]).map_err(io::Error::from).and_then(|()| {
            let mut generator = Generator::new(server.address, Row::Cores.work()?, idle)?;
            let mut ramp = Round::default();
            generator.run(RAMP, &mut ramp)?;
            Ok((generator, ramp))
        });
        // Whoever could not start must not let the others wait.
        begin.wait();
        let mut round = Round::default();
        let ran = started.and_then(|(mut generator, ramp)| {
            generator.run(time, &mut round)?;
            Ok((generator, ramp))
        });
        end.wait();
        let (mut generator, mut beside) = ran?;
        // Replies count while the clock runs, what is lost or wrong at any time.
        generator.drain(&mut beside)?;
        Ok(Round { lost: round.lost + beside.lost, wrong: round.wrong + beside.wrong, ..round })
    };
    thread::scope(|scope| {
        let generators = loads.map(|core| scope.spawn(move || one(core)));
        begin.wait();
        let (before, clock) = (server.core(), Instant::now());
        end.wait();
        let mut sum = Round { wall: clock.elapsed(), core: server.core().since(before), ..Round::default() };
        for generator in generators {
            let round = generator.join().map_err(|_| "a generator panicked")??;
            (sum.replies, sum.lost, sum.wrong) =
                (sum.replies + round.replies, sum.lost + round.lost, sum.wrong + round.wrong);
        }
        Ok(sum)
    })
}

fn table(rounds: &[Vec<Round>; 2], idle: Idle) -> Table {
    let (what, title) = match idle {
        Idle::Spin => ("q/s", "cores: phzd, buckets, one thread on one core and two on two; each generator has a core"),
        Idle::Sleep => (
            "q/s of CPU time",
            "cores: phzd, buckets, one thread and two; generators share the cores, so per second of its own CPU time",
        ),
    };
    let value = |round: &Round| match idle {
        Idle::Spin => round.rate(),
        Idle::Sleep => round.cost().map_or(f64::NAN, |cost| 1e6 / cost),
    };
    let [one, two] = rounds;
    // Where each generator has a core, rounds count in which the servers' were busy.
    let busy = |round: &Round, cores: f64| {
        let share = round.core.busy.map_or(1.0, |busy| busy.as_secs_f64() / round.wall.as_secs_f64() / cores);
        idle == Idle::Sleep || share >= BUSY
    };
    let pairs = one.iter().zip(two).filter(|(one, two)| busy(one, 1.0) && busy(two, 2.0));
    let ratio = quartiles(pairs.map(|(one, two)| value(two) / value(one)));
    let line = |threads: &str, rounds: &[Round], ratio: String| {
        let busy = rounds.iter().filter_map(|round| Some(round.core.busy?.as_secs_f64() / round.wall.as_secs_f64()));
        vec![
            threads.to_owned(),
            thousands(median(rounds.iter().map(value)), ""),
            ratio,
            figure(median(rounds.iter().filter_map(Round::cost)), 2),
            figure(median(busy), 2),
            rounds.len().to_string(),
            rounds.iter().map(|round| round.lost).sum::<u64>().to_string(),
            rounds.iter().map(|round| round.wrong).sum::<u64>().to_string(),
        ]
    };
    let head =
        ["threads", what, "of one thread's (quartiles)", "CPU µs/query", "cores busy", "rounds", "lost", "wrong"];
    Table {
        title: title.to_owned(),
        head: head.map(str::to_owned).to_vec(),
        lines: vec![line("1", one, "1".to_owned()), line("2", two, spread(ratio))],
        notes: Vec::new(),
    }
}
