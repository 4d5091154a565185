//! Verbs that are one system call.

use crate::{c_string, errno_name};
use std::io;
use std::time::Duration;

fn result(returned: libc::c_long) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub fn uid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getuid() }
}

pub fn gid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getgid() }
}

pub fn groups() -> Vec<u32> {
    let mut list = [0; 1024];
    // SAFETY: the list has room for as many as are told.
    let n = unsafe { libc::getgroups(list.len() as libc::c_int, list.as_mut_ptr()) };
    list[..n.max(0) as usize].to_vec()
}

pub fn umask() -> u32 {
    // SAFETY: takes a number; the process has one thread here.
    unsafe { libc::umask(0) }
}

pub fn setuid(uid: u32) -> &'static str {
    // SAFETY: takes a number.
    if unsafe { libc::setuid(uid) } == 0 { "changed" } else { "refused" }
}

pub fn isatty(fd: i32) -> bool {
    // SAFETY: takes a number.
    unsafe { libc::isatty(fd) == 1 }
}

pub fn window_size() -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request fills the one structure it is given.
    result(unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

pub fn mount_tmpfs(path: &str) -> io::Result<()> {
    let (kind, path) = (c_string("tmpfs"), c_string(path));
    // SAFETY: every pointer is a C string that outlives the call, or null where the call allows it.
    result(unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) }.into())
}

pub fn mknod(path: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = c_string(path);
    // SAFETY: the path is a C string that outlives the call.
    result(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(major, minor)) }.into())
}

pub fn cpu_time() -> Duration {
    // SAFETY: plain numbers, for which zero is a value; the call fills the one structure it is given.
    let t = unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t);
        t
    };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Calls each by name with arguments that do no harm where it is allowed; prints `NAME ok` or `NAME ERRNO`.
pub fn attempt(names: &[&str]) {
    for name in names {
        let word = match call(name) {
            None => "unknown".to_string(),
            Some(Ok(())) => "ok".to_string(),
            Some(Err(e)) => errno_name(e.raw_os_error().unwrap_or(0)),
        };
        println!("{name} {word}");
    }
}

fn call(name: &str) -> Option<io::Result<()>> {
    let none = std::ptr::null::<libc::c_char>();
    // Not a time, and not null: a C library with 64-bit times on a 32-bit machine reads it before the kernel does.
    // SAFETY: integers only.
    let mut never: libc::timespec = unsafe { std::mem::zeroed() };
    never.tv_nsec = -1;
    // SAFETY: every other pointer is null, which these calls answer with an error where they would follow it; the
    // numbers name things that do not exist, or ask for what harms nobody but this process.
    let returned = unsafe {
        match name {
            "mount" => libc::mount(none, none, none, 0, std::ptr::null()).into(),
            "umount" => libc::syscall(libc::SYS_umount2, none, 0),
            "unshare-user" => libc::unshare(libc::CLONE_NEWUSER).into(),
            "unshare-mount" => libc::unshare(libc::CLONE_NEWNS).into(),
            "setns" => libc::setns(-1, 0).into(),
            "pivot_root" => libc::syscall(libc::SYS_pivot_root, none, none),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0),
            "add_key" => libc::syscall(libc::SYS_add_key, none, none, none, 0, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, none, 0),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, none, none),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, none),
            "kexec_load" => libc::syscall(libc::SYS_kexec_load, 0, 0, none, 0),
            "init_module" => libc::syscall(libc::SYS_init_module, none, 0, none),
            "swapon" => libc::syscall(libc::SYS_swapon, none, 0),
            "settime" => libc::clock_settime(libc::CLOCK_REALTIME, &never).into(),
            "open_by_handle_at" => libc::syscall(libc::SYS_open_by_handle_at, -1, none, 0),
            "io_uring_setup" => libc::syscall(libc::SYS_io_uring_setup, 0, none),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, 0),
            "chroot" => libc::chroot(c"/".as_ptr()).into(),
            "getpid" => libc::getpid().into(),
            "clone3" => libc::syscall(libc::SYS_clone3, none, 0),
            "sethostname" => libc::sethostname(c"changed".as_ptr(), 7).into(),
            "raw-socket" => libc::socket(libc::AF_INET, libc::SOCK_RAW, 1).into(),
            "netlink-audit" => libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 9).into(),
            _ => return None,
        }
    };
    Some(result(returned))
}
