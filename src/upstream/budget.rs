//! How many packets may be sent: so many a second, and a few at once.
//!
//! AWS silently drops what one network interface sends a VPC's resolver beyond 1,024 packets a second, so phzd stays
//! below by itself: a question that waits a moment is answered, one that is dropped is not. Apart from the forwarder
//! because others who ask the same resolvers (endpoints' DNS names) pay from the same purse.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Packets that may leave at once after a pause; fewer where a second's worth is little.
const MOST_AT_ONCE: u32 = 20;
/// What part of all packets may go to what nobody waits for: prefetches, probes, hedges.
const SPARE_PART: u32 = 10;
/// What is spared a second where there is no limit: hedges must not double the load of a resolver that is slow because
/// it has too much to do.
const SPARE_WITHOUT_LIMIT: u32 = 90;
/// Spared packets that may leave at once.
const MOST_SPARED_AT_ONCE: u32 = 10;

/// Packets towards some resolvers together.
#[derive(Debug)]
pub struct Budget(Mutex<Purse>);

#[derive(Debug)]
struct Purse {
    per_second: u32,
    /// Whom it is for.
    resolvers: Box<[SocketAddr]>,
    /// `None`: no limit.
    all: Option<Rate>,
    spare: Rate,
}

impl Purse {
    fn new(per_second: u32, resolvers: &[SocketAddr]) -> Self {
        let all = (per_second > 0).then(|| Rate::new(per_second, (per_second / 45).clamp(1, MOST_AT_ONCE)));
        let spare = if per_second > 0 { (per_second / SPARE_PART).max(1) } else { SPARE_WITHOUT_LIMIT };
        Self { per_second, resolvers: resolvers.into(), all, spare: Rate::new(spare, MOST_SPARED_AT_ONCE) }
    }
}

impl Budget {
    /// So many packets a second; 0 is no limit.
    pub fn new(per_second: u32) -> Self {
        Self(Purse::new(per_second, &[]).into())
    }

    /// Another limit, for packets to these resolvers. What has been sent so far still counts if the limit stays the same.
    pub fn configure(&self, per_second: u32, resolvers: &[SocketAddr]) {
        let mut purse = self.purse();
        if purse.per_second == per_second {
            purse.resolvers = resolvers.into();
        } else {
            *purse = Purse::new(per_second, resolvers);
        }
    }

    /// A packet to this resolver was sent without asking first; it counts if the budget is for it.
    pub fn sent_to(&self, resolver: SocketAddr, now: Instant) {
        if self.purse().resolvers.contains(&resolver) {
            self.charge(1, now);
        }
    }

    /// Takes a packet out, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        self.purse().all.as_mut().is_none_or(|all| all.take(now))
    }

    /// Takes a packet out for what nobody waits for, if one can be spared.
    pub fn spare(&self, now: Instant) -> bool {
        let mut purse = self.purse();
        let Purse { all, spare, .. } = &mut *purse;
        let affordable = all.as_ref().is_none_or(|all| all.has_one(now)) && spare.take(now);
        affordable && all.as_mut().is_none_or(|all| all.take(now))
    }

    /// So many packets were sent without asking first: they are missing later.
    pub fn charge(&self, packets: u32, now: Instant) {
        if let Some(all) = &mut self.purse().all {
            all.charge(packets, now);
        }
    }

    /// So many packets that were charged were not sent after all.
    pub fn give_back(&self, packets: u32) {
        if let Some(all) = &mut self.purse().all {
            all.give_back(packets);
        }
    }

    /// When the next packet can be taken out, if not now.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.purse().all.as_ref().filter(|all| !all.has_one(now)).and_then(Rate::next)
    }

    /// Packets a second, and how many of these may leave at once now; `None` if there is no limit.
    pub fn left(&self, now: Instant) -> Option<(u32, u32)> {
        let purse = self.purse();
        purse.all.as_ref().map(|all| (purse.per_second, all.left(now)))
    }

    fn purse(&self) -> MutexGuard<'_, Purse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many of something a second, and a few at once: the generic cell rate algorithm, which needs one instant.
