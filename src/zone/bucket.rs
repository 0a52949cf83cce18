//! What S3 and AWS say about names: which text is a bucket's name, how its host is called in each region, and
//! which buckets belong to AWS itself.
//!
//! It stands apart because it is knowledge that ages: a new region or a new reserved word changes this file
//! and no other. Sources: the S3 user guide's bucket naming rules, botocore's partitions, and the repository names that
//! Amazon Linux, ECR and Systems Manager ask for.

use std::net::Ipv4Addr;

use crate::wire::Name;

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
    if let Some(bucket) = bucket_in(name) {
        let hint = match Form::of(name).filter(|form| !form.covered) {
            Some(form) => format!(
                "write only the bucket's name: {bucket:?}. {} stays public, because the endpoint's certificate does not \
                 cover it: programs must ask for {bucket}.s3.<region>",
                form.name
            ),
            None => format!("write only the bucket's name: {bucket:?}"),
        };
        return Err(BadBucket::new("is more than a bucket's name", hint));
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
    if name.parse::<Ipv4Addr>().is_ok() {
        return Err(BadBucket::new("is an IPv4 address", "name the bucket, not an address"));
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

/// The bucket's name within a whole host name, a URL or an ARN.
fn bucket_in(text: &str) -> Option<&str> {
    let plain = ["s3://", "https://", "http://", "arn:aws:s3:::", "arn:aws-cn:s3:::", "arn:aws-us-gov:s3:::"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let rest = plain.unwrap_or(text);
    let rest = rest.split('/').next().unwrap_or(rest).trim_end_matches('.');
    let host = PARTITIONS.iter().any(|partition| {
        rest.strip_suffix(partition.suffix).is_some_and(|front| front.ends_with('.') && front.contains(".s3"))
    });
    let bucket = if host { rest.split(".s3").next()? } else { rest };
    ((host || plain.is_some()) && !bucket.is_empty()).then_some(bucket)
}

/// A form of the host names by which S3 is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// What it is called, to begin a sentence.
    pub name: &'static str,
    /// The certificate of an S3 interface endpoint covers such hosts, so that they may resolve to it.
    pub covered: bool,
}

/// Forms by what stands in a host name between the bucket and the region, or after it; the first that fits decides.
const FORMS: [(&str, Form); 15] = [
    (".s3-accelerate.", Form { name: "The form for transfer acceleration", covered: false }),
    (".s3-website", Form { name: "The form for websites", covered: false }),
    (".s3-fips.", Form { name: "The FIPS form", covered: false }),
    (".s3-fips-", Form { name: "The FIPS form", covered: false }),
    (".s3express-", Form { name: "The form of directory buckets", covered: false }),
    (".s3-outposts.", Form { name: "The form of Outposts", covered: false }),
    (".s3-object-lambda", Form { name: "The form of Object Lambda access points", covered: false }),
    (".s3-global.", Form { name: "The form of multi-Region access points", covered: false }),
    (".dualstack.", Form { name: "The dual-stack form", covered: false }),
    (".s3-accesspoint.", Form { name: "The form of access points", covered: true }),
    (".s3-control.", Form { name: "The form of S3's control plane", covered: true }),
    (".s3.amazonaws.", Form { name: "The global form", covered: false }),
    (".s3.c2s.", Form { name: "The global form", covered: false }),
    (".s3-", Form { name: "The form with a hyphen", covered: false }),
    (".s3.", Form { name: "The Regional form", covered: true }),
];

impl Form {
    /// The form of a host name, alone or in a URL; `None` if it is no host of S3.
    pub fn of(host: &str) -> Option<Self> {
        let host = host.split_once("://").map_or(host, |(_, rest)| rest).split('/').next()?.trim_end_matches('.');
        let aws = PARTITIONS.iter().any(|partition| host.ends_with(partition.suffix));
        // Requests by path have no bucket before the service.
        let whole = format!(".{host}");
        let found = FORMS.iter().find(|(part, _)| whole.contains(part)).map(|(_, form)| *form);
        found.filter(|_| aws)
    }
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
    if text.starts_with("arn:") {
        return Err(BadBucket::new("is an ARN", shape));
    }
    if text.contains('.') || text.contains('/') {
        return Err(BadBucket::new("is more than an access point's name and account", shape));
    }
    if text.ends_with("-s3alias") {
        let hint = "its host is s3.<region>'s: name it in a [[bucket]] of kind \"bucket\"";
        return Err(BadBucket::new("is an access point's alias", hint));
    }
    let account = |part: &str| part.len() == 12 && part.bytes().all(|octet| octet.is_ascii_digit());
    let Some((name, _)) = text.rsplit_once('-').filter(|(_, part)| account(part)) else {
        return Err(BadBucket::new("does not end in the account, twelve digits", shape));
    };
    if !(3..=50).contains(&name.len()) {
        return Err(BadBucket::new("has a name that is not 3 to 50 characters long", shape));
    }
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    if !name.bytes().all(plain) || name.starts_with('-') || name.ends_with('-') {
        return Err(BadBucket::new(
            "has a character that S3 refuses",
            "an access point's name has only a-z, 0-9 and '-'",
        ));
    }
    Ok(())
}

/// Buckets in which AWS keeps files of its own: front and back of the name, between which the region stands, and whose
/// they are.
const BUCKETS_OF_AWS: [(&str, &str, &str); 15] = [
    ("amazonlinux-2-repos-", "", "Amazon Linux 2"),
    ("al2022-repos-", "-9761ab97", "Amazon Linux 2022"),
    ("al2023-repos-", "-de612dc2", "Amazon Linux 2023"),
    ("packages.", ".amazonaws.com", "Amazon Linux"),
    ("repo.", ".amazonaws.com", "Amazon Linux"),
    ("prod-", "-starport-layer-bucket", "ECR"),
    ("prod-registry-k8s-io-", "", "the Kubernetes image registry"),
    ("amazon-ssm-packages-", "", "Systems Manager"),
    ("amazon-ssm-", "", "Systems Manager"),
    ("aws-ssm-document-attachments-", "", "Systems Manager"),
    ("aws-ssm-", "", "Systems Manager"),
    ("patch-baseline-snapshot-", "", "Systems Manager"),
    ("", "-birdwatcher-prod", "Systems Manager"),
    ("", ".elasticmapreduce", "EMR"),
    ("cloudformation-waitcondition-", "", "CloudFormation"),
];
/// The buckets of Image Builder begin so.
const IMAGE_BUILDER: &str = "ec2imagebuilder-";

/// Which part of AWS keeps its own files in the bucket `name` of `region`.
pub fn owner(name: &str, region: &str) -> Option<&'static str> {
    let middle = |front, back| name.strip_prefix(front).and_then(|rest: &str| rest.strip_suffix(back));
    let theirs = |(front, back)| middle(front, back).is_some_and(|middle| middle == region);
    let image_builder = || name.starts_with(IMAGE_BUILDER).then_some("EC2 Image Builder");
    let known = BUCKETS_OF_AWS.iter().find(|&&(front, back, _)| theirs((front, back)));
    known.map(|&(_, _, owner)| owner).or_else(image_builder)
}

/// Buckets that belong to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfAws {
    /// Their names.
    pub names: Vec<String>,
    /// Beginnings of further ones.
    pub prefixes: Vec<String>,
}

