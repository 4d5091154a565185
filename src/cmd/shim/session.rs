//! One process with its streams: the container's first, or one of an exec session.

use super::buffer::{self, BLOCK, Pool};
use super::client::{Client, Part};
use super::detach;
use super::endpoint::{Endpoint, Transfer};
use super::sink::Sink;
use crate::error::Result;
use crate::utils::sys::descriptor;
use crate::utils::sys::pages::Pages;
use crate::utils::sys::poll::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, PollSet};
use crate::utils::sys::pty;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Most bytes that are kept of what a process left in its pipe or terminal at its end; a pipe holds at most this much
/// unless the host raised its limit.
const REST_LIMIT: usize = 1 << 20;

/// Which part of a session an entry of the poll set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Output stream of that number.
    Output(usize),
    /// Standard input.
    Input,
    /// A client's descriptor.
    Client(usize, Part),
    /// The log's.
    Log,
}

/// One output of a process and the bytes of it that some client still needs.
#[derive(Default)]
pub struct Output {
    source: Option<Endpoint>,
    block: Option<Pages>,
    filled: usize,
}

impl Output {
    /// End of what is there.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// What is there from a position on.
    pub fn from(&self, position: usize) -> &[u8] {
        self.block.as_deref().and_then(|b| b.get(position..self.filled)).unwrap_or_default()
    }
}

/// Standard input of a process.
#[derive(Default)]
struct Input {
    target: Option<Endpoint>,
    block: Option<Pages>,
    start: usize,
    end: usize,
    /// Ends when all is written.
    ends: bool,
}

impl Input {
    fn has_room(&self) -> bool {
        self.target.is_some() && !self.ends && self.end + detach::KEYS_LIMIT < BLOCK
    }

    fn close(&mut self, pool: &mut Pool) {
        (self.target, self.start, self.end) = (None, 0, 0);
        self.block.take().into_iter().for_each(|b| pool.put(b));
    }

    fn flush(&mut self, pool: &mut Pool) {
        while self.start < self.end {
            let (Some(target), Some(block)) = (&self.target, &self.block) else { break };
            match target.write(&block[self.start..self.end]) {
                Transfer::Moved(n) => self.start += n,
                Transfer::Again => return,
                Transfer::Ended => return self.close(pool),
            }
        }
        (self.start, self.end) = (0, 0);
        self.block.take().into_iter().for_each(|b| pool.put(b));
        if self.ends {
            self.close(pool);
        }
    }
}

/// The shim's ends of a process's standard streams.
pub enum Stdio {
    /// Master side of a terminal.
    Terminal(OwnedFd),
    /// Pipes: what is written to standard input, what is read from output and error.
    Pipes(Option<OwnedFd>, [Option<OwnedFd>; 2]),
}

/// A process with its streams.
pub struct Session {
    /// Exec session; `None` for the first process.
    pub exec_id: Option<String>,
    /// What the daemon wants to be told of it again.
    pub note: String,
    /// Process id; it stays valid until the process was waited for, which is when `exit` is set.
    pub pid: i32,
    /// Exit code, once it ended.
    pub exit: Option<u8>,
    /// Where output is logged.
    pub log: Option<Sink>,
    /// Standard input ends with that of the first client that had one.
    pub stdin_once: bool,
    terminal: Option<OwnedFd>,
    /// The other side of the terminal, so that a process which closes and opens it finds it.
    peer: Option<OwnedFd>,
    input: Input,
    outputs: Vec<Output>,
    clients: Vec<Client>,
}

impl Session {
    /// Of a process that was just started.
    ///
    /// # Errors
    /// When the terminal cannot be prepared.
    pub fn new(exec_id: Option<String>, pid: i32, stdio: Stdio) -> Result<Session> {
        let mut session = Session {
            exec_id,
            note: String::new(),
            pid,
            exit: None,
            log: None,
            stdin_once: true,
            terminal: None,
            peer: None,
            input: Input::default(),
            outputs: Vec::new(),
            clients: Vec::new(),
        };
        match stdio {
            Stdio::Terminal(master) => {
                // Nobody else has this description: the container has the other side.
                descriptor::set_nonblocking(master.as_fd())?;
                session.peer = pty::open_peer(master.as_fd()).ok(); // before Linux 4.13 the first close is the end
                session.outputs.push(Output { source: Some(Endpoint::own(duplicate(&master)?)), ..Output::default() });
                session.input.target = Some(Endpoint::own(duplicate(&master)?));
                session.terminal = Some(master);
            }
            Stdio::Pipes(input, outputs) => {
                for output in outputs {
                    let source = match output {
                        Some(fd) => {
                            descriptor::set_nonblocking(fd.as_fd())?;
                            Some(Endpoint::own(fd))
                        }
                        None => None,
                    };
                    session.outputs.push(Output { source, ..Output::default() });
                }
                if let Some(fd) = input {
                    descriptor::set_nonblocking(fd.as_fd())?;
                    session.input.target = Some(Endpoint::own(fd));
                }
            }
        }
        Ok(session)
    }

