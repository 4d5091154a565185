//! `logs` and `top`: what a container says and what runs in it.

use super::failure::Failure;
use super::{Session, output, table};
use crate::client::{Client, LogsRequest};
use crate::error::Kind;
use argh::{ArgsInfo, FromArgs};
use std::cell::RefCell;
use std::io::{BufWriter, Write};

/// Bytes that are written at a time.
const BUFFER: usize = 64 * 1024;

/// print the log of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "logs")]
pub struct Logs {
    /// show what the driver kept with each line; json-file keeps nothing
    #[argh(switch)]
    #[allow(dead_code)] // read by nobody, see above
    details: bool,
    /// go on until the container ends
    #[argh(switch, short = 'f')]
    follow: bool,
    /// from this time on: RFC 3339, Unix seconds, or a duration before now
    #[argh(option, arg_name = "string")]
    since: Option<String>,
    /// last lines only; anything but a number is all
    #[argh(option, short = 'n', arg_name = "string")]
    tail: Option<String>,
    /// begin each line with its time
    #[argh(switch, short = 't')]
    timestamps: bool,
    /// up to this time
    #[argh(option, arg_name = "string")]
    until: Option<String>,
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
}

impl Logs {
    fn request(&self) -> LogsRequest {
        LogsRequest {
            stdout: true,
            stderr: true,
            follow: self.follow,
            timestamps: self.timestamps,
            tail: self.tail.as_deref().and_then(|n| n.parse().ok()),
            since: self.since.clone().unwrap_or_default(),
            until: self.until.clone().unwrap_or_default(),
        }
    }

    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        let pair = RefCell::new(Pair {
            out: BufWriter::with_capacity(BUFFER, output::Stdout),
            err: BufWriter::with_capacity(BUFFER, std::io::stderr()),
            failed: None,
        });
        let (mut out, mut err) = (Half { pair: &pair, is_error: false }, Half { pair: &pair, is_error: true });
        let result = client.container_logs(&self.container, &self.request(), &mut out, &mut err);
        // What came before a failure is shown before it.
        let flushed = out.flush().and_then(|()| err.flush());
        if let Some(e) = pair.borrow_mut().failed.take() {
            return Err(unwritten(&e));
        }
        match result {
            // A container that has no log on purpose is no failure.
            Err(e) if e.kind() == Kind::Unsupported && has_no_log(client, &self.container) => {
                output::complain(&format!("[WARNING]: {e}"));
            }
            other => other?,
        }
        flushed.map_err(|e| unwritten(&e))?;
        Ok(0)
    }
}

fn unwritten(e: &std::io::Error) -> Failure {
    Failure::local(format!("cannot write the log: {e}"))
}

/// Both outputs, of which one holds bytes back at a time: they may be one terminal or file.
struct Pair {
    out: BufWriter<output::Stdout>,
    err: BufWriter<std::io::Stderr>,
    /// The first error of either.
    failed: Option<std::io::Error>,
}

impl Pair {
    fn keep<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        result.map_err(|e| {
            let again = e.raw_os_error().map_or_else(|| e.kind().into(), std::io::Error::from_raw_os_error);
            self.failed.get_or_insert(e);
            again
        })
    }
}

struct Half<'a> {
    pair: &'a RefCell<Pair>,
    is_error: bool,
}

impl Write for Half<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let pair = &mut *self.pair.borrow_mut();
        let result = match self.is_error {
            true => pair.out.flush().and_then(|()| pair.err.write(bytes)),
            false => pair.err.flush().and_then(|()| pair.out.write(bytes)),
        };
        pair.keep(result)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let pair = &mut *self.pair.borrow_mut();
        let result = if self.is_error { pair.err.flush() } else { pair.out.flush() };
        pair.keep(result)
    }
}

fn has_no_log(client: &Client, container: &str) -> bool {
    client.container_inspect(container).is_ok_and(|found| found.host_config.log_config.driver == "none")
}

/// list the processes of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "top")]
pub struct Top {
    #[argh(positional, arg_name = "CONTAINER")]
    container: String,
    #[argh(positional, greedy, arg_name = "[ps OPTIONS]")]
    options: Vec<String>,
}

impl Top {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let answer = session.client()?.container_top(&self.container, &self.options.join(" "))?;
        output::print(&table::processes(&answer.titles, &answer.processes))?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::cmd::argv::parse;
    use crate::cmd::isula::{Command, DIALECT, Top};

    fn request(line: &str) -> super::LogsRequest {
        let words = line.split_whitespace().map(Into::into).collect();
        match parse::<Top>("isula", words, DIALECT).unwrap().command {
            Some(Command::Logs(logs)) => logs.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_reach_their_fields() {
        let r = request("logs -ft --tail 5 --since 10m --until 1h c");
        assert!(r.follow && r.timestamps && r.stdout && r.stderr);
        assert_eq!((r.tail, r.since.as_str(), r.until.as_str()), (Some(5), "10m", "1h"));
        assert_eq!((request("logs c --tail all").tail, request("logs --tail=-1 c").tail), (None, None));
        assert_eq!(request("logs -n0 c").tail, Some(0));
    }
}
