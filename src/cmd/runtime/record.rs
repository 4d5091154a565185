//! What is kept of a container between commands: a directory below the root with `state.json`, a copy of its
//! configuration and, of one that is created, the socket on which its first process waits. It exists from before the
//! container is made until it is deleted, so that whatever a killed command left behind can be found and removed.

use crate::api::oci::runtime::Spec;
use crate::engine::cgroup::Cgroup;
use crate::engine::create::{CgroupChoice, Created};
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{Durability, TEMPORARY_PREFIX, replace};
use crate::utils::json;
use crate::utils::json::Object;
use crate::utils::order;
use crate::utils::sys::socket;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// Where the first process waits for its start. That it does is seen by trying, and not by the file: whoever is killed
/// half-way through a start leaves no wrong state.
const SOCKET: &str = "start.sock";
/// How many may look for the state at a time; one more is told the same.
const BACKLOG: i32 = 16;
/// Largest configuration that is read.
const CONFIG_LIMIT: u64 = 16 << 20;

/// The directory of all records.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    /// How the cgroups of those are made that are made here.
    pub cgroup: CgroupChoice,
}

/// `state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// Version of the specification.
    pub oci_version: String,
    /// Container id.
    pub id: String,
    /// First process; 0 while it is being made.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
    /// Absolute path.
    pub bundle: PathBuf,
    /// Absolute path.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// User id of who made it.
    pub owner: u32,
    /// Its cgroup.
    pub cgroup_path: String,
    /// The unit of systemd that the cgroup belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub systemd_unit: String,
    /// From the configuration.
    pub annotations: BTreeMap<String, String>,
    /// Where it is kept.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// The specification's states, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being made, or its making was cut short.
    Creating,
    /// Made; its program waits for the start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its program has ended.
    Stopped,
}

impl Status {
    /// The word in state documents.
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl Root {
    /// The directory need not exist yet.
    pub fn new(path: PathBuf, cgroup: CgroupChoice) -> Root {
        Root { path, cgroup }
    }

    /// The directory of a container.
    ///
    /// # Errors
    /// `Kind::Invalid` for what cannot be an id.
    pub fn directory(&self, id: &str) -> Result<PathBuf> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        let reserved = id.starts_with(TEMPORARY_PREFIX) || matches!(id, "." | "..");
        if id.is_empty() || id.len() > 255 || reserved || !id.bytes().all(letter) {
            return Err(Error::invalid(format!("invalid container id {id:?}: want letters, digits, _ + - .")));
        }
        Ok(self.path.join(id))
    }

    /// Takes the id: makes its directory with record and configuration.
    ///
    /// # Errors
    /// `Kind::Exists` when a container has it.
    pub fn claim(&self, record: &Record, spec: &Spec) -> Result<Claim> {
        let directory = self.directory(&record.id)?;
        let mut builder = std::fs::DirBuilder::new();
        // Sticky, so that who tidies a user's runtime directory lets it be (XDG Base Directory Specification).
        builder.recursive(true).mode(0o1700).create(&self.path).context(|| format!("mkdir({:?})", self.path))?;
        builder.recursive(false).mode(0o700).create(&directory).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(Kind::Exists, format!("container with id {:?} exists already", record.id))
            }
            _ => Error::io(format!("mkdir({directory:?})"), e),
        })?;
        let claim = Claim(Some(directory));
        replace(&claim.path().join(CONFIG), &json::to_vec(spec), 0o600, Durability::Volatile)?;
        claim.save(record)?;
        Ok(claim)
    }

    /// A container's record.
    ///
    /// # Errors
    /// `Kind::NotFound` when there is none.
    pub fn load(&self, id: &str) -> Result<Record> {
        let directory = self.directory(id)?;
        match read_limited(&directory.join(STATE)) {
            Ok(bytes) => {
                let record: Record = json::parse(&bytes).context(|| format!("record of container {id:?}"))?;
                Ok(Record { directory, ..record })
            }
            Err(e) if e.errno() == Some(libc::ENOENT) => {
                Err(Error::not_found(format!("container {id:?} does not exist")))
            }
            Err(e) => Err(e),
        }
    }

    /// The configuration that a container was made with.
    ///
    /// # Errors
    /// The failing call.
    pub fn spec(&self, id: &str) -> Result<Spec> {
        let path = self.directory(id)?.join(CONFIG);
        json::parse(&read_limited(&path)?).context(|| format!("configuration of container {id:?}"))
    }

    /// All records in order of their ids. Those that cannot be read are passed over: a command may be making or
    /// removing them right now.
    ///
    /// # Errors
    /// The failing call.
    pub fn all(&self) -> Result<Vec<Record>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context(|| format!("open({:?})", self.path))?,
        };
        let mut out: Vec<Record> = entries.flatten().filter_map(|e| self.load(e.file_name().to_str()?).ok()).collect();
        order::sort_by(&mut out, |a, b| a.id.cmp(&b.id));
        Ok(out)
    }
}

