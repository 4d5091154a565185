//! Container directories: `<graph>/engines/lcr/<id>` for what lasts, `<state>/lcr/<id>` for what a reboot makes void.
//!
//! A container exists when its directory has its final name. It is made under a temporary name and renamed; it is
//! removed by renaming it back to a temporary name. Whatever carries a temporary name at start is garbage.

use super::document::{self, Document};
use super::head::Head;
use super::run::Run;
use crate::api::container::HostConfig;
use crate::api::oci::runtime::{Linux, Process, Spec};
use crate::api::shim::EXIT_FILE;
use crate::error::{Context, Error, Kind, Result};
use crate::utils::atomic_file::{self, Durability, TEMPORARY_PREFIX};
use crate::utils::id::is_full_id;
use crate::utils::json;
use crate::utils::json::Object;
use crate::utils::remove_tree;
use crate::utils::time::Timestamp;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.v2.json";
const HOST_CONFIG: &str = "hostconfig.json";
const STATE: &str = "container_state.json";
const NETWORK: &str = "network_settings.json";
/// The OCI document of the current or last run.
pub const SPEC: &str = "config.json";
/// Exit code of a container that ended while nobody looked and left no word.
pub const UNKNOWN_END: u8 = 255;
/// The log.
pub const LOG: &str = "console.log";
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;
/// Bytes that hold nearly every document.
const USUAL: usize = 4096;
/// Largest document that is read.
const LARGEST: u64 = 16 << 20;

/// The two roots.
#[derive(Debug, Clone)]
pub struct Disk {
    lasting: PathBuf,
    volatile: PathBuf,
    /// The first root, opened: loading hundreds of containers need not walk its path for every file.
    root: std::sync::Arc<File>,
}

/// What start-up found.
#[derive(Default)]
pub struct Inventory {
    /// Directories with the form of a container id.
    pub ids: Vec<String>,
    /// Those that have a directory for run state.
    pub active: BTreeSet<String>,
    /// Half-made or half-removed directories.
    pub garbage: Vec<PathBuf>,
}

/// A container that is to be written.
pub struct New<'a> {
    /// 64 digits.
    pub id: &'a str,
    /// Its configuration.
    pub document: &'a Document,
    /// Its host configuration.
    pub host: &'a HostConfig,
    /// Directories elsewhere without which it is none.
    pub needs: &'a [PathBuf],
}

/// One container as read from disk.
pub struct Loaded {
    /// Configuration; with nothing but a creation time when it cannot be read.
    pub head: Head,
    /// Run state as last written, and what is damaged.
    pub run: Run,
}

#[derive(Default, Object)]
#[serde(default)]
struct BriefSpec {
    process: Option<Process>,
    hostname: String,
    linux: BriefLinux,
}

#[derive(Default, Object)]
#[serde(default, rename_all = "camelCase")]
struct BriefLinux {
    cgroups_path: String,
}

impl Disk {
    /// Opens the two roots, making them when they are not there.
    ///
    /// # Errors
    /// The failing call.
    pub fn open(graph: &Path, state: &Path) -> Result<Disk> {
        let (lasting, volatile) = (graph.join("engines/lcr"), state.join("lcr"));
        make_directories(&lasting)?;
        make_directories(&volatile)?;
        let root = File::open(&lasting).context(|| format!("open({lasting:?})"))?;
        Ok(Disk { lasting, volatile, root: root.into() })
    }

    /// A container's lasting directory: the OCI bundle.
    pub fn directory(&self, id: &str) -> PathBuf {
        self.lasting.join(id)
    }

    /// A container's volatile directory.
    pub fn state_directory(&self, id: &str) -> PathBuf {
        self.volatile.join(id)
    }

    /// Where a container's log is.
    pub fn log(&self, id: &str) -> PathBuf {
        self.lasting.join(id).join(LOG)
    }

