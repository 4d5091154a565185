//! Another OCI runtime than the built-in one: a program, called for each step with the command line that runc, crun and
//! others share (github.com/opencontainers/runtime-tools, docs/command-line-interface.md).
//!
//! The root is mounted in a mount namespace that is left once the container runs, so that the host never sees it and
//! nothing of the host's is held there. What the runtime keeps is in the container's state directory.

use super::container::{Engine, give_realtime, open_config, read_config};
use crate::api::oci::runtime::{Process, Resources, Spec, User};
use crate::api::shim::{Launch, Stats};
use crate::engine::cgroup::{self, Cgroup};
use crate::engine::create::Started;
use crate::engine::process::give;
use crate::engine::rootfs::{self, disk, option, overlay};
use crate::engine::user;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::path::Root;
use crate::utils::sys::{child, descriptor, mount, net, process};
use crate::utils::{entry, json};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// For how long the runtime may make a container: hooks are run then.
const CREATE_TIMEOUT: Duration = Duration::from_secs(120);
/// For how long it may do something else. The shim serves nobody meanwhile, and the daemon waits a minute.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For how long it may delete a container, whose processes are killed after that in any case.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a runtime's log that are read.
const LOG_LIMIT: u64 = 64 << 10;
/// Where runtimes look for the programs that they need.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container of another runtime.
pub struct OtherRuntime {
    call: Call,
    cgroup: Option<Cgroup>,
    /// As it was at the start.
    config: Option<File>,
    pid: i32,
    is_created: bool,
}

impl OtherRuntime {
    /// A container that is still to be made.
    ///
    /// # Errors
    /// `Kind::Invalid` without a program.
    pub fn new(runtime: Vec<String>, launch: &Launch) -> Result<OtherRuntime> {
        let call = Call::new(runtime.into_iter(), launch.id.clone(), launch.state_directory.clone())?;
        Ok(OtherRuntime { call, cgroup: None, config: None, pid: 0, is_created: false })
    }

    fn cgroup(&self) -> Result<&Cgroup> {
        self.cgroup.as_ref().ok_or_else(|| Error::new(Kind::Unsupported, "the container has no cgroup"))
    }

    fn make(&mut self, launch: &Launch, spec: &Spec, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        give_realtime(launch, spec)?;
        let mut spec = spec.clone();
        let apart = Apart::enter()?;
        let root = mount_root(launch, &spec)?;
        spec.root.get_or_insert_default().path.clone_from(&root);
        let words = match &mut spec.process {
            Some(process) => {
                identify(process, &root)?;
                process.args.clone()
            }
            None => Vec::new(),
        };
        self.call.write("config.json", &json::to_vec(&spec))?;
        if let (Some(stdio), Some(linux)) = (&stdio, &spec.linux) {
            give(stdio, linux);
        }
        let console = stdio.is_none().then(|| Console::new(&self.call.directory)).transpose()?;
        let mut create: Vec<OsString> = vec!["create".into(), "--bundle".into(), self.call.directory.clone().into()];
        create.extend(["--pid-file".into(), self.call.path("pid").into()]);
        create.extend(launch.no_pivot.then(|| "--no-pivot".into()));
        create.extend(console.iter().flat_map(Console::words));
        create.push(launch.id.clone().into());
        self.is_created = true;
        self.call.run(&create, stdio, CREATE_TIMEOUT).map_err(|e| about_program(e, &words))?;
        drop(apart);
        self.pid = self.call.pid()?;
        let path = spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
        // One that runs containers in machines of their own need not have made it.
        self.cgroup = Cgroup::open(path).ok();
        let terminal = console.map(Console::receive).transpose()?;
        let started = self.call.run(&self.call.about_it("start", &[]), None, CREATE_TIMEOUT);
        started.map_err(|e| about_program(e, &words))?;
        Ok(started_as(self.pid, terminal))
    }
}

