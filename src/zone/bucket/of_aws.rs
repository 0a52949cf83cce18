//! Buckets that belong to AWS itself, and host names that programs on an EC2 host ask for without being told to.
//!
//! It stands apart because it ages with every generation of Amazon Linux. Sources: the repository files of Amazon
//! Linux, and what AWS's guides to endpoint policies say that ECR, Systems Manager, EMR and others need.

use super::super::partition::suffix;

/// What follows the region in the name of such a bucket.
#[derive(Debug, Clone, Copy)]
enum End {
    Text(&'static str),
    /// This, and the partition's suffix: a name like a host's.
    Suffix(&'static str),
    /// This, and something that is another one from time to time.
    Any(&'static str),
}

use End::{Any, Suffix, Text};

impl End {
    fn fits(self, rest: &str, region: &str) -> bool {
        match self {
            Text(end) => rest == end,
            Suffix(front) => rest.strip_prefix(front) == Some(suffix(region)),
            Any(front) => rest.starts_with(front),
        }
    }
}

/// Buckets in which AWS keeps files of its own: what stands before the region, what follows it, and whose they are.
const BUCKETS: [(&str, End, &str); 21] = [
    ("amazonlinux-2-repos-", Text(""), "Amazon Linux 2"),
    ("al2022-repos-", Text("-9761ab97"), "Amazon Linux 2022"),
    ("al2022-repos-", Any("-"), "Amazon Linux 2022"),
    ("al2023-repos-", Text("-de612dc2"), "Amazon Linux 2023"),
    ("al2023-repos-", Any("-"), "Amazon Linux 2023"),
    ("packages.", Suffix("."), "Amazon Linux"),
    ("repo.", Suffix("."), "Amazon Linux"),
    ("prod-", Text("-starport-layer-bucket"), "ECR"),
    ("prod-registry-k8s-io-", Text(""), "the Kubernetes image registry"),
    ("amazon-ssm-packages-", Text(""), "Systems Manager"),
    ("amazon-ssm-", Text(""), "Systems Manager"),
    ("aws-ssm-document-attachments-", Text(""), "Systems Manager"),
    ("aws-ssm-", Text(""), "Systems Manager"),
    ("patch-baseline-snapshot-", Text(""), "Systems Manager"),
    ("", Text("-birdwatcher-prod"), "Systems Manager"),
    ("", Text(".elasticmapreduce"), "EMR"),
    ("repo.", Suffix(".emr."), "EMR"),
    ("prod.", Text(".appinfo.src"), "EMR"),
    ("cloudformation-waitcondition-", Text(""), "CloudFormation"),
    ("amazoncloudwatch-agent-", Text(""), "the CloudWatch agent"),
    ("aws-codedeploy-", Text(""), "CodeDeploy"),
];

/// Beginnings of such names in which no region stands.
const PREFIXES: [(&str, &str); 2] =
    [("ec2imagebuilder-", "EC2 Image Builder"), ("cloudformation-custom-resource-response-", "CloudFormation")];

/// Which part of AWS keeps its own files in the bucket `name` of `region`.
pub fn owner(name: &str, region: &str) -> Option<&'static str> {
    let theirs = |front, end: End| {
        let rest = name.strip_prefix(front).and_then(|rest| rest.strip_prefix(region));
        rest.is_some_and(|rest| end.fits(rest, region))
    };
    let known = BUCKETS.iter().find(|&&(front, end, _)| theirs(front, end)).map(|&(_, _, owner)| owner);
    let begins = || PREFIXES.iter().find(|(front, _)| name.starts_with(front)).map(|&(_, owner)| owner);
    known.or_else(begins)
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
    let mut theirs = OfAws { names: Vec::new(), prefixes: PREFIXES.map(|(front, _)| front.to_owned()).to_vec() };
    for (front, end, _) in BUCKETS {
        match end {
            Text(end) => theirs.names.push(format!("{front}{region}{end}")),
            Suffix(end) => theirs.names.push(format!("{front}{region}{end}{}", suffix(region))),
            Any(end) => theirs.prefixes.push(format!("{front}{region}{end}")),
        }
    }
    theirs
}

/// Hosts of services, before region and suffix.
const SERVICES: [(&str, &str); 16] = [
    ("amazonlinux", "Amazon Linux 2"),
    ("repo", "Amazon Linux"),
    ("packages", "Amazon Linux"),
    ("s3", "S3, requests by path"),
    ("s3.dualstack", "S3, requests by path"),
    ("api.ecr", "ECR"),
    ("dkr.ecr", "ECR"),
    ("ssm", "Systems Manager"),
    ("ssmmessages", "Systems Manager"),
    ("ec2messages", "Systems Manager"),
    ("sts", "credentials of roles"),
    ("ec2", "the EC2 API"),
    ("kms", "encryption keys"),
    ("secretsmanager", "Secrets Manager"),
    ("logs", "CloudWatch Logs"),
    ("monitoring", "CloudWatch"),
];

/// Host names that programs on an EC2 host ask for without being told to, and whose they are: what a zone that is too
/// wide breaks.
pub fn well_known(region: &str) -> Vec<(String, &'static str)> {
    let suffix = suffix(region);
    let buckets = of_aws(region).names.into_iter().filter_map(|name| {
        let owner = owner(&name, region)?;
        Some((name, owner))
    });
    let mut known = Vec::new();
    for (name, owner) in buckets {
        // Amazon Linux asks for its repositories by the dual-stack form, and by the Regional one in older images.
        if name.contains("-repos-") {
            known.push((format!("{name}.s3.dualstack.{region}.{suffix}"), owner));
        }
        known.push((format!("{name}.s3.{region}.{suffix}"), owner));
    }
    known.extend(SERVICES.map(|(name, owner)| (format!("{name}.{region}.{suffix}"), owner)));
    // As an instance of a VPC is called by default: us-east-1 is older than the names of regions.
    let instances = if region == "us-east-1" { "ec2.internal".into() } else { format!("{region}.compute.internal") };
    known.push((format!("ip-10-0-0-1.{instances}"), "names of instances"));
    known.push(("cdn.amazonlinux.com".into(), "Amazon Linux"));
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use crate::zone::partition::known_regions;

    #[test]
    fn buckets_of_aws_itself() {
        let region = "ap-northeast-1";
        for (name, whose) in [
            ("amazonlinux-2-repos-ap-northeast-1", "Amazon Linux 2"),
            ("al2022-repos-ap-northeast-1-9761ab97", "Amazon Linux 2022"),
            ("al2023-repos-ap-northeast-1-de612dc2", "Amazon Linux 2023"),
            ("al2023-repos-ap-northeast-1-0123abcd", "Amazon Linux 2023"),
            ("packages.ap-northeast-1.amazonaws.com", "Amazon Linux"),
            ("prod-ap-northeast-1-starport-layer-bucket", "ECR"),
            ("prod-registry-k8s-io-ap-northeast-1", "the Kubernetes image registry"),
            ("amazon-ssm-ap-northeast-1", "Systems Manager"),
            ("patch-baseline-snapshot-ap-northeast-1", "Systems Manager"),
            ("ap-northeast-1-birdwatcher-prod", "Systems Manager"),
            ("ap-northeast-1.elasticmapreduce", "EMR"),
            ("repo.ap-northeast-1.emr.amazonaws.com", "EMR"),
            ("cloudformation-waitcondition-ap-northeast-1", "CloudFormation"),
            ("cloudformation-custom-resource-response-apnortheast1", "CloudFormation"),
            ("ec2imagebuilder-toe-ap-northeast-1-prod", "EC2 Image Builder"),
        ] {
            assert_eq!(owner(name, region), Some(whose), "{name}");
        }
        for name in [
            "xxxxx-bucket",
            "amazon-ssm-eu-west-1",
            "al2023-repos-ap-northeast-1",
            "packages.ap-northeast-1.example",
            "",
        ] {
            assert_eq!(owner(name, region), None, "{name}");
        }
        assert_eq!(owner("repo.cn-north-1.amazonaws.com.cn", "cn-north-1"), Some("Amazon Linux"));
        assert_eq!(owner("repo.cn-north-1.amazonaws.com", "cn-north-1"), None);
    }

    #[test]
    fn their_owner_is_known_of_all_that_are_listed() {
        for region in known_regions() {
            let theirs = of_aws(region);
            for name in &theirs.names {
                assert!(owner(name, region).is_some(), "{name}");
                assert_eq!(super::super::check(name), Ok(()), "{name}");
            }
            for prefix in &theirs.prefixes {
                assert!(owner(&format!("{prefix}x"), region).is_some(), "{prefix}");
            }
        }
    }

    #[test]
    fn what_every_host_needs() {
        let has = |region: &str, name: &str| well_known(region).iter().any(|(known, _)| known == name);
        for name in [
            "amazonlinux-2-repos-cn-north-1.s3.cn-north-1.amazonaws.com.cn",
            "amazonlinux-2-repos-cn-north-1.s3.dualstack.cn-north-1.amazonaws.com.cn",
            "al2022-repos-cn-north-1-9761ab97.s3.dualstack.cn-north-1.amazonaws.com.cn",
            "al2023-repos-cn-north-1-de612dc2.s3.cn-north-1.amazonaws.com.cn",
            "al2023-repos-cn-north-1-de612dc2.s3.dualstack.cn-north-1.amazonaws.com.cn",
            "amazonlinux.cn-north-1.amazonaws.com.cn",
            "packages.cn-north-1.amazonaws.com.cn",
            "cdn.amazonlinux.com",
            "s3.cn-north-1.amazonaws.com.cn",
            "dkr.ecr.cn-north-1.amazonaws.com.cn",
            "ssm.cn-north-1.amazonaws.com.cn",
            "ip-10-0-0-1.cn-north-1.compute.internal",
        ] {
            assert!(has("cn-north-1", name), "{name}");
        }
        assert!(has("us-east-1", "ip-10-0-0-1.ec2.internal"));
        assert!(has("us-isob-east-1", "sts.us-isob-east-1.sc2s.sgov.gov"));
        for region in known_regions() {
            assert!(well_known(region).iter().all(|(name, _)| name.parse::<Name>().is_ok()), "{region}");
        }
    }
}
