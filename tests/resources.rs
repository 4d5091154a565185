//! Limits: values in the cgroup, and what happens at them.

use crate::docker_client::docker;
use crate::support::bed::{Bed, refused};
use crate::support::disk::LoopDevice;
use crate::support::{IMAGE, cgroup, contains, old_kernel};
use crate::{requires, tests};
use std::path::Path;

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
    rates_of_a_block_device,
    weights_of_a_block_device,
    block_devices_that_are_none,
    huge_pages,
    real_time_scheduling,
    the_daemons_real_time_scheduling,
    stats_of_all_states,
    kernel_memory_and_open_files,
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
        ("--kernel-memory 1m", "Minimum kernel memory limit allowed is 4MB"),
        ("--blkio-weight-device /dev/x:9", "Invalid weight for device"),
        ("--blkio-weight-device x:10", "it should start with /dev/"),
        ("--device-read-bps /dev/x", "bad format for --device-read-bps"),
        ("--device-write-bps /dev/x:-1", "invalid rate for device"),
        ("--device-read-iops /dev/x:1k", "Number must be unsigned 64 bytes integer"),
        ("--device-write-iops /dev/x:-1", "Number must be unsigned 64 bytes integer"),
        ("--hugetlb-limit x", "Invalid value \"x\" for flag --hugetlb-limit"),
        ("--files-limit -2", "invalid files limit -2"),
        ("--cpu-rt-period -1", "invalid real-time period -1"),
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

/// A block device of the test's own.
fn disk(bed: &Bed) -> LoopDevice {
    let file = bed.dir.join("disk");
    std::fs::File::create(&file).and_then(|f| f.set_len(1 << 20)).unwrap();
    LoopDevice::attach(&file)
}

/// Major and minor number as the kernel writes them.
fn numbers(device: &Path) -> String {
    let number = nix::sys::stat::stat(device).unwrap().st_rdev;
    format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number))
}

/// The four rates of a running container.
#[track_caller]
fn check_rates(bed: &Bed, container: &str, numbers: &str, rates: [u64; 4]) {
    let pid = bed.container_pid(container);
    if let Some(text) = cgroup::read(pid, &["io.max"]) {
        let [rbps, wbps, riops, wiops] = rates;
        assert_eq!(text, format!("{numbers} rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}"));
        return;
    }
    for (name, rate) in ["read_bps", "write_bps", "read_iops", "write_iops"].iter().zip(rates) {
        let text = cgroup::read(pid, &[&format!("blkio.throttle.{name}_device")]);
        assert_eq!(text, Some(format!("{numbers} {rate}")), "{name}");
    }
}

fn rates_of_a_block_device(bed: &mut Bed) {
    requires!(losetup, cgroup_throttle);
    bed.start();
    let disk = disk(bed);
    let (path, numbers) = (disk.path().display(), numbers(disk.path()));
    let options = format!(
        "--device-read-bps {path}:1mb --device-write-bps {path}:2mb --device-read-iops {path}:100 \
         --device-write-iops {path}:200"
    );
    bed.run_detached("aa", &options, "payload ready 1000");
    check_rates(bed, "aa", &numbers, [1 << 20, 2 << 20, 100, 200]);
    let first = |pointer: &str| bed.inspect("aa", &format!("/HostConfig/{pointer}/0"));
    let rate = |rate: u64| serde_json::json!({"Path": path.to_string(), "Rate": rate});
    assert_eq!(first("BlkioDeviceReadBps"), rate(1 << 20));
    assert_eq!(first("BlkioDeviceWriteIOps"), rate(200));
    // They are kept, and hold at the next start.
    bed.restart();
    bed.isula("restart -t 0 aa").ok();
    check_rates(bed, "aa", &numbers, [1 << 20, 2 << 20, 100, 200]);
    if crate::support::requires::docker().is_ok() {
        docker(bed, &format!("run -d --name bb --network none {options} {IMAGE} payload ready 1000")).ok();
        check_rates(bed, "bb", &numbers, [1 << 20, 2 << 20, 100, 200]);
    }
    bed.isula("rm -f aa").ok();
}

