//! The mounts that a request asks for: `-v`, `--mount`, `--tmpfs`.

use super::{paths, security};
use crate::api::container::{HostConfig, MountPoint, VolumeOptions};
use crate::api::oci::runtime::Mount;
use crate::api::volume::{DRIVER, MountRecord};
use crate::error::{Error, Kind, Result};
use crate::modules::volume::{bound, name};
use std::collections::BTreeMap;

/// How mounts travel between the container and the host; the stronger wins for the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Propagation {
    Private,
    Slave,
    Shared,
}

/// One mount of the request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub mount: Mount,
    pub propagation: Propagation,
    /// Whether a missing source is made as a directory.
    pub create_source: bool,
    /// As it is stored: the source of a volume is to be filled in, and the name of one without.
    pub record: MountRecord,
    /// Of a volume.
    pub volume: Option<VolumeOptions>,
}

/// A mount that is stored with a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What is stored. Of a volume the source is to be filled in, and the name of one without.
    pub record: MountRecord,
    /// Whether the content of the image is copied into an empty volume.
    pub copy: bool,
    /// Labels of a volume that is made.
    pub labels: BTreeMap<String, String>,
    /// Options of the driver for a volume that is made.
    pub options: BTreeMap<String, String>,
}

/// The mounts of a request that are stored with the container, in its order.
///
/// # Errors
/// `Kind::Invalid` for a broken rule, `Kind::Unsupported` for what this build or kernel lacks.
pub fn stored(host: &HostConfig) -> Result<Vec<Stored>> {
    let mut wanted = of_request(host)?;
    wanted.truncate(host.binds.len() + host.mounts.len());
    let stored = wanted.into_iter().map(|w| {
        let options = w.volume.unwrap_or_default();
        let copy = w.record.is_volume() && !options.no_copy;
        let driver = options.driver_config.unwrap_or_default();
        Stored { record: w.record, copy, labels: options.labels, options: driver.options }
    });
    Ok(stored.collect())
}

/// Reads all of them, those of `--tmpfs` last; a destination may occur once.
pub(super) fn of_request(host: &HostConfig) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::with_capacity(host.binds.len() + host.mounts.len() + host.tmpfs.len());
    for text in &host.binds {
        wanted.push(parse_bind(text)?);
    }
    for mount in &host.mounts {
        wanted.push(parse_mount(mount)?);
    }
    for (path, options) in &host.tmpfs {
        let target = destination(path)?;
        wanted.push(tmpfs(target, tmpfs_options(options)?));
    }
    for (n, w) in wanted.iter().enumerate() {
        if wanted[..n].iter().any(|other| other.mount.destination == w.mount.destination) {
            return Err(Error::invalid(format!("Duplicate mount point: {}", w.mount.destination)));
        }
    }
    Ok(wanted)
}

/// What a container has mounted: what its request says, and for volumes, their places and what it has of other
/// containers, what was stored when it was made.
pub(super) fn of_container(host: &HostConfig, points: &BTreeMap<String, MountRecord>) -> Result<Vec<Wanted>> {
    let mut wanted = of_request(host)?;
    wanted.retain(|w| w.volume.is_none());
    for record in points.values().filter(|record| matches!(record.kind.as_str(), "bind" | "volume")) {
        if wanted.iter().all(|w| w.mount.destination != record.destination) {
            let create_source = record.kind == "bind";
            wanted.push(Wanted { create_source, ..bind(&record.source, record.clone()) });
        }
    }
    Ok(wanted)
}

fn unsupported(text: String) -> Error {
    Error::new(Kind::Unsupported, text)
}

/// The path inside on which something is mounted, without `.`, `..` and doubled slashes.
///
/// # Errors
/// `Kind::Invalid` for one that is none.
pub fn destination(path: &str) -> Result<String> {
    match paths::clean(path) {
        clean if clean.is_empty() || clean == "/" || clean.contains('\0') => {
            Err(Error::invalid("Invalid volume: path must be absolute, and destination can't be '/'"))
        }
        clean => Ok(clean),
    }
}

