//! The list of mounts: the template's, the request's in their place, in an order in which children follow parents.

use super::namespace::{Mode, mode};
use super::process::INIT;
use super::volume::{self, Propagation, Wanted};
use super::{ContainerFiles, Input, kernel, system};
use crate::api::container::{ContainerConfig, HostConfig};
use crate::api::oci::runtime::{Device, Mount};
use crate::error::{Context, Error, Result};
use crate::modules::remap::Remap;
use crate::utils::mountinfo;
use crate::utils::{order, pseudo_file};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const SHM_SIZE: i64 = 64 << 20;
/// Belongs to the IPC namespace.
const SHM: &str = "/dev/shm";

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|s| s.to_string()).collect(),
        ..Mount::default()
    }
}

fn bind(destination: &str, source: &Path) -> Result<Mount> {
    let source =
        source.to_str().ok_or_else(|| Error::invalid(format!("path {source:?} is not UTF-8 and cannot be mounted")))?;
    Ok(mount(destination, "bind", source, &["rbind", "rprivate"]))
}

/// All mounts of a container: those of the template, `base`, `devices` of the host among the others. Makes the missing
/// sources of `-v`.
pub(super) fn of_container(
    base: Vec<Mount>,
    input: &Input<'_>,
    remap: Option<&Remap>,
    devices: &[(Device, PathBuf)],
) -> Result<Vec<Mount>> {
    let wanted = volume::of_container(input.host, input.mount_points)?;
    if let Some(gone) = wanted.iter().find(|w| w.record.is_volume() && !Path::new(&w.mount.source).is_dir()) {
        let (name, place) = (&gone.record.name, &gone.mount.source);
        return Err(Error::not_found(format!("No such volume: {name}, {place:?} is no directory")));
    }
    for w in wanted.iter().filter(|w| w.mount.kind == "bind") {
        let source = Path::new(&w.mount.source);
        if w.create_source && source.symlink_metadata().is_err() {
            make_source(source, remap).context(|| format!("mkdir({source:?}) for a volume"))?;
        }
    }
    check_sources(&wanted)?;
    let wanted: Vec<Mount> = wanted.into_iter().map(|w| w.mount).collect();
    let over_dev = wanted.iter().any(|m| m.destination == "/dev");
    let mut mounts = template(base, input, remap)?;
    mounts.retain(|m| input.image_mounts.iter().all(|own| own.destination != m.destination));
    mounts.extend_from_slice(input.image_mounts);
    for (device, source) in devices {
        mounts.push(Mount { options: vec!["bind".into()], ..bind(&device.path, source)? });
    }
    // The request's mount takes the place of the template's; with an own /dev nothing is put below it.
    let replaced = |m: &Mount| {
        wanted.iter().any(|w| w.destination == m.destination) || (over_dev && m.destination.starts_with("/dev/"))
    };
    mounts.retain(|m| !replaced(m));
    mounts.extend(wanted);
    if let Some(init) = input.init {
        mounts.push(Mount { options: vec!["bind".into(), "ro".into()], ..bind(INIT, init)? });
    }
    sort(&mut mounts);
    Ok(mounts)
}

/// What of the host and of its image, `image_mounts`, a container has mounted that does not run: binds, volumes and the
/// network files, without what lives in memory or in the kernel. Missing sources of `-v` are made when `make` says so,
/// and otherwise left out.
///
/// # Errors
/// As at the start.
#[cfg(feature = "image-tools")]
pub fn at_rest(
    host: &HostConfig,
    points: &std::collections::BTreeMap<String, crate::api::volume::MountRecord>,
    (image_mounts, files): (Vec<Mount>, &ContainerFiles),
    remap: Option<&Remap>,
    make: bool,
) -> Result<Vec<Mount>> {
    let mut mounts = network_files(files, host.readonly_rootfs)?;
    mounts.retain(|m| image_mounts.iter().all(|own| own.destination != m.destination));
    let mut wanted = Vec::new();
    for w in volume::of_container(host, points)? {
        let source = Path::new(&w.mount.source);
        let there = source.symlink_metadata().is_ok();
        mounts.retain(|m| m.destination != w.mount.destination);
        match w.mount.kind.as_str() {
            "bind" if !there && w.create_source && make => {
                make_source(source, remap).context(|| format!("mkdir({source:?}) for a volume"))?;
            }
            "bind" | "squashfs" if there => {}
            _ => continue,
        }
        wanted.push(w.mount);
    }
    mounts.extend(wanted);
    sort(&mut mounts);
    // The request's come after the image's, in their place.
    Ok(image_mounts.into_iter().chain(mounts).collect())
}

