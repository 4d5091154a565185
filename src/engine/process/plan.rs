//! Everything that can be checked or prepared before there is a process.

use crate::api::oci::runtime::{Linux, Process, Spec};
use crate::engine::capability::Sets;
use crate::engine::idmap::Maps;
use crate::engine::namespace::Namespaces;
use crate::engine::rlimit::Limit;
use crate::engine::rootfs::{self, device, option};
use crate::engine::scheduling::{Affinity, Own, Scheduling};
use crate::engine::{create, idmap, net_device, rights, rlimit, seccomp, sysctl};
use crate::error::{Context, Error, Kind, Result};
use libc::{CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A process: what runs, as whom, with which rights.
pub struct Program<'a> {
    /// The configuration.
    pub process: &'a Process,
    /// argv.
    pub args: Vec<CString>,
    /// Environment.
    pub env: Vec<CString>,
    /// Whether the environment has `HOME`.
    pub has_home: bool,
    /// Working directory.
    pub cwd: CString,
    /// Capability sets.
    pub capabilities: Sets,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Policy and priorities.
    pub scheduling: Scheduling,
    /// Execution domain and memory policy.
    pub own: Own,
    /// Processors of a further process.
    pub affinity: Affinity,
    /// System call filter.
    pub filter: Option<seccomp::Program>,
    /// Whether the caller may make mount namespaces and enter those of others without a user namespace of its own.
    pub privileged: bool,
    /// How many of the caller's descriptors from 3 on the program gets.
    pub preserved_fds: u32,
}

/// A container.
pub struct Plan<'a> {
    /// Container id.
    pub id: &'a str,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The whole configuration.
    pub spec: &'a Spec,
    /// Its first process.
    pub program: Program<'a>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Whether the first process is made by one before it, which does what that could not.
    pub staged: bool,
    /// Id maps, with a new user namespace.
    pub maps: Option<Maps>,
    /// The root.
    pub rootfs: rootfs::Plan<'a>,
    /// The Linux part.
    pub linux: &'a Linux,
    /// The caller's session keyring stays.
    pub no_new_keyring: bool,
}

impl<'a> Program<'a> {
    /// Checks `process`, which gets the filter of `linux`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule.
    pub fn new(process: &'a Process, linux: &Linux) -> Result<Program<'a>> {
        if process.args.first().is_none_or(|a| a.is_empty()) {
            return Err(Error::invalid("No command specified"));
        }
        if !process.cwd.starts_with('/') {
            return Err(Error::invalid(format!("working directory {:?} is not an absolute path", process.cwd)));
        }
        if let Some(bad) = process.env.iter().find(|e| e.find('=').is_none_or(|at| at == 0)) {
            return Err(Error::invalid(format!("environment entry {bad:?} is not NAME=VALUE")));
        }
        let filter = linux.seccomp.as_ref().map(seccomp::compile).transpose();
        Ok(Program {
            process,
            args: c_strings("argument", &process.args)?,
            env: c_strings("environment entry", &process.env)?,
            has_home: process.env.iter().any(|e| e.starts_with("HOME=")),
            cwd: c_string("working directory", &process.cwd)?,
            capabilities: Sets::parse(process.capabilities.as_ref())?,
            limits: rlimit::parse(&process.rlimits)?,
            scheduling: Scheduling::parse(process)?,
            own: Own::parse(linux)?,
            affinity: Affinity::parse(process.exec_cpu_affinity.as_ref())?,
            filter: filter.context(|| "seccomp".into())?,
            privileged: rights::has(rights::ADMINISTER),
            preserved_fds: 0,
        })
    }
}

impl<'a> Plan<'a> {
    /// Checks a whole container and opens the namespaces that it joins.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the rule, `Kind::Unsupported` naming what is not done.
    pub fn new(request: &create::Request<'a>) -> Result<Plan<'a>> {
        let spec = request.spec;
        let process = spec.process.as_ref().ok_or_else(|| Error::invalid("the configuration has no process"))?;
        let linux = spec.linux.as_ref().ok_or_else(|| Error::invalid("the configuration has no linux part"))?;
        let namespaces = Namespaces::open(&linux.namespaces)?;
        let own = namespaces.joined.iter().fold(namespaces.new, |all, j| all | j.kind);
        if linux.intel_rdt.is_some() {
            return Err(Error::new(Kind::Unsupported, "intelRdt is not supported"));
        }
        sysctl::check(&linux.sysctl, own)?;
        device::check(&linux.devices)?;
        net_device::check(&linux.net_devices, own)?;
        if own & CLONE_NEWUTS == 0 && !(spec.hostname.is_empty() && spec.domainname.is_empty()) {
            return Err(Error::invalid("a host name needs a uts namespace"));
        }
        let maps = match namespaces.new & CLONE_NEWUSER != 0 {
            true => Some(Maps::parse(linux)?),
            false => None,
        };
        let bundle = std::path::absolute(request.bundle).context(|| format!("bundle {:?}", request.bundle))?;
        let mut rootfs = rootfs_plan(request, &bundle, linux, own)?;
        rootfs.id_maps = id_maps(&rootfs.mounts, &namespaces, linux)?;
        Ok(Plan {
            id: request.id,
            spec,
            program: Program { preserved_fds: request.preserved_fds, ..Program::new(process, linux)? },
            rootfs,
            bundle,
            staged: namespaces.has_user() || cannot_return(own & !namespaces.new),
            namespaces,
            maps,
            linux,
            no_new_keyring: request.no_new_keyring,
        })
    }
}

/// Whether the namespaces to join, as CLONE_NEW*, have a pid namespace that this process could not come back from: its own
/// belongs to the host, whose root it is not.
pub fn cannot_return(joined: libc::c_int) -> bool {
    joined & CLONE_NEWPID != 0 && !rights::is_host_root()
}

fn rootfs_plan<'a>(
    request: &create::Request<'a>,
    bundle: &Path,
    linux: &'a Linux,
    own: i32,
) -> Result<rootfs::Plan<'a>> {
    let root = request.spec.root.as_ref().ok_or_else(|| Error::invalid("the configuration has no root"))?;
    let label = linux.mount_label.as_str();
    let mounts: Vec<_> = request.spec.mounts.iter().map(|m| option::parse(m, bundle, label)).collect::<Result<_>>()?;
    let host_dev = mounts.iter().any(|m| {
        let is_dev = m.destination.components().eq(Path::new("/dev").components());
        is_dev && matches!(m.kind, option::Fs::Bind { .. })
    });
    if host_dev && !linux.devices.is_empty() {
        log::debug!("devices of the configuration are left out: the host's /dev is shown");
    }
    let propagation = match linux.rootfs_propagation.as_str() {
        "" => None,
        word => Some(option::propagation(word)?),
    };
    Ok(rootfs::Plan {
        root: bundle.join(&root.path),
        base: request.base,
        mounts,
        devices: (!host_dev).then_some(&linux.devices),
        masked: &linux.masked_paths,
        read_only_paths: &linux.readonly_paths,
        read_only: root.readonly,
        propagation,
        label,
        no_pivot: request.no_pivot,
        cgroup_namespace: own & CLONE_NEWCGROUP != 0,
        user_namespace: own & CLONE_NEWUSER != 0,
        id_maps: Vec::new(),
    })
}

