//! All endpoints together: what is looked up and checked when, and what their tables say of it.
//!
//! [`Watch`] is told what happened and when, says what to do ([`Action`]), and publishes what is known at once. It has
//! no socket, no file and no clock, so an outage of a day is played in a test without waiting for it. Its driver is
//! [`super::keeper`].

mod lines;
mod look;
mod quota;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::health::{Change, Health, Outage};
use super::learned::{Good, Learned, Shortfall};
use super::{Endpoints, Standing};
use crate::config::{self, Addresses, Config, DnsName, EndpointAddress, WhenDown};
use crate::metrics::Counts;
use crate::wire::Name;
use lines::list;
use quota::Quota;

pub use super::health::State;
pub use super::learned::{Family, Found};
pub use look::{AddressLook, Look, Serves};

/// Checks at one time, of all endpoints together.
pub const MOST_PROBES: usize = 32;
/// How often what is known is stored though it has not changed, so that its time is true.
const STORE_AGAIN: Duration = Duration::from_secs(3600);

/// What must be done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look a name up, and tell [`Watch::looked_up`].
    LookUp(Lookup),
    /// Make a TCP connection and close it, and tell [`Watch::probed`].
    Probe {
        /// What it is called.
        probe: u64,
        /// Where to.
        target: SocketAddr,
        /// When to give up.
        patience: Duration,
    },
    /// Keep these over a restart, and no others.
    Store(Vec<Kept>),
    /// Log something that a person should look at.
    Warn(String),
    /// Log something that is good to know.
    Inform(String),
}

/// One name's addresses of one family are to be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// Absolute.
    pub name: Name,
    /// Which addresses.
    pub family: Family,
    /// Whom to ask, in this order; at least one.
    pub resolvers: Arc<[SocketAddr]>,
}

/// A last good set, as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose.
    pub name: Name,
    /// Of which family.
    pub family: Family,
    /// Sorted; none if the name is known to have none of this family.
    pub addresses: Vec<IpAddr>,
    /// When it was found last, in seconds of Unix time.
    pub time: u64,
}

/// All endpoints.
#[derive(Debug)]
pub struct Watch {
    /// Where is published what is known.
    endpoints: Arc<Endpoints>,
    /// By their index in the configuration.
    watched: Vec<Watched>,
    /// Every name that is looked up.
    names: BTreeMap<Name, Named>,
    /// The VPC's blocks.
    blocks: Vec<IpNet>,
    /// What was stored before the start, until the first configuration has taken its part.
    restored: Vec<Kept>,
    /// Checks under way: whose, by its index, and of which address.
    probes: HashMap<u64, (usize, IpAddr)>,
    serial: u64,
    stored: Option<Instant>,
    /// The same moment on both clocks; the second in seconds of Unix time.
    began: (Instant, u64),
    random: StdRng,
    counts: Arc<Counts>,
    actions: Vec<Action>,
}

/// An endpoint.
#[derive(Debug)]
struct Watched {
    config: config::Endpoint,
    health: Option<Health>,
    /// How much was down when that was last looked at, and said.
    outage: Outage,
    published: Option<Published>,
    lines: Quota,
}

/// A name that is looked up.
#[derive(Debug)]
struct Named {
    learned: Learned,
    resolvers: Arc<[SocketAddr]>,
    /// It only says which Availability Zone addresses are in, and may rightly not exist.
    zonal: bool,
    /// It was said that it cannot be looked up.
    failing: bool,
    /// The addresses that were said last.
    said: Vec<IpAddr>,
    lines: Quota,
}

/// [`Standing`], to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Published {
    Serving { addresses: Vec<EndpointAddress>, v4_unknown: bool, v6_unknown: bool },
    NotReady,
    Away,
}

impl Watch {
    /// No endpoint yet. `seed` spreads the checks, `restored` is what was kept before, `began` is now on both clocks
    /// (the second in seconds of Unix time).
    pub fn new(seed: [u8; 32], restored: Vec<Kept>, began: (Instant, u64), counts: Arc<Counts>) -> Self {
        Self {
            endpoints: Arc::default(),
            watched: Vec::new(),
            names: BTreeMap::new(),
            blocks: Vec::new(),
            restored,
            probes: HashMap::new(),
            serial: 0,
            stored: None,
            began,
            random: StdRng::from_seed(seed),
            counts,
            actions: Vec::new(),
        }
    }

