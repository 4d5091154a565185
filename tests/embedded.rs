//! Embedded images: a manifest, and layers that stay where they are.

use crate::support::bed::{Bed, json as json_of};
use crate::support::disk::{LoopDevice, loops_of};
use crate::support::registry::run;
use crate::support::rootfs;
use crate::support::{IMAGE, PATIENCE, contains, eventually};
use crate::{requires, tests};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    layers_are_stacked_where_they_are,
    layers_with_a_place_are_mounted,
    directories_are_copied_where_overlays_are_not,
    what_runs_is_the_manifests,
    containers_share_a_loop_device,
    containers_go_on_without_the_daemon,
    damaged_layers,
    manifests_that_are_refused,
    a_manifest_as_the_body_of_a_request,
    a_file_system_in_a_file_as_a_mount,
    a_build_without_them_says_so,
];

const SQUASHFS: &str = "application/squashfs.image.rootfs.diff.img";
const DIRECTORY: &str = "application/bind.image.rootfs.diff.dir";

/// What the firmware of a test holds.
struct Rom(PathBuf);

impl Rom {
    /// With `base.img`, the test's root file system.
    fn new(bed: &Bed) -> Rom {
        let rom = Rom(bed.dir.join("rom"));
        let root = bed.dir.join("tree-base");
        fs::create_dir_all(&rom.0).unwrap();
        fs::create_dir_all(&root).unwrap();
        run(Command::new("tar").arg("-xf").arg(rootfs::archive()).arg("-C").arg(&root));
        rom.pack("base.img", &root);
        rom
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn pack(&self, name: &str, tree: &Path) {
        let path = self.at(name);
        let _ = fs::remove_file(&path); // mksquashfs would add to it
        run(Command::new("mksquashfs").arg(tree).arg(&path).args(["-quiet", "-no-progress", "-comp", "gzip"]));
    }

    /// A layer that `fill` puts something in.
    fn layer(&self, name: &str, fill: impl FnOnce(&Path)) {
        let tree = self.0.with_file_name(format!("tree-{name}"));
        fs::create_dir_all(&tree).unwrap();
        fill(&tree);
        self.pack(name, &tree);
    }

    fn entry(&self, name: &str, place: &str) -> Value {
        match self.at(name).is_dir() {
            true => json!({"mediaType": DIRECTORY, "pathInHost": name, "pathInContainer": place}),
            false => {
                let hash = isulabox::utils::digest::sha256(&fs::read(self.at(name)).unwrap());
                json!({"mediaType": SQUASHFS, "size": 0, "digest": format!("sha256:{hash}"), "pathInHost": name,
                    "pathInContainer": place})
            }
        }
    }

    fn manifest(&self, name: &str, config: Value, layers: &[Value]) -> PathBuf {
        let path = self.at(&format!("{}.manifest", name.replace(':', "-")));
        let manifest = json!({"schemaVersion": 1, "imageName": name, "mediaType": "application/embedded.manifest+json",
            "created": "2018-03-01T15:15:44.322987811Z", "config": config, "layers": layers});
        fs::write(&path, isulabox::utils::json::to_vec(&manifest)).unwrap();
        path
    }

    /// Loads an image of `base.img` alone.
    #[track_caller]
    fn load_plain(&self, bed: &Bed, name: &str) {
        let path = self.manifest(name, json!({}), &[self.entry("base.img", "")]);
        load(bed, &path).ok();
    }

    /// No loop device shows any of its files.
    #[track_caller]
    fn let_go(&self) {
        eventually("the loop devices let go of the layers", || self.loops().is_empty());
    }

    fn loops(&self) -> Vec<String> {
        let files = fs::read_dir(&self.0).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_file());
        files.flat_map(|file| loops_of(&file)).collect()
    }
}

#[track_caller]
fn load(bed: &Bed, manifest: &Path) -> crate::support::command::Output {
    bed.isula(&format!("load -t embedded -i {}", manifest.display()))
}

/// What overlayfs takes for a file that is not there.
fn whiteout(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).unwrap();
}

/// A directory that hides what is below it.
fn opaque(path: &Path) {
    fs::create_dir_all(path).unwrap();
    let directory = fs::File::open(path).unwrap();
    isulabox::utils::sys::xattr::set(directory.as_fd(), c"trusted.overlay.opaque", b"y").unwrap();
}

