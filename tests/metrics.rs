//! The metrics of the real daemon: that they are what was asked, that promtool and a real Prometheus take them, that rules
//! and dashboard name what is there, and that whoever comes to the listener does no harm to names.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use phzd::config::limit::LIMITS;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, PRIVATE, bucket, config, free_address, over_tcp};
use crate::resolvers::{GOOD, SOON, Standin, query};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";

/// A daemon with a listener for metrics.
struct Watched {
    daemon: Daemon,
    http: SocketAddr,
}

impl Watched {
    /// Forwarding to `resolver`; `rest` is added to its configuration.
    fn start(resolver: SocketAddr, rest: &str) -> Self {
        let http = free_address();
        let text = config(resolver, rest).replace("http = \"\"", &format!("http = \"{http}\""));
        Self { daemon: Daemon::start(&text), http }
    }

    fn metrics(&self) -> String {
        get(self.http, "/metrics", "").1
    }

    /// The value of a sample, 0 if there is none.
    fn value(&self, sample: &str) -> f64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The status line and the body of what stands at `path`.
fn get(server: SocketAddr, path: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: phzd\r\nConnection: close\r\n{header}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// A resolver that answers whatever it is asked.
fn resolver() -> Standin {
    Standin::udp(|asked, socket| {
        if !asked.is_probe() {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    })
}

/// Sends `packet` from a loopback address of its own; the reply, if one comes soon.
fn ask_from(address: [u8; 4], server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.send_to(packet, server).unwrap();
    let mut reply = vec![0; 1232];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

/// A program of Debian's `prometheus`; `None` if it is not here, which is said.
fn tool(name: &str) -> Option<Command> {
    let mut command = Command::new(name);
    let here =
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success());
    if !here {
        eprintln!("skipped: {name} is not here; `make tools` installs it");
    }
    here.then(|| Command::new(name))
}

#[test]
fn what_was_asked_is_what_was_counted() {
    let standin = resolver();
    let subnet = "[[subnet]]\nname = \"loop\"\ncidr = \"127.0.7.0/24\"\n";
    let denied =
        "[[bucket]]\nnames = [\"hidden\"]\nendpoint = \"s3\"\nallow = [\"private-a\"]\nothers = \"nxdomain\"\n";
    let watched = Watched::start(standin.address, &format!("{}{denied}{subnet}", bucket("xxxxx-bucket")));
    let address = watched.daemon.address;
    let hidden = query("hidden.s3.ap-northeast-1.amazonaws.com");
    (0..3).for_each(|_| assert_eq!(watched.daemon.ask(BUCKET).addresses, [PRIVATE]));
    assert!(!over_tcp(address, &query(BUCKET)).is_empty());
    assert!(ask_from([127, 0, 7, 1], address, &hidden).is_some());
    assert_eq!(watched.daemon.ask("www.example").addresses, [GOOD]);
    (0..2).for_each(|_| assert_eq!(watched.daemon.ask("www.example").addresses, [GOOD]));
    let without_recursion = {
        let mut packet = query("www.example");
        packet[2] = 0;
        packet
    };
    assert!(ask_from([127, 0, 7, 1], address, &without_recursion).is_some());
    let two_questions = {
        let mut packet = query("www.example");
        packet[5] = 2;
        packet
    };
    assert!(ask_from([127, 0, 7, 1], address, &two_questions).is_some());
    let reply = {
        let mut packet = query("www.example");
        packet[2] |= 0x80;
        packet
    };
    assert!(ask_from([127, 0, 7, 1], address, &reply).is_none());

    let queries = |subnet: &str, outcome: &str, transport: &str| {
        watched.value(&format!(
            "phzd_queries_total{{subnet=\"{subnet}\",outcome=\"{outcome}\",transport=\"{transport}\"}}"
        ))
    };
    assert_eq!(queries("private-a", "private", "udp"), 3.0, "{}", watched.metrics());
    assert_eq!(queries("private-a", "private", "tcp"), 1.0);
    assert_eq!(queries("loop", "denied", "udp"), 1.0);
    assert_eq!(queries("private-a", "forwarded", "udp"), 1.0);
    assert_eq!(queries("private-a", "cached", "udp"), 2.0);
    assert_eq!(queries("loop", "refused", "udp"), 1.0);
    assert_eq!(queries("(none)", "malformed", "udp"), 1.0);
    assert_eq!(queries("(none)", "dropped", "udp"), 1.0);
    assert_eq!(watched.value(&format!("phzd_zone_queries_total{{zone=\"{BUCKET}\",outcome=\"private\"}}")), 4.0);
    for (rcode, count) in [("NOERROR", 7.0), ("NXDOMAIN", 1.0), ("REFUSED", 1.0), ("FORMERR", 1.0)] {
        assert_eq!(watched.value(&format!("phzd_replies_total{{rcode=\"{rcode}\"}}")), count, "{rcode}");
    }
    assert_eq!(watched.value("phzd_forwarded_reply_seconds_count"), 1.0);
    assert_eq!(watched.value("phzd_immediate_reply_seconds_count"), 9.0);
    assert_eq!(watched.value("phzd_cache_hits_total"), 2.0);
    assert_eq!(watched.value("phzd_tcp_accepted_connections_total"), 1.0);
    let of_resolver = |name: &str| watched.value(&format!("{name}{{resolver=\"{}\"}}", standin.address));
    // The question, and the name by which a loop would be found.
    assert_eq!((of_resolver("phzd_resolver_answers_total"), of_resolver("phzd_resolver_up")), (1.0, 1.0));
    assert!(of_resolver("phzd_resolver_queries_total") >= 2.0);
    assert_eq!(watched.value(&format!("phzd_receive_drops_total{{listen=\"{address}\"}}")), 0.0);
    assert_eq!(get(watched.http, "/healthz", ""), ("HTTP/1.1 200 OK".into(), "ok\n".into()));
    assert_eq!(get(watched.http, "/readyz", ""), ("HTTP/1.1 200 OK".into(), "ready\n".into()));
    assert_eq!(get(watched.http, "/nothing", "").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn readiness_waits_for_a_resolver_where_nothing_old_may_serve() {
    let standin = resolver();
    let watched = Watched::start(standin.address, "[upstream]\nstale-seconds = 0\n");
    let (status, why) = get(watched.http, "/readyz", "");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(why.starts_with("not ready: no resolver has answered yet"), "{why}");
    assert_eq!(watched.value("phzd_ready"), 0.0);
    watched.daemon.ask("www.example");
    assert_eq!(get(watched.http, "/readyz", "").0, "HTTP/1.1 200 OK");
    assert_eq!(watched.value("phzd_ready"), 1.0);
}

#[test]
fn every_limit_of_the_manual_has_its_key_and_its_metric() {
    let page = fs::read_to_string("man/phzd.toml.5").unwrap().replace("\\-", "-");
    let (_, section) = page.split_once("\n.SH LIMITS\n").unwrap();
    let cells: Vec<_> = section.split("\n.TE").next().unwrap().split("\nT{\n").skip(1).collect();
    let standin = resolver();
    let metrics = Watched::start(standin.address, "").metrics();
    let (mut keys, mut count) = (0, 0);
    for limit in cells.chunks(2) {
        let [what, beyond] = limit else { panic!("half a limit: {limit:?}") };
        let (what, key) = what.split_once("\nT}\t").unwrap();
        let (key, most) = key.split_once('\t').unwrap();
        let known = LIMITS.iter().find(|limit| limit.key == key);
        assert!(known.is_some_and(|limit| limit.default.to_string() == most) || key.is_empty(), "{what}: {key} {most}");
        keys += usize::from(known.is_some());
        let counters: Vec<_> = beyond.split([' ', ',', '{', '\n']).filter(|word| word.starts_with("phzd_")).collect();
        assert!(!counters.is_empty(), "nothing counts it: {what}");
        for name in counters {
            assert!(metrics.contains(&format!("# TYPE {name} counter\n")), "{name} is not at /metrics: {what}");
        }
        count += 1;
    }
    assert!(count >= 18 && keys >= 10, "only {count} limits, {keys} keys");
}

#[test]
fn promtool_has_nothing_to_say() {
    let Some(mut promtool) = tool("promtool") else { return };
    let standin = resolver();
    let watched = Watched::start(standin.address, &(bucket("xxxxx-bucket")));
    watched.daemon.ask(BUCKET);
    watched.daemon.ask("www.example");
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(watched.metrics().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
    let open = get(watched.http, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").1;
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE phzd_queries counter\n"), "{open}");
}

#[test]
fn rules_are_good_and_name_what_is_there() {
    let Some(mut promtool) = tool("promtool") else { return };
    let folder = "config/monitoring";
    let output = promtool.args(["test", "rules", "phzd.rules.test.yml"]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let rules = fs::read_to_string(format!("{folder}/phzd.rules.yml")).unwrap();
    let board = fs::read_to_string(format!("{folder}/phzd.dashboard.json")).unwrap();
    // What the dashboard asks, as rules, so that promtool reads it.
    let board: Value = serde_json::from_str(&board).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(asked.len() > 40, "only {}", asked.len());
    let rule = |(nth, asked): (usize, &String)| {
        let asked = asked.replace("$__rate_interval", "5m");
        format!("  - record: asked:{nth}\n    expr: {}\n", serde_json::to_string(&asked).unwrap())
    };
    let text =
        format!("groups:\n- name: dashboard\n  rules:\n{}", asked.iter().enumerate().map(rule).collect::<String>());
    let as_rules = tempfile::tempdir().unwrap();
    fs::write(as_rules.path().join("rules.yml"), text).unwrap();
    for path in [as_rules.path().join("rules.yml"), PathBuf::from(format!("{folder}/phzd.rules.yml"))] {
        let output = Command::new("promtool").args(["check", "rules"]).arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    let standin = resolver();
    let checked = "[[endpoint]]\nname = \"checked\"\naddresses = [\"127.0.0.1\"]\nhealth-check = \"tcp:9\"\n\
                   [[bucket]]\nnames = [\"yyyyy-bucket\"]\nendpoint = \"checked\"\n";
    let watched = Watched::start(standin.address, &(bucket("xxxxx-bucket") + checked));
    watched.daemon.ask("www.example");
    watched.daemon.ask(BUCKET);
    let there = watched.metrics();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let text = rules + &asked.join("\n");
    let words =
        text.split(|letter| !is_word(letter)).filter(|word| word.starts_with("phzd_") || word.starts_with("process_"));
    let missing: BTreeSet<&str> = words
        .filter(|word| !there.contains(&format!("\n{word}{{")) && !there.contains(&format!("\n{word} ")))
        .collect();
    assert_eq!(missing, BTreeSet::new(), "{there}");
}

/// A Prometheus that runs until it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn scraping(target: SocketAddr) -> Option<Self> {
        let mut command = tool("prometheus")?;
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let rules = fs::canonicalize("config/monitoring/phzd.rules.yml").unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n- job_name: phzd\n  \
             static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self { child: command.spawn().unwrap(), address, _folder: folder })
    }

    /// What its API says at `path`; nothing while it starts.
    fn ask(&self, path: &str) -> Value {
        let stream = TcpStream::connect(self.address);
        if stream.is_err() {
            return Value::Null;
        }
        // It may send its reply in pieces, which a version of HTTP without them avoids.
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default()
    }

    /// Waits until a query has this value.
    fn await_value(&self, query: &str, value: &str) {
        let began = Instant::now();
        loop {
            let said = self.ask(&format!("query?query={query}"));
            if said["data"]["result"][0]["value"][1] == value {
                return;
            }
            assert!(began.elapsed() < 3 * SOON, "{query} is not {value}: {said}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn a_real_prometheus_scrapes_them() {
    let silent = Standin::udp(|_, _| {});
    let watched = Watched::start(silent.address, &bucket("xxxxx-bucket"));
    let Some(prometheus) = Prometheus::scraping(watched.http) else { return };
    (0..7).for_each(|_| assert_eq!(watched.daemon.ask(BUCKET).addresses, [PRIVATE]));
    prometheus.await_value("up", "1");
    prometheus.await_value("sum(phzd_queries_total{outcome=%22private%22})", "7");
    prometheus.await_value("phzd_resolver_up", "1");
    // Nobody answers what is forwarded: that alert begins, and no other.
    let names: Vec<String> = (0..5).map(|number| format!("{number}.example")).collect();
    let asked = Instant::now();
    names.iter().for_each(|name| _ = ask_from([127, 0, 0, 1], watched.daemon.address, &query(name)));
    prometheus.await_value("phzd_resolver_up", "0");
    let began = Instant::now();
    let alerts = loop {
        let alerts = prometheus.ask("alerts")["data"]["alerts"].clone();
        if alerts.as_array().is_some_and(|alerts| !alerts.is_empty()) {
            break alerts;
        }
        assert!(began.elapsed() < 2 * SOON, "no alert {:?} after the first question", asked.elapsed());
        thread::sleep(Duration::from_millis(200));
    };
    let names: BTreeSet<&str> =
        alerts.as_array().unwrap().iter().filter_map(|alert| alert["labels"]["alertname"].as_str()).collect();
    assert!(names.contains("PhzdAllResolversDown") && !names.contains("PhzdDown"), "{names:?}");
}

/// Whoever comes to the listener like this must do no harm to names.
fn pesterers(http: SocketAddr) -> Vec<thread::JoinHandle<()>> {
    let end = Instant::now() + Duration::from_secs(2);
    let each = |pester: fn(SocketAddr, Instant)| thread::spawn(move || pester(http, end));
    vec![
        // A byte at a time.
        each(|http, end| {
            let mut stream = TcpStream::connect(http).unwrap();
            for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ".iter().cycle() {
                if Instant::now() > end || stream.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }),
        // A head without end.
        each(|http, end| {
            while Instant::now() < end {
                let mut stream = TcpStream::connect(http).unwrap();
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
                while Instant::now() < end && stream.write_all(&[b'x'; 4096]).is_ok() {}
            }
        }),
        // A body without end.
        each(|http, end| {
            while Instant::now() < end {
                let mut stream = TcpStream::connect(http).unwrap();
                let _ = stream.write_all(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n");
                while Instant::now() < end && stream.write_all(&[0; 4096]).is_ok() {}
            }
        }),
        // No HTTP at all.
        each(|http, end| {
            while Instant::now() < end {
                let mut stream = TcpStream::connect(http).unwrap();
                let _ = stream.write_all(&[0xff; 1000]);
                let _ = stream.read(&mut [0; 100]);
            }
        }),
        // Very many that say nothing.
        each(|http, end| {
            let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(http)).collect();
            thread::sleep(end.saturating_duration_since(Instant::now()));
            drop(idle);
        }),
    ]
}

#[test]
fn whoever_comes_to_the_listener_does_no_harm_to_names() {
    let standin = resolver();
    let watched = Watched::start(standin.address, &bucket("xxxxx-bucket"));
    let before = watched.value("process_resident_memory_bytes");
    let pesterers = pesterers(watched.http);
    let mut times = Vec::new();
    while pesterers.iter().any(|pesterer| !pesterer.is_finished()) {
        let began = Instant::now();
        assert_eq!(watched.daemon.ask(BUCKET).addresses, [PRIVATE]);
        times.push(began.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    pesterers.into_iter().for_each(|pesterer| pesterer.join().unwrap());
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    assert!(times.len() > 100 && p99 < Duration::from_millis(100), "{p99:?} of {}", times.len());
    // Those that are idle go when their time is over, or their client's.
    let began = Instant::now();
    while TcpStream::connect(watched.http).is_err() || !get_or_nothing(watched.http).contains("phzd_ready 1") {
        assert!(began.elapsed() < 2 * SOON, "the listener answers no more");
        thread::sleep(Duration::from_millis(100));
    }
    let after = watched.value("process_resident_memory_bytes");
    assert!(after < before + 16e6, "{before} {after}");
}

/// The metrics, or nothing where the connection is closed at once.
fn get_or_nothing(server: SocketAddr) -> String {
    let Ok(mut stream) = TcpStream::connect(server) else { return String::new() };
    let mut text = String::new();
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: phzd\r\nConnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut text);
    text
}
