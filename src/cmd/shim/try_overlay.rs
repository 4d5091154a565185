//! The order `try-overlay`: finds out whether overlayfs works on the file system of the working directory.
//!
//! That it can be mounted is not enough: an upper layer on a file system without device nodes or trusted attributes fails
//! at the first removal. So what containers do is done here: change, remove, and make anew.

use crate::api::shim::Overlay;
use crate::engine::rootfs::overlay;
use crate::error::{Context, Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Tries it below the working directory, in a mount namespace of this process.
///
/// # Errors
/// What does not work.
pub fn run() -> Result<()> {
    super::own_mounts()?;
    // The mount must be found whatever overlayfs's code does to the working directory.
    let base = std::env::current_dir().context(|| "getcwd()".into())?;
    let at = |name: &str| base.join(name);
    for name in ["lower/directory", "upper", "work", "merged"] {
        fs::create_dir_all(at(name)).context(|| format!("mkdir({name:?})"))?;
    }
    for name in ["lower/changed", "lower/removed", "lower/directory/hidden"] {
        fs::write(at(name), "before").context(|| format!("write({name:?})"))?;
    }
    let layers = Overlay {
        lower: vec![at("lower")],
        upper: at("upper"),
        work: at("work"),
        images: Vec::new(),
        options: if Path::new("/sys/module/overlay/parameters/index").exists() {
            vec!["index=off".into()]
        } else {
            Vec::new()
        },
    };
    let merged: PathBuf = at("merged");
    overlay::mount(&layers, &merged, "")?;
    use_it(&merged).context(|| format!("overlayfs on {base:?}"))
}

fn use_it(merged: &Path) -> Result<()> {
    let at = |name: &str| merged.join(name);
    fs::write(at("changed"), "after").context(|| "change a file".into())?;
    fs::remove_file(at("removed")).context(|| "remove a file".into())?;
    fs::remove_dir_all(at("directory")).context(|| "remove a directory".into())?;
    fs::create_dir(at("directory")).context(|| "make a directory anew".into())?;
    if at("removed").exists() || at("directory/hidden").exists() {
        return Err(Error::internal("what was removed is there again"));
    }
    Ok(())
}
