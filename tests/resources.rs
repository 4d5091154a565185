//! Limits: values in the cgroup, and what happens at them.

use crate::support::bed::Bed;
use crate::support::{IMAGE, cgroup, contains};
use crate::{requires, tests};

tests![
    memory_values_reach_the_cgroup,
    memory_beyond_the_limit_is_noted,
    memory_of_a_second_process_beyond_the_limit,
    values_that_break_a_rule_are_refused,
    cpu_values_reach_the_cgroup,
    cpus_bound_processor_time,
    pids_limit_stops_a_fork_bomb,
    resource_limits,
    oom_score,
    container_has_a_cgroup_of_its_own,
    cgroup_parent_of_a_container,
];

fn memory_values_reach_the_cgroup(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.run_detached("aa", "-m 64m --memory-reservation 32m", "payload ready 1000");
    let pid = bed.container_pid("aa");
    assert_eq!(cgroup::read(pid, &["memory.limit_in_bytes", "memory.max"]).as_deref(), Some("67108864"));
    assert_eq!(cgroup::read(pid, &["memory.soft_limit_in_bytes", "memory.low"]).as_deref(), Some("33554432"));
    bed.run_detached("bb", "-m 16384k --memory-swap -1", "payload ready 1000");
    assert_eq!(
        cgroup::read(bed.container_pid("bb"), &["memory.limit_in_bytes", "memory.max"]).as_deref(),
        Some("16777216")
    );
}

fn memory_beyond_the_limit_is_noted(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.isula(&format!("run --name aa -m 16m --memory-swap 16m {IMAGE} payload hog 200")).exits(137);
    assert_eq!(bed.inspect("aa", "/State/OOMKilled"), true);
    assert_eq!(bed.inspect("aa", "/State/ExitCode"), 137);
    assert_eq!(bed.run("-m 64m", "payload hog 20"), "took 20");
    bed.isula(&format!("run --name bb {IMAGE} payload exit 1")).exits(1);
    assert_eq!(bed.inspect("bb", "/State/OOMKilled"), false);
}

fn memory_of_a_second_process_beyond_the_limit(bed: &mut Bed) {
    requires!(cgroup_memory);
    bed.start();
    bed.run_detached("aa", "-m 16m --memory-swap 16m", "payload ready 1000");
    bed.isula("exec aa payload hog 200").exits(137);
    // The first process is not the biggest: it lives.
    assert_eq!(bed.isula("exec aa echo well").ok(), "well");
    bed.isula("stop -t 0 aa").ok();
    assert_eq!(bed.inspect("aa", "/State/OOMKilled"), true);
}

fn values_that_break_a_rule_are_refused(bed: &mut Bed) {
    bed.start();
    for (options, text) in [
        ("-m 1m", "Minimum memory limit allowed is 4MB"),
        ("-m 3.9m", ""),
        ("-m nosuch", ""),
        ("-m -5", ""),
        ("-m 9999999999999999999g", ""),
        ("--memory-swap 64m", ""),
        ("-m 64m --memory-swap 32m", ""),
        ("-m 64m --memory-reservation 65m", ""),
        ("--cpus 0.001 --cpu-quota 5000", "Nano CPUs and CPU Quota cannot both be set"),
        ("--cpus 10000", ""),
        ("--cpus nosuch", ""),
        ("--cpu-period 10", ""),
        ("--cpu-quota 10", ""),
        ("--cpu-shares -2", ""),
        ("--cpuset-cpus 9999", ""),
        ("--cpuset-cpus nosuch", ""),
        ("--pids-limit nosuch", ""),
        ("--ulimit nofile", ""),
        ("--ulimit nosuch=1", ""),
        ("--ulimit nofile=2:1", ""),
        ("--oom-score-adj 1001", ""),
        ("--shm-size nosuch", ""),
        ("--stop-signal 99", "Invalid signal: 99"),
    ] {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, text);
    }
    assert_eq!(bed.isula("ps -aq").ok(), "", "a refused container is left");
}

