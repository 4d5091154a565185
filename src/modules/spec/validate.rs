//! Checks of a creation request, before anything is made.

use super::namespace::{self, Mode, mode};
use super::{Defaults, capability, device, limit, mount, process, resource, security, system, volume};
use crate::api::container::{ContainerConfig, HostConfig};
use crate::error::{Error, Kind, Result};
use crate::modules::container::policy::Policy;
use crate::utils::signal;
use std::collections::BTreeMap;

/// Most entries of one list option.
const LIST: usize = 1_000;
const DEVICES: usize = 10_000;
const ENVIRONMENT: usize = 200_000;

/// Checks a request before anything is made for it. Gives warnings for what is left out.
///
/// # Errors
/// `Kind::Invalid` for a broken rule, `Kind::Unsupported` for what this build or kernel lacks, each text names the
/// option; what is wrong with the operator's template.
pub fn validate(host: &HostConfig, config: &ContainerConfig, defaults: &Defaults) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    validate_lengths(host, config)?;
    validate_restart(host)?;
    refuse_unknown_ground(host)?;
    system::validate(host, config)?;
    process::validate_env(&config.env)?;
    process::working_directory(&config.working_dir)?;
    process::validate_umask(&config.annotations)?;
    process::validate_umask(&host.annotations)?;
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal)?;
    }
    if config.user.contains('\0') || host.group_add.iter().any(|g| g.is_empty() || g.contains('\0')) {
        return Err(Error::invalid("a user or group is empty or holds a NUL"));
    }
    if config.cmd.iter().chain(&config.entrypoint).flatten().any(|word| word.contains('\0')) {
        return Err(Error::invalid("an argument of the command holds a NUL"));
    }
    namespace::validate(host, config)?;
    let template = defaults.template(host.system_container)?.process.and_then(|process| process.capabilities);
    security::validate(host, defaults, &capability::of_container(host, &template.unwrap_or_default())?)?;
    limit::validate_ulimits(&host.ulimits)?;
    limit::validate_sysctls(host)?;
    for mapping in &host.devices {
        device::validate_mapping(mapping)?;
    }
    for rule in &host.device_cgroup_rules {
        device::parse_rule(rule)?;
    }
    resource::validate(host, &mut warnings)?;
    mount::validate(host, config)?;
    if host.port_bindings.values().any(|v| !v.is_null()) || host.publish_all_ports {
        warnings.push(format!("published ports are discarded with network mode {:?}", host.network_mode));
    }
    Ok(warnings)
}

fn validate_lengths(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    for (what, length, most) in [
        ("added capabilities", host.cap_add.len(), LIST),
        ("dropped capabilities", host.cap_drop.len(), LIST),
        ("mounts", host.binds.len() + host.mounts.len() + host.tmpfs.len() + config.volumes.len(), LIST),
        ("containers with volumes", host.volumes_from.len(), LIST),
        ("ulimits", host.ulimits.len(), LIST),
        ("annotations", host.annotations.len() + config.annotations.len(), LIST),
        ("sysctls", host.sysctls.len(), LIST),
        ("arguments", config.cmd.as_ref().map_or(0, Vec::len) + config.entrypoint.as_ref().map_or(0, Vec::len), LIST),
        ("supplementary groups", host.group_add.len(), LIST),
        ("device rules", host.device_cgroup_rules.len(), DEVICES),
        ("devices", host.devices.len(), DEVICES),
        ("huge page limits", host.hugetlbs.len(), LIST),
        ("device weights", host.blkio_weight_device.len(), DEVICES),
        ("device rates", super::block_io::rates(host).map(|(_, list)| list.len()).iter().sum(), DEVICES),
        ("environment variables", config.env.len(), ENVIRONMENT),
    ] {
        if length > most {
            return Err(Error::invalid(format!("too many {what}: {length}, at most {most}")));
        }
    }
    Ok(())
}

fn validate_restart(host: &HostConfig) -> Result<()> {
    if Policy::parse(&host.restart_policy)? != Policy::No && host.auto_remove {
        return Err(Error::invalid("Conflicting options: --restart and --rm"));
    }
    Ok(())
}

/// Options that are known and that nothing here carries out: refused by name, never ignored.
fn refuse_unknown_ground(host: &HostConfig) -> Result<()> {
    let no = |text: String| Err(Error::new(Kind::Unsupported, format!("{text} is not supported")));
    volume::check_driver(&host.volume_driver, &BTreeMap::new())?;
    // With none and host the original warns and discards; a peer's ports are the peer's.
    let published = host.port_bindings.values().any(|v| !v.is_null()) || host.publish_all_ports;
    match mode(&host.network_mode) {
        Mode::Container(_) if published => {
            Err(Error::invalid("conflicting options: port publishing and the container type network mode"))
        }
        Mode::Own if published && host.network_mode != "none" => no("publishing ports".into()),
        _ => Ok(()),
    }
}
