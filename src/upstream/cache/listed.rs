//! What is kept of a name, for a person to look at, and to be rid of.
//!
//! Apart from the cache's own work, because no query comes this way: every shard is gone through, each under its lock for as
//! long as that takes, a millisecond or two where there is a million entries.

use std::sync::Arc;
use std::time::Instant;

use super::{Cache, Entry, Shard, lock};
use crate::upstream::Route;
use crate::wire::reply::Outcome;
use crate::wire::{Answer, Name, Question};

/// What is kept of one question.
#[derive(Debug, Clone)]
pub struct Listed {
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
    /// Until when nobody tries again after it could not be asked for, and what is told meanwhile if not this answer.
    pub troubled: Option<(Instant, Option<Arc<Answer>>)>,
    /// Memory it takes beside its slot, in bytes.
    pub bytes: usize,
}

impl Cache {
    /// What is kept of exactly this name, of every type and route.
    pub fn of_name(&self, name: &Name) -> Vec<Listed> {
        let of_shard = |shard: &Shard| -> Vec<Listed> {
            let entries = shard.entries.iter().filter(|(_, entry)| entry.question.name == *name);
            entries.map(|(_, entry)| Listed::from(entry)).collect()
        };
        self.shards.iter().flat_map(|shard| of_shard(&lock(shard))).collect()
    }

    /// Forgets all that is kept of the names that `which` says, whatever its type; returns how many answers these were.
    pub fn forget(&self, which: impl Fn(&Name) -> bool) -> usize {
        self.shards.iter().map(|shard| lock(shard).forget(&which)).sum()
    }
}

impl From<&Entry> for Listed {
    fn from(entry: &Entry) -> Self {
        Self {
            route: Arc::clone(&entry.route),
            question: entry.question.clone(),
            answer: Arc::clone(&entry.answer),
            outcome: entry.outcome,
            stored: entry.stored,
            expires: entry.expires,
            troubled: entry.trouble.as_ref().map(|trouble| (trouble.until, trouble.failure.clone())),
            bytes: entry.weight,
        }
    }
}

impl Shard {
    /// Removes every entry of a name that `which` says.
    fn forget(&mut self, which: impl Fn(&Name) -> bool) -> usize {
        let gone = |entry: &Entry| which(&entry.question.name);
        let slots: Vec<u32> = self.entries.iter().filter(|(_, entry)| gone(entry)).map(|(at, _)| at as u32).collect();
        if slots.is_empty() {
            return 0;
        }
        for slot in &slots {
            let Some(entry) = self.entries.try_remove(*slot as usize) else { continue };
            self.line(entry.queue).weight -= entry.weight;
            if let Ok(found) = self.table.find_entry(entry.hash, |other| other == slot) {
                found.remove();
            }
        }
        // At once for all: to look for each in its queue would take a thousand times as long.
        for line in [&mut self.small, &mut self.main] {
            line.slots.retain(|slot| self.entries.contains(*slot as usize));
        }
        slots.len()
    }
}
