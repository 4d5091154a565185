//! `lcr events`: what a container uses and that the kernel killed in it for memory, a line of JSON each, with the names
//! that runc gives them.

use crate::cmd::runtime::output;
use crate::cmd::runtime::record::{Record, Root, is_running};
use crate::engine::cgroup::Cgroup;
use crate::engine::cgroup::file::{keyed, number, read};
use crate::error::{Context, Error, Result};
use crate::utils::json;
use crate::utils::sys::net::wait_for;
use crate::utils::sys::process;
use crate::utils::time::parse_duration;
use argh::{ArgsInfo, FromArgs};
use nix::poll::{PollFd, PollFlags};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between samples when nothing else is said.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between looks whether the container lives, where the kernel cannot tell its end.
const LOOK: Duration = Duration::from_millis(100);

/// print what a container uses, and when the kernel kills in it for memory
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(subcommand, name = "events")]
pub struct Events {
    /// print the use once and end
    #[argh(switch)]
    stats: bool,
    /// time between samples (default 5s)
    #[argh(option, arg_name = "duration")]
    interval: Option<String>,
    /// container id
    #[argh(positional, arg_name = "ID")]
    id: String,
}

/// Prints events until the container ends.
///
/// # Errors
/// `Kind::NotFound`, `Kind::Conflict` when it has ended, `Kind::Invalid` for the interval; the failing call.
pub fn events(root: &Root, args: Events) -> Result<u8> {
    let interval = args.interval.as_deref().map_or(Ok(INTERVAL), parse_duration)?;
    if interval.is_zero() {
        return Err(Error::invalid("--interval: want more than nothing"));
    }
    let record = root.load(&args.id)?;
    if !is_running(record.pid, record.start_time) {
        return Err(Error::conflict(format!("container {:?} is {}", record.id, record.status().word())));
    }
    let cgroup =
        record.cgroup()?.ok_or_else(|| Error::not_found(format!("container {:?} has no cgroup", record.id)))?;
    if args.stats {
        return print("stats", &record.id, Some(sample(&cgroup)));
    }
    let (notifier, end) = (cgroup.oom_notifier(), process::pidfd_open(record.pid).ok());
    let mut watch = Watch { record, cgroup, notifier, end, kills: 0 };
    watch.kills = watch.cgroup.oom_kills();
    let mut next = Instant::now() + interval;
    while watch.wait(next)? {
        watch.tell_kills()?;
        if Instant::now() >= next {
            print("stats", &watch.record.id, Some(sample(&watch.cgroup)))?;
            next = Instant::now() + interval;
        }
    }
    watch.tell_kills()?;
    Ok(0)
}

