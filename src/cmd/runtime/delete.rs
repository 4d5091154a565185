//! `lcr delete`: removes what a container left, and with `--force` the container itself.

use crate::cmd::runtime::record::{Record, Root, Status, is_running};
use crate::cmd::runtime::run::poststop;
use crate::engine::cgroup::systemd;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::child::send_signal;
use crate::utils::sys::poll::{POLLIN, PollSet};
use crate::utils::sys::process;
use argh::{ArgsInfo, FromArgs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// remove a stopped container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "delete")]
pub struct Delete {
    /// kill it first if it runs; no error if it does not exist
    #[argh(switch, short = 'f')]
    force: bool,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// How long a killed process gets to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes the container.
///
/// # Errors
/// `Kind::Conflict` when it runs and force is not asked for.
pub fn delete(root: &Root, args: Delete) -> Result<u8> {
    let directory = root.directory(&args.id)?;
    let record = match root.load(&args.id) {
        Ok(record) => record,
        Err(e) if args.force && e.kind() == Kind::NotFound => {
            // Cut short before its record was written.
            let _ = std::fs::remove_dir_all(&directory);
            return Ok(0);
        }
        Err(e) => return Err(e),
    };
    let status = record.status();
    if status != Status::Stopped {
        if !args.force {
            let text = format!("cannot delete container {:?} that is not stopped: {}", record.id, status.word());
            return Err(Error::conflict(text));
        }
        end(&record)?;
    }
    match record.cgroup()? {
        Some(cgroup) => cgroup.destroy(PATIENCE)?,
        // A unit can be left of which nothing runs any more.
        None if !record.systemd_unit.is_empty() => systemd::stop(&record.systemd_unit)?,
        None => {}
    }
    if let Ok(spec) = root.spec(&args.id) {
        poststop(&record, &spec);
    }
    std::fs::remove_dir_all(&directory).context(|| format!("remove({directory:?})"))?;
    Ok(0)
}

/// Kills the first process, and with it the pid namespace, and everything in the cgroup.
fn end(record: &Record) -> Result<()> {
    let pidfd = process::pidfd_open(record.pid).ok();
    if is_running(record.pid, record.start_time) {
        let _ = send_signal(record.pid, libc::SIGKILL); // it may have ended meanwhile
    }
    record.cgroup()?.as_ref().map_or(Ok(()), |cgroup| cgroup.kill(Instant::now() + PATIENCE))?;
    let deadline = Instant::now() + PATIENCE;
    let mut set = PollSet::default();
    while is_running(record.pid, record.start_time) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Kind::Timeout, format!("container {:?} does not end", record.id)));
        }
        match &pidfd {
            Some(fd) => {
                set.clear();
                set.add(fd.as_fd(), POLLIN);
                set.wait(Some(left))?;
            }
            None => std::thread::sleep(Duration::from_millis(5)), // before Linux 5.3 nothing tells
        }
    }
    Ok(())
}
