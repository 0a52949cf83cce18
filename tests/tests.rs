//! The integration tests: one binary, whose contents are this list.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli; // the command as a person meets it
mod config; // files with mistakes, each beside what is said of it
mod daemon; // the process: signals, reloads, limits
mod demo; // `phzd demo`, run as a newcomer would
mod documents; // the README and its kin, held to what the program does
mod embed; // the library in another program
mod encrypted; // resolvers over TLS and HTTPS, with certificates
mod endpoints; // endpoints that are learned and checked, on real sockets
mod examples; // the programs in examples/, run
mod hostile; // any bytes at all, through the whole path
mod house; // who may use whom, read off the sources
mod pages; // manual pages and completions, as other programs read them
mod resolvers; // resolvers that misbehave
mod restarts; // what is cached, over the end of the process
mod scenarios; // conversations, without network and without sleep
mod sockets; // the server's real sockets
mod vpc; // the lab: the case in network namespaces
