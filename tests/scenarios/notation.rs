//! Messages as a scenario writes them, and as bytes.

use std::fmt::Write;
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// What goes wrong is told in words.
pub type Told<T> = Result<T, String>;

const RCODES: [(&str, u16); 7] =
    [("NOERROR", 0), ("FORMERR", 1), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5), ("BADVERS", 16)];
/// Flags and their bits in the header's second pair of octets.
const FLAGS: [(&str, u16); 7] =
    [("qr", 0x8000), ("aa", 0x0400), ("tc", 0x0200), ("rd", 0x0100), ("ra", 0x0080), ("ad", 0x0020), ("cd", 0x0010)];
const SECTIONS: [&str; 3] = ["answer:", "authority:", "additional:"];
/// Types that hickory cannot read from text.
const TYPES: [(&str, u16); 6] =
    [("OPT", 41), ("TKEY", 249), ("TSIG", 250), ("IXFR", 251), ("MAILB", 253), ("MAILA", 254)];

/// A reply as written.
#[derive(Debug, Default)]
pub struct Written {
    rcode: u16,
    flags: u16,
    records: [Vec<Record>; 3],
    errors: Vec<(u16, Option<String>)>,
    size: Option<usize>,
    header_only: bool,
    rotated: bool,
    other_question: Option<String>,
    other_id: bool,
    other_case: bool,
    no_opt: bool,
}

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Told<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut words = lines.next().ok_or("a reply begins with its response code")?.split_whitespace();
        let rcode = words.next().unwrap_or_default();
        let mut written = Self { rcode: number_of(&RCODES, "RCODE", rcode)?, ..Self::default() };
        for flag in words {
            written.flags |= number_of(&FLAGS, "", flag)?;
        }
        let mut section = 0;
        for line in lines {
            let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match first {
                "size" => written.size = Some(rest.parse().map_err(|_| format!("{line}: not a size"))?),
                "ede" => {
                    let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
                    let code = code.parse().map_err(|_| format!("{line}: not an extended error"))?;
                    let text = (!text.is_empty()).then(|| text.trim_matches('"').to_owned());
                    written.errors.push((code, text));
                }
                "question" => written.other_question = Some(rest.into()),
                "header" if rest == "only" => written.header_only = true,
                "rotated" => written.rotated = true,
                "another" if rest == "id" => written.other_id = true,
                "another" if rest == "case" => written.other_case = true,
                "no" if rest == "OPT" => written.no_opt = true,
                _ if SECTIONS.contains(&line) => {
                    section = SECTIONS.iter().position(|name| *name == line).unwrap_or_default();
                }
                _ => written.records[section].push(record(line)?),
            }
        }
        Ok(written)
    }
}

impl Written {
    /// The reply's bytes, as a resolver sends them to `asked`.
    pub fn reply_to(&self, asked: &[u8]) -> Told<Vec<u8>> {
        let query = Message::from_vec(asked).map_err(|error| format!("the question sent upstream: {error}"))?;
        let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        if self.other_id {
            message.metadata.id ^= 0x5555;
        }
        match &self.other_question {
            Some(text) => {
                let (name, kind) = text.split_once(' ').ok_or_else(|| format!("question {text}: NAME TYPE"))?;
                message.add_query(Query::query(absolute(name)?, type_of(kind)?));
            }
            None if self.header_only => {}
            // In lower case, so that names are compressed as resolvers do it, whatever the case they were asked in.
            None => _ = message.add_queries(query.queries.into_iter().map(in_lower_case)),
        }
        let [answers, authorities, additionals] = self.records.clone();
        message.add_answers(answers).add_authorities(authorities).add_additionals(additionals);
        let mut bytes = message.to_vec().map_err(|error| format!("the resolver's reply: {error}"))?;
        bytes[2..4].copy_from_slice(&(self.flags | self.rcode & 0x0f).to_be_bytes());
        if self.other_question.is_none() && !self.other_case && !self.header_only {
            let end = 12 + asked[12..].iter().position(|octet| *octet == 0).unwrap_or(0);
            bytes[12..end].copy_from_slice(&asked[12..end]);
        }
        if !self.header_only && !self.no_opt {
            let additional = u16::from_be_bytes([bytes[10], bytes[11]]) + 1;
            bytes[10..12].copy_from_slice(&additional.to_be_bytes());
            bytes.extend([0, 0, 41, 0x10, 0, (self.rcode >> 4) as u8, 0, 0, 0]);
            let options: Vec<u8> = self.errors.iter().flat_map(|(code, text)| option(*code, text.as_deref())).collect();
            bytes.extend((options.len() as u16).to_be_bytes());
            bytes.extend(options);
        }
        Ok(bytes)
    }

