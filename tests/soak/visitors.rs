//! Clients over TCP: a connection for each question, or many questions on one. Every reply is judged.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::asked::{Asked, Bad, What};
use crate::crowd::PATIENCE;
use crate::dice::{Dice, Mix};
use crate::lab::{SERVED_AT, Who};
use crate::sky::Sky;
use crate::tally::Tally;

/// Questions that are sent together on one connection.
const TOGETHER: u16 = 12;

/// Between two visits, and between two batches.
const PAUSE: Duration = Duration::from_millis(25);

/// A connection from one of `who`'s addresses.
pub fn connect(who: Who, dice: &mut Dice, target: SocketAddr) -> io::Result<TcpStream> {
    connect_from(dice.any(&who.addresses()), target)
}

/// A connection from this address.
pub fn connect_from(address: Ipv4Addr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect_timeout(&target.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Asks what is told, and something of `mix` meanwhile, a connection each, until the `end`.
pub fn visit(mix: Mix, told: &Receiver<(Who, What)>, sky: &Sky, end: &AtomicBool) -> Tally {
    let (mut tally, mut dice) = (Tally::default(), Dice::new(2));
    while !end.load(Ordering::Relaxed) {
        let next = match told.recv_timeout(PAUSE) {
            Ok(next) => next,
            Err(RecvTimeoutError::Timeout) => mix.draw(&mut dice),
            Err(RecvTimeoutError::Disconnected) => return tally,
        };
        if is_for_tcp(next.1) {
            let due = Instant::now();
            match connect(next.0, &mut dice, SERVED_AT) {
                Ok(stream) => converse(stream, vec![asked(next, 7, due)], sky, &mut tally),
                Err(error) => {
                    tally.broken += 1;
                    tally.tell(&format!("{:?} cannot connect: {error}", next.0));
                }
            }
        }
    }
    tally
}

/// Keeps a connection for as long as it lasts, and asks many questions at a time on it, until the `end`.
pub fn pipeline(mix: Mix, seed: u64, sky: &Sky, end: &AtomicBool) -> Tally {
    let (mut tally, mut dice) = (Tally::default(), Dice::new(seed));
    while !end.load(Ordering::Relaxed) {
        let who = dice.any(&[Who::Allowed, Who::Public]);
        let Ok(stream) = connect(who, &mut dice, SERVED_AT) else {
            tally.broken += 1;
            continue;
        };
        for _ in 0..40 {
            let batch = (1..=TOGETHER).filter_map(|id| {
                let (_, what) = mix.draw(&mut dice);
                is_for_tcp(what).then(|| asked((who, what), id, Instant::now()))
            });
            let Ok(stream) = stream.try_clone() else { break };
            let broken = tally.broken;
            converse(stream, batch.collect(), sky, &mut tally);
            std::thread::sleep(PAUSE);
            if end.load(Ordering::Relaxed) || tally.broken > broken {
                break;
            }
        }
    }
    tally
}

/// What shows nothing over TCP, as it takes all the patience there is, is left to UDP.
fn is_for_tcp(what: What) -> bool {
    !matches!(what, What::Bad(Bad::Short | Bad::Reply) | What::Question(crate::names::Name::Mute(_), ..))
}

fn asked((who, what): (Who, What), id: u16, due: Instant) -> Asked {
    Asked { over_tcp: true, ..Asked::new(who, what, id, false, due) }
}

/// Sends all of a batch, and waits for as many replies (RFC 7766 section 6.2.1.1).
fn converse(mut stream: TcpStream, mut batch: Vec<Asked>, sky: &Sky, tally: &mut Tally) {
    let octets: Vec<u8> = batch.iter().flat_map(|asked| framed(&asked.packet)).collect();
    if let Err(error) = stream.write_all(&octets) {
        tally.broken += 1;
        return tally.tell(&format!("{:?} cannot send: {error}", batch.first().map(|asked| asked.who)));
    }
    tally.sent += batch.len() as u64;
    while !batch.is_empty() {
        let reply = match message(&mut stream) {
            Ok(reply) => reply,
            Err(error) => {
                tally.broken += u64::from(error.kind() != ErrorKind::WouldBlock);
                tally.tell(&format!("a connection ends: {error}"));
                break;
            }
        };
        let id = reply.first_chunk().map(|id| u16::from_be_bytes(*id));
        let Some(place) = batch.iter().position(|asked| Some(asked.id()) == id) else {
            tally.stray += 1;
            continue;
        };
        let asked = batch.swap_remove(place);
        let verdict = asked.judge(&reply, sky);
        tally.enter(&asked, &reply, verdict, asked.due.elapsed());
    }
    batch.iter().for_each(|asked| tally.give_up(asked));
}

/// A message with its length before it (RFC 1035 section 4.2.2).
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// The next message.
pub fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}
