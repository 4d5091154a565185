//! Filters of listings: docker's keys, several values of one key are alternatives, labels must all hold.

use super::head::Head;
use super::run::Run;
use crate::error::{Error, Result};
use crate::utils::time::Timestamp;
use std::collections::BTreeMap;

/// Parsed filters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    id: Vec<String>,
    name: Vec<String>,
    label: Vec<(String, Option<String>)>,
    status: Vec<String>,
    health: Vec<String>,
    /// Image ids that were asked for; resolved by the caller.
    ancestor: Option<Vec<String>>,
    exited: Vec<i32>,
    /// Created before the youngest of these, and since the oldest of those.
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    volume: Vec<String>,
    network: Vec<String>,
    exposed: Option<Vec<Ports>>,
    /// Something was asked for that no container has.
    nothing: bool,
}

/// Ports from one to another, and their protocol.
#[derive(Debug, PartialEq, Eq)]
struct Ports(u16, u16, String);

impl Ports {
    /// `80`, `80-90`, each with `/tcp`, which it is without, or another protocol.
    fn parse(text: &str) -> Option<Ports> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let port = |text: &str| text.parse().ok().filter(|_| !text.starts_with('+'));
        let ports = Ports(port(first)?, port(last)?, protocol.to_ascii_lowercase());
        (ports.0 <= ports.1 && matches!(ports.2.as_str(), "tcp" | "udp" | "sctp")).then_some(ports)
    }

    fn meet(&self, other: &Ports) -> bool {
        self.0 <= other.1 && other.0 <= self.1 && self.2 == other.2
    }
}

/// What else is there, for words that mean something by themselves.
pub struct World<'a> {
    /// The id of an image by name.
    pub image: &'a dyn Fn(&str) -> Option<String>,
    /// When a container was made.
    pub created: &'a dyn Fn(&str) -> Result<Timestamp>,
}

/// Words of the status filter. `inited` is the original's word for created.
const STATUS: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Words of the health filter.
const HEALTH: &[&str] = &["starting", "healthy", "unhealthy", "none"];

impl Filter {
    /// Reads filters.
    ///
    /// # Errors
    /// `Kind::Invalid` for an unknown key or status, or what is no exit code; `Kind::NotFound` for a container before or
    /// since which others are asked for.
    pub fn parse(filters: &BTreeMap<String, Vec<String>>, world: &World<'_>) -> Result<Filter> {
        let mut f = Filter::default();
        for (key, values) in filters {
            for value in values {
                match key.as_str() {
                    "id" => f.id.push(value.clone()),
                    "name" => f.name.push(value.strip_prefix('/').unwrap_or(value).into()),
                    "label" => f.label.push(match value.split_once('=') {
                        Some((k, v)) => (k.into(), Some(v.into())),
                        None => (value.clone(), None),
                    }),
                    "status" if value == "inited" => f.status.push("created".into()),
                    "status" if STATUS.contains(&value.as_str()) => f.status.push(value.clone()),
                    "status" => {
                        return Err(Error::invalid(format!("Unrecognised filter value for status: {value}")));
                    }
                    "health" if HEALTH.contains(&value.as_str()) => f.health.push(value.clone()),
                    "health" => {
                        return Err(Error::invalid(format!("Unrecognised filter value for health: {value}")));
                    }
                    "ancestor" => f.ancestor.get_or_insert_default().extend((world.image)(value)),
                    "exited" => f.exited.push(value.parse().map_err(|_| {
                        Error::invalid(format!("Unrecognised filter value for exited: {value:?} is no exit code"))
                    })?),
                    "before" => f.before = f.before.max(Some((world.created)(value)?)),
                    "since" => {
                        let at = (world.created)(value)?;
                        f.since = Some(f.since.map_or(at, |since| since.min(at)));
                    }
                    "volume" => f.volume.push(value.clone()),
                    "network" => f.network.push(value.clone()),
                    "publish" | "expose" => {
                        let ports = Ports::parse(value).ok_or_else(|| {
                            let rule = "want PORT or FIRST-LAST, with or without /tcp, /udp or /sctp";
                            Error::invalid(format!("invalid filter '{key}={value}': {rule}"))
                        })?;
                        // Of those that are published there are none.
                        f.exposed.get_or_insert_default().extend((key == "expose").then_some(ports));
                    }
                    // Swarm's, and only with that there are tasks.
                    "is-task" => match value.as_str() {
                        "true" | "1" => f.nothing = true,
                        "false" | "0" => {}
                        _ => return Err(Error::invalid(format!("invalid filter 'is-task={value}'"))),
                    },
                    // As docker on Linux, which has one kind.
                    "isolation" => {}
                    _ => return Err(Error::invalid(format!("invalid filter {key:?}"))),
                }
            }
        }
        Ok(f)
    }

