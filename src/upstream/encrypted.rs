//! Questions over TLS and over HTTPS, on connections that are kept.
//!
//! Apart from [`super::exchange`], whose thread must not wait for anybody: handshakes and HTTP/2 are tasks of a runtime,
//! which starts with the first such question. A question is sent once; to ask again or another is the forwarder's business.

mod connection;

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TlsConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, watch};
use tokio::time::{timeout, timeout_at};

use self::connection::{Connection, Failure};
use super::flight::Flown;
use crate::config::Target;
use crate::pulse::Pulses;

/// Questions at one time. They share connections, so this bounds memory alone.
pub const MAX_QUESTIONS: usize = 1024;
/// How long a connection may be idle. Resolvers keep them for about as long.
const IDLE: Duration = Duration::from_secs(30);
/// How long an attempt to connect lasts, no matter who waits. A lost packet of TCP's is sent again after a second (RFC 6298
/// section 2), and a far resolver needs one more for its handshake; of the usual four seconds a question that waited in
/// vain has some left for the next attempt.
const MOST_TO_CONNECT: Duration = Duration::from_secs(3);
/// What there is to say then.
const NOT_IN_TIME: &str = "no connection in time";
/// The name of the thread, and of its pulse.
const NAME: &str = "encrypted";

/// Asks targets that are not plain.
pub struct Encrypted {
    runtime: Runtime,
    trust: Arc<OnceCell<TlsConfig>>,
    lines: HashMap<Target, Used>,
    questions: usize,
    ends: Sender<End>,
    ended: Receiver<End>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

/// For whom something was fetched, and the reply if there is one.
pub type End = (Flown, Option<Vec<u8>>);

/// A line, and when it was last asked for.
struct Used {
    line: Arc<Line>,
    at: Instant,
}

impl Encrypted {
    /// Starts the runtime; `wake` is called when [`Self::ended`] has something new.
    ///
    /// # Errors
    /// No thread could be had.
    pub fn start(pulses: &Pulses, wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(NAME).enable_all().build()?;
        runtime.spawn(pulses.begin(NAME).of_runtime());
        let (ends, ended) = channel();
        let (trust, lines, wake) = (Arc::default(), HashMap::new(), Arc::new(wake));
        Ok(Self { runtime, trust, lines, questions: 0, ends, ended, wake })
    }

    /// Asks `target`. Sooner or later, at `until` at the latest, [`Self::ended`] has what came of it. `false` if there is
    /// no place for a question more: then nothing will.
    #[must_use]
    pub fn fetch(&mut self, flight: Flown, target: &Target, message: Vec<u8>, until: Instant, now: Instant) -> bool {
        if self.questions == MAX_QUESTIONS {
            return false;
        }
        self.questions += 1;
        let (ends, wake) = (self.ends.clone(), Arc::clone(&self.wake));
        let ending = Ending { flight, reply: None, ends, wake };
        let used = self.lines.entry(target.clone()).or_insert_with(|| Used { line: Line::to(target), at: now });
        used.at = now;
        let (line, trust) = (Arc::clone(&used.line), Arc::clone(&self.trust));
        self.runtime.spawn(async move {
            let reply = line.ask(&trust, &message, until.into()).await;
            ending.with(reply);
        });
        true
    }

    /// What has ended since.
    pub fn ended(&mut self) -> Option<End> {
        let end = self.ended.try_recv().ok()?;
        self.questions -= 1;
        Some(end)
    }

    /// Lets go of connections that nobody needed for a while.
    pub fn sweep(&mut self, now: Instant) {
        self.lines.retain(|_, used| used.at + IDLE > now || Arc::strong_count(&used.line) > 1);
    }
}

/// Tells how a question ended, even if its task panics.
struct Ending {
    flight: Flown,
    reply: Option<Vec<u8>>,
    ends: Sender<End>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Ending {
    fn with(mut self, reply: Option<Vec<u8>>) {
        self.reply = reply;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens once the forwarder is gone.
        if self.ends.send((self.flight, self.reply.take())).is_ok() {
            (self.wake)();
        }
    }
}

/// The way to one target.
struct Line {
    target: Target,
    kept: Mutex<Option<Kept>>,
    /// The target is of no use, and that has been said.
    failing: AtomicBool,
}

/// A connection, or the attempt at one, shared by all questions to the target.
#[derive(Clone)]
struct Kept {
    /// Nothing yet, while the attempt lasts.
    connected: watch::Receiver<Option<Result<Connection, Arc<io::Error>>>>,
    /// How many replies have come.
    replies: Arc<AtomicU64>,
}

impl Kept {
    /// Connects in a task of its own: whoever asks may have less time left than that takes, and the next one, too.
    fn begin(target: Target, trust: Arc<OnceCell<TlsConfig>>) -> Self {
        let (tell, connected) = watch::channel(None);
        tokio::spawn(async move {
            let connect = async {
                let trust = trust.get_or_try_init(async || TlsConfig::new().map_err(io::Error::other)).await?;
                Connection::to(&target, trust).await
            };
            let ended = timeout(MOST_TO_CONNECT, connect).await;
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other(NOT_IN_TIME)));
            // Nobody may want it any more.
            let _ = tell.send(Some(ended.map_err(Arc::new)));
        });
        Self { connected, replies: Arc::default() }
    }

