//! Mounts inside the new root.
//!
//! A destination is resolved to a descriptor inside the root first and mounted through `/proc/self/fd/N`: whatever
//! links an image or a shared volume has in store, the mount lands on what was resolved.

use super::Opened;
use super::option::{Fs, Planned};
use crate::api::resource::NAMESPACED_PARAMETERS;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::entry::DIRECTORY;
use crate::utils::likeness::Attributed;
use crate::utils::path::{Links, Root};
use crate::utils::sys::fd::{file_system_of, path_of};
use crate::utils::sys::mount::{self, Attributes, MS_NOSYMFOLLOW, attribute};
use crate::utils::tree_copy;
use libc::c_ulong;
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Gid, Uid};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PROC_SUPER_MAGIC: u32 = 0x9fa0;

/// Files of `/proc` that may be covered, as lxcfs does. Anything else there would let a volume pose as the kernel
/// (CVE-2019-16884).
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// A resolved destination.
pub struct Target<'r> {
    /// The root it lies in.
    pub root: &'r Root,
    /// Its path there.
    pub path: &'r Path,
    /// What was there before the mount.
    pub fd: OwnedFd,
}

/// What a bind shows.
pub enum Source<'a> {
    /// A path of the host.
    Path(&'a Path),
    /// An open object.
    Handle(&'a OwnedFd),
    /// A detached mount.
    Tree(&'a OwnedFd),
}

/// How a bind shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bind {
    /// With all mounts below.
    pub recursive: bool,
    /// Changed attributes of the mount.
    pub attributes: Attributes,
    /// Changed attributes of it and all below.
    pub below: Attributes,
    /// Propagation of the mount, and of it and all below; 0 leaves it.
    pub propagation: [c_ulong; 2],
}

/// Mounts what is planned; `source` is the bind's source where it had to be opened earlier.
///
/// # Errors
/// The failing call with destination and source.
pub fn perform(root: &Root, planned: &Planned<'_>, source: Option<&Opened>) -> Result<()> {
    perform_one(root, planned, source).context(|| format!("mount at {:?}", planned.destination))
}

fn perform_one(root: &Root, planned: &Planned<'_>, source: Option<&Opened>) -> Result<()> {
    match &planned.kind {
        Fs::Bind { source: path, recursive } => {
            let source = match source {
                None => Source::Path(path),
                Some(opened) => Source::of(opened),
            };
            bind_planned(root, planned, &source, *recursive)
        }
        Fs::Image { .. } => {
            let opened = source.ok_or_else(|| Error::internal("a file system in a file that was not mounted"))?;
            bind_planned(root, planned, &Source::of(opened), false)
        }
        Fs::Cgroup => Err(Error::internal("cgroup mounts have a file of their own")),
        Fs::Named { kind, source } => {
            let pseudo = matches!(kind.to_bytes(), b"proc" | b"sysfs");
            let (target, existed) = Target::directory(root, planned.destination, pseudo)?;
            if !pseudo {
                check_proc(&target, None)?;
            }
            named(&target, planned, (kind, source), existed)
        }
    }
}

fn bind_planned(root: &Root, planned: &Planned<'_>, source: &Source<'_>, recursive: bool) -> Result<()> {
    let bind =
        Bind { recursive, attributes: planned.attributes, below: planned.recursive, propagation: planned.propagation };
    if planned.flags & libc::MS_REMOUNT != 0 {
        return change(&Target::existing(root, planned.destination)?, &bind);
    }
    let target = Target::for_bind(root, planned.destination, source)?;
    // A kernel parameter that is shown in its own place is what it was there: each process sees those of its namespaces.
    let is_namespaced = |path: &Path| NAMESPACED_PARAMETERS.iter().any(|(_, known)| path == Path::new(known));
    let parameter = matches!(&planned.kind, Fs::Bind { source, .. } if *source == planned.destination)
        && is_namespaced(planned.destination)
        && source.is_proc();
    if !parameter {
        check_proc(&target, Some(source))?;
    }
    self::bind(source, &target, &bind).map_err(|e| mismatch(source, &target).unwrap_or(e))
}

/// Why a bind failed, when it is that one end is a directory and the other is not: mount(2) says ENOTDIR to that, and
/// move_mount(2) EINVAL as to much else.
fn mismatch(source: &Source<'_>, target: &Target<'_>) -> Option<Error> {
    let there = is_directory(&nix::sys::stat::fstat(&target.fd).ok()?);
    let text = match (source.is_directory().ok()?, there) {
        (false, true) => "is a directory in the root, and what is mounted there is none",
        (true, false) => "is no directory in the root, and what is mounted there is one",
        _ => return None,
    };
    Some(Error::invalid(format!("{:?} {text}", target.path)))
}

fn is_directory(stat: &nix::sys::stat::FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn named(target: &Target<'_>, planned: &Planned<'_>, (kind, source): (&CStr, &CStr), existed: bool) -> Result<()> {
    let mut data = planned.data.clone();
    // A tmpfs over a directory keeps that directory's mode, as docker has it.
    if existed && kind == c"tmpfs" && !data.as_bytes().split(|&b| b == b',').any(|o| o.starts_with(b"mode=")) {
        let mode = nix::sys::stat::fstat(&target.fd).context(|| "fstat()".into())?.st_mode & 0o7777;
        let comma = if data.is_empty() { "" } else { "," };
        let text = [data.as_bytes(), format!("{comma}mode={mode:o}").as_bytes()].concat();
        data = CString::new(text).expect("made of a C string and digits");
    }
    let data = (!data.is_empty()).then_some(data.as_c_str());
    // A copy of the mount, as the way up from a directory below would lead to what is mounted on top.
    let before = match planned.copy_up && existed {
        true => match mount::open_tree(target.fd.as_fd(), c"", false) {
            Err(Errno::ENOSYS) => return Err(Error::new(Kind::Unsupported, "tmpcopyup needs Linux 5.2")),
            tree => Some(tree.context(|| format!("open_tree({:?})", target.path))?),
        },
        false => None,
    };
    // What is copied there is written before nothing can be any more.
    let closed = if planned.copy_up { planned.flags & libc::MS_RDONLY } else { 0 };
    match mount::mount(Some(source), &target.place(), Some(kind), planned.flags & !closed, data) {
        Ok(()) => {}
        // The group of terminals is perhaps none of the user namespace's: they are the user's own there then.
        Err(Errno::EINVAL) if kind == c"devpts" && data.is_some_and(|d| without_group(d).is_some()) => {
            let rest = data.and_then(without_group);
            let options = rest.as_deref().filter(|o| !o.is_empty());
            mount::mount(Some(source), &target.place(), Some(kind), planned.flags, options)
                .context(|| format!("mount({source:?}, {:?}, {kind:?}, {:#x})", target.path, planned.flags))?;
        }
        // A user namespace may mount these only with a pid, network or ipc namespace of its own: show the caller's.
        Err(Errno::EPERM) if let Some(host) = place_on_host(kind) => {
            let bind = Bind { recursive: true, attributes: planned.attributes, ..Bind::default() };
            bind_by_path(&Source::Path(Path::new(host)), target, true)?;
            change(target, &bind)?;
        }
        Err(e) => {
            let text = data.unwrap_or_default();
            let call = format!("mount({source:?}, {:?}, {kind:?}, {:#x}, {text:?})", target.path, planned.flags);
            return Err(Error::os(call, e as i32));
        }
    }
    if let Some(before) = before {
        copy_up(before, target, &planned.data)?;
    }
    let attributes = Attributes { set: if closed == 0 { 0 } else { attribute::RDONLY }, ..Attributes::default() };
    let bind = Bind { attributes, below: planned.recursive, propagation: planned.propagation, ..Bind::default() };
    if bind.attributes == Attributes::default() && bind.below == Attributes::default() && bind.propagation == [0, 0] {
        Ok(())
    } else {
        change(target, &bind)
    }
}

/// Fills the tmpfs that was just mounted on `target` with what was there `before`. Owner and mode that its options name
/// stay.
fn copy_up(before: OwnedFd, target: &Target<'_>, options: &CStr) -> Result<()> {
    let open = |directory: BorrowedFd<'_>| {
        nix::fcntl::openat(directory, ".", DIRECTORY, Mode::empty()).context(|| format!("open({:?})", target.path))
    };
    let mounted = target.root.resolve(target.path, Links::Follow).context(|| format!("open({:?})", target.path))?;
    let (from, to) = (open(before.as_fd())?, open(mounted.as_fd())?);
    let own = nix::sys::stat::fstat(&to).context(|| "fstat()".into())?;
    tree_copy::copy_tree(from, open(mounted.as_fd())?, Attributed::WherePossible)
        .context(|| format!("tmpcopyup {:?}", target.path))?;
    let named = |name: &str| options.to_bytes().split(|b| *b == b',').any(|o| o.starts_with(name.as_bytes()));
    let [uid, gid] = [(named("uid="), own.st_uid), (named("gid="), own.st_gid)].map(|(named, id)| named.then_some(id));
    nix::unistd::fchown(&to, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).context(|| "fchown()".into())?;
    if named("mode=") {
        nix::sys::stat::fchmod(&to, Mode::from_bits_truncate(own.st_mode)).context(|| "fchmod()".into())?;
    }
    Ok(())
}

/// Where the host has a file system that a user namespace may be refused.
fn place_on_host(kind: &CStr) -> Option<&'static str> {
    match kind.to_bytes() {
        b"proc" => Some("/proc"),
        b"sysfs" => Some("/sys"),
        b"mqueue" => Some("/dev/mqueue").filter(|place| Path::new(place).exists()),
        _ => None,
    }
}

