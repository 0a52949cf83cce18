//! Who waits, and whose turn it is when packets are short.
//!
//! Clients take turns, and of each the newest question goes first: the oldest has the least time left, and whoever asked
//! it may have gone. A client is a prefix of addresses, so that one host has one turn, whatever addresses it uses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::flight::Flown;
use crate::limits::Prefix;

/// A place to wait in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    client: Prefix,
    /// Later ones are higher.
    number: u64,
}

impl Seat {
    /// Whose it is.
    pub fn client(self) -> Prefix {
        self.client
    }
}

/// All who wait. Whatever is asked of it costs the same however many they are: strangers decide that.
#[derive(Debug, Default)]
pub struct Line {
    clients: HashMap<Prefix, Client, RandomState>,
    /// Clients with questions that wait for a packet, in the order of their turns.
    turns: BTreeMap<u64, Prefix>,
    /// All clients; who has the most seats is last, and of those who have as many, who has waited longest.
    by_seats: BTreeSet<(usize, Reverse<u64>, Prefix)>,
    seats: usize,
    /// The last number given to a seat or a turn.
    last: u64,
}

/// One client's seats, by number.
#[derive(Debug, Default)]
struct Client {
    seats: BTreeMap<u64, Flown>,
    /// Those whose question waits for a packet.
    queued: BTreeMap<u64, Flown>,
    /// Its turn, if any does.
    turn: Option<u64>,
}

impl Client {
    /// Its place in [`Line::by_seats`]; none without a seat.
    fn rank(&self, client: Prefix) -> Option<(usize, Reverse<u64>, Prefix)> {
        let (oldest, _) = self.seats.first_key_value()?;
        Some((self.seats.len(), Reverse(*oldest), client))
    }
}

impl Line {
    /// A seat for somebody of `client` who waits for `flight`.
    pub fn sit(&mut self, client: Prefix, flight: Flown) -> Seat {
        self.last += 1;
        self.seats += 1;
        let number = self.last;
        self.seat(client, |seats| seats.insert(number, flight));
        Seat { client, number }
    }

    /// Nobody sits there any more.
    pub fn leave(&mut self, seat: Seat) {
        self.unqueue(seat);
        let left = self.seat(seat.client, |seats| seats.remove(&seat.number)).is_some();
        self.seats -= usize::from(left);
        if self.seats_of(seat.client) == 0 {
            self.clients.remove(&seat.client);
        }
    }

    /// Changes the seats of a client, and with them its rank.
    fn seat<T>(&mut self, client: Prefix, change: impl FnOnce(&mut BTreeMap<u64, Flown>) -> T) -> T {
        let Self { clients, by_seats, .. } = self;
        let entry = clients.entry(client).or_default();
        if let Some(rank) = entry.rank(client) {
            by_seats.remove(&rank);
        }
        let changed = change(&mut entry.seats);
        by_seats.extend(entry.rank(client));
        changed
    }

    /// The flight for which somebody sits there waits for a packet.
    pub fn queue(&mut self, seat: Seat, flight: Flown) {
        let Self { clients, turns, last, .. } = self;
        let Some(client) = clients.get_mut(&seat.client) else { return };
        client.queued.insert(seat.number, flight);
        client.turn.get_or_insert_with(|| {
            *last += 1;
            turns.insert(*last, seat.client);
            *last
        });
    }

    /// It does not any more.
    pub fn unqueue(&mut self, seat: Seat) {
        let Some(client) = self.clients.get_mut(&seat.client) else { return };
        client.queued.remove(&seat.number);
        if client.queued.is_empty()
            && let Some(turn) = client.turn.take()
        {
            self.turns.remove(&turn);
        }
    }

    /// The flight that has the next packet: the newest of the client whose turn it is. It stays queued.
    pub fn next(&mut self) -> Option<Flown> {
        let (_, prefix) = self.turns.pop_first()?;
        let client = self.clients.get_mut(&prefix)?;
        self.last += 1;
        self.turns.insert(self.last, prefix);
        client.turn = Some(self.last);
        client.queued.last_key_value().map(|(_, flight)| *flight)
    }

    /// Whether no flight waits for a packet.
    pub fn is_clear(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many sit here.
    pub fn len(&self) -> usize {
        self.seats
    }

    /// How many of `client` sit here.
    pub fn seats_of(&self, client: Prefix) -> usize {
        self.clients.get(&client).map_or(0, |client| client.seats.len())
    }

    /// Who of `client` has waited longest.
    pub fn oldest_of(&self, client: Prefix) -> Option<(Seat, Flown)> {
        let (number, flight) = self.clients.get(&client)?.seats.first_key_value()?;
        Some((Seat { client, number: *number }, *flight))
    }

    /// The client with the most seats; of those who have as many, the one who has waited longest.
    pub fn largest(&self) -> Option<Prefix> {
        self.by_seats.last().map(|(_, _, client)| *client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Prefixes;

    fn client(last: u8) -> Prefix {
        Prefixes::new(32, 56).of([10, 0, 0, last].into())
    }

    fn flight(serial: u64) -> Flown {
        Flown { key: 0, serial }
    }

    #[test]
    fn clients_take_turns_and_the_newest_goes_first() {
        let mut line = Line::default();
        let mut seats = HashMap::new();
        for (serial, last) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 1)] {
            let seat = line.sit(client(last), flight(serial));
            line.queue(seat, flight(serial));
            seats.insert(serial, seat);
        }
        let mut order = Vec::new();
        while let Some(next) = line.next() {
            order.push(next.serial);
            line.unqueue(seats[&next.serial]);
        }
        assert_eq!(order, [5, 4, 3, 2, 1]);
        assert!(line.is_clear());
        assert_eq!(line.len(), 5, "they wait for their answers still");
        seats.values().for_each(|seat| line.leave(*seat));
        assert_eq!((line.len(), line.clients.len(), line.turns.len(), line.by_seats.len()), (0, 0, 0, 0));
    }

    #[test]
    fn who_has_left_has_no_turn() {
        let mut line = Line::default();
        let seats: Vec<Seat> = (1..=9).map(|last| line.sit(client(last), flight(last.into()))).collect();
        seats.iter().zip(1..).for_each(|(seat, serial)| line.queue(*seat, flight(serial)));
        line.queue(seats[0], flight(1));
        assert!(!line.is_clear());
        seats.iter().for_each(|seat| line.leave(*seat));
        assert!(line.is_clear() && line.turns.is_empty());
        seats.iter().for_each(|seat| line.leave(*seat));
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn the_oldest_of_the_client_with_the_most_is_known() {
        let mut line = Line::default();
        for (serial, last) in [(1, 2), (2, 1), (3, 1)] {
            line.sit(client(last), flight(serial));
        }
        assert_eq!(line.largest(), Some(client(1)));
        assert_eq!(line.oldest_of(client(1)).map(|(_, flight)| flight.serial), Some(2));
        assert_eq!((line.seats_of(client(1)), line.seats_of(client(9))), (2, 0));
        let (oldest, _) = line.oldest_of(client(1)).unwrap();
        line.leave(oldest);
        assert_eq!(line.largest(), Some(client(2)), "of those with as many, who came first");
    }
}
