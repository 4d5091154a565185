//! The first process of a container, and further ones.

use super::command::{apply_env, command_line, variable};
use super::security::Security;
use super::{Input, capability, limit, paths, system};
use crate::api::exec::ExecCreateRequest;
use crate::api::oci::runtime::{Capabilities, ConsoleSize, Process, Spec, User};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// What every process has in its environment.
pub(super) const ENVIRONMENT: [&str; 2] =
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"];
/// The file mode creation mask where nothing names one, the original's `secure`: a container must not inherit whatever the
/// daemon was started with.
pub(super) const UMASK: u32 = 0o027;
/// The original's annotation for the mask, with its two words.
pub(super) const UMASK_ANNOTATION: &str = "native.umask";

/// Where docker has its init in a container.
pub(super) const INIT: &str = "/sbin/docker-init";

/// `base` as the template has it.
pub(super) fn of_container(
    base: Process,
    input: &Input<'_>,
    security: &Security<'_>,
    capabilities: &[String],
    annotations: &BTreeMap<String, String>,
) -> Result<Process> {
    let (config, host) = (input.config, input.host);
    let mut args = command_line(config);
    if args.is_empty() {
        return Err(Error::invalid("No command specified"));
    }
    if input.init.is_some() {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let mut env = base.env;
    if host.system_container && !env.iter().any(|e| variable(e) == variable(system::VARIABLE)) {
        env.push(system::VARIABLE.to_owned());
    }
    apply_env(&mut env, &config.env);
    if !env.iter().any(|e| variable(e) == Some("HOSTNAME")) {
        env.push(format!("HOSTNAME={}", input.hostname));
    }
    let umask = match annotations.get(UMASK_ANNOTATION).map(String::as_str) {
        None => input.defaults.umask.or(base.user.umask).unwrap_or(UMASK),
        Some(word) => umask_word(word)?,
    };
    let mut rlimits = limit::rlimits(&input.defaults.ulimits, &host.ulimits)?;
    let others = base.rlimits.into_iter().filter(|base| rlimits.iter().all(|own| own.kind != base.kind));
    rlimits.extend(others.collect::<Vec<_>>());
    // Of a privileged container none are lost, whatever the template leaves out.
    let sets = base.capabilities.filter(|_| !host.privileged).unwrap_or_default();
    // Root has its groups as others have, also when nobody names it.
    let is_root = config.user.is_empty() && (base.user.uid, base.user.gid) == (0, 0);
    let username = if is_root { "0".to_owned() } else { config.user.clone() };
    Ok(Process {
        terminal: config.tty,
        console_size: console_size(host.console_size),
        user: User {
            umask: Some(umask),
            additional_groups: host.group_add.clone(),
            // Without a user's name nobody looks the primary group up, which is always among these.
            additional_gids: if config.user.is_empty() { vec![base.user.gid] } else { Vec::new() },
            username,
            uid: base.user.uid,
            gid: base.user.gid,
        },
        args,
        env,
        cwd: working_directory(&config.working_dir)?.unwrap_or(base.cwd),
        capabilities: Some(capability::sets(&sets, capabilities)),
        rlimits,
        no_new_privileges: security.no_new_privileges || base.no_new_privileges,
        apparmor_profile: match security.apparmor.as_str() {
            "" => base.apparmor_profile,
            profile => profile.into(),
        },
        // Always set: the shim may run under the daemon's own, lower value.
        oom_score_adj: Some(host.oom_score_adj).filter(|n| *n != 0).or(base.oom_score_adj).or(Some(0)),
        selinux_label: base.selinux_label,
        scheduler: base.scheduler,
        io_priority: base.io_priority,
        exec_cpu_affinity: base.exec_cpu_affinity,
    })
}

/// The process of an exec session in a container that runs with `container`.
///
/// # Errors
/// `Kind::Invalid` for an empty command, a relative working directory or malformed environment.
pub fn exec_process(container: &Spec, request: &ExecCreateRequest) -> Result<Process> {
    let first = container.process.as_ref().ok_or_else(|| Error::internal("a container without a process"))?;
    if request.cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    validate_env(&request.env)?;
    let mut env = first.env.clone();
    apply_env(&mut env, &request.env);
    for default in ENVIRONMENT {
        if !env.iter().any(|e| variable(e) == variable(default)) {
            env.push(default.to_owned());
        }
    }
    if !env.iter().any(|e| variable(e) == Some("HOSTNAME")) && !container.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", container.hostname));
    }
    let mut process = Process {
        terminal: request.tty,
        console_size: console_size(request.console_size),
        args: request.cmd.clone(),
        env,
        ..first.clone()
    };
    if let Some(directory) = working_directory(&request.working_dir)? {
        process.cwd = directory;
    }
    if !request.user.is_empty() {
        process.user = User {
            umask: first.user.umask,
            username: request.user.clone(),
            additional_groups: first.user.additional_groups.clone(),
            ..User::default()
        };
    }
    if request.privileged {
        process.capabilities = Some(capability::sets(&Capabilities::default(), &capability::all()));
    }
    Ok(process)
}

/// What is asked for as a terminal's size. Zeros are what docker's client sends without a terminal.
pub fn console_size(size: Option<[u16; 2]>) -> Option<ConsoleSize> {
    size.filter(|size| *size != [0, 0]).map(|[height, width]| ConsoleSize { height, width })
}

fn umask_word(word: &str) -> Result<u32> {
    match word {
        "normal" => Ok(0o022),
        "secure" => Ok(0o027),
        _ => Err(Error::invalid(format!("annotation {UMASK_ANNOTATION} is {word:?}: want \"normal\" or \"secure\""))),
    }
}

pub(super) fn validate_umask(annotations: &BTreeMap<String, String>) -> Result<()> {
    annotations.get(UMASK_ANNOTATION).map_or(Ok(()), |word| umask_word(word).map(drop))
}

/// A directory, cleaned; `None` when none was named.
pub(super) fn working_directory(path: &str) -> Result<Option<String>> {
    match path {
        "" => Ok(None),
        path if path.starts_with('/') && !path.contains('\0') => Ok(Some(paths::clean(path))),
        path => {
            Err(Error::invalid(format!("the working directory '{path}' is invalid, it needs to be an absolute path")))
        }
    }
}

pub(super) fn validate_env(env: &[String]) -> Result<()> {
    match env.iter().find(|e| e.is_empty() || e.starts_with('=') || e.contains('\0')) {
        Some(e) => Err(Error::invalid(format!("invalid environment variable: {e:?}"))),
        None => Ok(()),
    }
}
