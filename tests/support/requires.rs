//! What a test needs of its machine. `requires!(docker)` skips the test, with the reason, where it is not there.

use isulabox::utils::sys::fd::file_system_of;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Skips the test unless each named condition holds.
#[macro_export]
macro_rules! requires {
    ($($what:ident),+ $(,)?) => {
        $(if let Err(reason) = $crate::support::requires::$what() {
            $crate::support::runner::skip(&reason);
        })+
    };
}

type Condition = Result<(), String>;

pub fn root() -> Condition {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("needs root".into()) }
}

/// A program on the PATH.
fn program(name: &str) -> Condition {
    find(name).map(drop)
}

/// Where a program is: by its name alone the shell of busybox runs its own.
pub fn find(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|d| d.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| format!("no program {name}"))
}

/// GNU's tar and cp, and the xz that goes with them: those of busybox keep no extended attributes and pack nothing.
pub fn gnu() -> Condition {
    let out = std::process::Command::new("tar").arg("--version").output();
    match out.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("GNU")) {
        true => Ok(()),
        false => Err("tar is not GNU's".into()),
    }
}

/// The stock docker client.
pub fn docker() -> Condition {
    program("docker")
}

/// The interpreter of the environment that `make deps` makes, or the one that ISULABOX_PYTHON names.
pub fn python() -> std::path::PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    std::env::var_os("ISULABOX_PYTHON").unwrap_or_else(|| own.into()).into()
}

