//! What the hot path reads and writes, seen in place; everything else uses hickory-proto.
//!
//! Nothing here knows a socket, a task, the clock or another room: bytes in, bytes out.

pub mod answer;
pub mod dns64;
pub mod name;
pub mod presentation;
#[cfg(test)]
mod properties;
pub mod query;
pub mod reply;

pub use answer::{Answer, ExtendedError, Placement};
pub use name::Name;
pub use query::{Query, Transport};
pub use reply::{Asked, Question};
