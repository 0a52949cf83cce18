//! Which addresses of an endpoint work: what single connections to them prove, and what they do not.
//!
//! A check that has never succeeded proves nothing: this host may stand outside the endpoint's security group, and the
//! clients inside it. So an address counts as up until one has, and only then may failures take it out of the answers.
//! When all would be down together, it may be this host that is cut off, so all are asked once more before that counts.
//! IPv4 and IPv6 are judged each by itself: a client may have only one of them, and so may this host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::learned::Family;
use crate::config::HealthCheck;

/// The longest that one connection may take to be made.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first checks of addresses are spread over this time.
const SPREAD: Duration = Duration::from_secs(1);

/// What is known of how an endpoint's addresses are.
#[derive(Debug)]
pub(super) struct Health {
    check: HealthCheck,
    tracks: BTreeMap<IpAddr, Track>,
    /// Taken over, until it is known which of them are its own.
    taken_over: BTreeMap<IpAddr, Track>,
}

/// What is known of one address.
#[derive(Debug, Clone)]
struct Track {
    /// A check has succeeded since the address became known.
    proven: bool,
    up: bool,
    /// Checks in a row that speak against `up`; before anything is proven, that failed.
    against: u32,
    /// When it is checked next.
    due: Instant,
    /// A check is under way.
    under_way: bool,
    confirming: Confirming,
    /// Why the last check that failed did.
    reason: String,
}

/// Where the last check before all count as down is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirming {
    No,
    /// It has yet to begin.
    Wanted,
    UnderWay,
    Failed,
}

/// What checks have shown of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It lets this host connect.
    Healthy,
    /// It did, and does no longer.
    Unhealthy,
    /// It never has, which proves nothing: it counts as up.
    Unproven,
}

/// How much of an endpoint is down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Outage {
    /// Of each family some address may be answered.
    #[default]
    None,
    /// All addresses of this family, and of the other one is up that has let this host connect.
    Of(Family),
    /// All that have ever let this host connect, and the others of their family.
    Total,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// This address works no longer.
    Down(IpAddr),
    /// This address works again.
    Up(IpAddr),
    /// This address has never worked, in as many checks as would make another unhealthy.
    Unproven(IpAddr),
}

impl Health {
    /// Nothing is known; `check` says what is tried.
    pub fn new(check: HealthCheck) -> Self {
        Self { check, tracks: BTreeMap::new(), taken_over: BTreeMap::new() }
    }

    /// What is checked.
    pub fn check(&self) -> HealthCheck {
        self.check
    }

    /// How long one check may take.
    pub fn patience(&self) -> Duration {
        self.check.interval.min(PATIENCE)
    }

    /// Takes over what `old` knows of the same port. Of checks that are under way nobody will hear here, so they are
    /// made again.
    pub fn take_over(&mut self, old: &Self, now: Instant) {
        if old.check.port != self.check.port {
            return;
        }
        for (ip, track) in old.tracks.iter().chain(&old.taken_over) {
            let due = if track.under_way { now } else { track.due };
            let taken = Track { due, under_way: false, confirming: Confirming::No, ..track.clone() };
            self.taken_over.entry(*ip).or_insert(taken);
        }
    }

    /// These are the addresses. Those that were known stay as they are; new ones count as up.
    pub fn know(&mut self, addresses: &[IpAddr], now: Instant, random: &mut StdRng) -> Vec<Change> {
        self.tracks.append(&mut self.taken_over);
        self.tracks.retain(|ip, _| addresses.contains(ip));
        let spread = SPREAD.min(self.check.interval);
        for ip in addresses {
            self.tracks.entry(*ip).or_insert_with(|| Track {
                proven: false,
                up: true,
                against: 0,
                due: now + spread.mul_f64(random.random_range(0.0..1.0)),
                under_way: false,
                confirming: Confirming::No,
                reason: String::new(),
            });
        }
        self.settle(now)
    }

    /// When the next check is due that is not under way, and of whom.
    pub fn next(&self) -> Option<(Instant, IpAddr)> {
        self.tracks.iter().filter(|(_, track)| !track.under_way).map(|(ip, track)| (track.due, *ip)).min()
    }

    /// A check of `ip` is under way from now on.
    pub fn begin(&mut self, ip: IpAddr, now: Instant, random: &mut StdRng) {
        let Some(track) = self.tracks.get_mut(&ip) else { return };
        // Hosts that were started together must not check together.
        track.due = now + self.check.interval.mul_f64(random.random_range(0.9..1.1));
        track.under_way = true;
        if track.confirming == Confirming::Wanted {
            track.confirming = Confirming::UnderWay;
        }
    }

