//! Who is asking: client address -> what the configuration knows of it.
//!
//! All blocks of a configuration cut the address space into segments; within one, every address is the same to every
//! rule that looks at addresses. Each segment has a [`Class`], classes are few, and whom a zone allows is a set of
//! classes. So asking who a client is costs one binary search, however many blocks there are, and file order
//! never matters: a client belongs to the subnet with the longest prefix that contains it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::{Audience, Config};

/// All clients there can be.
#[derive(Debug)]
pub struct Clients {
    v4: Segments<u32>,
    v6: Segments<u128>,
    classes: Vec<Class>,
    /// Where clients of each subnet are.
    whereabouts: Vec<Whereabouts>,
    /// The VPC's own blocks: this host's address must lie in one of them to say anything.
    vpc: Vec<IpNet>,
    /// The class of this host's own address, once it is known: loopback clients and those behind this host count as it.
    host: OnceLock<usize>,
    /// That address.
    own: OnceLock<IpAddr>,
    /// Sets of classes, an index for each `allow` of the configuration.
    audiences: Vec<Vec<bool>>,
}

/// What all clients of a segment have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Class {
    /// They may ask at all.
    may_ask: bool,
    /// They count as this host itself.
    is_self: bool,
    /// The subnet they belong to: an index into [`Config::subnets`].
    subnet: Option<usize>,
    /// The CIDR literals they are in: indexes into the blocks that `allow` lists name.
    literals: Vec<usize>,
}

/// A client that may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    class: usize,
    /// The class it counts as beside its own: this host's, for a client on it or behind it.
    counts_as: usize,
    /// The subnet that it counts as being in: an index into [`Config::subnets`].
    pub subnet: Option<u32>,
    /// Where it is.
    pub whereabouts: Whereabouts,
}

/// Where a client is, as far as answers depend on it: what its subnet says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Whereabouts {
    /// Its Availability Zone: an index into [`Config::az_ids`].
    pub az: Option<u16>,
    /// It wants AAAA made of A (RFC 6147).
    pub dns64: bool,
}

/// Whom a zone is for: an index into the audiences of [`Clients`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudienceId(usize);

/// What a block of the configuration says of the addresses in it.
#[derive(Debug, Clone, Copy)]
enum Mark {
    MayAsk,
    IsSelf,
    Subnet(usize),
    Literal(usize),
}

impl Clients {
    /// Cuts the address space by all blocks of `config`. The audiences that come with it are those of
    /// [`Config::buckets`] and then [`Config::zones`], in their order, equal ones shared.
    pub fn new(config: &Config) -> (Self, Vec<AudienceId>) {
        let mut marks: BTreeMap<IpNet, Vec<Mark>> = BTreeMap::new();
        let mut mark = |block: IpNet, mark: Mark| marks.entry(block.trunc()).or_default().push(mark);
        for block in [loopback_v4(), loopback_v6()].iter().chain(&config.vpc.behind_self) {
            mark(*block, Mark::IsSelf);
        }
        for block in config.vpc.cidrs.iter().chain(&config.server.clients) {
            mark(*block, Mark::MayAsk);
        }
        for (index, subnet) in config.subnets.iter().enumerate() {
            subnet.blocks.iter().for_each(|block| mark(*block, Mark::Subnet(index)));
        }
        let mut literals = HashMap::new();
        for audience in allows(config) {
            if let Audience::Only { blocks, .. } = audience {
                for block in blocks {
                    let next = literals.len();
                    let index = *literals.entry(block.trunc()).or_insert(next);
                    mark(*block, Mark::Literal(index));
                }
            }
        }
        let mut classes = Classes::default();
        let v4 = marks.iter().filter_map(|(block, marks)| match block {
            IpNet::V4(block) => Some((u32::from(block.network()), u32::from(block.broadcast()), &**marks)),
            IpNet::V6(_) => None,
        });
        let v4 = Segments::cut(v4, &mut classes);
        let v6 = marks.iter().filter_map(|(block, marks)| match block {
            IpNet::V6(block) => Some((u128::from(block.network()), u128::from(block.broadcast()), &**marks)),
            IpNet::V4(_) => None,
        });
        let v6 = Segments::cut(v6, &mut classes);
        let (vpc, host) = (config.vpc.cidrs.clone(), OnceLock::new());
        let az_ids = config.az_ids();
        let az = |id: &String| az_ids.binary_search(id).ok().and_then(|index| u16::try_from(index).ok());
        let whereabouts = config
            .subnets
            .iter()
            .map(|subnet| Whereabouts { az: subnet.az_id.as_ref().and_then(az), dns64: subnet.dns64 });
        let whereabouts = whereabouts.collect();
        let own = OnceLock::new();
        let mut clients = Self { v4, v6, classes: classes.list, whereabouts, vpc, host, own, audiences: Vec::new() };
        let ids = clients.compile_audiences(config, &literals);
        if let Some(address) = config.vpc.self_address {
            clients.learn_self(address);
        }
        (clients, ids)
    }

