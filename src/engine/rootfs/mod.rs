//! The container's root: layers, mounts, devices, masks, and the change into it.
//!
//! Everything happens in the container's own mount namespace. Until the root changes, the host's `/proc` is in sight
//! and is the only one trusted; what must be written or looked up there is done before.

pub mod cgroup;
mod closed;
pub mod device;
pub mod disk;
mod foreign;
pub mod mask;
pub mod mount;
pub mod option;
pub mod overlay;
mod squashfs;

use crate::api::oci::runtime::Device;
use crate::api::shim::Overlay;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::path::Root;
use crate::utils::sys::mount::{self as sys, Attributes, attribute};
use libc::c_ulong;
use option::{Fs, Planned};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the root is made of.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The directory that becomes the root, absolute.
    pub root: PathBuf,
    /// What is mounted there first.
    pub base: Base<'a>,
    /// Mounts in order.
    pub mounts: Vec<Planned<'a>>,
    /// Nodes; `None` when the host's `/dev` is shown.
    pub devices: Option<&'a [Device]>,
    /// Hidden paths.
    pub masked: &'a [String],
    /// Read-only paths.
    pub read_only_paths: &'a [String],
    /// Whether the root is read-only.
    pub read_only: bool,
    /// MS_* of the root, when the configuration names one.
    pub propagation: Option<c_ulong>,
    /// SELinux label of mounts.
    pub label: &'a str,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// Whether the container has a cgroup namespace.
    pub cgroup_namespace: bool,
    /// Whether it has another user namespace than the caller.
    pub user_namespace: bool,
    /// User namespaces of id-mapped mounts, each with its mount's place in the list.
    pub id_maps: Vec<(usize, OwnedFd)>,
}

