//! The private names: what phzd should tell this host of each, what it does tell, and what the VPC's resolver says of them
//! by itself.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use phzd::client::Client;
use phzd::config::{Addresses, Config, Data, Others, WhenDown};
use phzd::endpoint::Standing;
use phzd::policy::{Decision, Policy};
use phzd::resolver::source_towards;
use phzd::wire::Name;

use super::asking::{Heard, heard, list, mnemonic};
use super::each;
use super::endpoint::Known;
use super::finding::Finding;

/// Names that are asked for. More would only say the same again.
const SAMPLE: usize = 20;
/// What stands for any label where a zone has a wildcard.
const ANY: &str = "phzd-doctor.";
const CHECK: &str = "bucket";
const HOSTED_ZONE: &str = "hosted zone";

/// The configuration as this host sees it.
pub struct View<'a> {
    config: &'a Config,
    policy: Policy,
    /// The address from which this host asks phzd, and as whom it counts there.
    client: Option<(IpAddr, Option<Client>)>,
    /// This host's own address in the VPC.
    pub address: Option<IpAddr>,
    /// Private names of all kinds, a sample of them.
    pub names: Vec<Private>,
    /// How many there are beside.
    more: usize,
    known: &'a [Known],
}

/// A name that leads to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub name: String,
    /// An index into the configuration's.
    pub endpoint: usize,
    /// What phzd should tell this host of it.
    pub expected: Expected,
}

/// What phzd should say of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The addresses of this endpoint.
    Endpoint(usize),
    /// What resolvers say.
    Public,
    /// What a zone tells clients that it does not allow.
    Denied(Others),
    /// Something else of a zone.
    Else,
}

impl<'a> View<'a> {
    /// `known` are the endpoints' addresses, `server` is where phzd answers.
    pub fn new(config: &'a Config, known: &'a [Known], server: Option<SocketAddr>) -> Self {
        let policy = Policy::new(config);
        for (index, known) in known.iter().enumerate() {
            if let Ok(addresses) = known {
                policy.endpoints().publish(index, Standing::stated(addresses));
            }
        }
        let towards = config.vpc.resolvers.first().and_then(|resolver| source_towards(*resolver));
        let address = config.vpc.self_address.or(towards);
        // An address outside the VPC is none, as for the daemon.
        let _ = address.is_some_and(|address| policy.clients().learn_self(address));
        let client = server.map_or(address, source_towards);
        let client = client.map(|address| (address, policy.clients().identify(address)));
        let mut view = Self { config, policy, client, address, names: Vec::new(), more: 0, known };
        view.choose();
        view
    }

    /// Takes the first names of each bucket in turns, and the aliases of other zones.
    fn choose(&mut self) {
        let buckets = &self.config.buckets;
        let all: usize = buckets.iter().map(|bucket| bucket.names.len()).sum();
        let longest = buckets.iter().map(|bucket| bucket.names.len()).max().unwrap_or(0).min(SAMPLE);
        let turns = (0..longest).flat_map(|nth| buckets.iter().map(move |bucket| (bucket, nth)));
        let named = turns.filter_map(|(bucket, nth)| Some((bucket.names.get(nth)?.to_string(), bucket.endpoint)));
        let records = self.config.zones.iter().flat_map(|zone| &zone.records);
        let aliases = records.filter_map(|set| match set.data {
            Data::Alias(endpoint) => Some((set.owner.to_string(), endpoint)),
            Data::Records { .. } => None,
        });
        let aliases: Vec<_> = aliases.collect();
        self.more = (all + aliases.len()).saturating_sub(SAMPLE);
        for (name, endpoint) in named.chain(aliases).take(SAMPLE) {
            let name = name.strip_prefix("*.").map_or(name.clone(), |below| format!("{ANY}{below}"));
            let expected = self.expected(&name);
            self.names.push(Private { name, endpoint, expected });
        }
    }

    /// What phzd should say of `name`.
    pub fn expected(&self, name: &str) -> Expected {
        let Ok(name) = name.parse::<Name>() else { return Expected::Public };
        let Some((_, Some(client))) = self.client else { return Expected::Denied(Others::Refused) };
        match self.policy.decide(name.as_ref(), client, &self.policy.endpoints().present()) {
            Decision::Zone { found, .. } => found.endpoint().map_or(Expected::Else, Expected::Endpoint),
            Decision::Denied { zone, .. } => Expected::Denied(zone.others),
            Decision::Route(_) => Expected::Public,
        }
    }

