//! Interface endpoints: their addresses, stated or to be learned, their health checks, and the private DNS names of their
//! services.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Judge;
use super::access::{Access, near_hint};
use super::audience::Owned;
use super::claim::{Claim, Contents};
use super::network::Ground;
use crate::config::file::{self, Written};
use crate::config::limit;
use crate::config::near::nearest;
use crate::config::problem::{Place, Problem};
use crate::config::zone_file::is_within;
use crate::config::{
    Addresses, Affinity, Channel, Data, DnsName, Endpoint, EndpointAddress, Except, HealthCheck, RecordSet, Rule,
    Stated, WhenDown,
};
use crate::wire::Name;
use crate::zone::partition::{looks_like_region, suffix};
use crate::zone::service::{self, UnknownService};

/// What endpoints depend on beside their own table.
pub(super) struct Surroundings<'a> {
    pub ground: &'a Ground<'a>,
    pub owned: &'a [Owned],
    pub rules: &'a [Option<Rule>],
    /// Where a name is looked up that no rule covers.
    pub resolvers: Vec<SocketAddr>,
    /// Availability Zones: name and id.
    pub az_ids: Vec<(String, String)>,
}

impl Judge<'_> {
    /// Every `[[endpoint]]`, `None` for one that is wrong, and the zones of their private DNS names.
    pub(super) fn endpoints(&mut self, around: &Surroundings<'_>) -> (Vec<Option<Endpoint>>, Vec<Claim>) {
        let file = self.file;
        let mut names: HashMap<&str, &Written<String>> = HashMap::new();
        let (mut endpoints, mut claims) = (Vec::new(), Vec::new());
        for (index, endpoint) in file.endpoints.iter().enumerate() {
            let name = self.required(&endpoint.name, &endpoint.origin, "name");
            if let Some(name) = name {
                if let Some(earlier) = names.insert(&name.value, name) {
                    let problem =
                        Problem::mistake(name.place.as_ref(), format!("two endpoints are named {:?}", name.value));
                    let problem = problem.note(earlier.place.as_ref(), "the other is here");
                    self.problems.push(problem.hint("give each a name of its own, or one endpoint all addresses"));
                }
                self.warn_if_unused(endpoint, name);
            }
            let affinity = self.affinity(endpoint, around);
            let addresses = self.addresses_of(endpoint, affinity, around);
            let health_check = self.health_check(endpoint);
            let when_down = self.when_down(endpoint);
            let ttl = self.number(&endpoint.ttl, limit::ENDPOINT_TTL);
            let meant = || {
                Some(Endpoint {
                    name: name?.value.clone(),
                    addresses: addresses?,
                    affinity: affinity?,
                    ttl,
                    health_check: health_check?,
                    when_down: when_down?,
                    stated: Stated::at(endpoint.origin.place.as_ref()),
                })
            };
            endpoints.push(meant());
            claims.extend(self.private_dns(endpoint, index, around));
        }
        (endpoints, claims)
    }

    fn warn_if_unused(&mut self, endpoint: &file::Endpoint, name: &Written<String>) {
        let file = self.file;
        let aliases = || file.zones.iter().flat_map(|zone| &zone.records).flat_map(|list| &list.value);
        let aliases = || aliases().filter_map(|record| record.value.alias.as_ref());
        let buckets = || file.buckets.iter().filter_map(|bucket| bucket.endpoint.as_ref());
        // A bucket whose endpoint is a slip may have meant any of them.
        let named = |text: &Written<String>| file.endpoints.iter().any(|it| name_of(it) == Some(text.value.as_str()));
        let all_known = !file.incomplete
            && file.buckets.iter().all(|bucket| bucket.endpoint.is_some())
            && buckets().chain(aliases()).all(named);
        let used = buckets().chain(aliases()).any(|used| used.value == name.value) || endpoint.names.is_some();
        if all_known && !used {
            let problem = Problem::warning(name.place.as_ref(), format!("nothing uses the endpoint {:?}", name.value));
            self.problems.push(problem.hint("name it as a bucket's endpoint or a record's alias, or remove it"));
        }
    }

    /// The index of the endpoint called so.
    pub(super) fn endpoint_named(&mut self, text: &Written<String>) -> Option<usize> {
        let file = self.file;
        let found = file.endpoints.iter().position(|endpoint| name_of(endpoint) == Some(text.value.as_str()));
        let hidden = file.incomplete || file.endpoints.iter().any(|endpoint| endpoint.name.is_none());
        if found.is_none() && !hidden {
            let hint = near_hint(&text.value, file.endpoints.iter().filter_map(name_of), "endpoint");
            let problem = Problem::mistake(text.place.as_ref(), format!("no endpoint is named {:?}", text.value));
            self.problems.push(problem.hint(hint));
        }
        found
    }

    fn addresses_of(
        &mut self,
        endpoint: &file::Endpoint,
        affinity: Option<Affinity>,
        around: &Surroundings<'_>,
    ) -> Option<Addresses> {
        let Some(text) = &endpoint.dns_name else {
            return Some(Addresses::Stated(self.stated(endpoint, around.ground)));
        };
        if let Some(list) = &endpoint.addresses {
            let problem = Problem::mistake(text.place.as_ref(), "dns-name beside addresses");
            let problem = problem.note(list.place.as_ref(), "the addresses are here");
            self.problems.push(problem.hint("addresses are stated or looked up: remove one of them"));
        }
        self.dns_name(text, endpoint, affinity, around).map(Addresses::Learned)
    }

    fn stated(&mut self, endpoint: &file::Endpoint, ground: &Ground<'_>) -> Vec<EndpointAddress> {
        let list = endpoint.addresses.as_ref();
        if list.is_none_or(|list| list.value.is_empty()) {
            let place = list.and_then(|list| list.place.as_ref()).or(endpoint.origin.place.as_ref());
            let problem = Problem::mistake(place, "an endpoint without an address");
            let hint =
                "add addresses = [\"172.31.1.152\"], the private addresses of its network interfaces, or its dns-name";
            self.absent(&endpoint.origin, problem.hint(hint));
        }
        let mut seen: HashMap<IpAddr, Option<&Place>> = HashMap::new();
        let mut addresses = Vec::new();
        for address in list.iter().flat_map(|list| &list.value) {
            let Some(text) = &address.value.ip else { continue };
            let az_id = self.az_id(&address.value.az_id);
            let Some(ip) = self.address(text) else { continue };
            if let Some(earlier) = seen.insert(ip.value, text.place.as_ref()) {
                let problem = Problem::mistake(text.place.as_ref(), format!("{} is given twice", ip.value));
                self.problems.push(problem.note(earlier, "the first is here").hint("keep one of them"));
            }
            let in_vpc = ground.cidrs.iter().any(|cidr| cidr.value.contains(&ip.value));
            if !in_vpc && !may_be_private(ip.value) {
                let problem = Problem::warning(text.place.as_ref(), format!("{} is not a private address", ip.value));
                self.problems.push(problem.hint("write the addresses of the endpoint's network interfaces in the VPC"));
            }
            addresses.push(EndpointAddress { ip: ip.value, az_id });
        }
        addresses
    }

    /// An endpoint's DNS name, in the form that has no `*.` or `bucket.` before it.
    fn dns_name(
        &mut self,
        text: &Written<String>,
        endpoint: &file::Endpoint,
        affinity: Option<Affinity>,
        around: &Surroundings<'_>,
    ) -> Option<DnsName> {
        let place = text.place.as_ref();
        let lower = text.value.trim_end_matches('.').to_ascii_lowercase();
        let fronts = ["*.", "bucket.", "accesspoint.", "control."];
        let bare = fronts.iter().find_map(|front| lower.strip_prefix(front).filter(|rest| rest.starts_with("vpce-")));
        let bare = bare.unwrap_or(&lower);
        let Some(name) = bare.parse::<Name>().ok().filter(|_| !bare.contains(['*', '/', ' ']) && bare.contains('.'))
        else {
            let problem = Problem::mistake(place, format!("{:?} is not a DNS name", text.value));
            let hint = "write the endpoint's: vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com";
            self.problems.push(problem.hint(hint));
            return None;
        };
        let shape = Vpce::read(bare);
        match &shape {
            None => {
                let message = format!("{bare} is not the DNS name of an interface endpoint");
                let hint =
                    "it is looked up all the same; an endpoint's begins with vpce- and ends in .vpce.amazonaws.com";
                self.problems.push(Problem::warning(place, message).hint(hint));
            }
            Some(vpce) => self.warn_of_region(vpce, text, endpoint),
        }
        let az = shape.as_ref().and_then(|vpce| around.az_ids.iter().find(|(az, _)| Some(az.as_str()) == vpce.az));
        let regional = shape.as_ref().filter(|vpce| vpce.az.is_none() && affinity == Some(Affinity::SameAz));
        let zonal = regional.iter().flat_map(|vpce| {
            let of = |(az, id): &(String, String)| Some((vpce.zonal(az).parse().ok()?, id.clone()));
            around.az_ids.iter().filter_map(of)
        });
        Some(DnsName {
            az_id: az.map(|(_, id)| id.clone()),
            zonal: zonal.collect(),
            resolvers: around.resolvers_for(&name),
            name,
        })
    }

    /// An endpoint of another region or service than what is said elsewhere.
    fn warn_of_region(&mut self, vpce: &Vpce<'_>, text: &Written<String>, endpoint: &file::Endpoint) {
        let file = self.file;
        let place = text.place.as_ref();
        if let Some((region, service)) = endpoint.service.as_ref().and_then(|service| service::parts(&service.value)) {
            let reversed: Vec<&str> = service.split('.').rev().collect();
            let other = vpce.service != service && vpce.service != reversed.join(".");
            if region != vpce.region || other {
                let problem =
                    Problem::warning(place, "this endpoint is for another service or region than `service` says");
                let stated = endpoint.service.as_ref().and_then(|service| service.place.as_ref());
                self.problems.push(problem.note(stated, "the service is here").hint("correct one of them"));
            }
            return;
        }
        let mine = file.buckets.iter().filter(|bucket| {
            bucket.endpoint.as_ref().map(|it| &it.value) == endpoint.name.as_ref().map(|it| &it.value)
        });
        let regions = mine.filter_map(|bucket| bucket.region.as_ref().or(file.vpc.region.as_ref()));
        if let Some(other) = regions.into_iter().find(|region| region.value != vpce.region) {
            let message = format!("this endpoint is in {}, its buckets in {}", vpce.region, other.value);
            let hint = "S3 redirects requests for another region's bucket: name an endpoint of that region";
            self.problems.push(Problem::warning(place, message).hint(hint));
        }
    }

    fn affinity(&mut self, endpoint: &file::Endpoint, around: &Surroundings<'_>) -> Option<Affinity> {
        let Some(text) = &endpoint.affinity else { return Some(Affinity::None) };
        let affinity = self.word(text, "affinity", &[("none", Affinity::None), ("same-az", Affinity::SameAz)])?;
        if affinity == Affinity::SameAz {
            let located = around.ground.subnets.iter().any(|subnet| subnet.az_id.is_some());
            let list = endpoint.addresses.iter().flat_map(|list| &list.value);
            let known = endpoint.dns_name.is_some() && !around.az_ids.is_empty();
            let problem = if !located {
                let problem = Problem::warning(text.place.as_ref(), "same-az has no effect: no subnet has an az-id");
                Some(problem.hint("add az-id = \"apne1-az4\" to the subnets"))
            } else if !known && !list.clone().any(|address| address.value.az_id.is_some()) {
                let problem = Problem::warning(text.place.as_ref(), "same-az has no effect: no address has an az-id");
                Some(problem.hint(match endpoint.dns_name {
                    None => "write { ip = \"172.31.1.152\", az-id = \"apne1-az4\" }",
                    Some(_) => "add az-ids = { ap-northeast-1a = \"apne1-az4\" } to [vpc], so that zonal names can be looked up",
                }))
            } else {
                None
            };
            self.problems.extend(problem);
        }
        Some(affinity)
    }

    /// `None` for a mistake, `Some(None)` where health is not looked at.
    fn health_check(&mut self, endpoint: &file::Endpoint) -> Option<Option<HealthCheck>> {
        let interval = self.number(&endpoint.interval_seconds, limit::HEALTH_INTERVAL);
        let failures = self.number(&endpoint.failures, limit::HEALTH_FAILURES);
        let successes = self.number(&endpoint.successes, limit::HEALTH_SUCCESSES);
        let written = endpoint.health_check.as_ref();
        let off = written.is_none_or(|text| text.value == "off");
        if off {
            let numbers = [&endpoint.interval_seconds, &endpoint.failures, &endpoint.successes];
            for number in numbers.into_iter().flatten() {
                let problem = Problem::warning(number.place.as_ref(), "this has no effect without a health-check");
                self.problems.push(problem.hint("add health-check = \"tcp:443\", or remove this"));
            }
            return Some(None);
        }
        let text = written?;
        let port = text.value.strip_prefix("tcp:").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let Some(port) = port else {
            let problem = Problem::mistake(text.place.as_ref(), format!("health-check cannot be {:?}", text.value));
            self.problems.push(problem.hint("write \"off\", or \"tcp:443\" for a connection to that port"));
            return None;
        };
        Some(Some(HealthCheck { port, interval: Duration::from_secs(interval.into()), failures, successes }))
    }

    fn when_down(&mut self, endpoint: &file::Endpoint) -> Option<WhenDown> {
        let Some(text) = &endpoint.when_down else { return Some(WhenDown::Answer) };
        let words = [("answer", WhenDown::Answer), ("forward", WhenDown::Forward)];
        let when_down = self.word(text, "when-down", &words)?;
        let checked = endpoint.health_check.as_ref().is_some_and(|text| text.value != "off");
        if when_down == WhenDown::Forward && !checked && endpoint.dns_name.is_none() {
            let problem =
                Problem::warning(text.place.as_ref(), "this has no effect: nobody looks whether addresses work");
            self.problems.push(problem.hint("add health-check = \"tcp:443\""));
        }
        Some(when_down)
    }
}

