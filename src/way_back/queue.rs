//! Replies that wait to be written onto a connection: how many, and how much they hold.
//!
//! Apart from the connection, which takes them out at its client's pace, and from the door, which puts them in at the
//! resolvers'. Between the two lies what a client can have kept for it by asking and not reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

/// KiB of replies that wait for a connection, beyond which a query is told SERVFAIL instead of its answer. Those that come
/// together count too, before the connection has its turn: eight answers of the largest kind, or four kilobytes for each query
/// that may be under way.
pub const MOST_KEPT: usize = 512;

/// A place in the queue, held since the query came, so that its reply always fits.
#[derive(Debug)]
pub struct Place {
    permit: mpsc::OwnedPermit<Vec<u8>>,
    kept: Arc<AtomicUsize>,
}

impl Place {
    /// Whether so much waits that only a short reply may be added.
    pub fn is_laden(&self) -> bool {
        self.kept.load(Relaxed) >= MOST_KEPT * 1024
    }

    /// Puts the reply there.
    pub fn send(self, reply: Vec<u8>) {
        self.kept.fetch_add(reply.len(), Relaxed);
        self.permit.send(reply);
    }
}

/// The end of the queue where replies are taken out.
#[derive(Debug)]
pub struct Queue {
    replies: mpsc::Receiver<Vec<u8>>,
    kept: Arc<AtomicUsize>,
}

impl Queue {
    /// A queue of so many places, and whom to ask for one.
    pub fn of(places: usize) -> (mpsc::Sender<Vec<u8>>, Self) {
        let (sender, replies) = mpsc::channel(places);
        (sender, Self { replies, kept: Arc::default() })
    }

    /// The place that `permit` is for.
    pub fn place(&self, permit: mpsc::OwnedPermit<Vec<u8>>) -> Place {
        Place { permit, kept: Arc::clone(&self.kept) }
    }

    /// The next reply; `None` when nobody has a place any more. To be waited for beside other things: a reply is either taken
    /// out or still there.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        let reply = self.replies.recv().await;
        self.taken(reply)
    }

    /// The next reply, if one is there.
    pub fn try_recv(&mut self) -> Option<Vec<u8>> {
        let reply = self.replies.try_recv().ok();
        self.taken(reply)
    }

    fn taken(&self, reply: Option<Vec<u8>>) -> Option<Vec<u8>> {
        reply.inspect(|reply| _ = self.kept.fetch_sub(reply.len(), Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_taken_out() {
        let (sender, mut queue) = Queue::of(20);
        let places: Vec<_> = (0..20).map(|_| queue.place(sender.clone().try_reserve_owned().unwrap())).collect();
        let sent = places.into_iter().take_while(|place| !place.is_laden()).map(|place| place.send(vec![0; 65_535]));
        assert_eq!(sent.count(), 9, "more than 512 KiB");
        let place = queue.place(sender.clone().try_reserve_owned().unwrap());
        assert!(place.is_laden());
        assert_eq!(queue.try_recv().map(|reply| reply.len()), Some(65_535));
        assert!(!place.is_laden());
        while queue.try_recv().is_some() {}
        assert_eq!(queue.kept.load(Relaxed), 0);
    }
}
