//! Properties of a scope (systemd.resource-control(5), org.freedesktop.systemd1(5)).

use super::Unit;
use crate::api::oci::runtime::Resources;
use crate::error::{Context, Error, Result};
use crate::utils::dbus::Writer;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What annotations begin with that name a property.
const ANNOTATION: &str = "org.systemd.property.";
/// Highest number of a processor or memory node that is told.
const NUMBER_LIMIT: usize = 8192;

/// Name and value.
pub type Property = (Cow<'static, str>, Value);

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `b`
    Bool(bool),
    /// `i` and `u`, which are written the same, by their letter.
    Word(&'static str, u32),
    /// `x` and `t`, which are written the same, by their letter.
    Long(&'static str, u64),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Words(Vec<u32>),
}

impl Value {
    fn write(&self, out: Writer) -> Writer {
        match self {
            Value::Text(text) => out.signature("s").string(text),
            Value::Texts(list) => out.signature("as").array(4, |out| list.iter().fold(out, |out, s| out.string(s))),
            Value::Bool(value) => out.signature("b").bool(*value),
            Value::Word(kind, value) => out.signature(kind).u32(*value),
            Value::Long(kind, value) => out.signature(kind).u64(*value),
            Value::Bytes(list) => out.signature("ay").array(1, |out| list.iter().fold(out, |out, b| out.byte(*b))),
            Value::Words(list) => out.signature("au").array(4, |out| list.iter().fold(out, |out, n| out.u32(*n))),
        }
    }
}

/// Writes them as `a(sv)`.
pub fn write(out: Writer, properties: &[Property]) -> Writer {
    out.array(8, |out| {
        properties.iter().fold(out, |out, (name, value)| out.structure(|out| value.write(out.string(name))))
    })
}

/// Those of every scope: what is in it, and that it counts by itself and may have cgroups of its own.
pub fn basic(unit: &Unit, pid: u32, is_unified: bool) -> Vec<Property> {
    let yes = |name: &'static str| (name.into(), Value::Bool(true));
    vec![
        ("Description".into(), Value::Text(format!("container {}", unit.name))),
        ("Slice".into(), Value::Text(unit.slice.clone())),
        ("PIDs".into(), Value::Words(vec![pid])),
        ("DefaultDependencies".into(), Value::Bool(false)),
        yes("Delegate"),
        yes("CPUAccounting"),
        yes("MemoryAccounting"),
        yes("TasksAccounting"),
        yes(if is_unified { "IOAccounting" } else { "BlockIOAccounting" }),
    ]
}

/// Those that limits become. What systemd has no property for is in the files of the cgroup only.
///
/// # Errors
/// `Kind::Invalid` for a list of numbers that is none.
pub fn of_limits(resources: &Resources, is_unified: bool) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    let mut long = |name: &'static str, value: Option<u64>| {
        out.extend(value.map(|value| (Cow::from(name), Value::Long("t", value))));
    };
    // Everything below zero is no limit, and zero is nothing said.
    let bytes = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let set = |value: Option<i64>| value.filter(|v| *v != 0);
    let by_version = |v2: &'static str, v1: &'static str| if is_unified { v2 } else { v1 };
    if let Some(memory) = &resources.memory {
        let limit = set(memory.limit);
        long(by_version("MemoryMax", "MemoryLimit"), limit.map(bytes));
        if is_unified {
            long("MemoryLow", set(memory.reservation).map(bytes));
            // The document has the sum.
            let swap = set(memory.swap).and_then(|sum| match (sum, limit) {
                (sum, _) if sum < 0 => Some(u64::MAX),
                (sum, Some(limit)) if limit > 0 && limit <= sum => Some((sum - limit) as u64),
                _ => None,
            });
            long("MemorySwapMax", swap);
        }
    }
    if let Some(cpu) = &resources.cpu {
        let shares = cpu.shares.filter(|v| *v != 0).map(|v| v.clamp(2, 262_144));
        match is_unified {
            true => long("CPUWeight", shares.map(|v| 1 + (v - 2) * 9999 / 262_142)),
            false => long("CPUShares", shares),
        }
        let period = cpu.period.filter(|v| *v != 0);
        if let Some(quota) = set(cpu.quota) {
            // systemd has it for each second, and takes no finer steps than a hundredth of that.
            let second =
                |quota: u64| (quota.saturating_mul(1_000_000) / period.unwrap_or(100_000).max(1)).div_ceil(10_000);
            let value = u64::try_from(quota).map_or(u64::MAX, |quota| second(quota).saturating_mul(10_000));
            long("CPUQuotaPerSecUSec", Some(value));
            long("CPUQuotaPeriodUSec", period);
        }
    }
    long("TasksMax", set(resources.pids.as_ref().and_then(|p| p.limit)).map(bytes));
    if let Some(weight) = resources.block_io.as_ref().and_then(|b| b.weight).filter(|w| *w != 0) {
        let weight = u64::from(weight.clamp(10, 1000));
        match is_unified {
            true => long("IOWeight", Some(1 + (weight - 10) * 9999 / 990)),
            false => long("BlockIOWeight", Some(weight)),
        }
    }
    if let Some(cpu) = resources.cpu.as_ref().filter(|_| is_unified) {
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if !list.is_empty() {
                let bits = bits(list).ok_or_else(|| Error::invalid(format!("{list:?} is not a list of numbers")))?;
                out.push((name.into(), Value::Bytes(bits)));
            }
        }
    }
    Ok(out)
}

