//! What S3 says about names: which text is a bucket's name or an access point's, and how its host is called in each
//! region.
//!
//! It stands apart because it is knowledge that ages: a new reserved word changes this file and no other. Sources: the
//! S3 user guide's naming rules for buckets and access points.

mod form;
mod of_aws;

use super::partition::{before_suffix, suffix};
use crate::wire::Name;
pub use form::Form;
use form::Pasted;
pub use of_aws::{OfAws, of_aws, owner, well_known};

/// Why a text is not the name of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBucket {
    /// What is wrong with it, to follow the name in a sentence.
    pub reason: &'static str,
    /// What to do.
    pub hint: String,
}

impl BadBucket {
    fn new(reason: &'static str, hint: impl Into<String>) -> Self {
        Self { reason, hint: hint.into() }
    }
}

/// Says whether S3 would accept `name` for a general purpose bucket.
pub fn check(name: &str) -> Result<(), BadBucket> {
    match Pasted::read(name) {
        Some(Pasted::Bucket(bucket, form)) => return Err(more_than_a_bucket(bucket, form)),
        Some(Pasted::AccessPoint(point)) => {
            let hint = format!("write {point:?} in a [[bucket]] of its own, with kind = \"access-point\"");
            return Err(BadBucket::new("is an access point", hint));
        }
        Some(Pasted::ByPath) => {
            let hint = "write a bucket's name; for requests by path, path-style = true beside names = [\"*\"]";
            return Err(BadBucket::new("is a host of S3 that names no bucket", hint));
        }
        Some(Pasted::Else(form)) => {
            let hint = format!("write a bucket's name. {} has no entry here", form.name);
            return Err(BadBucket::new("is a host of S3 that names no bucket", hint));
        }
        None => {}
    }
    if name.bytes().any(|octet| octet.is_ascii_uppercase()) {
        let hint = "only old buckets of us-east-1 have such names; they are reached by path and need no entry";
        return Err(BadBucket::new("has upper-case letters", hint));
    }
    if name.contains('_') {
        let hint = "only old buckets of us-east-1 have such names; they are reached by path and need no entry";
        return Err(BadBucket::new("has an underscore", hint));
    }
    if !name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-')) {
        return Err(BadBucket::new(
            "has a character that S3 refuses",
            "a bucket's name has only a-z, 0-9, '.' and '-'",
        ));
    }
    if !(3..=63).contains(&name.len()) {
        return Err(BadBucket::new(
            "is not 3 to 63 characters long",
            "look for a slip; longer names of old are reached by path and need no entry",
        ));
    }
    let edges = [name.bytes().next(), name.bytes().last()];
    if !edges.iter().flatten().all(u8::is_ascii_alphanumeric) {
        return Err(BadBucket::new("does not begin and end with a letter or digit", "look for a slip at its ends"));
    }
    if name.contains("..") {
        return Err(BadBucket::new("has two dots in a row", "S3 refuses such names; look for a slip"));
    }
    let number = |part: &str| part.len() <= 3 && part.bytes().all(|octet| octet.is_ascii_digit());
    if name.split('.').count() == 4 && name.split('.').all(number) {
        return Err(BadBucket::new("is formatted as an IPv4 address", "name the bucket, not an address"));
    }
    match RESERVED_PREFIXES.iter().find(|prefix| name.starts_with(*prefix)) {
        Some(prefix) => Err(BadBucket::new(
            "begins with a word that S3 keeps for itself",
            format!("no bucket can be called {prefix}…; the name may come from an example"),
        )),
        None => Ok(()),
    }
}

/// No bucket's name may begin so.
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];

/// The mistake for a host name, URL or ARN of `bucket`.
fn more_than_a_bucket(bucket: &str, form: Option<Form>) -> BadBucket {
    let mut hint = format!("write only the bucket's name: {bucket:?}");
    if let Some(form) = form.filter(|form| !form.covered) {
        let why = "because the endpoint's certificate does not cover it";
        hint += &format!(". {} stays public, {why}: programs must ask for {bucket}.s3.<region>", form.name);
    }
    BadBucket::new("is more than a bucket's name", hint)
}

