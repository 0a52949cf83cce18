//! A resolver that does as it is told: answers, is silent, fails, takes its time.
//!
//! It stands in for the `.2`, UDP and TCP. What it answers is given to it; [`knows_all`] gives any A question 192.0.2.1,
//! any other type an empty answer. The question is sent back octet by octet, so that case is kept.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;

use crate::namespace::{Namespace, Outcome};
use crate::upstream;

/// How often its threads look whether they shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Octets of the largest message.
const ROOM: usize = 4096;

/// What it does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Answers,
    Silent,
    /// Says SERVFAIL.
    Fails,
}

/// Rewrites a query of so many octets into its reply, and says how long that is; over TCP, if that is set.
pub type Answer = Box<dyn Fn(&mut [u8], usize, bool) -> Option<usize> + Send + Sync>;

/// Answers that may be kept for `ttl` seconds.
pub fn knows_all(ttl: u32) -> Answer {
    Box::new(move |packet, length, _| {
        let end = upstream::answer(packet, length)?;
        if packet[7] > 0 {
            let opt = if packet[11] == 0 { 0 } else { OPT };
            packet[end - opt - 10..end - opt - 6].copy_from_slice(&ttl.to_be_bytes());
        }
        Some(end)
    })
}

/// Octets of an OPT record without options, which ends a reply.
const OPT: usize = 11;

/// A running resolver, ended when this is dropped.
pub struct Resolver {
    script: Arc<Script>,
    threads: Vec<JoinHandle<()>>,
}

/// What its threads share.
struct Script {
    mood: AtomicU8,
    end: AtomicBool,
    answer: Answer,
    /// Before it sends an answer, in microseconds.
    delay: AtomicU64,
}

impl Resolver {
    /// Starts one at `at`, an address of `host`, which answers.
    pub fn start(host: &Namespace, at: SocketAddr, answer: Answer, delay: Duration) -> Outcome<Resolver> {
        let (udp, tcp) = host.inside(|| (UdpSocket::bind(at), TcpListener::bind(at)))?;
        let (udp, tcp) = (udp?, tcp?);
        socket2::SockRef::from(&udp).set_recv_buffer_size(4 << 20)?;
        udp.set_read_timeout(Some(LOOK))?;
        tcp.set_nonblocking(true)?;
        let (mood, end) = (AtomicU8::new(Mood::Answers as u8), AtomicBool::new(false));
        let script = Arc::new(Script { mood, end, answer, delay: AtomicU64::new(0) });
        script.take(delay);
        let (late, due) = channel();
        let (sender, one, two) = (udp.try_clone()?, Arc::clone(&script), Arc::clone(&script));
        let threads = vec![
            thread::spawn(move || receive(&udp, &one, &late)),
            thread::spawn(move || send_late(&sender, &due)),
            thread::spawn(move || accept(&tcp, &two)),
        ];
        Ok(Resolver { script, threads })
    }

    /// From now on it does so.
    pub fn turn(&self, mood: Mood) {
        self.script.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// From now on it takes so long.
    pub fn take(&self, delay: Duration) {
        self.script.take(delay);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.script.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say, not even that it panicked.
            let _ = thread.join();
        }
    }
}

impl Script {
    fn ends(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    fn take(&self, delay: Duration) {
        self.delay.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    fn delay(&self) -> Duration {
        Duration::from_micros(self.delay.load(Ordering::Relaxed))
    }

    /// Rewrites a query into its reply, if it gets one. Returns the reply's length.
    fn reply(&self, packet: &mut [u8], length: usize, over_tcp: bool) -> Option<usize> {
        let mood = self.mood.load(Ordering::Relaxed);
        if mood == Mood::Silent as u8 {
            return None;
        }
        let end = (self.answer)(packet, length, over_tcp)?;
        if mood != Mood::Fails as u8 {
            return Some(end);
        }
        let opt = if packet[11] == 0 { 0 } else { OPT };
        let question_end = upstream::question_end(packet)?;
        packet.copy_within(end - opt..end, question_end);
        packet[3] = packet[3] & 0xf0 | 2;
        packet[6..10].fill(0);
        Some(question_end + opt)
    }
}

/// A reply with the time at which it leaves.
type Late = (Instant, Vec<u8>, SocketAddr);

fn receive(socket: &UdpSocket, script: &Script, late: &Sender<Late>) {
    let mut packet = [0; ROOM];
    while !script.ends() {
        // What fails here is a read that took too long, or an ICMP message about a client that went away.
        let Ok((length, client)) = socket.recv_from(&mut packet) else { continue };
        let now = Instant::now();
        let Some(end) = script.reply(&mut packet, length, false) else { continue };
        let delay = script.delay();
        if delay.is_zero() {
            let _ = socket.send_to(&packet[..end], client);
        } else if late.send((now + delay, packet[..end].to_vec(), client)).is_err() {
            return;
        }
    }
}

/// All wait equally long, so they leave in the order of their coming.
fn send_late(socket: &UdpSocket, due: &Receiver<Late>) {
    // Without it the kernel sleeps 50 µs longer than asked.
    let _ = set_timerslack(1);
    for (at, reply, client) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let _ = socket.send_to(&reply, client);
    }
}

fn accept(listener: &TcpListener, script: &Arc<Script>) {
    while !script.ends() {
        match listener.accept() {
            Ok((stream, _)) => {
                let script = Arc::clone(script);
                thread::spawn(move || converse(stream, &script));
            }
            Err(_) => thread::sleep(LOOK / 10),
        }
    }
}

/// One connection (RFC 1035 section 4.2.2), until the client has had enough or the resolver ends.
fn converse(mut stream: TcpStream, script: &Script) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(LOOK)).ok()?;
    let mut packet = [0; ROOM];
    while !script.ends() {
        let mut length = [0; 2];
        match stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        let length = usize::from(u16::from_be_bytes(length));
        stream.read_exact(packet.get_mut(..length)?).ok()?;
        let Some(end) = script.reply(&mut packet, length, true) else { continue };
        thread::sleep(script.delay());
        stream.write_all(&u16::try_from(end).ok()?.to_be_bytes()).ok()?;
        stream.write_all(&packet[..end]).ok()?;
    }
    None
}
