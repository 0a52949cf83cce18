//! What is known of a resolver: how long it usually takes, whether it has fallen silent, what it cannot do.
//!
//! Apart from the flights, because it outlives each of them: what one question learned of a resolver serves the next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::ledger::{Conduct, Ledger};

/// The least time a resolver is waited for before the question is repeated. Far above what a path within a VPC takes
/// (a millisecond) and its jitter, and short enough that two lost packets in a row cost 40 ms. A resolver that must ask
/// on takes longer now and then; that shows in the deviation, by which the wait grows.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);
/// The most of that.
pub const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// The same for a resolver that has not answered yet.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);
/// The least time after which another resolver is asked beside a slow one.
const LEAST_HEDGE: Duration = Duration::from_millis(5);
/// Sends in a row without an answer after which a resolver counts as down ...
const FAILURES: usize = 3;
/// ... if they happened within so long ...
const WITHIN: Duration = Duration::from_secs(5);
/// ... and the first of them was so long ago: a resolver that must ask on for one name may well take this time.
const AT_LEAST: Duration = Duration::from_millis(300);
/// How often a resolver that is down is looked at.
const LOOK_DOWN: Duration = Duration::from_secs(1);
/// How often a resolver that others outrun is looked at, so that its time to answer stays known.
const LOOK_SLOW: Duration = Duration::from_secs(10);
/// Answers in a row that others had to better, after which a resolver is asked last.
const OUTDONE: u8 = 3;
/// How long a resolver that cannot do something is not asked for it again.
const UNABLE: Duration = Duration::from_secs(3600);
/// Questions that ran out of time with nothing but answers in another case, after which 0x20 goes off.
const MISSPELT: u8 = 3;

/// What is known of every resolver.
#[derive(Debug)]
pub struct Tracks {
    tracks: HashMap<SocketAddr, Track, RandomState>,
    /// Where others read how they fare.
    ledger: Arc<Ledger>,
}

impl Tracks {
    /// Nothing is known yet.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { tracks: HashMap::default(), ledger }
    }

    /// What is known of this one, if anything.
    pub fn get(&self, resolver: SocketAddr) -> Option<&Track> {
        self.tracks.get(&resolver)
    }

    /// What is known of this one, from now on.
    pub fn of(&mut self, resolver: SocketAddr) -> &mut Track {
        let Self { tracks, ledger } = self;
        tracks.entry(resolver).or_insert_with(|| Track { conduct: ledger.page(resolver), ..Track::default() })
    }
}

/// What is known of a resolver.
#[derive(Debug, Default)]
pub struct Track {
    /// What others are told of it.
    conduct: Arc<Conduct>,
    /// Smoothed time to answer and its mean deviation; none yet.
    usual: Option<(Duration, Duration)>,
    /// When it answered last.
    answered: Option<Instant>,
    /// When those were sent that failed in a row, the latest three.
    failed: [Option<Instant>; FAILURES],
    /// When the first of the row was sent.
    failing_since: Option<Instant>,
    /// Its host says that nobody listens there.
    unreachable: bool,
    /// See [`Track::is_down`].
    down: bool,
    /// When that was sent whose failure showed that it is.
    down_since: Option<Instant>,
    /// Answers in a row that others had to better.
    outdone: u8,
    /// When it was last asked anything.
    asked: Option<Instant>,
    /// When it was last asked something that nobody waited for.
    looked_at: Option<Instant>,
    /// Until when it is asked without EDNS.
    without_edns: Option<Instant>,
    /// Questions in a row that it answered in another case.
    misspelt: u8,
    /// Until when it is asked in lower case.
    without_case: Option<Instant>,
}

/// How a resolver stands beside others: the lower, the sooner it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It answers.
    Well,
    /// Others have to better what it says.
    Poor,
    /// Its last send failed.
    Failing,
    /// It is down.
    Down,
}

impl Standing {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Well, Self::Poor, Self::Failing, Self::Down];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Poor => "poor",
            Self::Failing => "failing",
            Self::Down => "down",
        }
    }
}

impl Track {
    /// How one ranks of which nothing is known: after those that are known to be well.
    pub const UNKNOWN: (Standing, Duration) = (Standing::Well, MOST_PATIENCE);

