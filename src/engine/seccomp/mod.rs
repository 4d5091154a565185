//! System call filters: from the configuration's rules to a BPF program (seccomp(2)).
//!
//! Where the OCI runtime specification is silent, what the other runtimes do with libseccomp holds:
//! - A rule without conditions beats rules with conditions for the same call; of two without, the first wins. Of rules
//!   with conditions, the first in the document that holds wins.
//! - A rule with the same action as the default says nothing.
//! - Conditions of one rule must all hold, unless two of them are about the same argument: then each is a rule of its
//!   own (any may hold). Profiles rely on this.
//! - Where arguments are 32 bits wide (x86, x32, arm) only that half is compared.
//! - A call of an architecture that the document does not list kills the process.
//! - When the default is to fail with EPERM, calls newer than the newest one that the document names fail with ENOSYS:
//!   C libraries then use the older call, which they would not after EPERM.
//! - Without flags in the document, SPEC_ALLOW is used where the kernel has it (a filter otherwise costs every process
//!   before Linux 5.16 the mitigations against speculative store bypass).

pub mod agent;
mod filter;
mod table;
#[cfg(test)]
mod tests;

use crate::api::oci::runtime::{Seccomp, SeccompArg, SeccompSyscall};
use crate::error::{Error, Result};
use crate::utils::order;
use crate::utils::sys::seccomp::{self as sys, Instruction};
use filter::{Architecture, Clause, Comparison, Condition, Leaf, Span};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// A compiled program.
#[derive(Debug)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
    /// Whether a kernel that does not know the flags may go without them.
    flags_are_optional: bool,
}

/// Compiles `seccomp` for the architecture this binary was built for and its sub-architectures. Unknown system calls
/// are skipped (OCI runtime specification, config-linux.md, Seccomp).
///
/// # Errors
/// `Kind::Invalid` naming an unknown action, architecture, operator or flag, or a program that is too long.
pub fn compile(seccomp: &Seccomp) -> Result<Program> {
    let default = action(&seccomp.default_action, seccomp.default_errno_ret)?;
    let mut rules = Vec::with_capacity(seccomp.syscalls.len());
    for rule in &seccomp.syscalls {
        let action = action(&rule.action, rule.errno_ret)?;
        rules.push(Rule { action, clauses: clauses(rule, action)? });
    }
    let mut columns = [true; NATIVE.len()]; // of which the document wants rules
    for (n, wanted) in columns.iter_mut().enumerate().skip(1) {
        *wanted = seccomp.architectures.iter().any(|a| a == NATIVE[n].name);
    }
    for name in &seccomp.architectures {
        if !ARCHITECTURES.iter().any(|known| name.strip_prefix("SCMP_ARCH_") == Some(known)) {
            return Err(Error::invalid(format!("unknown seccomp architecture {name:?}")));
        }
    }
    let calls = resolve(seccomp);
    let mut blocks: Vec<(u32, Vec<Span>)> = Vec::with_capacity(NATIVE.len());
    for (column, _) in columns.iter().enumerate().filter(|(_, wanted)| **wanted) {
        let audit = NATIVE[column].audit;
        let at = blocks.iter().position(|(known, _)| *known == audit).unwrap_or_else(|| {
            blocks.push((audit, Vec::with_capacity(calls.len())));
            blocks.len() - 1
        });
        spans(&rules, &calls, default, column, &mut blocks[at].1);
    }
    let instructions = filter::assemble(blocks, default);
    if instructions.len() > filter::MAX_INSTRUCTIONS {
        return Err(Error::invalid(format!(
            "the seccomp rules need {} instructions, the kernel takes at most {}",
            instructions.len(),
            filter::MAX_INSTRUCTIONS
        )));
    }
    let notifies = rules.iter().any(|rule| rule.action == filter::RET_USER_NOTIF);
    if default == filter::RET_USER_NOTIF {
        // The listener could never be handed over: sendmsg(2) itself would wait for it.
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be the default seccomp action"));
    }
    if notifies {
        agent::check(seccomp)?;
    }
    let mut flags = if notifies { sys::NEW_LISTENER } else { 0 };
    for name in &seccomp.flags {
        let found = FLAGS.iter().find(|(known, _)| known == name);
        match found.ok_or_else(|| Error::invalid(format!("unknown seccomp flag {name:?}")))?.1 {
            // A listener and TSYNC exclude each other, and there is one thread only when the filter is loaded.
            sys::TSYNC if notifies => {}
            sys::WAIT_KILLABLE_RECV if !notifies => {
                return Err(Error::invalid(format!("{name} needs a rule with SCMP_ACT_NOTIFY")));
            }
            flag => flags |= flag,
        }
    }
    let flags_are_optional = seccomp.flags.is_empty();
    if flags_are_optional {
        flags |= sys::SPEC_ALLOW;
    }
    Ok(Program { instructions, flags, flags_are_optional })
}

