//! `lcr`: the engine as an OCI runtime (the command line that runc, crun and youki share).
//!
//! ```text
//! lcr [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND …
//! ```
//! A container's record is a directory below `--root`, `/run/lcr` unless given (module `record`). Exit codes: that of the
//! container's program for `run` and `exec` in the foreground, else 0, or 1 after an error, which is printed and
//! appended to `--log`.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod kill;
mod list;
mod record;
mod report;
mod run;
mod spec;
mod start;
mod update;

use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::cmd::argv::{self, Stop};
use crate::engine::create::CgroupChoice;
use crate::engine::rights;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::{fd, sealed_exe};
use argh::{ArgsInfo, FromArgs};
use record::Root;
use report::Report;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::process::ExitCode;

/// Version of the runtime specification that documents and states carry.
pub const OCI_VERSION: &str = "1.3.0";
/// The word with which the executable helps to seal itself (see `utils::sys::sealed_exe`).
const SEAL_WORD: &str = "--serve-seal";

/// run containers from OCI bundles
#[derive(FromArgs, ArgsInfo, Debug)]
struct Top {
    /// directory of the containers' state (default /run/lcr, of others than the host's root $XDG_RUNTIME_DIR/lcr)
    #[argh(option, arg_name = "dir")]
    root: Option<PathBuf>,
    /// append errors to this file too
    #[argh(option, arg_name = "file")]
    log: Option<PathBuf>,
    /// text or json
    #[argh(option, arg_name = "format")]
    log_format: Option<String>,
    /// how much is logged
    #[argh(option, arg_name = "level")]
    log_level: Option<String>,
    /// log decisions
    #[argh(switch)]
    debug: bool,
    /// systemd makes the cgroups; their paths have the form slice:prefix:name
    #[argh(switch)]
    systemd_cgroup: bool,
    /// true, false or auto (default): whether cgroups that the user may not make are done without
    #[argh(option, arg_name = "mode")]
    rootless: Option<String>,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
    /// what to do
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand)]
enum Command {
    Create(create::Create),
    Delete(delete::Delete),
    Events(events::Events),
    Exec(exec::Exec),
    Features(features::Features),
    Kill(kill::Kill),
    List(list::List),
    Pause(kill::Pause),
    Ps(list::Ps),
    Resume(kill::Resume),
    Run(run::Run),
    Spec(spec::SpecCommand),
    Start(start::Start),
    State(list::State),
    Update(update::Update),
}

/// The manual pages of this runtime: name of the file, content.
pub fn pages() -> Vec<(String, String)> {
    argv::man::pages(
        "lcr",
        &Top::get_args_info(),
        argv::man::Book { section: 8, version: VERSION, dialect: argv::Dialect::PLAIN },
    )
}

/// Runs the applet.
pub fn main(words: Vec<OsString>) -> ExitCode {
    if words.len() == 1 && words[0] == SEAL_WORD {
        let served = sealed_exe::serve(std::io::stdin().as_fd());
        return ExitCode::from(u8::from(served.is_err())); // the asking side has the text
    }
    let top = match argv::parse::<Top>("lcr", words.clone(), argv::Dialect::PLAIN) {
        Ok(top) => top,
        Err(Stop::Help(screen)) => return print(&screen),
        Err(Stop::Fault(fault)) => return Report::default().failure(&Error::invalid(fault.to_string())),
    };
    if top.version {
        return print(&format!("lcr version {VERSION}\ncommit: {COMMIT}\nspec: {OCI_VERSION}\n"));
    }
    if let Err(e) = check_preserved(&top) {
        return Report::default().failure(&e);
    }
    let report = match Report::new(&top) {
        Ok(report) => report,
        Err(e) => return Report::default().failure(&e),
    };
    match dispatch(top, &words) {
        Ok(code) => ExitCode::from(code),
        Err(e) => report.failure(&e),
    }
}

