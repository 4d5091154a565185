//! The new process's own half of its birth: from clone(2) to execve(2).
//!
//! It is a copy of a single-threaded caller, so allocation and errors with text are fine until the point of no return,
//! which a comment marks. From there on a filter may refuse any system call, and nothing is called but what the
//! program itself needs.
#![allow(unsafe_code)]

use super::plan::{Plan, Program};
use super::program;
use super::sync::{InitEnd, LastStep, ToInit};
use crate::engine::label::ExecLabel;
use crate::engine::namespace::{self, Joined};
use crate::engine::rootfs::{Base, Sources};
use crate::engine::seccomp::Program as Filter;
use crate::engine::terminal::{self, Terminal};
use crate::engine::user::{self, Identity};
use crate::engine::{capability, cgroup, hook, rights, rlimit, rootfs, scheduling, sysctl};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::order;
use crate::utils::path::Root;
use crate::utils::sys::clone::{self, CLONE_NEWCGROUP, CLONE_NEWTIME, setns, unshare};
use crate::utils::sys::{descriptor, fd, prctl, pty};
use libc::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, c_int};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The container that a further process enters.
pub struct Inside<'a> {
    /// Its configuration's namespaces as CLONE_NEW*.
    pub kinds: c_int,
    /// Its first process.
    pub init: i32,
    /// That process by descriptor; `None` on old kernels.
    pub init_fd: Option<BorrowedFd<'a>>,
    /// Its cgroup.
    pub cgroup: Option<&'a cgroup::Entry>,
    /// Whether this process was born there.
    pub in_cgroup: bool,
    /// Whether the process waits for the caller before it runs the program.
    pub wait: bool,
    /// Whether user and pid namespace are entered by a process before this one.
    pub staged: bool,
    /// CLONE_NEW* of those that are entered already.
    pub entered: c_int,
}

/// Runs in a process made with all new namespaces, or with a user namespace in the stage before it.
pub fn first(plan: &Plan<'_>, stdio: Option<&[OwnedFd; 3]>, sync: &InitEnd) -> Infallible {
    let result = if plan.staged { stage(plan, stdio, sync) } else { init(plan, stdio, sync, None) };
    give_up(sync, result)
}

/// Runs in a process made to run a further program in a container.
pub fn further(program: &Program<'_>, inside: &Inside<'_>, stdio: Option<&[OwnedFd; 3]>, sync: &InitEnd) -> Infallible {
    let result =
        if inside.staged { further_stage(program, inside, stdio, sync) } else { enter(program, inside, stdio, sync) };
    give_up(sync, result)
}

/// A caller who gets its rights with the container's user namespace cannot enter the pid namespace, which holds for
/// children only. So this process enters both, and its child, which is made the caller's, all the others.
fn further_stage(
    program: &Program<'_>,
    inside: &Inside<'_>,
    stdio: Option<&[OwnedFd; 3]>,
    sync: &InitEnd,
) -> Result<Infallible> {
    let first = inside.kinds & (CLONE_NEWUSER | CLONE_NEWPID);
    join_kinds(inside, first, false)?;
    let rest = Inside { entered: first, ..*inside };
    let child = clone::spawn(libc::CLONE_PARENT, None, |_| {
        let entered = match sync.receive() {
            Ok(ToInit::Mapped) => enter(program, &rest, stdio, sync),
            Ok(_) => Err(Error::internal("expected to be known")),
            Err(e) => Err(e),
        };
        give_up(sync, entered)
    })?;
    sync.spawned(child.pid)?;
    clone::exit(0)
}

fn give_up(sync: &InitEnd, result: Result<Infallible>) -> Infallible {
    match result {
        Ok(never) => never,
        Err(e) => {
            sync.failed(&e);
            clone::exit(1)
        }
    }
}

