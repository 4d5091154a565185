//! The manifest (the original's format, schema version 1), and the rules that need no look at the machine.
//!
//! The first layer is the root. A further one is mounted where it says, read-only; without such a place, which is ours,
//! it lies upon those before it, as the layers of other images do.

use crate::api::oci::image::ExecutionConfig;
use crate::error::{Error, Result};
use crate::modules::image::reference::Reference;
use crate::utils::json::Object;
use crate::utils::path::clean;
use crate::utils::time::Timestamp;
use crate::utils::{digest, json};
use std::collections::BTreeMap;

const MEDIA_TYPE: &str = "application/embedded.manifest+json";
const SQUASHFS: &str = "application/squashfs.image.rootfs.diff.img";
const DIRECTORY: &str = "application/bind.image.rootfs.diff.dir";
const SCHEMA_VERSION: i64 = 1;
/// As the original.
const LAYERS: usize = 125;

/// A manifest.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[serde(default, rename_all = "camelCase")]
pub struct Manifest {
    schema_version: i64,
    media_type: String,
    /// With tag.
    pub image_name: String,
    /// RFC 3339.
    pub created: String,
    config: Config,
    /// The root first.
    pub layers: Vec<Layer>,
}

/// What runs. The original has the three that it writes in capitals.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[serde(default)]
struct Config {
    #[serde(rename = "ENV", alias = "Env", alias = "env")]
    env: Option<Vec<String>>,
    #[serde(rename = "ENTRYPOINT", alias = "Entrypoint", alias = "entrypoint")]
    entrypoint: Option<Vec<String>>,
    #[serde(rename = "CMD", alias = "Cmd", alias = "cmd")]
    cmd: Option<Vec<String>>,
    #[serde(rename = "WORKDIR", alias = "WorkingDir", alias = "workdir")]
    workdir: String,
    #[serde(rename = "USER", alias = "User", alias = "user")]
    user: String,
    #[serde(rename = "STOPSIGNAL", alias = "StopSignal", alias = "stopSignal")]
    stop_signal: String,
    #[serde(rename = "LABELS", alias = "Labels", alias = "labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// A layer.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[serde(default, rename_all = "camelCase")]
pub struct Layer {
    /// One of two.
    pub media_type: String,
    /// Bytes, for people: the original does not compare it with anything.
    pub size: i64,
    /// `sha256:…` of the file; empty when nobody wants to know.
    pub digest: String,
    /// Where it is.
    pub path_in_host: String,
    /// Where it is mounted.
    pub path_in_container: String,
}

/// What a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A squashfs in a file or on a block device.
    Squashfs,
    /// A directory.
    Directory,
}

impl Layer {
    /// Its form, when its media type is known.
    pub fn form(&self) -> Option<Form> {
        match self.media_type.as_str() {
            SQUASHFS => Some(Form::Squashfs),
            DIRECTORY => Some(Form::Directory),
            _ => None,
        }
    }

    /// Where it is mounted; `None` for what the root is made of.
    pub fn place(&self) -> Option<String> {
        Some(&self.path_in_container).filter(|path| !path.is_empty()).map(|path| clean(path))
    }
}

/// Something that the manifest must not say.
pub fn fault(text: impl std::fmt::Display) -> Error {
    Error::invalid(format!("Invalid content in manifest: {text}"))
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// `Kind::Invalid` for what is none.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        json::parse(bytes).map_err(|e| fault(format!("parse manifest as a json file failed: {e}")))
    }

    /// Checks it.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule.
    pub fn check(&self) -> Result<()> {
        if self.layers.is_empty() || self.layers.len() > LAYERS {
            let n = self.layers.len();
            return Err(fault(format!("layer empty or max depth exceeded: {n}, want 1 to {LAYERS}")));
        }
        if self.schema_version != SCHEMA_VERSION {
            return Err(fault(format!("schema version must be {SCHEMA_VERSION}, not {}", self.schema_version)));
        }
        if self.media_type != MEDIA_TYPE {
            return Err(fault(format!("manifest's media type must be {MEDIA_TYPE}, not {:?}", self.media_type)));
        }
        self.name()?;
        if Timestamp::parse_rfc3339(&self.created).is_err() {
            return Err(fault(format!("invalid created time {:?}", self.created)));
        }
        for (n, layer) in self.layers.iter().enumerate() {
            layer.check(n).map_err(|text| fault(format!("{text} (layer {n})")))?;
        }
        let places: Vec<String> = self.layers.iter().filter_map(Layer::place).collect();
        if let Some(twice) = places.iter().enumerate().find(|(n, place)| places[..*n].contains(place)) {
            return Err(fault(format!("two layers are mounted on {:?}", twice.1)));
        }
        Ok(())
    }

    /// The image's name, normalised.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule.
    pub fn name(&self) -> Result<String> {
        let name = &self.image_name;
        if name.is_empty() {
            return Err(fault("image name not exist"));
        }
        if matches!(name.as_str(), "none" | "none:latest") {
            let text = "Image name 'none' or 'none:latest' in manifest is reserved, please use other name";
            return Err(Error::invalid(text));
        }
        // Only here is there no default for the tag.
        match Reference::parse(name) {
            Ok(Reference { tag: Some(_), digest: None, .. }) => Ok(Reference::parse_name(name)?.normalised()),
            Ok(_) => Err(fault(format!("invalid image name {name:?}: want NAME:TAG"))),
            Err(e) => Err(fault(format!("invalid image name {name:?}: {e}"))),
        }
    }

    /// What runs, in the form that other images have.
    pub fn execution_config(&self) -> ExecutionConfig {
        let config = self.config.clone();
        ExecutionConfig {
            user: config.user,
            env: config.env,
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            working_dir: config.workdir,
            labels: config.labels,
            stop_signal: config.stop_signal,
            ..ExecutionConfig::default()
        }
    }
}

impl Layer {
    fn check(&self, n: usize) -> std::result::Result<(), String> {
        if self.size < 0 {
            return Err("layer's size must not be negative number".into());
        }
        let Some(form) = self.form() else {
            let media_type = &self.media_type;
            return Err(format!("layer's media type must be {SQUASHFS} or {DIRECTORY}, not {media_type:?}"));
        };
        if self.path_in_host.is_empty() || self.path_in_host.contains('\0') {
            return Err("layer path in host must not be empty".into());
        }
        if !self.digest.is_empty() {
            if form == Form::Directory {
                return Err(format!("layer digest must be empty if mediaType is {DIRECTORY}"));
            }
            digest::parse(&self.digest).map_err(|e| format!("layer has invalid digest: {e}"))?;
        }
        match &self.path_in_container {
            path if path.is_empty() => Ok(()),
            _ if n == 0 => Err("first layer path in container must be empty".into()),
            path if !path.starts_with('/') => {
                Err("layer path in container(except first layer) must be absolute path".into())
            }
            path if path.contains('\0') || clean(path) == "/" => {
                Err("layer path in container must not be the root".into())
            }
            _ => Ok(()),
        }
    }
}
