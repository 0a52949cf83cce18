//! Forwarding: equal questions joined, asked, repeated, answered.
//!
//! A flight is one question on its way for any number of clients. The whole state of all flights is here, and no socket
//! and no clock: [`Forwarder`] is told what happened and when, and says what to do ([`Action`]) and who has an answer.
//! So a conversation with resolvers that lose, refuse or truncate can be played in a test without waiting for it.
//!
//! This file is what happens; whom to ask and how a question leaves is `send`, what those who wait are told `tell`, and
//! `guard` looks at what should not happen; `index` knows which flight asks what.

mod guard;
mod index;
mod send;
mod tell;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use slab::Slab;

use super::budget::{Budget, Rate};
use super::cache::Hit;
pub use super::flight::Flown;
use super::flight::{Fetching, Flight, Waiter, Why, servfail};
use super::line::Line;
use super::pool::Pool;
use super::track::Tracks;
use super::{Route, Upstream};
use crate::config::Target;
use crate::wire::Name;
use crate::wire::answer::ExtendedError;
use crate::wire::query::{HEADER, rcode};
use crate::wire::reply::{self, Outcome, Question, Received, Unusable};

/// Queries that may wait at one time. No key: at the usual 900 packets a second four seconds are enough for 3,600 questions,
/// and what can be known of so many sets the sizes of channels and tables.
pub const MAX_WAITING: usize = 10_000;
/// Questions on their way, together with those for whose answers nobody waits any more.
const MAX_FLIGHTS: usize = 2 * MAX_WAITING;
/// How long an answer that might be served stale is kept back for a better one (RFC 8767 section 5).
const STALE_AFTER: Duration = Duration::from_millis(400);
/// How often old sockets are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Questions a second that answers under another id or in another case may drive to TCP: so a forger cannot turn a defence
/// into a load.
const MOST_DRIVEN_TO_TCP: u32 = 20;

/// A question, and who wants to know.
#[derive(Debug)]
pub struct Ask<W> {
    /// What to ask.
    pub question: Question,
    /// Whom.
    pub route: Arc<Route>,
    /// When the waiter must have its answer.
    pub deadline: Instant,
    /// The client, to be fair to others.
    pub client: IpAddr,
    /// Who waits.
    pub waiter: W,
}

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
    /// Ask over a stream.
    Fetch {
        /// For whom: what [`Forwarder::fetched`] is told.
        flight: Flown,
        /// Whom, and how.
        target: Target,
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
    /// Flights by route and question, without those that are settled.
    index: HashTable<usize>,
    hasher: RandomState,
    /// When each flight wants attention next; entries of flights that are gone are skipped.
    timers: BinaryHeap<Reverse<(Instant, Flown)>>,
    line: Line,
    pool: Pool,
    next_sweep: Option<Instant>,
    resolvers: Tracks,
    /// What may be sent beside to resolvers that the packet budget does not know.
    unmetered: Budget,
    driven_to_tcp: Rate,
    /// When each resolver that seemed to send our queries back was last checked for that.
    loop_checks: HashMap<SocketAddr, Instant>,
    /// Ids, sockets and spellings are drawn from it: cryptographic, seeded by the system (RFC 5452 section 9.2).
    random: StdRng,
    actions: Vec<Action>,
    answered: Vec<(W, Hit)>,
    serial: u64,
}

impl<W> Forwarder<W> {
    /// No flights yet; `seed` decides ids and sockets, and must be secret.
    pub fn new(upstream: Arc<Upstream>, seed: [u8; 32]) -> Self {
        Self {
            resolvers: Tracks::new(Arc::clone(&upstream.ledger)),
            upstream,
            flights: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            timers: BinaryHeap::new(),
            line: Line::default(),
            pool: Pool::default(),
            next_sweep: None,
            unmetered: Budget::new(0),
            driven_to_tcp: Rate::new(MOST_DRIVEN_TO_TCP, MOST_DRIVEN_TO_TCP),
            loop_checks: HashMap::new(),
            random: StdRng::from_seed(seed),
            actions: Vec::new(),
            answered: Vec::new(),
            serial: 0,
        }
    }

    /// Somebody wants an answer.
    pub fn ask(&mut self, ask: Ask<W>, now: Instant) {
        let Some(fallback) = ask.route.fallback().filter(|_| self.is_down(&ask.route)).cloned() else {
            return self.ask_there(ask, None, now);
        };
        self.look(&ask.question, &ask.route, now);
        let older = self.upstream.cached_or_stale(&ask.route, ask.question.as_asked(), now);
        self.ask_there(Ask { route: fallback, ..ask }, older.map_or_else(|stale| stale, Some), now);
    }