fn layers_are_stacked_where_they_are(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    rom.layer("upper.img", |tree| {
        whiteout(&tree.join("etc/marker"));
        fs::write(tree.join("etc/upper"), "from above\n").unwrap();
        opaque(&tree.join("home"));
        fs::write(tree.join("home/only"), "").unwrap();
    });
    fs::create_dir_all(rom.at("plain/etc")).unwrap();
    fs::write(rom.at("plain/etc/plain"), "a directory\n").unwrap();
    whiteout(&rom.at("plain/etc/group"));
    bed.start();
    let layers = ["base.img", "upper.img", "plain"].map(|name| rom.entry(name, ""));
    let manifest = rom.manifest("test:v1", json!({"ENV": ["A=b"]}), &layers);
    let said = load(bed, &manifest).ok();
    assert_eq!(said, format!("Load image from \"{}\" success", manifest.display()));
    // Once more is no fault, by another path too.
    std::os::unix::fs::symlink(&manifest, bed.dir.join("link")).unwrap();
    load(bed, &bed.dir.join("link")).ok();
    let listed = bed.isula("images").ok();
    let row: Vec<&str> = listed.lines().find(|l| l.starts_with("test ")).expect("a row").split_whitespace().collect();
    assert_eq!((row[1], row[2].len()), ("v1", 12), "{listed}");

    // What its layers show together is what a volume gets.
    bed.isula("create --name filled -v vol:/etc test:v1 true").ok();
    let data = bed.graph().join("volumes/vol/_data");
    assert_eq!(fs::read(data.join("upper")).unwrap(), b"from above\n");
    assert!(data.join("plain").exists() && !data.join("marker").exists());
    bed.isula("rm filled").ok();

    let look = "sh -c 'cat /etc/upper /etc/plain; ls /home /etc; echo $A; touch /etc/own; ls /etc/marker /etc/group'";
    let o = bed.isula(&format!("run --name aa test:v1 {look}"));
    assert_eq!(o.code, 1);
    let seen: Vec<&str> = o.out.lines().collect();
    assert_eq!(seen[..4], ["from above", "a directory", "/etc:", "hostname"], "{}", o.show());
    assert!(seen.contains(&"only") && seen.contains(&"b") && !seen.contains(&"user"), "{}", o.show());
    assert!(!seen.contains(&"marker") && !seen.contains(&"group"), "{}", o.show());
    // What a container writes is its own, and lasts.
    bed.isula("rm aa").ok();
    let id = bed.isula("run -d --name aa test:v1 payload ready 1000").ok();
    bed.isula("exec aa sh -c 'echo mine > /etc/upper; rm /etc/plain'").ok();
    bed.isula("restart -t 0 aa").ok();
    assert_eq!(bed.isula("exec aa cat /etc/upper").ok(), "mine");
    bed.isula("exec aa cat /etc/plain").fails(1, "No such file");
    assert_eq!(bed.isula("run --rm test:v1 cat /etc/upper").ok(), "from above");
    bed.isula("run --rm --read-only test:v1 sh -c 'echo > /etc/upper'").fails(1, "Read-only");
    assert_eq!(fs::read_to_string(rom.at("plain/etc/plain")).unwrap(), "a directory\n");
    assert_eq!(rom.loops().len(), 2);

    // What is known about it.
    let inspected: Value = json_of(bed.isula("inspect test:v1").ok().as_bytes());
    let layers = inspected[0]["Embedded"]["Layers"].as_array().expect("layers").clone();
    let place = |n: usize| layers[n]["PathInHost"].as_str().unwrap().to_owned();
    assert_eq!((layers.len(), place(1)), (3, rom.at("upper.img").canonicalize().unwrap().display().to_string()));
    assert_eq!(inspected[0]["Embedded"]["Damage"], "");
    let id_of_manifest = isulabox::utils::digest::sha256(&fs::read(&manifest).unwrap());
    assert_eq!(inspected[0]["image"]["id"], id_of_manifest.as_str());
    let stored = fs::read(bed.graph().join("engines/lcr").join(&id).join("config.v2.json")).unwrap();
    assert_eq!(json_of(&stored)["CommonConfig"]["ImageType"], "embedded");
    if cfg!(feature = "image-tools") {
        assert_eq!(bed.isula("history -q test:v1").ok().lines().count(), 3);
        bed.isula(&format!("save -o {} test:v1", bed.dir.join("out.tar").display())).fails(1, "its layers stay");
        assert!(!bed.dir.join("out.tar").exists());
        let path = bed.dir.join("export.tar");
        bed.isula(&format!("export -o {} aa", path.display())).ok();
        let own = Command::new("tar").arg("-xOf").arg(&path).arg("etc/upper").output().unwrap().stdout;
        assert_eq!(own, b"mine\n");
    }

    // In use, and away.
    bed.isula("tag test:v1 other:v2").ok();
    bed.isula("rmi other:v2").ok();
    bed.isula("rmi test:v1").fails(1, &format!("Image used by {id}"));
    bed.isula("rm -f aa").ok();
    bed.isula("rmi test:v1").ok();
    bed.isula("inspect test:v1").fails(1, "test:v1");
    assert!(!bed.isula("images").ok().lines().any(|l| l.starts_with("test ")));
    assert!(rom.at("base.img").is_file() && rom.at("upper.img").is_file() && rom.at("plain").is_dir());
    rom.let_go();
}

