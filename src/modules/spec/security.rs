//! `--security-opt`.

use super::{Defaults, kernel, seccomp_profile};
use crate::api::container::HostConfig;
use crate::api::oci::runtime::Seccomp;
use crate::error::{Context, Error, Kind, Result};
use std::path::Path;

/// A profile file larger than this is not one.
const PROFILE_LIMIT: u64 = 10 << 20;

/// What the options say together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Security<'a> {
    pub no_new_privileges: bool,
    pub apparmor: String,
    pub filter: Filter<'a>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Filter<'a> {
    /// None was named.
    #[default]
    Default,
    /// `builtin`: the built-in one although the daemon has another.
    Builtin,
    Unconfined,
    /// A profile in docker's format, inlined by the client.
    Inline(&'a str),
}

/// Reads the options. Later ones win.
pub(super) fn parse(options: &[String]) -> Result<Security<'_>> {
    let mut security = Security::default();
    for option in options {
        // Old clients separate with a colon.
        let (key, value) = option.split_once(['=', ':']).map_or((option.as_str(), None), |(k, v)| (k, Some(v)));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => security.filter = Filter::Unconfined,
            ("seccomp", Some("builtin")) => security.filter = Filter::Builtin,
            ("seccomp", Some(json)) if json.trim_start().starts_with('{') => security.filter = Filter::Inline(json),
            ("seccomp", Some(other)) => {
                return Err(Error::invalid(format!(
                    "seccomp profile {other:?} is neither \"unconfined\", \"builtin\" nor a JSON document"
                )));
            }
            ("apparmor", Some("unconfined")) => security.apparmor = String::new(),
            ("apparmor", Some(profile)) if !profile.is_empty() => {
                if !apparmor_enabled() {
                    return Err(Error::new(
                        Kind::Unsupported,
                        format!("security option {option:?}: AppArmor is not enabled in this kernel"),
                    ));
                }
                security.apparmor = profile.to_owned();
            }
            ("label", Some("disable")) => {}
            ("label", Some(_)) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("security option {option:?}: SELinux labels are not supported"),
                ));
            }
            _ => return Err(Error::invalid(format!("invalid security option {option:?}"))),
        }
    }
    Ok(security)
}

/// Checks the options, and the profile that came along or is the daemon's.
pub(super) fn validate(host: &HostConfig, defaults: &Defaults, capabilities: &[String]) -> Result<()> {
    match parse(&host.security_opt)?.filter {
        Filter::Inline(json) => seccomp_profile::from_docker_json(json.as_bytes(), capabilities).map(drop),
        Filter::Default if !host.privileged => default_filter(defaults, capabilities).map(drop),
        _ => Ok(()),
    }
}

/// The filter of the daemon's profile, when it has one.
pub(super) fn default_filter(defaults: &Defaults, capabilities: &[String]) -> Result<Option<Seccomp>> {
    let Some(path) = &defaults.seccomp_profile else { return Ok(None) };
    let filter = read_profile(path).and_then(|json| seccomp_profile::from_docker_json(&json, capabilities));
    filter.map(Some).context(|| format!("profile {path:?}"))
}

/// The filter of a container with these capabilities, `template` unless there is another: none when it is privileged and did not ask for one, or when the
/// kernel has none and nobody asked.
pub(super) fn seccomp(
    security: &Security<'_>,
    privileged: bool,
    defaults: &Defaults,
    template: Option<Seccomp>,
    capabilities: &[String],
) -> Result<Option<Seccomp>> {
    let asked = match security.filter {
        Filter::Unconfined => return Ok(None),
        Filter::Default => false,
        Filter::Builtin | Filter::Inline(_) => true,
    };
    if privileged && !asked {
        return Ok(None);
    }
    if !kernel::has_seccomp() {
        return match asked {
            true => Err(Error::new(
                Kind::Unsupported,
                "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
            )),
            false => {
                log::warn!("the kernel has no seccomp: the container runs without a system call filter");
                Ok(None)
            }
        };
    }
    let filter = match security.filter {
        Filter::Inline(json) => Some(seccomp_profile::from_docker_json(json.as_bytes(), capabilities)?),
        Filter::Default => default_filter(defaults, capabilities)?.or(template),
        _ => None,
    };
    Ok(Some(filter.unwrap_or_else(|| seccomp_profile::default_profile(capabilities))))
}

fn read_profile(path: &Path) -> Result<Vec<u8>> {
    let length = std::fs::metadata(path).context(|| format!("stat({path:?})"))?.len();
    if length > PROFILE_LIMIT {
        return Err(Error::invalid(format!("seccomp profile {path:?} is larger than {PROFILE_LIMIT} bytes")));
    }
    std::fs::read(path).context(|| format!("read({path:?})"))
}

fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|b| b.first() == Some(&b'Y'))
}

pub(super) fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> std::result::Result<(bool, String), String> {
        let options: Vec<String> = options.iter().map(|s| s.to_string()).collect();
        parse(&options).map(|s| (s.no_new_privileges, format!("{:?}", s.filter))).map_err(|e| e.to_string())
    }

    #[test]
    fn options() {
        for (options, nnp, filter) in [
            (&["no-new-privileges"][..], true, "Default"),
            (&["no-new-privileges:true", "seccomp=unconfined"], true, "Unconfined"),
            (&["no-new-privileges=false"], false, "Default"),
            (&["seccomp=builtin"], false, "Builtin"),
            (&["seccomp={}"], false, "Inline(\"{}\")"),
            (&["label=disable", "apparmor=unconfined"], false, "Default"),
        ] {
            assert_eq!(parsed(options), Ok((nnp, filter.to_string())), "{options:?}");
        }
        for option in
            ["seccomp=/etc/x.json", "label=type:x", "nosuch", "no-new-privileges=perhaps", "systempaths=x", "apparmor="]
        {
            assert!(parsed(&[option]).is_err(), "{option}");
        }
    }

    #[test]
    fn privileged_has_a_filter_only_when_asked_for() {
        let defaults = Defaults::default();
        let of = |filter, privileged| {
            let security = Security { filter, ..Security::default() };
            seccomp(&security, privileged, &defaults, None, &[]).unwrap().is_some()
        };
        assert!(
            of(Filter::Default, false)
                && of(Filter::Builtin, true)
                && of(Filter::Inline(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), false)
        );
        assert!(!of(Filter::Default, true) && !of(Filter::Unconfined, false));
    }

    #[test]
    fn a_daemon_profile_that_is_not_there_is_an_error() {
        let defaults = Defaults { seccomp_profile: Some("/nosuch".into()), ..Defaults::default() };
        assert!(
            seccomp(&Security::default(), false, &defaults, None, &[]).unwrap_err().to_string().contains("/nosuch")
        );
    }
}
