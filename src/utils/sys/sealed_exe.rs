//! The own executable as a descriptor that nobody can write through.
//!
//! A process inside a container can open `/proc/PID/exe` of whatever enters it from outside, and so write to the
//! host's executable (CVE-2019-5736). Everything that goes near a container therefore runs from such a descriptor.
//!
//! | way | needs | costs |
//! | --- | --- | --- |
//! | read-only detached clone of the mount: open_tree(2), mount_setattr(2) | Linux 5.12 | nothing |
//! | read-only bind mount in the private mount namespace of a helper, which passes the descriptor | CAP_SYS_ADMIN or user namespaces | one process, once |
//! | copy in a sealed memfd(2) | Linux 3.17 | the executable's size in memory, once per descriptor |

use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::socket;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const SELF: &str = "/proc/self/exe";
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOUNT_ATTR_RDONLY: u64 = 1;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Opens the executable by the first way that works. `helper` is the name and the word with which the executable
/// runs [`serve`].
///
/// # Errors
/// When every way fails.
pub fn open(helper: [&str; 2]) -> Result<OwnedFd> {
    let ways: [&dyn Fn() -> Result<OwnedFd>; 3] = [&detached_mount, &|| ask_helper(helper), &sealed_copy];
    let mut failures = String::new();
    for way in ways {
        match way() {
            Ok(fd) if is_sealed_fd(fd.as_fd()) => return Ok(fd),
            Ok(_) => failures.push_str("; the descriptor is writable"),
            Err(e) => failures.push_str(&format!("; {e}")),
        }
    }
    Err(Error::new(Kind::Unsupported, format!("no way to seal the executable{failures}")))
}

/// Whether the running executable cannot be written through `/proc/PID/exe`.
pub fn is_sealed() -> bool {
    File::open(SELF).is_ok_and(|f| is_sealed_fd(f.as_fd()))
}

fn is_sealed_fd(fd: BorrowedFd<'_>) -> bool {
    let read_only = fstatvfs(fd).is_ok_and(|s| s.flags().contains(FsFlags::ST_RDONLY));
    read_only
        || fcntl(fd, FcntlArg::F_GET_SEALS)
            .is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_WRITE))
}

/// Starts the running program again from a sealed descriptor unless it runs from one already. `argv` is the whole
/// command line. For a single-threaded program at its start; returns only when there was nothing to do.
///
/// # Errors
/// When no descriptor can be made or execve(2) fails.
pub fn reexec(argv: &[OsString], helper: [&str; 2]) -> Result<()> {
    if is_sealed() {
        return Ok(());
    }
    let fd = open(helper)?;
    let mut command = Command::new(path(fd.as_fd()));
    if let Some((name, words)) = argv.split_first() {
        command.arg0(name).args(words);
    }
    Err(Error::io("execve(sealed executable)", command.exec()))
}

/// The path by which a process that inherited or owns `fd` executes it. Close-on-exec may stay set: the kernel opens
/// the file before it closes the descriptor.
pub fn path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn detached_mount() -> Result<OwnedFd> {
    let exe =
        nix::fcntl::open(SELF, nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty())
            .context(|| format!("open({SELF:?}, O_PATH)"))?;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: descriptor and empty C string live for the call; a new descriptor or -1 comes back.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, exe.as_raw_fd(), c"".as_ptr(), flags) };
    if fd < 0 {
        return Err(Error::last_os("open_tree(OPEN_TREE_CLONE)"));
    }
    // SAFETY: the kernel just made this descriptor and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let attr = MountAttr { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the structure is of the size given and lives for the call, as does the empty string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as libc::c_uint,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(fd) } else { Err(Error::last_os("mount_setattr(MOUNT_ATTR_RDONLY)")) }
}

fn ask_helper([name, word]: [&str; 2]) -> Result<OwnedFd> {
    let (ours, theirs) = socket::message_pair()?;
    let mut child = Command::new(SELF)
        .arg0(name)
        .arg(word)
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(|| format!("spawn({SELF:?})"))?;
    let message = socket::recv(ours.as_fd());
    let _ = child.wait(); // its message says what matters
    let Some(mut message) = message? else { return Err(Error::internal("sealing helper ended without an answer")) };
    message.fds.pop().ok_or_else(|| Error::internal(String::from_utf8_lossy(&message.body).into_owned()))
}

/// The helper's part: makes a read-only bind mount of the executable in a mount namespace of its own and sends the
/// descriptor over `answer`. The mount lives as long as the descriptor, the namespace ends with the helper.
///
/// # Errors
/// The failing call, which is also sent.
pub fn serve(answer: BorrowedFd<'_>) -> Result<()> {
    match read_only_bind() {
        Ok(fd) => socket::send(answer, b"", &[fd.as_fd()]),
        Err(e) => {
            let _ = socket::send(answer, e.to_string().as_bytes(), &[]); // the caller gave up when this fails
            Err(e)
        }
    }
}

