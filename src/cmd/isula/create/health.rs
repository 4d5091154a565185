//! The flags of health checks.

use super::ContainerFlags;
use super::Failure;
use crate::api::oci::image::Healthcheck;
use crate::utils::time::parse_duration;

/// The health check that flags ask for; `None` leaves it to the image.
pub fn healthcheck(flags: &ContainerFlags) -> Result<Option<Healthcheck>, Failure> {
    let durations = [
        ("--health-interval", &flags.health_interval),
        ("--health-timeout", &flags.health_timeout),
        ("--health-start-period", &flags.health_start_period),
        ("--health-start-interval", &flags.health_start_interval),
    ];
    let asked = flags.health_cmd.is_some()
        || flags.health_retries.is_some()
        || flags.health_exit_on_unhealthy
        || durations.iter().any(|(_, value)| value.is_some());
    if flags.no_healthcheck {
        if asked {
            return Err(Failure::usage("--no-healthcheck conflicts with --health-* options"));
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
    }
    if !asked {
        return Ok(None);
    }
    let mut nanos = [0; 4];
    for ((flag, value), out) in durations.iter().zip(&mut nanos) {
        let Some(text) = value else { continue };
        let duration =
            parse_duration(text).map_err(|_| Failure::usage(format!("Invalid value \"{text}\" for flag {flag}")))?;
        *out = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    }
    let [interval, timeout, start_period, start_interval] = nanos;
    let test = match flags.health_cmd.as_deref() {
        None => Vec::new(),
        Some("") => return Err(Failure::usage("--health-cmd must not be empty")),
        Some(line) => vec!["CMD-SHELL".into(), line.into()],
    };
    Ok(Some(Healthcheck {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        retries: flags.health_retries.unwrap_or_default(),
        exit_on_unhealthy: flags.health_exit_on_unhealthy,
    }))
}