    /// This, written as [`Seen::show`] writes what was seen.
    fn show(&self) -> Told<String> {
        // Through the wire and back, so that a record is shown alike whatever way it was written.
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        let [answers, authorities, additionals] = self.records.clone();
        message.add_answers(answers).add_authorities(authorities).add_additionals(additionals);
        let bytes = message.to_vec().map_err(|error| format!("the expected reply: {error}"))?;
        let message = Message::from_vec(&bytes).map_err(|error| format!("the expected reply: {error}"))?;
        let mut text = show_head(self.rcode, self.flags);
        show_records(&mut text, &message);
        for (code, said) in &self.errors {
            show_error(&mut text, *code, said.as_deref());
        }
        if let Some(size) = self.size {
            _ = writeln!(text, "size {size}");
        }
        if self.header_only {
            text.push_str("header only\n");
        }
        Ok(text)
    }

    /// Whether `seen` is what is written here; returns the place of the address that is first.
    pub fn compare(&self, mut seen: Seen<'_>) -> Told<usize> {
        let turn = if self.rotated { seen.rotate_to(&self.records[0]) } else { 0 };
        let (expected, got) = (self.show()?, seen.show(self));
        if expected == got { Ok(turn) } else { Err(format!("expected:\n{}got:\n{}", indent(&expected), indent(&got))) }
    }

    /// How many addresses take turns.
    pub fn turns(&self) -> usize {
        if self.rotated { self.records[0].iter().filter(|record| is_address(record)).count() } else { 0 }
    }
}

/// A reply read back.
pub struct Seen<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What they say.
    pub message: Message,
}

impl<'a> Seen<'a> {
    /// Reads a reply; it must be one message and nothing more.
    pub fn read(bytes: &'a [u8]) -> Told<Self> {
        let mut decoder = BinDecoder::new(bytes);
        let message = Message::read(&mut decoder).map_err(|error| format!("the reply cannot be read: {error}"))?;
        if decoder.is_empty() { Ok(Self { bytes, message }) } else { Err("something follows the reply".into()) }
    }

    /// Rotates the addresses until they begin as those of `records` do; returns which of these was first.
    fn rotate_to(&mut self, records: &[Record]) -> usize {
        let chain = self.message.answers.iter().take_while(|record| !is_address(record)).count();
        let addresses = &mut self.message.answers[chain..];
        let mut expected = records.iter().filter(|record| is_address(record)).map(|record| &record.data);
        let turn = addresses.first().and_then(|first| expected.position(|data| *data == first.data)).unwrap_or(0);
        addresses.rotate_right(turn % addresses.len().max(1));
        turn
    }

    /// The flags, and the response code with its high part.
    fn head(&self) -> (u16, u16) {
        let fixed = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        let high = self.message.edns.as_ref().map_or(0, |edns| u16::from(edns.rcode_high()));
        (fixed & 0x0f | high << 4, fixed & 0x87f0)
    }

    /// In words, with as much detail as `written` asks for.
    fn show(&self, written: &Written) -> String {
        let (rcode, flags) = self.head();
        let mut text = show_head(rcode, flags);
        show_records(&mut text, &self.message);
        for (index, (code, said)) in self.errors().iter().enumerate() {
            let wanted = written.errors.get(index).is_none_or(|(_, text)| text.is_some());
            show_error(&mut text, *code, wanted.then_some(said));
        }
        if written.size.is_some() {
            _ = writeln!(text, "size {}", self.bytes.len());
        }
        if self.bytes.len() == 12 {
            text.push_str("header only\n");
        }
        text
    }

    /// The extended errors.
    fn errors(&self) -> Vec<(u16, String)> {
        let options = self.message.edns.iter().flat_map(|edns| &edns.options().options);
        let errors = options.filter_map(|(_, option)| match option {
            EdnsOption::Unknown(15, data) => data.split_first_chunk::<2>(),
            _ => None,
        });
        errors.map(|(code, text)| (u16::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned())).collect()
    }
}

/// A question as written: `NAME TYPE` and flags.
#[derive(Debug, Clone)]
pub struct Asking {
    pub name: String,
    pub kind: u16,
    pub class: u16,
    pub id: Option<u16>,
    pub rd: bool,
    pub ad: bool,
    pub cd: bool,
    pub dnssec_ok: bool,
    pub edns: bool,
    pub version: u8,
    pub size: u16,
    pub tcp: bool,
}

impl FromStr for Asking {
    type Err = String;