    /// Somebody wants an answer from just this route. What another route said once, `older`, is better than a failure.
    fn ask_there(&mut self, ask: Ask<W>, older: Option<Hit>, now: Instant) {
        let Ask { question, route, deadline, client, waiter } = ask;
        // It may have come while the question was on its way here.
        let stale = match self.upstream.cached_or_stale(&route, question.as_asked(), now) {
            Ok(hit) => return self.answered.push((waiter, hit.or_older(older))),
            Err(stale) => stale.or(older),
        };
        if let Some(stale) = &stale
            && self.is_down(&route)
        {
            self.answered.push((waiter, stale.clone()));
            return self.look(&question, &route, now);
        }
        self.suspect_loop(&question, &route, client, now);
        if self.is_asked(&question, &route) {
            self.upstream.ledger.forwarding.joined.add(1);
        }
        let flown = self.flight_for(question, route, now);
        let client = self.upstream.prefixes().of(client);
        let seat = self.line.sit(client, flown);
        let Some(flight) = self.flights.get_mut(flown.key) else { return };
        if flight.stale.is_none() {
            flight.stale_from = now + STALE_AFTER;
        }
        // What may be served stale may not for ever, and a flight can last as long as somebody asks.
        flight.stale = stale;
        flight.board(Waiter { deadline, seat, who: waiter });
        flight.prolong(now);
        let queued = flight.queued;
        let due = !queued && flight.repeat.take_if(|due| *due <= now).is_some();
        if queued {
            self.line.queue(seat, flown);
            self.pump(now);
        }
        self.take_off(flown.key, now);
        // Before an old answer is served: once nobody waits, nothing is repeated.
        if due {
            self.repeat(flown.key, now);
        }
        self.serve_stale_if_short(flown, seat);
        if self.flights.get(flown.key).is_some_and(|flight| flight.stale.is_some() && flight.stale_from <= now) {
            self.serve_stale(flown.key);
        }
        self.make_seats(client);
        self.set_timer(flown.key);
    }

    /// Asks for a popular answer again before its time is over, if a packet can be spared.
    fn renew(&mut self, question: Question, route: Arc<Route>, now: Instant) {
        if !self.is_asked(&question, &route) && !self.is_down(&route) {
            self.upstream.ledger.forwarding.renewals.add(1);
            self.ask_aside(question, route, None, now);
        }
    }

    /// Sends each resolver a random name below the one that stands with it, to see whether it comes back to our own door.
    pub fn probe(&mut self, resolvers: &[(SocketAddr, Name)], now: Instant) {
        let random = &mut self.random;
        let probes = self.upstream.loops.probe(resolvers, || random.random());
        for (name, resolver) in probes {
            self.check_for_loop(name, resolver, now);
        }
    }

    /// A datagram came in on a socket.
    pub fn datagram(&mut self, socket: usize, message: &[u8], now: Instant) {
        let Some(id) = reply::message_id(message) else { return };
        let Some(key) = self.pool.awaiting(socket, id) else { return self.stray(socket, message, now) };
        let Some(flight) = self.flights.get_mut(key) else { return };
        let awaited = flight.sent.iter().find(|sent| (sent.socket, sent.id) == (socket, id)).copied();
        let Some(sent) = awaited else { return };
        let Some(resolver) = self.pool.resolver(socket) else { return };
        let track = self.resolvers.of(resolver);
        let spelling = track.keeps_case(now).then_some(&*flight.spelling);
        // A name without letters, and a header without a question, say nothing of how the resolver treats case.
        let tells_case = message.len() > HEADER && spelling.is_some_and(|it| it != flight.question.name.as_wire());
        let read = match reply::read(message, &flight.question, spelling) {
            // RFC 5452 section 9.1: what does not fit the question is not an answer, and does not end the wait for one.
            Err(Unusable::Foreign) => return,
            Err(Unusable::Misspelt) => return flight.misspelt.add(sent.place),
            read => read,
        };
        // A datagram can come twice, and each failure has somebody else asked: only an answer is taken from who failed.
        let answer = matches!(&read, Ok(received) if received.outcome != Outcome::Failure);
        if flight.spent.has(sent.place) && !answer {
            return;
        }
        track.answered(now.saturating_duration_since(sent.at), now);
        if tells_case {
            track.kept_case();
        }
        flight.sent.iter_mut().filter(|other| other.place == sent.place).for_each(|sent| sent.due = None);
        if flight.settled {
            return self.forget_if_done(key);
        }
        self.landed(key, sent.place, read, now);
    }

