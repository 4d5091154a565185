//! Device nodes and who may use them.

use crate::api::container::{DeviceMapping, HostConfig};
use crate::api::oci::runtime::{Device, DeviceRule};
use crate::error::{Error, Kind, Result};
use crate::utils::order;
use nix::sys::stat::{SFlag, major, minor};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most nodes in one container.
const LIMIT: usize = 10_000;
/// How deep a directory of devices is searched.
const DEPTH: usize = 8;
/// Devices that every container has: null, zero, full, random, urandom, tty, console, ptmx, pty slaves, tun.
const DEFAULT: [(i64, Option<i64>); 10] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
    (10, Some(200)),
];
/// Directories and nodes of `/dev` that a privileged container has of its own.
const SKIPPED: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", ".udev"];

/// Nodes to make and rules in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Devices {
    /// With their paths on the host.
    pub nodes: Vec<(Device, PathBuf)>,
    pub rules: Vec<DeviceRule>,
}

/// The rules of a container that asks for nothing.
pub(super) fn built_in() -> Vec<DeviceRule> {
    let mut rules =
        vec![rule(false, "a", None, None, "rwm"), rule(true, "c", None, None, "m"), rule(true, "b", None, None, "m")];
    rules.extend(DEFAULT.map(|(major, minor)| rule(true, "c", Some(major), minor, "rwm")));
    rules
}

/// Looks at the host's devices as they are now; `rules` and `nodes` are the template's.
pub(super) fn of_container(host: &HostConfig, rules: Vec<DeviceRule>, nodes: Vec<Device>) -> Result<Devices> {
    let nodes = nodes.into_iter().map(|device| (PathBuf::from(&device.path), device)).map(|(path, d)| (d, path));
    let mut devices = Devices { nodes: nodes.collect(), rules };
    if host.privileged {
        devices = Devices::default();
        devices.rules.push(rule(true, "a", None, None, "rwm"));
        // What vanishes while /dev is read is not an error.
        let _ = collect(Path::new("/dev"), Path::new("/dev"), DEPTH, &mut devices.nodes);
    }
    for mapping in &host.devices {
        let inside = validate_mapping(mapping)?;
        let first = devices.nodes.len();
        add_mapping(mapping, &inside, &mut devices.nodes)?;
        let access = access(mapping);
        let added = &devices.nodes[first..];
        devices.rules.extend(added.iter().map(|(d, _)| rule(true, &d.kind, Some(d.major), Some(d.minor), access)));
    }
    if devices.nodes.len() > LIMIT {
        return Err(Error::invalid(format!("more than {LIMIT} devices")));
    }
    // A later mapping replaces an earlier node of the same path.
    let mut seen = std::collections::HashSet::new();
    devices.nodes.reverse();
    devices.nodes.retain(|(d, _)| seen.insert(d.path.clone()));
    devices.nodes.reverse();
    for text in &host.device_cgroup_rules {
        devices.rules.push(parse_rule(text)?);
    }
    Ok(devices)
}

fn rule(allow: bool, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str) -> DeviceRule {
    DeviceRule { allow, kind: kind.into(), major, minor, access: access.into() }
}

fn access(mapping: &DeviceMapping) -> &str {
    if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions }
}

/// Checks everything about a mapping that needs no look at the device; gives the path inside.
pub(super) fn validate_mapping(mapping: &DeviceMapping) -> Result<String> {
    let letters = access(mapping);
    if letters.len() > 3 || letters.bytes().any(|b| !b"rwm".contains(&b)) {
        return Err(Error::invalid(format!("invalid device mode: {letters}")));
    }
    if !mapping.path_on_host.starts_with('/') {
        return Err(Error::invalid(format!("{} is not an absolute path", mapping.path_on_host)));
    }
    let inside = match mapping.path_in_container.as_str() {
        "" => super::paths::clean(&mapping.path_on_host),
        path => super::paths::clean(path),
    };
    if inside.is_empty() || inside == "/" || inside.contains('\0') || mapping.path_on_host.contains('\0') {
        return Err(Error::invalid(format!("device path {:?} is not an absolute path", mapping.path_in_container)));
    }
    Ok(inside)
}

fn add_mapping(mapping: &DeviceMapping, inside: &str, nodes: &mut Vec<(Device, PathBuf)>) -> Result<()> {
    let outside = Path::new(&mapping.path_on_host);
    let missing = |why: &str| {
        let text = format!("error gathering device information while adding custom device {outside:?}: {why}");
        Error::new(Kind::Invalid, text)
    };
    // Links such as /dev/disk/by-id/… stand for the node they lead to.
    let real = std::fs::canonicalize(outside).map_err(|e| missing(&Error::io("stat", e).to_string()))?;
    if let Some(node) = node(&real, Path::new(inside)) {
        nodes.push(node);
        return Ok(());
    }
    let before = nodes.len();
    if real.is_dir() {
        collect(&real, Path::new(inside), DEPTH, nodes)?;
    }
    if nodes.len() == before { Err(missing("not a device node")) } else { Ok(()) }
}

