//! phzd.toml(5): every table and key, with the words of the installed file, every limit, and the bounds of every number.

use clap_mangen::roff::{Roff, bold, italic, roman};

use super::shown::{Shown, shown};
use phzd::config::KEYS;
use phzd::config::limit::{LIMITS, Limit};

/// The page.
pub fn page() -> String {
    let mut roff = Roff::new();
    let source = super::source();
    roff.control("TH", ["phzd.toml", "5", super::date(), &source, super::MANUAL]);
    roff.control("SH", ["NAME"]).text([roman("phzd.toml - configuration of phzd, a split-horizon DNS resolver")]);
    roff.control("SH", ["SYNOPSIS"]).text([italic(crate::cli::CONFIG)]);
    roff.control("SH", ["DESCRIPTION"]).text([roman(
        "What phzd(8) answers itself, to whom, and whom it asks for everything else. The file is TOML. All files of the \
         folder of the same name with .d for .toml are read with it, in the order of their names: lists and tables add up, \
         and a single value may be given once. Relative paths begin at the folder of the file that names them. An unknown \
         key is a mistake.",
    )]);
    roff.control("PP", []).text([
        bold("phzd check"),
        roman(" tells every mistake. "),
        bold("phzd ctl reload"),
        roman(
            " and SIGHUP have phzd read the files again. All is taken over at once, listen addresses as well, but for these of \
             [server], which are in force when phzd is started again: udp-threads, pin-threads, busy-poll-us and \
             receive-buffer-kb of addresses that are open, control, http.",
        ),
    ]);
    let all = shown();
    roff.control("SH", ["TABLES AND KEYS"]).text([roman(
        "A table in double brackets may stand several times. Strings are quoted; a key that speaks of several takes a list.",
    )]);
    for (name, keys) in KEYS {
        table(&mut roff, &all, name, keys);
    }
    super::limits::section(&mut roff);
    numbers(&mut roff);
    example(&mut roff, &all);
    let folder = format!("{}/*.toml", crate::cli::CONFIG.replace(".toml", ".d"));
    let files = [(crate::cli::CONFIG, "The configuration."), (&folder, "What is added to it.")];
    super::terms(&mut roff, "FILES", files);
    super::see_also(&mut roff, &[("phzd", "8")]);
    // man(1) looks at the first line for what has to be run first: tbl, for the numbers.
    format!("'\\\" t\n{}", roff.render())
}

/// A table: what it is for, and its keys in the parser's order.
fn table(roff: &mut Roff, all: &[Shown], table: &str, keys: &[&str]) {
    let of = |key| all.iter().filter(move |shown| shown.table == table && shown.key == key);
    let meaning = |key| of(key).map(|shown| shown.meaning.as_str()).find(|meaning| !meaning.is_empty());
    roff.control("SS", [table]).text([roman(meaning(None).unwrap_or_default())]);
    for &key in keys {
        roff.control("TP", []).text([bold(key)]).text([roman(meaning(Some(key)).unwrap_or_default())]);
        let name = format!("{}.{key}", table.trim_matches(['[', ']']));
        if let Some(limit) = LIMITS.iter().find(|limit| limit.key == name) {
            roff.text([roman(bounds(limit))]);
        } else if let Some(default) = of(Some(key)).find(|shown| shown.is_default) {
            roff.text([roman(format!("Default: {}.", default.value))]);
        } else if let Some(example) = of(Some(key)).next() {
            roff.text([roman(format!("For example: {}.", example.value))]);
        }
    }
}

/// What a number may be, in a sentence.
fn bounds(limit: &Limit) -> String {
    format!("Default: {}; from {} to {}.", limit.default, limit.least, limit.most)
}

/// Every number, with why its bounds are where they are.
fn numbers(roff: &mut Roff) {
    roff.control("SH", ["NUMBERS"]).text([roman(
        "Every number, with its default, its bounds, and why they are where they are. zone.ttl is the ttl of a record.",
    )]);
    roff.control("PP", []).control("TS", []);
    // Four columns, and below each row its reason across all of them: beside them it would not fit 80 columns.
    let rows = vec!["lb r r r\nl s s s"; LIMITS.len()].join("\n");
    roff.text([roman(format!("lb rb rb rb\n{rows}."))]);
    roff.text([roman("key\tdefault\tleast\tmost")]);
    for limit in LIMITS {
        let Limit { key, default, least, most, reason } = limit;
        roff.text([roman(format!("{key}\t{default}\t{least}\t{most}"))]);
        roff.text([roman(format!("T{{\n{reason}\nT}}"))]);
    }
    roff.control("TE", []);
}

/// The small working example of the installed file.
fn example(roff: &mut Roff, all: &[Shown]) {
    roff.control("SH", ["EXAMPLE"]);
    roff.text([roman(
        "The hosts of one subnet get the endpoint's address for one bucket; everything else is forwarded:",
    )]);
    let live = |table| all.iter().filter(move |shown| shown.table == table && shown.is_live && shown.key.is_some());
    for head in all.iter().filter(|shown| shown.key.is_none() && shown.is_live) {
        if live(head.table).next().is_none() {
            continue;
        }
        roff.control("PP", []).control("RS", ["4"]).control("nf", []).text([roman(head.table)]);
        for Shown { key, value, .. } in live(head.table) {
            roff.text([roman(format!("{} = {value}", key.unwrap_or_default()))]);
        }
        roff.control("fi", []).control("RE", []);
    }
}
