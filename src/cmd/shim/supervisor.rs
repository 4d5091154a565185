//! The loop: one poll(2) over everything that can happen to a container.

use super::buffer::Pool;
use super::container::Engine;
use super::exit::ExitFile;
use super::session::{self, Session};
use super::watch::Watch;
use crate::api::shim::{Event, ExecState, Exit, Launched, Reply};
use crate::error::{Context, Result};
use crate::utils::sys::pages::{trim_stack, trim_text};
use crate::utils::sys::poll::{POLLHUP, POLLIN, POLLOUT, POLLPRI, PollSet};
use crate::utils::sys::{child, descriptor, socket};
use crate::utils::time::Timestamp;
use nix::sys::signalfd::SignalFd;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Results of ended exec sessions that are kept for a daemon that was away.
const ENDED_LIMIT: usize = 32;
/// Bytes of their notes: the newest ones are kept.
const NOTES_LIMIT: usize = 8 * 1024;
/// Connections that have not said yet what they want.
const REQUEST_LIMIT: usize = 64;
/// For how long they may keep it to themselves.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long an exit waits to be recorded by a daemon that is connected.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a client may go on sending after its last byte of output.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Quiet time after which buffers are given back.
const IDLE: Duration = Duration::from_millis(500);
/// The notification of old kernels comes before the kill that it is about.
const OOM_DELAY: Duration = Duration::from_millis(100);
/// For how long exec sessions of a container that has ended may take to die: longer only in uninterruptible sleep.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// What an entry of the poll set is.
#[derive(Clone, Copy)]
enum Token {
    Signals,
    Listener,
    Watch,
    Oom,
    Request(usize),
    Linger(usize),
    Session(usize, session::Token),
}

/// The listening socket, and how to know its file from one that a later shim put in its place.
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
    inode: Option<u64>,
}

impl Listener {
    /// Of the socket that the daemon has put into the state directory.
    ///
    /// # Errors
    /// The failing call.
    pub fn of(fd: OwnedFd, state_directory: &std::path::Path) -> Result<Listener> {
        descriptor::set_nonblocking(fd.as_fd())?;
        let path = state_directory.join(crate::api::shim::SOCKET);
        let inode = std::fs::symlink_metadata(&path).map(|m| m.ino()).ok();
        Ok(Listener { fd, path, inode })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).map(|m| m.ino()).ok() == self.inode {
            let _ = std::fs::remove_file(&self.path); // gone with its directory: as good
        }
    }
}

/// Everything that the loop knows.
pub struct Supervisor<'a> {
    pub(super) engine: &'a mut dyn Engine,
    pub(super) launched: Launched,
    /// The first process is the first one.
    pub(super) sessions: Vec<Session>,
    pub(super) watch: Watch,
    pub(super) paused: bool,
    pub(super) released: bool,
    pub(super) listener: Option<Listener>,
    pub(super) ended: VecDeque<ExecState>,
    /// What a process gets whose configuration names no `oom_score_adj`: what this one had before it protected itself.
    pub(super) oom_score_adj: Option<i32>,
    exit_file: ExitFile,
    signals: SignalFd,
    oom: Option<(OwnedFd, i16)>,
    oom_kills: u64,
    oom_check: Option<Instant>,
    requests: Vec<Option<(OwnedFd, Instant)>>,
    lingering: Vec<Option<(OwnedFd, Instant)>>,
    release_deadline: Option<Instant>,
    pool: Pool,
    last_activity: Instant,
    /// Nothing has happened since memory was given back.
    trimmed: bool,
}

/// What start-up made.
pub struct Parts {
    /// The connection to the daemon.
    pub watch: Watch,
    /// The listening socket.
    pub listener: Listener,
    /// SIGCHLD.
    pub signals: SignalFd,
    /// The first process.
    pub first: Session,
    /// What the daemon was told.
    pub launched: Launched,
    /// Where the exit goes.
    pub exit_file: ExitFile,
    /// See [`Supervisor::oom_score_adj`].
    pub oom_score_adj: Option<i32>,
}

