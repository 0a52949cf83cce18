//! Whose TCP connections there are, and which is closed where there are too many.
//!
//! Apart from the connections, which only tell how they are. RFC 7766 section 6.2.3 has a server close idle connections
//! when it is short of them: here it is the longest idle one of the client that has the most, so that whoever takes all
//! places makes room for whoever comes. Those who may not ask are heard, since they are told so; but they make room first, and
//! nobody makes room for them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;
use crate::limits::Prefix;
use crate::seats::Seats;

/// Where files are short, one connection of so many makes room, ...
const ROOM: usize = 16;
/// ... and no more than so many at once, while others wait for the lock.
const MOST_AT_ONCE: usize = 64;

/// The connections that there are.
#[derive(Debug)]
pub struct Census {
    taken: Mutex<Taken>,
    began: Instant,
}

#[derive(Debug)]
struct Taken {
    clients: Seats<Prefix, Arc<Presence>>,
    /// Of those who may not ask.
    strangers: Seats<Prefix, Arc<Presence>>,
    limits: Limits,
    /// Connections whose places are others' now, and which have not ended yet.
    leaving: usize,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Presence {
    /// When it last had a reply, or began, in milliseconds of the census.
    active: AtomicU64,
    /// Queries of it that wait for a resolver.
    waiting: AtomicUsize,
    /// Its place is another's now.
    left: Notify,
}

impl Presence {
    /// The lowest is the first to go: who waits for nothing, and of those who has for longest.
    fn merit(&self) -> (bool, u64) {
        (self.waiting.load(Relaxed) > 0, self.active.load(Relaxed))
    }
}

/// What became of a connection that wants a place.
#[derive(Debug)]
pub enum Entry {
    /// It has one.
    Seated(Seat),
    /// It has one that was another's, which is closed.
    Instead(Seat),
    /// There is none: all that could make room are in use, or those of clients where a stranger comes.
    Refused,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    census: Arc<Census>,
    client: Prefix,
    welcome: bool,
    number: u64,
    presence: Arc<Presence>,
}

impl Census {
    /// Nobody is there yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        let taken = Mutex::new(Taken { clients: Seats::default(), strangers: Seats::default(), limits, leaving: 0 });
        Self { taken, began: Instant::now() }.into()
    }

    /// From now on there may be so many.
    pub fn limit(&self, limits: Limits) {
        self.taken().limits = limits;
    }

    /// What is allowed now.
    pub fn limits(&self) -> Limits {
        self.taken().limits
    }

    /// A place for one more connection of `client`, who is `welcome` if it may ask. Programs on this host share one address, so
    /// theirs are bounded by the cap on all alone.
    pub fn enter(self: &Arc<Self>, client: IpAddr, welcome: bool) -> Entry {
        let presence = Arc::new(Presence::default());
        presence.active.store(self.now(), Relaxed);
        let mut taken = self.taken();
        let limits = taken.limits;
        let client = limits.prefixes.of(client);
        let has = taken.seats(welcome).len_of(client);
        let from = if !client.is_loopback() && has >= limits.tcp_connections_per_client {
            Some((client, welcome))
        } else if taken.len() >= limits.tcp_connections {
            taken.first()
        } else {
            None
        };
        if let Some((from, other)) = from {
            // Nobody makes room for one who has more: else who has the most would be served at the others' cost.
            let has_more = from != client && taken.seats(other).len_of(from) > has;
            let in_use = if other == welcome { has_more } else { welcome };
            let for_a_stranger = other && !welcome;
            if for_a_stranger || !taken.vacate((from, other), in_use) {
                return Entry::Refused;
            }
        }
        let number = taken.seats(welcome).sit(client, Arc::clone(&presence));
        let seat = Seat { census: Arc::clone(self), client, welcome, number, presence };
        if from.is_some() { Entry::Instead(seat) } else { Entry::Seated(seat) }
    }

