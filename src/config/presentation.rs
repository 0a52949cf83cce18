//! Record data from text: the presentation format of RFC 1035 section 5.1 and of each type's own RFC, and RFC 3597's for
//! types that nobody knows.
//!
//! Apart from `zone_file`, because records in TOML have data too. The `domain` crate reads it; here its findings get a
//! place and words.

use std::borrow::Cow;

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData;
use domain::base::wire::ParseError;
use domain::base::{ParseRecordData, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::wire::Name;

/// Why a text is no record data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// Where, in octets from the text's beginning.
    pub at: usize,
}

/// The types that Route 53 offers, with an example of each one's data.
const TYPES: [(&str, u16, &str); 17] = [
    ("A", 1, "172.31.1.20"),
    ("AAAA", 28, "2001:db8::20"),
    ("CAA", 257, "0 issue \"ca.example.net\""),
    ("CNAME", 5, "web"),
    ("DS", 43, "12345 13 2 followed by the digest in hexadecimal"),
    ("HTTPS", 65, "1 . alpn=h2"),
    ("MX", 15, "10 mail"),
    ("NAPTR", 35, "100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp"),
    ("NS", 2, "ns1"),
    ("PTR", 12, "host.example.net."),
    ("SOA", 6, "ns1 hostmaster 1 7200 900 1209600 60"),
    ("SPF", SPF, "\"v=spf1 -all\""),
    ("SRV", 33, "0 5 443 host"),
    ("SSHFP", 44, "4 2 followed by the fingerprint in hexadecimal"),
    ("SVCB", 64, "1 host port=8443"),
    ("TLSA", 52, "3 1 1 followed by the digest in hexadecimal"),
    ("TXT", 16, "\"any text\""),
];

/// A type of old whose data is that of TXT (RFC 4408 section 3.1.1); the library does not know it.
const SPF: u16 = 99;
const TXT: u16 = 16;
const SOA: u16 = 6;

/// The names of the types that Route 53 offers.
pub(super) fn known_types() -> impl Iterator<Item = &'static str> + Clone {
    TYPES.iter().map(|(name, ..)| *name)
}

/// The number of the type called `text`: a mnemonic in any case, or `TYPE` and a number (RFC 3597 section 5).
pub(super) fn kind_of(text: &str) -> Option<u16> {
    let known = TYPES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(text));
    known.map(|(_, kind, _)| *kind).or_else(|| text.parse::<Rtype>().ok().map(Rtype::to_int))
}

/// What a type is called.
pub(super) fn name_of(kind: u16) -> String {
    if kind == SPF { "SPF".into() } else { Rtype::from_int(kind).to_string() }
}

/// Whether data of this type is text and nothing else.
pub(super) fn is_text(kind: u16) -> bool {
    matches!(kind, TXT | SPF)
}

/// What data of this type looks like.
pub(super) fn example_of(kind: u16) -> String {
    let known = TYPES.iter().find(|(_, known, _)| *known == kind);
    known.map_or_else(|| "\\# 4 0a000001".into(), |(.., example)| (*example).into())
}

