//! The registry client against a real registry: Debian's docker-registry, filled by skopeo.

use crate::requires;
use crate::support::bed::Bed;
use crate::support::oci::layout;
use crate::support::registry::{Registry, Setup};
use crate::support::{contains, rootfs};
use crate::tests;
use isulabox::error::{Error, Kind, Result};
use isulabox::modules::image::credentials::Credentials;
use isulabox::modules::image::platform::Platform;
use isulabox::modules::image::reference::Reference;
use isulabox::modules::image::registry::{self as client, Cancel, Settings};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

tests![
    images_of_both_families_and_for_several_platforms,
    a_blob_that_the_registry_spoils_is_refused,
    tls_and_passwords,
    tokens_of_a_token_server,
];

const LOGIN: Option<(&str, &str)> = Some(("me", "s3cret"));

/// An OCI layout of the standard root file system.
fn image(bed: &Bed, name: &str, platforms: &[&str]) -> PathBuf {
    let directory = bed.dir.join(name);
    layout(&directory, &[&rootfs::archive()], platforms, &json!({"Cmd": ["sh"]}));
    directory
}

/// Resolves and reads all layers; their bytes.
fn pull(
    settings: Settings,
    name: &str,
    platform: &str,
    credentials: Option<&Credentials>,
) -> Result<(String, Vec<u8>)> {
    let reference = Reference::parse(name)?;
    let cancel = Cancel::new();
    let registry = client::Registry::new(settings)?;
    let resolved = registry.resolve(&reference, &Platform::parse(platform)?, credentials, &cancel)?;
    let mut bytes = Vec::new();
    for layer in &resolved.layers {
        resolved.blob(layer, &cancel)?.read_to_end(&mut bytes).map_err(|e| Error::io("layer", e))?;
    }
    Ok((resolved.platform.to_string(), bytes))
}

fn insecure(registry: &Registry) -> Settings {
    Settings { insecure: vec![registry.host.clone()], ..Settings::default() }
}

fn images_of_both_families_and_for_several_platforms(bed: &mut Bed) {
    requires!(registry);
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    let one = image(bed, "one", &["linux/amd64"]);
    registry.push(&one, "a/one:oci", &[]);
    registry.push(&one, "a/one:docker", &["--format", "v2s2"]);
    registry.push(&image(bed, "many", &["linux/amd64", "linux/arm/v6", "linux/arm64"]), "many", &[]);
    let (platform, oci) = pull(insecure(&registry), &registry.name("a/one:oci"), "linux/amd64", None).unwrap();
    assert_eq!(platform, "linux/amd64");
    let (_, docker) = pull(insecure(&registry), &registry.name("a/one:docker"), "linux/amd64", None).unwrap();
    assert!(oci == docker && !oci.is_empty());
    let (platform, _) = pull(insecure(&registry), &registry.name("many"), "linux/arm/v7", None).unwrap();
    assert_eq!(platform, "linux/arm/v6");
    let error = pull(insecure(&registry), &registry.name("many"), "linux/riscv64", None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    contains(&error.to_string(), "only for: linux/amd64, linux/arm/v6, linux/arm64");
    let error = pull(insecure(&registry), &registry.name("a/one:none"), "linux/amd64", None).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    contains(&error.to_string(), "MANIFEST_UNKNOWN");
    // It has no TLS, and nobody said that it need not.
    let error = pull(Settings::default(), &registry.name("many"), "linux/amd64", None).unwrap_err();
    contains(&error.to_string(), "insecure-registries");
}

fn a_blob_that_the_registry_spoils_is_refused(bed: &mut Bed) {
    requires!(registry);
    let registry = Registry::start(&bed.dir, "registry", Setup::default());
    registry.push(&image(bed, "one", &["linux/amd64"]), "one", &[]);
    let mut files = vec![registry.storage().join("blobs")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if fs::metadata(&path).unwrap().len() > 10_000 {
            let mut bytes = fs::read(&path).unwrap();
            bytes[5000] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let error = pull(insecure(&registry), &registry.name("one"), "linux/amd64", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

fn tls_and_passwords(bed: &mut Bed) {
    requires!(registry);
    let registry = Registry::start(&bed.dir, "registry", Setup { tls: true, login: LOGIN, ..Setup::default() });
    registry.push(&image(bed, "one", &["linux/amd64"]), "a/one", &[]);
    let name = registry.name("a/one");
    let trusting = Settings { certificates: registry.certificates(), ..Settings::default() };
    let (good, bad) = (Credentials::password("me", "s3cret"), Credentials::password("me", "wr0ng"));
    pull(trusting.clone(), &name, "linux/amd64", Some(&good)).unwrap();
    client::Registry::new(trusting.clone()).unwrap().check(&registry.host, &good, &Cancel::new()).unwrap();
    for credentials in [Some(&bad), None] {
        let error = pull(trusting.clone(), &name, "linux/amd64", credentials).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(!error.to_string().contains("wr0ng"));
    }
    let error = client::Registry::new(trusting).unwrap().check(&registry.host, &bad, &Cancel::new()).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    // Nobody vouches for it.
    let error = pull(Settings::default(), &name, "linux/amd64", Some(&good)).unwrap_err();
    contains(&error.to_string(), "UnknownIssuer");
    pull(insecure(&registry), &name, "linux/amd64", Some(&good)).unwrap();
    let skipping = Settings { skip_verify: true, ..Settings::default() };
    pull(skipping, &name, "linux/amd64", Some(&good)).unwrap();
    assert!(!registry.log().contains("s3cret"));
}

fn tokens_of_a_token_server(bed: &mut Bed) {
    requires!(registry);
    for login in [None, LOGIN] {
        let name = if login.is_some() { "private" } else { "open" };
        let registry = Registry::start(&bed.dir, name, Setup { login, tokens: true, ..Setup::default() });
        registry.push(&image(bed, &format!("{name}-image"), &["linux/amd64"]), "a/one", &[]);
        let credentials = login.map(|(user, password)| Credentials::password(user, password));
        let before = registry.tokens.as_ref().unwrap().asked().len();
        pull(insecure(&registry), &registry.name("a/one"), "linux/amd64", credentials.as_ref()).unwrap();
        let asked = registry.tokens.as_ref().unwrap().asked().split_off(before);
        // One token serves the whole pull.
        assert_eq!(asked.len(), 1, "{asked:?}");
        contains(&asked[0], "scope=repository:a/one:pull");
        if login.is_some() {
            let error = pull(insecure(&registry), &registry.name("a/one"), "linux/amd64", None).unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{error}");
            contains(&error.to_string(), "incorrect username or password");
            let check = |password: &str| {
                let registry_client = client::Registry::new(insecure(&registry)).unwrap();
                registry_client.check(&registry.host, &Credentials::password("me", password), &Cancel::new())
            };
            check("s3cret").unwrap();
            assert_eq!(check("wr0ng").unwrap_err().kind(), Kind::Denied);
        }
    }
}
