//! Which socket a question leaves from, and under which id: what a forged answer must guess (RFC 5452 sections 4 and
//! 9).
//!
//! A table only; the sockets themselves are [`super::exchange`]'s. Each is connected to one resolver from a port of the
//! kernel's choice. A question leaves from one at random, and none serves for long. The next is opened when a question
//! has left, so that none waits for that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use rand::RngExt;
use slab::Slab;

/// Sockets open to questions towards one resolver at a time: ports that a forger must guess among.
const SOCKETS_PER_RESOLVER: usize = 16;
/// Questions after which a socket takes no more. At the most that a core forwards, 16 sockets are new every 50 ms, and a
/// port cannot be found out that fast; who asks less has [`SOCKET_LIFE`]. With 64 questions, opening and closing was 4 %
/// of what a miss costs.
const QUESTIONS_PER_SOCKET: u32 = 256;
/// Sockets open at a time; from then on those that take questions take more of them, and for longer. A target that answers
/// few of a flood's questions leaves many retired sockets with something to await, and descriptors are for others too.
const MAX_SOCKETS: usize = 1536;
/// Replies that nobody awaits after which a socket takes no more: a late answer or two are nothing strange, but who
/// guesses at ids knows the port.
const STRAYS_PER_SOCKET: u32 = 4;
/// Age at which a socket takes no more.
const SOCKET_LIFE: Duration = Duration::from_secs(5);

/// Sockets towards resolvers, by number.
#[derive(Debug, Default)]
pub struct Pool {
    sockets: Slab<Socket>,
    /// The sockets of each resolver that take questions.
    open: HashMap<SocketAddr, Vec<usize>, RandomState>,
}

#[derive(Debug)]
struct Socket {
    resolver: SocketAddr,
    opened: Instant,
    /// Questions it has carried.
    asked: u32,
    /// Replies that nobody awaited.
    strays: u32,
    /// Ids whose answers are still to come, and the flight each belongs to.
    awaited: Vec<(u16, usize)>,
    /// It takes no more questions, and goes when nothing is awaited.
    retired: bool,
}

impl Socket {
    /// Whether it takes questions still, as far as its age goes.
    fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) < SOCKET_LIFE
    }
}

/// Where a question was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The socket's number.
    pub socket: usize,
    /// The message's id.
    pub id: u16,
    /// The socket is new: it must be opened.
    pub fresh: bool,
}

impl Pool {
    /// A place for a question of `flight` to `resolver`, on none of the sockets in `not`.
    pub fn place(
        &mut self,
        resolver: SocketAddr,
        flight: usize,
        not: &[usize],
        now: Instant,
        random: &mut impl RngExt,
    ) -> Place {
        let crowded = self.is_crowded();
        let Self { sockets, open } = self;
        let open = open.entry(resolver).or_default();
        let is_young = |number: &usize| crowded || sockets.get(*number).is_some_and(|it| it.is_young(now));
        let usable = |number: &usize| !not.contains(number) && is_young(number);
        let mut draw = |from: &[usize]| (!from.is_empty()).then(|| from[random.random_range(0..from.len())]);
        let drawn = draw(open).filter(usable).or_else(|| {
            // Old ones make room at once, or until the next sweep each question would have a socket of its own.
            open.retain(is_young);
            draw(&open.iter().copied().filter(usable).collect::<Vec<_>>())
        });
        let drawn = drawn.or_else(|| draw(open).filter(|_| crowded));
        let (number, fresh) = drawn.map_or_else(|| (self.open(resolver, now), true), |number| (number, false));
        let open = self.open.entry(resolver).or_default();
        let Some(socket) = self.sockets.get_mut(number) else { unreachable!("it was found or made just now") };
        let id = loop {
            let id = random.random();
            if socket.awaited.iter().all(|(awaited, _)| *awaited != id) {
                break id;
            }
        };
        socket.awaited.push((id, flight));
        socket.asked += 1;
        if socket.asked >= QUESTIONS_PER_SOCKET && !crowded {
            socket.retired = true;
            open.retain(|other| *other != number);
        }
        Place { socket: number, id, fresh }
    }

