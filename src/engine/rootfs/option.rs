//! Mount options: from the words of mount(8) and the OCI specification to flags.

use crate::api::oci::runtime::{IdMapping, Mount};
use crate::error::{Error, Kind, Result};
use crate::utils::sys::mount::{Attributes, MS_LAZYTIME, MS_NOSYMFOLLOW, attribute};
use libc::c_ulong;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// One mount, read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned<'a> {
    /// Absolute path inside the container.
    pub destination: &'a Path,
    /// What is mounted there.
    pub kind: Fs,
    /// MS_* for the mount itself.
    pub flags: c_ulong,
    /// Attributes of the mount that the options name, set or cleared: for binds, which mount(2) cannot give flags.
    pub attributes: Attributes,
    /// Attributes for the mount and all below (`rro`, `rnosuid`, …).
    pub recursive: Attributes,
    /// Propagation for the mount alone, and for it and all below; 0 is none.
    pub propagation: [c_ulong; 2],
    /// Options of the file system.
    pub data: CString,
    /// Whether the tmpfs begins with what was there before (`tmpcopyup`).
    pub copy_up: bool,
    /// Whose ids the files have.
    pub ids: Option<Ids>,
}

/// An id-mapped mount (mount_setattr(2), MOUNT_ATTR_IDMAP).
#[derive(Debug, Clone, PartialEq)]
pub struct Ids {
    /// The maps, of users and of groups; `None` stands for those of the container's user namespace.
    pub maps: Option<[Vec<IdMapping>; 2]>,
    /// Also of all mounts below.
    pub recursive: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fs {
    /// A part of the host's tree.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// With all mounts below.
        recursive: bool,
    },
    /// A squashfs in a file.
    Image {
        /// Absolute path on the host.
        source: PathBuf,
    },
    /// The container's cgroup tree, whatever the host's layout.
    Cgroup,
    /// A file system by type.
    Named {
        /// Type.
        kind: CString,
        /// Device or word.
        source: CString,
    },
}

/// Flags of mount(2): word, MS_*, whether the word clears it.
const FLAGS: [(&str, c_ulong, bool); 31] = [
    ("ro", libc::MS_RDONLY, false),
    ("rw", libc::MS_RDONLY, true),
    ("nosuid", libc::MS_NOSUID, false),
    ("suid", libc::MS_NOSUID, true),
    ("nodev", libc::MS_NODEV, false),
    ("dev", libc::MS_NODEV, true),
    ("noexec", libc::MS_NOEXEC, false),
    ("exec", libc::MS_NOEXEC, true),
    ("noatime", libc::MS_NOATIME, false),
    ("atime", libc::MS_NOATIME, true),
    ("nodiratime", libc::MS_NODIRATIME, false),
    ("diratime", libc::MS_NODIRATIME, true),
    ("relatime", libc::MS_RELATIME, false),
    ("norelatime", libc::MS_RELATIME, true),
    ("strictatime", libc::MS_STRICTATIME, false),
    ("nostrictatime", libc::MS_STRICTATIME, true),
    ("nosymfollow", MS_NOSYMFOLLOW, false),
    ("symfollow", MS_NOSYMFOLLOW, true),
    ("sync", libc::MS_SYNCHRONOUS, false),
    ("async", libc::MS_SYNCHRONOUS, true),
    ("dirsync", libc::MS_DIRSYNC, false),
    ("mand", libc::MS_MANDLOCK, false),
    ("nomand", libc::MS_MANDLOCK, true),
    ("iversion", libc::MS_I_VERSION, false),
    ("noiversion", libc::MS_I_VERSION, true),
    ("lazytime", MS_LAZYTIME, false),
    ("nolazytime", MS_LAZYTIME, true),
    ("silent", libc::MS_SILENT, false),
    ("loud", libc::MS_SILENT, true),
    ("remount", libc::MS_REMOUNT, false),
    ("defaults", 0, false),
];

/// So many of them are attributes of a mount, which those below it can get too.
const ATTRIBUTES: usize = 18;

