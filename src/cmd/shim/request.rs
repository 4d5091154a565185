//! What the daemon asks of a running container.

use super::client::Client;
use super::session::{Session, Stdio};
use super::supervisor::Supervisor;
use crate::api::oci::runtime::{ConsoleSize, Process};
use crate::api::shim::{Exec, Failure, FailureClass, Reply, Request, StreamMode, Streams};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::{child, descriptor, pty};
use std::os::fd::{AsFd, OwnedFd};

impl Supervisor<'_> {
    /// Answers one message. `connection` is where it came from, unless that is the watch connection; it is taken when
    /// it becomes that. `None` when there is nothing to say.
    pub(super) fn answer(
        &mut self,
        body: Vec<u8>,
        fds: Vec<OwnedFd>,
        connection: Option<&mut Option<OwnedFd>>,
    ) -> Option<Reply> {
        let request = match json::parse_enum::<Request>(&body) {
            Ok(request) => request,
            // A newer daemon asks what this shim does not know.
            Err(e) => return Some(failed(&e.with_kind(Kind::Unsupported).context("unknown request"))),
        };
        drop(body);
        match request {
            Request::Watch { version: _ } => {
                if let Some(fd) = connection.and_then(Option::take) {
                    self.watched_by(fd);
                    return None;
                }
                Some(failed(&Error::invalid("this connection watches already")))
            }
            Request::Release if self.launched.exit.is_some() => {
                let lingers = self.release();
                if connection.is_none() && !lingers {
                    return None; // the end of the connection is the answer
                }
                Some(Reply::Done)
            }
            Request::Release => Some(failed(&Error::conflict("the container runs"))),
            request => Some(self.perform(request, fds).unwrap_or_else(|e| failed(&e))),
        }
    }

    fn perform(&mut self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply> {
        if self.launched.exit.is_some() {
            return Err(Error::not_found("the container has ended"));
        }
        match request {
            Request::Exec(exec) => return self.exec(*exec, fds),
            Request::Attach(streams) => {
                let session = &mut self.sessions[0];
                let client = client(streams, fds, session.terminal().is_some())?;
                session.attach(client);
            }
            Request::Resize { exec_id, size } => resize(self.session(exec_id.as_deref())?, size)?,
            Request::Signal { exec_id, signal, all } => self.signal(exec_id.as_deref(), signal, all)?,
            Request::Pause => {
                self.engine.pause()?;
                self.paused = true;
            }
            Request::Resume => {
                self.engine.resume()?;
                self.paused = false;
            }
            Request::Update(resources) => self.engine.update(&resources)?,
            Request::Stats => return Ok(Reply::Stats(Box::new(self.engine.stats()?))),
            Request::Processes => return Ok(Reply::Processes(self.engine.processes()?)),
            Request::ReopenLog => match &mut self.sessions[0].log {
                Some(log) => log.reopen()?,
                None => return Err(Error::conflict("the container has no log")),
            },
            Request::Launch(_) => return Err(Error::conflict("the container runs")),
            Request::Watch { .. } | Request::Release => return Err(Error::internal("answered before")),
        }
        Ok(Reply::Done)
    }

    fn session(&self, exec_id: Option<&str>) -> Result<&Session> {
        self.sessions
            .iter()
            .find(|s| s.exec_id.as_deref() == exec_id && s.exit.is_none())
            .ok_or_else(|| Error::not_found(format!("no exec session {:?}", exec_id.unwrap_or_default())))
    }

    fn signal(&self, exec_id: Option<&str>, signal: i32, all: bool) -> Result<()> {
        // Not waited for yet, so the number cannot be another process's.
        let pid = self.session(exec_id)?.pid;
        match exec_id {
            // With what it has started, which nobody would end else: it leads a session and its group.
            Some(_) if signal == libc::SIGKILL => {
                child::send_group_signal(pid, signal).or_else(|_| child::send_signal(pid, signal))?
            }
            Some(_) => child::send_signal(pid, signal)?,
            None => self.engine.signal(pid, signal)?,
        }
        if all {
            for other in self.engine.processes()?.into_iter().filter(|&p| p != pid) {
                match child::send_signal(other, signal) {
                    Err(e) if e.errno() != Some(libc::ESRCH) => return Err(e),
                    _ => {}
                }
            }
        }
        if self.paused && exec_id.is_none() && signal == libc::SIGKILL {
            // A frozen process dies when it is thawed.
            self.engine.resume()?;
        }
        Ok(())
    }

    fn exec(&mut self, exec: Exec, fds: Vec<OwnedFd>) -> Result<Reply> {
        if self.paused {
            return Err(Error::conflict("the container is paused"));
        }
        if self.sessions.iter().any(|s| s.exec_id.as_deref() == Some(&exec.exec_id)) {
            return Err(Error::conflict(format!("exec session {:?} exists", exec.exec_id)));
        }
        let Exec { exec_id, mut process, open_stdin, streams, note, .. } = exec;
        process.oom_score_adj = process.oom_score_adj.or(self.oom_score_adj);
        if let Some(streams) = &streams
            && streams.descriptors() != fds.len()
        {
            return Err(wrong_number(streams, fds.len()));
        }
        let ends = if process.terminal {
            Ends { child: None, ours: [None, None, None], streams }
        } else {
            pipes(open_stdin, streams, &fds)?
        };
        let client = ends.streams.map(|s| client(s, fds, process.terminal)).transpose()?;
        let started = self.engine.exec(&process, ends.child).map_err(|e| match e.errno() {
            // Nobody has told this loop yet.
            Some(libc::ESRCH) => Error::not_found("the container has ended"),
            _ => not_ours(e),
        })?;
        let stdio = stdio(started.terminal, ends.ours, &process);
        let made = stdio.and_then(|stdio| Session::new(Some(exec_id), started.pid, stdio));
        let mut session = match made {
            Ok(session) => session,
            Err(e) => {
                let _ = child::send_signal(started.pid, libc::SIGKILL); // the loop waits for it
                return Err(e);
            }
        };
        session.note = note;
        if let Some(client) = client {
            session.attach(client);
        }
        self.sessions.push(session);
        Ok(Reply::Executed { pid: started.pid })
    }
}

