//! The private DNS names of AWS services: what a VPC's resolver answers with an interface endpoint's addresses where private
//! DNS is on for it.
//!
//! It stands apart because it is knowledge that ages, like [`super::bucket`]. Most names are the service's own; those
//! that differ are the ones got wrong by hand. Sources: what `describe-vpc-endpoint-services` says (`PrivateDnsName`), and
//! AWS's list of services that integrate with PrivateLink.

use super::bucket::{looks_like_region, suffix};

/// Service, and its name before `.<region>.<suffix>`.
const SERVICES: [(&str, &str); 100] = [
    ("access-analyzer", "access-analyzer"),
    ("acm-pca", "acm-pca"),
    ("appconfig", "appconfig"),
    ("appconfigdata", "appconfigdata"),
    ("application-autoscaling", "application-autoscaling"),
    ("appmesh-envoy-management", "appmesh-envoy-management"),
    ("aps", "aps"),
    ("aps-workspaces", "aps-workspaces"),
    ("athena", "athena"),
    ("autoscaling", "autoscaling"),
    ("autoscaling-plans", "autoscaling-plans"),
    ("backup", "backup"),
    ("batch", "batch"),
    ("bedrock", "bedrock"),
    ("bedrock-agent", "bedrock-agent"),
    ("bedrock-agent-runtime", "bedrock-agent-runtime"),
    ("bedrock-runtime", "bedrock-runtime"),
    ("cassandra", "cassandra"),
    ("cloudformation", "cloudformation"),
    ("cloudhsmv2", "cloudhsmv2"),
    ("cloudtrail", "cloudtrail"),
    ("codeartifact.api", "codeartifact"),
    ("codeartifact.repositories", "*.d.codeartifact"),
    ("codebuild", "codebuild"),
    ("codecommit", "codecommit"),
    ("codedeploy", "codedeploy"),
    ("codedeploy-commands-secure", "codedeploy-commands-secure"),
    ("codepipeline", "codepipeline"),
    ("comprehend", "comprehend"),
    ("config", "config"),
    ("datasync", "datasync"),
    ("dms", "dms"),
    ("ebs", "ebs"),
    ("ec2", "ec2"),
    ("ec2messages", "ec2messages"),
    ("ecr.api", "api.ecr"),
    ("ecr.dkr", "*.dkr.ecr"),
    ("ecs", "ecs"),
    ("ecs-agent", "ecs-a"),
    ("ecs-telemetry", "ecs-t"),
    ("eks", "eks"),
    ("elasticache", "elasticache"),
    ("elasticbeanstalk", "elasticbeanstalk"),
    ("elasticbeanstalk-health", "elasticbeanstalk-health"),
    ("elasticfilesystem", "elasticfilesystem"),
    ("elasticloadbalancing", "elasticloadbalancing"),
    ("elasticmapreduce", "elasticmapreduce"),
    ("email-smtp", "email-smtp"),
    ("emr-containers", "emr-containers"),
    ("events", "events"),
    ("execute-api", "*.execute-api"),
    ("fsx", "fsx"),
    ("git-codecommit", "git-codecommit"),
    ("glue", "glue"),
    ("guardduty-data", "guardduty-data"),
    ("imagebuilder", "imagebuilder"),
    ("inspector2", "inspector2"),
    ("kafka", "kafka"),
    ("kendra", "kendra"),
    ("kinesis-firehose", "firehose"),
    ("kinesis-streams", "kinesis"),
    ("kms", "kms"),
    ("kms-fips", "kms-fips"),
    ("lakeformation", "lakeformation"),
    ("lambda", "lambda"),
    ("license-manager", "license-manager"),
    ("logs", "logs"),
    ("monitoring", "monitoring"),
    ("polly", "polly"),
    ("rds", "rds"),
    ("rds-data", "rds-data"),
    ("redshift", "redshift"),
    ("redshift-data", "redshift-data"),
    ("rekognition", "rekognition"),
    ("sagemaker.api", "api.sagemaker"),
    ("sagemaker.featurestore-runtime", "featurestore-runtime.sagemaker"),
    ("sagemaker.metrics", "metrics.sagemaker"),
    ("sagemaker.runtime", "runtime.sagemaker"),
    ("secretsmanager", "secretsmanager"),
    ("securityhub", "securityhub"),
    ("servicecatalog", "servicecatalog"),
    ("servicediscovery", "servicediscovery"),
    ("sns", "sns"),
    ("sqs", "sqs"),
    ("ssm", "ssm"),
    ("ssm-contacts", "ssm-contacts"),
    ("ssm-incidents", "ssm-incidents"),
    ("ssmmessages", "ssmmessages"),
    ("states", "states"),
    ("storagegateway", "storagegateway"),
    ("sts", "sts"),
    ("sync-states", "sync-states"),
    ("synthetics", "synthetics"),
    ("textract", "textract"),
    ("transcribe", "transcribe"),
    ("transcribestreaming", "transcribestreaming"),
    ("transfer", "transfer"),
    ("translate", "translate"),
    ("workspaces", "workspaces"),
    ("xray", "xray"),
];