/// The original's form: the root on a block device, further layers mounted one in the other, links everywhere.
fn layers_with_a_place_are_mounted(bed: &mut Bed) {
    requires!(embedded, losetup);
    let rom = Rom::new(bed);
    rom.layer("platform.img", |tree| fs::create_dir(tree.join("in")).unwrap());
    rom.layer("app.img", |tree| fs::create_dir(tree.join("in")).unwrap());
    fs::create_dir(rom.at("shared")).unwrap();
    fs::write(rom.at("shared/file"), "shared\n").unwrap();
    bed.start();
    let device = LoopDevice::attach(&rom.at("base.img"));
    std::os::unix::fs::symlink(device.path(), rom.at("root")).unwrap();
    std::os::unix::fs::symlink("../rom/app.img", rom.at("linked.img")).unwrap();
    let layers = [
        json!({"mediaType": SQUASHFS, "size": 0, "digest": "", "pathInHost": rom.at("root"), "pathInContainer": ""}),
        rom.entry("platform.img", "/opt"),
        rom.entry("linked.img", "/opt/in"),
        rom.entry("shared", "/srv/new/place"),
    ];
    let manifest = rom.manifest("test:v1", json!({"ENV": ["a=b", "c=d e"], "WORKDIR": "/"}), &layers);
    let hash = isulabox::utils::digest::sha256(&fs::read(&manifest).unwrap());
    fs::write(manifest.with_extension("sgn"), format!("sha256:{hash}")).unwrap();
    load(bed, &manifest).ok();
    let run = |flags: &str, command: &str| bed.isula(&format!("run --rm {flags} test:v1 {command}"));
    run("", "ls /opt/in/in").ok();
    assert_eq!(run("", "sh -c 'cat /srv/new/place/file; touch /own; grep -c squashfs /proc/mounts'").ok(), "shared\n2");
    for place in ["/opt", "/opt/in", "/srv/new/place"] {
        run("", &format!("sh -c 'echo > {place}/x'")).fails(1, "Read-only");
        run("--privileged", &format!("sh -c 'echo > {place}/x'")).fails(1, "Read-only");
    }
    run("--read-only", "sh -c 'cat /etc/marker; ls /opt/in/in'").ok();
    // The request's mounts take their places, or lie below.
    let source = bed.dir.join("source");
    fs::create_dir_all(source.join("in")).unwrap();
    fs::write(source.join("mine"), "mine\n").unwrap();
    let bind = |place: &str| format!("-v {}:{place}", source.display());
    assert_eq!(run(&bind("/opt/in"), "cat /opt/in/mine").ok(), "mine");
    assert_eq!(run(&bind("/opt"), "sh -c 'cat /opt/mine; ls -d /opt/in/in'").ok(), "mine\n/opt/in/in");
    let shared = format!("-v {}:/srv/mine:slave", source.display());
    let o = run(&shared, "cat /srv/mine/mine");
    assert!(o.code == 0 || o.err.contains("not a shared or slave mount"), "{}", o.show());
    if cfg!(feature = "image-tools") {
        bed.isula("create --name aa test:v1 true").ok();
        let out = bed.isula("export aa").out;
        contains(&out, "etc/marker");
    }
    assert_eq!(loops_of(&rom.at("base.img")).len(), 1, "the device is used as it is");
    drop(device);
    rom.let_go();
}

