//! What is known of a resolver: how long it usually takes, and whether it has fallen silent.
//!
//! Apart from the flights, because it outlives each of them: what one question learned of a resolver serves the next.

use std::time::Duration;

/// How long a silent resolver is waited for before the question is repeated, as a multiple of its usual time to answer:
/// rarely too soon, and still far below what a client would wait.
const PATIENCE: u32 = 4;
/// The least of that: resolvers that answer in a millisecond from their cache take tens when they must ask on.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
/// The most of that.
pub const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// The same for a resolver that has not answered yet.
pub const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// What is known of a resolver.
#[derive(Debug, Default)]
pub struct Track {
    /// Smoothed time to answer; none yet.
    usual: Option<Duration>,
    /// Questions in a row that it left unanswered.
    pub silent: u32,
}

impl Track {
    /// It answered after this long.
    pub fn answered(&mut self, took: Duration) {
        self.silent = 0;
        // RFC 6298 section 2: an eighth of the new, seven of the old.
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
    }

    /// How long it is waited for.
    pub fn patience(&self) -> Duration {
        self.usual.map_or(FIRST_PATIENCE, |usual| (usual * PATIENCE).clamp(LEAST_PATIENCE, MOST_PATIENCE))
    }
}
