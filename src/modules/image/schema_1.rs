//! Docker's manifests of schema 1, in which old registries and mirrors still have images (docker's "Image Manifest
//! Version 2, Schema 1"). They are read, never made.
//!
//! They list compressed layers and, for each, a configuration of docker's first image format; diff ids are nowhere, so the
//! image's own configuration can be made only when its layers are unpacked.
//!
//! Most are signed (JSON Web Signature, RFC 7515, in libtrust's form that leaves the document readable). The signature
//! is not verified: its key is one that the registry or whoever pushed made up, for which nobody vouches, and docker's
//! own client trusts it no more. What a digest proves is the payload, which is what was signed.

use super::manifest::LAYERS;
use super::platform::Platform;
use crate::api::oci::image::{History, ImageConfig, RootFs};
use crate::error::{Error, Kind, Result};
use crate::utils::json::Object;
use crate::utils::{digest, id, json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Signatures of one document: docker makes one.
const SIGNATURES: usize = 16;
/// Steps of an image's history, those without files among them.
const STEPS: usize = 4096;
/// Bytes of the configuration of one layer.
const STEP_LIMIT: usize = 256 << 10;
/// What docker leaves out of the configuration: it is about one layer, or follows from others.
const OF_THE_LAYER: [&str; 6] = ["id", "parent", "Size", "parent_id", "layer_id", "throwaway"];

/// An image, but for its diff ids.
#[derive(Debug, PartialEq)]
pub struct Image {
    pub(super) name: String,
    pub(super) tag: String,
    /// Digests of the compressed layers, bottom first.
    pub(super) layers: Vec<String>,
    history: Vec<History>,
    config: Map<String, Value>,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Signed {
    schema_version: u64,
    signatures: json::Short<Signature, SIGNATURES>,
}

#[derive(Object, Default)]
#[serde(default)]
struct Signature {
    protected: String,
}

/// Where the payload ends, and what takes the place of the signatures behind it.
#[derive(Object, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: u64,
    format_tail: String,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    name: String,
    tag: String,
    fs_layers: json::Short<Layer, STEPS>,
    history: json::Short<Entry, STEPS>,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Layer {
    blob_sum: String,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    v1_compatibility: String,
}

/// What is used of the configuration of one layer.
#[derive(Object, Default)]
#[serde(default)]
struct Step {
    id: String,
    parent: String,
    created: Option<String>,
    author: String,
    comment: String,
    container_config: Option<Container>,
    throwaway: bool,
}

#[derive(Object, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    cmd: Option<Vec<String>>,
}

/// What of a document its digest is of: the payload of a signed one of schema 1, else all.
///
/// # Errors
/// `Kind::Corrupt` for signatures that do not say what they are of, or not all the same.
pub(super) fn payload(bytes: Vec<u8>) -> Result<Vec<u8>> {
    // What cannot be read is for the next reader to complain about.
    let Ok(signed) = json::parse::<Signed>(&bytes) else { return Ok(bytes) };
    if signed.schema_version != 1 || signed.signatures.0.is_empty() {
        return Ok(bytes);
    }
    let bad = || Error::corrupt("a signature that does not say what it is of");
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| bad());
    let mut found: Option<Protected> = None;
    for signature in &signed.signatures.0 {
        let protected: Protected = json::parse(&decode(&signature.protected)?).map_err(|_| bad())?;
        if found.as_ref().is_some_and(|first| *first != protected) {
            return Err(Error::corrupt("signatures of different documents"));
        }
        found = Some(protected);
    }
    let Protected { format_length, format_tail } = found.ok_or_else(bad)?;
    let mut payload = bytes;
    let length = usize::try_from(format_length).ok().filter(|length| *length <= payload.len()).ok_or_else(bad)?;
    payload.truncate(length);
    payload.extend(decode(&format_tail)?);
    Ok(payload)
}

