//! The same conversations once more, over real sockets and with the real program: nothing in a fast path may skip a
//! check that the slow path makes.
//!
//! A real clock does not stand still while a step is played, phzd looks around at every start, and not everything can
//! be waited for. So each scenario is rehearsed on the core first, as it may go there. What goes as written however
//! late its steps are is played, and the rest of the file is left out, with the reason.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use phzd::policy::Policy;
use phzd::upstream::Hop;
use toml::Spanned;

use crate::vpc::skip;

use super::core::Core;
use super::file::{Scenario, Step, address, configuration, duration};
use super::notation::Told;
use super::player::{Manner, Otherwise, RESOLVER_PORT, played_on};
use super::sockets::Sockets;
use super::{GOOD, WRONG, all, network, wanted};

/// Threads that play, each in a network of its own. They wait most of the time.
const THREADS: usize = 4;
/// Time that may pass in a scenario.
const LONGEST: Duration = Duration::from_secs(3);
/// Queries that one step may send.
const MOST_QUERIES: usize = 500;
/// When a scenario begins after the start: at once, or when nothing is known of the resolvers, as on the core.
const BEGINS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(300)];
/// Waits are so much longer than written: what becomes due at their end has been done when they are over.
const MARGIN: Duration = Duration::from_millis(4);
/// Milliseconds that steps may be late, ...
const LATEST: u64 = 20;
/// ... and how they are in rehearsals, step by step and over again.
const LATE: [&[u64]; 13] = [
    &[0],
    &[1],
    &[2],
    &[5],
    &[10],
    &[LATEST],
    &[0, LATEST],
    &[LATEST, 0],
    &[0, 0, LATEST],
    &[0, LATEST, 0],
    &[LATEST, 0, 0],
    &[1, 3, 9],
    &[7, 0, 3, 1],
];
/// How often a scenario is played in which something went otherwise after a step that was later still, which says
/// nothing.
const ATTEMPTS: usize = 10;

