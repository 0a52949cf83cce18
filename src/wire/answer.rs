//! Stored answers: the wire bytes of all sections but OPT, ready to be sent after a question.
//!
//! Zones, endpoints and the cache all yield an [`Answer`], and [`Answer::write`] is the one place where a reply is made
//! of it: the client's own id, question, RD and CD (RFC 1035 section 4.1.1), TTLs less the answer's age, an OPT of
//! ours if the query had one (RFC 6891 section 6.1.1), and TC where the client takes no more (RFC 2181 section 9).

mod splice;

use std::borrow::Cow;

use super::Name;
use super::query::{CLASS_IN, HEADER, MAX_UDP, Query, kind, rcode};

/// A reply's sections in stored form. Immutable; shared by all whom it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Response code; over 15 it needs an OPT to be said (RFC 6891 section 6.1.3).
    rcode: u16,
    /// AD: the resolver found the data authentic (RFC 4035 section 3.2.3).
    authentic: bool,
    /// Records in answer, authority and additional section.
    counts: [u16; 3],
    /// The records. Compression pointers are offsets in a message whose question has the name's length.
    body: Box<[u8]>,
    /// Where in `body` the TTLs are that count down: all but RRSIG's original TTL and SOA's MINIMUM.
    ttls: Box<[u16]>,
    /// Where in `body` pointers are that mean the zone's own name, not the name asked.
    apexes: Box<[u16]>,
    /// Octets of each record of the answer section if they are of one size and take turns to be first; else 0.
    stride: u16,
    /// The chain of CNAMEs that begins at the question (RFC 1034 section 3.6.2).
    aliases: Box<[Alias]>,
    /// Said in the OPT, if the query had one.
    errors: Box<[ExtendedError]>,
}

/// A link of a CNAME chain; its owner is the target before it, or the question's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// What the CNAME points to.
    pub target: Name,
    /// Seconds.
    pub ttl: u32,
}

/// An extended error (RFC 8914).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT, UTF-8 by the RFC; a resolver's is passed on as it came.
    pub text: Cow<'static, [u8]>,
}

impl ExtendedError {
    /// Code 3: the answer's time is over, and nobody could be asked for a newer one.
    pub const STALE_ANSWER: u16 = 3;
    /// Code 14: we are not there yet.
    pub const NOT_READY: u16 = 14;
    /// Code 18: this client is not served.
    pub const PROHIBITED: u16 = 18;
    /// Code 22: no resolver answered.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// Code 0: what the text says.
    pub const OTHER: u16 = 0;

    /// An error of our own.
    pub const fn new(code: u16, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text.as_bytes()) }
    }

    /// Octets as an EDNS option.
    fn size(&self) -> usize {
        6 + self.text.len()
    }
}

/// Section of a message, in wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Records that answer the question.
    Answer = 0,
    /// Records that say who knows.
    Authority = 1,
    /// Records that may help.
    Additional = 2,
}

/// What differs each time one answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Seconds since the answer was made.
    pub age: u32,
    /// Where in the name that is answered the zone's name begins.
    pub apex: u16,
    /// Which record of a rotating set is first, modulo their number.
    pub turn: u32,
    /// The answer's time is over: its TTLs are [`STALE_TTL`], and an extended error says so (RFC 8767).
    pub stale: bool,
}

/// The TTL of every record of an answer that is served when its time is over, in seconds (RFC 8767 section 4).
pub const STALE_TTL: u32 = 30;

/// What is said with such an answer.
static STALE: [ExtendedError; 1] = [ExtendedError::new(ExtendedError::STALE_ANSWER, "")];

impl Placement {
    /// A fresh answer.
    pub const FRESH: Self = Self { age: 0, apex: 0, turn: 0, stale: false };
}

impl Placement {
    /// What counts down from `ttl` shows so long after.
    pub fn shown(self, ttl: u32) -> u32 {
        if self.stale { STALE_TTL } else { ttl.saturating_sub(self.age) }
    }
}