impl Program {
    /// Loads the program into the calling process. Makes no allocation. Needs CAP_SYS_ADMIN or no_new_privs. Gives the
    /// listener's descriptor, close-on-exec, when a rule asks an agent.
    ///
    /// # Errors
    /// The errno of seccomp(2).
    pub fn install(&self) -> std::result::Result<Option<OwnedFd>, i32> {
        match sys::set_filter(&self.instructions, self.flags) {
            Err(libc::EINVAL) if self.flags_are_optional => {
                sys::set_filter(&self.instructions, self.flags & !sys::SPEC_ALLOW)
            }
            result => result,
        }
    }

    /// Number of BPF instructions.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Never: even an empty document has a default action.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }
}

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Words of the specification that this build understands, for `features`.
pub const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    NOTIFY,
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
/// As [`ACTIONS`].
pub const OPERATORS: &[&str] =
    &["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];
/// As [`ACTIONS`].
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", sys::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", sys::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", sys::TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", sys::WAIT_KILLABLE_RECV),
];

/// Those of [`FLAGS`] that the running kernel takes.
pub fn supported_flags() -> impl Iterator<Item = &'static str> {
    // Without a listener the last one means nothing, and the kernel refuses it.
    let with = |flag| if flag == sys::WAIT_KILLABLE_RECV { flag | sys::NEW_LISTENER } else { flag };
    FLAGS.iter().filter(move |(_, flag)| sys::is_known(with(*flag))).map(|(name, _)| *name)
}

/// The architectures that this build makes rules for: the native one and those whose programs it also runs.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    NATIVE.iter().map(|a| a.name)
}

/// All architectures of the specification, without their prefix: a document may list more than this build needs.
const ARCHITECTURES: &[&str] = &[
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
    "M68K",
    "SH",
    "SHEB",
];

/// By column of the table. The second field is AUDIT_ARCH_… of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const NATIVE: [Architecture; 3] = [
    Architecture { name: "SCMP_ARCH_X86_64", audit: 0xc000_003e, base: 0, wide: true },
    Architecture { name: "SCMP_ARCH_X86", audit: 0x4000_0003, base: 0, wide: false },
    Architecture { name: "SCMP_ARCH_X32", audit: 0xc000_003e, base: filter::X32_BIT, wide: false },
];
#[cfg(target_arch = "aarch64")]
const NATIVE: [Architecture; 2] = [
    Architecture { name: "SCMP_ARCH_AARCH64", audit: 0xc000_00b7, base: 0, wide: true },
    Architecture { name: "SCMP_ARCH_ARM", audit: 0x4000_0028, base: 0, wide: false },
];
#[cfg(target_arch = "arm")]
const NATIVE: [Architecture; 1] = [Architecture { name: "SCMP_ARCH_ARM", audit: 0x4000_0028, base: 0, wide: false }];
#[cfg(target_arch = "riscv64")]
const NATIVE: [Architecture; 1] = [Architecture { name: "SCMP_ARCH_RISCV64", audit: 0xc000_00f3, base: 0, wide: true }];

