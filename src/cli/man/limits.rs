//! Every limit of the program, for phzd.toml(5): what it bounds, by which key or number, what happens beyond it, and
//! which metric counts how often that was.
//!
//! Numbers are taken from where they hold, so that the page cannot say anything else.

use clap_mangen::roff::{Roff, roman};

use crate::operator::web::CONNECTIONS;
use phzd::config::limit::{self, Limit};
use phzd::metrics::SubnetId;
use phzd::query_log::PLACES;
use phzd::server::UNDER_WAY;
use phzd::upstream::exchange::{MAX_QUESTIONS, MAX_STREAMS};
use phzd::upstream::forward::MAX_WAITING;
use phzd::way_back::MOST_KEPT;
use phzd::wire::query::MAX_UDP;
use phzd::wire::reply::MAX_CHAIN;

/// One limit.
struct Bound {
    /// What it bounds, and in which unit.
    what: &'static str,
    at: At,
    /// What happens beyond it.
    beyond: &'static str,
    /// What counts that, as it is called at /metrics.
    metrics: &'static [&'static str],
}

/// Where a limit is.
enum At {
    /// A key of the configuration.
    Key(Limit),
    /// Always the same number.
    Fixed(usize),
}

const fn bound(what: &'static str, at: At, beyond: &'static str, metrics: &'static [&'static str]) -> Bound {
    Bound { what, at, beyond, metrics }
}

/// All of them, in the order in which a query meets them.
const BOUNDS: &[Bound] = &[
    bound(
        "KiB of a socket for queries that arrive at once",
        At::Key(limit::RECEIVE_BUFFER),
        "The kernel drops what arrives.",
        &["phzd_receive_drops_total"],
    ),
    bound(
        "TCP connections",
        At::Key(limit::TCP_CONNECTIONS),
        "The longest idle one of the client with most is closed, first of those who may not ask; where none can make room, the new one.",
        &["phzd_tcp_displaced_connections_total", "phzd_tcp_refused_connections_total"],
    ),
    bound(
        "TCP connections of a client",
        At::Key(limit::TCP_PER_CLIENT),
        "Its longest idle one is closed; where all are in use, the new one.",
        &["phzd_tcp_displaced_connections_total", "phzd_tcp_refused_connections_total"],
    ),
    bound(
        "seconds that a TCP connection may be idle, a message take to arrive, or replies to be taken",
        At::Key(limit::TCP_IDLE),
        "It is closed.",
        &["phzd_tcp_expired_connections_total"],
    ),
    bound(
        "queries of a TCP connection that wait for a resolver",
        At::Fixed(UNDER_WAY),
        "Nothing more is read from it until one of them is answered.",
        &["phzd_tcp_full_connections_total"],
    ),
    bound(
        "KiB of replies to these that their client leaves unread",
        At::Fixed(MOST_KEPT),
        "SERVFAIL.",
        &["phzd_tcp_unread_queries_total"],
    ),
    bound(
        "queries of a client over UDP, a second",
        At::Key(limit::QUERIES_PER_SECOND),
        "One of limits.slip is told to come over TCP, the others get no reply.",
        &["phzd_queries_total{outcome=\"limited\"}", "phzd_limited_truncated_replies_total"],
    ),
    bound(
        "CNAMEs from the name asked to its answer",
        At::Fixed(MAX_CHAIN),
        "SERVFAIL.",
        &["phzd_endless_chains_total"],
    ),
    bound(
        "octets of a reply over UDP, or what its client takes if that is less",
        At::Fixed(MAX_UDP),
        "It is truncated.",
        &["phzd_truncated_replies_total"],
    ),
    bound(
        "KiB of replies over UDP beyond three times their queries, to a client, a second",
        At::Key(limit::AMPLIFICATION),
        "It is truncated, unless its client has come over TCP within an hour.",
        &["phzd_amplification_truncated_replies_total"],
    ),
    bound(
        "queries of a client that wait for a resolver",
        At::Key(limit::FORWARDS_PER_CLIENT),
        "Its oldest is told an older answer, or SERVFAIL.",
        &["phzd_turned_away_queries_total"],
    ),
    bound(
        "queries that wait for a resolver",
        At::Fixed(MAX_WAITING),
        "The oldest of the client with most is told the same; with twice as many on their way there, the new one SERVFAIL.",
        &["phzd_turned_away_queries_total", "phzd_overloaded_queries_total"],
    ),
    bound(
        "milliseconds that a query waits",
        At::Key(limit::TIMEOUT),
        "An older answer, or SERVFAIL.",
        &["phzd_expired_queries_total"],
    ),
    bound(
        "packets to the VPC's resolvers, a second",
        At::Key(limit::PACKETS_PER_SECOND),
        "Questions wait for a packet, the newest of each client in turn.",
        &["phzd_budget_delayed_questions_total"],
    ),
    bound(
        "questions over TCP at a time",
        At::Fixed(MAX_STREAMS),
        "An older answer, or SERVFAIL.",
        &["phzd_refused_streams_total"],
    ),
    bound(
        "questions over TLS and HTTPS at a time",
        At::Fixed(MAX_QUESTIONS),
        "An older answer, or SERVFAIL.",
        &["phzd_refused_streams_total"],
    ),
    bound(
        "MiB of cached answers",
        At::Key(limit::SIZE),
        "What is used least makes room.",
        &["phzd_cache_evictions_total"],
    ),
    bound("lines of the query log that wait", At::Fixed(PLACES), "They are lost.", &["phzd_query_log_dropped_total"]),
    bound(
        "subnets with counts of their own",
        At::Fixed(SubnetId::COUNT - 2),
        "The others are counted together.",
        &["phzd_queries_total{subnet=\"(other)\"}"],
    ),
    bound(
        "connections of the operator to server.http, and to server.control",
        At::Fixed(CONNECTIONS),
        "The new one is closed.",
        &["phzd_operator_refused_connections_total"],
    ),
];

/// Adds the section.
pub fn section(roff: &mut Roff) {
    roff.control("SH", ["LIMITS"]).text([roman(
        "Everything that is bounded: what, by which key, if by any, and its default; then what happens beyond it, and the \
         metric that counts that. A client is all addresses that have limits.ipv4-prefix or limits.ipv6-prefix bits in \
         common. Programs on this host are one client for the connections in all, and free of every other limit for one client.",
    )]);
    roff.control("PP", []).control("TS", []);
    // As for the numbers: what does not fit beside others stands below them, across all columns.
    let rows = vec!["lw(20n) lb r\nl s s"; BOUNDS.len()].join("\n");
    roff.text([roman(format!("lb lb rb\n{rows}."))]);
    roff.text([roman("what\tkey\tat most")]);
    for Bound { what, at, beyond, metrics } in BOUNDS {
        let (key, most) = match at {
            At::Key(Limit { key, default, .. }) => (*key, default.to_string()),
            At::Fixed(number) => ("", number.to_string()),
        };
        roff.text([roman(format!("T{{\n{what}\nT}}\t{key}\t{most}"))]);
        roff.text([roman(format!("T{{\n{beyond} {}\nT}}", metrics.join(", ")))]);
    }
    roff.control("TE", []);
}
