//! The configuration: TOML as written (`file`), the same as meant ([`Config`]), and the mistakes between
//! the two (`problem`).
//!
//! Two types, because a file can say what makes no sense and a running server must not: `file` keeps every value with
//! the place where it stood, `check` judges them all and reports every mistake at once, and the [`Config`] that
//! comes out cannot hold a wrong value. `check`, `run` and a reload are one and the same code.
//!
//! From TOML:
//!
//! ```
//! use phzd::config::Config;
//!
//! let (config, warnings) = Config::parse("phzd.toml", r#"
//!     [vpc]
//!     region = "ap-northeast-1"
//!     cidrs = ["172.31.0.0/16"]
//!
//!     [[subnet]]
//!     name = "private-a"
//!     cidr = "172.31.1.0/24"
//!
//!     [[endpoint]]
//!     name = "s3"
//!     addresses = ["172.31.1.152"]
//!
//!     [[bucket]]
//!     names = ["xxxxx-bucket"]
//!     endpoint = "s3"
//!     allow = ["private-a"]
//! "#)?;
//! assert!(warnings.is_empty());
//! assert_eq!(config.buckets[0].names[0].to_string(), "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com");
//! assert_eq!(config.vpc.resolvers, ["172.31.0.2:53".parse().unwrap()]);
//! # Ok::<(), phzd::config::Problems>(())
//! ```
//!
//! From code, judged by the same rules; problems of such values have no place to show:
//!
//! ```
//! use phzd::config::{File, Machine, file};
//!
//! let policy = File {
//!     vpc: file::Vpc {
//!         region: Some("ap-northeast-1".into()),
//!         cidrs: Some(["172.31.0.0/16"].into()),
//!         ..Default::default()
//!     },
//!     subnets: vec![file::Subnet {
//!         name: Some("private-a".into()),
//!         cidr: Some(["172.31.1.0/24"].into()),
//!         ..Default::default()
//!     }],
//!     endpoints: vec![file::Endpoint {
//!         name: Some("s3".into()),
//!         addresses: Some(["172.31.1.152"].into()),
//!         ttl: Some(30.into()),
//!         ..Default::default()
//!     }],
//!     buckets: vec![file::Bucket {
//!         names: Some(["xxxxx-bucket"].into()),
//!         endpoint: Some("s3".into()),
//!         allow: Some(["private-b"].into()),
//!         ..Default::default()
//!     }],
//!     ..Default::default()
//! };
//! let problems = policy.check(&Machine::here()).unwrap_err();
//! assert_eq!(
//!     problems.to_string(),
//!     "error: no subnet is named \"private-b\"\n      hint: did you mean \"private-a\"?"
//! );
//! ```

mod check;
pub mod file;
pub mod limit;
mod load;
mod machine;
mod near;
mod presentation;
mod problem;
mod read;
mod syntax;
mod zone_file;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::Name;

pub use check::Checked;
pub use file::File;
pub use machine::Machine;
pub use problem::{Place, Problem, Problems, Severity, Source};
pub use read::KEYS;

/// A configuration without mistakes. Indexes between its lists are always in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The door: sockets, threads, who may ask.
    pub server: Server,
    /// The VPC this host stands in.
    pub vpc: Vpc,
    /// How queries are forwarded.
    pub upstream: Upstream,
    /// What is kept of forwarded answers.
    pub cache: Cache,
    /// Named sets of blocks.
    pub subnets: Vec<Subnet>,
    /// Interface endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Bucket zones, a value for each `[[bucket]]` that names buckets.
    pub buckets: Vec<Bucket>,
    /// Other private zones: each `[[zone]]`, the zones of an endpoint's private DNS names, a region's every bucket.
    pub zones: Vec<Zone>,
    /// Resolver rules.
    pub rules: Vec<Rule>,
}

impl Config {
    /// Reads and judges the file at `path` and its drop-ins, for this machine; warnings come with the configuration.
    ///
    /// # Errors
    ///
    /// All mistakes at once, a missing file among them.
    pub fn load(path: &Path) -> Checked {
        File::load(path).check(&Machine::here())
    }

    /// Reads and judges one TOML text for this machine; `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// All mistakes at once.
    pub fn parse(name: &str, text: &str) -> Checked {
        File::parse(name, text).check(&Machine::here())
    }
}

