//! `phzd no-proxy`: what hosts behind an HTTP proxy must leave to themselves.
//!
//! With a proxy it is the proxy that resolves a name, so a private name never comes to phzd unless the client is told to go
//! there itself. Clients read that list each in their own way; what is printed means the same to all of them. A name alone is
//! itself and all below it to curl, Go and Python; none of them knows `*.name`. Java knows nothing else for what is below.
//!
//! botocore, and so the AWS CLI, looks at its list once for each client it makes, and then the name is that of S3 in the
//! region, whatever bucket will be asked for. A name behind two dots is that to Python, which takes all dots off, and to
//! nobody else: curl takes off one, and to Go it is what ends in two. So only botocore goes past the proxy for all of S3.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use phzd::config::Config;
use phzd::wire::Name;
use phzd::zone::bucket::service_and_region;

/// Instance metadata, task credentials and metadata over IPv6: a proxy would give a host another's.
const METADATA: [&str; 3] = ["169.254.169.254", "169.254.170.2", "fd00:ec2::254"];
/// The last once more, as Python and Java have it.
const IN_BRACKETS: &str = "[fd00:ec2::254]";
/// What Java leaves out of proxies unless it is told otherwise.
const OF_JAVA: [&str; 3] = ["localhost", "127.*", "[::1]"];
/// The most octets that Linux takes as one string of an environment or a command line (execve(2)).
const LONGEST: usize = 128 * 1024;
/// Octets around the list: the variable's name, and what stands in it already.
const AROUND: usize = 1024;

/// The arguments.
#[derive(Debug, Args)]
pub struct NoProxy {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
    /// For whom
    #[arg(long, default_value = "shell")]
    format: Format,
    /// In place of each bucket's name that of S3 in its region: shorter, and all its buckets go past the proxy
    #[arg(long)]
    suffix: bool,
}

/// For whom the list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a shell's profile: botocore, the AWS CLI, curl, Go
    Shell,
    /// A drop-in for a systemd unit
    Systemd,
    /// What belongs into ~/.docker/config.json
    Docker,
    /// An option for java
    Java,
}

/// A name that is private.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    /// All below it is private as well.
    below: bool,
}

/// Prints the list.
pub fn no_proxy(arguments: &NoProxy) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok((config, _)) => config,
        Err(problems) => {
            super::say(&problems);
            return ExitCode::FAILURE;
        }
    };
    let entries = entries(&config, arguments.suffix);
    if entries.is_empty() {
        super::say(&format_args!("phzd: {} has no private name, so none must be left out", arguments.config.display()));
        return ExitCode::FAILURE;
    }
    let list = match arguments.format {
        Format::Java => for_java(&entries),
        _ => for_all_others(&entries),
    };
    if list.len() + AROUND > LONGEST {
        super::say(&format_args!(
            "phzd: the list has {} octets, and Linux takes {LONGEST} in one string: with --suffix it has one name for all \
             buckets of a region",
            list.len()
        ));
        return ExitCode::FAILURE;
    }
    if config.zones.iter().any(|zone| zone.name == Name::root()) {
        super::say(&"phzd: the zone . is not in the list: nothing would be left for the proxy");
    }
    if config.zones.iter().any(|zone| !zone.except.names.is_empty() || !zone.except.prefixes.is_empty()) {
        super::say(&"phzd: names that a zone leaves public go past the proxy as well: no client knows exceptions");
    }
    // Who closed the output does not want it.
    let _ = writeln!(io::stdout(), "{}", arguments.format.written(&list));
    ExitCode::SUCCESS
}

/// Every private name, each once, sorted.
fn entries(config: &Config, suffix: bool) -> Vec<Entry> {
    let host = |name: &Name| {
        let name = name.to_string();
        match service_and_region(&name) {
            Some((service, region)) if suffix => Entry { name: format!("{service}.{region}"), below: true },
            _ => Entry { name, below: false },
        }
    };
    let buckets = config.buckets.iter().flat_map(|bucket| &bucket.names).map(host);
    let zones = config.zones.iter().filter(|zone| zone.name != Name::root());
    let zones = zones.map(|zone| Entry { name: zone.name.to_string(), below: true });
    let mut entries: Vec<Entry> = buckets.chain(zones).collect();
    entries.sort();
    entries.dedup();
    let wide: HashSet<String> = entries.iter().filter(|entry| entry.below).map(|entry| entry.name.clone()).collect();
    // What stands below another's name need not be named.
    entries.retain(|entry| !above(&entry.name).any(|above| wide.contains(above)));
    entries.dedup_by(|later, earlier| {
        later.name == earlier.name && {
            earlier.below |= later.below;
            true
        }
    });
    entries
}

/// The names that stand above a name, the nearest first, without the root.
fn above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').filter_map(|(at, _)| name.get(at + 1..))
}

/// A name alone is itself and all below it; see above for what botocore needs.
fn for_all_others(entries: &[Entry]) -> String {
    let names: BTreeSet<&str> = entries.iter().map(|entry| &*entry.name).collect();
    let of_s3 = names.iter().filter_map(|name| Some(format!("s3.{}", service_and_region(name)?.1)));
    let of_s3: BTreeSet<String> = of_s3.collect();
    let lacking =
        of_s3.iter().filter(|host| !names.contains(&***host) && !above(host).any(|above| names.contains(above)));
    let lacking = lacking.map(|host| format!("..{host}"));
    METADATA
        .into_iter()
        .chain([IN_BRACKETS])
        .chain(names.iter().copied())
        .map(String::from)
        .chain(lacking)
        .collect::<Vec<_>>()
        .join(",")
}

