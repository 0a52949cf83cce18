//! `phzd ctl` and the control socket: what it says and does, who may use it, and what it says when there is nobody.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{phzd, unprivileged};
use crate::daemon::{Daemon, PRIVATE, bucket, config, configured};
use crate::resolvers::{GOOD, Standin};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";

/// A daemon with a control socket, and a resolver that answers whatever it is asked.
struct Controlled {
    daemon: Daemon,
    standin: Standin,
    socket: PathBuf,
}

/// A configuration with a control socket in the folder of the file.
fn text(standin: &Standin, rest: &str) -> String {
    config(standin.address, &format!("{}{rest}", bucket("xxxxx-bucket")))
        .replace("control = \"\"", "control = \"./control.sock\"")
}

impl Controlled {
    fn start() -> Self {
        let standin = Standin::good();
        let daemon = Daemon::start(&text(&standin, ""));
        let socket = daemon.folder.path().join("control.sock");
        Self { daemon, standin, socket }
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        phzd().arg("ctl").args(arguments).arg("--socket").arg(&self.socket).output().unwrap()
    }

    /// What it prints.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        // A reload says its warnings.
        let said = !output.stderr.is_empty() && arguments != ["reload"];
        assert!(output.status.success() && !said, "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(&[arguments, &["--json"]].concat())).unwrap()
    }
}

/// What a command that failed says; it prints nothing.
fn failed(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn it_says_how_the_daemon_is() {
    let it = Controlled::start();
    assert_eq!(it.daemon.ask(BUCKET).addresses, [PRIVATE]);
    assert_eq!(it.daemon.ask("www.example").addresses, [GOOD]);
    let status = it.told(&["status"]);
    for words in [
        "ready      yes".to_owned(),
        format!("listen     {}", it.daemon.address),
        "queries    2: 1 private, 0 cached, 1 forwarded, 0 refused".into(),
        " answers, ".into(),
        format!("resolver   {} well, usually ", it.standin.address),
        "endpoint   s3: 1 of 1 addresses good, served".into(),
    ] {
        assert!(status.contains(&words), "no {words:?} in\n{status}");
    }
    let status = it.json(&["status"]);
    assert_eq!((&status["version"], &status["not-ready"]), (&env!("CARGO_PKG_VERSION").into(), &Value::Null));
    let endpoints = it.told(&["endpoints"]);
    assert_eq!(endpoints, format!("s3: its addresses are served\n  {PRIVATE} not checked; served\n"));
    assert_eq!(it.json(&["endpoints"])[0]["addresses"][0]["ip"], PRIVATE.to_string());
    let stats = it.told(&["stats"]);
    for words in
        ["2 queries\n", "1 private\n", "1 forwarded\n", "2 private-a\n", "2 NOERROR\n", BUCKET, " answers, 0 failures"]
    {
        assert!(stats.contains(words), "no {words:?} in\n{stats}");
    }
    assert_eq!(it.json(&["stats"])["totals"]["queries"], 2);
    // By the configuration it finds the socket as well.
    let by_config =
        phzd().args(["ctl", "status", "--config"]).arg(it.daemon.folder.path().join("phzd.toml")).output().unwrap();
    assert!(by_config.status.success(), "{by_config:?}");
}

#[test]
fn what_is_cached_is_shown_and_forgotten() {
    let it = Controlled::start();
    for name in ["www.example", "a.www.example", "awww.example"] {
        assert_eq!(it.daemon.ask(name).addresses, [GOOD]);
    }
    let shown = it.told(&["cache", "www.example"]);
    assert!(
        shown.starts_with("www.example A: NOERROR, 0 s old, ") && shown.contains(&format!("IN A {GOOD}\n")),
        "{shown}"
    );
    assert_eq!(it.json(&["cache", "WWW.example."])[0]["rcode"], "NOERROR");
    assert_eq!(it.told(&["cache", "nobody.example"]), "nothing is cached of nobody.example\n");
    assert_eq!(it.told(&["flush", "www.example"]), "1 answer forgotten\n");
    assert_eq!(it.told(&["cache", "www.example"]), "nothing is cached of www.example\n");
    it.daemon.ask("www.example");
    assert_eq!(it.standin.asked().len(), 4, "it is asked for again");
    assert_eq!(it.told(&["flush", "www.example", "--below"]), "2 answers forgotten\n");
    assert_eq!(it.json(&["flush", "."])["flushed"], 0);
    // The third name, and the one by which a loop would be found.
    assert!(it.json(&["flush", ".", "--below"])["flushed"].as_u64().unwrap() >= 1);
    let error = failed(&it.ctl(&["flush", "a..b"]));
    assert!(error.starts_with("phzd: \"a..b\" is no domain name: ") && error.lines().count() == 1, "{error}");
}

#[test]
fn a_reload_waits_and_says_every_mistake() {
    let it = Controlled::start();
    let path = it.daemon.folder.path().join("phzd.toml");
    fs::write(
        &path,
        text(&it.standin, "[[bucket]]\nnames = [\"yyyyy-bucket\"]\nendpoint = \"s3\"\nallow = [\"private-a\"]\n"),
    )
    .unwrap();
    let other = "yyyyy-bucket.s3.ap-northeast-1.amazonaws.com";
    assert_ne!(it.daemon.ask(other).addresses, [PRIVATE]);
    assert_eq!(it.told(&["reload"]), "reloaded\n");
    assert_eq!(it.daemon.ask(other).addresses, [PRIVATE], "when it says so, the new policy serves");
    fs::write(&path, text(&it.standin, "others = \"maybe\"\nbelow = \"sometimes\"\n")).unwrap();
    let error = failed(&it.ctl(&["reload"]));
    for words in [":21:10: error: others cannot be \"maybe\"", ":22:9: error: below cannot be \"sometimes\""] {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
    assert!(error.ends_with("phzd: not reloaded, the old configuration goes on serving\n"), "{error}");
    assert_eq!(it.daemon.ask(other).addresses, [PRIVATE]);
    let status = it.told(&["status"]);
    assert!(
        status.contains("the last reload failed, the configuration before it serves:") && status.contains("\"maybe\""),
        "{status}"
    );
    let json = it.ctl(&["reload", "--json"]);
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &value["reloaded"]), (Some(1), &Value::Bool(false)));
}