/// Options of `-v`; each class at most once.
#[derive(Default)]
struct BindOptions<'a> {
    access: Option<&'a str>,
    propagation: Option<&'a str>,
    label: Option<&'a str>,
    copy: Option<&'a str>,
}

impl<'a> BindOptions<'a> {
    /// The place of an option. `None` for a word that is none.
    fn slot(&mut self, option: &str) -> Option<&mut Option<&'a str>> {
        Some(match option {
            "ro" | "rw" => &mut self.access,
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => &mut self.propagation,
            "z" | "Z" => &mut self.label,
            "nocopy" => &mut self.copy,
            _ => return None,
        })
    }
}

/// Consistency words that only remote file systems of desktop machines know.
const CONSISTENCY: [&str; 3] = ["cached", "consistent", "delegated"];

fn is_options(text: &str) -> bool {
    text.split(',').all(|word| CONSISTENCY.contains(&word) || BindOptions::default().slot(word).is_some())
}

/// `[SRC:]DST[:OPTS]`: SRC is a path of the host or the name of a volume.
fn parse_bind(text: &str) -> Result<Wanted> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [target, options] if is_options(options) => (None, target, options),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(Error::invalid(format!("invalid volume {text:?}: want SOURCE:DESTINATION[:OPTIONS]"))),
    };
    let target = destination(target)?;
    let bad = |option: &str| Error::invalid(format!("invalid volume {text:?}: bad or repeated option {option:?}"));
    let mut chosen = BindOptions::default();
    for option in options.split(',').filter(|o| !o.is_empty() && !CONSISTENCY.contains(o)) {
        let slot = chosen.slot(option).ok_or_else(|| bad(option))?;
        if slot.replace(option).is_some() {
            return Err(bad(option));
        }
    }
    if options.is_empty() && parts.len() == 3 {
        return Err(Error::invalid(format!("invalid volume {text:?}: empty options")));
    }
    relabel(chosen.label.unwrap_or_default())?;
    let record = MountRecord {
        destination: target,
        rw: chosen.access != Some("ro"),
        propagation: chosen.propagation.unwrap_or_default().into(),
        relabel: chosen.label.unwrap_or_default().into(),
        mode: options.into(),
        ..MountRecord::default()
    };
    match source {
        Some(source) if source.starts_with('/') => match chosen.copy {
            Some(option) => Err(bad(option)),
            None => Ok(Wanted { create_source: true, ..bind(source, MountRecord { kind: "bind".into(), ..record }) }),
        },
        Some(source) if source.contains('/') || source.is_empty() => {
            Err(Error::invalid("Invalid volume: path must be absolute, and destination can't be '/'"))
        }
        source => {
            let options = VolumeOptions { no_copy: chosen.copy.is_some(), ..VolumeOptions::default() };
            volume(source.unwrap_or_default(), record, options)
        }
    }
}

/// A volume; without a name of its own when that is empty.
fn volume(name: &str, record: MountRecord, options: VolumeOptions) -> Result<Wanted> {
    if !name.is_empty() {
        name::check(name)?;
    } else if !record.rw {
        return Err(Error::invalid(format!(
            "invalid volume at {}: an anonymous volume cannot be read-only",
            record.destination
        )));
    }
    let (kind, driver, named) = ("volume".into(), DRIVER.into(), !name.is_empty());
    let record = MountRecord { kind, driver, name: name.into(), named, ..record };
    Ok(Wanted { volume: Some(options), ..bind("", record) })
}

/// Relabelling is nothing to do without SELinux.
fn relabel(label: &str) -> Result<()> {
    match label {
        "" => Ok(()),
        "z" | "Z" if security::selinux_enabled() => {
            Err(unsupported(format!("mount option {label:?}: SELinux labels are not supported")))
        }
        "z" | "Z" => Ok(()),
        other => Err(Error::invalid(format!("invalid SELinux option {other:?}"))),
    }
}

