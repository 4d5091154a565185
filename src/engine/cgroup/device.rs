//! Which devices a container may make (`m`), read and write: the lists of version 1, a BPF program on version 2.
//!
//! Rules are taken in order and the last one that is about a device decides, bit by bit. Before the first rule nothing
//! is allowed. Version 1 cannot express every such list: it has a default and exceptions, and one exception takes away
//! only what an equal one gave. What it cannot express is refused, not weakened.

use crate::api::oci::runtime::DeviceRule;
use crate::error::{Error, Kind, Result};
use crate::utils::sys::bpf::{self, Instruction};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// A set of devices; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Devices {
    block: bool,
    major: Option<i32>,
    minor: Option<i32>,
}

/// A rule about block or character devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    devices: Devices,
    access: u8,
    allow: bool,
}

/// A list of rules in its normal form: what holds for all devices, then rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    allow_all: bool,
    rules: Vec<Rule>,
}

/// Devices that every container has (OCI runtime specification, config-linux.md, Default Devices), and making nodes,
/// which gives no access yet. They stand in front of the document's own rules, which may take them away.
const DEFAULTS: [(bool, Option<i32>, Option<i32>, u8); 10] = [
    (false, None, None, MKNOD),
    (true, None, None, MKNOD),
    (false, Some(1), Some(3), ALL), // null
    (false, Some(1), Some(5), ALL), // zero
    (false, Some(1), Some(7), ALL), // full
    (false, Some(1), Some(8), ALL), // random
    (false, Some(1), Some(9), ALL), // urandom
    (false, Some(5), Some(0), ALL), // tty
    (false, Some(5), Some(2), ALL), // ptmx
    (false, Some(136), None, ALL),  // pts
];

impl Policy {
    /// From the document's rules.
    ///
    /// # Errors
    /// `Kind::Invalid` naming what is wrong with a rule.
    pub fn new(list: &[DeviceRule]) -> Result<Policy> {
        let mut policy = Policy { allow_all: false, rules: Vec::new() };
        policy.push_defaults();
        for rule in list {
            let access = access(&rule.access)?;
            let (major, minor) = (number(rule.major)?, number(rule.minor)?);
            let blocks: &[bool] = match rule.kind.as_str() {
                "" | "a" if major.is_none() && minor.is_none() && access == ALL => {
                    policy = Policy { allow_all: rule.allow, rules: Vec::new() };
                    if !rule.allow {
                        policy.push_defaults();
                    }
                    continue;
                }
                "" | "a" => &[false, true],
                "c" | "u" => &[false],
                "b" => &[true],
                other => return Err(Error::invalid(format!("device type {other:?} is none of a, b, c"))),
            };
            for &block in blocks {
                policy.rules.push(Rule { devices: Devices { block, major, minor }, access, allow: rule.allow });
            }
        }
        Ok(policy)
    }

    fn push_defaults(&mut self) {
        for (block, major, minor, access) in DEFAULTS {
            self.rules.push(Rule { devices: Devices { block, major, minor }, access, allow: true });
        }
    }

    /// The exceptions of version 1 to `allow_all`, merged.
    ///
    /// # Errors
    /// `Kind::Unsupported` when a rule takes back part of what a wider one gave.
    pub fn exceptions(&self) -> Result<Exceptions> {
        let mut list: Vec<(Devices, u8)> = Vec::new();
        for rule in &self.rules {
            if rule.allow != self.allow_all {
                match list.iter_mut().find(|(devices, _)| *devices == rule.devices) {
                    Some((_, access)) => *access |= rule.access,
                    None => list.push((rule.devices, rule.access)),
                }
                continue;
            }
            for (devices, access) in &mut list {
                if *access & rule.access == 0 || !devices.meets(&rule.devices) {
                    continue;
                }
                if !rule.devices.covers(devices) {
                    if *access & rule.access == MKNOD {
                        continue; // a node alone gives no access: reading and writing are what counts
                    }
                    let verb = if rule.allow { "allowed" } else { "denied" };
                    return Err(Error::new(
                        Kind::Unsupported,
                        format!(
                            "cgroup v1 cannot express the device rule \"{} {}\", {verb} within \"{} {}\"",
                            rule.devices,
                            Access(rule.access),
                            devices,
                            Access(*access)
                        ),
                    ));
                }
                *access &= !rule.access;
            }
            list.retain(|(_, access)| *access != 0);
        }
        Ok(Exceptions { allow_all: self.allow_all, list })
    }

