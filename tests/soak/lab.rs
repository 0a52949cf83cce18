//! Three hosts on this machine: phzd's, one that has every client's address, and one that stands for AWS, with the
//! resolver and the endpoints. All of it is named `phzd-soak-<process id>-<number>`.
//!
//! Clients do not ask over loopback: limits of single clients do not hold there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::namespace::{Namespace, Outcome};

/// What all namespaces are named with.
pub const PREFIX: &str = "phzd-soak-";

/// Where phzd serves.
pub const SERVED_AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(172, 31, 1, 10)), 53);

/// Where phzd serves now and then.
pub const SECOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(172, 31, 1, 11)), 53);

/// The resolver.
pub const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(172, 31, 0, 2)), 53);

/// The endpoint whose addresses are not checked.
pub const ENDPOINT: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 31, 1, 152), Ipv4Addr::new(172, 31, 2, 77)];

/// The endpoint that comes and goes, ...
pub const FLAPPING: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 153);
/// ... and the port by which it is checked.
pub const CHECKED: u16 = 443;

/// Clients of each kind.
pub const CLIENTS: u8 = 64;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// In the subnet that is given private answers.
    Allowed,
    /// In another subnet.
    Public,
    /// In no block that may ask.
    Stranger,
    /// In no subnet, and may ask; alone in its block, and asks too much.
    Greedy,
    /// Likewise in no subnet: those who take connections.
    Crowding,
}

impl Who {
    pub const ALL: [Who; 5] = [Who::Allowed, Who::Public, Who::Stranger, Who::Greedy, Who::Crowding];

    /// Addresses of this kind.
    pub fn addresses(self) -> Vec<Ipv4Addr> {
        let (block, first) = match self {
            Who::Allowed => ([172, 31, 1], 20),
            Who::Public => ([172, 31, 0], 20),
            Who::Crowding => ([172, 31, 8], 20),
            Who::Stranger => return vec![Ipv4Addr::new(192, 0, 2, 7)],
            Who::Greedy => return vec![Ipv4Addr::new(172, 31, 9, 9)],
        };
        let [a, b, c] = block;
        (first..first + CLIENTS).map(|host| Ipv4Addr::new(a, b, c, host)).collect()
    }
}

/// The three hosts.
pub struct Lab {
    /// Runs phzd.
    pub phzd: Namespace,
    /// Runs the clients.
    pub clients: Namespace,
    /// Runs the resolver and the endpoints.
    pub aws: Namespace,
    /// For the run's files.
    pub folder: TempDir,
}

impl Lab {
    /// Makes them.
    pub fn new() -> Outcome<Lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let host = |host: &str| Namespace::new(format!("{name}-{host}"));
        let (phzd, clients, aws) = (host("phzd")?, host("clients")?, host("aws")?);
        let lab = Lab { phzd, clients, aws, folder: tempfile::tempdir()? };
        let of_aws = || ENDPOINT.into_iter().chain([FLAPPING]).map(IpAddr::V4).chain([RESOLVER.ip()]);
        let lines = |address: &mut dyn Iterator<Item = IpAddr>, line: &dyn Fn(IpAddr) -> String| {
            address.map(|address| line(address) + "\n").collect::<String>()
        };
        let (first, second) = (SERVED_AT.ip(), SECOND.ip());
        lab.phzd.ip(&format!(
            "link set lo up\n\
             link add clients type veth peer name eth0 netns {}\n\
             link add aws type veth peer name eth0 netns {}\n\
             address add {first}/16 dev clients\naddress add {second}/16 dev clients\n\
             link set clients up\nlink set aws up\nroute add 192.0.2.0/24 dev clients\n{}",
            lab.clients.name(),
            lab.aws.name(),
            lines(&mut of_aws(), &|address| format!("route add {address} dev aws src {first}")),
        ))?;
        lab.aws.ip(&format!(
            "link set lo up\nlink set eth0 up\n{}route add {first} dev eth0\n",
            lines(&mut of_aws(), &|address| format!("address add {address}/32 dev eth0")),
        ))?;
        let mut addresses = Who::ALL.into_iter().flat_map(Who::addresses).map(IpAddr::V4);
        lab.clients.ip(&format!(
            "link set lo up\nlink set eth0 up\n{}route add {first} dev eth0\nroute add {second} dev eth0\n",
            lines(&mut addresses, &|address| format!("address add {address}/32 dev eth0")),
        ))?;
        count(&lab.clients, "eth0", [OUT, IN])?;
        count(&lab.phzd, "clients", [IN, OUT])?;
        Ok(lab)
    }

    /// Datagrams that were lost so far beside phzd.
    pub fn losses(&self) -> Outcome<Losses> {
        let [left, came_back] = [counted(&self.clients, "asked")?, counted(&self.clients, "told")?];
        let [arrived, went_back] = [counted(&self.phzd, "asked")?, counted(&self.phzd, "told")?];
        let sockets = self.clients.inside(socket_losses)??;
        Ok(Losses { sockets, links: left.saturating_sub(arrived) + went_back.saturating_sub(came_back) })
    }
}

/// Datagrams that were lost beside phzd.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// For which there was no room at the clients' sockets: these the load itself has lost.
    pub sockets: u64,
    /// For which there was none on their way between the hosts.
    pub links: u64,
}

/// Where packets are counted: when they come in, and when they go out.
const IN: [&str; 2] = ["prerouting", "iifname"];
const OUT: [&str; 2] = ["postrouting", "oifname"];

/// Has questions and replies counted that pass `link`.
fn count(host: &Namespace, link: &str, [asked, told]: [[&str; 2]; 2]) -> Outcome<()> {
    let chain = |name: &str, [hook, way]: [&str; 2], port: &str| {
        format!(
            "counter {name} {{ }}\n\
             chain of-{name} {{ type filter hook {hook} priority 0; {way} {link} udp {port} 53 counter name {name}; }}\n"
        )
    };
    let table = [chain("asked", asked, "dport"), chain("told", told, "sport")].concat();
    host.run(&["nft", "-f", "-"], &format!("table ip way {{\n{table}}}\n")).map(drop)
}

fn counted(host: &Namespace, counter: &str) -> Outcome<u64> {
    let said = host.run(&["nft", "list", "counter", "ip", "way", counter], "")?;
    let number = said.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(number.ok_or("nft lists no counter")?.parse()?)
}

fn socket_losses() -> Outcome<u64> {
    let tables = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = tables.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = lines.next().zip(lines.next()).ok_or("no table of UDP")?;
    let column = names.split(' ').position(|name| name == "RcvbufErrors").ok_or("no such column")?;
    Ok(values.split(' ').nth(column).ok_or("no value")?.parse()?)
}
