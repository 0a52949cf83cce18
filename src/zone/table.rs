//! The one table of names: who holds a name, a zone or a rule, found at the name asked and at each above it.
//!
//! Built for a million buckets, where what costs is how often memory must be waited for: twice for each name looked up, once
//! in a row of slots that are found by hash, once in one stretch of memory where each name stands beside its holder. The
//! depths at which names stand at all are kept in one word, so that a query for `www.example.com` touches nothing when
//! all names are five labels deep.

use std::hash::BuildHasher;
use std::hint::black_box;

use foldhash::fast::RandomState;

use crate::wire::Name;
use crate::wire::name::{MAX_LABELS, NameRef};

/// No further record.
const END: u32 = u32::MAX;
/// Octets of a record before its name: the place of the next record of that name, the holder, the name's length.
const FRONT: usize = 9;
/// The bit of a holder that says that it is a rule.
const RULE: u32 = 1 << 31;
/// The least number of slots; always a power of two.
const LEAST_SLOTS: usize = 64;

/// Who holds a name: an index, of 31 bits, into a list of the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A rule: at one name it goes before any zone.
    Rule(u32),
    /// A zone.
    Zone(u32),
}

/// Names and who holds them.
#[derive(Debug)]
pub struct Table {
    /// One after the other; those of one name are linked, and only the first has the name.
    records: Vec<u8>,
    /// Where the first record of each name is: open addressing, the next slots in turn, at most half of them taken.
    slots: Box<[Slot]>,
    taken: usize,
    /// Keyed: names are chosen by strangers.
    hasher: RandomState,
    /// Bit n: some name has n labels.
    depths: u128,
}

/// Names from which on a table is not to be found in the processor's second cache.
const MANY: usize = 10_000;

/// Half a hash, and the record of the name that has it; [`END`] in an empty one.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    record: u32,
}

/// What stands in [`Table::records`].
struct Record<'t> {
    next: u32,
    holder: Holder,
    name: &'t [u8],
}

impl Default for Table {
    fn default() -> Self {
        let slots = vec![Slot::EMPTY; LEAST_SLOTS].into();
        Self { records: Vec::new(), slots, taken: 0, hasher: RandomState::default(), depths: 0 }
    }
}

impl Slot {
    const EMPTY: Self = Self { hash: 0, record: END };
}

impl Table {
    /// Enters `holder` for `name`, behind those who hold it already. At most 2^32 octets fit; what is beyond is left out,
    /// which is sixteen million names of the greatest length. Returns the place of the entry, greater each time.
    pub fn insert(&mut self, name: &Name, holder: Holder) -> u32 {
        let wire = name.as_wire();
        let Some(new) = u32::try_from(self.records.len()).ok().filter(|new| *new != END) else { return END };
        let hash = self.hasher.hash_one(wire);
        match self.first(hash, wire) {
            Some(first) => {
                let last = self.chain(first).last().map_or(first, |(at, _)| at) as usize;
                self.append(holder, &[]);
                if let Some(next) = self.records.get_mut(last..).and_then(<[u8]>::first_chunk_mut) {
                    *next = new.to_le_bytes();
                }
            }
            None => {
                self.depths |= 1 << name.label_count();
                self.append(holder, wire);
                if 2 * (self.taken + 1) > self.slots.len() {
                    self.grow();
                }
                self.taken += 1;
                occupy(&mut self.slots, hash, new);
            }
        }
        new
    }

    /// The place of the entry of `holder` for exactly this name.
    pub fn place_of(&self, name: &[u8], holder: Holder) -> Option<u32> {
        let first = self.first(self.hasher.hash_one(name), name)?;
        self.chain(first).find(|(_, record)| record.holder == holder).map(|(place, _)| place)
    }

    fn append(&mut self, holder: Holder, name: &[u8]) {
        let holder = match holder {
            Holder::Rule(index) => index | RULE,
            Holder::Zone(index) => index & !RULE,
        };
        self.records.extend(END.to_le_bytes());
        self.records.extend(holder.to_le_bytes());
        self.records.push(name.len() as u8);
        self.records.extend(name);
    }

    /// Twice as many slots.
    fn grow(&mut self) {
        let mut slots: Box<[Slot]> = vec![Slot::EMPTY; 2 * self.slots.len()].into();
        for slot in self.slots.iter().filter(|slot| slot.record != END) {
            let name = self.record(slot.record).map_or(&[][..], |record| record.name);
            occupy(&mut slots, self.hasher.hash_one(name), slot.record);
        }
        self.slots = slots;
    }

