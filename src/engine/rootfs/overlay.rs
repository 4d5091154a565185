//! Mounts the image's layers as the root (overlayfs, Documentation/filesystems/overlayfs.rst).
//!
//! mount(2) takes one page of options. More layers than fit go in one by one (fsconfig(2), `lowerdir+`, Linux 6.5), or
//! where that is missing by short names relative to their common directory.

use crate::api::shim::Overlay;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::mount::{self, FileSystem};
use std::ffi::{CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What mount(2) takes, with its terminating byte.
const PAGE: usize = 4096;

/// Mounts `overlay` on the directory `target`. May change the working directory.
///
/// # Errors
/// The failing call; `Kind::Unsupported` for more layers than this kernel can take.
pub fn mount(overlay: &Overlay, target: &Path, label: &str) -> Result<()> {
    if overlay.lower.is_empty() {
        return Err(Error::invalid("an overlay without layers"));
    }
    let options = options(overlay, label, Path::new(""));
    if options.len() < PAGE {
        return mount_page(options, target, overlay);
    }
    match mount_by_parameters(overlay, target, label) {
        Err(e) if matches!(e.errno(), Some(libc::ENOSYS | libc::EINVAL)) => {}
        result => return result,
    }
    let common = common_directory(overlay);
    let options = self::options(overlay, label, common);
    if options.len() >= PAGE {
        let text = format!("{} layers: their names do not fit the options of one mount", overlay.lower.len());
        return Err(Error::new(Kind::Unsupported, text));
    }
    std::env::set_current_dir(common).context(|| format!("chdir({common:?})"))?;
    mount_page(options, target, overlay)
}

fn mount_page(options: Vec<u8>, target: &Path, overlay: &Overlay) -> Result<()> {
    let options = c_string(&options)?;
    let flags = 0;
    mount::mount(Some(c"overlay"), &path(target)?, Some(c"overlay"), flags, Some(&options)).context(|| {
        let top = &overlay.lower[0];
        format!("mount(\"overlay\", {target:?}, lowerdir={top:?} and {} more)", overlay.lower.len() - 1)
    })
}

fn mount_by_parameters(overlay: &Overlay, target: &Path, label: &str) -> Result<()> {
    let call = || format!("mount(\"overlay\", {target:?}, {} layers)", overlay.lower.len());
    let file_system = FileSystem::open(c"overlay").context(call)?;
    for lower in &overlay.lower {
        // Unlike in `lowerdir`, nothing is escaped here.
        file_system.set(c"lowerdir+", Some(&path(lower)?)).context(call)?;
    }
    if !overlay.upper.as_os_str().is_empty() {
        for (key, directory) in [(c"upperdir", &overlay.upper), (c"workdir", &overlay.work)] {
            let mut value = Vec::new();
            escape(&mut value, directory.as_os_str(), b"\\");
            file_system.set(key, Some(&c_string(&value)?)).context(call)?;
        }
    }
    let context = (!label.is_empty()).then(|| format!("context={label}"));
    for option in overlay.options.iter().map(String::as_str).chain(context.as_deref()) {
        let (key, value) = option.split_once('=').map_or((option, None), |(k, v)| (k, Some(v)));
        let value = value.map(|v| c_string(v.as_bytes())).transpose()?;
        file_system.set(&c_string(key.as_bytes())?, value.as_deref()).context(call)?;
    }
    let tree = file_system.mount().context(call)?;
    let root = crate::utils::path::Root::open(target).context(|| format!("open({target:?})"))?;
    mount::move_mount(tree.as_fd(), root.as_fd()).context(call)
}

/// The option string, with paths relative to `base`.
fn options(overlay: &Overlay, label: &str, base: &Path) -> Vec<u8> {
    let relative = |p: &'_ Path| p.strip_prefix(base).unwrap_or(p).as_os_str().to_owned();
    let mut text = b"lowerdir=".to_vec();
    for (n, lower) in overlay.lower.iter().enumerate() {
        if n > 0 {
            text.push(b':');
        }
        escape(&mut text, &relative(lower), b"\\:,");
    }
    if !overlay.upper.as_os_str().is_empty() {
        text.extend_from_slice(b",upperdir=");
        escape(&mut text, &relative(&overlay.upper), b"\\,");
        text.extend_from_slice(b",workdir=");
        escape(&mut text, &relative(&overlay.work), b"\\,");
    }
    for option in &overlay.options {
        text.push(b',');
        text.extend_from_slice(option.as_bytes());
    }
    if !label.is_empty() {
        text.extend_from_slice(format!(",context=\"{label}\"").as_bytes());
    }
    text
}

fn escape(out: &mut Vec<u8>, text: &OsStr, special: &[u8]) {
    for &b in text.as_bytes() {
        if special.contains(&b) {
            out.push(b'\\');
        }
        out.push(b);
    }
}

/// The deepest directory that is above every layer.
fn common_directory(overlay: &Overlay) -> &Path {
    let mut common = overlay.lower[0].parent().unwrap_or(Path::new("/"));
    while !overlay.lower.iter().all(|l| l.starts_with(common) && l != common) {
        match common.parent() {
            Some(parent) => common = parent,
            None => break,
        }
    }
    common
}

fn path(path: &Path) -> Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid(format!("{:?} has a NUL byte", OsStr::from_bytes(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_escaped_and_shortened() {
        let overlay = Overlay {
            lower: vec!["/a/l/x:1".into(), "/a/l/y,2".into(), "/a/l\\3".into()],
            upper: "/u,p:per".into(),
            work: "/w".into(),
            options: vec!["volatile".into()],
        };
        let text = |base: &Path| String::from_utf8(options(&overlay, "", base)).unwrap();
        let tail = r",upperdir=/u\,p:per,workdir=/w,volatile";
        assert_eq!(text(Path::new("")), format!(r"lowerdir=/a/l/x\:1:/a/l/y\,2:/a/l\\3{tail}"));
        let common = common_directory(&overlay);
        assert_eq!(common, Path::new("/a"));
        assert_eq!(text(common), format!(r"lowerdir=l/x\:1:l/y\,2:l\\3{tail}"));
    }
}