/// Private DNS names.
impl Judge<'_> {
    /// The zones of the names that are to resolve to an endpoint.
    fn private_dns(&mut self, endpoint: &file::Endpoint, index: usize, around: &Surroundings<'_>) -> Vec<Claim> {
        let Some(list) = &endpoint.names else {
            self.only_with_names(endpoint);
            return Vec::new();
        };
        let mut zones: Vec<(Name, Option<Place>, bool, bool)> = Vec::new();
        let written = list.value.iter().flat_map(|text| match text.value.as_str() {
            "private-dns" => self.service_names(endpoint, text).into_iter().map(|name| text.with(name)).collect(),
            _ => vec![text.clone()],
        });
        for name in written.collect::<Vec<_>>() {
            let (wild, host) = match name.value.strip_prefix("*.") {
                Some(host) => (true, host),
                None => (false, name.value.as_str()),
            };
            let Some(zone) = self.domain(&name.with(host.to_owned())) else { continue };
            match zones.iter_mut().find(|(known, ..)| *known == zone) {
                Some((_, _, apex, below)) => (*apex, *below) = (*apex || !wild, *below || wild),
                None => zones.push((zone, name.place.clone(), !wild, wild)),
            }
        }
        let access = Access {
            origin: &endpoint.origin,
            names: list.place.as_ref(),
            allow: &endpoint.allow,
            others: &endpoint.others,
            below: &None,
        };
        let access = self.access(&access, around.ground, around.owned);
        let claim = |(zone, place, apex, below): (Name, Option<Place>, bool, bool)| {
            let star = below.then(|| format!("*.{zone}").parse().ok()).flatten();
            let owners = star.into_iter().chain(apex.then(|| zone.clone()));
            let records = owners.map(|owner| RecordSet { owner, data: Data::Alias(index) }).collect();
            // A wildcard says nothing of the name that it stands below.
            let except = Except { names: if apex { Vec::new() } else { vec![zone.clone()] }, ..Except::default() };
            let contents = Contents::Records(Some(records), except);
            Claim { names: vec![(zone, place)], access: access.clone(), contents }
        };
        zones.into_iter().map(claim).collect()
    }

    /// `names = "private-dns"`.
    fn service_names(&mut self, endpoint: &file::Endpoint, names: &Written<String>) -> Vec<String> {
        let Some(text) = &endpoint.service else {
            let problem = Problem::mistake(names.place.as_ref(), "private-dns needs to know the service");
            self.absent(&endpoint.origin, problem.hint("add service = \"com.amazonaws.ap-northeast-1.kms\""));
            return Vec::new();
        };
        let place = text.place.as_ref();
        let (message, hint) = match service::private_dns(&text.value) {
            Ok(found) => {
                if !found.confirmed {
                    let message =
                        format!("that its private DNS is {} could not be confirmed", found.names.join(" and "));
                    let hint =
                        "look at the endpoint's own list in the AWS console, and write names = [\"…\"] if it differs";
                    self.problems.push(Problem::warning(place, message).hint(hint));
                }
                return found.names;
            }
            Err(UnknownService::Form) => (
                format!("{:?} is not the name of a service", text.value),
                format!(
                    "write it as AWS does: com.amazonaws.ap-northeast-1.{}",
                    service::called(&text.value).unwrap_or("kms")
                ),
            ),
            Err(UnknownService::Region(region)) => (
                format!("{region:?} in {:?} is not a region", text.value),
                "write com.amazonaws.REGION.SERVICE; for a service of somebody else write names = [\"…\"]".to_owned(),
            ),
            Err(UnknownService::S3) => (
                "the private DNS names of S3 are its buckets".to_owned(),
                "write a [[bucket]] with names = [\"*\"] and this endpoint".to_owned(),
            ),
            Err(UnknownService::Service(service)) => {
                let near = near_services(&service);
                let hint = match near.is_empty() {
                    true => "write its names by hand: names = [\"…\"]".to_owned(),
                    false => format!("did you mean {}? Or write names = [\"…\"]", near.join(", ")),
                };
                (format!("the service {service:?} is not known here"), hint)
            }
        };
        self.problems.push(Problem::mistake(place, message).hint(hint));
        Vec::new()
    }

    /// `allow` and `others` say who has `names`.
    fn only_with_names(&mut self, endpoint: &file::Endpoint) {
        let allow = endpoint.allow.as_ref().map(|list| list.place.clone());
        let others = endpoint.others.as_ref().map(|text| text.place.clone());
        for place in [allow, others].into_iter().flatten() {
            let problem = Problem::mistake(place.as_ref(), "this is for the names of an endpoint, and there are none");
            self.problems.push(problem.hint("buckets and zones have their own; for private DNS names add names"));
        }
    }
}

