//! Where a container's output goes: docker's json-file with rotation, syslog, or nowhere.

use super::syslog::{self, Target};
use crate::api::container::LogConfig;
use crate::api::shim::LogFile;
use crate::error::{Error, Kind, Result};
use crate::utils::size;
use std::path::Path;

/// Bytes at which a log rotates.
const MAX_SIZE: u64 = 1 << 20;
/// Files including the current one.
const MAX_FILES: u32 = 7;
/// Smallest size that can be asked for.
const SMALLEST: u64 = 4096;

/// A log setting in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logging {
    /// json-file.
    File {
        /// Bytes at which it rotates.
        max_size: u64,
        /// Files including the current one.
        max_files: u32,
    },
    /// The host's syslog. The tag is a template until a container has it; an empty one stands for the default.
    Syslog(Box<Target>),
    /// Output is not kept.
    Off,
}

impl Default for Logging {
    fn default() -> Self {
        Logging::File { max_size: MAX_SIZE, max_files: MAX_FILES }
    }
}

impl Logging {
    /// Reads a configuration; what it leaves open comes from `self`.
    ///
    /// # Errors
    /// `Kind::Unsupported` for another driver, `Kind::Invalid` for an option that is malformed or not the driver's.
    pub fn refine(&self, wanted: &LogConfig) -> Result<Logging> {
        let (driver, mut result) = match (wanted.driver.as_str(), self) {
            ("", Logging::Off) if wanted.config.is_empty() => return Ok(Logging::Off),
            ("none", _) => ("none", Logging::Off),
            ("" | "json-file", Logging::File { .. }) => ("json-file", self.clone()),
            ("" | "syslog", Logging::Syslog(_)) => ("syslog", self.clone()),
            ("" | "json-file", _) => ("json-file", Logging::default()),
            ("syslog", _) => ("syslog", Logging::Syslog(Box::new(syslog::target()?))),
            (other, _) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("unknown container log driver {other:?}: want json-file, syslog or none"),
                ));
            }
        };
        let mut off = false;
        for (key, value) in &wanted.config {
            match (key.as_str(), &mut result) {
                ("max-size", Logging::File { max_size, .. }) => {
                    *max_size = size::parse(value).map_err(|e| e.context("log option max-size"))?;
                    if *max_size < SMALLEST {
                        return Err(Error::invalid(format!("log option max-size {value:?}: at least 4KB")));
                    }
                }
                ("max-file", Logging::File { max_files, .. }) => match value.parse() {
                    Ok(n @ 1..=1000) => *max_files = n,
                    _ => return Err(Error::invalid(format!("log option max-file {value:?}: want 1 to 1000"))),
                },
                ("disable-log", Logging::File { .. } | Logging::Syslog(_)) => match value.as_str() {
                    "true" => off = true,
                    "false" => off = false,
                    _ => return Err(Error::invalid(format!("log option disable-log {value:?}: want true or false"))),
                },
                (key, Logging::Syslog(target)) => {
                    if !syslog::set(target, key, value, &wanted.config)? {
                        return Err(foreign(driver, key));
                    }
                }
                _ => return Err(foreign(driver, key)),
            }
        }
        Ok(if off { Logging::Off } else { result })
    }

    /// The setting written out, for storing and for inspect.
    pub fn config(&self) -> LogConfig {
        match self {
            Logging::Off => LogConfig { driver: "none".into(), ..LogConfig::default() },
            Logging::File { max_size, max_files } => LogConfig {
                driver: "json-file".into(),
                config: [
                    ("max-file".to_string(), max_files.to_string()),
                    ("max-size".to_string(), max_size.to_string()),
                ]
                .into(),
            },
            Logging::Syslog(target) => LogConfig { driver: "syslog".into(), config: syslog::options(target) },
        }
    }

    /// What the shim is told.
    pub fn file(&self, path: &Path) -> Option<LogFile> {
        match *self {
            Logging::File { max_size, max_files } => Some(LogFile { path: path.into(), max_size, max_files }),
            Logging::Syslog(_) | Logging::Off => None,
        }
    }

    /// What the shim is told where there is no file: tag, empty without syslog, and facility.
    pub fn syslog(&self) -> (String, u32) {
        match self {
            Logging::Syslog(target) => (target.tag.clone(), target.facility),
            Logging::File { .. } | Logging::Off => (String::new(), 0),
        }
    }
}

