//! Zone files: the standard text form of a zone (RFC 1035 section 5, RFC 2308 section 4 for `$TTL`).
//!
//! A file is cut into entries here, each is read by itself, so that every mistake is found at once and keeps its place.
//! What a record's data says is [`super::presentation`]'s to read.

use std::sync::Arc;

use super::near::nearest;
use super::presentation::{self, Unreadable, seconds};
use super::problem::{Place, Problem, Source};
use crate::wire::Name;

/// TTL of a record that has none, in a file without `$TTL`, in seconds.
pub(super) const DEFAULT_TTL: u32 = 300;
/// The greatest TTL there is (RFC 2181 section 8).
pub(super) const MAX_TTL: u32 = i32::MAX as u32;

/// One record of a zone file.
#[derive(Debug)]
pub(super) struct Record {
    pub owner: Name,
    pub kind: u16,
    pub ttl: u32,
    pub data: Box<[u8]>,
    pub place: Place,
}

/// Reads the records of the zone `name` in `source`, and all mistakes.
pub(super) fn read(source: &Arc<Source>, name: &Name) -> (Vec<Record>, Vec<Problem>) {
    let mut reader = Reader {
        source,
        zone: name,
        origin: name.clone(),
        ttl: None,
        last_ttl: DEFAULT_TTL,
        owner: None,
        records: Vec::new(),
        problems: Vec::new(),
    };
    let text = source.text();
    let mut at = 0;
    while at < text.len() {
        let end = end_of_entry(text, at);
        reader.entry(at, end);
        at = end;
    }
    (reader.records, reader.problems)
}

/// Where the entry that begins at `at` ends: at the end of a line that no parenthesis or quote keeps open.
fn end_of_entry(text: &str, mut at: usize) -> usize {
    let (mut depth, mut quoted, mut comment) = (0_usize, false, false);
    let octets = text.as_bytes();
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'\n' if depth == 0 => return at + 1,
            // A quote that is not closed on its line would swallow the rest of the file.
            b'\n' => (quoted, comment) = (false, false),
            _ if comment => {}
            b'\\' => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b';' => comment = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// A word, and where in the file it stands.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    at: usize,
}

