//! The assembler: spans of system call numbers become a balanced search in classic BPF (`linux/filter.h`,
//! `linux/seccomp.h`).
//!
//! ```text
//! load arch
//! not the first?  ja -> next        per architecture: a binary search over the number, whose leaves return
//!   load nr; nr >= K ? … : …
//! not the second? ja -> next
//!   …
//! return kill
//! ```
//! Conditional jumps reach 255 instructions. A longer way goes through a `ja`, whose offset has 32 bits.

use crate::utils::sys::seccomp::Instruction;

/// BPF_MAXINSNS.
pub const MAX_INSTRUCTIONS: usize = 4096;
/// `__X32_SYSCALL_BIT`: x32 shares its AUDIT_ARCH with x86_64 and differs by this bit of the number.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub const X32_BIT: u32 = 0x4000_0000;

pub const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub const RET_KILL_THREAD: u32 = 0;
pub const RET_TRAP: u32 = 0x0003_0000;
pub const RET_ERRNO: u32 = 0x0005_0000;
pub const RET_USER_NOTIF: u32 = 0x7fc0_0000;
pub const RET_TRACE: u32 = 0x7ff0_0000;
pub const RET_LOG: u32 = 0x7ffc_0000;
pub const RET_ALLOW: u32 = 0x7fff_0000;

/// BPF_LD | BPF_W | BPF_ABS: A = the word of `struct seccomp_data` at k.
pub const LOAD: u16 = 0x20;
/// BPF_ALU | BPF_AND | BPF_K.
pub const AND: u16 = 0x54;
/// BPF_JMP | BPF_JA: skips k instructions.
pub const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K.
pub const JUMP_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGT | BPF_K.
pub const JUMP_GREATER: u16 = 0x25;
/// BPF_JMP | BPF_JGE | BPF_K.
pub const JUMP_GREATER_EQUAL: u16 = 0x35;
/// BPF_RET | BPF_K.
pub const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// An architecture whose calls can reach this kernel.
#[derive(Debug)]
pub struct Architecture {
    /// The specification's name.
    pub name: &'static str,
    /// AUDIT_ARCH_….
    pub audit: u32,
    /// Added to the numbers of the table.
    pub base: u32,
    /// Whether arguments have 64 bits.
    pub wide: bool,
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// One action whatever the arguments.
    Return(u32),
    /// The action of the first clause that holds, else the default.
    Clauses(Vec<Clause>),
}

/// Conditions that must all hold, and the action then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// At most one per argument.
    pub conditions: Vec<Condition>,
    /// The filter's return value.
    pub action: u32,
}

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub index: u8,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// Unsigned comparisons of an argument with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// With the argument masked by this.
    MaskedEqual(u64),
}

/// Numbers from `start` to the next span's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First number.
    pub start: u32,
    /// Whether the architecture's arguments have 64 bits.
    pub wide: bool,
    /// What happens to them.
    pub leaf: Leaf,
}

/// Adds a span; one that says the same as the span before it is left out, one that has the same start replaces it.
pub fn push(spans: &mut Vec<Span>, span: Span) {
    if spans.last().is_some_and(|last| last.start == span.start) {
        spans.pop();
    }
    if spans.last().is_none_or(|last| last.leaf != span.leaf || last.wide != span.wide) {
        spans.push(span);
    }
}

/// The program, from AUDIT_ARCH_… with the spans of the architectures that have it. The first is the native one's. Spans
/// start at 0 and ascend.
pub fn assemble(
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))] mut blocks: Vec<(u32, Vec<Span>)>,
    default: u32,
) -> Vec<Instruction> {
    let mut out = Vec::with_capacity(16 + blocks.iter().map(|(_, spans)| spans.len() * 3).sum::<usize>());
    out.push(statement(LOAD, ARCH));
    #[cfg(target_arch = "x86_64")]
    {
        let (_, native) = &mut blocks[0];
        if native.iter().all(|span| span.start < X32_BIT) {
            // x32 is not wanted. -1 is no call: a tracer writes it to skip one.
            native.push(Span { start: X32_BIT, wide: true, leaf: Leaf::Return(RET_KILL_PROCESS) });
            native.push(Span { start: u32::MAX, wide: true, leaf: Leaf::Return(default) });
        }
    }
    for (audit, spans) in &blocks {
        out.push(jump(JUMP_EQUAL, *audit, 1, 0));
        let skip = out.len();
        out.push(statement(JUMP, 0));
        out.push(statement(LOAD, NR));
        search(spans, default, &mut out);
        out[skip].k = (out.len() - skip - 1) as u32;
    }
    out.push(statement(RETURN, RET_KILL_PROCESS));
    out
}