fn weights_of_a_block_device(bed: &mut Bed) {
    requires!(losetup, cgroup_block_weights);
    bed.start();
    let disk = disk(bed);
    let name = disk.path().file_name().unwrap().to_str().unwrap();
    let scheduler = format!("/sys/block/{name}/queue/scheduler");
    std::fs::write(&scheduler, "bfq").unwrap();
    let numbers = numbers(disk.path());
    let options = format!("--blkio-weight 300 --blkio-weight-device {}:500", disk.path().display());
    // Both versions have them from 1 to 1000 for bfq.
    let check = |container: &str, weight: &str| {
        let pid = bed.container_pid(container);
        let of_all = cgroup::read(pid, &["blkio.bfq.weight", "io.bfq.weight"]).unwrap();
        assert_eq!(of_all.lines().next().unwrap().trim_start_matches("default "), weight);
        let of_one = cgroup::read(pid, &["blkio.bfq.weight_device", "io.bfq.weight"]).unwrap();
        contains(&of_one, &format!("{numbers} 500"));
    };
    bed.run_detached("aa", &options, "payload ready 1000");
    check("aa", "300");
    bed.isula("update --blkio-weight 400 aa").ok();
    check("aa", "400");
    bed.isula("restart -t 0 aa").ok();
    check("aa", "400");
    bed.isula("rm -f aa").ok();
    std::fs::write(&scheduler, "none").unwrap();
    // Its scheduler has none.
    let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "blockIO.weightDevice");
}

fn block_devices_that_are_none(bed: &mut Bed) {
    requires!(cgroup_throttle);
    bed.start();
    for (device, why) in [("/dev/nosuch", "no such file"), ("/dev/null", "not a block device")] {
        let o = bed.isula(&format!("run --rm --device-read-bps {device}:1mb {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, &format!("device \"{device}\" (--device-read-bps): "));
        contains(&o.err, why);
    }
    // Without a scheduler that has weights, they are left out.
    let o = bed.isula(&format!("run --rm --blkio-weight-device /dev/nosuch:100 {IMAGE} true"));
    match o.code {
        0 => contains(&o.err, "Your kernel does not support Block I/O weight_device"),
        _ => contains(&o.err, "device \"/dev/nosuch\" (--blkio-weight-device)"),
    }
    assert_eq!(bed.isula("ps -aq").ok(), "", "a refused container is left");
}

