//! The load: a closed loop that keeps a fixed number of queries outstanding and checks every reply.
//!
//! It must outrun the echo, or it would be what is measured: sockets are connected (the kernel looks the route up
//! once), packets are made beforehand, nothing is allocated while the clock runs.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};

use crate::questions::{Expected, Query, Questions};

/// Client sockets.
const LANES: u8 = 4;

/// Queries outstanding on each; small enough that all of them fit the kernel's default receive buffer.
const WINDOW: usize = 64;

/// A query unanswered for so long is lost, and another takes its place.
const PATIENCE: Duration = Duration::from_millis(500);

/// Load before the measured part of a round, so that the window is full when it begins.
const RAMP: Duration = Duration::from_millis(20);

/// What the generator does while every reply is still to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Asks again at once: the core is its own, and the server never pays for waking it.
    Spin,
    /// Sleeps until a reply comes: it shares its core with the resolver.
    Sleep,
}

/// The measured part of one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Right replies.
    pub replies: u64,
    /// Queries that were never answered, from the first of the round to its last.
    pub lost: u64,
    /// Replies with the wrong content, or to no query outstanding.
    pub wrong: u64,
    /// How long it took.
    pub wall: Duration,
    /// CPU time the server used meanwhile, where it is known.
    pub cpu: Option<Duration>,
}

/// Client sockets and what is outstanding on them.
pub struct Generator {
    lanes: Vec<Lane>,
    questions: Questions,
    expected: Expected,
    idle: Idle,
}

impl Generator {
    /// Asks `target` from private clients. Errors when a socket cannot be opened.
    pub fn new(target: SocketAddr, questions: Questions, expected: Expected, idle: Idle) -> io::Result<Generator> {
        let lanes = (1..=LANES).map(|lane| Lane::new(client(lane), target)).collect::<io::Result<_>>()?;
        Ok(Generator { lanes, questions, expected, idle })
    }

    /// One round: ramp, the measured `time`, then waits for what is outstanding. `cpu` reads the server's clock.
    pub fn round(&mut self, time: Duration, cpu: impl Fn() -> Option<Duration>) -> io::Result<Round> {
        let mut round = Round::default();
        self.run(RAMP, &mut round)?;
        let (replies, begin, cpu_begin) = (round.replies, Instant::now(), cpu());
        self.run(time, &mut round)?;
        (round.wall, round.replies) = (begin.elapsed(), round.replies - replies);
        round.cpu = cpu().zip(cpu_begin).map(|(end, begin)| end.saturating_sub(begin));
        let mut after = Round::default();
        self.drain(&mut after)?;
        (round.lost, round.wrong) = (round.lost + after.lost, round.wrong + after.wrong);
        Ok(round)
    }

    fn run(&mut self, time: Duration, round: &mut Round) -> io::Result<()> {
        let begin = Instant::now();
        let mut looked = begin;
        loop {
            let now = Instant::now();
            if now - begin >= time {
                return Ok(());
            }
            if now - looked > PATIENCE / 10 {
                looked = now;
                self.lanes.iter_mut().for_each(|lane| lane.give_up(now, round));
            }
            let mut moved = false;
            for lane in &mut self.lanes {
                moved |= lane.receive(self.expected, round)?;
                moved |= lane.send(&mut self.questions, now)?;
            }
            if !moved && self.idle == Idle::Sleep {
                self.sleep()?;
            }
        }
    }

    /// Takes the replies still under way, so that the next round begins with none.
    fn drain(&mut self, round: &mut Round) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.lanes.iter().any(|lane| lane.free.len() < WINDOW) && Instant::now() < end {
            self.sleep()?;
            for lane in &mut self.lanes {
                lane.receive(self.expected, round)?;
            }
        }
        self.lanes.iter_mut().for_each(|lane| lane.give_up(end + PATIENCE, round));
        Ok(())
    }

    fn sleep(&self) -> io::Result<()> {
        let mut waiting: [_; LANES as usize] =
            std::array::from_fn(|lane| PollFd::new(self.lanes[lane].socket.as_fd(), PollFlags::POLLIN));
        match poll(&mut waiting, PollTimeout::from(10u8)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Address of private client number `lane`.
pub fn client(lane: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 1, lane), 0))
}

