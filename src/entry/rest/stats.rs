//! Resource use: samples of the executor with the host's processor time, from which clients compute percentages.

use super::route::StatsMode;
use crate::api::stats::{ContainerStats, CpuStats, HostCpu};
use crate::entry::exchange::{Exchange, Leaving, Outcome};
use crate::error::{Kind, Result};
use crate::executor::{Caller, Daemon, container};
use crate::utils::http::media;
use crate::utils::sys::net::wait_for;
use crate::utils::time::Timestamp;
use crate::utils::{json, pseudo_file};
use nix::poll::{PollFd, PollFlags};
use std::time::{Duration, Instant};

/// Time between samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// `GET /containers/{id}/stats`
pub fn perform(daemon: &Daemon, id: &str, mode: StatsMode, mut exchange: Exchange) -> Outcome {
    let mut sampler = Sampler { daemon, name: String::new(), id: String::new(), last: None };
    let first = container::inspect(daemon, id, false).and_then(|all| {
        (sampler.id, sampler.name) = (all.id, all.name);
        sampler.sample()
    });
    let first = match first {
        Ok(first) => first,
        // As docker has it: of one that does not run there is nothing to tell but who it is.
        Err(e) if e.kind() == Kind::Conflict && mode != StatsMode::Stream => {
            let nothing = ContainerStats { name: sampler.name, id: sampler.id, ..ContainerStats::default() };
            return exchange.json(200, &nothing);
        }
        Err(e) => return exchange.fail(e),
    };
    if mode == StatsMode::Once {
        return exchange.json(200, &first);
    }
    let leaving = Leaving::watch(&exchange.connection);
    if mode == StatsMode::Pair {
        if pause(&leaving) {
            exchange.connection.close_after();
            return Outcome::Answered(exchange.connection, 200);
        }
        return match sampler.sample() {
            Ok(second) => exchange.json(200, &second),
            Err(e) => exchange.fail(e),
        };
    }
    let mut body = exchange.stream(media::JSON);
    let mut next = Ok(first);
    while let Ok(sample) = next {
        let sent = body.write([&json::to_vec(&sample), b"\n"]).and_then(|()| body.flush());
        if sent.is_err() || pause(&leaving) {
            exchange.connection.close_after();
            return Outcome::Answered(exchange.connection, 200);
        }
        next = sampler.sample(); // an error is the container's end
    }
    let _ = body.finish(); // the client left; the connection's next read notices
    Outcome::Answered(exchange.connection, 200)
}

/// Waits for the next sample; `true` when the client left meanwhile.
fn pause(leaving: &Leaving) -> bool {
    let mut fds: Vec<PollFd<'_>> = leaving.gone().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
    wait_for(&mut fds, Some(Instant::now() + INTERVAL)).unwrap_or(true)
}

struct Sampler<'d> {
    daemon: &'d Daemon,
    name: String,
    id: String,
    last: Option<(Timestamp, CpuStats)>,
}

impl Sampler<'_> {
    fn sample(&mut self) -> Result<ContainerStats> {
        let sample = container::stats(self.daemon, &self.id)?;
        let host = host_cpu(&pseudo_file::read("/proc/stat").unwrap_or_default());
        let mut stats = ContainerStats::new(Timestamp::now(), sample, host);
        stats.networks = container::interfaces(self.daemon, &self.id);
        (stats.name, stats.id) = (self.name.clone(), self.id.clone());
        let last = self.last.replace((stats.read, stats.cpu_stats.clone()));
        if let Some(last) = last {
            (stats.preread, stats.precpu_stats) = last;
        }
        Ok(stats)
    }
}

/// Reads `/proc/stat` (proc_stat(5)): the first seven columns of the line of all processors, in ticks.
fn host_cpu(stat: &[u8]) -> HostCpu {
    /// USER_HZ, which is 100 on every architecture we run on.
    const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;
    let mut host = HostCpu::default();
    for line in String::from_utf8_lossy(stat).lines().map_while(|l| l.strip_prefix("cpu")) {
        if line.starts_with(' ') {
            let ticks = line.split_ascii_whitespace().take(7).filter_map(|n| n.parse::<u64>().ok());
            host.usage = ticks.sum::<u64>().saturating_mul(NANOS_PER_TICK);
        } else {
            host.online += 1;
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stat() {
        let text = b"cpu  10 1 2 100 3 0 4 50 60 70\ncpu0 5 1 1 50 1 0 2 25 30 35\ncpu1 5 0 1 50 2 0 2 25 30 35\nintr 5\ncpu9 1\n";
        assert_eq!(host_cpu(text), HostCpu { usage: 120 * 10_000_000, online: 2 });
        assert_eq!(host_cpu(b""), HostCpu::default());
        assert!(host_cpu(&std::fs::read("/proc/stat").unwrap()).online > 0);
    }
}