/// A record's directory that goes again unless it is kept.
#[derive(Debug)]
pub struct Claim(Option<PathBuf>);

impl Claim {
    fn path(&self) -> &Path {
        self.0.as_deref().expect("taken by keep and drop only")
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// The failing call.
    pub fn save(&self, record: &Record) -> Result<()> {
        replace(&self.path().join(STATE), &json::to_vec(record), 0o600, Durability::Volatile)
    }

    /// The socket on which the first process is to wait.
    ///
    /// # Errors
    /// The failing call.
    pub fn listen(&self) -> Result<OwnedFd> {
        socket::listen_at(self.path(), SOCKET, BACKLOG)
    }

    /// The directory stays.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take() {
            let _ = std::fs::remove_dir_all(directory); // the error that leads here is the one to report
        }
    }
}

impl Record {
    /// Notes where the cgroup of `created` is.
    pub fn set_cgroup(&mut self, created: &Created) {
        let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
        (self.cgroup_path, self.systemd_unit) = (text(created.cgroup_path()), text(created.unit()));
    }

    /// What the container is doing now.
    pub fn status(&self) -> Status {
        if self.pid == 0 {
            return Status::Creating;
        }
        if !is_running(self.pid, self.start_time) {
            return Status::Stopped;
        }
        match self.cgroup() {
            Ok(Some(cgroup)) if cgroup.is_frozen() => Status::Paused,
            _ if socket::is_listening(&self.directory, SOCKET) => Status::Created,
            _ => Status::Running,
        }
    }

    /// A connection to the first process, which waits for its start.
    ///
    /// # Errors
    /// The failing call.
    pub fn connect(&self) -> Result<OwnedFd> {
        socket::connect_at(&self.directory, SOCKET)
    }

    /// Removes the socket of a container that is started.
    pub fn forget_socket(&self) {
        let _ = std::fs::remove_file(self.directory.join(SOCKET)); // nobody listens any more
    }

    /// Its processes: those in its cgroup, or without one those in the pid namespace of its first process.
    ///
    /// # Errors
    /// The failing call.
    pub fn processes(&self) -> Result<Vec<i32>> {
        if let Some(cgroup) = self.cgroup()? {
            return cgroup.processes();
        }
        if !is_running(self.pid, self.start_time) {
            return Ok(Vec::new());
        }
        let namespace = |entry: &str| std::fs::read_link(format!("/proc/{entry}/ns/pid")).ok();
        let own = namespace(&self.pid.to_string()).filter(|own| Some(own) != namespace("self").as_ref());
        // In a pid namespace that others are in too there is nothing to tell them by.
        let Some(own) = own else { return Ok(vec![self.pid]) };
        let entries = std::fs::read_dir("/proc").context(|| "open(\"/proc\")".into())?;
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        let is_member =
            |name: &String| name.starts_with(|c: char| c.is_ascii_digit()) && namespace(name).as_ref() == Some(&own);
        Ok(names.filter(is_member).filter_map(|name| name.parse().ok()).collect())
    }

