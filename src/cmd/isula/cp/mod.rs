//! `cp`: files and directories into a container and out of it, by docker's rules.

mod local;
mod place;

use super::Session;
use super::failure::Failure;
use super::output::Stdout;
use crate::client::Client;
use crate::error::{Context, Error, Kind, Result as Outcome};
use crate::utils::archive::extract::{self, Rules};
use crate::utils::archive::metadata::SAME;
use crate::utils::archive::tar::{Member, Type};
use crate::utils::archive::{Decompressed, Window};
use crate::utils::path::{Links, Root};
use crate::utils::sys::terminal::is_terminal;
use argh::{ArgsInfo, FromArgs};
use local::Source;
use place::{Asked, Destination, Place};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

/// copy files between a container and here: CONTAINER:PATH on one side, a path or - for a tar stream on the other
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "cp")]
pub struct Cp {
    /// keep owners and attributes of what comes here; give what goes there to the container's user
    #[argh(switch, short = 'a')]
    archive: bool,
    /// copy what a symbolic link in SOURCE leads to, not the link
    #[argh(switch, short = 'L')]
    follow_link: bool,
    /// accepted for docker's sake: nothing is printed in any case
    #[argh(switch, short = 'q')]
    #[allow(dead_code)]
    quiet: bool,
    #[argh(positional, arg_name = "SOURCE")]
    source: String,
    #[argh(positional, arg_name = "DESTINATION")]
    destination: String,
}

/// Standard input or output in the place of a path.
const STREAM: &str = "-";

impl Cp {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        for (what, text) in [("source", &self.source), ("destination", &self.destination)] {
            if text.is_empty() {
                return Err(Failure::local(format!("{what} can not be empty")));
            }
        }
        match (place::split(&self.source), place::split(&self.destination)) {
            ((Some(_), _), (Some(_), _)) => Err(Failure::local("copying between containers is not supported")),
            ((None, _), (None, _)) => Err(Failure::local("must specify at least one container source")),
            ((Some(container), path), (None, to)) => self.outward(session, container, path, to),
            ((None, from), (Some(container), path)) => self.inward(session, from, container, path),
        }
    }

    fn outward(&self, session: &Session, container: &str, path: &str, to: &str) -> Result<u8, Failure> {
        if to == STREAM {
            if is_terminal(std::io::stdout().as_fd()) {
                return Err(Failure::usage("a tar stream is not for a terminal: redirect standard output"));
            }
        } else {
            local::check_output(to)?;
        }
        let client = session.client()?;
        let (path, name) = match self.follow_link {
            true => followed(client, container, path),
            false => (path.to_owned(), None),
        };
        client.container_copy_out(container, &path, |stat, archive| {
            if to == STREAM {
                let copied = std::io::copy(archive, &mut Stdout);
                return copied.map(|_| 0).map_err(|e| Failure::local(format!("cannot copy to standard output: {e}")));
            }
            let source = Asked::parse("/", &path);
            let name = name.unwrap_or_else(|| source.base.clone());
            let place = Place::choose(stat.is_directory(), &local::destination(to)?).map_err(Failure::local)?;
            let name = place.name.unwrap_or(name);
            self.extract(archive, &source.base, &name, &place.directory)
        })
    }

    /// Extracts what the daemon calls `from` under the name `to`.
    fn extract(&self, archive: &mut dyn Read, from: &str, to: &str, directory: &str) -> Result<u8, Failure> {
        let root = Root::open(Path::new(directory));
        let root = root.map_err(|e| Failure::local(format!("cannot open {directory:?}: {e}")))?;
        let keep = self.archive && nix::unistd::geteuid().is_root();
        let adapt = |member: &mut Member| {
            member.path = renamed(&member.path, from, to)?;
            if member.kind == Type::HardLink {
                member.link = renamed(&member.link, from, to)?;
            }
            if !keep {
                (member.uid, member.gid) = (SAME, SAME);
                // Whoever runs this did not ask for programs with its rights, nor for those of the container.
                member.mode &= !0o6000;
                member.xattrs.retain(|(name, _)| name.starts_with(b"user."));
            }
            Ok(())
        };
        let rules =
            Rules { links: Links::Refuse, keep_kind: true, owner: (SAME, SAME), adapt: &adapt, check: &|| Ok(()) };
        let extracted = Decompressed::detect(archive, Window::Small)
            .and_then(|mut archive| extract::extract(&mut archive, &root, Path::new(""), rules));
        extracted.map(|()| 0).map_err(|e| match e.kind() {
            Kind::Remote => e.into(),
            _ => Failure::local(e.to_string()),
        })
    }

    fn inward(&self, session: &Session, from: &str, container: &str, path: &str) -> Result<u8, Failure> {
        if from == STREAM && is_terminal(std::io::stdin().as_fd()) {
            return Err(Failure::usage("a tar stream is needed: standard input is a terminal"));
        }
        let source = if from == STREAM { None } else { Some(Source::open(from, self.follow_link)?) };
        let client = session.client()?;
        let there = there(client, container, path)?;
        let Some(source) = source else {
            if !there.is_directory {
                // Or the container is not there either.
                client.container_path(container, "/").map_err(|e| unknown(e, container))?;
                return Err(Failure::local(format!("destination \"{container}:{path}\" must be a directory")));
            }
            let mut stream = |out: &mut dyn Write| {
                std::io::copy(&mut std::io::stdin().lock(), out).map(drop).context(|| "copy standard input".into())
            };
            client.container_copy_in(container, &there.asked.text(), self.archive, &mut stream)?;
            return Ok(0);
        };
        let place = match Place::choose(source.is_directory(), &there) {
            Ok(place) => place,
            Err(text) => {
                client.container_path(container, "/").map_err(|e| unknown(e, container))?;
                return Err(Failure::local(text));
            }
        };
        let name = place.name.unwrap_or_else(|| source.base.clone());
        let mut unreadable = None;
        let mut source = Some(source);
        let mut make = |out: &mut dyn Write| {
            let source = source.take().ok_or_else(|| Error::internal("an archive is made once"))?;
            source.pack(&name, out).inspect_err(|e| unreadable = Some(e.to_string()))
        };
        let sent = client.container_copy_in(container, &place.directory, self.archive, &mut make);
        match (sent, unreadable) {
            (Ok(()), _) => Ok(0),
            // What the daemon says is told by the daemon's kinds of errors; this came before.
            (Err(e), Some(text)) if e.to_string() == text => Err(Failure::local(text)),
            (Err(e), _) => Err(e.into()),
        }
    }
}

