//! Which zones are asked for most, by name, in memory that does not grow with how many there are.
//!
//! A million buckets may be configured, and a count for each on every thread would be more than they take themselves. So a
//! thread counts by name those it meets most, and the rest together: rows of four places, and who comes to a full row
//! wears down the least used of them until it falls (Demaine et al., "Frequency estimation of internet packet streams with
//! limited space", ESA 2002). Nothing is lost: what one counted that falls is added to the rest.
//!
//! Other threads read while the owner counts. A name is longer than a word, so it has a version beside it, which is odd
//! while the name changes; a reader who sees that looks again or goes without.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

use foldhash::fast::RandomState;

use super::Count;
use crate::wire::Name;

/// Rows; a power of two.
const ROWS: usize = 32;
/// Places in each.
const PLACES: usize = 4;
/// Of so many queries for names without a place one challenges those who have one: to write a name down takes longer than to
/// count, and where many are asked alike it changes nothing.
const CHALLENGES: u64 = 8;
/// Words of a name: 255 octets in wire form at most.
const WORDS: usize = 32;
/// How often a name withstands others at the most: so what was busy yesterday does not stay for good.
const MOST_VIGOUR: u64 = 1 << 16;

/// Zones counted by name by one thread.
#[derive(Debug)]
pub struct Busiest {
    rows: Box<[Row; ROWS]>,
    rest: Asked,
    /// Queries for those who have no place.
    strangers: Count,
    /// Keyed: strangers choose among the names.
    hasher: RandomState,
}

/// Queries that a zone decided.
#[derive(Debug, Default)]
struct Asked {
    /// By clients it is for.
    allowed: Count,
    /// By others, whom it told something.
    denied: Count,
}

/// A few places. What each query looks at stands together, in two lines of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Row {
    /// Of the names; 0 where a place is empty.
    hashes: [Count; PLACES],
    /// How often each name withstands others.
    vigour: [Count; PLACES],
    asked: [Asked; PLACES],
    names: [Label; PLACES],
}

/// A name that one thread writes and others read.
#[derive(Debug, Default)]
struct Label {
    /// Odd while it is written.
    version: AtomicU64,
    length: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// How often each zone was asked, by all threads together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranking {
    /// By name, allowed clients' queries and those of others.
    pub by_name: HashMap<Name, [u64; 2]>,
    /// Those that are not counted by name.
    pub rest: [u64; 2],
}

impl Default for Busiest {
    fn default() -> Self {
        let rows = Box::new(std::array::from_fn(|_| Row::default()));
        Self { rows, rest: Asked::default(), strangers: Count::default(), hasher: RandomState::default() }
    }
}

impl Busiest {
    /// A query was decided by the zone of this name (wire form, lower case); `denied` if it is not for who asked. Only the
    /// owning thread may call this.
    pub fn add(&self, name: &[u8], denied: bool) {
        let hash = self.hasher.hash_one(name).max(1);
        let row = &self.rows[hash as usize % ROWS];
        if let Some(place) = row.hashes.iter().position(|there| there.value() == hash) {
            row.asked[place].add(denied);
            row.vigour[place].set((row.vigour[place].value() + 1).min(MOST_VIGOUR));
            return;
        }
        if let Some(empty) = row.hashes.iter().position(|there| there.value() == 0) {
            return self.settle(row, empty, (name, hash), denied);
        }
        self.strangers.add(1);
        match row.weakest().filter(|_| self.strangers.value().is_multiple_of(CHALLENGES)) {
            Some((place, 0)) => self.settle(row, place, (name, hash), denied),
            Some((place, vigour)) => {
                row.vigour[place].set(vigour - 1);
                self.rest.add(denied);
            }
            None => self.rest.add(denied),
        }
    }

    /// Gives a place to another zone.
    fn settle(&self, row: &Row, place: usize, (name, hash): (&[u8], u64), denied: bool) {
        let (label, asked) = (&row.names[place], &row.asked[place]);
        let version = label.version.load(Relaxed);
        label.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        self.rest.allowed.add(asked.allowed.value());
        self.rest.denied.add(asked.denied.value());
        asked.allowed.set(0);
        asked.denied.set(0);
        label.length.store(name.len() as u64, Relaxed);
        for (word, octets) in label.words.iter().zip(name.chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole.iter_mut().zip(octets).for_each(|(octet, given)| *octet = *given);
            word.store(u64::from_le_bytes(whole), Relaxed);
        }
        asked.add(denied);
        row.hashes[place].set(hash);
        row.vigour[place].set(1);
        label.version.store(version.wrapping_add(2), Release);
    }
}

impl Asked {
    fn add(&self, denied: bool) {
        if denied { &self.denied } else { &self.allowed }.add(1);
    }

