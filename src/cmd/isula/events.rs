//! `events`: what happens to containers, images and volumes.

use super::failure::Failure;
use super::ordered::Node;
use super::template::{self, JsonStyle};
use super::{Session, filters, output};
use crate::api::event::Message;
use crate::error::Error;
use crate::utils::json;
use crate::utils::sys::zone;
use crate::utils::time::Timestamp;
use argh::{ArgsInfo, FromArgs};

/// Keys of `--filter`.
const FILTERS: &[&str] = &["container", "event", "image", "label", "scope", "type", "volume"];

/// print what happens, until interrupted or until a time
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "events")]
pub struct Events {
    /// events of this container only
    #[argh(option, short = 'n', arg_name = "container")]
    name: Option<String>,
    /// from this time on: RFC 3339, Unix seconds, or a duration before now
    #[argh(option, short = 'S', arg_name = "time")]
    since: Option<String>,
    /// up to this time
    #[argh(option, short = 'U', arg_name = "time")]
    until: Option<String>,
    /// events of this kind only: container, event, image, label, scope, type, volume
    #[argh(option, short = 'f', arg_name = "K=V")]
    filter: Vec<String>,
    /// print each event with a Go template, or `json`
    #[argh(option, arg_name = "string")]
    format: Option<String>,
}

impl Events {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut filters = filters(&self.filter, FILTERS)?;
        if let Some(name) = self.name {
            filters.entry("container".to_owned()).or_default().push(name);
        }
        let format = template::asked(self.format.as_deref(), JsonStyle::Compact)?;
        let whole = template::is_whole(self.format.as_deref());
        let (since, until) = (self.since.unwrap_or_default(), self.until.unwrap_or_default());
        // What stops the stream that is not the daemon's.
        let mut failure = None;
        let result = session.client()?.events(&since, &until, &filters, |event| {
            let text = match &format {
                None => Ok(line(&event, zone::utc_offset)),
                Some(format) => json::parse::<Node>(&json::to_vec(&event))
                    .map_err(Failure::from)
                    .and_then(|node| format.render(&if whole { node } else { completed(node) }))
                    .map(|text| text + "\n"),
            };
            text.and_then(|text| output::print(&text)).map_err(|f| {
                failure = Some(f);
                Error::internal("stopped")
            })
        });
        match failure {
            Some(failure) => Err(failure),
            None => Ok(result.map(|()| 0)?),
        }
    }
}

/// With the fields that are not sent when they are empty.
fn completed(mut event: Node) -> Node {
    for field in ["status", "id", "from"] {
        event.add(field, Node::Text(String::new()));
    }
    event
}

/// `TIME KIND ACTION ID (K=V, …)`
fn line(event: &Message, offset: fn(i64) -> i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let (seconds, nanos) = (event.time_nano.div_euclid(SECOND), event.time_nano.rem_euclid(SECOND));
    let time = Timestamp::from_unix(seconds, nanos as u32);
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let (time, attributes) = (time.rfc3339_in(offset), attributes.join(", "));
    format!("{time} {} {} {} ({attributes})\n", event.kind, event.action, event.actor.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_originals() {
        let mut event = Message {
            kind: "container".into(),
            action: "die".into(),
            time_nano: 1_700_000_000_123_456_789,
            ..Message::default()
        };
        event.actor.id = "ab".into();
        event.actor.attributes =
            [("name".to_owned(), "web".to_owned()), ("exitCode".to_owned(), "3".to_owned())].into();
        let line = line(&event, |_| 3600);
        assert_eq!(line, "2023-11-14T23:13:20.123456789+01:00 container die ab (exitCode=3, name=web)\n");
    }
}
