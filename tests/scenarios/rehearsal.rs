//! How much of a scenario can be played over real sockets, and in which manner: decided by what it says, and by playing
//! it on the core as it may go there.
//!
//! A real clock does not stand still while a step is played, phzd looks around at every start, and not everything can be
//! waited for. What goes as written on the core all the same, however late its steps are, has to go so there too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use phzd::policy::Policy;
use phzd::upstream::Hop;
use toml::Spanned;

use super::core::Core;
use super::file::{Scenario, Step, address, configuration, duration};
use super::notation::Told;
use super::player::{Late, Manner, Otherwise, played_on};

/// Time that may pass in a scenario.
const LONGEST: Duration = Duration::from_secs(2);
/// Queries that one step may send.
const MOST_QUERIES: usize = 500;
/// The port of name servers.
const DOMAIN: u16 = 53;
/// Waits are so much longer than written: what becomes due at their end has been done when they are over.
const MARGIN: Duration = Duration::from_millis(4);
/// When a scenario begins after the start: at once, or when nothing is known of the resolvers any more, as on the core.
const BEGINS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(300)];
/// How late a step may be: the more, the less other work on the machine matters.
const LATEST: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(8), Duration::from_millis(4)];

/// What can be played of a scenario.
pub struct Part {
    pub manner: Manner,
    /// How late a step may be. After one that is later still, what goes otherwise says nothing.
    pub latest: Duration,
    /// Why it is not all.
    pub reason: Option<&'static str>,
}

/// As much of a scenario as can be played over real sockets; or why it is nothing.
pub fn rehearse(scenario: &Scenario) -> Result<Part, String> {
    let steps = || scenario.steps.iter().map(Spanned::get_ref);
    if let Some(reason) = steps().find_map(cannot_begin) {
        return Err(reason.into());
    }
    let policy = Policy::new(&configuration(&scenario.config)?);
    if !policy.routes().flat_map(|route| route.hops()).all(Hop::is_plain) {
        return Err("a resolver over TLS has a certificate, and tests/encrypted.rs has such".into());
    }
    let mut time = Duration::ZERO;
    let cut = steps().enumerate().find_map(|(place, step)| Some((place, cannot_be_played(step, &mut time)?)));
    let (most, cut) = cut.map_or((usize::MAX, None), |(most, reason)| (most, Some(reason)));
    let written = Manner { margin: MARGIN, steps: most, ..Manner::WRITTEN };
    let mut best = Part { manner: Manner { steps: 0, ..written }, latest: LATEST[0], reason: None };
    for (latest, begins) in LATEST.iter().flat_map(|latest| BEGINS.map(|begins| (*latest, begins))) {
        let looks_around =
            if steps().next().is_some_and(|step| step.look_around.is_some()) { None } else { Some(begins) };
        let manner = Manner { looks_around, ..written };
        let steps = playable(scenario, manner, latest, best.manner.steps)?;
        if steps > best.manner.steps {
            best = Part { manner: Manner { steps, ..manner }, latest, reason: None };
        }
        if steps == most {
            return Ok(Part { reason: cut, ..best });
        }
    }
    Ok(Part { reason: Some("times are too exact for a real clock"), ..best })
}

/// How many steps go as written however late they are: all of them, one alone, or all from one on, when it is known how
/// quick resolvers can be. No more than `enough` of them are of no interest.
fn playable(scenario: &Scenario, mut manner: Manner, latest: Duration, enough: usize) -> Told<usize> {
    let steps = scenario.steps.len();
    // Where no resolver is asked, nobody waits.
    let waits = scenario.steps.iter().any(|step| step.get_ref().resolver.is_some());
    let places = if waits { 0..steps } else { 0..0 };
    let all = [Duration::ZERO, latest / 4, latest / 2].map(|by| Late { steps: (0, steps), by });
    let one = places.clone().map(|step| Late { steps: (step, step + 1), by: latest });
    let rest = places.map(|step| Late { steps: (step, steps), by: latest });
    for late in all.into_iter().chain(one).chain(rest) {
        if manner.steps <= enough {
            break;
        }
        if late.steps.0 < manner.steps {
            let mut core = Core::new(&scenario.config)?;
            let played = played_on(&mut core, scenario, Manner { late, ..manner });
            manner.steps = played.map_or_else(|Otherwise { steps, .. }| steps, |_| manner.steps);
        }
    }
    Ok(manner.steps)
}

/// Why no part of a scenario with this step can be played, if that is so.
fn cannot_begin(step: &Step) -> Option<&'static str> {
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
        Step { from: Some(from), .. } if address(from, 1).is_ok_and(|client| client.port() == DOMAIN) => {
            Some("resolvers have port 53 of every address there")
        }
        _ => None,
    }
}
