//! Asking the authorizer: a request and its response as plugins see them, and the original's names of actions.

use super::route::{Call, ContainerVerb, ExecVerb, ImageVerb, RegistryCall, ToolCall, VolumeCall};
use crate::api::authorization::AccessRequest;
use crate::entry::connection::{Peer, Scope, Shared};
use crate::entry::exchange::{Counted, Exchange, Failure};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::http::h1;
use crate::utils::http::media;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// Bodies are shown up to this size, as docker does. A request with a larger one is refused: what a plugin cannot see
/// it cannot judge.
const SHOWN: usize = 1 << 20;
/// Header fields with credentials.
const HIDDEN: [&str; 3] = ["authorization", "x-registry-auth", "x-registry-config"];

/// What was asked about a request, for the question about its response.
pub struct Asked {
    shared: Arc<Shared>,
    request: AccessRequest,
}

/// Asks whether a request may be. Its body, when it is shown, is read and given back.
pub fn check(exchange: &mut Exchange, call: &Call) -> std::result::Result<(), Failure> {
    if exchange.connection.shared.authorizer.is_none() || exchange.connection.scope != Scope::All {
        return Ok(());
    }
    let shared = exchange.connection.shared.clone();
    let Some(authorizer) = &shared.authorizer else { return Ok(()) };
    let (user, action) = (user(&exchange.connection.peer), action(call));
    if let (Some(user), Some(action)) = (&user, action) {
        authorizer.check_action(user, action)?;
    }
    if !authorizer.has_plugins() {
        return Ok(());
    }
    // A plugin that knows paths by their words must see those by which the request is routed.
    if exchange.head.target.split('?').next().is_some_and(|path| path.contains("//")) {
        return Err(Error::invalid("the path of the request has an empty part").into());
    }
    let is_shown = exchange.head.content_type.as_deref() == Some(media::JSON) && !holds_password(call);
    let mut counted = Counted::new(&shared.document_bytes);
    let body = if is_shown { read(exchange, &mut counted)? } else { Vec::new() };
    let is_certified = matches!(exchange.connection.peer, Peer::Certified { .. });
    let mut request = AccessRequest {
        authentication: if is_certified { "TLS" } else { "" }.into(),
        user: user.unwrap_or_default(),
        request_method: exchange.head.method.as_str().into(),
        request_uri: exchange.head.target.clone(),
        request_body: STANDARD.encode(&body),
        request_headers: fields(&std::mem::take(&mut exchange.connection.head)),
        ..AccessRequest::default()
    };
    if is_shown {
        exchange.connection.put_back(body);
    }
    authorizer.check_request(&request)?;
    // The question about the response has none, as docker's: a request may last for days.
    request.request_body.clear();
    exchange.asked = Some(Box::new(Asked { shared: shared.clone(), request }));
    Ok(())
}

impl Asked {
    /// Asks whether a response may be.
    ///
    /// # Errors
    /// `Kind::Denied`.
    pub fn check_response(mut self, status: u16, media_type: &str, body: &[u8]) -> Result<()> {
        let Some(authorizer) = &self.shared.authorizer else { return Ok(()) };
        self.request.response_status_code = status;
        if !media_type.is_empty() {
            self.request.response_headers = [("Content-Type".to_owned(), media_type.to_owned())].into();
        }
        if media_type == media::JSON && body.len() < SHOWN {
            self.request.response_body = STANDARD.encode(body);
        }
        authorizer.check_response(&self.request)
    }
}

/// Who it is; `None` on a socket without TLS.
fn user(peer: &Peer) -> Option<String> {
    match peer {
        Peer::Certified { user, .. } => Some(user.to_string()),
        Peer::Encrypted(_) => Some(String::new()),
        Peer::Local { .. } | Peer::Remote(_) | Peer::Unknown => None,
    }
}

fn read(exchange: &mut Exchange, counted: &mut Counted<'_>) -> std::result::Result<Vec<u8>, Failure> {
    let too_large = || Failure {
        status: 413,
        error: Error::invalid(format!(
            "request body is larger than {SHOWN} bytes, which no authorization plugin can see"
        )),
        allow: String::new(),
    };
    if exchange.connection.body_left().is_some_and(|n| n >= SHOWN as u64) {
        return Err(too_large());
    }
    exchange.connection.expect_document();
    let mut body = Vec::new();
    while body.len() < SHOWN {
        let filled = body.len();
        if filled > 0 {
            // It, its form in base64, and the document with that.
            counted.grow_to(filled * 8)?;
        }
        let mut limited = (&mut exchange.connection).take(filled.clamp(4096, SHOWN - filled) as u64);
        let read = limited.read_to_end(&mut body).context(|| "read request body".into());
        if read.map_err(|e| e.with_kind(Kind::Invalid))? == 0 {
            return Ok(body);
        }
    }
    Err(too_large())
}

