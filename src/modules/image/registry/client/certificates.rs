//! Whom to trust and who we are: the system's authorities, and those of one registry.

use crate::error::{Context, Error, Result};
use crate::utils::order;
use crate::utils::tls::pem;
use rustls::crypto::CryptoProvider;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Where distributions keep their bundle, by how usual they are on boards.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
];

type Roots = Vec<Certificate<'static>>;

/// The system's authorities, from `SSL_CERT_FILE` or the usual places. `None` when the system has none: then those that
/// are built in count.
///
/// # Errors
/// When `SSL_CERT_FILE` names a file that cannot be read or holds none. Other bundles are passed over.
pub(super) fn system_roots() -> Result<Option<Arc<Roots>>> {
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|p| !p.is_empty()) {
        let path = PathBuf::from(path);
        let roots = certificates(&path).context(|| "SSL_CERT_FILE".into())?;
        return Ok(Some(Arc::new(roots)));
    }
    Ok(BUNDLES.iter().find_map(|path| certificates(Path::new(path)).ok()).map(Arc::new))
}

/// What is kept for one registry.
#[derive(Default)]
pub(super) struct Own {
    roots: Roots,
    client: Option<ClientCert>,
}

/// Reads `certs.d/HOST[:PORT]`.
///
/// # Errors
/// For a file that is not what its name says, and for a certificate without its key.
pub(super) fn own(directory: &Path, provider: &CryptoProvider) -> Result<Own> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).context(|| format!("open({directory:?})"))? {
        paths.push(entry.context(|| format!("getdents({directory:?})"))?.path());
    }
    // The first pair by name is the one that is shown.
    order::sort(&mut paths);
    let mut own = Own::default();
    for path in &paths {
        match path.extension().and_then(|e| e.to_str()) {
            Some("crt") => own.roots.extend(certificates(path)?),
            Some("cert") if own.client.is_none() => own.client = Some(client(path, provider)?),
            Some("key") if !path.with_extension("cert").exists() => {
                let want = path.with_extension("cert");
                return Err(Error::invalid(format!("{path:?} has no certificate: want {want:?}")));
            }
            _ => {}
        }
    }
    Ok(own)
}

/// The TLS settings for a registry.
pub(super) fn config(provider: &Arc<CryptoProvider>, system: Option<Arc<Roots>>, own: Own, verify: bool) -> TlsConfig {
    let roots = match (system, own.roots.is_empty()) {
        (Some(system), true) => RootCerts::Specific(system),
        // One who names an authority for a registry wants it besides the others.
        (system, false) => {
            let system = system.iter().flat_map(|list| list.iter().cloned());
            RootCerts::Specific(Arc::new(system.chain(own.roots).collect()))
        }
        (None, true) => RootCerts::WebPki,
    };
    TlsConfig::builder()
        .root_certs(roots)
        .client_cert(own.client)
        .disable_verification(!verify)
        .unversioned_rustls_crypto_provider(provider.clone())
        .build()
}

/// All certificates of a file in PEM form.
fn certificates(path: &Path) -> Result<Roots> {
    Ok(pem::certificates(path)?.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

/// A certificate with the key beside it.
fn client(path: &Path, provider: &CryptoProvider) -> Result<ClientCert> {
    let key_path = path.with_extension("key");
    if !key_path.exists() {
        let rule = "certificates of authorities end in .crt";
        return Err(Error::invalid(format!("{path:?} has no key: want {key_path:?} ({rule})")));
    }
    let own = pem::pair(path, &key_path, provider)?;
    let bad = |e: &dyn std::fmt::Display| Error::invalid(format!("{key_path:?} is not the key of {path:?}: {e}"));
    let chain: Roots = own.chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(ClientCert::new_with_certs(&chain, PrivateKey::from_pem(&own.key_file).map_err(|e| bad(&e))?))
}
