//! The container's cgroup in whatever layout the host has: v1, v2 (unified) or both (hybrid).
//!
//! A container gets a directory in every mounted hierarchy, so that inside of it no hierarchy shows the host's root.
//! That is paid for by [`Entry`]: a process that moves itself by writing `0` to the `tasks` files of version 1 needs no
//! lock over all processes, and into version 2 it is born. Being moved by somebody else, or through `cgroup.procs`,
//! takes that lock, which costs a grace period of RCU: several milliseconds against a fifth of one for everything else
//! here, measured on Linux 6.18.
//!
//! Paths start at each hierarchy's mount, whether they begin with a slash or not, and not at this process's own cgroup:
//! limits that somebody set on the engine's service must not become those of all containers.

mod device;
pub mod file;
mod freezer;
mod layout;
mod make;
mod owned;
mod plan;
mod stats;
pub mod systemd;
mod tree;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use crate::api::oci::runtime::{DeviceRule, Resources};
use crate::api::shim::Stats;
use crate::engine::rights;
use crate::error::{Error, Kind, Result};
use crate::utils::sys::{clone, eventfd};
use freezer::Freezer;
use layout::Layout;
pub use layout::{Hierarchy, Version, all, of_process, of_self};
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use plan::{Failure, Write};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    layout: &'static Layout,
    /// Begins with a slash and has no empty component.
    path: String,
    /// The hierarchies in which it has a directory.
    present: Vec<&'static Hierarchy>,
    /// Whether those that the user may not write to are done without.
    lenient: bool,
    /// The unit of systemd that it belongs to.
    unit: Option<String>,
}

/// How the first process gets into the cgroup.
#[derive(Debug)]
pub struct Entry {
    /// For clone3(2) with CLONE_INTO_CGROUP: the v2 directory (Linux 5.7), also in the hybrid layout. `None` where the
    /// host has no v2 or the kernel no such clone.
    pub clone_into: Option<OwnedFd>,
    /// Files opened for writing, into each of which the process itself writes `0` before it leaves the host's
    /// namespaces (the `tasks` files of v1; `cgroup.procs` of v2 where CLONE_INTO_CGROUP is missing). A thread that
    /// moves itself needs no lock over all processes in newer kernels, so this is much cheaper than being moved.
    pub join: Vec<OwnedFd>,
}

/// How long the kernel gets to take back what a removed cgroup had.
pub const LATE: Duration = Duration::from_secs(2);
/// How long processes get to freeze, and to die.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Gives real-time processes `runtime` of each `period` microseconds in every cgroup above `cgroups_path`, which are made
/// where they are missing; what is 0 stays. A cgroup can only pass on what it has, and a new one has none. What the kernel
/// refuses is tried again for `patience`. Nothing happens where version 1 or the kernel's part of it is missing.
///
/// # Errors
/// The failing call: EINVAL where the directory above has not as much to give, or those below have been given more.
pub fn give_realtime(cgroups_path: &str, period: i64, runtime: i64, patience: Duration) -> Result<()> {
    let path = normalise(cgroups_path)?;
    let is_possible = |h: &&Hierarchy| h.version == Version::V1 && h.mount.join(v1::RT_RUNTIME).exists();
    let Some(hierarchy) = Layout::host()?.with("cpu").filter(is_possible) else { return Ok(()) };
    make::make_parents(hierarchy, &path)?;
    for (end, _) in path.match_indices('/').skip(1) {
        let directory = hierarchy.directory(&path[..end]);
        let set = |name: &str, value: i64| {
            let file = directory.join(name);
            let value = value.to_string();
            match value == "0" || file::read(&file).is_some_and(|now| now.trim() == value) {
                true => Ok(()),
                false => file::write(&file, &value),
            }
        };
        let late = |name: &str, value: i64| set(name, value).or_else(|e| again(e, patience, || set(name, value)));
        // A period that is shorter than the old runtime fits after the new one.
        let first = set(v1::RT_PERIOD, period);
        late(v1::RT_RUNTIME, runtime)?;
        first.or_else(|_| late(v1::RT_PERIOD, period))?;
    }
    Ok(())
}

