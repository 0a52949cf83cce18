//! A question, who asks it, and which replies to it are right.
//!
//! Replies are read by hickory's reader, which is not phzd's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

use crate::lab::{ENDPOINT, FLAPPING, Who};
use crate::names::{Name, wire};
use crate::sky::Sky;
use crate::tally::Wait;

/// The most that a reply over UDP may take.
pub const MOST: usize = 1232;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A question for this type of a name; the second is that of its OPT, if it has one.
    Question(Name, RecordType, Option<u16>),
    /// Something that is none.
    Bad(Bad),
}

/// Packets that are no question, or none that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Eleven octets.
    Short,
    /// A reply.
    Reply,
    /// A header that promises a question, and none.
    Cut,
    /// A name with a label of 255 octets.
    Label,
    /// Two questions.
    Two,
    /// Opcode STATUS.
    Status,
    /// A zone transfer.
    Transfer,
    /// Class CH.
    Chaos,
    /// EDNS version 1.
    Version,
}

impl Bad {
    pub const ALL: [Bad; 9] =
        [Bad::Short, Bad::Reply, Bad::Cut, Bad::Label, Bad::Two, Bad::Status, Bad::Transfer, Bad::Chaos, Bad::Version];

    /// The packet.
    fn packet(self) -> Vec<u8> {
        let mut packet = question(&Name::Popular(1).text(), RecordType::A, None);
        let end = packet.len();
        match self {
            Bad::Short => packet.truncate(11),
            Bad::Reply => packet[2] |= 0x80,
            Bad::Cut => packet.truncate(12),
            Bad::Label => packet[12] = 255,
            Bad::Two => {
                packet[5] = 2;
                packet.extend_from_within(12..);
            }
            Bad::Status => packet[2] |= 2 << 3,
            Bad::Transfer => packet[end - 3] = 252,
            Bad::Chaos => packet[end - 1] = 3,
            Bad::Version => {
                packet[11] = 1;
                packet.extend([0, 0, 41, 0x04, 0xd0, 0, 1, 0, 0, 0, 0]);
            }
        }
        packet
    }

    /// The code it is told, if it is told anything (RFC 1035 section 4.1.1, RFC 6891 section 6.1.3).
    fn code(self) -> Option<ResponseCode> {
        match self {
            Bad::Short | Bad::Reply => None,
            Bad::Cut | Bad::Label | Bad::Two => Some(ResponseCode::FormErr),
            Bad::Status | Bad::Transfer => Some(ResponseCode::NotImp),
            Bad::Chaos => Some(ResponseCode::Refused),
            Bad::Version => Some(ResponseCode::BADVERS),
        }
    }
}

/// A query that was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub who: Who,
    pub what: What,
    pub packet: Vec<u8>,
    /// When it was due, which is when it was sent or a little earlier.
    pub due: Instant,
    pub over_tcp: bool,
}

/// What a reply is.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Right,
    /// Right, and only a part: TCP has the rest.
    Truncated,
    /// SERVFAIL, while the resolver does not answer.
    Excused,
    Wrong(String),
}

/// What a reply may say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Addresses(BTreeSet<IpAddr>),
    /// There is the name, and nothing of this type.
    Nothing,
    Code(ResponseCode),
}

impl Asked {
    /// A query with this id, its letters in upper case where `shout` says so.
    pub fn new(who: Who, what: What, id: u16, shout: bool, due: Instant) -> Asked {
        let mut packet = match what {
            What::Question(name, kind, opt) => question(&name.text(), kind, opt),
            What::Bad(bad) => bad.packet(),
        };
        packet[..2].copy_from_slice(&id.to_be_bytes());
        if shout && let What::Question(name, ..) = what {
            packet[12..12 + name.text().len()].iter_mut().skip(1).for_each(|octet| {
                // Lengths of labels are below those of letters here.
                octet.make_ascii_uppercase();
            });
        }
        Asked { who, what, packet, due, over_tcp: false }
    }

