//! Values under their keys: each of its own kind, with its place, or the mistake that it is of another.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::{ADDRESS_KEYS, Entry, RECORD_KEYS, Reader, TARGET_KEYS};
use crate::config::file::{EndpointAddress, List, NamedFile, Pairs, Record, Target, Written};
use crate::config::problem::Problem;

impl<'a> Reader<'a> {
    /// Keeps a value that may be given once, over all files together.
    pub(super) fn once<T>(&mut self, entry: &Entry<'_>, into: &mut Option<Written<T>>, value: T) {
        let place = self.place(entry.value);
        match into {
            Some(earlier) => self.push(
                Problem::mistake(Some(&place), format!("{} is given twice", entry.key))
                    .note(earlier.place.as_ref(), "the first is here")
                    .hint("keep one of them"),
            ),
            None => *into = Some(Written { value, place: Some(place) }),
        }
    }

    pub(super) fn text(&mut self, entry: &Entry<'_>, into: &mut Option<Written<String>>) {
        match entry.value.get_ref() {
            DeValue::String(text) => self.once(entry, into, text.to_string()),
            _ => self.wrong_type(entry, entry.value, "a text", "put it in double quotes"),
        }
    }

    /// A path, relative to the file that has it; a word without a slash or a dot is left as it is.
    pub(super) fn path(&mut self, entry: &Entry<'_>, into: &mut Option<Written<String>>) {
        match entry.value.get_ref() {
            DeValue::String(text) if text.contains(['/', '.']) => {
                self.once(entry, into, self.folder.join(&**text).display().to_string());
            }
            _ => self.text(entry, into),
        }
    }

    pub(super) fn number(&mut self, entry: &Entry<'_>, into: &mut Option<Written<i64>>) {
        match entry.value.get_ref() {
            DeValue::Integer(digits) => {
                // What does not fit 64 bits is beyond any bound, and told as such.
                let beyond = if digits.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
                let number = i64::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(beyond);
                self.once(entry, into, number);
            }
            _ => self.wrong_type(entry, entry.value, "a whole number", "write only digits, without quotes or a unit"),
        }
    }

    /// Lists add up over all files.
    pub(super) fn list(&mut self, entry: &Entry<'a>, into: &mut Option<List>) {
        let DeValue::Array(array) = entry.value.get_ref() else {
            let hint = match entry.value.get_ref() {
                DeValue::String(text) => format!("put it in brackets: {} = [{:?}]", entry.key, text.as_ref()),
                _ => format!("write {} = [\"…\"]", entry.key),
            };
            return self.wrong_type(entry, entry.value, "a list of texts", &hint);
        };
        let mut texts = Vec::with_capacity(array.len());
        for value in self.elements(array) {
            match value.get_ref() {
                DeValue::String(text) => {
                    texts.push(Written { value: text.to_string(), place: Some(self.place(value)) });
                }
                _ => self.wrong_type(entry, value, "made of texts", "put it in double quotes"),
            }
        }
        self.add_up(entry, into, texts);
    }

    pub(super) fn text_or_list(&mut self, entry: &Entry<'a>, into: &mut Option<List>) {
        match entry.value.get_ref() {
            DeValue::String(text) => {
                let one = Written { value: text.to_string(), place: Some(self.place(entry.value)) };
                self.add_up(entry, into, vec![one]);
            }
            _ => self.list(entry, into),
        }
    }

    pub(super) fn add_up<T>(&self, entry: &Entry<'_>, into: &mut Option<Written<Vec<T>>>, values: Vec<T>) {
        let empty = || Written { value: Vec::new(), place: Some(self.place(entry.value)) };
        into.get_or_insert_with(empty).value.extend(values);
    }

    pub(super) fn addresses(&mut self, entry: &Entry<'a>, into: &mut Option<Written<Vec<Written<EndpointAddress>>>>) {
        let what = "a list of addresses";
        let hint = "write addresses = [\"172.31.1.152\"] or [{ ip = \"172.31.1.152\", az-id = \"apne1-az4\" }]";
        let DeValue::Array(array) = entry.value.get_ref() else {
            return self.wrong_type(entry, entry.value, what, hint);
        };
        let mut addresses = Vec::with_capacity(array.len());
        for value in self.elements(array) {
            let place = Some(self.place(value));
            let mut address = EndpointAddress::default();
            match value.get_ref() {
                DeValue::String(text) => {
                    address.ip = Some(Written { value: text.to_string(), place: place.clone() });
                }
                DeValue::Table(table) => {
                    let before = self.problems.len();
                    for inner in self.entries(table) {
                        match inner.key {
                            "ip" => self.text(&inner, &mut address.ip),
                            "az-id" => self.text(&inner, &mut address.az_id),
                            _ => self.unknown(&inner, "an address", ADDRESS_KEYS),
                        }
                    }
                    if address.ip.is_none() && self.problems.len() == before {
                        self.push(Problem::mistake(place.as_ref(), "an address without ip").hint(hint));
                    }
                }
                _ => self.wrong_type(entry, value, "made of addresses", hint),
            }
            addresses.push(Written { value: address, place });
        }
        self.add_up(entry, into, addresses);
    }