#[test]
fn without_a_daemon_it_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let ctl = |arguments: &[&str]| phzd().arg("ctl").args(arguments).arg("--socket").arg(&socket).output().unwrap();
    for command in
        [&["status"][..], &["reload"], &["flush", "a"], &["cache", "a"], &["endpoints"], &["stats", "--json"]]
    {
        let error = failed(&ctl(command));
        assert_eq!(
            error,
            format!("phzd: phzd does not run here: there is no control socket at {}\n", socket.display())
        );
    }
    drop(UnixListener::bind(&socket).unwrap());
    let error = failed(&ctl(&["status"]));
    assert_eq!(
        error,
        format!("phzd: phzd does not run here: nobody listens on the control socket {}\n", socket.display())
    );
    for wrong in [&["status", "more"][..], &["restart"], &["flush"], &[]] {
        assert_eq!(ctl(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn it_is_for_root_and_for_its_own_user() {
    let it = Controlled::start();
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&it.socket), 0o600);
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can be another user as well");
        return;
    }
    fs::set_permissions(it.daemon.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let other = unprivileged();
    let as_nobody = || other.command().args(["ctl", "status", "--socket"]).arg(&it.socket).output().unwrap();
    let error = failed(&as_nobody());
    let words = format!(
        "phzd: this user may not use the control socket {}: be root, or phzd's own user\n",
        it.socket.display()
    );
    assert_eq!(error, words);
    // Whoever it lets in by a mistake is asked who they are.
    fs::set_permissions(&it.socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(failed(&as_nobody()), "phzd: the control socket is for root and for phzd's own user\n");
    assert!(it.ctl(&["status"]).status.success());
}

#[test]
fn a_reload_that_hangs_keeps_nobody_from_looking() {
    let it = Controlled::start();
    // Whoever opens it waits for a writer, who comes at the end of the test.
    let pipe = it.daemon.folder.path().join("names.txt");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let waits = text(&it.standin, "")
        .replace("names = [\"xxxxx-bucket\"]", "names = [\"xxxxx-bucket\"]\nnames-file = \"names.txt\"");
    it.daemon.reload(&waits);
    std::thread::sleep(Duration::from_millis(300));
    assert!(it.told(&["status"]).contains("ready      yes"));
    assert_eq!(it.daemon.ask(BUCKET).addresses, [PRIVATE]);
    fs::write(&pipe, "yyyyy-bucket\n").unwrap();
    it.daemon.await_log("reloaded");
    assert_eq!(it.daemon.ask("yyyyy-bucket.s3.ap-northeast-1.amazonaws.com").addresses, [PRIVATE]);
}

/// A daemon's log that cannot have what it is configured to have, and what it says about it.
fn assert_serves_without(folder: TempDir, words: &str) {
    let mut command = phzd();
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
    let daemon = Daemon::spawn(command, folder);
    assert_eq!(daemon.ask(BUCKET).addresses, [PRIVATE]);
    let log = daemon.log();
    assert_eq!(log.matches(words).count(), 1, "no {words:?} in\n{log}");
}

#[test]
fn what_cannot_be_had_is_said_and_names_resolve() {
    let standin = Standin::good();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let with_http = text(&standin, "").replace("http = \"\"", &format!("http = \"{}\"", taken.local_addr().unwrap()));
    assert_serves_without(configured(&with_http), "no metrics, cannot listen on");
    let nowhere = text(&standin, "").replace("./control.sock", "/proc/no/such/control.sock");
    assert_serves_without(configured(&nowhere), "no control socket at /proc/no/such/control.sock: ");
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("precious");
    fs::write(&file, "precious").unwrap();
    let wrong = text(&standin, "").replace("./control.sock", &file.display().to_string());
    assert_serves_without(configured(&wrong), "there is a file, which is no socket; see server.control");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let it = Controlled::start();
    let again = text(&standin, "").replace("./control.sock", &it.socket.display().to_string());
    assert_serves_without(configured(&again), "another phzd has it; see server.control");
    assert!(it.ctl(&["status"]).status.success(), "the first keeps it");
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_one_is_taken_along() {
    let it = Controlled::start();
    it.daemon.signal(Signal::SIGKILL);
    let Controlled { daemon, standin, socket } = it;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("phzd.toml"), text(&standin, "")).unwrap();
    // The same path, as a service has it.
    let left = folder.path().join("control.sock");
    drop(UnixListener::bind(&left).unwrap());
    drop((daemon, socket));
    let mut command = phzd();
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml"));
    let daemon = Daemon::spawn(command, folder);
    assert!(UnixStream::connect(&left).is_ok(), "{}", daemon.log());
    daemon.signal(Signal::SIGTERM);
    let folder = daemon.folder.path().to_owned();
    let ended = daemon.wait();
    assert!(ended.status.success(), "{}", ended.log);
    assert!(!folder.join("control.sock").exists(), "a stop takes it away");
}