impl Config {
    /// The Availability Zone ids that subnets have, sorted, each once.
    pub fn az_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.subnets.iter().filter_map(|subnet| subnet.az_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// TTL, in seconds, of the SOA in a zone's negative answers, unless the zone has a SOA record of its own. A VPC's
/// resolver caps Route 53's 900 s; 60 has been seen, and is kind to mistakes.
pub const NEGATIVE_TTL: u32 = 60;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses to listen on, UDP and TCP each.
    pub listen: Vec<SocketAddr>,
    /// Blocks that may ask beside the VPC's and the subnets'.
    pub clients: Vec<IpNet>,
    /// Threads that receive, for each listen address; at least 1 (a 0 in the file has become the number of cores).
    pub udp_threads: usize,
    /// Each of these threads stays on a core of its own, as far as there are cores.
    pub pin_threads: bool,
    /// How long the kernel looks for a datagram at the network card itself before it lets a thread sleep (SO_BUSY_POLL);
    /// zero: not at all.
    pub busy_poll: Duration,
    /// Receive buffer of each UDP socket, in bytes.
    pub receive_buffer: usize,
    /// TCP connections in all.
    pub tcp_connections: usize,
    /// TCP connections of one client address.
    pub tcp_connections_per_client: usize,
    /// How long a TCP connection may be idle, and how long one message may take to arrive.
    pub tcp_idle: Duration,
}

/// `[vpc]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    /// The VPC's CIDR blocks; at least one.
    pub cidrs: Vec<IpNet>,
    /// `vpc.self`, where the file states it.
    pub self_address: Option<IpAddr>,
    /// Blocks whose clients count as this host itself.
    pub behind_self: Vec<IpNet>,
    /// The VPC's resolvers; at least one.
    pub resolvers: Vec<SocketAddr>,
}

/// `[upstream]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The whole time a client waits for a forwarded answer.
    pub timeout: Duration,
    /// Packets a second to the VPC's resolvers together; 0 is no limit.
    pub packets_per_second: u32,
    /// How long past its TTL an answer may serve when no resolver answers (RFC 8767).
    pub stale: Duration,
    /// Whether the letters' case of what is asked is drawn at random (0x20).
    pub case_randomisation: bool,
}

/// `[cache]`. TTLs in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Bound of the cache, in bytes.
    pub bytes: usize,
    /// A shorter TTL counts as this one.
    pub min_ttl: u32,
    /// The longest an answer is kept, whatever its own TTL says.
    pub max_ttl: u32,
    /// The same for an answer that a name does not exist or has no such records.
    pub max_negative_ttl: u32,
}

/// `[[subnet]]`: a named set of CIDR blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Unique among subnets.
    pub name: String,
    /// At least one; no block belongs to two subnets.
    pub blocks: Vec<IpNet>,
    /// Availability Zone id, such as `apne1-az4`.
    pub az_id: Option<String>,
    /// AAAA of a zone's name that has only IPv4 addresses is made of these (RFC 6147).
    pub dns64: bool,
}

/// `[[endpoint]]`: an interface VPC endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique among endpoints.
    pub name: String,
    /// Its network interfaces.
    pub addresses: Addresses,
    /// Which of them a client is given.
    pub affinity: Affinity,
    /// TTL of its answers, in seconds.
    pub ttl: u32,
    /// How it is found out which of them work; `None` where that is not looked at.
    pub health_check: Option<HealthCheck>,
    /// What is answered when none of them works, or none is known yet.
    pub when_down: WhenDown,
}

/// Where an endpoint's addresses are known from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The file states them; at least one.
    Stated(Vec<EndpointAddress>),
    /// They are looked up, again and again.
    Learned(DnsName),
}

/// An endpoint's DNS name, and all there is to know to look it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// `vpce-….<service>.<region>.vpce.<suffix>`, Regional or zonal, without `*.` or `bucket.`.
    pub name: Name,
    /// The Availability Zone id of all its addresses, where the name is that of one zone and `vpc.az-ids` has it.
    pub az_id: Option<String>,
    /// The same endpoint's zonal names, each with its Availability Zone id: whose address is which zone's. Empty where
    /// nobody needs to know.
    pub zonal: Vec<(Name, String)>,
    /// Whom to ask: the targets of the longest rule that covers the name, else the VPC's resolvers; at least one.
    pub resolvers: Vec<SocketAddr>,
}

/// Which of an endpoint's addresses a client is given (`affinity`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// All, in turns.
    None,
    /// Those of its own Availability Zone if any works, else the others.
    SameAz,
}

/// `health-check`: TCP connections to each address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// Connections go to this port.
    pub port: u16,
    /// From one check of an address to its next.
    pub interval: Duration,
    /// So many in a row that fail make an address unhealthy; at least 1.
    pub failures: u32,
    /// So many in a row that succeed make it healthy again; at least 1.
    pub successes: u32,
}

/// What an endpoint answers of which no address works (`when-down`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDown {
    /// All addresses all the same; SERVFAIL while none is known.
    Answer,
    /// As if its buckets were not configured.
    Forward,
}

/// One network interface of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointAddress {
    /// Its private address.
    pub ip: IpAddr,
    /// Its Availability Zone id.
    pub az_id: Option<String>,
}

/// `[[bucket]]`: private zones named for buckets, all alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Whole host names, `<bucket>.s3.<region>.<suffix>`.
    pub names: Vec<Name>,
    /// Index into [`Config::endpoints`].
    pub endpoint: usize,
    /// Whom the zones are for.
    pub allow: Audience,
    /// What other clients get.
    pub others: Others,
    /// What names under the bucket's get.
    pub below: Below,
}