/// Where the root's files come from.
#[derive(Debug, Clone, Copy)]
pub enum Base<'a> {
    /// They are there.
    Directory,
    /// The layers of an image.
    Overlay(&'a Overlay),
    /// A file system on this block device.
    Device(&'a Path),
}

/// A bind's source that was opened before the bind is made.
#[derive(Debug)]
pub enum Opened {
    /// A handle.
    Handle(OwnedFd),
    /// A detached mount.
    Tree(OwnedFd),
}

/// What had to be opened before the root is made: those things that could not be had any more afterwards.
#[derive(Debug)]
pub struct Sources {
    /// The root's directory.
    root: Option<OwnedFd>,
    /// Of binds and file systems in files, an entry for each mount.
    pub mounts: Vec<Option<Opened>>,
}

impl Sources {
    /// Nothing yet.
    pub fn none(plan: &Plan<'_>) -> Sources {
        Sources { root: None, mounts: plan.mounts.iter().map(|_| None).collect() }
    }
}

/// Cuts this new mount namespace off the caller's: nothing mounted here shows there. Mounts there still show here
/// where the configuration asks for it, and the other way round for some of the binds whose sources are returned.
///
/// # Errors
/// The failing call.
pub fn isolate(plan: &Plan<'_>) -> Result<Sources> {
    let mut sources = Sources { root: None, mounts: foreign::open(plan)? };
    let flags = plan.propagation.unwrap_or(libc::MS_SLAVE) | libc::MS_REC;
    sys::mount(None, c"/", None, flags, None).context(|| format!("mount(\"/\", {flags:#x})"))?;
    for (index, namespace) in &plan.id_maps {
        let planned = &plan.mounts[*index];
        let tree = map_ids(planned, namespace).context(|| format!("mount at {:?}", planned.destination))?;
        sources.mounts[*index] = Some(Opened::Tree(tree));
    }
    if plan.user_namespace {
        // Not before: a copy of a mount that is shared with the host's is shared with them too.
        closed::copy(plan, &mut sources)?;
    }
    if flags & libc::MS_SHARED != 0 {
        // Binds may stay shared with the host as the configuration wants, but the mount that holds the root must not
        // be, or all that is mounted in the root would show on the host. A source on that same mount is copied before,
        // and its copy stays shared.
        for (planned, source) in plan.mounts.iter().zip(&mut sources.mounts).filter(|(_, s)| s.is_none()) {
            *source = shared_source(planned)?;
        }
        cut_off(&plan.root)?;
    }
    Ok(sources)
}

/// Cuts the mount that `root` is on off the others that it shares what is mounted with. In a mount namespace of the
/// caller's own.
///
/// # Errors
/// The failing call.
pub fn cut_off(root: &Path) -> Result<()> {
    let root = std::fs::canonicalize(root).context(|| format!("realpath({root:?})"))?;
    for directory in root.ancestors() {
        match sys::mount(None, &c_path(directory)?, None, libc::MS_PRIVATE, None) {
            // Not a mount point: the mount is further up.
            Err(nix::Error::EINVAL) => {}
            result => return result.context(|| format!("mount({directory:?}, MS_PRIVATE)")),
        }
    }
    Ok(())
}

/// A detached copy of a bind's source whose files show other ids. Only the owner of a file system may say so.
fn map_ids(planned: &Planned<'_>, namespace: &OwnedFd) -> Result<OwnedFd> {
    let (Fs::Bind { source, recursive }, Some(ids)) = (&planned.kind, &planned.ids) else {
        return Err(Error::internal("id mappings of what is no bind"));
    };
    let old = || Error::new(Kind::Unsupported, "id-mapped mounts need Linux 5.12");
    let tree = match sys::open_tree(nix::fcntl::AT_FDCWD, &c_path(source)?, *recursive) {
        Err(nix::Error::ENOSYS) => return Err(old()),
        tree => tree.context(|| format!("bind source {source:?}"))?,
    };
    let attributes =
        Attributes { set: attribute::IDMAP, userns_fd: namespace.as_raw_fd() as u64, ..Attributes::default() };
    sys::set_attributes(tree.as_fd(), &attributes, ids.recursive).map_err(|e| match e {
        nix::Error::ENOSYS => old(),
        nix::Error::EINVAL => {
            let text = format!("the file system of {source:?} has no id-mapped mounts, or is mapped already");
            Error::new(Kind::Unsupported, text)
        }
        e => Error::os(format!("mount_setattr({source:?}, MOUNT_ATTR_IDMAP)"), e as i32),
    })?;
    Ok(tree)
}

fn shared_source(planned: &Planned<'_>) -> Result<Option<Opened>> {
    let Fs::Bind { source, recursive } = &planned.kind else { return Ok(None) };
    if !planned.propagation.contains(&libc::MS_SHARED) {
        return Ok(None);
    }
    match sys::open_tree(nix::fcntl::AT_FDCWD, &c_path(source)?, *recursive) {
        // Before Linux 5.2 only a source on another mount than the root's stays shared.
        Err(nix::Error::ENOSYS) => Ok(None),
        result => result
            .map(|tree| Some(Opened::Tree(tree)))
            .context(|| format!("mount at {:?}: bind source {source:?}", planned.destination)),
    }
}

/// Mounts the file systems in files that become mounts in the root, each as a source. On the root's place, before
/// anything else is there, with the caller's rights, and before it is in a cgroup that forbids the devices.
///
/// # Errors
/// The failing call with the mount; `Kind::Unsupported` for a kernel that cannot.
pub fn mount_images(plan: &Plan<'_>, sources: &mut Sources) -> Result<()> {
    for (planned, opened) in plan.mounts.iter().zip(&mut sources.mounts) {
        if let Fs::Image { source } = &planned.kind {
            *opened = Some(mount_image(plan, source).context(|| format!("mount at {:?}", planned.destination))?);
        }
    }
    Ok(())
}

fn mount_image(plan: &Plan<'_>, source: &Path) -> Result<Opened> {
    squashfs::mount(source, &plan.root)?;
    let place = c_path(&plan.root)?;
    match sys::open_tree(nix::fcntl::AT_FDCWD, &place, false) {
        Ok(tree) => {
            sys::detach(&place).context(|| format!("umount2({:?}, MNT_DETACH)", plan.root))?;
            Ok(Opened::Tree(tree))
        }
        // A handle would be of another mount namespace than the one that a user namespace gets.
        Err(nix::Error::ENOSYS) if matches!(plan.base, Base::Directory) || plan.user_namespace => {
            let text = format!(
                "{source:?}: a file system in a file, in a root that is a directory or with a user namespace, needs \
                 Linux 5.2"
            );
            Err(Error::new(Kind::Unsupported, text))
        }
        // It stays below what is mounted there next.
        Err(nix::Error::ENOSYS) => {
            let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
            let handle = nix::fcntl::open(&plan.root, flags, nix::sys::stat::Mode::empty());
            handle.map(Opened::Handle).context(|| format!("open({:?})", plan.root))
        }
        Err(e) => Err(Error::os(format!("open_tree({:?})", plan.root), e as i32)),
    }
}

impl Plan<'_> {
    /// Whether block devices of the host are needed to make the root. A cgroup that the process is in may forbid them.
    pub fn needs_devices(&self) -> bool {
        let image = |planned: &Planned<'_>| matches!(planned.kind, Fs::Image { .. });
        let base = match self.base {
            Base::Directory => false,
            Base::Overlay(layers) => !layers.images.is_empty(),
            Base::Device(_) => true,
        };
        base || self.mounts.iter().any(image)
    }
}

