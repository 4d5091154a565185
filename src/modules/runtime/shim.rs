//! Starts shims and talks to them: [`crate::api::shim`] has the conversation.

use crate::api::oci::runtime::Spec;
use crate::api::shim::{
    EXIT_FILE, Event, Exit, Failure, FailureClass, FromShim, Launch, Launched, Reply, Request, SOCKET, TIMED_OUT,
    VERSION,
};
use crate::error::{Context, Error, Kind, Result, errno_text};
use crate::utils::json;
use crate::utils::sys::poll::{POLLIN, PollSet};
use crate::utils::sys::{descriptor, process, sealed_exe, socket};
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The applet.
const NAME: &str = "isulad-shim";
/// Connections that a shim has not taken yet.
const BACKLOG: i32 = 16;
/// For how long a running shim may think about a request. Freezing a cgroup takes 10 s at most, an exec as long as
/// reading the program does.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long one may that is asked for a signal, which it can send at once.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long one may be stopped, by a signal or a debugger, while it is waited for.
const STOPPED: Duration = Duration::from_secs(3);
/// How often a shim that has not answered is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// For how long those that a shim started may take to end before it is killed itself.
const FAMILY_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long killed processes may take to end.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For how long a shim may take to end after its exit was recorded.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection on which a shim's events arrive.
pub struct Watch {
    socket: OwnedFd,
    /// Set when this process started the shim and so has to wait for it.
    child: Option<Child>,
}

