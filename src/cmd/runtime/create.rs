//! `lcr create`: makes a container whose program waits for `lcr start`.

use crate::api::oci::runtime::{Spec, User};
use crate::cmd::runtime::foreground;
use crate::cmd::runtime::record::{Claim, Record, Root, read_limited};
use crate::cmd::runtime::run::write_pid_file;
use crate::engine::create::{self, CgroupChoice, Created};
use crate::engine::rootfs::Base;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::process;
use crate::utils::time::Timestamp;
use argh::{ArgsInfo, FromArgs};
use std::path::{Path, PathBuf};

/// create a container whose program waits for start
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "create")]
pub struct Create {
    /// directory with config.json (default .)
    #[argh(option, short = 'b', arg_name = "dir")]
    bundle: Option<PathBuf>,
    /// file for the id of the first process
    #[argh(option, arg_name = "file")]
    pid_file: Option<PathBuf>,
    /// socket that gets the terminal
    #[argh(option, arg_name = "path")]
    console_socket: Option<PathBuf>,
    /// configuration in place of the bundle's config.json
    #[argh(option, short = 'f', arg_name = "file")]
    config: Option<PathBuf>,
    /// move the root instead of pivot_root
    #[argh(switch)]
    no_pivot: bool,
    /// keep the caller's session keyring
    #[argh(switch)]
    no_new_keyring: bool,
    /// accepted; processes whose parents end are never this program's
    #[argh(switch)]
    #[allow(dead_code)] // for those who pass it
    no_subreaper: bool,
    /// how many descriptors from 3 on the program gets (default 0)
    #[argh(option, default = "0", arg_name = "n")]
    pub preserve_fds: u32,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// Makes a container and leaves it waiting.
///
/// # Errors
/// What failed; nothing is left then.
pub fn create(root: &Root, args: Create) -> Result<u8> {
    let new = New::claim(root, args.bundle.as_deref(), args.config.as_deref(), args.id)?;
    foreground::check_terminal(new.has_terminal(), true, args.console_socket.as_deref())?;
    let (no_pivot, no_new_keyring, preserved_fds) = (args.no_pivot, args.no_new_keyring, args.preserve_fds);
    let created = new.create(Manner { no_pivot, no_new_keyring, preserved_fds })?;
    let New { mut record, claim, .. } = new;
    let mut created = created; // goes before the claim does
    let pid = created.pid();
    record.set_cgroup(&created);
    let start_time = process::start_time(pid);
    record.pid = pid;
    record.start_time = start_time.ok_or_else(|| Error::internal(format!("no start time of process {pid}")))?;
    claim.save(&record)?;
    foreground::hand_over(created.take_terminal(), args.console_socket.as_deref())?;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, pid)?;
    }
    // Last: until then the container goes with this process, whatever ends it.
    created.leave(claim.listen()?)?;
    claim.keep();
    Ok(0)
}

/// How a container is made.
pub struct Manner {
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// The caller's session keyring stays.
    pub no_new_keyring: bool,
    /// How many of this process's descriptors from 3 on the program gets.
    pub preserved_fds: u32,
}

/// A container that has its id and nothing else yet. The id is free again when this goes.
pub struct New {
    /// What is kept of it.
    pub record: Record,
    /// Its configuration.
    pub spec: Spec,
    /// Its directory.
    pub claim: Claim,
    /// How its cgroup is made.
    cgroup: CgroupChoice,
}

impl New {
    /// Takes the id for the bundle in `bundle`, the working directory unless given, with the configuration `config`,
    /// the bundle's own unless given.
    ///
    /// # Errors
    /// `Kind::Exists` when the id is taken; what is wrong with the bundle.
    pub fn claim(root: &Root, bundle: Option<&Path>, config: Option<&Path>, id: String) -> Result<New> {
        let bundle = bundle.unwrap_or(Path::new("."));
        let bundle = std::fs::canonicalize(bundle).context(|| format!("bundle {bundle:?}"))?;
        root.directory(&id)?;
        let path = config.map_or_else(|| bundle.join("config.json"), Path::to_owned);
        let spec = load(&path, &id, root.cgroup.systemd)?;
        let record = Record {
            oci_version: super::OCI_VERSION.into(),
            id,
            rootfs: spec.root.as_ref().map(|r| bundle.join(&r.path)).unwrap_or_default(),
            bundle,
            created: Timestamp::now().rfc3339(),
            owner: nix::unistd::geteuid().as_raw(),
            cgroup_path: spec.linux.as_ref().map(|l| l.cgroups_path.clone()).unwrap_or_default(),
            annotations: spec.annotations.clone(),
            ..Record::default()
        };
        let claim = root.claim(&record, &spec)?;
        Ok(New { record, spec, claim, cgroup: root.cgroup })
    }

    /// Whether its program gets a terminal.
    pub fn has_terminal(&self) -> bool {
        self.spec.process.as_ref().is_some_and(|p| p.terminal)
    }

    /// Makes it, with this process's standard descriptors.
    ///
    /// # Errors
    /// As [`create::create`].
    pub fn create(&self, manner: Manner) -> Result<Created> {
        let Manner { no_pivot, no_new_keyring, preserved_fds } = manner;
        create::create(create::Request {
            id: &self.record.id,
            spec: &self.spec,
            bundle: &self.record.bundle,
            base: Base::Directory,
            stdio: None,
            no_pivot,
            no_new_keyring,
            preserved_fds,
            cgroup: self.cgroup,
        })
    }
}

/// Reads and checks a configuration.
fn load(path: &Path, id: &str, systemd: bool) -> Result<Spec> {
    let mut spec: Spec = json::parse(&read_limited(path)?).context(|| format!("configuration {path:?}"))?;
    let supported = spec.oci_version.split('.').next() == Some("1");
    if !supported {
        let text = format!("configuration {path:?} is for version {:?} of the specification", spec.oci_version);
        return Err(Error::new(Kind::Unsupported, text));
    }
    let Some(process) = &mut spec.process else {
        return Err(Error::invalid(format!("configuration {path:?} has no process")));
    };
    // Names are for other platforms in documents from outside; here they would be looked up.
    let User { username, additional_groups, .. } = &mut process.user;
    (*username, *additional_groups) = (String::new(), Vec::new());
    let linux = spec.linux.get_or_insert_default();
    if linux.cgroups_path.is_empty() && !systemd {
        linux.cgroups_path = format!("/{id}");
    }
    Ok(spec)
}