    /// Each `allow` as a set of classes.
    fn compile_audiences(&mut self, config: &Config, literals: &HashMap<IpNet, usize>) -> Vec<AudienceId> {
        let mut known: HashMap<Vec<bool>, usize> = HashMap::new();
        let audiences = allows(config).map(|allow| {
            let members: Vec<bool> = match allow {
                Audience::Everyone => vec![true; self.classes.len()],
                Audience::Only { subnets, blocks } => {
                    let blocks: Vec<_> = blocks.iter().filter_map(|block| literals.get(&block.trunc())).collect();
                    let admits = |class: &Class| {
                        class.subnet.is_some_and(|subnet| subnets.contains(&subnet))
                            || class.literals.iter().any(|literal| blocks.contains(&literal))
                    };
                    self.classes.iter().map(admits).collect()
                }
            };
            let next = known.len();
            AudienceId(*known.entry(members).or_insert(next))
        });
        let ids = audiences.collect();
        self.audiences = vec![Vec::new(); known.len()];
        for (members, index) in known {
            self.audiences[index] = members;
        }
        ids
    }

    /// Who the client at `address` is; `None` if it may not ask. An IPv4-mapped address counts as the plain one.
    pub fn identify(&self, address: IpAddr) -> Option<Client> {
        let index = self.class_of(address);
        let class = self.classes.get(index)?;
        let host = || self.host.get().copied().unwrap_or(index);
        let counts_as = if class.is_self { host() } else { index };
        let subnet = self.classes.get(counts_as).and_then(|class| class.subnet);
        let whereabouts = subnet.and_then(|subnet| self.whereabouts.get(subnet)).copied().unwrap_or_default();
        let subnet = subnet.map(|subnet| subnet as u32);
        class.may_ask.then_some(Client { class: index, counts_as, subnet, whereabouts })
    }

    /// Whether a zone for `audience` is for this client.
    pub fn admits(&self, audience: AudienceId, client: Client) -> bool {
        let Some(members) = self.audiences.get(audience.0) else { return false };
        let member = |class: usize| members.get(class).copied().unwrap_or(false);
        member(client.class) || member(client.counts_as)
    }

    /// Notes this host's own address in the VPC, once. Returns whether it is of use: an address outside the VPC's
    /// blocks is not, and clients on this host go on counting as nobody in particular.
    pub fn learn_self(&self, address: IpAddr) -> bool {
        let index = self.class_of(address);
        let inside = self.vpc.iter().any(|block| block.contains(&address.to_canonical()));
        let plain = self.classes.get(index).is_some_and(|class| !class.is_self);
        let first = inside && plain && self.host.set(index).is_ok();
        if first {
            let _ = self.own.set(address.to_canonical());
        }
        first
    }

    /// This host's own address, once it is known.
    pub fn own_address(&self) -> Option<IpAddr> {
        self.own.get().copied()
    }

    /// Whether a client at `address` counts as this host.
    pub fn is_self(&self, address: IpAddr) -> bool {
        self.classes.get(self.class_of(address)).is_some_and(|class| class.is_self)
    }

    /// Whether this host's own address is still to be learned.
    pub fn self_unknown(&self) -> bool {
        self.host.get().is_none()
    }

    /// Index of the class of `address`.
    fn class_of(&self, address: IpAddr) -> usize {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.class_of(u32::from(address)),
            IpAddr::V6(address) => self.v6.class_of(u128::from(address)),
        }
    }
}

/// Classes as they are found, each once.
#[derive(Default)]
struct Classes {
    list: Vec<Class>,
    known: HashMap<Class, usize>,
}

impl Classes {
    fn index_of(&mut self, class: Class) -> usize {
        *self.known.entry(class).or_insert_with_key(|class| {
            self.list.push(class.clone());
            self.list.len() - 1
        })
    }
}

/// The address space of one family, cut where any block begins or ends.
#[derive(Debug)]
struct Segments<A> {
    /// The first address of each segment, in order; the first is the lowest there is.
    starts: Vec<A>,
    /// The class of each segment.
    classes: Vec<u32>,
}

