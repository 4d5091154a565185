//! What is kept in memory of a container's configuration: what listings show and policy asks for. The rest stays on
//! disk, so that hundreds of stopped containers cost little.

use super::health::Check;
use super::logging::Logging;
use super::policy::Policy;
use crate::api::volume::MountRecord;
use crate::utils::time::Timestamp;
use std::collections::BTreeMap;

/// The part of a configuration that is kept in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    /// Its document cannot be read: nothing is known, and it may have any volume.
    pub is_unread: bool,
    /// Without a leading slash. Moves into the state, where a renaming changes it.
    pub name: String,
    /// As the user named it.
    pub image: String,
    /// 64 digits, no prefix.
    pub image_id: String,
    /// Program and arguments in one line.
    pub command: String,
    /// Creation.
    pub created: Timestamp,
    /// Free text.
    pub labels: BTreeMap<String, String>,
    /// Network mode as stored.
    pub network_mode: String,
    /// Removed after its exit.
    pub auto_remove: bool,
    /// Pseudo terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub open_stdin: bool,
    /// Signal that stops it; SIGTERM when empty.
    pub stop_signal: String,
    /// Seconds until it is killed; the default when absent.
    pub stop_timeout: Option<i64>,
    /// When it is started again; a copy is in the state, where an update changes it.
    pub policy: Policy,
    /// What is asked of it while it runs.
    pub check: Option<Box<Check>>,
    /// What is logged.
    pub logging: Logging,
    /// Where on the host a channel of its own is mounted.
    pub host_channel: Option<Box<str>>,
    /// Its runtime; `None` for the built-in one.
    pub runtime: Option<Box<str>>,
    /// What is mounted in it.
    pub mounts: Box<[Mount]>,
}

impl Head {
    /// The volumes among what is mounted.
    pub fn volumes(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().filter(|mount| mount.is_volume())
    }
}

/// A mount of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `squashfs`.
    pub kind: Box<str>,
    /// Of the volume.
    pub name: Box<str>,
    /// Path on the host.
    pub source: Box<str>,
    /// Path inside.
    pub destination: Box<str>,
    /// Options as given.
    pub mode: Box<str>,
    /// `[r]private`, `[r]shared`, `[r]slave`.
    pub propagation: Box<str>,
    /// Writable.
    pub rw: bool,
    /// A volume that nobody gave its name.
    pub anonymous: bool,
}

impl Mount {
    /// Whether it is of a volume.
    pub fn is_volume(&self) -> bool {
        &*self.kind == "volume"
    }
}

impl From<&MountRecord> for Mount {
    fn from(record: &MountRecord) -> Mount {
        Mount {
            kind: record.kind.as_str().into(),
            name: record.name.as_str().into(),
            source: record.source.as_str().into(),
            destination: record.destination.as_str().into(),
            mode: record.mode.as_str().into(),
            propagation: record.propagation.as_str().into(),
            rw: record.rw,
            anonymous: record.is_volume() && !record.named,
        }
    }
}

/// Program and arguments in one line; words with spaces in single quotes, as docker lists them.
pub fn command_line(path: &str, args: &[String]) -> String {
    let mut line = String::from(path);
    for arg in args {
        if arg.contains(' ') {
            line.push_str(" '");
            line.push_str(arg);
            line.push('\'');
        } else {
            line.push(' ');
            line.push_str(arg);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_are_quoted() {
        let args = ["-c".to_string(), "echo out; ls".to_string(), "x".to_string()];
        assert_eq!(command_line("sh", &args), "sh -c 'echo out; ls' x");
        assert_eq!(command_line("sh", &[]), "sh");
    }
}