    fn from_str(text: &str) -> Told<Self> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(kind)) = (words.next(), words.next()) else {
            return Err(format!("{text:?}: a question is NAME TYPE"));
        };
        let mut asking = Self {
            name: name.trim_end_matches('.').into(),
            kind: type_of(kind)?.into(),
            class: 1,
            id: None,
            rd: true,
            ad: false,
            cd: false,
            dnssec_ok: false,
            edns: true,
            version: 0,
            size: 1232,
            tcp: false,
        };
        for word in words {
            let number = |digits: &str| digits.parse::<u16>().map_err(|_| format!("{word}: not a number"));
            match word.split_once('=').unwrap_or((word, "")) {
                ("+do", "") => asking.dnssec_ok = true,
                ("+cd", "") => asking.cd = true,
                ("+ad", "") => asking.ad = true,
                ("-rd", "") => asking.rd = false,
                ("-edns", "") => asking.edns = false,
                ("+tcp", "") => asking.tcp = true,
                ("size", digits) => asking.size = number(digits)?,
                ("id", digits) => asking.id = Some(number(digits)?),
                ("version", digits) => asking.version = number(digits)? as u8,
                ("class", digits) => asking.class = number(digits)?,
                _ => return Err(format!("{word}: a flag is +do +cd +ad -rd -edns +tcp size= id= version= or class=")),
            }
        }
        Ok(asking)
    }
}

impl Asking {
    /// The query's bytes.
    pub fn packet(&self, id: u16) -> Vec<u8> {
        let flags = u16::from(self.rd) << 8 | u16::from(self.ad) << 5 | u16::from(self.cd) << 4;
        let mut packet = Vec::new();
        for word in [id, flags, 1, 0, 0, u16::from(self.edns)] {
            packet.extend(word.to_be_bytes());
        }
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            packet.push(label.len() as u8);
            packet.extend(label.bytes());
        }
        packet.push(0);
        packet.extend(self.kind.to_be_bytes());
        packet.extend(self.class.to_be_bytes());
        if self.edns {
            packet.extend([0, 0, 41]);
            packet.extend(self.size.to_be_bytes());
            packet.extend([0, self.version, u8::from(self.dnssec_ok) << 7, 0, 0, 0]);
        }
        packet
    }

    /// What a resolver is asked for this, in the words of [`question`].
    pub fn upstream(&self) -> String {
        let Self { dnssec_ok, cd, .. } = *self;
        // How the client asked says nothing of how the resolver is asked: UDP first.
        words(&self.name, self.kind, dnssec_ok, cd, false)
    }
}

/// What a message to a resolver asks.
pub fn question(message: &[u8], tcp: bool) -> Told<(String, Message)> {
    let read = Message::from_vec(message).map_err(|error| format!("a question sent upstream: {error}"))?;
    let query = read.queries.first().ok_or("a question sent upstream asks nothing")?;
    let dnssec_ok = read.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    let name = query.name().to_ascii().trim_end_matches('.').to_owned();
    let mut words = words(&name, query.query_type().into(), dnssec_ok, read.metadata.checking_disabled, tcp);
    if read.edns.is_none() {
        words.push_str(" -edns");
    }
    Ok((words, read))
}

/// The same question in lower case.
fn in_lower_case(mut query: Query) -> Query {
    query.set_name(query.name().to_lowercase());
    query
}

fn words(name: &str, kind: u16, dnssec_ok: bool, cd: bool, tcp: bool) -> String {
    let flag = |set: bool, word: &'static str| if set { word } else { "" };
    let kind = show_type(kind.into());
    let name = if name.is_empty() { "." } else { &name.to_ascii_lowercase() };
    format!("{name} {kind}{}{}{}", flag(dnssec_ok, " +do"), flag(cd, " +cd"), flag(tcp, " +tcp"))
}

/// Bytes as written: hexadecimal, text in single quotes, words of `known`.
pub fn bytes(text: &str, known: &[(&str, &[u8])]) -> Told<Vec<u8>> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            bytes.extend(part.bytes());
            continue;
        }
        for word in part.split_whitespace() {
            match known.iter().find(|(name, _)| *name == word) {
                Some((_, value)) => bytes.extend(*value),
                None => bytes.extend(hex(word)?),
            }
        }
    }
    Ok(bytes)
}

fn hex(digits: &str) -> Told<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let octet = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(|| format!("{digits}: not hexadecimal"))
    };
    pairs.map(octet).collect()
}

