//! Against those who forge answers, and against asking ourselves: what is not as it should be is looked into, with a bound
//! on what that costs (RFC 5452).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::super::Route;
use super::super::flight::Why;
use super::Forwarder;
use crate::config::Target;
use crate::wire::Name;
use crate::wire::reply::Question;

/// How long a look at whether a resolver sends our own queries back to us may take, ...
const LOOP_CHECK: Duration = Duration::from_secs(1);
/// ... and how often one is worth it.
const LOOP_CHECK_EVERY: Duration = Duration::from_secs(10);

impl<W> Forwarder<W> {
    /// Somebody asks what we have just asked them: they may be sending our own query back. A random name will tell.
    pub(super) fn suspect_loop(&mut self, question: &Question, route: &Arc<Route>, client: IpAddr, now: Instant) {
        let Some(resolver) = route.addresses().find(|resolver| resolver.ip() == client) else { return };
        let recent = |then: &Instant| now.saturating_duration_since(*then) < LOOP_CHECK_EVERY;
        if !self.is_asked(question, route) || self.loop_checks.get(&resolver).is_some_and(recent) {
            return;
        }
        if let Some(name) = self.upstream.loops.probe_again(resolver, &question.name, self.random.random()) {
            self.loop_checks.insert(resolver, now);
            self.check_for_loop(name, resolver, now);
        }
    }

    pub(super) fn check_for_loop(&mut self, name: Name, resolver: SocketAddr, now: Instant) {
        let question = Question { name, kind: 1, dnssec_ok: false, checking_disabled: false };
        let flown = self.flight_for(question, Route::new([Target::from(resolver)], &[]).into(), now);
        self.upstream.budget.charge(1, now);
        if let Some(flight) = self.flights.get_mut(flown.key) {
            flight.extend(now + LOOP_CHECK);
        }
        self.transmit(flown.key, 0, true, now);
        self.set_timer(flown.key);
    }

    /// A reply under an id that is not awaited. If it is to a question that is, somebody guesses: that question is moved
    /// to where guessing does not help.
    pub(super) fn stray(&mut self, socket: usize, message: &[u8], now: Instant) {
        let asks = |key: &usize| {
            let flight = self.flights.get(*key)?;
            let sent = flight.sent.iter().find(|sent| sent.socket == socket && sent.due.is_some())?;
            let open = !flight.settled && !flight.driven && flight.fetching.is_none();
            let aimed_at = open && flight.question.is_repeated_by(message);
            aimed_at.then_some((*key, sent.place))
        };
        let target = self.pool.flights(socket).iter().find_map(asks);
        let Some((key, place)) = target else { return self.pool.stray(socket) };
        // Whoever guesses knows the port: nothing more leaves by it.
        self.pool.retire(socket);
        if self.driven_to_tcp.take(now) {
            self.upstream.ledger.forwarding.forgeries.add(1);
            self.release_all(key);
            self.drive_to_tcp(key, place, Why::Forgery, now);
        }
    }

    /// Asks the resolver at `place` over TCP, because datagrams are not to be trusted.
    pub(super) fn drive_to_tcp(&mut self, key: usize, place: usize, why: Why, now: Instant) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.driven = true;
        }
        self.fetch(key, place, why, now);
        self.set_timer(key);
    }
}
