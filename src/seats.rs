//! Who has how many seats where there are only so many: the client with the most is known at once.
//!
//! Apart from those who hand out seats, at the door and where questions wait: both give way where one client takes most.
//! Whatever is asked costs the same however many seats there are, since strangers decide that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::RandomState;

/// Seats of clients `C`; who sits there is a `T`.
#[derive(Debug)]
pub struct Seats<C, T> {
    /// Of each client, in the order in which they were taken.
    clients: HashMap<C, BTreeMap<u64, T>, RandomState>,
    /// All clients; who has the most seats is last, and of those who have as many, who has had one for longest.
    by_seats: BTreeSet<(usize, Reverse<u64>, C)>,
    taken: usize,
    /// The last number given.
    last: u64,
}

impl<C, T> Default for Seats<C, T> {
    fn default() -> Self {
        Self { clients: HashMap::default(), by_seats: BTreeSet::new(), taken: 0, last: 0 }
    }
}

impl<C: Copy + Ord + Hash, T> Seats<C, T> {
    /// Takes a seat for one of `client`; returns its number, which is higher than those before.
    pub fn sit(&mut self, client: C, who: T) -> u64 {
        self.last += 1;
        let number = self.last;
        self.change(client, |seats| seats.insert(number, who));
        self.taken += 1;
        number
    }

    /// Frees a seat; who sat there, if anybody did.
    pub fn leave(&mut self, client: C, number: u64) -> Option<T> {
        let left = self.change(client, |seats| seats.remove(&number));
        self.taken -= usize::from(left.is_some());
        left
    }

    /// Changes the seats of a client, and with them its rank.
    fn change<R>(&mut self, client: C, change: impl FnOnce(&mut BTreeMap<u64, T>) -> R) -> R {
        let Self { clients, by_seats, .. } = self;
        let seats = clients.entry(client).or_default();
        if let Some(rank) = rank(client, seats) {
            by_seats.remove(&rank);
        }
        let changed = change(seats);
        match rank(client, seats) {
            Some(rank) => _ = by_seats.insert(rank),
            None => _ = clients.remove(&client),
        }
        changed
    }

    /// How many are taken.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// How many `client` has.
    pub fn len_of(&self, client: C) -> usize {
        self.clients.get(&client).map_or(0, BTreeMap::len)
    }

    /// Those of `client`, the longest taken first.
    pub fn of(&self, client: C) -> impl Iterator<Item = (u64, &T)> {
        self.clients.get(&client).into_iter().flatten().map(|(number, who)| (*number, who))
    }

    /// The client with the most seats; of those who have as many, the one who has had one for longest.
    pub fn largest(&self) -> Option<C> {
        self.by_seats.last().map(|(.., client)| *client)
    }
}

/// A client's place among all; none without a seat.
fn rank<C, T>(client: C, seats: &BTreeMap<u64, T>) -> Option<(usize, Reverse<u64>, C)> {
    let (oldest, _) = seats.first_key_value()?;
    Some((seats.len(), Reverse(*oldest), client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_with_the_most_is_known_and_of_equals_the_first() {
        let mut seats = Seats::default();
        assert_eq!(seats.largest(), None);
        let first = seats.sit('b', 1);
        seats.sit('a', 2);
        let second = seats.sit('a', 3);
        assert_eq!((seats.largest(), seats.len(), seats.len_of('a'), seats.len_of('z')), (Some('a'), 3, 2, 0));
        assert_eq!(seats.of('a').map(|(_, who)| *who).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(seats.leave('a', second), Some(3));
        assert_eq!(seats.largest(), Some('b'), "of those with as many, who came first");
        assert_eq!((seats.leave('b', first), seats.leave('b', first)), (Some(1), None));
        assert_eq!((seats.largest(), seats.len()), (Some('a'), 1));
    }

    #[test]
    fn nothing_is_left_of_who_has_gone() {
        let mut seats = Seats::default();
        let taken: Vec<_> = (0..100).map(|client| (client % 7, seats.sit(client % 7, ()))).collect();
        for (client, number) in taken {
            assert!(seats.leave(client, number).is_some());
        }
        assert_eq!((seats.len(), seats.clients.len(), seats.by_seats.len()), (0, 0, 0));
    }
}
