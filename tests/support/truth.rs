//! Whether what a daemon lists is what the kernel has: processes, their start times, cgroups, shims, directories.

use super::bed::{Bed, engines, json};
use super::{eventually, leaks};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

/// A process that lives, as the kernel has it.
struct Process {
    parent: u32,
    name: String,
    /// In clock ticks since boot.
    start_time: u64,
    cgroup: String,
}

/// Everything that lives on the machine.
fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter_map(|pid| Some((pid, process(pid)?))).collect()
}

/// `None` for one that has ended, waited for or not.
fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    // proc_pid_stat(5): the state is field 3, the parent field 4, the start time field 22.
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields[0], "Z" | "X") {
        return None;
    }
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    Some(Process { parent: fields[1].parse().ok()?, name, start_time: fields[19].parse().ok()?, cgroup })
}

/// A running container of a listing.
pub struct Runner {
    pub id: String,
    /// First process.
    pub init: u32,
    pub shim: u32,
}

/// The containers that run now. Those that end meanwhile are left out.
pub fn runners(bed: &Bed) -> Vec<Runner> {
    let list = bed.get("/v1.44/containers/json").expect(200).json();
    let ids = list.as_array().expect("a list").iter().filter_map(|c| c["Id"].as_str().map(str::to_owned));
    let runner = |id: String| {
        let init = bed.get(&format!("/v1.44/containers/{id}/json")).json()["State"]["Pid"].as_u64()? as u32;
        Some(Runner { init, shim: process(init).filter(|p| p.cgroup.contains(&id))?.parent, id })
    };
    ids.filter_map(runner).collect()
}

/// Waits until the listing is the truth. Nobody else may give commands meanwhile.
#[track_caller]
pub fn await_truth(bed: &Bed) {
    let last = Mutex::new(Vec::new());
    let holds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the listing is the truth", || {
            let lies = lies(bed);
            let none = lies.is_empty();
            *last.lock().expect("one thread") = lies;
            none
        })
    }));
    let lies = last.into_inner().expect("one thread");
    assert!(holds.is_ok(), "the daemon lists what is not so:\n  {}", lies.join("\n  "));
}

/// What is listed and is not so, and what is there and not listed. Containers that start or end meanwhile show up too.
fn lies(bed: &Bed) -> Vec<String> {
    // Who reaps orphans must: a process that nobody has waited for keeps its number.
    leaks::children();
    let mut lies = Vec::new();
    let list = bed.get("/v1.44/containers/json?all=1").expect(200).json();
    let list = list.as_array().expect("a list");
    let processes = processes();
    let mut listed = BTreeSet::new();
    let mut inits = BTreeSet::new();
    for row in list {
        let id = row["Id"].as_str().expect("an id");
        listed.insert(id.to_owned());
        let answer = bed.get(&format!("/v1.44/containers/{id}/json"));
        if answer.status != 200 {
            lies.push(format!("{id} is listed, and inspect says {} {}", answer.status, answer.text()));
            continue;
        }
        let container = answer.json();
        let state = &container["State"];
        if let Some(lie) = state_lie(bed, id, state, &processes) {
            lies.push(format!("{id} {}: {lie}; {state}", container["Name"]));
        }
        if row["State"] != shown(state) {
            lies.push(format!("{id} is {} to ps and {} to inspect", row["State"], shown(state)));
        }
        inits.extend(state["Pid"].as_u64().filter(|pid| *pid > 0).map(|pid| pid as u32));
    }
    // Below the parent cgroup there is one for each container that runs, and no other process than theirs.
    let running = |id: &str| list.iter().any(|c| c["Id"] == id && (c["State"] == "running" || c["State"] == "paused"));
    for line in leaks::cgroups(&bed.cgroup_parent()) {
        let known = line.split('/').any(running);
        if !known {
            lies.push(format!("{line} belongs to no running container"));
        }
    }
    // Shims are children of the daemon that started them, or ours when that was killed.
    let (daemon, me) = (bed.pid(), std::process::id());
    for (pid, process) in &processes {
        let ours = process.parent == daemon || process.parent == me;
        if ours && process.name == "isulad-shim" && !inits.iter().any(|init| parent(&processes, *init) == Some(*pid)) {
            lies.push(format!("{} is a shim without a container", leaks::describe(*pid)));
        }
    }
    let on_disk: BTreeSet<String> = engines(&bed.graph()).into_iter().collect();
    lies.extend(on_disk.symmetric_difference(&listed).map(|id| format!("{id} is on disk or listed, not both")));
    let volatile = fs::read_dir(bed.state().join("lcr")).into_iter().flatten().flatten();
    for entry in volatile {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !running(&name) {
            lies.push(format!("{} is the run state of what does not run", entry.path().display()));
        }
    }
    lies
}

fn parent(processes: &BTreeMap<u32, Process>, pid: u32) -> Option<u32> {
    processes.get(&pid).map(|p| p.parent)
}

/// The word that listings have for a state.
fn shown(state: &Value) -> &str {
    match state["Status"].as_str().expect("a status") {
        "inited" => "created",
        status => status,
    }
}

/// What is wrong with one container's state.
fn state_lie(bed: &Bed, id: &str, state: &Value, processes: &BTreeMap<u32, Process>) -> Option<String> {
    let pid = state["Pid"].as_u64().expect("a number") as u32;
    let within: Vec<u32> = processes.iter().filter(|(_, p)| p.cgroup.contains(id)).map(|(pid, _)| *pid).collect();
    // As docker has it, what waits for its restart runs.
    if state["Running"] != true || state["Restarting"] == true && pid == 0 {
        let lie = if pid != 0 {
            format!("it does not run as process {pid}")
        } else if let Some(left) = within.first() {
            format!("it does not run, and {} is in its cgroup", leaks::describe(*left))
        } else {
            return None;
        };
        return Some(lie);
    }
    let Some(init) = processes.get(&pid) else { return Some(format!("process {pid} is not there")) };
    if !init.cgroup.contains(id) {
        return Some(format!("process {pid} is another one's, in {}", init.cgroup));
    }
    let note = fs::read(bed.state().join("lcr").join(id).join("container_state.json"));
    let noted = note.map(|bytes| json(&bytes)["StartTime"].as_u64());
    if !matches!(noted, Ok(Some(time)) if time == init.start_time) {
        return Some(format!("process {pid} started at {}, noted is {noted:?}", init.start_time));
    }
    match process(init.parent) {
        Some(shim) if shim.name == "isulad-shim" => None,
        _ => Some(format!("the parent of its process is {}, no shim", leaks::describe(init.parent))),
    }
}
