//! Names and who claims them: buckets, other zones, the private DNS names of an endpoint. One name in two places is legal
//! only where no client would see both.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Judge;
use super::access::JudgedAccess;
use super::audience::{Owned, overlap};
use crate::config::problem::{Place, Problem};
use crate::config::{Below, Bucket, Except, Lines, RecordSet, Zone};
use crate::wire::Name;

/// Names that are zones, all with the same clients and the same contents.
pub(super) struct Claim {
    pub names: Vec<(Name, Option<Place>)>,
    pub access: JudgedAccess,
    pub contents: Contents,
}

/// What the zones of a claim have, as far as it is right.
pub(super) enum Contents {
    /// An alias to this endpoint at each name.
    Alias(Option<usize>),
    /// Records; there is one name.
    Records(Option<Vec<RecordSet>>, Except),
}

impl Claim {
    /// The zones as meant; `None` if something is wrong with them.
    pub fn meant(self) -> Option<Meant> {
        let JudgedAccess { allow, others, below, stated } = self.access;
        let (allow, others, below): (_, _, Below) = (allow?, others?.value, below?);
        let lines = Lines::of(self.names.iter().map(|(_, place)| place.as_ref()));
        let mut names = self.names.into_iter().map(|(name, _)| name);
        Some(match self.contents {
            Contents::Alias(endpoint) => {
                let names = names.collect();
                Meant::Bucket(Bucket { names, lines, endpoint: endpoint?, allow, others, below, stated })
            }
            Contents::Records(records, except) => {
                Meant::Zone(Zone { name: names.next()?, records: records?, except, allow, others, below, stated })
            }
        })
    }
}

/// What a claim comes to.
pub(super) enum Meant {
    Bucket(Bucket),
    Zone(Zone),
}

impl Judge<'_> {
    /// One name in two places is legal only if no client would see both.
    pub(super) fn compare<'b>(&mut self, claims: &'b [Claim], owned: &[Owned]) {
        let of = |(index, claim): (usize, &'b Claim)| std::iter::repeat(index).zip(&claim.names);
        let count = claims.iter().map(|claim| claim.names.len()).sum();
        let mut first = HashMap::with_capacity_and_hasher(count, RandomState::default());
        // Few names stand twice; those that do are kept apart, so that the others cost one entry each.
        let mut further: HashMap<&Name, Vec<(usize, &Option<Place>)>> = HashMap::new();
        let mut shared: HashMap<(usize, usize), bool> = HashMap::new();
        for (index, (name, place)) in claims.iter().enumerate().flat_map(of) {
            let Some(&earliest) = first.get(name) else {
                first.insert(name, (index, place));
                continue;
            };
            let earlier = further.entry(name).or_insert_with(|| vec![earliest]);
            let clash = earlier.iter().find_map(|&(other, other_place)| {
                let overlapping = *shared.entry((other, index)).or_insert_with(|| {
                    let audience = |index: usize| claims.get(index).and_then(|claim| claim.access.allow.as_ref());
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
            self.problems.extend(clash.or_else(|| disagreement(claims, index, earliest.0, name, place.as_ref())));
            earlier.push((index, place));
        }
    }
}
/// Two zones of one name with different `others`: a client that neither allows could get one or the other.
fn disagreement(claims: &[Claim], one: usize, other: usize, name: &Name, place: Option<&Place>) -> Option<Problem> {
    let others = |index: usize| claims.get(index)?.access.others.as_ref();
    let (mine, theirs) = (others(one)?, others(other)?);
    (mine.value != theirs.value).then(|| {
        let message = format!("{name} is configured twice with different others");
        let shown = mine.place.as_ref().or(place);
        let problem = Problem::mistake(shown, message).note(theirs.place.as_ref(), "the other is here");
        problem.hint("a client that neither allows can get only one answer: write the same others in both")
    })
}