    /// The program of version 2. It gets `struct bpf_cgroup_dev_ctx` and returns whether the access is allowed.
    pub fn program(&self) -> Vec<Instruction> {
        // r0 result, r1 context, r2 type, r3 bits that no rule has decided yet, r4 major, r5 minor, r6 scratch.
        let mut out = vec![
            instruction(LOAD_WORD, 2, 1, 0, 0),
            instruction(MOVE_REGISTER, 3, 2, 0, 0),
            instruction(AND, 2, 0, 0, 0xffff),
            instruction(SHIFT_RIGHT, 3, 0, 0, 16),
            instruction(LOAD_WORD, 4, 1, 4, 0),
            instruction(LOAD_WORD, 5, 1, 8, 0),
        ];
        for rule in self.rules.iter().rev() {
            let start = out.len();
            // BPF_DEVCG_DEV_BLOCK and _CHAR.
            out.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, if rule.devices.block { 1 } else { 2 }));
            for (register, number) in [(4, rule.devices.major), (5, rule.devices.minor)] {
                if let Some(number) = number {
                    out.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number));
                }
            }
            if rule.allow {
                out.push(instruction(AND, 3, 0, 0, i32::from(!rule.access & ALL)));
                out.push(instruction(JUMP_NOT_EQUAL, 3, 0, 0, 0));
            } else {
                out.push(instruction(MOVE_REGISTER, 6, 3, 0, 0));
                out.push(instruction(AND, 6, 0, 0, i32::from(rule.access)));
                out.push(instruction(JUMP_EQUAL, 6, 0, 0, 0));
            }
            out.extend(verdict(rule.allow));
            let end = out.len();
            for (n, i) in out.iter_mut().enumerate().skip(start) {
                if matches!(i.code, JUMP_EQUAL | JUMP_NOT_EQUAL) {
                    i.offset = (end - n - 1) as i16; // at most 8 instructions
                }
            }
        }
        out.extend(verdict(self.allow_all));
        out
    }

    /// Puts the policy into force on a cgroup of version 2, in place of one that [`Policy::attach`] put there before.
    ///
    /// # Errors
    /// `Kind::Unsupported` where the kernel lacks such programs; otherwise the failing call.
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<()> {
        let code = self.program();
        let program = load(&code).map_err(|e| match e.errno() {
            Some(libc::EINVAL | libc::ENOSYS) => {
                let text = "device rules need BPF programs on cgroups (CONFIG_CGROUP_BPF, Linux 4.15)";
                e.context(text).with_kind(Kind::Unsupported)
            }
            _ => e.context("device rules"),
        })?;
        let old = bpf::device_programs(cgroup)?;
        if let [only] = &old[..]
            && bpf::attach_device_program(cgroup, program.as_fd(), Some(only.as_fd())).is_ok()
        {
            return Ok(());
        }
        // Before Linux 5.6: for a moment both must allow.
        bpf::attach_device_program(cgroup, program.as_fd(), None)?;
        for program in old {
            bpf::detach_device_program(cgroup, program.as_fd())?;
        }
        Ok(())
    }
}

