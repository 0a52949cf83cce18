//! The floor for TCP: what the kernel alone costs for connections, a query in and a reply out.
//!
//! One thread and one epoll; all that has arrived on a connection is read at once and goes back at once.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::echo;
use crate::tcp::split;

/// Connections looked at with one system call.
const EVENTS: usize = 64;

/// Octets taken from a connection at once.
const ROOM: usize = 16 * 1024;

/// What the listener's events are marked with; a connection's have its index.
const LISTENER: u64 = u64::MAX;

/// A connection.
struct Connection {
    stream: TcpStream,
    /// The begin of a query whose end is still to come.
    rest: Vec<u8>,
}

/// Answers forever. Returns only when the listener fails.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = [EpollEvent::empty(); EVENTS];
    let mut buffer = vec![0; ROOM];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            if event.data() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let index = free.pop().unwrap_or(connections.len());
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
                connections.resize_with(connections.len().max(index + 1), || None);
                connections[index] = Some(Connection { stream, rest: Vec::new() });
                continue;
            }
            let index = event.data() as usize;
            let Some(connection) = connections.get_mut(index) else { continue };
            if connection.as_mut().is_some_and(|connection| connection.answer(&mut buffer).is_none()) {
                *connection = None;
                free.push(index);
            }
        }
    }
}

impl Connection {
    /// Reads once and answers what is whole. `None` when the client has had enough.
    fn answer(&mut self, buffer: &mut [u8]) -> Option<()> {
        let before = self.rest.len();
        buffer[..before].copy_from_slice(&self.rest);
        let length = self.stream.read(&mut buffer[before..]).ok().filter(|&length| length > 0)?;
        let filled = before + length;
        let mut at = 0;
        while let Some((message, _)) = split(&buffer[at..filled]) {
            let end = at + 2 + message.len();
            echo::echo(&mut buffer[at + 2..end], end - at - 2)?;
            at = end;
        }
        self.stream.write_all(&buffer[..at]).ok()?;
        self.rest.clear();
        self.rest.extend(&buffer[at..filled]);
        Some(())
    }
}
