//! The one way to standard output. `println!` panics when the reader has gone (`isula ps | head`); this does not.

use super::failure::Failure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the reader of standard output has gone.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// What a shell reports for a program that SIGPIPE ended.
pub const PIPE_EXIT: u8 = 128 + libc::SIGPIPE as u8;

/// What is said when a session's output has no room; how that failed only its supervisor knows.
pub const UNWRITTEN: &str =
    "standard output or standard error cannot be written; the process goes on without this client";

/// Whether the reader of standard output has gone. The rest of the work is in vain, and there is nothing to report.
pub fn reader_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// Writes to standard output at once.
///
/// # Errors
/// When not all could be written.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for bytes.
///
/// # Errors
/// When not all could be written.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = Stdout;
    out.write_all(bytes).map_err(|e| Failure::local(format!("cannot write to standard output: {e}")))
}

/// Writes a line to standard error; nobody is left to tell when that fails.
pub fn complain(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Warns, and asks on standard input whether to go on.
///
/// # Errors
/// When the question cannot be written.
pub fn confirm(warning: &str) -> Result<bool, Failure> {
    print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y"))
}

/// Standard output without a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match nix::unistd::write(io::stdout(), bytes) {
                Ok(n) => return Ok(n),
                // Somebody else made the terminal or pipe non-blocking.
                Err(Errno::EAGAIN) => {
                    let out = io::stdout();
                    poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
                }
                Err(e) => {
                    if e == Errno::EPIPE {
                        READER_GONE.store(true, Ordering::Relaxed);
                    }
                    return Err(e.into());
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