    pub(super) fn targets(&mut self, entry: &Entry<'a>, into: &mut Option<Written<Vec<Written<Target>>>>) {
        let hint = "write targets = [\"10.0.0.53\"] or [{ url = \"tls://dns.corp.example\", ip = \"10.0.0.53\" }]";
        let DeValue::Array(array) = entry.value.get_ref() else {
            return self.wrong_type(entry, entry.value, "a list of targets", hint);
        };
        let mut targets = Vec::with_capacity(array.len());
        for value in self.elements(array) {
            let place = Some(self.place(value));
            let mut target = Target::default();
            match value.get_ref() {
                DeValue::String(text) => target.url = Some(Written { value: text.to_string(), place: place.clone() }),
                DeValue::Table(table) => {
                    let before = self.problems.len();
                    for inner in self.entries(table) {
                        match inner.key {
                            "url" => self.text(&inner, &mut target.url),
                            "ip" => self.text_or_list(&inner, &mut target.ip),
                            _ => self.unknown(&inner, "a target", TARGET_KEYS),
                        }
                    }
                    if target.url.is_none() && self.problems.len() == before {
                        self.push(Problem::mistake(place.as_ref(), "a target without url").hint(hint));
                    }
                    // What is not there may be what could not be read, so nothing is made of the rest.
                    if self.problems.len() > before {
                        target = Target::default();
                    }
                }
                _ => self.wrong_type(entry, value, "made of targets", hint),
            }
            targets.push(Written { value: target, place });
        }
        self.add_up(entry, into, targets);
    }

    pub(super) fn records(&mut self, entry: &Entry<'a>, into: &mut Option<Written<Vec<Written<Record>>>>) {
        let hint = "write records = [{ name = \"db\", type = \"A\", values = [\"172.31.1.20\"] }]";
        let DeValue::Array(array) = entry.value.get_ref() else {
            return self.wrong_type(entry, entry.value, "a list of records", hint);
        };
        let mut records = Vec::with_capacity(array.len());
        for value in self.elements(array) {
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong_type(entry, value, "made of records", hint);
                continue;
            };
            let mut record = Record::default();
            let before = self.problems.len();
            for inner in self.entries(table) {
                match inner.key {
                    "name" => self.text(&inner, &mut record.name),
                    "type" => self.text(&inner, &mut record.kind),
                    "ttl" => self.number(&inner, &mut record.ttl),
                    "values" => self.list(&inner, &mut record.values),
                    "alias" => self.text(&inner, &mut record.alias),
                    _ => self.unknown(&inner, "a record", RECORD_KEYS),
                }
            }
            record.damaged = self.problems.len() > before;
            records.push(Written { value: record, place: Some(self.place(value)) });
        }
        self.add_up(entry, into, records);
    }

    /// A table of texts under names that are the user's own.
    pub(super) fn pairs(&mut self, entry: &Entry<'a>, into: &mut Option<Pairs>) {
        let DeValue::Table(table) = entry.value.get_ref() else {
            let hint = format!("write {} = {{ ap-northeast-1a = \"apne1-az4\" }}", entry.key);
            return self.wrong_type(entry, entry.value, "a table", &hint);
        };
        let mut pairs = Vec::with_capacity(table.len());
        for inner in self.entries(table) {
            let mut value = None;
            self.text(&inner, &mut value);
            let key = Written { value: inner.key.to_owned(), place: Some(inner.key_place.clone()) };
            pairs.extend(value.map(|value| (key, value)));
        }
        self.add_up(entry, into, pairs);
    }

    pub(super) fn flag(&mut self, entry: &Entry<'_>, into: &mut Option<Written<bool>>) {
        match entry.value.get_ref() {
            DeValue::Boolean(flag) => self.once(entry, into, *flag),
            _ => self.wrong_type(entry, entry.value, "true or false", "write it without quotes"),
        }
    }

    pub(super) fn named_file(&mut self, entry: &Entry<'_>, into: &mut Option<Written<NamedFile>>) {
        let DeValue::String(path) = entry.value.get_ref() else {
            return self.wrong_type(entry, entry.value, "a path", "put it in double quotes");
        };
        let file = (self.open)(&self.folder.join(path.as_ref()));
        self.sources.extend(file.text.iter().map(Arc::clone));
        self.once(entry, into, file);
    }

    pub(super) fn wrong_type(&mut self, entry: &Entry<'_>, value: &Spanned<DeValue<'_>>, expected: &str, hint: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{} must be {expected}, not {found}", entry.key);
        self.push(Problem::mistake(Some(&self.place(value)), message).hint(hint));
    }
}
