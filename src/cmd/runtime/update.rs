//! `lcr update`.

use crate::api::oci::runtime::Resources;
use crate::cmd::runtime::record::{Root, Status, read_limited};
use crate::error::{Context, Error, Result};
use crate::utils::json;
use argh::{ArgsInfo, FromArgs};
use std::io::Read;
use std::path::PathBuf;

/// change the limits of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "update")]
pub struct Update {
    /// file with the document's linux.resources, or - for standard input; what it lacks stays as it is
    #[argh(option, short = 'r', arg_name = "file")]
    resources: Option<PathBuf>,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// Largest document on standard input.
const LIMIT: u64 = 1 << 20;

/// Changes the limits.
///
/// # Errors
/// `Kind::Conflict` unless the container is created, runs or is paused; `Kind::Invalid` for the document; as the engine
/// has them for a limit. Limits before the failing one are in force.
pub fn update(root: &Root, args: Update) -> Result<u8> {
    let path = args.resources.ok_or_else(|| Error::invalid("update: --resources is needed"))?;
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().take(LIMIT).read_to_end(&mut bytes).context(|| "read(stdin)".into())?;
        bytes
    } else {
        read_limited(&path)?
    };
    let resources: Resources = json::parse(&bytes).context(|| format!("resources {path:?}"))?;
    let record = root.load(&args.id)?;
    let status = record.status();
    if !matches!(status, Status::Created | Status::Running | Status::Paused) {
        return Err(Error::conflict(format!("container {:?} is {}", args.id, status.word())));
    }
    let cgroup = record.cgroup()?.ok_or_else(|| Error::not_found(format!("container {:?} has no cgroup", args.id)))?;
    cgroup.update(&resources)?;
    Ok(0)
}
