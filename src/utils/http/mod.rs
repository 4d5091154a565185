//! HTTP/1.1 as state machines over byte slices: no sockets, limits as parameters. Server, client and tests use the same.

pub mod chunked;
pub mod h1;
pub mod host;
pub mod media;
pub mod multiplex;
pub mod query;
