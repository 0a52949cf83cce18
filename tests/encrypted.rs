//! Targets over TLS and HTTPS: real servers, with certificates that `openssl` makes.
//!
//! Unbound speaks both. `openssl s_server` speaks TLS for a resolver whose every octet the test writes.

use std::fs;
use std::io::{Read, Write};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use phzd::wire::Question;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{Daemon, config, configured, free_address, over_tcp};
use crate::resolvers::{GOOD, Reply, SOON, Standin, framed};

/// The name in the certificate. 127.0.0.1 is in it, too.
const NAME: &str = "dns.corp.example";
/// The extended error No Reachable Authority (RFC 8914 section 4.23).
const NO_REACHABLE_AUTHORITY: u16 = 22;

//------------ Servers ------------------------------------------------------------------------------------------------

/// A program of the test, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder with a certificate, `cert.pem`, which is its own authority.
fn certificate() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let request = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -keyout key.pem -out cert.pem \
         -subj /CN=test -addext subjectAltName=DNS:{NAME},IP:127.0.0.1 \
         -addext basicConstraints=critical,CA:FALSE"
    );
    let made = Command::new("openssl").args(request.split_whitespace()).current_dir(&folder).output();
    assert!(made.unwrap().status.success(), "openssl made no certificate");
    folder
}

/// Unbound with its own data, in the clear, over TLS and over HTTPS.
struct Unbound {
    folder: TempDir,
    clear: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
}

impl Unbound {
    /// A place for it, with a certificate.
    fn new() -> Self {
        let [clear, tls, https] = [free_address(), free_address(), free_address()];
        let folder = certificate();
        let text: String =
            (0..30).map(|nth| format!("  local-data: 'large.example. 300 TXT \"{nth:0>200}\"'\n")).collect();
        let hosts: String = (0..300).map(|nth| format!("  local-data: 'n{nth}.example. 300 A {GOOD}'\n")).collect();
        let settings = format!(
            "server:\n  interface: 127.0.0.1@{}\n  interface: 127.0.0.1@{}\n  interface: 127.0.0.1@{}\n  \
             tls-port: {}\n  https-port: {}\n  tls-service-key: key.pem\n  tls-service-pem: cert.pem\n  \
             tcp-idle-timeout: 300\n  rrset-roundrobin: no\n  do-daemonize: no\n  use-syslog: no\n  logfile: \"\"\n  username: \"\"\n  \
             chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"\"\n  num-threads: 1\n  local-zone: example. static\n  \
             local-data: 'example. 300 SOA ns.example. root.example. 1 2 3 4 60'\n  \
             local-data: 'www.example. 300 A 192.0.2.80'\n  local-data: 'odd.example. 300 TYPE65280 \\# 3 010203'\n\
             {text}{hosts}remote-control:\n  control-enable: no\n",
            clear.port(),
            tls.port(),
            https.port(),
            tls.port(),
            https.port(),
            folder.path().display()
        );
        fs::write(folder.path().join("unbound.conf"), settings).unwrap();
        Self { folder, clear, tls, https }
    }

    /// Runs it; `None` where it is not installed.
    fn run(&self) -> Option<Running> {
        let mut command = Command::new("unbound");
        command.args(["-d", "-c", "unbound.conf"]).current_dir(&self.folder).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("skipped: unbound is not installed");
            return None;
        };
        let running = Running(child);
        for address in [self.clear, self.tls, self.https] {
            await_listener(address);
        }
        Some(running)
    }

    fn over_tls(&self, name: &str) -> String {
        format!("{{ url = 'tls://{name}:{}', ip = '127.0.0.1' }}", self.tls.port())
    }

    fn over_https(&self, name: &str) -> String {
        format!("{{ url = 'https://{name}:{}/dns-query', ip = '127.0.0.1' }}", self.https.port())
    }
}

/// A resolver over TLS, each reply of which is the question and what `answer` writes after it: counts and records.
struct Scribe {
    address: SocketAddr,
    _server: Running,
}

impl Scribe {
    fn new(folder: &Path, counts: [u8; 6], records: &'static [u8]) -> Self {
        let address = free_address();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-cert", "cert.pem", "-key", "key.pem", "-accept"]);
        command.arg(address.to_string()).current_dir(folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (mut replies, mut queries) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut length = [0; 2];
            while queries.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                queries.read_exact(&mut query).unwrap();
                let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                query.truncate(end);
                query[2..4].copy_from_slice(&[0x81, 0x80]);
                query[6..12].copy_from_slice(&counts);
                query.extend(records);
                replies.write_all(&framed(&query)).and_then(|()| replies.flush()).unwrap();
            }
        });
        let scribe = Self { address, _server: Running(child) };
        await_listener(address);
        scribe
    }
}