impl Engine for OtherRuntime {
    fn configuration(&mut self, launch: &Launch) -> Result<Spec> {
        let (file, spec) = open_config(launch)?;
        self.config = Some(file);
        Ok(spec)
    }

    fn launch(&mut self, launch: &Launch, spec: &Spec, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        self.make(launch, spec, stdio).inspect_err(|_| _ = self.destroy())
    }

    fn exec(&mut self, process: &Process, stdio: Option<[OwnedFd; 3]>) -> Result<Started> {
        let Some(config) = self.config.as_ref().filter(|_| self.is_created) else {
            return Err(Error::conflict("container is not running"));
        };
        let (mut process, spec) = (process.clone(), read_config(config)?);
        if process.capabilities.is_none() {
            process.capabilities = spec.process.and_then(|first| first.capabilities);
        }
        if let (Some(stdio), Some(linux)) = (&stdio, &spec.linux) {
            give(stdio, linux);
        }
        // Not waited for yet, so the number is its own.
        identify(&mut process, Path::new(&format!("/proc/{}/root", self.pid)))?;
        self.call.write("process.json", &json::to_vec(&process))?;
        let console = stdio.is_none().then(|| Console::new(&self.call.directory)).transpose()?;
        let mut words: Vec<OsString> = vec!["exec".into(), "--detach".into()];
        words.extend(["--process".into(), self.call.path("process.json").into()]);
        words.extend(["--pid-file".into(), self.call.path("pid").into()]);
        words.extend(console.iter().flat_map(Console::words));
        words.push(self.call.id.clone().into());
        self.call.run(&words, stdio, TIMEOUT).map_err(|e| about_program(e, &process.args))?;
        let pid = self.call.pid()?;
        let terminal = console.map(Console::receive).transpose()?;
        Ok(started_as(pid, terminal))
    }

    fn processes(&self) -> Result<Vec<i32>> {
        self.cgroup()?.processes()
    }

    fn signal(&self, pid: i32, signal: i32) -> Result<()> {
        // Its first process may be in a machine of its own, and only the runtime knows how to reach it.
        let asked = self.call.run(&self.call.about_it("kill", &[&signal.to_string()]), None, TIMEOUT);
        asked.or_else(|_| child::send_signal(pid, signal))
    }

    fn pause(&self) -> Result<()> {
        self.call.run(&self.call.about_it("pause", &[]), None, TIMEOUT)
    }

    fn resume(&self) -> Result<()> {
        self.call.run(&self.call.about_it("resume", &[]), None, TIMEOUT)
    }

    fn update(&self, resources: &Resources) -> Result<()> {
        self.call.write("resources.json", &json::to_vec(resources))?;
        let words = [
            "update".into(),
            "--resources".into(),
            self.call.path("resources.json").into(),
            self.call.id.clone().into(),
        ];
        self.call.run(&words, None, TIMEOUT)
    }

    fn stats(&self) -> Result<Stats> {
        self.cgroup()?.stats()
    }

    fn oom_notifier(&self) -> Option<OwnedFd> {
        self.cgroup().ok()?.oom_notifier()
    }

    fn oom_kills(&self) -> u64 {
        self.cgroup().map_or(0, Cgroup::oom_kills)
    }

    fn destroy(&mut self) -> bool {
        if std::mem::take(&mut self.is_created) {
            let _ = self.call.delete(); // what it leaves is ended and removed here
        }
        let destroyed = self.cgroup.take().map_or(Ok(()), |cgroup| cgroup.destroy(cgroup::PATIENCE));
        destroyed.err().is_none_or(|e| e.kind() != Kind::Timeout)
    }
}

fn started_as(pid: i32, terminal: Option<OwnedFd>) -> Started {
    Started { pid, pidfd: None, start_time: process::start_time(pid).unwrap_or(0), terminal }
}

