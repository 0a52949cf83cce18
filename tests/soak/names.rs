//! The names that are asked for, and what the resolver says of each: an answer is told by its question, so that one that
//! strayed is found out.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::resolver::Answer;
use crate::upstream::question_end;

/// Names of a kind that are asked again and again.
pub const MANY: u32 = 200;

/// Records of a name that takes more than a datagram, and more than the least of them.
const BIG: u16 = 100;
const MIDDLE: u16 = 70;

/// A name by what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A bucket of every configuration.
    Always(u32),
    /// A bucket that every second configuration has.
    Sometimes(u32),
    /// A bucket whose endpoint comes and goes.
    Flapping(u32),
    /// A bucket of which others are told that it does not exist.
    Hidden(u32),
    /// A bucket of which others are told nothing at all.
    Mute(u32),
    /// A name that everybody asks for.
    Popular(u32),
    /// The same, of an answer that may be kept for longer than a run.
    Known(u32),
    /// A name that nobody has asked for.
    Fresh(u64),
    /// One that does not exist.
    Absent(u64),
    /// One with so many addresses that they need TCP.
    Big(u32),
    /// One whose addresses need EDNS.
    Middle(u32),
    /// A public name that leads to a bucket.
    Alias(u32),
}

impl Name {
    pub fn text(self) -> String {
        let bucket = |kind: &str, number| format!("{kind}-{number:04}.s3.ap-northeast-1.amazonaws.com");
        match self {
            Name::Always(number) => bucket("always", number),
            Name::Sometimes(number) => bucket("sometimes", number),
            Name::Flapping(number) => bucket("flapping", number),
            Name::Hidden(number) => bucket("hidden", number),
            Name::Mute(number) => bucket("mute", number),
            Name::Popular(number) => format!("popular-{number:04}.service.example.com"),
            Name::Known(number) => format!("known-{number:04}.service.example.com"),
            Name::Fresh(number) => format!("fresh-{number:016x}.service.example.com"),
            Name::Absent(number) => format!("absent-{number:016x}.service.example.com"),
            Name::Big(number) => format!("big-{number:04}.service.example.com"),
            Name::Middle(number) => format!("middle-{number:04}.service.example.com"),
            Name::Alias(number) => format!("alias-{number:04}.service.example.com"),
        }
    }

    /// What the resolver knows of its IPv4 addresses.
    pub fn public_v4(self) -> Vec<Ipv4Addr> {
        let name = self.at_the_end().text();
        addresses(&name, self.count()).collect()
    }

    /// And of its IPv6 address.
    pub fn public_v6(self) -> Ipv6Addr {
        v6(&self.at_the_end().text())
    }

    /// Addresses it has in public.
    fn count(self) -> u16 {
        match self {
            Name::Big(_) => BIG,
            Name::Middle(_) => MIDDLE,
            _ => 1,
        }
    }

    /// Where its CNAME leads, if it is one.
    fn at_the_end(self) -> Name {
        match self {
            Name::Alias(number) => Name::Always(number),
            name => name,
        }
    }
}

/// A public name's addresses, each name's its own.
fn addresses(name: &str, count: u16) -> impl Iterator<Item = Ipv4Addr> {
    let [.., c, d] = hash(name).to_be_bytes();
    (0..count).map(move |nth| Ipv4Addr::new(198, 18 + (nth >> 8) as u8, c, d.wrapping_add(nth as u8)))
}

fn v6(name: &str) -> Ipv6Addr {
    let hash = hash(name);
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, (hash >> 16) as u16, hash as u16)
}

/// FNV-1a: of the name as it is written in lower case.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}

/// The resolver's part: every name as above, also the buckets', in public.
pub fn answers() -> Answer {
    Box::new(answer)
}

/// TTLs of answers, in seconds: of most, and of those that are to expire during the run.
const TTL: u32 = 300;
const SHORT_TTL: u32 = 3;

fn answer(packet: &mut [u8], length: usize, over_tcp: bool) -> Option<usize> {
    let query = packet.get(..length)?;
    let question_end = question_end(query)?;
    let opt = query.get(question_end..length).filter(|opt| opt.starts_with(&[0, 0, 41]));
    let limit = match opt.and_then(|opt| opt.get(3..5)) {
        _ if over_tcp => usize::MAX,
        Some(size) => usize::from(u16::from_be_bytes([size[0], size[1]]).max(512)),
        None => 512,
    };
    let text = text(query)?;
    let kind = query.get(question_end - 4..question_end - 2)?.to_vec();
    let (label, number) = text.split('.').next()?.split_once('-')?;
    let ttl = if matches!(label, "popular" | "alias") { SHORT_TTL } else { TTL };
    let (mut records, mut answers, mut soas, mut code) = (Vec::new(), 0_u16, 0, 0);
    let (mut owner, mut at_the_end) = ([0xc0, 12], text.clone());
    if label == "alias" {
        at_the_end = Name::Always(number.parse().ok()?).text();
        let start = question_end + 12;
        let target = wire(&at_the_end);
        record(&mut records, owner, [0, 5], ttl, &target);
        answers += 1;
        owner = (0xc000 | start as u16).to_be_bytes();
    }
    let count = match label {
        "big" => BIG,
        "middle" => MIDDLE,
        _ => 1,
    };
    let before = answers;
    match (label, kind.as_slice()) {
        ("absent", _) => code = 3,
        (_, [0, 1]) => addresses(&at_the_end, count).for_each(|address| {
            record(&mut records, owner, [0, 1], ttl, &address.octets());
            answers += 1;
        }),
        (_, [0, 28]) => {
            record(&mut records, owner, [0, 28], ttl, &v6(&at_the_end).octets());
            answers += 1;
        }
        _ => {}
    }
    if answers == before {
        // The SOA of what is above the first label; names of its servers are the root.
        let parent = (0xc000 | (12 + 1 + text.split('.').next()?.len()) as u16).to_be_bytes();
        let numbers: Vec<u8> =
            [1, 180, 60, 3_024_000, TTL].iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
        record(&mut records, parent, [0, 6], TTL, &[&[0, 0], &numbers[..]].concat());
        soas = 1;
    }
    let has_opt = opt.is_some();
    let end = question_end + records.len() + if has_opt { 11 } else { 0 };
    let truncated = end > limit;
    if truncated {
        (records, answers, soas) = (Vec::new(), 0, 0);
    }
    packet[2] = 0x80 | (packet[2] & 1) | if truncated { 2 } else { 0 };
    packet[3] = 0x80 | code;
    packet[6..8].copy_from_slice(&answers.to_be_bytes());
    packet[8..12].copy_from_slice(&[0, soas, 0, u8::from(has_opt)]);
    if has_opt {
        records.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]); // root, OPT, 1232 octets
    }
    let end = question_end + records.len();
    packet.get_mut(question_end..end)?.copy_from_slice(&records);
    Some(end)
}

/// Appends a record of class IN.
fn record(records: &mut Vec<u8>, owner: [u8; 2], kind: [u8; 2], ttl: u32, data: &[u8]) {
    records.extend(owner);
    records.extend(kind);
    records.extend([0, 1]);
    records.extend(ttl.to_be_bytes());
    records.extend((data.len() as u16).to_be_bytes());
    records.extend(data);
}

/// The name that a query asks for, in lower case.
fn text(query: &[u8]) -> Option<String> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some(labels.join("."));
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
}

/// A name as it goes over the wire.
pub fn wire(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
    name.split('.').flat_map(label).chain([0]).collect()
}
