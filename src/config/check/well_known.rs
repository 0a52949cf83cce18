//! Names that programs on an EC2 host ask for without being told to, and that a zone would take from them.

use std::collections::{HashMap, HashSet};

use super::Judge;
use super::claim::{Claim, Contents};
use crate::config::problem::Problem;
use crate::config::zone_file::is_within;
use crate::config::{Below, Data, RecordSet, Rule};
use crate::wire::Name;
use crate::wire::name::labels;
use crate::wire::query::kind;
use crate::zone::bucket;

/// How many of them a warning names.
const SHOWN: usize = 4;

impl Judge<'_> {
    /// Warns of each zone in which well-known names do not exist.
    pub(super) fn warn_of_wide_zones(&mut self, claims: &[Claim], rules: &[Option<Rule>]) {
        let region = self.file.vpc.region.as_ref().map_or("us-east-1", |region| region.value.as_str());
        let known: Vec<(Name, &str)> = bucket::well_known(region)
            .into_iter()
            .filter_map(|(name, owner)| Some((name.parse().ok()?, owner)))
            .collect();
        let zones = || claims.iter().filter(|claim| matches!(claim.contents, Contents::Records(..)));
        let narrower = |name: &Name, zone: &Name| {
            let domains = rules.iter().flatten().map(|rule| &rule.domain);
            let others = zones().flat_map(|claim| claim.names.iter().map(|(other, _)| other)).chain(domains);
            others.filter(|other| is_within(name, other)).any(|other| other.label_count() > zone.label_count())
        };
        for claim in zones() {
            let (Contents::Records(Some(sets), except), Some((zone, place))) = (&claim.contents, claim.names.first())
            else {
                continue;
            };
            let inside = known.iter().filter(|(name, _)| is_within(name, zone));
            let mut inside =
                inside.filter(|(name, _)| !narrower(name, zone) && !except.names.contains(name)).peekable();
            if inside.peek().is_none() {
                continue;
            }
            let contents = Lookup::new(sets, zone);
            let forwards = claim.access.below == Some(Below::Forward);
            let broken: Vec<&(Name, &str)> =
                inside.filter(|(name, _)| !contents.has_address(name).unwrap_or(forwards)).collect();
            let shown = broken.iter().take(SHOWN).map(|(name, owner)| format!("{name} ({owner})"));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = broken.len().saturating_sub(SHOWN);
            if broken.is_empty() {
                continue;
            }
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message = format!("with the zone {zone} these well-known names would stop working: {shown}{rest}");
            let hint = "give them records, name a zone that is longer, or write below = \"forward\"";
            self.problems.push(Problem::warning(place.as_ref(), message).hint(hint));
        }
    }
}

/// A zone's records, to be looked up as RFC 4592 has it.
struct Lookup<'a> {
    /// Names with an address, or a CNAME that may lead to one.
    addresses: HashMap<&'a [u8], bool>,
    /// Every name that exists.
    names: HashSet<&'a [u8]>,
}

impl<'a> Lookup<'a> {
    fn new(sets: &'a [RecordSet], zone: &'a Name) -> Self {
        let (mut addresses, mut names) = (HashMap::new(), HashSet::from([zone.as_wire()]));
        for set in sets {
            let owner = set.owner.as_wire();
            let leads = match &set.data {
                Data::Alias(_) => true,
                Data::Records { kind, .. } => matches!(*kind, kind::A | kind::AAAA | kind::CNAME),
            };
            *addresses.entry(owner).or_default() |= leads;
            let above = labels(owner).filter_map(|at| owner.get(at..));
            names.extend(above.take_while(|name| name.len() >= zone.as_wire().len()));
        }
        Self { addresses, names }
    }

    /// Whether `name` has an address; `None` if it does not exist.
    fn has_address(&self, name: &Name) -> Option<bool> {
        let wire = name.as_wire();
        let closest =
            labels(wire).filter_map(|at| wire.get(at..)).chain([&[0][..]]).find(|name| self.names.contains(name))?;
        if closest.len() == wire.len() {
            return Some(self.addresses.get(wire).copied().unwrap_or(false));
        }
        let wildcard = [b"\x01*", closest].concat();
        self.names.contains(&*wildcard).then(|| self.addresses.get(&*wildcard).copied().unwrap_or(false))
    }
}
