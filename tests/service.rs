//! What the daemon tells its service manager, and takes from it, over the manager's real sockets; a listen address that
//! comes, goes or is not to be had. The manager itself is in `tests/boot`.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{Daemon, PRIVATE, bucket, config, configured, free_address, over_tcp, over_udp};
use crate::resolvers::{Reply, SOON, Standin, query};
use crate::sockets::link_local;

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
/// What a manager would wait for the watchdog, in microseconds.
const WATCHDOG: &str = "2000000";

/// The socket of a service manager, and a daemon that knows it.
struct Managed {
    socket: UnixDatagram,
    daemon: Daemon,
    _folder: TempDir,
}

impl Managed {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let configuration = configured(text);
        let mut command = phzd();
        command.arg("run").arg("--config").arg(configuration.path().join("phzd.toml"));
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG);
        let daemon = Daemon::spawn(command, configuration);
        Self { socket, daemon, _folder: folder }
    }

    /// The next message.
    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next that is about something else than being alive.
    fn told(&self) -> String {
        loop {
            let message = self.next();
            if message.trim() != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// How often it said to be alive within `time`.
    fn heartbeats(&self, time: Duration) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        thread::sleep(time);
        let mut message = [0; 4096];
        let mut count = 0;
        while let Ok(length) = self.socket.recv(&mut message) {
            count += usize::from(message[..length].starts_with(b"WATCHDOG=1"));
        }
        self.socket.set_nonblocking(false).unwrap();
        count
    }
}

#[test]
fn the_manager_is_told_what_is_going_on() {
    let standin = Standin::good();
    let text = config(standin.address, &bucket("xxxxx-bucket"));
    let managed = Managed::start(&text.replace("udp-threads = 1", "udp-threads = 2"));
    let address = managed.daemon.address;
    // Two sockets for UDP and one for TCP are to be kept, under one name without a colon.
    for _ in 0..3 {
        let name = format!("FDNAME=phzd-kept-{address}").replace(':', "_");
        let message = managed.told();
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines, ["FDSTORE=1", &name, "FDPOLL=0"]);
    }
    assert_eq!(managed.told().trim_end(), format!("READY=1\nSTATUS=serving on {address}"));
    assert!(managed.heartbeats(Duration::from_secs(2)) >= 4);

    managed.daemon.reload(&text.replace("xxxxx", "yyyyy"));
    let reloading = managed.told();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    assert!(since.trim_end().parse::<u64>().unwrap() > 0);
    assert!(managed.told().starts_with("READY=1\n"));
    assert_eq!(managed.daemon.ask(&BUCKET.replace("xxxxx", "yyyyy")).addresses, [PRIVATE], "ready is when it serves");

    managed.daemon.reload(&text.replace("allow = [", "alow = ["));
    assert!(managed.told().starts_with("RELOADING=1\n"));
    let failed = managed.told();
    assert!(failed.starts_with("READY=1\nSTATUS=not reloaded, the old policy goes on serving: "), "{failed}");
    assert!(failed.contains("phzd.toml:") && failed.contains("alow"), "{failed}");

    managed.daemon.signal(Signal::SIGTERM);
    assert!(managed.told().starts_with("STOPPING=1\n"));
}

/// A thread that is held by its neck, as one that waits for a lock in vain would be.
struct Held(Pid);

