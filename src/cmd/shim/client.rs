//! A client of a process's streams: how far it got in each output, and what it has to say.
//!
//! Output is not copied per client. Each output has one block, each client a position in it; the block is filled
//! further while there is room and starts anew when every client has it all. So a slow client holds the process up
//! after 64 KiB, and nothing is lost.

use super::detach::Scanner;
use super::endpoint::{Endpoint, Transfer};
use super::session::Output;
use crate::api::shim::{StreamEnd, StreamMode, Streams};
use crate::utils::json;
use crate::utils::sys::poll::{POLLIN, POLLOUT, PollSet};
use crate::utils::sys::socket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A socket that takes nothing for so long is closed.
pub const STALL_LIMIT: Duration = Duration::from_secs(60);

/// For how long output waits for the client to have read the response's head. Some read the head through a buffer and what
/// follows from the socket: docker's SDK for Python loses what comes together with the head.
const GREETING_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks whether it has.
const GREETING_PAUSE: Duration = Duration::from_millis(1);

/// Which of a client's descriptors an entry of the poll set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The connection.
    Connection,
    /// The client's own standard input.
    Stdin,
    /// The client's own standard output or error.
    Output,
}

/// Where a client's input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdin {
    /// It never had one.
    None,
    Open,
    /// Nobody reads it any more; the client may still be sending.
    Closed,
    /// The client has sent all.
    Ended,
}

/// Why a client is no longer served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Its connection is gone; nothing can be said any more.
    Gone,
    /// It asked to leave, or its output is broken.
    Detached,
}

/// One client.
pub struct Client {
    mode: StreamMode,
    connection: Endpoint,
    /// The client's own descriptors, when handed over: input, output, error.
    own: [Option<Endpoint>; 3],
    wants: [bool; 2],
    position: [usize; 2],
    frame: Frame,
    preamble: Vec<u8>,
    /// Since the preamble was sent, until it is known to be read: when to look, and when not to wait any more.
    greeting: Option<(Instant, Instant)>,
    stdin: Stdin,
    early: Vec<u8>,
    detach: Option<Scanner>,
    stalled: Option<Instant>,
    leave: Option<Leave>,
}

/// The frame that is being sent to a multiplexed client.
#[derive(Default)]
struct Frame {
    head: [u8; 8],
    head_left: usize,
    body_left: usize,
    stream: usize,
}

impl Client {
    /// Of a message's description and its descriptors, as many as [`Streams::descriptors`] says. Key sequences only
    /// mean something on a terminal.
    pub fn new(streams: Streams, fds: Vec<OwnedFd>, terminal: bool) -> Option<Client> {
        let mut fds = fds.into_iter();
        let connection = Endpoint::new(fds.next()?, true);
        let handed = streams.mode == StreamMode::Handed;
        let mut own = [None, None, None];
        if handed {
            for (index, wanted) in [streams.stdin, streams.stdout, streams.stderr].into_iter().enumerate() {
                let fd = fds.next()?;
                own[index] = wanted.then(|| Endpoint::new(fd, index > 0));
            }
        }
        Some(Client {
            mode: streams.mode,
            connection,
            own,
            wants: [streams.stdout, streams.stderr && !terminal],
            position: [0; 2],
            frame: Frame::default(),
            preamble: streams.preamble,
            greeting: None,
            stdin: if streams.stdin { Stdin::Open } else { Stdin::None },
            early: if streams.stdin && !handed { streams.early } else { Vec::new() },
            detach: if terminal { Scanner::new(streams.detach_keys) } else { None },
            stalled: None,
            leave: None,
        })
    }

    /// Takes part from here on: what is in the blocks already was not for this client.
    pub fn join(&mut self, outputs: &[Output]) {
        for (position, output) in self.position.iter_mut().zip(outputs) {
            *position = output.filled();
        }
    }

    /// Whether this client ever could send input.
    pub fn had_stdin(&self) -> bool {
        self.stdin != Stdin::None
    }

    /// Whether it leaves, and why.
    pub fn leave(&self) -> Option<Leave> {
        self.leave
    }

    /// Whether it has got everything of `stream` that is there.
    pub fn has_all(&self, stream: usize, filled: usize) -> bool {
        !self.wants[stream] || self.position[stream] == filled
    }

    /// The block starts anew.
    pub fn rewind(&mut self, stream: usize) {
        self.position[stream] = 0;
    }

    /// Where bytes of `stream` go that nobody but this client is to have.
    pub fn own_output(&self, stream: usize) -> Option<&Endpoint> {
        let takes = self.leave.is_none() && self.wants[stream] && self.preamble.is_empty();
        self.own[stream + 1].as_ref().filter(|_| takes)
    }

    /// Whether something waits to be sent.
    pub fn is_behind(&self, outputs: &[Output]) -> bool {
        !self.preamble.is_empty() || outputs.iter().enumerate().any(|(s, o)| !self.has_all(s, o.filled()))
    }

