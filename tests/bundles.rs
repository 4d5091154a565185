//! What the configuration of a bundle asks for, made by the runtime; by crun and runc too where they know it, so that
//! the checks are checked.

use crate::support::bed::{Bed, binary, json};
use crate::support::bundle::{bundle_with, lcr, lcr_command, status};
use crate::support::command::{self, Output};
use crate::support::{contains, eventually, old_kernel};
use crate::{requires, tests};
use serde_json::{Value, json as value};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

tests![
    tmpfs_begins_with_what_was_there,
    mounts_have_other_ids,
    roots_that_only_their_owner_reaches,
    processes_are_scheduled_as_asked,
    domains_and_memory_policies,
    further_processes_have_their_processors,
    events_until_the_end,
    interfaces_become_the_containers,
    interfaces_that_cannot_move_stay,
];

/// A runtime that may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Runtime {
    Own,
    Crun,
    Runc,
}

impl Runtime {
    /// Those of `list` that are there.
    fn present(list: &[Runtime]) -> Vec<Runtime> {
        let is_there = |name: &str| Command::new(name).arg("--version").output().is_ok();
        let present = |runtime: &Runtime| match runtime {
            Runtime::Own => true,
            Runtime::Crun => is_there("crun"),
            Runtime::Runc => is_there("runc"),
        };
        list.iter().copied().filter(present).collect()
    }

    /// `run` of a bundle, to its end.
    #[track_caller]
    fn run(self, bed: &Bed, bundle: &str) -> Output {
        let words = ["run", "--bundle", bundle, "one"];
        let root = bed.dir.join(format!("{self:?}"));
        let command = match self {
            Runtime::Own => lcr_command(bed, &words),
            Runtime::Runc => {
                let mut command = Command::new("runc");
                command.arg("--root").arg(root).args(words);
                command
            }
            // It takes a hybrid layout for none.
            Runtime::Crun => {
                let mut command = Command::new("unshare");
                let text = "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"";
                command.args(["-m", "sh", "-c", text, "crun", "--root"]).arg(root).args(words);
                command
            }
        };
        command::run(command, format!("{self:?} run"), b"", Duration::from_secs(60))
    }
}

/// A bundle that every runtime takes, whose root may do what root may with files.
fn made(bed: &Bed, args: &[&str], change: impl FnOnce(&mut Value)) -> String {
    bundle_with(bed, args, |config| {
        config["ociVersion"] = "1.0.2".into();
        for set in ["bounding", "effective", "permitted"] {
            add(&mut config["process"]["capabilities"][set], "CAP_DAC_OVERRIDE".into());
        }
        change(config);
    })
}

/// Adds to a list of the configuration.
fn add(list: &mut Value, entry: Value) {
    list.as_array_mut().expect("a list").push(entry);
}

fn set(file: &Path, mode: u32, owner: (u32, u32)) {
    chown(file, Some(owner.0), Some(owner.1)).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

fn tmpfs_begins_with_what_was_there(bed: &mut Bed) {
    if !old_kernel::is_at_least(5, 2) {
        let mount = value!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]});
        let bundle = made(bed, &["true"], |c| add(&mut c["mounts"], mount));
        return Runtime::Own.run(bed, &bundle).fails(1, "tmpcopyup needs Linux 5.2");
    }
    let all = Runtime::present(&[Runtime::Own, Runtime::Crun, Runtime::Runc]);
    let look = "cd /srv/full; ls -ldn . deep deep/file | awk '{print $1, $3, $4, $NF}'; readlink link; cat link deep/file; \
        find . | wc -l; stat -f -c %T .; echo more > deep/more && cat deep/more; ls -A /srv/empty";
    for (options, mode) in [(&["tmpcopyup"][..], "drwxr-x--x"), (&["tmpcopyup", "mode=700"], "drwx------")] {
        let bundle = made(bed, &["sh", "-c", look], |c| {
            for place in ["/srv/full", "/srv/empty"] {
                add(
                    &mut c["mounts"],
                    value!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}),
                );
            }
        });
        let full = Path::new(&bundle).join("rootfs/srv/full");
        fs::create_dir_all(full.join("deep")).unwrap();
        fs::write(full.join("deep/file"), "content\n").unwrap();
        let _ = fs::remove_file(full.join("link"));
        symlink("deep/file", full.join("link")).unwrap();
        set(&full.join("deep/file"), 0o4640, (7, 8));
        set(&full.join("deep"), 0o1711, (5, 6));
        set(&full, 0o751, (0, 0));
        for runtime in &all {
            if *runtime != Runtime::Own && options.len() > 1 {
                continue; // each has its own view of which mode counts
            }
            let out = runtime.run(bed, &bundle).ok();
            let mode = if *runtime == Runtime::Crun { "drwxrwxrwt" } else { mode };
            let want = format!(
                "{mode} 0 0 .\ndrwx--x--t 5 6 deep\n-rwSr----- 7 8 deep/file\ndeep/file\ncontent\ncontent\n4\ntmpfs\nmore"
            );
            assert_eq!(out, want, "{runtime:?} {options:?}");
            assert!(!full.join("deep/more").exists(), "{runtime:?}");
        }
    }
    // What cannot be written to later is filled before.
    let bundle = made(bed, &["sh", "-c", "cat /srv/full/link; echo > /srv/full/x || echo closed"], |c| {
        let options = ["tmpcopyup", "ro"];
        add(
            &mut c["mounts"],
            value!({"destination": "/srv/full", "type": "tmpfs", "source": "tmpfs", "options": options}),
        );
    });
    assert_eq!(Runtime::Own.run(bed, &bundle).ok(), "content\nclosed");
}

