//! Sizes, processors, resource limits and devices.

use crate::api::container::{DeviceMapping, Hugetlb, ThrottleDevice, Ulimit, WeightDevice};
use crate::cmd::isula::failure::Failure;

fn bad(value: &str, flag: &str) -> Failure {
    Failure::usage(format!("Invalid value {value:?} for flag {flag}"))
}

/// A number of bytes; 0 when not given.
pub fn size(flag: &str, value: Option<&str>) -> Result<i64, Failure> {
    let Some(value) = value else { return Ok(0) };
    let bytes = crate::utils::size::parse(value).map_err(|_| bad(value, flag))?;
    i64::try_from(bytes).map_err(|_| bad(value, flag))
}

/// As [`size`]; -1 is unlimited.
pub fn size_or_unlimited(flag: &str, value: Option<&str>) -> Result<i64, Failure> {
    if value == Some("-1") { Ok(-1) } else { size(flag, value) }
}

/// Billionths of a processor. Decimal digits, so that nothing is rounded.
pub fn nano_cpus(value: Option<&str>) -> Result<i64, Failure> {
    let Some(value) = value else { return Ok(0) };
    let bad = || bad(value, "--cpus");
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return Err(bad());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(nanos)).ok_or_else(bad)
}

/// A weight for block devices. What can be sent is the daemon's to judge.
pub fn blkio_weight(value: Option<i64>) -> Result<u16, Failure> {
    u16::try_from(value.unwrap_or(0)).map_err(|_| Failure::usage("Range of blkio weight is from 10 to 1000"))
}

/// -1000 to 1000.
pub fn oom_score_adj(value: Option<i64>) -> Result<i32, Failure> {
    match value.unwrap_or(0) {
        v @ -1000..=1000 => Ok(v as i32),
        v => Err(Failure::usage(format!("Invalid value {v}, range for oom score adj is [-1000, 1000]"))),
    }
}

/// `TYPE=SOFT[:HARD]`.
pub fn ulimits(list: &[String]) -> Result<Vec<Ulimit>, Failure> {
    let mut out: Vec<Ulimit> = Vec::new();
    for text in list {
        let malformed = || Failure::usage(format!("Invalid ulimit argument: {text:?}"));
        let (name, values) = text.split_once('=').ok_or_else(malformed)?;
        if !Ulimit::NAMES.contains(&name) {
            return Err(Failure::usage(format!("Invalid ulimit type: {name}")));
        }
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |v: &str| v.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(malformed);
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(Failure::usage(format!(
                "Ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )));
        }
        out.retain(|u| u.name != name);
        out.push(Ulimit { name: name.to_owned(), hard, soft });
    }
    Ok(out)
}

/// `HOST[:CONTAINER][:rwm]`.
pub fn devices(list: &[String]) -> Result<Vec<DeviceMapping>, Failure> {
    let one = |text: &String| {
        let malformed = || Failure::usage(format!("Invalid device specification: {text:?}"));
        let parts: Vec<&str> = text.split(':').collect();
        let is_mode = |s: &str| !s.is_empty() && s.bytes().all(|b| b"rwm".contains(&b));
        let (host, container, mode) = match parts[..] {
            [host] => (host, host, "rwm"),
            [host, mode] if is_mode(mode) => (host, host, mode),
            [host, container] => (host, container, "rwm"),
            [host, container, mode] if is_mode(mode) => (host, container, mode),
            [_, _, mode] => return Err(Failure::usage(format!("Invalid device mode: {mode}"))),
            _ => return Err(malformed()),
        };
        if !host.starts_with('/') || !container.starts_with('/') {
            return Err(malformed());
        }
        Ok(DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: container.to_owned(),
            cgroup_permissions: mode.to_owned(),
        })
    };
    list.iter().map(one).collect()
}

/// `TYPE MAJOR:MINOR ACCESS`: `^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$`.
pub fn device_rules(list: &[String]) -> Result<Vec<String>, Failure> {
    let number = |s: &str| s == "*" || (!s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()));
    let is_good = |text: &&String| {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind @ ("a" | "b" | "c"), numbers, access] = words[..] else { return false };
        let _ = kind;
        let access_is_good = (1..=3).contains(&access.len()) && access.bytes().all(|b| b"rwm".contains(&b));
        numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor)) && access_is_good
    };
    match list.iter().find(|text| !is_good(text)) {
        Some(bad) => Err(Failure::usage(format!("invalid device cgroup format '{bad}'"))),
        None => Ok(list.to_vec()),
    }
}

