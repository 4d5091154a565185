//! What the integration tests stand on.

pub mod authority;
pub mod bed;
pub mod bundle;
pub mod cgroup;
pub mod command;
pub mod crowd;
pub mod debian;
pub mod disk;
pub mod fake_registry;
pub mod http;
pub mod leaks;
pub mod oci;
pub mod old_kernel;
pub mod proxy;
pub mod pty;
pub mod registry;
pub mod requires;
pub mod rootfs;
pub mod runner;
pub mod stage;
pub mod steps;
pub mod sys;
#[cfg(feature = "syslog")]
pub mod syslog;
pub mod tree;
pub mod truth;
pub mod umoci;
pub mod usage;
pub mod world;

use std::time::{Duration, Instant};

/// The image that every bed has: busybox and the payload.
pub const IMAGE: &str = "box";

/// How long a wait for something that must come may take. Long, because a loaded machine must not fail a test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`; fails naming `what` when it does not come.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    while !holds() {
        assert!(Instant::now() < end, "waited {} s in vain: {what}", PATIENCE.as_secs());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Fails unless `text` contains `part`; shows both.
#[track_caller]
pub fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "expected {part:?} in:\n{text}");
}
