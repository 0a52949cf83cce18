//! A resolver that knows every name and does as it is told: answers, is silent, fails, takes its time.
//!
//! It stands in for the `.2`, UDP and TCP. Any A question gets 192.0.2.1, any other type an empty answer; the question is
//! sent back octet by octet, so that case is kept.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;

use crate::lab::{Host, Lab, Outcome};
use crate::upstream;

/// How often its threads look whether they shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Octets of the largest query.
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

/// A running resolver, ended when this is dropped.
pub struct Resolver {
    script: Arc<Script>,
    threads: Vec<JoinHandle<()>>,
}

/// What its threads share.
struct Script {
    mood: AtomicU8,
    end: AtomicBool,
    /// Of its answers, in seconds.
    ttl: u32,
    /// Before it sends an answer.
    delay: Duration,
}

impl Resolver {
    /// Starts one at `address` of the resolvers' host, which answers.
    pub fn start(lab: &Lab, address: Ipv4Addr, ttl: u32, delay: Duration) -> Outcome<Resolver> {
        let at = SocketAddr::from((address, 53));
        let (udp, tcp) = lab.inside(Host::Resolver, || (UdpSocket::bind(at), TcpListener::bind(at)))?;
        let (udp, tcp) = (udp?, tcp?);
        socket2::SockRef::from(&udp).set_recv_buffer_size(4 << 20)?;
        udp.set_read_timeout(Some(LOOK))?;
        tcp.set_nonblocking(true)?;
        let script = Script { mood: AtomicU8::new(Mood::Answers as u8), end: AtomicBool::new(false), ttl, delay };
        let script = Arc::new(script);
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

    /// Rewrites a query into its reply, if it gets one. Returns the reply's length.
    fn reply(&self, packet: &mut [u8], length: usize) -> Option<usize> {
        let mood = self.mood.load(Ordering::Relaxed);
        if mood == Mood::Silent as u8 {
            return None;
        }
        let mut end = upstream::answer(packet, length)?;
        let opt = if packet[11] == 0 { 0 } else { 11 };
        let record = if packet[7] == 0 { 0 } else { 16 };
        if mood == Mood::Fails as u8 {
            packet.copy_within(end - opt..end, end - opt - record);
            (packet[3], packet[7]) = (packet[3] | 2, 0);
            end -= record;
        } else if record > 0 {
            let ttl = end - opt - 10;
            packet[ttl..ttl + 4].copy_from_slice(&self.ttl.to_be_bytes());
        }
        Some(end)
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
        let Some(end) = script.reply(&mut packet, length) else { continue };
        if script.delay.is_zero() {
            let _ = socket.send_to(&packet[..end], client);
        } else if late.send((now + script.delay, packet[..end].to_vec(), client)).is_err() {
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
        let Some(end) = script.reply(&mut packet, length) else { continue };
        thread::sleep(script.delay);
        stream.write_all(&u16::try_from(end).ok()?.to_be_bytes()).ok()?;
        stream.write_all(&packet[..end]).ok()?;
    }
    None
}
