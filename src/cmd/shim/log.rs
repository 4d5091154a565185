//! Writes the container's output to its json-file log, with rotation.
//!
//! One write(2) for what one read brought. The log never holds the container up: what the disk does not take is
//! dropped and counted, and the next entry that fits is preceded by one that says how much is missing.

use super::encode::{self, ENCODED_LIMIT, ENTRY_LIMIT, Tail};
use super::lines::Lines;
use crate::api::shim::LogFile;
use crate::error::{Error, Result, errno_text};
use crate::utils::sys::descriptor;
use crate::utils::sys::pages::Pages;
use crate::utils::time::Timestamp;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the buffer that [`Log::write`] encodes into.
pub const SCRATCH: usize = 256 * 1024;
const _: () = assert!(SCRATCH > 2 * ENCODED_LIMIT);

const MODE: u32 = 0o600;

/// The log of one container.
pub struct Log {
    lines: Lines,
    out: Out,
}

/// The file that it goes to.
struct Out {
    target: LogFile,
    file: Option<File>,
    /// Bytes in the current file.
    size: u64,
    /// Entries that the disk did not take since the last one that it took.
    lost: u64,
    lost_errno: i32,
}

impl Log {
    /// Opens the file, or creates it. A full or read-only disk is not an error: the log begins once it is writable.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(target: LogFile) -> Result<Log> {
        let mut out = Out { target, file: None, size: 0, lost: 0, lost_errno: 0 };
        match out.open_file(false) {
            Err(e) if !matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS | libc::EIO)) => Err(e),
            _ => Ok(Log { lines: Lines::new(ENTRY_LIMIT), out }),
        }
    }

    /// Goes on in a new file of the same name, after someone moved the current one away.
    ///
    /// # Errors
    /// The failing call; the old file stays in use.
    pub fn reopen(&mut self) -> Result<()> {
        self.out.open_file(false)
    }

    /// Takes what one read of output stream 0 or 1 brought; `scratch` is of [`SCRATCH`] bytes.
    pub fn write(&mut self, stream: usize, bytes: &[u8], scratch: &mut Pages) {
        let tail = Tail::new(stream, Timestamp::now());
        let Log { lines, out } = self;
        let mut batch = Batch { out, scratch, end: 0, tail: &tail };
        lines.write(stream, bytes, |text, newline| batch.entry(text, newline));
        batch.flush();
    }

    /// The stream ends: what is left of its last line becomes an entry without a newline.
    pub fn finish(&mut self, stream: usize, scratch: &mut Pages) {
        if let Some(text) = self.lines.finish(stream) {
            let tail = Tail::new(stream, Timestamp::now());
            let mut batch = Batch { out: &mut self.out, scratch, end: 0, tail: &tail };
            batch.entry(&text, false);
            batch.flush();
        }
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        self.lines.trim();
    }
}

impl Out {
    fn open_file(&mut self, truncate: bool) -> Result<()> {
        let mut file = descriptor::open_append(&self.target.path, MODE, truncate)?;
        self.size = file.seek(SeekFrom::End(0)).map_err(|e| Error::io("lseek(log)", e))?;
        // A line that was cut by a power failure must not swallow the next one.
        if self.size > 0 && !ends_with_newline(&self.target.path, self.size) && file.write_all(b"\n").is_ok() {
            self.size += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Writes whole entries.
    fn append(&mut self, entries: &[u8]) {
        if self.lost > 0 && !self.report_loss() {
            self.lost += count_lines(entries);
            return;
        }
        if let Err(e) = self.write_all(entries) {
            self.lost += e.dropped;
            self.lost_errno = e.errno;
        }
    }

    fn report_loss(&mut self) -> bool {
        let text = format!("isulad-shim: {} log entries lost: {}", self.lost, errno_text(self.lost_errno));
        let mut entry = [0u8; 512];
        let end = encode::entry(&mut entry, 0, text.as_bytes(), true, &Tail::new(1, Timestamp::now()));
        let end = end.expect("number and errno text are far shorter than the buffer");
        let reported = self.write_all(&entry[..end]).is_ok();
        if reported {
            self.lost = 0;
        }
        reported
    }

    fn write_all(&mut self, entries: &[u8]) -> std::result::Result<(), Dropped> {
        if self.file.is_none() {
            let opened = self.open_file(false);
            opened.map_err(|e| Dropped { dropped: count_lines(entries), errno: e.errno().unwrap_or(libc::EIO) })?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut rest = entries;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let written = entries.len() - rest.len();
                    let whole = memchr::memrchr(b'\n', &entries[..written]).map_or(0, |at| at + 1);
                    // Half an entry is cut off again; where that fails, readers skip it.
                    if let Ok(metadata) = file.metadata() {
                        self.size = metadata.len().saturating_sub((written - whole) as u64);
                        let _ = file.set_len(self.size);
                    }
                    let dropped = count_lines(&entries[whole..]);
                    return Err(Dropped { dropped, errno: e.raw_os_error().unwrap_or(libc::EIO) });
                }
            }
        }
        self.size += entries.len() as u64;
        Ok(())
    }

