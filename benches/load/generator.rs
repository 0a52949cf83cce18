//! The load: a closed loop that keeps a fixed number of queries outstanding and checks every reply.
//!
//! It must outrun the echo, or it would be what is measured: sockets are connected (the kernel looks the route up
//! once), packets are made beforehand, nothing is allocated while the clock runs.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};

use crate::questions::{Expected, Work};
use crate::window::{Core, PATIENCE, Round, Window};

/// Client sockets.
const LANES: u8 = 3;

/// Queries outstanding on each; few enough that all of them fit the kernel's default receive buffer, in which each
/// takes a kilobyte.
const WINDOW: usize = 64;

/// Load before the measured part of a round, so that the window is full when it begins.
pub const RAMP: Duration = Duration::from_millis(20);

/// What keeps a server busy.
pub trait Load {
    /// Asks for so long, and counts.
    fn run(&mut self, time: Duration, round: &mut Round) -> io::Result<()>;

    /// Takes the replies still under way, so that the next round begins with none.
    fn drain(&mut self, round: &mut Round) -> io::Result<()>;

    /// One round: ramp, the measured `time`, then waits for what is outstanding. `core` tells of the server's.
    fn round(&mut self, time: Duration, core: &dyn Fn() -> Core) -> io::Result<Round> {
        let mut round = Round::default();
        self.run(RAMP, &mut round)?;
        let (replies, before, begin) = (round.replies, core(), Instant::now());
        self.run(time, &mut round)?;
        (round.wall, round.replies) = (begin.elapsed(), round.replies - replies);
        round.core = core().since(before);
        let mut after = Round::default();
        self.drain(&mut after)?;
        (round.lost, round.wrong) = (round.lost + after.lost, round.wrong + after.wrong);
        Ok(round)
    }
}

/// What the generator does while every reply is still to come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Asks again at once: the core is its own, and the server never pays for waking it.
    Spin,
    /// Sleeps until a reply comes: it shares its core with the resolver.
    Sleep,
}

/// Client sockets and what is outstanding on them.
pub struct Generator {
    lanes: Vec<Lane>,
    work: Work,
    idle: Idle,
}

impl Generator {
    /// Asks `target`. Errors when a socket cannot be opened.
    pub fn new(target: SocketAddr, work: Work, idle: Idle) -> io::Result<Generator> {
        let lanes = (1..=LANES).map(|lane| Lane::new(work.client.address(lane), target)).collect::<io::Result<_>>()?;
        Ok(Generator { lanes, work, idle })
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

impl Load for Generator {
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
                self.lanes.iter_mut().for_each(|lane| lane.window.give_up(now, round));
            }
            let mut moved = false;
            for lane in &mut self.lanes {
                moved |= lane.receive(self.work.expected, round)?;
                moved |= lane.send(&mut self.work, now)?;
            }
            if !moved && self.idle == Idle::Sleep {
                self.sleep()?;
            }
        }
    }

    fn drain(&mut self, round: &mut Round) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.lanes.iter().any(|lane| !lane.window.is_empty()) && Instant::now() < end {
            self.sleep()?;
            for lane in &mut self.lanes {
                lane.receive(self.work.expected, round)?;
            }
        }
        self.lanes.iter_mut().for_each(|lane| lane.window.give_up(end + PATIENCE, round));
        Ok(())
    }
}

/// One client socket with its window.
struct Lane {
    socket: UdpSocket,
    window: Window,
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
            window: Window::new(WINDOW),
            buffers: vec![[0; 512]; WINDOW],
            incoming: MultiHeaders::preallocate(WINDOW, None),
            outgoing: MultiHeaders::preallocate(WINDOW, None),
        })
    }

    /// Takes what has arrived and checks it. Whether anything had.
    fn receive(&mut self, expected: Expected, round: &mut Round) -> io::Result<bool> {
        if self.window.is_empty() {
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
            self.window.settle(&reply[..length], expected, round);
        }
        Ok(true)
    }

    /// Fills the window, once that is worth it.
    fn send(&mut self, work: &mut Work, now: Instant) -> io::Result<bool> {
        if !self.window.is_worth_filling() {
            return Ok(false);
        }
        let mut slices = [[IoSlice::new(&[])]; WINDOW];
        let queries = self.window.fill(&mut work.questions, now);
        let count = queries.len();
        slices.iter_mut().zip(queries).for_each(|(slice, query)| *slice = [IoSlice::new(query)]);
        let (slices, nowhere) = (&slices[..count], [None; WINDOW]);
        match sendmmsg(self.socket.as_raw_fd(), &mut self.outgoing, slices, nowhere, [], MsgFlags::empty()) {
            // What the kernel did not take is given up like a lost one.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
