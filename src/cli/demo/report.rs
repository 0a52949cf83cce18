//! What the demo prints: who asked what and what came back, side by side, and how to ask by hand.

use std::net::SocketAddr;

use super::questions::{BUCKET, Heard, PRIVATE_HOST, PUBLIC_HOST, Row};
use phzd::wire::Transport;

/// Columns before the answers: the type, and how it was asked.
const KIND: usize = 7;
/// Columns of one host's answers. The whole is 100 wide at most.
const CELL: usize = 45;

/// The whole report. `taken` says who has the usual address, if that is why it was not used.
pub fn whole(server: SocketAddr, stand_in: SocketAddr, taken: Option<&str>, rows: &[Row], once: bool) -> String {
    let mut text = String::new();
    if let Some(taken) = taken {
        text += &format!("{taken}: the demo takes a free port, {}.\n", server.port());
    }
    text += &format!(
        "phzd serves on {server}, UDP and TCP; the VPC's resolver is a stand-in on {stand_in}.\n\
         {BUCKET} is to be private\n\
         for hosts in 127.0.1.0/24; hosts in 127.0.2.0/24 are to notice nothing.\n\n"
    );
    text += &line("", &format!("private host {PRIVATE_HOST}"), &format!("public host {PUBLIC_HOST}"));
    let rule = "-".repeat(CELL);
    text += &line(&rule[..KIND - 1], &rule, &rule);
    let mut name = "";
    for row in rows {
        if row.question.name != name {
            name = row.question.name;
            text += &format!("\n{name}\n");
        }
        text += &answers(row);
    }
    text += &verdict(rows);
    text += &by_hand(server, once);
    text
}

/// A row's answers side by side, and why.
fn answers(row: &Row) -> String {
    let kind = match row.question.transport {
        Transport::Udp => row.question.kind.to_string(),
        Transport::Tcp => format!("{} TCP", row.question.kind),
    };
    let (private, public) = (wrapped(&row.private.lines()), wrapped(&row.public.lines()));
    let mut text = String::new();
    for index in 0..private.len().max(public.len()) {
        let cell = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        text += &line(if index == 0 { &kind } else { "" }, &cell(&private), &cell(&public));
    }
    for (host, heard) in [("private", &row.private), ("public", &row.public)] {
        text += &complaint(host, heard);
    }
    text + &line("", &format!("  ({})", row.question.why), "")
}

/// What a wrong answer should have been; nothing if it was right.
fn complaint(host: &str, heard: &Heard) -> String {
    if heard.is_right() {
        return String::new();
    }
    let mut text = line("WRONG", &format!("the {host} host should have got"), "");
    for expected in heard.expected.lines() {
        text += &line("", &format!("  {expected}"), "");
    }
    text
}

/// How many answers were right.
fn verdict(rows: &[Row]) -> String {
    let heard = || rows.iter().flat_map(|row| [&row.private, &row.public]);
    match (heard().filter(|heard| !heard.is_right()).count(), heard().count()) {
        (0, all) => format!("\nAll {all} answers are right.\n"),
        (wrong, all) => format!("\n{wrong} of {all} answers are WRONG.\n"),
    }
}

/// The commands that ask the same.
fn by_hand(server: SocketAddr, once: bool) -> String {
    let dig = format!("dig @{} -p {}", server.ip(), server.port());
    let mut text = String::from(if once {
        "\nTo ask by hand, run `phzd demo`, which goes on serving, and beside it:\n\n"
    } else {
        "\nTo ask by hand, while this runs:\n\n"
    });
    for (host, what) in [
        (PRIVATE_HOST, BUCKET.to_owned()),
        (PUBLIC_HOST, BUCKET.to_owned()),
        (PRIVATE_HOST, format!("{BUCKET} +tcp")),
        (PRIVATE_HOST, format!("{BUCKET} AAAA")),
    ] {
        text += &format!("  {dig} -b {host} {what}\n");
    }
    if !once {
        text += "\nServing until Ctrl-C.\n";
    }
    text
}

/// A line of the table.
fn line(kind: &str, private: &str, public: &str) -> String {
    let line = format!("{kind:KIND$}{private:CELL$} {public}");
    format!("{}\n", line.trim_end())
}

/// `phrases`, broken between words where a cell ends.
fn wrapped(phrases: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for phrase in phrases {
        let mut current = String::new();
        for word in phrase.split(' ') {
            if !current.is_empty() && current.len() + 1 + word.len() > CELL {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current += word;
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_do_not_fit_a_cell_go_on_the_next_line() {
        let long = "x".repeat(CELL - 2);
        assert_eq!(wrapped(&[format!("a b {long}")]), ["a b", &long]);
        assert_eq!(wrapped(&["a b".into(), "c".into()]), ["a b", "c"]);
    }
}
