//! Counters of a container's network interfaces.

use crate::api::stats::{INTERFACE_COUNTERS, Interfaces};
use crate::executor::Daemon;
use crate::utils::pseudo_file;
use crate::utils::sys::process::is_alive;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// The interfaces of a container by name, but for loopback; none when it does not run or has the host's.
pub fn interfaces(daemon: &Daemon, reference: &str) -> Interfaces {
    let Ok(container) = daemon.find(reference) else { return Interfaces::new() };
    let run = container.run();
    let namespace = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|m| (m.dev(), m.ino())).ok();
    let of = namespace(&run.pid.to_string());
    if of.is_none() || of == namespace("self") {
        return Interfaces::new();
    }
    let counters = pseudo_file::read(format!("/proc/{}/net/dev", run.pid)).unwrap_or_default();
    // Its number may be another's by now.
    match is_alive(run.pid, run.start_time) {
        true => parse(&String::from_utf8_lossy(&counters)),
        false => Interfaces::new(),
    }
}

/// Reads `/proc/PID/net/dev` (proc_pid_net(5)): two lines of heads, then for each interface eight columns of what was
/// received and eight of what was sent.
fn parse(text: &str) -> Interfaces {
    let mut all = Interfaces::new();
    for line in text.lines().skip(2) {
        let Some((name, counters)) = line.split_once(':') else { continue };
        let mut shown = BTreeMap::new();
        let counters = counters.split_ascii_whitespace().enumerate().filter(|(column, _)| column % 8 < 4);
        for (key, (_, value)) in INTERFACE_COUNTERS.iter().zip(counters) {
            shown.insert((*key).to_owned(), value.parse().unwrap_or_default());
        }
        if name.trim() != "lo" {
            all.insert(name.trim().to_owned(), shown);
        }
    }
    all
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
                    eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let parsed = parse(text);
        assert_eq!(parsed.keys().collect::<Vec<_>>(), ["eth0"]);
        let eth0 = |counter: &str| parsed["eth0"][counter];
        assert_eq!((eth0("rx_bytes"), eth0("rx_dropped"), eth0("tx_bytes"), eth0("tx_dropped")), (1, 4, 9, 12));
        assert_eq!(parse(""), Interfaces::new());
    }
}