/// Shims that were released while a client still took output, or died: waited for at the next occasion.
static ENDING: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Waits for released shims that have ended since. Never blocks. Launching and releasing do it by themselves.
pub fn reap() {
    let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    ending.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Spawns a shim from the sealed executable, sends the launch and waits for its answer. `fds` are those of the clients.
///
/// The shim is given its listening socket: it can be found from the moment on when it may begin to make a container, so
/// that a daemon which is started then, after this one was killed, waits for what becomes of it.
///
/// # Errors
/// What the shim reports, with the kind of its class; `Kind::Timeout` past the start timeout. The shim has ended then
/// and nothing is left behind.
pub fn launch(launch: &Launch, fds: &[BorrowedFd<'_>]) -> Result<(Watch, Launched)> {
    reap();
    let listener = socket::listen_at(&launch.state_directory, SOCKET, BACKLOG)?;
    let (socket, theirs) = socket::message_pair()?;
    let mut child = command()?
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| format!("spawn({NAME:?})"))?;
    let limit = (launch.start_timeout_ms > 0).then(|| Duration::from_millis(launch.start_timeout_ms));
    let request = json::to_vec(&Request::Launch(Box::new(launch.clone())));
    let all: Vec<BorrowedFd<'_>> = std::iter::once(listener.as_fd()).chain(fds.iter().copied()).collect();
    let sent = socket::send(socket.as_fd(), &request, &all);
    drop(all);
    drop(listener);
    let answer = sent.and_then(|()| first_reply(&socket, limit));
    match answer {
        Ok(Reply::Launched(launched)) => match descriptor::set_nonblocking(socket.as_fd()) {
            Ok(()) => Ok((Watch { socket, child: Some(child) }, launched)),
            Err(e) => Err(abandon(launch, child, e)),
        },
        Ok(Reply::Failed(failure)) => {
            // It undid everything before it said so, and ends at once.
            let _ = child.wait();
            Err(error(failure))
        }
        Ok(_) => Err(abandon(launch, child, Error::new(Kind::Remote, "the shim gave a wrong answer"))),
        Err(e) => Err(abandon(launch, child, e)),
    }
}

/// Kills a shim that this process started or that is watched, and what it has started: hooks and their children among
/// that, which are in no cgroup of the container.
pub fn kill(pid: i32, start_time: u64) {
    // Stopped it starts nothing more, and what loses its parent stays its descendant.
    if !process::signal(pid, start_time, libc::SIGSTOP).unwrap_or(false) {
        return;
    }
    let deadline = Instant::now() + FAMILY_TIMEOUT;
    loop {
        let family = process::descendants(pid);
        if family.is_empty() || Instant::now() > deadline {
            break;
        }
        for (pid, start) in family {
            let _ = process::signal(pid, start, libc::SIGKILL); // ended in between: as good
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process::signal(pid, start_time, libc::SIGKILL);
}

/// Ends a shim that did not do what it should, and what it may have made.
fn abandon(launch: &Launch, mut child: Child, e: Error) -> Error {
    let pid = child.id() as i32;
    // Not waited for yet, so it has one.
    kill(pid, process::start_time(pid).unwrap_or_default());
    let _ = child.kill(); // has ended: as good
    let _ = child.wait();
    let _ = std::fs::remove_file(launch.state_directory.join(SOCKET)); // mostly not there yet
    let spec = std::fs::read(launch.bundle.join("config.json")).ok().and_then(|bytes| json::parse::<Spec>(&bytes).ok());
    let path = spec.and_then(|spec| spec.linux).map(|linux| linux.cgroups_path).unwrap_or_default();
    if path.is_empty() {
        return e;
    }
    match clean_up(&path, 0, 0, PATIENCE, &launch.runtime, (&launch.state_directory, &launch.id)) {
        Ok(()) => e,
        Err(left) => {
            let kind = e.kind();
            Error::new(kind, format!("{e}; cleaning up: {left}"))
        }
    }
}

/// Connects to a running shim after a restart of the daemon.
///
/// # Errors
/// `Kind::NotFound` when no shim listens; `Kind::Unsupported` when it speaks a version that came after this daemon's.
pub fn watch(state_directory: &Path) -> Result<(Watch, Launched)> {
    let socket = connect(state_directory)?;
    socket::send(socket.as_fd(), &json::to_vec(&Request::Watch { version: VERSION }), &[]).map_err(gone)?;
    match first_reply(&socket, Some(REPLY_TIMEOUT))? {
        // A shim of a later daemon: what is new in its conversation may not be passed over.
        Reply::Watching(launched) if launched.version > VERSION => Err(Error::new(
            Kind::Unsupported,
            format!("its shim speaks version {} of the conversation, this daemon up to {VERSION}", launched.version),
        )),
        Reply::Watching(launched) => {
            descriptor::set_nonblocking(socket.as_fd())?;
            Ok((Watch { socket, child: None }, launched))
        }
        Reply::Failed(failure) => Err(error(failure)),
        _ => Err(Error::new(Kind::Remote, "the shim gave a wrong answer")),
    }
}

/// Sends one request on a connection of its own and gives the answer, `None` when there is no shim any more or its
/// container has ended. [`Reply::Failed`] becomes an error. `pid` is the shim's, where it is known.
///
/// # Errors
/// What the shim reports; what the connection gives; `Kind::Timeout` when it does not answer in time, which is short for
/// a signal and while the shim is stopped. It may yet do what it was asked for.
pub fn request(
    state_directory: &Path,
    pid: Option<i32>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<Option<Reply>> {
    let is_of_session =
        matches!(request, Request::Signal { exec_id: Some(_), .. } | Request::Resize { exec_id: Some(_), .. });
    let limit = if matches!(request, Request::Signal { .. }) { SIGNAL_TIMEOUT } else { REPLY_TIMEOUT };
    let reply = connect_within(state_directory, pid, limit).and_then(|socket| {
        socket::send(socket.as_fd(), &json::to_vec(request), fds).map_err(gone)?;
        await_answer(&socket, pid, limit)?;
        reply(&socket, Some(limit)).map_err(gone)
    });
    match reply {
        // Of a session it is that one that is not there.
        Ok(Some(Reply::Failed(failure))) if failure.class == FailureClass::NotFound && !is_of_session => Ok(None),
        Ok(Some(Reply::Failed(failure))) => Err(error(failure)),
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        reply => reply,
    }
}

fn connect(state_directory: &Path) -> Result<OwnedFd> {
    socket::connect_at(state_directory, SOCKET).map_err(gone)
}

/// As [`connect`], to one that may have so many connections to take that another one has to wait. Nothing is sent to one
/// that is stopped: what came with it could not be taken back, and a client would wait for the end of its stream.
fn connect_within(state_directory: &Path, pid: Option<i32>, limit: Duration) -> Result<OwnedFd> {
    let start = Instant::now();
    let mut stopped = None;
    loop {
        if !pid.is_some_and(process::is_stopped) {
            match socket::try_connect_at(state_directory, SOCKET).map_err(gone) {
                Err(e) if e.errno() == Some(libc::EAGAIN) => {}
                connected => return connected,
            }
        }
        check_patience(pid, start, limit, &mut stopped)?;
        std::thread::sleep(LOOK / 10);
    }
}

/// Waits until there is something to read.
fn await_answer(socket: &OwnedFd, pid: Option<i32>, limit: Duration) -> Result<()> {
    let start = Instant::now();
    let mut stopped = None;
    while !wait_readable(socket, Some(LOOK))? {
        check_patience(pid, start, limit, &mut stopped)?;
    }
    Ok(())
}

/// `Kind::Timeout` when a shim, waited for since `start`, has had its time. One that is stopped has less: it does nothing,
/// however slow the machine is. `stopped` holds since when each look has found it so.
fn check_patience(pid: Option<i32>, start: Instant, limit: Duration, stopped: &mut Option<Instant>) -> Result<()> {
    let now = Instant::now();
    match pid.is_some_and(process::is_stopped) {
        true => _ = stopped.get_or_insert(now),
        false => *stopped = None,
    }
    let name = pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    if stopped.is_some_and(|since| now - since >= STOPPED) {
        return Err(Error::new(Kind::Timeout, format!("no answer from the shim{name}, which is stopped")));
    }
    if now - start >= limit {
        return Err(Error::new(Kind::Timeout, format!("no answer from the shim{name} in {limit:?}")));
    }
    Ok(())
}

/// A shim that is not there, or ends at this moment.
fn gone(e: Error) -> Error {
    match e.errno() {
        Some(libc::ENOENT | libc::ECONNREFUSED | libc::EPIPE | libc::ECONNRESET) => e.with_kind(Kind::NotFound),
        _ => e,
    }
}

fn first_reply(socket: &OwnedFd, limit: Option<Duration>) -> Result<Reply> {
    reply(socket, limit)?.ok_or_else(|| Error::new(Kind::Remote, "the shim ended without an answer"))
}

/// `None` when the shim ends without one.
fn reply(socket: &OwnedFd, limit: Option<Duration>) -> Result<Option<Reply>> {
    if !wait_readable(socket, limit)? {
        return Err(Error::new(Kind::Timeout, format!("no answer from the shim in {:?}", limit.unwrap_or_default())));
    }
    match socket::recv(socket.as_fd())? {
        Some(message) => json::parse_enum(&message.body).map(Some).map_err(|e| e.with_kind(Kind::Remote)),
        None => Ok(None),
    }
}

fn wait_readable(socket: &OwnedFd, limit: Option<Duration>) -> Result<bool> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut set = PollSet::default();
    set.add(socket.as_fd(), POLLIN);
    loop {
        let rest = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if set.wait(rest)? > 0 {
            return Ok(true);
        }
        if rest.is_some_and(|rest| rest.is_zero()) {
            return Ok(false);
        }
    }
}

fn error(failure: Failure) -> Error {
    let kind = match failure.class {
        FailureClass::CommandNotFound => Kind::CommandNotFound,
        FailureClass::CommandNotExecutable => Kind::CommandNotExecutable,
        FailureClass::Invalid => Kind::Invalid,
        FailureClass::NotFound => Kind::NotFound,
        FailureClass::Conflict => Kind::Conflict,
        FailureClass::Unsupported => Kind::Unsupported,
        FailureClass::Other if failure.errno != 0 => Kind::Os(failure.errno),
        FailureClass::Other => Kind::Internal,
    };
    let text = if failure.message.is_empty() { errno_text(failure.errno) } else { failure.message };
    Error::new(kind, text)
}

impl Watch {
    /// For poll(2).
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next event without waiting; `None` when there is none yet.
    ///
    /// # Errors
    /// `Kind::Remote` when the shim is gone.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            let message = match socket::recv(self.socket.as_fd()) {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Error::new(Kind::Remote, "the shim is gone")),
                Err(e) if e.errno() == Some(libc::EAGAIN) => return Ok(None),
                Err(e) => return Err(e.with_kind(Kind::Remote)),
            };
            // What a newer shim says and this daemon does not know is passed over.
            if let Ok(FromShim::Event(event)) = json::parse_enum(&message.body) {
                return Ok(Some(event));
            }
        }
    }

    /// Tells the shim that its exit is recorded, and reaps it when it is a child of this process. A shim that still
    /// serves a slow client goes on alone; the container's directories are not its any more.
    pub fn release(mut self) {
        reap();
        let sent = socket::send(self.socket.as_fd(), &json::to_vec(&Request::Release), &[]);
        let deadline = Instant::now() + END_TIMEOUT;
        let mut lingers = false;
        while sent.is_ok() && !lingers {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() || !wait_readable(&self.socket, Some(rest)).unwrap_or(false) {
                lingers = true;
                break;
            }
            match socket::recv(self.socket.as_fd()) {
                Ok(Some(message)) => {
                    lingers = matches!(json::parse_enum(&message.body), Ok(FromShim::Reply(Reply::Done)));
                }
                Ok(None) | Err(_) => break,
            }
        }
        if let Some(mut child) = self.child.take() {
            // The end of the connection comes a moment before the end of the process.
            match lingers {
                false if child.wait().is_ok() => {}
                _ => keep(child),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.take().into_iter().for_each(keep);
    }
}

fn keep(mut child: Child) {
    if matches!(child.try_wait(), Ok(None)) {
        ENDING.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }
}

/// The exit file that a shim left in `directory`; `None` when there is none.
///
/// # Errors
/// `Kind::Corrupt` when it is damaged.
pub fn read_exit(directory: &Path) -> Result<Option<Exit>> {
    let path = directory.join(EXIT_FILE);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("open({path:?})"), e)),
    };
    let mut content = Vec::new();
    file.take(64 * 1024).read_to_end(&mut content).context(|| format!("read({path:?})"))?;
    json::parse(&content).map(Some).map_err(|e| e.with_kind(Kind::Corrupt).context(format!("{path:?}")))
}

