//! A registry of a test's own that fails as the test says: it answers from OCI layouts ([`super::oci::layout`]), and does
//! with each answer what a network or a broken registry would.

#[path = "../../src/modules/image/registry/client/tests/server.rs"]
#[allow(dead_code, reason = "the client's own tests use the rest")]
mod server;

pub use self::server::{Reply, Server};

use super::bed::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Status 500.
    Failing,
    /// Status 401, and nobody says how to get in.
    Denied,
    /// Status 404 with words.
    Missing,
    /// Status 429, to come back after so many seconds.
    Busy(u32),
    /// The connection is closed before the answer.
    HangUp,
    /// It is closed in the middle of the body.
    Cut,
    /// A byte is another.
    Flipped,
    /// A byte less than there should be, properly announced.
    Short,
    /// A byte more.
    Long,
    /// No answer, and the connection stays.
    Silent,
    /// The same in the middle of the body.
    Stalled,
}

/// When it happens, by the number of a request of one pull, from 1.
#[derive(Debug, Clone, Copy)]
pub enum When {
    Never,
    /// Only to this request.
    Once(usize),
    /// To this request, and to all that ask for the same.
    Always(usize),
}

/// A pull's repository: its directory below the layouts has its name.
struct Repository {
    fault: Fault,
    when: When,
    asked: usize,
    /// What the fault is tied to.
    path: Option<String>,
}

/// The registry. Repositories are known when they were [arranged](FakeRegistry::arrange).
pub struct FakeRegistry {
    server: Server,
    repositories: Arc<Mutex<BTreeMap<String, Repository>>>,
}

impl FakeRegistry {
    /// One whose repositories are the layouts in a directory.
    pub fn start(layouts: &Path) -> FakeRegistry {
        let repositories: Arc<Mutex<BTreeMap<String, Repository>>> = Arc::default();
        let (known, layouts) = (repositories.clone(), layouts.to_owned());
        let server = Server::start(move |asked| {
            let path = asked.path.trim_start_matches("/v2/");
            let Some((name, rest)) = path.split_once('/') else { return Reply::new(404, b"{}") };
            let Some((media_type, bytes)) = found(&layouts.join(name), rest) else { return missing() };
            let mut known = known.lock().expect("no holder panics");
            match known.get_mut(name).and_then(|repository| repository.fault(rest)) {
                Some(fault) => spoiled(fault, &media_type, &bytes),
                // Not every registry says how long a document is.
                None if rest.starts_with("manifests/") => {
                    Reply::new(200, &bytes).header("Content-Type", &media_type).chunked()
                }
                None => Reply::new(200, &bytes).header("Content-Type", &media_type),
            }
        });
        FakeRegistry { server, repositories }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// What happens from now on to the requests about a repository. They are counted anew.
    pub fn arrange(&self, name: &str, fault: Fault, when: When) {
        let repository = Repository { fault, when, asked: 0, path: None };
        self.repositories.lock().expect("no holder panics").insert(name.to_owned(), repository);
    }

    /// Requests about a repository since it was arranged.
    pub fn asked(&self, name: &str) -> usize {
        self.repositories.lock().expect("no holder panics")[name].asked
    }

    /// Connections that clients hold open.
    pub fn open(&self) -> usize {
        self.server.open()
    }
}

impl Repository {
    /// Counts a request; what is to happen to it.
    fn fault(&mut self, path: &str) -> Option<Fault> {
        self.asked += 1;
        let happens = match self.when {
            When::Never => false,
            When::Once(n) => self.asked == n,
            When::Always(n) => {
                if self.asked == n {
                    self.path = Some(path.to_owned());
                }
                self.path.as_deref() == Some(path)
            }
        };
        happens.then_some(self.fault)
    }
}

/// Type and bytes of a document or a blob.
fn found(layout: &Path, path: &str) -> Option<(String, Vec<u8>)> {
    let blob = |digest: &str| -> PathBuf { layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:")) };
    if let Some(digest) = path.strip_prefix("blobs/") {
        return Some(("application/octet-stream".into(), fs::read(blob(digest)).ok()?));
    }
    let name = path.strip_prefix("manifests/")?;
    let digest = match name.starts_with("sha256:") {
        true => name.to_owned(),
        false => {
            let index = json(&fs::read(layout.join("index.json")).ok()?);
            index["manifests"][0]["digest"].as_str()?.to_owned()
        }
    };
    let bytes = fs::read(blob(&digest)).ok()?;
    Some((json(&bytes)["mediaType"].as_str()?.to_owned(), bytes))
}

fn missing() -> Reply {
    Reply::new(404, br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"it is not here"}]}"#)
}

fn spoiled(fault: Fault, media_type: &str, bytes: &[u8]) -> Reply {
    let middle = bytes.len() / 2;
    let reply = |bytes: &[u8]| Reply::new(200, bytes).header("Content-Type", media_type);
    match fault {
        Fault::Failing => Reply::new(500, b"<html>out of order</html>"),
        Fault::Denied => Reply::new(401, b""),
        Fault::Missing => missing(),
        Fault::Busy(seconds) => Reply::new(429, b"").header("Retry-After", &seconds.to_string()),
        Fault::HangUp => Reply::new(200, bytes).hang_up(),
        Fault::Cut => reply(bytes).cut(middle),
        Fault::Flipped => {
            let mut bytes = bytes.to_vec();
            bytes[middle] ^= 1;
            reply(&bytes)
        }
        Fault::Short => reply(&bytes[..bytes.len() - 1]),
        Fault::Long => reply(&[bytes, b" "].concat()),
        Fault::Silent => Reply::new(200, bytes).silent(),
        Fault::Stalled => reply(bytes).stall_after(middle),
    }
}