    /// Watches the endpoints of `config` from now on, and publishes to `endpoints`, which are of the same
    /// configuration, what is known of them already.
    pub fn configure(&mut self, config: &Config, endpoints: &Arc<Endpoints>, now: Instant) {
        self.blocks.clone_from(&config.vpc.cidrs);
        self.replace(config.endpoints.clone(), Arc::clone(endpoints), now);
    }

    /// The same endpoints with nothing under way: what is known of names stays, how addresses are is found out anew.
    pub fn begin_anew(&mut self, seed: [u8; 32], now: Instant) {
        let time = self.time(now);
        let mut anew = Self::new(seed, self.kept(), (now, time), Arc::clone(&self.counts));
        std::mem::swap(&mut anew.blocks, &mut self.blocks);
        let config = self.watched.iter().map(|watched| watched.config.clone()).collect();
        anew.replace(config, Arc::clone(&self.endpoints), now);
        *self = anew;
    }

    fn replace(&mut self, config: Vec<config::Endpoint>, endpoints: Arc<Endpoints>, now: Instant) {
        self.endpoints = endpoints;
        let mut names = std::mem::take(&mut self.names);
        let old = std::mem::take(&mut self.watched);
        self.watched = config.into_iter().map(|config| Watched::new(config, &old, now)).collect();
        let mut asked: Vec<_> = self.watched.iter().flat_map(Watched::names).collect();
        // One that is also an endpoint's own name counts as that.
        asked.sort_by_key(|(.., zonal)| *zonal);
        for (name, dns_name, zonal) in asked {
            if !self.names.contains_key(name) {
                let named =
                    names.remove(name).unwrap_or_else(|| restore(name, &mut self.restored, now, &mut self.actions));
                self.names.insert(name.clone(), named.asking(&dns_name.resolvers, zonal, now));
            }
        }
        self.restored.clear();
        self.probes.clear();
        (0..self.watched.len()).for_each(|index| self.publish(index, now));
        if !names.is_empty() {
            self.store(now);
        }
    }

    /// A lookup ended.
    pub fn looked_up(&mut self, lookup: &Lookup, found: Found, now: Instant) {
        let time = self.time(now);
        let Some(named) = self.names.get_mut(&lookup.name).filter(|named| named.resolvers == lookup.resolvers) else {
            return;
        };
        let Some(turn) = named.learned.ended(lookup.family, found, now, time) else { return };
        if turn.changed {
            named.say_addresses(&lookup.name, &self.blocks, now, &mut self.actions);
        }
        match &turn.round {
            Some(Ok(())) => {
                self.counts.refreshes.add(1);
                named.say_recovered(&lookup.name, now, &mut self.actions);
            }
            Some(Err(shortfall)) => {
                self.counts.refresh_failures.add(1);
                named.say_failing(&lookup.name, shortfall, now, &mut self.actions);
            }
            None => {}
        }
        if turn.changed {
            let uses = |watched: &Watched| watched.names().any(|(name, ..)| *name == lookup.name);
            let users: Vec<_> =
                (0..).zip(&self.watched).filter(|(_, watched)| uses(watched)).map(|(at, _)| at).collect();
            users.into_iter().for_each(|index| self.publish(index, now));
        }
        let confirmed = turn.round == Some(Ok(()));
        let old = self.stored.is_none_or(|stored| now.saturating_duration_since(stored) >= STORE_AGAIN);
        if turn.changed || (confirmed && old) {
            self.store(now);
        }
    }

