//! Whom to trust and who we are: the system's authorities, and those of one registry.

use crate::error::{Context, Error, Result};
use crate::utils::order;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
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

/// Larger than any bundle.
const FILE_LIMIT: u64 = 4 << 20;

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
    let bytes = read(path)?;
    let roots: Roots = CertificateDer::pem_slice_iter(&bytes)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::invalid(format!("{path:?} is not a certificate in PEM form: {e}")))?
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    if roots.is_empty() {
        return Err(Error::invalid(format!("{path:?} holds no certificate in PEM form")));
    }
    Ok(roots)
}

/// A certificate with the key beside it. Checked here, because the TLS library takes it on trust and panics.
fn client(path: &Path, provider: &CryptoProvider) -> Result<ClientCert> {
    let key_path = path.with_extension("key");
    if !key_path.exists() {
        let rule = "certificates of authorities end in .crt";
        return Err(Error::invalid(format!("{path:?} has no key: want {key_path:?} ({rule})")));
    }
    let chain = certificates(path)?;
    let pem = read(&key_path)?;
    let bad = |e: &dyn std::fmt::Display| Error::invalid(format!("{key_path:?} is not the key of {path:?}: {e}"));
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| bad(&e))?;
    let ders = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
    CertifiedKey::from_der(ders, key, provider).map_err(|e| bad(&e))?;
    let key = PrivateKey::from_pem(&pem).map_err(|e| bad(&e))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path).context(|| format!("open({path:?})"))?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(Error::invalid(format!("{path:?} is larger than {FILE_LIMIT} bytes")));
    }
    Ok(bytes)
}
