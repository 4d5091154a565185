//! `attach`: the streams of a running container's first process.

use super::Session;
use super::failure::Failure;
use super::run::{Attachment, attached};
use crate::api::container::ContainerState;
use crate::utils::sys::terminal::is_terminal;
use argh::{ArgsInfo, FromArgs};
use std::os::fd::AsFd;

/// attach to a running container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "attach")]
pub struct Attach {
    /// keys that detach
    #[argh(option, arg_name = "string")]
    detach_keys: Option<String>,
    /// do not attach standard input
    #[argh(switch)]
    no_stdin: bool,
    /// pass signals on to the process
    #[argh(option, arg_name = "bool", default = "true")]
    sig_proxy: bool,
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
}

impl Attach {
    /// Runs the verb: the exit code of the container, or 0 when detached.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let found = session.client()?.container_inspect(&self.container)?;
        check(&found.state)?;
        let stdin = found.config.open_stdin && !self.no_stdin;
        if found.config.tty && stdin && !is_terminal(std::io::stdin().as_fd()) {
            return Err(Failure::local("the input device is not a TTY")); // docker's words
        }
        attached(
            session,
            &Attachment {
                id: &found.id,
                tty: found.config.tty,
                stdin,
                outputs: [true; 2],
                sig_proxy: self.sig_proxy && !found.config.tty,
                auto_remove: found.host_config.auto_remove,
                detach_keys: self.detach_keys.as_deref(),
                start: false,
            },
        )
    }
}

fn check(state: &ContainerState) -> Result<(), Failure> {
    let text = if state.paused {
        "You cannot attach to a paused container, unpause it first"
    } else if state.restarting {
        "You cannot attach to a restarting container, wait until it is running"
    } else if !state.running {
        "You cannot attach to a stopped container, start it first"
    } else {
        return Ok(());
    };
    Err(Failure::local(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_container_is_attached_to() {
        let of = |running, paused, restarting| {
            check(&ContainerState { running, paused, restarting, ..ContainerState::default() })
        };
        assert_eq!(of(true, false, false), Ok(()));
        let text = of(false, false, false).unwrap_err().text;
        assert_eq!(text, "You cannot attach to a stopped container, start it first");
        assert!(of(true, true, false).unwrap_err().text.contains("paused"));
        assert!(of(true, false, true).unwrap_err().text.contains("restarting"));
    }
}
