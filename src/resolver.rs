//! The resolver as a whole, for those who embed it: a policy, a cache and a forwarder, without sockets of its own for clients.

use std::net::SocketAddr;
use std::time::Instant;

use crate::responder::{Outcome, Responder};
use crate::server::Waiting;
use crate::wire::Transport;

/// Answers queries. Each clone counts for itself and belongs to one thread.
#[derive(Debug, Clone)]
pub struct Resolver {
    responder: Responder,
}

impl Resolver {
    /// Answers one packet at once, or says that a resolver must be asked first.
    pub fn respond(
        &mut self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
        now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        self.responder.respond(packet, client, transport, now, out)
    }

    /// This thread's way through the hall.
    pub fn responder(&mut self) -> &mut Responder {
        &mut self.responder
    }

    /// Hands a waiting query to the forwarder. `Err` gives it back: too many wait already, and its reply is what
    /// [`Responder::overloaded`] writes.
    ///
    /// # Errors
    /// The query itself, if the forwarder has no place for it.
    pub fn forward(&self, waiting: Waiting) -> Result<(), Waiting> {
        Err(waiting)
    }

    /// Queries that wait for a resolver.
    pub fn in_flight(&self) -> usize {
        0
    }

    /// A stand-in.
    pub fn stub() -> Self {
        Self { responder: Responder::stub() }
    }
}
