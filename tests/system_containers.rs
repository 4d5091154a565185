//! Containers in which an init boots, and what comes with them.

use crate::support::bed::Bed;
use crate::support::{IMAGE, contains, eventually, leaks, rootfs};
use crate::tests;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

tests![
    an_init_boots_and_stops,
    an_init_reboots_and_powers_off,
    network_files_are_written_inside,
    one_name_of_a_container_is_left_in_a_root,
    environment_goes_to_a_file,
    kernel_parameters_are_opened,
    other_parameters_of_the_host_are_not,
    ids_of_two_maps_do_not_meet,
    a_user_namespace_of_its_own,
    a_channel_is_shared_with_the_host,
    channels_that_are_refused,
    what_goes_with_system_containers_only,
];

/// A root with an init whose table says what has happened.
fn root(bed: &Bed) -> PathBuf {
    let root = bed.dir.join("machine");
    fs::create_dir_all(&root).unwrap();
    let status = Command::new("tar").arg("-xf").arg(rootfs::archive()).arg("-C").arg(&root).status().unwrap();
    assert!(status.success());
    for (name, text) in [
        ("boot", "mount -t tmpfs none /srv && echo booted by $container >> /log"),
        ("work", "while true; do sleep 1000; done"),
        ("down", "echo down >> /log"),
    ] {
        fs::write(root.join("etc").join(name), text).unwrap();
    }
    let table = "::sysinit:sh /etc/boot\n::respawn:sh /etc/work\n::shutdown:sh /etc/down\n";
    fs::write(root.join("etc/inittab"), table).unwrap();
    root
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("log")).unwrap_or_default()
}

const BOOTED: &str = "booted by isula\n";

#[track_caller]
fn boot(bed: &Bed, root: &Path, name: &str, options: &str) -> String {
    let line =
        format!("run -d --name {name} --system-container --external-rootfs {} {options} none init", root.display());
    let before = log(root);
    let id = bed.isula(&line).ok();
    eventually("it boots", || log(root) == format!("{before}{BOOTED}"));
    id
}

fn an_init_boots_and_stops(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    boot(bed, &root, "aa", "-m 64m");
    assert_eq!(bed.isula("exec aa cat /proc/1/comm").ok(), "init");
    assert_eq!(bed.inspect("aa", "/HostConfig/SystemContainer"), true);
    let mounts = bed.isula("exec aa cat /proc/mounts").ok();
    for part in [" /run tmpfs ", " /run/lock tmpfs ", " /tmp tmpfs ", " /srv tmpfs "] {
        contains(&mounts, part);
    }
    let line = |at: &str| mounts.lines().find(|l| l.contains(at)).unwrap_or_default().to_owned();
    contains(&line(" /dev tmpfs "), "size=32768k");
    contains(&line(" /run tmpfs "), "size=32768k");
    contains(&line(" /proc/sys "), "ro,");
    bed.restart();
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    // Its init ends all that runs and then itself; 129 is how a reboot ends a container (reboot(2)).
    bed.isula("stop aa").ok();
    assert_eq!(log(&root), format!("{BOOTED}down\n"));
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 129);
    bed.isula("start aa").ok();
    eventually("it boots again", || log(&root) == format!("{BOOTED}down\n{BOOTED}"));
    bed.isula("rm -f aa").ok();
    assert!(root.join("bin/busybox").exists(), "the root stays");
}

fn an_init_reboots_and_powers_off(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    boot(bed, &root, "aa", "--restart on-reboot");
    // Its init may end the command before that ends by itself.
    bed.isula("exec aa reboot");
    eventually("it boots again", || log(&root) == format!("{BOOTED}down\n{BOOTED}"));
    eventually("it is counted", || bed.inspect("aa", "/RestartCount") == 1);
    bed.isula("exec aa poweroff");
    bed.await_state("aa", "exited");
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 130);
    assert_eq!(log(&root), format!("{BOOTED}down\n{BOOTED}down\n"));
}

