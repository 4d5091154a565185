//! Whole documents and requests.

use super::*;
use crate::api::container::{RestartPolicy, Ulimit};
use crate::api::exec::ExecCreateRequest;
use crate::api::oci::runtime::{ConsoleSize, Mount, Namespace, Rlimit};
use crate::error::Kind;
use crate::modules::remap::Range;

const ID: &str = "5a0208125d09afefab82a28bf38458e742dd95e9e4a5feb9d9c647827a0cd627";

struct Case {
    config: ContainerConfig,
    host: HostConfig,
    files: ContainerFiles,
    namespaces: JoinedNamespaces,
    defaults: Defaults,
    image_mounts: Vec<Mount>,
    mount_points: BTreeMap<String, MountRecord>,
}

fn case() -> Case {
    Case {
        config: ContainerConfig { cmd: Some(vec!["sh".into()]), ..ContainerConfig::default() },
        host: HostConfig::default(),
        files: ContainerFiles {
            hostname: Some("/c/hostname".into()),
            hosts: Some("/c/hosts".into()),
            resolv_conf: Some("/c/resolv.conf".into()),
        },
        namespaces: JoinedNamespaces::default(),
        defaults: Defaults::default(),
        image_mounts: Vec::new(),
        mount_points: BTreeMap::new(),
    }
}

fn validate(host: &HostConfig, config: &ContainerConfig) -> Result<Vec<String>> {
    super::validate(host, config, &Defaults::default())
}

impl Case {
    fn try_spec(&self) -> Result<Spec> {
        let hostname = host_name(ID, &self.config, &self.host);
        generate(&Input {
            hooks: None,
            init: wants_init(&self.host).then_some(Path::new("/usr/bin/isulabox")),
            id: ID,
            config: &self.config,
            host: &self.host,
            rootfs: Path::new("/c/rootfs"),
            files: &self.files,
            namespaces: &self.namespaces,
            defaults: &self.defaults,
            hostname: &hostname,
            image_mounts: &self.image_mounts,
            log_path: "/c/console.log",
            mount_points: &self.mount_points,
        })
    }

    fn spec(&self) -> Spec {
        self.try_spec().unwrap()
    }
}

fn lines(mounts: &[Mount]) -> Vec<String> {
    mounts.iter().map(|m| format!("{} {} {} {}", m.destination, m.kind, m.source, m.options.join(","))).collect()
}

#[test]
fn mounts_of_the_image_have_their_places_unless_the_request_wants_them() {
    let mount = |at: &str| Mount {
        destination: at.into(),
        kind: "squashfs".into(),
        source: "/rom/app.img".into(),
        options: vec!["loop".into(), "ro".into()],
        ..Mount::default()
    };
    let mut case = case();
    case.image_mounts = vec![mount("/srv/app/data"), mount("/srv/app"), mount("/dev/shm"), mount("/opt")];
    case.host.binds = vec!["/tmp:/opt".into(), "/tmp:/srv".into()];
    let mounts = lines(&case.spec().mounts);
    let at = |part: &str| mounts.iter().position(|line| line.starts_with(part)).unwrap_or_else(|| panic!("{part}"));
    assert!(at("/srv bind") < at("/srv/app squashfs") && at("/srv/app squashfs") < at("/srv/app/data squashfs"));
    assert!(mounts[at("/opt")].starts_with("/opt bind /tmp "), "{mounts:?}");
    assert_eq!(mounts.iter().filter(|line| line.starts_with("/dev/shm ")).count(), 1);
    assert_eq!(mounts[at("/dev/shm")], "/dev/shm squashfs /rom/app.img loop,ro");
}

