//! Three hosts on this machine: network namespaces for the forwarder, its resolvers and a forger, joined by veth pairs.
//!
//! Apart from the lab of `tests/vpc`, which is the whole VPC and says what clients see: here a run wants little, a
//! hundred times. All of it carries the name `phzd-faults-<process id>-<number>`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::namespace::Namespace;
pub use crate::namespace::Outcome;
use crate::resolver::{Resolver, knows_all};

/// The forwarder's address.
pub const FORWARDER: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 10);

/// The resolvers' addresses, both on one host. The forger has the first one too.
pub const RESOLVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 31, 0, 2), Ipv4Addr::new(172, 31, 0, 3)];

/// The forwarder's end of its way to the forger.
const DOOR: &str = "02:00:00:00:00:01";

/// What all namespaces are named with.
pub const PREFIX: &str = "phzd-faults-";

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Runs the program that is tried, and its clients.
    Forwarder,
    /// Runs the resolvers.
    Resolver,
    /// Sends what it likes, with the first resolver's address.
    Forger,
}

impl Host {
    const ALL: [Host; 3] = [Host::Forwarder, Host::Resolver, Host::Forger];

    fn name(self) -> &'static str {
        match self {
            Host::Forwarder => "forwarder",
            Host::Resolver => "resolver",
            Host::Forger => "forger",
        }
    }
}

/// What becomes of packets on the last step of their way to the resolvers.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// They arrive.
    Good,
    /// So many in a hundred get lost.
    Loses(u32),
    /// What is over so many a second gets lost.
    Limit(u32),
    /// Nothing arrives, and the sender is told that nobody listens.
    Unreachable,
}

/// The three hosts.
pub struct Lab {
    hosts: [Namespace; 3],
    folder: TempDir,
}

impl Lab {
    /// Makes them.
    pub fn new() -> Outcome<Lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let [forwarder, resolver, forger] = Host::ALL.map(|host| Namespace::new(format!("{name}-{}", host.name())));
        let lab = Lab { hosts: [forwarder?, resolver?, forger?], folder: tempfile::tempdir()? };
        let [forwarder, resolver, forger] = &lab.hosts;
        let [first, second] = RESOLVERS;
        let links = format!(
            "link set lo up\n\
             link add resolver type veth peer name eth0 netns {}\n\
             link add forger address {DOOR} type veth peer name eth0 netns {}\n\
             address add {FORWARDER}/16 dev resolver\n\
             link set resolver up\nlink set forger up\n",
            resolver.name(),
            forger.name()
        );
        forwarder.ip(&links)?;
        let links = format!(
            "link set lo up\naddress add {first}/16 dev eth0\naddress add {second}/16 dev eth0\nlink set eth0 up\n"
        );
        resolver.ip(&links)?;
        let links = format!(
            "link set lo up\nlink set eth0 up\naddress add {first}/32 dev lo\nroute add {FORWARDER} dev eth0\n\
             neighbour add {FORWARDER} lladdr {DOOR} dev eth0\n"
        );
        forger.ip(&links)?;
        // The forwarder takes what comes from the forger's side, as a host of a network without filters would.
        lab.inside(Host::Forwarder, || {
            ["all", "default", "forger"]
                .iter()
                .try_for_each(|of| fs::write(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"), "0"))
        })??;
        lab.way(Way::Good)?;
        Ok(lab)
    }

    /// A folder for the run's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Does `work` on a thread of `host`: sockets it opens and processes it starts are the host's.
    pub fn inside<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Outcome<T> {
        self.host(host).inside(work)
    }

    /// Changes the way to the resolvers, and begins to count anew.
    pub fn way(&self, way: Way) -> Outcome<()> {
        let rule = match way {
            Way::Good => String::new(),
            Way::Loses(percent) => format!("udp dport 53 numgen random mod 100 < {percent} drop"),
            // A tenth of a second's worth may come at once; how deep the VPC's own bucket is, AWS does not say.
            Way::Limit(rate) => {
                format!("th dport 53 limit rate over {rate}/second burst {} packets drop", rate.div_ceil(10))
            }
            Way::Unreachable => "udp dport 53 reject with icmp type port-unreachable".to_owned(),
        };
        let table = format!(
            "flush ruleset
            table ip way {{
                counter asked {{ }}
                chain input {{
                    type filter hook input priority 0; policy accept;
                    meta l4proto {{ tcp, udp }} th dport 53 counter name asked
                    {rule}
                }}
            }}\n"
        );
        self.host(Host::Resolver).run(&["nft", "-f", "-"], &table).map(drop)
    }

    /// Packets that have come to the resolvers' door, UDP and TCP, those included that were lost there.
    pub fn packets(&self) -> Outcome<u64> {
        let said = self.host(Host::Resolver).run(&["nft", "list", "counter", "ip", "way", "asked"], "")?;
        let number = said.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(number.ok_or("nft lists no counter")?.parse()?)
    }

    /// Starts a resolver at `address` whose answers may be kept for `ttl` seconds.
    pub fn resolver(&self, address: Ipv4Addr, ttl: u32, delay: Duration) -> Outcome<Resolver> {
        Resolver::start(self.host(Host::Resolver), SocketAddr::from((address, 53)), knows_all(ttl), delay)
    }

    /// A host.
    fn host(&self, host: Host) -> &Namespace {
        &self.hosts[host as usize]
    }
}
