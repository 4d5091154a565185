//! The registry client.
//!
//! | file | does |
//! | --- | --- |
//! | `endpoint` | whom to ask, in which order |
//! | `transport`, `certificates`, `forward` | one request: connections, TLS, proxies, deadlines |
//! | `answer`, `challenge` | what came back |
//! | `session`, `retry` | authorization, redirects, attempts |
//! | `blob` | bytes, proven |

mod answer;
mod blob;
mod certificates;
mod challenge;
mod endpoint;
mod forward;
mod retry;
mod session;
#[cfg(test)]
mod tests;
mod transport;

use self::endpoint::{DOCKER_HOST, Endpoint, endpoints, indexes, is_authority};
use self::retry::{Failure, Policy, Remedy};
use self::session::{Session, Wanted};
use self::transport::{Deadlines, Transport};
use super::{Cancel, Settings};
use crate::api::image::SearchResult;
use crate::api::oci::image::media_type::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use crate::api::oci::image::{Descriptor, ImageConfig};
use crate::error::{Context, Error, Kind, Result};
use crate::modules::image::credentials::{Credentials, normalise};
use crate::modules::image::manifest::{self, Manifest, SCHEMA_1, SCHEMA_1_SIGNED};
use crate::modules::image::platform::Platform;
use crate::modules::image::reference::Reference;
use crate::modules::image::schema_1;
use crate::utils::http::query::Target;
use crate::utils::json::Object;
use crate::utils::{digest, json};
use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Bytes of a configuration.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Bytes of a manifest or an index.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// What is asked for, best first.
const ACCEPT: &[&str] = &[INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST, SCHEMA_1_SIGNED, SCHEMA_1];
/// Bytes of what a search found.
const FOUND_LIMIT: u64 = 1 << 20;
/// Images that a search may have found: a hundred are asked for at most.
const FOUND: usize = 1000;
/// The API, and the one before, of which search alone is left.
const V2: &str = "/v2/";
const V1: &str = "/v1/";
/// Indexes in indexes.
const DEPTH: u32 = 3;
const DEFAULT_TAG: &str = "latest";

/// The registries, as a daemon is configured to ask them. Holds no connection: each pull has its own.
pub struct Registry {
    settings: Arc<Settings>,
    policy: Policy,
    deadlines: Deadlines,
}

impl Registry {
    /// Checks the settings; asks nobody. What is wrong with a proxy is told to the log, and to who needs it.
    ///
    /// # Errors
    /// `Kind::Invalid` naming a mirror that is none.
    pub fn new(settings: Settings) -> Result<Registry> {
        for e in settings.proxy.mistakes() {
            log::warn!("registries that need it cannot be reached: {e}");
        }
        endpoints(&settings, DOCKER_HOST)?;
        let attempts = settings.attempts.unwrap_or(Policy::USUAL.attempts);
        let policy = Policy { attempts, ..Policy::USUAL };
        Ok(Registry { settings: Arc::new(settings), policy, deadlines: Deadlines::USUAL })
    }

