//! The real daemon ended and started again: what was cached is answered, though no resolver answers any more.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use nix::sys::signal::Signal;
use phzd::config::{File, Machine};
use phzd::resolver::Resolver;
use phzd::responder::Outcome;
use phzd::wire::Transport;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{Daemon, config, configured};
use crate::resolvers::{GOOD, Reply, Standin, query};

/// The extended error Stale Answer (RFC 8914 section 4.4).
const STALE_ANSWER: u16 = 3;
/// An answer waits 0.4 s for a better one before it is served stale; the rest is for a machine with much to do.
const STALE_SOON: Duration = Duration::from_millis(700);
/// TTL of names that begin with `short`, in seconds.
const SHORT: u32 = 1;

/// A resolver that falls silent when the flag is set. It goes on listening, so that nobody else gets its port.
fn mortal() -> (Standin, Arc<AtomicBool>) {
    let dead = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dead);
    let standin = Standin::udp(move |asked, socket| {
        let mut reply = asked.answer(GOOD);
        if asked.name().to_ascii_lowercase().starts_with("short") {
            let ttl = reply.len() - 10;
            reply[ttl..ttl + 4].copy_from_slice(&SHORT.to_be_bytes());
        }
        if !flag.load(Ordering::Relaxed) {
            socket.send_to(&reply, asked.from).unwrap();
        }
    });
    (standin, dead)
}

fn start(resolver: SocketAddr, state: Option<&Path>) -> Daemon {
    let folder = configured(&config(resolver, "[upstream]\ntimeout-ms = 2000\n"));
    let mut command = phzd();
    command.arg("run").arg("--config").arg(folder.path().join("phzd.toml")).env_remove("STATE_DIRECTORY");
    if let Some(state) = state {
        command.arg("--state-dir").arg(state);
    }
    Daemon::spawn(command, folder)
}

fn stop(daemon: Daemon) -> String {
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.wait();
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.log);
    ended.log
}

/// A state folder that a daemon has left which was asked for these names.
fn left_behind(resolver: SocketAddr, names: &[&str]) -> TempDir {
    let state = tempfile::tempdir().unwrap();
    let daemon = start(resolver, Some(state.path()));
    for name in names {
        assert_eq!(daemon.ask(name).addresses, [GOOD]);
    }
    let log = stop(daemon);
    assert!(log.contains(&format!("the cache is written answers={} ", names.len())), "{log}");
    state
}

#[test]
fn a_restart_during_an_outage_still_answers() {
    let (standin, dead) = mortal();
    let state = left_behind(standin.address, &["long.example", "short.example"]);
    let file = state.path().join("cache");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    dead.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_secs(SHORT.into()));

    let daemon = start(standin.address, Some(state.path()));
    daemon.await_log("the cache is back: 2 answers");
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    let reply = daemon.ask("long.example");
    assert_eq!((&*reply.addresses, &*reply.errors), (&[GOOD][..], &[][..]), "its time is not over");
    // The first who ask find out that nobody answers.
    let took = [(); 3].map(|()| {
        let began = Instant::now();
        let reply = daemon.ask("short.example");
        assert_eq!((&*reply.addresses, &*reply.errors), (&[GOOD][..], &[STALE_ANSWER][..]));
        began.elapsed()
    });
    assert!(took.iter().all(|took| *took < STALE_SOON), "{took:?}");

    // And over another one.
    let log = stop(daemon);
    assert!(log.contains("the cache is written answers=2 "), "{log}");
    let daemon = start(standin.address, Some(state.path()));
    assert_eq!(daemon.ask("short.example").addresses, [GOOD]);
}

#[test]
fn an_end_without_warning_leaves_what_was_written_before() {
    let (standin, dead) = mortal();
    let state = left_behind(standin.address, &["long.example"]);
    let before = fs::read(state.path().join("cache")).unwrap();
    let daemon = start(standin.address, Some(state.path()));
    daemon.signal(Signal::SIGKILL);
    assert!(!daemon.wait().status.success());
    assert_eq!(fs::read(state.path().join("cache")).unwrap(), before);
    dead.store(true, Ordering::Relaxed);
    assert_eq!(start(standin.address, Some(state.path())).ask("long.example").addresses, [GOOD]);
}

