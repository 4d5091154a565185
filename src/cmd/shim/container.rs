//! The engine as the loop sees it.

use crate::api::oci::runtime::{Process, Resources, Spec};
use crate::api::shim::{Launch, Stats};
use crate::engine::cgroup::{self, Cgroup};
use crate::engine::create::{self, Started};
use crate::engine::rootfs::Base;
use crate::engine::{exec, hook};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::child;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

/// What the loop asks of the engine. A fake takes its place in the loop's tests.
pub trait Engine {
    /// Opens and reads the configuration.
    ///
    /// # Errors
    /// The failing call; `Kind::Invalid` for what is no configuration.
    fn configuration(&mut self, launch: &Launch) -> Result<Spec>;
    /// Makes and starts the container.
    fn launch(&mut self, launch: &Launch, spec: &Spec, stdio: Option<[OwnedFd; 3]>) -> Result<Started>;
    /// Starts a further process.
    fn exec(&mut self, process: &Process, stdio: Option<[OwnedFd; 3]>) -> Result<Started>;
    /// Sends a signal to the first process, which was not waited for.
    fn signal(&self, pid: i32, signal: i32) -> Result<()> {
        child::send_signal(pid, signal)
    }
    /// All processes.
    fn processes(&self) -> Result<Vec<i32>>;
    /// Freezes.
    fn pause(&self) -> Result<()>;
    /// Thaws.
    fn resume(&self) -> Result<()>;
    /// Changes limits.
    fn update(&self, resources: &Resources) -> Result<()>;
    /// Resource use.
    fn stats(&self) -> Result<Stats>;
    /// See [`Cgroup::oom_notifier`].
    fn oom_notifier(&self) -> Option<OwnedFd>;
    /// See [`Cgroup::oom_kills`].
    fn oom_kills(&self) -> u64;
    /// Ends everything that is left; gives whether nothing is left after that.
    fn destroy(&mut self) -> bool;
}

/// The built-in engine with one container.
#[derive(Default)]
pub struct Container {
    running: Option<Running>,
    /// The configuration as it was at the start, whatever takes its name later; parsed again when a process joins, so
    /// that it costs no memory in between.
    config: Option<File>,
    /// Where hooks that run after the end are told the bundle is; `None` when there are no such hooks.
    poststop: Option<Poststop>,
}

struct Poststop {
    id: String,
    bundle: PathBuf,
}

struct Running {
    id: String,
    bundle: PathBuf,
    pid: i32,
    start_time: u64,
    cgroup: Option<Cgroup>,
}

/// Largest `config.json`.
const CONFIG_LIMIT: u64 = 16 << 20;

impl Container {
    /// A container that is still to be made.
    pub fn new() -> Container {
        Container::default()
    }

    fn run_poststop(&mut self) -> Result<()> {
        let (Some(poststop), Some(config)) = (self.poststop.take(), &self.config) else { return Ok(()) };
        let spec = read_config(config)?;
        let state = hook::state(&poststop.id, &spec, "stopped", 0, &poststop.bundle);
        hook::run_all("poststop", &spec.hooks.unwrap_or_default().poststop, &state)
    }

    fn cgroup(&self) -> Result<&Cgroup> {
        let cgroup = self.running.as_ref().and_then(|r| r.cgroup.as_ref());
        cgroup.ok_or_else(|| Error::new(Kind::Unsupported, "the container has no cgroup"))
    }
}

/// Gives the cgroups above the container's what the daemon grants to real-time processes.
///
/// # Errors
/// The failing call, when the container asks for a part of it.
pub fn give_realtime(launch: &Launch, spec: &Spec) -> Result<()> {
    let (period, runtime) = (launch.realtime_period, launch.realtime_runtime);
    let Some(linux) = spec.linux.as_ref().filter(|_| period != 0 || runtime != 0) else { return Ok(()) };
    let cpu = linux.resources.as_ref().and_then(|r| r.cpu.as_ref());
    let wants = cpu.is_some_and(|cpu| cpu.realtime_runtime.is_some());
    let patience = if wants { cgroup::LATE } else { Duration::ZERO };
    let given = cgroup::give_realtime(&linux.cgroups_path, period, runtime, patience);
    match wants {
        true => given.context(|| "real-time scheduling of the parent cgroups".into()),
        // Who asks for none can do without.
        false => Ok(()),
    }
}

