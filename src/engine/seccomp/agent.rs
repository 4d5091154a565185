//! The seccomp agent: who answers the calls that a filter stops with SCMP_ACT_NOTIFY. It listens on a socket of the
//! configuration and gets there the filter's listener with the container process state (OCI runtime specification,
//! config-linux.md, Seccomp and Container Process State).

use crate::api::oci::runtime::{Seccomp, Spec};
use crate::engine::hook::State;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::sys::net;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::Serialize;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an agent may let its connection fill up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name of the one descriptor (config-linux.md, Container Process State).
const NAME: &str = "seccompFd";

/// Checks what a filter with a listener needs of the configuration.
///
/// # Errors
/// `Kind::Invalid` naming the rule.
pub fn check(seccomp: &Seccomp) -> Result<()> {
    let path = &seccomp.listener_path;
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("SCMP_ACT_NOTIFY needs a listenerPath"));
    }
    if !path.is_absolute() {
        return Err(Error::invalid(format!("listenerPath {path:?} is not an absolute path")));
    }
    let stops =
        |name: &str| seccomp.syscalls.iter().any(|r| r.action == super::NOTIFY && r.names.iter().any(|n| n == name));
    if stops("sendmsg") {
        // Nobody could answer the very call that hands the listener over.
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be the seccomp action of sendmsg"));
    }
    Ok(())
}

/// What is to be said to the agent about a process.
pub struct Call {
    path: PathBuf,
    message: Vec<u8>,
}

/// An agent that is connected to.
pub struct Agent {
    connection: OwnedFd,
    call: Call,
}

/// Whose filter it is.
pub struct About<'a> {
    /// Container id.
    pub id: &'a str,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its bundle directory.
    pub bundle: &'a Path,
    /// Its state in the words of the specification.
    pub status: &'a str,
    /// Its first process.
    pub init: i32,
    /// The process that loads the filter.
    pub pid: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: State<'a>,
}

/// The filter of a configuration, when a rule of it asks an agent.
pub fn asking(spec: &Spec) -> Option<&Seccomp> {
    let seccomp = spec.linux.as_ref()?.seccomp.as_ref()?;
    seccomp.syscalls.iter().any(|rule| rule.action == super::NOTIFY).then_some(seccomp)
}

impl Call {
    /// Prepared; `None` when no rule of the filter asks an agent.
    pub fn new(about: &About<'_>) -> Option<Call> {
        let seccomp = asking(about.spec)?;
        let state = ProcessState {
            oci_version: &about.spec.oci_version,
            fds: [NAME],
            pid: about.pid,
            metadata: &seccomp.listener_metadata,
            state: State::new(about.id, about.spec, about.status, about.init, about.bundle),
        };
        Some(Call { path: seccomp.listener_path.clone(), message: json::to_vec(&state) })
    }

    /// Connects: before the process loads the filter, so that nothing waits for an agent that is not there.
    ///
    /// # Errors
    /// The failing call with the path.
    pub fn connect(self) -> Result<Agent> {
        let call = || format!("connect({:?}) to the seccomp agent", self.path);
        // Without blocking: an agent that takes no connections would hold up the start for ever.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let connection =
            socket(AddressFamily::Unix, SockType::Stream, flags, None).context(|| "socket(AF_UNIX)".into())?;
        let address = UnixAddr::new(&self.path).context(call)?;
        connect(connection.as_raw_fd(), &address).context(call)?;
        Ok(Agent { connection, call: self })
    }
}

impl Agent {
    /// Hands over the listener; the connection ends with that. No copy is kept: an agent that ends must be missed, or what
    /// waits for its answer would wait for ever (the kernel says ENOSYS then).
    ///
    /// # Errors
    /// The failing call with the path.
    pub fn give(self, listener: OwnedFd) -> Result<()> {
        let Agent { connection, call: Call { path, message } } = self;
        net::send_all(connection.as_fd(), &mut [IoSlice::new(&message)], &[listener.as_fd()], Some(PATIENCE))
            .map_err(|e| Error::io(format!("send to the seccomp agent {path:?}"), e).with_kind(Kind::Remote))
    }
}