/// Lets a runtime forget a container whose shim has died, when it ever knew it: id, state directory, and as
/// [`Launch::runtime`].
pub fn forget(words: &[&str]) {
    let [id, directory, runtime @ ..] = words else { return };
    let call = Call::new(runtime.iter().map(ToString::to_string), (*id).into(), directory.into());
    if let Some(call) = call.ok().filter(|call| call.root().is_dir()) {
        let _ = nix::sys::prctl::set_child_subreaper(true); // else somebody else waits for what it leaves
        let _ = call.delete(); // what it leaves is ended next
    }
}

/// How the runtime is called for one container.
struct Call {
    name: String,
    program: String,
    arguments: Vec<String>,
    id: String,
    directory: PathBuf,
}

impl Call {
    fn new(mut runtime: impl Iterator<Item = String>, id: String, directory: PathBuf) -> Result<Call> {
        let (Some(name), Some(program)) = (runtime.next(), runtime.next()) else {
            return Err(Error::invalid("a runtime without a program"));
        };
        Ok(Call { name, program, arguments: runtime.collect(), id, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the runtime notes what it runs.
    fn root(&self) -> PathBuf {
        self.path(&self.name)
    }

    fn about_it(&self, verb: &str, rest: &[&str]) -> Vec<OsString> {
        [verb, &self.id].iter().chain(rest).map(OsString::from).collect()
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path(name);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, content)).context(|| format!("write({path:?})"))
    }

    /// What the runtime has noted as the process that it started last.
    fn pid(&self) -> Result<i32> {
        let path = self.path("pid");
        let text = std::fs::read_to_string(&path).context(|| format!("read({path:?})"))?;
        let pid = text.trim().parse().ok().filter(|pid| *pid > 1);
        pid.ok_or_else(|| Error::new(Kind::Remote, format!("{}: no process id in {path:?}", self.name)))
    }

    fn delete(&self) -> Result<()> {
        self.run(&["delete".into(), "--force".into(), self.id.clone().into()], None, DELETE_TIMEOUT)
    }

    /// Calls it and waits for its end. With `stdio` the process that it starts has those.
    ///
    /// # Errors
    /// What it says; `Kind::Timeout` after `limit`.
    fn run(&self, words: &[OsString], stdio: Option<[OwnedFd; 3]>, limit: Duration) -> Result<()> {
        let (name, verb) = (&self.name, words.first().map(|w| w.to_string_lossy()).unwrap_or_default());
        let log = self.path("log.json");
        let _ = std::fs::remove_file(&log); // that of the call before
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--root").arg(self.root());
        command.arg("--log").arg(&log).args(["--log-format", "json"]).args(words);
        command.env_clear().env("PATH", SEARCH_PATH).current_dir(&self.directory);
        // What it says is in its log as well.
        match stdio {
            Some([input, output, error]) => command.stdin(input).stdout(output).stderr(error),
            None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        };
        child::unblock_signals(&mut command);
        child::lead_session(&mut command);
        let mut child = command.spawn().context(|| format!("runtime {name}: exec {:?}", self.program))?;
        drop(command); // and with it what is the process's
        let status = wait(&mut child, limit)?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let text = last_message(&log).unwrap_or_else(|| status.to_string());
                // Some say it themselves.
                let text = text.strip_prefix(&format!("{name} {verb} failed: ")).unwrap_or(&text);
                Err(Error::internal(format!("{name} {verb}: {text}")))
            }
            None => Err(Error::new(Kind::Timeout, format!("{name} {verb}: not done in {limit:?}"))),
        }
    }
}

/// Waits for the end of a program that leads a session; `None` when it had to be killed after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let pid = child.id() as i32;
    let pidfd = process::pidfd_open(pid).ok();
    loop {
        if let Some(status) = child.try_wait().context(|| "wait()".into())? {
            return Ok(Some(status));
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            // Not waited for yet, so the number is still its own.
            let _ = child::send_group_signal(pid, libc::SIGKILL);
            let _ = child.kill(); // has ended: as good
            let _ = child.wait();
            return Ok(None);
        }
        match &pidfd {
            Some(fd) => {
                let mut set = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
                net::wait_for(&mut set, Some(deadline)).context(|| "poll()".into())?;
            }
            None => std::thread::sleep(rest.min(Duration::from_millis(2))),
        }
    }
}

