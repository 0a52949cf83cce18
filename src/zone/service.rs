//! The private DNS names of AWS services: what a VPC's resolver answers with an interface endpoint's addresses where
//! private DNS is on for it.
//!
//! It stands apart because it is knowledge that ages, like [`super::bucket`]. Most names are the service's own; those
//! that differ are the ones got wrong by hand. Sources: AWS's list of services that integrate with PrivateLink, and the
//! zones that AWS's own landing zones make for endpoints.

use super::partition::{before_suffix, dual_stack_suffix, looks_like_region, suffix};

/// A service, and its names before `.<region>.<suffix>`.
type Names = (&'static str, &'static [&'static str]);

const SERVICES: [Names; 140] = [
    ("access-analyzer", &["access-analyzer"]),
    ("account", &["account"]),
    ("acm-pca", &["acm-pca"]),
    ("airflow.api", &["api.airflow"]),
    ("airflow.env", &["env.airflow"]),
    ("airflow.ops", &["ops.airflow"]),
    ("appconfig", &["appconfig"]),
    ("appconfigdata", &["appconfigdata"]),
    ("application-autoscaling", &["application-autoscaling"]),
    ("appmesh-envoy-management", &["appmesh-envoy-management"]),
    ("apprunner", &["apprunner"]),
    ("appstream.api", &["appstream2"]),
    ("aps", &["aps"]),
    ("aps-workspaces", &["aps-workspaces"]),
    ("athena", &["athena"]),
    ("auditmanager", &["auditmanager"]),
    ("autoscaling", &["autoscaling"]),
    ("autoscaling-plans", &["autoscaling-plans"]),
    ("backup", &["backup"]),
    ("backup-gateway", &["backup-gateway"]),
    ("batch", &["batch"]),
    ("bedrock", &["bedrock"]),
    ("bedrock-agent", &["bedrock-agent"]),
    ("bedrock-agent-runtime", &["bedrock-agent-runtime"]),
    ("bedrock-runtime", &["bedrock-runtime"]),
    ("braket", &["braket"]),
    ("cassandra", &["cassandra"]),
    ("cloudformation", &["cloudformation"]),
    ("cloudhsmv2", &["cloudhsmv2"]),
    ("cloudtrail", &["cloudtrail"]),
    ("codeartifact.api", &["codeartifact"]),
    ("codeartifact.repositories", &["*.d.codeartifact"]),
    ("codebuild", &["codebuild"]),
    ("codebuild-fips", &["codebuild-fips"]),
    ("codecommit", &["codecommit"]),
    ("codecommit-fips", &["codecommit-fips"]),
    ("codedeploy", &["codedeploy"]),
    ("codedeploy-commands-secure", &["codedeploy-commands-secure"]),
    ("codepipeline", &["codepipeline"]),
    ("codestar-connections.api", &["codestar-connections"]),
    ("comprehend", &["comprehend"]),
    ("comprehendmedical", &["comprehendmedical"]),
    ("config", &["config"]),
    ("databrew", &["databrew"]),
    ("dataexchange", &["dataexchange"]),
    ("datasync", &["datasync"]),
    ("devops-guru", &["devops-guru"]),
    ("dms", &["dms"]),
    ("drs", &["drs"]),
    ("ebs", &["ebs"]),
    ("ec2", &["ec2"]),
    ("ec2messages", &["ec2messages"]),
    ("ecr.api", &["api.ecr"]),
    ("ecr.dkr", &["dkr.ecr", "*.dkr.ecr"]),
    ("ecs", &["ecs"]),
    ("ecs-agent", &["ecs-a"]),
    ("ecs-telemetry", &["ecs-t"]),
    ("eks", &["eks"]),
    ("elasticache", &["elasticache"]),
    ("elasticbeanstalk", &["elasticbeanstalk"]),
    ("elasticbeanstalk-health", &["elasticbeanstalk-health"]),
    ("elasticfilesystem", &["elasticfilesystem"]),
    ("elasticfilesystem-fips", &["elasticfilesystem-fips"]),
    ("elasticloadbalancing", &["elasticloadbalancing"]),
    ("elasticmapreduce", &["elasticmapreduce"]),
    ("email-smtp", &["email-smtp"]),
    ("emr-containers", &["emr-containers"]),
    ("emr-serverless", &["emr-serverless"]),
    ("events", &["events"]),
    ("evidently", &["evidently"]),
    ("evidently-dataplane", &["dataplane.evidently"]),
    ("execute-api", &["*.execute-api"]),
    ("fis", &["fis"]),
    ("forecast", &["forecast"]),
    ("forecastquery", &["forecastquery"]),
    ("fsx", &["fsx"]),
    ("git-codecommit", &["git-codecommit"]),
    ("git-codecommit-fips", &["git-codecommit-fips"]),
    ("glue", &["glue"]),
    ("grafana", &["grafana"]),
    ("guardduty-data", &["guardduty-data"]),
    ("healthlake", &["healthlake"]),
    ("imagebuilder", &["imagebuilder"]),
    ("inspector2", &["inspector2"]),
    ("iotsitewise.api", &["api.iotsitewise"]),
    ("iotsitewise.data", &["data.iotsitewise"]),
    ("kafka", &["kafka"]),
    ("kendra", &["kendra"]),
    ("kinesis-firehose", &["firehose"]),
    ("kinesis-streams", &["kinesis"]),
    ("kms", &["kms"]),
    ("kms-fips", &["kms-fips"]),
    ("lakeformation", &["lakeformation"]),
    ("lambda", &["lambda"]),
    ("license-manager", &["license-manager"]),
    ("logs", &["logs"]),
    ("macie2", &["macie2"]),
    ("memory-db", &["memory-db"]),
    ("mgn", &["mgn"]),
    ("models-v2-lex", &["models-v2-lex"]),
    ("monitoring", &["monitoring"]),
    ("pinpoint-sms-voice-v2", &["sms-voice"]),
    ("polly", &["polly"]),
    ("rds", &["rds"]),
    ("rds-data", &["rds-data"]),
    ("redshift", &["redshift"]),
    ("redshift-data", &["redshift-data"]),
    ("redshift-fips", &["redshift-fips"]),
    ("rekognition", &["rekognition"]),
    ("rum", &["rum"]),
    ("rum-dataplane", &["dataplane.rum"]),
    ("runtime-v2-lex", &["runtime-v2-lex"]),
    ("sagemaker.api", &["api.sagemaker"]),
    ("sagemaker.featurestore-runtime", &["featurestore-runtime.sagemaker"]),
    ("sagemaker.metrics", &["metrics.sagemaker"]),
    ("sagemaker.runtime", &["runtime.sagemaker"]),
    ("sagemaker.runtime-fips", &["runtime-fips.sagemaker"]),
    ("secretsmanager", &["secretsmanager"]),
    ("securityhub", &["securityhub"]),
    ("servicecatalog", &["servicecatalog"]),
    ("servicecatalog-appregistry", &["servicecatalog-appregistry"]),
    ("servicediscovery", &["servicediscovery"]),
    ("sns", &["sns"]),
    ("sqs", &["sqs"]),
    ("ssm", &["ssm"]),
    ("ssm-contacts", &["ssm-contacts"]),
    ("ssm-incidents", &["ssm-incidents"]),
    ("ssmmessages", &["ssmmessages"]),
    ("states", &["states"]),
    ("storagegateway", &["storagegateway"]),
    ("sts", &["sts"]),
    ("sync-states", &["sync-states"]),
    ("synthetics", &["synthetics"]),
    ("textract", &["textract"]),
    ("transcribe", &["transcribe"]),
    ("transcribestreaming", &["transcribestreaming"]),
    ("transfer", &["transfer"]),
    ("translate", &["translate"]),
    ("workspaces", &["workspaces"]),
    ("xray", &["xray"]),
];

/// Services whose names end in the suffix of newer services.
const DUAL_STACK: [Names; 1] = [("eks-auth", &["eks-auth"])];

/// Services whose private DNS names could not be confirmed.
const UNCONFIRMED: [Names; 6] = [
    ("data-servicediscovery", &["data-servicediscovery"]),
    ("dynamodb", &["dynamodb"]),
    ("organizations", &["organizations"]),
    ("s3-outposts", &["s3-outposts"]),
    ("transfer.server", &["server.transfer", "*.server.transfer"]),
    ("vpc-lattice", &["vpc-lattice"]),
];

/// A service's private DNS names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateDns {
    /// Hosts, or `*.` and what hosts are below.
    pub names: Vec<String>,
    /// They are known to be these.
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

/// The private DNS names of `service`, which is written as AWS does: `com.amazonaws.ap-northeast-1.kms`.
///
/// # Errors
/// Why there are none.
pub fn private_dns(service: &str) -> Result<PrivateDns, UnknownService> {
    let (region, short) = parts(service).ok_or(UnknownService::Form)?;
    if !looks_like_region(region) {
        return Err(UnknownService::Region(region.into()));
    }
    if short == "s3" {
        return Err(UnknownService::S3);
    }
    let tables: [(&[Names], &str, bool); 3] = [
        (&SERVICES, suffix(region), true),
        (&DUAL_STACK, dual_stack_suffix(region), true),
        (&UNCONFIRMED, suffix(region), false),
    ];
    for (table, suffix, confirmed) in tables {
        if let Some((_, names)) = table.iter().find(|(known, _)| *known == short) {
            let names = names.iter().map(|name| format!("{name}.{region}.{suffix}")).collect();
            return Ok(PrivateDns { names, confirmed });
        }
    }
    Err(UnknownService::Service(short.into()))
}

/// The service that has `host` as its name, or a part of it, as `dkr.ecr` or `kinesis.eu-west-1.amazonaws.com`: what is
/// often written in the service's place.
pub fn called(host: &str) -> Option<&'static str> {
    let host = host.trim_end_matches('.');
    let host = host.strip_prefix("*.").unwrap_or(host);
    let front = before_suffix(host).unwrap_or(host);
    let front =
        front.rsplit_once('.').filter(|(_, region)| looks_like_region(region)).map_or(front, |(front, _)| front);
    let has = |names: &[&str]| names.iter().any(|name| name.strip_prefix("*.").unwrap_or(name) == front);
    let named = all().find(|(_, names)| has(names));
    named.or_else(|| all().find(|(service, _)| *service == front)).map(|(service, _)| *service)
}

/// What stands before the region in services' names. In partitions with another suffix some services have that suffix
/// reversed, and others the plain one.
const FRONTS: [&str; 7] = [
    "com.amazonaws.",
    "cn.com.amazonaws.",
    "eu.amazonaws.",
    "gov.ic.c2s.",
    "gov.sgov.sc2s.",
    "uk.adc-e.cloud.",
    "gov.ic.hci.csp.",
];

/// Region and service of `com.amazonaws.<region>.<service>`; whether the region is one is not looked at.
pub fn parts(service: &str) -> Option<(&str, &str)> {
    let rest = FRONTS.iter().find_map(|front| service.strip_prefix(front))?;
    rest.split_once('.').filter(|(region, service)| !region.is_empty() && !service.is_empty())
}

/// Every service that is known.
pub fn known() -> impl Iterator<Item = &'static str> + Clone {
    all().map(|(service, _)| *service)
}

