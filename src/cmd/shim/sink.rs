//! Where a container's output is kept: in a file, or with syslog.

use super::log::Log;
use super::syslog::Syslog;
use crate::api::shim::Launch;
use crate::error::Result;
use crate::utils::sys::pages::Pages;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// One of the two.
pub enum Sink {
    /// docker's json-file.
    File(Log),
    /// The host's syslog.
    Syslog(Syslog),
}

impl Sink {
    /// What the daemon asks for; `None` when output is not kept.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(launch: &Launch) -> Result<Option<Sink>> {
        match (&launch.log, launch.syslog_tag.as_str()) {
            (Some(file), _) => Log::open(file.clone()).map(Sink::File).map(Some),
            (None, "") => Ok(None),
            (None, tag) => Ok(Syslog::open(tag, launch.syslog_facility).map(Sink::Syslog)),
        }
    }

    /// Takes what one read of output stream 0 or 1 brought; `scratch` is of [`super::log::SCRATCH`] bytes.
    pub fn write(&mut self, stream: usize, bytes: &[u8], scratch: &mut Pages) {
        match self {
            Sink::File(log) => log.write(stream, bytes, scratch),
            Sink::Syslog(syslog) => syslog.write(stream, bytes),
        }
    }

    /// The stream ends, and with it its last line.
    pub fn finish(&mut self, stream: usize, scratch: &mut Pages) {
        match self {
            Sink::File(log) => log.finish(stream, scratch),
            Sink::Syslog(syslog) => syslog.finish(stream),
        }
    }

    /// Goes on anew, after someone moved the file away.
    ///
    /// # Errors
    /// The failing call; what was in use stays so.
    pub fn reopen(&mut self) -> Result<()> {
        match self {
            Sink::File(log) => log.reopen(),
            Sink::Syslog(syslog) => {
                syslog.reconnect();
                Ok(())
            }
        }
    }

    /// What must become writable before anything more can be kept.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Sink::File(_) => None,
            Sink::Syslog(syslog) => syslog.blocked_on(),
        }
    }

    /// It has become so.
    pub fn writable(&mut self) {
        match self {
            Sink::File(_) => {}
            Sink::Syslog(syslog) => syslog.writable(),
        }
    }

    /// When [`Sink::settle`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Sink::File(_) => None,
            Sink::Syslog(syslog) => syslog.deadline(),
        }
    }

    /// Tries again, or gives up.
    pub fn settle(&mut self, now: Instant) {
        match self {
            Sink::File(_) => {}
            Sink::Syslog(syslog) => syslog.settle(now),
        }
    }

    /// Nothing more comes: what waits to be kept has little time left.
    pub fn close(&mut self, now: Instant) {
        match self {
            Sink::File(_) => {}
            Sink::Syslog(syslog) => syslog.close(now),
        }
    }

    /// Whether everything is kept or given up.
    pub fn is_done(&self) -> bool {
        match self {
            Sink::File(_) => true,
            Sink::Syslog(syslog) => syslog.is_done(),
        }
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        match self {
            Sink::File(log) => log.trim(),
            Sink::Syslog(syslog) => syslog.trim(),
        }
    }
}
