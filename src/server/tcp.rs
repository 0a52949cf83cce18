//! Queries over TCP: messages with their length before them (RFC 1035 section 4.2.2), many on a connection, replied to
//! in the order in which the answers are had (RFC 7766 sections 6.2.1.1 and 7).
//!
//! Tasks, not threads: connections are many and mostly wait. What a stranger can hold is bounded: connections in all
//! and per client ([`super::census`]), octets per connection, queries under way per connection, and time.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::census::{Census, Entry, Seat};
use super::framing::{self, Frame};
use super::{GRACE, LAST_WORDS, Limits};
use crate::metrics::{Count, Counts};
use crate::resolver::Resolver;
use crate::responder::Outcome;
use crate::way_back::{Queue, Waiting, WayBack, regret, shielded};
use crate::wire::Transport;
use crate::wire::query::MAX_TCP;

/// Queries of one connection that may wait for a resolver; then nothing more is read from it. Resolvers behind a
/// pipelining client (a proxy, a forwarder) use some tens; more would let one client take the forwarder's places.
pub const UNDER_WAY: usize = 128;
/// Octets read at once: a query has some 60, so this is many.
const READ: usize = 4096;
/// Octets of replies after which they are written before the next message is answered.
const WRITE: usize = 32 * 1024;
/// Octets of a buffer that an idle connection may keep.
const KEEP: usize = 16 * 1024;
/// How long accepting rests when the process or the system is out of descriptors or memory, ...
const REST: Duration = Duration::from_millis(100);
/// ... and when a connection was closed for that, so that it has gone by then.
const MOMENT: Duration = Duration::from_millis(2);

/// What the connections have in common.
#[derive(Debug)]
pub struct Connections {
    /// A connection always uses the same desk. There is one per core, so that few wait for each other; one per
    /// connection would cost 64 kB each.
    desks: Box<[Arc<Mutex<Desk>>]>,
    next: AtomicUsize,
    census: Arc<Census>,
}

/// A resolver, and the place where it writes.
#[derive(Debug)]
struct Desk {
    resolver: Resolver,
    reply: Box<[u8]>,
}

impl Connections {
    /// No connections yet; they will be answered by clones of `resolver`.
    pub fn new(resolver: &Resolver, limits: Limits) -> Self {
        let desk = || Desk { resolver: resolver.clone(), reply: vec![0; MAX_TCP].into_boxed_slice() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let desks = std::iter::repeat_with(|| Arc::new(Mutex::new(desk()))).take(cores).collect();
        Self { desks, next: AtomicUsize::new(0), census: Census::new(limits) }
    }

    /// The next desk in turn.
    fn desk(&self) -> Arc<Mutex<Desk>> {
        let turn = self.next.fetch_add(1, Relaxed) % self.desks.len();
        Arc::clone(&self.desks[turn])
    }

    /// Adds to a count, of whichever desk.
    fn count(&self, which: fn(&Counts) -> &Count, more: u64) {
        let desk = self.desks.first().into_iter();
        desk.for_each(|desk| which(locked(desk).resolver.responder().counts()).add(more));
    }

    /// What is allowed from now on.
    pub fn limit(&self, limits: Limits) {
        self.census.limit(limits);
    }
}

/// The lock, also after a panic of another holder: every change made under it is complete at each step.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until `closing` says so, and has each served by a task.
pub async fn accept(listener: TcpListener, connections: Arc<Connections>, mut closing: watch::Receiver<bool>) {
    let mut complained = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed(&mut closing) => return,
        };
        match accepted {
            Ok((stream, client)) => admit(stream, client, &connections, &closing),
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !complained {
                    let address = listener.local_addr().map_or_else(|_| "TCP".into(), |address| address.to_string());
                    tracing::error!(
                        "cannot accept connections on {address}: {error}; trying on, and not saying so again"
                    );
                    complained = true;
                }
                // What the whole system is short of, no connection of ours makes good.
                let short = error.raw_os_error() == Some(Errno::EMFILE as i32);
                let closed = if short { connections.census.make_room() } else { None };
                closed.into_iter().for_each(|closed| connections.count(|counts| &counts.tcp_displaced, closed as u64));
                sleep(if closed.is_some() { MOMENT } else { REST }).await;
            }
        }
    }
}

