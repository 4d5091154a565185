//! Roots that are copied, sizes of containers, layers that are verified after an unclean stop.

use crate::support::bed::{Bed, engines, refused};
use crate::support::disk::LoopDevice;
use crate::support::rootfs::{self, Archive};
use crate::support::{IMAGE, PATIENCE, contains, eventually, oci, runner};
use crate::{requires, store, tests};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    a_copied_root_is_what_an_overlay_shows,
    containers_with_copied_roots,
    containers_of_the_other_driver_go_on,
    without_a_working_overlay_roots_are_copied,
    killed_in_the_middle_of_a_copy,
    a_copy_that_does_not_fit_leaves_nothing,
    sizes_that_are_refused,
    mount_options_of_overlays,
    sizes_are_limits_on_ext4,
    sizes_are_limits_on_xfs,
    damaged_layers_are_found_after_an_unclean_stop,
];

const VFS: [&str; 2] = ["-s", "vfs"];

/// What lies in the directories of layers and containers, but for hidden names.
fn layers(bed: &Bed) -> Vec<PathBuf> {
    let entries = fs::read_dir(bed.graph().join("storage/overlay")).unwrap().flatten();
    entries.filter(|e| e.file_name().len() == 64).map(|e| e.path()).collect()
}

fn driver(bed: &Bed) -> String {
    let info = bed.isula("info").ok();
    info.lines().find_map(|l| l.strip_prefix("Storage Driver: ")).expect("a driver").to_owned()
}

/// Loads an image whose layers hide and complete each other.
fn load_layers(bed: &Bed) {
    store::load_stack(bed, "high:v1", 3, |tar, n| {
        store::fill(tar, n);
        tar.file(&format!("kept/{n}/file"), 0o640, "text");
        match n {
            1 => ["gone/a", "anew/b", "opaque/c"].iter().for_each(|path| tar.file(path, 0o4755, "old")),
            2 => [".wh.gone", ".wh.anew"].iter().for_each(|path| tar.file(path, 0o644, "")),
            _ => {
                tar.file("anew/d", 0o600, "new");
                tar.directory("opaque");
                tar.file("opaque/.wh..wh..opq", 0o644, "");
                tar.node("null", tar::EntryType::Char, (1, 3));
                tar.node("pipe", tar::EntryType::Fifo, (0, 0));
                tar.link("link", "nowhere");
            }
        }
    });
}

fn a_copied_root_is_what_an_overlay_shows(bed: &mut Bed) {
    requires!(image_tools, storage, gnu);
    bed.start();
    load_layers(bed);
    let listing = |bed: &Bed, name: &str| {
        bed.isula(&format!("create --name {name} high:v1 true")).ok();
        let path = bed.dir.join(format!("{name}.tar"));
        bed.isula(&format!("export -o {} {name}", path.display())).ok();
        let tar = |words: &[&str]| Command::new("tar").args(words).arg(&path).output().unwrap().stdout;
        let list = String::from_utf8(tar(&["--numeric-owner", "--full-time", "-tvf"])).unwrap();
        // The root's time is that of the writable layer; how wide it is decides where columns begin.
        let lines = list.lines().filter(|line| !line.ends_with(" ./"));
        let list: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        (list.join("\n"), tar(&["-xOf"]))
    };
    let (overlay, content) = listing(bed, "aa");
    bed.stop();
    bed.launch(&VFS);
    assert_eq!(driver(bed), "vfs");
    let (copy, bytes) = listing(bed, "bb");
    contains(&copy, "anew/d");
    contains(&copy, " kept/1/file");
    assert!(["gone", "anew/b", "opaque/c", ".wh."].iter().all(|name| !copy.contains(name)), "{copy}");
    assert_eq!(overlay, copy);
    assert!(content == bytes, "the contents differ");
}

