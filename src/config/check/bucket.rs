//! Buckets: their names, the endpoint they are an alias to, and the zone that is every bucket of a region.

use super::Judge;
use super::access::Access;
use super::audience::Owned;
use super::claim::{Claim, Contents};
use super::network::Ground;
use crate::config::file::{self, List, NamedFile, Written};
use crate::config::problem::{Place, Problem, Source};
use crate::config::{Data, Except, RecordSet};
use crate::wire::Name;
use crate::zone::bucket::{self, Hosts, alias, owner};
use crate::zone::partition::looks_like_region;

/// What a `[[bucket]]` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bucket,
    AccessPoint,
}

impl Judge<'_> {
    /// Every `[[bucket]]`.
    pub(super) fn buckets(&mut self, ground: &Ground<'_>, owned: &[Owned]) -> Vec<Claim> {
        let file = self.file;
        self.warn_of_region_trap();
        file.buckets.iter().filter_map(|bucket| self.bucket(bucket, ground, owned)).collect()
    }

    /// A region in which SDKs may pass every entry by: said once, of the first bucket there.
    fn warn_of_region_trap(&mut self) {
        let file = self.file;
        let buckets =
            file.buckets.iter().filter(|bucket| bucket.kind.as_ref().is_none_or(|kind| kind.value == "bucket"));
        let mut regions = buckets.filter_map(|bucket| bucket.region.as_ref().or(file.vpc.region.as_ref()));
        let trapped = regions.find_map(|region| Some((region, bucket::region_trap(&region.value)?)));
        if let Some((region, trap)) = trapped {
            let problem = Problem::warning(region.place.as_ref(), format!("{:?} {trap}", region.value));
            let hint =
                "set AWS_S3_US_EAST_1_REGIONAL_ENDPOINT=regional and a region for every program that asks for buckets";
            self.problems.push(problem.hint(hint));
        }
    }

    fn bucket(&mut self, bucket: &file::Bucket, ground: &Ground<'_>, owned: &[Owned]) -> Option<Claim> {
        let kinds = [("bucket", Kind::Bucket), ("access-point", Kind::AccessPoint)];
        let kind = match &bucket.kind {
            Some(text) => self.word(text, "kind", &kinds),
            None => Some(Kind::Bucket),
        };
        let every = bucket.names.iter().flat_map(|list| &list.value).find(|name| name.value == "*");
        if every.is_none() {
            self.only_for_every(bucket);
        }
        let region = self.region_of(bucket);
        let hosts = match kind {
            Some(Kind::Bucket) => region.and_then(Hosts::of),
            Some(Kind::AccessPoint) => region.and_then(Hosts::of_access_points),
            None => None,
        };
        let endpoint = self.required(&bucket.endpoint, &bucket.origin, "endpoint");
        let endpoint = endpoint.and_then(|text| self.endpoint_named(text));
        let names = match every {
            Some(_) => Vec::new(),
            None => self.names(bucket, kind, region.unwrap_or_default(), hosts.clone()),
        };
        let access = Access {
            origin: &bucket.origin,
            names: bucket.names.as_ref().and_then(|names| names.place.as_ref()),
            allow: &bucket.allow,
            others: &bucket.others,
            below: &bucket.below,
        };
        let access = self.access(&access, ground, owned);
        let Some(every) = every else { return Some(Claim { names, access, contents: Contents::Alias(endpoint) }) };
        let zone = self.every(bucket, every, kind, &hosts?)?;
        let except = self.except(bucket, kind, region?, &zone);
        let path_style = bucket.path_style.as_ref().is_some_and(|flag| flag.value);
        let star = below(b"*", &zone)?;
        let owners = std::iter::once(star).chain(path_style.then(|| zone.clone()));
        let set = |endpoint| owners.map(|owner| RecordSet { owner, data: Data::Alias(endpoint) }).collect();
        let contents = Contents::Records(endpoint.map(set), except);
        Some(Claim { names: vec![(zone, every.place.clone())], access, contents })
    }

    /// `names = ["*"]`: the zone that it is.
    fn every(
        &mut self,
        bucket: &file::Bucket,
        every: &Written<String>,
        kind: Option<Kind>,
        hosts: &Hosts,
    ) -> Option<Name> {
        let beside = bucket.names.iter().flat_map(|list| &list.value).find(|name| name.value != "*");
        let file = bucket.names_file.as_ref().and_then(|file| file.place.as_ref());
        if let Some(place) = beside.map(|name| name.place.as_ref()).or(file.map(Some)) {
            let problem = Problem::mistake(place, "beside \"*\", which is every bucket, this names nothing more");
            let problem = problem.note(every.place.as_ref(), "every bucket is meant here");
            self.problems
                .push(problem.hint("remove one of them; a bucket that goes elsewhere has a [[bucket]] of its own"));
        }
        if kind? == Kind::AccessPoint {
            let flags = [&bucket.path_style, &bucket.except_aws];
            for flag in flags.into_iter().flatten() {
                let problem = Problem::mistake(flag.place.as_ref(), "this is for buckets, not for access points");
                self.problems.push(problem.hint("remove it"));
            }
        } else if let Some(flag) = bucket.except_aws.as_ref().filter(|flag| !flag.value) {
            let message = "the buckets of Amazon Linux, ECR and Systems Manager are private with this";
            let problem = Problem::warning(flag.place.as_ref(), message);
            self.problems.push(problem.hint("their downloads fail unless the endpoint and its policy admit them"));
        }
        Some(hosts.zone())
    }

    /// Keys that mean something for every bucket of a region only.
    fn only_for_every(&mut self, bucket: &file::Bucket) {
        let place = |flag: &Option<Written<bool>>| flag.as_ref().map(|flag| flag.place.clone());
        let keys = [
            ("except", bucket.except.as_ref().map(|list| list.place.clone())),
            ("except-aws", place(&bucket.except_aws)),
            ("path-style", place(&bucket.path_style)),
        ];
        for (key, place) in keys {
            if let Some(place) = place {
                let message = format!("{key} is for names = [\"*\"], every bucket of the region");
                self.problems.push(Problem::mistake(place.as_ref(), message).hint("remove it"));
            }
        }
    }

    /// What the zone of every bucket leaves to others.
    fn except(&mut self, bucket: &file::Bucket, kind: Option<Kind>, region: &str, zone: &Name) -> Except {
        let mut except = Except::default();
        if !bucket.path_style.as_ref().is_some_and(|flag| flag.value) {
            except.names.push(zone.clone());
        }
        let written: &[Written<String>] = bucket.except.as_ref().map_or(&[], |list: &List| &list.value);
        for name in written {
            let checked = if kind == Some(Kind::AccessPoint) {
                bucket::check_access_point(&name.value)
            } else {
                bucket::check(&name.value)
            };
            match checked {
                Ok(()) => except.names.extend(below(name.value.as_bytes(), zone)),
                Err(bad) => {
                    let problem = Problem::mistake(name.place.as_ref(), format!("{:?} {}", name.value, bad.reason));
                    self.problems.push(problem.hint(bad.hint));
                }
            }
        }
        if kind == Some(Kind::Bucket) && bucket.except_aws.as_ref().is_none_or(|flag| flag.value) {
            let theirs = bucket::of_aws(region);
            except.names.extend(theirs.names.iter().filter_map(|name| below(name.as_bytes(), zone)));
            except.prefixes = theirs.prefixes;
        }
        except
    }

    /// The region of a bucket: its own, or the VPC's.
    fn region_of<'b>(&mut self, bucket: &'b file::Bucket) -> Option<&'b str>
    where
        Self: 'b,
    {
        match (&bucket.region, &self.file.vpc.region) {
            (Some(region), _) => self.region(region),
            // Judged with [vpc].
            (None, Some(region)) => looks_like_region(&region.value).then_some(region.value.as_str()),
            (None, None) => {
                if !self.file.vpc.origin.damaged {
                    let problem =
                        Problem::mistake(bucket.origin.place.as_ref(), "neither this bucket nor [vpc] has a region");
                    self.absent(&bucket.origin, problem.hint("add region = \"ap-northeast-1\" to [vpc]"));
                }
                None
            }
        }
    }

    /// The hosts of all bucket names, of the list and of the file.
    fn names(
        &mut self,
        bucket: &file::Bucket,
        kind: Option<Kind>,
        region: &str,
        mut hosts: Option<Hosts>,
    ) -> Vec<(Name, Option<Place>)> {
        let mut names = Vec::new();
        let empty = bucket.names.as_ref().is_none_or(|list| list.value.is_empty());
        if empty && bucket.names_file.is_none() {
            let place = bucket.names.as_ref().and_then(|list| list.place.as_ref()).or(bucket.origin.place.as_ref());
            let problem = Problem::mistake(place, "a bucket without names");
            self.absent(&bucket.origin, problem.hint("add names = [\"xxxxx-bucket\"] or names-file = \"buckets.txt\""));
        }
        for text in bucket.names.iter().flat_map(|list| &list.value) {
            names.extend(self.host(&text.value, kind, region, hosts.as_mut(), || text.place.clone()));
        }
        if let Some(file) = &bucket.names_file
            && let Some(source) = self.text_of(file)
        {
            let before = self.problems.len();
            let listed = names.len();
            for (name, at) in lines(source) {
                let place = || Some(Place::new(source, at..at + name.len()));
                names.extend(self.host(name, kind, region, hosts.as_mut(), place));
            }
            if hosts.is_some() && names.len() == listed && self.problems.len() == before {
                let problem = Problem::warning(file.place.as_ref(), format!("{} names no bucket", source.name()));
                self.problems.push(problem.hint("write a bucket's name a line"));
            }
        }
        names
    }

    /// The text of a file that is named, or the mistake that it cannot be read.
    pub(super) fn text_of<'b>(&mut self, file: &'b Written<NamedFile>) -> Option<&'b std::sync::Arc<Source>> {
        if file.value.anyone_may_write
            && let Ok(source) = &file.value.text
        {
            let message = format!("every user of this machine may write {}", source.name());
            let problem = Problem::warning(file.place.as_ref(), message);
            self.problems.push(problem.hint(format!("chmod o-w {}", source.name())));
        }
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

    /// The host of one name, with the place to show if it contradicts another.
    fn host(
        &mut self,
        name: &str,
        kind: Option<Kind>,
        region: &str,
        hosts: Option<&mut Hosts>,
        place: impl Fn() -> Option<Place>,
    ) -> Option<(Name, Option<Place>)> {
        let checked = match kind? {
            Kind::Bucket => bucket::check(name),
            Kind::AccessPoint => bucket::check_access_point(name),
        };
        if let Err(bad) = checked {
            let problem = Problem::mistake(place().as_ref(), format!("{name:?} {}", bad.reason));
            self.problems.push(problem.hint(bad.hint));
            return None;
        }
        if kind == Some(Kind::Bucket) {
            self.warn_of_bucket(name, region, &place);
        }
        hosts?.host(name).map(|host| (host, place()))
    }

    /// Names that are legal and probably do not do what was meant.
    fn warn_of_bucket(&mut self, name: &str, region: &str, place: &impl Fn() -> Option<Place>) {
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
    }
}

/// `name`, which may have dots, below `zone`.
fn below(name: &[u8], zone: &Name) -> Option<Name> {
    let mut wire = Vec::with_capacity(name.len() + 1 + zone.as_wire().len());
    for label in name.split(|octet| *octet == b'.') {
        wire.push(u8::try_from(label.len()).ok().filter(|length| *length > 0)?);
        wire.extend(label);
    }
    wire.extend(zone.as_wire());
    Name::from_wire(&wire)
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
