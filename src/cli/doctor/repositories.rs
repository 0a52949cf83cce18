//! The package repositories of Amazon Linux: whether phzd says of their names what the VPC's resolver says.

use std::net::SocketAddr;

use hickory_proto::rr::RecordType;
use phzd::zone::bucket::well_known;

use super::asking::{Heard, heard};
use super::bucket::{Expected, View};
use super::each;
use super::finding::Finding;

const CHECK: &str = "repositories";
const SUBJECT: &str = "Amazon Linux";

/// Asks phzd and the VPC's resolver for each.
pub fn check(
    region: Option<&str>,
    view: &View<'_>,
    phzd: Option<SocketAddr>,
    resolver: Option<SocketAddr>,
) -> Vec<Finding> {
    let (Some(phzd), Some(resolver)) = (phzd, resolver) else {
        let who = if phzd.is_none() { "phzd does not answer" } else { "no resolver of the VPC answers" };
        return vec![Finding::skipped(CHECK, SUBJECT, who)];
    };
    let Some(region) = region else {
        return vec![Finding::skipped(
            CHECK,
            SUBJECT,
            "the configuration has no vpc.region, and their names depend on it",
        )];
    };
    let known = well_known(region).into_iter().filter(|(_, whose)| whose.starts_with(SUBJECT));
    let names: Vec<String> = known.map(|(name, _)| name).collect();
    let said = each(&names, |name| {
        let both = each(&[phzd, resolver], |server| heard(*server, name, RecordType::A));
        let mut both = both.into_iter();
        both.next().zip(both.next())
    });
    let all = names.len();
    let judged = names.iter().zip(said);
    let mut findings: Vec<_> = judged.filter_map(|(name, said)| judge(name, said?, view, resolver)).collect();
    if findings.is_empty() {
        let said = format!("{all} names resolve by phzd as {} has them", resolver.ip());
        findings.push(Finding::ok(CHECK, SUBJECT, said));
    }
    findings
}

type Said = Result<Heard, String>;

/// What is wrong with a name, if anything. Addresses change from one answer to the next, so they are not compared one by
/// one.
fn judge(name: &str, said: (Said, Said), view: &View<'_>, resolver: SocketAddr) -> Option<Finding> {
    let resolver = resolver.ip();
    let (here, there) = match said {
        (Ok(here), Ok(there)) => (here, there),
        (_, Err(why)) => return Some(Finding::skipped(CHECK, name, format!("{resolver}: {why}"))),
        (Err(why), _) => {
            let remedy = "phzd's log says why; no package can be installed while this lasts";
            return Some(Finding::failure(CHECK, name, format!("phzd does not answer: {why}"), remedy));
        }
    };
    let said = format!("phzd says {}, and {resolver} {}", here.shown(), there.shown());
    let of_zone = || match view.expected(name) {
        Expected::Public => "ask phzd's log, and systemctl reload phzd if the configuration has changed since",
        _ => {
            "a zone of the configuration takes the name: make that zone narrower, or leave the name out with except; until \
              then dnf and yum hang on this host"
        }
    };
    let swallowed = here.addresses.iter().any(|address| view.is_private(*address))
        && !there.addresses.iter().any(|address| view.is_private(*address));
    if here.code != there.code || here.addresses.is_empty() != there.addresses.is_empty() || swallowed {
        return Some(Finding::failure(CHECK, name, said, of_zone()));
    }
    let overlap = here.addresses.iter().any(|address| there.addresses.contains(address));
    if here.alias != there.alias && !overlap {
        let said = format!("{said}: an alias of something else");
        return Some(Finding::warning(CHECK, name, said, of_zone()));
    }
    None
}
