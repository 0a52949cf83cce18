//! Domain names as phzd keeps them: wire form, lower case, absolute (RFC 1035 section 3.1).
//!
//! A name is compared, hashed and cut at its labels far more often than it is shown, so it is stored as
//! the bytes that a query carries: a length octet before each label and the root's zero at the end. Case
//! is folded once, when the name is made (RFC 4343); what a client wrote is echoed from its own packet.

use std::fmt;
use std::str::FromStr;

/// The longest name in wire form, the root's zero octet included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// The most labels a name of that length can have, the root not counted.
pub const MAX_LABELS: usize = 127;

/// An absolute domain name in wire form, lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The name whose wire form is `wire`, folded to lower case; `None` if those bytes are not exactly one
    /// uncompressed name.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut rest = wire;
        loop {
            let (&length, tail) = rest.split_first()?;
            if length == 0 {
                let whole = tail.is_empty() && wire.len() <= MAX_NAME;
                return whole.then(|| Self(wire.to_ascii_lowercase().into_boxed_slice()));
            }
            if length > 63 {
                return None;
            }
            rest = tail.get(usize::from(length)..)?;
        }
    }

    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// How many labels the name has; the root has none.
    pub fn label_count(&self) -> usize {
        labels(&self.0).count()
    }

    /// Whether it is `other`, or a name below it.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let Some(begin) = self.0.len().checked_sub(other.0.len()) else { return false };
        self.0.get(begin..) == Some(&*other.0)
            && (begin == 0 || other.0.len() == 1 || labels(&self.0).any(|at| at == begin))
    }

    /// The name, to be looked up.
    pub fn as_ref(&self) -> NameRef<'_> {
        NameRef { wire: &self.0, labels: self.label_count() }
    }
}

/// A name that stands somewhere, lower case, and how many labels it has: who looks a name up in a table needs both, and
/// to count them takes as long as the rest of it.
#[derive(Debug, Clone, Copy)]
pub struct NameRef<'a> {
    wire: &'a [u8],
    labels: usize,
}

impl<'a> NameRef<'a> {
    /// `wire` must be one uncompressed name of so many labels, lower case.
    pub(super) fn new(wire: &'a [u8], labels: usize) -> Self {
        Self { wire, labels }
    }

    /// The wire form.
    pub fn as_wire(self) -> &'a [u8] {
        self.wire
    }

    /// How many labels it has.
    pub fn label_count(self) -> usize {
        self.labels
    }
}

/// The names at and above `wire`, longest first, the root last: each as the offset at which it begins.
///
/// `wire` must be a well-formed name, as [`Name`] and [`super::query::Query`] hold; on other bytes the walk ends early.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = usize::from(*wire.get(at)?);
        if length == 0 {
            return None;
        }
        let here = at;
        at += 1 + length;
        Some(here)
    })
}

impl FromStr for Name {
    type Err = BadName;

    /// Reads the presentation form (RFC 1035 section 5.1); a name without a dot at its end is absolute all the same, and
    /// nothing at all is the root.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut wire = vec![0];
        // Where the length of the label stands that is being read.
        let mut begin = 0;
        let mut rest = text.strip_prefix('.').filter(|rest| rest.is_empty()).unwrap_or(text).bytes();
        while let Some(octet) = rest.next() {
            let length = wire.len() - begin - 1;
            match octet {
                b'.' if length == 0 => return Err(BadName("a label is empty".into())),
                b'.' => {
                    begin = wire.len();
                    wire.push(0);
                    continue;
                }
                b'\\' => wire.push(escaped(&mut rest).ok_or_else(|| BadName("\\ without an octet behind it".into()))?),
                b'*' if length == 0 => wire.push(octet),
                plain if is_plain(plain) => wire.push(plain),
                0x21..=0x7e => {
                    return Err(BadName(format!(
                        "{0} stands in it: as a part of the name, write \\{0}",
                        char::from(octet)
                    )));
                }
                _ => return Err(BadName(format!("an octet stands in it that is written \\{octet:03}"))),
            }
            let length = u8::try_from(length + 1).ok().filter(|length| *length < 64);
            wire[begin] = length.ok_or_else(|| BadName("a label is longer than 63 octets".into()))?;
        }
        if wire.len() > begin + 1 {
            wire.push(0);
        }
        Self::from_wire(&wire).ok_or_else(|| BadName("the name is longer than 255 octets".into()))
    }
}