    /// Whether the AAAA records of this host's subnet are made of A records.
    pub fn dns64(&self) -> bool {
        let client = self.address.and_then(|address| self.policy.clients().identify(address));
        client.is_some_and(|client| client.whereabouts.dns64)
    }

    /// The name of the subnet that this host is in.
    pub fn subnet(&self) -> Option<&str> {
        let address = self.address?;
        let longest = |blocks: &[ipnet::IpNet]| {
            blocks.iter().filter(|block| block.contains(&address)).map(ipnet::IpNet::prefix_len).max()
        };
        let subnets = self.config.subnets.iter().filter_map(|subnet| Some((longest(&subnet.blocks)?, &*subnet.name)));
        subnets.max().map(|(_, name)| name)
    }

    /// Whether an address is of the VPC, or of those that the public does not have.
    pub fn is_private(&self, address: IpAddr) -> bool {
        let reserved = match address {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        };
        reserved || self.config.vpc.cidrs.iter().any(|block| block.contains(&address))
    }

    fn addresses_of(&self, endpoint: usize) -> Vec<IpAddr> {
        let known = self.known.get(endpoint).and_then(|known| known.as_ref().ok());
        known.into_iter().flatten().map(|address| address.ip).collect()
    }

    /// How this host counts, for a sentence.
    fn counts_as(&self) -> String {
        let address = self.address.map_or_else(|| "this host".to_owned(), |address| format!("this host, {address},"));
        match self.subnet() {
            Some(subnet) => format!("{address} of the subnet {subnet}"),
            None => format!("{address} of no subnet"),
        }
    }
}

/// Asks phzd for each name, as any program of this host does.
pub fn check(
    config: &Config,
    view: &View<'_>,
    server: Option<SocketAddr>,
    resolver: Option<SocketAddr>,
) -> Vec<Finding> {
    let Some(server) = server else {
        return vec![Finding::skipped(CHECK, "all names", "phzd does not answer")];
    };
    if let Some((address, None)) = view.client {
        let remedy = "add its block to vpc.cidrs, a [[subnet]] or server.clients";
        return vec![Finding::failure(CHECK, address, "this host may not ask phzd at all", remedy)];
    }
    let mut findings = each(&view.names, |private| {
        if private.expected == Expected::Public && resolver.is_none() {
            return Finding::skipped(
                CHECK,
                &private.name,
                "it is public for this host, and no resolver of the VPC answers",
            );
        }
        let v6_alone = matches!(private.expected, Expected::Endpoint(endpoint)
            if { let addresses = view.addresses_of(endpoint); !addresses.is_empty() && addresses.iter().all(IpAddr::is_ipv6) });
        let kind = if v6_alone { RecordType::AAAA } else { RecordType::A };
        judge(config, view, private, &heard(server, &private.name, kind))
    });
    if view.names.is_empty() {
        findings.push(Finding::skipped(CHECK, "all names", "the configuration has none"));
    }
    if view.more > 0 {
        let said = format!("only {SAMPLE} of them are asked for, the first of each [[bucket]]");
        findings.push(Finding::skipped(CHECK, format!("{} further names", view.more), said));
    }
    findings
}

