//! `--mount type=bind,src=/a,dst=/b,…`.

use crate::api::container::{BindOptions, MountPoint, TmpfsOptions, VolumeOptions};
use crate::cmd::argv::truth_value;
use crate::cmd::isula::failure::Failure;
use crate::utils::path::clean;

/// Parses and checks one `--mount`.
pub fn parse(text: &str) -> Result<MountPoint, Failure> {
    let bad = |why: &str| Failure::usage(format!("Invalid mount specification '{text}': {why}"));
    let mut mount = MountPoint { kind: "volume".into(), ..MountPoint::default() };
    let (mut bind, mut tmpfs, mut volume) = (None::<BindOptions>, None::<TmpfsOptions>, None::<VolumeOptions>);
    let mut seen: Vec<&str> = Vec::new();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').map_or((field, None), |(k, v)| (k, Some(v)));
        let key = match key {
            "src" => "source",
            "dst" | "destination" => "target",
            "readonly" => "ro",
            "selinux-opts" => "bind-selinux-opts",
            other => other,
        };
        if seen.contains(&key) {
            return Err(bad(&format!("{key} is given twice")));
        }
        seen.push(key);
        let needed = || value.filter(|v| !v.is_empty()).ok_or_else(|| bad(&format!("{key} needs a value")));
        let truth = || truth_value(value.unwrap_or("true")).ok_or_else(|| bad(&format!("invalid value for {key}")));
        match key {
            "type" => mount.kind = needed()?.to_owned(),
            "source" => mount.source = needed()?.to_owned(),
            "target" => mount.target = needed()?.to_owned(),
            "ro" => mount.read_only = truth()?,
            "bind-propagation" => match needed()? {
                p @ ("private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared") => {
                    bind.get_or_insert_default().propagation = p.to_owned();
                }
                _ => return Err(bad("invalid bind-propagation")),
            },
            "bind-selinux-opts" => match needed()? {
                o @ ("z" | "Z") => bind.get_or_insert_default().selinux_opts = o.to_owned(),
                _ => return Err(bad("invalid bind-selinux-opts")),
            },
            "tmpfs-size" => {
                let bytes = crate::utils::size::parse(needed()?).ok().and_then(|n| i64::try_from(n).ok());
                tmpfs.get_or_insert_default().size_bytes = bytes.ok_or_else(|| bad("invalid tmpfs-size"))?;
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(needed()?, 8).ok().filter(|m| *m <= 0o7777);
                tmpfs.get_or_insert_default().mode = mode.ok_or_else(|| bad("invalid tmpfs-mode"))?;
            }
            "volume-nocopy" => volume.get_or_insert_default().no_copy = truth()?,
            _ => return Err(bad(&format!("unknown key {key:?}"))),
        }
    }
    let foreign = match mount.kind.as_str() {
        "bind" | "squashfs" => (tmpfs.is_some() || volume.is_some()).then_some("tmpfs and volume options"),
        "tmpfs" => (bind.is_some() || volume.is_some()).then_some("bind and volume options"),
        "volume" => tmpfs.is_some().then_some("tmpfs options"),
        _ => return Err(bad("type must be bind, volume, tmpfs or squashfs")),
    };
    if let Some(options) = foreign {
        return Err(bad(&format!("{options} do not belong to type {}", mount.kind)));
    }
    if !mount.target.starts_with('/') || clean(&mount.target) == "/" {
        return Err(bad("the destination must be an absolute path other than '/'"));
    }
    match mount.kind.as_str() {
        "bind" | "squashfs" if !mount.source.starts_with('/') => {
            return Err(bad("the source must be an absolute path"));
        }
        "tmpfs" if !mount.source.is_empty() => return Err(bad("a tmpfs has no source")),
        "volume" if mount.source.contains('/') => return Err(bad("the source of a volume is its name")),
        "volume" if mount.source.is_empty() && mount.read_only => {
            return Err(bad("an anonymous volume cannot be read-only"));
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
        assert_eq!(m.bind_options, Some(BindOptions { propagation: "rslave".into(), selinux_opts: "z".into() }));
        let m = parse("type=tmpfs,destination=/t,tmpfs-size=64k,tmpfs-mode=1777,ro=false").unwrap();
        assert_eq!(m.tmpfs_options, Some(TmpfsOptions { size_bytes: 65536, mode: 0o1777 }));
        let m = parse("source=vol,target=/v,volume-nocopy=true").unwrap();
        assert_eq!(
            (m.kind.as_str(), m.volume_options),
            ("volume", Some(VolumeOptions { no_copy: true, ..VolumeOptions::default() }))
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
        ] {
            assert_eq!(parse(text).unwrap_err().code, 125, "{text}");
        }
    }
}
