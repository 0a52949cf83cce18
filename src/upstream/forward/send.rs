//! Whom to ask, and how a question leaves: by measured time to answer, within the packet budget, on a socket and under an
//! id of its own each time.
//!
//! What somebody waits for waits in line if packets are short. What nobody waits for goes aside: a look at a resolver that
//! is down or was not heard of for long, a hedge, an answer asked for again before its time is over. It has no place in
//! the line, and a small part of the packets.

use std::sync::Arc;
use std::time::Instant;

use rand::RngExt;

use super::super::flight::{Fetching, Flight, Flown, Sent, Why};
use super::super::track::{MOST_PATIENCE, Standing, Track};
use super::super::{Hop, Route};
use super::{Action, Forwarder, SWEEP};
use crate::wire::reply::{Question, Received};

/// Packets that an exchange over TCP sends, counted on its way out: SYN, the query, and what acknowledges the reply and
/// ends the connection. A reply of 60,413 octets took four more than one of 6,481.
pub(super) const TCP_PACKETS: u32 = 6;
/// Octets of a reply for which one packet more is sent.
const TCP_OCTETS_PER_PACKET: usize = 14_000;

impl<W> Forwarder<W> {
    /// Whether an outage is known: no resolver of the route is left.
    pub(super) fn is_down(&self, route: &Route) -> bool {
        route.addresses().all(|resolver| {
            self.resolvers.get(resolver).is_some_and(Track::is_down) || self.upstream.loops.is_looping(resolver)
        })
    }

    /// Whether nobody is left who might answer this flight: all have said what is of no use, or are gone.
    pub(super) fn is_hopeless(&self, key: usize) -> bool {
        let Some(flight) = self.flights.get(key).filter(|flight| flight.fetching.is_none()) else { return false };
        flight.route.hops().iter().enumerate().all(|(place, hop)| {
            let track = self.resolvers.get(hop.address());
            let dead = track.is_some_and(|track| track.is_gone() || track.is_down() && !flight.spent.is_empty());
            flight.spent.has(place) || self.upstream.loops.is_looping(hop.address()) || dead && flight.has_failed(place)
        })
    }

    /// The resolver that is asked next: one that is not down, has been asked less often, stands better, is faster.
    pub(super) fn choose(&self, key: usize, now: Instant) -> Option<usize> {
        let flight = self.flights.get(key)?;
        let hops = flight.route.hops().iter().enumerate();
        let usable = hops.filter(|(place, hop)| !flight.spent.has(*place) && self.is_usable(hop));
        let rank = |(place, hop): &(usize, &Hop)| {
            let (standing, usual) = self.resolvers.get(hop.address()).map_or(Track::UNKNOWN, Track::rank);
            let looked_at = self.resolvers.get(hop.address()).is_some_and(|track| track.wants_a_look(now));
            (standing == Standing::Down, flight.times_asked(*place), standing, usual, looked_at)
        };
        usable.min_by_key(rank).map(|(place, _)| place)
    }

    /// Sends a flight's first datagram, unless it is under way.
    pub(super) fn take_off(&mut self, key: usize, now: Instant) {
        if self.flights.get(key).is_some_and(|flight| flight.sent.is_empty() && !flight.is_under_way()) {
            self.dispatch(key, now);
        }
    }

    /// Asks the resolver that serves this flight best, as soon as there is a packet for it; fails if none is left.
    pub(super) fn dispatch(&mut self, key: usize, now: Instant) {
        let Some(place) = self.choose(key, now) else { return self.fail(key, now) };
        let Some(flight) = self.flights.get_mut(key) else { return };
        // What nobody waits for is asked once, aside, or not at all.
        let waited_for = flight.seats().next().is_some();
        if !waited_for || flight.fetching.is_some() || flight.queued || flight.sends >= flight.most_sends {
            return;
        }
        let metered = flight.route.hops().get(place).is_some_and(|hop| hop.metered);
        if !metered || self.line.is_clear() && self.upstream.budget.take(now) {
            return self.transmit_first(key, place, now);
        }
        flight.queued = true;
        self.upstream.ledger.forwarding.queued.add(1);
        let flown = Flown { key, serial: flight.serial };
        flight.seats().for_each(|seat| self.line.queue(seat, flown));
        self.pump(now);
    }

    /// Asks for those who wait in line while there are packets.
    pub(super) fn pump(&mut self, now: Instant) {
        while !self.line.is_clear() && self.upstream.budget.take(now) {
            let Some(Flown { key, .. }) = self.line.next() else { return };
            self.unqueue(key);
            match self.choose(key, now) {
                Some(place) => self.transmit_first(key, place, now),
                None => self.fail(key, now),
            }
            self.set_timer(key);
        }
    }

