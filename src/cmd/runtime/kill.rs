//! `lcr kill`, `pause`, `resume`.

use crate::cmd::runtime::record::{Record, Root, Status};
use crate::engine::cgroup::Cgroup;
use crate::engine::cgroup::PATIENCE;
use crate::error::{Error, Result};
use crate::utils::signal;
use crate::utils::sys::child::send_signal;
use argh::{ArgsInfo, FromArgs};
use std::time::Instant;

/// send a signal to a container's first process
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "kill")]
pub struct Kill {
    /// all processes of the container get it
    #[argh(switch, short = 'a')]
    all: bool,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
    /// name or number (default SIGTERM)
    #[argh(positional, arg_name = "SIGNAL")]
    signal: Option<String>,
}

/// freeze all processes of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "pause")]
pub struct Pause {
    /// container id
    #[argh(positional, arg_name = "ID")]
    pub id: String,
}

/// thaw the processes of a paused container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "resume")]
pub struct Resume {
    /// container id
    #[argh(positional, arg_name = "ID")]
    pub id: String,
}

/// Sends the signal.
///
/// # Errors
/// `Kind::Conflict` when the container does not run.
pub fn kill(root: &Root, args: Kill) -> Result<u8> {
    let number = signal::parse(args.signal.as_deref().unwrap_or("SIGTERM"))?;
    let record = root.load(&args.id)?;
    let running = matches!(record.status(), Status::Created | Status::Running | Status::Paused);
    if args.all {
        // Also what is left of a container whose first process has ended.
        if number == libc::SIGKILL
            && let Some(cgroup) = record.cgroup()?
        {
            cgroup.kill(Instant::now() + PATIENCE)?;
            return Ok(0);
        }
        let processes = record.processes()?;
        if processes.is_empty() {
            return not_running(&record);
        }
        for pid in processes {
            match send_signal(pid, number) {
                Err(e) if e.errno() != Some(libc::ESRCH) => return Err(e),
                _ => {} // it may have ended meanwhile
            }
        }
        return Ok(0);
    }
    if !running {
        return not_running(&record);
    }
    send_signal(record.pid, number)?;
    Ok(0)
}

fn not_running(record: &Record) -> Result<u8> {
    Err(Error::conflict(format!("container {:?} is not running", record.id)))
}

/// Freezes the container.
///
/// # Errors
/// `Kind::Conflict` unless it runs.
pub fn pause(root: &Root, id: &str) -> Result<u8> {
    cgroup_of(root, id, Status::Running)?.freeze()?;
    Ok(0)
}

/// Thaws the container.
///
/// # Errors
/// `Kind::Conflict` unless it is paused.
pub fn resume(root: &Root, id: &str) -> Result<u8> {
    cgroup_of(root, id, Status::Paused)?.thaw()?;
    Ok(0)
}

fn cgroup_of(root: &Root, id: &str, wanted: Status) -> Result<Cgroup> {
    let record = root.load(id)?;
    let status = record.status();
    if status != wanted {
        return Err(Error::conflict(format!("container {id:?} is {}, not {}", status.word(), wanted.word())));
    }
    record.cgroup()?.ok_or_else(|| Error::not_found(format!("container {id:?} has no cgroup")))
}
