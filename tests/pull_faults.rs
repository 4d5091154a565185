//! A registry, or the way to it, that fails: in every way, at every request that a pull makes. Whatever happens, the pull
//! succeeded or said why not, an image that was said to be there is there and runs, nothing else is left on disk, and
//! the same command succeeds when the fault is gone.

use crate::support::bed::Bed;
use crate::support::command::{Output, Running};
use crate::support::fake_registry::{FakeRegistry, Fault, When};
use crate::support::rootfs::{self, Archive};
use crate::support::{PATIENCE, contains, eventually, oci};
use crate::{requires, tests};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

tests![
    what_passes_is_got_over,
    what_lasts_ends_the_pull,
    what_is_not_as_announced_is_refused,
    silence_ends_with_the_client,
    silence_ends_with_the_daemon,
    one_who_waits_for_another_pull_goes_on_alone,
];

/// Layers of these images above the one that the other image has too.
const LAYERS: usize = 3;
/// Requests of an undisturbed pull: index, manifest, configuration, layers.
const REQUESTS: usize = 3 + LAYERS;
/// Attempts at a request.
const ATTEMPTS: &str = "2";

/// A daemon and a registry to pull from.
struct Scene<'a> {
    bed: &'a mut Bed,
    registry: FakeRegistry,
    layouts: PathBuf,
    /// The names of the images that were said to be there, and ids.
    acknowledged: Vec<(String, String)>,
}

impl Scene<'_> {
    fn new(bed: &mut Bed) -> Scene<'_> {
        let layouts = bed.dir.join("layouts");
        fs::create_dir(&layouts).unwrap();
        let registry = FakeRegistry::start(&layouts);
        bed.start_with(&["--insecure-registry", &registry.host(), "--max-download-attempts", ATTEMPTS]);
        let scene = Scene { bed, registry, layouts, acknowledged: Vec::new() };
        scene.settle();
        scene
    }

    /// A new image `name` at the registry, none of whose own layers any other has.
    fn offer(&self, name: &str, fault: Fault, when: When) {
        let mut layers = vec![rootfs::archive()];
        for n in 0..LAYERS {
            let path = self.layouts.join(format!("{name}.{n}.tar"));
            let mut tar = Archive::create(&path);
            tar.file(&format!("etc/layer{n}"), 0o644, name);
            // More than a buffer, and not a few.
            tar.file(&format!("srv/bulk{n}"), 0o644, &format!("{name}{n} ").repeat(40_000));
            tar.finish();
            layers.push(path);
        }
        let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let config = json!({"Cmd": ["cat", "/etc/layer0", "/etc/layer1", "/etc/layer2"]});
        oci::layout(&self.layouts.join(name), &layers, &["linux/amd64", "linux/arm64"], &config);
        self.registry.arrange(name, fault, when);
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}:v1", self.registry.host())
    }

    fn begin(&self, name: &str) -> Running {
        self.bed.spawn(&format!("pull {}", self.reference(name)))
    }

    /// Notes what a pull said; whether it succeeded.
    fn note(&mut self, name: &str, output: Output) -> bool {
        if output.code != 0 {
            assert_eq!(output.code, 1, "{}", output.show());
            assert!(!output.out.contains("pulled"), "{}", output.show());
            // Who, and what about it.
            contains(&output.err, &self.registry.host());
            return false;
        }
        let id = output.ok();
        let id = id.rsplit("Image \"").next().and_then(|t| t.strip_suffix("\" pulled")).expect("the id").to_owned();
        assert_eq!(id.len(), 64, "{id}");
        self.acknowledged.push((name.to_owned(), id));
        true
    }

    /// An image for each request, which that happens to; all are pulled at once. Those that could not be.
    fn pull_all(&mut self, kind: &str, fault: Fault, when: fn(usize) -> When) -> Vec<(String, String)> {
        let names: Vec<String> = (1..=REQUESTS).map(|n| format!("{kind}{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            self.offer(name, fault, when(n + 1));
        }
        let pulls: Vec<Running> = names.iter().map(|name| self.begin(name)).collect();
        let mut failed = Vec::new();
        for (name, pull) in names.into_iter().zip(pulls) {
            let output = pull.finish(PATIENCE);
            let said = output.err.clone();
            if !self.note(&name, output) {
                failed.push((name, said));
            }
        }
        failed
    }

    /// The store, before and after a restart, has what it was said to have and no byte more.
    fn settle(&self) {
        let bed = &*self.bed;
        let listed: BTreeSet<String> = bed.isula("images -q").ok().lines().map(str::to_owned).collect();
        let mut wanted: BTreeSet<String> = self.acknowledged.iter().map(|(_, id)| id[..12].to_owned()).collect();
        wanted.extend(
            bed.isula(&format!("images -q -f reference={}", crate::support::IMAGE)).ok().lines().map(String::from),
        );
        assert_eq!(listed, wanted);
        let storage = bed.graph().join("storage");
        let (images, layers) = (wanted.len(), 1 + LAYERS * self.acknowledged.len());
        let mut seen = [0; 3];
        eventually(&format!("{images} images and {layers} layers are on disk"), || {
            seen = ["overlay-images", "overlay-layers", "overlay"]
                .map(|name| fs::read_dir(storage.join(name)).map_or(0, Iterator::count));
            seen == [images, layers, layers]
        });
    }

    /// A new daemon finds the same.
    fn settle_again(&mut self) {
        self.settle();
        self.bed.restart();
        self.settle();
        for (name, _) in &self.acknowledged {
            assert_eq!(self.bed.isula(&format!("run --rm {}", self.reference(name))).ok(), name.repeat(LAYERS));
        }
    }

    /// Pulls these again, without any fault.
    fn pull_again(&mut self, names: &[String]) {
        for name in names {
            self.registry.arrange(name, Fault::Failing, When::Never);
            let output = self.begin(name).finish(PATIENCE);
            assert!(self.note(name, output));
        }
        self.settle_again();
    }
}

