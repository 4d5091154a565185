//! Real containers, made from a busybox root. Each test runs in a process of its own: the engine wants a caller with
//! one thread at work, and descriptors, children and feature switches are a whole process's.

use super::create::{Created, Request, create};
use super::exec::{self, exec};
use crate::api::oci::runtime::*;
use crate::api::shim::Overlay;
use crate::engine::rootfs::Base;
use crate::error::{Kind, Result};
use crate::utils::sys::clone;
use crate::utils::sys::probe::{self, Feature};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const ALONE: &str = "ISULABOX_TEST_ALONE";
const BUSYBOX: &str = "/bin/busybox";

/// Runs `body` in a new process of this test binary, or is that process.
fn alone(name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    if !nix::unistd::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
        eprintln!("skipped {name}: needs root and {BUSYBOX}");
        return;
    }
    let mounts = mount_table();
    let name = format!("engine::tests::{name}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--test-threads=1", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    // Other tests may mount things of their own meanwhile, but not under this name.
    assert!(!mount_table().contains("isulabox-engine-") || mounts.contains("isulabox-engine-"));
}

fn mount_table() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// A bundle that goes with its value.
struct Bundle(PathBuf);

impl Bundle {
    fn new(name: &str) -> Bundle {
        let dir = std::env::temp_dir().join(format!("isulabox-engine-{name}-{}", std::process::id()));
        let root = dir.join("rootfs");
        for d in ["bin", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(d)).unwrap();
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "id", "ls", "sleep", "true", "stty", "tty", "grep", "readlink", "hostname", "touch"]
        {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:\nbob:x:1000:100::/users/bob:\n").unwrap();
        fs::write(root.join("etc/group"), "users:x:100:\nwheel:x:10:bob\n").unwrap();
        Bundle(dir)
    }

    fn root(&self, path: &str) -> PathBuf {
        self.0.join("rootfs").join(path)
    }

    fn create(&self, spec: &Spec, base: Base<'_>) -> (Result<Created>, File) {
        let (read, write) = std::io::pipe().unwrap();
        let write: OwnedFd = write.into();
        let null = File::open("/dev/null").unwrap().into();
        let stdio = [null, write.try_clone().unwrap(), write];
        let request = Request {
            id: "t",
            spec,
            bundle: &self.0,
            base,
            stdio: Some(stdio),
            no_pivot: false,
            no_new_keyring: false,
            preserved_fds: 0,
            cgroup: Default::default(),
        };
        (create(request), File::from(OwnedFd::from(read)))
    }

    /// Exit code and output of the container.
    fn run(&self, spec: &Spec) -> Result<(i32, String)> {
        self.run_over(spec, Base::Directory)
    }

    fn run_over(&self, spec: &Spec, base: Base<'_>) -> Result<(i32, String)> {
        let (created, mut output) = self.create(spec, base);
        let running = created?.start()?;
        let mut text = String::new();
        match running.init.terminal {
            None => drop(output.read_to_string(&mut text).unwrap()),
            // The end of a terminal is EIO.
            Some(master) => drop(File::from(master).read_to_string(&mut text)),
        }
        Ok((exit_code(running.init.pid), text))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
        // Whatever the test did, no child is left.
        assert_eq!(nix::sys::wait::waitpid(None, None), Err(nix::Error::ECHILD));
    }
}

fn exit_code(pid: i32) -> i32 {
    let status = clone::wait(pid).unwrap();
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|o| o.to_string()).collect(),
        ..Mount::default()
    }
}

