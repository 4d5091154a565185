//! What documents are made from before anything is asked for: built in, or the operator's file in the form of the
//! runtime document. What such a file gives takes the place of what is built in; what it leaves out or gives empty stays.

use super::{Defaults, capability, device, hook, limit, mount, namespace, paths, process};
use crate::api::container::HostConfig;
use crate::api::oci::runtime::{Capabilities, Linux, Process, Resources, Spec, User};
use crate::error::{Context, Error, Result};
use crate::utils::capability::NAMES;
use crate::utils::json;
use std::path::{Path, PathBuf};

/// The original's files, for containers and for system containers.
const FILES: [&str; 2] = ["/etc/default/isulad/config.json", "/etc/default/isulad/systemcontainer_config.json"];
/// The original's profile in docker's format.
const PROFILE: &str = "/etc/isulad/seccomp_default.json";
/// A file larger than this is not one.
const LIMIT: u64 = 10 << 20;

/// The files that are there, by their places in [`FILES`], with what is wrong with them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Files([Option<std::result::Result<Spec, String>>; 2]);

impl Files {
    /// Those with these contents.
    #[cfg(test)]
    pub(super) fn of(container: Option<&[u8]>, system: Option<&[u8]>) -> Files {
        let load = |system: usize, bytes: &[u8]| load(system, Ok(bytes.to_vec()));
        Files([container.map(|bytes| load(0, bytes)), system.map(|bytes| load(1, bytes))])
    }
}

impl Defaults {
    /// Reads the operator's files, once for the daemon's life, and tells in the log which are in use. With one that is
    /// wrong the daemon serves, and refuses to make the containers that it is for.
    pub fn load_files(&mut self) {
        for (system, path) in FILES.into_iter().enumerate() {
            if cfg!(not(feature = "spec-templates")) {
                if Path::new(path).exists() {
                    log::warn!("the template {path:?} has no effect: this build reads none");
                }
                continue;
            }
            let loaded = read(path).transpose().map(|bytes| load(system, bytes));
            match &loaded {
                None => {}
                Some(Ok(_)) => log::info!("documents of containers are made from the template {path:?}"),
                Some(Err(e)) => log::error!("{e}"),
            }
            self.files.0[system] = loaded;
        }
        if Path::new(PROFILE).exists() {
            self.seccomp_profile = Some(PathBuf::from(PROFILE));
            match super::security::default_filter(self, &[]) {
                Ok(_) => log::info!("the default seccomp profile is {PROFILE:?}"),
                Err(e) => log::error!("{e}"),
            }
        }
    }

    /// Where a document begins, for a system container or another.
    ///
    /// # Errors
    /// What is wrong with the operator's file.
    pub(super) fn template(&self, system: bool) -> Result<Spec> {
        match &self.files.0[usize::from(system)] {
            _ if cfg!(not(feature = "spec-templates")) => Ok(built_in(system)),
            None => Ok(built_in(system)),
            Some(Ok(spec)) => Ok(spec.clone()),
            Some(Err(text)) => Err(Error::internal(text)),
        }
    }

    /// What the operator's file gives, completed.
    pub(super) fn file(&self, system: bool) -> Option<&Spec> {
        let files = self.files.0.get(usize::from(system)).filter(|_| cfg!(feature = "spec-templates"))?;
        files.as_ref()?.as_ref().ok()
    }
}

/// `None` when there is none.
fn read(path: &str) -> Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > LIMIT => Err(Error::invalid(format!("larger than {LIMIT} bytes"))),
        Ok(_) => std::fs::read(path).map(Some).context(|| "read".into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("stat", e)),
    }
}

fn built_in(system: bool) -> Spec {
    let capabilities = capability::built_in(system);
    Spec {
        process: Some(Process {
            env: process::ENVIRONMENT.map(str::to_owned).to_vec(),
            cwd: "/".into(),
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                effective: capabilities.clone(),
                permitted: capabilities,
                ..Capabilities::default()
            }),
            user: User { umask: Some(process::UMASK), ..User::default() },
            ..Process::default()
        }),
        mounts: mount::built_in(),
        linux: Some(Linux {
            namespaces: namespace::built_in(),
            resources: Some(Resources { devices: device::built_in(), ..Resources::default() }),
            masked_paths: paths::MASKED.map(str::to_owned).to_vec(),
            readonly_paths: paths::READONLY.map(str::to_owned).to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn load(system: usize, bytes: Result<Vec<u8>>) -> std::result::Result<Spec, String> {
    let parsed = bytes.and_then(|bytes| parse(&bytes, system == 1));
    parsed.map_err(|e| format!("template {:?}: {e}", FILES[system]))
}

fn parse(bytes: &[u8], system: bool) -> Result<Spec> {
    fn fill<T: Default + PartialEq>(given: &mut T, built_in: T) {
        if *given == T::default() {
            *given = built_in;
        }
    }
    let mut spec: Spec = json::parse(bytes)?;
    let base = built_in(system);
    fill(&mut spec.mounts, base.mounts);
    if let (process, Some(base)) = (spec.process.get_or_insert_default(), base.process) {
        fill(&mut process.env, base.env);
        fill(&mut process.cwd, base.cwd);
        fill(&mut process.capabilities, base.capabilities);
        fill(&mut process.user.umask, base.user.umask);
    }
    if let (linux, Some(base)) = (spec.linux.get_or_insert_default(), base.linux) {
        fill(&mut linux.namespaces, base.namespaces);
        fill(&mut linux.masked_paths, base.masked_paths);
        fill(&mut linux.readonly_paths, base.readonly_paths);
        if let (resources, Some(base)) = (linux.resources.get_or_insert_default(), base.resources) {
            fill(&mut resources.devices, base.devices);
        }
    }
    check(&spec)?;
    Ok(spec)
}

/// What would otherwise be told where nobody thinks of the file any more, or open the host.
fn check(spec: &Spec) -> Result<()> {
    if let Some(process) = &spec.process {
        process::validate_env(&process.env).context(|| "process.env".into())?;
        process::working_directory(&process.cwd).context(|| "process.cwd".into())?;
        let sets = process.capabilities.iter();
        let mut names =
            sets.flat_map(|s| [&s.bounding, &s.effective, &s.permitted, &s.inheritable, &s.ambient]).flatten();
        let known = |name: &String| name.strip_prefix("CAP_").is_some_and(|bare| NAMES.contains(&bare));
        if let Some(name) = names.find(|name| !known(name)) {
            return Err(Error::invalid(format!("process.capabilities: {name:?} is none")));
        }
        if let Some(limit) = process.rlimits.iter().find(|limit| !limit::known(limit)) {
            let text = "want a known type, and a soft limit that is not above the hard one";
            return Err(Error::invalid(format!("process.rlimits: {:?}: {text}", limit.kind)));
        }
    }
    if let Some(mount) = spec.mounts.iter().find(|m| !m.destination.starts_with('/')) {
        return Err(Error::invalid(format!("mounts: destination {:?} is not absolute", mount.destination)));
    }
    if let Some(hooks) = &spec.hooks {
        hook::check_all(hooks).context(|| "hooks".into())?;
    }
    if let Some(linux) = &spec.linux {
        namespace::check(&linux.namespaces).context(|| "linux.namespaces".into())?;
        let host = HostConfig { sysctls: linux.sysctl.clone(), ..HostConfig::default() };
        limit::validate_sysctls(&host).context(|| "linux.sysctl".into())?;
    }
    Ok(())
}