#[test]
fn the_template() {
    let spec = case().spec();
    let process = spec.process.as_ref().unwrap();
    let linux = spec.linux.as_ref().unwrap();
    assert_eq!((spec.oci_version.as_str(), spec.hostname.as_str()), ("1.0.1", "5a0208125d09"));
    assert_eq!(spec.root, Some(Root { path: "/c/rootfs".into(), readonly: false }));
    assert_eq!(
        process.env,
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "HOSTNAME=5a0208125d09"]
    );
    assert_eq!((process.cwd.as_str(), process.user.umask, process.oom_score_adj), ("/", Some(0o027), Some(0)));
    let caps = process.capabilities.as_ref().unwrap();
    assert_eq!((caps.bounding.len(), caps.effective.len(), caps.permitted.len()), (14, 14, 14));
    assert!(caps.inheritable.is_empty() && caps.ambient.is_empty());
    assert_eq!(
        lines(&spec.mounts),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
            "/etc/hostname bind /c/hostname rbind,rprivate",
            "/etc/hosts bind /c/hosts rbind,rprivate",
            "/etc/resolv.conf bind /c/resolv.conf rbind,rprivate",
            "/sys/fs/cgroup cgroup cgroup nosuid,noexec,nodev,ro",
        ]
    );
    let kinds: Vec<&str> = linux.namespaces.iter().map(|n| n.kind.as_str()).collect();
    assert_eq!(kinds, ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
    assert!(linux.namespaces.iter().all(|n| n.path.as_os_str().is_empty()));
    assert_eq!(linux.cgroups_path, format!("/isulad/{ID}"));
    assert_eq!((linux.masked_paths.len(), linux.readonly_paths.len()), (33, 7));
    assert!(linux.seccomp.is_some() && linux.rootfs_propagation.is_empty());
}

#[test]
fn an_operators_template_is_what_requests_are_merged_over() {
    let text = br#"{"ociVersion":"1.0.1","hostname":"nobody","root":{"path":"/nowhere"},
        "process":{"args":["nothing"],"env":["PATH=/bin","A=1"],"user":{"umask":63},"oomScoreAdj":5,"noNewPrivileges":true,
            "capabilities":{"bounding":["CAP_KILL","CAP_CHOWN"],"effective":["CAP_KILL"],"ambient":["CAP_KILL"]},
            "rlimits":[{"type":"RLIMIT_CORE","hard":9,"soft":8},{"type":"RLIMIT_NOFILE","hard":7,"soft":6}]},
        "mounts":[{"destination":"/proc","type":"proc","source":"proc"},
            {"destination":"/sys","type":"sysfs","source":"sysfs","options":["ro"]},
            {"destination":"/dev/shm","type":"tmpfs","source":"shm","options":["size=1k"]},
            {"destination":"/opt","type":"bind","source":"/srv","options":["bind"]}],
        "annotations":{"site":"here","k":"template"},
        "linux":{"maskedPaths":["/proc/kcore"],"sysctl":{"net.ipv4.ip_forward":"1","kernel.shmmax":"5"},
            "namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}],
            "devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],
            "resources":{"devices":[{"allow":false,"access":"rwm"}],"pids":{"limit":77}},
            "seccomp":{"defaultAction":"SCMP_ACT_LOG"}}}"#;
    let mut c = case();
    c.defaults.files = template::Files::of(Some(text), None);
    c.defaults.ulimits = vec![Ulimit { name: "core".into(), soft: 1, hard: 2 }];
    c.config.env = vec!["A=2".into()];
    c.host.annotations = [("k".to_string(), "own".to_string())].into();
    c.host.cap_add = vec!["MKNOD".into()];
    c.host.cap_drop = vec!["CHOWN".into()];
    c.host.ipc_mode = "host".into();
    let spec = c.spec();
    let process = spec.process.as_ref().unwrap();
    assert_eq!(
        (spec.hostname.as_str(), spec.root.as_ref().unwrap().path.as_path()),
        ("5a0208125d09", Path::new("/c/rootfs"))
    );
    assert_eq!((process.args.join(" ").as_str(), process.cwd.as_str()), ("sh", "/"));
    assert_eq!(process.env, ["PATH=/bin", "A=2", "HOSTNAME=5a0208125d09"]);
    assert_eq!((process.user.umask, process.oom_score_adj, process.no_new_privileges), (Some(0o077), Some(5), true));
    let caps = process.capabilities.as_ref().unwrap();
    assert_eq!(
        (&caps.bounding[..], &caps.effective[..]),
        (&["CAP_KILL", "CAP_MKNOD"].map(String::from)[..], &caps.bounding[..])
    );
    assert_eq!((&caps.permitted[..], &caps.ambient[..]), (&caps.bounding[1..], &caps.bounding[..1]));
    let limits: Vec<(&str, u64)> = process.rlimits.iter().map(|l| (l.kind.as_str(), l.soft)).collect();
    assert_eq!(limits, [("RLIMIT_CORE", 1), ("RLIMIT_NOFILE", 6)]);
    let mounts = lines(&spec.mounts);
    assert_eq!(mounts[..3], ["/proc proc proc ", "/sys sysfs sysfs ro", "/opt bind /srv bind"]);
    assert_eq!(mounts.iter().filter(|line| line.starts_with("/dev/shm ")).count(), 1);
    assert!(!mounts.iter().any(|line| line.contains("size=1k") || line.starts_with("/dev ")), "{mounts:?}");
    assert_eq!((spec.annotations["site"].as_str(), spec.annotations["k"].as_str()), ("here", "own"));
    let linux = spec.linux.as_ref().unwrap();
    assert_eq!((linux.masked_paths.len(), linux.readonly_paths.len(), linux.devices.len()), (1, 7, 1));
    let kinds: Vec<&str> = linux.namespaces.iter().map(|n| n.kind.as_str()).collect();
    assert_eq!(kinds, ["pid", "network", "uts", "mount"]);
    let names: Vec<&str> = linux.sysctl.keys().map(String::as_str).collect();
    assert_eq!(names, ["net.ipv4.ip_forward"], "what would be the host's is left out");
    let resources = linux.resources.as_ref().unwrap();
    assert_eq!((resources.devices.len(), resources.pids.as_ref().unwrap().limit), (1, Some(77)));
    assert_eq!(linux.seccomp.as_ref().unwrap().default_action, "SCMP_ACT_LOG");
    // Others, and the request's word against the file's.
    c.host = HostConfig { system_container: true, ..HostConfig::default() };
    assert_eq!(c.spec().linux.unwrap().masked_paths.len(), 33);
    c.host =
        HostConfig { privileged: true, pids_limit: Some(5), cgroupns_mode: "private".into(), ..HostConfig::default() };
    let spec = c.spec();
    let linux = spec.linux.unwrap();
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty());
    assert!(linux.namespaces.iter().any(|n| n.kind == "cgroup"));
    assert!(lines(&spec.mounts).contains(&"/sys sysfs sysfs ".to_string()));
    let caps = spec.process.unwrap().capabilities.unwrap();
    assert!(caps.effective.len() > 30 && caps.effective == caps.bounding);
    // One that is wrong is told to whoever it is for.
    c.defaults.files = template::Files::of(None, Some(b"{\"mounts\":[{\"destination\":7}]}"));
    c.host = HostConfig::default();
    c.spec();
    c.host.system_container = true;
    let text = c.try_spec().unwrap_err().to_string();
    assert!(text.contains("/systemcontainer_config.json\": invalid JSON: mounts: destination: invalid type"), "{text}");
}