/// The fields of a head, of which a name that comes twice has the last value, as in docker's.
fn fields(head: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (name, value) in h1::fields(head) {
        if !HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
            fields.insert(canonical(&name), value);
        }
    }
    fields
}

/// As Go writes names, which plugins look for: `content-type` is `Content-Type`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let written = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            written
        })
        .collect()
}

/// Bodies that no plugin is shown.
fn holds_password(call: &Call) -> bool {
    matches!(call, Call::Registry(RegistryCall::Auth | RegistryCall::Login))
}

/// The original's name of what is asked, or one in its manner. `None` for what gives nothing away.
fn action(call: &Call) -> Option<&'static str> {
    Some(match call {
        Call::Ping => return None,
        Call::Version => "docker_version",
        Call::Info => "docker_info",
        Call::Metrics(_) => "docker_metrics",
        Call::Events(_) => "docker_events",
        Call::ContainerCreate { .. } => "container_create",
        Call::ContainerList(_) => "container_list",
        Call::Container(call) => match call.verb {
            ContainerVerb::Inspect { .. } => "container_inspect",
            ContainerVerb::Start => "container_start",
            ContainerVerb::Stop { .. } => "container_stop",
            ContainerVerb::Restart { .. } => "container_restart",
            ContainerVerb::Kill { .. } => "container_kill",
            ContainerVerb::Wait(_) => "container_wait",
            ContainerVerb::Delete { .. } => "container_delete",
            ContainerVerb::Rename { .. } => "container_rename",
            ContainerVerb::Update => "container_update",
            ContainerVerb::Pause => "container_pause",
            ContainerVerb::Unpause => "container_unpause",
            ContainerVerb::Logs(_) => "container_logs",
            ContainerVerb::Attach(_) => "container_attach",
            ContainerVerb::Resize { .. } => "container_resize",
            ContainerVerb::Top { .. } => "container_top",
            ContainerVerb::Stats(_) => "container_stats",
            ContainerVerb::ExecCreate => "container_exec_create",
        },
        // A session is an open door for whoever knows its id.
        Call::Exec(call) => match call.verb {
            ExecVerb::Start => "container_exec_create",
            ExecVerb::Inspect => "container_inspect",
            ExecVerb::Resize { .. } => "container_resize",
        },
        Call::ImageList(_) => "image_list",
        Call::ImageImport(_) => "image_import",
        Call::ImageLoad { .. } | Call::EmbeddedLoad { .. } => "image_load",
        Call::Image(call) => match call.verb {
            ImageVerb::Inspect => "image_inspect",
            ImageVerb::Tag { .. } => "image_tag",
            ImageVerb::Delete { .. } => "image_delete",
        },
        Call::Tool(call) => match call {
            ToolCall::History(_) => "image_inspect",
            ToolCall::Prune(_) => "image_delete",
            ToolCall::Save(_) => "image_save",
            ToolCall::Export(_) => "container_export",
            ToolCall::Changes(_) => "container_inspect",
            ToolCall::PathStat(..) | ToolCall::CopyOut(..) | ToolCall::CopyIn(..) => "container_archive",
            ToolCall::PruneContainers(_) => "container_delete",
            ToolCall::DiskUsage(_) => "docker_info",
            ToolCall::PruneNothing => "network_remove",
        },
        Call::Volume(call) => match call {
            VolumeCall::List(_) => "volume_list",
            VolumeCall::Create => "volume_create",
            VolumeCall::Inspect(_) => "volume_inspect",
            VolumeCall::Remove { .. } => "volume_remove",
            VolumeCall::Prune(_) => "volume_prune",
        },
        Call::Registry(call) => match call {
            RegistryCall::Pull { .. } => "pull",
            RegistryCall::Search { .. } => "image_search",
            RegistryCall::Auth | RegistryCall::Login => "login",
            RegistryCall::Logout => "logout",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_named_as_in_go_and_credentials_are_left_out() {
        let head = b"POST / HTTP/1.1\r\nhost: a\r\nX-ReGistry-Auth: secret\r\nauthorization: Basic x\r\nx-a: 1\r\nX-A: 2\r\n\r\n";
        let want: BTreeMap<String, String> =
            [("Host", "a"), ("X-A", "2")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(fields(head), want);
        assert!(fields(b"nonsense").is_empty());
    }
}