/// A bind of `source` as `record` has it; the same for a volume, whose source is known later.
fn bind(source: &str, mut record: MountRecord) -> Wanted {
    let source = if source.is_empty() { String::new() } else { paths::clean(source) };
    let propagation = if record.propagation.is_empty() { "rprivate" } else { &record.propagation };
    let options = ["rbind", propagation, if record.rw { "rw" } else { "ro" }].map(str::to_owned).to_vec();
    if record.kind == "bind" {
        record.propagation = propagation.into();
    }
    record.source.clone_from(&source);
    Wanted {
        mount: Mount {
            destination: record.destination.clone(),
            kind: "bind".into(),
            source,
            options,
            ..Mount::default()
        },
        propagation: match record.propagation.trim_start_matches('r') {
            "shared" => Propagation::Shared,
            "slave" => Propagation::Slave,
            _ => Propagation::Private,
        },
        create_source: false,
        record,
        volume: None,
    }
}

/// One `--mount`.
fn parse_mount(m: &MountPoint) -> Result<Wanted> {
    let bad = |why: &str| Error::invalid(format!("invalid mount config for type {:?}: {why}", m.kind));
    let propagation = |options: &crate::api::container::BindOptions| {
        let known = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared"];
        match known.contains(&options.propagation.as_str()) {
            true => relabel(&options.selinux_opts),
            false => Err(bad(&format!("invalid propagation mode: {}", options.propagation))),
        }
    };
    let record = |options: &crate::api::container::BindOptions| {
        Ok::<MountRecord, Error>(MountRecord {
            kind: m.kind.clone(),
            destination: destination(&m.target)?,
            rw: !m.read_only,
            propagation: options.propagation.clone(),
            relabel: options.selinux_opts.clone(),
            ..MountRecord::default()
        })
    };
    match m.kind.as_str() {
        "bind" => {
            if !m.source.starts_with('/') || m.source.contains('\0') {
                return Err(bad("invalid mount path: source must be an absolute path"));
            }
            if m.tmpfs_options.is_some() || m.volume_options.is_some() {
                return Err(bad("options of another type are given"));
            }
            let options = m.bind_options.clone().unwrap_or_default();
            propagation(&options)?;
            let mut wanted = bind(&m.source, record(&options)?);
            if options.non_recursive {
                wanted.mount.options[0] = "bind".into();
            }
            if options.read_only_force_recursive {
                if !m.read_only || options.non_recursive || options.read_only_non_recursive {
                    return Err(bad("mounts below are read-only only with a mount that is so and has them"));
                }
                wanted.mount.options.push("rro".into());
            }
            Ok(wanted)
        }
        "tmpfs" => {
            if !m.source.is_empty() {
                return Err(bad("field Source must not be specified"));
            }
            if m.bind_options.is_some() || m.volume_options.is_some() {
                return Err(bad("options of another type are given"));
            }
            let given = m.tmpfs_options.clone().unwrap_or_default();
            if given.size_bytes < 0 || given.mode > 0o7777 {
                return Err(bad("tmpfs size or mode is out of range"));
            }
            let mut options = TMPFS_DEFAULT.map(String::from).to_vec();
            options.push(format!("mode={:o}", if given.mode == 0 { 0o1777 } else { given.mode }));
            if given.size_bytes > 0 {
                options.push(format!("size={}", given.size_bytes));
            }
            if m.read_only {
                options.push("ro".into());
            }
            Ok(tmpfs(destination(&m.target)?, options))
        }
        "volume" | "" => {
            if m.tmpfs_options.is_some() {
                return Err(bad("options of another type are given"));
            }
            let (binding, options) =
                (m.bind_options.clone().unwrap_or_default(), m.volume_options.clone().unwrap_or_default());
            propagation(&binding)?;
            check_volume_options(&options)?;
            volume(&m.source, record(&binding)?, options)
        }
        "squashfs" if cfg!(feature = "embedded") => {
            if !m.source.starts_with('/') || m.source.contains('\0') {
                return Err(bad("invalid mount path: source must be an absolute path"));
            }
            if m.bind_options.is_some() || m.tmpfs_options.is_some() || m.volume_options.is_some() {
                return Err(bad("options of another type are given"));
            }
            Ok(squashfs(&m.source, destination(&m.target)?))
        }
        "squashfs" => Err(unsupported(format!("mount type \"squashfs\" (source {:?}) is not supported", m.source))),
        other => Err(Error::invalid(format!("mount type unknown: {other:?}"))),
    }
}

