//! Makes a container up to the point before its program runs, and lets it run.

use super::hook;
use super::process::parent::{self, ChildrenElsewhere, Newborn};
use super::process::plan::Plan;
use super::process::sync::{self, CallerEnd, FromInit, ToInit};
use super::process::{child, sync::InitEnd};
use super::rootfs::Base;
use super::{cgroup, namespace, net_device, process, rlimit};
use crate::api::oci::runtime::{Hook, Linux, Resources, Spec};
use crate::engine::cgroup::{Cgroup, systemd::Unit};
use crate::engine::seccomp::agent::{About, Call};
use crate::error::{Context, Error, Result};
use crate::utils::sys::clone;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What to make.
pub struct Request<'a> {
    /// Container id.
    pub id: &'a str,
    /// The configuration.
    pub spec: &'a Spec,
    /// The bundle directory; relative paths of the configuration start here.
    pub bundle: &'a Path,
    /// What is mounted at the root path inside the new mount namespace.
    pub base: Base<'a>,
    /// Standard input, output and error; the caller's own when absent. Not used when the process has a terminal.
    pub stdio: Option<[OwnedFd; 3]>,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// The caller's session keyring stays the processes'.
    pub no_new_keyring: bool,
    /// How many of the caller's descriptors from 3 on the program gets; they are open.
    pub preserved_fds: u32,
    /// How its cgroup is made.
    pub cgroup: CgroupChoice,
}

/// How a container's cgroup is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct CgroupChoice {
    /// Hierarchies that the user may not write to are done without.
    pub lenient: bool,
    /// systemd makes it: the configuration's path has the form `slice:prefix:name`.
    pub systemd: bool,
}

/// A process that the engine started.
#[derive(Debug)]
pub struct Started {
    /// Process id in the caller's namespace.
    pub pid: i32,
    /// Polls readable at its end; `None` before Linux 5.3.
    pub pidfd: Option<OwnedFd>,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// A container whose program has not run yet. Dropped without [`Created::start`], everything made for it is undone.
pub struct Created {
    // Dropped in this order: a cgroup can only go when its processes have.
    init: Newborn,
    cgroup: CgroupGuard,
    sync: CallerEnd,
    terminal: Option<OwnedFd>,
    program: CString,
    agent: Option<Call>,
    poststart: Option<Poststart>,
}

/// A container that [`Created::leave`] left to itself.
pub struct Waiting<'a> {
    /// Container id.
    pub id: &'a str,
    /// The configuration that it was made with.
    pub spec: &'a Spec,
    /// The bundle directory.
    pub bundle: &'a Path,
    /// Its first process.
    pub pid: i32,
    /// A connection to the socket where that waits.
    pub connection: OwnedFd,
}

/// A container whose program runs.
pub struct Running {
    /// The first process.
    pub init: Started,
    /// Its cgroup; the caller destroys it after the end. `None` when the configuration names neither path nor limits.
    pub cgroup: Option<Cgroup>,
}

struct Poststart {
    hooks: Vec<Hook>,
    state: Vec<u8>,
}

/// Makes the container: cgroup, namespaces, mounts, identity; stops before execve(2).
///
/// # Errors
/// The failing step with its object; nothing is left behind. `Kind::CommandNotFound` and
/// `Kind::CommandNotExecutable` for the program, `Kind::Invalid` for a broken rule, `Kind::Unsupported` for what this
/// kernel lacks.
pub fn create(request: Request<'_>) -> Result<Created> {
    let plan = Plan::new(&request)?;
    let (caller, init_end) = sync::pair()?;
    let unit = match request.cgroup.systemd {
        true => Some(Unit::parse(&plan.linux.cgroups_path, plan.id, request.cgroup.lenient)?),
        false => None,
    };
    if unit.is_some() {
        cgroup::systemd::check()?;
    }
    let path = cgroup_path(plan.id, plan.linux).filter(|_| unit.is_none());
    // Into v2 a process is best born. The many directories of v1 take longer to make than all else here, so they are
    // made while the first process prepares its root, and it joins them itself.
    let mut cgroup = CgroupGuard(None);
    let birth = match &path {
        Some(path) => cgroup.begin(path, request.cgroup)?,
        None => None,
    };
    if let Some(stdio) = &request.stdio {
        process::give(stdio, plan.linux);
    }
    // Its device rules may be in force at any moment from now on.
    let birth = birth.filter(|_| !plan.rootfs.needs_devices());
    let child = spawn(&plan, birth.as_ref(), request.stdio.as_ref(), (&caller, &init_end))?;
    let in_cgroup = child.in_cgroup;
    let mut newborn = Newborn::new(child);
    drop((init_end, request.stdio));
    if plan.staged {
        newborn = parent::adopt(newborn, &caller)?;
        if let Some(maps) = &plan.maps {
            maps.write(newborn.pid())?;
            caller.send(&ToInit::Mapped)?;
        }
    }
    if !plan.linux.net_devices.is_empty() {
        give_net_devices(&plan, newborn.pid())?;
    }
    let mut files = Vec::new();
    if let Some(path) = &path {
        let entry = cgroup.complete(path, plan.linux.resources.as_ref())?;
        files.extend(process::late_entry(&entry, in_cgroup)?);
        files.extend(entry.join);
    }
    if let Some(unit) = &unit {
        // The process is there, and waits for its cgroup at the latest.
        files.extend(cgroup.of_unit(unit, newborn.pid(), &plan, request.cgroup.lenient)?);
    }
    if plan.namespaces.has_user() {
        // Before Linux 5.16 it counts who writes, not who opened, and inside nobody has the right.
        cgroup::join(&files.iter().map(AsFd::as_fd).collect::<Vec<_>>(), newborn.pid())?;
        files.clear();
    }
    caller.send(&ToInit::Enter(files))?;
    let terminal = parent::await_ready(&mut newborn, &caller, |pid| {
        let Some(hooks) = &plan.spec.hooks else { return Ok(()) };
        let state = hook::state(plan.id, plan.spec, "creating", pid, &plan.bundle);
        hook::run_all("prestart", &hooks.prestart, &state)?;
        hook::run_all("createRuntime", &hooks.create_runtime, &state)
    })?;
    if plan.namespaces.has_user() {
        // Only the host's root may raise limits and priorities; inside, nobody is.
        rlimit::apply(newborn.pid(), &plan.program.limits)?;
        plan.program.scheduling.apply(newborn.pid())?;
    }
    let agent = call(plan.id, plan.spec, newborn.pid(), &plan.bundle);
    let poststart = Poststart::new(plan.id, plan.spec, newborn.pid(), &plan.bundle);
    let program = plan.program.args[0].clone();
    Ok(Created { init: newborn, cgroup, sync: caller, terminal, program, agent, poststart })
}

