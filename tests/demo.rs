//! `phzd demo`, the real binary. Tests run beside each other, and other programs may have port 5300: each takes the
//! port from what the demo says.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use phzd::config::Config;

const PHZD: &str = env!("CARGO_BIN_EXE_phzd");
const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com.";
const PRIVATE_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 5);
const PUBLIC_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 5);

/// Where the demo says that it serves.
fn said_address(report: &str) -> SocketAddr {
    let (_, rest) = report.split_once("phzd serves on ").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

fn once() -> String {
    let output = Command::new(PHZD).args(["demo", "--once"]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{:?}\n{out}\n{err}", output.status);
    assert_eq!(err, "");
    out
}

fn ask(host: Ipv4Addr, server: SocketAddr, name: &str) -> (ResponseCode, Vec<String>) {
    let mut query = Message::new(4711, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let socket = UdpSocket::bind((host, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&query.to_vec().unwrap(), server).unwrap();
    let mut reply = [0; 4096];
    let (length, from) = socket.recv_from(&mut reply).unwrap();
    assert_eq!(from, server);
    let reply = Message::from_vec(&reply[..length]).unwrap();
    assert_eq!((reply.metadata.id, &reply.queries), (4711, &query.queries));
    (reply.metadata.response_code, reply.answers.iter().map(|record| record.data.to_string()).collect())
}

#[test]
fn once_shows_both_answers_and_ends_well() {
    let report = once();
    let first = report.lines().find(|line| line.starts_with("A ")).unwrap();
    let (private, public) = (first.find("172.31.1.152").unwrap(), first.find("s3-r-w.ap-northeast-1").unwrap());
    assert!(private < public, "{report}");
    assert!(report.contains("52.219.1.10"), "{report}");
    assert!(report.contains("answers are right"), "{report}");
    assert!(!report.contains("WRONG"), "{report}");
    assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
}

#[test]
fn a_taken_port_is_said_and_another_one_is_used() {
    let until = Instant::now() + Duration::from_secs(30);
    let _held = loop {
        // Both, for a demo that is just ending lets go of one after the other.
        let usual = (Ipv4Addr::LOCALHOST, 5300);
        match TcpListener::bind(usual).and_then(|tcp| Ok((tcp, UdpSocket::bind(usual)?))) {
            Ok(sockets) => break sockets,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
        assert!(Instant::now() < until, "somebody keeps port 5300");
        std::thread::sleep(Duration::from_millis(20));
    };
    let report = once();
    let address = said_address(&report);
    assert_ne!(address.port(), 5300);
    // The holder is named: this very process.
    assert!(report.starts_with("127.0.0.1:5300 is taken by "), "{report}");
    assert!(report.contains(&format!("(pid {})", std::process::id())), "{report}");
    let digs: Vec<_> = report.lines().filter(|line| line.trim_start().starts_with("dig ")).collect();
    assert!(digs.len() >= 4, "{report}");
    let port = format!("-p {} ", address.port());
    assert!(digs.iter().all(|line| line.contains(&port)), "{report}");
}

/// A demo that goes on serving; it does not outlive the test.
struct Serving {
    child: Child,
    /// Kept open: whoever runs the demo goes on reading it.
    _out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Serving {
    fn start() -> Self {
        let mut child = Command::new(PHZD).arg("demo").stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut report = String::new();
        while !report.ends_with("Serving until Ctrl-C.\n") {
            assert_ne!(out.read_line(&mut report).unwrap(), 0, "it ended:\n{report}");
        }
        Self { child, _out: out, address: said_address(&report) }
    }

    /// Sends a signal; the exit status, and how long the end took.
    fn end(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn it_serves_until_it_is_interrupted() {
    let mut demo = Serving::start();
    let (code, private) = ask(PRIVATE_HOST, demo.address, BUCKET);
    assert_eq!((code, private), (ResponseCode::NoError, vec!["172.31.1.152".into()]));
    let (code, public) = ask(PUBLIC_HOST, demo.address, BUCKET);
    assert_eq!(code, ResponseCode::NoError);
    assert_eq!(public, ["s3-r-w.ap-northeast-1.amazonaws.com.", "52.219.1.10", "52.219.9.74"]);
    // What the stand-in does not know, it says at once.
    assert_eq!(ask(PUBLIC_HOST, demo.address, "example.com."), (ResponseCode::Refused, vec![]));
    let (status, time) = demo.end("-INT");
    assert_eq!(status, Some(0));
    assert!(time < Duration::from_secs(2), "{time:?}");
}

#[test]
fn a_supervisor_may_end_it_too() {
    let (status, time) = Serving::start().end("-TERM");
    assert_eq!(status, Some(0));
    assert!(time < Duration::from_secs(2), "{time:?}");
}

#[test]
fn its_configuration_is_one_that_run_takes() {
    let (config, warnings) = Config::load(Path::new("config/demo.toml")).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.server.listen, ["127.0.0.1:5300".parse().unwrap()]);
}
