//! The counter behind which cache and forwarder work together: questions in, answers out.
//!
//! Whatever is not a zone's goes here. The room cannot see zones or clients, so a private answer has no way into the
//! cache, and no client can be given another subnet's: what is kept was said by the resolvers of the same [`Route`].

pub mod cache;
pub mod exchange;
mod flight;
pub mod forward;
pub mod loops;
pub mod pool;
mod stream;
mod track;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config;
use crate::wire::reply::{Outcome, Received};
use crate::wire::{Asked, Question};
use cache::{Cache, Hit};
use loops::Loops;

/// The resolvers that a question may go to: the VPC's, or a rule's targets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// At least one; the order is the configuration's.
    resolvers: Box<[SocketAddr]>,
}

impl Route {
    /// The route to these resolvers.
    pub fn new(resolvers: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self { resolvers: resolvers.into() })
    }

    /// The resolvers, at least one unless the route was made of none.
    pub fn resolvers(&self) -> &[SocketAddr] {
        &self.resolvers
    }
}

/// What the hot path and the forwarder share. It outlives every policy.
#[derive(Debug)]
pub struct Upstream {
    cache: Cache,
    /// What tells our own queries when they come back.
    pub loops: Loops,
    /// Bounds of what a TTL counts as, in seconds.
    min_ttl: AtomicU32,
    max_ttl: AtomicU32,
    max_negative_ttl: AtomicU32,
    /// Queries that wait for an answer.
    waiting: AtomicUsize,
}

impl Upstream {
    /// An empty cache of the configured size.
    pub fn new(config: &config::Cache) -> Self {
        Self {
            cache: Cache::new(config.bytes),
            loops: Loops::default(),
            min_ttl: config.min_ttl.into(),
            max_ttl: config.max_ttl.into(),
            max_negative_ttl: config.max_negative_ttl.into(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Takes over a changed configuration; what is cached stays as far as it fits.
    pub fn configure(&self, config: &config::Cache) {
        self.cache.resize(config.bytes);
        self.min_ttl.store(config.min_ttl, Relaxed);
        self.max_ttl.store(config.max_ttl, Relaxed);
        self.max_negative_ttl.store(config.max_negative_ttl, Relaxed);
    }

    /// The answer that `route` gave to this question, if it may still be used.
    pub fn cached(&self, route: &Route, asked: Asked<'_>, now: Instant) -> Option<Hit> {
        self.cache.get(route, asked, now)
    }

    /// Keeps what came from `route`, for as long as its TTLs and the configuration allow.
    pub fn keep(&self, route: &Arc<Route>, question: &Question, received: &mut Received, now: Instant) {
        let (min, max) = (self.min_ttl.load(Relaxed), self.max_ttl.load(Relaxed));
        let most = match received.outcome {
            Outcome::Positive => max,
            Outcome::Negative => max.min(self.max_negative_ttl.load(Relaxed)),
            // What a resolver could not say is not kept.
            Outcome::Failure => return,
        };
        if min > 0 {
            Arc::make_mut(&mut received.answer).raise_ttls(min);
        }
        let lifetime = Duration::from_secs(received.lifetime.max(min).min(most).into());
        self.cache.insert(route, question, Arc::clone(&received.answer), lifetime, now);
    }

    /// The cache, to look at.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// So many wait no longer.
    fn delivered(&self, count: usize) {
        // Saturating: after the forwarder began anew, some may be counted off that are no longer counted.
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, |waiting| Some(waiting.saturating_sub(count)));
    }

    /// How many queries wait for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}
