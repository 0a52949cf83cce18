//! What people paste where a name is wanted: host names of S3 in all their forms, URLs and ARNs.
//!
//! It stands apart from the rules of names because it takes texts apart that are no names. Sources: the templates from
//! which SDKs make host names, and the names in the certificate of an S3 interface endpoint.

use super::super::partition::{before_suffix, looks_like_region};

/// A form of the host names by which S3 is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// What it is called, to begin a sentence.
    pub name: &'static str,
    /// The certificate of an S3 interface endpoint covers such hosts, so that they may resolve to it.
    pub covered: bool,
    /// What stands before the service in such a host.
    names: Named,
}

/// What a host name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Bucket,
    AccessPoint,
    /// Something that has no entry here.
    Else,
}

const fn covered(name: &'static str, names: Named) -> Form {
    Form { name, covered: true, names }
}

const fn public(name: &'static str, names: Named) -> Form {
    Form { name, covered: false, names }
}

const REGIONAL: Form = covered("The Regional form", Named::Bucket);
const OF_ENDPOINT: Form = covered("The endpoint's own form", Named::Bucket);
const ACCESS_POINT: Form = covered("The form of access points", Named::AccessPoint);
const CONTROL: Form = covered("The form of S3's control plane", Named::Else);
const GLOBAL: Form = public("The global form", Named::Bucket);
const HYPHEN: Form = public("The form with a hyphen", Named::Bucket);
const DUAL_STACK: Form = public("The dual-stack form", Named::Bucket);
const FIPS: Form = public("The FIPS form", Named::Bucket);
const ACCELERATE: Form = public("The form for transfer acceleration", Named::Bucket);
const WEBSITE: Form = public("The form for websites", Named::Bucket);
const DIRECTORY: Form = public("The form of directory buckets", Named::Bucket);
const DUAL_STACK_ACCESS_POINT: Form = public("The dual-stack form", Named::AccessPoint);
const FIPS_ACCESS_POINT: Form = public("The FIPS form", Named::AccessPoint);
const OBJECT_LAMBDA: Form = public("The form of Object Lambda access points", Named::Else);
const MULTI_REGION: Form = public("The form of multi-Region access points", Named::Else);
const OUTPOSTS: Form = public("The form of Outposts", Named::Else);

impl Form {
    /// The form of a host name; `None` if it is no host of S3.
    pub fn of(host: &str) -> Option<Self> {
        Host::read(host).map(|host| host.form)
    }

    /// The form by the labels from the service's on.
    fn by(service: &str, place: Place<'_>) -> Option<Self> {
        let dual = place.dual_stack;
        Some(match service {
            "s3" if place.endpoint => OF_ENDPOINT,
            "s3" if dual => DUAL_STACK,
            "s3" if place.region.is_empty() => GLOBAL,
            "s3" => REGIONAL,
            "s3-accesspoint" if dual => DUAL_STACK_ACCESS_POINT,
            "s3-accesspoint" => ACCESS_POINT,
            "s3-accesspoint-fips" => FIPS_ACCESS_POINT,
            "s3-control" if !dual => CONTROL,
            "s3-control" => Self { names: Named::Else, ..DUAL_STACK },
            "s3-control-fips" => Self { names: Named::Else, ..FIPS },
            "s3-accelerate" => ACCELERATE,
            "s3-global" => MULTI_REGION,
            "s3-fips" => FIPS,
            "s3-website" => WEBSITE,
            "s3-object-lambda" | "s3-object-lambda-fips" => OBJECT_LAMBDA,
            "s3-outposts" | "s3-outposts-fips" => OUTPOSTS,
            _ if service.starts_with("s3express-") => DIRECTORY,
            _ if service.strip_prefix("s3-website-").is_some_and(looks_like_region) => WEBSITE,
            _ if service.strip_prefix("s3-fips-").is_some_and(looks_like_region) => FIPS,
            // An old name of us-east-1.
            "s3-external-1" => HYPHEN,
            _ if service.strip_prefix("s3-").is_some_and(looks_like_region) => HYPHEN,
            _ => return None,
        })
    }
}

/// What stands behind the service in a host name: `[dualstack.][<region>][.vpce]`.
#[derive(Debug, Clone, Copy)]
struct Place<'t> {
    dual_stack: bool,
    region: &'t str,
    /// It is the own name of an interface endpoint.
    endpoint: bool,
}

impl<'t> Place<'t> {
    fn read(text: &'t str) -> Option<Self> {
        let plain = text.strip_suffix(".vpce");
        let endpoint = plain.is_some();
        let text = plain.unwrap_or(text);
        let (dual_stack, region) = match text.strip_prefix("dualstack") {
            Some("") => (true, ""),
            Some(rest) => (true, rest.strip_prefix('.')?),
            None => (false, text),
        };
        (region.is_empty() || looks_like_region(region)).then_some(Self { dual_stack, region, endpoint })
    }
}

