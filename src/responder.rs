//! The hall: a query's whole path on one screen. No socket, no task, no clock: bytes, an address and an instant in,
//! bytes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

use crate::client::Client;
use crate::metrics::{Counts, Registry};
use crate::policy::{Decision, Policy};
use crate::upstream::{Route, Upstream};
use crate::wire::answer::{Answer, ExtendedError, Placement};
use crate::wire::query::{Decoded, HEADER, Query, Transport, decode, error_header, rcode};
use crate::wire::reply::{Asked, MAX_CHAIN, Question};
use crate::zone::{Said, Zone};

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
    /// What of the packet a reply needs: what else a stranger wrote into it takes no memory while it waits.
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
#[derive(Debug)]
pub struct Responder {
    /// The policy that serves now. It is looked up for each query: a copy that is kept would keep an old policy alive
    /// on every thread that happens to be idle.
    policy: Arc<ArcSwap<Policy>>,
    upstream: Arc<Upstream>,
    /// Where this thread's counts are registered.
    registry: Registry,
    /// What this thread counts.
    counts: Arc<Counts>,
    /// Which of an endpoint's addresses is first: a random walk, since a plain count would give clients that ask in
    /// a rhythm (A, AAAA, A, AAAA) the same one each time.
    turn: u32,
}

impl Responder {
    /// A way through the hall for one thread.
    pub fn new(policy: Arc<ArcSwap<Policy>>, upstream: Arc<Upstream>, registry: Registry) -> Self {
        let counts = registry.register();
        Self { policy, upstream, registry, counts, turn: 0 }
    }

    /// What this thread counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Answers one packet of `client`. `out` should hold what the transport may carry (1232 or 65,535 octets).
    pub fn respond(
        &mut self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
        now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        let hall = self.enter();
        hall.counts.queries.add(1);
        // A port of 0 cannot be replied to; a socket of our own would have us ask ourselves for ever.
        if client.port() == 0 || transport == Transport::Udp && hall.upstream.loops.is_ours(client) {
            return hall.silent();
        }
        let (query, unserved) = match decode(packet) {
            Decoded::Query(query) => (query, None),
            Decoded::Unserved(query, code) => (query, Some(code)),
            Decoded::Unreadable(code) => return hall.unreadable(packet, code, out),
            Decoded::Drop => return hall.silent(),
        };
        let Some(who) = hall.policy.clients().identify(client.ip()) else {
            return hall.error(&query, transport, prohibited(), out);
        };
        if let Some(code) = unserved {
            return hall.error(&query, transport, Answer::empty(code), out);
        }
        let route = match hall.policy.decide(query.name(), who) {
            Decision::Zone { zone, apex, admitted } => {
                return hall.private(&query, transport, zone, apex, admitted, out);
            }
            Decision::Route(route) => route,
        };
        // A resolver recurses or says no: there is no zone here to be asked without recursion.
        if !query.recursion_desired() {
            return hall.error(&query, transport, Answer::empty(rcode::REFUSED), out);
        }
        if hall.upstream.loops.is_probe(query.name()) {
            return hall.error(&query, transport, looping(), out);
        }
        if let Some(hit) = hall.upstream.cached(route, Asked::by(&query), now) {
            hall.counts.hits.add(1);
            return hall.forwarded(&query, who, transport, &hit.answer, hit.age, out);
        }
        hall.forward(&query, client, transport, route, now)
    }

    /// Writes the reply to a query that waited; returns its length, 0 for no reply.
    pub fn finish(&mut self, pending: &Pending, answer: &Answer, out: &mut [u8]) -> usize {
        let hall = self.enter();
        let Decoded::Query(query) = decode(&pending.packet) else { return 0 };
        // The policy may have changed since the query came: client and name are judged by the one that serves now.
        let outcome = match hall.policy.clients().identify(pending.client.ip()) {
            Some(who) => match hall.policy.decide(query.name(), who) {
                Decision::Zone { zone, apex, admitted } => {
                    hall.private(&query, pending.transport, zone, apex, admitted, out)
                }
                Decision::Route(_) => hall.forwarded(&query, who, pending.transport, answer, 0, out),
            },
            None => hall.error(&query, pending.transport, prohibited(), out),
        };
        if let Outcome::Reply(length) = outcome { length } else { 0 }
    }

    /// Writes SERVFAIL for a query that cannot wait because too many do already; returns its length.
    pub fn overloaded(&mut self, pending: &Pending, out: &mut [u8]) -> usize {
        self.counts.overloaded.add(1);
        self.finish(pending, &overloaded(), out)
    }

    /// The hall as it stands for one query.
    fn enter(&mut self) -> Hall<'_> {
        // A linear congruential generator; its high half is the random one.
        self.turn = self.turn.wrapping_mul(0x915f_77f5).wrapping_add(1);
        Hall { policy: self.policy.load(), upstream: &self.upstream, counts: &self.counts, turn: self.turn >> 16 }
    }
}

impl Clone for Responder {
    /// For another thread: it counts for itself.
    fn clone(&self) -> Self {
        let counts = self.registry.register();
        Self {
            policy: Arc::clone(&self.policy),
            upstream: Arc::clone(&self.upstream),
            registry: self.registry.clone(),
            counts,
            turn: 0,
        }
    }
}

