//! Sends the container's output to the host's syslog, a datagram for each line.
//!
//! Syslog never holds the container up. What it does not take at once waits in a queue of bounded size, and the loop is
//! told when there is room: a socket takes as few as ten datagrams (`net.unix.max_dgram_qlen`). When the queue is full,
//! lines are dropped and counted until it has eased, and the next one that is queued is preceded by one that says how
//! many are missing. A syslog daemon that has gone is looked for each second while something waits; after
//! [`PATIENCE`] what waits is dropped too, and so is what comes until it is found again.

use super::super::lines::Lines;
use super::queue::Queue;
use crate::utils::syslog;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Bytes of the longest datagram, which is what rsyslog takes as it comes; a longer line comes in several.
const DATAGRAM_LIMIT: usize = 8192;
/// For how long a syslog daemon may be away: one that is updated is back within seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for meanwhile.
const RETRY: Duration = Duration::from_secs(1);
/// For how long lines may wait after the end of the container.
const LINGER: Duration = Duration::from_secs(2);

/// The log of one container.
pub struct Syslog {
    lines: Lines,
    out: Out,
}

/// Nobody listens.
struct Absence {
    since: Instant,
    retry: Instant,
}

struct Out {
    /// What datagrams of each stream begin with.
    heads: [String; 2],
    /// The same of what is said about missing lines.
    notice: String,
    queue: Queue,
    /// Lines dropped since the last notice.
    lost: u64,
    socket: Option<UnixDatagram>,
    /// The socket took nothing the last time.
    blocked: bool,
    absence: Option<Absence>,
    /// When what waits is given up.
    end: Option<Instant>,
}

impl Syslog {
    /// Finds syslog when there is something to say.
    pub fn open(tag: &str, facility: u32) -> Option<Syslog> {
        let head = |severity| syslog::head(facility, severity, tag, std::process::id());
        let heads = [head(syslog::INFO), head(syslog::ERROR)];
        let limit = DATAGRAM_LIMIT - heads[0].len().min(DATAGRAM_LIMIT / 2);
        let out = Out {
            notice: head(syslog::WARNING) + "isulad-shim: ",
            heads,
            queue: Queue::default(),
            lost: 0,
            socket: None,
            blocked: false,
            absence: None,
            end: None,
        };
        Some(Syslog { lines: Lines::new(limit), out })
    }

    /// Takes what one read of output stream 0 or 1 brought.
    pub fn write(&mut self, stream: usize, bytes: &[u8]) {
        let Syslog { lines, out } = self;
        lines.write(stream, bytes, |text, _| out.line(stream, text));
        out.flush();
    }

    /// The stream ends: what is left of its last line is a line.
    pub fn finish(&mut self, stream: usize) {
        if let Some(text) = self.lines.finish(stream) {
            self.out.line(stream, &text);
            self.out.flush();
        }
    }

    /// Looks for syslog anew.
    pub fn reconnect(&mut self) {
        (self.out.socket, self.out.blocked, self.out.absence) = (None, false, None);
        self.out.flush();
    }

    /// The socket, when something waits for it.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        self.out.socket.as_ref().filter(|_| self.out.blocked).map(AsFd::as_fd)
    }

    /// The socket takes something again, or its other end is gone.
    pub fn writable(&mut self) {
        self.out.blocked = false;
        self.out.flush();
    }

    /// When syslog is looked for again, or what waits is given up.
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_done() {
            return None;
        }
        self.out.absence.iter().map(|absence| absence.retry).chain(self.out.end).min()
    }

    /// Does what [`Syslog::deadline`] is for.
    pub fn settle(&mut self, now: Instant) {
        if self.out.end.is_some_and(|end| now >= end) {
            self.out.queue.clear();
        } else if self.out.absence.as_ref().is_some_and(|absence| now >= absence.retry) && !self.is_done() {
            self.out.flush();
        }
    }

    /// The container has ended.
    pub fn close(&mut self, now: Instant) {
        self.out.end = Some(now + LINGER);
    }

    /// Whether nothing waits.
    pub fn is_done(&self) -> bool {
        self.out.queue.is_empty()
    }

    /// Gives memory back while nothing happens.
    pub fn trim(&mut self) {
        self.lines.trim();
        self.out.queue.trim();
    }
}

