//! A window: a fixed number of queries outstanding, and what came of them.
//!
//! Apart from the sockets, as UDP and TCP keep the same account. A query's id is its place in the low bits and a
//! counter above, so that a late reply does not pass for the answer to the place's next query.

use std::time::{Duration, Instant};

use crate::questions::{Expected, Query, Questions};

/// A query unanswered for so long is lost, and another takes its place.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// What came of the queries of one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Right replies in the measured part.
    pub replies: u64,
    /// Queries that were never answered, from the first of the round to its last.
    pub lost: u64,
    /// Replies with the wrong content, or to no query outstanding.
    pub wrong: u64,
    /// How long the measured part took.
    pub wall: Duration,
    /// What the server had of its core meanwhile.
    pub core: Core,
}

/// How a core spent its time, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Core {
    /// Working for the server.
    pub busy: Option<Duration>,
    /// With nothing to do. The rest went to others.
    pub idle: Option<Duration>,
}

impl Core {
    /// What happened since `before`.
    pub fn since(self, before: Core) -> Core {
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        Core { busy: since(self.busy, before.busy), idle: since(self.idle, before.idle) }
    }
}

/// A query's place in the window.
#[derive(Clone, Copy)]
struct Slot {
    query: Query,
    /// The id it went out with, while its reply is awaited.
    id: Option<u16>,
    sent: Instant,
}

/// The places, and which of them are free.
pub struct Window {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Those that were filled last.
    filled: Vec<usize>,
    turn: u16,
}

impl Window {
    /// Room for `size` queries, a power of two.
    pub fn new(size: usize) -> Window {
        let empty = Slot { query: Query::default(), id: None, sent: Instant::now() };
        Window { slots: vec![empty; size], free: (0..size).collect(), filled: Vec::with_capacity(size), turn: 0 }
    }

    /// Whether nothing is outstanding.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Whether a quarter of it is free: a system call for each reply would make the load the slower side.
    pub fn is_worth_filling(&self) -> bool {
        self.free.len() >= self.slots.len() / 4
    }

    /// Puts a query into every free place; all of these are to be sent. What is then not sent is given up like a lost
    /// one.
    pub fn fill(&mut self, questions: &mut Questions, now: Instant) -> impl ExactSizeIterator<Item = &[u8]> {
        self.filled.clear();
        std::mem::swap(&mut self.free, &mut self.filled);
        for &index in &self.filled {
            self.turn = self.turn.wrapping_add(self.slots.len() as u16);
            let id = self.turn | index as u16;
            let slot = &mut self.slots[index];
            slot.query = questions.next();
            slot.query.set_id(id);
            (slot.id, slot.sent) = (Some(id), now);
        }
        self.filled.iter().map(|&index| self.slots[index].query.octets())
    }

    /// Takes a reply and judges it.
    pub fn settle(&mut self, reply: &[u8], expected: Expected, round: &mut Round) {
        let id = reply.first_chunk().map(|id| u16::from_be_bytes(*id));
        let index = usize::from(id.unwrap_or_default()) % self.slots.len();
        let slot = &mut self.slots[index];
        if id.is_none() || slot.id != id {
            round.wrong += 1;
            return;
        }
        slot.id = None;
        self.free.push(index);
        match expected.met_by(&slot.query, reply) {
            true => round.replies += 1,
            false => round.wrong += 1,
        }
    }

    /// Frees the places of queries sent longer ago than [`PATIENCE`].
    pub fn give_up(&mut self, now: Instant, round: &mut Round) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.id.is_some() && now.saturating_duration_since(slot.sent) >= PATIENCE {
                slot.id = None;
                self.free.push(index);
                round.lost += 1;
            }
        }
    }
}