/// The last error in a runtime's log of JSON lines.
fn last_message(log: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(log).ok()?.take(LOG_LIMIT).read_to_string(&mut text).ok()?;
    text.lines().rev().find_map(|line| {
        let line: serde_json::Value = json::parse(line.as_bytes()).ok()?;
        matches!(line["level"].as_str(), Some("error" | "fatal")).then(|| line["msg"].as_str().map(str::to_owned))?
    })
}

/// Whether the error of a runtime is that of the program, in docker's way: nothing but the text tells.
fn about_program(e: Error, words: &[String]) -> Error {
    let text = e.to_string().to_lowercase();
    let is_named = words.first().is_some_and(|word| !word.is_empty() && text.contains(&word.to_lowercase()));
    let is_named = is_named || text.contains("open executable"); // crun's
    let says = |parts: &[&str]| is_named && parts.iter().any(|part| text.contains(part));
    if e.kind() == Kind::Timeout {
        e
    } else if says(&["executable file not found", "no such file or directory", "not found in $path"]) {
        e.with_kind(Kind::CommandNotFound)
    } else if says(&["permission denied", "is a directory", "exec format error"]) {
        e.with_kind(Kind::CommandNotExecutable)
    } else {
        e
    }
}

/// Puts numbers in the place of names, which are looked up in the container's own files: other runtimes do not.
fn identify(process: &mut Process, root: &Path) -> Result<()> {
    let root = Root::open(root).context(|| format!("open root {root:?}"))?;
    let has_home = process.env.iter().any(|e| e.starts_with("HOME="));
    let identity = user::resolve(&process.user, &root, !has_home)?;
    if !has_home {
        let home = if identity.home.is_empty() { "/" } else { &identity.home };
        process.env.push(format!("HOME={home}"));
    }
    let (uid, gid, additional_gids) = (identity.uid, identity.gid, identity.groups);
    process.user = User { uid, gid, additional_gids, umask: process.user.umask, ..User::default() };
    Ok(())
}

/// This process in a mount namespace of its own, as long as this lives.
struct Apart {
    namespace: OwnedFd,
    root: OwnedFd,
}

impl Apart {
    fn enter() -> Result<Apart> {
        let apart = Apart { namespace: open("/proc/self/ns/mnt", OFlag::O_RDONLY)?, root: open("/", OFlag::O_PATH)? };
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).context(|| "unshare(CLONE_NEWNS)".into())?;
        Ok(apart)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // Where that is not possible the shim stays, and with it what is mounted there.
        let _ = nix::sched::setns(&self.namespace, CloneFlags::CLONE_NEWNS)
            .and_then(|()| nix::unistd::fchdir(&self.root))
            .and_then(|()| nix::unistd::chroot("."));
    }
}

fn open(path: impl AsRef<Path>, flags: OFlag) -> Result<OwnedFd> {
    let path = path.as_ref();
    nix::fcntl::open(path, flags | OFlag::O_CLOEXEC, Mode::empty()).context(|| format!("open({path:?})"))
}

fn mount_id(path: &Path) -> Result<Vec<u8>> {
    entry::mount_of(open(path, OFlag::O_PATH)?.as_fd())
}

/// Directories that everybody may enter, of which most hosts have one and no runtime needs any.
const OPEN_PLACES: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/home"];