/// A host name of S3, taken apart.
#[derive(Debug)]
struct Host<'t> {
    /// What stands before the service: a bucket, or nothing in requests by path.
    front: &'t str,
    form: Form,
}

impl<'t> Host<'t> {
    fn read(host: &'t str) -> Option<Self> {
        let host = before_suffix(host.trim_end_matches('.'))?;
        // A bucket's name may have such a label too, so the last one is the service.
        let mut end = host.len();
        for label in host.rsplit('.') {
            let begin = end - label.len();
            if label == "s3" || label.starts_with("s3-") || label.starts_with("s3express-") {
                let place = Place::read(host.get(end..)?.trim_start_matches('.'))?;
                let front = host.get(..begin)?.trim_end_matches('.');
                let form = Form::by(label, place)?;
                // <bucket>.bucket.vpce-…, or bucket.vpce-… by path.
                let front =
                    if form == OF_ENDPOINT { front.rsplit_once(".bucket.vpce-").map_or("", |it| it.0) } else { front };
                return Some(Self { front, form });
            }
            end = begin.saturating_sub(1);
        }
        None
    }
}

/// What a text is that is more than a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pasted<'t> {
    /// A bucket in a host name, a URL or an ARN, and the host's form.
    Bucket(&'t str, Option<Form>),
    /// An access point, as `NAME-ACCOUNT`.
    AccessPoint(String),
    /// A host of S3 for requests by path.
    ByPath,
    /// A host of S3 that names something else.
    Else(Form),
}

impl<'t> Pasted<'t> {
    pub(super) fn read(text: &'t str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return first_segment(rest).map(|bucket| Self::Bucket(bucket, None));
        }
        if let Some(rest) = text.strip_prefix("arn:") {
            return Self::arn(rest);
        }
        let rest = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let Host { front, form } = Host::read(host)?;
        Some(match form.names {
            Named::Bucket if front.is_empty() => {
                first_segment(path).map_or(Self::ByPath, |bucket| Self::Bucket(bucket, Some(form)))
            }
            Named::Bucket => Self::Bucket(front, Some(form)),
            Named::AccessPoint if !front.is_empty() => Self::AccessPoint(front.to_owned()),
            Named::AccessPoint | Named::Else => Self::Else(form),
        })
    }

    /// `<partition>:s3:::<bucket>/<key>` or `<partition>:s3:<region>:<account>:accesspoint/<name>`.
    fn arn(text: &'t str) -> Option<Self> {
        let mut parts = text.splitn(5, ':').skip(1);
        let (service, region, account, resource) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if service != "s3" {
            return None;
        }
        match resource.strip_prefix("accesspoint/").or_else(|| resource.strip_prefix("accesspoint:")) {
            Some(name) if !region.is_empty() => Some(Self::AccessPoint(format!("{}-{account}", first_segment(name)?))),
            Some(_) => None,
            None => first_segment(resource).map(|bucket| Self::Bucket(bucket, None)),
        }
    }
}

