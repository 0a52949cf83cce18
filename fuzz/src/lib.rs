//! What the fuzz targets have in common: a house to ask, octets to be read as a story, and what holds of every reply.
//!
//! A target in `targets/` is what libFuzzer starts; what it does to which room stands there. Nothing here has a socket,
//! a file or a clock of its own, so that the same octets always tell the same story.

pub mod house;
pub mod judged;
pub mod public;
pub mod reply;
pub mod story;
