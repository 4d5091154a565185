//! The mounts that a request asks for: `-v`, `--mount`, `--tmpfs`.

use super::{paths, security};
use crate::api::container::{ContainerConfig, HostConfig, MountPoint};
use crate::api::oci::runtime::Mount;
use crate::error::{Error, Kind, Result};

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
}

/// Reads all of them; a destination may occur once.
pub(super) fn of_request(host: &HostConfig, config: &ContainerConfig) -> Result<Vec<Wanted>> {
    if let Some(path) = config.volumes.keys().next() {
        return Err(unsupported(format!(
            "anonymous volume {path:?}: volumes are not supported, name a host directory"
        )));
    }
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

fn unsupported(text: String) -> Error {
    Error::new(Kind::Unsupported, text)
}

fn destination(path: &str) -> Result<String> {
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
}

/// `SRC:DST[:OPTS]`.
fn parse_bind(text: &str) -> Result<Wanted> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        [path] => {
            return Err(unsupported(format!(
                "anonymous volume {path:?}: volumes are not supported, name a host directory"
            )));
        }
        _ => return Err(Error::invalid(format!("invalid volume {text:?}: want SOURCE:DESTINATION[:OPTIONS]"))),
    };
    let target = destination(target)?;
    if !source.starts_with('/') {
        if source.contains('/') || source.is_empty() {
            return Err(Error::invalid("Invalid volume: path must be absolute, and destination can't be '/'"));
        }
        return Err(unsupported(format!("named volume {source:?} is not supported: name a host directory")));
    }
    let bad = |option: &str| Error::invalid(format!("invalid volume {text:?}: bad or repeated option {option:?}"));
    let mut chosen = BindOptions::default();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let slot = match option {
            "ro" | "rw" => &mut chosen.access,
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => &mut chosen.propagation,
            "z" | "Z" => &mut chosen.label,
            // Consistency words that only remote file systems of desktop machines know.
            "cached" | "consistent" | "delegated" => continue,
            _ => return Err(bad(option)),
        };
        if slot.replace(option).is_some() {
            return Err(bad(option));
        }
    }
    if options.is_empty() && parts.len() == 3 {
        return Err(Error::invalid(format!("invalid volume {text:?}: empty options")));
    }
    relabel(chosen.label.unwrap_or_default())?;
    Ok(bind(source, target, chosen.access == Some("ro"), chosen.propagation.unwrap_or_default(), true))
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

fn bind(source: &str, target: String, readonly: bool, propagation: &str, create_source: bool) -> Wanted {
    let propagation = if propagation.is_empty() { "rprivate" } else { propagation };
    let access = if readonly { "ro" } else { "rw" };
    Wanted {
        mount: Mount {
            destination: target,
            kind: "bind".into(),
            source: paths::clean(source),
            options: vec!["rbind".into(), propagation.into(), access.into()],
            ..Mount::default()
        },
        propagation: match propagation.trim_start_matches('r') {
            "shared" => Propagation::Shared,
            "slave" => Propagation::Slave,
            _ => Propagation::Private,
        },
        create_source,
    }
}

