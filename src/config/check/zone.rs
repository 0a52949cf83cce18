//! Private zones: their records, in TOML and in zone files, and what contradicts what.

use std::collections::{HashMap, HashSet};

use super::Judge;
use super::access::Access;
use super::audience::Owned;
use super::claim::{Claim, Contents};
use super::network::Ground;
use crate::config::file::{self, Written};
use crate::config::limit;
use crate::config::near::nearest;
use crate::config::presentation::{self, Unreadable};
use crate::config::problem::{Place, Problem};
use crate::config::zone_file::{self, is_within, name_below};
use crate::config::{Data, Except, RecordSet};
use crate::wire::Name;
use crate::wire::name::labels;
use crate::wire::query::kind;

/// Values that Route 53 takes for one record set.
const MOST_VALUES: usize = 400;
/// Octets of a record set that still fit a message, with a question of the greatest length and an OPT.
const MOST_OCTETS: usize = 65_000;
/// Octets of a record before its data, its owner a pointer.
const HEAD: usize = 12;

/// A record before it is judged beside others.
struct Candidate {
    owner: Name,
    what: What,
    place: Option<Place>,
}

enum What {
    Record {
        kind: u16,
        ttl: u32,
        data: Box<[u8]>,
    },
    /// An alias to this endpoint, if that is known.
    Alias(Option<usize>),
}

impl Candidate {
    /// Its type; 0 is an alias.
    fn kind(&self) -> u16 {
        match self.what {
            What::Record { kind, .. } => kind,
            What::Alias(_) => 0,
        }
    }
}

