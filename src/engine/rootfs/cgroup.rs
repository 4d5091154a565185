//! The container's view of its cgroup: cgroup2, or for v1 and hybrid hosts a directory of all hierarchies.

use super::mount::{self as tree, Bind, Source, Target};
use super::option::Planned;
use crate::engine::cgroup::{self, Hierarchy, Version};
use crate::error::{Context, Error, Result};
use crate::utils::path::{Links, Root};
use crate::utils::sys::mount;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FLAGS: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Mounts the tree for a process that is in its cgroup, and in its cgroup namespace when `namespace`. Changes the
/// working directory.
///
/// # Errors
/// The failing call.
pub fn mount(root: &Root, planned: &Planned<'_>, namespace: bool) -> Result<()> {
    let place = planned.destination;
    mount_tree(root, planned, namespace).context(|| format!("mount of the cgroup tree at {place:?}"))
}

fn mount_tree(root: &Root, planned: &Planned<'_>, namespace: bool) -> Result<()> {
    let (target, _) = Target::directory(root, planned.destination, false)?;
    let all = cgroup::all()?;
    if let [only] = all
        && only.version == Version::V2
    {
        return mount_unified(&target, planned, namespace);
    }
    mount::mount(Some(c"tmpfs"), &target.place(), Some(c"tmpfs"), FLAGS, Some(c"mode=755"))
        .context(|| "mount(\"tmpfs\")".into())?;
    // From here on names are relative to a file system that nobody else has seen yet.
    let fresh = root.resolve(planned.destination, Links::Follow);
    let fresh = fresh.context(|| format!("open({:?}) in the root", planned.destination))?;
    nix::unistd::fchdir(&fresh).context(|| "fchdir()".into())?;
    if namespace {
        all.iter().try_for_each(|h| mount_hierarchy(h, None, planned.flags))?;
    } else if !all.is_empty() {
        cgroup::of_self()?.iter().try_for_each(|(h, own)| mount_hierarchy(h, Some(own), planned.flags))?;
    }
    if planned.flags & libc::MS_RDONLY != 0 {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | FLAGS;
        mount::mount(None, c".", None, flags, None).context(|| "remount read-only".into())?;
    }
    Ok(())
}

fn mount_unified(target: &Target<'_>, planned: &Planned<'_>, namespace: bool) -> Result<()> {
    if namespace {
        match mount::mount(Some(c"cgroup"), &target.place(), Some(c"cgroup2"), planned.flags, None) {
            // A user namespace whose cgroup namespace is not its own.
            Err(nix::Error::EPERM | nix::Error::EBUSY) => {}
            result => return result.context(|| "mount(\"cgroup\", \"cgroup2\")".into()),
        }
    }
    let own = cgroup::of_self()?;
    let (_, path) = own.first().ok_or_else(|| Error::internal("a process without cgroup"))?;
    let bind = Bind { recursive: true, attributes: planned.attributes, ..Bind::default() };
    tree::bind(&Source::Path(path), target, &bind)
}

/// Mounts one hierarchy under its usual name in the working directory, with a link for each of several controllers:
/// anew in a cgroup namespace, else the part `own` of the host's.
fn mount_hierarchy(h: &Hierarchy, own: Option<&std::path::PathBuf>, flags: libc::c_ulong) -> Result<()> {
    let name = h.mount.file_name().ok_or_else(|| Error::internal("a cgroup hierarchy as root"))?;
    let c = |text: &[u8]| CString::new(text).map_err(|_| Error::internal("a path of the kernel with a NUL byte"));
    let place = c(name.as_bytes())?;
    nix::unistd::mkdir(name, nix::sys::stat::Mode::from_bits_truncate(0o755)).context(|| format!("mkdir({name:?})"))?;
    let mounted = match (own, h.version) {
        (None, Version::V2) => mount::mount(Some(c"cgroup"), &place, Some(c"cgroup2"), flags, None),
        (None, Version::V1) => {
            let options = c(h.options().as_bytes())?;
            mount::mount(Some(c"cgroup"), &place, Some(c"cgroup"), flags, Some(&options))
        }
        (Some(own), _) => {
            let own = c(own.as_os_str().as_bytes())?;
            mount::mount(Some(&own), &place, None, libc::MS_BIND, None)
                .and_then(|()| mount::mount(None, &place, None, libc::MS_BIND | libc::MS_REMOUNT | flags, None))
        }
    };
    mounted.context(|| format!("mount({name:?})"))?;
    if h.controllers.len() > 1 && h.version == Version::V1 {
        for controller in &h.controllers {
            // A hierarchy may be mounted under the name of one of its controllers.
            if Path::new(controller) != Path::new(name) {
                nix::unistd::symlinkat(name, nix::fcntl::AT_FDCWD, controller.as_str())
                    .context(|| format!("symlink({name:?}, {controller:?})"))?;
            }
        }
    }
    Ok(())
}