impl Surroundings<'_> {
    /// Whom to ask for `name`, in this order: the targets of the longest rule that covers it, where it has a fallback the
    /// VPC's resolvers after them; else the VPC's resolvers.
    fn resolvers_for(&self, name: &Name) -> Vec<SocketAddr> {
        let covering = self.rules.iter().flatten().filter(|rule| is_within(name, &rule.domain));
        let longest = covering.max_by_key(|rule| rule.domain.label_count());
        let targets = longest.into_iter().flat_map(|rule| &rule.targets);
        let plain = targets.filter(|target| target.channel == Channel::Plain);
        let mut asked: Vec<SocketAddr> = plain.map(|target| target.address).collect();
        if asked.is_empty() || longest.is_some_and(|rule| rule.fallback) {
            asked.extend(self.resolvers.iter().filter(|resolver| !asked.contains(resolver)).collect::<Vec<_>>());
        }
        asked
    }
}

/// Services that may be meant by one that is not known: by its host's name, by a slip, by a part of the name.
fn near_services(service: &str) -> Vec<&'static str> {
    let parts = |name| str::split(name, ['.', '-']);
    let related = service::known().filter(|known| parts(known).any(|part| parts(service).any(|it| it == part)));
    let mut near: Vec<&str> = Vec::new();
    for known in service::called(service).into_iter().chain(nearest(service, service::known())).chain(related) {
        if !near.contains(&known) {
            near.push(known);
        }
    }
    near.truncate(4);
    near
}