fn await_listener(address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < SOON, "nobody listens at {address}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The way to a server: a connection over it takes [`Self::DELAY`] to be made, and while it is cut nothing that is sent
/// arrives, as behind a firewall that drops.
struct Way {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// Connections so far.
    count: Arc<AtomicUsize>,
}

impl Way {
    const DELAY: Duration = Duration::from_millis(100);

    fn cut(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(free_address()).unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, count): (Arc<AtomicBool>, Arc<AtomicUsize>) = (Arc::new(true.into()), Arc::default());
        let (is_cut, counted) = (Arc::clone(&cut), Arc::clone(&count));
        thread::spawn(move || {
            let mut lost = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Relaxed);
                if is_cut.load(Relaxed) {
                    lost.push(client);
                } else {
                    thread::spawn(move || Self::carry(&client, server));
                }
            }
        });
        Self { address, cut, count }
    }

    fn carry(client: &TcpStream, server: SocketAddr) {
        thread::sleep(Self::DELAY);
        let server = TcpStream::connect(server).unwrap();
        // Either side may go at any time, and the other must hear of it.
        let carry = |mut from: &TcpStream, mut to: &TcpStream| {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Both));
        };
        thread::scope(|scope| {
            scope.spawn(|| carry(client, &server));
            carry(&server, client);
        });
    }
}

//------------ phzd ---------------------------------------------------------------------------------------------------

/// A daemon with a rule for `example`, that trusts the certificate in `folder`. The VPC's resolver is `vpc`.
fn daemon(folder: &Path, vpc: SocketAddr, targets: &str, more: &str) -> Daemon {
    let rule = format!("[[rule]]\ndomain = 'example'\ntargets = [{targets}]\n{more}");
    let own = configured(&config(vpc, &rule));
    let mut command = phzd();
    command.env("SSL_CERT_FILE", folder.join("cert.pem")).env_remove("SSL_CERT_DIR");
    command.arg("run").arg("--config").arg(own.path().join("phzd.toml"));
    Daemon::spawn(command, own)
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let question = Question { name: name.parse().unwrap(), kind, dnssec_ok: false, checking_disabled: false };
    question.message(9, question.name.as_wire(), true)
}

/// A message without what belongs to a hop: the id and AA, which a forwarder clears, and OPT.
fn comparable(message: &[u8]) -> String {
    let mut message = Message::from_vec(message).unwrap();
    message.metadata.id = 0;
    message.metadata.authoritative = false;
    message.edns = None;
    format!("{message:?}")
}

fn assert_no_answer(reply: &Reply) {
    assert_eq!((reply.code, &*reply.errors), (ResponseCode::ServFail, &[NO_REACHABLE_AUTHORITY][..]), "{reply:?}");
}

/// Asks for names, each once so that nothing is cached, until one has its address.
fn await_good(daemon: &Daemon, names: impl Iterator<Item = String>) {
    let began = Instant::now();
    for name in names {
        if daemon.ask(&name).addresses == [GOOD] {
            return;
        }
        assert!(began.elapsed() < SOON, "{name} has no address\n{}", daemon.log());
        thread::sleep(Duration::from_millis(20));
    }
    panic!("no name had an address\n{}", daemon.log());
}

//------------ Both ways ----------------------------------------------------------------------------------------------

#[test]
fn what_is_said_over_tls_and_https_is_handed_on() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    let nobody = free_address();
    let literal = format!("'tls://127.0.0.1:{}'", unbound.tls.port());
    for target in [unbound.over_tls(NAME), unbound.over_https(NAME), literal] {
        let daemon = daemon(unbound.folder.path(), nobody, &target, "");
        let encrypts = || daemon.threads().iter().any(|name| name.trim_end() == "encrypted");
        assert!(!encrypts(), "a thread for nothing");
        for (name, kind, code) in [
            ("www.example", 1, ResponseCode::NoError),
            ("www.example", 28, ResponseCode::NoError),
            ("odd.example", 65_280, ResponseCode::NoError),
            ("large.example", 16, ResponseCode::NoError),
            ("no.example", 1, ResponseCode::NXDomain),
        ] {
            let question = question(name, kind);
            let direct = over_tcp(unbound.clear, &question);
            assert_eq!(Message::from_vec(&direct).unwrap().metadata.response_code, code);
            let reply = over_tcp(daemon.address, &question);
            let same = comparable(&reply) == comparable(&direct);
            assert!(same, "{target}: {name} of type {kind}: {reply:?} instead of {direct:?}\n{}", daemon.log());
        }
        assert!(encrypts(), "{:?}", daemon.threads());
    }
}