/// After a shim died without an exit: kills what its container left in the cgroup `cgroups_path` and removes the
/// cgroup. Runs the engine in a process of its own (the shim applet with a clean-up order). A `runtime` as in a launch forgets
/// the container of that state directory and id.
///
/// # Errors
/// `Kind::Timeout` when something has not ended after `patience`; what that process reports.
pub fn clean_up(
    cgroups_path: &str,
    pid: i32,
    start_time: u64,
    patience: Duration,
    runtime: &[String],
    (directory, id): (&Path, &str),
) -> Result<()> {
    let mut words: Vec<OsString> = vec!["cleanup".into(), cgroups_path.into()];
    words.extend([pid.to_string().into(), start_time.to_string().into(), patience.as_millis().to_string().into()]);
    words.extend([id.into(), directory.into()]);
    words.extend(runtime.iter().map(OsString::from));
    order(&words).context(|| format!("cleaning up {cgroups_path:?}"))
}

/// Removes the cgroup `path`, a parent of containers', wherever it is empty. Runs as [`clean_up`].
///
/// # Errors
/// What that process reports; a cgroup that is in use is none.
pub fn prune(path: &str) -> Result<()> {
    order(&["prune".into(), path.into()]).context(|| format!("removing the empty cgroup {path:?}"))
}

