//! Changing what a container is: its name, its limits, its restart policy.

use super::signal::ask_if_there;
use crate::api::container::{HostConfig, UpdateResponse};
use crate::api::shim::Request;
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::container::document::Document;
use crate::modules::container::name;
use crate::modules::container::policy::Policy;
use crate::modules::container::run::{Phase, Verb, permit};
use crate::modules::spec;

/// Gives it another name.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Invalid` for a name that breaks the rule or is its own, `Kind::Conflict` for one that is in
/// use. The old name stays then.
pub fn rename(daemon: &Daemon, reference: &str, new: &str) -> Result<()> {
    let container = daemon.find(reference)?;
    let new = name::check(new)?;
    let _operation = container.operate();
    permit(Verb::Edit, container.run().phase(), &container.id)?;
    let old = container.name();
    if old == new {
        return Err(Error::invalid("Renaming a container with the same name as its current name"));
    }
    daemon.containers.take_name(&container.id, new)?;
    let renamed = daemon.disk.document(&container.id).and_then(|mut document| {
        document.common_config.name = new.into();
        daemon.disk.save_document(&container.id, &document)
    });
    // From here on one of both names is nobody's.
    daemon.containers.drop_name(&container.id, if renamed.is_ok() { &old } else { new });
    renamed?;
    container.change(|s| s.name = new.into());
    log::info!("container {}: renamed from {old:?} to {new:?}", container.id);
    daemon.tell(&container, "rename", &[("oldName", &format!("/{old}"))]);
    Ok(())
}

/// Changes limits and restart policy, of a running container at once. What `changes` leaves empty stays as it is.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Invalid` for a value that breaks a rule, also together with what was set before. Then nothing
/// is changed.
pub fn update(daemon: &Daemon, reference: &str, changes: &HostConfig) -> Result<UpdateResponse> {
    let container = daemon.find(reference)?;
    let _operation = container.operate();
    let phase = container.run().phase();
    permit(Verb::Edit, phase, &container.id)?;
    let before = daemon.disk.host_config(&container.id)?;
    let document = daemon.disk.document(&container.id)?;
    let (host, live) = merge(&before, changes)?;
    if changes.kernel_memory != 0 && matches!(phase, Phase::Running | Phase::Paused) {
        return Err(Error::conflict("Can not update kernel memory to a running container, please stop it first."));
    }
    let policy = Policy::parse(&host.restart_policy)?;
    if before.auto_remove && policy != Policy::No {
        return Err(Error::invalid("Restart policy cannot be updated because AutoRemove is enabled for the container"));
    }
    let warnings = spec::validate(&host, &document.common_config.config, &daemon.settings.defaults)?;
    let mut new = document.clone();
    if let Some(extra) = &mut new.common_config.extra {
        extra.restart_policy = host.restart_policy.clone();
    }
    let changes_document = new != document;
    let save = |host: &HostConfig, document: &Document| {
        daemon.disk.save_host_config(&container.id, host)?;
        if changes_document { daemon.disk.save_document(&container.id, document) } else { Ok(()) }
    };
    // First the disk: what could not be written there must not hold.
    let done = save(&host, &new).and_then(|()| match phase {
        Phase::Running | Phase::Paused if live != HostConfig::default() => {
            ask_if_there(daemon, &container, &Request::Update(Box::new(spec::limits(&live)?)))
        }
        _ => Ok(()),
    });
    if let Err(e) = done {
        let is_as_before = || {
            daemon.disk.host_config(&container.id).is_ok_and(|now| now == before)
                && daemon.disk.document(&container.id).is_ok_and(|now| now == document)
        };
        if let Err(e) = save(&before, &document)
            && !is_as_before()
        {
            log::error!("container {}: an update is undone in part only: {e}", container.id);
        }
        return Err(e);
    }
    container.change(|s| {
        s.policy = policy;
        s.run.restarting &= policy != Policy::No;
    });
    log::info!("container {}: updated", container.id);
    daemon.tell(&container, "update", &[]);
    Ok(UpdateResponse { warnings })
}