    /// Closes one connection in sixteen, each the longest idle of the client that has the most then, unless some are about
    /// to end; returns how many were closed, and none if nobody leaves. With a single one, all who come would wait for the
    /// next: whoever takes all files has many more waiting to come in.
    pub fn make_room(&self) -> Option<usize> {
        let mut taken = self.taken();
        let wanted = (taken.len() / ROOM).clamp(1, MOST_AT_ONCE);
        let before = taken.leaving;
        while taken.leaving < wanted
            && let Some(first) = taken.first()
            && taken.vacate(first, true)
        {}
        (taken.leaving > 0).then(|| taken.leaving - before)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The lock, also after a panic of another holder: every change made under it is complete at each step.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// How many there are.
    fn len(&self) -> usize {
        self.clients.len() + self.strangers.len()
    }

    /// The seats of those who may ask, or of the others.
    fn seats(&mut self, welcome: bool) -> &mut Seats<Prefix, Arc<Presence>> {
        if welcome { &mut self.clients } else { &mut self.strangers }
    }

    /// Who is first to make room, and whether it may ask.
    fn first(&self) -> Option<(Prefix, bool)> {
        let stranger = self.strangers.largest().map(|stranger| (stranger, false));
        stranger.or_else(|| self.clients.largest().map(|client| (client, true)))
    }

    /// Has the longest idle connection of `client` closed; one that waits for a resolver only if `in_use` may go too.
    fn vacate(&mut self, (client, welcome): (Prefix, bool), in_use: bool) -> bool {
        let first = self.seats(welcome).of(client).min_by_key(|(_, presence)| presence.merit());
        let first = first.filter(|(_, presence)| in_use || !presence.merit().0);
        let Some(number) = first.map(|(number, presence)| {
            presence.left.notify_one();
            number
        }) else {
            return false;
        };
        self.seats(welcome).leave(client, number);
        self.leaving += 1;
        true
    }
}

impl Seat {
    /// The connection had a reply.
    pub fn active(&self) {
        self.presence.active.store(self.census.now(), Relaxed);
    }

    /// So many of its queries wait for a resolver.
    pub fn waiting(&self, queries: usize) {
        self.presence.waiting.store(queries, Relaxed);
    }

    /// Done when the place is another's.
    pub async fn lost(&self) {
        self.presence.left.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.census.taken();
        if taken.seats(self.welcome).leave(self.client, self.number).is_none() {
            taken.leaving -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::Prefixes;

    fn census(all: usize, per_client: usize) -> Arc<Census> {
        Census::new(Limits {
            udp_threads: 1,
            pin_threads: false,
            busy_poll: Duration::ZERO,
            tcp_connections: all,
            tcp_connections_per_client: per_client,
            tcp_idle: Duration::from_secs(10),
            prefixes: Prefixes::new(32, 56),
        })
    }

    fn client(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn seated(entry: Entry) -> Seat {
        match entry {
            Entry::Seated(seat) | Entry::Instead(seat) => seat,
            Entry::Refused => panic!("refused"),
        }
    }

    /// Whether its place is another's.
    fn is_lost(seat: &Seat) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::ZERO, seat.lost()).await.is_ok() })
    }

    #[test]
    fn whoever_has_most_makes_room_with_what_was_idle_longest() {
        let census = census(4, 4);
        let of_one: Vec<_> = (0..3).map(|_| seated(census.enter(client(1), true))).collect();
        let other = seated(census.enter(client(2), true));
        of_one[0].presence.active.store(9, Relaxed);
        let Entry::Instead(third) = census.enter(client(3), true) else { panic!("there was room") };
        assert_eq!([0, 1, 2].map(|nth| is_lost(&of_one[nth])), [false, true, false]);
        assert!(!is_lost(&other) && !is_lost(&third));
        assert_eq!(census.taken().clients.len(), 4);
        drop(of_one);
        assert_eq!(census.taken().clients.len(), 2, "a place is given back once");
        assert!(matches!(census.enter(client(1), true), Entry::Seated(_)));
    }

