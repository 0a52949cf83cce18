//! What the TOML parser complains of, made bearable.
//!
//! The parser recovers from a mistake and goes on, which finds several at once; but one bracket that is not closed makes it
//! complain of every line that follows, and it makes up values where it could not read one.

use std::sync::Arc;

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
}

/// The mistakes of `source` that the parser found.
pub(super) fn problems(source: &Arc<Source>, errors: &[toml::de::Error]) -> Broken {
    let mut broken = Broken { problems: Vec::new(), lines: Vec::new(), lost_from: None };
    let unclosed = errors.iter().any(|error| error.message().starts_with("unclosed array"));
    for error in errors {
        let span = error.span().unwrap_or_default();
        let place = Place::new(source, span);
        let line = place.line_and_column().map_or(0, |(line, _)| line);
        if broken.lines.contains(&line) || broken.lost_from.is_some() {
            continue;
        }
        let message = if unclosed && error.message().contains("array") {
            broken.lost_from = Some(line);
            "a list that begins before here is not closed".to_owned()
        } else {
            error.message().to_owned()
        };
        broken.lines.push(line);
        let problem = Problem::mistake(Some(&place), message);
        broken.problems.push(match hint(error.message()) {
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
        ("array", "a list is written [\"a\", \"b\"]"),
        ("unclosed table", "a table is written [server] or [[bucket]]"),
        ("invalid basic string", "close the text with the quote it began with, on the same line"),
        ("duplicate key", "keep one of them; a table that may stand several times is written [[…]]"),
        ("missing escaped value", "in double quotes write \\\\ for a backslash"),
    ];
    hints.iter().find(|(part, _)| message.contains(part)).map(|&(_, hint)| hint)
}
