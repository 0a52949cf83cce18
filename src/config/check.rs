//! The configuration as meant: judges all that a [`File`] says and makes a [`Config`] of it.
//!
//! A mistake never ends the judging. What depends on a value that is wrong is left out silently, so that each
//! mistake is told once and where it was made.

mod access;
mod address;
mod audience;
mod bucket;
mod claim;
mod endpoint;
mod network;
mod operator;
mod rule;
mod target;
mod well_known;
mod zone;

use std::time::Duration;

use claim::Meant;
use endpoint::Surroundings;

use super::file::{File, Origin, Written};
use super::limit::{self, Limit};
use super::machine::Machine;
use super::problem::{Problem, Problems, Severity};
use super::{Cache, Config, Limits, Server, Upstream};

/// A configuration and its warnings, or every mistake with the warnings.
pub type Checked = Result<(Config, Vec<Problem>), Problems>;

impl File {
    /// Judges the whole configuration for `machine`.
    ///
    /// # Errors
    ///
    /// All mistakes at once, in the order in which they stand, warnings among them.
    pub fn check(&self, machine: &Machine) -> Checked {
        let mut judge = Judge { file: self, machine, problems: self.problems.clone() };
        let nothing_read = self.incomplete && self.sources.is_empty();
        let config = if nothing_read { None } else { judge.config() };
        let mut problems = judge.problems;
        problems.sort_by_cached_key(|problem| self.rank(problem));
        let mistaken = problems.iter().any(|problem| problem.severity() == Severity::Mistake);
        match config {
            Some(config) if !mistaken => Ok((config, problems)),
            _ => Err(Problems(problems)),
        }
    }

    /// Orders problems by file, in the order of reading, and by place. What no file holds comes first.
    fn rank(&self, problem: &Problem) -> (usize, usize) {
        let Some(place) = problem.place() else { return (0, 0) };
        let same = |source| std::ptr::eq(source, std::sync::Arc::as_ptr(place.source()));
        let file = self.sources.iter().position(|source| same(std::sync::Arc::as_ptr(source)));
        (file.map_or(usize::MAX, |file| file + 1), place.offset())
    }
}

