//! The cache as bytes: how its answers are written, and read again after a restart.
//!
//! Apart from the cache, which knows no format, and from the file, which knows no answer. An answer is written as the
//! message it would be sent as, and read by what reads resolvers' replies ([`reply::read`]): whatever a file says, it
//! cannot put into the cache what no resolver could have.
//!
//! After the [`HEAD`] come entries; numbers are in network order:
//!
//! ```text
//! mark, 4 octets | length, 4 | CRC-32 of length and content, 4 | content
//! content: stored, 8 | expires, 8 | flags, 1 | length of the route, 2 | route | reply
//! ```
//!
//! Each entry has its own mark and checksum, so a damaged one costs itself, and a file cut short its end. The times are
//! seconds of Unix time, since no other clock goes on over a restart.

use std::net::{IpAddr, SocketAddr};

use super::Route;
use super::cache::kept::Kept;
use crate::config::Channel;
use crate::wire::query::{HEADER, skip_name};
use crate::wire::reply::{self, Received};
use crate::wire::{Name, Placement, Question, presentation};

/// What a snapshot begins with. The number changes when older versions could not read it.
pub const HEAD: &[u8] = b"phzd cache, format 1\n";
/// What the heads of all formats begin with.
const KIN: &[u8] = b"phzd cache, format ";
/// What an entry begins with, so that one is found behind damage. The first octet is none of any text.
const MARK: &[u8] = b"\xf5phz";
/// Damaged places after which the rest is not looked at: each may cost the checksum of the longest entry.
const MOST_DAMAGES: usize = 1000;
/// The longest TTL, in seconds (RFC 2181 section 8).
const MAX_TTL: u64 = i32::MAX as u64;

/// The flags of an entry.
mod flag {
    /// The question had DO set.
    pub const DNSSEC_OK: u8 = 1;
    /// The answer stood in the main queue.
    pub const MAIN: u8 = 2;
    /// The uses begin here, up to the highest bit.
    pub const USES: u32 = 2;
}

//------------ Writing ------------------------------------------------------------------------------------------------

/// The entry of `kept`, whose times are `stored` and `expires`. `None` for what no resolver's reply can be.
pub fn entry(kept: &Kept, stored: u64, expires: u64) -> Option<Vec<u8>> {
    let (route, message) =
        (written(&kept.route), presentation::message(&kept.question, &kept.answer, Placement::FRESH)?);
    let (dnssec_ok, main) = (u8::from(kept.question.dnssec_ok), u8::from(kept.main));
    let flags = (dnssec_ok * flag::DNSSEC_OK) | (main * flag::MAIN) | (kept.uses << flag::USES);
    let length = u32::try_from(8 + 8 + 1 + 2 + route.len() + message.len()).ok()?.to_be_bytes();
    let mut entry = Vec::with_capacity(MARK.len() + 8 + 19 + route.len() + message.len());
    entry.extend(MARK);
    entry.extend(length);
    entry.extend([0; 4]);
    let content = entry.len();
    entry.extend(stored.to_be_bytes());
    entry.extend(expires.to_be_bytes());
    entry.push(flags);
    entry.extend(u16::try_from(route.len()).ok()?.to_be_bytes());
    entry.extend(route);
    entry.extend(message);
    let sum = checksum(length, entry.get(content..)?);
    entry.get_mut(content - 4..content)?.copy_from_slice(&sum.to_be_bytes());
    Some(entry)
}

/// A route as it is written: equal routes alike, others otherwise. Nobody has to read it: what matters is whose it is.
pub fn written(route: &Route) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    let text = |out: &mut Vec<u8>, text: &str| {
        // With its length, so that where one text ends and the next begins counts as well.
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text.as_bytes());
    };
    for hop in route.hops() {
        let address = hop.address();
        match address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
                let scope = if let SocketAddr::V6(address) = address { address.scope_id() } else { 0 };
                out.extend(scope.to_be_bytes());
            }
        }
        out.extend(address.port().to_be_bytes());
        match &hop.target.channel {
            Channel::Plain => out.push(0),
            Channel::Tls(host) => {
                out.push(1);
                text(&mut out, host);
            }
            Channel::Https { host, path } => {
                out.push(2);
                text(&mut out, host);
                text(&mut out, path);
            }
        }
    }
    out
}

//------------ Reading ------------------------------------------------------------------------------------------------

/// Why nothing of a snapshot is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Another version of phzd wrote it.
    OtherFormat,
    /// It is no snapshot.
    Foreign,
}

/// An entry that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// An entry with a good checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Whose answer it is: what [`written`] makes of the route.
    pub route: &'a [u8],
    /// When it was kept, in seconds of Unix time.
    pub stored: u64,
    /// When its time is over, at least a second after.
    pub expires: u64,
    /// It stood in the main queue.
    pub main: bool,
    /// Times asked for, as far as they count.
    pub uses: u8,
    dnssec_ok: bool,
    message: &'a [u8],
}

/// The entries of a snapshot, one by one.
///
/// # Errors
/// [`Unreadable`] if it does not begin as one.
pub fn entries(snapshot: &[u8]) -> Result<Entries<'_>, Unreadable> {
    match snapshot.strip_prefix(HEAD) {
        Some(rest) => Ok(Entries { rest, damages: 0 }),
        None if snapshot.starts_with(KIN) => Err(Unreadable::OtherFormat),
        None => Err(Unreadable::Foreign),
    }
}

/// See [`entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
    damages: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some((content, rest)) = framed(self.rest) {
            self.rest = rest;
            return Some(Entry::read(content).ok_or(Damaged));
        }
        self.damages += 1;
        let next = self.rest.windows(MARK.len()).skip(1).position(|here| here == MARK);
        let next = next.filter(|_| self.damages < MOST_DAMAGES);
        self.rest = next.and_then(|skipped| self.rest.get(skipped + 1..)).unwrap_or_default();
        Some(Err(Damaged))
    }
}

/// The content of the entry that `bytes` begins with, and what comes after it.
fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.strip_prefix(MARK)?.split_first_chunk::<4>()?;
    let (sum, bytes) = bytes.split_first_chunk::<4>()?;
    let (content, rest) = bytes.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (checksum(*length, content) == u32::from_be_bytes(*sum)).then_some((content, rest))
}

impl<'a> Entry<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let (stored, rest) = content.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (&flags, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (route, message) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (stored, expires) = (u64::from_be_bytes(*stored), u64::from_be_bytes(*expires));
        let lifetime = expires.checked_sub(stored)?;
        (1..=MAX_TTL).contains(&lifetime).then_some(Self {
            route,
            stored,
            expires,
            main: flags & flag::MAIN != 0,
            uses: flags >> flag::USES,
            dnssec_ok: flags & flag::DNSSEC_OK != 0,
            message,
        })
    }

    /// Question and answer. `None` if they are not what a resolver could have been asked, and have said.
    pub fn open(&self) -> Option<(Question, Received)> {
        let end = skip_name(self.message, HEADER)?;
        let question = Question {
            name: Name::from_wire(self.message.get(HEADER..end)?)?,
            kind: u16::from_be_bytes(*self.message.get(end..)?.first_chunk()?),
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.message.get(3)? & 0x10 != 0,
        };
        let received = reply::read(self.message, &question, None).ok()?;
        Some((question, received))
    }
}

fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&length);
    sum.update(content);
    sum.finalize()
}

#[cfg(test)]
mod tests;
