//! Volumes and images: what is copied into volumes, and what stopped, killed and failing daemons leave of it.

use crate::support::bed::Bed;
use crate::support::rootfs::{self, Archive};
use crate::support::{IMAGE, contains, eventually, stage};
use crate::tests;
use crate::volumes::{entries, has_volumes, listed, mounts, store};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

tests![
    the_image_fills_an_empty_volume,
    an_image_cannot_lead_outside,
    volumes_of_the_image,
    what_is_mounted_wins_over_what_is_declared,
    the_daemon_may_stop_and_die,
    a_creation_that_was_cut_off_leaves_no_volume,
    a_creation_that_fails_leaves_volumes_as_they_were,
    a_full_disk_while_a_volume_is_filled,
    volumes_of_remapped_containers,
];

/// An image whose directory `/fill` has everything that can be in one.
fn full_image(bed: &Bed, changes: &str) {
    let path = bed.dir.join("full.tar");
    let mut tar = Archive::create(&path);
    tar.standard();
    tar.directory("fill/deep/er");
    tar.file("fill/file", 0o640, "from the image\n");
    tar.owned("fill/owned", 0o4755, (1000, 2000));
    tar.link("fill/link", "file");
    tar.link("fill/absolute", "/fill/file");
    tar.link("fill/out", "../../../etc/shadow");
    tar.hard_link("fill/deep/again", "fill/file");
    tar.node("fill/fifo", tar::EntryType::Fifo, (0, 0));
    tar.attribute("user.note", b"value");
    tar.file("fill/noted", 0o600, "");
    tar.file("fill/deep/er/last", 0o600, "deep\n");
    tar.link("way", "/fill");
    tar.link("beyond", &bed.dir.join("secrets").display().to_string());
    tar.link("up", "../../../../../../../../tmp");
    tar.finish();
    fs::create_dir_all(bed.dir.join("secrets")).unwrap();
    fs::write(bed.dir.join("secrets/secret"), "no").unwrap();
    // Where a link that is followed on the host leads to: nowhere, in the image.
    fs::create_dir_all(bed.dir.join("secrets/below")).unwrap();
    bed.isula(&format!("import {changes} {} full", path.display())).ok();
}

#[track_caller]
fn is_full(data: &Path) {
    let stat = |name: &str| data.join(name).symlink_metadata().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(fs::read(data.join("file")).unwrap(), b"from the image\n");
    assert_eq!(stat("file").mode() & 0o7777, 0o640);
    assert_eq!((stat("owned").uid(), stat("owned").gid(), stat("owned").mode() & 0o7777), (1000, 2000, 0o4755));
    for (name, target) in [("link", "file"), ("absolute", "/fill/file"), ("out", "../../../etc/shadow")] {
        assert_eq!(fs::read_link(data.join(name)).unwrap(), Path::new(target));
    }
    assert_eq!((stat("file").ino(), stat("file").nlink()), (stat("deep/again").ino(), 2));
    assert_eq!(stat("file").mtime(), 1_700_000_000);
    assert!(stat("fifo").file_type().is_fifo());
    assert_eq!(fs::read(data.join("deep/er/last")).unwrap(), b"deep\n");
    let noted = fs::File::open(data.join("noted")).unwrap();
    let note = isulabox::utils::sys::xattr::get(noted.as_fd(), c"user.note").unwrap();
    // Not every file system has such attributes, and an archive's are dropped then.
    assert!(note.as_deref().is_none_or(|value| value == b"value"));
}

fn the_image_fills_an_empty_volume(bed: &mut Bed) {
    bed.start();
    full_image(bed, "");
    let data = |name: &str| store(bed).join(name).join("_data");
    // At creation, whatever the form, and through a link in the image.
    for (name, options) in [
        ("vol1", "-v vol1:/fill"),
        ("vol2", "--mount src=vol2,dst=/fill"),
        ("vol3", "-v vol3:/way"),
        ("vol4", "-v vol4:/fill:ro"),
    ] {
        bed.isula(&format!("create --name {name} {options} full true")).ok();
        is_full(&data(name));
    }
    bed.isula("volume create vol5").ok();
    assert_eq!(bed.isula("run --rm -v vol5:/fill full cat /fill/file").ok(), "from the image");
    is_full(&data("vol5"));
    // Its directory is like the image's.
    bed.isula("run --rm -v vol6:/locked full true").ok();
    let locked = data("vol6").metadata().unwrap();
    assert_eq!(locked.mode() & 0o7777, 0o755);
    assert_eq!(fs::read(data("vol6").join("secret")).unwrap(), b"secret\n");
    // What has content keeps it; nor is anything copied when that is not wanted.
    fs::write(data("vol1").join("file"), "changed").unwrap();
    fs::remove_dir_all(data("vol1").join("deep")).unwrap();
    bed.isula("run --rm -v vol1:/fill full true").ok();
    assert_eq!(fs::read(data("vol1").join("file")).unwrap(), b"changed");
    assert!(!data("vol1").join("deep").exists());
    for (name, options) in [("none1", "-v none1:/fill:nocopy"), ("none2", "--mount src=none2,dst=/fill,volume-nocopy")]
    {
        assert_eq!(bed.isula(&format!("run --rm {options} full ls -A /fill")).ok(), "");
        assert_eq!(fs::read_dir(data(name)).unwrap().count(), 0);
    }
    // Nor from what is no directory or not there.
    bed.isula("create --name other -v vol7:/etc/passwd -v vol8:/not/there -v vol9:/escape-loop full true").ok();
    for name in ["vol7", "vol8", "vol9"] {
        assert_eq!(fs::read_dir(data(name)).unwrap().count(), 0, "{name}");
    }
    // A volume that is empty is filled though another container runs with it, which sees that.
    bed.run_detached("early", "-v vol10:/d", "payload ready 1000");
    bed.isula("run --rm -v vol10:/fill full true").ok();
    assert_eq!(bed.isula("exec early cat /d/deep/er/last").ok(), "deep");
    assert!(entries(bed).iter().all(|name| !name.starts_with('.')), "{:?}", entries(bed));
}