fn names(failed: Vec<(String, String)>) -> Vec<String> {
    failed.into_iter().map(|(name, _)| name).collect()
}

fn what_passes_is_got_over(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    scene.offer("whole", Fault::Failing, When::Never);
    let output = scene.begin("whole").finish(PATIENCE);
    assert!(scene.note("whole", output));
    assert_eq!(scene.registry.asked("whole"), REQUESTS, "a fault for each request of a pull");
    for (kind, fault) in
        [("failing", Fault::Failing), ("hangup", Fault::HangUp), ("cut", Fault::Cut), ("busy", Fault::Busy(1))]
    {
        let failed = scene.pull_all(kind, fault, When::Once);
        assert!(failed.is_empty(), "{fault:?}: {failed:?}");
        let asked: Vec<usize> = (1..=REQUESTS).map(|n| scene.registry.asked(&format!("{kind}{n}"))).collect();
        assert!(asked.iter().all(|n| *n == REQUESTS + 1), "{fault:?}: {asked:?}");
    }
    scene.settle_again();
}

fn what_lasts_ends_the_pull(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    let mut failed = Vec::new();
    for (kind, fault, part) in [
        ("failing", Fault::Failing, "status 500"),
        ("hangup", Fault::HangUp, "the connection broke"),
        ("cut", Fault::Cut, "broke"),
        ("busy", Fault::Busy(0), "too many requests"),
        ("hourly", Fault::Busy(3600), "too many requests"),
        ("denied", Fault::Denied, "unauthorized"),
        ("missing", Fault::Missing, "it is not here"),
    ] {
        let ended = scene.pull_all(kind, fault, When::Always);
        // A body that breaks off further on each time is one that comes.
        let all = if fault == Fault::Cut { 3 } else { REQUESTS };
        assert!(ended.len() >= all, "{fault:?}: {ended:?}");
        for (name, said) in &ended {
            assert!(said.contains(part), "{name}: {said}");
        }
        failed.extend(names(ended));
    }
    scene.settle_again();
    scene.pull_again(&failed);
}

