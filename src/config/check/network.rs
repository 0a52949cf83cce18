//! Where the server stands: its doors, the VPC, the subnets, and who may therefore ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Judge;
use super::address::Use;
use super::audience::{Owned, nested};
use crate::config::file::Written;
use crate::config::near::nearest;
use crate::config::problem::{Place, Problem};
use crate::config::{Stated, Subnet, Vpc};
use crate::zone::partition::{known_regions, looks_like_region};

/// Where the VPC's resolver is for hosts without IPv4.
const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);

/// The blocks around this server, as far as they are right.
pub(super) struct Ground<'a> {
    pub cidrs: Vec<Written<IpNet>>,
    pub clients: Vec<Written<IpNet>>,
    pub behind_self: Vec<Written<IpNet>>,
    /// In the file's order, so that indexes agree.
    pub subnets: Vec<JudgedSubnet<'a>>,
}

pub(super) struct JudgedSubnet<'a> {
    pub name: Option<&'a Written<String>>,
    pub blocks: Vec<Written<IpNet>>,
    pub az_id: Option<String>,
    pub dns64: bool,
    pub stated: Stated,
}

impl Ground<'_> {
    /// The subnets as meant; `None` if one has no name.
    pub fn subnets(&self) -> Option<Vec<Subnet>> {
        let meant = |subnet: &JudgedSubnet<'_>| {
            let blocks = subnet.blocks.iter().map(|block| block.value).collect();
            let JudgedSubnet { name, az_id, dns64, stated, .. } = subnet;
            let (name, az_id, stated) = ((*name)?.value.clone(), az_id.clone(), stated.clone());
            Some(Subnet { name, blocks, az_id, dns64: *dns64, stated })
        };
        self.subnets.iter().map(meant).collect()
    }

    /// Every subnet block with its subnet's index.
    pub fn owned(&self) -> Vec<Owned> {
        let of = |(index, subnet): (usize, &JudgedSubnet<'_>)| {
            subnet.blocks.iter().map(move |block| (index, block.value)).collect::<Vec<_>>()
        };
        self.subnets.iter().enumerate().flat_map(of).collect()
    }

    /// Blocks that may ask, beside loopback.
    pub fn may_ask(&self) -> impl Iterator<Item = IpNet> + '_ {
        let subnets = self.subnets.iter().flat_map(|subnet| &subnet.blocks);
        self.cidrs.iter().chain(&self.clients).chain(&self.behind_self).chain(subnets).map(|block| block.value)
    }

    /// Whether a client of `block` may ask, a loopback client included.
    pub fn some_may_ask(&self, block: IpNet) -> bool {
        let loopback = [
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
        ];
        self.may_ask().chain(loopback).any(|other| nested(other, block))
    }
}

