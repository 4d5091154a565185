//! Reading logs: tails, times, rotation, damage.

use super::*;
use std::io::Write;

const ALL: Query =
    Query { stdout: true, stderr: true, tail: None, since: None, until: None, timestamps: false, follow: false };

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let dir = std::env::temp_dir().join(format!("log-read-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Directory(dir)
    }

    fn log(&self) -> PathBuf {
        self.0.join("console.log")
    }

    fn write(&self, n: u32, content: &str) {
        std::fs::write(rotated(&self.log(), n), content).unwrap();
    }

    fn append(&self, content: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.log()).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Default)]
struct Collected {
    streams: [Vec<u8>; 2],
    mixed: Vec<u8>,
    calls: usize,
    gone: Option<OwnedFd>,
}

impl Sink for Collected {
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        self.streams[stream as usize].extend_from_slice(bytes);
        self.mixed.extend_from_slice(bytes);
        self.calls += 1;
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn gone(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.gone.as_ref().map(AsFd::as_fd)
    }
}

fn at(second: u32, stream: &str, text: &str) -> String {
    format!("{{\"log\":\"{text}\",\"stream\":\"std{stream}\",\"time\":\"2026-11-24T03:50:{second:02}.000000000Z\"}}\n")
}

fn line(n: u32) -> String {
    at(n % 60, "out", &format!("line {n}\\n"))
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(line).collect()
}

fn get(dir: &Directory, query: &Query) -> String {
    let mut sink = Collected::default();
    read(&dir.log(), query, None, &mut sink).unwrap();
    String::from_utf8(sink.mixed).unwrap()
}