    #[test]
    fn a_client_at_its_cap_loses_its_own_longest_idle_one() {
        let census = census(100, 2);
        let (first, second) = (seated(census.enter(client(1), true)), seated(census.enter(client(1), true)));
        first.waiting(1);
        let Entry::Instead(third) = census.enter(client(1), true) else { panic!("beyond the cap") };
        assert!(is_lost(&second) && !is_lost(&first));
        third.waiting(1);
        assert!(matches!(census.enter(client(1), true), Entry::Refused), "both are in use");
        assert!(matches!(census.enter(client(2), true), Entry::Seated(_)));
    }

    #[test]
    fn what_is_in_use_goes_only_where_another_client_has_fewer() {
        let census = census(2, 2);
        let seats = [seated(census.enter(client(1), true)), seated(census.enter(client(1), true))];
        seats.iter().for_each(|seat| seat.waiting(1));
        let Entry::Instead(other) = census.enter(client(2), true) else { panic!("there was room") };
        assert!(is_lost(&seats[0]));
        other.waiting(1);
        assert!(matches!(census.enter(client(3), true), Entry::Instead(_)), "who has none is let in");
    }

    #[test]
    fn strangers_make_room_for_clients_and_nobody_for_strangers() {
        let census = census(3, 2);
        let own = seated(census.enter(client(1), true));
        let strangers = [2, 3].map(|last| seated(census.enter(client(last), false)));
        assert!(matches!(census.enter(client(3), false), Entry::Instead(_)), "a stranger for another");
        assert!(is_lost(&strangers[0]) && !is_lost(&own));
        let more = [1, 4].map(|last| seated(census.enter(client(last), true)));
        assert!(is_lost(&strangers[1]) && !is_lost(&own), "though a client has as many");
        assert!(matches!(census.enter(client(5), false), Entry::Refused), "nor is what is idle");
        assert!([&own, &more[0], &more[1]].iter().all(|seat| !is_lost(seat)));
    }

    #[test]
    fn programs_of_this_host_share_an_address() {
        let census = census(4, 1);
        let local: Vec<_> = (0..4).map(|_| census.enter(IpAddr::from([127, 0, 0, 1]), true)).collect();
        assert!(local.iter().all(|entry| matches!(entry, Entry::Seated(_))));
        assert!(matches!(census.enter(client(1), true), Entry::Instead(_)));
    }

    #[test]
    fn room_is_made_where_files_are_short() {
        let census = census(4, 4);
        assert_eq!(census.make_room(), None);
        let seat = seated(census.enter(client(1), true));
        assert_eq!(census.make_room(), Some(1));
        assert!(is_lost(&seat));
        drop(seat);
        assert_eq!(census.make_room(), None);
        let of_one = [1, 1].map(|last| seated(census.enter(client(last), true)));
        let stranger = seated(census.enter(client(2), false));
        assert_eq!(census.make_room(), Some(1));
        assert!(is_lost(&stranger) && !of_one.iter().any(is_lost), "strangers first");
    }

    #[test]
    fn where_files_are_short_many_make_room_at_once_and_not_whoever_has_one() {
        let census = census(1000, 1000);
        let honest = seated(census.enter(client(1), true));
        let crowd: Vec<Seat> = (0..99).map(|number| seated(census.enter(client(2 + number % 3), true))).collect();
        assert!(census.make_room().is_some());
        assert_eq!(crowd.iter().filter(|seat| is_lost(seat)).count(), 6, "one in sixteen of a hundred");
        assert!(!is_lost(&honest));
        assert!(census.make_room().is_some());
        assert_eq!(census.taken().clients.len(), 94, "those that are about to end are waited for");
        drop(crowd);
        let taken = census.taken();
        assert_eq!((taken.clients.len(), taken.leaving), (1, 0));
    }
}
