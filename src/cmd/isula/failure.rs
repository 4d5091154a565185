//! How a command fails: a line for standard error and an exit code.

use crate::error::{Error, Kind};

/// Ordinary failure.
pub const FAILED: u8 = 1;
/// Invalid arguments, or the daemon refused in `run` and `start`.
pub const REFUSED: u8 = 125;
/// The command cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command does not exist.
pub const NOT_FOUND: u8 = 127;

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to print; nothing when it was printed already.
    pub text: String,
    /// Exit code.
    pub code: u8,
}

impl Failure {
    /// Something failed on this side.
    pub fn local(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: FAILED }
    }

    /// The command line breaks a rule.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: REFUSED }
    }

    /// A file or value of the user cannot be used.
    pub fn unusable(e: &Error) -> Failure {
        Failure::usage(e.to_string())
    }

    /// What was to be said has been said.
    pub fn silent(code: u8) -> Failure {
        Failure { text: String::new(), code }
    }

    /// The daemon refused, or could not be asked.
    pub fn daemon(e: &Error) -> Failure {
        let code = match e.kind() {
            Kind::CommandNotFound => NOT_FOUND,
            Kind::CommandNotExecutable => NOT_EXECUTABLE,
            _ => FAILED,
        };
        let text = match e.kind() {
            Kind::Remote => e.to_string(),
            _ => format!("Error response from daemon: {e}"),
        };
        Failure { text, code }
    }

    /// The same with 125 for an ordinary failure, as `run` and `start` have it.
    pub fn refused(mut self) -> Failure {
        if self.code == FAILED {
            self.code = REFUSED;
        }
        self
    }
}

impl From<Error> for Failure {
    /// Errors that commands pass on are the daemon's.
    fn from(e: Error) -> Failure {
        Failure::daemon(&e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let of = |kind| {
            let f = Failure::daemon(&Error::new(kind, "x"));
            (f.code, f.clone().refused().code, f.text)
        };
        let said = "Error response from daemon: x".to_owned();
        assert_eq!(of(Kind::NotFound), (1, 125, said.clone()));
        assert_eq!(of(Kind::CommandNotExecutable), (126, 126, said.clone()));
        assert_eq!(of(Kind::CommandNotFound), (127, 127, said));
        assert_eq!(of(Kind::Remote), (1, 125, "x".to_owned()));
    }
}