/// With a user namespace two processes are needed: what needs the host's rights (overlay, foreign namespaces) is done
/// in this one, in a mount namespace that the host's user namespace owns; the other starts in all new namespaces with
/// the new user namespace as their owner, and is the caller's child.
fn stage(plan: &Plan<'_>, stdio: Option<&[OwnedFd; 3]>, sync: &InitEnd) -> Result<Infallible> {
    outside(&plan.program)?;
    let namespaces = &plan.namespaces;
    let mut sources = None;
    if !namespaces.has_user() {
        // Only the pid namespace, which holds for children only, made it necessary.
        namespaces.join(CLONE_NEWPID)?;
        return born(plan, stdio, sync, sources);
    }
    if !plan.program.privileged {
        // The rights over all the others come with it.
        namespaces.join(CLONE_NEWUSER)?;
    }
    namespaces.join(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWPID)?;
    if plan.program.privileged {
        sources = Some(prepare_mounts(plan)?);
        namespaces.join(CLONE_NEWUSER)?;
    }
    born(plan, stdio, sync, sources)
}

/// The stage's last step.
fn born(plan: &Plan<'_>, stdio: Option<&[OwnedFd; 3]>, sync: &InitEnd, sources: Option<Sources>) -> Result<Infallible> {
    let flags = plan.namespaces.new & !(CLONE_NEWCGROUP | CLONE_NEWTIME) | libc::CLONE_PARENT;
    let child = clone::spawn(flags, None, |_| give_up(sync, init(plan, stdio, sync, sources)))?;
    sync.spawned(child.pid)?;
    clone::exit(0)
}

/// What is done with the rights of the caller, before any namespace is entered for good.
fn outside(program: &Program<'_>) -> Result<()> {
    if program.privileged {
        // Processes of a container that is joined must not trace this one, nor look at what it has open. An
        // unprivileged caller could not write the id maps then.
        prctl::set_dumpable(false).context(|| "prctl(PR_SET_DUMPABLE, 0)".into())?;
    }
    if let Some(adjustment) = program.process.oom_score_adj {
        match std::fs::write("/proc/self/oom_score_adj", adjustment.to_string()) {
            // Lowering it needs CAP_SYS_RESOURCE: an engine in a container may lack that, and can do without.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {}
            result => result.context(|| format!("write(\"/proc/self/oom_score_adj\", \"{adjustment}\")"))?,
        }
    }
    Ok(())
}

/// In the new mount namespace, with the rights of the caller: the sources of binds that cannot be opened later.
fn prepare_mounts(plan: &Plan<'_>) -> Result<Sources> {
    let mut sources = rootfs::isolate(&plan.rootfs)?;
    rootfs::mount_images(&plan.rootfs, &mut sources)?;
    rootfs::mount_base(&plan.rootfs)?;
    Ok(sources)
}

/// `sources` are those of [`prepare_mounts`] when that was done before.
fn init(plan: &Plan<'_>, stdio: Option<&[OwnedFd; 3]>, sync: &InitEnd, sources: Option<Sources>) -> Result<Infallible> {
    let namespaces = &plan.namespaces;
    let user_namespace = namespaces.has_user();
    if !user_namespace {
        outside(&plan.program)?;
        namespaces.join(CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)?;
    }
    let mut sources = sources.map_or_else(|| prepare_mounts(plan), Ok)?;
    if !plan.no_new_keyring {
        let keyring = CString::new(format!("_ses.{}", plan.id)).context_nul()?;
        let _ = prctl::join_session_keyring(&keyring); // a kernel without key rings has none to protect
    }
    let label = ExecLabel::open(plan.program.process)?;
    // In a user namespace the mounts are locked together as they were inherited, and only a new one on top can move.
    let is_mount = !matches!(plan.rootfs.base, Base::Directory);
    let root = rootfs::open(&plan.rootfs, &mut sources, user_namespace || !is_mount)?;
    if user_namespace {
        rootfs::open_sources(&plan.rootfs, &mut sources)?;
        become_root(plan, sync)?;
    }
    // The host's /proc is in sight still.
    let fixed_groups = rights::has_fixed_groups("self");
    nix::sys::stat::umask(Mode::empty());
    if namespaces.new & CLONE_NEWTIME != 0 {
        new_time(plan)?;
    }
    namespaces.join(CLONE_NEWTIME)?;
    let mut in_cgroup = false;
    let mut enter_cgroup = || match std::mem::replace(&mut in_cgroup, true) {
        true => Ok(()),
        false => join_cgroup(plan, sync),
    };
    rootfs::mount_all(&plan.rootfs, &root, &sources, &mut enter_cgroup)?;
    drop(sources);
    enter_cgroup()?;
    rootfs::make_devices(&plan.rootfs, &root)?;
    let terminal = terminal::open(plan.program.process, &root)?;
    if let (Some(t), Some(_)) = (&terminal, &plan.rootfs.devices) {
        rootfs::device::show_console(&root, &t.peer)?;
    }
    set_names(plan)?;
    sysctl::apply(&plan.linux.sysctl)?;
    run_hooks_before_pivot(plan, sync)?;
    rootfs::protect(&plan.rootfs, &root)?;
    let identity = user::resolve(&plan.program.process.user, &root, !plan.program.has_home)?;
    make_working_directory(&plan.program, &root)?;
    rootfs::change_into(&plan.rootfs, &root)?;
    drop(root);
    let hooks = plan.spec.hooks.as_ref().map_or(&[][..], |h| &h.start_container);
    let before_start = || match hooks.is_empty() {
        true => Ok(()),
        false => hook::run_all("startContainer", hooks, &state(plan, "created")),
    };
    let finish = Finish { identity, fixed_groups, label, terminal, limits: !user_namespace, wait: true };
    run(&plan.program, finish, stdio, sync, before_start)
}

