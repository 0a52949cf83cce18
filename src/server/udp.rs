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
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use socket2::SockRef;

use crate::pulse::Pulse;
use crate::resolver::{Forwarder, Resolver};
use crate::responder::{Hall, Outcome};
use crate::way_back::datagrams::{Arrival, Envelopes, Inbox, Outbox, prepare};
use crate::way_back::{Waiting, WayBack, regret, shielded};
use crate::wire::Transport;

/// How long a thread sleeps in the kernel before it looks whether it shall stop.
const WAKE: Duration = Duration::from_millis(250);
/// How long a thread waits for room in the send buffer: a busy network card makes some in less than a millisecond, and
/// while replies to neighbours that are not there fill it, others' queries must not wait for seconds.
const ROOM: Duration = Duration::from_millis(20);
/// How long a thread rests after an error that no client can cause and that may therefore stay.
const REST: Duration = Duration::from_millis(100);
/// How long a thread that shall stop goes on with what has come already: a full receive buffer of 4 MB takes a tenth of
/// it, and a flood may not keep the door open.
const LAST: Duration = Duration::from_millis(200);

/// Starts a thread, on `core` if that is one, that answers what comes to `socket` until `stop` is set.
///
/// # Errors
/// If the socket refuses an option, or no thread can be had.
pub fn spawn(
    name: String,
    core: Option<usize>,
    socket: Arc<UdpSocket>,
    resolver: Resolver,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    prepare(&socket, WAKE)?;
    socket.set_write_timeout(Some(ROOM))?;
    let pulse = resolver.pulses().begin(&name);
    thread::Builder::new().name(name).spawn(move || {
        core.into_iter().for_each(stay_on);
        serve(&socket, resolver, &stop, &pulse);
    })
}

/// Has the kernel poll the network card for so long before a reader of this socket sleeps; not at all for zero. It may be
/// refused, which costs a little time and no answer: the log says so.
pub(super) fn poll_busily(socket: &UdpSocket, time: Duration) {
    let Some(microseconds) = u32::try_from(time.as_micros()).ok().filter(|time| *time > 0) else { return };
    if let Err(error) = SockRef::from(socket).set_busy_poll(microseconds) {
        tracing::warn!(
            %error,
            "server.busy-poll-us has no effect: grant CAP_NET_ADMIN, or set net.core.busy_read to as much"
        );
    }
}

/// The cores that this process may use.
pub(super) fn cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(Pid::this()) else { return Vec::new() };
    (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect()
}

/// Keeps the calling thread on one core. If that cannot be, it stays where the kernel likes it.
fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    let stays = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    if let Err(error) = stays {
        tracing::warn!(%error, core, "server.pin-threads has no effect for a thread");
    }
}

/// The thread.
fn serve(socket: &Arc<UdpSocket>, mut resolver: Resolver, stop: &AtomicBool, pulse: &Pulse) {
    // `prepare` has asked the same before, and was answered.
    let Ok(mut inbox) = Inbox::new(socket) else { return };
    let (mut outbox, mut envelopes) = (Outbox::new(), Envelopes::patient());
    let mut patience = Patience::default();
    while !stop.load(Relaxed) {
        pulse.beat();
        match inbox.receive(socket) {
            Ok(()) => answer_all(&inbox, socket, &mut resolver, &mut outbox, &mut envelopes),
            Err(error) => patience.bear(&error, socket),
        }
    }
    // Who asked before the end is answered: not all of them would ask again, and somebody else.
    let end = Instant::now() + LAST;
    while Instant::now() < end && inbox.receive_waiting(socket).is_ok() {
        answer_all(&inbox, socket, &mut resolver, &mut outbox, &mut envelopes);
    }
}

/// Answers a batch.
fn answer_all(
    inbox: &Inbox,
    socket: &Arc<UdpSocket>,
    resolver: &mut Resolver,
    outbox: &mut Outbox,
    envelopes: &mut Envelopes,
) {
    let now = Instant::now();
    let (mut hall, forwarder) = resolver.enter();
    // What panics here will once more where it is counted.
    let _ = shielded(|| hall.foresee(inbox.datagrams().map(|(bytes, _)| bytes)));
    for datagram in inbox.datagrams() {
        if shielded(|| answer(datagram, socket, &mut hall, &forwarder, now, outbox)).is_none() {
            regret(hall.counts());
        }
    }
    drop(hall);
    let replies = outbox.len();
    let unsent = outbox.send(socket, envelopes);
    let counts = resolver.responder().counts();
    counts.at_once.add(now.elapsed(), replies as u64);
    if unsent > 0 {
        counts.unsent.add(unsent);
    }
}

/// Answers one datagram, or sees to it that it will be.
fn answer(
    (bytes, arrival): (&[u8], &Arrival),
    socket: &Arc<UdpSocket>,
    hall: &mut Hall<'_>,
    forwarder: &Forwarder<'_>,
    now: Instant,
    outbox: &mut Outbox,
) {
    let &Arrival { client, asked, .. } = arrival;
    if !arrival.whole {
        // Cut short, so its end is not known. Nobody sends a query of so many octets, and telling a query from a reply,
        // which must never be replied to, is not this room's business: no reply.
        hall.cut_short(client, now);
        return;
    }
    match hall.respond(bytes, client, Transport::Udp, now, outbox.space()) {
        Outcome::Drop => {}
        Outcome::Reply(length) => outbox.keep(length, client, asked),
        Outcome::Forward(pending) => {
            let way_back = WayBack::Udp { socket: Arc::clone(socket), asked };
            if let Err(turned_away) = forwarder.take(Waiting { pending, way_back }) {
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
