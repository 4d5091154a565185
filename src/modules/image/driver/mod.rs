//! How the root of a container is made of an image's layers, and how large it may get.
//!
//! `overlay` mounts them below a writable layer. Where the kernel or the file system of the graph cannot do that, `vfs`
//! copies them for each container. Both find the same layers; what a container was made with is told by its directory,
//! not by the daemon's settings.

#[cfg(not(feature = "storage"))]
mod disabled;
#[cfg(feature = "storage")]
mod enabled;

#[cfg(not(feature = "storage"))]
use disabled as parts;
#[cfg(feature = "storage")]
use enabled as parts;
pub(super) use parts::{Quota, make_copy, overlay_works, release};

use crate::error::{Error, Result};
use crate::utils::size;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How roots are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// overlayfs.
    Overlay,
    /// A copy for each container, under docker's name for that.
    Vfs,
}

impl Driver {
    /// As users see it.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Overlay => "overlay",
            Driver::Vfs => "vfs",
        }
    }

    /// # Errors
    /// `Kind::Invalid` for another word than `overlay`, `overlay2` or `vfs`.
    pub fn parse(word: &str) -> Result<Driver> {
        match word {
            "overlay" | "overlay2" => Ok(Driver::Overlay),
            "vfs" if cfg!(feature = "storage") => Ok(Driver::Vfs),
            "vfs" => Err(Error::new(crate::error::Kind::Unsupported, "this build has no storage driver vfs")),
            other => Err(Error::invalid(format!("invalid storage driver {other:?}: want overlay2, overlay or vfs"))),
        }
    }
}

/// A layer that is copied.
#[derive(Debug)]
#[cfg_attr(not(feature = "storage"), allow(dead_code))]
pub(super) struct Lower {
    /// Its files.
    pub path: PathBuf,
    /// Whether its deletions may be in the form of archives.
    pub archive_signs: bool,
    /// Whether it gives the root its owner and mode, unless one above does.
    pub has_root: bool,
}

/// What an operator chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// How roots are made; overlay where it works when nothing is said.
    pub driver: Option<Driver>,
    /// Bytes that a container may fill when it does not say itself.
    pub size: Option<u64>,
    /// Further mount options of overlays.
    pub mount_options: Vec<String>,
    /// Whether layers are verified after an unclean stop.
    pub check_layers: bool,
}

/// Smallest size of a container, the original's.
const SMALLEST: u64 = 4096;
/// Options of an overlay that are the daemon's own.
const OWN: [&str; 7] = ["remount", "lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir", "volatile"];

impl Storage {
    /// Takes one storage option, `KEY=VALUE`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the option.
    pub fn option(&mut self, text: &str) -> Result<()> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid storage option {text:?}: want KEY=VALUE")))?;
        let name = key.strip_prefix("overlay2.").or_else(|| key.strip_prefix("overlay."));
        match name.map(str::to_ascii_lowercase).as_deref() {
            Some("size" | "basesize") => {
                self.size = limit(value).map_err(|e| e.context(format!("storage option {key:?}")))?;
            }
            // What they switch off does not exist here: a check of the kernel's version, a mount of the directory.
            Some("override_kernel_check" | "skip_mount_home") => {
                if !matches!(value, "true" | "false" | "1" | "0" | "True" | "False" | "TRUE" | "FALSE" | "t" | "f") {
                    return Err(Error::invalid(format!("storage option {key:?} {value:?}: want true or false")));
                }
            }
            Some("mountopt") => {
                let words = value.split(',').filter(|word| !word.is_empty());
                if let Some(bad) = words.clone().find(|w| OWN.contains(&w.split('=').next().unwrap_or_default())) {
                    return Err(Error::invalid(format!("storage option {key:?}: {bad:?} cannot be set")));
                }
                if value.contains('\0') {
                    return Err(Error::invalid(format!("storage option {key:?} has a NUL byte")));
                }
                self.mount_options = words.map(str::to_owned).collect();
            }
            _ => return Err(Error::invalid(format!("unknown storage option {key:?}"))),
        }
        Ok(())
    }
}

/// The size that the storage options of a container ask for; 0 is none, whatever the daemon's is.
///
/// # Errors
/// `Kind::Invalid` for an unknown option and a size that is none or too small.
pub fn size_option(options: &BTreeMap<String, String>) -> Result<Option<u64>> {
    let mut wanted = None;
    for (key, value) in options {
        if key != "size" {
            return Err(Error::invalid(format!("unknown storage option {key:?}: want size")));
        }
        wanted = Some(limit(value).map_err(|e| e.context("storage option \"size\""))?.unwrap_or(0));
    }
    Ok(wanted)
}

/// Nothing for 0.
fn limit(text: &str) -> Result<Option<u64>> {
    match size::parse(text)? {
        0 => Ok(None),
        bytes if bytes < SMALLEST => {
            Err(Error::invalid(format!("Illegal storage quota size {bytes}, {SMALLEST} at least")))
        }
        bytes => Ok(Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let mut storage = Storage::default();
        for text in [
            "overlay2.size=10m",
            "overlay2.override_kernel_check=true",
            "overlay2.skip_mount_home=false",
            "overlay2.mountopt=metacopy=off,,nodev",
        ] {
            storage.option(text).unwrap();
        }
        assert_eq!((storage.size, storage.mount_options.join(" ").as_str()), (Some(10 << 20), "metacopy=off nodev"));
        storage.option("overlay2.basesize=1g").unwrap();
        assert_eq!(storage.size, Some(1 << 30));
        for (text, part) in [
            ("overlay2.sise=1g", "unknown storage option \"overlay2.sise\""),
            ("dm.basesize=1g", "dm.basesize"),
            ("size=1g", "unknown storage option \"size\""),
            ("overlay2.size", "want KEY=VALUE"),
            ("overlay2.size=x", "overlay2.size"),
            ("overlay2.size=4095", "Illegal storage quota size 4095, 4096 at least"),
            ("overlay2.skip_mount_home=maybe", "overlay2.skip_mount_home"),
            ("overlay2.mountopt=nodev,lowerdir=/", "lowerdir"),
            ("overlay2.mountopt=remount", "remount"),
        ] {
            let e = storage.option(text).unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
    }

    #[test]
    fn sizes_of_containers() {
        let of = |key: &str, value: &str| size_option(&[(key.to_owned(), value.to_owned())].into());
        assert_eq!(of("size", "64m").unwrap(), Some(64 << 20));
        assert_eq!((of("size", "0").unwrap(), size_option(&BTreeMap::new()).unwrap()), (Some(0), None));
        assert!(of("size", "100").unwrap_err().to_string().contains("Illegal storage quota size 100, 4096 at least"));
        assert!(of("sise", "64m").unwrap_err().to_string().contains("\"sise\""));
        assert!(of("size", "").is_err() && of("size", "-1").is_err());
    }

    #[test]
    fn drivers() {
        assert_eq!(Driver::parse("overlay2").unwrap(), Driver::parse("overlay").unwrap());
        assert_eq!(Driver::parse("vfs").is_ok(), cfg!(feature = "storage"));
        assert!(Driver::parse("devicemapper").unwrap_err().to_string().contains("devicemapper"));
    }
}