/// Waits for the id maps and becomes the user that the new user namespace calls root, to whom all that is made in the
/// container belongs.
fn become_root(plan: &Plan<'_>, sync: &InitEnd) -> Result<()> {
    if plan.maps.is_some() && !matches!(sync.receive()?, ToInit::Mapped) {
        return Err(Error::internal("expected the id maps"));
    }
    let unmapped = |call: &str, e: nix::Error| match e {
        nix::Error::EINVAL => Error::invalid(format!("{call}: the user namespace maps no root")),
        e => Error::os(call, e as i32),
    };
    prctl::set_group(0).map_err(|e| unmapped("setresgid(0)", e))?;
    prctl::set_user(0).map_err(|e| unmapped("setresuid(0)", e))
}

/// Makes and enters a time namespace: its clocks cannot be set any more once a process is in it.
fn new_time(plan: &Plan<'_>) -> Result<()> {
    unshare(CLONE_NEWTIME).context(|| "unshare(CLONE_NEWTIME)".into())?;
    for (clock, offset) in &plan.linux.time_offsets {
        let text = format!("{clock} {} {}", offset.secs, offset.nanosecs);
        std::fs::write("/proc/self/timens_offsets", &text)
            .context(|| format!("write(\"/proc/self/timens_offsets\", {text:?})"))?;
    }
    let path = "/proc/self/ns/time_for_children";
    let file = File::open(path).context(|| format!("open({path:?})"))?;
    setns(file.as_fd(), CLONE_NEWTIME).context(|| "setns(CLONE_NEWTIME)".into())
}

/// The cgroup namespace comes last: it shows as its root the cgroup that the process is in when it is made.
fn join_cgroup(plan: &Plan<'_>, sync: &InitEnd) -> Result<()> {
    let ToInit::Enter(files) = sync.receive()? else { return Err(Error::internal("expected the cgroup")) };
    if !files.is_empty() {
        cgroup::join_self(&files.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    }
    if plan.namespaces.new & CLONE_NEWCGROUP != 0 {
        unshare(CLONE_NEWCGROUP).context(|| "unshare(CLONE_NEWCGROUP)".into())?;
    }
    plan.namespaces.join(CLONE_NEWCGROUP)
}

/// Names of a uts namespace that is joined are its owner's.
fn set_names(plan: &Plan<'_>) -> Result<()> {
    let own = plan.namespaces.new & CLONE_NEWUTS != 0;
    if own && !plan.spec.hostname.is_empty() {
        nix::unistd::sethostname(&plan.spec.hostname).context(|| format!("sethostname({:?})", plan.spec.hostname))?;
    }
    if own && !plan.spec.domainname.is_empty() {
        let name = &plan.spec.domainname;
        prctl::set_domain_name(name).context(|| format!("setdomainname({name:?})"))?;
    }
    if plan.namespaces.new & CLONE_NEWNET != 0 {
        prctl::raise_loopback().context(|| "ioctl(SIOCSIFFLAGS, \"lo\")".into())?;
    }
    Ok(())
}

fn run_hooks_before_pivot(plan: &Plan<'_>, sync: &InitEnd) -> Result<()> {
    let Some(hooks) = &plan.spec.hooks else { return Ok(()) };
    if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
        sync.hooks()?;
        if !matches!(sync.receive()?, ToInit::Resume) {
            return Err(Error::internal("expected the end of the hooks"));
        }
    }
    match hooks.create_container.is_empty() {
        true => Ok(()),
        false => {
            let state = state(plan, "creating");
            hook::run_all("createContainer", &hooks.create_container, &state)
        }
    }
}