/// `DEVICE:VALUE`. A device's name may have colons of its own.
fn device_value<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let parts = text.rsplit_once(':').filter(|(device, value)| !device.is_empty() && !value.is_empty());
    let (device, value) = parts.ok_or_else(|| Failure::usage(format!("bad format for {flag}: {text:?}")))?;
    if device.starts_with("/dev/") {
        return Ok((device, value));
    }
    Err(Failure::usage(format!("bad format for device path of {flag}: {device:?}, it should start with /dev/")))
}

/// `DEVICE:WEIGHT`, 10 to 1000, or 0 for none.
pub fn weights(list: &[String]) -> Result<Vec<WeightDevice>, Failure> {
    let one = |text: &String| {
        let (path, value) = device_value("--blkio-weight-device", text)?;
        match value.parse() {
            Ok(weight @ (0 | 10..=1000)) => Ok(WeightDevice { path: path.to_owned(), weight }),
            _ => Err(Failure::usage(format!("Invalid weight for device: {text:?}, want 10 to 1000"))),
        }
    };
    list.iter().map(one).collect()
}

/// `DEVICE:RATE[UNIT]`.
pub fn byte_rates(flag: &str, list: &[String]) -> Result<Vec<ThrottleDevice>, Failure> {
    let one = |text: &String| {
        let (path, value) = device_value(flag, text)?;
        let rate = crate::utils::size::parse(value).map_err(|_| {
            Failure::usage(format!("invalid rate for device: {text:?} ({flag}), want DEVICE:NUMBER[kb|mb|gb]"))
        })?;
        Ok(ThrottleDevice { path: path.to_owned(), rate })
    };
    list.iter().map(one).collect()
}

/// `DEVICE:NUMBER`.
pub fn operation_rates(flag: &str, list: &[String]) -> Result<Vec<ThrottleDevice>, Failure> {
    let one = |text: &String| {
        let (path, value) = device_value(flag, text)?;
        let rate = Some(value).filter(|v| v.bytes().all(|b| b.is_ascii_digit())).and_then(|v| v.parse().ok());
        let bad = || {
            let text = format!("invalid rate for device: {text:?} ({flag}). Number must be unsigned 64 bytes integer");
            Failure::usage(text)
        };
        Ok(ThrottleDevice { path: path.to_owned(), rate: rate.ok_or_else(bad)? })
    };
    list.iter().map(one).collect()
}

