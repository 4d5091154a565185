//! Certificates and keys from files in PEM form.

use crate::error::{Context, Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;

/// Larger than any bundle of authorities.
const FILE_LIMIT: u64 = 4 << 20;

/// All certificates of a file.
///
/// # Errors
/// `Kind::Invalid` naming a file that holds none, or something that is none; the failing call.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let list = CertificateDer::pem_slice_iter(&bytes)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::invalid(format!("{path:?} is not a certificate in PEM form: {e}")))?;
    if list.is_empty() {
        return Err(Error::invalid(format!("{path:?} holds no certificate in PEM form")));
    }
    Ok(list)
}

/// A certificate with those behind it, its key, and that as it stood in its file.
pub struct Pair {
    /// Ours first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first.
    pub key: PrivateKeyDer<'static>,
    /// Bytes of the key's file.
    pub key_file: Vec<u8>,
}

/// A certificate and its key. That they belong together is checked here, because the library takes it on trust.
///
/// # Errors
/// As [`certificates`], and `Kind::Invalid` for a key that is none, or that of another certificate.
pub fn pair(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Pair> {
    let chain = certificates(certificate)?;
    let key_file = read(key)?;
    let bad = |e: &dyn std::fmt::Display| Error::invalid(format!("{key:?} is not the key of {certificate:?}: {e}"));
    let parsed = PrivateKeyDer::from_pem_slice(&key_file).map_err(|e| bad(&e))?;
    CertifiedKey::from_der(chain.clone(), parsed.clone_key(), provider).map_err(|e| bad(&e))?;
    Ok(Pair { chain, key: parsed, key_file })
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
