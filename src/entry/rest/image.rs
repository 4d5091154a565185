//! Images.

use super::route::{ImageVerb, ImportCall, PullCall};
use crate::api::image::{AuthRequest, AuthResponse, ProgressLine};
use crate::entry::exchange::{Exchange, Outcome, error_body};
use crate::error::Result;
use crate::executor::pull::{self, Pull};
use crate::executor::{Daemon, image};
use crate::modules::image::credentials;
use crate::modules::image::platform::Platform;
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

/// `POST /images/create?fromImage=…`: a stream of progress. What fails before it begins has its status; later the last
/// line says it.
pub fn pull(daemon: &Daemon, call: &PullCall, mut exchange: Exchange) -> Outcome {
    let wanted = || -> Result<Pull> {
        let header = exchange.head.registry_auth.as_ref().map_or("", |secret| &secret.0);
        let reference = pull::reference(&call.name)?;
        // Those for another registry are not for this one's eyes.
        let host = credentials::normalise(reference.name.split('/').next().unwrap_or_default());
        let given = credentials::parse_header(header)?;
        let given = given.filter(|(server, _)| server.as_ref().is_none_or(|server| *server == host));
        Ok(Pull {
            reference,
            platform: call.platform.as_deref().map_or_else(|| Ok(Platform::here()), Platform::parse)?,
            credentials: given.map(|(_, credentials)| credentials),
        })
    };
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(e) => return exchange.fail(e),
    };
    let mut body = exchange.stream(media::JSON);
    let mut tell = |line: &ProgressLine| {
        body.write([&json::to_vec(line), b"\r\n"])?;
        body.flush()
    };
    let pulled = pull::pull(daemon, &wanted, &mut tell);
    let begun = body.has_begun();
    match pulled {
        Ok(_) => {
            let _ = body.finish(); // the client left; the image is here
        }
        Err(e) if !begun => return exchange.fail(e),
        Err(e) => {
            let text = e.to_string();
            log::warn!("pull of {:?}: {text}", call.name);
            let line =
                ProgressLine { error: Some(text), error_detail: Some(error_body(&e)), ..ProgressLine::default() };
            let _ = body.write([&json::to_vec(&line), b"\r\n"]).and_then(|()| body.finish()); // the client left
        }
    }
    Outcome::Answered(exchange.connection, 200)
}

/// `POST /auth` and `POST /isula/login`: asks the registry whether the credentials are good, and keeps them when `keep`.
pub fn auth(daemon: &Daemon, mut exchange: Exchange, keep: bool) -> Outcome {
    let request: AuthRequest = match exchange.document() {
        Ok(request) => request,
        Err(failure) => return exchange.fail(failure),
    };
    match pull::login(daemon, &request, keep) {
        Ok(()) => {
            let answer = AuthResponse { status: "Login Succeeded".into(), ..AuthResponse::default() };
            exchange.json(200, &answer)
        }
        Err(e) => exchange.fail(e),
    }
}

/// `POST /isula/logout`
pub fn logout(daemon: &Daemon, mut exchange: Exchange) -> Outcome {
    let request: AuthRequest = match exchange.document() {
        Ok(request) => request,
        Err(failure) => return exchange.fail(failure),
    };
    match pull::logout(daemon, &request.serveraddress) {
        Ok(()) => exchange.empty(204),
        Err(e) => exchange.fail(e),
    }
}