impl Image {
    /// Reads a payload.
    ///
    /// # Errors
    /// `Kind::Corrupt` for layers that do not build upon each other.
    pub(super) fn parse(payload: &[u8]) -> Result<Image> {
        let document: Document = json::parse(payload).map_err(|e| e.with_kind(Kind::Corrupt))?;
        let (layers, history) = (document.fs_layers.0, document.history.0);
        if layers.len() != history.len() || layers.is_empty() {
            let text = format!("{} layers and a history of {} steps", layers.len(), history.len());
            return Err(Error::corrupt(text));
        }
        let mut image = Image {
            name: document.name,
            tag: document.tag,
            layers: Vec::new(),
            history: Vec::new(),
            config: Map::new(),
        };
        let (mut below, mut top) = (String::new(), &history[0]);
        for (layer, entry) in layers.iter().zip(&history).rev() {
            if entry.v1_compatibility.len() > STEP_LIMIT {
                return Err(Error::corrupt(format!("a step of more than {STEP_LIMIT} bytes")));
            }
            let step: Step = json::parse(entry.v1_compatibility.as_bytes()).map_err(|e| e.with_kind(Kind::Corrupt))?;
            if !id::is_full_id(&step.id) {
                return Err(Error::corrupt("a layer whose id is not 64 digits"));
            }
            if !step.parent.is_empty() && !id::is_full_id(&step.parent) {
                return Err(Error::corrupt(format!("layer {:?} is upon one whose id is not 64 digits", step.id)));
            }
            // Docker's own clients once wrote a layer twice; the lower one counts.
            if step.id == below {
                continue;
            }
            if step.parent != below {
                let text = format!("layer {:?} is upon {below:?} and wants to be upon {:?}", step.id, step.parent);
                return Err(Error::corrupt(text));
            }
            below.clone_from(&step.id);
            top = entry;
            let is_empty = step.throwaway;
            image.history.push(step.history());
            if is_empty {
                continue;
            }
            digest::parse(&layer.blob_sum).map_err(|e| e.with_kind(Kind::Corrupt))?;
            if image.layers.len() == LAYERS {
                return Err(Error::corrupt(format!("an image of more than {LAYERS} layers")));
            }
            image.layers.push(layer.blob_sum.clone());
        }
        image.config = json::parse(top.v1_compatibility.as_bytes()).map_err(|e| e.with_kind(Kind::Corrupt))?;
        // Before any layer is fetched.
        json::parse::<ImageConfig>(&image.configuration(Vec::new())).map_err(|e| e.with_kind(Kind::Corrupt))?;
        Ok(image)
    }

    /// What it says it is for.
    pub(super) fn platform(&self) -> Platform {
        let word = |key: &str| self.config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Platform { os: word("os"), architecture: word("architecture"), variant: word("variant") }.normalised()
    }

    /// The configuration as docker makes it: that of the topmost layer, with the layers and the history of all. The same
    /// layers give the same bytes.
    pub fn configuration(&self, diff_ids: Vec<String>) -> Vec<u8> {
        let mut config = self.config.clone();
        config.retain(|key, _| !OF_THE_LAYER.contains(&key.as_str()));
        let rootfs = RootFs { kind: "layers".into(), diff_ids };
        config.insert("rootfs".into(), json::to_value(&rootfs));
        config.insert("history".into(), json::to_value(&self.history));
        json::to_vec(&config)
    }
}

