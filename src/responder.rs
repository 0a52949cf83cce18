//! The hall: a query's whole path on one screen. No socket, no task, no clock: bytes, an address and an instant in,
//! bytes out.

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

use crate::client::Client;
use crate::endpoint::Present;
use crate::metrics::{Counts, Fate, Registry, SubnetId};
use crate::policy::{Decision, Policy};
use crate::upstream::{Hit, Route, Upstream};
use crate::wire::answer::{Alias, Answer, ExtendedError, Placement};
use crate::wire::name::NameRef;
use crate::wire::query::{Decoded, Folded, Query, Transport, decode, error_header, rcode};
use crate::wire::reply::{Asked, MAX_CHAIN, Question};
use crate::zone::{Found, Said, Wanted, Zone};

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

    /// The hall, as it stands now.
    pub fn enter(&mut self) -> Hall<'_> {
        let policy = self.policy.load();
        let endpoints = policy.endpoints().present();
        Hall { policy, endpoints, upstream: &self.upstream, counts: &self.counts, turn: &mut self.turn }
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

/// The hall as it stands for a batch of queries: one policy, one state of its endpoints.
///
/// To be entered for what is there to be answered, not kept while there is nothing: it would keep an old policy alive on
/// every thread that happens to be idle.
#[derive(Debug)]
pub struct Hall<'a> {
    policy: Guard<Arc<Policy>>,
    endpoints: Guard<Arc<Present>>,
    upstream: &'a Upstream,
    counts: &'a Counts,
    turn: &'a mut u32,
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
        let account = Account::new(transport);
        let outcome = self.judge(packet, client, &account, now, out);
        self.enter_up(&account);
        outcome
    }

    fn judge(
        &self,
        packet: &[u8],
        client: SocketAddr,
        account: &Account,
        now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        // A port of 0 cannot be replied to; a socket of our own would have us ask ourselves for ever.
        if client.port() == 0 || account.transport == Transport::Udp && self.upstream.loops.is_ours(client) {
            return Outcome::Drop;
        }
        let mut folded = Folded::default();
        let decoded = decode(packet, &mut folded);
        let (query, unserved) = match &decoded {
            Decoded::Query(query) => (query, None),
            Decoded::Unserved(query, code) => (query, Some(*code)),
            Decoded::Unreadable(code) => return Outcome::of(unreadable(packet, *code, account, out)),
            Decoded::Drop => return Outcome::Drop,
        };
        let Some(who) = self.policy.clients().identify(client.ip()) else {
            return Outcome::of(self.error(query, account, prohibited(), out));
        };
        account.subnet.set(self.policy.counted_under(who));
        if let Some(code) = unserved {
            return Outcome::of(self.error(query, account, &Answer::empty(code), out));
        }
        match self.follow(&Asking { query, who, account }, Chain::default(), None, now, out) {
            Course::Ended(written) => Outcome::of(written),
            Course::Onward(chain, question, route) => {
                let (packet, deadline) = (query.essentials(), now + self.policy.timeout());
                let transport = account.transport;
                Outcome::Forward(Pending { packet, client, transport, since: now, deadline, chain, question, route })
            }
        }
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
        let account = Account::new(transport);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { return Outcome::Drop };
        // The policy may have changed since the query came: client and name are judged by the one that serves now.
        let course = match self.policy.clients().identify(client.ip()) {
            Some(who) => self.follow(&Asking { query: &query, who, account: &account }, chain, Some(hit), now, out),
            None => Course::Ended(self.error(&query, &account, prohibited(), out)),
        };
        match course {
            Course::Ended(written) => {
                self.count_reply(&account);
                self.counts.stale.add(hit.stale.into());
                self.counts.forwards.add(now.saturating_duration_since(since), 1);
                Outcome::of(written)
            }
            Course::Onward(chain, question, route) => {
                Outcome::Forward(Pending { packet, client, transport, since, deadline, chain, question, route })
            }
        }
    }

    /// Writes SERVFAIL for a query that cannot wait because too many do already; returns its length.
    pub fn overloaded(&mut self, pending: &Pending, out: &mut [u8]) -> usize {
        self.counts.overloaded.add(1);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&pending.packet, &mut folded) else { return 0 };
        let account = Account::new(pending.transport);
        let written = self.write(&query, &account, overloaded(), Placement::FRESH, out);
        self.count_reply(&account);
        written.map_or(0, NonZeroUsize::get)
    }

    /// Counts a datagram that was dropped because it came cut short.
    pub fn dropped(&self) {
        self.enter_up(&Account::new(Transport::Udp));
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

    /// Counts a query that came.
    fn enter_up(&self, account: &Account) {
        let fate = account.fate.get().unwrap_or(Fate::Dropped);
        self.counts.fates.of(account.subnet.get(), fate, account.transport).add(1);
        self.count_reply(account);
    }

    /// Counts the reply to a query, if one was written.
    fn count_reply(&self, account: &Account) {
        if let Some(code) = account.code.get() {
            self.counts.replies.of(code).add(1);
        }
    }
}

/// What is noted of a query on its way, to be counted at its end.
#[derive(Debug)]
struct Account {
    transport: Transport,
    subnet: Cell<SubnetId>,
    /// Decided by whoever is met first.
    fate: Cell<Option<Fate>>,
    /// The response code of its reply.
    code: Cell<Option<u16>>,
}

impl Account {
    fn new(transport: Transport) -> Self {
        Self { transport, subnet: Cell::new(SubnetId::NONE), fate: Cell::new(None), code: Cell::new(None) }
    }

    /// What became of the query, unless that is known already.
    fn met(&self, fate: Fate) {
        self.fate.set(self.fate.get().or(Some(fate)));
    }
}