fn network_files_are_written_inside(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    let outside = bed.dir.join("untouched");
    fs::write(&outside, "mine\n").unwrap();
    fs::write(root.join("etc/hosts"), "10.0.0.9 own\n").unwrap();
    symlink(&outside, root.join("etc/hostname")).unwrap();
    boot(bed, &root, "aa", "--hostname machine --add-host db:10.0.0.1 --dns 9.9.9.9");
    let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).unwrap();
    let hosts = "10.0.0.9 own\n127.0.0.1\tmachine\n10.0.0.1\tdb\n";
    assert_eq!((read("hostname").as_str(), read("hosts").as_str()), ("machine\n", hosts));
    contains(&read("resolv.conf"), "nameserver 9.9.9.9\n");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
    assert_eq!(bed.isula("exec aa hostname").ok(), "machine");
    // Nothing is mounted over them, so programs inside can replace them.
    bed.isula("exec aa sh -c 'echo new > /etc/h; mv /etc/h /etc/hosts'").ok();
    bed.isula("restart aa").ok();
    assert_eq!(read("hosts"), "new\n127.0.0.1\tmachine\n10.0.0.1\tdb\n");
    // One that shares its network sees what it has, and nothing that a link in it leads to.
    eventually("it boots again", || log(&root).matches(BOOTED).count() == 2);
    let show = "sh -c 'hostname; cat /etc/hostname /etc/hosts'";
    let want = "machine\nmachine\nnew\n127.0.0.1\tmachine\n10.0.0.1\tdb";
    assert_eq!(bed.run("--net container:aa", show), want);
    bed.run_detached("hop", "--net container:aa", "sleep 1000");
    assert_eq!(bed.run("--net container:hop", show), want);
    fs::remove_file(root.join("etc/hosts")).unwrap();
    symlink(&outside, root.join("etc/hosts")).unwrap();
    let hosts = bed.run("--net container:aa", "cat /etc/hosts");
    assert!(!hosts.contains("mine") && hosts.contains("localhost"), "{hosts}");
}

fn one_name_of_a_container_is_left_in_a_root(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    fs::write(root.join("etc/hosts"), "10.0.0.9 own\n").unwrap();
    for name in ["aa", "bb"] {
        let id = boot(bed, &root, name, "");
        let want = format!("10.0.0.9 own\n127.0.0.1\t{}\n", &id[..12]);
        assert_eq!(fs::read_to_string(root.join("etc/hosts")).unwrap(), want);
        bed.isula(&format!("rm -f {name}")).ok();
    }
}

fn environment_goes_to_a_file(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    fs::write(root.join("etc/environment"), "# note\nA=old\nZ=0\n").unwrap();
    boot(bed, &root, "aa", "-e A=new -e 'B=two words' --env-target-file /etc/environment");
    let want = "# note\nA=new\nZ=0\nB=two words\n";
    assert_eq!(fs::read_to_string(root.join("etc/environment")).unwrap(), want);
    bed.isula("restart aa").ok();
    assert_eq!(fs::read_to_string(root.join("etc/environment")).unwrap(), want);
    // Both write into one log: the next may begin when this one has.
    eventually("it boots again", || log(&root).matches(BOOTED).count() == 2);
    // Links lead nowhere.
    let outside = bed.dir.join("untouched");
    fs::write(&outside, "mine\n").unwrap();
    symlink(&outside, root.join("etc/link")).unwrap();
    boot(bed, &root, "bb", "-e A=b --env-target-file /etc/link");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
    let o = bed.isula(&format!(
        "run -d --system-container --external-rootfs {} -e A=b --env-target-file /etc none init",
        root.display()
    ));
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err, "env target file \"/etc\"");
}

