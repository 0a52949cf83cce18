//! Interface VPC endpoints: what their addresses make of a question for a bucket.
//!
//! The answers are written relative to the question, so that every bucket of an endpoint shares them, and stand behind
//! a pointer of their own: when an endpoint's addresses change, that pointer is swapped and nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::config;
use crate::wire::Answer;
use crate::wire::answer::{Builder, Section};
use crate::wire::query::{kind, rcode};

/// All endpoints, by their index in the configuration.
#[derive(Debug)]
pub struct Endpoints(Vec<ArcSwap<Answers>>);

/// What one endpoint answers at this moment.
#[derive(Debug)]
pub struct Answers {
    /// Its IPv4 addresses, if it has any.
    pub a: Option<Answer>,
    /// Its IPv6 addresses, if it has any.
    pub aaaa: Option<Answer>,
    /// All of them.
    pub any: Answer,
}

impl Endpoints {
    /// The answers of all endpoints as configured.
    pub fn new(endpoints: &[config::Endpoint]) -> Self {
        let answers = endpoints.iter().map(|endpoint| {
            let addresses: Vec<_> = endpoint.addresses.iter().map(|address| address.ip).collect();
            ArcSwap::from_pointee(Answers::of(&addresses, endpoint.ttl))
        });
        Self(answers.collect())
    }

    /// What endpoint `index` answers now; `None` if there is none of that index.
    pub fn current(&self, index: usize) -> Option<Guard<Arc<Answers>>> {
        Some(self.0.get(index)?.load())
    }
}

impl Answers {
    /// The answers of an endpoint that has these addresses; `ttl` in seconds.
    pub fn of(addresses: &[IpAddr], ttl: u32) -> Self {
        let add = |set: Builder, address: &IpAddr| match address {
            IpAddr::V4(ip) => set.record(Section::Answer, kind::A, ttl, &ip.octets()),
            IpAddr::V6(ip) => set.record(Section::Answer, kind::AAAA, ttl, &ip.octets()),
        };
        let set = |family: &[IpAddr]| family.iter().fold(Builder::new(rcode::NOERROR), add);
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
        let rotating = |family: &[IpAddr], octets| (!family.is_empty()).then(|| set(family).rotating(octets).build());
        Self { a: rotating(&v4, 4), aaaa: rotating(&v6, 16), any: set(addresses).build() }
    }
}
