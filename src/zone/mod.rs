//! Private hosted zones: what a zone says of a name, as Route 53 would.
//!
//! Pure and synchronous. Which zone decides is the policy's business; here a zone that decides gives its answer, and
//! there is always one: nothing falls through to a wider zone or to the public name.

pub mod bucket;
pub mod partition;
mod records;
pub mod service;
pub mod table;

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::client::AudienceId;
use crate::config::{self, Below, NEGATIVE_TTL, Others};
use crate::endpoint::AnswerSet;
use crate::wire::answer::{Alias, Builder, ExtendedError, Section};
use crate::wire::query::{kind, rcode};
use crate::wire::{Answer, Name};
use records::{Node, Records};

/// TTL of a hosted zone's SOA record.
const SOA_TTL: u32 = 900;
/// TTL of a hosted zone's NS records.
const NS_TTL: u32 = 172_800;
/// The name servers that Route 53 writes into every private zone: placeholders, never asked.
const NAME_SERVERS: [&str; 4] =
    ["ns-1536.awsdns-00.co.uk", "ns-0.awsdns-00.com", "ns-1024.awsdns-00.org", "ns-512.awsdns-00.net"];
/// The mailbox that Route 53 writes into every zone's SOA.
const HOSTMASTER: &str = "awsdns-hostmaster.amazon.com";
/// Serial, refresh, retry, expire and minimum of a hosted zone's SOA.
const SOA_NUMBERS: [u32; 5] = [1, 7200, 900, 1_209_600, 86_400];

/// A private zone, or many that are alike but for their names.
#[derive(Debug)]
pub struct Zone {
    /// Whom it is for.
    pub audience: AudienceId,
    /// What other clients get.
    pub others: Others,
    /// What names under its own get that it does not have.
    below: Below,
    contents: Contents,
    /// Names that it leaves to others.
    except: Option<Box<Excepted>>,
    /// All that it has are aliases to this endpoint: without it the zone is nothing.
    rests_on: Option<usize>,
    /// Its own negative answers, where it has a SOA record of its own.
    negative: Option<Box<Negative>>,
}

/// What a zone has.
#[derive(Debug)]
enum Contents {
    /// This, at its own name, and nothing below.
    Apex(Node),
    /// Many names.
    Records(Records),
}

/// What a zone has of a name.
#[derive(Debug, Clone, Copy)]
pub enum Found<'z> {
    /// The name exists, and has this.
    Node(&'z Node),
    /// There is no such name.
    NoName,
}

/// Why a zone leaves a name to whoever else has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// The endpoint it is an alias to is down, and `when-down = "forward"`.
    Away,
    /// It is excepted.
    Except,
    /// The zone does not have it, and `below = "forward"`.
    Below,
}

impl Found<'_> {
    /// The endpoint that the name is an alias to: an index into the policy's.
    pub fn endpoint(&self) -> Option<usize> {
        match self {
            Self::Node(node) => node.endpoint,
            Self::NoName => None,
        }
    }
}