/// What hooks in the container are told; the number is that of their own pid namespace.
fn state(plan: &Plan<'_>, status: &str) -> Vec<u8> {
    hook::state(plan.id, plan.spec, status, std::process::id() as i32, &plan.bundle)
}

fn make_working_directory(program: &Program<'_>, root: &Root) -> Result<()> {
    let cwd = Path::new(&program.process.cwd);
    if cwd == Path::new("/") {
        return Ok(());
    }
    match root.make_directory(cwd, 0o755) {
        // A read-only root or a place that only the user may enter: chdir(2) will tell.
        Ok(_) | Err(nix::Error::EROFS | nix::Error::EACCES) => Ok(()),
        Err(e) => {
            let error = Error::os(format!("mkdir of the working directory {cwd:?}"), e as i32);
            // A path that cannot be is told as one that is not there.
            Err(if e == nix::Error::ENOTDIR { error.with_kind(Kind::CommandNotFound) } else { error })
        }
    }
}

fn enter(
    program: &Program<'_>,
    inside: &Inside<'_>,
    stdio: Option<&[OwnedFd; 3]>,
    sync: &InitEnd,
) -> Result<Infallible> {
    outside(program)?;
    scheduling::bind(program.affinity.initial.as_ref())?;
    if let Some(entry) = inside.cgroup {
        let late = super::late_entry(entry, inside.in_cgroup)?;
        let files: Vec<_> = entry.join.iter().chain(&late).map(AsFd::as_fd).collect();
        if !files.is_empty() {
            cgroup::join_self(&files)?;
        }
    }
    scheduling::bind(program.affinity.last.as_ref())?;
    let label = ExecLabel::open(program.process)?;
    let user_namespace = inside.kinds & CLONE_NEWUSER != 0;
    let fixed_groups = rights::has_fixed_groups(&inside.init.to_string());
    join_all(inside, program.privileged)?;
    if user_namespace {
        // Everything is owned by the namespace's root; the host's root is nobody here.
        prctl::set_group(0).context(|| "setresgid(0)".into())?;
        prctl::set_user(0).context(|| "setresuid(0)".into())?;
    }
    let root = Root::open(Path::new("/")).context(|| "open(\"/\") in the container".into())?;
    nix::unistd::chdir("/").context(|| "chdir(\"/\")".into())?;
    let terminal = terminal::open(program.process, &root)?;
    let identity = user::resolve(&program.process.user, &root, !program.has_home)?;
    drop(root);
    let finish = Finish { identity, fixed_groups, label, terminal, limits: !inside.wait, wait: inside.wait };
    run(program, finish, stdio, sync, || Ok(()))
}

/// The pid namespace is entered by the caller before this process is made: entering it here would hold for children
/// only.
fn join_all(inside: &Inside<'_>, privileged: bool) -> Result<()> {
    join_kinds(inside, inside.kinds & !CLONE_NEWPID & !inside.entered, privileged)
}

fn join_kinds(inside: &Inside<'_>, kinds: c_int, privileged: bool) -> Result<()> {
    if kinds == 0 {
        return Ok(());
    }
    if let Some(fd) = inside.init_fd {
        match setns(fd, kinds) {
            // Before Linux 5.8 only namespace files are known.
            Err(nix::Error::EINVAL) => {}
            result => return result.context(|| format!("setns(pidfd of {}, {kinds:#x})", inside.init)),
        }
    }
    let mut list = namespace::open_of(inside.init, kinds)?;
    if !privileged {
        // The rights over all the others come with the user namespace.
        order::sort_by_key(&mut list, |j| j.kind != CLONE_NEWUSER);
    }
    for Joined { kind, path, file } in list {
        setns(file.as_fd(), kind).context(|| format!("setns({path:?})"))?;
    }
    Ok(())
}

