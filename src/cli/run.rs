//! `phzd run`: the daemon, with a log on standard error.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::daemon::{CannotServe, Daemon};

/// What is logged unless RUST_LOG says otherwise. hickory's clients warn of each datagram that does not fit, which anybody
/// can send; what comes of a lookup phzd says itself. So it does of a certificate, once and not at each handshake.
const LOG: &str = "info,hickory_net=off,hickory_resolver=off,rustls_platform_verifier=off";

/// Serves until stopped, with what is learned and cached kept in `state`; one clear line if it cannot.
pub fn run(path: &Path, state: Option<PathBuf>) -> ExitCode {
    let daemon = match Daemon::prepare() {
        Ok(daemon) => daemon,
        Err(error) => return cannot(&error),
    };
    let Some((config, _)) = super::load(path) else { return ExitCode::FAILURE };
    // The journal has the time already; a person at a terminal does not.
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_target(false);
    let log = log.with_ansi(terminal);
    if terminal {
        log.init();
    } else {
        log.without_time().init();
    }
    match daemon.serve(path, config, state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot(&error),
    }
}

fn cannot(error: &CannotServe) -> ExitCode {
    eprintln!("phzd: {error}");
    ExitCode::FAILURE
}