fn directories_are_copied_where_overlays_are_not(bed: &mut Bed) {
    requires!(embedded, storage);
    bed.start_with(&["-s", "vfs"]);
    let rom = Rom::new(bed);
    fs::rename(bed.dir.join("tree-base"), rom.at("root")).unwrap();
    fs::create_dir(rom.at("app")).unwrap();
    fs::write(rom.at("app/name"), "placed\n").unwrap();
    let layers = [rom.entry("root", ""), rom.entry("app", "/srv/app")];
    load(bed, &rom.manifest("copied:v1", json!({}), &layers)).ok();
    bed.isula("create --name aa copied:v1 cat /etc/marker /srv/app/name").ok();
    assert_eq!(bed.isula("start -a aa").ok(), "inside\nplaced");
    fs::remove_dir_all(rom.at("app")).unwrap();
    bed.isula("start aa").fails(125, "is damaged");
    // File systems are stacked only.
    rom.load_plain(bed, "stacked:v1");
    bed.isula("create stacked:v1 true").fails(1, "the storage driver must be overlay2");
}

fn what_runs_is_the_manifests(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    bed.start();
    let layers = [rom.entry("base.img", "")];
    let config = json!({"ENTRYPOINT": ["/bin/echo", "entry"], "ENV": ["A=image", "c=d e"], "WORKDIR": "/srv",
        "CMD": ["word"], "USER": "1000", "LABELS": {"from": "firmware"}});
    load(bed, &rom.manifest("told:v1", config, &layers)).ok();
    let run = |line: &str| bed.isula(&format!("run --rm {line}")).ok();
    assert_eq!(run("told:v1"), "entry word");
    assert_eq!(run("told:v1 other words"), "entry other words");
    assert_eq!(run("--entrypoint /bin/sh -e A=mine told:v1 -c 'echo $A-$c; pwd; id -u'"), "mine-d e\n/srv\n1000");
    assert_eq!(bed.isula("images -q -f label=from=firmware").ok().lines().count(), 1);
    let config = json!({"ENTRYPOINT": ["/bin/sh", "-c", "ls /ho${env_id}"], "ENV": [], "WORKDIR": ""});
    load(bed, &rom.manifest("late:v1", config, &layers)).ok();
    assert_eq!(run("-e env_id=me late:v1"), "user");
    load(bed, &rom.manifest("silent:v1", json!({"ENTRYPOINT": []}), &layers)).ok();
    bed.isula("run --rm silent:v1").fails(125, "No command specified");
    // Another name than the manifest's; a name that is taken.
    let path = rom.manifest("silent:v1", json!({"USER": "7"}), &layers);
    load(bed, &path).fails(1, "Image name is conflicted in the database");
    bed.isula(&format!("load -t embedded --tag named:v3 -i {}", path.display())).ok();
    assert_eq!(run("named:v3 id -u"), "7");
    bed.isula(&format!("load -t embedded --tag {IMAGE} -i {}", path.display())).fails(1, "Image name is conflicted");
    rom.let_go();
}

fn containers_share_a_loop_device(bed: &mut Bed) {
    requires!(embedded);
    const CONTAINERS: usize = 12;
    let rom = Rom::new(bed);
    rom.layer("app.img", |tree| fs::write(tree.join("app"), "app\n").unwrap());
    bed.start();
    let layers = [rom.entry("base.img", ""), rom.entry("app.img", "/srv/app")];
    load(bed, &rom.manifest("test:v1", json!({}), &layers)).ok();
    let start = |n| bed.spawn(&format!("run -d --name c{n} test:v1 payload ready 1000"));
    let clients: Vec<_> = (0..CONTAINERS).map(start).collect();
    clients.into_iter().for_each(|client| drop(client.finish(PATIENCE).ok()));
    assert_eq!(loops_of(&rom.at("base.img")).len(), 1);
    assert_eq!(loops_of(&rom.at("app.img")).len(), 1);
    assert_eq!(bed.isula("exec c7 cat /srv/app/app").ok(), "app");
    // The first that came need not be the last to go.
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("c{n}")).collect();
    bed.isula(&format!("rm -f {}", names[1..].join(" "))).ok();
    assert_eq!(bed.isula("exec c0 cat /srv/app/app /etc/marker").ok(), "app\ninside");
    assert_eq!(rom.loops().len(), 2);
    bed.isula("stop -t 0 c0").ok();
    rom.let_go();
    bed.isula("start c0").ok();
    assert_eq!(rom.loops().len(), 2);
    bed.isula("rm -f c0").ok();
    rom.let_go();
    // A start that fails leaves none.
    bed.isula("run --rm test:v1 /no/such/program").fails(127, "");
    bed.isula("run --rm --workdir /etc/marker/x test:v1 true").fails(127, "");
    rom.let_go();
}