fn all() -> impl Iterator<Item = &'static Names> + Clone {
    SERVICES.iter().chain(&DUAL_STACK).chain(&UNCONFIRMED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Name;
    use crate::zone::partition::known_regions;

    #[test]
    fn names_that_are_often_got_wrong() {
        for (service, names) in [
            ("kms", &["kms"][..]),
            ("ecr.api", &["api.ecr"]),
            ("ecr.dkr", &["dkr.ecr", "*.dkr.ecr"]),
            ("kinesis-streams", &["kinesis"]),
            ("kinesis-firehose", &["firehose"]),
            ("execute-api", &["*.execute-api"]),
            ("ecs-agent", &["ecs-a"]),
            ("ecs-telemetry", &["ecs-t"]),
            ("sagemaker.api", &["api.sagemaker"]),
            ("sagemaker.runtime", &["runtime.sagemaker"]),
            ("codeartifact.api", &["codeartifact"]),
            ("codeartifact.repositories", &["*.d.codeartifact"]),
            ("git-codecommit", &["git-codecommit"]),
            ("elasticfilesystem", &["elasticfilesystem"]),
            ("appstream.api", &["appstream2"]),
            ("pinpoint-sms-voice-v2", &["sms-voice"]),
            ("monitoring", &["monitoring"]),
        ] {
            let found = private_dns(&format!("com.amazonaws.us-east-1.{service}"));
            let names = names.iter().map(|name| format!("{name}.us-east-1.amazonaws.com")).collect();
            assert_eq!(found, Ok(PrivateDns { names, confirmed: true }), "{service}");
        }
        for service in ["dynamodb", "transfer.server"] {
            assert!(!private_dns(&format!("com.amazonaws.us-east-1.{service}")).unwrap().confirmed, "{service}");
        }
    }

    #[test]
    fn names_in_other_partitions() {
        for (service, name) in [
            ("cn.com.amazonaws.cn-north-1.ecr.api", "api.ecr.cn-north-1.amazonaws.com.cn"),
            ("com.amazonaws.cn-north-1.kms", "kms.cn-north-1.amazonaws.com.cn"),
            ("com.amazonaws.us-gov-west-1.kms", "kms.us-gov-west-1.amazonaws.com"),
            ("eu.amazonaws.eusc-de-east-1.kms", "kms.eusc-de-east-1.amazonaws.eu"),
            ("gov.ic.c2s.us-iso-east-1.kms", "kms.us-iso-east-1.c2s.ic.gov"),
            ("gov.sgov.sc2s.us-isob-east-1.kms", "kms.us-isob-east-1.sc2s.sgov.gov"),
            ("uk.adc-e.cloud.eu-isoe-west-1.kms", "kms.eu-isoe-west-1.cloud.adc-e.uk"),
            ("gov.ic.hci.csp.us-isof-south-1.kms", "kms.us-isof-south-1.csp.hci.ic.gov"),
            ("com.amazonaws.ap-northeast-1.eks-auth", "eks-auth.ap-northeast-1.api.aws"),
            ("com.amazonaws.cn-north-1.eks-auth", "eks-auth.cn-north-1.api.amazonwebservices.com.cn"),
        ] {
            assert_eq!(private_dns(service), Ok(PrivateDns { names: vec![name.into()], confirmed: true }), "{service}");
        }
        for region in known_regions() {
            let reversed: Vec<&str> = suffix(region).rsplit('.').collect();
            let service = format!("{}.{region}.kms", reversed.join("."));
            assert_eq!(parts(&service), Some((region, "kms")), "{service}");
        }
    }

    #[test]
    fn what_is_no_service_here() {
        for text in
            ["", "kms", "dkr.ecr", "com.amazonaws.kms", "com.amazonaws.us-east-1.", "kms.us-east-1.amazonaws.com"]
        {
            assert_eq!(private_dns(text), Err(UnknownService::Form), "{text}");
        }
        for (text, region) in [
            ("com.amazonaws.vpce.us-east-1.vpce-svc-1", "vpce"),
            ("com.amazonaws.tokyo.kms", "tokyo"),
            ("com.amazonaws.us-east-1a.kms", "us-east-1a"),
        ] {
            assert_eq!(private_dns(text), Err(UnknownService::Region(region.into())), "{text}");
        }
        assert_eq!(private_dns("com.amazonaws.us-east-1.s3"), Err(UnknownService::S3));
        for service in ["kmss", "kinesis", "dkr.ecr"] {
            let found = private_dns(&format!("com.amazonaws.us-east-1.{service}"));
            assert_eq!(found, Err(UnknownService::Service(service.into())));
        }
    }

    #[test]
    fn what_was_written_in_the_services_place() {
        for (text, service) in [
            ("kinesis", "kinesis-streams"),
            ("dkr.ecr", "ecr.dkr"),
            ("ecs-a", "ecs-agent"),
            ("kms", "kms"),
            ("ecr.dkr", "ecr.dkr"),
            ("*.dkr.ecr.us-west-2.amazonaws.com", "ecr.dkr"),
            ("execute-api.cn-north-1.amazonaws.com.cn", "execute-api"),
            ("firehose.us-isob-east-1.sc2s.sgov.gov.", "kinesis-firehose"),
        ] {
            assert_eq!(called(text), Some(service), "{text}");
        }
        for text in ["", "example.com", "s3", "us-west-2.amazonaws.com"] {
            assert_eq!(called(text), None, "{text}");
        }
    }

    #[test]
    fn every_service_stands_once_and_has_names() {
        let all: std::collections::BTreeSet<_> = known().collect();
        assert_eq!(all.len(), known().count());
        for service in all {
            let found = private_dns(&format!("com.amazonaws.eu-west-1.{service}")).unwrap();
            assert!(!found.names.is_empty(), "{service}");
            for name in found.names {
                let host = name.strip_prefix("*.").unwrap_or(&name);
                assert!(host.parse::<Name>().is_ok(), "{host}");
            }
        }
    }
}