    /// A stream has ended, with a reply or without.
    pub fn fetched(&mut self, flown: Flown, message: Option<&[u8]>, now: Instant) {
        let Some(flight) = self.flights.get_mut(flown.key).filter(|flight| flight.serial == flown.serial) else {
            return;
        };
        let Some(Fetching { place, id, at, why }) = flight.fetching.take() else { return };
        let Some(hop) = flight.route.hops().get(place) else { return };
        if let Some(message) = message
            && hop.metered
        {
            self.upstream.budget.charge(send::packets_for(message), now);
        }
        let expected = |message: &&[u8]| reply::message_id(message) == Some(id);
        // A stream has nothing better to wait for: what is not the answer is the end of it.
        let read = message.filter(expected).map(|message| reply::read(message, &flight.question, None));
        let read = read.unwrap_or(Err(Unusable::Malformed)).map_err(|_| Unusable::Malformed);
        let track = self.resolvers.of(hop.address());
        match (why, message) {
            (Why::Channel, Some(_)) => track.answered(now.saturating_duration_since(at), now),
            // A connection that cannot be had is as good as a host that says nobody listens.
            (Why::Channel, None) => track.unreachable(at, now),
            (Why::Case, Some(_)) if read.is_ok() => track.lost_case(now),
            // Datagrams are better than nothing.
            (Why::Case | Why::Forgery, _) if read.is_err() => return self.dispatch(flown.key, now),
            _ => {}
        }
        self.landed(flown.key, place, read, now);
    }

    /// So many streams are under way that there is none for this flight: that says nothing of the resolver, nor of the
    /// question.
    pub fn no_stream(&mut self, flown: Flown, now: Instant) {
        self.upstream.ledger.forwarding.refused_streams.add(1);
        let Some(flight) = self.flights.get_mut(flown.key).filter(|flight| flight.serial == flown.serial) else {
            return;
        };
        let Some(Fetching { place, why, .. }) = flight.fetching.take() else { return };
        if flight.route.hops().get(place).is_some_and(|hop| hop.metered) {
            self.upstream.budget.give_back(send::TCP_PACKETS);
        }
        if matches!(why, Why::Case | Why::Forgery) {
            return self.dispatch(flown.key, now);
        }
        let crowded = || Hit::fresh(servfail(ExtendedError::OTHER, "too much is asked over TCP, TLS and HTTPS"));
        let told = flight.stale.clone().unwrap_or_else(crowded);
        self.settle(flown.key, &told);
    }

