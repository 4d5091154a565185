//! Exec sessions.

use super::container::{attach, signal};
use super::{Daemon, Handover, Upgrade};
use crate::api::exec::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse, ProcessConfig};
use crate::api::oci::runtime::ConsoleSize;
use crate::api::shim::{Exec, Launched, Reply, Request, StreamMode, Streams};
use crate::error::{Error, Kind, Result};
use crate::modules::container::run::{Verb, permit};
use crate::modules::container::{Container, keys, lock};
use crate::modules::spec;
use crate::utils::{id, json};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

/// Most sessions that are kept though they do not run: not started yet, or ended and perhaps not asked after yet.
const MOST_IDLE: usize = 128;
/// Bytes of a command that a later daemon is told of, as far as whole words go: the shim keeps them.
const NOTED: usize = 1024;
/// Exit code of a session whose container ended.
const CONTAINER_ENDED: i32 = 137;

/// All sessions. The lock is short.
#[derive(Default)]
pub struct Sessions(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_id: BTreeMap<String, Session>,
    next: u64,
}

struct Session {
    /// Order of creation.
    number: u64,
    container: Arc<Container>,
    request: Arc<ExecCreateRequest>,
    phase: Phase,
    /// The daemon's own: nobody else knows of it.
    is_own: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Starting,
    Running(i32),
    Ended(i32),
}

impl Sessions {
    fn add(&self, id: &str, container: Arc<Container>, request: ExecCreateRequest, phase: Phase) {
        let mut table = lock(&self.0);
        let idle = |s: &Session| matches!(s.phase, Phase::New | Phase::Ended(_)) && !s.is_own;
        if table.by_id.values().filter(|s| idle(s)).count() >= MOST_IDLE {
            // Ended ones first, then the oldest.
            let oldest = table
                .by_id
                .iter()
                .filter(|(_, s)| idle(s))
                .min_by_key(|(_, s)| (s.phase == Phase::New, s.number))
                .map(|(id, _)| id.clone());
            oldest.and_then(|id| table.by_id.remove(&id));
        }
        let number = table.next;
        table.next += 1;
        let session = Session { number, container, request: Arc::new(request), phase, is_own: false };
        table.by_id.insert(id.into(), session);
    }

    /// Adds those that a shim tells of: an earlier daemon's. One of which it says nothing but the id is passed over.
    pub(super) fn restore(&self, container: &Arc<Container>, launched: &Launched) {
        for state in launched.ended_execs.iter().chain(&launched.live_execs) {
            let Ok(request) = json::parse(state.note.as_bytes()) else { continue };
            let phase = if state.pid > 0 { Phase::Running(state.pid) } else { Phase::Ended(state.exit_code.into()) };
            self.add(&state.exec_id, Arc::clone(container), request, phase);
        }
    }

    /// Adds one of the daemon's own, which is about to start. [`Sessions::forget`] it in the end.
    pub(super) fn add_own(&self, id: &str, container: Arc<Container>, request: Arc<ExecCreateRequest>) {
        let session = Session { number: 0, container, request, phase: Phase::Starting, is_own: true };
        lock(&self.0).by_id.insert(id.into(), session);
    }

    /// Forgets one.
    pub(super) fn forget(&self, id: &str) {
        lock(&self.0).by_id.remove(id);
    }

    /// The exit code of one that has ended.
    pub(super) fn exit_code(&self, id: &str) -> Option<i32> {
        match lock(&self.0).by_id.get(id)?.phase {
            Phase::Ended(code) => Some(code),
            _ => None,
        }
    }

    fn with<T>(&self, id: &str, act: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        match lock(&self.0).by_id.get_mut(id).filter(|s| !s.is_own) {
            Some(session) => act(session),
            None => Err(Error::not_found(format!("No such exec instance: {id}"))),
        }
    }

    /// Whether there is such a session that is not the daemon's own.
    pub(super) fn is_known(&self, id: &str) -> bool {
        lock(&self.0).by_id.get(id).is_some_and(|session| !session.is_own)
    }

