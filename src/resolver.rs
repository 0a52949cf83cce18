//! The resolver as a whole, for those who embed it: a policy, a cache and a forwarder, without sockets of its own for
//! clients.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::config::{Config, LogTo};
use crate::endpoint::keeper::Keeper;
use crate::endpoint::watch::Look;
use crate::explanation::{Explanation, Known, Running, explain};
use crate::metrics::{Registry, Totals};
use crate::observation::{CachedAnswer, Observation};
use crate::policy::Policy;
use crate::pulse::Pulses;
use crate::query_log::{QueryLog, writer};
use crate::responder::{Hall, Outcome, Responder};
use crate::upstream::Upstream;
use crate::upstream::exchange::Exchange;
use crate::upstream::ledger::Account;
use crate::upstream::store::Store;
use crate::way_back::{Door, Waiting, WayBack};
use crate::wire::query::MAX_TCP;
use crate::wire::{Name, Transport};

/// Answers queries. Each clone counts for itself: give every thread its own.
#[derive(Debug, Clone)]
pub struct Resolver {
    responder: Responder,
    policy: Arc<ArcSwap<Policy>>,
    upstream: Arc<Upstream>,
    exchange: Exchange<Waiting>,
    keeper: Keeper,
    store: Option<Arc<Store>>,
    registry: Registry,
    /// Of its threads, and of those that others serve it with.
    pulses: Pulses,
    /// Where queries are noted down. It is held over a reload, so that two at one time come one after the other.
    log_to: Arc<Mutex<LogTo>>,
}

impl Resolver {
    /// A resolver with an empty cache; what forwards and what watches over endpoints run on a thread each until the
    /// last clone is gone.
    ///
    /// # Errors
    /// The threads could not be started.
    pub fn start(config: &Config) -> io::Result<Self> {
        Self::start_in(config, None)
    }

    /// The same with a folder, `state`, in which the addresses that endpoints' DNS names had last are kept, and by
    /// [`Resolver::save`] what is cached, so that both are answered after a restart though no resolver answers. Nobody
    /// else may write there meanwhile.
    ///
    /// # Errors
    /// The threads could not be started. A folder that cannot be used is none: the log says so.
    pub fn start_in(config: &Config, state: Option<PathBuf>) -> io::Result<Self> {
        let (registry, pulses) = (Registry::default(), Pulses::default());
        let policy = policy(config, &registry, None);
        // Whoever may be told that the address is not known asks again by `learn_self`.
        let _ = learn_self(&policy);
        let upstream = Arc::new(Upstream::new(config));
        let budget = Arc::clone(&upstream.budget);
        let keeper = Keeper::start(config, policy.endpoints(), state.clone(), registry.register(), budget, &pulses)?;
        let store = state.map(|folder| Arc::new(Store::new(folder)));
        if let Some(store) = &store {
            store.restore(&upstream, policy.routes(), config.cache.bytes);
        }
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let responder = Responder::new(Arc::clone(&policy), Arc::clone(&upstream), registry.clone());
        let at_the_door = responder.clone();
        let exchange = Exchange::start(Arc::clone(&upstream), &pulses, move || Door::new(at_the_door))?;
        let log_to = Arc::new(Mutex::new(config.query_log.to.clone()));
        let resolver = Self { responder, policy, upstream, exchange, keeper, store, registry, pulses, log_to };
        resolver.look_around();
        Ok(resolver)
    }

    /// Swaps the policy for that of another configuration. Queries under way are finished by the new one; what is
    /// cached stays.
    pub fn reload(&self, config: &Config) {
        self.upstream.configure(config);
        let mut log_to = self.log_to.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = policy(config, &self.registry, Some((&log_to, &self.policy.load())));
        log_to.clone_from(&config.query_log.to);
        // Before the swap, so that programs on this host never count as nobody in between.
        let _ = learn_self(&policy);
        // And so that no address that is known is unknown for a moment.
        let endpoints = Arc::clone(policy.endpoints());
        self.keeper.configure(config, &endpoints, || self.policy.store(Arc::new(policy)));
        self.look_around();
    }