/// The buckets of `region` that belong to AWS.
pub fn of_aws(region: &str) -> OfAws {
    let names = BUCKETS_OF_AWS.iter().map(|(front, back, _)| format!("{front}{region}{back}"));
    // What stands behind the region in these is another one with each generation of images.
    let repositories = ["al2022-repos-", "al2023-repos-"].map(|front| format!("{front}{region}-"));
    OfAws { names: names.collect(), prefixes: repositories.into_iter().chain([IMAGE_BUILDER.into()]).collect() }
}

/// Host names that programs on an EC2 host ask for without being told to, and whose they are: what a zone that is too
/// wide breaks.
pub fn well_known(region: &str) -> Vec<(String, &'static str)> {
    let suffix = suffix(region);
    let bucket = |&(front, back, owner): &(&str, &str, &'static str)| {
        (format!("{front}{region}{back}.s3.{region}.{suffix}"), owner)
    };
    let dual_stack = [
        (format!("al2023-repos-{region}-de612dc2.s3.dualstack.{region}.{suffix}"), "Amazon Linux 2023"),
        (format!("al2022-repos-{region}-9761ab97.s3.dualstack.{region}.{suffix}"), "Amazon Linux 2022"),
        (format!("amazonlinux-2-repos-{region}.s3.dualstack.{region}.{suffix}"), "Amazon Linux 2"),
    ];
    let services = [
        ("amazonlinux", "Amazon Linux 2"),
        ("repo", "Amazon Linux"),
        ("packages", "Amazon Linux"),
        ("s3", "S3, requests by path"),
        ("api.ecr", "ECR"),
        ("ssm", "Systems Manager"),
        ("ssmmessages", "Systems Manager"),
        ("ec2messages", "Systems Manager"),
        ("sts", "credentials of roles"),
        ("ec2", "the EC2 API"),
        ("logs", "CloudWatch Logs"),
        ("monitoring", "CloudWatch"),
    ];
    let services = services.iter().map(|(name, owner)| (format!("{name}.{region}.{suffix}"), *owner));
    let elsewhere = [("cdn.amazonlinux.com".to_owned(), "Amazon Linux")];
    BUCKETS_OF_AWS.iter().map(bucket).chain(dual_stack).chain(services).chain(elsewhere).collect()
}

