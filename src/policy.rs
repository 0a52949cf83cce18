//! Subnets, zones and rules compiled into one immutable value. A reload builds a new one and swaps a pointer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use crate::client::{Client, Clients};
use crate::config::{Below, Config, Others};
use crate::endpoint::{Answers, Endpoints};
use crate::upstream::Route;
use crate::zone::table::{Holder, Table};
use crate::zone::{Standard, Zone};

/// What a query is judged by.
#[derive(Debug)]
pub struct Policy {
    clients: Clients,
    /// Names of zones and rules.
    names: Table,
    zones: Vec<Zone>,
    /// A route for each rule.
    rules: Vec<Arc<Route>>,
    /// The VPC's resolvers: where everything goes that nobody holds.
    vpc: Arc<Route>,
    endpoints: Endpoints,
    standard: Standard,
    /// The whole time a client waits for a forwarded answer.
    timeout: Duration,
}

/// Who decides about a name for a client.
#[derive(Debug)]
pub enum Decision<'a> {
    /// This zone, whose name begins at `apex` in the name asked; `admitted` says whether it is for this client.
    Zone {
        /// The zone.
        zone: &'a Zone,
        /// Offset in the name asked.
        apex: usize,
        /// The zone is for this client.
        admitted: bool,
    },
    /// The resolvers of a rule, or the VPC's.
    Route(&'a Arc<Route>),
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
        let mut zones = Vec::with_capacity(config.buckets.len());
        for ((bucket, audience), index) in config.buckets.iter().zip(audiences).zip(0..) {
            zones.push(Zone { audience, others: bucket.others, below: bucket.below, endpoint: bucket.endpoint });
            bucket.names.iter().for_each(|name| names.insert(name, Holder::Zone(index)));
        }
        Self {
            clients,
            names,
            zones,
            rules: config.rules.iter().map(|rule| Route::new(&rule.targets)).collect(),
            vpc: Route::new(&config.vpc.resolvers),
            endpoints: Endpoints::new(config),
            standard: Standard::default(),
            timeout: config.upstream.timeout,
        }
    }

    /// Who decides about `name` (wire form, lower case) for `client`: the longest name that exists for it, and at one
    /// name the rule, then the zone that is for the client, then the first that tells others something.
    pub fn decide(&self, name: &[u8], client: Client) -> Decision<'_> {
        for (apex, holders) in self.names.above(name) {
            let mut denying = None;
            for holder in holders {
                let zone = match holder {
                    Holder::Rule(index) => match self.rules.get(index as usize) {
                        Some(route) => return Decision::Route(route),
                        None => continue,
                    },
                    Holder::Zone(index) => match self.zones.get(index as usize) {
                        Some(zone) if apex == 0 || zone.below == Below::NxDomain => zone,
                        _ => continue,
                    },
                };
                if self.clients.admits(zone.audience, client) {
                    return Decision::Zone { zone, apex, admitted: true };
                }
                if zone.others != Others::Forward {
                    denying = denying.or(Some(zone));
                }
            }
            if let Some(zone) = denying {
                return Decision::Zone { zone, apex, admitted: false };
            }
        }
        Decision::Route(&self.vpc)
    }

    /// Who may ask, and as whom.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What the endpoint of `zone` answers now.
    pub fn alias(&self, zone: &Zone) -> Option<Guard<Arc<Answers>>> {
        self.endpoints.current(zone.endpoint)
    }

    /// What every zone says alike.
    pub fn standard(&self) -> &Standard {
        &self.standard
    }

    /// The whole time a client waits for a forwarded answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Every route there is, the VPC's first.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        std::iter::once(&self.vpc).chain(&self.rules)
    }
}
