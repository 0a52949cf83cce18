//! One question to one resolver over TCP: for an answer that did not fit a datagram (RFC 7766 section 5).
//!
//! A socket that never blocks and the little state that its framing needs; whoever polls it calls
//! [`Exchange::advance`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

/// A message on its way out, or its reply on its way in.
#[derive(Debug)]
pub struct Exchange {
    socket: TcpStream,
    /// The query with its length before it, and how much of it has left.
    query: Vec<u8>,
    sent: usize,
    /// The reply with its length before it, as far as it is there.
    reply: Vec<u8>,
}

impl Exchange {
    /// Begins to connect to `resolver`, to send `message`.
    ///
    /// # Errors
    /// What the kernel says when no connection can even be begun.
    pub fn begin(resolver: SocketAddr, message: &[u8]) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(resolver), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        match socket.connect(&resolver.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => return Err(error),
            _ => {}
        }
        let mut query = Vec::with_capacity(2 + message.len());
        query.extend((message.len() as u16).to_be_bytes());
        query.extend(message);
        Ok(Self { socket: socket.into(), query, sent: 0, reply: Vec::new() })
    }

    /// The socket, to be polled for reading and writing.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Goes on as far as it can without waiting. Returns the reply once it is whole.
    ///
    /// # Errors
    /// The connection failed, or ended before the reply did.
    pub fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(rest) = self.query.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(sent) => self.sent += sent,
                // Not connected yet: the poll will tell.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            let whole = self.reply.first_chunk().map(|length| 2 + usize::from(u16::from_be_bytes(*length)));
            if let Some(whole) = whole
                && self.reply.len() >= whole
            {
                self.reply.truncate(whole);
                return Ok(Some(self.reply.split_off(2)));
            }
            // Memory is taken for what has come, never for the length that was claimed.
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.reply.extend(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