/// What a name with a reserved ending is, and what that means here; `None` for a plain bucket's name.
pub fn alias(name: &str) -> Option<&'static str> {
    let endings = [
        ("-s3alias", "is the alias of an access point, not a bucket: the bucket's own name is not covered"),
        ("--ol-s3", "is the alias of an Object Lambda access point: its host is not below s3.<region>"),
        (".mrap", "is a multi-Region access point: its host is not below s3.<region>"),
        ("--x-s3", "is a directory bucket: its host is below s3express-<zone>.<region>, which this does not cover"),
        ("--table-s3", "is a table bucket's own store: nobody asks for it by this name"),
    ];
    let account_regional = || {
        // BASE-ACCOUNT-REGION-an: twelve digits stand somewhere between hyphens.
        let account = |part: &str| part.len() == 12 && part.bytes().all(|octet| octet.is_ascii_digit());
        let reserved = name.ends_with("-an") && !name.split('-').any(account);
        reserved.then_some("ends in -an, which S3 keeps for names of the form NAME-ACCOUNT-REGION-an")
    };
    endings.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, what)| what).or_else(account_regional)
}

/// Why a text is not the name of an access point as its host has it, `NAME-ACCOUNT`.
///
/// # Errors
/// What is wrong, and what to do.
pub fn check_access_point(text: &str) -> Result<(), BadBucket> {
    let shape = "write NAME-ACCOUNT, such as my-access-point-123456789012";
    match Pasted::read(text) {
        Some(Pasted::AccessPoint(point)) => {
            let hint = format!("write only its name and account: {point:?}");
            return Err(BadBucket::new("is more than an access point's name and account", hint));
        }
        Some(Pasted::Bucket(bucket, _)) => {
            let hint = format!("write {bucket:?} in a [[bucket]] of kind \"bucket\"");
            return Err(BadBucket::new("is a bucket, not an access point", hint));
        }
        Some(Pasted::ByPath | Pasted::Else(_)) => {
            return Err(BadBucket::new("is a host of S3 that names no access point", shape));
        }
        None if text.starts_with("arn:") => return Err(BadBucket::new("is an ARN of something else", shape)),
        None => {}
    }
    if text.ends_with("-s3alias") {
        let hint = "its host is s3.<region>'s: name it in a [[bucket]] of kind \"bucket\"";
        return Err(BadBucket::new("is an access point's alias", hint));
    }
    let account = |part: &str| part.len() == 12 && part.bytes().all(|octet| octet.is_ascii_digit());
    let Some((name, _)) = text.rsplit_once('-').filter(|(_, part)| account(part)) else {
        return Err(BadBucket::new("does not end in the account, twelve digits", shape));
    };
    if !name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        let hint = "an access point's name has only a-z, 0-9 and '-'";
        return Err(BadBucket::new("has a character that S3 refuses", hint));
    }
    if !(3..=50).contains(&name.len()) {
        return Err(BadBucket::new("has a name that is not 3 to 50 characters long", shape));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(BadBucket::new("has a name that begins or ends with '-'", "look for a slip at its ends"));
    }
    match ["-s3alias", "--xa-s3"].iter().find(|ending| name.ends_with(*ending)) {
        Some(ending) => Err(BadBucket::new(
            "has a name with an ending that S3 keeps for itself",
            format!("no access point of a general purpose bucket can be called …{ending}"),
        )),
        None => Ok(()),
    }
}

/// What SDKs do in `region` that passes an entry by, to follow the region in a sentence; `None` where they do not.
pub fn region_trap(region: &str) -> Option<&'static str> {
    // botocore's default for us-east-1 alone; AWS_S3_US_EAST_1_REGIONAL_ENDPOINT turns it off.
    (region == "us-east-1").then_some(
        "is where botocore, and so the AWS CLI and boto3, may ask for BUCKET.s3.amazonaws.com, which stays public",
    )
}

/// The service, `s3` or `s3-accesspoint`, and what follows it, `<region>.<suffix>`, of a host that belongs to a bucket, an
/// access point, or the service as a whole; `None` for any other.
pub fn service_and_region(host: &str) -> Option<(&str, &str)> {
    let before = before_suffix(host)?;
    // From the end: a bucket's name may have dots.
    let mut labels = before.rsplitn(3, '.');
    let (region, service) = (labels.next()?, labels.next()?);
    let rest = host.get(before.len() - region.len()..)?;
    matches!(service, "s3" | "s3-accesspoint").then_some((service, rest))
}

/// The host names of a region's buckets or access points, made one after another.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// What they are below.
    zone: Name,
    wire: Vec<u8>,
}

impl Hosts {
    /// The hosts of the buckets of `region`; `None` if that cannot be a part of a domain name.
    pub fn of(region: &str) -> Option<Self> {
        Self::below("s3", region)
    }

