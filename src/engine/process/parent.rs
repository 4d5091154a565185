//! The caller's half of a birth.

use super::program;
use super::sync::{CallerEnd, FromInit, LastStep, ToInit};
use crate::engine::create::Started;
use crate::engine::seccomp::agent::Agent;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::{clone, process};
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// A process that is not yet handed to anyone: dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Newborn {
    pid: i32,
    pidfd: Option<OwnedFd>,
    reaped: bool,
}

impl Newborn {
    /// Takes charge of `child`.
    pub fn new(child: clone::Child) -> Newborn {
        let pidfd = child.pidfd.or_else(|| process::pidfd_open(child.pid).ok());
        Newborn { pid: child.pid, pidfd, reaped: false }
    }

    /// Process id in the caller's namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Hands it over as `Started`.
    ///
    /// # Errors
    /// `Kind::Internal` when `/proc` does not show it.
    pub fn into_started(mut self, terminal: Option<OwnedFd>) -> Result<Started> {
        // A child that was not waited for keeps its entry even after its end.
        let start_time = process::start_time(self.pid)
            .ok_or_else(|| Error::internal(format!("no start time of process {}", self.pid)))?;
        self.reaped = true;
        Ok(Started { pid: self.pid, pidfd: self.pidfd.take(), start_time, terminal })
    }

    /// Lets it go on by itself.
    pub fn leave(mut self) {
        self.reaped = true;
    }

    /// Waits for its end and says how it came.
    fn epitaph(&mut self, what: &str) -> Error {
        self.reaped = true;
        let how = match clone::wait(self.pid) {
            Ok(status) if libc::WIFSIGNALED(status) => format!("was killed by signal {}", libc::WTERMSIG(status)),
            Ok(status) => format!("ended with code {}", libc::WEXITSTATUS(status)),
            Err(e) => format!("is gone: {}", e.desc()),
        };
        Error::new(Kind::Internal, format!("{what} {how} while it was set up"))
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if !self.reaped {
            // Not reaped yet, so the number still is this process's.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
            let _ = clone::wait(self.pid);
        }
    }
}

/// Makes the children of this process start in another pid namespace until it is left.
pub struct ChildrenElsewhere {
    own: File,
}

impl ChildrenElsewhere {
    /// Enters: `fd` is a namespace file or a pidfd.
    ///
    /// # Errors
    /// The failing call.
    pub fn enter(fd: std::os::fd::BorrowedFd<'_>) -> nix::Result<ChildrenElsewhere> {
        let own = nix::fcntl::open("/proc/self/ns/pid", nix::fcntl::OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())?;
        clone::setns(fd, libc::CLONE_NEWPID)?;
        Ok(ChildrenElsewhere { own: own.into() })
    }

    /// Leaves.
    ///
    /// # Errors
    /// The failing call; the caller must make no further child then.
    pub fn leave(self) -> Result<()> {
        clone::setns(self.own.as_fd(), libc::CLONE_NEWPID).context(|| "setns(own pid namespace)".into())
    }
}

/// Waits until `stage` has made the process that goes on in its place, and reaps it.
///
/// # Errors
/// What the stage says, or the failing call.
pub fn adopt(mut stage: Newborn, sync: &CallerEnd) -> Result<Newborn> {
    let pid = match sync.receive()? {
        FromInit::Spawned(pid) => pid,
        FromInit::Failed(e) => return Err(e),
        FromInit::End => return Err(stage.epitaph("the process before the container's process")),
        other => return Err(unexpected(&other)),
    };
    let newborn = Newborn::new(clone::Child { pid, pidfd: None, in_cgroup: false });
    stage.reaped = true;
    let _ = clone::wait(stage.pid); // it has said all it had to say
    Ok(newborn)
}

/// Waits until `newborn` is ready, running `hooks` at their point; gives its terminal.
///
/// # Errors
/// What it says, or how it died.
pub fn await_ready(
    newborn: &mut Newborn,
    sync: &CallerEnd,
    hooks: impl Fn(i32) -> Result<()>,
) -> Result<Option<OwnedFd>> {
    loop {
        match sync.receive()? {
            FromInit::Hooks => {
                hooks(newborn.pid)?;
                sync.send(&ToInit::Resume)?;
            }
            FromInit::Ready(terminal) => return Ok(terminal),
            FromInit::Failed(e) => return Err(e),
            FromInit::End => return Err(newborn.epitaph("the container's process")),
            other => return Err(unexpected(&other)),
        }
    }
}

/// Waits until the program `name` runs. `agent` gets the listener of its filter.
///
/// # Errors
/// Why it does not: `Kind::CommandNotFound` and `Kind::CommandNotExecutable` from execve(2).
pub fn await_exec(sync: &CallerEnd, name: &CStr, agent: Option<Agent>) -> Result<()> {
    let mut message = sync.receive()?;
    if let Some(agent) = agent {
        message = match message {
            FromInit::Listener(listener) => {
                agent.give(listener)?;
                sync.receive()?
            }
            FromInit::End => return Err(Error::internal("the process ended before its filter was loaded")),
            other => other,
        };
    }
    match message {
        FromInit::End => Ok(()),
        FromInit::Failed(e) => Err(e),
        FromInit::Last(LastStep::Execve, errno) => Err(program::failed(name, errno, false)),
        FromInit::Last(LastStep::Filter, errno) => Err(Error::os("seccomp(SECCOMP_SET_MODE_FILTER)", errno)),
        FromInit::Last(LastStep::Listener, errno) => {
            let text = "sendmsg() of the seccomp listener; the filter itself must allow it";
            Err(Error::os(text, errno))
        }
        FromInit::Last(LastStep::Capabilities, errno) => Err(Error::os("capset()", errno)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(message: &FromInit) -> Error {
    let name = match message {
        FromInit::Spawned(_) => "Spawned",
        FromInit::Hooks => "Hooks",
        FromInit::Ready(_) => "Ready",
        FromInit::Listener(_) => "Listener",
        FromInit::Failed(_) => "Failed",
        FromInit::Last(..) => "Last",
        FromInit::End => "End",
    };
    Error::internal(format!("message {name} of the container's process out of turn"))
}
