//! What became of queries.

use std::time::{Duration, Instant};

use crate::asked::{Asked, Verdict};

/// Wrong replies that are told in words.
const TOLD: usize = 10;

/// Sums of a load. Every query sent is right, truncated, excused, wrong, silent as it should be, or lost.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    pub sent: u64,
    pub right: u64,
    pub truncated: u64,
    pub excused: u64,
    pub wrong: u64,
    /// Got no reply, on purpose.
    pub silent: u64,
    /// Got no reply, and should have.
    pub lost: u64,
    /// That the kernel would not take: they count as not sent.
    pub unsent: u64,
    /// Replies to nobody: a wrong id, or a second reply.
    pub stray: u64,
    /// Connections that could not be had, or ended too early.
    pub broken: u64,
    /// Octets of queries that were replied to, and of the replies.
    pub octets: [u64; 2],
    /// The largest reply in octets, ...
    pub largest: usize,
    /// ... and the most octets of a reply for each of its query.
    pub most_for_one: f64,
    /// What was wrong, at first.
    pub told: Vec<String>,
    /// How long replies took, in microseconds, by what they waited for.
    pub times: [Vec<u32>; 3],
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nobody: a zone has the answer, or phzd itself.
    Nobody,
    /// Mostly nobody: the cache may have it.
    Cache,
    /// A resolver.
    Resolver,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            began: Instant::now(),
            sent: 0,
            right: 0,
            truncated: 0,
            excused: 0,
            wrong: 0,
            silent: 0,
            lost: 0,
            unsent: 0,
            stray: 0,
            broken: 0,
            octets: [0; 2],
            largest: 0,
            most_for_one: 0.0,
            told: Vec::new(),
            times: Default::default(),
        }
    }
}

impl Tally {
    /// Enters a reply.
    pub fn enter(&mut self, asked: &Asked, reply: &[u8], verdict: Verdict, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.times[asked.waits_for() as usize].push(micros);
        self.octets[0] += asked.packet.len() as u64;
        self.octets[1] += reply.len() as u64;
        self.largest = self.largest.max(reply.len());
        self.most_for_one = self.most_for_one.max(reply.len() as f64 / asked.packet.len() as f64);
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Truncated => self.truncated += 1,
            Verdict::Excused => self.excused += 1,
            Verdict::Wrong(why) => {
                self.wrong += 1;
                self.tell(&format!("after {} ms, {why}", took.as_millis()));
            }
        }
    }

    /// Enters that there was no reply.
    pub fn give_up(&mut self, asked: &Asked) {
        if asked.wants_silence() {
            self.silent += 1;
        } else {
            self.lost += 1;
            self.tell(&format!("{:?} asks {:?}: no reply", asked.who, asked.what));
        }
    }

    /// Enters something to be told in words, if there is not much yet.
    pub fn tell(&mut self, what: &str) {
        if self.told.len() < TOLD {
            let at = self.began.elapsed().as_secs_f64();
            self.told.push(format!("{at:.1} s: {what}"));
        }
    }

    /// Milliseconds within which `share` of a thousand of those were answered that wait so.
    pub fn per_mille(&self, wait: Wait, share: usize) -> f64 {
        let mut times = self.times[wait as usize].clone();
        times.sort_unstable();
        let rank = (times.len() * share).div_ceil(1000).max(1);
        times.get(rank - 1).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }

    /// Replies that came.
    pub fn answered(&self) -> u64 {
        self.right + self.truncated + self.excused + self.wrong
    }

    pub fn add(&mut self, other: Tally) {
        for (sum, part) in [
            (&mut self.sent, other.sent),
            (&mut self.right, other.right),
            (&mut self.truncated, other.truncated),
            (&mut self.excused, other.excused),
            (&mut self.wrong, other.wrong),
            (&mut self.silent, other.silent),
            (&mut self.lost, other.lost),
            (&mut self.unsent, other.unsent),
            (&mut self.stray, other.stray),
            (&mut self.broken, other.broken),
        ] {
            *sum += part;
        }
        self.octets.iter_mut().zip(other.octets).for_each(|(sum, part)| *sum += part);
        self.largest = self.largest.max(other.largest);
        self.most_for_one = self.most_for_one.max(other.most_for_one);
        self.told.extend(other.told);
        self.times.iter_mut().zip(other.times).for_each(|(times, others)| times.extend(others));
    }
}
