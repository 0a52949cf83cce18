//! What holds of every reply, read with hickory-proto, which phzd does not write with.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{RData, Record};
use phzd::wire::{Name, Transport};

use crate::house::{may_ask, may_be_told};

/// What a buffer is filled with, so that octets beyond a reply show.
pub const FILL: u8 = 0xee;

/// The most octets that a reply to this packet may have, as the packet itself says (RFC 6891 section 6.2.3); told from its
/// own bytes. `None` for one that hickory cannot read.
fn limit(packet: &[u8], transport: Transport) -> Option<usize> {
    if transport == Transport::Tcp {
        return Some(65_535);
    }
    let edns = Message::from_vec(packet).ok()?.edns;
    Some(edns.map_or(512, |edns| usize::from(edns.max_payload()).clamp(512, 1232)))
}

/// Judges the reply in the first `length` octets of `out` to what `client` sent. Returns it as hickory reads it; with
/// `strict`, hickory has to be able to.
pub fn judge(
    packet: &[u8],
    client: SocketAddr,
    transport: Transport,
    (out, length): (&[u8], usize),
    strict: bool,
) -> Option<Message> {
    let reply = &out[..length];
    // Whoever writes too far does so at the end; to look at all of it would take longer than the reply.
    assert!(out[length..].iter().take(256).all(|octet| *octet == FILL), "octets beyond the reply");
    assert!(client.port() != 0, "a reply to port 0");
    assert!(length >= 12 && length <= if transport == Transport::Udp { 1232 } else { 65_535 }, "{length} octets");
    if let Some(limit) = limit(packet, transport) {
        assert!(length <= limit, "{length} octets, and {limit} are taken");
    }
    assert_eq!(packet[2] & 0x80, 0, "a reply is replied to");
    assert_eq!(reply[..2], packet[..2], "the id");
    assert_eq!(reply[2] & 0xf9, 0x80 | packet[2] & 0x79, "QR, opcode, RD");
    assert_eq!(reply[3] & 0x80, 0x80, "RA");
    assert_eq!(reply[2] & 0x04, 0, "AA");
    if reply[4..6] == [0, 1] {
        assert_eq!(packet[4..6], [0, 1], "a question where there was none");
        let end = 12 + reply[12..].iter().zip(&packet[12..]).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(end >= question_end(packet), "the question is not what was asked");
    } else {
        assert_eq!((length, &reply[4..12]), (12, &[0; 8][..]), "a header alone");
    }
    if !may_ask(client.ip()) {
        assert!(reply[3] & 0x0f != 0 && reply[6..10] == [0; 4], "{client} may not ask");
    }
    let read = Message::from_vec(reply);
    assert!(!strict || read.is_ok(), "{:?}: {reply:02x?}", read.err());
    let message = read.ok()?;
    if let Ok(asked) = Message::from_vec(packet) {
        assert!(message.edns.is_none() || asked.edns.is_some(), "an OPT that nobody asked for");
    }
    for record in records(&message) {
        let told: Option<IpAddr> = match &record.data {
            RData::A(address) => Some(address.0.into()),
            RData::AAAA(address) => Some(address.0.into()),
            _ => None,
        };
        assert!(told.is_none_or(|address| may_be_told(client.ip(), address)), "{client} is told {record}");
    }
    Some(message)
}

/// The records of all sections but the OPT.
pub fn records(message: &Message) -> impl Iterator<Item = &Record> {
    message.answers.iter().chain(&message.authorities).chain(&message.additionals)
}

/// Whose record it is.
pub fn owner(record: &Record) -> Name {
    let wire: Vec<u8> =
        record.name.iter().flat_map(|label| [&[label.len() as u8], label].concat()).chain([0]).collect();
    Name::from_wire(&wire).expect("hickory reads names")
}

/// Seconds: with its highest bit set a TTL counts as 0 (RFC 2181 section 8).
pub fn ttl(record: &Record) -> u64 {
    i32::try_from(record.ttl).map_or(0, i32::cast_unsigned).into()
}

/// Where the question of a packet ends whose labels are well-formed.
fn question_end(packet: &[u8]) -> usize {
    let mut at = 12;
    while let Some(length) = packet.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(*length);
    }
    at + 5
}

/// Whether these octets are one query with RD.
pub fn is_query(packet: &[u8]) -> bool {
    let asks = |message: &Message| message.queries.len() == 1 && message.metadata.recursion_desired;
    packet.get(2).is_some_and(|flags| flags & 0x80 == 0)
        && Message::from_vec(packet).is_ok_and(|message| asks(&message))
}

/// Whether a reply carries this extended error (RFC 8914).
pub fn has_error(reply: &[u8], code: u16) -> bool {
    let Some(edns) = Message::from_vec(reply).ok().and_then(|message| message.edns) else { return false };
    edns.options().as_ref().iter().any(|(_, option)| match option {
        EdnsOption::Unknown(15, data) => data.starts_with(&code.to_be_bytes()),
        _ => false,
    })
}

/// Whether a message whose names are not compressed beyond its owners has a record of this type and data.
pub fn holds(message: &[u8], kind: u16, data: &[u8]) -> bool {
    let mut record = kind.to_be_bytes().to_vec();
    record.extend([0, 1]);
    let length = u16::try_from(data.len()).expect("data of a record");
    let whole = |at: usize| {
        let rest = message.get(at + 8..).unwrap_or_default();
        rest.starts_with(&length.to_be_bytes()) && rest[2..].starts_with(data)
    };
    message.windows(4).enumerate().any(|(at, four)| four == record && whole(at))
}
