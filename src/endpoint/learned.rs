//! What the addresses of a DNS name are, and when to look again.
//!
//! The last good set goes on serving for as long as looking it up fails: an endpoint's addresses change once in years,
//! and a resolver that is ill says so every few seconds. Apart from the rest of the watch because the rules of what may
//! replace what are here, and nothing else is.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The first wait while nothing has been found yet; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The first wait when what is known could not be refreshed, which doubles, and the least between two refreshes.
const LEAST_REFRESH: Duration = Duration::from_secs(5);
/// The longest wait after a failure.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// The longest between two refreshes, whatever the TTL.
const MOST_REFRESH: Duration = Duration::from_secs(3600);

/// Which addresses of a name are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::Aaaa];

    /// That of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::A } else { Self::Aaaa }
    }
}

impl fmt::Display for Family {
    /// The record type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        })
    }
}

/// How a lookup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There are such addresses.
    Addresses {
        /// Of the family that was looked for.
        addresses: Vec<IpAddr>,
        /// The least TTL, in seconds.
        ttl: u32,
    },
    /// The name exists and has none of this family.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Nobody gave a usable answer: why.
    Failed(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addresses { .. } => "addresses",
            Self::NoData => "no addresses",
            Self::NxDomain => "the name does not exist",
            Self::Failed(why) => why,
        })
    }
}

/// A set that was found, or that the one before is known to have become empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Good {
    /// Sorted, each once.
    pub addresses: Vec<IpAddr>,
    /// When that was found, in seconds of Unix time.
    pub time: u64,
}

/// What is known of one name.
#[derive(Debug)]
pub(super) struct Learned {
    /// In the order of [`Family::ALL`].
    sides: [Side; 2],
    /// Something was found since the start: what was restored wants to be confirmed as soon as may be.
    confirmed: bool,
    /// Rounds in a row that left something to be tried again.
    failures: u32,
    /// When both families are looked up next; `None` while that is under way.
    due: Option<Instant>,
}

/// What is known of one family.
#[derive(Debug, Default)]
struct Side {
    good: Option<Good>,
    round: Round,
}

/// Where a family's lookup is in this round.
#[derive(Debug, Default)]
enum Round {
    #[default]
    Idle,
    UnderWay,
    Ended(Found),
}

/// What the end of a lookup brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The known addresses are others than before, or known for the first time.
    pub changed: bool,
    /// How the round ended, if this was its last lookup.
    pub round: Option<Result<(), Shortfall>>,
}

/// What a round did not bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shortfall {
    /// Which families failed, and how.
    pub reason: String,
    /// Every resolver that answered says that there is no such name.
    pub nonexistent: bool,
}

impl Learned {
    /// Nothing is known but what was restored, by family; both are to be looked up at once.
    pub fn new(restored: [Option<Good>; 2], now: Instant) -> Self {
        let sides = restored.map(|good| Side { good, round: Round::Idle });
        Self { sides, confirmed: false, failures: 0, due: Some(now) }
    }

    /// Whoever is asked has changed: what is known stays, and is looked up at once.
    pub fn ask_anew(&mut self, now: Instant) {
        self.sides.iter_mut().for_each(|side| side.round = Round::Idle);
        (self.failures, self.due) = (0, Some(now));
    }

    /// When it is to be looked up; `None` while that is under way.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Both families are being looked up from now on.
    pub fn begin(&mut self) {
        self.due = None;
        self.sides.iter_mut().for_each(|side| side.round = Round::UnderWay);
    }

    /// The last good set of a family.
    pub fn good(&self, family: Family) -> Option<&Good> {
        self.side(family).good.as_ref()
    }

