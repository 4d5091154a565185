//! Capabilities, seccomp, privileges, and the known ways out of a container.

use crate::support::bed::{Bed, binary, json};
use crate::support::{IMAGE, PATIENCE, contains, eventually, old_kernel, rootfs, sys};
use crate::{requires, tests};
use serde_json::Value;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

tests![
    capabilities_are_the_default_set,
    capabilities_added_and_dropped,
    capabilities_of_a_user_are_none,
    privileged_has_everything,
    system_calls_are_filtered,
    filter_can_be_switched_off_or_replaced,
    filter_that_is_no_filter_is_refused,
    agent_answers_for_the_kernel,
    missing_agent_is_told,
    no_new_privileges,
    read_only_root,
    devices_of_the_host_stay_closed,
    executable_cannot_be_overwritten,
    working_directory_cannot_lead_outside,
    links_of_the_image_do_not_lead_outside,
    link_as_a_mount_target_stays_inside,
    link_in_place_of_shared_memory_stays_inside,
    image_files_replaced_by_links_stay_inside,
    sysctls_are_the_allowed_ones,
];

/// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE
/// SETFCAP.
const DEFAULT: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";

fn capabilities(bed: &Bed, options: &str) -> String {
    bed.run(options, "payload status CapInh CapPrm CapEff CapBnd CapAmb").replace('\n', " ")
}

fn capabilities_are_the_default_set(bed: &mut Bed) {
    bed.start();
    let expected = format!("CapInh={NONE} CapPrm={DEFAULT} CapEff={DEFAULT} CapBnd={DEFAULT} CapAmb={NONE}");
    assert_eq!(capabilities(bed, ""), expected);
}

fn capabilities_added_and_dropped(bed: &mut Bed) {
    bed.start();
    contains(&capabilities(bed, "--cap-drop all"), &format!("CapEff={NONE} CapBnd={NONE}"));
    contains(&capabilities(bed, "--cap-drop all --cap-add CAP_CHOWN"), "CapBnd=0000000000000001");
    contains(&capabilities(bed, "--cap-add SYS_TIME"), "CapEff=00000000aa0425fb");
    contains(&capabilities(bed, "--cap-drop CHOWN --cap-drop kill"), "CapEff=00000000a80425da");
    let all = capabilities(bed, "--cap-add all");
    assert!(!all.contains(DEFAULT), "{all}");
    bed.isula(&format!("run --rm --cap-add NOSUCH {IMAGE} true")).fails(125, "Unknown capability to add: 'NOSUCH'");
    bed.isula(&format!("run --rm --cap-drop NOSUCH {IMAGE} true")).fails(125, "NOSUCH");
}

fn capabilities_of_a_user_are_none(bed: &mut Bed) {
    bed.start();
    contains(&capabilities(bed, "-u user"), &format!("CapPrm={NONE} CapEff={NONE} CapBnd={DEFAULT}"));
}

fn privileged_has_everything(bed: &mut Bed) {
    bed.start();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap().trim();
    contains(&capabilities(bed, "--privileged"), &format!("CapEff={bounding}"));
    assert_eq!(bed.run("--privileged", "payload status Seccomp"), old_kernel::unfiltered());
    bed.run("--privileged", "payload mount-tmpfs /tmp");
    bed.run("--privileged", "sh -c 'test -w /proc/sys/kernel/domainname'");
    let host: Vec<_> = fs::read_dir("/dev").unwrap().flatten().map(|e| e.file_name()).collect();
    if host.iter().any(|n| n == "kmsg") {
        contains(&bed.run("--privileged", "payload list /dev"), "kmsg");
    }
}

fn system_calls_are_filtered(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("", "payload status Seccomp"), "Seccomp=2");
    let names = "mount umount unshare-user unshare-mount pivot_root keyctl add_key bpf reboot kexec_load init_module \
                 swapon settime open_by_handle_at userfaultfd";
    let text = bed.run("", &format!("payload syscalls {names}"));
    for line in text.lines() {
        assert!(line.ends_with(" EPERM"), "{line}");
    }
    assert_eq!(text.lines().count(), names.split_whitespace().count());
    assert_eq!(bed.run("", "payload syscalls chroot getpid raw-socket"), "chroot ok\ngetpid ok\nraw-socket ok");
    // A C library that does not know a newer call's refusal tries the older one only after ENOSYS.
    assert_eq!(bed.run("", "payload syscalls clone3"), "clone3 ENOSYS");
}

