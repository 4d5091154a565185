//! Metrics in the text format of Prometheus (0.0.4): the original's families, and those of docker's daemon that cost
//! nothing.
//!
//! All samples of a family stand together, so containers are asked first, and of each a handful of numbers is kept; the
//! text itself is sent as it is made.

use super::route::MetricKinds;
use crate::applet::COMMIT;
use crate::applet::VERSION;
use crate::entry::exchange::{BodyWriter, Exchange, Outcome};
use crate::error::Result;
use crate::executor::{self, Daemon};
use crate::modules::container::Container;
use crate::utils::{host, pseudo_file};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// As the format's specification has it.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Values of one container, in the order of the tables below.
struct Sample {
    container: Arc<Container>,
    memory: [u64; 6],
    cpu: [u64; 6],
    pids: u64,
}

const MEMORY: [&str; 6] = ["usage", "max_usage", "limit", "swap", "rss", "cache"];
const CPU: [&str; 6] = ["total", "user", "system", "periods", "throttled_periods", "throttled_time"];

/// `GET /metrics`, `GET /metrics/type/{type}`
pub fn perform(daemon: &Daemon, kinds: MetricKinds, mut exchange: Exchange) -> Outcome {
    let asked = exchange.connection.shared.metrics_asked.fetch_add(1, Ordering::Relaxed) + 1;
    let samples = if kinds.of_containers() { samples(daemon) } else { Vec::new() };
    let mut text = Text { body: exchange.stream(MEDIA_TYPE), line: String::new() };
    let written = write(daemon, kinds, asked, &samples, &mut text).and_then(|()| text.body.finish());
    if written.is_err() {
        exchange.connection.close_after(); // the client left
    }
    Outcome::Answered(exchange.connection, 200)
}

/// Of all containers that have processes; one that ends meanwhile is left out.
fn samples(daemon: &Daemon) -> Vec<Sample> {
    let mut samples = Vec::new();
    for container in daemon.containers.all() {
        let Ok(stats) = executor::container::stats(daemon, &container.id) else { continue };
        let counter = |names: [&str; 2]| names.iter().find_map(|name| stats.memory_stat.get(*name)).copied();
        samples.push(Sample {
            memory: [
                stats.memory_usage,
                stats.memory_max_usage,
                stats.memory_limit,
                stats.swap_usage,
                counter(["anon", "rss"]).unwrap_or_default(),
                counter(["file", "cache"]).unwrap_or_default(),
            ],
            cpu: [
                stats.cpu_usage,
                stats.cpu_user,
                stats.cpu_system,
                stats.cpu_throttling[0],
                stats.cpu_throttling[1],
                stats.cpu_throttling[2],
            ],
            pids: stats.pids,
            container,
        });
    }
    samples
}

fn write(daemon: &Daemon, kinds: MetricKinds, asked: usize, samples: &[Sample], text: &mut Text<'_>) -> Result<()> {
    if kinds.system {
        system(daemon, asked, text)?;
    }
    if kinds.memory {
        text.family("isula_container_mem_stat", "gauge", "Memory of a container in bytes, by type.")?;
        for sample in samples {
            let (name, id) = (sample.container.name(), &sample.container.id);
            for (kind, value) in MEMORY.iter().zip(sample.memory) {
                text.sample("isula_container_mem_stat", &[("id", id), ("name", &name), ("type", kind)], value)?;
            }
        }
    }
    if kinds.cpu {
        let help = "Processor time of a container in nanoseconds, and periods of its quota, by type.";
        text.family("isula_container_cpu_stat", "counter", help)?;
        for sample in samples {
            let (name, id) = (sample.container.name(), &sample.container.id);
            for (kind, value) in CPU.iter().zip(sample.cpu) {
                text.sample("isula_container_cpu_stat", &[("id", id), ("name", &name), ("type", kind)], value)?;
            }
        }
    }
    if kinds.pids {
        text.family("isula_container_pids", "gauge", "Processes and threads of a container.")?;
        for sample in samples {
            let labels = [("id", sample.container.id.as_str()), ("name", &sample.container.name())];
            text.sample("isula_container_pids", &labels, sample.pids)?;
        }
    }
    Ok(())
}

