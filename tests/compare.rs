//! `phzd compare` beside a real hosted zone's likeness: BIND has the zone, Unbound stands in front of it as the VPC's
//! resolver does.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{Daemon, bucket, config, free_address};
use crate::resolvers::{SOON, query};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
/// What Route 53 puts into every hosted zone, and an alias to an endpoint as it is resolved.
const ZONE: &str = "\
@ 900 IN SOA ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400
@ 172800 IN NS ns-1536.awsdns-00.co.uk.
@ 172800 IN NS ns-0.awsdns-00.com.
@ 172800 IN NS ns-1024.awsdns-00.org.
@ 172800 IN NS ns-512.awsdns-00.net.
@ 60 IN A 172.31.1.152
";

/// A server that runs until it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// BIND with the zone, Unbound in front of it, and phzd with the bucket.
struct Bench {
    phzd: Daemon,
    authoritative: SocketAddr,
    resolver: SocketAddr,
    _programs: [Program; 2],
    _folder: TempDir,
}

impl Bench {
    /// `None` where a program is missing, which is said.
    fn start(zone: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (authoritative, resolver) = (free_address(), free_address());
        fs::write(folder.path().join("zone"), zone).unwrap();
        let here = folder.path().display();
        let named = format!(
            "options {{ directory \"{here}\"; pid-file none; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
             recursion no; session-keyfile \"{here}/key\"; managed-keys-directory \"{here}\"; dnssec-validation no; }};\n\
             controls {{ }};\nzone \"{BUCKET}\" {{ type primary; file \"zone\"; check-names ignore; }};\n",
            authoritative.port()
        );
        let unbound = format!(
            "server:\n interface: {}@{}\n access-control: 127.0.0.0/8 allow\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
             directory: \"{here}\"\n pidfile: \"\"\n use-syslog: no\n module-config: \"iterator\"\n do-not-query-localhost: no\n \
             minimal-responses: yes\nremote-control:\n control-enable: no\nstub-zone:\n name: \"{BUCKET}\"\n stub-addr: {}@{}\n",
            resolver.ip(),
            resolver.port(),
            authoritative.ip(),
            authoritative.port()
        );
        let named = start("named", &["-g", "-n", "1", "-c"], &folder.path().join("named.conf"), &named)?;
        await_reply(authoritative);
        let unbound = start("unbound", &["-d", "-c"], &folder.path().join("unbound.conf"), &unbound)?;
        await_reply(resolver);
        let phzd = Daemon::start(&config("127.0.0.1:5399".parse().unwrap(), &bucket("xxxxx-bucket")));
        Some(Self { phzd, authoritative, resolver, _programs: [named, unbound], _folder: folder })
    }

    /// What `phzd compare` prints as JSON, and how it ends.
    fn compare(&self, with: SocketAddr, more: &[&str]) -> (Vec<Value>, Option<i32>) {
        let mut command = phzd();
        command.args(["compare", BUCKET, "--json", "--server", &self.phzd.address.to_string()]);
        let output = command.args(["--with", &with.to_string()]).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {:?}", output.stderr)), output.status.code())
    }
}

fn start(program: &str, arguments: &[&str], path: &Path, text: &str) -> Option<Program> {
    fs::write(path, text).unwrap();
    let log = fs::File::create(path.with_extension("log")).unwrap();
    // Debian keeps servers where not every shell looks.
    let file = ["/usr/sbin", "/usr/local/sbin"].map(|folder| Path::new(folder).join(program));
    let Some(file) = file.iter().find(|file| file.exists()) else {
        eprintln!("skipped: {program} is not here; `make tools` installs it");
        return None;
    };
    let started =
        Command::new(file).args(arguments).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    Some(Program(started.unwrap()))
}

