//! The configuration as written: every value with the place where it stands, and nothing judged yet.
//!
//! It comes from TOML ([`File::parse`], [`File::load`]) or is built in code, where values have no place. What could not
//! be read is remembered in it; [`File::check`] reports that together with all it finds itself.

use std::path::Path;
use std::sync::Arc;

use super::problem::{Place, Problem, Source};

/// A value and where it was written; made with `into()` where no file holds it.
#[derive(Debug, Clone)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Where it stands; `None` in a configuration built in code.
    pub place: Option<Place>,
}

impl<T> Written<T> {
    /// Another value, of the same place.
    pub fn with<U>(&self, value: U) -> Written<U> {
        Written { value, place: self.place.clone() }
    }
}

impl<T> From<T> for Written<T> {
    fn from(value: T) -> Self {
        Self { value, place: None }
    }
}

impl From<&str> for Written<String> {
    fn from(value: &str) -> Self {
        value.to_owned().into()
    }
}

/// A list of texts.
pub type List = Written<Vec<Written<String>>>;

/// Texts under names of the user's own.
pub type Pairs = Written<Vec<(Written<String>, Written<String>)>>;

impl<const N: usize> From<[&str; N]> for List {
    fn from(values: [&str; N]) -> Self {
        values.map(Into::into).to_vec().into()
    }
}

/// Where a table came from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Its header, or for a table without one the whole file.
    pub place: Option<Place>,
    /// A mistake was found in it while it was read: what seems absent may be only unreadable.
    pub damaged: bool,
}

/// A whole configuration as written.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// `[server]`.
    pub server: Server,
    /// `[vpc]`.
    pub vpc: Vpc,
    /// `[upstream]`.
    pub upstream: Upstream,
    /// `[cache]`.
    pub cache: Cache,
    /// `[limits]`.
    pub limits: Limits,
    /// `[query-log]`.
    pub query_log: QueryLog,
    /// Every `[[subnet]]`.
    pub subnets: Vec<Subnet>,
    /// Every `[[endpoint]]`.
    pub endpoints: Vec<Endpoint>,
    /// Every `[[bucket]]`.
    pub buckets: Vec<Bucket>,
    /// Every `[[zone]]`.
    pub zones: Vec<Zone>,
    /// Every `[[rule]]`.
    pub rules: Vec<Rule>,
    /// The texts it was read from, in the order of reading; empty in code.
    pub sources: Vec<Arc<Source>>,
    /// Mistakes and warnings found while reading; empty in code.
    pub problems: Vec<Problem>,
    /// Some text could not be read at all, so nothing may be called absent; false in code.
    pub incomplete: bool,
}

impl File {
    /// Reads one TOML text; `name` is what messages call it, and relative paths begin beside it. Mistakes are
    /// kept for [`File::check`].
    pub fn parse(name: &str, text: &str) -> Self {
        super::load::parse(name, text, &NamedFile::read)
    }

    /// The same without the disk: the files that `text` names are what `open` makes of their paths.
    #[doc(hidden)] // for fuzz/
    pub fn parse_with(name: &str, text: &str, open: &dyn Fn(&Path) -> NamedFile) -> Self {
        super::load::parse(name, text, open)
    }

    /// Reads the file at `path` and its drop-ins: beside `phzd.toml`, every `phzd.d/*.toml` in name order. Mistakes, a
    /// missing file among them, are kept for [`File::check`].
    pub fn load(path: &Path) -> Self {
        super::load::load(path)
    }
}

/// `[server]` as written.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// `ADDRESS[:PORT]`.
    pub listen: Option<List>,
    /// CIDR blocks.
    pub clients: Option<List>,
    /// 0: the number of cores.
    pub udp_threads: Option<Written<i64>>,
    /// Each thread has a core.
    pub pin_threads: Option<Written<bool>>,
    /// Microseconds.
    pub busy_poll_us: Option<Written<i64>>,
    /// Kibibytes.
    pub receive_buffer_kb: Option<Written<i64>>,
    /// TCP connections in all.
    pub tcp_connections: Option<Written<i64>>,
    /// TCP connections of one client.
    pub tcp_connections_per_client: Option<Written<i64>>,
    /// Seconds.
    pub tcp_idle_seconds: Option<Written<i64>>,
    /// A path, or nothing.
    pub control: Option<Written<String>>,
    /// `ADDRESS:PORT`, or nothing.
    pub http: Option<Written<String>>,
}

