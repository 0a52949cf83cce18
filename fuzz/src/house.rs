//! A house with one of everything: buckets and zones for some clients and not for others, rules, aliases in and out; and
//! what must hold of it, told a second time and in another way than phzd does it.
//!
//! Each zone has addresses that no other has, so that a reply tells whose they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use phzd::config::{Config, File, Machine};
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Pending, Responder};
use phzd::upstream::Upstream;
use phzd::upstream::forward::Ask;
use phzd::wire::Name;

const CONFIG: &str = r#"
    [server]
    clients = ["10.9.0.0/16"]
    [vpc]
    region = "ap-northeast-1"
    cidrs = ["172.31.0.0/16", "2001:db8::/56"]
    self = "172.31.1.5"
    behind-self = ["172.17.0.0/16"]
    [[subnet]]
    name = "a"
    cidr = ["172.31.1.0/24", "2001:db8::/64"]
    az-id = "apne1-az4"
    [[subnet]]
    name = "inside-a"
    cidr = "172.31.1.128/25"
    [[subnet]]
    name = "v6-only"
    cidr = "2001:db8:0:6::/64"
    dns64 = true

    [[endpoint]]
    name = "1"
    addresses = ["172.31.200.1", { ip = "172.31.200.101", az-id = "apne1-az4" }, "2001:db8:0:ff::1"]
    affinity = "same-az"
    [[endpoint]]
    name = "2"
    addresses = ["172.31.200.2"]
    [[endpoint]]
    name = "3"
    addresses = ["172.31.200.3"]
    [[endpoint]]
    name = "4"
    addresses = ["172.31.200.4"]
    [[endpoint]]
    name = "5"
    addresses = ["2001:db8:0:ff::5"]
    [[endpoint]]
    name = "6"
    addresses = ["172.31.200.6"]
    [[endpoint]]
    name = "8"
    addresses = ["172.31.200.8", "2001:db8:0:ff::8"]
    [[endpoint]]
    name = "9"
    addresses = ["172.31.200.9"]
    [[endpoint]]
    name = "10"
    addresses = ["172.31.200.10"]

    [[bucket]]
    names = ["forwarding"]
    endpoint = "1"
    allow = ["a"]
    [[bucket]]
    names = ["refusing"]
    endpoint = "2"
    allow = ["a", "10.9.1.0/24"]
    others = "refused"
    [[bucket]]
    names = ["dropping"]
    endpoint = "3"
    allow = ["inside-a"]
    others = "drop"
    [[bucket]]
    names = ["hiding"]
    endpoint = "4"
    allow = ["a"]
    others = "nxdomain"
    [[bucket]]
    names = ["empty"]
    endpoint = "5"
    allow = ["v6-only"]
    others = "nodata"
    [[bucket]]
    names = ["lenient"]
    endpoint = "6"
    allow = ["a"]
    below = "forward"
    [[bucket]]
    names = ["shared"]
    endpoint = "9"
    allow = ["a"]
    [[bucket]]
    names = ["shared"]
    endpoint = "10"
    allow = ["v6-only", "10.9.0.0/16"]

    [[zone]]
    name = "internal.example"
    records = [
        { name = "www", type = "CNAME", values = ["www.example."] },
        { name = "bucket", type = "CNAME", values = ["forwarding.s3.ap-northeast-1.amazonaws.com."] },
        { name = "loop", type = "CNAME", values = ["loop2"] },
        { name = "loop2", type = "CNAME", values = ["loop"] },
        { name = "db", type = "A", values = ["172.31.200.7"] },
        { name = "*.w", type = "MX", values = ["10 www", "20 www.example."] },
        { name = "text.w", type = "TXT", values = ['"a" "b"'] },
        { name = "deep.er", type = "A", values = ["172.31.200.7"] },
        { name = "corp", type = "CNAME", values = ["www.corp.example."] },
    ]
    [[zone]]
    name = "x.example"
    allow = ["172.31.1.0/28"]
    records = [{ name = "@", alias = "8" }, { name = "*", type = "CNAME", values = ["www.internal.example."] }]
    [[rule]]
    domain = "corp.example"
    targets = ["172.31.0.3"]
    [[rule]]
    domain = "rule.internal.example"
    targets = ["172.31.0.3"]
"#;

/// Clients of every kind: each subnet's, the ends of blocks, this host's, those in no subnet, mapped ones, strangers.
pub const CLIENTS: [&str; 20] = [
    "172.31.1.7",
    "172.31.1.0",
    "172.31.1.16",
    "172.31.1.127",
    "172.31.1.128",
    "172.31.1.255",
    "172.31.2.0",
    "172.31.0.5",
    "2001:db8::7",
    "2001:db8:0:1::7",
    "2001:db8:0:6::7",
    "127.0.0.1",
    "::1",
    "172.17.0.9",
    "10.9.1.1",
    "10.9.2.1",
    "::ffff:172.31.1.7",
    "::ffff:127.0.0.1",
    "192.0.2.9",
    "2001:db8:1::1",
];

