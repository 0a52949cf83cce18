//! Endpoints and buckets: names, who may have them, and which of them contradict each other.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::Judge;
use super::audience::{Owned, inside, overlap};
use super::network::Ground;
use crate::config::file::{self, NamesFile, Written};
use crate::config::limit;
use crate::config::near::nearest;
use crate::config::problem::{Place, Problem, Source};
use crate::config::{Addresses, Affinity, Audience, Below, Bucket, Endpoint, EndpointAddress, Others, WhenDown};
use crate::wire::Name;
use crate::zone::bucket::{self, Hosts, alias, owner};

/// A `[[bucket]]` as far as it is right.
pub(super) struct Judged {
    pub names: Vec<(Name, Option<Place>)>,
    endpoint: Option<usize>,
    allow: Option<Audience>,
    others: Option<Written<Others>>,
    below: Option<Below>,
}

impl Judged {
    /// As meant; `None` if something is wrong with it.
    pub fn meant(self) -> Option<Bucket> {
        Some(Bucket {
            names: self.names.into_iter().map(|(name, _)| name).collect(),
            endpoint: self.endpoint?,
            allow: self.allow?,
            others: self.others?.value,
            below: self.below?,
        })
    }
}

impl Judge<'_> {
    /// Every `[[endpoint]]`, `None` for one that has no name.
    pub(super) fn endpoints(&mut self, ground: &Ground<'_>) -> Vec<Option<Endpoint>> {
        let file = self.file;
        let mut names: HashMap<&str, &Written<String>> = HashMap::new();
        let mut endpoints = Vec::new();
        // A bucket whose endpoint is a slip may have meant any of them.
        let named = |text: &Written<String>| file.endpoints.iter().any(|it| name_of(it) == Some(text.value.as_str()));
        let all_known = !file.incomplete && file.buckets.iter().all(|it| it.endpoint.as_ref().is_none_or(named));
        for endpoint in &file.endpoints {
            let name = self.required(&endpoint.name, &endpoint.origin, "name");
            if let Some(name) = name {
                if let Some(earlier) = names.insert(&name.value, name) {
                    let problem =
                        Problem::mistake(name.place.as_ref(), format!("two endpoints are named {:?}", name.value));
                    let problem = problem.note(earlier.place.as_ref(), "the other is here");
                    self.problems.push(problem.hint("give each a name of its own, or one endpoint all addresses"));
                }
                let used = |bucket: &file::Bucket| bucket.endpoint.as_ref().is_none_or(|used| used.value == name.value);
                if all_known && !file.buckets.iter().any(used) {
                    let problem =
                        Problem::warning(name.place.as_ref(), format!("no bucket uses the endpoint {:?}", name.value));
                    self.problems.push(problem.hint("name it as a bucket's endpoint, or remove it"));
                }
            }
            let addresses = self.endpoint_addresses(endpoint, ground);
            let ttl = self.number(&endpoint.ttl, limit::ENDPOINT_TTL);
            endpoints.push(name.map(|name| Endpoint {
                name: name.value.clone(),
                addresses: Addresses::Stated(addresses),
                affinity: Affinity::None,
                ttl,
                health_check: None,
                when_down: WhenDown::Answer,
            }));
        }
        endpoints
    }

    fn endpoint_addresses(&mut self, endpoint: &file::Endpoint, ground: &Ground<'_>) -> Vec<EndpointAddress> {
        let list = endpoint.addresses.as_ref();
        if list.is_none_or(|list| list.value.is_empty()) {
            let place = list.and_then(|list| list.place.as_ref()).or(endpoint.origin.place.as_ref());
            let problem = Problem::mistake(place, "an endpoint without an address");
            let hint = "add addresses = [\"172.31.1.152\"]: the private addresses of its network interfaces";
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

    /// Every `[[bucket]]`.
    pub(super) fn buckets(&mut self, ground: &Ground<'_>) -> Vec<Judged> {
        let file = self.file;
        let owned = ground.owned();
        let buckets: Vec<Judged> = file.buckets.iter().map(|bucket| self.bucket(bucket, ground, &owned)).collect();
        self.compare(&buckets, &owned);
        buckets
    }

    fn bucket(&mut self, bucket: &file::Bucket, ground: &Ground<'_>, owned: &[Owned]) -> Judged {
        let names = self.names(bucket);
        let endpoint = self.endpoint_of(bucket);
        let allow = self.allow(bucket, ground, owned);
        let words = [
            ("forward", Others::Forward),
            ("nxdomain", Others::NxDomain),
            ("nodata", Others::NoData),
            ("refused", Others::Refused),
            ("drop", Others::Drop),
        ];
        let others = match &bucket.others {
            Some(text) => self.word(text, "others", &words).map(|others| text.with(others)),
            None => Some(Others::Forward.into()),
        };
        if let Some(others) = &others {
            self.warn_of_others(others, bucket);
        }
        let words = [("nxdomain", Below::NxDomain), ("forward", Below::Forward)];
        let below = match &bucket.below {
            Some(text) => self.word(text, "below", &words),
            None => Some(Below::NxDomain),
        };
        Judged { names, endpoint, allow, others, below }
    }

    /// One word of a few.
    fn word<T: Copy>(&mut self, text: &Written<String>, key: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == text.value).map(|&(_, meaning)| meaning);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
            let hint = match nearest(&text.value, all.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("write one of {}", all.join(", ")),
            };
            let problem = Problem::mistake(text.place.as_ref(), format!("{key} cannot be {:?}", text.value));
            self.problems.push(problem.hint(hint));
        }
        found
    }

    fn warn_of_others(&mut self, others: &Written<Others>, bucket: &file::Bucket) {
        let place = others.place.as_ref();
        if bucket.allow.is_none() && bucket.others.is_some() {
            let problem = Problem::warning(place, "others has no effect: without allow there are no other clients");
            self.problems.push(problem.hint("add allow, or remove others"));
        } else if matches!(others.value, Others::Refused | Others::Drop) {
            let problem = Problem::warning(place, "this hides nothing: a stub resolver asks its next server");
            self.problems.push(problem.hint("only nxdomain and nodata are final"));
        }
    }

    fn endpoint_of(&mut self, bucket: &file::Bucket) -> Option<usize> {
        let text = self.required(&bucket.endpoint, &bucket.origin, "endpoint")?;
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

    fn allow(&mut self, bucket: &file::Bucket, ground: &Ground<'_>, owned: &[Owned]) -> Option<Audience> {
        let Some(list) = &bucket.allow else {
            if !ground.subnets.is_empty() {
                let place =
                    bucket.names.as_ref().and_then(|names| names.place.as_ref()).or(bucket.origin.place.as_ref());
                let problem =
                    Problem::warning(place, "without allow every client that may ask gets the endpoint's address");
                self.absent(
                    &bucket.origin,
                    problem.hint("add allow = [\"…\"] with the subnets that reach the endpoint"),
                );
            }
            return Some(Audience::Everyone);
        };
        if list.value.is_empty() {
            let problem = Problem::mistake(list.place.as_ref(), "allow is empty: nobody would get the endpoint");
            self.problems.push(problem.hint("name subnets or blocks, or leave allow out for every client"));
            return None;
        }
        let (mut subnets, mut blocks) = (Vec::new(), Vec::new());
        let mut whole = true;
        for text in &list.value {
            let named =
                |subnet: &super::network::JudgedSubnet<'_>| subnet.name.is_some_and(|name| name.value == text.value);
            if let Some(index) = ground.subnets.iter().position(named) {
                subnets.push(text.with(index));
            } else if looks_like_block(&text.value) {
                match self.block(text) {
                    Some(block) => blocks.push(block),
                    None => whole = false,
                }
            } else {
                whole = false;
                self.unknown_subnet(text, ground);
            }
        }
        self.warn_of_audience(&subnets, &blocks, ground, owned);
        let mut subnets: Vec<usize> = subnets.into_iter().map(|subnet| subnet.value).collect();
        let mut blocks: Vec<IpNet> = blocks.into_iter().map(|block| block.value).collect();
        subnets.sort_unstable();
        subnets.dedup();
        blocks.sort_unstable();
        blocks.dedup();
        whole.then_some(Audience::Only { subnets, blocks })
    }

    fn unknown_subnet(&mut self, text: &Written<String>, ground: &Ground<'_>) {
        if self.file.incomplete || ground.subnets.iter().any(|subnet| subnet.name.is_none()) {
            return;
        }
        let names = ground.subnets.iter().filter_map(|subnet| subnet.name).map(|name| name.value.as_str());
        let hint = near_hint(&text.value, names, "subnet");
        let problem = Problem::mistake(text.place.as_ref(), format!("no subnet is named {:?}", text.value));
        self.problems.push(problem.hint(hint));
    }

    fn warn_of_audience(
        &mut self,
        subnets: &[Written<usize>],
        blocks: &[Written<IpNet>],
        ground: &Ground<'_>,
        owned: &[Owned],
    ) {
        for block in blocks {
            if !ground.cidrs.is_empty() && !ground.some_may_ask(block.value) {
                let problem = Problem::warning(block.place.as_ref(), format!("no client in {} may ask", block.value));
                self.absent(&self.file.vpc.origin, problem.hint("add it to server.clients, or look for a slip"));
            }
        }
        for subnet in subnets {
            let theirs = owned.iter().filter(|(owner, _)| *owner == subnet.value);
            for (longer, block) in theirs.flat_map(|&(_, block)| inside(block, owned)) {
                let allowed = subnets.iter().any(|other| other.value == longer)
                    || blocks.iter().any(|other| other.value.contains(&block));
                if allowed {
                    continue;
                }
                let name = |index: usize| {
                    let name = ground.subnets.get(index).and_then(|subnet| subnet.name);
                    name.map_or("", |name| name.value.as_str())
                };
                let (wide, long) = (name(subnet.value), name(longer));
                let message = format!("{wide:?} does not include {block}, which belongs to the subnet {long:?}");
                let problem = Problem::warning(subnet.place.as_ref(), message);
                self.problems.push(problem.hint(format!("if its clients are meant too, allow {long:?} as well")));
            }
        }
    }

    /// The hosts of all bucket names, of the list and of the file.
    fn names(&mut self, bucket: &file::Bucket) -> Vec<(Name, Option<Place>)> {
        let region = match (&bucket.region, &self.file.vpc.region) {
            (Some(region), _) => self.region(region),
            // Judged with [vpc].
            (None, Some(region)) => bucket::looks_like_region(&region.value).then_some(region.value.as_str()),
            (None, None) => {
                if !self.file.vpc.origin.damaged {
                    let problem =
                        Problem::mistake(bucket.origin.place.as_ref(), "neither this bucket nor [vpc] has a region");
                    self.absent(&bucket.origin, problem.hint("add region = \"ap-northeast-1\" to [vpc]"));
                }
                None
            }
        };
        let mut hosts = region.and_then(Hosts::of);
        let region = region.unwrap_or_default();
        let mut names = Vec::new();
        let empty = bucket.names.as_ref().is_none_or(|list| list.value.is_empty());
        if empty && bucket.names_file.is_none() {
            let place = bucket.names.as_ref().and_then(|list| list.place.as_ref()).or(bucket.origin.place.as_ref());
            let problem = Problem::mistake(place, "a bucket without names");
            self.absent(&bucket.origin, problem.hint("add names = [\"xxxxx-bucket\"] or names-file = \"buckets.txt\""));
        }
        for text in bucket.names.iter().flat_map(|list| &list.value) {
            names.extend(self.name(&text.value, region, hosts.as_mut(), || text.place.clone()));
        }
        if let Some(file) = &bucket.names_file
            && let Some(source) = self.names_text(file)
        {
            if file.value.anyone_may_write {
                let message = format!("every user of this machine may write {}", source.name());
                let problem = Problem::warning(file.place.as_ref(), message);
                self.problems.push(problem.hint(format!("chmod o-w {}", source.name())));
            }
            let before = self.problems.len();
            let listed = names.len();
            for (name, at) in lines(source) {
                let place = || Some(Place::new(source, at..at + name.len()));
                names.extend(self.name(name, region, hosts.as_mut(), place));
            }
            if hosts.is_some() && names.len() == listed && self.problems.len() == before {
                let problem = Problem::warning(file.place.as_ref(), format!("{} names no bucket", source.name()));
                self.problems.push(problem.hint("write a bucket's name a line"));
            }
        }
        names
    }

    /// The text of a names file, or the mistake that it cannot be read.
    fn names_text<'b>(&mut self, file: &'b Written<NamesFile>) -> Option<&'b std::sync::Arc<Source>> {
        match &file.value.text {
            Ok(source) => Some(source),
            Err(problem) if problem.place().is_some_and(|place| place.line_and_column().is_some()) => {
                self.problems.push(problem.clone());
                None
            }
            Err(problem) => {
                // Whoever reads this looks for the key, not for a file that is not there.
                self.problems.push(problem.clone().moved_to(file.place.as_ref()));
                None
            }
        }
    }

    /// The host of one bucket name, with the place to show if it contradicts another.
    fn name(
        &mut self,
        name: &str,
        region: &str,
        hosts: Option<&mut Hosts>,
        place: impl Fn() -> Option<Place>,
    ) -> Option<(Name, Option<Place>)> {
        if let Err(bad) = bucket::check(name) {
            let problem = Problem::mistake(place().as_ref(), format!("{name:?} {}", bad.reason));
            self.problems.push(problem.hint(bad.hint));
            return None;
        }
        if let Some(what) = alias(name) {
            let problem = Problem::warning(place().as_ref(), format!("{name:?} {what}"));
            self.problems.push(problem.hint("name the bucket itself, unless programs ask for this name"));
        } else if name.contains('.') {
            let message =
                format!("{name:?} has dots: S3's certificate does not cover its host, so SDKs ask by path instead");
            let hint = "requests by path go to s3.<region>, which stays public: expect this entry not to be used";
            self.problems.push(Problem::warning(place().as_ref(), message).hint(hint));
        }
        if let Some(owner) = owner(name, region) {
            let problem = Problem::warning(place().as_ref(), format!("{name:?} is a bucket of {owner}, not yours"));
            self.problems
                .push(problem.hint("its downloads fail unless the endpoint and its policy admit them: remove it"));
        }
        hosts?.host(name).map(|host| (host, place()))
    }

    /// One name in two places is legal only if no client would see both.
    fn compare<'b>(&mut self, buckets: &'b [Judged], owned: &[Owned]) {
        let of = |(index, bucket): (usize, &'b Judged)| std::iter::repeat(index).zip(&bucket.names);
        let count = buckets.iter().map(|bucket| bucket.names.len()).sum();
        let mut first = HashMap::with_capacity_and_hasher(count, RandomState::default());
        // Few names stand twice; those that do are kept apart, so that the others cost one entry each.
        let mut further: HashMap<&Name, Vec<(usize, &Option<Place>)>> = HashMap::new();
        let mut shared: HashMap<(usize, usize), bool> = HashMap::new();
        for (index, (name, place)) in buckets.iter().enumerate().flat_map(of) {
            let Some(&earliest) = first.get(name) else {
                first.insert(name, (index, place));
                continue;
            };
            let earlier = further.entry(name).or_insert_with(|| vec![earliest]);
            let clash = earlier.iter().find_map(|&(other, other_place)| {
                let overlapping = *shared.entry((other, index)).or_insert_with(|| {
                    let audience = |index: usize| buckets.get(index).and_then(|bucket| bucket.allow.as_ref());
                    other == index
                        || matches!((audience(other), audience(index)), (Some(one), Some(two)) if overlap(one, two, owned))
                });
                overlapping.then(|| {
                    let message = if other == index {
                        format!("{name} is named twice")
                    } else {
                        format!("{name} is configured twice for the same clients")
                    };
                    let problem = Problem::mistake(place.as_ref(), message).note(other_place.as_ref(), "the other is here");
                    problem.hint(match other == index {
                        true => "remove one",
                        false => "remove one, or let their allow lists share no client",
                    })
                })
            });
            self.problems.extend(clash.or_else(|| disagreement(buckets, index, earliest.0, name, place.as_ref())));
            earlier.push((index, place));
        }
    }
}

