//! Conversation with one registry about one repository: authorization, redirects, attempts.

use super::super::Cancel;
use super::answer::{document, header, refused};
use super::challenge::{self, Challenge};
use super::retry::{Failure, Policy, Remedy, repeat};
use super::transport::{Question, Transport};
use crate::error::{Error, Kind};
use crate::modules::image::credentials::{Credentials, Secret};
use crate::utils::http::query::Target;
use crate::utils::json::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use ureq::Body;
use ureq::http::{Response, Uri};

/// Redirects of one request.
const REDIRECTS: u32 = 5;
/// Of a token server's answer.
const TOKEN_LIMIT: u64 = 1 << 20;
/// How token servers know this program.
const CLIENT: &str = "isulabox";

/// A registry, spoken to in one way, about one repository.
pub(super) struct Session {
    pub transport: Transport,
    pub policy: Policy,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `HOST[:PORT]`.
    pub authority: String,
    /// Empty for questions about the registry as such.
    pub repository: String,
    pub credentials: Option<Credentials>,
    /// The header that the registry was content with last.
    pub authorization: Mutex<Option<String>>,
    /// Whether another scheme is tried when nobody speaks this one.
    pub has_alternative: bool,
    /// Whether it answered once.
    pub has_spoken: AtomicBool,
}

/// What is wanted of a registry.
pub(super) struct Wanted<'a> {
    /// `/v2/` or `/v1/`.
    pub root: &'static str,
    /// Behind the repository: `manifests/latest`.
    pub path: &'a str,
    pub accept: &'a [&'a str],
    pub from: Option<u64>,
    /// Whether a digest proves the answer, so that it does not matter who gives it.
    pub is_proven: bool,
    pub is_document: bool,
}

impl Session {
    /// Asks until there is an answer or no hope.
    pub(super) fn ask(&self, wanted: &Wanted<'_>, cancel: &Cancel) -> std::result::Result<Response<Body>, Failure> {
        repeat(self.policy, cancel, || self.ask_once(wanted))
    }

    /// Asks for a document and reads it.
    pub(super) fn document(
        &self,
        wanted: &Wanted<'_>,
        limit: u64,
        cancel: &Cancel,
    ) -> std::result::Result<Document, Failure> {
        repeat(self.policy, cancel, || {
            let answer = self.ask_once(wanted)?;
            let media_type = header(&answer, "content-type").map(media_type);
            Ok(Document { media_type, bytes: document(answer, limit)? })
        })
    }

    /// One attempt: with what authorization there is, once more with a new one if the registry asks for it, and to where
    /// it sends us. Only a good answer is one.
    pub(super) fn ask_once(&self, wanted: &Wanted<'_>) -> std::result::Result<Response<Body>, Failure> {
        let repository = if self.repository.is_empty() { "" } else { "/" };
        let mut address = format!(
            "{}://{}{}{}{repository}{}",
            self.scheme, self.authority, wanted.root, self.repository, wanted.path
        );
        let (mut is_renewed, mut redirects) = (false, 0);
        loop {
            let is_own = self.is_own(&address);
            let authorization = if is_own { self.authorization() } else { None };
            let question = Question {
                authorization: authorization.as_deref(),
                accept: wanted.accept,
                from: wanted.from,
                is_document: wanted.is_document,
                ..Question::new(&address)
            };
            let answer = self.transport.send(&question).map_err(|failure| {
                // Some close the connection when they do not understand TLS.
                let is_strange = self.has_alternative && !self.has_spoken.load(Ordering::Relaxed);
                if is_strange { Failure { remedy: Remedy::Elsewhere, ..failure } } else { failure }
            })?;
            self.has_spoken.store(true, Ordering::Relaxed);
            match answer.status().as_u16() {
                200 | 206 => return Ok(answer),
                401 if is_own && !is_renewed => {
                    is_renewed = true;
                    let challenges = challenges(&answer);
                    // The connection is used again once its answer is read.
                    let refusal = refused(answer);
                    let Some(value) = self.authorize(&challenges)? else { return Err(refusal) };
                    *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                }
                301 | 302 | 303 | 307 | 308 => {
                    redirects += 1;
                    if redirects > REDIRECTS {
                        return Err(remote(format!("more than {REDIRECTS} redirects")));
                    }
                    address = self.redirected(&address, &answer, wanted)?;
                }
                _ => return Err(refused(answer)),
            }
        }
    }

    fn redirected(
        &self,
        from: &str,
        answer: &Response<Body>,
        wanted: &Wanted<'_>,
    ) -> std::result::Result<String, Failure> {
        let location = header(answer, "location").unwrap_or_default();
        let to = if location.starts_with("http://") || location.starts_with("https://") {
            location.to_owned()
        } else if location.starts_with('/') && !location.starts_with("//") {
            let origin = from.match_indices('/').nth(2).map_or(from.len(), |(at, _)| at);
            format!("{}{location}", &from[..origin])
        } else {
            return Err(remote("a redirect to nowhere"));
        };
        if from.starts_with("https:") && to.starts_with("http:") && !wanted.is_proven {
            return Err(remote("a redirect from https to http for something that no digest proves"));
        }
        Ok(to)
    }