    /// A check ended, and `Err` says why it failed; what that changes, in order.
    pub fn ended(&mut self, ip: IpAddr, result: Result<(), String>, now: Instant) -> Vec<Change> {
        let HealthCheck { failures, successes, .. } = self.check;
        let Some(track) = self.tracks.get_mut(&ip) else { return Vec::new() };
        track.under_way = false;
        let succeeded = result.is_ok();
        if let Err(reason) = result {
            track.reason = reason;
        }
        let confirmed = track.confirming == Confirming::UnderWay;
        let mut changes = Vec::new();
        match (succeeded, track.up) {
            (true, true) => (track.proven, track.against) = (true, 0),
            (true, false) => {
                track.against += 1;
                // Where all others fail, one success is better than none.
                if track.against >= successes || confirmed {
                    (track.up, track.against) = (true, 0);
                    changes.push(Change::Up(ip));
                }
            }
            (false, true) => {
                track.against = track.against.saturating_add(1);
                if !track.proven && track.against == failures {
                    changes.push(Change::Unproven(ip));
                }
            }
            (false, false) => track.against = 0,
        }
        if confirmed {
            track.confirming = if succeeded { Confirming::No } else { Confirming::Failed };
        }
        changes.extend(self.settle(now));
        changes
    }

    /// Whether `ip` is answered: it is up, or no other of its family is, which must not seem to have no address.
    pub fn is_answered(&self, ip: IpAddr) -> bool {
        self.tracks.get(&ip).is_none_or(|track| track.up) || self.is_down(Family::of(ip))
    }

    /// What checks have shown of `ip`.
    pub fn state(&self, ip: IpAddr) -> State {
        match self.tracks.get(&ip) {
            Some(track) if !track.up => State::Unhealthy,
            Some(track) if track.proven => State::Healthy,
            _ => State::Unproven,
        }
    }

    /// Why the last check of `ip` that failed did.
    pub fn reason(&self, ip: IpAddr) -> &str {
        self.tracks.get(&ip).map_or("", |track| &track.reason)
    }

    /// How much is down. A family of which nothing is proven does not count: this host may not have it at all.
    pub fn outage(&self) -> Outage {
        let proven = |family| self.family(family).any(|(_, track)| track.proven);
        let (down, rest): (Vec<_>, Vec<_>) =
            Family::ALL.into_iter().filter(|family| proven(*family)).partition(|family| self.is_down(*family));
        match (&*down, &*rest) {
            ([], _) => Outage::None,
            ([family], [_]) => Outage::Of(*family),
            _ => Outage::Total,
        }
    }

    /// Whether a family has addresses, of which none is up.
    fn is_down(&self, family: Family) -> bool {
        let mut tracks = self.family(family).peekable();
        tracks.peek().is_some() && tracks.all(|(_, track)| !track.up)
    }

    fn family(&self, family: Family) -> impl Iterator<Item = (IpAddr, &Track)> {
        self.tracks.iter().map(|(ip, track)| (*ip, track)).filter(move |(ip, _)| Family::of(*ip) == family)
    }

    /// Takes down who has failed too often.
    fn settle(&mut self, now: Instant) -> Vec<Change> {
        Family::ALL.into_iter().flat_map(|family| self.settle_family(family, now)).collect()
    }