    /// A shim tells the end of a session.
    pub(super) fn ended(&self, id: &str, exit_code: i32) {
        if let Some(session) = lock(&self.0).by_id.get_mut(id) {
            session.phase = Phase::Ended(exit_code);
        }
    }

    /// A session is known to run; its end may have been told before.
    fn started(&self, id: &str, pid: i32) {
        if let Some(session) = lock(&self.0).by_id.get_mut(id)
            && session.phase == Phase::Starting
        {
            session.phase = Phase::Running(pid);
        }
    }

    /// The container ended and all its sessions with it.
    pub(super) fn container_ended(&self, container: &str) {
        for session in lock(&self.0).by_id.values_mut().filter(|s| s.container.id == container) {
            if matches!(session.phase, Phase::Running(_) | Phase::Starting) {
                session.phase = Phase::Ended(CONTAINER_ENDED);
            }
        }
    }

    /// The container is removed.
    pub(super) fn forget_container(&self, container: &str) {
        lock(&self.0).by_id.retain(|_, s| s.container.id != container);
    }

    /// Sessions of a container that run; `None` when there are none.
    pub(super) fn running(&self, container: &str) -> Option<Vec<String>> {
        let table = lock(&self.0);
        let list: Vec<String> = table
            .by_id
            .iter()
            .filter(|(_, s)| s.container.id == container && matches!(s.phase, Phase::Running(_)) && !s.is_own)
            .map(|(id, _)| id.clone())
            .collect();
        (!list.is_empty()).then_some(list)
    }
}

/// Makes a session.
///
/// # Errors
/// `Kind::NotFound` for the container, `Kind::Conflict` when it does not run or is frozen, `Kind::Invalid` for the
/// request.
pub fn create(daemon: &Daemon, reference: &str, request: ExecCreateRequest) -> Result<IdResponse> {
    let container = daemon.find(reference).map_err(|e| match e.kind() {
        Kind::NotFound => Error::not_found(format!("No such image or container or accelerator:{reference}")),
        _ => e,
    })?;
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("No exec command specified"));
    }
    permit(Verb::Exec, container.run().phase(), &container.id)?;
    keys::parse(&request.detach_keys)?;
    let id = id::random_id()?;
    daemon.tell(&container, brief("exec_create: ", &request.cmd), &[("execID", &id)]);
    daemon.execs.add(&id, container, request, Phase::New);
    Ok(IdResponse { id })
}

/// Starts a session that nobody is attached to.
///
/// # Errors
/// As [`start`].
pub fn start_detached(daemon: &Daemon, id: &str, request: ExecStartRequest) -> Result<()> {
    let (container, session) = claim(daemon, id)?;
    run(daemon, id, &container, &session, &request, None, &[])
}

/// Starts a session with a client. What cannot be run is refused, a missing program with `Kind::CommandNotFound`, and the
/// session's exit code is 127 or 126. A docker client, which hands no descriptors along and does not ask to be refused, is
/// told on its stream instead: it looks for the exit code afterwards and does not read a refusal's body.
pub fn start(daemon: &Daemon, id: &str, request: ExecStartRequest, mut upgrade: Upgrade) -> Handover {
    let (container, session) = match claim(daemon, id) {
        Ok(claimed) => claimed,
        Err(e) => return Handover::Refused(e, upgrade),
    };
    let streams = Streams {
        mode: attach::mode(session.tty, &upgrade),
        stdin: session.attach_stdin,
        stdout: session.attach_stdout,
        stderr: session.attach_stderr,
        preamble: upgrade.preamble.clone(),
        early: upgrade.early.clone(),
        // Checked at creation.
        detach_keys: if session.tty { keys::parse(&session.detach_keys).unwrap_or_default() } else { Vec::new() },
    };
    let framed = streams.mode == StreamMode::Multiplexed;
    let fds = attach::descriptors(&upgrade);
    match run(daemon, id, &container, &session, &request, Some(streams), &fds) {
        Ok(()) => Handover::Done,
        Err(e) if !(upgrade.handed.is_some() || request.refuse) => {
            let text = format!("{e}\r\n");
            let told = attach::answer(&mut upgrade).and_then(|()| {
                let connection = attach::descriptors(&upgrade)[0];
                if framed {
                    attach::write_all(connection, &attach::frame_head(2, text.len()))?;
                }
                attach::write_all(connection, text.as_bytes())
            });
            if let Err(e) = told {
                log::debug!("exec {id}: the client left before it was told of the failure: {e}");
            }
            Handover::Done
        }
        Err(e) => Handover::Refused(e, upgrade),
    }
}

