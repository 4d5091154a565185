//! Listing and inspecting.

use super::ListQuery;
use super::network_files;
use super::root::Root;
use super::volumes;
use crate::api::container::{
    ContainerConfig, ContainerInspect, ContainerState, ContainerSummary, GraphDriver, HostConfig, InspectMount,
    SummaryExtra, SummaryHostConfig, SummaryNetworks,
};
use crate::api::volume::{DRIVER, MountRecord};
use crate::error::{Error, Result};
use crate::executor::Daemon;
use crate::modules::container::filter::{Filter, World};
use crate::modules::container::head::Mount;
use crate::modules::container::run::{Phase, Run};
use crate::modules::container::{Container, disk, document, document::Document, status};
use crate::modules::image::driver::Driver;
use crate::modules::runtime::choice::BUILT_IN;
use crate::modules::spec;
use crate::utils::json;
use crate::utils::time::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Lists containers, newest first. Each row is made when it is asked for.
///
/// # Errors
/// `Kind::Invalid` for an unknown filter; `Kind::NotFound` for a container that a filter names.
pub fn list(daemon: &Daemon, query: &ListQuery) -> Result<impl Iterator<Item = ContainerSummary>> {
    let image = |name: &str| daemon.images.find(name).ok().map(|image| image.id.clone());
    let created = |name: &str| daemon.find(name).map(|container| container.head.created);
    let filter = Filter::parse(&query.filters, &World { image: &image, created: &created })?;
    let limit = query.limit.filter(|&n| n > 0);
    let all = query.all || limit.is_some() || filter.has_status();
    let (now, size) = (Timestamp::now(), query.size);
    let containers = daemon.containers.all();
    daemon.catch_up(&containers);
    let rows = containers.into_iter().filter_map(move |container| {
        let (run, name, removed) = {
            let state = container.state();
            (state.run.clone(), state.name.clone(), state.removed)
        };
        let wanted = !removed
            && (all || run.running || run.restarting)
            && filter.matches(&container.id, &name, &container.head, &run)
            && has_one_of(daemon, &container, filter.volumes())
            && (!filter.has_ports() || exposes_one_of(daemon, &container, &filter));
        wanted.then(|| {
            let mut row = summary(&container, &name, &run, now);
            if size {
                let own = own_size(daemon, &container).map(bytes);
                // A copied root has the image in it.
                let image = daemon.images.find(&container.head.image_id).ok();
                let image = image.filter(|_| daemon.images.container_copy(&container.id).is_none());
                let image = image.map_or(0, |image| bytes(image.size));
                (row.size_rw, row.size_root_fs) = (own, own.map(|own| own.saturating_add(image)));
            }
            row
        })
    });
    Ok(rows.take(limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)))
}

/// Whether one of these is among what is mounted in it, by name, by its directory on the host or by its place.
fn has_one_of(daemon: &Daemon, container: &Container, volumes: &[String]) -> bool {
    let Some(records) = (!volumes.is_empty()).then(|| {
        let points = daemon.disk.document(&container.id)?.common_config.mount_points;
        Ok::<_, Error>(self::volumes::mounts(&daemon.disk.host_config(&container.id)?, points))
    }) else {
        return true;
    };
    let is_it = |volume: &String, record: &MountRecord| {
        // Only volumes have names.
        let name = if record.name.is_empty() { &record.source } else { &record.name };
        volume == name || *volume == record.destination
    };
    // One whose documents are damaged has none that anybody knows of.
    records.is_ok_and(|records| records.iter().any(|record| volumes.iter().any(|volume| is_it(volume, record))))
}

/// Whether it has a port that was asked for; one whose document is damaged has none that anybody knows of.
fn exposes_one_of(daemon: &Daemon, container: &Container, filter: &Filter) -> bool {
    let document = daemon.disk.document(&container.id);
    document.is_ok_and(|document| filter.exposes(document.common_config.config.exposed_ports.keys()))
}

