//! Forwarding: which resolver, how long, when to send again, when to stop; equal questions joined.
//!
//! A flight is one question on its way for any number of clients. The whole state of all flights is here, and no socket
//! and no clock: [`Forwarder`] is told what happened and when, and says what to do ([`Action`]) and who has an answer.
//! So a conversation with resolvers that lose, refuse or truncate can be played in a test without waiting for it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use slab::Slab;

pub use super::flight::Flown;
use super::flight::{Flight, Sent};
use super::pool::Pool;
use super::track::{FIRST_PATIENCE, MOST_PATIENCE, Track};
use super::{Route, Upstream};
use crate::wire::answer::{Answer, ExtendedError};
use crate::wire::query::rcode;
use crate::wire::reply::{self, Outcome, Question, Received, Unusable};

/// Clients that may wait at one time; more are told SERVFAIL at once.
pub const MAX_WAITING: usize = 10_000;
/// Datagrams that one flight may cost. With their delays doubling from 50 ms, six span a second and a half.
const MAX_SENDS: usize = 6;
/// How often old sockets are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// What must be done outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a socket.
    Open {
        /// What it will be called.
        socket: usize,
        /// Where it is connected to.
        resolver: SocketAddr,
    },
    /// Send a datagram.
    Send {
        /// The socket it leaves by.
        socket: usize,
        /// Its content.
        message: Vec<u8>,
    },
    /// Close a socket.
    Close {
        /// Its number, which may be given to another from now on.
        socket: usize,
    },
    /// Ask over TCP.
    Fetch {
        /// For whom: what [`Forwarder::fetched`] is told.
        flight: Flown,
        /// Whom.
        resolver: SocketAddr,
        /// What.
        message: Vec<u8>,
        /// When to give up.
        until: Instant,
    },
}

/// All flights; `W` is whoever waits.
#[derive(Debug)]
pub struct Forwarder<W> {
    upstream: Arc<Upstream>,
    flights: Slab<Flight<W>>,
    /// Flights by route and question.
    index: HashTable<usize>,
    hasher: RandomState,
    /// When each flight wants attention next; entries of flights that are gone are skipped.
    timers: BinaryHeap<Reverse<(Instant, Flown)>>,
    pool: Pool,
    next_sweep: Option<Instant>,
    resolvers: HashMap<SocketAddr, Track>,
    /// Ids and sockets are drawn from it: cryptographic, seeded by the system (RFC 5452 section 9.2).
    random: StdRng,
    actions: Vec<Action>,
    answered: Vec<(W, Arc<Answer>)>,
    waiting: usize,
    serial: u64,
}

impl<W> Forwarder<W> {
    /// No flights yet; `seed` decides ids and sockets, and must be secret.
    pub fn new(upstream: Arc<Upstream>, seed: [u8; 32]) -> Self {
        Self {
            upstream,
            flights: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            timers: BinaryHeap::new(),
            pool: Pool::default(),
            next_sweep: None,
            resolvers: HashMap::new(),
            random: StdRng::from_seed(seed),
            actions: Vec::new(),
            answered: Vec::new(),
            waiting: 0,
            serial: 0,
        }
    }

    /// `waiter` wants an answer to `question` from `route` by `deadline`.
    pub fn ask(&mut self, question: Question, route: Arc<Route>, deadline: Instant, waiter: W, now: Instant) {
        if self.waiting >= MAX_WAITING {
            let error = ExtendedError::new(ExtendedError::OTHER, "too many queries are waiting");
            return self.answered.push((waiter, Answer::error(rcode::SERVFAIL, error).into()));
        }
        // It may have come while the question was on its way here.
        if let Some(hit) = self.upstream.cached(&route, question.as_asked(), now).filter(|hit| hit.age == 0) {
            return self.answered.push((waiter, hit.answer));
        }
        let key = self.flight_for(question, route, deadline, now);
        if let Some(flight) = self.flights.get_mut(key) {
            // In the order of their deadlines, which is that of their coming unless a reload changed the timeout.
            let place = flight.waiters.partition_point(|(earlier, _)| *earlier <= deadline);
            flight.waiters.insert(place, (deadline, waiter));
            flight.ends = flight.ends.max(deadline);
            self.waiting += 1;
        }
        self.prolong(key, now);
        self.take_off(key, now);
        self.set_timer(key);
    }

