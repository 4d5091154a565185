//! `lcr update`.

use crate::api::oci::runtime::{Cpu, Memory, Pids, Resources};
use crate::cmd::runtime::record::{Root, Status, read_limited};
use crate::error::{Context, Error, Result};
use crate::utils::{json, size};
use argh::{ArgsInfo, FromArgs};
use std::io::Read;
use std::path::{Path, PathBuf};

/// change the limits of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "update")]
pub struct Update {
    /// file with the document's linux.resources, or - for standard input; what it lacks stays as it is
    #[argh(option, short = 'r', arg_name = "file")]
    resources: Option<PathBuf>,
    /// weight for block devices, 10 to 1000
    #[argh(option, arg_name = "n")]
    blkio_weight: Option<u16>,
    /// period of the processor's limit in microseconds
    #[argh(option, arg_name = "n")]
    cpu_period: Option<u64>,
    /// processor time in each period in microseconds
    #[argh(option, arg_name = "n")]
    cpu_quota: Option<i64>,
    /// period of real-time processes in microseconds
    #[argh(option, arg_name = "n")]
    cpu_rt_period: Option<u64>,
    /// processor time of real-time processes in each period in microseconds
    #[argh(option, arg_name = "n")]
    cpu_rt_runtime: Option<i64>,
    /// weight for the processor
    #[argh(option, arg_name = "n")]
    cpu_share: Option<u64>,
    /// processors, such as 0-3
    #[argh(option, arg_name = "list")]
    cpuset_cpus: Option<String>,
    /// memory nodes
    #[argh(option, arg_name = "list")]
    cpuset_mems: Option<String>,
    /// bytes of memory, with a unit or without; -1 for all
    #[argh(option, arg_name = "size")]
    memory: Option<String>,
    /// the same that are kept for it
    #[argh(option, arg_name = "size")]
    memory_reservation: Option<String>,
    /// the same with swap
    #[argh(option, arg_name = "size")]
    memory_swap: Option<String>,
    /// processes; -1 for any number
    #[argh(option, arg_name = "n")]
    pids_limit: Option<i64>,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

impl Update {
    /// What the flags ask for, over what the document does.
    fn over(&self, mut resources: Resources) -> Result<Resources> {
        let size = |flag: &str, text: &Option<String>| match text.as_deref() {
            None => Ok(None),
            Some("-1") => Ok(Some(-1)),
            Some(text) => size::parse(text).map(|n| i64::try_from(n).ok()).context(|| flag.into()),
        };
        let mut memory = resources.memory.unwrap_or_default();
        for (place, flag, text) in [
            (&mut memory.limit, "--memory", &self.memory),
            (&mut memory.reservation, "--memory-reservation", &self.memory_reservation),
            (&mut memory.swap, "--memory-swap", &self.memory_swap),
        ] {
            *place = size(flag, text)?.or(*place);
        }
        resources.memory = Some(memory).filter(|memory| *memory != Memory::default());
        let mut cpu = resources.cpu.unwrap_or_default();
        cpu.period = self.cpu_period.or(cpu.period);
        cpu.quota = self.cpu_quota.or(cpu.quota);
        cpu.realtime_period = self.cpu_rt_period.or(cpu.realtime_period);
        cpu.realtime_runtime = self.cpu_rt_runtime.or(cpu.realtime_runtime);
        cpu.shares = self.cpu_share.or(cpu.shares);
        cpu.cpus = self.cpuset_cpus.clone().unwrap_or(cpu.cpus);
        cpu.mems = self.cpuset_mems.clone().unwrap_or(cpu.mems);
        resources.cpu = Some(cpu).filter(|cpu| *cpu != Cpu::default());
        if let Some(limit) = self.pids_limit {
            resources.pids = Some(Pids { limit: Some(limit) });
        }
        if let Some(weight) = self.blkio_weight {
            resources.block_io.get_or_insert_default().weight = Some(weight);
        }
        Ok(resources)
    }
}

/// Largest document on standard input.
const LIMIT: u64 = 1 << 20;

/// Changes the limits.
///
/// # Errors
/// `Kind::Conflict` unless the container is created, runs or is paused; `Kind::Invalid` for the document; as the engine
/// has them for a limit. Limits before the failing one are in force.
pub fn update(root: &Root, args: Update) -> Result<u8> {
    let document = args.resources.as_deref().map(read).transpose()?.unwrap_or_default();
    let resources = args.over(document)?;
    if resources == Resources::default() {
        return Err(Error::invalid("update: a limit is needed, by a flag or in --resources"));
    }
    let record = root.load(&args.id)?;
    let status = record.status();
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        return Err(Error::conflict(format!("container {:?} is {}", args.id, status.word())));
    }
    let cgroup = record.cgroup()?.ok_or_else(|| Error::not_found(format!("container {:?} has no cgroup", args.id)))?;
    cgroup.update(&resources)?;
    Ok(0)
}

fn read(path: &Path) -> Result<Resources> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().take(LIMIT).read_to_end(&mut bytes).context(|| "read(stdin)".into())?;
        bytes
    } else {
        read_limited(path)?
    };
    json::parse(&bytes).context(|| format!("resources {path:?}"))
}
