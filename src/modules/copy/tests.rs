//! Paths as docker means them.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn paths_are_read_as_docker_reads_them() {
    for (path, clean, base, directory) in [
        ("/etc", "/etc", "etc", false),
        ("etc/", "/etc", "etc", true),
        ("/etc/.", "/etc", ".", true),
        ("/", "/", "/", true),
        (".", "/", ".", true),
        ("/.", "/", ".", true),
        ("a/../b", "/b", "b", false),
        ("a/..", "/", "/", true),
        ("../../x//y", "/x/y", "y", false),
    ] {
        let want = Asked { clean: clean.into(), base: base.into(), directory };
        assert_eq!(Asked::parse(path), want, "{path}");
    }
}

#[test]
fn links_are_followed_in_the_root_as_far_as_they_go() {
    let top = std::env::temp_dir().join(format!("copy-{}", std::process::id()));
    std::fs::create_dir_all(top.join("root/a/b")).unwrap();
    symlink("/a/b", top.join("root/to")).unwrap();
    symlink("to/c/../d", top.join("root/far")).unwrap();
    symlink("../../../../etc/passwd", top.join("root/out")).unwrap();
    symlink("loop", top.join("root/loop")).unwrap();
    let root = Root::open(&top.join("root")).unwrap();
    for (path, want) in [("/to", "/a/b"), ("/far", "/a/b/d"), ("/out", "/etc/passwd"), ("/loop", ""), ("/a", "/a")] {
        assert_eq!(follow(&root, path), want, "{path}");
    }
    std::fs::remove_dir_all(top).unwrap();
}
