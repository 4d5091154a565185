//! How layers become a root: many of them and long paths to them.

use crate::support::bed::{Bed, json as json_of};
use crate::support::disk::LoopDevice;
use crate::support::rootfs::{self, Archive};
use crate::support::{PATIENCE, cgroup, command, contains, oci};
use crate::{requires, tests};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    an_image_of_two_hundred_layers,
    a_graph_with_a_long_path,
    directories_that_are_links,
    directories_that_are_mounts,
    more_layers_than_the_kernel_stacks,
    an_external_directory_is_the_root,
    an_external_device_is_the_root,
    external_roots_that_are_refused,
];

/// Loads an image of the test's root file system and `layers` above it, each with what `fill` puts in by its number.
pub fn load_stack(bed: &Bed, name: &str, layers: usize, fill: impl Fn(&mut Archive, usize)) {
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
pub fn fill(tar: &mut Archive, n: usize) {
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
        let list = Command::new("tar").arg("-tf").arg(&path).output().unwrap().stdout;
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
/// What iSulad's suite does with such directories.
fn live(bed: &mut Bed) {
    bed.start();
    let quota = |bed: &Bed| cgroup::read(bed.container_pid("aa"), &["cpu.cfs_quota_us", "cpu.max"]).unwrap();
    bed.run_detached("aa", "--cpus 1.5", "sh -c 'echo own > /own; sleep 1000'");
    assert!(quota(bed).starts_with("150000"));
    bed.isula("restart -t 0 aa").ok();
    assert!(quota(bed).starts_with("150000"));
    bed.isula("update --cpus 1.3 aa").ok();
    bed.kill();
    bed.restart();
    assert!(quota(bed).starts_with("130000"));
    assert_eq!(bed.isula("exec aa cat /own").ok(), "own");
    bed.run("-v vol:/v", "sh -c 'echo kept > /v/file'");
    bed.isula("restart -t 0 aa").ok();
    assert_eq!(bed.run("-v vol:/v", "cat /v/file"), "kept");
    bed.isula("rm -f aa").ok();
}

fn directories_that_are_links(bed: &mut Bed) {
    requires!(cgroup_cpu);
    for (name, path) in [("real-graph", bed.graph()), ("real-state", bed.state())] {
        fs::create_dir(bed.dir.join(name)).unwrap();
        std::os::unix::fs::symlink(bed.dir.join(name), path).unwrap();
    }
    live(bed);
    assert!(bed.graph().is_symlink() && bed.state().is_symlink(), "the links stay");
    assert!(bed.dir.join("real-graph/engines").is_dir());
}

fn directories_that_are_mounts(bed: &mut Bed) {
    requires!(cgroup_cpu);
    for (name, path) in [("real-graph", bed.graph()), ("real-state", bed.state())] {
        let (real, none) = (bed.dir.join(name), None::<&str>);
        fs::create_dir(&real).unwrap();
        fs::create_dir(&path).unwrap();
        nix::mount::mount(Some(&real), &path, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
    }
    bed.own_mounts();
    live(bed);
    assert!(bed.dir.join("real-graph/engines").is_dir());
}

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

/// Unpacks the test's root file system.
fn unpack_root(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let status = Command::new("tar").arg("-xf").arg(rootfs::archive()).arg("-C").arg(directory).status().unwrap();
    assert!(status.success());
}

fn an_external_directory_is_the_root(bed: &mut Bed) {
    bed.start();
    let root = bed.dir.join("outside");
    unpack_root(&root);
    let line = |name: &str, flags: &str, command: &str| {
        bed.isula(&format!("run --name {name} --external-rootfs {} {flags} none {command}", root.display()))
    };
    assert_eq!(line("aa", "", "sh -c 'cat /etc/marker /etc/mtab > /seen; echo own > /own; cat /own'").ok(), "own");
    contains(&fs::read_to_string(root.join("seen")).unwrap(), "inside\n");
    contains(&fs::read_to_string(root.join("seen")).unwrap(), " / ");
    assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "own\n");
    // Another one on the same root sees it; a read-only one cannot write.
    assert_eq!(line("bb", "--read-only", "cat /own").ok(), "own");
    assert_eq!(line("cc", "--read-only", "sh -c 'echo x > /own'").code, 1);
    assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "own\n");
    // What is known about it.
    let text = |pointer: &str| bed.inspect("aa", pointer).as_str().unwrap_or_default().to_owned();
    assert_eq!(text("/HostConfig/ExternalRootfs"), root.canonicalize().unwrap().display().to_string());
    assert_eq!((text("/Image").as_str(), text("/Config/Image").as_str()), ("", "none"));
    let listed = bed.isula("ps -a").ok();
    assert_eq!(listed.lines().filter(|l| l.split_whitespace().nth(1) == Some("none")).count(), 3, "{listed}");
    // The original's documents.
    let id = text("/Id");
    let stored = fs::read(bed.graph().join("engines/lcr").join(&id).join("config.v2.json")).unwrap();
    assert_eq!(json_of(&stored)["CommonConfig"]["ImageType"], "external");
    assert!(!bed.graph().join("storage/overlay").join(&id).exists(), "no layer is needed");
    // An image may say what to run.
    let configured = bed.dir.join("configured");
    fs::write(&configured, "").unwrap();
    bed.isula(&format!("import -c 'CMD [\"cat\",\"/own\"]' {} told", rootfs::archive().display())).ok();
    let said = bed.isula(&format!("run --rm --external-rootfs {} told", root.display()));
    assert_eq!(said.ok(), "own");
    if cfg!(feature = "image-tools") {
        let path = bed.dir.join("out.tar");
        bed.isula(&format!("export -o {} aa", path.display())).ok();
        let own = Command::new("tar").arg("-xOf").arg(&path).arg("own").output().unwrap().stdout;
        assert_eq!(own, b"own\n");
    }
    // It outlives the daemon as well as its container.
    bed.run_detached("other", "", "payload ready 1000");
    bed.isula("stop -t 0 other").ok();
    bed.kill();
    bed.restart();
    bed.isula("start aa").ok();
    bed.isula("wait aa").ok();
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 0);
    bed.isula("rm aa bb cc").ok();
    assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "own\n");
    // No flag: the place of a variable.
    let mut command = bed.applet("isula");
    command.env("IMAGE_NONE_PATH", &root).args(["run", "--rm", "none", "cat", "/own"]);
    assert_eq!(command::run(command, "isula run none".into(), b"", PATIENCE).ok(), "own");
}

