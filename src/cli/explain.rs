//! `phzd explain`: why a client is answered as it is, by a configuration or by the running daemon.

mod words;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hickory_proto::rr::RecordType;
use hyper::Method;

use super::ctl::socket_of;
use crate::operator::client::ask;
use phzd::explanation::Explanation;
use phzd::resolver::explain_for;
use phzd::wire::Name;

/// The arguments.
#[derive(Debug, Args)]
pub struct Explain {
    /// The name asked for
    name: Name,
    /// The record type, as A, AAAA, HTTPS or TYPE65
    #[arg(default_value = "A", value_parser = record_type, value_name = "TYPE")]
    kind: u16,
    /// The address that asks; a loopback address is this host
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    client: IpAddr,
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
    /// Ask the running daemon, which knows its cache, its resolvers and the health of endpoints
    #[arg(long)]
    running: bool,
    /// The daemon's control socket, with --running [default: server.control of the configuration]
    #[arg(long, value_name = "PATH", requires = "running")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A record type by its name, or as `TYPE` and a number (RFC 3597 section 5).
fn record_type(text: &str) -> Result<u16, String> {
    let upper = text.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").and_then(|number| number.parse().ok());
    number
        .or_else(|| upper.parse::<RecordType>().ok().map(u16::from))
        .ok_or_else(|| format!("{text:?} is no record type"))
}

/// Explains what the arguments ask for.
pub fn explain(arguments: &Explain) -> ExitCode {
    let Explain { name, kind, client, config, running, socket, json } = arguments;
    let explanation: Explanation = if *running {
        let socket = socket.clone().unwrap_or_else(|| socket_of(config));
        let (name, kind, client) = (name.to_string(), kind.to_string(), client.to_string());
        match ask(&socket, Method::GET, "/explain", &[("name", &name), ("type", &kind), ("client", &client)]) {
            Ok(explanation) => explanation,
            Err(error) => {
                super::say(&format_args!("phzd: {error}"));
                return ExitCode::FAILURE;
            }
        }
    } else {
        // Warnings are `phzd check`'s.
        match phzd::config::Config::load(config) {
            Ok((config, _)) => explain_for(&config, name, *kind, *client),
            Err(problems) => {
                super::say(&problems);
                return ExitCode::FAILURE;
            }
        }
    };
    let text = match json {
        true => serde_json::to_string_pretty(&explanation).unwrap_or_default(),
        false => words::of(&explanation, *running),
    };
    // Who closed the output does not want it.
    let _ = writeln!(io::stdout(), "{}", text.trim_end());
    ExitCode::SUCCESS
}
