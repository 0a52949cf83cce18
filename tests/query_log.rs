//! The query log of the real daemon: what stands in it, what is left out, and what becomes of queries when nobody writes it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, PRIVATE, bucket, config};
use crate::resolvers::{GOOD, SOON, Standin};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";

/// A resolver that answers whatever it is asked.
fn resolver() -> Standin {
    Standin::udp(|asked, socket| {
        if !asked.is_probe() {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    })
}

/// The lines in the file at `path` once there are so many.
fn lines(path: &Path, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.ends_with('\n') || text.is_empty();
        let lines: Vec<_> = text.lines().collect();
        if lines.len() >= count && whole {
            return lines.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(began.elapsed() < SOON, "{} of {count} lines:\n{text}", lines.len());
        thread::sleep(Duration::from_millis(10));
    }
}

/// What each line says of this.
fn column<'l>(lines: &'l [Value], key: &str) -> Vec<&'l str> {
    lines.iter().map(|line| line[key].as_str().unwrap_or("-")).collect()
}

#[test]
fn each_query_is_a_line_with_what_became_of_it() {
    let standin = resolver();
    let text = config(standin.address, &(bucket("xxxxx-bucket") + "[query-log]\nto = \"./queries.jsonl\"\n"));
    let daemon = Daemon::start(&text);
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    assert_eq!(daemon.ask("www.example").addresses, [GOOD]);
    assert_eq!(daemon.ask("www.example").addresses, [GOOD]);
    // A query that waits is written when its reply leaves, which may be after that of a later one.
    let lines = lines(&daemon.folder.path().join("queries.jsonl"), 3);
    assert_eq!(column(&lines, "outcome"), ["private", "forwarded", "cached"], "{lines:?}");
    assert_eq!(column(&lines, "name"), [BUCKET, "www.example", "www.example"]);
    assert_eq!(column(&lines, "zone"), [BUCKET, "-", "-"]);
    assert_eq!(column(&lines, "subnet"), ["private-a"; 3]);
    assert_eq!(column(&lines, "client"), ["127.0.0.1"; 3]);
    assert_eq!(column(&lines, "rcode"), ["NOERROR"; 3]);
    assert!(lines[1]["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{lines:?}");
    assert!(lines[0].get("seconds").is_none());
}

#[test]
fn a_stop_waits_for_the_last_line() {
    let standin = resolver();
    let daemon =
        Daemon::start(&config(standin.address, &(bucket("xxxxx-bucket") + "[query-log]\nto = \"./queries.jsonl\"\n")));
    (0..50).for_each(|_| assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]));
    let folder = daemon.folder.path().to_owned();
    let kept = tempfile::tempdir().unwrap();
    let copy = kept.path().join("queries.jsonl");
    // Its folder goes with the daemon.
    fs::hard_link(folder.join("queries.jsonl"), &copy).unwrap_or_else(|_| {
        lines(&folder.join("queries.jsonl"), 1);
        fs::hard_link(folder.join("queries.jsonl"), &copy).unwrap();
    });
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().status.success());
    assert_eq!(fs::read_to_string(copy).unwrap().lines().count(), 50);
}

#[test]
fn a_reload_changes_what_is_noted_and_where() {
    let standin = resolver();
    let with = |log: &str| config(standin.address, &format!("{}[query-log]\n{log}\n", bucket("xxxxx-bucket")));
    let daemon = Daemon::start(&with("to = \"./one.jsonl\"\noutcomes = [\"forwarded\"]"));
    let (one, two) = (daemon.folder.path().join("one.jsonl"), daemon.folder.path().join("two.jsonl"));
    daemon.ask(BUCKET);
    daemon.ask("a.example");
    assert_eq!(column(&lines(&one, 1), "name"), ["a.example"]);
    // The same thread goes on with another filter, ...
    daemon.reload(&with(&format!("to = \"./one.jsonl\"\nzones = [\"{BUCKET}\"]")));
    daemon.await_logs("reloaded", 1);
    daemon.ask("b.example");
    daemon.ask(BUCKET);
    assert_eq!(column(&lines(&one, 2), "name"), ["a.example", BUCKET]);
    // ... another place has another thread, ...
    daemon.reload(&with("to = \"./two.jsonl\"\nsubnets = [\"private-a\"]"));
    daemon.await_logs("reloaded", 2);
    daemon.ask("c.example");
    assert_eq!(column(&lines(&two, 1), "name"), ["c.example"]);
    // ... and with none there is none.
    daemon.reload(&with("to = \"off\""));
    daemon.await_logs("reloaded", 3);
    daemon.ask("d.example");
    let began = Instant::now();
    while daemon.threads().iter().any(|name| name.starts_with("query-log")) {
        assert!(began.elapsed() < SOON, "{:?}", daemon.threads());
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((lines(&one, 0).len(), lines(&two, 0).len()), (2, 1));
}

#[test]
fn a_log_that_nobody_takes_costs_no_answer() {
    let standin = resolver();
    let daemon = Daemon::start(&config(standin.address, &(bucket("xxxxx-bucket") + "[query-log]\nto = \"./pipe\"\n")));
    // Whoever opens it waits for a reader, who never comes.
    let pipe = daemon.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let began = Instant::now();
    for _ in 0..20_000 {
        assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    }
    assert!(began.elapsed() < 4 * SOON, "{:?}", began.elapsed());
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.wait();
    assert!(ended.status.success(), "{}", ended.log);
    let dropped =
        ended.log.lines().find_map(|line| line.split_once("log_dropped=")).unwrap_or_else(|| panic!("{}", ended.log)).1;
    // 16,384 waited, and some hundreds were being written.
    assert!(dropped.trim().parse::<u32>().unwrap() > 3000, "{dropped}");
}
