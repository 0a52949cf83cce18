//! DNS64: whether the VPC's resolver makes AAAA records for this host's subnet, as the configuration says of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::rr::RecordType;
use phzd::config::Config;
use phzd::wire::dns64::synthesise;

use super::asking::heard;
use super::bucket::View;
use super::finding::Finding;

/// A name that has these IPv4 addresses and no other: any IPv6 address of it is made (RFC 7050 section 2.2).
const KNOWN: &str = "ipv4only.arpa";
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
const CHECK: &str = "DNS64";

/// Compares what the resolver does with `dns64` of this host's subnet.
pub fn check(config: &Config, view: &View<'_>, resolver: Option<SocketAddr>) -> Finding {
    let subject = match (view.subnet(), view.address) {
        (Some(subnet), _) => format!("subnet {subnet}"),
        (None, Some(address)) => address.to_string(),
        (None, None) => return Finding::skipped(CHECK, "this host", "its address in the VPC is not known"),
    };
    let Some(resolver) = resolver else {
        return Finding::skipped(CHECK, subject, "no resolver of the VPC answers");
    };
    let made = match heard(resolver, KNOWN, RecordType::AAAA) {
        Ok(said) => ADDRESSES.iter().any(|ip| said.addresses.contains(&IpAddr::from(synthesise(*ip)))),
        Err(why) => return Finding::skipped(CHECK, subject, format!("{}: {why}", resolver.ip())),
    };
    let ip = resolver.ip();
    match (made, view.dns64()) {
        (true, true) => Finding::ok(CHECK, subject, format!("{ip} makes AAAA records, and so does phzd")),
        (false, false) => Finding::ok(CHECK, subject, format!("{ip} makes no AAAA records, nor does phzd")),
        (true, false) => {
            let add = if view.subnet().is_some() { "" } else { "give this host a [[subnet]] and " };
            let said = format!("{ip} makes AAAA records for this host, and phzd makes none for private names");
            let remedy =
                format!("{add}set dns64 = true in the subnet, or hosts with IPv6 alone do not reach the endpoint");
            Finding::warning(CHECK, subject, said, remedy)
        }
        (false, true) => {
            let of = config.subnets.iter().filter(|subnet| subnet.dns64).count();
            let said = format!("dns64 = true ({of} subnets have it), and {ip} makes no AAAA records for this host");
            let remedy = "set dns64 = false, or turn it on in AWS too (aws ec2 modify-subnet-attribute --enable-dns64), with a \
                          route for 64:ff9b::/96 to a NAT gateway";
            Finding::warning(CHECK, subject, said, remedy)
        }
    }
}
