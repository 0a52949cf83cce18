//! The rules of the house, read off the sources: which room may use which, what no room does, how a file is made.
//!
//! [`ROOMS`] is the plan; a room may use what stands there and nothing else. Sources are read as the compiler would
//! read them, only less: comments, texts and tests are left out, `use` trees and paths in the code are followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use Power::{Clock, Files, Locks, Print, Process, Sockets, Threads};

/// A room: what it may use.
struct Room {
    /// Its folder or file below `src`, without `.rs`. The longest that fits a file is the file's room.
    at: &'static str,
    /// Paths below `crate::` that it may use beside its own; `*` is all.
    rooms: &'static [&'static str],
    /// Crates beside `std`.
    crates: &'static [&'static str],
    /// What of the world it may touch.
    powers: &'static [Power],
    /// The rule in words, for who breaks it.
    rule: &'static str,
}

/// A part of the world outside that a room may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// Read the time. Others are told it.
    Clock,
    /// Open or use sockets.
    Sockets,
    /// Start threads or sleep.
    Threads,
    /// Take a lock that another thread may hold.
    Locks,
    /// Read files.
    Files,
    /// Look at the process: arguments, environment, exit.
    Process,
    /// Write to standard output or error.
    Print,
}

impl Power {
    const ALL: [Self; 7] = [Clock, Sockets, Threads, Locks, Files, Process, Print];

    /// Paths that need it.
    fn paths(self) -> &'static [&'static str] {
        match self {
            Threads => &["std::thread"],
            Files => &["std::fs", "std::os::unix::fs"],
            Process => &["std::process", "std::env"],
            Clock | Sockets | Locks | Print => &[],
        }
    }

    /// Words of the code that need it.
    fn words(self) -> &'static [&'static str] {
        match self {
            Clock => &["Instant::now", "SystemTime", ".elapsed"],
            Sockets => &["UdpSocket", "TcpStream", "TcpListener", "UnixStream", "UnixListener", "UnixDatagram"],
            Locks => &["Mutex", "RwLock", "Condvar"],
            Print => &["println!", "eprintln!", "print!", "eprint!", "stdout", "stderr"],
            Threads | Files | Process => &[],
        }
    }
}

