//! The one table of names: who holds a name, a zone or a rule, found at the name asked and at each above it.
//!
//! Built for a million buckets: the names stand in one stretch of memory and are found by hash, and the depths at which
//! names stand at all are kept in one word, so that a query for `www.example.com` touches nothing when all names
//! are five labels deep.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::wire::Name;
use crate::wire::name::labels;

/// The most labels a name can have: 255 octets, two for each, one for the root.
const MAX_LABELS: usize = 127;
/// No further entry.
const END: u32 = u32::MAX;

/// Who holds a name: an index into a list of the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A rule: at one name it goes before any zone.
    Rule(u32),
    /// A zone.
    Zone(u32),
}

/// Names and who holds them.
#[derive(Debug, Default)]
pub struct Table {
    /// The names, wire form, one after the other.
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// The first entry of each name.
    index: HashTable<u32>,
    /// Keyed: names are chosen by strangers.
    hasher: RandomState,
    /// Bit n: some name has n labels.
    depths: u128,
}

/// A name and one who holds it.
#[derive(Debug)]
struct Entry {
    /// Where the name begins, in [`Table::names`].
    at: u32,
    /// Its octets.
    length: u8,
    holder: Holder,
    /// The next entry of the same name, or [`END`].
    next: u32,
}

impl Table {
    /// Enters `holder` for `name`, behind those who hold it already. At most 2^32 octets of names fit; what is beyond
    /// is left out, which is four million names of the greatest length.
    pub fn insert(&mut self, name: &Name, holder: Holder) {
        let wire = name.as_wire();
        let (Ok(at), Ok(entry)) = (u32::try_from(self.names.len()), u32::try_from(self.entries.len())) else { return };
        match self.first(wire) {
            Some(first) => {
                let Some(last) = self.chain(first).last().map(|(index, _)| index) else { return };
                let (at, length) = self.entries.get(last).map_or((0, 0), |entry| (entry.at, entry.length));
                self.entries.push(Entry { at, length, holder, next: END });
                if let Some(last) = self.entries.get_mut(last) {
                    last.next = entry;
                }
            }
            None => {
                self.depths |= 1 << name.label_count();
                self.names.extend(wire);
                self.entries.push(Entry { at, length: wire.len() as u8, holder, next: END });
                let Self { names, entries, index, hasher, .. } = self;
                let rehash = |&entry: &u32| hasher.hash_one(name_of(names, entries, entry));
                index.insert_unique(hasher.hash_one(wire), entry, rehash);
            }
        }
    }

    /// The names at and above `name` that somebody holds, longest first: where each begins in `name`, and its holders
    /// in the order they were entered. `name` is in wire form, lower case.
    pub fn above<'t>(
        &'t self,
        name: &'t [u8],
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = Holder> + 't)> + 't {
        let mut starts = [0_u8; MAX_LABELS + 1];
        let mut count = 0;
        for (slot, at) in starts.iter_mut().zip(labels(name)) {
            *slot = at as u8;
            count += 1;
        }
        // The root, which every name is below.
        if let Some(root) = starts.get_mut(count) {
            *root = name.len().saturating_sub(1) as u8;
        }
        starts.into_iter().take(count + 1).enumerate().filter_map(move |(skipped, at)| {
            if self.depths & (1 << (count - skipped)) == 0 {
                return None;
            }
            let first = self.first(name.get(usize::from(at)..)?)?;
            Some((usize::from(at), self.chain(first).map(|(_, entry)| entry.holder)))
        })
    }

    /// The first entry of exactly this name.
    fn first(&self, wire: &[u8]) -> Option<u32> {
        let same = |&entry: &u32| name_of(&self.names, &self.entries, entry) == wire;
        self.index.find(self.hasher.hash_one(wire), same).copied()
    }

    /// All entries of one name.
    fn chain(&self, first: u32) -> impl Iterator<Item = (usize, &Entry)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let index = next as usize;
            let entry = self.entries.get(index)?;
            next = entry.next;
            Some((index, entry))
        })
    }
}

/// The name of an entry.
fn name_of<'n>(names: &'n [u8], entries: &[Entry], entry: u32) -> &'n [u8] {
    let Some(entry) = entries.get(entry as usize) else { return &[] };
    let at = entry.at as usize;
    names.get(at..at + usize::from(entry.length)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, name: &str) -> Vec<(usize, Vec<Holder>)> {
        let name: Name = name.parse().unwrap();
        table.above(name.as_wire()).map(|(at, holders)| (at, holders.collect())).collect()
    }

    #[test]
    fn names_are_found_at_and_above_the_question() {
        let mut table = Table::default();
        let names = ["b.example", "a.b.example", "b.example", "other.test"];
        for (index, name) in names.iter().enumerate() {
            table.insert(&name.parse().unwrap(), Holder::Zone(index as u32));
        }
        let zone = Holder::Zone;
        assert_eq!(found(&table, "b.example"), [(0, vec![zone(0), zone(2)])]);
        assert_eq!(found(&table, "x.a.b.example"), [(2, vec![zone(1)]), (4, vec![zone(0), zone(2)])]);
        assert_eq!(found(&table, "xb.example"), []);
        assert_eq!(found(&table, "example"), []);
        assert_eq!(found(&table, "."), []);
        table.insert(&Name::root(), Holder::Rule(7));
        assert_eq!(found(&table, "."), [(0, vec![Holder::Rule(7)])]);
        assert_eq!(found(&table, "x.other.test"), [(2, vec![zone(3)]), (13, vec![Holder::Rule(7)])]);
    }

    #[test]
    fn the_deepest_name_is_no_deeper_than_the_table() {
        let mut table = Table::default();
        let deep: Name = vec!["x"; 127].join(".").parse().unwrap();
        table.insert(&deep, Holder::Zone(0));
        table.insert(&Name::root(), Holder::Zone(1));
        assert_eq!(found(&table, &deep.to_string()), [(0, vec![Holder::Zone(0)]), (254, vec![Holder::Zone(1)])]);
    }

    #[test]
    fn a_hundred_thousand_names_are_each_found() {
        let mut table = Table::default();
        for index in 0..100_000 {
            table.insert(&format!("bucket-{index}.s3.example").parse().unwrap(), Holder::Zone(index));
        }
        for index in (0..100_000).step_by(997) {
            assert_eq!(found(&table, &format!("bucket-{index}.s3.example")), [(0, vec![Holder::Zone(index)])]);
        }
    }
}
