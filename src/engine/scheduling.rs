//! How the kernel schedules a process: its policy (sched(7)), its priority for input and output (ioprio_set(2)), the
//! processors that it may use, its memory nodes (set_mempolicy(2)) and its execution domain (personality(2)).

use crate::api::oci::runtime::{CpuAffinity, IoPriority, Linux, MemoryPolicy, Process, Scheduler};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::id_list;
use crate::utils::sys::sched::{self, Attributes};
use libc::c_ulong;

/// Policies by number.
const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];
const FIFO: u32 = 1;
const RR: u32 = 2;
const DEADLINE: u32 = 6;
/// Flags by bit.
const FLAGS: [&str; 7] = [
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];
/// Classes by number.
const CLASSES: [&str; 4] = ["", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
/// Memory policies by number (linux/mempolicy.h).
pub const MEMORY_MODES: [&str; 7] = [
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
/// Flags of memory policies, with their bits.
pub const MEMORY_FLAGS: [(&str, u32); 3] =
    [("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_STATIC_NODES", 1 << 15)];
/// PER_LINUX and PER_LINUX32.
const DOMAINS: [(&str, c_ulong); 2] = [("LINUX", 0), ("LINUX32", 8)];

/// What a process gets by its number, before it runs its program.
#[derive(Debug, Clone, Default)]
pub struct Scheduling {
    attributes: Option<Attributes>,
    io: Option<i32>,
}

/// What a process can give itself only.
#[derive(Debug, Clone, Default)]
pub struct Own {
    domain: Option<c_ulong>,
    memory: Option<(u32, Vec<c_ulong>)>,
}

/// The processors of a further process before and after it enters the container's cgroup.
#[derive(Debug, Clone, Default)]
pub struct Affinity {
    /// Before.
    pub initial: Option<Vec<c_ulong>>,
    /// After.
    pub last: Option<Vec<c_ulong>>,
}

impl Scheduling {
    /// Reads `scheduler` and `ioPriority` of a process.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the member and the rule.
    pub fn parse(process: &Process) -> Result<Scheduling> {
        Ok(Scheduling {
            attributes: process.scheduler.as_ref().map(attributes).transpose().context(|| "scheduler".into())?,
            io: process.io_priority.as_ref().map(io_priority).transpose().context(|| "ioPriority".into())?,
        })
    }

    /// Applies both to process `pid`; 0 is this process.
    ///
    /// # Errors
    /// The failing call.
    pub fn apply(&self, pid: i32) -> Result<()> {
        if let Some(attributes) = &self.attributes {
            let policy = POLICIES[attributes.policy as usize];
            sched::set_attributes(pid, attributes).context(|| format!("sched_setattr({policy})"))?;
        }
        if let Some(io) = self.io {
            sched::set_io_priority(pid, io).context(|| format!("ioprio_set({io:#x})"))?;
        }
        Ok(())
    }
}

fn one_of(what: &str, names: &[&str], word: &str) -> Result<u32> {
    let found = names.iter().position(|name| *name == word && !word.is_empty());
    found.map(|n| n as u32).ok_or_else(|| Error::invalid(format!("unknown {what} {word:?}")))
}

fn attributes(from: &Scheduler) -> Result<Attributes> {
    let policy = one_of("policy", &POLICIES, &from.policy)?;
    let mut flags = 0;
    for word in &from.flags {
        flags |= 1 << one_of("flag", &FLAGS, word)?;
    }
    if !(-20..=19).contains(&from.nice) {
        return Err(Error::invalid(format!("nice {}: want -20 to 19", from.nice)));
    }
    if from.priority != 0 && !matches!(policy, FIFO | RR) {
        return Err(Error::invalid("priority is for SCHED_FIFO and SCHED_RR only"));
    }
    if [from.runtime, from.deadline, from.period] != [0; 3] && policy != DEADLINE {
        return Err(Error::invalid("runtime, deadline and period are for SCHED_DEADLINE only"));
    }
    let priority = u32::try_from(from.priority).map_err(|_| Error::invalid("the priority is negative"))?;
    let (runtime, deadline, period) = (from.runtime, from.deadline, from.period);
    Ok(Attributes { policy, flags, nice: from.nice, priority, runtime, deadline, period, ..Attributes::default() })
}

fn io_priority(from: &IoPriority) -> Result<i32> {
    let class = one_of("class", &CLASSES, &from.class)? as i32;
    match from.priority {
        0..=7 => Ok(class << 13 | from.priority),
        other => Err(Error::invalid(format!("priority {other}: want 0 to 7"))),
    }
}

impl Own {
    /// Reads `personality` and `memoryPolicy`.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the member and the rule; `Kind::Unsupported` for flags of execution domains.
    pub fn parse(linux: &Linux) -> Result<Own> {
        let mut own = Own::default();
        if let Some(personality) = &linux.personality {
            if !personality.flags.is_empty() {
                return Err(Error::new(Kind::Unsupported, "personality: flags are not supported"));
            }
            let domain = &personality.domain;
            let found = DOMAINS.iter().find(|(name, _)| name == domain).map(|(_, number)| *number);
            own.domain = Some(found.ok_or_else(|| Error::invalid(format!("personality: unknown domain {domain:?}")))?);
        }
        own.memory = linux.memory_policy.as_ref().map(memory_policy).transpose().context(|| "memoryPolicy".into())?;
        Ok(own)
    }

    /// Applies them to this process.
    ///
    /// # Errors
    /// The failing call.
    pub fn apply(&self) -> Result<()> {
        if let Some((mode, nodes)) = &self.memory {
            sched::set_memory_policy(*mode, nodes).context(|| format!("set_mempolicy({mode:#x})"))?;
        }
        if let Some(domain) = self.domain {
            sched::set_personality(domain).context(|| format!("personality({domain})"))?;
        }
        Ok(())
    }
}

fn memory_policy(from: &MemoryPolicy) -> Result<(u32, Vec<c_ulong>)> {
    let mut mode = one_of("mode", &MEMORY_MODES, &from.mode)?;
    for word in &from.flags {
        let flag = MEMORY_FLAGS.iter().find(|(name, _)| name == word);
        mode |= flag.ok_or_else(|| Error::invalid(format!("unknown flag {word:?}")))?.1;
    }
    if from.nodes.is_empty() {
        return Ok((mode, Vec::new()));
    }
    let nodes = id_list::parse(&from.nodes);
    let nodes = nodes.ok_or_else(|| Error::invalid(format!("nodes {:?}: want a list such as 0-1,3", from.nodes)))?;
    Ok((mode, id_list::mask(&nodes)))
}

impl Affinity {
    /// Reads `execCPUAffinity` of a process.
    ///
    /// # Errors
    /// `Kind::Invalid` naming the member and the list.
    pub fn parse(from: Option<&CpuAffinity>) -> Result<Affinity> {
        let Some(from) = from else { return Ok(Affinity::default()) };
        let list = |word: &str, text: &str| match (text, id_list::parse(text)) {
            ("", _) => Ok(None),
            (_, Some(set)) => Ok(Some(id_list::mask(&set))),
            (_, None) => Err(Error::invalid(format!("execCPUAffinity: {word} {text:?}: want a list such as 0-1,3"))),
        };
        Ok(Affinity { initial: list("initial", &from.initial)?, last: list("final", &from.last)? })
    }
}

/// Binds this process to processors, when any are named.
///
/// # Errors
/// The failing call: EINVAL when none of them is online or in the cgroup's set.
pub fn bind(mask: Option<&Vec<c_ulong>>) -> Result<()> {
    mask.map_or(Ok(()), |mask| sched::set_affinity(mask).context(|| "sched_setaffinity()".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::runtime::Personality;

    fn scheduler(policy: &str) -> Scheduler {
        Scheduler { policy: policy.into(), ..Scheduler::default() }
    }

    #[test]
    fn policies_and_their_rules() {
        let fine = attributes(&Scheduler {
            priority: 7,
            flags: vec!["SCHED_FLAG_RESET_ON_FORK".into(), "SCHED_FLAG_DL_OVERRUN".into()],
            ..scheduler("SCHED_RR")
        });
        let fine = fine.unwrap();
        assert_eq!((fine.policy, fine.priority, fine.flags), (2, 7, 5));
        for (bad, text) in [
            (scheduler(""), "unknown policy"),
            (scheduler("SCHED_X"), "unknown policy \"SCHED_X\""),
            (Scheduler { nice: 20, ..scheduler("SCHED_OTHER") }, "-20 to 19"),
            (Scheduler { priority: 1, ..scheduler("SCHED_OTHER") }, "SCHED_FIFO and SCHED_RR only"),
            (Scheduler { priority: -1, ..scheduler("SCHED_RR") }, "negative"),
            (Scheduler { period: 1, ..scheduler("SCHED_RR") }, "SCHED_DEADLINE only"),
            (Scheduler { flags: vec!["x".into()], ..scheduler("SCHED_RR") }, "unknown flag \"x\""),
        ] {
            let e = attributes(&bad).unwrap_err().to_string();
            assert!(e.contains(text), "{e}");
        }
    }

    #[test]
    fn priorities_of_input_and_output() {
        let of = |class: &str, priority| io_priority(&IoPriority { class: class.into(), priority });
        assert_eq!(of("IOPRIO_CLASS_BE", 4).unwrap(), 2 << 13 | 4);
        for bad in [of("", 0), of("IOPRIO_CLASS_X", 0), of("IOPRIO_CLASS_RT", 8), of("IOPRIO_CLASS_RT", -1)] {
            assert!(bad.is_err());
        }
    }

    #[test]
    fn domains_and_memory() {
        let with = |domain: &str, mode: &str, nodes: &str| {
            let personality = Personality { domain: domain.into(), flags: Vec::new() };
            let policy =
                MemoryPolicy { mode: mode.into(), nodes: nodes.into(), flags: vec!["MPOL_F_STATIC_NODES".into()] };
            Own::parse(&Linux { personality: Some(personality), memory_policy: Some(policy), ..Linux::default() })
        };
        let own = with("LINUX32", "MPOL_BIND", "0-1").unwrap();
        assert_eq!((own.domain, own.memory), (Some(8), Some((2 | 1 << 15, vec![3]))));
        for (bad, text) in [
            (with("SOLARIS", "MPOL_BIND", "0"), "unknown domain"),
            (with("LINUX", "MPOL_X", "0"), "memoryPolicy: unknown mode"),
            (with("LINUX", "MPOL_BIND", "x"), "memoryPolicy: nodes"),
        ] {
            let e = bad.unwrap_err().to_string();
            assert!(e.contains(text), "{e}");
        }
    }

    #[test]
    fn processors() {
        let affinity = Affinity::parse(Some(&CpuAffinity { initial: "0".into(), last: String::new() })).unwrap();
        assert_eq!((affinity.initial, affinity.last), (Some(vec![1]), None));
        assert!(Affinity::parse(Some(&CpuAffinity { initial: "x".into(), last: String::new() })).is_err());
    }
}
