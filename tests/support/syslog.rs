//! A syslog of the test's own: the socket `/dev/log` in a `/dev` that nobody else sees.

use super::PATIENCE;
use super::bed::Bed;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

const SOCKET: &str = "/dev/log";
/// What a daemon and its containers need of a host's devices.
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"];

/// Gives the bed a `/dev` without `log`, before its daemon starts.
pub fn own_devices(bed: &mut Bed) {
    let old = bed.dir.join("dev");
    fs::create_dir(&old).expect("a mount point");
    let none = None::<&str>;
    mount(Some("/dev"), &old, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).expect("the devices, bound");
    mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("a tmpfs");
    for name in DEVICES {
        let (from, to) = (old.join(name), Path::new("/dev").join(name));
        if from.is_dir() {
            fs::create_dir(&to).expect("a mount point");
        } else {
            fs::write(&to, "").expect("a mount point");
        }
        mount(Some(&from), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).expect("a device, bound");
    }
    nix::mount::umount2(&old, nix::mount::MntFlags::MNT_DETACH).expect("a mount of our own");
    fs::remove_dir(&old).expect("an empty directory");
    bed.own_mounts();
}

/// Who listens. Ends when dropped, as when a daemon is killed: the socket's file stays.
pub struct Syslog {
    socket: UnixDatagram,
}

impl Syslog {
    /// Takes the place of one that has ended.
    pub fn listen() -> Syslog {
        let _ = fs::remove_file(SOCKET); // there may be none
        let socket = UnixDatagram::bind(SOCKET).expect("a socket in a /dev of our own");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        Syslog { socket }
    }

    /// What comes until `last` has come, as often as `last` says; messages as they are.
    #[track_caller]
    pub fn until(&self, what: &str, mut last: impl FnMut(&str) -> bool) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut end = Instant::now() + PATIENCE;
        let mut buffer = vec![0u8; 1 << 17];
        loop {
            if let Ok(n) = self.socket.recv(&mut buffer) {
                all.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                end = Instant::now() + PATIENCE;
                if last(&all[all.len() - 1]) {
                    return all;
                }
            }
            assert!(Instant::now() < end, "waited in vain for {what}; there was {:?}", all.last());
        }
    }

    /// The next `n` messages.
    #[track_caller]
    pub fn next(&self, n: usize) -> Vec<String> {
        let mut left = n;
        self.until(&format!("{n} messages"), |_| {
            left -= 1;
            left == 0
        })
    }

    /// Fails when something comes that was not expected.
    #[track_caller]
    pub fn is_silent(&self) {
        let mut buffer = vec![0u8; 1 << 17];
        if let Ok(n) = self.socket.recv(&mut buffer) {
            panic!("unexpected: {}", String::from_utf8_lossy(&buffer[..n]));
        }
    }
}