fn an_external_device_is_the_root(bed: &mut Bed) {
    requires!(loop_ext4);
    bed.start();
    let (root, disk) = (bed.dir.join("outside"), bed.dir.join("disk"));
    unpack_root(&root);
    let device = LoopDevice::ext4(&disk, 16 << 20, &["-d", root.to_str().unwrap()]);
    let run = |flags: &str, command: &str| {
        bed.isula(&format!("run --rm --external-rootfs {} {flags} none {command}", device.path().display()))
    };
    assert_eq!(
        run("", "sh -c 'cat /etc/marker; echo own > /own; grep -c \" / ext4\" /proc/mounts'").out,
        "inside\n1\n"
    );
    assert_eq!(run("--read-only", "cat /own").ok(), "own");
    assert_eq!(run("--read-only", "sh -c 'echo x > /own'").code, 1);
    let create = format!("run -d --name aa --external-rootfs {} none payload ready 1000", device.path().display());
    bed.isula(&create).ok();
    if cfg!(feature = "image-tools") {
        contains(&bed.isula("export aa").out, "own");
    }
    bed.isula("rm -f aa").ok();
    // Nothing that a kernel could mount.
    fs::write(bed.dir.join("zeros"), vec![0; 1 << 20]).unwrap();
    let empty = LoopDevice::attach(&bed.dir.join("zeros"));
    bed.isula(&format!("run --rm --external-rootfs {} none true", empty.path().display()))
        .fails(125, "holds no file system that this kernel has");
}

fn external_roots_that_are_refused(bed: &mut Bed) {
    bed.start();
    fs::write(bed.dir.join("file"), "").unwrap();
    let file = bed.dir.join("file").display().to_string();
    for (path, part) in [
        ("outside", "want an absolute path"),
        ("/nosuch/root", "No such file"),
        (file.as_str(), "neither a directory nor a block device"),
        ("/dev/null", "neither a directory nor a block device"),
    ] {
        bed.isula(&format!("run --rm --external-rootfs {path} none true")).fails(125, part);
    }
    bed.isula(&format!("run --rm --external-rootfs {} none", bed.dir.display())).fails(125, "No command specified");
    if cfg!(feature = "registry") {
        bed.isula("pull none").fails(1, "none");
    }
    assert_eq!(bed.isula("ps -aq").ok(), "");
}