fn print(kind: &str, id: &str, data: Option<Value>) -> Result<u8> {
    let words = [("type", Some(Value::from(kind))), ("id", Some(Value::from(id))), ("data", data)];
    let event = object(words.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut line = json::to_vec(&event);
    line.push(b'\n');
    output(&line)
}

/// A container that is looked at.
struct Watch {
    record: Record,
    cgroup: Cgroup,
    notifier: Option<OwnedFd>,
    end: Option<OwnedFd>,
    kills: u64,
}

impl Watch {
    /// Waits for `deadline` or news. Whether the container lives.
    fn wait(&self, deadline: Instant) -> Result<bool> {
        let mut fds = Vec::new();
        let (look, kinds) = (Instant::now() + LOOK, PollFlags::POLLPRI | PollFlags::POLLIN);
        // A file of version 2 can always be read.
        let kinds = if self.is_v2() { PollFlags::POLLPRI } else { kinds };
        fds.extend(self.notifier.as_ref().map(|fd| PollFd::new(fd.as_fd(), kinds)));
        fds.extend(self.end.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        let until = if self.end.is_some() { deadline } else { deadline.min(look) };
        wait_for(&mut fds, Some(until)).context(|| "poll()".into())?;
        let told = self.notifier.is_some() && fds[0].revents().is_some_and(|found| !found.is_empty());
        drop(fds);
        if let Some(notifier) = self.notifier.as_ref().filter(|_| told) {
            // Read, it waits for the next one.
            let file = File::from(notifier.try_clone().context(|| "dup()".into())?);
            let _ = match self.is_v2() {
                true => file.read_at(&mut [0; 256], 0),
                false => (&file).read(&mut [0; 8]),
            };
        }
        Ok(is_running(self.record.pid, self.record.start_time))
    }

    fn is_v2(&self) -> bool {
        directories(&self.cgroup).iter().any(|directory| directory.join("memory.events").exists())
    }

    fn tell_kills(&mut self) -> Result<()> {
        let kills = self.cgroup.oom_kills();
        if kills > self.kills {
            print("oom", &self.record.id, None)?;
        }
        self.kills = self.kills.max(kills);
        Ok(())
    }
}

fn directories(cgroup: &Cgroup) -> Vec<PathBuf> {
    cgroup.directories().map(|(_, directory)| directory).collect()
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut map = Map::new();
    for (name, value) in members {
        map.insert(name.to_owned(), value);
    }
    Value::Object(map)
}

/// The interface files of a cgroup, whichever hierarchy has them.
struct Files(Vec<PathBuf>);

impl Files {
    fn find(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|directory| directory.join(name)).find(|path| path.exists())
    }

    fn text(&self, name: &str) -> Option<String> {
        read(&self.find(name)?)
    }

    fn number(&self, name: &str) -> Option<u64> {
        number(&self.find(name)?)
    }

    /// `limit`, `usage`, `max` and `failcnt` of files with a common beginning, those that are there.
    fn counter(&self, names: [(&'static str, String); 4]) -> Value {
        object(names.iter().filter_map(|(key, name)| Some((*key, self.number(name)?.into()))))
    }
}

fn sample(cgroup: &Cgroup) -> Value {
    let files = Files(directories(cgroup));
    let stats = cgroup.stats().unwrap_or_default();
    let [periods, throttled, time] = stats.cpu_throttling;
    let mut usage =
        vec![("total", stats.cpu_usage.into()), ("kernel", stats.cpu_system.into()), ("user", stats.cpu_user.into())];
    for (key, name) in [
        ("percpu", "cpuacct.usage_percpu"),
        ("percpu_user", "cpuacct.usage_percpu_user"),
        ("percpu_kernel", "cpuacct.usage_percpu_sys"),
    ] {
        if let Some(text) = files.text(name) {
            usage.push((key, text.split_ascii_whitespace().filter_map(|n| n.parse::<u64>().ok()).collect()));
        }
    }
    let throttling =
        [("periods", periods.into()), ("throttledPeriods", throttled.into()), ("throttledTime", time.into())];
    let set = |names: [&str; 2]| names.iter().find_map(|name| files.text(name)).map(|text| ids(text.trim()));
    let cpuset = [
        ("cpus", set(["cpuset.cpus", "cpuset.cpus.effective"])),
        ("mems", set(["cpuset.mems", "cpuset.mems.effective"])),
    ];
    let pids = [("current", Some(stats.pids)), ("limit", Some(stats.pids_limit).filter(|limit| *limit > 0))];
    object([
        ("cpu", object([("usage", object(usage)), ("throttling", object(throttling))])),
        ("cpuset", object(cpuset.into_iter().filter_map(|(key, value)| Some((key, value?))))),
        ("memory", memory(&files, &stats.memory_stat)),
        ("pids", object(pids.into_iter().filter_map(|(key, value)| Some((key, value?.into()))))),
        ("blkio", block_io(&files)),
        ("hugetlb", hugetlb(&files)),
        ("intel_rdt", object([])),
        ("network_interfaces", Value::Null),
    ])
}

/// The numbers of a list such as `0-2,7`.
fn ids(list: &str) -> Value {
    let mut out = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            out.extend((first..=last.min(first.saturating_add(4096))).map(Value::from));
        }
    }
    Value::Array(out)
}

fn memory(files: &Files, stat: &std::collections::BTreeMap<String, u64>) -> Value {
    let v1 = |prefix: &str| {
        files.counter([
            ("limit", format!("{prefix}.limit_in_bytes")),
            ("usage", format!("{prefix}.usage_in_bytes")),
            ("max", format!("{prefix}.max_usage_in_bytes")),
            ("failcnt", format!("{prefix}.failcnt")),
        ])
    };
    let v2 = |prefix: &str| {
        files.counter([
            ("limit", format!("{prefix}.max")),
            ("usage", format!("{prefix}.current")),
            ("max", format!("{prefix}.peak")),
            ("failcnt", String::new()),
        ])
    };
    let raw = || object(stat.iter().map(|(key, n)| (key.as_str(), Value::from(*n))));
    if files.find("memory.current").is_some() {
        let cache = stat.get("file").copied().unwrap_or(0);
        return object([("cache", cache.into()), ("usage", v2("memory")), ("swap", v2("memory.swap")), ("raw", raw())]);
    }
    let cache = stat.get("total_cache").copied().unwrap_or(0);
    object([
        ("cache", cache.into()),
        ("usage", v1("memory")),
        ("swap", v1("memory.memsw")),
        ("kernel", v1("memory.kmem")),
        ("kernelTCP", v1("memory.kmem.tcp")),
        ("raw", raw()),
    ])
}

fn block_io(files: &Files) -> Value {
    let entry = |device: &str, op: &str, n: u64| {
        let (major, minor) = device.split_once(':')?;
        let (major, minor) = (major.parse::<u64>().ok()?, minor.parse::<u64>().ok()?);
        Some(object([("major", major.into()), ("minor", minor.into()), ("op", op.into()), ("value", n.into())]))
    };
    let v1 = |names: [&str; 2]| {
        let text = names.iter().find_map(|name| files.text(name))?;
        let entries = text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            entry(words.next()?, words.next()?, words.next()?.parse().ok()?)
        });
        Some(Value::Array(entries.collect()))
    };
    let v2 = |keys: [(&str, &str); 2]| {
        let text = files.text("io.stat")?;
        let mut out = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let device = words.next()?;
            for word in words {
                let found = keys.iter().find_map(|(key, op)| Some((op, word.strip_prefix(key)?.strip_prefix('=')?)));
                out.extend(found.and_then(|(op, n)| entry(device, op, n.parse().ok()?)));
            }
        }
        Some(Value::Array(out))
    };
    let bytes = v1(["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"]);
    let serviced = v1(["blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"]);
    let all = [
        ("ioServiceBytesRecursive", bytes.or_else(|| v2([("rbytes", "Read"), ("wbytes", "Write")]))),
        ("ioServicedRecursive", serviced.or_else(|| v2([("rios", "Read"), ("wios", "Write")]))),
    ];
    object(all.into_iter().filter_map(|(key, list)| Some((key, list?))))
}

