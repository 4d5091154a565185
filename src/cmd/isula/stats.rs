//! `stats`: resource use of containers.

use super::failure::Failure;
use super::{Session, output, state_word, table};
use crate::api::stats::ContainerStats;
use crate::client::{Client, ListRequest};
use crate::error::Kind;
use crate::utils::id::short;
use crate::utils::sys::terminal::is_terminal;
use argh::{ArgsInfo, FromArgs};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// print the resource use of containers
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "stats")]
pub struct Stats {
    /// without names: also those that do not run
    #[argh(switch, short = 'a')]
    all: bool,
    /// print one frame and end
    #[argh(switch)]
    no_stream: bool,
    /// print the counters as they are
    #[argh(switch)]
    original: bool,
    #[argh(positional, arg_name = "[CONTAINER...]")]
    containers: Vec<String>,
}

/// A container with its last sample; a stopped one has none.
struct Sample {
    id: String,
    name: String,
    state: String,
    stats: Option<ContainerStats>,
}

impl Stats {
    /// Runs the verb.
    pub fn run(self, session: &Session) -> Result<u8, Failure> {
        let client = session.client()?;
        let clear = !self.no_stream && is_terminal(std::io::stdout().as_fd());
        // A percentage needs two samples; the counters do not.
        let mut before = if self.original { Vec::new() } else { self.samples(client)? };
        let mut is_first = true;
        loop {
            if !self.original || !is_first {
                std::thread::sleep(INTERVAL);
            }
            is_first = false;
            let now = self.samples(client)?;
            let screen = if self.original { originals(&now) } else { frame(&before, &now) };
            // From the top of an empty screen, so that the frames stand still.
            output::print(&if clear { format!("\x1b[H\x1b[2J{screen}") } else { screen })?;
            if self.no_stream {
                return Ok(0);
            }
            before = now;
        }
    }

    /// One sample of each container: of those that were named, whatever they do, else of all that run.
    fn samples(&self, client: &Client) -> Result<Vec<Sample>, Failure> {
        let mut out = Vec::new();
        if self.containers.is_empty() {
            client.container_list(&ListRequest { all: self.all, ..ListRequest::default() }, |c| {
                let name = c.names.first().map(|n| n.trim_start_matches('/').to_owned()).unwrap_or_default();
                out.push(Sample { id: c.id, name, state: c.state, stats: None });
            })?;
        }
        for name in &self.containers {
            if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return Err(Failure::usage(format!("Invalid container name ({name})")));
            }
            let c = client.container_inspect(name)?;
            let name = c.name.trim_start_matches('/').to_owned();
            out.push(Sample { id: c.id, name, state: c.state.status, stats: None });
        }
        for sample in out.iter_mut().filter(|s| s.state == "running" || s.state == "paused") {
            sample.stats = match client.container_stats(&sample.id) {
                Ok(stats) => Some(stats),
                // It ended between the list and the question.
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Conflict) => None,
                Err(e) => return Err(Failure::daemon(&e)),
            };
        }
        Ok(out)
    }
}