/// What one query needs to be answered.
struct Hall<'a> {
    policy: Guard<Arc<Policy>>,
    upstream: &'a Upstream,
    counts: &'a Counts,
    turn: u32,
}

impl Hall<'_> {
    /// The reply of the zone that decides.
    fn private(
        &self,
        query: &Query<'_>,
        transport: Transport,
        zone: &Zone,
        apex: usize,
        admitted: bool,
        out: &mut [u8],
    ) -> Outcome {
        self.counts.private.add(1);
        let place = Placement { age: 0, owner: (HEADER + apex) as u16, turn: self.turn };
        self.with_zone(zone, query.kind(), apex, admitted, |said| match said {
            Said::Answer(answer) => self.write(query, transport, answer, place, out),
            Said::Refusal(answer) => self.error(query, transport, answer, out),
            Said::Silence => self.silent(),
        })
    }

    /// The reply made of what a resolver said. Where its chain of CNAMEs enters a zone that exists for this client, the
    /// zone has the last word: the VPC's resolver does the same for a hosted zone.
    fn forwarded(
        &self,
        query: &Query<'_>,
        who: Client,
        transport: Transport,
        answer: &Answer,
        age: u32,
        out: &mut [u8],
    ) -> Outcome {
        let aliases = answer.aliases();
        for (index, alias) in aliases.iter().take(MAX_CHAIN).enumerate() {
            let Decision::Zone { zone, apex, admitted } = self.policy.decide(alias.target.as_wire(), who) else {
                continue;
            };
            let links = aliases.get(..=index).unwrap_or_default();
            return self.with_zone(zone, query.kind(), apex, admitted, |said| match said {
                Said::Answer(end) => {
                    let whole = Answer::spliced(query.name(), links, age, end, apex, self.turn);
                    self.write(query, transport, &whole, Placement::FRESH, out)
                }
                Said::Refusal(refusal) => self.error(query, transport, refusal, out),
                Said::Silence => self.silent(),
            });
        }
        if aliases.len() > MAX_CHAIN {
            return self.write(query, transport, &endless(), Placement::FRESH, out);
        }
        self.write(query, transport, answer, Placement { age, ..Placement::FRESH }, out)
    }

    /// Hands what `zone` says of a name to `then`; `apex` is where the zone's name begins in it.
    fn with_zone(
        &self,
        zone: &Zone,
        kind: u16,
        apex: usize,
        admitted: bool,
        then: impl FnOnce(Said<'_>) -> Outcome,
    ) -> Outcome {
        let standard = self.policy.standard();
        if !admitted {
            return then(zone.denial(standard));
        }
        match self.policy.alias(zone) {
            Some(alias) => {
                then(zone.answer(kind, apex == 0, alias.near(crate::client::Whereabouts::default()), standard))
            }
            None => then(Said::Silence),
        }
    }

    /// The query leaves the hall to wait for a resolver.
    fn forward(
        &self,
        query: &Query<'_>,
        client: SocketAddr,
        transport: Transport,
        route: &Arc<Route>,
        now: Instant,
    ) -> Outcome {
        let Some(question) = Asked::by(query).to_question() else { return self.silent() };
        self.counts.forwarded.add(1);
        Outcome::Forward(Pending {
            packet: query.essentials(),
            client,
            transport,
            deadline: now + self.policy.timeout(),
            question,
            route: Arc::clone(route),
        })
    }

    fn write(
        &self,
        query: &Query<'_>,
        transport: Transport,
        answer: &Answer,
        place: Placement,
        out: &mut [u8],
    ) -> Outcome {
        let length = answer.write(query, place, query.limit(transport), out);
        if length == 0 {
            return self.silent();
        }
        if out.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            self.counts.truncated.add(1);
        }
        Outcome::Reply(length)
    }

    fn error(
        &self,
        query: &Query<'_>,
        transport: Transport,
        answer: impl std::borrow::Borrow<Answer>,
        out: &mut [u8],
    ) -> Outcome {
        let answer = answer.borrow();
        let count = if answer.rcode() == rcode::REFUSED { &self.counts.refused } else { &self.counts.malformed };
        count.add(1);
        self.write(query, transport, answer, Placement::FRESH, out)
    }

    fn unreadable(&self, packet: &[u8], code: u16, out: &mut [u8]) -> Outcome {
        self.counts.malformed.add(1);
        Outcome::Reply(error_header(packet, code, out))
    }

    fn silent(&self) -> Outcome {
        self.counts.dropped.add(1);
        Outcome::Drop
    }
}

/// For a client that may not ask.
fn prohibited() -> Answer {
    Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::PROHIBITED, "this client may not ask"))
}

/// For a probe of ours that came back.
fn looping() -> Answer {
    Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::OTHER, "a forwarding loop"))
}

/// For a query that finds no place to wait.
fn overloaded() -> Answer {
    Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "too many queries are waiting"))
}

/// For a chain of CNAMEs that is too long or goes round.
fn endless() -> Answer {
    Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "the chain of CNAMEs has no end"))
}
