//! `userns-remap`: root of the containers is somebody without rights on the host.

use crate::support::bed::{self, Bed, json};
use crate::support::{IMAGE, cgroup, contains, old_kernel, pty, rootfs};
use crate::{requires, tests};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    directories_and_owners,
    what_the_container_sees,
    programs_with_privileges,
    users_that_the_map_lacks,
    host_files_stay_the_hosts,
    devices_are_shown,
    terminals_and_further_processes,
    the_hosts_namespace_when_asked,
    namespaces_of_the_host_and_of_others,
    external_roots,
    archives_have_no_ids_of_the_host,
    images_beyond_the_map_are_refused,
    a_small_map,
    limits_hold,
    the_daemon_may_die,
    settings_that_are_refused,
];

const MAP: &str = "100000:200000:65536";
const ROOT: (u32, u32) = (100_000, 200_000);
/// cap_net_raw=ep (linux/capability.h, version 2).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn start(bed: &mut Bed) -> PathBuf {
    bed.start_with(&["--userns-remap", MAP]);
    bed.graph().join("100000.200000")
}

#[track_caller]
fn owner(path: &Path) -> (u32, u32) {
    let metadata = path.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (metadata.uid(), metadata.gid())
}

/// A user namespace's map as the kernel shows it.
fn shown(first: u32) -> String {
    format!("{:>10} {first:>10} {:>10}", 0, 65536)
}

/// Owners in an archive, by name.
#[track_caller]
fn owners(archive: &Path) -> Vec<(String, String)> {
    let out = Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(archive).output().expect("tar");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let fields = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    fields.map(|f| (f[5].trim_start_matches("./").to_owned(), f[1].to_owned())).collect()
}

fn directories_and_owners(bed: &mut Bed) {
    let graph = start(bed);
    // Everything that leads to a root is the host's alone: the engine opens it before it gives that up.
    for (path, mode) in [
        (bed.graph(), 0o711),
        (graph.clone(), 0o711),
        (graph.join("engines"), 0o750),
        (graph.join("storage"), 0o700),
        (bed.state().join("100000.200000"), 0o711),
    ] {
        assert_eq!((owner(&path), path.metadata().unwrap().mode() & 0o7777), ((0, 0), mode), "{}", path.display());
    }
    for stray in [bed.graph().join("storage"), bed.graph().join("engines"), bed.state().join("lcr")] {
        assert!(!stray.exists(), "{}", stray.display());
    }
    let layers = graph.join("storage/overlay");
    let found = || fs::read_dir(&layers).unwrap().flatten().map(|e| e.path().join("diff")).collect::<Vec<_>>();
    // That of the first container goes behind its end.
    crate::support::eventually("one layer", || found().len() == 1);
    let list = found();
    let layer = &list[0];
    for name in ["", "bin/busybox", "bin/sh", "etc", "locked/secret"] {
        assert_eq!(owner(&layer.join(name)), ROOT, "{name}");
    }
    let id = bed.run_detached("aa", "", "sh -c 'echo x > /made; mkdir /srv/directory; chown 5:6 /made; sleep 1000'");
    let upper = layers.join(&id).join("diff");
    crate::support::eventually("a file of another", || owner(&upper) == ROOT && upper.join("made").exists());
    crate::support::eventually("its owner", || owner(&upper.join("made")) == (ROOT.0 + 5, ROOT.1 + 6));
    assert_eq!(owner(&upper.join("srv/directory")), ROOT);
    let bundle = graph.join("engines/lcr").join(&id);
    for name in ["hostname", "hosts", "resolv.conf"] {
        assert_eq!(owner(&bundle.join(name)), ROOT, "{name}");
    }
    for name in ["console.log", "config.json", "hostconfig.json", "config.v2.json"] {
        assert_eq!(owner(&bundle.join(name)), (0, 0), "{name}");
    }
    let spec: Value = json(&fs::read(bundle.join("config.json")).unwrap());
    for (name, first) in [("uid", 100_000), ("gid", 200_000)] {
        let map = spec.pointer(&format!("/linux/{name}Mappings/0")).expect("a map");
        assert_eq!((&map["hostID"], &map["size"]), (&first.into(), &65536.into()), "{name}");
    }
    let pid = bed.container_pid("aa");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap().trim_end(), shown(100_000));
    assert_eq!(owner(Path::new(&format!("/proc/{pid}/root/made"))), (ROOT.0 + 5, ROOT.1 + 6));
}

