//! `lcr state`, `list`, `ps`.

use crate::cmd::runtime::output;
use crate::cmd::runtime::record::{Record, Root, Status};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::json;
use crate::utils::order;
use argh::{ArgsInfo, FromArgs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// print the state of a container as JSON
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "state")]
pub struct State {
    /// container id
    #[argh(positional, arg_name = "ID")]
    pub id: String,
}

/// list containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "list")]
pub struct List {
    /// table or json
    #[argh(option, short = 'f', arg_name = "format")]
    format: Option<String>,
    /// ids only
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// list the processes of a container
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "ps")]
pub struct Ps {
    /// table or json
    #[argh(option, short = 'f', arg_name = "format")]
    format: Option<String>,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
    /// options for ps(1), which makes the table then
    #[argh(positional, greedy, arg_name = "[OPTION...]")]
    options: Vec<String>,
}

/// The specification's state document, with what the other runtimes add to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'a str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    owner: String,
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> Document<'a> {
    fn new(record: &'a Record) -> Document<'a> {
        let status = record.status();
        Document {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.word(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            owner: owner(record.owner),
            annotations: &record.annotations,
        }
    }
}

/// The name of a user of the host, else the number.
fn owner(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

/// Whether a `--format` asks for JSON.
fn is_json(format: Option<&str>) -> Result<bool> {
    match format {
        None | Some("table") => Ok(false),
        Some("json") => Ok(true),
        Some(other) => Err(Error::invalid(format!("invalid format {other:?}: want table or json"))),
    }
}

/// Prints the state.
///
/// # Errors
/// `Kind::NotFound`.
pub fn state(root: &Root, id: &str) -> Result<u8> {
    let mut text = json::to_pretty(&json::to_vec(&Document::new(&root.load(id)?)));
    text.push(b'\n');
    output(&text)
}

/// Prints all containers.
///
/// # Errors
/// The failing call.
pub fn list(root: &Root, args: List) -> Result<u8> {
    let json = is_json(args.format.as_deref())?;
    let records = root.all()?;
    if args.quiet {
        return output(records.iter().map(|r| format!("{}\n", r.id)).collect::<String>().as_bytes());
    }
    let documents: Vec<Document<'_>> = records.iter().map(Document::new).collect();
    if json {
        let mut text = json::to_vec(&documents);
        text.push(b'\n');
        return output(&text);
    }
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = documents.iter().map(|d| {
        let bundle = d.bundle.display().to_string();
        [d.id.to_owned(), d.pid.to_string(), d.status.to_owned(), bundle, d.created.to_owned(), d.owner.clone()]
    });
    output(table(std::iter::once(head).chain(rows).collect()).as_bytes())
}

/// Prints the processes.
///
/// # Errors
/// `Kind::NotFound`; what ps(1) says to its options.
pub fn ps(root: &Root, args: Ps) -> Result<u8> {
    let json = is_json(args.format.as_deref())?;
    let record = root.load(&args.id)?;
    let mut pids = record.processes()?;
    order::sort(&mut pids);
    if json {
        let mut text = json::to_vec(&pids);
        text.push(b'\n');
        return output(&text);
    }
    if !args.options.is_empty() {
        return output(lines_of(&args.options, &pids)?.as_bytes());
    }
    let head = ["PID", "COMMAND"].map(str::to_owned);
    let rows = pids.iter().map(|pid| [pid.to_string(), command(*pid)]);
    output(table(std::iter::once(head).chain(rows).collect()).as_bytes())
}

/// What the host's ps(1) prints with these options: its heading, and of the rest the lines of the processes `pids`.
fn lines_of(options: &[String], pids: &[i32]) -> Result<String> {
    let call = || format!("ps {}", options.join(" "));
    let out = Command::new("ps").args(options).output().context(call)?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(Error::new(Kind::Remote, text).context(call()));
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let mut lines = text.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Error::invalid(format!("{}: the output has no column PID", call())))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(heading).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}

/// The command line of a process, in brackets its name when it has none.
fn command(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    let text = match line.is_empty() {
        false => line,
        true => format!("[{}]", std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim()),
    };
    // A process chooses this text: it must not move the reader's cursor.
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Columns as wide as their widest entry, the last one as it is.
fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        for (column, text) in row.iter().enumerate() {
            match column + 1 == N {
                true => out.push_str(&format!("{text}\n")),
                false => out.push_str(&format!("{text:<width$}   ", width = widths[column])),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let rows = vec![["ID".to_owned(), "X".to_owned()], ["long".to_owned(), "y z".to_owned()]];
        assert_eq!(table(rows), "ID     X\nlong   y z\n");
    }

    #[test]
    fn a_stopped_container_has_no_pid() {
        let record = Record { id: "a".into(), pid: 1, start_time: u64::MAX, ..Record::default() };
        let text = json::to_text(&Document::new(&record));
        assert!(text.contains(r#""pid":0,"status":"stopped""#) && text.contains(r#""owner":"root""#), "{text}");
    }
}
