//! A query seen in place: the gates it must pass, its question, its flags, its EDNS.
//!
//! The gates stand in a row, cheapest first, and each ends the story (RFC 1035 section 4.1, RFC 6891 section 6.1,
//! RFC 9619). Nothing is allocated and no count that the packet claims is believed before the bytes are there.

use super::name::{MAX_NAME, NameRef};

/// Octets in the header of every message (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;
/// The most a UDP reply may have, whatever the client offers: what crosses every path unfragmented (RFC 9715).
pub const MAX_UDP: usize = 1232;
/// What every client takes over UDP (RFC 1035 section 2.3.4).
pub const MIN_UDP: usize = 512;
/// The most a message over TCP may have: its length prefix has two octets (RFC 1035 section 4.2.2).
pub const MAX_TCP: usize = 65_535;

/// How a query came, and so how large its reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One length-prefixed message of a connection.
    Tcp,
}

/// Response codes that phzd itself sets or decides by (RFC 1035 section 4.1.1, RFC 6891 section 9).
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The query could not be read.
    pub const FORMERR: u16 = 1;
    /// No answer could be had.
    pub const SERVFAIL: u16 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u16 = 3;
    /// This kind of query is not served.
    pub const NOTIMP: u16 = 4;
    /// This client or query is not served.
    pub const REFUSED: u16 = 5;
    /// EDNS of a version other than 0.
    pub const BADVERS: u16 = 16;

    /// What IANA calls the codes of a header.
    const MNEMONICS: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];

    /// What IANA calls a code; `RCODE` and its number for one that has no name here.
    pub fn mnemonic(code: u16) -> String {
        match (code, MNEMONICS.get(usize::from(code))) {
            (BADVERS, _) => "BADVERS".into(),
            (_, Some(mnemonic)) => (*mnemonic).into(),
            (_, None) => format!("RCODE{code}"),
        }
    }
}

/// Record types that phzd itself reads or writes.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// Transaction keys.
    pub const TKEY: u16 = 249;
    /// Transaction signatures.
    pub const TSIG: u16 = 250;
    /// Incremental zone transfer.
    pub const IXFR: u16 = 251;
    /// Zone transfer.
    pub const AXFR: u16 = 252;
    /// Mailbox records, long gone.
    pub const MAILB: u16 = 253;
    /// Mail agents, long gone.
    pub const MAILA: u16 = 254;
    /// Any type.
    pub const ANY: u16 = 255;
}

/// The Internet class.
pub const CLASS_IN: u16 = 1;

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A query to answer.
    Query(Query<'a>),
    /// A query that can be read but is not served: reply with this code, question and OPT kept.
    Unserved(Query<'a>, u16),
    /// A packet whose question cannot be trusted: reply with [`error_header`] and this code.
    Unreadable(u16),
    /// Nothing to reply to: too short, or a reply itself.
    Drop,
}

/// Room for the name asked, folded to lower case. It is the caller's, so that a query is a few words and moves cheaply.
#[derive(Debug)]
pub struct Folded([u8; FOLDED]);

/// Octets of a name, in whole steps of folding.
const FOLDED: usize = MAX_NAME.next_multiple_of(FOLD);
/// Octets folded in one step: what a register holds on every machine.
const FOLD: usize = 16;

impl Default for Folded {
    fn default() -> Self {
        Self([0; FOLDED])
    }
}

/// A well-formed query of one question, in the packet that brought it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The packet.
    packet: &'a [u8],
    /// The name asked, wire form, lower case.
    name: &'a [u8],
    /// Its labels.
    labels: usize,
    /// Type asked.
    kind: u16,
    /// The client's EDNS, if it speaks it.
    edns: Option<Edns>,
}

/// What a client said in its OPT record (RFC 6891 section 6.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP payload it takes, as it said.
    pub payload: u16,
    /// It wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The EDNS version.
    version: u8,
}

