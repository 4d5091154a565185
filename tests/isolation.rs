//! What a container sees of the world, and what it does not.

use crate::cp::{inside, stop, write};
use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually, leaks, old_kernel, rootfs};
use crate::{requires, tests};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;

tests![
    a_root_that_is_moved,
    every_namespace_is_its_own,
    host_namespaces_when_asked,
    namespaces_of_another_container,
    shared_memory_goes_with_the_ipc_namespace,
    network_files_are_those_of_the_network,
    network_files_that_were_changed_stay,
    network_files_of_a_stopped_container,
    namespace_of_a_stopped_container_is_refused,
    user_namespace_of_the_host_is_accepted,
    first_process_is_alone,
    hostname_and_hosts,
    root_is_the_images_and_writable,
    writes_stay_in_the_container,
    hosts_mount_table_stays_as_it_was,
    mounts_are_the_documented_ones,
    devices_are_the_documented_ones,
    descriptors_are_the_three,
    environment_is_the_containers_own,
    network_has_only_loopback,
    system_file_systems_are_read_only,
    the_null_device_is_the_containers_own,
    dev_shm_has_its_size,
];

/// As on hosts whose root is a ram disk, from which nobody can pivot.
fn a_root_that_is_moved(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--no-pivot -v named:/n", "payload ready 1000");
    assert_eq!(bed.inspect("aa", "/HostConfig/NoPivotRoot"), true);
    let root = bed.isula("exec aa ls /").ok();
    assert_eq!(root, bed.run("-v named:/n", "ls /"));
    bed.isula("exec aa sh -c 'echo x > /n/x && cat /n/x'").ok();
    // Nothing of the host is above it.
    assert_eq!(bed.isula("exec aa ls /../..").ok(), root);
    assert_eq!(bed.isula("exec aa cat /proc/1/root/etc/hostname").ok(), bed.isula("exec aa hostname").ok());
    let mounts = bed.isula("exec aa cat /proc/1/mounts").ok();
    let places = |text: &str| text.lines().map(|l| l.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(places(&mounts), places(&bed.run("-v named:/n", "cat /proc/1/mounts")));
}

fn namespaces_of(pid: &str) -> Vec<String> {
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    names.iter().map(|n| fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap().display().to_string()).collect()
}

fn every_namespace_is_its_own(bed: &mut Bed) {
    bed.start();
    let inside = bed.run("", "payload namespaces");
    let host = namespaces_of("self");
    for (inner, outer) in inside.lines().zip(&host) {
        // No user namespace unless asked for.
        assert_eq!(inner == outer, inner.starts_with("user:"), "{inside}\n{host:?}");
    }
    assert_eq!(inside.lines().count(), 7);
}

fn host_namespaces_when_asked(bed: &mut Bed) {
    bed.start();
    let host = namespaces_of("self");
    for (options, kind) in [("--net host", "net"), ("--pid host", "pid"), ("--ipc host", "ipc"), ("--uts host", "uts")]
    {
        let inside = bed.run(options, "payload namespaces");
        for (inner, outer) in inside.lines().zip(&host) {
            let same = inner.starts_with("user:") || inner.starts_with(&format!("{kind}:"));
            assert_eq!(inner == outer, same, "{options}: {inner} {outer}");
        }
    }
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(bed.run("--uts host", "payload hostname"), host_name.trim());
    assert_eq!(bed.run("--net host", "payload hostname"), host_name.trim());
}

fn namespaces_of_another_container(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "sh -c 'payload namespaces; sleep 1000'");
    bed.await_log("aa", "uts:");
    let other = bed.isula("logs aa").ok();
    for kind in ["net", "pid", "ipc", "uts"] {
        // Without a /dev/shm of its own the other's is shared, which needs Linux 5.2.
        let shm = if kind == "ipc" && !old_kernel::is_at_least(5, 2) { "--tmpfs /dev/shm" } else { "" };
        let own = bed.run(&format!("--{kind} container:aa {shm}"), "payload namespaces");
        let line = |text: &str| text.lines().find(|l| l.starts_with(&format!("{kind}:"))).map(String::from);
        assert_eq!(line(&own), line(&other), "{kind}");
        let different = own.lines().zip(other.lines()).filter(|(a, b)| a != b).count();
        assert_eq!(different, 5, "{kind}:\n{own}\n{other}");
    }
    // The joined one's processes are visible, and its end does not take ours.
    contains(&bed.run("--pid container:aa", "ps"), "sleep 1000");
}

