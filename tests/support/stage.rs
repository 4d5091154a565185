//! A store in a known state, what is done to it, and the moment at which that is interrupted: a daemon killed, or a disk
//! without power.

use super::bed::Bed;
use super::disk::Disk;
use super::registry::{Registry, Setup};
use super::rootfs::Archive;
use super::steps::{Blow, Steps};
use super::world::{Chance, Content, World};
use super::{oci, registry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A command of the client whose effect must be whole or not there.
pub struct Operation {
    pub name: &'static str,
    pub line: String,
    /// Several changes, each of which may have happened or not.
    pub several: bool,
}

/// When the blow comes.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Before the step with that number, from 1.
    Step(usize),
    /// That long after the command began.
    Time(Duration),
    /// That long after the client has said that it is done.
    Answer(Duration),
}

/// Where the store is.
pub enum Ground {
    /// In a directory: what the daemon has written is there, whatever becomes of it.
    Directory,
    /// On a disk, whose power is cut.
    Disk(Disk),
}

pub struct Stage {
    ground: Ground,
    extra: Vec<String>,
    /// Before the operation.
    before: World,
    content: Content,
    _registry: Option<Registry>,
}

impl Stage {
    /// Makes the store: `kept:v1` of two layers, `other:v1` with another on the same base, `many:v1` and `many:v2` on
    /// that; two images without a name; containers `aa`, `bb` and `vv`, which has volumes, one of them `held`; volumes
    /// `idle`, which is empty, and `lone`, which is not. `pulled` is the name of an image in a registry when
    /// there is one.
    pub fn set(bed: &mut Bed, ground: Ground) -> Stage {
        let registry = super::requires::registry().is_ok().then(|| {
            let registry = Registry::start(&bed.dir, "registry", Setup::default());
            let layout = bed.dir.join("pull-layout");
            image(&layout, &["base", "pulled", "above"], &[]);
            registry.push(&layout, "pulled:v1", &[]);
            registry
        });
        let extra: Vec<String> =
            registry.iter().flat_map(|r| ["--insecure-registry".to_owned(), r.host.clone()]).collect();
        archive(bed, "fresh", &["base", "fresh", "above"], &["fresh:v1", "fresh:v2"]);
        layer(&bed.dir.join("imported.tar"), "imported", true);
        let mut stage =
            Stage { ground, extra, before: World::default(), content: Content::default(), _registry: registry };
        stage.launch(bed);
        for (name, names) in [
            ("kept", &["kept:v1"][..]),
            ("other", &["other:v1"]),
            ("many", &["many:v1", "many:v2"]),
            ("nameless", &["passing:v1"]),
            ("unnamed", &["passing:v1"]),
            ("passing", &["passing:v1"]),
        ] {
            let path = archive(bed, name, &["base", name], names);
            bed.isula(&format!("load -i {}", path.display())).ok();
        }
        stage.before = World::of(bed);
        stage.content.learn(bed, &stage.before);
        bed.isula("create --name aa kept:v1").ok();
        bed.isula("create --name bb kept:v1").ok();
        bed.isula("create --name vv -v /of-kept -v /etc -v held:/srv kept:v1").ok();
        bed.isula("volume create idle").ok();
        bed.isula("create --name ww -v lone:/of-kept kept:v1").ok();
        bed.isula("rm ww").ok();
        stage.before = World::of(bed);
        stage.before.await_tidiness(bed);
        bed.stop();
        let _ = fs::remove_dir_all(stage.pristine(bed)); // of an earlier stage
        if let Ground::Directory = stage.ground {
            copy_tree(&bed.graph(), &stage.pristine(bed));
        }
        stage
    }