/// The options without the group, if that is an id that the user namespace of this process has not.
fn without_group(options: &CStr) -> Option<CString> {
    let is_group = |option: &&[u8]| option.starts_with(b"gid=");
    let all = || options.to_bytes().split(|&b| b == b',');
    let group: u32 = std::str::from_utf8(all().rfind(is_group)?.strip_prefix(b"gid=")?).ok()?.parse().ok()?;
    let map = crate::utils::pseudo_file::read_to_string("/proc/self/gid_map").ok()?;
    let is_mapped = map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse::<u32>().ok());
        let (first, size) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
        group.checked_sub(first).is_some_and(|at| at < size)
    });
    let rest: Vec<&[u8]> = all().filter(|option| !is_group(option)).collect();
    CString::new(rest.join(&b',')).ok().filter(|_| !is_mapped)
}

/// Shows `source` at `target`.
///
/// # Errors
/// The failing call.
pub fn bind(source: &Source<'_>, target: &Target<'_>, bind: &Bind) -> Result<()> {
    if let Source::Tree(tree) = source {
        match attach(tree, source, target, bind) {
            Err(e) if e.errno() == Some(libc::ENOSYS) => {}
            result => return result,
        }
        // Linux 5.2 to 5.11: the copy, which a bind mount cannot take as its source, gets its attributes in place.
        mount::move_mount(tree.as_fd(), target.fd.as_fd())
            .context(|| format!("move_mount({source}, {:?})", target.path))?;
        return change(target, bind);
    }
    let plain = bind.attributes == Attributes::default() && bind.below == Attributes::default();
    if plain && bind.propagation == [0, 0] {
        return bind_by_path(source, target, bind.recursive);
    }
    // A detached copy gets its attributes before anyone can see it, and in a third of the calls.
    match bind_by_tree(source, target, bind) {
        Err(e) if e.errno() == Some(libc::ENOSYS) => {}
        result => return result,
    }
    bind_by_path(source, target, bind.recursive)?;
    change(target, bind)
}

