//! Who decides about a name, and why the others do not: as the policy tells while it decides.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::who::longest;
use crate::client::Client;
use crate::config::{Audience, Config, Others, Rule, Stated};
use crate::endpoint::Present;
use crate::policy::{Decision, Policy, Verdict};
use crate::wire::Name;
use crate::zone::table::Holder;
use crate::zone::{Found, Leaves};

/// What is decided about one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// The name.
    pub name: String,
    /// Everybody who holds it or a name above it and was looked at, in this order.
    pub candidates: Vec<Candidate>,
    /// What the zone that decides has of the name; `None` if none does.
    pub has: Option<String>,
    /// Whose resolvers are asked, if it is forwarded: the rule's domain, or nothing for the VPC's own.
    pub route: Option<String>,
}

/// One who holds a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// `bucket`, `zone` or `rule`.
    pub kind: String,
    /// The name that it holds.
    pub name: String,
    /// Where its table is written, ...
    pub stated: String,
    /// ... and where the name is, if that is elsewhere.
    pub name_stated: Option<String>,
    /// It decides, be it that it only says no.
    pub decides: bool,
    /// Why, or why not.
    pub why: String,
}

/// Endpoints that a decision depends on, by their index in the configuration.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Endpoints {
    /// The one that the name is an alias to.
    pub has: Option<usize>,
    /// One whose bucket is passed by because it is down or not known.
    pub away: Option<usize>,
}

impl Step {
    /// What `policy` decides about `name`, and the endpoints that has to do with.
    pub(super) fn new(
        policy: &Policy,
        name: &Name,
        (address, client): (IpAddr, Client),
        present: &Present,
    ) -> (Self, Endpoints) {
        let config = &policy.facts().config;
        let mut seen = Vec::new();
        let decision = policy.decide_before(name.as_ref(), client, present, |holder, apex, verdict| {
            seen.push((holder, apex, verdict));
        });
        let mut candidates: Vec<Candidate> = Vec::new();
        for (holder, apex, verdict) in &seen {
            candidates.extend(Candidate::new(policy, name, (*holder, *apex), *verdict, (address, client)));
        }
        let (has, route, endpoint) = match decision {
            Decision::Zone { found, apex, .. } => (Some(has(config, found, apex)), None, found.endpoint()),
            Decision::Denied { .. } => {
                // Several of one name may say no: they say the same, and the first does.
                let first = seen.iter().position(|(.., verdict)| *verdict == Verdict::Denies);
                if let Some(candidate) = first.and_then(|first| candidates.get_mut(first)) {
                    candidate.decides = true;
                }
                (None, None, None)
            }
            Decision::Route(_) => {
                let rule = seen.last().and_then(|(holder, _, verdict)| match (holder, verdict) {
                    (Holder::Rule(index), Verdict::Decides) => config.rules.get(*index as usize),
                    _ => None,
                });
                (None, Some(rule.map_or(String::new(), |rule| rule.domain.to_string())), None)
            }
        };
        let bucket = |holder: &Holder| match holder {
            Holder::Zone(index) => config.buckets.get(*index as usize).map(|bucket| bucket.endpoint),
            Holder::Rule(_) => None,
        };
        let mut passed_by = seen.iter().filter(|(.., verdict)| *verdict == Verdict::Leaves(Leaves::Away));
        let away = passed_by.find_map(|(holder, ..)| bucket(holder));
        (Self { name: name.to_string(), candidates, has, route }, Endpoints { has: endpoint, away })
    }
}

/// What a zone has of a name.
fn has(config: &Config, found: Found<'_>, apex: usize) -> String {
    let endpoint = found.endpoint().and_then(|index| config.endpoints.get(index));
    match (found, endpoint) {
        (_, Some(endpoint)) => format!("an alias to the endpoint {}", endpoint.name),
        (Found::NoName, _) => "no such name".into(),
        (Found::Node(_), None) if apex == 0 => "records at the zone's own name".into(),
        (Found::Node(_), None) => "this name".into(),
    }
}

