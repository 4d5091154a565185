//! What is packed is unpacked to the same.

use super::*;
use crate::modules::image::store::tests::Graph;
use crate::modules::image::unpack::tests::archive;
use crate::modules::image::unpack::{Unpacked, unpack};
use crate::utils::archive::tar::Reader;
use crate::utils::archive::tar_writer::tests::files;
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
    let unpacked = unpack(&mut Reader::new(&archive(lines)[..]), open(&graph.0.join("one")), None).unwrap();
    assert_eq!(unpacked, Unpacked { size: 6, opaque: false });
    let first = pack(open(&graph.0.join("one")), Form::Layer { opaque: false }, Vec::new()).unwrap();
    unpack(&mut Reader::new(&first[..]), open(&graph.0.join("two")), None).unwrap();
    let second = pack(open(&graph.0.join("two")), Form::Layer { opaque: false }, Vec::new()).unwrap();
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
    unpack(&mut Reader::new(&deep[..]), open(&graph.0.join("one")), None).unwrap();
    let bytes = pack(open(&graph.0.join("one")), Form::Layer { opaque: true }, Vec::new()).unwrap();
    let back = unpack(&mut Reader::new(&bytes[..]), open(&graph.0.join("two")), None).unwrap();
    assert_eq!(back, Unpacked { size: 1, opaque: true });
}

#[test]
fn of_a_root_nothing_is_translated() {
    let graph = Graph::new();
    let root = graph.0.join("root");
    open(&root);
    std::fs::write(root.join(".wh.name"), "").unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let bytes = pack(open(&root), Form::Root, Vec::new()).unwrap();
    assert_eq!(listing(&bytes).iter().map(|l| l.split(' ').nth(1).unwrap()).collect::<Vec<_>>(), ["./", ".wh.name"]);
    drop(socket);
}