fn containers_with_copied_roots(bed: &mut Bed) {
    requires!(storage);
    bed.start_with(&VFS);
    let info = bed.isula("info").ok();
    contains(&info, "Storage Driver: vfs\n Backing Filesystem: ");
    assert_eq!(bed.run("", "cat /etc/marker"), "inside");
    bed.run("", "sh -c 'echo x > /etc/marker; rm -r /srv'");
    assert_eq!(bed.run("", "sh -c 'cat /etc/marker; ls -d /srv'"), "inside\n/srv", "no container sees another's");
    assert_eq!(bed.run("", "readlink /etc/mtab"), "/proc/mounts");
    bed.isula(&format!("run --rm --read-only {IMAGE} sh -c 'echo x > /own'")).exits(1);
    bed.run_detached("aa", "", "sh -c 'echo kept > /own; payload ready 1000'");
    eventually("it has written", || bed.isula("exec aa cat /own").out == "kept\n");
    assert_eq!(bed.isula("exec aa cat /proc/self/mounts").ok().lines().filter(|l| l.starts_with("overlay")).count(), 0);
    let directory = PathBuf::from(bed.inspect("aa", "/GraphDriver/Data/MergedDir").as_str().unwrap());
    assert_eq!(bed.inspect("aa", "/GraphDriver/Name"), "vfs");
    assert_eq!(fs::read_to_string(directory.join("own")).unwrap(), "kept\n");
    // The daemon's end does not concern it, nor does the image's name.
    bed.kill();
    bed.restart();
    assert_eq!(bed.isula("exec aa cat /own").ok(), "kept");
    assert_ne!(bed.isula(&format!("rmi {IMAGE}")).code, 0, "the image is in use");
    bed.isula("stop -t 0 aa").ok();
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /own").ok(), "kept");
    if cfg!(feature = "image-tools") {
        contains(&bed.isula("export aa").out, "kept");
    }
    bed.isula("rm -f aa").ok();
    assert!(!directory.exists() && layers(bed).len() == 1, "{:?}", layers(bed));
    let e = bed.isula(&format!("run --rm {IMAGE} nosuch"));
    e.exits(127);
    assert_eq!(layers(bed).len(), 1);
}

fn containers_of_the_other_driver_go_on(bed: &mut Bed) {
    requires!(storage);
    bed.start();
    assert_eq!(driver(bed), "overlay");
    let make = |bed: &Bed, name: &str| bed.run_detached(name, "", "sh -c 'echo own > /own; payload ready 1000'");
    make(bed, "mounted");
    bed.stop();
    bed.launch(&VFS);
    make(bed, "copied");
    for driver in [&["-s", "overlay2"][..], &VFS, &[]] {
        bed.stop();
        bed.launch(driver);
        for (name, graph) in [("mounted", "overlay"), ("copied", "vfs")] {
            eventually("it has written", || bed.isula(&format!("exec {name} cat /own")).out == "own\n");
            assert_eq!(bed.inspect(name, "/GraphDriver/Name"), graph);
            bed.isula(&format!("stop -t 0 {name}")).ok();
            bed.isula(&format!("start {name}")).ok();
        }
    }
}

/// The graph on a file system that overlayfs refuses, or that cannot hold its signs.
fn without_a_working_overlay_roots_are_copied(bed: &mut Bed) {
    requires!(storage);
    let graph = bed.graph();
    for kind in ["overlay", "ramfs"] {
        fs::create_dir_all(&graph).unwrap();
        let at = |name: &str| {
            let path = bed.dir.join(name);
            fs::create_dir_all(&path).unwrap();
            path.display().to_string()
        };
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let options = if kind == "overlay" { options.as_str() } else { "mode=755" };
        mount(Some(kind), &graph, Some(kind), MsFlags::empty(), Some(options)).unwrap();
        bed.own_mounts();
        bed.start();
        assert_eq!(driver(bed), "vfs", "on {kind}");
        contains(&bed.log(), "overlayfs cannot be used");
        load_layers(bed);
        let look = "sh -c 'cat /stack-top; ls /hidden /anew /opaque; ls -d /gone; echo own > /own; cat /own'";
        let o = bed.isula(&format!("run --rm high:v1 {look}"));
        assert_eq!(o.out, "3\n/anew:\nd\n\n/hidden:\n3\n\n/opaque:\nown\n", "{}", o.show());
        contains(&o.err, "/gone");
        if cfg!(feature = "image-tools") {
            // What comes out is the same image elsewhere.
            let path = bed.dir.join("saved.tar");
            bed.isula(&format!("save -o {} high:v1", path.display())).ok();
            bed.isula("rmi high:v1").ok();
            bed.isula(&format!("load -i {}", path.display())).ok();
            assert_eq!(bed.isula(&format!("run --rm high:v1 {look}")).out, o.out);
        }
        bed.isula("rmi high:v1").ok();
        bed.isula(&format!("rmi {IMAGE}")).ok();
        bed.stop();
        fs::rename(bed.dir.join("daemon.log"), bed.dir.join(format!("{kind}.log"))).unwrap();
        nix::mount::umount(&graph).unwrap();
        bed.own_mounts();
    }
    bed.launch(&[]);
}

