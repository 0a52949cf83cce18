//! Which flight asks what, so that equal questions are joined.
//!
//! Apart from what happens to flights, because a question is known here by its route and itself alone, and only while it may
//! be joined: a settled flight is not found any more.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use rand::RngExt;

use super::super::Route;
use super::super::flight::{Flight, Flown};
use super::Forwarder;
use crate::wire::reply::Question;

impl<W> Forwarder<W> {
    /// Whether this is being asked.
    pub(super) fn is_asked(&self, question: &Question, route: &Route) -> bool {
        self.find(self.hash(question, route), question, route).is_some()
    }

    fn hash(&self, question: &Question, route: &Route) -> u64 {
        self.hasher.hash_one((route, question.as_asked()))
    }

    /// The flight that asks this, whose hash is `hash`, if it is under way.
    fn find(&self, hash: u64, question: &Question, route: &Route) -> Option<usize> {
        let same = |key: &usize| {
            self.flights.get(*key).is_some_and(|flight| flight.question == *question && *flight.route == *route)
        };
        self.index.find(hash, same).copied()
    }

    /// The flight that asks this, a new one if there is none.
    pub(super) fn flight_for(&mut self, question: Question, route: Arc<Route>, now: Instant) -> Flown {
        let hash = self.hash(&question, &route);
        if let Some(key) = self.find(hash, &question, &route)
            && let Some(Flight { serial, .. }) = self.flights.get(key)
        {
            return Flown { key, serial: *serial };
        }
        let Self { flights, hasher, index, random, .. } = self;
        let spelling = match self.upstream.case_randomisation.load(Relaxed) {
            true => question.spelt(&random.random()),
            false => question.name.as_wire().into(),
        };
        self.serial += 1;
        let key = flights.insert(Flight::new(self.serial, question, spelling, route, now));
        let rehash = |key: &usize| {
            flights.get(*key).map_or(0, |flight| hasher.hash_one((&*flight.route, flight.question.as_asked())))
        };
        index.insert_unique(hash, key, rehash);
        Flown { key, serial: self.serial }
    }

    /// A flight is not joined any more.
    pub(super) fn unindex(&mut self, key: usize) {
        let Some(flight) = self.flights.get(key).filter(|flight| !flight.settled) else { return };
        let hash = self.hash(&flight.question, &flight.route);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
    }
}
