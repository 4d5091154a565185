//! The service manager's notification socket (sd_notify(3)). Without one nothing happens.

use crate::error::{Context, Result};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends one or more `KEY=VALUE` lines to the socket named by `NOTIFY_SOCKET`.
///
/// # Errors
/// The failing call; services go on without it.
pub fn notify(state: &str) -> Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(path) => send(&path, state),
        None => Ok(()),
    }
}

fn send(path: &std::ffi::OsStr, state: &str) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    // A leading '@' stands for the abstract name space (unix(7)).
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
    .context(|| format!("notification socket {path:?}"))?;
    let socket = UnixDatagram::unbound().context(|| "socket(AF_UNIX, SOCK_DGRAM)".into())?;
    // A manager that does not read must not stop this process.
    socket.set_nonblocking(true).context(|| "fcntl(O_NONBLOCK)".into())?;
    socket.send_to_addr(state.as_bytes(), &address).context(|| format!("sendto({path:?})"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_arrives_at_a_path_and_at_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0u8; 64];
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "READY=1").is_err());

        let name = format!("@notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
        send(name.as_ref(), "STOPPING=1").unwrap();
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"STOPPING=1");
    }
}
