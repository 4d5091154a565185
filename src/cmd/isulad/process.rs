//! What concerns the daemon's own process: identity, signals, limits, locks.

use super::options::Options;
use crate::entry::Stopper;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::file_lock::FileLock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Open files and processes of the daemon, and so of the shims.
const LIMIT: u64 = 1 << 20;
/// The signal thread only waits.
const STACK: usize = 64 * 1024;
const LOCK: &str = "isulad.lock";
/// For a daemon that was killed just now: it holds its locks until the kernel has taken it apart, and so do its
/// children between fork and exec.
const PATIENCE: Duration = Duration::from_secs(2);

/// # Errors
/// `Kind::Denied` for another user than root.
pub fn must_be_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, "must run as root"))
}

/// Blocks the signals that end or prompt the daemon and gives the descriptor on which they arrive. SIGPIPE is ignored
/// by the standard library's start-up code already.
///
/// # Errors
/// The failing call.
pub fn block_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    // SIGUSR1 would end the process by default; for the original it means nothing.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        set.add(signal);
    }
    set.thread_block().context(|| "pthread_sigmask(SIG_BLOCK)".into())?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context(|| "signalfd()".into())
}

/// Starts the thread that waits for signals. It ends with the process.
///
/// # Errors
/// When there can be no thread.
pub fn serve_signals(signals: SignalFd, stopper: Stopper) -> Result<()> {
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(STACK)
        .spawn(move || {
            loop {
                let number = match signals.read_signal() {
                    Ok(Some(info)) => info.ssi_signo as i32,
                    Ok(None) | Err(nix::Error::EINTR) => continue,
                    Err(e) => {
                        log::error!("read(signalfd): {e}");
                        return;
                    }
                };
                match number {
                    libc::SIGTERM | libc::SIGINT => {
                        log::info!("signal {number}");
                        stopper.stop();
                    }
                    libc::SIGHUP => match crate::utils::log::reopen() {
                        Ok(()) => log::info!("log opened anew"),
                        Err(e) => log::error!("{e}"),
                    },
                    _ => {}
                }
            }
        })
        .context(|| "start the signal thread".into())?;
    Ok(())
}

/// Raises what shims and their descriptors need, as far as the system allows, and sets the file mode creation mask.
pub fn set_limits() {
    umask(Mode::from_bits_truncate(0o022));
    for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_NPROC] {
        let Ok((soft, hard)) = getrlimit(resource) else { continue };
        let wanted = hard.max(LIMIT);
        if soft < wanted && setrlimit(resource, wanted, wanted).is_err() {
            let _ = setrlimit(resource, hard, hard); // without CAP_SYS_RESOURCE the hard limit is all there is
        }
    }
}

/// What one daemon alone may hold; given back in order when dropped.
pub struct Locks {
    pidfile: PathBuf,
    _pidfile: FileLock,
    _state: FileLock,
    _graph: FileLock,
}

impl Drop for Locks {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.pidfile); // a file that stays is taken over by the next start
    }
}

/// Makes the two directories, locks them, and writes the pid file.
///
/// # Errors
/// `Kind::Invalid` when they are one directory, `Kind::Busy` when another daemon uses one of them; a text that names the
/// directory when it cannot be written.
pub fn claim(options: &Options) -> Result<Locks> {
    let (graph, state) = (&options.settings.graph, &options.settings.state);
    // The two have locks of one name, and what a reboot makes void must not lie among what lasts.
    let apart = || match is_one(graph, state) {
        true => Err(Error::invalid(format!("graph {graph:?} and state {state:?} are one directory: want two"))),
        false => Ok(()),
    };
    apart()?;
    make_named("graph", graph)?;
    make_named("state", state)?;
    apart()?; // also where one leads to the other by a link
    let graph_lock = lock("graph", graph)?;
    let state_lock = lock("state", state)?;
    let pidfile = options.pidfile.clone();
    if let Some(parent) = pidfile.parent() {
        make(parent, 0o755).context(|| format!("pid file {pidfile:?}"))?;
    }
    let pid_lock = FileLock::exclusive(&pidfile, PATIENCE).map_err(|e| match e.kind() {
        Kind::Busy => Error::new(
            Kind::Busy,
            format!("Pid file found, ensure isulad is not running or delete pid file {}", pidfile.display()),
        ),
        _ => e.context(format!("pid file {pidfile:?}")),
    })?;
    std::fs::write(&pidfile, format!("{}\n", std::process::id()))
        .and_then(|()| std::fs::set_permissions(&pidfile, PermissionsExt::from_mode(0o644)))
        .context(|| format!("pid file {pidfile:?}"))?;
    Ok(Locks { pidfile, _pidfile: pid_lock, _state: state_lock, _graph: graph_lock })
}