fn mounts_have_other_ids(bed: &mut Bed) {
    let source = bed.dir.join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    set(&source.join("file"), 0o600, (1000, 2000));
    set(&source, 0o755, (1000, 2000));
    let map = |first: u32, host: u32, size: u32| value!([{"containerID": first, "hostID": host, "size": size}]);
    let look = "stat -c '%u %g' /mapped/file; : > /mapped/new && stat -c '%u %g' /mapped/new";
    let mapped = |options: &[&str], change: &dyn Fn(&mut Value)| {
        let mut mount = value!({"destination": "/mapped", "type": "bind", "source": source, "options": options});
        change(&mut mount);
        made(bed, &["sh", "-c", look], |c| add(&mut c["mounts"], mount))
    };
    let maps = |mount: &mut Value| {
        (mount["uidMappings"], mount["gidMappings"]) = (map(1000, 0, 1), map(2000, 0, 1));
    };
    let bundle = mapped(&["rbind", "idmap"], &maps);
    if !old_kernel::is_at_least(5, 12) {
        Runtime::Own.run(bed, &bundle).fails(1, "id-mapped mounts need Linux 5.12");
        return;
    }
    requires!(id_mapped_mounts);
    for runtime in Runtime::present(&[Runtime::Own, Runtime::Crun]) {
        assert_eq!(runtime.run(bed, &bundle).ok(), "0 0\n0 0", "{runtime:?}");
        let made = fs::metadata(source.join("new")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1000, 2000), "{runtime:?}");
        fs::remove_file(source.join("new")).unwrap();
    }
    // The maps say enough, and crun's words for them too.
    assert_eq!(Runtime::Own.run(bed, &mapped(&["bind"], &maps)).ok(), "0 0\n0 0");
    let words = ["bind", "idmap=uids=1000-0-1;gids=2000-0-1"];
    fs::remove_file(source.join("new")).unwrap();
    assert_eq!(Runtime::Own.run(bed, &mapped(&words, &|_| ())).ok(), "0 0\n0 0");
    // What is mounted below keeps its own, unless it is asked for too.
    let (below, other) = (source.join("sub"), bed.dir.join("other"));
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("file"), "").unwrap();
    set(&other.join("file"), 0o644, (1000, 2000));
    nix::mount::mount(Some(&other), &below, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();
    let nobody = "65534 65534";
    for (option, want) in [("idmap", "1000 2000"), ("ridmap", "0 0")] {
        let mut mount =
            value!({"destination": "/mapped", "type": "bind", "source": source, "options": ["rbind", option]});
        maps(&mut mount);
        let look = ["sh", "-c", "stat -c '%u %g' /mapped/sub/file /mapped/sub"];
        let bundle = made(bed, &look, |c| add(&mut c["mounts"], mount));
        let directory = if option == "idmap" { "0 0" } else { nobody };
        assert_eq!(Runtime::Own.run(bed, &bundle).ok(), format!("{want}\n{directory}"), "{option}");
    }
    nix::mount::umount(&below).unwrap();
    Runtime::Own.run(bed, &mapped(&["bind", "idmap"], &|_| ())).fails(1, "no user namespace to have them");
    let half = |mount: &mut Value| mount["uidMappings"] = map(0, 0, 1);
    Runtime::Own.run(bed, &mapped(&["bind"], &half)).fails(1, "needs both uidMappings and gidMappings");
    // With a user namespace and no maps it is as if the files were of the container.
    let first = 100_000;
    let bundle = made(bed, &["sh", "-c", "stat -c '%u %g' /mapped/file"], |c| {
        user_namespace(c, first);
        let options = ["bind", "idmap"];
        add(&mut c["mounts"], value!({"destination": "/mapped", "type": "bind", "source": source, "options": options}));
    });
    for runtime in Runtime::present(&[Runtime::Own, Runtime::Crun]) {
        assert_eq!(runtime.run(bed, &bundle).ok(), "1000 2000", "{runtime:?}");
    }
}

