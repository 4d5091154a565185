//! `GET /events`: what happens, a document a line.

use crate::api::event::{Actor, Message};
use crate::entry::exchange::{Exchange, Leaving, Outcome};
use crate::executor::Daemon;
use crate::executor::events::{EventQuery, events};
use crate::modules::events::Event;
use crate::utils::http::media;
use crate::utils::{json, order};

/// Streams events until the client leaves or the time that it asked for has come.
pub fn perform(daemon: &Daemon, query: EventQuery, mut exchange: Exchange) -> Outcome {
    let events = match events(daemon, query) {
        Ok(events) => events,
        Err(e) => return exchange.fail(e),
    };
    let leaving = Leaving::watch(&exchange.connection);
    let mut body = exchange.stream(media::JSON);
    // Clients wait for the head before they do what they want to hear of.
    let ended = body.flush().and_then(|()| {
        events
            .run(&leaving, &mut |event| body.write([&json::to_vec(&message(event)), b"\n"]).and_then(|()| body.flush()))
    });
    match ended {
        Ok(()) => {
            let _ = body.finish(); // the client left; the connection's next read notices
        }
        Err(e) => {
            log::debug!("events: {e}");
            exchange.connection.close_after();
        }
    }
    Outcome::Answered(exchange.connection, 200)
}

fn message(event: &Event) -> Message {
    let named = event.kind == "container" || event.kind == "image";
    let only = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
    Message {
        status: only(named, &event.action),
        id: only(named, &event.id),
        from: only(event.kind == "container", event.attribute("image").unwrap_or_default()),
        kind: event.kind.into(),
        action: event.action.clone(),
        actor: Actor {
            id: event.id.clone(),
            attributes: order::map(event.attributes().map(|(k, v)| (k.to_owned(), v.to_owned()))),
        },
        scope: "local".into(),
        time: event.time.unix_seconds(),
        time_nano: event.time.unix_nanos(),
    }
}
