//! Runs a further process in a container: joins the namespaces of its first process.

use super::namespace;
use super::process::child::{self, Inside};
use super::process::parent::{self, ChildrenElsewhere, Newborn};
use super::process::plan::{Program, cannot_return};
use super::process::sync::{self, ToInit};
use super::rlimit;
use crate::api::oci::runtime::{Linux, Process, Spec};
use crate::engine::capability::Sets;
use crate::engine::cgroup::Cgroup;
use crate::engine::create::Started;
use crate::engine::seccomp::agent::{self, About, Call};
use crate::error::{Context, Error, Result};
use crate::utils::sys::{clone, process as sys};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What to run and where.
pub struct Request<'a> {
    /// Container id.
    pub id: &'a str,
    /// Its bundle directory.
    pub bundle: &'a Path,
    /// First process of the container.
    pub init: i32,
    /// Start time of that process.
    pub init_start_time: u64,
    /// The container's cgroup; `None` when it has none of its own.
    pub cgroup: Option<&'a Cgroup>,
    /// The container's configuration: seccomp and the like.
    pub spec: &'a Spec,
    /// What to run. Without capabilities it gets those of the container's first process.
    pub process: &'a Process,
    /// Standard input, output and error; the caller's own when absent. Not used when the process has a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
    /// How many of the caller's descriptors from 3 on the program gets; they are open.
    pub preserved_fds: u32,
}

/// Starts the process; returns after execve(2) succeeded. The process is a child of the caller.
///
/// # Errors
/// As [`crate::engine::create::create`]; `Kind::NotFound` when the container has ended.
pub fn exec(request: Request<'_>) -> Result<Started> {
    let none = Linux::default();
    let linux = request.spec.linux.as_ref().unwrap_or(&none);
    let mut program = Program { preserved_fds: request.preserved_fds, ..Program::new(request.process, linux)? };
    if request.process.capabilities.is_none() {
        program.capabilities = Sets::parse(request.spec.process.as_ref().and_then(|p| p.capabilities.as_ref()))?;
    }
    let kinds = namespace::flags(&linux.namespaces)?;
    // Descriptor first: once the start time is seen to be right, the descriptor is that process's for good.
    let init_fd = sys::pidfd_open(request.init).ok();
    if !sys::is_alive(request.init, request.init_start_time) {
        return Err(Error::not_found("the container's first process has ended"));
    }
    let entry = request.cgroup.map(Cgroup::entry).transpose()?;
    let (caller, init_end) = sync::pair()?;
    let staged = cannot_return(kinds);
    let elsewhere = if staged { None } else { enter_pid_namespace(&request, kinds, init_fd.as_ref())? };
    // With an agent: it must be there before the filter is.
    let wait = kinds & libc::CLONE_NEWUSER != 0 || agent::asking(request.spec).is_some();
    let directory = entry.as_ref().and_then(|e| e.clone_into.as_ref());
    if let Some(stdio) = &request.stdio {
        super::process::give(stdio, linux);
    }
    let child = clone::spawn(0, directory.map(AsFd::as_fd), |in_cgroup| {
        caller.close_copy();
        let (cgroup, init_fd) = (entry.as_ref(), init_fd.as_ref().map(AsFd::as_fd));
        let inside = Inside { kinds, init: request.init, init_fd, cgroup, in_cgroup, wait, staged, entered: 0 };
        child::further(&program, &inside, request.stdio.as_ref(), &init_end)
    });
    let left = elsewhere.map_or(Ok(()), ChildrenElsewhere::leave);
    let mut newborn = Newborn::new(child?);
    left?;
    drop((init_end, request.stdio));
    if staged {
        newborn = parent::adopt(newborn, &caller)?;
        caller.send(&ToInit::Mapped)?;
    }
    let terminal = parent::await_ready(&mut newborn, &caller, |_| Ok(()))?;
    let (id, spec, bundle) = (request.id, request.spec, request.bundle);
    let about = About { id, spec, bundle, status: "running", init: request.init, pid: newborn.pid() };
    let agent = Call::new(&about).map(Call::connect).transpose()?;
    if wait {
        // Only the host's root may raise limits and priorities; inside, nobody is.
        rlimit::apply(newborn.pid(), &program.limits)?;
        program.scheduling.apply(newborn.pid())?;
        caller.send(&ToInit::Start)?;
    }
    parent::await_exec(&caller, &program.args[0], agent)?;
    newborn.into_started(terminal)
}

fn enter_pid_namespace(
    request: &Request<'_>,
    kinds: libc::c_int,
    init_fd: Option<&OwnedFd>,
) -> Result<Option<ChildrenElsewhere>> {
    if kinds & libc::CLONE_NEWPID == 0 {
        return Ok(None);
    }
    match init_fd.map(|fd| ChildrenElsewhere::enter(fd.as_fd())) {
        // Before Linux 5.8 only namespace files are known.
        None | Some(Err(nix::Error::EINVAL)) => {}
        Some(result) => return result.map(Some).context(|| format!("setns(pidfd of {})", request.init)),
    }
    let files = namespace::open_of(request.init, libc::CLONE_NEWPID)?;
    let file = files.first().ok_or_else(|| Error::internal("no pid namespace file"))?;
    // Opened by number: only now is it known to be that of the process meant.
    if !sys::is_alive(request.init, request.init_start_time) {
        return Err(Error::not_found("the container's first process has ended"));
    }
    ChildrenElsewhere::enter(file.file.as_fd()).map(Some).context(|| format!("setns({:?})", file.path))
}
