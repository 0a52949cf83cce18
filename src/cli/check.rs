//! `phzd check`: every mistake of a configuration, with the code that `run` and a reload use.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Says every mistake and warning on standard error, and one line of what was read on standard output.
pub fn check(path: &Path) -> ExitCode {
    let Some((config, warnings)) = super::load(path) else { return ExitCode::FAILURE };
    let names: usize = config.buckets.iter().map(|bucket| bucket.names.len()).sum();
    // Who closed the output does not want the line, and the exit status says the same.
    let _ = writeln!(
        io::stdout(),
        "{}: good: {}, {}, {}, {}, {}{}",
        path.display(),
        count(names, "bucket"),
        count(config.zones.len(), "other zone"),
        count(config.endpoints.len(), "endpoint"),
        count(config.subnets.len(), "subnet"),
        count(config.rules.len(), "rule"),
        if warnings.is_empty() { String::new() } else { format!("; {}", count(warnings.len(), "warning")) },
    );
    ExitCode::SUCCESS
}

/// A number of things, in words that fit the number.
fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