fn spec(script: &str) -> Spec {
    let caps: Vec<String> = ["CAP_CHOWN", "CAP_SETUID", "CAP_KILL"].map(String::from).to_vec();
    let namespace = |kind: &str| Namespace { kind: kind.into(), ..Namespace::default() };
    Spec {
        process: Some(Process {
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            no_new_privileges: true,
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: "box".into(),
        mounts: vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
            mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/sys", "sysfs", "sysfs", &["ro", "nosuid"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        ],
        linux: Some(Linux {
            namespaces: ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(namespace).to_vec(),
            masked_paths: vec!["/proc/timer_list".into(), "/proc/acpi".into(), "/proc/nothing".into()],
            readonly_paths: vec!["/proc/sys".into(), "/proc/nothing".into()],
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn process(spec: &mut Spec) -> &mut Process {
    spec.process.as_mut().unwrap()
}

const ALL: [Feature; 6] = [
    Feature::Clone3,
    Feature::Openat2,
    Feature::MountApi,
    Feature::MountSetattr,
    Feature::CloseRange,
    Feature::PidfdSetns,
];

#[test]
fn a_container_is_isolated() {
    alone("a_container_is_isolated", isolated);
}

#[test]
fn a_container_is_isolated_on_an_old_kernel() {
    alone("a_container_is_isolated_on_an_old_kernel", || {
        ALL.into_iter().for_each(probe::set_missing);
        isolated();
        mounts();
        further();
    });
}

fn isolated() {
    let bundle = Bundle::new("isolated");
    let leak = File::open("/etc").unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let (code, text) = bundle
        .run(&spec(
            "hostname; cd /proc/self/ns; for n in pid net ipc uts mnt cgroup; do echo $n $(readlink $n); done;
             cat /proc/self/status; ls /proc/self/fd; ls -l /dev; echo $HOME; ls -d /proc/[0-9]*;
             grep -c . /proc/timer_list; ls /proc/acpi; echo x > /proc/sys/kernel/hostname; cat /sys/class/net/lo/flags;
             exit 42",
        ))
        .unwrap();
    assert_eq!(code, 42, "{text}");
    for namespace in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
        let own = format!("{namespace} {}\n", own.display());
        assert!(text.contains(&format!("{namespace} {namespace}:[")) && !text.contains(&own), "{own}{text}");
    }
    let caps = 1u64 | 1 << 7 | 1 << 5;
    for line in [
        "box\n".to_string(),
        format!("CapBnd:\t{caps:016x}\n"),
        format!("CapEff:\t{caps:016x}\n"),
        "CapInh:\t0000000000000000\n".into(),
        "NoNewPrivs:\t1\n".into(),
        "SigIgn:\t0000000000000000\n".into(),
        "SigBlk:\t0000000000000000\n".into(),
        "\n0\n1\n2\n3\ntotal".into(), // 3 is the directory that ls reads
        "\n/root\n/proc/1\n".into(),
        "null\n".into(),
        "ptmx -> pts/ptmx\n".into(),
        "can't create /proc/sys/kernel/hostname: Read-only file system".into(),
        "0x9\n".into(),
    ] {
        assert!(text.contains(&line), "{line:?} in {text}");
    }
}

#[test]
fn mounts_stay_inside_and_have_their_options() {
    alone("mounts_stay_inside_and_have_their_options", mounts);
}

fn mounts() {
    let bundle = Bundle::new("mounts");
    let data = bundle.0.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    symlink("/", bundle.root("slash")).unwrap();
    symlink("../../../../../..", bundle.root("up")).unwrap();
    symlink(&bundle.0, bundle.root("host")).unwrap();
    let mut s = spec(
        "cat /a/b/file /up2/file; touch /a/b/x; touch /rw/sub/y && echo written; touch /z; touch /t/ok && echo ok;
         grep ' /a/b ' /proc/mounts; ls /host/; ls -ld /kept",
    );
    let source = data.to_str().unwrap();
    s.mounts.extend([
        mount("/slash/a/b", "bind", source, &["rbind", "ro", "nodev", "noexec", "rprivate"]),
        mount("/up/up2/file", "none", &format!("{source}/file"), &["bind", "nosuid"]),
        mount("/host/rw", "bind", "data", &["bind"]),
        mount("/rw", "bind", "data", &["bind", "rslave"]),
        mount("/t", "tmpfs", "tmpfs", &["size=1m"]),
        mount("/kept", "tmpfs", "tmpfs", &[]),
    ]);
    s.root.as_mut().unwrap().readonly = true;
    fs::create_dir(bundle.root("kept")).unwrap();
    fs::set_permissions(bundle.root("kept"), std::os::unix::fs::PermissionsExt::from_mode(0o1711)).unwrap();
    let (code, text) = bundle.run(&s).unwrap();
    assert_eq!(code, 0, "{text}");
    for line in [
        "contentcontent",
        "touch: /a/b/x: Read-only file system",
        "written",
        "touch: /z: Read-only file system",
        "ok\n",
        "ro,nodev,noexec",
        "\nrw\n",
        "drwx--x--t",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(data.join("sub/y").exists());
    assert_eq!(fs::read_dir(&bundle.0).unwrap().count(), 2, "something was made beside the root");

    for (change, kind, part) in [
        (mount("/x", "bind", "/no/such/source", &[]), Kind::Os(libc::ENOENT), "bind source \"/no/such/source\""),
        (mount("/proc/sys", "bind", source, &[]), Kind::Denied, "mount at \"/proc/sys\""),
        (mount("/slash/proc", "tmpfs", "tmpfs", &[]), Kind::Denied, "inside /proc"),
        (mount("/proc/sys/net", "bind", "/proc/sys/kernel", &["bind"]), Kind::Denied, "inside /proc"),
        (mount("/proc/sys/../self", "bind", "/proc/sys/../self", &["bind"]), Kind::Denied, "inside /proc"),
        (mount("/slash/sys", "sysfs", "sysfs", &[]), Kind::Denied, "not a symbolic link"),
        (mount("/x", "nofs", "x", &[]), Kind::Os(libc::ENODEV), "mount(\"x\", \"/x\", \"nofs\""),
        (mount("/bin/busybox", "bind", source, &[]), Kind::Invalid, "mount at \"/bin/busybox\""),
    ] {
        let mut s = spec("true");
        s.mounts.push(change);
        let e = bundle.run(&s).unwrap_err();
        assert!(e.kind() == kind && e.to_string().contains(part), "{e:?}");
    }
}

#[test]
fn propagation_reaches_as_far_as_wanted() {
    alone("propagation_reaches_as_far_as_wanted", || {
        let bundle = Bundle::new("propagation");
        // A world of its own, in which everything is shared, as systemd has it.
        clone::unshare(libc::CLONE_NEWNS).unwrap();
        use crate::utils::sys::mount as sys;
        sys::mount(None, c"/", None, libc::MS_PRIVATE | libc::MS_REC, None).unwrap();
        sys::mount(None, c"/", None, libc::MS_SHARED | libc::MS_REC, None).unwrap();
        let volume = bundle.0.join("volume");
        fs::create_dir_all(volume.join("sub")).unwrap();
        let before = mount_table();
        for (word, shows) in [("", false), ("rslave", false), ("rshared", true), ("private", false)] {
            let option = if shows { "rshared" } else { "rprivate" };
            let mut s = spec("mount -t tmpfs inner /volume/sub && exec grep -c volume/sub /proc/mounts");
            let _ = symlink("busybox", bundle.root("bin/mount")); // there from the first round
            s.mounts.push(mount("/volume", "bind", volume.to_str().unwrap(), &["rbind", option]));
            s.linux.as_mut().unwrap().rootfs_propagation = word.into();
            let all = process(&mut s).capabilities.as_mut().unwrap();
            for set in [&mut all.bounding, &mut all.effective, &mut all.permitted] {
                set.push("CAP_SYS_ADMIN".into());
            }
            let (code, text) = bundle.run(&s).unwrap();
            assert_eq!((code, text.as_str()), (0, "1\n"), "{word}");
            let after = mount_table();
            assert_eq!(after.contains("volume/sub"), shows, "{word:?}: {after}");
            assert_eq!(after.lines().count(), before.lines().count() + usize::from(shows), "{word:?}: {after}");
            if shows {
                nix::mount::umount(&volume.join("sub")).unwrap();
            }
        }
    });
}

#[test]
fn a_failure_names_its_step_and_leaves_nothing() {
    alone("a_failure_names_its_step_and_leaves_nothing", || {
        let bundle = Bundle::new("failure");
        fs::write(bundle.root("bin/data"), "\x01").unwrap();
        fs::write(bundle.root("bin/nointerp"), "#!/no/such\n").unwrap();
        for script in ["data", "nointerp"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(bundle.root("bin").join(script), mode).unwrap();
        }
        let fds = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = fds();
        type Change = fn(&mut Spec);
        let cases: [(Change, Kind, &str); 9] = [
            (|s| process(s).args = vec!["nosuch".into()], Kind::CommandNotFound, "exec: \"nosuch\": executable file"),
            (|s| process(s).args = vec!["/bin".into()], Kind::CommandNotExecutable, "exec: \"/bin\": is a directory"),
            (|s| process(s).args = vec!["data".into()], Kind::CommandNotExecutable, "exec: \"data\": exec format"),
            (|s| process(s).args = vec!["nointerp".into()], Kind::CommandNotFound, "exec: \"nointerp\": no such file"),
            (|s| process(s).user.username = "eve".into(), Kind::Invalid, "Unable to find user 'eve': no matching"),
            (|s| process(s).cwd = "/etc/passwd".into(), Kind::CommandNotFound, "\"/etc/passwd\": not a directory"),
            (|s| process(s).selinux_label = "a:b".into(), Kind::Unsupported, "SELinux"),
            (
                |s| drop(s.linux.as_mut().unwrap().sysctl.insert("net.ipv4.nosuch".into(), "1".into())),
                Kind::Os(libc::ENOENT),
                "sysctl \"net.ipv4.nosuch\"",
            ),
            (|s| s.root.as_mut().unwrap().path = "nowhere".into(), Kind::Os(libc::ENOENT), "nowhere"),
        ];
        for (change, kind, text) in cases {
            let mut s = spec("true");
            change(&mut s);
            let e = bundle.run(&s).unwrap_err();
            assert!(e.kind() == kind && e.to_string().contains(text), "{e:?}, expected {kind:?} {text}");
        }
        let (created, output) = bundle.create(&spec("true"), Base::Directory);
        let created = created.unwrap();
        assert!(Path::new(&format!("/proc/{}", created.pid())).exists());
        drop((created, output));
        assert_eq!(fds(), before);
    });
}

#[test]
fn a_container_that_was_not_started_ends_with_its_caller() {
    alone("a_container_that_was_not_started_ends_with_its_caller", || {
        let bundle = Bundle::new("orphan");
        let (mut read, write) = std::io::pipe().unwrap();
        let caller = clone::spawn(0, None, |_| {
            let (created, _output) = bundle.create(&spec("sleep 60"), Base::Directory);
            let created = created.unwrap();
            std::io::Write::write_all(&mut &write, &created.pid().to_ne_bytes()).unwrap();
            clone::exit(0) // without any destructor, as a process that is killed
        })
        .unwrap();
        drop(write);
        let mut pid = [0; 4];
        read.read_exact(&mut pid).unwrap();
        let init = i32::from_ne_bytes(pid);
        // The number may be gone by now, which is as good.
        if let Ok(fd) = crate::utils::sys::process::pidfd_open(init) {
            let mut fds = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&fd), nix::poll::PollFlags::POLLIN)];
            assert_eq!(nix::poll::poll(&mut fds, 10_000u16), Ok(1), "the first process waits for nobody");
        }
        assert_eq!(exit_code(caller.pid), 0);
    });
}

#[test]
fn users_groups_and_directories_are_the_containers() {
    alone("users_groups_and_directories_are_the_containers", || {
        let bundle = Bundle::new("users");
        let mut s =
            spec("id; echo $HOME; readlink /proc/self/cwd; cat /proc/self/status; echo out > /dev/stdout; umask");
        let p = process(&mut s);
        p.user = User { username: "bob".into(), additional_groups: vec!["77".into()], ..User::default() };
        p.user.umask = Some(0o27);
        p.cwd = "/made/here".into();
        p.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 50, hard: 60 }];
        let ambient = p.capabilities.as_mut().unwrap();
        (ambient.inheritable, ambient.ambient) = (vec!["CAP_KILL".into()], vec!["CAP_KILL".into()]);
        let (code, text) = bundle.run(&s).unwrap();
        assert_eq!(code, 0, "{text}");
        for line in [
            "uid=1000(bob) gid=100(users) groups=10(wheel),77,100(users)\n",
            "/users/bob\n/made/here\n",
            "CapEff:\t0000000000000020\n",
            "CapAmb:\t0000000000000020\n",
            "out\n0027\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(bundle.root("made/here").is_dir());
    });
}

#[test]
fn a_terminal_is_the_containers_own() {
    alone("a_terminal_is_the_containers_own", || {
        let bundle = Bundle::new("terminal");
        let mut s = spec("tty; stty size; ls -l /dev/console; cat /proc/self/stat; ls /proc/self/fd");
        process(&mut s).terminal = true;
        process(&mut s).console_size = Some(ConsoleSize { height: 33, width: 99 });
        let (code, text) = bundle.run(&s).unwrap();
        assert_eq!(code, 0, "{text}");
        for line in ["/dev/pts/0\r\n33 99\r\n", "136,   0", "/dev/console"] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        s.mounts.remove(2);
        assert!(bundle.run(&s).unwrap_err().to_string().contains("/dev/pts/ptmx"));
    });
}

#[test]
fn a_further_process_is_in_the_same_container() {
    alone("a_further_process_is_in_the_same_container", further);
}

fn further() {
    let bundle = Bundle::new("further");
    for user_namespace in [false, true] {
        let mut s = spec("sleep 60");
        if user_namespace {
            map_users(&mut s);
        }
        let (created, _output) = bundle.create(&s, Base::Directory);
        let running = created.unwrap().start().unwrap();
        let pid_namespace = fs::read_link("/proc/self/ns/pid_for_children").unwrap();
        let run = |script: &str, change: fn(&mut Process)| -> Result<(i32, String)> {
            let mut p = spec(script).process.unwrap();
            p.capabilities = None;
            change(&mut p);
            let (read, write) = std::io::pipe().unwrap();
            let write: OwnedFd = write.into();
            let null = File::open("/dev/null").unwrap().into();
            let stdio = Some([null, write.try_clone().unwrap(), write]);
            let (init, init_start_time) = (running.init.pid, running.init.start_time);
            let request = exec::Request {
                id: "a",
                bundle: Path::new("/b"),
                init,
                init_start_time,
                cgroup: None,
                spec: &s,
                process: &p,
                stdio,
                preserved_fds: 0,
            };
            let started = exec(request)?;
            let text = match started.terminal {
                None => std::io::read_to_string(read).unwrap(),
                Some(master) => {
                    let mut text = String::new();
                    let _ = File::from(master).read_to_string(&mut text); // ends with EIO
                    text
                }
            };
            Ok((exit_code(started.pid), text))
        };
        let namespaces = "for n in pid net ipc uts mnt cgroup user; do echo $(readlink /proc/self/ns/$n); done";
        let script = format!("cd /proc/self/ns; {namespaces}; cat /proc/self/status; ls /proc/self/fd; exit 9");
        let (code, text) = run(&script, |_| ()).unwrap();
        assert_eq!(code, 9, "{text}");
        for namespace in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
            let link = fs::read_link(format!("/proc/{}/ns/{namespace}", running.init.pid)).unwrap();
            assert!(text.contains(&format!("{}\n", link.display())), "{namespace} {text}");
        }
        assert!(text.contains(&format!("CapEff:\t{:016x}\n", 1 | 1 << 7 | 1 << 5)), "{text}");
        assert!(text.contains("\n0\n1\n2\n3\n") && text.contains("NoNewPrivs:\t1"), "{text}");
        let (_, text) = run("tty; id -u; id -G", |p| {
            p.terminal = true;
            p.user.username = "bob".into();
        })
        .unwrap();
        assert_eq!(text, "/dev/pts/0\r\n1000\r\n100 10\r\n");
        let e = run("true", |p| p.args = vec!["nosuch".into()]).unwrap_err();
        assert_eq!(e.kind(), Kind::CommandNotFound);
        let e = run("true", |p| p.cwd = "/nowhere".into()).unwrap_err();
        assert!(e.to_string().contains("chdir to cwd (\"/nowhere\")"), "{e}");
        assert_eq!(fs::read_link("/proc/self/ns/pid_for_children").unwrap(), pid_namespace);
        let process = spec("true").process.unwrap();
        let stale = exec::Request {
            id: "a",
            bundle: Path::new("/b"),
            init: running.init.pid,
            init_start_time: running.init.start_time + 1,
            cgroup: None,
            spec: &s,
            process: &process,
            stdio: None,
            preserved_fds: 0,
        };
        assert_eq!(exec(stale).unwrap_err().kind(), Kind::NotFound);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.init.pid), nix::sys::signal::SIGKILL).unwrap();
        assert_eq!(exit_code(running.init.pid), 137);
    }
}