/// Tries again what `failed` with EINVAL, until it fails for another reason or for longer than `patience`.
fn again(failed: Error, patience: Duration, mut write: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut result = Err(failed);
    while let Err(e) = &result
        && e.errno() == Some(libc::EINVAL)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(10));
        result = write();
    }
    result
}

impl Cgroup {
    /// Makes the directories for `cgroups_path` (absolute: below each hierarchy's mount; made with all parents, which
    /// stay). A relative path means the same. An existing cgroup of that name that holds processes is an error
    /// (`Kind::Exists`); an empty one is made anew, so that no limit of an earlier run is left.
    ///
    /// # Errors
    /// The failing call; what was made is removed again. `Kind::Unsupported` for systemd's form `slice:prefix:name`.
    pub fn create(cgroups_path: &str) -> Result<Cgroup> {
        let mut cgroup = Cgroup::begin(cgroups_path, false)?;
        match cgroup.complete() {
            Ok(()) => Ok(cgroup),
            Err(e) => {
                let _ = cgroup.destroy(PATIENCE); // the first error is the one to report
                Err(e)
            }
        }
    }

    /// The first half of [`Cgroup::create`]: the v2 directory only, in which a process can be born. The directories of
    /// v1 take longer, and their processes join later anyway, so they can be made while the process prepares itself.
    /// On a v2 host nothing is left for [`Cgroup::complete`], on a v1 host everything.
    ///
    /// With `lenient` hierarchies are passed over that the user may not write to; limits that would be set there are
    /// refused, and device rules left out. Where it is none that the user may write to, the cgroup is made below the one
    /// that this process is in, as far as that was handed to the user.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn begin(cgroups_path: &str, lenient: bool) -> Result<Cgroup> {
        static NONE: Layout = Layout { hierarchies: Vec::new() };
        let layout = match Layout::host() {
            Err(e) if lenient && e.kind() == Kind::Unsupported => &NONE,
            layout => layout?,
        };
        let mut path = normalise(cgroups_path)?;
        if lenient {
            path = owned::place(layout, path)?;
        }
        let mut cgroup = Cgroup { layout, path, present: Vec::new(), lenient, unit: None };
        let v2: Vec<&Hierarchy> = layout.v2().into_iter().filter(|h| cgroup.may_be_made(h)).collect();
        make::make(v2.iter().copied(), &cgroup.path)?;
        cgroup.present = v2;
        Ok(cgroup)
    }

    fn may_be_made(&self, hierarchy: &Hierarchy) -> bool {
        !self.lenient || owned::is_possible(hierarchy, &self.path)
    }

    /// The second half of [`Cgroup::create`].
    ///
    /// # Errors
    /// As [`Cgroup::create`]; what [`Cgroup::begin`] made stays.
    pub fn complete(&mut self) -> Result<()> {
        let v1 = self.layout.hierarchies.iter().filter(|h| h.version == Version::V1);
        let mut all: Vec<&Hierarchy> = v1.filter(|h| self.may_be_made(h)).collect();
        make::make(all.iter().copied(), &self.path)?;
        all.append(&mut self.present); // which is version 2
        self.present = all;
        Ok(())
    }

    /// An existing cgroup, after a restart. Of others than the host's root only what is their own.
    ///
    /// # Errors
    /// `Kind::NotFound` when none of its directories exists.
    pub fn open(cgroups_path: &str) -> Result<Cgroup> {
        let layout = Layout::host()?;
        let path = normalise(cgroups_path)?;
        let lenient = !rights::is_host_root();
        let is_there = |h: &&Hierarchy| owned::exists(&h.directory(&path), lenient);
        let present: Vec<_> = layout.hierarchies.iter().filter(is_there).collect();
        if present.is_empty() {
            return Err(Error::not_found(format!("cgroup {path:?} does not exist")));
        }
        Ok(Cgroup { layout, path, present, lenient, unit: None })
    }

    /// The cgroup of the unit `name`, which systemd has just made with the process `pid` in it; in hierarchies that
    /// systemd leaves alone it is made here. `lenient` as for [`Cgroup::begin`].
    ///
    /// # Errors
    /// The failing call; what systemd made stays.
    pub fn of_unit(name: &str, pid: i32, lenient: bool) -> Result<Cgroup> {
        let layout = Layout::host()?;
        let is_systemds = |h: &Hierarchy| h.version == Version::V2 || h.name.as_deref() == Some("systemd");
        let found = of_process(pid)?.into_iter().find(|(h, directory)| is_systemds(h) && directory.ends_with(name));
        let path =
            found.and_then(|(h, directory)| Some(format!("/{}", directory.strip_prefix(&h.mount).ok()?.to_str()?)));
        let path =
            path.ok_or_else(|| Error::new(Kind::Remote, format!("systemd has not moved process {pid} to {name:?}")))?;
        let mut cgroup = Cgroup { layout, path, present: Vec::new(), lenient, unit: Some(name.to_owned()) };
        for hierarchy in &layout.hierarchies {
            if hierarchy.directory(&cgroup.path).is_dir() {
                cgroup.present.push(hierarchy);
            } else if !is_systemds(hierarchy) && cgroup.may_be_made(hierarchy) {
                make::make([hierarchy], &cgroup.path)?;
                cgroup.present.push(hierarchy);
            }
        }
        Ok(cgroup)
    }

    /// The same as one that belongs to the unit `name` of systemd.
    pub fn with_unit(self, name: &str) -> Cgroup {
        Cgroup { unit: (!name.is_empty()).then(|| name.to_owned()), ..self }
    }

    /// Applies limits and device rules. Before the first process is in.
    ///
    /// # Errors
    /// Names the limit, the file and the errno; `Kind::Unsupported` where this layout lacks a limit.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        self.limit(resources, LATE, &mut |_| {})?;
        match self.devices(&resources.devices, false) {
            // In a user namespace the kernel makes no device nodes anyway, and shows those of the host as they are.
            Err(e) if self.lenient && (e.kind() == Kind::Unsupported || owned::is_refused(&e)) => {
                log::debug!("device rules are left out: {e}");
                Ok(())
            }
            result => result,
        }
    }

    /// Changes limits while processes run. Fields that are unset stay; so do device rules when there are none.
    ///
    /// # Errors
    /// As [`Cgroup::apply`]. What was changed before is as it was then, but for lists of devices.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if let Some(unit) = &self.unit {
            systemd::update(unit, resources)?;
        }
        let mut before = Vec::new();
        // Whoever updates has other work, and may try again.
        let changed = self.limit(resources, Duration::ZERO, &mut |path| {
            // Of one line and no list: that can be written as it is read.
            let old = file::read(path).filter(|old| !old.trim().is_empty() && !old.contains(':'));
            before.extend(old.filter(|old| old.lines().count() == 1).map(|old| (path.to_owned(), old)));
        });
        changed.and_then(|()| self.devices(&resources.devices, true)).inspect_err(|_| {
            for (path, old) in before.iter().rev() {
                if let Err(e) = file::write(path, old.trim()) {
                    log::warn!("{path:?} is not as it was: {e}");
                }
            }
        })
    }

    /// Descriptors with which a new process enters.
    ///
    /// # Errors
    /// The failing call.
    pub fn entry(&self) -> Result<Entry> {
        let mut entry = Entry { clone_into: None, join: Vec::with_capacity(self.present.len()) };
        for hierarchy in &self.present {
            let directory = self.directory(hierarchy);
            let open = |path: &Path, flags: OFlag| {
                open(path, flags | OFlag::O_CLOEXEC, Mode::empty())
                    .map_err(|e| Error::os(format!("open({path:?}, {flags:?})"), e as i32))
            };
            match hierarchy.version {
                Version::V1 => entry.join.push(open(&directory.join("tasks"), OFlag::O_WRONLY)?),
                Version::V2 if clone::can_start_in_cgroup() => {
                    entry.clone_into = Some(open(&directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?);
                }
                Version::V2 => entry.join.push(open(&directory.join("cgroup.procs"), OFlag::O_WRONLY)?),
            }
        }
        Ok(entry)
    }

    /// Freezes, and waits until all processes are.
    ///
    /// # Errors
    /// `Kind::Timeout` when they are not in 10 s; they are thawed again then.
    pub fn freeze(&self) -> Result<()> {
        self.freezer()?.freeze(PATIENCE).map_err(|e| e.context(format!("freeze cgroup {:?}", self.path)))
    }

    /// Thaws.
    ///
    /// # Errors
    /// The failing call.
    pub fn thaw(&self) -> Result<()> {
        self.freezer()?.thaw()
    }

    /// Whether it was frozen and not thawed since. False where nothing can freeze it.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_ok_and(|freezer| freezer.is_frozen())
    }

    /// All processes, also in cgroups below.
    ///
    /// # Errors
    /// The failing call.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let preferred = self.v2().or_else(|| self.with("pids")).or_else(|| self.with("freezer"));
        match preferred.or(self.present.first().copied()) {
            Some(hierarchy) => self.processes_in(hierarchy),
            None => Ok(Vec::new()),
        }
    }

    /// Sends SIGKILL to all processes (cgroup.kill of v2, Linux 5.14, else one by one until none is left) and thaws.
    ///
    /// # Errors
    /// The failing call; `Kind::Timeout` when processes are left at `deadline`, after killing one by one.
    pub fn kill(&self, deadline: Instant) -> Result<()> {
        if let Some(v2) = self.v2()
            && file::write(&self.directory(v2).join("cgroup.kill"), "1").is_ok()
        {
            // Frozen processes die too; what is made in the cgroup later must not be born frozen.
            let _ = self.thaw();
            return Ok(());
        }
        // Nobody forks any more; a bomb would outrun the list of its processes. Nothing here is going to live on.
        if let Some(pids) = self.with("pids") {
            let _ = file::write(&self.directory(pids).join("pids.max"), "1"); // the freezer is the other way
        }
        loop {
            let freezer = self.freezer().ok();
            if let Some(freezer) = &freezer {
                let _ = freezer.freeze(Duration::from_millis(500)); // without it the loop takes more rounds
            }
            let processes = self.processes();
            for &pid in processes.iter().flatten() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended by itself
            }
            if let Some(freezer) = &freezer {
                freezer.thaw()?;
            }
            let first = match processes?.first() {
                None => return Ok(()),
                Some(&pid) => pid,
            };
            if Instant::now() >= deadline {
                return Err(Error::new(Kind::Timeout, format!("processes are left in cgroup {:?}", self.path)));
            }
            wait_for_end(first, Duration::from_millis(100));
        }
    }

    /// Resource use.
    ///
    /// # Errors
    /// `Kind::NotFound` when the cgroup is gone.
    pub fn stats(&self) -> Result<Stats> {
        let mut out = Stats::default();
        if !self.present.iter().any(|h| self.directory(h).is_dir()) {
            return Err(Error::not_found(format!("cgroup {:?} does not exist", self.path)));
        }
        let with = |controller| self.with(controller).map(|h| (h.version, self.directory(h)));
        match with("cpuacct") {
            Some((_, directory)) => stats::cpuacct(&directory, &mut out),
            None => self.v2().map(|h| stats::cpu_v2(&self.directory(h), &mut out)).unwrap_or(()),
        }
        if let Some((Version::V1, directory)) = with("cpu") {
            stats::cpu_v1(&directory, &mut out);
        }
        match with("memory") {
            Some((Version::V1, directory)) => stats::memory_v1(&directory, &mut out),
            Some((Version::V2, directory)) => stats::memory_v2(&directory, &mut out),
            None => {}
        }
        match with("pids") {
            Some((_, directory)) => stats::pids(&directory, &mut out),
            None => out.pids = self.processes().map_or(0, |list| list.len() as u64),
        }
        match (with("blkio"), with("io")) {
            (Some((_, directory)), _) => stats::blkio(&directory, &mut out),
            (None, Some((_, directory))) => stats::io(&directory, &mut out),
            (None, None) => {}
        }
        Ok(out)
    }

    /// How often the kernel killed for memory, in cgroups below too.
    pub fn oom_kills(&self) -> u64 {
        let Some(memory) = self.with("memory") else { return 0 };
        let directory = self.directory(memory);
        let (name, hierarchical) = match memory.version {
            // The field is there since Linux 4.13 and counts each cgroup by itself.
            Version::V1 => ("memory.oom_control", false),
            // Counts the whole tree, unless the host mounts with memory_localevents.
            Version::V2 => ("memory.events", true),
        };
        let own = file::read(&directory.join(name)).and_then(|text| file::keyed(&text, "oom_kill")).unwrap_or(0);
        if hierarchical {
            return own;
        }
        let mut sum = 0u64;
        let walked = tree::walk(&directory, |cgroup| {
            let file = nix::fcntl::openat(cgroup, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
            let mut text = String::new();
            if file.is_ok_and(|fd| std::io::Read::read_to_string(&mut File::from(fd), &mut text).is_ok()) {
                sum = sum.saturating_add(file::keyed(&text, "oom_kill").unwrap_or(0));
            }
            Ok(())
        });
        if walked.is_ok() { sum } else { own }
    }

    /// A descriptor that polls readable (v1: eventfd registered with memory.oom_control) or with POLLPRI (v2:
    /// memory.events) when the kernel runs out of memory in it. `None` without a memory controller. Version 1 also
    /// tells the cgroup's removal: [`Cgroup::oom_kills`] says what it was.
    pub fn oom_notifier(&self) -> Option<OwnedFd> {
        let memory = self.with("memory")?;
        let directory = self.directory(memory);
        if memory.version == Version::V2 {
            return File::open(directory.join("memory.events")).ok().map(OwnedFd::from);
        }
        let control = File::open(directory.join("memory.oom_control")).ok()?;
        let event = eventfd::EventFd::new().ok()?.into_fd();
        let registration = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        file::write(&directory.join("cgroup.event_control"), &registration).ok()?;
        Some(event)
    }

    /// Kills what is left, waits so long for its end, and removes the directories with all below.
    ///
    /// # Errors
    /// `Kind::Timeout` when processes are left after that; else the first failing call, after everything was tried.
    pub fn destroy(self, patience: Duration) -> Result<()> {
        let removed = self.remove(patience);
        let stopped = self.unit.as_deref().map_or(Ok(()), systemd::stop);
        removed.and(stopped)
    }

    fn remove(&self, patience: Duration) -> Result<()> {
        let mut left: Vec<PathBuf> = self.present.iter().map(|h| self.directory(h)).collect();
        // The usual case: nobody is in it and it has no children.
        left.retain(|d| !is_removed(std::fs::remove_dir(d)));
        if left.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + patience;
        let mut result = self.kill(deadline);
        if let Some(v2) = self.v2() {
            let events = self.directory(v2).join("cgroup.events");
            result = result.and(file::wait_for(&events, "populated 0", deadline).map(drop));
        }
        let mut pause = Duration::from_millis(1);
        loop {
            let mut first = None;
            left.retain(|d| match tree::remove(d) {
                Ok(()) => false,
                Err(e) => {
                    first.get_or_insert(e);
                    true
                }
            });
            let Some(e) = first else { return Ok(()) };
            let over = e.errno() != Some(libc::EBUSY) || Instant::now() >= deadline;
            // A process that has left version 2's cgroup but not this one, or one that has not quite ended.
            let (mut last, mut unknown) = (None, false);
            for hierarchy in &self.present {
                let processes = self.processes_in(hierarchy);
                unknown |= processes.as_ref().is_err_and(|e| e.errno() != Some(libc::ENOENT));
                for pid in processes.unwrap_or_default() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended by itself
                    last = Some(pid);
                }
            }
            if over {
                let e = match last {
                    Some(pid) => Error::new(Kind::Timeout, format!("process {pid} does not end after SIGKILL")),
                    None if unknown => e.with_kind(Kind::Timeout),
                    None => result.err().filter(|e| e.kind() != Kind::Timeout).unwrap_or(e),
                };
                return Err(e.context(format!("remove cgroup {:?}", self.path)));
            }
            match last {
                Some(pid) => wait_for_end(pid, pause),
                None => std::thread::sleep(pause), // nothing tells when the last reference goes
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Whether it has a directory at all.
    pub fn is_made(&self) -> bool {
        !self.present.is_empty()
    }

    /// The unit of systemd that it belongs to.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The path in a `/proc/PID/cgroup` sense, for logs.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Every hierarchy in which it exists, with its directory: what a container sees at `/sys/fs/cgroup`.
    pub fn directories(&self) -> impl Iterator<Item = (&'static Hierarchy, PathBuf)> + '_ {
        self.present.iter().map(|h| (*h, self.directory(h)))
    }

    fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.directory(&self.path)
    }

    fn with(&self, controller: &str) -> Option<&'static Hierarchy> {
        self.present.iter().copied().find(|h| h.has(controller))
    }

    fn v2(&self) -> Option<&'static Hierarchy> {
        self.present.iter().copied().find(|h| h.version == Version::V2)
    }

    fn freezer(&self) -> Result<Freezer> {
        if let Some(v2) = self.v2() {
            let directory = self.directory(v2);
            if directory.join("cgroup.freeze").exists() {
                return Ok(Freezer::V2(directory));
            }
        }
        match self.with("freezer") {
            Some(hierarchy) => Ok(Freezer::V1(self.directory(hierarchy))),
            None => Err(Error::new(Kind::Unsupported, "the host has no way to freeze a cgroup")),
        }
    }

    fn processes_in(&self, hierarchy: &Hierarchy) -> Result<Vec<i32>> {
        let mut out = Vec::new();
        tree::walk(&self.directory(hierarchy), |cgroup| tree::read_processes(cgroup, &mut out))?;
        Ok(out)
    }

    /// `about_to` is told of each file before it is written.
    fn limit(&self, resources: &Resources, patience: Duration, about_to: &mut dyn FnMut(&Path)) -> Result<()> {
        let place = |controller: &str| match controller {
            "" => self.v2(),
            controller => self.with(controller),
        };
        let read = |controller: &str, name: &str| file::read(&self.directory(place(controller)?).join(name));
        let mut retry: Option<Write> = None;
        for write in plan::plan(resources, self.layout, &read)? {
            let hierarchy = match place(write.controller) {
                Some(hierarchy) => hierarchy,
                // No limit: what it is without a cgroup.
                None if self.lenient && matches!(write.value.as_str(), "max" | "-1") => continue,
                None if self.lenient => {
                    let text = format!("limit {}: this user may not make cgroups in that hierarchy", write.limit);
                    return Err(Error::new(Kind::Denied, text));
                }
                None => {
                    let text = format!("limit {}: cgroup {:?} is not in that hierarchy", write.limit, self.path);
                    return Err(Error::not_found(text));
                }
            };
            about_to(&self.directory(hierarchy).join(&*write.file));
            match (self.write(hierarchy, &write), write.failure) {
                (Ok(()), _) => {}
                (Err(_), Failure::AfterNext) => {
                    retry = Some(write);
                    continue;
                }
                (Err(e), Failure::Optional) if e.kind() == Kind::Unsupported => {}
                (Err(e), Failure::Late) => again(e, patience, || self.write(hierarchy, &write))?,
                (Err(e), _) => return Err(e),
            }
            if let Some(write) = retry.take() {
                self.write(hierarchy, &write)?;
            }
        }
        Ok(())
    }

    fn write(&self, hierarchy: &Hierarchy, write: &Write) -> Result<()> {
        let path = self.directory(hierarchy).join(&*write.file);
        let mut result = file::write(&path, &write.value);
        if hierarchy.version == Version::V2 && missing(&result) && !write.controller.is_empty() {
            make::enable(hierarchy, &self.path, &[write.controller])?;
            result = file::write(&path, &write.value);
        }
        if missing(&result) {
            return Err(plan::unsupported(&write.limit, &format!("this kernel has no {:?}", write.file)));
        }
        result.map_err(|e| e.context(format!("set limit {}", write.limit)))
    }

    fn devices(&self, rules: &[DeviceRule], live: bool) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        let policy = device::Policy::new(rules)?;
        if let Some(hierarchy) = self.layout.v1("devices").and_then(|_| self.with("devices")) {
            let directory = self.directory(hierarchy);
            let exceptions = policy.exceptions()?;
            let writes = match file::read(&directory.join("devices.list")).filter(|_| live) {
                Some(current) => exceptions.changes(&current),
                None => exceptions.writes(),
            };
            for writes in writes.chunk_by(|a, b| a.0 == b.0) {
                let name = if writes[0].0 { "devices.allow" } else { "devices.deny" };
                file::write_each(&directory.join(name), writes.iter().map(|(_, text)| text.as_str()))
                    .map_err(|e| e.context("set device rules"))?;
            }
            return Ok(());
        }
        let Some(v2) = self.v2() else {
            return Err(Error::new(Kind::Unsupported, "device rules: the host has no cgroup controller devices"));
        };
        let directory = self.directory(v2);
        let fd = open(&directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|e| Error::os(format!("open({directory:?}, O_DIRECTORY)"), e as i32))?;
        policy.attach(fd.as_fd())
    }
}

