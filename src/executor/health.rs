//! Health checks: a probe now and then in every container that asks for it, on a thread that lives as long as the probe.

use super::container::signal;
use super::{Daemon, probe};
use crate::api::container::HealthLog;
use crate::modules::container::health::{Check, STARTING, UNHEALTHY};
use crate::modules::container::{Container, State};
use crate::utils::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Stack of a probe's thread.
const STACK: usize = 64 << 10;

/// Begins to probe a run that has just started or was found; ends with the run.
pub(super) fn begin(daemon: &Daemon, container: &Arc<Container>) {
    if let Some(check) = &container.head.check {
        let exits = container.state().exits;
        next(daemon, container, check, exits);
    }
}

/// Has the next probe made, if the run after `exits` exits still goes on then.
fn next(daemon: &Daemon, container: &Arc<Container>, check: &Check, exits: u64) {
    let pause = {
        let state = container.state();
        check.pause(state.run.health.as_ref().map_or(STARTING, |health| &health.status), uptime(&state))
    };
    // That may be long, and the container gone before.
    let container = Arc::downgrade(container);
    daemon.monitor.after(pause, move |daemon| {
        let Some(container) = container.upgrade() else { return };
        let (goes_on, paused) = {
            let state = container.state();
            (state.run.running && state.exits == exits && !state.removed, state.run.paused)
        };
        let Some(check) = container.head.check.as_ref().filter(|_| goes_on) else { return };
        if paused {
            return next(daemon, &container, check, exits);
        }
        // Not a worker: a probe may take minutes.
        let (owner, probed) = (Arc::clone(daemon), Arc::clone(&container));
        let thread = std::thread::Builder::new().name("health".into()).stack_size(STACK).spawn(move || {
            let Some(check) = &probed.head.check else { return };
            let start = Timestamp::now();
            let (exit_code, output) = probe::probe(&owner, &probed, &check.command, check.timeout);
            note(&owner, &probed, check, exits, HealthLog { start, end: Timestamp::now(), exit_code, output });
        });
        if let Err(e) = thread {
            // The host's trouble, which says nothing about the container.
            log::warn!("container {}: its health is not asked for: {e}", container.id);
            next(daemon, &container, check, exits);
        }
    });
}

/// How long a run lasts. One of before the daemon's start has begun by the wall's clock only.
fn uptime(state: &State) -> Duration {
    state.since.map_or_else(|| Timestamp::now().since(state.run.started_at), |at| at.elapsed())
}

fn note(daemon: &Arc<Daemon>, container: &Arc<Container>, check: &Check, exits: u64, answer: HealthLog) {
    let (news, run) = {
        let news = container.change(|s| {
            if !s.run.running || s.exits != exits {
                return None; // it ended while it was asked
            }
            if s.run.paused {
                return Some(None); // it could not answer
            }
            let up = uptime(s);
            let health = s.run.health.get_or_insert_default();
            Some(check.note(health, answer, up < check.start_period))
        });
        let Some(news) = news else { return };
        (news, container.run())
    };
    if let Some(status) = news {
        log::info!("container {}: {status}", container.id);
        // In memory: what lasts is written once, at the end of the run.
        if let Err(e) = daemon.disk.save_volatile(&container.id, &run) {
            log::warn!("container {}: its health is not recorded: {e}", container.id);
        }
        daemon.tell(container, format!("health_status: {status}"), &[]);
        if status == UNHEALTHY && check.exit_on_unhealthy {
            // Not a person's doing: its restart policy holds.
            if let Err(e) = signal::force(daemon, container) {
                log::error!("container {}: is unhealthy and cannot be ended: {e}", container.id);
            }
            return;
        }
    }
    next(daemon, container, check, exits);
}
