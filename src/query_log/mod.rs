//! The query log: which queries are noted, and how a note leaves the hot path.
//!
//! A thread that answers queries writes no line: it puts a note of fixed size into a queue of fixed length, and goes on; where
//! the queue is full the note is lost and counted. [`writer`] takes notes out, makes lines of them, and has the disk to
//! wait for. The log belongs to a policy, so a reload may change what is noted while queries are answered.

pub mod writer;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::config;
use crate::metrics::{Fate, SubnetId};
use crate::wire::Transport;
use crate::wire::name::MAX_NAME;

/// Notes that may wait to be written: a twentieth of a second at the highest rate one core has, and 6 MiB.
pub const PLACES: usize = 16_384;

/// What is noted of a query.
#[derive(Debug, Clone)]
pub struct Note {
    /// When it came.
    pub at: Instant,
    /// How long its reply took, where a resolver was asked for it.
    pub took: Option<Duration>,
    /// Who asked.
    pub client: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Which subnet the client is in.
    pub subnet: SubnetId,
    /// What became of it.
    pub fate: Fate,
    /// The response code of its reply, if there is one.
    pub code: Option<u16>,
    /// What was asked; `None` of a packet that could not be read.
    pub asked: Option<Asked>,
}

/// What goes through the queue.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are notes, and a box for each would be memory taken on the hot path"
)]
pub enum Slip {
    /// To be written.
    Note(Note),
    /// To be dropped when all before it is written.
    Written(SyncSender<()>),
}

/// What was asked, and who decided.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The type.
    pub kind: u16,
    /// The name, lower case, in wire form, ...
    name: [u8; MAX_NAME],
    /// ... of so many octets, ...
    length: u8,
    /// ... and where in it the zone's begins that decided, if one did.
    apex: Option<u8>,
}

impl Asked {
    /// `name` in wire form, in which the deciding zone's begins at `apex`.
    pub fn new(name: &[u8], kind: u16, apex: Option<usize>) -> Self {
        let mut octets = [0; MAX_NAME];
        octets.iter_mut().zip(name).for_each(|(octet, given)| *octet = *given);
        let short = |number: usize| u8::try_from(number).ok();
        Self { kind, name: octets, length: short(name.len()).unwrap_or(u8::MAX), apex: apex.and_then(short) }
    }

    /// The name, in wire form.
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.length.into()).unwrap_or_default()
    }

    /// The name of the zone that decided, in wire form.
    pub fn zone(&self) -> Option<&[u8]> {
        self.name().get(usize::from(self.apex?)..)
    }
}

/// Which queries are noted, and where the notes go.
#[derive(Debug)]
pub struct QueryLog {
    queue: SyncSender<Slip>,
    /// One of so many.
    sample: u32,
    /// A bit for each subnet; all where every client counts.
    subnets: u128,
    /// A bit for each fate.
    fates: u16,
    /// Zones in wire form; `None`: whoever decides.
    zones: Option<HashSet<Box<[u8]>, RandomState>>,
}

impl QueryLog {
    /// What `config` says of it, whose subnets are counted as `ids`; notes go to `queue`.
    pub fn new(config: &config::QueryLog, ids: &[SubnetId], queue: SyncSender<Slip>) -> Self {
        let subnets = config.subnets.iter().filter_map(|index| ids.get(*index));
        let zones = config.zones.iter().map(|zone| zone.as_wire().into());
        Self {
            queue,
            sample: config.sample.max(1),
            subnets: match config.subnets.is_empty() {
                true => u128::MAX,
                false => subnets.fold(0, |bits, id| bits | 1 << id.index()),
            },
            fates: match config.outcomes.is_empty() {
                true => u16::MAX,
                false => config.outcomes.iter().fold(0, |bits, fate| bits | 1 << *fate as u8),
            },
            zones: (!config.zones.is_empty()).then(|| zones.collect()),
        }
    }

    /// Where its notes go.
    pub fn queue(&self) -> &SyncSender<Slip> {
        &self.queue
    }

