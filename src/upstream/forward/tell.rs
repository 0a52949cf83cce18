//! What those who wait are told: an answer, an older one while there is none (RFC 8767), or why there is nothing.

use std::sync::Arc;
use std::time::Instant;

use super::super::Route;
use super::super::cache::Hit;
use super::super::flight::{Flown, Waiter, servfail};
use super::super::line::Seat;
use super::{Ask, Forwarder, MAX_FLIGHTS, MAX_WAITING};
use crate::limits::Prefix;
use crate::wire::answer::ExtendedError;

impl<W> Forwarder<W> {
    /// If there are too many, of this client or in all, one who waits is told so: of the client who has the most, the one
    /// who waits longest.
    pub(super) fn make_seats(&mut self, client: Prefix) {
        let own = self.upstream.forwards_per_client();
        let (whose, why) = if !client.is_loopback() && self.line.seats_of(client) > own {
            (Some(client), "too many queries of this client are waiting")
        } else if self.line.len() > MAX_WAITING {
            (self.line.largest(), "too many queries are waiting")
        } else {
            return;
        };
        let Some((seat, flown)) = whose.and_then(|client| self.line.oldest_of(client)) else { return };
        let Some(flight) = self.flights.get_mut(flown.key) else { return };
        if let Some(place) = flight.waiters.iter().position(|waiter| waiter.seat == seat)
            && let Some(waiter) = flight.waiters.remove(place)
        {
            self.upstream.ledger.forwarding.turned_away.add(1);
            let told = flight.stale.clone().unwrap_or_else(|| Hit::fresh(servfail(ExtendedError::OTHER, why)));
            self.answered.push((waiter.who, told));
        } else {
            flight.turns.retain(|turn| *turn != seat);
        }
        self.line.leave(seat);
        // What nobody waits for need not be asked, nor remembered when there is so much.
        let waited_for = flight.seats().next().is_some();
        if !waited_for && (flight.sent.is_empty() || self.flights.len() > MAX_FLIGHTS) {
            self.remove(flown.key);
        }
    }

    /// With no packet left for it, a question is answered with what was, and asked when its turn comes.
    pub(super) fn serve_stale_if_short(&mut self, flown: Flown, seat: Seat) {
        let Some(flight) = self.flights.get_mut(flown.key) else { return };
        if flight.queued && flight.stale.is_some() {
            // A seat of each client is kept, so that it is asked at all, and when the first of them has their turn.
            let last = flight.waiters.iter().position(|waiter| waiter.seat == seat);
            if let (Some(place), Some(stale)) = (last, flight.stale.clone())
                && let Some(waiter) = flight.waiters.remove(place)
            {
                self.answered.push((waiter.who, stale));
                flight.keep_turn(seat).into_iter().for_each(|seat| self.line.leave(seat));
            }
        }
    }

    /// Those whose deadline has come are told; when it is the last one's, nothing more is sent.
    pub(super) fn tell_the_late(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        // That a look was in vain, or that those are away for whom others are asked, says nothing of the question.
        let telling = flight.sends > 0 && (flight.route.fallback().is_none() || !self.is_down(&flight.route));
        let Some(flight) = self.flights.get_mut(key) else { return };
        let failure = if flight.queued && flight.sent.is_empty() {
            servfail(ExtendedError::OTHER, "more is asked than upstream.packets-per-second allows")
        } else {
            flight.failure_or("no resolver answered in time")
        };
        while let Some(waiter) = flight.waiters.front()
            && waiter.deadline <= now
            && let Some(waiter) = flight.waiters.pop_front()
        {
            self.line.leave(waiter.seat);
            self.upstream.ledger.forwarding.expired.add(1);
            let told = flight.stale.clone().unwrap_or_else(|| Hit::fresh(Arc::clone(&failure)));
            self.answered.push((waiter.who, told));
        }
        if now < flight.ends {
            return;
        }
        (flight.repeat, flight.hedge) = (None, None);
        let first = !std::mem::replace(&mut flight.ended, true);
        if flight.sent.is_empty() && flight.fetching.is_none() || flight.gone() <= now {
            self.remove(key);
        } else if first && telling {
            self.upstream.fail(&flight.route, &flight.question, failure, now);
        }
    }

