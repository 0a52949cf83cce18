//! What is noted of a query on its way, to be counted at its end, and written into the query log where there is one.
//!
//! Apart from the way itself, which is read without it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Hall, Outcome, Written};
use crate::metrics::{Fate, SubnetId};
use crate::query_log::{Asked, Note};
use crate::wire::query::{Query, Transport};

/// A query's account.
#[derive(Debug)]
pub(super) struct Account {
    pub client: SocketAddr,
    pub transport: Transport,
    /// When it came.
    pub since: Instant,
    /// What time it is now; later than that for one that waited.
    pub now: Instant,
    /// The subnet that its client is counted under.
    pub subnet: Cell<SubnetId>,
    /// Where in its name that of the zone begins that decided it, if one did.
    pub apex: Cell<Option<usize>>,
    /// The response code of its reply.
    pub code: Cell<Option<u16>>,
    fate: Cell<Option<Fate>>,
}

impl Account {
    pub fn new(client: SocketAddr, transport: Transport, since: Instant) -> Self {
        let (subnet, apex) = (Cell::new(SubnetId::NONE), Cell::new(None));
        Self { client, transport, since, now: since, subnet, apex, code: Cell::new(None), fate: Cell::new(None) }
    }

    /// The same later.
    pub fn at(self, now: Instant) -> Self {
        Self { now, ..self }
    }

    /// What became of the query, unless that is known already: whoever is met first decides. Returns whether that is this.
    pub fn met(&self, fate: Fate) -> bool {
        let first = self.fate.get().is_none();
        if first {
            self.fate.set(Some(fate));
        }
        first
    }

    /// What became of the query.
    fn fate(&self) -> Fate {
        self.fate.get().unwrap_or(Fate::Dropped)
    }
}

impl Hall<'_> {
    /// A query is at its end as soon as it came.
    pub(super) fn ended(&self, account: &Account, query: Option<&Query<'_>>, written: Written) -> Outcome {
        Outcome::of(self.over(account, query, written))
    }

    /// The same; returns what was written.
    pub(super) fn over(&self, account: &Account, query: Option<&Query<'_>>, written: Written) -> Written {
        self.count(account);
        self.note(account, query, None);
        written
    }

    /// A query is at its end that waited, after a `stale` answer or another.
    pub(super) fn returned(&self, account: &Account, query: &Query<'_>, stale: bool, now: Instant) {
        let took = now.saturating_duration_since(account.since);
        self.count_reply(account);
        self.counts.stale.add(stale.into());
        self.counts.forwards.add(took, 1);
        self.note(account, Some(query), Some(took));
    }

    /// A query is at its end that found no place to wait; that it came was counted.
    pub(super) fn turned_away(&self, account: &Account, query: &Query<'_>) {
        self.count_reply(account);
        self.note(account, Some(query), None);
    }

    /// Counts a query that came.
    pub(super) fn count(&self, account: &Account) {
        self.counts.fates.of(account.subnet.get(), account.fate(), account.transport).add(1);
        self.count_reply(account);
    }

    /// Counts the reply to a query, if one was written.
    fn count_reply(&self, account: &Account) {
        if let Some(code) = account.code.get() {
            self.counts.replies.of(code).add(1);
        }
    }

    /// Writes a query into the log, if there is one that wants it.
    fn note(&self, account: &Account, query: Option<&Query<'_>>, took: Option<Duration>) {
        let Some(log) = self.policy.query_log().filter(|_| self.noting) else { return };
        let (subnet, fate, apex) = (account.subnet.get(), account.fate(), account.apex.get());
        let zone = query.zip(apex).and_then(|(query, apex)| query.name().get(apex..));
        if !log.wants(subnet, fate, zone, *self.turn) {
            return;
        }
        let noted = log.note(Note {
            at: account.since,
            took,
            client: account.client,
            transport: account.transport,
            subnet,
            fate,
            code: account.code.get(),
            asked: query.map(|query| Asked::new(query.name(), query.kind(), apex)),
        });
        self.counts.log_dropped.add((!noted).into());
    }
}