    /// Whether a status was asked for: then also containers that do not run are listed.
    pub fn has_status(&self) -> bool {
        !self.status.is_empty()
    }

    /// What a container that passes must have one of mounted, by name, by its directory on the host or by its place in the
    /// container; everything when empty.
    pub fn volumes(&self) -> &[String] {
        &self.volume
    }

    /// Whether it was asked for ports, so that [`Filter::exposes`] has to be.
    pub fn has_ports(&self) -> bool {
        self.exposed.is_some()
    }

    /// Whether one of these ports was asked for.
    pub fn exposes<'a>(&self, mut ports: impl Iterator<Item = &'a String>) -> bool {
        let wanted = self.exposed.as_deref().unwrap_or_default();
        ports.any(|port| Ports::parse(port).is_some_and(|port| wanted.iter().any(|wanted| wanted.meet(&port))))
    }

    /// Whether a container passes, but for its [`Filter::volumes`] and its ports.
    pub fn matches(&self, id: &str, name: &str, head: &Head, run: &Run) -> bool {
        let any = |list: &[String], test: &dyn Fn(&str) -> bool| list.is_empty() || list.iter().any(|v| test(v));
        let network = if head.network_mode.is_empty() { "default" } else { &head.network_mode };
        !self.nothing
            && any(&self.id, &|v| id.starts_with(v))
            && any(&self.network, &|v| v == network)
            && any(&self.name, &|v| name_matches(name, v))
            && any(&self.status, &|v| v == run.word())
            && any(&self.health, &|v| v == run.health.as_ref().map_or("none", |h| h.status.as_str()))
            && self.ancestor.as_ref().is_none_or(|ids| ids.contains(&head.image_id))
            && (self.exited.is_empty() || run.has_ended() && self.exited.contains(&run.exit_code))
            && self.before.is_none_or(|at| head.created < at)
            && self.since.is_none_or(|at| head.created > at)
            && self.label.iter().all(|(k, v)| match (head.labels.get(k), v) {
                (Some(have), Some(want)) => have == want,
                (have, None) => have.is_some(),
                (None, Some(_)) => false,
            })
    }
}

