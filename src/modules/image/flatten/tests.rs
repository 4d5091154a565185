//! Layers that hide and complete each other, and everything that a file is besides its content.

use super::super::signs::OPAQUE_ATTRIBUTE;
use super::super::tree::lstat;
use super::*;
use crate::utils::remove_tree::remove_tree;
use crate::utils::sys::xattr;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::SFlag;
use nix::sys::stat::{makedev, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::linkat;
use std::ffi::CStr;
use std::fs::{self, File, create_dir_all, write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

struct Stack(PathBuf);

impl Drop for Stack {
    fn drop(&mut self) {
        remove_tree(&self.0).unwrap();
    }
}

impl Stack {
    /// Layers of files with these paths; a directory ends in a slash, a whiteout in `!`, an opaque directory in `/*`. The
    /// first is the topmost.
    fn new(layers: &[&str]) -> Stack {
        let id = crate::utils::id::random_id().unwrap();
        let stack = Stack(std::env::temp_dir().join(format!("flatten-{}", &id[..12])));
        create_dir_all(stack.at("copy")).unwrap();
        for (n, paths) in layers.iter().enumerate() {
            create_dir_all(stack.at(&n.to_string())).unwrap();
            for path in paths.split_whitespace() {
                let full = stack.at(&format!("{n}/{}", path.trim_end_matches(['*', '!'])));
                create_dir_all(full.parent().unwrap()).unwrap();
                match path.as_bytes().last() {
                    Some(b'/') => create_dir_all(&full).unwrap(),
                    Some(b'!') => mknodat(AT_FDCWD, &full, SFlag::S_IFCHR, Mode::empty(), 0).unwrap(),
                    Some(b'*') => {
                        create_dir_all(&full).unwrap();
                        xattr::set(File::open(&full).unwrap().as_fd(), OPAQUE_ATTRIBUTE, b"y").unwrap();
                    }
                    _ => write(&full, n.to_string()).unwrap(),
                }
            }
        }
        stack
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn copy(&self, archive_signs: bool) {
        let mut layers = Vec::new();
        while self.at(&layers.len().to_string()).is_dir() {
            layers.push(Lower { path: self.at(&layers.len().to_string()), archive_signs, has_root: true });
        }
        flatten(&layers, &self.at("copy")).unwrap();
    }

    /// Paths of the copy, directories with a slash behind, files with the layer that they are of.
    fn copied(&self, archive_signs: bool) -> String {
        self.copy(archive_signs);
        let mut all = Vec::new();
        list(&self.at("copy"), "", &mut all);
        all.join(" ")
    }
}

fn list(directory: &Path, prefix: &str, all: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => {
                all.push(format!("{name}/"));
                list(&entry.path(), &format!("{name}/"), all);
            }
            false => all.push(format!("{name}={}", fs::read_to_string(entry.path()).unwrap())),
        }
    }
}

#[test]
fn what_upper_layers_hide_is_not_copied() {
    for (layers, want) in [
        (&["a", "a b"][..], "a=0 b=1"),
        (&["d/x", "d/x d/y e/", "d/y d/z"], "d/ d/x=0 d/y=1 d/z=2 e/"),
        (&["a! d/x!", "a d/x d/y", "a d/x d/z"], "d/ d/y=1 d/z=2"),
        (&["d/*", "d/x"], "d/"),
        (&["d/* d/y", "d/x d/y", "d/z"], "d/ d/y=0"),
        (&["", "d/*", "d/x"], "d/"),
        (&["d/y", "d!", "d/x"], "d/ d/y=0"),
        (&["d", "d/x"], "d=0"),
        (&["d/x", "d", "d/y"], "d/ d/x=0"),
        // A layer that goes deeper than those above and below it.
        (&["p/q/a", "p/q/r/s/b p/z", "p/q/r/c", "p/q/r/s/t/d"], {
            "p/ p/q/ p/q/a=0 p/q/r/ p/q/r/c=2 p/q/r/s/ p/q/r/s/b=1 p/q/r/s/t/ p/q/r/s/t/d=3 p/z=1"
        }),
        (&["m/a/1 m/c/1", "m/b/1 m/c/2", "m/a/2 m/d"], {
            "m/ m/a/ m/a/1=0 m/a/2=2 m/b/ m/b/1=1 m/c/ m/c/1=0 m/c/2=1 m/d=2"
        }),
        (&[], ""),
    ] {
        assert_eq!(Stack::new(layers).copied(false), want, "{layers:?}");
        assert_eq!(Stack::new(layers).copied(true), want, "{layers:?}");
    }
}

#[test]
fn deletions_in_the_form_of_archives() {
    for (layers, want) in [
        (&[".wh.a d/.wh.x", "a d/x d/y"][..], "d/ d/y=1"),
        (&["d/.wh..wh..opq d/y", "d/x d/y"], "d/ d/y=0"),
        // Deleted and made anew in one layer.
        (&[".wh.d d/y", "d/x d/y"], "d/ d/y=0"),
        (&["", ".wh.d", "d/x"], ""),
    ] {
        assert_eq!(Stack::new(layers).copied(true), want, "{layers:?}");
    }
}

#[test]
fn everything_about_a_file_is_copied() {
    let stack = Stack::new(&["dir/", "dir/file dir/other dir/deep/"]);
    let at = |path: &str| stack.at(&format!("1/dir/{path}"));
    symlink("../nowhere", at("link")).unwrap();
    fs::hard_link(at("file"), at("deep/again")).unwrap();
    mknodat(AT_FDCWD, &at("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
    mknodat(AT_FDCWD, &at("pipe"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    for (path, mode) in [("file", 0o4755), ("other", 0o000), ("null", 0o602), ("pipe", 0o604), ("deep", 0o1777)] {
        chown(at(path), Some(7), Some(8)).unwrap();
        fs::set_permissions(at(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let set = |path: &str, name: &CStr, value: &[u8]| xattr::set(File::open(at(path)).unwrap().as_fd(), name, value);
    // cap_net_raw=ep, as setcap(8) writes it.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set("other", c"security.capability", capability).unwrap();
    set("deep", c"trusted.mine", b"value").unwrap();
    std::os::unix::fs::lchown(at("link"), Some(9), Some(10)).unwrap();
    for path in ["file", "other", "null", "pipe", "link", "sparse", "deep"] {
        let flags = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
        utimensat(AT_FDCWD, &at(path), &TimeSpec::new(5, 6), &TimeSpec::new(2000, 3), flags).unwrap();
    }
    // The topmost layer gives directories their likeness.
    fs::set_permissions(stack.at("0/dir"), PermissionsExt::from_mode(0o751)).unwrap();
    fs::set_permissions(stack.at("0"), PermissionsExt::from_mode(0o711)).unwrap();
    stack.copy(false);
    let fact = |path: PathBuf| {
        let m = path.symlink_metadata().unwrap();
        (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec(), m.rdev(), m.nlink())
    };
    for path in ["file", "deep/again", "other", "null", "pipe", "link", "sparse", "deep"] {
        let copy = stack.at(&format!("copy/dir/{path}"));
        assert_eq!(fact(copy.clone()), fact(at(path)), "{path}");
        let attributes = |path: &Path| {
            let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
            xattr::all_of_link(&path).unwrap()
        };
        assert_eq!(attributes(&copy), attributes(&at(path)), "{path}");
    }
    let attribute = File::open(stack.at("copy/dir/other")).unwrap();
    assert_eq!(xattr::get(attribute.as_fd(), c"security.capability").unwrap().as_deref(), Some(&capability[..]));
    let inode = |path: &str| stack.at(path).metadata().unwrap().ino();
    assert_eq!(inode("copy/dir/file"), inode("copy/dir/deep/again"));
    assert_ne!(inode("copy/dir/file"), inode("1/dir/file"));
    assert!(stack.at("copy/dir/sparse").metadata().unwrap().blocks() < 1000);
    assert_eq!(fs::read_link(stack.at("copy/dir/link")).unwrap(), Path::new("../nowhere"));
    assert_eq!(stack.at("copy/dir").metadata().unwrap().mode() & 0o7777, 0o751);
    assert_eq!(stack.at("copy").metadata().unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn the_root_looks_like_the_images() {
    let stack = Stack::new(&["etc/own", "a"]);
    fs::set_permissions(stack.at("1"), PermissionsExt::from_mode(0o1770)).unwrap();
    chown(stack.at("1"), Some(7), Some(8)).unwrap();
    let layer = |n: &str, has_root| Lower { path: stack.at(n), archive_signs: false, has_root };
    flatten(&[layer("0", false), layer("1", true)], &stack.at("copy")).unwrap();
    let root = stack.at("copy").metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o1770, 7, 8));
}

#[test]
fn paths_longer_than_a_call_takes() {
    let stack = Stack::new(&["", ""]);
    for layer in ["0", "1"] {
        let mut fd = openat(AT_FDCWD, &stack.at(layer), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..600 {
            mkdirat(&fd, "directory", Mode::S_IRWXU).unwrap();
            fd = openat(&fd, "directory", DIRECTORY, Mode::empty()).unwrap();
        }
        let file = openat(&fd, layer, OFlag::O_CREAT | OFlag::O_CLOEXEC, Mode::S_IRUSR).unwrap();
        drop(file);
        linkat(&fd, layer, &fd, format!("again-{layer}").as_str(), AtFlags::empty()).unwrap();
    }
    stack.copy(false);
    let mut fd = openat(AT_FDCWD, &stack.at("copy"), DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..600 {
        fd = openat(&fd, "directory", DIRECTORY, Mode::empty()).unwrap();
    }
    for name in ["0", "1"] {
        assert_eq!(lstat(fd.as_fd(), name.as_bytes()).unwrap().unwrap().st_nlink, 2);
    }
}

#[test]
fn a_failure_says_where() {
    let stack = Stack::new(&["a/b/c"]);
    // The copy is not empty: the caller's mistake, and the only failure that is easy to come by.
    create_dir_all(stack.at("copy/a/b")).unwrap();
    let layer = Lower { path: stack.at("0"), archive_signs: false, has_root: true };
    let e = flatten(&[layer], &stack.at("copy")).unwrap_err();
    assert_eq!(e.errno(), Some(libc::EEXIST), "{e}");
    assert!(e.to_string().contains("copying \"a"), "{e}");
}
