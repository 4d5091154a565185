//! `start stop restart kill pause unpause rm wait`: one request for each name.

use super::failure::Failure;
use super::run::{Attachment, attached};
use super::{Session, audit, for_each};
use crate::client::{Client, ListRequest, RemoveRequest, WaitCondition};
use crate::error::Kind;
use argh::{ArgsInfo, FromArgs};

/// start stopped containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "start")]
pub struct Start {
    /// attach to the output and pass signals on
    #[argh(switch, short = 'a')]
    attach: bool,
    /// attach standard input
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// keys that detach
    #[argh(option, arg_name = "string")]
    detach_keys: Option<String>,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Start {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        if !self.attach && !self.interactive {
            let client = session.client()?;
            return for_each(&self.containers, |name| match client.container_start(name) {
                Ok(_) => Ok(None),
                Err(e) => Err(Failure::daemon(&e).refused()),
            });
        }
        let [name] = &self.containers[..] else {
            return Err(Failure::usage("You cannot start and attach multiple containers at once."));
        };
        let found = session.client()?.container_inspect(name).map_err(|e| Failure::daemon(&e).refused())?;
        let stdin = self.interactive && found.config.open_stdin;
        attached(
            session,
            &Attachment {
                id: &found.id,
                tty: found.config.tty,
                stdin,
                outputs: [true; 2],
                sig_proxy: !found.config.tty,
                auto_remove: found.host_config.auto_remove,
                detach_keys: self.detach_keys.as_deref(),
                start: true,
            },
        )
    }
}

/// stop running containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "stop")]
pub struct Stop {
    /// kill at once
    #[argh(switch, short = 'f')]
    force: bool,
    /// signal to send first, name or number; that of the container by default
    #[argh(option, short = 's', arg_name = "string")]
    signal: Option<String>,
    /// seconds to wait before killing; -1 waits for ever
    #[argh(option, short = 't', arg_name = "int")]
    time: Option<i64>,
    /// the same as --time
    #[argh(option, arg_name = "int")]
    timeout: Option<i64>,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Stop {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        audit::record();
        let client = session.client()?;
        let timeout = if self.force { Some(0) } else { self.timeout.or(self.time) };
        for_each(&self.containers, |name| {
            client.container_stop(name, timeout, self.signal.as_deref())?;
            Ok(Some(name.to_owned()))
        })
    }
}

/// restart containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "restart")]
pub struct Restart {
    /// signal to send first, name or number; that of the container by default
    #[argh(option, short = 's', arg_name = "string")]
    signal: Option<String>,
    /// seconds to wait before killing; -1 waits for ever
    #[argh(option, short = 't', arg_name = "int")]
    time: Option<i64>,
    /// the same as --time
    #[argh(option, arg_name = "int")]
    timeout: Option<i64>,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Restart {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        audit::record();
        let client = session.client()?;
        for_each(&self.containers, |name| {
            client.container_restart(name, self.timeout.or(self.time), self.signal.as_deref())?;
            Ok(Some(name.to_owned()))
        })
    }
}

/// kill running containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "kill")]
pub struct Kill {
    /// signal to send, name or number; SIGKILL by default
    #[argh(option, short = 's', arg_name = "string")]
    signal: Option<String>,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Kill {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        audit::record();
        let client = session.client()?;
        for_each(&self.containers, |name| {
            client.container_kill(name, self.signal.as_deref())?;
            Ok(Some(name.to_owned()))
        })
    }
}

/// pause all processes of containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "pause")]
pub struct Pause {
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Pause {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        for_each(&self.containers, |name| {
            client.container_pause(name)?;
            Ok(Some(name.to_owned()))
        })
    }
}

/// unpause all processes of containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "unpause")]
pub struct Unpause {
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Unpause {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        for_each(&self.containers, |name| {
            client.container_unpause(name)?;
            Ok(Some(name.to_owned()))
        })
    }
}

/// remove containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "rm")]
pub struct Rm {
    /// kill a running container first
    #[argh(switch, short = 'f')]
    force: bool,
    /// remove anonymous volumes too
    #[argh(switch, short = 'v')]
    volumes: bool,
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Rm {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        audit::record();
        let client = session.client()?;
        let request = RemoveRequest { force: self.force, volumes: self.volumes };
        for_each(&self.containers, |name| {
            // The screen shows the whole id. Where there is none, the removal says so in its own words.
            let id = if crate::utils::id::is_full_id(name) { None } else { whole_id(client, name) };
            let id = id.unwrap_or_else(|| name.to_owned());
            client.container_remove(&id, request)?;
            Ok(Some(id))
        })
    }
}

/// The id of a container. One whose files are damaged cannot be inspected, but is listed.
fn whole_id(client: &Client, name: &str) -> Option<String> {
    match client.container_inspect(name) {
        Ok(found) => return Some(found.id),
        Err(e) if e.kind() != Kind::Internal => return None,
        Err(_) => {}
    }
    let bare = name.trim_start_matches('/');
    let (mut named, mut begun) = (None, None);
    let list = ListRequest { all: true, ..ListRequest::default() };
    let listed = client.container_list(&list, |c| {
        if c.names.iter().any(|n| n.trim_start_matches('/') == bare) {
            named = Some(c.id);
        } else if c.id.starts_with(bare) {
            begun = Some(c.id);
        }
    });
    listed.ok().and(named.or(begun))
}

/// wait until containers end and print their exit codes
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "wait")]
pub struct Wait {
    #[argh(positional, arg_name = "CONTAINER...")]
    containers: Vec<String>,
}

impl Wait {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        for_each(&self.containers, |name| {
            let answer = client.container_wait(name, WaitCondition::NotRunning)?.finish()?;
            Ok(Some(answer.status_code.to_string()))
        })
    }
}
