//! `diff`: what a container has changed of its image.

use super::failure::Failure;
use super::{Session, output};
use argh::{ArgsInfo, FromArgs};

/// show which files a container has added, changed and deleted
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "diff")]
pub struct Diff {
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
}

/// By their numbers in the API.
const KINDS: [char; 3] = ['C', 'A', 'D'];

impl Diff {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut lines = String::new();
        for change in session.client()?.container_changes(&self.container)? {
            let kind = KINDS.get(usize::from(change.kind)).copied().unwrap_or('?');
            lines.push_str(&format!("{kind} {}\n", change.path));
        }
        output::print(&lines).map(|()| 0)
    }
}
