//! The root file system that the tests run: busybox and the payload, made here, with some traps in it.

use super::{requires, sys};
use nix::mount::{MsFlags, mount};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the runner puts the archive; its tests inherit the variable.
const VARIABLE: &str = "ISULABOX_TEST_ROOTFS";

/// Makes the archive below the runner's directory.
pub fn make(directory: &Path) {
    let path = directory.join("rootfs.tar");
    let mut tar = Archive::create(&path);
    tar.standard();
    tar.finish();
    // The tests' processes are started with the runner's environment.
    sys::set_environment(VARIABLE, &path);
}

/// The archive.
pub fn archive() -> PathBuf {
    std::env::var_os(VARIABLE).expect("the runner made the archive").into()
}

/// The static in-container program.
pub fn payload() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/x86_64-unknown-linux-musl/release/examples/payload");
    let path = PathBuf::from(std::env::var_os("ISULABOX_PAYLOAD").unwrap_or_else(|| default.into()));
    assert!(path.exists(), "no payload at {}; `make payload`, or name one in ISULABOX_PAYLOAD", path.display());
    path
}

/// The static busybox of the machine.
fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|d| d.join("busybox")).find(|p| p.is_file()).expect("busybox; `make deps`")
}

/// A tar archive being written.
pub struct Archive {
    tar: tar::Builder<File>,
}

impl Archive {
    pub fn create(path: &Path) -> Archive {
        Archive { tar: tar::Builder::new(File::create(path).expect("an archive")) }
    }

    /// What every test image holds.
    pub fn standard(&mut self) {
        for directory in ["bin", "dev", "etc", "proc", "sys", "tmp", "var", "srv", "home/user", "root", "locked"] {
            self.directory(directory);
        }
        self.program("bin/busybox", &busybox());
        let applets = Command::new(busybox()).arg("--list").output().expect("busybox --list");
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|a| *a != "busybox") {
            self.link(&format!("bin/{applet}"), "busybox");
        }
        self.program("bin/payload", &payload());
        self.file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/srv/user:/bin/sh\n");
        self.file("etc/group", 0o644, "root:x:0:\nuser:x:1000:\nextra:x:2000:user\nmore:x:3000:\n");
        self.file("etc/marker", 0o644, "inside\n");
        self.file("bin/not-executable", 0o644, "#!/bin/sh\n");
        self.file("bin/no-interpreter", 0o755, "#!/bin/missing\n");
        self.file("bin/no-program", 0o755, "neither ELF nor script");
        // Of root alone; what a user inside must not read.
        self.file("locked/secret", 0o600, "secret\n");
        // Links out of the root, as a hostile image has them.
        self.link("escape-absolute", "/");
        self.link("escape-up", "../../../../../../../..");
        self.link("escape-loop", "escape-loop");
    }

    /// `bin/busybox` with links of these names.
    pub fn busybox(&mut self, applets: &[&str]) {
        self.program("bin/busybox", &busybox());
        applets.iter().for_each(|applet| self.link(&format!("bin/{applet}"), "busybox"));
    }

    pub fn directory(&mut self, path: &str) {
        let mut header = self.header(tar::EntryType::Directory, 0o755, 0);
        self.tar.append_data(&mut header, path, std::io::empty()).expect("a directory in the archive");
    }

    pub fn file(&mut self, path: &str, mode: u32, content: &str) {
        let mut header = self.header(tar::EntryType::Regular, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content.as_bytes()).expect("a file in the archive");
    }

    /// A file of somebody.
    pub fn owned(&mut self, path: &str, mode: u32, (uid, gid): (u64, u64)) {
        let mut header = self.header(tar::EntryType::Regular, mode, 0);
        header.set_uid(uid);
        header.set_gid(gid);
        self.tar.append_data(&mut header, path, std::io::empty()).expect("a file in the archive");
    }

    /// An extended attribute of the next member.
    pub fn attribute(&mut self, name: &str, value: &[u8]) {
        let record = format!("SCHILY.xattr.{name}");
        self.tar.append_pax_extensions([(record.as_str(), value)]).expect("a header in the archive");
    }

    pub fn link(&mut self, path: &str, target: &str) {
        let mut header = self.header(tar::EntryType::Symlink, 0o777, 0);
        // As it stands: the library's other call would tidy the target up.
        header.set_link_name_literal(target).expect("a short target");
        header.set_path(path).expect("a short path");
        header.set_cksum();
        self.tar.append(&header, std::io::empty()).expect("a link in the archive");
    }

    /// A further name of an earlier member.
    pub fn hard_link(&mut self, path: &str, target: &str) {
        let mut header = self.header(tar::EntryType::Link, 0o644, 0);
        self.tar.append_link(&mut header, path, target).expect("a link in the archive");
    }

    /// A fifo, or a device by its numbers.
    pub fn node(&mut self, path: &str, kind: tar::EntryType, (major, minor): (u32, u32)) {
        let mut header = self.header(kind, 0o666, 0);
        header.set_device_major(major).expect("a GNU header");
        header.set_device_minor(minor).expect("a GNU header");
        self.tar.append_data(&mut header, path, std::io::empty()).expect("a node in the archive");
    }

    pub fn program(&mut self, path: &str, source: &Path) {
        self.program_with(path, 0o755, source);
    }

    pub fn program_with(&mut self, path: &str, mode: u32, source: &Path) {
        let mut file = File::open(source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        let size = file.metadata().expect("its size").len();
        let mut header = self.header(tar::EntryType::Regular, mode, size);
        self.tar.append_data(&mut header, path, &mut file).expect("a program in the archive");
    }

    pub fn finish(self) {
        self.tar.into_inner().and_then(|mut f| f.flush()).expect("the archive's end");
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }
}

/// Puts a tmpfs below a test's directory when its file system cannot be the upper one of an overlay (an overlay
/// itself, as in many build machines).
pub fn make_overlay_possible(directory: &Path) {
    if requires::root().is_err() || overlay_works(directory) {
        return;
    }
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("a tmpfs for the test");
    assert!(overlay_works(directory), "no overlay, not even on a tmpfs");
}

fn overlay_works(directory: &Path) -> bool {
    let probe = directory.join("probe");
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(probe.join(name)).expect("directories");
    }
    let at = |name: &str| probe.join(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let works =
        mount(Some("overlay"), &probe.join("merged"), Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .is_ok();
    if works {
        nix::mount::umount(&probe.join("merged")).expect("umount");
    }
    fs::remove_dir_all(&probe).expect("the probe's end");
    works
}

/// A directory with a tmpfs of that size on it, for a disk that gets full. In the test's own mount namespace.
pub fn small_disk(directory: &Path, kibibytes: u64) {
    fs::create_dir_all(directory).expect("a mount point");
    let options = format!("size={kibibytes}k,nr_inodes=20k,mode=755");
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("a small tmpfs");
}