fn map_users(s: &mut Spec) {
    let linux = s.linux.as_mut().unwrap();
    let map = vec![IdMapping { container_id: 0, host_id: 200_000, size: 65536 }];
    (linux.uid_mappings, linux.gid_mappings) = (map.clone(), map);
    linux.namespaces.push(Namespace { kind: "user".into(), ..Namespace::default() });
}

#[test]
fn layers_become_the_root() {
    alone("layers_become_the_root", || {
        let bundle = Bundle::new("layers");
        for d in ["up,per:1\\", "work", "mnt", "top:layer,\\x"] {
            fs::create_dir(bundle.0.join(d)).unwrap();
        }
        fs::write(bundle.0.join("top:layer,\\x/marker"), "from the top\n").unwrap();
        let mut overlay = Overlay {
            images: Vec::new(),
            lower: vec![bundle.0.join("top:layer,\\x"), bundle.root("")],
            upper: bundle.0.join("up,per:1\\"),
            work: bundle.0.join("work"),
            options: Vec::new(),
        };
        let mut s = spec("cat /marker; touch /new; grep -c ' / overlay' /proc/mounts; ls -n /new");
        s.root.as_mut().unwrap().path = "mnt".into();
        let (code, text) = bundle.run_over(&s, Base::Overlay(&overlay)).unwrap();
        assert!(code == 0 && text.starts_with("from the top\n1\n"), "{text}");
        assert!(bundle.0.join("up,per:1\\/new").exists());
        assert_eq!(fs::read_dir(bundle.0.join("mnt")).unwrap().count(), 0);
        // In a user namespace the layers are mounted with the host's rights, and the upper one belongs to the map.
        map_users(&mut s);
        nix::unistd::chown(&overlay.upper, Some(200_000.into()), Some(200_000.into())).unwrap();
        fs::remove_file(bundle.0.join("up,per:1\\/new")).unwrap();
        let (code, text) = bundle.run_over(&s, Base::Overlay(&overlay)).unwrap();
        assert!(code == 0 && text.contains(" 1 0        0 "), "{text}");
        s.linux.as_mut().unwrap().namespaces.pop();

        // More names than fit in a page.
        for n in 0..60 {
            let layer = bundle.0.join(format!("layer-{n}-{}", "n".repeat(60)));
            fs::create_dir(&layer).unwrap();
            overlay.lower.insert(1, layer);
        }
        overlay.upper = bundle.0.join("up2");
        fs::create_dir(&overlay.upper).unwrap();
        let (code, text) = bundle.run_over(&s, Base::Overlay(&overlay)).unwrap();
        assert!(code == 0 && text.starts_with("from the top\n1\n"), "{text}");
    });
}

