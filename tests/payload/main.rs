//! The program that runs inside the test containers: each verb prints facts or does one thing, the test asserts.
//!
//! Static, and independent of everything else in the root file system. An unknown verb ends with 98, so that a test with
//! a misspelt one fails.
#![allow(unsafe_code, reason = "the verbs are system calls, asked for one by one")]

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod process;
mod syscall;

/// What an unknown or misused verb ends with.
const MISUSE: u8 = 98;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().map(|w| w.to_string_lossy().into_owned()).collect();
    let verb = words.get(1).map_or("", String::as_str);
    let rest: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
    match run(verb, &rest) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            println!("{}", errno_name(e.raw_os_error().unwrap_or(0)));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &str, rest: &[&str]) -> io::Result<u8> {
    match (verb, rest) {
        ("args", _) => rest.iter().for_each(|a| println!("{a}")),
        ("env", []) => std::env::vars_os().for_each(|(k, v)| println!("{}={}", k.display(), v.display())),
        ("cwd", []) => println!("{}", std::env::current_dir()?.display()),
        ("ids", []) => ids(),
        ("status", keys) => status(keys)?,
        ("rlimits", []) => print!("{}", fs::read_to_string("/proc/self/limits")?),
        ("mounts", []) => print!("{}", fs::read_to_string("/proc/self/mountinfo")?),
        ("namespaces", []) => namespaces()?,
        ("umask", []) => println!("{:04o}", syscall::umask()),
        ("hostname", []) => print!("{}", fs::read_to_string("/proc/sys/kernel/hostname")?),
        ("fds", []) => fds()?,
        ("list", [path]) => list(path)?,
        ("cat", [path]) => io::stdout().write_all(&fs::read(path)?)?,
        ("stat", [path]) => stat(path)?,
        ("write", [path, text]) => {
            fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(text.as_bytes())?
        }
        ("open", [path]) => drop(fs::File::open(path)?),
        ("open-rw", [path]) => {
            drop(fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?);
            println!("opened");
        }
        ("mkdir", [path]) => fs::create_dir(path)?,
        ("mount-tmpfs", [path]) => syscall::mount_tmpfs(path)?,
        ("mknod", [path, major, minor]) => syscall::mknod(path, number(major) as u32, number(minor) as u32)?,
        ("fill", [path, megabytes]) => fill(path, number(megabytes))?,
        ("syscalls", names) => syscall::attempt(names),
        ("setuid", [uid]) => println!("{}", syscall::setuid(number(uid) as u32)),
        ("cwd-escapes", []) => cwd_escapes()?,
        ("hunt-exe", [seconds]) => hunt_exe(number(seconds))?,

        ("copy", []) => drop(io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())?),
        ("count", []) => println!("{}", io::copy(&mut io::stdin().lock(), &mut io::sink())?),
        ("lines", [n]) => lines(number(n), &mut io::stdout().lock())?,
        ("lines-stderr", [n]) => lines(number(n), &mut io::stderr().lock())?,
        ("both", [n]) => both(number(n))?,
        ("bytes", [n]) => bytes(number(n))?,
        ("zeros", [n]) => drop(io::copy(&mut io::repeat(0).take(number(n)), &mut io::stdout().lock())?),
        ("long-line", [n]) => {
            bytes(number(n))?;
            println!();
        }
        ("ticks", [n, milliseconds]) => ticks(number(n), number(milliseconds))?,
        ("tty", []) => tty()?,
        ("winch", []) => process::print_resizes()?,

        ("exit", [code]) => return Ok(number(code) as u8),
        ("raise", [signal]) => process::raise(number(signal) as i32),
        ("sleep", [seconds]) => std::thread::sleep(Duration::from_secs(number(seconds))),
        ("ready", [seconds]) => {
            println!("ready");
            std::thread::sleep(Duration::from_secs(number(seconds)));
        }
        ("ignore-term", []) => process::ignore_term(),
        ("trap", signals) => process::trap(signals)?,
        ("hog", [megabytes]) => process::hog(number(megabytes)),
        ("forks", [n]) => process::forks(number(n)),
        ("orphans", [n, seconds]) => process::orphans(number(n), number(seconds)),
        ("spin", [milliseconds]) => spin(number(milliseconds)),
        ("threads", [n]) => process::threads(number(n)),
        _ => {
            eprintln!("payload: no verb {verb:?} with {} words", rest.len());
            return Ok(MISUSE);
        }
    }
    Ok(0)
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| {
        eprintln!("payload: {word:?} is no number");
        std::process::exit(MISUSE.into())
    })
}

fn ids() {
    let groups = syscall::groups();
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    println!("uid={} gid={} groups={}", syscall::uid(), syscall::gid(), groups.join(","));
}

/// Lines of /proc/self/status by key.
fn status(keys: &[&str]) -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/status")?;
    for key in keys {
        let value = text.lines().find_map(|l| l.strip_prefix(&format!("{key}:")));
        println!("{key}={}", value.unwrap_or("absent").trim());
    }
    Ok(())
}