impl Created {
    /// Process id of the waiting first process, in the caller's namespace.
    pub fn pid(&self) -> i32 {
        self.init.pid()
    }

    /// Lets the program run; returns after execve(2) succeeded.
    ///
    /// # Errors
    /// As [`create`].
    pub fn start(self) -> Result<Running> {
        let Created { init, mut cgroup, sync, terminal, program, agent, poststart } = self;
        let started = agent.map(Call::connect).transpose().and_then(|agent| {
            sync.send(&ToInit::Start)?;
            parent::await_exec(&sync, &program, agent)
        });
        if let Err(e) = started {
            drop(init); // before the cgroup it is in
            return Err(e);
        }
        poststart.iter().for_each(Poststart::run);
        Ok(Running { init: init.into_started(terminal)?, cgroup: cgroup.0.take() })
    }

    /// Its cgroup, if it has one.
    pub fn cgroup_path(&self) -> Option<&str> {
        self.cgroup.0.as_ref().filter(|c| c.is_made()).map(Cgroup::path)
    }

    /// The unit of systemd that it belongs to.
    pub fn unit(&self) -> Option<&str> {
        self.cgroup.0.as_ref().and_then(Cgroup::unit)
    }

    /// Master side of the terminal of the first process.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Leaves the container to itself: its first process waits for [`start`] on the listening socket, with nobody who
    /// would undo anything when that never comes.
    ///
    /// # Errors
    /// The failing call; everything is undone then.
    pub fn leave(self, listener: OwnedFd) -> Result<()> {
        self.sync.send(&ToInit::Wait(listener))?;
        let Created { init, mut cgroup, .. } = self;
        init.leave();
        cgroup.0 = None;
        Ok(())
    }
}

/// Lets the program of a waiting container run; returns after execve(2) succeeded.
///
/// # Errors
/// `Kind::Conflict` when it waits no longer. When its seccomp agent cannot be reached it goes on waiting. Otherwise as
/// [`create`]; its first process has ended then.
pub fn start(waiting: Waiting<'_>) -> Result<()> {
    let Waiting { id, spec, bundle, pid, connection } = waiting;
    let args = spec.process.as_ref().map_or(&[][..], |p| &p.args);
    let program = args.first().and_then(|name| CString::new(name.as_str()).ok()).unwrap_or_default();
    let sync = CallerEnd::new(connection)?;
    match sync.receive()? {
        FromInit::Ready(_) => {}
        // Another one was faster.
        _ => return Err(Error::conflict(format!("container {id:?} does not wait for its start any more"))),
    }
    let agent = call(id, spec, pid, bundle).map(Call::connect).transpose()?;
    sync.send(&ToInit::Start)?;
    parent::await_exec(&sync, &program, agent)?;
    Poststart::new(id, spec, pid, bundle).iter().for_each(Poststart::run);
    Ok(())
}

/// What the seccomp agent is told of the first process.
fn call(id: &str, spec: &Spec, pid: i32, bundle: &Path) -> Option<Call> {
    Call::new(&About { id, spec, bundle, status: "created", init: pid, pid })
}

impl Poststart {
    fn new(id: &str, spec: &Spec, pid: i32, bundle: &Path) -> Option<Poststart> {
        let hooks = spec.hooks.as_ref().map(|h| &h.poststart).filter(|hooks| !hooks.is_empty())?;
        Some(Poststart { hooks: hooks.clone(), state: hook::state(id, spec, "running", pid, bundle) })
    }