/// An image that takes a while to copy.
fn import_large(bed: &Bed, name: &str, megabytes: usize) {
    let path = bed.dir.join("large.tar");
    let mut tar = Archive::create(&path);
    tar.standard();
    let text = "0123456789abcdef".repeat(1 << 16);
    (0..megabytes).for_each(|n| tar.file(&format!("large/{n}"), 0o644, &text));
    tar.finish();
    bed.isula(&format!("import {} {name}", path.display())).ok();
    fs::remove_file(path).unwrap();
}

fn killed_in_the_middle_of_a_copy(bed: &mut Bed) {
    requires!(storage);
    bed.start_with(&VFS);
    import_large(bed, "large", 200);
    let before = layers(bed).len();
    let overlay = bed.graph().join("storage/overlay");
    let client = bed.spawn("create --name aa large true");
    eventually("a copy has begun", || {
        let entries = fs::read_dir(&overlay).unwrap().flatten();
        entries.map(|e| e.path()).any(|path| {
            path.file_name().unwrap().to_string_lossy().starts_with(".tmp-") && path.join("rootfs/large").is_dir()
        })
    });
    bed.kill();
    client.finish(PATIENCE);
    bed.restart();
    assert_eq!(bed.isula("ps -aq").ok(), "");
    assert_eq!(engines(&bed.graph()), Vec::<String>::new());
    eventually("the rest is removed", || {
        fs::read_dir(&overlay).unwrap().flatten().all(|e| !e.file_name().to_string_lossy().starts_with(".tmp-"))
    });
    assert_eq!(layers(bed).len(), before);
    bed.isula("run --rm large test -f /large/199").ok();
}

fn a_copy_that_does_not_fit_leaves_nothing(bed: &mut Bed) {
    requires!(storage);
    rootfs::small_disk(&bed.graph(), 60 << 10);
    bed.own_mounts();
    bed.start_with(&VFS);
    import_large(bed, "large", 30);
    let used = || nix::sys::statvfs::statvfs(&bed.graph()).unwrap().blocks_free();
    let (before, free) = (layers(bed).len(), used());
    bed.isula("run --name aa large true").fails(125, "no space left on device");
    assert_eq!((layers(bed).len(), bed.isula("ps -aq").ok()), (before, String::new()));
    assert!(used() + 100 > free, "{} blocks are free, {free} before", used());
    assert_eq!(bed.run("", "cat /etc/marker"), "inside");
}

fn sizes_that_are_refused(bed: &mut Bed) {
    let words = |extra: &[&str]| bed.daemon_words(extra);
    for (option, part) in [
        ("overlay2.sise=1g", "unknown storage option \"overlay2.sise\""),
        ("dm.thinpooldev=x", "unknown storage option \"dm.thinpooldev\""),
        ("overlay2.size=100", "Illegal storage quota size 100, 4096 at least"),
        ("overlay2.size", "want KEY=VALUE"),
    ] {
        contains(&refused(bed, &words(&["--storage-opt", option])), part);
    }
    contains(&refused(bed, &words(&["--storage-driver", "devicemapper"])), "invalid storage driver \"devicemapper\"");
    bed.start_with(&["--storage-opt", "overlay2.override_kernel_check=true", "-s", "overlay2.skip_mount_home=true"]);
    for (option, part) in [
        ("size=100", "Illegal storage quota size 100, 4096 at least"),
        ("size=x", "invalid size \"x\""),
        ("sise=1g", "unknown storage option \"sise\""),
    ] {
        bed.isula(&format!("run --rm --storage-opt {option} {IMAGE} true")).fails(125, part);
    }
    let external = format!("run --rm --storage-opt size=1g --external-rootfs {} none true", bed.dir.display());
    bed.isula(&external).fails(125, "--storage-opt");
    bed.run("--storage-opt size=0", "true");
    if !has_projects(&bed.graph()) {
        let part = if cfg!(feature = "storage") {
            "--storage-opt is supported only for overlay over xfs or ext4 with 'pquota' mount option"
        } else {
            "sizes of containers"
        };
        bed.isula(&format!("run --rm --storage-opt size=1g {IMAGE} true")).fails(125, part);
        bed.stop();
        contains(&refused(bed, &bed.daemon_words(&["--storage-opt", "overlay2.size=1g"])), part);
        bed.restart();
    }
    assert_eq!(layers(bed).len(), 1);
}