/// A part of the name; `^` and `$` anchor it, which is what scripts use of docker's regular expressions.
fn name_matches(name: &str, pattern: &str) -> bool {
    let rest = pattern.strip_prefix('^').unwrap_or(pattern);
    let start = rest.len() != pattern.len();
    // A docker pattern may spell the leading slash of the stored name.
    let rest = if start { rest.strip_prefix('/').unwrap_or(rest) } else { rest };
    match (start, rest.strip_suffix('$')) {
        (true, Some(exact)) => name == exact,
        (true, None) => name.starts_with(rest),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(list: &[(&str, &str)]) -> Result<Filter> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (k, v) in list {
            map.entry(k.to_string()).or_default().push(v.to_string());
        }
        let created = |name: &str| match name {
            "old" => Ok(Timestamp::from_unix(10, 0)),
            "young" => Ok(Timestamp::from_unix(20, 0)),
            _ => Err(Error::not_found(name)),
        };
        let image = |name: &str| (name == "busybox").then(|| "i1".to_string());
        Filter::parse(&map, &World { image: &image, created: &created })
    }

    #[test]
    fn ports() {
        let exposed = ["80/tcp", "53/udp", "1000-2000"].map(String::from);
        for (key, value, want) in [
            ("expose", "80", true),
            ("expose", "80/TCP", true),
            ("expose", "80/udp", false),
            ("expose", "50-60/udp", true),
            ("expose", "81-999", false),
            ("expose", "1500-1600", true),
            ("publish", "80", false),
        ] {
            let filter = filter(&[(key, value)]).unwrap();
            assert!(filter.has_ports() && filter.exposes(exposed.iter()) == want, "{key}={value}");
        }
        assert!(!filter(&[]).unwrap().has_ports());
    }

    #[test]
    fn every_key() {
        let head = Head {
            name: "web-1".into(),
            image_id: "i1".into(),
            labels: [("a".to_string(), "b".to_string()), ("c".to_string(), String::new())].into(),
            created: Timestamp::from_unix(15, 0),
            network_mode: "host".into(),
            ..Head::default()
        };
        let run = Run { running: true, started_at: Timestamp::from_unix(1, 0), ..Run::default() };
        for (list, want) in [
            (&[][..], true),
            (&[("id", "abc")], true),
            (&[("id", "bc")], false),
            (&[("name", "eb")], true),
            (&[("name", "^/web-1$")], true),
            (&[("name", "^eb")], false),
            (&[("name", "1$")], true),
            (&[("name", "x"), ("name", "web")], true),
            (&[("label", "a")], true),
            (&[("label", "a=b"), ("label", "c")], true),
            (&[("label", "a=b"), ("label", "d")], false),
            (&[("label", "a=")], false),
            (&[("label", "c=")], true),
            (&[("status", "running")], true),
            (&[("status", "exited"), ("status", "paused")], false),
            (&[("ancestor", "busybox")], true),
            (&[("ancestor", "nosuch")], false),
            (&[("status", "running"), ("name", "no")], false),
            (&[("before", "young")], true),
            (&[("before", "old")], false),
            (&[("before", "old"), ("before", "young")], true),
            (&[("since", "old")], true),
            (&[("since", "young")], false),
            (&[("since", "young"), ("since", "old")], true),
            (&[("exited", "0")], false),
            (&[("network", "host")], true),
            (&[("network", "none")], false),
            (&[("network", "none"), ("network", "host")], true),
            (&[("is-task", "false")], true),
            (&[("is-task", "true")], false),
            (&[("isolation", "default")], true),
        ] {
            assert_eq!(filter(list).unwrap().matches("abcdef", "web-1", &head, &run), want, "{list:?}");
        }
        let ended = Run { exit_code: 3, started_at: Timestamp::from_unix(1, 0), ..Run::default() };
        for (code, want) in [("3", true), ("0", false)] {
            assert_eq!(filter(&[("exited", code)]).unwrap().matches("a", "web-1", &head, &ended), want);
            assert!(!filter(&[("exited", code)]).unwrap().matches("a", "web-1", &head, &Run::default()));
        }
        assert!(filter(&[("status", "inited")]).unwrap().matches("a", "web-1", &head, &Run::default()));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(filter(&[("is-task", "maybe")]).unwrap_err().to_string().contains("maybe"));
        assert!(filter(&[("colour", "red")]).unwrap_err().to_string().contains("colour"));
        for bad in ["", "x", "80/x", "90-80", "80:80", "70000", "+80", "-80"] {
            assert!(filter(&[("publish", bad)]).unwrap_err().to_string().contains(&format!("'publish={bad}'")));
        }
        assert!(filter(&[("exited", "well")]).unwrap_err().to_string().contains("well"));
        assert_eq!(filter(&[("since", "nosuch")]).unwrap_err().kind(), crate::error::Kind::NotFound);
        assert!(filter(&[("status", "sleepy")]).unwrap_err().to_string().contains("sleepy"));
    }
}