    /// A flight waits for a packet no more.
    pub(super) fn unqueue(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        if std::mem::take(&mut flight.queued) {
            flight.seats().for_each(|seat| self.line.unqueue(seat));
        }
        // Seats that nobody waits on are for the queue alone.
        flight.turns.drain(..).for_each(|seat| self.line.leave(seat));
    }

    /// Sends a flight's question to the resolver at `place`; the first time perhaps to another beside it, now or soon.
    fn transmit_first(&mut self, key: usize, place: usize, now: Instant) {
        self.transmit(key, place, false, now);
        let Some(flight) = self.flights.get_mut(key).filter(|flight| flight.sends == 1) else { return };
        if flight.route.hops().len() > 1 {
            let track = flight.route.hops().get(place).and_then(|hop| self.resolvers.get(hop.address()));
            let after = track.map(|track| now + track.hedge_after());
            flight.hedge = after.filter(|after| flight.repeat.is_some_and(|repeat| *after < repeat));
            self.look_beside(key, now);
        }
    }

    /// A question that somebody waits for shows how another resolver stands, where that is not known. So two are raced
    /// when nothing is known or after an outage, and one that is down is found again.
    fn look_beside(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        let mut others = flight.route.hops().iter().enumerate().filter(|(place, _)| !flight.was_asked(*place));
        let wanting = others.find(|(_, hop)| {
            let track = self.resolvers.get(hop.address());
            self.is_usable(hop) && track.is_none_or(|track| track.wants_a_look(now))
        });
        let Some((place, hop)) = wanting else { return };
        if !hop.is_plain() {
            // A flight has one stream at a time, and this one may need it.
            let route = Arc::new(Route::new([hop.target.clone()], &[]));
            self.ask_aside(flight.question.clone(), route, Some(0), now);
        } else if self.can_spare(hop, now) {
            self.transmit(key, place, true, now);
        }
    }

    /// The resolver that was asked is slow: another is asked beside it, if a packet can be spared.
    pub(super) fn hedge(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        let others = flight.route.hops().iter().enumerate().filter(|(place, _)| !flight.was_asked(*place));
        let rank = |hop: &Hop| self.resolvers.get(hop.address()).map_or(Track::UNKNOWN, Track::rank);
        let alive = others.filter(|(_, hop)| hop.is_plain() && self.is_usable(hop) && rank(hop).0 < Standing::Down);
        if let Some((place, hop)) = alive.min_by_key(|(_, hop)| rank(hop))
            && self.can_spare(hop, now)
        {
            self.transmit(key, place, true, now);
        }
    }

    /// A question is asked again: over TCP, if all that came back were answers in another case.
    pub(super) fn repeat(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        let misspelt = flight.sent.iter().map(|sent| sent.place).find(|place| flight.misspelt.has(*place));
        match misspelt {
            Some(place) if !flight.driven && self.driven_to_tcp.take(now) => {
                self.drive_to_tcp(key, place, Why::Case, now);
            }
            _ => self.dispatch(key, now),
        }
    }

    /// Asks one resolver of a route that is down, if it was not asked a moment ago, to see whether it still is.
    pub(super) fn look(&mut self, question: &Question, route: &Arc<Route>, now: Instant) {
        let wants = |hop: &Hop| {
            self.is_usable(hop) && self.resolvers.get(hop.address()).is_none_or(|track| track.wants_a_look(now))
        };
        let Some(place) = route.hops().iter().position(wants) else { return };
        self.ask_aside(question.clone(), Arc::clone(route), Some(place), now);
    }

    /// Asks something that nobody waits for, if a packet can be spared.
    pub(super) fn ask_aside(&mut self, question: Question, route: Arc<Route>, place: Option<usize>, now: Instant) {
        let Flown { key, .. } = self.flight_for(question, route, now);
        let place = place.or_else(|| self.choose(key, now));
        let Some(flight) = self.flights.get_mut(key) else { return };
        let hop = place.and_then(|place| Some((place, flight.route.hops().get(place)?.clone())));
        match hop {
            Some((place, hop)) if self.can_spare(&hop, now) => {
                if let Some(flight) = self.flights.get_mut(key) {
                    flight.extend(now + MOST_PATIENCE);
                }
                self.transmit(key, place, true, now);
                self.set_timer(key);
            }
            _ if self.flights.get(key).is_some_and(Flight::is_new) => self.remove(key),
            _ => {}
        }
    }

