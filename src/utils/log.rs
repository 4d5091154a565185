//! The sink behind the `log` facade: stderr, a rotated file, or syslog's datagram socket.
//!
//! What each level means:
//! - error: an operator must act;
//! - warn: degraded but served;
//! - info: lifecycle, one line per state change, with ids in the line;
//! - debug: decisions;
//! - trace: the wire, redacted (not in release builds).
//!
//! Credentials and environments are never logged. Control characters are written escaped, so that no container can
//! forge a line.

use crate::error::{Context, Error, Result};
use crate::utils::syslog;
use crate::utils::time::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// Where lines go.
pub enum Sink {
    /// Standard error.
    Stderr,
    /// A file that rotates: at `max_size` bytes it becomes `.1`, and so on up to `max_files` files in all.
    File {
        /// The current file.
        path: PathBuf,
        /// Bytes.
        max_size: u64,
        /// Files including the current one.
        max_files: u32,
        /// Mode of new files.
        mode: u32,
    },
    /// `/dev/log`, RFC 3164 with facility daemon.
    Syslog,
}

struct Logger {
    ident: &'static str,
    sink: Mutex<Open>,
}

enum Open {
    Stderr,
    File { file: File, path: PathBuf, size: u64, max_size: u64, max_files: u32, mode: u32 },
    Syslog(Option<UnixDatagram>),
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Installs the sink for this process; `ident` names it in syslog.
///
/// # Errors
/// When the file cannot be opened, or a sink is installed already.
pub fn install(ident: &'static str, level: LevelFilter, sink: Sink) -> Result<()> {
    let open = match sink {
        Sink::Stderr => Open::Stderr,
        Sink::File { path, max_size, max_files, mode } => {
            let (file, size) = open_file(&path, mode)?;
            Open::File { file, path, size, max_size, max_files: max_files.max(1), mode }
        }
        Sink::Syslog => {
            let socket = syslog::connect();
            if socket.is_none() {
                // Who waits for lines there would wait for ever; the socket may come up later.
                let text = format!("{ident}: nobody listens on {}: until then nothing is logged\n", syslog::SOCKET);
                let _ = std::io::stderr().write_all(text.as_bytes()); // nowhere to report to
            }
            Open::Syslog(socket)
        }
    };
    let mut first = false;
    let logger = LOGGER.get_or_init(|| {
        first = true;
        Logger { ident, sink: Mutex::new(open) }
    });
    if !first {
        return Err(Error::internal("a log sink is installed already"));
    }
    log::set_logger(logger).map_err(|_| Error::internal("a logger is installed already"))?;
    log::set_max_level(level);
    Ok(())
}

/// Whether a sink is installed and lines go to standard error.
pub fn is_on_stderr() -> bool {
    LOGGER.get().is_some_and(|logger| matches!(*lock(&logger.sink), Open::Stderr))
}

/// Opens the log file anew, for a rotation done by somebody else (SIGHUP). Keeps the old one when that fails.
///
/// # Errors
/// The failing call.
pub fn reopen() -> Result<()> {
    let Some(logger) = LOGGER.get() else { return Ok(()) };
    match &mut *lock(&logger.sink) {
        Open::File { file, path, size, mode, .. } => {
            (*file, *size) = open_file(path, *mode)?;
        }
        Open::Syslog(socket) => *socket = syslog::connect(),
        Open::Stderr => {}
    }
    Ok(())
}

fn open_file(path: &Path, mode: u32) -> Result<(File, u64)> {
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .context(|| format!("create directory {directory:?}"))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).mode(mode);
    let file = match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // Whatever the mask for new files leaves of it.
            file.set_permissions(Permissions::from_mode(mode)).context(|| format!("chmod({path:?}, {mode:o})"))?;
            file
        }
        // The mode of one that is there is its owner's affair.
        Err(_) => options.create(true).open(path).context(|| format!("open log file {path:?}"))?,
    };
    let size = file.metadata().context(|| format!("fstat({path:?})"))?.len();
    Ok((file, size))
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What libraries tell of their inner life is nobody's concern.
        let own = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        metadata.level() <= if own { log::max_level() } else { log::max_level().min(log::LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = String::new();
        escape_into(&mut text, &record.args().to_string());
        let mut sink = lock(&self.sink);
        match &mut *sink {
            Open::Stderr => {
                let line = self.line(record.level(), &text);
                let _ = std::io::stderr().write_all(line.as_bytes()); // nowhere to report to
            }
            Open::File { file, path, size, max_size, max_files, mode } => {
                let line = self.line(record.level(), &text);
                if *size + line.len() as u64 > *max_size && *size > 0 && rotate(path, *max_files) {
                    match open_file(path, *mode) {
                        Ok(opened) => (*file, *size) = opened,
                        Err(_) => return,
                    }
                }
                if file.write_all(line.as_bytes()).is_ok() {
                    *size += line.len() as u64;
                }
            }
            Open::Syslog(socket) => {
                let severity = match record.level() {
                    Level::Error => syslog::ERROR,
                    Level::Warn => syslog::WARNING,
                    Level::Info => syslog::INFO,
                    Level::Debug | Level::Trace => syslog::DEBUG,
                };
                let line = syslog::head(syslog::DAEMON, severity, self.ident, std::process::id()) + &text;
                let sent = socket.as_ref().is_some_and(|s| s.send(line.as_bytes()).is_ok());
                if !sent {
                    *socket = syslog::connect(); // the syslog daemon was restarted, or is not there yet
                    let _ = socket.as_ref().map(|s| s.send(line.as_bytes()));
                }
            }
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn line(&self, level: Level, text: &str) -> String {
        format!("{} {} {:<5} {text}\n", Timestamp::now().rfc3339(), self.ident, level)
    }
}

fn rotate(path: &Path, max_files: u32) -> bool {
    let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    if max_files == 1 {
        return std::fs::remove_file(path).is_ok();
    }
    for n in (1..max_files - 1).rev() {
        let _ = std::fs::rename(numbered(n), numbered(n + 1)); // a gap in the numbers is no error
    }
    std::fs::rename(path, numbered(1)).is_ok()
}

fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}

/// Parses a level word of the command line: docker's and the original's (`FATAL` to `TRACE`), in any case.
///
/// # Errors
/// `Kind::Invalid` listing the words.
pub fn parse_level(word: &str) -> Result<LevelFilter> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "fatal" | "alert" | "crit" | "error" => LevelFilter::Error,
        "warn" | "warning" => LevelFilter::Warn,
        "notice" | "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "trace" => LevelFilter::Trace,
        _ => {
            return Err(Error::invalid(format!(
                "invalid log level {word:?}: want one of FATAL, ALERT, CRIT, ERROR, WARN, NOTICE, INFO, DEBUG, TRACE"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_forge_a_line() {
        let mut out = String::new();
        escape_into(&mut out, "a\n2026 isulad INFO \x1b[0m ö");
        assert_eq!(out, "a\\n2026 isulad INFO \\u{1b}[0m ö");
    }

    #[test]
    fn a_new_file_has_the_mode_that_is_asked_for() {
        let path = std::env::temp_dir().join(format!("log-mode-{}", std::process::id()));
        for (asked, want) in [(0o666, 0o666), (0o600, 0o666)] {
            open_file(&path, asked).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, want);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn levels() {
        assert_eq!(parse_level("Warning").unwrap(), LevelFilter::Warn);
        assert!(parse_level("loud").unwrap_err().to_string().contains("\"loud\""));
    }
}
