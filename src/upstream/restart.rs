//! The cache over a restart: what of it is written, and what of that is worth having back.
//!
//! Apart from the format, which is bytes, and from the file, which has the clock. Between two runs only the time of day
//! goes on, and it may have been set meanwhile; the cache knows instants alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::kept::Kept;
use super::loops::is_made_up;
use super::snapshot::{self, Entry, Unreadable};
use super::{Route, Upstream};

/// One moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that only goes forward, and that no other process knows.
    pub now: Instant,
    /// By the one on the wall: Unix time.
    pub time: Duration,
}

impl Moment {
    /// What the wall's clock showed at `instant`, in seconds; `None` if that was before 1970.
    fn time_of(self, instant: Instant) -> Option<u64> {
        let time = match instant.checked_duration_since(self.now) {
            Some(ahead) => self.time.checked_add(ahead),
            None => self.time.checked_sub(self.now.saturating_duration_since(instant)),
        };
        time.map(|time| time.as_secs())
    }

    /// When it showed `time`. On Linux that may be before the machine was started; elsewhere it can be `None`.
    fn instant_of(self, time: u64) -> Option<Instant> {
        let time = Duration::from_secs(time);
        match time.checked_sub(self.time) {
            Some(ahead) => self.now.checked_add(ahead),
            None => self.now.checked_sub(self.time.saturating_sub(time)),
        }
    }
}

/// What became of the entries of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Put back.
    pub restored: usize,
    /// Not what was written.
    pub damaged: usize,
    /// Said by resolvers that the configuration does not have.
    pub foreign: usize,
    /// Stored later than now: the clock has been set back.
    pub future: usize,
    /// Too old to be served, even stale.
    pub over: usize,
}

/// What becomes of one.
enum Fate {
    Restored,
    Damaged,
    Foreign,
    Future,
    Over,
}

impl Upstream {
    /// The entries of a snapshot of what is kept `at` this moment, those that are used most first.
    pub fn snapshot(&self, at: Moment) -> impl Iterator<Item = Vec<u8>> + '_ {
        let kept = self.cache.kept(self.staleness(), at.now);
        kept.filter(|kept| !is_made_up(kept.question.name.as_wire())).filter_map(move |kept| {
            let (stored, expires) = (at.time_of(kept.stored)?, at.time_of(kept.expires)?);
            snapshot::entry(&kept, stored, expires)
        })
    }

    /// Puts back what of `snapshot` is of use `at` this moment and was said by resolvers of one of `routes`.
    ///
    /// # Errors
    /// [`Unreadable`] if it is no snapshot, or not one of this version.
    pub fn restore<'a>(
        &self,
        snapshot: &[u8],
        routes: impl IntoIterator<Item = &'a Arc<Route>>,
        at: Moment,
    ) -> Result<Tally, Unreadable> {
        let routes: HashMap<_, _> = routes.into_iter().map(|route| (snapshot::written(route), route)).collect();
        let mut tally = Tally::default();
        for entry in snapshot::entries(snapshot)? {
            let fate = entry.map_or(Fate::Damaged, |entry| match routes.get(entry.route) {
                Some(route) => self.put_back(&entry, route, at),
                None => Fate::Foreign,
            });
            *match fate {
                Fate::Restored => &mut tally.restored,
                Fate::Damaged => &mut tally.damaged,
                Fate::Foreign => &mut tally.foreign,
                Fate::Future => &mut tally.future,
                Fate::Over => &mut tally.over,
            } += 1;
        }
        Ok(tally)
    }

    fn put_back(&self, entry: &Entry<'_>, route: &Arc<Route>, at: Moment) -> Fate {
        if entry.stored > at.time.as_secs() {
            return Fate::Future;
        }
        let Some((question, received)) = entry.open() else { return Fate::Damaged };
        let Some(longest) = self.longest(received.outcome) else { return Fate::Damaged };
        // The configuration may allow less than it did.
        let expires = entry.expires.min(entry.stored.saturating_add(longest.into()));
        let (Some(stored), Some(expires)) = (at.instant_of(entry.stored), at.instant_of(expires)) else {
            return Fate::Over;
        };
        let kept = Kept {
            route: Arc::clone(route),
            question,
            answer: received.answer,
            outcome: received.outcome,
            stored,
            expires,
            main: entry.main,
            uses: entry.uses,
        };
        if !kept.is_of_use(self.staleness(), at.now) {
            return Fate::Over;
        }
        self.cache.put_back(kept);
        Fate::Restored
    }
}

#[cfg(test)]
pub(super) mod tests;