    /// Writes a new container. It exists when this returns.
    ///
    /// # Errors
    /// The failing call; nothing is left then.
    pub fn create(&self, new: &New<'_>, durability: Durability) -> Result<()> {
        let id = new.id;
        let temporary = self.lasting.join(format!("{TEMPORARY_PREFIX}{id}"));
        let last = self.directory(id);
        let made = make_directory(&temporary)
            .and_then(|()| {
                let (host, document) = (written(new.host), json::to_vec(new.document));
                let files = [(HOST_CONFIG, &host[..]), (NETWORK, b"{}"), (CONFIG, &document)];
                atomic_file::fill_directory(&temporary, &files, FILE_MODE, durability)?;
                // Not every file system writes these with the files above (btrfs); to one that does, these are done.
                match durability {
                    Durability::Durable => new.needs.iter().try_for_each(|path| atomic_file::sync_directory(path)),
                    Durability::Volatile => Ok(()),
                }
            })
            .and_then(|()| std::fs::rename(&temporary, &last).context(|| format!("rename({temporary:?}, {last:?})")));
        if let Err(e) = made {
            let _ = std::fs::remove_dir_all(&temporary); // the first error is the one to report
            return Err(e);
        }
        if durability == Durability::Durable
            && let Err(e) = atomic_file::sync_directory(&self.lasting)
        {
            let _ = std::fs::remove_dir_all(&last);
            return Err(e);
        }
        Ok(())
    }

    /// What is there.
    ///
    /// # Errors
    /// When a root cannot be read.
    pub fn inventory(&self) -> Result<Inventory> {
        let mut found = Inventory::default();
        for name in names(&self.lasting)? {
            if is_full_id(&name) {
                found.ids.push(name);
            } else if name.starts_with(TEMPORARY_PREFIX) {
                found.garbage.push(self.lasting.join(name));
            } else {
                log::warn!("{:?} is no container and is left alone", self.lasting.join(name));
            }
        }
        for name in names(&self.volatile)? {
            if is_full_id(&name) {
                found.active.insert(name);
            } else {
                found.garbage.push(self.volatile.join(name));
            }
        }
        Ok(found)
    }

    /// Reads one container. `active` tells whether it has a volatile directory, whose state wins. `None` for something
    /// that has a container's name and is no directory.
    pub fn load(&self, id: &str, active: bool) -> Option<Loaded> {
        let mut run = self.run(id, active);
        let head = match self.head(id) {
            Ok(head) => head,
            Err(e) => {
                let directory = std::fs::symlink_metadata(self.directory(id)).ok().filter(|m| m.is_dir())?;
                run.damage = e.to_string();
                Head { created: modified(&directory), is_unread: true, ..Head::default() }
            }
        };
        Some(Loaded { head, run })
    }

    fn head(&self, id: &str) -> Result<Head> {
        let missing = || Error::corrupt(format!("{CONFIG} is missing"));
        with_content(self.open_in(id, CONFIG)?.ok_or_else(missing)?, |bytes| {
            document::load_head(bytes, id, || self.host_config(id)).context(|| CONFIG.into())
        })
    }

    fn run(&self, id: &str, active: bool) -> Run {
        let volatile = active.then(|| open(&self.state_directory(id).join(STATE)));
        let mut damage = None;
        for found in volatile.into_iter().chain(std::iter::once_with(|| self.open_in(id, STATE))) {
            let parsed = found.and_then(|file| file.map(|file| with_content(file, json::parse)).transpose());
            match parsed.context(|| format!("{STATE} is damaged")) {
                Ok(Some(run)) => return run,
                Ok(None) => {}
                Err(e) => damage = damage.or(Some(e)),
            }
        }
        damage.map_or_else(Run::default, |e| self.unknown_run(id, active, &e))
    }

    /// What can still be said of a run whose state cannot be read. There is such a file only after a start, so to show
    /// it as created would be wrong, and the container itself is whole: as the original does with a run whose end it
    /// does not know (disk-layout, restore), it is one that ended with 255. A shim that runs, and the exit file of one
    /// that has ended, know better and are asked after this.
    fn unknown_run(&self, id: &str, active: bool, damage: &Error) -> Run {
        log::error!("container {id}: what is known of its last run is lost: {damage}");
        // The document is written at each start.
        let started_at =
            std::fs::metadata(self.directory(id).join(SPEC)).map_or_else(|_| Timestamp::now(), |m| modified(&m));
        Run {
            // Then what is left of it, if anything, is to be cleaned up.
            running: active,
            exit_code: i32::from(UNKNOWN_END),
            error: damage.to_string(),
            started_at,
            ..Run::default()
        }
    }

