//! Counts what a daemon does to its disk, and does something right before a step of choice.
//!
//! A seccomp filter has the kernel ask here before each call that makes or takes a name or waits for the disk
//! (seccomp_unotify(2)); the call waits until it is answered. Unlike a tracer this follows all threads by itself.

use super::bed::Bed;
use super::sys::{self, StoppedCall};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard};

/// What changes names, or waits for the disk. Content needs no step of its own: it is on its way until a call waits.
const CALLS: &[libc::c_long] = &[
    libc::SYS_renameat2,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_renameat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fsetxattr,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
];

#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
const OLD_CALLS: &[libc::c_long] = &[
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_mkdir,
    libc::SYS_mknod,
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
const OLD_CALLS: &[libc::c_long] = &[];

/// Calls that may make a file, and the place of their flags.
const OPENS: &[(libc::c_long, u32)] = &[
    (libc::SYS_openat, 2),
    #[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
    (libc::SYS_open, 1),
];

/// Done to a daemon.
pub type Blow = Box<dyn FnOnce() + Send>;

/// The steps of one daemon.
#[derive(Clone, Default)]
pub struct Steps(Arc<Mutex<Count>>);

#[derive(Default)]
struct Count {
    daemon: u32,
    made: usize,
    at: usize,
    blow: Option<Blow>,
}

impl Steps {
    /// Starts a daemon whose steps can be counted, and waits until it serves.
    pub fn launch(bed: &mut Bed, extra: &[&str]) -> Steps {
        let steps = Steps::default();
        let own = steps.clone();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let Ok(filter) = receiver.recv() else { return };
            while let Some(call) = sys::next_call(&filter) {
                own.before(&call);
                sys::answer(&filter, &call, None);
            }
        });
        // The filter is for a thread and what it starts: this one and the daemon.
        let calls = [CALLS, OLD_CALLS].concat();
        let launched = std::thread::scope(|scope| {
            let launch = || {
                sender.send(sys::notify_calls(&calls, OPENS).expect("seccomp_unotify(2)")).expect("somebody answers");
                bed.launch(extra);
            };
            scope.spawn(launch).join()
        });
        launched.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        steps.count().daemon = bed.pid();
        steps
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().expect("no holder panics")
    }

    /// Counts from now on; `blow` comes before the step with the number `at`, from 1.
    pub fn arm(&self, at: usize, blow: Blow) {
        let daemon = self.count().daemon;
        *self.count() = Count { daemon, made: 0, at, blow: Some(blow) };
    }

    /// Ends the counting: how many there were, and the blow if it has not come.
    pub fn disarm(&self) -> (usize, Option<Blow>) {
        let mut count = self.count();
        (count.made, count.blow.take())
    }

    fn before(&self, call: &StoppedCall) {
        let mut count = self.count();
        if count.blow.is_none() || !Path::new(&format!("/proc/{}/task/{}", count.daemon, call.thread)).exists() {
            return;
        }
        count.made += 1;
        if count.made == count.at
            && let Some(blow) = count.blow.take()
        {
            // Under the lock: whoever disarms waits for it.
            blow();
        }
    }
}
