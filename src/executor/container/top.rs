//! The processes of a container. The usual columns come straight from `/proc`, since a board may have no ps(1) or a
//! small one; other columns are those of the host's ps.

use super::signal::{ask, unexpected};
use crate::api::container::TopResponse;
use crate::api::shim::{Reply, Request};
use crate::error::{Error, Kind, Result};
use crate::executor::Daemon;
use crate::modules::container::run::{Verb, permit};
use crate::utils::order;
use std::collections::BTreeSet;

/// Its processes, as ps(1) with these arguments (by default `-ef`) shows them.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it does not run, `Kind::Invalid` when ps refuses the arguments or shows no
/// PID column, `Kind::Unsupported` without a ps program for other arguments.
pub fn top(daemon: &Daemon, reference: &str, arguments: &str) -> Result<TopResponse> {
    let container = daemon.find(reference)?;
    permit(Verb::Look, container.run().phase(), &container.id)?;
    let pids: BTreeSet<i32> = match ask(daemon, &container, &Request::Processes, &[])? {
        Reply::Processes(pids) => order::set(pids),
        _ => return Err(unexpected()),
    };
    match arguments.trim() {
        "" | "-ef" => Ok(native(&pids)),
        words => by_ps(words, &pids),
    }
}

fn native(pids: &BTreeSet<i32>) -> TopResponse {
    let host = crate::utils::process_table::Host::read();
    TopResponse {
        titles: ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(String::from).into(),
        processes: pids.iter().filter_map(|&pid| host.row(pid)).collect(),
    }
}

fn by_ps(words: &str, pids: &BTreeSet<i32>) -> Result<TopResponse> {
    let run = |more: &str| {
        std::process::Command::new("ps")
            .args(words.split_ascii_whitespace().chain(Some(more).filter(|more| !more.is_empty())))
            .stdin(std::process::Stdio::null())
            .output()
            .map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Error::new(Kind::Unsupported, "top with arguments needs a ps program"),
                _ => Error::io("run ps", e),
            })
    };
    // As docker: those of the container, whatever the arguments alone would show; and without where ps does not know that.
    let list: Vec<String> = pids.iter().map(i32::to_string).collect();
    let mut output = run(&format!("-q{}", list.join(",")))?;
    if !output.status.success() {
        output = run("")?;
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("no reason given");
        return Err(Error::invalid(format!("ps refused {words:?}: {}", line.trim())));
    }
    parse(&String::from_utf8_lossy(&output.stdout), pids)
}

/// Keeps the lines of these processes. The last column takes the rest of its line.
fn parse(text: &str, pids: &BTreeSet<i32>) -> Result<TopResponse> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_ascii_whitespace().map(String::from).collect();
    let Some(column) = titles.iter().position(|t| t == "PID") else {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    };
    let mut processes = Vec::new();
    for line in lines {
        let cells = cells(line, titles.len());
        if cells.get(column).and_then(|c| c.parse().ok()).is_some_and(|pid: i32| pids.contains(&pid)) {
            processes.push(cells);
        }
    }
    Ok(TopResponse { titles, processes })
}

fn cells(line: &str, columns: usize) -> Vec<String> {
    let mut rest = line.trim_start();
    let mut cells = Vec::with_capacity(columns);
    while cells.len() + 1 < columns && !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        cells.push(rest[..end].to_string());
        rest = rest[end..].trim_start();
    }
    cells.push(rest.trim_end().to_string());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_processes_are_left_out() {
        let text = "USER   PID COMMAND\nroot     1 /sbin/init splash\n1000   742 sh -c echo  a\nroot 7421 x\n";
        let got = parse(text, &[742, 5].into()).unwrap();
        assert_eq!(got.titles, ["USER", "PID", "COMMAND"]);
        assert_eq!(got.processes, [["1000", "742", "sh -c echo  a"]]);
        assert!(parse("USER COMMAND\nroot x\n", &[1].into()).is_err());
        assert!(parse("", &[1].into()).is_err());
    }
}