/// `[vpc]` as written.
#[derive(Debug, Clone, Default)]
pub struct Vpc {
    /// Where the table is.
    pub origin: Origin,
    /// Region of buckets that give none.
    pub region: Option<Written<String>>,
    /// CIDR blocks, the primary one first.
    pub cidrs: Option<List>,
    /// `self`: an address.
    pub self_address: Option<Written<String>>,
    /// CIDR blocks.
    pub behind_self: Option<List>,
    /// `ADDRESS[:PORT]`.
    pub resolvers: Option<List>,
    /// Availability Zones: name in this account, and id.
    pub az_ids: Option<Pairs>,
}

/// `[upstream]` as written.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// Milliseconds.
    pub timeout_ms: Option<Written<i64>>,
    /// To `vpc.resolvers` together; 0 is no limit.
    pub packets_per_second: Option<Written<i64>>,
    /// Seconds.
    pub stale_seconds: Option<Written<i64>>,
    /// 0x20.
    pub case_randomisation: Option<Written<bool>>,
}

/// `[cache]` as written.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    /// Mebibytes.
    pub size_mb: Option<Written<i64>>,
    /// Seconds.
    pub min_ttl: Option<Written<i64>>,
    /// Seconds.
    pub max_ttl: Option<Written<i64>>,
    /// Seconds.
    pub max_negative_ttl: Option<Written<i64>>,
}

/// `[limits]` as written.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// 0 is no limit.
    pub queries_per_second: Option<Written<i64>>,
    /// One of so many is told to come over TCP.
    pub slip: Option<Written<i64>>,
    /// Bits.
    pub ipv4_prefix: Option<Written<i64>>,
    /// Bits.
    pub ipv6_prefix: Option<Written<i64>>,
    /// Kibibytes; 0 is no limit.
    pub amplification_kb_per_second: Option<Written<i64>>,
    /// Queries that wait for a resolver.
    pub forwards_per_client: Option<Written<i64>>,
}

/// `[query-log]` as written.
#[derive(Debug, Clone, Default)]
pub struct QueryLog {
    /// `off`, `journal`, or a file's path.
    pub to: Option<Written<String>>,
    /// One query of so many.
    pub sample: Option<Written<i64>>,
    /// Names of subnets.
    pub subnets: Option<List>,
    /// Names of zones.
    pub zones: Option<List>,
    /// What became of queries.
    pub outcomes: Option<List>,
}

/// `[[subnet]]` as written.
#[derive(Debug, Clone, Default)]
pub struct Subnet {
    /// Where the table is.
    pub origin: Origin,
    /// Its name.
    pub name: Option<Written<String>>,
    /// CIDR blocks; a single one may stand without brackets.
    pub cidr: Option<List>,
    /// Availability Zone id.
    pub az_id: Option<Written<String>>,
    /// Whether AAAA are made of A.
    pub dns64: Option<Written<bool>>,
}

/// `[[endpoint]]` as written.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// Where the table is.
    pub origin: Origin,
    /// Its name.
    pub name: Option<Written<String>>,
    /// Its network interfaces.
    pub addresses: Option<Written<Vec<Written<EndpointAddress>>>>,
    /// Its DNS name, in place of `addresses`.
    pub dns_name: Option<Written<String>>,
    /// Which addresses a client is given.
    pub affinity: Option<Written<String>>,
    /// Seconds.
    pub ttl: Option<Written<i64>>,
    /// `off`, or `tcp:PORT`.
    pub health_check: Option<Written<String>>,
    /// Between health checks.
    pub interval_seconds: Option<Written<i64>>,
    /// So many checks that fail in a row make an address unhealthy.
    pub failures: Option<Written<i64>>,
    /// So many that succeed make it healthy again.
    pub successes: Option<Written<i64>>,
    /// What is answered when no address works.
    pub when_down: Option<Written<String>>,
    /// The service it is for: `com.amazonaws.REGION.SERVICE`.
    pub service: Option<Written<String>>,
    /// Names that are to resolve to it, or `private-dns`: those that AWS gives its service.
    pub names: Option<List>,
    /// Subnet names and CIDR blocks that have `names`.
    pub allow: Option<List>,
    /// What other clients get for `names`.
    pub others: Option<Written<String>>,
}

