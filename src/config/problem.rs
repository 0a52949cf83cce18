//! A mistake or a warning, and where it stands.
//!
//! The person who reads these has a file open in an editor: every problem names `file:line:column`, shows the line with
//! the words in question underlined, and says what to do. A text is kept once, shared by all places in it, so that a
//! place is small enough to be kept beside each of a million names.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A text that a configuration was read from.
pub struct Source {
    name: String,
    text: String,
    /// Offsets at which lines begin; found when the first problem is shown.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// The text of the file called `name`; the name is what messages show.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), lines: OnceLock::new() })
    }

    /// The file's name, as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zero-based line that holds `offset`, and the offset at which it begins.
    fn line_at(&self, offset: usize) -> (usize, usize) {
        let lines = self.lines.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|&(_, octet)| octet == b'\n');
            std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
        });
        let index = lines.partition_point(|&begin| begin <= offset).saturating_sub(1);
        (index, lines.get(index).copied().unwrap_or(0))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where something stands: a part of a text, or the whole of it.
#[derive(Clone)]
pub struct Place {
    source: Arc<Source>,
    /// Begin and end in bytes; 32 bits because there may be a million places.
    span: Option<(u32, u32)>,
}

impl Place {
    /// The bytes `span` of `source`.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let short = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { source: Arc::clone(source), span: Some((short(span.start), short(span.end))) }
    }

    /// A file as a whole.
    pub fn whole(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), span: None }
    }

    /// The text it is in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Offset of the first byte; 0 for a whole file.
    pub fn offset(&self) -> usize {
        self.span.map_or(0, |(start, _)| start as usize)
    }

    /// One-based line and column, the column counted in characters; `None` for a whole file.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let (start, _) = self.span?;
        let (line, begin) = self.source.line_at(start as usize);
        let before = self.source.text.get(begin..start as usize).unwrap_or("");
        Some((line + 1, before.chars().count() + 1))
    }

    /// The whole line it begins on.
    pub(super) fn line(&self) -> &str {
        let (_, begin) = self.source.line_at(self.offset());
        self.source.text.get(begin..).unwrap_or("").split('\n').next().unwrap_or("")
    }

    /// The line it stands on with the place underlined.
    fn excerpt(&self) -> Option<Excerpt> {
        let (start, end) = self.span?;
        let (start, end) = (start as usize, end as usize);
        let (line, begin) = self.source.line_at(start);
        let whole = self.line().trim_end();
        let before = self.source.text.get(begin..start)?.chars().count();
        let inside = self.source.text.get(start..end).unwrap_or("");
        let marked = inside.split('\n').next().unwrap_or("").trim_end().chars().count();
        Some(Excerpt::cut(line + 1, whole, before, marked))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&harmless(&self.source.name))?;
        match self.line_and_column() {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `text` with what a terminal would act upon replaced: messages quote files, and whoever reads them may not have written
/// those.
fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}").into() } else { text.into() }
}

/// The most characters of a source line that are shown; a list of a thousand names may stand on one line.
const WIDEST: usize = 100;

/// One line of a text, ready to be shown.
struct Excerpt {
    line: usize,
    text: String,
    before: usize,
    marked: usize,
}

impl Excerpt {
    /// Cuts a long line around its mark, and replaces what a terminal would act upon.
    fn cut(line: usize, whole: &str, before: usize, marked: usize) -> Self {
        let indent = whole.chars().take_while(|letter| letter.is_whitespace()).count().min(before);
        let skip = if before - indent + marked.min(40) > WIDEST { before - 20 } else { indent };
        let mut shown = whole.chars().skip(skip).map(|letter| match letter {
            '\t' => ' ',
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        });
        let mut text: String = shown.by_ref().take(WIDEST).collect();
        let mut before = before - skip;
        let marked = marked.min(WIDEST.saturating_sub(before)).max(1);
        if shown.next().is_some() {
            text.push('…');
        }
        if skip > indent {
            text.insert(0, '…');
            before += 1;
        }
        Self { line, text, before, marked }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>5} | {}", self.line, self.text)?;
        writeln!(f, "      | {:before$}{}", "", "^".repeat(self.marked), before = self.before)
    }
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Mistake,
    /// Legal, and probably not what was meant.
    Warning,
}

