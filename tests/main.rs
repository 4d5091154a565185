//! The integration tests: real containers through the real daemon, client and shim, a module per area.

mod lifecycle;
mod support;

use std::process::ExitCode;

/// How many of all may be skipped (no docker client, a kernel without a controller) before the run counts as failed.
const MAY_SKIP: usize = 20;

fn main() -> ExitCode {
    let modules = [lifecycle::TESTS];
    support::runner::main(&modules.concat(), MAY_SKIP)
}
