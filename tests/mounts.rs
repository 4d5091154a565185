//! Bind mounts, tmpfs, propagation, volumes.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually, leaks, old_kernel};
use crate::tests;
use nix::mount::{MsFlags, mount};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

tests![
    bind_mounts_are_read_write_or_read_only,
    bind_mount_of_a_file,
    missing_source_is_made,
    mount_option_spells_the_same,
    tmpfs_has_its_options,
    read_only_covers_submounts_of_the_root_only,
    deeper_targets_come_later,
    own_mount_replaces_a_default_one,
    duplicate_targets_are_refused,
    what_is_mounted_below_a_bind,
    propagation_from_the_host,
    propagation_to_the_host,
    host_file_systems_can_be_bound,
    bad_mounts_are_refused,
    network_files_are_as_writable_as_the_root,
    working_directory_is_made,
];

fn source(bed: &Bed, name: &str) -> PathBuf {
    let path = bed.dir.join(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "outside\n").unwrap();
    path
}

fn bind_mounts_are_read_write_or_read_only(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d");
    let path = path.display();
    assert_eq!(bed.run(&format!("-v {path}:/d"), "sh -c 'cat /d/file; echo new > /d/new'"), "outside");
    assert_eq!(fs::read_to_string(bed.dir.join("d/new")).unwrap(), "new\n");
    for options in [format!("-v {path}:/d:ro"), format!("-v{path}:/d:ro"), format!("--volume={path}:/d:ro,rprivate")] {
        assert_eq!(bed.isula(&format!("run --rm {options} {IMAGE} payload write /d/x y")).exits(1), "EROFS");
    }
}

fn bind_mount_of_a_file(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d").join("file");
    assert_eq!(bed.run(&format!("-v {}:/etc/marker", path.display()), "cat /etc/marker"), "outside");
    // Onto a path that is not there, in a directory that is not there.
    assert_eq!(bed.run(&format!("-v {}:/new/deep/file", path.display()), "cat /new/deep/file"), "outside");
    // A directory onto a file cannot be.
    let directory = bed.dir.join("d");
    assert_ne!(bed.isula(&format!("run --rm -v {}:/etc/marker {IMAGE} true", directory.display())).code, 0);
}

fn missing_source_is_made(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("made/by/engine");
    bed.run(&format!("-v {}:/d", path.display()), "sh -c 'echo x > /d/x'");
    assert!(path.join("x").is_file());
    // --mount wants it to be there.
    let o = bed.isula(&format!("run --rm --mount type=bind,src={}/nosuch,dst=/d {IMAGE} true", bed.dir.display()));
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err, "nosuch");
}

fn mount_option_spells_the_same(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d");
    let path = path.display();
    for keys in [
        format!("source={path},target=/d"),
        format!("src={path},destination=/d"),
        format!("src={path},dst=/d,readonly=false"),
    ] {
        assert_eq!(bed.run(&format!("--mount type=bind,{keys}"), "cat /d/file"), "outside");
    }
    let o = bed.isula(&format!("run --rm --mount type=bind,src={path},dst=/d,ro {IMAGE} payload write /d/x y"));
    assert_eq!(o.exits(1), "EROFS");
}

fn tmpfs_has_its_options(bed: &mut Bed) {
    bed.start();
    let line =
        bed.run("--tmpfs /scratch:size=2m,mode=700", "sh -c 'grep \" /scratch \" /proc/mounts; stat -c %a /scratch'");
    contains(&line, "size=2048k");
    contains(&line, "\n700");
    contains(&bed.run("--tmpfs /scratch", "grep /scratch /proc/mounts"), "nosuid,nodev,noexec");
    contains(&bed.run("--mount type=tmpfs,dst=/scratch,tmpfs-size=1m,tmpfs-mode=1770", "stat -c %a /scratch"), "1770");
}

fn read_only_covers_submounts_of_the_root_only(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d");
    bed.run(&format!("--read-only -v {}:/d", path.display()), "payload write /d/x y");
}

fn deeper_targets_come_later(bed: &mut Bed) {
    bed.start();
    let (outer, inner) = (source(bed, "outer"), source(bed, "inner"));
    fs::write(inner.join("file"), "inner\n").unwrap();
    let line = format!("-v {}:/a/b/c -v {}:/a", inner.display(), outer.display());
    assert_eq!(bed.run(&line, "cat /a/file /a/b/c/file"), "outside\ninner");
}

