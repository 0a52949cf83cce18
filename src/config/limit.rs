//! Every number of the configuration: its default, its bounds, and why they are where they are.

/// What a number may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Table and key, as `server.udp-threads`.
    pub key: &'static str,
    /// Its value where the file says nothing.
    pub default: u32,
    /// The smallest legal value.
    pub least: u32,
    /// The largest legal value.
    pub most: u32,
    /// Why the bounds are where they are.
    pub reason: &'static str,
}

const fn limit(key: &'static str, default: u32, least: u32, most: u32, reason: &'static str) -> Limit {
    Limit { key, default, least, most, reason }
}

/// `server.udp-threads`; 0 is one for each core.
pub const UDP_THREADS: Limit =
    limit("server.udp-threads", 0, 0, 256, "0 is one for each core; more threads than cores only wait for each other");
/// `server.busy-poll-us`; 0 is none.
pub const BUSY_POLL: Limit = limit(
    "server.busy-poll-us",
    0,
    0,
    10_000,
    "0 is off, some 50 microseconds are usual, and whoever polls for longer takes the core from everybody else",
);
/// `server.receive-buffer-kb`.
pub const RECEIVE_BUFFER: Limit = limit(
    "server.receive-buffer-kb",
    4096,
    64,
    1_000_000,
    "a smaller buffer loses bursts, and the kernel takes at most 1 GiB",
);
/// `server.tcp-connections`.
pub const TCP_CONNECTIONS: Limit = limit(
    "server.tcp-connections",
    1024,
    1,
    65_536,
    "large answers need TCP, and each connection costs a file descriptor",
);
/// `server.tcp-connections-per-client`.
pub const TCP_PER_CLIENT: Limit = limit(
    "server.tcp-connections-per-client",
    64,
    1,
    65_536,
    "a client needs one for a large answer, and must not take them all",
);
/// `server.tcp-idle-seconds`.
pub const TCP_IDLE: Limit =
    limit("server.tcp-idle-seconds", 10, 1, 3600, "an idle connection holds the place of another client");
/// `upstream.timeout-ms`.
pub const TIMEOUT: Limit = limit(
    "upstream.timeout-ms",
    4000,
    100,
    30_000,
    "a resolver needs time to answer, and clients give up after 5 seconds or so",
);
/// `upstream.packets-per-second`; 0 is no limit. AWS silently drops what is over 1,024 from one network interface, and
/// what the host asks of the instance metadata and time services counts too.
pub const PACKETS_PER_SECOND: Limit = limit(
    "upstream.packets-per-second",
    900,
    0,
    1_000_000,
    "0 is no limit; a VPC's resolver drops what is over 1,024 from one network interface",
);
/// `upstream.stale-seconds`; 0 is never.
pub const STALE: Limit = limit(
    "upstream.stale-seconds",
    86_400,
    0,
    604_800,
    "RFC 8767 section 5 advises one day to three, and nothing is kept for more than seven",
);
/// `cache.size-mb`.
pub const SIZE: Limit = limit("cache.size-mb", 32, 1, 65_536, "the unit is a mebibyte");
/// `cache.min-ttl`.
pub const MIN_TTL: Limit = limit("cache.min-ttl", 0, 0, 3600, "an address that was moved stays wrong for as long");
/// `cache.max-ttl`.
pub const MAX_TTL: Limit = limit(
    "cache.max-ttl",
    86_400,
    1,
    604_800,
    "0 would forward every query, and RFC 8767 section 4 caps at seven days",
);
/// `cache.max-negative-ttl`.
pub const MAX_NEGATIVE_TTL: Limit =
    limit("cache.max-negative-ttl", 60, 0, 10_800, "RFC 2308 section 5 advises three hours at most");
/// `limits.queries-per-second`; 0 is no limit.
pub const QUERIES_PER_SECOND: Limit = limit(
    "limits.queries-per-second",
    10_000,
    0,
    1_000_000,
    "0 is no limit; a busy host asks some hundred, and one that floods must not take the time of all others",
);
/// `limits.slip`.
pub const SLIP: Limit =
    limit("limits.slip", 2, 0, 10, "0 answers none, 1 all of them; with more than 10 a client hardly ever learns why");
/// `limits.ipv4-prefix`.
pub const IPV4_PREFIX: Limit = limit(
    "limits.ipv4-prefix",
    32,
    1,
    32,
    "an address is one client, unless many stand behind a smaller block's limit",
);
/// `limits.ipv6-prefix`.
pub const IPV6_PREFIX: Limit = limit(
    "limits.ipv6-prefix",
    80,
    1,
    128,
    "80 is the largest block that AWS gives one network interface; 64 would be a whole subnet, 56 a whole VPC",
);
/// `limits.amplification-kb-per-second`; 0 is no limit.
pub const AMPLIFICATION: Limit = limit(
    "limits.amplification-kb-per-second",
    1024,
    0,
    1_000_000,
    "0 is no limit; so much can be sent to one whose address was forged, beyond three times what the forger sends",
);
/// `limits.forwards-per-client`.
pub const FORWARDS_PER_CLIENT: Limit = limit(
    "limits.forwards-per-client",
    1000,
    1,
    10_000,
    "ten thousand may wait in all, and one client must not be all of them",
);
/// `query-log.sample`.
pub const SAMPLE: Limit =
    limit("query-log.sample", 1, 1, 1_000_000, "1 is every query, and of so few nobody learns anything");
/// `ttl` of an `[[endpoint]]`.
pub const ENDPOINT_TTL: Limit =
    limit("endpoint.ttl", 60, 0, 86_400, "clients keep an address that is gone for as long");
/// `interval-seconds` of an `[[endpoint]]`.
pub const HEALTH_INTERVAL: Limit = limit(
    "endpoint.interval-seconds",
    10,
    1,
    3600,
    "each check is a connection, and an address that is gone is answered for as long",
);
/// `failures` of an `[[endpoint]]`.
pub const HEALTH_FAILURES: Limit =
    limit("endpoint.failures", 3, 1, 100, "one lost packet is no failure, and a hundred take too long to notice");
/// `successes` of an `[[endpoint]]`.
pub const HEALTH_SUCCESSES: Limit =
    limit("endpoint.successes", 2, 1, 100, "an address that comes and goes must not come and go in the answers");
/// `ttl` of a `[[zone]]`'s record.
pub const RECORD_TTL: Limit = limit("zone.ttl", 300, 0, i32::MAX as u32, "RFC 2181 section 8: a TTL has 31 bits");

/// All of them.
pub const LIMITS: &[Limit] = &[
    UDP_THREADS,
    BUSY_POLL,
    RECEIVE_BUFFER,
    TCP_CONNECTIONS,
    TCP_PER_CLIENT,
    TCP_IDLE,
    TIMEOUT,
    PACKETS_PER_SECOND,
    STALE,
    SIZE,
    MIN_TTL,
    MAX_TTL,
    MAX_NEGATIVE_TTL,
    QUERIES_PER_SECOND,
    SLIP,
    IPV4_PREFIX,
    IPV6_PREFIX,
    AMPLIFICATION,
    FORWARDS_PER_CLIENT,
    SAMPLE,
    ENDPOINT_TTL,
    HEALTH_INTERVAL,
    HEALTH_FAILURES,
    HEALTH_SUCCESSES,
    RECORD_TTL,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_lies_within_its_bounds() {
        for limit in LIMITS {
            assert!((limit.least..=limit.most).contains(&limit.default), "{limit:?}");
        }
    }
}
