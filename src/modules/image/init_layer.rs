//! The init layer: what every container has and an image may lack: in `/etc` the link `mtab` and the files that are
//! mounted over, and the directories where the kernel's file systems are mounted. What a container's own layer shows
//! as changed is the container's work.
//!
//! Made once for each image, as a layer above its own, so that no start of a container has to make them through its
//! overlay: that would copy the directory up each time. The layer has nothing else, and its `/etc` looks like the
//! image's, as the topmost directory of a merge is the one that is seen.

use super::signs;
use super::tree::{DIRECTORY, lstat, type_of};
use crate::error::{Context, Result};
use crate::utils::atomic_file::sync_directory;
use crate::utils::likeness::imitate;
use nix::fcntl::{AT_FDCWD, AtFlags, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The link, as docker and the original make it.
const LINK: (&str, &str) = ("mtab", "/proc/mounts");
/// Mounted over in every container.
const FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// Mounted over in every container, in the root.
const DIRECTORIES: [&str; 3] = ["dev", "proc", "sys"];

/// Makes the layer `path` for an image of these `layers`, topmost first, as `owner`'s; not when the image has all. An
/// `/etc` that is no directory stays as it is. What was made is durable.
///
/// # Errors
/// The failing call.
pub(super) fn make(path: &Path, layers: &[PathBuf], owner: (u32, u32)) -> Result<()> {
    let found = Found::look(layers)?.filter(|found| !found.missing.is_empty());
    let directories = missing_directories(layers)?;
    if found.is_none() && directories.is_empty() {
        return Ok(());
    }
    DirBuilder::new().mode(0o755).create(path).context(|| format!("mkdir({path:?})"))?;
    let above = open(path)?;
    // The layer's own is seen only by an image that is nothing else.
    give(&above, ".", owner).context(|| format!("chown({path:?})"))?;
    for name in directories {
        let directory = path.join(name);
        DirBuilder::new().mode(0o755).create(&directory).context(|| format!("mkdir({directory:?})"))?;
        give(&above, name, owner).context(|| format!("chown({directory:?})"))?;
    }
    if let Some(found) = found {
        make_etc(path, &found, owner)?;
    }
    sync_directory(path)
}

fn make_etc(path: &Path, found: &Found, owner: (u32, u32)) -> Result<()> {
    let etc = path.join("etc");
    DirBuilder::new().mode(0o700).create(&etc).context(|| format!("mkdir({etc:?})"))?;
    let directory = open(&etc)?;
    for name in &found.missing {
        let made = match *name == LINK.0 {
            true => symlinkat(LINK.1, &directory, *name),
            false => mknodat(&directory, *name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0),
        };
        made.and_then(|()| give(&directory, name, owner)).context(|| format!("{name:?} in {etc:?}"))?;
    }
    // Where the image has no such directory.
    give(&open(path)?, "etc", owner).context(|| format!("chown({etc:?})"))?;
    match &found.directory {
        Some(model) => {
            let stat = fstat(model).context(|| "fstat()".into())?;
            imitate(&directory, model, &stat).context(|| format!("{etc:?}"))?;
        }
        None => fchmod(&directory, Mode::from_bits_truncate(0o755)).context(|| format!("fchmod({etc:?})"))?,
    }
    sync_directory(&etc)
}

/// Those of [`DIRECTORIES`] that the image has under no name at all: what else it has there, a start tells.
fn missing_directories(layers: &[PathBuf]) -> Result<Vec<&'static str>> {
    let mut open_names = Vec::from(DIRECTORIES);
    let mut missing = Vec::new();
    for layer in layers {
        open_names = not_decided(open(layer)?.as_fd(), open_names, &mut missing)?;
    }
    missing.extend(open_names);
    Ok(missing)
}

/// The names about which this directory of a layer says nothing; those that it hides are `missing`.
fn not_decided(
    directory: BorrowedFd<'_>,
    names: Vec<&'static str>,
    missing: &mut Vec<&'static str>,
) -> Result<Vec<&'static str>> {
    let mut left = Vec::new();
    for name in names {
        match lstat(directory, name.as_bytes())? {
            None if signs::hides(directory, name.as_bytes())? => missing.push(name),
            None => left.push(name),
            Some(stat) if signs::is_whiteout(&stat) => missing.push(name),
            Some(_) => {}
        }
    }
    Ok(left)
}

fn give(directory: &OwnedFd, name: &str, (uid, gid): (u32, u32)) -> nix::Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// What an image has.
struct Found {
    /// Its `/etc`, when there is one.
    directory: Option<OwnedFd>,
    /// Names that are missing there.
    missing: Vec<&'static str>,
}

impl Found {
    /// Looks through the layers as overlayfs would (Documentation/filesystems/overlayfs.rst). `None` when `/etc` is no
    /// directory.
    fn look(layers: &[PathBuf]) -> Result<Option<Found>> {
        let mut open_names: Vec<_> = FILES.into_iter().chain([LINK.0]).collect();
        let mut found = Found { directory: None, missing: Vec::new() };
        for layer in layers {
            let root = open(layer)?;
            let hidden = signs::hides(root.as_fd(), b"etc")?;
            let Some(stat) = lstat(root.as_fd(), b"etc")? else {
                if hidden {
                    break;
                }
                continue;
            };
            if type_of(&stat) != SFlag::S_IFDIR {
                if found.directory.is_none() && !signs::is_whiteout(&stat) {
                    return Ok(None);
                }
                break;
            }
            let directory = openat(&root, "etc", DIRECTORY, Mode::empty()).context(|| format!("{layer:?}: etc"))?;
            open_names = not_decided(directory.as_fd(), open_names, &mut found.missing)?;
            let opaque = hidden || signs::is_opaque(directory.as_fd(), true)?;
            found.directory.get_or_insert(directory);
            if opaque {
                break;
            }
        }
        found.missing.extend(open_names);
        Ok(Some(found))
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).context(|| format!("open({path:?})"))
}

