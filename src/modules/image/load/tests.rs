//! Archives of both kinds, whole and damaged.

use super::*;
use crate::api::oci::image::media_type;
use crate::modules::image::store::tests::{Graph, nobody};
use crate::modules::image::unpack::tests::archive;
use crate::utils::archive::gzip::tests::gzip;
use crate::utils::archive::tar_writer::tests::files;
use crate::utils::digest::sha256;

/// Two layers, the upper of which hides a file of the lower.
fn layers() -> [Vec<u8>; 2] {
    [archive("D ./\nF low 1\nF both 1"), archive("F .wh.low \nF both two")]
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|l| format!("\"sha256:{}\"", sha256(l))).collect();
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    );
    text.into_bytes()
}

/// As `docker save` wrote until version 24.
fn docker(layers: &[&[u8]], names: &str) -> Vec<u8> {
    let config = config(layers);
    let paths: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let quoted: Vec<String> = paths.iter().map(|p| format!("\"{p}\"")).collect();
    let manifest = format!("[{{\"Config\":\"x.json\",\"RepoTags\":[{names}],\"Layers\":[{}]}}]", quoted.join(","));
    let mut members: Vec<(&str, &[u8])> = Vec::new();
    for (path, bytes) in paths.iter().zip(layers) {
        members.push((path, bytes));
    }
    members.extend([("0/VERSION", &b"1.0"[..]), ("x.json", &config), ("manifest.json", manifest.as_bytes())]);
    files(&members)
}

fn load(store: &Store, bytes: &[u8]) -> Result<Vec<Loaded>> {
    store.load(&mut &bytes[..], None)
}

#[test]
fn dockers_archive() {
    let graph = Graph::new();
    let store = graph.open();
    let [low, high] = layers();
    let bytes = docker(&[&low, &high], "\"app:1\",\"app:2\"");
    let loaded = load(&store, &gzip(&bytes)).unwrap();
    assert_eq!(loaded[0].names, ["app:1", "app:2"]);
    let image = store.find("app:2").unwrap();
    assert_eq!((&image.id, image.layers.len()), (&loaded[0].image.id, 2));
    assert_eq!(image.id, sha256(&config(&[&low, &high])));
    assert_eq!(store.lower_directories(&image).len(), 2);
    assert_eq!(std::fs::read(store.layer_directory(&image.layers[1]).join("both")).unwrap(), b"two");
    assert_eq!(load(&store, &bytes).unwrap()[0].image.id, image.id, "once more is no harm");
    drop(store);
    let store = graph.open();
    assert_eq!(store.find("app:1").unwrap().layers, image.layers);
    store.delete(&image.id, true, &nobody).unwrap();
    assert!(graph.settled("overlay").is_empty() && graph.settled("overlay-layers").is_empty());
}

#[test]
fn base_layers_may_be_here_and_equal_layers_stand_twice() {
    let graph = Graph::new();
    let store = graph.open();
    let [low, high] = layers();
    let empty = archive("");
    load(&store, &docker(&[&low], "\"base\"")).unwrap();
    let bytes = docker(&[&low, &high, &high], "\"app\"");
    let image = load(&store, &bytes).unwrap().remove(0).image;
    assert_eq!(std::fs::read(store.layer_directory(&image.layers[2]).join("both")).unwrap(), b"two");
    // The base layer is left out.
    let config = config(&[&low, &empty, &high]);
    let manifest = br#"[{"Config":"c","RepoTags":null,"Layers":["no/such","e","h"]}]"#;
    let bytes = files(&[("e", &empty), ("h", &high), ("c", &config), ("manifest.json", manifest)]);
    let image = load(&store, &bytes).unwrap().remove(0).image;
    assert_eq!((image.layers.len(), image.names.len()), (3, 0));
    // One member for two layers.
    let twice = self::config(&[&low, &high, &empty, &high]);
    let manifest2 = br#"[{"Config":"c","Layers":["l","h","e","h"]}]"#;
    let members: [(&str, &[u8]); 5] =
        [("l", &low), ("h", &high), ("e", &empty), ("c", &twice), ("manifest.json", manifest2)];
    let double = load(&store, &files(&members)).unwrap().remove(0).image;
    assert_eq!(std::fs::read(store.layer_directory(&double.layers[3]).join("both")).unwrap(), b"two");
    store.delete(&double.id, true, &nobody).unwrap();
    let bytes = files(&[("e", &empty), ("c", &config), ("manifest.json", manifest)]);
    store.delete(&image.id, true, &nobody).unwrap();
    let text = load(&store, &bytes).err().unwrap().to_string();
    assert!(text.contains("layer \"h\"") && text.contains("neither in the archive nor here"), "{text}");
    assert_eq!(graph.settled("overlay-layers").len(), 3, "those of the two images that are left");
}

