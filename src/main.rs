//! The `phzd` command: a thin user of the library.
//!
//! What a library must not do is here: arguments, the log, signals.

mod ask;
mod cli;
mod daemon;
mod listening;
mod operator;
mod stand_in;
mod systemd;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
