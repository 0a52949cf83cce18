//! One question on its way, for any number of clients: what [`super::forward`] keeps of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Route;
use super::cache::Hit;
use super::line::Seat;
use super::track::MOST_PATIENCE;
use crate::wire::answer::{Answer, ExtendedError};
use crate::wire::query::rcode;
use crate::wire::reply::Question;

/// How long an answer is awaited after the last client has gone: it is kept for the next.
const LINGER: Duration = Duration::from_secs(5);
/// Times a resolver is asked one question. With their distances doubling from 20 ms, eight span a second and a third, and
/// where one packet in five is lost, one question in 400,000 is.
const MAX_SENDS: usize = 8;
/// Times it is asked again for those who join then: about as many seconds as they wait.
const MORE_SENDS: usize = 4;
/// Datagrams whose answers are awaited at one time, ...
const MAX_AWAITED: usize = 16;
/// ... and how long after they were sent: a name that is asked for and never answered would hold their sockets.
const TOO_LATE: Duration = Duration::from_secs(10);
/// Clients whose turns a flight has though they have been told something old.
const MAX_TURNS: usize = 4;

/// Names a flight for as long as it lasts: its place, and a number no other flight ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flown {
    /// Its place among the flights.
    pub(super) key: usize,
    /// Its number.
    pub(super) serial: u64,
}

impl Flown {
    /// A number that no other flight ever has.
    pub fn number(self) -> u64 {
        self.serial
    }
}

/// One question on its way.
#[derive(Debug)]
pub(super) struct Flight<W> {
    pub serial: u64,
    pub question: Question,
    /// The question's name as it is asked: in random case, or as it is.
    pub spelling: Box<[u8]>,
    pub route: Arc<Route>,
    /// Who waits; the first deadline is first.
    pub waiters: VecDeque<Waiter<W>>,
    /// Seats of clients who have been told something old, while it waits for a packet.
    pub turns: Vec<Seat>,
    /// It waits for a packet.
    pub queued: bool,
    /// Datagrams whose answers would still be taken.
    pub sent: Vec<Sent>,
    /// How many times it may be sent, and how many it has been; without what was sent beside.
    pub most_sends: usize,
    pub sends: usize,
    /// When the question is repeated, unless it is asked over TCP or often enough.
    pub repeat: Option<Instant>,
    /// When another resolver is asked beside the first.
    pub hedge: Option<Instant>,
    /// When its timer is set to; entries for another time are skipped.
    pub timer: Option<Instant>,
    /// How it is asked over a stream.
    pub fetching: Option<Fetching>,
    /// Resolvers, by their place in the route, ...
    /// ... that gave an answer of no use, ...
    pub spent: Places,
    /// ... that were asked without EDNS, ...
    pub without_edns: Places,
    /// ... because they made nothing of it just now, ...
    pub puzzled: Places,
    /// ... and that have answered in another case.
    pub misspelt: Places,
    /// It was asked over TCP because datagrams were not to be trusted. Once is enough: who can do this at will must not
    /// keep the answer away.
    pub driven: bool,
    /// The last answer of no use: better than none.
    pub failure: Option<Arc<Answer>>,
    /// What is told from `stale_from` on while there is no answer.
    pub stale: Option<Hit>,
    pub stale_from: Instant,
    /// Its answer has come; it stays only to see whether others answer as well.
    pub settled: bool,
    /// When the last who waits must be told something.
    pub ends: Instant,
    /// That time has come: nothing more is sent, and only a late answer is awaited.
    pub ended: bool,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<W> {
    pub deadline: Instant,
    pub seat: Seat,
    pub who: W,
}

/// One datagram sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub socket: usize,
    pub id: u16,
    /// Place in the route.
    pub place: usize,
    pub at: Instant,
    /// When it counts as having failed; none once it has.
    pub due: Option<Instant>,
}

/// An exchange over a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetching {
    pub place: usize,
    pub id: u16,
    pub at: Instant,
    pub why: Why,
}

/// Why a question is asked over a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its answer did not fit a datagram.
    Truncated,
    /// The target speaks nothing else.
    Channel,
    /// Nothing but answers in another case came.
    Case,
    /// Somebody tries to forge the answer.
    Forgery,
}

/// Places in a route. What is further back than the 64th is not told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places(u64);