    /// A socket more towards this resolver, if there may be one; it is to be opened.
    pub fn refill(&mut self, resolver: SocketAddr, now: Instant) -> Option<usize> {
        let few = self.open.get(&resolver).is_none_or(|open| open.len() < SOCKETS_PER_RESOLVER);
        (few && !self.is_crowded()).then(|| self.open(resolver, now))
    }

    fn is_crowded(&self) -> bool {
        self.sockets.len() >= MAX_SOCKETS
    }

    fn open(&mut self, resolver: SocketAddr, now: Instant) -> usize {
        let socket = Socket { resolver, opened: now, asked: 0, strays: 0, awaited: Vec::new(), retired: false };
        let number = self.sockets.insert(socket);
        self.open.entry(resolver).or_default().push(number);
        number
    }

    /// The flight that awaits an answer with this id on this socket.
    pub fn awaiting(&self, socket: usize, id: u16) -> Option<usize> {
        let awaited = &self.sockets.get(socket)?.awaited;
        awaited.iter().find(|(awaited, _)| *awaited == id).map(|(_, flight)| *flight)
    }

    /// All flights that await something on this socket.
    pub fn flights(&self, socket: usize) -> Vec<usize> {
        let awaited = self.sockets.get(socket).map(|socket| &*socket.awaited).unwrap_or_default();
        awaited.iter().map(|(_, flight)| *flight).collect()
    }

    /// The resolver at the other end of this socket.
    pub fn resolver(&self, socket: usize) -> Option<SocketAddr> {
        self.sockets.get(socket).map(|socket| socket.resolver)
    }

    /// Nothing more is awaited under this id. Returns whether the socket is done with, and to be closed.
    #[must_use]
    pub fn release(&mut self, socket: usize, id: u16) -> bool {
        let Some(entry) = self.sockets.get_mut(socket) else { return false };
        entry.awaited.retain(|(awaited, _)| *awaited != id);
        let done = entry.retired && entry.awaited.is_empty();
        if done {
            self.sockets.remove(socket);
        }
        done
    }

    /// A reply came that nobody awaits.
    pub fn stray(&mut self, socket: usize) {
        let Some(entry) = self.sockets.get_mut(socket) else { return };
        entry.strays += 1;
        if entry.strays == STRAYS_PER_SOCKET {
            self.retire(socket);
        }
    }

    /// The socket takes no more questions, because it is old or of no use.
    pub fn retire(&mut self, socket: usize) {
        if let Some(entry) = self.sockets.get_mut(socket) {
            entry.retired = true;
            if let Some(open) = self.open.get_mut(&entry.resolver) {
                open.retain(|other| *other != socket);
            }
        }
    }

    /// Retires what is old; returns the sockets that are done with, and to be closed.
    pub fn sweep(&mut self, now: Instant) -> Vec<usize> {
        let crowded = self.is_crowded();
        let old = |socket: &Socket| {
            (socket.retired || !crowded) && now.saturating_duration_since(socket.opened) >= SOCKET_LIFE
        };
        let all: Vec<usize> = self.sockets.iter().filter(|(_, socket)| old(socket)).map(|(number, _)| number).collect();
        all.iter().for_each(|number| self.retire(*number));
        self.open.retain(|_, open| !open.is_empty());
        let done = |number: &usize| self.sockets.get(*number).is_some_and(|socket| socket.awaited.is_empty());
        let done: Vec<usize> = all.into_iter().filter(done).collect();
        done.iter().for_each(|number| drop(self.sockets.try_remove(*number)));
        done
    }