/// The wire form of the record data in `text`, names in it whole; names without a dot at their end are below `origin`.
/// Parentheses, line ends within them and comments are as in a zone file.
///
/// # Errors
/// What is wrong, and where in `text`.
pub(super) fn data(kind: u16, text: &str, origin: &Name) -> Result<Box<[u8]>, Unreadable> {
    // RFC 3597 section 5: any type's data may be written so, and is then read as if the type were not known.
    let generic = text.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(').starts_with("\\#");
    let read_as = match kind {
        _ if generic => Rtype::from_int(65_280).to_string(),
        SPF => name_of(TXT),
        _ => name_of(kind),
    };
    let front = format!("@ 0 IN {read_as} ");
    let flat = flattened(text)?;
    let itself = if origin.label_count() == 0 { ".".to_owned() } else { format!("{origin}.") };
    let whole = match kind {
        _ if generic || !has_names(kind) => flat.as_str().into(),
        SOA => with_words(&flat, |word| match word {
            "@" => Some(itself.clone()),
            _ => seconds(word).map(|seconds| seconds.to_string()),
        }),
        _ => with_words(&flat, |word| (word == "@").then(|| itself.clone())),
    };
    let mut file = Zonefile::from(format!("{front}{whole}\n").as_str());
    let unreadable = |message: String, at| Unreadable { message, at };
    file.set_origin(origin.to_string().parse().map_err(|_| unreadable("the origin is no name".into(), 0))?);
    let told = |error: domain::zonefile::inplace::Error| in_words(&error.to_string(), kind, text, front.len());
    let Some(Entry::Record(record)) = file.next_entry().map_err(told)? else {
        return Err(unreadable(format!("{} data is missing", name_of(kind)), 0));
    };
    let mut wire = Vec::new();
    // A vector takes whatever it is given.
    let _ = record.data().compose_rdata(&mut wire);
    if wire.len() > usize::from(u16::MAX) {
        return Err(unreadable("the data is longer than 65,535 octets".into(), 0));
    }
    if generic && !is_of_type(kind, &wire) {
        return Err(unreadable(format!("these octets are no {} data", name_of(kind)), 0));
    }
    Ok(wire.into())
}

/// `text` on one line, with blanks for parentheses, line ends and comments; every octet stays where it is.
fn flattened(text: &str) -> Result<String, Unreadable> {
    let unreadable = |message: &str, at| Err(Unreadable { message: message.into(), at });
    let (mut flat, mut open) = (String::with_capacity(text.len()), Vec::new());
    let (mut quote, mut comment, mut escaped) = (None, false, false);
    for (at, letter) in text.char_indices() {
        let plain = !std::mem::take(&mut escaped) && !comment;
        let outside = plain && quote.is_none();
        match letter {
            '\n' => {
                let rest = text.get(at + 1..).unwrap_or_default().trim_start();
                if open.is_empty() && quote.is_none() && !rest.is_empty() && !rest.starts_with(';') {
                    return unreadable("there is more here than one record's data", at + 1);
                }
                comment = false;
            }
            '\\' if plain => escaped = true,
            '"' if plain => quote = quote.xor(Some(at)),
            ';' if outside => comment = true,
            '(' if outside => open.push(at),
            ')' if outside && open.pop().is_none() => return unreadable("a parenthesis without its other half", at),
            _ => {}
        }
        let parenthesis = outside && matches!(letter, '(' | ')');
        if comment || parenthesis || letter.is_ascii_control() {
            flat.extend(std::iter::repeat_n(' ', letter.len_utf8()));
        } else {
            flat.push(letter);
        }
    }
    match (open.pop(), quote) {
        (Some(at), _) => unreadable("a parenthesis without its other half", at),
        (None, Some(at)) => unreadable("a quote without its other half", at),
        (None, None) if escaped => unreadable("nothing follows the backslash", flat.len().saturating_sub(1)),
        (None, None) => Ok(flat),
    }
}

/// Seconds, alone or with units as `1h30m`; `None` for what is no time.
pub(super) fn seconds(text: &str) -> Option<u32> {
    if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(u32::MAX));
    }
    let (mut total, mut number) = (0_u32, None);
    for octet in text.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let digit = u32::from(digit - b'0');
                number = Some(number.unwrap_or(0_u32).checked_mul(10)?.checked_add(digit)?);
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    (number.is_none() && !text.is_empty()).then_some(total)
}

/// Whether data of this type has names in it.
fn has_names(kind: u16) -> bool {
    // NS to MR, PTR, MINFO and MX, RP, AFSDB, RT, SRV, NAPTR, KX, DNAME, SVCB, HTTPS.
    matches!(kind, 2..=9 | 12 | 14 | 15 | 17 | 18 | 21 | 33 | 35 | 36 | 39 | 64 | 65)
}

