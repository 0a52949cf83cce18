//! The operator's desk: what both listeners know of the daemon, and the reload that they and SIGHUP share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{error, info, warn};

use phzd::config::{Config, Problems, Server as Settings};
use phzd::observation::Observation;
use phzd::resolver::Resolver;
use phzd::server::drops::Drops;

use super::status::{self, Status, seconds};

/// All that the operator can ask for.
#[derive(Debug)]
pub struct Desk {
    /// What serves.
    pub resolver: Arc<Resolver>,
    /// Where the configuration is.
    pub path: PathBuf,
    /// What the daemon was started with.
    pub settings: Settings,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What the kernel dropped.
    pub drops: Drops,
    started: SystemTime,
    loaded: Mutex<Loaded>,
    /// Held over a reload, so that two at one time come one after the other.
    reloading: Mutex<()>,
}

/// What became of reading the configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// When it was last read with success.
    pub at: SystemTime,
    /// Why the last time failed, if it did.
    pub error: Option<String>,
    /// Reloads that succeeded, ...
    pub good: u64,
    /// ... and that did not.
    pub bad: u64,
    /// An answer of a resolver need not be waited for: an older one may be served.
    stale_allowed: bool,
}

impl Desk {
    /// The desk of a daemon that serves by the configuration at `path` on `listen`. It was started with these settings, which
    /// also say whether older answers may serve.
    pub fn new(
        resolver: Arc<Resolver>,
        path: PathBuf,
        (settings, stale_allowed): (Settings, bool),
        listen: Vec<SocketAddr>,
        drops: Drops,
    ) -> Self {
        let started = SystemTime::now();
        let loaded = Mutex::new(Loaded { at: started, error: None, good: 0, bad: 0, stale_allowed });
        let reloading = Mutex::new(());
        Self { resolver, path, settings, listen, drops, started, loaded, reloading }
    }

    /// When the daemon began to serve.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// What became of reading the configuration.
    pub fn loaded(&self) -> Loaded {
        self.latest().clone()
    }

    fn latest(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again; one with a mistake leaves the old policy serving. Reloads that are asked for at one
    /// time come one after the other. Waits for files.
    ///
    /// # Errors
    /// Every mistake.
    pub fn reload(&self) -> Result<Problems, Problems> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        match Config::load(&self.path) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                self.resolver.reload(&config);
                if config.server != (Settings { clients: config.server.clients.clone(), ..self.settings.clone() }) {
                    warn!("changes in [server] other than `clients` take effect when phzd is started again");
                }
                let stale_allowed = !config.upstream.stale.is_zero();
                let mut loaded = self.latest();
                *loaded = Loaded {
                    at: SystemTime::now(),
                    error: None,
                    good: loaded.good + 1,
                    bad: loaded.bad,
                    stale_allowed,
                };
                info!("reloaded");
                Ok(Problems(warnings))
            }
            Err(problems) => {
                error!("not reloaded, the old policy goes on serving:\n{problems}");
                let mut loaded = self.latest();
                (loaded.error, loaded.bad) = (Some(problems.to_string()), loaded.bad + 1);
                Err(problems)
            }
        }
    }

    /// Why the daemon cannot yet answer all that it should; `None` if it can.
    pub fn not_ready(&self, observation: &Observation) -> Option<String> {
        let answered = observation.resolvers.iter().any(|resolver| resolver.answers > 0);
        let why = "no resolver has answered yet, and upstream.stale-seconds allows no older answers";
        (!answered && !self.loaded().stale_allowed).then(|| why.into())
    }

    /// How the daemon is.
    pub fn status(&self) -> Status {
        let observation = self.resolver.observe();
        let not_ready = self.not_ready(&observation);
        let loaded = self.loaded();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            config: self.path.display().to_string(),
            started: seconds(self.started),
            loaded: seconds(loaded.at),
            reload_error: loaded.error.clone(),
            listen: self.listen.clone(),
            not_ready,
            totals: observation.totals,
            waiting: observation.forwarding.waiting,
            budget: observation.forwarding.budget.clone(),
            cache: observation.cache.clone(),
            resolvers: status::Resolver::all(&observation),
            endpoints: observation.endpoints,
        }
    }
}