/// What a zone has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// This.
    Answer(&'a Answer),
    /// The name is another name for this one: to be asked for there (RFC 1034 section 3.6.2).
    Cname(&'a Alias),
    /// REFUSED, and why.
    Refusal(&'a Answer),
    /// Nothing at all: `others = "drop"`.
    Silence,
}

/// What is asked of a zone.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Type.
    pub kind: u16,
    /// AAAA made of A will do (RFC 6147).
    pub dns64: bool,
}

impl Zone {
    /// The zones of a `[[bucket]]`.
    pub fn of_buckets(bucket: &config::Bucket, audience: AudienceId) -> Self {
        Self {
            audience,
            others: bucket.others,
            below: bucket.below,
            contents: Contents::Apex(Node::alias(bucket.endpoint)),
            except: None,
            rests_on: Some(bucket.endpoint),
            negative: None,
        }
    }

    /// Any other zone; `dns64` says that some client wants AAAA made of A.
    pub fn new(zone: &config::Zone, audience: AudienceId, dns64: bool) -> Self {
        let own = zone.records.iter().find_map(|set| own_soa(&zone.name, set));
        let negative_ttl = own.map_or(NEGATIVE_TTL, |(ttl, _)| ttl);
        let except = &zone.except;
        let mut aliases = zone.records.iter().map(|set| match set.data {
            config::Data::Alias(endpoint) => Some(endpoint),
            config::Data::Records { .. } => None,
        });
        let first = aliases.next().flatten();
        Self {
            audience,
            others: zone.others,
            below: zone.below,
            contents: Contents::Records(Records::new(zone, dns64.then_some(negative_ttl))),
            except: (except.names.len() + except.prefixes.len() > 0).then(|| Box::new(Excepted::new(except))),
            rests_on: first.filter(|_| aliases.all(|alias| alias == first)),
            negative: own.map(|(ttl, soa)| Box::new(Negative::new(ttl, soa))),
        }
    }

    /// What it has of `name` (wire form, lower case), in which its own name begins at `apex`. `away` says of an endpoint
    /// that names are looked for elsewhere while it is down.
    ///
    /// # Errors
    /// Why it leaves the name to others.
    pub fn find(&self, name: &[u8], apex: usize, away: impl Fn(usize) -> bool) -> Result<Found<'_>, Leaves> {
        if self.rests_on.is_some_and(&away) {
            return Err(Leaves::Away);
        }
        if self.except.as_ref().is_some_and(|except| except.has(name, apex)) {
            return Err(Leaves::Except);
        }
        let node = match &self.contents {
            Contents::Apex(node) => (apex == 0).then_some(node),
            Contents::Records(records) => records.find(name, apex),
        };
        match node {
            Some(node) if self.rests_on.is_none() && node.endpoint.is_some_and(away) => Err(Leaves::Away),
            Some(node) => Ok(Found::Node(node)),
            None if self.below == Below::Forward => Err(Leaves::Below),
            None => Ok(Found::NoName),
        }
    }

    /// What an allowed client hears about a name of which the zone has `found`; `at_apex` says that it is the zone's
    /// own. `alias` are the addresses of the endpoint that `found` is an alias to.
    pub fn answer<'a>(
        &'a self,
        found: Found<'a>,
        wanted: Wanted,
        at_apex: bool,
        alias: Option<&'a AnswerSet>,
        standard: &'a Standard,
    ) -> Said<'a> {
        let negative = self.negative.as_deref().unwrap_or(&standard.negative);
        let Found::Node(node) = found else { return Said::Answer(&negative.nxdomain) };
        if let Some(cname) = &node.cname
            && !matches!(wanted.kind, kind::CNAME | kind::ANY)
        {
            return Said::Cname(cname);
        }
        // An alias answers for its own types only; every other is NODATA, or the public name would leak.
        let of_alias = alias.and_then(|alias| match wanted.kind {
            kind::A => alias.a.as_ref(),
            kind::AAAA => alias.aaaa.as_ref().or(alias.synthesised.as_ref().filter(|_| wanted.dns64)),
            kind::ANY => Some(&alias.any),
            _ => None,
        });
        let made = node.synthesised.as_ref().filter(|_| wanted.kind == kind::AAAA && wanted.dns64);
        let of_every_zone = || match wanted.kind {
            kind::SOA if at_apex => Some(&standard.soa),
            kind::NS if at_apex => Some(&standard.ns),
            _ => None,
        };
        let answer = of_alias.or_else(|| node.set(wanted.kind)).or(made).or_else(of_every_zone);
        Said::Answer(answer.unwrap_or(&negative.nodata))
    }

    /// What a client hears that the zone is not for, whatever it asks at or below the zone's name.
    pub fn denial<'a>(&'a self, standard: &'a Standard) -> Said<'a> {
        let negative = self.negative.as_deref().unwrap_or(&standard.negative);
        match self.others {
            Others::NxDomain => Said::Answer(&negative.nxdomain),
            Others::NoData => Said::Answer(&negative.nodata),
            // A zone that forwards others does not exist for them, so this is not asked of it.
            Others::Refused | Others::Forward => Said::Refusal(&standard.refused),
            Others::Drop => Said::Silence,
        }
    }
}