#[cfg(test)]
mod tests {
    use super::super::signs::OPAQUE_ATTRIBUTE;
    use super::*;
    use crate::utils::remove_tree::remove_tree;
    use crate::utils::sys::xattr;
    use nix::sys::stat::futimens;
    use nix::sys::time::TimeSpec;
    use std::fs::{self, create_dir_all, read_link, write};
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    struct Layers(PathBuf);

    impl Drop for Layers {
        fn drop(&mut self) {
            remove_tree(&self.0).unwrap();
        }
    }

    impl Layers {
        fn new() -> Layers {
            let id = crate::utils::id::random_id().unwrap();
            let path = std::env::temp_dir().join(format!("init-layer-{}", &id[..12]));
            for layer in ["0", "1"] {
                create_dir_all(path.join(layer)).unwrap();
            }
            for name in DIRECTORIES {
                create_dir_all(path.join("0").join(name)).unwrap();
            }
            Layers(path)
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        /// What is made above layer 1, which is above layer 0; nothing when there is no such layer.
        fn made(&self) -> Vec<String> {
            let path = self.at("made");
            make(&path, &[self.at("1"), self.at("0")], (0, 0)).unwrap();
            let entries = fs::read_dir(path.join("etc")).into_iter().flatten().flatten();
            let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    const ALL: [&str; 4] = ["hostname", "hosts", "mtab", "resolv.conf"];

    #[test]
    fn what_is_missing_is_made_in_a_directory_like_the_images() {
        let layers = Layers::new();
        for layer in ["0", "1"] {
            create_dir_all(layers.at(layer).join("etc")).unwrap();
        }
        write(layers.at("0/etc/hosts"), "x").unwrap();
        symlink("/nowhere", layers.at("1/etc/resolv.conf")).unwrap();
        let model = layers.at("1/etc");
        let directory = open(&model).unwrap();
        xattr::set(directory.as_fd(), c"trusted.model", b"value").unwrap();
        chown(&model, Some(7), Some(8)).unwrap();
        fchmod(&directory, Mode::from_bits_truncate(0o1751)).unwrap();
        futimens(&directory, &TimeSpec::UTIME_OMIT, &TimeSpec::new(2000, 2)).unwrap();
        assert_eq!(layers.made(), ["hostname", "mtab"]);
        assert_eq!(read_link(layers.at("made/etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        let made = layers.at("made/etc").metadata().unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o1751, 7, 8));
        assert_eq!((made.mtime(), made.mtime_nsec()), (2000, 2));
        let attribute = xattr::get(open(&layers.at("made/etc")).unwrap().as_fd(), c"trusted.model").unwrap();
        assert_eq!(attribute.as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn hidden_things_are_missing() {
        let layers = Layers::new();
        assert_eq!(layers.made(), ALL, "no /etc at all");
        let whiteout = |path: &str| mknodat(AT_FDCWD, &layers.at(path), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        remove_tree(&layers.at("made")).unwrap();
        for name in ALL {
            create_dir_all(layers.at("0/etc")).unwrap();
            write(layers.at("0/etc").join(name), "").unwrap();
        }
        assert_eq!(layers.made(), [""; 0], "all is there");
        assert!(!layers.at("made").exists());
        whiteout("1/etc");
        assert_eq!(layers.made(), ALL, "/etc is hidden");
        fs::remove_file(layers.at("1/etc")).unwrap();
        remove_tree(&layers.at("made")).unwrap();
        create_dir_all(layers.at("1/etc")).unwrap();
        whiteout("1/etc/mtab");
        assert_eq!(layers.made(), ["mtab"]);
        remove_tree(&layers.at("made")).unwrap();
        xattr::set(open(&layers.at("1/etc")).unwrap().as_fd(), OPAQUE_ATTRIBUTE, b"y").unwrap();
        assert_eq!(layers.made(), ALL, "nothing of the lower one shows");
        let opaque = xattr::get(open(&layers.at("made/etc")).unwrap().as_fd(), OPAQUE_ATTRIBUTE).unwrap();
        assert_eq!(opaque, None);
    }

    #[test]
    fn a_link_for_the_directory_is_left_alone() {
        let layers = Layers::new();
        create_dir_all(layers.at("0/etc")).unwrap();
        symlink("/", layers.at("1/etc")).unwrap();
        assert_eq!(layers.made(), [""; 0]);
        assert!(!layers.at("made").exists());
    }

    #[test]
    fn directories_that_are_mounted_over() {
        let layers = Layers::new();
        fs::remove_dir(layers.at("0/dev")).unwrap();
        symlink("/nowhere", layers.at("1/sys")).unwrap();
        mknodat(AT_FDCWD, &layers.at("1/proc"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        make(&layers.at("made"), &[layers.at("1"), layers.at("0")], (7, 8)).unwrap();
        for (name, there) in [("dev", true), ("proc", true), ("sys", false)] {
            let made = layers.at("made").join(name).symlink_metadata().map(|m| (m.mode(), m.uid(), m.gid())).ok();
            assert_eq!(made, there.then_some((0o40755, 7, 8)), "{name}");
        }
    }
}