    /// A file of a container's lasting directory; `None` when there is no such file.
    fn open_in(&self, id: &str, name: &str) -> Result<Option<File>> {
        use nix::fcntl::{OFlag, openat};
        let path = format!("{id}/{name}");
        match openat(&*self.root, path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(nix::Error::ENOENT) => Ok(None),
            Err(e) => Err(Error::os(format!("open({name:?})"), e as i32)),
        }
    }

    /// Whether a shim left an exit file beside the container.
    pub fn has_exit_file(&self, id: &str) -> bool {
        use nix::fcntl::AtFlags;
        use nix::unistd::{AccessFlags, faccessat};
        let path = format!("{id}/{EXIT_FILE}");
        faccessat(&*self.root, path.as_str(), AccessFlags::F_OK, AtFlags::empty()).is_ok()
    }

    /// The whole configuration document.
    ///
    /// # Errors
    /// `Kind::Corrupt`, or the failing call.
    pub fn document(&self, id: &str) -> Result<Document> {
        parse_file(&self.directory(id).join(CONFIG))
    }

    /// The host configuration.
    ///
    /// # Errors
    /// `Kind::Corrupt`, or the failing call.
    pub fn host_config(&self, id: &str) -> Result<HostConfig> {
        parse_file(&self.directory(id).join(HOST_CONFIG))
    }

    /// Writes the configuration document anew.
    ///
    /// # Errors
    /// The failing call; the old one stays.
    pub fn save_document(&self, id: &str, document: &Document) -> Result<()> {
        self.rewrite(id, CONFIG, &json::to_vec(document))
    }

    /// Writes the host configuration anew.
    ///
    /// # Errors
    /// The failing call; the old one stays.
    pub fn save_host_config(&self, id: &str, host: &HostConfig) -> Result<()> {
        self.rewrite(id, HOST_CONFIG, &written(host))
    }

    fn rewrite(&self, id: &str, name: &str, content: &[u8]) -> Result<()> {
        atomic_file::replace(&self.directory(id).join(name), content, FILE_MODE, Durability::Durable)
    }

    /// Of the OCI document of the current or last run: process, host name and cgroup. The rest, most of it the system
    /// call filter, is skipped while reading.
    ///
    /// # Errors
    /// `Kind::Corrupt`, or the failing call.
    pub fn spec(&self, id: &str) -> Result<Spec> {
        let brief: BriefSpec = parse_file(&self.directory(id).join(SPEC))?;
        Ok(Spec {
            process: brief.process,
            hostname: brief.hostname,
            linux: Some(Linux { cgroups_path: brief.linux.cgroups_path, ..Linux::default() }),
            ..Spec::default()
        })
    }

    /// Writes the OCI document for a start.
    ///
    /// # Errors
    /// The failing call.
    pub fn write_spec(&self, id: &str, spec: &Spec) -> Result<()> {
        let path = self.directory(id).join(SPEC);
        atomic_file::replace(&path, &json::to_vec(spec), FILE_MODE, Durability::Volatile)
    }