/// What the last steps need.
struct Finish {
    identity: Identity,
    /// Whether its user namespace lets nobody change groups.
    fixed_groups: bool,
    label: Option<ExecLabel>,
    terminal: Option<Terminal>,
    /// Whether this process sets its limits and its scheduling itself; in a user namespace it has no right to raise them any more.
    limits: bool,
    wait: bool,
}

/// The last steps of every process, in its root already.
fn run(
    program: &Program<'_>,
    finish: Finish,
    stdio: Option<&[OwnedFd; 3]>,
    sync: &InitEnd,
    before_start: impl FnOnce() -> Result<()>,
) -> Result<Infallible> {
    let Finish { identity, fixed_groups, label, terminal, limits, wait } = finish;
    let process = program.process;
    // A directory that root may not enter (NFS) the user perhaps may.
    let enter_as_user = match change_directory(program) {
        Err(e) if e.errno() == Some(libc::EACCES) => true,
        result => result.map(|()| false)?,
    };
    let _ = nix::unistd::setsid(); // fails for a leader only, which is as good
    connect(stdio, terminal.as_ref(), identity.uid)?;
    fd::close_on_exec_from(3)?;
    if let Some(label) = label {
        label.apply()?;
    }
    if limits {
        rlimit::apply(0, &program.limits)?;
        program.scheduling.apply(0)?;
    }
    program.own.apply()?;
    nix::sys::stat::umask(Mode::from_bits_truncate(process.user.umask.unwrap_or(0o022) as libc::mode_t));
    let mut capabilities = program.capabilities;
    capabilities.limit()?;
    if process.no_new_privileges {
        prctl::set_no_new_privs().context(|| "prctl(PR_SET_NO_NEW_PRIVS)".into())?;
    }
    change_user(&identity, fixed_groups)?;
    if enter_as_user {
        change_directory(program)?;
    }
    let mut env = program.env.clone();
    if !program.has_home {
        let home = if identity.home.is_empty() { "/" } else { identity.home.as_str() };
        env.push(CString::new(format!("HOME={home}")).context_nul()?);
    }
    let path = program::find(&program.args[0], &env)?;
    // Without no_new_privs the kernel takes a filter only from a process with CAP_SYS_ADMIN, so the capabilities go
    // after it.
    let filter_first = program.filter.is_some() && !process.no_new_privileges;
    if filter_first {
        capability::make_permitted_effective().context(|| "capset()".into())?;
    } else {
        capabilities.apply().context(|| "capset()".into())?;
    }
    clone::reset_signals();
    sync.ready(terminal.as_ref().map(|t| t.master.as_fd()))?;
    drop(terminal);
    if wait {
        sync.await_start()?;
    }
    before_start()?;
    fd::pass_on(program.preserved_fds)?; // hooks before this have no use for them
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, envp) = (pointers(&program.args), pointers(&env));

    // ---- Point of no return: no allocation, no destructor but one close, no call but these. ----
    let last = |step: LastStep, errno: i32| {
        sync.failed_last(step, errno);
        clone::exit(1)
    };
    match program.filter.as_ref().map(Filter::install) {
        Some(Err(errno)) => {
            last(LastStep::Filter, errno);
        }
        Some(Ok(Some(listener))) => {
            if let Err(errno) = sync.listener(listener.as_fd()) {
                last(LastStep::Listener, errno);
            }
            // Now, not by execve(2): that may be the call which waits for the agent, see `Agent::give`.
            drop(listener);
        }
        Some(Ok(None)) | None => {}
    }
    if filter_first && let Err(e) = capabilities.apply() {
        last(LastStep::Capabilities, e as i32);
    }
    // SAFETY: both lists end with a null pointer, and their strings are owned by `program` and `env`, which live.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    last(LastStep::Execve, nix::errno::Errno::last_raw());
    clone::exit(1)
}