/// A part of AWS with accounts and a DNS suffix of its own.
struct Partition {
    /// Its regions begin so.
    prefix: &'static str,
    suffix: &'static str,
    regions: &'static [&'static str],
}

/// Longer prefixes first: the first that fits decides.
const PARTITIONS: [Partition; 8] = [
    Partition { prefix: "us-gov-", suffix: "amazonaws.com", regions: &["us-gov-east-1", "us-gov-west-1"] },
    Partition { prefix: "us-iso-", suffix: "c2s.ic.gov", regions: &["us-iso-east-1", "us-iso-west-1"] },
    Partition { prefix: "us-isob-", suffix: "sc2s.sgov.gov", regions: &["us-isob-east-1", "us-isob-west-1"] },
    Partition { prefix: "eu-isoe-", suffix: "cloud.adc-e.uk", regions: &["eu-isoe-west-1"] },
    Partition { prefix: "us-isof-", suffix: "csp.hci.ic.gov", regions: &["us-isof-east-1", "us-isof-south-1"] },
    Partition { prefix: "eusc-", suffix: "amazonaws.eu", regions: &["eusc-de-east-1"] },
    Partition { prefix: "cn-", suffix: "amazonaws.com.cn", regions: &["cn-north-1", "cn-northwest-1"] },
    Partition { prefix: "", suffix: "amazonaws.com", regions: COMMERCIAL },
];

const COMMERCIAL: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Every region known when this was written.
pub fn known_regions() -> impl Iterator<Item = &'static str> {
    PARTITIONS.iter().flat_map(|partition| partition.regions).copied()
}

/// Whether `region` is shaped like a region's name, as `ap-northeast-1` or `us-gov-west-1`.
pub fn looks_like_region(region: &str) -> bool {
    let mut labels: Vec<&str> = region.split('-').collect();
    let number = labels.pop().unwrap_or("");
    let digits = (1..=2).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit());
    let word = |label: &&str| (2..=12).contains(&label.len()) && label.bytes().all(|octet| octet.is_ascii_lowercase());
    digits && (2..=3).contains(&labels.len()) && labels.iter().all(word)
}

