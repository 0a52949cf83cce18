//! Plays a scenario on a stage: does what clients and resolvers do, and checks that nothing happens but what is written.
//!
//! Whatever the stage, every reply and every question to a resolver is judged here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::Edns;

use super::core::Core;
use super::echo::{Query, echoed};
use super::file::{Scenario, Step, address, duration};
use super::notation::{Asking, Seen, Told, Written, bytes, indent, question};
use super::stage::{Asked, By, Comes, Event, Stage};

/// The port of a client whose port is not written.
const CLIENT_PORT: u16 = 40_000;
/// The port of a resolver whose port is not written.
pub const RESOLVER_PORT: u16 = 53;
/// What the names that resolvers are sent at random end in.
const PROBE: &str = ".loop-check.";

/// Every query with the reply it got, if any.
pub type Replies = Vec<(Query, Option<Vec<u8>>)>;

/// What of a scenario's circumstances is not written in it.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// At each start and reload phzd looks around, without a word of the scenario: each resolver is sent a random name,
    /// and says nothing. The scenario goes on so much later.
    pub looks_around: Option<Duration>,
    /// Each wait is so much longer than written.
    pub margin: Duration,
    /// Which steps are over later than that, and how much.
    pub late: Late,
    /// After how many steps it ends.
    pub steps: usize,
}

/// See [`Manner::late`].
#[derive(Debug, Clone, Copy)]
pub struct Late {
    /// From this step on, and up to that.
    pub steps: (usize, usize),
    pub by: Duration,
}

impl Manner {
    /// All is as written.
    pub const WRITTEN: Self = {
        let late = Late { steps: (0, 0), by: Duration::ZERO };
        Self { looks_around: None, margin: Duration::ZERO, late, steps: usize::MAX }
    };
}

/// Where a scenario went otherwise, and how.
#[derive(Debug)]
pub struct Otherwise {
    /// Steps that went as written.
    pub steps: usize,
    pub told: String,
}

/// Plays the scenario in `text` without network and without sleep; says which step went otherwise, and how.
pub fn play(text: &str) -> Told<()> {
    played(text).map(drop)
}

/// The same; returns what clients got.
pub fn played(text: &str) -> Told<Replies> {
    let scenario = Scenario::read(text)?;
    played_on(&mut Core::new(&scenario.config)?, &scenario, Manner::WRITTEN).map_err(|otherwise| otherwise.told)
}

/// Plays `scenario` on a stage that is set up for it.
pub fn played_on(stage: &mut impl Stage, scenario: &Scenario, manner: Manner) -> Result<Replies, Otherwise> {
    let mut player = Player::new(stage, manner);
    let failed = |steps, told| Otherwise { steps, told };
    player.look_around_unmentioned().map_err(|told| failed(0, format!("at the start: {told}")))?;
    for (done, step) in scenario.steps.iter().enumerate().take(manner.steps) {
        let played = player.step(step.get_ref()).and_then(|()| player.be_late(done));
        let place = || format!("step {} (line {})", done + 1, scenario.line(step));
        played.map_err(|told| failed(done, format!("{}: {told}", place())))?;
    }
    if manner.steps > scenario.steps.len() {
        player.finish().map_err(|told| failed(scenario.steps.len(), format!("at the end: {told}")))?;
    }
    Ok(player.replies)
}

struct Player<'a, S> {
    stage: &'a mut S,
    manner: Manner,
    next_id: u16,
    /// All that resolvers were asked, in order, and how much of it the scenario has mentioned.
    asked: Vec<Asked>,
    mentioned: usize,
    /// What waiting clients got, until the scenario mentions it; nothing where the query was dropped.
    delivered: Vec<(Query, Option<Vec<u8>>)>,
    /// All that clients got, mentioned or not.
    replies: Replies,
    waiting: Vec<SocketAddr>,
    /// What `PROBE`, `PROBE2` and so on stand for.
    probes: HashMap<String, String>,
}

impl<'a, S: Stage> Player<'a, S> {
    fn new(stage: &'a mut S, manner: Manner) -> Self {
        Self {
            stage,
            manner,
            next_id: 0x1000,
            asked: Vec::new(),
            mentioned: 0,
            delivered: Vec::new(),
            replies: Vec::new(),
            waiting: Vec::new(),
            probes: HashMap::new(),
        }
    }

    /// See [`Manner::looks_around`].
    fn look_around_unmentioned(&mut self) -> Told<()> {
        let Some(later) = self.manner.looks_around else { return Ok(()) };
        self.stage.look_around()?;
        self.catch_up(false)?;
        let is_probe = |asked: &Asked| question(&asked.message, false).is_ok_and(|(asked, _)| asked.contains(PROBE));
        let mentioned = self.mentioned;
        let mut places = 0..;
        self.asked.retain(|asked| places.next() < Some(mentioned) || !is_probe(asked));
        if !later.is_zero() {
            self.stage.wait(later)?;
        }
        self.catch_up(false)
    }

