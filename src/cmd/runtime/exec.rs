//! `lcr exec`: a further process in a container.

use crate::api::oci::runtime::{Process, Spec, User};
use crate::cmd::runtime::foreground::{self, Terminal};
use crate::cmd::runtime::record::{Record, Root, Status, read_limited};
use crate::cmd::runtime::run::write_pid_file;
use crate::engine;
use crate::engine::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::child::send_signal;
use crate::utils::sys::clone;
use argh::{ArgsInfo, FromArgs};
use std::path::PathBuf;

/// run a further process in a container
#[derive(FromArgs, ArgsInfo, Debug, Default)]
#[argh(subcommand, name = "exec")]
pub struct Exec {
    /// file that describes the process, as in config.json
    #[argh(option, short = 'p', arg_name = "file")]
    process: Option<PathBuf>,
    /// socket that gets the terminal
    #[argh(option, arg_name = "path")]
    console_socket: Option<PathBuf>,
    /// file for the process's id
    #[argh(option, arg_name = "file")]
    pid_file: Option<PathBuf>,
    /// working directory
    #[argh(option, arg_name = "dir")]
    cwd: Option<String>,
    /// set an environment variable, K=V
    #[argh(option, short = 'e', arg_name = "list")]
    env: Vec<String>,
    /// user name or number, [:group]
    #[argh(option, short = 'u', arg_name = "string")]
    user: Option<String>,
    /// add a capability
    #[argh(option, short = 'c', arg_name = "list")]
    cap: Vec<String>,
    /// allocate a pseudo terminal
    #[argh(switch, short = 't')]
    tty: bool,
    /// do not wait for the process's end
    #[argh(switch, short = 'd')]
    detach: bool,
    /// how many descriptors from 3 on the program gets (default 0)
    #[argh(option, default = "0", arg_name = "n")]
    pub preserve_fds: u32,
    /// a further group
    #[argh(option, short = 'g', arg_name = "gid")]
    additional_gids: Vec<u32>,
    /// profile of AppArmor
    #[argh(option, arg_name = "profile")]
    apparmor: Option<String>,
    /// label of SELinux
    #[argh(option, arg_name = "label")]
    process_label: Option<String>,
    /// cgroup below the container's, which exists
    #[argh(option, arg_name = "path")]
    cgroup: Option<String>,
    /// also in a paused container, whose processes wait
    #[argh(switch)]
    ignore_paused: bool,
    /// the process can gain no privileges
    #[argh(switch)]
    no_new_privs: bool,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
    /// program and arguments
    #[argh(positional, greedy, arg_name = "[COMMAND] [ARG...]")]
    args: Vec<String>,
}

/// Runs the process; in the foreground until its end.
///
/// # Errors
/// What failed; the process is gone then.
pub fn exec(root: &Root, args: Exec) -> Result<u8> {
    let record = root.load(&args.id)?;
    match record.status() {
        Status::Created | Status::Running => {}
        Status::Paused if args.ignore_paused => {}
        other => return Err(Error::conflict(format!("container {:?} is {}", record.id, other.word()))),
    }
    let spec = root.spec(&args.id)?;
    let process = process(&args, &spec)?;
    foreground::check_terminal(process.terminal, args.detach, args.console_socket.as_deref())?;
    let cgroup = match &args.cgroup {
        None => record.cgroup()?,
        Some(below) => Some(cgroup_below(&record, below)?),
    };
    let signals = if args.detach { None } else { Some(foreground::collect_signals()?) };
    let mut started = engine::exec::exec(engine::exec::Request {
        id: &record.id,
        bundle: &record.bundle,
        init: record.pid,
        init_start_time: record.start_time,
        cgroup: cgroup.as_ref(),
        spec: &spec,
        process: &process,
        stdio: None,
        preserved_fds: args.preserve_fds,
    })?;
    let mut finish = || {
        if let Some(path) = &args.pid_file {
            write_pid_file(path, started.pid)?;
        }
        let kept = foreground::hand_over(started.terminal.take(), args.console_socket.as_deref())?;
        match &signals {
            None => Ok(0),
            Some(signals) => foreground::wait(&started, signals, kept.map(Terminal::enter).transpose()?),
        }
    };
    let result = finish();
    if result.is_err() {
        let _ = send_signal(started.pid, libc::SIGKILL); // nobody would know of it
        let _ = clone::wait(started.pid);
    }
    result
}

/// A cgroup below that of the container.
fn cgroup_below(record: &Record, path: &str) -> Result<Cgroup> {
    if path.contains(':') {
        return Err(Error::new(Kind::Unsupported, format!("--cgroup {path:?}: a single controller cannot be chosen")));
    }
    if record.cgroup_path.is_empty() || path.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("--cgroup {path:?}: want a path below the container's own cgroup")));
    }
    Cgroup::open(&format!("{}/{path}", record.cgroup_path)).context(|| format!("--cgroup {path:?}"))
}

/// The process to run: from a file, or the container's own with what the flags say.
fn process(args: &Exec, spec: &Spec) -> Result<Process> {
    if let Some(path) = &args.process {
        let mut process: Process = json::parse(&read_limited(path)?).context(|| format!("process {path:?}"))?;
        let User { username, additional_groups, .. } = &mut process.user;
        (*username, *additional_groups) = (String::new(), Vec::new()); // as in the container's configuration
        process.terminal |= args.tty;
        return Ok(process);
    }
    if args.args.is_empty() {
        return Err(Error::invalid("exec needs a command or --process"));
    }
    let mut process = spec.process.clone().unwrap_or_default();
    process.args = args.args.clone();
    process.terminal = args.tty;
    process.no_new_privileges |= args.no_new_privs;
    if let Some(cwd) = &args.cwd {
        process.cwd = cwd.clone();
    }
    for variable in &args.env {
        let name = variable.split('=').next().unwrap_or_default();
        process.env.retain(|old| old.split('=').next() != Some(name));
        process.env.push(variable.clone());
    }
    if let Some(user) = &args.user {
        process.user = User { username: user.clone(), umask: process.user.umask, ..User::default() };
    }
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile = profile.clone();
    }
    if let Some(label) = &args.process_label {
        process.selinux_label = label.clone();
    }
    if !args.cap.is_empty() {
        let sets = process.capabilities.get_or_insert_default();
        for cap in &args.cap {
            // Inheritable ones would be kept by every program that is run from it.
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                if !set.contains(cap) {
                    set.push(cap.clone());
                }
            }
        }
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_the_containers_process() {
        let own = Process {
            args: vec!["sh".into()],
            env: vec!["A=1".into(), "B=2".into()],
            cwd: "/x".into(),
            terminal: true,
            ..Process::default()
        };
        let spec = Spec { process: Some(own), ..Spec::default() };
        let args = Exec {
            args: vec!["ls".into(), "-l".into()],
            env: vec!["A=3".into()],
            user: Some("app:staff".into()),
            cap: vec!["CAP_KILL".into(), "CAP_KILL".into()],
            ..Exec::default()
        };
        let p = process(&args, &spec).unwrap();
        assert_eq!((p.args.len(), p.env, p.cwd.as_str()), (2, vec!["B=2".to_owned(), "A=3".into()], "/x"));
        assert!(!p.terminal && p.user.username == "app:staff");
        assert_eq!(p.capabilities.unwrap().permitted, ["CAP_KILL"]);
        assert!(process(&Exec::default(), &spec).is_err());
    }
}