/// What phzd said of a name, against what it should have said.
fn judge(config: &Config, view: &View<'_>, private: &Private, heard: &Result<Heard, String>) -> Finding {
    let name = &private.name;
    let reload = "systemctl reload phzd, if the configuration has changed since; its log says what it goes by";
    let said = match heard {
        Ok(heard) => heard,
        Err(_) if private.expected == Expected::Denied(Others::Drop) => {
            return Finding::ok(CHECK, name, format!("{} is not allowed and gets no reply", view.counts_as()));
        }
        Err(why) => return Finding::failure(CHECK, name, format!("phzd does not answer: {why}"), reload),
    };
    let shown = said.shown();
    let of_an_endpoint =
        |address: &IpAddr| (0..config.endpoints.len()).any(|endpoint| view.addresses_of(endpoint).contains(address));
    match private.expected {
        Expected::Endpoint(endpoint) => {
            let own = view.addresses_of(endpoint);
            let whose = config.endpoints.get(endpoint);
            if own.is_empty() {
                return Finding::skipped(
                    CHECK,
                    name,
                    format!("phzd says {shown}; the endpoint's addresses are unknown"),
                );
            }
            if !said.addresses.is_empty() && said.addresses.iter().all(|address| own.contains(address)) {
                return Finding::ok(CHECK, name, format!("{shown}, the endpoint"));
            }
            let down = whose.is_some_and(|endpoint| {
                let may = endpoint.health_check.is_some() || matches!(endpoint.addresses, Addresses::Learned(_));
                may && endpoint.when_down == WhenDown::Forward
            });
            if down && !said.addresses.iter().any(of_an_endpoint) && said.code == ResponseCode::NoError {
                let said = format!("public, {shown}: phzd takes the endpoint for down, and when-down is \"forward\"");
                return Finding::warning(CHECK, name, said, "phzd's log says since when, and why");
            }
            let expected = list(&own);
            Finding::failure(CHECK, name, format!("phzd says {shown}, and the endpoint has {expected}"), reload)
        }
        Expected::Public if said.addresses.iter().any(of_an_endpoint) => {
            let said = format!("phzd says {shown}, an endpoint, and {} is not allowed", view.counts_as());
            Finding::failure(CHECK, name, said, reload)
        }
        Expected::Public if !matches!(said.code, ResponseCode::NoError | ResponseCode::NXDomain) => {
            let said = format!("phzd says {shown}, and a resolver should have been asked");
            Finding::failure(CHECK, name, said, "phzd's log says what is wrong with its resolvers")
        }
        Expected::Public => {
            let said = format!("public as it should be, since {} is not allowed: {shown}", view.counts_as());
            Finding::ok(CHECK, name, said)
        }
        Expected::Denied(others) => {
            let code = match others {
                Others::NxDomain => ResponseCode::NXDomain,
                Others::Refused => ResponseCode::Refused,
                Others::NoData | Others::Forward | Others::Drop => ResponseCode::NoError,
            };
            if said.code == code && said.addresses.is_empty() {
                return Finding::ok(CHECK, name, format!("{shown}, since {} is not allowed", view.counts_as()));
            }
            let expected = mnemonic(code);
            Finding::failure(
                CHECK,
                name,
                format!("phzd says {shown}, and its zone {expected} without an address"),
                reload,
            )
        }
        Expected::Else => Finding::skipped(CHECK, name, format!("another zone has it: {shown}")),
    }
}

/// Asks the VPC's resolver for each name: what it gives to all hosts, whatever phzd says.
pub fn hosted_zones(config: &Config, view: &View<'_>, resolver: Option<SocketAddr>) -> Vec<Finding> {
    let Some(resolver) = resolver else {
        let of = list(&config.vpc.resolvers);
        return vec![Finding::skipped(HOSTED_ZONE, of, "no resolver of the VPC answers")];
    };
    let said = each(&view.names, |private| heard(resolver, &private.name, RecordType::A));
    let (mut findings, mut public, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for (private, said) in view.names.iter().zip(said) {
        let name = &private.name;
        match said {
            Err(why) => findings.push(Finding::skipped(HOSTED_ZONE, name, format!("{}: {why}", resolver.ip()))),
            Ok(said) if said.addresses.iter().any(|address| view.is_private(*address)) => {
                let said = format!(
                    "{} says {} by itself: a hosted zone, or the endpoint's private DNS, is there too",
                    resolver.ip(),
                    said.shown()
                );
                let remedy = "hosts that phzd keeps public get the private address as well and hang, and a hosted zone costs \
                              0.50 USD a month: take the zone from this VPC (aws route53 disassociate-vpc-from-hosted-zone), \
                              or private DNS from the endpoint; with either for all hosts, phzd is not needed";
                findings.push(Finding::warning(HOSTED_ZONE, name, said, remedy));
            }
            Ok(said) if said.code != ResponseCode::NoError => missing.push((name.clone(), said.shown())),
            Ok(_) => public.push(name.clone()),
        }
    }
    for (name, code) in missing {
        findings.push(Finding::ok(HOSTED_ZONE, name, format!("none: {} says {code}", resolver.ip())));
    }
    if !public.is_empty() {
        let said = format!("none: {} has public addresses only", resolver.ip());
        findings.push(Finding::ok(HOSTED_ZONE, list(&public), said));
    }
    findings
}
