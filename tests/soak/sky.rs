//! How things stand while clients ask: what an answer may be depends on it, and while it changes both are right.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that changes now and then.
#[derive(Debug)]
pub struct Phase<T>(Mutex<Stand<T>>);

#[derive(Debug)]
struct Stand<T> {
    value: T,
    /// Since when all have noticed; none while it changes.
    since: Option<Instant>,
}

impl<T: Copy> Phase<T> {
    /// It has always been so.
    pub fn new(value: T) -> Phase<T> {
        Phase(Mutex::new(Stand { value, since: Some(Instant::now()) }))
    }

    /// What it has been ever since `from`; none if it has changed meanwhile.
    pub fn since(&self, from: Instant) -> Option<T> {
        let stand = self.stand();
        stand.since.is_some_and(|since| since <= from).then_some(stand.value)
    }

    /// Changes it by `work`, and everybody has noticed after `settles`.
    pub fn change<R>(&self, value: T, settles: Duration, work: impl FnOnce() -> R) -> R {
        self.stand().since = None;
        let done = work();
        *self.stand() = Stand { value, since: Some(Instant::now() + settles) };
        done
    }

    fn stand(&self) -> MutexGuard<'_, Stand<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that changes.
#[derive(Debug)]
pub struct Sky {
    /// Whether the resolver answers well.
    pub resolver: Phase<bool>,
    /// Whether the configuration with the buckets of every second one serves.
    pub sometimes: Phase<bool>,
    /// Whether the endpoint that comes and goes is there.
    pub endpoint: Phase<bool>,
}

impl Sky {
    /// All is there.
    pub fn clear() -> Sky {
        Sky { resolver: Phase::new(true), sometimes: Phase::new(true), endpoint: Phase::new(true) }
    }
}
