//! Images.

use super::route::{ImageVerb, ImportCall};
use crate::api::image::ProgressLine;
use crate::entry::exchange::{Exchange, Outcome};
use crate::error::{Context, Error, Kind, Result};
use crate::executor::{Daemon, image};
use crate::modules::image::embedded::{MANIFEST_LIMIT, Source};
use crate::modules::image::load::Loaded;
use crate::modules::image::store::Import;
use crate::utils::http::media;
use crate::utils::http::query::Filters;
use crate::utils::json;
use std::io::Read;

/// `/images/{name}/…`
pub fn perform(daemon: &Daemon, name: &str, verb: ImageVerb, exchange: Exchange) -> Outcome {
    match verb {
        ImageVerb::Inspect => match image::inspect(daemon, name) {
            Ok(image) => exchange.json(200, &image),
            Err(e) => exchange.fail(e),
        },
        ImageVerb::Tag { target } => match image::tag(daemon, name, &target) {
            Ok(()) => exchange.empty(201),
            Err(e) => exchange.fail(e),
        },
        ImageVerb::Delete { force } => match image::delete(daemon, name, force) {
            Ok(entries) => exchange.json(200, &entries),
            Err(e) => exchange.fail(e),
        },
    }
}

/// `GET /images/json`
pub fn list(daemon: &Daemon, filters: &Filters, exchange: Exchange) -> Outcome {
    match image::list(daemon, filters) {
        Ok(images) => exchange.json(200, &images),
        Err(e) => exchange.fail(e),
    }
}

/// `POST /images/create?fromSrc=-`: the archive is read as it comes.
pub fn import(daemon: &Daemon, call: &ImportCall, mut exchange: Exchange) -> Outcome {
    let import = Import {
        source: &mut exchange.connection,
        reference: &call.reference,
        message: &call.message,
        changes: &call.changes,
    };
    match image::import(daemon, import) {
        // One line of a progress stream, which is what docker's clients read here.
        Ok(id) => exchange.json(200, &ProgressLine { status: Some(id), ..ProgressLine::default() }),
        Err(e) => exchange.fail(of_sender(e)),
    }
}

/// `POST /images/load`: the archive is read as it comes. `name` is ours: a name for the only image, in place of its own.
pub fn load(daemon: &Daemon, name: Option<&str>, mut exchange: Exchange) -> Outcome {
    let loaded = image::load(daemon, &mut exchange.connection, name).map_err(of_sender);
    answer(loaded, exchange)
}

/// An archive that is damaged is the fault of who sends it, as any other wrong request.
fn of_sender(e: Error) -> Error {
    if e.kind() == Kind::Corrupt { e.with_kind(Kind::Invalid) } else { e }
}

/// `POST /images/load?type=embedded`: a manifest by its path on this machine, or as the body.
pub fn load_embedded(daemon: &Daemon, name: Option<&str>, path: Option<String>, mut exchange: Exchange) -> Outcome {
    let source = match path {
        Some(path) => Ok(Source::File(path.into())),
        None => {
            exchange.connection.expect_document();
            text(&mut exchange.connection).map(Source::Text)
        }
    };
    let loaded = source.and_then(|source| image::load_embedded(daemon, source, name));
    answer(loaded, exchange)
}

fn text(body: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = body.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes);
    read.context(|| "read request body".into()).map_err(|e| e.with_kind(Kind::Invalid))?;
    match bytes.len() as u64 > MANIFEST_LIMIT {
        true => Err(Error::invalid(format!("a manifest of more than {MANIFEST_LIMIT} bytes"))),
        false => Ok(bytes),
    }
}

fn answer(loaded: Result<Vec<Loaded>>, exchange: Exchange) -> Outcome {
    match loaded {
        Ok(loaded) => {
            let mut lines = Vec::new();
            for one in loaded {
                let texts = one.names.iter().map(|name| format!("Loaded image: {name}\n"));
                let unnamed = one.names.is_empty().then(|| format!("Loaded image ID: sha256:{}\n", one.image.id));
                for text in texts.chain(unnamed) {
                    lines.extend(json::to_vec(&ProgressLine { stream: Some(text), ..ProgressLine::default() }));
                    lines.extend_from_slice(b"\r\n");
                }
            }
            exchange.respond(200, media::JSON, &[], &lines)
        }
        Err(e) => exchange.fail(e),
    }
}
