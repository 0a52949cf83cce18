//! The same conversations once more over real sockets, with the real program: nothing in a fast path may skip a check
//! that the slow path makes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use super::core::Core;
use super::file::{Scenario, address, duration};
use super::notation::Told;
use super::player::{Manner, Probes, RESOLVER_PORT, played_on};
use super::sockets::Sockets;
use super::{all, network};

/// Threads that play, each in a network of its own. They wait most of the time.
const THREADS: usize = 8;
/// A scenario in which more time passes is not waited for.
const LONGEST: Duration = Duration::from_secs(3);
/// How late steps may be on a real clock.
const LATE: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(20)];

#[test]
fn every_conversation_goes_as_written_over_real_sockets() {
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let paths: Vec<_> = all().into_iter().filter(|path| path.to_string_lossy().contains(&wanted)).collect();
    let (next, left_out, failures, played) = (
        AtomicUsize::new(0),
        Mutex::new(BTreeMap::<String, usize>::new()),
        Mutex::new(Vec::new()),
        AtomicUsize::new(0),
    );
    let work = || {
        network::enter().unwrap();
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scenario = Scenario::read(&fs::read_to_string(path).unwrap()).unwrap();
            match manner_for(&scenario) {
                Err(reason) => *left_out.lock().unwrap().entry(reason).or_default() += 1,
                Ok(manner) => {
                    let began = std::time::Instant::now();
                    if let Err(told) = replay(&scenario, manner) {
                        failures.lock().unwrap().push(format!("{}, {told}", path.display()));
                    }
                    println!("{:?} {}", began.elapsed(), path.display());
                    played.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(work)));
    });
    println!("played {played:?}, left out {left_out:#?}");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} went otherwise:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

fn replay(scenario: &Scenario, manner: Manner) -> Told<()> {
    let mut ports = vec![RESOLVER_PORT];
    for step in &scenario.steps {
        if let Some(resolver) = &step.get_ref().resolver {
            ports.push(address(resolver, RESOLVER_PORT)?.port());
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let mut times = 0;
    loop {
        let mut stage = Sockets::new(&scenario.config, &ports)?;
        let Err(told) = played_on(&mut stage, scenario, manner) else { return Ok(()) };
        times += 1;
        if stage.latest() <= LATE[LATE.len() - 1] || times == 10 {
            return Err(told);
        }
        println!("again {:?}: {told}", stage.latest());
    }
}

/// In which manner a scenario can be played over real sockets; or why not.
fn manner_for(scenario: &Scenario) -> Result<Manner, String> {
    let mut time = Duration::ZERO;
    for step in scenario.steps.iter().map(|step| step.get_ref()) {
        if step.lookup.is_some() || step.probe.is_some() || step.log.is_some() || step.learn_self.is_some() {
            return Err("speaks of what happens within phzd".into());
        }
        if let Some(wait) = &step.wait {
            time += duration(wait)?;
        }
        if step.times.is_some_and(|times| times > 500) {
            return Err("thousands".into());
        }
        if let Some(from) = &step.from {
            let Ok(client) = address(from, 1) else { return Err("forged".into()) };
            let mapped = matches!(client, SocketAddr::V6(client) if client.ip().to_ipv4_mapped().is_some());
            if client.port() == 0 || mapped || client.ip() == IpAddr::from([0, 0, 0, 0]) {
                return Err("sent from where no socket can be".into());
            }
        }
    }
    if time > LONGEST {
        return Err("takes long".into());
    }
    if scenario.steps[0].get_ref().look_around.is_some() {
        return Ok(Manner::default());
    }
    for probes in [Probes::Unanswered, Probes::Answered] {
        let goes = |late: &Duration| {
            let core = Core::new(&scenario.config);
            core.and_then(|mut core| played_on(&mut core, scenario, Manner { probes, late: *late })).is_ok()
        };
        if LATE.iter().all(goes) {
            return Ok(Manner { probes, late: Duration::ZERO });
        }
    }
    Err("its times are too exact".into())
}