    /// When to try again to send what is held back.
    pub fn next_look(&self, outputs: &[Output]) -> Option<Instant> {
        self.greeting.filter(|_| self.is_behind(outputs)).map(|(look, _)| look)
    }

    /// When it is given up for taking nothing.
    pub fn deadline(&self) -> Option<Instant> {
        self.stalled.map(|since| since + STALL_LIMIT)
    }

    /// Gives it up when the deadline has passed.
    pub fn check_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.leave = Some(Leave::Gone);
        }
    }

    /// Adds what this client waits for. `room` says whether the process takes input.
    pub fn register(&self, set: &mut PollSet, outputs: &[Output], room: bool, mut note: impl FnMut(Part)) {
        if self.leave.is_some() {
            return;
        }
        let reads = self.stdin == Stdin::Open && self.early.is_empty();
        if self.mode == StreamMode::Handed {
            set.add(self.connection.as_fd(), POLLIN | if self.preamble.is_empty() { 0 } else { POLLOUT });
            note(Part::Connection);
            if let Some(stdin) = self.own[0].as_ref().filter(|_| reads && room) {
                set.add(stdin.as_fd(), POLLIN);
                note(Part::Stdin);
            }
            for (stream, output) in outputs.iter().enumerate() {
                if let Some(own) = self.own[stream + 1].as_ref().filter(|_| !self.has_all(stream, output.filled())) {
                    set.add(own.as_fd(), POLLOUT);
                    note(Part::Output);
                }
            }
            return;
        }
        let mut events = 0;
        if self.is_behind(outputs) && self.greeting.is_none() {
            events |= POLLOUT;
        }
        if reads && room {
            events |= POLLIN;
        }
        // A hang-up is always reported, and while input that came before it finds no room it would be reported for
        // ever: then nothing is asked at all.
        if events != 0 || self.stdin != Stdin::Open {
            set.add(self.connection.as_fd(), events);
            note(Part::Connection);
        }
    }

    /// A hang-up or error of the connection, once its input was read to the end.
    pub fn connection_broke(&mut self) {
        if self.stdin != Stdin::Open || self.mode == StreamMode::Handed {
            self.leave = Some(Leave::Gone);
        }
    }

    /// The connection of a client with handed descriptors has something to say: only its end means anything.
    pub fn listen(&mut self) {
        let mut ignored = [0u8; 64];
        if self.mode == StreamMode::Handed && self.connection.read(&mut ignored) == Transfer::Ended {
            self.leave = Some(Leave::Gone);
        }
    }

    /// Reads input into `target`, by way of `scratch` where keys are looked for; gives the number of bytes.
    pub fn read_input(&mut self, target: &mut [u8], scratch: &mut [u8]) -> usize {
        if self.stdin != Stdin::Open || self.leave.is_some() {
            return 0;
        }
        let held = self.detach.as_ref().map_or(0, Scanner::held);
        let Some(room) = target.len().checked_sub(held).filter(|&n| n > 0) else { return 0 };
        if !self.early.is_empty() {
            let n = self.early.len().min(room).min(scratch.len());
            scratch[..n].copy_from_slice(&self.early[..n]);
            self.early.drain(..n);
            if self.early.is_empty() {
                self.early = Vec::new();
            }
            return self.filter(&scratch[..n], target);
        }
        let source = self.own[0].as_ref().unwrap_or(&self.connection);
        let transfer = match &self.detach {
            None => source.read(target),
            Some(_) => {
                let limit = room.min(scratch.len());
                source.read(&mut scratch[..limit])
            }
        };
        match transfer {
            Transfer::Again => 0,
            Transfer::Ended => {
                self.stdin = Stdin::Ended;
                self.own[0] = None;
                0
            }
            Transfer::Moved(n) if self.detach.is_some() => self.filter(&scratch[..n], target),
            Transfer::Moved(n) => n,
        }
    }

    /// Whether bytes that came with the request wait to become input.
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Whether input was open and has ended.
    pub fn stdin_ended(&self) -> bool {
        matches!(self.stdin, Stdin::Closed | Stdin::Ended)
    }

    /// The process takes no input any more.
    pub fn close_stdin(&mut self) {
        if self.stdin == Stdin::Open {
            self.stdin = Stdin::Closed;
            self.own[0] = None;
            self.early = Vec::new();
        }
    }

    fn filter(&mut self, input: &[u8], target: &mut [u8]) -> usize {
        let Some(scanner) = &mut self.detach else {
            target[..input.len()].copy_from_slice(input);
            return input.len();
        };
        let (n, detached) = scanner.filter(input, target);
        if detached {
            self.leave = Some(Leave::Detached);
            self.early = Vec::new();
        }
        n
    }

    /// Sends what the client takes now.
    pub fn send(&mut self, outputs: &[Output], now: Instant) {
        let mut moved = false;
        while self.leave.is_none() && self.is_behind(outputs) && !self.is_greeting(now) {
            let greets = !self.preamble.is_empty() && self.mode != StreamMode::Handed;
            match self.send_once(outputs) {
                Transfer::Moved(_) => {
                    moved = true;
                    self.greeting = (greets && self.preamble.is_empty()).then_some((now, now + GREETING_LIMIT));
                }
                Transfer::Again => break,
                Transfer::Ended => {
                    let gone = self.mode != StreamMode::Handed || !self.preamble.is_empty();
                    self.leave = Some(if gone { Leave::Gone } else { Leave::Detached });
                }
            }
        }
        // A person who holds the screen with Ctrl-S is not gone: only a connection without its own descriptors is.
        let may_stall = self.mode != StreamMode::Handed && self.connection.is_socket() && self.is_behind(outputs);
        self.stalled = if may_stall && !moved { self.stalled.or(Some(now)) } else { may_stall.then_some(now) };
    }

    /// Whether the head still waits to be read.
    fn is_greeting(&mut self, now: Instant) -> bool {
        let waits = |(_, end): &(Instant, Instant)| now < *end && socket::unread(self.connection.as_fd()) > 0;
        self.greeting = self.greeting.filter(waits).map(|(_, end)| (now + GREETING_PAUSE, end));
        self.greeting.is_some()
    }

    fn send_once(&mut self, outputs: &[Output]) -> Transfer {
        if !self.preamble.is_empty() {
            let transfer = self.connection.write(&self.preamble);
            if let Transfer::Moved(n) = transfer {
                self.preamble.drain(..n);
            }
            if self.preamble.is_empty() {
                self.preamble = Vec::new();
            }
            return transfer;
        }
        if self.mode == StreamMode::Multiplexed {
            return self.send_frame(outputs);
        }
        // With two descriptors of its own, one that is not ready must not hold up the other.
        let mut result = Transfer::Again;
        for (stream, output) in outputs.iter().enumerate() {
            if self.has_all(stream, output.filled()) {
                continue;
            }
            let target = match self.mode {
                StreamMode::Handed => self.own[stream + 1].as_ref(),
                StreamMode::Raw | StreamMode::Multiplexed => Some(&self.connection),
            };
            let transfer = target.map_or(Transfer::Ended, |t| t.write(output.from(self.position[stream])));
            match transfer {
                Transfer::Moved(n) => self.position[stream] += n,
                Transfer::Again => continue,
                Transfer::Ended => {}
            }
            result = transfer;
            if transfer == Transfer::Ended {
                break;
            }
        }
        result
    }

    fn send_frame(&mut self, outputs: &[Output]) -> Transfer {
        if self.frame.head_left + self.frame.body_left == 0 {
            let waiting = outputs.iter().enumerate().find(|(s, o)| !self.has_all(*s, o.filled()));
            let Some((stream, output)) = waiting else { return Transfer::Again };
            let length = output.filled() - self.position[stream];
            let mut head = [stream as u8 + 1, 0, 0, 0, 0, 0, 0, 0];
            head[4..].copy_from_slice(&(length as u32).to_be_bytes());
            self.frame = Frame { head, head_left: 8, body_left: length, stream };
        }
        let frame = &mut self.frame;
        let position = &mut self.position[frame.stream];
        let Some(output) = outputs.get(frame.stream) else { return Transfer::Ended };
        let body = output.from(*position).get(..frame.body_left).unwrap_or_default();
        let transfer = self.connection.write_two(&frame.head[8 - frame.head_left..], body);
        if let Transfer::Moved(n) = transfer {
            let of_head = n.min(frame.head_left);
            frame.head_left -= of_head;
            frame.body_left -= n - of_head;
            *position += n - of_head;
        }
        transfer
    }

    /// The last word: the exit code, or that the client is detached. Gives the connection back when the client may
    /// still be sending: closing a socket with unread bytes would take back what it was sent.
    pub fn end(self, exit_code: Option<u8>) -> Option<OwnedFd> {
        if self.leave == Some(Leave::Gone) {
            return None;
        }
        if self.mode == StreamMode::Handed {
            // What it was not sent it cannot have seen, whatever the process ended with.
            let exit_code = exit_code.filter(|_| self.leave.is_none());
            let mut line = json::to_vec(&StreamEnd { exit_code });
            line.push(b'\n');
            // Nothing but the preamble was ever sent here, so there is room; a client without room is gone.
            let _ = self.connection.write(&line);
            return None;
        }
        if !matches!(self.stdin, Stdin::Open | Stdin::Closed) || !self.connection.is_socket() {
            return None;
        }
        let fd = self.connection.into_fd();
        let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Write); // gone: as good
        Some(fd)
    }
}
