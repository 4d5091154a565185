//! `run` and `create`, and what it takes to follow a container to its end.

use super::create::is_none;
use super::failure::{FAILED, Failure};
use super::flags::ContainerFlags;
use super::stream::{self, End, Link, Target};
use super::{Session, create as mapping, output};
use crate::api::container::{CreateRequest, CreateResponse};
use crate::client::{AttachRequest, Client, RemoveRequest, WaitCondition};
use crate::error::Kind;
use std::fs::File;
use std::io::{ErrorKind, Write};

/// `isula create`: prints the id.
pub fn create(session: &Session, flags: &ContainerFlags) -> Result<u8, Failure> {
    let request = mapping::request(flags)?;
    let created = make_known(session, flags, &request)?;
    output::print(&format!("{}\n", created.id))?;
    Ok(0)
}

/// `isula run`: the process's exit code, or with `-d` the container's id.
pub fn run(session: &Session, flags: &ContainerFlags) -> Result<u8, Failure> {
    let request = mapping::request(flags)?;
    stream::check_detach_keys(flags.detach_keys.as_deref())?;
    let [stdin, stdout, stderr] = mapping::streams(flags)?;
    let client = session.client().map_err(Failure::refused)?;
    let id = make_known(session, flags, &request).map_err(Failure::refused)?.id;
    let result = if flags.detach {
        client.container_start(&id).map(|_| 0).map_err(|e| Failure::daemon(&e).refused())
    } else {
        attached(
            session,
            &Attachment {
                id: &id,
                tty: flags.tty,
                stdin,
                outputs: [stdout, stderr],
                sig_proxy: flags.sig_proxy && !flags.tty,
                auto_remove: flags.rm,
                detach_keys: flags.detach_keys.as_deref(),
                start: true,
            },
        )
    };
    if flags.detach && result.is_ok() {
        output::print(&format!("{id}\n"))?;
    }
    result
}

/// Makes the container and writes its id to the file of `--cidfile`, which must be a new one.
fn make_known(session: &Session, flags: &ContainerFlags, request: &CreateRequest) -> Result<CreateResponse, Failure> {
    let Some(path) = &flags.cidfile else { return make(session.client()?, flags, request) };
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => {
            Failure::usage(format!("container ID file {path:?} exists: remove it, or give another one"))
        }
        _ => Failure::usage(format!("cannot write container ID file {path:?}: {e}")),
    };
    let mut file = File::create_new(path).map_err(failed)?;
    let made = session.client().and_then(|client| make(client, flags, request));
    match &made {
        Ok(created) => file.write_all(created.id.as_bytes()).map_err(failed)?,
        // It is as if it had not been; the failure that is told comes first.
        Err(_) => drop(std::fs::remove_file(path)),
    }
    made
}

/// Makes the container and says what was left out.
fn make(client: &Client, flags: &ContainerFlags, request: &CreateRequest) -> Result<CreateResponse, Failure> {
    let policy = if is_none(&flags.image) { "never" } else { flags.pull.as_deref().unwrap_or("missing") };
    if policy == "always" {
        fetch(client, flags)?;
    }
    let (name, platform) = (flags.name.as_deref(), flags.platform.as_deref());
    let mut created = client.container_create(name, platform, request);
    if let Err(e) = &created
        && e.kind() == Kind::NotFound
        && !is_none(&flags.image)
        && client.image_inspect(&flags.image).is_err_and(|e| e.kind() == Kind::NotFound)
    {
        output::complain(&format!("Unable to find image '{}' locally", flags.image));
        if policy == "missing" {
            fetch(client, flags)?;
            created = client.container_create(name, platform, request);
        }
    }
    let created = created.map_err(|e| Failure::daemon(&e))?;
    for warning in &created.warnings {
        output::complain(&format!("WARNING: {warning}"));
    }
    Ok(created)
}

#[cfg(feature = "registry")]
/// Pulls the image. What is told goes to standard error: standard output is the container's.
fn fetch(client: &Client, flags: &ContainerFlags) -> Result<(), Failure> {
    let tell = |what: &str, done: &str| {
        if !flags.quiet {
            output::complain(&format!("Image \"{what}\" {done}"));
        }
    };
    tell(&flags.image, "pulling");
    let id = super::registry::pull(client, &flags.image, flags.platform.as_deref(), true)?;
    tell(&id, "pulled");
    Ok(())
}

