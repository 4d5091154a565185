//! The one error type. A layer adds what it alone knows; the chain prints as one line, outermost first.
//!
//! Texts are lower case without a full stop, name the operation and the object, and quote user input with `{:?}`,
//! except for those that clients of the original match word by word, which are kept verbatim.

use std::fmt;

/// What a caller may branch on. Everything else is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The object exists already.
    Exists,
    /// The object is in a state that forbids the operation.
    Conflict,
    /// The request breaks a rule; the text names the rule.
    Invalid,
    /// Known but not available here: kernel, build or configuration lacks it.
    Unsupported,
    /// The caller may not do this.
    Denied,
    /// A bound on concurrent work is reached; trying later may succeed.
    Busy,
    /// A deadline passed.
    Timeout,
    /// Stored or received bytes are not what they must be.
    Corrupt,
    /// The other end of a connection failed.
    Remote,
    /// The program to run does not exist in the container (exit code 127).
    CommandNotFound,
    /// The program to run exists but cannot be executed (exit code 126).
    CommandNotExecutable,
    /// A system call failed with this errno.
    Os(i32),
    /// A rule of this program itself was broken.
    Internal,
}

/// An error: kind, text and an optional cause.
pub struct Error(Box<Repr>);

struct Repr {
    kind: Kind,
    text: String,
    cause: Option<Error>,
}

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error without a cause.
    pub fn new(kind: Kind, text: impl Into<String>) -> Error {
        Error(Box::new(Repr { kind, text: text.into(), cause: None }))
    }

    /// A failed system call; `call` is the call with its arguments, as strace would print it.
    pub fn os(call: impl Into<String>, errno: i32) -> Error {
        Error::new(Kind::Os(errno), format!("{}: {}", call.into(), errno_text(errno)))
    }

    /// The calling thread's `errno` for a failed system call.
    pub fn last_os(call: impl Into<String>) -> Error {
        Error::os(call, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Wraps a standard I/O error; one of ours that travelled as one keeps its kind.
    pub fn io(call: impl Into<String>, e: std::io::Error) -> Error {
        let e = match e.downcast::<Error>() {
            Ok(own) => return own.context(call),
            Err(e) => e,
        };
        match e.raw_os_error() {
            Some(errno) => Error::os(call, errno),
            None => {
                let kind = match e.kind() {
                    std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => Kind::Timeout,
                    std::io::ErrorKind::UnexpectedEof => Kind::Corrupt,
                    _ => Kind::Internal,
                };
                Error::new(kind, format!("{}: {e}", call.into()))
            }
        }
    }

    /// `Kind::Invalid`.
    pub fn invalid(text: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, text)
    }

    /// `Kind::NotFound`.
    pub fn not_found(text: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, text)
    }

    /// `Kind::Conflict`.
    pub fn conflict(text: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, text)
    }

    /// `Kind::Corrupt`.
    pub fn corrupt(text: impl Into<String>) -> Error {
        Error::new(Kind::Corrupt, text)
    }

    /// `Kind::Internal`.
    pub fn internal(text: impl Into<String>) -> Error {
        Error::new(Kind::Internal, text)
    }

    /// Adds what the calling layer knows; the kind stays.
    pub fn context(self, text: impl Into<String>) -> Error {
        Error(Box::new(Repr { kind: self.0.kind, text: text.into(), cause: Some(self) }))
    }

    /// The same error under another kind.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The kind a caller may branch on.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The errno of a failed system call.
    pub fn errno(&self) -> Option<i32> {
        match self.0.kind {
            Kind::Os(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        match &self.0.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

/// For readers of ours that others read from.
impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        std::io::Error::other(e)
    }
}

/// Adds context to a result.
pub trait Context<T> {
    /// Adds the text that `text` makes to the error.
    fn context(self, text: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.context(text()))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::io(text(), e))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, text: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::os(text(), e as i32))
    }
}

/// The kernel's word for an errno, lower case as `strerror(3)` of the C libraries spells it but without a number.
pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let word = text.split(" (os error").next().unwrap_or(&text);
    word.to_ascii_lowercase()
}

/// An error's text quotes what it stumbled over, which is as long as its author liked: at most `head` bytes of the
/// beginning and `tail` of the end, where it often says what is wrong.
pub fn shortened(text: String, head: usize, tail: usize) -> String {
    if text.len() <= head + tail {
        return text;
    }
    let (head, tail) = (text.floor_char_boundary(head), text.ceil_char_boundary(text.len() - tail));
    format!("{} … {}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_prints_outermost_first() {
        let e = Error::os("mount(\"proc\", \"/proc\")", libc::EPERM).context("container \"a\"");
        assert_eq!(e.to_string(), "container \"a\": mount(\"proc\", \"/proc\"): operation not permitted");
        assert_eq!(e.kind(), Kind::Os(libc::EPERM));
    }

    #[test]
    fn a_readers_error_keeps_its_kind_on_the_way_through_readers() {
        let e = Error::io("read from the archive", std::io::Error::from(Error::corrupt("a wrong digest")));
        assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Corrupt, "read from the archive: a wrong digest"));
    }
}