    /// Makes the volatile directory for a run, empty.
    ///
    /// # Errors
    /// The failing call.
    pub fn make_state_directory(&self, id: &str) -> Result<PathBuf> {
        let path = self.state_directory(id);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                std::fs::remove_dir_all(&path).context(|| format!("remove {path:?}"))?;
                std::fs::DirBuilder::new().mode(0o700).create(&path).context(|| format!("mkdir({path:?})"))?;
            }
            other => other.context(|| format!("mkdir({path:?})"))?,
        }
        Ok(path)
    }

    /// Removes the volatile directory; none is no error.
    pub fn remove_state_directory(&self, id: &str) {
        remove_tree(&self.state_directory(id));
    }

    /// Notes a running container where a reboot forgets it.
    ///
    /// # Errors
    /// The failing call.
    pub fn save_volatile(&self, id: &str, run: &Run) -> Result<()> {
        let path = self.state_directory(id).join(STATE);
        atomic_file::replace(&path, &json::to_vec(run), FILE_MODE, Durability::Volatile)
    }

    /// Notes the state where a reboot finds it.
    ///
    /// # Errors
    /// The failing call.
    pub fn save(&self, id: &str, run: &Run, durability: Durability) -> Result<()> {
        let path = self.directory(id).join(STATE);
        atomic_file::replace(&path, &json::to_vec(run), FILE_MODE, durability)
    }

    /// Removes the files of writes that were interrupted when the daemon ended. The operation lock must be held. An exit
    /// file is another process's: its own stays while that may write it.
    ///
    /// # Errors
    /// The failing call.
    pub fn remove_temporaries(&self, id: &str, has_shim: bool) -> Result<()> {
        atomic_file::remove_temporaries(&self.directory(id), |name| !(has_shim && name == EXIT_FILE))
    }

    /// Makes the state last that was saved before. No error when the container is gone by now.
    ///
    /// # Errors
    /// The failing call.
    pub fn sync_state(&self, id: &str) -> Result<()> {
        let directory = self.directory(id);
        let path = directory.join(STATE);
        match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.and_then(|file| file.sync_all()).context(|| format!("fsync({path:?})"))?,
        }
        match atomic_file::sync_directory(&directory) {
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Removes the exit file beside the container: it is recorded, or void.
    pub fn remove_exit_file(&self, id: &str) {
        let _ = std::fs::remove_file(self.directory(id).join(EXIT_FILE)); // an exit seen live may have left none
    }

    /// Makes a container cease to exist; what its directory held is left under the name that is returned, for
    /// [`remove_tree()`]. No directory is no error.
    ///
    /// # Errors
    /// The failing call.
    pub fn begin_removal(&self, id: &str, durability: Durability) -> Result<PathBuf> {
        let garbage = self.lasting.join(format!("{TEMPORARY_PREFIX}{id}"));
        let directory = self.directory(id);
        let mut renamed = atomic_file::rename_away(&directory, garbage.clone());
        if let Err(e) = &renamed
            && matches!(e.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST))
        {
            remove_tree(&garbage); // of an earlier, interrupted removal under the same id
            renamed = atomic_file::rename_away(&directory, garbage.clone());
        }
        let garbage = match renamed {
            Err(e) if e.kind() == ErrorKind::NotFound => garbage,
            other => other.context(|| format!("rename({directory:?}, {garbage:?})"))?,
        };
        if durability == Durability::Durable {
            atomic_file::sync_directory(&self.lasting)?;
        }
        Ok(garbage)
    }
}

/// Removes a tree of ours and says in the log when that fails; what is left is garbage for the next start.
pub fn remove_tree(path: &Path) {
    if let Err(e) = remove_tree::remove_tree(path) {
        log::warn!("{e}");
    }
}

/// Bytes of all regular files in a tree, as far as it can be read. Does not follow links and keeps its own stack, so
/// that a container cannot lead it astray or deep.
pub fn tree_size(root: &Path) -> u64 {
    let mut total = 0u64;
    let mut stack = vec![root.to_path_buf()];
    while let Some(directory) = stack.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(m) if m.is_dir() => stack.push(entry.path()),
                Ok(m) if m.is_file() => total = total.saturating_add(m.len()),
                _ => {}
            }
        }
    }
    total
}

fn make_directories(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).context(|| format!("mkdir({path:?})"))
}

/// A host configuration with the original's names for what docker spells in other letters. Either is read.
fn written(host: &HostConfig) -> Vec<u8> {
    let mut bytes = json::to_vec(host);
    for name in [
        "CPUShares",
        "CPUPeriod",
        "CPUQuota",
        "CPURealtimePeriod",
        "CPURealtimeRuntime",
        "BlkioDeviceReadIops",
        "BlkioDeviceWriteIops",
    ] {
        let docker = format!("\"{}\":", name.replace("CPU", "Cpu").replace("Iops", "IOps"));
        // What a map of the user's has by that name is a text.
        let is_it = |window: &[u8]| window.starts_with(docker.as_bytes()) && !window.ends_with(b"\"");
        if let Some(at) = bytes.windows(docker.len() + 1).position(is_it) {
            bytes[at + 1..][..name.len()].copy_from_slice(name.as_bytes());
        }
    }
    bytes
}