impl Held {
    fn thread(daemon: &Daemon, name: &str) -> Self {
        let thread = Pid::from_raw(daemon.thread(name));
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

#[test]
fn the_watchdog_is_not_fed_while_a_thread_stands_still() {
    let standin = Standin::good();
    let managed = Managed::start(&config(standin.address, &bucket("xxxxx-bucket")));
    for name in ["udp-0", "forward", "endpoints", "operator"] {
        assert!(managed.heartbeats(Duration::from_secs(1)) > 0, "before {name} is held");
        let held = Held::thread(&managed.daemon, name);
        // Half the time of the watchdog, and a round.
        thread::sleep(Duration::from_millis(1400));
        assert_eq!(managed.heartbeats(Duration::from_secs(1)), 0, "while {name} is held");
        managed.daemon.await_log(&format!("no sign of life from {name} for 1000 ms"));
        drop(held);
        let began = Instant::now();
        while managed.heartbeats(Duration::from_millis(300)) == 0 {
            assert!(began.elapsed() < SOON, "{name} goes on, and nobody says so");
        }
    }
    managed.daemon.await_logs("the watchdog is content again", 4);
}

/// Whoever asks there needs an interface as well, and comes from no other address.
#[test]
fn the_watchdog_is_fed_where_only_a_link_local_address_is_listened_to() {
    let Some((address, scope)) = link_local() else {
        eprintln!("skipped: no link-local IPv6 address here");
        return;
    };
    let standin = Standin::good();
    let text = config(standin.address, &bucket("xxxxx-bucket"));
    let managed = Managed::start(&text.replacen("127.0.0.1:0", &format!("[{address}%{scope}]:0"), 1));
    // Half the time of the watchdog, and a round.
    thread::sleep(Duration::from_millis(1400));
    assert!(managed.heartbeats(Duration::from_secs(1)) > 0);
}

#[test]
fn listen_addresses_come_and_go_with_a_reload() {
    let standin = Standin::good();
    let (first, second) = (free_address(), free_address());
    let listening = |list: &[SocketAddr]| {
        let list: Vec<_> = list.iter().map(|address| format!("\"{address}\"")).collect();
        let text = config(standin.address, &bucket("xxxxx-bucket"));
        text.replace("\"127.0.0.1:0\"", &list.join(", "))
    };
    let daemon = Daemon::start(&listening(&[first]));
    let asked = |address| {
        let udp = Reply::new(&over_udp(address, &query(BUCKET)), Duration::ZERO);
        let tcp = Reply::new(&over_tcp(address, &query(BUCKET)), Duration::ZERO);
        assert_eq!((udp.addresses, tcp.addresses), (vec![PRIVATE], vec![PRIVATE]), "at {address}");
    };
    let gone = |address: SocketAddr| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client.send(&query(BUCKET)).unwrap();
        assert_eq!(client.recv(&mut [0; 512]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{address}");
        assert!(TcpStream::connect(address).is_err(), "{address}");
    };
    asked(first);
    // A connection of an address that stays goes on; one of an address that goes is ended.
    let mut connection = TcpStream::connect(first).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    daemon.reload(&listening(&[first, second]));
    daemon.await_logs("INFO reloaded", 1);
    asked(first);
    asked(second);
    daemon.reload(&listening(&[second]));
    daemon.await_logs("INFO reloaded", 2);
    gone(first);
    asked(second);
    assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0);

    // One that somebody else has leaves all as it was.
    let taken = UdpSocket::bind(first).unwrap();
    daemon.reload(&listening(&[first]).replace("xxxxx", "yyyyy"));
    daemon.await_log(&format!("error: cannot listen on {first} (UDP): "));
    daemon.await_log("not reloaded, the old policy goes on serving");
    asked(second);
    drop(taken);
    daemon.reload(&listening(&[first]));
    daemon.await_logs("INFO reloaded", 3);
    asked(first);
    gone(second);
}

#[test]
fn one_address_gives_way_to_all_addresses_and_nobody_who_asks_notices() {
    let standin = Standin::good();
    let address = free_address();
    let text = config(standin.address, &bucket("xxxxx-bucket"));
    let on = |listen: SocketAddr| text.replace("127.0.0.1:0", &listen.to_string());
    let everywhere = SocketAddr::new([0, 0, 0, 0].into(), address.port());
    let daemon = Daemon::start(&on(address));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let asking = thread::spawn(move || {
        let mut count = 0;
        while !stopped.load(Relaxed) {
            let reply = Reply::new(&over_udp(address, &query(BUCKET)), Duration::ZERO);
            assert_eq!(reply.addresses, [PRIVATE]);
            count += 1;
        }
        count
    });
    for round in 0..20 {
        daemon.reload(&on(if round % 2 == 0 { everywhere } else { address }));
        daemon.await_logs("INFO reloaded", round + 1);
        let reply = Reply::new(&over_tcp(address, &query(BUCKET)), Duration::ZERO);
        assert_eq!(reply.addresses, [PRIVATE], "round {round}");
    }
    stop.store(true, Relaxed);
    assert!(asking.join().unwrap() > 20);
}

#[test]
fn an_address_is_to_be_had_again_while_a_query_that_came_there_waits() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (first, second) = (free_address(), free_address());
    let text = config(silent.local_addr().unwrap(), &bucket("xxxxx-bucket"));
    let both = text.replace("\"127.0.0.1:0\"", &format!("\"{first}\", \"{second}\""));
    let daemon = Daemon::start(&both);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&query("waits.example"), first).unwrap();
    // It is under way once the resolver has it.
    while !String::from_utf8_lossy(&received(&silent)).to_lowercase().contains("waits") {}
    daemon.reload(&text.replace("127.0.0.1:0", &second.to_string()));
    daemon.await_logs("INFO reloaded", 1);
    daemon.reload(&both);
    daemon.await_logs("INFO reloaded", 2);
    for address in [first, second] {
        let reply = Reply::new(&over_udp(address, &query(BUCKET)), Duration::ZERO);
        assert_eq!(reply.addresses, [PRIVATE], "at {address}");
    }
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut message = [0; 512];
    socket.set_read_timeout(Some(SOON)).unwrap();
    let length = socket.recv(&mut message).unwrap();
    message[..length].to_vec()
}