/// Whether two paths are one, or lead to one directory.
fn is_one(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    a == b || identity(a).is_some_and(|a| Some(a) == identity(b))
}

fn readable(name: &str, path: &Path, e: Error) -> Error {
    match e.errno() {
        Some(libc::EROFS) => {
            Error::new(e.kind(), format!("the {name} directory {path:?} is on a read-only file system"))
        }
        _ => e.context(format!("the {name} directory {path:?} cannot be used")),
    }
}

fn make_named(name: &str, path: &Path) -> Result<()> {
    // Others may pass, to what is theirs inside, but not list.
    make(path, 0o711).map_err(|e| readable(name, path, e))
}

fn lock(name: &str, path: &Path) -> Result<FileLock> {
    FileLock::exclusive(&path.join(LOCK), PATIENCE).map_err(|e| match e.kind() {
        Kind::Busy => Error::new(Kind::Busy, format!("another isulad runs on the {name} directory {path:?}")),
        _ => readable(name, path, e),
    })
}

fn make(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).context(|| format!("mkdir({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::isulad::file::File;
    use crate::cmd::isulad::flags::Flags;
    use crate::cmd::isulad::options::resolve;

    fn options(root: &Path, pid: &str, graph: &str) -> Options {
        let flags = Flags {
            graph: Some(root.join(graph)),
            state: Some(root.join(format!("{graph}-state"))),
            pidfile: Some(root.join(pid)),
            ..Flags::default()
        };
        resolve(flags, &File::default()).unwrap()
    }

    #[test]
    fn graph_and_state_are_two_directories() {
        let root = std::env::temp_dir().join(format!("claim-one-{}", std::process::id()));
        std::fs::create_dir_all(root.join("g")).unwrap();
        std::os::unix::fs::symlink("g", root.join("link")).unwrap();
        for state in ["g", "g/", "link", "../g"] {
            let flags =
                Flags { graph: Some(root.join("g")), state: Some(root.join("g").join(state)), ..Flags::default() };
            let flags = Flags { pidfile: Some(root.join("p")), ..flags };
            let flags = if state.starts_with('.') { flags } else { Flags { state: Some(root.join(state)), ..flags } };
            let begin = std::time::Instant::now();
            let e = claim(&resolve(flags, &File::default()).unwrap()).err().unwrap();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains("are one directory"), "{state}: {e}");
            assert!(begin.elapsed() < PATIENCE, "{state}");
        }
        assert_eq!(std::fs::read_dir(root.join("g")).unwrap().count(), 0);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn one_daemon_per_root_and_pid_file() {
        let root = std::env::temp_dir().join(format!("claim-{}", std::process::id()));
        let held = claim(&options(&root, "p", "g")).unwrap();
        let text = std::fs::read_to_string(root.join("p")).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        let e = claim(&options(&root, "q", "g")).err().unwrap();
        assert!(e.kind() == Kind::Busy && e.to_string().contains("graph directory"), "{e}");
        let e = claim(&options(&root, "p", "h")).err().unwrap().to_string();
        assert!(e.starts_with("Pid file found, ensure isulad is not running or delete pid file /"), "{e}");
        drop(held);
        assert!(!root.join("p").exists());
        drop(claim(&options(&root, "p", "g")).unwrap());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