fn filter_can_be_switched_off_or_replaced(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("--security-opt seccomp=unconfined", "payload status Seccomp"), old_kernel::unfiltered());
    assert!(!bed.run("--security-opt seccomp=unconfined", "payload syscalls keyctl").contains("EPERM"));
    let profile = bed.dir.join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":
        ["SCMP_ARCH_X86","SCMP_ARCH_X32"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}],
        "syscalls":[{"names":["chroot","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    fs::write(&profile, text).unwrap();
    let options = format!("--security-opt seccomp={}", profile.display());
    assert_eq!(bed.run(&options, "payload syscalls chroot getpid"), "chroot ENOSYS\ngetpid ok");
}

fn filter_that_is_no_filter_is_refused(bed: &mut Bed) {
    bed.start();
    let profile = bed.dir.join("profile.json");
    for text in ["", "{", "[]", r#"{"defaultAction":"SCMP_ACT_NOSUCH"}"#] {
        fs::write(&profile, text).unwrap();
        let o = bed.isula(&format!("run --rm --security-opt seccomp={} {IMAGE} true", profile.display()));
        assert_eq!(o.code, 125, "profile {text:?}: {}", o.show());
    }
    assert_eq!(bed.isula(&format!("run --rm --security-opt seccomp=/nosuch {IMAGE} true")).code, 125);
    assert_eq!(bed.isula(&format!("run --rm --security-opt nosuch=1 {IMAGE} true")).code, 125);
}

/// A profile in docker's format that lets everything through but one call, which an agent answers.
pub fn asking_profile(bed: &Bed, call: &str, agent: Option<&Path>) -> String {
    let path = agent.map(|p| format!(r#""listenerPath":"{}","listenerMetadata":"for the agent","#, p.display()));
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW",{}"syscalls":[{{"names":["{call}"],"action":"SCMP_ACT_NOTIFY"}}]}}"#,
        path.unwrap_or_default()
    );
    let profile = bed.dir.join("asking.json");
    fs::write(&profile, text).unwrap();
    format!("--security-opt seccomp={}", profile.display())
}

/// An agent for one process: gives the container process state, and answers calls with `errno` as long as that lives.
pub fn agent(listener: UnixListener, errno: i32) -> thread::JoinHandle<Value> {
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let (state, filter) = sys::receive_with_descriptor(&stream);
        while sys::answer_notification(&filter, errno) {}
        json(&state)
    })
}

fn agent_answers_for_the_kernel(bed: &mut Bed) {
    bed.start();
    let path = bed.dir.join("agent.sock");
    let options = asking_profile(bed, "swapon", Some(&path));
    // For the first process and for further ones, as root and as somebody with no right to load a filter.
    for (options, unprivileged) in
        [(options.clone(), ""), (format!("{options} --security-opt no-new-privileges"), "-u 7")]
    {
        let listener = UnixListener::bind(&path).unwrap();
        let first = agent(listener.try_clone().unwrap(), libc::ENXIO);
        bed.run_detached("bb", &format!("-i {options} {unprivileged}"), "sh -c 'payload syscalls swapon; read x'");
        bed.await_log("bb", "swapon ENXIO");
        let second = agent(listener, libc::ENODEV);
        let pid = bed.container_pid("bb");
        assert_eq!(bed.isula("exec bb payload syscalls swapon getpid").ok(), "swapon ENODEV\ngetpid ok");
        let (id, state) = (bed.inspect("bb", "/Id"), second.join().unwrap());
        assert_eq!((&state["state"]["status"], &state["state"]["pid"]), (&"running".into(), &pid.into()), "{state}");
        assert_ne!(state["pid"], pid);
        bed.isula("rm -f bb").ok();
        let state = first.join().unwrap();
        assert_eq!((&state["pid"], &state["state"]["id"]), (&pid.into(), &id), "{state}");
        assert_eq!((&state["fds"], &state["metadata"]), (&serde_json::json!(["seccompFd"]), &"for the agent".into()));
        assert_eq!(state["state"]["status"], "created", "{state}");
        fs::remove_file(&path).unwrap();
    }
}

fn missing_agent_is_told(bed: &mut Bed) {
    bed.start();
    let options = asking_profile(bed, "swapon", None);
    let o = bed.isula(&format!("create {options} {IMAGE} true"));
    assert_eq!(o.code, 1, "{}", o.show());
    contains(&o.err, "SCMP_ACT_NOTIFY needs a 'listenerPath'");
    assert_eq!(bed.isula("ps -aq").ok(), "");
    let path = bed.dir.join("agent.sock");
    let options = asking_profile(bed, "swapon", Some(&path));
    let o = bed.isula(&format!("run --rm {options} {IMAGE} payload write /never x"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "agent.sock\") to the seccomp agent");
    // The call that hands the listener over cannot wait for it.
    let _listener = UnixListener::bind(&path).unwrap();
    let options = asking_profile(bed, "sendmsg", Some(&path));
    let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "sendmsg");
}

fn no_new_privileges(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("--security-opt no-new-privileges", "payload status NoNewPrivs"), "NoNewPrivs=1");
    assert_eq!(bed.run("", "payload status NoNewPrivs"), "NoNewPrivs=0");
}