    /// Sends each resolver a random name, to see whether it comes back to our own door.
    pub fn probe(&mut self, resolvers: &[SocketAddr], now: Instant) {
        let random = &mut self.random;
        for (name, resolver) in self.upstream.loops.probe(resolvers, || random.random()) {
            let question = Question { name, kind: 1, dnssec_ok: false, checking_disabled: false };
            let key = self.flight_for(question, Route::new(&[resolver]), now + MOST_PATIENCE, now);
            self.take_off(key, now);
        }
    }

    /// A datagram came in on a socket.
    pub fn datagram(&mut self, socket: usize, message: &[u8], now: Instant) {
        let Some(id) = reply::message_id(message) else { return };
        let Some(key) = self.pool.awaiting(socket, id) else { return };
        let Some(flight) = self.flights.get(key) else { return };
        let Some(sent) = flight.sent.iter().find(|sent| (sent.socket, sent.id) == (socket, id)).copied() else {
            return;
        };
        let read = reply::read(message, &flight.question);
        // RFC 5452 section 9.1: what does not fit the question is not an answer, and does not end the wait for one.
        if read == Err(Unusable::Foreign) {
            return;
        }
        // A datagram can come twice, and each failure has somebody else asked: only an answer is taken from who failed.
        let failed = flight.is_spent(sent.resolver);
        if failed && !matches!(&read, Ok(received) if received.outcome != Outcome::Failure) {
            return;
        }
        if let Some(resolver) = self.pool.resolver(socket) {
            self.resolvers.entry(resolver).or_default().answered(now.saturating_duration_since(sent.at));
        }
        self.landed(key, sent.resolver, read, now);
    }

    /// A TCP exchange ended, with a reply or without.
    pub fn fetched(&mut self, flight: Flown, message: Option<&[u8]>, now: Instant) {
        let Some((resolver, id)) = self.flight(flight).and_then(|flight| flight.fetching) else { return };
        let Some(question) = self.flights.get(flight.key).map(|flight| &flight.question) else { return };
        let read = match message {
            Some(message) if reply::message_id(message) == Some(id) => reply::read(message, question),
            _ => Err(Unusable::Malformed),
        };
        // A stream has nothing better to wait for: what is not the answer is the end of it.
        let read = read.map_err(|_| Unusable::Malformed);
        if let Some(flight) = self.flights.get_mut(flight.key) {
            flight.fetching = None;
        }
        self.landed(flight.key, resolver, read, now);
    }

    /// A resolver's host says that nobody listens there, or the socket failed: others are asked at once.
    pub fn unreachable(&mut self, socket: usize, now: Instant) {
        if let Some(resolver) = self.pool.resolver(socket) {
            self.resolvers.entry(resolver).or_default().silent += 1;
        }
        self.pool.retire(socket);
        for key in self.pool.flights(socket) {
            let Some(flight) = self.flights.get(key) else { continue };
            let asked = |place: usize| flight.sent.iter().any(|sent| sent.resolver == place);
            // With nobody else to ask, the repetition in its own time is what is left: it may be restarting.
            if (0..flight.route.resolvers().len()).any(|place| !asked(place)) {
                self.send(key, now);
            }
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse((due, flown))) = self.timers.peek().copied()
            && due <= now
        {
            self.timers.pop();
            let flight = self.flights.get_mut(flown.key).filter(|flight| flight.serial == flown.serial);
            if flight.is_some_and(|flight| flight.timer.take_if(|set| *set == due).is_some()) {
                self.attend(flown, now);
            }
        }
        if self.next_sweep.is_some_and(|due| due <= now) {
            self.actions.extend(self.pool.sweep(now).into_iter().map(|socket| Action::Close { socket }));
            self.next_sweep = (!self.pool.is_empty()).then(|| now + SWEEP);
        }
    }

    /// When [`Self::tick`] must be called next.
    pub fn next_tick(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        [timer, self.next_sweep].into_iter().flatten().min()
    }

