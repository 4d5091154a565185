//! One request to one host: connections, TLS, proxies, deadlines.

use super::super::{Cancel, Settings};
use super::certificates;
use super::endpoint::{is_authority, is_insecure, split};
use super::forward::Forward;
use super::retry::{Failure, Remedy};
use crate::error::{Error, Kind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::CryptoProvider;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderValue, Request, Response, Uri, header};
use ureq::tls::Certificate;
use ureq::{Agent, Body, Proxy, ProxyProtocol, Timeout};

/// Resolving has the C library's deadline, which is shorter; one of ours would cost a thread for each request.
const CONNECT: Duration = Duration::from_secs(30);
const SEND: Duration = Duration::from_secs(30);
/// Until the head of the answer is there: registries fetch from elsewhere meanwhile.
const HEAD: Duration = Duration::from_secs(60);
/// Between two reads of a body.
const READ: Duration = Duration::from_secs(60);
/// For a whole document, so that nobody can drip one for hours.
const DOCUMENT: Duration = Duration::from_secs(120);
const HEAD_LIMIT: usize = 64 << 10;
/// Bytes read from a connection at once.
const BUFFER: usize = 64 << 10;
/// Connections kept for the next request, of layers that are read at the same time.
const IDLE: usize = 4;

/// The deadlines, which tests shorten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub connect: Duration,
    pub head: Duration,
    pub read: Duration,
    pub document: Duration,
}

impl Deadlines {
    pub(super) const USUAL: Deadlines = Deadlines { connect: CONNECT, head: HEAD, read: READ, document: DOCUMENT };
}

/// What to ask for.
pub(super) struct Question<'a> {
    pub address: &'a str,
    /// Sent to this address only: redirects are the caller's.
    pub authorization: Option<&'a str>,
    pub accept: &'a [&'a str],
    /// The first byte wanted, where it is not the first.
    pub from: Option<u64>,
    /// A form to send in place of a plain question.
    pub form: Option<String>,
    /// Whether the answer is to be read at once, to its end.
    pub is_document: bool,
}

impl<'a> Question<'a> {
    pub(super) fn new(address: &'a str) -> Question<'a> {
        Question { address, authorization: None, accept: &[], from: None, form: None, is_document: true }
    }
}

/// What decides whether two hosts can share an agent.
#[derive(PartialEq, Eq)]
struct Key {
    https: bool,
    /// A host with certificates of its own.
    own: Option<String>,
    verify: bool,
    proxy: Option<Proxy>,
}

/// How a host is reached.
#[derive(Clone)]
struct Way {
    agent: Agent,
    /// What the proxy on it wants to see with each request. In front of a tunnel it is the agent's affair.
    proxy_authorization: Option<HeaderValue>,
}

/// The connections of one pull, closed with it.
pub(super) struct Transport {
    settings: Arc<Settings>,
    deadlines: Deadlines,
    cancel: Cancel,
    provider: Arc<CryptoProvider>,
    /// Read when the first host is asked by TLS.
    roots: OnceLock<Option<Arc<Vec<Certificate<'static>>>>>,
    ways: Mutex<Vec<(Key, Way)>>,
}

impl Transport {
    pub(super) fn new(settings: Arc<Settings>, deadlines: Deadlines, cancel: &Cancel) -> Transport {
        Transport {
            settings,
            deadlines,
            cancel: cancel.clone(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            roots: OnceLock::new(),
            ways: Mutex::default(),
        }
    }

    /// Asks, and waits for the head of the answer, whatever its status.
    pub(super) fn send(&self, question: &Question<'_>) -> std::result::Result<Response<Body>, Failure> {
        self.cancel.check()?;
        // Addresses that registries send may hold secrets: they are not repeated.
        let uri: Uri = question.address.parse().map_err(|_| Error::new(Kind::Remote, "not an address"))?;
        let Way { agent, proxy_authorization } = self.way(&uri)?;
        let mut request = Request::get(uri);
        if let Some(value) = proxy_authorization {
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        if !question.accept.is_empty() {
            request = request.header(header::ACCEPT, question.accept.join(", "));
        }
        if let Some(authorization) = question.authorization {
            let mut value = HeaderValue::from_str(authorization)
                .map_err(|_| Error::invalid("a user, password or token that cannot be sent"))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(from) = question.from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let internal = |_| Error::internal("a request that cannot be built");
        let answer = match &question.form {
            Some(form) => {
                let request = request
                    .method("POST")
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.as_str())
                    .map_err(internal)?;
                agent.run(agent.configure_request(request).timeout_recv_body(self.body_deadline(question)).build())
            }
            None => {
                let request = request.body(()).map_err(internal)?;
                agent.run(agent.configure_request(request).timeout_recv_body(self.body_deadline(question)).build())
            }
        };
        answer.map_err(|e| {
            let failure = failure(e);
            // What was interrupted failed for no other reason.
            self.cancel.check().map_or_else(Failure::from, |()| failure)
        })
    }

    fn body_deadline(&self, question: &Question<'_>) -> Option<Duration> {
        question.is_document.then_some(self.deadlines.document)
    }

    fn way(&self, uri: &Uri) -> Result<Way> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::new(Kind::Remote, "an address that is neither http nor https")),
        };
        let authority = uri.authority().map(|a| a.as_str()).filter(|a| is_authority(a));
        let authority = authority.ok_or_else(|| Error::new(Kind::Remote, "an address without a proper host"))?;
        let (host, port) = split(authority);
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let directory = self.settings.certificates.join(authority);
        let has_own = https && !self.settings.certificates.as_os_str().is_empty() && directory.is_dir();
        let proxy = self.settings.proxy.proxy(https, host, port)?;
        // Of a registry without TLS it is the proxy that is spoken TLS to, which nobody called insecure.
        let to_proxy = !https && proxy.as_ref().is_some_and(|proxy| proxy.protocol() == ProxyProtocol::Https);
        let key = Key {
            https,
            own: has_own.then(|| authority.to_owned()),
            verify: !self.settings.skip_verify && (to_proxy || !is_insecure(&self.settings, authority)),
            proxy,
        };
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, way)) = ways.iter().find(|(k, _)| *k == key) {
            return Ok(way.clone());
        }
        let (tunnel, forward) = if https { (key.proxy.clone(), None) } else { (None, key.proxy.as_ref()) };
        let forward = forward.map(Forward::new).transpose()?;
        let own = if has_own { certificates::own(&directory, &self.provider)? } else { certificates::Own::default() };
        // Reading a bundle of authorities costs more than anything else here.
        let system = if https || to_proxy { self.system_roots()? } else { None };
        let tls = certificates::config(&self.provider, system, own, key.verify);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .proxy(tunnel)
            .user_agent(concat!("isulabox/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(self.deadlines.connect))
            .timeout_send_request(Some(SEND))
            .timeout_recv_response(Some(self.deadlines.head))
            .timeout_per_read(Some(self.deadlines.read))
            .timeout_per_write(Some(SEND))
            .max_response_header_size(HEAD_LIMIT)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER / 4)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .build();
        let agent = match forward {
            Some(forward) => Agent::with_parts(config, forward.clone(), forward),
            None => config.into(),
        };
        self.cancel.on_cancel({
            let agent = agent.clone();
            move || agent.shutdown()
        });
        let proxy = key.proxy.as_ref().filter(|_| !https);
        let way = Way { agent, proxy_authorization: proxy.map(proxy_authorization).transpose()?.flatten() };
        ways.push((key, way.clone()));
        Ok(way)
    }

    fn system_roots(&self) -> Result<Option<Arc<Vec<Certificate<'static>>>>> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots.clone());
        }
        let roots = certificates::system_roots()?;
        Ok(self.roots.get_or_init(|| roots).clone())
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // The flag may live on and holds the agents; their connections end here.
        let ways = self.ways.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, way) in ways.drain(..) {
            way.agent.shutdown();
        }
    }
}

