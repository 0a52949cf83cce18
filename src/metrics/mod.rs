//! Counts: each thread has its own, and they are summed when read.
//!
//! Apart from everything, so that counting needs no lock and no thought on the hot path: a count has one writer, which
//! adds with a plain load and store, and any number of readers.

mod busiest;
mod fate;
mod histogram;
mod shown;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use busiest::{Busiest, Ranking};
pub use fate::{Fate, Fates, SubnetId};
pub use histogram::{Histogram, Times};

use crate::wire::query::rcode;
use crate::wire::{Name, Transport};
use shown::Shown;

/// One count of one thread, which other threads may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Raises the count. Only the owning thread may call this: it is a load and a store, not a locked addition.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Makes it another number. Only the owning thread may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Names every count once: the struct of one thread, the sum of all, and how the two meet.
macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one thread has counted.
        #[derive(Debug, Default)]
        #[repr(align(64))] // a cache line of its own: threads must not slow each other by counting
        pub struct Counts {
            $($(#[$doc])* pub $name: Count,)*
            /// What became of its queries.
            pub fates: Fates,
            /// Replies by response code.
            pub replies: Replies,
            /// From when a batch of queries was there to when those of its replies had left that needed nobody else.
            pub at_once: Histogram,
            /// From when a query was there to when its answer had come from a resolver.
            pub forwards: Histogram,
            /// Who decided them.
            pub zones: Busiest,
        }

        /// What all threads have counted, at the moment of reading.
        /// Whoever embeds the library hands them on in a form of their choice.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct Totals {
            /// Packets received as queries: the sum of all that follow up to `dropped`.
            pub queries: u64,
            /// Queries answered by a zone, or told by it that it is not for them.
            pub private: u64,
            /// Queries answered from the cache, stale answers included.
            pub hits: u64,
            /// Queries that went to the forwarder.
            pub forwarded: u64,
            /// Queries that phzd itself answered REFUSED: of clients that may not ask, of what is not served to them.
            pub refused: u64,
            /// Packets that were no query, or one that is not served.
            pub malformed: u64,
            /// Queries over `limits.queries-per-second`, answered with TC or not at all.
            pub limited: u64,
            /// Packets that got no reply on purpose.
            pub dropped: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            fn add(&mut self, counts: &Counts) {
                $(self.$name += counts.$name.value();)*
            }

            /// Every count with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    ("queries", self.queries),
                    ("private", self.private),
                    ("hits", self.hits),
                    ("forwarded", self.forwarded),
                    ("refused", self.refused),
                    ("malformed", self.malformed),
                    ("limited", self.limited),
                    ("dropped", self.dropped),
                    $((stringify!($name), self.$name),)*
                ]
                .into_iter()
            }
        }
    };
}

counts! {
    /// Replies cut short to what the client takes.
    truncated,
    /// Queries over `limits.queries-per-second` that were told to come over TCP.
    slipped,
    /// Replies cut to TC because the client may have been sent no more (`limits.amplification-kb-per-second`).
    unamplified,
    /// Queries whose CNAMEs led on and on.
    endless_chains,
    /// Replies to queries that waited with an answer whose time was over.
    stale,
    /// Queries answered SERVFAIL because too many were waiting already.
    overloaded,
    /// Replies that the kernel would not send.
    unsent,
    /// Queries that got no reply because of a mistake in phzd.
    panics,
    /// TCP connections accepted.
    tcp_connections,
    /// TCP connections that have ended.
    tcp_ended,
    /// TCP connections closed at once because a cap was reached and all that could make room were in use.
    tcp_refused,
    /// Idle TCP connections closed because a cap was reached, for one that came.
    tcp_displaced,
    /// TCP connections closed because they were idle, or a message of theirs did not come, or replies were not taken, for too
    /// long.
    tcp_expired,
    /// Times that a TCP connection was not read on because too many of its queries were waiting.
    tcp_full,
    /// Queries over TCP answered SERVFAIL because their client left too many replies unread.
    tcp_unread,
    /// Endpoint DNS names looked up with success, both families together.
    refreshes,
    /// Endpoint DNS names of which some family could not be looked up.
    refresh_failures,
    /// Health checks of endpoint addresses that failed.
    probes_failed,
    /// Endpoint addresses that became unhealthy, or healthy again.
    health_changes,
    /// Lines that the query log could not take because it was full.
    log_dropped,
}