fn summary(container: &Container, name: &str, run: &Run, now: Timestamp) -> ContainerSummary {
    let head = &container.head;
    ContainerSummary {
        id: container.id.clone(),
        // One whose document cannot be read has no name.
        names: if name.is_empty() { Vec::new() } else { vec![format!("/{name}")] },
        image: head.image.clone(),
        // None for an external root.
        image_id: if head.image_id.is_empty() { String::new() } else { format!("sha256:{}", head.image_id) },
        command: head.command.clone(),
        created: head.created.unix_seconds(),
        labels: head.labels.clone(),
        state: run.word().into(),
        status: status::text(run, now),
        host_config: SummaryHostConfig { network_mode: head.network_mode.clone() },
        network_settings: SummaryNetworks(network(&head.network_mode)),
        mounts: head.mounts.iter().map(mounted).collect(),
        extra: SummaryExtra {
            pid: run.pid,
            exit_code: run.exit_code,
            restart_count: run.restart_count,
            started_at: run.started_at,
            finished_at: run.finished_at,
            runtime: head.runtime.as_deref().unwrap_or(BUILT_IN).into(),
            created_at: head.created,
            health: run.health.as_ref().map(|h| h.status.clone()).unwrap_or_default(),
        },
        ..ContainerSummary::default()
    }
}

/// Bytes in the directory that is the container's own, 0 when it has none; `None` when nobody can tell.
pub(super) fn own_size(daemon: &Daemon, container: &Container) -> Option<u64> {
    if let Some(copy) = daemon.images.container_copy(&container.id) {
        return Some(disk::tree_size(&copy));
    }
    let document = daemon.disk.document(&container.id).ok()?;
    let host = daemon.disk.host_config(&container.id).ok()?;
    let root = Root::find(daemon, &container.id, &document, &host).ok()?;
    Some(root.overlay.map_or(0, |overlay| disk::tree_size(&overlay.upper)))
}

fn bytes(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn mounted(mount: &Mount) -> InspectMount {
    InspectMount {
        kind: (&*mount.kind).into(),
        name: (&*mount.name).into(),
        source: (&*mount.source).into(),
        destination: (&*mount.destination).into(),
        driver: if mount.is_volume() { DRIVER } else { "" }.into(),
        mode: (&*mount.mode).into(),
        rw: mount.rw,
        propagation: (&*mount.propagation).into(),
    }
}

/// What is on disk of a container that nobody keeps from being removed.
///
/// # Errors
/// `Kind::NotFound` when it has been removed meanwhile, `Kind::Corrupt` when its directory is damaged.
pub(super) fn documents(daemon: &Daemon, container: &Container, reference: &str) -> Result<(Document, HostConfig)> {
    let read = || Ok((daemon.disk.document(&container.id)?, daemon.disk.host_config(&container.id)?));
    read().map_err(|e| {
        let state = container.state();
        let removed = state.removed || state.run.phase() == Phase::Removing;
        if removed { Error::not_found(format!("No such container:{reference}")) } else { e }
    })
}

/// Everything about one container. `size` also counts the bytes of its writable layer.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Corrupt` when its directory is damaged.
pub fn inspect(daemon: &Daemon, reference: &str, size: bool) -> Result<ContainerInspect> {
    let container = daemon.find(reference)?;
    let (document, host) = documents(daemon, &container, reference)?;
    let run = container.run();
    let root = Root::find(daemon, &container.id, &document, &host).ok();
    let copied = daemon.images.container_copy(&container.id);
    let own = root.as_ref().and_then(|root| root.overlay.as_ref().map(|overlay| &overlay.upper)).or(copied.as_ref());
    let size_rw = own.filter(|_| size).map(|path| disk::tree_size(path));
    let driver = if copied.is_some() { Driver::Vfs } else { Driver::Overlay };
    let mut common = document.common_config;
    if let Some(paths) = network_files::shared(daemon, &container, &host) {
        [common.hostname_path, common.hosts_path, common.resolv_conf_path] = paths;
    }
    let annotations = spec::annotations(&common.config, &host, &daemon.settings.defaults, &common.log_path);
    let seccomp = host.security_opt.iter().find_map(|o| o.strip_prefix("seccomp=").or(o.strip_prefix("seccomp:")));
    Ok(ContainerInspect {
        id: container.id.clone(),
        created: common.created,
        path: common.path,
        args: common.args,
        state: state(&run),
        resources: resources(&host),
        image: document.image,
        resolv_conf_path: common.resolv_conf_path,
        hostname_path: common.hostname_path,
        hosts_path: common.hosts_path,
        log_path: common.log_path,
        name: format!("/{}", container.name()),
        restart_count: run.restart_count,
        driver: driver.name().into(),
        platform: "linux".into(),
        // A whole profile may stand in the option: inspect shows that there is one.
        seccomp_profile: seccomp
            .map(|s| if s == "unconfined" { s.into() } else { "custom".into() })
            .unwrap_or_default(),
        no_new_privileges: host.security_opt.iter().any(|o| is_no_new_privileges(o)),
        exec_ids: daemon.execs.running(&container.id),
        graph_driver: graph_driver(driver, root),
        size_rw: size_rw.map(bytes),
        mounts: mounts(&host, common.mount_points),
        config: ContainerConfig { annotations, ..common.config },
        network_settings: network_settings(&host.network_mode),
        host_config: host,
        ..ContainerInspect::default()
    })
}

/// The network of docker's that a container is in: two of them are no networks but ways to have none of one's own.
fn network(mode: &str) -> Option<&'static str> {
    ["none", "host"].into_iter().find(|network| *network == mode)
}

