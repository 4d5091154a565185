//! Runs programs to their end with a deadline and keeps what they said.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a program said and how it ended.
pub struct Output {
    /// As the user would type it.
    pub line: String,
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Output {
    /// Standard output without the last line break, of a program that ended with 0.
    #[track_caller]
    pub fn ok(self) -> String {
        self.exits(0)
    }

    /// Standard output without the last line break, of a program that ended with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> String {
        assert_eq!(self.code, code, "exit code of {}", self.show());
        self.out.strip_suffix('\n').unwrap_or(&self.out).to_string()
    }

    /// A program that ended with `code` and said `part` on standard error.
    #[track_caller]
    pub fn fails(self, code: i32, part: &str) {
        assert_eq!(self.code, code, "exit code of {}", self.show());
        assert!(self.err.contains(part), "expected {part:?} from {}", self.show());
    }

    pub fn show(&self) -> String {
        format!("`{}` = {}\n--- stdout\n{}\n--- stderr\n{}\n---", self.line, self.code, cut(&self.out), cut(&self.err))
    }
}

/// Beginning and end of a long text.
fn cut(text: &str) -> String {
    if text.len() < 4000 {
        return text.to_string();
    }
    let head: String = text.chars().take(1500).collect();
    let tail: String = text.chars().rev().take(1500).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{head}\n… {} bytes …\n{tail}", text.len())
}

/// A program that runs, its output collected by threads.
pub struct Running {
    pub child: Child,
    line: String,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Waits for the end; kills and fails after `deadline`.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Output {
        // A closed standard input, as after the last word typed.
        drop(self.child.stdin.take());
        let status = wait(&mut self.child, deadline);
        let killed = status.is_none();
        let collect = |thread: JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&thread.join().expect("the collecting thread")).into_owned()
        };
        let output =
            Output { line: self.line, code: status.map_or(-1, code), out: collect(self.out), err: collect(self.err) };
        assert!(!killed, "still running after {} s: {}", deadline.as_secs(), output.show());
        output
    }
}

/// Exit code as a shell has it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits up to `deadline`; kills it then and returns nothing.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a program with its output collected and its standard input a pipe.
pub fn start(mut command: Command, line: String) -> Running {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    super::sys::die_with_parent(&mut command);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {line}: {e}"));
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    Running { child, line, out, err }
}

/// Runs a program to its end with `input` as its standard input.
#[track_caller]
pub fn run(command: Command, line: String, input: &[u8], deadline: Duration) -> Output {
    let mut running = start(command, line);
    let mut stdin = running.child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program may end without having read everything.
        let _ = stdin.write_all(&input);
    });
    let output = running.finish(deadline);
    writer.join().expect("the writing thread");
    output
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Splits a command line into words at blanks; `'…'` and `"…"` keep theirs, without any escape.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "unclosed quote in {line:?}");
    words.extend(word);
    words
}