/// A query's place in the window.
#[derive(Clone, Copy)]
struct Slot {
    query: Query,
    /// The id it went out with, while its reply is awaited.
    id: Option<u16>,
    sent: Instant,
}

/// One client socket with its window. A query's id is its slot in the low bits and a counter above, so that a late
/// reply does not pass for the answer to the slot's next query.
struct Lane {
    socket: UdpSocket,
    slots: Vec<Slot>,
    free: Vec<usize>,
    turn: u16,
    buffers: Vec<[u8; 512]>,
    incoming: MultiHeaders<()>,
    outgoing: MultiHeaders<()>,
}

impl Lane {
    fn new(client: SocketAddr, target: SocketAddr) -> io::Result<Lane> {
        let socket = UdpSocket::bind(client)?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        Ok(Lane {
            socket,
            slots: vec![Slot { query: Query::default(), id: None, sent: Instant::now() }; WINDOW],
            free: (0..WINDOW).collect(),
            turn: 0,
            buffers: vec![[0; 512]; WINDOW],
            incoming: MultiHeaders::preallocate(WINDOW, None),
            outgoing: MultiHeaders::preallocate(WINDOW, None),
        })
    }

    /// Takes what has arrived and checks it. Whether anything had.
    fn receive(&mut self, expected: Expected, round: &mut Round) -> io::Result<bool> {
        if self.free.len() == WINDOW {
            return Ok(false);
        }
        let mut lengths = [0usize; WINDOW];
        let mut buffers = self.buffers.iter_mut();
        let mut slices: [_; WINDOW] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..]))]);
        match recvmmsg(self.socket.as_raw_fd(), &mut self.incoming, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(messages) => lengths.iter_mut().zip(messages).for_each(|(length, message)| *length = message.bytes),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        for (reply, &length) in self.buffers.iter().zip(&lengths).take_while(|&(_, &length)| length > 0) {
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let index = usize::from(id) % WINDOW;
            let slot = &mut self.slots[index];
            if slot.id != Some(id) {
                round.wrong += 1;
                continue;
            }
            slot.id = None;
            self.free.push(index);
            match expected.met_by(&slot.query, &reply[..length]) {
                true => round.replies += 1,
                false => round.wrong += 1,
            }
        }
        Ok(true)
    }

    /// Fills the window once a quarter of it is free: a system call for each reply would make this the slower side.
    fn send(&mut self, questions: &mut Questions, now: Instant) -> io::Result<bool> {
        if self.free.len() < WINDOW / 4 {
            return Ok(false);
        }
        for &index in &self.free {
            self.turn = self.turn.wrapping_add(WINDOW as u16);
            let id = self.turn | index as u16;
            let slot = &mut self.slots[index];
            slot.query = questions.next();
            slot.query.set_id(id);
            (slot.id, slot.sent) = (Some(id), now);
        }
        let mut slices = [[IoSlice::new(&[])]; WINDOW];
        for (slice, &index) in slices.iter_mut().zip(&self.free) {
            *slice = [IoSlice::new(self.slots[index].query.octets())];
        }
        let (slices, nowhere) = (&slices[..self.free.len()], [None; WINDOW]);
        match sendmmsg(self.socket.as_raw_fd(), &mut self.outgoing, slices, nowhere, [], MsgFlags::empty()) {
            // What the kernel did not take is given up like a lost one.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.free.clear();
        Ok(true)
    }

    /// Frees the places of queries sent longer ago than [`PATIENCE`].
    fn give_up(&mut self, now: Instant, round: &mut Round) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.id.is_some() && now.saturating_duration_since(slot.sent) >= PATIENCE {
                slot.id = None;
                self.free.push(index);
                round.lost += 1;
            }
        }
    }
}