    /// It answered what was sent so long ago.
    pub fn answered(&mut self, took: Duration, now: Instant) {
        // RFC 6298 section 2. Each send has an id of its own, so it is always known which one was answered.
        let took = took.min(MOST_PATIENCE);
        self.usual = Some(self.usual.map_or((took, took / 2), |(usual, deviation)| {
            ((usual * 7 + took) / 8, (deviation * 3 + usual.abs_diff(took)) / 4)
        }));
        self.answered = Some(now);
        (self.failed, self.failing_since) = ([None; FAILURES], None);
        (self.unreachable, self.down, self.down_since) = (false, false, None);
        self.conduct.answers.add(1);
        self.conduct.latency.add(took, 1);
        self.tell();
    }

    /// Tells others how it stands.
    fn tell(&self) {
        let usual = self.usual.map_or(0, |(usual, _)| u64::try_from(usual.as_micros()).unwrap_or(u64::MAX).max(1));
        self.conduct.stands(self.rank().0, usual);
    }

    /// What was sent at `sent` has no answer, after all the time that it usually takes.
    pub fn failed(&mut self, sent: Instant, now: Instant) {
        self.conduct.timeouts.add(1);
        self.fail(sent, now);
    }

    fn fail(&mut self, sent: Instant, now: Instant) {
        self.failed.rotate_right(1);
        self.failed[0] = Some(sent);
        let since = *self.failing_since.get_or_insert(sent);
        if let [Some(last), .., Some(first)] = self.failed {
            self.down |=
                last.saturating_duration_since(first) <= WITHIN && now.saturating_duration_since(since) >= AT_LEAST;
        }
        if self.is_down() {
            self.down_since.get_or_insert(sent);
        }
        self.tell();
    }

    /// Its host says that nobody listens, or there is no way to it.
    pub fn unreachable(&mut self, sent: Instant, now: Instant) {
        self.unreachable = true;
        self.conduct.unreachable.add(1);
        self.fail(sent, now);
    }

    /// Whether its last three sends failed, or it cannot be reached; ends with its first answer.
    pub fn is_down(&self) -> bool {
        self.down || self.unreachable
    }

    /// Whether it cannot be reached, and that is not just this moment.
    pub fn is_gone(&self) -> bool {
        self.unreachable && self.failed.iter().all(Option::is_some)
    }

    /// Whether another resolver knew better what this one could not say.
    pub fn outdone(&mut self, by_another: bool) {
        self.outdone = if by_another { self.outdone.saturating_add(1) } else { 0 };
        self.tell();
    }

    /// It said what is of no use.
    pub fn was_of_no_use(&self) {
        self.conduct.unusable.add(1);
    }

    /// A question that it had been sent before goes to it once more.
    pub fn asked_again(&self) {
        self.conduct.retransmissions.add(1);
    }

    /// It is asked over a stream; `beside` what it was sent as datagrams.
    pub fn asked_over_a_stream(&self, beside: bool) {
        self.conduct.streams.add(1);
        self.conduct.queries.add(beside.into());
    }

    /// How it stands beside others, and for those who stand alike how long it takes.
    pub fn rank(&self) -> (Standing, Duration) {
        let standing = match self {
            _ if self.is_down() => Standing::Down,
            _ if self.failing_since.is_some() => Standing::Failing,
            _ if self.outdone >= OUTDONE => Standing::Poor,
            _ => Standing::Well,
        };
        (standing, self.usual.map_or(MOST_PATIENCE, |(usual, _)| usual))
    }

    /// How long it is waited for. One that is down is asked all the same if there is no other, but not often.
    pub fn patience(&self) -> Duration {
        match self.usual {
            _ if self.down => MOST_PATIENCE,
            _ if self.unreachable => FIRST_PATIENCE,
            Some((usual, deviation)) => (usual + deviation * 4).clamp(LEAST_PATIENCE, MOST_PATIENCE),
            None => FIRST_PATIENCE,
        }
    }

    /// After how long another is asked beside it.
    pub fn hedge_after(&self) -> Duration {
        self.usual.map_or(LEAST_HEDGE, |(usual, deviation)| (usual + deviation * 4).max(LEAST_HEDGE))
    }

