//! From words to the request.
use super::*;
use crate::cmd::isula::{Command, DIALECT, Top};

fn parse(line: &[&str]) -> ContainerFlags {
    let words = line.iter().map(Into::into).collect();
    match crate::cmd::argv::parse::<Top>("isula", words, DIALECT).unwrap().command {
        Some(Command::Run(run)) => run.0,
        Some(Command::Create(create)) => create.0,
        other => panic!("{other:?}"),
    }
}

fn make(line: &str) -> CreateRequest {
    request(&parse(&line.split_whitespace().collect::<Vec<_>>())).unwrap()
}

fn refusal(line: &str) -> String {
    let failure = request(&parse(&line.split_whitespace().collect::<Vec<_>>())).unwrap_err();
    assert_eq!(failure.code, 125);
    failure.text
}

#[test]
fn a_plain_run_asks_for_nothing_else() {
    let r = make("run busybox");
    let config = ContainerConfig {
        image: "busybox".into(),
        attach_stdout: true,
        attach_stderr: true,
        ..ContainerConfig::default()
    };
    assert_eq!(r, CreateRequest { config, host_config: HostConfig::default() });
    let r = make("run -itd busybox sh -c x");
    assert_eq!(
        (r.config.tty, r.config.open_stdin, r.config.attach_stdin, r.config.stdin_once),
        (true, true, false, false)
    );
    assert_eq!(r.config.cmd, Some(vec!["sh".into(), "-c".into(), "x".into()]));
    assert!(make("run -i busybox").config.stdin_once);
}

#[test]
fn each_flag_reaches_its_field() {
    let r = make(
        "run -h box -e A=b -l a=b --annotation x=y -u 1:2 -w /w --stop-signal HUP --stop-timeout 7 --rm --read-only \
         --privileged --group-add g --ipc host --pid container:a --uts host --userns host --cgroupns private \
         --shm-size 1m --tmpfs /t:size=1m --sysctl net.a=1 -R crun --cap-add chown --cap-drop ALL --dns 1.2.3.4 \
         --dns-opt ndots:1 --dns-search x.y --add-host a:10.0.0.1 --cpu-shares 5 --cpu-period 6000 --cpu-quota 7000 \
         --cpuset-cpus 0-1 --cpuset-mems 0 -m 64m --memory-reservation 32m --memory-swap -1 --oom-score-adj -5 \
         --pids-limit 9 --ulimit nofile=1:2 --device /dev/null:/dev/x:r --device-cgroup-rule=a --cgroup-parent /p \
         --security-opt no-new-privileges -v /a:/b:ro -v /anon --mount type=tmpfs,dst=/m --net none --log-driver json-file \
         --log-opt max-size=1m --entrypoint /e img arg"
            .replace("--device-cgroup-rule=a", "")
            .as_str(),
    );
    let c = &r.config;
    assert_eq!((c.hostname.as_str(), c.user.as_str(), c.working_dir.as_str()), ("box", "1:2", "/w"));
    assert_eq!((c.env.join(","), c.labels["a"].as_str(), c.annotations["x"].as_str()), ("A=b".into(), "b", "y"));
    assert_eq!((c.stop_signal.as_str(), c.stop_timeout), ("HUP", Some(7)));
    assert_eq!(c.entrypoint, Some(vec!["/e".into()]));
    assert!(c.volumes.contains_key("/anon"));
    let h = &r.host_config;
    assert!(h.auto_remove && h.readonly_rootfs && h.privileged);
    assert_eq!((h.ipc_mode.as_str(), h.pid_mode.as_str(), h.uts_mode.as_str()), ("host", "container:a", "host"));
    assert_eq!((h.userns_mode.as_str(), h.cgroupns_mode.as_str()), ("host", "private"));
    assert_eq!((h.shm_size, h.tmpfs["/t"].as_str(), h.sysctls["net.a"].as_str()), (1 << 20, "size=1m", "1"));
    assert_eq!((h.runtime.as_str(), h.cap_add.join(""), h.cap_drop.join("")), ("crun", "chown".into(), "ALL".into()));
    assert_eq!(
        (h.dns.join(""), h.dns_options.join(""), h.dns_search.join("")),
        ("1.2.3.4".into(), "ndots:1".into(), "x.y".into())
    );
    assert_eq!((h.extra_hosts.join(""), h.group_add.join("")), ("a:10.0.0.1".into(), "g".into()));
    assert_eq!((h.cpu_shares, h.cpu_period, h.cpu_quota), (5, 6000, 7000));
    assert_eq!((h.cpuset_cpus.as_str(), h.cpuset_mems.as_str()), ("0-1", "0"));
    assert_eq!((h.memory, h.memory_reservation, h.memory_swap), (64 << 20, 32 << 20, -1));
    assert_eq!((h.oom_score_adj, h.pids_limit, h.ulimits.len(), h.devices.len()), (-5, Some(9), 1, 1));
    assert_eq!((h.cgroup_parent.as_str(), h.security_opt.join("")), ("/p", "no-new-privileges".into()));
    assert_eq!((h.binds.join(""), h.mounts.len(), h.network_mode.as_str()), ("/a:/b:ro".into(), 1, "none"));
    assert_eq!((h.log_config.driver.as_str(), h.log_config.config["max-size"].as_str()), ("json-file", "1m"));
    let r = make(
        "run -a stdout -i --domainname d.e -c 7 --dns-opt a --dns-option b --add-host a=1.1.1.1 --add-host b:[::1] \
         --add-host c:::2 -v /a:/b:cached,ro -v /c:delegated img",
    );
    assert_eq!((r.config.attach_stdin, r.config.attach_stdout, r.config.attach_stderr), (false, true, false));
    assert_eq!((r.config.domainname.as_str(), r.host_config.cpu_shares), ("d.e", 7));
    assert_eq!(r.host_config.dns_options, ["a", "b"]);
    assert_eq!(r.host_config.extra_hosts, ["a:1.1.1.1", "b:::1", "c:::2"]);
    assert_eq!(r.host_config.binds, ["/a:/b:ro"]);
    assert!(r.config.volumes.contains_key("/c"));
    assert_eq!(make("run --storage-opt size=64m img").host_config.storage_opt["size"], "64m");
    assert_eq!(make("run --cpus 1.5 img").host_config.nano_cpus, 1_500_000_000);
    let rule = request(&parse(&["run", "--device-cgroup-rule", "c 1:3 r", "img"])).unwrap();
    assert_eq!(rule.host_config.device_cgroup_rules, ["c 1:3 r"]);
    assert_eq!(make("run --network host --net none img").host_config.network_mode, "host");
}