    /// A resolver's host says that nobody listens there, or the socket failed: others are asked at once.
    pub fn unreachable(&mut self, socket: usize, now: Instant) {
        let Some(resolver) = self.pool.resolver(socket) else { return };
        self.pool.retire(socket);
        let track = self.resolvers.of(resolver);
        let flights = self.pool.flights(socket);
        for flight in &flights {
            let Some(flight) = self.flights.get_mut(*flight) else { continue };
            for sent in flight.sent.iter_mut().filter(|sent| sent.socket == socket) {
                if sent.due.take().is_some() {
                    track.unreachable(sent.at, now);
                }
            }
            // Repeated in its own time if there is nobody else: it may be restarting.
            flight.repeat = flight.repeat.map(|_| now + track.patience());
        }
        for key in flights {
            self.missed(key, now);
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
                self.attend(flown.key, now);
            }
        }
        for (route, question) in self.upstream.renewals.take() {
            self.renew(question, route, now);
        }
        self.pump(now);
        if self.next_sweep.is_some_and(|due| due <= now) {
            self.actions.extend(self.pool.sweep(now).into_iter().map(|socket| Action::Close { socket }));
            self.next_sweep = (!self.pool.is_empty()).then(|| now + SWEEP);
        }
    }

    /// When [`Self::tick`] must be called next.
    pub fn next_tick(&self, now: Instant) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let packet = if self.line.is_clear() { None } else { self.upstream.budget.next(now).or(Some(now)) };
        [timer, packet, self.next_sweep].into_iter().flatten().min()
    }

    /// What must be done outside, in order.
    pub fn actions(&mut self) -> &mut Vec<Action> {
        &mut self.actions
    }

    /// Who has an answer.
    pub fn answered(&mut self) -> &mut Vec<(W, Hit)> {
        &mut self.answered
    }

    /// Whether this flight still waits for what was fetched over a stream.
    pub fn awaits(&self, flown: Flown) -> bool {
        self.flight(flown).is_some_and(|flight| flight.fetching.is_some())
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.line.len() == 0
    }

    /// Something came back from the resolver at `place` in the route.
    fn landed(&mut self, key: usize, place: usize, read: Result<Received, Unusable>, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        match read {
            Ok(mut received) if received.outcome != Outcome::Failure => {
                let Self { resolvers, upstream, .. } = self;
                for (other, hop) in flight.route.hops().iter().enumerate() {
                    if other == place || flight.spent.has(other) {
                        resolvers.of(hop.address()).outdone(other != place);
                    }
                }
                if flight.puzzled.has(place)
                    && let Some(hop) = flight.route.hops().get(place)
                {
                    resolvers.of(hop.address()).takes_no_edns(now);
                }
                upstream.keep(&flight.route, &flight.question, &mut received, now);
                self.settle(key, &Hit::fresh(received.answer));
            }
            // RFC 6891 section 7: who does not know EDNS says FORMERR; some say NOTIMP.
            Ok(received)
                if matches!(received.answer.rcode(), rcode::FORMERR | rcode::NOTIMP | rcode::BADVERS)
                    && !flight.without_edns.has(place) =>
            {
                flight.without_edns.add(place);
                flight.puzzled.add(place);
                self.ask_without_edns(key, place, received, now);
            }
            Ok(received) => self.spent(key, place, Some(received), now),
            Err(Unusable::Truncated) => self.fetch(key, place, Why::Truncated, now),
            Err(_) => self.spent(key, place, None, now),
        }
    }

    /// The resolver at `place` is of no use for this question: the next is asked, or the clients hear what it said.
    fn spent(&mut self, key: usize, place: usize, failure: Option<Received>, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.spent.add(place);
        if let Some(hop) = flight.route.hops().get(place) {
            self.resolvers.of(hop.address()).was_of_no_use();
        }
        flight.failure = failure.map(|received| received.answer).or(flight.failure.take());
        let next = self.choose(key, now);
        let Some(flight) = self.flights.get_mut(key) else { return };
        // The next may have been asked already, beside the one that failed: its time is not over.
        let awaited = flight.sent.iter().filter(|sent| Some(sent.place) == next).filter_map(|sent| sent.due).max();
        match awaited {
            Some(due) => _ = flight.repeat.get_or_insert(due),
            None => self.dispatch(key, now),
        }
        self.set_timer(key);
    }

    /// A flight's time has come.
    fn attend(&mut self, key: usize, now: Instant) {
        let Self { flights, resolvers, .. } = self;
        let Some(flight) = flights.get_mut(key) else { return };
        let mut missed = false;
        for sent in &mut flight.sent {
            if sent.due.take_if(|due| *due <= now).is_some()
                && let Some(hop) = flight.route.hops().get(sent.place)
            {
                resolvers.of(hop.address()).failed(sent.at, now);
                missed = true;
            }
        }
        if flight.settled {
            return self.forget_if_done(key);
        }
        if missed {
            self.missed(key, now);
        }
        self.tell_the_late(key, now);
        let Some(flight) = self.flights.get_mut(key) else { return };
        if !flight.waiters.is_empty() && flight.stale_from <= now && flight.stale.is_some() {
            self.serve_stale(key);
        }
        let Some(flight) = self.flights.get_mut(key) else { return };
        if flight.hedge.take_if(|due| *due <= now).is_some() {
            self.hedge(key, now);
        }
        let Some(flight) = self.flights.get_mut(key) else { return };
        // Who has been told something meanwhile need not have it asked again.
        if flight.repeat.take_if(|due| *due <= now).is_some() && flight.seats().next().is_some() {
            self.repeat(key, now);
        }
        self.set_timer(key);
    }

    /// Sets the timer of a flight to what it waits for next, unless it is set to an earlier time.
    fn set_timer(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let due = flight.due();
        if flight.timer.is_none_or(|set| due < set) {
            flight.timer = Some(due);
            self.timers.push(Reverse((due, Flown { key, serial: flight.serial })));
        }
    }

    /// The flight of this name, if it is still under way.
    fn flight(&self, flown: Flown) -> Option<&Flight<W>> {
        self.flights.get(flown.key).filter(|flight| flight.serial == flown.serial)
    }
}

#[cfg(test)]
mod adversary;
#[cfg(test)]
mod tests;
