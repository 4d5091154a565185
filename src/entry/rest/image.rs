//! Images.

use super::route::{ImageVerb, ImportCall};
use crate::api::image::ProgressLine;
use crate::entry::exchange::{Exchange, Outcome};
use crate::executor::{Daemon, image};
use crate::modules::image::store::Import;
use crate::utils::http::media;
use crate::utils::http::query::Filters;
use crate::utils::json;

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
        Err(e) => exchange.fail(e),
    }
}

/// `POST /images/load`: the archive is read as it comes. `name` is ours: a name for the only image, in place of its own.
pub fn load(daemon: &Daemon, name: Option<&str>, mut exchange: Exchange) -> Outcome {
    match image::load(daemon, &mut exchange.connection, name) {
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