#[test]
fn namespaces_are_joined() {
    alone("namespaces_are_joined", || {
        let bundle = Bundle::new("join");
        for user_namespace in [false, true] {
            let mut s = spec("sleep 60");
            if user_namespace {
                map_users(&mut s);
            }
            let (created, _output) = bundle.create(&s, Base::Directory);
            let peer = created.unwrap().start().unwrap();
            let kinds = ["pid", "network", "ipc", "uts", "user"];
            let names = ["pid", "net", "ipc", "uts", "user"];
            let mut joining = spec("for n in pid net ipc uts user; do readlink /proc/self/ns/$n; done; ls -d /proc/1");
            joining.hostname = String::new();
            let list = &mut joining.linux.as_mut().unwrap().namespaces;
            list.retain(|n| !kinds.contains(&n.kind.as_str()));
            for (kind, name) in kinds.iter().zip(names).take(if user_namespace { 5 } else { 4 }) {
                let path = format!("/proc/{}/ns/{name}", peer.init.pid).into();
                list.push(Namespace { kind: kind.to_string(), path });
            }
            let (code, text) = bundle.run(&joining).unwrap();
            assert_eq!(code, 0, "{text}");
            for name in names {
                let link = fs::read_link(format!("/proc/{}/ns/{name}", peer.init.pid)).unwrap();
                assert!(text.contains(&format!("{}\n", link.display())), "{name} {text}");
            }
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(peer.init.pid), nix::sys::signal::SIGKILL).unwrap();
            exit_code(peer.init.pid);
        }
    });
}