fn read_only_bind() -> Result<OwnedFd> {
    let exe = std::fs::read_link(SELF).context(|| format!("readlink({SELF:?})"))?;
    use nix::sched::{CloneFlags, unshare};
    match unshare(CloneFlags::CLONE_NEWNS) {
        // Nobody but the helper is ever in the user namespace, so nobody gets rights over the mount by it.
        Err(nix::Error::EPERM) => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
            .context(|| "unshare(CLONE_NEWUSER|CLONE_NEWNS)".into())?,
        result => result.context(|| "unshare(CLONE_NEWNS)".into())?,
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context(|| "mount(\"/\", MS_PRIVATE)".into())?;
    mount(Some(&exe), &exe, none, MsFlags::MS_BIND, none).context(|| format!("mount({exe:?}, MS_BIND)"))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, &exe, none, flags, none).context(|| format!("mount({exe:?}, MS_REMOUNT|MS_RDONLY)"))?;
    File::open(&exe).map(OwnedFd::from).context(|| format!("open({exe:?})"))
}

fn sealed_copy() -> Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create("isulabox", flags).context(|| "memfd_create(MFD_ALLOW_SEALING)".into())?;
    let mut copy = File::from(fd);
    let mut exe = File::open(SELF).context(|| format!("open({SELF:?})"))?;
    std::io::copy(&mut exe, &mut copy).context(|| "copy of the executable to a memfd".into())?;
    let seals = SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).context(|| "fcntl(F_ADD_SEALS)".into())?;
    // Executing a file that someone has open for writing is refused (ETXTBSY): keep a read-only description.
    File::open(path(copy.as_fd())).map(OwnedFd::from).context(|| "open(memfd)".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    /// As root, by the path that a container's process would use. While the file is executed, open(2) fails with
    /// ETXTBSY before anything else; access(2) tells what would come afterwards.
    fn writing_fails(path: &str) {
        assert!(OpenOptions::new().write(true).open(path).is_err());
        assert_eq!(nix::unistd::access(path, nix::unistd::AccessFlags::W_OK), Err(nix::Error::EROFS));
    }

    #[test]
    fn nobody_writes_through_a_detached_mount() {
        let fd = match detached_mount() {
            Err(e) if e.errno() == Some(libc::ENOSYS) => return, // before Linux 5.12
            other => other.unwrap(),
        };
        assert!(is_sealed_fd(fd.as_fd()));
        writing_fails(&path(fd.as_fd()));
        // And it runs: the test binary lists its tests.
        let out = Command::new(path(fd.as_fd())).args(["--list", "--exact", "none"]).output().unwrap();
        assert!(out.status.success());
        // The process that runs from it cannot be written through either.
        let mut child = Command::new(path(fd.as_fd()))
            .args(["--exact", "utils::sys::sealed_exe::tests::sleeps_when_told", "--nocapture"])
            .env("SEALED_TEST_SLEEP", "1")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        writing_fails(&format!("/proc/{}/exe", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn sleeps_when_told() {
        if std::env::var_os("SEALED_TEST_SLEEP").is_some() {
            std::thread::sleep(std::time::Duration::from_secs(10));
        }
    }

    #[test]
    fn nobody_writes_through_a_sealed_copy() {
        let fd = sealed_copy().unwrap();
        assert!(is_sealed_fd(fd.as_fd()));
        let e = match OpenOptions::new().write(true).open(path(fd.as_fd())) {
            Err(e) => e,
            Ok(mut f) => f.write_all(b"x").unwrap_err(),
        };
        assert_eq!(e.raw_os_error(), Some(libc::EPERM));
        let out = Command::new(path(fd.as_fd())).args(["--list", "--exact", "none"]).output().unwrap();
        assert!(out.status.success());
    }

    #[test]
    fn serves_when_told() {
        if std::env::var_os("SEALED_TEST_SERVE").is_some() {
            let done = serve(std::io::stdin().as_fd());
            std::process::exit(i32::from(done.is_err()));
        }
    }

    #[test]
    fn nobody_writes_through_the_helpers_mount() {
        let (ours, theirs) = socket::message_pair().unwrap();
        let mut child = Command::new(SELF)
            .args(["--exact", "utils::sys::sealed_exe::tests::serves_when_told", "--nocapture", "--test-threads=1"])
            .env("SEALED_TEST_SERVE", "1")
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut m = socket::recv(ours.as_fd()).unwrap().unwrap();
        assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&m.body));
        let fd = m.fds.pop().unwrap();
        assert!(is_sealed_fd(fd.as_fd()));
        writing_fails(&path(fd.as_fd()));
        assert!(Command::new(path(fd.as_fd())).arg("--list").output().unwrap().status.success());
    }

    #[test]
    fn the_test_binary_itself_is_not_sealed() {
        assert!(!is_sealed());
    }
}