/// The configuration after `changes`, and the limits of it that a running container must be given.
fn merge(before: &HostConfig, changes: &HostConfig) -> Result<(HostConfig, HostConfig)> {
    let conflict = |set: bool, there: bool, text: &str| match set && there {
        true => Err(Error::invalid(text.to_owned())),
        false => Ok(()),
    };
    let has_nano = before.nano_cpus != 0;
    conflict(changes.cpu_period != 0, has_nano, "CPU Period cannot be updated as NanoCPUs has already been set")?;
    conflict(changes.cpu_quota != 0, has_nano, "CPU Quota cannot be updated as NanoCPUs has already been set")?;
    let has_nano = changes.nano_cpus != 0;
    conflict(has_nano, before.cpu_period != 0, "NanoCPUs cannot be updated as CPU Period has already been set")?;
    conflict(has_nano, before.cpu_quota != 0, "NanoCPUs cannot be updated as CPU Quota has already been set")?;
    let mut host = before.clone();
    let mut live = HostConfig::default();
    let mut number = |old: fn(&mut HostConfig) -> &mut i64, new: i64| {
        if new != 0 {
            *old(&mut host) = new;
            *old(&mut live) = new;
        }
    };
    number(|h| &mut h.cpu_shares, changes.cpu_shares);
    number(|h| &mut h.cpu_period, changes.cpu_period);
    number(|h| &mut h.cpu_quota, changes.cpu_quota);
    number(|h| &mut h.nano_cpus, changes.nano_cpus);
    number(|h| &mut h.memory_reservation, changes.memory_reservation);
    number(|h| &mut h.memory, changes.memory);
    number(|h| &mut h.kernel_memory, changes.kernel_memory);
    number(|h| &mut h.cpu_realtime_period, changes.cpu_realtime_period);
    number(|h| &mut h.cpu_realtime_runtime, changes.cpu_realtime_runtime);
    for (old, new) in [(&mut host.cpuset_cpus, &changes.cpuset_cpus), (&mut host.cpuset_mems, &changes.cpuset_mems)] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    live.cpuset_cpus.clone_from(&changes.cpuset_cpus);
    live.cpuset_mems.clone_from(&changes.cpuset_mems);
    if changes.blkio_weight != 0 {
        (host.blkio_weight, live.blkio_weight) = (changes.blkio_weight, changes.blkio_weight);
        // With a new weight for all devices the kernel forgets those of single ones.
        live.blkio_weight_device.clone_from(&host.blkio_weight_device);
    }
    if changes.pids_limit.is_some() {
        (host.pids_limit, live.pids_limit) = (changes.pids_limit, changes.pids_limit);
    }
    if !changes.restart_policy.name.is_empty() {
        host.restart_policy = changes.restart_policy.clone();
    }
    if changes.memory != 0 || changes.memory_swap != 0 {
        // What was twice the memory stays what it was.
        let swap = if before.memory_swap == 0 { before.memory.saturating_mul(2) } else { before.memory_swap };
        if changes.memory_swap == 0 && swap > 0 && changes.memory > swap {
            return Err(Error::invalid(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same \
                 time.",
            ));
        }
        host.memory_swap = if changes.memory_swap != 0 { changes.memory_swap } else { swap };
        (live.memory, live.memory_swap) = (host.memory, host.memory_swap);
    }
    Ok((host, live))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::container::RestartPolicy;

    const M: i64 = 1 << 20;

    fn refused(before: &HostConfig, changes: HostConfig) -> String {
        merge(before, &changes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_empty_stays() {
        let before = HostConfig {
            memory: 64 * M,
            cpu_shares: 512,
            cpuset_cpus: "0".into(),
            binds: vec!["/a:/b".into()],
            restart_policy: RestartPolicy { name: "always".into(), maximum_retry_count: 0 },
            ..HostConfig::default()
        };
        let (host, live) = merge(&before, &HostConfig { cpu_shares: 256, ..HostConfig::default() }).unwrap();
        assert_eq!(host, HostConfig { cpu_shares: 256, ..before.clone() });
        assert_eq!(live, HostConfig { cpu_shares: 256, ..HostConfig::default() });
        let (host, live) = merge(&before, &HostConfig { memory: 100 * M, ..HostConfig::default() }).unwrap();
        assert_eq!((host.memory, host.memory_swap), (100 * M, 128 * M));
        assert_eq!((live.memory, live.memory_swap, live.cpu_shares), (100 * M, 128 * M, 0));
        let changes = HostConfig { cpu_realtime_period: 5000, cpu_realtime_runtime: 4000, ..HostConfig::default() };
        assert_eq!(merge(&before, &changes).unwrap().1, changes);
        let policy = RestartPolicy { name: "no".into(), maximum_retry_count: 0 };
        let changes = HostConfig { restart_policy: policy.clone(), ..HostConfig::default() };
        let (host, live) = merge(&before, &changes).unwrap();
        assert_eq!((host.restart_policy, live), (policy, HostConfig::default()));
    }

    #[test]
    fn conflicts_with_what_was_set_before() {
        let nano = HostConfig { nano_cpus: 1, ..HostConfig::default() };
        let period = HostConfig { cpu_period: 1, ..HostConfig::default() };
        let quota = HostConfig { cpu_quota: 1, ..HostConfig::default() };
        let text = "CPU Period cannot be updated as NanoCPUs has already been set";
        assert_eq!(refused(&nano, period.clone()), text);
        assert_eq!(refused(&nano, quota.clone()), "CPU Quota cannot be updated as NanoCPUs has already been set");
        for (before, word) in [(period, "Period"), (quota, "Quota")] {
            let want = format!("NanoCPUs cannot be updated as CPU {word} has already been set");
            assert_eq!(refused(&before, nano.clone()), want);
        }
        let small = HostConfig { memory: 64 * M, ..HostConfig::default() };
        let text = refused(&small, HostConfig { memory: 129 * M, ..HostConfig::default() });
        assert!(text.starts_with("Memory limit should be smaller than already set memoryswap limit"), "{text}");
        let both = HostConfig { memory: 129 * M, memory_swap: -1, ..HostConfig::default() };
        assert_eq!(merge(&small, &both).unwrap().1.memory_swap, -1);
    }
}
