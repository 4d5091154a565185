//! `ISULAD_TMPDIR`. Nothing of ours needs scratch space: archives are unpacked as they come. The variable keeps its
//! meaning for those who set it: the directory is made and judged as the original does, and emptied of what the original,
//! which may have run here before, left in it.

use crate::error::{Context, Error, Result};
use crate::utils::mountinfo;
use crate::utils::remove_tree::remove_tree;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The original's name.
const NAME: &str = "isulad_tmpdir";
/// Where everybody may put things: no place for what root unpacks.
const PUBLIC: &str = "/tmp";

/// Makes the directory of the variable's value, and in it the daemon's own, empty and root's alone.
///
/// # Errors
/// `Kind::Invalid` for a path that is relative, `/tmp`, or leads to something else than a directory; the failing call.
pub fn prepare(value: Option<&OsStr>) -> Result<()> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(()) };
    prepare_in(Path::new(value)).context(|| format!("ISULAD_TMPDIR {value:?}"))
}

fn prepare_in(path: &Path) -> Result<()> {
    if !path.is_absolute() {
        return Err(Error::invalid("want an absolute path"));
    }
    if !path.exists() {
        // Also where a link leads nowhere, which makes it fail.
        DirBuilder::new().recursive(true).mode(0o755).create(path).context(|| "mkdir()".into())?;
    }
    let real = path.canonicalize().context(|| "realpath()".into())?;
    if real == Path::new(PUBLIC) {
        return Err(Error::invalid("want another directory than /tmp, in which everybody may write"));
    }
    if !real.is_dir() {
        return Err(Error::invalid("not a directory"));
    }
    let own = real.join(NAME);
    match own.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            DirBuilder::new().mode(0o700).create(&own).context(|| format!("mkdir({own:?})"))
        }
        Err(e) => Err(e).context(|| format!("lstat({own:?})")),
        Ok(found) if !found.is_dir() || found.uid() != 0 => {
            Err(Error::invalid(format!("{own:?} is not a directory of root's own")))
        }
        Ok(_) => {
            std::fs::set_permissions(&own, Permissions::from_mode(0o700)).context(|| format!("chmod({own:?})"))?;
            empty(&own)
        }
    }
}

/// Removes what is in a directory. What cannot be removed is in nobody's way.
fn empty(directory: &Path) -> Result<()> {
    let mounts = std::fs::read("/proc/self/mountinfo").context(|| "read(\"/proc/self/mountinfo\")".into())?;
    let points = mounts.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let mut points = points.map(|point| PathBuf::from(OsString::from_vec(mountinfo::unescape(point))));
    // The original mounts directories of images below it: a removal would go on in them.
    if points.any(|point| point.starts_with(directory)) {
        log::warn!("{directory:?} is not emptied: something is mounted in it");
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).context(|| format!("opendir({directory:?})"))? {
        let path = entry.context(|| format!("readdir({directory:?})"))?.path();
        if let Err(e) = remove_tree(&path) {
            log::warn!("left in ISULAD_TMPDIR: {e}");
        }
    }
    Ok(())
}
