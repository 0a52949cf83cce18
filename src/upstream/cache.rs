//! What resolvers said, kept while their TTLs last: bounded by bytes, shared by all threads, without a clock.
//!
//! Answers lie here as the bytes they are sent as, so a hit is one probe under a lock and one reference more. Apart
//! from the forwarder, because whether an answer is kept has nothing to do with how it was had. RFC 1035 section 7.4
//! says what a cache is for; RFC 2308 section 5 that a negative answer belongs in it too, RFC 9520 that a failure does.
//!
//! An answer stays when its time is over, until its room is needed: it may be served stale (RFC 8767). So a failure
//! never takes the place of an answer: it is noted beside it.
//!
//! What goes when it is full is decided by S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction",
//! SOSP 2023). New entries wait in a small queue, a tenth of the whole, and are moved to the main queue only if they
//! were asked for again before they came to its end. So names that are asked once, however many, push out each other
//! and nothing else. The hashes of those that failed are remembered for a while: who comes back goes to the main queue
//! at once.

mod entry;
pub mod kept;
pub mod listed;

use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::Route;
use crate::wire::reply::Outcome;
use crate::wire::{Answer, Asked, Placement, Question};
use entry::{Entry, Queue, Trouble, renewal, weight};

/// Parts of the cache, each with its own lock. A probe takes a hundredth of what the rest of a query does, so that even
/// with as many threads as parts one seldom finds another inside.
const SHARDS: usize = 32;
/// Memory for which a slot is set aside: what the answer of a few addresses takes, tables and all.
const BYTES_PER_SLOT: usize = 400;
/// Entries up to which a table may grow while queries wait for it; while it does, there is half a table more than is
/// counted.
const GROWS: usize = 32_768;
/// How long a first failure is kept; the second in a row twice as long, and so on.
const FAILURE: Duration = Duration::from_secs(1);
/// What of that is the most, as a multiple of the first: a VPC's resolver is well again soon.
const MOST_FAILURE: u32 = 4;
/// An entry's uses are counted up to this.
const MOST_USES: u8 = 3;
/// Uses with which an entry leaves the small queue for the main one. One is not enough: a client that sends its
/// query twice would do it.
const USES_TO_STAY: u8 = 2;

/// Answers by route, name, type, DO and CD.
///
/// Each of its parts has an equal share of the bytes and keeps to it alone: no counter is common to all, and no part
/// has to lock another to make room. An answer that is larger than a share is not kept.
pub struct Cache {
    /// Seeded at random: strangers choose the names.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// An answer found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The answer as it came.
    pub answer: Arc<Answer>,
    /// Whole seconds since it was stored.
    pub age: u32,
    /// Its time is over, and it is served for want of a better.
    pub stale: bool,
    /// It is popular and its time is nearly over: it should be asked for again. Said once.
    pub renew: bool,
}

impl Hit {
    /// What has just come.
    pub fn fresh(answer: Arc<Answer>) -> Self {
        Self { answer, age: 0, stale: false, renew: false }
    }

    /// How it is written.
    pub fn place(&self) -> Placement {
        Placement { age: self.age, stale: self.stale, ..Placement::FRESH }
    }
}

/// How long answers may be served when their time is over.
#[derive(Debug, Clone, Copy)]
pub struct Stale {
    /// Those that say what there is.
    pub positive: Duration,
    /// Those that say that there is nothing.
    pub negative: Duration,
}

impl Stale {
    /// How long one of this kind may be; a failure never.
    fn of(self, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Positive => self.positive,
            Outcome::Negative => self.negative,
            Outcome::Failure => Duration::ZERO,
        }
    }
}

