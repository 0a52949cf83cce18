//! Plays a scenario: the outside of phzd in one value. Clients, resolvers, sockets and time are here; what is between
//! is real.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::Edns;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Ask, Flown, Forwarder};
use phzd::wire::Transport;

use super::echo::{Query, echoed};
use super::endpoints::Keeping;
use super::file::{Scenario, Step, address, configuration, duration};
use super::notation::{Asking, Seen, Told, Written, bytes, indent, question};

/// The port of a client whose port is not written.
const CLIENT_PORT: u16 = 40_000;
/// The port of a resolver whose port is not written.
const RESOLVER_PORT: u16 = 53;

/// Plays the scenario in `text`; says which step went otherwise, and how.
pub fn play(text: &str) -> Told<()> {
    played(text).map(drop)
}

/// The same; returns every query with the reply it got, if any.
pub fn played(text: &str) -> Told<Vec<(Query, Option<Vec<u8>>)>> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut player = Player::new(&scenario.config).map_err(|told| format!("config:\n{told}"))?;
    for (number, step) in (1..).zip(&scenario.steps) {
        let line = 1 + text[..step.span().start].matches('\n').count();
        player.step(step.get_ref()).map_err(|told| format!("step {number} (line {line}): {told}"))?;
    }
    player.finish().map_err(|told| format!("at the end: {told}"))?;
    Ok(player.replies)
}

struct Player {
    now: Instant,
    policy: Arc<ArcSwap<Policy>>,
    upstream: Arc<Upstream>,
    responder: Responder,
    forwarder: Forwarder<Waiter>,
    keeping: Keeping,
    /// Open sockets towards resolvers, by phzd's number: resolver and local address.
    sockets: HashMap<usize, (SocketAddr, SocketAddr)>,
    next_port: u16,
    next_id: u16,
    /// All that resolvers were asked, in order, and how much of it the scenario has mentioned.
    asked: Vec<Asked>,
    mentioned: usize,
    /// What waiting clients got, until the scenario mentions it.
    delivered: Vec<Delivered>,
    /// All that clients got, mentioned or not.
    replies: Vec<(Query, Option<Vec<u8>>)>,
    waiting: Vec<SocketAddr>,
    /// What `PROBE`, `PROBE2` and so on stand for.
    probes: HashMap<String, String>,
}

/// A client that waits, and its query.
struct Waiter {
    pending: Pending,
    query: Query,
}

/// A reply on its way to a client; none where the query was dropped.
struct Delivered {
    query: Query,
    reply: Option<Vec<u8>>,
}

/// A question that a resolver was asked.
struct Asked {
    resolver: SocketAddr,
    message: Vec<u8>,
    by: By,
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Udp(usize),
    Tcp(Flown, Instant),
    /// Over a connection that has ended.
    Closed,
}

impl Player {
    fn new(config: &str) -> Told<Self> {
        let config = configuration(config)?;
        let now = Instant::now();
        let policy = Policy::new(&config);
        let keeping = Keeping::new(&config, policy.endpoints(), now);
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let upstream = Arc::new(Upstream::new(&config));
        Ok(Self {
            now,
            responder: Responder::new(Arc::clone(&policy), Arc::clone(&upstream), Registry::default()),
            forwarder: Forwarder::new(Arc::clone(&upstream), [7; 32]),
            keeping,
            policy,
            upstream,
            sockets: HashMap::new(),
            next_port: 20_000,
            next_id: 0x1000,
            asked: Vec::new(),
            mentioned: 0,
            delivered: Vec::new(),
            replies: Vec::new(),
            waiting: Vec::new(),
            probes: HashMap::new(),
        })
    }

