//! The host's syslog: datagrams to `/dev/log` as in RFC 3164. The time stamp is left to the receiver, as section 4.3.2
//! has it: it reads them the moment they are sent.

use std::os::unix::net::UnixDatagram;

/// Where syslog listens.
pub const SOCKET: &str = "/dev/log";

/// Severity of what failed.
pub const ERROR: u32 = 3;
/// Severity of what should be looked at.
pub const WARNING: u32 = 4;
/// Severity of what merely happened.
pub const INFO: u32 = 6;
/// Severity of what only developers want.
pub const DEBUG: u32 = 7;

/// Facility of programs that people start.
pub const USER: u32 = 1;
/// Facility of daemons.
pub const DAEMON: u32 = 3;

/// A connection to whoever listens now; `None` when nobody does. Sending never waits: a syslog that does not read must
/// not stop the sender.
pub fn connect() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SOCKET).ok()?;
    Some(socket)
}

/// What a message begins with: priority, who speaks, and its process id.
pub fn head(facility: u32, severity: u32, tag: &str, pid: u32) -> String {
    format!("<{}>{tag}[{pid}]: ", facility * 8 + severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert_eq!(head(DAEMON, ERROR, "box", 7), "<27>box[7]: ");
        assert_eq!(head(23, DEBUG, "", 1), "<191>[1]: ");
    }
}
