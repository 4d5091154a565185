//! What needs a registry client: pull, search, login, logout.

use super::route::RegistryCall;
use crate::entry::exchange::{Exchange, Outcome};
use crate::executor::Daemon;

/// Does what was asked for.
#[cfg(feature = "registry")]
pub fn perform(daemon: &Daemon, call: &RegistryCall, exchange: Exchange) -> Outcome {
    match call {
        RegistryCall::Pull { name, platform } => client::pull(daemon, name, platform.as_deref(), exchange),
        RegistryCall::Search { term, limit, filters } => client::search(daemon, term, *limit, filters, exchange),
        RegistryCall::Auth => client::auth(daemon, exchange, false),
        RegistryCall::Login => client::auth(daemon, exchange, true),
        RegistryCall::Logout => client::logout(daemon, exchange),
    }
}

/// Says that this build cannot.
#[cfg(not(feature = "registry"))]
pub fn perform(_: &Daemon, _: &RegistryCall, exchange: Exchange) -> Outcome {
    use crate::error::{Error, Kind};
    exchange.fail(Error::new(Kind::Unsupported, "this build has no registry client: load images from archives"))
}

#[cfg(feature = "registry")]
mod client {
    use super::*;
    use crate::api::image::{AuthRequest, AuthResponse, ProgressLine};
    use crate::entry::exchange::{Leaving, error_body};
    use crate::error::Result;
    use crate::executor::pull::{self, Pull};
    use crate::executor::search::{self, Search};
    use crate::modules::image::credentials::{self, Credentials};
    use crate::modules::image::platform::Platform;
    use crate::modules::image::reference::Searched;
    use crate::utils::http::media;
    use crate::utils::http::query::Filters;
    use crate::utils::json;

    /// `POST /images/create?fromImage=…`: a stream of progress. What fails before it begins has its status; later the last
    /// line says it.
    pub fn pull(daemon: &Daemon, name: &str, platform: Option<&str>, mut exchange: Exchange) -> Outcome {
        let wanted = || -> Result<Pull> {
            let reference = pull::reference(name)?;
            let credentials = given(&exchange, reference.name.split('/').next().unwrap_or_default())?;
            let platform = platform.map_or_else(|| Ok(Platform::here()), Platform::parse)?;
            Ok(Pull { reference, platform, credentials })
        };
        let wanted = match wanted() {
            Ok(wanted) => wanted,
            Err(e) => return exchange.fail(e),
        };
        let caller = Leaving::watch(&exchange.connection);
        let mut body = exchange.stream(media::JSON);
        let mut tell = |line: &ProgressLine| {
            body.write([&json::to_vec(line), b"\r\n"])?;
            body.flush()
        };
        let pulled = pull::pull(daemon, &wanted, &caller, &mut tell);
        let begun = body.has_begun();
        match pulled {
            Ok(_) => {
                let _ = body.finish(); // the client left; the image is here
            }
            Err(e) if !begun => return exchange.fail(e),
            Err(e) => {
                let text = e.to_string();
                log::warn!("pull of {:?}: {text}", name);
                let line =
                    ProgressLine { error: Some(text), error_detail: Some(error_body(&e)), ..ProgressLine::default() };
                let _ = body.write([&json::to_vec(&line), b"\r\n"]).and_then(|()| body.finish()); // the client left
            }
        }
        Outcome::Answered(exchange.connection, 200)
    }

    /// The credentials that came along, unless they are for another registry: they are not for this one's eyes.
    fn given(exchange: &Exchange, host: &str) -> Result<Option<Credentials>> {
        let header = exchange.head.registry_auth.as_ref().map_or("", |secret| &secret.0);
        let host = credentials::normalise(host);
        let given = credentials::parse_header(header)?;
        let given = given.filter(|(server, _)| server.as_ref().is_none_or(|server| *server == host));
        Ok(given.map(|(_, credentials)| credentials))
    }

    /// `GET /images/search`
    pub fn search(daemon: &Daemon, term: &str, limit: u32, filters: &Filters, exchange: Exchange) -> Outcome {
        let found = Searched::parse(term).and_then(|searched| {
            let credentials = given(&exchange, &searched.host)?;
            let wanted = Search { searched, limit, filters: filters.clone(), credentials };
            search::search(daemon, &wanted, &Leaving::watch(&exchange.connection))
        });
        match found {
            Ok(list) => exchange.json(200, &list),
            Err(e) => exchange.fail(e),
        }
    }

    /// `POST /auth` and `POST /isula/login`: asks the registry whether the credentials are good, and keeps them when `keep`.
    pub fn auth(daemon: &Daemon, mut exchange: Exchange, keep: bool) -> Outcome {
        let request: AuthRequest = match exchange.document() {
            Ok(request) => request,
            Err(failure) => return exchange.fail(failure),
        };
        match pull::login(daemon, &request, keep, &Leaving::watch(&exchange.connection)) {
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
}