impl Candidate {
    fn new(
        policy: &Policy,
        name: &Name,
        (holder, apex): (Holder, usize),
        verdict: Verdict,
        client: (IpAddr, Client),
    ) -> Option<Self> {
        let config = &policy.facts().config;
        let held = Name::from_wire(name.as_wire().get(apex..)?)?;
        let decides = verdict == Verdict::Decides;
        if let Holder::Rule(index) = holder {
            let rule = config.rules.get(index as usize)?;
            return Some(Self {
                kind: "rule".into(),
                name: held.to_string(),
                stated: rule.stated.to_string(),
                name_stated: None,
                decides,
                why: of_rule(rule),
            });
        }
        let zone = Zone::of(config, holder)?;
        let stated = zone.stated.to_string();
        let name_stated = policy.stated(holder, held.as_wire()).to_string();
        let why = match verdict {
            Verdict::Decides => zone.admits(config, client, policy),
            Verdict::Denies => format!("{}, and others = {:?}", zone.excludes(config), word(zone.others)),
            Verdict::NotForClient => {
                format!("{}: for this client it does not exist (others = \"forward\")", zone.excludes(config))
            }
            Verdict::Leaves(Leaves::Away) => {
                "none of its endpoint's addresses works or is known, and when-down = \"forward\"".into()
            }
            Verdict::Leaves(Leaves::Except) => "the name is excepted".into(),
            Verdict::Leaves(Leaves::Below) => "it does not have the name, and below = \"forward\"".into(),
        };
        Some(Self {
            kind: zone.kind.into(),
            name: held.to_string(),
            name_stated: Some(name_stated).filter(|name| !name.is_empty() && *name != stated),
            stated,
            decides,
            why,
        })
    }
}

fn of_rule(rule: &Rule) -> String {
    match &*rule.targets {
        [] => "a rule goes before any zone of its name; forward = false leaves it to the VPC's resolvers".into(),
        _ => "a rule goes before any zone of its name".into(),
    }
}

fn word(others: Others) -> &'static str {
    match others {
        Others::Forward => "forward",
        Others::NxDomain => "nxdomain",
        Others::NoData => "nodata",
        Others::Refused => "refused",
        Others::Drop => "drop",
    }
}

/// A `[[bucket]]`, a `[[zone]]`, or an endpoint's names.
struct Zone<'c> {
    kind: &'static str,
    allow: &'c Audience,
    others: Others,
    stated: &'c Stated,
}

impl<'c> Zone<'c> {
    fn of(config: &'c Config, holder: Holder) -> Option<Self> {
        let Holder::Zone(index) = holder else { return None };
        let index = index as usize;
        if let Some(bucket) = config.buckets.get(index) {
            let (allow, others, stated) = (&bucket.allow, bucket.others, &bucket.stated);
            return Some(Self { kind: "bucket", allow, others, stated });
        }
        let zone = config.zones.get(index - config.buckets.len())?;
        Some(Self { kind: "zone", allow: &zone.allow, others: zone.others, stated: &zone.stated })
    }

    /// Why it is for this client.
    fn admits(&self, config: &Config, (address, client): (IpAddr, Client), policy: &Policy) -> String {
        let Audience::Only { subnets, blocks } = self.allow else {
            return "it has no allow, so it is for every client that may ask".into();
        };
        let subnet = client.subnet.map(|subnet| subnet as usize).filter(|subnet| subnets.contains(subnet));
        match subnet.and_then(|subnet| config.subnets.get(subnet)) {
            Some(subnet) => format!("allow has the subnet {}", subnet.name),
            None => {
                let own = policy.clients().own_address().filter(|_| policy.clients().is_self(address));
                let block = longest(blocks.iter(), address).or(own.and_then(|own| longest(blocks.iter(), own)));
                block.map_or("allow has its address".into(), |block| format!("allow has {block}"))
            }
        }
    }

    /// Whom it is for instead.
    fn excludes(&self, config: &Config) -> String {
        let Audience::Only { subnets, blocks } = self.allow else { return "it is for every client".into() };
        let names = subnets.iter().filter_map(|index| Some(config.subnets.get(*index)?.name.clone()));
        let all: Vec<String> = names.chain(blocks.iter().map(ToString::to_string)).collect();
        format!("allow has {} and not this client", if all.is_empty() { "nobody".into() } else { all.join(", ") })
    }
}