fn what_the_container_sees(bed: &mut Bed) {
    start(bed);
    let maps = bed.run("", "cat /proc/self/uid_map /proc/self/gid_map");
    assert_eq!(maps, format!("{}\n{}", shown(100_000), shown(200_000)));
    let own = fs::read_link("/proc/self/ns/user").unwrap().display().to_string();
    let inside = bed.run("", "payload namespaces");
    assert!(inside.contains("user:") && !inside.contains(&own), "{inside}");
    let paths = "/ /etc /etc/marker /etc/hosts /etc/hostname /etc/resolv.conf /etc/mtab /bin/sh /locked/secret /dev \
                 /dev/pts/ptmx /dev/shm /dev/stdout /tmp /scratch";
    let stat = bed.run("--tmpfs /scratch", &format!("stat -c '%u:%g %n' {paths}"));
    for (line, path) in stat.lines().zip(paths.split_whitespace()) {
        assert_eq!(line, format!("0:0 {path}"));
    }
    assert_eq!(bed.run("--tmpfs /scratch:uid=5,mode=700", "stat -c '%u %a' /scratch"), "5 700");
    // Everything that is root's to do in its own files.
    let command = "echo x >> /etc/hosts; echo y > /etc/new; chown 7:8 /etc/new; rm /etc/marker; mkdir /srv/a; \
                   chmod 4755 /etc/new; stat -c \"%a %u %g\" /etc/new; cat /locked/secret; echo z > /dev/shm/z";
    assert_eq!(bed.run("", &format!("sh -c '{command}'")), "4755 7 8\nsecret");
    for (user, stream) in [("", "stdout"), ("-u user", "stdout"), ("-u user", "stderr")] {
        let o = bed.isula(&format!("run --rm {user} {IMAGE} sh -c 'echo word > /dev/{stream}'"));
        assert_eq!((o.code, format!("{}{}", o.out, o.err).as_str()), (0, "word\n"), "{user} {stream}");
    }
    let read_only = bed.isula(&format!("run --rm --read-only {IMAGE} payload write /x y")).exits(1);
    assert_eq!(read_only, "EROFS");
    // Of the machine as little as ever.
    for path in ["/proc/sysrq-trigger", "/proc/sys/kernel/domainname", "/sys/kernel/uevent_seqnum"] {
        let text = bed.isula(&format!("run --rm {IMAGE} payload open-rw {path}")).exits(1);
        assert!(["EROFS", "EACCES", "ENOENT", "EPERM"].contains(&text.as_str()), "{path}: {text}");
    }
    for (options, mode) in [("", ""), ("--userns host", "host")] {
        bed.isula(&format!("create --name aa {options} {IMAGE} true")).ok();
        assert_eq!(bed.inspect("aa", "/HostConfig/UsernsMode"), mode);
        bed.isula("rm aa").ok();
    }
    contains(&bed.get("/info").text(), "name=userns");
    contains(&bed.get("/info").text(), "/graph/100000.200000\"");
}

/// An image with a set-user-id program, one with a capability, and files of others.
fn import_special(bed: &Bed, name: &str) {
    let archive = bed.dir.join(format!("{name}.tar"));
    let mut tar = rootfs::Archive::create(&archive);
    tar.standard();
    tar.program_with("bin/setuid", 0o4755, &rootfs::payload());
    tar.attribute("security.capability", &NET_RAW);
    tar.program("bin/capable", &rootfs::payload());
    tar.owned("srv/owned", 0o640, (1000, 2000));
    tar.finish();
    bed.isula(&format!("import {} {name}", archive.display())).ok();
}