fn cpu_values_reach_the_cgroup(bed: &mut Bed) {
    requires!(cgroup_cpu);
    bed.start();
    bed.run_detached("aa", "--cpus 0.5 --cpu-shares 512 --cpuset-cpus 0", "payload ready 1000");
    let pid = bed.container_pid("aa");
    match cgroup::read(pid, &["cpu.cfs_quota_us"]) {
        Some(quota) => {
            assert_eq!(quota, "50000");
            assert_eq!(cgroup::read(pid, &["cpu.cfs_period_us"]).as_deref(), Some("100000"));
            assert_eq!(cgroup::read(pid, &["cpu.shares"]).as_deref(), Some("512"));
        }
        None => {
            assert_eq!(cgroup::read(pid, &["cpu.max"]).as_deref(), Some("50000 100000"));
            assert_eq!(cgroup::read(pid, &["cpu.weight"]).as_deref(), Some("20"));
        }
    }
    assert_eq!(cgroup::read(pid, &["cpuset.cpus"]).as_deref(), Some("0"));
    bed.run_detached("bb", "--cpu-period 20000 --cpu-quota 10000", "payload ready 1000");
    let pid = bed.container_pid("bb");
    let quota = cgroup::read(pid, &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(matches!(quota.as_deref(), Some("10000" | "10000 20000")), "{quota:?}");
}

fn cpus_bound_processor_time(bed: &mut Bed) {
    requires!(cgroup_cpu);
    bed.start();
    let share: f64 = bed.run("--cpus 0.2", "payload spin 1500").parse().unwrap();
    assert!(share < 40.0, "{share} % of a processor with --cpus 0.2");
}

fn pids_limit_stops_a_fork_bomb(bed: &mut Bed) {
    requires!(cgroup_pids);
    bed.start();
    let text = bed.run("--pids-limit 20", "payload forks 1000");
    let forked: u32 = text.strip_prefix("forked ").and_then(|n| n.parse().ok()).expect("a number");
    assert!((10..20).contains(&forked), "{text}");
    // One that never gives up, taken down by force with everything it made.
    bed.run_detached("aa", "--pids-limit 30", "sh -c 'f() { f | f & f; }; echo ready; f; sleep 1000'");
    bed.run_detached("bb", "--pids-limit 30", "sh -c 'echo ready; while true; do sleep 1000 & done'");
    bed.await_log("bb", "ready");
    assert_eq!(bed.run("", "echo others live"), "others live");
    bed.isula("rm -f aa bb").ok();
}

fn resource_limits(bed: &mut Bed) {
    bed.start();
    let text = bed.run("--ulimit nofile=123:456 --ulimit core=0 --ulimit nproc=1000:2000", "payload rlimits");
    let line = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).expect("a limit");
        line[name.len()..].split_whitespace().take(2).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(line("Max open files"), ["123", "456"]);
    assert_eq!(line("Max core file size"), ["0", "0"]);
    assert_eq!(line("Max processes"), ["1000", "2000"]);
    contains(
        &bed.run("--ulimit core=-1", "payload rlimits"),
        "Max core file size        unlimited            unlimited",
    );
}

fn oom_score(bed: &mut Bed) {
    bed.start();
    assert_eq!(bed.run("--oom-score-adj 500", "cat /proc/self/oom_score_adj"), "500");
}

fn container_has_a_cgroup_of_its_own(bed: &mut Bed) {
    bed.start();
    let id = bed.run_detached("aa", "", "payload ready 1000");
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", bed.container_pid("aa"))).unwrap();
    let expected = format!("{}/{id}", bed.cgroup_parent());
    contains(&text, &expected);
    // The namespace shows it as the root.
    let inside = bed.isula("exec aa cat /proc/self/cgroup").ok();
    assert!(!inside.contains(&id), "{inside}");
    // The shim is not in it: what the container uses is the container's.
    for shim in crate::support::leaks::children_of(bed.pid()) {
        let text = std::fs::read_to_string(format!("/proc/{shim}/cgroup")).unwrap();
        assert!(!text.contains(&expected), "{text}");
    }
}

fn cgroup_parent_of_a_container(bed: &mut Bed) {
    bed.start();
    let parent = format!("{}/inner", bed.cgroup_parent());
    let id = bed.run_detached("aa", &format!("--cgroup-parent {parent}"), "payload ready 1000");
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", bed.container_pid("aa"))).unwrap();
    contains(&text, &format!("{parent}/{id}"));
    bed.isula("rm -f aa").ok();
    // What a user named is his; the engine removes only what it made for the container.
    cgroup::remove_tree(&parent);
    for line in ["../../x", "/../x"] {
        let o = bed.isula(&format!("run --rm --cgroup-parent {line} {IMAGE} true"));
        assert!(!std::path::Path::new("/sys/fs/x").exists(), "{}", o.show());
    }
}
