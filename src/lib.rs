//! Split-horizon DNS for hosts in an AWS VPC: a policy, a resolver, a server.
//!
//! For chosen S3 buckets phzd answers with the private addresses of an interface endpoint, to clients in allowed
//! subnets only; everything else it forwards to the VPC's resolver. A query's way:
//!
//! ```text
//! socket -> server::udp, server::tcp        bytes, and who sent them
//!   -> responder   respond(packet, client, transport, now, out)
//!        wire::query     decode, gate by gate      a question, or an error to reply, or nothing
//!        client          who is asking             a client, or REFUSED
//!        policy          who decides               the longest name that exists for this client
//!          zone            with endpoint           an answer at once
//!          upstream        cached?                 an answer at once, its CNAMEs checked against the zones
//!          upstream        otherwise               Forward: to wait off the hot thread
//!        wire::answer    write                     the reply's bytes
//!   -> socket
//!
//! Forward -> upstream::exchange  one thread, the sockets towards resolvers
//!              upstream::forward   which resolver, when again, when to stop; equal questions joined
//!              wire::reply         what came back, read
//!              upstream::cache     kept
//!         -> way_back::Door      responder.finish: the same reply, written the same way
//! ```
//!
//! To embed it: [`config::Config`] from TOML or [`config::File`] from code, a [`resolver::Resolver`] that answers
//! bytes, and, to serve sockets of your own, a [`server::Server`]. The library sets up no log, handles no signal and
//! keeps no global state.
//!
//! ```
//! use std::time::Instant;
//! use phzd::{config::Config, resolver::Resolver, responder::Outcome, wire::Transport};
//!
//! let text = r#"
//!     [vpc]
//!     region = "ap-northeast-1"
//!     cidrs = ["172.31.0.0/16"]
//!     [[subnet]]
//!     name = "private-a"
//!     cidr = "172.31.1.0/24"
//!     [[endpoint]]
//!     name = "s3"
//!     addresses = ["172.31.1.152"]
//!     [[bucket]]
//!     names = ["xxxxx-bucket"]
//!     endpoint = "s3"
//!     allow = ["private-a"]
//! "#;
//! let (config, _warnings) = Config::parse("phzd.toml", text)?;
//! let mut resolver = Resolver::start(&config)?;
//! let mut query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
//! query.extend(b"\x0cxxxxx-bucket\x02s3\x0eap-northeast-1\x09amazonaws\x03com\x00\x00\x01\x00\x01");
//! let mut reply = [0; 1232];
//! let outcome = resolver.respond(&query, "172.31.1.5:4242".parse()?, Transport::Udp, Instant::now(), &mut reply);
//! let Outcome::Reply(length) = outcome else { panic!("{outcome:?}") };
//! assert!(reply[..length].ends_with(&[172, 31, 1, 152]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// The rooms, in the order of the path.

// The door: sockets outside, the responder inside.
pub mod server;
// The resolver as a whole, for those who embed it.
pub mod resolver;
// The same behind hickory's server.
#[cfg(feature = "hickory")]
pub mod hickory;
// How replies to queries that waited reach whoever asked.
pub mod way_back;
// The hall: a query's whole path on one screen.
pub mod responder;
// The bytes of queries, answers and replies.
pub mod wire;
// By what one sees that threads move on.
pub mod pulse;
// Who has taken how many seats, where there are only so many.
mod seats;
// Who is asking.
pub mod client;
// Who decides.
pub mod policy;
// What a private zone says.
pub mod zone;
// What an endpoint's addresses are.
pub mod endpoint;
// What resolvers say, kept or asked for.
pub mod upstream;
// What one client may take of it all.
pub mod limits;

// Which queries are noted down, where somebody wants that.
pub mod query_log;

// Beside the path: what is meant to happen, and what did.
pub mod config;
pub mod metrics;
// The same at one moment, in words.
pub mod observation;
// Why an answer is as it is.
pub mod explanation;

/// The examples of the README, so that they compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
