//! `rename`, `update` and `port`.

use super::create::{limits, restart_policy};
use super::failure::Failure;
use super::{Session, for_each, output};
use crate::api::container::HostConfig;
use argh::{ArgsInfo, FromArgs};
use serde_json::Value;

/// give a container another name
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "rename")]
pub struct Rename {
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
    #[argh(positional, arg_name = "NAME")]
    name: String,
}

impl Rename {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        session.client()?.container_rename(&self.container, &self.name)?;
        Ok(0)
    }
}

/// change limits and restart policy of containers, running or not
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "update")]
pub struct Update {
    /// relative weight for block devices, 10 to 1000
    #[argh(option, arg_name = "int")]
    blkio_weight: Option<i64>,
    /// microseconds of a period of the scheduler
    #[argh(option, arg_name = "int")]
    cpu_period: Option<i64>,
    /// microseconds of processor time in each period
    #[argh(option, arg_name = "int")]
    cpu_quota: Option<i64>,
    /// relative weight for processors
    #[argh(option, short = 'c', arg_name = "int")]
    cpu_shares: Option<i64>,
    /// number of processors, as 1.5
    #[argh(option, arg_name = "decimal")]
    cpus: Option<String>,
    /// processors that may be used, as 0-2,4
    #[argh(option, arg_name = "list")]
    cpuset_cpus: Option<String>,
    /// memory nodes that may be used
    #[argh(option, arg_name = "list")]
    cpuset_mems: Option<String>,
    /// memory limit
    #[argh(option, short = 'm', arg_name = "size")]
    memory: Option<String>,
    /// memory that is left to it when there is little
    #[argh(option, arg_name = "size")]
    memory_reservation: Option<String>,
    /// limit of memory and swap together; -1 is none
    #[argh(option, arg_name = "size")]
    memory_swap: Option<String>,
    /// limit of the kernel's memory, of one that does not run (cgroup v1 before Linux 5.16)
    #[argh(option, arg_name = "size")]
    kernel_memory: Option<String>,
    /// microseconds of a period of the real-time scheduler (cgroup v1)
    #[argh(option, arg_name = "int")]
    cpu_rt_period: Option<i64>,
    /// microseconds of real-time processor time in each period (cgroup v1)
    #[argh(option, arg_name = "int")]
    cpu_rt_runtime: Option<i64>,
    /// number of processes; -1 is no limit
    #[argh(option, arg_name = "int")]
    pids_limit: Option<i64>,
    /// when it is started again: no, always, unless-stopped, on-reboot or on-failure[:N]
    #[argh(option, arg_name = "string")]
    restart: Option<String>,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Update {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let changes = self.changes()?;
        let client = session.client()?;
        for_each(&self.containers, |name| {
            let response = client.container_update(name, &changes)?;
            response.warnings.iter().for_each(|warning| output::complain(&format!("WARNING: {warning}")));
            Ok(Some(name.to_owned()))
        })
    }

    fn changes(&self) -> Result<HostConfig, Failure> {
        let changes = HostConfig {
            blkio_weight: limits::blkio_weight(self.blkio_weight)?,
            cpu_period: self.cpu_period.unwrap_or_default(),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpu_shares: self.cpu_shares.unwrap_or_default(),
            nano_cpus: limits::nano_cpus(self.cpus.as_deref())?,
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            memory: limits::size("--memory", self.memory.as_deref())?,
            memory_reservation: limits::size("--memory-reservation", self.memory_reservation.as_deref())?,
            memory_swap: limits::size_or_unlimited("--memory-swap", self.memory_swap.as_deref())?,
            kernel_memory: limits::size("--kernel-memory", self.kernel_memory.as_deref())?,
            cpu_realtime_period: self.cpu_rt_period.unwrap_or_default(),
            cpu_realtime_runtime: self.cpu_rt_runtime.unwrap_or_default(),
            pids_limit: self.pids_limit,
            restart_policy: self.restart.as_deref().map(restart_policy).transpose()?.unwrap_or_default(),
            ..HostConfig::default()
        };
        if changes == HostConfig::default() {
            return Err(Failure::usage("You must provide one or more update flags when using this command."));
        }
        Ok(changes)
    }
}

/// print the published ports of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "port")]
pub struct Port {
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
    #[argh(positional, arg_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Port {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let container = session.client()?.container_inspect(&self.container)?;
        let wanted = self.port.as_deref().map(|p| if p.contains('/') { p.to_owned() } else { format!("{p}/tcp") });
        let mut found = false;
        let ports = container.network_settings.get("Ports").and_then(Value::as_object);
        for (port, bindings) in ports.into_iter().flatten() {
            if wanted.as_ref().is_some_and(|wanted| wanted != port) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let text = |key: &str| binding.get(key).and_then(Value::as_str).unwrap_or_default();
                let address = format!("{}:{}", text("HostIp"), text("HostPort"));
                output::print(&match &wanted {
                    None => format!("{port} -> {address}\n"),
                    Some(_) => format!("{address}\n"),
                })?;
                found = true;
            }
        }
        match wanted {
            Some(wanted) if !found => {
                Err(Failure::local(format!("Error: No public port '{wanted}' published for {}", self.container)))
            }
            _ => Ok(0),
        }
    }
}