fn an_image_cannot_lead_outside(bed: &mut Bed) {
    bed.start();
    full_image(bed, "");
    for (name, destination) in
        [("vol1", "/beyond"), ("vol2", "/up"), ("vol3", "/fill/out"), ("vol4", "/beyond/../../etc")]
    {
        bed.isula(&format!("create --name {name} -v {name}:{destination} full true")).ok();
    }
    for name in ["vol1", "vol2", "vol3"] {
        let found: Vec<_> = fs::read_dir(store(bed).join(name).join("_data")).unwrap().flatten().collect();
        assert_eq!(found.len(), 0, "{name}: {found:?}");
    }
    // By its letters that is the image's /etc.
    assert_eq!(fs::read(store(bed).join("vol4/_data/marker")).unwrap(), b"inside\n");
}

fn volumes_of_the_image(bed: &mut Bed) {
    bed.start();
    full_image(bed, "-c 'VOLUME [\"/fill\",\"/new/place\"]'");
    bed.run_detached_of("full", "aa", "", "payload ready 1000");
    let made = mounts(bed, "aa");
    let at: Vec<&str> = made.iter().map(|m| m["Destination"].as_str().unwrap()).collect();
    assert_eq!(at, ["/fill", "/new/place"]);
    is_full(Path::new(made[0]["Source"].as_str().unwrap()));
    assert_eq!(bed.isula("exec aa cat /fill/deep/er/last").ok(), "deep");
    bed.isula("exec aa sh -c 'echo x > /new/place/x'").ok();
    assert!(Path::new(made[1]["Source"].as_str().unwrap()).join("x").exists());
    bed.isula("rm -f aa").ok();
    assert_eq!(listed(bed).len(), 2);
    bed.isula("volume prune -f").ok();
    bed.isula("run --rm full true").ok();
    has_volumes(bed, &[]);
}

fn what_is_mounted_wins_over_what_is_declared(bed: &mut Bed) {
    bed.start();
    full_image(bed, "-c 'VOLUME /fill /srv/'");
    let outside = bed.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    let line = format!("create --name aa -v {}:/fill/ --tmpfs /srv full true", outside.display());
    bed.isula(&line).ok();
    let kinds: Vec<Value> = mounts(bed, "aa").iter().map(|m| m["Type"].clone()).collect();
    assert_eq!(kinds, ["bind"]);
    bed.isula("create --name bb -v own:/fill full true").ok();
    bed.isula("create --name cc --volumes-from bb full true").ok();
    let names: Vec<Value> = mounts(bed, "cc").iter().map(|m| m["Name"].clone()).collect();
    assert_eq!(names[0], "own");
    assert_eq!(mounts(bed, "bb")[1]["Name"], names[1], "what cc inherits wins over what is declared");
    // Explicit ones must not meet.
    for options in ["-v own:/x -v /x/", "-v own:/x --mount src=vol,dst=/x", "-v own:/x --tmpfs /x", "-v /x -v /x"] {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, "Duplicate mount point: /x");
    }
    // By the interface, declared ones yield.
    let body = json!({"Image": IMAGE, "Cmd": ["true"], "Volumes": {"/x": {}}, "HostConfig": {"Binds": ["own:/x"]}});
    let id = bed.post("/v1.44/containers/create", &body).expect(201).json()["Id"].as_str().unwrap().to_owned();
    assert_eq!(mounts(bed, &id)[0]["Name"], "own");
}

fn the_daemon_may_stop_and_die(bed: &mut Bed) {
    bed.start();
    full_image(bed, "");
    bed.run_detached_of("full", "aa", "-v vol:/fill -v /own", "payload ready 1000");
    bed.isula(&format!("create --name bb --volumes-from aa {IMAGE} cat /fill/file")).ok();
    let before = (mounts(bed, "aa"), listed(bed));
    for kill in [false, true] {
        if kill {
            bed.kill()
        } else {
            bed.stop()
        }
        bed.restart();
        assert_eq!((mounts(bed, "aa"), listed(bed)), before);
        bed.isula("volume rm vol").fails(1, "volume is used by container");
        assert_eq!(bed.isula("volume prune -f").ok(), "");
        bed.isula("exec aa sh -c 'echo new > /fill/file'").ok();
        assert_eq!(bed.isula("start -a bb").ok(), "new");
    }
    bed.isula("rm -f -v aa bb").ok();
    has_volumes(bed, &["vol"]);
}