/// The judging under way.
struct Judge<'a> {
    file: &'a File,
    machine: &'a Machine,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    /// `None` if something is wrong; the reverse does not hold.
    fn config(&mut self) -> Option<Config> {
        let listen = self.listen();
        let ground = self.ground();
        let vpc = self.vpc(&ground, &listen);
        self.warn_of_unheard_families(&ground, &listen);
        let clients = ground.clients.iter().map(|block| block.value).collect();
        let server = self.server(listen.iter().map(|listen| listen.value).collect(), clients);
        let upstream = self.upstream();
        let cache = self.cache();
        let limits = self.limits();
        let rules = self.rules(&listen);
        let owned = ground.owned();
        let around = Surroundings {
            ground: &ground,
            owned: &owned,
            rules: &rules,
            resolvers: vpc.as_ref().map(|vpc| vpc.resolvers.clone()).unwrap_or_default(),
            az_ids: self.az_ids(),
        };
        let (endpoints, private_dns) = self.endpoints(&around);
        let mut claims = self.buckets(&ground, &owned);
        claims.extend(self.zones(&ground, &owned));
        claims.extend(private_dns);
        self.compare(&claims, &owned);
        self.warn_of_hidden(&rules, &claims);
        self.warn_of_wide_zones(&claims, &rules);
        let query_log = self.query_log(&ground, &claims);
        let (mut buckets, mut zones) = (Vec::new(), Vec::new());
        for claim in claims {
            match claim.meant()? {
                Meant::Bucket(bucket) => buckets.push(bucket),
                Meant::Zone(zone) => zones.push(zone),
            }
        }
        Some(Config {
            server,
            vpc: vpc?,
            upstream,
            cache,
            limits,
            query_log: query_log?,
            subnets: ground.subnets()?,
            endpoints: endpoints.into_iter().collect::<Option<_>>()?,
            buckets,
            zones,
            rules: rules.into_iter().collect::<Option<_>>()?,
        })
    }

    fn server(&mut self, listen: Vec<std::net::SocketAddr>, clients: Vec<ipnet::IpNet>) -> Server {
        let file = &self.file.server;
        let threads = self.number(&file.udp_threads, limit::UDP_THREADS) as usize;
        let connections = self.number(&file.tcp_connections, limit::TCP_CONNECTIONS) as usize;
        let per_client = self.number(&file.tcp_connections_per_client, limit::TCP_PER_CLIENT) as usize;
        if let Some(stated) = &file.tcp_connections_per_client
            && per_client > connections
        {
            let message = format!("one client can never have {per_client} of {connections} TCP connections");
            let problem = Problem::warning(stated.place.as_ref(), message);
            self.problems.push(problem.hint("raise tcp-connections, or lower this"));
        }
        Server {
            listen,
            clients,
            udp_threads: if threads == 0 { self.machine.cores.max(1) } else { threads },
            pin_threads: file.pin_threads.as_ref().is_some_and(|flag| flag.value),
            busy_poll: Duration::from_micros(self.number(&file.busy_poll_us, limit::BUSY_POLL).into()),
            receive_buffer: self.number(&file.receive_buffer_kb, limit::RECEIVE_BUFFER) as usize * 1024,
            tcp_connections: connections,
            tcp_connections_per_client: per_client.min(connections),
            tcp_idle: Duration::from_secs(self.number(&file.tcp_idle_seconds, limit::TCP_IDLE).into()),
            control: self.control(),
            http: self.http(),
        }
    }

    fn upstream(&mut self) -> Upstream {
        let file = &self.file.upstream;
        Upstream {
            timeout: Duration::from_millis(self.number(&file.timeout_ms, limit::TIMEOUT).into()),
            packets_per_second: self.number(&file.packets_per_second, limit::PACKETS_PER_SECOND),
            stale: Duration::from_secs(self.number(&file.stale_seconds, limit::STALE).into()),
            case_randomisation: file.case_randomisation.as_ref().is_none_or(|flag| flag.value),
        }
    }

    fn cache(&mut self) -> Cache {
        let file = &self.file.cache;
        let cache = Cache {
            bytes: self.number(&file.size_mb, limit::SIZE) as usize * 1024 * 1024,
            min_ttl: self.number(&file.min_ttl, limit::MIN_TTL),
            max_ttl: self.number(&file.max_ttl, limit::MAX_TTL),
            max_negative_ttl: self.number(&file.max_negative_ttl, limit::MAX_NEGATIVE_TTL),
        };
        if cache.min_ttl > cache.max_ttl {
            let place = |number: &Option<Written<i64>>| number.as_ref().and_then(|number| number.place.clone());
            let message = format!("min-ttl {} is more than max-ttl {}", cache.min_ttl, cache.max_ttl);
            let problem = Problem::mistake(place(&file.min_ttl).as_ref(), message);
            let problem = problem.note(place(&file.max_ttl).as_ref(), "max-ttl is here");
            self.problems.push(problem.hint("lower min-ttl, or raise max-ttl"));
        }
        cache
    }

    fn limits(&mut self) -> Limits {
        let file = &self.file.limits;
        Limits {
            queries_per_second: self.number(&file.queries_per_second, limit::QUERIES_PER_SECOND),
            slip: self.number(&file.slip, limit::SLIP),
            ipv4_prefix: self.number(&file.ipv4_prefix, limit::IPV4_PREFIX) as u8,
            ipv6_prefix: self.number(&file.ipv6_prefix, limit::IPV6_PREFIX) as u8,
            amplification: self.number(&file.amplification_kb_per_second, limit::AMPLIFICATION) * 1024,
            forwards_per_client: self.number(&file.forwards_per_client, limit::FORWARDS_PER_CLIENT) as usize,
        }
    }

    /// A number within its bounds; its default where it is absent or wrong.
    fn number(&mut self, written: &Option<Written<i64>>, limit: Limit) -> u32 {
        let Some(written) = written else { return limit.default };
        match u32::try_from(written.value) {
            Ok(number) if (limit.least..=limit.most).contains(&number) => number,
            _ => {
                let key = limit.key.rsplit('.').next().unwrap_or(limit.key);
                let problem = if written.value < limit.least.into() {
                    Problem::mistake(written.place.as_ref(), format!("{key} must be at least {}", limit.least))
                } else {
                    Problem::mistake(written.place.as_ref(), format!("{key} must be at most {}", limit.most))
                };
                self.problems.push(problem.hint(format!("{} to {}: {}", limit.least, limit.most, limit.reason)));
                limit.default
            }
        }
    }

    /// Tells of something absent, unless it may be there and could only not be read.
    fn absent(&mut self, origin: &Origin, problem: Problem) {
        if !origin.damaged && !self.file.incomplete {
            self.problems.push(problem);
        }
    }

    /// A text that must be there and must not be empty.
    fn required<'b>(
        &mut self,
        text: &'b Option<Written<String>>,
        origin: &Origin,
        key: &str,
    ) -> Option<&'b Written<String>> {
        match text {
            Some(text) if text.value.trim().is_empty() => {
                let problem = Problem::mistake(text.place.as_ref(), format!("{key} is empty"));
                self.problems.push(problem.hint(format!("write {key} = \"…\"")));
                None
            }
            Some(text) => Some(text),
            None => {
                let problem = Problem::mistake(origin.place.as_ref(), format!("{key} is missing here"));
                self.absent(origin, problem.hint(format!("add {key} = \"…\"")));
                None
            }
        }
    }
}
