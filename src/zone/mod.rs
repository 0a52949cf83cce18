//! Private hosted zones.

pub mod bucket;
