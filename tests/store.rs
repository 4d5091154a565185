//! How layers become a root: many of them and long paths to them.

use crate::support::bed::Bed;
use crate::support::rootfs::{self, Archive};
use crate::support::{contains, oci};
use crate::tests;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

tests![an_image_of_two_hundred_layers, a_graph_with_a_long_path, more_layers_than_the_kernel_stacks];

/// Loads an image of the test's root file system and `layers` above it, each with what `fill` puts in by its number.
fn load_stack(bed: &Bed, name: &str, layers: usize, fill: impl Fn(&mut Archive, usize)) {
    let directory = bed.dir.join("stack");
    fs::create_dir_all(&directory).unwrap();
    let above = (1..=layers).map(|n| {
        let path = directory.join(format!("{n}.tar"));
        let mut tar = Archive::create(&path);
        fill(&mut tar, n);
        tar.finish();
        path
    });
    let paths: Vec<PathBuf> = std::iter::once(rootfs::archive()).chain(above).collect();
    let layout = bed.dir.join("stack-layout");
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    oci::layout(&layout, &paths, &["linux/amd64"], &json!({"Cmd": ["sh"]}));
    let index = layout.join("index.json");
    let mut value: Value = isulabox::utils::json::parse(&fs::read(&index).unwrap()).unwrap();
    value["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    fs::write(index, isulabox::utils::json::to_vec(&value)).unwrap();
    bed.isula(&format!("load -i {}", oci::archive(&layout).display())).ok();
}

/// Each layer leaves a file, and hides what the layer before left in another place.
fn fill(tar: &mut Archive, n: usize) {
    tar.file(&format!("stack/{n}"), 0o644, "");
    tar.file("stack-top", 0o644, &format!("{n}\n"));
    tar.file(&format!("hidden/{n}"), 0o644, "");
    tar.file(&format!("hidden/.wh.{}", n - 1), 0o644, "");
}

fn an_image_of_two_hundred_layers(bed: &mut Bed) {
    bed.start();
    load_stack(bed, "high:v1", 199, fill);
    let look = "sh -c 'ls /stack | wc -l; cat /stack-top; ls /hidden; cat /etc/marker; echo > /own; rm -f /stack/7'";
    let want = ["199", "199", "199", "inside"];
    assert_eq!(bed.isula(&format!("run --rm high:v1 {look}")).ok().lines().collect::<Vec<_>>(), want);
    assert_eq!(bed.isula(&format!("run --name kept high:v1 {look}")).ok().lines().collect::<Vec<_>>(), want);
    if cfg!(feature = "image-tools") {
        let path = bed.dir.join("out.tar");
        bed.isula(&format!("export -o {} kept", path.display())).ok();
        let list = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap().stdout;
        let list = String::from_utf8(list).unwrap();
        assert_eq!(list.lines().filter(|l| l.starts_with("stack/") && !l.ends_with('/')).count(), 198, "{list}");
        assert!(list.lines().any(|l| l == "own") && list.lines().all(|l| l != "hidden/198"), "{list}");
    }
    bed.isula("start -a kept").ok();
    bed.isula("rm kept").ok();
    bed.isula("rmi high:v1").ok();
}

fn a_graph_with_a_long_path(bed: &mut Bed) {
    let mut graph = bed.graph();
    // Two layers are more than a page.
    (0..10).for_each(|_| graph.push("d".repeat(220)));
    let mut words = bed.daemon_words(&[]);
    let at = words.iter().position(|w| *w == bed.graph().display().to_string()).unwrap();
    words[at] = graph.display().to_string();
    let mut command = bed.applet("isulad");
    command.args(words);
    bed.launch_command(command);
    load_stack(bed, "far:v1", 3, fill);
    let look = "sh -c 'cat /stack-top; ls /hidden; echo own > /own; cat /own'";
    assert_eq!(
        bed.isula(&format!("run --name kept far:v1 {look}")).ok().lines().collect::<Vec<_>>(),
        ["3", "3", "own"]
    );
    assert_eq!(fs::read_to_string(upper(&graph).join("own")).unwrap(), "own\n");
    if cfg!(feature = "image-tools") {
        let out = bed.isula("export kept").out;
        contains(&out, "hidden/3");
    }
    bed.isula("rm kept").ok();
}

/// The writable layer of the only container.
fn upper(graph: &Path) -> PathBuf {
    let entries = fs::read_dir(graph.join("storage/overlay")).unwrap().flatten();
    let with_work = entries.map(|e| e.path()).find(|p| p.join("work").is_dir());
    with_work.expect("a container's directory").join("diff")
}

fn more_layers_than_the_kernel_stacks(bed: &mut Bed) {
    bed.start();
    let layout = bed.dir.join("layout");
    let empty = bed.dir.join("empty.tar");
    fs::write(&empty, [0; 1024]).unwrap();
    oci::layout(&layout, &vec![empty.as_path(); 499], &["linux/amd64"], &json!({}));
    let o = bed.isula(&format!("load -i {}", oci::archive(&layout).display()));
    o.fails(1, "more than 498 layers");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
}
