//! Clients over UDP that ask at set times, whatever becomes of their questions. Every reply is judged, and every query
//! accounted for.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::asked::{Asked, Verdict, What};
use crate::dice::{Dice, Mix};
use crate::lab::Who;
use crate::sky::Sky;
use crate::tally::Tally;

/// How long a client waits. phzd says so when it has waited 4 s for a resolver.
pub const PATIENCE: Duration = Duration::from_secs(6);

/// Octets of room for replies at each client.
const ROOM: usize = 4 << 20;

/// A load, and whom it is put on.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub target: SocketAddr,
    pub mix: Mix,
    /// Questions a second.
    pub rate: u32,
}

/// Clients, each a socket of its own.
pub struct Crowd<'a> {
    callers: Vec<Caller>,
    /// Where each kind's are among them.
    places: HashMap<Who, Range<usize>>,
    load: Load,
    sky: &'a Sky,
    dice: Dice,
    /// Where to tell what was truncated.
    over_tcp: Option<Sender<(Who, What)>>,
    tally: Tally,
}

struct Caller {
    who: Who,
    socket: UdpSocket,
    next: u16,
    awaited: HashMap<u16, Asked>,
    /// In the order of their sending.
    sent: VecDeque<(Instant, u16)>,
}

impl<'a> Crowd<'a> {
    /// All clients there are. To be called on their host.
    pub fn new(load: Load, sky: &'a Sky, over_tcp: Option<Sender<(Who, What)>>) -> io::Result<Crowd<'a>> {
        let kinds: &[Who] = if load.mix.is_of_one() { &[Who::Greedy] } else { &Who::ALL };
        let addresses = kinds.iter().flat_map(|who| who.addresses().into_iter().map(|address| (*who, address)));
        let caller = |(who, address)| {
            let socket = UdpSocket::bind((address, 0))?;
            socket.connect(load.target)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
            setsockopt(&socket, sockopt::SndBuf, &ROOM)?;
            Ok(Caller { who, socket, next: 0, awaited: HashMap::new(), sent: VecDeque::new() })
        };
        let callers = addresses.map(caller).collect::<io::Result<Vec<Caller>>>()?;
        let mut places = HashMap::new();
        for (place, caller) in callers.iter().enumerate() {
            places.entry(caller.who).or_insert(place..place).end = place + 1;
        }
        let dice = Dice::new(
            Instant::now().elapsed().as_nanos() as u64 + u64::from(load.rate) + u64::from(std::process::id()),
        );
        Ok(Crowd { callers, places, load, sky, dice, over_tcp, tally: Tally::default() })
    }

    /// Asks until the `end`, and waits for what is under way.
    pub fn run(mut self, end: &AtomicBool) -> io::Result<Tally> {
        let _ = set_timerslack(1);
        let (begin, rate) = (Instant::now(), f64::from(self.load.rate));
        let due = |number: u64| begin + Duration::from_secs_f64(number as f64 / rate);
        let (mut number, mut ended) = (0, None);
        loop {
            let now = Instant::now();
            if ended.is_none() && end.load(Ordering::Relaxed) {
                ended = Some(now);
            }
            while ended.is_none() && due(number) <= now {
                self.send(due(number))?;
                number += 1;
                // Replies are not to wait for a load that is late.
                if number.is_multiple_of(64) {
                    break;
                }
            }
            self.receive()?;
            self.give_up(now);
            let is_done = self.callers.iter().all(|caller| caller.awaited.is_empty());
            match ended {
                Some(_) if is_done => break,
                Some(at) if at + PATIENCE * 2 < now => break,
                Some(_) => self.wait(Duration::from_millis(20))?,
                None => self.wait(due(number).saturating_duration_since(Instant::now()))?,
            }
        }
        Ok(self.tally)
    }

    /// Sleeps until a reply comes, at most so long.
    fn wait(&self, most: Duration) -> io::Result<()> {
        if most.is_zero() {
            return Ok(());
        }
        let mut waiting: Vec<PollFd<'_>> =
            self.callers.iter().map(|caller| PollFd::new(caller.socket.as_fd(), PollFlags::POLLIN)).collect();
        ppoll(&mut waiting, Some(TimeSpec::from(most.min(Duration::from_millis(20)))), None)?;
        Ok(())
    }

    fn send(&mut self, due: Instant) -> io::Result<()> {
        let (who, what) = self.load.mix.draw(&mut self.dice);
        let shout = self.dice.one_in(8);
        let Some(places) = self.places.get(&who) else { return Ok(()) };
        let caller = &mut self.callers[places.start + self.dice.below(places.len() as u32) as usize];
        caller.next = caller.next.wrapping_add(1);
        let asked = Asked::new(who, what, caller.next, shout, due);
        match caller.socket.send(&asked.packet) {
            Ok(_) => {
                self.tally.sent += 1;
                caller.sent.push_back((due, caller.next));
                if let Some(old) = caller.awaited.insert(caller.next, asked) {
                    self.tally.give_up(&old);
                }
            }
            Err(error) if is_full(&error) => self.tally.unsent += 1,
            // What an earlier query met; this one was not sent.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.tally.unsent += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut packet = [0; 1 << 16];
        for caller in &mut self.callers {
            if caller.awaited.is_empty() {
                continue;
            }
            loop {
                let length = match caller.socket.recv(&mut packet) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => continue,
                    Err(error) => return Err(error),
                };
                let reply = &packet[..length];
                let id = reply.first_chunk().map(|id| u16::from_be_bytes(*id));
                let Some(asked) = id.and_then(|id| caller.awaited.remove(&id)) else {
                    self.tally.stray += 1;
                    self.tally.tell(&format!("{:?} got what it did not ask for: {:02x?}", caller.who, reply.get(..32)));
                    continue;
                };
                let verdict = asked.judge(reply, self.sky);
                if verdict == Verdict::Truncated
                    && let Some(over_tcp) = &self.over_tcp
                {
                    // Nobody asks over TCP any more when the run ends.
                    let _ = over_tcp.send((asked.who, asked.what));
                }
                self.tally.enter(&asked, reply, verdict, asked.due.elapsed());
            }
        }
        Ok(())
    }

    /// Gives up what was sent too long ago.
    fn give_up(&mut self, now: Instant) {
        for caller in &mut self.callers {
            while let Some(&(sent, id)) = caller.sent.front()
                && sent + PATIENCE < now
            {
                caller.sent.pop_front();
                // It may be a later one's by now.
                if caller.awaited.get(&id).is_some_and(|asked| asked.due == sent)
                    && let Some(asked) = caller.awaited.remove(&id)
                {
                    self.tally.give_up(&asked);
                }
            }
        }
    }
}

/// Whether the kernel has no room for what is to be sent.
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32)
}
