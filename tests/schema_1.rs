//! Images that a registry has as docker's schema 1 only, in the form that docker's own programs wrote.

use crate::images::check_layout;
use crate::support::bed::{Bed, json};
use crate::support::fake_registry::{Reply, Server};
use crate::support::{contains, eventually, oci};
use crate::{requires, tests};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isulabox::utils::digest::sha256;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

tests![signed_manifests_are_pulled, what_is_wrong_with_them_is_said];

const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The compressed empty layer that stands for a step without one.
const EMPTY: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";

/// An image of two layers and two steps without any.
struct Image {
    /// Bottom first.
    layers: [Vec<u8>; 2],
    /// What is signed.
    payload: Vec<u8>,
}

fn image(bed: &Bed) -> Image {
    let layout = bed.dir.join("layout");
    oci::sample(&layout, "x");
    let layers = [crate::support::rootfs::archive(), bed.dir.join("upper.tar.gz")].map(|path| fs::read(path).unwrap());
    let sum = |bytes: &[u8]| json!({"blobSum": format!("sha256:{}", sha256(bytes))});
    let steps = [
        // Topmost first.
        json!({"architecture": "amd64", "os": "linux", "docker_version": "1.8.2", "created": "2015-10-01T00:00:00Z",
            "config": {"Cmd": ["cat", "/etc/upper"], "Env": ["FROM=layout"], "Entrypoint": null},
            "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) CMD [\"cat\" \"/etc/upper\"]"]},
            "throwaway": true}),
        json!({"container_config": {"Cmd": ["/bin/sh -c echo from above > /etc/upper"]}, "author": "me"}),
        json!({"container_config": {"Cmd": ["/bin/sh -c #(nop) ENV FROM=layout"]}, "throwaway": true}),
        json!({"container_config": {"Cmd": null}, "Size": 7}),
    ];
    let id = |n: usize| format!("{n:064x}");
    let history: Vec<Value> = (0..steps.len())
        .map(|n| {
            let mut step = steps[n].clone();
            step["id"] = json!(id(n));
            if n + 1 < steps.len() {
                step["parent"] = json!(id(n + 1));
            }
            json!({"v1Compatibility": format!("{step}\n")})
        })
        .collect();
    let empty = json!({"blobSum": EMPTY});
    let document = json!({"schemaVersion": 1, "name": "old/app", "tag": "v1", "architecture": "amd64",
        "fsLayers": [empty, sum(&layers[1]), empty, sum(&layers[0])], "history": history});
    Image { layers, payload: isulabox::utils::json::to_pretty(&isulabox::utils::json::to_vec(&document)) }
}

impl Image {
    fn digest(&self) -> String {
        format!("sha256:{}", sha256(&self.payload))
    }

    /// As libtrust signs: the signatures stand before the last line, and say where that was.
    fn signed(&self) -> Vec<u8> {
        let tail = "\n}";
        assert!(self.payload.ends_with(tail.as_bytes()));
        let length = self.payload.len() - tail.len();
        let protected = format!(
            "{{\"formatLength\":{length},\"formatTail\":\"{}\",\"time\":\"2015-10-01T00:00:00Z\"}}",
            URL_SAFE_NO_PAD.encode(tail)
        );
        let signatures = json!([{"header": {"jwk": {"crv": "P-256", "kty": "EC"}, "alg": "ES256"},
            "signature": "c2lnbmF0dXJl", "protected": URL_SAFE_NO_PAD.encode(protected)}]);
        [&self.payload[..length], format!(",\n   \"signatures\": {signatures}\n}}").as_bytes()].concat()
    }

    fn blob(&self, path: &str) -> Option<&[u8]> {
        self.layers.iter().find(|bytes| path.ends_with(&sha256(bytes))).map(Vec::as_slice)
    }
}

fn layers(bed: &Bed) -> usize {
    fs::read_dir(bed.graph().join("storage/overlay-layers")).map_or(0, Iterator::count)
}

