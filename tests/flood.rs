//! One client that asks for names that nobody has, each once: what it costs the others, and what it leaves of the cache.
//!
//! The real responder, cache, limits and forwarder on a clock of their own, so that what is measured is what they decide and
//! not what else the machine does.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use phzd::config::Config;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::{Action, Ask, Forwarder};
use phzd::wire::Transport;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::resolvers::query;

const CONFIG: &str = r#"
    [vpc]
    region = "ap-northeast-1"
    cidrs = ["172.31.0.0/16"]
    [cache]
    size-mb = 1
"#;

/// Names that the other clients ask for again and again; one query in ten is for a name that is new.
const POPULAR: u32 = 50;
/// How long each of the two times lasts.
const LASTS: Duration = Duration::from_secs(5);
/// Queries of the flood in each millisecond: more than a client may ask.
const FLOOD: u32 = 14;

/// A query that waits.
struct Waiter {
    pending: Pending,
    since: Instant,
}

/// phzd, its clients and its resolver.
struct World {
    now: Instant,
    responder: Responder,
    forwarder: Forwarder<Waiter>,
    registry: Registry,
    random: StdRng,
    /// What the resolver is going to say: when, on which socket.
    replies: BinaryHeap<Reverse<(Instant, usize, Vec<u8>)>>,
    /// What the others got, and how long that took.
    got: Vec<(Duration, u8)>,
    serial: u32,
    /// The resolver says nothing.
    silent: bool,
    fails: bool,
    /// And nobody is there to say anything.
    refuses: bool,
    policy: Arc<ArcSwap<Policy>>,
    /// Sockets towards it.
    open: BTreeSet<usize>,
}

impl World {
    fn new() -> Self {
        let (config, _) = Config::parse("phzd.toml", CONFIG).unwrap();
        let upstream = Arc::new(Upstream::new(&config));
        let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
        let registry = Registry::default();
        let kept = Arc::clone(&policy);
        Self {
            now: Instant::now(),
            responder: Responder::new(policy, Arc::clone(&upstream), registry.clone()),
            forwarder: Forwarder::new(upstream, [7; 32]),
            registry,
            random: StdRng::seed_from_u64(7),
            replies: BinaryHeap::new(),
            got: Vec::new(),
            serial: 0,
            silent: false,
            fails: false,
            refuses: false,
            policy: kept,
            open: BTreeSet::new(),
        }
    }

    /// A client asks for a name.
    fn ask(&mut self, client: SocketAddr, name: &str) {
        let mut out = [0; 1232];
        let outcome = self.responder.enter().respond(&query(name), client, Transport::Udp, self.now, &mut out);
        match outcome {
            Outcome::Reply(_) => self.get(client, self.now, out[3] & 15),
            Outcome::Drop => {}
            Outcome::Forward(pending) => {
                let (question, route) = (pending.question.clone(), Arc::clone(&pending.route));
                let (deadline, client) = (pending.deadline, client.ip());
                let waiter = Waiter { pending, since: self.now };
                self.forwarder.ask(Ask { question, route, deadline, client, waiter }, self.now);
                self.carry_out();
            }
        }
    }

    /// A client has its reply.
    fn get(&mut self, client: SocketAddr, since: Instant, code: u8) {
        if client != flooder() {
            self.got.push((self.now.saturating_duration_since(since), code));
        }
    }

    /// The resolver takes two milliseconds, and thirty for one question in ten. What begins with `r` it does not know.
    fn carry_out(&mut self) {
        for action in std::mem::take(self.forwarder.actions()) {
            let (socket, mut message) = match action {
                Action::Send { socket, message } => (socket, message),
                Action::Open { socket, .. } => {
                    assert!(self.open.insert(socket));
                    continue;
                }
                Action::Close { socket } => {
                    assert!(self.open.remove(&socket));
                    continue;
                }
                Action::Fetch { .. } => continue,
            };
            if self.silent {
                if self.fails {
                    message.truncate(message.len() - 11);
                    (message[2], message[3], message[11]) = (0x81, 0x82, 0);
                    self.replies.push(Reverse((self.now + Duration::from_micros(300), socket, message)));
                } else if self.refuses {
                    self.replies.push(Reverse((self.now + Duration::from_micros(100), socket, Vec::new())));
                }
                continue;
            }
            let takes = if self.random.random_range(0..10) == 0 { 30 } else { 2 };
            message.truncate(message.len() - 11);
            let unknown = message[13].eq_ignore_ascii_case(&b'r');
            (message[2], message[3], message[11]) = (0x81, if unknown { 0x83 } else { 0x80 }, 0);
            if unknown {
                message[9] = 1;
                message.extend(b"\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0");
                message.extend([1_u32, 2, 3, 4, 60].map(u32::to_be_bytes).concat());
            } else {
                message[7] = 1;
                message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01");
            }
            self.replies.push(Reverse((self.now + Duration::from_millis(takes), socket, message)));
        }
        for (Waiter { pending, since }, hit) in std::mem::take(self.forwarder.answered()) {
            let (client, mut out) = (pending.client(), [0; 1232]);
            let outcome = self.responder.enter().finish(pending, &hit, self.now, &mut out);
            assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
            self.get(client, since, out[3] & 15);
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let reply = self.replies.peek().map(|Reverse((due, ..))| *due);
            let due = reply.into_iter().chain(self.forwarder.next_tick(self.now)).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            if reply.is_some_and(|reply| reply <= self.now)
                && let Some(Reverse((_, socket, message))) = self.replies.pop()
            {
                if message.is_empty() {
                    self.forwarder.unreachable(socket, self.now);
                } else {
                    self.forwarder.datagram(socket, &message, self.now);
                }
            }
            self.forwarder.tick(self.now);
            self.carry_out();
        }
        self.now = until;
    }