    /// Its id.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.packet[0], self.packet[1]])
    }

    /// Whether it may be that it gets no reply on purpose.
    pub fn wants_silence(&self) -> bool {
        match self.what {
            What::Question(name, ..) => self.who == Who::Greedy || self.who.is_other() && matches!(name, Name::Mute(_)),
            What::Bad(bad) => bad.code().is_none(),
        }
    }

    /// What its reply waits for.
    pub fn waits_for(&self) -> Wait {
        let What::Question(name, kind, _) = self.what else { return Wait::Nobody };
        match name {
            _ if self.who == Who::Stranger => Wait::Nobody,
            Name::Always(_) | Name::Hidden(_) | Name::Mute(_) if self.who == Who::Allowed => Wait::Nobody,
            Name::Hidden(_) => Wait::Nobody,
            Name::Fresh(_) | Name::Absent(_) => Wait::Resolver,
            _ if kind != RecordType::A => Wait::Resolver,
            _ => Wait::Cache,
        }
    }

    /// Judges a reply that has just come.
    pub fn judge(&self, reply: &[u8], sky: &Sky) -> Verdict {
        self.judged(reply, sky)
            .unwrap_or_else(|why| Verdict::Wrong(format!("{:?} asks {:?}: {why}", self.who, self.what)))
    }

    fn judged(&self, reply: &[u8], sky: &Sky) -> Result<Verdict, String> {
        let message = Message::from_vec(reply).map_err(|error| format!("unreadable: {error}"))?;
        let data = &message.metadata;
        let code = data.response_code;
        if data.id != self.id() || reply[2] & 0x80 == 0 || data.authoritative {
            return Err(format!("its head is {:02x?}", reply.get(..12).unwrap_or_default()));
        }
        let (name, kind, opt) = match self.what {
            What::Question(name, kind, opt) => (name, kind, opt),
            What::Bad(bad) => {
                // BADVERS has a number that means something else in TSIG records, and hickory reads that.
                let number = u16::from(code);
                // That somebody may not ask may be found first.
                let is_refused = self.who == Who::Stranger && code == ResponseCode::Refused;
                let is_right = (bad.code().map(u16::from) == Some(number) || is_refused) && message.answers.is_empty();
                return if is_right { Ok(Verdict::Right) } else { Err(format!("{code}")) };
            }
        };
        let question_end = 12 + name.text().len() + 2 + 4;
        if reply.get(12..question_end) != self.packet.get(12..question_end) {
            return Err("another question".into());
        }
        if !data.recursion_available || !data.recursion_desired || message.edns.is_some() != opt.is_some() {
            return Err(format!("its flags are {:02x?}, and OPT {}", &reply[2..4], message.edns.is_some()));
        }
        let limit = opt.map_or(512, |size| usize::from(size.max(512))).min(MOST);
        if !self.over_tcp && reply.len() > limit {
            return Err(format!("{} octets, of at most {limit}", reply.len()));
        }
        let acceptable = self.acceptable(name, kind, sky);
        if data.truncation {
            let fits = acceptable.iter().all(|content| self.size(content, question_end) <= limit);
            let is_empty = message.answers.is_empty() && code == ResponseCode::NoError;
            // Whoever asks too much is told to show that it is there, by asking over TCP.
            return match is_empty && (!fits || self.who == Who::Greedy) && !self.over_tcp {
                true => Ok(Verdict::Truncated),
                false => Err("truncated".into()),
            };
        }
        let said = said(&message, name, kind)?;
        let is_failure = said == Content::Code(ResponseCode::ServFail);
        if acceptable.contains(&said) {
            Ok(if is_failure { Verdict::Excused } else { Verdict::Right })
        } else {
            // Of a name with a hundred addresses, a few show as much.
            let text = |of: String| of.chars().take(160).collect::<String>();
            Err(format!("{}, not {}", text(format!("{said:?}")), text(format!("{acceptable:?}"))))
        }
    }

    /// At the least, octets of a reply that says this.
    fn size(&self, content: &Content, question_end: usize) -> usize {
        let count = if let Content::Addresses(addresses) = content { addresses.len() } else { 0 };
        question_end + 16 * count + if self.packet[11] > 0 { 11 } else { 0 }
    }

    /// What may be said of `name`.
    fn acceptable(&self, name: Name, kind: RecordType, sky: &Sky) -> Vec<Content> {
        let public = || -> Vec<Content> {
            let known = match (name, kind) {
                (Name::Absent(_), _) => Content::Code(ResponseCode::NXDomain),
                (_, RecordType::A) => Content::Addresses(name.public_v4().into_iter().map(IpAddr::V4).collect()),
                (_, RecordType::AAAA) => Content::Addresses([IpAddr::V6(name.public_v6())].into()),
                _ => Content::Nothing,
            };
            // What is popular has been answered before, and may serve past its time (RFC 8767).
            let is_known = matches!(name, Name::Popular(_) | Name::Known(_)) && kind == RecordType::A;
            let fails = self.who == Who::Greedy || sky.resolver.since(self.due) != Some(true) && !is_known;
            [known].into_iter().chain(fails.then_some(Content::Code(ResponseCode::ServFail))).collect()
        };
        let private = |addresses: &[Ipv4Addr]| match kind {
            RecordType::A => Content::Addresses(addresses.iter().copied().map(IpAddr::V4).collect()),
            _ => Content::Nothing,
        };
        // For whom both may be so, both are right.
        let at_times = |is_private: Option<bool>, addresses: &[Ipv4Addr]| match is_private {
            Some(true) => vec![private(addresses)],
            Some(false) => public(),
            None => [vec![private(addresses)], public()].concat(),
        };
        match (self.who, name) {
            (Who::Stranger, _) => vec![Content::Code(ResponseCode::Refused)],
            (Who::Allowed, Name::Always(_) | Name::Hidden(_) | Name::Mute(_)) => vec![private(&ENDPOINT)],
            (Who::Allowed, Name::Alias(_)) => {
                let fails = public().into_iter().filter(|content| matches!(content, Content::Code(_)));
                [private(&ENDPOINT)].into_iter().chain(fails).collect()
            }
            (Who::Allowed, Name::Sometimes(_)) => at_times(sky.sometimes.since(self.due), &ENDPOINT),
            (Who::Allowed, Name::Flapping(_)) => at_times(sky.endpoint.since(self.due), &[FLAPPING]),
            (_, Name::Hidden(_)) => vec![Content::Code(ResponseCode::NXDomain)],
            (_, Name::Mute(_)) => Vec::new(),
            _ => public(),
        }
    }
}