fn user_namespace(config: &mut Value, first: u32) {
    add(&mut config["linux"]["namespaces"], value!({"type": "user"}));
    let map = value!([{"containerID": 0, "hostID": first, "size": 65536}]);
    (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map.clone(), map);
}

/// As engines have them whose store is of a container's root.
fn roots_that_only_their_owner_reaches(bed: &mut Bed) {
    if !old_kernel::is_at_least(5, 2) {
        return; // it is refused there, as docker's store is root's
    }
    let first = 100_000;
    let bundle = made(bed, &["sh", "-c", "id -u; echo x > /etc/new; stat -c %u /etc/new; cat /srv/file"], |c| {
        user_namespace(c, first);
        c["root"] = value!({"path": "closed/rootfs"});
        add(
            &mut c["mounts"],
            value!({"destination": "/srv", "type": "bind", "source": "closed/source", "options": ["bind"]}),
        );
    });
    let closed = Path::new(&bundle).join("closed");
    fs::create_dir_all(closed.join("source")).unwrap();
    fs::write(closed.join("source/file"), "below").unwrap();
    fs::rename(Path::new(&bundle).join("rootfs"), closed.join("rootfs")).unwrap();
    let owned = Command::new("chown").args(["-R", &format!("{first}:{first}")]).arg(&closed).status().unwrap();
    assert!(owned.success());
    set(&closed, 0o700, (first, first));
    for runtime in Runtime::present(&[Runtime::Own, Runtime::Crun]) {
        assert_eq!(runtime.run(bed, &bundle).ok(), "0\n0\nbelow", "{runtime:?}");
    }
    fs::rename(closed.join("rootfs"), Path::new(&bundle).join("rootfs")).unwrap();
    fs::remove_dir_all(&closed).unwrap();
}

