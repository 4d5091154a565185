//! The runtime's command line for those who are not the host's root: an ordinary user, and root of a user namespace.

use crate::support::bed::{Bed, binary, json};
use crate::support::bundle::bundle_with;
use crate::support::command::{self, Output};
use crate::support::requires::find;
use crate::support::{cgroup, contains, eventually, leaks};
use crate::{requires, tests};
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json as value};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

tests![
    a_user_has_containers,
    the_executable_is_sealed_for_a_user_too,
    several_ids_come_from_the_programs_for_that,
    the_programs_for_ids_are_heard,
    what_a_user_namespace_lacks_is_replaced,
    groups_that_cannot_be_had_are_refused,
    limits_need_a_cgroup,
    a_cgroup_that_was_handed_over_is_used,
    root_of_a_user_namespace_has_containers,
    state_is_kept_where_nobody_else_writes,
];

const GID: u32 = 4712;

/// Somebody without rights on the host.
struct User {
    uid: u32,
    home: PathBuf,
}

impl User {
    fn new(bed: &Bed, uid: u32) -> User {
        requires!(root, lcr);
        let home = bed.dir.join("home");
        fs::create_dir_all(home.join("run")).unwrap();
        fs::copy(binary(), home.join("isulabox")).unwrap();
        let user = User { uid, home };
        user.own(&user.home);
        user.own(&user.home.join("run"));
        for above in user.home.ancestors().skip(1) {
            let mode = fs::metadata(above).unwrap().mode();
            if mode & 1 == 0 {
                assert!(above.starts_with(&bed.dir), "{above:?} is closed");
                fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o11)).unwrap();
            }
        }
        user
    }

    fn own(&self, path: &Path) {
        chown(path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(GID))).unwrap();
    }

    /// A bundle of the user's, with the configuration that `spec --rootless` writes for it, changed.
    fn bundle(&self, bed: &Bed, args: &[&str], change: impl FnOnce(&mut Value)) -> PathBuf {
        let path = PathBuf::from(bundle_with(bed, args, |_| ()));
        let whole = Command::new("chown").arg("-Rh").arg(format!("{}:{GID}", self.uid)).arg(&path).status().unwrap();
        assert!(whole.success());
        fs::remove_file(path.join("config.json")).unwrap();
        self.lcr(&["spec", "--rootless", "-b", path.to_str().unwrap()]).ok();
        let mut config = json(&fs::read(path.join("config.json")).unwrap());
        config["process"]["args"] = value!(args);
        config["process"]["terminal"] = false.into();
        config["root"]["path"] = "rootfs".into();
        change(&mut config);
        fs::write(path.join("config.json"), isulabox::utils::json::to_vec(&config)).unwrap();
        path
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).uid(self.uid).gid(GID).current_dir(&self.home);
        command.env("XDG_RUNTIME_DIR", self.home.join("run")).env_remove("USER");
        command
    }

    fn run(&self, command: Command, words: &[&str]) -> Output {
        command::run(command, words.join(" "), b"", Duration::from_secs(60))
    }

    #[track_caller]
    fn lcr(&self, words: &[&str]) -> Output {
        self.run(self.lcr_command(words), words)
    }

    fn lcr_command(&self, words: &[&str]) -> Command {
        self.command(&self.home.join("isulabox"), &[&["lcr"], words].concat())
    }

    /// `lcr create` or another command whose container keeps the standard descriptors.
    #[track_caller]
    fn leave(&self, mut command: Command) {
        let err = self.home.join("err");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&err).unwrap());
        let code = command::code(command.status().unwrap());
        assert_eq!((code, fs::read_to_string(err).unwrap().as_str()), (0, ""));
    }

    fn status(&self, id: &str) -> String {
        json(self.lcr(&["state", id]).ok().as_bytes())["status"].as_str().unwrap().to_owned()
    }

    fn pid(&self, id: &str) -> u32 {
        json(self.lcr(&["state", id]).ok().as_bytes())["pid"].as_u64().unwrap() as u32
    }

    /// As a shell script of root's that becomes the user for `lcr` by `$LCR`, in a mount namespace of its own.
    fn script(&self, script: &str) -> Output {
        let mut command = Command::new("unshare");
        let lcr = format!(
            "setpriv --reuid {} --regid {GID} --clear-groups {} lcr",
            self.uid,
            self.home.join("isulabox").display()
        );
        command.args(["-m", "sh", "-c", script]).env("LCR", lcr).current_dir(&self.home);
        command.env("XDG_RUNTIME_DIR", self.home.join("run"));
        self.run(command, &[script])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The namespaces without those of `kinds`.
fn without(config: &mut Value, kinds: &[&str]) {
    let all = config["linux"]["namespaces"].as_array_mut().unwrap();
    all.retain(|n| !kinds.contains(&n["type"].as_str().unwrap()));
}

fn mount<'a>(config: &'a mut Value, at: &str) -> &'a mut Value {
    config["mounts"].as_array_mut().unwrap().iter_mut().find(|m| m["destination"] == at).unwrap()
}

