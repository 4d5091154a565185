//! The interface: bytes become calls of the executor, results become bytes. Decides nothing.
//!
//! ```text
//! listener    sockets, accept loop, bound on connections, end
//! connection  one thread, one connection: bytes become requests; deadlines; descriptors sent along
//! rest/route  a request becomes a Call; pure
//! rest/…      a Call becomes calls of the executor; their results become responses
//! ```

mod listener;

pub use listener::{Listener, Options, Stopper};
