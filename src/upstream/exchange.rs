//! The sockets towards resolvers, and the one thread that waits on them all.
//!
//! [`super::forward`] decides; here it is carried out: datagrams from connected sockets, TCP for what was truncated.
//! One thread, one epoll, no task and no new socket for each question. What it learns in one turn it hands on in one
//! batch. Targets over TLS and HTTPS are the business of [`super::encrypted`].

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket2::{Domain, Protocol, Socket, Type};

use super::cache::Hit;
use super::encrypted::Encrypted;
pub use super::encrypted::MAX_QUESTIONS;
use super::forward::{Action, Ask, Flown, Forwarder, MAX_WAITING};
use super::{Upstream, stream};
use crate::config::{Channel, Target};
use crate::pulse::{Pulse, Pulses};
use crate::wire::Name;

/// Datagrams taken from one socket before others have their turn.
const DATAGRAMS_PER_TURN: usize = 32;
/// The largest datagram a resolver may send: more than any it was told to (1232).
const DATAGRAM: usize = 4096;
/// TCP exchanges at one time, each with a descriptor. Truncated answers are rare: so many at once are an attack or a
/// mistake, and those who wait for what is over are told so at once.
pub const MAX_STREAMS: usize = 256;
/// Sockets looked at in one turn.
const EVENTS: usize = 128;
/// How often the thread looks around when nothing happens, so that a stop is noticed.
const IDLE: Duration = Duration::from_secs(1);
/// The thread's name.
const NAME: &str = "forward";
/// The event number of the waker; UDP sockets have theirs, and TCP exchanges have [`STREAMS`] added.
const WAKER: u64 = u64::MAX;
/// See [`WAKER`].
const STREAMS: u64 = 1 << 32;

/// Takes answers to those who waited for them. Called on the forwarder's thread: it must not block.
pub trait Deliver<W> {
    /// Delivers and leaves `answered` empty. Those whom an answer leads to another question go into `again`.
    fn deliver(&mut self, answered: &mut Vec<(W, Hit)>, now: Instant, again: &mut Vec<Ask<W>>);
}

/// The way to the forwarder, for any thread. When the last is gone the forwarder ends.
#[derive(Debug)]
pub struct Exchange<W> {
    questions: SyncSender<Event<W>>,
    waker: Arc<Waker>,
    upstream: Arc<Upstream>,
}

/// What the forwarder is told from outside.
#[derive(Debug)]
enum Event<W> {
    Ask(Ask<W>),
    Probe(Vec<(SocketAddr, Name)>),
}

/// Wakes the forwarder if it sleeps.
#[derive(Debug)]
struct Waker {
    event: EventFd,
    sleeping: AtomicBool,
}

impl Waker {
    fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // It can fail only when the counter is full, and then the thread is being woken already.
            let _ = self.event.write(1);
        }
    }
}

impl<W> Clone for Exchange<W> {
    fn clone(&self) -> Self {
        let Self { questions, waker, upstream } = self;
        Self { questions: questions.clone(), waker: Arc::clone(waker), upstream: Arc::clone(upstream) }
    }
}

impl<W> Drop for Exchange<W> {
    fn drop(&mut self) {
        self.waker.wake();
    }
}

