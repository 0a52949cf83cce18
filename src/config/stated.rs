//! Where in the configuration what is meant was written: for those who ask why an answer is as it is.
//!
//! Apart from [`Place`], which holds the whole text to show a line of it: this outlives the text, in every policy.

use std::fmt;
use std::sync::Arc;

use super::problem::Place;

/// The bit of a line that says that it is of the second file.
const SECOND: u32 = 1 << 31;

/// A file and a line. Two are always equal: where something stands is no part of what it means.
#[derive(Clone, Default)]
pub struct Stated(Option<(Arc<str>, u32)>);

impl Stated {
    /// Where `place` is; nowhere in a configuration built in code.
    pub(super) fn at(place: Option<&Place>) -> Self {
        Self(place.map(|place| (place.source().name().into(), line(place))))
    }
}

impl PartialEq for Stated {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Stated {}

impl fmt::Display for Stated {
    /// `FILE:LINE`, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((file, 0)) => f.write_str(file),
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where each of many names is written: in a table, or in the one file that it names. Equal as [`Stated`] are.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    files: [Option<Arc<str>>; 2],
    lines: Vec<u32>,
}

impl Lines {
    pub(super) fn of<'p>(places: impl Iterator<Item = Option<&'p Place>>) -> Self {
        let mut all = Self::default();
        for place in places {
            let Some(place) = place else { continue };
            let name = place.source().name();
            let file = match &mut all.files {
                [Some(first), _] if **first == *name => 0,
                [first @ None, _] => {
                    *first = Some(name.into());
                    0
                }
                [_, second] => {
                    second.get_or_insert_with(|| name.into());
                    SECOND
                }
            };
            all.lines.push(file | line(place));
        }
        all.lines.shrink_to_fit();
        all
    }

    /// Where the `nth` name is written.
    pub fn nth(&self, nth: usize) -> Stated {
        let stated = || {
            let line = self.lines.get(nth)?;
            let file = self.files.get(usize::from(line & SECOND != 0))?.clone()?;
            Some((file, line & !SECOND))
        };
        Stated(stated())
    }
}

impl PartialEq for Lines {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lines {}

/// The line that a place begins on; 0 for a whole file.
fn line(place: &Place) -> u32 {
    place.line_and_column().and_then(|(line, _)| u32::try_from(line).ok()).map_or(0, |line| line & !SECOND)
}

#[cfg(test)]
mod tests {
    use super::super::problem::Source;
    use super::*;

    #[test]
    fn names_of_two_files_keep_their_lines() {
        let (one, two) = (Source::new("one.toml", "a\nb\n"), Source::new("two.txt", "c\nd\ne"));
        let places = [Place::new(&one, 2..3), Place::new(&two, 0..1), Place::new(&two, 4..5)];
        let lines = Lines::of(places.iter().map(Some));
        let shown: Vec<_> = (0..4).map(|nth| lines.nth(nth).to_string()).collect();
        assert_eq!(shown, ["one.toml:2", "two.txt:1", "two.txt:3", ""]);
        assert_eq!(Stated::at(Some(&Place::whole(&one))).to_string(), "one.toml");
    }
}