impl<'a> Supervisor<'a> {
    /// Of a container that was just started.
    pub fn new(engine: &'a mut dyn Engine, parts: Parts) -> Supervisor<'a> {
        let oom = engine.oom_notifier().map(|fd| {
            // An eventfd polls readable. A file of cgroup v2 always does, and reports changes as POLLPRI.
            let events = if descriptor::kind(fd.as_fd()) == descriptor::Kind::File { POLLPRI } else { POLLIN };
            (fd, events)
        });
        Supervisor {
            engine,
            launched: parts.launched,
            sessions: vec![parts.first],
            watch: parts.watch,
            paused: false,
            released: false,
            listener: Some(parts.listener),
            ended: VecDeque::new(),
            oom_score_adj: parts.oom_score_adj,
            exit_file: parts.exit_file,
            signals: parts.signals,
            oom,
            oom_kills: 0,
            oom_check: None,
            requests: Vec::new(),
            lingering: Vec::new(),
            release_deadline: None,
            pool: Pool::default(),
            last_activity: Instant::now(),
            trimmed: false,
        }
    }

    /// Tells the daemon that the container runs, and goes on with [`Supervisor::run`].
    ///
    /// # Errors
    /// As there.
    pub fn start(mut self) -> Result<()> {
        self.watch.first(&Reply::Launched(self.launched.clone()));
        self.run()
    }

    /// Runs until the container has ended, its exit is recorded, and every client has its output.
    ///
    /// # Errors
    /// When waiting itself fails; the container is ended then.
    fn run(mut self) -> Result<()> {
        let (mut set, mut tokens) = (PollSet::default(), Vec::new());
        let mut failures = 0;
        self.settle(Instant::now()); // clients from before the start
        while !self.is_over() {
            set.clear();
            tokens.clear();
            self.register(&mut set, &mut tokens);
            let now = Instant::now();
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(now));
            let ready = match set.wait(timeout) {
                Ok(n) => n,
                // ENOMEM passes; the container lives on meanwhile.
                Err(e) if failures >= 1000 => return Err(e),
                Err(_) => {
                    failures += 1;
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            let now = Instant::now();
            if ready > 0 {
                (self.last_activity, self.trimmed) = (now, false);
                for (index, &token) in tokens.iter().enumerate() {
                    let events = set.ready(index);
                    if events != 0 {
                        self.handle(token, events, now);
                    }
                }
            }
            self.settle(now);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.launched.exit.is_some()
            && self.released
            && self.sessions.iter().all(Session::is_over)
            && self.lingering.is_empty()
    }

    fn register(&self, set: &mut PollSet, tokens: &mut Vec<Token>) {
        let mut add = |fd: std::os::fd::BorrowedFd<'_>, events: i16, token: Token| {
            set.add(fd, events);
            tokens.push(token);
        };
        if let Some(fd) = self.watch.as_fd() {
            add(fd, if self.watch.is_behind() { POLLIN | POLLOUT } else { POLLIN }, Token::Watch);
        }
        if let Some(listener) = self.listener.as_ref().filter(|_| self.requests.len() < REQUEST_LIMIT) {
            add(listener.fd.as_fd(), POLLIN, Token::Listener);
        }
        if let Some((fd, events)) = &self.oom {
            add(fd.as_fd(), *events, Token::Oom);
        }
        for (index, (fd, _)) in present(&self.requests) {
            add(fd.as_fd(), POLLIN, Token::Request(index));
        }
        for (index, (fd, _)) in present(&self.lingering) {
            add(fd.as_fd(), POLLIN, Token::Linger(index));
        }
        for (index, session) in self.sessions.iter().enumerate() {
            session.register(set, |token| tokens.push(Token::Session(index, token)));
        }
        // Last in turn: what a process wrote precedes its end.
        set.add(self.signals.as_fd(), POLLIN);
        tokens.push(Token::Signals);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let idle = (!self.trimmed).then(|| self.last_activity + IDLE);
        present(&self.requests)
            .chain(present(&self.lingering))
            .map(|(_, (_, deadline))| *deadline)
            .chain(self.sessions.iter().filter_map(Session::deadline))
            .chain(self.oom_check)
            .chain(self.release_deadline)
            .chain(idle)
            .min()
    }

    fn handle(&mut self, token: Token, events: i16, now: Instant) {
        match token {
            Token::Signals => self.children_ended(now),
            Token::Listener => self.accept(now),
            Token::Watch => {
                self.watch.flush();
                if let Some(message) = self.watch.receive() {
                    let reply = self.answer(message.body, message.fds, None);
                    if let Some(reply) = reply {
                        self.watch.reply(reply);
                    }
                    if self.released {
                        self.listener = None;
                    }
                }
            }
            Token::Oom => {
                if let Some((fd, _)) = &self.oom {
                    let mut content = [0u8; 512];
                    // Reading arms it again, for cgroup v2 from the start of the file.
                    let _ = nix::unistd::lseek(fd.as_fd(), 0, nix::unistd::Whence::SeekSet); // an eventfd cannot
                    if !matches!(nix::unistd::read(fd, &mut content), Ok(n) if n > 0) {
                        self.oom = None;
                    }
                }
                self.check_oom();
                self.oom_check = Some(now + OOM_DELAY);
            }
            Token::Request(index) => {
                let Some((fd, _)) = self.requests.get_mut(index).and_then(Option::take) else { return };
                match socket::recv(fd.as_fd()) {
                    Ok(Some(message)) => {
                        let mut fd = Some(fd);
                        let reply = self.answer(message.body, message.fds, Some(&mut fd));
                        if let (Some(fd), Some(reply)) = (fd, reply) {
                            let _ = socket::send(fd.as_fd(), &crate::utils::json::to_vec(&reply), &[]); // it left
                        }
                    }
                    Err(e) if e.errno() == Some(libc::EAGAIN) => {
                        self.requests[index] = Some((fd, now + REQUEST_TIMEOUT));
                    }
                    Ok(None) | Err(_) => {}
                }
            }
            Token::Linger(index) => {
                let Some(slot) = self.lingering.get_mut(index) else { return };
                let mut ignored = [0u8; 4096];
                let ended = slot.as_ref().is_none_or(|(fd, _)| {
                    use nix::sys::socket::{MsgFlags, recv};
                    let received = recv(std::os::fd::AsRawFd::as_raw_fd(fd), &mut ignored, MsgFlags::MSG_DONTWAIT);
                    !matches!(received, Ok(1..) | Err(nix::Error::EAGAIN | nix::Error::EINTR)) || events & POLLHUP != 0
                });
                if ended {
                    *slot = None;
                }
            }
            Token::Session(index, token) => {
                if let Some(session) = self.sessions.get_mut(index) {
                    session.handle(token, events, &mut self.pool, now);
                }
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        let Ok(fd) = socket::accept(listener.fd.as_fd()) else { return };
        let me = nix::unistd::geteuid().as_raw();
        let trusted = socket::peer_credentials(fd.as_fd()).is_ok_and(|peer| peer.uid() == me || peer.uid() == 0);
        if trusted && descriptor::set_nonblocking(fd.as_fd()).is_ok() {
            self.requests.push(Some((fd, now + REQUEST_TIMEOUT)));
        }
    }

    /// Reports what the kernel killed since the last look.
    fn check_oom(&mut self) {
        let kills = self.engine.oom_kills();
        if kills > self.oom_kills {
            self.oom_kills = kills;
            self.watch.event(Event::OutOfMemory);
        }
    }

    fn children_ended(&mut self, now: Instant) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        if let Some(exit_code) = self.reap(now) {
            self.container_ended(exit_code, now);
        }
    }

    /// Waits for all children that have ended; gives the exit code of the first process when it is among them.
    fn reap(&mut self, now: Instant) -> Option<u8> {
        let mut first = None;
        while let Some((pid, exit_code)) = child::reap_any() {
            let Some(index) = self.sessions.iter().position(|s| s.pid == pid && s.exit.is_none()) else { continue };
            if index == 0 {
                first = Some(exit_code);
            } else {
                self.exec_ended(index, exit_code, now);
            }
        }
        first
    }

    fn exec_ended(&mut self, index: usize, exit_code: u8, now: Instant) {
        let session = &mut self.sessions[index];
        session.process_ended(exit_code, &mut self.pool, now);
        let exec_id = session.exec_id.clone().unwrap_or_default();
        let note = std::mem::take(&mut session.note);
        if self.ended.len() == ENDED_LIMIT {
            self.ended.pop_front();
        }
        let untold = self.watch.as_fd().is_none().then(Timestamp::now);
        self.ended.push_back(ExecState { exec_id: exec_id.clone(), exit_code, untold, note, pid: 0 });
        let mut bytes = 0;
        for ended in self.ended.iter_mut().rev() {
            bytes += ended.note.len();
            if bytes > NOTES_LIMIT {
                ended.note = String::new();
            }
        }
        // Before the client hears of it: who asks the daemon then gets the answer.
        self.watch.event(Event::ExecExited { exec_id, exit_code });
    }

    /// The first process has ended. When this returns nothing of the container is left but what sleeps where no signal
    /// reaches it, and the exit is on disk.
    pub(super) fn container_ended(&mut self, exit_code: u8, now: Instant) {
        let finished_at = Timestamp::now();
        self.sessions[0].exit = Some(exit_code); // its number is free from here on
        self.check_oom();
        (self.oom, self.oom_check) = (None, None);
        for session in self.sessions.iter().filter(|s| s.exit.is_none()) {
            let _ = child::send_signal(session.pid, libc::SIGKILL); // the cgroup gets it too, where there is one
        }
        let mut remains = !self.engine.destroy();
        remains |= !self.bury(now);
        self.sessions[0].process_ended(exit_code, &mut self.pool, now);
        let exit = Exit {
            started_at: self.launched.started_at,
            finished_at,
            exit_code,
            oom_killed: self.oom_kills > 0,
            remains,
        };
        self.launched.exit = Some(exit.clone());
        self.launched.execs = Vec::new();
        if self.watch.as_fd().is_none() {
            self.listener = None;
        }
        self.exit_file.write(&exit);
        self.watch.event(Event::Exited(exit));
        self.sessions[0].close_log();
        self.release_deadline = Some(Instant::now() + RELEASE_TIMEOUT);
    }

    /// Waits for the exec sessions, which were killed; gives whether all have ended.
    fn bury(&mut self, now: Instant) -> bool {
        let deadline = Instant::now() + DEATH_TIMEOUT;
        let mut ended = true;
        let mut set = PollSet::default();
        loop {
            let _ = self.reap(now);
            let rest = deadline.saturating_duration_since(Instant::now());
            let Some(alive) = self.sessions.iter().position(|s| s.exit.is_none()) else { return ended };
            if rest.is_zero() {
                ended = false;
                self.exec_ended(alive, 128 + libc::SIGKILL as u8, now);
                continue;
            }
            set.clear();
            set.add(self.signals.as_fd(), POLLIN);
            let _ = set.wait(Some(rest)); // at worst it is tried again until the deadline
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
    }

    /// Ends what has no further part in the next wait.
    fn settle(&mut self, now: Instant) {
        let mut linger = Vec::new();
        for session in &mut self.sessions {
            session.settle(&mut self.pool, now, &mut linger);
        }
        self.lingering.extend(linger.into_iter().map(|fd| Some((fd, now + LINGER_TIMEOUT))));
        let mut index = 0;
        self.sessions.retain(|session| {
            index += 1;
            index == 1 || !session.is_over()
        });
        for list in [&mut self.requests, &mut self.lingering] {
            list.retain(|slot| slot.as_ref().is_some_and(|(_, deadline)| *deadline > now));
        }
        if self.oom_check.is_some_and(|at| at <= now) {
            self.oom_check = None;
            self.check_oom();
        }
        if self.launched.exit.is_some() && !self.released {
            // Nobody is there, or nobody records it: the exit file has it.
            if self.watch.as_fd().is_none() || self.release_deadline.is_some_and(|at| at <= now) {
                self.released = true;
                self.watch.close();
                self.listener = None;
            }
        }
        if self.released {
            self.release_deadline = None;
        }
        if !self.trimmed && now.saturating_duration_since(self.last_activity) >= IDLE {
            self.trimmed = true;
            self.pool.trim();
            self.sessions.iter_mut().for_each(Session::trim);
            self.sessions.shrink_to_fit();
            trim_stack();
            trim_text();
        }
    }

    /// Makes `fd` the watch connection and tells it where things stand.
    pub(super) fn watched_by(&mut self, fd: OwnedFd) {
        self.watch.replace(fd);
        let launched = self.describe();
        self.watch.first(&Reply::Watching(launched));
        if self.watch.as_fd().is_some() {
            self.ended.iter_mut().for_each(|ended| ended.untold = None);
        }
        if let Some(exit) = &self.launched.exit {
            self.watch.event(Event::Exited(exit.clone()));
            self.release_deadline = Some(Instant::now() + RELEASE_TIMEOUT);
        }
    }

    fn describe(&self) -> Launched {
        let mut launched = self.launched.clone();
        for session in self.sessions.iter().filter(|s| s.exit.is_none()) {
            let Some(exec_id) = session.exec_id.clone() else { continue };
            launched.execs.push(exec_id.clone());
            if !session.note.is_empty() {
                let (pid, note) = (session.pid, session.note.clone());
                launched.live_execs.push(ExecState { exec_id, pid, note, ..ExecState::default() });
            }
        }
        launched.ended_execs = self.ended.iter().cloned().collect();
        launched.paused = self.paused;
        launched
    }

    /// The daemon has recorded the exit. Gives whether the shim goes on for the sake of its clients.
    pub(super) fn release(&mut self) -> bool {
        self.released = true;
        self.listener = None;
        !(self.sessions.iter().all(Session::is_over) && self.lingering.is_empty())
    }
}

impl Drop for Supervisor<'_> {
    /// Nothing of the container outlives its shim.
    fn drop(&mut self) {
        if self.launched.exit.is_none() {
            let _ = child::send_signal(self.launched.pid, libc::SIGKILL);
            let _ = self.engine.destroy();
        }
    }
}

fn present<T>(list: &[Option<T>]) -> impl Iterator<Item = (usize, &T)> {
    list.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
}

/// SIGCHLD as a descriptor. The caller has blocked it.
///
/// # Errors
/// The failing call.
pub fn child_signals() -> Result<SignalFd> {
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::signalfd::SfdFlags;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context(|| "signalfd(SIGCHLD)".into())
}