/// The plan of the house.
const ROOMS: &[Room] = &[
    Room {
        at: "wire",
        rooms: &[],
        crates: &["hickory_proto"],
        powers: &[],
        rule: "wire knows bytes alone: no other room, no task, no clock",
    },
    Room {
        at: "config",
        // The names that S3 allows are zone::bucket's knowledge, those of other services zone::service's, and regions
        // zone::partition's.
        rooms: &["metrics::Fate", "wire", "zone::bucket", "zone::partition", "zone::service"],
        crates: &["foldhash", "ipnet", "toml"],
        powers: &[],
        rule: "config judges texts: files are read in load.rs, the machine is looked at in machine.rs",
    },
    Room {
        at: "config/load",
        rooms: &["config"],
        crates: &[],
        powers: &[Files],
        rule: "config/load reads files and judges nothing",
    },
    Room {
        at: "config/presentation",
        rooms: &["wire"],
        crates: &["domain"],
        powers: &[],
        rule: "config/presentation reads record data and knows no file",
    },
    Room {
        at: "config/machine",
        rooms: &["config"],
        crates: &["nix"],
        powers: &[Threads], // to count the cores
        rule: "config/machine looks at the machine, for its interfaces and cores",
    },
    Room {
        at: "client",
        rooms: &["wire", "config", "zone", "endpoint"],
        crates: &["ipnet"],
        powers: &[],
        rule: "the tables are pure: no upstream, no task, no clock",
    },
    Room {
        at: "zone",
        rooms: &["wire", "config", "client", "endpoint"],
        crates: &["foldhash", "hashbrown"],
        powers: &[],
        rule: "the tables are pure: no upstream, no task, no clock",
    },
    Room {
        at: "zone/partition",
        rooms: &[],
        crates: &[],
        powers: &[],
        rule: "zone/partition knows names alone, so that config can use it",
    },
    Room {
        at: "zone/bucket",
        rooms: &["wire", "zone::partition"],
        crates: &[],
        powers: &[],
        rule: "zone/bucket knows names alone, so that config can use it",
    },
    Room {
        at: "zone/service",
        rooms: &["wire", "zone::partition"],
        crates: &[],
        powers: &[],
        rule: "zone/service knows names alone, so that config can use it",
    },
    Room {
        at: "endpoint",
        rooms: &["wire", "config", "client", "zone"],
        crates: &["arc_swap"],
        powers: &[],
        rule: "the tables are pure: no upstream, no task, no clock",
    },
    Room {
        at: "endpoint/watch",
        rooms: &["wire", "config", "endpoint", "metrics::Counts"],
        crates: &["ipnet", "rand", "serde"],
        powers: &[],
        rule: "the watch is told what happened and when, and says what to do",
    },
    Room {
        at: "endpoint/health",
        rooms: &["config", "endpoint::learned::Family"],
        crates: &["rand", "serde"],
        powers: &[],
        rule: "health is what checks prove; whoever makes them is elsewhere",
    },
    Room {
        at: "endpoint/keeper",
        rooms: &["config", "endpoint", "metrics::Counts", "pulse::Pulses", "upstream::budget"], // lookups are paid from the budget
        crates: &["rand", "tokio", "tracing"],
        powers: &[Clock, Threads, Locks],
        rule: "endpoint/keeper carries out what the watch decides",
    },
    Room {
        at: "endpoint/probe",
        rooms: &[],
        crates: &["tokio"],
        powers: &[Sockets],
        rule: "endpoint/probe is one connection",
    },
    Room {
        at: "endpoint/refresh",
        rooms: &["endpoint::watch"],
        crates: &["hickory_proto", "hickory_resolver", "tokio"],
        powers: &[],
        rule: "endpoint/refresh is one lookup; hickory has the sockets",
    },
    Room {
        at: "endpoint/store",
        rooms: &["endpoint::watch"],
        crates: &["serde", "toml"],
        powers: &[Files],
        rule: "endpoint/store is one file",
    },
    Room {
        at: "limits",
        rooms: &["config"],
        crates: &["foldhash"],
        powers: &[],
        rule: "limits are addresses and instants: they know no query, and no lock",
    },
    Room {
        at: "upstream",
        rooms: &["wire", "config", "limits::Prefix", "limits::Prefixes", "seats"],
        crates: &["foldhash", "hashbrown", "rand", "serde", "slab"],
        powers: &[],
        rule: "upstream sees no zone, client or endpoint, so that nothing private gets into the cache; it is told the time",
    },
    Room {
        at: "upstream/cache",
        rooms: &["wire", "upstream::Route"],
        crates: &["foldhash", "hashbrown", "slab"],
        powers: &[Locks],
        rule: "the cache is bytes and instants; its locks are held for a lookup at most",
    },
    Room {
        at: "upstream/budget",
        rooms: &[],
        crates: &[],
        powers: &[Locks],
        rule: "the budget is numbers and instants; its lock is held for a sum",
    },
    Room {
        at: "upstream/ledger",
        rooms: &["metrics", "upstream::track"],
        crates: &["serde"],
        powers: &[Locks], // to open a page and to read them all, never to count
        rule: "the ledger is what others may know of resolvers",
    },
    Room {
        at: "upstream/renewals",
        rooms: &["wire", "upstream::Route"],
        crates: &[],
        powers: &[Locks],
        rule: "what is to be asked for again is a list that two threads know",
    },
    Room {
        at: "upstream/loops",
        rooms: &["wire"],
        crates: &["arc_swap", "tracing"], // a loop is said once
        powers: &[Locks],
        rule: "loops remembers what is ours and asks nobody",
    },
    Room {
        at: "upstream/exchange",
        rooms: &["wire", "config", "pulse", "upstream"],
        crates: &["tracing", "nix", "rand", "socket2"],
        powers: &[Clock, Sockets, Threads],
        rule: "upstream/exchange carries out what forward decides",
    },
    Room {
        at: "upstream/snapshot",
        rooms: &["wire", "config", "upstream::Route", "upstream::cache::kept"],
        crates: &["crc32fast"],
        powers: &[],
        rule: "the snapshot is bytes: no file, no clock",
    },
    Room {
        at: "upstream/store",
        rooms: &["upstream"],
        crates: &["tracing"],
        powers: &[Clock, Files, Locks],
        rule: "upstream/store is one file",
    },
    Room {
        at: "upstream/encrypted",
        rooms: &["config", "pulse::Pulses", "upstream"],
        crates: &["hickory_resolver", "tokio", "tracing"], // what is wrong with a target is said once
        powers: &[Locks],                                  // tasks share a connection
        rule: "upstream/encrypted keeps connections; what to do when there is none, forward decides",
    },
    Room {
        at: "upstream/encrypted/connection",
        rooms: &["config"],
        crates: &["h2", "hickory_resolver", "http", "tokio", "tokio_rustls"],
        powers: &[Locks, Sockets],
        rule: "upstream/encrypted/connection carries octets and reads none but their id",
    },
    Room {
        at: "upstream/stream",
        rooms: &[],
        crates: &["nix", "socket2"],
        powers: &[Sockets],
        rule: "upstream/stream is one TCP exchange; whoever polls it knows the time",
    },
    Room {
        at: "policy",
        rooms: &[
            "client",
            "config",
            "endpoint",
            "limits::Terms",
            "metrics::SubnetId",
            "query_log::QueryLog",
            "upstream::Route",
            "wire",
            "zone",
        ],
        crates: &["arc_swap"],
        powers: &[],
        rule: "a policy is one immutable value",
    },
    Room {
        at: "responder",
        rooms: &[
            "client",
            "endpoint",
            "limits",
            "metrics",
            "policy",
            "query_log",
            "upstream::Hit",
            "upstream::Route",
            "upstream::Upstream",
            "wire",
            "zone",
        ],
        crates: &["arc_swap"],
        powers: &[],
        rule: "the hall has no socket, no task, no clock, no lock and no log",
    },
    Room {
        at: "metrics",
        rooms: &["wire"],
        crates: &["foldhash", "serde"],
        powers: &[Locks], // to register a thread and to add up, never to count
        rule: "counts know nobody",
    },
    Room {
        at: "query_log",
        rooms: &["config", "metrics", "wire"],
        crates: &["foldhash"],
        powers: &[],
        rule: "what is noted is decided without a lock, and handed on without a wait",
    },
    Room {
        at: "query_log/writer",
        rooms: &["config", "metrics", "query_log", "wire"],
        crates: &["jiff", "serde", "serde_json", "tracing"],
        powers: &[Clock, Sockets, Threads, Files],
        rule: "query_log/writer is lines, and where they go",
    },
    Room {
        at: "explanation",
        rooms: &["client", "config", "endpoint", "observation", "policy", "responder", "upstream", "wire", "zone"],
        crates: &["ipnet", "serde"],
        powers: &[],
        rule: "an explanation is what the responder and the policy do, told: it decides nothing and sends nothing",
    },
    Room {
        at: "observation",
        rooms: &["endpoint::watch::Look", "metrics", "upstream", "wire"],
        crates: &["serde"],
        powers: &[],
        rule: "an observation is values",
    },
    Room {
        at: "resolver",
        rooms: &[
            "client",
            "config",
            "endpoint",
            "explanation",
            "metrics",
            "observation",
            "policy",
            "pulse::Pulses",
            "query_log",
            "responder",
            "upstream",
            "way_back",
            "wire",
            "zone",
        ],
        crates: &["arc_swap", "tokio", "tracing"],
        powers: &[Clock, Sockets, Locks],
        rule: "the resolver joins the rooms, and is used by the daemon and by those who embed it",
    },
    Room {
        at: "pulse",
        rooms: &[],
        crates: &["tokio"],
        powers: &[Threads, Locks], // a panic that ends a pulse; to begin one and to look at all, never to beat
        rule: "pulses are counts that go on, whoever's they are",
    },
    Room { at: "seats", rooms: &[], crates: &["foldhash"], powers: &[], rule: "seats are numbers" },
    Room {
        at: "server",
        rooms: &["metrics", "limits", "pulse::Pulse", "resolver", "responder", "seats", "way_back", "wire"],
        crates: &["nix", "socket2", "tokio", "tracing"],
        powers: &[Clock, Sockets, Threads, Locks],
        rule: "the door knows sockets and no DNS",
    },
    Room {
        at: "hickory",
        rooms: &["resolver", "wire"],
        crates: &["async_trait", "hickory_proto", "hickory_server", "tokio"],
        powers: &[],
        rule: "hickory hands on octets",
    },
    Room {
        at: "way_back",
        rooms: &[
            "metrics",
            "responder",
            "upstream::Hit",
            "upstream::exchange::Deliver",
            "upstream::forward::Ask",
            "wire",
        ],
        crates: &["nix", "tokio", "tracing"],
        powers: &[Sockets],
        rule: "the way back sends what the responder wrote",
    },
    Room {
        at: "server/sockets",
        rooms: &["server"],
        crates: &["nix", "socket2"],
        powers: &[Files, Sockets], // who has a port is in /proc
        rule: "server/sockets opens sockets and serves none",
    },
    Room {
        at: "server/drops",
        rooms: &["server"],
        crates: &[],
        powers: &[Files, Sockets], // counts of sockets are in /proc
        rule: "server/drops reads a table of the kernel",
    },
    Room {
        at: "daemon",
        rooms: &["*"],
        crates: &["tokio", "tracing"],
        powers: &[Clock, Sockets, Threads, Files, Process],
        rule: "the daemon is a list of steps",
    },
    Room {
        at: "listening",
        rooms: &["config", "daemon::CannotServe", "limits::Prefixes", "resolver", "server", "systemd"],
        crates: &["tracing"],
        powers: &[Locks],
        rule: "listening is which sockets there are, and why",
    },
    Room {
        at: "systemd",
        rooms: &["config", "listening", "pulse", "server"],
        crates: &["listenfd", "rand", "sd_notify", "socket2", "tracing"],
        powers: &[Clock, Sockets, Threads, Process],
        rule: "systemd is what is told to the service manager and taken from it",
    },
    Room {
        at: "cli",
        rooms: &["*"],
        crates: &[
            "clap",
            "clap_complete",
            "hickory_proto",
            "hyper",
            "nix", // where standard error goes
            "rand",
            "serde",
            "serde_json",
            "socket2",
            "tokio",
            "toml", // the table of prices
            "tracing",
            "tracing_journald",
            "tracing_subscriber",
        ],
        powers: &[Clock, Sockets, Threads, Files, Process, Print],
        rule: "a command is a file",
    },
    Room {
        at: "operator",
        rooms: &[
            "config",
            "daemon",
            "endpoint::watch",
            "listening",
            "metrics",
            "observation",
            "resolver",
            "systemd",
            "upstream::ledger",
            "upstream::track",
            "wire::Name",
        ],
        crates: &[
            "form_urlencoded",
            "http_body_util",
            "hyper",
            "hyper_util",
            "nix",
            "serde",
            "serde_json",
            "tokio",
            "tracing",
        ],
        powers: &[Clock, Sockets, Threads, Files, Locks, Process],
        rule: "the operator's side looks on, and changes nothing but by a reload or a flush",
    },
    Room {
        at: "operator/exposition",
        rooms: &["endpoint::watch", "metrics", "observation", "operator", "upstream::ledger", "upstream::track"],
        crates: &["nix", "prometheus_client"],
        powers: &[Files], // of /proc
        rule: "the exposition is names and values",
    },
    Room {
        at: "cli/man",
        rooms: &["cli", "config"],
        crates: &["clap", "clap_mangen"],
        powers: &[Process, Print],
        rule: "manual pages are made of what `--help` and the configuration are made of",
    },
    Room {
        at: "cli/man/limits",
        rooms: &[
            "config::limit",
            "metrics::SubnetId",
            "operator::web::CONNECTIONS",
            "query_log::PLACES",
            "server::UNDER_WAY",
            "upstream::exchange",
            "upstream::forward::MAX_WAITING",
            "way_back::MOST_KEPT",
            "wire::query::MAX_UDP",
            "wire::reply::MAX_CHAIN",
        ],
        crates: &["clap_mangen"],
        powers: &[],
        rule: "the table of limits has its numbers from where they hold",
    },
    Room {
        at: "cli/doctor",
        rooms: &["*"],
        crates: &["hickory_proto", "ipnet", "nix", "serde", "serde_json", "tokio_rustls", "hickory_resolver"],
        powers: &[Clock, Sockets, Threads, Files, Process, Print],
        rule: "the doctor looks at the host with what is here already, and changes nothing",
    },
    Room {
        at: "cli/doctor/name_servers",
        rooms: &["config", "cli::doctor"],
        crates: &[],
        powers: &[Files],
        rule: "cli/doctor/name_servers reads whom the system asks, and asks nobody",
    },
    Room {
        at: "ask",
        rooms: &["wire"],
        crates: &["hickory_proto", "rand", "socket2"],
        powers: &[Clock, Sockets],
        rule: "ask is one question to one server, for the commands",
    },
    Room {
        at: "stand_in",
        rooms: &[],
        crates: &["async_trait", "hickory_proto", "hickory_server", "tokio"],
        powers: &[Sockets],
        rule: "the stand-in is no part of the service: it knows no room, and only the demo knows it",
    },
    Room { at: "lib", rooms: &["*"], crates: &[], powers: &[], rule: "lib.rs is a list of rooms" },
    Room {
        at: "main",
        rooms: &["ask", "cli", "daemon", "listening", "operator", "stand_in", "systemd"],
        crates: &[],
        powers: &[Process],
        rule: "main.rs is an exit code",
    },
];

