//! From a tar stream to a layer in place, in one pass and without a temporary archive.

use super::implied;
use super::layer::Directories;
use super::layer::{Temporary, record};
use super::pack::{Form, pack};
use super::platform::Platform;
use super::unpack::{Rules, Unpacked, unpack};
use crate::api::oci::image::{ExecutionConfig, History, ImageConfig, RootFs};
use crate::error::{Context, Error, Result};
use crate::utils::archive::{Decompressed, Window, read_error, tar};
use crate::utils::buffered;
use crate::utils::digest::Hashing;
use crate::utils::time::Timestamp;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use std::io::{BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a buffer that travels between threads.
const CHUNK: usize = 128 << 10;
/// Buffers under way.
const CHUNKS: usize = 4;
/// Enough for the deepest calls of the unpacking thread, in builds without optimisation too.
const STACK: usize = 256 << 10;

/// A layer that is unpacked under a temporary name.
pub(super) struct NewLayer {
    pub work: Temporary,
    pub record: super::layer::Record,
    /// Members of the archive.
    pub members: u64,
    /// Whether the archive is known to have come whole: it has an end marker, or a compression that has an end.
    pub whole: bool,
}

/// What came out of a stream.
struct Outcome {
    /// SHA-256 of the uncompressed stream.
    digest: String,
    length: u64,
    unpacked: Unpacked,
    members: u64,
    marked: bool,
}

/// Unpacks a layer under a temporary name. The digest is of the whole uncompressed stream, to its last byte; the source
/// is read to its end.
pub(super) fn unpack_layer(directories: &Directories, source: &mut dyn Read, window: Window) -> Result<NewLayer> {
    let name = crate::utils::id::random_id()?;
    let work = Temporary::directory(&directories.overlay.join(&name[..12]))?;
    let diff = work.path().join("diff");
    std::fs::create_dir(&diff).context(|| format!("mkdir({diff:?})"))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open(&diff, flags, Mode::empty()).context(|| format!("open({diff:?})"))?;
    // What a root is when no member of the archive describes it.
    directories.give(&diff)?;
    fchmod(&root, Mode::from_bits_truncate(0o755)).context(|| format!("fchmod({diff:?})"))?;

    let stream = Decompressed::detect(source, window)?;
    let compressed = stream.is_compressed();
    let parallel = crate::utils::host::usable_processors() > 1;
    let rules = directories.rules();
    let outcome = if parallel { in_two_threads(stream, root, rules)? } else { consume(stream, root, rules)? };
    let diff_id = format!("sha256:{}", outcome.digest);
    implied::keep(work.path(), &outcome.unpacked.implied)?;
    let (members, whole) = (outcome.members, outcome.marked || compressed);
    Ok(NewLayer { work, record: record(outcome.digest, diff_id, outcome.length, outcome.unpacked), members, whole })
}

/// Copies a layer under a temporary name. What it is called after, the digest of the archive it came from, stays.
pub(super) fn copy_layer(directories: &Directories, layer: &super::layer::Record) -> Result<NewLayer> {
    let diff = directories.diff(&layer.id);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open(&diff, flags, Mode::empty()).context(|| format!("open({diff:?})"))?;
    let (mut source, sink) = std::io::pipe().context(|| "pipe2()".into())?;
    let (form, ids) = (Form::Layer { opaque: layer.opaque }, directories.ids());
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("image-pack".into()).stack_size(STACK);
        // The pipe ends when the thread does, not when it is joined.
        let packer = builder
            .spawn_scoped(scope, move || pack(root, form, ids, sink).map(drop))
            .context(|| "start image-pack".into())?;
        let unpacked = unpack_layer(directories, &mut source, Window::Small);
        drop(source);
        let packed = packer.join().map_err(|_| Error::internal("the thread image-pack panicked"))?;
        let mut made = unpacked?;
        packed?;
        made.record.diff_digest.clone_from(&layer.diff_digest);
        made.record.diff_size = layer.diff_size;
        implied::keep_as(made.work.path(), &directories.overlay.join(&layer.id))?;
        Ok(made)
    })
}

fn consume(stream: impl BufRead, root: OwnedFd, rules: Rules<'_>) -> Result<Outcome> {
    let mut archive = tar::Reader::new(Hashing::new(stream));
    let unpacked = unpack(&mut archive, root, rules)?;
    let (members, marked) = (archive.members(), archive.has_end_marker());
    let mut rest = archive.into_inner();
    loop {
        let n = rest.fill_buf().map_err(read_error)?.len();
        if n == 0 {
            break;
        }
        rest.consume(n);
    }
    let (digest, length) = rest.finish();
    Ok(Outcome { digest, length, unpacked, members, marked })
}

type Chunk = std::io::Result<Vec<u8>>;

/// This thread reads and inflates, another hashes and writes: the two halves cost about the same.
fn in_two_threads(mut stream: impl BufRead, root: OwnedFd, rules: Rules<'_>) -> Result<Outcome> {
    let (full_in, full_out) = sync_channel::<Chunk>(CHUNKS);
    let (empty_in, empty_out) = sync_channel::<Vec<u8>>(CHUNKS);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("image-unpack".into()).stack_size(STACK);
        let reader = Chunks { full: full_out, empty: empty_in, now: Vec::new(), at: 0, ended: false };
        let unpacker = builder
            .spawn_scoped(scope, move || consume(reader, root, rules))
            .context(|| "start the thread image-unpack".into())?;
        loop {
            let mut chunk = empty_out.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
            chunk.clear();
            let read = fill(&mut stream, &mut chunk);
            let last = read.is_err() || chunk.is_empty();
            // An error of sending means that the unpacker has given up; it says why.
            if full_in.send(read.map(|()| chunk)).is_err() || last {
                break;
            }
        }
        drop(full_in);
        unpacker.join().map_err(|_| Error::internal("the thread image-unpack panicked"))?
    })
}

/// Fills a buffer; an empty one is the end.
fn fill(stream: &mut impl BufRead, chunk: &mut Vec<u8>) -> std::io::Result<()> {
    while chunk.len() < CHUNK {
        let available = stream.fill_buf()?;
        let n = available.len().min(CHUNK - chunk.len());
        if n == 0 {
            break;
        }
        chunk.extend_from_slice(&available[..n]);
        stream.consume(n);
    }
    Ok(())
}

/// The other end: a reader of buffers that go back when they are read.
struct Chunks {
    full: Receiver<Chunk>,
    empty: SyncSender<Vec<u8>>,
    now: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        buffered::read(self, out)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at == self.now.len() && !self.ended {
            let next = self.full.recv().unwrap_or(Ok(Vec::new()))?;
            self.ended = next.is_empty();
            self.at = 0;
            // Nobody waits for it when the stream has been read to its end.
            let _ = self.empty.try_send(std::mem::replace(&mut self.now, next));
        }
        Ok(&self.now[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

/// The configuration of an imported image, as docker writes it.
pub(super) fn configuration(diff_id: &str, config: ExecutionConfig, message: &str) -> ImageConfig {
    let now = Timestamp::now().rfc3339();
    let Platform { os, architecture, variant } = Platform::here();
    ImageConfig {
        created: Some(now.clone()),
        architecture,
        variant,
        os,
        config: Some(config),
        rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id.to_owned()] },
        history: vec![History { created: Some(now), comment: message.to_owned(), ..History::default() }],
        ..ImageConfig::default()
    }
}