/// Moves the calling single-threaded process through an [`Entry`].
///
/// # Errors
/// The failing call: ENOSPC for a cpuset without processors, EAGAIN when a pids limit above is reached.
pub fn join_self(files: &[BorrowedFd<'_>]) -> Result<()> {
    join(files, 0)
}

/// The same for another process, which has one thread.
///
/// # Errors
/// The failing call.
pub fn join(files: &[BorrowedFd<'_>], pid: i32) -> Result<()> {
    let number = pid.to_string();
    for file in files {
        nix::unistd::write(file, number.as_bytes())
            .map_err(|e| Error::os(format!("write(tasks, {number:?})"), e as i32))?;
    }
    Ok(())
}

/// Removes the cgroup `path` in every hierarchy in which it has neither processes nor cgroups of its own. Whoever makes
/// a cgroup in it at the same moment makes it again.
///
/// # Errors
/// The first failing call, after all were tried.
pub fn prune(path: &str) -> Result<()> {
    let path = normalise(path)?;
    let mut result = Ok(());
    for hierarchy in &Layout::host()?.hierarchies {
        let directory = hierarchy.directory(&path);
        match std::fs::remove_dir(&directory) {
            Err(e) if !matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EBUSY | libc::ENOTEMPTY)) => {
                result = result.and(Err(Error::io(format!("rmdir({directory:?})"), e)));
            }
            _ => {}
        }
    }
    result
}

