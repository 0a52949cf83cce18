//! The counter behind which cache and forwarder work together: questions in, answers out.
//!
//! Whatever is not a zone's goes here. The room cannot see zones or clients, so a private answer has no way into the
//! cache, and no client can be given another subnet's: what is kept was said by the resolvers of the same [`Route`].

pub mod budget;
pub mod cache;
mod encrypted;
pub mod exchange;
mod flight;
pub mod forward;
pub mod ledger;
mod line;
pub mod loops;
pub mod pool;
mod renewals;
mod restart;
mod route;
pub mod snapshot;
pub mod store;
mod stream;
pub mod track;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::limits::Prefixes;
use crate::wire::query::rcode;
use crate::wire::reply::{Outcome, Received};
use crate::wire::{Answer, Asked, Name, Question};
use budget::Budget;
pub use cache::Hit;
use cache::kept::Kept;
use cache::listed::Listed;
use cache::{Cache, Stale};
use ledger::Ledger;
use loops::Loops;
use renewals::Renewals;
pub use restart::{Moment, Tally};
pub use route::{Hop, Route};

/// How long an answer that there is nothing may be served stale: what was not there may be there now, and a name that
/// does not exist is found out at once by whoever needs it.
const STALE_NEGATIVE: Duration = Duration::from_secs(600);

/// Memory of a cache that a few answers are copied into, so large that the longest finds room in a part of it.
const COPY: usize = 4 << 20;

/// What the hot path and the forwarder share. It outlives every policy.
#[derive(Debug)]
pub struct Upstream {
    cache: Cache,
    /// What tells our own queries when they come back.
    pub loops: Loops,
    /// Packets to the VPC's resolvers. Whoever else asks them takes from it, too.
    pub budget: Arc<Budget>,
    /// How resolvers fare.
    pub ledger: Arc<Ledger>,
    /// Bounds of what a TTL counts as, in seconds.
    min_ttl: AtomicU32,
    max_ttl: AtomicU32,
    max_negative_ttl: AtomicU32,
    /// How long an answer may be served past its TTL, in seconds.
    stale: AtomicU32,
    /// Whether the case of what is asked is drawn at random.
    case_randomisation: AtomicBool,
    /// Queries of one client that may wait.
    forwards_per_client: AtomicUsize,
    /// Bits of an IPv4 and of an IPv6 address that make a client.
    prefixes: [AtomicU8; 2],
    /// Queries that wait for an answer.
    waiting: AtomicUsize,
    /// Popular answers whose time is nearly over.
    renewals: Renewals,
}

impl Upstream {
    /// An empty cache of the configured size.
    pub fn new(config: &Config) -> Self {
        let new = Self {
            cache: Cache::new(config.cache.bytes),
            loops: Loops::default(),
            budget: Budget::new(config.upstream.packets_per_second).into(),
            ledger: Arc::default(),
            min_ttl: AtomicU32::default(),
            max_ttl: AtomicU32::default(),
            max_negative_ttl: AtomicU32::default(),
            stale: AtomicU32::default(),
            case_randomisation: AtomicBool::default(),
            forwards_per_client: AtomicUsize::default(),
            prefixes: Default::default(),
            waiting: AtomicUsize::default(),
            renewals: Renewals::default(),
        };
        new.configure(config);
        new
    }

    /// Takes over a changed configuration; what is cached stays as far as it fits.
    pub fn configure(&self, config: &Config) {
        let Config { cache, upstream, vpc, limits, .. } = config;
        self.cache.resize(cache.bytes);
        self.min_ttl.store(cache.min_ttl, Relaxed);
        self.max_ttl.store(cache.max_ttl, Relaxed);
        self.max_negative_ttl.store(cache.max_negative_ttl, Relaxed);
        self.stale.store(upstream.stale.as_secs() as u32, Relaxed);
        self.case_randomisation.store(upstream.case_randomisation, Relaxed);
        self.forwards_per_client.store(limits.forwards_per_client, Relaxed);
        let [v4, v6] = &self.prefixes;
        v4.store(limits.ipv4_prefix, Relaxed);
        v6.store(limits.ipv6_prefix, Relaxed);
        self.budget.configure(upstream.packets_per_second, &vpc.resolvers);
    }

    /// The answer that `route` gave to this question, if it may still be used.
    pub fn cached(&self, route: &Arc<Route>, asked: Asked<'_>, now: Instant) -> Option<Hit> {
        let hit = self.cache.get(route, asked, now)?;
        if hit.renew {
            self.renewals.add(route, asked);
        }
        Some(hit)
    }

    /// The same; where there is none, the answer whose time is over, as long as it may be served then.
    fn cached_or_stale(&self, route: &Arc<Route>, asked: Asked<'_>, now: Instant) -> Result<Hit, Option<Hit>> {
        let hit = self.cache.get_or_stale(route, asked, self.staleness(), now)?;
        if hit.renew {
            self.renewals.add(route, asked);
        }
        Ok(hit)
    }

