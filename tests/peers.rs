//! Engines of others that call the runtime: podman through conmon, containerd through its shim. Each check is made with
//! runc too, which both are written for.

use crate::support::bed::{Bed, binary, json};
use crate::support::command::{self, Output};
use crate::support::{cgroup, contains, eventually, rootfs, umoci};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

tests![
    podman_drives_the_runtime,
    podman_drives_runc,
    podman_has_pods_and_users,
    containerd_drives_the_runtime,
    containerd_drives_runc,
];

const PATIENCE: Duration = Duration::from_secs(120);

/// The runtime under the name by which it knows what it is.
fn own(bed: &Bed) -> PathBuf {
    let path = bed.dir.join("lcr-bin/lcr");
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(binary(), &path).unwrap();
    }
    path
}

struct Podman {
    runtime: PathBuf,
    directory: PathBuf,
    parent: String,
}

impl Podman {
    /// With the test's root as the image `box`.
    #[track_caller]
    fn new(bed: &Bed, runtime: PathBuf) -> Podman {
        let podman = Podman { runtime, directory: bed.dir.join("podman"), parent: bed.cgroup_parent() };
        fs::create_dir_all(podman.directory.join("tmp")).unwrap();
        let limits = ["nofile=1024:1024", "nproc=4096:4096"];
        let text = format!(
            "[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"none\"\n\
            [containers]\nnetns=\"none\"\nlog_driver=\"k8s-file\"\ndefault_ulimits={limits:?}\n"
        );
        fs::write(podman.directory.join("containers.conf"), text).unwrap();
        podman.run(&["import", "-q", &rootfs::archive().display().to_string(), "box"]).ok();
        podman
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Output {
        let at = |name: &str| self.directory.join(name);
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", at("containers.conf")).env("TMPDIR", at("tmp"));
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run")).arg("--tmpdir").arg(at("tmp"));
        command.args(["--storage-driver", "vfs"]).arg("--runtime").arg(&self.runtime).args(words);
        command::run(command, format!("podman {}", words.join(" ")), b"", PATIENCE)
    }

    /// Removes the cgroups that it leaves: those of its monitors, and of pods where it does not look.
    fn end(self) {
        cgroup::remove_tree(&self.parent);
    }

    /// `run` or `create` below the bed's cgroup.
    #[track_caller]
    fn make(&self, verb: &str, words: &[&str]) -> Output {
        self.run(&[&[verb, "--cgroup-parent", &self.parent][..], words].concat())
    }
}

fn podman_drives_the_runtime(bed: &mut Bed) {
    requires!(lcr, podman);
    podman_life(bed, own(bed));
}

fn podman_drives_runc(bed: &mut Bed) {
    requires!(podman, runc);
    podman_life(bed, "runc".into());
}

fn podman_life(bed: &Bed, runtime: PathBuf) {
    let podman = Podman::new(bed, runtime);
    let run =
        |options: &[&str], command: &[&str]| podman.make("run", &[&["--rm"], options, &["box"], command].concat());
    assert_eq!(run(&[], &["echo", "hello"]).ok(), "hello");
    assert_eq!(run(&[], &["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(run(&[], &["/nosuch"]).code, 127);
    assert_eq!(run(&[], &["/etc/passwd"]).code, 126);
    assert_eq!(run(&["-u", "12:34"], &["payload", "ids"]).ok(), "uid=12 gid=34 groups=34");
    contains(&run(&["--read-only"], &["sh", "-c", "echo x > /x; echo $?"]).ok(), "1");
    contains(&run(&["--tmpfs", "/etc"], &["cat", "/etc/passwd"]).ok(), "root:");
    contains(&run(&["-t"], &["tty"]).ok(), "/dev/pts/0");
    let memory = run(
        &["--memory", "64m", "--pids-limit", "20"],
        &["sh", "-c", "cat /sys/fs/cgroup/*/memory.limit_in_bytes /sys/fs/cgroup/memory.max"],
    );
    contains(&memory.out, "67108864");
    for options in
        [&["--privileged"][..], &["--pid", "host"], &["--ipc", "host"], &["--cgroupns", "host"], &["--cap-drop", "all"]]
    {
        assert_eq!(run(options, &["echo", "up"]).ok(), "up", "{options:?}");
    }
    podman.make("run", &["-d", "--name", "aa", "box", "payload", "ready", "1000"]).ok();
    eventually("it writes", || podman.run(&["logs", "aa"]).ok() == "ready");
    assert_eq!(podman.run(&["exec", "aa", "payload", "args", "in"]).ok(), "in");
    assert_eq!(podman.run(&["exec", "aa", "sh", "-c", "exit 9"]).code, 9);
    contains(&podman.run(&["exec", "-t", "aa", "tty"]).ok(), "/dev/pts/");
    assert_eq!(
        podman.run(&["exec", "-u", "12:34", "-w", "/tmp", "-e", "A=b", "aa", "sh", "-c", "pwd; id -u; echo $A"]).ok(),
        "/tmp\n12\nb"
    );
    let state = || podman.run(&["inspect", "-f", "{{.State.Status}}", "aa"]).ok();
    podman.run(&["pause", "aa"]).ok();
    assert_eq!(state(), "paused");
    podman.run(&["unpause", "aa"]).ok();
    assert_eq!(state(), "running");
    contains(&podman.run(&["top", "aa", "pid", "args"]).ok(), "payload ready 1000");
    contains(&podman.run(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "aa"]).ok(), "aa 1");
    podman.run(&["kill", "-s", "KILL", "aa"]).ok();
    eventually("it ends", || state() == "exited");
    podman.run(&["start", "aa"]).ok();
    podman.run(&["restart", "-t", "0", "aa"]).ok();
    assert_eq!(state(), "running");
    podman.run(&["rm", "-f", "-t", "0", "aa"]).ok();
    assert_eq!(podman.run(&["ps", "-aq"]).ok(), "");
    podman.end();
}

fn podman_has_pods_and_users(bed: &mut Bed) {
    requires!(lcr, podman);
    let podman = Podman::new(bed, own(bed));
    for (first, count) in [("100000", "65536"), ("300000", "1000")] {
        let map = format!("0:{first}:{count}");
        let words = [
            "--rm",
            "--uidmap",
            &map,
            "--gidmap",
            &map,
            "box",
            "sh",
            "-c",
            "id -u; cat /proc/self/uid_map; touch /etc/x",
        ];
        let out = podman.make("run", &words).ok();
        assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["0", "0", first, count]);
    }
    let pod = [
        "pod",
        "create",
        "--name",
        "pp",
        "--infra-image",
        "box",
        "--infra-command",
        "sleep 1000",
        "--share",
        "ipc,uts,pid",
    ];
    podman.run(&[&pod[..], &["--cgroup-parent", &podman.parent]].concat()).ok();
    for name in ["aa", "bb"] {
        podman.run(&["run", "-d", "--pod", "pp", "--name", name, "box", "payload", "ready", "1000"]).ok();
    }
    contains(&podman.run(&["exec", "aa", "ps"]).ok(), "sleep 1000");
    let links = |name: &str| {
        ["ipc", "uts", "pid", "mnt"]
            .map(|ns| podman.run(&["exec", name, "readlink", &format!("/proc/self/ns/{ns}")]).ok())
    };
    let (one, other) = (links("aa"), links("bb"));
    assert_eq!(one[..3], other[..3]);
    assert_ne!(one[3], other[3]);
    contains(&podman.run(&["pod", "stats", "--no-stream", "pp"]).ok(), "aa");
    podman.run(&["pod", "pause", "pp"]).ok();
    podman.run(&["pod", "unpause", "pp"]).ok();
    podman.run(&["pod", "rm", "-f", "-t", "0", "pp"]).ok();
    podman.end();
}

/// A daemon of the test's own, which goes with it.
struct Containerd {
    directory: PathBuf,
    daemon: Child,
    runtime: PathBuf,
    parent: String,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}

impl Containerd {
    #[track_caller]
    fn start(bed: &Bed, runtime: PathBuf) -> Containerd {
        let directory = bed.dir.join("containerd");
        fs::create_dir_all(&directory).unwrap();
        let place = |name: &str| directory.join(name).display().to_string();
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n",
            place("root"),
            place("state"),
            place("s")
        );
        let (config, log) = (directory.join("config.toml"), fs::File::create(directory.join("log")).unwrap());
        fs::write(&config, text).unwrap();
        let mut command = Command::new("containerd");
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = command.spawn().unwrap();
        let containerd = Containerd { daemon, runtime, parent: bed.cgroup_parent(), directory };
        eventually("containerd answers", || containerd.run(&["version"]).code == 0);
        let layout = containerd.directory.join("layout");
        umoci::of_archive(&layout, &rootfs::archive());
        let archive = containerd.directory.join("layout.tar").display().to_string();
        let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".").status().unwrap();
        assert!(packed.success());
        containerd.run(&["image", "import", "--base-name", "box", &archive]).ok();
        containerd
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        // What the runtimes keep is by namespace, for all daemons of the host.
        command.arg("-a").arg(self.directory.join("s")).args(["-n", self.parent.trim_matches('/')]).args(words);
        command::run(command, format!("ctr {}", words.join(" ")), b"", PATIENCE)
    }

