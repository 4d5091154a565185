//! Runs whose processes have not all ended though they were killed: they sleep in the kernel, where no signal reaches
//! them, for a disk or a network file system that does not answer. They end as soon as they wake.
//!
//! Until then a container is one that has ended, but cannot be started or removed, and from time to time it is tried
//! whether it can. Then it goes or starts again as it would have done at its end.

use super::settle::{clean_up, go, is_to_go};
use crate::executor::{Daemon, monitor};
use crate::modules::container::Container;
use crate::utils::atomic_file::Durability;
use std::sync::Arc;
use std::time::Duration;

/// From the end of the run to the first try, and from each to the next twice as long as before.
const FIRST: Duration = Duration::from_secs(1);
/// Between two tries at most.
const LONGEST: Duration = Duration::from_secs(60);
/// For which a try waits: the processes were killed long ago.
const PATIENCE: Duration = Duration::from_millis(100);

/// Has the rest of an ended run awaited.
pub(in crate::executor) fn await_end(daemon: &Daemon, container: &Arc<Container>) {
    log::warn!("container {}: processes of it have not ended; it is of no use until they have", container.id);
    later(daemon, container, FIRST);
}

fn later(daemon: &Daemon, container: &Arc<Container>, delay: Duration) {
    let container = Arc::downgrade(container);
    daemon.monitor.after(delay, move |daemon| {
        let Some(container) = container.upgrade() else { return };
        // Without the operation lock: no verb may do anything with it.
        let Some(remains) = container.run().remains else { return };
        if !clean_up(daemon, &container, remains.pid, remains.start_time, PATIENCE) {
            return later(daemon, &container, (delay * 2).min(LONGEST));
        }
        log::info!("container {}: all of it has ended", container.id);
        ended(daemon, &container);
    });
}

fn ended(daemon: &Daemon, container: &Arc<Container>) {
    let _operation = container.operate();
    let Some((run, delay)) = container.change(|s| {
        s.run.remains.take()?;
        let again = !s.removed && !s.run.unwanted && s.policy.restarts(&s.run);
        let lasted = s.run.finished_at.since(s.run.started_at);
        Some((s.run.clone(), again.then(|| s.await_restart(lasted))))
    }) else {
        return; // somebody was faster
    };
    if is_to_go(container) {
        go(daemon, container);
        return;
    }
    match daemon.disk.save(&container.id, &run, Durability::Durable) {
        Ok(()) => {
            daemon.disk.remove_exit_file(&container.id);
            daemon.disk.remove_state_directory(&container.id);
        }
        Err(e) => log::error!("container {}: its exit is not recorded: {e}", container.id),
    }
    if let Some(delay) = delay {
        monitor::restart_in(daemon, container, delay);
    }
}
