//! Endpoints on real sockets of the loopback interface: a resolver that says what the test says, hosts that let connect
//! or do not, and the file of learned addresses.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{RData, Record};
use nix::sys::signal::Signal;
use phzd::config::{Addresses, Config, DnsName, EndpointAddress, File, HealthCheck, Machine, WhenDown};
use phzd::resolver::Resolver;
use phzd::responder::Outcome;
use phzd::wire::Transport;

use crate::cli::phzd;
use crate::daemon::{self, Daemon};
use crate::resolvers::{Asked, GOOD, Reply, SOON, Standin, framed, query};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const NAME: &str = "vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com";
const ONE: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 152);
const OTHER: Ipv4Addr = Ipv4Addr::new(172, 31, 2, 77);
/// The extended error Not Ready (RFC 8914 section 4.15).
const NOT_READY: u16 = 14;

//------------ A resolver ---------------------------------------------------------------------------------------------

/// What a resolver says of an endpoint's name.
#[derive(Debug, Clone)]
enum Says {
    Addresses(Vec<IpAddr>),
    NxDomain,
    ServFail,
    /// The name is an alias to this one.
    Alias(String),
    Nothing,
}

/// What a resolver says of names; of those that are not here, that they have the address [`GOOD`].
type Names = Arc<Mutex<HashMap<String, Says>>>;

fn says(names: &Names, name: &str, says: Says) {
    names.lock().unwrap().insert(name.to_owned(), says);
}

fn addresses(list: &[Ipv4Addr]) -> Says {
    Says::Addresses(list.iter().copied().map(IpAddr::V4).collect())
}

/// A resolver, and what it says.
fn dns() -> (Standin, Names) {
    let names = Names::default();
    let told = Arc::clone(&names);
    let standin = Standin::udp(move |asked, socket| {
        let said = told.lock().unwrap().get(&asked.name()).cloned();
        if let Some(reply) = reply(asked, said) {
            socket.send_to(&reply, asked.from).unwrap();
        }
    });
    (standin, names)
}

fn reply(asked: &Asked, said: Option<Says>) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(&asked.bytes).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let question = message.queries[0].clone();
    let record = |data| Record::from_rdata(question.name().clone(), 60, data);
    match said {
        None => return Some(asked.answer(GOOD)),
        Some(Says::Nothing) => return None,
        Some(Says::NxDomain) => message.metadata.response_code = ResponseCode::NXDomain,
        Some(Says::ServFail) => message.metadata.response_code = ResponseCode::ServFail,
        Some(Says::Alias(name)) => {
            message.add_answer(record(RData::CNAME(CNAME(format!("{name}.").parse().unwrap()))));
        }
        Some(Says::Addresses(list)) => {
            let data = list.into_iter().map(|ip| match ip {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            });
            let wanted = data.filter(|data| data.record_type() == question.query_type());
            for data in wanted {
                message.add_answer(record(data));
            }
        }
    }
    Some(message.to_vec().unwrap())
}

//------------ phzd ---------------------------------------------------------------------------------------------------

/// The bucket at one endpoint.
fn config(resolver: SocketAddr, endpoint: Addresses, when_down: WhenDown) -> Config {
    let text = daemon::config(resolver, &daemon::bucket("xxxxx-bucket"));
    let (mut config, _) = File::parse("test", &text).check(&Machine { cores: 1, addresses: Vec::new() }).unwrap();
    config.endpoints[0].addresses = endpoint;
    config.endpoints[0].when_down = when_down;
    config
}

fn learned(resolvers: &[SocketAddr]) -> Addresses {
    let name = NAME.parse().unwrap();
    Addresses::Learned(DnsName { name, az_id: None, zonal: Vec::new(), resolvers: resolvers.into() })
}

/// What the bucket resolves to for a host of the private subnet; `None` if somebody else must be asked.
fn ask(resolver: &mut Resolver) -> Option<Reply> {
    let mut out = [0; 1232];
    let client = "172.31.1.5:4000".parse().unwrap();
    match resolver.respond(&query(BUCKET), client, Transport::Udp, Instant::now(), &mut out) {
        Outcome::Reply(length) => Some(Reply::new(&out[..length], Duration::ZERO)),
        Outcome::Forward(_) => None,
        Outcome::Drop => panic!("the query was dropped"),
    }
}

