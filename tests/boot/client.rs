//! Clients of the machine: one that asks every so often and notes when it was answered, and the load bench's that asks
//! 20,000 times a second.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::machine::PUBLIC;
use crate::paced::Paced;
use crate::questions::{Client, Expected, Query, Questions, Work};
use crate::statistics::LOST;

/// How long a reply may take, as that of most stub resolvers.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one query.
struct Asked {
    query: Query,
    at: Duration,
    answered: Option<Duration>,
}

/// What became of all queries of a client that asked every so often.
#[derive(Default)]
pub struct Watch {
    asked: Vec<Asked>,
    /// Replies that were not the endpoint's address, ...
    pub wrong: usize,
    /// ... and, of these, those with a bucket's public address.
    pub public: usize,
}

/// Asks `server` for a bucket every `pause` while `going`, from one socket, and then waits for what is still to come.
pub fn watch(server: SocketAddr, pause: Duration, going: &AtomicBool) -> Watch {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    // Many replies may come at once. What the kernel then drops is to be the server's alone.
    setsockopt(&socket, RcvBufForce, &(8 << 20)).unwrap();
    let mut questions = Questions::buckets();
    let mut watch = Watch::default();
    let begin = Instant::now();
    let mut last = begin;
    loop {
        let now = begin.elapsed();
        let asks = going.load(Ordering::Relaxed);
        if !asks && (watch.is_complete() || last.elapsed() > PATIENCE) {
            return watch;
        }
        if asks && now >= pause * watch.asked.len() as u32 {
            let mut query = questions.next();
            query.set_id(watch.asked.len() as u16);
            // Nobody at the door is a loss like any other.
            let _ = socket.send_to(query.octets(), server);
            watch.asked.push(Asked { query, at: now, answered: None });
            last = Instant::now();
        }
        let mut reply = [0; 512];
        while let Ok(length) = socket.recv(&mut reply) {
            watch.take(&reply[..length], begin.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

impl Watch {
    fn is_complete(&self) -> bool {
        self.asked.iter().all(|asked| asked.answered.is_some())
    }

    fn take(&mut self, reply: &[u8], now: Duration) {
        let id = reply.first_chunk().map(|id| usize::from(u16::from_be_bytes(*id)));
        match id.and_then(|id| self.asked.get_mut(id)) {
            Some(asked) if Expected::PRIVATE.met_by(&asked.query, reply) => {
                asked.answered.get_or_insert(now);
            }
            Some(asked) => {
                self.wrong += 1;
                let public = Expected::Address(PUBLIC.parse().expect("an address"));
                self.public += usize::from(public.met_by(&asked.query, reply));
            }
            None => self.wrong += 1,
        }
    }

    /// Queries.
    pub fn sent(&self) -> usize {
        self.asked.len()
    }

    /// Those with the right reply.
    pub fn answered(&self) -> usize {
        self.asked.iter().filter(|asked| asked.answered.is_some()).count()
    }

    /// The longest time in which no reply came, with queries under way.
    pub fn gap(&self) -> Duration {
        let mut times: Vec<Duration> = self.asked.iter().filter_map(|asked| asked.answered).collect();
        times.sort_unstable();
        let pairs = times.iter().zip(times.iter().skip(1));
        pairs.map(|(one, next)| next.saturating_sub(*one)).max().unwrap_or(Duration::MAX)
    }

    /// The longest that an answered query waited.
    pub fn longest_wait(&self) -> Duration {
        let waits = self.asked.iter().filter_map(|asked| Some(asked.answered?.saturating_sub(asked.at)));
        waits.max().unwrap_or_default()
    }
}

/// What became of 20,000 queries a second.
#[derive(Debug, Clone, Copy)]
pub struct Loaded {
    pub sent: usize,
    /// Without a right reply within the bench's patience.
    pub lost: usize,
    /// Datagrams that the kernel dropped meanwhile for want of room, at the server or at the client.
    pub dropped: u64,
}

/// Loads `server` for so many seconds.
pub fn load(server: SocketAddr, seconds: u64) -> io::Result<Loaded> {
    let work = Work { client: Client::Private, questions: Questions::buckets(), expected: Expected::PRIVATE };
    let mut paced = Paced::new(server, work, Duration::from_secs(1))?;
    let before = dropped();
    let mut loaded = Loaded { sent: 0, lost: 0, dropped: 0 };
    for _ in 0..seconds {
        let took = paced.round()?;
        loaded.sent += took.len();
        loaded.lost += took.iter().filter(|took| **took == LOST).count();
    }
    loaded.dropped = dropped() - before;
    Ok(loaded)
}

/// Datagrams that the kernel has dropped in this network for want of room.
pub fn dropped() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let value = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RcvbufErrors");
    value.expect("Linux counts them").1.parse().unwrap()
}
