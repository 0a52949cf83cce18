//! Conversations: what clients ask, what resolvers are asked and say, what clients get.
//!
//! Each `tests/scenarios/NAME.toml` is one, played without network and without sleeping through the real responder, the
//! real cache and the real forwarder, and as far as time permits through the real program on real sockets;
//! `tests/scenarios/README.md` says how to write one.
//! `SCENARIO=NAME cargo test --test tests scenarios` plays those whose name contains NAME.

mod core;
mod echo;
mod endpoints;
mod explained;
mod file;
mod hickory;
mod network;
mod notation;
mod player;
mod rehearsal;
mod replay;
mod sockets;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};

/// Every scenario there is, in name order.
fn all() -> Vec<PathBuf> {
    let folder = fs::read_dir("tests/scenarios").expect("the folder of the scenarios is there");
    let paths = folder.map(|entry| entry.expect("it can be read").path());
    let mut all: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    all.sort();
    all
}

/// Whether it is to be played: all are, unless `SCENARIO` says which.
fn wanted(path: &Path) -> bool {
    std::env::var("SCENARIO").map_or(true, |name| path.to_string_lossy().contains(&name))
}

#[test]
fn every_conversation_goes_as_written() {
    let mut failures = Vec::new();
    let mut played = 0;
    for path in all().iter().filter(|path| wanted(path)) {
        let text = fs::read_to_string(path).expect("a scenario can be read");
        played += 1;
        if let Err(failure) = player::play(&text) {
            failures.push(format!("{}, {failure}", path.display()));
        }
    }
    assert!(played > 0, "no scenario's name contains what SCENARIO says");
    assert!(failures.is_empty(), "{} of {played} went otherwise:\n\n{}\n", failures.len(), failures.join("\n\n"));
}

#[test]
fn every_scenario_says_what_it_shows() {
    for path in all() {
        let text = fs::read_to_string(&path).expect("a scenario can be read");
        assert!(text.starts_with("# "), "{}: the first line is a comment that says what it shows", path.display());
    }
}

/// A scenario, ...
const GOOD: &str = include_str!("scenarios/allowed-client-gets-the-endpoint.toml");
/// ... what makes it wrong in one place, and what is said of that.
const WRONG: [(&str, &str, &str); 7] = [
    ("172.31.1.152\n\"\"\"", "172.31.1.153\n\"\"\"", "expected:"),
    ("NOERROR qr rd ra", "NOERROR qr aa rd ra", "expected:"),
    (" 60 IN A", " 61 IN A", "expected:"),
    ("from = \"172.31.1.5\"", "from = \"172.31.0.5\"", "no reply"),
    ("from = \"172.31.1.5\"", "from = \"172.31.1.5\"\nresolver = \"172.31.0.2\"", "was asked nothing"),
    ("addresses =", "adresses =", "has no key"),
    ("ask =", "asks =", "unknown field"),
];

#[test]
fn the_player_notices_what_goes_otherwise() {
    assert_eq!(player::play(GOOD), Ok(()));
    for (from, to, said) in WRONG {
        assert!(GOOD.contains(from), "{from}");
        let failure = player::play(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(failure.contains(said), "{to}: {failure}");
    }
}
