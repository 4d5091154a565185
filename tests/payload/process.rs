//! Verbs about processes, signals, memory.

use crate::{c_string, syscall};
use std::io::{self, Write};
use std::time::Duration;

pub fn raise(signal: i32) {
    // SAFETY: takes a number. The first process of a pid namespace ignores what it does not handle, but SIGKILL too:
    // a child of it would die; this one then goes on and ends by itself.
    unsafe { libc::raise(signal) };
}

pub fn ignore_term() {
    // SAFETY: ignoring installs no code.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the whole set before it is read.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for s in signals {
            libc::sigaddset(&mut set, *s);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        set
    }
}

fn wait_for(set: &libc::sigset_t) -> i32 {
    let mut signal = 0;
    // SAFETY: both point to live values.
    unsafe { libc::sigwait(set, &mut signal) };
    signal
}

/// Prints `ready`, waits for one of the signals (by number), prints it, ends with 0.
pub fn trap(signals: &[&str]) -> io::Result<()> {
    let set = set_of(&signals.iter().filter_map(|s| s.parse().ok()).collect::<Vec<i32>>());
    println!("ready");
    println!("signal {}", wait_for(&set));
    io::stdout().flush()
}

/// Prints the terminal's size now and at each change, until it is 1 row high.
pub fn print_resizes() -> io::Result<()> {
    let set = set_of(&[libc::SIGWINCH]);
    loop {
        let (rows, columns) = syscall::window_size()?;
        println!("size {rows} {columns}");
        if rows == 1 {
            return Ok(());
        }
        wait_for(&set);
    }
}

/// Takes and touches memory.
pub fn hog(megabytes: u64) {
    let mut kept = Vec::new();
    for n in 1..=megabytes {
        kept.push(vec![n as u8; 1 << 20]);
        std::hint::black_box(&kept);
    }
    println!("took {megabytes}");
}

/// Forks up to `n` children that wait; prints how many there were, then ends them.
pub fn forks(n: u64) {
    let mut children = Vec::new();
    for _ in 0..n {
        // SAFETY: the process has one thread; the child only waits for a signal.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: takes nothing.
                unsafe { libc::pause() };
            },
            -1 => break,
            pid => children.push(pid),
        }
    }
    println!("forked {}", children.len());
    for pid in &children {
        // SAFETY: the ids are those of our own children, not yet waited for.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
}

/// Leaves `n` processes behind in sessions of their own, ends at once.
pub fn orphans(n: u64, seconds: u64) {
    for _ in 0..n {
        // SAFETY: one thread; the child makes its own session and becomes another program.
        if unsafe { libc::fork() } == 0 {
            let (path, verb, time) = (c_string("/proc/self/exe"), c_string("sleep"), c_string(&seconds.to_string()));
            let argv = [path.as_ptr(), verb.as_ptr(), time.as_ptr(), std::ptr::null()];
            // SAFETY: a null-terminated list of C strings that outlive the call.
            unsafe {
                libc::setsid();
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                libc::execv(path.as_ptr(), argv.as_ptr());
                libc::_exit(97);
            }
        }
    }
    println!("left {n}");
}

/// Starts up to `n` threads that wait; prints how many there were.
pub fn threads(n: u64) {
    let mut started = 0;
    for _ in 0..n {
        let park = || std::thread::sleep(Duration::from_secs(3600));
        if std::thread::Builder::new().stack_size(32 << 10).spawn(park).is_err() {
            break;
        }
        started += 1;
    }
    println!("threads {started}");
}
