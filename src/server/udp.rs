//! Queries as datagrams: threads that block in one call for a batch of queries, answer each, and send the replies of
//! the batch together (RFC 1035 section 4.2.1).
//!
//! Plain threads, not tasks: what a zone or the cache answers needs nobody else, and a wake-up of a task costs more
//! than the answer.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::resolver::Resolver;
use crate::responder::{Hall, Outcome};
use crate::upstream::exchange::Exchange;
use crate::way_back::datagrams::{Datagram, Envelopes, Inbox, Outbox, prepare};
use crate::way_back::{Waiting, WayBack, regret, shielded};
use crate::wire::Transport;

/// How long a thread sleeps in the kernel before it looks whether it shall stop.
const WAKE: Duration = Duration::from_millis(250);
/// How long a thread rests after an error that no client can cause and that may therefore stay.
const REST: Duration = Duration::from_millis(100);

/// Starts a thread that answers what comes to `socket` until `stop` is set.
///
/// # Errors
/// If the socket refuses an option, or no thread can be had.
pub fn spawn(
    name: String,
    socket: Arc<UdpSocket>,
    resolver: Resolver,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    prepare(&socket, WAKE)?;
    thread::Builder::new().name(name).spawn(move || serve(&socket, resolver, &stop))
}

/// The thread.
fn serve(socket: &Arc<UdpSocket>, mut resolver: Resolver, stop: &AtomicBool) {
    // `prepare` has asked the same before, and was answered.
    let Ok(mut inbox) = Inbox::new(socket) else { return };
    let (mut outbox, mut envelopes) = (Outbox::new(), Envelopes::patient());
    let mut patience = Patience::default();
    while !stop.load(Relaxed) {
        if let Err(error) = inbox.receive(socket) {
            patience.bear(&error, socket);
            continue;
        }
        let now = Instant::now();
        let (mut hall, forwarder) = resolver.enter();
        hall.foresee(inbox.datagrams().map(|datagram| datagram.bytes));
        for datagram in inbox.datagrams() {
            if shielded(|| answer(&datagram, socket, &mut hall, forwarder, now, &mut outbox)).is_none() {
                regret(hall.counts());
            }
        }
        drop(hall);
        let unsent = outbox.send(socket, &mut envelopes);
        if unsent > 0 {
            resolver.responder().counts().unsent.add(unsent);
        }
    }
}

/// Answers one datagram, or sees to it that it will be.
fn answer(
    datagram: &Datagram<'_>,
    socket: &Arc<UdpSocket>,
    hall: &mut Hall<'_>,
    forwarder: &Exchange<Waiting>,
    now: Instant,
    outbox: &mut Outbox,
) {
    let &Datagram { bytes, client, asked, whole } = datagram;
    if !whole {
        // Cut short, so its end is not known. Nobody sends a query of 4096 octets, and telling a query from a reply,
        // which must never be replied to, is not this room's business: no reply.
        hall.counts().dropped.add(1);
        return;
    }
    match hall.respond(bytes, client, Transport::Udp, now, outbox.space()) {
        Outcome::Drop => {}
        Outcome::Reply(length) => outbox.keep(length, client, asked),
        Outcome::Forward(pending) => {
            let way_back = WayBack::Udp { socket: Arc::clone(socket), asked };
            if let Err(turned_away) = forwarder.ask(Waiting { pending, way_back }.into()) {
                let length = hall.overloaded(&turned_away.pending, outbox.space());
                outbox.keep(length, client, asked);
            }
        }
    }
}

/// Lives with errors of receiving.
#[derive(Default)]
struct Patience {
    /// An error was logged; one line must do.
    complained: bool,
}

impl Patience {
    /// Errors that a client can cause pass at once; any other gets a rest, so that one that stays does not become a
    /// spin, and one line in the log.
    fn bear(&mut self, error: &io::Error, socket: &UdpSocket) {
        if error.raw_os_error().is_some_and(|code| PASSING.contains(&Errno::from_raw(code))) {
            return;
        }
        if !self.complained {
            let address = socket.local_addr().map_or_else(|_| "a UDP socket".into(), |address| address.to_string());
            tracing::error!("cannot receive on {address}: {error}; trying on, and not saying so again");
            self.complained = true;
        }
        thread::sleep(REST);
    }
}

/// Errors of receiving that say nothing about the socket: no query came in time, a signal came, or a client sent a
/// bad datagram or could not be reached by an earlier reply.
const PASSING: [Errno; 9] = [
    Errno::EAGAIN,
    Errno::EINTR,
    Errno::ECONNREFUSED,
    Errno::ECONNRESET,
    Errno::EHOSTUNREACH,
    Errno::ENETUNREACH,
    Errno::EHOSTDOWN,
    Errno::EPROTO,
    Errno::EMSGSIZE,
];
