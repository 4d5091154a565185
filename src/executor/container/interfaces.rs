//! Counters of a container's network interfaces.

use crate::api::stats::InterfaceStats;
use crate::executor::Daemon;
use crate::utils::pseudo_file;
use crate::utils::sys::process::is_alive;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// The interfaces of a container by name, but for loopback; none when it does not run or has the host's.
pub fn interfaces(daemon: &Daemon, reference: &str) -> BTreeMap<String, InterfaceStats> {
    let Ok(container) = daemon.find(reference) else { return BTreeMap::new() };
    let run = container.run();
    let namespace = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|m| (m.dev(), m.ino())).ok();
    let of = namespace(&run.pid.to_string());
    if of.is_none() || of == namespace("self") {
        return BTreeMap::new();
    }
    let counters = pseudo_file::read(format!("/proc/{}/net/dev", run.pid)).unwrap_or_default();
    // Its number may be another's by now.
    match is_alive(run.pid, run.start_time) {
        true => parse(&String::from_utf8_lossy(&counters)),
        false => BTreeMap::new(),
    }
}

/// Reads `/proc/PID/net/dev` (proc_pid_net(5)): two lines of heads, then for each interface eight columns of what was
/// received and eight of what was sent.
fn parse(text: &str) -> BTreeMap<String, InterfaceStats> {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            n[..]
        else {
            return None;
        };
        let name = name.trim().to_owned();
        let stats =
            InterfaceStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
        (name != "lo").then_some((name, stats))
    };
    text.lines().skip(2).filter_map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_net_dev() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
                    colls carrier compressed\n    \
                    lo:     216       2    0    0    0     0          0         0      216       2    0    0    0     0 \
                    0          0\n\
                    eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    cut: 1 2\n";
        let parsed = parse(text);
        assert_eq!(parsed.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = &parsed["eth0"];
        assert_eq!((eth0.rx_bytes, eth0.rx_dropped, eth0.tx_bytes, eth0.tx_dropped), (1, 4, 9, 12));
        assert_eq!(parse(""), BTreeMap::new());
    }
}
