//! What `GET /events` streams, one document a line (Docker Engine API, SystemEvents).

use crate::utils::json::Object;
use serde::Serialize;
use std::collections::BTreeMap;

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default)]
pub struct Message {
    /// The action again, as clients before API 1.22 read it; for containers and images.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// The actor's id again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// A container's image again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image` or `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened: `create`, `die`, `exec_start: ls` …
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Unix seconds.
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// Whom an event is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Actor {
    /// 64 digits, or the name of an image or volume.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name, image, labels, exit code …
    pub attributes: BTreeMap<String, String>,
}
