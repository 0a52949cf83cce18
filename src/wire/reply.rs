//! A resolver's reply read, and the query that asked for it written.
//!
//! The bytes are kept as they came, whatever their types (RFC 3597 section 3): only the framing is checked, the OPT
//! taken out (it belongs to one hop, RFC 6891 section 6.1.1) and the places that matter noted. Apart from `query`,
//! because what a resolver may say and what a client may say have almost nothing in common.

use std::borrow::Cow;
use std::sync::Arc;

use super::answer::{Alias, Answer, Builder, ExtendedError};
use super::name::{MAX_NAME, Name};
use super::query::{CLASS_IN, HEADER, MAX_UDP, Query, kind, rcode, skip_name};

/// The longest chain of CNAMEs that is followed.
pub const MAX_CHAIN: usize = 11;
/// CNAME records of one reply that are looked at to find the chain: a chain at its longest, and as many beside it.
const MAX_CNAMES: usize = 2 * MAX_CHAIN;
/// Extended errors of one reply that are kept. Each takes more memory than octets, and nobody reads so many.
const MAX_ERRORS: usize = 16;
/// How long a negative answer without SOA counts, in seconds. RFC 2308 section 5 would not keep it at all, but a VPC's
/// resolver drops the SOA when it repeats a negative answer, and each would be asked for again.
const NEGATIVE_WITHOUT_SOA: u32 = 5;

/// What is asked of a resolver, and what its answer is kept under. Clients that ask the same get the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Name asked.
    pub name: Name,
    /// Type asked; the class is IN.
    pub kind: u16,
    /// DO: DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// CD: the asker validates (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

/// A [`Question`] in the packet that asks it, so that looking for its answer takes no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    /// Name asked, wire form, lower case.
    pub name: &'a [u8],
    /// Type asked.
    pub kind: u16,
    /// DO.
    pub dnssec_ok: bool,
    /// CD.
    pub checking_disabled: bool,
}

impl<'a> Asked<'a> {
    /// The question of `query`.
    pub fn by(query: &'a Query<'_>) -> Self {
        Self {
            name: query.name(),
            kind: query.kind(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled(),
        }
    }

    /// The same, to be kept; `None` if the name is no name, which a decoded query's always is.
    pub fn to_question(self) -> Option<Question> {
        let Self { name, kind, dnssec_ok, checking_disabled } = self;
        Some(Question { name: Name::from_wire(name)?, kind, dnssec_ok, checking_disabled })
    }
}

impl Question {
    /// The same, as a packet asks it.
    pub fn as_asked(&self) -> Asked<'_> {
        let Self { name, kind, dnssec_ok, checking_disabled } = self;
        Asked { name: name.as_wire(), kind: *kind, dnssec_ok: *dnssec_ok, checking_disabled: *checking_disabled }
    }

    /// The message that asks it with this id: RD and AD set, an OPT of ours (RFC 6891, RFC 6840 section 5.7) if `edns`.
    /// The name is spelt as `spelling` has it, which must be the same but for the case of its letters.
    pub fn message(&self, id: u16, spelling: &[u8], edns: bool) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER + spelling.len() + 15);
        message.extend(id.to_be_bytes());
        message.extend([0x01, 0x20 | u8::from(self.checking_disabled) << 4]);
        message.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        message.extend(spelling);
        message.extend(self.kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        if !edns {
            return message;
        }
        let [size_high, size_low] = (MAX_UDP as u16).to_be_bytes();
        let flags = u8::from(self.dnssec_ok) << 7;
        message.extend([0, 0, kind::OPT as u8, size_high, size_low, 0, 0, flags, 0, 0, 0]);
        message
    }

    /// The name with the case of each letter as the next of `bits` says (0x20): what a forger must guess, and a resolver
    /// gives back.
    pub fn spelt(&self, bits: &[u8; 32]) -> Box<[u8]> {
        let mut spelt: Box<[u8]> = self.name.as_wire().into();
        for (octets, bits) in spelt.chunks_mut(8).zip(bits) {
            for (index, octet) in octets.iter_mut().enumerate() {
                // No branch: half of them would be foreseen wrongly. The lengths of labels are no letters, but below 64.
                *octet ^= u8::from(octet.is_ascii_lowercase()) << 5 & (bits >> index & 1) << 5;
            }
        }
        spelt
    }

    /// Whether `message` is a reply that repeats this question, whatever else it says.
    pub fn is_repeated_by(&self, message: &[u8]) -> bool {
        let end = HEADER + self.name.as_wire().len() + 4;
        let reply = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
        reply && message.get(HEADER..end).is_some_and(|section| self.matches(section))
    }

    /// Whether `section` (a name, a type, a class) asks this.
    fn matches(&self, section: &[u8]) -> bool {
        let name = self.name.as_wire();
        section.split_at_checked(name.len()).is_some_and(|(asked, fixed)| {
            let [kind_high, kind_low] = self.kind.to_be_bytes();
            let [class_high, class_low] = CLASS_IN.to_be_bytes();
            asked.eq_ignore_ascii_case(name) && *fixed == [kind_high, kind_low, class_high, class_low]
        })
    }
}