fn dispatch(top: Top, words: &[OsString]) -> Result<u8> {
    let rootless = is_rootless(top.rootless.as_deref())?;
    let path = top.root.map_or_else(|| default_root(rootless), Ok)?;
    let root = Root::new(path, CgroupChoice { lenient: rootless, systemd: top.systemd_cgroup });
    let command = top.command.ok_or_else(|| Error::invalid("a command is needed; lcr --help shows them"))?;
    if matches!(command, Command::Create(_) | Command::Run(_) | Command::Exec(_)) {
        // From here on a container's process could reach this executable (CVE-2019-5736).
        let argv: Vec<OsString> = std::iter::once("lcr".into()).chain(words.iter().cloned()).collect();
        sealed_exe::reexec(&argv, ["lcr", SEAL_WORD])?;
        // What this process was given is for the program at most, and not for hooks.
        fd::close_on_exec_from(3)?;
    }
    match command {
        Command::Create(args) => create::create(&root, args),
        Command::Delete(args) => delete::delete(&root, args),
        Command::Events(args) => events::events(&root, args),
        Command::Exec(args) => exec::exec(&root, args),
        Command::Features(_) => features::features(),
        Command::Kill(args) => kill::kill(&root, args),
        Command::List(args) => list::list(&root, args),
        Command::Pause(args) => kill::pause(&root, &args.id),
        Command::Ps(args) => list::ps(&root, args),
        Command::Resume(args) => kill::resume(&root, &args.id),
        Command::Run(args) => run::run(&root, args),
        Command::Spec(args) => spec::spec(args),
        Command::Start(args) => start::start(&root, args),
        Command::State(args) => list::state(&root, &args.id),
        Command::Update(args) => update::update(&root, args),
    }
}

/// Whether somebody runs this who is not the host's root, as far as `word` does not say so.
fn is_rootless(word: Option<&str>) -> Result<bool> {
    match word.unwrap_or("auto") {
        "auto" => Ok(!rights::is_host_root()),
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(Error::invalid(format!("--rootless {other:?}: want true, false or auto"))),
    }
}

/// Where the state is kept without `--root`.
///
/// # Errors
/// `Kind::Denied` when without XDG_RUNTIME_DIR somebody else may write to the directory that is left.
fn default_root(rootless: bool) -> Result<PathBuf> {
    if !rootless {
        return Ok("/run/lcr".into());
    }
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(path) if path.is_absolute() => return Ok(path.join("lcr")),
        _ => {}
    }
    let uid = nix::unistd::geteuid().as_raw();
    let path = PathBuf::from(format!("/tmp/lcr-{uid}"));
    // Everybody can make something of that name.
    match std::fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.context(|| format!("mkdir({path:?})"))?,
    }
    let found = std::fs::symlink_metadata(&path).context(|| format!("lstat({path:?})"))?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        let text = format!(
            "XDG_RUNTIME_DIR is not set, and {path:?} is no directory that is only user {uid}'s, with mode 0700"
        );
        return Err(Error::new(Kind::Denied, text));
    }
    Ok(path)
}

/// Checks, before anything is opened here, that the descriptors to pass on are there: a number that is free could later
/// be that of something of our own.
fn check_preserved(top: &Top) -> Result<()> {
    let count = match &top.command {
        Some(Command::Create(args)) => args.preserve_fds,
        Some(Command::Exec(args)) => args.preserve_fds,
        Some(Command::Run(args)) => args.preserve_fds,
        _ => 0,
    };
    match (3..).take(count as usize).find(|n| !fd::is_open(*n)) {
        Some(n) => Err(Error::invalid(format!("--preserve-fds {count}: descriptor {n} is not open"))),
        None => Ok(()),
    }
}

/// Writes to standard output.
///
/// # Errors
/// The failing call.
fn output(text: &[u8]) -> Result<u8> {
    std::io::stdout().write_all(text).context(|| "write(stdout)".into())?;
    Ok(0)
}

fn print(text: &str) -> ExitCode {
    match output(text.as_bytes()) {
        Ok(code) => ExitCode::from(code),
        Err(e) => Report::default().failure(&e),
    }
}
