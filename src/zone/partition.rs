//! The partitions of AWS: parts with accounts, regions and DNS suffixes of their own.
//!
//! It stands apart because buckets and services are both named by region, and because it ages: a new region changes
//! this file and no other. Source: botocore's list of partitions.

/// A partition.
struct Partition {
    /// What its regions begin with, before a word and a number.
    fronts: &'static [&'static str],
    /// What its host names end in.
    suffix: &'static str,
    /// What host names of newer services, which have IPv6 from the start, end in.
    dual_stack_suffix: &'static str,
    regions: &'static [&'static str],
}

const PARTITIONS: [Partition; 8] = [
    Partition {
        fronts: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"],
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        regions: COMMERCIAL,
    },
    Partition {
        fronts: &["cn"],
        suffix: "amazonaws.com.cn",
        dual_stack_suffix: "api.amazonwebservices.com.cn",
        regions: &["cn-north-1", "cn-northwest-1"],
    },
    Partition {
        fronts: &["us-gov"],
        suffix: "amazonaws.com",
        dual_stack_suffix: "api.aws",
        regions: &["us-gov-east-1", "us-gov-west-1"],
    },
    Partition {
        fronts: &["eusc-de"],
        suffix: "amazonaws.eu",
        dual_stack_suffix: "api.amazonwebservices.eu",
        regions: &["eusc-de-east-1"],
    },
    Partition {
        fronts: &["us-iso"],
        suffix: "c2s.ic.gov",
        dual_stack_suffix: "api.aws.ic.gov",
        regions: &["us-iso-east-1", "us-iso-west-1"],
    },
    Partition {
        fronts: &["us-isob"],
        suffix: "sc2s.sgov.gov",
        dual_stack_suffix: "api.aws.scloud",
        regions: &["us-isob-east-1", "us-isob-west-1"],
    },
    Partition {
        fronts: &["eu-isoe"],
        suffix: "cloud.adc-e.uk",
        dual_stack_suffix: "api.cloud-aws.adc-e.uk",
        regions: &["eu-isoe-west-1"],
    },
    Partition {
        fronts: &["us-isof"],
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
        regions: &["us-isof-east-1", "us-isof-south-1"],
    },
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

/// Whether `region` is named as a partition names its regions, as `ap-northeast-1` or `us-gov-west-1`.
pub fn looks_like_region(region: &str) -> bool {
    of(region).is_some()
}

/// The DNS suffix of the partition that `region` is in; the commercial one's for a text that is no region.
pub fn suffix(region: &str) -> &'static str {
    of(region).map_or("amazonaws.com", |partition| partition.suffix)
}

/// The suffix of newer services' host names in the partition that `region` is in.
pub fn dual_stack_suffix(region: &str) -> &'static str {
    of(region).map_or("api.aws", |partition| partition.dual_stack_suffix)
}

/// The partition in which `region` is, by the form of its name: `<front>-<word>-<number>`.
fn of(region: &str) -> Option<&'static Partition> {
    let (rest, number) = region.rsplit_once('-')?;
    let (front, word) = rest.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    // A region is a label of host names (RFC 1035 section 2.3.4).
    let shaped = digits && !word.is_empty() && word.bytes().all(plain) && region.len() <= 63;
    PARTITIONS.iter().find(|partition| shaped && partition.fronts.contains(&front))
}

/// What stands before the suffix of a partition in `host`; `None` if it ends in none.
pub fn before_suffix(host: &str) -> Option<&str> {
    PARTITIONS.iter().find_map(|partition| host.strip_suffix(partition.suffix)?.strip_suffix('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_that_are_known_look_like_regions() {
        for region in known_regions() {
            assert!(looks_like_region(region), "{region}");
        }
    }

    #[test]
    fn regions_that_nobody_knows_yet() {
        for region in ["ap-northeast-9", "mx-west-2", "cn-south-1", "us-gov-central-12", "us-isob-north-1"] {
            assert!(looks_like_region(region) && !known_regions().any(|known| known == region), "{region}");
        }
    }

    #[test]
    fn texts_that_are_no_regions() {
        let long = format!("us-{}-1", "a".repeat(60));
        for text in [
            "",
            "tokyo",
            "us-east",
            "us-east-",
            "us--1",
            "-east-1",
            "ap-northeast-1a",
            "us_east_1",
            "US-EAST-1",
            "us-East-1",
            "xx-elsewhere-1",
            "gov-west-1",
            "us-gov-west-one",
            "us-isox-east-1",
            "eusc-east-1",
            "eusc-fr-east-1",
            "a-b-c-d-1",
            "us-east-1.amazonaws.com",
            "us-e.t-1",
            long.as_str(),
        ] {
            assert!(!looks_like_region(text), "{text}");
        }
    }

    #[test]
    fn each_partition_has_its_suffixes() {
        for (region, plain, dual_stack) in [
            ("ap-northeast-1", "amazonaws.com", "api.aws"),
            ("mx-central-1", "amazonaws.com", "api.aws"),
            ("cn-north-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
            ("eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"),
            ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
        ] {
            assert_eq!((suffix(region), dual_stack_suffix(region)), (plain, dual_stack), "{region}");
            let host = format!("s3.{region}.{plain}");
            assert_eq!(before_suffix(&host), Some(&*format!("s3.{region}")), "{host}");
        }
        for host in ["s3.example", "amazonaws.com", "s3.myamazonaws.com", "s3.us-east-1.amazonaws.com.example"] {
            assert_eq!(before_suffix(host), None, "{host}");
        }
    }
}
