//! Subnets, zones and rules compiled into one immutable value. A reload builds a new one and swaps a pointer.

mod facts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Client, Clients};
use crate::config::{Config, Others, Rule, Target};
use crate::endpoint::{Endpoints, Present};
use crate::limits::Terms;
use crate::metrics::SubnetId;
use crate::query_log::QueryLog;
use crate::upstream::Route;
use crate::wire::Name;
use crate::wire::name::NameRef;
use crate::wire::query::{Folded, name_asked};
use crate::zone::table::{Holder, Table};
use crate::zone::{Found, Leaves, Standard, Zone};
pub use facts::Facts;

/// Queries that are prepared for at once.
const FORESEEN: usize = 64;

/// What a query is judged by.
#[derive(Debug)]
pub struct Policy {
    clients: Clients,
    /// Names of zones and rules.
    names: Table,
    zones: Vec<Zone>,
    /// A route for each rule; that of one that does not forward is the VPC's.
    rules: Vec<Arc<Route>>,
    /// What each route is for: the root, then the rules' domains.
    domains: Box<[Name]>,
    /// The VPC's resolvers: where everything goes that nobody holds.
    vpc: Arc<Route>,
    /// Shared with what keeps them true.
    endpoints: Arc<Endpoints>,
    standard: Standard,
    /// What clients of each subnet are counted under.
    counted: Box<[SubnetId]>,
    /// Which queries are noted down, if any.
    query_log: Option<QueryLog>,
    /// What it was made of.
    facts: Facts,
    /// The whole time a client waits for a forwarded answer.
    timeout: Duration,
    /// What each client may take.
    limits: Terms,
}

/// Who decides about a name for a client.
#[derive(Debug)]
pub enum Decision<'a> {
    /// This zone, which is for this client.
    Zone {
        /// The zone.
        zone: &'a Zone,
        /// Where its name begins in the name asked.
        apex: usize,
        /// What it has of the name.
        found: Found<'a>,
    },
    /// This zone, which is not for this client and tells it so.
    Denied {
        /// The zone.
        zone: &'a Zone,
        /// Where its name begins in the name asked.
        apex: usize,
    },
    /// The resolvers of a rule, or the VPC's.
    Route(&'a Arc<Route>),
}

/// What is found of one who holds a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It decides.
    Decides,
    /// It is not for this client, and tells it so unless another of the same name is for it.
    Denies,
    /// It is not for this client, for whom it does not exist.
    NotForClient,
    /// It leaves the name to others.
    Leaves(Leaves),
}

impl Policy {
    /// Compiles a configuration.
    pub fn new(config: &Config) -> Self {
        let (clients, audiences) = Clients::new(config);
        let mut names = Table::default();
        // Rules first: at one name, a rule goes before a zone, as in Route 53.
        for (rule, index) in config.rules.iter().zip(0..) {
            names.insert(&rule.domain, Holder::Rule(index));
        }
        let mut zones = Vec::with_capacity(config.buckets.len() + config.zones.len());
        let mut audiences = audiences.into_iter();
        let mut places = Vec::with_capacity(config.buckets.len());
        for (bucket, audience) in config.buckets.iter().zip(&mut audiences) {
            let holder = Holder::Zone(zones.len() as u32);
            zones.push(Zone::of_buckets(bucket, audience));
            places.push(bucket.names.iter().map(|name| names.insert(name, holder)).collect());
        }
        let dns64 = config.subnets.iter().any(|subnet| subnet.dns64);
        for (zone, audience) in config.zones.iter().zip(audiences) {
            names.insert(&zone.name, Holder::Zone(zones.len() as u32));
            zones.push(Zone::new(zone, audience, dns64));
        }
        let metered = &config.vpc.resolvers;
        let vpc = Arc::new(Route::new(metered.iter().map(|resolver| Target::from(*resolver)), metered));
        let route = |rule: &Rule| match &*rule.targets {
            [] => Arc::clone(&vpc),
            targets if rule.fallback => Route::new(targets.iter().cloned(), metered).or(&vpc).into(),
            targets => Route::new(targets.iter().cloned(), metered).into(),
        };
        Self {
            clients,
            names,
            zones,
            rules: config.rules.iter().map(route).collect(),
            domains: std::iter::once(Name::root()).chain(config.rules.iter().map(|rule| rule.domain.clone())).collect(),
            vpc,
            endpoints: Arc::new(Endpoints::new(config)),
            standard: Standard::default(),
            counted: (0..config.subnets.len()).map(SubnetId::nth).collect(),
            query_log: None,
            facts: Facts::new(config, places),
            timeout: config.upstream.timeout,
            limits: Terms::from(&config.limits),
        }
    }