impl Cache {
    /// An empty cache that takes no more than `bytes` of memory, tables included.
    pub fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new(bytes / SHARDS))).collect();
        Self { hasher: RandomState::default(), shards }
    }

    /// The answer to what is `asked` of the resolvers of `route`, unless it has expired.
    pub fn get(&self, route: &Route, asked: Asked<'_>, now: Instant) -> Option<Hit> {
        let hash = self.hash(route, asked);
        self.shard(hash).find(hash, route, asked)?.serve(now)
    }

    /// The same; where there is none, the answer whose time is over, if it may be served all the same.
    ///
    /// # Errors
    /// The older answer, if there is one.
    pub fn get_or_stale(
        &self,
        route: &Route,
        asked: Asked<'_>,
        stale: Stale,
        now: Instant,
    ) -> Result<Hit, Option<Hit>> {
        let hash = self.hash(route, asked);
        let mut shard = self.shard(hash);
        let entry = shard.find(hash, route, asked).ok_or(None)?;
        entry.serve(now).ok_or_else(|| entry.may_be_stale(stale, now).then(|| entry.stale_hit(now)))
    }

    /// Keeps `answer` for `lifetime` from `now` on, in place of what was kept for the same question. Not if the
    /// lifetime is zero or the answer larger than a share; what was kept then has its time, and is not served past it.
    pub fn insert(
        &self,
        route: &Arc<Route>,
        question: &Question,
        (answer, outcome): (Arc<Answer>, Outcome),
        lifetime: Duration,
        now: Instant,
    ) {
        let hash = self.hash(route, question.as_asked());
        let Some(expires) = now.checked_add(lifetime).filter(|_| !lifetime.is_zero()) else {
            return self.shard(hash).supersede(hash, route, question.as_asked());
        };
        // Whatever takes memory is done before the lock is.
        let weight = weight(question, &answer);
        let entry = Entry {
            hash,
            route: Arc::clone(route),
            question: question.clone(),
            answer,
            outcome,
            stored: now,
            ending: renewal(now, expires),
            expires,
            trouble: None,
            renewed: false,
            superseded: false,
            weight,
            uses: 0,
            queue: Queue::Small,
        };
        self.shard(hash).insert(entry);
    }

    /// Notes that the question could not be answered, for so long as RFC 9520 section 3.2 wants it: longer each time.
    /// Where an answer is kept that may be served stale, it is until then, and returned; unless the failure is the
    /// `last` word, and nobody may be told anything else.
    pub fn fail(
        &self,
        route: &Arc<Route>,
        question: &Question,
        (failure, last): (Arc<Answer>, bool),
        stale: Stale,
        now: Instant,
    ) -> Option<Hit> {
        let hash = self.hash(route, question.as_asked());
        let mut shard = self.shard(hash);
        let entry = shard.find(hash, route, question.as_asked());
        let in_a_row = entry.as_ref().map_or(0, |entry| entry.failures(now));
        let pause = FAILURE * (1 << in_a_row.min(2)).min(MOST_FAILURE);
        let usable = |entry: &&mut Entry| now < entry.usable_until(stale);
        let Some(entry) = entry.filter(|entry| entry.outcome != Outcome::Failure).filter(usable) else {
            drop(shard);
            self.insert(route, question, (failure, Outcome::Failure), pause, now);
            return None;
        };
        let told = (!last).then(|| Hit { stale: now >= entry.expires, ..entry.hit(now) });
        let before = entry.trouble.as_ref().map_or(0, |trouble| trouble.footprint());
        // An old answer is not told for longer than it may be; what is told instead of it is.
        let until = if last { now + pause } else { (now + pause).min(entry.usable_until(stale)) };
        let trouble = Trouble { until, failure: last.then_some(failure), failures: in_a_row.saturating_add(1) };
        let (queue, more) = (entry.queue, trouble.footprint());
        entry.weight = entry.weight + more - before;
        entry.trouble = Some(Box::new(trouble));
        let line = shard.line(queue);
        line.weight = line.weight + more - before;
        shard.make_room(0, 0);
        told
    }

    /// Changes the bound to `bytes`; what no longer fits goes, the least used first.
    pub fn resize(&self, bytes: usize) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            if shard.share != bytes / SHARDS {
                shard.resize(bytes / SHARDS);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            *shard = Shard::new(shard.share);
        }
    }

    /// Answers that left to make room for others.
    pub fn evicted(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).evicted).sum()
    }

    /// The most memory that it may take, in bytes.
    pub fn limit(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).share).sum()
    }

    /// Memory set aside for tables and held by entries.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(lock).map(|shard| shard.tables() + shard.weight()).sum()
    }

    /// How many answers are kept, expired ones included.
    pub fn entries(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    fn hash(&self, route: &Route, asked: Asked<'_>) -> u64 {
        self.hasher.hash_one((route, asked))
    }

    /// The part that has the entries of this hash.
    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table takes its places from the lowest and the seven highest bits; these are neither.
        lock(&self.shards[(hash >> 48) as usize % SHARDS])
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("bytes", &self.bytes()).field("entries", &self.entries()).finish_non_exhaustive()
    }
}