const PROPAGATION: [(&str, c_ulong); 4] = [
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// The flag of mount(2) that a word stands for, and whether the word clears it; `None` for a file system's own option.
pub fn flag(word: &str) -> Option<(c_ulong, bool)> {
    FLAGS.iter().find(|(w, ..)| *w == word).map(|(_, flag, clear)| (*flag, *clear))
}

/// All words that are options of mounts, as `features` lists them.
pub fn words() -> Vec<String> {
    let flags = FLAGS.iter().map(|(word, ..)| (*word).to_owned());
    let below = FLAGS.iter().take(ATTRIBUTES).map(|(word, ..)| format!("r{word}"));
    let propagation = PROPAGATION.iter().flat_map(|(word, _)| [(*word).to_owned(), format!("r{word}")]);
    let others = ["bind", "rbind", "idmap", "ridmap", "tmpcopyup"].map(str::to_owned);
    flags.chain(below).chain(propagation).chain(others).collect()
}

/// Reads one mount. Relative bind sources start at `bundle`; `label` is the SELinux label of mounts.
///
/// # Errors
/// `Kind::Invalid` naming the mount and the option; `Kind::Unsupported` for an option that is known but not done.
pub fn parse<'a>(mount: &'a Mount, bundle: &Path, label: &str) -> Result<Planned<'a>> {
    parse_options(mount, bundle, label).map_err(|e| e.context(format!("mount at {:?}", mount.destination)))
}

fn parse_options<'a>(mount: &'a Mount, bundle: &Path, label: &str) -> Result<Planned<'a>> {
    let mut bind = mount.kind == "bind";
    let mut data: Vec<&str> = Vec::new();
    let mut planned = Planned {
        destination: Path::new(&mount.destination),
        kind: Fs::Cgroup,
        flags: 0,
        attributes: Attributes::default(),
        recursive: Attributes::default(),
        propagation: [0, 0],
        data: CString::default(),
        copy_up: false,
        ids: None,
    };
    if mount.destination.is_empty() || mount.destination.contains('\0') {
        return Err(Error::invalid("the destination is no path"));
    }
    let mut recursive_bind = false;
    for option in &mount.options {
        let word = option.as_str();
        let rest = word.strip_prefix('r').unwrap_or("");
        if matches!(word, "bind" | "rbind") {
            (bind, recursive_bind) = (true, word == "rbind");
        } else if let Some((_, flag, clear)) = FLAGS.iter().find(|(w, ..)| *w == word) {
            match clear {
                true => planned.flags &= !flag,
                false => planned.flags |= flag,
            }
            add_attribute(&mut planned.attributes, *flag, *clear);
        } else if let Some((_, flag)) = PROPAGATION.iter().find(|(w, _)| *w == word) {
            planned.propagation[0] = *flag;
        } else if let Some((_, flag)) = PROPAGATION.iter().find(|(w, _)| *w == rest) {
            planned.propagation[1] = *flag;
        } else if let Some((_, flag, clear)) = FLAGS.iter().take(ATTRIBUTES).find(|(w, ..)| *w == rest) {
            add_attribute(&mut planned.recursive, *flag, *clear);
        } else if word == "tmpcopyup" {
            planned.copy_up = true;
        } else if let Some((recursive, maps)) = idmap(word)? {
            planned.ids = Some(Ids { maps, recursive });
        } else {
            data.push(word);
        }
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        if mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty() {
            return Err(Error::invalid("an id-mapped mount needs both uidMappings and gidMappings"));
        }
        let ids = planned.ids.get_or_insert(Ids { maps: None, recursive: false });
        if ids.maps.replace([mount.uid_mappings.clone(), mount.gid_mappings.clone()]).is_some() {
            return Err(Error::invalid("id mappings in an option and beside it"));
        }
    }
    if planned.ids.is_some() && !bind {
        return Err(Error::new(Kind::Unsupported, "id mappings are for binds only"));
    }
    if planned.copy_up && mount.kind != "tmpfs" {
        return Err(Error::invalid("option \"tmpcopyup\" is for tmpfs only"));
    }
    planned.kind = match mount.kind.as_str() {
        _ if bind => {
            if let Some(word) = data.first() {
                return Err(Error::invalid(format!("option {word:?} does not apply to a bind")));
            }
            if mount.source.is_empty() {
                return Err(Error::invalid("a bind without source"));
            }
            Fs::Bind { source: bundle.join(&mount.source), recursive: recursive_bind }
        }
        // As mount(8) has it; to the kernel the word means nothing.
        "squashfs" if cfg!(feature = "embedded") && data.contains(&"loop") => {
            if let Some(word) = data.iter().find(|word| **word != "loop") {
                return Err(Error::invalid(format!("option {word:?} does not apply to a file system in a file")));
            }
            data.clear();
            Fs::Image { source: bundle.join(&mount.source) }
        }
        "" => return Err(Error::invalid("neither a type nor a bind")),
        "cgroup" | "cgroup2" => Fs::Cgroup,
        kind => {
            let source = if mount.source.is_empty() { kind } else { &mount.source };
            Fs::Named { kind: c_string(kind)?, source: c_string(source)? }
        }
    };
    let mut text = data.join(",");
    let labelled = !matches!(mount.kind.as_str(), "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
        && !matches!(planned.kind, Fs::Image { .. });
    if !label.is_empty() && !bind && labelled {
        let comma = if text.is_empty() { "" } else { "," };
        text = format!("{text}{comma}context=\"{label}\"");
    }
    planned.data = c_string(&text)?;
    Ok(planned)
}

