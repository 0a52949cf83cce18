//! The real daemon as a process: signals, reloads, drop-ins, limits, and who counts as this host.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use phzd::config::Machine;
use phzd::wire::Question;
use tempfile::TempDir;

use crate::cli::{phzd, unprivileged};
use crate::resolvers::{GOOD, Reply, SOON, Standin, framed, next_message, query};

/// The endpoint of every configuration here.
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 152);
const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const OTHER_BUCKET: &str = "yyyyy-bucket.s3.ap-northeast-1.amazonaws.com";
/// How long a service manager's stop may take.
const STOP: Duration = Duration::from_secs(2);

//------------ A daemon -----------------------------------------------------------------------------------------------

/// A daemon that runs until it is dropped.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Its first listen address.
    pub address: SocketAddr,
    /// Where its configuration is: `phzd.toml`.
    pub folder: TempDir,
}

/// A daemon that has ended.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All that it said.
    pub log: String,
}

impl Daemon {
    /// Runs it with this configuration, until it serves.
    pub fn start(text: &str) -> Self {
        Self::in_folder(configured(text))
    }

    /// Runs it on `listen` with one resolver.
    pub fn forwarding(listen: SocketAddr, resolver: SocketAddr) -> Self {
        Self::start(&config(resolver, "").replace("127.0.0.1:0", &listen.to_string()))
    }

    fn in_folder(folder: TempDir) -> Self {
        let mut command = phzd();
        command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
        Self::spawn(command, folder)
    }

