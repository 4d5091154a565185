//! Volumes whose files are a directory elsewhere: docker's driver options `type=none`, `o=bind`, `device=PATH`.
//!
//! Other types would be mounted on the host, once for all containers; nothing is ever mounted there.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// Where the files of a volume are.
#[derive(Debug, PartialEq, Eq)]
pub struct Bound {
    /// Absolute path on the host.
    pub path: String,
    /// Whether nobody may write there.
    pub read_only: bool,
}

/// Reads the options of a volume; `None` when it has its own directory.
///
/// # Errors
/// `Kind::Unsupported` for an option or type that is not carried out, `Kind::Invalid` for a device that is no path.
pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<Bound>> {
    let no = |text: String| Err(Error::new(Kind::Unsupported, format!("volume driver \"local\": {text}")));
    if options.is_empty() {
        return Ok(None);
    }
    if let Some(key) = options.keys().find(|key| !matches!(key.as_str(), "type" | "o" | "device")) {
        return no(format!("option {key:?} is not supported"));
    }
    let get = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
    if !matches!(get("type"), "" | "none" | "bind") {
        return no(format!("type {:?} is not supported, only none with o=bind", get("type")));
    }
    let (mut binds, mut read_only) = (false, false);
    for word in get("o").split(',').filter(|word| !word.is_empty()) {
        match word {
            "bind" | "rbind" => binds = true,
            "ro" => read_only = true,
            "rw" => read_only = false,
            other => return no(format!("mount option {other:?} is not supported")),
        }
    }
    let device = get("device");
    if !binds {
        return no("a type other than none with o=bind is not supported".into());
    }
    if !device.starts_with('/') || device.contains('\0') {
        return Err(Error::invalid(format!("volume driver \"local\": device {device:?} is no absolute path")));
    }
    Ok(Some(Bound { path: crate::utils::path::clean(device), read_only }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parsed = |text: &str| {
            let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
            parse(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
        };
        assert_eq!(parsed("").unwrap(), None);
        let bound = |path: &str, read_only| Some(Bound { path: path.into(), read_only });
        assert_eq!(parsed("type=none o=bind device=/a/b/").unwrap(), bound("/a/b", false));
        assert_eq!(parsed("o=rbind,ro device=/a/../b").unwrap(), bound("/b", true));
        for (text, kind, part) in [
            ("type=nfs o=addr=1 device=:/x", Kind::Unsupported, "\"nfs\""),
            ("type=tmpfs device=tmpfs", Kind::Unsupported, "\"tmpfs\""),
            ("o=bind,noexec device=/a", Kind::Unsupported, "\"noexec\""),
            ("o=bind device=/a size=1g", Kind::Unsupported, "\"size\""),
            ("device=/a", Kind::Unsupported, "o=bind"),
            ("o=bind", Kind::Invalid, "no absolute path"),
            ("o=bind device=a", Kind::Invalid, "\"a\""),
        ] {
            let e = parsed(text).unwrap_err();
            assert!(e.kind() == kind && e.to_string().contains(part), "{text}: {e}");
        }
    }
}
