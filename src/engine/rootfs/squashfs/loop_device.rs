//! Finds a loop device that shows a file, or has one show it. All containers of an image share one: a device, the
//! file system on it and what the kernel keeps of its content.
//!
//! A device lets go of its file by itself when nobody has it open or mounted any more, so none is ever given back here.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::loop_device::{self as sys, Status};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FileStat, fstat};
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CONTROL: &str = "/dev/loop-control";
/// What shows which devices are in use. Without it none is shared.
const DEVICES: &str = "/sys/block";
/// In which a free device is found, its node is there, and others who look for one are done.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// A device that shows a file at least as long as this lives.
pub struct Device {
    /// Its node.
    pub path: PathBuf,
    /// Open, which is what keeps it.
    #[cfg_attr(not(test), allow(dead_code))]
    file: File,
}

/// A device that shows all of the file `path`, read-only.
///
/// # Errors
/// `Kind::Unsupported` for a kernel without loop devices; the failing call.
pub fn attach(path: &Path) -> Result<Device> {
    let file = File::open(path).context(|| format!("open({path:?})"))?;
    let stat = fstat(&file).context(|| format!("fstat({path:?})"))?;
    let control = File::open(CONTROL).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            Error::new(Kind::Unsupported, format!("{path:?}: this kernel has no loop devices: open({CONTROL:?}): {e}"))
        }
        _ => Error::io(format!("open({CONTROL:?})"), e),
    })?;
    let end = Instant::now() + PATIENCE;
    // Of those who start at once the first has a device show the file, and the others find it.
    let control = lock(control, end);
    match find(&stat) {
        Some(device) => Ok(device),
        None => make(control.as_fd(), &file, path, Instant::now() + PATIENCE),
    }
}

/// Only one at a time looks for a device. Who holds it for too long costs the others no more than the sharing.
enum Control {
    Locked(Flock<File>),
    Open(File),
}

impl Control {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Control::Locked(file) => file.as_fd(),
            Control::Open(file) => file.as_fd(),
        }
    }
}

fn lock(mut control: File, end: Instant) -> Control {
    loop {
        match Flock::lock(control, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Control::Locked(locked),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < end => control = file,
            Err((file, _)) => return Control::Open(file),
        }
        std::thread::sleep(PAUSE);
    }
}

/// One that shows the file already. Which file that is, the kernel says by device and inode; it holds both, so they are
/// nobody else's. The path that it also has may be one of another mount namespace.
fn find(stat: &FileStat) -> Option<Device> {
    for entry in std::fs::read_dir(DEVICES).ok()?.flatten() {
        let name = entry.file_name();
        if !name.as_bytes().starts_with(b"loop") || !entry.path().join("loop").is_dir() {
            continue;
        }
        let path = Path::new("/dev").join(name);
        let Ok(mut file) = File::open(&path) else { continue };
        // It may have changed hands before it was opened, but not afterwards. A file that was written anew since is not
        // the one that it shows.
        let length = file.seek(SeekFrom::End(0)).ok();
        if length.is_some_and(|length| is_length(length, stat))
            && sys::status(file.as_fd()).is_ok_and(|status| shows(&status, stat))
        {
            return Some(Device { path, file });
        }
    }
    None
}

/// Whether a device of this length shows a file of that size, in whole sectors.
fn is_length(length: u64, stat: &FileStat) -> bool {
    const SECTOR: u64 = 512;
    u64::try_from(stat.st_size).is_ok_and(|size| length == size / SECTOR * SECTOR)
}

/// `st_dev` has 32 bits on some of the architectures.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn shows(status: &Status, stat: &FileStat) -> bool {
    status.device == stat.st_dev as u64
        && status.inode == stat.st_ino as u64
        && status.flags & sys::READ_ONLY != 0
        && (status.offset, status.size_limit, status.encrypt_type) == (0, 0, 0)
}

fn make(control: std::os::fd::BorrowedFd<'_>, file: &File, path: &Path, end: Instant) -> Result<Device> {
    loop {
        let number = sys::free(control).context(|| format!("ioctl({CONTROL:?}, LOOP_CTL_GET_FREE)"))?;
        let node = PathBuf::from(format!("/dev/loop{number}"));
        let e = match File::open(&node) {
            Ok(device) => match show(&device, file, path) {
                Ok(()) => return Ok(Device { path: node, file: device }),
                // Somebody else was faster.
                Err(Errno::EBUSY) if Instant::now() < end => continue,
                Err(e) => return Err(Error::os(format!("ioctl({node:?}, LOOP_CONFIGURE, {path:?})"), e as i32)),
            },
            Err(e) => e,
        };
        // Where nodes are made by a program it may still be on its way, and the device may just be removed.
        let passing = e.kind() == ErrorKind::NotFound || matches!(e.raw_os_error(), Some(libc::ENXIO | libc::ENODEV));
        if !passing || Instant::now() > end {
            return Err(Error::io(format!("open({node:?})"), e));
        }
        std::thread::sleep(PAUSE);
    }
}

fn show(device: &File, file: &File, path: &Path) -> nix::Result<()> {
    let status = Status::of(sys::READ_ONLY | sys::AUTOCLEAR, path.as_os_str().as_bytes());
    let (device, file) = (device.as_fd(), file.as_fd());
    match sys::configure(device, file, &status) {
        Err(Errno::ENOSYS) => {}
        result => return result,
    }
    sys::set_file(device, file)?;
    sys::set_status(device, &status).inspect_err(|_| {
        let _ = sys::clear(device); // or it would show the file for ever
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::sys::probe::{self, Feature};
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    fn sample(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("loop-{name}-{}", std::process::id()));
        std::fs::write(&path, [7; 8192]).unwrap();
        path
    }

    /// The machines that run these tests need not have loop devices, nor the rights.
    fn possible() -> bool {
        let possible = nix::unistd::geteuid().is_root() && Path::new(CONTROL).exists();
        if !possible {
            println!("skipped: no loop devices");
        }
        possible
    }

    fn in_use(file: &Path) -> bool {
        let stat = fstat(File::open(file).unwrap()).unwrap();
        find(&stat).is_some()
    }

    fn check(name: &str) {
        let path = sample(name);
        let first = attach(&path).unwrap();
        let status = sys::status(first.file.as_fd()).unwrap();
        assert_eq!(status.flags & (sys::READ_ONLY | sys::AUTOCLEAR), sys::READ_ONLY | sys::AUTOCLEAR);
        assert_eq!(status.inode, path.metadata().unwrap().ino());
        let second = attach(&path).unwrap();
        assert_eq!(first.path, second.path, "one device for one file");
        let bytes = std::fs::read(&second.path).unwrap();
        assert!(bytes.len() == 8192 && bytes.iter().all(|b| *b == 7));
        // Some kernels refuse the open, others the write.
        let opened = std::fs::OpenOptions::new().write(true).open(&second.path);
        assert!(opened.and_then(|mut device| device.write_all(&[0; 512])).is_err(), "read-only");
        drop((first, second));
        // A probe of udev's may have it open for a moment.
        let end = Instant::now() + Duration::from_secs(10);
        while in_use(&path) {
            assert!(Instant::now() < end, "the device keeps the file");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_has_one_device_that_lets_go_of_it() {
        if possible() {
            check("new");
            let _denied = probe::deny(Feature::LoopConfigure);
            check("old");
        }
    }
}
