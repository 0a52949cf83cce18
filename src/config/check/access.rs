//! Whom a zone is for and what others get: `allow`, `others` and `below`, which all kinds of zones have.

use ipnet::IpNet;

use super::Judge;
use super::audience::{Owned, inside};
use super::network::{Ground, JudgedSubnet};
use crate::config::file::{List, Origin, Written};
use crate::config::near::nearest;
use crate::config::problem::{Place, Problem};
use crate::config::{Audience, Below, Others, Stated};

/// The keys as a table has them.
pub(super) struct Access<'f> {
    pub origin: &'f Origin,
    /// Where the names stand that this is about.
    pub names: Option<&'f Place>,
    pub allow: &'f Option<List>,
    pub others: &'f Option<Written<String>>,
    pub below: &'f Option<Written<String>>,
}

/// What they mean, as far as they are right.
#[derive(Clone)]
pub(super) struct JudgedAccess {
    pub allow: Option<Audience>,
    pub others: Option<Written<Others>>,
    pub below: Option<Below>,
    /// Where the table is that says so.
    pub stated: Stated,
}

impl Judge<'_> {
    /// Whom a zone is for, and what others get.
    pub(super) fn access(&mut self, access: &Access<'_>, ground: &Ground<'_>, owned: &[Owned]) -> JudgedAccess {
        let allow = self.allow(access, ground, owned);
        let words = [
            ("forward", Others::Forward),
            ("nxdomain", Others::NxDomain),
            ("nodata", Others::NoData),
            ("refused", Others::Refused),
            ("drop", Others::Drop),
        ];
        let others = match access.others {
            Some(text) => self.word(text, "others", &words).map(|others| text.with(others)),
            None => Some(Others::Forward.into()),
        };
        if let Some(others) = &others {
            self.warn_of_others(others, access);
        }
        let words = [("nxdomain", Below::NxDomain), ("forward", Below::Forward)];
        let below = match access.below {
            Some(text) => self.word(text, "below", &words),
            None => Some(Below::NxDomain),
        };
        JudgedAccess { allow, others, below, stated: Stated::at(access.origin.place.as_ref()) }
    }

    /// One word of a few.
    pub(super) fn word<T: Copy>(&mut self, text: &Written<String>, key: &str, words: &[(&str, T)]) -> Option<T> {
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

    fn warn_of_others(&mut self, others: &Written<Others>, access: &Access<'_>) {
        let place = others.place.as_ref();
        if access.allow.is_none() && access.others.is_some() {
            let problem = Problem::warning(place, "others has no effect: without allow there are no other clients");
            self.problems.push(problem.hint("add allow, or remove others"));
        } else if matches!(others.value, Others::Refused | Others::Drop) {
            let problem = Problem::warning(place, "this hides nothing: a stub resolver asks its next server");
            self.problems.push(problem.hint("only nxdomain and nodata are final"));
        }
    }

    fn allow(&mut self, access: &Access<'_>, ground: &Ground<'_>, owned: &[Owned]) -> Option<Audience> {
        let Some(list) = access.allow else {
            if !ground.subnets.is_empty() {
                let place = access.names.or(access.origin.place.as_ref());
                let problem =
                    Problem::warning(place, "without allow every client that may ask gets the endpoint's address");
                self.absent(
                    access.origin,
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
            let named = |subnet: &JudgedSubnet<'_>| subnet.name.is_some_and(|name| name.value == text.value);
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
}

/// Whether an `allow` entry that names no subnet was meant as a block.
fn looks_like_block(text: &str) -> bool {
    text.contains('/')
        || text.contains(':')
        || text.starts_with(|first: char| first.is_ascii_digit()) && text.contains('.')
}

/// What to do about a name that is none of the `known` ones.
pub(super) fn near_hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone, what: &str) -> String {
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
