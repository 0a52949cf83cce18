//! Split-horizon DNS resolver for hosts in an AWS VPC.

pub mod config;
pub mod wire;
pub mod zone;
