//! The integration tests: one binary, whose contents are this list.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli; // the command as a person meets it
mod compare; // phzd beside a hosted zone
mod config; // files with mistakes, each beside what is said of it
mod control; // `phzd ctl`, and who may use it
mod cost; // what a month costs
mod daemon; // the process: signals, reloads, limits
mod demo; // `phzd demo`, run as a newcomer would
mod documents; // the README and its kin, held to what the program does
mod embed; // the library in another program
mod encrypted; // resolvers over TLS and HTTPS, with certificates
mod endpoints; // endpoints that are learned and checked, on real sockets
mod examples; // the programs in examples/, run
mod explain; // why an answer is as it is
mod flood; // one client that asks too much, and the others
mod hostile; // any bytes at all, through the whole path
mod house; // who may use whom, read off the sources
mod metrics; // what is counted, for Prometheus and the operator
mod no_proxy; // what goes past an HTTP proxy, with real clients
mod pages; // manual pages and completions, as other programs read them
mod query_log; // which queries are noted down
mod resolvers; // resolvers that misbehave
mod restarts; // what is cached, over the end of the process
mod scenarios; // conversations, without network and without sleep
mod service; // what the service manager is told, and gives
mod sockets; // the server's real sockets
mod vpc; // the lab: the case in network namespaces
