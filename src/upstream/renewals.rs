//! Popular answers whose time is nearly over, on their way from those who read the cache to the forwarder.
//!
//! The one time in an answer's life that a hit costs more than itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Route;
use crate::wire::{Asked, Question};

/// So many may wait. They are taken out many times a second; what does not fit is asked for when its time is over.
const MOST: usize = 256;

/// What is to be asked for again.
#[derive(Default)]
pub struct Renewals {
    waiting: Mutex<Vec<(Arc<Route>, Question)>>,
    /// Tells the forwarder that there are some.
    bell: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Renewals {
    /// The answer to what is `asked` is to be asked for again.
    pub fn add(&self, route: &Arc<Route>, asked: Asked<'_>) {
        let Some(question) = asked.to_question() else { return };
        let mut waiting = self.waiting();
        if waiting.len() < MOST {
            waiting.push((Arc::clone(route), question));
        }
        drop(waiting);
        if let Some(ring) = self.bell.get() {
            ring();
        }
    }

    /// Takes all out.
    pub fn take(&self) -> Vec<(Arc<Route>, Question)> {
        std::mem::take(&mut *self.waiting())
    }

    /// Whom to tell. Of several the first is told.
    pub fn tell(&self, bell: impl Fn() + Send + Sync + 'static) {
        let _ = self.bell.set(Box::new(bell));
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Arc<Route>, Question)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewals").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}