fn statement(code: u16, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Appends the search for the number in A. Recurses as deep as the logarithm of the spans.
fn search(spans: &[Span], default: u32, out: &mut Vec<Instruction>) {
    let [span] = spans else {
        let (left, right) = spans.split_at(spans.len() / 2);
        let boundary = right[0].start;
        let at = out.len();
        out.push(jump(JUMP_GREATER_EQUAL, boundary, 0, 0));
        search(left, default, out);
        let distance = out.len() - at - 1;
        match u8::try_from(distance) {
            Ok(near) => out[at].jt = near,
            Err(_) => {
                // All jumps inside the left part are relative, so it can move by one.
                out[at].jf = 1;
                out.insert(at + 1, statement(JUMP, distance as u32));
            }
        }
        return search(right, default, out);
    };
    match &span.leaf {
        Leaf::Return(action) => out.push(statement(RETURN, *action)),
        Leaf::Clauses(clauses) => {
            for clause in clauses {
                let start = out.len();
                for condition in &clause.conditions {
                    test(condition, span.wide, out);
                }
                out.push(statement(RETURN, clause.action));
                // At most 6 conditions of 6 instructions: always in reach.
                let end = out.len();
                for (n, instruction) in out.iter_mut().enumerate().skip(start) {
                    let distance = (end - n - 1) as u8;
                    if instruction.jt == FAIL {
                        instruction.jt = distance;
                    }
                    if instruction.jf == FAIL {
                        instruction.jf = distance;
                    }
                }
            }
            out.push(statement(RETURN, default));
        }
    }
}

/// Stands for the jump to the end of the clause until its distance is known.
const FAIL: u8 = u8::MAX;

/// Appends a test that goes on behind itself when it holds and to FAIL otherwise.
fn test(condition: &Condition, wide: bool, out: &mut Vec<Instruction>) {
    let low_at = ARGS + 8 * u32::from(condition.index) + if cfg!(target_endian = "big") { 4 } else { 0 };
    let high_at = low_at ^ 4;
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    use Comparison::{Equal, Greater, GreaterEqual, Less, LessEqual, MaskedEqual, NotEqual};
    if wide {
        match condition.comparison {
            Equal => out.extend([statement(LOAD, high_at), jump(JUMP_EQUAL, high, 0, FAIL)]),
            // Skips the rest of the test when the upper halves differ.
            NotEqual => out.extend([statement(LOAD, high_at), jump(JUMP_EQUAL, high, 0, 2)]),
            Greater | GreaterEqual => {
                out.extend([statement(LOAD, high_at), jump(JUMP_GREATER, high, 3, 0), jump(JUMP_EQUAL, high, 0, FAIL)])
            }
            Less | LessEqual => {
                out.extend([statement(LOAD, high_at), jump(JUMP_GREATER, high, FAIL, 0), jump(JUMP_EQUAL, high, 0, 2)])
            }
            MaskedEqual(mask) if mask >> 32 == 0 => {}
            MaskedEqual(mask) => out.extend([
                statement(LOAD, high_at),
                statement(AND, (mask >> 32) as u32),
                jump(JUMP_EQUAL, high, 0, FAIL),
            ]),
        }
    }
    out.push(statement(LOAD, low_at));
    if let MaskedEqual(mask) = condition.comparison {
        out.push(statement(AND, mask as u32));
    }
    out.push(match condition.comparison {
        Equal | MaskedEqual(_) => jump(JUMP_EQUAL, low, 0, FAIL),
        NotEqual => jump(JUMP_EQUAL, low, FAIL, 0),
        Greater => jump(JUMP_GREATER, low, 0, FAIL),
        GreaterEqual => jump(JUMP_GREATER_EQUAL, low, 0, FAIL),
        Less => jump(JUMP_GREATER_EQUAL, low, FAIL, 0),
        LessEqual => jump(JUMP_GREATER, low, FAIL, 0),
    });
}
