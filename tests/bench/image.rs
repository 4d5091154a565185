//! Images: loading and pulling a small and a large one, beside the engines that people have.
//!
//! Each round begins without the image and with its bytes in the page cache, on a journalled file system. Ours says that
//! it is done when the image would survive a power cut; the others do not wait for the disk.

use crate::support::bed::{Bed, json};
use crate::support::registry::{Registry, Setup, run};
use crate::support::rootfs::Archive;
use crate::support::{eventually, leaks, oci};
use crate::{median, ms, private};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of the files of the large image's layer.
const LARGE: u64 = 500_000_000;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(5);
const ENGINES: [Engine; 4] = [Engine::Ours, Engine::Podman, Engine::Containerd, Engine::Skopeo];

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Ours,
    Podman,
    Containerd,
    /// With umoci, which unpacks what skopeo has copied.
    Skopeo,
}

/// What one command took.
struct Cost {
    wall: Duration,
    /// Of the command and the daemon behind it.
    cpu: Duration,
    written: u64,
}

/// An image in an archive and in a registry.
struct Subject {
    title: &'static str,
    archive: PathBuf,
    /// In the archive.
    name: String,
    /// In the registry.
    pulled: String,
    unpacked: u64,
    rounds: usize,
}

/// The engines at work below one directory.
struct Peers<'a> {
    bed: &'a Bed,
    dir: PathBuf,
    containerd: Child,
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.containerd.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM); // it may have ended
        let _ = self.containerd.wait();
    }
}

/// Prints what load and pull take, for each image.
pub fn measure(bed: &Bed, scratch: &Path) {
    let dir = scratch.join("images");
    fs::create_dir_all(&dir).expect("a directory");
    let registry = Registry::start(&dir, "registry", Setup::default());
    let subjects = [
        subject(&dir, &registry, "small", &small_layer(&dir), 9),
        subject(&dir, &registry, "large", &large_layer(&dir), 3),
    ];
    let peers = Peers::start(bed);
    println!("{:<34} {:>11} {:>9} {:>11} {:>13}", "", "ours", "x podman", "x containerd", "x skopeo,umoci");
    for subject in &subjects {
        for pull in [false, true] {
            peers.compare(subject, pull);
        }
    }
}