    /// Others ask for a while, beside so many queries of the flood in each millisecond; returns how long those of them waited
    /// for whom the resolver was asked: the median, and the p99.
    fn pass(&mut self, flood: u32) -> [Duration; 2] {
        self.got.clear();
        for millisecond in 0..LASTS.as_millis() {
            for _ in 0..flood {
                self.serial += 1;
                self.ask(flooder(), &format!("r{}.flood.example", self.serial));
            }
            if millisecond % 2 == 0 {
                let client = SocketAddr::from(([172, 31, 1, self.random.random_range(10..30)], 4242));
                self.serial += 1;
                let name = match self.random.random_range(0..10) {
                    0 => format!("new{}.example", self.serial),
                    _ => format!("popular{}.example", self.random.random_range(0..POPULAR)),
                };
                self.ask(client, &name);
            }
            self.wait(Duration::from_millis(1));
        }
        self.wait(Duration::from_secs(5));
        assert_eq!(self.got.len(), LASTS.as_millis() as usize / 2, "everybody else has a reply");
        assert!(self.got.iter().all(|(_, code)| *code == 0), "and a good one");
        let mut waited: Vec<_> = self.got.iter().map(|(took, _)| *took).filter(|took| !took.is_zero()).collect();
        waited.sort_unstable();
        assert!(waited.len() > 200, "only {} waited", waited.len());
        [50, 99].map(|percent| waited[waited.len() * percent / 100])
    }
}

fn flooder() -> SocketAddr {
    ([172, 31, 1, 200], 4242).into()
}

#[test]
fn a_flood_of_random_names_costs_others_little_and_leaves_the_popular_in_the_cache() {
    let mut world = World::new();
    world.pass(0);
    let quiet = world.pass(0);
    let flooded = world.pass(FLOOD);
    println!("median and p99 of the others: {quiet:?}, and {flooded:?} beside the flood");
    assert!(flooded[1] <= 2 * quiet[1], "{quiet:?}, and {flooded:?} beside the flood");
    let totals = world.registry.totals();
    assert!(totals.limited > 5_000 && totals.forwarded > 40_000, "a flood it was: {totals:?}");
    let hits = totals.hits;
    (0..POPULAR).for_each(|number| world.ask(([172, 31, 1, 9], 1024).into(), &format!("popular{number}.example")));
    assert_eq!(world.registry.totals().hits - hits, u64::from(POPULAR), "all of them are still there");
}

/// Names that are asked for without a pause keep their questions under way, and with them the sockets that their answers may
/// still come by: while nobody answers, and not when somebody does again.
#[test]
fn outages_leave_no_sockets_behind() {
    let mut world = World::new();
    let mut left = Vec::new();
    for round in 0..10 {
        world.refuses = round % 3 == 0;
        world.fails = round % 3 == 2;
        // With a reload every few seconds, after which questions have other routes.
        for (silent, seconds) in [(true, 10), (false, 12)] {
            world.silent = silent;
            for tick in 0..seconds * 100 {
                if tick % 500 == 0 {
                    let (config, _) = Config::parse("phzd.toml", CONFIG).unwrap();
                    world.policy.store(Arc::new(Policy::new(&config)));
                    let resolvers = world.policy.load().resolvers();
                    world.forwarder.probe(&resolvers, world.now);
                    world.carry_out();
                }
                let client = SocketAddr::from(([172, 31, 1, world.random.random_range(10..30)], 4242));
                world.serial += 1;
                let fresh = format!("new{}.example", world.serial);
                world.ask(client, &fresh);
                world.ask(client, &format!("r{}.example", tick % 100));
                world.wait(Duration::from_millis(10));
            }
        }
        left.push(world.open.len());
    }
    println!("sockets after each of the outages: {left:?}");
    assert!(left.iter().all(|sockets| *sockets <= 40), "{left:?}");
}
