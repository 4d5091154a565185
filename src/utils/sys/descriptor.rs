//! What a descriptor refers to, and the numbers a process starts with.

use crate::error::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// What is behind a descriptor, as far as reading and writing differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// pipe(7), with or without a name.
    Pipe,
    /// Any socket.
    Socket,
    /// A regular file: never blocks, has an offset that all users of the description share.
    File,
    /// A terminal.
    Terminal,
    /// `/dev/null`.
    Null,
    /// Anything else.
    Other,
}

/// What `fd` refers to.
pub fn kind(fd: BorrowedFd<'_>) -> Kind {
    let Ok(stat) = fstat(fd) else { return Kind::Other };
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFIFO => Kind::Pipe,
        SFlag::S_IFSOCK => Kind::Socket,
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFCHR if stat.st_rdev == nix::sys::stat::makedev(1, 3) => Kind::Null,
        SFlag::S_IFCHR if nix::unistd::isatty(fd).unwrap_or(false) => Kind::Terminal,
        _ => Kind::Other,
    }
}

/// Has the kernel begin to write a file's content to the disk and does not wait for it (sync_file_range(2)). A hint: an
/// fsync(2) must follow, and a file system that does not know it writes then.
pub fn start_writeback(file: &File) {
    // SAFETY: takes no pointer; zero bytes from 0 on are the whole file.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Opens what `fd` refers to once more, non-blocking, as a description of its own: its flags are nobody else's.
///
/// # Errors
/// ENXIO for sockets and for a pipe whose other end is gone; ENOENT without `/proc`.
pub fn reopen_nonblocking(fd: BorrowedFd<'_>, write: bool) -> Result<OwnedFd> {
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .map(OwnedFd::from)
        .context(|| format!("open(\"/proc/self/fd/{}\", O_NONBLOCK)", fd.as_raw_fd()))
}

/// Makes operations on `fd` non-blocking for everyone who shares its description.
///
/// # Errors
/// The failing call.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    set_flag(fd, |flags| flags | OFlag::O_NONBLOCK)
}

/// Undoes [`set_nonblocking`].
///
/// # Errors
/// The failing call.
pub fn set_blocking(fd: BorrowedFd<'_>) -> Result<()> {
    set_flag(fd, |flags| flags - OFlag::O_NONBLOCK)
}

fn set_flag(fd: BorrowedFd<'_>, change: impl FnOnce(OFlag) -> OFlag) -> Result<()> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).context(|| "fcntl(F_GETFL)".into())?;
    let flags = change(OFlag::from_bits_retain(flags));
    fcntl(fd, FcntlArg::F_SETFL(flags)).map(drop).context(|| "fcntl(F_SETFL)".into())
}

/// A pipe, close-on-exec: read end, write end.
///
/// # Errors
/// EMFILE and the like.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "pipe2(O_CLOEXEC)".into())
}

/// `/dev/null` for reading and writing, close-on-exec.
///
/// # Errors
/// The failing call.
pub fn null() -> Result<OwnedFd> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map(OwnedFd::from)
        .context(|| "open(\"/dev/null\")".into())
}

/// Standard input under another number, close-on-exec; number 0 becomes `/dev/null`. Without the buffer that
/// `std::io::stdin` brings along.
///
/// # Errors
/// EBADF when it is closed.
pub fn take_standard_input() -> Result<OwnedFd> {
    // SAFETY: number 0 is not closed by anyone in this process, and the borrow ends with this function.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    let fd = stdin.try_clone_to_owned().context(|| "fcntl(0, F_DUPFD_CLOEXEC)".into())?;
    nix::unistd::dup2_stdin(null()?).context(|| "dup2(0)".into())?;
    Ok(fd)
}

/// Closes every descriptor from `first` up. For the first moments of a program, before anything owns one of them.
pub fn close_from(first: RawFd) {
    let first = first.max(3) as libc::c_uint;
    // SAFETY: close_range takes three integers; the caller runs before any value owns a descriptor in the range.
    if unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|&fd| fd as libc::c_uint >= first) {
        // SAFETY: as above; the directory's own descriptor is closed by now and yields a harmless EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Opens a file for appending that rotation may move away: created with `mode`.
///
/// # Errors
/// The failing call.
pub fn open_append(path: &std::path::Path, mode: u32, truncate: bool) -> Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(mode)
        .custom_flags(libc::O_NOCTTY | libc::O_NOFOLLOW)
        .open(path)
        .context(|| format!("open({path:?}, O_APPEND|O_CREAT)"))?;
    if truncate {
        file.set_len(0).context(|| format!("ftruncate({path:?}, 0)"))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn kinds() {
        let (r, w) = pipe().unwrap();
        assert_eq!(kind(r.as_fd()), Kind::Pipe);
        assert_eq!(kind(null().unwrap().as_fd()), Kind::Null);
        assert_eq!(kind(File::open("/proc/self/exe").unwrap().as_fd()), Kind::File);
        assert_eq!(kind(File::open("/").unwrap().as_fd()), Kind::Other);
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(kind(a.as_fd()), Kind::Socket);
        let again = reopen_nonblocking(r.as_fd(), false).unwrap();
        let e = nix::unistd::read(&again, &mut [0; 4]).unwrap_err();
        assert_eq!(e, nix::Error::EAGAIN);
        drop(w);
    }
}
