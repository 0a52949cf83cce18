//! From rounds to figures: medians of paired ratios with their quartiles, and which rounds count.

use std::time::Duration;

use crate::window::{Core, Round};

/// The server's core counts as busy from this share of the time on; below, the generator was the limit.
pub const BUSY: f64 = 0.97;

/// What is said of rounds in which the generator was the limit.
pub const GENERATOR_BOUND: &str = "generator-bound";

/// How long a query took that got no right reply.
pub const LOST: Duration = Duration::MAX;

/// The same load on the echo and on the server, one right after the other.
pub struct Pair<T> {
    /// On the echo.
    pub echo: T,
    /// On the server.
    pub server: T,
}

impl<T> Pair<T> {
    /// The `nth` pair. Who is first changes each time, or whatever drifts within a pair would always fall on the same one.
    pub fn in_turns<E>(
        nth: usize,
        mut echo: impl FnMut() -> Result<T, E>,
        mut server: impl FnMut() -> Result<T, E>,
    ) -> Result<Self, E> {
        if nth.is_multiple_of(2) {
            let echo = echo()?;
            Ok(Self { echo, server: server()? })
        } else {
            let server = server()?;
            Ok(Self { echo: echo()?, server })
        }
    }
}

/// The lower quartile, the median and the upper quartile.
#[derive(Clone, Copy, Debug)]
pub struct Quartiles {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

/// What a round of waiting clients saw.
pub struct Trips {
    /// How long each query took; [`LOST`] for those without a right reply.
    pub times: Vec<Duration>,
    /// What the server had of its core meanwhile.
    pub core: Core,
}

impl Round {
    /// Whether the server's core was busy. One whose CPU time is unknown is believed.
    pub fn is_busy(&self) -> bool {
        self.core.busy.is_none_or(|busy| busy.as_secs_f64() / self.wall.as_secs_f64() >= BUSY)
    }

    /// Right replies a second.
    pub fn rate(&self) -> f64 {
        self.replies as f64 / self.wall.as_secs_f64()
    }

    /// The server's CPU time for each reply, in microseconds.
    pub fn cost(&self) -> Option<f64> {
        Some(self.core.busy?.as_secs_f64() * 1e6 / self.replies as f64).filter(|cost| cost.is_finite())
    }
}

impl Trips {
    /// So many in a hundred took no longer, in microseconds; infinite if that is a lost one.
    pub fn percentile(&self, percent: f64) -> f64 {
        percentile(self.times.clone(), percent)
    }

    /// How many got no right reply.
    pub fn lost(&self) -> usize {
        self.times.iter().filter(|&&time| time == LOST).count()
    }

    /// The server's CPU time for each query, in microseconds.
    pub fn cost(&self) -> Option<f64> {
        Some(self.core.busy?.as_secs_f64() * 1e6 / self.times.len() as f64)
    }
}

/// What kept the cores of these rounds from being busy: the generator, if they had time to spare, or other programs.
pub fn hindrance(rounds: &[&Round]) -> &'static str {
    let sum = |part: fn(&Round) -> Duration| rounds.iter().map(|round| part(round)).sum::<Duration>().as_secs_f64();
    let idle = sum(|round| round.core.idle.unwrap_or(round.wall)) / sum(|round| round.wall);
    if idle > (1.0 - BUSY) / 2.0 { GENERATOR_BOUND } else { "disturbed" }
}

/// `None` of no values.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> Option<Quartiles> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let [low, middle, high] = [1, 2, 3].map(|quarter| {
        let (below, between) = (last * quarter / 4, (last * quarter % 4) as f64 / 4.0);
        let above = values[(below + 1).min(last)];
        // Equal ones may be infinite, and have no difference.
        if between > 0.0 && above > values[below] {
            values[below] + between * (above - values[below])
        } else {
            values[below]
        }
    });
    Some(Quartiles { low, middle, high })
}

/// The median.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quartiles(values).map(|quartiles| quartiles.middle)
}

/// So many in a hundred of `times` are no longer than this, in microseconds.
pub fn percentile(mut times: Vec<Duration>, percent: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * percent / 100.0).ceil() as usize;
    match times.get(rank.saturating_sub(1)) {
        Some(&LOST) => f64::INFINITY,
        Some(time) => time.as_secs_f64() * 1e6,
        None => f64::NAN,
    }
}
