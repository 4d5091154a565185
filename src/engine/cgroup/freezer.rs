//! Stopping all processes of a cgroup at once.
//!
//! Version 2 freezes without a controller (Linux 5.2), also in the hybrid layout, and tells when it is done; its frozen
//! processes can still be killed. Version 1 has a controller for it, which must be asked again and again.

use crate::engine::cgroup::file;
use crate::error::{Error, Kind, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How this cgroup is frozen.
#[derive(Debug)]
pub enum Freezer {
    /// Directory of version 1's freezer.
    V1(PathBuf),
    /// Directory of version 2.
    V2(PathBuf),
}

impl Freezer {
    /// Freezes and waits until all processes are, at most for `limit`.
    ///
    /// # Errors
    /// `Kind::Timeout` when they are not; they are thawed again then.
    pub fn freeze(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let frozen = match self {
            Freezer::V2(directory) => file::write(&directory.join("cgroup.freeze"), "1")
                .and_then(|()| file::wait_for(&directory.join("cgroup.events"), "frozen 1", deadline)),
            Freezer::V1(directory) => freeze_v1(&directory.join("freezer.state"), deadline),
        };
        match frozen {
            Ok(true) => Ok(()),
            other => {
                let _ = self.thaw(); // the reason for thawing is the error to report
                other?;
                Err(Error::new(Kind::Timeout, format!("processes are not frozen after {} s", limit.as_secs_f32())))
            }
        }
    }

    /// Whether it is frozen or on its way.
    pub fn is_frozen(&self) -> bool {
        match self {
            Freezer::V2(directory) => file::number(&directory.join("cgroup.freeze")) == Some(1),
            Freezer::V1(directory) => {
                file::read(&directory.join("freezer.state")).is_some_and(|text| text.trim() != "THAWED")
            }
        }
    }

    /// Thaws.
    ///
    /// # Errors
    /// The failing call.
    pub fn thaw(&self) -> Result<()> {
        match self {
            Freezer::V2(directory) => file::write(&directory.join("cgroup.freeze"), "0"),
            Freezer::V1(directory) => file::write(&directory.join("freezer.state"), "THAWED"),
        }
    }
}

/// A process that forks or is traced while the list is walked stays out of the freezer; writing again catches it, and
/// where it does not, thawing for a moment does.
fn freeze_v1(state: &std::path::Path, deadline: Instant) -> Result<bool> {
    let mut pause = Duration::from_micros(50);
    for attempt in 1.. {
        file::write(state, "FROZEN")?;
        if file::read(state).is_some_and(|text| text.trim() == "FROZEN") {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        if attempt % 32 == 0 {
            file::write(state, "THAWED")?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(false)
}