fn check_volume_options(options: &VolumeOptions) -> Result<()> {
    if !options.subpath.is_empty() {
        return Err(unsupported(format!("subpath {:?} of a volume is not supported", options.subpath)));
    }
    options.driver_config.as_ref().map_or(Ok(()), |driver| check_driver(&driver.name, &driver.options))
}

/// Refuses drivers that are not there, and what the one that is cannot do.
///
/// # Errors
/// `Kind::Unsupported` naming it, `Kind::Invalid` for options that say nothing.
pub fn check_driver(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if !matches!(driver, "" | DRIVER) {
        return Err(unsupported(format!("volume driver {driver:?} is not supported, only \"local\"")));
    }
    bound::parse(options).map(drop)
}

/// A file system in a file, which cannot be written whatever the request says.
fn squashfs(source: &str, target: String) -> Wanted {
    let source = paths::clean(source);
    Wanted {
        record: MountRecord {
            kind: "squashfs".into(),
            source: source.clone(),
            destination: target.clone(),
            ..MountRecord::default()
        },
        volume: None,
        mount: Mount {
            destination: target,
            kind: "squashfs".into(),
            source,
            options: ["loop", "nodev", "ro"].map(str::to_owned).to_vec(),
            ..Mount::default()
        },
        propagation: Propagation::Private,
        create_source: false,
    }
}

const TMPFS_DEFAULT: [&str; 3] = ["noexec", "nosuid", "nodev"];

fn tmpfs(target: String, options: Vec<String>) -> Wanted {
    let rw = !options.iter().any(|option| option == "ro");
    Wanted {
        record: MountRecord { kind: "tmpfs".into(), destination: target.clone(), rw, ..MountRecord::default() },
        volume: None,
        mount: Mount { destination: target, kind: "tmpfs".into(), source: "tmpfs".into(), options, ..Mount::default() },
        propagation: Propagation::Private,
        create_source: false,
    }
}

/// mount(8) flags in pairs: either word undoes the other.
const FLAGS: [(&str, &str); 10] = [
    ("ro", "rw"),
    ("noexec", "exec"),
    ("nosuid", "suid"),
    ("nodev", "dev"),
    ("sync", "async"),
    ("noatime", "atime"),
    ("nodiratime", "diratime"),
    ("relatime", "norelatime"),
    ("strictatime", "nostrictatime"),
    ("mand", "nomand"),
];

/// `--tmpfs DST:OPTIONS` over the defaults.
fn tmpfs_options(text: &str) -> Result<Vec<String>> {
    let bad = |option: &str| Error::invalid(format!("invalid tmpfs option {option:?}"));
    let mut options = TMPFS_DEFAULT.map(String::from).to_vec();
    for option in text.split(',').filter(|o| !o.is_empty() && *o != "defaults") {
        let name = match option.split_once('=') {
            Some((name, value)) => {
                let digits = |s: &str| !s.is_empty() && s.len() <= 19 && s.bytes().all(|b| b.is_ascii_digit());
                let sized = |s: &str| digits(s.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']).unwrap_or(s));
                let good = match name {
                    "size" => sized(value) || value.strip_suffix('%').is_some_and(digits),
                    "nr_inodes" | "nr_blocks" => sized(value),
                    "uid" | "gid" => digits(value),
                    "mode" => digits(value) && u32::from_str_radix(value, 8).is_ok_and(|m| m <= 0o7777),
                    "mpol" => !value.is_empty(),
                    _ => false,
                };
                if !good || value.contains('\0') {
                    return Err(bad(option));
                }
                options.retain(|o| o.split_once('=').is_none_or(|(n, _)| n != name));
                option
            }
            None => {
                let pair = FLAGS.iter().find(|(a, b)| *a == option || *b == option).ok_or_else(|| bad(option))?;
                options.retain(|o| o != pair.0 && o != pair.1);
                option
            }
        };
        options.push(name.to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests;