impl<W: Send + 'static> Exchange<W> {
    /// Starts the forwarder on a thread of its own, which makes the deliverer first.
    ///
    /// # Errors
    /// No thread or no epoll could be had.
    pub fn start<D: Deliver<W>>(
        upstream: Arc<Upstream>,
        pulses: &Pulses,
        deliver: impl FnOnce() -> D + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, events) = sync_channel(MAX_WAITING);
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let waker = Arc::new(Waker { event, sleeping: AtomicBool::new(false) });
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&waker.event, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let (shared, own_waker) = (Arc::clone(&upstream), Arc::clone(&waker));
        let (pulse, pulses) = (pulses.begin(NAME), pulses.clone());
        let drive = move || {
            let mut driver = Driver {
                forwarder: Forwarder::new(Arc::clone(&shared), rand::random()),
                upstream: shared,
                events,
                waker: own_waker,
                epoll,
                sockets: Vec::new(),
                streams: HashMap::new(),
                encrypted: None,
                deliver: deliver(),
                pulse,
                pulses,
            };
            // Every query of the host passes here: a mistake of ours may cost those who wait now, but no others.
            while catch_unwind(AssertUnwindSafe(|| driver.run())).is_err() {
                driver.begin_anew();
            }
        };
        thread::Builder::new().name(NAME.into()).spawn(drive)?;
        let bell = Arc::downgrade(&waker);
        upstream.renewals.tell(move || _ = bell.upgrade().map(|waker| waker.wake()));
        Ok(Self { questions, waker, upstream })
    }

    /// Asks. `Err` gives the waiter back: there is no place for it.
    ///
    /// # Errors
    /// The waiter, if the forwarder does not get through its work or is gone.
    pub fn ask(&self, ask: Ask<W>) -> Result<(), W> {
        self.upstream.waiting.fetch_add(1, Ordering::Relaxed);
        match self.questions.try_send(Event::Ask(ask)) {
            Ok(()) => {
                self.waker.wake();
                Ok(())
            }
            Err(TrySendError::Full(Event::Ask(ask)) | TrySendError::Disconnected(Event::Ask(ask))) => {
                self.upstream.delivered(1);
                Err(ask.waiter)
            }
            Err(_) => unreachable!("what comes back is what was sent"),
        }
    }

    /// Sends each resolver a random name below the one that stands with it, to see whether it comes back to our own door.
    pub fn probe(&self, resolvers: Vec<(SocketAddr, Name)>) {
        // With the channel full, the resolvers are busy enough to show a loop by themselves.
        if self.questions.try_send(Event::Probe(resolvers)).is_ok() {
            self.waker.wake();
        }
    }
}

/// The forwarder's thread.
struct Driver<W, D> {
    forwarder: Forwarder<W>,
    upstream: Arc<Upstream>,
    events: Receiver<Event<W>>,
    waker: Arc<Waker>,
    epoll: Epoll,
    /// UDP sockets, each at the forwarder's number: these are small, and given again.
    sockets: Vec<Option<Open>>,
    /// TCP exchanges by the key of their event.
    streams: HashMap<u64, Fetching>,
    /// There since the first target that is not plain.
    encrypted: Option<Encrypted>,
    deliver: D,
    pulse: Pulse,
    /// For the runtime of `encrypted`.
    pulses: Pulses,
}

/// A UDP socket and where it is bound.
struct Open {
    socket: UdpSocket,
    local: SocketAddr,
}

/// A TCP exchange and for whom.
struct Fetching {
    exchange: stream::Exchange,
    flight: Flown,
    until: Instant,
}

impl<W, D: Deliver<W>> Driver<W, D> {
    /// Forgets all that was under way.
    fn begin_anew(&mut self) {
        tracing::error!("the forwarder panicked and begins anew: please report it");
        self.sockets.drain(..).flatten().for_each(|open| self.upstream.loops.closed(open.local));
        self.streams.clear();
        self.encrypted = None;
        self.forwarder = Forwarder::new(Arc::clone(&self.upstream), rand::random());
        self.upstream.waiting.store(0, Ordering::Relaxed);
    }

    /// Until nobody can ask any more and nobody waits.
    fn run(&mut self) {
        let mut ready = vec![EpollEvent::empty(); EVENTS];
        let mut buffer = vec![0; DATAGRAM];
        loop {
            self.pulse.beat();
            let asked = self.take_events(Instant::now());
            if asked == Asked::Never && self.forwarder.is_idle() {
                return;
            }
            self.carry_out();
            let count = self.wait(&mut ready);
            let now = Instant::now();
            for event in ready.iter().take(count) {
                match event.data() {
                    WAKER => _ = self.waker.event.read(),
                    number @ STREAMS.. => self.advance(number, now),
                    number => self.receive(number as usize, &mut buffer, now),
                }
            }
            self.expire_streams(now);
            self.encrypted.iter_mut().for_each(|encrypted| encrypted.sweep(now));
            self.forwarder.tick(now);
            self.carry_out();
        }
    }