    /// Whether the process has a terminal.
    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref()
    }

    /// Adds a client; it gets what comes from now on.
    pub fn attach(&mut self, mut client: Client) {
        client.join(&self.outputs);
        self.clients.push(client);
    }

    /// Whether nothing is left to do: the process has ended, and every client and the log have everything.
    pub fn is_over(&self) -> bool {
        self.exit.is_some()
            && self.outputs.iter().all(|o| o.source.is_none())
            && self.clients.is_empty()
            && self.log.as_ref().is_none_or(Sink::is_done)
    }

    /// The earliest moment at which a client is given up or tried again, or something is due for the log.
    pub fn deadline(&self) -> Option<Instant> {
        let looks = self.clients.iter().filter_map(|client| client.next_look(&self.outputs));
        let given_up = self.clients.iter().filter_map(Client::deadline);
        given_up.chain(looks).chain(self.log.as_ref().and_then(Sink::deadline)).min()
    }

    /// Adds what the session waits for.
    pub fn register(&self, set: &mut PollSet, mut note: impl FnMut(Token)) {
        for (stream, output) in self.outputs.iter().enumerate() {
            if let Some(source) = output.source.as_ref().filter(|_| output.filled < BLOCK) {
                set.add(source.as_fd(), POLLIN);
                note(Token::Output(stream));
            }
        }
        if let Some(target) = &self.input.target {
            let waiting = self.input.start < self.input.end;
            // Also without anything to write: a pipe whose reader is gone reports an error.
            if waiting || self.terminal.is_none() {
                set.add(target.as_fd(), if waiting { POLLOUT } else { 0 });
                note(Token::Input);
            }
        }
        let room = self.input.has_room();
        for (index, client) in self.clients.iter().enumerate() {
            client.register(set, &self.outputs, room, |part| note(Token::Client(index, part)));
        }
        if let Some(fd) = self.log.as_ref().and_then(Sink::blocked_on) {
            set.add(fd, POLLOUT);
            note(Token::Log);
        }
    }

    /// Acts on what the poll set found.
    pub fn handle(&mut self, token: Token, ready: i16, pool: &mut Pool, now: Instant) {
        match token {
            Token::Output(stream) => self.read_output(stream, pool, now),
            Token::Input if ready & (POLLERR | POLLNVAL) != 0 => self.input.close(pool),
            Token::Input => self.input.flush(pool),
            Token::Log => self.log.iter_mut().for_each(Sink::writable),
            Token::Client(index, part) => {
                let Some(client) = self.clients.get_mut(index) else { return };
                match part {
                    Part::Connection => {
                        client.listen();
                        if ready & POLLIN != 0 {
                            self.read_client(index, pool);
                        } else if ready & (POLLHUP | POLLERR | POLLNVAL) != 0 {
                            client.connection_broke();
                        }
                    }
                    Part::Stdin => self.read_client(index, pool),
                    Part::Output => {}
                }
                if ready & POLLOUT != 0 || part == Part::Output {
                    self.clients[index].send(&self.outputs, now);
                }
            }
        }
    }

    fn read_output(&mut self, stream: usize, pool: &mut Pool, now: Instant) {
        let output = &mut self.outputs[stream];
        let Some(source) = &output.source else { return };
        if let ([client], None, 0) = (self.clients.as_slice(), &self.log, output.filled)
            && let Some(moved) = client.own_output(stream).and_then(|own| source.splice(own))
        {
            if moved == Transfer::Ended {
                self.close_output(stream, pool);
            }
            return;
        }
        let block = output.block.get_or_insert_with(|| pool.take());
        let start = output.filled;
        match source.read(&mut block[start..]) {
            Transfer::Again => {}
            Transfer::Ended => self.close_output(stream, pool),
            Transfer::Moved(n) => {
                if let Some(log) = &mut self.log {
                    log.write(stream, &block[start..start + n], pool.scratch());
                }
                output.filled += n;
                for client in &mut self.clients {
                    client.send(&self.outputs, now);
                }
            }
        }
        self.recycle(pool);
    }

    fn close_output(&mut self, stream: usize, pool: &mut Pool) {
        self.outputs[stream].source = None;
        if let Some(log) = &mut self.log {
            log.finish(stream, pool.scratch());
        }
    }

    /// Blocks that every client has start anew.
    fn recycle(&mut self, pool: &mut Pool) {
        for (stream, output) in self.outputs.iter_mut().enumerate() {
            if self.clients.iter().all(|c| c.leave().is_some() || c.has_all(stream, output.filled)) {
                output.filled = 0;
                self.clients.iter_mut().for_each(|c| c.rewind(stream));
                output.block.take().into_iter().for_each(|b| pool.put(b));
            }
        }
    }

    fn read_client(&mut self, index: usize, pool: &mut Pool) {
        let input = &mut self.input;
        if input.has_room() {
            let block = input.block.get_or_insert_with(|| pool.take());
            input.end += self.clients[index].read_input(&mut block[input.end..BLOCK], pool.scratch());
            input.flush(pool);
        }
        if self.clients[index].stdin_ended() {
            self.input_ended(pool);
        }
    }

    /// A client's input has ended. On a terminal that means nothing, as in docker.
    fn input_ended(&mut self, pool: &mut Pool) {
        if self.stdin_once && self.terminal.is_none() {
            self.input.ends = true;
            self.input.flush(pool);
        }
    }

    /// After a round of events: moves what was waiting, and takes leave of clients. Gives connections that should
    /// linger to `linger`.
    pub fn settle(&mut self, pool: &mut Pool, now: Instant, linger: &mut Vec<OwnedFd>) {
        for index in 0..self.clients.len() {
            while self.clients[index].has_early() && self.input.has_room() && self.input.start == self.input.end {
                self.read_client(index, pool);
            }
            let client = &mut self.clients[index];
            if self.input.target.is_none() {
                client.close_stdin();
            }
            if client.is_behind(&self.outputs) {
                // Freshly attached, or not ready at the last attempt; poll says when, this is for the first time.
                if client.deadline().is_none() || client.next_look(&self.outputs).is_some_and(|at| at <= now) {
                    client.send(&self.outputs, now);
                }
                client.check_deadline(now);
            }
        }
        if let Some(log) = &mut self.log {
            log.settle(now);
        }
        let over = self.exit.is_some() && self.outputs.iter().all(|o| o.source.is_none());
        let mut index = 0;
        while index < self.clients.len() {
            let client = &self.clients[index];
            if client.leave().is_none() && (!over || client.is_behind(&self.outputs)) {
                index += 1;
                continue;
            }
            let client = self.clients.remove(index);
            if client.had_stdin() && !over {
                self.input_ended(pool);
            }
            linger.extend(client.end(self.exit));
        }
        self.recycle(pool);
    }

    /// The process has ended and was waited for, and so has everything that could write: takes what is left in pipes
    /// and terminal, logs it and keeps it for clients that are behind. Something outside of the container that still
    /// holds an end open is not waited for.
    pub fn process_ended(&mut self, exit_code: u8, pool: &mut Pool, now: Instant) {
        self.exit = Some(exit_code);
        self.input.close(pool);
        self.peer = None;
        for stream in 0..self.outputs.len() {
            self.drain(stream, pool, now);
            self.close_output(stream, pool);
        }
        self.terminal = None;
        self.recycle(pool);
    }

    /// Nothing more comes, and the rest of the end is done: from now on the log has its last time.
    pub fn close_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.close(Instant::now());
        }
    }

    fn drain(&mut self, stream: usize, pool: &mut Pool, now: Instant) {
        let mut total = 0;
        while total < REST_LIMIT {
            let output = &mut self.outputs[stream];
            let Some(source) = &output.source else { return };
            let block = output.block.get_or_insert_with(|| pool.take());
            if output.filled == block.len() {
                let mut larger = buffer::map(block.len() * 2);
                larger[..output.filled].copy_from_slice(&block[..output.filled]);
                pool.put(std::mem::replace(block, larger));
            }
            let start = output.filled;
            let Transfer::Moved(n) = source.read(&mut block[start..]) else { return };
            total += n;
            if let Some(log) = &mut self.log {
                log.write(stream, &block[start..start + n], pool.scratch());
            }
            output.filled += n;
            for client in &mut self.clients {
                client.send(&self.outputs, now);
            }
            self.recycle(pool);
        }
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        if let Some(log) = &mut self.log {
            log.trim();
        }
        if self.clients.is_empty() {
            self.clients = Vec::new();
        }
    }
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().map_err(|e| crate::error::Error::io("fcntl(F_DUPFD_CLOEXEC)", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shim::{StreamMode, Streams};
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn session() -> (Session, OwnedFd) {
        let (read, write) = descriptor::pipe().unwrap();
        descriptor::set_nonblocking(write.as_fd()).unwrap();
        (Session::new(None, 0, Stdio::Pipes(None, [Some(read), None])).unwrap(), write)
    }

    fn client(mode: StreamMode) -> (UnixStream, Client) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let streams = Streams { mode, stdout: true, ..Streams::default() };
        (ours, Client::new(streams, vec![theirs.into()], false).unwrap())
    }

    /// Writes and lets the session read until it takes no more; gives what went in.
    fn fill(session: &mut Session, to: &OwnedFd, pool: &mut Pool, now: Instant) -> usize {
        let (mut total, block) = (0, [b'x'; 4096]);
        while let Ok(n) = nix::unistd::write(to, &block) {
            total += n;
            if session.outputs[0].filled < BLOCK {
                session.handle(Token::Output(0), POLLIN, pool, now);
            }
        }
        total
    }

    #[test]
    fn output_waits_until_the_head_is_read() {
        for reads in [true, false] {
            let ((mut session, to), mut pool, now) = (session(), Pool::default(), Instant::now());
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let preamble = b"head".to_vec();
            let streams = Streams { mode: StreamMode::Raw, stdout: true, preamble, ..Streams::default() };
            session.attach(Client::new(streams, vec![theirs.into()], false).unwrap());
            session.settle(&mut pool, now, &mut Vec::new());
            nix::unistd::write(&to, b"output").unwrap();
            session.handle(Token::Output(0), POLLIN, &mut pool, now);
            let mut bytes = [0; 10];
            if reads {
                assert_eq!(ours.read(&mut bytes).unwrap(), 4);
            }
            let look = session.deadline().unwrap();
            assert!(look <= now + Duration::from_millis(1));
            session.settle(&mut pool, if reads { look } else { now + Duration::from_secs(1) }, &mut Vec::new());
            ours.read_exact(&mut bytes[if reads { 4 } else { 0 }..]).unwrap();
            assert_eq!(&bytes, b"headoutput");
        }
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up_and_the_others_go_on() {
        let ((mut session, to), mut pool, now) = (session(), Pool::default(), Instant::now());
        let (_stuck, first) = client(StreamMode::Multiplexed);
        session.attach(first);
        let total = fill(&mut session, &to, &mut pool, now);
        assert!(total > BLOCK && total < 4 << 20, "{total}");
        let deadline = session.deadline().unwrap();
        assert!(deadline >= now + Duration::from_secs(60));
        let mut linger = Vec::new();
        session.settle(&mut pool, deadline - Duration::from_millis(1), &mut linger);
        assert_eq!(session.clients.len(), 1);
        session.settle(&mut pool, deadline, &mut linger);
        assert_eq!((session.clients.len(), session.outputs[0].filled), (0, 0));
        // What is still in the pipe goes on to whoever comes.
        let (mut next, second) = client(StreamMode::Raw);
        session.attach(second);
        session.handle(Token::Output(0), POLLIN, &mut pool, deadline);
        let mut some = [0u8; 100];
        next.read_exact(&mut some).unwrap();
        assert_eq!(some, [b'x'; 100]);
    }

    #[test]
    fn a_slow_client_holds_back_a_fast_one_by_one_block_at_most() {
        let ((mut session, to), mut pool, now) = (session(), Pool::default(), Instant::now());
        let (slow, first) = client(StreamMode::Raw);
        let (fast, second) = client(StreamMode::Raw);
        session.attach(first);
        session.attach(second);
        fast.set_nonblocking(true).unwrap();
        let (mut got, mut buffer) = (0, vec![0u8; 1 << 16]);
        for _ in 0..1000 {
            fill(&mut session, &to, &mut pool, now);
            session.settle(&mut pool, now, &mut Vec::new());
            while let Ok(n) = (&fast).read(&mut buffer) {
                got += n;
            }
        }
        // The slow one has what its socket holds; the fast one is ahead by the block at most.
        slow.set_nonblocking(true).unwrap();
        let mut held = 0;
        while let Ok(n) = (&slow).read(&mut buffer) {
            held += n;
        }
        assert!(got >= held && got - held <= BLOCK, "{got} {held}");
    }
}