/// What only a program that asks the system's resolver, or reads its files, has in its sources.
const SYSTEM_RESOLVER: &[&str] = &[
    "ToSocketAddrs",
    "to_socket_addrs",
    "lookup_host",
    "lookup_addr",
    "getaddrinfo",
    "gethostby",
    "getnameinfo",
    "resolv.conf",
    "/etc/hosts",
    "nsswitch",
    "system_conf",
    "from_system",
    "builder_tokio",
];

/// The one file that reads what the system's resolver goes by, to judge it; it asks nobody, so that nothing can be resolved
/// there.
const JUDGES_THE_SYSTEM: (&str, &str) = ("cli/doctor/name_servers.rs", "resolv.conf");

/// Lines that a file may have before its tests.
const MAX_LINES: usize = 500;

//------------ The rules ----------------------------------------------------------------------------------------------

#[test]
fn rooms_use_only_whom_they_may() {
    let crates = dependencies(&fs::read_to_string("Cargo.toml").unwrap());
    assert_none(sources().iter().flat_map(|source| trespasses(source, &crates)));
}

#[test]
fn the_plan_names_only_rooms_that_exist() {
    for room in ROOMS {
        let at = Path::new("src").join(room.at);
        assert!(at.is_dir() || at.with_extension("rs").is_file(), "{} is in the plan and not in src", room.at);
    }
}

