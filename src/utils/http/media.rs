//! Media types of the Docker Engine API.

/// Documents.
pub const JSON: &str = "application/json";
/// Plain text, as `/_ping` answers.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Bytes of one stream as they are.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Frames of several streams ([`super::multiplex`]); named so since API 1.42.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// A tar archive.
pub const TAR: &str = "application/x-tar";
/// The protocol name by which a client on a unix socket offers its own standard input, output and error as
/// descriptors sent along with the request.
pub const UPGRADE_STDIO: &str = "isula-stdio";
/// The protocol name by which docker's clients ask for a stream.
pub const UPGRADE_TCP: &str = "tcp";