/// The header with a proxy's user and password, where there are any.
fn proxy_authorization(proxy: &Proxy) -> Result<Option<HeaderValue>> {
    let Some(user) = proxy.username() else { return Ok(None) };
    let password = proxy.password().unwrap_or_default();
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::try_from(text).map_err(|_| Error::internal("base 64 that is no header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What an error of the library means. Its texts are used where they cannot hold an address.
pub(super) fn failure(e: ureq::Error) -> Failure {
    use std::io::ErrorKind;
    let remote = |text: String, remedy| Failure::new(Error::new(Kind::Remote, text), remedy);
    match e {
        ureq::Error::Timeout(phase) => {
            let phase = match phase {
                Timeout::Resolve | Timeout::Connect => "no connection",
                Timeout::SendRequest | Timeout::SendBody | Timeout::PerWrite => "the request was not taken",
                Timeout::RecvResponse => "no answer",
                _ => "the answer stopped",
            };
            let remedy = if phase == "no connection" { Remedy::Elsewhere } else { Remedy::Later(None) };
            Failure::new(Error::new(Kind::Timeout, format!("timed out: {phase}")), remedy)
        }
        ureq::Error::HostNotFound => remote("no such host".into(), Remedy::Elsewhere),
        ureq::Error::Io(e) => match e.kind() {
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::Interrupted => remote(format!("the connection broke: {}", io_text(&e)), Remedy::Later(None)),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                Failure::new(Error::new(Kind::Timeout, "timed out"), Remedy::Later(None))
            }
            // The handshake's errors come as these.
            _ => match e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
                Some(e) => remote(tls_text(e), Remedy::Elsewhere),
                None => remote(io_text(&e), Remedy::Elsewhere),
            },
        },
        ureq::Error::Rustls(e) => remote(tls_text(&e), Remedy::Elsewhere),
        ureq::Error::Tls(text) => remote(format!("TLS: {text}"), Remedy::Elsewhere),
        ureq::Error::Protocol(e) => remote(format!("not HTTP: {e}"), Remedy::Elsewhere),
        // The status stands at the end of a text of the library's own.
        ureq::Error::ConnectProxyFailed(text) => {
            let status = text.rsplit(['/', ' ']).next().filter(|word| word.parse::<u16>().is_ok());
            let status = status.map_or_else(String::new, |status| format!(" (status {status})"));
            remote(format!("the proxy refuses to connect{status}"), Remedy::Elsewhere)
        }
        ureq::Error::LargeResponseHeader(..) => remote(format!("a head of more than {HEAD_LIMIT} bytes"), Remedy::None),
        _ => remote("the request failed".into(), Remedy::None),
    }
}

fn tls_text(e: &rustls::Error) -> String {
    match e {
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; a registry without must be among the insecure-registries".into()
        }
        e => format!("TLS: {e}"),
    }
}

fn io_text(e: &std::io::Error) -> String {
    match e.raw_os_error() {
        Some(errno) => crate::error::errno_text(errno),
        None => e.to_string(),
    }
}
