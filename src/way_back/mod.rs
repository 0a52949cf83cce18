//! The way back: how replies to queries that waited reach whoever asked, however they asked.
//!
//! Apart from `server`, which takes queries in, because answers come from the forwarder's thread, and a resolver without
//! a server has them too.

pub(crate) mod datagrams;
mod queue;

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

pub use self::datagrams::Asked;
use self::datagrams::{Envelopes, Outbox};
pub use self::queue::{MOST_KEPT, Place, Queue};
use crate::metrics::Counts;
use crate::responder::{Hall, Outcome, Pending, Responder};
use crate::upstream::Hit;
use crate::upstream::exchange::Deliver;
use crate::upstream::forward::Ask;
use crate::wire::query::MAX_TCP;

/// A query that waits for a resolver, and the way back to who asked.
#[derive(Debug)]
pub struct Waiting {
    /// The query.
    pub pending: Pending,
    /// Where its reply goes.
    pub way_back: WayBack,
}

impl From<Waiting> for Ask<Waiting> {
    fn from(waiter: Waiting) -> Self {
        let pending = &waiter.pending;
        let (question, route) = (pending.question.clone(), Arc::clone(&pending.route));
        Self { question, route, deadline: pending.deadline, client: pending.client().ip(), waiter }
    }
}

/// Where a reply goes.
#[derive(Debug)]
pub enum WayBack {
    /// To the client, as a datagram.
    Udp {
        /// The socket that received the query.
        socket: Arc<UdpSocket>,
        /// The address that was asked, where the socket is bound to none.
        asked: Option<Asked>,
    },
    /// Onto the client's connection.
    Tcp(Place),
    /// To a caller of [`Resolver::resolve`](crate::resolver::Resolver::resolve).
    Caller(oneshot::Sender<Vec<u8>>),
}

impl WayBack {
    /// The socket, if the reply is a datagram.
    fn socket(&self) -> Option<&Arc<UdpSocket>> {
        match self {
            Self::Udp { socket, .. } => Some(socket),
            Self::Tcp(_) | Self::Caller(_) => None,
        }
    }
}

/// Finishes waiting queries. It never blocks: a client that does not take its reply loses it.
#[derive(Debug)]
pub struct Door {
    responder: Responder,
    post: Post,
    /// Where replies that are no datagrams are written.
    long: Box<[u8]>,
}

/// Replies that leave as datagrams.
#[derive(Debug)]
struct Post {
    outbox: Outbox,
    /// The socket that the outbox's replies belong to.
    socket: Option<Arc<UdpSocket>>,
    envelopes: Envelopes,
}

impl Deliver<Waiting> for Door {
    /// Replies to each of `answered`, which is empty afterwards, or asks again for it.
    fn deliver(&mut self, answered: &mut Vec<(Waiting, Hit)>, now: Instant, again: &mut Vec<Ask<Waiting>>) {
        // Replies of one socket leave together.
        answered.sort_unstable_by_key(|(waiting, _)| waiting.way_back.socket().map(Arc::as_ptr));
        let Self { responder, post, long } = self;
        let mut hall = responder.enter();
        for (waiting, hit) in answered.drain(..) {
            if let Some(waiter) = take_back(&mut hall, post, long, waiting, &hit, now) {
                again.push(waiter.into());
            }
        }
        post.send(hall.counts());
    }
}

impl Door {
    /// A door that writes replies as `responder` does. It stays on the thread that made it.
    pub fn new(responder: Responder) -> Self {
        let post = Post { outbox: Outbox::new(), socket: None, envelopes: Envelopes::hurried() };
        Self { responder, post, long: vec![0; MAX_TCP].into_boxed_slice() }
    }
}