/// A reply that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it says.
    pub answer: Arc<Answer>,
    /// What kind of answer it is.
    pub outcome: Outcome,
    /// How long it may be kept by its own TTLs, in seconds.
    pub lifetime: u32,
}

/// What a reply amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Records of the type asked.
    Positive,
    /// The name does not exist, or has no such records (RFC 2308).
    Negative,
    /// Any other response code: the resolver could not or would not.
    Failure,
}

/// Why a reply cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Not a reply to this question: whoever sent it, the answer is still to come.
    Foreign,
    /// A reply that would fit if its question were spelt as it was asked: the answer may still come.
    Misspelt,
    /// A reply to this question that cannot be read.
    Malformed,
    /// Cut short: to be fetched over TCP (RFC 7766 section 5).
    Truncated,
}

/// The id of a message; `None` if it is too short to have one.
pub fn message_id(message: &[u8]) -> Option<u16> {
    message.first_chunk().map(|id| u16::from_be_bytes(*id))
}

/// Reads the reply to `question`; the caller has matched its id and its sender. With a `spelling`, the question must
/// have come back in just this case.
///
/// # Errors
/// [`Unusable`] says whether to go on waiting, to ask again, or to ask over TCP.
pub fn read(message: &[u8], question: &Question, spelling: Option<&[u8]>) -> Result<Received, Unusable> {
    let header = message.first_chunk::<HEADER>().ok_or(Unusable::Foreign)?;
    let [_, _, flags, more_flags, ..] = *header;
    if flags & 0xf8 != 0x80 {
        return Err(Unusable::Foreign);
    }
    let count =
        |at: usize| header.get(at..at + 2).and_then(|two| two.first_chunk()).map_or(0, |two| u16::from_be_bytes(*two));
    let code = u16::from(more_flags & 0x0f);
    let start = match count(4) {
        1 => {
            let end = HEADER + question.name.as_wire().len() + 4;
            let asked = message.get(HEADER..end).ok_or(Unusable::Foreign)?;
            if !question.matches(asked) {
                return Err(Unusable::Foreign);
            }
            if spelling.is_some_and(|spelling| !asked.starts_with(spelling)) {
                return Err(Unusable::Misspelt);
            }
            end
        }
        // A server that could not read the query, or will not say more, may send its header alone.
        0 if code != rcode::NOERROR && message.len() == HEADER => {
            return Ok(Received { answer: Answer::empty(code).into(), outcome: Outcome::Failure, lifetime: 0 });
        }
        _ => return Err(Unusable::Foreign),
    };
    if flags & 0x02 != 0 {
        return Err(Unusable::Truncated);
    }
    let counts = [count(6), count(8), count(10)];
    Reader::new(message, start, question).read(counts, code, more_flags & 0x20 != 0).ok_or(Unusable::Malformed)
}

/// Walks over the records of a reply and notes what matters.
struct Reader<'a> {
    message: &'a [u8],
    question: &'a Question,
    /// Where the next record begins.
    at: usize,
    /// Where the records begin.
    start: usize,
    /// Places of TTLs in the message.
    ttls: Vec<usize>,
    /// CNAMEs of the answer section: owner and link.
    cnames: Vec<(Name, Alias)>,
    /// The smallest TTL so far.
    lifetime: u32,
    /// A record of the type asked is in the answer section.
    found: bool,
    /// The least of SOA's TTL and MINIMUM (RFC 2308 section 5).
    negative: Option<u32>,
    /// Where the OPT begins and ends, the high octet of its extended code, its errors.
    opt: Option<(usize, usize, u8, Vec<ExtendedError>)>,
}

impl<'a> Reader<'a> {
    fn new(message: &'a [u8], start: usize, question: &'a Question) -> Self {
        Self {
            message,
            question,
            at: start,
            start,
            ttls: Vec::with_capacity(8),
            cnames: Vec::new(),
            lifetime: u32::MAX,
            found: false,
            negative: None,
            opt: None,
        }
    }