impl Out {
    /// Queues a line; an empty one says nothing, as docker has it.
    fn line(&mut self, stream: usize, text: &[u8]) {
        // A terminal ends its lines with both.
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return;
        }
        // busybox's syslogd takes what follows a zero byte for a message of its own, of any priority and tag.
        let printable: Vec<u8>;
        let text = match memchr::memchr(0, text) {
            None => text,
            Some(_) => {
                printable = text.iter().map(|b| if *b == 0 { b' ' } else { *b }).collect();
                &printable
            }
        };
        if self.lost > 0 {
            self.flush(); // says so where it can, and looks for syslog where there was none
        }
        if self.lost > 0 && (self.absence.is_some() || !self.note_loss()) {
            self.lost += 1;
        } else if !self.queue.push(&self.heads[stream], text) {
            self.flush();
            if !self.queue.push(&self.heads[stream], text) {
                self.lost += 1;
            }
        }
    }

    /// Queues what is to be said about missing lines, once there is room again.
    fn note_loss(&mut self) -> bool {
        // While the flood lasts this is all that a line costs.
        if !self.queue.has_eased() {
            return false;
        }
        let noted = self.queue.push(&self.notice, format!("{} lines lost", self.lost).as_bytes());
        if noted {
            self.lost = 0;
        }
        noted
    }

    /// Sends what it can.
    fn flush(&mut self) {
        let mut renewed = false;
        // Nobody is missed before there is something to say.
        while !self.blocked && (self.lost > 0 || !self.queue.is_empty()) && self.connect() {
            if self.queue.is_empty() {
                self.note_loss();
            }
            let (Some(socket), Some(datagram)) = (&self.socket, self.queue.front()) else { return };
            match socket.send(datagram) {
                Ok(_) => {
                    self.queue.pop();
                    (self.absence, renewed) = (None, false);
                }
                // Somebody listens, but does not read yet.
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => (self.blocked, self.absence) = (true, None),
                // Longer than what the host lets a socket send (net.core.wmem_default).
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.queue.pop();
                    self.lost += 1;
                }
                // The daemon has ended. Its successor listens on a socket of its own.
                Err(_) => {
                    self.socket = None;
                    if std::mem::replace(&mut renewed, true) {
                        return self.miss(Instant::now());
                    }
                }
            }
        }
    }

    fn connect(&mut self) -> bool {
        if self.socket.is_none() {
            let now = Instant::now();
            if self.absence.as_ref().is_some_and(|absence| now < absence.retry) {
                return false;
            }
            self.socket = syslog::connect();
            if self.socket.is_none() {
                self.miss(now);
            }
        }
        self.socket.is_some()
    }

    /// Nobody listens now.
    fn miss(&mut self, now: Instant) {
        let since = self.absence.as_ref().map_or(now, |absence| absence.since);
        self.absence = Some(Absence { since, retry: now + RETRY });
        if now.saturating_duration_since(since) >= PATIENCE {
            self.lost += self.queue.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a socket of the test's own.
    fn open() -> (Syslog, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut syslog = Syslog::open("box", 17).unwrap();
        syslog.out.socket = Some(ours);
        (syslog, theirs)
    }

    /// What has arrived, without process ids.
    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = vec![0u8; 1 << 16];
        let mut all = Vec::new();
        while let Ok(n) = socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
            all.push(text.replace(&format!("[{}]", std::process::id()), ""));
        }
        all
    }

    #[test]
    fn a_datagram_for_each_line() {
        let (mut syslog, host) = open();
        syslog.write(0, b"one\n\ntw");
        syslog.write(1, b"bad\r\n");
        syslog.write(0, b"o\n<0>zero\0<0>last");
        syslog.finish(0);
        syslog.finish(1);
        assert_eq!(received(&host), ["<142>box: one", "<139>box: bad", "<142>box: two", "<142>box: <0>zero <0>last"]);
        assert!(syslog.is_done() && syslog.deadline().is_none() && syslog.blocked_on().is_none());
    }

    #[test]
    fn long_lines_come_in_several() {
        let (mut syslog, host) = open();
        let line = "ö".repeat(10_000);
        syslog.write(0, line.as_bytes());
        syslog.finish(0);
        let got = received(&host);
        assert!(got.len() == 3 && got.iter().all(|d| d.len() <= DATAGRAM_LIMIT), "{}", got.len());
        assert_eq!(got.iter().map(|d| &d["<142>box: ".len()..]).collect::<String>(), line);
    }

    #[test]
    fn what_does_not_fit_waits_and_what_does_not_fit_there_is_counted() {
        let (mut syslog, host) = open();
        let sent = 20_000;
        for n in 0..sent {
            syslog.write(0, format!("line {n}\n").as_bytes());
        }
        assert!(syslog.blocked_on().is_some() && !syslog.is_done());
        let mut got = Vec::new();
        while syslog.blocked_on().is_some() {
            got.extend(received(&host));
            syslog.writable();
        }
        got.extend(received(&host));
        let notice = got.pop().unwrap();
        let kept: Vec<_> = (0..got.len()).map(|n| format!("<142>box: line {n}")).collect();
        assert_eq!(got, kept);
        assert!(kept.len() > 1000);
        assert_eq!(notice, format!("<140>box: isulad-shim: {} lines lost", sent - kept.len()));
        syslog.write(0, b"and on\n");
        assert_eq!(received(&host), ["<142>box: and on"]);
    }

    #[test]
    fn one_who_is_back_and_does_not_read_is_waited_for() {
        let (mut syslog, host) = open();
        while syslog.blocked_on().is_none() {
            syslog.write(0, b"line\n");
        }
        // As after a new connection to a socket that is full.
        let now = Instant::now();
        (syslog.out.blocked, syslog.out.absence) = (false, Some(Absence { since: now, retry: now }));
        syslog.write(0, b"line\n");
        assert!(syslog.blocked_on().is_some() && syslog.deadline().is_none(), "the loop would spin");
        drop(host);
    }

    #[test]
    fn what_waits_for_long_is_dropped_and_told() {
        let (mut syslog, host) = open();
        while syslog.blocked_on().is_none() {
            syslog.write(0, b"line\n");
        }
        received(&host);
        let now = Instant::now();
        let absence = |since| Some(Absence { since, retry: now + RETRY });
        (syslog.out.blocked, syslog.out.absence) = (false, absence(now));
        syslog.out.miss(now + PATIENCE - RETRY);
        assert!(!syslog.is_done() && syslog.out.lost == 0);
        syslog.out.miss(now + PATIENCE);
        assert!(syslog.is_done() && syslog.out.lost > 0 && syslog.deadline().is_none());
        syslog.out.absence = None;
        syslog.write(0, b"back\n");
        let got = received(&host);
        assert!(got.len() == 2 && got[0].ends_with("1 lines lost") && got[1].ends_with("back"), "{got:?}");
        // Without anything to say nobody is missed.
        syslog.out.socket = None;
        syslog.write(0, b"prompt> ");
        assert!(syslog.out.absence.is_none() && syslog.out.socket.is_none());
    }

    #[test]
    fn the_end_is_not_put_off_for_long() {
        let (mut syslog, host) = open();
        for n in 0..20_000 {
            syslog.write(0, format!("line {n}\n").as_bytes());
        }
        let now = Instant::now();
        syslog.close(now);
        let end = syslog.deadline().unwrap();
        syslog.settle(now);
        assert!(!syslog.is_done() && end > now);
        syslog.settle(end);
        assert!(syslog.is_done() && syslog.deadline().is_none());
        drop(host);
    }
}