/// A zone as the configuration above has it.
struct Zone {
    name: &'static str,
    /// The last part of its addresses, or 100 more.
    number: u8,
    allows: fn(IpAddr) -> bool,
    /// Others are told so; otherwise the zone does not exist for them.
    denies: bool,
    /// Names below it that it does not have are forwarded.
    lenient: bool,
}

const fn zone(name: &'static str, number: u8, allows: fn(IpAddr) -> bool) -> Zone {
    Zone { name, number, allows, denies: false, lenient: false }
}

const ZONES: [Zone; 10] = [
    zone("forwarding.s3.ap-northeast-1.amazonaws.com", 1, in_a),
    Zone {
        denies: true,
        ..zone("refusing.s3.ap-northeast-1.amazonaws.com", 2, |ip| in_a(ip) || v4(ip, [10, 9, 1], 24))
    },
    Zone { denies: true, ..zone("dropping.s3.ap-northeast-1.amazonaws.com", 3, |ip| v4(ip, [172, 31, 1], 25)) },
    Zone { denies: true, ..zone("hiding.s3.ap-northeast-1.amazonaws.com", 4, in_a) },
    Zone { denies: true, ..zone("empty.s3.ap-northeast-1.amazonaws.com", 5, v6_only) },
    Zone { lenient: true, ..zone("lenient.s3.ap-northeast-1.amazonaws.com", 6, in_a) },
    zone("internal.example", 7, |_| true),
    zone(
        "x.example",
        8,
        |ip| matches!(counted_as(ip), IpAddr::V4(ip) if ip.octets()[..3] == [172, 31, 1] && ip.octets()[3] < 16),
    ),
    zone("shared.s3.ap-northeast-1.amazonaws.com", 9, in_a),
    zone("shared.s3.ap-northeast-1.amazonaws.com", 10, |ip| v6_only(ip) || v4(ip, [10, 9, 0], 16)),
];

const RULES: [&str; 2] = ["corp.example", "rule.internal.example"];

/// Names in and around the zones.
pub const NAMES: [&str; 24] = [
    "forwarding.s3.ap-northeast-1.amazonaws.com",
    "below.forwarding.s3.ap-northeast-1.amazonaws.com",
    "refusing.s3.ap-northeast-1.amazonaws.com",
    "dropping.s3.ap-northeast-1.amazonaws.com",
    "hiding.s3.ap-northeast-1.amazonaws.com",
    "empty.s3.ap-northeast-1.amazonaws.com",
    "lenient.s3.ap-northeast-1.amazonaws.com",
    "below.lenient.s3.ap-northeast-1.amazonaws.com",
    "shared.s3.ap-northeast-1.amazonaws.com",
    "s3.ap-northeast-1.amazonaws.com",
    "internal.example",
    "www.internal.example",
    "bucket.internal.example",
    "loop.internal.example",
    "db.internal.example",
    "a.w.internal.example",
    "corp.internal.example",
    "a.rule.internal.example",
    "x.example",
    "a.x.example",
    "www.corp.example",
    "www.example",
    "example",
    ".",
];

/// What counts as the client: mapped addresses are plain ones, and this host's programs are this host.
fn counted_as(ip: IpAddr) -> IpAddr {
    let ip = ip.to_canonical();
    let own = ip.is_loopback() || matches!(ip, IpAddr::V4(ip) if ip.octets()[..2] == [172, 17]);
    if own { Ipv4Addr::new(172, 31, 1, 5).into() } else { ip }
}

/// Whether the first bits of an IPv4 client are those of `first`; of 25 bits the last is set.
fn v4(ip: IpAddr, first: [u8; 3], bits: u32) -> bool {
    let IpAddr::V4(ip) = counted_as(ip) else { return false };
    let octets = ip.octets();
    match bits {
        16 => octets[..2] == first[..2],
        24 => octets[..3] == first,
        _ => octets[..3] == first && octets[3] >= 128,
    }
}

fn v6(ip: IpAddr, network: u16) -> bool {
    matches!(ip.to_canonical(), IpAddr::V6(ip) if ip.segments()[..4] == [0x2001, 0xdb8, 0, network])
}

/// In the subnet "a" and not in the longer one inside it.
fn in_a(ip: IpAddr) -> bool {
    v4(ip, [172, 31, 1], 24) && !v4(ip, [172, 31, 1], 25) || v6(ip, 0)
}

fn v6_only(ip: IpAddr) -> bool {
    v6(ip, 6)
}

/// Whether a client may ask at all.
pub fn may_ask(ip: IpAddr) -> bool {
    match counted_as(ip) {
        ip @ IpAddr::V4(_) => v4(ip, [172, 31, 0], 16) || v4(ip, [10, 9, 0], 16),
        IpAddr::V6(ip) => ip.segments()[..3] == [0x2001, 0xdb8, 0] && ip.segments()[3] < 0x100,
    }
}

