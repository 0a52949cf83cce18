//! So many queries a second, whatever becomes of them: what clients wait for that do not wait for each other.
//!
//! Each query has a time at which it is due, and how long it took counts from then, not from when it was sent: a server
//! that stands still delays all queries that are due meanwhile, and each of them says so. The generator's core is its
//! own, so that it is awake when a query is due.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::questions::{Query, Work};
use crate::statistics::LOST;
use crate::window::PATIENCE;

/// Queries a second.
pub const RATE: u32 = 20_000;

/// A query for which no right reply has come yet.
const OPEN: Duration = Duration::ZERO;

/// One client socket and its timetable.
pub struct Paced {
    socket: UdpSocket,
    work: Work,
    queries: Vec<Query>,
    took: Vec<Duration>,
    /// The id of the round's first query; later ids count up from it.
    first: u16,
}

impl Paced {
    /// Asks `target`, in rounds of `time`.
    pub fn new(target: SocketAddr, work: Work, time: Duration) -> io::Result<Paced> {
        let socket = UdpSocket::bind(work.client.address(1))?;
        socket.connect(target)?;
        socket.set_nonblocking(true)?;
        // Room for what comes while others have the core; root gets it, anybody else what is usual.
        let _ = setsockopt(&socket, RcvBufForce, &(4 << 20));
        let count = (time.as_secs_f64() * f64::from(RATE)) as usize;
        // An id is used again only when its last query has been given up.
        let count = count.clamp(1, usize::from(u16::MAX) / 2);
        Ok(Paced { socket, work, queries: vec![Query::default(); count], took: vec![OPEN; count], first: 0 })
    }

    /// One round: how long each query took, [`LOST`] for those without a right reply.
    pub fn round(&mut self) -> io::Result<Vec<Duration>> {
        self.first = self.first.wrapping_add(self.queries.len() as u16);
        for (query, id) in self.queries.iter_mut().zip(0..) {
            *query = self.work.questions.next();
            query.set_id(self.first.wrapping_add(id));
        }
        self.took.fill(OPEN);
        let begin = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        let end = due(self.queries.len()) + PATIENCE;
        while answered < self.queries.len() && begin.elapsed() < end {
            while sent < self.queries.len() && due(sent) <= begin.elapsed() {
                // What the kernel does not take is lost, like what gets lost later.
                let _ = self.socket.send(self.queries[sent].octets());
                sent += 1;
            }
            answered += usize::from(self.receive(begin, sent)?);
        }
        Ok(self.took.iter().map(|&took| if took == OPEN { LOST } else { took }).collect())
    }

    /// Takes one reply, if one is there. Whether it was right.
    fn receive(&mut self, begin: Instant, sent: usize) -> io::Result<bool> {
        let mut reply = [0; 512];
        let length = match self.socket.recv(&mut reply) {
            Ok(length) => length,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let now = begin.elapsed();
        let index = usize::from(u16::from_be_bytes([reply[0], reply[1]]).wrapping_sub(self.first));
        let is_right = index < sent
            && self.took[index] == OPEN
            && self.work.expected.met_by(&self.queries[index], &reply[..length]);
        if is_right {
            self.took[index] = now.saturating_sub(due(index)).max(Duration::from_nanos(1));
        }
        Ok(is_right)
    }
}

/// When query number `index` is due, from the begin of the round.
fn due(index: usize) -> Duration {
    Duration::from_secs(1) / RATE * index as u32
}