/// Two zones of one name with different `others`: a client that neither allows could get one or the other.
fn disagreement(buckets: &[Judged], one: usize, other: usize, name: &Name, place: Option<&Place>) -> Option<Problem> {
    let others = |index: usize| buckets.get(index)?.others.as_ref();
    let (mine, theirs) = (others(one)?, others(other)?);
    (mine.value != theirs.value).then(|| {
        let message = format!("{name} is configured twice with different others");
        let shown = mine.place.as_ref().or(place);
        let problem = Problem::mistake(shown, message).note(theirs.place.as_ref(), "the other is here");
        problem.hint("a client that neither allows can get only one answer: write the same others in both")
    })
}

/// The names in a names file, and where each begins: one a line, `#` begins a comment.
fn lines(source: &Source) -> impl Iterator<Item = (&str, usize)> {
    let mut at = 0;
    source.text().split('\n').filter_map(move |line| {
        let begin = at;
        at += line.len() + 1;
        // Some editors begin a file with a byte order mark.
        let plain = line.strip_prefix('\u{feff}').filter(|_| begin == 0).unwrap_or(line);
        let name = plain.split('#').next().unwrap_or("");
        let indent = line.len() - plain.len() + name.len() - name.trim_start().len();
        let name = name.trim();
        (!name.is_empty()).then_some((name, begin + indent))
    })
}

