//! Credentials on disk: `auths.json` in docker's shape with each entry sealed, and `aeskey` beside it, both for root only.

use super::seal::Key;
use super::{Credentials, Secret, normalise, parse_config};
use crate::error::{Context, Error, Result};
use crate::utils::atomic_file::{Durability, remove_temporaries, replace};
use crate::utils::file_lock::FileLock;
use crate::utils::json;
use crate::utils::json::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Registries one can be logged in to; a file with more is not one.
const ENTRIES: usize = 1000;
/// For another login that is being written.
const PATIENCE: Duration = Duration::from_secs(10);

const FILE: &str = "auths.json";
/// Largest file of credentials.
const LARGEST: u64 = 4 << 20;

/// A directory of credentials. Cheap: nothing is read before it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Store {
    directory: PathBuf,
    /// Docker's file, asked for what is not here.
    docker: Option<PathBuf>,
}

/// `auths.json`.
#[derive(Serialize, Object, Default)]
#[serde(default)]
struct File {
    auths: BTreeMap<String, Entry>,
}

#[derive(Serialize, Object, Default)]
#[serde(default)]
struct Entry {
    /// Base 64 of the sealed [`Plain`].
    auth: String,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Plain {
    user: String,
    #[serde(flatten)]
    secret: PlainSecret,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlainSecret {
    Password(String),
    IdentityToken(String),
    RegistryToken(String),
}

impl Store {
    /// The directory (the original's is `/root/.isulad`) need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Store {
        Store { directory: directory.into(), docker: None }
    }

    /// Also reads docker's `config.json` at `path`, which need not exist. Nothing is ever written there.
    pub fn with_docker(self, path: impl Into<PathBuf>) -> Store {
        Store { docker: Some(path.into()), ..self }
    }

    /// The credentials for a registry, by any spelling of its host.
    ///
    /// # Errors
    /// `Kind::Corrupt` when they were not written with the key that is there; the text asks for a new login. Of docker's
    /// file see [`parse_config`].
    pub fn get(&self, server: &str) -> Result<Option<Credentials>> {
        let host = normalise(server);
        let Some(entry) = self.load()?.auths.remove(&host) else {
            let Some(path) = &self.docker else { return Ok(None) };
            let bytes = read(path)?;
            return bytes.map_or(Ok(None), |bytes| parse_config(&bytes, &host).context(|| format!("{path:?}")));
        };
        let again = || format!("the stored credentials for {host:?} cannot be read: log in again");
        let key = Key::load(&self.key())?.ok_or_else(|| Error::corrupt("the key file is missing")).context(again)?;
        let sealed = STANDARD.decode(&entry.auth).map_err(|_| Error::corrupt("not base 64")).context(again)?;
        let plain = key.open(&sealed, &host).context(again)?;
        let plain: Plain =
            json::parse_enum(&plain).map_err(|_| Error::corrupt("not a JSON document")).context(again)?;
        let secret = match plain.secret {
            PlainSecret::Password(s) => Secret::Password(s),
            PlainSecret::IdentityToken(s) => Secret::IdentityToken(s),
            PlainSecret::RegistryToken(s) => Secret::RegistryToken(s),
        };
        Ok(Some(Credentials { user: plain.user, secret }))
    }

    /// Keeps credentials, in the place of older ones. On disk when it returns.
    ///
    /// # Errors
    /// The failing call; the older ones are there then.
    pub fn set(&self, server: &str, credentials: &Credentials) -> Result<()> {
        let directory = &self.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).context(|| format!("mkdir({directory:?})"))?;
        let _lock = self.lock()?;
        let mut file = self.load()?;
        let host = normalise(server);
        if file.auths.len() >= ENTRIES && !file.auths.contains_key(&host) {
            return Err(Error::conflict(format!("credentials for {ENTRIES} registries are kept already")));
        }
        let secret = match credentials.secret.clone() {
            Secret::Password(s) => PlainSecret::Password(s),
            Secret::IdentityToken(s) => PlainSecret::IdentityToken(s),
            Secret::RegistryToken(s) => PlainSecret::RegistryToken(s),
        };
        let plain = json::to_vec(&Plain { user: credentials.user.clone(), secret });
        let key = match Key::load(&self.key())? {
            Some(key) => key,
            None => Key::create(&self.key())?,
        };
        let auth = STANDARD.encode(key.seal(&plain, &host)?);
        file.auths.insert(host, Entry { auth });
        self.save(&file)
    }

    /// Forgets the credentials of a registry. Says whether there were any.
    ///
    /// # Errors
    /// The failing call.
    pub fn remove(&self, server: &str) -> Result<bool> {
        if !self.path().exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut file = self.load()?;
        let found = file.auths.remove(&normalise(server)).is_some();
        if found {
            self.save(&file)?;
        }
        Ok(found)
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn key(&self) -> PathBuf {
        self.directory.join("aeskey")
    }

    fn lock(&self) -> Result<FileLock> {
        FileLock::exclusive(&self.directory.join("auths.lock"), PATIENCE)
    }

    fn load(&self) -> Result<File> {
        let path = self.path();
        let Some(bytes) = read(&path)? else { return Ok(File::default()) };
        // The parser's errors quote what they stumble over.
        json::parse(&bytes).map_err(|_| Error::corrupt(format!("{path:?} is not a file of credentials")))
    }

    fn save(&self, file: &File) -> Result<()> {
        // A copy that an interrupted login left would outlive the logout.
        remove_temporaries(&self.directory, |name| name == FILE)?;
        replace(&self.path(), &json::to_vec(file), 0o600, Durability::Durable)
    }
}

/// A file's content; `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| format!("open({path:?})"))?,
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    match bytes.len() as u64 > LARGEST {
        true => Err(Error::corrupt(format!("{path:?} is larger than {LARGEST} bytes"))),
        false => Ok(Some(bytes)),
    }
}