/// Opens and reads the configuration in the bundle.
///
/// # Errors
/// As [`Engine::configuration`].
pub fn open_config(launch: &Launch) -> Result<(File, Spec)> {
    let path = launch.bundle.join("config.json");
    let file = File::open(&path).context(|| format!("open({path:?})"))?;
    let spec = read_config(&file).map_err(|e| e.context(format!("{path:?}")))?;
    Ok((file, spec))
}

/// Reads a configuration from the start of the file, wherever its offset stands.
///
/// # Errors
/// As [`Engine::configuration`].
pub fn read_config(file: &File) -> Result<Spec> {
    let size = file.metadata().context(|| "fstat(config.json)".into())?.size();
    if size > CONFIG_LIMIT {
        return Err(Error::invalid(format!("configuration of {size} bytes, at most {CONFIG_LIMIT}")));
    }
    let mut bytes = vec![0u8; size as usize];
    file.read_exact_at(&mut bytes, 0).context(|| "read(config.json)".into())?;
    json::parse(&bytes)
}

impl Engine for Container {
    fn configuration(&mut self, launch: &Launch) -> Result<Spec> {
        let (file, spec) = open_config(launch)?;
        self.config = Some(file);
        Ok(spec)
    }

    fn launch(&mut self, launch: &Launch, spec: &Spec, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        if spec.hooks.as_ref().is_some_and(|hooks| !hooks.poststop.is_empty()) {
            self.poststop = Some(Poststop { id: launch.id.clone(), bundle: launch.bundle.clone() });
        }
        give_realtime(launch, spec)?;
        let created = create::create(create::Request {
            id: &launch.id,
            spec,
            bundle: &launch.bundle,
            base: match (&launch.overlay, &launch.device) {
                (Some(overlay), _) => Base::Overlay(overlay),
                (None, Some(device)) => Base::Device(device),
                (None, None) => Base::Directory,
            },
            stdio,
            no_pivot: launch.no_pivot,
            no_new_keyring: false,
            preserved_fds: 0,
            cgroup: create::CgroupChoice::default(),
        })?;
        let running = created.start()?;
        self.running = Some(Running {
            id: launch.id.clone(),
            bundle: launch.bundle.clone(),
            pid: running.init.pid,
            start_time: running.init.start_time,
            cgroup: running.cgroup,
        });
        Ok(running.init)
    }

    fn exec(&mut self, process: &Process, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        let (Some(running), Some(config)) = (&self.running, &self.config) else {
            return Err(Error::conflict("container is not running"));
        };
        let spec = read_config(config)?;
        exec::exec(exec::Request {
            id: &running.id,
            bundle: &running.bundle,
            init: running.pid,
            init_start_time: running.start_time,
            cgroup: running.cgroup.as_ref(),
            spec: &spec,
            process,
            stdio,
            preserved_fds: 0,
        })
    }

    fn processes(&self) -> Result<Vec<i32>> {
        self.cgroup()?.processes()
    }

    fn pause(&self) -> Result<()> {
        self.cgroup()?.freeze()
    }

    fn resume(&self) -> Result<()> {
        self.cgroup()?.thaw()
    }

    fn update(&self, resources: &Resources) -> Result<()> {
        self.cgroup()?.update(resources)
    }

    fn stats(&self) -> Result<Stats> {
        self.cgroup()?.stats()
    }

    fn oom_notifier(&self) -> Option<OwnedFd> {
        self.cgroup().ok()?.oom_notifier()
    }

    fn oom_kills(&self) -> u64 {
        self.cgroup().map_or(0, Cgroup::oom_kills)
    }

    fn destroy(&mut self) -> bool {
        let Some(running) = self.running.take() else { return true };
        // A directory that resists is removed by the next start or the removal, as long as nobody is in it.
        let destroyed = running.cgroup.map_or(Ok(()), |cgroup| cgroup.destroy(cgroup::PATIENCE));
        // The container has ended whatever they say.
        let _ = self.run_poststop();
        destroyed.err().is_none_or(|e| e.kind() != Kind::Timeout)
    }
}