/// The parts of `vpce-ID-SUFFIX[-AZ].SERVICE.REGION.vpce.SUFFIX`.
struct Vpce<'t> {
    /// Up to the Availability Zone.
    front: &'t str,
    /// Name of the Availability Zone, in a zonal name.
    az: Option<&'t str>,
    service: &'t str,
    region: &'t str,
    /// From the service on.
    tail: &'t str,
}

impl<'t> Vpce<'t> {
    fn read(name: &'t str) -> Option<Self> {
        let (first, tail) = name.split_once('.')?;
        let (rest, partition) = tail.split_once(".vpce.")?;
        let (service, region) = rest.rsplit_once('.')?;
        let id = first.strip_prefix("vpce-")?;
        let az = id.find(region).map(|at| id.get(at..)).unwrap_or_default();
        let front = az.map_or(first, |az| first.strip_suffix(az).unwrap_or(first).trim_end_matches('-'));
        let plausible = looks_like_region(region) && suffix(region) == partition && front.matches('-').count() == 2;
        plausible.then_some(Self { front, az, service, region, tail })
    }

    /// The same endpoint's name in the Availability Zone called `az`.
    fn zonal(&self, az: &str) -> String {
        format!("{}-{az}.{}", self.front, self.tail)
    }
}

fn name_of(endpoint: &file::Endpoint) -> Option<&str> {
    endpoint.name.as_ref().map(|name| name.value.as_str())
}

