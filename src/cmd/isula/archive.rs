//! `save export`: archives that leave the daemon.

use super::failure::Failure;
use super::{Session, output};
use crate::client::Client;
use crate::error::Error;
use crate::utils::atomic_file::temporary_name;
use crate::utils::sys::terminal::is_terminal;
use argh::{ArgsInfo, FromArgs};
use nix::sys::signal::{SigSet, Signal, raise};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Stack of the thread that waits for signals, in bytes.
const STACK: usize = 64 << 10;

/// write images to a tar archive that load and docker load take
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "save")]
pub struct Save {
    /// the archive; standard output by default
    #[argh(option, short = 'o', arg_name = "file")]
    output: Option<PathBuf>,
    #[argh(positional, arg_name = "IMAGE...")]
    images: Vec<String>,
}

/// write the root file system of a container to a tar archive
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "export")]
pub struct Export {
    /// the archive, a new file; standard output by default
    #[argh(option, short = 'o', arg_name = "file")]
    output: Option<PathBuf>,
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
}

impl Save {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        write(session, self.output.as_deref(), |client, out| client.image_save(&self.images, out))
    }
}

impl Export {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        if let Some(path) = self.output.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
            return Err(Failure::local(format!("output path {path:?} exists already")));
        }
        write(session, self.output.as_deref(), |client, out| client.container_export(&self.container, out))
    }
}

/// Has an archive written: to a file that gets its name when it is whole and on the disk, to what else the path names,
/// or to standard output.
fn write(
    session: &Session,
    path: Option<&Path>,
    make: impl FnOnce(&Client, &mut dyn Write) -> Result<(), Error>,
) -> Result<u8, Failure> {
    let Some(path) = path else {
        if is_terminal(std::io::stdout().as_fd()) {
            return Err(Failure::usage("an archive is not for a terminal: give --output, or redirect standard output"));
        }
        let mut out = Out { to: output::Stdout, failed: None };
        let made = make(session.client()?, &mut out);
        return finish(made, out.failed, "standard output");
    };
    let name = format!("{path:?}");
    let unusable = |e: std::io::Error| Failure::local(format!("cannot write {name}: {e}"));
    // A device or pipe that is there is written to as it is.
    let special = path.metadata().is_ok_and(|m| !m.is_file());
    let target = if special { path.to_owned() } else { temporary_name(path) };
    let client = session.client()?;
    if !special {
        remove_when_ended(target.clone()).map_err(unusable)?;
    }
    // An image may hold what is not for everybody.
    let file = File::options().write(true).create_new(!special).mode(0o600).open(&target).map_err(unusable)?;
    let mut out = Out { to: file, failed: None };
    let made = make(client, &mut out);
    let mut done = finish(made, out.failed, &name);
    if !special {
        if done.is_ok() {
            done = out.to.sync_all().and_then(|()| std::fs::rename(&target, path)).map_err(unusable).map(|()| 0);
        }
        if done.is_err() {
            let _ = std::fs::remove_file(&target); // the failure that is told comes first
        }
    }
    done
}

/// Has a file removed when a signal is to end this process, which then ends by it.
fn remove_when_ended(path: PathBuf) -> std::io::Result<()> {
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    ends.thread_block()?;
    let wait = move || {
        let Ok(signal) = ends.wait() else { return };
        let _ = std::fs::remove_file(path); // it may not be there yet, or have its name
        let _ = ends.thread_unblock().and_then(|()| raise(signal));
    };
    std::thread::Builder::new().stack_size(STACK).spawn(wait).map(drop)
}

fn finish(made: Result<(), Error>, failed: Option<std::io::Error>, name: &str) -> Result<u8, Failure> {
    match (made, failed) {
        (_, Some(e)) => Err(Failure::local(format!("cannot write {name}: {e}"))),
        (Err(e), None) => Err(e.into()),
        (Ok(()), None) => Ok(0),
    }
}

/// Remembers what went wrong on this side.
struct Out<W> {
    to: W,
    failed: Option<std::io::Error>,
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.to.write(bytes).map_err(|e| {
            let kind = e.kind();
            self.failed = Some(e);
            kind.into()
        })
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