/// Takes one reply back to who asked; returns a query that must wait for more.
fn take_back(
    hall: &mut Hall<'_>,
    post: &mut Post,
    long: &mut [u8],
    waiting: Waiting,
    answer: &Hit,
    now: Instant,
) -> Option<Waiting> {
    let Waiting { pending, way_back } = waiting;
    let (pending, way_back) = match way_back {
        WayBack::Udp { socket, asked } => {
            let pending = post.take(hall, &socket, asked, pending, answer, now)?;
            (pending, WayBack::Udp { socket, asked })
        }
        WayBack::Tcp(place) if place.is_laden() => {
            place.send(decline(hall, long, &pending));
            return None;
        }
        // The place was kept when the query came, so there is nothing to wait for.
        WayBack::Tcp(place) => match write(hall, long, pending, answer, now) {
            Ok(reply) => return reply.map(|reply| place.send(reply)).and(None),
            Err(pending) => (*pending, WayBack::Tcp(place)),
        },
        // An error is a caller who has gone.
        WayBack::Caller(caller) => match write(hall, long, pending, answer, now) {
            Ok(reply) => return reply.map(|reply| caller.send(reply)).and(None),
            Err(pending) => (*pending, WayBack::Caller(caller)),
        },
    };
    Some(Waiting { pending, way_back })
}

/// The reply that is no datagram, if there shall be one; or the query, which must wait for more.
fn write(
    hall: &mut Hall<'_>,
    long: &mut [u8],
    pending: Pending,
    answer: &Hit,
    now: Instant,
) -> Result<Option<Vec<u8>>, Box<Pending>> {
    match finish(hall, pending, answer, now, long) {
        Outcome::Reply(length) => Ok(long.get(..length).map(<[u8]>::to_vec)),
        Outcome::Forward(pending) => Err(Box::new(pending)),
        Outcome::Drop => Ok(None),
    }
}

/// SERVFAIL, for a client that leaves too much unread.
fn decline(hall: &mut Hall<'_>, long: &mut [u8], pending: &Pending) -> Vec<u8> {
    let length = shielded(|| hall.unread(pending, long)).unwrap_or_else(|| {
        regret(hall.counts());
        0
    });
    long.get(..length).unwrap_or_default().to_vec()
}

/// [`Hall::finish`], shielded.
fn finish(hall: &mut Hall<'_>, pending: Pending, answer: &Hit, now: Instant, out: &mut [u8]) -> Outcome {
    shielded(|| hall.finish(pending, answer, now, out)).unwrap_or_else(|| {
        regret(hall.counts());
        Outcome::Drop
    })
}

impl Post {
    /// Puts a reply with those that leave by the same socket; gives back a query that must wait for more.
    fn take(
        &mut self,
        hall: &mut Hall<'_>,
        socket: &Arc<UdpSocket>,
        asked: Option<Asked>,
        pending: Pending,
        answer: &Hit,
        now: Instant,
    ) -> Option<Pending> {
        let elsewhere = self.socket.as_ref().is_some_and(|current| !Arc::ptr_eq(current, socket));
        if elsewhere || self.outbox.is_full() {
            self.send(hall.counts());
        }
        let client = pending.client();
        match finish(hall, pending, answer, now, self.outbox.space()) {
            Outcome::Reply(length) => self.outbox.keep(length, client, asked),
            Outcome::Forward(pending) => return Some(pending),
            Outcome::Drop => {}
        }
        self.socket.get_or_insert_with(|| Arc::clone(socket));
        None
    }

    /// Sends what the outbox holds.
    fn send(&mut self, counts: &Counts) {
        let Some(socket) = self.socket.take() else { return };
        let unsent = self.outbox.send(&socket, &mut self.envelopes);
        if unsent > 0 {
            counts.unsent.add(unsent);
        }
    }
}

/// Does the work for one query; `None` if it panicked, which is to be [`regret`]ted. That costs this query its reply, and
/// nobody else anything: not the thread, not the rest of the batch. What is shared with other threads sees to itself (a
/// lock left by a panic is taken over).
pub fn shielded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Counts a panic; the first of a thread is logged, and a stranger who finds more of them fills no log.
pub fn regret(counts: &Counts) {
    if counts.panics.value() == 0 {
        tracing::error!("a query made the responder panic: please report it; more of them are only counted");
    }
    counts.panics.add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_only_the_query_that_made_it() {
        assert_eq!(shielded(|| 1), Some(1));
        assert_eq!(shielded(|| panic!("as a query might make it")), None::<u8>);
        assert_eq!(shielded(|| 2), Some(2));
    }

    #[test]
    fn panics_are_counted() {
        let counts = Counts::default();
        regret(&counts);
        regret(&counts);
        assert_eq!(counts.panics.value(), 2);
    }
}