    /// The resolver at `place` made nothing of an OPT: it is asked without.
    pub(super) fn ask_without_edns(&mut self, key: usize, place: usize, failure: Received, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.failure = Some(failure.answer);
        if flight.route.hops().get(place).is_some_and(|hop| hop.metered) {
            self.upstream.budget.charge(1, now);
        }
        self.transmit(key, place, false, now);
        self.set_timer(key);
    }

    /// Asks the resolver at `place` over a stream.
    pub(super) fn fetch(&mut self, key: usize, place: usize, why: Why, now: Instant) {
        let id = self.random.random();
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(hop) = flight.route.hops().get(place).filter(|_| flight.fetching.is_none()) else { return };
        self.resolvers.of(hop.address()).asked_over_a_stream(why != Why::Channel);
        flight.fetching = Some(Fetching { place, id, at: now, why });
        (flight.repeat, flight.hedge) = (None, None);
        if hop.metered {
            self.upstream.budget.charge(TCP_PACKETS, now);
        }
        // Where somebody else could be asked, a connection that hangs must leave the time for it.
        let others = (0..flight.route.hops().len()).any(|other| other != place && !flight.spent.has(other));
        let least = now + MOST_PATIENCE;
        let until = if others { least.min(flight.ends.max(now)) } else { least.max(flight.ends) };
        let message = flight.question.message(id, &flight.spelling, !flight.without_edns.has(place));
        let flown = Flown { key, serial: flight.serial };
        self.actions.push(Action::Fetch { flight: flown, target: hop.target.clone(), message, until });
    }

    /// Sends a flight's question to the resolver at `place`; `aside` of its own course.
    pub(super) fn transmit(&mut self, key: usize, place: usize, aside: bool, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(hop) = flight.route.hops().get(place) else { return };
        let resolver = hop.address();
        flight.sends += usize::from(!aside);
        let track = self.resolvers.of(resolver);
        track.asked(aside, now);
        if flight.was_asked(place) {
            track.asked_again();
        }
        if !hop.is_plain() {
            return self.fetch(key, place, Why::Channel, now);
        }
        let not: Vec<usize> = flight.sent.iter().map(|sent| sent.socket).collect();
        let at = self.pool.place(resolver, key, &not, now, &mut self.random);
        if at.fresh {
            self.actions.push(Action::Open { socket: at.socket, resolver });
            self.next_sweep.get_or_insert(now + SWEEP);
        }
        if !track.takes_edns(now) {
            flight.without_edns.add(place);
        }
        let spelling = if track.keeps_case(now) { &*flight.spelling } else { flight.question.name.as_wire() };
        let message = flight.question.message(at.id, spelling, !flight.without_edns.has(place));
        self.actions.push(Action::Send { socket: at.socket, message });
        if let Some(socket) = self.pool.refill(resolver, now) {
            self.actions.push(Action::Open { socket, resolver });
        }
        let patience = track.patience();
        if !aside {
            // Each time the question is twice as old as the last time: 20, 40, 80 ms and so on.
            let doublings = flight.times_asked(place).saturating_sub(1).min(16) as u32;
            let wait = (patience * (1 << doublings)).min(MOST_PATIENCE);
            let repeated = flight.sends < flight.most_sends && flight.seats().next().is_some();
            flight.repeat = repeated.then(|| now + wait);
        }
        let sent = Sent { socket: at.socket, id: at.id, place, at: now, due: Some(now + patience) };
        flight.note(sent).into_iter().for_each(|sent| self.release(sent));
    }

    /// Nothing is awaited any more of all that a flight sent.
    pub(super) fn release_all(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        std::mem::take(&mut flight.sent).into_iter().for_each(|sent| self.release(sent));
    }

    fn release(&mut self, Sent { socket, id, .. }: Sent) {
        if self.pool.release(socket, id) {
            self.actions.push(Action::Close { socket });
        }
    }

    /// Whether what it is sent does not come back to us.
    fn is_usable(&self, hop: &Hop) -> bool {
        !self.upstream.loops.is_looping(hop.address())
    }

    /// Whether this resolver can be sent something that nobody waits for.
    fn can_spare(&self, hop: &Hop, now: Instant) -> bool {
        if hop.metered { self.upstream.budget.spare(now) } else { self.unmetered.spare(now) }
    }
}

/// Packets that a long reply over TCP has had us send, beside those of the exchange.
pub(super) fn packets_for(reply: &[u8]) -> u32 {
    (reply.len() / TCP_OCTETS_PER_PACKET) as u32
}