    /// Whether it should be asked something beside another, to learn how it stands.
    pub fn wants_a_look(&self, now: Instant) -> bool {
        let since =
            |then: Option<Instant>, at_least| then.is_none_or(|then| now.saturating_duration_since(then) >= at_least);
        match self.rank().0 {
            _ if self.answered.is_none() && self.failing_since.is_none() => since(self.asked, FIRST_PATIENCE),
            Standing::Well => since(self.answered.max(self.asked), LOOK_SLOW),
            // A first lost packet may be only that.
            Standing::Failing if self.failed[1].is_none() => since(self.asked, LEAST_PATIENCE),
            Standing::Poor | Standing::Failing => since(self.asked, LOOK_DOWN),
            // What clients have it asked meanwhile is no look: some may ask what it cannot answer.
            Standing::Down => since(self.looked_at.max(self.down_since), LOOK_DOWN),
        }
    }

    /// It is asked something, and how it stands will show; `aside` if nobody waits for it.
    pub fn asked(&mut self, aside: bool, now: Instant) {
        self.asked = Some(now);
        self.conduct.queries.add(1);
        if aside {
            self.conduct.aside.add(1);
            self.looked_at = self.asked;
        }
    }

    /// Whether it takes an OPT.
    pub fn takes_edns(&self, now: Instant) -> bool {
        self.without_edns.is_none_or(|until| until <= now)
    }

    /// It could not make sense of an OPT, and answers without. From time to time it is asked with one again.
    pub fn takes_no_edns(&mut self, now: Instant) {
        if self.takes_edns(now) {
            self.without_edns = Some(now + UNABLE);
        }
    }

    /// Whether it gives back a question as it was spelt.
    pub fn keeps_case(&self, now: Instant) -> bool {
        self.without_case.is_none_or(|until| until <= now)
    }

    /// It gave a question back as it was spelt.
    pub fn kept_case(&mut self) {
        self.misspelt = 0;
    }

    /// A question ran out of time with nothing but an answer in another case, and TCP showed that it was the resolver's
    /// own. One alone may be forged by somebody who wants 0x20 off.
    pub fn lost_case(&mut self, now: Instant) {
        self.misspelt += 1;
        if self.misspelt >= MISSPELT {
            (self.misspelt, self.without_case) = (0, Some(now + UNABLE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn patience_follows_the_times_and_how_they_vary() {
        let (mut track, now) = (Track::default(), Instant::now());
        assert_eq!(track.patience(), FIRST_PATIENCE);
        (0..50).for_each(|_| track.answered(millis(1), now));
        assert_eq!(track.patience(), LEAST_PATIENCE);
        // One in four must be asked on for.
        (0..100).for_each(|n| track.answered(millis(if n % 4 == 0 { 60 } else { 1 }), now));
        assert!((millis(70)..millis(200)).contains(&track.patience()), "{:?}", track.patience());
    }

    #[test]
    fn three_sends_that_fail_are_an_outage_until_the_first_answer() {
        let (mut track, start) = (Track::default(), Instant::now());
        track.answered(millis(1), start);
        for (sent, judged) in [(0, 20), (20, 40), (40, 80)] {
            track.failed(start + millis(sent), start + millis(judged));
            assert!(!track.is_down(), "a name that must be asked on for takes as long");
        }
        track.failed(start + millis(80), start + millis(300));
        assert!(track.is_down());
        track.answered(millis(900), start + millis(980));
        assert!(!track.is_down());
    }

    #[test]
    fn sends_that_fail_now_and_then_are_no_outage() {
        let (mut track, start) = (Track::default(), Instant::now());
        for n in 0..5 {
            track.failed(start + millis(3000 * n), start + millis(3000 * n + 250));
        }
        assert!(!track.is_down());
    }

    #[test]
    fn case_goes_off_after_three_and_is_tried_again() {
        let (mut track, now) = (Track::default(), Instant::now());
        track.lost_case(now);
        track.lost_case(now);
        track.kept_case();
        track.lost_case(now);
        track.lost_case(now);
        assert!(track.keeps_case(now));
        track.lost_case(now);
        assert!(!track.keeps_case(now));
        assert!(track.keeps_case(now + UNABLE));
    }
}