/// What stands before the first slash.
fn first_segment(text: &str) -> Option<&str> {
    text.split('/').next().filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_an_endpoint_covers_and_others() {
        for (host, form) in [
            ("b.s3.ap-northeast-1.amazonaws.com", REGIONAL),
            ("s3.ap-northeast-1.amazonaws.com", REGIONAL),
            ("b.s3.cn-north-1.amazonaws.com.cn", REGIONAL),
            ("b.s3.eusc-de-east-1.amazonaws.eu", REGIONAL),
            ("b.s3.us-isob-east-1.sc2s.sgov.gov", REGIONAL),
            ("x-s3alias.s3.us-west-2.amazonaws.com", REGIONAL),
            ("b.s3.amazonaws.com", GLOBAL),
            ("s3.amazonaws.com.", GLOBAL),
            ("b.s3.c2s.ic.gov", GLOBAL),
            ("b.s3.sc2s.sgov.gov", GLOBAL),
            ("b.s3-us-west-2.amazonaws.com", HYPHEN),
            ("s3-us-gov-west-1.amazonaws.com", HYPHEN),
            ("b.s3-external-1.amazonaws.com", HYPHEN),
            ("b.s3.dualstack.us-west-2.amazonaws.com", DUAL_STACK),
            ("s3.dualstack.cn-north-1.amazonaws.com.cn", DUAL_STACK),
            ("b.s3-fips.us-west-2.amazonaws.com", FIPS),
            ("b.s3-fips.dualstack.us-west-2.amazonaws.com", FIPS),
            ("b.s3-fips-us-gov-west-1.amazonaws.com", FIPS),
            ("b.s3-accelerate.amazonaws.com", ACCELERATE),
            ("b.s3-accelerate.dualstack.amazonaws.com", ACCELERATE),
            ("ap-123456789012.s3-accesspoint.us-west-2.amazonaws.com", ACCESS_POINT),
            ("ap-123456789012.s3-accesspoint.dualstack.us-west-2.amazonaws.com", DUAL_STACK_ACCESS_POINT),
            ("ap-123456789012.s3-accesspoint-fips.us-west-2.amazonaws.com", FIPS_ACCESS_POINT),
            ("x-123456789012.s3-object-lambda.us-west-2.amazonaws.com", OBJECT_LAMBDA),
            ("x-123456789012.s3-object-lambda-fips.us-west-2.amazonaws.com", OBJECT_LAMBDA),
            ("x.accesspoint.s3-global.amazonaws.com", MULTI_REGION),
            ("123456789012.s3-control.us-west-2.amazonaws.com", CONTROL),
            ("b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com", DIRECTORY),
            ("s3express-control.us-west-2.amazonaws.com", DIRECTORY),
            ("x.op-1.123456789012.s3-outposts.us-west-2.amazonaws.com", OUTPOSTS),
            ("b.s3-website-us-west-2.amazonaws.com", WEBSITE),
            ("b.s3-website.us-west-2.amazonaws.com", WEBSITE),
            ("b.bucket.vpce-1a2b3c4d-5e6f.s3.us-west-2.vpce.amazonaws.com", OF_ENDPOINT),
            // Buckets whose names look like services.
            ("s3-fips.s3.us-west-2.amazonaws.com", REGIONAL),
            ("x.s3-website.s3.us-west-2.amazonaws.com", REGIONAL),
        ] {
            assert_eq!(Form::of(host), Some(form), "{host}");
        }
        for host in [
            "kms.us-west-2.amazonaws.com",
            "b.s3.example",
            "www.example.com",
            "s3-team.execute-api.us-west-2.amazonaws.com",
            "b.s3.tokyo.amazonaws.com",
            "b.s3-team.amazonaws.com",
            "s3.myamazonaws.com",
            "xxxxx-bucket",
            "",
        ] {
            assert_eq!(Form::of(host), None, "{host}");
        }
        let covered = [REGIONAL, OF_ENDPOINT, ACCESS_POINT, CONTROL];
        let public = [GLOBAL, HYPHEN, DUAL_STACK, FIPS, ACCELERATE, WEBSITE, DIRECTORY, OBJECT_LAMBDA, OUTPOSTS];
        assert!(covered.iter().all(|form| form.covered) && public.iter().all(|form| !form.covered));
    }

    #[test]
    fn the_bucket_is_found_in_what_was_pasted() {
        for (text, bucket) in [
            ("my.b.s3.ap-northeast-1.amazonaws.com", "my.b"),
            ("my.b.s3.ap-northeast-1.amazonaws.com.", "my.b"),
            ("https://my.b.s3-us-west-2.amazonaws.com/key", "my.b"),
            ("my.b.s3.cn-north-1.amazonaws.com.cn", "my.b"),
            ("s3://my.b/", "my.b"),
            ("arn:aws:s3:::my.b/*", "my.b"),
            ("arn:aws-iso-b:s3:::my.b", "my.b"),
            ("my.s3.b.s3.us-west-2.amazonaws.com", "my.s3.b"),
            ("my.b.bucket.vpce-1a2b3c4d-5e6f.s3.us-west-2.vpce.amazonaws.com", "my.b"),
            ("https://s3.ap-northeast-1.amazonaws.com/my.b/key", "my.b"),
            ("https://bucket.vpce-1a2b3c4d-5e6f.s3.us-west-2.vpce.amazonaws.com/my.b/key", "my.b"),
        ] {
            assert!(matches!(Pasted::read(text), Some(Pasted::Bucket(found, _)) if found == bucket), "{text}");
        }
        for text in
            ["my.b.s3.example", "xxxxx-bucket", "s3://", "arn:aws:s3:::", "arn:aws:sqs:us-west-2:1:x", "https://x"]
        {
            assert_eq!(Pasted::read(text), None, "{text}");
        }
        assert_eq!(Pasted::read("s3.amazonaws.com"), Some(Pasted::ByPath));
        assert_eq!(Pasted::read("x.accesspoint.s3-global.amazonaws.com"), Some(Pasted::Else(MULTI_REGION)));
    }

    #[test]
    fn the_access_point_is_found_in_what_was_pasted() {
        for text in [
            "my-ap-123456789012.s3-accesspoint.ap-northeast-1.amazonaws.com",
            "https://my-ap-123456789012.s3-accesspoint.ap-northeast-1.amazonaws.com/key",
            "arn:aws:s3:ap-northeast-1:123456789012:accesspoint/my-ap",
            "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/my-ap/object/key",
        ] {
            assert_eq!(Pasted::read(text), Some(Pasted::AccessPoint("my-ap-123456789012".into())), "{text}");
        }
        assert_eq!(Pasted::read("arn:aws:s3::123456789012:accesspoint/x.mrap"), None);
    }
}