fn make_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path).context(|| format!("mkdir({path:?})"))
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let call = || format!("readdir({directory:?})");
    let mut list = Vec::new();
    for entry in std::fs::read_dir(directory).context(call)? {
        list.push(entry.context(call)?.file_name().to_string_lossy().into_owned());
    }
    Ok(list)
}

/// A file; `None` when there is none.
fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("open({path:?})"), e)),
        Ok(file) => Ok(Some(file)),
    }
}

/// Hands out a file's content. Most documents come with one read into the stack: less than was asked for is the end of
/// a regular file (read(2)).
fn with_content<T>(mut file: File, body: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    use std::io::Read;
    let mut start = [0; USUAL];
    let n = file.read(&mut start).context(|| "read()".into())?;
    if n < USUAL {
        return body(&start[..n]);
    }
    let mut bytes = start.to_vec();
    file.take(LARGEST).read_to_end(&mut bytes).context(|| "read()".into())?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::corrupt(format!("it is larger than {LARGEST} bytes")));
    }
    body(&bytes)
}

fn parse_file<T: json::Member + Default>(path: &Path) -> Result<T> {
    let file = open(path)?.ok_or_else(|| Error::corrupt(format!("{path:?} is missing")))?;
    with_content(file, |bytes| json::parse(bytes).map_err(|e| e.with_kind(Kind::Corrupt)))
        .context(|| format!("{path:?}"))
}

