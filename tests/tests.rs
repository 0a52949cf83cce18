//! The one integration binary; its modules are its contents.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sockets;