    /// Finds the image that a reference names: asks the mirrors, where the reference names no host, and then the
    /// registry. A digest counts before a tag. Of an image for several platforms the one that suits `platform` best is
    /// chosen; an image for one platform is given whatever its platform is ([`Resolved::platform`]).
    ///
    /// `credentials` are for the registry that the reference names, and are sent to it and to the token server it names
    /// only; those for mirrors are looked up ([`Settings::credentials`]). Setting `cancel` interrupts what waits for the
    /// network, for as long as the result is there.
    ///
    /// # Errors
    /// `Kind::Denied` when the registry refuses (many do for repositories that do not exist), `Kind::NotFound` for no such
    /// image or no such platform, `Kind::Busy` for a rate limit, `Kind::Corrupt` for documents that are not what they must
    /// be, `Kind::Unsupported` for what is not an image, `Kind::Timeout` and `Kind::Remote` for the rest. The text names
    /// everyone who was asked, what for, and what they said.
    pub fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        credentials: Option<&Credentials>,
        cancel: &Cancel,
    ) -> Result<Resolved> {
        let (host, repository) =
            reference.name.split_once('/').ok_or_else(|| Error::invalid(format!("no host in {:?}", reference.name)))?;
        let endpoints = endpoints(&self.settings, host)?;
        self.first_that_has(&endpoints, repository, credentials, cancel, |session| {
            resolve(session, reference, platform, cancel)
        })
    }

    /// Searches for images by a part of their names or descriptions: asks the mirrors, where `host` is docker's, and then
    /// the host. Credentials and `cancel` are as for [`Registry::resolve`].
    ///
    /// # Errors
    /// As [`Registry::resolve`]; most registries cannot search, which is `Kind::NotFound`.
    pub fn search(
        &self,
        host: &str,
        term: &str,
        limit: u32,
        credentials: Option<&Credentials>,
        cancel: &Cancel,
    ) -> Result<Vec<SearchResult>> {
        let target = Target::new("search").parameter("q", term).parameter("n", &limit.to_string());
        let path = target.as_str();
        let wanted = Wanted { root: V1, path, accept: &[], from: None, is_proven: false, is_document: true };
        let ask = |session: Session| {
            let document = session.document(&wanted, FOUND_LIMIT, cancel).map_err(|f| f.context("search"))?;
            let found: Found =
                json::parse(&document.bytes).map_err(|e| e.with_kind(Kind::Corrupt).context("search"))?;
            Ok(found.results.0.into_iter().take(limit as usize).map(SearchResult::from).collect())
        };
        self.first_that_has(&indexes(&self.settings, host)?, "", credentials, cancel, ask)
    }

    /// Asks one endpoint after the other.
    fn first_that_has<T>(
        &self,
        endpoints: &[Endpoint],
        repository: &str,
        given: Option<&Credentials>,
        cancel: &Cancel,
        ask: impl Fn(Session) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut before: Vec<String> = Vec::new();
        let last = endpoints.len() - 1;
        for (n, endpoint) in endpoints.iter().enumerate() {
            let result = self.credentials(endpoint, given).map_err(Failure::from).and_then(|credentials| {
                self.first_that_speaks(endpoint, |scheme| {
                    ask(self.session(endpoint, scheme, repository, credentials.clone(), cancel))
                })
            });
            cancel.check()?;
            match result {
                Ok(found) => return Ok(found),
                Err(failure) => {
                    let error = failure.error.context(format!("registry {:?}", endpoint.authority));
                    before.push(error.to_string());
                    if n == last {
                        // The kind is that of the registry itself.
                        return Err(if n == 0 { error } else { Error::new(error.kind(), before.join("; ")) });
                    }
                    log::info!("going on without a mirror: {error}");
                }
            }
        }
        Err(Error::internal("nobody to ask"))
    }

    /// Checks credentials against a registry, by any spelling of its host. Setting `cancel` ends it.
    ///
    /// # Errors
    /// `Kind::Denied` when the registry refuses them; as [`Registry::resolve`] for the rest.
    pub fn check(&self, server: &str, credentials: &Credentials, cancel: &Cancel) -> Result<()> {
        let host = normalise(server);
        if !is_authority(&host) {
            return Err(Error::invalid(format!("invalid registry {server:?}: want HOST[:PORT]")));
        }
        // The last is the registry itself.
        let endpoint = endpoints(&self.settings, &host)?.pop().ok_or_else(|| Error::internal("nobody to ask"))?;
        let result = self.first_that_speaks(&endpoint, |scheme| {
            let session = self.session(&endpoint, scheme, "", Some(credentials.clone()), cancel);
            let wanted = Wanted { root: V2, path: "", accept: &[], from: None, is_proven: false, is_document: true };
            session.ask(&wanted, cancel).map(|_| ())
        });
        result.map_err(|failure| failure.error.context(format!("registry {host:?}")))
    }

    fn credentials(&self, endpoint: &Endpoint, given: Option<&Credentials>) -> Result<Option<Credentials>> {
        match &self.settings.credentials {
            _ if !endpoint.is_mirror => Ok(given.cloned()),
            Some(store) => store.get(&endpoint.authority),
            None => Ok(None),
        }
    }

    /// Tries the schemes of an endpoint until somebody answers.
    fn first_that_speaks<T>(
        &self,
        endpoint: &Endpoint,
        mut attempt: impl FnMut(&'static str) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let mut before: Option<Failure> = None;
        for scheme in endpoint.schemes {
            match attempt(scheme) {
                Err(failure) if failure.remedy == Remedy::Elsewhere => {
                    let text = |f: Failure| format!("{}; without TLS", f.error);
                    before = Some(match before.take() {
                        Some(tls) => failure.context(text(tls)),
                        None => failure,
                    });
                }
                done => return done,
            }
        }
        Err(before.unwrap_or_else(|| Error::internal("no scheme").into()))
    }

    fn session(
        &self,
        endpoint: &Endpoint,
        scheme: &'static str,
        repository: &str,
        credentials: Option<Credentials>,
        cancel: &Cancel,
    ) -> Session {
        Session {
            transport: Transport::new(self.settings.clone(), self.deadlines, cancel),
            policy: self.policy,
            scheme,
            authority: endpoint.authority.clone(),
            repository: repository.to_owned(),
            credentials,
            authorization: Mutex::default(),
            has_alternative: endpoint.schemes.last() != Some(&scheme),
            has_spoken: AtomicBool::new(false),
        }
    }
}