fn system(daemon: &Daemon, asked: usize, text: &mut Text<'_>) -> Result<()> {
    let status = pseudo_file::read("/proc/self/status").unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    text.family("isula_metrics_http_req_count", "counter", "Requests for metrics.")?;
    text.sample("isula_metrics_http_req_count", &[], asked as u64)?;
    text.family("isula_daemon_mem_stat", "gauge", "Memory of the daemon in bytes, by type.")?;
    for (kind, field) in [("rss", "VmRSS"), ("max_rss", "VmHWM"), ("virtual", "VmSize"), ("swap", "VmSwap")] {
        text.sample("isula_daemon_mem_stat", &[("type", kind)], status_bytes(&status, field))?;
    }
    text.family("isula_daemon_calloced_memory_total", "gauge", "Memory of the daemon's own making in bytes.")?;
    text.sample("isula_daemon_calloced_memory_total", &[], status_bytes(&status, "RssAnon"))?;

    let info = executor::system::info(daemon);
    text.family("engine_daemon_container_states_containers", "gauge", "The count of containers in various states")?;
    let states = [
        ("paused", info.containers_paused),
        ("running", info.containers_running),
        ("stopped", info.containers_stopped),
    ];
    for (state, count) in states {
        text.sample(
            "engine_daemon_container_states_containers",
            &[("state", state)],
            u64::try_from(count).unwrap_or(0),
        )?;
    }
    text.family(
        "engine_daemon_engine_cpus_cpus",
        "gauge",
        "The number of cpus that the host system of the engine has",
    )?;
    text.sample("engine_daemon_engine_cpus_cpus", &[], u64::try_from(host::processors()).unwrap_or(0))?;
    text.family(
        "engine_daemon_engine_memory_bytes",
        "gauge",
        "The number of bytes of memory that the host system has",
    )?;
    text.sample("engine_daemon_engine_memory_bytes", &[], u64::try_from(host::memory()).unwrap_or(0))?;
    text.family("engine_daemon_engine_info", "gauge", "The information related to the engine and the host")?;
    let kernel = host::kernel().release;
    let labels = [
        ("architecture", host::go_architecture()),
        ("commit", COMMIT),
        ("graphdriver", &info.driver),
        ("kernel", &kernel),
        ("version", VERSION),
    ];
    text.sample("engine_daemon_engine_info", &labels, 1)
}

/// A line of `/proc/self/status`, in kilobytes there.
fn status_bytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Lines on their way to the client.
struct Text<'e> {
    body: BodyWriter<'e>,
    line: String,
}

impl Text<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Result<()> {
        self.line.clear();
        // A String takes everything.
        let _ = write!(self.line, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.body.write([self.line.as_bytes(), b""])
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) -> Result<()> {
        self.line.clear();
        sample(&mut self.line, name, labels, value);
        self.body.write([self.line.as_bytes(), b""])
    }
}

fn sample(line: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    line.push_str(name);
    for (n, (label, text)) in labels.iter().enumerate() {
        line.push(if n == 0 { '{' } else { ',' });
        line.push_str(label);
        line.push_str("=\"");
        for c in text.chars() {
            match c {
                '\\' => line.push_str("\\\\"),
                '"' => line.push_str("\\\""),
                '\n' => line.push_str("\\n"),
                c => line.push(c),
            }
        }
        line.push('"');
    }
    if !labels.is_empty() {
        line.push('}');
    }
    let _ = writeln!(line, " {value}"); // a String takes everything
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_end_themselves() {
        let mut line = String::new();
        sample(&mut line, "x", &[("a", "q\"\\\nö"), ("b", "")], 7);
        assert_eq!(line, "x{a=\"q\\\"\\\\\\nö\",b=\"\"} 7\n");
        line.clear();
        sample(&mut line, "x_total", &[], u64::MAX);
        assert_eq!(line, "x_total 18446744073709551615\n");
    }

    #[test]
    fn proc_self_status() {
        let text = "Name:\tVmRSS: 9 kB\nVmRSSX:\t1 kB\nVmRSS:\t     120 kB\nVmSwap:\n";
        assert_eq!(status_bytes(text, "VmRSS"), 120 * 1024);
        assert_eq!((status_bytes(text, "VmSwap"), status_bytes(text, "VmHWM")), (0, 0));
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status_bytes(&own, "VmRSS") > 0 && status_bytes(&own, "RssAnon") > 0);
    }
}
