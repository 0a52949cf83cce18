//! What a query costs inside, without a socket: each kind of it, and as the tables grow; and what it costs to read a
//! configuration and to compile it.
//!
//! For whoever changes one of these, to see which of them a change is felt in. Times of one machine on one day:
//! what holds the hot path is `benches/instructions.rs`, and `benches/load` says what clients notice.
#![forbid(unsafe_code)]

#[path = "../tests/hot_path/path.rs"]
mod path;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use path::{Hall, cases, query};
use phzd::config::Config;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Responder};
use phzd::upstream::Upstream;
use phzd::wire::Transport;

/// How many subnets or buckets a query meets.
const TABLES: [u32; 5] = [1, 10, 1000, 100_000, 1_000_000];
/// How many a configuration has that is read and compiled.
const CONFIGURATIONS: [u32; 3] = [10, 1000, 100_000];
/// How many different queries are asked in turns: more than the processor's caches hold of a large table.
const DIFFERENT: u32 = 1 << 16;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    each_kind(&mut criterion);
    as_subnets_grow(&mut criterion);
    as_buckets_grow(&mut criterion);
    configurations(&mut criterion);
    criterion.final_summary();
}

fn each_kind(criterion: &mut Criterion) {
    // So many are asked at one moment that any limit would be met.
    let mut hall = Hall::new(0);
    let mut group = criterion.benchmark_group("respond");
    for case in cases() {
        assert_eq!(hall.ask(&case), case.expected, "{}", case.name);
        group.bench_function(case.name, |bencher| bencher.iter(|| black_box(hall.ask(black_box(&case)))));
    }
}

/// A private answer, for clients of as many subnets.
fn as_subnets_grow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subnets");
    let (packet, now, mut out) = (query(&host(0), 1), Instant::now(), [0; 512]);
    for subnets in TABLES {
        let mut made = None;
        let mut clients = spread(subnets).map(client_in).cycle();
        group.bench_function(BenchmarkId::from_parameter(subnets), |bencher| {
            let responder = made.get_or_insert_with(|| responder(&configuration(subnets, 1)));
            bencher.iter(|| ask(responder, &packet, clients.next().expect("it goes round"), now, &mut out));
        });
    }
}

/// A private answer, for the names of as many buckets.
fn as_buckets_grow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buckets");
    let (client, now, mut out) = (client_in(0), Instant::now(), [0; 512]);
    for buckets in TABLES {
        let mut made = None;
        let packets: Vec<_> = spread(buckets).map(|bucket| query(&host(bucket), 1)).collect();
        let mut packets = packets.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(buckets), |bencher| {
            let responder = made.get_or_insert_with(|| responder(&configuration(1, buckets)));
            bencher.iter(|| ask(responder, packets.next().expect("it goes round"), client, now, &mut out));
        });
    }
}

/// Reading a configuration, and making a policy of it.
fn configurations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("configuration");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for size in CONFIGURATIONS {
        for (what, subnets, buckets) in [("subnets", size, 1), ("buckets", 1, size)] {
            let text = configuration(subnets, buckets);
            let config = parsed(&text);
            group.bench_function(format!("{what}/{size}/parse"), |bencher| {
                bencher.iter_with_large_drop(|| parsed(black_box(&text)));
            });
            group.bench_function(format!("{what}/{size}/compile"), |bencher| {
                bencher.iter_with_large_drop(|| Policy::new(black_box(&config)));
            });
        }
    }
}

/// Asks what is answered at once; the reply is in `out`.
fn ask(responder: &mut Responder, packet: &[u8], client: SocketAddr, now: Instant, out: &mut [u8]) {
    let outcome = responder.enter().respond(packet, client, Transport::Udp, now, out);
    assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
}

/// The hall of a configuration.
fn responder(text: &str) -> Responder {
    let config = parsed(text);
    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
    Responder::new(policy, Arc::new(Upstream::new(&config)), Registry::default())
}

/// Some numbers below `most`, from all over.
fn spread(most: u32) -> impl Iterator<Item = u32> + Clone {
    (0..DIFFERENT).map(move |number| ((u64::from(number.wrapping_mul(0x9e37_79b9)) * u64::from(most)) >> 32) as u32)
}

fn parsed(text: &str) -> Config {
    Config::parse("phzd.toml", text).expect("a configuration without a mistake").0
}

/// A configuration of so many subnets and buckets, each bucket for every client.
fn configuration(subnets: u32, buckets: u32) -> String {
    let mut text = String::from(
        "[vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"10.0.0.0/8\"]\nself = \"10.0.0.1\"\n\
         [limits]\nqueries-per-second = 0\n\
         [[endpoint]]\nname = \"s3\"\naddresses = [\"10.0.1.152\"]\n",
    );
    for subnet in 0..subnets {
        let written = writeln!(text, "[[subnet]]\nname = \"s{subnet}\"\ncidr = \"{}/28\"", first_of(subnet));
        written.expect("a text takes what is written");
    }
    text.push_str("[[bucket]]\nendpoint = \"s3\"\nnames = [\n");
    for number in 0..buckets {
        writeln!(text, "\"{}\",", bucket(number)).expect("a text takes what is written");
    }
    text.push_str("]\n");
    text
}

/// A client in a subnet.
fn client_in(subnet: u32) -> SocketAddr {
    SocketAddr::new(first_of(subnet).into(), 4242)
}

/// The first address of a subnet: one of 2^20 blocks of sixteen.
fn first_of(subnet: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 0, 0, 0)) + subnet * 16).into()
}

fn bucket(number: u32) -> String {
    format!("team-data-{number:07}")
}

fn host(number: u32) -> String {
    format!("{}.s3.ap-northeast-1.amazonaws.com", bucket(number))
}