/// Whether a host of some VPC may have this address. Those of IPv6 are global ones there.
fn may_be_private(ip: IpAddr) -> bool {
    match ip {
        // RFC 1918, and the block that RFC 6598 keeps for networks between.
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_endpoints_dns_name() {
        let regional = Vpce::read("vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com").unwrap();
        assert_eq!((regional.service, regional.region, regional.az), ("s3", "ap-northeast-1", None));
        let zonal = regional.zonal("ap-northeast-1a");
        assert_eq!(zonal, "vpce-0123456789abcdef0-abcdefgh-ap-northeast-1a.s3.ap-northeast-1.vpce.amazonaws.com");
        let zonal = Vpce::read(&zonal).unwrap();
        assert_eq!((zonal.front, zonal.az), ("vpce-0123456789abcdef0-abcdefgh", Some("ap-northeast-1a")));
        let registry = Vpce::read("vpce-1a2b3c4d-5e6f.dkr.ecr.cn-north-1.vpce.amazonaws.com.cn").unwrap();
        assert_eq!((registry.service, registry.region), ("dkr.ecr", "cn-north-1"));
        for other in
            ["www.example.com", "vpce-1.s3.ap-northeast-1.vpce.amazonaws.com", "vpce-1-2.s3.tokyo.vpce.amazonaws.com"]
        {
            assert!(Vpce::read(other).is_none(), "{other}");
        }
    }
}
