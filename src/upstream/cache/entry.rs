//! One answer in the cache: what it weighs, how old it is, how it fares.
//!
//! Apart from the shards, which put entries in line and know nothing of answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Hit, MOST_USES, Stale};
use crate::upstream::Route;
use crate::wire::reply::Outcome;
use crate::wire::{Answer, Question};

/// What the allocator adds to the pieces an entry is made of: name, answer with its two counters, records, TTL places.
const ALLOCATOR: usize = 4 * 16;
/// After so long, the next failure is a first one again.
const FORGIVEN: Duration = Duration::from_secs(10);
/// Answers that live shorter are not asked for before they end: they would be asked for all the time.
const WORTH_RENEWING: Duration = Duration::from_secs(10);

/// Memory that an entry takes beside its slot, in bytes.
pub(super) fn weight(question: &Question, answer: &Answer) -> usize {
    question.name.as_wire().len() + answer.footprint() + 2 * size_of::<usize>() + ALLOCATOR
}

/// Where the last tenth of an answer's time begins; where that is too short to make a difference, its end.
pub(super) fn renewal(stored: Instant, expires: Instant) -> Instant {
    let lifetime = expires.saturating_duration_since(stored);
    let before = if lifetime >= WORTH_RENEWING { lifetime / 10 } else { Duration::ZERO };
    expires.checked_sub(before).unwrap_or(expires)
}

/// A question, its answer, and how both fare. It begins where a line of the processor's cache does, and is two of them.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) hash: u64,
    pub(super) route: Arc<Route>,
    pub(super) question: Question,
    pub(super) answer: Arc<Answer>,
    pub(super) outcome: Outcome,
    pub(super) stored: Instant,
    /// From here on it is worth asking for again; see [`renewal`].
    pub(super) ending: Instant,
    /// From here on it is served only for want of a better.
    pub(super) expires: Instant,
    /// It could not be asked for again. Apart, since few have it.
    pub(super) trouble: Option<Box<Trouble>>,
    /// That it should be asked for again has been said.
    pub(super) renewed: bool,
    /// What has been said since could not be kept: when this one's time is over, it is of no use.
    pub(super) superseded: bool,
    /// Bytes of memory beside its slot.
    pub(super) weight: usize,
    /// Times asked for, up to [`super::MOST_USES`], less the times it was spared for that.
    pub(super) uses: u8,
    /// Where its slot stands in line.
    pub(super) queue: Queue,
}

/// Why an answer could not be asked for again.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Until when nobody need try.
    pub(super) until: Instant,
    /// What is told instead of the answer, if that may not be.
    pub(super) failure: Option<Arc<Answer>>,
    /// How often in a row.
    pub(super) failures: u8,
}

impl Trouble {
    /// Octets of memory it takes beside its entry.
    pub(super) fn footprint(&self) -> usize {
        let failure = self.failure.as_ref().map_or(0, |failure| failure.footprint() + 2 * size_of::<usize>());
        size_of::<Self>() + failure + ALLOCATOR
    }
}

impl Entry {
    /// What is served at once, and counted as a use: the answer while its time lasts, then what its trouble leaves.
    pub(super) fn serve(&mut self, now: Instant) -> Option<Hit> {
        // An expired entry counts as used as well: whoever asks for it wants it back.
        self.uses = (self.uses + 1).min(MOST_USES);
        if now < self.expires {
            let renew = self.uses == MOST_USES && !self.renewed && now >= self.ending;
            self.renewed |= renew;
            return Some(Hit { renew, ..self.hit(now) });
        }
        let trouble = self.trouble.as_ref().filter(|trouble| now < trouble.until)?;
        match &trouble.failure {
            Some(failure) => Some(Hit::fresh(Arc::clone(failure))),
            None => (!self.superseded).then(|| self.stale_hit(now)),
        }
    }

    /// The answer, when its time is over.
    pub(super) fn stale_hit(&self, now: Instant) -> Hit {
        Hit { stale: true, ..self.hit(now) }
    }

    pub(super) fn hit(&self, now: Instant) -> Hit {
        let age = now.saturating_duration_since(self.stored).as_secs();
        Hit { age: u32::try_from(age).unwrap_or(u32::MAX), ..Hit::fresh(Arc::clone(&self.answer)) }
    }

    /// Whether its time is over and it may be served all the same.
    pub(super) fn may_be_stale(&self, stale: Stale, now: Instant) -> bool {
        (self.expires..self.usable_until(stale)).contains(&now)
    }

    /// From here on it is not served at all.
    pub(super) fn usable_until(&self, stale: Stale) -> Instant {
        let stale = if self.superseded { Duration::ZERO } else { stale.of(self.outcome) };
        self.expires.checked_add(stale).unwrap_or(self.expires)
    }

    /// How often in a row the question has failed, the last time not long ago.
    pub(super) fn failures(&self, now: Instant) -> u8 {
        let recent = |until: Instant| now.saturating_duration_since(until) < FORGIVEN;
        match &self.trouble {
            Some(trouble) if recent(trouble.until) => trouble.failures,
            None if self.outcome == Outcome::Failure && recent(self.expires) => {
                // A failure is kept for as long as it was the first, second or third.
                let kept = self.expires.saturating_duration_since(self.stored).as_secs();
                (kept.max(1).ilog2() + 1) as u8
            }
            _ => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Small,
    Main,
}
