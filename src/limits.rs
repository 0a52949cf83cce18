//! What one client may take of the service: queries a second over UDP, and octets beyond what it has sent itself.
//!
//! Only UDP is limited. A datagram's source may be forged, so whoever floods may be a victim, and what is sent to a client
//! may be meant for one; who comes over TCP has shown that it is there. So what is over a limit is told to come over TCP,
//! or gets nothing (response rate limiting, as BIND and others have it).
//!
//! Pure: `now` is an argument. One value serves all threads, since the kernel spreads a client's queries over them. It
//! takes memory once, and no lock: see `account` and `shown`. Clients on this host are free of it all.

mod account;
mod prefix;
mod shown;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::config;
pub use account::Tick;
use account::{Accounts, SECOND};
pub use prefix::{Prefix, Prefixes};
use shown::Shown;

/// A reply may have so many times the octets of its query, whoever asked: as many as QUIC sends to an address that has not
/// been validated (RFC 9000 section 8). Errors of phzd's own and most answers stay below.
pub const FREE_FACTOR: usize = 3;

/// What a configuration allows each client.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    prefixes: Prefixes,
    /// What a query costs; none: they are not limited.
    query: Option<u64>,
    slip: u64,
    /// Octets a second; none: they are not limited.
    amplification: Option<u64>,
}

impl From<&config::Limits> for Terms {
    fn from(limits: &config::Limits) -> Self {
        let some = |rate: u32| (rate > 0).then_some(u64::from(rate));
        Self {
            prefixes: Prefixes::from(limits),
            query: some(limits.queries_per_second).map(|rate| SECOND.div_ceil(rate)),
            slip: limits.slip.into(),
            amplification: some(limits.amplification),
        }
    }
}

/// What becomes of a query that is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMany {
    /// It gets no reply.
    Drop,
    /// It gets one without records that says so (TC), so that whoever did ask comes over TCP.
    Truncate,
}

/// The moment that a thread was last told: all queries of a batch have the same, and it is worked out once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    at: Option<Instant>,
    tick: Tick,
}

/// What clients have taken of late.
#[derive(Debug, Default)]
pub struct Limits {
    /// The first moment that it was told.
    began: OnceLock<Instant>,
    queries: Accounts,
    amplification: Accounts,
    shown: Shown,
}

impl Limits {
    /// A client's query came as a datagram: whether that is one too many, and if so, what becomes of it.
    #[inline]
    pub fn query(&self, terms: &Terms, client: IpAddr, now: Instant, clock: &mut Clock) -> Option<TooMany> {
        let prefix = terms.prefixes.limited(client)?;
        let cost = terms.query?;
        if clock.at != Some(now) {
            *clock = Clock { at: Some(now), tick: self.tick(now) };
        }
        if self.queries.charge(prefix, cost, clock.tick) {
            return None;
        }
        Some(self.too_many(terms, prefix))
    }

    #[cold]
    fn too_many(&self, terms: &Terms, prefix: Prefix) -> TooMany {
        if self.queries.slips(prefix, terms.slip) { TooMany::Truncate } else { TooMany::Drop }
    }

    /// A client's query came over a connection: its address is no forged one.
    #[inline]
    pub fn came_over_tcp(&self, terms: &Terms, client: IpAddr, now: Instant) {
        if terms.amplification.is_some() {
            self.shown.add(client, self.seconds(now));
        }
    }

    /// Whether a client may be sent a datagram of so many octets in reply to a query of so many: up to three times as
    /// many always, and more if its address has shown to be no forged one, or its prefix has some left of what it may have
    /// beyond.
    #[inline]
    pub fn reply(&self, terms: &Terms, client: IpAddr, (query, reply): (usize, usize), now: Instant) -> bool {
        let beyond = reply.saturating_sub(FREE_FACTOR * query);
        beyond == 0 || self.amplifies(terms, client, beyond as u64, now)
    }

    fn amplifies(&self, terms: &Terms, client: IpAddr, beyond: u64, now: Instant) -> bool {
        let (Some(rate), Some(prefix)) = (terms.amplification, terms.prefixes.limited(client)) else { return true };
        let cost = (beyond * SECOND).div_ceil(rate);
        self.shown.has(client, self.seconds(now)) || self.amplification.charge(prefix, cost, self.tick(now))
    }

    #[cold]
    fn tick(&self, now: Instant) -> Tick {
        Tick::after(self.since_then(now))
    }

    fn seconds(&self, now: Instant) -> u64 {
        self.since_then(now).as_secs()
    }

    fn since_then(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.began.get_or_init(|| now))
    }
}

#[cfg(test)]
mod tests;
