//! That the image store works with what people have: images of umoci and buildah, a Debian root, other engines' ways out
//! and back, and layers of any size in little memory.

use crate::support::bed::{Bed, json};
use crate::support::disk::LoopDevice;
use crate::support::oci::{self, Layer};
use crate::support::registry::{Registry, Setup, run};
use crate::support::rootfs::{self, Archive};
use crate::support::tree::Tree;
use crate::support::umoci;
use crate::support::usage::Usage;
use crate::support::{IMAGE, contains, debian, runner};
use crate::{requires, tests};
use isulabox::utils::digest::Sha256;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statvfs::statvfs;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

tests![
    forty_layers_of_umoci_are_what_umoci_unpacks,
    images_of_buildah,
    a_debian_base_goes_in_and_out,
    images_survive_other_engines,
    a_layer_of_any_size_takes_the_same_memory,
];

const MIB: u64 = 1 << 20;

/// What every container has in `/etc`, whether its image has it or not.
const OURS: &[&str] = &["etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"];

fn forty_layers_of_umoci_are_what_umoci_unpacks(bed: &mut Bed) {
    requires!(registry, umoci);
    let image = umoci::Image::make(&bed.dir, 15, 15);
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    registry.push(&image.layout, "many:v1", &[]);
    bed.start_with(&["--insecure-registry", &registry.host]);
    let name = registry.name("many:v1");
    bed.isula(&format!("pull {name}")).ok();
    let answer = bed.get(&format!("/v1.44/images/{name}/json")).expect(200).json();
    assert_eq!(answer["RootFS"]["Layers"].as_array().map(Vec::len), Some(40));
    let expected = Tree::of(&image.root()).but(OURS);
    assert!(expected.len() > 400, "{} entries", expected.len());
    Tree::of_image(bed, &name).but(OURS).assert_like(&expected, "umoci's tree");
    assert_eq!(bed.isula(&format!("run --rm {name}")).ok(), "10");
}

/// A program of containers' tools, which has all its files below `directory`.
fn tool(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(name);
    for (option, place) in [("--root", "root"), ("--runroot", "runroot")] {
        command.arg(option).arg(directory.join(place));
    }
    command.args(["--storage-driver", "vfs"]);
    command
}