/// Replies by response code.
#[derive(Debug, Default)]
pub struct Replies([Count; Self::CODES]);

impl Replies {
    /// Codes that have a count: those that IANA has assigned up to BADCOOKIE (RFC 6895 section 2.3); the last is for all others.
    const CODES: usize = 25;

    /// What its count is called.
    fn name(code: u16) -> String {
        if usize::from(code) < Self::CODES - 1 { rcode::mnemonic(code) } else { OTHER.into() }
    }

    /// The count of this response code.
    pub fn of(&self, code: u16) -> &Count {
        &self.0[usize::from(code).min(Self::CODES - 1)]
    }
}

/// All that was counted, with its names.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Counts of one number each.
    pub totals: Totals,
    /// Queries by subnet, fate and transport, without what was never counted.
    pub queries: BTreeMap<(String, Fate, &'static str), u64>,
    /// Replies by response code, without codes that were never sent.
    pub replies: BTreeMap<String, u64>,
    /// What was answered at once.
    pub at_once: Times,
    /// What had to be asked for.
    pub forwards: Times,
    /// Who decided, by name.
    pub zones: Vec<(Name, [u64; 2])>,
    /// Decisions of all other zones together.
    pub other_zones: [u64; 2],
}

/// What clients in no subnet are counted under.
pub const NO_SUBNET: &str = "(none)";
/// What subnets are counted under that have no count of their own, and zones that are not among the busiest.
pub const OTHER: &str = "(other)";

/// Where threads register what they count.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<Book>>);

/// Who counts.
#[derive(Debug, Default)]
struct Book {
    /// Accounts, also of those who are gone: the next goes on with one.
    counting: Vec<Arc<Counts>>,
    /// Every subnet that a policy ever named, in the order of [`SubnetId::nth`].
    subnets: Vec<String>,
    /// Zones that were ever told by name.
    shown: Shown,
}

/// Sums without names.
#[derive(Debug, Clone)]
struct Ledger {
    totals: Totals,
    /// In the order of [`Fates::all`].
    fates: Vec<u64>,
    replies: [u64; Replies::CODES],
    at_once: Times,
    forwards: Times,
    zones: Ranking,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            fates: vec![0; SubnetId::COUNT * Fate::ALL.len() * 2],
            replies: [0; Replies::CODES],
            at_once: Times::default(),
            forwards: Times::default(),
            zones: Ranking::default(),
        }
    }
}

impl Ledger {
    fn add(&mut self, counts: &Counts) {
        self.totals.add(counts);
        for (sum, (_, fate, _, count)) in self.fates.iter_mut().zip(counts.fates.all()) {
            *sum += count;
            self.totals.queries += count;
            *match fate {
                Fate::Private | Fate::Denied => &mut self.totals.private,
                Fate::Cached | Fate::Stale => &mut self.totals.hits,
                Fate::Forwarded => &mut self.totals.forwarded,
                Fate::Refused => &mut self.totals.refused,
                Fate::Malformed => &mut self.totals.malformed,
                Fate::Limited => &mut self.totals.limited,
                Fate::Dropped => &mut self.totals.dropped,
            } += count;
        }
        for (sum, count) in self.replies.iter_mut().zip(&counts.replies.0) {
            *sum += count.value();
        }
        self.at_once.add(&counts.at_once);
        self.forwards.add(&counts.forwards);
        self.zones.add(&counts.zones);
    }
}

impl Book {
    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.counting.iter().for_each(|counts| ledger.add(counts));
        ledger
    }

    fn subnet(&self, id: SubnetId) -> &str {
        match id {
            SubnetId::NONE => NO_SUBNET,
            SubnetId::OTHER => OTHER,
            id => self.subnets.get(id.index() - 2).map_or(OTHER, String::as_str),
        }
    }
}

impl Registry {
    /// Counts for one more thread: those of one who is gone, where there is one, since embedders may clone a resolver for
    /// each query.
    pub fn register(&self) -> Arc<Counts> {
        let mut book = self.book();
        if let Some(left) = book.counting.iter_mut().find_map(|counts| Arc::get_mut(counts).is_some().then_some(counts))
        {
            return Arc::clone(left);
        }
        let counts = Arc::new(Counts::default());
        book.counting.push(Arc::clone(&counts));
        counts
    }