fn hugetlb(files: &Files) -> Value {
    let mut map = Map::new();
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    for name in sizes.filter_map(|entry| entry.file_name().into_string().ok()) {
        let kilobytes = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB")?.parse::<u64>().ok());
        let Some(size) = kilobytes.map(page_size) else { continue };
        let v1 = [("usage", "usage_in_bytes"), ("max", "max_usage_in_bytes"), ("failcnt", "failcnt")];
        let mut members: Vec<(&str, Value)> = Vec::new();
        for (key, file) in v1 {
            members.extend(files.number(&format!("hugetlb.{size}.{file}")).map(|n| (key, n.into())));
        }
        members.extend(files.number(&format!("hugetlb.{size}.current")).map(|n| ("usage", n.into())));
        let events = files.text(&format!("hugetlb.{size}.events"));
        members.extend(events.and_then(|text| keyed(&text, "max")).map(|n| ("failcnt", n.into())));
        if !members.is_empty() {
            map.insert(size, object(members));
        }
    }
    Value::Object(map)
}

/// As the files of the controller spell it.
fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        n if n >= 1 << 20 => format!("{}GB", n >> 20),
        n if n >= 1 << 10 => format!("{}MB", n >> 10),
        n => format!("{n}KB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files(name: &str, texts: &[(&str, &str)]) -> Files {
        let directory = std::env::temp_dir().join(format!("events-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        texts.iter().for_each(|(name, text)| std::fs::write(directory.join(name), text).unwrap());
        Files(vec![Path::new("/nonexistent").into(), directory])
    }

    #[test]
    fn lists_and_sizes() {
        assert_eq!(ids("0-2,7").to_string(), "[0,1,2,7]");
        assert_eq!(ids("").to_string(), "[]");
        assert_eq!([page_size(2048), page_size(1 << 20), page_size(64)], ["2MB", "1GB", "64KB"]);
    }

    #[test]
    fn files_of_both_versions() {
        let stat = [("file".to_owned(), 5)].into();
        let f = files(
            "v2",
            &[
                ("memory.current", "7\n"),
                ("memory.max", "max\n"),
                ("memory.swap.max", "9\n"),
                ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
            ],
        );
        let limit = u64::MAX;
        let want =
            format!(r#"{{"cache":5,"raw":{{"file":5}},"swap":{{"limit":9}},"usage":{{"limit":{limit},"usage":7}}}}"#);
        assert_eq!(memory(&f, &stat).to_string(), want);
        let io = block_io(&f);
        assert_eq!(io["ioServiceBytesRecursive"][1].to_string(), r#"{"major":8,"minor":0,"op":"Write","value":2}"#);
        assert_eq!(io["ioServicedRecursive"][0]["value"], 3);
        std::fs::remove_dir_all(&f.0[1]).unwrap();
        let f = files(
            "v1",
            &[
                ("memory.limit_in_bytes", "7\n"),
                ("memory.kmem.failcnt", "0\n"),
                ("blkio.throttle.io_serviced", "8:0 Read 3\n8:0 Total 3\nTotal 3\n"),
            ],
        );
        let v1 = memory(&f, &stat);
        assert_eq!((&v1["usage"]["limit"], &v1["kernel"]["failcnt"]), (&7.into(), &0.into()));
        assert_eq!(block_io(&f)["ioServicedRecursive"].as_array().unwrap().len(), 2);
        std::fs::remove_dir_all(&f.0[1]).unwrap();
    }
}
