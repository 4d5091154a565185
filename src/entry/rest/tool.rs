//! What looks into images, and gets them and root file systems out: an optional part of the build.

use super::route::ToolCall;
use crate::entry::exchange::{Exchange, Outcome};
use crate::executor::Daemon;

/// Does what was asked for.
#[cfg(feature = "image-tools")]
pub fn perform(daemon: &Daemon, call: ToolCall, exchange: Exchange) -> Outcome {
    match call {
        ToolCall::History(name) => tools::answer(exchange, image::history(daemon, &name)),
        ToolCall::Prune(filters) => tools::answer(exchange, image::prune(daemon, &filters)),
        ToolCall::Save(names) => {
            tools::archive(exchange, &format!("save of {names:?}"), |out| image::save(daemon, &names, out))
        }
        ToolCall::Export(id) => {
            tools::archive(exchange, &format!("export of {id:?}"), |out| container::export(daemon, &id, out))
        }
    }
}

/// Says that this build cannot.
#[cfg(not(feature = "image-tools"))]
pub fn perform(_: &Daemon, _: ToolCall, exchange: Exchange) -> Outcome {
    use crate::error::{Error, Kind};
    exchange.fail(Error::new(Kind::Unsupported, "this build has neither history nor save, export and prune"))
}

#[cfg(feature = "image-tools")]
use crate::executor::{container, image};

#[cfg(feature = "image-tools")]
mod tools {
    use super::*;
    use crate::entry::exchange::BodyWriter;
    use crate::error::Result;
    use crate::utils::http::media;
    use serde::Serialize;
    use std::io::Write;

    pub fn answer<T: Serialize>(exchange: Exchange, result: Result<T>) -> Outcome {
        match result {
            Ok(value) => exchange.json(200, &value),
            Err(e) => exchange.fail(e),
        }
    }

    /// A tar archive as it is made. What fails before its first bytes are sent is answered with its status; later the
    /// connection ends without the last chunk, by which clients know that something is missing.
    pub fn archive(mut exchange: Exchange, what: &str, make: impl FnOnce(&mut dyn Write) -> Result<()>) -> Outcome {
        let mut out = Out(exchange.stream(media::TAR));
        match make(&mut out) {
            Ok(()) => {
                let _ = out.0.finish(); // the client left; the connection's next read notices
            }
            Err(e) if !out.0.has_begun() => return exchange.fail(e),
            Err(e) => {
                log::warn!("{what}: {e}");
                exchange.connection.close_after();
            }
        }
        Outcome::Answered(exchange.connection, 200)
    }

    struct Out<'e>(BodyWriter<'e>);

    impl Write for Out<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write([bytes, b""]).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