    fn step(&mut self, step: &Step) -> Told<()> {
        if step.to.is_none() {
            self.nothing_delivered()?;
        }
        match step {
            Step { from: Some(from), times: Some(times), .. } => self.client_again(from, step, *times),
            Step { from: Some(from), .. } => self.client(from, step).map(drop),
            Step { resolver: Some(resolver), .. } => self.resolver(resolver, step, None),
            Step { to: Some(to), reply: Some(reply), .. } => {
                let client = address(to, CLIENT_PORT)?;
                (0..step.times.unwrap_or(1)).try_for_each(|_| self.reply(client, reply).map(drop))
            }
            Step { wait: Some(wait), .. } => {
                self.nothing_asked()?;
                if wait == "next checks" { self.wait_for_checks() } else { self.wait(duration(wait)?) }
            }
            Step { reload: Some(reload), .. } => {
                let config = configuration(reload)?;
                self.upstream.configure(&config);
                let policy = Policy::new(&config);
                self.keeping.configure(&config, policy.endpoints(), self.now);
                self.policy.store(Arc::new(policy));
                if step.look_around.unwrap_or(false) { self.look_around() } else { Ok(()) }
            }
            Step { lookup: Some(lookup), finds, .. } => self.keeping.lookup(lookup, finds.as_deref(), self.now),
            Step { probe: Some(probe), connects, .. } => self.keeping.probe(probe, *connects, self.now),
            Step { log: Some(words), .. } => self.keeping.log(words),
            Step { learn_self: Some(own), .. } => {
                let own: IpAddr = own.parse().map_err(|_| format!("{own}: not an address"))?;
                self.policy.load().clients().learn_self(own);
                Ok(())
            }
            Step { look_around: Some(true), .. } => self.look_around(),
            _ => Err("a step has `from`, `resolver`, `to` and `reply`, `wait`, `reload`, `lookup`, `probe`, `log`, \
                 `learn-self` or `look-around`"
                .into()),
        }
    }

    fn finish(&self) -> Told<()> {
        self.nothing_delivered()?;
        self.nothing_asked()?;
        match self.waiting.first() {
            Some(client) => Err(format!("{client} still waits for its reply")),
            None => Ok(()),
        }
    }

    /// A client's query, again and again. Each address must be first in its turn.
    fn client_again(&mut self, from: &str, step: &Step, times: usize) -> Told<()> {
        let turns = step.reply.as_ref().map_or(Ok(0), |reply| reply.parse().map(|written: Written| written.turns()))?;
        let mut first = vec![false; turns];
        for _ in 0..times {
            let turn = self.client(from, step)?;
            first.iter_mut().skip(turn).take(1).for_each(|seen| *seen = true);
        }
        let never = first.iter().position(|seen| !seen);
        never.map_or(Ok(()), |never| Err(format!("in {times} replies address {} was never the first", never + 1)))
    }

    /// A client's query, and what comes of it in this step; returns which of its reply's addresses is first.
    fn client(&mut self, from: &str, step: &Step) -> Told<usize> {
        self.nothing_asked()?;
        let client = self.client_address(from)?;
        let (packet, asking) = match (&step.ask, &step.packet) {
            (Some(ask), None) => {
                let (name, rest) = ask.split_once(' ').unwrap_or((ask, ""));
                let name = self.probes.get(name).map_or(name, String::as_str);
                let asking: Asking = format!("{name} {rest}").parse()?;
                self.next_id += 1;
                (asking.packet(asking.id.unwrap_or(self.next_id)), Some(asking))
            }
            (None, Some(packet)) => (bytes(packet, &[])?, None),
            _ => return Err("a client's step has `ask` or `packet`".into()),
        };
        let transport = if asking.as_ref().is_some_and(|asking| asking.tcp) { Transport::Tcp } else { Transport::Udp };
        let query = Query { client, packet, asking };
        let mut out = vec![0; 65_535];
        match self.responder.enter().respond(&query.packet, client, transport, self.now, &mut out) {
            Outcome::Drop => self.deliver(query.clone(), None),
            Outcome::Reply(length) => {
                out.truncate(length);
                self.deliver(query.clone(), Some(out));
            }
            Outcome::Forward(pending) => {
                self.waiting.push(client);
                self.forward(pending, query.clone());
                self.carry_out()?;
            }
        }
        // Whoever reads the cache wakes the forwarder, if an answer is to be asked for again.
        self.forwarder.tick(self.now);
        self.carry_out()?;
        if let Some(resolver) = &step.resolver {
            self.resolver(resolver, step, query.asking.as_ref())?;
        }
        match &step.reply {
            Some(reply) => self.reply(client, reply),
            None => match self.delivered.iter().find(|delivered| delivered.query.client == client) {
                None => Ok(0),
                Some(Delivered { reply: Some(reply), .. }) => {
                    let seen = Seen::read(reply)?;
                    Err(format!("a reply came that this step does not mention: {:?}", seen.message))
                }
                Some(_) => Err("the query was dropped; if that is right, say reply = \"none\"".into()),
            },
        }
    }

