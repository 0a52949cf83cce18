//! What phzd and its service manager tell each other (sd_notify(3), sd_listen_fds(3)): it is ready, it reloads, it lives;
//! here are your sockets, keep these.
//!
//! Apart from the daemon, which says the same whoever listens: without a service manager all of this does nothing.

pub mod inherited;
pub mod watchdog;

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use sd_notify::NotifyState;
use tracing::warn;

/// Characters of a status that are told: what does not fit into one line of `systemctl status` is in the log.
const STATUS: usize = 400;

/// phzd serves, in these words.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

/// The configuration is being read again; [`ready`] ends it.
pub fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(now).collect();
    tell(&states);
}

/// phzd ends, once what is under way is finished.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Keep this socket over a restart, with what arrives there meanwhile.
pub fn keep(address: SocketAddr, socket: BorrowedFd<'_>) {
    let name = kept_as(address);
    // What the kernel says of a socket is not the manager's business: it would take an error of one client for its end.
    let states = [NotifyState::FdStore, NotifyState::FdName(&name), NotifyState::Custom("FDPOLL=0")];
    if let Err(error) = sd_notify::notify_with_fds(&states, &[socket]) {
        warn!(%error, %address, "the service manager does not keep a socket: what arrives during a restart is lost");
    }
}

/// Keep what is at this address no longer.
pub fn forget(address: SocketAddr) {
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&kept_as(address))]);
}

/// What tells our own sockets, when they come back, from those of a socket unit.
const KEPT: &str = "phzd-kept-";

/// The name under which the sockets of an address are kept; a colon would end it.
fn kept_as(address: SocketAddr) -> String {
    format!("{KEPT}{address}").replace(':', "_")
}

/// One line, as long as it may be.
fn line(text: &str) -> String {
    let whole: String = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match whole.char_indices().nth(STATUS) {
        Some((end, _)) => format!("{} ...", &whole[..end]),
        None => whole,
    }
}

/// Nobody who listens is no mistake, and one who does not take it costs nothing but that.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told anything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(line("not reloaded:\n  phzd.toml:3:1: error: ...\n"), "not reloaded: phzd.toml:3:1: error: ...");
        assert_eq!(line(&"ä".repeat(1000)).chars().count(), STATUS + 4);
    }

    #[test]
    fn names_of_kept_sockets_have_no_colon() {
        assert_eq!(kept_as("[fd00::1]:53".parse().unwrap()), "phzd-kept-[fd00__1]_53");
    }
}