/// One `--mount`.
fn parse_mount(m: &MountPoint) -> Result<Wanted> {
    let bad = |why: &str| Error::invalid(format!("invalid mount config for type {:?}: {why}", m.kind));
    match m.kind.as_str() {
        "bind" => {
            if !m.source.starts_with('/') || m.source.contains('\0') {
                return Err(bad("invalid mount path: source must be an absolute path"));
            }
            if m.tmpfs_options.is_some() || m.volume_options.is_some() {
                return Err(bad("options of another type are given"));
            }
            let options = m.bind_options.clone().unwrap_or_default();
            let known = ["", "private", "rprivate", "slave", "rslave", "shared", "rshared"];
            if !known.contains(&options.propagation.as_str()) {
                return Err(bad(&format!("invalid propagation mode: {}", options.propagation)));
            }
            relabel(&options.selinux_opts)?;
            Ok(bind(&m.source, destination(&m.target)?, m.read_only, &options.propagation, false))
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
        "volume" | "" => Err(unsupported(format!(
            "mount type \"volume\" (source {:?}) is not supported: use type=bind with a host directory",
            m.source
        ))),
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

/// A file system in a file, which cannot be written whatever the request says.
fn squashfs(source: &str, target: String) -> Wanted {
    Wanted {
        mount: Mount {
            destination: target,
            kind: "squashfs".into(),
            source: paths::clean(source),
            options: ["loop", "nodev", "ro"].map(str::to_owned).to_vec(),
            ..Mount::default()
        },
        propagation: Propagation::Private,
        create_source: false,
    }
}

const TMPFS_DEFAULT: [&str; 3] = ["noexec", "nosuid", "nodev"];

fn tmpfs(target: String, options: Vec<String>) -> Wanted {
    Wanted {
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
mod tests {
    use super::*;
    use crate::api::container::{BindOptions as ApiBind, TmpfsOptions};

    #[test]
    fn binds() {
        for (text, source, target, options, propagation) in [
            ("/a:/b", "/a", "/b", "rbind rprivate rw", Propagation::Private),
            ("/a/../c/:/b//x/", "/c", "/b/x", "rbind rprivate rw", Propagation::Private),
            ("/a:/b:ro,rslave", "/a", "/b", "rbind rslave ro", Propagation::Slave),
            ("/a:/b:shared,rw,cached", "/a", "/b", "rbind shared rw", Propagation::Shared),
        ] {
            let w = parse_bind(text).unwrap();
            assert_eq!((w.mount.source.as_str(), w.mount.destination.as_str()), (source, target), "{text}");
            assert_eq!(
                (w.mount.options.join(" ").as_str(), w.propagation, w.create_source),
                (options, propagation, true)
            );
        }
        for (text, kind) in [
            ("relative:rel", Kind::Invalid),
            ("./a:/b", Kind::Invalid),
            (":/b", Kind::Invalid),
            ("/a:/", Kind::Invalid),
            ("/a:/b:", Kind::Invalid),
            ("/a:/b:ro,rw", Kind::Invalid),
            ("/a:/b:ro:z", Kind::Invalid),
            ("/a:/b:nosuch", Kind::Invalid),
            ("/a:/b:private,shared", Kind::Invalid),
            ("/a:/b:nocopy", Kind::Invalid),
            ("vol:/b", Kind::Unsupported),
            ("/b", Kind::Unsupported),
        ] {
            assert_eq!(parse_bind(text).unwrap_err().kind(), kind, "{text}");
        }
        let text = parse_bind("relative:rel").unwrap_err().to_string();
        assert_eq!(text, "Invalid volume: path must be absolute, and destination can't be '/'");
    }

    #[test]
    fn mounts() {
        let mount = |kind: &str, source: &str| MountPoint {
            kind: kind.into(),
            source: source.into(),
            target: "/t".into(),
            ..MountPoint::default()
        };
        let w = parse_mount(&MountPoint { read_only: true, ..mount("bind", "/s") }).unwrap();
        assert_eq!((w.mount.options.join(" ").as_str(), w.create_source), ("rbind rprivate ro", false));
        let sized =
            MountPoint { tmpfs_options: Some(TmpfsOptions { size_bytes: 4096, mode: 0o700 }), ..mount("tmpfs", "") };
        assert_eq!(parse_mount(&sized).unwrap().mount.options.join(" "), "noexec nosuid nodev mode=700 size=4096");
        let wrong = MountPoint {
            bind_options: Some(ApiBind { propagation: "x".into(), ..ApiBind::default() }),
            ..mount("bind", "/s")
        };
        for (bad, kind) in [
            (wrong, Kind::Invalid),
            (mount("bind", "s"), Kind::Invalid),
            (mount("tmpfs", "/s"), Kind::Invalid),
            (mount("npipe", ""), Kind::Invalid),
            (mount("volume", "v"), Kind::Unsupported),
            (mount("", ""), Kind::Unsupported),
            #[cfg(not(feature = "embedded"))]
            (mount("squashfs", "/s"), Kind::Unsupported),
            #[cfg(feature = "embedded")]
            (mount("squashfs", "s"), Kind::Invalid),
        ] {
            assert_eq!(parse_mount(&bad).unwrap_err().kind(), kind, "{bad:?}");
        }
    }

    #[test]
    fn tmpfs_options_override_the_defaults() {
        for (text, want) in [
            ("", "noexec nosuid nodev"),
            ("exec,size=64m,size=1m", "nosuid nodev exec size=1m"),
            ("rw,ro,mode=1777,uid=5,size=50%", "noexec nosuid nodev ro mode=1777 uid=5 size=50%"),
        ] {
            assert_eq!(tmpfs_options(text).unwrap().join(" "), want, "{text}");
        }
        for text in ["size=", "size=x", "mode=9", "nosuch", "huge=always", "uid=-1", "size=1,x=2"] {
            assert!(tmpfs_options(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_mount_per_destination() {
        let host = HostConfig {
            binds: vec!["/a:/x/".into()],
            tmpfs: [("/x".to_string(), String::new())].into(),
            ..HostConfig::default()
        };
        let text = of_request(&host, &ContainerConfig::default()).unwrap_err().to_string();
        assert_eq!(text, "Duplicate mount point: /x");
    }
}