#[test]
fn templates_that_are_refused() {
    for (text, want) in [
        ("", "invalid JSON"),
        ("[]", "expected an object"),
        (r#"{"process":{"env":["=x"]}}"#, "process.env: invalid environment variable"),
        (r#"{"process":{"cwd":"srv"}}"#, "process.cwd: the working directory 'srv'"),
        (r#"{"process":{"capabilities":{"ambient":["KILL"]}}}"#, "process.capabilities: \"KILL\""),
        (r#"{"process":{"rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1}]}}"#, "process.rlimits: \"RLIMIT_CORE\""),
        (r#"{"process":{"rlimits":[{"type":"core","soft":1,"hard":1}]}}"#, "process.rlimits: \"core\""),
        (r#"{"mounts":[{"destination":"x"}]}"#, "mounts: destination \"x\""),
        (r#"{"hooks":{"prestart":[{"path":"x"}]}}"#, "hooks: prestart: hook \"x\""),
        (r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#, "linux.namespaces: \"network\" is missing"),
        (r#"{"linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "linux.sysctl: sysctl \"vm.swappiness\""),
        (r#"{"linux":{"maskedPaths":"/proc"}}"#, "linux: maskedPaths: invalid type"),
    ] {
        let mut c = case();
        c.defaults.files = template::Files::of(Some(text.as_bytes()), None);
        let e = c.try_spec().unwrap_err().to_string();
        assert!(e.starts_with("template \"/etc/default/isulad/config.json\": ") && e.contains(want), "{e}");
    }
}

#[test]
fn privileged_lifts_what_confines() {
    let mut c = case();
    c.host.privileged = true;
    let spec = c.spec();
    let linux = spec.linux.unwrap();
    assert!(linux.seccomp.is_none() && linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert!(!linux.devices.is_empty());
    assert_eq!(linux.resources.unwrap().devices.len(), 1);
    assert!(lines(&spec.mounts).contains(&"/sys sysfs sysfs nosuid,noexec,nodev".to_string()));
    let caps = spec.process.unwrap().capabilities.unwrap();
    assert!(caps.bounding.contains(&"CAP_SYS_ADMIN".to_string()));
}

#[test]
fn modes() {
    let mut c = case();
    c.host.network_mode = "host".into();
    c.host.pid_mode = "container:peer".into();
    c.host.ipc_mode = "container:peer".into();
    c.host.uts_mode = "host".into();
    assert_eq!(c.try_spec().unwrap_err().kind(), Kind::Internal, "no namespace file was given");
    c.namespaces.pid = Some("/proc/7/ns/pid".into());
    c.namespaces.ipc = Some("/proc/7/ns/ipc".into());
    c.namespaces.shm = Some("/c/peer/shm".into());
    let spec = c.spec();
    assert_eq!(spec.hostname, "");
    assert!(lines(&spec.mounts).contains(&"/dev/shm bind /c/peer/shm rbind,rprivate".to_string()));
    let namespaces = spec.linux.unwrap().namespaces;
    assert_eq!(namespaces[0], Namespace { kind: "pid".into(), path: "/proc/7/ns/pid".into() });
    assert_eq!(namespaces.len(), 4, "{namespaces:?}");
}

#[test]
fn mounts_of_the_request_replace_those_of_the_template() {
    let mut c = case();
    c.host.binds = vec!["/tmp:/data/sub:ro".into(), "/proc:/proc".into()];
    c.host.tmpfs = [("/data".to_string(), "size=1m".to_string()), ("/dev/shm".into(), String::new())].into();
    let got = lines(&c.spec().mounts);
    let at = |prefix: &str| got.iter().position(|l| l.starts_with(prefix)).unwrap();
    assert!(at("/data tmpfs tmpfs noexec,nosuid,nodev,size=1m") < at("/data/sub bind /tmp rbind,rprivate,ro"));
    assert!(got.contains(&"/proc bind /proc rbind,rprivate,rw".to_string()));
    assert_eq!(got.iter().filter(|l| l.starts_with("/proc ") || l.starts_with("/dev/shm ")).count(), 2);

    c.host = HostConfig { binds: vec!["/dev:/dev".into()], ..HostConfig::default() };
    let got = lines(&c.spec().mounts);
    assert_eq!(got.iter().filter(|l| l.starts_with("/dev")).count(), 1, "{got:?}");
}

#[test]
fn a_user_namespace_changes_what_it_must() {
    let mut c = case();
    let range = |first, count| Range { first, count };
    c.defaults.remap = Some(Remap { uids: range(100_000, 65536), gids: range(200_000, 5) });
    let null = crate::api::container::DeviceMapping {
        path_on_host: "/dev/null".into(),
        path_in_container: "/dev/nothing".into(),
        cgroup_permissions: String::new(),
    };
    c.host.devices = vec![null];
    let spec = c.spec();
    let linux = spec.linux.unwrap();
    let [uids] = &linux.uid_mappings[..] else { panic!("{:?}", linux.uid_mappings) };
    assert_eq!((uids.container_id, uids.host_id, uids.size), (0, 100_000, 65536));
    assert_eq!((linux.gid_mappings[0].host_id, linux.gid_mappings[0].size), (200_000, 5));
    let own = |path: &str| Namespace { kind: "user".into(), path: path.into() };
    assert_eq!(linux.namespaces.last(), Some(&own("")));
    assert!(linux.devices.is_empty());
    let mounts = lines(&spec.mounts);
    assert!(mounts.contains(&"/dev/nothing bind /dev/null bind".to_owned()), "{mounts:?}");
    // No group of terminals in five of them.
    let pts = "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620";
    assert!(mounts.contains(&pts.to_owned()), "{mounts:?}");

    c.namespaces.user = Some("/proc/7/ns/user".into());
    assert_eq!(c.spec().linux.unwrap().namespaces.last(), Some(&own("/proc/7/ns/user")));
    let lift: [fn(&mut HostConfig); 2] = [|h| h.userns_mode = "host".into(), |h| h.privileged = true];
    for change in lift {
        let mut c = Case { host: HostConfig::default(), defaults: c.defaults.clone(), ..case() };
        change(&mut c.host);
        let linux = c.spec().linux.unwrap();
        assert!(linux.uid_mappings.is_empty() && linux.namespaces.iter().all(|n| n.kind != "user"));
        (c.host.network_mode, c.host.pid_mode) = ("host".into(), "host".into());
        c.spec();
    }
    for what in ["network", "PID"] {
        let mode = if what == "PID" { &mut c.host.pid_mode } else { &mut c.host.network_mode };
        *mode = "host".into();
        let text = c.try_spec().unwrap_err().to_string();
        assert!(text.contains(&format!("the host's {what} namespace when user namespaces are enabled")), "{text}");
        c.host = HostConfig::default();
    }
}

#[test]
fn missing_sources() {
    let base = std::env::temp_dir().join(format!("spec-src-{}", std::process::id()));
    let mut c = case();
    c.host.binds = vec![format!("{}/a/b:/x", base.display())];
    validate(&c.host, &c.config).unwrap();
    c.spec();
    assert!(base.join("a/b").is_dir());
    std::fs::remove_dir_all(&base).unwrap();
    c.host = HostConfig {
        mounts: vec![crate::api::container::MountPoint {
            kind: "bind".into(),
            source: base.display().to_string(),
            target: "/x".into(),
            ..Default::default()
        }],
        ..HostConfig::default()
    };
    let text = validate(&c.host, &c.config).unwrap_err().to_string();
    assert!(text.ends_with(&format!("bind source path does not exist: {}", base.display())), "{text}");
    assert!(c.try_spec().is_err() && !base.exists());
}

#[test]
fn the_daemons_defaults_and_the_requests_own() {
    let mut c = case();
    c.defaults = Defaults {
        hooks: None,
        cgroup_parent: "boards".into(),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }],
        umask: Some(0o077),
        seccomp_profile: None,
        ..Defaults::default()
    };
    let spec = c.spec();
    let process = spec.process.unwrap();
    assert_eq!(process.rlimits, [Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 10, hard: 20 }]);
    assert_eq!(process.user.umask, Some(0o077));
    assert_eq!(spec.linux.unwrap().cgroups_path, format!("/boards/{ID}"));
    c.host.cgroup_parent = "/mine".into();
    c.config.annotations = [("native.umask".to_string(), "secure".to_string()), ("k".into(), "config".into())].into();
    c.host.annotations = [("k".to_string(), "host".to_string())].into();
    let spec = c.spec();
    assert_eq!(spec.linux.unwrap().cgroups_path, format!("/mine/{ID}"));
    assert_eq!(spec.process.unwrap().user.umask, Some(0o027));
    assert_eq!(spec.annotations["k"], "host");
    let told = ["host.network.mode", "cgroup.dir", "native.umask"].map(|name| spec.annotations[name].as_str());
    assert_eq!(told, ["none", "/mine", "secure"]);
}

#[test]
fn exec_inherits_from_the_first_process() {
    let mut c = case();
    c.config.env = vec!["A=1".into(), "B=2".into()];
    c.config.user = "daemon".into();
    c.config.working_dir = "/srv".into();
    c.host.group_add = vec!["video".into()];
    c.host.cap_drop = vec!["all".into()];
    let spec = c.spec();
    let request = ExecCreateRequest {
        cmd: vec!["ls".into()],
        env: vec!["A=9".into()],
        tty: true,
        console_size: Some([24, 80]),
        ..ExecCreateRequest::default()
    };
    let process = exec_process(&spec, &request).unwrap();
    assert!(process.env.contains(&"A=9".to_string()) && process.env.contains(&"B=2".to_string()));
    assert!(process.env.contains(&"HOSTNAME=5a0208125d09".to_string()));
    assert_eq!((process.cwd.as_str(), process.user.username.as_str()), ("/srv", "daemon"));
    assert_eq!((process.terminal, process.console_size), (true, Some(ConsoleSize { height: 24, width: 80 })));
    assert!(process.capabilities.unwrap().bounding.is_empty());

    let other = ExecCreateRequest {
        user: "0".into(),
        working_dir: "/x".into(),
        privileged: true,
        console_size: None,
        ..request.clone()
    };
    let process = exec_process(&spec, &other).unwrap();
    assert_eq!((process.cwd.as_str(), process.user.username.as_str()), ("/x", "0"));
    assert_eq!(process.user.additional_groups, ["video"]);
    assert!(!process.capabilities.unwrap().bounding.is_empty());

    for bad in [
        ExecCreateRequest { cmd: vec![], ..request.clone() },
        ExecCreateRequest { working_dir: "x".into(), ..request.clone() },
        ExecCreateRequest { env: vec!["=x".into()], ..request.clone() },
    ] {
        assert_eq!(exec_process(&spec, &bad).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn requests_that_break_a_rule() {
    let host = HostConfig::default;
    for (host, want) in vec![
        (HostConfig { cap_add: vec!["NOSUCH".into()], ..host() }, "Unknown capability to add: 'NOSUCH'"),
        (HostConfig { memory: 1 << 20, ..host() }, "Minimum memory limit allowed is 4MB"),
        (HostConfig { network_mode: "nosuch".into(), ..host() }, "network \"nosuch\" not found"),
        (HostConfig { network_mode: "container:".into(), ..host() }, "names no container"),
        (HostConfig { pid_mode: "x".into(), ..host() }, "invalid pid mode: \"x\""),
        (HostConfig { userns_mode: "container:x".into(), ..host() }, "is not supported"),
        (HostConfig { volume_driver: "nfs".into(), ..host() }, "volume driver \"nfs\""),
        (HostConfig { volumes_from: vec!["x".into(); 1001], ..host() }, "too many containers with volumes"),
        (HostConfig { publish_all_ports: true, ..host() }, "publishing ports"),
        (HostConfig { publish_all_ports: true, network_mode: "container:x".into(), ..host() }, "conflicting options"),
        (
            HostConfig { dns_search: vec!["x".into()], network_mode: "container:x".into(), ..host() },
            "conflicting options: dns and the network mode",
        ),
        (
            HostConfig { extra_hosts: vec!["a:1.1.1.1".into()], network_mode: "container:x".into(), ..host() },
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (HostConfig { shm_size: -1, ..host() }, "SHM size"),
        (HostConfig { cap_drop: vec!["KILL".into(); 1001], ..host() }, "too many dropped capabilities"),
        (
            HostConfig {
                auto_remove: true,
                restart_policy: RestartPolicy { name: "always".into(), maximum_retry_count: 0 },
                ..host()
            },
            "Conflicting options: --restart and --rm",
        ),
    ] {
        let text = validate(&host, &ContainerConfig::default()).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
    let config = ContainerConfig::default;
    for (config, want) in [
        (ContainerConfig { stop_signal: "99".into(), ..config() }, "Invalid signal: 99"),
        (ContainerConfig { working_dir: "x".into(), ..config() }, "needs to be an absolute path"),
        (ContainerConfig { hostname: "-x".into(), ..config() }, "invalid host name"),
        (ContainerConfig { hostname: "x".repeat(65), ..config() }, "invalid host name"),
        (ContainerConfig { env: vec!["=x".into()], ..config() }, "invalid environment variable"),
        (ContainerConfig { volumes: [("/".to_string(), Default::default())].into(), ..config() }, "Invalid volume"),
        (ContainerConfig { cmd: Some(vec!["a\0b".into()]), ..config() }, "holds a NUL"),
        (
            ContainerConfig { annotations: [("native.umask".to_string(), "x".to_string())].into(), ..config() },
            "native.umask",
        ),
    ] {
        let text = validate(&HostConfig::default(), &config).unwrap_err().to_string();
        assert!(text.contains(want), "{text}");
    }
    let named = ContainerConfig { hostname: "h".into(), ..config() };
    for (uts, net) in [("host", ""), ("", "container:x")] {
        let host = HostConfig { uts_mode: uts.into(), network_mode: net.into(), ..host() };
        assert!(validate(&host, &named).unwrap_err().to_string().contains("conflicting options"));
    }
    let host = HostConfig { network_mode: "none".into(), publish_all_ports: true, ..host() };
    assert_eq!(validate(&host, &config()).unwrap().len(), 1);
}