/// What a search found (docker's "Registry API v1", which no document describes any more).
/// A document without the list is of somebody who does not search.
#[derive(Object, Default)]
struct Found {
    results: json::Short<FoundImage, FOUND>,
}

#[derive(Object, Default)]
#[serde(default)]
struct FoundImage {
    name: String,
    description: Option<String>,
    star_count: Option<i64>,
    is_official: Option<bool>,
    is_automated: Option<bool>,
    /// Its former name.
    is_trusted: Option<bool>,
}

impl From<FoundImage> for SearchResult {
    fn from(found: FoundImage) -> SearchResult {
        SearchResult {
            name: found.name,
            description: found.description.unwrap_or_default(),
            star_count: found.star_count.unwrap_or_default(),
            is_official: found.is_official.unwrap_or_default(),
            is_automated: found.is_automated.or(found.is_trusted).unwrap_or_default(),
        }
    }
}

/// An image at a registry, its documents read and proven, and the connections to read its layers by. They are closed
/// with it.
pub struct Resolved {
    /// `sha256:…` of the document that the reference named: an index or a manifest.
    pub digest: String,
    /// The manifest of the chosen image.
    pub manifest: Vec<u8>,
    /// Its configuration.
    pub config: Configuration,
    /// Its layers, bottom first, as many as the configuration has diff ids.
    pub layers: Vec<Layer>,
    /// What the configuration says it is for.
    pub platform: Platform,
    session: Session,
}

/// The document whose digest is an image's id.
#[derive(Debug, PartialEq)]
pub enum Configuration {
    /// It.
    Document(Vec<u8>),
    /// The registry has none: it is made when the layers are unpacked.
    Schema1(schema_1::Image),
}

/// A layer at a registry, compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes, where the manifest says how many.
    pub size: Option<u64>,
}

impl From<&Descriptor> for Layer {
    fn from(descriptor: &Descriptor) -> Layer {
        Layer { digest: descriptor.digest.clone(), size: Some(descriptor.size) }
    }
}

impl Resolved {
    /// Reads a blob. A broken connection is taken up where it broke; after several attempts without a byte more it ends
    /// with an error. Neither the end nor the last bytes are handed out before length and digest are right. Errors come
    /// as `std::io::Error`s that [`Error::io`] turns back, kind and all.
    ///
    /// Several may be read at once. Setting `cancel` ends it at the next byte or attempt; one that was given to
    /// [`Registry::resolve`] also interrupts a wait for the network.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; `Kind::Corrupt` for wrong bytes.
    pub fn blob(&self, layer: &Layer, cancel: &Cancel) -> Result<impl Read + Send + '_> {
        blob::Blob::open(&self.session, layer, cancel)
    }
}

/// The entry that suits a platform best.
///
/// # Errors
/// `Kind::NotFound` with the platforms that there are.
fn choose<'a>(entries: &'a [Descriptor], platform: &Platform) -> Result<&'a Descriptor> {
    platform.choose(entries).ok_or_else(|| {
        let mut offered: Vec<String> =
            entries.iter().filter_map(|e| e.platform.as_ref()).map(|p| Platform::from(p).to_string()).collect();
        offered.retain(|p| p != "unknown/unknown");
        offered.dedup();
        offered.truncate(20);
        let offered = answer::shown(&offered.join(", "));
        Error::not_found(format!("no image for {platform}, only for: {offered}"))
    })
}