fn shared_memory_goes_with_the_ipc_namespace(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--shm-size 1m", "sh -c 'echo one > /dev/shm/a; echo ready; sleep 1000'");
    bed.await_log("aa", "ready");
    if !old_kernel::is_at_least(5, 2) {
        // A mount cannot leave its namespace there, and one in the host's table that all could copy is not wanted.
        let o = bed.isula(&format!("run --rm --ipc container:aa {IMAGE} true"));
        o.fails(125, "a mount of another container needs Linux 5.2");
        assert_eq!(bed.run("--ipc container:aa --tmpfs /dev/shm", "ls /dev/shm"), "");
        return;
    }
    let both = bed.run("--ipc container:aa", "sh -c 'cat /dev/shm/a; echo two > /dev/shm/b; df -k /dev/shm'");
    contains(&both, "one\n");
    contains(&both, " 1024 ");
    assert_eq!(bed.isula("exec aa cat /dev/shm/b").ok(), "two");
    // What joined may be joined itself, and its end changes nothing.
    bed.run_detached("bb", "--ipc container:aa", "sleep 1000");
    assert_eq!(bed.run("--ipc container:bb", "sh -c 'rm /dev/shm/b; ls /dev/shm'"), "a");
    bed.isula("rm -f bb").ok();
    assert_eq!(bed.isula("exec aa ls /dev/shm").ok(), "a");
    // Of the host's there is one only.
    bed.run_detached("cc", "--ipc host", "sleep 1000");
    let host = fs::metadata("/dev/shm").map(|m| m.dev()).unwrap().to_string();
    assert_eq!(bed.run("--ipc container:cc", "stat -c %d /dev/shm"), host);
    assert_ne!(bed.run("--ipc container:aa", "stat -c %d /dev/shm"), host);
    for mode in ["none", "private"] {
        bed.run_detached("dd", &format!("--ipc {mode}"), "sleep 1000");
        let o = bed.isula(&format!("run --rm --ipc container:dd {IMAGE} true"));
        assert_ne!(o.code, 0, "{mode}: {}", o.show());
        contains(&o.err, "non-shareable IPC");
        bed.isula("rm -f dd").ok();
    }
    // The user's own mount comes first.
    assert_eq!(bed.run("--ipc container:aa --tmpfs /dev/shm", "ls /dev/shm"), "");
}