fn own_mount_replaces_a_default_one(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d");
    assert_eq!(bed.run(&format!("-v {}:/dev/shm", path.display()), "cat /dev/shm/file"), "outside");
    assert_eq!(bed.run(&format!("-v {}/file:/etc/hosts", path.display()), "cat /etc/hosts"), "outside");
    contains(&bed.run("--tmpfs /dev/shm:size=1m", "sh -c 'grep -c /dev/shm /proc/mounts; df -k /dev/shm'"), "1024");
}

fn duplicate_targets_are_refused(bed: &mut Bed) {
    bed.start();
    let path = source(bed, "d");
    let o = bed.isula(&format!("run --rm -v {0}:/d -v {0}:/d {IMAGE} true", path.display()));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "Duplicate mount point: /d");
    assert_eq!(bed.isula(&format!("run --rm -v {0}:/d --tmpfs /d {IMAGE} true", path.display())).code, 125);
}

fn what_is_mounted_below_a_bind(bed: &mut Bed) {
    let path = source(bed, "d");
    let below = path.join("sub");
    fs::create_dir(&below).unwrap();
    mount(Some("tmpfs"), &below, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(below.join("deep"), "below\n").unwrap();
    bed.start();
    let command = "sh -c 'cat /d/sub/deep 2>&1; touch /d/sub/new 2>/dev/null && echo writable; true'";
    let options = |more: &str| format!("--mount type=bind,src={},dst=/d,{more}", path.display());
    let see = |more: &str| bed.run(&options(more), command);
    assert_eq!(see("bind-recursive=enabled"), "below\nwritable");
    assert_eq!(see("ro,bind-recursive=writable"), "below\nwritable");
    if old_kernel::is_at_least(5, 12) {
        assert_eq!(see("ro,bind-recursive=readonly"), "below");
    } else {
        let o = bed.isula(&format!("run --rm {} {IMAGE} {command}", options("ro,bind-recursive=readonly")));
        contains(&o.err, "mount at \"/d\": attributes for all mounts below need Linux 5.12");
    }
    for without in ["bind-recursive=disabled", "bind-nonrecursive"] {
        let said = see(without);
        assert!(said.contains("No such file") || said.contains("can't open"), "{said}");
    }
    let o = bed.isula(&format!("run --rm --mount type=bind,src=/,dst=/d,bind-recursive=readonly {IMAGE} true"));
    contains(&o.err, "bind-recursive=readonly goes with readonly");
    let options = json!({"ReadOnlyForceRecursive": true});
    let mounts = json!([{"Type": "bind", "Source": path, "Target": "/d", "BindOptions": options}]);
    let body = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"Mounts": mounts}});
    contains(&bed.post("/v1.44/containers/create", &body).expect(400).text(), "mounts below are read-only only");
    nix::mount::umount(&below).unwrap();
}

