//! A session with a process: its terminal, its signals, its end.
//!
//! On a unix socket the daemon gets this process's own descriptors, and the bytes go past it: the client only waits for
//! the end, for signals and for a change of the window. Elsewhere the bytes come through a connection ([`pump`]).

mod keys;
mod pump;
mod signals;

use super::failure::Failure;
use super::output;
use crate::api::exec::ExecStartRequest;
use crate::client::{AttachRequest, Attached, Client, Stream};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::held::Held;
use crate::utils::sys::terminal::{RawMode, is_terminal, window_size};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signals::{Caught, Signals};
use std::cell::Cell;
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Bound of the pauses between questions whether something has ended.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// For how long it is asked.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Keys that detach unless told otherwise: the original's.
pub const DETACH_KEYS: &str = "ctrl-a,q";

/// Whose process it is.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The first process of a container.
    Container(&'a str),
    /// An exec session.
    Exec(&'a str),
}

/// How a session is held.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whose process.
    pub target: Target<'a>,
    /// It has a terminal.
    pub tty: bool,
    /// It has drawn there before, for others: it is made to draw again.
    pub redraw: bool,
    /// Standard input goes along.
    pub stdin: bool,
    /// Signals go to the process instead of ending the client.
    pub sig_proxy: bool,
    /// Keys that detach.
    pub detach_keys: &'a str,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process ended with this code.
    Exited(u8),
    /// The connection ended; it does not tell why.
    Closed,
    /// The user detached.
    Detached,
    /// A signal ended the client.
    Signal(i32),
    /// The reader of standard output has gone.
    ReaderGone,
    /// An output takes nothing any more.
    Unwritten,
}

/// How the process is reached.
pub enum Link {
    /// It has our descriptors.
    Handed(Attached),
    /// Its bytes come through a connection.
    Stream(Stream),
}

impl Link {
    /// Attaches to a container.
    pub fn attach(client: &Client, id: &str, request: &AttachRequest) -> Result<Link> {
        if client.can_hand() {
            with_descriptors(|fds| client.attach_handed(id, request, fds)).map(Link::Handed)
        } else {
            client.attach_stream(id, request).map(Link::Stream)
        }
    }

    /// Starts an exec session.
    pub fn exec(client: &Client, id: &str, request: &ExecStartRequest) -> Result<Link> {
        if client.can_hand() {
            with_descriptors(|fds| client.exec_start_handed(id, request, fds)).map(Link::Handed)
        } else {
            client.exec_start_stream(id, request).map(Link::Stream)
        }
    }
}