fn bind_by_tree(source: &Source<'_>, target: &Target<'_>, bind: &Bind) -> Result<()> {
    let call = |name: &'static str| move || format!("{name}({source}, {:?})", target.path);
    let tree = match source {
        Source::Path(path) => mount::open_tree(nix::fcntl::AT_FDCWD, &c_path(path)?, bind.recursive),
        Source::Handle(fd) | Source::Tree(fd) => mount::open_tree(fd.as_fd(), c"", bind.recursive),
    }
    .context(call("open_tree"))?;
    attach(&tree, source, target, bind)
}

fn attach(tree: &OwnedFd, source: &Source<'_>, target: &Target<'_>, bind: &Bind) -> Result<()> {
    let call = |name: &'static str| move || format!("{name}({source}, {:?})", target.path);
    for (attributes, propagation, recursive) in
        [(bind.attributes, bind.propagation[0], false), (bind.below, bind.propagation[1], true)]
    {
        let attributes = Attributes { propagation: widen(propagation), ..attributes };
        if attributes != Attributes::default() {
            mount::set_attributes(tree.as_fd(), &attributes, recursive).context(call("mount_setattr"))?;
        }
    }
    mount::move_mount(tree.as_fd(), target.fd.as_fd()).context(call("move_mount"))
}

fn bind_by_path(source: &Source<'_>, target: &Target<'_>, recursive: bool) -> Result<()> {
    let path = match source {
        Source::Path(path) => c_path(path)?,
        Source::Handle(fd) | Source::Tree(fd) => CString::new(path_of(fd)).expect("a number has no NUL byte"),
    };
    let flags = libc::MS_BIND | if recursive { libc::MS_REC } else { 0 };
    mount::mount(Some(&path), &target.place(), None, flags, None)
        .context(|| format!("mount({source}, {:?}, MS_BIND)", target.path))
}