/// Docker's SDK for Python.
pub fn docker_sdk() -> Condition {
    match std::process::Command::new(python()).args(["-c", "import docker"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("no docker SDK for Python; `make deps` installs it".into()),
    }
}

/// The reference implementation of Zstandard, as a program.
pub fn zstd() -> Condition {
    program("zstd")
}

/// The reference implementation of xz, as a program.
pub fn xz() -> Condition {
    program("xz")
}

/// Shows what the page cache holds of a file.
pub fn fincore() -> Condition {
    program("fincore")
}

/// Copies images between archives, layouts and registries.
pub fn skopeo() -> Condition {
    program("skopeo")
}

/// Makes images layer by layer.
pub fn umoci() -> Condition {
    program("umoci")
}

/// The same, with the steps of a Dockerfile.
pub fn buildah() -> Condition {
    program("buildah")
}

/// Another engine.
pub fn podman() -> Condition {
    program("podman")
}

/// Makes root file systems of Debian.
pub fn mmdebstrap() -> Condition {
    program("mmdebstrap")
}

/// A third engine, with its shim for runtimes and its client.
pub fn containerd() -> Condition {
    ["containerd", "containerd-shim-runc-v2", "ctr"].into_iter().try_for_each(program)
}

/// Another runtime.
pub fn runc() -> Condition {
    program("runc")
}

/// What gives an unprivileged user's namespace more than one id.
pub fn newuidmap() -> Condition {
    program("newuidmap")?;
    program("newgidmap")
}

/// The runtime that ours is compared with.
pub fn crun() -> Condition {
    program("crun")
}

/// What a registry of a test's own is made of (`support::registry`).
pub fn registry() -> Condition {
    registry_client()?;
    ["docker-registry", "skopeo", "openssl", "htpasswd", "base64"].into_iter().try_for_each(program)
}

/// TLS, an optional part of the build, and the program that makes certificates.
pub fn tls() -> Condition {
    built_with(cfg!(feature = "tls"), "tls")?;
    program("openssl")
}

/// The registry client, an optional part of the build.
pub fn registry_client() -> Condition {
    built_with(cfg!(feature = "registry"), "registry")
}

/// Loop devices, and a program that makes file systems for them.
pub fn loop_ext4() -> Condition {
    losetup().and(program("mkfs.ext4"))
}

/// A file system for the tests' files whose mounts can show other ids. The oldest that can are ext4, xfs and btrfs
/// (Linux 5.12, 5.12, 5.15); tmpfs is one since Linux 6.3.
pub fn id_mapped_mounts() -> Condition {
    const KNOWN: [u32; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    let directory = std::fs::File::open(std::env::temp_dir()).map_err(|e| e.to_string())?;
    match file_system_of(directory.as_fd()) {
        Ok(kind) if KNOWN.contains(&kind) => Ok(()),
        _ => Err("the tests' file system has no id-mapped mounts".into()),
    }
}

/// The shells whose tab key is tried.
pub fn bash() -> Condition {
    ["bash", "dash"].into_iter().try_for_each(program)
}

/// Somebody who wants to see what comes of random commands: that differs from run to run.
pub fn random_load() -> Condition {
    match std::env::var_os("ISULABOX_LOAD") {
        Some(_) => Ok(()),
        None => Err("ISULABOX_LOAD is not set".into()),
    }
}

/// A machine whose clock nobody else lives by.
pub fn own_clock() -> Condition {
    match std::env::var_os("OWN_CLOCK") {
        Some(_) => Ok(()),
        None => Err("the clock is not this test's own (make test-board TESTS=clock::)".into()),
    }
}

/// Pairs of network interfaces, and programs that make them in a namespace.
pub fn veth() -> Condition {
    ["ip", "nsenter", "unshare"].into_iter().try_for_each(program)?;
    let mut command = std::process::Command::new("unshare");
    let made = command.args(["-n", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"]).output();
    match made.is_ok_and(|o| o.status.success()) {
        true => Ok(()),
        false => Err("no veth".into()),
    }
}

/// The program that makes files immutable.
pub fn chattr() -> Condition {
    program("chattr")
}

/// A zone of its own, and others that can take its place.
pub fn zones() -> Condition {
    match Path::new("/etc/localtime").exists() && Path::new("/usr/share/zoneinfo/Asia/Kolkata").exists() {
        true => Ok(()),
        false => Err("no time zones".into()),
    }
}

/// The program that stops all writes to a file system.
pub fn fsfreeze() -> Condition {
    program("fsfreeze")
}

/// A kernel that asks before calls and can let them go on (Linux 5.5), and that says when nobody is left to ask for.
pub fn stopped_calls() -> Condition {
    match super::old_kernel::is_at_least(5, 9) && cfg!(target_endian = "little") {
        true => Ok(()),
        false => Err("no seccomp_unotify(2) with a way to go on".into()),
    }
}

/// A file system of the kernel, and the program that makes it.
pub fn file_system(kind: &str) -> Condition {
    program("losetup")?;
    program(&format!("mkfs.{kind}"))?;
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    match known.lines().any(|l| l.trim() == kind) && Path::new("/dev/loop-control").exists() {
        true => Ok(()),
        false => Err(format!("no {kind} on loop devices")),
    }
}

/// The same for XFS.
pub fn loop_xfs() -> Condition {
    loop_ext4().and(program("mkfs.xfs"))
}

/// Loop devices and squashfs, in the kernel and as a program, for a build that uses them.
pub fn embedded() -> Condition {
    built_with(cfg!(feature = "embedded"), "embedded")?;
    losetup()?;
    ["mksquashfs", "tar"].into_iter().try_for_each(program)?;
    let types = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let module = || std::process::Command::new("modprobe").arg("squashfs").status().is_ok_and(|s| s.success());
    match types.lines().any(|l| l.trim() == "squashfs") || module() {
        true => Ok(()),
        false => Err("no squashfs in this kernel".into()),
    }
}

/// Loop devices, and a program for them.
pub fn losetup() -> Condition {
    program("losetup")?;
    match Path::new("/dev/loop-control").exists() {
        true => Ok(()),
        false => Err("no loop devices".into()),
    }
}

/// A v1 memory controller that can limit swap, or cgroup v2.
pub fn cgroup_memory() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
    if v1 || super::cgroup::v2_controllers().iter().any(|c| c == "memory") {
        Ok(())
    } else {
        Err("no memory controller".into())
    }
}

pub fn cgroup_pids() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/pids").is_dir();
    if v1 || super::cgroup::v2_controllers().iter().any(|c| c == "pids") {
        Ok(())
    } else {
        Err("no pids controller".into())
    }
}

pub fn cgroup_cpu() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/cpu").is_dir();
    if v1 || super::cgroup::v2_controllers().iter().any(|c| c == "cpu") {
        Ok(())
    } else {
        Err("no cpu controller".into())
    }
}

/// A v1 controller that bounds the rates of block devices, or cgroup v2's.
pub fn cgroup_throttle() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").exists();
    if v1 || super::cgroup::v2_controllers().iter().any(|c| c == "io") {
        Ok(())
    } else {
        Err("no rates of block devices".into())
    }
}

