//! Health checks: what is asked of a container, and what its answers mean.

use crate::api::container::{Health, HealthLog};
use crate::api::oci::image::Healthcheck;
use crate::error::{Error, Result};
use std::time::Duration;

/// Between probes, and for one, when nothing else is said.
const INTERVAL: Duration = Duration::from_secs(30);
/// Failures in a row until unhealthy, when nothing else is said.
const RETRIES: u64 = 3;
/// Shortest interval, timeout and start period.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longest timeout.
const LONGEST: Duration = Duration::from_secs(600);
/// Answers that are kept.
const KEPT: usize = 5;

/// A first success is not in yet.
pub const STARTING: &str = "starting";
/// The last probe succeeded.
pub const HEALTHY: &str = "healthy";
/// So many probes in a row failed; also that of a container that does not run.
pub const UNHEALTHY: &str = "unhealthy";

/// What is asked, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Program and arguments.
    pub command: Vec<String>,
    /// From the end of a probe to the next.
    pub interval: Duration,
    /// What a probe may take.
    pub timeout: Duration,
    /// From the start, in which failures do not count.
    pub start_period: Duration,
    /// In place of `interval`, while the start period lasts and no probe has succeeded.
    pub start_interval: Duration,
    /// Failures in a row until unhealthy.
    pub retries: u64,
    /// A container that becomes unhealthy is killed.
    pub exit_on_unhealthy: bool,
}

impl Check {
    /// Reads a configuration; `None` for one that asks for nothing.
    ///
    /// # Errors
    /// `Kind::Invalid` naming what is wrong.
    pub fn parse(check: &Healthcheck) -> Result<Option<Check>> {
        let command = match check.test.split_first() {
            None => return Ok(None),
            Some((kind, [])) if kind == "NONE" => return Ok(None),
            Some((kind, words)) if kind == "CMD" && !words.is_empty() => words.to_vec(),
            Some((kind, [line])) if kind == "CMD-SHELL" => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            Some((kind, _)) => {
                let text =
                    format!("invalid health check {kind:?}: want NONE, CMD with words, or CMD-SHELL with one line");
                return Err(Error::invalid(text));
            }
        };
        let duration = |what: &str, nanos: i64| match u64::try_from(nanos).map(Duration::from_nanos) {
            Ok(d) if d.is_zero() || d >= SHORTEST => Ok(d),
            _ => Err(Error::invalid(format!("health check: the {what} must be 0 or at least 1 second"))),
        };
        let or = |d: Duration, default: Duration| if d.is_zero() { default } else { d };
        let timeout = or(duration("timeout", check.timeout)?, INTERVAL);
        if timeout > LONGEST {
            return Err(Error::invalid("health check: the timeout must be at most 10 minutes"));
        }
        let retries = u64::try_from(check.retries)
            .map_err(|_| Error::invalid("health check: the retries must not be negative"))?;
        let interval = or(duration("interval", check.interval)?, INTERVAL);
        Ok(Some(Check {
            command,
            interval,
            timeout,
            start_period: duration("start period", check.start_period)?,
            start_interval: or(duration("start interval", check.start_interval)?, interval),
            retries: if retries == 0 { RETRIES } else { retries },
            exit_on_unhealthy: check.exit_on_unhealthy,
        }))
    }

    /// Time until the next probe of a container with this health, which has been up so long.
    pub fn pause(&self, status: &str, up: Duration) -> Duration {
        match status == STARTING && up < self.start_period {
            true => self.start_interval,
            false => self.interval,
        }
    }

    /// Notes an answer; `starts` tells that the start period lasts. Gives the status that it brings, when that is new.
    pub fn note(&self, health: &mut Health, answer: HealthLog, starts: bool) -> Option<&'static str> {
        let succeeded = answer.exit_code == 0;
        health.log.push(answer);
        let old = health.log.len().saturating_sub(KEPT);
        health.log.drain(..old);
        let status = if succeeded {
            health.failing_streak = 0;
            HEALTHY
        } else if starts && health.status == STARTING {
            return None;
        } else {
            health.failing_streak += 1;
            if health.failing_streak < self.retries {
                return None;
            }
            UNHEALTHY
        };
        (health.status != status).then(|| {
            health.status = status.into();
            status
        })
    }
}

/// That of a run which has just begun.
pub fn starting() -> Box<Health> {
    Box::new(Health { status: STARTING.into(), ..Health::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(words: &[&str]) -> Healthcheck {
        Healthcheck { test: words.iter().map(|w| (*w).into()).collect(), ..Healthcheck::default() }
    }

    #[test]
    fn configurations() {
        assert_eq!(Check::parse(&test(&[])).unwrap(), None);
        assert_eq!(Check::parse(&test(&["NONE"])).unwrap(), None);
        let check = Check::parse(&test(&["CMD-SHELL", "a || b"])).unwrap().unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "a || b"]);
        assert_eq!((check.interval, check.timeout, check.retries), (INTERVAL, INTERVAL, RETRIES));
        assert_eq!(Check::parse(&test(&["CMD", "a", "b"])).unwrap().unwrap().command, ["a", "b"]);
        let base = || test(&["CMD", "a"]);
        for (check, part) in [
            (test(&["CMD"]), "\"CMD\""),
            (test(&["CMD-SHELL", "a", "b"]), "\"CMD-SHELL\""),
            (test(&["NONE", "a"]), "\"NONE\""),
            (test(&["curl"]), "\"curl\""),
            (Healthcheck { interval: 5, ..base() }, "interval"),
            (Healthcheck { interval: -1, ..base() }, "interval"),
            (Healthcheck { timeout: 601_000_000_000, ..base() }, "10 minutes"),
            (Healthcheck { start_period: 999_999_999, ..base() }, "start period"),
            (Healthcheck { start_interval: 1, ..base() }, "start interval"),
            (Healthcheck { retries: -1, ..base() }, "retries"),
        ] {
            assert!(Check::parse(&check).unwrap_err().to_string().contains(part), "{part}");
        }
    }

    #[test]
    fn answers_make_a_status() {
        let check = Check::parse(&Healthcheck { retries: 2, ..test(&["CMD", "a"]) }).unwrap().unwrap();
        let mut health = starting();
        let mut note = |exit_code, starts| {
            let news = check.note(&mut health, HealthLog { exit_code, ..HealthLog::default() }, starts);
            (news, health.failing_streak, health.log.len())
        };
        assert_eq!(note(1, true), (None, 0, 1));
        assert_eq!(note(1, true), (None, 0, 2), "the start period forgives");
        assert_eq!(note(1, false), (None, 1, 3));
        assert_eq!(note(1, false), (Some(UNHEALTHY), 2, 4));
        assert_eq!(note(1, false), (None, 3, 5));
        assert_eq!(note(0, false), (Some(HEALTHY), 0, 5));
        assert_eq!(note(0, false), (None, 0, 5));
        assert_eq!(note(-1, true), (None, 1, 5), "once it was healthy, failures count");
        assert_eq!(note(1, true), (Some(UNHEALTHY), 2, 5));
    }
}
