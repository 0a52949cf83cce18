//! The hall: a query's whole path on one screen. No socket, no task, no clock: bytes, an address and an instant in,
//! bytes out.

mod account;
mod chain;
mod gate;
mod own;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

use account::Account;
use chain::Chain;
use own::{endless, looping, prohibited, too_long, unreadable};

use crate::client::Client;
use crate::endpoint::Present;
use crate::limits::{Clock, Limits};
use crate::metrics::{Counts, Fate, Registry};
use crate::policy::{Decision, Policy};
use crate::upstream::{Hit, Route, Upstream};
use crate::wire::Name;
use crate::wire::answer::{Alias, Answer, Placement};
use crate::wire::query::{Decoded, Folded, Query, Transport, decode, rcode};
use crate::wire::reply::{Asked, MAX_CHAIN, Question};
use crate::zone::{Found, Said, Wanted, Zone};

/// TC, in the third octet of a message (RFC 1035 section 4.1.1).
const TRUNCATED: u8 = 0x02;

/// What becomes of a packet.
#[derive(Debug)]
pub enum Outcome {
    /// No reply.
    Drop,
    /// The reply stands in the first so many octets of `out`.
    Reply(usize),
    /// The answer must be had from a resolver first; then [`Hall::finish`] writes the reply.
    Forward(Pending),
}

impl Outcome {
    fn of(written: Written) -> Self {
        written.map_or(Self::Drop, |length| Self::Reply(length.get()))
    }
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
    /// When it came, ...
    since: Instant,
    /// ... and when the client must have its reply.
    pub deadline: Instant,
    /// The CNAMEs that lead from the name asked to that of `question`.
    chain: Chain,
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

    /// The names that its CNAMEs have led to so far, in order; the last is that of the question.
    pub fn passed(&self) -> impl Iterator<Item = &Name> {
        self.chain.links.iter().map(|link| &link.target)
    }

    /// When the query came.
    pub fn since(&self) -> Instant {
        self.since
    }
}

/// One thread's way through the hall.
#[derive(Debug)]
pub struct Responder {
    /// The policy that serves now.
    policy: Arc<ArcSwap<Policy>>,
    upstream: Arc<Upstream>,
    /// What clients have taken of late, of all threads together, and the moment as that knows it.
    limits: Arc<Limits>,
    clock: Clock,
    /// Where this thread's counts are registered.
    registry: Registry,
    /// What this thread counts.
    counts: Arc<Counts>,
    /// Which of an endpoint's addresses is first: a random walk, since a plain count would give clients that ask in
    /// a rhythm (A, AAAA, A, AAAA) the same one each time.
    turn: u32,
    /// Its queries are somebody's: they belong into the query log.
    noting: bool,
}

impl Responder {
    /// A way through the hall for one thread; its clones are for others.
    pub fn new(policy: Arc<ArcSwap<Policy>>, upstream: Arc<Upstream>, registry: Registry) -> Self {
        let counts = registry.register();
        Self {
            policy,
            upstream,
            limits: Arc::default(),
            clock: Clock::default(),
            registry,
            counts,
            turn: 0,
            noting: true,
        }
    }

    /// One that answers nobody: what it would say is looked at. Nothing of it is counted or noted.
    pub fn aside(policy: Arc<Policy>, upstream: Upstream) -> Self {
        let policy = Arc::new(ArcSwap::new(policy));
        Self { noting: false, ..Self::new(policy, upstream.into(), Registry::default()) }
    }

    /// What this thread counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The hall, as it stands now.
    pub fn enter(&mut self) -> Hall<'_> {
        let policy = self.policy.load();
        let endpoints = policy.endpoints().present();
        Hall {
            policy,
            endpoints,
            upstream: &self.upstream,
            limits: &self.limits,
            clock: &mut self.clock,
            counts: &self.counts,
            turn: &mut self.turn,
            noting: self.noting,
        }
    }
}

impl Clone for Responder {
    /// For another thread: it counts for itself.
    fn clone(&self) -> Self {
        let counts = self.registry.register();
        Self {
            policy: Arc::clone(&self.policy),
            upstream: Arc::clone(&self.upstream),
            limits: Arc::clone(&self.limits),
            clock: Clock::default(),
            registry: self.registry.clone(),
            counts,
            turn: 0,
            noting: self.noting,
        }
    }
}