    /// The same, its subnets' clients counted under `ids`, one for each subnet of the configuration.
    #[must_use]
    pub fn counting(self, ids: Box<[SubnetId]>) -> Self {
        Self { counted: ids, ..self }
    }

    /// The same with a log of queries.
    #[must_use]
    pub fn logging(self, query_log: Option<QueryLog>) -> Self {
        Self { query_log, ..self }
    }

    /// Which queries are noted down, if any.
    pub fn query_log(&self) -> Option<&QueryLog> {
        self.query_log.as_ref()
    }

    /// What this client is counted under.
    pub fn counted_under(&self, client: Client) -> SubnetId {
        let subnet = client.subnet.and_then(|subnet| self.counted.get(subnet as usize));
        subnet.copied().unwrap_or_default()
    }

    /// Who decides about `name` for `client`: the longest name that exists for it, and at one
    /// name the rule, then the zone that is for the client, then the first that tells others something. `endpoints` is how
    /// its endpoints stand now.
    pub fn decide(&self, name: NameRef<'_>, client: Client, endpoints: &Present) -> Decision<'_> {
        self.decide_before(name, client, endpoints, |_, _, _| {})
    }

    /// The same; `witness` is told of everybody who holds the name or one above it, in the order in which they are looked at:
    /// who it is, where the name it holds begins, and what is found.
    #[inline(always)]
    pub fn decide_before(
        &self,
        name: NameRef<'_>,
        client: Client,
        endpoints: &Present,
        mut witness: impl FnMut(Holder, usize, Verdict),
    ) -> Decision<'_> {
        for (apex, holders) in self.names.above(name) {
            let mut denied = None;
            for holder in holders {
                let zone = match holder {
                    Holder::Rule(index) => match self.rules.get(index as usize) {
                        Some(route) => {
                            witness(holder, apex, Verdict::Decides);
                            return Decision::Route(route);
                        }
                        None => continue,
                    },
                    Holder::Zone(index) => self.zones.get(index as usize),
                };
                let Some(zone) = zone else { continue };
                let away = |endpoint| endpoints.is_away(endpoint);
                let found = match zone.find(name.as_wire(), apex, away) {
                    Ok(found) => found,
                    Err(leaves) => {
                        witness(holder, apex, Verdict::Leaves(leaves));
                        continue;
                    }
                };
                if self.clients.admits(zone.audience, client) {
                    witness(holder, apex, Verdict::Decides);
                    return Decision::Zone { zone, apex, found };
                }
                let denies = zone.others != Others::Forward;
                witness(holder, apex, if denies { Verdict::Denies } else { Verdict::NotForClient });
                if denies {
                    denied = denied.or(Some(Decision::Denied { zone, apex }));
                }
            }
            if let Some(denied) = denied {
                return denied;
            }
        }
        Decision::Route(&self.vpc)
    }

    /// Prepares for the queries in `packets`, of which one batch is enough: where there are many names, what the table has of
    /// those asked is fetched from memory together.
    pub fn foresee<'p>(&self, packets: impl Iterator<Item = &'p [u8]>) {
        if !self.names.is_large() {
            return;
        }
        let (mut digests, mut folded) = ([0; FORESEEN], Folded::default());
        for (digest, packet) in digests.iter_mut().zip(packets) {
            *digest = name_asked(packet, &mut folded).map_or(0, |name| self.names.digest(name));
        }
        self.names.fetch(&digests);
    }

    /// The endpoints, by their index in the configuration.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    /// Who may ask, and as whom.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What every zone says alike.
    pub fn standard(&self) -> &Standard {
        &self.standard
    }

    /// The whole time a client waits for a forwarded answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What each client may take.
    pub fn limits(&self) -> &Terms {
        &self.limits
    }

    /// The resolvers that are asked in datagrams, each with the widest domain that it is asked about.
    pub fn resolvers(&self) -> Vec<(SocketAddr, Name)> {
        let asked = self.routes().zip(&self.domains).flat_map(|(route, domain)| {
            let plain = route.hops().iter().filter(|hop| hop.is_plain());
            plain.map(move |hop| (hop.address(), domain.clone()))
        });
        let mut resolvers: Vec<_> = asked.collect();
        resolvers.sort_by_key(|(resolver, domain)| (*resolver, domain.label_count()));
        resolvers.dedup_by_key(|(resolver, _)| *resolver);
        resolvers
    }

    /// Every route there is, the VPC's first.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        std::iter::once(&self.vpc).chain(&self.rules)
    }
}
