//! What a policy was made of: for those who ask why it decides as it does. No query comes here.

use super::Policy;
use crate::config::{Bucket, Config, Lines, Stated, Zone};
use crate::zone::table::Holder;

/// The configuration without its many names, and where each of these is written.
#[derive(Debug)]
pub struct Facts {
    /// All but the names of buckets and the records of zones, which the tables have.
    pub config: Config,
    /// For each `[[bucket]]` the places of its names in the table, lowest first, and where each is written.
    names: Vec<(Box<[u32]>, Lines)>,
}

impl Facts {
    /// Of `config`, the names of whose buckets have these places in the table.
    pub(super) fn new(config: &Config, places: Vec<Box<[u32]>>) -> Self {
        let rest = Config {
            server: config.server.clone(),
            vpc: config.vpc.clone(),
            upstream: config.upstream.clone(),
            cache: config.cache.clone(),
            limits: config.limits.clone(),
            query_log: config.query_log.clone(),
            subnets: config.subnets.clone(),
            endpoints: config.endpoints.clone(),
            buckets: config.buckets.iter().map(without_names).collect(),
            zones: config.zones.iter().map(without_records).collect(),
            rules: config.rules.clone(),
        };
        let names = places.into_iter().zip(config.buckets.iter().map(|bucket| bucket.lines.clone())).collect();
        Self { config: rest, names }
    }
}

fn without_names(bucket: &Bucket) -> Bucket {
    let Bucket { endpoint, allow, others, below, stated, .. } = bucket;
    let (allow, stated) = (allow.clone(), stated.clone());
    let (endpoint, others, below) = (*endpoint, *others, *below);
    Bucket { names: Vec::new(), lines: Lines::default(), endpoint, allow, others, below, stated }
}

fn without_records(zone: &Zone) -> Zone {
    let Zone { name, except, allow, others, below, stated, .. } = zone;
    let (name, except, allow, stated) = (name.clone(), except.clone(), allow.clone(), stated.clone());
    Zone { name, records: Vec::new(), except, allow, others: *others, below: *below, stated }
}

impl Policy {
    /// Where the name (wire form, lower case) is written that this holder holds; where its table is, if it has one name.
    pub fn stated(&self, holder: Holder, name: &[u8]) -> Stated {
        let Holder::Zone(index) = holder else { return Stated::default() };
        let nth = || {
            let (places, lines) = self.facts.names.get(index as usize)?;
            let place = self.names.place_of(name, holder)?;
            Some(lines.nth(places.binary_search(&place).ok()?))
        };
        nth().unwrap_or_default()
    }

    /// What it was made of.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
