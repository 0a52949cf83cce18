//! The operator's desk: what both listeners know of the daemon, and the reload that they and SIGHUP share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{error, info, warn};

use phzd::config::{Config, Place, Problem, Problems, Source};
use phzd::metrics::Count;
use phzd::observation::Observation;
use phzd::resolver::Resolver;

use super::status::{self, Status, seconds};
use crate::listening::Listening;
use crate::systemd;

/// All that the operator can ask for.
#[derive(Debug)]
pub struct Desk {
    /// What serves.
    pub resolver: Arc<Resolver>,
    /// Where the configuration is.
    pub path: PathBuf,
    /// Where it listens.
    pub listening: Arc<Listening>,
    /// Connections to the operator that were closed because there were too many; its thread counts them.
    pub turned_away: Count,
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

impl Loaded {
    fn succeed(&mut self, stale_allowed: bool) {
        *self = Self { at: SystemTime::now(), error: None, good: self.good + 1, bad: self.bad, stale_allowed };
    }

    fn fail(&mut self, problems: &Problems) {
        (self.error, self.bad) = (Some(problems.to_string()), self.bad + 1);
    }
}

impl Desk {
    /// The desk of a daemon that serves by the configuration at `path`, which says whether older answers may serve.
    pub fn new(resolver: Arc<Resolver>, path: PathBuf, listening: Arc<Listening>, stale_allowed: bool) -> Self {
        let started = SystemTime::now();
        let loaded = Mutex::new(Loaded { at: started, error: None, good: 0, bad: 0, stale_allowed });
        let reloading = Mutex::new(());
        let turned_away = Count::default();
        Self { resolver, path, listening, turned_away, started, loaded, reloading }
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

    /// Reads the configuration again; one with a mistake, or with a listen address that is not to be had, leaves the old
    /// policy serving. Reloads that are asked for at one time come one after the other. Waits for files.
    ///
    /// # Errors
    /// Every mistake.
    pub fn reload(&self) -> Result<Problems, Problems> {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        systemd::reloading();
        let reloaded = Config::load(&self.path).and_then(|(config, warnings)| {
            warnings.iter().for_each(|warning| warn!("{warning}"));
            self.listening.change(&config, || self.resolver.reload(&config)).map_err(|error| {
                let file = Place::whole(&Source::new(self.path.display().to_string(), ""));
                Problems(vec![Problem::mistake(Some(&file), error.to_string())])
            })?;
            let waiting = self.listening.not_in_force(&config.server);
            if !waiting.is_empty() {
                warn!("of [server], {} will be in force when phzd is started again", waiting.join(", "));
            }
            info!("reloaded");
            Ok((Problems(warnings), !config.upstream.stale.is_zero()))
        });
        match &reloaded {
            Ok((_, stale_allowed)) => self.latest().succeed(*stale_allowed),
            Err(problems) => {
                error!("not reloaded, the old policy goes on serving:\n{problems}");
                self.latest().fail(problems);
            }
        }
        systemd::ready(&self.in_a_line());
        reloaded.map(|(warnings, _)| warnings)
    }

    /// How the daemon is, in a line.
    pub fn in_a_line(&self) -> String {
        match self.loaded().error {
            Some(error) => format!("not reloaded, the old policy goes on serving: {error}"),
            None => {
                let addresses = self.listening.addresses();
                format!("serving on {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
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
            listen: self.listening.addresses(),
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