/// Has a new connection served, or closes it at once if there is no place for it.
fn admit(stream: TcpStream, client: SocketAddr, connections: &Connections, closing: &watch::Receiver<bool>) {
    let desk = connections.desk();
    let welcome = locked(&desk).resolver.may_ask(client.ip());
    let seat = match connections.census.enter(client.ip(), welcome) {
        Entry::Refused => return connections.count(|counts| &counts.tcp_refused, 1),
        Entry::Seated(seat) => seat,
        Entry::Instead(seat) => {
            connections.count(|counts| &counts.tcp_displaced, 1);
            seat
        }
    };
    connections.count(|counts| &counts.tcp_connections, 1);
    // Replies are written whole; waiting for more to send with them would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = Connection::new(stream, client, (desk, seat), connections.census.limits().tcp_idle);
    tokio::spawn(connection.live(closing.clone()));
}

/// Done when the server is to close, or is gone.
async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Whether an error of accept is about the connection that it took off the queue (accept(2)), so that the next may
/// well succeed.
fn concerns_one_connection(error: &io::Error) -> bool {
    const OF_ONE: [Errno; 12] = [
        Errno::ECONNABORTED,
        Errno::ECONNRESET,
        Errno::EINTR,
        Errno::EPERM,
        Errno::EPROTO,
        Errno::ENOPROTOOPT,
        Errno::EOPNOTSUPP,
        Errno::EHOSTDOWN,
        Errno::EHOSTUNREACH,
        Errno::ENETDOWN,
        Errno::ENETUNREACH,
        Errno::ENONET,
    ];
    error.raw_os_error().is_some_and(|code| OF_ONE.contains(&Errno::from_raw(code)))
}

/// One client's connection.
struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    seat: Arc<Seat>,
    /// What came and is not answered: at most a message and a bit, and no more room than has come.
    inbound: Vec<u8>,
    /// Replies with their lengths, to be written.
    outbound: Vec<u8>,
    /// The queue to `returned`. A query under way holds one of its places.
    places: mpsc::Sender<Vec<u8>>,
    /// Replies to queries that waited.
    returned: Queue,
    idle: Duration,
    /// When the client has been silent too long, or the message that is coming has taken too long.
    deadline: Instant,
    /// The same without the message that is coming: what queries that got a reply have earned.
    earned: Instant,
}

/// Why answering stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// The next message is not there yet.
    Inbound,
    /// Enough replies are ready to be written.
    Outbound,
    /// Too many queries are under way.
    UnderWay,
    /// Where the next message begins is not known.
    Nonsense,
}

impl Connection {
    fn new(stream: TcpStream, client: SocketAddr, (desk, seat): (Arc<Mutex<Desk>>, Seat), idle: Duration) -> Self {
        let (places, returned) = Queue::of(UNDER_WAY);
        let (inbound, outbound) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + idle;
        let seat = Arc::new(seat);
        Self { stream, client, desk, seat, inbound, outbound, places, returned, idle, deadline, earned: deadline }
    }

    /// Serves until the client, the server or the clock ends it, or its place is another's. How it ends is between the
    /// client and the network; nobody else need know.
    async fn live(self, closing: watch::Receiver<bool>) {
        let (mut deadline, seat) = (closing.clone(), Arc::clone(&self.seat));
        tokio::select! {
            _ = self.serve(closing) => {}
            () = seat.lost() => {}
            () = async { closed(&mut deadline).await; sleep(GRACE).await } => {}
        }
    }