fn programs_with_privileges(bed: &mut Bed) {
    start(bed);
    import_special(bed, "special");
    let run = |options: &str, command: &str| bed.isula(&format!("run --rm {options} special {command}")).ok();
    assert_eq!(run("-u user", "payload status Uid"), "Uid=1000\t1000\t1000\t1000");
    assert_eq!(run("-u user", "setuid status Uid"), "Uid=1000\t0\t0\t0");
    assert_eq!(run("-u user --security-opt no-new-privileges", "setuid status Uid"), "Uid=1000\t1000\t1000\t1000");
    assert_eq!(run("-u user", "payload status CapEff"), "CapEff=0000000000000000");
    assert_eq!(run("-u user", "capable status CapEff CapPrm"), "CapEff=0000000000002000\nCapPrm=0000000000002000");
    assert_eq!(run("-u user", "stat -c '%a %u %g' /srv/owned"), "640 1000 2000");
    assert_eq!(run("-u user:extra", "cat /srv/owned"), "");
    // All of its rights are in the user namespace only.
    assert_eq!(run("--cap-add ALL", "payload status CapEff").len(), "CapEff=0123456789abcdef".len());
    let all =
        run("--cap-add ALL --security-opt seccomp=unconfined", "payload syscalls swapon unshare-mount sethostname");
    assert_eq!(all, "swapon EPERM\nunshare-mount ok\nsethostname ok");
}

fn users_that_the_map_lacks(bed: &mut Bed) {
    start(bed);
    bed.run_detached("aa", "", "sleep 1000");
    for (user, call) in [("65536", "setresuid(65536)"), ("0:70000", "setgroups([70000])")] {
        for line in [format!("run --rm -u {user} {IMAGE} true"), format!("exec -u {user} aa true")] {
            let o = bed.isula(&line);
            assert_ne!(o.code, 0, "{}", o.show());
            contains(&o.err, &format!("{call}: not an id of the user namespace"));
        }
    }
    assert_eq!(bed.run("-u 65535:65535", "payload ids"), "uid=65535 gid=65535 groups=65535");
}

fn host_files_stay_the_hosts(bed: &mut Bed) {
    start(bed);
    let shared = bed.dir.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("secret"), "of the host").unwrap();
    fs::set_permissions(shared.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(shared.join("public"), "for all\n").unwrap();
    fs::create_dir(shared.join("given")).unwrap();
    chown(shared.join("given"), Some(ROOT.0), Some(ROOT.1)).unwrap();
    // A way that only the host's root can go.
    let closed = bed.dir.join("closed");
    fs::create_dir_all(closed.join("open")).unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let options = format!("-v {}:/shared -v {}:/open", shared.display(), closed.join("open").display());
    let fails = |command: &str| {
        let o = bed.isula(&format!("run --rm {options} --cap-add ALL {IMAGE} payload {command}"));
        assert!(o.code == 1 && ["EACCES\n", "EPERM\n"].contains(&o.out.as_str()), "{}", o.show());
    };
    fails("cat /shared/secret");
    fails("write /shared/secret x");
    fails("write /shared/public x");
    fails("write /shared/new x");
    assert_eq!(bed.run(&options, "cat /shared/public"), "for all");
    assert_eq!(bed.run(&options, "stat -c %u:%g /shared/secret"), "65534:65534");
    bed.run(&options, "payload write /shared/given/file x");
    assert_eq!(owner(&shared.join("given/file")), ROOT);
    assert_eq!(bed.run(&options, "ls /open"), "");
    // And one that nobody but somebody else can, without root's rights.
    chown(&closed, Some(4321), Some(4321)).unwrap();
    if old_kernel::is_at_least(5, 2) {
        assert_eq!(
            bed.run(
                &format!("{options}:ro"),
                "sh -c 'payload write /open/x y || grep -c \" /open .*ro\" /proc/mounts'"
            ),
            "EROFS\n1"
        );
    } else {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        o.fails(125, "mount at \"/open\": bind source");
    }
    // What is missing is made for the container.
    let made = bed.dir.join("made/deep");
    bed.run(&format!("-v {}:/made", made.display()), "payload write /made/file x");
    for path in [made.parent().unwrap(), &made, &made.join("file")] {
        assert_eq!(owner(path), ROOT, "{}", path.display());
    }
    assert_eq!(fs::read_to_string(shared.join("secret")).unwrap(), "of the host");
}