fn mount_options_of_overlays(bed: &mut Bed) {
    bed.start_with(&["--storage-opt", "overlay2.mountopt=nodev,noatime,redirect_dir=off"]);
    let mounts = bed.run("", "cat /proc/mounts");
    let root = mounts.lines().find(|l| l.starts_with("overlay / ")).expect("the root");
    contains(root, "nodev");
    contains(root, "noatime");
    bed.stop();
    bed.launch(&["--storage-opt", "overlay2.mountopt=nosuch=1"]);
    bed.isula(&format!("run --rm {IMAGE} true")).fails(125, "mount(\"overlay\"");
}

/// Whether that directory's file system limits projects, as far as its mount options say.
fn has_projects(path: &Path) -> bool {
    let device = fs::metadata(path).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut of_device = mounts.lines().filter(|l| l.split(' ').nth(2) == Some(&format!("{major}:{minor}")));
    of_device.any(|l| ["prjquota", "pquota"].iter().any(|option| l.contains(option)))
}

/// The bed's graph on a file system of its own with project quotas.
fn quota_disk(bed: &mut Bed, kind: &str) -> LoopDevice {
    let file = bed.dir.join("disk");
    let device = match kind {
        "ext4" => LoopDevice::ext4(&file, 400 << 20, &["-O", "quota,project", "-E", "quotatype=prjquota"]),
        _ => LoopDevice::xfs(&file, 400 << 20),
    };
    fs::create_dir_all(bed.graph()).unwrap();
    let mounted = mount(Some(device.path()), &bed.graph(), Some(kind), MsFlags::empty(), Some("prjquota"));
    if let Err(e) = mounted {
        runner::skip(&format!("no project quotas of {kind} in this kernel: {e}"));
    }
    bed.own_mounts();
    device
}

fn sizes_are_limits_on_ext4(bed: &mut Bed) {
    requires!(storage, loop_ext4);
    sizes_are_limits(bed, "ext4");
}

fn sizes_are_limits_on_xfs(bed: &mut Bed) {
    requires!(storage, loop_xfs);
    sizes_are_limits(bed, "xfs");
}

fn sizes_are_limits(bed: &mut Bed, kind: &str) {
    let _device = quota_disk(bed, kind);
    bed.start_with(&["--storage-opt", "overlay2.size=100m"]);
    let fill = |megabytes: u32| format!("sh -c 'dd if=/dev/zero of=/full bs=1M count={megabytes} && sync /full'");
    for driver in ["overlay2", "vfs"] {
        bed.stop();
        bed.launch(&["-s", driver, "--storage-opt", "overlay2.size=100m"]);
        let line = |flags: &str, command: &str| bed.isula(&format!("run --rm {flags} {IMAGE} {command}"));
        line("", &fill(60)).ok();
        assert_ne!(line("", &fill(110)).code, 0, "the daemon's own limit, {driver}");
        line("--storage-opt size=150m", &fill(110)).ok();
        assert_ne!(line("--storage-opt size=30m", &fill(40)).code, 0, "{driver}");
        let blocks =
            line("--storage-opt size=30m", "sh -c 'df -k / | tail -n 1 | tr -s \" \" | cut -d \" \" -f 2'").ok();
        assert_eq!(blocks, (30 << 10).to_string(), "{driver}");
    }
    // Two containers, two limits; they last, and end with the container.
    bed.stop();
    bed.launch(&[]);
    for (name, size) in [("aa", 20), ("bb", 40)] {
        bed.isula(&format!("run -d --name {name} --storage-opt size={size}m {IMAGE} payload ready 1000")).ok();
    }
    let fills = |name: &str, megabytes: u32| bed.isula(&format!("exec {name} {}", fill(megabytes))).code == 0;
    assert!(fills("aa", 15) && !fills("aa", 25) && fills("bb", 25) && !fills("bb", 45));
    bed.isula("exec bb rm /full").ok();
    bed.kill();
    bed.restart();
    bed.isula(&format!("run -d --name cc --storage-opt size=30m {IMAGE} payload ready 1000")).ok();
    let fills = |name: &str, megabytes: u32| bed.isula(&format!("exec {name} {}", fill(megabytes))).code == 0;
    assert!(fills("cc", 25) && !fills("cc", 35) && fills("bb", 35) && !fills("bb", 45));
    let before = projects(bed);
    assert_eq!(before.len(), 3, "{before:?}");
    for name in ["aa", "bb", "cc"] {
        bed.isula(&format!("rm -f {name}")).ok();
    }
    assert_eq!(projects(bed), Vec::<u32>::new());
    // An image that is larger than the container may be.
    bed.stop();
    bed.launch(&VFS);
    let o = bed.isula(&format!("create --storage-opt size=100k {IMAGE} true"));
    assert_ne!(o.code, 0, "{}", o.show());
    assert_eq!((layers(bed).len(), projects(bed)), (1, Vec::new()));
}

