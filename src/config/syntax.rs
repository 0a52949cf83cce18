//! What the TOML parser complains of, made bearable.
//!
//! The parser recovers from a mistake and goes on, which finds several at once; but one bracket that is not closed
//! makes it complain of every line that follows, and it makes up values where it could not read one.

use std::sync::Arc;

use toml::de::DeTable;

use super::problem::{Place, Problem, Source};

/// The syntax mistakes of one text, and which of its values are not what was written.
pub(super) struct Broken {
    /// One for a line at most.
    pub problems: Vec<Problem>,
    /// Lines with a syntax mistake.
    lines: Vec<usize>,
    /// An unclosed list begins at this line, and all that follows was taken for a part of it.
    lost_from: Option<usize>,
}

impl Broken {
    /// Whether what stands at `place` was written so; the parser makes up values to get past a mistake.
    pub fn trusts(&self, place: &Place) -> bool {
        if self.problems.is_empty() {
            return true;
        }
        let line = place.line_and_column().map_or(0, |(line, _)| line);
        !self.lines.contains(&line) && self.lost_from.is_none_or(|lost| line < lost)
    }

    /// Whether a whole table may be lost: its header is broken, or a part of something else.
    pub fn lost_a_table(&self) -> bool {
        let header =
            |problem: &Problem| problem.place().is_some_and(|place| place.line().trim_start().starts_with('['));
        let endless = |problem: &Problem| problem.message().starts_with("invalid multi-line");
        self.lost_from.is_some() || self.problems.iter().any(|problem| header(problem) || endless(problem))
    }

    /// Whether a mistake stands between the header at `table` and the next.
    pub fn touches(&self, table: &Place) -> bool {
        if self.problems.is_empty() {
            return false;
        }
        let first = table.line_and_column().map_or(0, |(line, _)| line);
        let below = table.source().text().get(table.offset()..).unwrap_or("").lines().skip(1);
        let last = first + below.take_while(|line| !line.trim_start().starts_with('[')).count();
        self.lines.iter().any(|line| (first..=last).contains(line))
    }
}

/// The parser gives up at a line that is no `key = value`. This blanks such lines, keeping every offset, until it reads
/// on to the end; `None` if there are none. The mistakes of the blanked lines come with the text.
pub(super) fn repair(text: &str, errors: &[toml::de::Error]) -> Option<(String, Vec<toml::de::Error>)> {
    /// Whoever has more has another kind of file.
    const MOST: usize = 100;
    let ends = |errors: &[toml::de::Error]| {
        errors.iter().find(|error| error.message().starts_with("key with no value")).cloned()
    };
    let mut error = ends(errors)?;
    let mut text = text.to_owned();
    let mut told = Vec::new();
    while told.len() < MOST {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let begin = text.get(..at)?.rfind('\n').map_or(0, |before| before + 1);
        let end = text.get(at..)?.find('\n').map_or(text.len(), |length| at + length);
        text.replace_range(begin..end, &" ".repeat(end - begin));
        told.push(error);
        match ends(&DeTable::parse_recoverable(&text).1) {
            Some(next) => error = next,
            None => break,
        }
    }
    Some((text, told))
}

/// The mistakes of `source` that the parser found.
pub(super) fn problems(source: &Arc<Source>, errors: &[toml::de::Error]) -> Broken {
    let mut broken = Broken { problems: Vec::new(), lines: Vec::new(), lost_from: None };
    let open = |message: &str| message.starts_with("unclosed array,") || message.starts_with("unclosed inline table");
    let unclosed = errors.iter().any(|error| open(error.message()));
    let swallowed =
        |message: &str| ["array", "inline table", "key-value pairs"].iter().any(|part| message.contains(part));
    // The parser tells first what it finds first: tokens, then values, then tables.
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or_default(), error)).collect();
    errors.sort_by_key(|(span, _)| span.start);
    for (span, error) in errors {
        let place = Place::new(source, span);
        let line = place.line_and_column().map_or(0, |(line, _)| line);
        if broken.lines.contains(&line) || broken.lost_from.is_some() {
            continue;
        }
        let (message, hint) = if unclosed && swallowed(error.message()) {
            broken.lost_from = Some(line);
            ("a list or table that begins before here is not closed", Some("look for the missing ], } or comma above"))
        } else {
            (error.message(), hint(error.message()))
        };
        broken.lines.push(line);
        let problem = Problem::mistake(Some(&place), message);
        broken.problems.push(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }
    broken
}

/// What to do about the commonest of them.
fn hint(message: &str) -> Option<&'static str> {
    let hints = [
        ("string values must be quoted", "put the value in double quotes"),
        ("invalid multi-line", "close the text with the three quotes it began with"),
        ("unclosed array table", "a table that may stand several times is written [[bucket]]"),
        ("array", "a list is written [\"a\", \"b\"]"),
        ("unclosed table", "a table that stands once is written [server]"),
        ("invalid basic string", "close the text with the quote it began with, on the same line"),
        ("duplicate key", "keep one of them; a table that may stand several times is written [[…]]"),
        ("key with no value", "write key = value"),
        ("unexpected key or value", "write one key = value on a line"),
        ("missing escaped value", "in double quotes write \\\\ for a backslash"),
    ];
    hints.iter().find(|(part, _)| message.contains(part)).map(|&(_, hint)| hint)
}