fn private(resolver: &mut Resolver) -> Vec<Ipv4Addr> {
    let mut addresses = ask(resolver).map(|reply| reply.addresses).unwrap_or_default();
    addresses.sort_unstable();
    addresses
}

/// Waits until something is so.
fn await_that(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < SOON, "after {SOON:?} it is not so that {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

//------------ Names --------------------------------------------------------------------------------------------------

#[test]
fn a_name_is_looked_up_at_once_and_served_when_it_is_known() {
    let (standin, names) = dns();
    for when_down in [WhenDown::Answer, WhenDown::Forward] {
        says(&names, NAME, Says::Nothing);
        let began = Instant::now();
        let asked = standin.asked().len();
        let mut resolver = Resolver::start(&config(standin.address, learned(&[standin.address]), when_down)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "the start waited for a lookup: {:?}", began.elapsed());
        match (when_down, ask(&mut resolver)) {
            (WhenDown::Answer, Some(reply)) => {
                assert_eq!((reply.code, &*reply.errors), (ResponseCode::ServFail, &[NOT_READY][..]));
            }
            (WhenDown::Forward, None) => {}
            (_, other) => panic!("{when_down:?}: {other:?}"),
        }
        standin.await_asked(asked + 2);
        says(&names, NAME, addresses(&[ONE, OTHER]));
        await_that("both addresses are served", || private(&mut resolver) == [ONE, OTHER]);
        await_that("that is counted", || resolver.totals().refreshes == 1);
    }
}

#[test]
fn a_lookup_is_one_question_of_each_family_for_the_name_as_it_is() {
    let (standin, names) = dns();
    says(&names, NAME, addresses(&[ONE]));
    let mut resolver =
        Resolver::start(&config(standin.address, learned(&[standin.address]), WhenDown::Answer)).unwrap();
    await_that("the address is served", || private(&mut resolver) == [ONE] && resolver.totals().refreshes == 1);
    let mut asked: Vec<_> = standin
        .asked()
        .iter()
        .map(|asked| {
            let question = Message::from_vec(&asked.bytes).unwrap().queries[0].clone();
            (asked.name(), question.query_type().to_string())
        })
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, [(NAME.to_owned(), "A".to_owned()), (NAME.to_owned(), "AAAA".to_owned())]);
}

#[test]
fn the_next_resolver_is_asked_when_one_fails_or_is_silent() {
    let (good, names) = dns();
    says(&names, NAME, addresses(&[ONE]));
    for fault in [Says::ServFail, Says::Nothing] {
        let (bad, bad_names) = dns();
        says(&bad_names, NAME, fault.clone());
        let mut resolver =
            Resolver::start(&config(good.address, learned(&[bad.address, good.address]), WhenDown::Answer)).unwrap();
        await_that("the second is asked", || private(&mut resolver) == [ONE]);
        assert!(!bad.asked().is_empty(), "{fault:?}: the first is asked first");
    }
}

#[test]
fn an_alias_is_followed_and_a_loop_of_them_ends() {
    let (standin, names) = dns();
    says(&names, NAME, Says::Alias("a.example".into()));
    says(&names, "a.example", Says::Alias("b.example".into()));
    says(&names, "b.example", Says::Alias("a.example".into()));
    let mut resolver =
        Resolver::start(&config(standin.address, learned(&[standin.address]), WhenDown::Answer)).unwrap();
    await_that("the round has failed", || resolver.totals().refresh_failures == 1);
    assert_eq!(ask(&mut resolver).unwrap().code, ResponseCode::ServFail);
    assert!(standin.asked().len() <= 40, "{} questions", standin.asked().len());
    says(&names, "b.example", addresses(&[ONE]));
    await_that("the end of the chain is served", || private(&mut resolver) == [ONE]);
}

#[test]
fn an_answer_that_does_not_fit_is_fetched_over_tcp() {
    let standin = Standin::tcp(|asked, mut stream| {
        stream.write_all(&framed(&reply(asked, Some(addresses(&[ONE]))).unwrap())).unwrap();
    });
    let mut resolver =
        Resolver::start(&config(standin.address, learned(&[standin.address]), WhenDown::Answer)).unwrap();
    await_that("the address is served", || private(&mut resolver) == [ONE]);
}

