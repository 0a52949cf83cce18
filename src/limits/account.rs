//! What each prefix has taken of late: a table of fixed size, shared by all threads without a lock.
//!
//! An account is one number, the time at which all that was taken will have been earned again (the theoretical arrival
//! time of the generic cell rate algorithm, ITU-T I.371 annex A). It says the same as a bucket that holds one second's worth
//! and fills steadily. A time that has passed says nothing: whoever owes nothing needs no room, nothing has to be swept,
//! and the room of one who has paid is anybody's.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::Prefix;

/// Lines of a table: 8,192 accounts in 64 KiB, which a processor keeps near. So many prefixes can owe something at one
/// moment; at 10,000 queries a second each owes for a tenth of a millisecond after a query, so there would have to be 80
/// million a second. With more, those who owe least are forgotten, and whoever floods is not.
const LINES: usize = 1024;
/// Accounts of a line: what is looked at is in one cache line.
const PLACES: usize = 8;

/// A tick has 2^4 nanoseconds.
const TICK_SHIFT: u32 = 4;
/// One second, in ticks: the most that can be owed.
pub(super) const SECOND: u64 = 1_000_000_000 >> TICK_SHIFT;
/// Threads have read their clocks at different times: so much more than the most is owed still, and not long past.
const SKEW: u64 = SECOND;

/// Bits of a word for how many were too many, ...
const COUNT_BITS: u32 = 4;
/// ... for the time, which begins anew every three days (a word that was not touched for exactly so long would be taken for
/// one that owes, for a second), and in the rest the tag that tells prefixes of one line apart.
const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// A moment, as accounts know it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tick(u64);

impl Tick {
    /// So long after the beginning.
    pub(super) fn after(time: Duration) -> Self {
        Self((time.as_secs() * 1_000_000_000 + u64::from(time.subsec_nanos())) >> TICK_SHIFT)
    }
}

/// One account: tag, time, count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn new(tag: u64, time: u64, count: u64) -> Self {
        Self(tag << (TIME_BITS + COUNT_BITS) | (time & TIME) << COUNT_BITS | count)
    }

    fn tag(self) -> u64 {
        self.0 >> (TIME_BITS + COUNT_BITS)
    }

    fn time(self) -> u64 {
        self.0 >> COUNT_BITS & TIME
    }

    fn count(self) -> u64 {
        self.0 & COUNT
    }

    /// What is owed, in ticks.
    fn debt(self, now: Tick) -> u64 {
        let debt = self.time().wrapping_sub(now.0) & TIME;
        if debt <= SECOND + SKEW { debt } else { 0 }
    }
}

/// Accounts that a hash leads to.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; PLACES]);

/// Where a prefix has its account.
struct Place<'a> {
    line: &'a Line,
    /// Looked at first.
    home: usize,
    tag: u64,
}

/// All accounts.
pub(super) struct Accounts {
    lines: Box<[Line; LINES]>,
    /// Keyed, so that nobody can choose addresses that meet in one line.
    hasher: RandomState,
}

impl Default for Accounts {
    fn default() -> Self {
        let lines: Vec<_> = (0..LINES).map(|_| Line::default()).collect();
        Self { lines: lines.try_into().expect("as many as that"), hasher: RandomState::default() }
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

impl Accounts {
    /// Takes what costs so many ticks, unless more than a second would be owed.
    #[inline]
    pub fn charge(&self, prefix: Prefix, cost: u64, now: Tick) -> bool {
        let place = self.place(prefix);
        loop {
            let Some((account, word)) = place.account(now) else { return true };
            let own = word.tag() == place.tag;
            let before = if own { word.debt(now) } else { 0 };
            let owed = before + cost;
            if owed > SECOND {
                return false;
            }
            let count = if before > 0 { word.count() } else { 0 };
            let after = Word::new(place.tag, now.0.wrapping_add(owed), count);
            if account.compare_exchange_weak(word.0, after.0, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// One was too many: whether it is the `slip`th of these, which are counted from one again. Never for a slip of 0.
    #[cold]
    pub fn slips(&self, prefix: Prefix, slip: u64) -> bool {
        if slip < 2 {
            return slip == 1;
        }
        let place = self.place(prefix);
        loop {
            let Some((account, word)) = place.own() else { return false };
            let count = word.count() + 1;
            let slips = count >= slip.min(COUNT);
            let after = Word::new(place.tag, word.time(), if slips { 0 } else { count });
            if account.compare_exchange_weak(word.0, after.0, Relaxed, Relaxed).is_ok() {
                return slips;
            }
        }
    }

    #[inline]
    fn place(&self, prefix: Prefix) -> Place<'_> {
        let hash = self.hasher.hash_one(prefix);
        let line = &self.lines[hash as usize % LINES];
        let home = (hash >> LINES.trailing_zeros()) as usize % PLACES;
        Place { line, home, tag: hash >> (TIME_BITS + COUNT_BITS) }
    }
}

impl<'a> Place<'a> {
    /// The account to be written: the prefix's own, else one that may be taken over.
    #[inline]
    fn account(&self, now: Tick) -> Option<(&'a AtomicU64, Word)> {
        let home = &self.line.0[self.home % PLACES];
        let word = Word(home.load(Relaxed));
        if word.tag() == self.tag {
            return Some((home, word));
        }
        self.own().or_else(|| self.other(now))
    }

    /// The prefix's own, if it has one.
    fn own(&self) -> Option<(&'a AtomicU64, Word)> {
        self.all().find(|(_, word)| word.tag() == self.tag)
    }

    /// That of whoever owes least.
    fn other(&self, now: Tick) -> Option<(&'a AtomicU64, Word)> {
        self.all().min_by_key(|(_, word)| word.debt(now))
    }

    /// All of the line, the prefix's home first.
    fn all(&self) -> impl Iterator<Item = (&'a AtomicU64, Word)> {
        let (before, from) = self.line.0.split_at(self.home.min(PLACES));
        from.iter().chain(before).map(|account| (account, Word(account.load(Relaxed))))
    }
}
