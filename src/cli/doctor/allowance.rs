//! What the network card has dropped: AWS lets through 1,024 packets a second to its resolver and the other link-local
//! services, and counts the rest on ENA interfaces.

use phzd::config::Config;
use phzd::resolver::source_towards;

use super::finding::Finding;
use super::host::{Host, output};

const CHECK: &str = "packet allowance";
const COUNTER: &str = "linklocal_allowance_exceeded";

/// Looks at the interface towards the first resolver.
pub fn check(config: &Config, host: &Host) -> Finding {
    let source = config.vpc.resolvers.first().and_then(|resolver| source_towards(*resolver));
    let Some(interface) = source.and_then(|source| host.interface(source)) else {
        return Finding::skipped(CHECK, "this host", "no interface leads to the resolver");
    };
    let said = match output("ethtool", &["-S", interface]) {
        Ok(said) => said,
        Err(why) => return Finding::skipped(CHECK, interface, why),
    };
    match exceeded(&said) {
        None => Finding::skipped(CHECK, interface, format!("it has no counter {COUNTER}: not an ENA interface")),
        Some(0) => Finding::ok(CHECK, interface, format!("{COUNTER} is 0")),
        Some(dropped) => {
            let said = format!(
                "{COUNTER} is {dropped}: so many packets to the VPC's resolver, IMDS and time server were dropped"
            );
            let remedy = "if it grows (ethtool -S again), let all programs of this host ask phzd and none the resolver itself, \
                          lower upstream.packets-per-second, and look who asks IMDS so often";
            Finding::warning(CHECK, interface, said, remedy)
        }
    }
}

/// The counter in what ethtool prints.
fn exceeded(text: &str) -> Option<u64> {
    let counter = |line: &str| line.trim().strip_prefix(COUNTER)?.strip_prefix(':')?.trim().parse().ok();
    text.lines().find_map(counter)
}
