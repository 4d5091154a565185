//! What compiled filters decide, against a plain evaluation of the rules.

use super::*;
use crate::api::oci::runtime::Names;
use std::sync::LazyLock;

/// Whether `name` is what the multiplexer `number` does when its first argument is `selector`.
fn is_behind(name: &str, number: u32, selector: u32) -> bool {
    static ALL: LazyLock<BTreeMap<u16, (u32, u8)>> = LazyLock::new(multiplexed);
    let row = table::find(name).and_then(|row| ALL.get(&(row as u16)));
    row.is_some_and(|(multiplexer, n)| (*multiplexer, u32::from(*n)) == (number, selector))
}

/// A listing of `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Call {
    arch: u32,
    nr: u32,
    args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..64 => (self.args[(offset as usize - 16) / 8] >> if offset.is_multiple_of(8) { 0 } else { 32 }) as u32,
            _ => panic!("load at {offset}"),
        }
    }
}

/// What the kernel's interpreter does with the instructions that are used.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let (mut a, mut at, mut steps) = (0u32, 0usize, 0);
    loop {
        let i = program[at];
        at += 1;
        steps += 1;
        assert!(steps <= program.len());
        let condition = match i.code {
            filter::LOAD => {
                a = call.word(i.k);
                continue;
            }
            filter::AND => {
                a &= i.k;
                continue;
            }
            filter::JUMP => {
                at += i.k as usize;
                continue;
            }
            filter::RETURN => return i.k,
            filter::JUMP_EQUAL => a == i.k,
            filter::JUMP_GREATER => a > i.k,
            filter::JUMP_GREATER_EQUAL => a >= i.k,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if condition { i.jt } else { i.jf });
    }
}

/// The module's page, word by word and slowly.
fn expected(seccomp: &Seccomp, call: &Call) -> u32 {
    let default = action(&seccomp.default_action, seccomp.default_errno_ret).unwrap();
    let listed = |a: &Architecture| a.name == NATIVE[0].name || seccomp.architectures.iter().any(|n| n == a.name);
    let shares_audit = |a: &Architecture| a.base == filter::X32_BIT;
    let column = NATIVE.iter().position(|a| {
        a.audit == call.arch
            && if cfg!(target_arch = "x86_64") && a.audit == NATIVE[0].audit {
                shares_audit(a) == (call.nr >= filter::X32_BIT)
            } else {
                true
            }
    });
    let Some(column) = column else { return filter::RET_KILL_PROCESS };
    let architecture = &NATIVE[column];
    if !listed(architecture) {
        return if call.nr == u32::MAX && shares_audit(architecture) { default } else { filter::RET_KILL_PROCESS };
    }
    let nr = call.nr - architecture.base;
    let number = |name: &str| table::find(name).and_then(|row| table::number(row, column));
    let holds = |arg: &SeccompArg| {
        let width = |v: u64| if architecture.wide { v } else { v & 0xffff_ffff };
        let (x, v) = (width(call.args[arg.index as usize]), width(arg.value));
        match arg.op.as_str() {
            "SCMP_CMP_EQ" => x == v,
            "SCMP_CMP_NE" => x != v,
            "SCMP_CMP_LT" => x < v,
            "SCMP_CMP_LE" => x <= v,
            "SCMP_CMP_GT" => x > v,
            "SCMP_CMP_GE" => x >= v,
            _ => x & v == width(arg.value_two) & v,
        }
    };
    let mut conditional = None;
    let mut newest = None;
    for rule in &seccomp.syscalls {
        newest = newest.max(rule.names.iter().filter_map(&number).filter(|&n| n < PRIVATE_CALLS).max());
    }
    for rule in &seccomp.syscalls {
        let value = action(&rule.action, rule.errno_ret).unwrap();
        if value == default {
            continue;
        }
        if rule.names.iter().any(|n| number(n) == Some(nr)) {
            if rule.args.is_empty() {
                return value;
            }
            let mut indices: Vec<u32> = rule.args.iter().map(|a| a.index).collect();
            indices.sort_unstable();
            indices.dedup();
            let any = indices.len() < rule.args.len();
            let ok = if any { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) };
            if ok {
                conditional = conditional.or(Some(value));
            }
        }
        if architecture.name == "SCMP_ARCH_X86"
            && rule.args.is_empty()
            && rule.names.iter().any(|n| is_behind(n, nr, call.args[0] as u32))
        {
            conditional = conditional.or(Some(value));
        }
    }
    let newer = newest.is_some_and(|newest| nr > newest) && !(is_arm(column) && nr >= PRIVATE_CALLS);
    conditional.unwrap_or(if newer && default == EPERM { filter::RET_ERRNO | libc::ENOSYS as u32 } else { default })
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Values around which comparisons turn, in both halves.
    fn value(&mut self) -> u64 {
        let half = |r: &mut Random| r.of(&[0u64, 1, 2, 40, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff]);
        let (high, low) = (half(self), half(self));
        if self.below(3) == 0 { self.next() } else { high << 32 | low }
    }
}

