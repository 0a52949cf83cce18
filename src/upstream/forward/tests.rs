//! Whatever resolvers do: who asks is answered once and in time, and nothing is left when all is over.

use std::collections::HashMap;

use super::*;
use crate::config::tests::minimal;
use crate::upstream::flight::Flown;

/// How long each client waits.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Steps of one run; time passes in most.
const STEPS: u32 = 4_000;

/// The outside of a forwarder: clients, resolvers, sockets, time.
struct World {
    forwarder: Forwarder<u32>,
    upstream: Arc<Upstream>,
    random: StdRng,
    now: Instant,
    routes: Vec<Arc<Route>>,
    /// Open sockets, and what was asked by them.
    sockets: HashMap<usize, Vec<Vec<u8>>>,
    fetching: Vec<(Flown, Vec<u8>, Instant)>,
    /// Who waits, and until when.
    waiting: HashMap<u32, Instant>,
    asked: u32,
    packets: u32,
}

impl World {
    fn new(seed: u64, per_second: u32) -> Self {
        let mut config = minimal();
        config.upstream.packets_per_second = per_second;
        config.cache.bytes = 1 << 20;
        let upstream = Arc::new(Upstream::new(&config));
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 53));
        let route =
            |lasts: &[u8]| Route::new(lasts.iter().map(|last| address(*last).into()), &[address(2), address(3)]);
        let vpc = Arc::new(route(&[2, 3]));
        let routes = vec![Arc::new(route(&[2])), Arc::new(route(&[4, 5])), route(&[6]).or(&vpc).into(), vpc];
        Self {
            forwarder: Forwarder::new(Arc::clone(&upstream), [seed as u8; 32]),
            upstream,
            random: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            routes,
            sockets: HashMap::new(),
            fetching: Vec::new(),
            waiting: HashMap::new(),
            asked: 0,
            packets: 0,
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn ask(&mut self) {
        self.asked += 1;
        let name = format!("n{}.example", self.random.random_range(0..40)).parse().unwrap();
        let question = Question { name, kind: 1, dnssec_ok: false, checking_disabled: false };
        let route = Arc::clone(&self.routes[self.random.random_range(0..self.routes.len())]);
        let client = IpAddr::from([10, 1, 0, self.random.random_range(0..3)]);
        let deadline = self.now + TIMEOUT;
        self.waiting.insert(self.asked, deadline);
        self.forwarder.ask(Ask { question, route, deadline, client, waiter: self.asked }, self.now);
    }

    /// Some reply, good or bad, to one of the questions that were asked.
    fn reply(&mut self) {
        let Some(&socket) = self.sockets.keys().nth(self.random.random_range(0..self.sockets.len().max(1))) else {
            return;
        };
        let asked = &self.sockets[&socket];
        if asked.is_empty() {
            return;
        }
        let message = asked[self.random.random_range(0..asked.len())].clone();
        let reply = self.answer(message);
        self.forwarder.datagram(socket, &reply, self.now);
    }

    fn answer(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        (message[2], message[3]) = (0x81, 0x80);
        match self.random.random_range(0..12) {
            0 => message[3] |= 2,
            1 => message[3] |= 5,
            2 => message[3] |= 1,
            3 => message[2] |= 2,
            4 => message[0] ^= 0x55,
            5 => message[13] ^= 0x20,
            6 => message.truncate(40),
            _ => {
                message[7] = 1;
                message.truncate(message.len() - if message[11] > 0 { 11 } else { 0 });
                message[11] = 0;
                let ttl = [0, 0, 0, self.random.random_range(0..3)];
                message.extend([&b"\xc0\x0c\0\x01\0\x01"[..], &ttl, b"\0\x04\xc0\0\x02\x01"].concat());
            }
        }
        message
    }

    /// A stream ends, well or not.
    fn end_stream(&mut self) {
        if self.fetching.is_empty() {
            return;
        }
        let (flight, message, _) = self.fetching.swap_remove(self.random.random_range(0..self.fetching.len()));
        let reply = self.chance(60).then(|| self.answer(message));
        self.forwarder.fetched(flight, reply.as_deref(), self.now);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut turns = 0;
        while let Some(due) = self.next().filter(|due| *due <= until) {
            turns += 1;
            assert!(turns < 20_000, "the clock stands still: {:?}", self.forwarder);
            self.now = self.now.max(due);
            let now = self.now;
            let over: Vec<_> = self.fetching.extract_if(.., |(.., until)| *until <= now).collect();
            over.into_iter().for_each(|(flight, ..)| self.forwarder.fetched(flight, None, now));
            self.forwarder.tick(now);
            self.carry_out();
        }
        self.now = until;
    }

    fn next(&self) -> Option<Instant> {
        self.fetching.iter().map(|(.., until)| *until).chain(self.forwarder.next_tick(self.now)).min()
    }

    fn carry_out(&mut self) {
        for action in std::mem::take(self.forwarder.actions()) {
            match action {
                Action::Open { socket, .. } => assert!(self.sockets.insert(socket, Vec::new()).is_none()),
                Action::Close { socket } => assert!(self.sockets.remove(&socket).is_some()),
                Action::Send { socket, message } => {
                    self.packets += 1;
                    self.sockets.get_mut(&socket).expect("it is open").push(message);
                }
                Action::Fetch { flight, message, until, .. } => self.fetching.push((flight, message, until)),
            }
        }
        for (waiter, _) in std::mem::take(self.forwarder.answered()) {
            let deadline = self.waiting.remove(&waiter).expect("who waits is answered, and once");
            assert!(self.now <= deadline, "in time");
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.ask(),
            30..60 => self.reply(),
            60..65 => self.end_stream(),
            65 => {
                if let Some(&socket) = self.sockets.keys().next() {
                    self.forwarder.unreachable(socket, self.now);
                }
            }
            66 => self.wait(Duration::from_secs(2)),
            _ => {
                let time = self.random.random_range(1..30);
                self.wait(Duration::from_millis(time));
            }
        }
        self.carry_out();
    }
}

#[test]
fn who_asks_is_answered_once_and_in_time_and_nothing_is_left() {
    for seed in 0..24 {
        let mut world = World::new(seed, [0, 900, 20][seed as usize % 3]);
        (0..STEPS).for_each(|_| world.step());
        assert!(world.asked > 1000 && world.packets > 500, "seed {seed}: {} {}", world.asked, world.packets);
        world.wait(TIMEOUT);
        assert_eq!((world.waiting.len(), world.forwarder.line.len()), (0, 0), "seed {seed}: all are answered");
        world.wait(Duration::from_secs(30));
        let left: Vec<_> = world.forwarder.flights.iter().collect();
        assert!(left.is_empty(), "seed {seed}: {left:?}");
        assert!(world.forwarder.index.is_empty() && world.sockets.is_empty() && world.forwarder.line.is_clear());
        assert_eq!(world.forwarder.next_tick(world.now), None, "seed {seed}");
        assert_eq!(world.upstream.waiting(), 0);
    }
}