fn modified(metadata: &std::fs::Metadata) -> Timestamp {
    metadata.modified().map_or(Timestamp::UNSET, Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shim::Exit;
    use crate::modules::container::document::Extra;
    use crate::modules::container::logging::Logging;
    use crate::modules::container::run::Phase;

    /// Two roots in a directory that goes away with the value.
    struct Roots(PathBuf);

    impl Roots {
        fn new(name: &str) -> Roots {
            let path = std::env::temp_dir().join(format!("executor-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Roots(path)
        }

        fn open(&self) -> Disk {
            Disk::open(&self.0.join("graph"), &self.0.join("state")).unwrap()
        }
    }

    impl Drop for Roots {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A document that loads.
    fn document(id: &str, name: &str) -> Document {
        let mut d = Document { image: format!("sha256:{}", "a".repeat(64)), ..Document::default() };
        d.common_config.id = id.into();
        d.common_config.name = name.into();
        d.common_config.path = "true".into();
        d.common_config.created = Timestamp::now();
        d.common_config.extra = Some(Extra::new(&HostConfig::default(), &Logging::default()));
        d
    }

    fn new<'a>(id: &'a str, document: &'a Document, host: &'a HostConfig) -> New<'a> {
        New { id, document, host, needs: &[] }
    }

    #[test]
    fn a_container_is_there_whole_or_not_at_all() {
        let roots = Roots::new("create");
        let disk = roots.open();
        let id = "a".repeat(64);
        let host = HostConfig { memory: 5, ..HostConfig::default() };
        disk.create(&new(&id, &document(&id, "web"), &host), Durability::Durable).unwrap();
        assert_eq!(disk.load(&id, false).unwrap().head.name, "web");
        assert_eq!(disk.host_config(&id).unwrap().memory, 5);
        let host = HostConfig {
            cpu_shares: 7,
            blkio_device_read_iops: vec![Default::default()],
            annotations: [("CpuShares".to_string(), "8".to_string())].into(),
            ..host
        };
        disk.save_host_config(&id, &host).unwrap();
        let text = std::fs::read_to_string(disk.directory(&id).join(HOST_CONFIG)).unwrap();
        for part in ["\"CPUShares\":7", "\"BlkioDeviceReadIops\":[{", "\"CpuShares\":\"8\"", "\"CPURealtimePeriod\":0"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(disk.host_config(&id).unwrap(), host);
        assert!(disk.create(&new(&id, &document(&id, "web"), &host), Durability::Volatile).is_err());
        let found = disk.inventory().unwrap();
        assert_eq!((found.ids, found.garbage.len()), (vec![id.clone()], 0));

        let garbage = disk.begin_removal(&id, Durability::Durable).unwrap();
        let found = disk.inventory().unwrap();
        assert_eq!((found.ids.len(), found.garbage.len()), (0, 1), "killed in between, it is garbage");
        remove_tree(&garbage);
        disk.begin_removal(&id, Durability::Volatile).unwrap();
    }

    #[test]
    fn volatile_state_wins() {
        let roots = Roots::new("state");
        let disk = roots.open();
        let id = "b".repeat(64);
        disk.create(&new(&id, &document(&id, "web"), &HostConfig::default()), Durability::Volatile).unwrap();
        let run = |exit_code| Run { exit_code, ..Run::default() };
        disk.save(&id, &run(1), Durability::Durable).unwrap();
        disk.make_state_directory(&id).unwrap();
        assert_eq!(disk.load(&id, true).unwrap().run.exit_code, 1);
        disk.save_volatile(&id, &run(2)).unwrap();
        assert_eq!(disk.load(&id, true).unwrap().run.exit_code, 2);
        std::fs::write(disk.state_directory(&id).join(STATE), "{\"ExitCode\":").unwrap();
        assert_eq!(disk.load(&id, true).unwrap().run.exit_code, 1);
        disk.make_state_directory(&id).unwrap();
        assert_eq!(std::fs::read_dir(disk.state_directory(&id)).unwrap().count(), 0);
        disk.remove_state_directory(&id);
        disk.remove_state_directory(&id);
    }

    #[test]
    fn a_run_whose_state_is_lost_has_ended() {
        let roots = Roots::new("lost");
        let disk = roots.open();
        let id = "d".repeat(64);
        disk.create(&new(&id, &document(&id, "web"), &HostConfig::default()), Durability::Volatile).unwrap();
        assert_eq!(disk.load(&id, false).unwrap().run, Run::default());
        disk.write_spec(&id, &Spec::default()).unwrap();
        for text in ["", "{\"Running\":tr", "[]", "{\"ExitCode\":\"0\"}"] {
            std::fs::write(disk.directory(&id).join(STATE), text).unwrap();
            let run = disk.load(&id, false).unwrap().run;
            assert_eq!((run.phase(), run.exit_code), (Phase::Exited, 255), "{text:?}");
            assert!(run.error.starts_with("container_state.json is damaged: "), "{}", run.error);
            let ended = Exit { started_at: Timestamp::now(), finished_at: Timestamp::now(), ..Exit::default() };
            assert!(run.concerns(&ended), "an exit file knows better");
            assert!(disk.load(&id, true).unwrap().run.running, "its remains are to be looked for");
        }
    }

    #[test]
    fn damaged_documents_are_told_apart() {
        let roots = Roots::new("damage");
        let disk = roots.open();
        let id = "c".repeat(64);
        disk.create(&new(&id, &document(&id, "web"), &HostConfig::default()), Durability::Volatile).unwrap();
        for text in ["", "{", "null", "[]", "{\"CommonConfig\":7}"] {
            std::fs::write(disk.directory(&id).join(CONFIG), text).unwrap();
            let Loaded { head, run } = disk.load(&id, false).unwrap();
            assert_eq!((head.name.as_str(), run.phase()), ("", Phase::Dead), "{text:?}");
            assert!(head.created.is_set() && run.damage.starts_with("config.v2.json: "), "{}", run.damage);
        }
        std::fs::remove_file(disk.directory(&id).join(CONFIG)).unwrap();
        assert_eq!(disk.load(&id, false).unwrap().run.damage, "config.v2.json is missing");
        std::fs::write(disk.directory(&id).join(HOST_CONFIG), "{\"Memory\":\"much\"}").unwrap();
        assert_eq!(disk.host_config(&id).unwrap_err().kind(), Kind::Corrupt);
        std::os::unix::fs::symlink("/etc", disk.directory(&"e".repeat(64))).unwrap();
        assert!(disk.load(&"e".repeat(64), false).is_none());
    }
}