/// Projects in use on the graph's file system.
fn projects(bed: &Bed) -> Vec<u32> {
    use isulabox::utils::sys::project_quota::FileSystem;
    let system = FileSystem::open(&bed.graph(), &bed.dir.join("device")).unwrap();
    let mut found = Vec::new();
    while let Some(next) = system.next(found.last().map_or(1, |last| last + 1)).unwrap() {
        found.push(next);
    }
    found
}

fn damaged_layers_are_found_after_an_unclean_stop(bed: &mut Bed) {
    requires!(storage);
    bed.start_with(&["--image-layer-check"]);
    let marker = bed.graph().join("storage/NEED_CHECK");
    assert!(marker.exists());
    let path = bed.dir.join("other.tar");
    let mut tar = Archive::create(&path);
    tar.standard();
    tar.file("victim", 0o644, "text that will be damaged\n");
    tar.finish();
    let layout = bed.dir.join("layout");
    oci::layout(&layout, &[&path], &["linux/amd64"], &serde_json::json!({}));
    let load = format!("load -i {} --tag other", oci::archive(&layout).display());
    bed.isula(&load).ok();
    bed.isula("create --name ofother other cat /victim").ok();
    bed.isula("run -d --name uses other payload ready 1000").ok();
    bed.run_detached("good", "", "payload ready 1000");
    let layer = layers(bed).into_iter().find(|path| path.join("diff/victim").exists()).expect("the layer");
    // With a clean stop in between nobody looks.
    bed.restart();
    bed.kill();
    bed.restart();
    contains(&bed.log(), "layers verified");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 2);
    let victim = layer.join("diff/victim");
    let size = fs::metadata(&victim).unwrap().len();
    fs::write(&victim, "?".repeat(size as usize)).unwrap();
    bed.stop();
    assert!(!marker.exists());
    bed.restart();
    assert_eq!(bed.isula("images -q").ok().lines().count(), 2, "a clean stop is trusted");
    bed.kill();
    bed.restart();
    let images = bed.isula("images").ok();
    assert!(images.lines().count() == 2 && !images.contains("other"), "{images}");
    assert_eq!(bed.isula("exec good echo well").ok(), "well");
    bed.isula("start ofother").fails(125, "damaged");
    contains(&bed.isula("ps -a").ok(), "ofother");
    contains(&bed.isula("info").err, "is damaged: its image sha256:");
    assert_eq!(bed.run("", "echo well"), "well");
    // As long as something runs, a damaged layer may be below its root, and stays there.
    assert_eq!(bed.isula("exec uses cat /etc/marker").ok(), "inside");
    assert!(layer.exists());
    bed.isula(&load).fails(1, "is damaged, and containers that run may have it");
    bed.restart();
    assert!(layer.exists() && bed.isula("images").ok().lines().count() == 2);
    bed.isula("rm -f uses good").ok();
    bed.restart();
    eventually("the layer is removed", || !layer.exists());
    bed.isula(&load).ok();
    assert_eq!(bed.isula("run --rm other cat /victim").ok(), "text that will be damaged");
    assert_eq!(bed.isula("start -a ofother").ok(), "text that will be damaged", "its image came back");
}