/// A list as `0-3,5` as bits.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= NUMBER_LIMIT {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0u8);
        (first..=last).for_each(|n| bits[n / 8] |= 1 << (n % 8));
    }
    Some(bits)
}

/// Those that annotations name, `org.systemd.property.NAME`, with values as in GVariant's text format: true, 'text',
/// uint64 5, ['a', 'b']. A name that ends with `Sec` is one of seconds, for which systemd has one of microseconds.
///
/// # Errors
/// `Kind::Invalid` for what is none.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let annotation = || format!("annotation {key:?}");
        if name.len() < 2 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(Error::invalid(annotation()).context("not the name of a property"));
        }
        let value = parse(text).ok_or_else(|| Error::invalid(format!("{text:?} is not a value")));
        let value = value.context(annotation)?;
        out.push(match name.strip_suffix("Sec").filter(|rest| !rest.ends_with('U')) {
            Some(rest) => (format!("{rest}USec").into(), seconds(&value).context(annotation)?),
            None => (name.to_owned().into(), value),
        });
    }
    Ok(out)
}

fn seconds(value: &Value) -> Result<Value> {
    let seconds = match value {
        Value::Word("u", n) => u64::from(*n),
        Value::Word(_, n) if *n as i32 >= 0 => u64::from(*n),
        Value::Long("t", n) => *n,
        Value::Long(_, n) if *n as i64 >= 0 => *n,
        _ => return Err(Error::invalid("seconds must be a number that is not negative")),
    };
    let micros = seconds.checked_mul(1_000_000).ok_or_else(|| Error::invalid("too many seconds"))?;
    Ok(Value::Long("t", micros))
}

fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[') {
        let list = list.strip_suffix(']')?.trim();
        let mut rest = list;
        let mut out = Vec::new();
        while !rest.is_empty() {
            let (item, after) = quoted(rest)?;
            out.push(item);
            rest = after.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
        }
        return Some(Value::Texts(out));
    }
    if text.starts_with(['\'', '"']) {
        let (item, rest) = quoted(text)?;
        return rest.is_empty().then_some(Value::Text(item));
    }
    match text.split_once(char::is_whitespace) {
        Some(("uint64", n)) => Some(Value::Long("t", n.trim().parse().ok()?)),
        Some(("int64", n)) => Some(Value::Long("x", n.trim().parse::<i64>().ok()? as u64)),
        Some(("uint32", n)) => Some(Value::Word("u", n.trim().parse().ok()?)),
        Some(("int32", n)) => Some(Value::Word("i", n.trim().parse::<i32>().ok()? as u32)),
        Some(_) => None,
        None => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            number => Some(Value::Word("i", number.parse::<i32>().ok()? as u32)),
        },
    }
}