#[test]
fn oci_layout() {
    let graph = Graph::new();
    let store = graph.open();
    let [low, high] = layers();
    let config = config(&[&low, &high]);
    let packed = gzip(&high);
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes));
    let descriptor = |kind: &str, bytes: &[u8], more: &str| {
        format!(r#"{{"mediaType":"{kind}","digest":"sha256:{}","size":{}{more}}}"#, sha256(bytes), bytes.len())
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]}}"#,
        media_type::MANIFEST,
        descriptor(media_type::CONFIG, &config, ""),
        descriptor(media_type::LAYER, &low, ""),
        descriptor(media_type::LAYER, &packed, "")
    );
    let arch = super::super::platform::Platform::here().architecture;
    let inner = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"sha256:{}","size":1,"platform":{{"os":"linux",
        "architecture":"other"}}}},{}]}}"#,
        media_type::MANIFEST,
        "0".repeat(64),
        descriptor(
            media_type::MANIFEST,
            manifest.as_bytes(),
            &format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#)
        )
    );
    let index = |name: &str| {
        let annotation = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#);
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(media_type::INDEX, inner.as_bytes(), &annotation)
        )
    };
    let build = |index: &str, low_blob: &[u8]| {
        files(&[
            (&blob(&low), low_blob),
            (&blob(&packed), &packed),
            (&blob(&config), &config),
            (&blob(manifest.as_bytes()), manifest.as_bytes()),
            (&blob(inner.as_bytes()), inner.as_bytes()),
            ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"),
            ("index.json", index.as_bytes()),
        ])
    };
    let loaded = load(&store, &build(&index("app:3"), &low)).unwrap();
    assert_eq!(
        (loaded[0].image.id.as_str(), loaded[0].names.as_slice()),
        (&*sha256(&config), &["app:3".to_string()][..])
    );
    let loaded = store.load(&mut &build(&index("3"), &low)[..], Some("own/name")).unwrap();
    assert_eq!(loaded[0].names, ["own/name:latest"]);
    assert!(store.load(&mut &build(&index("3"), &low)[..], Some("own@sha256:0")).is_err());
    let text = load(&store, &build(&index("3"), &high)).err().unwrap().to_string();
    assert!(text.contains("does not have the digest that it is named by"), "{text}");
}

#[test]
fn what_is_no_image_is_told() {
    let graph = Graph::new();
    let store = graph.open();
    let [low, high] = layers();
    let error = |bytes: &[u8]| load(&store, bytes).err().unwrap();
    assert!(error(&low).to_string().contains("neither manifest.json"), "a root file system");
    assert_eq!(error(b"").kind(), Kind::Invalid);
    let whole = docker(&[&low, &high], "\"app\"");
    for cut in [whole.len() / 3, whole.len() - 1500] {
        assert_eq!(error(&whole[..cut]).kind(), Kind::Corrupt, "{cut}");
    }
    assert_eq!(error(&docker(&[&low], "\"App\"")).kind(), Kind::Invalid);
    let config = config(&[&low]);
    for (manifest, want) in [
        (r#"[{"Config":"../../../c","Layers":["l","l"]}]"#, "2 layers in the archive and 1 in its configuration"),
        (r#"[{"Config":"l","Layers":["l"]}]"#, "not in the archive, or no JSON document"),
        (r#"[{"Config":"c","Layers":["junk"]}]"#, "layer \"junk\""),
        (r#"[{"Config":"c","Layers":["other"]}]"#, "its configuration wants"),
        (r#"[]"#, "no image"),
        (r#"{"#, "manifest.json"),
    ] {
        let members: [(&str, &[u8]); 5] =
            [("l", &low), ("junk", b"junk"), ("other", &high), ("c", &config), ("manifest.json", manifest.as_bytes())];
        let text = error(&files(&members)).to_string();
        assert!(text.contains(want), "{want}: {text}");
    }
    assert!(store.list().is_empty());
    assert!(graph.settled("overlay").is_empty() && graph.settled("overlay-layers").is_empty());
}