/// A mistake or a warning, and where it stands.
#[derive(Debug, Clone)]
pub struct Problem {
    severity: Severity,
    place: Option<Place>,
    message: String,
    note: Option<(Place, &'static str)>,
    hint: Option<String>,
}

impl Problem {
    /// A mistake; `place` is `None` for a value that no file holds.
    pub fn mistake(place: Option<&Place>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Mistake, place: place.cloned(), message: message.into(), note: None, hint: None }
    }

    /// A warning.
    pub fn warning(place: Option<&Place>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::mistake(place, message) }
    }

    /// Adds another place that has to do with it, and what stands there.
    #[must_use]
    pub fn note(mut self, place: Option<&Place>, what: &'static str) -> Self {
        self.note = place.map(|place| (place.clone(), what));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, told where a file is named instead of for the file as a whole.
    #[must_use]
    pub(super) fn moved_to(mut self, place: Option<&Place>) -> Self {
        if let Some(whole) = self.place.take() {
            self.message = format!("{} {}", whole.source().name(), self.message);
        }
        self.place = place.cloned();
        self
    }

    /// Mistake or warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Where it stands; `None` for a value that no file holds.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    /// Several lines, without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.render(&mut text)?;
        f.write_str(text.trim_end())
    }
}

impl Problem {
    fn render(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let severity = match self.severity {
            Severity::Mistake => "error",
            Severity::Warning => "warning",
        };
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        writeln!(f, "{severity}: {}", harmless(&self.message))?;
        if let Some(excerpt) = self.place.as_ref().and_then(Place::excerpt) {
            write!(f, "{excerpt}")?;
        }
        if let Some((place, what)) = &self.note {
            writeln!(f, "      note: {place}: {what}")?;
            if let Some(excerpt) = place.excerpt() {
                write!(f, "{excerpt}")?;
            }
        }
        match &self.hint {
            Some(hint) => writeln!(f, "      hint: {}", harmless(hint)),
            None => Ok(()),
        }
    }
}

/// Every mistake of a configuration, with its warnings, in the order in which they stand.
#[derive(Debug, Clone)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many are mistakes, and how many warnings.
    pub fn count(&self) -> (usize, usize) {
        let mistakes = self.0.iter().filter(|problem| problem.severity == Severity::Mistake).count();
        (mistakes, self.0.len() - mistakes)
    }
}

impl fmt::Display for Problems {
    /// All of them, with an empty line between two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_one_based_and_count_characters() {
        let source = Source::new("x.toml", "a = 1\r\né = \"ü\" # x\n");
        let at = source.text().find("\"ü\"").unwrap();
        let place = Place::new(&source, at..at + 4);
        assert_eq!(place.to_string(), "x.toml:2:5");
        let shown = Problem::mistake(Some(&place), "bad").hint("do").to_string();
        assert_eq!(shown, "x.toml:2:5: error: bad\n    2 | é = \"ü\" # x\n      |     ^^^\n      hint: do");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let source = Source::new("x", format!("{}\u{1b}b{}", "a".repeat(500), "c".repeat(500)));
        let shown = Problem::warning(Some(&Place::new(&source, 501..502)), "m").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "x:1:502: warning: m");
        let mark = lines[2].chars().position(|letter| letter == '^').unwrap();
        assert_eq!(lines[1].chars().nth(mark), Some('b'));
        assert!(lines[1].chars().count() < 120 && !lines[1].contains('\u{1b}'));
    }

    #[test]
    fn nothing_is_shown_that_a_terminal_would_act_upon() {
        let source = Source::new("x\u{1b}[2J", "\u{1b}[31m\n");
        let problem = Problem::mistake(Some(&Place::new(&source, 0..3)), "not \u{8}\n")
            .note(Some(&Place::whole(&source)), "first");
        let shown = problem.hint("write \r").to_string();
        assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
        assert_eq!(shown.lines().count(), 5, "{shown}");
    }

    #[test]
    fn the_end_of_a_text_and_an_empty_text_can_be_pointed_at() {
        for text in ["", "a\n", "a"] {
            let source = Source::new("x", text);
            let shown = Problem::mistake(Some(&Place::new(&source, text.len()..text.len())), "m").to_string();
            assert!(shown.ends_with('^'), "{shown}");
        }
    }
}