/// Takes a session for its only start.
fn claim(daemon: &Daemon, id: &str) -> Result<(Arc<Container>, Arc<ExecCreateRequest>)> {
    daemon
        .execs
        .with(id, |s| {
            if s.phase != Phase::New {
                return Err(Error::conflict(format!("exec session {id} has been started before")));
            }
            permit(Verb::Exec, s.container.run().phase(), &s.container.id)?;
            s.phase = Phase::Starting;
            Ok((Arc::clone(&s.container), Arc::clone(&s.request)))
        })
        // Before the start: the program may end before that is known here.
        .inspect(|(container, request)| daemon.tell(container, brief("exec_start: ", &request.cmd), &[("execID", id)]))
}

/// A command in an event; a long one is cut off.
fn brief(what: &str, command: &[String]) -> String {
    const MOST: usize = 1024;
    let words = command.iter().flat_map(|word| [" ", word.as_str()]).skip(1);
    what.chars().chain(words.flat_map(str::chars)).take(MOST).collect()
}

/// Runs one that was claimed.
///
/// # Errors
/// As [`start`].
pub(super) fn run(
    daemon: &Daemon,
    id: &str,
    container: &Container,
    session: &ExecCreateRequest,
    request: &ExecStartRequest,
    streams: Option<Streams>,
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let result = ask(daemon, id, container, session, request, streams, fds);
    match &result {
        Ok(pid) => daemon.execs.started(id, *pid),
        Err(e) => daemon.execs.ended(id, not_started(e.kind())),
    }
    result.map(|_| ())
}

/// The exit code of a session that did not begin: docker's.
fn not_started(kind: Kind) -> i32 {
    match kind {
        Kind::CommandNotFound => 127,
        _ => 126,
    }
}