    #[track_caller]
    fn make(&self, options: &[&str], id: &str, command: &[&str]) -> Output {
        let cgroup = format!("{}/{id}", self.parent);
        let runtime = self.runtime.display().to_string();
        let words = ["run", "--snapshotter", "native", "--runc-binary", &runtime, "--cgroup", &cgroup];
        self.run(&[&words[..], options, &["box:x", id], command].concat())
    }
}

fn containerd_drives_the_runtime(bed: &mut Bed) {
    requires!(lcr, containerd, umoci);
    containerd_life(bed, own(bed));
}

fn containerd_drives_runc(bed: &mut Bed) {
    requires!(containerd, umoci, runc);
    containerd_life(bed, "runc".into());
}

fn containerd_life(bed: &Bed, runtime: PathBuf) {
    let containerd = Containerd::start(bed, runtime);
    assert_eq!(containerd.make(&["--rm"], "aa", &["echo", "hello"]).ok(), "hello");
    assert_eq!(containerd.make(&["--rm"], "aa", &["sh", "-c", "exit 7"]).code, 7);
    assert_ne!(containerd.make(&["--rm"], "aa", &["/nosuch"]).code, 0);
    containerd.run(&["containers", "rm", "aa"]);
    containerd.make(&["-d", "--memory-limit", "67108864"], "cc", &["payload", "ready", "1000"]).ok();
    let task = |words: &[&str]| containerd.run(&[&["task"], words].concat());
    let is = |word: &str| task(&["ls"]).ok().lines().any(|line| line.starts_with("cc ") && line.contains(word));
    assert!(is("RUNNING"));
    let list = task(&["ls"]).ok();
    let pid = list.lines().find_map(|line| line.strip_prefix("cc ")?.split_whitespace().next()?.parse().ok()).unwrap();
    assert_eq!(cgroup::read(pid, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    assert_eq!(task(&["exec", "--exec-id", "e1", "cc", "payload", "args", "in"]).ok(), "in");
    assert_eq!(task(&["exec", "--exec-id", "e2", "cc", "sh", "-c", "exit 9"]).code, 9);
    let metrics: Value = json(task(&["metrics", "--format", "json", "cc"]).ok().as_bytes());
    assert_eq!(metrics["pids"]["current"], 1, "{metrics}");
    task(&["pause", "cc"]).ok();
    assert!(is("PAUSED"));
    task(&["resume", "cc"]).ok();
    assert!(is("RUNNING"));
    assert_eq!(task(&["ps", "cc"]).ok().lines().count(), 2);
    task(&["kill", "-s", "KILL", "cc"]).ok();
    eventually("it ends", || is("STOPPED"));
    task(&["delete", "cc"]);
    containerd.run(&["containers", "rm", "cc"]).ok();
    assert_eq!(containerd.run(&["containers", "ls", "-q"]).ok(), "");
}
