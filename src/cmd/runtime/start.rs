//! `lcr start`: lets the program of a created container run.

use crate::cmd::runtime::record::{Root, Status};
use crate::engine::create;
use crate::error::{Error, Result};
use argh::{ArgsInfo, FromArgs};

/// start a created container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "start")]
pub struct Start {
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// Starts it; returns when its program runs.
///
/// # Errors
/// `Kind::Conflict` unless it is created; otherwise why the program does not run: the container is stopped then, unless it
/// was its seccomp agent that could not be reached.
pub fn start(root: &Root, args: Start) -> Result<u8> {
    let record = root.load(&args.id)?;
    let status = record.status();
    if status != Status::Created {
        return Err(Error::conflict(format!("container {:?} is {}, not created", record.id, status.word())));
    }
    let result = create::start(create::Waiting {
        id: &record.id,
        spec: &root.spec(&args.id)?,
        bundle: &record.bundle,
        pid: record.pid,
        connection: record.connect()?,
    });
    // So that whoever wants to know the state need not try it; it means nothing by itself. Without its seccomp agent a
    // container goes on waiting, for a start that finds one.
    if result.is_ok() || record.status() != Status::Created {
        record.forget_socket();
    }
    result.map(|()| 0)
}