fn processes_are_scheduled_as_asked(bed: &mut Bed) {
    // nice and policy, proc_pid_stat(5).
    let look = ["sh", "-c", "awk '{print $19, $41}' /proc/self/stat; ionice -p $$"];
    let with = |bed: &Bed, scheduler: Value, io: Value| {
        made(bed, &look, |c| (c["process"]["scheduler"], c["process"]["ioPriority"]) = (scheduler, io))
    };
    let batch = value!({"policy": "SCHED_BATCH", "nice": 5});
    let bundle = with(bed, batch.clone(), value!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    assert_eq!(Runtime::Own.run(bed, &bundle).ok(), "5 3\nbest-effort: prio 6");
    // Also where nobody inside has the right.
    let higher = value!({"policy": "SCHED_OTHER", "nice": -3});
    let bundle = made(bed, &look, |c| {
        user_namespace(c, 100_000);
        c["process"]["scheduler"] = higher;
    });
    contains(&Runtime::Own.run(bed, &bundle).ok(), "-3 0");
    let bundle = with(bed, value!({"policy": "SCHED_RR", "priority": 300}), Value::Null);
    Runtime::Own.run(bed, &bundle).fails(1, "sched_setattr(SCHED_RR): invalid argument");
    let bundle = with(bed, value!({"policy": "SCHED_SOON"}), Value::Null);
    Runtime::Own.run(bed, &bundle).fails(1, "scheduler: unknown policy \"SCHED_SOON\"");
    let bundle = with(bed, batch, value!({"class": "IOPRIO_CLASS_BE", "priority": 8}));
    Runtime::Own.run(bed, &bundle).fails(1, "ioPriority: priority 8: want 0 to 7");
}

fn domains_and_memory_policies(bed: &mut Bed) {
    let machine =
        |domain: &str| made(bed, &["uname", "-m"], |c| c["linux"]["personality"] = value!({"domain": domain}));
    let host = String::from_utf8(Command::new("uname").arg("-m").output().unwrap().stdout).unwrap();
    let of_32_bits = match host.trim() {
        "x86_64" => "i686",
        "aarch64" => "armv8l",
        other => other,
    };
    for (domain, want) in [("LINUX", host.trim()), ("LINUX32", of_32_bits)] {
        let bundle = machine(domain);
        for runtime in Runtime::present(&[Runtime::Own, Runtime::Crun]) {
            assert_eq!(runtime.run(bed, &bundle).ok(), want, "{runtime:?}");
        }
    }
    Runtime::Own.run(bed, &machine("MULTICS")).fails(1, "personality: unknown domain \"MULTICS\"");
    let policy = value!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let look = ["sh", "-c", "head -n 1 /proc/self/numa_maps"];
    let bundle = made(bed, &look, |c| c["linux"]["memoryPolicy"] = policy);
    let o = Runtime::Own.run(bed, &bundle);
    match Path::new("/proc/self/numa_maps").exists() {
        true => contains(&o.ok(), "bind=static:0"),
        false => o.fails(1, "set_mempolicy(0x8002): function not implemented"),
    }
    let bundle = made(bed, &["true"], |c| c["linux"]["memoryPolicy"] = value!({"mode": "MPOL_BIND", "nodes": "1-"}));
    Runtime::Own.run(bed, &bundle).fails(1, "memoryPolicy: nodes \"1-\"");
    let bundle = made(bed, &["true"], |c| c["linux"]["intelRdt"] = value!({"closID": "x"}));
    Runtime::Own.run(bed, &bundle).fails(1, "intelRdt is not supported");
}

fn further_processes_have_their_processors(bed: &mut Bed) {
    let affinity = value!({"initial": "0", "final": "0"});
    let bundle = made(bed, &["payload", "ready", "1000"], |c| c["process"]["execCPUAffinity"] = affinity);
    let running = command::start(lcr_command(bed, &["run", "--bundle", &bundle, "one"]), "lcr run".into());
    eventually("it runs", || status(bed, "one") == "running");
    let look = ["exec", "one", "awk", "/^Cpus_allowed_list/ {print $2}", "/proc/self/status", "/proc/1/status"];
    let out = lcr(bed, &look).ok();
    let lists: Vec<&str> = out.lines().collect();
    assert_eq!(lists[0], "0");
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(lists[1] == "0", online.trim() == "0", "the first process is not bound: {out}");
    lcr(bed, &["kill", "one", "KILL"]).ok();
    running.finish(Duration::from_secs(60));
}

fn events_until_the_end(bed: &mut Bed) {
    requires!(cgroup_memory);
    let bundle = made(bed, &["payload", "ready", "1000"], |c| {
        c["linux"]["resources"]["memory"] = value!({"limit": 32 << 20, "swap": 32 << 20});
        c["linux"]["resources"]["pids"] = value!({"limit": 20});
    });
    let running = command::start(lcr_command(bed, &["run", "--bundle", &bundle, "one"]), "lcr run".into());
    eventually("it runs", || status(bed, "one") == "running");
    let event = json(lcr(bed, &["events", "--stats", "one"]).ok().as_bytes());
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &"one".into()));
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 32 << 20, "{data}");
    assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&1.into(), &20.into()), "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
    let stream = command::start(lcr_command(bed, &["events", "--interval", "100ms", "one"]), "lcr events".into());
    std::thread::sleep(Duration::from_millis(300));
    assert_ne!(lcr(bed, &["exec", "one", "payload", "hog", "256"]).code, 0);
    lcr(bed, &["kill", "one", "KILL"]).ok();
    running.finish(Duration::from_secs(60));
    let out = stream.finish(Duration::from_secs(60)).ok();
    let kinds: Vec<Value> = out.lines().map(|line| json(line.as_bytes())["type"].clone()).collect();
    assert!(kinds.contains(&"stats".into()) && kinds.contains(&"oom".into()), "{out}");
    lcr(bed, &["events", "--stats", "one"]).fails(1, "\"one\"");
}

/// Runs a bundle, and `after` it, in network and mount namespaces of the test's own, where `make` has made interfaces.
#[track_caller]
fn run_among_interfaces(bed: &Bed, make: &str, bundle: &str, after: &str) -> Output {
    let text = format!("{make}\ncode=0; \"$@\" || code=$?; {after}\nexit $code");
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-ec", &text]);
    command.arg("sh").arg(binary()).args(["lcr", "--root"]).arg(bed.dir.join("lcr"));
    command.args(["run", "--bundle", bundle, "one"]);
    command::run(command, "lcr run".into(), b"", Duration::from_secs(60))
}