    /// Everything that changes the store, or the one operation that ISULABOX_FAULTS_OPERATION names; in an order of chance.
    pub fn operations(&self, bed: &Bed, chance: &mut Chance) -> Vec<Operation> {
        let at = |name: &str| bed.dir.join(name).display().to_string();
        let one = |name, line: String| Operation { name, line, several: false };
        let several = |name, line: String| Operation { name, line, several: true };
        let mut all = vec![
            several("load", format!("load -i {}", at("fresh.tar"))),
            one("import", format!("import -c 'CMD [\"cat\",\"/mark\"]' {} new:v1", at("imported.tar"))),
            one("tag", "tag kept:v1 more:v1".into()),
            one("tag that moves", "tag kept:v1 other:v1".into()),
            one("rmi of one name", "rmi many:v2".into()),
            one("rmi of the last name", "rmi other:v1".into()),
            one("create", "create --name cc kept:v1".into()),
            one("rm", "rm aa".into()),
            // What was copied into a volume that was there may stay in it: all or nothing.
            several("create with volumes", "create --name cc -v /etc -v idle:/of-kept -v /no/where kept:v1".into()),
            one("rm with volumes", "rm -v vv".into()),
            one("volume create", "volume create --label a=b more".into()),
            one("volume rm", "volume rm lone".into()),
            several("volume prune", "volume prune -f".into()),
        ];
        if let Some(registry) = &self._registry {
            all.push(one("pull", format!("pull {}", registry.name("pulled:v1"))));
        }
        if super::requires::image_tools().is_ok() {
            all.push(several("image prune", "image prune -f".into()));
        }
        if let Ok(only) = std::env::var("ISULABOX_FAULTS_OPERATION") {
            all.retain(|operation| operation.name == only);
        }
        let mut all: Vec<Option<Operation>> = all.into_iter().map(Some).collect();
        chance.order(all.len()).into_iter().filter_map(|n| all[n].take()).collect()
    }

    fn pristine(&self, bed: &Bed) -> PathBuf {
        bed.dir.join("pristine")
    }

    fn words(&self) -> Vec<&str> {
        self.extra.iter().map(String::as_str).collect()
    }

    fn launch(&self, bed: &mut Bed) {
        bed.launch(&self.words());
    }

    /// Puts the store back to what was set.
    fn reset(&self, bed: &Bed) {
        match &self.ground {
            Ground::Directory => {
                empty(&bed.graph());
                copy_tree(&self.pristine(bed), &bed.graph());
            }
            Ground::Disk(disk) => disk.renew(),
        }
        let _ = fs::remove_dir_all(bed.state()); // of the run before
    }

    /// Does the operation, and lets the blow come at that moment. The daemon is dead then, and the disk has what it had
    /// at the blow. Gives whether the client has said that it is done.
    fn strike(&self, bed: &mut Bed, operation: &Operation, moment: Moment) -> bool {
        self.reset(bed);
        let steps = Steps::launch(bed, &self.words());
        let (at, late) = match moment {
            Moment::Step(n) => (n, None),
            Moment::Time(time) => (0, Some(time)),
            Moment::Answer(_) => (0, None),
        };
        steps.arm(at, self.blow(bed));
        let timer = late.map(|time| {
            let steps = steps.clone();
            std::thread::spawn(move || {
                std::thread::sleep(time);
                steps.disarm().1.expect("only the timer strikes")();
            })
        });
        let output = bed.isula(&operation.line);
        if let Moment::Answer(time) = moment {
            std::thread::sleep(time);
        }
        let acknowledged = output.code == 0;
        if let Some(timer) = timer {
            timer.join().expect("the timer");
        }
        if let (_, Some(blow)) = steps.disarm() {
            assert!(acknowledged, "nothing happened to the daemon: {}", output.show());
            blow();
        }
        bed.kill();
        if let Ground::Disk(disk) = &self.ground {
            disk.power_up();
            let _ = fs::remove_dir_all(bed.state()); // it is in memory
        }
        acknowledged
    }

    fn blow(&self, bed: &Bed) -> Blow {
        let daemon = Pid::from_raw(bed.pid() as i32);
        let plug = match &self.ground {
            Ground::Directory => None,
            Ground::Disk(disk) => Some(disk.plug()),
        };
        Box::new(move || {
            if let Some(plug) = plug {
                kill(daemon, Signal::SIGSTOP).expect("our own child");
                plug.pull();
            }
            kill(daemon, Signal::SIGKILL).expect("our own child");
        })
    }

