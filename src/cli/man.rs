//! `phzd man`: the manual pages, made of what exists anyway: the definitions behind `--help`, the installed configuration,
//! and the limits. So they cannot say anything else.

mod configuration;
mod limits;
mod program;
mod shown;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// A manual page.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Page {
    /// The command, of section 8
    #[value(name = "phzd")]
    Program,
    /// The configuration, of section 5
    #[value(name = "phzd.toml")]
    Configuration,
}

/// What stands in the middle of a page's first line.
const MANUAL: &str = "phzd manual";

/// What changed with which version.
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

/// Prints a page.
pub fn man(page: Page) -> ExitCode {
    let text = match page {
        Page::Program => program::page(super::Cli::command()),
        Page::Configuration => configuration::page(),
    };
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// The day of this version, as the changelog has it; `""` while it has none.
fn date() -> &'static str {
    let heading = concat!("## [", env!("CARGO_PKG_VERSION"), "] - ");
    let day = CHANGELOG.lines().find_map(|line| line.strip_prefix(heading)).unwrap_or_default();
    if day.starts_with(|first: char| first.is_ascii_digit()) { day } else { "\"\"" }
}

/// Who made the page.
fn source() -> String {
    format!("phzd {}", env!("CARGO_PKG_VERSION"))
}

/// Adds a section that is a list of terms, each with a text.
fn terms<'a>(roff: &mut Roff, heading: &str, terms: impl IntoIterator<Item = (&'a str, &'a str)>) {
    roff.control("SH", [heading]);
    for (term, text) in terms {
        roff.control("TP", []).text([bold(term)]).text([roman(text)]);
    }
}

/// Adds the last section: other pages, `name(section)`.
fn see_also(roff: &mut Roff, pages: &[(&str, &str)]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (name, section) in pages {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([italic(*name), roman(format!("({section})"))]);
    }
    roff.text(line);
}