/// What became of a scenario.
enum Played {
    Whole,
    /// Only its beginning, and why.
    Partly(String),
    /// Not at all, and why.
    Not(String),
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
            let scenario = Scenario::read(&fs::read_to_string(path).unwrap()).unwrap();
            let outcome = play(&scenario);
            outcomes.lock().unwrap().push((path, outcome));
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));

    let (mut whole, mut partly, mut failures) = (0, 0, Vec::new());
    let mut reasons = BTreeMap::<String, Vec<String>>::new();
    for (path, outcome) in outcomes.into_inner().unwrap() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match outcome {
            Played::Whole => whole += 1,
            Played::Partly(reason) => {
                partly += 1;
                reasons.entry(format!("in part, because {reason}")).or_default().push(name);
            }
            Played::Not(reason) => reasons.entry(format!("not at all, because {reason}")).or_default().push(name),
            Played::Otherwise(told) => failures.push(format!("{}, {told}", path.display())),
        }
    }
    println!("{whole} scenarios were played over real sockets, {partly} in part, of {}", scenarios.len());
    for (reason, names) in &reasons {
        println!("{} {reason}: {}", names.len(), names.join(" "));
    }
    assert!(failures.is_empty(), "{} went otherwise:\n\n{}\n", failures.len(), failures.join("\n\n"));
    if scenarios.len() == all().len() {
        assert!(3 * whole >= 2 * scenarios.len(), "most scenarios can be played over real sockets: {reasons:?}");
        assert!(6 * (whole + partly) >= 5 * scenarios.len(), "nearly all at least in part: {reasons:?}");
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
fn play(scenario: &Scenario) -> Played {
    let (manner, reason) = match rehearsed(scenario) {
        Ok(rehearsed) => rehearsed,
        Err(reason) => return Played::Not(reason),
    };
    let replies = scenario.steps.iter().take(manner.steps).filter(|step| step.get_ref().reply.is_some());
    if replies.count() == 0 {
        return Played::Not(reason.unwrap_or_default());
    }
    for _ in 0..ATTEMPTS {
        match attempt(scenario, manner) {
            Ok(()) => return reason.map_or(Played::Whole, Played::Partly),
            Err((told, latest)) if latest <= Duration::from_millis(LATEST) => return Played::Otherwise(told),
            Err(_) => {}
        }
    }
    Played::Not("the machine had too much else to do".into())
}

/// Plays it once. The error says what went otherwise, and how late the latest step was.
fn attempt(scenario: &Scenario, manner: Manner) -> Result<(), (String, Duration)> {
    let ports = ports(scenario).map_err(|told| (told, Duration::ZERO))?;
    let mut stage = Sockets::new(&scenario.config, &ports).map_err(|told| (told, Duration::ZERO))?;
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

/// The manner in which most of a scenario can be played over real sockets, and why that is not all, if it is not; or why
/// it is nothing.
fn rehearsed(scenario: &Scenario) -> Result<(Manner, Option<String>), String> {
    let steps = || scenario.steps.iter().map(Spanned::get_ref);
    if let Some(reason) = steps().find_map(is_within) {
        return Err(reason.into());
    }
    let policy = Policy::new(&configuration(&scenario.config)?);
    if !policy.routes().flat_map(|route| route.hops()).all(Hop::is_plain) {
        return Err("a resolver over TLS has a certificate, and tests/encrypted.rs has such".into());
    }
    let mut time = Duration::ZERO;
    let cut = steps().enumerate().find_map(|(place, step)| Some((place, cannot_be_played(step, &mut time)?)));
    let (most, cut) = cut.map_or((usize::MAX, None), |(most, reason)| (most, Some(reason.to_owned())));
    let begins_by_looking = steps().next().is_some_and(|step| step.look_around.is_some());
    let mut manner = Manner { margin: MARGIN, steps: 0, ..Manner::WRITTEN };
    for later in BEGINS {
        let looks_around = if begins_by_looking { None } else { Some(later) };
        let steps = playable(scenario, Manner { looks_around, steps: most, ..manner })?;
        if steps > manner.steps {
            manner = Manner { looks_around, steps, ..manner };
        }
        if steps == most {
            break;
        }
    }
    let reason = if manner.steps < most { Some("times are too exact for a real clock".into()) } else { cut };
    Ok((manner, reason))
}

/// How many steps go as written however late each is.
fn playable(scenario: &Scenario, mut manner: Manner) -> Told<usize> {
    for late in LATE {
        let mut core = Core::new(&scenario.config)?;
        if let Err(Otherwise { steps, .. }) = played_on(&mut core, scenario, Manner { late, ..manner }) {
            manner.steps = steps;
        }
    }
    Ok(manner.steps)
}

/// Why no part of a scenario with this step can be played, if that is so.
fn is_within(step: &Step) -> Option<&'static str> {
    match step {
        Step { learn_self: Some(_), .. } => Some("phzd has learned its own address when it begins to serve"),
        Step { lookup: Some(_), .. } | Step { probe: Some(_), .. } | Step { log: Some(_), .. } => {
            Some("lookups, checks and the log are within phzd")
        }
        _ => None,
    }
}

/// Why a scenario cannot be played from this step on, if that is so; `time` is what has passed in it.
fn cannot_be_played(step: &Step, time: &mut Duration) -> Option<&'static str> {
    *time += step.wait.as_ref().and_then(|wait| duration(wait).ok()).unwrap_or_default();
    let is_mapped = |client: SocketAddr| matches!(client.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    match step {
        _ if *time > LONGEST => Some("more time passes than is waited"),
        Step { times: Some(times), .. } if *times > MOST_QUERIES => Some("more queries are sent than are worth it"),
        Step { from: Some(from), .. } if address(from, 1).is_ok_and(is_mapped) => {
            Some("an IPv4 client is seen by IPv6 sockets that somebody else has opened only")
        }
        _ => None,
    }
}
