//! The thread that keeps the tables of endpoints true.
//!
//! [`super::watch`] decides; here it is carried out: lookups, connections, the file. One thread with a runtime of its
//! own, so that whoever embeds the library needs none. The watch stands behind a lock, so that a reload publishes what
//! is known before anybody is answered by the new policy.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::store::Store;
use super::watch::{Action, Found, Kept, Look, Lookup, Watch};
use super::{Endpoints, probe, refresh};
use crate::config::Config;
use crate::metrics::Counts;
use crate::pulse::Pulses;
use crate::upstream::budget::Budget;

/// How often the thread looks around when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
/// The wait before it begins anew after a mistake of ours, so that one that is met each time costs little.
const RECOVER: Duration = Duration::from_secs(1);
/// The name of the thread, and of its pulse.
const NAME: &str = "endpoints";
/// How long the end waits for the file to be written.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The way to the thread. When the last clone is gone it ends.
#[derive(Debug, Clone)]
pub struct Keeper {
    watch: Arc<Mutex<Watch>>,
    wake: Sender<()>,
}

/// What has ended.
#[derive(Debug)]
enum Done {
    LookedUp(Lookup, Found),
    Probed(u64, Result<(), String>),
    Stored(Result<(), String>),
}

impl Keeper {
    /// Starts the thread for the endpoints of `config`, whose tables are `endpoints`. Sets that were kept in the folder
    /// `state` are published before this returns; first lookups are not waited for.
    ///
    /// # Errors
    /// No thread or no runtime could be had.
    pub fn start(
        config: &Config,
        endpoints: &Arc<Endpoints>,
        state: Option<PathBuf>,
        counts: Arc<Counts>,
        budget: Arc<Budget>,
        pulses: &Pulses,
    ) -> io::Result<Self> {
        let store = state.map(Store::new);
        let restored = store.as_ref().map_or(Ok(Vec::new()), Store::read).unwrap_or_else(|told| {
            tracing::warn!("{told}");
            Vec::new()
        });
        let now = Instant::now();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut watch = Watch::new(rand::random(), restored, (now, time), counts);
        watch.configure(config, endpoints, now);
        let watch = Arc::new(Mutex::new(watch));
        let (wake, woken) = channel(1);
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
        let mut driver = Driver { watch: Arc::clone(&watch), woken, store: store.map(Writing::new), budget };
        runtime.spawn(pulses.begin(NAME).of_runtime());
        thread::Builder::new().name(NAME.into()).spawn(move || driver.drive(runtime))?;
        Ok(Self { watch, wake })
    }

    /// Watches the endpoints of another configuration, whose tables are `endpoints`. `swap` has clients answered by
    /// them, and is called once what is known already is published; of two configurations at one time the same is last
    /// here and there.
    pub fn configure(&self, config: &Config, endpoints: &Arc<Endpoints>, swap: impl FnOnce()) {
        {
            let mut watch = lock(&self.watch);
            watch.configure(config, endpoints, Instant::now());
            swap();
        }
        // A full channel will wake it as well.
        let _ = self.wake.try_send(());
    }

    /// How every endpoint is, in the order of the configuration.
    pub fn look(&self) -> Vec<Look> {
        lock(&self.watch).look()
    }
}

/// A mistake of ours may have ended a thread that held it; the driver begins anew then.
fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Driver {
    watch: Arc<Mutex<Watch>>,
    woken: Receiver<()>,
    store: Option<Writing>,
    /// Lookups are packets to the VPC's resolvers like any other.
    budget: Arc<Budget>,
}

/// The file, and what is being written to it.
struct Writing {
    store: Store,
    under_way: bool,
    /// What is to be written when that has ended.
    next: Option<Vec<Kept>>,
    failing: bool,
}

impl Driver {
    fn drive(&mut self, runtime: Runtime) {
        // A mistake in here must not leave the tables as they are for good.
        while catch_unwind(AssertUnwindSafe(|| runtime.block_on(self.run()))).is_err() {
            tracing::error!("the watch over endpoints panicked and begins anew: please report it");
            thread::sleep(RECOVER);
            lock(&self.watch).begin_anew(rand::random(), Instant::now());
            if let Some(writing) = &mut self.store {
                writing.under_way = false;
            }
        }
        runtime.shutdown_timeout(LAST_WRITE);
    }

    /// Until nobody holds the keeper.
    async fn run(&mut self) {
        let mut tasks = JoinSet::new();
        loop {
            let now = Instant::now();
            let (actions, next) = {
                let mut watch = lock(&self.watch);
                watch.tick(now);
                (std::mem::take(watch.actions()), watch.next_tick())
            };
            actions.into_iter().for_each(|action| self.carry_out(action, &mut tasks));
            tokio::select! {
                woken = self.woken.recv() => if woken.is_none() { return },
                Some(done) = tasks.join_next() => match done {
                    Ok(done) => self.done(done, &mut tasks),
                    Err(error) => resume_unwind(error.into_panic()),
                },
                () = sleep_until(next.unwrap_or(now + IDLE).into()) => {}
            }
        }
    }

    fn carry_out(&mut self, action: Action, tasks: &mut JoinSet<Done>) {
        match action {
            Action::LookUp(lookup) => {
                // Never put off: there are few, and every client of the endpoint needs what they find.
                if let Some(resolver) = lookup.resolvers.first() {
                    self.budget.sent_to(*resolver, Instant::now());
                }
                // A task of its own, so that whatever becomes of it this one says how it ended.
                let asked = lookup.clone();
                let found = tokio::spawn(async move { refresh::look_up(&asked).await });
                tasks.spawn(async move {
                    let found = found.await.unwrap_or_else(|error| Found::Failed(error.to_string()));
                    Done::LookedUp(lookup, found)
                });
            }
            Action::Probe { probe, target, patience } => {
                tasks.spawn(async move { Done::Probed(probe, probe::probe(target, patience).await) });
            }
            Action::Store(kept) => {
                if let Some(writing) = &mut self.store {
                    writing.next = Some(kept);
                    writing.begin(tasks);
                }
            }
            Action::Warn(line) => tracing::warn!("{line}"),
            Action::Inform(line) => tracing::info!("{line}"),
        }
    }

    fn done(&mut self, done: Done, tasks: &mut JoinSet<Done>) {
        let now = Instant::now();
        match done {
            Done::LookedUp(lookup, found) => lock(&self.watch).looked_up(&lookup, found, now),
            Done::Probed(probe, result) => lock(&self.watch).probed(probe, result, now),
            Done::Stored(result) => {
                if let Some(writing) = &mut self.store {
                    writing.ended(result);
                    writing.begin(tasks);
                }
            }
        }
    }
}

impl Writing {
    fn new(store: Store) -> Self {
        Self { store, under_way: false, next: None, failing: false }
    }

    /// Writes what is to be written, on a thread that may wait for the disk.
    fn begin(&mut self, tasks: &mut JoinSet<Done>) {
        if self.under_way {
            return;
        }
        if let Some(kept) = self.next.take() {
            self.under_way = true;
            let store = self.store.clone();
            tasks.spawn_blocking(move || Done::Stored(store.write(&kept)));
        }
    }

    /// Says once that it fails.
    fn ended(&mut self, result: Result<(), String>) {
        self.under_way = false;
        let failed = result.is_err();
        if let Err(told) = result
            && !self.failing
        {
            tracing::warn!("{told}");
        }
        self.failing = failed;
    }
}
