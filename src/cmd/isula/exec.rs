//! `exec`: a further process in a running container.

use super::failure::Failure;
use super::stream::{self, End, Link, Target};
use super::{Session, create, output};
use crate::api::exec::{ExecCreateRequest, ExecStartRequest};
use crate::client::Client;
use argh::{ArgsInfo, FromArgs};

/// run a command in a running container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "exec")]
pub struct Exec {
    /// run in the background
    #[argh(switch, short = 'd')]
    detach: bool,
    /// keys that detach
    #[argh(option, arg_name = "string")]
    detach_keys: Option<String>,
    /// set an environment variable, K=V or K
    #[argh(option, short = 'e', arg_name = "list")]
    env: Vec<String>,
    /// read environment variables from a file
    #[argh(option, arg_name = "list")]
    env_file: Vec<String>,
    /// keep standard input open
    #[argh(switch, short = 'i')]
    interactive: bool,
    /// give all capabilities
    #[argh(switch)]
    privileged: bool,
    /// allocate a pseudo terminal
    #[argh(switch, short = 't')]
    tty: bool,
    /// user name or number, [:group]
    #[argh(option, short = 'u', arg_name = "string")]
    user: Option<String>,
    /// working directory, an absolute path
    #[argh(option, short = 'w', arg_name = "string")]
    workdir: Option<String>,
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
    #[argh(positional, greedy, arg_name = "COMMAND [ARG...]")]
    command: Vec<String>,
}

impl Exec {
    fn request(&self) -> Result<ExecCreateRequest, Failure> {
        if let Some(path) = self.workdir.as_deref().filter(|p| !p.is_empty() && !p.starts_with('/')) {
            let text = format!("The working directory '{path}' is invalid. It needs to be an absolute path.");
            return Err(Failure::usage(text));
        }
        Ok(ExecCreateRequest {
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach_keys: self.detach_keys.clone().unwrap_or_else(|| stream::DETACH_KEYS.to_owned()),
            tty: self.tty,
            env: create::environment(&self.env_file, &self.env)?,
            cmd: self.command.clone(),
            privileged: self.privileged,
            user: self.user.clone().unwrap_or_default(),
            working_dir: self.workdir.clone().unwrap_or_default(),
            console_size: if self.tty { stream::terminal_size().map(|(rows, columns)| [rows, columns]) } else { None },
        })
    }

    /// Runs the verb: the process's exit code.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let request = self.request()?;
        stream::check_detach_keys(self.detach_keys.as_deref())?;
        let client = session.client()?;
        let id = client.exec_create(&self.container, &request)?.id;
        let console_size = request.console_size;
        let start = ExecStartRequest { detach: self.detach, tty: self.tty, console_size, refuse: true };
        if self.detach {
            client.exec_start_detached(&id, &start)?;
            return Ok(0);
        }
        let local = stream::Local::take(self.tty, self.interactive, false)?;
        let link = Link::exec(client, &id, &start)?;
        let options = stream::Options {
            target: Target::Exec(&id),
            tty: self.tty,
            redraw: false,
            stdin: self.interactive,
            sig_proxy: false,
            detach_keys: &request.detach_keys,
        };
        match stream::follow(client, &options, link, local)? {
            End::Exited(code) => Ok(code),
            End::Closed => exit_code(client, &id),
            End::Detached => Ok(0),
            End::Signal(signal) => Ok(128u8.wrapping_add(signal as u8)),
            End::ReaderGone => Err(Failure::silent(output::PIPE_EXIT)),
            End::Unwritten => Err(Failure::local(output::UNWRITTEN)),
        }
    }
}

/// The exit code of a session whose connection ended. There is no call that waits for it.
fn exit_code(client: &Client, id: &str) -> Result<u8, Failure> {
    let code = stream::await_end("process", || {
        let found = client.exec_inspect(id)?;
        Ok(found.exit_code.filter(|_| !found.running))
    })?;
    u8::try_from(code).map_err(|_| Failure::local(format!("exit code {code} is out of range")))
}

#[cfg(test)]
mod tests {
    use crate::cmd::argv::parse;
    use crate::cmd::isula::{Command, DIALECT, Top};

    fn request(line: &str) -> Result<super::ExecCreateRequest, super::Failure> {
        let words = line.split_whitespace().map(Into::into).collect();
        match parse::<Top>("isula", words, DIALECT).unwrap().command {
            Some(Command::Exec(exec)) => exec.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_reach_their_fields() {
        let r = request("exec -it -e A=b -u 1:2 --workdir /w --privileged --detach-keys ctrl-x c sh -c -d").unwrap();
        assert!(r.tty && r.attach_stdin && r.attach_stdout && r.attach_stderr && r.privileged);
        assert_eq!((r.env.join(","), r.user.as_str(), r.working_dir.as_str()), ("A=b".into(), "1:2", "/w"));
        assert_eq!((r.cmd.join(" "), r.detach_keys.as_str()), ("sh -c -d".into(), "ctrl-x"));
        let r = request("exec -di c ls").unwrap();
        assert!(!r.attach_stdin && !r.attach_stdout && !r.attach_stderr && r.console_size.is_none());
        assert_eq!(r.detach_keys, "ctrl-a,q");
        assert_eq!(request("exec -w rel c ls").unwrap_err().code, 125);
    }
}