    /// A check ended; `Err` says why nobody was there.
    pub fn probed(&mut self, probe: u64, result: Result<(), String>, now: Instant) {
        let Some((index, ip)) = self.probes.remove(&probe) else { return };
        let Some(watched) = self.watched.get_mut(index) else { return };
        let Some(health) = &mut watched.health else { return };
        if result.is_err() {
            self.counts.probes_failed.add(1);
        }
        let changes = health.ended(ip, result, now);
        self.heed(index, &changes, now);
        self.publish(index, now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        for (name, named) in &mut self.names {
            if named.learned.due().is_some_and(|due| due <= now) {
                named.learned.begin();
                let resolvers = &named.resolvers;
                let lookup = |family| Lookup { name: name.clone(), family, resolvers: Arc::clone(resolvers) };
                self.actions.extend(Family::ALL.map(|family| Action::LookUp(lookup(family))));
            }
        }
        while let Some((due, ip, index)) = self.next_probe()
            && due <= now
            && let Some(Watched { health: Some(health), .. }) = self.watched.get_mut(index)
        {
            health.begin(ip, now, &mut self.random);
            self.serial += 1;
            self.probes.insert(self.serial, (index, ip));
            let target = SocketAddr::new(ip, health.check().port);
            self.actions.push(Action::Probe { probe: self.serial, target, patience: health.patience() });
        }
    }

    /// When [`Self::tick`] must be called next.
    pub fn next_tick(&self) -> Option<Instant> {
        let lookup = self.names.values().filter_map(|named| named.learned.due()).min();
        lookup.into_iter().chain(self.next_probe().map(|(due, ..)| due)).min()
    }

    /// What must be done outside, in order.
    pub fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }

    /// The next check, if there is room for one more: when, of whom, of which endpoint.
    fn next_probe(&self) -> Option<(Instant, IpAddr, usize)> {
        if self.probes.len() >= MOST_PROBES {
            return None;
        }
        let next = |(index, watched): (usize, &Watched)| {
            let (due, ip) = watched.health.as_ref()?.next()?;
            Some((due, ip, index))
        };
        self.watched.iter().enumerate().filter_map(next).min()
    }

    /// Counts and says what has changed of the health of endpoint `index`.
    fn heed(&mut self, index: usize, changes: &[Change], now: Instant) {
        let Some(watched) = self.watched.get_mut(index) else { return };
        let moved = changes.iter().filter(|change| !matches!(change, Change::Unproven(_))).count();
        self.counts.health_changes.add(moved as u64);
        changes.iter().for_each(|change| watched.say(*change, now, &mut self.actions));
        watched.say_outage(now, &mut self.actions);
    }

    /// Has endpoint `index` answered by what is known now.
    fn publish(&mut self, index: usize, now: Instant) {
        let Some(watched) = self.watched.get_mut(index) else { return };
        let known = watched.known(&self.names);
        if let (Some(health), Published::Serving { addresses, .. }) = (&mut watched.health, &known) {
            let ips: Vec<IpAddr> = addresses.iter().map(|address| address.ip).collect();
            let changes = health.know(&ips, now, &mut self.random);
            self.heed(index, &changes, now);
        }
        let Some(watched) = self.watched.get_mut(index) else { return };
        let published = watched.judge(known);
        if watched.published.as_ref() != Some(&published) {
            self.endpoints.publish(index, published.standing());
            watched.published = Some(published);
        }
    }

    fn store(&mut self, now: Instant) {
        self.stored = Some(now);
        let kept = self.kept();
        self.actions.push(Action::Store(kept));
    }

    /// Every last good set.
    fn kept(&self) -> Vec<Kept> {
        let sets = self.names.iter().flat_map(|(name, named)| {
            Family::ALL.into_iter().filter_map(move |family| {
                let Good { addresses, time } = named.learned.good(family)?.clone();
                Some(Kept { name: name.clone(), family, addresses, time })
            })
        });
        sets.collect()
    }

    /// `now` in seconds of Unix time.
    fn time(&self, now: Instant) -> u64 {
        let (began, time) = self.began;
        time + now.saturating_duration_since(began).as_secs()
    }
}

/// What was kept of `name` before the start, taken out of `restored`.
fn restore(name: &Name, restored: &mut Vec<Kept>, now: Instant, actions: &mut Vec<Action>) -> Named {
    let mut take = |family| {
        let place = restored.iter().position(|kept| kept.name == *name && kept.family == family)?;
        let Kept { addresses, time, .. } = restored.swap_remove(place);
        Some(Good { addresses, time })
    };
    let learned = Learned::new(Family::ALL.map(&mut take), now);
    if learned.addresses().next().is_some() {
        actions.push(Action::Inform(format!("{name}: {}, as kept from before", list(learned.addresses()))));
    }
    let resolvers = Arc::from([]);
    let said = learned.addresses().collect();
    Named { learned, resolvers, zonal: false, failing: false, said, lines: Quota::default() }
}