/// Mounts the root, when it is not there already.
///
/// # Errors
/// The failing call.
pub fn mount_base(plan: &Plan<'_>) -> Result<()> {
    match plan.base {
        Base::Directory => Ok(()),
        Base::Overlay(layers) => overlay::mount(layers, &plan.root, plan.label),
        Base::Device(device) => disk::mount(device, &plan.root, plan.read_only),
    }
}

/// Opens the root; `bind` makes it a mount point first, which the change of root needs.
///
/// # Errors
/// The failing call.
pub fn open(plan: &Plan<'_>, sources: &mut Sources, bind: bool) -> Result<Root> {
    let path = &plan.root;
    if let Some(tree) = sources.root.take() {
        // Its own place cannot be reached. On top of this namespace's root nobody looks for anything, for paths begin
        // below it.
        let top = Root::open(Path::new("/")).context(|| "open(\"/\")".into())?;
        sys::move_mount(tree.as_fd(), top.as_fd()).context(|| format!("move_mount({path:?}, \"/\")"))?;
        return Ok(Root::from(tree));
    }
    if bind {
        let place = c_path(path)?;
        sys::mount(Some(&place), &place, None, libc::MS_BIND | libc::MS_REC, None)
            .context(|| format!("mount({path:?}, {path:?}, MS_BIND)"))?;
    }
    Root::open(path).context(|| format!("open root {path:?}"))
}

/// Opens the sources of those binds that have none yet: in a user namespace while the process still is the
/// host's root, to whom their directories belong.
///
/// # Errors
/// The failing call with the source.
pub fn open_sources(plan: &Plan<'_>, sources: &mut Sources) -> Result<()> {
    for (planned, opened) in plan.mounts.iter().zip(&mut sources.mounts).filter(|(_, opened)| opened.is_none()) {
        if let Fs::Bind { source, .. } = &planned.kind {
            let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
            let fd = nix::fcntl::open(source, flags, nix::sys::stat::Mode::empty());
            let fd = fd.context(|| format!("mount at {:?}: bind source {source:?}", planned.destination))?;
            *opened = Some(Opened::Handle(fd));
        }
    }
    Ok(())
}

/// Mounts everything. `sources` are those of [`isolate`] and [`open_sources`]; `enter_cgroup` is called before the cgroup
/// tree is mounted, when it is.
///
/// # Errors
/// The failing call with the mount.
pub fn mount_all(
    plan: &Plan<'_>,
    root: &Root,
    sources: &Sources,
    mut enter_cgroup: impl FnMut() -> Result<()>,
) -> Result<()> {
    for (planned, source) in plan.mounts.iter().zip(&sources.mounts) {
        if planned.kind == Fs::Cgroup {
            enter_cgroup()?;
            cgroup::mount(root, planned, plan.cgroup_namespace)?;
        } else {
            mount::perform(root, planned, source.as_ref())?;
        }
    }
    Ok(())
}