fn read_only_root(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.isula(&format!("run --rm --read-only {IMAGE} payload write /file x")).exits(1), "EROFS");
    bed.run("--read-only --tmpfs /scratch", "payload write /scratch/file x");
    bed.run("--read-only", "payload write /dev/shm/file x");
}

fn devices_of_the_host_stay_closed(bed: &mut Bed) {
    requires!(cgroup_devices);
    bed.start();
    // Making a node is allowed, opening it is not: /dev/mem, and a disk.
    for (major, minor) in [(1, 1), (7, 0), (8, 0)] {
        bed.run("", &format!("payload mknod /node {major} {minor}"));
        let text =
            bed.isula(&format!("run --rm {IMAGE} sh -c 'payload mknod /node {major} {minor}; payload open-rw /node'"));
        assert_eq!(text.exits(1), "EPERM", "{major}:{minor}");
    }
    bed.run("", "sh -c 'payload mknod /node 1 3 && payload open-rw /node'");
    // A device that was asked for.
    assert_eq!(
        bed.run("--device /dev/null:/dev/mine", "sh -c 'echo x > /dev/mine; stat -c %F /dev/mine'"),
        "character special file"
    );
    let o = bed.isula(&format!("run --rm --device /dev/null:/dev/mine:r {IMAGE} true"));
    assert_eq!(o.code, 0, "{}", o.show());
    assert_eq!(bed.isula(&format!("run --rm --device /dev/nosuch {IMAGE} true")).code, 125);
}

fn executable_cannot_be_overwritten(bed: &mut Bed) {
    bed.start();
    let before = fs::read(binary()).unwrap();
    bed.run_detached("aa", "", "payload hunt-exe 1000");
    bed.await_log("aa", "hunting");
    for _ in 0..100 {
        bed.isula("exec aa true").ok();
    }
    // The way of the first attack: the command is the runtime itself.
    bed.isula("exec aa /proc/self/exe --version");
    bed.isula(&format!("run --rm {IMAGE} /proc/self/exe"));
    let log = bed.isula("logs aa").ok();
    assert!(!log.contains("opened"), "{log}");
    assert!(fs::read(binary()).unwrap() == before, "the executable was changed");
    // With the capability to see everything, it still cannot be written.
    let hunt = bed.spawn(&format!(
        "run --rm --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --name bb {IMAGE} payload hunt-exe 2"
    ));
    bed.await_log("bb", "hunting");
    for _ in 0..20 {
        bed.isula("exec bb true");
    }
    let o = hunt.finish(PATIENCE);
    assert!(!o.out.contains("opened"), "{}", o.show());
}

fn working_directory_cannot_lead_outside(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    for fd in 3..24 {
        for command in [
            format!("run --rm -w /proc/self/fd/{fd} {IMAGE} payload cwd-escapes"),
            format!("exec --workdir /proc/self/fd/{fd} a payload cwd-escapes"),
        ] {
            let o = bed.isula(&command);
            assert!(!o.out.contains("escaped"), "{}", o.show());
        }
    }
}

fn links_of_the_image_do_not_lead_outside(bed: &mut Bed) {
    bed.start();
    fs::write(bed.dir.join("host-file"), "host").unwrap();
    let path = format!("{}/host-file", bed.dir.display());
    for link in ["escape-absolute", "escape-up"] {
        let o = bed.isula(&format!("run --rm {IMAGE} cat /{link}{path}"));
        assert_ne!(o.code, 0, "{}", o.show());
        assert_eq!(bed.run(&format!("-w /{link}/etc"), "cat marker"), "inside");
    }
    assert_ne!(bed.isula(&format!("run --rm -w /escape-loop {IMAGE} true")).code, 0);
}

