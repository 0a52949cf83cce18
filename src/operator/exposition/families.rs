//! Every metric of phzd's own: its name, what it means, where its value is.

use std::fmt;

use super::Page;
use crate::operator::desk::Desk;
use crate::operator::status::seconds;
use phzd::endpoint::watch::{Serves, State};
use phzd::metrics::Fate;
use phzd::observation::Observation;
use phzd::upstream::ledger::Account;

/// Queries and replies.
pub fn queries(page: &mut Page<'_>, seen: &Observation) -> fmt::Result {
    page.counters("phzd_queries", "Queries received, by what became of them", |family| {
        seen.queries.iter().try_for_each(|kind| {
            let labels = [("subnet", &*kind.subnet), ("outcome", kind.outcome.word()), ("transport", &*kind.transport)];
            family.sample(&labels, kind.count)
        })
    })?;
    page.counters("phzd_replies", "Replies sent, by response code", |family| {
        seen.replies.iter().try_for_each(|kind| family.sample(&[("rcode", &*kind.rcode)], kind.count))
    })?;
    page.counters("phzd_zone_queries", "Queries that a zone decided; the busiest zones by name", |family| {
        seen.zones.iter().try_for_each(|zone| {
            family.sample(&[("zone", &*zone.zone), ("outcome", Fate::Private.word())], zone.private)?;
            family.sample(&[("zone", &*zone.zone), ("outcome", Fate::Denied.word())], zone.denied)
        })
    })?;
    let help = "From when queries were there to when those of their replies had left (over TCP: were ready) that needed no resolver";
    page.histograms("phzd_immediate_reply_seconds", help, |family| family.times(&[], &seen.at_once))?;
    let help = "From when a query was there to when its answer had come from a resolver";
    page.histograms("phzd_forwarded_reply_seconds", help, |family| family.times(&[], &seen.forwards))?;
    let totals = &seen.totals;
    page.counter("phzd_truncated_replies", "Replies cut short to what the client takes", totals.truncated)?;
    let help = "Queries over limits.queries-per-second that were told to come over TCP";
    page.counter("phzd_limited_truncated_replies", help, totals.slipped)?;
    let help = "Replies truncated because their client may have been forged (limits.amplification-kb-per-second)";
    page.counter("phzd_amplification_truncated_replies", help, totals.unamplified)?;
    page.counter("phzd_endless_chains", "Queries whose CNAMEs led on and on, or round", totals.endless_chains)?;
    page.counter("phzd_unsent_replies", "Replies that the kernel would not send", totals.unsent)?;
    page.counter("phzd_panics", "Queries lost to a mistake in phzd: please report it", totals.panics)?;
    page.counter("phzd_query_log_dropped", "Lines of the query log that were lost", totals.log_dropped)
}

/// The cache, and forwarding as a whole.
pub fn forwarding(page: &mut Page<'_>, seen: &Observation) -> fmt::Result {
    let of = |fate| seen.queries.iter().filter(|kind| kind.outcome == fate).map(|kind| kind.count).sum::<u64>();
    let (cache, forwarding, totals) = (&seen.cache, &seen.forwarding, &seen.totals);
    page.counter("phzd_cache_hits", "Queries answered from the cache within the answer's time", of(Fate::Cached))?;
    let stale = of(Fate::Stale) + totals.stale;
    page.counter("phzd_cache_stale_hits", "Queries answered with an answer whose time was over", stale)?;
    page.counter("phzd_cache_misses", "Queries that the cache had nothing for", totals.forwarded)?;
    page.counter("phzd_cache_evictions", "Answers that left the cache to make room", cache.evicted)?;
    page.gauge("phzd_cache_entries", "Answers in the cache", cache.entries as f64)?;
    page.gauge("phzd_cache_size_bytes", "Memory of the cache, its tables included", cache.bytes as f64)?;
    page.gauge("phzd_cache_size_limit_bytes", "The most of that (cache.size-mb)", cache.limit_bytes as f64)?;
    page.gauge("phzd_waiting_queries", "Queries that wait for a resolver", forwarding.waiting as f64)?;
    page.gauge("phzd_waiting_queries_limit", "How many may", forwarding.waiting_limit as f64)?;
    let help = "How many of one client may (limits.forwards-per-client)";
    page.gauge("phzd_waiting_queries_client_limit", help, forwarding.waiting_limit_of_one_client as f64)?;
    let help = "Queries told SERVFAIL at once because the forwarder took no more";
    page.counter("phzd_overloaded_queries", help, totals.overloaded)?;
    let help = "Queries told SERVFAIL while they waited because too many did";
    page.counter("phzd_turned_away_queries", help, forwarding.turned_away)?;
    let help = "Queries whose time (upstream.timeout-ms) was over before there was an answer";
    page.counter("phzd_expired_queries", help, forwarding.expired)?;
    page.counter("phzd_joined_queries", "Queries whose question was on its way already", forwarding.joined)?;
    let help = "Popular answers asked for again before their time was over";
    page.counter("phzd_renewals", help, forwarding.renewals)?;
    let help = "Questions moved to TCP because their answers looked forged";
    page.counter("phzd_suspected_forgeries", help, forwarding.forgeries)?;
    let help = "Questions that could not be asked over TCP, TLS or HTTPS because too many were";
    page.counter("phzd_refused_streams", help, forwarding.refused_streams)?;
    let help = "Questions that had to wait because the packet budget was used up";
    page.counter("phzd_budget_delayed_questions", help, forwarding.queued)?;
    if let Some(budget) = &forwarding.budget {
        let help = "Packets a second to the VPC's resolvers (upstream.packets-per-second)";
        page.gauge("phzd_budget_limit_packets_per_second", help, budget.per_second.into())?;
        page.gauge("phzd_budget_packets", "Packets of that which could leave at once now", budget.left.into())?;
    }
    Ok(())
}