impl Named {
    /// Looked up at `resolvers` from now on.
    fn asking(mut self, resolvers: &[SocketAddr], zonal: bool, now: Instant) -> Self {
        if *self.resolvers != *resolvers {
            self.resolvers = resolvers.into();
            self.learned.ask_anew(now);
        }
        Self { zonal, ..self }
    }
}

impl Watched {
    /// An endpoint of which only that is known which one of `old` knew: that of its name, else any of its addresses.
    fn new(config: config::Endpoint, old: &[Self], now: Instant) -> Self {
        let same = old.iter().filter(|old| old.config.name == config.name);
        let mut health = config.health_check.map(Health::new);
        for known in same.clone().chain(old).filter_map(|old| old.health.as_ref()) {
            if let Some(health) = &mut health {
                health.take_over(known, now);
            }
        }
        let lines = same.clone().next().map(|old| old.lines.clone()).unwrap_or_default();
        let outage = same.clone().next().map(|old| old.outage).unwrap_or_default();
        Self { config, health, outage, published: None, lines }
    }

    /// Every name that is looked up for it, with what it is a part of; whether each is a zonal one, which only says
    /// whose address is which zone's.
    fn names(&self) -> impl Iterator<Item = (&Name, &DnsName, bool)> {
        let dns_name = match &self.config.addresses {
            Addresses::Learned(dns_name) => Some(dns_name),
            Addresses::Stated(_) => None,
        };
        dns_name.into_iter().flat_map(|dns_name| {
            let zonal = dns_name.zonal.iter().map(move |(name, _)| (name, dns_name, true));
            std::iter::once((&dns_name.name, dns_name, false)).chain(zonal)
        })
    }

    /// What is known of its addresses, whatever their health.
    fn known(&self, names: &BTreeMap<Name, Named>) -> Published {
        let dns_name = match &self.config.addresses {
            Addresses::Stated(addresses) => {
                return Published::Serving { addresses: addresses.clone(), v4_unknown: false, v6_unknown: false };
            }
            Addresses::Learned(dns_name) => dns_name,
        };
        let Some(Named { learned, .. }) = names.get(&dns_name.name) else { return Published::NotReady };
        let has =
            |name: &Name, ip| names.get(name).is_some_and(|named| named.learned.addresses().any(|other| other == ip));
        let zone = |ip| {
            let zonal = || dns_name.zonal.iter().find(|(name, _)| has(name, ip)).map(|(_, az_id)| az_id.clone());
            dns_name.az_id.clone().or_else(zonal)
        };
        let addresses: Vec<_> = learned.addresses().map(|ip| EndpointAddress { ip, az_id: zone(ip) }).collect();
        if addresses.is_empty() {
            return Published::NotReady;
        }
        let [v4_unknown, v6_unknown] = Family::ALL.map(|family| learned.good(family).is_none());
        Published::Serving { addresses, v4_unknown, v6_unknown }
    }

    /// What of the `known` is answered.
    fn judge(&self, mut known: Published) -> Published {
        let forward = self.config.when_down == WhenDown::Forward;
        match (&mut known, &self.health) {
            (Published::NotReady, _) if forward => Published::Away,
            // A name is public as a whole or not at all: a public CNAME would count for the other family as well.
            (Published::Serving { .. }, Some(health)) if forward && health.outage() == Outage::Total => Published::Away,
            (Published::Serving { addresses, .. }, Some(health)) => {
                addresses.retain(|address| health.is_answered(address.ip));
                known
            }
            _ => known,
        }
    }
}

impl Published {
    fn standing(&self) -> Standing<'_> {
        match self {
            Self::Serving { addresses, v4_unknown, v6_unknown } => {
                Standing::Serving { addresses, v4_unknown: *v4_unknown, v6_unknown: *v6_unknown }
            }
            Self::NotReady => Standing::NotReady,
            Self::Away => Standing::Away,
        }
    }
}

#[cfg(test)]
mod tests;