/// Where a root is to be whose owner is root of a user namespace: another runtime goes there by its path, with the rights
/// of that user, whom the directories of the graph are closed to.
fn open_place(launch: &Launch, spec: &Spec) -> Option<&'static Path> {
    let mapped = spec.linux.as_ref().is_some_and(|linux| linux.namespaces.iter().any(|n| n.kind == "user"));
    let sources = spec.mounts.iter().map(|mount| Path::new(&mount.source));
    let needed: Vec<&Path> = sources.chain([launch.bundle.as_path(), launch.state_directory.as_path()]).collect();
    let is_free = |place: &&Path| place.is_dir() && needed.iter().all(|path| !path.starts_with(place));
    OPEN_PLACES.iter().map(Path::new).filter(|_| mapped).find(is_free)
}

/// Mounts the root and gives its place. Of the mounts in this process's namespace only the one that the place is on is cut
/// off the host's: binds may be shared with it.
fn mount_root(launch: &Launch, spec: &Spec) -> Result<PathBuf> {
    let own = spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
    let root = open_place(launch, spec).unwrap_or(&own);
    rootfs::cut_off(root)?;
    let cut_off = mount_id(root)?;
    for planned in &spec.mounts {
        let planned = option::parse(planned, &launch.bundle, "")?;
        let destination = planned.destination;
        match &planned.kind {
            option::Fs::Image { .. } => {
                let text = format!("mount at {destination:?}: a file system in a file needs the built-in runtime");
                return Err(Error::new(Kind::Unsupported, text));
            }
            option::Fs::Bind { source, .. }
                if planned.propagation.contains(&libc::MS_SHARED) && mount_id(source)? == cut_off =>
            {
                let text = format!(
                    "mount at {destination:?}: propagation shared with the file system that the containers are on \
                     needs the built-in runtime"
                );
                return Err(Error::new(Kind::Unsupported, text));
            }
            _ => {}
        }
    }
    match (&launch.overlay, &launch.device) {
        (Some(layers), _) => overlay::mount(layers, root, spec.linux.as_ref().map_or("", |l| l.mount_label.as_str()))?,
        (None, Some(device)) => disk::mount(device, root, spec.root.as_ref().is_some_and(|root| root.readonly))?,
        (None, None) if root != own => {
            let from = CString::new(own.as_os_str().as_bytes()).unwrap_or_default();
            let to = CString::new(root.as_os_str().as_bytes()).unwrap_or_default();
            let flags = libc::MS_BIND | libc::MS_REC;
            mount::mount(Some(&from), &to, None, flags, None)
                .context(|| format!("mount({own:?}, {root:?}, MS_BIND)"))?;
        }
        (None, None) => {}
    }
    Ok(root.to_owned())
}

/// Where a runtime sends the master side of the terminal that it makes.
struct Console {
    directory: File,
    listener: UnixListener,
}

impl Console {
    const NAME: &str = "console.sock";

    fn new(directory: &Path) -> Result<Console> {
        let _ = std::fs::remove_file(directory.join(Console::NAME)); // that of the call before
        let directory = File::open(directory).context(|| format!("open({directory:?})"))?;
        // By number: an address has 107 bytes.
        let address = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), Console::NAME);
        let listener = UnixListener::bind(&address).context(|| format!("bind({:?})", Console::NAME))?;
        descriptor::set_nonblocking(listener.as_fd())?;
        Ok(Console { directory, listener })
    }

    fn words(&self) -> [OsString; 2] {
        let place = format!("/proc/{}/fd/{}/{}", std::process::id(), self.directory.as_raw_fd(), Console::NAME);
        ["--console-socket".into(), place.into()]
    }

    /// The terminal, which a runtime that has ended well has sent.
    fn receive(self) -> Result<OwnedFd> {
        let (connection, _) = self.listener.accept().context(|| "the runtime sends no terminal: accept4()".into())?;
        let (mut name, mut fds) = ([0; 256], Vec::new());
        net::receive(connection.as_fd(), &mut name, &mut fds).context(|| "recvmsg(terminal)".into())?;
        fds.pop().ok_or_else(|| Error::new(Kind::Remote, "the runtime sends no terminal"))
    }
}