/// One number of each resolver.
type OfResolver = (&'static str, &'static str, fn(&Account) -> u64);

/// Each resolver.
pub fn resolvers(page: &mut Page<'_>, seen: &Observation) -> fmt::Result {
    const COUNTERS: [OfResolver; 8] = [
        ("phzd_resolver_queries", "Queries sent to a resolver, over UDP or a stream", |it| it.queries),
        ("phzd_resolver_retransmissions", "Of these, questions it had been sent before", |it| it.retransmissions),
        ("phzd_resolver_stream_queries", "Of these, over TCP, TLS or HTTPS", |it| it.streams),
        ("phzd_resolver_unrequested_queries", "Of these, what no client waited for: hedges, renewals", |it| it.aside),
        ("phzd_resolver_answers", "Replies of a resolver that fit a question", |it| it.answers),
        ("phzd_resolver_timeouts", "Queries that a resolver did not answer in time", |it| it.timeouts),
        ("phzd_resolver_unreachable", "Queries to a resolver that was not to be reached", |it| it.unreachable),
        ("phzd_resolver_failures", "Replies of no use: SERVFAIL, REFUSED and their like", |it| it.unusable),
    ];
    let named: Vec<(String, &Account)> =
        seen.resolvers.iter().map(|account| (account.resolver.to_string(), account)).collect();
    for (name, help, value) in COUNTERS {
        page.counters(name, help, |family| {
            named.iter().try_for_each(|(resolver, account)| family.sample(&[("resolver", resolver)], value(account)))
        })?;
    }
    page.histograms("phzd_resolver_reply_seconds", "From a query to a resolver's reply", |family| {
        named.iter().try_for_each(|(resolver, account)| family.times(&[("resolver", resolver)], &account.latency))
    })?;
    page.gauges("phzd_resolver_up", "0 while a resolver counts as down, or forwards to phzd", |family| {
        let up = |account: &Account| u64::from(account.is_up());
        named.iter().try_for_each(|(resolver, account)| family.sample(&[("resolver", resolver)], up(account)))
    })
}