/// The same of services whose private DNS name could not be confirmed.
const UNCONFIRMED: [(&str, &str); 8] = [
    ("data-servicediscovery", "data-servicediscovery"),
    ("dynamodb", "dynamodb"),
    ("eks-auth", "eks-auth"),
    ("organizations", "organizations"),
    ("pinpoint-sms-voice-v2", "sms-voice"),
    ("s3-outposts", "s3-outposts"),
    ("transfer.server", "server.transfer"),
    ("vpc-lattice", "vpc-lattice"),
];

/// A service's private DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateDns {
    /// A host, or `*.` and what its hosts are below.
    pub name: String,
    /// It is known to be this one.
    pub confirmed: bool,
}

/// Why a text names no service here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownService {
    /// It is not of the form `com.amazonaws.<region>.<service>`.
    Form,
    /// This part of it is no region.
    Region(String),
    /// S3, whose names are buckets'.
    S3,
    /// The region is one, but no such service is known: this one.
    Service(String),
}

/// The private DNS name of `service`, which is written as AWS does: `com.amazonaws.ap-northeast-1.kms`.
///
/// # Errors
/// Why there is none.
pub fn private_dns(service: &str) -> Result<PrivateDns, UnknownService> {
    let (region, short) = parts(service).ok_or(UnknownService::Form)?;
    if !looks_like_region(region) {
        return Err(UnknownService::Region(region.into()));
    }
    if short == "s3" {
        return Err(UnknownService::S3);
    }
    let find = |table: &'static [(&str, &str)]| table.iter().find(|(name, _)| *name == short).map(|(_, host)| *host);
    let (host, confirmed) = match find(&SERVICES) {
        Some(host) => (host, true),
        None => (find(&UNCONFIRMED).ok_or_else(|| UnknownService::Service(short.into()))?, false),
    };
    Ok(PrivateDns { name: format!("{host}.{region}.{}", suffix(region)), confirmed })
}

/// Region and service of `com.amazonaws.<region>.<service>`; AWS writes `cn.` before that in China, and reverses the
/// suffixes of other partitions.
pub fn parts(service: &str) -> Option<(&str, &str)> {
    let fronts = ["com.amazonaws.", "cn.com.amazonaws.", "eu.amazonaws.", "gov.ic.c2s.", "gov.sgov.sc2s."];
    let rest = fronts.iter().find_map(|front| service.strip_prefix(front))?;
    rest.split_once('.').filter(|(region, service)| !region.is_empty() && !service.is_empty())
}

/// Every service that is known.
pub fn known() -> impl Iterator<Item = &'static str> + Clone {
    SERVICES.iter().chain(&UNCONFIRMED).map(|(service, _)| *service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_often_got_wrong() {
        for (service, name) in [
            ("kms", "kms"),
            ("ecr.api", "api.ecr"),
            ("ecr.dkr", "*.dkr.ecr"),
            ("kinesis-streams", "kinesis"),
            ("kinesis-firehose", "firehose"),
            ("execute-api", "*.execute-api"),
            ("ecs-agent", "ecs-a"),
            ("ecs-telemetry", "ecs-t"),
            ("sagemaker.runtime", "runtime.sagemaker"),
            ("monitoring", "monitoring"),
        ] {
            let found = private_dns(&format!("com.amazonaws.us-east-1.{service}"));
            let name = format!("{name}.us-east-1.amazonaws.com");
            assert_eq!(found, Ok(PrivateDns { name, confirmed: true }), "{service}");
        }
        let china = private_dns("cn.com.amazonaws.cn-north-1.ecr.dkr").unwrap();
        assert_eq!(china.name, "*.dkr.ecr.cn-north-1.amazonaws.com.cn");
        assert!(!private_dns("com.amazonaws.us-east-1.transfer.server").unwrap().confirmed);
    }

    #[test]
    fn what_is_no_service_here() {
        assert_eq!(private_dns("kms"), Err(UnknownService::Form));
        assert_eq!(private_dns("com.amazonaws.kms"), Err(UnknownService::Form));
        assert_eq!(private_dns("com.amazonaws.vpce.us-east-1.vpce-svc-1"), Err(UnknownService::Region("vpce".into())));
        assert_eq!(private_dns("com.amazonaws.us-east-1.s3"), Err(UnknownService::S3));
        assert_eq!(private_dns("com.amazonaws.us-east-1.kmss"), Err(UnknownService::Service("kmss".into())));
    }

    #[test]
    fn every_service_stands_once_and_has_a_name() {
        let all: std::collections::BTreeSet<_> = known().collect();
        assert_eq!(all.len(), known().count());
        for service in all {
            let found = private_dns(&format!("com.amazonaws.eu-west-1.{service}")).unwrap();
            let host = found.name.strip_prefix("*.").unwrap_or(&found.name);
            assert!(host.parse::<crate::wire::Name>().is_ok(), "{host}");
        }
    }
}