fn kernel_parameters_are_opened(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    let write = |name: &str, file: &str, value: &str| {
        bed.isula(&format!("exec {name} sh -c 'echo {value} > /proc/sys/{file} && cat /proc/sys/{file}'"))
    };
    let outside = |file: &str| fs::read_to_string(format!("/proc/sys/{file}")).unwrap();
    let before = (outside("kernel/msgmax"), outside("net/ipv4/ip_forward"));
    boot(bed, &root, "none", "");
    for file in ["net/ipv4/ip_forward", "kernel/msgmax", "vm/swappiness"] {
        contains(&write("none", file, "1").err, "Read-only file system");
    }
    boot(bed, &root, "net", "--ns-change-opt net");
    assert_eq!(write("net", "net/ipv4/ip_forward", "1").ok(), "1");
    contains(&write("net", "kernel/msgmax", "4000").err, "Read-only file system");
    boot(bed, &root, "both", "--ns-change-opt net,ipc");
    assert_eq!(write("both", "net/ipv4/ip_forward", "1").ok(), "1");
    assert_eq!(write("both", "kernel/msgmax", "4000").ok(), "4000");
    for file in ["vm/swappiness", "kernel/panic", "kernel/core_pattern"] {
        contains(&write("both", file, "1").err, "Read-only file system");
    }
    assert_eq!((outside("kernel/msgmax"), outside("net/ipv4/ip_forward")), before, "the host's are its own");
    let o = bed.isula(&format!(
        "create --system-container --external-rootfs {} --ns-change-opt net --net host none init",
        root.display()
    ));
    o.fails(1, "--ns-change-opt net is not allowed in the host's net namespace");
    let o = bed.isula(&format!(
        "create --system-container --external-rootfs {} --ns-change-opt uts none init",
        root.display()
    ));
    o.fails(125, "want net, ipc or net,ipc");
}

/// Not even for somebody who asks for the file itself.
fn other_parameters_of_the_host_are_not(bed: &mut Bed) {
    bed.start();
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sys", "/proc/sys/kernel"] {
        let o = bed.isula(&format!("run --rm -v {path}:{path} {IMAGE} true"));
        assert_ne!(o.code, 0, "{path}: {}", o.show());
    }
    // The host's, by way of another container.
    bed.run_detached("host", "--net host", "payload ready 1000");
    let root = root(bed);
    let line =
        |options: &str| format!("create --system-container --external-rootfs {} {options} none init", root.display());
    bed.isula(&line("--net container:host --ns-change-opt net")).fails(1, "is not allowed in the host's net namespace");
    bed.isula(&line("--net container:host --ns-change-opt ipc")).ok();
}

fn ids_of_two_maps_do_not_meet(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    // What is bound into the tree is not a part of it.
    let outside = bed.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    fs::create_dir(root.join("bound")).unwrap();
    nix::mount::mount(Some(&outside), &root.join("bound"), None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)
        .unwrap();
    boot(bed, &root, "aa", "--user-remap 300000:300000:65536");
    assert_eq!((outside.metadata().unwrap().uid(), outside.join("file").metadata().unwrap().uid()), (0, 0));
    nix::mount::umount2(&root.join("bound"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    // Nor does another container join who has other ids.
    let second = bed.dir.join("second");
    fs::create_dir(&second).unwrap();
    let line = format!(
        "create --system-container --external-rootfs {} --user-remap 500000:500000:65536 --net container:aa none init",
        second.display()
    );
    bed.isula(&line).fails(1, "a user namespace of other ids");
    assert_eq!(second.metadata().unwrap().uid(), 0, "nothing was given away for it");
}

fn a_user_namespace_of_its_own(bed: &mut Bed) {
    bed.start();
    let root = root(bed);
    let owner = |name: &str| {
        let metadata = root.join(name).symlink_metadata().unwrap();
        (metadata.uid(), metadata.gid())
    };
    boot(bed, &root, "aa", "--user-remap 300000:400000:65536");
    assert_eq!(bed.isula("exec aa id -u").ok(), "0");
    let map = bed.isula("exec aa cat /proc/self/uid_map").ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "300000", "65536"]);
    for name in ["", "bin/busybox", "log", "etc/hostname"] {
        assert_eq!(owner(name), (300_000, 400_000), "{name}");
    }
    assert_eq!(
        bed.isula("exec aa sh -c 'touch /own && chown 5:6 /own && stat -c %u:%g /own /etc/passwd'").ok(),
        "5:6\n0:0"
    );
    assert_eq!(owner("own"), (300_005, 400_006));
    bed.isula("stop aa").ok();
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 129);
    bed.isula("start aa").ok();
    bed.isula("rm -f aa").ok();
    for (options, part) in [
        ("--user-remap x:1:1", "want UID:GID:LENGTH"),
        ("--user-remap 1:1", "want UID:GID:LENGTH"),
        ("--user-remap 0:0:5", "without the host's root"),
        ("--user-remap 1000:300000:65536", "must not be among those inside"),
        ("--user-remap 1:1:1 --privileged", "--user-remap and --privileged"),
        ("--user-remap 1:1:1 --userns host", "--user-remap and --userns=host"),
    ] {
        let line = format!("create --system-container --external-rootfs {} {options} none init", root.display());
        bed.isula(&line).fails(1, part);
    }
}

