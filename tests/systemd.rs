//! Cgroups that systemd makes, with a systemd that boots in a container: the machine's own, on a copy of its root.

use crate::support::bed::{Bed, binary, json};
use crate::support::bundle::{bundle_with, lcr, lcr_command};
use crate::support::command::Output;
use crate::support::{contains, eventually, runner};
use crate::{requires, tests};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json as value};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

tests![without_systemd_it_is_refused, scopes_of_systemd_hold_containers];

const SYSTEMD: &str = "/lib/systemd/systemd";
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP NET_ADMIN \
                            SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_BOOT SYS_NICE MKNOD SETFCAP IPC_OWNER NET_RAW";

fn without_systemd_it_is_refused(bed: &mut Bed) {
    requires!(lcr);
    if Path::new("/run/systemd/system").exists() {
        runner::skip("systemd runs here");
    }
    let path = bundle_with(bed, &["true"], |c| c["linux"]["cgroupsPath"] = "a.slice:b:c".into());
    let missing = match cfg!(feature = "systemd") {
        true => "systemd does not run here: there is no directory \"/run/systemd/system\"",
        false => "this build has no systemd cgroup driver",
    };
    let o = lcr(bed, &["--systemd-cgroup", "run", "-b", &path, "one"]);
    o.fails(1, &format!("--systemd-cgroup: {missing}"));
    let o = lcr(bed, &["run", "-b", &path, "one"]);
    o.fails(1, "cgroup path \"a.slice:b:c\" is for systemd, and the cgroup is not to be made by systemd");
    let path = bundle_with(bed, &["true"], |c| c["linux"]["cgroupsPath"] = "/a/b".into());
    let o = lcr(bed, &["--systemd-cgroup", "run", "-b", &path, "one"]);
    o.fails(1, "cgroup path \"/a/b\": with systemd it must have the form slice:prefix:name");
    assert_eq!(lcr(bed, &["list", "-q"]).ok(), "");
}

/// A systemd that runs as the container `machine`.
struct Machine<'a> {
    bed: &'a Bed,
    place: PathBuf,
}