    fn value(&self) -> [u64; 2] {
        [self.allowed.value(), self.denied.value()]
    }
}

impl Row {
    /// The place that is given up first, and how much it withstands.
    fn weakest(&self) -> Option<(usize, u64)> {
        self.vigour.iter().map(Count::value).enumerate().min_by_key(|(_, vigour)| *vigour)
    }

    /// Who has a place, and what was counted there; `None` if nobody, or if that changes just now.
    fn read(&self, place: usize) -> Option<(Name, [u64; 2])> {
        let label = &self.names[place];
        let version = label.version.load(Acquire);
        if self.hashes[place].value() == 0 || version % 2 == 1 {
            return None;
        }
        let octets: Vec<u8> = label.words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        let (length, asked) = (label.length.load(Relaxed) as usize, self.asked[place].value());
        fence(Acquire);
        let same = label.version.load(Relaxed) == version;
        let name = octets.get(..length).filter(|_| same).and_then(Name::from_wire)?;
        Some((name, asked))
    }
}

impl Ranking {
    /// Adds what one thread has counted.
    pub fn add(&mut self, busiest: &Busiest) {
        for (row, place) in busiest.rows.iter().flat_map(|row| (0..PLACES).map(move |place| (row, place))) {
            if let Some((name, [allowed, denied])) = row.read(place) {
                let sum = self.by_name.entry(name).or_default();
                *sum = [sum[0] + allowed, sum[1] + denied];
            }
        }
        let [allowed, denied] = busiest.rest.value();
        self.rest = [self.rest[0] + allowed, self.rest[1] + denied];
    }

    /// All decisions of zones together.
    pub fn all(&self) -> [u64; 2] {
        self.by_name.values().fold(self.rest, |sum, asked| [sum[0] + asked[0], sum[1] + asked[1]])
    }

    /// The `most` busiest by name, busiest first; the others with the rest.
    pub fn top(self, most: usize) -> (Vec<(Name, [u64; 2])>, [u64; 2]) {
        let mut names: Vec<_> = self.by_name.into_iter().collect();
        names.sort_by(|(a, x), (b, y)| (y[0] + y[1]).cmp(&(x[0] + x[1])).then_with(|| a.as_wire().cmp(b.as_wire())));
        let others = names.split_off(most.min(names.len()));
        let rest = others.iter().fold(self.rest, |sum, (_, asked)| [sum[0] + asked[0], sum[1] + asked[1]]);
        (names, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        format!("bucket-{number}.s3.ap-northeast-1.amazonaws.com").parse().unwrap()
    }

    fn ranking(of: &[&Busiest]) -> Ranking {
        let mut ranking = Ranking::default();
        of.iter().for_each(|busiest| ranking.add(busiest));
        ranking
    }

    #[test]
    fn a_few_are_all_counted_by_name() {
        let (one, two) = (Busiest::default(), Busiest::default());
        for number in 0..8 {
            (0..=number).for_each(|_| one.add(name(number).as_wire(), false));
            two.add(name(number).as_wire(), true);
        }
        let (top, rest) = ranking(&[&one, &two]).top(3);
        assert_eq!(top, [(name(7), [8, 1]), (name(6), [7, 1]), (name(5), [6, 1])]);
        assert_eq!(rest, [1 + 2 + 3 + 4 + 5, 5]);
    }

    #[test]
    fn the_busiest_of_many_are_found_and_nothing_is_lost() {
        let busiest = Busiest::default();
        // Every fourth query is for one of ten names, the rest for ten thousand others in turn.
        for turn in 0..400_000 {
            let number = if turn % 4 == 0 { turn / 4 % 10 } else { 10 + turn % 10_000 };
            busiest.add(name(number).as_wire(), false);
        }
        let ranking = ranking(&[&busiest]);
        let all = ranking.by_name.values().map(|asked| asked[0]).sum::<u64>() + ranking.rest[0];
        assert_eq!(all, 400_000);
        let (top, _) = ranking.top(10);
        let found = (0..10).filter(|number| top.iter().any(|(top, _)| *top == name(*number))).count();
        assert!(found >= 9, "{top:?}");
        assert!(top.iter().take(found).all(|(_, asked)| asked[0] > 9_000), "{top:?}");
    }

    #[test]
    fn who_reads_meanwhile_sees_whole_names() {
        let busiest = Busiest::default();
        let names: Vec<_> = (0..2_000).map(name).collect();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for _ in 0..20 {
                    names.iter().for_each(|name| busiest.add(name.as_wire(), false));
                }
            });
            while !writer.is_finished() {
                let seen = ranking(&[&busiest]).by_name;
                assert!(seen.keys().all(|seen| names.contains(seen)), "{seen:?}");
            }
        });
    }
}