/// A pair of interfaces. `h0` has addresses for good, one for a while and one of its link only.
const PAIR: &str = "ip link add h0 type veth peer name h1
    ip link set h0 mtu 1400 address 02:00:00:00:00:07
    ip addr add 10.8.0.2/24 dev h0
    ip addr add 10.8.0.3/24 dev h0
    ip addr add 10.8.1.2/24 valid_lft 1000 preferred_lft 900 dev h0
    ip addr add 169.254.7.7/16 scope link dev h0
    test ! -e /proc/net/if_inet6 || ip addr add fd00:8::2/64 nodad dev h0
    ip link set h0 up; ip link set h1 up";

/// Name, size of packets and hardware address of each interface but the first, then the addresses.
const LOOK: &str = "cd /sys/class/net; for i in *; do test $i = lo || echo $i $(cat $i/mtu $i/address $i/operstate); done; \
    ip -o addr show | awk '$2 != \"lo\" && !/fe80/ {print $2, $4}' | sort";

fn interfaces_become_the_containers(bed: &mut Bed) {
    requires!(veth);
    let version_6 = Path::new("/proc/net/if_inet6").exists();
    let want = |name: &str| {
        let addresses = ["10.8.0.2/24", "10.8.0.3/24", "fd00:8::2/64"];
        let addresses = addresses[..if version_6 { 3 } else { 2 }].iter().map(|a| format!("\n{name} {a}"));
        format!("{name} 1400 02:00:00:00:00:07 up{}", addresses.collect::<String>())
    };
    let with = |bed: &Bed, name: &str, change: &dyn Fn(&mut Value)| {
        made(bed, &["sh", "-c", LOOK], |c| {
            c["linux"]["netDevices"] = value!({"h0": {"name": name}});
            change(c);
        })
    };
    for (name, inside) in [("", "h0"), ("inner", "inner"), ("eth%d", "eth0")] {
        let bundle = with(bed, name, &|_| ());
        assert_eq!(run_among_interfaces(bed, PAIR, &bundle, "").ok(), want(inside));
    }
    let bundle = with(bed, "inner", &|c| user_namespace(c, 100_000));
    assert_eq!(run_among_interfaces(bed, PAIR, &bundle, "").ok(), want("inner"));
    // Into a namespace that was there before: it has a name like the first of the template, and what is moved stays.
    let namespace = bed.dir.join("namespace");
    fs::write(&namespace, "").unwrap();
    let bundle = with(bed, "eth%d", &|c| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        let network = list.iter_mut().find(|n| n["type"] == "network").unwrap();
        network["path"] = namespace.display().to_string().into();
    });
    let inside = format!("nsenter --net={}", namespace.display());
    let make = format!(
        "unshare --net={} true\n{inside} ip link add eth0 type veth peer name eth2; {PAIR}",
        namespace.display()
    );
    let after = format!("{inside} ip -o link show eth1 | grep -o 'mtu 1400'; ls /sys/class/net | grep h0 || echo gone");
    // The new /sys is that of the namespace in which it is mounted.
    let after = format!("mount -t sysfs none /sys; {after}");
    let out = run_among_interfaces(bed, &make, &bundle, &after).ok();
    want("eth1").lines().for_each(|line| contains(&out, line));
    assert!(out.ends_with("mtu 1400\ngone"), "{out}");
}

fn interfaces_that_cannot_move_stay(bed: &mut Bed) {
    requires!(veth);
    let refused = |bed: &Bed, devices: Value, change: &dyn Fn(&mut Value), text: &str| {
        let bundle = made(bed, &["true"], |c| {
            c["linux"]["netDevices"] = devices;
            change(c);
        });
        let o = run_among_interfaces(bed, PAIR, &bundle, "ip -o addr show dev h0 >&2");
        contains(&o.err, text);
        contains(&o.err, "10.8.0.2/24");
        assert_eq!(status(bed, "one"), "code 1");
    };
    let text = "netDevices \"h0\": the container has an interface \"lo\" already";
    refused(bed, value!({"h0": {"name": "lo"}}), &|_| (), text);
    // The second one is looked at before the first one moves.
    let both = value!({"h0": {}, "none": {}});
    refused(bed, both, &|_| (), "netDevices \"none\": there is no such interface");
    let loopback = value!({"lo": {"name": "other"}});
    refused(bed, loopback, &|_| (), "netDevices \"lo\": the kernel does not move it to another namespace");
    refused(bed, value!({"h0": {"name": "a/b"}}), &|_| (), "\"a/b\" is not the name of an interface");
    let two = value!({"h0": {"name": "x"}, "h1": {"name": "x"}});
    refused(bed, two, &|_| (), "netDevices: two interfaces named \"x\"");
    let shared: &dyn Fn(&mut Value) =
        &|c| c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    refused(bed, value!({"h0": {}}), shared, "netDevices: the container needs a network namespace of its own");
}
