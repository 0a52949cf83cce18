//! What every reply owes to its query, whatever the scenario says of it.

use std::net::SocketAddr;

use super::notation::{Asking, Seen, Told};

/// A query a client sent.
#[derive(Clone)]
pub struct Query {
    /// From here.
    pub client: SocketAddr,
    /// Its bytes.
    pub packet: Vec<u8>,
    /// What it asks, unless it was written as bytes.
    pub asking: Option<Asking>,
}

impl Query {
    /// Whether it comes over TCP.
    pub fn is_tcp(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.tcp)
    }
}

/// What every reply owes to its query: id, question, RD, CD, DO, an OPT if and only if there was one, and no more than
/// fits.
pub fn echoed(query: &Query, seen: &Seen<'_>) -> Told<()> {
    let (packet, reply) = (&query.packet, seen.bytes);
    if reply.get(..2) != packet.get(..2) {
        return Err(format!("the id is not the query's: {:02x?}", &reply[..2]));
    }
    if (reply[2] ^ packet[2]) & 0x79 != 0 {
        return Err("opcode or RD is not the query's".into());
    }
    let Some(asking) = &query.asking else { return Ok(()) };
    let head =
        12 + asking.name.len() + 2 * usize::from(!asking.name.is_empty()) + usize::from(asking.name.is_empty()) + 4;
    if reply.get(4..6) != Some(&[0, 1]) || reply.get(12..head) != packet.get(12..head) {
        return Err("the question is not the query's, octet by octet".into());
    }
    if (reply[3] ^ packet[3]) & 0x10 != 0 {
        return Err("CD is not the query's".into());
    }
    match (&seen.message.edns, asking.edns) {
        (None, false) => {}
        (Some(edns), true) => {
            let ours = (edns.max_payload(), edns.version(), edns.flags().dnssec_ok);
            if ours != (1232, 0, asking.dnssec_ok) {
                return Err(format!("size, version and DO of the OPT are {ours:?}"));
            }
        }
        (Some(_), false) => return Err("the reply has an OPT, the query had none".into()),
        (None, true) => return Err("the reply has no OPT, the query had one".into()),
    }
    let limit = match asking {
        Asking { tcp: true, .. } => 65_535,
        Asking { edns: false, .. } => 512,
        Asking { size, .. } => usize::from(*size).clamp(512, 1232),
    };
    if reply.len() > limit { Err(format!("{} octets, over the limit of {limit}", reply.len())) } else { Ok(()) }
}
