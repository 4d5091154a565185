//! `--mount type=bind,src=/a,dst=/b,…`.

use crate::api::container::{BindOptions, MountPoint, TmpfsOptions, VolumeDriver, VolumeOptions};
use crate::cmd::argv::truth_value;
use crate::cmd::isula::failure::Failure;
use crate::utils::path::clean;
use std::borrow::Cow;

/// The fields of a line of CSV (RFC 4180): one that begins with a quote ends with one, may hold commas, and two quotes
/// in it are one.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (part, after) = rest.split_once('"')?;
                field.push_str(part);
                rest = after;
                match rest.strip_prefix('"') {
                    Some(more) => rest = more,
                    None => break,
                }
                field.push('"');
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
            if field.contains('"') {
                return None;
            }
        }
        out.push(field);
        if rest.is_empty() {
            return Some(out);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

fn driver(volume: &mut Option<VolumeOptions>) -> &mut VolumeDriver {
    volume.get_or_insert_default().driver_config.get_or_insert_default()
}

/// Parses and checks one `--mount`.
pub fn parse(text: &str) -> Result<MountPoint, Failure> {
    read(text).map_err(|why| Failure::usage(format!("Invalid mount specification '{text}': {why}")))
}

/// Keys that need a value.
const KEYS: [&str; 12] = [
    "type",
    "source",
    "target",
    "bind-propagation",
    "bind-selinux-opts",
    "tmpfs-size",
    "tmpfs-mode",
    "volume-label",
    "volume-driver",
    "volume-opt",
    "consistency",
    "bind-recursive",
];
/// Keys that are true without one.
const SWITCHES: [&str; 3] = ["ro", "volume-nocopy", "bind-nonrecursive"];

fn read(text: &str) -> Result<MountPoint, Cow<'static, str>> {
    let mut mount = MountPoint { kind: "volume".into(), ..MountPoint::default() };
    let (mut bind, mut tmpfs, mut volume) = (None::<BindOptions>, None::<TmpfsOptions>, None::<VolumeOptions>);
    let mut seen: Vec<String> = Vec::new();
    for field in fields(text).ok_or("a quote stands alone")? {
        let (key, value) = pair(&field);
        let key = match key.as_str() {
            "src" => "source",
            "dst" | "destination" => "target",
            "readonly" => "ro",
            "selinux-opts" => "bind-selinux-opts",
            other => other,
        };
        if !matches!(key, "volume-label" | "volume-opt") && seen.iter().any(|other| other == key) {
            return Err(format!("{key} is given twice").into());
        }
        seen.push(key.to_owned());
        let mut truth = true;
        if SWITCHES.contains(&key) {
            if field.contains('=') {
                truth = truth_value(&value).ok_or_else(|| format!("invalid value for {key}"))?;
            }
        } else if value.is_empty() && KEYS.contains(&key) {
            return Err(format!("{key} needs a value").into());
        }
        match key {
            "type" => mount.kind = value,
            "source" => mount.source = value,
            "target" => mount.target = value,
            "ro" => mount.read_only = truth,
            "bind-propagation" => match value.as_str() {
                "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {
                    bind.get_or_insert_default().propagation = value;
                }
                _ => return Err("invalid bind-propagation".into()),
            },
            "bind-selinux-opts" => match value.as_str() {
                "z" | "Z" => bind.get_or_insert_default().selinux_opts = value,
                _ => return Err("invalid bind-selinux-opts".into()),
            },
            "tmpfs-size" => {
                let bytes = crate::utils::size::parse(&value).ok().and_then(|n| i64::try_from(n).ok());
                tmpfs.get_or_insert_default().size_bytes = bytes.ok_or("invalid tmpfs-size")?;
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(&value, 8).ok().filter(|m| *m <= 0o7777);
                tmpfs.get_or_insert_default().mode = mode.ok_or("invalid tmpfs-mode")?;
            }
            "volume-nocopy" => volume.get_or_insert_default().no_copy = truth,
            "volume-label" => {
                let (key, value) = pair(&value);
                volume.get_or_insert_default().labels.insert(key, value);
            }
            "volume-driver" if value == "local" => driver(&mut volume).name = value,
            "volume-driver" => return Err(format!("volume-driver {value:?}: local is the only one").into()),
            "volume-opt" => {
                let (key, value) = pair(&value);
                driver(&mut volume).options.insert(key, value);
            }
            // Of no effect outside of virtual machines, in docker too.
            "consistency" if matches!(value.as_str(), "default" | "consistent" | "cached" | "delegated") => {}
            "consistency" => return Err("invalid consistency".into()),
            // What is below a mount comes along, and is as writable as it was.
            "bind-recursive" => {
                let bind = bind.get_or_insert_default();
                match value.as_str() {
                    "enabled" => {}
                    "writable" => bind.read_only_non_recursive = true,
                    "disabled" => bind.non_recursive = true,
                    "readonly" => bind.read_only_force_recursive = true,
                    _ => return Err("invalid bind-recursive: want enabled, disabled, writable or readonly".into()),
                }
            }
            "bind-nonrecursive" => bind.get_or_insert_default().non_recursive = truth,
            _ => return Err(format!("unknown key {key:?}").into()),
        }
    }
    let foreign = match mount.kind.as_str() {
        "bind" | "squashfs" => (tmpfs.is_some() || volume.is_some()).then_some("tmpfs and volume options"),
        "tmpfs" => (bind.is_some() || volume.is_some()).then_some("bind and volume options"),
        "volume" => tmpfs.is_some().then_some("tmpfs options"),
        _ => return Err("type must be bind, volume, tmpfs or squashfs".into()),
    };
    if let Some(options) = foreign {
        return Err(format!("{options} do not belong to type {}", mount.kind).into());
    }
    if !mount.target.starts_with('/') || clean(&mount.target) == "/" {
        return Err("the destination must be an absolute path other than '/'".into());
    }
    match mount.kind.as_str() {
        "bind" | "squashfs" if !mount.source.starts_with('/') => {
            return Err("the source must be an absolute path".into());
        }
        "tmpfs" if !mount.source.is_empty() => return Err("a tmpfs has no source".into()),
        "volume" if mount.source.contains('/') => return Err("the source of a volume is its name".into()),
        "bind" if !mount.read_only && bind.as_ref().is_some_and(|bind| bind.read_only_force_recursive) => {
            return Err("bind-recursive=readonly goes with readonly".into());
        }
        "volume" if mount.source.is_empty() && mount.read_only => {
            return Err("an anonymous volume cannot be read-only".into());
        }
        _ => {}
    }
    (mount.bind_options, mount.tmpfs_options, mount.volume_options) = (bind, tmpfs, volume);
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_their_other_names() {
        let m = parse("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave,selinux-opts=z").unwrap();
        assert_eq!((m.kind.as_str(), m.source.as_str(), m.target.as_str(), m.read_only), ("bind", "/a", "/b", true));
        assert_eq!(
            m.bind_options,
            Some(BindOptions { propagation: "rslave".into(), selinux_opts: "z".into(), ..BindOptions::default() })
        );
        let m = parse("type=tmpfs,destination=/t,tmpfs-size=64k,tmpfs-mode=1777,ro=false").unwrap();
        assert_eq!(m.tmpfs_options, Some(TmpfsOptions { size_bytes: 65536, mode: 0o1777 }));
        let m = parse("source=vol,target=/v,volume-nocopy=true").unwrap();
        assert_eq!(
            (m.kind.as_str(), m.volume_options),
            ("volume", Some(VolumeOptions { no_copy: true, ..VolumeOptions::default() }))
        );
        let m = parse(r#"type=bind,"src=/a,b","dst=/d""e",consistency=cached,bind-recursive=enabled"#).unwrap();
        assert_eq!((m.source.as_str(), m.target.as_str()), ("/a,b", "/d\"e"));
        let m = parse(
            "src=v,dst=/v,volume-driver=local,volume-label=a=b,volume-label=c,volume-opt=type=tmpfs,volume-opt=o=x",
        );
        let options = m.unwrap().volume_options.unwrap();
        assert_eq!((options.labels["a"].as_str(), options.labels["c"].as_str()), ("b", ""));
        let driver = options.driver_config.unwrap();
        assert_eq!(
            (driver.name.as_str(), driver.options["type"].as_str(), driver.options["o"].as_str()),
            ("local", "tmpfs", "x")
        );
        assert_eq!(parse("type=squashfs,src=/s.img,dst=/s").unwrap().kind, "squashfs");
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "type=bind",
            "type=bind,src=a,dst=/b",
            "type=bind,src=/a,dst=b",
            "type=bind,src=/a,dst=/",
            "type=nosuch,dst=/b",
            "type=tmpfs,src=/a,dst=/b",
            "dst=/b,ro",
            "type=bind,src=/a,dst=/b,dst=/c",
            "type=bind,src=/a,dst=/b,tmpfs-size=1",
            "type=tmpfs,dst=/b,tmpfs-mode=9",
            "type=tmpfs,dst=/b,tmpfs-size=x",
            "type=bind,src=/a,dst=/b,ro=maybe",
            "type=bind,src=/a,dst=/b,bind-propagation=x",
            "src=a/b,dst=/b",
            "type=bind,src=/a,dst=/b,nosuch=1",
            "type=bind,src,dst=/b",
            "type=bind,\"src=/a,dst=/b",
            "type=bind,\"src=/a\"x,dst=/b",
            "type=bind,src=/a\",dst=/b",
            "type=bind,src=/a,dst=/b,consistency=x",
            "type=bind,src=/a,dst=/b,bind-recursive=sometimes",
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "type=tmpfs,dst=/b,bind-recursive=enabled",
            "dst=/b,volume-driver=nfs",
        ] {
            assert_eq!(parse(text).unwrap_err().code, 125, "{text}");
        }
    }
}
