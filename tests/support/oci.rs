//! OCI image layouts in a directory, made here: what other tools copy to archives and registries.

use super::registry::run;
use super::rootfs::{self, Archive};
use isulabox::utils::digest::sha256;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a layout of one image named `name` in `directory`: the test's root file system, a compressed layer that hides a
/// file, adds another and makes a directory opaque, and an empty one, twice.
pub fn sample(directory: &Path, name: &str) {
    let at = |name: &str| directory.with_file_name(name);
    let (upper, packed, empty) = (at("upper.tar"), at("upper.tar.gz"), at("empty.tar"));
    let mut tar = Archive::create(&upper);
    tar.file("etc/.wh.marker", 0o644, "");
    tar.file("etc/upper", 0o640, "from above\n");
    tar.directory("srv/new");
    tar.file("srv/.wh..wh..opq", 0o644, "");
    tar.finish();
    fs::write(&packed, run(Command::new("gzip").arg("-nc").arg(&upper))).expect("a file");
    fs::write(&empty, [0; 1024]).expect("a file");
    let config = json!({"Cmd": ["cat", "/etc/upper"], "Env": ["FROM=layout"]});
    let layers = [rootfs::archive(), packed, empty.clone(), empty];
    layout(directory, &layers.each_ref().map(PathBuf::as_path), &["linux/amd64"], &config);
    let index = directory.join("index.json");
    let mut value: Value = isulabox::utils::json::parse(&fs::read(&index).expect("the index")).expect("JSON");
    value["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    fs::write(index, isulabox::utils::json::to_vec(&value)).expect("the index");
}

/// A layout as one archive.
pub fn archive(layout: &Path) -> PathBuf {
    let path = layout.with_extension("tar");
    run(Command::new("tar").arg("-cf").arg(&path).arg("-C").arg(layout).arg("."));
    path
}

/// A layer in the form in which a layout has it.
pub struct Layer {
    /// What its media type ends with: `+gzip`, `+zstd` or nothing.
    pub suffix: &'static str,
    pub bytes: Vec<u8>,
    /// SHA-256 of the tar archive.
    pub plain: String,
}

impl Layer {
    /// A tar file, plain or compressed.
    #[track_caller]
    fn of(file: &Path) -> Layer {
        let bytes = fs::read(file).expect("a layer");
        let (suffix, plain) = match bytes.as_slice() {
            [0x1f, 0x8b, ..] => ("+gzip", sha256(&run(Command::new("gzip").arg("-dc").arg(file)))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("+zstd", sha256(&run(Command::new("zstd").arg("-dc").arg(file)))),
            _ => ("", sha256(&bytes)),
        };
        Layer { suffix, bytes, plain }
    }
}

/// Writes an OCI layout with an image of these layers (tar files, plain or compressed) for each platform
/// (`linux/arm/v7`); for several an index. `config` is the image's execution configuration.
#[track_caller]
pub fn layout(directory: &Path, layers: &[&Path], platforms: &[&str], config: &Value) {
    let layers: Vec<Layer> = layers.iter().map(|l| Layer::of(l)).collect();
    layout_of(directory, &layers, platforms, config);
}

/// The same with layers that are at hand.
#[track_caller]
pub fn layout_of(directory: &Path, layers: &[Layer], platforms: &[&str], config: &Value) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let put = |media_type: &str, bytes: &[u8]| {
        let hash = sha256(bytes);
        fs::write(blobs.join(&hash), bytes).expect("a blob");
        json!({"mediaType": media_type, "digest": format!("sha256:{hash}"), "size": bytes.len()})
    };
    let put_json = |media_type: &str, value: &Value| put(media_type, &isulabox::utils::json::to_vec(value));
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for Layer { suffix, bytes, plain } in layers {
        diff_ids.push(format!("sha256:{plain}"));
        descriptors.push(put(&format!("application/vnd.oci.image.layer.v1.tar{suffix}"), bytes));
    }
    let mut manifests = Vec::new();
    for platform in platforms {
        let mut words = platform.split('/');
        let mut word = || words.next().unwrap_or_default();
        let platform = json!({"os": word(), "architecture": word(), "variant": word()});
        let mut document = platform.clone();
        document["config"] = config.clone();
        document["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let config = put_json("application/vnd.oci.image.config.v1+json", &document);
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": descriptors});
        let mut entry = put_json("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["platform"] = platform;
        manifests.push(entry);
    }
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests});
    let top = match &manifests[..] {
        [one] => json!({"schemaVersion": 2, "manifests": [one]}),
        _ => json!({"schemaVersion": 2, "manifests": [put_json("application/vnd.oci.image.index.v1+json", &index)]}),
    };
    fs::write(directory.join("index.json"), isulabox::utils::json::to_vec(&top)).expect("a file");
    fs::write(directory.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("a file");
}