    /// Runs `command`, which has its configuration from `folder`, until it serves.
    pub fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (log, lines) = (Arc::new(Mutex::new(String::new())), BufReader::new(child.stderr.take().unwrap()).lines());
        let heard = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = heard.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let mut daemon = Self { child, log, reader: Some(reader), address: nowhere, folder };
        daemon.await_log("serving");
        daemon.address = daemon.addresses()[0];
        daemon
    }

    /// Every address that it serves.
    fn addresses(&self) -> Vec<SocketAddr> {
        let log = self.log();
        let (_, list) = log.split_once("addresses=[").unwrap();
        // `]` also stands in `[::1]:53`.
        let (list, _) = list.split_once("] ").unwrap();
        list.split(", ").map(|address| address.parse().unwrap_or_else(|_| panic!("{address} in {log}"))).collect()
    }

    /// All that it said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it says `words`.
    pub fn await_log(&self, words: &str) {
        self.await_logs(words, 1);
    }

    /// Waits until it has said `words` so many times.
    pub fn await_logs(&self, words: &str, count: usize) {
        let began = Instant::now();
        while self.log().matches(words).count() < count {
            assert!(began.elapsed() < SOON, "{words:?} is not {count} times in:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < SOON, "it goes on:\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        };
        self.reader.take().unwrap().join().unwrap();
        Ended { status, log: self.log() }
    }

    /// The names of its threads.
    pub fn threads(&self) -> Vec<String> {
        self.tasks().into_iter().map(|(_, name)| name).collect()
    }

    /// The id of a thread.
    pub fn thread(&self, name: &str) -> i32 {
        let tasks = self.tasks();
        let task = tasks.iter().find(|(_, other)| other.trim() == name);
        task.unwrap_or_else(|| panic!("no thread {name} in {tasks:?}")).0
    }

    fn tasks(&self) -> Vec<(i32, String)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let id = |task: &fs::DirEntry| task.file_name().to_str()?.parse().ok();
        tasks.filter_map(|task| Some((id(&task)?, fs::read_to_string(task.path().join("comm")).ok()?))).collect()
    }

    /// Writes its configuration anew and has it read.
    pub fn reload(&self, text: &str) {
        fs::write(self.folder.path().join("phzd.toml"), text).unwrap();
        self.signal(Signal::SIGHUP);
    }

    /// Asks for the address of `name`, over UDP.
    pub fn ask(&self, name: &str) -> Reply {
        Reply::new(&over_udp(self.address, &query(name)), Duration::ZERO)
    }

    /// Waits until `name` has this address only.
    fn await_address(&self, name: &str, address: Ipv4Addr) {
        let began = Instant::now();
        loop {
            let reply = self.ask(name);
            if reply.addresses == [address] {
                return;
            }
            assert!(began.elapsed() < SOON, "{name}: {reply:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A new folder with this `phzd.toml`.
pub fn configured(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("phzd.toml"), text).unwrap();
    folder
}

/// A VPC whose resolver is `resolver`, this host being in its private subnet; `rest` is added.
pub fn config(resolver: SocketAddr, rest: &str) -> String {
    format!(
        "[server]
listen = [\"127.0.0.1:0\"]
udp-threads = 1
control = \"\"
http = \"\"
[vpc]
region = \"ap-northeast-1\"
cidrs = [\"172.31.0.0/16\"]
self = \"172.31.1.5\"
resolvers = [\"{resolver}\"]
[[subnet]]
name = \"private-a\"
cidr = \"172.31.1.0/24\"
[[endpoint]]
name = \"s3\"
addresses = [\"{PRIVATE}\"]
{rest}"
    )
}

/// A `[[bucket]]` for the private subnet.
pub fn bucket(name: &str) -> String {
    format!("[[bucket]]\nnames = [\"{name}\"]\nendpoint = \"s3\"\nallow = [\"private-a\"]\n")
}

/// An address of 127.0.0.1 that is free for UDP and TCP. Its port is below those that the kernel hands out, so that
/// no other test gets it meanwhile.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 10_000 + (std::process::id() as u16).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn client(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.connect(server).unwrap();
    socket
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 65_535];
    let length = client.recv(&mut reply).unwrap();
    reply.truncate(length);
    reply
}

pub fn over_udp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let client = client(server);
    client.send(message).unwrap();
    receive(&client)
}

/// Sends a message over a connection of its own.
fn begin_tcp(server: SocketAddr, message: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(&framed(message)).unwrap();
    stream
}

pub fn over_tcp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    next_message(&mut begin_tcp(server, message))
}

//------------ Stop ---------------------------------------------------------------------------------------------------

/// A resolver that answers a question each time its gate opens.
fn gated() -> (Standin, mpsc::Sender<()>) {
    let (gate, opened) = mpsc::channel();
    let standin = Standin::udp(move |asked, socket| {
        if !asked.is_probe() && opened.recv_timeout(SOON).is_ok() {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    });
    (standin, gate)
}

/// Stops `daemon` and opens the gate once it takes no more queries; returns what `receive` received meanwhile.
fn stop_while_waiting(
    daemon: Daemon,
    signal: Signal,
    gate: &mpsc::Sender<()>,
    receive: impl FnOnce() -> Vec<u8>,
) -> Reply {
    let began = Instant::now();
    daemon.signal(signal);
    daemon.await_log("stopping");
    while daemon.threads().iter().any(|name| name.starts_with("udp-")) {
        assert!(began.elapsed() < SOON, "{:?}", daemon.threads());
        thread::sleep(Duration::from_millis(5));
    }
    // Asked again while it waited, the resolver answers again.
    (0..10).for_each(|_| _ = gate.send(()));
    let reply = Reply::new(&receive(), began.elapsed());
    let ended = daemon.wait();
    assert!(ended.status.success(), "{signal}: {}\n{}", ended.status, ended.log);
    assert!(began.elapsed() < STOP, "{signal}: {:?}", began.elapsed());
    reply
}

#[test]
fn a_stop_lets_what_waits_over_udp_be_answered() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (standin, gate) = gated();
        let daemon = Daemon::start(&config(standin.address, ""));
        let client = client(daemon.address);
        client.send(&query("x.example")).unwrap();
        standin.await_asked(1);
        let reply = stop_while_waiting(daemon, signal, &gate, || receive(&client));
        assert_eq!(reply.addresses, [GOOD], "{signal}");
    }
}

#[test]
fn a_stop_lets_what_waits_over_tcp_be_answered() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (standin, gate) = gated();
        let daemon = Daemon::start(&config(standin.address, ""));
        let mut stream = begin_tcp(daemon.address, &query("x.example"));
        standin.await_asked(1);
        let reply = stop_while_waiting(daemon, signal, &gate, || next_message(&mut stream));
        assert_eq!(reply.addresses, [GOOD], "{signal}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_resolver_that_is_silent() {
    let silent = Standin::udp(|_, _| {});
    let daemon = Daemon::start(&config(silent.address, ""));
    client(daemon.address).send(&query("x.example")).unwrap();
    silent.await_asked(1);
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.wait();
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.log);
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

//------------ Reload -------------------------------------------------------------------------------------------------

#[test]
fn a_reload_swaps_the_policy_and_keeps_the_cache() {
    let standin = Standin::good();
    let first = config(standin.address, &bucket("xxxxx-bucket"));
    let daemon = Daemon::start(&first);
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    assert_eq!(daemon.ask(OTHER_BUCKET).addresses, [GOOD]);
    assert_eq!(standin.asked().len(), 1);

    daemon.reload(&config(standin.address, &(bucket("xxxxx-bucket") + &bucket("yyyyy-bucket"))));
    daemon.await_address(OTHER_BUCKET, PRIVATE);
    daemon.await_logs("reloaded", 1);

    // Back again: what was cached is still there.
    daemon.reload(&first);
    daemon.await_address(OTHER_BUCKET, GOOD);
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    assert_eq!(standin.asked().len(), 1, "the resolver was asked again for what was cached");
}

#[test]
fn a_mistake_leaves_the_old_policy_serving() {
    let standin = Standin::good();
    let good = config(standin.address, &bucket("xxxxx-bucket"));
    let daemon = Daemon::start(&good);
    daemon.reload(&good.replace("allow = [\"private-a\"]", "allow = [\"private-b\"]"));
    daemon.await_log("hint: did you mean \"private-a\"?");
    let line = 1 + good.lines().position(|line| line.starts_with("allow")).unwrap();
    let place = format!("phzd.toml:{line}:10: error: no subnet is named \"private-b\"");
    let log = daemon.log();
    assert!(log.contains("not reloaded, the old policy goes on serving") && log.contains(&place), "{place} in {log}");
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);

    fs::remove_file(daemon.folder.path().join("phzd.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.await_log("there is no such file");
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);

    // What cannot change while it runs is said.
    daemon.reload(&good.replace("udp-threads = 1", "udp-threads = 2"));
    daemon.await_logs("reloaded", 3);
    daemon.await_log("of [server], udp-threads will be in force when phzd is started again");
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
}

/// A pipe as names file: its reader waits for as long as the test wants.
#[test]
fn a_reload_asked_for_before_it_serves_is_made_and_one_that_hangs_holds_up_no_stop() {
    let standin = Standin::good();
    let names = bucket("xxxxx-bucket").replace("names = [\"xxxxx-bucket\"]", "names-file = \"names\"");
    let folder = configured(&config(standin.address, &names));
    let pipe = folder.path().join("names");
    let make_pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    make_pipe(&pipe);
    let pid_file = folder.path().join("pid");
    let mut command = Command::new("sh");
    command.arg("-c").arg("echo $$ >\"$1\" && exec \"$0\" run --config \"$2\"");
    command.arg(env!("CARGO_BIN_EXE_phzd")).arg(&pid_file).arg(folder.path().join("phzd.toml")).env_remove("RUST_LOG");

    let writer = thread::spawn(move || {
        // Opening waits for the reader, so the configuration is being read now.
        let mut names = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let pid = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
        // The reload opens another one, and is left waiting.
        fs::remove_file(&pipe).unwrap();
        make_pipe(&pipe);
        names.write_all(b"xxxxx-bucket\n").unwrap();
        drop(names);
        fs::OpenOptions::new().write(true).open(&pipe).unwrap()
    });
    let daemon = Daemon::spawn(command, folder);
    let _held = writer.join().unwrap();
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    let began = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.wait();
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.log);
    assert!(began.elapsed() < STOP, "{:?}", began.elapsed());
}