    /// The worlds before and after an operation that nothing happens to, and its number of steps.
    pub fn rehearse(&mut self, bed: &mut Bed, operation: &Operation) -> (World, usize) {
        self.reset(bed);
        let steps = Steps::launch(bed, &self.words());
        steps.arm(0, Box::new(|| ()));
        bed.isula(&operation.line).ok();
        let (made, _) = steps.disarm();
        let after = World::of(bed);
        assert!(!after.like(&self.before), "{} changes nothing", operation.name);
        after.await_tidiness(bed);
        // Containers of what is there, by a daemon that nobody listens to.
        bed.stop();
        self.launch(bed);
        self.content.learn(bed, &after);
        bed.stop();
        (after, made)
    }

    /// Starts a daemon on what a blow left and checks everything that holds then: nothing that was acknowledged is lost,
    /// nothing is half there, nothing is left over, and the command can be repeated.
    fn check(&self, bed: &mut Bed, operation: &Operation, after: &World, acknowledged: bool) {
        self.launch(bed);
        let found = World::of(bed);
        let whole = found.like(after) || !acknowledged && found.like(&self.before);
        let partly = operation.several && !acknowledged && found.between(&self.before, after);
        assert!(whole || partly, "acknowledged: {acknowledged}\nfound {found:#?}\nwant {after:#?}");
        found.await_tidiness(bed);
        self.content.check(bed, &found);
        if !found.like(after) {
            bed.isula(&operation.line).ok();
            let repeated = World::of(bed);
            assert!(repeated.like(after), "repeated: {repeated:#?}\nwant {after:#?}");
            repeated.await_tidiness(bed);
            self.content.check(bed, &repeated);
        }
        bed.kill();
    }

    /// Has blows come before steps of an operation, in an order of chance until the time is up, or before all of them with
    /// ISULABOX_FAULTS=all; and one right after the answer.
    pub fn sweep(&mut self, bed: &mut Bed, operation: &Operation, time: Duration, chance: &mut Chance) {
        let begin = Instant::now();
        let (after, steps) = self.rehearse(bed, operation);
        let mut runs = 0;
        let answer = [Moment::Answer(Duration::ZERO)];
        for moment in answer.into_iter().chain(chance.order(steps).into_iter().map(|n| Moment::Step(n + 1))) {
            if !all() && runs > 1 && begin.elapsed() > time {
                break;
            }
            runs += 1;
            self.blow_and_check(bed, operation, &after, moment);
        }
        let seconds = begin.elapsed().as_secs_f64();
        println!("{}: {steps} steps, {runs} blows, {seconds:.1} s", operation.name);
    }

    /// One blow and what must hold after it.
    pub fn blow_and_check(&self, bed: &mut Bed, operation: &Operation, after: &World, moment: Moment) {
        println!("{}: {moment:?}", operation.name);
        let acknowledged = self.strike(bed, operation, moment);
        self.check(bed, operation, after, acknowledged);
    }

    /// Does an operation with `leave` bytes free on the disk: it is done, or nothing is, and says why; and it can be done
    /// when there is room again. Gives whether it was done.
    pub fn squeeze(&self, bed: &mut Bed, operation: &Operation, after: &World, leave: u64) -> bool {
        self.reset(bed);
        self.launch(bed);
        let filler = fill(&bed.graph(), leave);
        println!("{}: {leave} bytes free", operation.name);
        let output = bed.isula(&operation.line);
        let found = World::of(bed);
        if output.code == 0 {
            assert!(found.like(after), "found {found:#?}\nwant {after:#?}");
        } else {
            super::contains(&output.err.to_lowercase(), "no space left on device");
            let partly = operation.several && found.between(&self.before, after);
            assert!(partly || found.like(&self.before), "found {found:#?}\nwant {:#?}", self.before);
        }
        found.await_tidiness(bed);
        fs::remove_file(filler).expect("the filler goes");
        self.content.check(bed, &found);
        if !found.like(after) {
            bed.isula(&operation.line).ok();
            assert!(World::of(bed).like(after), "after room was made");
        }
        // The next daemon finds the same.
        bed.kill();
        self.launch(bed);
        let again = World::of(bed);
        assert!(again.like(after), "found {again:#?}\nwant {after:#?}");
        again.await_tidiness(bed);
        self.content.check(bed, &again);
        bed.stop();
        output.code == 0
    }

