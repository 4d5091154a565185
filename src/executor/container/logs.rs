//! Reading a container's log.

use crate::error::{Error, Kind, Result};
use crate::executor::Daemon;
use crate::modules::container::logging::Logging;
use crate::modules::container::{Awaited, Container};
use crate::modules::runtime::log::{self, Query, Sink};

/// Whether it has a terminal, and so how its log is framed; checks that it has a log.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Unsupported` when nothing is logged, `Kind::Conflict` when it is elsewhere.
pub fn has_terminal(daemon: &Daemon, reference: &str) -> Result<bool> {
    let container = daemon.find_any(reference)?;
    check(&container)?;
    Ok(container.head.tty)
}

/// Writes its log. With `follow`, goes on until the current run ends.
///
/// # Errors
/// As [`has_terminal`]; what the sink gives.
pub fn logs(daemon: &Daemon, reference: &str, query: &Query, sink: &mut dyn Sink) -> Result<()> {
    let container = daemon.find_any(reference)?;
    check(&container)?;
    read(daemon, &container, query, sink)
}

/// As [`logs`]; no log yet is an empty one.
///
/// # Errors
/// What the sink gives.
pub(super) fn read(daemon: &Daemon, container: &Container, query: &Query, sink: &mut dyn Sink) -> Result<()> {
    let mut query = query.clone();
    let ended = {
        let mut state = container.state();
        query.follow &= state.run.running;
        if query.follow { Some(Container::watch(&mut state, Awaited::Exit)?) } else { None }
    };
    let result = log::read(&daemon.disk.log(&container.id), &query, ended.as_ref().map(|e| e.event.owned()), sink);
    if let Some(notice) = &ended {
        container.forget(notice);
    }
    match result {
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

/// The original's words, which its client turns into a warning.
fn check(container: &Container) -> Result<()> {
    match &container.head.logging {
        Logging::File { .. } => Ok(()),
        Logging::Syslog(_) => Err(Error::conflict(format!(
            "container {}: configured logging driver syslog does not support reading",
            container.name()
        ))),
        Logging::Off => {
            Err(Error::new(Kind::Unsupported, format!("Container {} disable console log!", container.name())))
        }
    }
}
