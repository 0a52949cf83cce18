//! Pulses: by which one sees that threads and runtimes move on.
//!
//! Apart from what they do, so that whoever watches needs to know nothing of it: a thread that waits in vain for a lock,
//! or a task that keeps its runtime for itself, beats no more, whatever is the matter.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a runtime's pulse beats.
const BEAT: Duration = Duration::from_millis(250);

/// All that beat.
#[derive(Debug, Clone, Default)]
pub struct Pulses(Arc<Mutex<Vec<Arc<Beats>>>>);

#[derive(Debug)]
struct Beats {
    of: String,
    count: AtomicU64,
}

impl Pulses {
    /// A pulse that from now on is expected to beat, every second at least, until it is dropped.
    pub fn begin(&self, of: impl Into<String>) -> Pulse {
        let beats = Arc::new(Beats { of: of.into(), count: AtomicU64::new(0) });
        self.list().push(Arc::clone(&beats));
        Pulse { beats, all: self.clone() }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Beats>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's or runtime's pulse.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Beats>,
    all: Pulses,
}

impl Pulse {
    /// Beats: whoever has it is at work, or looked up from waiting for some. A load and a store.
    pub fn beat(&self) {
        self.beats.count.store(self.beats.count.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Beats for as long as the runtime moves on that this is a task of.
    pub async fn of_runtime(self) {
        loop {
            self.beat();
            tokio::time::sleep(BEAT).await;
        }
    }
}

impl Drop for Pulse {
    /// Nobody waits for it any more; unless a panic ends what had it, which is what a watch is for.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.all.list().retain(|beats| !Arc::ptr_eq(beats, &self.beats));
        }
    }
}

/// Who looks at all pulses, again and again.
#[derive(Debug)]
pub struct Watch {
    pulses: Pulses,
    /// What it saw, and when it first saw that.
    seen: Vec<(Arc<Beats>, u64, Instant)>,
}

impl Watch {
    /// Nothing is seen yet.
    pub fn new(pulses: Pulses) -> Self {
        Self { pulses, seen: Vec::new() }
    }

    /// Looks; returns who has not beaten for longer than `patience`.
    pub fn still(&mut self, patience: Duration, now: Instant) -> Vec<String> {
        let list = self.pulses.list().clone();
        let seen_of = |beats: &Arc<Beats>| {
            let count = beats.count.load(Relaxed);
            let before = self.seen.iter().find(|(of, before, _)| Arc::ptr_eq(of, beats) && *before == count);
            (Arc::clone(beats), count, before.map_or(now, |(.., since)| *since))
        };
        self.seen = list.iter().map(seen_of).collect();
        let still = self.seen.iter().filter(|(.., since)| now.saturating_duration_since(*since) > patience);
        still.map(|(beats, ..)| beats.of.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    #[test]
    fn who_beats_no_more_is_named_once_patience_is_over() {
        let pulses = Pulses::default();
        let (living, dying) = (pulses.begin("udp-0"), pulses.begin("forward"));
        let (mut watch, start) = (Watch::new(pulses), Instant::now());
        for second in 0..=3 {
            living.beat();
            assert_eq!(watch.still(PATIENCE, start + Duration::from_secs(second)), [""; 0], "{second}");
        }
        living.beat();
        assert_eq!(watch.still(PATIENCE, start + Duration::from_secs(4)), ["forward"]);
        dying.beat();
        living.beat();
        assert_eq!(watch.still(PATIENCE, start + Duration::from_secs(5)), [""; 0]);
    }

    #[test]
    fn nobody_waits_for_who_has_ended_in_order() {
        let pulses = Pulses::default();
        let (mut watch, start) = (Watch::new(pulses.clone()), Instant::now());
        let ended = pulses.begin("udp-0");
        assert_eq!(watch.still(PATIENCE, start), [""; 0]);
        drop(ended);
        assert_eq!(watch.still(PATIENCE, start + PATIENCE * 2), [""; 0]);
    }

    #[test]
    fn who_was_ended_by_a_panic_is_missed() {
        let pulses = Pulses::default();
        let (mut watch, start) = (Watch::new(pulses.clone()), Instant::now());
        let pulse = pulses.begin("udp-1");
        let ended = std::thread::spawn(move || {
            let _pulse = pulse;
            panic!("as a mistake might make it");
        });
        assert!(ended.join().is_err());
        assert_eq!(watch.still(PATIENCE, start), [""; 0]);
        assert_eq!(watch.still(PATIENCE, start + PATIENCE * 2), ["udp-1"]);
    }

    #[test]
    fn a_runtime_that_is_kept_busy_is_still() {
        let pulses = Pulses::default();
        let mut watch = Watch::new(pulses.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.spawn(pulses.begin("operator").of_runtime());
        runtime.block_on(async { tokio::time::sleep(BEAT * 2).await });
        let start = Instant::now();
        assert_eq!(watch.still(PATIENCE, start), [""; 0]);
        runtime.block_on(async { tokio::time::sleep(BEAT * 2).await });
        assert_eq!(watch.still(PATIENCE, start + PATIENCE * 2), [""; 0]);
        // Nobody drives it from here on.
        assert_eq!(watch.still(PATIENCE, start + PATIENCE * 4), ["operator"]);
        drop(runtime);
        assert_eq!(watch.still(PATIENCE, start + PATIENCE * 8), [""; 0]);
    }
}