fn a_user_has_containers(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let show = "id -u; cat /proc/self/uid_map /proc/self/setgroups; ls /dev; cat /proc/1/comm";
    let bundle = user.bundle(bed, &["sh", "-c", show], |_| ());
    let path = text(&bundle);
    let o = user.lcr(&["run", "-b", path, "one"]).ok();
    let lines: Vec<&str> = o.lines().map(str::trim).collect();
    assert_eq!(lines[..3], ["0", "0       4711          1", "deny"], "{o}");
    for word in ["null", "tty", "urandom", "ptmx", "shm"] {
        assert!(lines.contains(&word), "{word}: {o}");
    }
    // Another runtime says the same.
    if let Ok(runc) = find("runc") {
        let root = user.home.join("run/runc");
        let words = ["--root", text(&root), "run", "-b", path, "one"];
        assert_eq!(user.run(user.command(&runc, &words), &words).ok(), o);
    }
    let root = user.home.join("run/lcr");
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o1700, "{root:?}");
    let bundle = user.bundle(bed, &["sh", "-c", "trap 'exit 7' TERM; sleep 1000 & wait"], |_| ());
    user.leave(user.lcr_command(&["create", "-b", text(&bundle), "two"]));
    assert_eq!(user.status("two"), "created");
    user.lcr(&["start", "two"]).ok();
    assert_eq!(user.status("two"), "running");
    contains(&user.lcr(&["list"]).ok(), "4711");
    assert_eq!(user.lcr(&["exec", "two", "sh", "-c", "id -u; cat /proc/1/comm; exit 3"]).exits(3), "0\nsh");
    assert_eq!(user.lcr(&["exec", "-t", "two", "tty"]).ok().trim(), "/dev/pts/0");
    eventually("both are there", || user.lcr(&["ps", "two"]).ok().lines().count() == 3);
    user.leave(user.lcr_command(&["exec", "-d", "two", "sleep", "1001"]));
    contains(&user.lcr(&["ps", "two"]).ok(), "sleep 1001");
    user.lcr(&["pause", "two"]).fails(1, "has no cgroup");
    user.lcr(&["delete", "two"]).fails(1, "not stopped");
    user.lcr(&["kill", "two", "TERM"]).ok();
    // Not before what was started in its pid namespace is reaped, by whose child it became.
    eventually("it ends", || leaks::children().is_empty() && user.status("two") == "stopped");
    user.lcr(&["delete", "two"]).ok();
    user.leave(user.lcr_command(&["run", "-d", "-b", text(&bundle), "three"]));
    user.lcr(&["kill", "-a", "three", "KILL"]).ok();
    eventually("it ends", || user.status("three") == "stopped");
    user.lcr(&["delete", "three"]).ok();
    user.leave(user.lcr_command(&["run", "-d", "-b", text(&bundle), "four"]));
    user.lcr(&["delete", "-f", "four"]).ok();
    assert_eq!(user.lcr(&["list", "-q"]).ok(), "");
}

fn the_executable_is_sealed_for_a_user_too(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let bundle = user.bundle(bed, &["true"], |_| ());
    // It is the user's own, who could write to it.
    user.own(&user.home.join("isulabox"));
    user.leave(user.lcr_command(&["create", "-b", text(&bundle), "one"]));
    let exe = fs::File::open(format!("/proc/{}/exe", user.pid("one"))).unwrap();
    let flags = nix::sys::statvfs::fstatvfs(&exe).unwrap().flags();
    let read_only = flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    let seals = nix::fcntl::fcntl(&exe, nix::fcntl::FcntlArg::F_GET_SEALS).unwrap_or(0);
    assert!(read_only || seals & libc::F_SEAL_WRITE != 0, "{flags:?} {seals:x}");
    user.lcr(&["delete", "-f", "one"]).ok();
}

