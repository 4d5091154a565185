//! Waiting for an exit or a removal.

use super::WaitCondition;
use crate::api::container::WaitResponse;
use crate::error::{Error, Result};
use crate::executor::{Caller, Daemon};
use crate::modules::container::{Awaited, Container, Notice};
use crate::utils::sys::eventfd::EventFd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;

/// A wait that has begun: exits from now on are not missed.
pub struct Waiter<'a> {
    _daemon: &'a Daemon,
    container: Arc<Container>,
    /// `None` when there is nothing to wait for.
    notice: Option<Arc<Notice>>,
}

/// Begins a wait.
///
/// # Errors
/// `Kind::NotFound`.
pub fn wait<'a>(daemon: &'a Daemon, reference: &str, condition: WaitCondition) -> Result<Waiter<'a>> {
    let container = daemon.find(reference)?;
    let notice = {
        let mut state = container.state();
        match condition {
            WaitCondition::NotRunning if !state.run.is_active() => None,
            // Also of one that will be started again, as docker has it.
            WaitCondition::NotRunning | WaitCondition::NextExit => Some(Container::watch(&mut state, Awaited::Exit)?),
            WaitCondition::Removed => Some(Container::watch(&mut state, Awaited::Removal)?),
        }
    };
    Ok(Waiter { _daemon: daemon, container, notice })
}

impl Waiter<'_> {
    /// Blocks until the condition holds; `None` when the caller left.
    ///
    /// # Errors
    /// When waiting is impossible.
    pub fn block(self, caller: &dyn Caller) -> Result<Option<WaitResponse>> {
        let exit_code = match &self.notice {
            None => self.container.state().run.exit_code,
            Some(notice) if until(&notice.event, caller)? => notice.exit_code(),
            Some(_) => return Ok(None),
        };
        Ok(Some(WaitResponse { status_code: i64::from(exit_code), error: None }))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(notice) = &self.notice {
            self.container.forget(notice);
        }
    }
}

/// Whether the event came before the caller left.
pub(in crate::executor) fn until(event: &EventFd, caller: &dyn Caller) -> Result<bool> {
    loop {
        let mut set = vec![PollFd::new(event.as_fd(), PollFlags::POLLIN)];
        set.extend(caller.gone().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        match poll(&mut set, PollTimeout::NONE) {
            Ok(_) if set[0].any() == Some(true) => return Ok(true),
            Ok(_) if set.get(1).is_some_and(|p| p.any() != Some(false)) => return Ok(false),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(Error::os("poll()", e as i32)),
        }
    }
}
