//! Manifests and what becomes of them, without a kernel that mounts anything.

use super::super::store::tests::{Graph, nobody};
use super::*;
use crate::error::{Kind, Result};
use crate::modules::image::store::{Image, Store};
use crate::utils::digest::sha256;
use crate::utils::json;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const SQUASHFS: &str = "application/squashfs.image.rootfs.diff.img";
const DIRECTORY: &str = "application/bind.image.rootfs.diff.dir";

/// What looks like a squashfs from outside.
fn image_file(path: &Path, fill: u8) -> String {
    let mut bytes = vec![fill; 4096];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&4000u64.to_le_bytes());
    fs::write(path, &bytes).unwrap();
    format!("sha256:{}", sha256(&bytes))
}

/// A machine with two images of layers and a directory, and a manifest of all.
struct Machine {
    graph: Graph,
    manifest: Value,
}

impl Machine {
    fn new() -> Machine {
        let graph = Graph::new();
        let rom = graph.0.join("rom");
        fs::create_dir_all(rom.join("plain")).unwrap();
        let base = image_file(&rom.join("base.img"), 1);
        let app = image_file(&rom.join("app.img"), 2);
        let layer = |kind: &str, path: &str, place: &str, digest: &str| json!({"mediaType": kind, "size": 7, "digest": digest, "pathInHost": path, "pathInContainer": place});
        let manifest = json!({
            "schemaVersion": 1,
            "imageName": "test:v1",
            "mediaType": "application/embedded.manifest+json",
            "created": "2018-03-01T15:15:44.322987811Z",
            "config": {"ENV": ["a=b", "c=d e"], "ENTRYPOINT": ["sh"], "WORKDIR": "/srv", "CMD": null},
            "layers": [
                layer(SQUASHFS, "base.img", "", &base),
                layer(DIRECTORY, "plain", "", ""),
                layer(SQUASHFS, "app.img", "/srv//app/", &app),
            ],
        });
        Machine { graph, manifest }
    }

    fn rom(&self, name: &str) -> PathBuf {
        self.graph.0.join("rom").join(name)
    }

    fn write(&self, name: &str) -> PathBuf {
        let path = self.rom(name);
        fs::write(&path, json::to_vec(&self.manifest)).unwrap();
        path
    }

    fn load(&self, store: &Store) -> Result<Arc<Image>> {
        store.load_embedded(Source::File(self.write("test.manifest")), None)
    }
}

fn refused(result: Result<Arc<Image>>, kind: Kind, part: &str) {
    let e = result.err().unwrap_or_else(|| panic!("expected {part:?}"));
    assert!(e.kind() == kind && e.to_string().contains(part), "expected {part:?}: {e}");
}