fn what_is_not_as_announced_is_refused(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    let mut failed = Vec::new();
    for (kind, fault) in [("flipped", Fault::Flipped), ("short", Fault::Short), ("long", Fault::Long)] {
        let mut ended = names(scene.pull_all(kind, fault, When::Always));
        failed.extend(ended.iter().cloned());
        // What a tag names is proven by nothing: the changed byte may be one of another platform's image, or a blank.
        ended.retain(|name| !name.ends_with('1'));
        assert_eq!(ended, (2..=REQUESTS).map(|n| format!("{kind}{n}")).collect::<Vec<_>>());
    }
    scene.settle_again();
    scene.pull_again(&failed);
}

/// A pull for each request, all of which wait for ever.
fn silent(scene: &Scene<'_>, kind: &str, fault: Fault) -> Vec<(String, Running)> {
    let names: Vec<String> = (1..=REQUESTS).map(|n| format!("{kind}{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        scene.offer(name, fault, When::Always(n + 1));
    }
    let pulls: Vec<(String, Running)> = names.into_iter().map(|name| (name.clone(), scene.begin(&name))).collect();
    eventually("all have asked", || (1..=REQUESTS).all(|n| scene.registry.asked(&format!("{kind}{n}")) >= n));
    pulls
}

fn silence_ends_with_the_client(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    let mut failed = Vec::new();
    for (kind, fault) in [("silent", Fault::Silent), ("stalled", Fault::Stalled)] {
        for (name, pull) in silent(&scene, kind, fault) {
            kill(Pid::from_raw(pull.child.id() as i32), Signal::SIGKILL).unwrap();
            let output = pull.finish(PATIENCE);
            assert_ne!(output.code, 0, "{}", output.show());
            failed.push(name);
        }
        eventually("the daemon gives up what nobody wants", || scene.registry.open() == 0);
    }
    scene.settle_again();
    scene.pull_again(&failed);
}

fn silence_ends_with_the_daemon(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    let mut failed = Vec::new();
    for (kind, fault, killed) in
        [("killed", Fault::Stalled, true), ("stopped", Fault::Stalled, false), ("quiet", Fault::Silent, false)]
    {
        let pulls = silent(&scene, kind, fault);
        match killed {
            true => scene.bed.kill(),
            false => scene.bed.stop(),
        }
        for (name, pull) in pulls {
            let output = pull.finish(PATIENCE);
            assert_ne!(output.code, 0, "{}", output.show());
            failed.push(name);
        }
        scene.bed.restart();
        scene.settle();
    }
    scene.pull_again(&failed);
}

fn one_who_waits_for_another_pull_goes_on_alone(bed: &mut Bed) {
    requires!(registry_client);
    let mut scene = Scene::new(bed);
    for n in 1..=LAYERS {
        // The first waits for a layer for ever, the others for the first; when it is gone they get the layer themselves.
        let name = format!("shared{n}");
        scene.offer(&name, Fault::Stalled, When::Once(REQUESTS - LAYERS + n));
        let first = scene.begin(&name);
        eventually("the layer is under way", || scene.registry.asked(&name) >= REQUESTS - LAYERS + n);
        let others = [scene.begin(&name), scene.begin(&name)];
        eventually("the others wait for it", || scene.registry.asked(&name) >= REQUESTS - LAYERS + n + 2 * 3);
        kill(Pid::from_raw(first.child.id() as i32), Signal::SIGKILL).unwrap();
        assert_ne!(first.finish(PATIENCE).code, 0);
        for other in others {
            let output = other.finish(PATIENCE);
            assert!(scene.note(&name, output));
        }
        scene.acknowledged.pop(); // one image, acknowledged twice
    }
    scene.settle_again();
}
