//! The outside of the endpoints' watch: lookups and health checks that are under way, and what was logged.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use phzd::config::Config;
use phzd::endpoint::Endpoints;
use phzd::endpoint::watch::{Action, Family, Found, Lookup, Watch};
use phzd::metrics::Counts;
use phzd::wire::Name;

use super::file::address;
use super::notation::Told;

/// The TTL of what a lookup finds, in seconds, where none is written.
const TTL: u32 = 60;

pub struct Keeping {
    watch: Watch,
    lookups: Vec<UnderWay<Lookup>>,
    /// Health checks: by phzd's number, and where to.
    probes: Vec<UnderWay<(u64, SocketAddr)>>,
    /// Addresses whose checks have ended, by this configuration.
    checked: BTreeSet<SocketAddr>,
    /// What was logged, until the scenario mentions it.
    said: Vec<String>,
}

/// What phzd has begun, and whether the scenario has mentioned it.
struct UnderWay<T> {
    what: T,
    mentioned: bool,
}

impl Keeping {
    /// Nothing is kept from an earlier run.
    pub fn new(config: &Config, endpoints: &Arc<Endpoints>, now: Instant) -> Self {
        let watch = Watch::new([7; 32], Vec::new(), (now, 0), Arc::new(Counts::default()));
        let (lookups, probes, said) = (Vec::new(), Vec::new(), Vec::new());
        let mut keeping = Self { watch, lookups, probes, checked: BTreeSet::new(), said };
        keeping.configure(config, endpoints, now);
        keeping
    }

    pub fn configure(&mut self, config: &Config, endpoints: &Arc<Endpoints>, now: Instant) {
        self.watch.configure(config, endpoints, now);
        self.probes.clear();
        self.checked.clear();
        self.tick(now);
    }

    pub fn next_tick(&self) -> Option<Instant> {
        self.watch.next_tick()
    }

    pub fn tick(&mut self, now: Instant) {
        self.watch.tick(now);
        for action in std::mem::take(self.watch.actions()) {
            match action {
                Action::LookUp(what) => self.lookups.push(UnderWay { what, mentioned: false }),
                Action::Probe { probe, target, .. } => {
                    self.probes.push(UnderWay { what: (probe, target), mentioned: false });
                }
                Action::Warn(line) | Action::Inform(line) => self.said.push(line),
                Action::Store(_) => {}
            }
        }
    }

    /// Whether every address that has been checked is being checked again.
    pub fn all_are_checked(&self) -> bool {
        self.checked.iter().all(|target| self.probes.iter().any(|it| it.what.1 == *target))
    }

    /// `lookup`, and `finds` if it ends.
    pub fn lookup(&mut self, lookup: &str, finds: Option<&str>, now: Instant) -> Told<()> {
        let (name, family) = lookup.split_once(' ').map_or((lookup, None), |(name, family)| (name, Some(family)));
        let name: Name = name.parse().map_err(|error| format!("{name}: {error}"))?;
        let wanted = |other: Family| family.is_none_or(|family| family == other.to_string());
        let families: Vec<_> = Family::ALL.into_iter().filter(|family| wanted(*family)).collect();
        for family in &families {
            let same = |it: &UnderWay<Lookup>| it.what.name == name && it.what.family == *family;
            let Some(place) = self.lookups.iter().position(same) else {
                return Err(format!("{name} {family} is not being looked up"));
            };
            self.lookups[place].mentioned = true;
            if let Some(finds) = finds {
                let found = found(finds, *family)?;
                let lookup = self.lookups.remove(place).what;
                self.watch.looked_up(&lookup, found, now);
            }
        }
        self.tick(now);
        if families.is_empty() { Err(format!("{lookup}: NAME, NAME A or NAME AAAA")) } else { Ok(()) }
    }

    /// `probe`, and `connects` if it ends.
    pub fn probe(&mut self, probe: &str, connects: Option<bool>, now: Instant) -> Told<()> {
        let target = address(probe, 0)?;
        let Some(place) = self.probes.iter().position(|it| it.what.1 == target) else {
            return Err(format!("{target} is not being checked"));
        };
        self.probes[place].mentioned = true;
        if let Some(connects) = connects {
            let (probe, _) = self.probes.remove(place).what;
            self.checked.insert(target);
            self.watch.probed(probe, if connects { Ok(()) } else { Err("Connection refused".into()) }, now);
            self.tick(now);
        }
        Ok(())
    }

    /// The next line of the log has these words.
    pub fn log(&mut self, words: &str) -> Told<()> {
        match self.said.first() {
            Some(line) if line.contains(words) => drop(self.said.remove(0)),
            Some(line) => return Err(format!("expected in the log:\n    {words}\ngot:\n    {line}")),
            None => return Err(format!("nothing was logged; expected: {words}")),
        }
        Ok(())
    }

    /// Whether the scenario has mentioned all that happened.
    pub fn nothing_new(&self) -> Told<()> {
        if let Some(line) = self.said.first() {
            return Err(format!("before this, something was logged, and no step mentions it: {line}"));
        }
        if let Some(UnderWay { what, .. }) = self.lookups.iter().find(|it| !it.mentioned) {
            return Err(format!("before this, a lookup began that no step mentions: {} {}", what.name, what.family));
        }
        if let Some(UnderWay { what: (_, target), .. }) = self.probes.iter().find(|it| !it.mentioned) {
            return Err(format!("before this, a check of {target} began that no step mentions"));
        }
        Ok(())
    }
}

/// `ADDRESS … [ttl=SECONDS]`, of which each family takes its own, `nodata`, `nxdomain` or `servfail`.
fn found(finds: &str, family: Family) -> Told<Found> {
    match finds {
        "nodata" => return Ok(Found::NoData),
        "nxdomain" => return Ok(Found::NxDomain),
        "servfail" => return Ok(Found::Failed("SERVFAIL".into())),
        _ => {}
    }
    let (mut addresses, mut ttl) = (Vec::new(), TTL);
    for word in finds.split_whitespace() {
        let wrong = |_| format!("{word}: an address, ttl=60, or instead of all nodata, nxdomain or servfail");
        match word.strip_prefix("ttl=") {
            Some(seconds) => ttl = seconds.parse().map_err(|_| format!("{word}: no number"))?,
            None => addresses.push(word.parse::<IpAddr>().map_err(wrong)?),
        }
    }
    addresses.retain(|ip| ip.is_ipv4() == (family == Family::A));
    Ok(if addresses.is_empty() { Found::NoData } else { Found::Addresses { addresses, ttl } })
}
