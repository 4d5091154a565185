//! Placeholder.

mod encode;
mod log;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the applet.
pub fn main(_words: Vec<OsString>) -> ExitCode {
    todo!()
}
