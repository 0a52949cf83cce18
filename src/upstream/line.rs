//! Who waits, and whose turn it is when packets are short.
//!
//! Clients take turns, and of each the newest question goes first: the oldest has the least time left, and whoever asked
//! it may have gone. A client is a prefix of addresses, so that one host has one turn, whatever addresses it uses.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::flight::Flown;
use crate::limits::Prefix;
use crate::seats::Seats;

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
    seats: Seats<Prefix, Flown>,
    /// Clients with questions that wait for a packet, ...
    queues: HashMap<Prefix, Queue, RandomState>,
    /// ... in the order of their turns.
    turns: BTreeMap<u64, Prefix>,
    /// The last number given to a turn.
    last: u64,
}

/// What of one client waits for a packet.
#[derive(Debug)]
struct Queue {
    /// By the numbers of seats.
    flights: BTreeMap<u64, Flown>,
    turn: u64,
}

impl Line {
    /// A seat for somebody of `client` who waits for `flight`.
    pub fn sit(&mut self, client: Prefix, flight: Flown) -> Seat {
        Seat { client, number: self.seats.sit(client, flight) }
    }

    /// Nobody sits there any more.
    pub fn leave(&mut self, seat: Seat) {
        self.unqueue(seat);
        self.seats.leave(seat.client, seat.number);
    }

    /// The flight for which somebody sits there waits for a packet.
    pub fn queue(&mut self, seat: Seat, flight: Flown) {
        let Self { queues, turns, last, .. } = self;
        let queue = queues.entry(seat.client).or_insert_with(|| {
            *last += 1;
            turns.insert(*last, seat.client);
            Queue { flights: BTreeMap::new(), turn: *last }
        });
        queue.flights.insert(seat.number, flight);
    }

    /// It does not any more.
    pub fn unqueue(&mut self, seat: Seat) {
        let Some(queue) = self.queues.get_mut(&seat.client) else { return };
        queue.flights.remove(&seat.number);
        if queue.flights.is_empty() {
            self.turns.remove(&queue.turn);
            self.queues.remove(&seat.client);
        }
    }

    /// The flight that has the next packet: the newest of the client whose turn it is. It stays queued.
    pub fn next(&mut self) -> Option<Flown> {
        let (_, client) = self.turns.pop_first()?;
        let queue = self.queues.get_mut(&client)?;
        self.last += 1;
        self.turns.insert(self.last, client);
        queue.turn = self.last;
        queue.flights.last_key_value().map(|(_, flight)| *flight)
    }

    /// Whether no flight waits for a packet.
    pub fn is_clear(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many sit here.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// How many of `client` sit here.
    pub fn seats_of(&self, client: Prefix) -> usize {
        self.seats.len_of(client)
    }

    /// Who of `client` has waited longest.
    pub fn oldest_of(&self, client: Prefix) -> Option<(Seat, Flown)> {
        let (number, flight) = self.seats.of(client).next()?;
        Some((Seat { client, number }, *flight))
    }

    /// The client with the most seats; of those who have as many, the one who has waited longest.
    pub fn largest(&self) -> Option<Prefix> {
        self.seats.largest()
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
        assert_eq!((line.len(), line.queues.len(), line.turns.len()), (0, 0, 0));
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
