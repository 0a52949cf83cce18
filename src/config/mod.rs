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
mod meant;
mod near;
mod presentation;
mod problem;
mod read;
mod stated;
mod syntax;
mod zone_file;

use std::path::Path;

pub use check::Checked;
pub use file::File;
pub use machine::Machine;
pub use meant::*;
pub use problem::{Place, Problem, Problems, Severity, Source};
pub use read::KEYS;
pub use stated::{Lines, Stated};

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
    /// What one client may take.
    pub limits: Limits,
    /// Which queries are logged, and where.
    pub query_log: QueryLog,
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

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

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
                control: None,
                http: None,
            },
            vpc: Vpc {
                cidrs: vec!["172.31.0.0/16".parse().unwrap()],
                self_address: None,
                behind_self: vec![],
                resolvers: vec!["172.31.0.2:53".parse().unwrap()],
                stated: Stated::default(),
            },
            upstream: Upstream {
                timeout: Duration::from_secs(4),
                packets_per_second: 900,
                stale: Duration::from_secs(86_400),
                case_randomisation: true,
            },
            query_log: QueryLog { to: LogTo::Off, sample: 1, subnets: vec![], zones: vec![], outcomes: vec![] },
            cache: Cache { bytes: 32 << 20, min_ttl: 0, max_ttl: 86_400, max_negative_ttl: 60 },
            limits: Limits {
                queries_per_second: 10_000,
                slip: 2,
                ipv4_prefix: 32,
                ipv6_prefix: 80,
                amplification: 1 << 20,
                forwards_per_client: 1000,
            },
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
                stated: Stated::default(),
            }],
            buckets: vec![],
            zones: vec![],
            rules: vec![],
        }
    }
}