    /// Whether such a query is noted, `drawn` being a random number and `zone` who decided it.
    pub fn wants(&self, subnet: SubnetId, fate: Fate, zone: Option<&[u8]>, drawn: u32) -> bool {
        let sampled = u64::from(drawn) * u64::from(self.sample) < 1 << 32;
        let wanted = self.subnets & 1 << subnet.index() != 0 && self.fates & 1 << fate as u8 != 0;
        sampled && wanted && self.zones.as_ref().is_none_or(|zones| zone.is_some_and(|zone| zones.contains(zone)))
    }

    /// Waits until what was noted so far is written, for so long at most.
    pub fn wait(&self, time: Duration) {
        let (done, written) = sync_channel(1);
        // Where the queue is full there is no place to ask; what is in it is written all the same, if time permits.
        if self.queue.try_send(Slip::Written(done)).is_ok() {
            let _ = written.recv_timeout(time);
        }
    }

    /// Puts a note into the queue; false if there is no place for it. Never waits, and wakes nobody.
    #[must_use]
    pub fn note(&self, note: Note) -> bool {
        self.queue.try_send(Slip::Note(note)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogTo;

    fn log(change: impl FnOnce(&mut config::QueryLog)) -> QueryLog {
        let mut config =
            config::QueryLog { to: LogTo::Journal, sample: 1, subnets: vec![], zones: vec![], outcomes: vec![] };
        change(&mut config);
        QueryLog::new(&config, &[SubnetId::nth(0), SubnetId::nth(1)], sync_channel(1).0)
    }

    #[test]
    fn what_is_not_filtered_is_noted() {
        let all = log(|_| {});
        for fate in Fate::ALL {
            assert!(all.wants(SubnetId::NONE, fate, None, u32::MAX));
        }
    }

    #[test]
    fn filters_hold_together() {
        let zone: crate::wire::Name = "a.example".parse().unwrap();
        let some = log(|config| {
            config.subnets = vec![1];
            config.outcomes = vec![Fate::Private, Fate::Denied];
            config.zones = vec![zone.clone()];
        });
        let wire = Some(zone.as_wire());
        assert!(some.wants(SubnetId::nth(1), Fate::Denied, wire, 0));
        assert!(!some.wants(SubnetId::nth(0), Fate::Denied, wire, 0));
        assert!(!some.wants(SubnetId::nth(1), Fate::Cached, wire, 0));
        assert!(!some.wants(SubnetId::nth(1), Fate::Private, Some(b"\x01b\x00"), 0));
        assert!(!some.wants(SubnetId::nth(1), Fate::Private, None, 0));
    }

    #[test]
    fn a_sample_is_one_of_so_many() {
        let tenth = log(|config| config.sample = 10);
        let drawn = (0..1000u32).map(|number| number.wrapping_mul(u32::MAX / 1000));
        let taken = drawn.filter(|drawn| tenth.wants(SubnetId::NONE, Fate::Cached, None, *drawn)).count();
        assert!((99..=101).contains(&taken), "{taken}");
    }

    #[test]
    fn a_full_queue_takes_nothing_and_waits_for_nobody() {
        let (queue, _notes) = sync_channel(1);
        let config =
            config::QueryLog { to: LogTo::Journal, sample: 1, subnets: vec![], zones: vec![], outcomes: vec![] };
        let log = QueryLog::new(&config, &[], queue);
        let note = Note {
            at: Instant::now(),
            took: None,
            client: ([127, 0, 0, 1], 1).into(),
            transport: Transport::Udp,
            subnet: SubnetId::NONE,
            fate: Fate::Private,
            code: Some(0),
            asked: Some(Asked::new(b"\x01a\x01b\x00", 1, Some(2))),
        };
        assert_eq!(note.asked.as_ref().and_then(Asked::zone), Some(&b"\x01b\x00"[..]));
        assert!(log.note(note.clone()));
        assert!(!log.note(note));
    }
}
