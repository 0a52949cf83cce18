//! Addresses that have shown to be no forged ones: who has sent a query over a connection can be reached at its address.
//!
//! A table of fixed size like that of accounts, and for the same reasons. Whoever is forgotten is treated as everybody is
//! who never showed anything.

use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;

use super::prefix::bits;

/// How long it is remembered, in seconds: as long as a cookie would say the same (RFC 9018 section 4.3).
const REMEMBERED: u64 = 3600;
/// 8,192 addresses in 64 KiB: more than a VPC's hosts that need TCP in one hour.
const LINES: usize = 1024;
const PLACES: usize = 8;
/// Bits of a word for the second, which begins anew every 194 days; the rest is the tag. That is so long that a forged address
/// is taken for another once in some ten thousand million.
const TIME_BITS: u32 = 24;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// One who comes again is noted again after so many seconds, so that a busy connection does not write all the time.
const AGAIN: u64 = 60;

/// Addresses that a hash leads to.
#[derive(Default)]
#[repr(align(64))]
struct Line([AtomicU64; PLACES]);

/// All addresses.
pub(super) struct Shown {
    lines: Box<[Line]>,
    hasher: RandomState,
}

impl Default for Shown {
    fn default() -> Self {
        Self { lines: (0..LINES).map(|_| Line::default()).collect(), hasher: RandomState::default() }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Shown {
    /// Whether `address` has shown it not too long ago.
    pub fn has(&self, address: IpAddr, now: u64) -> bool {
        self.age(address, now).is_some_and(|age| age < REMEMBERED)
    }

    /// It shows it now.
    pub fn add(&self, address: IpAddr, now: u64) {
        if self.age(address, now).is_some_and(|age| age < AGAIN) {
            return;
        }
        let (line, tag) = self.place(address);
        let words = || line.iter().flat_map(|line| &line.0).map(|place| (place, place.load(Relaxed)));
        let own = words().find(|(_, word)| word >> TIME_BITS == tag);
        let oldest = || words().max_by_key(|(_, word)| if *word == 0 { u64::MAX } else { age(*word, now) });
        if let Some((place, _)) = own.or_else(oldest) {
            place.store(tag << TIME_BITS | now & TIME, Relaxed);
        }
    }

    /// How many seconds ago it did.
    fn age(&self, address: IpAddr, now: u64) -> Option<u64> {
        let (line, tag) = self.place(address);
        let words = line?.0.iter().map(|place| place.load(Relaxed));
        words.filter(|word| word >> TIME_BITS == tag).map(|word| age(word, now)).min()
    }

    /// Its line, and a tag, which is never that of a place that was never written.
    fn place(&self, address: IpAddr) -> (Option<&Line>, u64) {
        let hash = self.hasher.hash_one(bits(address));
        (self.lines.get(hash as usize % LINES), hash >> TIME_BITS | 1)
    }
}

/// How many seconds ago a word was written.
fn age(word: u64, now: u64) -> u64 {
    now.wrapping_sub(word) & TIME
}