/// `text` with words that the library does not understand written as those that it does: `@`, which it would take for a
/// label, and times with units. What is in quotes stays.
fn with_words<'t>(text: &'t str, instead: impl Fn(&str) -> Option<String>) -> Cow<'t, str> {
    let blank = |letter: char| letter.is_ascii_whitespace() || matches!(letter, '(' | ')');
    let word = |part: &'t str| -> Cow<'t, str> {
        let bare = part.trim_matches(blank);
        instead(bare).map_or(part.into(), |other| part.replacen(bare, &other, 1).into())
    };
    // Every other part is inside quotes.
    let parts = text.split('"').enumerate().map(|(index, part)| match index % 2 {
        0 => part.split_inclusive(|letter: char| letter.is_ascii_whitespace()).map(word).collect::<String>().into(),
        _ => Cow::Borrowed(part),
    });
    parts.collect::<Vec<Cow<'_, str>>>().join("\"").into()
}

/// Whether `wire` is what data of this type must be; true for a type that nobody knows.
fn is_of_type(kind: u16, wire: &[u8]) -> bool {
    type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;
    let mut parser = Parser::from_ref(wire);
    let read_as = Rtype::from_int(if kind == SPF { TXT } else { kind });
    let parsed: Result<Option<Data<'_>>, ParseError> = Data::parse_rdata(read_as, &mut parser);
    matches!(parsed, Ok(Some(_))) && parser.remaining() == 0
}