/// The CNAMEs that lead from the name asked to another.
#[derive(Debug, Default)]
struct Chain {
    links: Vec<Alias>,
}

impl Chain {
    fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The name that it has come to.
    fn name<'a>(&'a self, query: &Query<'a>) -> NameRef<'a> {
        self.links.last().map_or(query.whole_name(), |last| last.target.as_ref())
    }

    /// Adds `more`; `false` if the chain is too long then, or goes round.
    fn lengthen(&mut self, query: &Query<'_>, more: Vec<Alias>) -> bool {
        for link in more {
            let target = link.target.as_wire();
            let passed = target == query.name() || self.links.iter().any(|earlier| earlier.target == link.target);
            if passed || self.links.len() == MAX_CHAIN {
                return false;
            }
            self.links.push(link);
        }
        true
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
            let step = match self.policy.decide(chain.name(asking.query), asking.who, &self.endpoints) {
                Decision::Zone { zone, apex, found } => self.private(asking, &chain, zone, apex, found, out),
                Decision::Denied { zone, apex } => self.denied(asking, &chain, zone, apex, out),
                Decision::Route(route) => match told.take() {
                    Some(hit) => self.forwarded(asking, &chain, hit, out),
                    None => self.routed(asking, &chain, route, now, out),
                },
            };
            match step {
                Step::Ended(outcome) => return Course::Ended(outcome),
                Step::Onward(question, route) => return Course::Onward(chain, question, route),
                Step::Cnames(links) => {
                    if !chain.lengthen(asking.query, links) {
                        return Course::Ended(self.write(
                            asking.query,
                            asking.account,
                            endless(),
                            Placement::FRESH,
                            out,
                        ));
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
        self.decided(asking, chain, apex, Fate::Private);
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
        self.decided(asking, chain, apex, Fate::Denied);
        self.said(asking, chain, zone.denial(self.policy.standard()), apex, out)
    }

    /// Counts that a zone, whose name begins at `apex`, decides about the name asked.
    fn decided(&self, asking: &Asking<'_>, chain: &Chain, apex: usize, fate: Fate) {
        if chain.is_empty() {
            asking.account.met(fate);
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
    fn routed(&self, asking: &Asking<'_>, chain: &Chain, route: &Arc<Route>, now: Instant, out: &mut [u8]) -> Step {
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
    fn forwarded(&self, asking: &Asking<'_>, chain: &Chain, hit: &Hit, out: &mut [u8]) -> Step {
        let (aliases, place) = (hit.answer.aliases(), hit.place());
        let enters = |alias: &Alias| {
            let decision = self.policy.decide(alias.target.as_ref(), asking.who, &self.endpoints);
            !matches!(decision, Decision::Route(_))
        };
        match aliases.iter().take(MAX_CHAIN).position(enters) {
            Some(entrance) => {
                let aged = |alias: &Alias| Alias { ttl: place.shown(alias.ttl), ..alias.clone() };
                Step::Cnames(aliases.iter().take(entrance + 1).map(aged).collect())
            }
            None if chain.links.len() + aliases.len() > MAX_CHAIN => {
                Step::Ended(self.write(asking.query, asking.account, endless(), Placement::FRESH, out))
            }
            None => Step::Ended(self.end(asking, chain, &hit.answer, place, out)),
        }
    }

    /// Writes the chain that was followed, and the answer at its end.
    fn end(&self, asking: &Asking<'_>, chain: &Chain, answer: &Answer, place: Placement, out: &mut [u8]) -> Written {
        // What could not be had is no answer with a chain before it.
        let failed = !matches!(answer.rcode(), rcode::NOERROR | rcode::NXDOMAIN);
        if chain.is_empty() || failed {
            return self.write(asking.query, asking.account, answer, place, out);
        }
        let whole = Answer::spliced(asking.query.name(), &chain.links, answer, place);
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
        let written = NonZeroUsize::new(length)?;
        account.code.set(Some(answer.rcode()));
        if out.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            self.counts.truncated.add(1);
        }
        Some(written)
    }

    fn error(&self, query: &Query<'_>, account: &Account, answer: &Answer, out: &mut [u8]) -> Written {
        account.met(if answer.rcode() == rcode::REFUSED { Fate::Refused } else { Fate::Malformed });
        self.write(query, account, answer, Placement::FRESH, out)
    }
}

/// Writes a reply to a packet that is no query one could read.
fn unreadable(packet: &[u8], code: u16, account: &Account, out: &mut [u8]) -> Written {
    account.met(Fate::Malformed);
    let written = NonZeroUsize::new(error_header(packet, code, out))?;
    account.code.set(Some(code));
    Some(written)
}

/// For a client that may not ask. Made once: whoever sends us a flood of what is refused costs no memory.
fn prohibited() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::PROHIBITED, "this client may not ask"))
    });
    &ANSWER
}

/// For a query that finds no place to wait. Made once, for the same reason.
fn overloaded() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "too many queries are waiting"))
    });
    &ANSWER
}

/// For a probe of ours that came back.
fn looping() -> &'static Answer {
    static ANSWER: LazyLock<Answer> =
        LazyLock::new(|| Answer::error(rcode::REFUSED, ExtendedError::new(ExtendedError::OTHER, "a forwarding loop")));
    &ANSWER
}

/// For a chain of CNAMEs and an answer that do not fit into one message.
fn too_long() -> Answer {
    Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "the answer is too long for a message"))
}

/// For a chain of CNAMEs that is too long or goes round. Made once: whoever owns a public name can have it asked for.
fn endless() -> &'static Answer {
    static ANSWER: LazyLock<Answer> = LazyLock::new(|| {
        Answer::error(rcode::SERVFAIL, ExtendedError::new(ExtendedError::OTHER, "the chain of CNAMEs has no end"))
    });
    &ANSWER
}
