//! Events: who tells them, and who listens.

use super::container::Filters;
use super::{Caller, Daemon};
use crate::error::{Error, Result};
use crate::modules::container::Container;
use crate::modules::events::{Event, Filter, Listener};
use crate::utils::time::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// Labels beyond this many bytes are not repeated in every event.
const LABELS: usize = 4096;
/// The clock may be set while someone waits for a time.
const LOOK: Duration = Duration::from_secs(30);

/// Which events someone wants.
#[derive(Debug, Default)]
pub struct EventQuery {
    /// From then on; without both, only what happens from now on.
    pub since: Option<Timestamp>,
    /// Up to then.
    pub until: Option<Timestamp>,
    /// Filters.
    pub filters: Filters,
}

impl Daemon {
    /// Tells that something happens to a container. Its state must not be locked.
    pub(super) fn tell(&self, container: &Container, action: impl Into<String>, more: &[(&str, &str)]) {
        self.tell_at(Timestamp::now(), container, action, more);
    }

    /// The same of something that happened then.
    pub(super) fn tell_at(
        &self,
        time: Timestamp,
        container: &Container,
        action: impl Into<String>,
        more: &[(&str, &str)],
    ) {
        let head = &container.head;
        let mut event = Event::new(time, "container", action.into(), container.id.clone());
        event.add("image", &head.image);
        event.add("name", &container.name());
        more.iter().for_each(|(key, value)| event.add(key, value));
        if head.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= LABELS {
            head.labels.iter().for_each(|(key, value)| event.add(key, value));
        }
        self.journal.add(&event);
    }

    /// Tells that something happens to a volume.
    pub(super) fn tell_volume(&self, action: &str, name: &str) {
        self.tell_volume_at(Timestamp::now(), action, name, None);
    }

    /// The same of something that happened then, for a container.
    pub(super) fn tell_volume_at(&self, time: Timestamp, action: &str, name: &str, container: Option<&Container>) {
        let mut event = Event::new(time, "volume", action.into(), name.into());
        if let Some(container) = container {
            event.add("container", &container.id);
        }
        event.add("driver", "local");
        self.journal.add(&event);
    }

    /// Tells that something happens to an image; `id` is its id or, where docker has that, its name.
    pub(super) fn tell_image(&self, action: &str, id: &str, name: &str) {
        let mut event = Event::new(Timestamp::now(), "image", action.into(), id.into());
        event.add("name", name);
        self.journal.add(&event);
    }
}

/// Someone who listens: what happens from now on is not missed.
pub struct Events<'a> {
    listener: Listener<'a>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filter: Filter,
}

/// Begins to listen.
///
/// # Errors
/// `Kind::Invalid` for a filter.
pub fn events(daemon: &Daemon, query: EventQuery) -> Result<Events<'_>> {
    let EventQuery { since, until, filters } = query;
    let filter = Filter::new(filters)?;
    Ok(Events { listener: daemon.journal.listen(since.is_some() || until.is_some())?, since, until, filter })
}

impl Events<'_> {
    /// Gives events to `sink`, until the time that was asked for, or until the caller leaves.
    ///
    /// # Errors
    /// `Kind::Busy` when the caller is too slow; those of `sink`.
    pub fn run(self, caller: &dyn Caller, sink: &mut dyn FnMut(&Event) -> Result<()>) -> Result<()> {
        let Events { listener, since, until, filter } = self;
        loop {
            // Before the look, so that nothing from before the end is missed.
            let now = Timestamp::now();
            for event in listener.take()? {
                let early = since.is_some_and(|since| event.time < since);
                if !early && until.is_none_or(|until| event.time <= until) && filter.matches(&event) {
                    sink(&event)?;
                }
            }
            let limit = match until {
                Some(until) if until <= now => return Ok(()),
                Some(until) => PollTimeout::try_from(until.since(now).min(LOOK)).unwrap_or(PollTimeout::MAX),
                None => PollTimeout::NONE,
            };
            let mut set = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            set.extend(caller.gone().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut set, limit) {
                Ok(_) if set.get(1).is_some_and(|p| p.any() != Some(false)) => return Ok(()),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(e) => return Err(Error::os("poll()", e as i32)),
            }
        }
    }
}