    fn read(mut self, mut counts: [u16; 3], code: u16, authentic: bool) -> Option<Received> {
        for (section, &count) in counts.iter().enumerate() {
            for _ in 0..count {
                self.record(section)?;
            }
        }
        if self.at != self.message.len() {
            return None;
        }
        let code = code | self.opt.as_ref().map_or(0, |(_, _, high, _)| u16::from(*high) << 4);
        counts[2] -= u16::from(self.opt.is_some());
        let (body, ttls) = self.body()?;
        let outcome = match code {
            rcode::NOERROR if self.found => Outcome::Positive,
            rcode::NOERROR | rcode::NXDOMAIN => Outcome::Negative,
            _ => Outcome::Failure,
        };
        let lifetime = match outcome {
            Outcome::Positive => self.lifetime,
            Outcome::Negative => self.lifetime.min(self.negative.unwrap_or(NEGATIVE_WITHOUT_SOA)),
            Outcome::Failure => 0,
        };
        let aliases = self.chain();
        let errors = self.opt.map(|(.., errors)| errors).unwrap_or_default();
        let builder = Builder::new(code).received(authentic, counts, body, ttls).aliases(aliases);
        let answer = errors.into_iter().fold(builder, Builder::error).build().into();
        Some(Received { answer, outcome, lifetime })
    }

    /// One record; `None` if it is malformed.
    fn record(&mut self, section: usize) -> Option<()> {
        let begin = self.at;
        let owner = skip_name(self.message, begin)?;
        let (fixed, rest) = self.message.get(owner..)?.split_first_chunk::<10>()?;
        let [kind_high, kind_low, .., length_high, length_low] = *fixed;
        let kind = u16::from_be_bytes([kind_high, kind_low]);
        let rdata = rest.get(..usize::from(u16::from_be_bytes([length_high, length_low])))?;
        let data_at = owner + 10;
        self.at = data_at + rdata.len();
        if kind == kind::OPT {
            // RFC 6891 section 6.1.1: one OPT, in the additional section, owned by the root.
            let legal = section == 2 && owner == begin + 1 && self.opt.is_none();
            let [_, _, _, _, extended, ..] = *fixed;
            self.opt = Some((begin, self.at, extended, extended_errors(rdata)));
            return legal.then_some(());
        }
        let [_, _, _, _, ttl @ .., _, _] = *fixed;
        // RFC 2181 section 8: a TTL with its highest bit set counts as 0.
        let ttl = i32::from_be_bytes(ttl).max(0).cast_unsigned();
        self.ttls.push(owner + 4);
        self.lifetime = self.lifetime.min(ttl);
        match section {
            0 => self.answer_record(begin, kind, ttl, data_at),
            1 if kind == kind::SOA => {
                let minimum = u32::from_be_bytes(*rdata.last_chunk()?);
                self.negative = Some(ttl.min(minimum));
                Some(())
            }
            _ => Some(()),
        }
    }

    /// Notes a record of the answer section; `None` if it is a CNAME whose names cannot be read.
    fn answer_record(&mut self, begin: usize, kind: u16, ttl: u32, data_at: usize) -> Option<()> {
        self.found |= kind == self.question.kind || self.question.kind == kind::ANY;
        let followed = kind == kind::CNAME && !matches!(self.question.kind, kind::CNAME | kind::ANY);
        if followed && self.cnames.len() < MAX_CNAMES {
            let (owner, _) = expand(self.message, begin)?;
            let (target, end) = expand(self.message, data_at)?;
            if end != self.at {
                return None;
            }
            self.cnames.push((owner, Alias { target, ttl }));
        }
        Some(())
    }

    /// The links from the question on, in order; one more than [`MAX_CHAIN`] tells that there is no end to it.
    fn chain(&mut self) -> Vec<Alias> {
        let mut links: Vec<Alias> = Vec::new();
        while links.len() <= MAX_CHAIN {
            let owner = links.last().map_or(&self.question.name, |link| &link.target);
            let Some((_, link)) = self.cnames.iter().find(|(name, _)| name == owner) else { break };
            links.push(link.clone());
        }
        links
    }

    /// The records without the OPT, and the places of their TTLs.
    fn body(&self) -> Option<(Vec<u8>, Vec<u16>)> {
        let records = self.message.get(self.start..)?;
        let (from, to) = self.opt.as_ref().map_or((self.at, self.at), |(from, to, ..)| (*from, *to));
        let gone = to - from;
        // Exactly as long as it will be: what is kept need not be moved to be boxed.
        let mut body = Vec::with_capacity(records.len().saturating_sub(gone));
        body.extend(self.message.get(self.start..from)?);
        body.extend(self.message.get(to..)?);
        if gone > 0 && to < self.at {
            self.close_gap(&mut body, from, to)?;
        }
        let places = self.ttls.iter().map(|&at| if at < from { at } else { at - gone } - self.start);
        let mut ttls = Vec::with_capacity(self.ttls.len());
        for place in places {
            ttls.push(u16::try_from(place).ok()?);
            let ttl = body.get_mut(place..)?.first_chunk_mut::<4>()?;
            // It is said as it counts, so that a client that reads it otherwise does not keep it for 68 years.
            if ttl[0] & 0x80 != 0 {
                *ttl = [0; 4];
            }
        }
        Some((body, ttls))
    }

