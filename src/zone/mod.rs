//! Private hosted zones: what a zone says of a name, as Route 53 would.
//!
//! Pure and synchronous. Which zone decides is the policy's business; here a zone that decides gives its answer, and
//! there is always one: nothing falls through to a wider zone or to the public name.

pub mod bucket;
pub mod table;

use crate::client::AudienceId;
use crate::config::{Below, NEGATIVE_TTL, Others};
use crate::endpoint;
use crate::wire::answer::{Builder, ExtendedError, Section};
use crate::wire::query::{kind, rcode};
use crate::wire::{Answer, Name};

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
    /// What names under its own get.
    pub below: Below,
    /// The endpoint its apex is an alias to: an index into the policy's endpoints.
    pub endpoint: usize,
}

/// What a zone has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// This.
    Answer(&'a Answer),
    /// REFUSED, and why.
    Refusal(&'a Answer),
    /// Nothing at all: `others = "drop"`.
    Silence,
}

impl Zone {
    /// What an allowed client hears about the zone's own name (`at_apex`) or one below it.
    pub fn answer<'a>(
        &self,
        kind: u16,
        at_apex: bool,
        alias: &'a endpoint::AnswerSet,
        standard: &'a Standard,
    ) -> Said<'a> {
        if !at_apex {
            return Said::Answer(&standard.nxdomain);
        }
        Said::Answer(match kind {
            // An alias answers for its own types only; every other is NODATA, or the public name would leak.
            kind::A => alias.a.as_ref().unwrap_or(&standard.nodata),
            kind::AAAA => alias.aaaa.as_ref().unwrap_or(&standard.nodata),
            kind::ANY => &alias.any,
            kind::SOA => &standard.soa,
            kind::NS => &standard.ns,
            _ => &standard.nodata,
        })
    }

    /// What a client hears that the zone is not for, whatever it asks at or below the zone's name.
    pub fn denial<'a>(&self, standard: &'a Standard) -> Said<'a> {
        match self.others {
            Others::NxDomain => Said::Answer(&standard.nxdomain),
            Others::NoData => Said::Answer(&standard.nodata),
            // A zone that forwards others does not exist for them, so this is not asked of it.
            Others::Refused | Others::Forward => Said::Refusal(&standard.refused),
            Others::Drop => Said::Silence,
        }
    }
}

/// What every hosted zone says alike, written relative to the zone's name.
#[derive(Debug)]
pub struct Standard {
    /// The name exists and has no such records (RFC 2308 section 2.2).
    nodata: Answer,
    /// The name does not exist (RFC 2308 section 2.1).
    nxdomain: Answer,
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
        let negative = |code| Builder::new(code).record(Section::Authority, kind::SOA, NEGATIVE_TTL, &soa).build();
        let servers = NAME_SERVERS.map(constant_name);
        let ns = |set: Builder, server: &Name| set.record(Section::Answer, kind::NS, NS_TTL, server.as_wire());
        let prohibited = ExtendedError::new(ExtendedError::PROHIBITED, "this zone is not for this client");
        Self {
            nodata: negative(rcode::NOERROR),
            nxdomain: negative(rcode::NXDOMAIN),
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