fn network_files_are_those_of_the_network(bed: &mut Bed) {
    bed.start();
    let show = "sh -c 'hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf'";
    bed.run_detached("aa", "--hostname one --add-host db:10.0.0.1 --dns 9.9.9.9", "sleep 1000");
    bed.run_detached("bb", "--net container:aa", "sleep 1000");
    let want = bed.isula(&format!("exec aa {show}")).ok();
    contains(&want, "one\none\n");
    contains(&want, "10.0.0.1\tdb\n");
    assert_eq!(bed.run("--net container:bb", show), want);
    bed.run_detached("cc", "--net container:bb", "sleep 1000");
    for at in ["/HostsPath", "/HostnamePath", "/ResolvConfPath"] {
        assert_eq!(bed.inspect("cc", at), bed.inspect("aa", at), "{at}");
    }
    // They are the same files, not copies.
    bed.isula("exec cc sh -c 'echo 10.0.0.2 new >> /etc/hosts'").ok();
    contains(&bed.isula("exec aa cat /etc/hosts").ok(), "10.0.0.2 new");
    // The network goes on without the one that made it; what then joins has files of its own.
    bed.isula("rm -f aa").ok();
    contains(&bed.run("--net container:bb", show), "127.0.0.1\tlocalhost\n");
    for (option, part) in [
        ("--dns 9.9.9.9", "dns and the network mode"),
        ("--dns-search lan", "dns and the network mode"),
        ("--dns-opt ndots:1", "dns and the network mode"),
        ("--add-host db:10.0.0.1", "custom host-to-IP mapping and the network mode"),
        ("--hostname two", "hostname and the network mode"),
    ] {
        let o = bed.isula(&format!("create --net container:bb {option} {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, part);
    }
}

fn network_files_that_were_changed_stay(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "--hostname one", "sleep 1000");
    let path = |at: &str| PathBuf::from(bed.inspect("aa", at).as_str().unwrap());
    let (hosts, name) = (path("/HostsPath"), path("/HostnamePath"));
    bed.isula("exec aa sh -c 'echo 10.0.0.2 new >> /etc/hosts'").ok();
    let edited = fs::read_to_string(&hosts).unwrap();
    let times = || fs::metadata(&name).map(|m| (m.mtime(), m.ctime(), m.ctime_nsec())).unwrap();
    let before = times();
    bed.isula("restart -t 0 aa").ok();
    assert_eq!(bed.isula("exec aa tail -n 1 /etc/hosts").ok(), "10.0.0.2 new");
    assert_eq!(fs::read_to_string(&hosts).unwrap(), edited);
    assert_eq!(times(), before, "written again");
    // What nobody has changed is made anew where it is lost.
    bed.isula("stop -t 0 aa").ok();
    fs::remove_file(&hosts).unwrap();
    bed.isula("start aa").ok();
    contains(&bed.isula("exec aa cat /etc/hosts").ok(), "127.0.0.1\tone");
}

fn network_files_of_a_stopped_container(bed: &mut Bed) {
    requires!(image_tools);
    bed.start();
    let mine = bed.dir.join("mine");
    write(&mine, "10.0.0.7 mine\n");
    bed.isula(&format!("create --name aa --hostname one {IMAGE} payload ready 1000")).ok();
    // Before the first start too.
    bed.isula(&format!("cp {} aa:/etc/hosts", mine.display())).ok();
    assert_eq!(inside(bed, "aa", "/etc/hosts"), "10.0.0.7 mine\n");
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /etc/hosts /etc/hostname").ok(), "10.0.0.7 mine\none");
    bed.isula("exec aa sh -c 'echo nameserver 9.9.9.9 > /etc/resolv.conf'").ok();
    stop(bed, "aa");
    assert_eq!(inside(bed, "aa", "/etc/hosts"), "10.0.0.7 mine\n");
    assert_eq!(inside(bed, "aa", "/etc/resolv.conf"), "nameserver 9.9.9.9\n");
    write(&mine, "10.0.0.8 later\n");
    bed.isula(&format!("cp {} aa:/etc/hosts", mine.display())).ok();
    bed.isula("start aa").ok();
    assert_eq!(bed.isula("exec aa cat /etc/hosts /etc/resolv.conf").ok(), "10.0.0.8 later\nnameserver 9.9.9.9");
    // Those of the container whose network is shared.
    bed.run_detached("bb", "--net container:aa", "payload ready 1000");
    stop(bed, "bb");
    assert_eq!(inside(bed, "bb", "/etc/hosts"), "10.0.0.8 later\n");
    // The request's own mount comes first.
    let options = format!("-v {}:/etc/hosts", mine.display());
    bed.isula(&format!("create --name cc {options} {IMAGE} true")).ok();
    assert_eq!(inside(bed, "cc", "/etc/hosts"), "10.0.0.8 later\n");
}

fn namespace_of_a_stopped_container_is_refused(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    let o = bed.isula(&format!("run --rm --net container:aa {IMAGE} true"));
    assert_ne!(o.code, 0);
    contains(&o.err.to_lowercase(), "non running container");
    assert_ne!(bed.isula(&format!("run --rm --net container:nosuch {IMAGE} true")).code, 0);
}

fn user_namespace_of_the_host_is_accepted(bed: &mut Bed) {
    bed.start();
    contains(
        &bed.run("--userns host", "payload namespaces"),
        &fs::read_link("/proc/self/ns/user").unwrap().display().to_string(),
    );
}

fn first_process_is_alone(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("", "sh -c 'echo $$'"), "1");
    let pids = bed.run("", "sh -c 'echo /proc/[0-9]*'");
    assert_eq!(pids, "/proc/1");
}

fn hostname_and_hosts(bed: &mut Bed) {
    bed.start();
    let id = bed.isula(&format!("create --name aa {IMAGE} sh -c 'hostname; echo $HOSTNAME; cat /etc/hostname'")).ok();
    let short = &id[..12];
    assert_eq!(bed.isula("start -a aa").ok(), format!("{short}\n{short}\n{short}"));
    assert_eq!(bed.run("--hostname some.name", "sh -c 'hostname; cat /etc/hostname'"), "some.name\nsome.name");
    let hosts = bed.run("--hostname some", "cat /etc/hosts");
    contains(&hosts, "localhost");
    contains(&hosts, "some");
    bed.run("", "cat /etc/resolv.conf");
}