#[test]
fn nobody_asks_the_systems_resolver() {
    assert_none(sources().iter().flat_map(asks_the_system));
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    assert!(!manifest.contains("system-config"), "hickory-resolver would read the system's resolv.conf");
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    assert_none(sources().iter().flat_map(shape));
}

#[test]
fn nothing_is_unsafe_and_nothing_unwraps() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    assert!(manifest.lines().any(|line| line == "unsafe_code = \"forbid\""), "Cargo.toml forbids unsafe code");
    assert_none(sources().iter().flat_map(careless));
}

/// Every use of what the room of `source` may not use.
fn trespasses(source: &Source, crates: &BTreeSet<String>) -> Vec<String> {
    if source.is_test {
        return Vec::new();
    }
    let Some(room) = room_of(&source.path) else {
        return vec![format!(
            "src/{}: no room of the plan in tests/house.rs holds this file: add it there",
            source.path
        )];
    };
    let mut found = BTreeMap::new();
    let mut blame = |line: usize, what: String| {
        found
            .entry((line, what.clone()))
            .or_insert_with(|| format!("src/{}:{line}: {} may not use {what} ({})", source.path, room.at, room.rule));
    };
    let tokens = tokens(&source.code);
    let own = module(room.at);
    for path in paths(&tokens) {
        let mut segments = path.segments.iter().map(String::as_str);
        let first = segments.next().unwrap_or_default();
        if let Some(target) = in_crate(&source.path, &path.segments) {
            let allowed = room.rooms.iter().any(|allowed| *allowed == "*" || within(&target, &module(allowed)));
            if !allowed && !within(&target, &own) && !target.is_empty() {
                blame(path.line, format!("crate::{}", target.join("::")));
            }
        } else if crates.contains(first) && !room.crates.contains(&first) {
            blame(path.line, format!("the crate {first}"));
        }
        for power in Power::ALL.into_iter().filter(|power| !room.powers.contains(power)) {
            if power.paths().iter().any(|forbidden| within(&path.segments, &module(forbidden))) {
                blame(path.line, format!("{} ({power:?})", path.segments.join("::")));
            }
        }
    }
    for power in Power::ALL.into_iter().filter(|power| !room.powers.contains(power)) {
        for word in power.words() {
            let wanted: Vec<_> = self::tokens(word).into_iter().map(|token| token.text).collect();
            let here = tokens.windows(wanted.len()).filter(|here| here.iter().map(|token| &token.text).eq(&wanted));
            here.for_each(|here| blame(here[0].line, format!("{word} ({power:?})")));
        }
    }
    found.into_values().collect()
}

