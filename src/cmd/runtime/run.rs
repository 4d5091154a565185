//! `lcr run`: makes a container from a bundle and starts its program.

use crate::api::oci::runtime::Spec;
use crate::cmd::runtime::create::{Manner, New};
use crate::cmd::runtime::foreground::{self, Terminal};
use crate::cmd::runtime::record::{Record, Root};
use crate::engine::cgroup::PATIENCE;
use crate::engine::create::Running;
use crate::engine::hook;
use crate::error::{Context, Result};
use crate::utils::atomic_file::{Durability, replace};
use crate::utils::sys::child::send_signal;
use crate::utils::sys::clone;
use argh::{ArgsInfo, FromArgs};
use std::path::{Path, PathBuf};

/// create and start a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "run")]
pub struct Run {
    /// directory with config.json (default .)
    #[argh(option, short = 'b', arg_name = "dir")]
    bundle: Option<PathBuf>,
    /// file for the id of the first process
    #[argh(option, arg_name = "file")]
    pid_file: Option<PathBuf>,
    /// socket that gets the terminal
    #[argh(option, arg_name = "path")]
    console_socket: Option<PathBuf>,
    /// do not wait for the container's end
    #[argh(switch, short = 'd')]
    detach: bool,
    /// configuration in place of the bundle's config.json
    #[argh(option, short = 'f', arg_name = "file")]
    config: Option<PathBuf>,
    /// move the root instead of pivot_root
    #[argh(switch)]
    no_pivot: bool,
    /// keep the caller's session keyring
    #[argh(switch)]
    no_new_keyring: bool,
    /// accepted; processes whose parents end are never this program's
    #[argh(switch)]
    #[allow(dead_code)] // for those who pass it
    no_subreaper: bool,
    /// leave the stopped container to delete
    #[argh(switch)]
    keep: bool,
    /// how many descriptors from 3 on the program gets (default 0)
    #[argh(option, default = "0", arg_name = "n")]
    pub preserve_fds: u32,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// Runs a container; in the foreground until its end.
///
/// # Errors
/// What failed; nothing is left then.
pub fn run(root: &Root, args: Run) -> Result<u8> {
    let new = New::claim(root, args.bundle.as_deref(), args.config.as_deref(), args.id)?;
    foreground::check_terminal(new.has_terminal(), args.detach, args.console_socket.as_deref())?;
    let signals = if args.detach { None } else { Some(foreground::collect_signals()?) };
    let (no_pivot, no_new_keyring, preserved_fds) = (args.no_pivot, args.no_new_keyring, args.preserve_fds);
    let created = new.create(Manner { no_pivot, no_new_keyring, preserved_fds })?;
    let New { mut record, spec, claim, .. } = new;
    record.set_cgroup(&created);
    let running = Guard(Some(created.start()?)); // goes before the claim does
    let init = &running.get().init;
    (record.pid, record.start_time) = (init.pid, init.start_time);
    claim.save(&record)?;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, record.pid)?;
    }
    let mut running = running.release();
    let Some(signals) = signals else {
        if let Err(e) = foreground::hand_over(running.init.terminal.take(), args.console_socket.as_deref()) {
            drop(Guard(Some(running)));
            return Err(e);
        }
        claim.keep();
        return Ok(0);
    };
    let terminal = match foreground::hand_over(running.init.terminal.take(), args.console_socket.as_deref()) {
        Ok(kept) => kept.map(Terminal::enter).transpose(),
        Err(e) => Err(e),
    };
    let waited = terminal.and_then(|terminal| foreground::wait(&running.init, &signals, terminal));
    if waited.is_err() {
        let _ = send_signal(record.pid, libc::SIGKILL); // ends it, whatever went wrong with waiting
        let _ = clone::wait(record.pid);
    }
    if args.keep && waited.is_ok() {
        claim.keep();
        return waited;
    }
    let removed = running.cgroup.map_or(Ok(()), |cgroup| cgroup.destroy(PATIENCE));
    poststop(&record, &spec);
    drop(claim);
    waited.and_then(|code| removed.map(|()| code))
}

/// A running container that is killed and removed unless it is released.
struct Guard(Option<Running>);

impl Guard {
    fn get(&self) -> &Running {
        self.0.as_ref().expect("taken by release and drop only")
    }

    fn release(mut self) -> Running {
        self.0.take().expect("taken by release and drop only")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(running) = self.0.take() else { return };
        let _ = send_signal(running.init.pid, libc::SIGKILL); // it may have ended by itself
        let _ = clone::wait(running.init.pid);
        if let Some(Err(e)) = running.cgroup.map(|cgroup| cgroup.destroy(PATIENCE)) {
            log::warn!("{e}");
        }
    }
}

/// Runs the hooks that come after the end. The specification wants a warning when one fails.
pub fn poststop(record: &Record, spec: &Spec) {
    let Some(hooks) = spec.hooks.as_ref().filter(|h| !h.poststop.is_empty()) else { return };
    let state = hook::state(&record.id, spec, "stopped", 0, &record.bundle);
    if let Err(e) = hook::run_all("poststop", &hooks.poststop, &state) {
        log::warn!("container {:?}: {e}", record.id);
    }
}

/// Writes a pid file as its readers expect it: whole, without a line feed.
///
/// # Errors
/// The failing call.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    replace(path, pid.to_string().as_bytes(), 0o644, Durability::Volatile).context(|| "pid file".into())
}