#[test]
fn a_reload_never_loses_what_is_known() {
    let (standin, names) = dns();
    says(&names, NAME, addresses(&[ONE]));
    let config = config(standin.address, learned(&[standin.address]), WhenDown::Answer);
    let mut resolver = Resolver::start(&config).unwrap();
    await_that("the address is served", || private(&mut resolver) == [ONE]);
    says(&names, NAME, Says::ServFail);
    let (mut asking, done) = (resolver.clone(), AtomicBool::new(false));
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) || count < 1000 {
                assert_eq!(private(&mut asking), [ONE]);
                count += 1;
            }
        });
        for _ in 0..200 {
            resolver.reload(&config);
        }
        done.store(true, Ordering::Relaxed);
        asked.join().unwrap();
    });
    // Another name is another set.
    let mut other = config.clone();
    let Addresses::Learned(dns_name) = &mut other.endpoints[0].addresses else { unreachable!() };
    dns_name.name = "other.example".parse().unwrap();
    says(&names, "other.example", addresses(&[OTHER]));
    resolver.reload(&other);
    await_that("the other's address is served", || private(&mut resolver) == [OTHER]);
}

//------------ The file -----------------------------------------------------------------------------------------------

fn stored(folder: &Path) -> String {
    fs::read_to_string(folder.join("endpoints.toml")).unwrap_or_default()
}

#[test]
fn a_restart_during_an_outage_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (standin, names) = dns();
    let start = || {
        let config = config(standin.address, learned(&[standin.address]), WhenDown::Answer);
        Resolver::start_in(&config, Some(folder.path().into())).unwrap()
    };
    says(&names, NAME, addresses(&[ONE, OTHER]));
    let mut resolver = start();
    await_that("what is learned is stored", || stored(folder.path()).contains(&OTHER.to_string()));
    assert_eq!(private(&mut resolver), [ONE, OTHER]);
    assert!(stored(folder.path()).contains(&format!("dns-name = \"{NAME}\"")));
    drop(resolver);

    for outage in [Says::Nothing, Says::ServFail, Says::NxDomain, addresses(&[])] {
        says(&names, NAME, outage);
        assert_eq!(private(&mut start()), [ONE, OTHER], "at once");
    }
    // A file that is not ours is no reason not to start, and is replaced.
    fs::write(folder.path().join("endpoints.toml"), "[[learned]]\naddresses = 5\n").unwrap();
    let mut resolver = start();
    assert_eq!(ask(&mut resolver).unwrap().code, ResponseCode::ServFail);
    says(&names, NAME, addresses(&[OTHER]));
    await_that("it is learned anew", || private(&mut resolver) == [OTHER]);
    await_that("and stored", || stored(folder.path()).contains(&OTHER.to_string()));
}

#[test]
fn a_folder_that_is_not_there_costs_only_the_file() {
    let (standin, names) = dns();
    says(&names, NAME, addresses(&[ONE]));
    let config = config(standin.address, learned(&[standin.address]), WhenDown::Answer);
    let mut resolver = Resolver::start_in(&config, Some("/nonexistent/phzd".into())).unwrap();
    await_that("the address is served", || private(&mut resolver) == [ONE]);
}

/// The VPC's resolver knows nothing of the name; a rule's target does.
#[test]
fn the_command_keeps_what_it_learned_in_its_state_directory() {
    let (vpc, vpc_names) = dns();
    says(&vpc_names, NAME, Says::NxDomain);
    let (target, names) = dns();
    says(&names, NAME, addresses(&[ONE]));
    let rule = format!("[[rule]]\ndomain = \"amazonaws.com\"\ntargets = [\"{}\"]\n", target.address);
    let text = daemon::config(vpc.address, &(daemon::bucket("xxxxx-bucket") + &rule));
    let text = text.replace(&format!("addresses = [\"{ONE}\"]"), &format!("dns-name = \"*.{NAME}\""));
    assert!(text.contains(NAME), "{text}");
    let state = tempfile::tempdir().unwrap();
    let run = |by_option: bool| {
        let folder = daemon::configured(&text);
        let mut command = phzd();
        command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
        match by_option {
            true => command.arg("--state-dir").arg(state.path()),
            false => command.env("STATE_DIRECTORY", state.path()),
        };
        Daemon::spawn(command, folder)
    };
    let first = run(false);
    await_that("what is learned is stored", || stored(state.path()).contains(&ONE.to_string()));
    assert_eq!(first.ask(BUCKET).addresses, [ONE]);
    first.await_log(&format!("{NAME}: {ONE}"));
    first.signal(Signal::SIGTERM);
    assert!(first.wait().status.success());
    assert!(vpc.asked().iter().all(|asked| asked.name() != NAME), "the rule has its targets asked");

    says(&names, NAME, Says::ServFail);
    let second = run(true);
    assert_eq!(second.ask(BUCKET).addresses, [ONE], "{}", second.log());
    second.await_log("cannot be looked up (SERVFAIL from 127.0.0.1): what was known is still answered");
}