    fn is_connecting(&self) -> bool {
        self.connected.borrow().is_none()
    }

    /// Sends a message as soon as there is a connection.
    async fn ask(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut connected = self.connected.clone();
        let connection = match connected.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(connection))) => connection.clone(),
            Ok(Some(Err(error))) => return Err(io::Error::other(Arc::clone(error)).into()),
            Ok(None) | Err(_) => return Err(io::Error::from(ErrorKind::ConnectionAborted).into()),
        };
        connection.ask(message).await
    }
}

impl Line {
    fn to(target: &Target) -> Arc<Self> {
        Self { target: target.clone(), kept: Mutex::default(), failing: AtomicBool::default() }.into()
    }

    /// Sends a message; the reply is what came, with the message's own id.
    async fn ask(
        &self,
        trust: &Arc<OnceCell<TlsConfig>>,
        message: &[u8],
        until: tokio::time::Instant,
    ) -> Option<Vec<u8>> {
        for last in [false, true] {
            let (kept, fresh) = self.kept(trust);
            let (connecting, before) = (kept.is_connecting(), kept.replies.load(Relaxed));
            match timeout_at(until, kept.ask(message)).await {
                Ok(Ok(reply)) => {
                    kept.replies.fetch_add(1, Relaxed);
                    if self.failing.swap(false, Relaxed) {
                        tracing::info!("{} answers again", self.target);
                    }
                    return Some(reply);
                }
                Ok(Err(Failure::Said(what))) => return self.say(&what),
                Ok(Err(Failure::Broken(error))) => {
                    self.forget(&kept);
                    // A resolver may close a connection at any time, also with our question on its way to it (RFC 7766
                    // section 6.2.4), and an attempt may have begun when nobody was there. Nothing else is asked again.
                    if fresh || last {
                        return self.say(&error);
                    }
                }
                Err(_) if kept.is_connecting() => return self.say(&NOT_IN_TIME),
                Err(_) => {
                    // Where others had replies meanwhile, it is the resolver that takes its time; and whoever waited
                    // for the connection may have left it none.
                    if !connecting && kept.replies.load(Relaxed) == before {
                        self.forget(&kept);
                    }
                    return None;
                }
            }
        }
        None
    }

    /// The connection, or the attempt at one, and whether it begins with this question.
    fn kept(&self, trust: &Arc<OnceCell<TlsConfig>>) -> (Kept, bool) {
        let mut kept = self.lock();
        if let Some(kept) = &*kept {
            return (kept.clone(), false);
        }
        (kept.insert(Kept::begin(self.target.clone(), Arc::clone(trust))).clone(), true)
    }

    /// Whoever asks next connects anew. Those who still wait for a reply on this one have it for as long.
    fn forget(&self, dead: &Kept) {
        self.lock().take_if(|kept| Arc::ptr_eq(&kept.replies, &dead.replies));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is wrong with the target, once until it answers.
    fn say(&self, what: &impl Display) -> Option<Vec<u8>> {
        if !self.failing.swap(true, Relaxed) {
            tracing::warn!("{} cannot be asked: {what}", self.target);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Channel;

    /// Waits for what has ended.
    fn next_end(encrypted: &mut Encrypted, woken: &Receiver<()>) -> End {
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
        encrypted.ended().unwrap()
    }

    #[test]
    fn every_question_ends_and_a_line_is_let_go_when_idle() {
        let (wake, woken) = channel();
        let mut encrypted = Encrypted::start(&Pulses::default(), move || wake.send(()).unwrap()).unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target { address: nobody, channel: Channel::Tls("127.0.0.1".into()) };
        let now = Instant::now();
        for serial in 0..=MAX_QUESTIONS as u64 {
            let flown = Flown { key: 0, serial };
            let asked = encrypted.fetch(flown, &target, vec![0; 12], now + Duration::from_secs(5), now);
            assert_eq!(asked, serial < MAX_QUESTIONS as u64, "{serial}");
        }
        let mut flown: Vec<u64> = Vec::new();
        for _ in 0..MAX_QUESTIONS {
            let (flight, reply) = next_end(&mut encrypted, &woken);
            assert_eq!(reply, None);
            flown.push(flight.number());
        }
        flown.sort_unstable();
        assert!(flown.into_iter().eq(0..MAX_QUESTIONS as u64), "each ends once");
        assert_eq!(encrypted.questions, 0);
        encrypted.sweep(now + IDLE - Duration::from_millis(1));
        assert_eq!(encrypted.lines.len(), 1);
        // A task holds its line until it is gone itself, which is after its end was told.
        while encrypted.lines.values().any(|used| Arc::strong_count(&used.line) > 1) {
            std::thread::yield_now();
        }
        encrypted.sweep(now + IDLE);
        assert_eq!(encrypted.lines.len(), 0);
    }
}
