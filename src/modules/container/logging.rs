//! Where a container's output goes: docker's json-file with rotation, or nowhere.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logging {
    /// json-file.
    File {
        /// Bytes at which it rotates.
        max_size: u64,
        /// Files including the current one.
        max_files: u32,
    },
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
    pub fn refine(self, wanted: &LogConfig) -> Result<Logging> {
        let driver = match (wanted.driver.as_str(), self) {
            ("", Logging::Off) if wanted.config.is_empty() => return Ok(Logging::Off),
            ("none", _) => return none(wanted),
            ("" | "json-file", _) => "json-file",
            ("syslog", _) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    "container log driver \"syslog\" comes with a later release",
                ));
            }
            (other, _) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("unknown container log driver {other:?}: want json-file or none"),
                ));
            }
        };
        let (mut max_size, mut max_files) = match self {
            Logging::File { max_size, max_files } => (max_size, max_files),
            Logging::Off => (MAX_SIZE, MAX_FILES),
        };
        let mut off = false;
        for (key, value) in &wanted.config {
            match key.as_str() {
                "max-size" => {
                    max_size = size::parse(value).map_err(|e| e.context("log option max-size"))?;
                    if max_size < SMALLEST {
                        return Err(Error::invalid(format!("log option max-size {value:?}: at least 4KB")));
                    }
                }
                "max-file" => match value.parse() {
                    Ok(n @ 1..=1000) => max_files = n,
                    _ => return Err(Error::invalid(format!("log option max-file {value:?}: want 1 to 1000"))),
                },
                "disable-log" => match value.as_str() {
                    "true" => off = true,
                    "false" => off = false,
                    _ => return Err(Error::invalid(format!("log option disable-log {value:?}: want true or false"))),
                },
                _ => return Err(Error::invalid(format!("container log driver: {driver}, unsupport: {key}"))),
            }
        }
        Ok(if off { Logging::Off } else { Logging::File { max_size, max_files } })
    }

    /// The setting written out, for storing and for inspect.
    pub fn config(self) -> LogConfig {
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
        }
    }

    /// What the shim is told.
    pub fn file(self, path: &Path) -> Option<LogFile> {
        match self {
            Logging::Off => None,
            Logging::File { max_size, max_files } => Some(LogFile { path: path.into(), max_size, max_files }),
        }
    }
}

fn none(wanted: &LogConfig) -> Result<Logging> {
    match wanted.config.keys().next() {
        None => Ok(Logging::Off),
        Some(key) => Err(Error::invalid(format!("container log driver: none, unsupport: {key}"))),
    }
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

    #[test]
    fn refusals_name_the_option() {
        for (driver, option, part) in [
            ("syslog", ("", ""), "syslog"),
            ("journald", ("", ""), "journald"),
            ("", ("max-size", "1k"), "max-size"),
            ("", ("max-size", "big"), "max-size"),
            ("", ("max-file", "0"), "max-file"),
            ("", ("tag", "x"), "unsupport: tag"),
            ("none", ("max-size", "1m"), "unsupport: max-size"),
        ] {
            let options: &[(&str, &str)] = if option.0.is_empty() { &[] } else { &[option] };
            let e = Logging::default().refine(&wanted(driver, options)).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }
}