impl<A: Address> Segments<A> {
    /// Cuts by `blocks` of (first, last, marks), which come in the order of their first address, wider ones first.
    /// Blocks nest or are apart: that is what makes them CIDR blocks.
    fn cut<'m>(blocks: impl Iterator<Item = (A, A, &'m [Mark])>, classes: &mut Classes) -> Self {
        let mut segments = Self { starts: Vec::new(), classes: Vec::new() };
        let mut open: Vec<(A, &[Mark])> = Vec::new();
        segments.begin(A::LOWEST, &open, classes);
        for (first, last, marks) in blocks {
            segments.close_before(Some(first), &mut open, classes);
            open.push((last, marks));
            segments.begin(first, &open, classes);
        }
        segments.close_before(None, &mut open, classes);
        segments
    }

    /// Ends the open blocks that do not reach `limit`.
    fn close_before(&mut self, limit: Option<A>, open: &mut Vec<(A, &[Mark])>, classes: &mut Classes) {
        while let Some(&(last, _)) = open.last()
            && limit.is_none_or(|limit| last < limit)
        {
            open.pop();
            if let Some(next) = last.next() {
                self.begin(next, open, classes);
            }
        }
    }

    /// A segment begins at `start`, inside the blocks of `open`, innermost last.
    fn begin(&mut self, start: A, open: &[(A, &[Mark])], classes: &mut Classes) {
        let mut class = Class::default();
        for mark in open.iter().flat_map(|(_, marks)| *marks) {
            class.may_ask |= !matches!(mark, Mark::Literal(_));
            match *mark {
                Mark::MayAsk => {}
                // The innermost of these says to whom the client belongs.
                Mark::IsSelf => (class.is_self, class.subnet) = (true, None),
                Mark::Subnet(index) => (class.is_self, class.subnet) = (false, Some(index)),
                Mark::Literal(index) => class.literals.push(index),
            }
        }
        class.literals.sort_unstable();
        let class = classes.index_of(class) as u32;
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.classes.pop();
        }
        if self.classes.last() != Some(&class) {
            self.starts.push(start);
            self.classes.push(class);
        }
    }

    fn class_of(&self, address: A) -> usize {
        let after = self.starts.partition_point(|start| *start <= address);
        after.checked_sub(1).and_then(|index| self.classes.get(index)).map_or(0, |class| *class as usize)
    }
}

/// An address as a number.
trait Address: Copy + Ord {
    /// The lowest address.
    const LOWEST: Self;
    /// The one after, if there is one.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    const LOWEST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    const LOWEST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Whom each bucket and then each other zone is for.
fn allows(config: &Config) -> impl Iterator<Item = &Audience> {
    let buckets = config.buckets.iter().map(|bucket| &bucket.allow);
    buckets.chain(config.zones.iter().map(|zone| &zone.allow))
}

fn loopback_v4() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into()
}

