//! File systems in files, on loop devices.

use super::registry::run;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device, given back when dropped.
pub struct LoopDevice(PathBuf);

/// The devices that show a file, whatever path they know it by.
pub fn loops_of(file: &Path) -> Vec<String> {
    let said = run(Command::new("losetup").args(["--noheadings", "--output", "NAME", "--associated"]).arg(file));
    String::from_utf8_lossy(&said).lines().map(|line| line.trim().to_owned()).collect()
}

impl LoopDevice {
    /// A device that shows a file. In words that busybox knows as well.
    #[track_caller]
    pub fn attach(file: &Path) -> LoopDevice {
        for _ in 0..100 {
            let free = PathBuf::from(String::from_utf8_lossy(&run(Command::new("losetup").arg("-f"))).trim());
            // Another test may have been faster.
            if Command::new("losetup").arg(&free).arg(file).output().is_ok_and(|o| o.status.success()) {
                return LoopDevice(free);
            }
        }
        panic!("no loop device for {}", file.display());
    }

    /// A new file of `size` bytes with an ext4 in it, made with further words for mkfs.ext4.
    #[track_caller]
    pub fn ext4(file: &Path, size: u64, words: &[&str]) -> LoopDevice {
        File::create(file).and_then(|f| f.set_len(size)).expect("a file");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).args(words).arg(file));
        LoopDevice::attach(file)
    }

    /// The same with an XFS.
    #[track_caller]
    pub fn xfs(file: &Path, size: u64) -> LoopDevice {
        File::create(file).and_then(|f| f.set_len(size)).expect("a file");
        run(Command::new("mkfs.xfs").args(["-q", "-f"]).arg(file));
        LoopDevice::attach(file)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status(); // goes with its last user then
    }
}

/// A file system in a file, mounted at a directory; the power of whose disk can be cut.
pub struct Disk {
    /// `mount -t`.
    pub kind: &'static str,
    /// Further options of its mounts.
    pub options: &'static str,
    file: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// Makes one in a new file `file` and mounts it at `at`.
    #[track_caller]
    pub fn make(kind: &'static str, options: &'static str, file: &Path, megabytes: u64, at: &Path) -> Disk {
        File::create(file).and_then(|f| f.set_len(megabytes << 20)).expect("a file");
        let words: &[&str] = match kind {
            // Nothing is to be written later on its own.
            "ext4" => &["-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            _ => &["-q"],
        };
        run(Command::new(format!("mkfs.{kind}")).args(words).arg(file));
        std::fs::create_dir_all(at).expect("a mount point");
        let disk = Disk { kind, options, file: file.into(), at: at.into() };
        disk.mount(file);
        disk
    }

    /// Mounts a file with such a file system. Its loop device goes with the mount.
    #[track_caller]
    pub fn mount(&self, file: &Path) {
        let options = format!("loop{}{}", if self.options.is_empty() { "" } else { "," }, self.options);
        run(Command::new("mount").args(["-t", self.kind, "-o", &options]).arg(file).arg(&self.at));
    }

    /// Makes it read-only (`ro`) or writable again (`rw`); `false` while a file is open for writing.
    pub fn remount(&self, how: &str) -> bool {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.at).output();
        done.expect("mount").status.success()
    }

    /// Takes it away, in whatever state its users leave it.
    #[track_caller]
    pub fn unmount(&self) {
        super::eventually("the disk is not in use", || nix::mount::umount(&self.at).is_ok());
    }

    /// Puts a copy of what was made first in the place of what is mounted.
    #[track_caller]
    pub fn renew(&self) {
        self.unmount();
        let work = self.file.with_extension("work");
        copy(&self.file, &work);
        self.mount(&work);
    }

    /// Where [`Disk::renew`] and [`Disk::power_up`] have their files, and the counts of the device in use.
    pub fn plug(&self) -> Plug {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let at = self.at.to_str().expect("plain characters");
        let line = mounts.lines().rfind(|l| l.split(' ').nth(1) == Some(at)).expect("it is mounted");
        let device = line.split(' ').next().and_then(|d| d.strip_prefix("/dev/")).expect("a device");
        let counts = format!("/sys/block/{device}/stat");
        Plug { work: self.file.with_extension("work"), cut: self.file.with_extension("cut"), counts }
    }

    /// Mounts what was on the disk when [`Plug::pull`] was called.
    #[track_caller]
    pub fn power_up(&self) {
        self.unmount();
        self.mount(&self.file.with_extension("cut"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.at, nix::mount::MntFlags::MNT_DETACH); // after a failure it may not be there
    }
}

/// Takes the power from a disk.
pub struct Plug {
    work: PathBuf,
    cut: PathBuf,
    counts: String,
}

impl Plug {
    /// Copies the disk as it is at one moment: what its file system has not written to it is lost. Reading the file behind
    /// the device has nothing written. Who writes must have been stopped; what was under way then ends first.
    pub fn pull(&self) {
        let counts = || {
            let text = std::fs::read_to_string(&self.counts).expect("a block device's counts");
            let counts: Vec<u64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
            // Documentation/block/stat.rst: writes, sectors written, in flight, flushes.
            (counts[4], counts[6], counts[8], counts.get(15).copied())
        };
        loop {
            let before = counts();
            copy(&self.work, &self.cut);
            if before.2 == 0 && counts() == before {
                return;
            }
        }
    }
}

/// Holes stay holes.
fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to));
}