    /// A send has failed. If nothing is left to hope for, those who wait need not go on.
    pub(super) fn missed(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key).filter(|flight| !flight.settled) else { return };
        let route = Arc::clone(&flight.route);
        if self.is_down(&route) {
            if let Some(fallback) = route.fallback() {
                return self.reroute(key, fallback, now);
            }
            self.serve_stale(key);
        }
        let Some(flight) = self.flights.get(key) else { return };
        let unasked = (0..route.hops().len()).any(|place| !flight.was_asked(place));
        if self.is_hopeless(key) {
            self.fail(key, now);
        } else if unasked && self.choose(key, now).is_some() && flight.fetching.is_none() {
            self.dispatch(key, now);
        }
        self.set_timer(key);
    }

    /// All who wait are asked for elsewhere.
    pub(super) fn reroute(&mut self, key: usize, to: &Arc<Route>, now: Instant) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let (question, older) = (flight.question.clone(), flight.stale.clone());
        for Waiter { deadline, seat, who } in std::mem::take(&mut flight.waiters) {
            self.line.leave(seat);
            let (question, route, client) = (question.clone(), Arc::clone(to), seat.client().address());
            self.ask_there(Ask { question, route, deadline, client, waiter: who }, older.clone(), now);
        }
    }

    /// All who wait have what is kept, if anything is; the question stays on its way.
    pub(super) fn serve_stale(&mut self, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        let Some(stale) = &flight.stale else { return };
        for waiter in flight.waiters.drain(..) {
            self.line.leave(waiter.seat);
            self.answered.push((waiter.who, stale.clone()));
        }
    }

    /// Nobody is left to be asked.
    pub(super) fn fail(&mut self, key: usize, now: Instant) {
        let Some(flight) = self.flights.get(key) else { return };
        let route = Arc::clone(&flight.route);
        if let Some(fallback) = route.fallback().filter(|_| self.is_down(&route)) {
            self.reroute(key, fallback, now);
            return self.remove(key);
        }
        let failure = flight.failure_or("no resolver gave a usable answer");
        // That there is nobody to ask says nothing of the question.
        let hit = match flight.spent.is_empty() && flight.sent.is_empty() {
            true => Hit::fresh(failure),
            false => self.upstream.fail(&flight.route, &flight.question, failure, now),
        };
        let hit = hit.or_older(flight.stale.clone());
        self.settle(key, &hit);
    }

    /// All who wait have `hit`. Whether others who were asked answer as well is still looked at.
    pub(super) fn settle(&mut self, key: usize, hit: &Hit) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        self.answered.extend(flight.waiters.drain(..).map(|waiter| {
            self.line.leave(waiter.seat);
            (waiter.who, hit.clone())
        }));
        self.unqueue(key);
        self.unindex(key);
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.settled = true;
        (flight.fetching, flight.repeat, flight.hedge) = (None, None, None);
        self.forget_if_done(key);
    }

    /// A settled flight is forgotten when nothing more can be learned from it.
    pub(super) fn forget_if_done(&mut self, key: usize) {
        match self.flights.get(key) {
            Some(flight) if flight.sent.iter().any(|sent| sent.due.is_some()) => self.set_timer(key),
            _ => self.remove(key),
        }
    }

    /// A flight ends: what still comes for it is nobody's.
    pub(super) fn remove(&mut self, key: usize) {
        self.release_all(key);
        self.unqueue(key);
        self.unindex(key);
        let Some(flight) = self.flights.try_remove(key) else { return };
        flight.seats().for_each(|seat| self.line.leave(seat));
    }
}