fn a_channel_is_shared_with_the_host(bed: &mut Bed) {
    bed.start();
    let host = bed.dir.join("channel");
    let options = format!("--host-channel {}:/channel:rw:1m", host.display());
    let loud = "sh -c 'echo from inside > /channel/in; echo ready; sleep 1000'";
    bed.run_detached("aa", &options, loud);
    bed.await_log("aa", "ready");
    assert_eq!(fs::read_to_string(host.join("in")).unwrap(), "from inside\n");
    fs::write(host.join("out"), "from outside\n").unwrap();
    assert_eq!(bed.isula("exec aa cat /channel/out").ok(), "from outside");
    assert_eq!(host.metadata().unwrap().mode() & 0o7777, 0o1777);
    let line = leaks::mounts().into_iter().find(|m| m.contains("/channel")).expect("a mount");
    for part in ["nosuid", "nodev", "noexec", "size=1024k", " tmpfs "] {
        contains(&line, part);
    }
    let full = bed.isula("exec aa sh -c 'dd if=/dev/zero of=/channel/big bs=1M count=2'");
    assert_ne!(full.code, 0, "{}", full.show());
    assert_eq!(bed.inspect("aa", "/HostConfig/HostChannel/Size"), 1 << 20);
    // What is in it outlives a run, but not a reboot.
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(fs::read_to_string(host.join("out")).unwrap(), "from outside\n");
    nix::mount::umount(&host).unwrap();
    bed.kill();
    bed.restart();
    bed.isula("start aa").ok();
    eventually("it runs again", || host.join("in").exists());
    assert!(!host.join("out").exists());
    // Another container's is its own, and one may only read.
    let second = bed.dir.join("second");
    bed.run_detached("bb", &format!("--host-channel {}:/channel:ro", second.display()), "payload ready 1000");
    contains(&bed.isula("exec bb touch /channel/x").err, "Read-only file system");
    fs::write(second.join("x"), "").unwrap();
    bed.isula("exec bb cat /channel/x").ok();
    bed.isula("rm -f aa bb").ok();
    assert!(!host.exists() && !second.exists(), "the directories are left");
    assert!(!leaks::mounts().iter().any(|m| m.contains("/channel")), "a mount is left");
    // One that goes by itself.
    bed.run(&format!("--host-channel {}:/channel", host.display()), "touch /channel/x");
    eventually("it is gone", || !host.exists());
    // One that is somebody's stays so, also where a reboot has taken it away.
    bed.isula(&format!("create --name cc --host-channel {}:/channel {IMAGE} true", host.display())).ok();
    nix::mount::umount(&host).unwrap();
    fs::remove_dir(&host).unwrap();
    let o = bed.isula(&format!("create --host-channel {}:/channel {IMAGE} true", host.display()));
    o.fails(1, "is that of container");
    assert!(!host.exists());
    bed.isula("start cc").ok();
    bed.await_state("cc", "exited");
    bed.isula("rm cc").ok();
    assert!(!host.exists());
    // It wins over what an image only declares.
    let body = serde_json::json!({"Image": IMAGE, "Cmd": ["true"], "Volumes": {"/channel": {}},
        "HostConfig": {"HostChannel": {"PathOnHost": host, "PathInContainer": "/channel"}}});
    assert_eq!(bed.post("/v1.44/containers/create?name=dd", &body).status, 201);
    assert_eq!(bed.inspect("dd", "/Mounts").as_array().unwrap().len(), 0);
    bed.isula("rm dd").ok();
    // Nothing is left of a creation that fails, whenever it does.
    let before = fs::read_dir(bed.graph().join("engines/lcr")).unwrap().count();
    let nowhere = bed.dir.join("nowhere/below");
    bed.isula(&format!("create --host-channel {}:/channel -v /own {IMAGE} true", nowhere.display()))
        .fails(1, "no such file or directory");
    assert_eq!(fs::read_dir(bed.graph().join("engines/lcr")).unwrap().count(), before);
    assert_eq!(bed.isula("volume ls -q").ok(), "");
}