impl Who {
    /// Whether it may ask and is given nothing private.
    fn is_other(self) -> bool {
        matches!(self, Who::Public | Who::Greedy | Who::Crowding)
    }
}

/// What a reply says of a name; it is an error if that contradicts itself.
fn said(message: &Message, name: Name, kind: RecordType) -> Result<Content, String> {
    let code = message.metadata.response_code;
    let mut addresses = BTreeSet::new();
    for record in &message.answers {
        let address = match &record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            RData::CNAME(_) if matches!(name, Name::Alias(_)) => continue,
            other => return Err(format!("a record of type {}", other.record_type())),
        };
        if record.ttl > 300 || record.record_type() != kind || !addresses.insert(address) {
            return Err(format!("the record {record}"));
        }
    }
    match code {
        ResponseCode::NoError if addresses.is_empty() => match message.authorities.iter().any(is_soa) {
            true => Ok(Content::Nothing),
            false => Err("nothing, and no SOA".into()),
        },
        ResponseCode::NoError => Ok(Content::Addresses(addresses)),
        ResponseCode::NXDomain if !message.authorities.iter().any(is_soa) => Err("NXDOMAIN without SOA".into()),
        code if addresses.is_empty() => Ok(Content::Code(code)),
        code => Err(format!("{code} with addresses")),
    }
}

fn is_soa(record: &hickory_proto::rr::Record) -> bool {
    record.record_type() == RecordType::SOA
}

/// A query for a name's records, RD set, without an id.
fn question(name: &str, kind: RecordType, opt: Option<u16>) -> Vec<u8> {
    let mut octets = vec![0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
    octets.extend(wire(name));
    octets.extend(u16::from(kind).to_be_bytes());
    octets.extend([0, 1]);
    if let Some(size) = opt {
        octets.extend([0, 0, 41]);
        octets.extend(size.to_be_bytes());
        octets.extend([0; 6]);
    }
    octets
}
