//! Hooks: files of a container's own (`--hook-spec`) and of the daemon's, in the form of the runtime document.

use crate::api::oci::runtime::{Hook, Hooks};
use crate::error::{Context, Error, Result};
use crate::utils::json;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Largest file.
const LARGEST: u64 = 10 << 20;
/// Most hooks in one file.
const MOST: usize = 1_000;

/// Reads a file of hooks and checks each: they run as root on the host, so nobody else may be able to change them.
///
/// # Errors
/// `Kind::Invalid` for a path that is not absolute, a file that is none or malformed, and a hook that breaks a rule; the
/// failing call.
pub fn load(path: &str) -> Result<Hooks> {
    let bad = |why: &str| Error::invalid(format!("hook spec file {path:?}: {why}"));
    if !path.starts_with('/') || path.contains('\0') {
        return Err(bad("want an absolute path"));
    }
    let metadata = Path::new(path).metadata().context(|| format!("hook spec file {path:?}: stat"))?;
    if !metadata.is_file() {
        return Err(bad("not a regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(bad(&format!("{} bytes, at most {LARGEST}", metadata.len())));
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.context(|| format!("read({path:?})"))?;
    let hooks: Hooks = json::parse(&bytes).map_err(|e| bad(&e.to_string()))?;
    check_all(&hooks).map_err(|e| bad(&e.to_string()))?;
    Ok(hooks)
}

/// As [`load`] checks those of a file.
pub(super) fn check_all(hooks: &Hooks) -> Result<()> {
    if points(hooks).iter().map(|(_, list)| list.len()).sum::<usize>() > MOST {
        return Err(Error::invalid(format!("more than {MOST} hooks")));
    }
    points(hooks).iter().try_for_each(|(point, list)| list.iter().try_for_each(check).context(|| point.to_string()))
}

fn points(hooks: &Hooks) -> [(&str, &[Hook]); 6] {
    [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ]
}

fn check(hook: &Hook) -> Result<()> {
    let path = &hook.path;
    let bad = |why: &str| Error::invalid(format!("hook {path:?} {why}"));
    if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(bad("must have an absolute path"));
    }
    if hook.args.iter().chain(&hook.env).any(|word| word.contains('\0')) {
        return Err(bad("has a NUL in an argument or a variable"));
    }
    if let Some(env) = hook.env.iter().find(|env| env.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        return Err(bad(&format!("has {env:?} in its environment, want KEY=VALUE")));
    }
    let metadata = path.metadata().map_err(|e| bad(&format!("cannot be used: {}", Error::io("stat", e))))?;
    if !metadata.is_file() {
        return Err(bad("is not a regular file"));
    }
    // Whoever runs a daemon that is not root owns the hooks too.
    let owner = nix::unistd::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != owner {
        return Err(bad(&format!("must be owned by root, and belongs to user {}", metadata.uid())));
    }
    let by_group = metadata.mode() & 0o020 != 0 && metadata.gid() != 0;
    if metadata.mode() & 0o002 != 0 || by_group {
        return Err(bad(&format!("must not be writable by others, and has mode {:04o}", metadata.mode() & 0o7777)));
    }
    Ok(())
}

/// The daemon's hooks (or a template's), then the container's (or the daemon's).
pub(super) fn merge(global: Option<&Hooks>, own: Option<&Hooks>) -> Option<Hooks> {
    let (Some(first), Some(second)) = (global, own) else { return global.or(own).cloned() };
    let both = |list: fn(&Hooks) -> &[Hook]| [list(first), list(second)].concat();
    Some(Hooks {
        prestart: both(|h| &h.prestart),
        create_runtime: both(|h| &h.create_runtime),
        create_container: both(|h| &h.create_container),
        start_container: both(|h| &h.start_container),
        poststart: both(|h| &h.poststart),
        poststop: both(|h| &h.poststop),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_read_and_each_hook_is_checked() {
        let base = std::env::temp_dir().join(format!("hook-spec-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let (file, program) = (base.join("hooks.json"), base.join("program"));
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let set_mode = |mode| std::fs::set_permissions(&program, PermissionsExt::from_mode(mode)).unwrap();
        set_mode(0o755);
        let at = file.to_str().unwrap();
        let load_text = |text: &str| {
            std::fs::write(&file, text.replace("PROGRAM", program.to_str().unwrap())).unwrap();
            load(at)
        };
        let text = r#"{"prestart":[{"path":"PROGRAM","args":["a","b"],"env":["A=b"],"timeout":5}],"poststop":[]}"#;
        let hooks = load_text(text).unwrap();
        let hook = Hook {
            path: program.clone(),
            args: vec!["a".into(), "b".into()],
            env: vec!["A=b".into()],
            timeout: Some(5),
        };
        assert_eq!(hooks, Hooks { prestart: vec![hook], ..Hooks::default() });
        for (text, part) in [
            ("{", "invalid JSON"),
            (r#"{"prestart":[{"path":"bin/true"}]}"#, "prestart: hook \"bin/true\" must have an absolute path"),
            (r#"{"poststart":[{"path":"/nosuch/x"}]}"#, "poststart: hook \"/nosuch/x\" cannot be used: stat"),
            (r#"{"poststop":[{"path":"/dev/null"}]}"#, "is not a regular file"),
            (r#"{"poststop":[{"path":"PROGRAM","timeout":-1}]}"#, "hook spec file"),
            (r#"{"createRuntime":[{"path":"PROGRAM","env":["x"]}]}"#, "createRuntime: hook"),
        ] {
            let e = load_text(text).unwrap_err().to_string();
            assert!(e.contains(part), "{text}: {e}");
        }
        set_mode(0o757);
        let e = load_text(text).unwrap_err().to_string();
        assert!(e.ends_with("must not be writable by others, and has mode 0757"), "{e}");
        set_mode(0o755);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&program, Some(5), None).unwrap();
            let e = load_text(text).unwrap_err().to_string();
            assert!(e.ends_with("must be owned by root, and belongs to user 5"), "{e}");
        }
        for (path, part) in
            [("hooks.json", "want an absolute path"), ("/nosuch", "stat"), ("/tmp", "not a regular file")]
        {
            assert!(load(path).unwrap_err().to_string().contains(part), "{path}");
        }
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn those_of_the_daemon_come_first() {
        let of =
            |path: &str| Hooks { poststop: vec![Hook { path: path.into(), ..Hook::default() }], ..Hooks::default() };
        let paths: Vec<_> =
            merge(Some(&of("/a")), Some(&of("/b"))).unwrap().poststop.into_iter().map(|h| h.path).collect();
        assert_eq!(paths, [Path::new("/a"), Path::new("/b")]);
        assert_eq!((merge(None, Some(&of("/b"))), merge(None, None)), (Some(of("/b")), None));
    }
}