/// `setup` for a script: files of the host that name the user's ids.
fn subordinate_ids(user: &User) -> String {
    let file = |name: &str, line: String| {
        let path = user.home.join(name);
        fs::write(&path, line).unwrap();
        format!("mount --bind {} /etc/{name} && ", path.display())
    };
    // What is not there cannot be covered.
    for name in ["/etc/subuid", "/etc/subgid"] {
        if !Path::new(name).exists() {
            crate::support::runner::skip(&format!("no {name}"));
        }
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    file("passwd", format!("{passwd}lcruser:x:{}:{GID}::/:/bin/sh\n", user.uid))
        + &file("subuid", "lcruser:200000:1000\n".into())
        + &file("subgid", "lcruser:300000:1000\n".into())
}

fn map_several(config: &mut Value, uid: u32) {
    let map = |own: u32, first: u32| value!([{"containerID": 0, "hostID": own, "size": 1}, {"containerID": 1, "hostID": first, "size": 1000}]);
    config["linux"]["uidMappings"] = map(uid, 200_000);
    config["linux"]["gidMappings"] = map(GID, 300_000);
}

fn several_ids_come_from_the_programs_for_that(bed: &mut Bed) {
    requires!(newuidmap);
    let user = User::new(bed, 4711);
    let setup = subordinate_ids(&user);
    let show = "id -u; id -G; cat /proc/self/uid_map";
    let bundle = user.bundle(bed, &["sh", "-c", show], |c| {
        map_several(c, user.uid);
        c["process"]["user"] = value!({"uid": 5, "gid": 6, "additionalGids": [7]});
    });
    let o = user.script(&format!("{setup} $LCR run -b {} one", bundle.display())).ok();
    let lines: Vec<Vec<&str>> = o.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[..4], [vec!["5"], vec!["6", "7"], vec!["0", "4711", "1"], vec!["1", "200000", "1000"]], "{o}");
    let bundle = user.bundle(bed, &["sh", "-c", "sleep 1000"], |c| {
        map_several(c, user.uid);
        c["process"]["user"] = value!({"uid": 5, "gid": 6});
        c["process"]["rlimits"] = value!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    });
    // What the user may not have is told in the program's words.
    let refused = user.script(&format!("mount --bind /dev/null /etc/subuid; $LCR run -b {} two", bundle.display()));
    refused.fails(1, "newuidmap");
    let script = format!(
        "{setup} $LCR run -d -b {} two </dev/null >/dev/null && $LCR exec two sh -c 'id -u; ulimit -n' && \
         $LCR exec -u 0:0 two id -u && $LCR kill two KILL && sleep 1; $LCR delete -f two",
        bundle.display()
    );
    assert_eq!(user.script(&script).ok(), "5\n100\n0");
}

fn the_programs_for_ids_are_heard(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let bundle = user.bundle(bed, &["true"], |c| map_several(c, user.uid));
    let programs = user.home.join("programs");
    fs::create_dir(&programs).unwrap();
    let run = || {
        let mut command = user.lcr_command(&["run", "-b", text(&bundle), "one"]);
        command.env("PATH", &programs);
        user.run(command, &["run"])
    };
    run().fails(1, "needs newuidmap(1), which is not in PATH");
    let fake = programs.join("newuidmap");
    fs::write(&fake, format!("#!/bin/sh\necho \"$@\" > {}/said; echo no such luck >&2; exit 9\n", user.home.display()))
        .unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let o = run();
    contains(&o.err, "exit status: 9: no such luck");
    assert_eq!(o.code, 1);
    let said = fs::read_to_string(user.home.join("said")).unwrap();
    assert_eq!(said.split_once(' ').unwrap().1.trim(), "0 4711 1 1 200000 1000");
    assert_eq!(user.lcr(&["list", "-q"]).ok(), "");
}

