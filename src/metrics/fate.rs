//! What became of a query, and how many met which fate: by subnet and transport.

use serde::{Deserialize, Serialize};

use super::Count;
use crate::wire::Transport;

/// What became of a query. Every packet received as one has exactly one fate, decided when it is first looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A zone answered it.
    Private,
    /// A zone that is not for this client told it so.
    Denied,
    /// The cache answered it, within the answer's time.
    Cached,
    /// The cache answered it with an answer whose time was over.
    Stale,
    /// It went to the forwarder.
    Forwarded,
    /// phzd itself said REFUSED: to a client that may not ask, of what is not served to it.
    Refused,
    /// It was no query, or one that is not served.
    Malformed,
    /// Its client had asked too much.
    Limited,
    /// It got no reply on purpose.
    Dropped,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Private,
        Self::Denied,
        Self::Cached,
        Self::Stale,
        Self::Forwarded,
        Self::Refused,
        Self::Malformed,
        Self::Limited,
        Self::Dropped,
    ];

    /// As it is written in the metrics, the query log and the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Denied => "denied",
            Self::Cached => "cached",
            Self::Stale => "stale",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Limited => "limited",
            Self::Dropped => "dropped",
        }
    }
}

/// The subnet that a client is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubnetId(u8);

impl SubnetId {
    /// Clients in no subnet.
    pub const NONE: Self = Self(0);
    /// Those in a subnet for which there is no count of its own.
    pub const OTHER: Self = Self(1);
    /// Counts there are: with more subnets than the rest, some are counted together.
    pub const COUNT: usize = 128;

    /// The `nth` subnet that was ever named.
    pub fn nth(nth: usize) -> Self {
        let id = u8::try_from(nth + 2).ok().filter(|id| usize::from(*id) < Self::COUNT);
        id.map_or(Self::OTHER, Self)
    }

    /// Where it stands among all.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// One count for each subnet, fate and transport.
#[derive(Debug)]
pub struct Fates(Box<[[[Count; 2]; Fate::ALL.len()]; SubnetId::COUNT]>);

impl Default for Fates {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Default::default())))
    }
}

impl Fates {
    /// The count of this kind.
    pub fn of(&self, subnet: SubnetId, fate: Fate, transport: Transport) -> &Count {
        &self.0[subnet.index() % SubnetId::COUNT][fate as usize][transport as usize]
    }

    /// Every count, by subnet, fate and transport.
    pub fn all(&self) -> impl Iterator<Item = (SubnetId, Fate, Transport, u64)> {
        self.0.iter().zip(0u8..).flat_map(|(of_subnet, id)| {
            of_subnet.iter().zip(Fate::ALL).flat_map(move |(counts, fate)| {
                let [udp, tcp] = counts;
                let of = move |transport, count: &Count| (SubnetId(id), fate, transport, count.value());
                [of(Transport::Udp, udp), of(Transport::Tcp, tcp)]
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_stands_at_its_number_and_has_a_word() {
        for (fate, index) in Fate::ALL.into_iter().zip(0..) {
            assert_eq!(fate as usize, index);
            assert_eq!(serde_json::to_value(fate).unwrap(), fate.word());
        }
    }

    #[test]
    fn subnets_beyond_the_last_count_are_counted_together() {
        assert_eq!(SubnetId::nth(0).index(), 2);
        assert_eq!(SubnetId::nth(125).index(), 127);
        assert_eq!(SubnetId::nth(126), SubnetId::OTHER);
        assert_eq!(SubnetId::nth(100_000), SubnetId::OTHER);
    }

    #[test]
    fn counts_are_kept_apart() {
        let fates = Fates::default();
        fates.of(SubnetId::nth(3), Fate::Stale, Transport::Tcp).add(7);
        fates.of(SubnetId::NONE, Fate::Dropped, Transport::Udp).add(1);
        let counted: Vec<_> = fates.all().filter(|(.., count)| *count > 0).collect();
        assert_eq!(
            counted,
            [(SubnetId::NONE, Fate::Dropped, Transport::Udp, 1), (SubnetId::nth(3), Fate::Stale, Transport::Tcp, 7)]
        );
    }
}
