//! The client against a small server of the tests' own.

mod server;

use self::server::{Asked, Reply, Server};
use super::*;
use crate::api::oci::image::DescriptorPlatform;
use crate::modules::image::credentials::{Secret, Store};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const QUICK: Policy = Policy { attempts: 4, first: Duration::from_millis(1), longest: Duration::from_millis(4) };
const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(30),
    head: Duration::from_secs(30),
    read: Duration::from_secs(30),
    document: Duration::from_secs(30),
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A client that speaks to these servers without TLS.
fn registry(servers: &[&Server]) -> Registry {
    let insecure = servers.iter().map(|s| s.host()).collect();
    let mut registry = Registry::new(Settings { insecure, ..Settings::default() }).unwrap();
    (registry.policy, registry.deadlines) = (QUICK, DEADLINES);
    registry
}

fn reference(server: &Server, rest: &str) -> Reference {
    Reference::parse(&format!("{}/{rest}", server.host())).unwrap()
}

fn amd64() -> Platform {
    Platform::parse("linux/amd64").unwrap()
}

fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", digest::sha256(bytes))
}

fn bytes(value: &Value) -> Vec<u8> {
    json::to_vec(value)
}

/// An image of one layer.
struct Image {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

fn image(layer: &[u8], architecture: &str) -> Image {
    let rootfs = json!({"type": "layers", "diff_ids": [sha(layer)]});
    let config = bytes(&json!({"os": "linux", "architecture": architecture, "rootfs": rootfs}));
    let describe = |media_type: &str, b: &[u8]| json!({"mediaType": media_type, "digest": sha(b), "size": b.len()});
    let manifest = bytes(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe("application/vnd.oci.image.config.v1+json", &config),
        "layers": [describe("application/vnd.oci.image.layer.v1.tar", layer)],
    }));
    Image { config, layer: layer.to_vec(), manifest }
}

