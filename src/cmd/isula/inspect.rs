//! `inspect`: everything about containers and images.

use super::failure::{FAILED, Failure};
use super::ordered::Node;
use super::template::{Format, JsonStyle};
use super::{Session, output, state_word};
use crate::client::Client;
use crate::error::{Error, Kind};
use crate::utils::json;
use crate::utils::sys::zone;
use crate::utils::time::Timestamp;
use argh::{ArgsInfo, FromArgs};

/// print what is known about containers and images
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "inspect")]
pub struct Inspect {
    /// print with a Go template
    #[argh(option, short = 'f', arg_name = "string")]
    format: Option<String>,
    /// seconds to wait for the daemon; kept for scripts, the daemon never makes this wait
    #[argh(option, short = 't', arg_name = "int")]
    #[allow(dead_code)] // read by nobody, see above
    time: Option<i64>,
    /// container or image; both by default
    #[argh(option, long = "type", arg_name = "string")]
    kind: Option<String>,
    #[argh(positional, arg_name = "CONTAINER|IMAGE...")]
    names: Vec<String>,
}

impl Inspect {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = self.format.as_deref().map(|f| Format::parse(f, JsonStyle::Pretty)).transpose()?;
        let (containers, images) = match self.kind.as_deref() {
            None => (true, true),
            Some("container") => (true, false),
            Some("image") => (false, true),
            Some(other) => return Err(Failure::usage(format!("{other:?} is not a valid value for --type"))),
        };
        let client = session.client()?;
        let (mut found, mut code) = (Vec::new(), 0);
        for name in &self.names {
            match object(client, name, containers, images) {
                Ok(Some(object)) => match &format {
                    Some(format) => output::print(&format!("{}\n", format.render(&object)?))?,
                    None => found.push(object),
                },
                Ok(None) => {
                    output::complain(&format!("Inspect error: No such object:{name}"));
                    code = FAILED;
                }
                Err(e) => return Err(Failure::daemon(&e)),
            }
        }
        if format.is_none() && (!found.is_empty() || code == 0) {
            let mut screen = json::to_pretty(&json::to_vec(&Node::List(found.into_iter().map(shown).collect())));
            screen.push(b'\n');
            output::print_bytes(&screen)?;
        }
        Ok(code)
    }
}

/// The container of this name, else the image.
fn object(client: &Client, name: &str, containers: bool, images: bool) -> Result<Option<Node>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = |answer: Result<Vec<u8>, Error>| match answer {
        Ok(bytes) => json::parse::<Node>(&bytes).map(Some),
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        Err(e) => Err(e),
    };
    let container = if containers { found(client.container_inspect_json(name))? } else { None };
    let object = match container {
        Some(container) => Some(original_names(container)),
        None if images => found(client.image_inspect_json(name))?,
        None => None,
    };
    Ok(object.map(|object| local_times(object, zone::utc_offset)))
}

/// What the daemon tells in UTC, as docker's clients expect it, in the local time that the original shows.
fn local_times(mut object: Node, offset: fn(i64) -> i64) -> Node {
    let places: [&[&str]; 5] =
        [&["Created"], &["State", "StartedAt"], &["State", "FinishedAt"], &["image", "created"], &["image", "loaded"]];
    for place in places {
        let found = place.iter().try_fold(&mut object, |node, key| node.get_mut(key));
        if let Some(Node::Text(text)) = found
            && let Ok(time) = Timestamp::parse_rfc3339(text)
        {
            *text = time.rfc3339_in(offset);
        }
    }
    object
}

/// A container in the original's spelling, where it differs from docker's.
fn original_names(mut container: Node) -> Node {
    if let Some(Node::Text(name)) = container.get_mut("Name")
        && let Some(bare) = name.strip_prefix('/')
    {
        *name = bare.to_owned();
    }
    if let Some(Node::Object(fields)) = container.get_mut("HostConfig") {
        for (key, _) in fields {
            if let Some(rest) = key.strip_prefix("Cpu")
                && matches!(rest, "Shares" | "Period" | "Quota")
            {
                *key = format!("CPU{rest}");
            }
        }
    }
    if let Some(state) = container.get_mut("State") {
        if let Some(Node::Text(status)) = state.get_mut("Status") {
            *status = state_word(status).to_owned();
        }
        let has_health = state.get("Health").is_some_and(|h| *h != Node::Null);
        if let (false, Node::Object(fields)) = (has_health, state) {
            fields.retain(|(key, _)| key != "Health");
            let text = |s: &str| Node::Text(s.to_owned());
            let health = [("Status", text("")), ("FailingStreak", Node::Int(0)), ("Log", Node::List(Vec::new()))];
            let health = health.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            fields.push(("Health".to_owned(), Node::Object(health)));
        }
    }
    container
}

/// What the screen shows of an object: of an image the original's description, where the daemon sends it, and what an
/// embedded one is made of.
fn shown(object: Node) -> Node {
    let part = |key: &str| match object.get(key) {
        Some(part @ Node::Object(_)) => Some((key.to_owned(), part.clone())),
        _ => None,
    };
    match part("image") {
        Some(image) => Node::Object([Some(image), part("Embedded")].into_iter().flatten().collect()),
        None => object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn containers_are_shown_in_the_original_spelling() {
        let docker = node(
            r#"{"Id":"1","State":{"Status":"created","Pid":0},"Name":"/obs2","HostConfig":{"CpuShares":1,"CpusetCpus":"0"}}"#,
        );
        let want = "{\n    \"Id\": \"1\",\n    \"State\": {\n        \"Status\": \"inited\",\n        \"Pid\": 0,\n        \
                    \"Health\": {\n            \"Status\": \"\",\n            \"FailingStreak\": 0,\n            \
                    \"Log\": []\n        }\n    },\n    \"Name\": \"obs2\",\n    \"HostConfig\": {\n        \
                    \"CPUShares\": 1,\n        \"CpusetCpus\": \"0\"\n    }\n}";
        let got = json::to_pretty(&json::to_vec(&original_names(docker)));
        assert_eq!(String::from_utf8(got).unwrap(), want);
        let kept = original_names(node(r#"{"State":{"Health":{"Status":"healthy"}}}"#));
        assert_eq!(json::to_text(&kept), r#"{"State":{"Health":{"Status":"healthy"}}}"#);
    }

    #[test]
    fn times_are_local() {
        let utc = r#"{"Created":"2023-11-14T22:13:20.5Z","State":{"StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"x"},
            "Config":{"Labels":{"Created":"2023-11-14T22:13:20Z"}},"image":{"loaded":"2023-11-14T22:13:20Z"}}"#;
        let want = r#"{"Created":"2023-11-15T03:43:20.500000000+05:30","State":{"StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"x"},"Config":{"Labels":{"Created":"2023-11-14T22:13:20Z"}},"image":{"loaded":"2023-11-15T03:43:20.000000000+05:30"}}"#;
        assert_eq!(json::to_text(&local_times(node(utc), |_| 19_800)), want);
    }

    #[test]
    fn of_an_image_the_screen_shows_what_the_original_shows() {
        let image = node(r#"{"Id":"sha256:1","image":{"id":"1"}}"#);
        assert_eq!(json::to_text(&shown(image)), r#"{"image":{"id":"1"}}"#);
        let embedded = r#"{"image":{"id":"1"},"Embedded":{"Damage":""}}"#;
        assert_eq!(json::to_text(&shown(node(embedded))), embedded);
        let container = node(r#"{"Id":"1","Image":"x"}"#);
        assert_eq!(shown(container.clone()), container);
    }
}
