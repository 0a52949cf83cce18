//! The integration tests: one binary, whose contents are this list.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod house; // who may use whom, read off the sources
mod sockets;
mod vpc;
