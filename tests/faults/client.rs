//! Clients that ask at set times, whatever becomes of their questions, as many clients together do.
//!
//! An open loop: latency is counted from the time a question was due, so a program that stalls is charged for all who
//! would have asked meanwhile.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

use crate::lab::{Host, Lab, Outcome};

/// Where every program serves, on the forwarder's host.
pub const SERVED_AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// How long a client waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The extended error of an answer past its TTL (RFC 8914 section 4.4).
const STALE: u16 = 3;

/// A question that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// When it was due, from the beginning.
    pub due: Duration,
    /// `None`: no reply within [`PATIENCE`].
    pub reply: Option<Reply>,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// Since the question was due.
    pub latency: Duration,
    pub code: ResponseCode,
    /// Of its first A record.
    pub address: Option<Ipv4Addr>,
    /// Whether it says that it is past its TTL.
    pub says_stale: bool,
}

impl Asked {
    /// Whether it was answered with an address.
    pub fn is_well(&self) -> bool {
        self.reply.is_some_and(|reply| reply.code == ResponseCode::NoError && reply.address.is_some())
    }

    /// Whether the reply was `code`.
    pub fn got(&self, code: ResponseCode) -> bool {
        self.reply.is_some_and(|reply| reply.code == code)
    }
}

/// The times of `count` questions at `rate` a second, the first of them at `from`.
pub fn evenly(from: Duration, rate: u32, count: u32) -> Vec<Duration> {
    (0..count).map(|number| from + Duration::from_secs(1) * number / rate).collect()
}

/// Asks the program in `lab` a question at each of the times `due`, and waits for what comes back. `name` is given the
/// question's number.
pub fn ask(lab: &Lab, due: &[Duration], name: impl Fn(usize) -> String + Send) -> Outcome<Vec<Asked>> {
    Ok(lab.inside(Host::Forwarder, || {
        let mut client = Client::new(due)?;
        client.run(name)?;
        Ok::<_, io::Error>(client.asked)
    })??)
}

/// Asks for `name` once. Whether it was answered well within `patience`.
pub fn ask_once(lab: &Lab, name: &str, patience: Duration) -> Outcome<bool> {
    Ok(lab.inside(Host::Forwarder, || {
        let mut client = Client::new(&[Duration::ZERO])?;
        client.patience = patience;
        client.run(|_| name.to_owned())?;
        Ok::<_, io::Error>(client.asked.iter().all(Asked::is_well))
    })??)
}

struct Client {
    socket: UdpSocket,
    asked: Vec<Asked>,
    /// The question whose reply is awaited under each id.
    awaited: Vec<Option<usize>>,
    outstanding: usize,
    patience: Duration,
}

impl Client {
    fn new(due: &[Duration]) -> io::Result<Client> {
        let _ = set_timerslack(1);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(SERVED_AT)?;
        socket.set_nonblocking(true)?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
        let asked = due.iter().map(|due| Asked { due: *due, reply: None }).collect();
        Ok(Client { socket, asked, awaited: vec![None; 1 << 16], outstanding: 0, patience: PATIENCE })
    }

    fn run(&mut self, name: impl Fn(usize) -> String) -> io::Result<()> {
        let end = self.asked.last().map_or(Duration::ZERO, |last| last.due) + self.patience;
        let mut next = 0;
        let mut packet = question(&name(0));
        let begin = Instant::now();
        loop {
            self.receive(begin);
            let now = Instant::now().saturating_duration_since(begin);
            let until = match self.asked.get_mut(next) {
                Some(asked) if asked.due <= now => {
                    self.send(next, &mut packet);
                    next += 1;
                    packet = question(&name(next));
                    continue;
                }
                Some(asked) => asked.due,
                None if self.outstanding == 0 || now >= end => return Ok(()),
                None => end,
            };
            let timeout = (begin + until).saturating_duration_since(Instant::now());
            ppoll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(TimeSpec::from(timeout)), None)?;
        }
    }

    fn send(&mut self, number: usize, packet: &mut [u8]) {
        let id = number as u16;
        packet[..2].copy_from_slice(&id.to_be_bytes());
        // The one before it under this id is lost by now.
        self.outstanding += usize::from(self.awaited[usize::from(id)].replace(number).is_none());
        // A program that has ended is told by an error here: the question is lost.
        let _ = self.socket.send(packet);
    }

    fn receive(&mut self, begin: Instant) {
        let mut packet = [0; 4096];
        // A program that has ended is told by an error here too.
        while let Ok(length) = self.socket.recv(&mut packet) {
            let now = Instant::now().saturating_duration_since(begin);
            let Ok(message) = Message::from_vec(&packet[..length]) else { continue };
            let Some(number) = self.awaited[usize::from(message.metadata.id)].take() else { continue };
            self.outstanding -= 1;
            let asked = &mut self.asked[number];
            let latency = now.saturating_sub(asked.due);
            if latency <= self.patience {
                asked.reply = Some(read(&message, latency));
            }
        }
    }
}

/// What counts of a reply.
fn read(message: &Message, latency: Duration) -> Reply {
    let address = message.answers.iter().find_map(|record| match record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    let mut options = message.edns.iter().flat_map(|edns| edns.options().get_all(EdnsCode::from(15)));
    let says_stale = options.any(|option| match option {
        EdnsOption::Unknown(_, octets) => octets.starts_with(&STALE.to_be_bytes()),
        _ => false,
    });
    Reply { latency, code: message.metadata.response_code, address, says_stale }
}

/// Milliseconds within which `share` of a thousand questions were replied to. Infinite where that many were not.
pub fn per_mille<'a>(asked: impl IntoIterator<Item = &'a Asked>, share: usize) -> f64 {
    let of = |asked: &Asked| asked.reply.map_or(f64::INFINITY, |reply| reply.latency.as_secs_f64() * 1e3);
    let mut times: Vec<f64> = asked.into_iter().map(of).collect();
    times.sort_by(f64::total_cmp);
    let rank = (times.len() * share).div_ceil(1000).max(1);
    times.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// A query for a name's A record, RD set, with OPT, without an id.
pub fn question(name: &str) -> Vec<u8> {
    let mut octets = vec![0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).expect("labels here are short"));
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    octets.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]); // root, OPT, 1232 octets
    octets
}
