//! The resolvers that phzd forwards to: whether each answers in every way phzd may ask.

use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use phzd::config::{Channel, Config, Target};
use phzd::wire::Transport;
use phzd::zone::partition::suffix;

use super::asking::{asked, mnemonic, why};
use super::each;
use super::finding::Finding;
use crate::ask::Way;

const CHECK: &str = "resolver";
/// Asked of the VPC's resolvers where no region is configured.
const KNOWN: &str = "amazonaws.com";

/// What is known of the resolvers.
pub struct Resolvers {
    pub findings: Vec<Finding>,
    /// The first of the VPC's resolvers that answers.
    pub alive: Option<SocketAddr>,
}

/// A resolver, and a question that it must be able to answer.
struct Asked {
    address: SocketAddr,
    name: String,
    kind: RecordType,
    /// The VPC's own.
    own: bool,
}

/// Asks each of the VPC's resolvers and of the rules' plain targets in four ways.
pub fn check(config: &Config, region: Option<&str>) -> Resolvers {
    let known = region.map_or(KNOWN.into(), |region| format!("s3.{region}.{}", suffix(region)));
    let own = config.vpc.resolvers.iter();
    let own = own.map(|address| Asked { address: *address, name: known.clone(), kind: RecordType::A, own: true });
    let mut list: Vec<Asked> = own.collect();
    let mut skipped = Vec::new();
    for rule in &config.rules {
        for target in &rule.targets {
            if target.channel != Channel::Plain {
                skipped.push(encrypted(target));
            } else if !list.iter().any(|asked| asked.address == target.address) {
                let (address, name) = (target.address, rule.domain.to_string());
                list.push(Asked { address, name, kind: RecordType::SOA, own: false });
            }
        }
    }
    let told = each(&list, judge);
    let alive = list.iter().zip(&told).find(|(asked, (_, answers))| asked.own && *answers);
    let alive = alive.map(|(asked, _)| asked.address);
    let findings = told.into_iter().map(|(finding, _)| finding).chain(skipped).collect();
    Resolvers { findings, alive }
}

fn encrypted(target: &Target) -> Finding {
    Finding::skipped(CHECK, target, "only plain targets are asked; phzd's log says if it cannot be reached")
}

/// How a resolver is, and whether it answers over UDP.
fn judge(resolver: &Asked) -> (Finding, bool) {
    let ways = [(Transport::Udp, true), (Transport::Udp, false), (Transport::Tcp, true), (Transport::Tcp, false)];
    let said = each(&ways, |&(transport, edns)| {
        let way = Way { transport, edns, ..Way::plain(resolver.address) };
        let reply = asked(way, &resolver.name, resolver.kind).map_err(|error| why(&error))?;
        match reply.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(()),
            code => Err(format!("it says {} to {}", mnemonic(code), resolver.name)),
        }
    });
    let address = resolver.address;
    let good = |at: usize| said.get(at).is_some_and(Result::is_ok);
    let first = said.iter().find_map(|said| said.as_ref().err()).cloned().unwrap_or_default();
    let finding = match [good(0), good(1), good(2), good(3)] {
        [true, true, true, true] => Finding::ok(CHECK, address, "answers over UDP and TCP, with EDNS and without"),
        [false, false, false, false] => {
            let remedy = if resolver.own {
                "if this is the VPC's own resolver, its attribute enableDnsSupport must be on; else look at vpc.resolvers, \
                 and for a firewall on this host that drops port 53"
            } else {
                "look at the rule's targets, at the route there, and at its security group: port 53, UDP and TCP"
            };
            Finding::failure(CHECK, address, format!("does not answer: {first}"), remedy)
        }
        [_, _, false, false] => {
            let said = format!("answers over UDP and not over TCP: {first}");
            let remedy = "let TCP port 53 through, here and there: what does not fit a datagram is asked over TCP";
            Finding::failure(CHECK, address, said, remedy)
        }
        [false, false, _, _] => {
            let said = format!("answers over TCP and not over UDP: {first}");
            Finding::failure(CHECK, address, said, "let UDP port 53 through, here and there")
        }
        [false, true, _, _] | [_, _, false, true] => {
            let said = format!("does not answer what comes with EDNS: {first}");
            let remedy = "phzd asks again without, which takes time; look for a firewall in between that drops EDNS \
                          (RFC 6891), or renew the server";
            Finding::warning(CHECK, address, said, remedy)
        }
        [true, false, _, _] | [_, _, true, false] => {
            let said = format!("does not answer what comes without EDNS: {first}");
            Finding::warning(CHECK, address, said, "every server must (RFC 6891 section 7); look at what is in between")
        }
    };
    (finding, good(0) || good(1))
}
