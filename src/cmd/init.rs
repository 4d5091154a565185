//! `docker-init`: process 1 of a container with `--init`, as docker's is called.
//!
//! Starts the program, passes to it what signals come, and waits for the orphans that the kernel gives to process 1
//! (pid_namespaces(7)): a program that was not written for that place neither does so nor is ended by signals for which
//! it has no handler. Ends as the program ends, and with it the kernel ends all else in the namespace.

use crate::utils::sys::child;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitCode};

/// Its own failures.
const FAILED: u8 = 125;

/// The applet: `docker-init [--] COMMAND [ARGUMENT]...`. The exit code is the command's, 128 + signal when it was killed,
/// 127 when there is none, 126 when it cannot be executed.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let mut words = words.into_iter();
    let first = match words.next() {
        Some(word) if word == "--" => words.next(),
        word => word,
    };
    let Some(program) = first else { return fail(FAILED, "no command; usage: docker-init [--] COMMAND [ARGUMENT]...") };
    // Before there is a child: no signal is lost between.
    if let Err(e) = child::block_signals() {
        return fail(FAILED, &e.to_string());
    }
    let mut command = Command::new(&program);
    command.args(words);
    child::lead_foreground(&mut command);
    match command.spawn() {
        Ok(started) => ExitCode::from(serve(started.id() as i32)),
        Err(e) => {
            let code = if e.kind() == ErrorKind::NotFound { 127 } else { 126 };
            // As it was spelled: it is the user's own word, on the user's own terminal or log.
            fail(code, &format!("exec {}: {e}", program.as_bytes().escape_ascii()))
        }
    }
}

/// Until `program` has ended: its exit code.
fn serve(program: i32) -> u8 {
    loop {
        match child::next_signal() {
            libc::SIGCHLD => {
                while let Some((pid, code)) = child::reap_any() {
                    if pid == program {
                        return code;
                    }
                }
            }
            // It was not waited for, so the id is still its own; if it has ended, the next round tells.
            signal => drop(child::send_signal(program, signal)),
        }
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "docker-init: {text}");
    ExitCode::from(code)
}