/// All devices below a directory, links not followed.
fn collect(outside: &Path, inside: &Path, depth: usize, nodes: &mut Vec<(Device, PathBuf)>) -> Result<()> {
    let read = |e| Error::io(format!("opendir({outside:?})"), e);
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(outside).map_err(read)?.flatten().map(|entry| entry.path()).collect();
    order::sort(&mut entries);
    for path in entries {
        let Some(name) = path.file_name() else { continue };
        let text = name.to_string_lossy();
        if text.contains(':') || (outside == Path::new("/dev") && SKIPPED.contains(&text.as_ref())) {
            continue;
        }
        if nodes.len() > LIMIT {
            return Ok(());
        }
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() && depth > 0 {
            collect(&path, &inside.join(name), depth - 1, nodes)?;
        } else if let Some(node) = node(&path, &inside.join(name)) {
            nodes.push(node);
        }
    }
    Ok(())
}

fn node(outside: &Path, inside: &Path) -> Option<(Device, PathBuf)> {
    let metadata = outside.symlink_metadata().ok()?;
    let kind = match metadata.file_type() {
        t if t.is_char_device() => "c",
        t if t.is_block_device() => "b",
        _ => return None,
    };
    let number = metadata.rdev();
    let device = Device {
        kind: kind.into(),
        path: inside.to_str()?.to_owned(),
        major: major(number) as i64,
        minor: minor(number) as i64,
        file_mode: Some(metadata.mode() & !SFlag::S_IFMT.bits()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    };
    Some((device, outside.to_owned()))
}

/// `TYPE MAJOR:MINOR ACCESS`, as in `c 42:* rmw`.
pub(super) fn parse_rule(text: &str) -> Result<DeviceRule> {
    let bad = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |s: &str| match s {
        "*" => Some(None),
        s if !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()) => {
            s.parse::<u32>().ok().map(|n| Some(i64::from(n)))
        }
        _ => None,
    };
    let known = matches!(kind, "a" | "b" | "c") && (1..=3).contains(&access.len());
    if !known || access.bytes().any(|b| !b"rwm".contains(&b)) {
        return Err(bad());
    }
    Ok(rule(true, kind, number(major).ok_or_else(bad)?, number(minor).ok_or_else(bad)?, access))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_container(host: &HostConfig) -> Result<Devices> {
        super::of_container(host, built_in(), Vec::new())
    }

    fn mapping(host: &str, inside: &str, access: &str) -> DeviceMapping {
        DeviceMapping { path_on_host: host.into(), path_in_container: inside.into(), cgroup_permissions: access.into() }
    }

    #[test]
    fn the_default_rules() {
        let got = of_container(&HostConfig::default()).unwrap();
        assert!(got.nodes.is_empty());
        assert_eq!(got.rules.len(), 13);
        assert_eq!(got.rules[0], rule(false, "a", None, None, "rwm"));
        assert_eq!(got.rules[11], rule(true, "c", Some(136), None, "rwm"));
    }

    #[test]
    fn a_mapping_makes_a_node_and_a_rule() {
        let host = HostConfig {
            devices: vec![mapping("/dev/zero", "/dev/nothing", "r"), mapping("/dev/null", "/dev/nothing", "")],
            ..HostConfig::default()
        };
        let got = of_container(&host).unwrap();
        assert_eq!(got.nodes.len(), 1);
        let (node, source) = &got.nodes[0];
        assert_eq!(source, Path::new("/dev/null"));
        assert_eq!((node.kind.as_str(), node.path.as_str(), node.major, node.minor), ("c", "/dev/nothing", 1, 3));
        assert_eq!(node.file_mode, Some(0o666));
        assert_eq!(got.rules[13..], [rule(true, "c", Some(1), Some(5), "r"), rule(true, "c", Some(1), Some(3), "rwm")]);
    }

    #[test]
    fn privileged_has_the_hosts() {
        let got = of_container(&HostConfig { privileged: true, ..HostConfig::default() }).unwrap();
        assert_eq!(got.rules, [rule(true, "a", None, None, "rwm")]);
        assert!(got.nodes.iter().any(|(d, _)| d.path == "/dev/null"));
        assert!(!got.nodes.iter().any(|(d, _)| d.path.starts_with("/dev/pts/") || d.path == "/dev/console"));
    }

    #[test]
    fn bad_mappings() {
        for bad in [
            mapping("/dev/null", "", "rx"),
            mapping("/dev/null", "", "rwmr"),
            mapping("dev/null", "", ""),
            mapping("/dev/null", "x", ""),
            mapping("/dev/null", "/", ""),
        ] {
            assert!(validate_mapping(&bad).is_err(), "{bad:?}");
        }
        let host = |path: &str| HostConfig { devices: vec![mapping(path, "", "")], ..HostConfig::default() };
        let text = of_container(&host("/dev/nosuch")).unwrap_err().to_string();
        assert!(text.contains("adding custom device \"/dev/nosuch\"") && text.contains("no such file"), "{text}");
        assert!(of_container(&host("/etc/passwd")).unwrap_err().to_string().contains("not a device node"));
    }

    #[test]
    fn cgroup_rules() {
        assert_eq!(parse_rule("c 42:* rmw").unwrap(), rule(true, "c", Some(42), None, "rmw"));
        assert_eq!(parse_rule("a *:* r").unwrap(), rule(true, "a", None, None, "r"));
        for bad in ["", "c", "c 1 r", "d 1:2 r", "c 1:2 x", "c 1:2 rwmr", "c 1:2  r", "c -1:2 r", "c 1:2 r ", "c :2 r"]
        {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
