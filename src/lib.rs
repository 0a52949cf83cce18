//! Split-horizon DNS resolver for hosts in an AWS VPC.

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod endpoint;
pub mod metrics;
pub mod policy;
pub mod resolver;
pub mod responder;
pub mod server;
pub mod upstream;
pub mod wire;
pub mod zone;