/// Words of the system's resolver, and connections to hosts by name. Comments may have them.
fn asks_the_system(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (line, text) in source.with_texts.lines().enumerate().map(|(index, text)| (index + 1, text)) {
        let judged = |word: &str| (&*source.path, word) == JUDGES_THE_SYSTEM;
        for word in SYSTEM_RESOLVER.iter().filter(|word| text.contains(**word) && !judged(word)) {
            found.push(format!("src/{}:{line}: {word}: phzd never uses the system's resolver", source.path));
        }
        for call in ["connect(", "connect_timeout(", "bind("] {
            for (at, _) in text.match_indices(call) {
                let argument = text[at + call.len()..].trim_start_matches(['&', '(']);
                let literal = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
                let address = literal.is_none_or(|literal| literal.parse::<std::net::SocketAddr>().is_ok());
                if !address || argument.starts_with("format!") {
                    found.push(format!(
                        "src/{}:{line}: {call}…): a host by its name is looked up by the system's resolver",
                        source.path
                    ));
                }
            }
        }
    }
    found
}

/// What is wrong with the look of a file.
fn shape(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    // Before it may stand only what the compiler is told of the file.
    let first = source.text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//! ")) {
        found.push(format!("src/{}:1: a file begins with `//!`: what it is, and why it is apart", source.path));
    }
    let lines = source.text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
    if lines > MAX_LINES && !source.is_test {
        found.push(format!("src/{}: {lines} lines before the tests; {MAX_LINES} are enough", source.path));
    }
    found
}

/// `unsafe` anywhere, `.unwrap()` outside tests.
fn careless(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.code);
    let unsafes = tokens.iter().filter(|token| token.text == "unsafe" || token.text == "unsafe_code");
    let mut found: Vec<_> =
        unsafes.map(|token| format!("src/{}:{}: unsafe code is forbidden", source.path, token.line)).collect();
    for three in tokens.windows(3).filter(|_| !source.is_test) {
        if let [dot, unwrap, open] = three
            && (&*dot.text, &*unwrap.text, &*open.text) == (".", "unwrap", "(")
        {
            found.push(format!("src/{}:{}: `.unwrap()`: say with `expect` why it holds", source.path, unwrap.line));
        }
    }
    found
}