impl<'a> Judge<'a> {
    /// `server.listen`, or its default.
    pub(super) fn listen(&mut self) -> Vec<Written<SocketAddr>> {
        let written = &self.file.server.listen;
        if let Some(list) = written
            && list.value.is_empty()
        {
            let problem = Problem::mistake(list.place.as_ref(), "listen is empty: nobody could ask");
            self.problems.push(problem.hint("leave it out for 127.0.0.1:53, or name addresses"));
        }
        let listen = self.sockets(written, Use::Listen);
        self.compare_doors(&listen);
        for any_port in listen.iter().filter(|listen| listen.value.port() == 0) {
            let problem =
                Problem::warning(any_port.place.as_ref(), "port 0 lets the kernel choose another port at each start");
            self.problems.push(problem.hint("no stub resolver finds it: write 53"));
        }
        match written {
            Some(_) => listen,
            None => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53)).into()],
        }
    }

    /// An address beside the one that is every address: the kernel gives the port to one of them only.
    fn compare_doors(&mut self, listen: &[Written<SocketAddr>]) {
        for every in listen.iter().filter(|door| door.value.ip().is_unspecified() && door.value.port() != 0) {
            let swallowed = |door: &&Written<SocketAddr>| {
                let alike = door.value.port() == every.value.port() && door.value.is_ipv4() == every.value.is_ipv4();
                alike && !door.value.ip().is_unspecified()
            };
            for door in listen.iter().filter(swallowed) {
                let message = format!("{} is part of {}", door.value, every.value);
                let problem = Problem::mistake(door.place.as_ref(), message);
                let problem = problem.note(every.place.as_ref(), "this is every address");
                self.problems.push(problem.hint("keep one of them: both cannot be had"));
            }
        }
    }

    /// All blocks of the configuration.
    pub(super) fn ground(&mut self) -> Ground<'a> {
        let file = self.file;
        let cidrs = self.blocks(&file.vpc.cidrs);
        if file.vpc.cidrs.as_ref().is_none_or(|list| list.value.is_empty()) {
            let place = file.vpc.cidrs.as_ref().and_then(|list| list.place.clone()).or_else(|| self.vpc_place());
            let problem = Problem::mistake(place.as_ref(), "[vpc] needs cidrs, the VPC's blocks");
            self.absent(
                &file.vpc.origin,
                problem.hint("add cidrs = [\"172.31.0.0/16\"], the VPC's primary block first"),
            );
        }
        let ground = Ground {
            cidrs,
            clients: self.blocks(&file.server.clients),
            behind_self: self.blocks(&file.vpc.behind_self),
            subnets: self.judge_subnets(),
        };
        for everyone in ground.clients.iter().chain(&ground.cidrs).filter(|block| block.value.prefix_len() == 0) {
            let problem = Problem::warning(everyone.place.as_ref(), format!("{} lets everyone ask", everyone.value));
            self.problems
                .push(problem.hint("an open resolver is used to attack others: name the blocks of your clients"));
        }
        self.compare_blocks(&ground);
        ground
    }

    fn vpc_place(&self) -> Option<Place> {
        self.file.vpc.origin.place.clone().or_else(|| self.file.sources.first().map(Place::whole))
    }

    fn judge_subnets(&mut self) -> Vec<JudgedSubnet<'a>> {
        let mut names: HashMap<&str, &Written<String>> = HashMap::new();
        let mut subnets = Vec::new();
        for subnet in &self.file.subnets {
            let name = self.required(&subnet.name, &subnet.origin, "name");
            if let Some(name) = name {
                let place = name.place.as_ref();
                if name.value.contains('/') || name.value.parse::<IpAddr>().is_ok() {
                    let problem = Problem::mistake(place, format!("{:?} looks like a block, not a name", name.value));
                    self.problems.push(problem.hint("allow takes names and blocks: give the subnet a name of letters"));
                }
                if let Some(earlier) = names.insert(&name.value, name) {
                    let problem = Problem::mistake(place, format!("two subnets are named {:?}", name.value));
                    let problem = problem.note(earlier.place.as_ref(), "the other is here");
                    self.problems.push(problem.hint("give each a name of its own, or one subnet both blocks"));
                }
            }
            let empty = subnet.cidr.as_ref().is_none_or(|list| list.value.is_empty());
            if empty {
                let problem = Problem::mistake(subnet.origin.place.as_ref(), "a subnet without cidr");
                self.absent(&subnet.origin, problem.hint("add cidr = \"172.31.1.0/24\""));
            }
            let blocks = self.blocks(&subnet.cidr);
            let dns64 = subnet.dns64.as_ref().is_some_and(|flag| flag.value);
            let stated = Stated::at(subnet.origin.place.as_ref());
            subnets.push(JudgedSubnet { name, blocks, az_id: self.az_id(&subnet.az_id), dns64, stated });
        }
        subnets
    }

    /// `vpc.az-ids`: Availability Zones by name, with their ids.
    pub(super) fn az_ids(&mut self) -> Vec<(String, String)> {
        let mut zones = Vec::new();
        for (name, id) in self.file.vpc.az_ids.iter().flat_map(|pairs| &pairs.value) {
            let region = name.value.strip_suffix(|letter: char| letter.is_ascii_lowercase());
            if !region.is_some_and(looks_like_region) {
                let message = format!("{:?} is not the name of an Availability Zone", name.value);
                let hint = "write its name in this account and its id: ap-northeast-1a = \"apne1-az4\"";
                self.problems.push(Problem::mistake(name.place.as_ref(), message).hint(hint));
            }
            let id = self.az_id(&Some(id.clone()));
            zones.extend(id.map(|id| (name.value.clone(), id)));
        }
        zones
    }

    /// An Availability Zone id, told apart from a zone's name.
    pub(super) fn az_id(&mut self, text: &Option<Written<String>>) -> Option<String> {
        let text = text.as_ref()?;
        let name = text.value.strip_suffix(|letter: char| letter.is_ascii_lowercase()).is_some_and(looks_like_region);
        if name || !text.value.contains("-") {
            let message = format!("{:?} is not an Availability Zone id", text.value);
            let hint = "write the id, such as apne1-az4: a zone's name means another zone in each account";
            self.problems.push(Problem::mistake(text.place.as_ref(), message).hint(hint));
        }
        Some(text.value.clone())
    }

    /// Blocks that contradict each other, and subnets that are elsewhere.
    fn compare_blocks(&mut self, ground: &Ground<'_>) {
        let mut blocks: HashMap<IpNet, (usize, &Written<IpNet>)> = HashMap::new();
        let indexed = ground.subnets.iter().enumerate();
        for (owner, block) in indexed.flat_map(|(owner, subnet)| std::iter::repeat(owner).zip(&subnet.blocks)) {
            if let Some((other, earlier)) = blocks.insert(block.value, (owner, block)) {
                let (message, hint) = match other == owner {
                    true => (format!("{} is given twice", block.value), "keep one of them"),
                    false => (
                        format!("{} is in two subnets", block.value),
                        "a client belongs to one subnet: remove one of them",
                    ),
                };
                let problem = Problem::mistake(block.place.as_ref(), message);
                self.problems.push(problem.note(earlier.place.as_ref(), "the other is here").hint(hint));
            }
            let outside = !ground.cidrs.iter().any(|cidr| cidr.value.contains(&block.value));
            if outside && !ground.cidrs.is_empty() {
                let problem = Problem::warning(block.place.as_ref(), format!("{} is outside vpc.cidrs", block.value));
                self.absent(
                    &self.file.vpc.origin,
                    problem.hint("look for a slip, or add the VPC's other blocks to vpc.cidrs"),
                );
            }
        }
        for block in &ground.behind_self {
            if ground.cidrs.iter().any(|cidr| block.value.contains(&cidr.value)) {
                let message =
                    format!("{} holds a whole block of the VPC: its hosts would count as this one", block.value);
                let problem = Problem::warning(block.place.as_ref(), message);
                self.problems
                    .push(problem.hint("write the container networks whose traffic leaves with this host's address"));
            }
            if let Some((_, subnet)) = blocks.get(&block.value) {
                let message = format!("{} is behind-self and a subnet", block.value);
                let problem = Problem::mistake(block.place.as_ref(), message);
                let problem = problem.note(subnet.place.as_ref(), "the subnet is here");
                self.problems.push(problem.hint("its clients count as this host or as the subnet: remove one"));
            }
        }
    }

    pub(super) fn vpc(&mut self, ground: &Ground<'_>, listen: &[Written<SocketAddr>]) -> Option<Vpc> {
        let file = self.file;
        if let Some(region) = &file.vpc.region {
            self.region(region);
        }
        let self_address = file.vpc.self_address.as_ref().and_then(|text| self.address(text));
        if let Some(ip) = &self_address
            && !ground.cidrs.is_empty()
            && !ground.cidrs.iter().any(|cidr| cidr.value.contains(&ip.value))
        {
            let problem = Problem::mistake(ip.place.as_ref(), format!("self {} is outside vpc.cidrs", ip.value));
            self.absent(&file.vpc.origin, problem.hint("write this host's address in the VPC, or leave self out"));
        }
        let resolvers = self.resolvers(ground)?;
        self.warn_of_loops(&resolvers, listen, "resolver");
        Some(Vpc {
            cidrs: ground.cidrs.iter().map(|block| block.value).collect(),
            self_address: self_address.map(|ip| ip.value),
            behind_self: ground.behind_self.iter().map(|block| block.value).collect(),
            resolvers: resolvers.into_iter().map(|resolver| resolver.value).collect(),
            stated: Stated::at(self.file.vpc.origin.place.as_ref()),
        })
    }

    /// `vpc.resolvers`, or the VPC's own resolver: its primary block's base and two.
    fn resolvers(&mut self, ground: &Ground<'_>) -> Option<Vec<Written<SocketAddr>>> {
        if let Some(list) = &self.file.vpc.resolvers {
            if list.value.is_empty() {
                let problem = Problem::mistake(list.place.as_ref(), "resolvers is empty: nothing could be forwarded");
                self.problems.push(problem.hint("leave it out for the VPC's own resolver"));
            }
            return Some(self.sockets(&self.file.vpc.resolvers, Use::Target));
        }
        let primary = ground.cidrs.iter().find_map(|cidr| match cidr.value {
            IpNet::V4(block) => {
                Some(cidr.with(IpAddr::V4(Ipv4Addr::from(u32::from(block.network()).saturating_add(2)))))
            }
            IpNet::V6(_) => None,
        });
        let first = ground.cidrs.first()?;
        let ip = primary.unwrap_or_else(|| first.with(IpAddr::V6(RESOLVER_V6)));
        Some(vec![ip.with(SocketAddr::new(ip.value, 53))])
    }

    /// A region of the right shape; a warning if nobody knows it.
    pub(super) fn region<'b>(&mut self, region: &'b Written<String>) -> Option<&'b str> {
        let place = region.place.as_ref();
        let text = region.value.as_str();
        let zone = text.strip_suffix(|letter: char| letter.is_ascii_lowercase()).filter(|text| looks_like_region(text));
        let near = nearest(text, known_regions()).map(|near| format!("did you mean {near:?}?"));
        if !looks_like_region(text) {
            let hint = match (zone, near) {
                (Some(region), _) => format!("that is an Availability Zone; its region is {region:?}"),
                (None, Some(near)) => near,
                (None, None) => "write a region's code, such as \"ap-northeast-1\"".to_owned(),
            };
            self.problems.push(Problem::mistake(place, format!("{text:?} is not a region")).hint(hint));
            return None;
        }
        if !known_regions().any(|known| known == text) {
            let hint = near.unwrap_or_else(|| "a new region works all the same; look for a slip".to_owned());
            self.problems.push(Problem::warning(place, format!("the region {text:?} is not known here")).hint(hint));
        }
        Some(text)
    }

    /// A query sent to this server's own address would come back for ever.
    pub(super) fn warn_of_loops(
        &mut self,
        targets: &[Written<SocketAddr>],
        listen: &[Written<SocketAddr>],
        what: &str,
    ) {
        for target in targets {
            let ip = target.value.ip();
            let ours = ip.is_loopback() || self.machine.addresses.contains(&ip);
            let heard = |door: &&Written<SocketAddr>| {
                let wildcard = door.value.ip().is_unspecified() && door.value.is_ipv4() == ip.is_ipv4();
                door.value.port() == target.value.port() && (door.value.ip() == ip || (wildcard && ours))
            };
            if let Some(door) = listen.iter().find(heard) {
                let message = format!("{what} {} is this server's own address", target.value);
                let problem =
                    Problem::mistake(target.place.as_ref(), message).note(door.place.as_ref(), "it listens here");
                self.problems.push(
                    problem.hint("its queries would come back for ever: name another server, such as the VPC's .2"),
                );
            }
        }
    }

    /// A door through which nobody may come.
    pub(super) fn warn_of_unheard_families(&mut self, ground: &Ground<'_>, listen: &[Written<SocketAddr>]) {
        for door in listen.iter().filter(|door| !door.value.ip().is_loopback()) {
            let v4 = door.value.is_ipv4();
            if !ground.cidrs.is_empty() && !ground.may_ask().any(|block| block.addr().is_ipv4() == v4) {
                let family = if v4 { "IPv4" } else { "IPv6" };
                let message = format!("listens on {family}, but no {family} block may ask");
                let problem = Problem::warning(door.place.as_ref(), message);
                self.absent(
                    &self.file.vpc.origin,
                    problem.hint(format!("add the VPC's {family} block to vpc.cidrs, or do not listen there")),
                );
            }
        }
    }
}