/// `NAME TTL IN TYPE DATA`; `<200 x>` in the data stands for 200 times x.
fn record(line: &str) -> Told<Record> {
    let words: Vec<_> = line.splitn(5, char::is_whitespace).collect();
    let [name, ttl, "IN", kind, data] = words[..] else {
        return Err(format!("{line}: a record is NAME TTL IN TYPE DATA"));
    };
    let ttl = ttl.parse().map_err(|_| format!("{line}: the TTL is no number"))?;
    let kind = type_of(kind)?;
    let data = repeated(data.trim());
    let rdata = match data.strip_prefix(r"\#") {
        Some(raw) => {
            let digits: String = raw.split_whitespace().skip(1).collect();
            RData::Unknown { code: kind, rdata: NULL::with(hex(&digits)?) }
        }
        None => RData::try_from_str(kind, &data).map_err(|error| format!("{line}: {error}"))?,
    };
    Ok(Record::from_rdata(absolute(name)?, ttl, rdata))
}

fn repeated(data: &str) -> String {
    let mut text = String::new();
    let mut rest = data;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inside, after)) = after.split_once('>') else { break };
        text.push_str(before);
        let (count, what) = inside.split_once(' ').unwrap_or(("0", ""));
        text.push_str(&what.repeat(count.parse().unwrap_or(0)));
        rest = after;
    }
    text + rest
}

fn is_address(record: &Record) -> bool {
    matches!(record.data, RData::A(_) | RData::AAAA(_))
}

fn absolute(name: &str) -> Told<Name> {
    let mut name = Name::from_ascii(name).map_err(|error| format!("{name}: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

fn type_of(text: &str) -> Told<RecordType> {
    if let Some(number) = text.strip_prefix("TYPE") {
        return number.parse::<u16>().map(RecordType::from).map_err(|_| format!("{text}: not a type"));
    }
    match TYPES.iter().find(|(name, _)| *name == text) {
        Some((_, number)) => Ok((*number).into()),
        None => text.parse().map_err(|_| format!("{text}: not a type; TYPEn says any")),
    }
}

fn show_type(kind: RecordType) -> String {
    let number = u16::from(kind);
    match kind {
        RecordType::Unknown(_) => {
            TYPES.iter().find(|(_, known)| *known == number).map_or(format!("TYPE{number}"), |(name, _)| (*name).into())
        }
        known => known.to_string(),
    }
}

fn number_of(known: &[(&str, u16)], prefix: &str, text: &str) -> Told<u16> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let other = || (!prefix.is_empty()).then(|| text.strip_prefix(prefix)?.parse().ok()).flatten();
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    found.or_else(other).ok_or_else(|| format!("{text}: not one of {}", names.join(" ")))
}

fn show_head(rcode: u16, flags: u16) -> String {
    let mut text =
        RCODES.iter().find(|(_, number)| *number == rcode).map_or(format!("RCODE{rcode}"), |(name, _)| (*name).into());
    for (name, _) in FLAGS.iter().filter(|(_, bit)| flags & bit != 0) {
        text.push(' ');
        text.push_str(name);
    }
    text.push('\n');
    text
}

fn show_records(text: &mut String, message: &Message) {
    let sections = [&message.answers, &message.authorities, &message.additionals];
    for (section, records) in sections.into_iter().enumerate() {
        if section > 0 && !records.is_empty() {
            _ = writeln!(text, "{}", SECTIONS[section]);
        }
        for record in records {
            let (kind, data) = (show_type(record.record_type()), show_data(&record.data));
            _ = writeln!(text, "{} {} {} {kind} {data}", record.name, record.ttl, record.dns_class);
        }
    }
}

fn show_data(data: &RData) -> String {
    match data {
        RData::Unknown { rdata, .. } => {
            let digits: String = rdata.anything.iter().map(|octet| format!("{octet:02x}")).collect();
            format!(r"\# {} {digits}", rdata.anything.len())
        }
        RData::TXT(text) => {
            let strings: Vec<_> =
                text.txt_data.iter().map(|part| format!("{:?}", String::from_utf8_lossy(part))).collect();
            strings.join(" ")
        }
        known => known.to_string(),
    }
}

fn show_error(text: &mut String, code: u16, said: Option<&str>) {
    _ = match said {
        Some(said) => writeln!(text, "ede {code} {said:?}"),
        None => writeln!(text, "ede {code}"),
    };
}

/// An extended error as an EDNS option (RFC 8914 section 2).
fn option(code: u16, text: Option<&str>) -> Vec<u8> {
    let text = text.unwrap_or_default();
    let mut option = vec![0, 15];
    option.extend((2 + text.len() as u16).to_be_bytes());
    option.extend(code.to_be_bytes());
    option.extend(text.bytes());
    option
}

/// For a block of lines in a message.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