/// A private zone that is not a bucket's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: Name,
    /// What it holds: each owner and type once, no CNAME beside anything else, none at the zone's own name.
    pub records: Vec<RecordSet>,
    /// Names at and below its own that it leaves to whoever else has them, as if it were not there.
    pub except: Except,
    /// Whom it is for.
    pub allow: Audience,
    /// What other clients get.
    pub others: Others,
    /// What names below its own get that it does not have.
    pub below: Below,
}

/// Records of one owner and type (RFC 9499, "RRset"), or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// The owner: the zone's name or one below it. A leftmost label `*` makes it a wildcard (RFC 4592).
    pub owner: Name,
    /// What it has.
    pub data: Data,
}

/// What a name in a zone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Records of class IN.
    Records {
        /// Their type.
        kind: u16,
        /// Seconds.
        ttl: u32,
        /// RDATA of each in wire form, names in it whole and not compressed; at least one, none twice.
        rdata: Vec<Box<[u8]>>,
    },
    /// The addresses of an endpoint: an index into [`Config::endpoints`].
    Alias(usize),
}

/// Names that a zone leaves to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Except {
    /// Exactly these.
    pub names: Vec<Name>,
    /// Names one label below the zone's whose label begins so (lower case).
    pub prefixes: Vec<String>,
}

/// `[[rule]]`: a domain and the resolvers that know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The rule covers this name and all below it.
    pub domain: Name,
    /// Where queries for it go; none if `forward = false` leaves them to the VPC's resolvers.
    pub targets: Vec<Target>,
    /// The VPC's resolvers are asked when no target lives.
    pub fallback: bool,
}

/// A resolver, and how one speaks with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its address and port.
    pub address: SocketAddr,
    /// How one speaks with it.
    pub channel: Channel,
}

/// How one speaks with a resolver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Channel {
    /// DNS over UDP, and TCP for what does not fit (RFC 1035 section 4.2, RFC 7766).
    Plain,
    /// DNS over TLS (RFC 7858); the certificate must be for this name, or IP address.
    Tls(String),
    /// DNS over HTTPS (RFC 8484).
    Https {
        /// The certificate must be for this name, or IP address.
        host: String,
        /// Path of the resource, from `/` on.
        path: String,
    },
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, channel: Channel::Plain }
    }
}

/// As its owner would know it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match &self.channel {
            Channel::Plain => write!(f, "{address}"),
            Channel::Tls(host) => write!(f, "tls://{host} at {address}"),
            Channel::Https { host, path } => write!(f, "https://{host}{path} at {address}"),
        }
    }
}

/// Whom a zone is for (`allow`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every client that may ask.
    Everyone,
    /// Clients that belong to one of `subnets` (indexes into [`Config::subnets`]), and those in one of `blocks`.
    Only {
        /// Indexes into [`Config::subnets`], sorted, each once.
        subnets: Vec<usize>,
        /// CIDR literals, sorted, each once.
        blocks: Vec<IpNet>,
    },
}

/// What a client gets whom a zone does not allow (`others`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// As if the zone were not configured.
    Forward,
    /// The name does not exist.
    NxDomain,
    /// The name exists and has no data.
    NoData,
    /// REFUSED with an extended error.
    Refused,
    /// No reply.
    Drop,
}

/// What names below a bucket's get (`below`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// They do not exist, as in a hosted zone.
    NxDomain,
    /// They are looked for further up, as if the zone ended at its name.
    Forward,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The VPC of 172.31.0.0/16 with one endpoint and no bucket.
    pub(crate) fn minimal() -> Config {
        Config {
            server: Server {
                listen: vec!["127.0.0.1:53".parse().unwrap()],
                clients: vec![],
                udp_threads: 1,
                pin_threads: false,
                busy_poll: Duration::ZERO,
                receive_buffer: 4 << 20,
                tcp_connections: 1024,
                tcp_connections_per_client: 64,
                tcp_idle: Duration::from_secs(10),
            },
            vpc: Vpc {
                cidrs: vec!["172.31.0.0/16".parse().unwrap()],
                self_address: None,
                behind_self: vec![],
                resolvers: vec!["172.31.0.2:53".parse().unwrap()],
            },
            upstream: Upstream {
                timeout: Duration::from_secs(4),
                packets_per_second: 900,
                stale: Duration::from_secs(86_400),
                case_randomisation: true,
            },
            cache: Cache { bytes: 32 << 20, min_ttl: 0, max_ttl: 86_400, max_negative_ttl: 60 },
            subnets: vec![],
            endpoints: vec![Endpoint {
                name: "s3".into(),
                addresses: Addresses::Stated(vec![EndpointAddress {
                    ip: "172.31.1.152".parse().unwrap(),
                    az_id: None,
                }]),
                affinity: Affinity::None,
                ttl: 60,
                health_check: None,
                when_down: WhenDown::Answer,
            }],
            buckets: vec![],
            zones: vec![],
            rules: vec![],
        }
    }
}
