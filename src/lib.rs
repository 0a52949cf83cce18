//! Split-horizon DNS resolver for hosts in an AWS VPC.

pub mod config;
pub mod metrics;
pub mod resolver;
pub mod responder;
pub mod server;
pub mod upstream;
pub mod wire;
