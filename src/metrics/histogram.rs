//! How long something took, as a histogram: one thread counts, any may read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Count;

/// Upper bounds of the buckets, in nanoseconds: from what the cache takes to what a client waits for. One bucket more is
/// for what took longer.
const BOUNDS: [u64; 20] = [
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Times, counted by the thread that owns it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    nanoseconds: Count,
}

/// The same, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// How many in each bucket; none before the first was counted.
    buckets: Vec<u64>,
    nanoseconds: u64,
}

impl Histogram {
    /// So many things took so long each. Only the owning thread may call this.
    pub fn add(&self, took: Duration, times: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        self.buckets[bucket].add(times);
        self.nanoseconds.add(nanoseconds.saturating_mul(times));
    }
}

impl Times {
    /// Adds what `histogram` has.
    pub fn add(&mut self, histogram: &Histogram) {
        self.buckets.resize(BOUNDS.len() + 1, 0);
        for (sum, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += count.value();
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(histogram.nanoseconds.value());
    }

    /// Each bucket: its upper bound in seconds, infinite for the last, and how many are in it and in no earlier one.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::MAX]);
        bounds.zip(self.buckets.iter().copied().chain(std::iter::repeat(0)))
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What all together took, in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    /// The time that this part of all (0.5, 0.99) did not take longer than, in seconds; the bound of its bucket, which is
    /// infinite for the last. `None` if nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut so_far = 0;
        let found = self.buckets().find(|(_, count)| {
            so_far += count;
            so_far >= wanted
        });
        found.filter(|_| self.count() > 0).map(|(bound, _)| if bound == f64::MAX { f64::INFINITY } else { bound })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let histogram = Histogram::default();
        for (took, times) in [(0, 1), (5_000, 2), (5_001, 4), (10_000_000_000, 8), (10_000_000_001, 16)] {
            histogram.add(Duration::from_nanos(took), times);
        }
        let mut times = Times::default();
        times.add(&histogram);
        times.add(&Histogram::default());
        let counted: Vec<_> = times.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(5e-6, 3), (1e-5, 4), (10.0, 8), (f64::MAX, 16)]);
        assert_eq!(times.count(), 31);
        assert!((times.seconds() - 240.0).abs() < 0.001, "{}", times.seconds());
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let (histogram, mut times) = (Histogram::default(), Times::default());
        assert_eq!(times.quantile(0.5), None);
        histogram.add(Duration::from_micros(7), 99);
        histogram.add(Duration::from_secs(3), 1);
        times.add(&histogram);
        assert_eq!(
            (times.quantile(0.5), times.quantile(0.99), times.quantile(1.0)),
            (Some(1e-5), Some(1e-5), Some(5.0))
        );
    }
}
