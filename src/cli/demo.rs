//! `phzd demo`.

use std::process::ExitCode;

/// Not yet.
pub fn demo(_once: bool) -> ExitCode {
    ExitCode::FAILURE
}