/// An unknown type before a known one, RDATA that a reader of records may find wrong, an extended error.
#[test]
fn every_octet_of_an_answer_is_handed_on() {
    const RECORDS: &[u8] = b"\xc0\x0c\xff\x00\0\x01\0\0\x01\0\0\x03\x01\x02\x03\
        \xc0\x0c\0\x10\0\x01\0\0\x01\0\0\0\
        \xc0\x0c\x01\x01\0\x01\0\0\x01\0\0\x02\x80\xff\
        \0\0\x29\x04\xd0\0\0\0\0\0\x0a\0\x0f\0\x06\0\x04deny";
    let folder = certificate();
    let scribe = Scribe::new(folder.path(), [0, 3, 0, 0, 0, 1], RECORDS);
    let daemon = daemon(folder.path(), free_address(), &format!("'tls://{}'", scribe.address), "");
    let reply = over_tcp(daemon.address, &question("www.example", 255));
    let records = reply.get(12 + 13 + 4..).unwrap_or_default();
    assert!(records.starts_with(&RECORDS[..RECORDS.len() - 21]), "{reply:?}\n{}", daemon.log());
    assert!(records.ends_with(b"\0\x0f\0\x06\0\x04deny"), "{reply:?}");
}

#[test]
fn many_questions_share_a_connection() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    for target in [unbound.over_tls(NAME), unbound.over_https(NAME)] {
        let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
        thread::scope(|scope| {
            let daemon = &daemon;
            let ask = |nth: usize| scope.spawn(move || daemon.ask(&format!("n{nth}.example")));
            for asking in (0..300).map(ask).collect::<Vec<_>>() {
                let reply = asking.join().unwrap();
                assert_eq!(reply.addresses, [GOOD], "{target}: {reply:?}\n{}", daemon.log());
            }
        });
        let resolver = if target.contains("tls:") { unbound.tls } else { unbound.https };
        assert_eq!(connections_to(resolver), 1, "{target}");
    }
}

/// Connections of this host to an address of it, as the kernel lists them.
fn connections_to(address: SocketAddr) -> usize {
    // 127.0.0.1 in the kernel's order of octets; 01 is an established connection.
    let remote = format!("0100007F:{:04X}", address.port());
    let list = fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[2] == remote && fields[3] == "01").count()
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    for target in [unbound.over_tls("ns.corp.example"), unbound.over_https("ns.corp.example")] {
        let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
        assert_no_answer(&daemon.ask("www.example"));
        daemon.await_log("invalid peer certificate: certificate not valid for name \"ns.corp.example\"");
    }
}

#[test]
fn a_server_without_http_2_is_told() {
    let folder = certificate();
    let scribe = Scribe::new(folder.path(), [0; 6], &[]);
    let daemon = daemon(folder.path(), free_address(), &format!("'https://{}'", scribe.address), "");
    assert_no_answer(&daemon.ask("www.example"));
    daemon.await_log("/dns-query at ");
    daemon.await_log("cannot be asked: it does not offer HTTP/2");
}

#[test]
fn a_path_that_is_not_there_is_told() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    let target = unbound.over_https(NAME).replace("/dns-query", "/other");
    let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
    assert_no_answer(&daemon.ask("www.example"));
    let place = format!("https://{NAME}/other at {}", unbound.https);
    daemon.await_log(&format!("{place} cannot be asked: 404 Not Found with content of type"));
}

#[test]
fn a_certificate_that_nobody_trusts_is_refused_and_the_vpc_asked_instead() {
    let (unbound, vpc, other) = (Unbound::new(), Standin::good(), certificate());
    let Some(_running) = unbound.run() else { return };
    for target in [unbound.over_tls(NAME), unbound.over_https(NAME)] {
        let daemon = daemon(other.path(), vpc.address, &target, "fallback = true\n");
        assert_eq!(daemon.ask("n0.example").addresses, [GOOD], "the first question, too");
        daemon.await_log("invalid peer certificate");
    }
}

