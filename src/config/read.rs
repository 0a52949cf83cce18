//! From TOML to [`File`]: walked key by key, so that every value keeps its place and every mistake is found at once.
//!
//! serde's derived readers stop at the first mistake, and forget places where a table can be one of several things.

mod value;

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::file::{
    Bucket, Cache, Endpoint, File, Limits, NamedFile, Origin, QueryLog, Rule, Server, Subnet, Upstream, Vpc, Zone,
};
use super::near::nearest;
use super::problem::{Place, Problem, Source};
use super::syntax::{self, Broken};

/// Every table and its keys; a table in double brackets may stand several times.
pub const KEYS: &[(&str, &[&str])] = &[
    (
        "[server]",
        &[
            "listen",
            "clients",
            "udp-threads",
            "pin-threads",
            "busy-poll-us",
            "receive-buffer-kb",
            "tcp-connections",
            "tcp-connections-per-client",
            "tcp-idle-seconds",
            "control",
            "http",
        ],
    ),
    ("[vpc]", &["region", "cidrs", "self", "behind-self", "resolvers", "az-ids"]),
    ("[upstream]", &["timeout-ms", "packets-per-second", "stale-seconds", "case-randomisation"]),
    ("[cache]", &["size-mb", "min-ttl", "max-ttl", "max-negative-ttl"]),
    (
        "[limits]",
        &[
            "queries-per-second",
            "slip",
            "ipv4-prefix",
            "ipv6-prefix",
            "amplification-kb-per-second",
            "forwards-per-client",
        ],
    ),
    ("[query-log]", &["to", "sample", "subnets", "zones", "outcomes"]),
    ("[[subnet]]", &["name", "cidr", "az-id", "dns64"]),
    (
        "[[endpoint]]",
        &[
            "name",
            "addresses",
            "dns-name",
            "affinity",
            "ttl",
            "health-check",
            "interval-seconds",
            "failures",
            "successes",
            "when-down",
            "service",
            "names",
            "allow",
            "others",
        ],
    ),
    (
        "[[bucket]]",
        &[
            "names",
            "names-file",
            "kind",
            "endpoint",
            "region",
            "allow",
            "others",
            "below",
            "except",
            "except-aws",
            "path-style",
        ],
    ),
    ("[[zone]]", &["name", "file", "records", "allow", "others", "below"]),
    ("[[rule]]", &["domain", "targets", "forward", "fallback"]),
];

/// The keys of an endpoint's address that is written as a table.
const ADDRESS_KEYS: &[&str] = &["ip", "az-id"];
/// The keys of a rule's target that is written as a table.
const TARGET_KEYS: &[&str] = &["url", "ip"];
/// The keys of a zone's record.
const RECORD_KEYS: &[&str] = &["name", "type", "ttl", "values", "alias"];

/// How files that a configuration names are had.
pub(super) type Open<'a> = &'a dyn Fn(&Path) -> NamedFile;

