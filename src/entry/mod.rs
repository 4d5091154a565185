//! The interface: bytes become calls of the executor, results become bytes. Decides nothing.
//!
//! ```text
//! listener    sockets, accept loop, bound on connections, end
//! listener/…  TLS: greetings, and threads that relay to a plain connection
//! connection  one client: bytes become heads and bodies; deadlines; descriptors sent along
//! exchange    one request and its response
//! rest/route  a request becomes a Call; pure
//! rest/…      a Call becomes calls of the executor; their results become responses
//! ```

mod connection;
mod exchange;
mod listener;
mod rest;

pub use listener::{Listener, Options, Stopper};