    /// Takes what was asked meanwhile.
    fn take_events(&mut self, now: Instant) -> Asked {
        while let Some((flight, message)) = self.encrypted.as_mut().and_then(Encrypted::ended) {
            self.forwarder.fetched(flight, message.as_deref(), now);
        }
        for _ in 0..MAX_WAITING {
            match self.events.try_recv() {
                Ok(Event::Ask(ask)) => self.forwarder.ask(ask, now),
                Ok(Event::Probe(resolvers)) => self.forwarder.probe(&resolvers, now),
                Err(TryRecvError::Empty) => return Asked::Enough,
                Err(TryRecvError::Disconnected) => return Asked::Never,
            }
        }
        Asked::Enough
    }

    /// Sleeps until a socket is ready, the waker is used, or time has come; returns how many events there are.
    fn wait(&mut self, ready: &mut [EpollEvent]) -> usize {
        self.waker.sleeping.store(true, Ordering::SeqCst);
        // Whoever asked before the flag was up did not wake us, so we look once more after it is.
        let now = Instant::now();
        let timeout = match self.take_events(now) {
            _ if !self.forwarder.actions().is_empty() || !self.forwarder.answered().is_empty() => Duration::ZERO,
            _ => self.next_due(now).map_or(IDLE, |due| due.saturating_duration_since(now)).min(IDLE),
        };
        // Rounded up: a timer must be due when the sleep ends, or it would be slept for again and again.
        let millis = timeout.as_micros().div_ceil(1000) as u16;
        let count = self.epoll.wait(ready, EpollTimeout::from(millis)).unwrap_or(0);
        self.waker.sleeping.store(false, Ordering::SeqCst);
        count
    }