/// The DNS suffix of the partition that `region` is in.
pub fn suffix(region: &str) -> &'static str {
    PARTITIONS.iter().find(|partition| region.starts_with(partition.prefix)).map_or("amazonaws.com", |it| it.suffix)
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

    #[test]
    fn names_that_s3_accepts() {
        let longest = "a".repeat(63);
        for name in ["xxxxx-bucket", "abc", "1.2.3", "my.bucket.example", "000", "a--b", longest.as_str()] {
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
    fn the_bucket_is_found_in_what_was_pasted() {
        for text in [
            "my.b.s3.ap-northeast-1.amazonaws.com",
            "my.b.s3.ap-northeast-1.amazonaws.com.",
            "https://my.b.s3-us-west-2.amazonaws.com/key",
            "my.b.s3.cn-north-1.amazonaws.com.cn",
            "s3://my.b/",
            "arn:aws:s3:::my.b/*",
        ] {
            assert_eq!(bucket_in(text), Some("my.b"), "{text}");
        }
        assert_eq!(bucket_in("my.b.s3.example"), None);
        assert_eq!(bucket_in("s3.amazonaws.com"), None);
    }

    #[test]
    fn forms_that_an_endpoint_covers_and_others() {
        for (host, name, covered) in [
            ("b.s3.ap-northeast-1.amazonaws.com", "Regional", true),
            ("s3.ap-northeast-1.amazonaws.com", "Regional", true),
            ("b.s3.cn-north-1.amazonaws.com.cn", "Regional", true),
            ("https://b.s3.eusc-de-east-1.amazonaws.eu/key", "Regional", true),
            ("b.s3.amazonaws.com", "global", false),
            ("s3.amazonaws.com", "global", false),
            ("b.s3-us-west-2.amazonaws.com", "hyphen", false),
            ("s3-us-west-2.amazonaws.com.", "hyphen", false),
            ("b.s3.dualstack.us-west-2.amazonaws.com", "dual-stack", false),
            ("b.s3-fips.us-west-2.amazonaws.com", "FIPS", false),
            ("b.s3-fips.dualstack.us-west-2.amazonaws.com", "FIPS", false),
            ("b.s3-accelerate.amazonaws.com", "acceleration", false),
            ("ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "access points", true),
            ("ap-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com", "dual-stack", false),
            ("x-123456789012.s3-object-lambda.us-west-2.amazonaws.com", "Object Lambda", false),
            ("x.accesspoint.s3-global.amazonaws.com", "multi-Region", false),
            ("123456789012.s3-control.us-west-2.amazonaws.com", "control", true),
            ("b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com", "directory", false),
            ("x.op-1.123456789012.s3-outposts.us-west-2.amazonaws.com", "Outposts", false),
            ("b.s3-website-us-west-2.amazonaws.com", "websites", false),
            ("b.s3-website.us-west-2.amazonaws.com", "websites", false),
        ] {
            let form = Form::of(host).unwrap_or_else(|| panic!("{host}"));
            assert!(form.name.contains(name) && form.covered == covered, "{host}: {form:?}");
        }
        for host in ["kms.us-west-2.amazonaws.com", "b.s3.example", "www.example.com"] {
            assert_eq!(Form::of(host), None, "{host}");
        }
        let dual = check("b-b.s3.dualstack.us-west-2.amazonaws.com").unwrap_err();
        assert!(dual.hint.contains("dual-stack") && dual.hint.contains("\"b-b\""), "{}", dual.hint);
    }

    #[test]
    fn access_points() {
        for name in ["my-ap-123456789012", "abc-000000000000"] {
            assert_eq!(check_access_point(name), Ok(()), "{name}");
        }
        for (name, reason) in [
            ("my-ap", "twelve digits"),
            ("my-ap-12345", "twelve digits"),
            ("ab-123456789012", "3 to 50"),
            ("My-ap-123456789012", "refuses"),
            ("my_ap-123456789012", "refuses"),
            ("arn:aws:s3:ap-northeast-1:123456789012:accesspoint/my-ap", "ARN"),
            ("my-ap-123456789012.s3-accesspoint.ap-northeast-1.amazonaws.com", "more than"),
            ("my-ap-abcdefgh-s3alias", "alias"),
        ] {
            assert!(check_access_point(name).unwrap_err().reason.contains(reason), "{name}");
        }
    }

    #[test]
    fn what_every_host_needs() {
        let known = well_known("cn-north-1");
        let has = |name: &str| known.iter().any(|(known, _)| known == name);
        assert!(has("amazonlinux-2-repos-cn-north-1.s3.cn-north-1.amazonaws.com.cn") && has("cdn.amazonlinux.com"));
        assert!(has("ssm.cn-north-1.amazonaws.com.cn"));
        assert!(known.iter().all(|(name, _)| name.parse::<Name>().is_ok()));
        let theirs = of_aws("us-west-2");
        assert!(theirs.names.iter().all(|name| owner(name, "us-west-2").is_some()));
        assert!(theirs.prefixes.contains(&"al2023-repos-us-west-2-".to_owned()));
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
    fn buckets_of_aws_itself() {
        let region = "ap-northeast-1";
        assert_eq!(owner("al2023-repos-ap-northeast-1-de612dc2", region), Some("Amazon Linux 2023"));
        assert_eq!(owner("prod-ap-northeast-1-starport-layer-bucket", region), Some("ECR"));
        assert_eq!(owner("amazon-ssm-ap-northeast-1", region), Some("Systems Manager"));
        assert_eq!(owner("amazon-ssm-eu-west-1", region), None);
        assert_eq!(owner("xxxxx-bucket", region), None);
    }

    #[test]
    fn regions_and_their_suffixes() {
        for region in known_regions() {
            assert!(looks_like_region(region), "{region}");
        }
        for region in ["ap-northeast-1a", "tokyo", "", "us_east_1", "US-EAST-1", "us-east", "a-b-c-d-1", "us-east-123"]
        {
            assert!(!looks_like_region(region), "{region}");
        }
        assert_eq!(suffix("cn-north-1"), "amazonaws.com.cn");
        assert_eq!(suffix("us-gov-west-1"), "amazonaws.com");
        assert_eq!(suffix("us-isob-east-1"), "sc2s.sgov.gov");
        assert_eq!(suffix("xx-new-9"), "amazonaws.com");
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
