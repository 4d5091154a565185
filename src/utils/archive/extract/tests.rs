//! What a hostile archive, made for whoever extracts it here, must not do.

use super::super::metadata::SAME;
use super::super::tar_writer::Writer;
use super::super::tar_writer::tests::sample;
use super::super::{Decompressed, Window};
use super::*;
use crate::error::Kind;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

struct Bed(PathBuf);

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A destination beside what must not be touched.
fn bed(name: &str) -> Bed {
    let top = std::env::temp_dir().join(format!("extract-{name}-{}", std::process::id()));
    fs::create_dir_all(top.join("to/there")).unwrap();
    fs::create_dir_all(top.join("victim")).unwrap();
    fs::write(top.join("victim/hello"), "hello").unwrap();
    Bed(top)
}

impl Bed {
    fn extract(&self, members: &[Member], links: Links) -> Result<()> {
        let mut writer = Writer::new(Vec::new());
        for member in members {
            let data = vec![b'x'; member.size as usize];
            writer.member(member, &mut &data[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut source = &bytes[..];
        let root = Root::open(&self.0.join("to")).unwrap();
        let own = |member: &mut Member| {
            (member.uid, member.gid) = (SAME, SAME);
            Ok(())
        };
        let rules = Rules { links, keep_kind: true, owner: (SAME, SAME), adapt: &own, check: &|| Ok(()) };
        let mut archive = Decompressed::detect(&mut source, Window::Small)?;
        extract(&mut archive, &root, Path::new(""), rules)
    }

    fn is_unharmed(&self) -> bool {
        let victim = self.0.join("victim/hello");
        let metadata = victim.metadata().unwrap();
        let alone = fs::read_dir(self.0.join("victim")).unwrap().count() == 1;
        fs::read(&victim).unwrap() == b"hello" && metadata.nlink() == 1 && alone
    }
}

fn link(kind: Type, path: &str, target: &str) -> Member {
    Member { link: target.into(), ..sample(kind, path.as_bytes()) }
}

fn file(path: &str) -> Member {
    Member { size: 3, ..sample(Type::Regular, path.as_bytes()) }
}

#[test]
fn nothing_leads_out() {
    for links in [Links::Refuse, Links::Follow] {
        let bed = bed(&format!("out-{links:?}"));
        let victim = bed.0.join("victim").display().to_string();
        symlink("../victim", bed.0.join("to/mine")).unwrap();
        for members in [
            vec![file("../victim/hello")],
            vec![file("a/../../victim/hello")],
            vec![link(Type::Symlink, "s", "../victim"), file("s/hello")],
            vec![link(Type::Symlink, "t", &victim), file("t/hello")],
            vec![link(Type::Symlink, "u", "/"), link(Type::HardLink, "h", &format!("u{victim}/hello"))],
            vec![link(Type::HardLink, "h", "../victim/hello")],
            vec![link(Type::HardLink, "h", "mine/hello")],
            vec![file("mine/hello")],
            vec![sample(Type::Directory, b"mine/new/")],
            vec![sample(Type::Directory, b"../victim/new/")],
            vec![sample(Type::Regular, b"..")],
        ] {
            let e = bed.extract(&members, links);
            assert!(e.is_err(), "{links:?} {:?}", String::from_utf8_lossy(&members[0].path));
            assert!(bed.is_unharmed(), "{links:?} {members:?}");
        }
        let _ = fs::remove_file(bed.0.join("to/s"));
        // A link in the place of a file is replaced, not followed.
        symlink("../victim/hello", bed.0.join("to/f")).unwrap();
        bed.extract(&[file("f"), link(Type::Symlink, "g", "../victim/hello"), file("g")], links).unwrap();
        assert!(bed.is_unharmed() && bed.0.join("to/f").is_file() && !bed.0.join("to/f").is_symlink());
        assert_eq!(fs::read(bed.0.join("to/g")).unwrap(), b"xxx");
    }
}

#[test]
fn links_on_the_way_are_followed_where_they_may_be() {
    let bed = bed("way");
    symlink("/there", bed.0.join("to/way")).unwrap();
    let e = bed.extract(&[file("way/f")], Links::Refuse).unwrap_err();
    assert_eq!((e.kind(), e.to_string().contains("symbolic link")), (Kind::Invalid, true), "{e}");
    bed.extract(&[file("way/f"), file("new/deep/g")], Links::Follow).unwrap();
    assert!(bed.0.join("to/there/f").is_file() && bed.0.join("to/new/deep/g").is_file());
}

#[test]
fn kinds_links_and_times() {
    let bed = bed("kinds");
    let at = |path: &str| bed.0.join("to").join(path);
    let directory =
        |path: &str, mtime| Member { mtime: (mtime, 0), mode: 0o750, ..sample(Type::Directory, path.as_bytes()) };
    let members = [
        directory("./", 1),
        directory("d/", 1_000),
        directory("d/e/", 2_000),
        file("d/e/f"),
        link(Type::HardLink, "d/h", "d/e/f"),
        link(Type::Symlink, "d/s", "../anywhere"),
        sample(Type::Fifo, b"d/p"),
    ];
    bed.extract(&members, Links::Refuse).unwrap();
    // And once more over it.
    bed.extract(&members, Links::Refuse).unwrap();
    assert_eq!((at("d").metadata().unwrap().mtime(), at("d/e").metadata().unwrap().mtime()), (1_000, 2_000));
    assert_eq!(at("d").metadata().unwrap().mode() & 0o7777, 0o750);
    assert_ne!(at("").metadata().unwrap().mtime(), 1, "the destination is whose it is");
    assert_eq!(at("d/e/f").metadata().unwrap().nlink(), 2);
    assert_eq!(fs::read_link(at("d/s")).unwrap(), Path::new("../anywhere"));
    for (member, text) in [
        (file("d"), "cannot overwrite directory with non-directory"),
        (directory("d/e/f", 1), "cannot overwrite non-directory with directory"),
        (link(Type::HardLink, "x", "d"), "hard link to the directory"),
        (link(Type::HardLink, "x", "gone"), "which is not there"),
    ] {
        let e = bed.extract(&[member], Links::Refuse).unwrap_err();
        assert!(e.to_string().contains(text), "{e}");
    }
    // Half a file is none.
    let mut bytes = Writer::new(Vec::new());
    bytes.member(&file("half"), &mut &b"xxx"[..]).unwrap();
    let bytes = bytes.finish().unwrap();
    let mut source = &bytes[..513];
    let root = Root::open(&at("")).unwrap();
    let rules =
        Rules { links: Links::Refuse, keep_kind: true, owner: (SAME, SAME), adapt: &|_| Ok(()), check: &|| Ok(()) };
    let mut archive = Decompressed::detect(&mut source, Window::Small).unwrap();
    assert_eq!(extract(&mut archive, &root, Path::new(""), rules).unwrap_err().kind(), Kind::Corrupt);
    assert!(!at("half").exists());
}
