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
        ToolCall::Changes(id) => tools::changes(daemon, &id, exchange),
        ToolCall::PathStat(id, path) => match container::path_stat(daemon, &id, &path) {
            Ok(stat) => exchange.respond(200, "", &[tools::field(&stat).as_pair()], b""),
            Err(e) => exchange.fail(e),
        },
        ToolCall::CopyOut(id, path) => match container::copy_out(daemon, &id, &path) {
            Ok(outgoing) => {
                let field = tools::field(&outgoing.stat);
                tools::archive_with(exchange, Some(field), &format!("copy of {path:?} in {id:?}"), |out| {
                    outgoing.write(out)
                })
            }
            Err(e) => exchange.fail(e),
        },
        ToolCall::CopyIn(id, order) => tools::copy_in(daemon, &id, &order, exchange),
        ToolCall::PruneContainers(filters) => tools::answer(exchange, container::prune(daemon, &filters)),
        ToolCall::DiskUsage(kinds) => tools::answer(exchange, tools::disk_usage(daemon, &kinds)),
        ToolCall::PruneNothing => exchange.json(200, &NothingPruned::default()),
    }
}

/// Says that this build cannot.
#[cfg(not(feature = "image-tools"))]
pub fn perform(_: &Daemon, _: ToolCall, exchange: Exchange) -> Outcome {
    use crate::error::{Error, Kind};
    exchange.fail(Error::new(
        Kind::Unsupported,
        "this build has neither history nor save, export, prune, system df, cp and diff",
    ))
}

#[cfg(feature = "image-tools")]
use crate::api::system::NothingPruned;
#[cfg(feature = "image-tools")]
use crate::executor::{container, image};

#[cfg(feature = "image-tools")]
mod tools {
    use super::*;
    use crate::api::archive::{PATH_STAT, PathStat};
    use crate::api::system::DiskUsage;
    use crate::entry::exchange::BodyWriter;
    use crate::entry::rest::route::Usage;
    use crate::error::{Context, Result};
    use crate::executor::container::{CopyIn, ListQuery};
    use crate::executor::volume;
    use crate::utils::http::media;
    use crate::utils::json;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::Serialize;
    use std::io::Write;

    pub fn disk_usage(daemon: &Daemon, kinds: &[Usage]) -> Result<DiskUsage> {
        let mut usage = DiskUsage::default();
        for kind in kinds {
            match kind {
                Usage::Images => {
                    let (layers, images) = image::usage(daemon);
                    (usage.layers_size, usage.images) = (Some(layers), Some(images));
                }
                Usage::Containers => {
                    let query = ListQuery { all: true, size: true, ..ListQuery::default() };
                    usage.containers = Some(container::list(daemon, &query)?.collect());
                }
                Usage::Volumes => usage.volumes = Some(volume::usage(daemon)?),
                Usage::BuildCache => usage.build_cache = Some([]),
            }
        }
        Ok(usage)
    }

    pub fn answer<T: Serialize>(exchange: Exchange, result: Result<T>) -> Outcome {
        match result {
            Ok(value) => exchange.json(200, &value),
            Err(e) => exchange.fail(e),
        }
    }

    /// The field of a response that tells what there is at a path.
    pub struct Field(String);

    pub fn field(stat: &PathStat) -> Field {
        Field(STANDARD.encode(json::to_vec(stat)))
    }

    impl Field {
        pub fn as_pair(&self) -> (&str, &str) {
            (PATH_STAT, &self.0)
        }
    }

    /// A list as it is made.
    pub fn changes(daemon: &Daemon, id: &str, exchange: Exchange) -> Outcome {
        streamed(exchange, media::JSON, None, &format!("changes of {id:?}"), |out| {
            let mut before: &[u8] = b"[";
            let mut write = |parts: [&[u8]; 2]| parts.into_iter().try_for_each(|part| out.write_all(part));
            container::changes(daemon, id, &mut |change| {
                let written = write([std::mem::replace(&mut before, b","), &json::to_vec(change)]);
                written.context(|| "write the changes".into())
            })?;
            write([if before == b"[" { before } else { b"" }, b"]\n"]).context(|| "write the changes".into())
        })
    }

    pub fn copy_in(daemon: &Daemon, id: &str, order: &CopyIn, mut exchange: Exchange) -> Outcome {
        match container::copy_in(daemon, id, order, &mut exchange.connection) {
            Ok(()) => exchange.empty(200),
            Err(e) => exchange.fail(e),
        }
    }

    pub fn archive(exchange: Exchange, what: &str, make: impl FnOnce(&mut dyn Write) -> Result<()>) -> Outcome {
        archive_with(exchange, None, what, make)
    }

    /// A tar archive as it is made. What fails before its first bytes are sent is answered with its status; later the
    /// connection ends without the last chunk, by which clients know that something is missing.
    pub fn archive_with(
        exchange: Exchange,
        field: Option<Field>,
        what: &str,
        make: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Outcome {
        streamed(exchange, media::TAR, field, what, make)
    }

    /// A body as it is made.
    fn streamed(
        mut exchange: Exchange,
        media_type: &'static str,
        field: Option<Field>,
        what: &str,
        make: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Outcome {
        let mut body = exchange.stream(media_type);
        body.field = field.map(|Field(value)| (PATH_STAT, value));
        let mut out = Out(body);
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