impl Judge<'_> {
    /// Every `[[zone]]`.
    pub(super) fn zones(&mut self, ground: &Ground<'_>, owned: &[Owned]) -> Vec<Claim> {
        let file = self.file;
        file.zones.iter().filter_map(|zone| self.zone(zone, ground, owned)).collect()
    }

    fn zone(&mut self, zone: &file::Zone, ground: &Ground<'_>, owned: &[Owned]) -> Option<Claim> {
        let written = self.required(&zone.name, &zone.origin, "name");
        let access = Access {
            origin: &zone.origin,
            names: written.and_then(|name| name.place.as_ref()),
            allow: &zone.allow,
            others: &zone.others,
            below: &zone.below,
        };
        let access = self.access(&access, ground, owned);
        let written = written?;
        let name = self.zone_name(written)?;
        let mut candidates = Vec::new();
        for record in zone.records.iter().flat_map(|list| &list.value) {
            self.record(record, &name, &mut candidates);
        }
        if let Some(source) = zone.file.as_ref().and_then(|file| self.text_of(file)) {
            let (records, problems) = zone_file::read(source, &name);
            self.problems.extend(problems);
            candidates.extend(records.into_iter().map(|record| Candidate {
                owner: record.owner,
                what: What::Record { kind: record.kind, ttl: record.ttl, data: record.data },
                place: Some(record.place),
            }));
        }
        if zone.file.is_none() && zone.records.as_ref().is_none_or(|list| list.value.is_empty()) {
            let problem = Problem::warning(written.place.as_ref(), format!("the zone {name} has no records"));
            self.absent(&zone.origin, problem.hint("no name at or below it exists then: add records or file"));
        }
        let records = self.sets(candidates, &name);
        let place = written.place.clone();
        Some(Claim {
            names: vec![(name, place)],
            access,
            contents: Contents::Records(Some(records), Except::default()),
        })
    }

    fn zone_name(&mut self, text: &Written<String>) -> Option<Name> {
        if text.value.starts_with('*') {
            let problem = Problem::mistake(text.place.as_ref(), "a zone's name cannot be a wildcard");
            self.problems.push(problem.hint("name the zone above, and a record \"*\" in it"));
            return None;
        }
        self.domain(text)
    }

    /// One of `records`.
    fn record(&mut self, record: &Written<file::Record>, zone: &Name, into: &mut Vec<Candidate>) {
        let file::Record { name, kind, ttl, values, alias, damaged } = &record.value;
        let whole = record.place.as_ref();
        let absent = |judge: &mut Self, problem: Problem| {
            if !damaged {
                judge.problems.push(problem);
            }
        };
        let Some(name) = name else {
            let problem = Problem::mistake(whole, "a record without name");
            return absent(self, problem.hint("add name = \"@\" for the zone's own name, or name = \"db\""));
        };
        let Some(owner) = self.owner(name, zone) else { return };
        if let Some(alias) = alias {
            if kind.is_some() || values.is_some() || ttl.is_some() {
                let problem = Problem::mistake(alias.place.as_ref(), "an alias has no type, ttl or values of its own");
                self.problems.push(problem.hint("it answers with the endpoint's addresses and TTL: remove the others"));
            }
            let what = What::Alias(self.endpoint_named(alias));
            return into.push(Candidate { owner, what, place: name.place.clone() });
        }
        let Some(kind) = kind else {
            let problem = Problem::mistake(whole, "a record without type");
            return absent(self, problem.hint("add type = \"A\" and values = [\"172.31.1.20\"], or alias = \"…\""));
        };
        let Some(number) = presentation::kind_of(&kind.value) else {
            let hint = match nearest(&kind.value, presentation::known_types()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "a type that nobody knows is written \"TYPE65280\"".into(),
            };
            let problem = Problem::mistake(kind.place.as_ref(), format!("no record type is called {:?}", kind.value));
            return self.problems.push(problem.hint(hint));
        };
        let seconds = self.number(ttl, limit::RECORD_TTL);
        let values = values.as_ref().map_or(&[][..], |values| &values.value);
        if values.is_empty() {
            let example = presentation::example_of(number);
            let problem = Problem::mistake(whole, "a record without values");
            absent(self, problem.hint(format!("add values = [{example:?}]")));
        }
        for value in values {
            match presentation::data(number, &quoted(number, &value.value), zone) {
                Ok(data) => {
                    let what = What::Record { kind: number, ttl: seconds, data };
                    into.push(Candidate { owner: owner.clone(), what, place: value.place.clone() });
                }
                Err(Unreadable { message, .. }) => {
                    let problem = Problem::mistake(value.place.as_ref(), format!("{message}: {:?}", value.value));
                    let example = presentation::example_of(number);
                    self.problems.push(problem.hint(format!("{} data is written: {example}", kind.value)));
                }
            }
        }
    }

    /// A record's owner, in the zone.
    fn owner(&mut self, text: &Written<String>, zone: &Name) -> Option<Name> {
        let name = name_below(&text.value, zone).filter(|_| !text.value.is_empty());
        let Some(name) = name else {
            let problem = Problem::mistake(text.place.as_ref(), format!("{:?} is not a name", text.value));
            self.problems.push(problem.hint("write \"db\", \"@\" for the zone's own name, or \"*\" for a wildcard"));
            return None;
        };
        if !is_within(&name, zone) {
            let problem = Problem::mistake(text.place.as_ref(), format!("{name} is not in the zone {zone}"));
            self.problems.push(problem.hint("a name that ends in a dot is whole; without it, it is below the zone's"));
            return None;
        }
        if name.as_wire() != zone.as_wire() && text.value == zone.to_string() {
            let problem = Problem::warning(text.place.as_ref(), format!("this means {name}"));
            self.problems.push(problem.hint(format!("for the zone's own name write \"@\" or \"{zone}.\"")));
        }
        Some(name)
    }

    /// Records of one owner and type together, and what contradicts what.
    fn sets(&mut self, mut candidates: Vec<Candidate>, zone: &Name) -> Vec<RecordSet> {
        candidates.sort_by(|one, other| one.owner.cmp(&other.owner).then(one.kind().cmp(&other.kind())));
        let mut sets = Vec::new();
        for of_owner in candidates.chunk_by(|one, other| one.owner == other.owner) {
            self.judge_owner(of_owner, zone);
            for of_kind in of_owner.chunk_by(|one, other| one.kind() == other.kind()) {
                sets.extend(self.set(of_kind));
            }
        }
        self.warn_of_loops_within(&candidates);
        self.warn_of_lost_targets(&candidates, zone);
        sets
    }

    /// What may not stand at one name together.
    fn judge_owner(&mut self, records: &[Candidate], zone: &Name) {
        let Some(first) = records.first() else { return };
        let of = |wanted: u16| records.iter().find(|record| record.kind() == wanted);
        let owner = &first.owner;
        if let Some(cname) = of(kind::CNAME) {
            if owner == zone {
                let problem = Problem::mistake(cname.place.as_ref(), "a CNAME at the zone's own name");
                self.problems.push(problem.hint("the zone's SOA and NS stand there: write an alias, or its addresses"));
            }
            if let Some(other) = records.iter().find(|record| record.kind() != kind::CNAME) {
                let problem =
                    Problem::mistake(cname.place.as_ref(), format!("a CNAME beside other records of {owner}"));
                let problem = problem.note(other.place.as_ref(), "one of them is here");
                self.problems.push(problem.hint("RFC 1034 section 3.6.2: a name with a CNAME has nothing else"));
            }
        }
        if let (Some(alias), Some(address)) = (of(0), of(kind::A).or_else(|| of(kind::AAAA))) {
            let problem = Problem::mistake(alias.place.as_ref(), format!("an alias beside addresses of {owner}"));
            let problem = problem.note(address.place.as_ref(), "an address is here");
            self.problems.push(problem.hint("an alias is the endpoint's addresses: remove one of them"));
        }
        let wildcard = owner.as_wire().starts_with(b"\x01*");
        if let Some(ns) = of(kind::NS).filter(|_| wildcard) {
            let problem = Problem::mistake(ns.place.as_ref(), "NS records of a wildcard");
            self.problems.push(problem.hint("RFC 4592 section 4.2: they would mean nothing; remove them"));
        }
        let odd = |at: usize| at > 0 && owner.as_wire().get(at..at + 2) == Some(b"\x01*");
        if labels(owner.as_wire()).any(odd) {
            let problem =
                Problem::warning(first.place.as_ref(), format!("the * inside {owner} is a letter like any other"));
            self.problems.push(problem.hint("only a leftmost * is a wildcard"));
        }
        if let Some(soa) = of(kind::SOA).filter(|_| owner != zone) {
            let problem = Problem::mistake(soa.place.as_ref(), format!("a SOA record at {owner}"));
            self.problems.push(problem.hint("a zone has one, at its own name"));
        }
    }

    /// The records of one owner and type.
    fn set(&mut self, records: &[Candidate]) -> Option<RecordSet> {
        let first = records.first()?;
        let owner = first.owner.clone();
        let single = |judge: &mut Self, message: String| {
            if let Some(second) = records.get(1) {
                let problem = Problem::mistake(second.place.as_ref(), message);
                judge.problems.push(problem.note(first.place.as_ref(), "the first is here").hint("keep one of them"));
            }
        };
        let What::Record { kind, .. } = first.what else {
            single(self, format!("two aliases of {owner}"));
            let What::Alias(endpoint) = first.what else { return None };
            return endpoint.map(|endpoint| RecordSet { owner, data: Data::Alias(endpoint) });
        };
        let what = presentation::name_of(kind);
        if matches!(kind, kind::CNAME | kind::SOA) {
            single(self, format!("two {what} records of {owner}"));
        }
        self.judge_kind(kind, first);
        let (mut rdata, mut ttl): (Vec<Box<[u8]>>, u32) = (Vec::with_capacity(records.len()), u32::MAX);
        let mut seen: HashMap<&[u8], &Candidate> = HashMap::with_capacity(records.len());
        let mut uneven = None;
        for record in records {
            let What::Record { ttl: own, data, .. } = &record.what else { continue };
            if ttl != u32::MAX && ttl != *own {
                uneven = uneven.or(Some(record));
            }
            ttl = ttl.min(*own);
            if let Some(earlier) = seen.insert(data, record) {
                let problem =
                    Problem::warning(record.place.as_ref(), format!("this {what} record of {owner} stands twice"));
                self.problems
                    .push(problem.note(earlier.place.as_ref(), "the first is here").hint("it is answered once"));
            } else {
                rdata.push(data.clone());
            }
        }
        if let Some(record) = uneven {
            let message = format!("the {what} records of {owner} have different TTLs: {ttl} counts for all");
            let problem =
                Problem::warning(record.place.as_ref(), message).note(first.place.as_ref(), "the first is here");
            self.problems.push(problem.hint("RFC 2181 section 5.2: records of one name and type have one TTL"));
        }
        self.judge_size(&owner, &what, &rdata, first);
        Some(RecordSet { owner, data: Data::Records { kind, ttl, rdata } })
    }

    /// Types that have no place in a zone, or none in a private one.
    fn judge_kind(&mut self, kind: u16, record: &Candidate) {
        let what = presentation::name_of(kind);
        // RFC 6895 section 3.1: 0 is reserved, 41 is OPT, from 128 on are questions and metadata.
        if matches!(kind, 0 | 41 | 128..=255) {
            let problem = Problem::mistake(record.place.as_ref(), format!("{what} is no type of a record"));
            self.problems.push(problem.hint("remove it: it has a meaning in queries only"));
        }
        // DNAME; SIG, KEY, NXT and what came after them.
        if matches!(kind, 39 | 24 | 25 | 30 | 46 | 47 | 48 | 50 | 51 | 59 | 60) {
            let problem = Problem::warning(record.place.as_ref(), format!("{what} has no effect here"));
            self.problems
                .push(problem.hint("private zones are not signed and do not redirect: it is answered as mere data"));
        }
    }

    fn judge_size(&mut self, owner: &Name, what: &str, rdata: &[Box<[u8]>], record: &Candidate) {
        let octets: usize = rdata.iter().map(|data| HEAD + data.len()).sum();
        if octets > MOST_OCTETS {
            let message = format!("the {what} records of {owner} are {octets} octets, more than one message holds");
            let problem = Problem::mistake(record.place.as_ref(), message);
            self.problems.push(problem.hint("keep what clients need"));
        } else if rdata.len() > MOST_VALUES {
            let message = format!("{owner} has {} {what} records: Route 53 takes {MOST_VALUES}", rdata.len());
            let problem = Problem::warning(record.place.as_ref(), message);
            self.problems.push(problem.hint("clients without TCP get none of them"));
        }
    }

    /// CNAMEs of one zone that lead back to where they began.
    fn warn_of_loops_within(&mut self, candidates: &[Candidate]) {
        let target = |record: &Candidate| match &record.what {
            What::Record { kind: kind::CNAME, data, .. } => Name::from_wire(data),
            _ => None,
        };
        let next: HashMap<&Name, Name> =
            candidates.iter().filter_map(|record| Some((&record.owner, target(record)?))).collect();
        for record in candidates.iter().filter(|record| record.kind() == kind::CNAME) {
            let mut at = next.get(&record.owner);
            let mut least = true;
            for _ in 0..next.len() {
                let Some(name) = at.filter(|name| **name != record.owner) else { break };
                least &= record.owner < *name;
                at = next.get(name);
            }
            // Each loop is told once, at the name that sorts first.
            if at == Some(&record.owner) && least {
                let problem = Problem::warning(record.place.as_ref(), format!("{} leads back to itself", record.owner));
                self.problems.push(problem.hint("its clients get SERVFAIL: let one of these CNAMEs lead elsewhere"));
            }
        }
    }

    /// Targets below the zone's name that do not exist: most are whole names whose dot was forgotten.
    fn warn_of_lost_targets(&mut self, candidates: &[Candidate], zone: &Name) {
        let existing: HashSet<&[u8]> = candidates
            .iter()
            .flat_map(|record| labels(record.owner.as_wire()).filter_map(|at| record.owner.as_wire().get(at..)))
            .collect();
        let covered = |name: &[u8]| {
            let above = labels(name).skip(1).filter_map(|at| name.get(at..));
            above.map(|above| [b"\x01*", above].concat()).any(|wildcard| existing.contains(&*wildcard))
        };
        for record in candidates {
            let What::Record { kind, data, .. } = &record.what else { continue };
            let at = match *kind {
                kind::CNAME | kind::NS | 12 => 0,
                15 => 2,
                33 => 6,
                _ => continue,
            };
            let Some(target) = data.get(at..).and_then(Name::from_wire) else { continue };
            let lost = target != *zone && is_within(&target, zone) && !existing.contains(target.as_wire());
            if lost && !covered(target.as_wire()) {
                let message = format!("{target}, to which this leads, does not exist");
                let hint = "a whole name ends in a dot; without it, it is below the zone's";
                self.problems.push(Problem::warning(record.place.as_ref(), message).hint(hint));
            }
        }
    }
}

/// A text without quotes is one text, however many words it has and however long it is.
fn quoted(kind: u16, value: &str) -> String {
    if !presentation::is_text(kind) || value.contains('"') || value.trim_start().starts_with("\\#") {
        return value.to_owned();
    }
    let letters: Vec<char> = value.chars().collect();
    let parts = letters.chunks(60).map(|part| part.iter().collect::<String>());
    // A part of 60 characters has at most 240 octets, and one text at most 255 (RFC 1035 section 3.3).
    let parts: Vec<String> = match value.len() {
        ..=255 => vec![value.to_owned()],
        _ => parts.collect(),
    };
    parts.iter().map(|part| format!("\"{}\"", part.replace('\\', "\\\\"))).collect::<Vec<_>>().join(" ")
}