    /// Whether an address is of the registry itself: scheme, host and port.
    fn is_own(&self, address: &str) -> bool {
        let port = |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
        let own = format!("{}://{}/", self.scheme, self.authority);
        let (Ok(a), Ok(b)) = (address.parse::<Uri>(), own.parse::<Uri>()) else { return false };
        a.scheme() == b.scheme()
            && a.host().zip(b.host()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
            && port(&a) == port(&b)
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The header that answers a registry's challenges. `None` when there is none to give.
    fn authorize(&self, challenges: &[Challenge]) -> std::result::Result<Option<String>, Failure> {
        if let Some(Credentials { secret: Secret::RegistryToken(token), .. }) = &self.credentials {
            return Ok(Some(format!("Bearer {token}")));
        }
        if let Some(challenge) = challenges.iter().find(|c| c.scheme == "bearer") {
            return self.token(challenge).map(|token| Some(format!("Bearer {token}")));
        }
        if challenges.iter().any(|c| c.scheme == "basic")
            && let Some(credentials) = &self.credentials
        {
            return Ok(basic(credentials));
        }
        Ok(None)
    }

    /// A token for pulling from the repository (distribution's "Token Authentication Specification").
    fn token(&self, challenge: &Challenge) -> std::result::Result<String, Failure> {
        #[derive(Object, Default)]
        #[serde(default)]
        struct Answer {
            token: String,
            access_token: String,
        }
        let realm = challenge.parameter("realm").unwrap_or_default();
        let host = realm.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        let Some(host) = host else { return Err(remote("a token server without an address")) };
        let context = || format!("token server {host:?}");
        if self.credentials.is_some() && self.scheme == "https" && !realm.starts_with("https://") {
            let text = "wants the password without encryption";
            return Err(Failure::from(Error::new(Kind::Denied, text)).context(context()));
        }
        let scope = match (challenge.parameter("scope"), self.repository.as_str()) {
            (Some(scope), _) if !scope.is_empty() => Some(scope.to_owned()),
            (_, "") => None,
            (_, repository) => Some(format!("repository:{repository}:pull")),
        };
        let service = challenge.parameter("service");
        let (mut address, mut form, mut authorization) = (realm.to_owned(), None, None);
        match &self.credentials {
            Some(Credentials { secret: Secret::IdentityToken(refresh), .. }) => {
                let fields = Target::new("")
                    .parameter("grant_type", "refresh_token")
                    .parameter("refresh_token", refresh)
                    .parameter("client_id", CLIENT)
                    .optional("service", service)
                    .optional("scope", scope.as_deref());
                form = Some(fields.as_str().trim_start_matches('?').to_owned());
            }
            credentials => {
                let mut target = Target::new(realm).optional("service", service).optional("scope", scope.as_deref());
                if let Some(credentials) = credentials {
                    target = target.parameter("account", &credentials.user).parameter("client_id", CLIENT);
                    authorization = basic(credentials);
                }
                target.as_str().clone_into(&mut address);
            }
        }
        let question = Question { authorization: authorization.as_deref(), form, ..Question::new(&address) };
        let answer = self.transport.send(&question).map_err(|e| e.context(context()))?;
        if answer.status() != 200 {
            return Err(refused(answer).context(context()));
        }
        let bytes = document(answer, TOKEN_LIMIT).map_err(|e| e.context(context()))?;
        // The parser's errors quote what they stumble over.
        let answer: Answer = crate::utils::json::parse(&bytes).unwrap_or_default();
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(remote("an answer without a token").context(context()));
        }
        Ok(token)
    }
}

/// A small answer.
pub(super) struct Document {
    /// Without parameters, lower case.
    pub media_type: Option<String>,
    pub bytes: Vec<u8>,
}

fn remote(text: impl Into<String>) -> Failure {
    Failure::new(Error::new(Kind::Remote, text), Remedy::None)
}

/// The header for a user and password; `None` for what is neither.
fn basic(credentials: &Credentials) -> Option<String> {
    match &credentials.secret {
        Secret::Password(password) => {
            Some(format!("Basic {}", STANDARD.encode(format!("{}:{password}", credentials.user))))
        }
        _ => None,
    }
}

fn challenges(answer: &Response<Body>) -> Vec<Challenge> {
    let values = answer.headers().get_all("www-authenticate");
    values.iter().filter_map(|v| v.to_str().ok()).flat_map(challenge::parse).collect()
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
