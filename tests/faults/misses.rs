//! The row of misses: how many a program forwards on one core. Load and resolver are the load bench's.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::SERVED_AT;
use crate::generator::{Generator, Idle, Load as _};
use crate::lab::{Host, Lab, Outcome};
use crate::programs::{Running, Wish};
use crate::questions::{Client, Expected, Questions, Work};
use crate::rows::Trial;
use crate::table::{Measure, Must};
use crate::window::{Core, Round};
use crate::{echo, upstream};

/// The resolver's address, on the forwarder's own host: the way there is to cost nothing.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A round.
const ROUND: Duration = Duration::from_millis(400);

pub fn row(trial: Trial) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    let socket = lab.inside(Host::Forwarder, || echo::door(SocketAddr::from((RESOLVER, 53))))??.0;
    // So that it looks whether it shall end.
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                echo::serve(&socket, upstream::answer);
            }
        });
        let measured = trial
            .program
            .start(&lab, &Wish { budget: false, ..Wish::to(&[RESOLVER]) })
            .and_then(|program| rounds(&lab, &program, trial.seconds(25)));
        end.store(true, Ordering::Relaxed);
        measured
    })
}

fn rounds(lab: &Lab, program: &Running, count: u32) -> Outcome<Vec<Measure>> {
    let rounds = lab.inside(Host::Forwarder, || {
        let work = Work { client: Client::Private, questions: Questions::fresh(), expected: Expected::PUBLIC };
        let mut generator = Generator::new(SERVED_AT, work, Idle::Sleep)?;
        (0..count)
            .map(|_| generator.round(ROUND, &|| Core { busy: program.cpu(), idle: None }))
            .collect::<std::io::Result<Vec<Round>>>()
    })??;
    let busy = |round: &Round| round.core.busy.map_or(f64::NAN, |cpu| cpu.as_secs_f64() / round.wall.as_secs_f64());
    let median = |value: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Ok(vec![
        Measure::new(
            "answers a second, median",
            median(&|round| round.replies as f64 / round.wall.as_secs_f64()),
            Must::AtLeast(60_000.0),
        ),
        Measure::new("its core's busy share", median(&busy), Must::Nothing),
        Measure::new("lost", rounds.iter().map(|round| round.lost as f64).sum(), Must::Nothing),
    ])
}