/// A refused look has no text.
fn unknown(e: Error, container: &str) -> Failure {
    match e.kind() {
        Kind::NotFound => Error::not_found(format!("No such container:{container}")).into(),
        _ => e.into(),
    }
}

/// Where a link in a container leads to, and the name that it is to have then.
fn followed(client: &Client, container: &str, path: &str) -> (String, Option<String>) {
    match client.container_path(container, path) {
        Ok(stat) if stat.is_symlink() && !stat.link_target.is_empty() => {
            let asked = Asked::parse("/", path);
            (stat.link_target, Some(asked.base))
        }
        // Whatever is wrong, the copy will tell it.
        _ => (path.to_owned(), None),
    }
}

/// What there is at the destination. Without a look at it the copy may still succeed, so that only a thing that is no
/// directory and is to be one is an error.
fn there(client: &Client, container: &str, path: &str) -> Result<Destination, Failure> {
    let mut asked = Asked::parse("/", path);
    let mut found = client.container_path(container, &asked.text());
    // Without a target it leads nowhere.
    if let Ok(stat) = &found
        && stat.is_symlink()
        && !stat.link_target.is_empty()
    {
        asked = Asked::parse("/", &stat.link_target);
        found = client.container_path(container, &asked.text());
    }
    match found {
        Ok(stat) if stat.is_special() => {
            Err(Failure::local(format!("destination \"{container}:{path}\" must be a directory or a regular file")))
        }
        Ok(stat) => Ok(Destination { asked, exists: true, is_directory: stat.is_directory() }),
        Err(e) if e.kind() == Kind::Invalid => Err(Failure::local(format!("{container}:{path}: not a directory"))),
        Err(e) if e.kind() == Kind::Remote => Err(e.into()),
        Err(_) => Ok(Destination { asked, exists: false, is_directory: false }),
    }
}

/// A member's path with the name `to` in place of `from`, which all of them begin with.
fn renamed(path: &[u8], from: &str, to: &str) -> Outcome<Vec<u8>> {
    let mut parts = path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).peekable();
    if !matches!(from, "." | "/") && parts.next() != Some(from.as_bytes()) {
        let text = format!("a member {:?} that is not below {from:?}", String::from_utf8_lossy(path));
        return Err(Error::corrupt(text));
    }
    let mut new = if matches!(to, "." | "/") { Vec::new() } else { to.as_bytes().to_vec() };
    for part in parts {
        if !new.is_empty() {
            new.push(b'/');
        }
        new.extend_from_slice(part);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_get_their_new_name() {
        let of = |path: &str, from, to| renamed(path.as_bytes(), from, to).map(|new| String::from_utf8(new).unwrap());
        for (path, from, to, want) in [
            ("etc/", "etc", "etc", "etc"),
            ("etc/a/b", "etc", "new", "new/a/b"),
            ("./", ".", ".", ""),
            ("./a", ".", ".", "a"),
            ("./a", ".", "new", "new/a"),
            ("/", "/", "/", ""),
            ("/etc/a", "/", "new", "new/etc/a"),
            ("/etc/a", "/", "/", "etc/a"),
            ("etc/../../x", "etc", "e", "e/../../x"),
        ] {
            assert_eq!(of(path, from, to).unwrap(), want, "{path} {from} {to}");
        }
        assert!(of("../x", "etc", "etc").is_err() && of("other", "etc", "etc").is_err());
    }
}
