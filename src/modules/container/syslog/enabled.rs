//! A build with it.

use super::{Facts, Target};
use crate::error::{Error, Result};
use crate::utils::syslog;
use std::collections::BTreeMap;

/// Bytes of the longest tag: every field once, and some more.
const TAG_LIMIT: usize = 512;
/// Digits of an id in the tag of a container that asks for none.
const DEFAULT_TAG: usize = 15;
/// Characters of a short id in a tag.
const SHORT_ID: usize = 12;
/// What the daemon calls itself in a tag, as the original does.
const DAEMON_NAME: &str = "iSulad";

/// The facilities of RFC 3164 by their usual names, and their numbers.
const FACILITIES: [(&str, u32); 20] = [
    ("kern", 0),
    ("user", syslog::USER),
    ("mail", 2),
    ("daemon", syslog::DAEMON),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The driver's settings where nobody asks for others.
///
/// # Errors
/// None.
pub fn target() -> Result<Target> {
    Ok(Target { tag: String::new(), facility: syslog::DAEMON })
}

/// Takes one option, which may have docker's name or the original's; false when it is not the driver's. `all` are the
/// options it came with.
///
/// # Errors
/// `Kind::Invalid` for a malformed value and for a tag that is given twice.
pub fn set(target: &mut Target, key: &str, value: &str, all: &BTreeMap<String, String>) -> Result<bool> {
    match key {
        "tag" | "syslog-tag" => {
            if all.get("tag").is_some_and(|tag| all.get("syslog-tag").is_some_and(|other| other != tag)) {
                return Err(Error::invalid("log options tag and syslog-tag are the same one: give it once"));
            }
            expand(value, &Facts::default())?;
            target.tag = value.into();
        }
        "syslog-facility" => {
            let known = FACILITIES.iter().find(|(name, _)| *name == value);
            let Some((_, number)) = known else {
                let text = format!("log option syslog-facility {value:?}: want kern, user, daemon, local0 or another");
                return Err(Error::invalid(text));
            };
            target.facility = *number;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The options written out, with docker's names.
pub fn options(target: &Target) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([("syslog-facility".to_owned(), facility(target).to_owned())]);
    if !target.tag.is_empty() {
        options.insert("tag".into(), target.tag.clone());
    }
    options
}

/// Makes the tag that of a container, and writes down under the original's names what becomes of its output.
///
/// # Errors
/// `Kind::Invalid` for a tag that is too long.
pub fn record(target: &mut Target, facts: &Facts<'_>, annotations: &mut BTreeMap<String, String>) -> Result<()> {
    target.tag = expand(&target.tag, facts)?;
    // Also for one that only has what this container has not.
    if target.tag.is_empty() {
        target.tag = short(facts.id, DEFAULT_TAG).into();
    }
    if target.tag.len() > TAG_LIMIT {
        return Err(Error::invalid(format!("log option tag: {} bytes, at most {TAG_LIMIT}", target.tag.len())));
    }
    for (key, value) in [("driver", "syslog"), ("tag", &target.tag), ("facility", facility(target))] {
        annotations.insert(format!("log.console.{key}"), value.into());
    }
    Ok(())
}

fn facility(target: &Target) -> &'static str {
    FACILITIES.iter().find(|(_, number)| *number == target.facility).map_or("", |(name, _)| name)
}

fn short(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

/// Replaces each `{{.Field}}`.
fn expand(template: &str, facts: &Facts<'_>) -> Result<String> {
    let invalid = |what: &str| Error::invalid(format!("log option tag {template:?}: {what}"));
    if template.chars().any(char::is_control) {
        return Err(invalid("a control character"));
    }
    let (mut out, mut rest) = (String::new(), template);
    while let Some((plain, field)) = rest.split_once("{{") {
        let (field, after) = field.split_once("}}").ok_or_else(|| invalid("{{ without }}"))?;
        out.push_str(plain);
        out.push_str(match field.trim() {
            ".ID" => short(facts.id, SHORT_ID),
            ".FullID" => facts.id,
            ".Name" => facts.name,
            ".ImageID" => short(facts.image_id, SHORT_ID),
            ".ImageFullID" => facts.image_id,
            ".ImageName" => facts.image,
            ".DaemonName" => DAEMON_NAME,
            _ => return Err(invalid("want {{.ID}}, FullID, Name, ImageID, ImageFullID, ImageName or DaemonName")),
        });
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(template: &str) -> Result<String> {
        let mut target = target()?;
        set(&mut target, "tag", template, &BTreeMap::new())?;
        let facts = Facts {
            id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            name: "web",
            image_id: "sha256:fedcba9876543210",
            image: "busybox:latest",
        };
        let mut annotations = BTreeMap::new();
        record(&mut target, &facts, &mut annotations)?;
        assert_eq!(annotations["log.console.tag"], target.tag);
        assert_eq!((annotations.len(), annotations["log.console.facility"].as_str()), (3, "daemon"));
        Ok(target.tag)
    }

    #[test]
    fn tags_are_the_originals() {
        for (template, want) in [
            ("", "0123456789abcde"),
            ("xxxx", "xxxx"),
            ("{{.ID}}", "0123456789ab"),
            ("{{.FullID}}", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
            ("{{.ID}}xx{{ .Name }}", "0123456789abxxweb"),
            ("xx{{.Name}}yy", "xxwebyy"),
            ("{{.ImageName}}", "busybox:latest"),
            ("{{.ImageID}}", "sha256:fedcb"),
            ("{{.ImageFullID}}", "sha256:fedcba9876543210"),
            ("{{.DaemonName}}", "iSulad"),
            ("a}}b{c", "a}}b{c"),
        ] {
            assert_eq!(tag(template).unwrap(), want);
        }
        for bad in ["{{.xxx}}", "{{", "aab{{cd", "{{ID}}", "{{}}", "{{{{.ID}}", "a\nb"] {
            assert!(tag(bad).unwrap_err().to_string().contains(&format!("log option tag {bad:?}")), "{bad}");
        }
        assert!(tag(&"{{.FullID}}".repeat(9)).unwrap_err().to_string().contains("576 bytes, at most 512"));
    }
}