/// The words of an entry, up to a comment; parentheses are no part of them.
fn words(text: &str, from: usize, end: usize) -> impl Iterator<Item = Word<'_>> {
    let mut at = from;
    let between = |letter: char| letter.is_ascii_whitespace() || matches!(letter, '(' | ')');
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..end)?;
            let begin = at + rest.find(|letter| !between(letter))?;
            let rest = text.get(begin..end)?;
            if rest.starts_with(';') {
                at = begin + rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            let mut escaped = false;
            let ends = |letter: char| {
                let ends = !escaped && (between(letter) || letter == ';');
                escaped = !escaped && letter == '\\';
                ends
            };
            at = begin + rest.find(ends).unwrap_or(rest.len());
            return Some(Word { text: text.get(begin..at)?, at: begin });
        }
    })
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    zone: &'a Name,
    /// What names without a dot at their end are below.
    origin: Name,
    /// `$TTL`.
    ttl: Option<u32>,
    /// The last TTL that a record gave.
    last_ttl: u32,
    /// The last record's owner.
    owner: Option<Name>,
    records: Vec<Record>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn entry(&mut self, begin: usize, end: usize) {
        let source: &'a Arc<Source> = self.source;
        let text = source.text();
        // Some editors begin a file with a byte order mark.
        let begin = if begin == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { begin };
        let mut rest = words(text, begin, end);
        let Some(first) = rest.next() else { return };
        if first.text.starts_with('$') {
            return self.control(first, rest.next());
        }
        // RFC 1035 section 5.1: a line that begins with a blank has the owner of the one before.
        let own = !text.get(begin..).is_some_and(|entry| entry.starts_with([' ', '\t', '\n', '\r']));
        if own {
            self.owner = self.name(first);
        }
        let Some(owner) = self.owner.clone() else {
            if !own {
                let message = "there is no record above whose name this could have";
                self.tell(first, message, "begin the line with a name, or @");
            }
            return;
        };
        let mut next = if own { rest.next() } else { Some(first) };
        let mut ttl = None;
        let kind = loop {
            let Some(word) = next else {
                return self.tell(first, "a record needs a type and data", "write NAME TTL TYPE DATA");
            };
            if let Some(seconds) = seconds(word.text) {
                if ttl.replace(seconds).is_some() || seconds > MAX_TTL {
                    return self.tell(word, "not a TTL", "a record has one, of at most 2147483647 seconds");
                }
            } else if let Some(class) = class(word.text) {
                if class != 1 {
                    return self.tell(word, "only class IN has a place here", "remove the record, or write IN");
                }
            } else if let Some(kind) = presentation::kind_of(word.text) {
                break (kind, word);
            } else {
                return self.unknown_type(word);
            }
            next = rest.next();
        };
        self.last_ttl = ttl.or(self.ttl).unwrap_or(self.last_ttl);
        self.record(owner, kind, begin, end);
    }

    /// A record whose head has been read.
    fn record(&mut self, owner: Name, (kind, word): (u16, Word<'a>), begin: usize, end: usize) {
        let text = self.source.text();
        let from = word.at + word.text.len();
        // What was opened before the type is closed after it.
        let head = text.get(begin..from).unwrap_or_default();
        let open = head.matches('(').count().saturating_sub(head.matches(')').count());
        let data = format!("{}{}", "(".repeat(open), text.get(from..end).unwrap_or_default());
        match presentation::data(kind, &data, &self.origin) {
            Ok(data) => {
                let place = Place::new(self.source, begin..from);
                self.records.push(Record { owner, kind, ttl: self.last_ttl, data, place });
            }
            Err(Unreadable { message, at }) => {
                let at = from + at.saturating_sub(open);
                let marked = words(text, at, end).next().filter(|_| at < end);
                let place = marked.map_or(at..at, |word| word.at..word.at + word.text.len());
                let problem = Problem::mistake(Some(&Place::new(self.source, place)), message);
                let example = presentation::example_of(kind);
                self.problems.push(problem.hint(format!("{} data is written: {example}", presentation::name_of(kind))));
            }
        }
    }

    /// `$ORIGIN`, `$TTL`, and what is not followed.
    fn control(&mut self, control: Word<'a>, value: Option<Word<'a>>) {
        match (control.text.to_ascii_uppercase().as_str(), value) {
            ("$ORIGIN", Some(value)) => {
                if let Some(origin) = self.relative(value) {
                    self.origin = origin;
                }
            }
            ("$TTL", Some(value)) => match seconds(value.text).filter(|seconds| *seconds <= MAX_TTL) {
                Some(seconds) => self.ttl = Some(seconds),
                None => self.tell(value, "not a TTL", "write seconds, at most 2147483647"),
            },
            ("$ORIGIN" | "$TTL", None) => self.tell(control, "there is no value", "write it behind, on the same line"),
            ("$INCLUDE", _) => self.tell(control, "$INCLUDE is not followed", "put those records into this file"),
            ("$GENERATE", _) => self.tell(control, "$GENERATE is not known here", "write the records one by one"),
            _ => self.tell(control, "only $ORIGIN and $TTL are known here", "look for a slip, or remove the line"),
        }
    }

    /// An owner, which must be the zone's name or below it.
    fn name(&mut self, word: Word<'a>) -> Option<Name> {
        let name = self.relative(word)?;
        if !is_within(&name, self.zone) {
            let message = format!("{name} is not in the zone {}", self.zone);
            self.tell(word, &message, "a name without a dot at its end is below $ORIGIN, which is the zone at first");
            return None;
        }
        Some(name)
    }

    /// A name, whole or below the origin.
    fn relative(&mut self, word: Word<'a>) -> Option<Name> {
        let name = name_below(word.text, &self.origin);
        if name.is_none() {
            self.tell(word, "not a domain name", "labels of 1 to 63 octets between dots, 255 in all");
        }
        name
    }

    fn unknown_type(&mut self, word: Word<'a>) {
        let hint = match nearest(word.text, presentation::known_types()) {
            Some(near) => format!("did you mean {near}?"),
            None => "a type that nobody knows is written TYPE65280, with data \\# LENGTH HEX".into(),
        };
        self.tell(word, &format!("no record type is called {:?}", word.text), &hint);
    }

    fn tell(&mut self, word: Word<'a>, message: &str, hint: &str) {
        let place = Place::new(self.source, word.at..word.at + word.text.len());
        self.problems.push(Problem::mistake(Some(&place), message).hint(hint));
    }
}