    /// Waits until the query log has written what was noted so far, for so long at most; without a log, not at all.
    pub fn wait_for_log(&self, time: Duration) {
        let policy = self.policy.load_full();
        if let Some(log) = policy.query_log() {
            log.wait(time);
        }
    }

    /// Writes what is cached to the state folder, for the next start; without one, nothing is done. Waits for the disk.
    /// Before the end of the process is when it should be called, and now and then, for when that comes unexpectedly.
    pub fn save(&self) {
        if let Some(store) = &self.store {
            store.save(&self.upstream);
        }
    }

    /// Answers one packet at once, or says that a resolver must be asked first.
    pub fn respond(
        &mut self,
        packet: &[u8],
        client: SocketAddr,
        transport: Transport,
        now: Instant,
        out: &mut [u8],
    ) -> Outcome {
        self.responder.enter().respond(packet, client, transport, now, out)
    }

    /// For a batch of packets: the hall as it stands now, and the forwarder for what cannot be answered in it.
    pub fn enter(&mut self) -> (Hall<'_>, Forwarder<'_>) {
        (self.responder.enter(), Forwarder(&self.exchange))
    }

    /// Answers one packet, however long that takes; `None` where no reply is due.
    pub async fn resolve(&mut self, packet: &[u8], client: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let mut out = vec![0; MAX_TCP];
        let length = match self.respond(packet, client, transport, Instant::now(), &mut out) {
            Outcome::Drop => return None,
            Outcome::Reply(length) => length,
            Outcome::Forward(pending) => {
                let (sender, reply) = oneshot::channel();
                match self.forward(Waiting { pending, way_back: WayBack::Caller(sender) }) {
                    Ok(()) => return reply.await.ok(),
                    Err(refused) => self.responder.enter().overloaded(&refused.pending, &mut out),
                }
            }
        };
        out.truncate(length);
        (length > 0).then_some(out)
    }

    /// Hands a waiting query to the forwarder; see [`Forwarder::take`].
    ///
    /// # Errors
    /// The query itself, if the forwarder has no place for it.
    #[expect(clippy::result_large_err, reason = "as with `Forwarder::take`")]
    pub fn forward(&self, waiting: Waiting) -> Result<(), Waiting> {
        Forwarder(&self.exchange).take(waiting)
    }

    /// This thread's way through the hall.
    pub fn responder(&mut self) -> &mut Responder {
        &mut self.responder
    }

    /// The pulses of its threads. Whoever serves with it adds those of its own.
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// Whether a client at `address` may ask at all.
    pub fn may_ask(&self, address: IpAddr) -> bool {
        self.policy.load().clients().identify(address).is_some()
    }

    /// How many queries wait for a resolver.
    pub fn in_flight(&self) -> usize {
        self.upstream.waiting()
    }

    /// What all clones have counted so far.
    pub fn totals(&self) -> Totals {
        self.registry.totals()
    }

    /// All that can be known of it at this moment.
    pub fn observe(&self) -> Observation {
        Observation::new(self.registry.sums(), &self.upstream, self.accounts(), self.keeper.look(), Instant::now())
    }

    /// How the resolvers fare that the policy has: those it once had are nobody's concern.
    fn accounts(&self) -> Vec<Account> {
        let policy = self.policy.load();
        let mut accounts = self.upstream.ledger.accounts();
        accounts.retain(|account| policy.routes().flat_map(|route| route.addresses()).any(|it| it == account.resolver));
        for account in &mut accounts {
            account.forwards_to_us = self.upstream.loops.is_looping(account.resolver);
        }
        accounts
    }

    /// How every endpoint is, in the order of the configuration.
    pub fn endpoints(&self) -> Vec<Look> {
        self.keeper.look()
    }

    /// Why `client` is answered as it is about `name` and the type `kind`. Nothing is sent, counted or kept for that.
    pub fn explain(&self, name: &Name, kind: u16, client: IpAddr) -> Explanation {
        let known = Known { endpoints: self.keeper.look(), resolvers: self.accounts() };
        let policy = self.policy.load_full();
        let running = Running { known: &known, upstream: &self.upstream };
        explain(&policy, (name, kind), client, Some(running), Instant::now())
    }