fn load(code: &[Instruction]) -> Result<std::os::fd::OwnedFd> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    match bpf::load_device_program(code) {
        // Before Linux 5.11 programs count as locked memory of this process.
        Err(e) if e.errno() == Some(libc::EPERM) => {
            let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return Err(e) };
            let more = 64 << 20;
            if setrlimit(Resource::RLIMIT_MEMLOCK, soft.max(more), hard.max(more)).is_err() {
                return Err(e);
            }
            let result = bpf::load_device_program(code);
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard); // lowering to what it was cannot fail
            result
        }
        result => result,
    }
}

/// The lists of version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceptions {
    allow_all: bool,
    list: Vec<(Devices, u8)>,
}

impl Exceptions {
    /// What to write to `devices.allow` (true) and `devices.deny` (false), in order, on a new cgroup.
    pub fn writes(&self) -> Vec<(bool, String)> {
        let mut out = vec![(self.allow_all, "a".to_owned())];
        out.extend(self.list.iter().map(|(d, a)| (!self.allow_all, format!("{d} {}", Access(*a)))));
        out
    }

    /// The same on a live cgroup whose `devices.list` reads `current`: only what differs, new permissions first, so
    /// that no access which was and stays allowed fails meanwhile.
    pub fn changes(&self, current: &str) -> Vec<(bool, String)> {
        let mut now: Vec<(Devices, u8)> = Vec::new();
        for line in current.lines() {
            let Some(exception) = exception(line) else { return self.writes() }; // "a *:* rwm": other default
            now.push(exception);
        }
        if self.allow_all || now.is_empty() {
            return self.writes();
        }
        let extra = |of: &[(Devices, u8)], over: &[(Devices, u8)], allow: bool, out: &mut Vec<(bool, String)>| {
            for (devices, access) in of {
                let other = over.iter().find(|(d, _)| d == devices).map_or(0, |(_, a)| *a);
                if access & !other != 0 {
                    out.push((allow, format!("{devices} {}", Access(access & !other))));
                }
            }
        };
        let mut out = Vec::new();
        extra(&self.list, &now, true, &mut out);
        extra(&now, &self.list, false, &mut out);
        out
    }
}

/// A line of `devices.list` about block or character devices.
fn exception(line: &str) -> Option<(Devices, u8)> {
    let mut fields = line.split([' ', ':']);
    let block = match fields.next()? {
        "b" => true,
        "c" => false,
        _ => return None,
    };
    let mut number = || match fields.next()? {
        "*" => Some(None),
        n => n.parse().ok().map(Some),
    };
    let (major, minor) = (number()?, number()?);
    Some((Devices { block, major, minor }, access(fields.next()?).ok()?))
}

fn access(letters: &str) -> Result<u8> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => return Err(Error::invalid(format!("device access {letters:?} has other letters than r, w, m"))),
        };
    }
    match bits {
        0 if letters.is_empty() => Ok(ALL),
        bits => Ok(bits),
    }
}

/// -1 is any number, as in runc's documents.
fn number(n: Option<i64>) -> Result<Option<i32>> {
    match n {
        None | Some(-1) => Ok(None),
        Some(n) => i32::try_from(n)
            .ok()
            .filter(|n| *n >= 0)
            .map(Some)
            .ok_or_else(|| Error::invalid(format!("device number {n} is out of range"))),
    }
}

impl Devices {
    fn meets(&self, other: &Devices) -> bool {
        let meets = |a: Option<i32>, b: Option<i32>| a.is_none() || b.is_none() || a == b;
        self.block == other.block && meets(self.major, other.major) && meets(self.minor, other.minor)
    }

    fn covers(&self, other: &Devices) -> bool {
        let covers = |a: Option<i32>, b: Option<i32>| a.is_none() || a == b;
        self.block == other.block && covers(self.major, other.major) && covers(self.minor, other.minor)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<i32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{}", if self.block { 'b' } else { 'c' }, number(self.major), number(self.minor))
    }
}

