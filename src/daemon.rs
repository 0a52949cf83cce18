//! The daemon as a list: signals -> sockets -> resolver -> served -> ready; a reload swaps the policy; a stop drains.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use crate::listening::{self, Listening};
use crate::operator::Operator;
use crate::operator::desk::Desk;
use crate::systemd;
use crate::systemd::inherited::{Inherited, NotServed};
use crate::systemd::watchdog::Watchdog;
use phzd::config::Config;
use phzd::resolver::Resolver;
use phzd::server::sockets::CannotListen;

/// Threads of the runtime that serves TCP; UDP and forwarding have their own.
const RUNTIME_THREADS: usize = 2;
/// How often this host's own address is looked for until it is known, ...
const LEARN_AGAIN: Duration = Duration::from_secs(5);
/// ... and where there is no route yet: while a host boots its address comes later than phzd, and from then on its own
/// programs must not be told what everybody is.
const LEARN_AGAIN_SOON: Duration = Duration::from_millis(50);
/// How often the cache is written, so that a crash costs no more than what was learned since.
const SAVE_AGAIN: Duration = Duration::from_secs(3600);
/// How long a stop waits for it to be written: a large cache on a slow disk, and not one that does not answer.
const LAST_SAVE: Duration = Duration::from_secs(10);

/// How long a stop waits for the last lines of the query log.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why the daemon could not start.
#[derive(Debug)]
pub enum CannotServe {
    /// One of the listen addresses is not to be had.
    Listen(CannotListen),
    /// A socket that phzd was given is none that it would serve.
    Given(NotServed),
    /// The system has no more threads or files for us.
    System(io::Error),
}

impl fmt::Display for CannotServe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Given(error) => error.fmt(f),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl Error for CannotServe {}

impl From<CannotListen> for CannotServe {
    fn from(error: CannotListen) -> Self {
        Self::Listen(error)
    }
}

impl From<NotServed> for CannotServe {
    fn from(error: NotServed) -> Self {
        Self::Given(error)
    }
}

impl From<io::Error> for CannotServe {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A process that is about to serve: a SIGHUP waits for the server from now on. Its default would end a daemon whose
/// configuration takes a while to read, and a service manager takes that for an end that was wanted.
pub struct Daemon {
    runtime: Runtime,
    hangup: Signal,
    inherited: Inherited,
}

impl Daemon {
    /// Prepares the process; comes before the configuration is read.
    ///
    /// # Errors
    /// A system out of threads or files; something that was given to this process and is no socket.
    pub fn prepare() -> Result<Self, CannotServe> {
        // Before there are threads: what was given stands in the environment, and is taken out of it.
        let inherited = Inherited::take()?;
        let runtime = Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
        let hangup = {
            let _inside = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, hangup, inherited })
    }

    /// Serves what `config` says until SIGTERM or SIGINT; SIGHUP reads the file at `path` again. What is learned
    /// and cached is kept in the folder `state`.
    ///
    /// # Errors
    /// A listen address that is not to be had, or a system out of threads.
    pub fn serve(self, path: &Path, config: Config, state: Option<PathBuf>) -> Result<(), CannotServe> {
        let Self { runtime, hangup, inherited } = self;
        let served = runtime.block_on(serve(path, config, state, (hangup, inherited)));
        // A reload may be reading from a disk that does not answer; whoever stops phzd does not wait for that.
        runtime.shutdown_background();
        served
    }
}

async fn serve(
    path: &Path,
    config: Config,
    state: Option<PathBuf>,
    (hangup, inherited): (Signal, Inherited),
) -> Result<(), CannotServe> {
    // Before a socket tells the world that we are there: a signal without a handler ends the process.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let opened = listening::open(&config.server, inherited)?;
    let resolver = Resolver::start_in(&config, state)?;
    let counter = Arc::new(resolver.clone());
    let listening = Arc::new(Listening::start(resolver.clone(), &config, opened)?);
    let (stale, resolvers) = (!config.upstream.stale.is_zero(), config.vpc.resolvers.clone());
    // There may be a hundred thousand names in it, which the policy has by now.
    drop(config);
    let desk = Arc::new(Desk::new(Arc::clone(&counter), path.to_owned(), Arc::clone(&listening), stale));
    let _operator = Operator::start(Arc::clone(&desk))?;
    tokio::spawn(learn_self(resolver.clone()));
    tokio::spawn(save_now_and_then(Arc::clone(&counter)));
    tokio::spawn(resolver.pulses().begin("runtime").of_runtime());
    let watchdog = Watchdog::start(resolver.pulses().clone(), Arc::clone(&listening))?;
    let line = desk.in_a_line();
    info!(addresses = ?listening.addresses(), ?resolvers, "{line}");
    systemd::ready(&line);
    tokio::spawn(reload_on(hangup, desk));
    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
    info!("stopping: what is under way is finished first");
    systemd::stopping();
    drop(watchdog);
    listening.stop().await;
    let _ = timeout(LAST_SAVE, save(Arc::clone(&counter))).await;
    let log = Arc::clone(&counter);
    let _ = tokio::task::spawn_blocking(move || log.wait_for_log(LAST_LINES)).await;
    let totals = counter.totals();
    info!(queries = totals.queries, private = totals.private, forwarded = totals.forwarded, "stopped");
    if totals.log_dropped > 0 {
        warn!(log_dropped = totals.log_dropped, "the query log has lost lines");
    }
    Ok(())
}

/// Looks for this host's own address in the VPC until it is known, and says once if that does not succeed at first.
async fn learn_self(resolver: Resolver) {
    let mut said = false;
    loop {
        let learned = resolver.learn_self();
        let again = if learned == Err(None) { LEARN_AGAIN_SOON } else { LEARN_AGAIN };
        match learned {
            Ok(()) => {}
            Err(_) if said => {}
            Err(found) => {
                let reason = found.map_or_else(
                    || "there is no route to the first resolver yet".into(),
                    |address| format!("towards the first resolver it is {address}, outside vpc.cidrs"),
                );
                warn!(
                    "this host's own address in the VPC is not known ({reason}): until it is, its own programs get what \
                     `others` says; vpc.self can state it"
                );
                said = true;
            }
        }
        sleep(again).await;
    }
}

async fn save_now_and_then(resolver: Arc<Resolver>) {
    loop {
        sleep(SAVE_AGAIN).await;
        save(Arc::clone(&resolver)).await;
    }
}

/// Writes the cache; others use this thread.
async fn save(resolver: Arc<Resolver>) {
    let saved = tokio::task::spawn_blocking(move || resolver.save());
    if saved.await.is_err() {
        error!("the cache could not be written: please report it");
    }
}

/// Reads the configuration again at each SIGHUP. One with a mistake leaves the old policy serving.
async fn reload_on(mut hangup: Signal, desk: Arc<Desk>) {
    while hangup.recv().await.is_some() {
        let desk = Arc::clone(&desk);
        // A large names-file takes a while, and others use this thread. What came of it, the log says.
        if tokio::task::spawn_blocking(move || drop(desk.reload())).await.is_err() {
            error!("the reload failed unexpectedly; the old policy goes on serving");
        }
    }
}
