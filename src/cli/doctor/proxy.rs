//! HTTP proxies: with one, it is the proxy that resolves a bucket's name, unless NO_PROXY exempts the bucket.
//!
//! Programs read NO_PROXY in different ways. A name counts as exempt only if curl, botocore (the AWS CLI) and Go all think
//! so.

use std::collections::BTreeSet;

use super::asking::list;
use super::bucket::{Expected, View};
use super::finding::Finding;
use super::host::Host;
use phzd::zone::bucket::service_and_region;

const CHECK: &str = "proxy";
const SUBJECT: &str = "this environment";
/// Variables that name a proxy.
const PROXIES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Looks at the environment of this process, which is that of the shell it was started from. A service has its own.
pub fn check(view: &View<'_>, host: &Host) -> Finding {
    let value = |name: &str| {
        let set = host.environment.iter().find(|(set, _)| set == name);
        set.map(|(_, value)| &**value).filter(|value| !value.trim().is_empty())
    };
    let set: Vec<_> = PROXIES.into_iter().filter(|name| value(name).is_some()).collect();
    if set.is_empty() {
        return Finding::ok(CHECK, SUBJECT, "no proxy is set; services have environments of their own, not looked at");
    }
    let (lower, upper) = (value("no_proxy"), value("NO_PROXY"));
    // botocore and curl read the one first, Go the other.
    let read = [lower.or(upper), upper.or(lower)];
    let exempt = |name: &str| read.iter().all(|list| list.is_some_and(|list| exempts(list, name)));
    let private = view.names.iter().filter(|private| matches!(private.expected, Expected::Endpoint(_)));
    if private.clone().next().is_none() {
        return Finding::ok(CHECK, SUBJECT, format!("{} set, and no name is private for this host", list(&set)));
    }
    let names: Vec<_> = private.map(|private| &*private.name).filter(|name| !exempt(name)).collect();
    if names.is_empty() {
        let of_s3 = view.names.iter().filter_map(|private| host_of_s3(&private.name));
        let lacking =
            of_s3.into_iter().find(|host| !lower.or(upper).is_some_and(|list| exempts_for_python(list, host)));
        return match lacking {
            None => {
                Finding::ok(CHECK, SUBJECT, format!("{} set, and every private name is exempt from it", list(&set)))
            }
            Some(host) => Finding::warning(
                CHECK,
                SUBJECT,
                format!(
                    "the AWS CLI and other users of botocore look for {host}, which NO_PROXY lacks: they use the proxy"
                ),
                "phzd no-proxy prints a list that is right for them as well",
            ),
        };
    }
    let mut entries: Vec<&str> = read.into_iter().flatten().take(1).collect();
    entries.extend(&names);
    // Behind two dots, which mean nothing but to botocore, as `phzd no-proxy` has it.
    let of_s3 = names.iter().filter_map(|name| host_of_s3(name));
    let of_s3 = of_s3.filter(|host| !lower.or(upper).is_some_and(|list| exempts_for_python(list, host)));
    let of_s3: BTreeSet<String> = of_s3.map(|host| format!("..{host}")).collect();
    entries.extend(of_s3.iter().map(String::as_str));
    let entries = entries.join(",");
    let said = format!(
        "{} set while NO_PROXY lacks {}: the proxy resolves the name, and phzd is not asked",
        list(&set),
        list(&names)
    );
    let remedy =
        format!("export NO_PROXY={entries} no_proxy={entries}, here and in the units of services that use the bucket");
    Finding::failure(CHECK, SUBJECT, said, remedy)
}

/// The host that botocore takes for S3 as a whole, where `name` is a bucket's or an access point's: it looks at NO_PROXY
/// before it knows the bucket.
fn host_of_s3(name: &str) -> Option<String> {
    service_and_region(name).map(|(_, region)| format!("s3.{region}"))
}

/// Whether Python's urllib, which botocore asks, takes this list to exempt `host`: all dots before an entry go.
fn exempts_for_python(list: &str, host: &str) -> bool {
    list.trim() == "*"
        || list.split(',').map(|entry| entry.trim().trim_start_matches('.').to_ascii_lowercase()).any(|entry| {
            let below = host.strip_suffix(&*entry).is_some_and(|front| front.ends_with('.'));
            !entry.is_empty() && (entry == host || below)
        })
}

/// Whether curl, botocore and Go all take this list to exempt `name`: it is `*` alone, or has the name or a domain above
/// it as an entry.
fn exempts(list: &str, name: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    for entry in list.split(',').map(str::trim) {
        // curl reads no further than a blank within an entry.
        if entry.contains(char::is_whitespace) {
            return false;
        }
        let domain = entry.to_ascii_lowercase();
        // With a dot before it, Go takes an entry for what is below it alone.
        let (domain, below_alone) = domain.strip_prefix('.').map_or((&*domain, false), |domain| (domain, true));
        let below = name.strip_suffix(domain).is_some_and(|front| front.ends_with('.'));
        if !domain.is_empty() && (below || (name == domain && !below_alone)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn botocore_asks_for_s3_as_a_whole() {
        let host = host_of_s3("xxxxx-bucket.s3.ap-northeast-1.amazonaws.com").unwrap();
        assert_eq!(host, "s3.ap-northeast-1.amazonaws.com");
        assert_eq!(host_of_s3("my.bucket.s3.ap-northeast-1.amazonaws.com").as_ref(), Some(&host));
        assert_eq!(host_of_s3("db.internal.example"), None);
        for list in ["*", &host, "a,..s3.ap-northeast-1.amazonaws.com", ".amazonaws.com"] {
            assert!(exempts_for_python(list, &host), "{list}");
        }
        for list in ["", "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com", "*.amazonaws.com", "."] {
            assert!(!exempts_for_python(list, &host), "{list}");
        }
    }

    #[test]
    fn what_all_of_them_take_for_exempt() {
        let name = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
        for list in [
            "*",
            name,
            "localhost, xxxxx-bucket.s3.ap-northeast-1.amazonaws.com",
            "s3.ap-northeast-1.amazonaws.com",
            ".amazonaws.com,localhost",
            "AmazonAWS.com",
        ] {
            assert!(exempts(list, name), "{list}");
        }
        for list in [
            "",
            "localhost",
            "*.amazonaws.com",
            "*,localhost",
            "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com:443",
            ".xxxxx-bucket.s3.ap-northeast-1.amazonaws.com",
            "east-1.amazonaws.com",
            "localhost amazonaws.com",
            "a b,amazonaws.com",
            "172.31.1.152",
            ",",
            ".",
        ] {
            assert!(!exempts(list, name), "{list}");
        }
    }
}