fn with_descriptors<T>(work: impl FnOnce([BorrowedFd<'_>; 3]) -> T) -> T {
    let (input, output, error) = (stdin(), stdout(), stderr());
    work([input.as_fd(), output.as_fd(), error.as_fd()])
}

/// Checks `--detach-keys`.
pub fn check_detach_keys(keys: Option<&str>) -> std::result::Result<(), Failure> {
    keys.map_or(Ok(()), |k| keys::parse(k).map(|_| ()).map_err(|e| Failure::unusable(&e)))
}

/// The exit code of what a session was with, whose connection ended without one. The daemon may hear of the end later than
/// we, and with a supervisor that was killed it knows the end only when all processes are gone, so it is asked more than
/// once.
///
/// # Errors
/// What `ask` gives; when it, the `what`, goes on.
pub fn await_end<T>(
    what: &str,
    mut ask: impl FnMut() -> std::result::Result<Option<T>, Failure>,
) -> std::result::Result<T, Failure> {
    let mut pause = Duration::from_millis(1);
    let end = Instant::now() + END_PATIENCE;
    loop {
        match ask()? {
            Some(end) => return Ok(end),
            None if Instant::now() > end => {
                return Err(Failure::local(format!("lost the connection to the {what}, which still runs")));
            }
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The size of the user's terminal, rows and columns.
pub fn terminal_size() -> Option<(u16, u16)> {
    window_size(stdout().as_fd()).or_else(|| window_size(stdin().as_fd()))
}

/// The user's side of a session: the terminal, raw if it is the input of a process with a terminal, and the signals
/// that are not for this client. Taken before the process is reached: what that writes first must not pass through a
/// terminal that changes line ends once more, and from then on a signal concerns it. Dropped, it gives back both.
pub struct Local {
    // In this order: signals are kept for the process until it is reached, and one that is let through must not find the
    // terminal raw.
    held: Option<Held>,
    raw: Option<RawMode>,
    signals: Signals,
}

impl Local {
    /// Takes the terminal of standard input, if it is one, and with `sig_proxy` the signals that are passed on.
    ///
    /// Without standard input the terminal stays as it is, as with docker's client: the keys are the shell's. A line of
    /// the process then ends with two carriage returns there, its own terminal's and this one's, which no eye sees.
    pub fn take(tty: bool, stdin: bool, sig_proxy: bool) -> std::result::Result<Local, Failure> {
        let input = std::io::stdin();
        let is_raw = tty && stdin && is_terminal(input.as_fd());
        // Before the signals: a client in the background is to be stopped by SIGTTOU here.
        let raw = is_raw.then(|| RawMode::enter(input.as_fd())).transpose().map_err(local)?;
        let signals = Signals::catch(tty, is_raw, sig_proxy).map_err(local)?;
        let held = sig_proxy.then(|| Signals::hold(PATIENCE)).transpose().map_err(local)?;
        if let Some(raw) = &raw {
            raw.heed_keys_after(UNANSWERED).map_err(local)?;
        }
        Ok(Local { held, raw, signals })
    }
}

fn local(e: Error) -> Failure {
    Failure::local(e.to_string()).refused()
}

/// Follows a session to its end, and gives back what was taken.
pub fn follow(
    client: &Client,
    options: &Options<'_>,
    link: Link,
    Local { held, raw, signals }: Local,
) -> std::result::Result<End, Failure> {
    drop(held);
    if let Some(raw) = &raw {
        raw.renew();
    }
    let session = Session { client, options, asked: Cell::new(0), raw, signals };
    if options.tty {
        // Of a size that does not change programs hear nothing.
        if options.redraw {
            session.resize(1);
        }
        session.resize(0);
    }
    match link {
        Link::Handed(attached) => session.wait_for(attached),
        Link::Stream(stream) => session.pump(stream),
    }
    .map_err(local)
}

/// Of so many signals that ask for the end of a process that stays, or of a client whose daemon does not answer, the last
/// ends the client.
const PATIENCE: u32 = 3;
/// Seconds without an answer after which a raw terminal's keys for signals end the client. Until then they are the
/// process's, which may be reading them before this client knows that it runs.
const UNANSWERED: u32 = 5;

/// A session in progress. Dropped, it gives back the terminal and then the signals.
struct Session<'a> {
    client: &'a Client,
    options: &'a Options<'a>,
    /// How often the process was asked to end.
    asked: Cell<u32>,
    // In the order of [`Local`].
    raw: Option<RawMode>,
    signals: Signals,
}

impl Session<'_> {
    /// Tells the process the size of the window and so many rows more. A process that has just ended is no reason to
    /// fail.
    fn resize(&self, more: u16) {
        let Some((rows, columns)) = terminal_size() else { return };
        let rows = rows.saturating_add(more);
        let _ = match self.options.target {
            Target::Container(id) => self.client.container_resize(id, rows, columns),
            Target::Exec(id) => self.client.exec_resize(id, rows, columns),
        };
    }

    /// Deals with the signals that came; one that ends the client comes back.
    fn take_signals(&self) -> Result<Option<End>> {
        while let Some(caught) = self.signals.next()? {
            match (caught, self.options.target) {
                (Caught::Window, _) => self.resize(0),
                (Caught::Continued, _) => {
                    if let Some(raw) = &self.raw {
                        raw.renew();
                    }
                    if self.options.tty {
                        self.resize(0);
                    }
                }
                (Caught::Other(signal), Target::Container(id)) if self.options.sig_proxy => {
                    if matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGQUIT) {
                        self.asked.set(self.asked.get() + 1);
                        if self.asked.get() >= PATIENCE {
                            output::complain("the process does not end; it goes on without this client");
                            return Ok(Some(End::Signal(signal)));
                        }
                    }
                    // A container that has just ended cannot be signalled; its end is on its way.
                    let _ = self.client.container_kill(id, Some(&signal.to_string()));
                }
                (Caught::Other(signal), _) => return Ok(Some(End::Signal(signal))),
            }
        }
        Ok(None)
    }

    /// Moves the bytes of a session on a connection.
    fn pump(&self, stream: Stream) -> Result<End> {
        let (input, output, error) = (stdin(), stdout(), stderr());
        let has_keys = self.options.tty && self.options.stdin;
        let ends = pump::Ends {
            input: self.options.stdin.then(|| input.as_fd()),
            output: output.as_fd(),
            error: error.as_fd(),
            detach: if has_keys { keys::parse(self.options.detach_keys)? } else { Vec::new() },
        };
        pump::pump(stream, ends, self.signals.fd(), &mut || self.take_signals())
    }

    /// Waits for the end of a session on our own descriptors.
    fn wait_for(&self, attached: Attached) -> Result<End> {
        let out = stdout();
        loop {
            let mut fds = [
                PollFd::new(attached.fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.fd(), PollFlags::POLLIN),
                // Nothing is asked of it: POLLERR comes by itself when the last reader of a pipe has gone.
                PollFd::new(out.as_fd(), PollFlags::empty()),
            ];
            wait(&mut fds)?;
            let [ended, signalled, output] = fds.map(|f| f.revents().unwrap_or(PollFlags::empty()));
            if !signalled.is_empty()
                && let Some(end) = self.take_signals()?
            {
                return Ok(end);
            }
            if !ended.is_empty() {
                return match attached.finish() {
                    Ok(end) => Ok(match end.exit_code {
                        Some(code) => End::Exited(code),
                        None if self.options.tty && self.options.stdin => End::Detached,
                        // Without keys nobody detached: it is what the shim could not write to.
                        None if output.contains(PollFlags::POLLERR) => End::ReaderGone,
                        None => End::Unwritten,
                    }),
                    Err(e) if e.kind() == Kind::Remote => Ok(End::Closed),
                    Err(e) => Err(e),
                };
            }
            if output.contains(PollFlags::POLLERR) {
                return Ok(End::ReaderGone);
            }
        }
    }
}

/// Waits for one of the descriptors. A signal that is not caught by descriptor may wake it; callers look again.
fn wait(fds: &mut [PollFd<'_>]) -> Result<()> {
    match poll(fds, PollTimeout::NONE) {
        Err(nix::Error::EINTR) => Ok(()),
        other => other.map(|_| ()).context(|| "poll()".into()),
    }
}
