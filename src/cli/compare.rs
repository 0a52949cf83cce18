//! `phzd compare`: the same questions to phzd and to another resolver, field by field.
//!
//! For whoever has a hosted zone and wants to know what changes with phzd, and what does not.

mod differences;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hickory_proto::rr::RecordType;
use serde::Serialize;

use crate::ask::{Way, ask};
use differences::{Difference, between};
use phzd::config::Config;
use phzd::wire::{Name, Transport};

/// The port of DNS.
const PORT: u16 = 53;
/// What is asked about each name unless the arguments say otherwise.
const TYPES: [RecordType; 8] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::HTTPS,
    RecordType::TXT,
    RecordType::SOA,
    RecordType::NS,
    RecordType::MX,
    RecordType::ANY,
];
/// What stands before a name to make one below it, which no zone has.
const BELOW: &str = "below";

/// The arguments.
#[derive(Debug, Args)]
pub struct Compare {
    /// The names to ask for
    #[arg(required = true)]
    names: Vec<Name>,
    /// The other resolver, as the VPC's with a hosted zone behind it
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    with: SocketAddr,
    /// phzd [default: the first server.listen of the configuration]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = server)]
    server: Option<SocketAddr>,
    /// The configuration that says where phzd is
    #[arg(long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
    /// Only these types, and nothing below the names; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<RecordType>,
    /// The address that asks [default: the kernel's choice]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of one question.
#[derive(Debug, Serialize)]
struct Compared {
    name: String,
    r#type: String,
    transport: &'static str,
    /// What phzd promises about it, if it is a private name.
    promise: &'static str,
    differences: Vec<Difference>,
}

/// Asks, and prints what differs.
pub fn compare(arguments: &Compare) -> ExitCode {
    match all(arguments) {
        Ok(compared) => {
            let text = match arguments.json {
                true => serde_json::to_string_pretty(&compared).unwrap_or_default(),
                false => words(&compared, arguments.with),
            };
            // Who closed the output does not want it.
            let _ = writeln!(io::stdout(), "{text}");
            let alike = compared.iter().flat_map(|compared| &compared.differences).all(|difference| difference.meant);
            if alike { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            super::say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Every question to both.
fn all(arguments: &Compare) -> Result<Vec<Compared>, String> {
    let phzd = match arguments.server {
        Some(server) => server,
        None => configured(arguments)?,
    };
    let mut compared = Vec::new();
    for name in &arguments.names {
        for Question { name, kind, transport, below } in questions(name, &arguments.types) {
            let reply = |server: SocketAddr| {
                let way = Way { from: arguments.from, transport, edns: true, ..Way::plain(server) };
                // A datagram may be lost.
                ask(&way, &name, kind).or_else(|_| ask(&way, &name, kind)).map_err(|error| {
                    format!("phzd: no reply from {server} to {name} {kind} over {}: {error}", word(transport))
                })
            };
            let differences = between(kind, &reply(phzd)?, &reply(arguments.with)?);
            let promise = promise(kind, below);
            compared.push(Compared {
                name,
                r#type: kind.to_string(),
                transport: word(transport),
                promise,
                differences,
            });
        }
    }
    Ok(compared)
}

/// One question.
struct Question {
    name: String,
    kind: RecordType,
    transport: Transport,
    /// It is for a name below that of the arguments.
    below: bool,
}

/// What is asked about a name: everything over UDP, addresses over TCP as well.
fn questions(name: &Name, types: &[RecordType]) -> Vec<Question> {
    let kinds = if types.is_empty() { &TYPES[..] } else { types };
    let question = |kind, transport| Question { name: name.to_string(), kind, transport, below: false };
    let mut questions: Vec<_> = kinds.iter().map(|kind| question(*kind, Transport::Udp)).collect();
    questions.extend(kinds.first().map(|kind| question(*kind, Transport::Tcp)));
    if types.is_empty() {
        let below = question(RecordType::A, Transport::Udp);
        questions.push(Question { name: format!("{BELOW}.{name}"), below: true, ..below });
    }
    questions
}

/// Where phzd listens, by its configuration.
fn configured(arguments: &Compare) -> Result<SocketAddr, String> {
    let (config, _) = Config::load(&arguments.config).map_err(|problems| problems.to_string())?;
    let mut first = *config.server.listen.first().ok_or("phzd: the configuration has no server.listen")?;
    if first.ip().is_unspecified() {
        first.set_ip(if first.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Ok(first)
}

/// An address, with or without a port.
fn server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().ok();
    let alone = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    with_port.or_else(alone).ok_or_else(|| "an address, as 172.31.0.2 or 127.0.0.1:5300".into())
}

/// What phzd promises about a private name.
fn promise(kind: RecordType, below: bool) -> &'static str {
    match kind {
        _ if below => "NXDOMAIN with the zone's SOA, as below a hosted zone's name without records",
        RecordType::A => {
            "every address of the endpoint, TTL 60, flags qr rd ra and never aa, nothing in the authority section"
        }
        RecordType::AAAA => "the endpoint's IPv6 addresses, or NODATA with the zone's SOA; never the public address",
        RecordType::SOA | RecordType::NS => "what Route 53 gives a hosted zone, or the zone's own",
        RecordType::ANY => "the addresses",
        _ => "NODATA with the zone's SOA; nothing of the public name",
    }
}

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    }
}

/// A line for each question, and below it what differs.
fn words(compared: &[Compared], with: SocketAddr) -> String {
    let mut text = String::new();
    for Compared { name, r#type, transport, promise, differences } in compared {
        let how = match differences.len() {
            0 => "alike".to_owned(),
            1 => "1 difference".to_owned(),
            many => format!("{many} differences"),
        };
        text += &format!("{name} {type} over {transport}: {how}\n");
        for Difference { field, phzd, other, meant, why } in differences {
            let judged = if *meant { "meant" } else { "NOT MEANT" };
            text += &format!("  {field}: phzd {phzd}; {with} {other}\n    {judged}: {why}\n");
        }
        if differences.iter().any(|difference| !difference.meant) {
            text += &format!("    phzd promises of a private name: {promise}\n");
        }
    }
    let all = compared.iter().flat_map(|compared| &compared.differences);
    let (count, wrong) = (all.clone().count(), all.filter(|difference| !difference.meant).count());
    text + &format!("{} questions, {count} differences, {wrong} of them not meant", compared.len())
}