fn assert_none(found: impl Iterator<Item = String>) {
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{} against the rules of the house:\n{}", found.len(), found.join("\n"));
}

/// The room that a file belongs to.
fn room_of(path: &str) -> Option<&'static Room> {
    let file = path.strip_suffix(".rs").unwrap_or(path);
    let holds = |room: &&Room| file.strip_prefix(room.at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ROOMS.iter().filter(holds).max_by_key(|room| room.at.len())
}

//------------ Sources ------------------------------------------------------------------------------------------------

/// A file of `src`.
struct Source {
    /// Below `src`.
    path: String,
    text: String,
    /// The text with comments and tests blanked, line by line.
    with_texts: String,
    /// The same with the contents of texts blanked as well.
    code: String,
    /// It is compiled for tests only.
    is_test: bool,
    /// Files that it declares for tests only.
    tests: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (mut with_texts, mut code) = (blanked(text, false), blanked(text, true));
        let mut tests = Vec::new();
        const MARK: &str = "#[cfg(test)]";
        while let Some(begin) = code.find(MARK) {
            let item = item_at(&code, begin + MARK.len());
            let declared = code[item.clone()].trim().strip_suffix(';').and_then(|item| item.rsplit_once("mod "));
            tests.extend(declared.map(|(_, name)| format!("{}/{name}.rs", path_of_module(path).join("/"))));
            for text in [&mut with_texts, &mut code] {
                let blank = whitespace(&text[begin..item.end]);
                text.replace_range(begin..item.end, &blank);
            }
        }
        Self { path: path.into(), text: text.into(), with_texts, code, is_test: false, tests }
    }
}

/// All files of `src`.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    let mut folders = vec![Path::new("src").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.strip_prefix("src").unwrap().to_str().unwrap();
        Source::new(name, &fs::read_to_string(path).unwrap())
    };
    let mut sources: Vec<_> = paths.iter().map(read).collect();
    let tests: BTreeSet<_> = sources.iter().flat_map(|source| source.tests.clone()).collect();
    sources.iter_mut().for_each(|source| source.is_test = tests.contains(&source.path));
    assert!(sources.len() > 20, "only {} files: the tests run in the folder of the manifest", sources.len());
    sources
}

/// The names by which the code calls the crates of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let tables = manifest.split("\n[").filter(|table| table.starts_with("dependencies]"));
    let keys = tables.flat_map(str::lines).filter_map(|line| Some(line.split_once(" = ")?.0.replace('-', "_")));
    keys.collect()
}

/// `text` with its comments, and if `texts` is set the contents of its texts, made blank; of the same length.
fn blanked(text: &str, texts: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = out.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let (length, blank) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with("/*") {
            (block_comment(rest), true)
        } else if next == '"' {
            (quoted(rest, '"'), texts)
        } else if let Some(length) = raw(rest).filter(|_| !word || out.ends_with('b')) {
            (length, texts)
        } else if next == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            (quoted(rest, '\''), texts)
        } else {
            (next.len_utf8(), false)
        };
        let (piece, after) = rest.split_at(length);
        if blank {
            out.push_str(&whitespace(piece));
        } else {
            out.push_str(piece);
        }
        rest = after;
    }
    out
}

/// As many blanks as `text` has octets, with its line ends.
fn whitespace(text: &str) -> String {
    text.bytes().map(|octet| if octet == b'\n' { '\n' } else { ' ' }).collect()
}

/// The length of the comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        depth += i32::from(rest.starts_with(b"/*")) - i32::from(rest.starts_with(b"*/"));
        at += if rest.starts_with(b"/*") || rest.starts_with(b"*/") { 2 } else { 1 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the literal that `text` begins with, quotes counted.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        if next == quote && !escaped {
            return at + 1;
        }
        escaped = next == '\\' && !escaped;
    }
    text.len()
}

/// The length of the raw text that `text` begins with.
fn raw(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?.bytes().take_while(|octet| *octet == b'#').count();
    let begin = 1 + hashes;
    let end = format!("\"{}", "#".repeat(hashes));
    text[begin..]
        .starts_with('"')
        .then(|| text[begin + 1..].find(&end).map_or(text.len(), |length| begin + 1 + length + end.len()))
}

/// From `begin` to the end of the item there: its `;`, or the brace that closes it.
fn item_at(code: &str, begin: usize) -> Range<usize> {
    let mut depth = 0;
    for (at, octet) in code.bytes().enumerate().skip(begin) {
        match octet {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b';' => {}
            _ => continue,
        }
        if depth == 0 {
            return begin..at + 1;
        }
    }
    begin..code.len()
}

//------------ Paths --------------------------------------------------------------------------------------------------