/// Makes devices. The caller's file mode creation mask must be empty.
///
/// # Errors
/// The failing call.
pub fn make_devices(plan: &Plan<'_>, root: &Root) -> Result<()> {
    plan.devices.map_or(Ok(()), |devices| device::make(root, devices, plan.user_namespace))
}

/// Hides and protects what the configuration lists.
///
/// # Errors
/// The failing call.
pub fn protect(plan: &Plan<'_>, root: &Root) -> Result<()> {
    mask::make_read_only(root, plan.read_only_paths)?;
    mask::hide(root, plan.masked)
}

/// Makes `root` the root of this process and of its mount namespace; the working directory is `/` then.
///
/// # Errors
/// The failing call.
pub fn change_into(plan: &Plan<'_>, root: &Root) -> Result<()> {
    nix::unistd::fchdir(root.as_fd()).context(|| format!("chdir({:?})", plan.root))?;
    if plan.no_pivot {
        // The host's tree stays below, out of reach; its kernel file systems must not even be there, or a new user
        // namespace could take their presence for leave to mount them anew, unmasked.
        for host in [c"/proc", c"/sys"] {
            // Not on the host itself, should the mounts be shared with it.
            let _ = sys::mount(None, host, None, libc::MS_SLAVE | libc::MS_REC, None);
            let _ = sys::detach(host); // not a mount point: nothing to hide
        }
        sys::mount(Some(c"."), c"/", None, libc::MS_MOVE, None).context(|| "mount(\".\", \"/\", MS_MOVE)".into())?;
        nix::unistd::chroot(".").context(|| "chroot(\".\")".into())?;
    } else {
        let shared = plan.propagation.is_some();
        let host = shared.then(|| Root::open(Path::new("/"))).transpose().context(|| "open(\"/\")".into())?;
        sys::pivot_to_current_directory().map_err(|e| {
            let hint = if e == nix::Error::EINVAL { "; a root on the kernel's ram disk needs no-pivot" } else { "" };
            Error::new(
                Kind::Os(e as i32),
                format!("pivot_root({:?}): {}{hint}", plan.root, e.desc().to_ascii_lowercase()),
            )
        })?;
        if let Some(host) = host {
            // Or detaching the host's tree here would detach it there.
            nix::unistd::fchdir(&host).context(|| "fchdir()".into())?;
            sys::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None)
                .context(|| "mount(\".\", MS_SLAVE)".into())?;
        }
        sys::detach(c".").context(|| "umount2(\".\", MNT_DETACH)".into())?;
    }
    nix::unistd::chdir("/").context(|| "chdir(\"/\")".into())?;
    if let Some(flags) = plan.propagation {
        sys::mount(None, c"/", None, flags, None).context(|| format!("mount(\"/\", {flags:#x})"))?;
    }
    if plan.read_only {
        let attributes = Attributes { set: attribute::RDONLY, ..Attributes::default() };
        make_root_read_only(root, &attributes).context(|| "remount \"/\" read-only".into())?;
    }
    Ok(())
}

fn make_root_read_only(root: &Root, attributes: &Attributes) -> nix::Result<()> {
    match sys::set_attributes(root.as_fd(), attributes, false) {
        Err(nix::Error::ENOSYS) => {}
        result => return result,
    }
    // The container may have no /proc to name the root by descriptor; "/" is it.
    let now = nix::sys::statvfs::fstatvfs(root.as_fd())?.flags().bits() as c_ulong;
    let kept = now & (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME | libc::MS_NODIRATIME);
    sys::mount(None, c"/", None, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | kept, None)
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid(format!("{path:?} has a NUL byte")))
}
