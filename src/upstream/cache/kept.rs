//! Answers copied out of the cache and put back: what a restart carries over.
//!
//! Apart from the cache's own work, because no query comes this way.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::entry::renewal;
use super::{Cache, Entry, MOST_USES, Queue, Route, Shard, Stale, USES_TO_STAY, lock, weight};
use crate::wire::reply::Outcome;
use crate::wire::{Answer, Question};

/// Answers copied under one lock: so many that taking it costs nothing, so few that a query does not notice.
const AT_ONCE: usize = 256;

/// An answer outside the cache, with all that the cache knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose answer it is.
    pub route: Arc<Route>,
    /// What was asked.
    pub question: Question,
    /// What was said.
    pub answer: Arc<Answer>,
    /// What kind of answer it is.
    pub outcome: Outcome,
    /// When it was kept.
    pub stored: Instant,
    /// When its time is over.
    pub expires: Instant,
    /// It stands in the main queue.
    pub main: bool,
    /// Times asked for, as far as they count.
    pub uses: u8,
}

impl Kept {
    /// Whether it may be served at `now` or later. A failure is over before anybody has started again.
    pub fn is_of_use(&self, stale: Stale, now: Instant) -> bool {
        let past = now.checked_duration_since(self.expires);
        self.outcome != Outcome::Failure && past.is_none_or(|past| past < stale.of(self.outcome))
    }
}

impl Cache {
    /// Copies of all answers that are of use: first those that would stay if room were needed, the oldest first in each
    /// queue. A shard is locked for a few at a time, so what comes and goes meanwhile may be missing, or there twice.
    pub fn kept(&self, stale: Stale, now: Instant) -> impl Iterator<Item = Kept> + '_ {
        let rounds = [(true, Queue::Main), (true, Queue::Small), (false, Queue::Small)];
        let lines = rounds.into_iter().flat_map(|round| self.shards.iter().map(move |shard| (round, shard)));
        let kept = lines.flat_map(|((stays, queue), shard)| {
            let all = (0..).step_by(AT_ONCE).map_while(move |from| copied(shard, queue, from)).flatten();
            all.filter(move |kept| (kept.main || kept.uses >= USES_TO_STAY) == stays)
        });
        kept.filter(move |kept| kept.is_of_use(stale, now))
    }

    /// Takes an answer back, at the end of its queue. One that is larger than a share is not kept.
    pub fn put_back(&self, kept: Kept) {
        let Kept { route, question, answer, outcome, stored, expires, main, uses } = kept;
        let hash = self.hash(&route, question.as_asked());
        let weight = weight(&question, &answer);
        let queue = if main { Queue::Main } else { Queue::Small };
        self.shard(hash).insert(Entry {
            hash,
            route,
            question,
            answer,
            outcome,
            stored,
            ending: renewal(stored, expires),
            expires,
            trouble: None,
            renewed: false,
            superseded: false,
            weight,
            uses: uses.min(MOST_USES),
            queue,
        });
    }
}

/// The next few of `queue`, from its so many-th on; `None` if it is not that long.
fn copied(shard: &Mutex<Shard>, queue: Queue, from: usize) -> Option<Vec<Kept>> {
    let shard = lock(shard);
    let line = match queue {
        Queue::Main => &shard.main,
        Queue::Small => &shard.small,
    };
    let slots = line.slots.iter().skip(from).take(AT_ONCE);
    let entries = slots.filter_map(|slot| shard.entries.get(*slot as usize)).filter(|entry| !entry.superseded);
    (from < line.slots.len()).then(|| entries.map(Kept::from).collect())
}

impl From<&Entry> for Kept {
    fn from(entry: &Entry) -> Self {
        Self {
            route: Arc::clone(&entry.route),
            question: entry.question.clone(),
            answer: Arc::clone(&entry.answer),
            outcome: entry.outcome,
            stored: entry.stored,
            expires: entry.expires,
            main: entry.queue == Queue::Main,
            uses: entry.uses,
        }
    }
}