fn subject(dir: &Path, registry: &Registry, title: &'static str, layer: &Path, rounds: usize) -> Subject {
    let packed = layer.with_extension("gz");
    let file = fs::File::create(&packed).expect("a file");
    let status = Command::new("gzip").arg("-nc").arg(layer).stdout(file).status();
    assert!(status.is_ok_and(|s| s.success()), "gzip");
    let (layout, name) = (dir.join(title), format!("localhost/{title}:v1"));
    oci::layout(&layout, &[&packed], &["linux/amd64"], &json!({"Cmd": ["true"]}));
    let index = layout.join("index.json");
    let mut value: Value = json(&fs::read(&index).expect("the index"));
    // Who reads which differs.
    value["manifests"][0]["annotations"] =
        json!({"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name});
    fs::write(index, isulabox::utils::json::to_vec(&value)).expect("the index");
    registry.push(&layout, &format!("{title}:v1"), &[]);
    let unpacked = fs::metadata(layer).expect("its size").len();
    let pulled = registry.name(&format!("{title}:v1"));
    Subject { title, archive: oci::archive(&layout), name, pulled, unpacked, rounds }
}

/// Not quite the test's root file system, which the daemon has.
fn small_layer(dir: &Path) -> PathBuf {
    let path = dir.join("small-layer.tar");
    let mut tar = Archive::create(&path);
    tar.standard();
    tar.file("etc/small", 0o644, "");
    tar.finish();
    path
}

/// Files of this machine, as many as make a large layer: real content, as compressible as it is.
fn large_layer(dir: &Path) -> PathBuf {
    let path = dir.join("large-layer.tar");
    let mut tar = Archive::create(&path);
    let mut left = LARGE;
    let mut pending: Vec<PathBuf> = ["/usr/share", "/usr/lib", "/usr/bin", "/usr/local"].map(PathBuf::from).to_vec();
    while let Some(directory) = pending.pop() {
        let mut entries: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() && (1..=left).contains(&metadata.len()) {
                left -= metadata.len();
                let at = entry.path().to_string_lossy().trim_start_matches('/').to_owned();
                tar.program(&at, &entry.path());
            }
        }
    }
    tar.finish();
    path
}

impl Peers<'_> {
    fn start(bed: &Bed) -> Peers<'_> {
        let dir = bed.dir.join("peers");
        fs::create_dir_all(&dir).expect("a directory");
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            at("containerd"),
            at("containerd-state"),
            at("c.sock"),
            at("t.sock"),
        );
        fs::write(dir.join("containerd.toml"), config).expect("a file");
        let log = fs::File::create(dir.join("containerd.log")).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(dir.join("containerd.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let containerd = command.spawn().expect("containerd; `make deps-bench` installs it");
        let peers = Peers { bed, dir, containerd };
        eventually("containerd answers", || {
            peers.ctr(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        });
        peers
    }

    fn ctr(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.dir.join("c.sock")).args(words);
        command
    }

    fn podman(&self, words: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.dir.join("podman")).arg("--runroot").arg(self.dir.join("podman-run"));
        command.args(["--storage-driver=overlay", "--cgroup-manager=cgroupfs", "--events-backend=none"]).args(words);
        command
    }

    fn isula(&self, words: &[&str]) -> Command {
        let mut command = self.bed.applet("isula");
        command.args(words);
        command
    }

    /// The commands that bring an image.
    fn bring(&self, engine: Engine, subject: &Subject, pull: bool) -> Vec<Command> {
        let archive = subject.archive.to_str().expect("a name in ASCII");
        let pulled = subject.pulled.as_str();
        match (engine, pull) {
            (Engine::Ours, false) => vec![self.isula(&["load", "-i", archive])],
            (Engine::Ours, true) => vec![self.isula(&["pull", pulled])],
            (Engine::Podman, false) => vec![self.podman(&["load", "-q", "-i", archive])],
            (Engine::Podman, true) => vec![self.podman(&["pull", "-q", "--tls-verify=false", pulled])],
            (Engine::Containerd, false) => vec![self.ctr(&["images", "import", archive])],
            (Engine::Containerd, true) => vec![self.ctr(&["images", "pull", "--plain-http", pulled])],
            (Engine::Skopeo, _) => {
                let source = if pull { format!("docker://{pulled}") } else { format!("oci-archive:{archive}") };
                let layout = format!("{}:v1", self.dir.join("layout").display());
                let mut skopeo = Command::new("skopeo");
                skopeo.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &source]);
                skopeo.arg(format!("oci:{layout}"));
                let mut umoci = Command::new("umoci");
                umoci.args(["unpack", "--image", &layout]).arg(self.dir.join("bundle"));
                vec![skopeo, umoci]
            }
        }
    }

    fn remove(&self, engine: Engine, subject: &Subject, pull: bool) {
        let name = if pull { &subject.pulled } else { &subject.name };
        match engine {
            Engine::Ours => to_end(self.isula(&["rmi", name])),
            Engine::Podman => to_end(self.podman(&["rmi", "-f", name])),
            Engine::Containerd => to_end(self.ctr(&["images", "rm", "--sync", name])),
            Engine::Skopeo => {
                for made in ["layout", "bundle"] {
                    fs::remove_dir_all(self.dir.join(made)).expect("what umoci made");
                }
            }
        }
    }

    fn daemon(&self, engine: Engine) -> Option<u32> {
        match engine {
            Engine::Ours => Some(self.bed.pid()),
            Engine::Containerd => Some(self.containerd.id()),
            Engine::Podman | Engine::Skopeo => None,
        }
    }

    fn compare(&self, subject: &Subject, pull: bool) {
        let mut costs: BTreeMap<usize, Vec<Cost>> = BTreeMap::new();
        let mut peaks = Vec::new();
        for (n, engine) in ENGINES.into_iter().enumerate() {
            // Also warms what each keeps.
            peaks.push(self.peak(engine, subject, pull));
            self.remove(engine, subject, pull);
            costs.insert(n, Vec::new());
        }
        for _ in 0..subject.rounds {
            for (n, engine) in ENGINES.into_iter().enumerate() {
                costs.entry(n).or_default().push(self.cost(engine, subject, pull));
                self.remove(engine, subject, pull);
            }
        }
        let title = |what: &str| format!("{} {}, {what}", if pull { "pull" } else { "load" }, subject.title);
        let of = |take: &dyn Fn(&Cost) -> Duration| -> Vec<f64> {
            costs.values().map(|all| ms(median(all.iter().map(take).collect()))).collect()
        };
        row(&title("wall"), "ms", &of(&|c| c.wall));
        row(&title("cpu"), "ms", &of(&|c| c.cpu));
        row(&title("peak private over idle"), "MiB", &peaks.iter().map(|p| *p as f64 / 1024.0).collect::<Vec<_>>());
        let written: Vec<f64> = costs
            .values()
            .map(|all| all.iter().map(|c| c.written).min().unwrap_or(0) as f64 / subject.unpacked as f64)
            .collect();
        row(&title("written / archive"), "", &written);
    }

    fn cost(&self, engine: Engine, subject: &Subject, pull: bool) -> Cost {
        nix::unistd::sync();
        let (disk, daemon) = (sectors(&self.dir), self.daemon(engine));
        let before = processor_time(daemon);
        let begin = Instant::now();
        self.bring(engine, subject, pull).into_iter().for_each(to_end);
        let wall = begin.elapsed();
        let cpu = processor_time(daemon).saturating_sub(before);
        nix::unistd::sync();
        Cost { wall, cpu, written: (sectors(&self.dir) - disk) * 512 }
    }

    /// The most private memory that command and daemon had beyond what the daemon had before, in KiB.
    fn peak(&self, engine: Engine, subject: &Subject, pull: bool) -> u64 {
        let daemon = self.daemon(engine);
        let all = |of: Option<u32>| -> u64 { of.into_iter().flat_map(family).map(private).sum() };
        let (idle, mut most) = (all(daemon), 0);
        for mut command in self.bring(engine, subject, pull) {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("a program");
            let status = loop {
                most = most.max(all(Some(child.id())) + all(daemon));
                match child.try_wait().expect("our own child") {
                    Some(status) => break status,
                    None => std::thread::sleep(SAMPLE),
                }
            };
            assert!(status.success(), "{command:?}: {status}");
        }
        most.saturating_sub(idle)
    }
}

