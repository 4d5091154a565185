//! Files that are either the old or the new one, whatever happens in between.
//!
//! Write a temporary file, `fsync` it, rename it over the name, `fsync` the directory (rename(2), fsync(2)).

use crate::error::{Context, Result};
use crate::utils::sys::descriptor::start_writeback;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Whether a power cut may undo a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk when the call returns.
    Durable,
    /// Atomic, but a power cut may bring the old content back. For what a reboot makes void anyway.
    Volatile,
}

/// Prefix of temporary files and directories; whatever carries it at start-up is garbage.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Short temporary names that are tried.
const SHORT_NAMES: u32 = 64;

/// Replaces `path` with `content`, created with `mode`.
///
/// # Errors
/// The failing call; the temporary file is gone then and the old content is in place.
pub fn replace(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = temporary_name(path);
    let written = match write_new(&temporary, content, mode, durability) {
        // Left by a process with this one's id when it was interrupted: on a board ids are the same after each boot.
        Err(e) if e.errno() == Some(libc::EEXIST) => std::fs::remove_file(&temporary)
            .context(|| format!("unlink({temporary:?})"))
            .and_then(|()| write_new(&temporary, content, mode, durability)),
        written => written,
    };
    let result =
        written.and_then(|()| std::fs::rename(&temporary, path).context(|| format!("rename({temporary:?}, {path:?})")));
    if let Err(e) = result {
        let _ = std::fs::remove_file(&temporary); // the write's own error is the one to report
        return Err(e);
    }
    if durability == Durability::Durable { sync_directory(directory) } else { Ok(()) }
}

/// Creates `path`, which must not exist, and writes `content`. Not atomic: for files inside a directory that is
/// itself renamed into place later.
///
/// # Errors
/// The failing call.
pub fn write_new(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<()> {
    let file = create_new(path, content, mode)?;
    if durability == Durability::Durable {
        file.sync_all().context(|| format!("fsync({path:?})"))?;
    }
    Ok(())
}

/// Fills a new directory with `files`, name and content each, like [`write_new`], and makes it durable as a whole. The
/// disk is told of all the content before it is waited for: a journalled file system then commits once, not once for
/// each file.
///
/// # Errors
/// The failing call.
pub fn fill_directory(directory: &Path, files: &[(&str, &[u8])], mode: u32, durability: Durability) -> Result<()> {
    let mut written = Vec::with_capacity(files.len());
    for (name, content) in files {
        let path = directory.join(name);
        let file = create_new(&path, content, mode)?;
        if durability == Durability::Durable {
            start_writeback(&file);
            written.push((path, file));
        }
    }
    for (path, file) in &written {
        file.sync_all().context(|| format!("fsync({path:?})"))?;
    }
    if durability == Durability::Durable { sync_directory(directory) } else { Ok(()) }
}

fn create_new(path: &Path, content: &[u8], mode: u32) -> Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .context(|| format!("open({path:?}, O_CREAT|O_EXCL)"))?;
    file.write_all(content).context(|| format!("write({path:?})"))?;
    Ok(file)
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// The failing call.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .context(|| format!("open({directory:?})"))?
        .sync_all()
        .context(|| format!("fsync({directory:?})"))
}

/// Removes the temporary files of interrupted [`replace`]s in `directory`, of those names for which `of` holds. Nobody
/// may be replacing these now.
///
/// # Errors
/// The failing call.
pub fn remove_temporaries(directory: &Path, of: impl Fn(&str) -> bool) -> Result<()> {
    for entry in std::fs::read_dir(directory).context(|| format!("opendir({directory:?})"))? {
        let name = entry.context(|| format!("readdir({directory:?})"))?.file_name();
        if name.to_str().and_then(replaced).is_some_and(&of) {
            let path = directory.join(name);
            std::fs::remove_file(&path).context(|| format!("unlink({path:?})"))?;
        }
    }
    Ok(())
}

/// The name that a temporary one stands for.
fn replaced(temporary: &str) -> Option<&str> {
    temporary.strip_prefix(TEMPORARY_PREFIX)?.rsplitn(3, '-').nth(2)
}

