//! Listening sockets and the accept loop.

use crate::error::Result;
use crate::executor::Daemon;
use std::sync::Arc;

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct Options {
    /// `unix:///PATH`, `tcp://IP:PORT`, `fd://` (only sockets passed by the service manager).
    pub hosts: Vec<String>,
    /// Group of unix sockets; left out when it does not exist.
    pub group: String,
    /// Most connections at a time.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { hosts: vec!["unix:///var/run/isulad.sock".into()], group: "isula".into(), connections: 256 }
    }
}

/// Open listening sockets. Clients can connect from the moment of opening and are answered once it runs.
pub struct Listener {}

/// Ends [`Listener::run`] from any thread.
#[derive(Clone)]
pub struct Stopper {}

impl Listener {
    /// Opens all sockets, or none: those of the options and those passed in the environment (`LISTEN_FDS`).
    ///
    /// # Errors
    /// `Kind::Invalid` for a malformed host, `Kind::Exists` when somebody answers there, otherwise the failing call.
    pub fn open(options: &Options) -> Result<Listener> {
        let _ = options;
        todo!()
    }

    /// What ends [`Listener::run`].
    pub fn stopper(&self) -> Stopper {
        todo!()
    }

    /// Serves until stopped: accepts, then lets running requests end for some seconds. The socket files are removed.
    /// Connections that were handed to shims go on.
    ///
    /// # Errors
    /// When waiting for connections is impossible.
    pub fn run(self, daemon: Arc<Daemon>) -> Result<()> {
        let _ = daemon;
        todo!()
    }
}

impl Stopper {
    /// Stops. Async-signal-safe, may be called often.
    pub fn stop(&self) {
        todo!()
    }
}