fn huge_pages(bed: &mut Bed) {
    bed.start();
    if let Err(reason) = crate::support::requires::cgroup_hugetlb() {
        let o = bed.isula(&format!("run --rm --hugetlb-limit 64m {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, "Your kernel does not support hugetlb limit");
        crate::support::runner::skip(&reason);
    }
    let read = |container: &str, size: &str| {
        let names = [format!("hugetlb.{size}.limit_in_bytes"), format!("hugetlb.{size}.max")];
        cgroup::read(bed.container_pid(container), &names.each_ref().map(String::as_str))
    };
    let kilobytes = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kilobytes = kilobytes.lines().find_map(|l| l.strip_prefix("Hugepagesize:")).expect("huge pages");
    let megabytes = kilobytes.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    bed.run_detached("aa", "--hugetlb-limit 64m", "payload ready 1000");
    assert_eq!(read("aa", &format!("{megabytes}MB")).as_deref(), Some("67108864"));
    bed.run_detached("bb", &format!("--hugetlb-limit {}k:32m", megabytes << 10), "payload ready 1000");
    assert_eq!(read("bb", &format!("{megabytes}MB")).as_deref(), Some("33554432"));
    for (options, text) in [
        ("--hugetlb-limit 3m:64m".to_string(), "Invalid hugepage size: 3m, should be one of ["),
        (format!("--hugetlb-limit 1m --hugetlb-limit {megabytes}m:1m"), "is given twice"),
    ] {
        let o = bed.isula(&format!("run --rm {options} {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, text);
    }
}

fn real_time_scheduling(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run --rm --cpu-rt-period 1000 --cpu-rt-runtime 2000 {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "Invalid --cpu-rt-runtime: rt runtime cannot be higher than rt period");
    let o = bed.isula(&format!("run --rm --cpu-rt-runtime 1000 {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    if let Err(reason) = crate::support::requires::cgroup_realtime() {
        contains(&o.err, "Your kernel does not support cgroup rt");
        crate::support::runner::skip(&reason);
    }
    // What is above has none to give.
    contains(&o.err, "cpu.realtimeRuntime");
    // An operator gives it some.
    let parent = Path::new("/sys/fs/cgroup/cpu").join(bed.cgroup_parent().trim_start_matches('/'));
    let mut above = std::path::PathBuf::from("/sys/fs/cgroup/cpu");
    for part in parent.strip_prefix(&above).unwrap().components() {
        above.push(part);
        std::fs::create_dir_all(&above).unwrap();
        std::fs::write(above.join("cpu.rt_runtime_us"), "100000").unwrap();
    }
    bed.run_detached("aa", "--cpu-rt-period 500000 --cpu-rt-runtime 20000", "payload ready 1000");
    let read = |file: &str| cgroup::read(bed.container_pid("aa"), &[file]);
    assert_eq!(read("cpu.rt_runtime_us").as_deref(), Some("20000"));
    assert_eq!(read("cpu.rt_period_us").as_deref(), Some("500000"));
    bed.isula("update --cpu-rt-runtime 10000 aa").ok();
    assert_eq!(read("cpu.rt_runtime_us").as_deref(), Some("10000"));
    bed.isula("update --cpu-rt-period 5000 aa").fails(1, "rt runtime cannot be higher than rt period");
    assert_eq!(bed.inspect("aa", "/HostConfig/CpuRealtimeRuntime"), 10000);
    bed.isula("rm -f aa").ok();
    cgroup::remove_tree(&bed.cgroup_parent());
}

fn the_daemons_real_time_scheduling(bed: &mut Bed) {
    let words =
        |period: &str, runtime: &str| bed.daemon_words(&["--cpu-rt-period", period, "--cpu-rt-runtime", runtime]);
    contains(&refused(bed, &words("xx", "950000")), "--cpu-rt-period");
    contains(&refused(bed, &words("1000000", "xx")), "--cpu-rt-runtime");
    let high = refused(bed, &words("1000", "2000"));
    contains(&high, "Invalid --cpu-rt-runtime: rt runtime cannot be higher than rt period");
    let file = bed.dir.join("daemon.json");
    std::fs::write(&file, r#"{"cpu-rt-period":500000}"#).unwrap();
    let file = file.display().to_string();
    let clash = bed.daemon_words(&["--config", &file, "--cpu-rt-period", "400000"]);
    contains(&refused(bed, &clash), "--cpu-rt-period");
    // What parallel tests take of the same machine is little too.
    bed.start_with(&["--config", &file, "--cpu-rt-runtime", "40000"]);
    if let Err(reason) = crate::support::requires::cgroup_realtime() {
        // A daemon with these flags serves all the same, and says that they are for nothing.
        bed.isula(&format!("run --rm --cpu-rt-runtime 1000 {IMAGE} true"))
            .fails(125, "Your kernel does not support cgroup rt");
        contains(&bed.log(), "Your kernel does not support cgroup rt period");
        crate::support::runner::skip(&reason);
    }
    bed.run_detached("aa", "--cpu-rt-period 500000 --cpu-rt-runtime 20000", "payload ready 1000");
    let above = Path::new("/sys/fs/cgroup/cpu").join(bed.cgroup_parent().trim_start_matches('/'));
    let given = |file: &str| std::fs::read_to_string(above.join(file)).unwrap().trim().to_owned();
    assert_eq!([given("cpu.rt_period_us"), given("cpu.rt_runtime_us")], ["500000", "40000"]);
    let read = |name: &str| cgroup::read(bed.container_pid(name), &["cpu.rt_runtime_us"]);
    assert_eq!(read("aa").as_deref(), Some("20000"));
    // More than there is.
    let o = bed.isula(&format!("run --rm --cpu-rt-period 500000 --cpu-rt-runtime 50000 {IMAGE} true"));
    assert_eq!(o.code, 125, "{}", o.show());
    contains(&o.err, "cpu.rt_runtime_us");
    // One that asked for nothing may have some later.
    bed.run_detached("bb", "", "payload ready 1000");
    assert_eq!(read("bb").as_deref(), Some("0"));
    bed.isula("update --cpu-rt-runtime 10000 bb").ok();
    assert_eq!(read("bb").as_deref(), Some("10000"));
    bed.isula("update --cpu-rt-period 800000 --cpu-rt-runtime 900000 bb")
        .fails(1, "Invalid --cpu-rt-runtime: rt runtime cannot be higher than rt period");
    // Also in a parent of a container's own, which gets as much: all there is.
    bed.isula("rm -f aa bb").ok();
    let parent = format!("{}/other", bed.cgroup_parent());
    bed.run_detached("cc", &format!("--cgroup-parent {parent} --cpu-rt-runtime 5000"), "payload ready 1000");
    assert_eq!(read("cc").as_deref(), Some("5000"));
    bed.isula("rm -f cc").ok();
    // The kernel takes back what a removed cgroup had in its own time.
    bed.run_detached("dd", &format!("--cgroup-parent {parent} --cpu-rt-runtime 40000"), "payload ready 1000");
    for _ in 0..5 {
        bed.isula("restart -t 0 dd").ok();
        assert_eq!(read("dd").as_deref(), Some("40000"));
    }
    bed.isula("rm -f dd").ok();
    cgroup::remove_tree(&bed.cgroup_parent());
}

fn stats_of_all_states(bed: &mut Bed) {
    requires!(cgroup_freezer);
    bed.start();
    bed.isula("stats --no-stream nosuch").fails(1, "No such container");
    let o = bed.isula("stats --no-stream -");
    assert_ne!(o.code, 0, "{}", o.show());
    contains(&o.err, "Invalid container name");
    let short = |id: String| id[..12].to_owned();
    let created = short(bed.isula(&format!("create --name created {IMAGE} true")).ok());
    let running = short(bed.run_detached("running", "", "payload ready 1000"));
    let paused = short(bed.run_detached("paused", "", "payload ready 1000"));
    bed.isula("pause paused").ok();
    let stopped = short(bed.run_detached("stopped", "", "payload ready 1000"));
    bed.isula("stop -t 0 stopped").ok();
    let ids = |line: &str| {
        let screen = bed.isula(line).ok();
        let rows = screen.lines().filter(|row| !row.starts_with("CONTAINER"));
        let mut ids: Vec<String> = rows.map(|row| row.split(' ').next().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let sorted = |list: &[&String]| {
        let mut list: Vec<String> = list.iter().map(|id| id.to_string()).collect();
        list.sort();
        list
    };
    let alive = sorted(&[&running, &paused]);
    let sample = bed.get("/v1.44/containers/stopped/stats?stream=false").json();
    assert_eq!([&sample["name"], &sample["read"]], ["/stopped", "0001-01-01T00:00:00Z"]);
    assert!(sample["id"].as_str().unwrap().starts_with(&stopped), "{sample}");
    let all = sorted(&[&created, &running, &paused, &stopped]);
    assert_eq!(ids("stats --no-stream"), alive);
    assert_eq!(ids("stats --no-stream -a"), all);
    assert_eq!(ids("stats --no-stream created"), sorted(&[&created]), "one that was named is shown");
    assert_eq!(ids("stats --no-stream --original"), alive);
    let text = bed.isula("stats --no-stream --original -a").ok();
    for (id, state, name) in [
        (&created, "inited", "created"),
        (&running, "running", "running"),
        (&paused, "paused", "paused"),
        (&stopped, "exited", "stopped"),
    ] {
        let line = text.lines().find(|line| line.starts_with(id.as_str())).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words.len(), words[2], words[12]), (13, state, name), "{line}");
    }
    bed.isula("unpause paused").ok();
}

fn kernel_memory_and_open_files(bed: &mut Bed) {
    bed.start();
    let o = bed.isula(&format!("run -d --name aa --kernel-memory 64m {IMAGE} payload ready 1000"));
    assert_eq!(o.code, 0, "{}", o.show());
    let file = "memory.kmem.limit_in_bytes";
    let v1 = Path::new("/sys/fs/cgroup/memory").join(file).exists();
    if v1 && !old_kernel::is_at_least(5, 16) {
        assert_eq!(cgroup::read(bed.container_pid("aa"), &[file]).as_deref(), Some("67108864"));
    } else {
        contains(&o.err, "Your kernel does not support kernel memory limit");
    }
    bed.isula("update --kernel-memory 32m aa").fails(1, "Can not update kernel memory to a running container");
    bed.isula("stop -t 0 aa").ok();
    bed.isula("update --kernel-memory 32m aa").ok();
    assert_eq!(bed.inspect("aa", "/HostConfig/KernelMemory"), 32 << 20);
    if !Path::new("/sys/fs/cgroup/files").exists() {
        let o = bed.isula(&format!("run --rm --files-limit 100 {IMAGE} true"));
        assert_eq!(o.code, 125, "{}", o.show());
        contains(&o.err, "Your kernel does not support files limit (--files-limit)");
        bed.run("--files-limit -1", "true");
    }
}
