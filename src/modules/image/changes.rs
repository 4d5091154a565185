//! `--change`: single Dockerfile instructions applied to an image's execution defaults.

use crate::api::oci::image::{Empty, ExecutionConfig, Healthcheck};
use crate::error::{Error, Result};
use crate::utils::json;
use crate::utils::time::parse_duration;

/// Applies one instruction.
///
/// # Errors
/// `Kind::Invalid` for an instruction that is unknown or malformed.
pub(super) fn apply(config: &mut ExecutionConfig, line: &str) -> Result<()> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let bad = |why: &str| Error::invalid(format!("invalid change {line:?}: {why}"));
    if rest.is_empty() {
        return Err(bad("no argument"));
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (name, value) in pairs(rest).ok_or_else(|| bad("want NAME=VALUE"))? {
                env.retain(|e| e.split_once('=').is_none_or(|(n, _)| n != name));
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => {
            let labels = pairs(rest).ok_or_else(|| bad("want NAME=VALUE"))?;
            config.labels.get_or_insert_default().extend(labels);
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                let (first, last) = number.split_once('-').unwrap_or((number, number));
                let number = |n: &str| n.parse::<u16>().ok().filter(|n| *n > 0);
                let range = number(first).zip(number(last)).filter(|(a, b)| a <= b);
                let (first, last) = range.ok_or_else(|| bad("want PORT[/PROTOCOL]"))?;
                if !matches!(protocol, "tcp" | "udp" | "sctp") {
                    return Err(bad("the protocol is tcp, udp or sctp"));
                }
                let ports = config.exposed_ports.get_or_insert_default();
                ports.extend((first..=last).map(|n| (format!("{n}/{protocol}"), Empty {})));
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(health_check(rest).ok_or_else(|| bad(HEALTH_FORM))?),
        "USER" => config.user = rest.to_owned(),
        "VOLUME" => {
            let paths = list(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            if paths.iter().any(|p| !p.starts_with('/')) {
                return Err(bad("a volume is an absolute path"));
            }
            config.volumes.get_or_insert_default().extend(paths.into_iter().map(|p| (p, Empty {})));
        }
        "WORKDIR" => {
            let before = if config.working_dir.is_empty() { "/" } else { config.working_dir.trim_end_matches('/') };
            let path = if rest.starts_with('/') {
                rest.to_owned()
            } else {
                format!("{}/{rest}", before.trim_end_matches('/'))
            };
            config.working_dir = path;
        }
        "STOPSIGNAL" => config.stop_signal = rest.to_owned(),
        _ => {
            return Err(bad(
                "the instruction is not one of CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL STOPSIGNAL USER VOLUME \
                 WORKDIR",
            ));
        }
    }
    Ok(())
}

const HEALTH_FORM: &str =
    "want NONE, or [--interval=D] [--timeout=D] [--start-period=D] [--retries=N] CMD and a command";

/// `NONE`, or options and `CMD` with either form of a command.
fn health_check(text: &str) -> Option<Healthcheck> {
    let mut check = Healthcheck::default();
    if text.eq_ignore_ascii_case("NONE") {
        check.test = vec!["NONE".into()];
        return Some(check);
    }
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (word, after) = option.split_once(char::is_whitespace)?;
        let (name, value) = word.split_once('=')?;
        let nanos = || i64::try_from(parse_duration(value).ok()?.as_nanos()).ok();
        match name {
            "interval" => check.interval = nanos()?,
            "timeout" => check.timeout = nanos()?,
            "start-period" => check.start_period = nanos()?,
            "start-interval" => check.start_interval = nanos()?,
            "retries" => check.retries = value.parse().ok()?,
            _ => return None,
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace)?;
    if !word.eq_ignore_ascii_case("CMD") {
        return None;
    }
    let command = command.trim();
    check.test = match list(command) {
        Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        None => vec!["CMD-SHELL".into(), command.to_owned()],
    };
    Some(check)
}

/// The exec form is a JSON list; anything else is a line for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| json::parse(text.as_bytes()).ok()).flatten()
}

/// `NAME=VALUE …` with quotes and backslashes, or the old `NAME VALUE`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = words(text)?;
    let first = words.first()?;
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair =
        |word: &String| word.split_once('=').filter(|(n, _)| !n.is_empty()).map(|(n, v)| (n.to_owned(), v.to_owned()));
    words.iter().map(pair).collect()
}

fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (q, '\\') if q != Some('\'') => word.get_or_insert_default().push(chars.next()?),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks() {
        let check = health_check("--interval=1m30s --retries=2 CMD curl -f  x || exit 1").unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 2));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f  x || exit 1"]);
        assert_eq!(health_check("cmd [\"a\", \"b c\"]").unwrap().test, ["CMD", "a", "b c"]);
        assert_eq!(health_check("NONE").unwrap().test, ["NONE"]);
        for text in ["CMD", "--interval=x CMD a", "--nosuch=1 CMD a", "--interval 1s CMD a", "curl x"] {
            assert!(health_check(text).is_none(), "{text}");
        }
    }

    #[test]
    fn instructions() {
        let mut c = ExecutionConfig { env: Some(vec!["A=0".into()]), ..ExecutionConfig::default() };
        for line in [
            "CMD [\"sh\", \"-l\"]",
            "entrypoint exec app",
            "ENV A=1 B=\"two words\" C=a\\ b",
            "ENV OLD the old form",
            "LABEL a.b='x y'",
            "EXPOSE 80 53/udp 8000-8001",
            "USER 1000:1000",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "WORKDIR /srv",
            "WORKDIR sub",
            "STOPSIGNAL SIGINT",
        ] {
            apply(&mut c, line).unwrap();
        }
        assert_eq!(c.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(c.entrypoint.unwrap(), ["/bin/sh", "-c", "exec app"]);
        assert_eq!(c.env.unwrap(), ["A=1", "B=two words", "C=a b", "OLD=the old form"]);
        assert_eq!(c.labels.unwrap()["a.b"], "x y");
        assert_eq!(
            c.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(),
            ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
        );
        assert_eq!(c.volumes.unwrap().into_keys().collect::<Vec<_>>(), ["/a", "/b", "/data"]);
        assert_eq!(
            (c.user.as_str(), c.working_dir.as_str(), c.stop_signal.as_str()),
            ("1000:1000", "/srv/sub", "SIGINT")
        );
    }

    #[test]
    fn malformed_ones() {
        for line in [
            "",
            "CMD",
            "FROM x",
            "RUN x",
            "ENV =x",
            "ENV A=\"x",
            "EXPOSE x",
            "EXPOSE 80/x",
            "EXPOSE 9-8",
            "VOLUME data",
            "ENV A",
        ] {
            assert!(apply(&mut ExecutionConfig::default(), line).is_err(), "{line}");
        }
    }
}