/// One of an endpoint's `addresses`: an address alone, or `{ ip, az-id }`.
#[derive(Debug, Clone, Default)]
pub struct EndpointAddress {
    /// An address.
    pub ip: Option<Written<String>>,
    /// Availability Zone id.
    pub az_id: Option<Written<String>>,
}

impl<const N: usize> From<[&str; N]> for Written<Vec<Written<EndpointAddress>>> {
    fn from(values: [&str; N]) -> Self {
        let address = |ip: &str| EndpointAddress { ip: Some(ip.into()), az_id: None }.into();
        values.map(address).to_vec().into()
    }
}

/// `[[bucket]]` as written.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    /// Where the table is.
    pub origin: Origin,
    /// `bucket` or `access-point`.
    pub kind: Option<Written<String>>,
    /// Bucket names, or `*` alone for every bucket of the region.
    pub names: Option<List>,
    /// A file of bucket names.
    pub names_file: Option<Written<NamedFile>>,
    /// Buckets that `*` leaves public.
    pub except: Option<List>,
    /// Whether `*` leaves the buckets of AWS itself public.
    pub except_aws: Option<Written<bool>>,
    /// Whether `*` means the host of requests by path, too.
    pub path_style: Option<Written<bool>>,
    /// Name of an endpoint.
    pub endpoint: Option<Written<String>>,
    /// Region of the buckets, if not the VPC's.
    pub region: Option<Written<String>>,
    /// Subnet names and CIDR blocks.
    pub allow: Option<List>,
    /// What other clients get.
    pub others: Option<Written<String>>,
    /// What names below the buckets' get.
    pub below: Option<Written<String>>,
}

/// `[[zone]]` as written.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    /// Where the table is.
    pub origin: Origin,
    /// Its name.
    pub name: Option<Written<String>>,
    /// A zone file.
    pub file: Option<Written<NamedFile>>,
    /// Records, beside those of the file.
    pub records: Option<Written<Vec<Written<Record>>>>,
    /// Subnet names and CIDR blocks.
    pub allow: Option<List>,
    /// What other clients get.
    pub others: Option<Written<String>>,
    /// What names below it get that it does not have.
    pub below: Option<Written<String>>,
}

/// One of a zone's `records`: a record set, or an alias to an endpoint.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Its owner: `@` is the zone's own name, and a name without a dot at its end is below that.
    pub name: Option<Written<String>>,
    /// `type`.
    pub kind: Option<Written<String>>,
    /// Seconds.
    pub ttl: Option<Written<i64>>,
    /// Data in presentation format, a record each.
    pub values: Option<List>,
    /// Name of an endpoint.
    pub alias: Option<Written<String>>,
    /// A mistake was found in it while it was read: what seems absent may be only unreadable.
    pub damaged: bool,
}

/// A file that a configuration names, as it was read: bucket names one a line, or a zone. Its text is looked at where it
/// lies, since there may be a million lines.
#[derive(Debug, Clone)]
pub struct NamedFile {
    /// Its text, or why it could not be read.
    pub text: Result<Arc<Source>, Problem>,
    /// Every user of the machine may write it.
    pub anyone_may_write: bool,
}

/// `[[rule]]` as written.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Where the table is.
    pub origin: Origin,
    /// A domain.
    pub domain: Option<Written<String>>,
    /// Who knows the domain.
    pub targets: Option<Written<Vec<Written<Target>>>>,
    /// `false`: what a wider rule covers is left to the VPC's resolvers.
    pub forward: Option<Written<bool>>,
    /// The VPC's resolvers are asked when no target lives.
    pub fallback: Option<Written<bool>>,
}

/// One of a rule's `targets`: `ADDRESS[:PORT]` or a URL alone, or `{ url, ip }`.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// `ADDRESS[:PORT]`, `tls://HOST[:PORT]` or `https://HOST[:PORT][/PATH]`.
    pub url: Option<Written<String>>,
    /// Addresses of a host that the URL names; a single one may stand without brackets.
    pub ip: Option<List>,
}

impl<const N: usize> From<[&str; N]> for Written<Vec<Written<Target>>> {
    fn from(values: [&str; N]) -> Self {
        let target = |url: &str| Target { url: Some(url.into()), ip: None }.into();
        values.map(target).to_vec().into()
    }
}