#[test]
fn a_server_that_dies_and_comes_back_is_used_again() {
    let unbound = Unbound::new();
    for target in [unbound.over_tls(NAME), unbound.over_https(NAME)] {
        let Some(running) = unbound.run() else { return };
        let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
        assert_eq!(daemon.ask("n0.example").addresses, [GOOD]);
        drop(running);
        assert_no_answer(&daemon.ask("n1.example"));
        let _again = unbound.run();
        await_good(&daemon, (2..300).map(|nth| format!("n{nth}.example")));
    }
}

#[test]
fn a_connection_that_the_server_closed_costs_no_question() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    for target in [unbound.over_tls(NAME), unbound.over_https(NAME)] {
        let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
        for nth in 0..4 {
            let reply = daemon.ask(&format!("n{nth}.example"));
            assert_eq!(reply.addresses, [GOOD], "{target}: {reply:?}\n{}", daemon.log());
            // Unbound closes what was idle for 300 ms.
            thread::sleep(Duration::from_millis(500));
        }
    }
}

#[test]
fn a_server_that_never_speaks_is_told_in_time() {
    let (folder, vpc) = (certificate(), Standin::good());
    let silent = TcpListener::bind(free_address()).unwrap();
    let clear = UdpSocket::bind(silent.local_addr().unwrap()).unwrap();
    clear.set_nonblocking(true).unwrap();
    for scheme in ["tls", "https"] {
        let target = format!("'{scheme}://{}'", silent.local_addr().unwrap());
        let daemon = daemon(folder.path(), vpc.address, &target, "");
        assert_no_answer(&daemon.ask("www.example"));
        assert_eq!(daemon.ask("www.elsewhere").addresses, [GOOD]);
        assert!(clear.recv(&mut [0; 512]).is_err(), "it was asked in the clear");
    }
}

/// Two hundred questions a second wait for a connection, and each of them may end while it is made.
#[test]
fn a_server_that_can_be_reached_again_is_used_again_under_load() {
    let unbound = Unbound::new();
    let Some(_running) = unbound.run() else { return };
    let way = Way::cut(unbound.tls);
    let target = format!("{{ url = 'tls://{NAME}:{}', ip = '127.0.0.1' }}", way.address.port());
    let daemon = daemon(unbound.folder.path(), free_address(), &target, "");
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(daemon.address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (began, mut reply) = (Instant::now(), [0; 512]);
    // Longer than a client waits, so that there is always somebody whose time is over.
    let back = began + Duration::from_secs(5);
    for nth in 0_u32.. {
        let due = began + Duration::from_millis(5) * nth;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        socket.send(&question(&format!("no{nth}.example"), 1)).unwrap();
        way.cut.store(Instant::now() < back, Relaxed);
        let answer = iter::from_fn(|| socket.recv(&mut reply).ok().map(|length| length > 12 && reply[3] & 15 == 3));
        if answer.into_iter().any(|answered| answered) {
            break;
        }
        assert!(Instant::now() < back + SOON, "no answer\n{}", daemon.log());
    }
    let count = way.count.load(Relaxed);
    assert!((2..6).contains(&count), "{count} connections");
    daemon.await_log("answers again");
}

/// That phzd has no place for a question says nothing of the target: what belongs there must not go to the VPC's
/// resolver for it.
#[test]
fn too_many_questions_do_not_make_a_target_unreachable() {
    let folder = certificate();
    // It takes a while to shake hands.
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let vpc = Standin::good();
    let address = target.local_addr().unwrap();
    let daemon = daemon(folder.path(), vpc.address, &format!("'tls://{address}'"), "fallback = true\n");
    for client in 2..5 {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let other = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 0, client), 0)).unwrap();
        for nth in 0..500 {
            for socket in [&socket, &other] {
                let port = socket.local_addr().unwrap().port();
                socket.send_to(&question(&format!("n{nth}.c{client}.p{port}.example"), 1), daemon.address).unwrap();
            }
        }
    }
    thread::sleep(Duration::from_millis(300));
    let asked: Vec<String> =
        vpc.asked().iter().filter(|asked| !asked.is_probe()).map(crate::resolvers::Asked::name).collect();
    assert!(asked.is_empty(), "{} questions to the VPC's resolver, one of them {:?}", asked.len(), asked.first());
}