fn devices_are_shown(bed: &mut Bed) {
    start(bed);
    let stat = bed.run("--device /dev/zero:/dev/sub/nothing:r", "payload stat /dev/sub/nothing");
    contains(&stat, "rdev=1:5");
    assert_eq!(bed.run("--device /dev/zero:/dev/nothing", "head -c 2 /dev/nothing").len(), 2);
    bed.run("", "sh -c 'echo x > /dev/null; head -c 8 /dev/urandom > /dev/zero; exec 3</dev/ptmx'");
    let refused = bed.isula(&format!("run --rm --cap-add MKNOD {IMAGE} payload mknod /node 1 3")).exits(1);
    assert_eq!(refused, "EPERM");
}

fn terminals_and_further_processes(bed: &mut Bed) {
    start(bed);
    bed.run_detached("aa", "", "sh -c 'while read line; do echo got $line; done; sleep 1000'");
    let mut command = bed.applet("isula");
    command.args(["exec", "-it", "aa", "sh"]);
    let mut terminal = pty::Terminal::run(command, 30, 90);
    terminal.keys("stat -c '%u:%g %a' $(tty); payload tty; echo own > /dev/tty\n");
    terminal.await_text("0:5 620");
    terminal.await_text("30 90");
    terminal.await_text("/dev/pts/0");
    terminal.keys("exit 7\n");
    assert_eq!(terminal.finish(), 7, "{}", terminal.screen());
    let text = bed.run("-t", "sh -c 'payload tty; stat -c %u:%g /dev/console'");
    contains(&text, "tty tty tty");
    contains(&text, "0:5");
    assert_eq!(bed.isula("exec aa cat /proc/self/uid_map").ok(), shown(100_000));
    assert_eq!(bed.isula("exec aa payload namespaces").ok(), namespaces_of(bed, "aa"));
    assert_eq!(bed.isula("exec -u user aa payload ids").ok(), "uid=1000 gid=1000 groups=1000,2000");
    assert_eq!(bed.isula("exec -u user aa sh -c 'echo word > /dev/stdout'").ok(), "word");
    assert_eq!(bed.isula_with("exec -i aa sh -c 'cat /dev/stdin'", b"in and out").ok(), "in and out");
    let said = bed.isula_with(&format!("run --rm -i {IMAGE} payload copy"), b"through").ok();
    assert_eq!(said, "through");
    assert_eq!(bed.isula("exec --privileged aa payload setuid 5").ok(), "changed");
}

fn namespaces_of(bed: &Bed, container: &str) -> String {
    let pid = bed.container_pid(container);
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let links = names.map(|n| fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().display().to_string());
    links.join("\n")
}

fn the_hosts_namespace_when_asked(bed: &mut Bed) {
    let graph = start(bed);
    for options in ["--userns host", "--privileged"] {
        let map = bed.run(options, "cat /proc/self/uid_map");
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"], "{options}");
        let id = bed.run_detached("aa", options, "sh -c 'echo x > /made; echo ready; sleep 1000'");
        bed.await_log("aa", "ready");
        assert_eq!(owner(&graph.join("storage/overlay").join(&id).join("diff/made")), (0, 0));
        // The layers are those of all.
        assert_eq!(bed.isula("exec aa stat -c %u:%g /etc/marker /etc/hosts").ok(), "100000:200000\n0:0");
        bed.isula("rm -f aa").ok();
    }
    import_special(bed, "special");
    let capable = bed.isula("run --rm --userns host -u user special capable status CapEff");
    assert_eq!(capable.ok(), "CapEff=0000000000002000");
    assert_eq!(bed.run("--userns none", "cat /proc/self/uid_map"), shown(100_000));
    assert_eq!(bed.isula(&format!("run --rm --userns private {IMAGE} true")).code, 125);
}