/// The two sides of a process's standard streams.
pub struct Ends {
    /// What the process gets; `None` for a terminal.
    pub child: Option<[OwnedFd; 3]>,
    /// What stays here.
    pub ours: [Option<OwnedFd>; 3],
    /// The client's description without what the process got from it directly.
    pub streams: Option<Streams>,
}

/// Pipes for an exec session. None of a client's own descriptors goes to the process: it could read what others write to
/// a pipe, change flags that they share, or keep it open for long after the command.
fn pipes(open_stdin: bool, streams: Option<Streams>, fds: &[OwnedFd]) -> Result<Ends> {
    let Some(mut streams) = streams else {
        let child = Some([descriptor::null()?, descriptor::null()?, descriptor::null()?]);
        return Ok(Ends { child, ours: [None, None, None], streams: None });
    };
    let handed = streams.mode == StreamMode::Handed;
    let mut ours = [None, None, None];
    let mut side = |index: usize, open: bool, wanted: &mut bool| -> Result<OwnedFd> {
        if !open {
            *wanted = false;
            return descriptor::null();
        }
        let own = fds.get(index + 1).filter(|_| handed && *wanted);
        if own.is_some_and(|own| descriptor::kind(own.as_fd()) == descriptor::Kind::Null) {
            *wanted = false;
            return descriptor::null();
        }
        let (read, write) = descriptor::pipe()?;
        let (theirs, mine) = if index == 0 { (read, write) } else { (write, read) };
        ours[index] = Some(mine);
        Ok(theirs)
    };
    let (stdout, stderr) = (streams.stdout, streams.stderr);
    let child = [
        side(0, open_stdin, &mut streams.stdin)?,
        side(1, stdout, &mut streams.stdout)?,
        side(2, stderr, &mut streams.stderr)?,
    ];
    Ok(Ends { child: Some(child), ours, streams: Some(streams) })
}

/// Pipes for the first process: output always, so that it can be logged and attached to later.
///
/// # Errors
/// The failing call.
pub fn first_pipes(open_stdin: bool) -> Result<Ends> {
    let (input, our_input) = if open_stdin {
        let (read, write) = descriptor::pipe()?;
        (read, Some(write))
    } else {
        (descriptor::null()?, None)
    };
    let (our_output, output) = descriptor::pipe()?;
    let (our_error, error) = descriptor::pipe()?;
    Ok(Ends {
        child: Some([input, output, error]),
        ours: [our_input, Some(our_output), Some(our_error)],
        streams: None,
    })
}

/// What a session gets to work with.
///
/// # Errors
/// `Kind::Internal` when a terminal was asked for and none was made.
pub fn stdio(terminal: Option<OwnedFd>, ours: [Option<OwnedFd>; 3], process: &Process) -> Result<Stdio> {
    if !process.terminal {
        let [input, output, error] = ours;
        return Ok(Stdio::Pipes(input, [output, error]));
    }
    let master = terminal.ok_or_else(|| Error::internal("the engine made no terminal"))?;
    if let Some(size) = process.console_size.as_ref().filter(|s| s.height > 0 || s.width > 0) {
        set_size(&master, size)?;
    }
    Ok(Stdio::Terminal(master))
}

/// A client of a description and its descriptors.
///
/// # Errors
/// `Kind::Invalid` when they do not fit.
pub fn client(streams: Streams, fds: Vec<OwnedFd>, terminal: bool) -> Result<Client> {
    let error = wrong_number(&streams, fds.len());
    if streams.descriptors() != fds.len() {
        return Err(error);
    }
    Client::new(streams, fds, terminal).ok_or(error)
}

fn wrong_number(streams: &Streams, got: usize) -> Error {
    Error::invalid(format!("{got} descriptors for a client, not {}", streams.descriptors()))
}

fn resize(session: &Session, size: ConsoleSize) -> Result<()> {
    match session.terminal() {
        Some(terminal) => set_size(terminal, &size),
        None => Err(Error::conflict("the process has no terminal")),
    }
}

fn set_size(terminal: &OwnedFd, size: &ConsoleSize) -> Result<()> {
    let ConsoleSize { height, width } = *size;
    pty::set_size(terminal.as_fd(), height, width).context(|| format!("ioctl(TIOCSWINSZ, {height}, {width})"))
}

/// Something that the engine does not find is not the container that the daemon asked for.
pub fn not_ours(e: Error) -> Error {
    match e.kind() {
        Kind::NotFound => e.with_kind(Kind::Internal),
        _ => e,
    }
}

/// An error as a reply.
pub fn failed(e: &Error) -> Reply {
    let class = match e.kind() {
        Kind::CommandNotFound => FailureClass::CommandNotFound,
        Kind::CommandNotExecutable => FailureClass::CommandNotExecutable,
        Kind::Invalid | Kind::Denied => FailureClass::Invalid,
        Kind::NotFound => FailureClass::NotFound,
        Kind::Conflict | Kind::Exists | Kind::Busy => FailureClass::Conflict,
        Kind::Unsupported => FailureClass::Unsupported,
        Kind::Timeout | Kind::Corrupt | Kind::Remote | Kind::Os(_) | Kind::Internal => FailureClass::Other,
    };
    Reply::Failed(Failure { message: e.to_string(), class, errno: e.errno().unwrap_or(0) })
}