fn channels_that_are_refused(bed: &mut Bed) {
    bed.start();
    let taken = bed.dir.join("taken");
    fs::create_dir(&taken).unwrap();
    let free = bed.dir.join("free");
    let (taken, free) = (taken.display().to_string(), free.display().to_string());
    let below = format!("{free}/below");
    for (channel, code, part) in [
        (format!("{taken}:/c"), 1, "exists already, and must not"),
        (format!("{below}:/c"), 1, "no such file or directory"),
        (format!("{free}:/c:rw:4095"), 1, "4095 bytes: want 4096 to"),
        (format!("{free}:/c:rw:9999t"), 1, "half of the memory"),
        (format!("{free}:/"), 1, "and not /"),
        (format!("{free}:/c:x"), 125, "want ro or rw"),
        (format!("{free}:c"), 125, "want two absolute paths"),
        (free.clone(), 125, "want HOST:CONTAINER"),
    ] {
        bed.isula(&format!("create --host-channel {channel} {IMAGE} true")).fails(code, part);
    }
    bed.isula(&format!("create --host-channel {free}:/c --tmpfs /c {IMAGE} true"))
        .fails(1, "Duplicate mount point: /c");
    // What fails later takes it along.
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    assert_ne!(bed.isula(&format!("create --name aa --host-channel {free}:/c {IMAGE} true")).code, 0);
    assert!(!Path::new(&free).exists(), "the directory is left");
    assert!(Path::new(&taken).is_dir());
    assert_eq!(bed.isula("ps -aq").ok().lines().count(), 1);
}

fn what_goes_with_system_containers_only(bed: &mut Bed) {
    bed.start();
    for (options, part) in [
        ("--system-container", "needs an external root file system"),
        ("--user-remap 1:1:1", "--user-remap is for system containers"),
        ("--env-target-file /e", "--env-target-file is for system containers"),
        ("--ns-change-opt net", "--ns-change-opt is for system containers"),
    ] {
        bed.isula(&format!("create {options} {IMAGE} true")).fails(1, part);
    }
    let relative = format!("create --system-container --external-rootfs {} ", bed.dir.display());
    bed.isula(&format!("{relative} --env-target-file etc/e none init")).fails(1, "want the absolute path of a file");
    let o = bed.isula(&format!("{relative} -e 'A=b\nc' --env-target-file /e none init"));
    o.fails(1, "variable \"A\" has a line break");
    assert_eq!(bed.isula("ps -aq").ok(), "", "a refused container is left");
}