    /// A step takes its time, in this manner.
    fn be_late(&mut self, step: usize) -> Told<()> {
        let Late { steps: (from, until), by } = self.manner.late;
        if by.is_zero() || !(from..until).contains(&step) {
            return Ok(());
        }
        self.stage.wait(by)?;
        self.catch_up(false)
    }

    /// Takes in what the stage tells.
    fn catch_up(&mut self, patiently: bool) -> Told<()> {
        for event in self.stage.events(patiently)? {
            match event {
                Event::Asked(asked) => self.asked.push(asked),
                Event::Replied(query, reply) => {
                    let waiting = self.waiting.iter().position(|client| *client == query.client);
                    self.waiting.remove(waiting.ok_or("a client got a reply that did not wait for one")?);
                    self.replies.push((query.clone(), reply.clone()));
                    self.delivered.push((query, reply));
                }
            }
        }
        Ok(())
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
                match wait.as_str() {
                    "next checks" => self.stage.within(step)?,
                    wait => self.stage.wait(duration(wait)? + self.manner.margin)?,
                }
                self.catch_up(false)
            }
            Step { reload: Some(reload), look_around, .. } => {
                self.stage.reload(reload)?;
                if look_around.unwrap_or(false) { self.look_around() } else { self.look_around_unmentioned() }
            }
            Step { look_around: Some(true), .. } => self.look_around(),
            Step { lookup: None, probe: None, log: None, learn_self: None, .. } => {
                Err("a step has `from`, `resolver`, `to` and `reply`, `wait`, `reload`, `lookup`, `probe`, `log`, \
                     `learn-self` or `look-around`"
                    .into())
            }
            _ => self.stage.within(step),
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

    fn look_around(&mut self) -> Told<()> {
        self.probes.clear();
        self.stage.look_around()?;
        self.catch_up(false)
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
        let query = Query { client, packet, asking };
        self.waiting.push(client);
        self.stage.ask(&query)?;
        self.catch_up(false)?;
        if let Some(resolver) = &step.resolver {
            self.resolver(resolver, step, query.asking.as_ref())?;
        }
        match &step.reply {
            Some(reply) => self.reply(client, reply),
            None => match self.delivered.iter().find(|(query, _)| query.client == client) {
                None => Ok(0),
                Some((_, Some(reply))) => {
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
                self.comes_back(index, Comes::Message(&sent))
            }
            (Some(_), Some(_)) => Err("a resolver `says` or `sends`, not both".into()),
        }
    }

    /// The next question sent upstream must be `expected`, to `resolver`, and well made.
    fn mention(&mut self, resolver: SocketAddr, expected: &str) -> Told<()> {
        if self.asked.len() == self.mentioned {
            self.catch_up(true)?;
        }
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
        match says {
            "nothing" => Ok(()),
            "unreachable" => self.comes_back(index, Comes::Unreachable),
            "closed" => self.comes_back(index, Comes::Closed),
            _ => {
                let written: Written = says.parse()?;
                let message = written.reply_to(&self.asked[index].message)?;
                self.comes_back(index, Comes::Message(&message))
            }
        }
    }

    /// Something comes back for a question that a resolver was asked.
    fn comes_back(&mut self, index: usize, what: Comes<'_>) -> Told<()> {
        self.stage.comes_back(&self.asked[index], what)?;
        self.catch_up(false)
    }

    /// The reply that `client` got must be `written`; returns which of its addresses is first.
    fn reply(&mut self, client: SocketAddr, written: &str) -> Told<usize> {
        let to_client = |(query, _): &(Query, _)| query.client == client;
        if written != "none" && !self.delivered.iter().any(to_client) {
            self.catch_up(true)?;
        }
        let Some(found) = self.delivered.iter().position(to_client) else {
            if written == "none" {
                self.waiting.retain(|waiting| *waiting != client);
                return self.stage.is_dropped(client).map(|()| 0);
            }
            return Err(format!("no reply for {client}; expected:\n{}", indent(written)));
        };
        let (query, reply) = self.delivered.remove(found);
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

    /// `ADDRESS[:PORT]`, or one of phzd's own sockets.
    fn client_address(&self, from: &str) -> Told<SocketAddr> {
        match from.strip_prefix("our socket towards ") {
            Some(resolver) => {
                let resolver = address(resolver, RESOLVER_PORT)?;
                self.stage.own_socket(resolver).ok_or_else(|| format!("no socket is open towards {resolver}"))
            }
            None => address(from, CLIENT_PORT),
        }
    }

    fn nothing_asked(&self) -> Told<()> {
        self.stage.nothing_within()?;
        let Some(asked) = self.asked.get(self.mentioned) else { return Ok(()) };
        let (question, _) = question(&asked.message, matches!(asked.by, By::Tcp(..)))?;
        Err(format!("before this, {} was asked {question}, and no step mentions it", asked.resolver))
    }

    fn nothing_delivered(&self) -> Told<()> {
        let Some((query, reply)) = self.delivered.first() else { return Ok(()) };
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