fn root_is_the_images_and_writable(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("", "cat /etc/marker"), "inside");
    assert_eq!(
        bed.run("", "sh -c 'echo x > /etc/marker; cat /etc/marker; mv /etc/passwd /etc/p; ls /etc/p'"),
        "x\n/etc/p"
    );
    assert_eq!(bed.run("", "readlink /etc/mtab"), "/proc/mounts");
    // In a directory that still looks like the image's, and without having copied it into the container's layer.
    assert_eq!(bed.run("", "stat -c '%a %u %g %Y' /etc"), "755 0 0 1700000000");
    let id = bed.isula(&format!("run -d --name aa {IMAGE} sleep 1000")).ok();
    let upper = bed.graph().join("storage/overlay").join(&id).join("diff");
    let names: Vec<_> = fs::read_dir(&upper).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(names.is_empty(), "{names:?}");
    // An image's own stays.
    let archive = bed.dir.join("own.tar");
    let mut tar = rootfs::Archive::create(&archive);
    tar.standard();
    tar.file("etc/mtab", 0o644, "own\n");
    tar.finish();
    bed.isula(&format!("import {} own", archive.display())).ok();
    assert_eq!(bed.isula("run --rm own cat /etc/mtab /etc/marker").ok(), "own\ninside");
    assert_eq!(bed.run("--read-only", "readlink /etc/mtab"), "/proc/mounts");
}

fn writes_stay_in_the_container(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("run --name aa {IMAGE} sh -c 'echo changed > /etc/marker; rm /etc/group'")).exits(0);
    assert_eq!(bed.run("", "sh -c 'cat /etc/marker; ls /etc/group'"), "inside\n/etc/group");
}

fn hosts_mount_table_stays_as_it_was(bed: &mut Bed) {
    bed.start();
    let before = leaks::mounts();
    bed.run_detached("aa", "-v /etc:/host:ro --tmpfs /scratch", "payload ready 1000");
    bed.await_log("aa", "ready");
    let new: Vec<String> = leaks::mounts().difference(&before).cloned().collect();
    // The shared memory that other containers may join is the one exception there can be.
    assert!(new.iter().all(|m| m.contains("/shm ")), "{new:?}");
}

/// Mount points inside, with file system type and options.
fn inner_mounts(bed: &Bed, options: &str) -> Vec<(String, String, String)> {
    let text = bed.run(options, "payload mounts");
    let mounts = text.lines().map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let dash = fields.iter().position(|f| *f == "-").expect("a separator");
        (fields[4].to_string(), fields[dash + 1].to_string(), fields[5].to_string())
    });
    mounts.collect()
}

fn mounts_are_the_documented_ones(bed: &mut Bed) {
    bed.start();
    let mounts = inner_mounts(bed, "");
    let find =
        |path: &str| mounts.iter().find(|(p, _, _)| p == path).unwrap_or_else(|| panic!("no {path} in {mounts:?}"));
    for (path, kind, options) in [
        ("/", "overlay", "rw"),
        ("/proc", "proc", "nosuid,nodev,noexec"),
        ("/dev", "tmpfs", "nosuid"),
        ("/dev/pts", "devpts", "nosuid,noexec"),
        ("/dev/shm", "tmpfs", "nosuid,nodev,noexec"),
        ("/dev/mqueue", "mqueue", "nosuid,nodev,noexec"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
    ] {
        let mount = find(path);
        assert_eq!(mount.1, kind, "{mount:?}");
        for option in options.split(',') {
            assert!(mount.2.split(',').any(|o| o == option), "{path} without {option}: {mount:?}");
        }
    }
    for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        find(path);
    }
    // Nothing of the host's.
    assert!(mounts.iter().all(|(path, _, _)| !path.contains("oldroot")), "{mounts:?}");
    let directory = bed.dir.display().to_string();
    assert!(mounts.iter().all(|(path, _, _)| !path.starts_with(&directory)), "{mounts:?}");
}

fn devices_are_the_documented_ones(bed: &mut Bed) {
    bed.start();
    let names = bed.run("", "payload list /dev");
    for name in [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero",
    ] {
        assert!(names.lines().any(|l| l == name), "no {name} in {names}");
    }
    assert!(
        names.lines().all(|n| !n.starts_with("sd") && !n.starts_with("vd") && n != "mem" && n != "kmsg"),
        "{names}"
    );
    contains(&bed.run("", "payload stat /dev/null"), "mode=020666 uid=0 gid=0 size=0 rdev=1:3");
    contains(&bed.run("", "payload stat /dev/tty"), "rdev=5:0");
    contains(&bed.run("-t", "payload list /dev"), "console");
    bed.run("", "sh -c 'echo x > /dev/null; head -c 8 /dev/urandom > /dev/zero; exec 3</dev/ptmx'");
}

