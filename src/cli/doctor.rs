//! `phzd doctor`: on the host itself, everything that has to hold beside phzd for the case to work, and what to do where
//! it does not.
//!
//! A check is a function from what it needs to [`Finding`]s; who has to wait for the network waits on a thread of its own
//! and for a few seconds at most. There are two rounds, because some checks make no sense until it is known whether phzd
//! and a resolver answer at all. What is said comes in one order, whoever was first.

mod allowance;
mod asking;
mod bucket;
mod certificate;
mod dns64;
mod door;
mod endpoint;
mod finding;
mod host;
mod name_servers;
mod proxy;
mod repositories;
mod resolvers;

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use phzd::config::{Config, File, Machine};

use self::bucket::View;
use self::finding::{Finding, Verdict};
use self::host::Host;

/// Examines this host for the configuration at `path`. Exit status 1 if something fails.
pub fn doctor(path: &Path, json: bool) -> ExitCode {
    let Some((config, region)) = read(path) else { return ExitCode::FAILURE };
    let findings = examine(&config, region.as_deref(), &Host::here());
    if json {
        finding::write_json(&findings);
    } else {
        finding::write(&findings);
    }
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failure);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The configuration, and its region, which it keeps in no other word than its names; mistakes and warnings are said as
/// `check` does.
fn read(path: &Path) -> Option<(Config, Option<String>)> {
    let file = File::load(path);
    match file.check(&Machine::here()) {
        Ok((config, warnings)) => {
            warnings.iter().for_each(|warning| super::say(warning));
            Some((config, file.vpc.region.map(|region| region.value)))
        }
        Err(problems) => {
            super::say(&problems);
            None
        }
    }
}

fn examine(config: &Config, region: Option<&str>, host: &Host) -> Vec<Finding> {
    // The first round: what is here, and who answers.
    let (name_servers, door, resolvers, known, allowance) = thread::scope(|scope| {
        let name_servers = scope.spawn(|| name_servers::check(config, host));
        let door = scope.spawn(|| door::check(config));
        let resolvers = scope.spawn(|| resolvers::check(config, region));
        let known = scope.spawn(|| endpoint::look_up(config));
        let allowance = allowance::check(config, host);
        (ended(name_servers), ended(door), ended(resolvers), ended(known), allowance)
    });
    // The second: what they answer.
    let view = View::new(config, &known, door.server);
    let (endpoints, buckets, hosted_zones, repositories, dns64) = thread::scope(|scope| {
        let endpoints = scope.spawn(|| endpoint::check(config, &known, &view));
        let buckets = scope.spawn(|| bucket::check(config, &view, door.server, resolvers.alive));
        let hosted_zones = scope.spawn(|| bucket::hosted_zones(config, &view, resolvers.alive));
        let repositories = scope.spawn(|| repositories::check(region, &view, door.server, resolvers.alive));
        let dns64 = dns64::check(config, &view, resolvers.alive);
        (ended(endpoints), ended(buckets), ended(hosted_zones), ended(repositories), dns64)
    });
    let proxy = proxy::check(&view, host);
    let groups = [
        name_servers,
        door.findings,
        resolvers.findings,
        endpoints,
        buckets,
        hosted_zones,
        repositories,
        vec![proxy, allowance, dns64],
    ];
    groups.into_iter().flatten().collect()
}

/// `each` of `items`, all at once, in their order.
fn each<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let begun: Vec<_> = items.iter().map(|item| scope.spawn(|| each(item))).collect();
        begun.into_iter().map(ended).collect()
    })
}

/// What a check has come to.
fn ended<T>(check: thread::ScopedJoinHandle<'_, T>) -> T {
    // A panic has said its words already, and goes on here.
    check.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
