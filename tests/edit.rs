//! rename and update.

use crate::support::bed::Bed;
use crate::support::{IMAGE, cgroup, contains, eventually};
use crate::{requires, tests};
use nix::mount::MsFlags;
use serde_json::json;

tests![
    a_new_name_is_known_at_once_and_later,
    bad_names_are_refused,
    limits_change_while_it_runs,
    limits_of_a_stopped_one_hold_at_the_next_start,
    updates_that_break_a_rule_change_nothing,
    updates_that_fail_are_undone,
    a_policy_changes,
    dockers_requests,
    ports_of_one_without,
];

fn a_new_name_is_known_at_once_and_later(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.isula("rename aa bb").ok(), "");
    assert_eq!((bed.inspect("bb", "/Id"), bed.inspect("bb", "/Name")), (id.clone().into(), "bb".into()));
    bed.isula("inspect aa").fails(1, "No such");
    contains(&bed.isula("ps").ok(), "bb");
    assert_eq!(bed.isula("exec bb echo well").ok(), "well");
    // The old one is free.
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    bed.restart();
    assert_eq!(bed.inspect("bb", "/Id"), id);
    bed.kill();
    bed.restart();
    bed.isula("rename bb cc").ok();
    bed.kill();
    bed.restart();
    assert_eq!(bed.inspect("cc", "/Id"), id);
    bed.isula("rename cc bb").ok();
    bed.isula("rm -f bb").ok();
    bed.isula("rename aa bb").ok();
    let told = bed.isula("events -S 1h -U 0s -f event=rename").ok();
    contains(&told, "(image=box, name=bb, oldName=/aa)");
}

fn bad_names_are_refused(bed: &mut Bed) {
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} true")).ok();
    bed.isula(&format!("create --name bb {IMAGE} true")).ok();
    bed.isula("rename aa").fails(125, "\"rename\" requires");
    bed.isula("rename aa bb cc").fails(125, "\"rename\" requires");
    bed.isula("rename aa bb").fails(1, "Conflict. The name \"bb\" is already in use by container");
    bed.isula("rename aa aa").fails(1, "same name as its current name");
    bed.isula("rename aa -- -x").fails(1, "Invalid container name");
    bed.isula("rename nosuch cc").fails(1, "No such container");
    assert_eq!(bed.http("POST", "/v1.44/containers/aa/rename", None).status, 400);
    assert_eq!(bed.http("POST", "/v1.44/containers/aa/rename?name=bb", None).status, 409);
    assert_eq!((bed.inspect("aa", "/Name"), bed.inspect("bb", "/Name")), ("aa".into(), "bb".into()));
}

fn value(bed: &Bed, name: &str, files: &[&str]) -> String {
    cgroup::read(bed.container_pid(name), files).unwrap_or_default()
}