    /// The end: a disk goes, a directory stays empty.
    pub fn clear(self, bed: &Bed) {
        match self.ground {
            Ground::Directory => {
                empty(&bed.graph());
                empty(&bed.dir.join("pristine"));
            }
            Ground::Disk(disk) => disk.unmount(),
        }
    }
}

/// Whether all that can be tried is to be, and not as much as fits into a bounded time.
pub fn all() -> bool {
    std::env::var("ISULABOX_FAULTS").is_ok_and(|v| v == "all")
}

/// A layer with a mark, and with busybox or what hides a file.
fn layer(path: &Path, mark: &str, base: bool) {
    let mut tar = Archive::create(path);
    if base {
        tar.directory("bin");
        tar.busybox(&["cat", "true"]);
        tar.directory("etc");
        tar.file("etc/first", 0o644, "first\n");
        tar.link("link", "etc/first");
    } else {
        tar.directory(&format!("of-{mark}"));
        tar.file(&format!("of-{mark}/file"), 0o640, &mark.repeat(2000));
        tar.file("etc/.wh.first", 0o644, "");
    }
    tar.file("mark", 0o644, mark);
    tar.finish();
}

/// An OCI layout of an image that is also an archive of docker's when it has names.
fn image(layout: &Path, layers: &[&str], names: &[&str]) {
    let paths: Vec<PathBuf> = layers.iter().map(|mark| layout.with_file_name(format!("layer-{mark}.tar"))).collect();
    for (mark, path) in layers.iter().zip(&paths) {
        layer(path, mark, *mark == "base");
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    oci::layout(
        layout,
        &paths,
        &["linux/amd64"],
        &json!({"Cmd": ["cat", "/mark"], "Labels": {"names": names.join(" ")}}),
    );
    let read = |path: &Path| -> Value {
        isulabox::utils::json::parse(&fs::read(path).expect("a document")).expect("a document of ours")
    };
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().expect("a digest").replace(':', "/"));
    let index = read(&layout.join("index.json"));
    let manifest = read(&layout.join(blob(&index["manifests"][0]["digest"])));
    let layers: Vec<String> =
        manifest["layers"].as_array().expect("a list").iter().map(|l| blob(&l["digest"])).collect();
    let entry = json!([{"Config": blob(&manifest["config"]["digest"]), "RepoTags": names, "Layers": layers}]);
    if !names.is_empty() {
        fs::write(layout.join("manifest.json"), isulabox::utils::json::to_vec(&entry)).expect("a document");
    }
}

/// `NAME.tar` of an image.
pub fn archive(bed: &Bed, name: &str, layers: &[&str], names: &[&str]) -> PathBuf {
    let layout = bed.dir.join(name);
    image(&layout, layers, names);
    let path = oci::archive(&layout);
    fs::remove_dir_all(layout).expect("the layout goes");
    path
}

/// Removes what is in a directory, which may be a mount point.
fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        isulabox::utils::remove_tree::remove_tree(&entry.expect("an entry").path()).expect("it goes");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    registry::run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to));
}

/// Bytes that are free on the disk of a directory.
pub fn free(directory: &Path) -> u64 {
    let disk = nix::sys::statvfs::statvfs(directory).expect("a file system");
    disk.blocks_available() as u64 * disk.fragment_size() as u64
}

/// Takes the free space of a directory's disk but for `leave` bytes; gives the file that has it.
pub fn fill(directory: &Path, leave: u64) -> PathBuf {
    use std::io::Write;
    let filler = directory.join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    let zeros = vec![0; 1 << 20];
    loop {
        // What is free is known for certain when what was written has its blocks.
        file.sync_all().expect("fsync");
        let more = free(directory).saturating_sub(leave) as usize;
        match file.write(&zeros[..more.min(zeros.len())]) {
            Ok(0) | Err(_) => return filler,
            Ok(_) => {}
        }
    }
}