/// This build cannot.
#[cfg(not(feature = "registry"))]
fn fetch(_: &Client, flags: &ContainerFlags) -> Result<(), Failure> {
    Err(Failure::local(format!("cannot pull {:?}: this build has no registry client", flags.image)))
}

/// A container to follow.
#[derive(Debug)]
pub struct Attachment<'a> {
    /// Which.
    pub id: &'a str,
    /// It has a terminal.
    pub tty: bool,
    /// Standard input goes along.
    pub stdin: bool,
    /// So do standard output and error.
    pub outputs: [bool; 2],
    /// Signals go to the process.
    pub sig_proxy: bool,
    /// It is removed after its end.
    pub auto_remove: bool,
    /// Keys that detach.
    pub detach_keys: Option<&'a str>,
    /// It is to be started, after the attachment, so that no output is missed.
    pub start: bool,
}

/// Attaches, starts if asked, and follows to the end: the process's exit code.
pub fn attached(session: &Session, what: &Attachment<'_>) -> Result<u8, Failure> {
    let client = session.client()?;
    let failed = |e: crate::error::Error| Failure::daemon(&e).refused();
    stream::check_detach_keys(what.detach_keys)?;
    let request = AttachRequest {
        stdin: what.stdin,
        stdout: what.outputs[0],
        stderr: what.outputs[1],
        logs: false,
        detach_keys: what.detach_keys.unwrap_or(stream::DETACH_KEYS).to_owned(),
    };
    // Where the session cannot tell the exit code, a wait that began before the start can.
    let wait = match (client.can_hand(), what.auto_remove, what.start) {
        (true, ..) => None,
        (false, true, _) => Some(WaitCondition::Removed),
        (false, false, true) => Some(WaitCondition::NextExit),
        (false, false, false) => Some(WaitCondition::NotRunning),
    };
    let wait = wait.map(|condition| client.container_wait(what.id, condition)).transpose().map_err(failed)?;
    let local = stream::Local::take(what.tty, what.stdin, what.sig_proxy)?;
    let link = Link::attach(client, what.id, &request).map_err(failed)?;
    if what.start
        && let Err(e) = client.container_start(what.id)
    {
        if what.auto_remove {
            // The daemon does so too; a container that is gone already is no news.
            let _ = client.container_remove(what.id, RemoveRequest { force: true, volumes: true });
        }
        return Err(failed(e));
    }
    let options = stream::Options {
        target: Target::Container(what.id),
        tty: what.tty,
        redraw: !what.start,
        stdin: what.stdin,
        sig_proxy: what.sig_proxy,
        detach_keys: &request.detach_keys,
    };
    match stream::follow(client, &options, link, local)? {
        End::Exited(code) => {
            if what.auto_remove {
                // The command ends when nothing of the container is left; an error is that it is gone already.
                let _ = client.container_wait(what.id, WaitCondition::Removed).and_then(crate::client::Wait::finish);
            }
            Ok(code)
        }
        End::Closed => match wait {
            Some(wait) => match wait.finish() {
                // The session is the shim's and goes on without the daemon; the wait was the daemon's.
                Err(e) if e.kind() == Kind::Remote => lost(client, what.id),
                answer => exit_code(answer.map_err(failed)?.status_code),
            },
            None => lost(client, what.id),
        },
        End::Detached => Ok(0),
        End::Signal(signal) => Ok(128u8.wrapping_add(signal as u8)),
        End::ReaderGone => Err(Failure::silent(output::PIPE_EXIT)),
        End::Unwritten => Err(Failure::local(output::UNWRITTEN)),
    }
}

fn exit_code(code: i64) -> Result<u8, Failure> {
    u8::try_from(code).map_err(|_| Failure { text: format!("exit code {code} is out of range"), code: FAILED })
}

/// The connection ended without a word: the state may still tell.
fn lost(client: &Client, id: &str) -> Result<u8, Failure> {
    let code = stream::await_end("container", || {
        let state = client.container_inspect(id)?.state;
        let runs = state.running || state.paused || state.restarting;
        Ok((!runs).then(|| i64::from(state.exit_code)))
    });
    exit_code(code.map_err(Failure::refused)?)
}