/// Reads `source` into `file`, after what is there. Relative paths begin at `folder`; who they name is had by `open`.
pub(super) fn read(source: &Arc<Source>, (folder, open): (&Path, Open<'_>), file: &mut File) {
    file.sources.push(Arc::clone(source));
    let (document, errors) = DeTable::parse_recoverable(source.text());
    match syntax::repair(source.text(), &errors) {
        None => read_document(source, (folder, open), &document, &errors, file),
        Some((text, told)) => {
            let (document, errors) = DeTable::parse_recoverable(&text);
            read_document(source, (folder, open), &document, &[told, errors].concat(), file);
        }
    }
}

fn read_document(
    source: &Arc<Source>,
    (folder, open): (&Path, Open<'_>),
    document: &Spanned<DeTable<'_>>,
    errors: &[toml::de::Error],
    file: &mut File,
) {
    let broken = syntax::problems(source, errors);
    let mut reader = Reader { source, folder, open, broken: &broken, problems: Vec::new(), sources: Vec::new() };
    reader.document(document.get_ref(), file);
    let Reader { mut problems, mut sources, .. } = reader;
    file.incomplete |= broken.lost_a_table();
    file.problems.extend(broken.problems);
    file.problems.append(&mut problems);
    file.sources.append(&mut sources);
}

/// A value under its key.
struct Entry<'a> {
    key: &'a str,
    key_place: Place,
    value: &'a Spanned<DeValue<'a>>,
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    folder: &'a Path,
    open: Open<'a>,
    broken: &'a Broken,
    problems: Vec<Problem>,
    /// The files that were read on the way.
    sources: Vec<Arc<Source>>,
}

impl<'a> Reader<'a> {
    fn document(&mut self, document: &'a DeTable<'a>, file: &mut File) {
        for entry in self.entries(document) {
            match entry.key {
                "server" => self.single(&entry, |this, table, _| this.server(table, &mut file.server)),
                "vpc" => self.single(&entry, |this, table, place| this.vpc(table, place, &mut file.vpc)),
                "upstream" => self.single(&entry, |this, table, _| this.upstream(table, &mut file.upstream)),
                "cache" => self.single(&entry, |this, table, _| this.cache(table, &mut file.cache)),
                "limits" => self.single(&entry, |this, table, _| this.limits(table, &mut file.limits)),
                "query-log" => self.single(&entry, |this, table, _| this.query_log(table, &mut file.query_log)),
                "subnet" => self.several(&entry, |this, table| file.subnets.push(this.subnet(table))),
                "endpoint" => self.several(&entry, |this, table| file.endpoints.push(this.endpoint(table))),
                "bucket" => self.several(&entry, |this, table| file.buckets.push(this.bucket(table))),
                "zone" => self.several(&entry, |this, table| file.zones.push(this.zone(table))),
                "rule" => self.several(&entry, |this, table| file.rules.push(this.rule(table))),
                _ => self.unknown_table(&entry),
            }
        }
    }

    fn server(&mut self, table: &'a DeTable<'a>, into: &mut Server) {
        for entry in self.entries(table) {
            match entry.key {
                "listen" => self.list(&entry, &mut into.listen),
                "clients" => self.list(&entry, &mut into.clients),
                "udp-threads" => self.number(&entry, &mut into.udp_threads),
                "pin-threads" => self.flag(&entry, &mut into.pin_threads),
                "busy-poll-us" => self.number(&entry, &mut into.busy_poll_us),
                "receive-buffer-kb" => self.number(&entry, &mut into.receive_buffer_kb),
                "tcp-connections" => self.number(&entry, &mut into.tcp_connections),
                "tcp-connections-per-client" => self.number(&entry, &mut into.tcp_connections_per_client),
                "tcp-idle-seconds" => self.number(&entry, &mut into.tcp_idle_seconds),
                "control" => self.path(&entry, &mut into.control),
                "http" => self.text(&entry, &mut into.http),
                _ => self.unknown_key(&entry, "[server]"),
            }
        }
    }

    fn vpc(&mut self, table: &'a DeTable<'a>, place: Place, into: &mut Vpc) {
        let before = self.problems.len();
        for entry in self.entries(table) {
            match entry.key {
                "region" => self.text(&entry, &mut into.region),
                "cidrs" => self.list(&entry, &mut into.cidrs),
                "self" => self.text(&entry, &mut into.self_address),
                "behind-self" => self.list(&entry, &mut into.behind_self),
                "resolvers" => self.list(&entry, &mut into.resolvers),
                "az-ids" => self.pairs(&entry, &mut into.az_ids),
                _ => self.unknown_key(&entry, "[vpc]"),
            }
        }
        into.origin.damaged |= self.problems.len() > before || self.broken.touches(&place);
        into.origin.place.get_or_insert(place);
    }

    fn upstream(&mut self, table: &'a DeTable<'a>, into: &mut Upstream) {
        for entry in self.entries(table) {
            match entry.key {
                "timeout-ms" => self.number(&entry, &mut into.timeout_ms),
                "packets-per-second" => self.number(&entry, &mut into.packets_per_second),
                "stale-seconds" => self.number(&entry, &mut into.stale_seconds),
                "case-randomisation" => self.flag(&entry, &mut into.case_randomisation),
                _ => self.unknown_key(&entry, "[upstream]"),
            }
        }
    }

    fn cache(&mut self, table: &'a DeTable<'a>, into: &mut Cache) {
        for entry in self.entries(table) {
            match entry.key {
                "size-mb" => self.number(&entry, &mut into.size_mb),
                "min-ttl" => self.number(&entry, &mut into.min_ttl),
                "max-ttl" => self.number(&entry, &mut into.max_ttl),
                "max-negative-ttl" => self.number(&entry, &mut into.max_negative_ttl),
                _ => self.unknown_key(&entry, "[cache]"),
            }
        }
    }

    fn limits(&mut self, table: &'a DeTable<'a>, into: &mut Limits) {
        for entry in self.entries(table) {
            match entry.key {
                "queries-per-second" => self.number(&entry, &mut into.queries_per_second),
                "slip" => self.number(&entry, &mut into.slip),
                "ipv4-prefix" => self.number(&entry, &mut into.ipv4_prefix),
                "ipv6-prefix" => self.number(&entry, &mut into.ipv6_prefix),
                "amplification-kb-per-second" => self.number(&entry, &mut into.amplification_kb_per_second),
                "forwards-per-client" => self.number(&entry, &mut into.forwards_per_client),
                _ => self.unknown_key(&entry, "[limits]"),
            }
        }
    }

    fn query_log(&mut self, table: &'a DeTable<'a>, into: &mut QueryLog) {
        for entry in self.entries(table) {
            match entry.key {
                "to" => self.path(&entry, &mut into.to),
                "sample" => self.number(&entry, &mut into.sample),
                "subnets" => self.list(&entry, &mut into.subnets),
                "zones" => self.list(&entry, &mut into.zones),
                "outcomes" => self.list(&entry, &mut into.outcomes),
                _ => self.unknown_key(&entry, "[query-log]"),
            }
        }
    }

    fn subnet(&mut self, table: &Table<'a>) -> Subnet {
        let mut into = Subnet::default();
        into.origin = self.walk(table, |this, entry| match entry.key {
            "name" => this.text(entry, &mut into.name),
            "cidr" => this.text_or_list(entry, &mut into.cidr),
            "az-id" => this.text(entry, &mut into.az_id),
            "dns64" => this.flag(entry, &mut into.dns64),
            _ => this.unknown_key(entry, "[[subnet]]"),
        });
        into
    }

    fn endpoint(&mut self, table: &Table<'a>) -> Endpoint {
        let mut into = Endpoint::default();
        into.origin = self.walk(table, |this, entry| match entry.key {
            "name" => this.text(entry, &mut into.name),
            "addresses" => this.addresses(entry, &mut into.addresses),
            "dns-name" => this.text(entry, &mut into.dns_name),
            "affinity" => this.text(entry, &mut into.affinity),
            "ttl" => this.number(entry, &mut into.ttl),
            "health-check" => this.text(entry, &mut into.health_check),
            "interval-seconds" => this.number(entry, &mut into.interval_seconds),
            "failures" => this.number(entry, &mut into.failures),
            "successes" => this.number(entry, &mut into.successes),
            "when-down" => this.text(entry, &mut into.when_down),
            "service" => this.text(entry, &mut into.service),
            "names" => this.text_or_list(entry, &mut into.names),
            "allow" => this.list(entry, &mut into.allow),
            "others" => this.text(entry, &mut into.others),
            _ => this.unknown_key(entry, "[[endpoint]]"),
        });
        into
    }

    fn bucket(&mut self, table: &Table<'a>) -> Bucket {
        let mut into = Bucket::default();
        into.origin = self.walk(table, |this, entry| match entry.key {
            "names" => this.list(entry, &mut into.names),
            "names-file" => this.named_file(entry, &mut into.names_file),
            "kind" => this.text(entry, &mut into.kind),
            "except" => this.list(entry, &mut into.except),
            "except-aws" => this.flag(entry, &mut into.except_aws),
            "path-style" => this.flag(entry, &mut into.path_style),
            "endpoint" => this.text(entry, &mut into.endpoint),
            "region" => this.text(entry, &mut into.region),
            "allow" => this.list(entry, &mut into.allow),
            "others" => this.text(entry, &mut into.others),
            "below" => this.text(entry, &mut into.below),
            _ => this.unknown_key(entry, "[[bucket]]"),
        });
        into
    }

    fn zone(&mut self, table: &Table<'a>) -> Zone {
        let mut into = Zone::default();
        into.origin = self.walk(table, |this, entry| match entry.key {
            "name" => this.text(entry, &mut into.name),
            "file" => this.named_file(entry, &mut into.file),
            "records" => this.records(entry, &mut into.records),
            "allow" => this.list(entry, &mut into.allow),
            "others" => this.text(entry, &mut into.others),
            "below" => this.text(entry, &mut into.below),
            _ => this.unknown_key(entry, "[[zone]]"),
        });
        into
    }

    fn rule(&mut self, table: &Table<'a>) -> Rule {
        let mut into = Rule::default();
        into.origin = self.walk(table, |this, entry| match entry.key {
            "domain" => this.text(entry, &mut into.domain),
            "targets" => this.targets(entry, &mut into.targets),
            "forward" => this.flag(entry, &mut into.forward),
            "fallback" => this.flag(entry, &mut into.fallback),
            _ => this.unknown_key(entry, "[[rule]]"),
        });
        into
    }
}

/// A table and the place of its header.
type Table<'a> = (&'a DeTable<'a>, Place);

/// Tables.
impl<'a> Reader<'a> {
    fn place(&self, value: &Spanned<DeValue<'_>>) -> Place {
        Place::new(self.source, value.span())
    }

    fn entries(&self, table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
        let entry = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, _)| Entry {
            key: key.get_ref(),
            key_place: Place::new(self.source, key.span()),
            value,
        };
        let written =
            |entry: &Entry<'_>| self.broken.trusts(&entry.key_place) && self.broken.trusts(&self.place(entry.value));
        table.iter().map(entry).filter(written).collect()
    }

    /// A list's elements, without those that the parser made up.
    fn elements(&self, array: &'a DeArray<'a>) -> Vec<&'a Spanned<DeValue<'a>>> {
        array.iter().filter(|value| self.broken.trusts(&self.place(value))).collect()
    }

    /// A table that stands once in a file.
    fn single(&mut self, entry: &Entry<'a>, mut read: impl FnMut(&mut Self, &'a DeTable<'a>, Place)) {
        let place = self.place(entry.value);
        match entry.value.get_ref() {
            DeValue::Table(table) => read(self, table, place),
            _ => self.push(
                Problem::mistake(Some(&place), format!("[{}] is one table", entry.key))
                    .hint(format!("write [{}] above its keys", entry.key)),
            ),
        }
    }

    /// A table that may stand several times.
    fn several(&mut self, entry: &Entry<'a>, mut read: impl FnMut(&mut Self, &Table<'a>)) {
        let key = entry.key;
        let wrong = |place: &Place| {
            let message = format!("there may be several of [[{key}]], so it stands in double brackets");
            Problem::mistake(Some(place), message).hint(format!("write [[{key}]]"))
        };
        let DeValue::Array(tables) = entry.value.get_ref() else {
            // Whoever wrote one bracket meant one table: its own mistakes are worth hearing too.
            let place = self.place(entry.value);
            self.push(wrong(&place));
            if let DeValue::Table(table) = entry.value.get_ref() {
                read(self, &(table, place));
            }
            return;
        };
        for value in tables.iter() {
            let place = self.place(value);
            match value.get_ref() {
                DeValue::Table(table) => read(self, &(table, place)),
                _ => self.push(wrong(&place)),
            }
        }
    }

    fn walk(&mut self, (table, place): &Table<'a>, mut read: impl FnMut(&mut Self, &Entry<'a>)) -> Origin {
        let before = self.problems.len();
        for entry in self.entries(table) {
            read(self, &entry);
        }
        Origin { place: Some(place.clone()), damaged: self.problems.len() > before || self.broken.touches(place) }
    }

    fn unknown_table(&mut self, entry: &Entry<'_>) {
        let names = KEYS.iter().map(|(table, _)| table.trim_matches(['[', ']']));
        let bracketed = |name: &str| KEYS.iter().find(|(table, _)| table.trim_matches(['[', ']']) == name);
        let key = entry.key;
        let problem = Problem::mistake(Some(&entry.key_place), format!("there is no table or key {key:?} here"));
        let home = KEYS.iter().find(|(_, keys)| keys.contains(&key));
        self.push(match (nearest(key, names).and_then(bracketed), home) {
            (_, Some((table, _))) => problem.hint(format!("{key} belongs below {table}")),
            (Some((table, _)), _) => problem.hint(format!("did you mean {table}?")),
            _ => {
                let tables: Vec<&str> = KEYS.iter().map(|(table, _)| *table).collect();
                problem.hint(format!("the tables are {}", tables.join(", ")))
            }
        });
    }

    fn unknown_key(&mut self, entry: &Entry<'_>, table: &str) {
        let known = KEYS.iter().find(|(name, _)| *name == table).map_or(&[][..], |(_, keys)| keys);
        self.unknown(entry, table, known);
    }

    fn unknown(&mut self, entry: &Entry<'_>, table: &str, known: &[&str]) {
        let key = entry.key;
        let problem = Problem::mistake(Some(&entry.key_place), format!("{table} has no key {key:?}"));
        let home = KEYS.iter().find(|(_, keys)| keys.contains(&key));
        self.push(match (nearest(key, known.iter().copied()), home) {
            (Some(near), _) => problem.hint(format!("did you mean {near}?")),
            (None, Some((other, _))) => problem.hint(format!("{key} belongs below {other}")),
            (None, None) => problem.hint(format!("its keys are {}", known.join(", "))),
        });
    }

    fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        for (table, keys) in KEYS {
            for key in *keys {
                let file = File::parse("x", &format!("{table}\n{key} = 2020-01-01\n"));
                let told: Vec<String> = file.problems.iter().map(ToString::to_string).collect();
                assert!(told.len() == 1 && told[0].contains(" must be "), "{table} {key}: {told:?}");
            }
        }
    }
}