fn containers_go_on_without_the_daemon(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    bed.start();
    rom.load_plain(bed, "test:v1");
    bed.isula("run -d --name aa test:v1 payload ready 1000").ok();
    bed.isula("run -d --name bb test:v1 payload ready 1000").ok();
    let pid = bed.container_pid("aa");
    bed.kill();
    assert_eq!(rom.loops().len(), 1);
    bed.restart();
    assert_eq!(bed.container_pid("aa"), pid);
    assert_eq!(bed.isula("exec aa cat /etc/marker").ok(), "inside");
    assert_eq!(bed.isula("run --rm test:v1 cat /etc/marker").ok(), "inside");
    bed.isula("restart -t 0 aa").ok();
    assert_eq!(rom.loops().len(), 1);
    // Everything at once, as when the power fails, but for the kernel.
    let shims: Vec<i32> = ["aa", "bb"].map(|name| bed.container_pid(name) as i32).to_vec();
    bed.kill();
    for pid in shims {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent: i32 = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        for pid in [parent, pid] {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
    }
    rom.let_go();
    bed.restart();
    bed.await_state("aa", "exited");
    bed.isula("start aa bb").ok();
    assert_eq!(bed.isula("exec bb cat /etc/marker").ok(), "inside");
    bed.isula("rm -f aa bb").ok();
    bed.isula("rmi test:v1").ok();
    rom.let_go();
}

fn damaged_layers(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    rom.layer("app.img", |tree| fs::write(tree.join("app"), "app\n").unwrap());
    bed.start();
    let with_app = [rom.entry("base.img", ""), rom.entry("app.img", "/srv/app")];
    let manifest = rom.manifest("test:v1", json!({}), &with_app);
    load(bed, &manifest).ok();
    rom.load_plain(bed, "whole:v1");
    bed.isula("create --name aa test:v1 cat /srv/app/app").ok();
    let (app, aside) = (rom.at("app.img"), rom.at("app.aside"));
    fs::rename(&app, &aside).unwrap();
    // While the daemon runs, and when it starts: as on a file system that is not mounted yet.
    let refuse = |bed: &Bed, part: &str| {
        bed.isula("start aa").fails(125, part);
        bed.isula("run --rm test:v1 true").fails(125, part);
        assert_eq!(bed.isula("run --rm whole:v1 cat /etc/marker").ok(), "inside");
        assert_eq!(bed.isula("ps -aq").ok().lines().count(), 1);
    };
    let missing = format!("image test:v1 is damaged: layer {app:?} is missing");
    refuse(bed, &missing);
    bed.restart();
    contains(&bed.log(), "(test:v1) is damaged: layer");
    refuse(bed, &missing);
    contains(&bed.isula("images").ok(), "test ");
    contains(&bed.isula("inspect test:v1").ok(), "is missing");
    fs::rename(&aside, &app).unwrap();
    bed.isula("start -a aa").ok();
    assert_eq!(bed.isula("run --rm test:v1 cat /srv/app/app").ok(), "app");
    // Another file in its place.
    rom.layer("app.img", |tree| fs::write(tree.join("app"), "newer\n").unwrap());
    refuse(bed, "has changed since its manifest was loaded");
    load(bed, &manifest).fails(1, "layer has invalid digest");
    // The name goes over to the image of the new firmware; the container stays with the old one.
    let with_app = [rom.entry("base.img", ""), rom.entry("app.img", "/srv/app")];
    load(bed, &rom.manifest("test:v1", json!({}), &with_app)).ok();
    assert_eq!(bed.isula("run --rm test:v1 cat /srv/app/app").ok(), "newer");
    bed.isula("start aa").fails(125, "is damaged");
    bed.isula("rm aa").ok();
    // A file that only was written anew is verified by loading its manifest again.
    let bytes = fs::read(rom.at("base.img")).unwrap();
    fs::write(rom.at("base.img"), bytes).unwrap();
    bed.isula("run --rm whole:v1 true").fails(125, "has changed");
    load(bed, &rom.at("whole-v1.manifest")).ok();
    bed.isula("run --rm whole:v1 true").ok();
    rom.let_go();
}

fn manifests_that_are_refused(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    bed.start();
    let path = rom.manifest("test:v1", json!({}), &[rom.entry("base.img", "")]);
    bed.isula(&format!("load -i {} -t abc", path.display())).fails(125, "want docker or embedded");
    bed.isula("load -i /nosuch/manifest -t embedded").fails(1, "manifest not found");
    bed.isula("load -i /dev/zero -t embedded").fails(1, "manifest is not a regular file");
    fs::write(path.with_extension("sgn"), "sha256:0").unwrap();
    load(bed, &path).fails(1, "Invalid manifest: invalid digest");
    fs::remove_file(path.with_extension("sgn")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for (old, new, part) in [
        ("embedded.manifest", "invalid.manifest", "manifest's media type must be"),
        ("test:v1", "test", "want NAME:TAG"),
        ("base.img", "other.img", "layer not exists"),
        ("sha256:", "sha256:0", "invalid digest"),
        ("{", "", "parse manifest as a json file failed"),
    ] {
        fs::write(&path, text.replacen(old, new, 1)).unwrap();
        load(bed, &path).fails(1, part);
    }
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    assert!(!bed.graph().join("storage/embedded-images").exists());
    bed.http("POST", "/v1.44/images/load?type=other", None).expect(400);
    bed.http("POST", "/v1.44/images/load?path=/x", None).expect(501);
    bed.http("POST", "/v1.44/images/load?type=embedded&path=x", None).expect(400);
    bed.http("POST", "/v1.44/images/load?type=embedded", None).expect(400);
}

fn a_manifest_as_the_body_of_a_request(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    bed.start();
    let path = rom.manifest("test:v1", json!({}), &[rom.entry("base.img", "")]);
    let text = fs::read_to_string(&path).unwrap();
    bed.isula_with("load -t embedded", text.as_bytes()).fails(1, "the manifest is in no directory");
    let text = text.replace("base.img", &rom.at("base.img").display().to_string());
    let said = bed.isula_with("load -t embedded", text.as_bytes()).ok();
    contains(&said, "Load image from \"-\" success");
    assert_eq!(bed.isula("run --rm test:v1 cat /etc/marker").ok(), "inside");
    bed.isula("rmi test:v1").ok();
    let o = bed.post("/v1.44/images/load?type=embedded&name=mine:v1", &json_of(text.as_bytes())).expect(200);
    contains(&o.text(), "Loaded image: mine:v1");
    assert_eq!(bed.isula("run --rm mine:v1 cat /etc/marker").ok(), "inside");
    rom.let_go();
}

fn a_file_system_in_a_file_as_a_mount(bed: &mut Bed) {
    requires!(embedded);
    let rom = Rom::new(bed);
    bed.start();
    let file = rom.at("base.img");
    let flag = format!("--mount type=squashfs,src={},dst=/srv/inner", file.display());
    let look = "sh -c 'cat /srv/inner/etc/marker; echo > /srv/inner/x'";
    let o = bed.isula(&format!("run --rm {flag} {IMAGE} {look}"));
    assert_eq!((o.code, o.out.as_str()), (1, "inside\n"), "{}", o.show());
    bed.isula(&format!("run --rm --mount type=squashfs,src={},dst=/usr {IMAGE} true", rom.0.display()))
        .fails(125, "source is not a regular file");
    // What only has its name is no fault of this program.
    fs::write(rom.at("none.img"), vec![0; 8192]).unwrap();
    let flag = format!("--mount type=squashfs,src={},dst=/usr", rom.at("none.img").display());
    bed.isula(&format!("run --rm {flag} {IMAGE} true")).fails(125, "holds no squashfs");
    // In a root that is a directory.
    let root = bed.dir.join("tree-base");
    let flag = format!("--external-rootfs {} --mount type=squashfs,src={},dst=/srv", root.display(), file.display());
    let o = bed.isula(&format!("run --rm {flag} none sh -c 'cat /srv/etc/marker; echo own > /own; cat /own'"));
    if crate::support::old_kernel::is_at_least(5, 2) {
        assert_eq!(o.ok(), "inside\nown");
        assert_eq!(fs::read_to_string(root.join("own")).unwrap(), "own\n");
    } else {
        o.fails(125, "needs Linux 5.2");
    }
    rom.let_go();
}

fn a_build_without_them_says_so(bed: &mut Bed) {
    if cfg!(feature = "embedded") {
        return;
    }
    bed.start();
    fs::write(bed.dir.join("manifest"), "{}").unwrap();
    load(bed, &bed.dir.join("manifest")).fails(1, "this build has no embedded images");
}
