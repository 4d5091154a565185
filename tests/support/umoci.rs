//! An image of many layers as umoci makes it: from what changed in an unpacked root, from files inserted, from archives.

use super::registry::run;
use super::rootfs::{self, Archive};
use nix::sys::stat::{Mode, SFlag, mknod};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image in a layout.
pub struct Image {
    pub layout: PathBuf,
    /// What umoci unpacked last.
    pub bundle: PathBuf,
}

/// `umoci` with these words, and the image's name behind the verb.
#[track_caller]
fn umoci<S: AsRef<OsStr>>(layout: &Path, verb: &[&str], words: &[S]) {
    run(Command::new("umoci").args(verb).arg("--image").arg(format!("{}:x", layout.display())).args(words));
}

/// Makes a layout of an image that has one layer, the archive.
#[track_caller]
pub fn of_archive(layout: &Path, archive: &Path) {
    run(Command::new("umoci").args(["init", "--layout"]).arg(layout));
    umoci::<&str>(layout, &["new"], &[]);
    umoci(layout, &["raw", "add-layer"], &[archive]);
}

impl Image {
    /// Makes one below `directory` of the test's root file system and further layers: as many as `changed` from changes
    /// to the unpacked root, then `added` ones made without looking at the root.
    #[track_caller]
    pub fn make(directory: &Path, changed: usize, added: usize) -> Image {
        let image = Image { layout: directory.join("layout"), bundle: directory.join("bundle") };
        of_archive(&image.layout, &rootfs::archive());
        umoci(&image.layout, &["unpack"], &[&image.bundle]);
        for n in 0..changed {
            change(&image.root(), n);
            umoci(&image.layout, &["repack", "--refresh-bundle"], &[&image.bundle]);
        }
        for n in 0..added {
            image.add(directory, n);
        }
        umoci(&image.layout, &["config"], &["--config.cmd", "cat", "--config.cmd", "/added/all"]);
        fs::remove_dir_all(&image.bundle).expect("the bundle");
        umoci(&image.layout, &["unpack"], &[&image.bundle]);
        image
    }