    /// `path` becomes `path.1`, `path.1` becomes `path.2`, and so on; the last one is replaced.
    fn rotate(&mut self) {
        if self.target.max_files < 2 {
            // The reader sees the size shrink.
            if self.file.as_mut().is_some_and(|f| f.set_len(0).is_ok()) {
                self.size = 0;
            }
            return;
        }
        for n in (1..self.target.max_files).rev() {
            let from = rotated(&self.target.path, n - 1);
            let _ = std::fs::rename(from, rotated(&self.target.path, n)); // most are not there yet
        }
        // A file that cannot be made (no inode left) leaves the moved one in use: nothing is lost.
        let _ = self.open_file(false);
    }
}

/// The name of the `n`th predecessor, the current file for 0.
pub fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

struct Dropped {
    dropped: u64,
    errno: i32,
}

/// Entries on their way into the file.
struct Batch<'a> {
    out: &'a mut Out,
    scratch: &'a mut Pages,
    end: usize,
    tail: &'a Tail,
}

impl Batch<'_> {
    fn entry(&mut self, text: &[u8], newline: bool) {
        let max = self.out.target.max_size;
        if max > 0 && self.out.size + self.end as u64 >= max {
            self.flush();
            if self.out.size >= max {
                self.out.rotate();
            }
        }
        if let Some(end) = encode::entry(self.scratch, self.end, text, newline, self.tail) {
            self.end = end;
            return;
        }
        self.flush();
        if let Some(end) = encode::entry(self.scratch, 0, text, newline, self.tail) {
            self.end = end;
        }
    }

    fn flush(&mut self) {
        if self.end > 0 {
            self.out.append(&self.scratch[..self.end]);
            self.end = 0;
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

fn ends_with_newline(path: &Path, size: u64) -> bool {
    let mut last = [0u8; 1];
    match File::open(path) {
        Ok(file) if file.read_exact_at(&mut last, size - 1).is_ok() => last[0] == b'\n',
        Ok(mut other) => other.read(&mut last).is_err(), // no regular file: nothing to repair
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::json;
    use serde_json::Value;

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(name: &str, max_size: u64, max_files: u32) -> (Directory, Log, Pages) {
        let dir = std::env::temp_dir().join(format!("shim-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let target = LogFile { path: dir.join("console.log"), max_size, max_files };
        (Directory(dir), Log::open(target).unwrap(), Pages::new(SCRATCH).unwrap())
    }

    fn entries(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let values = text.lines().map(|l| json::parse::<Value>(l.as_bytes()).unwrap());
        values.map(|v| (v["stream"].as_str().unwrap().into(), v["log"].as_str().unwrap().into())).collect()
    }

    fn text(path: &Path) -> String {
        entries(path).into_iter().map(|(_, t)| t).collect()
    }

    #[test]
    fn lines_are_joined_across_reads_and_streams_kept_apart() {
        let (dir, mut log, mut scratch) = open("join", 0, 1);
        log.write(0, b"one\ntw", &mut scratch);
        log.write(1, b"err\n", &mut scratch);
        log.write(0, b"o\n\nlast", &mut scratch);
        log.finish(0, &mut scratch);
        log.finish(1, &mut scratch);
        let want =
            [("stdout", "one\n"), ("stderr", "err\n"), ("stdout", "two\n"), ("stdout", "\n"), ("stdout", "last")];
        let got = entries(&dir.0.join("console.log"));
        assert_eq!(got, want.map(|(s, t)| (s.to_owned(), t.to_owned())));
    }

    #[test]
    fn long_lines_are_split_and_no_byte_is_lost() {
        let (dir, mut log, mut scratch) = open("long", 0, 1);
        let line: String = (0..20_000).map(|i| char::from_u32(0x4e00 + i % 500).unwrap()).collect();
        let whole = format!("{line}\nshort\n{line}");
        for chunk in whole.as_bytes().chunks(5000) {
            log.write(0, chunk, &mut scratch);
        }
        log.write(0, whole.as_bytes(), &mut scratch);
        log.finish(0, &mut scratch);
        let all = entries(&dir.0.join("console.log"));
        assert!(all.len() > 15 && all.iter().all(|(_, t)| t.len() <= ENTRY_LIMIT + 1));
        assert_eq!(text(&dir.0.join("console.log")), format!("{whole}{whole}"));
    }

    #[test]
    fn an_exact_entry_is_not_split() {
        let (dir, mut log, mut scratch) = open("exact", 0, 1);
        let line = "x".repeat(ENTRY_LIMIT);
        log.write(0, format!("{line}\n").as_bytes(), &mut scratch);
        for piece in [&line[..100], &line[100..], "\n"] {
            log.write(0, piece.as_bytes(), &mut scratch);
        }
        assert_eq!(entries(&dir.0.join("console.log")).len(), 2);
    }

    #[test]
    fn rotation_keeps_count_and_order() {
        let (dir, mut log, mut scratch) = open("rotate", 2000, 3);
        for i in 0..200 {
            log.write(0, format!("line {i}\n").as_bytes(), &mut scratch);
        }
        let path = dir.0.join("console.log");
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 3);
        let joined = text(&rotated(&path, 2)) + &text(&rotated(&path, 1)) + &text(&path);
        assert!(joined.ends_with("line 198\nline 199\n"), "{joined}");
        let first: u32 = joined.lines().next().unwrap()[5..].parse().unwrap();
        assert_eq!(joined.lines().count() as u32, 200 - first);
        assert!(std::fs::metadata(rotated(&path, 1)).unwrap().len() < 2200);
    }

    #[test]
    fn a_single_file_starts_anew() {
        let (dir, mut log, mut scratch) = open("single", 1000, 1);
        log.write(0, &b"a line of text\n".repeat(100), &mut scratch);
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 1);
        assert!(std::fs::metadata(dir.0.join("console.log")).unwrap().len() < 1200);
    }

    #[test]
    fn a_reopened_log_goes_on_in_a_new_file() {
        let (dir, mut log, mut scratch) = open("reopen", 0, 1);
        let (path, moved) = (dir.0.join("console.log"), dir.0.join("moved"));
        log.write(0, b"one\n", &mut scratch);
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        log.write(0, b"two\n", &mut scratch);
        assert_eq!((text(&moved), text(&path)), ("one\n".into(), "two\n".into()));
    }

    #[test]
    fn a_torn_line_is_closed_off() {
        let (dir, log, mut scratch) = open("torn", 0, 1);
        drop(log);
        let path = dir.0.join("console.log");
        std::fs::write(&path, "{\"log\":\"to").unwrap();
        let mut log = Log::open(LogFile { path: path.clone(), max_size: 0, max_files: 1 }).unwrap();
        log.write(0, b"rn\n", &mut scratch);
        let all = std::fs::read_to_string(&path).unwrap();
        assert_eq!(all.lines().count(), 2, "{all}");
        assert!(json::parse::<Value>(all.lines().nth(1).unwrap().as_bytes()).is_ok());
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_so() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let (dir, log, mut scratch) = open("full", 0, 1);
        drop(log);
        if mount(Some("tmpfs"), &dir.0, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).is_err() {
            return; // not root
        }
        let path = dir.0.join("console.log");
        let mut log = Log::open(LogFile { path: path.clone(), max_size: 0, max_files: 1 }).unwrap();
        for _ in 0..100 {
            log.write(0, &b"some line of text that is written again and again\n".repeat(20), &mut scratch);
        }
        let before = text(&path).lines().count();
        log.out.file.as_ref().unwrap().set_len(0).unwrap();
        log.write(0, b"space again\n", &mut scratch);
        let after = text(&path);
        drop(log);
        umount2(&dir.0, MntFlags::MNT_DETACH).unwrap();
        assert!(before > 100 && before < 2000, "{before}");
        let want = format!("isulad-shim: {} log entries lost: no space left on device\nspace again\n", 2000 - before);
        assert_eq!(after, want);
    }
}