/// What stands behind a backslash: three digits that are an octet, or anything else as itself.
fn escaped(rest: &mut std::str::Bytes<'_>) -> Option<u8> {
    let first = rest.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let number = [first, rest.next()?, rest.next()?];
    std::str::from_utf8(&number).ok()?.parse().ok()
}

/// Whether an octet of a label is written as it is. Some that could be are not, because they stand in what is no name:
/// a URL, an address of mail, a pattern.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_graphic() && !br#"."\;()@$*:"#.contains(&octet)
}

impl fmt::Display for Name {
    /// The presentation form without the dot at the end (the root is `.`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        for (index, at) in labels(&self.0).enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let length = usize::from(self.0.get(at).copied().unwrap_or(0));
            for (place, &octet) in self.0.get(at + 1..at + 1 + length).unwrap_or(&[]).iter().enumerate() {
                match octet {
                    b'*' if place == 0 => write!(f, "*")?,
                    plain if is_plain(plain) => write!(f, "{}", char::from(plain))?,
                    0x21..=0x7e => write!(f, "\\{}", char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName(String);

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_are_the_same_name() {
        let name: Name = "Xxxxx-Bucket.S3.ap-northeast-1.amazonaws.com".parse().unwrap();
        assert_eq!(name.to_string(), "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com");
        assert_eq!(Name::from_wire(name.as_wire()), Some(name.clone()));
        assert_eq!(name.label_count(), 5);
        assert_eq!("a.".parse::<Name>().unwrap(), "A".parse().unwrap());
        assert_eq!(Name::root().to_string(), ".");
        assert_eq!(".".parse::<Name>().unwrap(), Name::root());
    }

    #[test]
    fn a_name_is_below_whole_labels_only() {
        let is_below = |name: &str, other: &str| name.parse::<Name>().unwrap().is_at_or_below(&other.parse().unwrap());
        assert!(is_below("a.example", "example") && is_below("example", "example") && is_below("a.example", "."));
        assert!(!is_below("example", "a.example") && !is_below("anexample", "example"));
    }

    #[test]
    fn bytes_that_are_no_name_are_refused() {
        for wire in [&b""[..], b"\x01a", b"\x01a\x00x", b"\xc0\x0c", b"\x05ab\x00", &[1; 300]] {
            assert_eq!(Name::from_wire(wire), None, "{wire:?}");
        }
        assert!("a..b".parse::<Name>().is_err());
        assert!(format!("{}.example", "x".repeat(64)).parse::<Name>().is_err());
        assert!(format!("{}x", "abc.".repeat(64)).parse::<Name>().is_err());
    }

    #[test]
    fn odd_octets_are_shown_escaped() {
        let name = Name::from_wire(b"\x03a.\x01\x00").unwrap();
        assert_eq!(name.to_string(), "a\\.\\001");
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    /// RFC 2317 names reverse zones so; and a label may begin with anything.
    #[test]
    fn whatever_can_be_asked_can_be_written() {
        for (text, wire) in [
            ("0/25.2.0.192", &b"\x040/25\x012\x010\x03192\x00"[..]),
            ("-11.logs", b"\x03-11\x04logs\x00"),
            ("*.a", b"\x01*\x01a\x00"),
            ("a\\*\\@\\255\\\\.b+c", b"\x05a*@\xff\\\x03b+c\x00"),
            ("_dns._tcp", b"\x04_dns\x04_tcp\x00"),
        ] {
            let name = Name::from_wire(wire).unwrap();
            assert_eq!((text.parse(), &*name.to_string()), (Ok(name.clone()), text));
        }
        assert_eq!("".parse(), Ok(Name::root()));
    }

    #[test]
    fn what_is_no_name_is_told_so() {
        let told = |text: &str| text.parse::<Name>().unwrap_err().to_string();
        assert_eq!(told("a..b"), "a label is empty");
        assert_eq!([told(".a"), told("..")], ["a label is empty"; 2].map(String::from));
        assert_eq!(told("https://a"), ": stands in it: as a part of the name, write \\:");
        assert_eq!(told("log*.a"), "* stands in it: as a part of the name, write \\*");
        assert_eq!(told("a b"), "an octet stands in it that is written \\032");
        assert_eq!([told("a\\"), told("a\\25"), told("\\256")], ["\\ without an octet behind it"; 3].map(String::from));
        assert_eq!(told(&"x".repeat(64)), "a label is longer than 63 octets");
        assert_eq!(told(&"abcd.".repeat(51)), "the name is longer than 255 octets");
        assert!("abcd.".repeat(50).parse::<Name>().is_ok());
    }
}
