//! The forms of mounts, and what each becomes.

use super::*;
use crate::api::container::{BindOptions as ApiBind, TmpfsOptions, VolumeDriver};

#[test]
fn binds() {
    for (text, source, target, options, propagation) in [
        ("/a:/b", "/a", "/b", "rbind rprivate rw", Propagation::Private),
        ("/a/../c/:/b//x/", "/c", "/b/x", "rbind rprivate rw", Propagation::Private),
        ("/a:/b:ro,rslave", "/a", "/b", "rbind rslave ro", Propagation::Slave),
        ("/a:/b:shared,rw,cached", "/a", "/b", "rbind shared rw", Propagation::Shared),
    ] {
        let w = parse_bind(text).unwrap();
        assert_eq!((w.mount.source.as_str(), w.mount.destination.as_str()), (source, target), "{text}");
        assert_eq!((w.mount.options.join(" ").as_str(), w.propagation, w.create_source), (options, propagation, true));
    }
    for (text, kind) in [
        ("relative:rel", Kind::Invalid),
        ("./a:/b", Kind::Invalid),
        (":/b", Kind::Invalid),
        ("/a:/", Kind::Invalid),
        ("/a:/b:", Kind::Invalid),
        ("/a:/b:ro,rw", Kind::Invalid),
        ("/a:/b:ro:z", Kind::Invalid),
        ("/a:/b:nosuch", Kind::Invalid),
        ("/a:/b:private,shared", Kind::Invalid),
        ("/a:/b:nocopy", Kind::Invalid),
        ("vol:/b:nocopy,nocopy", Kind::Invalid),
        ("vol:/", Kind::Invalid),
        ("v:/b", Kind::Invalid),
        (".vol:/b", Kind::Invalid),
        ("/b:ro", Kind::Invalid),
        ("b", Kind::Invalid),
    ] {
        assert_eq!(parse_bind(text).unwrap_err().kind(), kind, "{text}");
    }
    let text = parse_bind("relative:rel").unwrap_err().to_string();
    assert_eq!(text, "Invalid volume: path must be absolute, and destination can't be '/'");
}

#[test]
fn mounts() {
    let mount = |kind: &str, source: &str| MountPoint {
        kind: kind.into(),
        source: source.into(),
        target: "/t".into(),
        ..MountPoint::default()
    };
    let w = parse_mount(&MountPoint { read_only: true, ..mount("bind", "/s") }).unwrap();
    assert_eq!((w.mount.options.join(" ").as_str(), w.create_source), ("rbind rprivate ro", false));
    let sized =
        MountPoint { tmpfs_options: Some(TmpfsOptions { size_bytes: 4096, mode: 0o700 }), ..mount("tmpfs", "") };
    assert_eq!(parse_mount(&sized).unwrap().mount.options.join(" "), "noexec nosuid nodev mode=700 size=4096");
    let wrong = MountPoint {
        bind_options: Some(ApiBind { propagation: "x".into(), ..ApiBind::default() }),
        ..mount("bind", "/s")
    };
    let with = |options| MountPoint { volume_options: Some(options), ..mount("volume", "vol") };
    let nfs = VolumeDriver { name: "nfs".into(), ..VolumeDriver::default() };
    for (bad, kind) in [
        (wrong, Kind::Invalid),
        (mount("bind", "s"), Kind::Invalid),
        (mount("tmpfs", "/s"), Kind::Invalid),
        (mount("npipe", ""), Kind::Invalid),
        (mount("volume", "v"), Kind::Invalid),
        (mount("volume", "/v"), Kind::Invalid),
        (MountPoint { read_only: true, ..mount("volume", "") }, Kind::Invalid),
        (MountPoint { tmpfs_options: Some(TmpfsOptions::default()), ..mount("volume", "") }, Kind::Invalid),
        (with(VolumeOptions { subpath: "x".into(), ..VolumeOptions::default() }), Kind::Unsupported),
        (with(VolumeOptions { driver_config: Some(nfs), ..VolumeOptions::default() }), Kind::Unsupported),
        #[cfg(not(feature = "embedded"))]
        (mount("squashfs", "/s"), Kind::Unsupported),
        #[cfg(feature = "embedded")]
        (mount("squashfs", "s"), Kind::Invalid),
    ] {
        assert_eq!(parse_mount(&bad).unwrap_err().kind(), kind, "{bad:?}");
    }
}

