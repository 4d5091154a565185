//! A build without it: there is no [`Syslog`].

use std::os::fd::BorrowedFd;
use std::time::Instant;

/// Nothing.
pub enum Syslog {}

impl Syslog {
    /// None: a container that was made by another build runs without a log.
    pub fn open(_tag: &str, _facility: u32) -> Option<Syslog> {
        None
    }

    /// As in the other build.
    pub fn write(&mut self, _stream: usize, _bytes: &[u8]) {
        match *self {}
    }

    /// As in the other build.
    pub fn finish(&mut self, _stream: usize) {
        match *self {}
    }

    /// As in the other build.
    pub fn reconnect(&mut self) {
        match *self {}
    }

    /// As in the other build.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match *self {}
    }

    /// As in the other build.
    pub fn writable(&mut self) {
        match *self {}
    }

    /// As in the other build.
    pub fn deadline(&self) -> Option<Instant> {
        match *self {}
    }

    /// As in the other build.
    pub fn settle(&mut self, _now: Instant) {
        match *self {}
    }

    /// As in the other build.
    pub fn close(&mut self, _now: Instant) {
        match *self {}
    }

    /// As in the other build.
    pub fn is_done(&self) -> bool {
        match *self {}
    }

    /// As in the other build.
    pub fn trim(&mut self) {
        match *self {}
    }
}