    /// When something must be done though nothing comes.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let streams = self.streams.values().map(|fetching| fetching.until);
        streams.chain(self.forwarder.next_tick(now)).min()
    }

    /// Does what the forwarder decided, and delivers the answers it has.
    fn carry_out(&mut self) {
        // What fails here may make the forwarder decide anew, and an answer may lead to another question, so it goes on
        // until there is nothing left to do.
        loop {
            while !self.forwarder.actions().is_empty() {
                for action in std::mem::take(self.forwarder.actions()) {
                    match action {
                        Action::Open { socket, resolver } => self.open(socket, resolver),
                        Action::Send { socket, message } => self.send(socket, &message),
                        Action::Close { socket } => self.close(socket),
                        Action::Fetch { flight, target, message, until } => {
                            self.fetch(flight, &target, message, until);
                        }
                    }
                }
            }
            if self.forwarder.answered().is_empty() {
                return;
            }
            self.deliver_answers();
        }
    }

    /// Hands over the answers that have come, and asks what they lead to.
    fn deliver_answers(&mut self) {
        let (answered, now) = (self.forwarder.answered(), Instant::now());
        let waiting = answered.len();
        let mut again = Vec::new();
        self.deliver.deliver(answered, now, &mut again);
        answered.clear();
        // Only now: a server that stops when nobody waits must not stop before the last reply is sent.
        self.upstream.delivered(waiting.saturating_sub(again.len()));
        for ask in again {
            self.forwarder.ask(ask, now);
        }
    }

    fn open(&mut self, number: usize, resolver: SocketAddr) {
        match connect(resolver).and_then(|open| {
            self.epoll.add(open.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            Ok(open)
        }) {
            Ok(open) => {
                self.upstream.loops.opened(open.local);
                if self.sockets.len() <= number {
                    self.sockets.resize_with(number + 1, || None);
                }
                self.sockets[number] = Some(open);
            }
            // No socket to be had, or no way there: as good as a host that says nobody listens.
            Err(_) => self.forwarder.unreachable(number, Instant::now()),
        }
    }

    fn send(&mut self, number: usize, message: &[u8]) {
        let Some(Some(Open { socket, .. })) = self.sockets.get(number) else { return };
        // An error may be of the datagram before, and is gone once told; the second try is this one's own.
        if socket.send(message).is_err()
            && socket.send(message).is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
        {
            self.forwarder.unreachable(number, Instant::now());
        }
    }

    fn close(&mut self, number: usize) {
        if let Some(open) = self.sockets.get_mut(number).and_then(Option::take) {
            self.upstream.loops.closed(open.local);
            let _ = self.epoll.delete(open.socket.as_fd());
        }
    }

    fn receive(&mut self, number: usize, buffer: &mut [u8], now: Instant) {
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some(Some(Open { socket, .. })) = self.sockets.get(number) else { return };
            match socket.recv(buffer) {
                Ok(length) => self.forwarder.datagram(number, buffer.get(..length).unwrap_or_default(), now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.forwarder.unreachable(number, now),
            }
        }
    }

    fn fetch(&mut self, flight: Flown, target: &Target, message: Vec<u8>, until: Instant) {
        if target.channel == Channel::Plain {
            return self.fetch_plain(flight, target.address, &message, until);
        }
        let now = Instant::now();
        if self.encrypted.is_none() {
            let waker = Arc::clone(&self.waker);
            self.encrypted = Encrypted::start(&self.pulses, move || waker.wake()).ok();
        }
        let Some(encrypted) = &mut self.encrypted else { return self.forwarder.fetched(flight, None, now) };
        if !encrypted.fetch(flight, target, message, until, now) {
            self.forwarder.no_stream(flight, now);
        }
    }

    fn fetch_plain(&mut self, flight: Flown, resolver: SocketAddr, message: &[u8], until: Instant) {
        let number = STREAMS + flight.number();
        if self.streams.len() >= MAX_STREAMS {
            return self.forwarder.no_stream(flight, Instant::now());
        }
        let begun = stream::Exchange::begin(resolver, message).and_then(|exchange| {
            let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            self.epoll.add(exchange.socket(), EpollEvent::new(interest, number))?;
            Ok(exchange)
        });
        match begun {
            Ok(exchange) => drop(self.streams.insert(number, Fetching { exchange, flight, until })),
            Err(_) => self.forwarder.fetched(flight, None, Instant::now()),
        }
    }

    fn advance(&mut self, number: u64, now: Instant) {
        let Some(fetching) = self.streams.get_mut(&number) else { return };
        let ended = match fetching.exchange.advance() {
            Ok(None) => return,
            Ok(Some(message)) => Some(message),
            Err(_) => None,
        };
        if let Some(Fetching { flight, .. }) = self.streams.remove(&number) {
            self.forwarder.fetched(flight, ended.as_deref(), now);
        }
    }

    /// Gives up TCP exchanges whose time is over, or whose answer nobody waits for any more.
    fn expire_streams(&mut self, now: Instant) {
        let Self { streams, forwarder, .. } = self;
        let over = |_: &u64, fetching: &mut Fetching| fetching.until <= now || !forwarder.awaits(fetching.flight);
        let expired: Vec<Flown> = streams.extract_if(over).map(|(_, fetching)| fetching.flight).collect();
        expired.into_iter().for_each(|flight| forwarder.fetched(flight, None, now));
    }
}

/// Whether more will be asked.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Enough,
    Never,
}

/// A socket connected to `resolver`, from a port that the kernel draws at random.
fn connect(resolver: SocketAddr) -> io::Result<Open> {
    let socket = Socket::new(Domain::for_address(resolver), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.connect(&resolver.into())?;
    let socket = UdpSocket::from(socket);
    let local = socket.local_addr()?;
    Ok(Open { socket, local })
}
