//! Reads the json-file log that shims write, also while it grows and rotates.
//!
//! The predecessors of `console.log` are `console.log.1`, `.2` and so on, oldest last. A file is known by its inode,
//! not its name: rotation changes the name under the reader.

mod decode;
#[cfg(test)]
mod tests;

use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::pages::Pages;
use crate::utils::sys::poll::{self, POLLIN, PollSet};
use crate::utils::time::Timestamp;
use decode::{Decoder, Flow};
use memchr::{memchr, memrchr, memrchr_iter};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes read at once; also the longest entry that is understood. The writer's are below 100 KiB.
const BUFFER: usize = 256 * 1024;
/// Bytes read at once while looking for the last lines.
const TAIL_BUFFER: usize = 64 * 1024;
/// Predecessors that are looked for.
const FILE_LIMIT: u32 = 1000;
/// Names without a file, one after the other, that a rotation explains: it leaves one free, and goes on to another while
/// names are tried.
const HOLES: u32 = 4;
/// How often names are tried before a file that still has one counts as lost.
const SEARCHES: u32 = 100;
/// How often a growing log is looked at where inotify(7) is not to be had.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Which lines.
#[derive(Debug, Clone)]
pub struct Query {
    /// Standard output wanted.
    pub stdout: bool,
    /// Standard error wanted.
    pub stderr: bool,
    /// Last lines only; `None` is all.
    pub tail: Option<u64>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Each line is led by its time.
    pub timestamps: bool,
    /// Goes on until the container ends.
    pub follow: bool,
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// 1.
    Stdout,
    /// 2.
    Stderr,
}

/// Takes the lines. A writer that gives an error ends the reading with that error.
pub trait Sink {
    /// Some whole or partial lines of one stream, with their end of line characters. Called with blocks, not with
    /// single lines, where that is possible.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()>;
    /// Called before waiting for more, and at the end.
    fn flush(&mut self) -> Result<()>;
    /// A descriptor that polls readable or hung up when the reader has left, for waiting.
    fn gone(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}

/// Reads the log at `path` and its rotated predecessors. With `follow`, ends when `ended` polls readable and all is
/// read, or when the sink's reader has left. As in docker, `tail` counts entries of both streams and comes before the
/// other conditions. Entries that are damaged are passed over.
///
/// # Errors
/// `Kind::NotFound` without a log; what the sink gives.
pub fn read(path: &Path, query: &Query, ended: Option<&OwnedFd>, sink: &mut dyn Sink) -> Result<()> {
    // Before anything is read, so that no change goes unseen.
    let notifier = if query.follow { Notifier::new(path) } else { Notifier::none() };
    let (mut files, _) = newer_than(path, None)?;
    if files.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("no log at {path:?}")));
    }
    let (skip, offset) = match query.tail {
        Some(lines) => tail_start(&files, lines)?,
        None => (0, 0),
    };
    files.drain(..skip);
    let mut reader = Reader { decoder: Decoder::new(query), buffer: Pages::new(BUFFER)?, filled: 0, skipping: false };
    let mut current: Option<Position> = None;
    for (index, file) in files.into_iter().enumerate() {
        let mut position = Position { offset: if index == 0 { offset } else { 0 }, file };
        reader.begin();
        // Without `follow` a file ends where it ended when it was opened: a fast writer is not run after.
        let end = position.file.size;
        if reader.read(&mut position, Some(end), sink)? == Flow::Stop {
            return sink.flush();
        }
        current = Some(position);
    }
    match current {
        Some(current) if query.follow => follow(path, query, ended, &notifier, &mut reader, current, sink),
        _ => {
            reader.decoder.flush(sink)?;
            sink.flush()
        }
    }
}