/// Reads a packet through all gates; the name asked is put into `folded`.
// Once in the hot path, and so as part of it.
#[inline(always)]
pub fn decode<'a>(packet: &'a [u8], folded: &'a mut Folded) -> Decoded<'a> {
    let Some(header) = packet.first_chunk::<HEADER>() else { return Decoded::Drop };
    let [_, _, flags, _, qd_high, qd_low, an_high, an_low, ns_high, ns_low, ar_high, ar_low] = *header;
    // A reply is never replied to, or two servers could talk for ever.
    if flags & 0x80 != 0 {
        return Decoded::Drop;
    }
    if flags & 0x78 != 0 {
        return Decoded::Unreadable(rcode::NOTIMP);
    }
    // RFC 9619: a query has one question; with none (RFC 7873 section 5.4) or several it cannot be served.
    if [qd_high, qd_low, an_high, an_low, ns_high, ns_low] != [0, 1, 0, 0, 0, 0] {
        return Decoded::Unreadable(rcode::FORMERR);
    }
    let Some(query) = Query::read(packet, u16::from_be_bytes([ar_high, ar_low]), folded) else {
        return Decoded::Unreadable(rcode::FORMERR);
    };
    // RFC 6891 section 6.1.3: the version is judged before the question.
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Decoded::Unserved(query, rcode::BADVERS);
    }
    if query.class() != CLASS_IN {
        return Decoded::Unserved(query, rcode::REFUSED);
    }
    match query.kind {
        kind::OPT | kind::TKEY | kind::TSIG | kind::IXFR | kind::AXFR | kind::MAILB | kind::MAILA => {
            Decoded::Unserved(query, rcode::NOTIMP)
        }
        _ => Decoded::Query(query),
    }
}

/// The name asked, in lower case, if `packet` should turn out to be a query: nothing else of it is looked at.
pub fn name_asked<'a>(packet: &[u8], folded: &'a mut Folded) -> Option<&'a [u8]> {
    folded.fold(question_name(packet.get(HEADER..)?)?.as_wire())
}

/// The same wherever else: for a query that waited, or that is one too many.
#[inline(never)]
pub fn decode_aside<'a>(packet: &'a [u8], folded: &'a mut Folded) -> Decoded<'a> {
    decode(packet, folded)
}

/// Writes the reply to a packet whose question cannot be trusted: its header alone, with `code`.
/// Returns the octets written; 0 if `packet` has no header or `out` no room.
pub fn error_header(packet: &[u8], code: u16, out: &mut [u8]) -> usize {
    let (Some(header), Some(reply)) = (packet.first_chunk::<HEADER>(), out.first_chunk_mut::<HEADER>()) else {
        return 0;
    };
    let [id_high, id_low, flags, ..] = *header;
    // Opcode and RD as they came; QR and RA set; all counts zero.
    *reply = [id_high, id_low, 0x80 | (flags & 0x79), 0x80 | (code as u8 & 0x0f), 0, 0, 0, 0, 0, 0, 0, 0];
    HEADER
}

impl<'a> Query<'a> {
    /// Question and additional records; `None` if they are malformed or anything follows them.
    fn read(packet: &'a [u8], additional: u16, folded: &'a mut Folded) -> Option<Self> {
        let asked = question_name(packet.get(HEADER..)?)?;
        let (name, labels) = (folded.fold(asked.as_wire())?, asked.label_count());
        let mut at = HEADER + name.len() + 4;
        let (kind, _) = packet.get(at - 4..at)?.split_first_chunk::<2>()?;
        let mut query = Self { packet, name, labels, kind: u16::from_be_bytes(*kind), edns: None };
        for _ in 0..additional {
            at = query.read_additional(at)?;
        }
        (at == packet.len()).then_some(query)
    }

    /// One additional record at `at`; returns where the next begins.
    fn read_additional(&mut self, at: usize) -> Option<usize> {
        let owner = skip_name(self.packet, at)?;
        let (fixed, rest) = self.packet.get(owner..)?.split_first_chunk::<10>()?;
        let [kind_high, kind_low, size_high, size_low, _, version, flags, _, length_high, length_low] = *fixed;
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let rdata = rest.get(..length)?;
        if u16::from_be_bytes([kind_high, kind_low]) == kind::OPT {
            // RFC 6891 section 6.1.1: one OPT at the most, owned by the root.
            let rooted = owner == at + 1;
            if !rooted || self.edns.is_some() || !options_fit(rdata) {
                return None;
            }
            let payload = u16::from_be_bytes([size_high, size_low]);
            self.edns = Some(Edns { payload, dnssec_ok: flags & 0x80 != 0, version });
        }
        Some(owner + 10 + length)
    }