fn change_directory(program: &Program<'_>) -> Result<()> {
    let cwd = &program.process.cwd;
    nix::unistd::chdir(program.cwd.as_c_str()).map_err(|e| {
        let text = format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", crate::error::errno_text(e as i32));
        let missing = matches!(e, nix::Error::ENOENT | nix::Error::ENOTDIR);
        Error::new(if missing { Kind::CommandNotFound } else { Kind::Os(e as i32) }, text)
    })?;
    // A path through a descriptor of the host that leaked in would lead out of the root; the kernel says so by a
    // path that does not start there (CVE-2024-21626).
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: pointer and length describe the buffer.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if length > 0 && buffer[0] == b'/' {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, format!("working directory {cwd:?} is outside of the container")))
}

/// Gives the process its standard descriptors, and to its user those that a name like `/dev/stdout` opens anew. The host's
/// null device gives way to the container's own, for its root could change the mode and owner of what is behind a
/// descriptor.
fn connect(stdio: Option<&[OwnedFd; 3]>, terminal: Option<&Terminal>, uid: u32) -> Result<()> {
    if let Some(t) = terminal {
        pty::set_controlling(t.peer.as_fd()).context(|| "ioctl(TIOCSCTTY)".into())?;
        fd::set_stdio([t.peer.as_fd(), t.peer.as_fd(), t.peer.as_fd()])?;
    } else if let Some([a, b, c]) = stdio {
        fd::set_stdio([a.as_fd(), b.as_fd(), c.as_fd()])?;
    }
    let mut null = None;
    for fd in fd::own_stdio() {
        match descriptor::kind(fd) {
            descriptor::Kind::Null => {
                if let Some(own) = null.get_or_insert_with(own_null) {
                    fd::pass_as(own.as_fd(), fd)?;
                }
            }
            descriptor::Kind::Pipe | descriptor::Kind::Socket | descriptor::Kind::Terminal
                if uid != 0 && nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_uid != uid) =>
            {
                // What belongs to somebody else for good stays theirs.
                let _ = nix::unistd::fchown(fd, Some(nix::unistd::Uid::from_raw(uid)), None);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The null device of the root that this process is in, if there is one.
fn own_null() -> Option<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open("/dev/null", flags, Mode::empty()).ok()?;
    (descriptor::kind(fd.as_fd()) == descriptor::Kind::Null).then_some(fd)
}

fn change_user(identity: &Identity, fixed_groups: bool) -> Result<()> {
    match prctl::set_groups(&identity.groups) {
        // Groups that the caller was in stay then, and are nobody's in there.
        Err(nix::Error::EPERM) if fixed_groups && identity.groups.is_empty() => {}
        Err(nix::Error::EPERM) if fixed_groups => {
            let text = format!("additional groups {:?}: the user namespace lets nobody change groups", identity.groups);
            return Err(Error::new(Kind::Denied, text));
        }
        result => result.map_err(|e| not_mapped("setgroups", &format!("{:?}", identity.groups), e))?,
    }
    prctl::set_group(identity.gid).map_err(|e| not_mapped("setresgid", &identity.gid.to_string(), e))?;
    if identity.uid == 0 {
        return prctl::set_user(0).context(|| "setresuid(0)".into());
    }
    prctl::set_keep_capabilities(true).context(|| "prctl(PR_SET_KEEPCAPS)".into())?;
    prctl::set_user(identity.uid).map_err(|e| not_mapped("setresuid", &identity.uid.to_string(), e))
    // execve(2) clears PR_SET_KEEPCAPS.
}

/// The kernel says EINVAL to an id that the user namespace has not.
fn not_mapped(call: &str, ids: &str, e: nix::Error) -> Error {
    match e {
        nix::Error::EINVAL => Error::invalid(format!("{call}({ids}): not an id of the user namespace")),
        e => Error::os(format!("{call}({ids})"), e as i32),
    }
}

trait NulContext<T> {
    fn context_nul(self) -> Result<T>;
}

impl<T> NulContext<T> for std::result::Result<T, std::ffi::NulError> {
    fn context_nul(self) -> Result<T> {
        self.map_err(|_| Error::invalid("a text has a NUL byte"))
    }
}