fn frame(before: &[Sample], now: &[Sample]) -> String {
    let old: HashMap<&str, &ContainerStats> =
        before.iter().filter_map(|s| s.stats.as_ref().map(|stats| (s.id.as_str(), stats))).collect();
    let none = ContainerStats::default();
    let row = |sample: &Sample| {
        let stats = sample.stats.as_ref().unwrap_or(&none);
        let (used, limit) = (memory(stats), stats.memory_stats.limit);
        let [read, written] = block(stats);
        let share = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
        [
            short(&sample.id).to_owned(),
            format!("{:.2}", old.get(sample.id.as_str()).map_or(0.0, |old| processor(old, stats))),
            format!("{} / {}", size(used), size(limit)),
            format!("{share:.2}"),
            format!("{} / {}", size(read), size(written)),
            stats.pids_stats.current.to_string(),
        ]
    };
    let rows: Vec<_> = now.iter().map(row).collect();
    let head = ["CONTAINER", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I / O", "PIDS"];
    table::spaced([16, 10, 26, 10, 26, 10], head, &rows, false)
}

/// The counters, a line for each container.
fn originals(now: &[Sample]) -> String {
    let none = ContainerStats::default();
    let line = |sample: &Sample| {
        let s = sample.stats.as_ref().unwrap_or(&none);
        let [read, written] = block(s);
        let cache = s.memory_stats.stats.get("cache").or_else(|| s.memory_stats.stats.get("file")).unwrap_or(&0);
        format!(
            "{} {} {} {} {} {} {read} {written} {} {} {} {cache} {}\n",
            short(&sample.id),
            s.pids_stats.current,
            state_word(&sample.state),
            s.cpu_stats.cpu_usage.total_usage,
            s.cpu_stats.system_cpu_usage,
            s.cpu_stats.online_cpus,
            s.memory_stats.usage,
            s.memory_stats.limit,
            s.memory_stats.stats.get("kmem_usage").unwrap_or(&0),
            sample.name,
        )
    };
    now.iter().map(line).collect()
}

/// Percent of one processor, between two samples.
fn processor(before: &ContainerStats, now: &ContainerStats) -> f64 {
    let used = now.cpu_stats.cpu_usage.total_usage.saturating_sub(before.cpu_stats.cpu_usage.total_usage);
    let host = now.cpu_stats.system_cpu_usage.saturating_sub(before.cpu_stats.system_cpu_usage);
    if host == 0 { 0.0 } else { used as f64 / host as f64 * f64::from(now.cpu_stats.online_cpus.max(1)) * 100.0 }
}

/// Memory in use without the page cache that can be dropped.
fn memory(stats: &ContainerStats) -> u64 {
    let counters = &stats.memory_stats.stats;
    // v1 counts a group without its children under the plain name.
    let inactive = counters.get("total_inactive_file").or_else(|| counters.get("inactive_file")).unwrap_or(&0);
    stats.memory_stats.usage.saturating_sub(*inactive)
}

/// Bytes read from and written to block devices.
fn block(stats: &ContainerStats) -> [u64; 2] {
    let entries = &stats.blkio_stats.io_service_bytes_recursive;
    ["read", "write"].map(|op| entries.iter().filter(|e| e.op.eq_ignore_ascii_case(op)).map(|e| e.value).sum())
}

/// `320.00 KiB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shim;
    use crate::api::stats::HostCpu;
    use crate::utils::time::Timestamp;

    fn sample(cpu: u64, host: u64) -> Sample {
        let stats = shim::Stats {
            cpu_usage: cpu,
            memory_usage: 340 << 10,
            memory_limit: 25_275_000_000,
            memory_stat: [("total_inactive_file".to_owned(), 20 << 10)].into(),
            pids: 1,
            block_read: 2048,
            ..shim::Stats::default()
        };
        Sample {
            id: format!("{:0<64}", "5a0208125d09"),
            name: "obs2".into(),
            state: "running".into(),
            stats: Some(ContainerStats::new(Timestamp::UNSET, stats, HostCpu { usage: host, online: 4 })),
        }
    }

    #[test]
    fn the_table_is_that_of_the_original() {
        let want = "\
CONTAINER        CPU %      MEM USAGE / LIMIT          MEM %      BLOCK I / O                PIDS      
5a0208125d09     50.00      320.00 KiB / 23.54 GiB     0.00       2.00 KiB / 0.00 B          1         
";
        assert_eq!(frame(&[sample(100, 1000)], &[sample(200, 1800)]), want);
        let stopped = Sample { stats: None, ..sample(0, 0) };
        assert!(frame(&[], &[stopped]).contains("0.00 B / 0.00 B            0.00"));
        assert_eq!(frame(&[], &[]).lines().count(), 1);
    }

    #[test]
    fn counters() {
        let want = "5a0208125d09 1 running 7 9 4 2048 0 348160 25275000000 0 0 obs2\n";
        assert_eq!(originals(&[sample(7, 9)]), want);
    }

    #[test]
    fn odd_samples_do_not_divide_by_nothing() {
        let s = |cpu, host| sample(cpu, host).stats.unwrap();
        assert_eq!(processor(&s(5, 10), &s(9, 10)), 0.0);
        assert_eq!(processor(&s(9, 10), &s(5, 20)), 0.0);
    }
}