impl<'a> Machine<'a> {
    /// Boots it. What is in `inner` on this machine is `/inner` in there, and the binary under test `/lcr`.
    fn boot(bed: &'a Bed, inner: &Path) -> Machine<'a> {
        if !Path::new(SYSTEMD).exists() {
            runner::skip(&format!("no {SYSTEMD} on this machine"));
        }
        let place = bed.dir.join("machine");
        fs::create_dir(&place).unwrap();
        let none: Option<&str> = None;
        // Not on the file system of the root, of which the copy would be a part.
        mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let machine = Machine { bed, place };
        let (root, upper, work) = (machine.at("rootfs"), machine.at("upper"), machine.at("work"));
        let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
        mount(Some("none"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let config = machine.config(inner);
        fs::write(machine.place.join("config.json"), isulabox::utils::json::to_vec(&config)).unwrap();
        let mut run = lcr_command(bed, &["run", "-d", "-b", machine.place.to_str().unwrap(), "machine"]);
        let log = fs::File::create(bed.dir.join("console")).unwrap();
        run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = run.status().unwrap();
        let console = || fs::read_to_string(bed.dir.join("console")).unwrap();
        assert!(started.success(), "{}", console());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mut state = String::new();
        while std::time::Instant::now() < end {
            state = machine.run(&["systemctl", "is-system-running"]).out.trim().to_owned();
            if matches!(state.as_str(), "running" | "degraded") {
                return machine;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        machine.end();
        runner::skip(&format!("systemd does not boot in a container here: {state:?}: {}", console()));
    }

    fn at(&self, name: &str) -> PathBuf {
        let path = self.place.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    fn config(&self, inner: &Path) -> Value {
        let bundle = bundle_with(self.bed, &[SYSTEMD], |_| ());
        let mut c = json(&fs::read(Path::new(&bundle).join("config.json")).unwrap());
        c["process"]["args"] = value!([SYSTEMD, "--unit=basic.target", "--log-target=console", "--show-status=0"]);
        c["process"]["env"].as_array_mut().unwrap().push("container=docker".into());
        let all: Vec<String> = CAPABILITIES.split(' ').map(|c| format!("CAP_{c}")).collect();
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] = value!(all);
        }
        c["process"]["noNewPrivileges"] = false.into();
        c["process"]["rlimits"] = value!([]);
        c["root"]["readonly"] = false.into();
        c["linux"]["resources"] = value!({});
        (c["linux"]["maskedPaths"], c["linux"]["readonlyPaths"]) = (value!([]), value!([]));
        let mounts = c["mounts"].as_array_mut().unwrap();
        for m in mounts.iter_mut().filter(|m| m["destination"] == "/sys/fs/cgroup") {
            m["options"].as_array_mut().unwrap().retain(|o| o != "ro");
        }
        for at in ["/run", "/tmp"] {
            let options = ["mode=755", "nosuid", "nodev"];
            mounts.push(value!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options}));
        }
        for (at, source) in [("/lcr", binary()), ("/inner", inner.to_owned())] {
            mounts.push(value!({"destination": at, "type": "bind", "source": source, "options": ["rbind"]}));
        }
        c
    }

    fn run(&self, words: &[&str]) -> Output {
        lcr(self.bed, &[&["exec", "machine"], words].concat())
    }

    #[track_caller]
    fn shell(&self, script: &str) -> String {
        self.run(&["sh", "-c", script]).ok()
    }

    fn end(&self) {
        lcr(self.bed, &["kill", "-a", "machine", "KILL"]);
        lcr(self.bed, &["delete", "-f", "machine"]).ok();
        for place in [self.place.join("rootfs"), self.place.clone()] {
            umount2(&place, MntFlags::MNT_DETACH).unwrap();
        }
    }
}

fn scopes_of_systemd_hold_containers(bed: &mut Bed) {
    requires!(root, lcr, systemd);
    // The bundle of the container in there.
    let path = bundle_with(bed, &["sleep", "1000"], |_| ());
    let inner = bed.dir.join("inner");
    fs::rename(path, &inner).unwrap();
    let write = |change: &dyn Fn(&mut Value)| {
        let file = inner.join("config.json");
        let mut config = json(&fs::read(&file).unwrap());
        change(&mut config);
        fs::write(file, isulabox::utils::json::to_vec(&config)).unwrap();
    };
    write(&|c| {
        c["linux"]["cgroupsPath"] = "test-sub.slice:lcr:one".into();
        c["process"]["rlimits"] = value!([]);
        c["linux"]["resources"] = value!({
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 50},
            "cpu": {"quota": 50_000, "period": 100_000},
            "devices": [{"allow": false, "access": "rwm"}],
        });
        c["annotations"] = value!({"org.systemd.property.TimeoutStopSec": "uint64 7"});
    });
    let machine = Machine::boot(bed, &inner);
    let (lcr, one) = ("/lcr --systemd-cgroup", "lcr-one.scope");
    let quiet = "</dev/null >/dev/null 2>/tmp/err || cat /tmp/err";
    assert_eq!(machine.shell(&format!("{lcr} run -d -b /inner one {quiet}")), "");
    let shown = machine.shell(&format!("systemctl show {one}"));
    for line in [
        "ActiveState=active",
        "Slice=test-sub.slice",
        "ControlGroup=/test.slice/test-sub.slice/lcr-one.scope",
        "Delegate=yes",
        "DefaultDependencies=no",
        "TimeoutStopUSec=7s",
        "TasksMax=50",
        "CPUQuotaPerSecUSec=500ms",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line} in {shown}");
    }
    let memory = |shown: &str, value: &str| {
        let is_limit = |l: &str| ["MemoryMax", "MemoryLimit"].iter().any(|name| l == format!("{name}={value}"));
        assert!(shown.lines().any(is_limit), "{shown}");
    };
    memory(&shown, "67108864");
    // In every hierarchy, those too that systemd leaves alone.
    let cgroups = machine.shell(&format!(
        "cat /proc/$({lcr} state one | sed -n 's/.*\"pid\": \\([0-9]*\\),/\\1/p')/cgroup | cut -d: -f3 | sort -u"
    ));
    assert_eq!(cgroups, "/test.slice/test-sub.slice/lcr-one.scope");
    let taken = machine.run(&["sh", "-c", &format!("{lcr} run -b /inner two")]);
    taken.fails(1, "UnitExists");
    assert_eq!(
        machine.shell(&format!("{lcr} exec one echo well; {lcr} ps one | tail -1 | sed 's,^[0-9]* *,,'")),
        "well\nsleep 1000"
    );
    machine.shell(&format!("{lcr} pause one && {lcr} resume one"));
    // systemd knows, and does not take it back.
    let limits = value!({"pids": {"limit": 77}, "memory": {"limit": 32 << 20}});
    machine.shell(&format!("echo '{limits}' | {lcr} update -r - one; systemctl daemon-reload"));
    let shown = machine.shell(&format!("systemctl show {one}"));
    contains(&shown, "TasksMax=77\n");
    memory(&shown, "33554432");
    let file = format!("cat $(find /sys/fs/cgroup -path '*{one}/pids.max')");
    assert_eq!(machine.shell(&file), "77");
    machine.shell(&format!("{lcr} delete -f one"));
    let gone = |what: &str| {
        eventually(what, || machine.run(&["systemctl", "is-active", one]).out.trim() == "inactive");
        assert_eq!(machine.shell(&format!("find /sys/fs/cgroup -name {one}")), "", "{what}");
    };
    gone("deleted");
    // In the foreground, and one that has ended by itself.
    write(&|c| c["process"]["args"] = value!(["sh", "-c", "exit 5"]));
    machine.run(&["sh", "-c", &format!("{lcr} run -b /inner two")]).exits(5);
    gone("ended");
    machine.shell(&format!("{lcr} run -d -b /inner two {quiet}"));
    eventually("it ends", || machine.shell(&format!("{lcr} state two")).contains("\"stopped\""));
    machine.shell(&format!("{lcr} delete two"));
    gone("deleted after its end");
    write(&|c| c["annotations"] = value!({"org.systemd.property.NoSuchThing": "true"}));
    machine.run(&["sh", "-c", &format!("{lcr} run -b /inner two")]).fails(1, "NoSuchThing");
    gone("refused");
    // By the bus too, where there is one.
    if machine.run(&["sh", "-c", "systemctl start dbus && test -S /run/dbus/system_bus_socket"]).code == 0 {
        write(&|c| c["annotations"] = value!({}));
        machine.shell("mount --bind /dev/null /run/systemd/private");
        let o = machine.run(&["sh", "-c", &format!("{lcr} run -b /inner two")]);
        machine.shell("umount /run/systemd/private");
        o.exits(5);
        gone("by the bus");
    }
    machine.end();
}
