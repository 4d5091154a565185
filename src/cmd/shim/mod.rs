//! `isulad-shim`: the parent of one container. It owns the container's streams, log and exit, and outlives the daemon.
//!
//! One process, one thread, one poll loop (`supervisor`). The daemon starts it with the watch socket as standard
//! input; the conversation is in [`crate::api::shim`]. Further orders serve the daemon: `cleanup` ends what a container
//! whose shim died has left, `prune` removes the containers' empty parent cgroup, `root` and `view` open a container's root,
//! `try-overlay` finds out whether overlayfs works, `seal` makes a read-only descriptor of the executable on old kernels.

mod buffer;
mod client;
mod container;
mod detach;
mod encode;
mod endpoint;
mod exit;
mod lines;
mod log;
#[cfg(feature = "other-runtimes")]
mod other_runtime;
mod request;
mod root;
mod session;
mod sink;
mod supervisor;
mod syslog;
#[cfg(test)]
mod tests;
#[cfg(feature = "storage")]
mod try_overlay;
#[cfg(feature = "image-tools")]
mod view;
mod watch;

use crate::api::shim::{Launch, Launched, Request, TIMED_OUT, VERSION, WATCH_FD};
use crate::engine::cgroup::{self, Cgroup};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::{child, descriptor, process, sealed_exe, socket};
use crate::utils::time::Timestamp;
use container::{Container, Engine};
use exit::ExitFile;
use session::Session;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use supervisor::{Listener, Parts, Supervisor, child_signals};
use watch::Watch;

const NAME: &str = "isulad-shim";

/// Runs the applet.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let texts: Vec<_> = words.iter().map(|w| w.to_str().unwrap_or_default()).collect();
    let result = match texts.as_slice() {
        [] => seal(&words).and_then(|()| enter()).and_then(|watch| run(watch, engine)),
        ["cleanup", path, pid, start_time, patience, other @ ..] => {
            #[cfg(feature = "other-runtimes")]
            other_runtime::forget(other);
            let _ = other;
            match (pid.parse(), start_time.parse(), patience.parse()) {
                (Ok(pid), Ok(start), Ok(patience)) => clean_up(path, pid, start, Duration::from_millis(patience)),
                _ => Err(Error::invalid("cleanup CGROUP PID START_TIME MILLISECONDS: numbers are wanted")),
            }
        }
        ["prune", path] => cgroup::prune(path),
        ["root"] => descriptor::take_standard_input().and_then(|fd| root::serve(fd.as_fd())),
        #[cfg(feature = "image-tools")]
        ["view"] => descriptor::take_standard_input().and_then(|fd| view::serve(fd.as_fd())),
        #[cfg(feature = "storage")]
        ["try-overlay"] => try_overlay::run(),
        ["seal"] => descriptor::take_standard_input().and_then(|fd| sealed_exe::serve(fd.as_fd())),
        _ => Err(Error::invalid("isulad-shim is started by isulad")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{NAME}: {e}"); // nobody is there to tell
            if e.kind() == Kind::Timeout { ExitCode::from(TIMED_OUT) } else { ExitCode::FAILURE }
        }
    }
}

/// What runs the container.
fn engine(launch: &mut Launch) -> Result<Box<dyn Engine>> {
    #[cfg(feature = "other-runtimes")]
    if !launch.runtime.is_empty() {
        return Ok(Box::new(other_runtime::OtherRuntime::new(std::mem::take(&mut launch.runtime), launch)?));
    }
    match launch.runtime.first() {
        None => Ok(Box::new(Container::new())),
        Some(name) => Err(Error::new(Kind::Unsupported, format!("runtime {name:?}: not in this build"))),
    }
}

/// The daemon starts shims from a sealed descriptor; by hand or by an older daemon it may come otherwise.
fn seal(words: &[OsString]) -> Result<()> {
    let mut argv = vec![OsString::from(NAME)];
    argv.extend(words.iter().cloned());
    sealed_exe::reexec(&argv, [NAME, "seal"])
}

/// Leaves the daemon's session and surroundings; gives the watch socket.
fn enter() -> Result<OwnedFd> {
    const _: () = assert!(WATCH_FD == 0);
    descriptor::close_from(3);
    let watch = descriptor::take_standard_input()?;
    let _ = nix::unistd::setsid(); // leader already: as good
    let _ = nix::sys::prctl::set_name(c"isulad-shim"); // the kernel shows the descriptor's number otherwise
    nix::sys::signal::SigSet::all().thread_block().context(|| "sigprocmask(SIG_BLOCK)".into())?;
    nix::unistd::chdir("/").context(|| "chdir(\"/\")".into())?;
    Ok(watch)
}

