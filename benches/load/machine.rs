//! What a table was made on, for whom it is shown: the day, the machine, the programs' versions.

use std::fs;
use std::process::Command;

use crate::programs::Program;

/// One paragraph.
pub fn description(programs: &[Program]) -> String {
    let date = Command::new("date").arg("+%-d %B %Y").output().map(|date| date.stdout).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let count = about.lines().filter(|line| line.starts_with("processor")).count();
    let versions: Vec<String> = programs
        .iter()
        .map(|program| format!("{} {}", program.name(), program.version().unwrap_or_else(|| "?".to_owned())))
        .collect();
    format!(
        "{}, {count} cores of {}, Linux {}: {}.",
        String::from_utf8_lossy(&date).trim(),
        model.unwrap_or("an unknown kind"),
        kernel.trim(),
        versions.join(", ")
    )
}