    /// What a resolver is asked and says. `default` is the question where the step does not say it.
    fn resolver(&mut self, resolver: &str, step: &Step, default: Option<&Asking>) -> Told<()> {
        let resolver = address(resolver, RESOLVER_PORT)?;
        if let Some(expected) = step.asked.clone().or_else(|| default.map(Asking::upstream)) {
            self.mention(resolver, &expected)?;
        }
        let mut questions = (0..self.mentioned).filter(|index| self.asked[*index].resolver == resolver);
        let question = match step.to_question {
            Some(number) => questions.nth(number - 1),
            None => questions.next_back(),
        };
        let index = question.ok_or_else(|| format!("{resolver} was asked nothing that it could answer"))?;
        match (&step.says, &step.sends) {
            (None, None) => Ok(()),
            (Some(says), None) => self.says(index, says),
            (None, Some(sends)) => {
                let message = &self.asked[index].message;
                let opt = if message[11] > 0 { 11 } else { 0 };
                let known = [("ID", &message[..2]), ("QUESTION", &message[12..message.len() - opt])];
                let sent = bytes(sends, &known)?;
                self.arrives(index, Some(&sent))
            }
            (Some(_), Some(_)) => Err("a resolver `says` or `sends`, not both".into()),
        }
    }

    /// The next question sent upstream must be `expected`, to `resolver`, and well made.
    fn mention(&mut self, resolver: SocketAddr, expected: &str) -> Told<()> {
        let Some(asked) = self.asked.get(self.mentioned) else {
            return Err(format!("{resolver} was asked nothing; expected: {expected}"));
        };
        let (mut got, message) = question(&asked.message, matches!(asked.by, By::Tcp(..)))?;
        let (name, rest) = got.split_once(' ').unwrap_or_default();
        let (word, _) = expected.split_once(' ').unwrap_or_default();
        if word.starts_with("PROBE") && !self.probes.values().any(|probe| probe == name) {
            self.probes.insert(word.into(), name.into());
        }
        if let Some((word, _)) = self.probes.iter().find(|(_, probe)| *probe == name) {
            got = format!("{word} {rest}");
        }
        let again = expected.ends_with(" +again");
        let wanted: Vec<_> = expected.trim_end_matches(" +again").split_whitespace().collect();
        let wanted = wanted.join(" ").replacen(wanted[0], &folded(wanted[0]), 1);
        if asked.resolver != resolver || got != wanted {
            return Err(format!(
                "expected:\n    {resolver} is asked {wanted}\ngot:\n    {} is asked {got}",
                asked.resolver
            ));
        }
        let metadata = &message.metadata;
        let bare = |edns: &Edns| edns.max_payload() == 1232 && edns.options().options.is_empty();
        let bare = message.edns.as_ref().is_none_or(bare);
        if !(metadata.recursion_desired && metadata.authentic_data && bare) {
            return Err(format!(
                "a question sent upstream has RD, AD and an OPT of 1232 octets, no option: {message:?}"
            ));
        }
        if again {
            self.differs_from_earlier(resolver)?;
        }
        self.mentioned += 1;
        Ok(())
    }

