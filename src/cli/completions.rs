//! `phzd completions`: what a shell completes after `phzd`, from the definitions that `--help` is made of.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completions for `shell`.
pub fn completions(shell: Shell) -> ExitCode {
    // Into memory first: who closes the output early is no reason to panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "phzd", &mut script);
    let _ = io::stdout().write_all(&script);
    ExitCode::SUCCESS
}