    /// All known addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.sides.iter().filter_map(|side| side.good.as_ref()).flat_map(|good| &good.addresses).copied()
    }

    /// A lookup ended; `time` is now, in seconds of Unix time. `None` if nobody waited for it.
    pub fn ended(&mut self, family: Family, found: Found, now: Instant, time: u64) -> Option<Turn> {
        let known = self.is_known();
        let side = self.side_mut(family);
        if !matches!(side.round, Round::UnderWay) {
            return None;
        }
        let mut changed = false;
        if let Found::Addresses { addresses, .. } = &found {
            changed = side.learn(addresses.clone(), time);
        }
        side.round = Round::Ended(found);
        if self.sides.iter().any(|side| matches!(side.round, Round::UnderWay)) {
            return Some(Turn { changed, round: None });
        }
        changed |= self.believe_no_data(time);
        if self.is_known() && !known {
            self.failures = 0;
        }
        Some(Turn { changed, round: Some(self.end_round(now)) })
    }

    /// That a family has no addresses is news only beside addresses of the other: alone it would leave none.
    fn believe_no_data(&mut self, time: u64) -> bool {
        let some_found = |side: &Side| matches!(side.round, Round::Ended(Found::Addresses { .. }));
        if !self.sides.iter().any(some_found) {
            return false;
        }
        self.confirmed = true;
        let without = self.sides.iter_mut().find(|side| matches!(side.round, Round::Ended(Found::NoData)));
        without.is_some_and(|side| side.learn(Vec::new(), time))
    }

    /// Judges what both lookups brought, and sets the time of the next.
    fn end_round(&mut self, now: Instant) -> Result<(), Shortfall> {
        let (mut ttl, mut failed) = (None::<u32>, Vec::new());
        for (family, side) in Family::ALL.into_iter().zip(&mut self.sides) {
            match std::mem::take(&mut side.round) {
                Round::Ended(Found::Addresses { ttl: least, .. }) => {
                    ttl = Some(ttl.map_or(least, |ttl| ttl.min(least)));
                }
                Round::Ended(found) => failed.push((family, found)),
                Round::Idle | Round::UnderWay => {}
            }
        }
        let refresh = ttl.map(|ttl| (Duration::from_secs(ttl.into()) * 4 / 5).clamp(LEAST_REFRESH, MOST_REFRESH));
        if refresh.is_some() {
            failed.retain(|(_, found)| *found != Found::NoData);
        }
        if failed.is_empty() {
            self.failures = 0;
            self.due = Some(now + refresh.unwrap_or(LEAST_REFRESH));
            return Ok(());
        }
        let first = if self.confirmed { LEAST_REFRESH } else { FIRST_WAIT };
        let wait = first.saturating_mul(1 << self.failures.min(6)).min(MOST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + refresh.map_or(wait, |refresh| refresh.min(wait)));
        Err(Shortfall::of(&failed))
    }

    fn is_known(&self) -> bool {
        self.sides.iter().any(|side| side.good.is_some())
    }

    fn side(&self, family: Family) -> &Side {
        let [a, aaaa] = &self.sides;
        if family == Family::A { a } else { aaaa }
    }

    fn side_mut(&mut self, family: Family) -> &mut Side {
        let [a, aaaa] = &mut self.sides;
        if family == Family::A { a } else { aaaa }
    }
}

impl Side {
    /// Takes over a good set; whether it is another than before.
    fn learn(&mut self, mut addresses: Vec<IpAddr>, time: u64) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        let changed = self.good.as_ref().is_none_or(|good| good.addresses != addresses);
        self.good = Some(Good { addresses, time });
        changed
    }
}