/// A process and its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut n = 0;
    while n < all.len() {
        all.extend(leaks::children_of(all[n]));
        n += 1;
    }
    all
}

/// Of all children that have ended and of a daemon with its own.
fn processor_time(daemon: Option<u32>) -> Duration {
    let stat = daemon.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
    // utime, stime, cutime and cstime (proc_pid_stat(5)), counted from behind the name, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|f| f.parse::<u64>().ok()).sum();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("our own children");
    let ours = [usage.user_time(), usage.system_time()].map(|t| Duration::from_micros(t.num_microseconds() as u64));
    ours[0] + ours[1] + Duration::from_millis(10 * ticks)
}

/// Sectors that were written to the device of a file system.
fn sectors(path: &Path) -> u64 {
    let device = fs::metadata(path).expect("a directory").dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).expect("a block device");
    stat.split_whitespace().nth(6).and_then(|f| f.parse().ok()).expect("sectors written")
}

fn to_end(mut command: Command) {
    run(&mut command);
}

fn row(title: &str, unit: &str, values: &[f64]) {
    let ratio = |n: usize| values[0] / values[n];
    println!("{title:<34} {:>7.2} {unit:<3} {:>9.2} {:>11.2} {:>13.2}", values[0], ratio(1), ratio(2), ratio(3));
}