fn follow(
    path: &Path,
    query: &Query,
    ended: Option<&OwnedFd>,
    notifier: &Notifier,
    reader: &mut Reader<'_>,
    mut current: Position,
    sink: &mut dyn Sink,
) -> Result<()> {
    loop {
        // Asked before reading: what was written before the end is then read.
        let over = ended.is_some_and(|fd| poll::is_ready(fd.as_fd(), POLLIN)) || query.until.is_some_and(is_past);
        notifier.drain();
        loop {
            if reader.read(&mut current, None, sink)? == Flow::Stop {
                return sink.flush();
            }
            match std::fs::metadata(path) {
                Ok(now) if (now.dev(), now.ino()) != current.file.identity => {
                    // The writer has left this file for good: its last bytes are there now.
                    if reader.read(&mut current, None, sink)? == Flow::Stop {
                        return sink.flush();
                    }
                    let Some(next) = successor(path, &current.file)? else { break };
                    current = Position { file: next, offset: 0 };
                    reader.begin();
                }
                Ok(now) if now.size() < current.offset => {
                    current.offset = 0; // a log of one file starts anew
                    reader.begin();
                }
                // Not there yet again, or removed with the container.
                _ => break,
            }
        }
        reader.decoder.flush(sink)?;
        sink.flush()?;
        if over {
            return Ok(());
        }
        let mut set = PollSet::default();
        let mut timeout = query.until.map(|until| until.since(Timestamp::now()));
        match notifier.0.as_ref() {
            Some(inotify) => set.add(inotify.as_fd(), POLLIN),
            None => timeout = Some(timeout.unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL)),
        }
        if let Some(ended) = ended {
            set.add(ended.as_fd(), POLLIN);
        }
        let reader_gone = sink.gone().map(|gone| {
            set.add(gone, POLLIN);
            set.len() - 1
        });
        set.wait(timeout)?;
        if reader_gone.is_some_and(|index| set.ready(index) != 0) {
            return Ok(());
        }
    }
}

fn is_past(time: Timestamp) -> bool {
    time < Timestamp::now()
}

/// An open file and who it is.
struct LogFile {
    file: File,
    identity: (u64, u64),
    size: u64,
}

struct Position {
    file: LogFile,
    offset: u64,
}

/// The file that came after `last`; where that is removed, the oldest there is.
fn successor(path: &Path, last: &LogFile) -> Result<Option<LogFile>> {
    for _ in 0..SEARCHES {
        let (files, met) = newer_than(path, Some(last.identity))?;
        let removed = !met && last.file.metadata().context(|| "fstat(log)".into())?.nlink() == 0;
        if removed {
            log::warn!("{path:?}: a reader was overtaken by the writer, lines are missing for it");
        }
        if met || removed {
            return Ok(files.into_iter().next());
        }
    }
    let (files, _) = newer_than(path, None)?;
    Ok(files.into_iter().next_back())
}

/// The files that came after the one with `identity` (all for `None`), oldest first, and whether that one was met. From
/// the newest to the oldest, so that a rotation in between makes a file turn up twice rather than not at all.
fn newer_than(path: &Path, identity: Option<(u64, u64)>) -> Result<(Vec<LogFile>, bool)> {
    let mut files: Vec<LogFile> = Vec::new();
    let mut met = false;
    let mut holes = 0;
    for n in 0..FILE_LIMIT {
        let name = rotated(path, n);
        let file = match File::open(&name) {
            Ok(file) => file,
            // A rotation renames the oldest first and the current one last: for a moment one name is free, any of them.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                holes += 1;
                if holes == HOLES {
                    break;
                }
                continue;
            }
            Err(e) => return Err(Error::io(format!("open({name:?})"), e)),
        };
        holes = 0;
        let metadata = file.metadata().context(|| format!("fstat({name:?})"))?;
        let found = (metadata.dev(), metadata.ino());
        if Some(found) == identity {
            met = true;
            break;
        }
        if files.iter().all(|f| f.identity != found) {
            files.push(LogFile { file, identity: found, size: metadata.size() });
        }
    }
    files.reverse();
    Ok((files, met))
}

fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// Where the last `lines` entries begin: index of the file and offset in it. Reads backwards, block by block.
fn tail_start(files: &[LogFile], lines: u64) -> Result<(usize, u64)> {
    let last = files.len() - 1;
    if lines == 0 {
        let end = last_newline(&files[last])?;
        return Ok((last, end));
    }
    let mut buffer = Pages::new(TAIL_BUFFER)?;
    let mut wanted = lines;
    for (index, file) in files.iter().enumerate().rev() {
        // The newline of the last whole entry ends that entry; it is the one before it that begins it.
        let whole = last_newline(file)?;
        let mut end = whole.saturating_sub(1);
        while end > 0 {
            let start = end.saturating_sub(TAIL_BUFFER as u64);
            let block = &mut buffer[..(end - start) as usize];
            file.file.read_exact_at(block, start).context(|| "read(log)".into())?;
            for at in memrchr_iter(b'\n', block) {
                wanted -= 1;
                if wanted == 0 {
                    return Ok((index, start + at as u64 + 1));
                }
            }
            end = start;
        }
        if whole > 0 {
            wanted -= 1; // the first entry of the file has no newline before it
            if wanted == 0 {
                return Ok((index, 0));
            }
        }
    }
    Ok((0, 0))
}

/// Offset behind the last whole entry.
fn last_newline(file: &LogFile) -> Result<u64> {
    let mut buffer = vec![0u8; 4096];
    let mut end = file.size;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let block = &mut buffer[..(end - start) as usize];
        file.file.read_exact_at(block, start).context(|| "read(log)".into())?;
        if let Some(at) = memrchr(b'\n', block) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Cuts what it reads into entries.
struct Reader<'a> {
    decoder: Decoder<'a>,
    buffer: Pages,
    /// Bytes of an entry whose end was not read yet.
    filled: usize,
    /// Inside of an entry that is too long.
    skipping: bool,
}

impl Reader<'_> {
    /// Starts a file, or the same one anew: half an entry of the one before never gets its end.
    fn begin(&mut self) {
        (self.filled, self.skipping) = (0, false);
    }

    /// Reads up to the end of the file, or to `end`.
    fn read(&mut self, position: &mut Position, end: Option<u64>, sink: &mut dyn Sink) -> Result<Flow> {
        loop {
            let room = BUFFER - self.filled;
            let limit = end.map_or(room as u64, |end| end.saturating_sub(position.offset)).min(room as u64) as usize;
            let target = &mut self.buffer[self.filled..self.filled + limit];
            let n = match position.file.file.read_at(target, position.offset) {
                Ok(0) => return Ok(Flow::More),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read(log)", e)),
            };
            position.offset += n as u64;
            self.filled += n;
            let mut start = 0;
            while let Some(length) = memchr(b'\n', &self.buffer[start..self.filled]) {
                let line = &self.buffer[start..start + length];
                start += length + 1;
                let skipped = std::mem::take(&mut self.skipping);
                if !skipped && self.decoder.line(line, sink)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            self.buffer.copy_within(start..self.filled, 0);
            self.filled -= start;
            if self.filled == BUFFER {
                (self.filled, self.skipping) = (0, true);
            }
        }
    }
}

/// Tells that something in the log's directory changed.
struct Notifier(Option<Inotify>);

impl Notifier {
    fn none() -> Notifier {
        Notifier(None)
    }

    /// None when the host is out of watches: the log is polled then.
    fn new(path: &Path) -> Notifier {
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        let watch = || {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
            let real = std::fs::canonicalize(path).ok();
            let directory = real.as_deref().unwrap_or(path).parent()?;
            inotify.add_watch(directory, flags).ok()?;
            Some(inotify)
        };
        Notifier(watch())
    }

    fn drain(&self) {
        while self.0.as_ref().is_some_and(|inotify| inotify.read_events().is_ok_and(|events| !events.is_empty())) {}
    }
}
