//! The hall: a query's whole path on one screen. No socket, no task, no clock: bytes, an address and an instant in,
//! bytes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::metrics::Counts;
use crate::upstream::Route;
use crate::wire::query::{Decoded, decode, error_header};
use crate::wire::{Answer, Placement, Question, Transport};

/// What becomes of a packet.
#[derive(Debug)]
pub enum Outcome {
    /// No reply.
    Drop,
    /// The reply stands in the first so many octets of `out`.
    Reply(usize),
    /// The answer must be had from a resolver first; then [`Responder::finish`] writes the reply.
    Forward(Pending),
}

/// A query that waits for a resolver.
#[derive(Debug)]
pub struct Pending {
    /// The packet, to be replied to.
    packet: Box<[u8]>,
    /// Who asked.
    client: SocketAddr,
    /// How it came.
    transport: Transport,
    /// When the client must have its reply.
    pub deadline: Instant,
    /// What to ask, ...
    pub question: Question,
    /// ... and whom.
    pub route: Arc<Route>,
}

impl Pending {
    /// Who asked.
    pub fn client(&self) -> SocketAddr {
        self.client
    }
}

/// One thread's way through the hall.
#[derive(Debug, Clone)]
pub struct Responder {
    /// What this thread counts.
    counts: Arc<Counts>,
}

impl Responder {
    /// A stand-in.
    pub fn stub() -> Self {
        Self { counts: Arc::default() }
    }

    /// What this thread counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Answers one packet of `client`. `out` should hold what the transport may carry (1232 or 65,535 octets).
    pub fn respond(
        &mut self,
        packet: &[u8],
        _client: SocketAddr,
        transport: Transport,
        _now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        match decode(packet) {
            Decoded::Drop => Outcome::Drop,
            Decoded::Unreadable(code) => Outcome::Reply(error_header(packet, code, out)),
            Decoded::Unserved(query, code) => {
                Outcome::Reply(Answer::empty(code).write(&query, Placement::FRESH, query.limit(transport), out))
            }
            Decoded::Query(query) => {
                Outcome::Reply(Answer::empty(5).write(&query, Placement::FRESH, query.limit(transport), out))
            }
        }
    }

    /// Writes the reply to a query that waited; returns its length, 0 for no reply.
    pub fn finish(&mut self, pending: &Pending, answer: &Answer, _now: Instant, out: &mut [u8]) -> usize {
        let Decoded::Query(query) = decode(&pending.packet) else { return 0 };
        answer.write(&query, Placement::FRESH, query.limit(pending.transport), out)
    }

    /// Writes SERVFAIL for a query that cannot wait because too many do already; returns its length.
    pub fn overloaded(&mut self, pending: &Pending, out: &mut [u8]) -> usize {
        self.counts.overloaded.add(1);
        self.finish(pending, &Answer::empty(2), pending.deadline, out)
    }
}
