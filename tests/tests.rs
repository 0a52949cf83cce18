//! The integration tests: one binary, whose contents are this list.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod hostile;
mod scenarios;
mod sockets;
mod vpc;
