//! Docker's forms of credentials: `config.json` and the `X-Registry-Auth` header.

use super::{Credentials, DOCKER_HOST, DOCKER_KEY, Secret, normalise};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::json::Object;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;

/// Clients pad and do not pad.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// What docker keeps for a registry, in the file and in the header alike.
#[derive(Object, Default)]
#[serde(default)]
struct Entry {
    /// Base 64 of `USER:PASSWORD`.
    auth: String,
    username: String,
    password: String,
    #[serde(alias = "identityToken")]
    identitytoken: String,
    #[serde(alias = "registryToken")]
    registrytoken: String,
    #[serde(alias = "serverAddress")]
    serveraddress: String,
}

impl Entry {
    /// What is in it, if anything.
    fn credentials(self) -> Result<Option<Credentials>> {
        let (mut user, mut password) = (self.username, self.password);
        if !self.auth.is_empty() {
            let text = decode(&GeneralPurpose::new(&STANDARD, LENIENT), self.auth.as_bytes())?;
            // Some writers end it with a zero byte.
            let text = String::from_utf8(text).map_err(|_| Error::invalid("an \"auth\" that is not text"))?;
            let (u, p) = text.split_once(':').ok_or_else(|| Error::invalid("an \"auth\" without a colon"))?;
            (user, password) = (u.to_owned(), p.trim_end_matches('\0').to_owned());
        }
        let secret = if !self.identitytoken.is_empty() {
            Secret::IdentityToken(self.identitytoken)
        } else if !self.registrytoken.is_empty() {
            Secret::RegistryToken(self.registrytoken)
        } else if !user.is_empty() || !password.is_empty() {
            Secret::Password(password)
        } else {
            return Ok(None);
        };
        Ok(Some(Credentials { user, secret }))
    }
}

/// The errors of the decoder repeat bytes of what they decode, which is secret here.
fn decode(engine: &GeneralPurpose, bytes: &[u8]) -> Result<Vec<u8>> {
    engine.decode(bytes).map_err(|_| Error::invalid("not base 64"))
}

/// The value of an `X-Registry-Auth` header (Docker Engine API, "Authentication"): base 64 for URLs of a JSON document.
/// `None` for an empty one, which clients send for anonymous pulls. With the server it is for, when it names one.
///
/// # Errors
/// `Kind::Invalid`; the text does not repeat the value.
pub fn parse_header(value: &str) -> Result<Option<(Option<String>, Credentials)>> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let bad = || "invalid X-Registry-Auth header".to_owned();
    // Old clients use the other alphabet.
    let alphabet = if value.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    let bytes = decode(&GeneralPurpose::new(alphabet, LENIENT), value.as_bytes()).context(bad)?;
    if bytes == b"null" {
        return Ok(None);
    }
    let entry: Result<Entry> = json::parse(&bytes);
    let mut entry = entry.map_err(|_| Error::invalid("not a JSON document")).context(bad)?;
    let server = std::mem::take(&mut entry.serveraddress);
    let server = Some(server).filter(|s| !s.is_empty()).map(|s| normalise(&s));
    Ok(entry.credentials().context(bad)?.map(|credentials| (server, credentials)))
}

#[derive(Object, Default)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

/// The credentials for a host in a document of the form of docker's `~/.docker/config.json`.
///
/// # Errors
/// `Kind::Invalid` for a broken document; `Kind::Unsupported` naming the credential helper that would have them.
pub fn parse_config(bytes: &[u8], host: &str) -> Result<Option<Credentials>> {
    // The parser's errors quote what they stumble over.
    let bad = |_| Error::invalid("not a document of the form of docker's config.json");
    let config: Config = json::parse(bytes).map_err(bad)?;
    let host = normalise(host);
    let is_it = |key: &String| normalise(key) == host;
    if let Some((_, helper)) = config.cred_helpers.iter().find(|(key, _)| is_it(key)) {
        return Err(helper_error(&host, helper));
    }
    // The exact key first: a file may hold others that mean the same host.
    let exact = if host == DOCKER_HOST { DOCKER_KEY } else { host.as_str() };
    let mut auths = config.auths;
    let key = if auths.contains_key(exact) { Some(exact.to_owned()) } else { auths.keys().find(|k| is_it(k)).cloned() };
    let mentioned = key.is_some();
    let found = match key.and_then(|key| auths.remove(&key)) {
        Some(entry) => entry.credentials().context(|| format!("the entry of {host:?}"))?,
        None => None,
    };
    // Docker leaves an empty entry for what its store keeps.
    if found.is_none() && mentioned && !config.creds_store.is_empty() {
        return Err(helper_error(&host, &config.creds_store));
    }
    Ok(found)
}

fn helper_error(host: &str, helper: &str) -> Error {
    let text = format!("the credentials for {host:?} are kept by the helper docker-credential-{helper}");
    Error::new(Kind::Unsupported, text + ": helpers are not run here; use isula login")
}