/// The return value for an action's name.
fn action(name: &str, errno: Option<u32>) -> Result<u32> {
    let data = errno.unwrap_or(libc::EPERM as u32);
    Ok(match name {
        "SCMP_ACT_ALLOW" => filter::RET_ALLOW,
        "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE" if data > MAX_ERRNO => {
            return Err(Error::invalid(format!("errnoRet {data} of {name} is above {MAX_ERRNO}")));
        }
        "SCMP_ACT_ERRNO" => filter::RET_ERRNO | data,
        "SCMP_ACT_TRACE" => filter::RET_TRACE | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => filter::RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => filter::RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => filter::RET_TRAP,
        "SCMP_ACT_LOG" => filter::RET_LOG,
        NOTIFY => filter::RET_USER_NOTIF,
        _ => return Err(Error::invalid(format!("unknown seccomp action {name:?}"))),
    })
}

/// The largest errno that the kernel hands out (`linux/err.h`).
const MAX_ERRNO: u32 = 4095;

fn condition(arg: &SeccompArg) -> Result<Condition> {
    let index = u8::try_from(arg.index).ok().filter(|&i| i < 6);
    let index = index.ok_or_else(|| Error::invalid(format!("seccomp argument index {} is above 5", arg.index)))?;
    let comparison = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Comparison::Equal,
        "SCMP_CMP_NE" => Comparison::NotEqual,
        "SCMP_CMP_LT" => Comparison::Less,
        "SCMP_CMP_LE" => Comparison::LessEqual,
        "SCMP_CMP_GT" => Comparison::Greater,
        "SCMP_CMP_GE" => Comparison::GreaterEqual,
        "SCMP_CMP_MASKED_EQ" => {
            let (mask, value) = (arg.value, arg.value_two & arg.value);
            return Ok(Condition { index, comparison: Comparison::MaskedEqual(mask), value });
        }
        op => return Err(Error::invalid(format!("unknown seccomp operator {op:?}"))),
    };
    Ok(Condition { index, comparison, value: arg.value })
}

/// The clauses of a rule with conditions: one, or one per condition (see the module's page). None without conditions.
fn clauses(rule: &SeccompSyscall, action: u32) -> Result<Vec<Clause>> {
    let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>>>()?;
    let twice = conditions.iter().enumerate().any(|(n, c)| conditions[..n].iter().any(|d| d.index == c.index));
    Ok(match conditions.len() {
        0 => Vec::new(),
        _ if twice => conditions.into_iter().map(|c| Clause { conditions: vec![c], action }).collect(),
        _ => vec![Clause { conditions, action }],
    })
}

/// A rule of the document.
struct Rule {
    action: u32,
    /// Empty: whatever the arguments.
    clauses: Vec<Clause>,
}

/// A name of a rule.
struct Named {
    /// Of the table.
    row: u16,
    rule: u32,
}

/// The names of all rules that are in the table, in order.
fn resolve(seccomp: &Seccomp) -> Vec<Named> {
    let mut calls = Vec::with_capacity(seccomp.syscalls.iter().map(|rule| rule.names.iter().count()).sum());
    for (n, rule) in seccomp.syscalls.iter().enumerate() {
        let rows = rule.names.iter().filter_map(table::find);
        calls.extend(rows.map(|row| Named { row: row as u16, rule: n as u32 }));
    }
    calls
}

/// What one rule says about one number, in the order of numbers and then of rules: 24 bits for the number, of which the
/// kernel's need 20, 32 for the rule, and 8 that select the call behind a multiplexer, 0 for the call itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Said(u64);

impl Said {
    fn new(number: u32, rule: u32, selector: u8) -> Said {
        Said(u64::from(number) << 40 | u64::from(rule) << 8 | u64::from(selector))
    }

    fn number(self) -> u32 {
        (self.0 >> 40) as u32
    }

    fn rule(self, rules: &[Rule]) -> &Rule {
        &rules[(self.0 >> 8) as u32 as usize]
    }