fn what_a_user_namespace_lacks_is_replaced(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let show = "cat /proc/self/oom_score_adj; echo score; tty; ls /dev/console; cat /proc/mounts";
    let bundle = user.bundle(bed, &["sh", "-c", show], |c| {
        c["process"]["oomScoreAdj"] = (-500).into();
        c["process"]["terminal"] = true.into();
        mount(c, "/dev/pts")["options"].as_array_mut().unwrap().push("gid=5".into());
        // A file system of a network namespace that belongs to others.
        *mount(c, "/sys") = value!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]});
    });
    let o = user.lcr(&["run", "-b", text(&bundle), "one"]).ok().replace('\r', "");
    assert!(!o.starts_with("-500\n"), "{o}");
    contains(&o, "score\n/dev/pts/0\n/dev/console\n");
    contains(&o, " /sys sysfs ro,");
    assert!(!o.contains("gid=5,") && o.contains(" /dev/pts devpts "), "{o}");
    // Its own pid namespace is all that lets it mount procfs.
    let bundle = user.bundle(bed, &["sh", "-c", "cat /proc/$$/comm; grep -c . /proc/mounts"], |c| {
        without(c, &["pid", "cgroup"]);
    });
    let o = user.lcr(&["run", "-b", text(&bundle), "one"]).ok();
    assert!(o.starts_with("sh\n"), "{o}");
    // A device that the configuration names is the host's.
    let bundle = user.bundle(bed, &["sh", "-c", "ls -ln /dev/mine /dev/full; cat /dev/mine"], |c| {
        c["linux"]["devices"] = value!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]);
        c["linux"]["resources"] = value!({"devices": [{"allow": false, "access": "rwm"}]});
        let bind = value!({"destination": "/dev/mine", "type": "bind", "source": "/dev/null", "options": ["bind"]});
        c["mounts"].as_array_mut().unwrap().push(bind);
    });
    contains(&user.lcr(&["run", "-b", text(&bundle), "one"]).ok(), "65534    65534       1,   7");
}

fn groups_that_cannot_be_had_are_refused(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let bundle = user.bundle(bed, &["true"], |c| c["process"]["user"] = value!({"additionalGids": [0]}));
    let o = user.lcr(&["run", "-b", text(&bundle), "one"]);
    o.fails(1, "additional groups [0]: the user namespace lets nobody change groups");
    let bundle = user.bundle(bed, &["true"], |c| c["process"]["user"] = value!({"uid": 1}));
    user.lcr(&["run", "-b", text(&bundle), "one"]).fails(1, "not an id of the user namespace");
}

fn limits_need_a_cgroup(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let limited = |limit: i64| move |c: &mut Value| c["linux"]["resources"] = value!({"pids": {"limit": limit}});
    let bundle = user.bundle(bed, &["echo", "ran"], limited(50));
    let o = user.lcr(&["run", "-b", text(&bundle), "one"]);
    o.fails(1, "limit pids.limit");
    let bundle = user.bundle(bed, &["echo", "ran"], limited(-1));
    assert_eq!(user.lcr(&["run", "-b", text(&bundle), "one"]).ok(), "ran");
    assert_eq!(user.lcr(&["--rootless", "true", "run", "-b", text(&bundle), "one"]).ok(), "ran");
    let o =
        user.lcr(&["--root", text(&user.home.join("run/x")), "--rootless=false", "run", "-b", text(&bundle), "one"]);
    o.fails(1, "permission denied");
    user.lcr(&["--rootless", "perhaps", "list"]).fails(1, "want true, false or auto");
}

fn a_cgroup_that_was_handed_over_is_used(bed: &mut Bed) {
    let Some(unified) = cgroup::unified() else { crate::support::runner::skip("no cgroup v2") };
    let user = User::new(bed, 4711);
    // As a session manager does: a directory with all that is in it, and the user's processes in one below.
    let top = unified.join(bed.cgroup_parent().trim_start_matches('/'));
    let session = top.join("user/session");
    fs::create_dir_all(&session).unwrap();
    for directory in [top.join("user"), session.clone()] {
        user.own(&directory);
        for name in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            user.own(&directory.join(name));
        }
    }
    let bundle = user.bundle(bed, &["sleep", "1000"], |_| ());
    let enter = format!("echo $$ > {}/cgroup.procs && ", session.display());
    user.script(&format!("{enter} $LCR run -d -b {} one </dev/null >/dev/null 2>&1", bundle.display())).ok();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", user.pid("one"))).unwrap();
    let line = own.lines().find(|l| l.starts_with("0::")).unwrap();
    assert!(line.ends_with("/user/one"), "{own}");
    let exec = user.script(&format!("{enter} $LCR exec one cat /proc/self/cgroup")).ok();
    assert!(exec.ends_with("0::/"), "{exec}");
    user.lcr(&["pause", "one"]).ok();
    assert_eq!(user.status("one"), "paused");
    user.lcr(&["resume", "one"]).ok();
    contains(&user.lcr(&["ps", "one"]).ok(), "sleep 1000");
    user.lcr(&["kill", "-a", "one", "KILL"]).ok();
    eventually("it ends", || user.status("one") == "stopped");
    user.lcr(&["delete", "one"]).ok();
    assert!(!top.join("user/one").exists());
    fs::remove_dir(&session).unwrap();
    fs::remove_dir(top.join("user")).unwrap();
}

