//! Questions over TLS and over HTTPS (RFC 7858, RFC 8484), on connections that are kept.
//!
//! Apart from [`super::exchange`], whose thread must not wait for anybody: handshakes and HTTP/2 are tasks of a runtime,
//! which starts with the first such question. hickory has the connections and decides nothing. Its resolver and its pool
//! repeat questions by themselves, so they are left out: a question is sent once, and the forwarder does the rest.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hickory_resolver::TlsConfig;
use hickory_resolver::net::h2::HttpsClientStream;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tls::tls_client_connect;
use hickory_resolver::net::xfer::{DnsExchange, DnsRequestSender, FirstAnswer};
use hickory_resolver::net::{DnsHandle, DnsMultiplexer, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout_at;

use super::flight::Flown;
use crate::config::{Channel, Target};

/// Questions at one time. They share connections, so this bounds memory alone.
const MAX_QUESTIONS: usize = 1024;
/// How long a connection may be idle. Resolvers keep them for about as long.
const IDLE: Duration = Duration::from_secs(30);
/// hickory's own patience, longer than any question's.
const NO_LIMIT: Duration = Duration::from_secs(3600);

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
    pub fn start(wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("encrypted").enable_all().build()?;
        let (ends, ended) = channel();
        let (trust, lines, wake) = (Arc::default(), HashMap::new(), Arc::new(wake));
        Ok(Self { runtime, trust, lines, questions: 0, ends, ended, wake })
    }

    /// Asks `target`. Sooner or later, at `until` at the latest, [`Self::ended`] has what came of it.
    pub fn fetch(&mut self, flight: Flown, target: &Target, message: Vec<u8>, until: Instant, now: Instant) {
        self.questions += 1;
        let (ends, wake) = (self.ends.clone(), Arc::clone(&self.wake));
        let ending = Ending { flight, reply: None, ends, wake };
        if self.questions > MAX_QUESTIONS {
            return;
        }
        let used = self.lines.entry(target.clone()).or_insert_with(|| Used { line: Line::to(target), at: now });
        used.at = now;
        let (line, trust) = (Arc::clone(&used.line), Arc::clone(&self.trust));
        self.runtime.spawn(async move {
            let reply = line.ask(&trust, &message, until.into()).await;
            ending.with(reply);
        });
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
    /// Locked while somebody connects: the others wait for that.
    connection: Mutex<Option<Connection>>,
    /// There was no connection to be had, and that has been said.
    failing: AtomicBool,
}

/// A connection, shared by all questions to the target.
#[derive(Clone)]
struct Connection {
    exchange: DnsExchange<TokioRuntimeProvider>,
    /// How many replies have come.
    replies: Arc<AtomicU64>,
}

impl Line {
    fn to(target: &Target) -> Arc<Self> {
        Self { target: target.clone(), connection: Mutex::default(), failing: AtomicBool::default() }.into()
    }

    /// Sends a message; the reply is what came, with the message's own id.
    async fn ask(&self, trust: &OnceCell<TlsConfig>, message: &[u8], until: tokio::time::Instant) -> Option<Vec<u8>> {
        let request = Message::from_vec(message).ok()?;
        for _ in 0..2 {
            let (connection, kept) = match timeout_at(until, self.connection(trust)).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return self.tell(&error),
                Err(_) => return self.tell(&NetError::Timeout),
            };
            let before = connection.replies.load(Relaxed);
            let request = DnsRequest::new(request.clone(), DnsRequestOptions::default());
            match timeout_at(until, connection.exchange.send(request).first_answer()).await {
                Ok(Ok(reply)) => {
                    connection.replies.fetch_add(1, Relaxed);
                    // hickory draws ids of its own, and has none over HTTPS (RFC 8484 section 4.1).
                    let mut reply = reply.into_buffer();
                    reply.iter_mut().zip(message).take(2).for_each(|(octet, ours)| *octet = *ours);
                    return Some(reply);
                }
                // Others had replies meanwhile, so it is the resolver that takes its time.
                Err(_) if connection.replies.load(Relaxed) > before => return None,
                end => {
                    self.forget(&connection);
                    // A resolver may close a kept connection at any time, with our question on its way (RFC 7766 section
                    // 6.2.4). Nothing else is asked again.
                    if !kept || end.is_err() {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// The connection, and whether it was there already.
    async fn connection(&self, trust: &OnceCell<TlsConfig>) -> Result<(Connection, bool), NetError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok((connection.clone(), true));
        }
        let tls = trust.get_or_try_init(async || TlsConfig::new()).await?;
        let exchange = connect(&self.target, tls).await?;
        if self.failing.swap(false, Relaxed) {
            tracing::info!(resolver = %self.target.address, "connected again");
        }
        let new = Connection { exchange, replies: Arc::default() };
        Ok((connection.insert(new).clone(), false))
    }

    /// Whoever asks next connects anew. Those who still wait for a reply on this one have it for as long.
    fn forget(&self, dead: &Connection) {
        // Where it is locked, somebody connects already.
        if let Ok(mut connection) = self.connection.try_lock() {
            connection.take_if(|connection| Arc::ptr_eq(&connection.replies, &dead.replies));
        }
    }

    /// Says once that there is no connection.
    fn tell(&self, error: &NetError) -> Option<Vec<u8>> {
        if !self.failing.swap(true, Relaxed) {
            tracing::warn!(resolver = %self.target.address, %error, "no encrypted connection, which is said once");
        }
        None
    }
}

/// Connects, and shakes hands.
async fn connect(target: &Target, tls: &TlsConfig) -> Result<DnsExchange<TokioRuntimeProvider>, NetError> {
    let (tls, provider) = (Arc::new(tls.config.clone()), TokioRuntimeProvider::default());
    match &target.channel {
        Channel::Plain => Err(NetError::Message("a plain target has no encrypted connection")),
        Channel::Tls(host) => {
            let name = host.clone().try_into().map_err(|_| NetError::Message("no certificate can be for this name"))?;
            let (stream, handle) = tls_client_connect(target.address, name, tls, provider);
            let stream = DnsMultiplexer::new(stream.await?, handle).with_timeout(NO_LIMIT);
            Ok(carry(stream.with_max_active_requests(MAX_QUESTIONS)))
        }
        Channel::Https { host, path } => {
            let stream = HttpsClientStream::builder(tls, provider);
            Ok(carry(stream.build(target.address, host.as_str().into(), path.as_str().into()).await?))
        }
    }
}

/// A task that has the connection until it ends, or nobody holds what comes back any more.
fn carry(stream: impl DnsRequestSender) -> DnsExchange<TokioRuntimeProvider> {
    let (exchange, background) = DnsExchange::from_stream(stream);
    tokio::spawn(background);
    exchange
}
