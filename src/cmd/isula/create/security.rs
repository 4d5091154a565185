//! Capabilities and security options.

use super::environment::read_bounded;
use crate::cmd::isula::failure::Failure;
use crate::utils::json;

/// Largest seccomp profile, in bytes.
const MAX_PROFILE: u64 = 16 << 20;

/// capabilities(7), without their prefix.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Checks the names, which may have the prefix and any case; `verb` is `add` or `drop`.
pub fn capabilities(verb: &str, names: &[String]) -> Result<Vec<String>, Failure> {
    let is_known = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper == "ALL" || CAPABILITIES.contains(&upper.strip_prefix("CAP_").unwrap_or(&upper))
    };
    match names.iter().find(|n| !is_known(n)) {
        Some(bad) => Err(Failure::usage(format!("Unknown capability to {verb}: '{bad}'"))),
        None => Ok(names.to_vec()),
    }
}

/// Security options, ready for the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the daemon gets.
    pub passed_on: Vec<String>,
    /// No path of /proc and /sys is hidden or read-only.
    pub unmask: bool,
}

/// Reads the options; a seccomp profile goes along as its content, for the daemon may be elsewhere.
pub fn options(list: &[String]) -> Result<Options, Failure> {
    let mut out = Options::default();
    for text in list {
        let (key, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
        match (key, value) {
            ("systempaths", "unconfined") => out.unmask = true,
            ("no-new-privileges", "" | "true" | "false") => out.passed_on.push(text.replacen(':', "=", 1)),
            ("seccomp", "unconfined" | "builtin") => out.passed_on.push(format!("seccomp={value}")),
            ("seccomp", file) if !file.is_empty() => out.passed_on.push(format!("seccomp={}", profile(file)?)),
            ("label" | "apparmor", v) if !v.is_empty() => out.passed_on.push(text.clone()),
            _ => return Err(Failure::usage(format!("invalid --security-opt: {text:?}"))),
        }
    }
    Ok(out)
}

fn profile(path: &str) -> Result<String, Failure> {
    let failed = |why: String| Failure::usage(format!("opening seccomp profile ({path}) failed: {why}"));
    let bytes = read_bounded(path, MAX_PROFILE).map_err(|e| failed(e.to_string()))?;
    let json::Tree(value) = json::parse(&bytes).map_err(|e| failed(e.to_string()))?;
    Ok(json::to_text(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_capabilities() {
        let check = |name: &str| capabilities("add", &[name.to_owned()]);
        for name in ["CHOWN", "cap_sys_admin", "all", "ALL", "CAP_BPF"] {
            assert!(check(name).is_ok(), "{name}");
        }
        assert_eq!(check("NOSUCH").unwrap_err(), Failure::usage("Unknown capability to add: 'NOSUCH'"));
        assert!(check("CAP_CAP_CHOWN").is_err() && check("").is_err());
        assert!(CAPABILITIES.is_sorted() && CAPABILITIES.len() == 41);
    }

    #[test]
    fn a_profile_travels_as_its_content() {
        let path = std::env::temp_dir().join(format!("isula-seccomp-{}", std::process::id()));
        std::fs::write(&path, "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n").unwrap();
        let given =
            [format!("seccomp={}", path.display()), "no-new-privileges".into(), "systempaths=unconfined".into()];
        let got = options(&given).unwrap();
        assert_eq!(got.passed_on, ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "no-new-privileges"]);
        assert!(got.unmask);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(options(&given).unwrap_err().code, 125);
        std::fs::remove_file(&path).unwrap();
        assert!(options(&given).is_err());
        for text in ["seccomp", "seccomp=", "nosuch=1", "", "label", "no-new-privileges=maybe"] {
            assert!(options(&[text.to_owned()]).is_err(), "{text}");
        }
        assert_eq!(options(&["seccomp:unconfined".into()]).unwrap().passed_on, ["seccomp=unconfined"]);
    }
}