/// The hall as it stands for a batch of queries: one policy, one state of its endpoints.
///
/// To be entered for what is there to be answered, not kept while there is nothing: it would keep an old policy alive on
/// every thread that happens to be idle.
#[derive(Debug)]
pub struct Hall<'a> {
    policy: Guard<Arc<Policy>>,
    endpoints: Guard<Arc<Present>>,
    upstream: &'a Upstream,
    limits: &'a Limits,
    clock: &'a mut Clock,
    counts: &'a Counts,
    turn: &'a mut u32,
    noting: bool,
}

impl Hall<'_> {
    /// Answers one packet of `client`. `out` should hold what the transport may carry (1232 or 65,535 octets).
    pub fn respond(
        &mut self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
        now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        self.turn();
        let account = Account::new(client, transport, now);
        if let Some(written) = self.gate(packet, &account, out) {
            return Outcome::of(written);
        }
        let mut folded = Folded::default();
        let decoded = decode(packet, &mut folded);
        let (query, unserved) = match &decoded {
            Decoded::Query(query) => (query, None),
            Decoded::Unserved(query, code) => (query, Some(*code)),
            Decoded::Unreadable(code) => {
                let written = unreadable(packet, *code, &account, out);
                return self.ended(&account, None, written);
            }
            Decoded::Drop => return self.ended(&account, None, None),
        };
        match self.judge(query, unserved, &account, (Chain::default(), None), now, out) {
            Course::Ended(written) => self.ended(&account, Some(query), written),
            Course::Onward(chain, question, route) => {
                self.count(&account);
                let (packet, deadline) = (query.essentials(), now + self.policy.timeout());
                Outcome::Forward(Pending { packet, client, transport, since: now, deadline, chain, question, route })
            }
        }
    }

    /// What becomes of a query, which has come as far as `chain`, of whose last name a resolver has `told` this.
    // A course is large: to hand it up one call more would copy it once more.
    #[inline(always)]
    fn judge(
        &self,
        query: &Query<'_>,
        unserved: Option<u16>,
        account: &Account,
        (chain, told): (Chain, Option<&Hit>),
        now: Instant,
        out: &mut [u8],
    ) -> Course {
        let Some(who) = self.policy.clients().identify(account.client.ip()) else {
            return Course::Ended(self.error(query, account, prohibited(), out));
        };
        account.subnet.set(self.policy.counted_under(who));
        if let Some(code) = unserved {
            return Course::Ended(self.error(query, account, &Answer::empty(code), out));
        }
        self.follow(&Asking { query, who, account }, chain, told, now, out)
    }

    /// Prepares for the queries in `packets`, which will be answered next.
    pub fn foresee<'p>(&self, packets: impl Iterator<Item = &'p [u8]>) {
        self.policy.foresee(packets);
    }

    /// Goes on with a query that waited, now that it is answered by `hit`: writes its reply, or finds that the answer leads to
    /// a name that a resolver must be asked for in turn.
    pub fn finish(&mut self, pending: Pending, hit: &Hit, now: Instant, out: &mut [u8]) -> Outcome {
        self.turn();
        let Pending { packet, client, transport, since, deadline, chain, .. } = pending;
        let account = Account::new(client, transport, since).at(now);
        account.met(Fate::Forwarded);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { return Outcome::Drop };
        // The policy may have changed since the query came: client and name are judged by the one that serves now.
        match self.judge(&query, None, &account, (chain, Some(hit)), now, out) {
            Course::Ended(written) => {
                self.returned(&account, &query, hit.stale, now);
                Outcome::of(written)
            }
            Course::Onward(chain, question, route) => {
                Outcome::Forward(Pending { packet, client, transport, since, deadline, chain, question, route })
            }
        }
    }

    /// Counts a datagram of `client` that was dropped because it came cut short.
    pub fn cut_short(&self, client: SocketAddr, now: Instant) {
        let _ = self.ended(&Account::new(client, Transport::Udp, now), None, None);
    }

    /// What this thread counts.
    pub fn counts(&self) -> &Counts {
        self.counts
    }

    /// The next turn of a rotating set.
    fn turn(&mut self) {
        // A linear congruential generator; its high half is the random one.
        *self.turn = self.turn.wrapping_mul(0x915f_77f5).wrapping_add(1);
    }
}