/// Changes attributes and propagation of the mount that was just made on `target`.
fn change(target: &Target<'_>, bind: &Bind) -> Result<()> {
    // The handle is what lies below the mount, so the path is resolved again.
    let mounted = target.root.resolve(target.path, Links::Follow).context(|| format!("open({:?})", target.path))?;
    let place = CString::new(path_of(&mounted)).expect("a number has no NUL byte");
    if bind.attributes != Attributes::default() {
        set_attributes(&mounted, &bind.attributes).context(|| format!("remount {:?}", target.path))?;
    }
    if bind.below != Attributes::default() {
        mount::set_attributes(mounted.as_fd(), &bind.below, true).map_err(|e| match e {
            Errno::ENOSYS => {
                let text = "attributes for all mounts below need Linux 5.12";
                Error::new(Kind::Unsupported, text)
            }
            e => Error::os(format!("mount_setattr({:?}, AT_RECURSIVE)", target.path), e as i32),
        })?;
    }
    for (flag, recursive) in bind.propagation.into_iter().zip([0, libc::MS_REC]).filter(|(flag, _)| *flag != 0) {
        mount::mount(None, &place, None, flag | recursive, None)
            .context(|| format!("mount({:?}, {:#x})", target.path, flag | recursive))?;
    }
    Ok(())
}

/// Changes the attributes of one mount. Without mount_setattr(2) those that stay must be said again, for a remount
/// sets all.
///
/// # Errors
/// The failing call.
pub fn set_attributes(mounted: &OwnedFd, attributes: &Attributes) -> nix::Result<()> {
    match mount::set_attributes(mounted.as_fd(), attributes, false) {
        Err(Errno::ENOSYS) => {}
        result => return result,
    }
    let now = nix::sys::statvfs::fstatvfs(mounted)?.flags().bits() as c_ulong;
    // Bit by bit: statvfs flag (ST_*), attribute, mount flag.
    const ROWS: [(c_ulong, u64, c_ulong); 7] = [
        (1, attribute::RDONLY, libc::MS_RDONLY),
        (2, attribute::NOSUID, libc::MS_NOSUID),
        (4, attribute::NODEV, libc::MS_NODEV),
        (8, attribute::NOEXEC, libc::MS_NOEXEC),
        (1024, attribute::NOATIME, libc::MS_NOATIME),
        (2048, attribute::NODIRATIME, libc::MS_NODIRATIME),
        (8192, attribute::NOSYMFOLLOW, MS_NOSYMFOLLOW),
    ];
    let mut flags = libc::MS_BIND | libc::MS_REMOUNT;
    for (st, attribute, ms) in ROWS {
        let kept = now & st != 0 && attributes.clear & attribute == 0;
        if kept || attributes.set & attribute != 0 {
            flags |= ms;
        }
    }
    flags |= match attributes.set & attribute::ATIME {
        attribute::STRICTATIME => libc::MS_STRICTATIME,
        0 if now & 4096 != 0 => libc::MS_RELATIME,
        _ => 0,
    };
    let place = CString::new(path_of(mounted)).expect("a number has no NUL byte");
    mount::mount(None, &place, None, flags, None)
}

