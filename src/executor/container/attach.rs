//! Connecting a client to a container's streams, also before it runs.

use super::{AttachQuery, signal};
use crate::api::shim::{Request, StreamMode, Streams};
use crate::error::{Context, Error, Result};
use crate::executor::{Daemon, Handover, Upgrade};
use crate::modules::container::run::{Phase, Verb, permit};
use crate::modules::container::{Container, PendingClient, Waiting, keys};
use crate::modules::runtime::log::{Query, Sink, Stream};
use crate::utils::sys::socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds that a client may take to accept bytes that the daemon itself writes.
const PATIENCE: u16 = 30_000;
/// Most clients that wait for one container to start.
const MOST_WAITING: usize = 32;

/// Connects a client, also before the start: it is then answered at once and connected when the container starts.
///
/// # Errors
/// Refused with `Kind::NotFound`, `Kind::Conflict` for a frozen container or one that is being removed,
/// `Kind::Invalid` for malformed detach keys, or what the shim reports.
pub fn attach(daemon: &Daemon, reference: &str, query: &AttachQuery, mut upgrade: Upgrade) -> Handover {
    match connect(daemon, reference, query, &mut upgrade) {
        Ok(()) => Handover::Done,
        // Without a preamble the answer is out already: the end of the connection is all that can be said.
        Err(e) if upgrade.preamble.is_empty() => {
            log::warn!("container {reference:?}: a client is not attached: {e}");
            Handover::Done
        }
        Err(e) => Handover::Refused(e, upgrade),
    }
}

fn connect(daemon: &Daemon, reference: &str, query: &AttachQuery, upgrade: &mut Upgrade) -> Result<()> {
    let container = daemon.find(reference)?;
    let mut streams = streams(&container, query, upgrade)?;
    permit(Verb::Attach, container.run().phase(), &container.id)?;
    if query.logs {
        answer(upgrade)?;
        await_reader(upgrade);
        replay(daemon, &container, query, upgrade)?;
        if !query.stream {
            return Ok(());
        }
    }
    loop {
        let phase = container.run().phase();
        match phase {
            Phase::Running => {
                streams.preamble = upgrade.preamble.clone();
                let fds = descriptors(upgrade);
                return signal::ask(daemon, &container, &Request::Attach(streams), &fds).map(drop);
            }
            Phase::Starting => drop(container.operate()),
            Phase::Created | Phase::Exited => {
                if wait_for_start(daemon, &container, &streams, upgrade)? {
                    return Ok(());
                }
            }
            Phase::Restarting | Phase::Paused | Phase::Remaining | Phase::Dead | Phase::Removing => {
                return permit(Verb::Attach, phase, &container.id).map(|_| ());
            }
        }
    }
}

fn streams(container: &Container, query: &AttachQuery, upgrade: &Upgrade) -> Result<Streams> {
    let keys = keys::parse(&query.detach_keys)?;
    Ok(Streams {
        mode: mode(container.head.tty, upgrade),
        stdin: query.stdin && container.head.open_stdin,
        stdout: query.stdout,
        stderr: query.stderr,
        preamble: Vec::new(),
        early: upgrade.early.clone(),
        // As docker has it, only a terminal's input is searched for keys.
        detach_keys: if container.head.tty { keys } else { Vec::new() },
    })
}

/// What travels on a client's connection.
pub(in crate::executor) fn mode(tty: bool, upgrade: &Upgrade) -> StreamMode {
    match (upgrade.handed.is_some(), tty) {
        (true, _) => StreamMode::Handed,
        (false, true) => StreamMode::Raw,
        (false, false) => StreamMode::Multiplexed,
    }
}

/// The descriptors of [`Streams`], in order.
pub(in crate::executor) fn descriptors(upgrade: &Upgrade) -> Vec<BorrowedFd<'_>> {
    let mut fds = vec![upgrade.connection.as_fd()];
    fds.extend(upgrade.handed.iter().flatten().map(AsFd::as_fd));
    fds
}

/// Tells the client that its request has succeeded.
pub(in crate::executor) fn answer(upgrade: &mut Upgrade) -> Result<()> {
    write_all(upgrade.connection.as_fd(), &std::mem::take(&mut upgrade.preamble))
}

