//! Octets read as a story: small choices, addresses, messages. Whatever they are, there is a story in them.

use std::net::{IpAddr, SocketAddr};

use crate::house::CLIENTS;

/// What is left to be told.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a>(pub &'a [u8]);

impl<'a> Story<'a> {
    /// The next octet; 0 behind the end.
    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    /// The next so many; fewer at the end.
    pub fn octets(&mut self, count: usize) -> &'a [u8] {
        let (octets, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        octets
    }

    /// A message with its length before it, as far as it is there; `None` behind the end.
    pub fn message(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let length = self.number();
        Some(self.octets(length.into()))
    }

    /// One of a list.
    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.octet()) % choices.len()].clone()
    }

    /// A client: one of those that matter, or any address.
    pub fn client(&mut self) -> SocketAddr {
        let choice = self.octet();
        let port = if choice == 254 { 0 } else { 4242 };
        let ip = match choice {
            255 => <[u8; 16]>::try_from(self.octets(16)).map_or([0; 16].into(), IpAddr::from),
            254 => <[u8; 4]>::try_from(self.octets(4)).map_or([0; 4].into(), IpAddr::from),
            253 => <[u8; 4]>::try_from(self.octets(4)).map_or([0; 4].into(), IpAddr::from),
            _ => CLIENTS[usize::from(choice) % CLIENTS.len()].parse().expect("the list has addresses"),
        };
        (ip, port).into()
    }
}
