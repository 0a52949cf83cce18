//! What the hot path reads and writes, seen in place; everything else uses hickory-proto.
//!
//! Nothing here knows a socket, a task, the clock or another room: bytes in, bytes out.

pub mod name;

pub use name::Name;
