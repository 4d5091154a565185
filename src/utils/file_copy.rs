//! The content of one file in another: shared blocks where the file system can, else copied by the kernel, with holes
//! left holes.

use super::sys::reflink::reflink;
use crate::error::{Context, Error, Result};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

/// Copies files, all on one file system.
#[derive(Debug, Default)]
pub struct Copier {
    /// The first attempt to share blocks has failed: so would all others.
    no_reflink: bool,
}

/// Bytes that are copied from one question for room to the next.
const STEP: u64 = 4 << 20;
/// Bytes of a block of stat(2).
const BLOCK: u64 = 512;

impl Copier {
    /// Fills the empty file `to` with the content of `from`, from its beginning. `room` is asked before that many bytes
    /// are written.
    ///
    /// # Errors
    /// The failing call; what `room` says.
    pub fn copy(&mut self, from: &File, to: &File, room: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let metadata = from.metadata().context(|| "fstat()".into())?;
        let size = metadata.size();
        if size == 0 {
            return Ok(());
        }
        if !self.no_reflink {
            match reflink(from.as_fd(), to.as_fd()) {
                Ok(()) => return Ok(()),
                Err(e) => match e.errno() {
                    Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EXDEV | libc::EINVAL | libc::ENOSYS) => {
                        self.no_reflink = true;
                    }
                    _ => return Err(e),
                },
            }
        }
        if metadata.blocks().saturating_mul(BLOCK) >= size {
            return copy_piece(from, to, 0, size, room);
        }
        let mut at = 0;
        while at < size {
            let Some((start, end)) = piece(from, at, size)? else { break };
            copy_piece(from, to, start, end - start, room)?;
            at = end;
        }
        to.set_len(size).context(|| "ftruncate()".into())
    }
}

/// The next piece of a file of `size` bytes with data in it, from `at` on: its beginning and its end.
///
/// # Errors
/// The failing call.
pub fn piece(from: &File, at: u64, size: u64) -> Result<Option<(u64, u64)>> {
    let seek = |offset: u64, whence| {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        lseek(from, offset, whence).map(|found| u64::try_from(found).unwrap_or(0))
    };
    match seek(at, Whence::SeekData) {
        Ok(start) => {
            let end = seek(start, Whence::SeekHole).context(|| "lseek(SEEK_HOLE)".into())?;
            Ok(Some((start, end.min(size))))
        }
        // Nothing but a hole is left.
        Err(Errno::ENXIO) => Ok(None),
        // A file system that does not tell.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some((at, size))),
        Err(e) => Err(Error::os("lseek(SEEK_DATA)", e as i32)),
    }
}

/// The standard library has the kernel copy where it can.
fn copy_piece(
    mut from: &File,
    mut to: &File,
    start: u64,
    mut length: u64,
    room: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    for mut file in [from, to] {
        file.seek(SeekFrom::Start(start)).context(|| "lseek()".into())?;
    }
    while length > 0 {
        let step = length.min(STEP);
        room(step)?;
        let copied = std::io::copy(&mut (&mut from).take(step), &mut to).context(|| "copy a file".into())?;
        if copied < step {
            return Err(Error::corrupt("a file ended while it was copied"));
        }
        length -= step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn content_and_holes() {
        let base = std::env::temp_dir().join(format!("file-copy-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let open = |name: &str| File::options().create_new(true).read(true).write(true).open(base.join(name));
        for (n, pieces, size) in [
            (0, &[][..], 0),
            (1, &[(0, "whole")], 5),
            (2, &[(0, "begin"), (1 << 20, "middle")], 8 << 20),
            (3, &[(3 << 20, "end")], (3 << 20) + 3),
            (4, &[], 1 << 20),
        ] {
            let from = open(&format!("from{n}")).unwrap();
            for (offset, text) in pieces {
                from.write_all_at(text.as_bytes(), *offset).unwrap();
            }
            from.set_len(size).unwrap();
            for no_reflink in [false, true] {
                let path = base.join(format!("to{n}{no_reflink}"));
                Copier { no_reflink }.copy(&from, &File::create(&path).unwrap(), &mut |_| Ok(())).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(base.join(format!("from{n}"))).unwrap());
                let (have, want) = (path.metadata().unwrap().blocks(), from.metadata().unwrap().blocks());
                assert!(have <= want, "file {n}: {have} blocks, {want} of the original");
            }
        }
        std::fs::remove_dir_all(&base).unwrap();
    }
}
