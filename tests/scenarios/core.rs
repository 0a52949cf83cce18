//! The stage without network and without sleep: the real responder, cache and forwarder, told what happened and when.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Ask, Flown, Forwarder};
use phzd::wire::Transport;

use super::echo::Query;
use super::endpoints::Keeping;
use super::explained::{Done, as_explained};
use super::file::{Step, configuration};
use super::notation::Told;
use super::stage::{Asked, By, Comes, Event, Stage};

/// phzd's core, and a clock of its own.
pub struct Core {
    now: Instant,
    policy: Arc<ArcSwap<Policy>>,
    upstream: Arc<Upstream>,
    responder: Responder,
    forwarder: Forwarder<Waiter>,
    keeping: Keeping,
    /// Open sockets towards resolvers, by phzd's number.
    sockets: HashMap<usize, Socket>,
    next_port: u16,
    /// What was asked over TCP, until it has ended: for whom, and when phzd gives up.
    streams: Vec<Option<(Flown, Instant)>>,
    events: Vec<Event>,
    registry: Registry,
}

/// A socket towards a resolver.
struct Socket {
    resolver: SocketAddr,
    local: SocketAddr,
}

/// A client that waits, and its query.
struct Waiter {
    pending: Pending,
    query: Query,
}

impl Core {
    pub fn new(config: &str) -> Told<Self> {
        let config = configuration(config).map_err(|told| format!("config:\n{told}"))?;
        let now = Instant::now();
        let policy = Policy::new(&config);
        let keeping = Keeping::new(&config, policy.endpoints(), now);
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let upstream = Arc::new(Upstream::new(&config));
        let registry = Registry::default();
        Ok(Self {
            now,
            responder: Responder::new(Arc::clone(&policy), Arc::clone(&upstream), registry.clone()),
            forwarder: Forwarder::new(Arc::clone(&upstream), [7; 32]),
            keeping,
            policy,
            upstream,
            sockets: HashMap::new(),
            next_port: 20_000,
            streams: Vec::new(),
            events: Vec::new(),
            registry,
        })
    }

    /// The query waits for a resolver.
    fn forward(&mut self, pending: Pending, query: Query) {
        let (question, route, deadline) = (pending.question.clone(), Arc::clone(&pending.route), pending.deadline);
        let (client, waiter) = (query.client.ip(), Waiter { pending, query });
        self.forwarder.ask(Ask { question, route, deadline, client, waiter }, self.now);
    }

    /// Does what the forwarder wants done, and takes its answers to the clients.
    fn carry_out(&mut self) -> Told<()> {
        for action in std::mem::take(self.forwarder.actions()) {
            match action {
                Action::Open { socket, resolver } => {
                    self.next_port += 1;
                    let local = SocketAddr::from(([172, 31, 1, 5], self.next_port));
                    self.upstream.loops.opened(local);
                    if self.sockets.insert(socket, Socket { resolver, local }).is_some() {
                        return Err(format!("socket {socket} was opened twice"));
                    }
                }
                Action::Send { socket, message } => {
                    let Socket { resolver, local } =
                        *self.sockets.get(&socket).ok_or("a datagram leaves by a socket that is closed")?;
                    self.events.push(Event::Asked(Asked { resolver, message, by: By::Udp(local) }));
                }
                Action::Close { socket } => {
                    let Socket { local, .. } = self.sockets.remove(&socket).ok_or("a socket is closed twice")?;
                    self.upstream.loops.closed(local);
                }
                Action::Fetch { flight, target, message, until } => {
                    let by = By::Tcp(self.streams.len());
                    self.streams.push(Some((flight, until)));
                    self.events.push(Event::Asked(Asked { resolver: target.address, message, by }));
                }
            }
        }
        let answered = std::mem::take(self.forwarder.answered());
        if answered.is_empty() {
            return Ok(());
        }
        for (Waiter { pending, query }, answer) in answered {
            let mut out = vec![0; 65_535];
            let reply = match self.responder.enter().finish(pending, &answer, self.now, &mut out) {
                Outcome::Forward(pending) => {
                    self.forward(pending, query);
                    continue;
                }
                Outcome::Reply(length) => Some(out[..length].to_vec()),
                Outcome::Drop => None,
            };
            self.events.push(Event::Replied(query, reply));
        }
        // What a query was asked again for is to be done, too.
        self.carry_out()
    }

    /// A stream has ended, with a reply or without.
    fn fetched(&mut self, stream: usize, message: Option<&[u8]>) -> Told<()> {
        if let Some((flight, _)) = self.streams[stream].take() {
            self.forwarder.fetched(flight, message, self.now);
        }
        self.carry_out()
    }

    /// Lets time pass until every address that has been checked is being checked again.
    fn wait_for_checks(&mut self) -> Told<()> {
        while !self.keeping.all_are_checked() {
            let due = self.keeping.next_tick().ok_or("nothing is to be checked")?;
            self.wait(due.saturating_duration_since(self.now))?;
        }
        Ok(())
    }
}

