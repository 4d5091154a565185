//! The order `view`: opens the root of a container with what is mounted in it.

use super::root::{answer, mount_layers, order};
use crate::api::archive::ViewOrder;
use crate::api::shim::{Overlay, RootOrder};
use crate::engine::rootfs::{self, Base, Plan, Sources, mount, option, overlay};
use crate::error::{Context, Error, Result};
use crate::utils::path::Links;
use crate::utils::sys::mount as sys;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Takes the order from `connection` and sends the descriptors of root and namespace. The mounts live as long as that of
/// the namespace.
///
/// # Errors
/// The failing call, which is also sent.
pub fn serve(connection: BorrowedFd<'_>) -> Result<()> {
    answer(connection, order(connection).and_then(open_view))
}

fn open_view(order: ViewOrder) -> Result<Vec<OwnedFd>> {
    super::own_mounts()?;
    let RootOrder { overlay, device, target } = order.root;
    let layers = (!overlay.lower.is_empty()).then_some(overlay);
    let planned = order.mounts.iter().map(|m| option::parse(m, Path::new("/"), "")).collect::<Result<Vec<_>>>()?;
    let mut plan = Plan {
        root: target.clone(),
        base: Base::Directory,
        mounts: planned,
        devices: None,
        masked: &[],
        read_only_paths: &[],
        read_only: !order.write || order.read_only,
        propagation: None,
        label: "",
        no_pivot: false,
        cgroup_namespace: false,
        user_namespace: false,
        id_maps: Vec::new(),
    };
    // Its places for mounts would be made in what is there.
    let is_plain = layers.is_none() && device.is_none();
    let seal = || {
        let place = c_path(&target)?;
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        sys::mount(None, &place, None, flags, None).context(|| format!("mount({target:?}, MS_RDONLY)"))
    };
    let mut sources = Sources::none(&plan);
    if let Some(device) = &device {
        plan.base = Base::Device(device);
    }
    rootfs::mount_images(&plan, &mut sources)?;
    match (layers, order.write) {
        (Some(layers), true) => overlay::mount(&layers, &target, "")?,
        // Places for mounts that are not there yet need something that can be written to.
        (Some(layers), false) if !plan.mounts.is_empty() && over_scratch(&layers, &target).is_ok() => {}
        (Some(layers), false) => mount_layers(layers, &target)?,
        (None, _) => rootfs::mount_base(&plan)?,
    }
    rootfs::open_sources(&plan, &mut sources)?;
    let root = rootfs::open(&plan, &mut sources, matches!(plan.base, Base::Directory))?;
    if is_plain && !order.write {
        seal()?;
    }
    for (planned, source) in plan.mounts.iter().zip(&sources.mounts) {
        // A root that is not to be changed and has no place for a mount does not show it.
        let missing = || root.resolve(planned.destination, Links::Follow).is_err();
        match mount::perform(&root, planned, source.as_ref()) {
            Err(_) if !order.write && missing() => {}
            mounted => mounted?,
        }
    }
    if order.read_only {
        seal()?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let namespace = open("/proc/self/ns/mnt", flags, Mode::empty()).context(|| "open(\"/proc/self/ns/mnt\")".into())?;
    Ok(vec![root.as_fd().try_clone_to_owned().context(|| "dup()".into())?, namespace])
}

/// Mounts all layers, read, below a new one in memory.
fn over_scratch(layers: &Overlay, target: &Path) -> Result<()> {
    let place = c_path(target)?;
    sys::mount(Some(c"tmpfs"), &place, Some(c"tmpfs"), 0, Some(c"size=1m,mode=700"))
        .context(|| format!("mount(\"tmpfs\", {target:?})"))?;
    let (upper, work) = (target.join("upper"), target.join("work"));
    let mounted = [&upper, &work].into_iter().try_for_each(|path| imitate(&layers.upper, path)).and_then(|()| {
        let mut layers = layers.clone();
        layers.lower.insert(0, layers.upper.clone());
        (layers.upper, layers.work) = (upper.clone(), work.clone());
        overlay::mount(&layers, target, "")
    });
    if mounted.is_err() {
        let _ = sys::detach(&place); // it only covers an empty directory
    }
    mounted
}

/// A directory with owner and mode of `model`, which the merged root shows.
fn imitate(model: &Path, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let make = || {
        let metadata = model.metadata()?;
        std::fs::create_dir(path)?;
        std::os::unix::fs::chown(path, Some(metadata.uid()), Some(metadata.gid()))?;
        std::fs::set_permissions(path, metadata.permissions())
    };
    make().context(|| format!("mkdir({path:?})"))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid(format!("{path:?} has a NUL byte")))
}
