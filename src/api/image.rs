//! Images in the Docker Engine API.

use super::container::GraphDriver;
use super::oci::image::{ExecutionConfig, ImageConfig};
use crate::utils::json::Object;
use serde::Serialize;
use std::collections::BTreeMap;

/// One row of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// `sha256:…`.
    pub id: String,
    /// Parent image.
    pub parent_id: String,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// `name@digest`.
    pub repo_digests: Vec<String>,
    /// Unix seconds.
    pub created: i64,
    /// Bytes, unpacked.
    pub size: i64,
    /// -1: not computed.
    pub shared_size: i64,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// -1: not computed.
    pub containers: i64,
}

/// Answer to `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:…`.
    pub id: String,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// `name@digest`.
    pub repo_digests: Vec<String>,
    /// Parent image.
    pub parent: String,
    /// Comment of the last history entry.
    pub comment: String,
    /// RFC 3339.
    pub created: String,
    /// Who made it.
    pub author: String,
    /// Execution defaults.
    pub config: ExecutionConfig,
    /// GOARCH.
    pub architecture: String,
    /// GOARM and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// GOOS.
    pub os: String,
    /// Bytes, unpacked.
    pub size: i64,
    /// Storage driver data.
    pub graph_driver: GraphDriver,
    /// Layers.
    #[serde(rename = "RootFS")]
    pub rootfs: InspectRootFs,
    /// When it came here.
    pub metadata: BTreeMap<String, String>,
    /// Of an embedded image. Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded: Option<InspectEmbedded>,
    /// What the original prints for an image.
    #[serde(rename = "image", skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalInspect>,
}

/// What an embedded image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectEmbedded {
    /// Its file; empty when it came as text.
    pub manifest: String,
    /// The root first.
    pub layers: Vec<InspectEmbeddedLayer>,
    /// What is wrong with its layers now; empty when nothing is.
    pub damage: String,
}

/// A layer of an embedded image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectEmbeddedLayer {
    /// As the manifest says.
    pub media_type: String,
    /// Bytes.
    pub size: i64,
    /// `sha256:…`; empty when the manifest has none.
    pub digest: String,
    /// Where it is, without links.
    pub path_in_host: String,
    /// Where it is mounted; empty for what the root is made of.
    pub path_in_container: String,
}

/// Layers as docker's inspect shows them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct InspectRootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `sha256:…`.
    pub layers: Vec<String>,
}

/// What the original prints for an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct OriginalInspect {
    /// 64 digits, no prefix.
    pub id: String,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// `name@digest`.
    pub repo_digests: Vec<String>,
    /// Chain id of the topmost layer.
    pub top_layer: String,
    /// Bytes, unpacked.
    pub size: i64,
    /// RFC 3339.
    pub created: String,
    /// RFC 3339.
    pub loaded: String,
    /// Image configuration.
    #[serde(rename = "Spec")]
    pub spec: ImageConfig,
}

/// One step of the answer to `GET /images/{name}/history`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct HistoryEntry {
    /// `sha256:…` of the image for the newest step, `<missing>` for the others.
    pub id: String,
    /// Unix seconds; [`NEVER`] when the image does not say.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// `name:tag` of the image, at the newest step.
    pub tags: Option<Vec<String>>,
    /// Bytes of the step's layer, unpacked.
    pub size: i64,
    /// Free text.
    pub comment: String,
}

/// The first moment of Go's calendar, which stands for no time at all.
pub const NEVER: i64 = -62_135_596_800;

/// Answer to `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct PruneResponse {
    /// What is gone; `None`, as docker has it, for nothing.
    pub images_deleted: Option<Vec<DeleteEntry>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One entry of the answer to `DELETE /images/{name}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeleteEntry {
    /// A name that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    /// An image or layer that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

/// An image that a search found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct SearchResult {
    /// Name to pull by, without the registry's host.
    pub name: String,
    /// Free text.
    pub description: String,
    /// How many like it.
    pub star_count: i64,
    /// Whether docker vouches for it.
    pub is_official: bool,
    /// Whether it is built from sources that the registry knows.
    pub is_automated: bool,
}

/// One line of a progress stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct ProgressLine {
    /// Text for the user, with its line end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How far it is, drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// How far it is, in numbers.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// The end with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same with a code, for newer clients.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub error_detail: Option<super::error::ErrorBody>,
}

/// How far a download is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct ProgressDetail {
    /// Those that came.
    pub current: u64,
    /// All.
    pub total: u64,
}

/// Body of `POST /auth` (Docker Engine API) and of `POST /isula/login`, which also keeps what it was given, on the
/// daemon's machine.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "lowercase")]
pub struct AuthRequest {
    /// Who.
    pub username: String,
    /// What proves it.
    pub password: String,
    /// `HOST[:PORT]` of the registry, or a URL.
    pub serveraddress: String,
}

impl std::fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthRequest({:?} at {:?})", self.username, self.serveraddress)
    }
}

/// Answer to `POST /auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    /// For the user.
    pub status: String,
    /// Always empty here: the password stays the proof.
    pub identity_token: String,
}