/// The library's complaint, `LINE:COLUMN: WORDS`, about `text` on a line of which it begins at column `front`.
fn in_words(complaint: &str, kind: u16, text: &str, front: usize) -> Unreadable {
    let mut parts = complaint.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.trim().parse::<usize>().ok()).unwrap_or(1);
    let (line, column) = (number(), number());
    let words = parts.next().unwrap_or(complaint).trim();
    // What it misses at the end, it misses on the next line.
    let within = if line > 1 { text.len() } else { column.saturating_sub(1).saturating_sub(front) };
    let kind = name_of(kind);
    let message = match words {
        "unexpected end of entry" | "short buffer" => format!("{kind} data goes on after this"),
        "trailing tokens" => format!("{kind} data ends before this"),
        "bad name" => "not a domain name".into(),
        _ => format!("not {kind} data: {words}"),
    };
    // The library stops behind what it could not read; the reader of the message looks for its beginning.
    let mut at = within.min(text.trim_end().len());
    let misread = message.starts_with("not ");
    let inside = |at: usize| text.as_bytes().get(at - 1).is_some_and(|before| misread && !before.is_ascii_whitespace());
    while at > 0 && (!text.is_char_boundary(at) || inside(at)) {
        at -= 1;
    }
    Unreadable { message, at }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RData, RecordType};
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

    use super::*;

    /// What another library makes of the same text.
    fn by_another(kind: u16, text: &str) -> Vec<u8> {
        let data = RData::try_from_str(RecordType::from(kind), text);
        let mut wire = Vec::new();
        let mut encoder = BinEncoder::new(&mut wire);
        encoder.set_canonical_form(true);
        data.unwrap().emit(&mut encoder).unwrap();
        wire
    }

    #[test]
    fn every_type_of_route_53_is_read_as_another_library_reads_it() {
        let origin: Name = "z.example".parse().unwrap();
        let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (kind, text) in [
            ("A", "172.31.1.20".to_owned()),
            ("AAAA", "2001:db8::20".into()),
            ("CAA", "0 issue \"ca.example.net\"".into()),
            ("CNAME", "web.z.example.".into()),
            ("MX", "10 mail.z.example.".into()),
            ("NS", "ns1.z.example.".into()),
            ("PTR", "host.example.net.".into()),
            ("SOA", "ns1.z.example. host.z.example. 1 7200 900 1209600 60".into()),
            ("SRV", "0 5 443 host.z.example.".into()),
            ("SSHFP", "4 2 0123456789abcdef".into()),
            ("TLSA", format!("3 1 1 {digest}")),
            ("TXT", "\"text\"".into()),
        ] {
            let number = kind_of(kind).unwrap();
            let wire = data(number, &text, &origin).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
            assert_eq!(wire.to_vec(), by_another(number, &text), "{kind}");
            assert_eq!(name_of(number), kind);
            assert!(is_of_type(number, &wire), "{kind}");
        }
    }

    #[test]
    fn types_that_are_read_by_hand() {
        let origin: Name = "z.example".parse().unwrap();
        let read = |kind, text| data(kind_of(kind).unwrap(), text, &origin).map(<[u8]>::into_vec);
        assert_eq!(read("SPF", "\"v=spf1 -all\""), Ok(b"\x0bv=spf1 -all".to_vec()));
        assert_eq!(
            read("HTTPS", "1 . alpn=h2 port=443"),
            Ok(b"\0\x01\0\0\x01\0\x03\x02h2\0\x03\0\x02\x01\xbb".to_vec())
        );
        assert_eq!(read("SVCB", "0 web"), Ok(b"\0\0\x03web\x01z\x07example\0".to_vec()));
        let naptr = b"\0\x64\0\x0a\x01S\x07SIP+D2U\0\x04_sip\x04_udp\x01z\x07example\0";
        assert_eq!(read("NAPTR", "100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp"), Ok(naptr.to_vec()));
        assert_eq!(read("CNAME", "web"), Ok(b"\x03web\x01z\x07example\0".to_vec()));
        assert_eq!(read("MX", "( 10 @ )"), Ok(b"\0\x0a\x01z\x07example\0".to_vec()));
        assert_eq!(read("TXT", "@"), Ok(b"\x01@".to_vec()));
        assert_eq!(
            read("DS", "12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef").unwrap().len(),
            36
        );
        let soa = b"\x01z\x07example\0\x01h\x01z\x07example\0\0\0\0\x01\0\0\x0e\x10\0\0\0\x3c\0\x01\x51\x80\0\0\0\x05";
        assert_eq!(read("SOA", "@ h ( 1 1h 1m 1d 5 )"), Ok(soa.to_vec()));
        assert_eq!(read("CNAME", "@"), Ok(b"\x01z\x07example\0".to_vec()));
        assert_eq!(data(5, "@", &Name::root()).map(<[u8]>::into_vec), Ok(vec![0]));
        assert_eq!(kind_of("type99"), Some(SPF));
        assert_eq!(kind_of("TYPE65536"), None);
    }

    #[test]
    fn what_is_no_data_is_told_with_its_place() {
        let origin: Name = "z.example".parse().unwrap();
        let told = |kind, text| data(kind_of(kind).unwrap(), text, &origin).map_err(|bad| (bad.at, bad.message));
        assert_eq!(told("A", "10.0.0"), Err((0, "not A data: expected IPv4 address".into())));
        assert_eq!(told("MX", "10"), Err((2, "MX data goes on after this".into())));
        assert_eq!(told("A", "10.0.0.1 10.0.0.2"), Err((9, "A data ends before this".into())));
        assert_eq!(told("A", "10.0.0.1\n@ A 10.0.0.2"), Err((9, "there is more here than one record's data".into())));
        assert!(told("A", "").is_err() && told("TXT", "\"open").is_err() && told("A", "\\# 3 000000").is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
        /// Whatever stands where data should, the library reads it or complains.
        #[test]
        fn any_text_can_be_tried(kind in 0_u16..300, text in "[ -~\\t\\n\\r\\PC]{0,60}") {
            let origin: Name = "z.example".parse().unwrap();
            if let Err(Unreadable { at, .. }) = data(kind, &text, &origin) {
                proptest::prop_assert!(text.is_char_boundary(at));
            }
        }

        /// The same of texts that are nearly right.
        #[test]
        fn any_words_can_be_tried(kind in 0_u16..70, words in proptest::collection::vec(proptest::sample::select(WORDS), 0..12)) {
            let origin: Name = "z.example".parse().unwrap();
            let _ = data(kind, &words.concat(), &origin);
        }
    }

    const WORDS: &[&str] = &[
        " ",
        " ",
        " ",
        "\n",
        "(",
        ")",
        "\"",
        "\\",
        "\\#",
        "\\000",
        "@",
        ".",
        "a",
        "b.",
        "1",
        "10",
        "1h",
        "65536",
        "4294967296",
        "00",
        "0a000001",
        "10.0.0.1",
        "2001:db8::1",
        "alpn=",
        "h2",
        "key65535=\"x\"",
        "mandatory=alpn",
        "ipv4hint=1.2.3.4",
        "port=1",
        "ech=",
        "A",
        "\u{e9}",
        ",",
        "=",
        ";x",
        "+abc/",
    ];
}