#[test]
fn damage_costs_the_answer_it_is_in() {
    let (standin, dead) = mortal();
    let names = ["a.example", "b.example", "c.example"];
    let state = left_behind(standin.address, &names);
    let file = state.path().join("cache");
    let mut octets = fs::read(&file).unwrap();
    let at = octets.windows(3).position(|here| here == b"\x01b\x07").unwrap();
    octets[at + 1] = b'x';
    fs::write(&file, &octets).unwrap();
    dead.store(true, Ordering::Relaxed);

    let daemon = start(standin.address, Some(state.path()));
    daemon.await_log("the cache is back: 2 answers");
    daemon.await_log("damaged: what stood there is left out places=1 ");
    assert_eq!(daemon.log().matches("WARN").count(), 1, "{}", daemon.log());
    assert_eq!(["a.example", "c.example"].map(|name| daemon.ask(name).addresses), [[GOOD], [GOOD]]);
    assert_eq!(daemon.ask("b.example").code, ResponseCode::ServFail);
}

#[test]
fn a_file_that_is_no_cache_is_said_once_and_replaced() {
    let (standin, _) = mortal();
    for (octets, said) in [
        (&b"\0\0\0\0"[..], "not a file of phzd, or damaged"),
        (b"phzd cache, format 2\n", "another version of phzd wrote it"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("cache");
        fs::write(&file, octets).unwrap();
        let daemon = start(standin.address, Some(state.path()));
        daemon.await_log(said);
        assert_eq!(daemon.log().matches("WARN").count(), 1, "{}", daemon.log());
        assert_eq!(daemon.ask("a.example").addresses, [GOOD]);
        stop(daemon);
        let daemon = start(standin.address, Some(state.path()));
        daemon.await_log("the cache is back: 1 answers");
        assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    }
}

#[test]
fn what_other_resolvers_said_is_not_answered() {
    let (standin, _) = mortal();
    let state = left_behind(standin.address, &["a.example", "b.example"]);
    let other = Standin::good();
    let daemon = start(other.address, Some(state.path()));
    daemon.await_log("the cache is back: 0 answers");
    daemon.await_log("left out: the configuration no longer has the resolvers that said so answers=2 ");
    assert_eq!(daemon.ask("a.example").addresses, [GOOD]);
    assert!(!other.asked().is_empty());
}

#[test]
fn without_a_state_folder_nothing_is_kept() {
    let (standin, dead) = mortal();
    let state = left_behind(standin.address, &["long.example"]);
    let asked = standin.asked().len();
    let daemon = start(standin.address, None);
    assert_eq!(daemon.ask("long.example").addresses, [GOOD]);
    let log = stop(daemon);
    assert!(!log.contains("the cache"), "{log}");
    assert!(standin.asked().len() > asked, "the file is not looked at");
    dead.store(true, Ordering::Relaxed);
    assert_eq!(start(standin.address, Some(state.path())).ask("long.example").addresses, [GOOD]);
}

#[test]
fn whoever_embeds_it_saves_when_they_want() {
    let (standin, dead) = mortal();
    let machine = Machine { cores: 1, addresses: Vec::new() };
    let (config, _) = File::parse("test", &config(standin.address, "")).check(&machine).unwrap();
    let state = tempfile::tempdir().unwrap();
    let client: SocketAddr = "172.31.1.5:4000".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = || Resolver::start_in(&config, Some(state.path().into())).unwrap();
    let mut resolver = start();
    let reply = runtime.block_on(resolver.resolve(&query("a.example"), client, Transport::Udp)).unwrap();
    assert_eq!(Reply::new(&reply, Duration::ZERO).addresses, [GOOD]);
    resolver.save();
    drop(resolver);
    dead.store(true, Ordering::Relaxed);
    let mut out = [0; 1232];
    let outcome = start().respond(&query("a.example"), client, Transport::Udp, Instant::now(), &mut out);
    let Outcome::Reply(length) = outcome else { panic!("{outcome:?}") };
    assert_eq!(Reply::new(&out[..length], Duration::ZERO).addresses, [GOOD]);
}