/// What a daemon leaves that is killed at the worst moments; all of them are tried by the tests of faults.
fn a_creation_that_was_cut_off_leaves_no_volume(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa -v /kept -v named:/n {IMAGE} true")).ok();
    let kept = mounts(bed, "aa")[0]["Name"].as_str().unwrap().to_owned();
    bed.kill();
    let (lost, other) = ("d".repeat(64), "e".repeat(64));
    for path in [format!("{lost}/_data/x"), ".tmp-x-1-1/_data".into(), format!("{other}/_data"), ".fill-named/d".into()]
    {
        fs::create_dir_all(store(bed).join(path)).unwrap();
    }
    fs::write(store(bed).join(".fill-named/d/file"), "whole").unwrap();
    // Of a container that never came to be, and of one that did.
    fs::write(store(bed).join(format!(".of-{}-{lost}", "c".repeat(64))), "").unwrap();
    fs::write(store(bed).join(format!(".of-{id}-{kept}")), "").unwrap();
    bed.restart();
    let mut want = vec![kept.as_str(), other.as_str(), "named"];
    want.sort_unstable();
    eventually("the rest is gone", || entries(bed).len() == want.len());
    has_volumes(bed, &want);
    assert_eq!(fs::read(store(bed).join("named/_data/d/file")).unwrap(), b"whole");
}

fn a_creation_that_fails_leaves_volumes_as_they_were(bed: &mut Bed) {
    bed.start();
    full_image(bed, "");
    bed.isula("volume create there").ok();
    // In the last step: the place of its directory is taken by nothing that can be replaced.
    let engines = bed.graph().join("engines/lcr");
    let hidden = bed.graph().join("engines/hidden");
    fs::rename(&engines, &hidden).unwrap();
    let o = bed.isula("create --name aa -v there:/fill -v new:/fill/deep -v /srv full true");
    fs::rename(&hidden, &engines).unwrap();
    assert_ne!(o.code, 0, "{}", o.show());
    has_volumes(bed, &["there"]);
    assert_eq!(fs::read_dir(store(bed).join("there/_data")).unwrap().count(), 0, "it is as empty as it was");
    bed.isula("create --name aa -v there:/fill full true").ok();
    is_full(&store(bed).join("there/_data"));
}

fn a_full_disk_while_a_volume_is_filled(bed: &mut Bed) {
    rootfs::small_disk(&bed.graph(), 32 << 10);
    bed.own_mounts();
    bed.launch(&[]);
    let path = bed.dir.join("large.tar");
    let mut tar = Archive::create(&path);
    tar.busybox(&["cat", "true"]);
    tar.directory("fill");
    tar.file("fill/small", 0o644, "small");
    tar.file("fill/zz-large", 0o644, &"x".repeat(6 << 20));
    tar.finish();
    bed.isula(&format!("import {} large", path.display())).ok();
    bed.isula("volume create there").ok();
    let filler = stage::fill(&bed.graph(), 5 << 20);
    for options in ["-v there:/fill", "-v new:/fill", "-v /fill"] {
        let o = bed.isula(&format!("create --name aa {options} large true"));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err.to_lowercase(), "no space left on device");
        has_volumes(bed, &["there"]);
        assert_eq!(fs::read_dir(store(bed).join("there/_data")).unwrap().count(), 0);
    }
    fs::remove_file(filler).unwrap();
    bed.isula("create --name aa -v there:/fill large true").ok();
    assert_eq!(fs::metadata(store(bed).join("there/_data/zz-large")).unwrap().len(), 6 << 20);
    bed.isula("rm aa").ok();
}

fn volumes_of_remapped_containers(bed: &mut Bed) {
    bed.start_with(&["--userns-remap", "100000:200000:65536"]);
    full_image(bed, "");
    let graph = bed.graph().join("100000.200000/volumes");
    let owner = |path: &str| {
        let m = graph.join(path).symlink_metadata().unwrap();
        (m.uid(), m.gid())
    };
    assert_eq!(bed.run("-v plain:/d", "sh -c 'echo x > /d/x; stat -c %u:%g /d'"), "0:0");
    assert_eq!(
        (owner("plain"), owner("plain/_data"), owner("plain/_data/x")),
        ((0, 0), (100_000, 200_000), (100_000, 200_000))
    );
    assert_eq!(bed.isula("run --rm -v vol:/fill full stat -c %u:%g /fill /fill/owned").ok(), "0:0\n1000:2000");
    assert_eq!(owner("vol/_data/owned"), (101_000, 202_000));
    // The same as the host sees it.
    assert_eq!(bed.isula("run --rm --userns=host -v vol:/fill full cat /fill/file").ok(), "from the image");
}