/// Parents first.
fn sort(mounts: &mut [Mount]) {
    order::sort_by_key(mounts, |m| m.destination.split('/').filter(|part| !part.is_empty()).count());
}

/// With a read-only root they are so too.
fn network_files(files: &ContainerFiles, readonly: bool) -> Result<Vec<Mount>> {
    let all =
        [("/etc/hostname", &files.hostname), ("/etc/hosts", &files.hosts), ("/etc/resolv.conf", &files.resolv_conf)];
    let mut mounts = Vec::new();
    for (at, source) in all {
        let Some(source) = source else { continue };
        let mut mount = bind(at, source)?;
        if readonly {
            mount.options.push("ro".into());
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

/// Makes a directory and those on the way to it for the container's root.
fn make_source(path: &Path, remap: Option<&Remap>) -> std::io::Result<()> {
    let Some((uid, gid)) = remap.map(Remap::root) else { return std::fs::create_dir_all(path) };
    let missing: Vec<&Path> = path.ancestors().take_while(|p| p.symlink_metadata().is_err()).collect();
    for path in missing.into_iter().rev() {
        match std::fs::create_dir(path) {
            Ok(()) => std::os::unix::fs::lchown(path, Some(uid), Some(gid))?,
            // Somebody else's, made just now.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Those of every container. What depends on the kernel and on the container comes to them in [`template`].
pub(super) fn built_in() -> Vec<Mount> {
    let kernel_files = ["nosuid", "noexec", "nodev", "ro"];
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    vec![
        mount("/proc", "proc", "proc", &kernel_files[..3]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &terminals),
        mount("/sys", "sysfs", "sysfs", &kernel_files),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &kernel_files),
    ]
}

fn template(base: Vec<Mount>, input: &Input<'_>, remap: Option<&Remap>) -> Result<Vec<Mount>> {
    let mut mounts = base;
    let unmapped = |o: &str| match (o.strip_prefix("gid=").map(str::parse), remap) {
        (Some(Ok(gid)), Some(remap)) => remap.gids.to_host("group", gid).is_err(),
        _ => false,
    };
    let size = if input.host.system_container { system::half_of_memory(input.host) } else { None };
    for mount in &mut mounts {
        match mount.kind.as_str() {
            "devpts" => mount.options.retain(|o| !unmapped(o)),
            "proc" | "sysfs" | "cgroup" if input.host.privileged => mount.options.retain(|o| o != "ro"),
            _ if mount.destination == "/dev" && size.is_some() => {
                mount.options.retain(|o| !o.starts_with("size="));
                mount.options.extend(size.clone());
            }
            _ => {}
        }
    }
    let first = mounts.len();
    if input.host.system_container {
        mounts.extend(system::mounts(input.host));
        mounts.extend(system::writable_parameters(input.host));
    }
    let channel = &input.host.host_channel;
    if !channel.is_none() {
        let mut mount = bind(&channel.path_in_container, Path::new(&channel.path_on_host))?;
        mount.options.push(if channel.permissions == "ro" { "ro".into() } else { "rw".into() });
        mounts.push(mount);
    }
    mounts.extend(message_queues(input, remap)?);
    mounts.extend(shm(input)?);
    mounts.extend(network_files(input.files, input.host.readonly_rootfs)?);
    // A template may have some of these itself; ours are what was asked for.
    let own = mounts.split_off(first);
    mounts.retain(|m| m.kind != "mqueue" && m.destination != SHM && own.iter().all(|o| o.destination != m.destination));
    mounts.extend(own);
    Ok(mounts)
}

/// `/dev/mqueue`; not on boards without POSIX message queues or System V IPC.
fn message_queues(input: &Input<'_>, remap: Option<&Remap>) -> Result<Option<Mount>> {
    const AT: &str = "/dev/mqueue";
    if !kernel::has_file_system("mqueue") {
        return Ok(None);
    }
    // Those of the host's IPC namespace may be mounted in the host's user namespace only.
    if remap.is_some() && mode(&input.host.ipc_mode) == Mode::Host {
        let there = Path::new(AT).is_dir();
        return there.then(|| bind(AT, Path::new(AT))).transpose();
    }
    Ok(Some(mount(AT, "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])))
}

/// [`SHM`]: own, the host's, a peer's, or none.
fn shm(input: &Input<'_>) -> Result<Option<Mount>> {
    if let Some(directory) = &input.namespaces.shm {
        return bind(SHM, directory).map(Some);
    }
    let host = Path::new(SHM);
    match mode(&input.host.ipc_mode) {
        Mode::Host if host.is_dir() => return bind(SHM, host).map(Some),
        _ if input.host.ipc_mode == "none" => return Ok(None),
        _ => {}
    }
    let size = if input.host.shm_size == 0 { SHM_SIZE } else { input.host.shm_size };
    let size = format!("size={size}");
    Ok(Some(mount(SHM, "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])))
}

/// Checks at creation what can be known then: `-v` sources may still be made, others must be there.
pub(super) fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<()> {
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    config.volumes.keys().try_for_each(|path| volume::destination(path).map(drop))?;
    let wanted = volume::of_request(host)?;
    let channel = &host.host_channel.path_in_container;
    if wanted.iter().any(|w| w.mount.destination == *channel) {
        return Err(Error::invalid(format!("Duplicate mount point: {channel}")));
    }
    check_sources(&wanted)
}

fn check_sources(wanted: &[Wanted]) -> Result<()> {
    for w in wanted.iter().filter(|w| w.mount.kind == "squashfs") {
        let source = &w.mount.source;
        if !Path::new(source).is_file() {
            let text = "invalid mount config for type \"squashfs\": source is not a regular file";
            return Err(Error::invalid(format!("{text}: {source}")));
        }
    }
    // Where a volume is, is known later.
    for w in wanted.iter().filter(|w| w.mount.kind == "bind" && w.volume.is_none()) {
        let source = Path::new(&w.mount.source);
        match source.metadata() {
            Err(_) if w.create_source => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::invalid(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {}",
                    w.mount.source
                )));
            }
            Err(e) => return Err(Error::io(format!("stat({source:?})"), e)),
            Ok(_) if w.propagation != Propagation::Private => check_propagation(source, w.propagation)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Events travel only from a mount that is itself shared (or a slave, for `slave`).
fn check_propagation(source: &Path, wanted: Propagation) -> Result<()> {
    let real = std::fs::canonicalize(source).context(|| format!("realpath({source:?})"))?;
    let mountinfo = pseudo_file::read("/proc/self/mountinfo").context(|| "read(\"/proc/self/mountinfo\")".into())?;
    let Some((at, tags)) = mount_of(&mountinfo, &real) else { return Ok(()) };
    let shared = tags.iter().any(|t| t.starts_with("shared:"));
    let slave = tags.iter().any(|t| t.starts_with("master:"));
    let word = match wanted {
        Propagation::Shared if !shared => "shared",
        Propagation::Slave if !shared && !slave => "shared or slave",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!(
        "path {} is mounted on {} but it is not a {word} mount",
        source.display(),
        at.display()
    )))
}

/// The mount that holds `path`, with its optional fields (proc(5), `/proc/PID/mountinfo`). The last of several on one
/// directory is the visible one.
fn mount_of(mountinfo: &[u8], path: &Path) -> Option<(PathBuf, Vec<String>)> {
    let mut best: Option<(PathBuf, Vec<String>)> = None;
    for line in mountinfo.split(|b| *b == b'\n') {
        let mut words = line.split(|b| *b == b' ');
        let Some(at) = words.nth(4) else { continue };
        let at = PathBuf::from(std::ffi::OsString::from_vec(mountinfo::unescape(at)));
        let length = |p: &Path| p.as_os_str().as_bytes().len();
        if !path.starts_with(&at) || best.as_ref().is_some_and(|(b, _)| length(b) > length(&at)) {
            continue;
        }
        let tags = words.skip(1).take_while(|w| *w != b"-").map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        best = Some((at, tags));
    }
    best
}

/// The root must take part in what its mounts propagate; empty is the engine's default, private.
pub(super) fn rootfs_propagation(input: &Input<'_>) -> Result<&'static str> {
    let wanted = volume::of_container(input.host, input.mount_points)?;
    let strongest = wanted.iter().map(|w| w.propagation).max();
    Ok(match strongest {
        Some(Propagation::Shared) => "shared",
        Some(Propagation::Slave) => "slave",
        _ => "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_found() {
        let info = b"1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
            2 1 8:2 / /mnt rw - ext4 /dev/b rw\n\
            3 2 8:3 / /mnt/a\\040b rw shared:2 master:3 - ext4 /dev/c rw\n\
            4 1 8:2 / /mnt rw master:9 - ext4 /dev/b rw\n";
        let at = |path: &str| mount_of(info, Path::new(path)).unwrap();
        assert_eq!(at("/x"), ("/".into(), vec!["shared:1".into()]));
        assert_eq!(at("/mnt/x"), ("/mnt".into(), vec!["master:9".into()]));
        assert_eq!(at("/mnt/a b/c"), ("/mnt/a b".into(), vec!["shared:2".into(), "master:3".into()]));
        assert_eq!(at("/mntx").0, Path::new("/"));
    }
}