/// A query, and what is known of who asks it.
struct Asking<'a> {
    query: &'a Query<'a>,
    who: Client,
    account: &'a Account,
}

/// Octets of the reply that is written, or none where there is to be none. It is one word, unlike an [`Outcome`], and is
/// handed up through several calls.
type Written = Option<NonZeroUsize>;

/// Where a query has come to.
enum Course {
    /// Its reply is written, or there is none.
    Ended(Written),
    /// A resolver must be asked this before it can go on.
    Onward(Chain, Question, Arc<Route>),
}

/// What one name on the way leads to.
enum Step {
    /// The end.
    Ended(Written),
    /// Other names, the last of which is to be asked for next.
    Cnames(Vec<Alias>),
    /// A resolver, to be asked this.
    Onward(Question, Arc<Route>),
}

impl Hall<'_> {
    /// Follows the name asked, from one CNAME to the next, to the answer at the end. Each name is decided about for this
    /// client anew: a chain that enters a zone is answered by the zone, as the VPC's resolver does for a hosted one,
    /// and a zone's CNAME may lead out again. `told` is what a resolver said of the name that `chain` has come to.
    fn follow(
        &self,
        asking: &Asking<'_>,
        mut chain: Chain,
        mut told: Option<&Hit>,
        now: Instant,
        out: &mut [u8],
    ) -> Course {
        loop {
            // It is of this name alone, also if a zone that has come with a reload decides about it now.
            let told = told.take();
            let step = match self.policy.decide(chain.name(asking.query), asking.who, &self.endpoints) {
                Decision::Zone { zone, apex, found } => self.private(asking, &chain, zone, apex, found, out),
                Decision::Denied { zone, apex } => self.denied(asking, &chain, zone, apex, out),
                Decision::Route(route) => match told {
                    Some(hit) => self.forwarded(asking, &mut chain, hit, out),
                    None => self.routed(asking, &mut chain, route, now, out),
                },
            };
            match step {
                Step::Ended(outcome) => return Course::Ended(outcome),
                Step::Onward(question, route) => return Course::Onward(chain, question, route),
                Step::Cnames(links) => {
                    if !chain.lengthen(asking.query, links) {
                        return Course::Ended(self.endless(asking, out));
                    }
                }
            }
        }
    }

    /// What the zone that decides says.
    fn private(
        &self,
        asking: &Asking<'_>,
        chain: &Chain,
        zone: &Zone,
        apex: usize,
        found: Found<'_>,
        out: &mut [u8],
    ) -> Step {
        self.decided(asking, apex, Fate::Private);
        let endpoint = found.endpoint().and_then(|index| self.endpoints.answers(index));
        let near = endpoint.map(|answers| answers.near(asking.who.whereabouts));
        let query = asking.query;
        // RFC 6147 section 5.5: who validates for itself is given no data that cannot be validated.
        let dns64 = asking.who.whereabouts.dns64 && !(query.dnssec_ok() && query.checking_disabled());
        let said = zone.answer(found, Wanted { kind: query.kind(), dns64 }, apex == 0, near, self.policy.standard());
        self.said(asking, chain, said, apex, out)
    }

    /// What the zone that decides tells those whom it is not for.
    fn denied(&self, asking: &Asking<'_>, chain: &Chain, zone: &Zone, apex: usize, out: &mut [u8]) -> Step {
        self.decided(asking, apex, Fate::Denied);
        self.said(asking, chain, zone.denial(self.policy.standard()), apex, out)
    }

    /// Counts that a zone, whose name begins at `apex`, decides about the name asked.
    fn decided(&self, asking: &Asking<'_>, apex: usize, fate: Fate) {
        if asking.account.met(fate) {
            asking.account.apex.set(Some(apex));
            self.counts.zones.add(asking.query.name().get(apex..).unwrap_or_default(), fate == Fate::Denied);
        }
    }

    fn said(&self, asking: &Asking<'_>, chain: &Chain, said: Said<'_>, apex: usize, out: &mut [u8]) -> Step {
        let place = Placement { apex: apex as u16, turn: *self.turn >> 16, ..Placement::FRESH };
        Step::Ended(match said {
            Said::Cname(link) => return Step::Cnames(vec![link.clone()]),
            Said::Answer(answer) => self.end(asking, chain, answer, place, out),
            Said::Refusal(answer) => self.error(asking.query, asking.account, answer, out),
            Said::Silence => None,
        })
    }

    /// What resolvers have said or must be asked.
    fn routed(&self, asking: &Asking<'_>, chain: &mut Chain, route: &Arc<Route>, now: Instant, out: &mut [u8]) -> Step {
        let query = asking.query;
        // A resolver recurses or says no: there is no zone here to be asked without recursion.
        if !query.recursion_desired() {
            return Step::Ended(match chain.is_empty() {
                true => self.error(asking.query, asking.account, &Answer::empty(rcode::REFUSED), out),
                false => self.end(asking, chain, &Answer::empty(rcode::NOERROR), Placement::FRESH, out),
            });
        }
        if chain.is_empty() && self.upstream.loops.is_probe(query.name()) {
            return Step::Ended(self.error(asking.query, asking.account, looping(), out));
        }
        let asked = Asked { name: chain.name(query).as_wire(), ..Asked::by(query) };
        if let Some(hit) = self.upstream.cached(route, asked, now) {
            asking.account.met(if hit.stale { Fate::Stale } else { Fate::Cached });
            return self.forwarded(asking, chain, &hit, out);
        }
        match asked.to_question() {
            Some(question) => {
                asking.account.met(Fate::Forwarded);
                Step::Onward(question, Arc::clone(route))
            }
            None => Step::Ended(None),
        }
    }

    /// What a resolver said, now or some time ago; its CNAMEs up to the first that enters a zone, where one does.
    fn forwarded(&self, asking: &Asking<'_>, chain: &mut Chain, hit: &Hit, out: &mut [u8]) -> Step {
        let (aliases, place) = (hit.answer.aliases(), hit.place());
        let enters = |alias: &Alias| {
            let decision = self.policy.decide(alias.target.as_ref(), asking.who, &self.endpoints);
            !matches!(decision, Decision::Route(_))
        };
        match aliases.iter().take(MAX_CHAIN).position(enters) {
            Some(entrance) => {
                chain.stale |= hit.stale;
                let aged = |alias: &Alias| Alias { ttl: place.shown(alias.ttl), ..alias.clone() };
                Step::Cnames(aliases.iter().take(entrance + 1).map(aged).collect())
            }
            None if chain.links.len() + aliases.len() > MAX_CHAIN => Step::Ended(self.endless(asking, out)),
            None => Step::Ended(self.end(asking, chain, &hit.answer, place, out)),
        }
    }

    /// Writes that the chain of CNAMEs has no end.
    fn endless(&self, asking: &Asking<'_>, out: &mut [u8]) -> Written {
        self.counts.endless_chains.add(1);
        self.write(asking.query, asking.account, endless(), Placement::FRESH, out)
    }

    /// Writes the chain that was followed, and the answer at its end.
    fn end(&self, asking: &Asking<'_>, chain: &Chain, answer: &Answer, place: Placement, out: &mut [u8]) -> Written {
        if chain.is_empty() {
            return self.write(asking.query, asking.account, answer, place, out);
        }
        // What could not be had is no answer with a chain before it.
        if !matches!(answer.rcode(), rcode::NOERROR | rcode::NXDOMAIN) {
            return self.write(asking.query, asking.account, &answer.without_records(), place, out);
        }
        let whole = Answer::spliced(asking.query.name(), (chain.links.as_slice(), chain.stale), answer, place);
        self.write(asking.query, asking.account, &whole.unwrap_or_else(too_long), Placement::FRESH, out)
    }

    fn write(
        &self,
        query: &Query<'_>,
        account: &Account,
        answer: &Answer,
        place: Placement,
        out: &mut [u8],
    ) -> Written {
        let length = answer.write(query, place, query.limit(account.transport), out);
        if self.is_too_large(query, account, length) {
            self.counts.unamplified.add(1);
            return self.over_tcp(query, account, answer.rcode(), out);
        }
        let written = NonZeroUsize::new(length)?;
        account.code.set(Some(answer.rcode()));
        if out.get(2).is_some_and(|flags| flags & TRUNCATED != 0) {
            self.counts.truncated.add(1);
        }
        Some(written)
    }

    fn error(&self, query: &Query<'_>, account: &Account, answer: &Answer, out: &mut [u8]) -> Written {
        account.met(if answer.rcode() == rcode::REFUSED { Fate::Refused } else { Fate::Malformed });
        self.write(query, account, answer, Placement::FRESH, out)
    }
}