/// A name alone is itself, and `*` stands for anything.
fn for_java(entries: &[Entry]) -> String {
    let metadata = METADATA.into_iter().map(|address| if address.contains(':') { IN_BRACKETS } else { address });
    let names = entries.iter().flat_map(|entry| {
        let below = entry.below.then(|| format!("*.{}", entry.name));
        std::iter::once(entry.name.clone()).chain(below)
    });
    OF_JAVA.into_iter().chain(metadata).map(String::from).chain(names).collect::<Vec<_>>().join("|")
}

impl Format {
    fn written(self, list: &str) -> String {
        match self {
            // Programs disagree on which of the two goes first. What is there already stays.
            Self::Shell => {
                format!("export no_proxy=\"{list}${{no_proxy:+,$no_proxy}}\"\nexport NO_PROXY=\"$no_proxy\"")
            }
            Self::Systemd => format!("[Service]\nEnvironment=\"no_proxy={list}\"\nEnvironment=\"NO_PROXY={list}\""),
            Self::Docker => {
                let proxies = serde_json::json!({ "proxies": { "default": { "noProxy": list } } });
                serde_json::to_string_pretty(&proxies).unwrap_or_default()
            }
            Self::Java => format!("'-Dhttp.nonProxyHosts={list}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rest: &str) -> Config {
        let text = format!(
            "[vpc]\nregion = \"ap-northeast-1\"\ncidrs = [\"172.31.0.0/16\"]\n[[endpoint]]\nname = \"s3\"\n\
             addresses = [\"172.31.1.152\"]\n{rest}"
        );
        Config::parse("x", &text).unwrap_or_else(|told| panic!("{told}")).0
    }

    #[test]
    fn every_private_name_is_there_once_or_what_covers_it() {
        let buckets = "[[bucket]]\nnames = [\"bbb\", \"aaa\"]\nendpoint = \"s3\"\n";
        let all = |config: &Config, suffix| for_all_others(&entries(config, suffix));
        let metadata = "169.254.169.254,169.254.170.2,fd00:ec2::254,[fd00:ec2::254]";
        let host = "s3.ap-northeast-1.amazonaws.com";
        assert_eq!(all(&config(buckets), false), format!("{metadata},aaa.{host},bbb.{host},..{host}"));
        assert_eq!(all(&config(buckets), true), format!("{metadata},{host}"));
        let every = "[[bucket]]\nnames = [\"*\"]\nendpoint = \"s3\"\n";
        let zone = "[[zone]]\nname = \"internal.example\"\nrecords = [{ name = \"@\", alias = \"s3\" }]\n";
        let wide = config(&format!("{buckets}{every}{zone}"));
        assert_eq!(all(&wide, false), format!("{metadata},internal.example,{host}"));
        let java = "localhost|127.*|[::1]|169.254.169.254|169.254.170.2|[fd00:ec2::254]";
        assert_eq!(
            for_java(&entries(&wide, false)),
            format!("{java}|internal.example|*.internal.example|{host}|*.{host}")
        );
        assert_eq!(for_java(&entries(&config(buckets), false)), format!("{java}|aaa.{host}|bbb.{host}"));
    }

    #[test]
    fn botocore_finds_s3_whatever_the_names_are() {
        let all = |rest: &str, suffix| for_all_others(&entries(&config(rest), suffix));
        let metadata = "169.254.169.254,169.254.170.2,fd00:ec2::254,[fd00:ec2::254]";
        let region = "ap-northeast-1.amazonaws.com";
        let dotted = "[[bucket]]\nnames = [\"my.s3.bucket\"]\nendpoint = \"s3\"\n";
        assert_eq!(all(dotted, false), format!("{metadata},my.s3.bucket.s3.{region},..s3.{region}"));
        assert_eq!(all(dotted, true), format!("{metadata},s3.{region}"));
        let points =
            |names: &str| format!("[[bucket]]\nkind = \"access-point\"\nnames = [{names}]\nendpoint = \"s3\"\n");
        let every = format!("{metadata},s3-accesspoint.{region},..s3.{region}");
        assert_eq!(all(&points("\"*\""), false), every);
        assert_eq!(all(&points("\"my-ap-123456789012\""), true), every);
        let china = dotted.replace("endpoint", "region = \"cn-north-1\"\nendpoint");
        assert_eq!(all(&china, true), format!("{metadata},s3.cn-north-1.amazonaws.com.cn"));
        // What covers more covers S3.
        let wide =
            "[[zone]]\nname = \"amazonaws.com\"\nbelow = \"forward\"\nrecords = [{ name = \"x\", alias = \"s3\" }]\n";
        assert_eq!(all(&format!("{dotted}{wide}"), false), format!("{metadata},amazonaws.com"));
    }

    #[test]
    fn the_root_zone_takes_nothing_from_the_proxy() {
        let root = "[[zone]]\nname = \".\"\nbelow = \"forward\"\nrecords = [{ name = \"db\", type = \"A\", values = [\"172.31.1.20\"] }]\n";
        assert_eq!(entries(&config(root), false), []);
    }
}
