//! Three hosts on this machine: network namespaces for the forwarder, its resolvers and a forger, joined by veth pairs.
//!
//! Apart from the lab of `tests/vpc`, which is the whole VPC and says what clients see: here a run wants little, a
//! hundred times. All of it carries the name `phzd-faults-<process id>-<number>` and goes with the value, also by a
//! panic; what a killed run left behind is removed by the next one. No namespace has a way out of this machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

/// What a step yields, or why it could not be done.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The forwarder's address.
pub const FORWARDER: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 10);

/// The resolvers' addresses, both on one host. The forger has the first one too.
pub const RESOLVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 31, 0, 2), Ipv4Addr::new(172, 31, 0, 3)];

/// The forwarder's end of its way to the forger.
const DOOR: &str = "02:00:00:00:00:01";

/// What all namespaces are named with.
const PREFIX: &str = "phzd-faults-";

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
    name: String,
    folder: TempDir,
}

impl Lab {
    /// Makes them.
    pub fn new() -> Outcome<Lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { name, folder: tempfile::tempdir()? };
        let [forwarder, resolver, forger] = Host::ALL.map(|host| lab.namespace(host));
        let [first, second] = RESOLVERS;
        let namespaces = format!("netns add {forwarder}\nnetns add {resolver}\nnetns add {forger}\n");
        run("ip", &["-batch", "-"], &namespaces)?;
        let links = format!(
            "link set lo up\n\
             link add resolver type veth peer name eth0 netns {resolver}\n\
             link add forger address {DOOR} type veth peer name eth0 netns {forger}\n\
             address add {FORWARDER}/16 dev resolver\n\
             link set resolver up\nlink set forger up\n"
        );
        run("ip", &["-n", &forwarder, "-batch", "-"], &links)?;
        let links = format!(
            "link set lo up\naddress add {first}/16 dev eth0\naddress add {second}/16 dev eth0\nlink set eth0 up\n"
        );
        run("ip", &["-n", &resolver, "-batch", "-"], &links)?;
        let links = format!(
            "link set lo up\nlink set eth0 up\naddress add {first}/32 dev lo\nroute add {FORWARDER} dev eth0\n\
             neighbour add {FORWARDER} lladdr {DOOR} dev eth0\n"
        );
        run("ip", &["-n", &forger, "-batch", "-"], &links)?;
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
        let namespace = File::open(Path::new("/run/netns").join(self.namespace(host)))?;
        thread::scope(|scope| {
            let entered = scope.spawn(|| setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
            Ok(entered.join().map_err(|_| "a thread of the lab panicked")??)
        })
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
        run("ip", &["netns", "exec", &self.namespace(Host::Resolver), "nft", "-f", "-"], &table).map(drop)
    }

    /// Packets that have come to the resolvers' door, UDP and TCP, those included that were lost there.
    pub fn packets(&self) -> Outcome<u64> {
        let list = ["netns", "exec", &self.namespace(Host::Resolver), "nft", "list", "counter", "ip", "way", "asked"];
        let said = run("ip", &list, "")?;
        let number = said.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(number.ok_or("nft lists no counter")?.parse()?)
    }

    fn namespace(&self, host: Host) -> String {
        format!("{}-{}", self.name, host.name())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        Host::ALL.iter().for_each(|host| remove(&self.namespace(*host)));
    }
}

/// Removes what runs left behind that were killed.
pub fn remove_leftovers() {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_dead = |name: &String| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    names.filter(is_dead).for_each(|name| remove(&name));
}

/// Ends what runs in a namespace, and removes it. It may be gone already.
fn remove(namespace: &str) {
    for process in run("ip", &["netns", "pids", namespace], "").unwrap_or_default().split_whitespace() {
        let _ = run("kill", &["-KILL", process], "");
    }
    let _ = run("ip", &["netns", "delete", namespace], "");
}

/// Runs `program` with `input`; what it printed.
fn run(program: &str, arguments: &[&str], input: &str) -> Outcome<String> {
    let (reader, mut writer) = io::pipe()?;
    // A few lines, far below what a pipe holds: writing them first cannot block.
    writer.write_all(input.as_bytes())?;
    drop(writer);
    let output =
        Command::new(program).args(arguments).stdin(reader).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
