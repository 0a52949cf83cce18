//! The same conversations once more, over real sockets and with the real program: nothing in a fast path may skip a
//! check that the slow path makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use crate::vpc::skip;

use super::file::{Scenario, address};
use super::notation::Told;
use super::player::{Manner, Otherwise, RESOLVER_PORT, played_on};
use super::rehearsal::{Part, rehearse};
use super::sockets::Sockets;
use super::{GOOD, WRONG, all, network, wanted};

/// Threads that play, each in a network of its own. They wait half of the time.
const THREADS: usize = 6;
/// How often a scenario is played until its steps are in time.
const ATTEMPTS: usize = 4;

/// What became of a scenario.
enum Played {
    Whole,
    /// Only its beginning, and why.
    Partly(&'static str),
    /// Not at all, and why.
    Not(String),
    /// Never in time, and what went otherwise.
    Late(String),
    Otherwise(String),
}

#[test]
fn every_conversation_goes_as_written_over_real_sockets() {
    if !is_possible() {
        return;
    }
    let scenarios: Vec<PathBuf> = all().into_iter().filter(|path| wanted(path)).collect();
    let (queue, outcomes) = (Mutex::new(scenarios.iter()), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        network::enter().unwrap();
        while let Some(path) = next() {
            let outcome = play(path);
            outcomes.lock().unwrap().push((path, outcome));
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));

    let (mut whole, mut partly, mut late, mut failures) = (0, 0, 0, Vec::new());
    let mut reasons = BTreeMap::<String, Vec<String>>::new();
    for (path, outcome) in outcomes.into_inner().unwrap() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let reason = match outcome {
            Played::Whole => {
                whole += 1;
                continue;
            }
            Played::Partly(reason) => {
                partly += 1;
                format!("in part, because {reason}")
            }
            Played::Not(reason) => format!("not at all, because {reason}"),
            Played::Late(told) => {
                late += 1;
                println!("{}, {told}", path.display());
                "in vain, because this machine had too much else to do".into()
            }
            Played::Otherwise(told) => {
                failures.push(format!("{}, {told}", path.display()));
                continue;
            }
        };
        reasons.entry(reason).or_default().push(name);
    }
    println!("{whole} scenarios were played over real sockets, {partly} in part, of {}", scenarios.len());
    for (reason, names) in &reasons {
        println!("{} {reason}: {}", names.len(), names.join(" "));
    }
    assert!(failures.is_empty(), "{} went otherwise:\n\n{}\n", failures.len(), failures.join("\n\n"));
    if scenarios.len() == all().len() {
        assert!(10 * late <= scenarios.len(), "this machine has time for most of them: {reasons:?}");
        assert!(3 * (whole + late) >= 2 * scenarios.len(), "most of them can be played: {reasons:?}");
        assert!(6 * (whole + late + partly) >= 5 * scenarios.len(), "nearly all, in part at least: {reasons:?}");
    }
}

/// What goes otherwise than written is noticed here as well.
#[test]
fn what_goes_otherwise_over_real_sockets_is_noticed() {
    if !is_possible() {
        return;
    }
    let manner = Manner { looks_around: Some(Duration::ZERO), ..Manner::WRITTEN };
    let play = move |text: &str| attempt(&Scenario::read(text).unwrap(), manner).map_err(|(told, _)| told);
    let played = thread::spawn(move || {
        network::enter().unwrap();
        assert_eq!(play(GOOD), Ok(()));
        // A mistake of the file is found before a socket is there.
        for (from, to, said) in WRONG.into_iter().filter(|(.., said)| !["has no key", "unknown field"].contains(said)) {
            let failure = play(&GOOD.replacen(from, to, 1)).expect_err(to);
            assert!(failure.contains(said), "{to}: {failure}");
        }
    });
    played.join().unwrap();
}

/// Whether networks of our own can be had here; where they cannot, it says why.
fn is_possible() -> bool {
    let possible = thread::spawn(network::enter).join().unwrap();
    possible.inspect_err(|obstacle| skip("replay of the scenarios", obstacle)).is_ok()
}

/// Plays as much of a scenario as can be.
fn play(path: &Path) -> Played {
    let scenario = Scenario::read(&fs::read_to_string(path).unwrap()).unwrap();
    let Part { manner, latest, reason } = match rehearse(&scenario) {
        Ok(part) => part,
        Err(reason) => return Played::Not(reason),
    };
    if scenario.steps.iter().take(manner.steps).all(|step| step.get_ref().reply.is_none()) {
        return Played::Not(reason.unwrap_or("nobody gets a reply").into());
    }
    let mut otherwise = String::new();
    for _ in 0..ATTEMPTS {
        match attempt(&scenario, manner) {
            Ok(()) => return reason.map_or(Played::Whole, Played::Partly),
            Err((told, late)) if late <= latest => return Played::Otherwise(told),
            Err((told, _)) => otherwise = told,
        }
    }
    Played::Late(otherwise)
}

/// Plays it once. The error says what went otherwise, and how late the latest step was.
fn attempt(scenario: &Scenario, manner: Manner) -> Result<(), (String, Duration)> {
    let stage = ports(scenario).and_then(|ports| Sockets::new(&scenario.config, &ports));
    let mut stage = stage.map_err(|told| (told, Duration::ZERO))?;
    let played = played_on(&mut stage, scenario, manner);
    played.map(drop).map_err(|Otherwise { told, .. }| (told, stage.latest()))
}

/// The ports of the resolvers.
fn ports(scenario: &Scenario) -> Told<Vec<u16>> {
    let resolvers = scenario.steps.iter().filter_map(|step| step.get_ref().resolver.as_ref());
    let mut ports = vec![RESOLVER_PORT];
    for resolver in resolvers {
        ports.push(address(resolver, RESOLVER_PORT)?.port());
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}