/// Whose a private address is: the client must be one of whom the zone allows. Addresses of no zone are everybody's.
pub fn may_be_told(ip: IpAddr, address: IpAddr) -> bool {
    let number = match address {
        IpAddr::V4(address) => number_of(address),
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 0xdb8, 0, 0xff, 0, 0, 0, number] => u8::try_from(number).ok(),
            // RFC 6147: made of an IPv4 address, for who has none.
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = address.octets();
                number_of(Ipv4Addr::new(a, b, c, d))
            }
            _ => None,
        },
    };
    number.is_none_or(|number| ZONES.iter().any(|zone| zone.number == number && (zone.allows)(ip)))
}

fn number_of(address: Ipv4Addr) -> Option<u8> {
    let [172, 31, 200, number] = address.octets() else { return None };
    Some(number % 100)
}

/// Whether these octets have something of a private address in them, so that who says them could be taken for a zone.
pub fn has_private(octets: &[u8]) -> bool {
    octets.windows(3).any(|three| three == [172, 31, 200])
        || octets.windows(4).any(|four| four == [0x20, 0x01, 0x0d, 0xb8])
        || octets.windows(4).any(|four| four == [0x00, 0x64, 0xff, 0x9b])
}

/// Who decides about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decides {
    /// Resolvers: nothing private is at this name for this client.
    Resolvers,
    /// A zone, so that no resolver may hear of the name.
    Zone,
    /// A zone, which leaves what it does not have to resolvers.
    Lenient,
}

/// The longest zone or rule that exists for a client.
pub fn decides(ip: IpAddr, name: &Name) -> Decides {
    static HOLDERS: LazyLock<Vec<(Name, Option<&Zone>)>> = LazyLock::new(|| {
        let name = |text: &str| text.parse().expect("the lists have names");
        let zones = ZONES.iter().map(|zone| (name(zone.name), Some(zone)));
        zones.chain(RULES.iter().map(|rule| (name(rule), None))).collect()
    });
    let exists = |zone: &Zone| zone.denies || (zone.allows)(ip);
    let around = HOLDERS.iter().filter(|(at, zone)| name.is_at_or_below(at) && zone.is_none_or(exists));
    match around.max_by_key(|(at, _)| at.label_count()) {
        Some((_, Some(zone))) if zone.lenient => Decides::Lenient,
        Some((_, Some(_))) => Decides::Zone,
        Some((_, None)) | None => Decides::Resolvers,
    }
}

/// The configuration, with a small cache.
pub fn config() -> &'static Config {
    static CONFIG_READ: LazyLock<Config> = LazyLock::new(|| {
        let machine = Machine { cores: 1, addresses: vec![] };
        let mut config = match File::parse("phzd.toml", CONFIG).check(&machine) {
            Ok((config, _)) => config,
            Err(problems) => panic!("{problems}"),
        };
        config.cache.bytes = 1 << 19;
        config
    });
    &CONFIG_READ
}

/// The policy of [`config`].
pub fn policy() -> Arc<Policy> {
    static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Policy::new(config()).into());
    Arc::clone(&POLICY)
}

/// A hall, and what it has of resolvers: nothing yet.
pub fn hall() -> (Responder, Arc<Upstream>) {
    let upstream = Arc::new(Upstream::new(config()));
    let policy = Arc::new(ArcSwap::new(policy()));
    (Responder::new(policy, Arc::clone(&upstream), Registry::default()), upstream)
}

/// What the forwarder is told of a query that waits. Nothing private leaves the house.
pub fn wish(pending: Pending) -> Ask<Pending> {
    let (client, question): (SocketAddr, _) = (pending.client(), pending.question.clone());
    let decides = decides(client.ip(), &question.name);
    assert_ne!(decides, Decides::Zone, "{client} has {} asked of a resolver", question.name);
    assert!(may_ask(client.ip()), "{client} may not ask");
    let (route, deadline) = (Arc::clone(&pending.route), pending.deadline);
    Ask { question, route, deadline, client: client.ip(), waiter: pending }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_stands() {
        assert_eq!(config().buckets.len() + config().zones.len(), ZONES.len());
        let name = |text: &str| text.parse().unwrap();
        for text in NAMES {
            let _: Name = name(text);
        }
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(decides(ip("172.31.1.7"), &name("a.forwarding.s3.ap-northeast-1.amazonaws.com")), Decides::Zone);
        assert_eq!(decides(ip("172.31.0.5"), &name("forwarding.s3.ap-northeast-1.amazonaws.com")), Decides::Resolvers);
        assert_eq!(decides(ip("172.31.0.5"), &name("a.rule.internal.example")), Decides::Resolvers);
        assert!(
            may_be_told(ip("127.0.0.1"), ip("172.31.200.1")) && !may_be_told(ip("172.31.1.200"), ip("172.31.200.1"))
        );
    }
}