/// Waits until a server says anything about the bucket.
fn await_reply(server: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let began = Instant::now();
    while socket.send(&query(BUCKET)).is_err() || socket.recv(&mut [0; 1232]).is_err() {
        assert!(began.elapsed() < SOON, "{server} does not answer");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Every difference as `TYPE field meant`, each once.
fn differences(compared: &[Value]) -> Vec<String> {
    let of = |compared: &Value| {
        let kind = compared["type"].as_str().unwrap().to_owned();
        let all = compared["differences"].as_array().unwrap().clone();
        all.into_iter().map(move |one| {
            format!(
                "{kind} {} {}",
                one["field"].as_str().unwrap(),
                if one["meant"] == true { "meant" } else { "wrong" }
            )
        })
    };
    let mut all: Vec<String> = compared.iter().flat_map(of).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn a_hosted_zone_and_phzd_say_the_same() {
    let Some(bench) = Bench::start(ZONE) else { return };
    let (compared, code) = bench.compare(bench.resolver, &[]);
    let differences = differences(&compared);
    assert!(differences.iter().all(|one| one.ends_with(" meant")), "{compared:#?}");
    assert_eq!(code, Some(0));
    // Eight types, addresses over TCP, and a name below.
    assert_eq!(compared.len(), 10);
    assert_eq!(compared[9]["name"], format!("below.{BUCKET}"));
    assert!(differences.contains(&"AAAA authority TTL meant".to_owned()), "{differences:?}");
    let mut words = phzd();
    words.args(["compare", BUCKET, "--server", &bench.phzd.address.to_string(), "--with", &bench.resolver.to_string()]);
    let text = String::from_utf8(words.output().unwrap().stdout).unwrap();
    assert!(text.contains(&format!("{BUCKET} A over UDP: ")) && text.ends_with(" 0 of them not meant\n"), "{text}");
}

#[test]
fn each_kind_of_difference_is_found() {
    let Some(bench) = Bench::start(&ZONE.replace("172.31.1.152", "172.31.1.153")) else { return };
    let found = |bench: &Bench, with, more: &[&str], wanted: &str| {
        let (compared, code) = bench.compare(with, more);
        let differences = differences(&compared);
        assert!(differences.contains(&wanted.to_owned()), "no {wanted:?} in {differences:?}");
        assert_eq!(code, Some(i32::from(differences.iter().any(|one| one.ends_with(" wrong")))), "{differences:?}");
    };
    found(&bench, bench.resolver, &["--type", "A"], "A answer wrong");
    found(&bench, bench.authoritative, &["--type", "A"], "A aa wrong");
    found(&bench, bench.authoritative, &["--type", "A"], "A ra wrong");
    let with = |zone: &str| Bench::start(zone).unwrap();
    let aaaa = with(&format!("{ZONE}@ 60 IN AAAA 2001:db8::1\n"));
    found(&aaaa, aaaa.resolver, &["--type", "AAAA"], "AAAA answer wrong");
    let below = with(&format!("{ZONE}below 60 IN TXT here\n"));
    found(&below, below.resolver, &[], "A rcode wrong");
    let longer = with(&ZONE.replace("@ 60 IN A", "@ 300 IN A"));
    found(&longer, longer.resolver, &["--type", "A"], "A answer TTL wrong");
    let shorter = with(&ZONE.replace("@ 60 IN A", "@ 30 IN A"));
    found(&shorter, shorter.resolver, &["--type", "A"], "A answer TTL meant");
}

#[test]
fn no_reply_is_one_line() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = free_address();
    let daemon = Daemon::start(&config("127.0.0.1:5399".parse().unwrap(), &bucket("xxxxx-bucket")));
    let told = |server: SocketAddr, with: SocketAddr| {
        let mut command = phzd();
        command.args(["compare", BUCKET, "--type", "A", "--server", &server.to_string(), "--with", &with.to_string()]);
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    let begin = |server: SocketAddr| format!("phzd: no reply from {server} to {BUCKET} A over UDP: ");
    let silent = silent.local_addr().unwrap();
    for (server, with, who) in [(daemon.address, silent, silent), (nobody, silent, nobody)] {
        let error = told(server, with);
        assert!(error.starts_with(&begin(who)) && error.lines().count() == 1, "{error}");
    }
    for wrong in
        [&["compare", BUCKET][..], &["compare", "--with", "172.31.0.2"], &["compare", BUCKET, "--with", "nobody"]]
    {
        assert_eq!(phzd().args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
    let output = phzd().args(["compare", BUCKET, "--with", "127.0.0.1", "--config", "/no/such.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("/no/such.toml: error: cannot be read"));
}