fn descriptors_are_the_three(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for text in [
        bed.run("", "payload fds"),
        bed.run("-t", "payload fds"),
        bed.isula_with(&format!("run --rm -i {IMAGE} payload fds"), b"").ok(),
        bed.isula("exec aa payload fds").ok(),
        bed.isula("exec -i aa payload fds").ok(),
    ] {
        let numbers: Vec<&str> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
        assert_eq!(numbers, ["0", "1", "2"], "{text}");
    }
}

fn environment_is_the_containers_own(bed: &mut Bed) {
    bed.start();
    let file = bed.dir.join("env");
    fs::write(&file, "# comment\nFILE=1\nBOTH=file\n").unwrap();
    let text =
        bed.run(&format!("--env-file {} -e BOTH=flag -e EMPTY= -eGLUED=1 --env=LONG=1", file.display()), "payload env");
    let mut names: Vec<&str> = text.lines().map(|l| l.split('=').next().unwrap()).collect();
    names.sort();
    names.dedup();
    let expected = ["BOTH", "EMPTY", "FILE", "GLUED", "HOME", "HOSTNAME", "LONG", "PATH"];
    let names: Vec<&str> = names.into_iter().filter(|n| *n != "TERM").collect();
    assert_eq!(names, expected, "{text}");
    contains(&text, "BOTH=flag");
    contains(&text, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    contains(&bed.run("-t", "payload env"), "TERM=xterm");
}

fn network_has_only_loopback(bed: &mut Bed) {
    bed.start();
    for options in ["", "--net none"] {
        let text = bed.run(options, "sh -c 'ls /sys/class/net; ip addr show lo'");
        assert_eq!(text.lines().next(), Some("lo"), "{text}");
        contains(&text, "127.0.0.1");
        contains(&text, "UP");
    }
}

fn system_file_systems_are_read_only(bed: &mut Bed) {
    requires!(root);
    bed.start();
    for path in [
        "/proc/sys/kernel/domainname",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_seqnum",
        "/proc/irq/default_smp_affinity",
    ] {
        let text = bed.isula(&format!("run --rm {IMAGE} payload open-rw {path}")).exits(1);
        assert!(["EROFS", "EACCES", "ENOENT", "EPERM"].contains(&text.as_str()), "{path}: {text}");
    }
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        assert_eq!(bed.run("", &format!("sh -c 'cat {path} 2>/dev/null | wc -c'")).trim(), "0", "{path}");
    }
    assert_eq!(bed.run("", "sh -c 'ls -A /sys/firmware | wc -l'").trim(), "0");
}

/// Of the host's its root could change mode and owner.
fn the_null_device_is_the_containers_own(bed: &mut Bed) {
    bed.start();
    let host = fs::metadata("/dev/null").unwrap().dev().to_string();
    let all = "for f in /dev/null /proc/self/fd/0 /proc/keys; do stat -L -c %d $f; done";
    let check = |text: &str| {
        let devices: Vec<&str> = text.split_whitespace().collect();
        assert!(devices.len() > 1 && devices.iter().all(|&d| d != host), "{devices:?}, the host's is {host}");
    };
    check(&bed.run("", &format!("sh -c '{all}'")));
    check(&bed.run("-u user", &format!("sh -c '{all}'")));
    bed.run_detached("aa", "", "payload ready 1000");
    // Nobody's, and the client's own.
    for stdin in [Stdio::piped(), Stdio::null()] {
        let mut exec = bed.applet("isula");
        let output = exec.args(["exec", "-i", "aa", "sh", "-c", all]).stdin(stdin).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        // A pipe has a device of its own, which is not this one.
        check(&text);
    }
    check(&bed.isula(&format!("exec aa sh -c '{all}'")).ok());
    bed.isula(
        "exec -d aa sh -c 'for n in 0 1 2; do stat -L -c %d /proc/$$/fd/$n; done > /tmp/all; mv /tmp/all /tmp/fds'",
    )
    .ok();
    eventually("it ran", || bed.isula("exec aa cat /tmp/fds").code == 0);
    check(&bed.isula("exec aa cat /tmp/fds").ok());
}

fn dev_shm_has_its_size(bed: &mut Bed) {
    bed.start();
    let size = |options: &str| bed.run(options, "sh -c 'df -k /dev/shm | tail -n 1'");
    contains(&size(""), "65536");
    contains(&size("--shm-size 8m"), "8192");
    assert_eq!(bed.isula(&format!("run --rm --shm-size 2m {IMAGE} payload fill /dev/shm/x 3")).exits(1), "ENOSPC");
}