fn limits_change_while_it_runs(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.run_detached("aa", "-m 64m --cpu-shares 512", "payload ready 1000");
    let memory = &["memory.limit_in_bytes", "memory.max"];
    assert_eq!(bed.isula("update -m 32m aa").ok(), "aa");
    assert_eq!(value(bed, "aa", memory), (32 << 20).to_string());
    bed.isula("update -m 200m --memory-swap 300m --cpus 0.5 --pids-limit 50 aa").ok();
    assert_eq!(value(bed, "aa", memory), (200 << 20).to_string());
    assert_eq!(value(bed, "aa", &["pids.max"]), "50");
    let quota = value(bed, "aa", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(quota.starts_with("50000"), "{quota}");
    bed.isula("update --pids-limit -1 --cpu-shares 256 aa").ok();
    assert_eq!(value(bed, "aa", &["pids.max"]), "max");
    assert_eq!(bed.inspect("aa", "/HostConfig/CPUShares"), 256);
    assert_eq!(bed.inspect("aa", "/HostConfig/MemorySwap"), 300 << 20);
    // They are what the next start and the next daemon find.
    bed.restart();
    bed.isula("restart -t 0 aa").ok();
    assert_eq!(value(bed, "aa", memory), (200 << 20).to_string());
    // Frozen as well.
    bed.isula("pause aa").ok();
    bed.isula("update -m 100m aa").ok();
    bed.isula("unpause aa").ok();
    assert_eq!(value(bed, "aa", memory), (100 << 20).to_string());
}

fn limits_of_a_stopped_one_hold_at_the_next_start(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.isula(&format!("create --name aa {IMAGE} payload ready 1000")).ok();
    bed.isula("update -m 64m --cpuset-cpus 0 aa").ok();
    bed.isula("start aa").ok();
    assert_eq!(value(bed, "aa", &["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    assert_eq!(value(bed, "aa", &["cpuset.cpus"]), "0");
}

fn updates_that_break_a_rule_change_nothing(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.run_detached("aa", "-m 64m --cpus 0.5", "payload ready 1000");
    for (flags, part) in [
        ("-m 1m", "Minimum memory limit allowed is 4MB"),
        ("-m 129m", "Memory limit should be smaller than already set memoryswap limit"),
        ("--cpu-period 50000", "CPU Period cannot be updated as NanoCPUs has already been set"),
        ("--cpu-quota 50000", "CPU Quota cannot be updated as NanoCPUs has already been set"),
        ("--cpuset-cpus 999", "Requested CPUs are not available"),
        ("--blkio-weight 5", "Range of blkio weight is from 10 to 1000"),
        ("--cpus 999", "Range of CPUs"),
        ("--cpu-shares 100 -m 65m --memory-swap 1m", "Minimum memoryswap limit"),
    ] {
        bed.isula(&format!("update {flags} aa")).fails(1, part);
    }
    bed.isula("update --kernel-memory 64m aa").fails(1, "Can not update kernel memory to a running container");
    bed.isula("update aa").fails(125, "You must provide one or more update flags when using this command.");
    bed.isula("update -m 64m").fails(125, "requires a minimum of 1 argument");
    bed.isula("update -m x aa").fails(125, "--memory");
    bed.isula("update --cpu-shares 5 nosuch").fails(1, "No such container");
    assert_eq!(bed.inspect("aa", "/HostConfig/Memory"), 64 << 20);
    assert_eq!(value(bed, "aa", &["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
}

/// The disk says what holds: what the kernel refuses is not kept, and what cannot be kept does not hold.
fn updates_that_fail_are_undone(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    let script = "sh -c 'dd if=/dev/zero of=/big/x bs=1M count=64 2>/dev/null; echo ready; sleep 1000'";
    let id = bed.run_detached("aa", "-m 256m --memory-swap 256m --tmpfs /big:size=100m", script);
    bed.await_log("aa", "ready");
    let limits = |bed: &Bed| {
        let limit = value(bed, "aa", &["memory.limit_in_bytes", "memory.max"]);
        (limit, bed.inspect("aa", "/HostConfig/Memory"), bed.inspect("aa", "/HostConfig/RestartPolicy/Name"))
    };
    let before = limits(bed);
    let directory = bed.graph().join("engines/lcr").join(&id);
    let mount = |flags| nix::mount::mount(Some(&directory), &directory, None::<&str>, flags, None::<&str>).unwrap();
    mount(MsFlags::MS_BIND);
    mount(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let o = bed.isula("update -m 200m --memory-swap 200m --restart always aa");
    nix::mount::umount(&directory).unwrap();
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err, "read-only file system");
    assert_eq!(limits(bed), before);
    // What is in use cannot be taken away with v1; v2 ends processes for it.
    if !value(bed, "aa", &["memory.limit_in_bytes"]).is_empty() {
        let shares = value(bed, "aa", &["cpu.shares"]);
        let o = bed.isula("update --cpu-shares 512 --pids-limit 77 -m 16m --restart always aa");
        assert_ne!(o.code, 0, "{}", o.show());
        contains(&o.err, "memory.limit_in_bytes");
        assert_eq!(limits(bed), before);
        assert_eq!((value(bed, "aa", &["cpu.shares"]), value(bed, "aa", &["pids.max"])), (shares, "max".into()));
    }
    bed.restart();
    assert_eq!(limits(bed), before);
}

fn a_policy_changes(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    bed.isula("update --restart on-failure:5 aa").ok();
    let pid = bed.container_pid("aa");
    let kill =
        |pid: i64| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::SIGKILL).unwrap();
    kill(pid);
    eventually("it runs again", || ![0, pid].contains(&bed.inspect("aa", "/State/Pid").as_i64().unwrap()));
    bed.restart();
    assert_eq!(bed.inspect("aa", "/HostConfig/RestartPolicy/MaximumRetryCount"), 5);
    let pid = bed.container_pid("aa");
    kill(pid);
    eventually("and again", || ![0, pid].contains(&bed.inspect("aa", "/State/Pid").as_i64().unwrap()));
    bed.isula("update --restart no aa").ok();
    kill(bed.container_pid("aa"));
    bed.await_state("aa", "exited");
    bed.isula("update --restart sometimes aa").fails(125, "Invalid restart policy");
    bed.run_detached("bb", "--rm", "payload ready 1000");
    bed.isula("update --restart always bb").fails(1, "AutoRemove is enabled");
    bed.isula("update --restart no bb").ok();
}

fn dockers_requests(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    let answer =
        bed.post("/v1.44/containers/aa/update", &json!({"Memory": 64 << 20, "MemorySwap": -1, "BlkioWeight": 0}));
    assert_eq!((answer.status, answer.json()), (200, json!({"Warnings": []})));
    assert_eq!(value(bed, "aa", &["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    assert_eq!(bed.post("/v1.44/containers/aa/update", &json!({"Memory": "x"})).status, 400);
    assert_eq!(bed.post("/v1.44/containers/nosuch/update", &json!({})).status, 404);
    assert_eq!(bed.http("POST", "/v1.44/containers/aa/rename?name=zz", None).status, 204);
}

fn ports_of_one_without(bed: &mut Bed) {
    bed.start();
    bed.run_detached("aa", "", "payload ready 1000");
    assert_eq!(bed.isula("port aa").ok(), "");
    bed.isula("port aa 80").fails(1, "No public port '80/tcp' published for aa");
    bed.isula("port nosuch").fails(1, "No such");
}
