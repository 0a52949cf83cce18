//! What the daemon says, in words.

use std::fmt::Write;

use crate::operator::status::{seconds, span};
use phzd::endpoint::watch::{AddressLook, Look, Serves, State};
use phzd::metrics::{Fate, Times};
use phzd::observation::{CachedAnswer, CachedKind, Observation};
use phzd::upstream::ledger::Account;

/// Every endpoint with its addresses.
pub fn endpoints(looks: &[Look]) -> String {
    let mut out = String::new();
    if looks.is_empty() {
        return "no endpoint is configured".into();
    }
    for look in looks {
        let serves = match look.serves {
            Serves::Addresses => "its addresses are served",
            Serves::NotReady => "no address is known yet: SERVFAIL",
            Serves::Away => "its names are resolved as if they were not configured",
        };
        let _ = writeln!(out, "{}: {serves}", look.endpoint);
        if let Some(name) = &look.dns_name {
            let now = seconds(std::time::SystemTime::now());
            let found = look
                .found
                .map_or("not found yet".into(), |found| format!("found {} ago", span(now.saturating_sub(found))));
            let _ = writeln!(out, "  {name}, {found}");
        }
        for address in &look.addresses {
            let _ = writeln!(out, "  {}", self::address(address));
        }
    }
    out
}

fn address(address: &AddressLook) -> String {
    let health = match address.health {
        None => "not checked",
        Some(State::Healthy) => "healthy",
        Some(State::Unhealthy) => "unhealthy",
        Some(State::Unproven) => "has never let this host connect",
    };
    let az = address.az_id.as_ref().map_or(String::new(), |az| format!(" ({az})"));
    let reason = address.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    let served = if address.served { "served" } else { "not served" };
    format!("{}{az} {health}{reason}; {served}", address.ip)
}

/// What is cached of `name`.
pub fn cached(name: &str, answers: &[CachedAnswer]) -> String {
    if answers.is_empty() {
        return format!("nothing is cached of {name}");
    }
    let mut out = String::new();
    for answer in answers {
        let time = match answer.left {
            0 => "its time is over".into(),
            left => format!("{left} s left"),
        };
        let kind = match answer.kind {
            CachedKind::Positive => "",
            CachedKind::Negative => ", negative",
            CachedKind::Failure => ", a failure",
        };
        let dnssec = if answer.dnssec_ok { " with DO" } else { "" };
        let trouble = match answer.troubled {
            0 => String::new(),
            left => format!("; it could not be asked for again, the next try is in {left} s at the earliest"),
        };
        let _ = writeln!(
            out,
            "{} {}{dnssec}: {}{kind}, {} s old, {time}, from {}{trouble}",
            answer.name,
            answer.r#type,
            answer.rcode,
            answer.age,
            answer.resolvers.join(" or ")
        );
        for record in &answer.records {
            let _ = writeln!(out, "  {record}");
        }
    }
    out
}

/// What was counted.
pub fn stats(seen: &Observation) -> String {
    let mut out = String::new();
    let totals = &seen.totals;
    let _ = writeln!(out, "{:>12} queries", totals.queries);
    for fate in Fate::ALL {
        let count: u64 = seen.queries.iter().filter(|kind| kind.outcome == fate).map(|kind| kind.count).sum();
        let _ = writeln!(out, "{count:>12} {}", fate.word());
    }
    let _ = writeln!(out, "\nby subnet");
    let mut subnets: Vec<(&str, u64)> = Vec::new();
    for kind in &seen.queries {
        match subnets.iter_mut().find(|(name, _)| *name == kind.subnet) {
            Some((_, count)) => *count += kind.count,
            None => subnets.push((&kind.subnet, kind.count)),
        }
    }
    for (name, count) in subnets {
        let _ = writeln!(out, "{count:>12} {name}");
    }
    let _ = writeln!(out, "\nby zone");
    for zone in &seen.zones {
        let denied = if zone.denied > 0 { format!(", and {} of others", zone.denied) } else { String::new() };
        let _ = writeln!(out, "{:>12} {}{denied}", zone.private, zone.zone);
    }
    let _ = writeln!(out, "\nreplies");
    for kind in &seen.replies {
        let _ = writeln!(out, "{:>12} {}", kind.count, kind.rcode);
    }
    let _ = writeln!(out, "\n{}", times("replies without a resolver", &seen.at_once));
    let _ = writeln!(out, "{}", times("replies after one was asked", &seen.forwards));
    for account in &seen.resolvers {
        let _ = writeln!(out, "{}", resolver(account));
    }
    let counts = totals.named().filter(|(name, count)| *count > 0 && !OF_QUERIES.contains(name));
    let others: Vec<String> = counts.map(|(name, count)| format!("{count:>12} {}", name.replace('_', " "))).collect();
    if !others.is_empty() {
        let _ = writeln!(out, "\nbeside\n{}", others.join("\n"));
    }
    out
}

/// Totals that the outcomes say already.
const OF_QUERIES: [&str; 7] = ["queries", "private", "hits", "forwarded", "refused", "malformed", "dropped"];

fn resolver(account: &Account) -> String {
    let Account { resolver, queries, answers, timeouts, unreachable, unusable, .. } = account;
    let failures = timeouts + unreachable + unusable;
    let what = format!("{resolver}, {}: {queries} queries, {answers} answers, {failures} failures", account.words());
    times(&what, &account.latency)
}

/// How long something took, half of it and nearly all.
fn times(what: &str, times: &Times) -> String {
    let words = |seconds: f64| match seconds {
        seconds if seconds.is_infinite() => "more than 10 s".into(),
        seconds if seconds >= 1.0 => format!("{seconds} s"),
        seconds if seconds >= 1e-3 => format!("{} ms", (seconds * 1e6).round() / 1e3),
        seconds => format!("{} µs", (seconds * 1e9).round() / 1e3),
    };
    match (times.quantile(0.5), times.quantile(0.99)) {
        (Some(half), Some(most)) => format!("{what}: half within {}, 99 of 100 within {}", words(half), words(most)),
        _ => format!("{what}: none yet"),
    }
}
