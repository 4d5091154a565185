//! Mounts the image's layers as the root (overlayfs, Documentation/filesystems/overlayfs.rst).
//!
//! mount(2) takes one page of options. Directories whose paths do not fit, be they many or long, are opened and go by
//! the numbers of their descriptors, relative to `/proc/self/fd`: a few bytes each, on any kernel and without a name on
//! any disk. fsconfig(2) would be no way out: it takes 255 bytes for a path.

use super::option;
use super::squashfs;
use crate::api::shim::Overlay;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::sys::mount;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What mount(2) takes, with its terminating byte.
const PAGE: usize = 4096;
/// As many layers as the kernel stacks (OVL_MAX_STACK).
const LAYERS: usize = 500;
/// Where the descriptors of this process have names. It is the host's, and a container's first process is in it too.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Mounts `overlay` on the directory `target`, an absolute path. May change the working directory.
///
/// # Errors
/// The failing call; `Kind::Unsupported` for more layers than the kernel stacks, and for a kernel or build without what
/// layers in files need.
pub fn mount(overlay: &Overlay, target: &Path, label: &str) -> Result<()> {
    match overlay.lower.len() {
        0 => return Err(Error::invalid("an overlay without layers")),
        n if n > LAYERS => {
            let text = format!("an overlay of {n} layers: the kernel stacks {LAYERS} at most");
            return Err(Error::new(Kind::Unsupported, text));
        }
        _ => {}
    }
    let options = options(overlay, label);
    if overlay.images.is_empty() && options.len() < PAGE {
        return mount_page(options, target, overlay);
    }
    let opened = Opened::open(overlay, target)?;
    std::env::set_current_dir(DESCRIPTORS).context(|| format!("chdir({DESCRIPTORS:?})"))?;
    mount_page(self::options(&opened.named(&overlay.options), label), target, overlay)
}

fn mount_page(options: Vec<u8>, target: &Path, overlay: &Overlay) -> Result<()> {
    let options = c_string(&options)?;
    let flags =
        overlay.options.iter().filter_map(|word| option::flag(word)).fold(0, |flags, (flag, clear)| match clear {
            true => flags & !flag,
            false => flags | flag,
        });
    let target_path = c_string(target.as_os_str().as_bytes())?;
    mount::mount(Some(c"overlay"), &target_path, Some(c"overlay"), flags, Some(&options)).context(|| {
        let top = &overlay.lower[0];
        format!("mount(\"overlay\", {target:?}, lowerdir={top:?} and {} more)", overlay.lower.len() - 1)
    })
}

/// The directories of an overlay.
struct Opened {
    lower: Vec<OwnedFd>,
    /// The upper one and the work directory, when there are any.
    writable: Option<[OwnedFd; 2]>,
}

impl Opened {
    /// Layers in files are mounted on `target` for that, one upon the other: the overlay comes on top and takes over what
    /// it needs, and they go with whatever is below the root when the root changes.
    fn open(overlay: &Overlay, target: &Path) -> Result<Opened> {
        let directory = |path: &PathBuf| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open(path, flags, Mode::empty()).context(|| format!("open({path:?})"))
        };
        let layer = |path: &PathBuf| match overlay.images.contains(path) {
            true => squashfs::mount(path, target).and_then(|()| directory(&target.to_owned())),
            false => directory(path),
        };
        let lower = overlay.lower.iter().map(layer).collect::<Result<_>>()?;
        let writable = match overlay.upper.as_os_str().is_empty() {
            true => None,
            false => Some([directory(&overlay.upper)?, directory(&overlay.work)?]),
        };
        Ok(Opened { lower, writable })
    }

    /// The same overlay in the directory of descriptors.
    fn named(&self, options: &[String]) -> Overlay {
        let name = |fd: &OwnedFd| PathBuf::from(fd.as_raw_fd().to_string());
        let [upper, work] = self.writable.as_ref().map(|both| both.each_ref().map(name)).unwrap_or_default();
        let lower = self.lower.iter().map(name).collect();
        Overlay { lower, upper, work, options: options.to_vec(), images: Vec::new() }
    }
}

/// The option string.
fn options(overlay: &Overlay, label: &str) -> Vec<u8> {
    let mut text = b"lowerdir=".to_vec();
    for (n, lower) in overlay.lower.iter().enumerate() {
        if n > 0 {
            text.push(b':');
        }
        escape(&mut text, lower.as_os_str(), b"\\:,");
    }
    if !overlay.upper.as_os_str().is_empty() {
        text.extend_from_slice(b",upperdir=");
        escape(&mut text, overlay.upper.as_os_str(), b"\\,");
        text.extend_from_slice(b",workdir=");
        escape(&mut text, overlay.work.as_os_str(), b"\\,");
    }
    // The others are flags of mount(2).
    for option in overlay.options.iter().filter(|word| option::flag(word).is_none()) {
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

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid(format!("{:?} has a NUL byte", OsStr::from_bytes(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_escaped() {
        let mut overlay = Overlay {
            lower: vec!["/a/l/x:1".into(), "/a/l/y,2".into(), "/a/l\\3".into()],
            upper: "/u,p:per".into(),
            work: "/w".into(),
            options: ["nodev", "volatile"].map(String::from).into(),
            images: Vec::new(),
        };
        let text = |overlay: &Overlay| String::from_utf8(options(overlay, "")).unwrap();
        let lower = r"lowerdir=/a/l/x\:1:/a/l/y\,2:/a/l\\3";
        assert_eq!(text(&overlay), format!(r"{lower},upperdir=/u\,p:per,workdir=/w,volatile"));
        (overlay.upper, overlay.work) = (PathBuf::new(), PathBuf::new());
        assert_eq!(text(&overlay), format!("{lower},volatile"));
    }

    #[test]
    fn as_many_layers_as_the_kernel_stacks_fit_by_number() {
        let many = |n| Overlay { lower: vec!["/".into(); n], ..Overlay::default() };
        let opened = Opened::open(&many(LAYERS), Path::new("/nosuch")).unwrap();
        let named = opened.named(&["index=off".into(), "volatile".into()]);
        assert!(options(&named, "system_u:object_r:container_file_t:s0:c1,c2").len() < PAGE);
        let e = mount(&many(LAYERS + 1), Path::new("/nosuch"), "").unwrap_err();
        assert_eq!(e.kind(), Kind::Unsupported, "{e}");
    }
}
