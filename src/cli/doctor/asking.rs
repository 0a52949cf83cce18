//! Questions as the doctor asks them: twice over UDP before silence is believed, and what of a reply it judges.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

use crate::ask::{Way, ask};
use phzd::wire::Transport;

/// How long one datagram may take; a lost one is sent again.
const DATAGRAM: Duration = Duration::from_millis(1500);
/// How long a reply may take in all.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its code.
    pub code: ResponseCode,
    /// Addresses in the answer, of either family, in order.
    pub addresses: Vec<IpAddr>,
    /// Where the first CNAME leads, without the dot at the end.
    pub alias: Option<String>,
}

/// Asks `server` as a stub resolver would: over UDP, over TCP if the answer is too long.
///
/// # Errors
/// In words: there is no reply.
pub fn heard(server: SocketAddr, name: &str, kind: RecordType) -> Result<Heard, String> {
    let way = Way::plain(server);
    let reply = asked(way, name, kind).and_then(|reply| {
        let short = reply.metadata.truncation;
        if short { asked(Way { transport: Transport::Tcp, ..way }, name, kind) } else { Ok(reply) }
    });
    reply.map(|reply| Heard::of(&reply)).map_err(|error| why(&error))
}

/// Asks by `way`, however often that takes.
///
/// # Errors
/// There is no reply in [`PATIENCE`].
pub fn asked(way: Way, name: &str, kind: RecordType) -> io::Result<Message> {
    match way.transport {
        Transport::Tcp => ask(&Way { patience: PATIENCE, ..way }, name, kind),
        Transport::Udp => {
            let way = Way { patience: DATAGRAM, ..way };
            match ask(&way, name, kind) {
                Err(error) if error.kind() == ErrorKind::TimedOut => ask(&way, name, kind),
                result => result,
            }
        }
    }
}

/// Why there is no reply.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("no reply in {} s", PATIENCE.as_secs()),
        ErrorKind::ConnectionRefused => "nobody listens there".into(),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => "there is no route to it".into(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "it closes the connection".into(),
        _ => error.to_string(),
    }
}

/// `SERVFAIL`.
pub fn mnemonic(code: ResponseCode) -> String {
    format!("{code:?}").to_uppercase()
}

impl Heard {
    fn of(reply: &Message) -> Self {
        let address = |data: &RData| match data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        };
        let alias = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.to_string().trim_end_matches('.').to_ascii_lowercase()),
            _ => None,
        });
        let addresses = reply.answers.iter().filter_map(|record| address(&record.data)).collect();
        Self { code: reply.metadata.response_code, addresses, alias }
    }

    /// Its addresses, or why there are none.
    pub fn shown(&self) -> String {
        match self.code {
            ResponseCode::NoError if self.addresses.is_empty() => "no address".into(),
            ResponseCode::NoError => list(&self.addresses),
            code => mnemonic(code),
        }
    }
}

/// Some things, with a comma between; of many the first.
pub fn list<T: ToString>(things: &[T]) -> String {
    const SHOWN: usize = 4;
    let mut text = things.iter().take(SHOWN).map(T::to_string).collect::<Vec<_>>().join(", ");
    if things.len() > SHOWN {
        text += &format!(" and {} more", things.len() - SHOWN);
    }
    text
}
