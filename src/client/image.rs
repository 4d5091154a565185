//! Images.

use super::connection::Payload;
use super::request::{ImageListRequest, ImageSearchRequest, ImportRequest};
use super::{Client, Filters, target};
use crate::api::image::{
    AuthRequest, AuthResponse, DeleteEntry, HistoryEntry, ImageInspect, ImageSummary, ProgressLine, PruneResponse,
    SearchResult,
};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::http::h1::Method;
use crate::utils::http::query::Target;
use crate::utils::json;
use std::io::{Read, Write};

/// Bytes of a line of progress; with what may come behind it in one piece.
const LONGEST_LINE: usize = 1 << 20;

impl Client {
    /// Lists images, newest first.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    pub fn image_list(&self, request: &ImageListRequest) -> Result<Vec<ImageSummary>> {
        self.exchange(Method::Get, &target("/images/json").filters(&request.filters), Payload::None)
    }

    /// Searches registries for images.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter or a malformed term; what the registry gives.
    pub fn image_search(&self, request: &ImageSearchRequest) -> Result<Vec<SearchResult>> {
        let ImageSearchRequest { term, limit, filters } = request;
        let target = target("/images/search").parameter("term", term).parameter("limit", &limit.to_string());
        self.exchange(Method::Get, &target.filters(filters), Payload::None)
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn image_inspect(&self, name: &str) -> Result<ImageInspect> {
        self.exchange(Method::Get, &target("/images").image(name).segment("json"), Payload::None)
    }

    /// The same as the daemon wrote it.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn image_inspect_json(&self, name: &str) -> Result<Vec<u8>> {
        self.bytes(Method::Get, &target("/images").image(name).segment("json"), Payload::None)
    }

    /// Makes an image from a tar stream; gives its id (`sha256:…`).
    ///
    /// # Errors
    /// `Kind::Invalid` for a name or archive that breaks a rule; what reading the source gives.
    pub fn image_import(&self, request: &ImportRequest, source: &mut dyn Read) -> Result<String> {
        let some = |text: &str| if text.is_empty() { None } else { Some(text.to_owned()) };
        let mut target = target("/images/create")
            .parameter("fromSrc", "-")
            .optional("repo", some(&request.repo).as_deref())
            .optional("tag", some(&request.tag).as_deref())
            .optional("message", some(&request.message).as_deref());
        for change in &request.changes {
            target = target.parameter("changes", change);
        }
        import_result(&self.bytes(Method::Post, &target, Payload::Archive(source))?)
    }

    /// Loads the images of an archive; gives a line about each. `name` is for the only one, in place of its own.
    ///
    /// # Errors
    /// `Kind::Invalid` for an archive that is none or a name that breaks a rule; what reading the source gives.
    pub fn image_load(&self, name: Option<&str>, source: &mut dyn Read) -> Result<Vec<String>> {
        self.load(target("/images/load").optional("name", name), Payload::Archive(source))
    }

    /// Makes an embedded image of a manifest: that of the daemon's file `path`, or that which `source` gives.
    ///
    /// # Errors
    /// `Kind::Invalid` for a manifest that breaks a rule or a layer that is not what it says; `Kind::Conflict` for
    /// another image's name.
    pub fn image_load_embedded(
        &self,
        name: Option<&str>,
        path: Option<&str>,
        source: &mut dyn Read,
    ) -> Result<Vec<String>> {
        let target = target("/images/load").parameter("type", "embedded").optional("name", name);
        match path {
            Some(_) => self.load(target.optional("path", path), Payload::None),
            None => self.load(target, Payload::Archive(source)),
        }
    }

    fn load(&self, target: Target, payload: Payload<'_>) -> Result<Vec<String>> {
        let body = self.bytes(Method::Post, &target, payload)?;
        let mut lines = Vec::new();
        for line in progress_lines(&body) {
            lines.extend(line?.stream.map(|text| text.trim_end().to_owned()));
        }
        Ok(lines)
    }

    /// Pulls an image; each line of progress is handed to `tell`, which says whether to go on. `platform` is this
    /// machine's when there is none.
    ///
    /// # Errors
    /// `Kind::Invalid` for a malformed name; what the registry gives.
    pub fn image_pull(
        &self,
        name: &str,
        platform: Option<&str>,
        tell: &mut dyn FnMut(ProgressLine) -> Result<()>,
    ) -> Result<()> {
        let target = target("/images/create").parameter("fromImage", name).optional("platform", platform);
        let mut response = self.send(Method::Post, &target, Payload::None)?;
        let mut pending = Vec::new();
        response.read_stream(|piece| {
            let Some(piece) = piece else { return Ok(()) };
            pending.extend_from_slice(piece);
            if pending.len() > LONGEST_LINE {
                return Err(Error::corrupt("a line of progress that does not end"));
            }
            let Some(end) = pending.iter().rposition(|&b| b == b'\n') else { return Ok(()) };
            for line in progress_lines(&pending[..end]) {
                tell(line?)?;
            }
            pending.drain(..=end);
            Ok(())
        })?;
        self.keep(response);
        Ok(())
    }

    /// Has the daemon check credentials against a registry and keep them.
    ///
    /// # Errors
    /// `Kind::Denied` when the registry refuses them.
    pub fn login(&self, request: &AuthRequest) -> Result<AuthResponse> {
        self.exchange(Method::Post, &target("/isula/login"), Payload::Document(json::to_vec(request)))
    }

    /// Has the daemon forget the credentials for a registry.
    ///
    /// # Errors
    /// `Kind::NotFound` when there are none.
    pub fn logout(&self, server: &str) -> Result<()> {
        let request = AuthRequest { serveraddress: server.to_owned(), ..AuthRequest::default() };
        self.bytes(Method::Post, &target("/isula/logout"), Payload::Document(json::to_vec(&request))).map(drop)
    }

    /// Gives a further name.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Invalid` for a malformed name.
    pub fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let tag = Some(tag).filter(|t| !t.is_empty());
        let target = target("/images").image(name).segment("tag").parameter("repo", repo).optional("tag", tag);
        self.change(&target).map(drop)
    }

    /// The steps that an image was made by, newest first.
    ///
    /// # Errors
    /// `Kind::NotFound`.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        self.exchange(Method::Get, &target("/images").image(name).segment("history"), Payload::None)
    }

    /// Removes images that nothing uses.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown filter.
    pub fn image_prune(&self, filters: &Filters) -> Result<PruneResponse> {
        self.exchange(Method::Post, &target("/images/prune").filters(filters), Payload::None)
    }

    /// Writes images as one archive.
    ///
    /// # Errors
    /// `Kind::NotFound`, what writing gives.
    pub fn image_save(&self, names: &[String], out: &mut dyn Write) -> Result<()> {
        let target = names.iter().fold(target("/images/get"), |target, name| target.parameter("names", name));
        self.archive(&target, out)
    }

    /// Writes the root file system of a container as an archive.
    ///
    /// # Errors
    /// `Kind::NotFound`, what writing gives.
    pub fn container_export(&self, container: &str, out: &mut dyn Write) -> Result<()> {
        self.archive(&target("/containers").segment(container).segment("export"), out)
    }

    fn archive(&self, target: &Target, out: &mut dyn Write) -> Result<()> {
        let mut response = self.send(Method::Get, target, Payload::None)?;
        response
            .read_stream(|piece| out.write_all(piece.unwrap_or_default()).context(|| "write the archive".into()))?;
        self.keep(response);
        Ok(())
    }

    /// Removes a name or image.
    ///
    /// # Errors
    /// `Kind::NotFound`, `Kind::Conflict` when a container uses it.
    pub fn image_remove(&self, name: &str, force: bool) -> Result<Vec<DeleteEntry>> {
        self.exchange(Method::Delete, &target("/images").image(name).flag("force", force), Payload::None)
    }
}

/// The lines of a progress stream; one that tells an error is one.
fn progress_lines(bytes: &[u8]) -> impl Iterator<Item = Result<ProgressLine>> + '_ {
    let lines = bytes.split(|&b| b == b'\n').filter(|l| !l.trim_ascii().is_empty());
    lines.map(|line| {
        let line: ProgressLine = json::parse(line).map_err(|e| e.with_kind(Kind::Corrupt))?;
        line.error.clone().map_or(Ok(line), |error| Err(Error::internal(error)))
    })
}

/// The last status of a progress stream, or its error.
fn import_result(lines: &[u8]) -> Result<String> {
    let mut id = None;
    for line in progress_lines(lines) {
        id = line?.status.or(id);
    }
    id.ok_or_else(|| Error::corrupt("the daemon did not name the new image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines() {
        assert_eq!(import_result(b"{\"status\":\"a\"}\r\n{\"status\":\"sha256:b\"}\n").unwrap(), "sha256:b");
        assert_eq!(
            import_result(b"{\"status\":\"a\"}\n{\"error\":\"no space\"}\n").unwrap_err().to_string(),
            "no space"
        );
        assert!(import_result(b"").is_err() && import_result(b"x\n").is_err());
    }
}
