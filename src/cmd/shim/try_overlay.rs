//! The order `try-overlay`: finds out whether overlayfs works on the file system of the working directory.
//!
//! That it can be mounted is not enough: an upper layer on a file system without device nodes or trusted attributes fails
//! at the first removal. So what containers do is done here: change, remove, and make anew.

use crate::api::shim::Overlay;
use crate::engine::rootfs::overlay;
use crate::error::{Context, Error, Result};
use crate::utils::host;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Errors that the next attempt need not have.
const PASSING: [i32; 7] =
    [libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::EINTR];

/// Tries it below the working directory, in a mount namespace of this process. What does not work is the answer, on
/// standard output; nothing when all does.
///
/// # Errors
/// When it cannot be tried.
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
        options: host::overlay_options(),
    };
    let merged = at("merged");
    let tried = overlay::mount(&layers, &merged, "").and_then(|()| use_it(&merged));
    match tried.context(|| format!("overlayfs on {base:?}")) {
        Ok(()) => Ok(()),
        // Of the machine at this moment, not of its kernel or file system.
        Err(e) if e.errno().is_some_and(|errno| PASSING.contains(&errno)) => Err(e),
        Err(e) => writeln!(std::io::stdout(), "{e}").context(|| "write()".into()),
    }
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
