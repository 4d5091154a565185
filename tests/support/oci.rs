//! OCI image layouts in a directory, made here: what other tools copy to archives and registries.

use super::rootfs::{self, Archive};
use isulabox::utils::digest::sha256;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a layout of one image named `name` in `directory`: the test's root file system, a layer that hides a file, puts
/// one in its place and adds another, and an empty one, twice; the second layer is compressed.
pub fn layout(directory: &Path, name: &str) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    let blob = |bytes: &[u8], kind: &str| {
        let digest = sha256(bytes);
        fs::write(blobs.join(&digest), bytes).expect("a blob");
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{}}}"#, bytes.len())
    };
    let upper = directory.join("upper.tar");
    let mut tar = Archive::create(&upper);
    tar.file("etc/.wh.marker", 0o644, "");
    tar.file("etc/upper", 0o640, "from above\n");
    tar.directory("srv/new");
    tar.file("srv/.wh..wh..opq", 0o644, "");
    tar.finish();
    let plain = [fs::read(rootfs::archive()).expect("the archive"), fs::read(&upper).expect("the layer")];
    let empty = [0; 1024];
    let packed = Command::new("gzip").arg("-nc").arg(&upper).output().expect("gzip").stdout;
    fs::remove_file(&upper).expect("the layer");
    let diff_ids = [&plain[0][..], &plain[1], &empty, &empty].map(|l| format!("\"sha256:{}\"", sha256(l))).join(",");
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["cat","/etc/upper"],"Env":["FROM=layout"]}},
        "rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}},"history":[{{"created_by":"base"}},{{"created_by":"upper"}},
        {{"created_by":"nothing"}},{{"created_by":"nothing"}}]}}"#
    );
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let layers =
        [blob(&plain[0], layer), blob(&packed, &format!("{layer}+gzip")), blob(&empty, layer), blob(&empty, layer)];
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        blob(config.as_bytes(), "application/vnd.oci.image.config.v1+json"),
        layers.join(",")
    );
    let mut descriptor = blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    descriptor.truncate(descriptor.len() - 1);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{descriptor},"annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}]}}"#
    );
    fs::write(directory.join("index.json"), index).expect("the index");
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("the version");
}

/// A layout as one archive.
pub fn archive(layout: &Path) -> PathBuf {
    let path = layout.with_extension("tar");
    let words = [layout.as_os_str(), ".".as_ref()];
    let status = Command::new("tar").arg("-cf").arg(&path).arg("-C").args(words).status();
    assert!(status.is_ok_and(|s| s.success()), "tar");
    path
}