impl Image {
    /// What a registry that has it as `a/b:latest` answers.
    fn answer(&self, path: &str) -> Reply {
        let blob = |b: &[u8]| Reply::new(200, b).header("Content-Type", "application/octet-stream");
        match path {
            "/v2/a/b/manifests/latest" => Reply::new(200, &self.manifest).header("Content-Type", OCI_MANIFEST),
            p if p == format!("/v2/a/b/manifests/{}", sha(&self.manifest)) => {
                Reply::new(200, &self.manifest).header("Content-Type", OCI_MANIFEST)
            }
            p if p == format!("/v2/a/b/blobs/{}", sha(&self.config)) => blob(&self.config),
            p if p == format!("/v2/a/b/blobs/{}", sha(&self.layer)) => blob(&self.layer),
            _ => Reply::new(404, br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        }
    }

    fn layer_path(&self) -> String {
        format!("/v2/a/b/blobs/{}", sha(&self.layer))
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn pull(registry: &Registry, reference: &Reference, credentials: Option<&Credentials>) -> Result<(Resolved, Vec<u8>)> {
    let cancel = Cancel::new();
    let resolved = registry.resolve(reference, &amd64(), credentials, &cancel)?;
    let mut layer = Vec::new();
    resolved.blob(&resolved.layers[0], &cancel)?.read_to_end(&mut layer).map_err(|e| Error::io("layer", e))?;
    Ok((resolved, layer))
}

/// As [`pull`], of what must fail.
fn refusal(registry: &Registry, reference: &Reference) -> Error {
    match pull(registry, reference, None) {
        Ok(_) => panic!("it was pulled"),
        Err(e) => e,
    }
}

#[test]
fn an_image_by_tag_and_by_digest() {
    let image = image(&payload(300_000), "amd64");
    let (manifest, config, layer) = (image.manifest.clone(), image.config.clone(), image.layer.clone());
    let server = Server::start(move |asked| image.answer(&asked.path));
    let registry = registry(&[&server]);
    let (resolved, bytes) = pull(&registry, &reference(&server, "a/b"), None).unwrap();
    assert!(bytes == layer && resolved.manifest == manifest && resolved.config == Configuration::Document(config));
    assert_eq!(
        (resolved.digest.as_str(), resolved.platform.to_string().as_str()),
        (sha(&manifest).as_str(), "linux/amd64")
    );
    drop(resolved);
    let by_digest = reference(&server, &format!("a/b:ignored@{}", sha(&manifest)));
    assert_eq!(pull(&registry, &by_digest, None).unwrap().0.digest, sha(&manifest));
    let asked = server.asked();
    assert!(asked.iter().all(|a| a.header("authorization").is_none()));
    assert!(asked.iter().any(|a| a.header("accept").is_some_and(|v| v.contains(OCI_INDEX) && v.contains("docker"))));
    assert!(asked.iter().all(|a| a.header("user-agent").is_some_and(|v| v.starts_with("isulabox/"))));
}

#[test]
fn errors_name_who_what_and_the_registrys_words() {
    let image = image(b"x", "amd64");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v2/secret/x/manifests/latest" => {
            Reply::new(403, br#"{"errors":[{"code":"DENIED","message":"go\u001b[31m away"}]}"#)
        }
        "/v2/odd/x/manifests/latest" => Reply::new(418, b"<html>"),
        path => image.answer(path),
    });
    let registry = registry(&[&server]);
    for (name, kind, parts) in [
        ("a/c", Kind::NotFound, &["404", "MANIFEST_UNKNOWN: manifest unknown", "\"a/c\"", "\"latest\""][..]),
        ("secret/x", Kind::Denied, &["403", "DENIED: go [31m away"]),
        ("odd/x", Kind::Remote, &["418"]),
    ] {
        let error = refusal(&registry, &reference(&server, name));
        assert_eq!(error.kind(), kind, "{error}");
        for part in parts.iter().chain([&server.host().as_str()]) {
            assert!(error.to_string().contains(part), "{part:?} in {error}");
        }
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

/// A registry that wants tokens, each of which lasts for `lasts` requests.
fn with_tokens(image: Image, realm: impl Fn() -> String + Send + Sync + 'static, lasts: usize) -> Server {
    let used = AtomicUsize::new(0);
    Server::start(move |asked| {
        let uses = used.fetch_add(1, Ordering::SeqCst) + 1;
        let token = asked.header("authorization").and_then(|a| a.strip_prefix("Bearer ")).unwrap_or_default();
        if token == "t0ken" && uses <= lasts {
            return image.answer(&asked.path);
        }
        used.store(0, Ordering::SeqCst);
        let challenge =
            format!("Bearer realm=\"{}/token?x=1\",service=\"the registry\",scope=\"repository:a/b:pull\"", realm());
        Reply::new(401, br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#)
            .header("WWW-Authenticate", &challenge)
    })
}

#[test]
fn tokens_are_fetched_with_the_right_scope_and_renewed_in_the_middle() {
    let tokens = Server::start(|_| Reply::new(200, br#"{"token":"t0ken","expires_in":1}"#));
    let address = tokens.address();
    // The manifest, then the configuration; the layer finds the token used up.
    let server = with_tokens(image(b"layer", "amd64"), move || address.clone(), 2);
    let registry = registry(&[&server, &tokens]);
    assert_eq!(pull(&registry, &reference(&server, "a/b"), None).unwrap().1, b"layer");
    let asked = tokens.asked();
    assert_eq!(asked.len(), 2);
    for asked in &asked {
        assert_eq!(asked.path, "/token?x=1&service=the%20registry&scope=repository:a/b:pull");
        assert_eq!(asked.header("authorization"), None);
    }
    // With a password.
    let credentials = Credentials::password("me", "s3cret");
    pull(&registry, &reference(&server, "a/b"), Some(&credentials)).unwrap();
    let asked = &tokens.asked()[2];
    assert!(asked.path.contains("&account=me"), "{}", asked.path);
    assert_eq!(asked.header("authorization"), Some("Basic bWU6czNjcmV0"));
    // The registry itself never sees it.
    assert!(server.asked().iter().all(|a| !a.header("authorization").unwrap_or("").starts_with("Basic")));
}

#[test]
fn identity_and_registry_tokens() {
    let tokens = Server::start(|_| Reply::new(200, br#"{"access_token":"t0ken"}"#));
    let address = tokens.address();
    let server = with_tokens(image(b"layer", "amd64"), move || address.clone(), 100);
    let registry = registry(&[&server, &tokens]);
    let identity = Credentials { user: "me".into(), secret: Secret::IdentityToken("refre/sh".into()) };
    pull(&registry, &reference(&server, "a/b"), Some(&identity)).unwrap();
    let asked = &tokens.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/token?x=1"));
    let form = String::from_utf8(asked.body.clone()).unwrap();
    assert!(form.starts_with("grant_type=refresh_token&refresh_token=refre/sh&client_id=isulabox"), "{form}");
    assert!(form.ends_with("&scope=repository:a/b:pull"), "{form}");
    let direct = Credentials { user: String::new(), secret: Secret::RegistryToken("t0ken".into()) };
    pull(&registry, &reference(&server, "a/b"), Some(&direct)).unwrap();
    assert_eq!(tokens.asked().len(), 1);
}

#[test]
fn a_token_that_is_refused_ends_it_and_shows_no_secret() {
    for (status, body) in [
        (401, &br#"{"details":"incorrect username or password"}"#[..]),
        (200, br#"{"token":"s3cret wrong"}"#),
        (200, b"s3cret"),
    ] {
        let tokens = Server::start(move |_| Reply::new(status, body));
        let address = tokens.address();
        let server = with_tokens(image(b"layer", "amd64"), move || address.clone(), 100);
        let credentials = Credentials::password("me", "s3cret");
        let error = pull(&registry(&[&server, &tokens]), &reference(&server, "a/b"), Some(&credentials)).err().unwrap();
        assert!(
            error.to_string().contains("token server \"127.0.0.1\"") && !error.to_string().contains("s3cret"),
            "{error}"
        );
        assert_eq!(error.kind(), if status == 401 { Kind::Denied } else { Kind::Remote });
        assert_eq!(tokens.asked().len(), 1);
    }
    // A good token that the registry does not like: no endless round.
    let tokens = Server::start(|_| Reply::new(200, br#"{"token":"other"}"#));
    let address = tokens.address();
    let server = with_tokens(image(b"layer", "amd64"), move || address.clone(), 100);
    let error = refusal(&registry(&[&server, &tokens]), &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Denied && error.to_string().contains("unauthorized (status 401)"), "{error}");
    assert_eq!((server.asked().len(), tokens.asked().len()), (2, 1));
}

#[test]
fn basic_authorization() {
    let image = image(b"layer", "amd64");
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Basic bWU6czNjcmV0") if asked.path == "/v2/" => Reply::new(200, b"{}"),
        Some("Basic bWU6czNjcmV0") => image.answer(&asked.path),
        _ => Reply::new(401, b"").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let registry = registry(&[&server]);
    let (good, bad) = (Credentials::password("me", "s3cret"), Credentials::password("me", "wr0ng"));
    pull(&registry, &reference(&server, "a/b"), Some(&good)).unwrap();
    registry.check(&format!("http://{}/v2/", server.host()), &good, &Cancel::new()).unwrap();
    for error in [
        registry.check(&server.host(), &bad, &Cancel::new()).unwrap_err(),
        refusal(&registry, &reference(&server, "a/b")),
        pull(&registry, &reference(&server, "a/b"), Some(&bad)).err().unwrap(),
    ] {
        assert!(error.kind() == Kind::Denied && !error.to_string().contains("wr0ng"), "{error}");
    }
    assert!(registry.check("../x", &good, &Cancel::new()).is_err());
}

#[test]
fn redirects_do_not_take_the_authorization_along() {
    let image = image(&payload(1000), "amd64");
    let layer = image.layer.clone();
    let content = Server::start(move |asked| match asked.path.as_str() {
        "/content?signature=s1gned" => Reply::new(200, &layer),
        _ => Reply::new(404, b""),
    });
    let (path, address) = (image.layer_path(), content.address());
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some(_) if asked.path == path => Reply::new(302, b"").header("Location", "/elsewhere"),
        Some(_) if asked.path == "/elsewhere" => {
            Reply::new(307, b"gone there").header("Location", &format!("{address}/content?signature=s1gned"))
        }
        Some(_) => image.answer(&asked.path),
        None => Reply::new(401, b"").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let credentials = Credentials::password("me", "s3cret");
    let registry = registry(&[&server, &content]);
    pull(&registry, &reference(&server, "a/b"), Some(&credentials)).unwrap();
    assert_eq!(content.asked().len(), 1);
    assert_eq!(content.asked()[0].header("authorization"), None);
    // On the registry itself it is kept.
    let last = server.asked().pop().unwrap();
    assert!(last.path == "/elsewhere" && last.header("authorization").is_some());
}

#[test]
fn redirects_end() {
    for location in ["/v2/a/b/manifests/latest", "//elsewhere/x", "ftp://x/", ""] {
        let server = Server::start(move |_| Reply::new(302, b"").header("Location", location));
        let error = refusal(&registry(&[&server]), &reference(&server, "a/b"));
        assert!(error.kind() == Kind::Remote && error.to_string().contains("redirect"), "{error}");
        assert!(server.asked().len() <= 6);
    }
}

#[test]
fn a_blob_goes_on_where_it_broke_off() {
    for ranges in [true, false] {
        let image = image(&payload(400_000), "amd64");
        let (path, layer) = (image.layer_path(), image.layer.clone());
        let server = Server::start(move |asked| {
            if asked.path != path {
                return image.answer(&asked.path);
            }
            let from: usize = asked.header("range").map_or(0, |r| r["bytes=".len()..r.len() - 1].parse().unwrap());
            let reply = if ranges && from > 0 {
                let range = format!("bytes {from}-{}/{}", image.layer.len() - 1, image.layer.len());
                Reply::new(206, &image.layer[from..]).header("Content-Range", &range)
            } else {
                image.answer(&asked.path)
            };
            // Each answer brings 150000 bytes more.
            let start = if ranges { 0 } else { from };
            reply.cut(start + 150_000)
        });
        let (_, bytes) = pull(&registry(&[&server]), &reference(&server, "a/b"), None).unwrap();
        assert!(bytes == layer);
        let asked: Vec<Asked> = server.asked().into_iter().filter(|a| a.path.contains("blobs")).skip(1).collect();
        let ranges: Vec<_> = asked.iter().map(|a| a.header("range")).collect();
        assert_eq!(ranges, [None, Some("bytes=150000-"), Some("bytes=300000-")]);
    }
}

#[test]
fn a_blob_that_never_gets_further_is_given_up() {
    let image = image(&payload(400_000), "amd64");
    let path = image.layer_path();
    let server = Server::start(move |asked| match asked.path == path && asked.header("range").is_some() {
        true => Reply::new(500, b""),
        false if asked.path == path => image.answer(&asked.path).cut(100),
        false => image.answer(&asked.path),
    });
    let error = refusal(&registry(&[&server]), &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Remote && error.to_string().contains("status 500"), "{error}");
    let tries = server.asked().iter().filter(|a| a.header("range").is_some()).count();
    assert_eq!(tries as u32, QUICK.attempts - 1);
}

#[test]
fn wrong_blobs_are_never_handed_out_to_their_end() {
    let good = payload(200_000);
    let changed = {
        let mut bytes = good.clone();
        bytes[5] ^= 1;
        bytes
    };
    for (name, wrong, chunked, part) in [
        ("changed", changed, false, "the digest sha256:"),
        ("short", good[..good.len() - 1].to_vec(), false, "199999 bytes"),
        ("short, its length not said", good[..good.len() - 1].to_vec(), true, "broke off"),
        ("long", [&good[..], b"x"].concat(), false, "200001 bytes"),
        ("empty", Vec::new(), false, "0 bytes"),
    ] {
        let image = image(&good, "amd64");
        let path = image.layer_path();
        let server = Server::start(move |asked| {
            if asked.path != path {
                return image.answer(&asked.path);
            }
            let reply = Reply::new(200, &wrong);
            if chunked { reply.chunked() } else { reply }
        });
        let cancel = Cancel::new();
        let resolved = registry(&[&server]).resolve(&reference(&server, "a/b"), &amd64(), None, &cancel).unwrap();
        let (mut received, mut buffer) = (0, vec![0; 9000]);
        let error = match resolved.blob(&resolved.layers[0], &cancel) {
            Err(error) => error,
            Ok(mut blob) => loop {
                match blob.read(&mut buffer) {
                    Ok(0) => panic!("{name}: an end after {received} bytes"),
                    Ok(n) => received += n,
                    Err(e) => {
                        assert!(blob.read(&mut buffer).is_err(), "{name}: it goes on after an error");
                        break Error::io("read", e);
                    }
                }
            },
        };
        assert!(error.to_string().contains(part), "{name}: {error}");
        assert!(received < good.len(), "{name}: all bytes were handed out");
        if part != "broke off" {
            assert_eq!(error.kind(), Kind::Corrupt, "{name}");
        }
    }
}

#[test]
fn a_longer_blob_without_a_length_ends_where_the_manifest_says() {
    let image = image(b"layer", "amd64");
    let path = image.layer_path();
    let server = Server::start(move |asked| {
        if asked.path == path { Reply::new(200, b"layer and more").chunked() } else { image.answer(&asked.path) }
    });
    assert_eq!(pull(&registry(&[&server]), &reference(&server, "a/b"), None).unwrap().1, b"layer");
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let (image, count) = (image(b"layer", "amd64"), AtomicUsize::new(0));
    let server = Server::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, b"").header("Retry-After", "0"),
        2 => Reply::new(503, b""),
        3 => Reply::new(200, b"").hang_up(),
        _ => image.answer(&asked.path),
    });
    pull(&registry(&[&server]), &reference(&server, "a/b"), None).unwrap();
    let server = Server::start(|_| {
        let reply = Reply::new(429, br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#);
        reply.header("Retry-After", "3600")
    });
    let error = refusal(&registry(&[&server]), &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Busy && error.to_string().contains("TOOMANYREQUESTS: pull rate limit"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

/// A server whose `latest` is an index of these (document, type, platform).
fn index(list: &[(&[u8], &str, &str)]) -> Vec<u8> {
    let entry = |(document, media_type, platform): &(&[u8], &str, &str)| {
        let p = Platform::parse(platform).unwrap();
        json!({"mediaType": media_type, "digest": sha(document), "size": document.len(),
               "platform": {"os": p.os, "architecture": p.architecture, "variant": p.variant}})
    };
    bytes(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list.iter().map(entry).collect::<Vec<_>>()}))
}

#[test]
fn an_index_gives_the_image_for_the_platform() {
    let (amd, arm) = (image(b"amd", "amd64"), image(b"arm", "arm"));
    let inner = index(&[(&arm.manifest, OCI_MANIFEST, "linux/arm/v6")]);
    let outer = index(&[(&amd.manifest, OCI_MANIFEST, "linux/amd64"), (&inner, OCI_INDEX, "linux/arm/v6")]);
    let digest = sha(&outer);
    let server = Server::start(move |asked| {
        let document = |b: &[u8], t: &str| Reply::new(200, b).header("Content-Type", t);
        match asked.path.strip_prefix("/v2/a/b/manifests/").unwrap_or_default() {
            "latest" => document(&outer, OCI_INDEX),
            name if name == sha(&inner) => document(&inner, OCI_INDEX),
            name if name == sha(&arm.manifest) => document(&arm.manifest, OCI_MANIFEST),
            _ if asked.path.ends_with(&sha(&arm.config)) => arm.answer(&asked.path),
            _ => amd.answer(&asked.path),
        }
    });
    let registry = registry(&[&server]);
    let resolve = |platform: &str| {
        registry.resolve(&reference(&server, "a/b"), &Platform::parse(platform).unwrap(), None, &Cancel::new())
    };
    for (platform, layer) in [("linux/amd64", &b"amd"[..]), ("linux/arm/v7", b"arm")] {
        let resolved = resolve(platform).unwrap();
        assert_eq!(
            (resolved.layers[0].digest.as_str(), resolved.digest.as_str()),
            (sha(layer).as_str(), digest.as_str())
        );
    }
    for platform in ["linux/arm/v5", "linux/riscv64"] {
        let error = resolve(platform).err().unwrap();
        assert!(error.kind() == Kind::NotFound && error.to_string().contains(platform), "{error}");
    }
}

#[test]
fn indexes_in_indexes_end() {
    let mut document = image(b"x", "amd64").manifest;
    let mut documents = vec![document.clone()];
    for n in 0..5 {
        let media_type = if n == 0 { OCI_MANIFEST } else { OCI_INDEX };
        document = index(&[(&document, media_type, "linux/amd64")]);
        documents.push(document.clone());
    }
    let server = Server::start(move |asked| {
        let found = documents.iter().find(|d| asked.path.ends_with(&sha(d))).or(documents.last()).unwrap();
        Reply::new(200, found)
    });
    let error = refusal(&registry(&[&server]), &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains("3 deep"), "{error}");
}

#[test]
fn documents_that_are_not_what_they_must_be() {
    let image = image(b"layer", "amd64");
    let wrong_digest = format!("a/b@{}", sha(b"other"));
    let manifest = image.manifest.clone();
    let index_of_it = index(&[(&image.manifest, OCI_MANIFEST, "linux/amd64")]);
    let big = vec![b' '; (MANIFEST_LIMIT + 1) as usize];
    let two_layers = {
        let mut value: Value = json::parse(&manifest).unwrap();
        let layer = value["layers"][0].clone();
        value["layers"].as_array_mut().unwrap().push(layer);
        bytes(&value)
    };
    let large_config = {
        let mut value: Value = json::parse(&manifest).unwrap();
        value["config"]["size"] = json!(CONFIG_LIMIT + 1);
        bytes(&value)
    };
    let cases: Vec<(&str, Vec<u8>, &str, bool, &str)> = vec![
        (&wrong_digest, manifest.clone(), OCI_MANIFEST, false, "the answer has the digest"),
        ("a/b", manifest.clone(), OCI_INDEX, false, "it says that its type is"),
        ("a/b", index_of_it.clone(), OCI_MANIFEST, false, "it says that its type is"),
        ("a/b", big.clone(), OCI_MANIFEST, false, "larger than 4194304 bytes"),
        ("a/b", big, OCI_MANIFEST, true, "larger than 4194304 bytes"),
        ("a/b", two_layers, OCI_MANIFEST, false, "it is of 1 layers, and the manifest of 2"),
        ("a/b", large_config, OCI_MANIFEST, false, "are more than 8388608"),
        ("a/b", b"{".to_vec(), OCI_MANIFEST, false, "invalid JSON"),
    ];
    for (name, document, media_type, chunked, part) in cases {
        let image = self::image(b"layer", "amd64");
        let server = Server::start(move |asked| {
            if !asked.path.contains("/manifests/") {
                return image.answer(&asked.path);
            }
            let reply = Reply::new(200, &document).header("Content-Type", media_type);
            if chunked { reply.chunked() } else { reply }
        });
        let error = refusal(&registry(&[&server]), &reference(&server, name));
        assert!(error.kind() == Kind::Corrupt && error.to_string().contains(part), "{part}: {error}");
        assert_eq!(server.asked().iter().filter(|a| a.path.contains("/manifests/")).count(), 1, "{part}");
    }
}

#[test]
fn mirrors_are_asked_in_order_with_their_own_credentials() {
    let image = image(b"layer", "amd64");
    let manifest = sha(&image.manifest);
    let broken = Server::start(|_| Reply::new(404, b""));
    let mirror = Server::start(move |asked| match asked.header("authorization") {
        Some("Basic bWU6bTFycm9y") => image.answer(&asked.path.replace("/library/b/", "/a/b/")),
        _ => Reply::new(401, b"").header("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let directory = std::env::temp_dir().join(format!("mirror-credentials-{}", std::process::id()));
    let store = Store::new(&directory);
    store.set(&mirror.host(), &Credentials::password("me", "m1rror")).unwrap();
    let mirrors = vec![format!("http://{}", broken.host()), format!("{}/", mirror.address())];
    let mut registry = Registry::new(Settings { mirrors, credentials: Some(store), ..Settings::default() }).unwrap();
    (registry.policy, registry.deadlines) = (QUICK, DEADLINES);
    let given = Credentials::password("me", "for docker.io only");
    let resolved = registry.resolve(&Reference::parse("b").unwrap(), &amd64(), Some(&given), &Cancel::new()).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(resolved.digest, manifest);
    assert_eq!(broken.asked()[0].path, "/v2/library/b/manifests/latest");
    let all: Vec<Asked> = broken.asked().into_iter().chain(mirror.asked()).collect();
    assert!(all.iter().filter_map(|a| a.header("authorization")).all(|a| a == "Basic bWU6bTFycm9y"));
}

#[test]
fn a_registry_that_is_not_insecure_is_not_asked_without_tls() {
    let image = image(b"layer", "amd64");
    let server = Server::start(move |asked| image.answer(&asked.path));
    let error = refusal(&registry(&[]), &reference(&server, "a/b"));
    assert_eq!(error.kind(), Kind::Remote, "{error}");
    assert!(server.asked().is_empty());
    // One that answers a handshake with words.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let mut stream = stream;
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.0 400 Bad Request\r\n\r\nspeak TLS not");
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let error = refusal(&registry(&[]), &Reference::parse(&format!("{host}/a/b")).unwrap());
    assert!(error.to_string().contains("insecure-registries"), "{error}");
    // Nobody there at all.
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let nobody = Reference::parse(&format!("127.0.0.1:{port}/a/b")).unwrap();
    let error = refusal(&registry(&[]), &nobody);
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[test]
fn stalled_answers_have_deadlines() {
    let image = image(&payload(100_000), "amd64");
    let path = image.layer_path();
    let server = Server::start(move |asked| {
        let reply = image.answer(&asked.path);
        if asked.path == path { reply.stall_after(10) } else { reply }
    });
    let mut registry = registry(&[&server]);
    registry.deadlines.read = Duration::from_millis(50);
    let error = refusal(&registry, &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Timeout && error.to_string().contains("the answer stopped"), "{error}");
    let server = Server::start(|_| Reply::new(200, b"x").silent());
    registry = self::registry(&[&server]);
    registry.deadlines.head = Duration::from_millis(50);
    let error = refusal(&registry, &reference(&server, "a/b"));
    assert!(error.kind() == Kind::Timeout && error.to_string().contains("no answer"), "{error}");
    assert_eq!(server.asked().len() as u32, QUICK.attempts);
    let server = Server::start(|_| Reply::new(200, b"x").stall_after(0));
    registry = self::registry(&[&server]);
    registry.deadlines.head = Duration::from_millis(50);
    registry.deadlines.read = Duration::from_millis(50);
    registry.deadlines.document = Duration::from_millis(50);
    let error = refusal(&registry, &reference(&server, "a/b"));
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    assert_eq!(server.asked().len() as u32, QUICK.attempts);
}

#[test]
fn cancelling_interrupts_a_read() {
    let image = image(&payload(100_000), "amd64");
    let path = image.layer_path();
    let server = Server::start(move |asked| {
        let reply = image.answer(&asked.path);
        if asked.path == path { reply.stall_after(10) } else { reply }
    });
    let cancel = Cancel::new();
    let mut registry = registry(&[&server]);
    registry.deadlines.read = Duration::from_secs(3600);
    let resolved = registry.resolve(&reference(&server, "a/b"), &amd64(), None, &cancel).unwrap();
    let mut blob = resolved.blob(&resolved.layers[0], &cancel).unwrap();
    blob.read_exact(&mut [0; 10]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| cancel.cancel());
        let error = Error::io("read", blob.read(&mut [0; 10]).unwrap_err());
        assert!(error.to_string().ends_with("cancelled"), "{error}");
    });
    while server.open() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(
        registry
            .resolve(&reference(&server, "a/b"), &amd64(), None, &cancel)
            .err()
            .unwrap()
            .to_string()
            .contains("cancelled")
    );
}

#[test]
fn platforms_that_there_are_are_named() {
    let entry = |architecture: &str| {
        let platform =
            DescriptorPlatform { os: "linux".into(), architecture: architecture.into(), ..Default::default() };
        Descriptor { digest: architecture.into(), platform: Some(platform), ..Descriptor::default() }
    };
    let mut entries = vec![entry("amd64"), entry("s390x\u{1b}[2J")];
    entries.push(Descriptor {
        platform: Some(DescriptorPlatform {
            os: "unknown".into(),
            architecture: "unknown".into(),
            ..Default::default()
        }),
        ..Descriptor::default()
    });
    assert_eq!(choose(&entries, &amd64()).unwrap().digest, "amd64");
    let error = choose(&entries, &Platform::parse("linux/riscv64").unwrap()).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(text.contains("linux/riscv64") && text.contains("linux/amd64") && !text.contains("unknown"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}
