//! The names of a zone and what each has, compiled: answers that are ready to be sent.
//!
//! Apart from [`super::Zone`], because a lookup among names is a matter of its own: the name itself, an empty
//! non-terminal, a wildcard, or nothing (RFC 1034 section 4.3.2, RFC 4592).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::config::{self, Data, RecordSet};
use crate::wire::answer::{Alias, Answer, Builder, Section};
use crate::wire::dns64;
use crate::wire::name::{Name, labels};
use crate::wire::query::{kind, rcode};

/// The label that makes a name a wildcard (RFC 4592 section 2.1.1).
const ASTERISK: &[u8] = b"\x01*";

/// Every name at and below a zone's own, whole, lower case, with what it has.
#[derive(Debug, Default)]
pub struct Records {
    /// Keyed: names are chosen by strangers.
    names: HashMap<Box<[u8]>, usize, RandomState>,
    nodes: Vec<Node>,
}

/// What a name has. One that has nothing is an empty non-terminal: it exists because names below it do.
#[derive(Debug, Default)]
pub struct Node {
    /// Answers by type.
    sets: Box<[(u16, Answer)]>,
    /// The answer to ANY, where there are several sets.
    any: Option<Answer>,
    /// It is another name for this one.
    pub cname: Option<Alias>,
    /// Its addresses are those of an endpoint: an index into the configuration's.
    pub endpoint: Option<usize>,
    /// AAAA made of its A, where it has no AAAA (RFC 6147 section 5.1.6) and somebody wants that.
    pub synthesised: Option<Answer>,
    /// What names below it have that do not exist (RFC 4592 section 3.3.1): an index into the nodes.
    wildcard: Option<usize>,
}

impl Records {
    /// The records of `zone`. With `dns64`, the TTL of its negative answers, AAAA are made of A.
    pub fn new(zone: &config::Zone, dns64: Option<u32>) -> Self {
        let mut records = Self::default();
        let apex = zone.name.as_wire();
        records.enter(apex, apex);
        let mut sets: Vec<&RecordSet> = zone.records.iter().collect();
        sets.sort_by_key(|set| &set.owner);
        for sets in sets.chunk_by(|one, other| one.owner == other.owner) {
            let Some(owner) = sets.first().map(|set| set.owner.as_wire()) else { continue };
            let index = records.enter(owner, apex);
            if let Some(node) = records.nodes.get_mut(index) {
                *node = Node { wildcard: node.wildcard, ..Node::of(sets, dns64) };
            }
        }
        records
    }

    /// The node of `name`, made if it is not there, as is every name between it and the zone's own.
    fn enter(&mut self, name: &[u8], apex: &[u8]) -> usize {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let index = self.nodes.len();
        self.nodes.push(Node::default());
        self.names.insert(name.into(), index);
        let above = name.first().and_then(|length| name.get(1 + usize::from(*length)..));
        let parent = above.filter(|parent| parent.len() >= apex.len());
        if let Some(parent) = parent {
            let parent = self.enter(parent, apex);
            if name.starts_with(ASTERISK)
                && let Some(parent) = self.nodes.get_mut(parent)
            {
                parent.wildcard = Some(index);
            }
        }
        index
    }

    /// What `name` has, by itself or by a wildcard; `None` if it does not exist. `apex` is where the zone's name
    /// begins in it.
    pub fn find(&self, name: &[u8], apex: usize) -> Option<&Node> {
        let existing = |at: usize| self.nodes.get(*self.names.get(name.get(at..)?)?);
        // The closest encloser is the longest name that exists, at or above this one (RFC 4592 section 3.3.1).
        let names = labels(name).take_while(|at| *at < apex).chain([apex]);
        let (at, closest) = names.filter_map(|at| Some((at, existing(at)?))).next()?;
        if at == 0 { Some(closest) } else { self.nodes.get(closest.wildcard?) }
    }
}

impl Node {
    /// A name that is an alias to an endpoint, and nothing else.
    pub fn alias(endpoint: usize) -> Self {
        Self { endpoint: Some(endpoint), ..Self::default() }
    }

    /// A name that has these.
    fn of(sets: &[&RecordSet], dns64: Option<u32>) -> Self {
        let mut node = Self::default();
        let mut records = Vec::new();
        for set in sets {
            match &set.data {
                Data::Alias(endpoint) => node.endpoint = Some(*endpoint),
                Data::Records { kind, ttl, rdata } => records.push((*kind, *ttl, &**rdata)),
            }
        }
        records.sort_unstable_by_key(|(kind, ..)| *kind);
        node.sets = records.iter().map(|&(kind, ttl, rdata)| (kind, turning(kind, ttl, rdata))).collect();
        if records.len() > 1 {
            let all = |all, &(kind, ttl, rdata): &_| append(all, kind, ttl, rdata);
            node.any = Some(records.iter().fold(Builder::new(rcode::NOERROR), all).build());
        }
        let set = |wanted: u16| records.iter().find(|(kind, ..)| *kind == wanted);
        if let Some((_, ttl, [target])) = set(kind::CNAME) {
            node.cname = Name::from_wire(target).map(|target| Alias { target, ttl: *ttl });
        }
        if let (Some(negative), Some((_, ttl, v4)), None) = (dns64, set(kind::A), set(kind::AAAA)) {
            let made = v4.iter().filter_map(|address| address.first_chunk::<4>());
            let made: Vec<Box<[u8]>> = made.map(|v4| dns64::synthesise((*v4).into()).octets().into()).collect();
            // RFC 6147 section 5.1.7: no longer than the negative answer that it stands for.
            node.synthesised = Some(turning(kind::AAAA, negative.min(*ttl), &made));
        }
        node
    }