fn images_of_buildah(bed: &mut Bed) {
    requires!(buildah);
    bed.start();
    let store = bed.dir.join("buildah");
    let buildah = |words: &[&str]| {
        let said = run(tool("buildah", &store).args(words));
        String::from_utf8(said).unwrap().trim().to_owned()
    };
    let file = bed.dir.join("program");
    fs::write(&file, "#!/bin/sh\necho added\n").unwrap();
    let (file, root) = (file.display().to_string(), rootfs::archive().display().to_string());
    let first = buildah(&["from", "scratch"]);
    buildah(&["add", &first, &root, "/"]);
    buildah(&["copy", "--chown", "7:8", "--chmod", "4750", &first, &file, "/srv/deep/first"]);
    buildah(&["config", "--env", "FIRST=one two", "--env", "BOTH=first", "--label", "first=1", &first]);
    buildah(&["config", "--user", "user", "--workingdir", "/srv/work", "--stop-signal", "SIGUSR1", &first]);
    buildah(&["config", "--entrypoint", r#"["sh","-c"]"#, "--cmd", "id", "--port", "80/tcp", &first]);
    buildah(&["commit", "-q", &first, "made:v1"]);
    let second = buildah(&["from", "made:v1"]);
    buildah(&["copy", "--chmod", "755", &second, &file, "/bin/added"]);
    buildah(&["copy", "--chown", "1000:1000", &second, &file, "/locked/"]);
    buildah(&["config", "--env", "BOTH=second", "--label", "second=a b", "--volume", "/vol", &second]);
    buildah(&["config", "--cmd", "'pwd; id -un; echo $FIRST $BOTH; added'", &second]);
    buildah(&["commit", "-q", &second, "made:v2"]);
    let expected = Tree::of(Path::new(&buildah(&["mount", &second]))).but(&[""]).in_seconds();
    for kind in ["docker-archive", "oci-archive"] {
        let path = bed.dir.join(kind).display().to_string();
        let name = format!("{kind}:v2");
        buildah(&["push", "-q", "made:v2", &format!("{kind}:{path}:docker.io/library/{name}")]);
        bed.isula(&format!("load -i {path}")).ok();
        Tree::of_image(bed, &name).but(OURS).but(&["", "vol"]).in_seconds().assert_like(&expected, kind);
        let said = bed.isula(&format!("run --rm {name}")).ok();
        assert_eq!(said.lines().collect::<Vec<_>>(), ["/srv/work", "user", "one two second", "added"], "{kind}");
        assert_eq!(bed.isula(&format!("run --rm {name} 'cat /srv/deep/first'")).code, 1, "user is not its owner");
        bed.isula(&format!("create --name aa {name}")).ok();
        assert_eq!(bed.inspect("aa", "/Config/Labels/first"), "1");
        assert_eq!(bed.inspect("aa", "/Config/Labels/second"), "a b");
        assert_eq!(bed.inspect("aa", "/Config/User"), "user");
        bed.isula("rm aa").ok();
        let config = config_of(bed, &name);
        assert_eq!(
            (&config["StopSignal"], &config["ExposedPorts"]["80/tcp"]),
            (&"SIGUSR1".into(), &serde_json::json!({}))
        );
        bed.isula(&format!("rmi {name}")).ok();
    }
}

fn config_of(bed: &Bed, name: &str) -> Value {
    let answer = json(&bed.get(&format!("/v1.44/images/{name}/json")).expect(200).body);
    answer["Config"].clone()
}

fn a_debian_base_goes_in_and_out(bed: &mut Bed) {
    requires!(image_tools, mmdebstrap, registry, umoci);
    let base = debian::base();
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    bed.isula(&format!("import {} debian", base.display())).ok();
    let inside = |words: &str| bed.isula(&format!("run --rm debian {words}")).ok();
    contains(&inside("dpkg -l"), "ii  perl-base");
    contains(&inside("dpkg --audit"), "");
    contains(&inside("apt-get --version"), "apt 2");
    assert_eq!(inside("perl -MPOSIX -e 'print join q( ), map { $_ * $_ } 1 .. 4'"), "1 4 9 16");
    contains(&inside("getent passwd root"), "root:x:0:0:");
    contains(&inside("sh -c 'ls -l /bin/su'"), "-rwsr-xr-x");
    bed.isula("run --name aa debian dpkg-query -W").ok();
    let exported = bed.dir.join("exported.tar");
    bed.isula(&format!("export -o {} aa", exported.display())).ok();
    let trees = [base.as_path(), &exported].map(|archive| {
        let directory = bed.dir.join("unpacked");
        fs::create_dir(&directory).unwrap();
        let words = ["--numeric-owner", "--same-owner", "-p", "--xattrs", "--xattrs-include=*", "-xf"];
        run(Command::new("tar").args(words).arg(archive).arg("-C").arg(&directory));
        let tree = Tree::of(&directory).but(OURS);
        fs::remove_dir_all(directory).unwrap();
        tree
    });
    assert!(trees[0].len() > 2000, "{} entries", trees[0].len());
    trees[1].assert_like(&trees[0], "what comes out");
    // The same as umoci packs it.
    let layout = bed.dir.join("layout");
    umoci::of_archive(&layout, &base);
    registry.push(&layout, "debian:v1", &[]);
    let name = registry.name("debian:v1");
    bed.isula(&format!("pull {name}")).ok();
    contains(&bed.isula(&format!("run --rm {name} dpkg -l")).ok(), "ii  perl-base");
    Tree::of_image(bed, &name).but(OURS).assert_like(&trees[0], "what is pulled");
}

/// A directory with everything that an archive can have a hard time with.
fn hard_cases(directory: &Path) {
    let at = |name: &str| directory.join(name);
    fs::create_dir_all(at("rich/empty")).unwrap();
    fs::create_dir(at("srv")).unwrap();
    fs::write(at("srv/hidden"), "by a layer above").unwrap();
    for name in
        ["file", "smørrebrød-日本語-\u{1f980}", &"n".repeat(120), &"m".repeat(255), "set-id", " blank\nand line "]
    {
        fs::write(at("rich").join(name), name).unwrap();
    }
    // Not UTF-8 at all.
    let latin: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"rich/caf\xe9");
    fs::write(directory.join(latin), "").unwrap();
    let deep = format!("rich/{}/{}/{}", "d".repeat(100), "e".repeat(200), "f".repeat(250));
    fs::create_dir_all(at(&deep)).unwrap();
    fs::write(at(&deep).join("bottom"), "deep").unwrap();
    fs::hard_link(at(&deep).join("bottom"), at("rich/near")).unwrap();
    symlink(Path::new("/").join(&deep), at("rich/long-link")).unwrap();
    fs::hard_link(at("rich/file"), at("rich/again")).unwrap();
    fs::hard_link(at("rich/file"), at("rich/empty/third")).unwrap();
    for (name, mode) in [("rich/set-id", 0o6751), ("rich/empty", 0o3770)] {
        std::os::unix::fs::chown(at(name), Some(4_000_000_000), Some(70_000)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let sparse = File::create(at("rich/sparse")).unwrap();
    sparse.write_all_at(b"middle", 5 << 20).unwrap();
    sparse.set_len(16 << 20).unwrap();
    for (name, kind, device) in [
        ("rich/fifo", SFlag::S_IFIFO, 0),
        ("rich/char", SFlag::S_IFCHR, makedev(10, 229)),
        ("rich/block", SFlag::S_IFBLK, makedev(259, 70_000)),
    ] {
        mknod(&at(name), kind, Mode::from_bits_truncate(0o640), device).unwrap();
    }
    for (name, key, value) in
        [("rich/file", c"user.x", b"\0\xff binary"), ("rich/empty", c"user.on.directory", b"value    ")]
    {
        isulabox::utils::sys::xattr::set(std::os::fd::AsFd::as_fd(&File::open(at(name)).unwrap()), key, value).unwrap();
    }
    // cap_net_raw+ep, as ping has it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = File::open(at("rich/near")).unwrap();
    isulabox::utils::sys::xattr::set(std::os::fd::AsFd::as_fd(&file), c"security.capability", &capability).unwrap();
}

/// Makes the image `rich:v1` here, of three layers; what lies in its `/rich`.
fn rich_image(bed: &Bed) -> Tree {
    let at = |name: &str| bed.dir.join(name);
    fs::create_dir(at("cases")).unwrap();
    hard_cases(&at("cases"));
    let words = ["--xattrs", "--xattrs-include=*", "--sparse", "--format=posix", "--numeric-owner", "-cf"];
    run(Command::new("tar").args(words).arg(at("rich.tar")).arg("-C").arg(at("cases")).args(["rich", "srv"]));
    let mut tar = Archive::create(&at("upper.tar"));
    tar.directory("etc");
    tar.file("etc/.wh.marker", 0o644, "");
    tar.directory("srv");
    tar.file("srv/.wh..wh..opq", 0o644, "");
    tar.file("srv/new", 0o644, "from above\n");
    tar.finish();
    let config = serde_json::json!({
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["cat /srv/new"], "User": "1000:2000", "WorkingDir": "/srv",
        "Env": ["PATH=/bin", "QUOTED=\"a b\" $x"], "Labels": {"org.example.one": "ü", "two": ""},
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/vol": {}}, "StopSignal": "SIGUSR2"});
    let layers = [rootfs::archive(), at("rich.tar"), at("upper.tar")];
    oci::layout(&at("layout"), &layers.each_ref().map(PathBuf::as_path), &["linux/amd64"], &config);
    bed.isula(&format!("load --tag rich:v1 -i {}", oci::archive(&at("layout")).display())).ok();
    Tree::of(&at("cases"))
}

fn images_survive_other_engines(bed: &mut Bed) {
    requires!(image_tools, registry, podman);
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    let cases = rich_image(bed);
    let (before, config) = (Tree::of_image(bed, "rich:v1").but(OURS), config_of(bed, "rich:v1"));
    before.below("rich").assert_like(&cases.below("rich"), "what the layer was made of");
    assert!(before.has("srv/new") && !before.has("srv/hidden") && !before.has("etc/marker"));
    let at = |name: &str| bed.dir.join(name).display().to_string();
    let check = |way: &str, get: &str, name: &str| {
        bed.isula(get).ok();
        Tree::of_image(bed, name).but(OURS).assert_like(&before, way);
        assert_eq!(config_of(bed, name), config, "{way}");
        assert_eq!(bed.isula(&format!("run --rm {name}")).ok(), "from above", "{way}");
        bed.isula(&format!("rmi {name}")).ok();
    };
    bed.isula(&format!("save -o {} rich:v1", at("saved"))).ok();
    bed.isula("rmi rich:v1").ok();
    check("saved", &format!("load -i {}", at("saved")), "rich:v1");
    let copy = |from: String, to: &str| {
        let words = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
        run(Command::new("skopeo").args(words).arg(from).arg(to));
    };
    let podman = |words: &[&str]| {
        let directory = bed.dir.join("podman");
        let mut command = tool("podman", &directory);
        run(command.arg("--tmpdir").arg(directory.join("tmp")).args(["--cgroup-manager", "cgroupfs"]).args(words));
    };
    podman(&["load", "-q", "-i", &at("saved")]);
    for kind in ["docker-archive", "oci-archive"] {
        let (own, podmans) = (at(kind), at(&format!("podman-{kind}")));
        copy(format!("docker-archive:{}", at("saved")), &format!("{kind}:{own}:docker.io/library/rich:v2"));
        check(&format!("skopeo to {kind}"), &format!("load -i {own}"), "rich:v2");
        podman(&["save", "-q", "--format", kind, "-o", &podmans, "docker.io/library/rich:v1"]);
        check(&format!("podman save as {kind}"), &format!("load --tag rich:v3 -i {podmans}"), "rich:v3");
        // And from the one to the other.
        copy(format!("{kind}:{podmans}"), &format!("docker://{}", registry.name("rich:v4")));
        check(&format!("pushed from {kind}"), &format!("pull {}", registry.name("rich:v4")), &registry.name("rich:v4"));
    }
}

/// A layout of one compressed layer of `mebibytes` in files of 16 MiB or one smaller.
fn large(directory: &Path, mebibytes: usize) {
    fs::create_dir(directory).unwrap();
    let packed = directory.join("layer");
    let out = File::create(&packed).unwrap();
    let mut gzip = Command::new("gzip").args(["-1", "-nc"]).stdin(Stdio::piped()).stdout(out).spawn().expect("gzip");
    let mut hash = Sha256::new();
    let mut pipe = gzip.stdin.take().unwrap();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        pipe.write_all(bytes).unwrap();
    };
    let block =
        (0..MIB as u32).map(|n| b' ' + ((n % 4099).wrapping_mul(2_654_435_761) >> 27) as u8).collect::<Vec<u8>>();
    let each = mebibytes.min(16);
    for n in 0..mebibytes / each {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("{n}")).unwrap();
        header.set_mode(0o644);
        header.set_size((each << 20) as u64);
        header.set_cksum();
        put(header.as_bytes());
        (0..each).for_each(|_| put(&block));
    }
    put(&[0; 1024]);
    drop(pipe);
    assert!(gzip.wait().unwrap().success());
    let layer = Layer { suffix: "+gzip", bytes: fs::read(&packed).unwrap(), plain: hash.finish() };
    oci::layout_of(directory, &[layer], &["linux/amd64"], &serde_json::json!({}));
    fs::remove_file(packed).unwrap();
}

fn a_layer_of_any_size_takes_the_same_memory(bed: &mut Bed) {
    requires!(loop_ext4, registry);
    if statvfs(&bed.dir).map(|s| s.blocks_available() * s.fragment_size()).unwrap() < 4 << 30 {
        runner::skip("less than 4 GiB free for a large layer");
    }
    let words = ["-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
    let device = LoopDevice::ext4(&bed.dir.join("disk"), 1536 * MIB, &words);
    fs::create_dir_all(bed.graph()).unwrap();
    mount(Some(device.path()), &bed.graph(), Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
    bed.own_mounts();
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    bed.start_with(&["--insecure-registry", &registry.host]);
    for mebibytes in [5, 1024] {
        let layout = bed.dir.join(format!("layout{mebibytes}"));
        large(&layout, mebibytes);
        let archive = oci::archive(&layout).display().to_string();
        let name = registry.name(&format!("large:{mebibytes}"));
        registry.push(&layout, &format!("large:{mebibytes}"), &[]);
        for words in [vec!["load", "--tag", "large", "-i", &archive], vec!["pull", &name]] {
            // Without what an earlier one may have left in its memory.
            bed.restart();
            bed.isula("images").ok();
            let client = || bed.applet("isula").args(&words).stdout(Stdio::null()).spawn().unwrap();
            let usage = Usage::during(bed.pid(), &device, client);
            println!("{} of {mebibytes} MiB: {usage}", words[0]);
            assert!(usage.peak > 0 && usage.peak <= usage.idle + 8 * MIB, "{usage}");
            // Of a small one the store's own records are a part worth mention.
            let (bytes, records) = (mebibytes as u64 * MIB, MIB / 2);
            let most = bytes + bytes / 20 + records;
            assert!((bytes..=most).contains(&usage.by), "{usage}, for {mebibytes} MiB");
            assert!((bytes..=most).contains(&usage.to), "{usage}, for {mebibytes} MiB");
            bed.isula(&format!("rmi {}", if words[0] == "load" { "large" } else { &name })).ok();
        }
    }
    bed.isula(&format!("rmi {IMAGE}")).ok();
}
