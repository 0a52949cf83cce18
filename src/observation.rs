//! A resolver at one moment, in values that can be written down: what was counted, and how everything stands.
//!
//! Apart from the rooms that it looks into, which know nothing of being looked at, and from whoever shows it: metrics,
//! the control socket, a program that embeds the library. All of it can be had as JSON and read back.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::endpoint::watch::Look;
use crate::metrics::{Fate, OTHER, Sums, Times, Totals};
use crate::upstream::Upstream;
use crate::upstream::cache::listed::Listed;
use crate::upstream::forward::MAX_WAITING;
use crate::upstream::ledger::Account;
use crate::wire::query::rcode;
use crate::wire::reply::Outcome;
use crate::wire::{Placement, presentation};

/// A resolver at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Observation {
    /// Counts of one number each.
    pub totals: Totals,
    /// Queries by subnet, outcome and transport, without what was never counted.
    pub queries: Vec<Queries>,
    /// Replies by response code, without codes that were never sent.
    pub replies: Vec<Replies>,
    /// Zones that are or once were among the fifty busiest, busiest first, a thousand at most; the others together, at the
    /// end, if there are any.
    pub zones: Vec<ZoneQueries>,
    /// How long replies took that needed nobody else: from when a batch of queries was there to when its replies had left.
    pub at_once: Times,
    /// How long replies took for which a resolver had to be asked.
    pub forwards: Times,
    /// Forwarding as a whole.
    pub forwarding: Forwarding,
    /// What is kept of what resolvers said.
    pub cache: Cache,
    /// Every resolver of the configuration that was asked anything.
    pub resolvers: Vec<Account>,
    /// Every endpoint.
    pub endpoints: Vec<Look>,
}

/// Queries of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queries {
    /// The subnet's name, or one of [`crate::metrics::NO_SUBNET`] and [`OTHER`].
    pub subnet: String,
    /// What became of them.
    pub outcome: Fate,
    /// `udp` or `tcp`.
    pub transport: String,
    /// How many.
    pub count: u64,
}

/// Replies of one response code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// As IANA calls it.
    pub rcode: String,
    /// How many.
    pub count: u64,
}

/// Queries that one zone decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneQueries {
    /// Its name, or [`OTHER`].
    pub zone: String,
    /// Those of clients it is for.
    pub private: u64,
    /// Those of others, whom it told something.
    pub denied: u64,
}

/// Forwarding as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forwarding {
    /// Queries that wait for a resolver.
    pub waiting: u64,
    /// How many may, ...
    pub waiting_limit: u64,
    /// ... and of these of one client.
    pub waiting_limit_of_one_client: u64,
    /// Queries whose question was on its way already.
    pub joined: u64,
    /// Queries told SERVFAIL because too many waited.
    pub turned_away: u64,
    /// Questions that had to wait for a packet.
    pub queued: u64,
    /// Queries whose time was over before there was an answer.
    pub expired: u64,
    /// Popular answers asked for again before their time was over.
    pub renewals: u64,
    /// Questions moved to TCP because their answers looked forged.
    pub forgeries: u64,
    /// Questions that could not be asked over a stream because too many were.
    pub refused_streams: u64,
    /// What may be sent to the VPC's resolvers; `None` without a limit.
    pub budget: Option<Budget>,
}

/// What may be sent to the VPC's resolvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Budget {
    /// Packets a second.
    pub per_second: u32,
    /// Packets that could leave at once now.
    pub left: u32,
}

/// What is kept of what resolvers said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cache {
    /// Answers, those whose time is over included.
    pub entries: u64,
    /// Memory, in bytes: tables set aside, and what is in them.
    pub bytes: u64,
    /// The most of that.
    pub limit_bytes: u64,
    /// Answers that left to make room.
    pub evicted: u64,
}