impl Places {
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place.min(63)) != 0
    }

    pub fn add(&mut self, place: usize) {
        self.0 |= 1 << place.min(63);
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<W> Flight<W> {
    /// A question of which nothing has been sent and for which nobody waits yet.
    pub fn new(serial: u64, question: Question, spelling: Box<[u8]>, route: Arc<Route>, now: Instant) -> Self {
        Self {
            serial,
            question,
            spelling,
            // Most have one of each, and room for four would be a kilobyte.
            waiters: VecDeque::with_capacity(1),
            turns: Vec::new(),
            queued: false,
            sent: Vec::with_capacity(1),
            most_sends: MAX_SENDS.max(2 * route.hops().len()),
            route,
            sends: 0,
            repeat: None,
            hedge: None,
            timer: None,
            fetching: None,
            spent: Places::default(),
            without_edns: Places::default(),
            puzzled: Places::default(),
            misspelt: Places::default(),
            driven: false,
            failure: None,
            stale: None,
            stale_from: now,
            settled: false,
            ends: now,
            ended: false,
        }
    }

    /// Takes in one more who waits, in the order of deadlines, which is that of coming unless a reload changed the
    /// timeout.
    pub fn board(&mut self, waiter: Waiter<W>) {
        self.extend(waiter.deadline);
        let place = self.waiters.partition_point(|earlier| earlier.deadline <= waiter.deadline);
        self.waiters.insert(place, waiter);
    }

    /// It is to go on until then.
    pub fn extend(&mut self, ends: Instant) {
        self.ends = self.ends.max(ends);
        self.ended = false;
    }

    /// All seats that are taken for it.
    pub fn seats(&self) -> impl Iterator<Item = Seat> {
        self.waiters.iter().map(|waiter| waiter.seat).chain(self.turns.iter().copied())
    }

    /// Keeps the seat of one who waits no more, for its turn. Returns the one that is given up for it: of each client the newest has the
    /// next turn, and of more clients than a few it matters little whose comes first.
    pub fn keep_turn(&mut self, seat: Seat) -> Option<Seat> {
        if let Some(turn) = self.turns.iter_mut().find(|turn| turn.client() == seat.client()) {
            return Some(std::mem::replace(turn, seat));
        }
        if self.turns.len() >= MAX_TURNS {
            return Some(seat);
        }
        self.turns.push(seat);
        None
    }

    /// Whether it was made just now, and nobody wants it.
    pub fn is_new(&self) -> bool {
        self.waiters.is_empty() && self.sent.is_empty() && !self.is_under_way()
    }

    /// Whether anything has been asked, or is about to be.
    pub fn is_under_way(&self) -> bool {
        self.queued
            || self.fetching.is_some()
            || self.repeat.is_some()
            || self.sent.iter().any(|sent| sent.due.is_some())
    }

    /// It was sent often enough and somebody joins it now: it is sent once more, so that a name that is always asked
    /// for is not lost with its resolver, and comes back with it.
    pub fn prolong(&mut self, now: Instant) {
        if self.queued || self.fetching.is_some() || self.repeat.is_some() {
            return;
        }
        let most_sends = self.most_sends.max(self.sends + MORE_SENDS);
        let Some(last) = self.sent.last() else {
            // Nothing is awaited of what was sent before.
            self.most_sends = most_sends;
            return;
        };
        // What went aside was for nobody: those who wait now have it repeated in its time.
        let again = if self.sends == 0 { last.due.unwrap_or(now) } else { last.at + MOST_PATIENCE };
        self.most_sends = most_sends;
        self.repeat = Some(again.max(now));
        self.spent = Places::default();
    }

    /// Whether the resolver at `place` was asked.
    pub fn was_asked(&self, place: usize) -> bool {
        self.times_asked(place) > 0 || self.spent.has(place)
    }

    /// How many datagrams to the resolver at `place` are remembered.
    pub fn times_asked(&self, place: usize) -> usize {
        self.sent.iter().filter(|sent| sent.place == place).count()
    }

    /// Whether the resolver at `place` was asked and has had its time to answer.
    pub fn has_failed(&self, place: usize) -> bool {
        let mut sent = self.sent.iter().filter(|sent| sent.place == place).peekable();
        sent.peek().is_some() && sent.all(|sent| sent.due.is_none())
    }

    /// Notes a datagram. Those whose answers will not come any more are given back, to be forgotten, and the oldest
    /// beyond what is awaited at one time.
    pub fn note(&mut self, sent: Sent) -> Vec<Sent> {
        let late = |other: &Sent| sent.at.saturating_duration_since(other.at) >= TOO_LATE;
        let late = self.sent.iter().take_while(|other| late(other)).count();
        let over = (self.sent.len() + 1).saturating_sub(MAX_AWAITED);
        let forgotten = self.sent.drain(..late.max(over)).collect();
        self.sent.push(sent);
        forgotten
    }

    /// When it ends, whoever might still answer.
    pub fn gone(&self) -> Instant {
        self.ends + LINGER
    }

    /// When it wants attention next.
    pub fn due(&self) -> Instant {
        let judged = self.sent.iter().filter_map(|sent| sent.due);
        if self.settled {
            return judged.min().unwrap_or(self.ends);
        }
        let waiter = self.waiters.front().map(|waiter| waiter.deadline);
        let stale = (self.stale.is_some() && !self.waiters.is_empty()).then_some(self.stale_from);
        let ends = if self.ended { self.gone() } else { self.ends };
        let due = judged.chain(waiter).chain(stale).chain(self.repeat).chain(self.hedge).min();
        due.map_or(ends, |due| due.min(ends))
    }

    /// What clients hear when no answer could be had: what a resolver said last, else why there is nothing.
    pub fn failure_or(&self, why: &'static str) -> Arc<Answer> {
        self.failure.clone().unwrap_or_else(|| servfail(ExtendedError::NO_REACHABLE_AUTHORITY, why))
    }
}

/// No answer could be had.
pub(super) fn servfail(code: u16, why: &'static str) -> Arc<Answer> {
    Arc::new(Answer::error(rcode::SERVFAIL, ExtendedError::new(code, why)))
}
