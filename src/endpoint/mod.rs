//! Interface VPC endpoints: what their addresses make of a question for a name that is an alias to one.
//!
//! The answers are written relative to the question, so that every bucket of an endpoint shares them. Those of all endpoints
//! stand behind one pointer: when an endpoint's addresses change, that pointer is swapped and nothing else. There is one
//! answer for each Availability Zone that clients may be in, so that nothing is chosen while a query waits.

mod health;
pub mod keeper;
mod learned;
pub mod probe;
pub mod refresh;
pub mod store;
pub mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::client::Whereabouts;
use crate::config::{Addresses, Affinity, Config, EndpointAddress, NEGATIVE_TTL, WhenDown};
use crate::wire::answer::{Answer, Builder, ExtendedError, Section};
use crate::wire::dns64;
use crate::wire::query::{kind, rcode};

/// All endpoints, by their index in the configuration.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    present: ArcSwap<Present>,
    /// The Availability Zone ids that clients may be in, in the order of [`Whereabouts`].
    az_ids: Vec<String>,
    /// Some subnet wants AAAA made of A.
    dns64: bool,
}

/// What does not change of an endpoint.
#[derive(Debug)]
struct Endpoint {
    affinity: Affinity,
    /// Seconds.
    ttl: u32,
}

/// What all endpoints answer at one moment.
#[derive(Debug, Default, Clone)]
pub struct Present(Vec<Current>);

/// What one of them does.
#[derive(Debug, Clone)]
struct Current {
    answers: Arc<Answers>,
    /// Names that are an alias to it are looked for elsewhere, as if they were not configured.
    away: bool,
}

/// What is known of an endpoint's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// These are to be answered.
    Serving {
        /// At least one.
        addresses: &'a [EndpointAddress],
        /// Nobody knows yet whether it has IPv4 addresses: its name could not be resolved for them.
        v4_unknown: bool,
        /// The same of IPv6.
        v6_unknown: bool,
    },
    /// None may be answered yet: SERVFAIL.
    NotReady,
    /// As if no zone used it.
    Away,
}

/// What one endpoint answers at this moment.
#[derive(Debug)]
pub struct Answers {
    /// For clients of no Availability Zone in particular.
    anywhere: AnswerSet,
    /// For those of each Availability Zone; empty where that makes no difference.
    by_az: Box<[AnswerSet]>,
}

/// What clients of one Availability Zone get.
#[derive(Debug)]
pub struct AnswerSet {
    /// IPv4 addresses, if there are any.
    pub a: Option<Answer>,
    /// IPv6 addresses, if there are any.
    pub aaaa: Option<Answer>,
    /// IPv6 addresses made of the IPv4 ones, where there are no others (RFC 6147 section 5.1.6) and somebody wants them.
    pub synthesised: Option<Answer>,
    /// All addresses.
    pub any: Answer,
}

impl Endpoints {
    /// The endpoints of `config`; those whose addresses must be learned have none yet.
    pub fn new(config: &Config) -> Self {
        let list: Vec<_> = config
            .endpoints
            .iter()
            .map(|endpoint| Endpoint { affinity: endpoint.affinity, ttl: endpoint.ttl })
            .collect();
        let unknown = Arc::new(Answers::of(Standing::NotReady, &Ground::default()));
        let present = Present(vec![Current { answers: unknown, away: false }; list.len()]);
        let dns64 = config.subnets.iter().any(|subnet| subnet.dns64);
        let endpoints = Self { list, present: ArcSwap::from_pointee(present), az_ids: config.az_ids(), dns64 };
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            endpoints.publish(
                index,
                match (&endpoint.addresses, endpoint.when_down) {
                    (Addresses::Stated(addresses), _) => Standing::stated(addresses),
                    (Addresses::Learned(_), WhenDown::Answer) => Standing::NotReady,
                    (Addresses::Learned(_), WhenDown::Forward) => Standing::Away,
                },
            );
        }
        endpoints
    }

    /// What they answer now.
    pub fn present(&self) -> Guard<Arc<Present>> {
        self.present.load()
    }

    /// Endpoint `index` answers by `standing` from now on, however many names are an alias to it.
    pub fn publish(&self, index: usize, standing: Standing<'_>) {
        let Some(endpoint) = self.list.get(index) else { return };
        let az_ids = if endpoint.affinity == Affinity::SameAz { &*self.az_ids } else { &[] };
        let away = standing == Standing::Away;
        let answers = Arc::new(Answers::of(standing, &Ground { az_ids, ttl: endpoint.ttl, dns64: self.dns64 }));
        self.present.rcu(|present| {
            let mut next = Present::clone(present);
            if let Some(current) = next.0.get_mut(index) {
                *current = Current { answers: Arc::clone(&answers), away };
            }
            next
        });
    }
}

