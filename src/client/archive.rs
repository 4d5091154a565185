//! Files in containers.

use super::connection::{Payload, Response};
use super::{Client, target, unreadable};
use crate::api::archive::{PATH_STAT, PathChange, PathStat};
use crate::error::{Error, Result};
use crate::utils::http::h1::Method;
use crate::utils::http::query::Target;
use crate::utils::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{Read, Write};

fn archive(container: &str, path: &str) -> Target {
    target("/containers").segment(container).segment("archive").parameter("path", path)
}

fn stat_of(response: &Response) -> Result<PathStat> {
    let missing = || Error::corrupt("the daemon does not tell what there is at the path");
    let text = response.head.header(PATH_STAT).ok_or_else(missing)?;
    let bytes = STANDARD.decode(text).map_err(|_| missing())?;
    json::parse(&bytes).map_err(unreadable)
}

impl Client {
    /// What there is at a path in a container. A refusal has no text.
    ///
    /// # Errors
    /// `Kind::NotFound`; `Kind::Invalid` for something that is to be a directory and is none.
    pub fn container_path(&self, container: &str, path: &str) -> Result<PathStat> {
        let response = self.send(Method::Head, &archive(container, path), Payload::None)?;
        let stat = stat_of(&response);
        self.keep(response);
        stat
    }

    /// The same, and hands its archive to `take` to be read to its end.
    ///
    /// # Errors
    /// As [`Client::container_path`]; what `take` gives.
    pub fn container_copy_out<T, E: From<Error>>(
        &self,
        container: &str,
        path: &str,
        take: impl FnOnce(PathStat, &mut dyn Read) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut response = self.send(Method::Get, &archive(container, path), Payload::None)?;
        let stat = stat_of(&response)?;
        let taken = take(stat, &mut response)?;
        self.keep(response);
        Ok(taken)
    }

    /// Has an archive, which `make` writes, extracted in a directory of a container; `own` gives all to the container's
    /// user. Nothing but a directory takes the place of one.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid` for a path that is no directory, `Kind::Denied` where it is read-only; what
    /// `make` gives.
    pub fn container_copy_in(
        &self,
        container: &str,
        path: &str,
        own: bool,
        make: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let target = archive(container, path).parameter("noOverwriteDirNonDir", "true").flag("copyUIDGID", own);
        self.bytes(Method::Put, &target, Payload::Made(make)).map(drop)
    }

    /// What a container has changed of its image.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn container_changes(&self, container: &str) -> Result<Vec<PathChange>> {
        let target = target("/containers").segment(container).segment("changes");
        self.exchange(Method::Get, &target, Payload::None)
    }
}