    /// Forgets what is cached of `name`, and of all names below it if `below` says so; returns how many answers that was.
    pub fn flush(&self, name: &Name, below: bool) -> usize {
        self.upstream.cache().forget(|other| if below { other.is_at_or_below(name) } else { other == name })
    }

    /// What is cached of exactly this name.
    pub fn cached(&self, name: &Name) -> Vec<CachedAnswer> {
        let now = Instant::now();
        self.upstream.cache().of_name(name).iter().map(|listed| CachedAnswer::new(listed, now)).collect()
    }

    /// Learns this host's own address in the VPC, if the configuration does not state it and it is not known yet. That
    /// is done at the start and at each reload as well; this is for when there was no route then. Nothing is sent.
    ///
    /// # Errors
    /// The address that was found and is outside the VPC's blocks, or none if there is no route to the resolver.
    pub fn learn_self(&self) -> Result<(), Option<IpAddr>> {
        learn_self(&self.policy.load())
    }

    /// Whether what resolvers are sent comes back to us. Over TLS and HTTPS nothing can: there is no such door here.
    fn look_around(&self) {
        self.exchange.probe(self.policy.load().resolvers());
    }
}

/// Where queries go that cannot be answered at once.
#[derive(Debug, Clone, Copy)]
pub struct Forwarder<'a>(&'a Exchange<Waiting>);

impl Forwarder<'_> {
    /// Takes a waiting query over. `Err` gives it back: too many wait already, and its reply is what [`Hall::overloaded`]
    /// writes.
    ///
    /// # Errors
    /// The query itself, if there is no place for it.
    #[expect(
        clippy::result_large_err,
        reason = "the caller still has to reply to it, and boxing would cost every forward"
    )]
    pub fn take(&self, waiting: Waiting) -> Result<(), Waiting> {
        self.0.ask(waiting.into())
    }
}

/// The policy of `config`, its subnets counted in `registry`, its queries noted down where it says; that goes on with the
/// thread that `before` had for it, if it is for the same place.
fn policy(config: &Config, registry: &Registry, before: Option<(&LogTo, &Policy)>) -> Policy {
    let ids = registry.subnets(config.subnets.iter().map(|subnet| &*subnet.name));
    let to = &config.query_log.to;
    let going_on = before.filter(|(before, _)| *before == to).and_then(|(_, policy)| policy.query_log());
    let queue = match going_on {
        Some(log) => Some(log.queue().clone()),
        None => writer::start(to, registry).unwrap_or_else(|error| {
            tracing::warn!("no query log: {error}");
            None
        }),
    };
    let query_log = queue.map(|queue| QueryLog::new(&config.query_log, &ids, queue));
    Policy::new(config).counting(ids).logging(query_log)
}

/// Why `client` would be answered as it would about `name` and the type `kind` by a resolver that `config` is for, were it
/// started on this host. Nothing is sent.
pub fn explain_for(config: &Config, name: &Name, kind: u16, client: IpAddr) -> Explanation {
    let policy = Arc::new(Policy::new(config));
    // As at the start; where it is not found out, the explanation says that it is not known.
    let _ = learn_self(&policy);
    explain(&policy, (name, kind), client, None, Instant::now())
}

/// Tells `policy` this host's own address, if it wants to know: the source address that the kernel chooses towards the
/// first resolver.
fn learn_self(policy: &Policy) -> Result<(), Option<IpAddr>> {
    let clients = policy.clients();
    if !clients.self_unknown() {
        return Ok(());
    }
    let resolver = policy.routes().next().and_then(|route| route.addresses().next());
    let address = resolver.and_then(source_towards).ok_or(None)?;
    // Another thread may have been first.
    if clients.learn_self(address) || !clients.self_unknown() { Ok(()) } else { Err(Some(address)) }
}

/// The address of this host from which a packet to `resolver` would leave. Nothing is sent.
pub fn source_towards(resolver: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if resolver.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(resolver).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