fn network_settings(mode: &str) -> Value {
    let mut networks = Map::new();
    if let Some(network) = network(mode) {
        let endpoint = object(
            r#"{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"","DriverOpts":null,"NetworkID":"",
            "EndpointID":"","Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"",
            "GlobalIPv6PrefixLen":0}"#,
        );
        networks.insert(network.into(), Value::Object(endpoint));
    }
    let mut settings = object(
        r#"{"Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"EndpointID":"","Gateway":"","GlobalIPv6Address":"",
        "GlobalIPv6PrefixLen":0,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":""}"#,
    );
    settings.insert("Networks".into(), Value::Object(networks));
    Value::Object(settings)
}

/// Read from text: much less code than what makes each member.
fn object(text: &str) -> Map<String, Value> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn resources(host: &HostConfig) -> Value {
    let mut resources = Map::new();
    for (name, number) in [
        ("CPUPeriod", host.cpu_period),
        ("CPUQuota", host.cpu_quota),
        ("CPUShares", host.cpu_shares),
        ("Memory", host.memory),
        ("MemorySwap", host.memory_swap),
    ] {
        resources.insert(name.into(), number.into());
    }
    for (name, text) in [("Hugetlbs", json::to_vec(&host.hugetlbs)), ("unified", json::to_vec(&host.unified))] {
        resources.insert(name.into(), json::parse(&text).unwrap_or_default());
    }
    Value::Object(resources)
}

fn is_no_new_privileges(option: &str) -> bool {
    matches!(option, "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true")
}

fn state(run: &Run) -> ContainerState {
    ContainerState {
        status: run.word().into(),
        // As docker has it: one that waits for its restart is not at its end.
        running: run.running || run.restarting,
        paused: run.paused,
        restarting: run.restarting,
        oom_killed: run.oom_killed,
        dead: false,
        pid: if matches!(run.phase(), Phase::Running | Phase::Paused) { run.pid } else { 0 },
        exit_code: run.exit_code,
        error: run.error.clone(),
        started_at: run.started_at,
        finished_at: run.finished_at,
        health: run.health.clone(),
    }
}

fn graph_driver(driver: Driver, root: Option<Root>) -> GraphDriver {
    let mut described = GraphDriver { name: driver.name().into(), ..GraphDriver::default() };
    let Some(root) = root else { return described };
    let merged = ("MergedDir".to_string(), document::text(&root.path));
    if let Some(overlay) = root.overlay {
        let lower: Vec<String> = overlay.lower.iter().map(|p| document::text(p)).collect();
        described.data = [
            ("LowerDir".to_string(), lower.join(":")),
            ("UpperDir".to_string(), document::text(&overlay.upper)),
            ("WorkDir".to_string(), document::text(&overlay.work)),
            merged,
        ]
        .into();
    } else if driver == Driver::Vfs {
        described.data = [merged].into();
    }
    described
}

fn mounts(host: &HostConfig, stored: BTreeMap<String, MountRecord>) -> Vec<InspectMount> {
    let shown = |record: MountRecord| InspectMount {
        kind: record.kind,
        name: record.name,
        source: record.source,
        destination: record.destination,
        driver: record.driver,
        mode: record.mode,
        rw: record.rw,
        propagation: record.propagation,
    };
    volumes::mounts(host, stored).into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_options_show() {
        let host = HostConfig { binds: vec!["/a:/b".into(), "/c:/d:ro,rshared".into()], ..HostConfig::default() };
        let list = mounts(&host, BTreeMap::new());
        assert_eq!((list[0].rw, list[0].propagation.as_str()), (true, "rprivate"));
        assert_eq!((list[1].rw, list[1].propagation.as_str(), list[1].mode.as_str()), (false, "rshared", "ro,rshared"));
    }
}
