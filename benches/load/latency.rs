//! One query in flight: what a program waits for that resolves one name.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::questions::Work;
use crate::statistics::LOST;

/// How long a reply may take before its query counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client that waits for each reply before it asks again.
pub struct Single {
    socket: UdpSocket,
    work: Work,
    id: u16,
}

impl Single {
    /// Asks `target`.
    pub fn new(target: SocketAddr, work: Work) -> io::Result<Single> {
        let socket = UdpSocket::bind(work.client.address(1))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Single { socket, work, id: 0 })
    }

    /// Asks the next question once. The time it took, or `None` when no right reply came.
    pub fn ask(&mut self) -> Option<Duration> {
        let mut query = self.work.questions.next();
        self.id = self.id.wrapping_add(1);
        query.set_id(self.id);
        let mut reply = [0; 512];
        let begin = Instant::now();
        self.socket.send(query.octets()).ok()?;
        loop {
            let length = self.socket.recv(&mut reply).ok()?;
            let took = begin.elapsed();
            // A reply that comes after its query was given up must not be taken for the next one's.
            if reply[..2] == self.id.to_be_bytes() {
                return self.work.expected.met_by(&query, &reply[..length]).then_some(took);
            }
        }
    }

    /// `count` round trips, with a `rest` before each; [`LOST`] for those without a right reply.
    pub fn round_trips(&mut self, count: usize, rest: Duration) -> Vec<Duration> {
        let mut trip = || {
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
            self.ask().unwrap_or(LOST)
        };
        (0..count).map(|_| trip()).collect()
    }
}