/// A word or a sign, and its line.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut line, mut rest) = (1, code);
    while let Some(next) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("::") { 2 } else { word.max(next.len_utf8()) };
        line += usize::from(next == '\n');
        if !next.is_whitespace() {
            tokens.push(Token { line, text: rest[..length].into() });
        }
        rest = &rest[length..];
    }
    tokens
}

/// A path in the code.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    line: usize,
    segments: Vec<String>,
}

/// Every path: each leaf of a `use` tree, and those of two segments or more elsewhere.
fn paths(tokens: &[Token]) -> Vec<Used> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
        if token.text == "use" && !is(at + 1, "<") {
            at = tree(tokens, at + 1, &[], &mut found);
        } else if token.is_word() && is(at + 1, "::") {
            let mut segments = vec![token.text.clone()];
            while is(at + 1, "::") && tokens.get(at + 2).is_some_and(Token::is_word) {
                segments.push(tokens[at + 2].text.clone());
                at += 2;
            }
            found.push(Used { line: token.line, segments });
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use`; returns where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Used>) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match &*token.text {
            "::" => {}
            "{" => {
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &segments, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "as" => at += 1,
            "," | "}" | ";" => {
                at -= 1;
                break;
            }
            // `{self}` means what stands before the brace.
            "self" if !prefix.is_empty() => line = token.line,
            text => {
                segments.push(text.into());
                line = token.line;
            }
        }
    }
    found.push(Used { line, segments });
    at
}

/// The module that a file is.
fn path_of_module(path: &str) -> Vec<String> {
    let file = path.strip_suffix(".rs").unwrap_or(path);
    let file = file.strip_suffix("/mod").unwrap_or(file);
    if matches!(file, "lib" | "main") { Vec::new() } else { file.split('/').map(Into::into).collect() }
}

/// `a/b` or `a::b` as segments.
fn module(path: &str) -> Vec<String> {
    path.replace("::", "/").split('/').map(Into::into).collect()
}

fn within(path: &[String], outer: &[String]) -> bool {
    path.starts_with(outer)
}

/// Where in this crate a path used in `file` leads; `None` if it leads elsewhere.
fn in_crate(file: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut base = match &*segments.first()?.clone() {
        "crate" | "phzd" => Vec::new(),
        "self" | "super" => path_of_module(file),
        _ => return None,
    };
    let mut rest = segments;
    while let [first, after @ ..] = rest {
        match &**first {
            "crate" | "phzd" | "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        rest = after;
    }
    base.extend_from_slice(rest);
    Some(base)
}

//------------ Each rule catches what it is for -----------------------------------------------------------------------

fn caught(path: &str, text: &str) -> String {
    let crates = ["tokio", "tracing", "hickory_proto", "toml"].map(String::from).into();
    trespasses(&Source::new(path, text), &crates).join("\n")
}

#[test]
fn a_room_that_reaches_too_far_is_caught() {
    let told = caught("upstream/cache.rs", "//! x\n\nuse std::sync::Arc;\nuse crate::zone::Zone;\n");
    assert_eq!(
        told,
        "src/upstream/cache.rs:4: upstream/cache may not use crate::zone::Zone (the cache is bytes and instants; its \
         locks are held for a lookup at most)"
    );
    for (path, text, what) in [
        ("wire/name.rs", "use crate::{wire::Name, config::{self, Config}};", "use crate::config "),
        ("wire/name.rs", "use crate::{\n    wire::Name,\n    config::{self, Config},\n};", ":3: wire may"),
        ("wire/name.rs", "use super::super::policy as p;", "crate::policy "),
        ("wire/mod.rs", "use super::policy::Policy;", "crate::policy::Policy "),
        ("zone/bucket.rs", "use super::Zone;", "crate::zone::Zone "),
        ("zone/mod.rs", "fn f() -> crate::upstream::cache::Cache { g() }", "crate::upstream::cache::Cache "),
        ("zone/mod.rs", "use crate::*;", "crate::* "),
        ("responder.rs", "use crate::upstream::{Route, exchange::Exchange};", "crate::upstream::exchange::Exchange "),
        ("responder.rs", "use crate::upstream;", "crate::upstream "),
        ("server/udp.rs", "fn f(policy: &crate::policy::Policy) {}", "crate::policy::Policy "),
        ("policy.rs", "use tokio::sync::Mutex;", "the crate tokio "),
        ("responder.rs", "fn f() { ::tracing::info!(\"x\") }", "the crate tracing "),
        ("responder.rs", "fn f() { let now = Instant :: now(); }", "Instant::now (Clock)"),
        ("upstream/forward.rs", "fn f(at: Instant) { at.elapsed() }", ".elapsed (Clock)"),
        ("zone/mod.rs", "use std::{io, thread};", "std::thread (Threads)"),
        ("zone/mod.rs", "fn f() { std::fs::read(\"x\") }", "std::fs::read (Files)"),
        ("policy.rs", "use std::net::{IpAddr, UdpSocket};", "UdpSocket (Sockets)"),
        ("responder.rs", "use std::sync::Mutex;", "Mutex (Locks)"),
        ("client.rs", "fn f() { println!(\"x\") }", "println! (Print)"),
        ("attic.rs", "", "no room of the plan"),
    ] {
        let told = caught(path, text);
        assert!(told.contains(what), "{path} with {text:?} must be told {what:?}: {told:?}");
    }
}

#[test]
fn a_room_that_stays_where_it_may_is_left_alone() {
    for (path, text) in [
        ("wire/name.rs", "use super::answer::Answer;\nuse self::inner::X;\nuse crate::wire::{self, query};"),
        ("wire/name.rs", "//! crate::zone\n/* Instant::now /* tokio::x */ crate::policy */\n/// `std::fs::read`"),
        ("wire/name.rs", "const A: &str = \"crate::zone \\\" \"; const B: &str = r#\"crate::policy \" tokio::x\"#;"),
        ("wire/name.rs", "fn f<'a>(x: &'a u8) -> char { '\"' } // crate::zone\nfn g() -> char { '\\'' }"),
        ("wire/name.rs", "#[cfg(test)]\nmod tests {\n    use crate::zone::Zone;\n    fn f() { Instant::now(); }\n}"),
        ("wire/name.rs", "fn f() -> impl Iterator + use<'_> { x }"),
        ("config/check.rs", "use crate::zone::bucket;\nuse crate::zone::bucket::{Hosts, alias};"),
        ("responder.rs", "use crate::upstream::{Route, Upstream};\nuse std::time::Instant;"),
        ("way_back/mod.rs", "use crate::upstream::exchange::Deliver;"),
    ] {
        assert_eq!(caught(path, text), "", "{path} with {text:?}");
    }
    assert_eq!(Source::new("wire/reply.rs", "#[cfg(test)]\npub(crate) mod tests;").tests, ["wire/reply/tests.rs"]);
    assert_eq!(Source::new("wire/mod.rs", "#[cfg(test)]\nmod tests;").tests, ["wire/tests.rs"]);
}

#[test]
fn whoever_asks_the_system_is_caught() {
    for text in [
        "use std::net::ToSocketAddrs;",
        "const PATH: &str = \"/etc/resolv.conf\";",
        "fn f() { std::fs::read(r\"/etc/hosts\") }",
        "let resolver = Resolver::builder_tokio();",
        "TcpStream::connect(\"example.com:53\")",
        "UdpSocket::bind((\"localhost\", 0))",
        "TcpStream::connect(&format!(\"{host}:53\"))",
    ] {
        assert_eq!(asks_the_system(&Source::new("resolver.rs", text)).len(), 1, "{text}");
    }
    let judge = |text| asks_the_system(&Source::new(JUDGES_THE_SYSTEM.0, text)).len();
    assert_eq!(judge("const PATH: &str = \"/etc/resolv.conf\";"), 0, "read there, to be judged");
    assert_eq!(judge("use std::net::ToSocketAddrs;"), 1, "and never used, there neither");
    let fine =
        "// not /etc/hosts\nUdpSocket::bind(\"127.0.0.1:0\"); socket.connect(resolver); socket.bind(&address.into())";
    assert_eq!(asks_the_system(&Source::new("resolver.rs", fine)), [] as [&str; 0]);
}

#[test]
fn a_careless_file_is_caught() {
    let unwrapping = Source::new("zone/mod.rs", "fn f() {\n    g()\n        .unwrap()\n}");
    assert_eq!(careless(&unwrapping), ["src/zone/mod.rs:3: `.unwrap()`: say with `expect` why it holds"]);
    assert_eq!(careless(&Source::new("zone/mod.rs", "#[allow(unsafe_code)]\nfn f() { unsafe { g() } }")).len(), 2);
    assert_eq!(careless(&Source::new("zone/mod.rs", "// unsafe\nfn f() { \"unsafe\"; g().unwrap_or(1) }")).len(), 0);
    assert_eq!(shape(&Source::new("zone/mod.rs", "use std::io;\n")).len(), 1);
    let long = format!("//! x\n{}#[cfg(test)]\nmod tests {{}}\n", "\n".repeat(MAX_LINES));
    assert_eq!(shape(&Source::new("zone/mod.rs", &long)).len(), 1);
    let tested = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(MAX_LINES));
    assert_eq!(shape(&Source::new("zone/mod.rs", &tested)).len(), 0);
}

#[test]
fn a_manifest_names_its_crates() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\na-b = \"1\" # c\nd = { version = \"1\" }\n\n[dev-dependencies]\ne = \"1\"\n";
    assert_eq!(dependencies(manifest), ["a_b", "d"].map(String::from).into());
    assert!(dependencies(&fs::read_to_string("Cargo.toml").unwrap()).contains("hickory_proto"));
}