    /// Whoever could guess the answer to an earlier question must guess anew (RFC 5452 section 9.2).
    fn differs_from_earlier(&self, resolver: SocketAddr) -> Told<()> {
        let asked = &self.asked[self.mentioned];
        let same = |earlier: &&Asked| earlier.message[12..] == asked.message[12..];
        let earlier: Vec<_> = self.asked[..self.mentioned].iter().filter(same).collect();
        if earlier.is_empty() {
            return Err(format!("{resolver} is asked this for the first time"));
        }
        let guessed =
            earlier.iter().any(|earlier| earlier.by == asked.by || earlier.message[..2] == asked.message[..2]);
        if guessed {
            Err(format!("{resolver} is asked again from the same socket or with the same id"))
        } else {
            Ok(())
        }
    }

    fn says(&mut self, index: usize, says: &str) -> Told<()> {
        match (says, self.asked[index].by) {
            ("nothing", _) => Ok(()),
            ("unreachable", By::Udp(socket)) => {
                self.forwarder.unreachable(socket, self.now);
                self.carry_out()
            }
            ("closed", By::Tcp(..)) => self.arrives(index, None),
            _ => {
                let written: Written = says.parse()?;
                let message = written.reply_to(&self.asked[index].message)?;
                self.arrives(index, Some(&message))
            }
        }
    }

    /// Something comes back for a question that a resolver was asked.
    fn arrives(&mut self, index: usize, message: Option<&[u8]>) -> Told<()> {
        match (self.asked[index].by, message) {
            // What comes to a socket that is closed already, nobody reads.
            (By::Udp(socket), Some(message)) if self.sockets.contains_key(&socket) => {
                self.forwarder.datagram(socket, message, self.now);
            }
            (By::Tcp(flight, _), message) => {
                self.asked[index].by = By::Closed;
                self.forwarder.fetched(flight, message, self.now);
            }
            _ => {}
        }
        self.carry_out()
    }

    /// The reply that `client` got must be `written`; returns which of its addresses is first.
    fn reply(&mut self, client: SocketAddr, written: &str) -> Told<usize> {
        let found = self.delivered.iter().position(|delivered| delivered.query.client == client);
        let Some(found) = found else { return Err(format!("no reply for {client}; expected:\n{}", indent(written))) };
        let Delivered { query, reply } = self.delivered.remove(found);
        match (reply, written) {
            (None, "none") => Ok(0),
            (None, _) => Err(format!("no reply, the query was dropped; expected:\n{}", indent(written))),
            (Some(reply), "none") => Err(format!("expected no reply, got: {:?}", Seen::read(&reply)?.message)),
            (Some(reply), _) => {
                let seen = Seen::read(&reply)?;
                echoed(&query, &seen)?;
                written.parse::<Written>()?.compare(seen)
            }
        }
    }

    /// Lets time pass, with all that becomes due on the way.
    fn wait(&mut self, time: Duration) -> Told<()> {
        let until = self.now + time;
        loop {
            let streams = self.asked.iter().filter_map(|asked| match asked.by {
                By::Tcp(_, until) => Some(until),
                _ => None,
            });
            let due = streams
                .chain(self.forwarder.next_tick(self.now))
                .chain(self.keeping.next_tick())
                .min()
                .filter(|due| *due <= until);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            let ended = |asked: &Asked| matches!(asked.by, By::Tcp(_, until) if until <= due);
            for index in (0..self.asked.len()).filter(|index| ended(&self.asked[*index])).collect::<Vec<_>>() {
                self.arrives(index, None)?;
            }
            self.forwarder.tick(self.now);
            self.carry_out()?;
            self.keeping.tick(self.now);
        }
        self.now = until;
        Ok(())
    }

    /// Lets time pass until every address that has been checked is being checked again.
    fn wait_for_checks(&mut self) -> Told<()> {
        while !self.keeping.all_are_checked() {
            let due = self.keeping.next_tick().ok_or("nothing is to be checked")?;
            self.wait(due.saturating_duration_since(self.now))?;
        }
        Ok(())
    }

