//! What is packed is unpacked to the same.

use super::*;
use crate::modules::image::store::tests::Graph;
use crate::modules::image::unpack::tests::{archive, member};
use crate::modules::image::unpack::{Rules, Unpacked, unpack};
use crate::modules::remap::{Range, Remap};
use crate::utils::archive::tar::Reader;
use crate::utils::archive::tar_writer::tests::files;
use crate::utils::entry::DIRECTORY;
use nix::sys::stat::Mode;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn open(path: &Path) -> OwnedFd {
    std::fs::create_dir_all(path).unwrap();
    nix::fcntl::open(path, DIRECTORY, Mode::empty()).unwrap()
}

fn listing(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes);
    let mut lines = Vec::new();
    while let Some(m) = reader.next_member().unwrap() {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        lines.push(format!("{:?} {} {} {:o} {}", m.kind, text(&m.path), text(&m.link), m.mode, m.size));
    }
    lines
}

#[test]
fn a_layer_comes_back_as_it_went() {
    let graph = Graph::new();
    let lines = "D ./\nD a\nD a/b\nF a/b/f hello\nH a/b/g a/b/f\nS l ../x\nF .wh.gone \nD o\nF o/.wh..wh..opq \nF o/new x\n\
                 C dev 1:3\nF z ";
    let unpacked = unpack(&mut Reader::new(&archive(lines)[..]), open(&graph.0.join("one")), Rules::default()).unwrap();
    assert_eq!(unpacked, Unpacked { size: 6, sum: unpacked.sum, ..Unpacked::default() });
    let first = pack(open(&graph.0.join("one")), Form::Layer { opaque: false }, Ids::Same, Vec::new()).unwrap();
    unpack(&mut Reader::new(&first[..]), open(&graph.0.join("two")), Rules::default()).unwrap();
    let second = pack(open(&graph.0.join("two")), Form::Layer { opaque: false }, Ids::Same, Vec::new()).unwrap();
    assert!(first == second, "{:#?}\n{:#?}", listing(&first), listing(&second));
    let names = listing(&first);
    for want in ["Regular .wh.gone", "Regular o/.wh..wh..opq", "HardLink a/b/g a/b/f", "Symlink l ../x", "Char dev"] {
        assert!(names.iter().any(|line| line.starts_with(want)), "{want} in {names:#?}");
    }
}

#[test]
fn an_opaque_root_and_deep_trees() {
    let graph = Graph::new();
    let deep = [("d/".repeat(1500) + "f", b"x")];
    let deep = files(&[(&deep[0].0, &deep[0].1[..])]);
    unpack(&mut Reader::new(&deep[..]), open(&graph.0.join("one")), Rules::default()).unwrap();
    let bytes = pack(open(&graph.0.join("one")), Form::Layer { opaque: true }, Ids::Same, Vec::new()).unwrap();
    let back = unpack(&mut Reader::new(&bytes[..]), open(&graph.0.join("two")), Rules::default()).unwrap();
    assert_eq!((back.size, back.opaque), (1, true));
}

#[test]
fn of_a_root_nothing_is_translated() {
    let graph = Graph::new();
    let root = graph.0.join("root");
    open(&root);
    std::fs::write(root.join(".wh.name"), "").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let bytes = pack(open(&root), Form::Root, Ids::Same, Vec::new()).unwrap();
    assert_eq!(listing(&bytes).iter().map(|l| l.split(' ').nth(1).unwrap()).collect::<Vec<_>>(), ["./", ".wh.name"]);
    drop(socket);
}

#[test]
fn shifted_ids_are_shifted_back() {
    let graph = Graph::new();
    let remap = Remap { uids: Range { first: 100_000, count: 9 }, gids: Range { first: 200_000, count: 9 } };
    let name = |name: &str| format!("SCHILY.xattr.{name}");
    let (capability, list) = (name("security.capability"), name("system.posix_acl_access"));
    // cap_net_raw=ep; user::rw-, user:5:r--, group::---, mask::r--, other::---
    let ping = [&0x0200_0001u32.to_le_bytes()[..], &(1u32 << 13).to_le_bytes(), &[0; 12]].concat();
    let entries = [(1u16, 6u16, u32::MAX), (2, 4, 5), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, access, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &access.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let readers = [&2u32.to_le_bytes()[..], &entries.map(entry).concat()].concat();
    let lines = [
        member("D", "./", "", 0o755, &[]),
        member("F", "ping", "x", 0o755, &[("uid", b"5"), ("gid", b"6"), (&capability, &ping)]),
        member("F", "readers", "", 0o640, &[(&list, &readers)]),
        member("F", "set", "", 0o6755, &[("uid", b"8")]),
        member("S", "link", "set", 0o777, &[("gid", b"8")]),
        member("P", "pipe", "", 0o600, &[("uid", b"1")]),
        // Nobody's: neither of them is made.
        member("F", ".wh.gone", "", 0o600, &[("uid", b"70000")]),
        member("H", "hard", "set", 0o600, &[("uid", b"70000")]),
        vec![0; 1024],
    ]
    .concat();
    let packed = |ids: Ids, at: &str| pack(open(&graph.0.join(at)), Form::Layer { opaque: false }, ids, Vec::new());
    unpack(&mut Reader::new(&lines[..]), open(&graph.0.join("plain")), Rules::default()).unwrap();
    unpack(&mut Reader::new(&lines[..]), open(&graph.0.join("shifted")), Rules { remap: Some(&remap), limit: None })
        .unwrap();
    let owner = |path: &str| {
        let metadata = graph.0.join("shifted").join(path).symlink_metadata().unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    assert_eq!(owner("ping"), (100_005, 200_006, 0o755));
    assert_eq!(owner("set"), (100_008, 200_000, 0o6755));
    assert_eq!(owner("link"), (100_000, 200_008, 0o777));
    assert_eq!(owner("pipe"), (100_001, 200_000, 0o600));
    let plain = packed(Ids::Same, "plain").unwrap();
    for ids in [Ids::Inside(remap), Ids::Shared(remap)] {
        let back = packed(ids, "shifted").unwrap();
        assert!(plain == back, "{:#?}\n{:#?}", listing(&plain), listing(&back));
    }
    assert!(plain != packed(Ids::Same, "shifted").unwrap());
    unpack(
        &mut Reader::new(&archive("F implied/file x")[..]),
        open(&graph.0.join("shifted")),
        Rules { remap: Some(&remap), limit: None },
    )
    .unwrap();
    assert_eq!(owner("implied"), (100_000, 200_000, 0o755), "a directory that no member describes");
    for (what, record) in [("user", "uid"), ("group", "gid")] {
        let beyond = [member("F", "a/file", "", 0o600, &[(record, b"9")]), vec![0; 1024]].concat();
        let e = unpack(
            &mut Reader::new(&beyond[..]),
            open(&graph.0.join(record)),
            Rules { remap: Some(&remap), limit: None },
        )
        .unwrap_err();
        let want = format!("unpack \"a/file\": {what} 9 is beyond the 9 ids of the user namespace");
        assert_eq!((e.kind(), e.to_string()), (crate::error::Kind::Invalid, want));
    }
}