impl Present {
    /// What endpoint `index` answers; `None` if there is none of that index.
    pub fn answers(&self, index: usize) -> Option<&Answers> {
        self.0.get(index).map(|current| &*current.answers)
    }

    /// Whether names that are an alias to endpoint `index` are to be looked for elsewhere.
    pub fn is_away(&self, index: usize) -> bool {
        self.0.get(index).is_none_or(|current| current.away)
    }
}

impl<'a> Standing<'a> {
    /// Addresses that are all there are.
    pub fn stated(addresses: &'a [EndpointAddress]) -> Self {
        Self::Serving { addresses, v4_unknown: false, v6_unknown: false }
    }
}

/// What answers depend on beside the addresses.
#[derive(Debug, Default)]
struct Ground<'a> {
    /// Availability Zones with an answer of their own.
    az_ids: &'a [String],
    /// Seconds.
    ttl: u32,
    dns64: bool,
}

impl Answers {
    fn of(standing: Standing<'_>, ground: &Ground<'_>) -> Self {
        let (addresses, v4_unknown, v6_unknown) = match standing {
            Standing::Serving { addresses, v4_unknown, v6_unknown } => (addresses, v4_unknown, v6_unknown),
            Standing::NotReady | Standing::Away => (&[][..], true, true),
        };
        let unknown = [v4_unknown, v6_unknown];
        let near = |az: &String| AnswerSet::of(&nearest(addresses, az), unknown, ground);
        let all: Vec<IpAddr> = addresses.iter().map(|address| address.ip).collect();
        Self { anywhere: AnswerSet::of(&all, unknown, ground), by_az: ground.az_ids.iter().map(near).collect() }
    }

    /// What clients at `whereabouts` get.
    pub fn near(&self, whereabouts: Whereabouts) -> &AnswerSet {
        whereabouts.az.and_then(|az| self.by_az.get(usize::from(az))).unwrap_or(&self.anywhere)
    }
}

/// The addresses in `az`, or all where there is none; of each family by itself, since a client may have only one.
fn nearest(addresses: &[EndpointAddress], az: &str) -> Vec<IpAddr> {
    let pick = |v4: bool| {
        let family = addresses.iter().filter(move |address| address.ip.is_ipv4() == v4);
        let near: Vec<_> = family.clone().filter(|address| address.az_id.as_deref() == Some(az)).collect();
        if near.is_empty() { family.collect() } else { near }
    };
    pick(true).into_iter().chain(pick(false)).map(|address| address.ip).collect()
}

impl AnswerSet {
    /// `unknown` says of IPv4 and of IPv6 that nobody knows the addresses.
    fn of(addresses: &[IpAddr], [v4_unknown, v6_unknown]: [bool; 2], ground: &Ground<'_>) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
        let family = |family: &[IpAddr], unknown: bool, octets| match family {
            [] => unknown.then(not_ready),
            _ => Some(records(family, ground.ttl).rotating(octets).build()),
        };
        let made = v4.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some(dns64::synthesise(*v4).into()),
            IpAddr::V6(_) => None,
        });
        let made: Vec<IpAddr> = made.collect();
        let synthesise = ground.dns64 && v6.is_empty() && !v6_unknown && !made.is_empty();
        // RFC 6147 section 5.1.7: no longer than the negative answer that it stands for.
        let synthesised = || records(&made, ground.ttl.min(NEGATIVE_TTL)).rotating(16).build();
        Self {
            a: family(&v4, v4_unknown, 4),
            aaaa: family(&v6, v6_unknown, 16),
            synthesised: synthesise.then(synthesised),
            any: if addresses.is_empty() { not_ready() } else { records(addresses, ground.ttl).build() },
        }
    }
}

/// A record for each address; `ttl` in seconds.
fn records(addresses: &[IpAddr], ttl: u32) -> Builder {
    addresses.iter().fold(Builder::new(rcode::NOERROR), |set, address| match address {
        IpAddr::V4(ip) => set.record(Section::Answer, kind::A, ttl, &ip.octets()),
        IpAddr::V6(ip) => set.record(Section::Answer, kind::AAAA, ttl, &ip.octets()),
    })
}

/// Never an empty NOERROR: that would be believed, and kept.
fn not_ready() -> Answer {
    let why = "the addresses of the interface endpoint are not known yet";
    Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::NOT_READY, why))
}
