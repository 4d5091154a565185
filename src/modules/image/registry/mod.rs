//! Registries: from a reference to an image's documents and the bytes of its layers (OCI distribution specification 1.1,
//! and the older API of docker that it grew from).
//!
//! What a registry sends is believed only as far as a digest reaches. Nothing is stored here: a pull resolves a
//! reference and reads the blobs it lacks, each of which ends in an error unless it is, to the last byte, the one that
//! was asked for.

mod address;
mod cancel;
mod client;
mod proxy;

pub use cancel::Cancel;
pub use client::{Configuration, Layer, Registry, Resolved};
pub use proxy::{ProxySettings, masked};

use super::credentials::Store;
use std::path::PathBuf;

/// What a daemon is configured with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Asked in this order before docker's own registry, for names without a host: `HOST[:PORT]`, with `https://` before
    /// it or `http://`, which means that this mirror is asked without TLS.
    pub mirrors: Vec<String>,
    /// `HOST[:PORT]`, or networks in CIDR form for hosts given by address: asked by TLS without verification, and when
    /// that fails without TLS.
    pub insecure: Vec<String>,
    /// No certificate of any registry is verified.
    pub skip_verify: bool,
    /// A directory with a subdirectory per `HOST[:PORT]`: authorities `*.crt`, and pairs of `NAME.cert` and `NAME.key` with
    /// which this machine shows who it is.
    pub certificates: PathBuf,
    /// How often a request is made that brings nothing, in all. Unless it is set, over half a minute.
    pub attempts: Option<u32>,
    /// Proxies and exceptions.
    pub proxy: ProxySettings,
    /// Asked for the credentials of mirrors. Those for the registry that a reference names are given with the reference.
    pub credentials: Option<Store>,
}
