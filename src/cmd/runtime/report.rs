//! Where errors go: standard error and the file of `--log`, whose lines engines parse.

use crate::cmd::runtime::Top;
use crate::error::{Context, Error, Result};
use crate::utils::log::{Sink, install};
use crate::utils::time::Timestamp;
use log::LevelFilter;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

/// The places.
#[derive(Debug, Default)]
pub struct Report {
    file: Option<File>,
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'static str,
    msg: &'a str,
    time: String,
}

impl Report {
    /// Opens the log and installs the sink for what the engine logs by itself.
    ///
    /// # Errors
    /// A bad format, or a file that cannot be opened.
    pub fn new(top: &Top) -> Result<Report> {
        let json = match top.log_format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(Error::invalid(format!("invalid log format {other:?}: want text or json"))),
        };
        let level = match &top.log_level {
            Some(word) => crate::utils::log::parse_level(word)?,
            None if top.debug => LevelFilter::Debug,
            None => LevelFilter::Warn,
        };
        install("lcr", level, Sink::Stderr)?;
        let open = |path| OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = top.log.as_ref().map(|path| open(path).context(|| format!("open log file {path:?}"))).transpose()?;
        Ok(Report { file, json })
    }

    /// Tells an error; the exit code is 1.
    pub fn failure(&self, e: &Error) -> ExitCode {
        // Names out of the container must not move the cursor of whoever reads this.
        let mut text = String::new();
        for c in e.to_string().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        let _ = writeln!(std::io::stderr(), "lcr: {text}"); // nowhere else to report to
        if let Some(mut file) = self.file.as_ref() {
            let time = Timestamp::now().rfc3339();
            let line = if self.json {
                crate::utils::json::to_text(&Line { level: "error", msg: &text, time })
            } else {
                format!("time={time:?} level=error msg={text:?}")
            };
            let _ = file.write_all(format!("{line}\n").as_bytes()); // standard error has it
        }
        ExitCode::FAILURE
    }
}