#[test]
fn volumes() {
    let row = |w: &Wanted| {
        let (r, copy) = (&w.record, !w.volume.as_ref().unwrap().no_copy);
        format!("{} {} {} {} {copy} {}", r.name, r.destination, r.named, r.rw, w.mount.options.join(","))
    };
    for (text, want) in [
        ("vol:/b", "vol /b true true true rbind,rprivate,rw"),
        ("vol:/b/:ro,nocopy", "vol /b true false false rbind,rprivate,ro"),
        ("vol:/b:rslave,z", "vol /b true true true rbind,rslave,rw"),
        ("/b", " /b false true true rbind,rprivate,rw"),
        ("/b:nocopy,rw", " /b false true false rbind,rprivate,rw"),
    ] {
        assert_eq!(row(&parse_bind(text).unwrap()), want, "{text}");
    }
    let mount = MountPoint { source: "vol".into(), target: "/t".into(), read_only: true, ..MountPoint::default() };
    let host = HostConfig {
        binds: vec!["/a:/b:ro".into(), "/c".into()],
        mounts: vec![MountPoint { kind: "volume".into(), ..mount }],
        tmpfs: [("/tmp".to_owned(), String::new())].into(),
        ..HostConfig::default()
    };
    let stored = stored(&host).unwrap();
    let kinds: Vec<_> = stored.iter().map(|s| (s.record.kind.as_str(), s.record.rw, s.copy)).collect();
    assert_eq!(kinds, [("bind", false, false), ("volume", true, true), ("volume", false, true)]);
}

#[test]
fn what_was_stored_is_mounted_where_the_request_has_nothing() {
    let record = |kind: &str, destination: &str, source: &str| MountRecord {
        kind: kind.into(),
        destination: destination.into(),
        source: source.into(),
        ..MountRecord::default()
    };
    let host = HostConfig { binds: vec!["/a:/b".into(), "vol:/v:ro".into()], ..HostConfig::default() };
    let points =
        [record("bind", "/b", "/other"), record("bind", "/c", "/of/another"), record("volume", "/v", "/g/vol/_data")];
    let points = points.map(|r| (r.destination.clone(), r)).into();
    let all = of_container(&host, &points).unwrap();
    let rows: Vec<_> = all.iter().map(|w| (w.mount.source.as_str(), w.mount.kind.as_str(), w.create_source)).collect();
    assert_eq!(rows, [("/a", "bind", true), ("/of/another", "bind", true), ("/g/vol/_data", "bind", false)]);
    assert_eq!(all[2].mount.options.join(" "), "rbind rprivate ro");
}

#[test]
fn tmpfs_options_override_the_defaults() {
    for (text, want) in [
        ("", "noexec nosuid nodev"),
        ("exec,size=64m,size=1m", "nosuid nodev exec size=1m"),
        ("rw,ro,mode=1777,uid=5,size=50%", "noexec nosuid nodev ro mode=1777 uid=5 size=50%"),
    ] {
        assert_eq!(tmpfs_options(text).unwrap().join(" "), want, "{text}");
    }
    for text in ["size=", "size=x", "mode=9", "nosuch", "huge=always", "uid=-1", "size=1,x=2"] {
        assert!(tmpfs_options(text).is_err(), "{text}");
    }
}

#[test]
fn one_mount_per_destination() {
    let host = HostConfig {
        binds: vec!["/a:/x/".into()],
        tmpfs: [("/x".to_string(), String::new())].into(),
        ..HostConfig::default()
    };
    let text = of_request(&host).unwrap_err().to_string();
    assert_eq!(text, "Duplicate mount point: /x");
}