/// Tries whether overlayfs works on the file system of `directory`, which is empty and is left full. `None` when it does,
/// else why not.
///
/// # Errors
/// When it cannot be tried: no room on the disk or in memory says nothing about overlayfs.
#[cfg(feature = "storage")]
pub fn try_overlay(directory: &Path) -> Result<Option<String>> {
    let mut command = command()?;
    command.arg("try-overlay").current_dir(directory);
    Ok(Some(ordered(command)?).filter(|why| !why.is_empty()))
}

/// Runs the shim applet for one order.
fn order(words: &[OsString]) -> Result<()> {
    let mut command = command()?;
    command.args(words);
    ordered(command).map(drop)
}

/// Waits for a process with an order; what it answers.
fn ordered(mut command: Command) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().context(|| format!("spawn({NAME:?})"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let kind = match output.status.code() {
        // Killed, it has not done what it should.
        None => Kind::Timeout,
        Some(code) if code == i32::from(TIMED_OUT) => Kind::Timeout,
        Some(_) => Kind::Internal,
    };
    Err(Error::new(
        kind,
        match text {
            // Killed, most likely for its memory.
            "" => format!("{NAME}: {}", output.status),
            text => text.strip_prefix("isulad-shim: ").unwrap_or(text).to_owned(),
        },
    ))
}

pub(super) fn command() -> Result<Command> {
    let mut command = Command::new(sealed_exe::path(sealed_executable()?.as_fd()));
    command.arg0(NAME).env_clear();
    #[cfg(test)]
    tests::run_fake(&mut command);
    Ok(command)
}

/// A descriptor of the own executable that cannot be written through, opened once per process (CVE-2019-5736): a
/// detached read-only clone of its mount (open_tree(2), mount_setattr(2), Linux 5.12), else a bind mount made in a
/// private mount namespace, else a sealed memfd.
///
/// # Errors
/// When every way fails.
pub fn sealed_executable() -> Result<&'static OwnedFd> {
    static SEALED: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = SEALED.get() {
        return Ok(fd);
    }
    let fd = sealed_exe::open([NAME, "seal"])?;
    Ok(SEALED.get_or_init(|| fd))
}

#[cfg(test)]
mod tests;