    /// The specification wants a warning when one fails, and the container to go on.
    fn run(&self) {
        if let Err(e) = hook::run_all("poststart", &self.hooks, &self.state) {
            log::warn!("{e}");
        }
    }
}

fn spawn(
    plan: &Plan<'_>,
    cgroup: Option<&OwnedFd>,
    stdio: Option<&[OwnedFd; 3]>,
    (caller, init_end): (&CallerEnd, &InitEnd),
) -> Result<clone::Child> {
    let namespaces = &plan.namespaces;
    // Of a user namespace's container only the stage is made here: in a mount namespace of its own where that is
    // allowed. The cgroup namespace follows the cgroup, the time namespace its offsets.
    let flags = match plan.staged {
        true if namespaces.has_user() && plan.program.privileged => libc::CLONE_NEWNS,
        true => 0,
        false => namespaces.new & !(clone::CLONE_NEWCGROUP | clone::CLONE_NEWTIME),
    };
    let elsewhere = match namespaces.joined.iter().find(|j| j.kind == libc::CLONE_NEWPID) {
        Some(pid) if !plan.staged => {
            Some(ChildrenElsewhere::enter(pid.file.as_fd()).context(|| format!("setns({:?})", pid.path))?)
        }
        _ => None,
    };
    let child = clone::spawn(flags, cgroup.map(AsFd::as_fd), |_| {
        caller.close_copy();
        child::first(plan, stdio, init_end)
    });
    match elsewhere.map(ChildrenElsewhere::leave) {
        Some(Err(e)) => {
            drop(child.map(Newborn::new));
            Err(e)
        }
        _ => child,
    }
}

/// Moves interfaces of this process's network namespace into that of the container with the first process `pid`, which
/// has a new one from its birth on.
fn give_net_devices(plan: &Plan<'_>, pid: i32) -> Result<()> {
    let made = match plan.namespaces.new & libc::CLONE_NEWNET {
        0 => Vec::new(),
        kind => namespace::open_of(pid, kind)?,
    };
    let mut all = made.iter().chain(&plan.namespaces.joined);
    let network = all.find(|j| j.kind == libc::CLONE_NEWNET);
    let network = network.ok_or_else(|| Error::internal("interfaces without a network namespace"))?;
    net_device::give(&plan.linux.net_devices, network.file.as_fd())
}

/// Where the container's cgroup is; without path and limits it stays in the caller's.
fn cgroup_path(id: &str, linux: &Linux) -> Option<String> {
    let limited = linux.resources.as_ref().is_some_and(|r| *r != Resources::default());
    match linux.cgroups_path.as_str() {
        "" => limited.then(|| format!("/{id}")),
        path => Some(path.to_string()),
    }
}

/// A cgroup that goes again unless it is taken.
struct CgroupGuard(Option<Cgroup>);

impl CgroupGuard {
    /// The directory in which a process can be born.
    fn begin(&mut self, path: &str, choice: CgroupChoice) -> Result<Option<OwnedFd>> {
        let cgroup = self.0.insert(Cgroup::begin(path, choice.lenient).context(|| format!("cgroup {path:?}"))?);
        Ok(cgroup.entry().context(|| format!("cgroup {path:?}"))?.clone_into)
    }

    /// Has systemd make it with the process `pid` in it; the files by which that joins what systemd did not make.
    fn of_unit(&mut self, unit: &Unit, pid: i32, plan: &Plan<'_>, lenient: bool) -> Result<Vec<OwnedFd>> {
        let resources = plan.linux.resources.as_ref();
        cgroup::systemd::start(unit, pid, resources, &plan.spec.annotations)?;
        let made = Cgroup::of_unit(&unit.name, pid, lenient);
        let made = made.inspect_err(|_| {
            if let Err(e) = cgroup::systemd::stop(&unit.name) {
                log::warn!("{e}");
            }
        });
        let call = || format!("cgroup of unit {:?}", unit.name);
        let cgroup = self.0.insert(made.context(call)?);
        if let Some(resources) = resources {
            cgroup.apply(resources).context(call)?;
        }
        cgroup.entry().map(|entry| entry.join).context(call)
    }

    fn complete(&mut self, path: &str, resources: Option<&Resources>) -> Result<cgroup::Entry> {
        let cgroup = self.0.as_mut().ok_or_else(|| Error::internal("a cgroup that was not begun"))?;
        cgroup.complete().context(|| format!("cgroup {path:?}"))?;
        if let Some(resources) = resources {
            cgroup.apply(resources).context(|| format!("cgroup {path:?}"))?;
        }
        cgroup.entry().context(|| format!("cgroup {path:?}"))
    }
}

impl Drop for CgroupGuard {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take()
            && let Err(e) = cgroup.destroy(cgroup::PATIENCE)
        {
            log::warn!("remove the cgroup of a container that did not start: {e}");
        }
    }
}