fn namespaces_of_the_host_and_of_others(bed: &mut Bed) {
    start(bed);
    for (option, what) in [("--net host", "network"), ("--pid host", "PID")] {
        let text = format!("cannot share the host's {what} namespace when user namespaces are enabled");
        bed.isula(&format!("run --rm {option} {IMAGE} true")).fails(125, &text);
        bed.run(&format!("{option} --userns host"), "true");
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(bed.run("--uts host --cgroupns host", "payload hostname"), host.trim());
    bed.run("--ipc host", "sh -c 'ls /dev/shm'");

    bed.run_detached("aa", "", "sleep 1000");
    bed.run_detached("bb", "", "sleep 1000");
    bed.run_detached("hh", "--userns host", "sleep 1000");
    let line = |text: &str, kind: &str| text.lines().find(|l| l.starts_with(kind)).unwrap().to_owned();
    for kind in ["net", "pid", "ipc", "uts"] {
        let shm = if kind == "ipc" && !old_kernel::is_at_least(5, 2) { "--tmpfs /dev/shm" } else { "" };
        let own = bed.run(&format!("--{kind} container:aa {shm}"), "payload namespaces");
        // Rights over a namespace are those that one has in its user namespace.
        for name in [kind, "user"] {
            let name = format!("{name}:");
            assert_eq!(line(&own, &name), line(&namespaces_of(bed, "aa"), &name), "{kind}");
        }
        let text = bed.isula(&format!("run --rm --{kind} container:hh {shm} {IMAGE} true"));
        text.fails(125, "which has the host's user namespace: use --userns=host");
        bed.run(&format!("--{kind} container:aa --userns host {shm}"), "true");
    }
    let renamed = bed.run("--uts container:aa --cap-add SYS_ADMIN", "sh -c 'hostname other; hostname'");
    assert_eq!(renamed, "other", "its own namespace's root");
    let o = bed.isula(&format!("run --rm --net container:aa --uts container:bb {IMAGE} true"));
    o.fails(125, "have different user namespaces and cannot both be joined");
    bed.isula(&format!("create --name dd {IMAGE} true")).ok();
    let o = bed.isula(&format!("run --rm --net container:dd {IMAGE} true"));
    assert_ne!(o.code, 0);
    contains(&o.err.to_lowercase(), "non running container");
    bed.run_detached("cc", "--net container:aa", "sleep 1000");
    bed.run("--net container:aa --uts container:cc", "true");
    assert_eq!(bed.isula("exec cc cat /proc/self/uid_map").ok(), shown(100_000));
    if old_kernel::is_at_least(5, 2) {
        bed.isula("exec aa sh -c 'echo one > /dev/shm/a'").ok();
        assert_eq!(bed.run("--ipc container:aa", "sh -c 'cat /dev/shm/a; echo two > /dev/shm/a'"), "one");
        assert_eq!(bed.isula("exec aa cat /dev/shm/a").ok(), "two");
    }
}

fn external_roots(bed: &mut Bed) {
    start(bed);
    let root = bed.dir.join("root");
    fs::create_dir(&root).unwrap();
    let status = Command::new("tar").arg("-xf").arg(rootfs::archive()).arg("-C").arg(&root).status();
    assert!(status.expect("tar").success());
    let run = |options: &str| {
        bed.isula(&format!("run --rm {options} --external-rootfs {} none stat -c %u /", root.display()))
    };
    run("").fails(125, "belongs to 0:0, which the user namespace has not: root is 100000:200000 there");
    assert_eq!(run("--userns host").ok(), "0");
    fs::remove_file(root.join("etc/mtab")).unwrap();
    let mut open = vec![root.clone()];
    while let Some(path) = open.pop() {
        lchown(&path, Some(ROOT.0), Some(ROOT.1)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            open.extend(fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        }
    }
    assert_eq!(run("").ok(), "0");
    assert_eq!(owner(&root.join("etc/mtab")), ROOT);
}

fn archives_have_no_ids_of_the_host(bed: &mut Bed) {
    requires!(image_tools);
    start(bed);
    import_special(bed, "special");
    let command = "echo x > /srv/mine; echo y > /srv/theirs; chown 7:8 /srv/theirs; chmod 4711 /srv/theirs; sync";
    bed.isula(&format!("run --name aa special sh -c '{command}'")).ok();
    // One that writes with the host's ids.
    bed.isula(&format!("run --name hh --userns host special sh -c '{command}'")).ok();
    let directory = bed.dir.clone();
    let at = |name: &str| directory.join(name);
    for name in ["aa", "hh"] {
        let path = at(&format!("{name}-export.tar"));
        bed.isula(&format!("export -o {} {name}", path.display())).ok();
        for (member, owner) in owners(&path) {
            let want = match member.as_str() {
                "srv/owned" => "1000/2000",
                "srv/theirs" => "7/8",
                _ => "0/0",
            };
            assert_eq!(owner, want, "{name}: {member}");
        }
        let bytes = fs::read(&path).unwrap();
        let record = [&b"SCHILY.xattr.security.capability="[..], &NET_RAW, b"\n"].concat();
        assert!(bytes.windows(record.len()).any(|w| w == record), "{name}: the capability as it came");
    }
    bed.isula(&format!("import {} again", at("aa-export.tar").display())).ok();
    let inside = "sh -c 'stat -c \"%a %u %g\" /srv/theirs /srv/owned; capable status CapEff'";
    let want = "4711 7 8\n640 1000 2000\nCapEff=0000000000002000";
    assert_eq!(bed.isula(&format!("run --rm -u user again {inside}")).ok(), want);
    bed.isula("rm aa hh").ok();
    // Saved under one map and under none: the same bytes.
    let saved = at("saved.tar");
    bed.isula(&format!("save -o {} again", saved.display())).ok();
    bed.stop();
    bed.launch(&[]);
    bed.isula(&format!("load -i {}", saved.display())).ok();
    assert_eq!(bed.isula(&format!("run --rm -u user again {inside}")).ok(), want);
    let plain = at("plain.tar");
    bed.isula(&format!("save -o {} again", plain.display())).ok();
    assert!(fs::read(&saved).unwrap() == fs::read(&plain).unwrap(), "{:?}\n{:?}", owners(&saved), owners(&plain));
    bed.isula("rmi again").ok();
}

fn images_beyond_the_map_are_refused(bed: &mut Bed) {
    let graph = start(bed);
    let entries = || {
        let names = ["storage/overlay", "storage/overlay-layers", "storage/overlay-images"];
        let names = names.map(|name| fs::read_dir(graph.join(name)).unwrap().flatten().map(|e| e.file_name()));
        names.into_iter().flatten().collect::<std::collections::BTreeSet<_>>()
    };
    let before = entries();
    let archive = bed.dir.join("beyond.tar");
    let mut tar = rootfs::Archive::create(&archive);
    tar.standard();
    tar.owned("srv/beyond", 0o644, (65536, 0));
    tar.finish();
    let text = "\"srv/beyond\": user 65536 is beyond the 65536 ids of the user namespace";
    bed.isula(&format!("import {} beyond", archive.display())).fails(1, text);
    let layout = bed.dir.join("layout");
    crate::support::oci::layout(&layout, &[&rootfs::archive(), &archive], &["linux/amd64"], &serde_json::json!({}));
    let loaded = bed.isula(&format!("load -i {}", crate::support::oci::archive(&layout).display()));
    loaded.fails(1, text);
    assert_eq!(entries(), before, "something is left");
    // The last one is one of them.
    let mut tar = rootfs::Archive::create(&archive);
    tar.owned("srv/last", 0o644, (65535, 65535));
    tar.finish();
    bed.isula(&format!("import {} last", archive.display())).ok();
}

/// Too small for the group of terminals, and for nobody.
fn a_small_map(bed: &mut Bed) {
    bed.start_with(&["--userns-remap", "300000:300000:5"]);
    assert_eq!(bed.run("-t", "stat -c %u:%g /dev/pts/0").trim_end(), "0:0");
    assert_eq!(bed.run("-u 4", "payload ids"), "uid=4 gid=0 groups=0");
    contains(&bed.isula(&format!("run --rm -u user {IMAGE} true")).err, "not an id of the user namespace");
}

fn limits_hold(bed: &mut Bed) {
    requires!(cgroup_memory, cgroup_pids);
    start(bed);
    bed.run_detached("aa", "-m 64m --pids-limit 20 --ulimit nofile=512", "payload ready 1000");
    let pid = bed.container_pid("aa");
    assert_eq!(cgroup::read(pid, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    assert_eq!(cgroup::read(pid, &["pids.max"]).as_deref(), Some("20"));
    bed.isula(&format!("run --name bb -m 16m --memory-swap 16m {IMAGE} payload hog 200")).exits(137);
    assert_eq!(bed.inspect("bb", "/State/OOMKilled"), true);
    contains(&bed.isula("exec aa payload rlimits").ok(), "Max open files            512");
    // And are not its own to lift.
    let files = "find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max";
    let each = "n=$((n+1)); echo 9999999999 > $f && exit 9";
    let lift =
        format!("sh -c 'mount -o remount,rw /sys/fs/cgroup; n=0; for f in $({files}); do {each}; done; [ $n -gt 0 ]'");
    bed.isula(&format!("exec --privileged aa {lift}")).ok();
    assert_eq!(cgroup::read(pid, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    bed.isula("pause aa").ok();
    bed.isula("unpause aa").ok();
    contains(&bed.isula("top aa").ok(), "payload ready 1000");
}

fn the_daemon_may_die(bed: &mut Bed) {
    start(bed);
    bed.run_detached("aa", "", "sh -c 'echo ready; sleep 1000'");
    bed.await_log("aa", "ready");
    let pid = bed.container_pid("aa");
    bed.kill();
    bed.restart();
    assert_eq!(bed.container_pid("aa"), pid);
    assert_eq!(bed.isula("exec aa cat /proc/self/uid_map").ok(), shown(100_000));
    // A daemon with another map, or none, has other containers, and lets these be.
    for other in [&[][..], &["--userns-remap", "300000:300000:65536"]] {
        bed.stop();
        bed.launch(other);
        assert_eq!(bed.isula("ps -aq").ok(), "");
        assert_eq!(bed.isula("images -q").ok(), "");
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    bed.stop();
    bed.launch(&["--userns-remap", MAP]);
    assert_eq!(bed.container_pid("aa"), pid);
    bed.isula("stop -t 0 aa").ok();
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /proc/self/uid_map").ok(), shown(100_000));
}

fn settings_that_are_refused(bed: &mut Bed) {
    for (map, part) in [
        ("100000", "/etc/subuid"),
        ("nosuch-user:nosuch", "/etc/subuid"),
        ("1:2:3:4", "want UID:GID:LENGTH, USER[:GROUP] or default"),
        ("0:0:65536", "without the host's root"),
        ("100000:100000:0", "want at least one"),
        ("4294967295:1:1", "below 4294967295"),
    ] {
        let said = bed::refused(bed, &bed.daemon_words(&["--userns-remap", map]));
        contains(&said, &format!("userns-remap {map:?}"));
        contains(&said, part);
    }
    let config = bed.dir.join("daemon.json");
    let path = config.display().to_string();
    fs::write(&config, format!("{{\"userns-remap\": {MAP:?}}}")).unwrap();
    let said = bed::refused(bed, &bed.daemon_words(&["--config", &path, "--userns-remap", "1:1:1"]));
    contains(&said, "contradict each other");
    bed.start_with(&["--config", &path]);
    assert_eq!(bed.run("", "cat /proc/self/uid_map"), shown(100_000));
    bed.isula(&format!("run --rm --user-remap 1:1:1 {IMAGE} true")).fails(125, "--user-remap");
}