    fn look_around(&mut self) -> Told<()> {
        self.probes.clear();
        let policy = self.policy.load_full();
        let mut resolvers: Vec<_> = policy.routes().flat_map(|route| route.addresses()).collect();
        resolvers.sort_unstable();
        resolvers.dedup();
        self.forwarder.probe(&resolvers, self.now);
        self.carry_out()
    }

    /// Does what the forwarder wants done, and takes its answers to the clients.
    fn carry_out(&mut self) -> Told<()> {
        for action in std::mem::take(self.forwarder.actions()) {
            match action {
                Action::Open { socket, resolver } => {
                    self.next_port += 1;
                    let local = SocketAddr::from(([172, 31, 1, 5], self.next_port));
                    self.upstream.loops.opened(local);
                    if self.sockets.insert(socket, (resolver, local)).is_some() {
                        return Err(format!("socket {socket} was opened twice"));
                    }
                }
                Action::Send { socket, message } => {
                    let (resolver, _) =
                        *self.sockets.get(&socket).ok_or("a datagram leaves by a socket that is closed")?;
                    self.asked.push(Asked { resolver, message, by: By::Udp(socket) });
                }
                Action::Close { socket } => {
                    let (_, local) = self.sockets.remove(&socket).ok_or("a socket is closed twice")?;
                    self.upstream.loops.closed(local);
                }
                Action::Fetch { flight, target, message, until } => {
                    self.asked.push(Asked { resolver: target.address, message, by: By::Tcp(flight, until) });
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
            let waiting = self.waiting.iter().position(|client| *client == query.client);
            self.waiting.remove(waiting.ok_or("a client got a reply that did not wait for one")?);
            self.deliver(query, reply);
        }
        // What a query was asked again for is to be done, too.
        self.carry_out()
    }

    /// A client gets its reply, or nothing.
    fn deliver(&mut self, query: Query, reply: Option<Vec<u8>>) {
        self.replies.push((query.clone(), reply.clone()));
        self.delivered.push(Delivered { query, reply });
    }

    /// The query waits for a resolver.
    fn forward(&mut self, pending: Pending, query: Query) {
        let (question, route, deadline) = (pending.question.clone(), Arc::clone(&pending.route), pending.deadline);
        let (client, waiter) = (query.client.ip(), Waiter { pending, query });
        self.forwarder.ask(Ask { question, route, deadline, client, waiter }, self.now);
    }

    /// `ADDRESS[:PORT]`, or one of phzd's own sockets.
    fn client_address(&self, from: &str) -> Told<SocketAddr> {
        match from.strip_prefix("our socket towards ") {
            Some(resolver) => {
                let resolver = address(resolver, RESOLVER_PORT)?;
                let own = self.sockets.values().find(|(towards, _)| *towards == resolver);
                own.map(|(_, local)| *local).ok_or_else(|| format!("no socket is open towards {resolver}"))
            }
            None => address(from, CLIENT_PORT),
        }
    }

    fn nothing_asked(&self) -> Told<()> {
        self.keeping.nothing_new()?;
        let Some(asked) = self.asked.get(self.mentioned) else { return Ok(()) };
        let (question, _) = question(&asked.message, matches!(asked.by, By::Tcp(..)))?;
        Err(format!("before this, {} was asked {question}, and no step mentions it", asked.resolver))
    }

    fn nothing_delivered(&self) -> Told<()> {
        let Some(Delivered { query, reply }) = self.delivered.first() else { return Ok(()) };
        let got = match reply {
            Some(reply) => format!("{:?}", Seen::read(reply)?.message),
            None => "no reply".into(),
        };
        Err(format!("before this, {} got what no step mentions: {got}", query.client))
    }
}

/// A name in lower case, unless it is the word that stands for one.
fn folded(name: &str) -> String {
    if name.starts_with("PROBE") || name == "." { name.into() } else { name.trim_end_matches('.').to_ascii_lowercase() }
}