#[test]
fn hooks_run_at_their_points() {
    alone("hooks_run_at_their_points", || {
        let bundle = Bundle::new("hooks");
        let log = bundle.0.join("log");
        let line = |point: &str, more: &str| Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", &format!("{more}; echo {point} $(readlink /proc/self/ns/uts) >> {}", log.display())]
                .map(String::from)
                .to_vec(),
            env: vec!["PATH=/bin:/usr/bin".into()],
            ..Hook::default()
        };
        let mut s = spec("cat /inside; sleep 0.2");
        s.hooks = Some(Hooks {
            prestart: vec![line("prestart", "true")],
            create_runtime: vec![line("createRuntime", "grep -q '\"status\":\"creating\"'")],
            create_container: vec![line("createContainer", "true")],
            start_container: vec![Hook {
                path: "/bin/sh".into(),
                args: ["sh", "-c", "echo started > /inside"].map(String::from).to_vec(),
                ..Hook::default()
            }],
            poststart: vec![line("poststart", "true"), line("bad", "exit 1")],
            ..Hooks::default()
        });
        let (code, text) = bundle.run(&s).unwrap();
        assert_eq!((code, text.as_str()), (0, "started\n"));
        let own = fs::read_link("/proc/self/ns/uts").unwrap();
        let log = fs::read_to_string(&log).unwrap();
        let lines: Vec<(&str, bool)> =
            log.lines().filter_map(|l| l.split_once(' ')).map(|(p, n)| (p, Path::new(n) == own)).collect();
        let want = [("prestart", true), ("createRuntime", true), ("createContainer", false), ("poststart", true)];
        assert_eq!(lines, want);
        s.hooks.as_mut().unwrap().create_runtime = vec![line("", "echo reason; exit 3")];
        let e = bundle.run(&s).unwrap_err();
        assert_eq!(e.to_string(), "createRuntime hook \"/bin/sh\": exit code 3: reason");
    });
}