/// User namespaces of id-mapped mounts. They are made here, where `/proc` shows this process's children by the numbers
/// that it knows.
fn id_maps(mounts: &[option::Planned<'_>], namespaces: &Namespaces, linux: &Linux) -> Result<Vec<(usize, OwnedFd)>> {
    let mut made = Vec::new();
    for (index, planned) in mounts.iter().enumerate() {
        let Some(ids) = &planned.ids else { continue };
        let joined = namespaces.joined.iter().find(|j| j.kind == CLONE_NEWUSER);
        let namespace = match (&ids.maps, joined) {
            (Some([uids, gids]), _) => idmap::namespace(uids, gids),
            (None, Some(joined)) => joined.file.try_clone().map(OwnedFd::from).context(|| "dup()".into()),
            (None, None) if namespaces.new & CLONE_NEWUSER != 0 => {
                idmap::namespace(&linux.uid_mappings, &linux.gid_mappings)
            }
            (None, None) => Err(Error::invalid("id mappings are missing, and there is no user namespace to have them")),
        };
        made.push((index, namespace.context(|| format!("mount at {:?}", planned.destination))?));
    }
    Ok(made)
}

fn c_strings(what: &str, list: &[String]) -> Result<Vec<CString>> {
    list.iter().map(|text| c_string(what, text)).collect()
}

fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::Invalid, format!("{what} {text:?} has a NUL byte")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::runtime::{Mount, Namespace, Root};

    fn spec() -> Spec {
        let namespace = |kind: &str| Namespace { kind: kind.into(), ..Namespace::default() };
        Spec {
            process: Some(Process { args: vec!["sh".into()], cwd: "/".into(), ..Process::default() }),
            root: Some(Root { path: "rootfs".into(), readonly: false }),
            linux: Some(Linux { namespaces: vec![namespace("mount"), namespace("pid")], ..Linux::default() }),
            ..Spec::default()
        }
    }

    fn check(change: impl FnOnce(&mut Spec)) -> Result<()> {
        let mut spec = spec();
        change(&mut spec);
        let bundle = Path::new("/bundle");
        let request = create::Request {
            id: "a",
            spec: &spec,
            bundle,
            base: rootfs::Base::Directory,
            stdio: None,
            no_pivot: false,
            no_new_keyring: false,
            preserved_fds: 0,
            cgroup: create::CgroupChoice::default(),
        };
        let plan = Plan::new(&request)?;
        assert_eq!(plan.rootfs.root, Path::new("/bundle/rootfs"));
        Ok(())
    }

    #[test]
    fn broken_rules_are_named() {
        check(|_| ()).unwrap();
        type Case = (fn(&mut Spec), &'static str);
        let cases: [Case; 9] = [
            (|s| s.process = None, "no process"),
            (|s| s.process.as_mut().unwrap().args.clear(), "No command specified"),
            (|s| s.process.as_mut().unwrap().cwd = "x".into(), "\"x\" is not an absolute path"),
            (|s| s.process.as_mut().unwrap().env = vec!["=a".into()], "\"=a\" is not NAME=VALUE"),
            (|s| s.process.as_mut().unwrap().args = vec!["a\0".into()], "NUL"),
            (|s| s.linux.as_mut().unwrap().namespaces[1].kind = "user".into(), "0 uid mappings"),
            (|s| s.linux.as_mut().unwrap().rootfs_propagation = "x".into(), "unknown rootfs propagation"),
            (|s| s.hostname = "h".into(), "uts namespace"),
            (|s| s.mounts = vec![Mount { destination: "/x".into(), ..Mount::default() }], "mount at \"/x\""),
        ];
        for (change, text) in cases {
            let e = check(change).unwrap_err();
            assert!(e.to_string().contains(text), "{e}, expected {text}");
        }
    }
}