/// `[r]idmap` of the specification, and crun's form of it with maps: `idmap=uids=FIRST-HOST-COUNT#…;gids=…`, where FIRST
/// is the id on the file system. Whether it is recursive, and the maps.
type Mapped = (bool, Option<[Vec<IdMapping>; 2]>);

fn idmap(word: &str) -> Result<Option<Mapped>> {
    let (name, maps) = word.split_once('=').map_or((word, None), |(name, maps)| (name, Some(maps)));
    let recursive = match name {
        "idmap" => false,
        "ridmap" => true,
        _ => return Ok(None),
    };
    let Some(maps) = maps else { return Ok(Some((recursive, None))) };
    let wrong = || Error::invalid(format!("option {word:?}: want uids=ID-HOST-COUNT[#…];gids=ID-HOST-COUNT[#…]"));
    let mut found: [Vec<IdMapping>; 2] = Default::default();
    for part in maps.split(';') {
        let (kind, list) = part.split_once('=').ok_or_else(wrong)?;
        let to = match kind {
            "uids" => &mut found[0],
            "gids" => &mut found[1],
            _ => return Err(wrong()),
        };
        for entry in list.split('#') {
            let mut numbers = entry.split('-').map(str::parse);
            match [numbers.next(), numbers.next(), numbers.next(), numbers.next()] {
                [Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size)), None] => {
                    to.push(IdMapping { container_id, host_id, size });
                }
                _ => return Err(wrong()),
            }
        }
    }
    if found.iter().any(Vec::is_empty) { Err(wrong()) } else { Ok(Some((recursive, Some(found)))) }
}

/// The attribute for an MS_* flag; flags of the superblock have none.
fn add_attribute(attributes: &mut Attributes, flag: c_ulong, clear: bool) {
    // Access time modes exclude each other: naming one clears the field.
    let (bit, field) = match flag {
        libc::MS_RDONLY => (attribute::RDONLY, attribute::RDONLY),
        libc::MS_NOSUID => (attribute::NOSUID, attribute::NOSUID),
        libc::MS_NODEV => (attribute::NODEV, attribute::NODEV),
        libc::MS_NOEXEC => (attribute::NOEXEC, attribute::NOEXEC),
        libc::MS_NODIRATIME => (attribute::NODIRATIME, attribute::NODIRATIME),
        MS_NOSYMFOLLOW => (attribute::NOSYMFOLLOW, attribute::NOSYMFOLLOW),
        libc::MS_NOATIME => (attribute::NOATIME, attribute::ATIME),
        libc::MS_STRICTATIME => (attribute::STRICTATIME, attribute::ATIME),
        libc::MS_RELATIME if !clear => (0, attribute::ATIME),
        _ => return,
    };
    attributes.set &= !field;
    attributes.clear |= field;
    if !clear {
        attributes.set |= bit;
    }
    // The kernel wants a mode's whole field cleared before one is set, and single bits only once.
    attributes.clear &= !(attributes.set & !attribute::ATIME);
}

