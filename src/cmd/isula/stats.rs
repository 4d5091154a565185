//! `stats`: resource use of containers.

use super::failure::Failure;
use super::ordered::Node;
use super::template;
use super::{Session, output, state_word, table};
use crate::api::stats::ContainerStats;
use crate::client::{Client, ListRequest};
use crate::error::Kind;
use crate::utils::id::short;
use crate::utils::sys::terminal::is_terminal;
use argh::{ArgsInfo, FromArgs};
use std::collections::{BTreeMap, HashMap};
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
    /// whole ids
    #[argh(switch)]
    no_trunc: bool,
    /// print with a Go template
    #[argh(option, arg_name = "string")]
    format: Option<String>,
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
        let format = template::asked_rows(self.format.as_deref())?;
        if format.is_some() && self.original {
            return Err(Failure::usage("--format and --original are two ways of printing: give one"));
        }
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
            let screen = match &format {
                _ if self.original => originals(&now),
                Some(format) => format.render_rows(FIELDS, &self.nodes(&before, &now))?,
                None => self.frame(&before, &now),
            };
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
            let bare = name.strip_prefix('/').unwrap_or(name);
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            if !bare.starts_with(|c: char| c.is_ascii_alphanumeric()) || !bare.bytes().all(fits) {
                let rule = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
                return Err(Failure::usage(format!("Invalid container name ({name}), {rule}")));
            }
            let c = client.container_inspect(name)?;
            let name = c.name.trim_start_matches('/').to_owned();
            out.push(Sample { id: c.id, name, state: c.state.status, stats: None });
        }
        for sample in out.iter_mut().filter(|s| s.state == "running" || s.state == "paused") {
            sample.stats = match client.container_stats(&sample.id) {
                // One without a time ended between the list and the question.
                Ok(stats) => Some(stats).filter(|stats| stats.read.is_set()),
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Conflict) => None,
                Err(e) => return Err(Failure::daemon(&e)),
            };
        }
        Ok(out)
    }
}

impl Stats {
    fn id(&self, sample: &Sample) -> String {
        if self.no_trunc { sample.id.clone() } else { short(&sample.id).to_owned() }
    }

    fn frame(&self, before: &[Sample], now: &[Sample]) -> String {
        let old = latest(before);
        let row = |sample: &Sample| {
            let cells = Cells::new(&old, sample);
            [self.id(sample), cells.processor, cells.memory, cells.share, cells.block, cells.pids]
        };
        let rows: Vec<_> = now.iter().map(row).collect();
        let head = ["CONTAINER", "CPU %", "MEM USAGE / LIMIT", "MEM %", "BLOCK I / O", "PIDS"];
        table::spaced([16, 10, 26, 10, 26, 10], head, &rows, false)
    }

    fn nodes(&self, before: &[Sample], now: &[Sample]) -> Vec<Node> {
        let old = latest(before);
        let node = |sample: &Sample| {
            let cells = Cells::new(&old, sample);
            let whichever = match self.containers.iter().find(|word| sample.is_named(word)) {
                Some(word) => word.clone(),
                None => self.id(sample),
            };
            let net = format!("{} / {}", size(cells.net[0]), size(cells.net[1]));
            let values = [
                whichever,
                self.id(sample),
                sample.name.clone(),
                cells.processor + "%",
                cells.memory,
                cells.share + "%",
                net,
                cells.block,
                cells.pids,
            ];
            Node::texts(FIELDS.iter().zip(values).map(|((field, _), value)| (*field, value)))
        };
        now.iter().map(node).collect()
    }
}

impl Sample {
    /// Whether this word of the command line means it.
    fn is_named(&self, word: &str) -> bool {
        self.name == word.trim_start_matches('/') || self.id.starts_with(word)
    }
}

/// Fields of `--format` with their heads, which are docker's.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("Container", "CONTAINER"), ("ID", "CONTAINER ID"), ("Name", "NAME"), ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"), ("MemPerc", "MEM %"), ("NetIO", "NET I/O"), ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

fn latest(samples: &[Sample]) -> HashMap<&str, &ContainerStats> {
    samples.iter().filter_map(|s| s.stats.as_ref().map(|stats| (s.id.as_str(), stats))).collect()
}

/// What is printed of one sample.
struct Cells {
    processor: String,
    memory: String,
    share: String,
    /// Bytes received and sent.
    net: [u64; 2],
    block: String,
    pids: String,
}

impl Cells {
    fn new(old: &HashMap<&str, &ContainerStats>, sample: &Sample) -> Cells {
        let none = ContainerStats::default();
        let stats = sample.stats.as_ref().unwrap_or(&none);
        let (used, limit) = (memory(stats), stats.memory_stats.limit);
        let [read, written] = block(stats);
        let count = |n: &BTreeMap<String, u64>, key: &str| n.get(key).copied().unwrap_or_default();
        let share = if limit == 0 { 0.0 } else { used as f64 / limit as f64 * 100.0 };
        Cells {
            processor: format!("{:.2}", old.get(sample.id.as_str()).map_or(0.0, |old| processor(old, stats))),
            memory: format!("{} / {}", size(used), size(limit)),
            share: format!("{share:.2}"),
            net: stats
                .networks
                .values()
                .fold([0, 0], |sum, n| [sum[0] + count(n, "rx_bytes"), sum[1] + count(n, "tx_bytes")]),
            block: format!("{} / {}", size(read), size(written)),
            pids: stats.pids_stats.current.to_string(),
        }
    }
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

    fn frame(before: &[Sample], now: &[Sample]) -> String {
        stats(&[]).frame(before, now)
    }

    fn stats(words: &[&str]) -> Stats {
        Stats::from_args(&["stats"], words).unwrap()
    }

    #[test]
    fn fields_are_dockers() {
        let node = |words: &[&str]| {
            let nodes = stats(words).nodes(&[sample(100, 1000)], &[sample(200, 1800)]);
            FIELDS
                .iter()
                .map(|(field, _)| match nodes[0].get(field) {
                    Some(Node::Text(text)) => text.clone(),
                    other => panic!("{field}: {other:?}"),
                })
                .collect::<Vec<_>>()
                .join("|")
        };
        let of = |container: &str, id: &str| {
            format!("{container}|{id}|obs2|50.00%|320.00 KiB / 23.54 GiB|0.00%|0.00 B / 0.00 B|2.00 KiB / 0.00 B|1")
        };
        assert_eq!(node(&[]), of("5a0208125d09", "5a0208125d09"));
        assert_eq!(node(&["obs2"]), of("obs2", "5a0208125d09"));
        let whole = sample(0, 0).id;
        assert_eq!(node(&["--no-trunc", "5a02"]), of("5a02", &whole));
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