#[test]
fn an_empty_entrypoint_resets_what_the_image_runs() {
    assert_eq!(make("run --entrypoint= img x").config.entrypoint, Some(vec![String::new()]));
    assert_eq!(make("run img x").config.entrypoint, None);
}

#[test]
fn texts_of_the_original() {
    for (line, want) in [
        ("run -v relative:rel busybox", "Invalid volume: path must be absolute, and destination can't be '/'"),
        ("run --cap-add NOSUCH busybox", "Unknown capability to add: 'NOSUCH'"),
        ("run --cap-drop NOSUCH busybox", "Unknown capability to drop: 'NOSUCH'"),
        ("run --rm --restart always busybox", "Conflicting options: --restart and --rm"),
        (
            "run --restart always:3 busybox",
            "Invalid restart policy \"always:3\": maximum retry count goes with on-failure only",
        ),
        (
            "run --restart on-failure:-1 busybox",
            "Invalid restart policy \"on-failure:-1\": maximum retry count must be a number",
        ),
        (
            "run --restart sometimes busybox",
            "Invalid restart policy \"sometimes\": must be no, always, unless-stopped, on-reboot or on-failure[:N]",
        ),
        ("create -m x busybox", "Invalid value \"x\" for flag --memory"),
        ("run -v /a:/b --tmpfs /c/../b busybox", "Duplicate mount point: /b"),
        ("run -w rel busybox", "The working directory 'rel' is invalid. It needs to be an absolute path."),
        ("run --dns x busybox", "x is not an ip address"),
        ("run --add-host x busybox", "bad format for add-host: \"x\""),
        ("run --add-host x:[1.1.1.1] busybox", "bad format for add-host: \"x:[1.1.1.1]\""),
        (
            "run --add-host x:host-gateway busybox",
            "add-host \"x:host-gateway\" is not available: containers have no bridge network, whose gateway that would be",
        ),
        ("run --net container: busybox", "Invalid value \"container:\" for flag --net: want container:NAME"),
        ("run --blkio-weight 70000 busybox", "Range of blkio weight is from 10 to 1000"),
        ("run --blkio-weight -1 busybox", "Range of blkio weight is from 10 to 1000"),
        ("run -a x busybox", "invalid stream \"x\" for --attach: want stdin, stdout or stderr"),
        ("run -d -a stdout busybox", "Conflicting options: -a and -d"),
        ("run --volume-driver nfs busybox", "Invalid volume driver \"nfs\": local is the only one"),
        (
            "run --disable-content-trust=false busybox",
            "--disable-content-trust=false: signatures of images cannot be verified",
        ),
        (
            "run --name= busybox",
            "Invalid container name (), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 1024 characters",
        ),
        ("run --storage-opt size busybox", "Invalid storage-opt \"size\": want KEY=VALUE"),
        ("run --sysctl x busybox", "Invalid sysctl \"x\": want KEY=VALUE"),
    ] {
        assert_eq!(refusal(line), want, "{line}");
    }
    make("run --restart no --rm busybox");
    make("run --pull never busybox");
    make("run --pull always busybox");
    make("run --volume-driver local --disable-content-trust --attach STDOUT busybox");
    assert!(refusal(&format!("run x {}", "a ".repeat(1001))).contains("too many"));
}