impl Answer {
    /// An answer without records.
    pub fn empty(rcode: u16) -> Self {
        Builder::new(rcode).build()
    }

    /// The same code and reasons without records, which belong behind the question that they were an answer to.
    pub fn without_records(&self) -> Self {
        self.errors.iter().cloned().fold(Builder::new(self.rcode), Builder::error).build()
    }

    /// An answer without records that says why.
    pub fn error(rcode: u16, error: ExtendedError) -> Self {
        Builder::new(rcode).error(error).build()
    }

    /// Response code, extended ones included.
    pub fn rcode(&self) -> u16 {
        self.rcode
    }

    /// The chain of CNAMEs that begins at the question; none where the question was for CNAME or ANY.
    pub fn aliases(&self) -> &[Alias] {
        &self.aliases
    }

    /// The extended errors said with it.
    pub fn errors(&self) -> &[ExtendedError] {
        &self.errors
    }

    /// Octets of memory this answer holds.
    pub fn footprint(&self) -> usize {
        let aliases: usize = self.aliases.iter().map(|alias| size_of::<Alias>() + alias.target.as_wire().len()).sum();
        let errors: usize = self.errors.iter().map(|error| size_of::<ExtendedError>() + error.text.len()).sum();
        size_of::<Self>() + self.body.len() + 2 * (self.ttls.len() + self.apexes.len()) + aliases + errors
    }

    /// Lifts every TTL below `least` seconds to it.
    pub fn raise_ttls(&mut self, least: u32) {
        for &at in &self.ttls {
            if let Some(ttl) = four_octets(&mut self.body, at) {
                *ttl = u32::from_be_bytes(*ttl).max(least).to_be_bytes();
            }
        }
        for alias in &mut self.aliases {
            alias.ttl = alias.ttl.max(least);
        }
    }

    /// Writes the reply to `query` into `out`, at most `limit` octets; returns its length, or 0 if question
    /// and OPT alone are longer. What does not fit leaves question and OPT, with TC set.
    pub fn write(&self, query: &Query<'_>, place: Placement, limit: usize, out: &mut [u8]) -> usize {
        let head = query.head();
        let limit = limit.min(out.len());
        let said = if place.stale { &STALE[..] } else { &*self.errors };
        let (mut errors, mut opt) = match query.edns() {
            Some(_) => (said, 11 + said.iter().map(ExtendedError::size).sum::<usize>()),
            None => (&[][..], 0),
        };
        // What explains an answer must not cost the answer.
        if head.len() + self.body.len() + opt > limit && !errors.is_empty() {
            (errors, opt) = (&[], 11);
        }
        let truncated = head.len() + self.body.len() + opt > limit;
        let body = if truncated { 0 } else { self.body.len() };
        let length = head.len() + body + opt;
        let Some((reply, _)) = out.get_mut(..limit).and_then(|out| out.split_at_mut_checked(length)) else { return 0 };
        let (front, rest) = reply.split_at_mut(head.len());
        front.copy_from_slice(head);
        let (records, tail) = rest.split_at_mut(body);
        if !truncated {
            self.write_records(place, records);
        }
        // RFC 6891 section 6.1.3: a code over 15 cannot be said without an OPT.
        let code = if opt == 0 && self.rcode > 15 { rcode::SERVFAIL } else { self.rcode };
        if let Some(header) = front.first_chunk_mut::<HEADER>() {
            self.write_header(query, code, truncated, opt > 0, header);
        }
        if opt > 0 {
            write_opt(query.dnssec_ok(), code, errors, tail);
        }
        length
    }

