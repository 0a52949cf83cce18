//! The parts of a [`Config`](super::Config): tables as they are meant, which cannot hold a wrong value.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{Lines, Stated};
use crate::metrics::Fate;
use crate::wire::Name;

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
    /// Where the control socket is; `None`: there is none.
    pub control: Option<PathBuf>,
    /// Where metrics and health are told over HTTP; `None`: nowhere.
    pub http: Option<SocketAddr>,
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
    /// Where its table is written.
    pub stated: Stated,
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

/// `[limits]`: what one client may take. Clients that ask over loopback may take anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Queries a second over UDP; 0 is no limit.
    pub queries_per_second: u32,
    /// Of those that are too many, one of so many is told to come over TCP; 0: none.
    pub slip: u32,
    /// Addresses that have so many bits in common are one client: those of IPv4, ...
    pub ipv4_prefix: u8,
    /// ... and those of IPv6.
    pub ipv6_prefix: u8,
    /// Octets a second that replies over UDP may have beyond three times their queries; 0 is no limit.
    pub amplification: u32,
    /// Queries that may wait for a resolver.
    pub forwards_per_client: usize,
}

/// `[query-log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryLog {
    /// Where lines go.
    pub to: LogTo,
    /// One query of so many, at random; at least 1.
    pub sample: u32,
    /// Only queries of clients in these subnets: indexes into [`Config::subnets`](super::Config::subnets); none: of every client.
    pub subnets: Vec<usize>,
    /// Only queries that these zones decided; none: whoever did.
    pub zones: Vec<Name>,
    /// Only queries of which this became; none: whatever did.
    pub outcomes: Vec<Fate>,
}

/// Where the lines of the query log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Nowhere.
    Off,
    /// To systemd's journal.
    Journal,
    /// To the end of this file.
    File(PathBuf),
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
    /// Where its table is written.
    pub stated: Stated,
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
    /// Where its table is written.
    pub stated: Stated,
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
    /// Where each of these is written.
    pub lines: Lines,
    /// Index into [`Config::endpoints`](super::Config::endpoints).
    pub endpoint: usize,
    /// Whom the zones are for.
    pub allow: Audience,
    /// What other clients get.
    pub others: Others,
    /// What names under the bucket's get.
    pub below: Below,
    /// Where its table is written.
    pub stated: Stated,
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
    /// Where its table is written.
    pub stated: Stated,
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
    /// The addresses of an endpoint: an index into [`Config::endpoints`](super::Config::endpoints).
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
    /// Where its table is written.
    pub stated: Stated,
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
    /// Clients that belong to one of `subnets` (indexes into [`Config::subnets`](super::Config::subnets)), and those in one of `blocks`.
    Only {
        /// Indexes into [`Config::subnets`](super::Config::subnets), sorted, each once.
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