    /// Of one family, unless nobody else of it is up: then all of it are checked once more first.
    fn settle_family(&mut self, family: Family, now: Instant) -> Vec<Change> {
        let failures = self.check.failures;
        let of_family = |(ip, _): &(&IpAddr, &mut Track)| Family::of(**ip) == family;
        let suspect = |track: &Track| track.up && track.proven && track.against >= failures;
        let suspects = self.family(family).filter(|(_, track)| suspect(track)).count();
        let others = self.family(family).any(|(_, track)| track.up && !suspect(track));
        let every = |state: Confirming| self.family(family).all(|(_, track)| track.confirming == state);
        if suspects > 0 && !others && !every(Confirming::Failed) {
            if every(Confirming::No) {
                for (_, track) in self.tracks.iter_mut().filter(of_family) {
                    (track.confirming, track.due) = (Confirming::Wanted, now);
                }
            }
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (ip, track) in self.tracks.iter_mut().filter(of_family) {
            track.confirming = Confirming::No;
            if suspect(track) {
                (track.up, track.against) = (false, 0);
                changes.push(Change::Down(*ip));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An endpoint whose checks all end the moment they begin.
    struct Play {
        health: Health,
        now: Instant,
        random: StdRng,
    }

    impl Play {
        fn new(failures: u32, successes: u32, addresses: &[u8]) -> Self {
            let check = HealthCheck { port: 443, interval: 10 * SECOND, failures, successes };
            let mut play = Self { health: Health::new(check), now: Instant::now(), random: StdRng::from_seed([1; 32]) };
            assert_eq!(play.know(addresses), []);
            play
        }

        fn know(&mut self, addresses: &[u8]) -> Vec<Change> {
            let ips: Vec<_> = addresses.iter().map(|last| ip(*last)).collect();
            self.health.know(&ips, self.now, &mut self.random)
        }

        /// One check of an address.
        fn check(&mut self, last: u8, succeeds: bool) -> Vec<Change> {
            self.health.begin(ip(last), self.now, &mut self.random);
            self.end(last, succeeds)
        }

        /// A check that is under way ends.
        fn end(&mut self, last: u8, succeeds: bool) -> Vec<Change> {
            self.health.ended(ip(last), if succeeds { Ok(()) } else { Err(format!("why {last}")) }, self.now)
        }

        /// Whoever is to be checked now.
        fn due(&self) -> Vec<IpAddr> {
            let tracks = self.health.tracks.iter();
            tracks.filter(|(_, track)| !track.under_way && track.due <= self.now).map(|(ip, _)| *ip).collect()
        }

        fn up(&self) -> Vec<IpAddr> {
            self.health.tracks.keys().copied().filter(|ip| self.health.tracks[ip].up).collect()
        }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn failures_in_a_row_take_a_proven_address_out_and_successes_bring_it_back() {
        let mut play = Play::new(3, 2, &[1, 2]);
        play.check(1, true);
        for succeeds in [false, false, true, false, false] {
            assert_eq!(play.check(1, succeeds), [], "not three in a row");
        }
        assert_eq!(play.check(1, false), [Change::Down(ip(1))]);
        assert_eq!(play.up(), [ip(2)]);
        for succeeds in [false, true, false, true] {
            assert_eq!(play.check(1, succeeds), [], "not two in a row");
        }
        assert_eq!(play.check(1, true), [Change::Up(ip(1))]);
        assert_eq!(play.check(1, false), [], "counted from the beginning");
        assert_eq!(play.up(), [ip(1), ip(2)]);
    }

    #[test]
    fn what_has_never_succeeded_counts_as_up_and_is_said_once() {
        let mut play = Play::new(2, 1, &[1]);
        assert_eq!(play.check(1, false), []);
        assert_eq!(play.check(1, false), [Change::Unproven(ip(1))]);
        for _ in 0..100 {
            assert_eq!(play.check(1, false), []);
        }
        assert_eq!((play.up(), play.health.outage()), (vec![ip(1)], Outage::None));
        // Failures before the first success do not count after it.
        assert_eq!(play.check(1, true), []);
        assert_eq!(play.check(1, false), []);
        assert!(play.due().is_empty(), "nothing is to be confirmed yet");
    }

    #[test]
    fn an_unproven_address_stays_when_the_proven_go() {
        let mut play = Play::new(1, 1, &[1, 2]);
        play.check(1, true);
        assert_eq!(play.check(1, false), [Change::Down(ip(1))]);
        assert_eq!(play.check(2, false), [Change::Unproven(ip(2))]);
        assert_eq!(play.up(), [ip(2)]);
    }

    /// Two proven addresses, the first down, the second about to be.
    fn about_to_be_down() -> Play {
        let mut play = Play::new(1, 2, &[1, 2]);
        play.check(1, true);
        play.check(2, true);
        play.now += SECOND;
        assert_eq!(play.check(1, false), [Change::Down(ip(1))]);
        assert!(play.due().is_empty());
        assert_eq!(play.check(2, false), [], "not before all were asked once more");
        assert_eq!((play.due(), play.up()), (vec![ip(1), ip(2)], vec![ip(2)]));
        play
    }

    #[test]
    fn all_are_confirmed_before_they_count_as_down_together() {
        let mut play = about_to_be_down();
        assert_eq!(play.check(2, false), []);
        assert_eq!(play.due(), [ip(1)], "once more each, at once");
        assert_eq!(play.check(1, false), [Change::Down(ip(2))]);
        assert!(play.health.outage() == Outage::Total && play.due().is_empty());
        // Back in the usual way.
        assert_eq!(play.check(2, true), []);
        assert_eq!(play.check(2, true), [Change::Up(ip(2))]);
        assert!(play.health.outage() == Outage::None);
    }

    #[test]
    fn whoever_answers_when_all_are_confirmed_is_up() {
        let mut play = about_to_be_down();
        assert_eq!(play.check(1, true), [Change::Up(ip(1)), Change::Down(ip(2))]);
        assert_eq!((play.up(), play.due()), (vec![ip(1)], vec![ip(2)]));
        assert_eq!(play.health.reason(ip(2)), "why 2", "though its own check was not the last");
        let mut play = about_to_be_down();
        assert_eq!(play.check(2, true), []);
        assert_eq!((play.up(), play.due()), (vec![ip(2)], vec![ip(1)]), "the one may be looked at all the same");
        assert_eq!(play.check(1, false), []);
        assert!(play.due().is_empty());
    }

    #[test]
    fn a_check_begun_before_does_not_confirm() {
        let mut play = about_to_be_down();
        play.health.begin(ip(1), play.now, &mut play.random);
        play.health.begin(ip(2), play.now, &mut play.random);
        assert_eq!(play.end(1, true), [Change::Up(ip(1)), Change::Down(ip(2))]);
        assert_eq!(play.end(2, false), [], "that one is down already");
        assert_eq!(play.up(), [ip(1)]);

        let mut play = Play::new(1, 1, &[1, 2]);
        play.check(1, true);
        play.check(2, true);
        play.check(1, false);
        play.health.begin(ip(1), play.now, &mut play.random);
        assert_eq!(play.check(2, false), []);
        // The one under way ends, and another is due at once.
        assert_eq!(play.end(1, false), []);
        assert_eq!(play.due(), [ip(1), ip(2)]);
        play.check(1, false);
        assert_eq!(play.check(2, false), [Change::Down(ip(2))]);
    }

    #[test]
    fn other_addresses_end_the_confirming() {
        let mut play = about_to_be_down();
        assert_eq!(play.know(&[1, 2, 3]), [Change::Down(ip(2))], "the new one counts as up");
        assert_eq!(play.up(), [ip(3)]);
        let mut play = about_to_be_down();
        assert_eq!(play.check(2, false), []);
        assert_eq!(play.know(&[2]), [Change::Down(ip(2))], "nobody else is left to be asked");
        assert!(play.health.outage() == Outage::Total);
    }

    #[test]
    fn checks_are_spread_and_jittered() {
        let addresses: Vec<u8> = (1..=100).collect();
        let mut play = Play::new(3, 3, &addresses);
        let first = |play: &Play| play.health.tracks.values().map(|track| track.due - play.now).collect::<Vec<_>>();
        let waits = first(&play);
        assert!(waits.iter().all(|wait| *wait < SECOND));
        assert!(waits.iter().any(|wait| *wait < SECOND / 5) && waits.iter().any(|wait| *wait > SECOND * 4 / 5));
        addresses.iter().for_each(|last| drop(play.check(*last, true)));
        let waits = first(&play);
        assert!(waits.iter().all(|wait| *wait >= 9 * SECOND && *wait <= 11 * SECOND), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait < SECOND * 19 / 2) && waits.iter().any(|wait| *wait > SECOND * 21 / 2));
    }

    #[test]
    fn what_is_known_of_addresses_goes_over_to_another_configuration() {
        let mut play = Play::new(1, 1, &[1, 2]);
        [1, 2].into_iter().for_each(|last| drop(play.check(last, true)));
        play.check(1, false);
        play.health.begin(ip(2), play.now, &mut play.random);
        let anew = |port| {
            let mut health = Health::new(HealthCheck { port, successes: 2, ..play.health.check() });
            health.take_over(&play.health, play.now);
            health.know(&[ip(1), ip(2), ip(3)], play.now, &mut StdRng::from_seed([2; 32]));
            health
        };
        let (same, other) = (anew(443), anew(80));
        assert_eq!([1, 2, 3].map(|last| same.is_answered(ip(last))), [false, true, true]);
        assert_eq!(same.next(), Some((play.now, ip(2))), "what was under way is begun again");
        assert!([1, 2, 3].iter().all(|last| other.is_answered(ip(*last))), "another port proves nothing");
    }
}
