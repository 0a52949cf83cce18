//! Load over TCP (RFC 7766), in both ways that clients have: a few connections with many queries under way on each, and
//! a connection for each query.
//!
//! On loopback a handshake is done when `connect` returns, and a small write never blocks; so nothing here waits for
//! more than a reply, and a look at each connection in turn is all the readiness that is needed.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

use crate::generator::Load;
use crate::questions::{Expected, Query, Work};
use crate::window::{PATIENCE, Round, Window};

/// Connections that stay.
const CONNECTIONS: u8 = 4;

/// Queries under way on each.
const WINDOW: usize = 32;

/// Connections for one query that are open at a time; few enough for any server's backlog.
const VISITS: usize = 16;

/// Addresses from which these come in turns, so that ports do not run out: a closed connection keeps its own for a
/// minute.
const VISITORS: u8 = 250;

/// Room for what one read may bring.
const ROOM: usize = 16 * 1024;

/// A few connections with many queries under way on each.
pub struct Pipelines {
    pipelines: Vec<Pipeline>,
    target: SocketAddr,
    work: Work,
}

impl Pipelines {
    /// Connects to `target`.
    pub fn new(target: SocketAddr, work: Work) -> io::Result<Pipelines> {
        let open = |number| -> io::Result<Pipeline> {
            let client = work.client.address(number);
            let stream = connect(client, target)?;
            let (sending, received) = (Vec::with_capacity(ROOM), vec![0; ROOM]);
            Ok(Pipeline { client, stream, window: Window::new(WINDOW), sending, received, filled: 0 })
        };
        let pipelines = (1..=CONNECTIONS).map(open).collect::<io::Result<_>>()?;
        Ok(Pipelines { pipelines, target, work })
    }
}

impl Load for Pipelines {
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
                self.pipelines.iter_mut().for_each(|pipeline| pipeline.window.give_up(now, round));
            }
            for pipeline in &mut self.pipelines {
                let moved = pipeline.receive(&self.work, round).and_then(|()| pipeline.send(&mut self.work, now));
                if moved.is_err() {
                    pipeline.again(self.target, now, round)?;
                }
            }
        }
    }

    fn drain(&mut self, round: &mut Round) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        for pipeline in &mut self.pipelines {
            while !pipeline.window.is_empty() && Instant::now() < end {
                if pipeline.receive(&self.work, round).is_err() {
                    pipeline.again(self.target, end, round)?;
                }
            }
            pipeline.window.give_up(end + PATIENCE, round);
        }
        Ok(())
    }
}

/// One connection with its window.
struct Pipeline {
    client: SocketAddr,
    stream: Socket,
    window: Window,
    sending: Vec<u8>,
    received: Vec<u8>,
    /// How many octets of `received` are the begin of a reply.
    filled: usize,
}

impl Pipeline {
    /// Takes what has arrived and checks it.
    fn receive(&mut self, work: &Work, round: &mut Round) -> io::Result<()> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut rest = &self.received[..self.filled];
        while let Some((message, after)) = split(rest) {
            self.window.settle(message, work.expected, round);
            rest = after;
        }
        let (length, begin) = (rest.len(), self.filled - rest.len());
        self.received.copy_within(begin..self.filled, 0);
        self.filled = length;
        Ok(())
    }

    /// Fills the window with one write, once that is worth it.
    fn send(&mut self, work: &mut Work, now: Instant) -> io::Result<()> {
        if !self.window.is_worth_filling() {
            return Ok(());
        }
        self.sending.clear();
        for query in self.window.fill(&mut work.questions, now) {
            append(&mut self.sending, query);
        }
        self.stream.write_all(&self.sending)
    }

    /// Another connection in place of one that the server has ended; what was under way is lost.
    fn again(&mut self, target: SocketAddr, now: Instant, round: &mut Round) -> io::Result<()> {
        self.window.give_up(now + PATIENCE, round);
        self.stream = connect(self.client, target)?;
        self.filled = 0;
        Ok(())
    }
}

/// A connection for each query: connect, ask, reply, close.
pub struct Visits {
    visits: [Option<Visit>; VISITS],
    target: SocketAddr,
    work: Work,
    visitor: u8,
}

/// A connection and its one query.
struct Visit {
    stream: Socket,
    query: Query,
    is_asked: bool,
    begin: Instant,
    reply: [u8; 514],
    filled: usize,
}

impl Visits {
    /// Asks `target`.
    pub fn new(target: SocketAddr, work: Work) -> Visits {
        Visits { visits: [const { None }; VISITS], target, work, visitor: 0 }
    }

    fn visit(&mut self, now: Instant) -> io::Result<Visit> {
        self.visitor = self.visitor % VISITORS + 1;
        let stream = connect(self.work.client.address(self.visitor), self.target)?;
        let mut query = self.work.questions.next();
        query.set_id(u16::from(self.visitor));
        Ok(Visit { stream, query, is_asked: false, begin: now, reply: [0; 514], filled: 0 })
    }

    /// One look at every connection.
    fn look(&mut self, now: Instant, round: &mut Round) {
        for place in &mut self.visits {
            let Some(visit) = place else { continue };
            match visit.proceed(self.work.expected) {
                Ok(None) if now.saturating_duration_since(visit.begin) < PATIENCE => continue,
                Ok(Some(true)) => round.replies += 1,
                Ok(Some(false)) => round.wrong += 1,
                Ok(None) | Err(_) => round.lost += 1,
            }
            *place = None;
        }
    }
}

impl Load for Visits {
    fn run(&mut self, time: Duration, round: &mut Round) -> io::Result<()> {
        let begin = Instant::now();
        loop {
            let now = Instant::now();
            if now - begin >= time {
                return Ok(());
            }
            for index in 0..VISITS {
                if self.visits[index].is_none() {
                    self.visits[index] = Some(self.visit(now)?);
                }
            }
            self.look(now, round);
        }
    }

    fn drain(&mut self, round: &mut Round) -> io::Result<()> {
        while self.visits.iter().any(Option::is_some) {
            self.look(Instant::now(), round);
        }
        Ok(())
    }
}

impl Visit {
    /// Asks, if that was not possible before, and takes what has arrived. Whether the reply is right, once it is there.
    fn proceed(&mut self, expected: Expected) -> io::Result<Option<bool>> {
        if !self.is_asked {
            let mut octets = [0; 128];
            let length = self.query.octets().len();
            octets[..2].copy_from_slice(&(length as u16).to_be_bytes());
            octets[2..2 + length].copy_from_slice(self.query.octets());
            match self.stream.write(&octets[..2 + length]) {
                Ok(_) => self.is_asked = true,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        match self.stream.read(&mut self.reply[self.filled..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.filled += length;
                let reply = split(&self.reply[..self.filled]);
                Ok(reply.map(|(message, _)| expected.met_by(&self.query, message)))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A connection from `client`, which never blocks.
fn connect(client: SocketAddr, target: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // A port is then taken for the whole path, not for the client's address alone.
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&client.into())?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket),
    }
}

/// Writes a message with its length before it (RFC 1035 section 4.2.2).
fn append(octets: &mut Vec<u8>, message: &[u8]) {
    octets.extend((message.len() as u16).to_be_bytes());
    octets.extend(message);
}

/// The first whole message, and what stands behind it.
pub fn split(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