/// Each endpoint, and its addresses.
pub fn endpoints(page: &mut Page<'_>, seen: &Observation) -> fmt::Result {
    let totals = &seen.totals;
    page.counter("phzd_endpoint_lookups", "Endpoint DNS names looked up with success", totals.refreshes)?;
    let help = "Endpoint DNS names that could not be looked up";
    page.counter("phzd_endpoint_lookup_failures", help, totals.refresh_failures)?;
    page.counter("phzd_endpoint_check_failures", "Health checks that failed", totals.probes_failed)?;
    let help = "Endpoint addresses that became unhealthy, or healthy again";
    page.counter("phzd_endpoint_health_changes", help, totals.health_changes)?;
    let addresses = || {
        let of = |look: &'_ phzd::endpoint::watch::Look| {
            let name = look.endpoint.clone();
            look.addresses.iter().map(move |address| (name.clone(), address.clone())).collect::<Vec<_>>()
        };
        seen.endpoints.iter().flat_map(of)
    };
    page.gauges("phzd_endpoint_address_healthy", "0 while checks of an address fail", |family| {
        addresses().filter(|(_, address)| address.health.is_some()).try_for_each(|(endpoint, address)| {
            let healthy = address.health != Some(State::Unhealthy);
            let (ip, az_id) = (address.ip.to_string(), address.az_id.unwrap_or_default());
            family.sample(&[("endpoint", &endpoint), ("address", &ip), ("az_id", &az_id)], healthy.into())
        })
    })?;
    page.gauges("phzd_endpoint_address_served", "1 while clients are given an address", |family| {
        addresses().try_for_each(|(endpoint, address)| {
            let (ip, az_id) = (address.ip.to_string(), address.az_id.unwrap_or_default());
            family.sample(&[("endpoint", &endpoint), ("address", &ip), ("az_id", &az_id)], address.served.into())
        })
    })?;
    page.gauges("phzd_endpoint_serving", "1 while an endpoint's names have its addresses", |family| {
        seen.endpoints.iter().try_for_each(|look| {
            family.sample(&[("endpoint", &look.endpoint)], (look.serves == Serves::Addresses).into())
        })
    })?;
    let help = "When an endpoint's addresses were found last, where they are looked up";
    page.gauges("phzd_endpoint_found_timestamp_seconds", help, |family| {
        let found = seen.endpoints.iter().filter_map(|look| Some((&look.endpoint, look.found?)));
        found.into_iter().try_for_each(|(endpoint, found)| family.sample(&[("endpoint", endpoint)], found))
    })
}

/// Where queries come in.
pub fn doors(page: &mut Page<'_>, seen: &Observation, desk: &Desk) -> fmt::Result {
    let help = "Datagrams that the kernel dropped before phzd took them";
    page.counters("phzd_receive_drops", help, |family| {
        desk.listening
            .drops()
            .into_iter()
            .try_for_each(|(address, drops)| family.sample(&[("listen", &address.to_string())], drops))
    })?;
    let (totals, settings) = (&seen.totals, desk.listening.settings());
    page.gauge("phzd_receive_buffer_limit_bytes", "server.receive-buffer-kb", settings.receive_buffer as f64)?;
    let open = totals.tcp_connections.saturating_sub(totals.tcp_ended);
    page.gauge("phzd_tcp_connections", "TCP connections of clients", open as f64)?;
    page.gauge("phzd_tcp_connections_limit", "server.tcp-connections", settings.tcp_connections as f64)?;
    let help = "server.tcp-connections-per-client";
    page.gauge("phzd_tcp_connections_client_limit", help, settings.tcp_connections_per_client as f64)?;
    page.counter("phzd_tcp_accepted_connections", "TCP connections accepted", totals.tcp_connections)?;
    let help = "TCP connections closed at once because a limit was reached and no other could make room";
    page.counter("phzd_tcp_refused_connections", help, totals.tcp_refused)?;
    let help = "TCP connections closed, the longest idle of the client with most, because a limit was reached";
    page.counter("phzd_tcp_displaced_connections", help, totals.tcp_displaced)?;
    let help =
        "TCP connections closed because they were idle, or slow with a message or a reply (server.tcp-idle-seconds)";
    page.counter("phzd_tcp_expired_connections", help, totals.tcp_expired)?;
    let help = "Times that a TCP connection was not read on because too many of its queries waited";
    page.counter("phzd_tcp_full_connections", help, totals.tcp_full)?;
    let help = "Queries over TCP told SERVFAIL because their client left too many replies unread";
    page.counter("phzd_tcp_unread_queries", help, totals.tcp_unread)?;
    let help = "Connections to server.http and server.control closed at once because there were too many";
    page.counter("phzd_operator_refused_connections", help, desk.turned_away.value())
}

/// The daemon.
pub fn daemon(page: &mut Page<'_>, seen: &Observation, desk: &Desk) -> fmt::Result {
    page.gauges("phzd_build_info", "1; the version is a label", |family| {
        family.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1)
    })?;
    page.gauge("phzd_ready", "1 while /readyz says so", u8::from(desk.not_ready(seen).is_none()).into())?;
    let loaded = desk.loaded();
    let (good, bad) = (loaded.good, loaded.bad);
    page.counters("phzd_config_reloads", "Reloads of the configuration", |family| {
        family.sample(&[("result", "success")], good)?;
        family.sample(&[("result", "failure")], bad)
    })?;
    let help = "0 if the last reload failed and the configuration before it serves";
    page.gauge("phzd_config_last_reload_successful", help, u8::from(loaded.error.is_none()).into())?;
    let help = "When the configuration that serves was read";
    page.gauge("phzd_config_loaded_timestamp_seconds", help, seconds(loaded.at) as f64)
}
