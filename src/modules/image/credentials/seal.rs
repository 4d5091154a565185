//! Encryption at rest: AES-256-GCM (NIST SP 800-38D) with a key in a file of its own, as the original keeps one. It
//! guards copies of the one file (backups, bug reports), not against root.

use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{Durability, replace};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::path::Path;

const KEY_LENGTH: usize = 32;

/// The key of a file.
pub(super) struct Key(LessSafeKey);

impl Key {
    /// Reads a key; `None` when there is no such file.
    pub(super) fn load(path: &Path) -> Result<Option<Key>> {
        match std::fs::read(path) {
            Ok(bytes) => Key::new(path, &bytes).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).context(|| format!("read({path:?})")),
        }
    }

    /// Makes a key and its file, durable, readable by its owner only.
    pub(super) fn create(path: &Path) -> Result<Key> {
        let mut bytes = [0u8; KEY_LENGTH];
        random(&mut bytes)?;
        replace(path, &bytes, 0o600, Durability::Durable)?;
        Key::new(path, &bytes)
    }

    fn new(path: &Path, bytes: &[u8]) -> Result<Key> {
        let bad = |_| Error::corrupt(format!("{path:?} is not a key of {KEY_LENGTH} bytes"));
        Ok(Key(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(bad)?)))
    }

    /// Encrypts. `purpose` is authenticated with it: what is sealed for one does not open for another.
    pub(super) fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>> {
        let mut nonce = [0u8; NONCE_LEN];
        random(&mut nonce)?;
        let mut out = plain.to_vec();
        let sealed = self.0.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce), // random: 2^32 of them before a repetition is to be feared
            Aad::from(purpose.as_bytes()),
            &mut out,
        );
        sealed.map_err(|_| Error::internal("AES-256-GCM refused to seal"))?;
        out.splice(..0, nonce);
        Ok(out)
    }

    /// Decrypts.
    ///
    /// # Errors
    /// `Kind::Corrupt` when it was not sealed with this key for this purpose.
    pub(super) fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>> {
        let bad = || Error::new(Kind::Corrupt, "not sealed with this key");
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(bad)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| bad())?;
        let mut buffer = rest.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut buffer).map_err(|_| bad())?;
        Ok(plain.to_vec())
    }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    crate::utils::sys::random::fill(bytes).map_err(|e| Error::io("getrandom()", e))
}