fn root_of_a_user_namespace_has_containers(bed: &mut Bed) {
    let user = User::new(bed, 4711);
    let lcr = user.home.join("isulabox");
    let inside = |script: &str| {
        let mut command = user.command(Path::new("unshare"), &["-Ur", "sh", "-ec", script]);
        command.env("LCR", format!("{} lcr", lcr.display()));
        user.run(command, &[script])
    };
    // The configuration for the host's root.
    let plain = |args: &[&str], change: &dyn Fn(&mut Value)| {
        let path = user.bundle(bed, args, |_| ());
        fs::remove_file(path.join("config.json")).unwrap();
        user.lcr(&["spec", "-b", text(&path)]).ok();
        let mut config = json(&fs::read(path.join("config.json")).unwrap());
        config["process"]["args"] = value!(args);
        config["process"]["terminal"] = false.into();
        change(&mut config);
        fs::write(path.join("config.json"), isulabox::utils::json::to_vec(&config)).unwrap();
        path
    };
    let bundle = plain(&["sh", "-c", "id -u; ls /dev/null; grep -c ' /sys/fs/cgroup' /proc/mounts"], &|_| ());
    let o = inside(&format!("$LCR run -b {} one", bundle.display())).ok();
    assert!(o.starts_with("0\n/dev/null\n"), "{o}");
    let bundle = plain(&["sleep", "1000"], &|_| ());
    let leave = "</dev/null >/dev/null";
    let script = format!(
        "$LCR create -b {0} one {leave}; $LCR start one; $LCR exec one cat /proc/1/comm; $LCR ps one; \
         pid=$($LCR state one | sed -n 's/.*\"pid\": *\\([0-9]*\\),.*/\\1/p'); \
         sed \"s|{{\\\"type\\\":\\\"pid\\\"}}|{{\\\"type\\\":\\\"pid\\\",\\\"path\\\":\\\"/proc/$pid/ns/pid\\\"}}|; \
         s|\\\"1000\\\"|\\\"/proc/1/cmdline\\\"|; s|\\\"sleep\\\"|\\\"cat\\\"|\" \
         {0}/config.json > {0}/new; mv {0}/new {0}/config.json; grep -c $pid/ns/pid {0}/config.json; \
         $LCR run -b {0} two; $LCR delete -f one",
        bundle.display()
    );
    let o = inside(&script).ok();
    assert!(o.starts_with("sleep\nPID"), "{o}");
    // The second is in the pid namespace of the first, whose program is the first process there.
    assert!(o.trim_end_matches('\0').ends_with("\n1\nsleep\x001000"), "{o:?}");
    // And one in a user namespace below.
    let bundle = plain(&["id", "-u"], &|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(value!({"type": "user"}));
        let map = value!([{"containerID": 5, "hostID": 0, "size": 1}]);
        (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
        c["linux"]["uidMappings"][0]["containerID"] = 0.into();
        c["linux"]["gidMappings"][0]["containerID"] = 0.into();
        mount(c, "/dev/pts")["options"].as_array_mut().unwrap().retain(|o| o != "gid=5");
    });
    assert_eq!(inside(&format!("$LCR run -b {} one", bundle.display())).ok(), "0");
}

fn state_is_kept_where_nobody_else_writes(bed: &mut Bed) {
    let user = User::new(bed, 40_000 + std::process::id() % 20_000);
    let list = || {
        let mut command = user.lcr_command(&["list", "-q"]);
        command.env_remove("XDG_RUNTIME_DIR");
        user.run(command, &["list"])
    };
    let path = PathBuf::from(format!("/tmp/lcr-{}", user.uid));
    list().ok();
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (user.uid, 0o700));
    list().ok();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
    list().fails(1, "mode 0700");
    fs::remove_dir(&path).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    list().fails(1, "is no directory that is only user");
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(user.home.join("run"), &path).unwrap();
    list().fails(1, "is no directory that is only user");
    fs::remove_file(&path).unwrap();
}