#[test]
fn an_image_is_found_and_lasts() {
    let machine = Machine::new();
    let store = machine.graph.open();
    let image = machine.load(&store).unwrap();
    assert_eq!(image.display_names(), ["test:v1"]);
    assert_eq!(image.id, sha256(&json::to_vec(&machine.manifest)));
    assert_eq!(image.size, 4096 + 7 + 4096);
    let config = image.config.config.clone().unwrap();
    assert_eq!((config.entrypoint, config.working_dir.as_str()), (Some(vec!["sh".to_owned()]), "/srv"));
    assert_eq!(config.env, Some(vec!["a=b".to_owned(), "c=d e".to_owned()]));
    let embedded = image.embedded.clone().unwrap();
    let rom = |name: &str| machine.rom(name).canonicalize().unwrap();
    assert_eq!(embedded.lower(), [rom("plain"), rom("base.img")]);
    assert_eq!(embedded.images(), [rom("base.img")]);
    let mounts = embedded.mounts();
    assert_eq!((mounts.len(), mounts[0].destination.as_str(), mounts[0].kind.as_str()), (1, "/srv/app", "squashfs"));
    assert_eq!(store.layer_sizes(&image), [4096, 7, 4096]);
    // The same once more changes nothing; a further name is its own.
    assert_eq!(machine.load(&store).unwrap().names, image.names);
    store.tag("test:v1", "other:v2").unwrap();
    drop(store);
    let store = machine.graph.open();
    let again = store.find("other:v2").unwrap();
    assert_eq!((&again.id, &again.config, again.size), (&image.id, &image.config, image.size));
    assert_eq!(store.find(&image.id[..9]).unwrap().display_names(), ["test:v1", "other:v2"]);
    // Only the record goes.
    store.delete("other:v2", false, &nobody).unwrap();
    let e = store.delete("test:v1", false, &|_| Some("c".into())).unwrap_err();
    assert_eq!(e.to_string(), "Image used by c");
    assert_eq!(store.delete("test:v1", false, &nobody).unwrap().len(), 2);
    assert!(rom("base.img").is_file() && rom("plain").is_dir());
    assert!(fs::read_dir(machine.graph.0.join("storage/embedded-images")).unwrap().next().is_none());
    assert_eq!(store.find("test:v1").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn broken_rules_are_named() {
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 30] = [
        (|m| m["schemaVersion"] = json!(2), "schema version must be 1"),
        (|m| drop(m.as_object_mut().unwrap().remove("schemaVersion")), "schema version must be 1"),
        (|m| m["mediaType"] = json!("application/invalid"), "manifest's media type must be"),
        (|m| m["imageName"] = json!(""), "image name not exist"),
        (|m| m["imageName"] = json!("none"), "is reserved"),
        (|m| m["imageName"] = json!("none:latest"), "is reserved"),
        (|m| m["imageName"] = json!("none:v1"), "is reserved"),
        (|m| m["imageName"] = json!("k~k"), "invalid image name \"k~k\""),
        (|m| m["imageName"] = json!("test"), "want NAME:TAG"),
        (|m| m["created"] = json!("2018-03-01T15:15:44.322987811Zabc"), "invalid created time"),
        (|m| m["created"] = json!(""), "invalid created time"),
        (|m| m["layers"] = json!([]), "layer empty or max depth exceeded"),
        (|m| m["layers"] = json!(vec![m["layers"][0].clone(); 126]), "layer empty or max depth exceeded: 126"),
        (|m| m["layers"] = json!(7), "parse manifest as a json file failed"),
        (|m| m["layers"][2]["size"] = json!(-823), "layer's size must not be negative number (layer 2)"),
        (|m| m["layers"][1]["mediaType"] = json!("application/tar"), "layer's media type must be"),
        (|m| m["layers"][0]["digest"] = json!("a"), "layer has invalid digest"),
        (|m| m["layers"][0]["digest"] = m["layers"][2]["digest"].clone(), "layer has invalid digest"),
        (|m| m["layers"][1]["digest"] = m["layers"][2]["digest"].clone(), "layer digest must be empty"),
        (|m| m["layers"][0]["pathInContainer"] = json!("/a"), "first layer path in container must be empty"),
        (|m| m["layers"][2]["pathInContainer"] = json!("home"), "must be absolute path"),
        (|m| m["layers"][2]["pathInContainer"] = json!("/a/.."), "must not be the root"),
        (|m| m["layers"][1]["pathInContainer"] = json!("/srv/app"), "two layers are mounted on \"/srv/app\""),
        (|m| m["layers"][2]["pathInHost"] = json!("missing.img"), "layer not exists"),
        (|m| m["layers"][2]["pathInHost"] = json!("/app.img"), "layer not exists"),
        (|m| m["layers"][2]["pathInHost"] = json!(""), "layer path in host must not be empty"),
        (|m| m["layers"][2]["pathInHost"] = json!("plain"), "layer is not a regular file"),
        (|m| m["layers"][1]["pathInHost"] = json!("base.img"), "layer is not a directory"),
        (|m| m["layers"][1] = m["layers"][0].clone(), "is two layers of the root"),
        (|m| m["layers"][1]["pathInHost"] = json!(".."), "holds the daemon's own storage"),
    ];
    let mut machine = Machine::new();
    let store = machine.graph.open();
    let good = machine.manifest.clone();
    for (change, part) in cases {
        machine.manifest = good.clone();
        change(&mut machine.manifest);
        refused(machine.load(&store), Kind::Invalid, part);
    }
    assert!(store.list().is_empty());
    machine.manifest = good;
    for (bytes, part) in [(&b"hello"[..], "parse manifest as a json file failed"), (b"", "parse manifest"), (b"[]", "")]
    {
        refused(store.load_embedded(Source::Text(bytes.into()), None), Kind::Invalid, part);
    }
    for (path, part) in [
        (machine.rom("missing"), "manifest not found"),
        (machine.rom("plain"), "manifest is not a regular file"),
        ("/dev/zero".into(), "manifest is not a regular file"),
        ("test.manifest".into(), "must be absolute"),
    ] {
        refused(store.load_embedded(Source::File(path), None), Kind::Invalid, part);
    }
    fs::write(machine.rom("long.manifest"), vec![b' '; MANIFEST_LIMIT as usize + 1]).unwrap();
    refused(store.load_embedded(Source::File(machine.rom("long.manifest")), None), Kind::Invalid, "larger than");
    let text = json::to_vec(&machine.manifest);
    refused(store.load_embedded(Source::Text(text), None), Kind::Invalid, "the manifest is in no directory");
}

#[test]
fn files_that_are_no_whole_file_systems_are_refused() {
    let mut machine = Machine::new();
    machine.manifest["layers"][0]["digest"] = json!("");
    let store = machine.graph.open();
    for (bytes, part) in [(&b"hsqs"[..], "is no squashfs"), (&[0; 4096], "is no squashfs"), (b"", "is no squashfs")] {
        fs::write(machine.rom("base.img"), bytes).unwrap();
        refused(machine.load(&store), Kind::Invalid, part);
    }
    image_file(&machine.rom("base.img"), 1);
    fs::File::options().write(true).open(machine.rom("base.img")).unwrap().set_len(4050).unwrap();
    refused(machine.load(&store), Kind::Invalid, "layer is cut short");
    // Nobody wants to know which file it is.
    image_file(&machine.rom("base.img"), 9);
    machine.load(&store).unwrap();
}

#[test]
fn a_digest_beside_the_manifest_must_be_its() {
    let machine = Machine::new();
    let store = machine.graph.open();
    let path = machine.write("test.manifest");
    let digest = format!("sha256:{}", sha256(&fs::read(&path).unwrap()));
    for bad in [String::new(), format!("{digest}\n"), digest.replace("sha256:", ""), digest.replace(&digest[10..], "")]
    {
        fs::write(machine.rom("test.sgn"), bad).unwrap();
        refused(machine.load(&store), Kind::Invalid, "Invalid manifest: invalid digest");
    }
    // Links are followed, and what lies beside the file that they lead to counts.
    fs::write(machine.rom("test.sgn"), digest).unwrap();
    fs::create_dir(machine.graph.0.join("elsewhere")).unwrap();
    let link = machine.graph.0.join("elsewhere/link.manifest");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    store.load_embedded(Source::File(link), None).unwrap();
}

#[test]
fn a_layer_that_changed_makes_a_damaged_image() {
    let machine = Machine::new();
    let store = machine.graph.open();
    let image = machine.load(&store).unwrap();
    let base = machine.rom("base.img");
    let (content, written) = (fs::read(&base).unwrap(), base.metadata().unwrap().modified().unwrap());
    image.check().unwrap();
    let damaged = |part: &str| {
        for image in [image.clone(), machine.graph.open().find("test:v1").unwrap()] {
            let e = image.check().unwrap_err();
            assert!(e.kind() == Kind::Corrupt && e.to_string().contains(part), "{e}");
            assert!(e.to_string().starts_with("image test:v1 is damaged: layer "), "{e}");
            assert!(!image.embedded.as_ref().unwrap().describe().damage.is_empty());
        }
    };
    fs::remove_file(&base).unwrap();
    damaged("base.img\" is missing");
    fs::create_dir(&base).unwrap();
    damaged("has changed");
    fs::remove_dir(&base).unwrap();
    fs::write(&base, &content[1..]).unwrap();
    damaged("has changed");
    fs::write(&base, &content).unwrap();
    damaged("has changed");
    // Back as it was, and as good as before when it is loaded again.
    fs::File::options().write(true).open(&base).unwrap().set_modified(written).unwrap();
    image.check().unwrap();
    fs::write(&base, &content).unwrap();
    machine.load(&store).unwrap().check().unwrap();
    machine.graph.open().find("test:v1").unwrap().check().unwrap();
}

#[test]
fn a_name_moves_from_a_damaged_image_only() {
    let mut machine = Machine::new();
    let store = machine.graph.open();
    let old = machine.load(&store).unwrap();
    machine.manifest["config"]["ENV"] = json!(["new=1"]);
    refused(machine.load(&store), Kind::Conflict, "Image name is conflicted in the database");
    assert_eq!(store.list().len(), 1);
    // The same manifest elsewhere.
    let copy = machine.graph.0.join("copy");
    fs::create_dir_all(copy.join("plain")).unwrap();
    for name in ["base.img", "app.img"] {
        fs::copy(machine.rom(name), copy.join(name)).unwrap();
    }
    let text = old.embedded.as_ref().unwrap().text.clone();
    fs::write(copy.join("manifest"), text).unwrap();
    refused(store.load_embedded(Source::File(copy.join("manifest")), None), Kind::Conflict, "layers elsewhere");
    // Firmware was updated: another layer, another manifest.
    let digest = image_file(&machine.rom("base.img"), 3);
    machine.manifest["layers"][0]["digest"] = json!(digest);
    let new = machine.load(&store).unwrap();
    assert_eq!(store.find("test:v1").unwrap().id, new.id);
    assert!(store.find(&old.id).unwrap().names.is_empty());
    // And back to where the layers are now.
    let named = store.load_embedded(Source::File(copy.join("manifest")), Some("copy:v1")).unwrap();
    assert_eq!((named.display_names(), &named.id), (vec!["copy:v1".to_owned()], &old.id));
    named.check().unwrap();
    // Another image's name is not taken either.
    store.tag(&new.id, "mine:v1").unwrap();
    let load = store.load_embedded(Source::File(copy.join("manifest")), Some("mine:v1"));
    refused(load, Kind::Conflict, "\"mine:v1\" is the name of image");
}

#[test]
fn a_damaged_record_is_thrown_away_and_an_interrupted_one() {
    let machine = Machine::new();
    let image = machine.load(&machine.graph.open()).unwrap();
    let directory = machine.graph.0.join("storage/embedded-images");
    let file = directory.join(format!("{}.json", image.id));
    let whole = fs::read(&file).unwrap();
    fs::write(directory.join(".tmp-x-1-1"), &whole[..9]).unwrap();
    assert_eq!(machine.graph.open().list().len(), 1);
    let changed = String::from_utf8(whole.clone()).unwrap().replace("c=d e", "c=d f").into_bytes();
    for bytes in [&whole[..whole.len() / 2], &changed, b"{}", b""] {
        fs::write(&file, bytes).unwrap();
        assert!(machine.graph.open().list().is_empty());
        assert!(fs::read_dir(&directory).unwrap().next().is_none());
    }
}

#[cfg(feature = "image-tools")]
#[test]
fn none_is_saved() {
    let machine = Machine::new();
    let store = machine.graph.open();
    machine.load(&store).unwrap();
    let e = store.choose(&["test:v1".into()]).err().unwrap();
    assert!(e.kind() == Kind::Unsupported && e.to_string().contains("its layers stay where they are"), "{e}");
}
