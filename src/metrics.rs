//! What phzd counts. Each thread counts for itself, with plain stores that nobody waits for; readers add up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number that one thread raises and any thread may read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Raises the count. Only the owning thread may call this: it is a load and a store, not a locked addition.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
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
        }

        /// What all threads have counted, at the moment of reading.
        /// Whoever embeds the library hands them on in a form of their choice.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            fn add(&mut self, counts: &Counts) {
                $(self.$name += counts.$name.value();)*
            }

            /// Every count with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counts! {
    /// Packets received as queries.
    queries,
    /// Queries answered by a zone.
    private,
    /// Queries answered from the cache.
    hits,
    /// Queries that went to the forwarder.
    forwarded,
    /// Queries that phzd itself answered REFUSED: of clients that may not ask, of what is not served to them.
    refused,
    /// Packets that were no query, or one that is not served.
    malformed,
    /// Packets that got no reply on purpose.
    dropped,
    /// Replies cut short to what the client takes.
    truncated,
    /// Queries answered SERVFAIL because too many were waiting already.
    overloaded,
    /// Replies that the kernel would not send.
    unsent,
    /// Queries that got no reply because of a mistake in phzd.
    panics,
    /// TCP connections accepted.
    tcp_connections,
    /// TCP connections closed at once because a cap was reached.
    tcp_refused,
    /// Endpoint DNS names looked up with success, both families together.
    refreshes,
    /// Endpoint DNS names of which some family could not be looked up.
    refresh_failures,
    /// Health checks of endpoint addresses that failed.
    probes_failed,
    /// Endpoint addresses that became unhealthy, or healthy again.
    health_changes,
}

/// Where threads register what they count.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<Book>>);

/// Who counts, and what those counted who are gone.
#[derive(Debug, Default)]
struct Book {
    counting: Vec<Arc<Counts>>,
    gone: Totals,
}

impl Book {
    /// Closes the accounts of those who are gone: embedders may clone a resolver for each query.
    fn close_accounts(&mut self) {
        let Self { counting, gone } = self;
        counting.retain_mut(|counts| match Arc::get_mut(counts) {
            Some(counts) => {
                gone.add(counts);
                false
            }
            None => true,
        });
    }
}

impl Registry {
    /// Counts for one more thread.
    pub fn register(&self) -> Arc<Counts> {
        let counts = Arc::new(Counts::default());
        let mut book = self.book();
        book.close_accounts();
        book.counting.push(Arc::clone(&counts));
        counts
    }

    /// The sum over all threads.
    pub fn totals(&self) -> Totals {
        let book = self.book();
        let mut totals = book.gone;
        book.counting.iter().for_each(|counts| totals.add(counts));
        totals
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_add_up_what_threads_count() {
        let registry = Registry::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let counts = registry.register();
                scope.spawn(move || (0..1000).for_each(|_| counts.queries.add(1)));
            }
        });
        assert_eq!(registry.totals().queries, 3000);
        assert_eq!(registry.totals().named().next(), Some(("queries", 3000)));
    }

    #[test]
    fn who_is_gone_has_counted_and_takes_no_memory() {
        let registry = Registry::default();
        for _ in 0..100 {
            registry.register().queries.add(1);
        }
        assert_eq!(registry.totals().queries, 100);
        assert!(registry.book().counting.len() <= 1);
    }
}
