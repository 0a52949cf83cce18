//! What a check has found, and how that is written: a line each for people, an array for programs.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// What a check has found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, in a word or two.
    pub check: &'static str,
    /// What was looked at.
    pub subject: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub said: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and something is doubtful.
    Warning,
    /// It does not work.
    Failure,
    /// It could not be looked at.
    Skipped,
}

impl Finding {
    pub fn ok(check: &'static str, subject: impl fmt::Display, said: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Ok, said, None)
    }

    pub fn warning(
        check: &'static str,
        subject: impl fmt::Display,
        said: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, subject, Verdict::Warning, said, Some(remedy.into()))
    }

    pub fn failure(
        check: &'static str,
        subject: impl fmt::Display,
        said: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, subject, Verdict::Failure, said, Some(remedy.into()))
    }

    pub fn skipped(check: &'static str, subject: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::new(check, subject, Verdict::Skipped, why, None)
    }

    fn new(
        check: &'static str,
        subject: impl fmt::Display,
        verdict: Verdict,
        said: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self { check, subject: subject.to_string(), verdict, said: said.into(), remedy }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, subject, verdict, said, remedy } = self;
        write!(f, "{:<8} {check}: {subject}: {said}", verdict.word())?;
        remedy.iter().try_for_each(|remedy| write!(f, "\n         {remedy}"))
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Skipped => "skipped",
        }
    }
}

/// A line each on standard output, the remedy below, and how many of each kind at the end. Nobody may be there to read
/// it.
pub fn write(findings: &[Finding]) {
    let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let counts = [Verdict::Failure, Verdict::Warning, Verdict::Skipped].map(|verdict| (count(verdict), verdict));
    let [(failures, _), (warnings, _), (skipped, _)] = counts;
    let plural = |number: usize| if number == 1 { "" } else { "s" };
    text += &format!(
        "\n{failures} failure{}, {warnings} warning{}, {skipped} skipped\n",
        plural(failures),
        plural(warnings)
    );
    let _ = io::stdout().write_all(text.as_bytes());
}

/// An array of all on standard output.
pub fn write_json(findings: &[Finding]) {
    let text = serde_json::to_string_pretty(findings).expect("texts and nothing else have a form in JSON");
    let _ = writeln!(io::stdout(), "{text}");
}