fn plain(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

#[test]
fn no_log_is_not_found() {
    let dir = Directory::new("none");
    let e = read(&dir.log(), &ALL, None, &mut Collected::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound);
}

#[test]
fn all_files_in_order_in_blocks() {
    let dir = Directory::new("order");
    dir.write(2, &lines(0..3));
    dir.write(1, &lines(3..5));
    dir.write(0, &lines(5..9));
    let mut sink = Collected::default();
    read(&dir.log(), &ALL, None, &mut sink).unwrap();
    assert_eq!((String::from_utf8(sink.mixed).unwrap(), sink.calls), (plain(0..9), 1));
}

#[test]
fn tails_over_files_and_block_boundaries() {
    let dir = Directory::new("tail");
    dir.write(2, &lines(0..3));
    dir.write(1, &lines(3..5));
    dir.write(0, &(lines(5..2000) + "{\"log\":\"torn"));
    for n in [0, 1, 2, 700, 1994, 1995, 1996, 1997, 1998, 1999, 2000, 2001, 9999] {
        let query = Query { tail: Some(u64::from(n)), ..ALL };
        assert_eq!(get(&dir, &query), plain(2000u32.saturating_sub(n)..2000), "{n}");
    }
    dir.write(0, "");
    assert_eq!(get(&dir, &Query { tail: Some(1), ..ALL }), plain(4..5));
    assert_eq!(get(&dir, &Query { tail: Some(0), ..ALL }), "");
}

#[test]
fn streams_times_and_partial_entries() {
    let dir = Directory::new("select");
    let text = [
        at(1, "out", "one\\n"),
        at(2, "err", "two\\n"),
        at(3, "out", "begin "),
        at(4, "out", "end\\n"),
        at(5, "err", "five\\n"),
    ];
    dir.write(0, &text.concat());
    assert_eq!(get(&dir, &ALL), "one\ntwo\nbegin end\nfive\n");
    assert_eq!(get(&dir, &Query { stderr: false, ..ALL }), "one\nbegin end\n");
    assert_eq!(get(&dir, &Query { stdout: false, ..ALL }), "two\nfive\n");
    let t = |s: u32| Timestamp::parse_rfc3339(&format!("2026-11-24T03:50:{s:02}Z")).unwrap();
    assert_eq!(get(&dir, &Query { since: Some(t(4)), ..ALL }), "end\nfive\n");
    assert_eq!(get(&dir, &Query { until: Some(t(2)), ..ALL }), "one\ntwo\n");
    assert_eq!(get(&dir, &Query { since: Some(t(2)), until: Some(t(4)), ..ALL }), "two\nbegin end\n");
    assert_eq!(get(&dir, &Query { tail: Some(2), stderr: false, ..ALL }), "end\n");
    assert_eq!(
        get(&dir, &Query { timestamps: true, stderr: false, ..ALL }),
        "2026-11-24T03:50:01.000000000Z one\n2026-11-24T03:50:03.000000000Z begin end\n"
    );
}

#[test]
fn foreign_and_damaged_entries() {
    let dir = Directory::new("foreign");
    let text = [
        "{\"stream\":\"stdout\",\"log\":\"docker\\n\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-11-24T03:50:19.5Z\"}\n",
        "\n{\"log\":\"cut\n",
        "{\"log\":\"no stream\\n\",\"time\":\"2026-11-24T03:50:19.5Z\"}\n",
        "\0\0\0\0\n[]\n",
        &format!("{{\"log\":\"{}\n", "x".repeat(BUFFER * 2)),
        &at(20, "err", "after\\n"),
        "{\"log\":\"torn at the end",
    ];
    dir.write(0, &text.concat());
    let query = Query { timestamps: true, ..ALL };
    let want = "2026-11-24T03:50:19.500000000Z docker\n2026-11-24T03:50:20.000000000Z after\n";
    assert_eq!(get(&dir, &query), want);
}

/// Follows while `work` changes the log; gives what was read until the end was told.
fn following(dir: &Directory, query: Query, work: impl FnOnce()) -> String {
    let (ended, tell) = nix::unistd::pipe().unwrap();
    let path = dir.log();
    let reading = std::thread::spawn(move || {
        let mut sink = Collected::default();
        read(&path, &Query { follow: true, ..query }, Some(&ended), &mut sink).unwrap();
        String::from_utf8(sink.mixed).unwrap()
    });
    std::thread::sleep(Duration::from_millis(100));
    work();
    drop(tell);
    reading.join().unwrap()
}

fn rotate(dir: &Directory) {
    let _ = std::fs::rename(rotated(&dir.log(), 1), rotated(&dir.log(), 2));
    std::fs::rename(dir.log(), rotated(&dir.log(), 1)).unwrap();
    dir.write(0, "");
}

#[test]
fn following_joins_what_arrives_in_pieces() {
    let dir = Directory::new("pieces");
    dir.write(0, &lines(0..2));
    let got = following(&dir, Query { tail: Some(1), ..ALL }, || {
        let text = lines(2..5);
        for piece in text.as_bytes().chunks(17) {
            dir.append(std::str::from_utf8(piece).unwrap());
            std::thread::sleep(Duration::from_millis(3));
        }
        dir.append("{\"log\":\"torn");
    });
    assert_eq!(got, plain(1..5));
}

#[test]
fn following_crosses_rotations() {
    let dir = Directory::new("rotations");
    dir.write(0, "");
    let got = following(&dir, ALL, || {
        for n in 0..300 {
            dir.append(&line(n));
            if n % 50 == 49 {
                rotate(&dir);
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    });
    assert_eq!(got, plain(0..300));
}

#[test]
fn two_rotations_at_once_lose_nothing() {
    let dir = Directory::new("twice");
    dir.write(0, &line(0));
    let got = following(&dir, ALL, || {
        dir.append(&line(1));
        rotate(&dir);
        dir.append(&line(2));
        rotate(&dir);
        dir.append(&line(3));
    });
    assert_eq!(got, plain(0..4));
}

#[test]
fn names_that_are_free_while_files_move_hide_nothing() {
    let dir = Directory::new("holes");
    for (place, first) in [(0, 6), (1, 4), (5, 2), (6, 0)] {
        dir.write(place, &lines(first..first + 2));
    }
    assert_eq!(get(&dir, &ALL), plain(0..8));
    let oldest = newer_than(&dir.log(), None).unwrap().0.swap_remove(0);
    assert_eq!(successor(&dir.log(), &oldest).unwrap().unwrap().size, lines(2..4).len() as u64);
    // Overtaken: what comes next is the oldest there is.
    std::fs::remove_file(rotated(&dir.log(), 6)).unwrap();
    assert_eq!(successor(&dir.log(), &oldest).unwrap().unwrap().size, lines(2..4).len() as u64);
}

#[test]
fn following_a_single_file_that_starts_anew() {
    let dir = Directory::new("anew");
    dir.write(0, &lines(0..10));
    let got = following(&dir, ALL, || {
        File::options().write(true).open(dir.log()).unwrap().set_len(0).unwrap();
        dir.append(&line(10));
    });
    assert_eq!(got, plain(0..11));
}

#[test]
fn following_ends_when_the_reader_leaves_and_when_the_time_is_up() {
    let dir = Directory::new("leave");
    dir.write(0, &lines(0..2));
    let (gone, leave) = nix::unistd::pipe().unwrap();
    drop(leave);
    let mut sink = Collected { gone: Some(gone), ..Collected::default() };
    read(&dir.log(), &Query { follow: true, ..ALL }, None, &mut sink).unwrap();
    assert_eq!(sink.mixed, plain(0..2).into_bytes());
    let soon = Timestamp::now().unix_nanos() + 200_000_000;
    let until = Timestamp::from_unix(soon / 1_000_000_000, (soon % 1_000_000_000) as u32);
    let mut sink = Collected::default();
    let begin = std::time::Instant::now();
    read(&dir.log(), &Query { follow: true, until: Some(until), ..ALL }, None, &mut sink).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(150));
}