impl Step {
    fn history(self) -> History {
        let command = self.container_config.and_then(|c| c.cmd).unwrap_or_default();
        History {
            created: self.created,
            created_by: command.join(" "),
            author: self.author,
            comment: self.comment,
            empty_layer: self.throwaway,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A manifest: per layer, topmost first, blob, id and further fields.
    fn manifest(layers: &[(&str, &str, Value)]) -> Vec<u8> {
        let mut history = Vec::new();
        for (n, (_, id, more)) in layers.iter().enumerate() {
            let mut step = json!({"id": id.repeat(64), "os": "linux"});
            if let Some((_, parent, _)) = layers.get(n + 1) {
                step["parent"] = json!(parent.repeat(64));
            }
            for (key, value) in more.as_object().unwrap() {
                step[key] = value.clone();
            }
            history.push(json!({"v1Compatibility": String::from_utf8(json::to_vec(&step)).unwrap()}));
        }
        let layers: Vec<Value> =
            layers.iter().map(|(blob, ..)| json!({"blobSum": format!("sha256:{}", blob.repeat(64))})).collect();
        json::to_vec(&json!({"schemaVersion": 1, "name": "a/b", "tag": "v1", "fsLayers": layers, "history": history}))
    }

    /// With these texts as protected headers in the place of the last brace.
    fn signed(payload: &[u8], protected: &[&str]) -> Vec<u8> {
        let signature =
            |text: &&str| json!({"header": {}, "signature": "x", "protected": URL_SAFE_NO_PAD.encode(text)});
        let signatures: Vec<Value> = protected.iter().map(signature).collect();
        let mut bytes = payload[..payload.len() - 1].to_vec();
        bytes.extend(b",\n   \"signatures\": ");
        bytes.extend(json::to_vec(&signatures));
        bytes.push(b'}');
        bytes
    }

    #[test]
    fn payloads() {
        let plain = manifest(&[("a", "1", json!({}))]);
        assert_eq!(payload(plain.clone()).unwrap(), plain);
        let header = |length: usize, tail: &str| {
            format!("{{\"formatLength\":{length},\"formatTail\":\"{}\",\"time\":\"x\"}}", URL_SAFE_NO_PAD.encode(tail))
        };
        let good = header(plain.len() - 1, "}");
        assert_eq!(payload(signed(&plain, &[&good, &good])).unwrap(), plain);
        let other = header(plain.len() - 2, "}");
        let far = header(1 << 30, "}");
        for protected in [&[&good[..], &other][..], &[&far], &["{}"], &["x"], &[""]] {
            assert_eq!(payload(signed(&plain, protected)).unwrap_err().kind(), Kind::Corrupt, "{protected:?}");
        }
        // Of another schema all bytes count, whatever they say.
        let newer = json::to_vec(&json!({"schemaVersion": 2, "signatures": [{"protected": "x"}]}));
        assert_eq!(payload(newer.clone()).unwrap(), newer);
        assert_eq!(payload(b"{".to_vec()).unwrap(), b"{");
    }

    #[test]
    fn the_configuration_is_of_the_topmost_layer() {
        let bytes = manifest(&[
            (
                "e",
                "3",
                json!({"throwaway": true, "config": {"Cmd": ["sh"]}, "Size": 7, "created": "c",
                "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop)"]}}),
            ),
            ("b", "2", json!({"author": "me", "comment": "d"})),
            ("a", "1", json!({"config": {"Cmd": ["other"]}})),
        ]);
        let image = Image::parse(&bytes).unwrap();
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        assert_eq!((image.name.as_str(), image.tag.as_str()), ("a/b", "v1"));
        assert_eq!(image.layers, [digest("a"), digest("b")]);
        let config: Value = json::parse(&image.configuration(vec![digest("8"), digest("9")])).unwrap();
        let want = json!({"os": "linux", "config": {"Cmd": ["sh"]}, "created": "c",
            "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop)"]},
            "rootfs": {"type": "layers", "diff_ids": [digest("8"), digest("9")]},
            "history": [{}, {"author": "me", "comment": "d"},
                {"created": "c", "created_by": "/bin/sh -c #(nop)", "empty_layer": true}]});
        assert_eq!(config, want);
    }

    #[test]
    fn layers_build_upon_each_other() {
        let twice =
            manifest(&[("b", "2", json!({})), ("a", "1", json!({"parent": "1".repeat(64)})), ("a", "1", json!({}))]);
        assert_eq!(Image::parse(&twice).unwrap().layers.len(), 2);
        for layers in [
            vec![],
            vec![("a", "x", json!({}))],
            vec![("../", "1", json!({}))],
            vec![("a", "1", json!({"parent": "2".repeat(64)}))],
            vec![("b", "2", json!({"parent": "3".repeat(64)})), ("a", "1", json!({}))],
            vec![("b", "2", json!({"parent": ""})), ("a", "1", json!({}))],
        ] {
            assert_eq!(Image::parse(&manifest(&layers)).unwrap_err().kind(), Kind::Corrupt, "{layers:?}");
        }
        let mut short: Value = json::parse(&twice).unwrap();
        short["history"].as_array_mut().unwrap().pop();
        assert!(Image::parse(&json::to_vec(&short)).unwrap_err().to_string().contains("3 layers and a history of 2"));
        short["history"][0]["v1Compatibility"] = json!("[]");
        short["fsLayers"].as_array_mut().unwrap().pop();
        assert_eq!(Image::parse(&json::to_vec(&short)).unwrap_err().kind(), Kind::Corrupt);
    }
}