fn resolve(
    session: Session,
    reference: &Reference,
    platform: &Platform,
    cancel: &Cancel,
) -> std::result::Result<Resolved, Failure> {
    let name = format!("repository {:?}", session.repository);
    let wanted = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or(DEFAULT_TAG);
    let (bytes, mut media_type) = fetch(&session, wanted, cancel).map_err(|f| f.context(name.clone()))?;
    let mut bytes = schema_1::payload(bytes).context(|| format!("{name}: manifest {wanted:?}"))?;
    let found = format!("sha256:{}", digest::sha256(&bytes));
    if let Some(digest) = &reference.digest
        && *digest != found
    {
        let text = format!("{name}: manifest {digest:?}: the answer has the digest {found}");
        return Err(Error::corrupt(text).into());
    }
    let mut current = wanted.to_owned();
    for _ in 0..=DEPTH {
        let context = || format!("{name}: manifest {current:?}");
        let entries = match manifest::parse(&bytes, media_type.as_deref()).context(context)? {
            Manifest::Index(entries) => entries,
            Manifest::Image { config, layers } => {
                let config = configuration(&session, &config, layers.len(), cancel)?;
                let (config, platform) = config;
                let config = Configuration::Document(config);
                let layers = layers.iter().map(Layer::from).collect();
                return Ok(Resolved { digest: found, manifest: bytes, config, layers, platform, session });
            }
            Manifest::Schema1 => {
                let image = schema_1::Image::parse(&bytes).context(context)?;
                // It carries its name, which is compared as docker does; a digest proves more than that.
                let is_named = image.name == session.repository && image.tag == wanted;
                if reference.digest.is_none() && !is_named {
                    let text = format!(
                        "the answer is the manifest of {:?}, tag {:?}",
                        answer::shown(&image.name),
                        answer::shown(&image.tag)
                    );
                    return Err(Failure::from(Error::corrupt(text)).context(context()));
                }
                let layers = image.layers.iter().map(|digest| Layer { digest: digest.clone(), size: None }).collect();
                let (platform, config) = (image.platform(), Configuration::Schema1(image));
                return Ok(Resolved { digest: found, manifest: bytes, config, layers, platform, session });
            }
        };
        let chosen = choose(&entries, platform).context(context)?.clone();
        if chosen.size > MANIFEST_LIMIT {
            let text = format!("a manifest of {} bytes is larger than {MANIFEST_LIMIT}", chosen.size);
            return Err(Failure::from(Error::corrupt(text)).context(context()));
        }
        let next = fetch(&session, &chosen.digest, cancel).map_err(|f| f.context(name.clone()))?;
        let digest = format!("sha256:{}", digest::sha256(&next.0));
        if digest != chosen.digest || next.0.len() as u64 != chosen.size {
            let text = format!(
                "{name}: manifest {:?}: the answer has {} bytes and the digest {digest}",
                chosen.digest,
                next.0.len()
            );
            return Err(Error::corrupt(text).into());
        }
        current = chosen.digest;
        bytes = next.0;
        // What the index says it is binds; the registry may not know better.
        media_type = Some(match next.1 {
            Some(said) if said != chosen.media_type && said.starts_with("application/vnd.") => {
                let text = format!(
                    "the index says that its type is {:?}, and the registry that it is {said:?}",
                    chosen.media_type
                );
                return Err(Failure::from(Error::corrupt(text)).context(format!("{name}: manifest {current:?}")));
            }
            _ => chosen.media_type,
        });
    }
    Err(Error::corrupt(format!("{name}: manifest {wanted:?}: indexes in indexes, more than {DEPTH} deep")).into())
}

/// A manifest and the type that the registry says it has.
fn fetch(session: &Session, name: &str, cancel: &Cancel) -> std::result::Result<(Vec<u8>, Option<String>), Failure> {
    let path = format!("manifests/{name}");
    let is_proven = name.starts_with("sha256:");
    let wanted = Wanted { root: V2, path: &path, accept: ACCEPT, from: None, is_proven, is_document: true };
    let document =
        session.document(&wanted, MANIFEST_LIMIT, cancel).map_err(|f| f.context(format!("manifest {name:?}")))?;
    Ok((document.bytes, document.media_type))
}

/// Reads a configuration and checks that it belongs to a manifest of so many layers.
fn configuration(
    session: &Session,
    descriptor: &Descriptor,
    layers: usize,
    cancel: &Cancel,
) -> Result<(Vec<u8>, Platform)> {
    let context = || format!("repository {:?}: configuration {:?}", session.repository, descriptor.digest);
    if descriptor.size > CONFIG_LIMIT {
        return Err(
            Error::corrupt(format!("{} bytes are more than {CONFIG_LIMIT}", descriptor.size)).context(context())
        );
    }
    let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or(0));
    let mut blob = blob::Blob::open(session, &descriptor.into(), cancel)?;
    blob.read_to_end(&mut bytes).context(|| "read a configuration".into())?;
    let config: ImageConfig = json::parse(&bytes).map_err(|e| e.with_kind(Kind::Corrupt)).context(context)?;
    let diff_ids = config.rootfs.diff_ids.len();
    if diff_ids != layers {
        let text = format!("it is of {diff_ids} layers, and the manifest of {layers}");
        return Err(Error::corrupt(text).context(context()));
    }
    let platform = Platform { os: config.os, architecture: config.architecture, variant: config.variant };
    Ok((bytes, platform.normalised()))
}
