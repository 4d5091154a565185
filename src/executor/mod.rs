//! The use cases: order, locks, undo. No system calls, no words of HTTP.

use std::os::fd::OwnedFd;

pub mod container;
pub mod exec;
pub mod image;
pub mod system;

/// The daemon's state, passed by reference to everything.
pub struct Daemon {
    /// Images.
    pub images: crate::modules::image::store::Store,
    // containers, configuration, exec sessions, …
}

/// A client's connection that is to become a stream.
pub struct Upgrade {
    /// The connection.
    pub connection: OwnedFd,
    /// The response head to write once the request has succeeded.
    pub preamble: Vec<u8>,
    /// What the client sent right behind its request.
    pub early: Vec<u8>,
    /// The client's own standard input, output and error, when it handed them along.
    pub handed: Option<[OwnedFd; 3]>,
    /// Whether docker's multiplexed framing was negotiated by media type (API 1.42); otherwise by terminal or not.
    pub multiplexed_media_type: bool,
}

/// How an operation on a streamed request ended.
pub enum Handover {
    /// The connection belongs to somebody else now.
    Done,
    /// Not accepted; the connection is still the caller's for an error response.
    Refused(crate::error::Error, Upgrade),
}

/// Whether a request changed anything (204) or found it so already (304).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Changed.
    Changed,
    /// It was so.
    Unchanged,
}

/// Asks whether a waiting request's client has left.
pub trait Caller {
    /// A descriptor that polls readable or hung up when the client has left.
    fn gone(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}

impl Daemon {
    /// The id of a container that was made from this image.
    pub fn container_using_image(&self, image: &str) -> Option<String> {
        let _ = image;
        todo!()
    }
}
