//! The door: sockets outside, the responder inside. Bytes in, bytes out; nothing here knows DNS.

pub mod door;

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::responder::Pending;

/// A query that waits for a resolver, and the way back to who asked.
#[derive(Debug)]
pub struct Waiting {
    /// The query.
    pub pending: Pending,
    /// Where its reply goes.
    pub way_back: WayBack,
}

/// Where a reply goes.
#[derive(Debug)]
pub enum WayBack {
    /// To the client, as a datagram.
    Udp {
        /// The socket that received the query.
        socket: Arc<UdpSocket>,
        /// The address that was asked, where the socket is bound to none.
        asked: Option<IpAddr>,
    },
    /// Onto the client's connection.
    Tcp(mpsc::Sender<Vec<u8>>),
    /// To a caller of [`Resolver::resolve`](crate::resolver::Resolver::resolve).
    Caller(oneshot::Sender<Vec<u8>>),
}
