//! Manifests and indexes (OCI image specification 1.1, and docker's schema 2): what kind of document it is, and what it
//! lists.
//!
//! A document that can be read in two ways is refused (CVE-2021-41190): the type it says it has, the type the registry
//! says it has and the fields it has must be of one kind.

use crate::api::oci::image::Descriptor;
use crate::api::oci::image::media_type;
use crate::error::{Error, Kind, Result};
use crate::utils::json::Object;
use crate::utils::{digest, json};
use serde::de::IgnoredAny;

/// More layers than overlayfs stacks.
pub(super) const LAYERS: usize = 500;
/// Images in one index.
const ENTRIES: usize = 4096;

pub(super) const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
pub(super) const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Prefixes of the types of layers; compression is seen in the bytes.
const LAYER_TYPES: [&str; 4] = [
    media_type::LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// A document, understood.
#[derive(Debug)]
pub(super) enum Manifest {
    /// One image for several platforms.
    Index(Vec<Descriptor>),
    /// One image.
    Image { config: Descriptor, layers: Vec<Descriptor> },
    /// One of schema 1 (module `schema_1`).
    Schema1,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<json::Short<Descriptor, ENTRIES>>,
    config: Option<Descriptor>,
    layers: Option<json::Short<Descriptor, LAYERS>>,
    /// Of schema 1.
    fs_layers: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Index,
    Image,
    Schema1,
}

/// Reads a document. `media_type` is what the registry, or the index that lists it, says it is.
///
/// # Errors
/// `Kind::Corrupt` for a document that is not clearly one thing, or lists what cannot be; `Kind::Unsupported` for what is
/// not an image.
pub(super) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Manifest> {
    let document: Document = json::parse(bytes).map_err(|e| e.with_kind(Kind::Corrupt))?;
    let own = document.media_type.as_deref().filter(|t| !t.is_empty());
    let said = media_type.and_then(known);
    let claimed = match (own.map(known), said) {
        (Some(None), _) => {
            let text = format!("a document of the type {:?} is not an image", own.unwrap_or_default());
            return Err(Error::new(Kind::Unsupported, text));
        }
        (Some(Some(own)), Some(said)) if own != said => {
            let (own, said) = (document.media_type.unwrap_or_default(), media_type.unwrap_or_default());
            return corrupt(format!("it says that its type is {own:?}, and the registry that it is {said:?}"));
        }
        (Some(Some(own)), _) => Some(own),
        (None, said) => said,
    };
    let is_index = document.manifests.is_some();
    let is_image = document.config.is_some() || document.layers.is_some();
    let is_schema_1 = document.fs_layers.is_some() || document.schema_version == Some(1);
    let found = match (is_index, is_image, is_schema_1) {
        (true, false, false) => Type::Index,
        (false, true, false) => Type::Image,
        (false, false, true) => Type::Schema1,
        (false, false, false) => return corrupt("a document that lists neither images nor layers"),
        _ => return corrupt("a document that can be read as a manifest and as an index"),
    };
    if claimed.is_some_and(|claimed| claimed != found) {
        let claimed = own.or(media_type).unwrap_or_default();
        return corrupt(format!("a document that is not of its type {claimed:?}"));
    }
    match found {
        Type::Schema1 => Ok(Manifest::Schema1),
        _ if document.schema_version != Some(2) => corrupt("a document whose schemaVersion is not 2"),
        Type::Index => index(document.manifests.unwrap_or_default().0),
        Type::Image => image(document),
    }
}

fn known(text: &str) -> Option<Type> {
    match text {
        t if media_type::is_index(t) => Some(Type::Index),
        t if media_type::is_manifest(t) => Some(Type::Image),
        SCHEMA_1 | SCHEMA_1_SIGNED => Some(Type::Schema1),
        _ => None,
    }
}

fn index(mut list: Vec<Descriptor>) -> Result<Manifest> {
    // What is not an image or an index (signatures and the like) is none to choose from.
    list.retain(|listed| matches!(known(&listed.media_type), Some(Type::Index | Type::Image)));
    for listed in &mut list {
        checked(listed)?;
        listed.platform.take_if(|p| p.os.is_empty() && p.architecture.is_empty());
    }
    Ok(Manifest::Index(list))
}

fn image(document: Document) -> Result<Manifest> {
    let Some(config) = document.config else { return corrupt("a manifest without a configuration") };
    let Some(json::Short(layers)) = document.layers else { return corrupt("a manifest without layers") };
    checked(&config)?;
    if !media_type::is_config(&config.media_type) {
        let kind = document.artifact_type.filter(|t| !t.is_empty()).unwrap_or(config.media_type);
        return Err(Error::new(Kind::Unsupported, format!("an artifact of the type {kind:?} is not an image")));
    }
    for layer in &layers {
        checked(layer)?;
        let rest = LAYER_TYPES.iter().find_map(|t| layer.media_type.strip_prefix(t));
        if !matches!(rest, Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd")) {
            let text = format!("a layer of the type {:?} cannot be unpacked", layer.media_type);
            return Err(Error::new(Kind::Unsupported, text));
        }
    }
    Ok(Manifest::Image { config, layers })
}

fn checked(listed: &Descriptor) -> Result<()> {
    digest::parse(&listed.digest).map(|_| ()).map_err(|e| e.with_kind(Kind::Corrupt))
}

fn corrupt<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::corrupt(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::image::media_type::{
        CONFIG as OCI_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, INDEX as OCI_INDEX, MANIFEST as OCI_MANIFEST,
    };

    fn digest_of(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    fn listed(media_type: &str, c: char, platform: &str) -> String {
        let platform = match platform.split('/').collect::<Vec<_>>()[..] {
            [os, architecture] => format!(",\"platform\":{{\"os\":\"{os}\",\"architecture\":\"{architecture}\"}}"),
            [os, a, v] => format!(",\"platform\":{{\"os\":\"{os}\",\"architecture\":\"{a}\",\"variant\":\"{v}\"}}"),
            _ => String::new(),
        };
        format!("{{\"mediaType\":\"{media_type}\",\"digest\":\"{}\",\"size\":7{platform}}}", digest_of(c))
    }

    fn image(layer: &str) -> String {
        let (config, layer) = (listed(OCI_CONFIG, 'c', ""), listed(layer, 'd', ""));
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layer}]}}")
    }

    #[test]
    fn images_of_both_families() {
        for layer in LAYER_TYPES {
            let text = image(&format!("{layer}{}", if layer.contains("docker") { ".gzip" } else { "+zstd" }));
            for said in [None, Some(OCI_MANIFEST), Some(DOCKER_MANIFEST), Some("text/plain"), Some("application/json")]
            {
                let Manifest::Image { config, layers } = parse(text.as_bytes(), said).unwrap() else {
                    panic!("{text}")
                };
                assert_eq!((config.digest, layers[0].size), (digest_of('c'), 7));
            }
        }
        for (layer, kind) in
            [("application/vnd.oci.image.layer.v1.tar+encrypted", Kind::Unsupported), ("x", Kind::Unsupported)]
        {
            assert_eq!(parse(image(layer).as_bytes(), None).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let (config, entry) = (listed(OCI_CONFIG, 'c', ""), listed(OCI_MANIFEST, 'a', "linux/amd64"));
        let both = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"manifests\":[{entry}]}}");
        let with = |own: &str, rest: &str| format!("{{\"schemaVersion\":2,\"mediaType\":\"{own}\",{rest}}}");
        let (image_rest, index_rest) =
            (format!("\"config\":{config},\"layers\":[]"), format!("\"manifests\":[{entry}]"));
        for (text, said) in [
            (both.clone(), None),
            (both.clone(), Some(OCI_INDEX)),
            (format!("{{\"schemaVersion\":2,\"manifests\":[{entry}],\"fsLayers\":[]}}"), None),
            (with(OCI_INDEX, &image_rest), None),
            (with(OCI_MANIFEST, &index_rest), None),
            (with(OCI_MANIFEST, &image_rest), Some(OCI_INDEX)),
            (with(OCI_INDEX, &index_rest), Some(DOCKER_MANIFEST)),
            (format!("{{\"schemaVersion\":2,{image_rest}}}"), Some(DOCKER_LIST)),
            (format!("{{\"schemaVersion\":2,{image_rest},\"layers\":[]}}"), None),
            (format!("{{{image_rest}}}"), None),
            ("{\"schemaVersion\":2}".into(), None),
            ("[]".into(), None),
            (format!("{{\"schemaVersion\":2,\"config\":{config}}}"), None),
            (image(LAYER_TYPES[0]).replace("sha256:dd", "sha256:../"), None),
            (image(LAYER_TYPES[0]).replace(":7", ":-7"), None),
        ] {
            assert_eq!(parse(text.as_bytes(), said).unwrap_err().kind(), Kind::Corrupt, "{text} {said:?}");
        }
        let many = format!(
            "{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{}]}}",
            vec![listed(LAYER_TYPES[0], 'd', ""); 501].join(",")
        );
        assert!(parse(many.as_bytes(), None).unwrap_err().to_string().contains("at most 500"));
    }

    #[test]
    fn what_is_no_image_is_named() {
        let artifact = image(LAYER_TYPES[0]).replace(OCI_CONFIG, "application/vnd.oci.empty.v1+json");
        let helm =
            artifact.replace("{\"schemaVersion\":2", "{\"schemaVersion\":2,\"artifactType\":\"application/x-helm\"");
        let other = "{\"schemaVersion\":2,\"mediaType\":\"text/x\",\"layers\":[]}".to_owned();
        for (text, said, part) in [(artifact, None, "vnd.oci.empty"), (helm, None, "x-helm"), (other, None, "text/x")] {
            let error = parse(text.as_bytes(), said).unwrap_err();
            assert!(error.kind() == Kind::Unsupported && error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn schema_1_is_known_by_its_fields() {
        let text = "{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[],\"history\":[],\"signatures\":[]}";
        for said in [Some(SCHEMA_1), Some(SCHEMA_1_SIGNED), Some("application/json"), None] {
            assert!(matches!(parse(text.as_bytes(), said), Ok(Manifest::Schema1)));
        }
        for (text, said) in [
            (text, Some(OCI_MANIFEST)),
            (&text.replace("1,", "1,\"manifests\":[],"), None),
            (&text.replace("1,", "1,\"layers\":[],"), Some(SCHEMA_1)),
        ] {
            assert_eq!(parse(text.as_bytes(), said).unwrap_err().kind(), Kind::Corrupt, "{text} {said:?}");
        }
    }

    #[test]
    fn what_is_no_image_is_left_out_of_an_index() {
        let image = listed(OCI_MANIFEST, '1', "unknown/unknown");
        let signature = listed("application/vnd.x.signature", '9', "linux/amd64");
        let text = format!("{{\"schemaVersion\":2,\"manifests\":[{image},{signature}]}}");
        let Manifest::Index(entries) = parse(text.as_bytes(), Some(DOCKER_LIST)).unwrap() else { panic!("{text}") };
        assert_eq!(entries.iter().map(|e| e.digest.as_str()).collect::<Vec<_>>(), [digest_of('1')]);
    }
}
