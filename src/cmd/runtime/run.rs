//! `lcr run`: makes a container from a bundle and starts its program.

use crate::api::oci::runtime::{Spec, User};
use crate::cmd::runtime::foreground::{self, Terminal};
use crate::cmd::runtime::record::{Record, Root, read_limited};
use crate::engine::cgroup::Cgroup;
use crate::engine::create::{self, Running};
use crate::engine::hook;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{Durability, replace};
use crate::utils::json;
use crate::utils::sys::child::send_signal;
use crate::utils::sys::clone;
use crate::utils::time::Timestamp;
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
    /// move the root instead of pivot_root
    #[argh(switch)]
    no_pivot: bool,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// create a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "create")]
pub struct Create {
    /// directory with config.json (default .)
    #[argh(option, short = 'b', arg_name = "dir")]
    #[allow(dead_code)] // see `create`
    bundle: Option<PathBuf>,
    /// file for the id of the first process
    #[argh(option, arg_name = "file")]
    #[allow(dead_code)] // see `create`
    pid_file: Option<PathBuf>,
    /// socket that gets the terminal
    #[argh(option, arg_name = "path")]
    #[allow(dead_code)] // see `create`
    console_socket: Option<PathBuf>,
    /// move the root instead of pivot_root
    #[argh(switch)]
    #[allow(dead_code)] // see `create`
    no_pivot: bool,
    /// container id
    #[argh(positional, arg_name = "ID")]
    #[allow(dead_code)] // see `create`
    id: String,
}

/// start a created container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "start")]
pub struct Start {
    /// container id
    #[argh(positional, arg_name = "ID")]
    #[allow(dead_code)] // see `start`
    id: String,
}

/// Refused: a first process that waits for another command is not there yet.
///
/// # Errors
/// Always.
pub fn create(_args: Create) -> Result<u8> {
    Err(Error::new(Kind::Unsupported, "create is not supported yet; run creates and starts"))
}

/// As [`create`].
///
/// # Errors
/// Always.
pub fn start(_args: Start) -> Result<u8> {
    Err(Error::new(Kind::Unsupported, "start is not supported yet; run creates and starts"))
}

/// Runs a container; in the foreground until its end.
///
/// # Errors
/// What failed; nothing is left then.
pub fn run(root: &Root, args: Run) -> Result<u8> {
    let bundle = args.bundle.unwrap_or_else(|| PathBuf::from("."));
    let bundle = std::fs::canonicalize(&bundle).context(|| format!("bundle {bundle:?}"))?;
    root.directory(&args.id)?;
    let spec = load(&bundle, &args.id)?;
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    foreground::check_terminal(terminal, args.detach, args.console_socket.as_deref())?;
    let linux = spec.linux.as_ref();
    let mut record = Record {
        oci_version: super::OCI_VERSION.into(),
        id: args.id,
        bundle: bundle.clone(),
        rootfs: spec.root.as_ref().map(|r| bundle.join(&r.path)).unwrap_or_default(),
        created: Timestamp::now().rfc3339(),
        owner: nix::unistd::geteuid().as_raw(),
        cgroup_path: linux.map(|l| l.cgroups_path.clone()).unwrap_or_default(),
        annotations: spec.annotations.clone(),
        ..Record::default()
    };
    let claim = root.claim(&record, &spec)?;
    let signals = if args.detach { None } else { Some(foreground::collect_signals()?) };
    let request = create::Request {
        id: &record.id,
        spec: &spec,
        bundle: &bundle,
        overlay: None,
        stdio: None,
        no_pivot: args.no_pivot,
    };
    let running = Guard(Some(create::create(request)?.start()?));
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
    let removed = running.cgroup.map_or(Ok(()), Cgroup::destroy);
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
        if let Some(Err(e)) = running.cgroup.map(Cgroup::destroy) {
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

/// Reads and checks a bundle's configuration.
fn load(bundle: &Path, id: &str) -> Result<Spec> {
    let path = bundle.join("config.json");
    let mut spec: Spec = json::parse(&read_limited(&path)?).context(|| format!("configuration {path:?}"))?;
    let supported = spec.oci_version.split('.').next() == Some("1");
    if !supported {
        let text = format!("configuration {path:?} is for version {:?} of the specification", spec.oci_version);
        return Err(Error::new(Kind::Unsupported, text));
    }
    let Some(process) = &mut spec.process else {
        return Err(Error::invalid(format!("configuration {path:?} has no process")));
    };
    // Names are for other platforms in documents from outside; here they would be looked up.
    let User { username, additional_groups, .. } = &mut process.user;
    (*username, *additional_groups) = (String::new(), Vec::new());
    let linux = spec.linux.get_or_insert_default();
    if linux.cgroups_path.is_empty() {
        linux.cgroups_path = format!("/{id}");
    }
    Ok(spec)
}