fn signed_manifests_are_pulled(bed: &mut Bed) {
    requires!(registry_client);
    let image = image(bed);
    let digest = image.digest();
    let (signed, by_digest, blobs) =
        (image.signed(), format!("/v2/old/app/manifests/{digest}"), Arc::new(AtomicUsize::new(0)));
    let unsigned = image.payload.clone();
    let counted = blobs.clone();
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/old/app/manifests/v1" => Reply::new(200, &signed).header("Content-Type", SIGNED),
        // Stored without signatures, as some do.
        path if path == by_digest => Reply::new(200, &unsigned).header("Content-Type", UNSIGNED),
        path => match image.blob(path) {
            Some(bytes) => {
                counted.fetch_add(1, Ordering::SeqCst);
                Reply::new(200, bytes)
            }
            None => Reply::new(404, b"{}"),
        },
    });
    bed.start_with(&["--insecure-registry", &server.host()]);
    let name = format!("{}/old/app:v1", server.host());
    let first = bed.isula(&format!("pull -q {name}")).ok();
    check_layout(bed, &name);
    assert_eq!(layers(bed), 2, "the lowest one is that of the other image too");
    let shown = json(&bed.get(&format!("/v1.44/images/{name}/json")).expect(200).body);
    assert_eq!(shown["RepoDigests"][0], format!("{}/old/app@{digest}", server.host()));
    assert_eq!((&shown["Os"], &shown["Architecture"]), (&json!("linux"), &json!("amd64")));
    assert_eq!(shown["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    if cfg!(feature = "image-tools") {
        let history = bed.isula(&format!("history --no-trunc {name}")).ok();
        contains(&history, "/bin/sh -c echo from above > /etc/upper");
        assert_eq!(history.lines().count(), 1 + 4, "{history}");
    }
    // What is here is not fetched again, by whatever name.
    let before = blobs.load(Ordering::SeqCst);
    assert_eq!(bed.isula(&format!("pull -q {name}")).ok(), first);
    assert_eq!(blobs.load(Ordering::SeqCst), before);
    bed.restart();
    check_layout(bed, &name);
    bed.isula(&format!("rmi -f {first}")).ok();
    eventually("the image is gone", || layers(bed) == 1);
    let exact = format!("{}/old/app@{digest}", server.host());
    assert_eq!(bed.isula(&format!("pull -q {exact}")).ok(), first, "the same layers make the same image");
    check_layout(bed, &exact);
}

fn what_is_wrong_with_them_is_said(bed: &mut Bed) {
    requires!(registry_client);
    let image = image(bed);
    let (signed, other) = (image.signed(), format!("sha256:{}", "1".repeat(64)));
    let server = Server::start(move |asked| {
        let document = |bytes: &[u8]| Reply::new(200, bytes).header("Content-Type", SIGNED);
        let text = |from: &str, to: &str| String::from_utf8_lossy(&signed).replace(from, to).into_bytes();
        let (repository, rest) = asked.path["/v2/".len()..].rsplit_once("manifests/").unwrap_or((&asked.path, ""));
        match (repository, rest) {
            // Another tag, another name, another digest.
            ("old/app/", _) | ("new/app/", "v1") => document(&signed),
            ("unsigned/", _) => document(&text("\"protected\"", "\"public\"")),
            (path, "") => match image.blob(path) {
                Some(bytes) => {
                    let mut bytes = bytes.to_vec();
                    // Of the one that is not compressed, a byte of a file.
                    if bytes[0] != 0x1f {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    }
                    Reply::new(200, &bytes)
                }
                None => Reply::new(404, b"{}"),
            },
            _ => Reply::new(404, b"{}"),
        }
    });
    bed.start_with(&["--insecure-registry", &server.host()]);
    let host = server.host();
    let refused = |name: &str, part: &str| bed.isula(&format!("pull {host}/{name}")).fails(1, part);
    refused("old/app:v2", "the answer is the manifest of \"old/app\", tag \"v1\"");
    refused("new/app:v1", "the answer is the manifest of \"old/app\", tag \"v1\"");
    refused(&format!("old/app@{other}"), "the answer has the digest");
    refused("unsigned:v1", "a signature that does not say what it is of");
    let before = layers(bed);
    refused("old/app:v1", "bytes have the digest");
    assert_eq!(bed.isula("images -q").ok().lines().count(), 1);
    eventually("nothing is left", || {
        layers(bed) == before && fs::read_dir(bed.graph().join("storage/overlay")).unwrap().count() == before
    });
}