struct Access(u8);

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.0 & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// BPF_LDX | BPF_MEM | BPF_W.
const LOAD_WORD: u8 = 0x61;
/// BPF_ALU | BPF_MOV | BPF_X, on 32 bits.
const MOVE_REGISTER: u8 = 0xbc;
/// BPF_ALU | BPF_MOV | BPF_K.
const MOVE: u8 = 0xb4;
/// BPF_ALU | BPF_AND | BPF_K.
const AND: u8 = 0x54;
/// BPF_ALU | BPF_RSH | BPF_K.
const SHIFT_RIGHT: u8 = 0x74;
/// BPF_JMP | BPF_JEQ | BPF_K.
const JUMP_EQUAL: u8 = 0x15;
/// BPF_JMP | BPF_JNE | BPF_K.
const JUMP_NOT_EQUAL: u8 = 0x55;
/// BPF_JMP | BPF_EXIT.
const EXIT: u8 = 0x95;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, immediate }
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [instruction(MOVE, 0, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let f: Vec<&str> = text.split([' ', ':']).collect();
        let n = |s: &str| (s != "*").then(|| s.parse().unwrap());
        DeviceRule { allow: f[0] == "+", kind: f[1].into(), major: n(f[2]), minor: n(f[3]), access: f[4].into() }
    }

    fn policy(rules: &[&str]) -> Policy {
        Policy::new(&rules.iter().map(|r| rule(r)).collect::<Vec<_>>()).unwrap()
    }

    fn words(writes: Vec<(bool, String)>) -> Vec<String> {
        writes.into_iter().map(|(allow, text)| format!("{}{text}", if allow { '+' } else { '-' })).collect()
    }

    const DEFAULT_WRITES: [&str; 11] = [
        "-a",
        "+c *:* m",
        "+b *:* m",
        "+c 1:3 rwm",
        "+c 1:5 rwm",
        "+c 1:7 rwm",
        "+c 1:8 rwm",
        "+c 1:9 rwm",
        "+c 5:0 rwm",
        "+c 5:2 rwm",
        "+c 136:* rwm",
    ];

    #[test]
    fn lists_of_version_1() {
        let writes = |rules: &[&str]| words(policy(rules).exceptions().unwrap().writes());
        assert_eq!(writes(&["- a *:* rwm"]), DEFAULT_WRITES);
        assert_eq!(writes(&["+ b 8:0 r", "- a *:* rwm"]), DEFAULT_WRITES);
        assert_eq!(writes(&["- a *:* rwm", "+ a *:* rwm"]), ["+a"]);
        assert_eq!(writes(&["+ a *:* rwm", "- b 8:0 w", "- b 8:0 r"]), ["+a", "-b 8:0 rw"]);
        assert_eq!(writes(&["+ a *:* rwm", "- b 8:0 rw", "+ b 8:* w"]), ["+a", "-b 8:0 r"]);
        let more = writes(&["- a *:* rwm", "+ b 8:0 r", "+ b 8:0 w", "- c 1:* rwm", "- b 9:9 rw", "- c *:* m"]);
        assert_eq!(more, ["-a", "+b *:* m", "+c 5:0 rw", "+c 5:2 rw", "+c 136:* rw", "+b 8:0 rw"]);
    }

    #[test]
    fn what_version_1_cannot_say_is_refused() {
        let e = policy(&["+ c 10:* rw", "- c 10:200 w"]).exceptions().unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported);
        assert!(e.to_string().contains("\"c 10:200 w\", denied within \"c 10:* rw\""), "{e}");
        assert!(policy(&["+ a *:* rwm", "- c 10:* rw", "+ c 10:200 m"]).exceptions().is_ok());
    }

    #[test]
    fn changes_of_a_live_list() {
        let list = "c *:* m\nb *:* m\nc 1:3 rwm\nc 1:5 rwm\nc 1:7 rwm\nc 1:8 rwm\nc 1:9 rwm\nc 5:0 rwm\nc 5:2 rwm\n\
                    c 136:* rwm\nb 8:0 rw\nb 8:1 r\n";
        let wanted = policy(&["- a *:* rwm", "+ b 8:0 rm", "+ b 8:16 r"]).exceptions().unwrap();
        assert_eq!(words(wanted.changes(list)), ["+b 8:0 m", "+b 8:16 r", "-b 8:0 w", "-b 8:1 r"]);
        assert_eq!(wanted.changes("a *:* rwm\n"), wanted.writes());
        let all = policy(&["+ a *:* rwm"]).exceptions().unwrap();
        assert_eq!(words(all.changes(list)), ["+a"]);
    }

    #[test]
    fn bad_rules() {
        for (bad, part) in
            [("+ x 1:2 r", "\"x\""), ("+ c 1:2 rx", "\"rx\""), ("+ c -2:2 r", "-2"), ("+ c 1:99999999999 r", "99999")]
        {
            let e = Policy::new(&[rule(bad)]).unwrap_err();
            assert!(e.kind() == Kind::Invalid && e.to_string().contains(part), "{e}");
        }
    }

    /// What the kernel would do with the instructions that are used.
    fn run(program: &[Instruction], block: bool, access: u8, major: u32, minor: u32) -> bool {
        let context = [u32::from(access) << 16 | if block { 1 } else { 2 }, major, minor];
        let mut r = [0u64; 7];
        let mut at = 0usize;
        loop {
            let i = program[at];
            at += 1;
            let (d, s) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let k = i64::from(i.immediate) as u64;
            let jump = match i.code {
                LOAD_WORD => {
                    r[d] = u64::from(context[i.offset as usize / 4]);
                    false
                }
                MOVE_REGISTER => {
                    r[d] = r[s] & 0xffff_ffff;
                    false
                }
                MOVE => {
                    r[d] = k & 0xffff_ffff;
                    false
                }
                AND => {
                    r[d] &= k & 0xffff_ffff;
                    false
                }
                SHIFT_RIGHT => {
                    r[d] >>= k;
                    false
                }
                JUMP_EQUAL => r[d] == k,
                JUMP_NOT_EQUAL => r[d] != k,
                EXIT => return r[0] == 1,
                code => panic!("{code:#x}"),
            };
            if jump {
                at += i.offset as usize;
            }
        }
    }

    /// The module's page, word by word.
    fn allowed(policy: &Policy, block: bool, access: u8, major: i32, minor: i32) -> bool {
        let device = Devices { block, major: Some(major), minor: Some(minor) };
        [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            let last = policy.rules.iter().rev().find(|r| r.access & bit != 0 && r.devices.covers(&device));
            last.map_or(policy.allow_all, |r| r.allow)
        })
    }

    #[test]
    fn programs_decide_as_the_rules_do() {
        let lists: [&[&str]; 6] = [
            &["- a *:* rwm"],
            &["+ a *:* rwm"],
            &["+ a *:* rwm", "- c 1:3 w", "+ a 1:* w", "- b 1:3 rm"],
            &["- a *:* rwm", "+ b 8:* rw", "- b 8:1 w", "+ c *:3 r", "- c 1:3 rwm"],
            &["+ c 1:3 r", "+ c 1:3 w", "- c 1:3 m", "- a *:1 r"],
            &["- a *:* rwm", "- c *:* m", "+ c 2147483647:3 rwm"],
        ];
        for list in lists {
            let policy = policy(list);
            let program = policy.program();
            for block in [false, true] {
                for access in 1..8 {
                    for major in [0, 1, 5, 8, 136, i32::MAX] {
                        for minor in [0, 1, 3, 9] {
                            assert_eq!(
                                run(&program, block, access, major as u32, minor as u32),
                                allowed(&policy, block, access, major, minor),
                                "{list:?} {block} {access} {major}:{minor}"
                            );
                        }
                    }
                }
            }
            let loaded = load(&program).unwrap();
            drop(loaded);
        }
    }
}