    /// The names at and above `name` that somebody holds, longest first: where each begins in `name`, and its holders
    /// in the order they were entered.
    pub fn above<'t>(
        &'t self,
        name: NameRef<'t>,
    ) -> impl Iterator<Item = (usize, impl Iterator<Item = Holder> + 't)> + 't {
        let (mut at, mut depth) = (0, name.label_count());
        // Depths still to be looked at: where none is left, the rest of the name need not be walked.
        let mut left = self.depths & (u128::MAX >> (MAX_LABELS - depth.min(MAX_LABELS)));
        std::iter::from_fn(move || {
            while left != 0 {
                let (here, rest) = (at, name.as_wire().get(at..)?);
                let is_held = left & (1 << depth) != 0;
                left &= !(1 << depth);
                at += 1 + usize::from(*rest.first()?);
                depth = depth.saturating_sub(1);
                if is_held && let Some(first) = self.first(self.hasher.hash_one(rest), rest) {
                    return Some((here, self.chain(first).map(|(_, record)| record.holder)));
                }
            }
            None
        })
    }

    /// Whether what it has of a name must come from memory.
    pub fn is_large(&self) -> bool {
        self.taken >= MANY
    }

    /// What a name is found by here.
    pub fn digest(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Has the processor fetch what stands here about names of these digests, about all at once: to wait for each by itself
    /// is most of what it costs to look names up in a large table.
    pub fn fetch(&self, digests: &[u64]) {
        let slots = digests.iter().filter_map(|digest| self.slots.get(*digest as usize & (self.slots.len() - 1)));
        let octets = slots.filter_map(|slot| self.records.get(slot.record as usize + FRONT));
        black_box(octets.fold(0, |all: u8, octet| all ^ octet));
    }

    /// The place of the first record of exactly this name.
    fn first(&self, hash: u64, wire: &[u8]) -> Option<u32> {
        let slots = probes(hash, self.slots.len()).filter_map(|at| self.slots.get(at));
        // Half of the slots are empty, so one is met soon.
        let mut taken = slots.take_while(|slot| slot.record != END);
        let same = |slot: &&Slot| {
            slot.hash == half(hash) && self.record(slot.record).is_some_and(|record| record.name == wire)
        };
        taken.find(same).map(|slot| slot.record)
    }

    /// All records of one name, each with its place.
    fn chain(&self, first: u32) -> impl Iterator<Item = (u32, Record<'_>)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let at = next;
            let record = self.record(at)?;
            next = record.next;
            Some((at, record))
        })
    }

    fn record(&self, at: u32) -> Option<Record<'_>> {
        let (front, rest) = self.records.get(at as usize..)?.split_first_chunk::<FRONT>()?;
        let [n0, n1, n2, n3, h0, h1, h2, h3, length] = *front;
        let holder = u32::from_le_bytes([h0, h1, h2, h3]);
        let holder = if holder & RULE == 0 { Holder::Zone(holder) } else { Holder::Rule(holder & !RULE) };
        Some(Record { next: u32::from_le_bytes([n0, n1, n2, n3]), holder, name: rest.get(..usize::from(length))? })
    }
}

/// The half of a hash that a slot keeps; the other says where the slot is.
fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Where a name of this hash is looked for among so many slots, a power of two.
fn probes(hash: u64, slots: usize) -> impl Iterator<Item = usize> {
    (0..slots).map(move |step| (hash as usize).wrapping_add(step) & (slots - 1))
}

/// Takes the first empty slot for a name of this hash.
fn occupy(slots: &mut [Slot], hash: u64, record: u32) {
    let empty = |at: &usize| slots.get(*at).is_some_and(|slot| slot.record == END);
    if let Some(slot) = probes(hash, slots.len()).find(empty).and_then(|at| slots.get_mut(at)) {
        *slot = Slot { hash: half(hash), record };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &Table, name: &str) -> Vec<(usize, Vec<Holder>)> {
        let name: Name = name.parse().unwrap();
        table.above(name.as_ref()).map(|(at, holders)| (at, holders.collect())).collect()
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
        assert!(table.is_large() && !Table::default().is_large());
        // What is not there can be asked for as well, and where nothing is.
        table.fetch(&[0, u64::MAX, 7]);
        Table::default().fetch(&[u64::MAX]);
        for index in (0..100_000).step_by(997) {
            assert_eq!(found(&table, &format!("bucket-{index}.s3.example")), [(0, vec![Holder::Zone(index)])]);
        }
    }
}
