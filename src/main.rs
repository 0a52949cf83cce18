//! The `phzd` command: a thin user of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    phzd::cli::main()
}
