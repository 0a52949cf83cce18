//! The rows of forged answers: somebody who cannot see the questions, but knows the names and sends with the resolver's
//! address, guesses ids and ports (RFC 5452).
//!
//! The names are asked all the time and may not be kept, so that there is always something to guess. Every second packet
//! guesses the letters' case too. That a forger who is told the ports gets through to programs which rely on them shows
//! that those who keep one out do not owe it to the forger.

use std::fs;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use crate::client::{ask, evenly, per_mille, question};
use crate::lab::{FORWARDER, Host, Lab, Outcome, RESOLVERS};
use crate::programs::Wish;
use crate::rows::{Trial, count};
use crate::table::{Measure, Must};
use crate::upstream;

/// What forged answers lead to (RFC 5737 section 3).
const FORGED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// Seconds for which they would like to be kept.
const KEEP: u32 = 86_400;

/// Where the kernel takes ports from, if nobody says otherwise. Some programs take others; they do not say which.
const PORTS: RangeInclusive<u16> = 32_768..=60_999;

/// Datagrams sent with one system call.
const BATCH: usize = 64;

/// Names that are asked and forged.
type Names = [&'static str; 4];

pub const LETTERS: Names =
    ["orders.service.example.com", "customers.service.example.com", "mail.service.example.com", "a.example.com"];
pub const DIGITS: Names = ["1.2.3.4", "10.0.0.7", "20261124.1", "4711.0815"];

/// What the forger knows of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Where the kernel takes them from.
    Range,
    /// Those that are open, as if something beside the network had told them.
    Open,
}

pub fn row(trial: Trial, names: Names, ports: Ports) -> Outcome<Vec<Measure>> {
    let lab = Lab::new()?;
    // Far enough away that there is something to guess at any time.
    let _resolver = lab.resolver(RESOLVERS[0], 0, Duration::from_millis(20))?;
    let _program = trial.program.start(&lab, &Wish { budget: false, ..Wish::to(&RESOLVERS[..1]) })?;
    let from = SocketAddrV4::new(RESOLVERS[0], 53);
    let socket = lab.inside(Host::Forger, || UdpSocket::bind(from))??;
    let (seconds, promise) = match ports {
        Ports::Range => (trial.seconds(60), Must::AtMost(0.0)),
        Ports::Open => (trial.seconds(15), Must::Nothing),
    };
    let (end, targets) = (AtomicBool::new(false), Mutex::new(PORTS.collect()));
    let (asked, sent) = thread::scope(|scope| {
        if ports == Ports::Open {
            scope.spawn(|| lab.inside(Host::Forwarder, || tell_open_ports(&targets, &end)));
        }
        let forger = scope.spawn(|| forge(&socket, &names, &targets, &end));
        let name = |number: usize| names[number % names.len()].to_owned();
        let asked = ask(&lab, &evenly(Duration::ZERO, 400, 400 * seconds), name);
        end.store(true, Ordering::Relaxed);
        (asked, forger.join())
    });
    let (asked, sent) = (asked?, sent.map_err(|_| "the forger panicked")?);
    let is_forged = |address: Option<Ipv4Addr>| address == Some(FORGED);
    let accepted = count(&asked, |asked| asked.reply.is_some_and(|reply| is_forged(reply.address)));
    Ok(vec![
        Measure::new("forged packets a second", sent, Must::Nothing),
        Measure::new("replies with a forged address", accepted, promise),
        Measure::new("not answered well", count(&asked, |asked| !asked.is_well()), Must::Nothing),
        Measure::new("ms, p99", per_mille(&asked, 990), Must::Nothing),
    ])
}

/// Sends guesses until the `end`. Returns how many a second.
fn forge(socket: &UdpSocket, names: &Names, targets: &Mutex<Vec<u16>>, end: &AtomicBool) -> f64 {
    let answers: Vec<Vec<u8>> = names.iter().map(|name| answer(name)).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (begin, mut sent) = (Instant::now(), 0_u64);
    while !end.load(Ordering::Relaxed) {
        let packets: Vec<Vec<u8>> = (0..BATCH).map(|number| guess(&answers, number, &mut dice)).collect();
        let slices: Vec<[IoSlice<'_>; 1]> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
        let to: Vec<Option<SockaddrIn>> = {
            let ports = targets.lock().expect("nobody panics with it");
            let count = ports.len() as u16;
            let port =
                |_: &Vec<u8>| ports.get(usize::from(dice.below(count.max(1)))).copied().unwrap_or(*PORTS.start());
            packets.iter().map(port).map(|port| Some(SockaddrIn::from(SocketAddrV4::new(FORWARDER, port)))).collect()
        };
        // An error is an ICMP message about a port that nobody has.
        if let Ok(results) = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty()) {
            sent += results.count() as u64;
        }
    }
    sent as f64 / begin.elapsed().as_secs_f64()
}

/// Keeps `targets` true: the ports from which the forwarder's host asks, until the `end`.
fn tell_open_ports(targets: &Mutex<Vec<u16>>, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        // Lines of `number: address:port …`, in hexadecimal.
        let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
        let port = |line: &str| u16::from_str_radix(line.split_whitespace().nth(1)?.split(':').nth(1)?, 16).ok();
        *targets.lock().expect("nobody panics with it") =
            table.lines().filter_map(port).filter(|port| *port != 53).collect();
        thread::sleep(Duration::from_millis(1));
    }
}

/// One of the answers with an id by chance, and if the number is odd, with case by chance.
fn guess(answers: &[Vec<u8>], number: usize, dice: &mut Dice) -> Vec<u8> {
    let mut packet = answers[usize::from(dice.below(answers.len() as u16))].clone();
    packet[..2].copy_from_slice(&dice.below(u16::MAX).to_be_bytes());
    let name = packet[12..].iter().position(|octet| *octet == 0).unwrap_or(0);
    for octet in packet[12..12 + name].iter_mut().filter(|octet| number % 2 == 1 && octet.is_ascii_alphabetic()) {
        *octet ^= 0x20 * (dice.below(2) as u8);
    }
    packet
}

/// The forged answer, but for its id.
fn answer(name: &str) -> Vec<u8> {
    let query = question(name);
    let mut packet = [0; 512];
    packet[..query.len()].copy_from_slice(&query);
    let end = upstream::answer(&mut packet, query.len()).expect("a query for an address");
    // The record stands before OPT, and ends with TTL, length, address.
    let record_end = end - 11;
    packet[record_end - 10..record_end - 6].copy_from_slice(&KEEP.to_be_bytes());
    packet[record_end - 4..record_end].copy_from_slice(&FORGED.octets());
    packet[..end].to_vec()
}

/// Chance, cheaply (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u16) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(limit)) as u16
    }
}
