//! An explanation in words, the way a query goes.

use std::fmt::Write;

use phzd::endpoint::watch::{AddressLook, State};
use phzd::explanation::{Candidate, Endpoint, Explanation, Forward, Reply, Said, Step, Target, Who};
use phzd::observation::CachedAnswer;

/// The whole; `running` if the daemon gave it.
pub fn of(explanation: &Explanation, running: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} {} for {}", explanation.name, explanation.r#type, explanation.who.client);
    paragraph(&mut out, "client", who(&explanation.who));
    for step in &explanation.steps {
        let title = if step.name == explanation.name { "decision".to_owned() } else { format!("then {}", step.name) };
        paragraph(&mut out, &title, self::step(step));
    }
    for endpoint in &explanation.endpoints {
        paragraph(
            &mut out,
            &format!("endpoint {}", endpoint.endpoint),
            self::endpoint(endpoint, &explanation.who, running),
        );
    }
    match &explanation.outcome {
        Said::Reply(reply) if reply.from_cache => paragraph(&mut out, "reply, from the cache", self::reply(reply)),
        Said::Reply(reply) => paragraph(&mut out, "reply", self::reply(reply)),
        Said::Nothing => paragraph(&mut out, "reply", vec!["none: the query is dropped".into()]),
        Said::Forward(forward) => paragraph(&mut out, "forwarded", self::forward(forward)),
    }
    for endpoint in &explanation.unknown {
        let _ = writeln!(
            out,
            "  as long as the addresses of the endpoint {endpoint} are not known: the daemon may know them (--running)"
        );
    }
    if let Some(cached) = &explanation.cached {
        paragraph(&mut out, "cache", self::cached(cached));
    }
    out
}

fn paragraph(out: &mut String, title: &str, lines: Vec<String>) {
    let _ = writeln!(out, "\n{title}");
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

/// Where something is written, in brackets.
fn stated(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" ({place})") }
}

fn who(who: &Who) -> Vec<String> {
    let mut lines = Vec::new();
    match (&who.because, who.may_ask) {
        (_, false) => {
            lines.push(
                "may not ask: it is in no block of vpc.cidrs, a subnet, server.clients or vpc.behind-self".into(),
            );
        }
        (Some(because), true) => lines.push(format!("may ask: {because}")),
        (None, true) => lines.push("may ask".into()),
    }
    if who.is_self {
        lines.push(match who.own_address {
            Some(own) => format!("counts as this host, {own}"),
            None => "counts as this host, whose own address in the VPC is not known: state vpc.self".into(),
        });
    }
    match (&who.subnet, &who.block) {
        (Some(subnet), Some(block)) => {
            let az = who.az_id.as_ref().map_or(String::new(), |az| format!(", in {az}"));
            lines.push(format!(
                "belongs to the subnet {subnet} by {block}{}{az}",
                stated(who.stated.as_deref().unwrap_or(""))
            ));
        }
        _ if who.may_ask => lines.push("belongs to no subnet".into()),
        _ => {}
    }
    if who.dns64 {
        lines.push("gets AAAA made of A (dns64)".into());
    }
    lines
}

fn step(step: &Step) -> Vec<String> {
    let mut lines: Vec<String> = step.candidates.iter().map(candidate).collect();
    lines.extend(step.has.as_ref().map(|has| format!("it has {has}")));
    match &step.route {
        Some(domain) if domain.is_empty() => lines.push("no zone and no rule decides: the VPC's resolvers know".into()),
        Some(domain) => lines.push(format!("the resolvers of the rule {domain} know")),
        None => {}
    }
    lines
}

fn candidate(candidate: &Candidate) -> String {
    let place = match &candidate.name_stated {
        Some(name) => format!("{}, named at {name}", candidate.stated),
        None => candidate.stated.clone(),
    };
    let verdict = if candidate.decides { "decides" } else { "does not decide" };
    format!("the {} {}{} {verdict}: {}", candidate.kind, candidate.name, stated(&place), candidate.why)
}

fn endpoint(endpoint: &Endpoint, who: &Who, running: bool) -> Vec<String> {
    let mut lines = Vec::new();
    match &endpoint.looked_up {
        Some(name) if running => lines.push(format!("looked up: {name}{}", stated(&endpoint.stated))),
        Some(name) => {
            lines.push(format!(
                "looked up: {name}{}; what that gives only the daemon knows (--running)",
                stated(&endpoint.stated)
            ));
        }
        None => lines.push(format!("its addresses are stated{}", stated(&endpoint.stated))),
    }
    lines.extend(endpoint.addresses.iter().map(address));
    if endpoint.same_az {
        lines.push(match &who.az_id {
            Some(az) => format!("affinity = \"same-az\": this client gets those in {az} if there are any"),
            None => "affinity = \"same-az\": the client's Availability Zone is not known, so it gets all".into(),
        });
    }
    lines
}

fn address(address: &AddressLook) -> String {
    let az = address.az_id.as_ref().map_or(String::new(), |az| format!(" in {az}"));
    let health = match address.health {
        None => "",
        Some(State::Healthy) => ", healthy",
        Some(State::Unhealthy) => ", unhealthy",
        Some(State::Unproven) => ", has never let the daemon's host connect",
    };
    let served = if address.served { "" } else { ", not served" };
    format!("{}{az}{health}{served}", address.ip)
}

fn reply(reply: &Reply) -> Vec<String> {
    let nodata = if reply.nodata { ", no data" } else { "" };
    let mut lines = vec![format!("{}{nodata}", reply.rcode)];
    lines.extend(reply.errors.iter().map(|error| format!("because: {error}")));
    lines.extend(reply.answer.iter().cloned());
    lines.extend(reply.authority.iter().map(|record| format!("authority: {record}")));
    lines
}

fn forward(forward: &Forward) -> Vec<String> {
    let list = |targets: &[Target]| targets.iter().map(target).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("{} is asked of {}", forward.name, list(&forward.resolvers))];
    if !forward.fallback.is_empty() {
        lines.push(format!("if none of these lives, of {}", list(&forward.fallback)));
    }
    lines
}

fn cached(cached: &[CachedAnswer]) -> Vec<String> {
    if cached.is_empty() {
        return vec!["nothing is cached".into()];
    }
    let line = |answer: &CachedAnswer| {
        let flags = [(answer.dnssec_ok, " with DO"), (answer.checking_disabled, " with CD")];
        let flags: String = flags.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
        let time = match answer.left {
            0 => "its time is over".into(),
            left => format!("{left} s left"),
        };
        let trouble = if answer.troubled > 0 { ", and it could not be asked for again" } else { "" };
        format!(
            "{}{flags}: {}, {} s old, {time}{trouble}, from {}",
            answer.r#type,
            answer.rcode,
            answer.age,
            answer.resolvers.join(" or ")
        )
    };
    cached.iter().map(line).collect()
}

fn target(target: &Target) -> String {
    let usual = target.usual_us.map_or(String::new(), |usual| format!(", usually {:.1} ms", usual as f64 / 1000.0));
    let standing = target.standing.as_ref().map_or(String::new(), |standing| format!(" ({standing}{usual})"));
    format!("{}{standing}", target.resolver)
}