/// The original's words.
fn foreign(driver: &str, option: &str) -> Error {
    Error::invalid(format!("container log driver: {driver}, unsupport: {option}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(driver: &str, options: &[(&str, &str)]) -> LogConfig {
        let config = options.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        LogConfig { driver: driver.into(), config }
    }

    #[test]
    fn defaults_and_options() {
        let default = Logging::default();
        assert_eq!(default.refine(&wanted("", &[])).unwrap(), default);
        let small = default.refine(&wanted("json-file", &[("max-size", "10k"), ("max-file", "2")])).unwrap();
        assert_eq!(small, Logging::File { max_size: 10240, max_files: 2 });
        assert_eq!(
            small.refine(&wanted("", &[("max-file", "3")])).unwrap(),
            Logging::File { max_size: 10240, max_files: 3 }
        );
        assert_eq!(default.refine(&small.config()).unwrap(), small);
        for off in [wanted("none", &[]), wanted("", &[("disable-log", "true")])] {
            assert_eq!(default.refine(&off).unwrap(), Logging::Off);
        }
        assert_eq!(Logging::Off.refine(&wanted("", &[])).unwrap(), Logging::Off);
        assert_eq!(Logging::Off.refine(&wanted("json-file", &[])).unwrap(), default);
        assert_eq!(Logging::Off.refine(&Logging::Off.config()).unwrap(), Logging::Off);
    }

    #[cfg(feature = "syslog")]
    #[test]
    fn options_of_syslog() {
        let plain = Logging::default().refine(&wanted("syslog", &[])).unwrap();
        assert_eq!(plain.syslog(), (String::new(), 3));
        let of =
            |key| Logging::default().refine(&wanted("syslog", &[(key, "{{.Name}}"), ("syslog-facility", "local7")]));
        let tagged = of("tag").unwrap();
        assert_eq!(tagged, of("syslog-tag").unwrap());
        assert_eq!(tagged.config(), wanted("syslog", &[("tag", "{{.Name}}"), ("syslog-facility", "local7")]));
        assert_eq!(Logging::default().refine(&tagged.config()).unwrap(), tagged);
        // A daemon's settings are for its own driver alone.
        assert_eq!(tagged.refine(&wanted("", &[])).unwrap(), tagged);
        assert_eq!(tagged.refine(&wanted("syslog", &[("syslog-tag", "x")])).unwrap().config().config["tag"], "x");
        assert_eq!(tagged.refine(&wanted("json-file", &[])).unwrap(), Logging::default());
        assert_eq!(tagged.refine(&wanted("", &[("disable-log", "true")])).unwrap(), Logging::Off);
        assert_eq!(Logging::Off.refine(&wanted("syslog", &[])).unwrap(), plain);
        for (options, part) in [
            (&[("max-size", "1m")][..], "container log driver: syslog, unsupport: max-size"),
            (&[("syslog-address", "udp://x")], "container log driver: syslog, unsupport: syslog-address"),
            (&[("syslog-facility", "local8")], "syslog-facility \"local8\""),
            (&[("syslog-facility", "")], "syslog-facility \"\""),
            (&[("tag", "{{.xxx}}")], "log option tag \"{{.xxx}}\""),
            (&[("tag", "a"), ("syslog-tag", "b")], "give it once"),
        ] {
            let e = Logging::default().refine(&wanted("syslog", options)).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
        assert_eq!(
            Logging::Off.refine(&wanted("syslog", &[("tag", "a"), ("syslog-tag", "a")])).unwrap().config().config["tag"],
            "a"
        );
    }

    #[test]
    fn refusals_name_the_option() {
        for (driver, option, part) in [
            ("journald", ("", ""), "journald"),
            ("", ("max-size", "1k"), "max-size"),
            ("", ("max-size", "big"), "max-size"),
            ("", ("max-file", "0"), "max-file"),
            ("", ("tag", "x"), "unsupport: tag"),
            ("", ("syslog-tag", "x"), "json-file, unsupport: syslog-tag"),
            ("none", ("max-size", "1m"), "none, unsupport: max-size"),
            ("none", ("disable-log", "true"), "none, unsupport: disable-log"),
        ] {
            let options: &[(&str, &str)] = if option.0.is_empty() { &[] } else { &[option] };
            let e = Logging::default().refine(&wanted(driver, options)).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }
}