    fn selector(self) -> u8 {
        self.0 as u8
    }
}

/// Appends what happens to each number of one architecture, in ascending spans that cover all numbers.
fn spans(rules: &[Rule], calls: &[Named], default: u32, column: usize, out: &mut Vec<Span>) {
    let architecture = &NATIVE[column];
    let multiplexed = (architecture.name == "SCMP_ARCH_X86").then(multiplexed);
    let mut said = Vec::with_capacity(calls.len() + calls.len() / 8);
    let mut newest = None;
    for &Named { row, rule } in calls {
        let of = &rules[rule as usize];
        let speaks = of.action != default;
        if speaks
            && of.clauses.is_empty()
            && let Some(&(multiplexer, selector)) = multiplexed.as_ref().and_then(|m| m.get(&row))
        {
            said.push(Said::new(multiplexer, rule, selector));
        }
        let Some(number) = table::number(row.into(), column) else { continue };
        if number < PRIVATE_CALLS {
            newest = newest.max(Some(number));
        }
        if speaks {
            said.push(Said::new(number, rule, 0));
        }
    }
    order::sort(&mut said);
    let unnamed = |number: u32| match newest {
        Some(newest) if default == EPERM && number > newest && !(is_arm(column) && number >= PRIVATE_CALLS) => {
            Leaf::Return(filter::RET_ERRNO | libc::ENOSYS as u32)
        }
        _ => Leaf::Return(default),
    };
    let mut push = |number: u32, leaf: Leaf| {
        filter::push(out, Span { start: architecture.base + number, wide: architecture.wide, leaf });
    };
    push(0, unnamed(0));
    let mut end = 0;
    for group in said.chunk_by(|a, b| a.number() == b.number()) {
        let number = group[0].number();
        if number > PRIVATE_CALLS {
            push(PRIVATE_CALLS, unnamed(PRIVATE_CALLS));
        }
        let unconditional = group.iter().find(|s| s.selector() == 0 && s.rule(rules).clauses.is_empty());
        let leaf = match unconditional {
            Some(s) => Leaf::Return(s.rule(rules).action),
            None => Leaf::Clauses(group.iter().flat_map(|s| clauses_of(s.rule(rules), s.selector())).collect()),
        };
        push(number, leaf);
        end = number + 1;
        push(end, unnamed(end));
    }
    if let Some(newest) = newest.filter(|newest| end <= *newest) {
        // The newest is named with the default action, which made no span.
        push(newest + 1, unnamed(newest + 1));
    }
}

fn clauses_of(rule: &Rule, selector: u8) -> Vec<Clause> {
    match selector {
        0 => rule.clauses.clone(),
        selector => {
            let condition = Condition { index: 0, comparison: Comparison::Equal, value: u64::from(selector) };
            vec![Clause { conditions: vec![condition], action: rule.action }]
        }
    }
}

const EPERM: u32 = filter::RET_ERRNO | libc::EPERM as u32;
/// First of arm's private calls, which are no newer than others.
const PRIVATE_CALLS: u32 = 0x0f_0000;

fn is_arm(column: usize) -> bool {
    NATIVE[column].name == "SCMP_ARCH_ARM"
}

/// For x86, whose C libraries reach sockets and System V IPC through socketcall(2) and ipc(2) too: by row, the number of
/// the multiplexer and the value of its first argument (`linux/net.h`, `linux/ipc.h`). A rule that looks at arguments
/// cannot be carried over: they are in memory.
fn multiplexed() -> BTreeMap<u16, (u32, u8)> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    const SOCKET_CALLS: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC_CALLS: [(&str, u8); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let sockets = SOCKET_CALLS.iter().zip(1..).map(|(name, n)| (*name, (SOCKETCALL, n)));
    let ipc = IPC_CALLS.iter().map(|(name, n)| (*name, (IPC, *n)));
    order::map(sockets.chain(ipc).filter_map(|(name, call)| Some((table::find(name)? as u16, call))))
}