fn loopback_v6() -> IpNet {
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Below, Bucket, Lines, Others, Stated, Subnet, tests::minimal};

    fn config(subnets: &[(&str, &[&str])], allow: &[Audience]) -> Config {
        let mut config = minimal();
        config.subnets = subnets
            .iter()
            .map(|(name, blocks)| Subnet {
                name: (*name).into(),
                blocks: blocks.iter().map(|block| block.parse().unwrap()).collect(),
                az_id: None,
                dns64: false,
                stated: Stated::default(),
            })
            .collect();
        config.buckets = allow
            .iter()
            .map(|allow| Bucket {
                names: vec![],
                lines: Lines::default(),
                endpoint: 0,
                allow: allow.clone(),
                others: Others::Forward,
                below: Below::NxDomain,
                stated: Stated::default(),
            })
            .collect();
        config
    }

    fn subnets(indexes: &[usize]) -> Audience {
        Audience::Only { subnets: indexes.to_vec(), blocks: vec![] }
    }

    fn blocks(texts: &[&str]) -> Audience {
        Audience::Only { subnets: vec![], blocks: texts.iter().map(|text| text.parse().unwrap()).collect() }
    }

    /// Which of the audiences admit `address`; `None` if it may not ask.
    fn admitted(clients: &Clients, ids: &[AudienceId], address: &str) -> Option<Vec<bool>> {
        let client = clients.identify(address.parse().unwrap())?;
        Some(ids.iter().map(|id| clients.admits(*id, client)).collect())
    }

    #[test]
    fn the_longest_prefix_decides_whatever_the_order() {
        for order in [[0, 1], [1, 0]] {
            let all = [("wide", &["172.31.0.0/16"][..]), ("narrow", &["172.31.1.0/24", "2001:db8::/64"])];
            let picked = [all[order[0]], all[order[1]]];
            let narrow = usize::from(order[0] == 0);
            let (clients, ids) = Clients::new(&config(&picked, &[subnets(&[narrow]), subnets(&[1 - narrow])]));
            let ask = |address| admitted(&clients, &ids, address);
            assert_eq!(ask("172.31.1.0"), Some(vec![true, false]));
            assert_eq!(ask("172.31.1.255"), Some(vec![true, false]));
            assert_eq!(ask("172.31.2.0"), Some(vec![false, true]));
            assert_eq!(ask("172.31.0.255"), Some(vec![false, true]));
            assert_eq!(ask("2001:db8::7"), Some(vec![true, false]));
            assert_eq!(ask("::ffff:172.31.1.5"), Some(vec![true, false]), "an IPv4-mapped client is the plain one");
            assert_eq!(ask("172.32.0.0"), None);
            assert_eq!(ask("172.30.255.255"), None);
            assert_eq!(ask("2001:db8:0:1::"), None);
            assert_eq!(ask("0.0.0.0"), None);
            assert_eq!(ask("255.255.255.255"), None);
        }
    }

    #[test]
    fn a_literal_means_all_its_addresses() {
        let allow = [blocks(&["172.31.1.128/25"]), blocks(&["172.31.1.0/24", "10.0.0.0/8"])];
        let (clients, ids) = Clients::new(&config(&[("a", &["172.31.1.192/26"])], &allow));
        assert_eq!(admitted(&clients, &ids, "172.31.1.200"), Some(vec![true, true]), "inside a longer subnet too");
        assert_eq!(admitted(&clients, &ids, "172.31.1.5"), Some(vec![false, true]));
        assert_eq!(admitted(&clients, &ids, "10.1.1.1"), None, "a literal lets nobody ask");
    }

    #[test]
    fn loopback_counts_as_this_host_once_its_address_is_known() {
        let allow = [subnets(&[0]), Audience::Everyone, blocks(&["127.0.0.0/8"])];
        let mut config = config(&[("a", &["172.31.1.0/24"]), ("b", &["127.0.9.0/24"])], &allow);
        config.vpc.behind_self = vec!["10.88.0.0/16".parse().unwrap()];
        let (clients, ids) = Clients::new(&config);
        assert!(clients.self_unknown());
        assert_eq!(admitted(&clients, &ids, "127.0.0.1"), Some(vec![false, true, true]), "nobody in particular yet");
        assert!(!clients.learn_self("192.0.2.1".parse().unwrap()), "outside the VPC");
        assert!(!clients.learn_self("127.0.0.1".parse().unwrap()));
        assert!(clients.learn_self("172.31.1.10".parse().unwrap()));
        assert!(!clients.self_unknown());
        assert_eq!(admitted(&clients, &ids, "127.0.0.53"), Some(vec![true, true, true]));
        assert_eq!(admitted(&clients, &ids, "::1"), Some(vec![true, true, false]));
        assert_eq!(admitted(&clients, &ids, "10.88.3.4"), Some(vec![true, true, false]));
        assert_eq!(admitted(&clients, &ids, "127.0.9.1"), Some(vec![false, true, true]), "a subnet of its own");
        assert_eq!(admitted(&clients, &ids, "10.89.0.1"), None);
    }

    #[test]
    fn a_stated_self_needs_no_learning() {
        let mut config = config(&[("a", &["172.31.1.0/24"])], &[subnets(&[0])]);
        config.vpc.self_address = Some("172.31.1.5".parse().unwrap());
        let (clients, ids) = Clients::new(&config);
        assert_eq!(admitted(&clients, &ids, "127.0.0.1"), Some(vec![true]));
    }

    #[test]
    fn the_ends_of_the_address_space_are_segments_too() {
        let allow = [subnets(&[0]), subnets(&[1])];
        let (clients, ids) =
            Clients::new(&config(&[("low", &["0.0.0.0/32"]), ("high", &["255.255.255.0/24"])], &allow));
        assert_eq!(admitted(&clients, &ids, "0.0.0.0"), Some(vec![true, false]));
        assert_eq!(admitted(&clients, &ids, "0.0.0.1"), None);
        assert_eq!(admitted(&clients, &ids, "255.255.255.255"), Some(vec![false, true]));
        let (clients, ids) = Clients::new(&config(&[("all", &["0.0.0.0/0"]), ("b", &["128.0.0.0/1"])], &allow));
        assert_eq!(admitted(&clients, &ids, "1.2.3.4"), Some(vec![true, false]));
        assert_eq!(admitted(&clients, &ids, "255.255.255.255"), Some(vec![false, true]));
    }
}
