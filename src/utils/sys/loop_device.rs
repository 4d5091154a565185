//! Loop devices (loop(4), linux/loop.h): block devices that show a file.

use super::probe::{self, Feature};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

const SET_FD: libc::c_ulong = 0x4c00;
const CLR_FD: libc::c_ulong = 0x4c01;
const SET_STATUS64: libc::c_ulong = 0x4c04;
const GET_STATUS64: libc::c_ulong = 0x4c05;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const CTL_GET_FREE: libc::c_ulong = 0x4c82;

/// LO_FLAGS_READ_ONLY.
pub const READ_ONLY: u32 = 1;
/// LO_FLAGS_AUTOCLEAR: the device lets go of its file when nobody has it open any more.
pub const AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Status {
    /// The file's device, as stat(2) gives it.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    rdevice: u64,
    /// Where in the file the device begins.
    pub offset: u64,
    /// How much of the file it shows; 0 is all.
    pub size_limit: u64,
    number: u32,
    /// Other than 0 for what is not the file's own bytes.
    pub encrypt_type: u32,
    encrypt_key_size: u32,
    /// [`READ_ONLY`], [`AUTOCLEAR`].
    pub flags: u32,
    /// For people.
    name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    status: Status,
    reserved: [u64; 8],
}

impl Status {
    /// A device that shows a whole file. `name` is for people and is cut to what the kernel keeps.
    pub fn of(flags: u32, name: &[u8]) -> Status {
        let mut status = Status { flags, ..Status::none() };
        let length = name.len().min(status.name.len() - 1);
        status.name[..length].copy_from_slice(&name[..length]);
        status
    }

    fn none() -> Status {
        Status {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The number of a device that shows nothing, made when there is none. Somebody else may take it before its use.
///
/// # Errors
/// The failing call.
pub fn free(control: BorrowedFd<'_>) -> nix::Result<u32> {
    // SAFETY: takes no pointer.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), CTL_GET_FREE as libc::Ioctl) };
    Errno::result(number).map(|number| number as u32)
}

/// What a device shows.
///
/// # Errors
/// ENXIO for one that shows nothing.
pub fn status(device: BorrowedFd<'_>) -> nix::Result<Status> {
    let mut status = Status::none();
    // SAFETY: the kernel writes one `struct loop_info64`, which `status` is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS64 as libc::Ioctl, &raw mut status) };
    Errno::result(result).map(|_| status)
}

/// Has a device show a file, all at once.
///
/// # Errors
/// EBUSY for one that shows something; ENOSYS before Linux 5.8, where [`set_file`] and [`set_status`] do it in two steps.
pub fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>, status: &Status) -> nix::Result<()> {
    if probe::is_missing(Feature::LoopConfigure) {
        return Err(Errno::ENOSYS);
    }
    let config = Config { fd: file.as_raw_fd() as u32, block_size: 0, status: *status, reserved: [0; 8] };
    // SAFETY: the kernel reads one `struct loop_config`, which `config` is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as libc::Ioctl, &raw const config) };
    match Errno::result(result) {
        // How drivers answer what they do not know. Should it mean anything else, the two steps will tell.
        Err(Errno::EINVAL | Errno::ENOTTY) => {
            probe::set_missing(Feature::LoopConfigure);
            Err(Errno::ENOSYS)
        }
        result => result.map(drop),
    }
}

/// Has a device show a file, read-only where either is open for reading only.
///
/// # Errors
/// EBUSY for one that shows something.
pub fn set_file(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes a descriptor, no pointer.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_FD as libc::Ioctl, file.as_raw_fd()) };
    Errno::result(result).map(drop)
}

/// Changes the flags and the name of a device that shows a file.
///
/// # Errors
/// The failing call.
pub fn set_status(device: BorrowedFd<'_>, status: &Status) -> nix::Result<()> {
    // SAFETY: the kernel reads one `struct loop_info64`, which `status` is.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_STATUS64 as libc::Ioctl, std::ptr::from_ref(status)) };
    Errno::result(result).map(drop)
}

/// Has a device let go of its file, when its last user has left.
///
/// # Errors
/// The failing call.
pub fn clear(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: takes no pointer.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), CLR_FD as libc::Ioctl) }).map(drop)
}

const _: () = assert!(size_of::<Status>() == 232 && size_of::<Config>() == 304);
