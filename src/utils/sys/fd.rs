//! Descriptors at the border of a program: what it inherits and what it must not.

use super::probe::{self, Feature};
use crate::error::{Context, Error, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// close_range(2) has one number on every architecture.
const SYS_CLOSE_RANGE: libc::c_long = 436;
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// Where close_range(2) is missing: that of reading `/proc/self/fd`.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    if !probe::is_missing(Feature::CloseRange) {
        // SAFETY: close_range takes three integers and with this flag closes nothing.
        let result = unsafe { libc::syscall(SYS_CLOSE_RANGE, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
        if result == 0 {
            return Ok(());
        }
        // EINVAL: Linux 5.9 and 5.10 have the call without the flag.
        probe::set_missing(Feature::CloseRange);
    }
    for entry in std::fs::read_dir("/proc/self/fd").context(|| "opendir(\"/proc/self/fd\")".into())? {
        let name = entry.context(|| "readdir(\"/proc/self/fd\")".into())?.file_name();
        if let Some(fd) = name.to_str().and_then(|n| n.parse::<RawFd>().ok()).filter(|&fd| fd >= first) {
            // SAFETY: F_SETFD takes an integer; the directory's own descriptor is among them, which does no harm.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Sends one byte with one descriptor over a unix socket. Makes no allocation and only this call.
///
/// # Errors
/// The errno of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, byte: u8, fd: BorrowedFd<'_>) -> std::result::Result<(), i32> {
    const SIZE: libc::c_uint = size_of::<RawFd>() as libc::c_uint;
    let mut byte = byte;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // Room for one header and one number, aligned as a header must be.
    let mut control = std::mem::MaybeUninit::<[libc::cmsghdr; 2]>::zeroed();
    // SAFETY: a message of zeros is an empty one. The control buffer is larger than CMSG_SPACE of one descriptor and
    // aligned, so CMSG_FIRSTHDR points into it and CMSG_DATA to room for the number; all of it outlives the call.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(SIZE) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(SIZE) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if sent == 1 { Ok(()) } else { Err(nix::errno::Errno::last_raw()) }
}

/// Makes `stdio` the descriptors 0, 1 and 2 of this process. They may be given as any descriptors, 0 to 2 included.
///
/// # Errors
/// The failing call.
pub fn set_stdio(stdio: [BorrowedFd<'_>; 3]) -> Result<()> {
    // A source below 3 could be overwritten before its turn, and dup3(2) refuses equal numbers.
    let mut high = Vec::new();
    for fd in stdio {
        high.push(match fd.as_raw_fd() {
            0..=2 => Some(duplicate(fd)?),
            _ => None,
        });
    }
    for (target, (fd, copy)) in stdio.iter().zip(&high).enumerate() {
        dup3(copy.as_ref().map_or(fd.as_raw_fd(), AsRawFd::as_raw_fd), target as RawFd, 0)?;
    }
    Ok(())
}

fn dup3(source: RawFd, target: RawFd, flags: libc::c_int) -> Result<()> {
    // SAFETY: dup3 takes integers; the callers name targets that stay open and their owners'.
    match unsafe { libc::dup3(source, target, flags) } {
        -1 => Err(Error::last_os(format!("dup3({source}, {target})"))),
        _ => Ok(()),
    }
}

/// A copy with a number of at least 3, close-on-exec.
///
/// # Errors
/// The failing call.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an integer.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(Error::last_os(format!("fcntl({}, F_DUPFD_CLOEXEC)", fd.as_raw_fd())));
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes the number of `target` mean what `source` means, close-on-exec; what it meant before is closed there.
///
/// # Errors
/// The failing call.
pub fn replace(target: BorrowedFd<'_>, source: BorrowedFd<'_>) -> Result<()> {
    dup3(source.as_raw_fd(), target.as_raw_fd(), libc::O_CLOEXEC)
}

/// The same of a number that the program is to have that this process executes.
///
/// # Errors
/// The failing call.
pub fn pass_as(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    dup3(source.as_raw_fd(), target.as_raw_fd(), 0)
}

/// Lets the program that this process executes have the `count` descriptors from 3 on.
///
/// # Errors
/// EBADF when one is not open.
pub fn pass_on(count: u32) -> Result<()> {
    for fd in (3..).take(count as usize) {
        // SAFETY: F_SETFD takes an integer.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            return Err(Error::last_os(format!("fcntl({fd}, F_SETFD)")));
        }
    }
    Ok(())
}

/// Whether `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes an integer.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Takes ownership of a descriptor that a control message of recvmsg(2) just brought.
pub fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel installed the descriptor for the receiving call, and the caller passes each one once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The standard descriptors of this process.
pub fn own_stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: borrowed for calls that report EBADF themselves, should one be closed; nothing here closes them.
    [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// `/proc/self/fd/N`: a path that means exactly the object behind `fd`, whatever its name means by now.
pub fn path_of(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// f_type of the file system that `fd` lies on (statfs(2)).
///
/// # Errors
/// The failing call.
pub fn file_system_of(fd: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut s = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the structure is written by the kernel; it is read only on success.
    nix::errno::Errno::result(unsafe { libc::fstatfs(fd.as_raw_fd(), s.as_mut_ptr()) })?;
    // SAFETY: fstatfs succeeded. The type of the field differs between architectures; all values fit 32 bits.
    Ok(unsafe { s.assume_init() }.f_type as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_mark_descriptors() {
        for missing in [false, true] {
            let _guard = missing.then(|| probe::deny(Feature::CloseRange));
            let file = std::fs::File::open("/dev/null").unwrap();
            // SAFETY: F_SETFD on a descriptor of this test.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
            close_on_exec_from(file.as_raw_fd()).unwrap();
            // SAFETY: F_GETFD on a descriptor of this test.
            assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC, "{missing}");
        }
        assert_eq!(file_system_of(std::fs::File::open("/proc").unwrap().as_fd()), Ok(0x9fa0));
    }
}
