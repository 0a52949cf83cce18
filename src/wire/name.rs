//! Domain names as phzd keeps them: wire form, lower case, absolute (RFC 1035 section 3.1).
//!
//! A name is compared, hashed and cut at its labels far more often than it is shown, so it is stored as
//! the bytes that a query carries: a length octet before each label and the root's zero at the end. Case
//! is folded once, when the name is made (RFC 4343); what a client wrote is echoed from its own packet.

use std::fmt;
use std::str::FromStr;

use hickory_proto::rr::Name as Presentation;

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

    /// Reads the presentation form; a name without a dot at its end is absolute all the same.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let mut name = Presentation::from_ascii(text).map_err(|error| BadName(error.to_string()))?;
        name.set_fqdn(true);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in name.iter() {
            wire.push(u8::try_from(label.len()).map_err(|_| BadName("a label is longer than 63 octets".into()))?);
            wire.extend_from_slice(label);
        }
        wire.push(0);
        Self::from_wire(&wire).ok_or_else(|| BadName("the name is longer than 255 octets".into()))
    }
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
            for &octet in self.0.get(at + 1..at + 1 + length).unwrap_or(&[]) {
                match octet {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => write!(f, "{}", char::from(octet))?,
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
    }
}