fn missing(result: &Result<()>) -> bool {
    result.as_ref().is_err_and(|e| e.errno() == Some(libc::ENOENT))
}

fn is_removed(result: std::io::Result<()>) -> bool {
    match result {
        Ok(()) => true,
        Err(e) => e.raw_os_error() == Some(libc::ENOENT),
    }
}

/// Waits for the end of a process, or a little without a pidfd (Linux 5.3).
fn wait_for_end(pid: i32, limit: Duration) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    match crate::utils::sys::process::pidfd_open(pid) {
        Ok(fd) => {
            let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout); // the caller looks again
        }
        Err(e) if e.errno() == Some(libc::ESRCH) => {}
        Err(_) => std::thread::sleep(limit.min(Duration::from_millis(5))),
    }
}

/// The path with one leading slash and no empty or `.` components.
fn normalise(path: &str) -> Result<String> {
    if path.split(':').count() == 3 && !path.starts_with('/') {
        let text = format!("cgroup path {path:?} is for systemd, and the cgroup is not to be made by systemd");
        return Err(Error::new(Kind::Unsupported, text));
    }
    let mut out = String::with_capacity(path.len() + 1);
    for component in path.split('/').filter(|c| !c.is_empty() && *c != ".") {
        if component == ".." || component.len() > 255 || component.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err(Error::invalid(format!("cgroup path {path:?} has the component {component:?}")));
        }
        out.push('/');
        out.push_str(component);
    }
    if out.is_empty() || out.len() > 3000 {
        return Err(Error::invalid(format!("cgroup path {path:?} is empty or too long")));
    }
    Ok(out)
}