/// Gives the client a moment to read the answer: what comes together with that is lost to some, as the shim knows too.
fn await_reader(upgrade: &Upgrade) {
    let mut looks = if upgrade.handed.is_none() { 1000 } else { 0 };
    while looks > 0 && socket::unread(upgrade.connection.as_fd()) > 0 {
        std::thread::sleep(Duration::from_millis(1));
        looks -= 1;
    }
}

/// Keeps the client until the container starts. `false` when a start came in between.
///
/// The client is kept before it is answered: what it does next may be the start, which must find it. A start that comes
/// even before the answer takes the answer along to the shim.
fn wait_for_start(
    daemon: &Daemon,
    container: &Arc<Container>,
    streams: &Streams,
    upgrade: &mut Upgrade,
) -> Result<bool> {
    let fds: Vec<OwnedFd> = descriptors(upgrade)
        .into_iter()
        .map(|fd| fd.try_clone_to_owned())
        .collect::<std::io::Result<_>>()
        .context(|| "dup(connection)".into())?;
    let streams = Streams { preamble: upgrade.preamble.clone(), ..streams.clone() };
    let client = Arc::new(PendingClient::new(Waiting { streams, fds }));
    let kept = container.change(|s| {
        if s.removed {
            return Err(Error::not_found(format!("No such container:{}", container.id)));
        }
        if s.pending.len() >= MOST_WAITING {
            return Err(Error::new(crate::error::Kind::Busy, "too many clients wait for the container to start"));
        }
        let idle = matches!(s.run.phase(), Phase::Created | Phase::Exited);
        if idle {
            s.pending.push(Arc::clone(&client));
        }
        Ok(idle)
    })?;
    if kept {
        upgrade.preamble.clear(); // whoever has the client answers it
        client.with(|w| write_all(w.fds[0].as_fd(), &std::mem::take(&mut w.streams.preamble))).transpose()?;
        daemon.monitor.hold(container, client)?;
    }
    Ok(kept)
}

/// Writes what is in the log so far.
fn replay(daemon: &Daemon, container: &Container, query: &AttachQuery, upgrade: &Upgrade) -> Result<()> {
    let wanted = Query {
        stdout: query.stdout,
        stderr: query.stderr,
        tail: None,
        since: None,
        until: None,
        timestamps: false,
        follow: false,
    };
    let mut sink = ClientSink { upgrade, mode: mode(container.head.tty, upgrade) };
    super::logs::read(daemon, container, &wanted, &mut sink)
}

/// Writes a log to a client as its stream would be written.
struct ClientSink<'a> {
    upgrade: &'a Upgrade,
    mode: StreamMode,
}

impl Sink for ClientSink<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let number = if stream == Stream::Stdout { 1 } else { 2 };
        let connection = self.upgrade.connection.as_fd();
        match (self.mode, &self.upgrade.handed) {
            (StreamMode::Handed, Some(handed)) => write_all(handed[number].as_fd(), bytes),
            (StreamMode::Multiplexed, _) => {
                write_all(connection, &frame_head(number as u8, bytes.len()))?;
                write_all(connection, bytes)
            }
            _ => write_all(connection, bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn gone(&self) -> Option<BorrowedFd<'_>> {
        Some(self.upgrade.connection.as_fd())
    }
}

/// The head of docker's frames. A log block is far below 4 GiB.
pub(in crate::executor) fn frame_head(stream: u8, length: usize) -> [u8; 8] {
    let n = (length as u32).to_be_bytes();
    [stream, 0, 0, 0, n[0], n[1], n[2], n[3]]
}

/// Writes all bytes, whether or not the descriptor blocks.
pub(in crate::executor) fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                let mut set = [PollFd::new(fd, PollFlags::POLLOUT)];
                if poll(&mut set, PollTimeout::from(PATIENCE)) == Ok(0) {
                    return Err(Error::new(crate::error::Kind::Timeout, "the client does not take what is sent"));
                }
            }
            Err(e) => return Err(Error::os("write(connection)", e as i32)),
        }
    }
    Ok(())
}