    /// The same query with nothing in it but what a reply depends on: header, question, and an OPT without options.
    pub fn essentials(&self) -> Box<[u8]> {
        // As long as it will be, so that it need not be moved to be boxed.
        let mut packet = Vec::with_capacity(self.head().len() + self.edns.map_or(0, |_| 11));
        packet.extend(self.head());
        if let Some(count) = packet.get_mut(10..HEADER) {
            count.copy_from_slice(&u16::from(self.edns.is_some()).to_be_bytes());
        }
        if let Some(Edns { payload, dnssec_ok, version }) = self.edns {
            let ([size_high, size_low], flags) = (payload.to_be_bytes(), u8::from(dnssec_ok) << 7);
            packet.extend([0, 0, kind::OPT as u8, size_high, size_low, 0, version, flags, 0, 0, 0]);
        }
        packet.into()
    }

    /// The name asked, wire form, lower case.
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// The name asked, to be looked up.
    pub fn whole_name(&self) -> NameRef<'a> {
        NameRef::new(self.name, self.labels)
    }

    /// Type asked.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// Class asked.
    fn class(&self) -> u16 {
        let at = HEADER + self.name.len() + 2;
        self.packet
            .get(at..at + 2)
            .and_then(|octets| octets.first_chunk())
            .map_or(0, |class| u16::from_be_bytes(*class))
    }

    /// Octets of the packet.
    pub fn octets(&self) -> usize {
        self.packet.len()
    }

    /// Header and question as they came: what the reply begins with.
    pub fn head(&self) -> &'a [u8] {
        self.packet.get(..HEADER + self.name.len() + 4).unwrap_or_default()
    }

    /// The client's EDNS.
    pub fn edns(&self) -> Option<Edns> {
        self.edns
    }

    /// The client wants DNSSEC records.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The client wants to know whether the data is authentic (RFC 6840 section 5.7).
    pub fn wants_authentic(&self) -> bool {
        self.dnssec_ok() || self.flag(3, 0x20)
    }

    /// RD: the client wants recursion.
    pub fn recursion_desired(&self) -> bool {
        self.flag(2, 0x01)
    }

    /// CD: the client validates for itself (RFC 4035 section 3.2.2).
    pub fn checking_disabled(&self) -> bool {
        self.flag(3, 0x10)
    }

    /// The largest reply this client takes, in octets.
    pub fn limit(&self, transport: Transport) -> usize {
        match (transport, self.edns) {
            (Transport::Tcp, _) => MAX_TCP,
            (Transport::Udp, None) => MIN_UDP,
            // RFC 6891 section 6.2.3: values lower than 512 are treated as 512.
            (Transport::Udp, Some(edns)) => usize::from(edns.payload).clamp(MIN_UDP, MAX_UDP),
        }
    }

    /// Whether `bit` of the header's octet `at` is set.
    fn flag(&self, at: usize, bit: u8) -> bool {
        self.packet.get(at).is_some_and(|octet| octet & bit != 0)
    }
}

/// The question's name at the start of `rest`, as it came. `None` for a compression pointer (there is nothing yet to point
/// to), a label type of old, a name too long or cut short.
fn question_name(rest: &[u8]) -> Option<NameRef<'_>> {
    let (mut at, mut labels) = (0, 0);
    loop {
        let length = usize::from(*rest.get(at)?);
        if length > 63 {
            return None;
        }
        at += 1 + length;
        if length == 0 {
            return rest.get(..at).filter(|name| name.len() <= MAX_NAME).map(|name| NameRef::new(name, labels));
        }
        labels += 1;
    }
}

impl Folded {
    /// `name` in lower case (RFC 4343). Length octets are folded with their labels: 0 to 63 is no letter. Beyond the name
    /// zeros or an older name are folded with it, so that whole steps are made.
    fn fold(&mut self, name: &[u8]) -> Option<&[u8]> {
        self.0.get_mut(..name.len())?.copy_from_slice(name);
        for step in self.0.as_chunks_mut::<FOLD>().0.iter_mut().take(name.len().div_ceil(FOLD)) {
            step.make_ascii_lowercase();
        }
        self.0.get(..name.len())
    }
}