/// Locks `shard`. A thread that panicked inside would have left it whole enough: every place is checked when read.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slots in the order they were put there, oldest first, and what their entries weigh.
#[derive(Debug)]
struct Line {
    slots: VecDeque<u32>,
    weight: usize,
}

/// One part of the cache. Memory is set aside for its tables at full size, so that it is known and the bound holds; only
/// the table of slots grows into it. A host asks for some hundred names again and again, and a table of their size stays in
/// the processor's caches, where one of full size costs two waits for memory at every hit. To grow, a dozen times in a
/// shard's life, takes a millisecond or two at most, up to [`GROWS`] entries; a table for more has its full size at once.
#[derive(Debug)]
struct Shard {
    /// The most it may take, in bytes, tables included.
    share: usize,
    /// What of it is left for the entries' own weight.
    room: usize,
    /// Entries it has slots for.
    capacity: usize,
    /// Slot numbers by hash.
    table: HashTable<u32>,
    /// What that takes at the most, in bytes.
    table_size: usize,
    entries: Slab<Entry>,
    small: Line,
    main: Line,
    /// High halves of the hashes that left the small queue unused, at the place the low half says; one takes another's
    /// place in time, which is how they are forgotten.
    ghosts: Box<[u32]>,
    /// Entries that left to make room.
    evicted: u64,
}

impl Shard {
    fn new(share: usize) -> Self {
        let capacity = share / BYTES_PER_SLOT;
        let line = || Line { slots: VecDeque::with_capacity(capacity), weight: 0 };
        // Twice as many: at half load what removal leaves behind is swept up in place, never by growing further.
        let table = HashTable::with_capacity(2 * capacity);
        let table_size = table.allocation_size();
        let mut shard = Self {
            share,
            room: 0,
            capacity,
            table: if capacity > GROWS { table } else { HashTable::new() },
            table_size,
            entries: Slab::with_capacity(capacity),
            small: line(),
            main: line(),
            ghosts: vec![0; capacity].into(),
            evicted: 0,
        };
        shard.room = share.saturating_sub(shard.tables());
        shard
    }

    /// Memory set aside for the tables; a slab's slot may need a word more than what is in it.
    fn tables(&self) -> usize {
        let lines = self.small.slots.capacity() + self.main.slots.capacity();
        let slots = self.entries.capacity() * (size_of::<Entry>() + size_of::<usize>());
        size_of::<Self>() + self.table_size + slots + size_of::<u32>() * (lines + self.ghosts.len())
    }

    fn weight(&self) -> usize {
        self.small.weight + self.main.weight
    }

    fn find(&mut self, hash: u64, route: &Route, asked: Asked<'_>) -> Option<&mut Entry> {
        let Self { table, entries, .. } = self;
        let same = |entry: &Entry| {
            // A route is nearly always the very same one; only after a reload is it an equal one.
            entry.hash == hash
                && entry.question.as_asked() == asked
                && (std::ptr::eq(&*entry.route, route) || *entry.route == *route)
        };
        let slot = *table.find(hash, |&slot| entries.get(slot as usize).is_some_and(same))?;
        entries.get_mut(slot as usize)
    }

    /// What is said now of this question cannot be kept: what is kept is not the last word any more.
    fn supersede(&mut self, hash: u64, route: &Route, asked: Asked<'_>) {
        if let Some(old) = self.find(hash, route, asked) {
            old.superseded = true;
        }
    }