    /// Its cgroup; `None` when it is gone or there was none.
    ///
    /// # Errors
    /// The failing call.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        // While it is being made, that of systemd has a place but no path yet.
        if self.cgroup_path.is_empty() || self.cgroup_path.contains(':') && self.pid == 0 {
            return Ok(None);
        }
        match Cgroup::open(&self.cgroup_path) {
            Ok(cgroup) => Ok(Some(cgroup.with_unit(&self.systemd_unit))),
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether the process `pid` that started at `start` runs: one that has ended but was not waited for does not.
pub fn is_running(pid: i32, start: u64) -> bool {
    if !crate::utils::sys::process::is_alive(pid, start) {
        return false;
    }
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.iter().rposition(|&b| b == b')').and_then(|at| stat.get(at + 2));
    state.is_some_and(|state| !matches!(state, b'Z' | b'X'))
}

/// Reads a file of bounded size.
///
/// # Errors
/// The failing call; `Kind::Invalid` when it is larger.
pub fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).context(|| format!("open({path:?})"))?;
    let mut bytes = Vec::new();
    file.take(CONFIG_LIMIT + 1).read_to_end(&mut bytes).context(|| format!("read({path:?})"))?;
    if bytes.len() as u64 > CONFIG_LIMIT {
        return Err(Error::invalid(format!("{path:?} has more than {CONFIG_LIMIT} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> Root {
        let path = std::env::temp_dir().join(format!("lcr-record-{name}-{}", std::process::id()));
        Root::new(path, CgroupChoice::default())
    }

    #[test]
    fn an_id_is_taken_once_and_given_back() {
        let root = root("claim");
        let record = Record { id: "a".into(), ..Record::default() };
        let claim = root.claim(&record, &Spec::default()).unwrap();
        assert_eq!(root.claim(&record, &Spec::default()).unwrap_err().kind(), Kind::Exists);
        assert_eq!(root.load("a").unwrap(), Record { directory: root.path.join("a"), ..record.clone() });
        drop(claim);
        assert_eq!(root.load("a").unwrap_err().kind(), Kind::NotFound);
        let claim = root.claim(&record, &Spec::default()).unwrap();
        let pid = std::process::id() as i32;
        let start_time = crate::utils::sys::process::start_time(pid).unwrap();
        let record = Record { pid, start_time, ..record };
        claim.save(&record).unwrap();
        assert_eq!(root.load("a").unwrap().status(), Status::Running);
        let listener = claim.listen().unwrap();
        assert_eq!(root.load("a").unwrap().status(), Status::Created);
        drop(listener);
        assert_eq!(root.load("a").unwrap().status(), Status::Running, "the file alone means nothing");
        claim.save(&Record { start_time: 0, ..record }).unwrap();
        claim.keep();
        assert_eq!(root.all().unwrap().len(), 1);
        assert_eq!(root.load("a").unwrap().status(), Status::Stopped, "the start time is another one");
        assert_eq!(root.spec("a").unwrap(), Spec::default());
        std::fs::remove_dir_all(&root.path).unwrap();
    }

    #[test]
    fn ids() {
        let root = root("ids");
        for id in ["a", "A-1_b+c.d", &"x".repeat(255)] {
            assert!(root.directory(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", ".tmp-a", &"x".repeat(256)] {
            assert_eq!(root.directory(id).unwrap_err().kind(), Kind::Invalid, "{id}");
        }
        assert!(root.all().unwrap().is_empty());
    }

    #[test]
    fn a_process_that_was_not_waited_for_does_not_run() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        let start = crate::utils::sys::process::start_time(pid).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while is_running(pid, start) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(is_running(
            std::process::id() as i32,
            crate::utils::sys::process::start_time(std::process::id() as i32).unwrap()
        ));
    }
}