    /// Records came after the OPT: pointers of theirs to names after it move with them.
    fn close_gap(&self, body: &mut [u8], from: usize, to: usize) -> Option<()> {
        let gone = to - from;
        let mut move_name = |at: usize| -> Option<usize> {
            let end = skip_name(self.message, at)?;
            let Some((pointer, target)) = pointer_of(self.message, at) else { return Some(end) };
            if target >= to {
                let place = pointer - gone - self.start;
                let moved = 0xc000 | u16::try_from(target - gone).ok()?;
                body.get_mut(place..place + 2)?.copy_from_slice(&moved.to_be_bytes());
            }
            // What points into the OPT has lost its target.
            (target < from || target >= to).then_some(end)
        };
        let mut at = to;
        while at < self.at {
            let owner = move_name(at)?;
            let (fixed, _) = self.message.get(owner..)?.split_first_chunk::<10>()?;
            let [kind_high, kind_low, .., length_high, length_low] = *fixed;
            let (skip, names) = compressed_names(u16::from_be_bytes([kind_high, kind_low]));
            let mut name_at = owner + 10 + skip;
            for _ in 0..names {
                name_at = move_name(name_at)?;
            }
            at = owner + 10 + usize::from(u16::from_be_bytes([length_high, length_low]));
            if names > 0 && name_at > at {
                return None;
            }
        }
        Some(())
    }
}

/// Where in its RDATA a record type has names that may be compressed (RFC 3597 section 4): octets before, and how many.
fn compressed_names(kind: u16) -> (usize, usize) {
    match kind {
        2..=5 | 7..=9 | 12 => (0, 1), // NS MD MF CNAME MB MG MR PTR
        6 | 14 | 17 => (0, 2),        // SOA MINFO RP
        15 | 18 | 21 => (2, 1),       // MX AFSDB RT
        26 => (2, 2),                 // PX
        33 => (6, 1),                 // SRV
        _ => (0, 0),
    }
}

/// Where the name at `at` has its compression pointer, and where that leads; `None` if it ends without one.
fn pointer_of(message: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut here = at;
    loop {
        let length = *message.get(here)?;
        match length {
            1..=63 => here += 1 + usize::from(length),
            0xc0.. => return Some((here, usize::from(u16::from_be_bytes([length & 0x3f, *message.get(here + 1)?])))),
            _ => return None,
        }
    }
}

/// The name at `at` without compression, and where it ends there. Every pointer must lead further back than the one
/// before it, so that the walk ends.
fn expand(message: &[u8], at: usize) -> Option<(Name, usize)> {
    let end = skip_name(message, at)?;
    let mut wire = Vec::with_capacity(64);
    let (mut here, mut ceiling) = (at, at);
    loop {
        let length = *message.get(here)?;
        if length >= 0xc0 {
            let target = usize::from(u16::from_be_bytes([length & 0x3f, *message.get(here + 1)?]));
            if !(HEADER..ceiling).contains(&target) {
                return None;
            }
            (here, ceiling) = (target, target);
            continue;
        }
        let next = here + 1 + usize::from(length);
        wire.extend(message.get(here..next)?);
        if wire.len() > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some((Name::from_wire(&wire)?, end));
        }
        here = next;
    }
}

/// The first extended errors among EDNS options (RFC 8914 section 2); the row ends where it can no longer be read.
fn extended_errors(rdata: &[u8]) -> Vec<ExtendedError> {
    let mut errors = Vec::new();
    let mut rest = rdata;
    while let Some(([code_high, code_low, high, low], tail)) = rest.split_first_chunk::<4>() {
        let Some((option, next)) = tail.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else { break };
        if (*code_high, *code_low) == (0, 15)
            && errors.len() < MAX_ERRORS
            && let Some((code, text)) = option.split_first_chunk()
        {
            errors.push(ExtendedError { code: u16::from_be_bytes(*code), text: Cow::Owned(text.to_vec()) });
        }
        rest = next;
    }
    errors
}

#[cfg(test)]
pub(crate) mod properties;
#[cfg(test)]
mod tests;
