//! What runs: the user's words over the image's.

use crate::api::container::ContainerConfig;
use crate::api::oci::image::ImageConfig;
use crate::error::{Error, Result};

/// Fills what the user left open from the image.
///
/// A command replaces the image's command and keeps its entrypoint; an entrypoint replaces both. An empty list as
/// entrypoint drops the image's alone, `[""]` (what clients send for `--entrypoint ""`) drops both. Environment,
/// labels, ports and volumes are united and the user's win.
///
/// # Errors
/// `Kind::Invalid`: `No command specified`.
pub fn merge_image(config: &mut ContainerConfig, image: &ImageConfig) -> Result<()> {
    let defaults = image.config.clone().unwrap_or_default();

    let given = config.cmd.as_ref().is_some_and(|cmd| !cmd.is_empty());
    match config.entrypoint.as_deref() {
        None | Some([]) if !given => config.cmd = defaults.cmd,
        Some([word]) if word.is_empty() => config.entrypoint = Some(Vec::new()),
        _ => {}
    }
    if config.entrypoint.is_none() {
        config.entrypoint = defaults.entrypoint;
    }
    if command_line(config).is_empty() {
        return Err(Error::invalid("No command specified"));
    }

    let mut env: Vec<String> = defaults.env.unwrap_or_default().into_iter().filter(|e| variable(e).is_some()).collect();
    apply_env(&mut env, &config.env);
    config.env = env;

    for (target, default) in [
        (&mut config.user, defaults.user),
        (&mut config.working_dir, defaults.working_dir),
        (&mut config.stop_signal, defaults.stop_signal),
    ] {
        if target.is_empty() {
            *target = default;
        }
    }
    for (name, text) in defaults.labels.unwrap_or_default() {
        config.labels.entry(name).or_insert(text);
    }
    config.exposed_ports.extend(defaults.exposed_ports.unwrap_or_default());
    config.volumes.extend(defaults.volumes.unwrap_or_default());
    match (&mut config.healthcheck, defaults.healthcheck) {
        (None, image) => config.healthcheck = image,
        (Some(user), Some(_)) if user.test == ["NONE"] => {}
        (Some(user), Some(image)) => {
            if user.test.is_empty() {
                user.test = image.test;
            }
            for (target, default) in [
                (&mut user.interval, image.interval),
                (&mut user.timeout, image.timeout),
                (&mut user.start_period, image.start_period),
                (&mut user.start_interval, image.start_interval),
                (&mut user.retries, image.retries),
            ] {
                if *target == 0 {
                    *target = default;
                }
            }
        }
        (Some(_), None) => {}
    }
    Ok(())
}

/// Program and arguments of a merged configuration.
pub fn command_line(config: &ContainerConfig) -> Vec<String> {
    config.entrypoint.iter().chain(&config.cmd).flatten().cloned().collect()
}

/// The name of a `K=V` entry.
pub(super) fn variable(entry: &str) -> Option<&str> {
    entry.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty())
}

/// Sets each entry in `env`, in place when its name is there. An entry without `=` removes the name, as docker has it.
pub(super) fn apply_env(env: &mut Vec<String>, entries: &[String]) {
    for entry in entries {
        match variable(entry) {
            None => env.retain(|e| variable(e) != Some(entry)),
            name => match env.iter_mut().find(|e| variable(e) == name) {
                Some(old) => old.clone_from(entry),
                None => env.push(entry.clone()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::image::ExecutionConfig;

    fn list(words: &str) -> Option<Vec<String>> {
        match words {
            "-" => None,
            "\"\"" => Some(vec![String::new()]),
            words => Some(words.split_whitespace().map(str::to_owned).collect()),
        }
    }

    fn image(entrypoint: &str, cmd: &str) -> ImageConfig {
        let config = ExecutionConfig {
            entrypoint: list(entrypoint),
            cmd: list(cmd),
            env: Some(vec!["PATH=/image".into(), "A=1".into(), "B=2".into(), "junk".into()]),
            user: "daemon".into(),
            working_dir: "/srv".into(),
            labels: Some([("l".to_string(), "image".to_string()), ("m".into(), "image".into())].into()),
            ..ExecutionConfig::default()
        };
        ImageConfig { config: Some(config), ..ImageConfig::default() }
    }

    #[test]
    fn commands() {
        // user entrypoint, user cmd, image entrypoint, image cmd, result
        for (ue, uc, ie, ic, want) in [
            ("-", "-", "-", "sh", "sh"),
            ("-", "ls -l", "-", "sh", "ls -l"),
            ("-", "ls", "ep", "sh", "ep ls"),
            ("-", "-", "ep", "sh", "ep sh"),
            ("mine", "-", "ep", "sh", "mine"),
            ("mine", "x", "ep", "sh", "mine x"),
            ("\"\"", "x", "ep", "sh", "x"),
            ("\"\"", "-", "ep", "sh", ""),
            ("", "-", "ep", "sh", "sh"),
            ("-", "", "ep", "-", "ep"),
            ("-", "-", "-", "-", ""),
        ] {
            let mut config = ContainerConfig { entrypoint: list(ue), cmd: list(uc), ..ContainerConfig::default() };
            let result = merge_image(&mut config, &image(ie, ic));
            match want {
                "" => assert_eq!(result.unwrap_err().to_string(), "No command specified", "{ue} {uc} {ie} {ic}"),
                _ => assert_eq!(command_line(&config).join(" "), want, "{ue} {uc} {ie} {ic}"),
            }
        }
    }

    #[test]
    fn the_rest_is_united_and_the_user_wins() {
        let mut config = ContainerConfig {
            env: vec!["A=mine".into(), "C=".into(), "B".into()],
            labels: [("l".to_string(), "user".to_string())].into(),
            user: "1000".into(),
            ..ContainerConfig::default()
        };
        merge_image(&mut config, &image("-", "sh")).unwrap();
        assert_eq!(config.env, ["PATH=/image", "A=mine", "C="]);
        assert_eq!(
            config.labels.into_iter().collect::<Vec<_>>(),
            [("l".to_string(), "user".to_string()), ("m".to_string(), "image".to_string())]
        );
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000", "/srv"));
    }
}