    /// Keeps what came from `route`, for as long as its TTLs and the configuration allow.
    fn keep(&self, route: &Arc<Route>, question: &Question, received: &mut Received, now: Instant) {
        let Some(most) = self.longest(received.outcome) else { return };
        let min = self.min_ttl.load(Relaxed);
        if min > 0 {
            Arc::make_mut(&mut received.answer).raise_ttls(min);
        }
        let lifetime = Duration::from_secs(received.lifetime.max(min).min(most).into());
        self.cache.insert(route, question, (Arc::clone(&received.answer), received.outcome), lifetime, now);
    }

    /// The longest that an answer of this kind is kept, in seconds; a failure is not.
    fn longest(&self, outcome: Outcome) -> Option<u32> {
        let max = self.max_ttl.load(Relaxed);
        match outcome {
            Outcome::Positive => Some(max),
            Outcome::Negative => Some(max.min(self.max_negative_ttl.load(Relaxed))),
            Outcome::Failure => None,
        }
    }

    /// Notes that no resolver of `route` could answer, for a second or a few; returns what those who wait are told: the
    /// failure, or an answer that was kept.
    fn fail(&self, route: &Arc<Route>, question: &Question, failure: Arc<Answer>, now: Instant) -> Hit {
        let last = is_last_word(&failure);
        let kept = self.cache.fail(route, question, (Arc::clone(&failure), last), self.staleness(), now);
        kept.unwrap_or_else(|| Hit::fresh(failure))
    }

    /// One that has what this one keeps of `names`, and nothing else: what would be answered from it is looked at.
    pub fn copy_of(&self, names: &[Name], now: Instant) -> Self {
        let copy = Self {
            cache: Cache::new(COPY),
            loops: Loops::default(),
            budget: Budget::new(0).into(),
            ledger: Arc::default(),
            min_ttl: self.min_ttl.load(Relaxed).into(),
            max_ttl: self.max_ttl.load(Relaxed).into(),
            max_negative_ttl: self.max_negative_ttl.load(Relaxed).into(),
            stale: self.stale.load(Relaxed).into(),
            case_randomisation: self.case_randomisation.load(Relaxed).into(),
            forwards_per_client: AtomicUsize::default(),
            prefixes: Default::default(),
            waiting: AtomicUsize::default(),
            renewals: Renewals::default(),
        };
        for listed in names.iter().flat_map(|name| self.cache.of_name(name)) {
            let Listed { route, question, answer, outcome, stored, expires, troubled, .. } = listed;
            let kept = Kept { route, question, answer, outcome, stored, expires, main: true, uses: 0 };
            copy.cache.put_back(kept.clone());
            if let Some((_, failure)) = troubled.filter(|(until, _)| *until > now) {
                let last = failure.is_some();
                let failure = failure.unwrap_or_else(|| Arc::clone(&kept.answer));
                copy.cache.fail(&kept.route, &kept.question, (failure, last), copy.staleness(), now);
            }
        }
        copy
    }

    /// The cache, to look at.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// How many queries of one client may wait for an answer.
    pub fn forwards_per_client(&self) -> usize {
        self.forwards_per_client.load(Relaxed)
    }

    /// What makes a client.
    fn prefixes(&self) -> Prefixes {
        let [v4, v6] = &self.prefixes;
        Prefixes::new(v4.load(Relaxed), v6.load(Relaxed))
    }

    /// How many queries wait for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// So many wait no longer.
    fn delivered(&self, count: usize) {
        // Saturating: after the forwarder began anew, some may be counted off that are no longer counted.
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, |waiting| Some(waiting.saturating_sub(count)));
    }

    fn staleness(&self) -> Stale {
        let positive = Duration::from_secs(self.stale.load(Relaxed).into());
        Stale { positive, negative: positive.min(STALE_NEGATIVE) }
    }
}

/// Whether a failure is meant, by its extended errors (RFC 8914): DNSSEC says that the data is forged, or somebody blocks
/// the name. An older answer must not stand in for it.
fn is_last_word(failure: &Answer) -> bool {
    let dnssec = |code| matches!(code, 1 | 2 | 5..=12 | 25 | 27);
    let blocked = |code| matches!(code, 15..=17);
    failure.errors().iter().any(|error| dnssec(error.code) || blocked(error.code))
}

impl Hit {
    /// This, unless it is a failure and there is an older answer that may stand in for it.
    fn or_older(self, older: Option<Self>) -> Self {
        let is_failure = |hit: &Self| !matches!(hit.answer.rcode(), rcode::NOERROR | rcode::NXDOMAIN);
        if !is_failure(&self) || is_last_word(&self.answer) {
            return self;
        }
        older.filter(|older| !is_failure(older)).unwrap_or(self)
    }
}
