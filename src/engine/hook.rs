//! Hooks: programs of the configuration at points in a container's life (OCI runtime specification, config.md, POSIX
//! platform Hooks).

use crate::api::oci::runtime::{Hook, Spec};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::{json, sys};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a hook's output an error shows.
const OUTPUT_LIMIT: usize = 4096;

/// The state of a container as hooks and seccomp agents read it (runtime.md, State).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    pid: i32,
    bundle: &'a Path,
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> State<'a> {
    /// Of the container `id`.
    pub fn new(id: &'a str, spec: &'a Spec, status: &'a str, pid: i32, bundle: &'a Path) -> State<'a> {
        State { oci_version: &spec.oci_version, id, status, pid, bundle, annotations: &spec.annotations }
    }
}

/// The state document for the standard input of hooks.
pub fn state(id: &str, spec: &Spec, status: &str, pid: i32, bundle: &Path) -> Vec<u8> {
    json::to_vec(&State::new(id, spec, status, pid, bundle))
}

/// Runs the hooks of one point in order.
///
/// # Errors
/// The first that fails, with what it printed; those after it do not run.
pub fn run_all(point: &str, hooks: &[Hook], state: &[u8]) -> Result<()> {
    hooks.iter().try_for_each(|hook| run(hook, state).context(|| format!("{point} hook {:?}", hook.path)))
}

fn run(hook: &Hook, state: &[u8]) -> Result<()> {
    if !hook.path.is_absolute() {
        return Err(Error::invalid("the path is not absolute"));
    }
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    let env = hook.env.iter().map(|e| e.split_once('=').unwrap_or((e, "")));
    command.env_clear().envs(env).current_dir("/");
    let (output, writer) = std::io::pipe().context(|| "pipe()".into())?;
    let second = writer.try_clone().context(|| "dup()".into())?;
    command.stdin(Stdio::piped()).stdout(writer).stderr(second);
    sys::child::unblock_signals(&mut command);
    sys::child::lead_session(&mut command);
    let mut child = Running { child: command.spawn().map_err(not_run)?, is_over: false };
    drop(command); // and with it the writing ends of the pipe
    let deadline = hook.timeout.filter(|s| *s > 0).map(|s| Instant::now() + Duration::from_secs(u64::from(s)));
    let mut stdin = child.child.stdin.take().expect("asked for above");
    // A hook need not read its input; the document fits any pipe buffer in practice, and its end must come.
    let _ = stdin.write_all(state);
    drop(stdin);
    let printed = read_until_end(output, &child.child, deadline)?;
    let status = child.child.wait().context(|| "wait()".into())?;
    child.is_over = true;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
    };
    let printed = String::from_utf8_lossy(&printed);
    Err(Error::new(Kind::Internal, format!("{how}: {}", printed.trim_end())))
}

/// Why a hook could not be run at all, in the kinds of a program that cannot.
fn not_run(e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::NotFound => Kind::CommandNotFound,
        std::io::ErrorKind::PermissionDenied => Kind::CommandNotExecutable,
        _ => return Error::io("exec", e),
    };
    Error::new(kind, Error::io("exec", e).to_string())
}

/// Kills on drop a hook that is not over, with all that it has started, and reaps it. What one that is over has left
/// running may go on.
struct Running {
    child: Child,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Not waited for yet, so the number is still its own.
        let _ = sys::child::send_group_signal(self.child.id() as i32, libc::SIGKILL);
        let _ = self.child.kill(); // ended already
        let _ = self.child.wait();
    }
}

/// Reads the output until the hook has ended (something it started may hold the pipe for ever) or the deadline.
fn read_until_end(mut output: std::io::PipeReader, child: &Child, deadline: Option<Instant>) -> Result<Vec<u8>> {
    let pidfd = sys::process::pidfd_open(child.id() as i32).ok();
    let mut kept = Vec::new();
    let mut buffer = [0u8; 1024];
    loop {
        let timeout = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            None => PollTimeout::NONE,
            Some(Duration::ZERO) => return Err(Error::new(Kind::Timeout, "not done in time")),
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        };
        let mut fds = vec![PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        fds.extend(pidfd.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Err(nix::Error::EINTR) | Ok(0) => continue,
            result => result.context(|| "poll()".into())?,
        };
        let ready = |n: usize| fds.get(n).and_then(PollFd::revents).is_some_and(|r| !r.is_empty());
        let (readable, ended) = (ready(0), ready(1));
        if readable {
            match output.read(&mut buffer).context(|| "read()".into())? {
                0 => return Ok(kept),
                n => {
                    let room = OUTPUT_LIMIT - kept.len();
                    kept.extend_from_slice(&buffer[..n.min(room)]);
                }
            }
        } else if ended {
            return Ok(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u32>) -> Hook {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b".into()], timeout }
    }

    #[test]
    fn hooks_get_state_and_environment_and_their_failure_shows_their_output() {
        let spec = Spec { oci_version: "1.0.2".into(), ..Spec::default() };
        let state = state("x", &spec, "creating", 7, Path::new("/b"));
        let text = r#"{"ociVersion":"1.0.2","id":"x","status":"creating","pid":7,"bundle":"/b","annotations":{}}"#;
        assert_eq!(String::from_utf8(state.clone()).unwrap(), text);
        run_all("prestart", &[hook("test \"$A\" = b && grep -q '\"pid\":7'", None)], &state).unwrap();
        let e = run_all("prestart", &[hook("echo no; exit 3", None), hook("exit 4", None)], &state).unwrap_err();
        assert_eq!(e.to_string(), "prestart hook \"/bin/sh\": exit code 3: no");
        let e = run_all("p", &[Hook { path: "/etc/passwd".into(), ..Hook::default() }], &state).unwrap_err();
        assert_eq!(e.kind(), Kind::CommandNotExecutable);
        assert_eq!(e.to_string(), "p hook \"/etc/passwd\": exec: permission denied");
        let e = run_all("p", &[Hook { path: "/nosuch".into(), ..Hook::default() }], &state).unwrap_err();
        assert_eq!(e.kind(), Kind::CommandNotFound);
        let e = run_all("p", &[hook("kill -9 $$", None)], &state).unwrap_err();
        assert_eq!(e.to_string(), "p hook \"/bin/sh\": killed by signal 9: ");
    }

    #[test]
    fn a_hook_that_hangs_is_killed_and_one_that_leaves_a_child_is_not_waited_for() {
        let e = run_all("p", &[hook("exec sleep 60", Some(1))], b"{}").unwrap_err();
        assert_eq!(e.kind(), Kind::Timeout);
        let start = Instant::now();
        run_all("p", &[hook("sleep 30 & echo $!", None)], b"{}").unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        // With all that it has started.
        let file = std::env::temp_dir().join(format!("hook-{}", std::process::id()));
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        run_all("p", &[hook(&script, Some(1))], b"{}").unwrap_err();
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let is_gone = || sys::process::start_time(pid).is_none() || sys::process::is_zombie(pid);
        while !is_gone() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(is_gone());
        std::fs::remove_file(&file).unwrap();
    }
}