/// Gives `path` the temporary name `to` in the same directory, or a short one when the disk is full and the directory has
/// no place for a name that long: what is removed must lose its name without anything being removed first. Gives the
/// new name.
///
/// # Errors
/// The failing call.
pub fn rename_away(path: &Path, to: PathBuf) -> std::io::Result<PathBuf> {
    let full = match std::fs::rename(path, &to) {
        Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => e,
        result => return result.map(|()| to),
    };
    for _ in 0..SHORT_NAMES {
        let short = path.with_file_name(format!("{TEMPORARY_PREFIX}{}", next_number()));
        match std::fs::rename(path, &short) {
            // Garbage of an earlier process has it; or there is no place in that block of the directory, of which the
            // name decides.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOSPC)) => {}
            result => return result.map(|()| short),
        }
    }
    Err(full)
}

/// Writes over the content of a file that is to become `content` and has room for it, when there is none for a second
/// file beside it. What is left of the old content is filled with line breaks. Durable; a power cut in between may
/// spoil it, if the disk does not write a block as a whole.
///
/// # Errors
/// ENOSPC for a file that is shorter; the failing call.
pub fn overwrite(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let file = OpenOptions::new().write(true).open(path).context(|| format!("open({path:?}, O_WRONLY)"))?;
    let length = file.metadata().context(|| format!("stat({path:?})"))?.len() as usize;
    if length < content.len() {
        return Err(crate::error::Error::os(format!("write({path:?})"), libc::ENOSPC));
    }
    let mut padded = content.to_vec();
    padded.resize(length, b'\n');
    file.write_all_at(&padded, 0).context(|| format!("write({path:?})"))?;
    file.sync_all().context(|| format!("fsync({path:?})"))
}

/// The temporary name beside `path`. Unique per process and call.
pub fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY_PREFIX}{name}-{}-{}", std::process::id(), next_number()))
}

fn next_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replace_keeps_the_old_content() {
        let dir = std::env::temp_dir().join(format!("atomic-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("f");
        replace(&path, b"one", 0o600, Durability::Durable).unwrap();
        replace(&path, b"two", 0o600, Durability::Volatile).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        std::fs::create_dir(dir.join("d")).unwrap();
        std::fs::write(dir.join("d/x"), "").unwrap();
        assert!(replace(&dir.join("d"), b"x", 0o600, Durability::Volatile).is_err());
        let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_an_interrupted_replace_left_is_no_obstacle() {
        let dir = std::env::temp_dir().join(format!("atomic-left-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a-file.json");
        // Other tests take numbers meanwhile.
        let next: u32 = temporary_name(&path).to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        for n in next..next + 1000 {
            std::fs::write(dir.join(format!("{TEMPORARY_PREFIX}a-file.json-{}-{n}", std::process::id())), "x").unwrap();
        }
        std::fs::write(dir.join(".tmp-other-1-1"), "").unwrap();
        replace(&path, b"two", 0o600, Durability::Volatile).unwrap();
        remove_temporaries(&dir, |name| name == "a-file.json").unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".tmp-other-1-1", "a-file.json"]);
        overwrite(&path, b"1").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n\n");
        assert_eq!(overwrite(&path, b"1234").unwrap_err().errno(), Some(libc::ENOSPC));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_is_filled_and_nothing_in_it_is_written_over() {
        let dir = std::env::temp_dir().join(format!("atomic-fill-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files: [(&str, &[u8]); 2] = [("a", b"one"), ("b", b"")];
        fill_directory(&dir, &files, 0o600, Durability::Durable).unwrap();
        assert_eq!(std::fs::read(dir.join("a")).unwrap(), b"one");
        assert_eq!(std::fs::read(dir.join("b")).unwrap(), b"");
        let refused = fill_directory(&dir, &[("a", b"two")], 0o600, Durability::Volatile).unwrap_err();
        assert_eq!(refused.errno(), Some(libc::EEXIST));
        assert_eq!(std::fs::read(dir.join("a")).unwrap(), b"one");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