fn link_as_a_mount_target_stays_inside(bed: &mut Bed) {
    bed.start();
    let source = bed.dir.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "mounted\n").unwrap();
    for target in ["/escape-absolute/mnt-a", "/escape-up/mnt-b", "/escape-up/../../mnt-c"] {
        let last = target.rsplit('/').next().unwrap();
        let text = bed.run(&format!("-v {}:{target}", source.display()), &format!("cat /{last}/file"));
        assert_eq!(text, "mounted");
        assert!(!std::path::Path::new("/").join(last).exists(), "made on the host: /{last}");
    }
    assert_ne!(bed.isula(&format!("run --rm -v {}:/escape-loop/x {IMAGE} true", source.display())).code, 0);
}

fn link_in_place_of_shared_memory_stays_inside(bed: &mut Bed) {
    bed.start();
    let script = "umount /dev/shm && rmdir /dev/shm && ln -s / /dev/shm && echo ready && sleep 1000";
    bed.run_detached("aa", "--privileged", &format!("sh -c '{script}'"));
    bed.await_log("aa", "ready");
    // The root that the link means is that of its container.
    assert_eq!(bed.run("--ipc container:aa", "cat /dev/shm/etc/marker"), "inside");
}

/// Every file that the engine itself touches in the root, as a link to the outside.
fn image_files_replaced_by_links_stay_inside(bed: &mut Bed) {
    bed.start();
    let (outside, mut made) = (bed.dir.join("outside"), Vec::new());
    fs::create_dir(&outside).unwrap();
    let paths = [
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "etc/mtab",
        "etc/passwd",
        "etc/group",
        "dev",
        "proc",
        "sys",
        "tmp",
    ];
    for (n, path) in paths.iter().enumerate() {
        for (kind, target) in [
            ("absolute", outside.display().to_string()),
            ("up", format!("../../../../../../../..{}", outside.display())),
        ] {
            let name = format!("trap{n}{kind}");
            let archive = bed.dir.join(format!("{name}.tar"));
            let mut tar = rootfs::Archive::create(&archive);
            if let Some((parent, _)) = path.split_once('/') {
                tar.directory(parent);
            }
            tar.directory("bin");
            tar.program("bin/payload", &rootfs::payload());
            tar.link(path, &format!("{target}/{n}"));
            tar.finish();
            bed.isula(&format!("import {} {name}", archive.display())).ok();
            // It may run or be refused, but nothing may happen outside.
            let o = bed.isula(&format!("run --rm --name {name} {name} payload list /"));
            let left: Vec<_> = fs::read_dir(&outside).unwrap().flatten().collect();
            assert!(left.is_empty(), "{name} reached the outside: {left:?}\n{}", o.show());
            made.push(name);
        }
    }
    eventually("all are removed", || bed.isula("ps -aq").ok().is_empty());
    bed.isula(&format!("rmi {}", made.join(" "))).ok();
}

fn sysctls_are_the_allowed_ones(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(bed.run("--sysctl kernel.shmmni=1234", "cat /proc/sys/kernel/shmmni"), "1234");
    let limit = "/proc/sys/kernel/pid_max";
    if crate::support::old_kernel::is_at_least(6, 14) {
        let outside = std::fs::read_to_string(limit).unwrap();
        assert_eq!(bed.run("--sysctl kernel.pid_max=1000", &format!("cat {limit}")), "1000");
        assert_eq!(std::fs::read_to_string(limit).unwrap(), outside);
    } else {
        let o = bed.isula(&format!("create --sysctl kernel.pid_max=1000 {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, "before Linux 6.14");
    }
    for line in [
        "--sysctl kernel.panic=1",
        "--sysctl nosuch=1",
        "--sysctl net.ipv4.ip_forward",
        "--net host --sysctl net.ipv4.ip_forward=1",
        "--sysctl net/../../kernel/panic=1",
        "--sysctl net.nosuch=1",
        "--pid host --sysctl kernel.pid_max=1000",
    ] {
        let o = bed.isula(&format!("run --rm {line} {IMAGE} true"));
        assert_ne!(o.code, 0, "{}", o.show());
    }
}