    /// Whether no socket is open.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn resolver() -> SocketAddr {
        "10.0.0.2:53".parse().unwrap()
    }

    #[test]
    fn a_socket_is_retired_after_its_questions_and_closed_when_they_are_answered() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(1), Instant::now());
        let mut asked: HashMap<usize, Vec<u16>> = HashMap::new();
        for flight in 0..10_000 {
            let place = pool.place(resolver(), flight, &[], now, &mut random);
            assert_eq!(place.fresh, !asked.contains_key(&place.socket));
            assert_eq!(pool.awaiting(place.socket, place.id), Some(flight));
            asked.entry(place.socket).or_default().push(place.id);
        }
        let most = QUESTIONS_PER_SOCKET as usize;
        assert!(asked.values().all(|ids| ids.len() <= most));
        assert!(asked.len() < 10_000 / most + 2 * SOCKETS_PER_RESOLVER, "no new socket for each question");
        let mut closed = 0;
        for (socket, ids) in &asked {
            let unique: HashSet<_> = ids.iter().collect();
            assert_eq!(unique.len(), ids.len());
            for (index, id) in ids.iter().enumerate() {
                let done = pool.release(*socket, *id);
                assert_eq!(done, ids.len() == most && index + 1 == most);
                closed += usize::from(done);
            }
        }
        assert_eq!(pool.sockets.len(), asked.len() - closed);
        assert_eq!(pool.sweep(now + SOCKET_LIFE).len(), asked.len() - closed);
        assert!(pool.is_empty());
    }

    #[test]
    fn questions_leave_from_many_sockets_and_wait_for_none_to_be_opened() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(5), Instant::now());
        let mut asked: HashMap<usize, u32> = HashMap::new();
        for flight in 0..10_000 {
            let place = pool.place(resolver(), flight, &[], now, &mut random);
            assert_eq!(place.fresh, flight == 0);
            *asked.entry(place.socket).or_default() += 1;
            let _ = pool.refill(resolver(), now);
            assert_eq!(pool.open[&resolver()].len(), (flight + 2).min(SOCKETS_PER_RESOLVER));
        }
        assert!(asked.values().all(|questions| *questions <= QUESTIONS_PER_SOCKET));
        assert_eq!(
            asked.values().filter(|questions| **questions == QUESTIONS_PER_SOCKET).count(),
            asked.len() - SOCKETS_PER_RESOLVER
        );
    }

    #[test]
    fn a_socket_that_hears_what_nobody_awaits_takes_no_more() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(6), Instant::now());
        let place = pool.place(resolver(), 1, &[], now, &mut random);
        for stray in 1..=STRAYS_PER_SOCKET {
            assert_eq!(pool.open[&resolver()].contains(&place.socket), stray <= STRAYS_PER_SOCKET);
            pool.stray(place.socket);
        }
        assert!(!pool.open[&resolver()].contains(&place.socket));
        assert!(pool.release(place.socket, place.id));
        pool.stray(place.socket);
    }

    #[test]
    fn a_question_is_repeated_on_another_socket() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(2), Instant::now());
        for flight in 0..200 {
            let first = pool.place(resolver(), flight, &[], now, &mut random);
            let second = pool.place(resolver(), flight, &[first.socket], now, &mut random);
            assert_ne!(first.socket, second.socket);
        }
    }

    #[test]
    fn sockets_that_grow_old_together_are_not_replaced_by_one_for_each_question() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(4), Instant::now());
        for flight in 0..100 {
            let _ = pool.place(resolver(), flight, &[], now, &mut random);
        }
        let before = pool.sockets.len();
        // The sweep comes later, as it does up to a second.
        for flight in 0..1000 {
            let _ = pool.place(resolver(), flight, &[], now + SOCKET_LIFE, &mut random);
        }
        assert!(
            pool.sockets.len() < before + 1000 / QUESTIONS_PER_SOCKET as usize + 2 * SOCKETS_PER_RESOLVER,
            "{}",
            pool.sockets.len()
        );
    }

    #[test]
    fn an_old_socket_takes_no_more_but_still_hears_its_answers() {
        let (mut pool, mut random, now) = (Pool::default(), StdRng::seed_from_u64(3), Instant::now());
        let place = pool.place(resolver(), 7, &[], now, &mut random);
        let later = now + SOCKET_LIFE;
        for flight in 0..60 {
            assert_ne!(pool.place(resolver(), flight, &[], later, &mut random).socket, place.socket);
        }
        assert_eq!(pool.sweep(later), [] as [usize; 0]);
        assert_eq!(pool.awaiting(place.socket, place.id), Some(7));
        assert!(pool.release(place.socket, place.id));
    }
}
