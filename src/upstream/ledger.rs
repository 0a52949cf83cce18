//! How resolvers fare: counted by the forwarder's thread, read by whoever wants to know.
//!
//! Apart from [`super::track`], by which the forwarder decides, because others read here while it counts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::track::Standing;
use crate::metrics::{Count, Histogram, Times};

/// The book of all resolvers, and of forwarding as a whole.
#[derive(Debug, Default)]
pub struct Ledger {
    resolvers: Mutex<Vec<(SocketAddr, Arc<Conduct>)>>,
    /// Forwarding as a whole.
    pub forwarding: Forwarding,
}

/// How one resolver fares.
#[derive(Debug, Default)]
pub struct Conduct {
    /// Sends: datagrams, and exchanges over a stream.
    pub queries: Count,
    /// Of these, questions that it had been sent before.
    pub retransmissions: Count,
    /// Of these, exchanges over TCP, TLS or HTTPS.
    pub streams: Count,
    /// Of these, what nobody waited for: looks, hedges, renewals.
    pub aside: Count,
    /// Replies that fit a question.
    pub answers: Count,
    /// Sends without an answer in time.
    pub timeouts: Count,
    /// Sends of which its host said that nobody listens, or to which there is no way.
    pub unreachable: Count,
    /// Replies that were of no use: SERVFAIL, REFUSED and their like, and what could not be read.
    pub unusable: Count,
    /// From a send to its reply.
    pub latency: Histogram,
    /// [`Standing`], as a number.
    standing: Count,
    /// Smoothed time to answer, in microseconds; 0 before the first answer.
    usual: Count,
}

/// Forwarding as a whole.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// Questions that were on their way already when they were asked once more.
    pub joined: Count,
    /// Questions that had to wait for a packet.
    pub queued: Count,
    /// Those who waited and were told SERVFAIL because too many did.
    pub turned_away: Count,
    /// Those whose time was over before there was an answer.
    pub expired: Count,
    /// Popular answers that were asked for again before their time was over.
    pub renewals: Count,
    /// Questions that were moved to TCP because their answers looked forged.
    pub forgeries: Count,
    /// Questions that could not be asked over a stream because too many were.
    pub refused_streams: Count,
}

/// How one resolver has fared so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// Where it is.
    pub resolver: SocketAddr,
    /// How it stands beside others.
    pub standing: Standing,
    /// It sends our own queries back to us, and is left unused until the next reload.
    pub forwards_to_us: bool,
    /// Smoothed time to answer, in microseconds, if it ever answered.
    pub usual_us: Option<u64>,
    /// See [`Conduct::queries`], ...
    pub queries: u64,
    /// ... [`Conduct::retransmissions`], ...
    pub retransmissions: u64,
    /// ... [`Conduct::streams`], ...
    pub streams: u64,
    /// ... [`Conduct::aside`], ...
    pub aside: u64,
    /// ... [`Conduct::answers`], ...
    pub answers: u64,
    /// ... [`Conduct::timeouts`], ...
    pub timeouts: u64,
    /// ... [`Conduct::unreachable`], ...
    pub unreachable: u64,
    /// ... [`Conduct::unusable`], ...
    pub unusable: u64,
    /// ... and [`Conduct::latency`].
    pub latency: Times,
}

impl Account {
    /// Whether questions go to it.
    pub fn is_up(&self) -> bool {
        self.standing != Standing::Down && !self.forwards_to_us
    }

    /// How it stands, in words.
    pub fn words(&self) -> &'static str {
        if self.forwards_to_us { "unused: it forwards to phzd" } else { self.standing.word() }
    }
}

impl Ledger {
    /// The page of one resolver, a new one if it has none.
    pub fn page(&self, resolver: SocketAddr) -> Arc<Conduct> {
        let mut pages = self.resolvers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pages.iter().find(|(address, _)| *address == resolver);
        if let Some((_, conduct)) = known {
            return Arc::clone(conduct);
        }
        let conduct = Arc::<Conduct>::default();
        pages.push((resolver, Arc::clone(&conduct)));
        conduct
    }

    /// Every resolver that was ever asked, in the order of their first question.
    pub fn accounts(&self) -> Vec<Account> {
        let pages = self.resolvers.lock().unwrap_or_else(PoisonError::into_inner);
        pages.iter().map(|(resolver, conduct)| conduct.account(*resolver)).collect()
    }
}

impl Conduct {
    /// Notes how it stands, and what it usually takes in microseconds.
    pub(super) fn stands(&self, standing: Standing, usual: u64) {
        self.standing.set(standing as u64);
        self.usual.set(usual);
    }

    fn account(&self, resolver: SocketAddr) -> Account {
        let mut latency = Times::default();
        latency.add(&self.latency);
        let number = self.standing.value();
        let standing = Standing::ALL.into_iter().find(|standing| *standing as u64 == number);
        Account {
            resolver,
            standing: standing.unwrap_or(Standing::Well),
            forwards_to_us: false,
            usual_us: Some(self.usual.value()).filter(|usual| *usual > 0),
            queries: self.queries.value(),
            retransmissions: self.retransmissions.value(),
            streams: self.streams.value(),
            aside: self.aside.value(),
            answers: self.answers.value(),
            timeouts: self.timeouts.value(),
            unreachable: self.unreachable.value(),
            unusable: self.unusable.value(),
            latency,
        }
    }
}