/// A text in quotation marks at the start, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mark = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut out = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => out.push(letters.next()?.1),
            // The wire has it as the end.
            '\0' => return None,
            letter if letter == mark => return Some((out, &text[at + 1..])),
            letter => out.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::oci::runtime::{BlockIo, Cpu, Memory, Pids};

    fn limits(resources: &Resources, is_unified: bool) -> Vec<String> {
        let all = of_limits(resources, is_unified).unwrap();
        let show = |value: Value| match value {
            Value::Long("t", u64::MAX) => "max".to_owned(),
            Value::Long("t", n) => n.to_string(),
            other => format!("{other:?}"),
        };
        all.into_iter().map(|(name, value)| format!("{name} {}", show(value))).collect()
    }

    #[test]
    fn limits_become_properties() {
        let resources = Resources {
            memory: Some(Memory { limit: Some(1000), swap: Some(1500), reservation: Some(500), ..Memory::default() }),
            cpu: Some(Cpu {
                shares: Some(1024),
                quota: Some(33_333),
                period: Some(50_000),
                cpus: "0-1,9".into(),
                mems: "0".into(),
                ..Cpu::default()
            }),
            pids: Some(Pids { limit: Some(-1) }),
            block_io: Some(BlockIo { weight: Some(500), ..BlockIo::default() }),
            ..Resources::default()
        };
        let v2 = [
            "MemoryMax 1000",
            "MemoryLow 500",
            "MemorySwapMax 500",
            "CPUWeight 39",
            "CPUQuotaPerSecUSec 670000",
            "CPUQuotaPeriodUSec 50000",
            "TasksMax max",
            "IOWeight 4950",
            "AllowedCPUs Bytes([3, 2])",
            "AllowedMemoryNodes Bytes([1])",
        ];
        assert_eq!(limits(&resources, true), v2);
        let v1 = [
            "MemoryLimit 1000",
            "CPUShares 1024",
            "CPUQuotaPerSecUSec 670000",
            "CPUQuotaPeriodUSec 50000",
            "TasksMax max",
            "BlockIOWeight 500",
        ];
        assert_eq!(limits(&resources, false), v1);
        let none = Resources { cpu: Some(Cpu { quota: Some(-1), ..Cpu::default() }), ..Resources::default() };
        assert_eq!(limits(&none, true), ["CPUQuotaPerSecUSec max"]);
        assert_eq!(limits(&Resources::default(), true), [""; 0]);
        for bad in ["x", "3-1", "9000", "1-"] {
            assert_eq!(bits(bad), None, "{bad}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        let one = |name: &str, text: &str| {
            let key = format!("{ANNOTATION}{name}");
            of_annotations(&BTreeMap::from([(key, text.to_owned()), ("other".into(), "x".into())])).map(|mut all| {
                assert_eq!(all.len(), 1);
                all.remove(0)
            })
        };
        let cases = [
            ("CollectMode", "'inactive-or-failed'", "CollectMode", Value::Text("inactive-or-failed".into())),
            ("After", "['a.service', \"b\\\"\"]", "After", Value::Texts(vec!["a.service".into(), "b\"".into()])),
            ("After", "[]", "After", Value::Texts(vec![])),
            ("SendSIGHUP", "true", "SendSIGHUP", Value::Bool(true)),
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::Long("t", 5)),
            ("TimeoutStopSec", "uint64 5", "TimeoutStopUSec", Value::Long("t", 5_000_000)),
            ("TimeoutStopSec", "5", "TimeoutStopUSec", Value::Long("t", 5_000_000)),
            ("KillSignal", "-3", "KillSignal", Value::Word("i", -3i32 as u32)),
            ("Weight", "uint32 7", "Weight", Value::Word("u", 7)),
        ];
        for (name, text, want, value) in cases {
            assert_eq!(one(name, text).unwrap(), (want.into(), value), "{name} {text}");
        }
        for (name, text) in [
            ("", "true"),
            ("A.b", "true"),
            ("Ab", ""),
            ("Ab", "'x"),
            ("Ab", "'x'y"),
            ("Ab", "['x'"),
            ("Ab", "['x',,]"),
            ("Ab", "uint64 -1"),
            ("Ab", "word"),
            ("AbSec", "-1"),
            ("AbSec", "'x'"),
            ("AbSec", "uint64 18446744073709551615"),
        ] {
            let e = one(name, text).unwrap_err().to_string();
            assert!(e.contains(&format!("{ANNOTATION}{name}")), "{e}");
        }
    }
}