impl Target<'_> {
    fn existing<'r>(root: &'r Root, path: &'r Path) -> Result<Target<'r>> {
        let fd = root.resolve(path, Links::Follow).context(|| format!("open({path:?}) in the root"))?;
        Ok(Target { root, path, fd })
    }

    /// A directory, made where missing; whether it existed. With `plain`, no link may lead there: procfs and sysfs
    /// must be what their paths say (CVE-2019-19921, CVE-2023-27561).
    pub fn directory<'r>(root: &'r Root, path: &'r Path, plain: bool) -> Result<(Target<'r>, bool)> {
        let links = if plain { Links::Refuse } else { Links::Follow };
        let call = || format!("open({path:?}) in the root");
        match root.resolve(path, links) {
            Ok(fd) => return Ok((Target { root, path, fd }, true)),
            Err(Errno::ENOENT) => {}
            Err(Errno::ELOOP) if plain => {
                return Err(Error::new(Kind::Denied, format!("{path:?} must be a directory, not a symbolic link")));
            }
            Err(e) => return Err(Error::os(call(), e as i32)),
        }
        let fd = root.make_missing_directory(path, 0o755).context(|| format!("mkdir({path:?}) in the root"))?;
        Ok((Target { root, path, fd }, false))
    }

    fn for_bind<'r>(root: &'r Root, path: &'r Path, source: &Source<'_>) -> Result<Target<'r>> {
        let fd = match root.resolve(path, Links::Follow) {
            Err(Errno::ENOENT) => match source.is_directory()? {
                true => root.make_missing_directory(path, 0o755).context(|| format!("mkdir({path:?}) in the root"))?,
                false => root.make_file(path, 0o644).context(|| format!("mknod({path:?}) in the root"))?,
            },
            result => result.context(|| format!("open({path:?}) in the root"))?,
        };
        Ok(Target { root, path, fd })
    }

    /// A path for mount(2) that means exactly this target.
    pub fn place(&self) -> CString {
        CString::new(path_of(&self.fd)).expect("a number has no NUL byte")
    }
}

impl<'a> Source<'a> {
    fn of(opened: &'a Opened) -> Source<'a> {
        match opened {
            Opened::Handle(fd) => Source::Handle(fd),
            Opened::Tree(fd) => Source::Tree(fd),
        }
    }

    fn is_directory(&self) -> Result<bool> {
        let stat = match self {
            Source::Path(path) => nix::sys::stat::stat(*path),
            Source::Handle(fd) | Source::Tree(fd) => nix::sys::stat::fstat(fd),
        };
        let stat = stat.context(|| format!("bind source {self}"))?;
        Ok(is_directory(&stat))
    }

    fn is_proc(&self) -> bool {
        let magic = |fd: std::os::fd::BorrowedFd<'_>| file_system_of(fd) == Ok(PROC_SUPER_MAGIC);
        match self {
            Source::Path(path) => {
                let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
                nix::fcntl::open(*path, flags, nix::sys::stat::Mode::empty()).is_ok_and(|fd| magic(fd.as_fd()))
            }
            Source::Handle(fd) | Source::Tree(fd) => magic(fd.as_fd()),
        }
    }
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Path(path) => write!(f, "{path:?}"),
            Source::Handle(_) | Source::Tree(_) => f.write_str("its source"),
        }
    }
}

/// `c_ulong` has 32 bits on some of the architectures.
#[allow(clippy::useless_conversion)]
fn widen(flags: c_ulong) -> u64 {
    u64::from(flags)
}

/// Refuses to cover procfs, or the place where it belongs, with anything but procfs, and with the few files of
/// [`PROC_FILES`]: what writes labels and limits of a process there would write elsewhere (CVE-2019-16884).
fn check_proc(target: &Target<'_>, source: Option<&Source<'_>>) -> Result<()> {
    let path = target.path.to_str().unwrap_or("");
    let denied = |text: &str| Err(Error::new(Kind::Denied, text));
    if path == "/proc" {
        return match source.is_some_and(Source::is_proc) {
            true => Ok(()),
            false => denied("a mount on /proc is not allowed, unless it is procfs"),
        };
    }
    if file_system_of(target.fd.as_fd()) != Ok(PROC_SUPER_MAGIC) || PROC_FILES.contains(&path) {
        return Ok(());
    }
    denied("a mount inside /proc is not allowed")
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::invalid(format!("{path:?} has a NUL byte")))
}