    /// The hosts of the access points of `region`.
    pub fn of_access_points(region: &str) -> Option<Self> {
        Self::below("s3-accesspoint", region)
    }

    fn below(service: &str, region: &str) -> Option<Self> {
        let zone = format!("{service}.{region}.{}", suffix(region)).parse().ok()?;
        Some(Self { zone, wire: Vec::new() })
    }

    /// What all the hosts are below.
    pub fn zone(&self) -> Name {
        self.zone.clone()
    }

    /// The host name of `bucket`, which [`check`] has accepted; `None` for a text that cannot be in a domain name.
    ///
    /// The wire form is put together here: a million names must not go through a general parser.
    pub fn host(&mut self, bucket: &str) -> Option<Name> {
        self.wire.clear();
        for label in bucket.split('.') {
            if label.is_empty() {
                return None;
            }
            self.wire.push(u8::try_from(label.len()).ok()?);
            self.wire.extend_from_slice(label.as_bytes());
        }
        self.wire.extend_from_slice(self.zone.as_wire());
        Name::from_wire(&self.wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::partition::known_regions;

    #[test]
    fn names_that_s3_accepts() {
        let longest = "a".repeat(63);
        for name in [
            "xxxxx-bucket",
            "abc",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4000",
            "1.2.3.x",
            "my.bucket.example",
            "000",
            "a--b",
            longest.as_str(),
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_s3_refuses() {
        let long = "a".repeat(64);
        for (name, reason) in [
            ("", "3 to 63"),
            ("ab", "3 to 63"),
            (long.as_str(), "3 to 63"),
            ("Bucket", "upper-case"),
            ("my_bucket", "underscore"),
            ("my bucket", "character that S3 refuses"),
            ("bücket", "character that S3 refuses"),
            ("-bucket", "begin and end"),
            ("bucket.", "begin and end"),
            ("my..bucket", "two dots"),
            ("172.31.1.152", "IPv4"),
            ("999.010.1.1", "IPv4"),
            ("xn--bucket", "keeps for itself"),
            ("sthree-x", "keeps for itself"),
            ("amzn-s3-demo-bucket", "keeps for itself"),
            ("b.s3.eu-west-1.amazonaws.com", "more than"),
            ("s3://bucket/key", "more than"),
        ] {
            assert!(check(name).unwrap_err().reason.contains(reason), "{name}");
        }
    }

    #[test]
    fn hints_for_what_was_pasted() {
        for (text, hint) in [
            ("b-b.s3.us-west-2.amazonaws.com", "write only the bucket's name: \"b-b\""),
            ("https://s3.us-west-2.amazonaws.com/b-b/key", "write only the bucket's name: \"b-b\""),
            ("b-b.s3.dualstack.us-west-2.amazonaws.com", "The dual-stack form stays public"),
            ("b-b.s3-fips.us-west-2.amazonaws.com", "The FIPS form stays public"),
            ("b-b.s3-accelerate.amazonaws.com", "The form for transfer acceleration stays public"),
            ("b-b.s3.amazonaws.com", "programs must ask for b-b.s3.<region>"),
            ("arn:aws:s3:us-west-2:123456789012:accesspoint/my-ap", "\"my-ap-123456789012\" in a [[bucket]]"),
            ("my-ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "kind = \"access-point\""),
            ("x.accesspoint.s3-global.amazonaws.com", "The form of multi-Region access points has no entry here"),
            ("s3.us-west-2.amazonaws.com", "path-style = true"),
        ] {
            let found = check(text).unwrap_err();
            assert!(found.hint.contains(hint), "{text}: {found:?}");
        }
        assert!(!check("b-b.s3.us-west-2.amazonaws.com").unwrap_err().hint.contains("public"));
        for (text, hint) in [
            ("arn:aws:s3:us-west-2:123456789012:accesspoint/my-ap", "account: \"my-ap-123456789012\""),
            ("my-ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "account: \"my-ap-123456789012\""),
            ("b-b.s3.us-west-2.amazonaws.com", "\"b-b\" in a [[bucket]] of kind \"bucket\""),
            ("my-ap-abcdefgh-s3alias", "kind \"bucket\""),
            ("my-ap", "my-access-point-123456789012"),
        ] {
            let found = check_access_point(text).unwrap_err();
            assert!(found.hint.contains(hint), "{text}: {found:?}");
        }
    }

    #[test]
    fn access_points() {
        let longest = format!("{}-123456789012", "a".repeat(50));
        for name in ["my-ap-123456789012", "abc-000000000000", "123-123456789012", longest.as_str()] {
            assert_eq!(check_access_point(name), Ok(()), "{name}");
            assert!(Hosts::of_access_points("us-west-2").unwrap().host(name).is_some(), "{name}");
        }
        let long = format!("{}-123456789012", "a".repeat(51));
        for (name, reason) in [
            ("", "twelve digits"),
            ("my-ap", "twelve digits"),
            ("my-ap-12345", "twelve digits"),
            ("my-ap-1234567890123", "twelve digits"),
            ("123456789012", "twelve digits"),
            ("ab-123456789012", "3 to 50"),
            ("-123456789012", "3 to 50"),
            (long.as_str(), "3 to 50"),
            ("My-ap-123456789012", "character that S3 refuses"),
            ("my_ap-123456789012", "character that S3 refuses"),
            ("my.ap-123456789012", "character that S3 refuses"),
            ("-my-ap-123456789012", "begins or ends"),
            ("my-ap--123456789012", "begins or ends"),
            ("my-ap-s3alias-123456789012", "keeps for itself"),
            ("my-ap--usw2-az1--xa-s3-123456789012", "keeps for itself"),
            ("arn:aws:s3:ap-northeast-1:123456789012:accesspoint/my-ap", "more than"),
            ("arn:aws:s3::123456789012:accesspoint/x.mrap", "ARN of something else"),
            ("my-ap-123456789012.s3-accesspoint.ap-northeast-1.amazonaws.com", "more than"),
            ("s3.ap-northeast-1.amazonaws.com", "names no access point"),
            ("my-ap-abcdefgh-s3alias", "alias"),
        ] {
            let found = check_access_point(name).unwrap_err();
            assert!(found.reason.contains(reason), "{name}: {found:?}");
        }
        let mut hosts = Hosts::of_access_points("cn-north-1").unwrap();
        let host = "my-ap-123456789012.s3-accesspoint.cn-north-1.amazonaws.com.cn".parse().unwrap();
        assert_eq!(hosts.host("my-ap-123456789012"), Some(host));
        assert!(Hosts::of_access_points("a..b").is_none());
    }

    #[test]
    fn hosts_tell_their_service_and_region() {
        for (host, service, region) in [
            ("xxxxx-bucket.s3.ap-northeast-1.amazonaws.com", "s3", "ap-northeast-1.amazonaws.com"),
            ("my.s3.bucket.s3.cn-north-1.amazonaws.com.cn", "s3", "cn-north-1.amazonaws.com.cn"),
            ("s3.us-east-1.amazonaws.com", "s3", "us-east-1.amazonaws.com"),
            ("my-ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com", "s3-accesspoint", "us-east-1.amazonaws.com"),
        ] {
            assert_eq!(service_and_region(host), Some((service, region)), "{host}");
        }
        for host in [
            "xxxxx-bucket.s3.dualstack.us-east-1.amazonaws.com",
            "kms.us-east-1.amazonaws.com",
            "xxxxx-bucket.s3.amazonaws.com",
            "x.s3.us-east-1.example",
            "amazonaws.com",
            "internal.example",
            ".",
        ] {
            assert_eq!(service_and_region(host), None, "{host}");
        }
    }

    #[test]
    fn one_region_has_a_trap() {
        let with: Vec<_> = known_regions().filter(|region| region_trap(region).is_some()).collect();
        assert_eq!(with, ["us-east-1"]);
    }

    #[test]
    fn reserved_endings() {
        for name in ["x-s3alias", "x--ol-s3", "x.mrap", "base--usw2-az1--x-s3", "x--table-s3", "plan-an"] {
            assert!(alias(name).is_some(), "{name}");
        }
        for name in ["xxxxx-bucket", "logs-123456789012-us-east-1-an", "s3alias"] {
            assert_eq!(alias(name), None, "{name}");
        }
    }

    #[test]
    fn hosts_are_the_names_a_parser_would_give() {
        let mut hosts = Hosts::of("ap-northeast-1").unwrap();
        for bucket in ["xxxxx-bucket", "my.bucket"] {
            let parsed = format!("{bucket}.s3.ap-northeast-1.amazonaws.com").parse().unwrap();
            assert_eq!(hosts.host(bucket), Some(parsed));
        }
        assert_eq!(hosts.host("a..b"), None);
        assert_eq!(hosts.host(&"a".repeat(64)), None);
    }
}