/// `[PAGESIZE:]LIMIT`. Which sizes there are is the daemon's to know.
pub fn hugetlbs(list: &[String]) -> Result<Vec<Hugetlb>, Failure> {
    let one = |text: &String| {
        let (page_size, limit) = match text.split_once(':') {
            Some(("", _)) => return Err(bad(text, "--hugetlb-limit")),
            Some(parts) => parts,
            None => ("", text.as_str()),
        };
        let limit = crate::utils::size::parse(limit).map_err(|_| bad(text, "--hugetlb-limit"))?;
        Ok(Hugetlb { page_size: page_size.to_owned(), limit })
    };
    list.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_processors() {
        assert_eq!(size("--memory", Some("64m")).unwrap(), 64 << 20);
        assert_eq!(size("--memory", Some("-1")).unwrap_err().text, "Invalid value \"-1\" for flag --memory");
        assert_eq!(size("--memory", None).unwrap(), 0);
        assert!(size("--memory", Some("99999999t")).is_err());
        assert_eq!(size_or_unlimited("--memory-swap", Some("-1")).unwrap(), -1);
        for (text, want) in [("1", 1_000_000_000), ("0.5", 500_000_000), (".25", 250_000_000), ("1.", 1_000_000_000)] {
            assert_eq!(nano_cpus(Some(text)).unwrap(), want, "{text}");
        }
        for text in ["", ".", "-1", "1e3", "0.0000000001", "1.2.3", "99999999999"] {
            assert!(nano_cpus(Some(text)).is_err(), "{text}");
        }
        assert_eq!((blkio_weight(None).unwrap(), blkio_weight(Some(1000)).unwrap()), (0, 1000));
        for value in [-1, 70_000] {
            assert_eq!(blkio_weight(Some(value)).unwrap_err().text, "Range of blkio weight is from 10 to 1000");
        }
        assert!(oom_score_adj(Some(1001)).is_err() && oom_score_adj(Some(-1000)) == Ok(-1000));
    }

    #[test]
    fn resource_limits() {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let got = ulimits(&list(&["nofile=10", "nproc=5:-1", "nofile=20:30"])).unwrap();
        let of = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        assert_eq!(got, [of("nproc", 5, -1), of("nofile", 20, 30)]);
        for text in ["nofile", "nosuch=1", "nofile=x", "nofile=5:4", "nofile=-1:4", "nofile=-2", "nofile=1:2:3"] {
            assert!(ulimits(&list(&[text])).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_and_rules() {
        let one = |text: &str| devices(&[text.to_owned()]).map(|mut d| d.remove(0));
        let of = |host: &str, inside: &str, mode: &str| DeviceMapping {
            path_on_host: host.into(),
            path_in_container: inside.into(),
            cgroup_permissions: mode.into(),
        };
        assert_eq!(one("/dev/a").unwrap(), of("/dev/a", "/dev/a", "rwm"));
        assert_eq!(one("/dev/a:r").unwrap(), of("/dev/a", "/dev/a", "r"));
        assert_eq!(one("/dev/a:/dev/b").unwrap(), of("/dev/a", "/dev/b", "rwm"));
        assert_eq!(one("/dev/a:/dev/b:rw").unwrap(), of("/dev/a", "/dev/b", "rw"));
        for text in ["", "dev", "/dev/a:b", "/dev/a:/dev/b:x", "/a:/b:r:w", "/a:"] {
            assert!(one(text).is_err(), "{text}");
        }
        let rules = |text: &str| device_rules(&[text.to_owned()]).is_ok();
        assert!(rules("c 1:3 rwm") && rules("a *:* m"));
        for text in ["d 1:3 r", "c 1 r", "c 1:3", "c 1:3 rwmr", "c 1:x r", "c  1:3 r", "c 1:3 r "] {
            assert!(!rules(text), "{text}");
        }
    }

    #[test]
    fn weights_and_rates() {
        let list = |text: &str| [text.to_owned()];
        let path = "/dev/disk/by-path/pci-0:1";
        let got = weights(&list(&format!("{path}:500"))).unwrap();
        assert_eq!(got, [WeightDevice { path: path.into(), weight: 500 }]);
        for text in ["", "/dev/x", "/dev/x:", ":5", "dev/x:10", "/dev/x:9", "/dev/x:1001", "/dev/x:x", "/dev/x:-1"] {
            assert!(weights(&list(text)).is_err(), "{text}");
        }
        let rate = |rate| vec![ThrottleDevice { path: "/dev/x".into(), rate }];
        assert_eq!(byte_rates("--device-read-bps", &list("/dev/x:1mb")).unwrap(), rate(1 << 20));
        let text = byte_rates("--device-read-bps", &list("/dev/x:-1")).unwrap_err().text;
        assert!(text.starts_with("invalid rate for device: \"/dev/x:-1\" (--device-read-bps)"), "{text}");
        let operations = |text: &str| operation_rates("--device-read-iops", &list(text));
        assert_eq!(operations("/dev/x:18446744073709551615").unwrap(), rate(u64::MAX));
        for text in ["/dev/x:18446744073709551616", "/dev/x:1k", "/dev/x:+1"] {
            assert!(operations(text).unwrap_err().text.ends_with("Number must be unsigned 64 bytes integer"), "{text}");
        }
    }

    #[test]
    fn huge_pages() {
        let one = |text: &str| hugetlbs(&[text.to_owned()]).map(|mut list| list.remove(0));
        assert_eq!(one("2M:4M").unwrap(), Hugetlb { page_size: "2M".into(), limit: 4 << 20 });
        assert_eq!(one("1g").unwrap(), Hugetlb { page_size: String::new(), limit: 1 << 30 });
        for text in ["", ":1m", "2M:", "2M:x", "2M:-1", "2M:1:1"] {
            assert!(one(text).is_err(), "{text}");
        }
    }
}