/// A directory that is a mount with that propagation.
fn propagating(bed: &Bed, name: &str, flags: MsFlags) -> PathBuf {
    let path = source(bed, name);
    mount(Some(&path), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    mount(None::<&str>, &path, None::<&str>, flags, None::<&str>).unwrap();
    fs::create_dir_all(path.join("sub")).unwrap();
    path
}

fn propagation_from_the_host(bed: &mut Bed) {
    let path = propagating(bed, "p", MsFlags::MS_SHARED);
    bed.start();
    bed.run_detached("slave", &format!("-v {}:/p:rslave", path.display()), "payload ready 1000");
    bed.run_detached("private", &format!("-v {}:/p:rprivate", path.display()), "payload ready 1000");
    bed.run_detached("default", &format!("-v {}:/p", path.display()), "payload ready 1000");
    mount(Some("tmpfs"), &path.join("sub"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(path.join("sub/new"), "new\n").unwrap();
    assert_eq!(bed.isula("exec slave cat /p/sub/new").ok(), "new");
    assert_ne!(bed.isula("exec private cat /p/sub/new").code, 0);
    assert_ne!(bed.isula("exec default cat /p/sub/new").code, 0);
    nix::mount::umount(&path.join("sub")).unwrap();
    assert_ne!(bed.isula("exec slave cat /p/sub/new").code, 0);
    bed.isula("rm -f slave private default").ok();
    nix::mount::umount(&path).unwrap();
}

fn propagation_to_the_host(bed: &mut Bed) {
    let path = propagating(bed, "p", MsFlags::MS_SHARED);
    bed.start();
    bed.run(&format!("--privileged -v {}:/p:rshared", path.display()), "payload mount-tmpfs /p/sub");
    let is_mounted = || leaks::mounts().iter().any(|m| m.contains(&format!("{}/sub ", path.display())));
    assert!(is_mounted(), "a shared mount did not reach the host");
    nix::mount::umount(&path.join("sub")).unwrap();
    for kind in ["rslave", "rprivate"] {
        bed.run(&format!("--privileged -v {}:/p:{kind}", path.display()), "payload mount-tmpfs /p/sub");
        assert!(!is_mounted(), "a {kind} mount reached the host");
    }
    nix::mount::umount(&path).unwrap();
    // Shared needs a shared source.
    let private = propagating(bed, "qq", MsFlags::MS_PRIVATE);
    let o = bed.isula(&format!("run --rm -v {}:/p:rshared {IMAGE} true", private.display()));
    assert_ne!(o.code, 0, "{}", o.show());
    nix::mount::umount(&private).unwrap();
}

fn host_file_systems_can_be_bound(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("-v /proc:/host-proc:ro", "sh -c 'test -d /host-proc/1 && echo ok'"), "ok");
    assert_eq!(bed.run("-v /dev:/host-dev", "sh -c 'test -c /host-dev/null && echo ok'"), "ok");
    assert_eq!(bed.run("-v /sys/fs:/sys/fs", "sh -c 'test -d /sys/fs/cgroup && echo ok'"), "ok");
    assert_eq!(bed.run("-v /:/host:ro", &format!("cat /host{}/pid", bed.dir.display())), bed.pid().to_string());
}

fn bad_mounts_are_refused(bed: &mut Bed) {
    bed.start();
    for options in [
        "-v relative:rel",
        "-v /etc:/",
        "-v /etc:/d:nosuch",
        "-v /etc:/d:ro,rw",
        "-v /etc:/d:rslave,rprivate",
        "-v /a:/b:/c:/d",
        "-v ''",
        "--mount type=nosuch,src=/etc,dst=/d",
        "--mount type=bind,src=/etc",
        "--mount type=bind,src=relative,dst=/d",
        "--mount type=bind,src=/etc,dst=/d,nosuch=1",
        "--mount type=tmpfs,src=/etc,dst=/d",
        "--tmpfs relative",
        "--tmpfs /",
        "--tmpfs /d:size=nosuch",
    ] {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
    }
    let o = bed.isula(&format!("run --rm -v relative:rel {IMAGE} true"));
    contains(&o.err, "Invalid volume: path must be absolute, and destination can't be '/'");
    // Where procfs belongs there is procfs.
    for options in ["-v /tmp:/proc", "--tmpfs /proc", "--mount type=tmpfs,dst=/proc", "-v /proc", "-v /tmp:/x/../proc"]
    {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        o.fails(125, "a mount on /proc is not allowed, unless it is procfs");
    }
    assert_eq!(bed.run("-v /proc:/proc", "cat /proc/self/comm"), "cat");
}

fn network_files_are_as_writable_as_the_root(bed: &mut Bed) {
    bed.start();
    let script = "sh -c 'for f in hosts hostname resolv.conf; do echo x 2>/dev/null >>/etc/$f && echo $f; done; true'";
    assert_eq!(bed.run("", script), "hosts\nhostname\nresolv.conf");
    assert_eq!(bed.run("--read-only", script), "");
}

fn working_directory_is_made(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("-w /not/there", "payload cwd"), "/not/there");
    assert_eq!(bed.isula(&format!("run --rm -w relative {IMAGE} true")).code, 125);
    bed.isula(&format!("run --rm -w /etc/passwd {IMAGE} true")).fails(127, "not a directory");
    eventually("nothing is left", || bed.isula("ps -aq").ok().is_empty());
}