    /// The answer to a question for this type; `None` if there are no such records. An alias' addresses are not here.
    pub fn set(&self, kind: u16) -> Option<&Answer> {
        if kind == kind::ANY {
            return self.any.as_ref().or(self.sets.first().map(|(_, only)| only));
        }
        let index = self.sets.binary_search_by_key(&kind, |(kind, _)| *kind).ok()?;
        self.sets.get(index).map(|(_, answer)| answer)
    }
}

/// The answer of one set. Records of one size take turns to be first, as Route 53's do.
fn turning(kind: u16, ttl: u32, rdata: &[Box<[u8]>]) -> Answer {
    let set = append(Builder::new(rcode::NOERROR), kind, ttl, rdata);
    match rdata.first().map(|first| first.len()) {
        Some(size) if rdata.iter().all(|data| data.len() == size) => set.rotating(size).build(),
        _ => set.build(),
    }
}

fn append(answer: Builder, kind: u16, ttl: u32, rdata: &[Box<[u8]>]) -> Builder {
    rdata.iter().fold(answer, |answer, data| answer.record(Section::Answer, kind, ttl, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Audience, Below, Except, Others};

    fn records(owners: &[&str]) -> Records {
        let data = |last| Data::Records { kind: kind::A, ttl: 60, rdata: vec![Box::new([10, 0, 0, last])] };
        let set = |(owner, last): (&&str, u8)| RecordSet { owner: owner.parse().unwrap(), data: data(last) };
        let zone = config::Zone {
            name: "z.example".parse().unwrap(),
            records: owners.iter().zip(0..).map(set).collect(),
            except: Except::default(),
            allow: Audience::Everyone,
            others: Others::Forward,
            below: Below::NxDomain,
            stated: config::Stated::default(),
        };
        Records::new(&zone, None)
    }

    /// Which of the owners answers for `name`: its number; 99 for an empty non-terminal, `None` for no such name.
    fn found(records: &Records, name: &str) -> Option<u32> {
        let name: Name = name.parse().unwrap();
        let apex = name.as_wire().len() - b"\x01z\x07example\x00".len();
        let node = records.find(name.as_wire(), apex)?;
        Some(node.set(kind::A).map_or(99, |answer| (0..).find(|n| *answer == turning_of(*n)).unwrap()))
    }

    fn turning_of(last: u32) -> Answer {
        turning(kind::A, 60, &[Box::new([10, 0, 0, last as u8])])
    }

    /// The zone of RFC 4592 section 2.2.1, with its questions.
    #[test]
    fn wildcards_as_in_the_rfc() {
        let names = ["z.example", "*.z.example", "sub.*.z.example", "host1.z.example", "_ssh._tcp.host1.z.example"];
        let records = records(&names);
        assert_eq!(found(&records, "host3.z.example"), Some(1), "by the wildcard");
        assert_eq!(found(&records, "foo.bar.z.example"), Some(1), "at any depth");
        assert_eq!(found(&records, "host1.z.example"), Some(3), "a name that exists is not covered");
        assert_eq!(found(&records, "sub.*.z.example"), Some(2), "an asterisk elsewhere is a letter");
        assert_eq!(found(&records, "_telnet._tcp.host1.z.example"), None, "_tcp.host1 exists, so nothing covers this");
        assert_eq!(found(&records, "host.host1.z.example"), None, "host1 exists");
        assert_eq!(found(&records, "ghost.*.z.example"), None, "*.z.example exists, and has no wildcard below it");
        assert_eq!(found(&records, "_tcp.host1.z.example"), Some(99), "an empty non-terminal");
        assert_eq!(found(&records, "*.z.example"), Some(1), "asked for by its own name");
        assert_eq!(found(&records, "z.example"), Some(0), "a wildcard does not cover the name it stands below");
    }

    #[test]
    fn an_empty_wildcard_covers_with_nothing() {
        let records = records(&["x.*.z.example"]);
        assert_eq!(found(&records, "a.z.example"), Some(99));
        assert_eq!(found(&records, "z.example"), Some(99));
    }

    #[test]
    fn any_has_every_set_and_cname_is_kept_apart() {
        let mut sets = vec![
            RecordSet {
                owner: "w.z.example".parse().unwrap(),
                data: Data::Records { kind: kind::A, ttl: 60, rdata: vec![Box::new([1, 2, 3, 4])] },
            },
            RecordSet {
                owner: "w.z.example".parse().unwrap(),
                data: Data::Records { kind: 16, ttl: 60, rdata: vec![Box::new(*b"\x01x")] },
            },
        ];
        let node = Node::of(&sets.iter().collect::<Vec<_>>(), Some(60));
        assert!(node.set(kind::ANY) != node.set(kind::A) && node.set(16).is_some() && node.set(28).is_none());
        assert!(node.synthesised.is_some());
        sets.truncate(1);
        let node = Node::of(&sets.iter().collect::<Vec<_>>(), None);
        assert_eq!(node.set(kind::ANY), node.set(kind::A));
        assert_eq!(node.synthesised, None);
    }
}