/// The flag of a propagation word of the specification's `rootfsPropagation`.
///
/// # Errors
/// `Kind::Invalid` for an unknown word.
pub fn propagation(word: &str) -> Result<c_ulong> {
    let (rest, recursive) = match word.strip_prefix('r') {
        Some(rest) => (rest, libc::MS_REC),
        None => (word, 0),
    };
    let found = PROPAGATION.iter().find(|(w, _)| *w == rest);
    found
        .map(|(_, flag)| flag | recursive)
        .ok_or_else(|| Error::invalid(format!("unknown rootfs propagation {word:?}")))
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::invalid(format!("{text:?} has a NUL byte")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Mount {
        Mount {
            destination: "/d".into(),
            kind: kind.into(),
            source: "s".into(),
            options: options.iter().map(|o| o.to_string()).collect(),
            ..Mount::default()
        }
    }

    fn parse(m: &Mount) -> Result<Planned<'_>> {
        super::parse(m, Path::new("/bundle"), "")
    }

    #[test]
    fn words_become_flags_and_data() {
        let m = mount("tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k", "rprivate"]);
        let p = parse(&m).unwrap();
        assert_eq!(p.flags, libc::MS_NOSUID | libc::MS_STRICTATIME);
        assert_eq!(p.data.to_str().unwrap(), "mode=755,size=64k");
        assert_eq!(p.propagation, [0, libc::MS_PRIVATE]);
        let m = mount("none", &["rbind", "ro", "nodev", "rw", "slave", "rnosuid"]);
        let p = parse(&m).unwrap();
        assert_eq!(p.kind, Fs::Bind { source: "/bundle/s".into(), recursive: true });
        assert_eq!((p.attributes.set, p.attributes.clear), (attribute::NODEV, attribute::RDONLY));
        assert_eq!(p.recursive.set, attribute::NOSUID);
        assert_eq!(p.propagation, [libc::MS_SLAVE, 0]);
        let m = mount("bind", &["noatime", "strictatime"]);
        let p = parse(&m).unwrap();
        assert_eq!((p.attributes.set, p.attributes.clear), (attribute::STRICTATIME, attribute::ATIME));
        assert_eq!(parse(&mount("cgroup", &["ro"])).unwrap().kind, Fs::Cgroup);
    }

    #[test]
    #[cfg(feature = "embedded")]
    fn a_file_with_a_file_system() {
        let m = mount("squashfs", &["loop", "ro", "nodev"]);
        let p = parse(&m).unwrap();
        assert_eq!(p.kind, Fs::Image { source: "/bundle/s".into() });
        assert_eq!((p.attributes.set, p.data.as_bytes()), (attribute::RDONLY | attribute::NODEV, &b""[..]));
        assert!(matches!(parse(&mount("squashfs", &["ro"])).unwrap().kind, Fs::Named { .. }));
        let e = parse(&mount("squashfs", &["loop", "offset=4096"])).unwrap_err();
        assert!(e.to_string().contains("\"offset=4096\" does not apply"), "{e}");
    }

    #[test]
    fn bad_ones_are_refused_by_name() {
        let e = parse(&mount("bind", &["size=1"])).unwrap_err();
        assert_eq!(e.to_string(), "mount at \"/d\": option \"size=1\" does not apply to a bind");
        let text = |kind: &str, option: &str| parse(&mount(kind, &[option])).unwrap_err().to_string();
        assert!(text("tmpfs", "ridmap").contains("binds only"));
        assert!(text("bind", "tmpcopyup").contains("tmpfs only"));
        for bad in [
            "idmap=",
            "idmap=uids=0-1-2",
            "idmap=uids=0-1-2;gids=0-1",
            "idmap=uids=0-1-2-3;gids=0-1-2",
            "idmap=x=0-1-2",
        ] {
            assert!(text("bind", bad).contains("want uids="), "{bad}");
        }
        let mut half = mount("bind", &["idmap"]);
        half.uid_mappings = vec![IdMapping { container_id: 0, host_id: 7, size: 1 }];
        assert!(parse(&half).unwrap_err().to_string().contains("both"));
        assert!(parse(&mount("", &["ro"])).is_err());
        assert!(parse(&mount("tmp\0fs", &[])).is_err());
        let labelled = mount("tmpfs", &["mode=1"]);
        let p = super::parse(&labelled, Path::new("/"), "a:b:c").unwrap();
        assert_eq!(p.data.to_str().unwrap(), "mode=1,context=\"a:b:c\"");
    }

    #[test]
    fn maps_of_a_mount() {
        let map = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        let m = mount("bind", &["ridmap=uids=0-100-10#10-5-1;gids=1-2-3"]);
        let maps = [vec![map(0, 100, 10), map(10, 5, 1)], vec![map(1, 2, 3)]];
        assert_eq!(parse(&m).unwrap().ids, Some(Ids { maps: Some(maps.clone()), recursive: true }));
        assert_eq!(parse(&mount("bind", &["idmap"])).unwrap().ids, Some(Ids { maps: None, recursive: false }));
        let [uids, gids] = maps;
        let m = Mount { uid_mappings: uids.clone(), gid_mappings: gids.clone(), ..mount("bind", &[]) };
        assert_eq!(parse(&m).unwrap().ids, Some(Ids { maps: Some([uids, gids]), recursive: false }));
    }

    #[test]
    fn propagation_words() {
        assert_eq!(propagation("rslave").unwrap(), libc::MS_SLAVE | libc::MS_REC);
        assert_eq!(propagation("private").unwrap(), libc::MS_PRIVATE);
        assert!(propagation("r").is_err());
    }
}