    fn insert(&mut self, mut entry: Entry) {
        if entry.weight > self.room || self.capacity == 0 {
            return self.supersede(entry.hash, &entry.route, entry.question.as_asked());
        }
        if let Some(old) = self.find(entry.hash, &entry.route, entry.question.as_asked()) {
            // A newer answer to the same question is as popular as the older: it takes over place and uses.
            (entry.uses, entry.queue) = (old.uses, old.queue);
            let (queue, weight) = (old.queue, entry.weight);
            let old = std::mem::replace(old, entry);
            let line = self.line(queue);
            line.weight = line.weight + weight - old.weight;
            self.make_room(0, 0);
        } else {
            if self.ghost(entry.hash).is_some_and(|(ghost, high)| *ghost == high) {
                entry.queue = Queue::Main;
            }
            self.make_room(1, entry.weight);
            self.place(entry);
        }
    }

    /// Puts a new entry at the end of its queue; there is room for it.
    fn place(&mut self, entry: Entry) {
        let (hash, queue, weight) = (entry.hash, entry.queue, entry.weight);
        let slot = self.entries.insert(entry) as u32;
        let Self { table, entries, .. } = self;
        table.insert_unique(hash, slot, |&slot| entries.get(slot as usize).map_or(0, |entry| entry.hash));
        let line = self.line(queue);
        line.slots.push_back(slot);
        line.weight += weight;
    }

    /// Evicts until `slots` more entries of together `weight` fit in, or nothing is left. It comes to an end because
    /// each step removes an entry, or moves it out of the small queue, or takes one of its uses away.
    fn make_room(&mut self, slots: usize, weight: usize) {
        while self.entries.len() + slots > self.capacity || self.weight() + weight > self.room {
            let small = self.small.weight > self.room / 10 || self.main.slots.is_empty();
            if self.step(if small { Queue::Small } else { Queue::Main }).is_none() {
                return;
            }
        }
    }

    /// The oldest entry of `queue` goes, unless it was used: then it moves to the end of the main queue and pays for
    /// that, with all its uses when it comes from the small one, else with one. `None` if there is no entry.
    fn step(&mut self, queue: Queue) -> Option<()> {
        let slot = self.line(queue).slots.pop_front()?;
        let entry = self.entries.get_mut(slot as usize)?;
        let (hash, weight) = (entry.hash, entry.weight);
        let (stays, left) = match queue {
            Queue::Small => (entry.uses >= USES_TO_STAY, 0),
            Queue::Main => (entry.uses > 0, entry.uses.saturating_sub(1)),
        };
        (entry.uses, entry.queue) = (left, Queue::Main);
        self.line(queue).weight -= weight;
        if stays {
            self.main.slots.push_back(slot);
            self.main.weight += weight;
            return Some(());
        }
        if let (Queue::Small, Some((ghost, high))) = (queue, self.ghost(hash)) {
            *ghost = high;
        }
        self.evicted += 1;
        if let Ok(found) = self.table.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.entries.try_remove(slot as usize).map(drop)
    }

    /// Starts anew with another share and takes along what fits, in its order.
    fn resize(&mut self, share: usize) {
        let mut old = std::mem::replace(self, Self::new(share));
        (old.capacity, old.room) = (old.capacity.min(self.capacity), old.room.min(self.room));
        old.make_room(0, 0);
        let slots = std::mem::take(&mut old.main.slots).into_iter().chain(std::mem::take(&mut old.small.slots));
        for entry in slots.filter_map(|slot| old.entries.try_remove(slot as usize)) {
            self.place(entry);
        }
        self.evicted = old.evicted;
    }

    fn line(&mut self, queue: Queue) -> &mut Line {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Where a hash that left the small queue unused is remembered, and as what.
    fn ghost(&mut self, hash: u64) -> Option<(&mut u32, u32)> {
        let place = (hash as u32 as usize).checked_rem(self.ghosts.len())?;
        self.ghosts.get_mut(place).map(|ghost| (ghost, (hash >> 32) as u32))
    }
}

#[cfg(test)]
mod tests;
