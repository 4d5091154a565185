//! What is kept in memory of a container's configuration: what listings show and policy asks for. The rest stays on
//! disk, so that hundreds of stopped containers cost little.

use super::health::Check;
use super::logging::Logging;
use super::policy::Policy;
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
    /// Volumes that are mounted.
    pub volumes: Vec<VolumeUse>,
}

/// A volume that a container has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// Of the volume.
    pub name: String,
    /// Whether nobody gave it that name.
    pub anonymous: bool,
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