    /// Answers the client's messages until it or the server closes, or it is silent too long.
    async fn serve(mut self, mut closing: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            // First what waited: there is never more of it than has been asked, and of what is answered at once there is.
            self.collect();
            let pause = self.answer();
            self.seat.waiting(UNDER_WAY - self.places.capacity());
            self.write().await?;
            match pause {
                Pause::Outbound => continue,
                Pause::Nonsense => break,
                Pause::Inbound | Pause::UnderWay => {}
            }
            tokio::select! {
                Some(reply) = self.returned.recv() => self.enqueue(&reply),
                // A place is also free again when a query ends without a reply, which `returned` does not show.
                () = async { drop(self.places.reserve().await) }, if pause == Pause::UnderWay => {}
                ready = self.stream.readable(), if pause == Pause::Inbound => {
                    ready?;
                    if !self.read()? {
                        break;
                    }
                }
                () = sleep_until(self.deadline) => {
                    if pause == Pause::UnderWay || self.inbound.is_empty() && self.is_waiting() {
                        self.earn();
                    } else {
                        self.expired();
                        break;
                    }
                }
                () = closed(&mut closing) => break,
            }
        }
        self.finish().await
    }

    /// Whether queries are under way.
    fn is_waiting(&self) -> bool {
        self.places.capacity() < UNDER_WAY
    }

    /// Takes what has come; false if the client will send no more.
    fn read(&mut self) -> io::Result<bool> {
        let was_empty = self.inbound.is_empty();
        // By what comes, never by the length that a message claims.
        self.inbound.reserve(READ);
        match self.stream.try_read_buf(&mut self.inbound) {
            Ok(0) => return Ok(false),
            Ok(_) if was_empty => self.deadline = Instant::now() + self.idle,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Answers the messages that are there, until something must be waited for. A message of length 0 ends the connection,
    /// once what came before it is answered: no program sends one, so where messages begin is no longer known. One that
    /// gets no reply does not: other queries may be under way; but it earns the client no time either.
    fn answer(&mut self) -> Pause {
        let mut desk = locked(&self.desk);
        let Desk { resolver, reply } = &mut *desk;
        let (mut hall, forwarder) = resolver.enter();
        let now = std::time::Instant::now();
        let mut unread = self.inbound.as_slice();
        let (mut useful, mut replies) = (false, 0);
        let pause = loop {
            let (message, rest) = match framing::first(unread) {
                Frame::Whole(message, rest) => (message, rest),
                Frame::Part => break Pause::Inbound,
                Frame::Nonsense => break Pause::Nonsense,
            };
            if self.outbound.len() >= WRITE {
                break Pause::Outbound;
            }
            let Ok(place) = self.places.clone().try_reserve_owned() else {
                hall.counts().tcp_full.add(1);
                break Pause::UnderWay;
            };
            unread = rest;
            let length = shielded(|| match hall.respond(message, self.client, Transport::Tcp, now, reply) {
                Outcome::Drop => None,
                Outcome::Reply(length) => Some(length),
                Outcome::Forward(pending) => {
                    let way_back = WayBack::Tcp(self.returned.place(place));
                    let turned_away = forwarder.take(Waiting { pending, way_back }).err();
                    Some(turned_away.map_or(0, |waiting| hall.overloaded(&waiting.pending, reply)))
                }
            });
            let length = length.unwrap_or_else(|| {
                regret(hall.counts());
                None
            });
            let Some(length) = length else { continue };
            useful = true;
            replies += u64::from(length > 0);
            framing::append(&mut self.outbound, reply.get(..length).unwrap_or_default());
        };
        let answered = self.inbound.len() - unread.len();
        hall.counts().at_once.add(now.elapsed(), replies);
        drop(hall);
        drop(desk);
        self.inbound.drain(..answered);
        if useful {
            self.earn();
        } else if self.inbound.is_empty() {
            self.deadline = self.earned;
        }
        shrink(&mut self.inbound);
        pause
    }

    /// Puts a reply that was waited for with those to be written.
    fn enqueue(&mut self, reply: &[u8]) {
        framing::append(&mut self.outbound, reply);
        self.earn();
    }

    /// Puts what waited with the replies to be written, until these are enough. What is left is bounded where it is.
    fn collect(&mut self) {
        while self.outbound.len() < WRITE
            && let Some(reply) = self.returned.try_recv()
        {
            self.enqueue(&reply);
        }
    }

    /// Gives the client its whole time again.
    fn earn(&mut self) {
        self.earned = Instant::now() + self.idle;
        self.deadline = self.earned;
        self.seat.active();
    }

    /// Writes the replies that are ready. A client that has not taken them all within the time that it may be idle is let
    /// go, though it took some: else it could have them kept for ever.
    async fn write(&mut self) -> io::Result<()> {
        match timeout(self.idle, self.stream.write_all(&self.outbound)).await {
            Ok(written) => written?,
            Err(elapsed) => {
                self.expired();
                return Err(elapsed.into());
            }
        }
        self.outbound.clear();
        shrink(&mut self.outbound);
        Ok(())
    }

    /// Counts that the client's time is over.
    fn expired(&self) {
        locked(&self.desk).resolver.responder().counts().tcp_expired.add(1);
    }

    /// Waits for the queries under way, writes their replies, and closes once the client has, or has had a moment to.
    async fn finish(mut self) -> io::Result<()> {
        // With the last query under way the last sender goes, and the queue ends.
        let (places, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.places, places));
        while let Some(reply) = self.returned.recv().await {
            self.enqueue(&reply);
            self.collect();
            self.write().await?;
        }
        self.stream.shutdown().await?;
        // A connection that is closed with octets unread is reset, and what the client has not had yet goes with it.
        let _ = timeout(LAST_WORDS, tokio::io::copy(&mut self.stream, &mut tokio::io::sink())).await;
        Ok(())
    }
}

impl Drop for Connection {
    /// However it ends, it is not counted as there any more.
    fn drop(&mut self) {
        locked(&self.desk).resolver.responder().counts().tcp_ended.add(1);
    }
}

/// Gives back room that one large message took.
fn shrink(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEEP {
        *buffer = Vec::new();
    }
}