fn namespaces() -> io::Result<()> {
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        println!("{}", fs::read_link(format!("/proc/self/ns/{name}"))?.display());
    }
    Ok(())
}

/// Open descriptors but the one that lists them.
fn fds() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        if let Ok(target) = fs::read_link(&path)
            && !target.ends_with("fd")
        {
            println!("{} {}", path.file_name().unwrap_or_default().display(), target.display());
        }
    }
    Ok(())
}

fn list(path: &str) -> io::Result<()> {
    let mut names: Vec<String> =
        fs::read_dir(path)?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<io::Result<_>>()?;
    names.sort();
    names.iter().for_each(|n| println!("{n}"));
    Ok(())
}

fn stat(path: &str) -> io::Result<()> {
    let m = fs::symlink_metadata(path)?;
    let (major, minor) = (libc::major(m.rdev()), libc::minor(m.rdev()));
    println!("mode={:06o} uid={} gid={} size={} rdev={major}:{minor}", m.mode(), m.uid(), m.gid(), m.len());
    Ok(())
}

fn fill(path: &str, megabytes: u64) -> io::Result<()> {
    let block = vec![b'x'; 1 << 20];
    let mut file = fs::File::create(path)?;
    for _ in 0..megabytes {
        file.write_all(&block)?;
    }
    Ok(())
}

/// CVE-2024-21626: a working directory outside of the root leads to the host's.
fn cwd_escapes() -> io::Result<()> {
    let identity = |path: &str| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    let up = identity("../../../../../../../../../../..")?;
    println!("{}", if up == identity("/")? { "inside" } else { "escaped" });
    Ok(())
}

/// CVE-2019-5736: looks for a process whose executable is not ours and tries to open that for writing.
fn hunt_exe(seconds: u64) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let identity = |m: fs::Metadata| (m.dev(), m.ino());
    let own = [identity(fs::metadata("/proc/self/exe")?), identity(fs::metadata("/bin/busybox")?)];
    let mut seen = 0u64;
    println!("hunting");
    while Instant::now() < end {
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path().join("exe");
            let Ok(found) = fs::metadata(&path) else { continue };
            if own.contains(&identity(found)) {
                continue;
            }
            seen += 1;
            // By now it may be what the process has executed meanwhile, and the container may write its own programs.
            let opened = fs::OpenOptions::new().write(true).open(&path).and_then(|f| f.metadata()).map(identity);
            if opened.as_ref().is_ok_and(|file| !own.contains(file)) {
                println!("opened {} {opened:?}", fs::read_link(&path).unwrap_or_default().display());
            }
        }
    }
    println!("seen {seen}");
    Ok(())
}

fn lines(n: u64, to: &mut dyn Write) -> io::Result<()> {
    let mut to = io::BufWriter::with_capacity(1 << 16, to);
    for i in 0..n {
        writeln!(to, "line {i}")?;
    }
    to.flush()
}

fn both(n: u64) -> io::Result<()> {
    for i in 0..n {
        writeln!(io::stdout(), "out {i}")?;
        writeln!(io::stderr(), "err {i}")?;
    }
    Ok(())
}

/// A pattern whose period fits no buffer size: a lost, doubled or swapped block shows.
fn bytes(n: u64) -> io::Result<()> {
    let block: Vec<u8> = (0..251u32 * 256).map(|i| b'!' + (i % 251 % 90) as u8).collect();
    let mut out = io::stdout().lock();
    let mut left = n as usize;
    while left > 0 {
        let take = left.min(block.len());
        out.write_all(&block[..take])?;
        left -= take;
    }
    out.flush()
}

fn ticks(n: u64, milliseconds: u64) -> io::Result<()> {
    for i in 0..n {
        writeln!(io::stdout(), "tick {i}")?;
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
    Ok(())
}

fn tty() -> io::Result<()> {
    let terminals = [0, 1, 2].map(|fd| if syscall::isatty(fd) { "tty" } else { "no" });
    println!("{}", terminals.join(" "));
    if terminals[0] == "tty" {
        let (rows, columns) = syscall::window_size()?;
        println!("{rows} {columns}");
        println!("{}", fs::read_link("/proc/self/fd/0")?.display());
    }
    Ok(())
}

/// Burns processor time and prints how much of the wall time it got, in per cent.
fn spin(milliseconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(milliseconds) {
        std::hint::black_box(0);
    }
    let used = syscall::cpu_time();
    println!("{}", (used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0).round());
}

/// The names the tests know.
fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EACCES => "EACCES",
        libc::EROFS => "EROFS",
        libc::ENOSPC => "ENOSPC",
        libc::ENOSYS => "ENOSYS",
        libc::EINVAL => "EINVAL",
        libc::EBUSY => "EBUSY",
        libc::ENXIO => "ENXIO",
        libc::ETXTBSY => "ETXTBSY",
        libc::EAGAIN => "EAGAIN",
        libc::ENODEV => "ENODEV",
        other => return format!("errno {other}"),
    };
    name.to_string()
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