fn name_of(endpoint: &file::Endpoint) -> Option<&str> {
    endpoint.name.as_ref().map(|name| name.value.as_str())
}

/// Whether an `allow` entry that names no subnet was meant as a block.
fn looks_like_block(text: &str) -> bool {
    text.contains('/')
        || text.contains(':')
        || text.starts_with(|first: char| first.is_ascii_digit()) && text.contains('.')
}

fn near_hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone, what: &str) -> String {
    match (nearest(word, known.clone()), known.clone().next()) {
        (Some(near), _) => format!("did you mean {near:?}?"),
        (None, None) => format!("there is no [[{what}]] yet: add one with name = {word:?}"),
        (None, Some(_)) => {
            let mut named: Vec<String> = known.map(|name| format!("{name:?}")).collect();
            named.dedup();
            named.truncate(5);
            format!("add a [[{what}]] of that name, or use {}", named.join(", "))
        }
    }
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
    fn names_stand_one_a_line_with_comments() {
        let source = Source::new("x", "\u{feff}one # first\r\n\n# none\n  two\t\nthree");
        let found: Vec<(&str, usize)> = lines(&source).collect();
        let places: Vec<&str> = found.iter().map(|&(name, at)| &source.text()[at..at + name.len()]).collect();
        assert_eq!(places, ["one", "two", "three"]);
        assert_eq!(found.iter().map(|found| found.0).collect::<Vec<_>>(), places);
    }
}