/// The scheduler bfq, with weights for cgroups.
pub fn cgroup_block_weights() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/blkio/blkio.bfq.io_service_bytes").exists();
    let v2 = || {
        let root = super::cgroup::unified().filter(|_| super::cgroup::v2_controllers().iter().any(|c| c == "io"))?;
        let children = std::fs::read_dir(root).ok()?;
        children.flatten().find(|child| child.path().join("io.bfq.weight").exists())
    };
    if v1 || v2().is_some() { Ok(()) } else { Err("no weights of block devices".into()) }
}

pub fn cgroup_hugetlb() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/hugetlb").is_dir();
    if v1 || super::cgroup::v2_controllers().iter().any(|c| c == "hugetlb") {
        Ok(())
    } else {
        Err("no hugetlb controller".into())
    }
}

/// Real-time scheduling of cgroups: v1 and CONFIG_RT_GROUP_SCHED.
pub fn cgroup_realtime() -> Condition {
    match Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        true => Ok(()),
        false => Err("no real-time scheduling of cgroups".into()),
    }
}

pub fn cgroup_freezer() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/freezer").is_dir();
    if v1 || super::cgroup::unified().is_some() { Ok(()) } else { Err("no freezer".into()) }
}

pub fn cgroup_devices() -> Condition {
    let v1 = Path::new("/sys/fs/cgroup/devices").is_dir();
    if v1 || Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { Ok(()) } else { Err("no device control".into()) }
}

/// That nobody else on the machine has containers below the default parent cgroup.
pub fn no_other_daemon() -> Condition {
    match super::cgroup::below("isulad").first() {
        None => Ok(()),
        Some(path) => Err(format!("{} is in use", path.display())),
    }
}

/// The runtime's command line, an optional part of the build.
pub fn lcr() -> Condition {
    built_with(cfg!(feature = "lcr"), "lcr")
}

/// Cgroups by systemd, an optional part of the build.
pub fn systemd() -> Condition {
    built_with(cfg!(feature = "systemd"), "systemd")
}

/// Go templates, an optional part of the build.
pub fn templates() -> Condition {
    built_with(cfg!(feature = "templates"), "templates")
}

/// history, save, export and image prune, an optional part of the build.
pub fn image_tools() -> Condition {
    built_with(cfg!(feature = "image-tools"), "image-tools")
}

/// `isula completion`, an optional part of the build.
pub fn completion() -> Condition {
    built_with(cfg!(feature = "completion"), "completion")
}

/// Copied roots, sizes of containers and the check of layers, an optional part of the build.
pub fn storage() -> Condition {
    built_with(cfg!(feature = "storage"), "storage")
}

/// The tests are compiled with the features of the binary under test: `make test MINIMAL=1`.
fn built_with(present: bool, feature: &str) -> Condition {
    if present { Ok(()) } else { Err(format!("built without {feature}")) }
}

/// A program that shows what is in an executable.
pub fn readelf() -> Condition {
    program("readelf")
}