/// An answer that is cached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CachedAnswer {
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub r#type: String,
    /// Asked with DO set.
    pub dnssec_ok: bool,
    /// Asked with CD set.
    pub checking_disabled: bool,
    /// Those whose answer it is, one of them.
    pub resolvers: Vec<String>,
    /// Its response code.
    pub rcode: String,
    /// It says that there is nothing, or that nothing could be had.
    pub kind: CachedKind,
    /// How long ago it came, in seconds.
    pub age: u64,
    /// What is left of its time, in seconds; 0 when that is over, and it is served for want of a better.
    pub left: u64,
    /// For how many seconds nobody tries again after it could not be asked for; 0: it is not so.
    pub troubled: u64,
    /// Memory it takes beside its slot, in bytes.
    pub bytes: u64,
    /// Its records, in presentation format.
    pub records: Vec<String>,
}

/// What a cached answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CachedKind {
    /// There is something.
    Positive,
    /// There is nothing.
    Negative,
    /// Nothing could be had.
    Failure,
}

impl Observation {
    /// What there is to see at `now`.
    pub(crate) fn new(
        sums: Sums,
        upstream: &Upstream,
        resolvers: Vec<Account>,
        endpoints: Vec<Look>,
        now: Instant,
    ) -> Self {
        let queries = sums.queries.into_iter().map(|((subnet, outcome, transport), count)| Queries {
            subnet,
            outcome,
            transport: transport.into(),
            count,
        });
        let named = sums.zones.into_iter().map(|(name, asked)| (name.to_string(), asked));
        let rest = (sums.other_zones != [0, 0]).then(|| (OTHER.to_owned(), sums.other_zones));
        let zone = |(zone, [private, denied]): (String, [u64; 2])| ZoneQueries { zone, private, denied };
        let cache = upstream.cache();
        Self {
            totals: sums.totals,
            queries: queries.collect(),
            replies: sums.replies.into_iter().map(|(rcode, count)| Replies { rcode, count }).collect(),
            zones: named.chain(rest).map(zone).collect(),
            at_once: sums.at_once,
            forwards: sums.forwards,
            forwarding: Forwarding::new(upstream, now),
            cache: Cache {
                entries: cache.entries() as u64,
                bytes: cache.bytes() as u64,
                limit_bytes: cache.limit() as u64,
                evicted: cache.evicted(),
            },
            resolvers,
            endpoints,
        }
    }
}

impl Forwarding {
    fn new(upstream: &Upstream, now: Instant) -> Self {
        let counts = &upstream.ledger.forwarding;
        Self {
            waiting: upstream.waiting() as u64,
            waiting_limit: MAX_WAITING as u64,
            waiting_limit_of_one_client: upstream.forwards_per_client() as u64,
            joined: counts.joined.value(),
            turned_away: counts.turned_away.value(),
            queued: counts.queued.value(),
            expired: counts.expired.value(),
            renewals: counts.renewals.value(),
            forgeries: counts.forgeries.value(),
            refused_streams: counts.refused_streams.value(),
            budget: upstream.budget.left(now).map(|(per_second, left)| Budget { per_second, left }),
        }
    }
}

impl CachedAnswer {
    /// What is kept, as it is at `now`.
    pub(crate) fn new(listed: &Listed, now: Instant) -> Self {
        let left = |until: Instant| until.saturating_duration_since(now).as_secs_f64().ceil() as u64;
        let age = now.saturating_duration_since(listed.stored).as_secs();
        let place = Placement { age: u32::try_from(age).unwrap_or(u32::MAX), ..Placement::FRESH };
        Self {
            name: listed.question.name.to_string(),
            r#type: presentation::kind(listed.question.kind),
            dnssec_ok: listed.question.dnssec_ok,
            checking_disabled: listed.question.checking_disabled,
            resolvers: listed.route.hops().iter().map(|hop| hop.target.to_string()).collect(),
            rcode: rcode::mnemonic(listed.answer.rcode()),
            kind: match listed.outcome {
                Outcome::Positive => CachedKind::Positive,
                Outcome::Negative => CachedKind::Negative,
                Outcome::Failure => CachedKind::Failure,
            },
            age,
            left: left(listed.expires),
            troubled: listed.troubled.as_ref().map_or(0, |(until, _)| left(*until)),
            bytes: listed.bytes as u64,
            records: presentation::records(&listed.question, &listed.answer, place),
        }
    }
}