#[derive(Debug)]
pub struct Rate {
    interval: Duration,
    /// How far ahead of time the last of a burst is.
    tolerance: Duration,
    /// When nothing taken is owed any more; `None` before the first is taken.
    full: Option<Instant>,
}

impl Rate {
    /// Full; `per_second` and `at_once` at least 1.
    pub fn new(per_second: u32, at_once: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, tolerance: interval * (at_once.max(1) - 1), full: None }
    }

    /// Takes one out, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let there = self.has_one(now);
        if there {
            self.charge(1, now);
        }
        there
    }

    fn has_one(&self, now: Instant) -> bool {
        self.full.is_none_or(|full| full <= now + self.tolerance)
    }

    fn charge(&mut self, count: u32, now: Instant) {
        self.full = Some(self.full.map_or(now, |full| full.max(now)) + self.interval * count);
    }

    fn give_back(&mut self, count: u32) {
        self.full = self.full.and_then(|full| full.checked_sub(self.interval * count));
    }

    /// How many can be taken out at once.
    fn left(&self, now: Instant) -> u32 {
        let ahead = self.full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        let Some(room) = self.tolerance.checked_sub(ahead) else { return 0 };
        u32::try_from(room.as_nanos() / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// When one can be taken out again.
    fn next(&self) -> Option<Instant> {
        self.full?.checked_sub(self.tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the packets wanted each millisecond for `seconds` are granted.
    fn granted(seconds: u32, mut take: impl FnMut(Instant) -> bool) -> u32 {
        let start = Instant::now();
        (0..seconds * 1000).filter(|ms| take(start + Duration::from_millis((*ms).into()))).count() as u32
    }

    #[test]
    fn no_second_has_more_than_its_packets_and_a_burst() {
        let budget = Budget::new(900);
        let now = Instant::now();
        assert_eq!((0..1000).filter(|_| budget.take(now)).count(), 20);
        assert_eq!(budget.next(now), Some(now + Duration::from_secs(1) / 900));
        assert_eq!(budget.left(now), Some((900, 0)));
        assert_eq!(budget.left(now + Duration::from_millis(6)), Some((900, 5)));
        assert_eq!(budget.left(now + Duration::from_secs(6)), Some((900, 20)));
        let later = now + Duration::from_secs(60);
        assert_eq!(budget.next(later), None);
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 20, "a pause saves no more than that");
        assert!((4500..4525).contains(&granted(5, |at| budget.take(at + Duration::from_secs(120)))));
    }

    #[test]
    fn a_tenth_is_spared_and_none_while_there_is_too_much_to_do() {
        let budget = Budget::new(900);
        assert!((450..465).contains(&granted(5, |at| budget.spare(at))));
        let (busy, mut spared) = (Budget::new(900), 0);
        granted(5, |at| {
            while busy.take(at) {}
            spared += u32::from(busy.spare(at));
            false
        });
        assert_eq!(spared, 0);
    }

    #[test]
    fn what_was_sent_without_asking_is_missing_later() {
        let (budget, now) = (Budget::new(100), Instant::now());
        budget.charge(101, now);
        assert!(!budget.take(now + Duration::from_millis(980)));
        assert!(budget.take(now + Duration::from_millis(1000)));
        budget.charge(6, now + Duration::from_millis(1000));
        budget.give_back(6);
        assert!(budget.take(now + Duration::from_millis(1010)), "it was not sent after all");
    }

    #[test]
    fn no_limit_is_none_but_for_what_nobody_waits_for() {
        let (budget, now) = (Budget::new(0), Instant::now());
        assert!((0..1_000_000).all(|_| budget.take(now)));
        assert_eq!((0..100).filter(|_| budget.spare(now)).count(), 10);
        assert_eq!(budget.next(now), None);
    }
}