    /// What clients of the subnets of these names are counted under. A name keeps its count as long as the registry lives.
    pub fn subnets<'n>(&self, names: impl Iterator<Item = &'n str>) -> Box<[SubnetId]> {
        let mut book = self.book();
        let mut id = |name: &str| {
            let known = book.subnets.iter().position(|known| known == name);
            // Names beyond the last count need not be remembered: they are counted together.
            SubnetId::nth(known.unwrap_or_else(|| {
                if book.subnets.len() + 2 < SubnetId::COUNT {
                    book.subnets.push(name.into());
                    book.subnets.len() - 1
                } else {
                    SubnetId::COUNT
                }
            }))
        };
        names.map(&mut id).collect()
    }

    /// What a subnet is called that is counted under `id`.
    pub fn subnet(&self, id: SubnetId) -> String {
        self.book().subnet(id).to_owned()
    }

    /// The sum over all threads.
    pub fn totals(&self) -> Totals {
        self.book().ledger().totals
    }

    /// All sums, with names.
    pub fn sums(&self) -> Sums {
        let mut book = self.book();
        let ledger = book.ledger();
        let (zones, other_zones) = book.shown.next(ledger.zones);
        let of = |transport| if transport == Transport::Udp { "udp" } else { "tcp" };
        let names = Fates::default();
        let counted = names.all().zip(&ledger.fates).filter(|(_, count)| **count > 0);
        let mut queries = BTreeMap::new();
        for ((subnet, fate, transport, _), count) in counted {
            *queries.entry((book.subnet(subnet).to_owned(), fate, of(transport))).or_default() += count;
        }
        let replies = (0..).zip(ledger.replies).filter(|(_, count)| *count > 0);
        Sums {
            totals: ledger.totals,
            queries,
            replies: replies.map(|(code, count)| (Replies::name(code), count)).collect(),
            at_once: ledger.at_once,
            forwards: ledger.forwards,
            zones,
            other_zones,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(counts: &Counts, subnet: SubnetId) {
        counts.fates.of(subnet, Fate::Private, Transport::Udp).add(1);
    }

    #[test]
    fn readers_add_up_what_threads_count() {
        let registry = Registry::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let counts = registry.register();
                scope.spawn(move || (0..1000).for_each(|_| private(&counts, SubnetId::NONE)));
            }
        });
        assert_eq!((registry.totals().queries, registry.totals().private), (3000, 3000));
        assert_eq!(registry.totals().named().next(), Some(("queries", 3000)));
    }

    #[test]
    fn who_is_gone_has_counted_and_takes_no_memory() {
        let registry = Registry::default();
        for _ in 0..100 {
            private(&registry.register(), SubnetId::NONE);
        }
        assert_eq!(registry.totals().queries, 100);
        assert!(registry.book().counting.len() <= 1);
    }

    #[test]
    fn a_subnet_keeps_its_count_over_reloads() {
        let registry = Registry::default();
        let counts = registry.register();
        let first = registry.subnets(["a", "b"].into_iter());
        private(&counts, first[1]);
        let second = registry.subnets(["c", "b"].into_iter());
        assert_eq!(first[1], second[1]);
        private(&counts, second[1]);
        private(&counts, second[0]);
        let queries = registry.sums().queries;
        let of = |name: &str| queries.get(&(name.to_owned(), Fate::Private, "udp")).copied();
        assert_eq!((of("a"), of("b"), of("c")), (None, Some(2), Some(1)));
    }

    #[test]
    fn subnets_without_number_are_counted_together() {
        let registry = Registry::default();
        let names: Vec<_> = (0..1000).map(|number| format!("subnet-{number}")).collect();
        let ids = registry.subnets(names.iter().map(String::as_str));
        let counts = registry.register();
        ids.iter().for_each(|id| private(&counts, *id));
        assert_eq!(registry.sums().queries[&(OTHER.to_owned(), Fate::Private, "udp")], 1000 - 126);
        assert!(registry.book().subnets.len() < SubnetId::COUNT);
    }
}
