//! The connection to the daemon: messages in order, none of which may block the loop.

use crate::api::shim::{Event, FromShim, Reply};
use crate::error::Kind;
use crate::utils::sys::socket::{self, Message};
use crate::utils::{json, sys::descriptor};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Messages that wait for a daemon which does not read; beyond, it is taken for dead.
const QUEUE_LIMIT: usize = 4096;

/// The watch connection, if there is one.
#[derive(Default)]
pub struct Watch {
    fd: Option<OwnedFd>,
    queue: VecDeque<Vec<u8>>,
}

impl Watch {
    /// Makes `fd` the connection, in place of an older one.
    pub fn replace(&mut self, fd: OwnedFd) {
        // A descriptor that cannot be made non-blocking is none.
        self.fd = descriptor::set_nonblocking(fd.as_fd()).is_ok().then_some(fd);
        self.queue = VecDeque::new();
    }

    /// Ends it.
    pub fn close(&mut self) {
        self.fd = None;
        self.queue = VecDeque::new();
    }

    /// For poll(2).
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Whether messages wait to be sent.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends the first reply, which goes without a frame.
    pub fn first(&mut self, reply: &Reply) {
        self.send(json::to_vec(reply));
    }

    /// Sends a later reply.
    pub fn reply(&mut self, reply: Reply) {
        self.send(json::to_vec(&FromShim::Reply(reply)));
    }

    /// Sends an event.
    pub fn event(&mut self, event: Event) {
        self.send(json::to_vec(&FromShim::Event(event)));
    }

    fn send(&mut self, message: Vec<u8>) {
        if self.fd.is_some() {
            self.queue.push_back(message);
            self.flush();
        }
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        while let (Some(fd), Some(message)) = (&self.fd, self.queue.front()) {
            match socket::send(fd.as_fd(), message, &[]) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(e) if e.errno() == Some(libc::EAGAIN) && self.queue.len() < QUEUE_LIMIT => return,
                Err(_) => return self.close(),
            }
        }
        if self.queue.is_empty() {
            self.queue.shrink_to_fit();
        }
    }

    /// The next message, if one is there. Closes the connection when it ended.
    pub fn receive(&mut self) -> Option<Message> {
        match socket::recv(self.fd.as_ref()?.as_fd()) {
            Ok(Some(message)) => Some(message),
            Err(e) if e.errno() == Some(libc::EAGAIN) => None,
            Err(e) if e.kind() == Kind::Corrupt => None,
            Ok(None) | Err(_) => {
                self.close();
                None
            }
        }
    }
}