    /// What must be done outside, in order.
    pub fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }

    /// Who has an answer.
    pub fn answered(&mut self) -> &mut Vec<(W, Arc<Answer>)> {
        &mut self.answered
    }

    /// Whether this flight still waits for what was fetched over TCP.
    pub fn awaits(&self, flight: Flown) -> bool {
        self.flight(flight).is_some_and(|flight| flight.fetching.is_some())
    }

    /// Whether no flight is under way.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// The flight that asks this, a new one if there is none.
    fn flight_for(&mut self, question: Question, route: Arc<Route>, ends: Instant, now: Instant) -> usize {
        let Self { flights, hasher, .. } = self;
        let hash = hasher.hash_one((&*route, question.as_asked()));
        let same =
            |key: &usize| flights.get(*key).is_some_and(|flight| flight.question == question && flight.route == route);
        if let Some(key) = self.index.find(hash, same) {
            return *key;
        }
        self.serial += 1;
        let key = flights.insert(Flight::new(self.serial, question, route, ends, now));
        let rehash = |key: &usize| {
            flights.get(*key).map_or(0, |flight| hasher.hash_one((&*flight.route, flight.question.as_asked())))
        };
        self.index.insert_unique(hash, key, rehash);
        key
    }

    /// Sends a flight's first datagram, unless it is under way.
    fn take_off(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        if flight.sent.is_empty() && flight.repeat == Some(now) {
            self.send(key, now);
        }
    }

    /// Has a flight that was sent often enough repeated for whoever joins it now. Without that a name that is always
    /// asked for would be lost with its resolver, and not come back with it.
    fn prolong(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if let Some(last) = flight.sent.last()
            && flight.repeat.is_none()
            && flight.fetching.is_none()
        {
            flight.prolonged = true;
            flight.repeat = Some(now.max(last.at + MOST_PATIENCE));
            self.set_timer(key);
        }
    }

    /// Makes room for one more datagram: the oldest is awaited no longer, and those who failed may be asked again.
    fn forget_oldest(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.spent = 0;
        if flight.sent.len() >= MAX_SENDS {
            let Sent { socket, id, .. } = flight.sent.remove(0);
            if self.pool.release(socket, id) {
                self.actions.push(Action::Close { socket });
            }
        }
    }

    /// Something came back from the resolver at `place` in the route.
    fn landed(&mut self, key: usize, place: usize, read: Result<Received, Unusable>, now: Instant) {
        match read {
            Ok(mut received) if received.outcome != Outcome::Failure => {
                if let Some(flight) = self.flights.get(key) {
                    self.upstream.keep(&flight.route, &flight.question, &mut received, now);
                }
                self.end(key, &received.answer);
            }
            Ok(received) => self.spent(key, place, Some(received.answer), now),
            Err(Unusable::Truncated) => self.fetch(key, place, now),
            Err(Unusable::Malformed | Unusable::Foreign) => self.spent(key, place, None, now),
        }
    }

    /// The resolver at `place` is of no use for this question: the next is asked, or the clients hear what it said.
    fn spent(&mut self, key: usize, place: usize, failure: Option<Arc<Answer>>, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.spend(place);
        flight.failure = failure.or(flight.failure.take());
        self.send(key, now);
    }

    /// Asks the resolver that serves this flight best; ends the flight if none is left.
    fn send(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        if flight.fetching.is_some() {
            return;
        }
        let usable = |place: &usize| {
            let resolver = flight.route.resolvers().get(*place);
            !flight.is_spent(*place) && resolver.is_some_and(|r| !self.upstream.loops.is_looping(*r))
        };
        // Those not asked yet go first, then those that have not been silent, then the configuration's order.
        let rank = |place: &usize| {
            let asked = flight.sent.iter().filter(|sent| sent.resolver == *place).count();
            let track = flight.route.resolvers().get(*place).and_then(|resolver| self.resolvers.get(resolver));
            (asked, track.map_or(0, |track| track.silent))
        };
        let best = (0..flight.route.resolvers().len()).filter(usable).min_by_key(rank);
        let Some((place, resolver)) = best.and_then(|place| Some((place, *flight.route.resolvers().get(place)?)))
        else {
            let answer = flight.failure_or("no resolver gave a usable answer");
            return self.end(key, &answer);
        };
        if flight.sent.len() >= MAX_SENDS {
            return;
        }
        let not: Vec<usize> = flight.sent.iter().map(|sent| sent.socket).collect();
        let at = self.pool.place(resolver, key, &not, now, &mut self.random);
        let message = flight.question.message(at.id);
        if at.fresh {
            self.actions.push(Action::Open { socket: at.socket, resolver });
            self.next_sweep.get_or_insert(now + SWEEP);
        }
        self.actions.push(Action::Send { socket: at.socket, message });
        let patience = self.resolvers.get(&resolver).map_or(FIRST_PATIENCE, Track::patience);
        if let Some(flight) = self.flights.get_mut(key) {
            flight.sent.push(Sent { socket: at.socket, id: at.id, resolver: place, at: now });
            let doubled = patience * (1 << (flight.sent.len() - 1).min(MAX_SENDS));
            let wait = if flight.prolonged { MOST_PATIENCE } else { doubled };
            flight.repeat = (flight.prolonged || flight.sent.len() < MAX_SENDS).then(|| now + wait);
            // The timer that is set may be for later: with several resolvers, this send has its own time to wait.
            self.set_timer(key);
        }
    }

    /// Asks over TCP the resolver whose answer did not fit a datagram.
    fn fetch(&mut self, key: usize, place: usize, now: Instant) {
        let id = self.random.random();
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(&resolver) = flight.route.resolvers().get(place) else { return };
        if flight.fetching.is_some() {
            return;
        }
        (flight.fetching, flight.repeat) = (Some((place, id)), None);
        let flown = Flown { key, serial: flight.serial };
        let message = flight.question.message(id);
        // Where somebody else could be asked, a connection that hangs must leave the time for it.
        let others = (0..flight.route.resolvers().len()).any(|o| o != place && !flight.is_spent(o));
        let until = if others { flight.ends.min(now + MOST_PATIENCE) } else { flight.ends };
        self.actions.push(Action::Fetch { flight: flown, resolver, message, until });
    }

    /// A flight's time has come: who waited too long is told, and the question is repeated.
    fn attend(&mut self, flown: Flown, now: Instant) {
        let Some(flight) = self.flights.get_mut(flown.key) else { return };
        while let Some((deadline, _)) = flight.waiters.front()
            && *deadline <= now
            && let Some((_, waiter)) = flight.waiters.pop_front()
        {
            self.answered.push((waiter, flight.failure_or("no resolver answered in time")));
            self.waiting -= 1;
        }
        if flight.ends <= now {
            let answer = flight.failure_or("no resolver answered in time");
            return self.end(flown.key, &answer);
        }
        if flight.repeat.is_some_and(|due| due <= now) {
            if let Some(&resolver) = flight.sent.last().and_then(|sent| flight.route.resolvers().get(sent.resolver)) {
                self.resolvers.entry(resolver).or_default().silent += 1;
            }
            if flight.prolonged {
                self.forget_oldest(flown.key);
            }
            return self.send(flown.key, now);
        }
        self.set_timer(flown.key);
    }

    /// Sets the timer of a flight to what it waits for next, unless it is set to an earlier time.
    fn set_timer(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let deadline = flight.waiters.front().map_or(flight.ends, |(deadline, _)| *deadline);
        let due = flight.repeat.map_or(deadline, |repeat| repeat.min(deadline)).min(flight.ends);
        if flight.timer.is_none_or(|set| due < set) {
            flight.timer = Some(due);
            self.timers.push(Reverse((due, Flown { key, serial: flight.serial })));
        }
    }

    /// A flight ends: all who wait have `answer`, and what still comes for it is nobody's.
    fn end(&mut self, key: usize, answer: &Arc<Answer>) {
        let Some(flight) = self.flights.try_remove(key) else { return };
        let hash = self.hasher.hash_one((&*flight.route, flight.question.as_asked()));
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        for sent in &flight.sent {
            if self.pool.release(sent.socket, sent.id) {
                self.actions.push(Action::Close { socket: sent.socket });
            }
        }
        self.waiting -= flight.waiters.len();
        self.answered.extend(flight.waiters.into_iter().map(|(_, waiter)| (waiter, Arc::clone(answer))));
    }

    /// The flight of this name, if it is still under way.
    fn flight(&self, flown: Flown) -> Option<&Flight<W>> {
        self.flights.get(flown.key).filter(|flight| flight.serial == flown.serial)
    }
}
