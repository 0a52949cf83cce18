//! The integration tests: one binary, whose contents are this list.

mod config;