/// The name that `text` means where names without a dot at their end are below `origin`; `@` is the origin itself.
pub(super) fn name_below(text: &str, origin: &Name) -> Option<Name> {
    if text == "@" {
        return Some(origin.clone());
    }
    // A dot behind a backslash is a part of the label, unless that is the second half of a written backslash.
    let backslashes = |rest: &str| rest.bytes().rev().take_while(|octet| *octet == b'\\').count();
    let whole = text.strip_suffix('.').is_some_and(|rest| backslashes(rest) % 2 == 0);
    let name: Name = text.parse().ok()?;
    if whole {
        return Some(name);
    }
    let mut wire = name.as_wire().to_vec();
    wire.pop();
    wire.extend(origin.as_wire());
    Name::from_wire(&wire)
}

/// Whether `name` is `zone` or below it.
pub(super) fn is_within(name: &Name, zone: &Name) -> bool {
    let (name, zone) = (name.as_wire(), zone.as_wire());
    let at = name.len().checked_sub(zone.len());
    at.is_some_and(|at| at == name.len() - 1 || crate::wire::name::labels(name).any(|label| label == at))
        && name.ends_with(zone)
}

/// The number of the class called `text`.
fn class(text: &str) -> Option<u16> {
    let known = [("IN", 1), ("CS", 2), ("CH", 3), ("HS", 4)];
    let named = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, class)| *class);
    let number = || text.get(..5).filter(|front| front.eq_ignore_ascii_case("CLASS")).and(text.get(5..)?.parse().ok());
    named.or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Name {
        "internal.example".parse().unwrap()
    }

    fn records(text: &str) -> Vec<String> {
        let (records, problems) = read(&Source::new("z", text), &zone());
        assert!(problems.is_empty(), "{problems:?}");
        let shown = |record: &Record| {
            let data: String = record.data.iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{} {} {} {data}", record.owner, record.ttl, presentation::name_of(record.kind))
        };
        records.iter().map(shown).collect()
    }

    /// The place and the words of every mistake.
    fn told(text: &str) -> Vec<String> {
        let (_, problems) = read(&Source::new("z", text), &zone());
        problems.iter().map(|problem| format!("{} {}", problem.place().unwrap(), problem.message())).collect()
    }

    #[test]
    fn names_ttls_and_classes_may_be_left_out() {
        let text = "\u{feff}$TTL 1h ; an hour\r\n@ A 10.0.0.1\r\n  IN 60 A 10.0.0.2\n\nwww 5 IN A 10.0.0.3\n\tA 10.0.0.4\n\
            $ORIGIN sub\nx IN 7 a 10.0.0.5\ny.internal.example. A 10.0.0.6\n";
        assert_eq!(
            records(text),
            [
                "internal.example 3600 A 0a000001",
                "internal.example 60 A 0a000002",
                "www.internal.example 5 A 0a000003",
                "www.internal.example 3600 A 0a000004",
                "x.sub.internal.example 7 A 0a000005",
                "y.internal.example 3600 A 0a000006",
            ]
        );
        assert_eq!(records("a A 10.0.0.1\nb 9 A 10.0.0.1\nc A 10.0.0.1")[2], "c.internal.example 9 A 0a000001");
        assert_eq!(records("a A 10.0.0.1")[0], "a.internal.example 300 A 0a000001");
        assert_eq!(records("*.w A 10.0.0.1\n")[0], "*.w.internal.example 300 A 0a000001");
        assert_eq!(records("a\\. A 10.0.0.1\n")[0], "a\\..internal.example 300 A 0a000001");
        assert_eq!(records("0/25 A 10.0.0.1\n")[0], "0/25.internal.example 300 A 0a000001");
        assert_eq!(records("a\\\\.internal.example. A 10.0.0.1\n")[0], "a\\\\.internal.example 300 A 0a000001");
    }

    #[test]
    fn parentheses_quotes_and_comments() {
        let text = "@ SOA ns host ( ; the start\n 1 2 ; two of five\n 3 4 5 )\nt TXT \"a;b (\" c\\;d ; end\n( p 5 IN A 10.0.0.1 )\n\
            q ( A 10.0.0.1\n)\n";
        let soa = "026e7308696e7465726e616c076578616d706c6500".to_owned()
            + "04686f737408696e7465726e616c076578616d706c6500"
            + "0000000100000002000000030000000400000005";
        assert_eq!(
            records(text),
            [
                format!("internal.example 300 SOA {soa}"),
                "t.internal.example 300 TXT 05613b62202803633b64".into(),
                "p.internal.example 5 A 0a000001".into(),
                "q.internal.example 5 A 0a000001".into(),
            ]
        );
    }

    #[test]
    fn any_type_may_be_written_as_nobody_knows_it() {
        let text = "a TYPE65280 \\# 4 0A000001\nb A \\# 4 0A 00 00 01\nc CLASS1 TYPE1 10.0.0.1\nd TYPE731 \\# 0\n";
        assert_eq!(
            records(text),
            [
                "a.internal.example 300 TYPE65280 0a000001",
                "b.internal.example 300 A 0a000001",
                "c.internal.example 300 A 0a000001",
                "d.internal.example 300 TYPE731 ",
            ]
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "$INCLUDE other.zone\n$GENERATE 1-9 a A 10.0.0.$\n  A 10.0.0.1\na A 10.0.0\nb AA 10.0.0.1\nc CH A 10.0.0.1\n\
            d.example.net. A 10.0.0.1\ne MX mail\nf A 10.0.0.1 10.0.0.2\ng\nh 5 6 A 10.0.0.1\n$TTL x\n$ORIGIN\nok A 10.0.0.1\n\
            i..j A 10.0.0.1\nk A \\# 3 000000\nl MX 10\nm TXT \"open\nn A 10.0.0.9\no HTTPS 1 . alpn\n$X\n";
        assert_eq!(
            told(text),
            [
                "z:1:1 $INCLUDE is not followed",
                "z:2:1 $GENERATE is not known here",
                "z:3:3 there is no record above whose name this could have",
                "z:4:5 not A data: expected IPv4 address",
                "z:5:3 no record type is called \"AA\"",
                "z:6:3 only class IN has a place here",
                "z:7:1 d.example.net is not in the zone internal.example",
                "z:8:6 not MX data: expected decimal number",
                "z:9:14 A data ends before this",
                "z:10:1 a record needs a type and data",
                "z:11:5 not a TTL",
                "z:12:6 not a TTL",
                "z:13:1 there is no value",
                "z:15:1 not a domain name",
                "z:16:5 these octets are no A data",
                "z:17:8 MX data goes on after this",
                "z:18:7 a quote without its other half",
                "z:20:13 not HTTPS data: expected at least one alpn-id value",
                "z:21:1 only $ORIGIN and $TTL are known here",
            ]
        );
    }

    proptest::proptest! {
        /// Whatever stands in a file, it is read to its end, and every mistake can be shown.
        #[test]
        fn any_text_can_be_read(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..80)) {
            let (_, problems) = read(&Source::new("z", words.concat()), &zone());
            for problem in problems {
                proptest::prop_assert!(problem.to_string().starts_with("z:"));
            }
        }
    }

    const WORDS: &[&str] = &[
        " ",
        " ",
        " ",
        "\n",
        "\n",
        "\n",
        "\t",
        "(",
        ")",
        "\"",
        ";",
        "\\",
        "\\#",
        "@",
        "*",
        "a",
        "b.",
        "..",
        "é",
        "\u{0}",
        "A",
        "MX",
        "TXT",
        "SOA",
        "SVCB",
        "NAPTR",
        "TLSA",
        "TYPE9",
        "IN",
        "CLASS7",
        "$ORIGIN",
        "$TTL",
        "$INCLUDE",
        "10",
        "4",
        "0a000001",
        "10.0.0.1",
        "key65535=",
        "alpn=h2",
        "mandatory=",
        "ipv4hint=",
    ];
}