/// Names for rules: few, so that rules meet, of old, new, multiplexed and unknown calls.
const NAMES: [&str; 22] = [
    "read",
    "write",
    "open",
    "close",
    "socket",
    "accept4",
    "socketcall",
    "ipc",
    "semop",
    "clone",
    "clone3",
    "execve",
    "ioctl",
    "openat",
    "set_tls",
    "cacheflush",
    "futex_waitv",
    "file_setattr",
    "rt_sigreturn",
    "mmap2",
    "getrandom",
    "no_such_call",
];

fn random_document(random: &mut Random) -> Seccomp {
    let actions = &ACTIONS.iter().copied().filter(|a| *a != "SCMP_ACT_NOTIFY").collect::<Vec<_>>();
    let rules = random.below(12);
    let names: Vec<&str> = if random.below(4) == 0 {
        let all: Vec<&str> = (0..484).filter_map(|row| table::number(row, 0).and(Some(table::name(row)))).collect();
        all
    } else {
        NAMES.to_vec()
    };
    let many = names.len() > NAMES.len();
    let mut syscalls = Vec::new();
    for _ in 0..if many { 60 } else { rules } {
        let names = (0..1 + random.below(if many { 20 } else { 4 })).map(|_| random.of(&names)).collect();
        let args = (0..random.of(&[0, 0, 1, 1, 2, 3, 6]))
            .map(|_| SeccompArg {
                index: random.below(6) as u32,
                value: random.value(),
                value_two: random.value(),
                op: random.of(OPERATORS).to_owned(),
            })
            .collect();
        let errno_ret = random.of(&[None, Some(0), Some(38), Some(4095)]);
        syscalls.push(SeccompSyscall { names, action: random.of(actions).to_owned(), errno_ret, args });
    }
    let default_action = random.of(&["SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL"]);
    let architectures = NATIVE.iter().map(|a| a.name).chain(["SCMP_ARCH_MIPS64"]);
    Seccomp {
        default_action: default_action.to_owned(),
        default_errno_ret: random.of(&[None, Some(1), Some(13)]),
        architectures: architectures.filter(|_| random.below(2) == 0).map(str::to_owned).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

fn random_call(random: &mut Random, seccomp: &Seccomp) -> Call {
    let column = random.below(NATIVE.len());
    let known = |random: &mut Random| {
        let rule = (!seccomp.syscalls.is_empty()).then(|| random.below(seccomp.syscalls.len()));
        let names = rule.map(|n| seccomp.syscalls[n].names.iter().collect::<Vec<_>>());
        let name = names.map(|names| random.of(&names));
        name.and_then(table::find).and_then(|row| table::number(row, column))
    };
    let nr = match random.below(4) {
        0 => random.below(600) as u32,
        1 => random.of(&[u32::MAX, 0, 102, 117, 0x3fff_ffff, 0x4000_0000, 0x8000_0000, 0x000f_0000, 0x000f_0005]),
        _ => known(random).unwrap_or(7).wrapping_add(random.of(&[0, 0, 0, 1, u32::MAX])),
    };
    let base = if random.below(8) == 0 { 0 } else { NATIVE[column].base };
    let arch = if random.below(16) == 0 { 0x1234 } else { NATIVE[column].audit };
    let mut args = [0; 6];
    let wanted: Vec<u64> = seccomp.syscalls.iter().flat_map(|r| &r.args).flat_map(|a| [a.value, a.value_two]).collect();
    for arg in &mut args {
        *arg = if wanted.is_empty() || random.below(2) == 0 { random.value() } else { random.of(&wanted) };
        *arg = arg.wrapping_add(random.of(&[0, 0, 1, u64::MAX, 1 << 32]));
    }
    if random.below(4) == 0 {
        args[0] = random.below(25) as u64;
    }
    Call { arch, nr: nr.wrapping_add(base), args }
}

#[test]
fn programs_do_what_the_rules_say() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut long = 0;
    for _ in 0..400 {
        let seccomp = random_document(&mut random);
        let program = match compile(&seccomp) {
            Ok(program) => program,
            Err(e) => {
                assert!(e.to_string().contains("at most 4096"), "{e}");
                continue;
            }
        };
        assert!(valid(&program.instructions));
        long += usize::from(program.len() > 600);
        for _ in 0..400 {
            let call = random_call(&mut random, &seccomp);
            let (got, want) = (run(&program.instructions, &call), expected(&seccomp, &call));
            assert_eq!(got, want, "{call:x?} {seccomp:?}");
        }
    }
    assert!(long >= 10, "{long} programs long enough to need far jumps");
}

/// Every jump stays inside, as the kernel's checker demands.
fn valid(program: &[Instruction]) -> bool {
    program.iter().enumerate().all(|(n, i)| match i.code {
        filter::JUMP => n + 1 + (i.k as usize) < program.len(),
        filter::JUMP_EQUAL | filter::JUMP_GREATER | filter::JUMP_GREATER_EQUAL => {
            n + 1 + usize::from(i.jt.max(i.jf)) < program.len()
        }
        _ => true,
    })
}

fn allow_all_but(name: &str, action: &str) -> Seccomp {
    let rule = SeccompSyscall { names: Names::from_iter([name]), action: action.into(), ..SeccompSyscall::default() };
    Seccomp { default_action: "SCMP_ACT_ALLOW".into(), syscalls: vec![rule], ..Seccomp::default() }
}

#[test]
fn bad_documents_are_refused_by_name() {
    let refused = |change: fn(&mut Seccomp)| {
        let mut seccomp = allow_all_but("mkdir", "SCMP_ACT_ERRNO");
        change(&mut seccomp);
        compile(&seccomp).unwrap_err().to_string()
    };
    assert!(refused(|s| s.default_action = String::new()).contains("action \"\""));
    assert!(refused(|s| s.syscalls[0].action = "ALLOW".into()).contains("\"ALLOW\""));
    assert!(refused(|s| s.syscalls[0].errno_ret = Some(4096)).contains("4096"));
    assert!(refused(|s| s.architectures = vec!["SCMP_ARCH_VAX".into()]).contains("SCMP_ARCH_VAX"));
    assert!(refused(|s| s.flags = vec!["FAST".into()]).contains("FAST"));
    assert!(refused(|s| s.syscalls[0].action = "SCMP_ACT_NOTIFY".into()).contains("listenerPath"));
    let notify = |path: &str, name: &str| {
        let seccomp = Seccomp { listener_path: path.into(), ..allow_all_but(name, "SCMP_ACT_NOTIFY") };
        compile(&seccomp).unwrap_err().to_string()
    };
    assert!(notify("agent.sock", "mkdir").contains("\"agent.sock\" is not an absolute path"));
    assert!(notify("/agent.sock", "sendmsg").contains("sendmsg"));
    assert!(refused(|s| s.default_action = "SCMP_ACT_NOTIFY".into()).contains("default"));
    let arg = |s: &mut Seccomp, index, op: &str| {
        s.syscalls[0].names = Names::from_iter(["no_such_call"]);
        s.syscalls[0].args = vec![SeccompArg { index, op: op.into(), ..SeccompArg::default() }];
    };
    let mut s = allow_all_but("mkdir", "SCMP_ACT_ERRNO");
    arg(&mut s, 6, "SCMP_CMP_EQ");
    assert!(compile(&s).unwrap_err().to_string().contains("index 6"));
    arg(&mut s, 0, "EQ");
    assert!(compile(&s).unwrap_err().to_string().contains("\"EQ\""));
    assert!(compile(&Seccomp::default()).is_err());
}

/// The kernel accepts the programs and does what they say; in a child, since a filter cannot be taken off.
#[test]
fn the_kernel_agrees() {
    use nix::sys::wait::{WaitStatus, waitpid};
    let mut seccomp = allow_all_but("getppid", "SCMP_ACT_ERRNO");
    seccomp.syscalls[0].errno_ret = Some(libc::EXDEV as u32);
    let condition = SeccompArg { index: 1, value: 0x1_0000_0007, value_two: 0, op: "SCMP_CMP_EQ".into() };
    seccomp.syscalls.push(SeccompSyscall {
        names: Names::from_iter(["kill"]),
        action: "SCMP_ACT_ERRNO".into(),
        errno_ret: Some(libc::ENOTTY as u32),
        args: vec![condition],
    });
    seccomp.syscalls.push(SeccompSyscall {
        names: Names::from_iter(["getpgid"]),
        action: "SCMP_ACT_KILL_PROCESS".into(),
        ..SeccompSyscall::default()
    });
    let program = compile(&seccomp).unwrap();
    let errno = |r: nix::Result<()>| r.err().map_or(0, |e| e as i32);
    let child = crate::utils::sys::test::fork_child(|| {
        nix::sys::prctl::set_no_new_privs().unwrap();
        program.install().unwrap();
        if crate::utils::sys::test::raw_errno(libc::SYS_getppid, [0, 0]) != libc::EXDEV {
            return 1;
        }
        // The 64-bit value differs from what the kernel would look at: only the filter tells them apart.
        if cfg!(target_pointer_width = "64")
            && crate::utils::sys::test::raw_errno(libc::SYS_kill, [i64::from(i32::MAX), 0x1_0000_0007]) != libc::ENOTTY
        {
            return 2;
        }
        if errno(nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::MAX), None)) != libc::ESRCH {
            return 3;
        }
        crate::utils::sys::test::raw_errno(libc::SYS_getpgid, [0, 0]);
        4
    });
    let status = waitpid(child, None).unwrap();
    assert!(matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGSYS, _)), "{status:?}");
}