/// Where the record's owner name that begins at `at` ends in `message`. A compression pointer ends a name and must
/// point backwards (RFC 1035 section 4.1.4), or following it could go on for ever.
pub fn skip_name(message: &[u8], at: usize) -> Option<usize> {
    let mut here = at;
    loop {
        let length = *message.get(here)?;
        match length {
            0 => return Some(here + 1),
            1..=63 => here += 1 + usize::from(length),
            0xc0.. => {
                let target = usize::from(u16::from_be_bytes([length & 0x3f, *message.get(here + 1)?]));
                return (HEADER..at).contains(&target).then_some(here + 2);
            }
            _ => return None,
        }
    }
}

/// Whether `rdata` is a row of whole EDNS options (RFC 6891 section 6.1.2).
fn options_fit(rdata: &[u8]) -> bool {
    let mut rest = rdata;
    while !rest.is_empty() {
        let Some(([_, _, high, low], tail)) = rest.split_first_chunk::<4>() else { return false };
        let Some(next) = tail.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        rest = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `Host.example` of `kind`, with the records of `extra` claimed as `additional`.
    fn packet(kind: u16, additional: u16, extra: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0];
        packet.extend(additional.to_be_bytes());
        packet.extend(b"\x04Host\x07example\x00");
        packet.extend(kind.to_be_bytes());
        packet.extend(CLASS_IN.to_be_bytes());
        packet.extend(extra);
        packet
    }

    const OPT: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0];

    fn verdict(packet: &[u8]) -> String {
        match decode(packet, &mut Folded::default()) {
            Decoded::Query(_) => "query".into(),
            Decoded::Unserved(_, code) => format!("unserved {code}"),
            Decoded::Unreadable(code) => format!("unreadable {code}"),
            Decoded::Drop => "drop".into(),
        }
    }

    #[test]
    fn a_plain_query_is_seen_in_place() {
        let bytes = packet(kind::AAAA, 1, OPT);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&bytes, &mut folded) else { panic!("{}", verdict(&bytes)) };
        assert_eq!(query.name(), b"\x04host\x07example\x00");
        assert_eq!(query.kind(), kind::AAAA);
        assert_eq!(query.head(), &bytes[..12 + 14 + 4]);
        assert!(query.recursion_desired() && query.dnssec_ok() && !query.checking_disabled());
        assert_eq!(query.limit(Transport::Udp), 1232);
        assert_eq!(query.limit(Transport::Tcp), 65_535);
    }

    #[test]
    fn the_essentials_ask_the_same_and_are_small() {
        let mut padded = OPT.to_vec();
        padded[9..11].copy_from_slice(&60_000_u16.to_be_bytes());
        padded.extend([0, 12, 0xea, 0x5c]);
        padded.extend(vec![0; 59_996]);
        let key = [&b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x02ab"[..], &padded].concat();
        for (additional, extra) in [(0, &b""[..]), (1, OPT), (1, &padded), (2, &key)] {
            let bytes = packet(kind::AAAA, additional, extra);
            let mut folded = Folded::default();
            let Decoded::Query(query) = decode(&bytes, &mut folded) else { panic!("{}", verdict(&bytes)) };
            let essentials = query.essentials();
            assert!(essentials.len() <= 12 + 14 + 4 + 11);
            let mut folded = Folded::default();
            let Decoded::Query(same) = decode(&essentials, &mut folded) else { panic!("{}", verdict(&essentials)) };
            assert_eq!((same.name(), same.kind(), same.edns()), (query.name(), query.kind(), query.edns()));
            assert_eq!((&same.head()[..10], &same.head()[12..]), (&query.head()[..10], &query.head()[12..]));
        }
    }

    #[test]
    fn the_reply_size_is_what_client_and_path_take() {
        let limit = |payload: u16| {
            let mut opt = OPT.to_vec();
            opt[3..5].copy_from_slice(&payload.to_be_bytes());
            let bytes = packet(kind::A, 1, &opt);
            let mut folded = Folded::default();
            let Decoded::Query(query) = decode(&bytes, &mut folded) else { panic!() };
            query.limit(Transport::Udp)
        };
        assert_eq!([limit(0), limit(511), limit(900), limit(1232), limit(65535)], [512, 512, 900, 1232, 1232]);
        let bytes = packet(kind::A, 0, &[]);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&bytes, &mut folded) else { panic!() };
        assert_eq!(query.limit(Transport::Udp), 512);
    }

    #[test]
    fn each_gate_ends_the_story() {
        let good = packet(kind::A, 0, &[]);
        let with = |at: usize, octet: u8| {
            let mut bytes = good.clone();
            bytes[at] = octet;
            bytes
        };
        assert_eq!(verdict(&good[..11]), "drop");
        assert_eq!(verdict(&with(2, 0x81)), "drop", "a reply");
        assert_eq!(verdict(&with(2, 0x29)), "unreadable 4", "opcode UPDATE");
        assert_eq!(verdict(&with(5, 0)), "unreadable 1", "no question");
        assert_eq!(verdict(&with(5, 2)), "unreadable 1", "two questions");
        assert_eq!(verdict(&with(4, 0xff)), "unreadable 1", "65,281 questions");
        assert_eq!(verdict(&with(7, 1)), "unreadable 1", "an answer");
        assert_eq!(verdict(&with(9, 1)), "unreadable 1", "an authority");
        assert_eq!(verdict(&with(11, 1)), "unreadable 1", "an additional record that is not there");
        assert_eq!(verdict(&with(12, 0xc0)), "unreadable 1", "a pointer in the question");
        assert_eq!(verdict(&with(12, 0x44)), "unreadable 1", "a label type of old");
        assert_eq!(verdict(&good[..good.len() - 1]), "unreadable 1", "cut short");
        assert_eq!(verdict(&[&good[..], b"x"].concat()), "unreadable 1", "something follows");
        assert_eq!(verdict(&with(29, 3)), "unserved 5", "class CH");
        for meta in [41, 249, 250, 251, 252, 253, 254] {
            assert_eq!(verdict(&packet(meta, 0, &[])), "unserved 4", "type {meta}");
        }
        assert_eq!(verdict(&packet(kind::ANY, 0, &[])), "query");
    }

    #[test]
    fn edns_is_read_strictly() {
        let with = |at: usize, octet: u8| {
            let mut opt = OPT.to_vec();
            opt[at] = octet;
            packet(kind::A, 1, &opt)
        };
        assert_eq!(verdict(&with(6, 1)), "unserved 16", "version 1");
        assert_eq!(verdict(&packet(kind::A, 2, &[OPT, OPT].concat())), "unreadable 1", "two OPTs");
        let owned = [&b"\x01a"[..], OPT].concat();
        assert_eq!(verdict(&packet(kind::A, 1, &owned)), "unreadable 1", "OPT not at the root");
        let pointed = [&b"\xc0\x19"[..], &OPT[1..]].concat();
        assert_eq!(verdict(&packet(kind::A, 1, &pointed)), "unreadable 1", "OPT at a pointer to the root");
        let mut cookie = OPT.to_vec();
        cookie[10] = 12;
        cookie.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(verdict(&packet(kind::A, 1, &cookie)), "query", "a cookie");
        cookie[14] = 9;
        assert_eq!(verdict(&packet(kind::A, 1, &cookie)), "unreadable 1", "an option cut short");
    }

    #[test]
    fn names_of_every_legal_length_pass_and_no_longer_ones() {
        let query = |labels: &[usize]| {
            let mut bytes = packet(kind::A, 0, &[])[..12].to_vec();
            for &length in labels {
                bytes.push(length as u8);
                bytes.extend(vec![b'x'; length]);
            }
            bytes.extend([0, 0, 1, 0, 1]);
            verdict(&bytes)
        };
        assert_eq!(query(&[]), "query");
        assert_eq!(query(&[63, 63, 63, 61]), "query", "255 octets");
        assert_eq!(query(&[63, 63, 63, 62]), "unreadable 1", "256 octets");
        assert_eq!(query(&[1; 127]), "query", "127 labels");
    }

    #[test]
    fn an_unreadable_query_gets_its_header_back() {
        let mut bytes = packet(kind::A, 0, &[]);
        bytes[2] = 0x29;
        let mut out = [0xff; 40];
        assert_eq!(error_header(&bytes, rcode::NOTIMP, &mut out), 12);
        assert_eq!(out[..12], [0xab, 0xcd, 0xa9, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(error_header(&bytes[..3], rcode::FORMERR, &mut out), 0);
        assert_eq!(error_header(&bytes, rcode::FORMERR, &mut [0; 4]), 0);
    }
}
