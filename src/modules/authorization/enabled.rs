//! Asking over two protocols: docker's plugins, which see requests and responses, and the original's `authz-broker`,
//! which is told user and action of clients with a certificate. Whoever is asked and does not say yes in time has said no.

mod find;
mod post;

use crate::api::authorization::{AccessAnswer, AccessRequest, Activation};
use crate::error::{Error, Kind, Result};
use crate::utils::json;
use find::Address;
use post::Post;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a plugin may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER: usize = 64 << 10;
/// The original's name for its plugin.
const BROKER: &str = "authz-broker";
/// The media type of docker's plugin protocol.
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1+json";

/// Everybody who is asked, in order.
pub struct Authorizer {
    plugins: Vec<Plugin>,
    broker: Option<PathBuf>,
    patience: Duration,
}

struct Plugin {
    /// As the operator wrote it.
    name: String,
    /// Whether it has said that it is one.
    is_active: AtomicBool,
}

impl Authorizer {
    /// For these names: of docker's plugins, absolute paths of their sockets, or `authz-broker`, whose socket is
    /// `plugins/authz-broker.sock` in `state`. `None` for none.
    ///
    /// # Errors
    /// `Kind::Invalid` for what can be no name, or comes twice.
    pub fn new(names: &[String], state: &Path) -> Result<Option<Authorizer>> {
        let mut authorizer = Authorizer { plugins: Vec::new(), broker: None, patience: PATIENCE };
        for (n, name) in names.iter().enumerate() {
            if names[..n].contains(name) {
                return Err(Error::invalid(format!("authorization plugin {name:?} is given twice")));
            }
            if name == BROKER {
                authorizer.broker = Some(state.join("plugins").join(format!("{BROKER}.sock")));
                continue;
            }
            find::check(name)?;
            authorizer.plugins.push(Plugin { name: name.clone(), is_active: AtomicBool::new(false) });
        }
        Ok((!names.is_empty()).then_some(authorizer))
    }

    /// Whether anybody wants to see requests and responses.
    pub fn has_plugins(&self) -> bool {
        !self.plugins.is_empty()
    }

    /// Asks the plugins about a request.
    ///
    /// # Errors
    /// `Kind::Denied` naming the plugin that does not allow it.
    pub fn check_request(&self, request: &AccessRequest) -> Result<()> {
        self.check("/AuthZPlugin.AuthZReq", request)
    }

    /// Asks the plugins about a response, which the request holds.
    ///
    /// # Errors
    /// As [`Authorizer::check_request`].
    pub fn check_response(&self, request: &AccessRequest) -> Result<()> {
        self.check("/AuthZPlugin.AuthZRes", request)
    }

    fn check(&self, target: &str, request: &AccessRequest) -> Result<()> {
        let body = json::to_vec(request);
        for plugin in &self.plugins {
            let denied = |why: &dyn std::fmt::Display| {
                Error::new(Kind::Denied, format!("authorization denied by plugin {}: {why}", plugin.name))
            };
            let answer = plugin.ask(target, &body, Instant::now() + self.patience).map_err(|e| {
                log::error!("authorization plugin {:?}: {e}", plugin.name);
                denied(&e)
            })?;
            if !answer.err.is_empty() {
                log::error!("authorization plugin {:?}: {}", plugin.name, answer.err);
                return Err(denied(&answer.err));
            }
            if !answer.allow {
                return Err(denied(&answer.msg));
            }
        }
        Ok(())
    }

    /// Asks the broker whether a user may act so.
    ///
    /// # Errors
    /// `Kind::Denied` unless it says yes.
    pub fn check_action(&self, user: &str, action: &str) -> Result<()> {
        let Some(path) = &self.broker else { return Ok(()) };
        let asked = || {
            let socket = Address::Unix(path.clone()).connect(Instant::now() + self.patience)?;
            let body = format!("{user}:{action}");
            let fields = [("Content-Type", "text/plain")];
            Post {
                target: "/isulad.auth",
                host: "localhost",
                fields: &fields,
                body: body.as_bytes(),
                limit: ANSWER,
                deadline: Instant::now() + self.patience,
            }
            .send(&socket)
        };
        match asked() {
            Ok((200, _)) => return Ok(()),
            Ok(_) => {}
            Err(e) => log::error!("authorization plugin {BROKER:?}: {e}"),
        }
        Err(Error::new(Kind::Denied, format!("action '{action}' for user '{user}': permission denied")))
    }
}

impl Plugin {
    fn ask(&self, target: &str, body: &[u8], deadline: Instant) -> Result<AccessAnswer> {
        let address = find::address(&self.name)?;
        if !self.is_active.load(Ordering::Relaxed) {
            let said: Activation = json::parse(&post(&address, "/Plugin.Activate", b"", deadline)?)?;
            if !said.implements.iter().any(|protocol| protocol == "authz") {
                return Err(Error::new(Kind::Unsupported, "it does not implement \"authz\""));
            }
            self.is_active.store(true, Ordering::Relaxed);
        }
        let answer = post(&address, target, body, deadline).and_then(|body| json::parse(&body));
        if answer.is_err() {
            // Another one may come in its place.
            self.is_active.store(false, Ordering::Relaxed);
        }
        answer
    }
}

fn post(address: &Address, target: &str, body: &[u8], deadline: Instant) -> Result<Vec<u8>> {
    let socket = address.connect(deadline)?;
    let host = address.host();
    let fields = [("Accept", MEDIA_TYPE), ("Content-Type", "application/json")];
    let (status, body) = Post { target, host: &host, fields: &fields, body, limit: ANSWER, deadline }.send(&socket)?;
    if status != 200 {
        return Err(Error::new(Kind::Remote, format!("{target}: it answered with status {status}")));
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