/// Runs the daemon on a socket that is opened for it, of the kind that `kind` says; the first query starts it.
fn activated(kind: &[&str], given: SocketAddr, text: &str) -> Daemon {
    let folder = configured(text);
    let mut command = Command::new("systemd-socket-activate");
    let name = if kind.contains(&"--fdname") { None } else { Some("--fdname=phzd.socket") };
    command.args(kind).args(name).arg("-l").arg(given.to_string()).arg(env!("CARGO_BIN_EXE_phzd"));
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
    let poke = thread::spawn(move || {
        let began = Instant::now();
        // It listens a moment after it has begun.
        while TcpStream::connect(given).is_err() && began.elapsed() < SOON {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&query(BUCKET), given).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let daemon = Daemon::spawn(command, folder);
    poke.join().unwrap();
    daemon
}

#[test]
fn a_socket_that_is_given_is_read_by_all_threads_and_what_is_missing_is_opened() {
    let standin = Standin::good();
    let text = config(standin.address, &bucket("xxxxx-bucket")).replace("udp-threads = 1", "udp-threads = 3");
    for kind in [&["--datagram"][..], &[]] {
        let address = free_address();
        let daemon = activated(kind, address, &text.replace("127.0.0.1:0", &address.to_string()));
        let udp = Reply::new(&over_udp(address, &query(BUCKET)), Duration::ZERO);
        let tcp = Reply::new(&over_tcp(address, &query(BUCKET)), Duration::ZERO);
        assert_eq!((udp.addresses, tcp.addresses), (vec![PRIVATE], vec![PRIVATE]), "{kind:?}");
        assert_eq!(daemon.threads().iter().filter(|name| name.starts_with("udp-")).count(), 3, "{kind:?}");
        let sockets = if kind.is_empty() { 3 } else { 1 };
        assert_eq!(udp_sockets_at(address), sockets, "a second one beside the given one would swallow queries");
        // The unit has the socket still: given up, it would swallow queries, now or after a restart.
        let other = free_address();
        daemon.reload(&text.replace("127.0.0.1:0", &other.to_string()));
        daemon.await_log(&format!("so nobody would answer there: {address}; make ListenDatagram="));
        let reply = Reply::new(&over_udp(address, &query(BUCKET)), Duration::ZERO);
        assert_eq!(reply.addresses, [PRIVATE], "{kind:?}");
    }
}

#[test]
fn sockets_that_were_kept_at_an_address_that_is_gone_keep_nobody_from_starting() {
    let standin = Standin::good();
    let kept = free_address();
    let everywhere = SocketAddr::new([0, 0, 0, 0].into(), kept.port());
    let text = config(standin.address, &bucket("xxxxx-bucket")).replace("127.0.0.1:0", &everywhere.to_string());
    for kind in [&["--datagram"][..], &[]] {
        let name = format!("phzd-kept-{kept}").replace(':', "_");
        // The other, who keeps them, as systemd does until it is told otherwise, is not there: what it is told is.
        let daemon = activated(&[kind, &["--fdname", &name]].concat(), kept, &text);
        daemon.await_log("no longer served, since it is not in server.listen");
        let udp = Reply::new(&over_udp(kept, &query(BUCKET)), Duration::ZERO);
        let tcp = Reply::new(&over_tcp(kept, &query(BUCKET)), Duration::ZERO);
        assert_eq!((udp.addresses, tcp.addresses), (vec![PRIVATE], vec![PRIVATE]), "{kind:?}");
    }
}

/// How many UDP sockets are bound to an address.
fn udp_sockets_at(address: SocketAddr) -> usize {
    let port = format!(":{:04X} ", address.port());
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    table
        .lines()
        .filter(|line| line.split_once(" 00000000:").is_some_and(|(local, _)| format!("{local} ").ends_with(&port)))
        .count()
}

#[test]
fn a_socket_that_no_listen_address_wants_is_a_mistake_at_the_start() {
    let standin = Standin::good();
    let (given, listen) = (free_address(), free_address());
    let folder = configured(&config(standin.address, "").replace("127.0.0.1:0", &listen.to_string()));
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--fdname=phzd.socket").arg("-l").arg(given.to_string()).arg(env!("CARGO_BIN_EXE_phzd"));
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while TcpStream::connect(given).is_err() {
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!child.wait().unwrap().success());
    let line = said.lines().find(|line| line.starts_with("phzd: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&format!("{given} (TCP, of phzd.socket); make ListenDatagram=")), "{line}");
}

/// The units, with the program of these tests where theirs is.
fn units() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["phzd.service", "phzd.socket"] {
        let text = std::fs::read_to_string(format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        std::fs::write(folder.path().join(unit), text.replace("/usr/bin/phzd", env!("CARGO_BIN_EXE_phzd"))).unwrap();
    }
    folder
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    let folder = units();
    let unit = |name: &str| folder.path().join(name);
    let mut analyse = Command::new("systemd-analyze");
    let verified =
        analyse.args(["verify", "--man=no"]).arg(unit("phzd.service")).arg(unit("phzd.socket")).output().unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    // Tenths of the exposure.
    let mut analyse = Command::new("systemd-analyze");
    let analysed = analyse
        .args(["security", "--no-pager", "--offline=true", "--threshold=15"])
        .arg(unit("phzd.service"))
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&analysed.stdout).into_owned();
    assert!(analysed.status.success(), "{table}{}", String::from_utf8_lossy(&analysed.stderr));
    assert!(table.contains("Overall exposure level"), "{table}");
    // What is left is explained in the unit, by name.
    let text = std::fs::read_to_string(unit("phzd.service")).unwrap();
    let left = table.lines().filter_map(|line| line.strip_prefix('✗')?.split_whitespace().next());
    for setting in left.map(|setting| setting.split(['=', ':']).next().unwrap()) {
        assert!(text.lines().any(|line| line.starts_with('#') && line.contains(setting)), "{setting} in {text}");
    }
}
