//! One question on its way, for any number of clients: what [`super::forward`] keeps of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Route;
use crate::wire::answer::{Answer, ExtendedError};
use crate::wire::query::rcode;
use crate::wire::reply::Question;

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
    pub(super) serial: u64,
    pub(super) question: Question,
    pub(super) route: Arc<Route>,
    /// Who waits, and until when; the first deadline is first.
    pub(super) waiters: VecDeque<(Instant, W)>,
    /// Datagrams whose answers would still be taken.
    pub(super) sent: Vec<Sent>,
    /// When the question is repeated, unless it is asked over TCP or often enough.
    pub(super) repeat: Option<Instant>,
    /// Somebody joined when it had been sent often enough: it is repeated slowly, for as long as anybody waits.
    pub(super) prolonged: bool,
    /// When its timer is set to; entries for another time are skipped.
    pub(super) timer: Option<Instant>,
    /// The resolver asked over TCP, and the id.
    pub(super) fetching: Option<(usize, u16)>,
    /// Resolvers, by their place in the route, that gave an answer of no use.
    pub(super) spent: u64,
    /// The last such answer: better than none.
    pub(super) failure: Option<Arc<Answer>>,
    /// When the flight ends, whoever waits.
    pub(super) ends: Instant,
}

/// One datagram sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) socket: usize,
    pub(super) id: u16,
    /// Place in the route.
    pub(super) resolver: usize,
    pub(super) at: Instant,
}

impl<W> Flight<W> {
    /// A question of which nothing has been sent and for which nobody waits yet.
    pub(super) fn new(serial: u64, question: Question, route: Arc<Route>, ends: Instant, now: Instant) -> Self {
        Self {
            serial,
            question,
            route,
            waiters: VecDeque::new(),
            sent: Vec::new(),
            repeat: Some(now),
            prolonged: false,
            timer: None,
            fetching: None,
            spent: 0,
            failure: None,
            ends,
        }
    }

    /// Whether the resolver at `place` in the route gave an answer of no use.
    pub(super) fn is_spent(&self, place: usize) -> bool {
        self.spent & (1 << place.min(63)) != 0
    }

    /// Notes that it did.
    pub(super) fn spend(&mut self, place: usize) {
        self.spent |= 1 << place.min(63);
    }

    /// What clients hear when no answer could be had: what a resolver said last, else why there is nothing.
    pub(super) fn failure_or(&self, why: &'static str) -> Arc<Answer> {
        self.failure.clone().unwrap_or_else(|| servfail(why))
    }
}

/// No answer could be had.
fn servfail(why: &'static str) -> Arc<Answer> {
    Arc::new(Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::NO_REACHABLE_AUTHORITY, why)))
}