    /// The root file system that umoci unpacked.
    pub fn root(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// A layer of nothing but what it adds: no directory on the way to it is in it.
    fn add(&self, directory: &Path, n: usize) {
        let (source, name) = (directory.join("source"), n.to_string());
        match n % 5 {
            0 => {
                fs::write(&source, &name).expect("a file");
                give(&source, 0o4755, 10 + n as u32);
                for target in [format!("tmp/{n}"), format!("data/private/{n}"), "added/all".into()] {
                    umoci(&self.layout, &["insert"], &[source.as_os_str(), OsStr::new(&target)]);
                }
            }
            1 => {
                fs::create_dir_all(source.join("deep")).expect("directories");
                fs::write(source.join("deep/file"), &name).expect("a file");
                give(&source.join("deep"), 0o2750, n as u32);
                umoci(&self.layout, &["insert"], &[source.as_os_str(), OsStr::new(&format!("data/tree{n}"))]);
                umoci(&self.layout, &["insert", "--opaque"], &[source.as_os_str(), OsStr::new("data/opaque")]);
            }
            2 => umoci(&self.layout, &["insert", "--whiteout"], &[&format!("tmp/{}", n - 2)]),
            3 => umoci(&self.layout, &["raw", "add-layer"], &[crafted(directory, n)]),
            _ => umoci(&self.layout, &["insert", "--whiteout"], &[&format!("data/tree{}/deep", n - 3)]),
        }
        let _ = fs::remove_file(&source).or_else(|_| fs::remove_dir_all(&source)); // not all have one
    }
}

/// What happens to a root between two layers.
fn change(root: &Path, n: usize) {
    let at = |name: &str| root.join(name);
    let (data, private, bin) = (at("data"), at("data/private"), at("bin"));
    if n == 0 {
        for name in ["data/private/below", "data/opaque/of/old", "added"] {
            fs::create_dir_all(at(name)).expect("directories");
        }
        fs::write(at("data/opaque/of/old/file"), "hidden later").expect("a file");
        fs::write(private.join("shared"), "").expect("a file");
        give(&private, 0o2700, 77);
        give(&at("home"), 0o711, 0); // no layer below says what it is like
        give(&at("tmp"), 0o1777, 0);
        attribute(&private, "user.directory", "private");
        mknod(&at("data/fifo"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).expect("mknod");
        let null = nix::sys::stat::makedev(1, 3);
        mknod(&at("data/null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), null).expect("mknod");
    }
    // The directory stays as it is.
    fs::write(private.join("shared"), format!("{n}")).expect("a file");
    let file = data.join(format!("file{n}"));
    fs::write(&file, format!("content {n}\n").repeat(n * 100)).expect("a file");
    give(&file, [0o644, 0o4711, 0o2755, 0o600][n % 4], 1000 + n as u32);
    attribute(&file, "user.round", &n.to_string());
    let (directory, link) = (data.join(format!("directory{n}")), data.join(format!("link{n}")));
    fs::create_dir_all(directory.join("a/b")).expect("directories");
    fs::write(directory.join("a/b/c"), "").expect("a file");
    give(&directory, 0o1777, n as u32);
    symlink(format!("file{n}"), &link).expect("a link");
    std::os::unix::fs::lchown(&link, Some(n as u32), Some(5)).expect("chown");
    for name in ["one", "two"] {
        fs::hard_link(&file, bin.join(format!("{name}{n}"))).expect("a hard link");
    }
    let Some(last) = n.checked_sub(1) else { return };
    let (file, directory) = (data.join(format!("file{last}")), data.join(format!("directory{last}")));
    match n % 6 {
        // One name less of a file; a directory gone, a directory in the place of a file, a file in that of a directory.
        0 => fs::remove_file(bin.join(format!("one{last}"))).expect("a name"),
        1 => fs::remove_dir_all(&directory).expect("a tree"),
        2 => {
            fs::remove_file(&file).expect("a file");
            fs::create_dir_all(file.join("now/a/tree")).expect("directories");
        }
        3 => {
            fs::remove_dir_all(&directory).expect("a tree");
            symlink("nowhere", &directory).expect("a link");
        }
        // Deleted and made anew.
        4 => {
            fs::remove_dir_all(&directory).expect("a tree");
            fs::create_dir(&directory).expect("a directory");
            fs::write(directory.join("new"), "new").expect("a file");
        }
        _ => {
            give(&file, 0o4755, 3);
            attribute(&file, "user.round", "another");
        }
    }
}

/// A layer as no differ writes it: signs in every order, names that come twice.
fn crafted(directory: &Path, n: usize) -> PathBuf {
    let path = directory.join("crafted.tar");
    let mut tar = Archive::create(&path);
    tar.file(&format!("data/crafted{n}"), 0o4755, "replaced in the same layer");
    tar.file("data/private/.wh.below", 0o644, "");
    tar.directory("data/private/below");
    tar.attribute("user.crafted", b"\0binary\xff");
    tar.file(&format!("data/private/below/{n}"), 0o640, "above");
    tar.link(&format!("data/crafted{n}"), "private/below");
    tar.hard_link(&format!("data/hard{n}"), &format!("data/private/below/{n}"));
    tar.owned(&format!("added/{n}"), 0o6755, (70_000, 4_000_000_000));
    tar.file("data/opaque/last", 0o644, "");
    tar.file("data/opaque/.wh..wh..opq", 0o644, "");
    tar.finish();
    path
}

/// Owner first: a change of it takes set-id bits away.
fn give(path: &Path, mode: u32, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("chown");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn attribute(path: &Path, name: &str, value: &str) {
    use std::os::fd::AsFd;
    let name = std::ffi::CString::new(name).expect("a name");
    let file = fs::File::open(path).expect("it is there");
    isulabox::utils::sys::xattr::set(file.as_fd(), &name, value.as_bytes()).expect("an attribute");
}