/// Makes the container that the daemon describes, and watches over it to its end.
///
/// # Errors
/// What the daemon was told.
fn run(watch: OwnedFd, engine: impl FnOnce(&mut Launch) -> Result<Box<dyn Engine>>) -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).context(|| "prctl(PR_SET_CHILD_SUBREAPER)".into())?;
    let message = socket::recv(watch.as_fd())?.ok_or_else(|| Error::new(Kind::Remote, "the daemon is gone"))?;
    let mut connection = Watch::default();
    connection.replace(watch);
    let prepared = parse(&message.body).and_then(|mut launch| {
        let mut engine = engine(&mut launch)?;
        Ok((prepare(launch, message.fds, engine.as_mut())?, engine))
    });
    let (parts, mut engine) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => {
            connection.first(&request::failed(&e));
            return Err(e);
        }
    };
    drop(message.body);
    let supervisor = Supervisor::new(engine.as_mut(), Parts { watch: connection, ..parts });
    supervisor.start()
}

fn parse(body: &[u8]) -> Result<Launch> {
    match json::parse_enum(body)? {
        Request::Launch(launch) => Ok(*launch),
        _ => Err(Error::invalid("the first message is no launch")),
    }
}

/// Everything up to the point where the container runs.
fn prepare(launch: Launch, fds: Vec<OwnedFd>, engine: &mut dyn Engine) -> Result<Parts> {
    let mut fds = fds.into_iter();
    let listener = fds.next().ok_or_else(|| Error::invalid("a launch comes with the listening socket"))?;
    let listener = Listener::of(listener, &launch.state_directory)?;
    let signals = child_signals()?;
    let spec = engine.configuration(&launch).map_err(request::not_ours)?;
    let process = spec.process.as_ref().ok_or_else(|| Error::invalid("the configuration has no process"))?;
    let clients = clients(&launch, fds, process.terminal)?;
    let log = sink::Sink::open(&launch)?;
    let ends = if process.terminal {
        request::Ends { child: None, ours: [None, None, None], streams: None }
    } else {
        request::first_pipes(launch.open_stdin)?
    };
    let started = engine.launch(&launch, &spec, ends.child).map_err(request::not_ours)?;
    let started_at = Timestamp::now();
    let made = request::stdio(started.terminal, ends.ours, process);
    let mut first = match made.and_then(|stdio| Session::new(None, started.pid, stdio)) {
        Ok(session) => session,
        Err(e) => {
            let _ = child::send_signal(started.pid, libc::SIGKILL); // and what it started goes with its cgroup
            let _ = engine.destroy();
            return Err(e);
        }
    };
    (first.log, first.stdin_once) = (log, launch.stdin_once);
    clients.into_iter().for_each(|client| first.attach(client));
    let me = std::process::id() as i32;
    Ok(Parts {
        watch: Watch::default(),
        listener,
        signals,
        first,
        launched: Launched {
            version: VERSION,
            pid: started.pid,
            start_time: started.start_time,
            shim_pid: me,
            shim_start_time: process::start_time(me).unwrap_or(0),
            started_at,
            ..Launched::default()
        },
        exit_file: ExitFile::new(&launch),
        oom_score_adj: protect(),
    })
}

fn clients(launch: &Launch, mut fds: std::vec::IntoIter<OwnedFd>, terminal: bool) -> Result<Vec<client::Client>> {
    let wanted: usize = launch.clients.iter().map(crate::api::shim::Streams::descriptors).sum();
    if wanted != fds.len() {
        return Err(Error::invalid(format!("{} descriptors for {wanted}", fds.len())));
    }
    let of = |streams: &crate::api::shim::Streams| {
        let own = fds.by_ref().take(streams.descriptors()).collect();
        request::client(streams.clone(), own, terminal)
    };
    launch.clients.iter().map(of).collect()
}

/// A mount namespace of this process alone.
fn own_mounts() -> Result<()> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context(|| "unshare(CLONE_NEWNS)".into())?;
    let none: Option<&str> = None;
    // What the host unmounts must not stay in use here, where it can be told.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context(|| "mount(\"/\", MS_SLAVE)".into())
}

/// Asks the kernel to kill others before this process, and gives what it had before, for the processes that it starts.
/// Not possible without CAP_SYS_RESOURCE, and then not needed: nothing has changed.
fn protect() -> Option<i32> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let before = crate::utils::pseudo_file::read_to_string(PATH).ok()?.trim().parse().ok()?;
    std::fs::write(PATH, "-999").ok()?;
    Some(before)
}

/// Ends what a container has left whose shim is dead.
fn clean_up(cgroups_path: &str, pid: i32, start_time: u64, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    let _ = nix::sys::prctl::set_name(c"isulad-shim");
    if process::is_alive(pid, start_time) {
        let _ = child::send_signal(pid, libc::SIGKILL); // ended in between: as good
    }
    let destroyed = match Cgroup::open(cgroups_path) {
        Ok(cgroup) => cgroup.destroy(patience),
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        Err(e) => Err(e),
    };
    // Its parent waits for it; without a cgroup there was nothing else to wait for its end.
    while process::is_alive(pid, start_time) && !process::is_zombie(pid) {
        if Instant::now() > deadline {
            return Err(Error::new(Kind::Timeout, format!("process {pid} does not end")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    destroyed
}