impl Stage for Core {
    fn ask(&mut self, query: &Query) -> Told<()> {
        let transport = if query.is_tcp() { Transport::Tcp } else { Transport::Udp };
        let mut out = vec![0; 65_535];
        let before = self.registry.totals();
        let outcome = self.responder.enter().respond(&query.packet, query.client, transport, self.now, &mut out);
        let done = match &outcome {
            Outcome::Drop => Done::Dropped,
            Outcome::Reply(length) => Done::Replied(&out[..*length]),
            Outcome::Forward(pending) => Done::Forwarded(pending),
        };
        let after = self.registry.totals();
        // An explanation is of a query that is not one too many.
        if after.limited == before.limited {
            let refused = after.refused > before.refused;
            as_explained(&self.policy.load_full(), &self.upstream, query, &done, refused, self.now)?;
        }
        match outcome {
            Outcome::Drop => self.events.push(Event::Replied(query.clone(), None)),
            Outcome::Reply(length) => {
                out.truncate(length);
                self.events.push(Event::Replied(query.clone(), Some(out)));
            }
            Outcome::Forward(pending) => {
                self.forward(pending, query.clone());
                self.carry_out()?;
            }
        }
        // Whoever reads the cache wakes the forwarder, if an answer is to be asked for again.
        self.forwarder.tick(self.now);
        self.carry_out()
    }

    fn comes_back(&mut self, asked: &Asked, what: Comes<'_>) -> Told<()> {
        let local = match asked.by {
            By::Udp(local) => local,
            By::Tcp(stream) => match what {
                Comes::Message(message) => return self.fetched(stream, Some(message)),
                Comes::Closed => return self.fetched(stream, None),
                Comes::Unreachable => return Err("a connection ends: closed".into()),
            },
        };
        // What comes to a socket that is closed already, nobody reads.
        let Some(socket) = self.sockets.iter().find(|(_, socket)| socket.local == local).map(|(number, _)| *number)
        else {
            return Ok(());
        };
        match what {
            Comes::Message(message) => self.forwarder.datagram(socket, message, self.now),
            Comes::Unreachable => self.forwarder.unreachable(socket, self.now),
            Comes::Closed => return Err("what was asked by a datagram is no connection".into()),
        }
        self.carry_out()
    }

    /// With all that becomes due on the way.
    fn wait(&mut self, time: Duration) -> Told<()> {
        let until = self.now + time;
        loop {
            let streams = self.streams.iter().flatten().map(|(_, until)| *until);
            let due = streams
                .chain(self.forwarder.next_tick(self.now))
                .chain(self.keeping.next_tick())
                .min()
                .filter(|due| *due <= until);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            let ended = |stream: &usize| self.streams[*stream].is_some_and(|(_, until)| until <= due);
            for stream in (0..self.streams.len()).filter(ended).collect::<Vec<_>>() {
                self.fetched(stream, None)?;
            }
            self.forwarder.tick(self.now);
            self.carry_out()?;
            self.keeping.tick(self.now);
        }
        self.now = until;
        Ok(())
    }

    fn reload(&mut self, config: &str) -> Told<()> {
        let config = configuration(config)?;
        self.upstream.configure(&config);
        let policy = Policy::new(&config);
        self.keeping.configure(&config, policy.endpoints(), self.now);
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    fn look_around(&mut self) -> Told<()> {
        self.forwarder.probe(&self.policy.load().resolvers(), self.now);
        self.carry_out()
    }

    /// All has happened already.
    fn events(&mut self, _patiently: bool) -> Told<Vec<Event>> {
        Ok(std::mem::take(&mut self.events))
    }

    fn own_socket(&self, towards: SocketAddr) -> Option<SocketAddr> {
        self.sockets.values().find(|socket| socket.resolver == towards).map(|socket| socket.local)
    }

    /// It is told when a query is dropped, so this one was not.
    fn is_dropped(&mut self, client: SocketAddr) -> Told<()> {
        Err(format!("the query of {client} was not dropped: it waits"))
    }

    fn within(&mut self, step: &Step) -> Told<()> {
        match step {
            Step { lookup: Some(lookup), finds, .. } => self.keeping.lookup(lookup, finds.as_deref(), self.now),
            Step { probe: Some(probe), connects, .. } => self.keeping.probe(probe, *connects, self.now),
            Step { log: Some(words), .. } => self.keeping.log(words),
            Step { learn_self: Some(own), .. } => {
                let own: IpAddr = own.parse().map_err(|_| format!("{own}: not an address"))?;
                self.policy.load().clients().learn_self(own);
                Ok(())
            }
            Step { wait: Some(_), .. } => self.wait_for_checks(),
            _ => Err("nothing to play within".into()),
        }
    }

    fn nothing_within(&self) -> Told<()> {
        self.keeping.nothing_new()
    }
}
