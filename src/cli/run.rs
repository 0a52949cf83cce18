//! `phzd run`: the daemon, with a log on standard error.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::daemon::{CannotServe, Daemon};

/// What is logged unless RUST_LOG says otherwise. hickory's clients warn of each datagram that does not fit, which anybody
/// can send; what comes of a lookup phzd says itself. So it does of a certificate, once and not at each handshake.
const LOG: &str = "info,hickory_net=off,hickory_resolver=off,rustls_platform_verifier=off";

/// What fields of the log begin with in the journal: `address` is PHZD_ADDRESS there.
const FIELDS: &str = "PHZD";

/// Serves until stopped, with what is learned and cached kept in `state`; one clear line if it cannot.
pub fn run(path: &Path, state: Option<PathBuf>) -> ExitCode {
    let daemon = match Daemon::prepare() {
        Ok(daemon) => daemon,
        Err(error) => return cannot(&error),
    };
    let Some((config, _)) = super::load(path) else { return ExitCode::FAILURE };
    log_to_standard_error();
    match daemon.serve(path, config, state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot(&error),
    }
}

/// Sets up the log: as fields where standard error is the journal, as lines otherwise.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let journal = is_journal().then(|| tracing_journald::layer().ok()).flatten();
    // A person at a terminal, or whoever reads the lines with their time, does not need it once more.
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(terminal);
    let log = tracing_subscriber::registry().with(filter);
    match journal {
        Some(journal) => {
            // The journal's words for the levels that we have; its notices are for what is out of the ordinary.
            let priorities =
                PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
            log.with(journal.with_field_prefix(Some(FIELDS.into())).with_priority_mappings(priorities)).init();
        }
        None if terminal => log.with(lines).init(),
        None => log.with(lines.without_time()).init(),
    }
}

/// Whether standard error goes to the journal: the service manager says which file that is (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stated) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(there) = nix::sys::stat::fstat(std::io::stderr()) else { return false };
    stated == format!("{}:{}", there.st_dev, there.st_ino)
}

fn cannot(error: &CannotServe) -> ExitCode {
    eprintln!("phzd: {error}");
    ExitCode::FAILURE
}
