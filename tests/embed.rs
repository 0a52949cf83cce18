//! The library as another program embeds it: a policy from code, answers without sockets, a server on given sockets,
//! and a client that programs really use.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use phzd::config::{Config, File, Machine, file};
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::responder::Outcome;
use phzd::server::{Limits, Listener, Server};
use phzd::wire::Transport;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::resolvers::{GOOD, Reply, SOON, Standin, query};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const HERE: &str = "172.31.1.152";
const LIMITS: Limits = Limits {
    udp_threads: 2,
    pin_threads: false,
    busy_poll: Duration::ZERO,
    tcp_connections: 8,
    tcp_connections_per_client: 8,
    prefixes: Prefixes::new(32, 56),
    tcp_idle: SOON,
};

/// The VPC of the documentation, with `endpoint` for the bucket.
fn policy(resolver: SocketAddr, endpoint: &str) -> Config {
    let written = File {
        vpc: file::Vpc {
            region: Some("ap-northeast-1".into()),
            cidrs: Some(["172.31.0.0/16"].into()),
            self_address: Some("172.31.1.5".into()),
            resolvers: Some([&*resolver.to_string()].into()),
            ..Default::default()
        },
        subnets: vec![file::Subnet {
            name: Some("private-a".into()),
            cidr: Some(["172.31.1.0/24"].into()),
            ..Default::default()
        }],
        endpoints: vec![file::Endpoint {
            name: Some("s3".into()),
            addresses: Some([endpoint].into()),
            ..Default::default()
        }],
        buckets: vec![file::Bucket {
            names: Some(["xxxxx-bucket"].into()),
            endpoint: Some("s3".into()),
            allow: Some(["private-a"].into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (config, warnings) = written.check(&Machine { cores: 1, addresses: Vec::new() }).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    config
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn client(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 4000)
}

fn addresses(reply: &[u8]) -> Vec<Ipv4Addr> {
    Reply::new(reply, Duration::ZERO).addresses
}

#[test]
fn a_policy_from_code_answers_without_a_socket() {
    let standin = Standin::good();
    let mut resolver = Resolver::start(&policy(standin.address, HERE)).unwrap();
    let mut out = [0; 1232];
    let mut respond =
        |ip, packet: &[u8]| match resolver.respond(packet, client(ip), Transport::Udp, Instant::now(), &mut out) {
            Outcome::Reply(length) => Ok(Reply::new(&out[..length], Duration::ZERO)),
            other => Err(Box::new(other)),
        };
    let private = respond("172.31.1.5", &query(BUCKET)).unwrap();
    assert_eq!((private.code, private.addresses), (ResponseCode::NoError, vec![HERE.parse().unwrap()]));
    let stranger = respond("192.0.2.1", &query(BUCKET)).unwrap();
    assert_eq!((stranger.code, stranger.errors), (ResponseCode::Refused, vec![18]), "Prohibited");
    // What must be asked of a resolver comes back, with all that is needed to do so.
    for (ip, name) in [("172.31.0.5", BUCKET), ("172.31.1.5", "www.example.com")] {
        let Outcome::Forward(pending) = *respond(ip, &query(name)).unwrap_err() else { panic!("{ip} and {name}") };
        assert_eq!(pending.client(), client(ip));
        assert_eq!(pending.question.name.to_string(), name);
        assert!(pending.route.addresses().eq([standin.address]));
    }
    assert!(matches!(*respond("172.31.1.5", b"no query").unwrap_err(), Outcome::Drop));
    assert!(standin.asked().is_empty(), "nobody was asked yet");
    assert_eq!((resolver.totals().queries, resolver.totals().private, resolver.totals().forwarded), (5, 1, 2));
}

#[test]
fn resolving_asks_the_resolver_where_needed() {
    let standin = Standin::good();
    let mut resolver = Resolver::start(&policy(standin.address, HERE)).unwrap();
    let runtime = runtime();
    let mut resolve = |ip, packet: &[u8]| runtime.block_on(resolver.resolve(packet, client(ip), Transport::Udp));
    assert_eq!(addresses(&resolve("172.31.1.5", &query(BUCKET)).unwrap()), [HERE.parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(standin.asked().len(), 0);
    for _ in 0..3 {
        assert_eq!(addresses(&resolve("172.31.0.5", &query(BUCKET)).unwrap()), [GOOD]);
        assert_eq!(standin.asked().len(), 1, "once, and from the cache then");
    }
    assert_eq!(resolve("172.31.1.5", b"no query"), None);
    // A query is under way until its reply is delivered, which is a moment after it is received.
    let began = Instant::now();
    while resolver.in_flight() > 0 {
        assert!(began.elapsed() < SOON, "{} wait", resolver.in_flight());
    }
}

#[test]
fn two_resolvers_of_one_process_know_nothing_of_each_other() {
    let (one_upstream, other_upstream) = (Standin::good(), Standin::good());
    let mut one = Resolver::start(&policy(one_upstream.address, HERE)).unwrap();
    let mut other = Resolver::start(&policy(other_upstream.address, "172.31.1.153")).unwrap();
    let runtime = runtime();
    let ask = |resolver: &mut Resolver, ip, name| {
        addresses(&runtime.block_on(resolver.resolve(&query(name), client(ip), Transport::Udp)).unwrap())
    };
    let there: Ipv4Addr = "172.31.1.153".parse().unwrap();
    assert_eq!(ask(&mut one, "172.31.1.5", BUCKET), [HERE.parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(ask(&mut other, "172.31.1.5", BUCKET), [there]);
    // A cache each.
    assert_eq!(ask(&mut one, "172.31.1.5", "www.example.com"), [GOOD]);
    assert_eq!((one_upstream.asked().len(), other_upstream.asked().len()), (1, 0));
    assert_eq!(ask(&mut other, "172.31.1.5", "www.example.com"), [GOOD]);
    assert_eq!((one_upstream.asked().len(), other_upstream.asked().len()), (1, 1));
    // A policy each, and counts.
    one.reload(&policy(one_upstream.address, "172.31.1.154"));
    assert_eq!(ask(&mut one, "172.31.1.5", BUCKET), ["172.31.1.154".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(ask(&mut other, "172.31.1.5", BUCKET), [there]);
    assert_eq!((one.totals().queries, other.totals().queries), (3, 3));
    drop(one);
    assert_eq!(ask(&mut other, "172.31.1.5", "still.example.com"), [GOOD]);
}

#[test]
fn a_client_that_programs_use_gets_the_private_address_from_a_server_on_given_sockets() {
    let standin = Standin::good();
    let (udp, tcp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let resolver = Resolver::start(&policy(standin.address, HERE)).unwrap();
    let counter = resolver.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = Listener { udp: vec![udp], tcp: Some(tcp) };
    let server = runtime.block_on(async { Server::start(resolver, vec![listener], LIMITS) }).unwrap();
    let serving = runtime.spawn(server.run(async { drop(stopped.await) }));

    for (mut connection, over_tcp) in [(ConnectionConfig::udp(), false), (ConnectionConfig::tcp(), true)] {
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let settings = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let client: TokioResolver =
            TokioResolver::builder_with_config(settings, TokioRuntimeProvider::default()).build().unwrap();
        let ips = |name: &'static str| -> Vec<IpAddr> {
            runtime.block_on(client.lookup_ip(name)).unwrap_or_else(|error| panic!("{name}: {error}")).iter().collect()
        };
        // This host stands in the private subnet. The client asks for both families, and gets no public IPv6 address.
        assert_eq!(ips("xxxxx-bucket.s3.ap-northeast-1.amazonaws.com."), [HERE.parse::<IpAddr>().unwrap()]);
        assert_eq!(ips("www.example.com."), [IpAddr::from(GOOD)]);
        let below = runtime.block_on(client.lookup(format!("below.{BUCKET}."), RecordType::A)).unwrap_err();
        assert!(below.is_nx_domain(), "{below}");
        assert_eq!(counter.totals().tcp_connections > 0, over_tcp);
    }

    stop.send(()).unwrap();
    runtime.block_on(serving).unwrap();
}
