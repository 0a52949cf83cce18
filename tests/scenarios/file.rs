//! A scenario as written, and its words as values.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use phzd::config::{Config, File, Machine};
use serde::Deserialize;
use toml::Spanned;

use super::notation::Told;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Why hickory's server cannot take part in it: a query that it does not hand on, a reply that it cannot write.
    pub hickory: Option<String>,
    /// phzd's configuration at the start.
    pub config: String,
    /// What happens, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Spanned<Step>>,
    /// All of it, as text.
    #[serde(skip)]
    text: String,
}

impl Scenario {
    /// The scenario that `text` is.
    pub fn read(text: &str) -> Told<Self> {
        let scenario: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self { text: text.into(), ..scenario })
    }

    /// The line in which `step` begins.
    pub fn line(&self, step: &Spanned<Step>) -> usize {
        1 + self.text[..step.span().start].matches('\n').count()
    }
}

/// One thing that happens; which keys go together, the README says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Step {
    /// A client sends a query: its address.
    pub from: Option<String>,
    /// What it asks, ...
    pub ask: Option<String>,
    /// ... or the bytes it sends, ...
    pub packet: Option<String>,
    /// ... and how often; once if absent.
    pub times: Option<usize>,
    /// A client that waited gets its reply: its address.
    pub to: Option<String>,
    /// What the client gets.
    pub reply: Option<String>,
    /// A resolver's turn: its address.
    pub resolver: Option<String>,
    /// What it has been asked.
    pub asked: Option<String>,
    /// What it says, ...
    pub says: Option<String>,
    /// ... or the bytes it sends.
    pub sends: Option<String>,
    /// Which of the questions it was asked this is for, from 1; the last if absent.
    pub to_question: Option<usize>,
    /// Time passes: so much, or until the `next checks`.
    pub wait: Option<String>,
    /// phzd takes over another configuration.
    pub reload: Option<String>,
    /// phzd looks up an endpoint's DNS name, ...
    pub lookup: Option<String>,
    /// ... and the lookup ends.
    pub finds: Option<String>,
    /// phzd checks an endpoint's address, ...
    pub probe: Option<String>,
    /// ... and the check ends.
    pub connects: Option<bool>,
    /// phzd logs something about an endpoint.
    pub log: Option<String>,
    /// phzd learns its own address.
    pub learn_self: Option<String>,
    /// phzd sends each resolver a random name.
    pub look_around: Option<bool>,
}

/// phzd's configuration as meant, for a machine with the addresses of the case.
pub fn configuration(text: &str) -> Told<Config> {
    let addresses = ["127.0.0.1", "::1", "172.31.1.5"].iter().filter_map(|ip| ip.parse().ok()).collect();
    let checked = File::parse("config", text).check(&Machine { cores: 1, addresses });
    checked.map(|(config, _)| config).map_err(|problems| problems.to_string())
}

/// `ADDRESS[:PORT]`.
pub fn address(text: &str, port: u16) -> Told<SocketAddr> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    alone.or_else(|_| text.parse()).map_err(|_| format!("{text}: an address is ADDRESS or ADDRESS:PORT"))
}

/// `250ms`, `5s` or `2h`.
pub fn duration(text: &str) -> Told<Duration> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "h" => 3_600_000,
        _ => return Err(format!("{text}: a time is 250ms, 5s or 2h")),
    };
    digits.parse::<u64>().map(|count| Duration::from_millis(count * millis)).map_err(|_| format!("{text}: no number"))
}
