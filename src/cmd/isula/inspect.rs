//! `inspect`: everything about containers and images.

use super::failure::{FAILED, Failure};
use super::ordered::Node;
use super::template::{self, JsonStyle};
use super::{Session, output, state_word};
use crate::client::Client;
use crate::error::{Error, Kind};
use crate::utils::json;
use crate::utils::sys::zone;
use crate::utils::time::Timestamp;
use argh::{ArgsInfo, FromArgs};

/// print what is known about containers, images and volumes
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
    /// what is looked for: container, image or volume; by default one after the other
    #[argh(option, long = "type", arg_name = "string")]
    kind: Option<String>,
    /// with what containers take on the disk
    #[argh(switch, short = 's')]
    size: bool,
    #[argh(positional, arg_name = "CONTAINER|IMAGE|VOLUME...")]
    names: Vec<String>,
}

impl Inspect {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let format = template::asked(self.format.as_deref(), JsonStyle::Pretty)?;
        let kinds = match self.kind.as_deref() {
            None | Some("") => &KINDS[..],
            Some(kind) => KINDS.iter().position(|known| *known == kind).map_or(&[][..], |n| &KINDS[n..=n]),
        };
        if kinds.is_empty() {
            let kind = self.kind.unwrap_or_default();
            return Err(Failure::usage(format!("{kind:?} is not a valid value for --type")));
        }
        let whole = template::is_whole(self.format.as_deref());
        let client = session.client()?;
        let (mut found, mut code) = (Vec::new(), 0);
        for name in &self.names {
            let shown = match (object(client, name, kinds, self.size), &format) {
                (Ok(Some(object)), Some(format)) => {
                    let object = if whole { object } else { completed(object) };
                    format.render(&object).map(|text| output::print(&format!("{text}\n")))
                }
                (Ok(Some(object)), None) => {
                    found.push(object);
                    continue;
                }
                (Ok(None), _) => Err(Failure::local(format!("Inspect error: No such object:{name}"))),
                (Err(e), _) => Err(Failure::daemon(&e)),
            };
            match shown {
                Ok(printed) => printed?,
                Err(failure) => {
                    output::complain(&failure.text);
                    code = FAILED;
                }
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

/// What is looked for, in this order.
const KINDS: [&str; 3] = ["container", "image", "volume"];

/// The first thing of this name.
fn object(client: &Client, name: &str, kinds: &[&str], size: bool) -> Result<Option<Node>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    for kind in kinds {
        let answer = match *kind {
            "container" => client.container_inspect_json(name, size),
            "image" => client.image_inspect_json(name),
            _ => client.volume_inspect_json(name),
        };
        let object: Node = match answer {
            Ok(bytes) => json::parse(&bytes)?,
            Err(e) if e.kind() == Kind::NotFound => continue,
            // What can be no name of a volume is that of nothing.
            Err(e) if *kind == "volume" && kinds.len() > 1 && e.kind() == Kind::Invalid => continue,
            Err(e) => return Err(e),
        };
        return Ok(Some(match *kind {
            "container" => local_times(original_names(object), zone::utc_offset),
            "image" => local_times(object, zone::utc_offset),
            _ => object,
        }));
    }
    Ok(None)
}

/// With what is not sent when it is empty, for templates to find.
fn completed(mut object: Node) -> Node {
    let text = || Node::Text(String::new());
    let empty = || Node::Object(Vec::new());
    if let Some(host) = object.get_mut("HostConfig") {
        let channel = ["PathOnHost", "PathInContainer", "Permissions"].map(|key| (key.to_owned(), text()));
        let size = ("Size".to_owned(), Node::Int(0));
        host.add("HostChannel", Node::Object(channel.into_iter().chain([size]).collect()));
        if let Some(config) = object.get_mut("Config") {
            config.add("ImageRef", text());
        }
    } else if object.get("RootFS").is_some() {
        ["Variant", "Author", "Comment", "Parent"].into_iter().for_each(|key| object.add(key, text()));
        object.add("Config", empty());
        if let Some(config) = object.get_mut("Config") {
            if *config == Node::Null {
                *config = empty();
            }
            ["User", "WorkingDir", "StopSignal"].into_iter().for_each(|key| config.add(key, text()));
            ["Env", "Cmd", "Entrypoint", "OnBuild", "Shell"]
                .into_iter()
                .for_each(|key| config.add(key, Node::List(Vec::new())));
            ["Labels", "Volumes", "ExposedPorts"].into_iter().for_each(|key| config.add(key, empty()));
            config.add("Healthcheck", Node::Null);
        }
    }
    object
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
    fn what_is_empty_is_found() {
        let image = completed(node(r#"{"Id":"1","RootFS":{},"Config":{"Env":["A=b"]}}"#));
        let config = image.get("Config").unwrap();
        assert_eq!(config.get("Env"), Some(&Node::List(vec![Node::Text("A=b".into())])));
        assert_eq!((config.get("Cmd"), config.get("Nope")), (Some(&Node::List(Vec::new())), None));
        assert!(completed(node(r#"{"RootFS":{},"Config":null}"#)).get("Config").unwrap().get("Labels").is_some());
        let container = completed(node(r#"{"HostConfig":{},"Config":{}}"#));
        assert!(container.get("HostConfig").unwrap().get("HostChannel").is_some());
        let volume = node(r#"{"Name":"1"}"#);
        assert_eq!(completed(volume.clone()), volume);
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
