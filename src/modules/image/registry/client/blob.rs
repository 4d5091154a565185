//! The bytes of a blob, proven: a reader that goes on where a broken connection stopped, and that hands out the last
//! bytes only when all of them have the digest.

use super::super::Cancel;
use super::answer::header;
use super::retry::{Attempts, Failure, Remedy, later};
use super::session::{Session, Wanted};
use super::transport::failure;
use super::{Layer, V2};
use crate::error::{Error, Result};
use crate::utils::digest::Sha256;
use std::io::Read;
use ureq::http::Response;
use ureq::{Body, BodyReader};

/// Bytes thrown away at once when a registry begins anew.
const SKIP: usize = 16 << 10;

/// A blob under way.
pub(super) struct Blob<'a> {
    session: &'a Session,
    cancel: Cancel,
    digest: String,
    /// Bytes of the whole; told by the first answer where the manifest did not.
    size: Option<u64>,
    body: Option<BodyReader<'static>>,
    /// Bytes handed out.
    received: u64,
    /// Of the bytes handed out; taken when it was compared.
    hash: Option<Sha256>,
    attempts: Attempts,
    /// What ended it: every further read gives it again.
    broken: bool,
}

impl<'a> Blob<'a> {
    /// Waits for the answer's head, so that a missing blob is an error here and not of the first read.
    pub(super) fn open(session: &'a Session, layer: &Layer, cancel: &Cancel) -> Result<Blob<'a>> {
        crate::utils::digest::parse(&layer.digest)?;
        let mut blob = Blob {
            session,
            cancel: cancel.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            body: None,
            received: 0,
            hash: Some(Sha256::new()),
            attempts: Attempts::new(session.policy),
            broken: false,
        };
        blob.connect().map_err(|failure| blob.named(failure.error))?;
        Ok(blob)
    }

    /// Makes sure there is a body that stands at the next byte. Attempts are counted here, over the blob's whole life.
    fn connect(&mut self) -> std::result::Result<(), Failure> {
        while self.body.is_none() {
            self.cancel.check()?;
            if let Err(mut failure) = self.connect_once() {
                // The registry gave the manifest a moment ago: what cannot be reached now will be again.
                if failure.remedy == Remedy::Elsewhere {
                    failure.remedy = Remedy::Later(None);
                }
                self.attempts.wait(failure, &self.cancel)?;
            }
        }
        Ok(())
    }

    fn connect_once(&mut self) -> std::result::Result<(), Failure> {
        let from = Some(self.received).filter(|n| *n > 0);
        let path = format!("blobs/{}", self.digest);
        let wanted = Wanted { root: V2, path: &path, accept: &[], from, is_proven: true, is_document: false };
        let answer = self.session.ask_once(&wanted)?;
        let starts_at = self.begin(&answer)?;
        let mut body = answer.into_body().into_reader();
        skip(&mut body, self.received - starts_at)?;
        self.body = Some(body);
        Ok(())
    }

    /// Where an answer begins; checks what it announces.
    fn begin(&mut self, answer: &Response<Body>) -> Result<u64> {
        let starts_at = if answer.status() == 206 {
            let range = header(answer, "content-range").unwrap_or_default();
            let start = range.strip_prefix("bytes ").and_then(|r| r.split('-').next()).and_then(|s| s.parse().ok());
            match start {
                Some(start) if start == self.received => start,
                _ => return Err(Error::corrupt(format!("another range than from byte {}", self.received))),
            }
        } else {
            0
        };
        // The library knows no length of an empty body.
        let length = header(answer, "content-length").and_then(|n| n.parse::<u64>().ok());
        let announced = length.filter(|_| header(answer, "transfer-encoding").is_none());
        match (self.size, announced.map(|length| starts_at.saturating_add(length))) {
            (Some(size), Some(announced)) if announced != size => {
                Err(Error::corrupt(format!("the registry has {announced} bytes of it, the manifest says {size}")))
            }
            (None, None) => Err(Error::corrupt("neither the manifest nor the registry says how many bytes it has")),
            (size, announced) => {
                self.size = size.or(announced);
                Ok(starts_at)
            }
        }
    }

    fn next(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            self.cancel.check()?;
            // Known since it was opened.
            let left = self.size.unwrap_or(0) - self.received;
            if left == 0 {
                self.prove()?;
                return Ok(0);
            }
            self.connect().map_err(|failure| failure.error)?;
            let Some(body) = &mut self.body else { continue };
            let room = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let failure = match body.read(&mut out[..room]) {
                Ok(0) => later("the blob broke off"),
                Ok(n) => {
                    self.received += n as u64;
                    self.attempts.progress();
                    if let Some(hash) = &mut self.hash {
                        hash.update(&out[..n]);
                    }
                    if n as u64 == left {
                        // Before the last bytes are out of the hand.
                        self.prove()?;
                    }
                    return Ok(n);
                }
                // Whatever it was, this registry has the blob.
                Err(e) => Failure { remedy: Remedy::Later(None), ..failure(e.into()) },
            };
            self.body = None;
            self.attempts.wait(failure, &self.cancel).map_err(|failure| failure.error)?;
        }
    }

    /// Compares the digest, once. The connection is free for the next blob when its end was seen.
    fn prove(&mut self) -> Result<()> {
        if let Some(mut body) = self.body.take()
            && self.size != Some(0)
        {
            // Where the length was announced this reads nothing; elsewhere more may come, which is not ours.
            let _ = body.read(&mut [0]);
        }
        let Some(hash) = self.hash.take() else { return Ok(()) };
        let digest = format!("sha256:{}", hash.finish());
        if digest == self.digest {
            return Ok(());
        }
        Err(Error::corrupt(format!("its {} bytes have the digest {digest}", self.received)))
    }

    fn named(&self, e: Error) -> Error {
        let Session { authority, repository, .. } = self.session;
        e.context(format!("registry {authority:?}: repository {repository:?}: blob {:?}", self.digest))
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.broken {
            return Err(self.named(Error::corrupt("it failed before")).into());
        }
        if out.is_empty() {
            return Ok(0);
        }
        self.next(out).map_err(|e| {
            self.broken = true;
            self.named(e).into()
        })
    }
}

/// Throws bytes away that are known already: the digest proves them again as little as it must.
fn skip(body: &mut BodyReader<'static>, mut count: u64) -> std::result::Result<(), Failure> {
    let mut buffer = vec![0; SKIP];
    while count > 0 {
        let room = buffer.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        match body.read(&mut buffer[..room]) {
            Ok(0) => return Err(later("the blob broke off")),
            Ok(n) => count -= n as u64,
            Err(e) => return Err(failure(e.into())),
        }
    }
    Ok(())
}