#[test]
fn drop_ins_are_read_at_start_and_on_reload() {
    let standin = Standin::good();
    let folder = configured(&config(standin.address, ""));
    let drop_ins = folder.path().join("phzd.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(drop_ins.join("10-team-x.toml"), bucket("xxxxx-bucket")).unwrap();
    fs::write(drop_ins.join("README"), "not a drop-in").unwrap();
    let daemon = Daemon::in_folder(folder);
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    assert_eq!(daemon.ask(OTHER_BUCKET).addresses, [GOOD]);
    fs::write(drop_ins.join("20-team-y.toml"), bucket("yyyyy-bucket")).unwrap();
    fs::remove_file(drop_ins.join("10-team-x.toml")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.await_address(OTHER_BUCKET, PRIVATE);
    assert_eq!(daemon.ask(BUCKET).addresses, [GOOD]);
}

//------------ This host ----------------------------------------------------------------------------------------------

#[test]
fn programs_of_this_host_count_as_its_address() {
    let standin = Standin::good();
    let private = config(standin.address, &bucket("xxxxx-bucket"));
    assert_eq!(Daemon::start(&private).ask(BUCKET).addresses, [PRIVATE]);
    let public = private.replace("self = \"172.31.1.5\"", "self = \"172.31.0.5\"");
    assert_eq!(Daemon::start(&public).ask(BUCKET).addresses, [GOOD]);
    // Towards a resolver of 127.0.0.1 this host is 127.0.0.1, which says nothing.
    let unknown = Daemon::start(&private.replace("self = \"172.31.1.5\"\n", ""));
    unknown.await_log("this host's own address in the VPC is not known");
    assert_eq!(unknown.ask(BUCKET).addresses, [GOOD]);
    unknown.reload(&private);
    unknown.await_address(BUCKET, PRIVATE);
}

#[test]
fn the_address_of_this_host_is_learned_from_the_route_to_the_resolver() {
    let addresses = Machine::here().addresses;
    let mine = addresses.iter().find(|ip| ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified());
    let Some(mine) = mine else {
        eprintln!("skipped: this host has no IPv4 address but that of loopback");
        return;
    };
    // Packets to an address of this very host never leave it.
    let standin = Standin::at(*mine);
    let text = config(standin.address, &bucket("xxxxx-bucket"))
        .replace("self = \"172.31.1.5\"\n", "")
        .replace("172.31.0.0/16", &format!("{mine}/32"))
        .replace("172.31.1.0/24", &format!("{mine}/32"));
    let daemon = Daemon::start(&text);
    daemon.await_address(BUCKET, PRIVATE);
    assert_eq!(daemon.ask("x.example").addresses, [GOOD]);
}

//------------ Sockets and limits -------------------------------------------------------------------------------------

#[test]
fn every_listen_address_is_served() {
    let standin = Standin::good();
    let mut listen = vec!["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
    if UdpSocket::bind("[::1]:0").is_ok() {
        listen.push("[::1]:0");
    } else {
        eprintln!("skipped for ::1: this host has no IPv6");
    }
    let text = config(standin.address, &bucket("xxxxx-bucket"))
        .replace("listen = [\"127.0.0.1:0\"]\nudp-threads = 1", &format!("listen = {listen:?}\nudp-threads = 2"));
    let daemon = Daemon::start(&text);
    let addresses = daemon.addresses();
    assert_eq!(addresses.len(), listen.len());
    for address in addresses {
        for (name, expected) in [(BUCKET, PRIVATE), ("x.example", GOOD)] {
            let (udp, tcp) = (over_udp(address, &query(name)), over_tcp(address, &query(name)));
            for reply in [udp, tcp] {
                assert_eq!(Reply::new(&reply, SOON).addresses, [expected], "{name} at {address}");
            }
        }
    }
}

#[test]
fn a_receive_buffer_that_the_kernel_refuses_is_told() {
    let most = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    if most.trim().parse::<u64>().unwrap() >= 1_000_000 * 1024 {
        eprintln!("skipped: net.core.rmem_max allows any buffer");
        return;
    }
    let standin = Standin::good();
    let text = config(standin.address, "").replace("udp-threads = 1", "udp-threads = 1\nreceive-buffer-kb = 1000000");
    let folder = configured(&text);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = unprivileged();
    let mut command = program.command();
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
    let daemon = Daemon::spawn(command, folder);
    daemon.await_log("kB of 1000000: raise net.core.rmem_max, or lower server.receive-buffer-kb");
    assert!(daemon.log().contains("wanted_kb=1000000"), "{}", daemon.log());
    assert_eq!(daemon.ask("x.example").addresses, [GOOD]);
}

#[test]
fn the_limit_of_open_files_is_raised_or_said_to_be_too_low() {
    let standin = Standin::good();
    let text = config(standin.address, "").replace("[vpc]", "tcp-connections-per-client = 1024\n[vpc]");
    let limited = |limit: &str| {
        let folder = configured(&text);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" run --config \"$1\""));
        command.arg(env!("CARGO_BIN_EXE_phzd")).arg(folder.path().join("phzd.toml")).env_remove("RUST_LOG");
        Daemon::spawn(command, folder)
    };
    let daemon = limited("-S -n 64");
    let limits = fs::read_to_string(Path::new("/proc").join(daemon.child.id().to_string()).join("limits")).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: u64 = files.split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert!(soft >= 1024, "a thousand TCP connections may come, with {soft} files");
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());

    let daemon = limited("-n 128");
    let log = daemon.log();
    assert!(log.contains("128 open files are allowed, "), "{log}");
    assert!(log.contains(" are needed; raise the limit (LimitNOFILE="), "{log}");
    // As many connections as there may be, and still something can be forwarded.
    let mut connections: Vec<_> = (0..128).map(|_| begin_tcp(daemon.address, &query(BUCKET))).collect();
    // Those that were idle longest have made room for the last.
    connections[96..].iter_mut().for_each(|stream| drop(next_message(stream)));
    let began = Instant::now();
    for nth in 0..16 {
        assert_eq!(daemon.ask(&format!("{nth}.example")).addresses, [GOOD]);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(connections);
}

//------------ A resolver that people use -----------------------------------------------------------------------------

/// Unbound, until it is dropped.
struct Unbound(Child);

impl Drop for Unbound {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_unbound_says_is_handed_on() {
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..30).map(|nth| format!("  local-data: 'large.example. 300 TXT \"{nth:0>200}\"'\n")).collect();
    let settings = format!(
        "server:\n  interface: {}@{}\n  do-daemonize: no\n  use-syslog: no\n  logfile: \"\"\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{folder}\"\n  pidfile: \"\"\n  num-threads: 1\n  local-zone: example. static\n  \
         local-data: 'example. 300 SOA ns.example. root.example. 1 2 3 4 60'\n  \
         local-data: 'www.example. 300 A 192.0.2.80'\n  local-data: 'www.example. 300 A 192.0.2.81'\n{text}\
         remote-control:\n  control-enable: no\n",
        address.ip(),
        address.port(),
        folder = folder.path().display()
    );
    fs::write(folder.path().join("unbound.conf"), settings).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(folder.path().join("unbound.conf")).stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        eprintln!("skipped: unbound is not installed");
        return;
    };
    let _unbound = Unbound(child);
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < SOON, "unbound does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let daemon = Daemon::start(&config(address, &bucket("xxxxx-bucket")));
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    for (name, kind, code) in [
        ("www.example", 1, ResponseCode::NoError),
        ("www.example", 28, ResponseCode::NoError),
        ("large.example", 16, ResponseCode::NoError),
        ("no.example", 1, ResponseCode::NXDomain),
    ] {
        let question = Question { name: name.parse().unwrap(), kind, dnssec_ok: false, checking_disabled: false };
        let question = question.message(9, question.name.as_wire(), true);
        let direct = Message::from_vec(&over_tcp(address, &question)).unwrap();
        assert_eq!(direct.metadata.response_code, code);
        for reply in [over_tcp(daemon.address, &question), over_udp(daemon.address, &question)] {
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.response_code, code, "{name}");
            if !reply.metadata.truncation {
                assert_eq!(sorted(&reply), sorted(&direct), "{name} of type {kind}");
            } else {
                assert_eq!(name, "large.example");
            }
        }
    }
}

/// The records of answer and authority, without TTLs, which count down.
fn sorted(message: &Message) -> Vec<String> {
    let records = message.answers.iter().chain(&message.authorities);
    let mut texts: Vec<_> = records.map(|record| format!("{} {:?}", record.name, record.data)).collect();
    texts.sort();
    texts
}