    /// Flags and counts; id and question stand already.
    fn write_header(&self, query: &Query<'_>, code: u16, truncated: bool, opt: bool, header: &mut [u8; HEADER]) {
        // AA is never set: a VPC's resolver clears it for private zones too, and the cache is no authority.
        header[2] = 0x80 | u8::from(truncated) << 1 | u8::from(query.recursion_desired());
        // RFC 6840 section 5.8: AD only for those who ask to know.
        let authentic = self.authentic && query.wants_authentic();
        header[3] = 0x80 | u8::from(authentic) << 5 | u8::from(query.checking_disabled()) << 4 | (code & 0x0f) as u8;
        let [answer, authority, additional] = if truncated { [0; 3] } else { self.counts };
        header[6..8].copy_from_slice(&answer.to_be_bytes());
        header[8..10].copy_from_slice(&authority.to_be_bytes());
        header[10..12].copy_from_slice(&(additional + u16::from(opt)).to_be_bytes());
    }

    /// The records, rotated, aged and owned as `place` says; `out` is as long as the body.
    fn write_records(&self, place: Placement, out: &mut [u8]) {
        let set = usize::from(self.stride) * usize::from(self.counts[0]);
        match self.body.split_at_checked(set) {
            Some((set, others)) if self.counts[0] > 1 && self.stride > 0 => {
                let turn = place.turn % u32::from(self.counts[0]);
                let (last, first) = set.split_at(turn as usize * usize::from(self.stride));
                let mut rest = &mut *out;
                for part in [first, last, others] {
                    let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { return };
                    to.copy_from_slice(part);
                    rest = after;
                }
            }
            _ => out.copy_from_slice(&self.body),
        }
        if place.age > 0 || place.stale {
            for &at in &self.ttls {
                if let Some(ttl) = four_octets(out, at) {
                    *ttl = place.shown(u32::from_be_bytes(*ttl)).to_be_bytes();
                }
            }
        }
        if place.apex > 0 {
            for &at in &self.apexes {
                if let Some(pointer) = out.get_mut(usize::from(at)..).and_then(<[u8]>::first_chunk_mut) {
                    *pointer = pointer_to(HEADER as u16 + place.apex);
                }
            }
        }
    }
}

/// Puts an answer together record by record.
#[derive(Debug)]
pub struct Builder {
    /// What has been put together so far.
    rcode: u16,
    authentic: bool,
    counts: [u16; 3],
    body: Vec<u8>,
    ttls: Vec<u16>,
    apexes: Vec<u16>,
    stride: u16,
    aliases: Vec<Alias>,
    errors: Vec<ExtendedError>,
}

