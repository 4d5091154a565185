//! The container's cgroup in whatever layout the host has: v1, v2 (unified) or both (hybrid).

use crate::api::oci::runtime::Resources;
use crate::api::shim::Stats;
use crate::error::Result;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A container's cgroup.
pub struct Cgroup {
    // private: layout, directories per hierarchy
}

/// How the first process gets into the cgroup.
pub struct Entry {
    /// For clone3(2) with CLONE_INTO_CGROUP: the v2 directory (Linux 5.7). `None` on v1.
    pub clone_into: Option<OwnedFd>,
    /// Files opened for writing, into each of which the process itself writes `0` before it leaves the host's
    /// namespaces (the `tasks` files of v1; `cgroup.procs` of v2 where CLONE_INTO_CGROUP is missing). A thread that
    /// moves itself needs no lock over all processes in newer kernels, so this is much cheaper than being moved.
    pub join: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the directories for `cgroups_path` (absolute: below each hierarchy's mount; made with all parents).
    /// An existing cgroup of that name that holds processes is an error; an empty one is reused.
    ///
    /// # Errors
    /// The failing call; what was made is removed again.
    pub fn create(cgroups_path: &str) -> Result<Cgroup> {
        let _ = cgroups_path;
        todo!()
    }

    /// An existing cgroup, after a restart.
    ///
    /// # Errors
    /// `Kind::NotFound` when none of its directories exists.
    pub fn open(cgroups_path: &str) -> Result<Cgroup> {
        let _ = cgroups_path;
        todo!()
    }

    /// Applies limits and device rules. Before the first process is in.
    ///
    /// # Errors
    /// Names the limit, the file and the errno; `Kind::Unsupported` where this layout lacks a limit.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let _ = resources;
        todo!()
    }

    /// Changes limits while processes run. Fields that are unset stay.
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update(&self, resources: &Resources) -> Result<()> {
        let _ = resources;
        todo!()
    }

    /// Descriptors with which a new process enters.
    ///
    /// # Errors
    /// The failing call.
    pub fn entry(&self) -> Result<Entry> {
        todo!()
    }

    /// Freezes, and waits until all processes are.
    ///
    /// # Errors
    /// `Kind::Timeout` when they are not in 10 s; they are thawed again then.
    pub fn freeze(&self) -> Result<()> {
        todo!()
    }

    /// Thaws.
    ///
    /// # Errors
    /// The failing call.
    pub fn thaw(&self) -> Result<()> {
        todo!()
    }

    /// All processes, also in cgroups below.
    ///
    /// # Errors
    /// The failing call.
    pub fn processes(&self) -> Result<Vec<i32>> {
        todo!()
    }

    /// Sends SIGKILL to all processes (cgroup.kill of v2, Linux 5.14, else one by one until none is left) and thaws.
    ///
    /// # Errors
    /// The failing call.
    pub fn kill(&self) -> Result<()> {
        todo!()
    }

    /// Resource use.
    ///
    /// # Errors
    /// The failing call.
    pub fn stats(&self) -> Result<Stats> {
        todo!()
    }

    /// How often the kernel killed for memory.
    pub fn oom_kills(&self) -> u64 {
        todo!()
    }

    /// A descriptor that polls readable (v1: eventfd registered with memory.oom_control) or with POLLPRI (v2:
    /// memory.events) when the kernel runs out of memory in it. `None` without a memory controller.
    pub fn oom_notifier(&self) -> Option<OwnedFd> {
        todo!()
    }

    /// Kills what is left and removes the directories with all below.
    ///
    /// # Errors
    /// The first failing call, after everything was tried.
    pub fn destroy(self) -> Result<()> {
        todo!()
    }

    /// The path in a `/proc/PID/cgroup` sense, for logs.
    pub fn path(&self) -> &str {
        todo!()
    }
}

/// Moves the calling single-threaded process through an [`Entry`].
pub fn join_self(files: &[BorrowedFd<'_>]) -> Result<()> {
    let _ = files;
    todo!()
}