impl Shortfall {
    /// At least one family.
    fn of(failed: &[(Family, Found)]) -> Self {
        let reason = match failed {
            [(_, one), (_, other)] if one == other => one.to_string(),
            _ => {
                let each: Vec<_> = failed.iter().map(|(family, found)| format!("{family}: {found}")).collect();
                each.join("; ")
            }
        };
        Self { reason, nonexistent: failed.iter().all(|(_, found)| *found == Found::NxDomain) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_800_000_000;

    fn found(addresses: &[&str], ttl: u32) -> Found {
        Found::Addresses { addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(), ttl }
    }

    fn failed() -> Found {
        Found::Failed("SERVFAIL".into())
    }

    /// One round, `after` after it was due.
    fn round(learned: &mut Learned, a: Found, aaaa: Found) -> (bool, bool, Duration) {
        let now = learned.due().unwrap();
        learned.begin();
        assert_eq!(learned.due(), None);
        let first = learned.ended(Family::A, a, now, TIME).unwrap();
        assert_eq!(first.round, None, "one is still under way");
        let last = learned.ended(Family::Aaaa, aaaa, now, TIME).unwrap();
        let wait = learned.due().unwrap() - now;
        (first.changed || last.changed, last.round.unwrap().is_ok(), wait)
    }

    fn known(learned: &Learned) -> [Option<Vec<String>>; 2] {
        Family::ALL.map(|family| Some(learned.good(family)?.addresses.iter().map(ToString::to_string).collect()))
    }

    fn some(addresses: &[&str]) -> Option<Vec<String>> {
        Some(addresses.iter().map(ToString::to_string).collect())
    }

    fn secs(list: &[u64]) -> Vec<Duration> {
        list.iter().copied().map(Duration::from_secs).collect()
    }

    fn waits(learned: &mut Learned, count: usize, a: &Found, aaaa: &Found) -> Vec<Duration> {
        (0..count).map(|_| round(learned, a.clone(), aaaa.clone()).2).collect()
    }

    #[test]
    fn until_something_is_found_waits_double_up_to_a_minute() {
        let now = Instant::now();
        for nothing in [failed(), Found::NxDomain, Found::NoData] {
            let mut learned = Learned::new([None, None], now);
            assert_eq!(learned.due(), Some(now), "the first at once");
            let expected = secs(&[1, 2, 4, 8, 16, 32, 60, 60, 60]);
            assert_eq!(waits(&mut learned, 9, &nothing, &nothing), expected, "{nothing}");
            assert_eq!(known(&learned), [None, None], "{nothing}");
        }
    }

    #[test]
    fn it_is_refreshed_at_four_fifths_of_the_least_ttl() {
        let learned = || Learned::new([None, None], Instant::now());
        for (a, aaaa, seconds) in [
            (found(&["10.0.0.1"], 60), Found::NoData, 48),
            (found(&["10.0.0.1"], 60), found(&["fd00::1"], 30), 24),
            (found(&["10.0.0.1"], 30), found(&["fd00::1"], 60), 24),
            (Found::NoData, found(&["fd00::1"], 100), 80),
            (found(&["10.0.0.1"], 0), Found::NoData, 5),
            (found(&["10.0.0.1"], 6), Found::NoData, 5),
            (found(&["10.0.0.1"], u32::MAX), Found::NoData, 3600),
        ] {
            let expected = (true, true, Duration::from_secs(seconds));
            assert_eq!(round(&mut learned(), a.clone(), aaaa.clone()), expected, "{a:?} {aaaa:?}");
        }
    }

    #[test]
    fn nothing_replaces_the_last_good_set_but_a_better_one() {
        let mut learned = Learned::new([None, None], Instant::now());
        round(&mut learned, found(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], 60), Found::NoData);
        let kept = [some(&["10.0.0.1", "10.0.0.2"]), some(&[])];
        assert_eq!(known(&learned), kept);
        for nothing in [failed(), Found::NxDomain, Found::NoData] {
            let (changed, good, _) = round(&mut learned, nothing.clone(), nothing.clone());
            assert_eq!((changed, good, known(&learned)), (false, false, kept.clone()), "{nothing}");
        }
        assert!(!round(&mut learned, found(&["10.0.0.1", "10.0.0.2"], 60), Found::NoData).0, "the same");
        assert!(round(&mut learned, found(&["10.0.0.3"], 60), Found::NoData).0);
        assert_eq!(known(&learned), [some(&["10.0.0.3"]), some(&[])]);
    }

    #[test]
    fn a_family_that_fails_keeps_its_own_set() {
        let mut learned = Learned::new([None, None], Instant::now());
        assert_eq!(round(&mut learned, found(&["10.0.0.1"], 60), failed()), (true, false, Duration::from_secs(5)));
        assert_eq!(known(&learned), [some(&["10.0.0.1"]), None], "of the other nobody knows");
        round(&mut learned, found(&["10.0.0.1"], 60), found(&["fd00::1"], 60));
        for nothing in [failed(), Found::NxDomain] {
            round(&mut learned, found(&["10.0.0.2"], 60), nothing);
            assert_eq!(known(&learned), [some(&["10.0.0.2"]), some(&["fd00::1"])]);
        }
        // That it has none is good news beside addresses of the other, and no news beside a failure.
        round(&mut learned, failed(), Found::NoData);
        assert_eq!(known(&learned), [some(&["10.0.0.2"]), some(&["fd00::1"])]);
        round(&mut learned, found(&["10.0.0.2"], 60), Found::NoData);
        assert_eq!(known(&learned), [some(&["10.0.0.2"]), some(&[])]);
    }

    #[test]
    fn a_failing_refresh_waits_from_five_seconds_to_a_minute() {
        let mut learned = Learned::new([None, None], Instant::now());
        round(&mut learned, found(&["10.0.0.1"], 600), Found::NoData);
        assert_eq!(waits(&mut learned, 6, &failed(), &failed()), secs(&[5, 10, 20, 40, 60, 60]));
        assert_eq!(waits(&mut learned, 1, &found(&["10.0.0.1"], 600), &Found::NoData), secs(&[480]));
        // What was found of one family is refreshed in its time all the same.
        let waits = waits(&mut learned, 5, &found(&["10.0.0.1"], 30), &failed());
        assert_eq!(waits, secs(&[5, 10, 20, 24, 24]));
    }

    #[test]
    fn what_was_restored_serves_and_is_confirmed_soon() {
        let good = |ip: &str| Some(Good { addresses: vec![ip.parse().unwrap()], time: 5 });
        let mut learned = Learned::new([good("10.0.0.1"), None], Instant::now());
        assert_eq!(learned.addresses().collect::<Vec<_>>(), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(waits(&mut learned, 3, &failed(), &failed()), secs(&[1, 2, 4]));
        assert_eq!(learned.good(Family::A).unwrap().time, 5, "it is as old as it was");
        assert!(round(&mut learned, found(&["10.0.0.1"], 60), Found::NoData).1);
        assert_eq!(learned.good(Family::A).unwrap().time, TIME);
    }

    #[test]
    fn a_lookup_nobody_waits_for_changes_nothing() {
        let now = Instant::now();
        let mut learned = Learned::new([None, None], now);
        assert_eq!(learned.ended(Family::A, found(&["10.0.0.1"], 60), now, TIME), None);
        learned.begin();
        learned.ended(Family::A, found(&["10.0.0.1"], 60), now, TIME).unwrap();
        assert_eq!(learned.ended(Family::A, found(&["10.0.0.2"], 60), now, TIME), None);
        learned.ask_anew(now);
        assert_eq!(learned.ended(Family::Aaaa, found(&["fd00::1"], 60), now, TIME), None);
        assert_eq!((known(&learned), learned.due()), ([some(&["10.0.0.1"]), None], Some(now)));
    }

    #[test]
    fn what_failed_is_said_of_each_family_that_did() {
        let said = |a: &Found, aaaa: &Found| {
            let mut learned = Learned::new([None, None], Instant::now());
            learned.begin();
            learned.ended(Family::Aaaa, aaaa.clone(), Instant::now(), TIME);
            let turn = learned.ended(Family::A, a.clone(), Instant::now(), TIME).unwrap();
            turn.round.unwrap().unwrap_err()
        };
        assert_eq!(said(&failed(), &failed()).reason, "SERVFAIL");
        assert_eq!(said(&failed(), &Found::NoData).reason, "A: SERVFAIL; AAAA: no addresses");
        assert_eq!(said(&found(&["10.0.0.1"], 1), &failed()).reason, "AAAA: SERVFAIL");
        assert!(said(&Found::NxDomain, &Found::NxDomain).nonexistent);
        assert!(!said(&Found::NxDomain, &failed()).nonexistent);
    }
}