impl Builder {
    /// An answer with this response code and nothing else.
    pub fn new(rcode: u16) -> Self {
        Self {
            rcode,
            authentic: false,
            counts: [0; 3],
            body: Vec::new(),
            ttls: Vec::new(),
            apexes: Vec::new(),
            stride: 0,
            aliases: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a record of class IN; `ttl` in seconds. In the answer section the name asked owns it, elsewhere the zone's
    /// own name. Sections must be filled in wire order, with at most 65,535 octets in all.
    #[must_use]
    pub fn record(mut self, section: Section, kind: u16, ttl: u32, rdata: &[u8]) -> Self {
        if section != Section::Answer {
            self.apexes.push(self.body.len() as u16);
        }
        self.body.extend(pointer_to(HEADER as u16));
        self.body.extend(kind.to_be_bytes());
        self.body.extend(CLASS_IN.to_be_bytes());
        self.ttls.push(self.body.len() as u16);
        self.body.extend(ttl.to_be_bytes());
        self.body.extend((rdata.len() as u16).to_be_bytes());
        self.body.extend(rdata);
        self.counts[section as usize] += 1;
        self
    }

    /// The records of the answer section, all with `rdata` octets of data, take turns to be first.
    #[must_use]
    pub fn rotating(mut self, rdata: usize) -> Self {
        self.stride = 12 + rdata as u16;
        self
    }

    /// Adds an extended error.
    #[must_use]
    pub fn error(mut self, error: ExtendedError) -> Self {
        self.errors.push(error);
        self
    }

    /// Takes a resolver's records as they came: see [`super::reply`].
    pub(super) fn received(mut self, authentic: bool, counts: [u16; 3], body: Vec<u8>, ttls: Vec<u16>) -> Self {
        (self.authentic, self.counts, self.body, self.ttls) = (authentic, counts, body, ttls);
        self
    }

    /// The chain of CNAMEs that begins at the question.
    pub(super) fn aliases(mut self, aliases: Vec<Alias>) -> Self {
        self.aliases = aliases;
        self
    }

    /// The finished answer.
    pub fn build(self) -> Answer {
        Answer {
            rcode: self.rcode,
            authentic: self.authentic,
            counts: self.counts,
            body: self.body.into(),
            ttls: self.ttls.into(),
            apexes: self.apexes.into(),
            stride: self.stride,
            aliases: self.aliases.into(),
            errors: self.errors.into(),
        }
    }
}

/// A compression pointer to offset `at` of the message (RFC 1035 section 4.1.4).
fn pointer_to(at: u16) -> [u8; 2] {
    (0xc000 | at).to_be_bytes()
}

/// The four octets of `body` at `at`.
fn four_octets(body: &mut [u8], at: u16) -> Option<&mut [u8; 4]> {
    body.get_mut(usize::from(at)..)?.first_chunk_mut()
}

/// Our OPT record; `out` is exactly as long as it.
fn write_opt(dnssec_ok: bool, code: u16, errors: &[ExtendedError], out: &mut [u8]) {
    let Some((fixed, mut rest)) = out.split_first_chunk_mut::<11>() else { return };
    let [size_high, size_low] = (MAX_UDP as u16).to_be_bytes();
    let [length_high, length_low] = (rest.len() as u16).to_be_bytes();
    let flags = u8::from(dnssec_ok) << 7;
    *fixed = [0, 0, kind::OPT as u8, size_high, size_low, (code >> 4) as u8, 0, flags, 0, length_high, length_low];
    for error in errors {
        let Some((option, tail)) = rest.split_at_mut_checked(error.size()) else { return };
        let (fixed, text) = option.split_at_mut(6);
        fixed[..2].copy_from_slice(&15_u16.to_be_bytes());
        fixed[2..4].copy_from_slice(&(2 + error.text.len() as u16).to_be_bytes());
        fixed[4..].copy_from_slice(&error.code.to_be_bytes());
        text.copy_from_slice(&error.text);
        rest = tail;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hickory_proto::op::Message;

    use super::super::query::{Decoded, Folded, Transport, decode};
    use super::*;

    pub(in crate::wire::answer) fn query(text: &str, flags: [u8; 2], opt: bool) -> Vec<u8> {
        let name: Name = text.parse().unwrap();
        let mut packet = vec![1, 2, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, u8::from(opt)];
        packet.extend(name.as_wire().to_ascii_uppercase());
        packet.extend([0, 1, 0, 1]);
        if opt {
            packet.extend([0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
        }
        packet
    }

    pub(in crate::wire::answer) fn reply(answer: &Answer, packet: &[u8], place: Placement) -> (Vec<u8>, Message) {
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(packet, &mut folded) else { panic!() };
        let mut out = [0; 4096];
        let length = answer.write(&query, place, query.limit(Transport::Udp), &mut out);
        (out[..length].to_vec(), Message::from_vec(&out[..length]).unwrap())
    }

    fn addresses(count: u8) -> Answer {
        let set = (0..count).fold(Builder::new(0), |b, n| b.record(Section::Answer, kind::A, 60, &[10, 0, 0, n]));
        set.rotating(4).build()
    }

    #[test]
    fn the_reply_is_the_clients_own() {
        let packet = query("a.example", [0x01, 0x10], true);
        let (bytes, message) = reply(&addresses(1), &packet, Placement::FRESH);
        assert_eq!(bytes[..2], [1, 2]);
        assert_eq!(bytes[2..4], [0x81, 0x90], "qr rd ra cd, no aa");
        assert_eq!(bytes[12..23], packet[12..23], "the name's case is kept");
        assert_eq!(message.answers[0].to_string(), "A.EXAMPLE. 60 IN A 10.0.0.0");
        let edns = message.edns.unwrap();
        assert!(edns.flags().dnssec_ok);
        assert_eq!(edns.max_payload(), 1232);
        let (bytes, message) = reply(&addresses(1), &query("a.example", [0, 0], false), Placement::FRESH);
        assert_eq!(bytes[2..4], [0x80, 0x80]);
        assert!(message.edns.is_none());
    }

    #[test]
    fn every_address_is_first_in_its_turn() {
        let packet = query("a.example", [1, 0], false);
        for turn in 0..7 {
            let (_, message) = reply(&addresses(3), &packet, Placement { turn, ..Placement::FRESH });
            let order: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
            let expect: Vec<_> = (0..3).map(|n| format!("10.0.0.{}", (turn + n) % 3)).collect();
            assert_eq!(order, expect);
        }
    }

    #[test]
    fn ttls_count_down_to_zero_and_no_further() {
        let packet = query("a.example", [1, 0], false);
        for (age, left) in [(0, 60), (59, 1), (60, 0), (1000, 0)] {
            let (_, message) = reply(&addresses(2), &packet, Placement { age, ..Placement::FRESH });
            assert!(message.answers.iter().all(|record| record.ttl == left));
        }
    }

    #[test]
    fn the_zones_name_is_pointed_to_where_it_stands() {
        let soa = Builder::new(3).record(Section::Authority, kind::NS, 60, b"\x01n\x00").build();
        let (_, message) =
            reply(&soa, &query("x.y.zone.example", [1, 0], false), Placement { apex: 4, ..Placement::FRESH });
        assert_eq!(message.authorities[0].name.to_string(), "ZONE.EXAMPLE.");
    }

    #[test]
    fn what_does_not_fit_is_truncated_with_question_and_opt_kept() {
        let (bytes, message) = reply(&addresses(100), &query("a.example", [1, 0], true), Placement::FRESH);
        assert!(bytes.len() <= 1232 && message.metadata.truncation);
        assert_eq!((message.answers.len(), message.queries.len()), (0, 1));
        assert!(message.edns.is_some());
        let (bytes, message) = reply(&addresses(40), &query("a.example", [1, 0], false), Placement::FRESH);
        assert!(bytes.len() <= 512 && message.metadata.truncation);
        let (_, message) = reply(&addresses(30), &query("a.example", [1, 0], false), Placement::FRESH);
        assert!(!message.metadata.truncation);
        assert_eq!(message.answers.len(), 30);
    }

    #[test]
    fn an_extended_error_gives_way_to_the_answer() {
        let refused = Answer::error(rcode::REFUSED, ExtendedError::new(18, "not for you"));
        let (bytes, _) = reply(&refused, &query("a.example", [1, 0], true), Placement::FRESH);
        assert_eq!(bytes[bytes.len() - 17..], *b"\x00\x0f\x00\x0d\x00\x12not for you");
        let (bytes, _) = reply(&refused, &query("a.example", [1, 0], false), Placement::FRESH);
        assert_eq!(bytes.len(), 12 + 11 + 4);
        let long = ExtendedError { code: 0, text: vec![b'x'; 1200].into() };
        let full = Builder::new(0).record(Section::Answer, kind::A, 1, &[1, 2, 3, 4]).error(long).build();
        let (_, message) = reply(&full, &query("a.example", [1, 0], true), Placement::FRESH);
        assert!(!message.metadata.truncation && message.answers.len() == 1);
    }

    #[test]
    fn a_code_over_fifteen_needs_an_opt() {
        let answer = Answer::empty(rcode::BADVERS);
        let (bytes, _) = reply(&answer, &query("a.example", [1, 0], true), Placement::FRESH);
        assert_eq!((bytes[3] & 15, bytes[bytes.len() - 6]), (0, 1));
        let (bytes, _) = reply(&answer, &query("a.example", [1, 0], false), Placement::FRESH);
        assert_eq!(bytes[3] & 15, 2);
    }
}