fn ask(
    daemon: &Daemon,
    id: &str,
    container: &Container,
    session: &ExecCreateRequest,
    request: &ExecStartRequest,
    streams: Option<Streams>,
    fds: &[BorrowedFd<'_>],
) -> Result<i32> {
    let document = daemon.disk.spec(&container.id).or_else(|e| {
        // It may have been removed since it was asked.
        permit(Verb::Exec, container.run().phase(), &container.id).and(Err(e))
    })?;
    let mut process = spec::exec_process(&document, session)?;
    if let Some(size) = spec::console_size(request.console_size) {
        process.console_size = Some(size);
    }
    let exec = Exec {
        exec_id: id.into(),
        process,
        open_stdin: session.attach_stdin && streams.is_some(),
        privileged: session.privileged,
        streams,
        note: if daemon.execs.is_known(id) { note(session) } else { String::new() },
    };
    match signal::ask(daemon, container, &Request::Exec(Box::new(exec)), fds)? {
        Reply::Executed { pid } => Ok(pid),
        _ => Err(signal::unexpected()),
    }
}

/// A request as [`Sessions::restore`] reads it: what can be asked of a session that runs, which its environment cannot.
fn note(request: &ExecCreateRequest) -> String {
    let mut room = NOTED;
    let fits = |word: &&String| {
        let rest = room.checked_sub(word.len());
        room = rest.unwrap_or_default();
        rest.is_some()
    };
    let cmd = request.cmd.iter().take_while(fits).cloned().collect();
    let (detach_keys, user) = (request.detach_keys.clone(), request.user.clone());
    let ExecCreateRequest { attach_stdin, attach_stdout, attach_stderr, tty, privileged, .. } = *request;
    json::to_text(&ExecCreateRequest {
        attach_stdin,
        attach_stdout,
        attach_stderr,
        detach_keys,
        tty,
        cmd,
        privileged,
        user,
        ..ExecCreateRequest::default()
    })
}

/// A session's state. A client that saw its stream end finds the exit code.
///
/// # Errors
/// `Kind::NotFound`.
pub fn inspect(daemon: &Daemon, id: &str) -> Result<ExecInspect> {
    let phase = daemon.execs.with(id, |s| Ok(s.phase))?;
    if matches!(phase, Phase::Running(_) | Phase::Starting) {
        daemon.monitor.catch_up();
    }
    daemon.execs.with(id, |s| {
        let request = &s.request;
        let (running, exit_code, pid) = match s.phase {
            Phase::New | Phase::Starting => (false, None, 0),
            Phase::Running(pid) => (true, None, pid),
            Phase::Ended(code) => (false, Some(code), 0),
        };
        Ok(ExecInspect {
            id: id.into(),
            running,
            exit_code,
            process_config: ProcessConfig {
                tty: request.tty,
                entrypoint: request.cmd.first().cloned().unwrap_or_default(),
                arguments: request.cmd.iter().skip(1).cloned().collect(),
                privileged: request.privileged,
                user: request.user.clone(),
            },
            open_stdin: request.attach_stdin,
            open_stderr: request.attach_stderr,
            open_stdout: request.attach_stdout,
            can_remove: exit_code.is_some(),
            container_id: s.container.id.clone(),
            detach_keys: request.detach_keys.clone(),
            pid,
        })
    })
}

/// Sets its terminal's size.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` without a terminal.
pub fn resize(daemon: &Daemon, id: &str, height: u16, width: u16) -> Result<()> {
    let container = daemon.execs.with(id, |s| {
        if !s.request.tty {
            return Err(Error::invalid(format!("exec session {id} has no terminal")));
        }
        match s.phase {
            Phase::Running(_) => Ok(Arc::clone(&s.container)),
            _ => Err(Error::conflict(format!("exec session {id} is not running"))),
        }
    })?;
    let size = ConsoleSize { height, width };
    let asked = signal::ask(daemon, &container, &Request::Resize { exec_id: Some(id.into()), size }, &[]);
    asked.map(drop).map_err(|e| match e.kind() {
        Kind::NotFound => Error::conflict(format!("exec session {id} is not running")), // any more
        _ => e,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::container::head::Head;
    use crate::modules::container::run::Run;

    fn container() -> Arc<Container> {
        Arc::new(Container::new("c".into(), Head::default(), Run::default()))
    }

    fn starting(sessions: &Sessions, id: &str) {
        let taken = sessions.with(id, |s| {
            s.phase = Phase::Starting;
            Ok(())
        });
        taken.unwrap();
    }

    #[test]
    fn idle_sessions_are_bounded_and_running_ones_stay() {
        let sessions = Sessions::default();
        let c = container();
        sessions.add("run", Arc::clone(&c), ExecCreateRequest::default(), Phase::New);
        starting(&sessions, "run");
        sessions.started("run", 7);
        sessions.add("new", Arc::clone(&c), ExecCreateRequest::default(), Phase::New);
        for i in 0..MOST_IDLE * 2 {
            sessions.add(&format!("e{i}"), Arc::clone(&c), ExecCreateRequest::default(), Phase::New);
            sessions.ended(&format!("e{i}"), 0);
        }
        assert_eq!(lock(&sessions.0).by_id.len(), MOST_IDLE + 1);
        assert_eq!(sessions.running("c"), Some(vec!["run".to_string()]));
        assert!(sessions.with("new", |_| Ok(())).is_ok(), "an ended one goes before one that waits for its start");
        sessions.container_ended("c");
        assert_eq!(sessions.with("run", |s| Ok(s.phase)).unwrap(), Phase::Ended(CONTAINER_ENDED));
        assert_eq!(sessions.running("c"), None);
        sessions.forget_container("c");
        assert_eq!(sessions.with("run", |_| Ok(())).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn an_end_told_before_the_start_is_kept() {
        let sessions = Sessions::default();
        sessions.add("a", container(), ExecCreateRequest::default(), Phase::New);
        starting(&sessions, "a");
        sessions.ended("a", 3);
        sessions.started("a", 7);
        assert_eq!(sessions.with("a", |s| Ok(s.phase)).unwrap(), Phase::Ended(3));
    }
}