//------------ Health -------------------------------------------------------------------------------------------------

/// An address of this host that no other test process uses: one that took a port which has just been closed here would
/// let connect.
fn host(last: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high & 63, low, last)
}

/// Addresses of this host with one port that is free on all.
fn hosts<const N: usize>(ips: [Ipv4Addr; N]) -> (u16, [Option<TcpListener>; N]) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < SOON, "no port is free on all of {ips:?}");
        let port = daemon::free_address().port();
        let listeners = ips.map(|ip| TcpListener::bind((ip, port)).ok());
        if listeners.iter().all(Option::is_some) {
            return (port, listeners);
        }
    }
}

fn checked(resolver: SocketAddr, ips: &[Ipv4Addr], port: u16, when_down: WhenDown) -> Config {
    let addresses = ips.iter().map(|ip| EndpointAddress { ip: (*ip).into(), az_id: None });
    let mut config = config(resolver, Addresses::Stated(addresses.collect()), when_down);
    let interval = Duration::from_millis(50);
    config.endpoints[0].health_check = Some(HealthCheck { port, interval, failures: 2, successes: 2 });
    config
}

#[test]
fn an_address_that_lets_nobody_connect_leaves_the_answers_until_it_does() {
    let ips = [host(1), host(2)];
    let standin = Standin::good();
    for (when_down, all_down) in [(WhenDown::Answer, &ips[..]), (WhenDown::Forward, &[])] {
        let (port, mut listeners) = hosts(ips);
        let mut resolver = Resolver::start(&checked(standin.address, &ips, port, when_down)).unwrap();
        assert_eq!(private(&mut resolver), ips);
        // Both must have let connect before a failure counts.
        for listener in listeners.iter().flatten() {
            listener.accept().unwrap();
        }
        listeners[0] = None;
        await_that("one that failed leaves", || private(&mut resolver) == ips[1..]);
        listeners[1] = None;
        await_that("all are down", || resolver.totals().health_changes == 2);
        await_that("when-down is followed", || private(&mut resolver) == all_down);
        let reply = ask(&mut resolver);
        assert_eq!(reply.is_none(), when_down == WhenDown::Forward, "{reply:?}");
        let _listeners = ips.map(|ip| TcpListener::bind((ip, port)).unwrap());
        await_that("both return", || private(&mut resolver) == ips && resolver.totals().health_changes == 4);
        assert!(resolver.totals().probes_failed >= 4);
    }
}

#[test]
fn an_address_that_never_let_connect_stays() {
    let ip = host(3);
    let (port, listeners) = hosts([ip]);
    drop(listeners);
    let standin = Standin::good();
    let mut resolver = Resolver::start(&checked(standin.address, &[ip], port, WhenDown::Forward)).unwrap();
    await_that("many checks have failed", || resolver.totals().probes_failed > 10);
    assert_eq!(private(&mut resolver), [ip]);
    assert_eq!(resolver.totals().health_changes, 0);
}

#[test]
fn the_thread_ends_with_the_last_clone() {
    let ip = host(4);
    let (port, [listener]) = hosts([ip]);
    let listener = listener.unwrap();
    let standin = Standin::good();
    let resolver = Resolver::start(&checked(standin.address, &[ip], port, WhenDown::Answer)).unwrap();
    let clone = resolver.clone();
    drop(resolver);
    (0..5).for_each(|_| drop(listener.accept().unwrap()));
    drop(clone);
    listener.set_nonblocking(true).unwrap();
    await_that("nobody checks any more", || {
        while listener.accept().is_ok() {}
        thread::sleep(Duration::from_millis(500));
        listener.accept().is_err()
    });
}