/// The SOA record that `set` gives the zone `name`: what its negative answers' TTL is (RFC 2308 section 3), and its data.
fn own_soa<'s>(name: &Name, set: &'s config::RecordSet) -> Option<(u32, &'s [u8])> {
    let config::Data::Records { kind: kind::SOA, ttl, rdata } = &set.data else { return None };
    let soa = rdata.first().filter(|_| set.owner == *name)?;
    let minimum = soa.last_chunk().map_or(0, |octets| u32::from_be_bytes(*octets));
    Some((minimum.min(*ttl), soa))
}

/// Names that a zone leaves to others.
#[derive(Debug)]
struct Excepted {
    /// Keyed: names are chosen by strangers.
    names: HashSet<Box<[u8]>, RandomState>,
    /// Beginnings of the label below the zone's name.
    prefixes: Box<[String]>,
}

impl Excepted {
    fn new(except: &config::Except) -> Self {
        Self {
            names: except.names.iter().map(|name| name.as_wire().into()).collect(),
            prefixes: except.prefixes.clone().into(),
        }
    }

    fn has(&self, name: &[u8], apex: usize) -> bool {
        let label = name.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
        let begins = |label: &[u8]| self.prefixes.iter().any(|prefix| label.starts_with(prefix.as_bytes()));
        self.names.contains(name) || label.is_some_and(|label| label.len() + 1 == apex && begins(label))
    }
}

/// Negative answers, written relative to the zone's name.
#[derive(Debug)]
struct Negative {
    /// The name exists and has no such records (RFC 2308 section 2.2).
    nodata: Answer,
    /// The name does not exist (RFC 2308 section 2.1).
    nxdomain: Answer,
}

impl Negative {
    /// With this TTL, in seconds, and this SOA RDATA.
    fn new(ttl: u32, soa: &[u8]) -> Self {
        let answer = |code| Builder::new(code).record(Section::Authority, kind::SOA, ttl, soa).build();
        Self { nodata: answer(rcode::NOERROR), nxdomain: answer(rcode::NXDOMAIN) }
    }
}

/// What every hosted zone says alike, written relative to the zone's name.
#[derive(Debug)]
pub struct Standard {
    /// Negative answers with the SOA record that Route 53 gives a zone.
    negative: Negative,
    /// The SOA record that Route 53 gives a zone.
    soa: Answer,
    /// The NS records that Route 53 gives a zone.
    ns: Answer,
    /// Not for this client.
    refused: Answer,
}

impl Default for Standard {
    fn default() -> Self {
        let soa = soa_rdata();
        let servers = NAME_SERVERS.map(constant_name);
        let ns = |set: Builder, server: &Name| set.record(Section::Answer, kind::NS, NS_TTL, server.as_wire());
        let prohibited = ExtendedError::new(ExtendedError::PROHIBITED, "this zone is not for this client");
        Self {
            negative: Negative::new(NEGATIVE_TTL, &soa),
            soa: Builder::new(rcode::NOERROR).record(Section::Answer, kind::SOA, SOA_TTL, &soa).build(),
            ns: servers.iter().fold(Builder::new(rcode::NOERROR), ns).build(),
            refused: Answer::error(rcode::REFUSED, prohibited),
        }
    }
}

/// RDATA of a hosted zone's SOA (RFC 1035 section 3.3.13).
fn soa_rdata() -> Vec<u8> {
    let mut rdata = constant_name(NAME_SERVERS[0]).as_wire().to_vec();
    rdata.extend(constant_name(HOSTMASTER).as_wire());
    rdata.extend(SOA_NUMBERS.iter().flat_map(|number| number.to_be_bytes()));
    rdata
}

/// A name that stands in this file.
fn constant_name(text: &str) -> Name {
    text.parse().expect("the names in this file are names")
}
