//! Messages between daemon and shim, over [`crate::utils::sys::socket`].
//!
//! Versioned and append-only: a newer daemon serves the containers of an older one, so a field or variant never
//! changes its meaning and is never removed; additions are optional, and unknown members are passed over. A shim answers a
//! request that it does not know with [`FailureClass::Unsupported`]. Only what an older daemon must not pass over makes a
//! new version: a daemon leaves a shim alone that is ahead of it.
//!
//! ```text
//! daemon                                      shim
//!   spawn, standard input = watch socket ----->
//!   Request::Launch (watch) ------------------>   makes the container
//!   <------------- Reply::Launched or Failed (watch)
//!   <------------- Event::… (watch) as they happen; Event::Exited comes once
//!   connect(shim.sock), one request per connection:
//!   Request::Exec, Attach, Signal, … --------->
//!   <--------------------------------- Reply::… ; connection closed
//!   after a restart of the daemon:
//!   connect(shim.sock), Request::Watch ------->   becomes the watch socket; replaces an older one
//!   <--------- Reply::Watching, then events; Event::Exited again when it was not released
//!   Request::Release (watch) ----------------->   exit is recorded: the shim ends
//!   <------------- end of the connection, or Reply::Done when clients still take output: it ends after them
//! ```
//! The first message on a watch socket is a plain [`Reply`], everything after it a [`FromShim`].
//!
//! The shim ends by itself after an exit that nobody releases: what it knew is in the exit file by then. A daemon that
//! finds no shim reads that file.

use super::oci::runtime::{ConsoleSize, Process, Resources};
use crate::utils::json::is_default;
use crate::utils::json::object::{Free, Member, Object, Place, Wrong};
use crate::utils::time::Timestamp;
use serde::de::Unexpected;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Version of this conversation.
pub const VERSION: u32 = 1;
/// Name of the shim's socket inside the container's state directory.
pub const SOCKET: &str = "shim.sock";
/// Name of the exit file ([`Exit`] as JSON), in [`Launch::exit_directory`].
pub const EXIT_FILE: &str = "exit.json";
/// The descriptor on which a spawned shim finds its watch socket: standard input, which every way to spawn can set.
pub const WATCH_FD: i32 = 0;

/// What the daemon asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// First message to a new shim.
    Launch(Box<Launch>),
    /// This connection wants events from now on.
    Watch {
        /// Version the daemon speaks.
        version: u32,
    },
    /// The exit was recorded, the shim may end.
    Release,
    /// Runs a further process. Descriptors: those of [`Streams`].
    Exec(Box<Exec>),
    /// Connects a client to the first process. Descriptors: those of [`Streams`].
    Attach(Streams),
    /// Sets a terminal's size.
    Resize {
        /// Exec session; the first process when absent.
        exec_id: Option<String>,
        /// New size.
        size: ConsoleSize,
    },
    /// Sends a signal.
    Signal {
        /// Exec session; the first process when absent.
        exec_id: Option<String>,
        /// Signal number.
        signal: i32,
        /// Whether every process of the container gets it.
        all: bool,
    },
    /// Freezes the cgroup.
    Pause,
    /// Thaws the cgroup.
    Resume,
    /// Changes limits of the running container.
    Update(Box<Resources>),
    /// Asks for resource use.
    Stats,
    /// Asks for the process ids in the cgroup.
    Processes,
    /// Writes what follows in the log to a new file.
    ReopenLog,
}

/// What the shim answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// The container runs.
    Launched(Launched),
    /// The exec session runs.
    Executed {
        /// Process id as the shim sees it.
        pid: i32,
    },
    /// Answer to Watch.
    Watching(Launched),
    /// Answer to Stats.
    Stats(Box<Stats>),
    /// Answer to Processes.
    Processes(Vec<i32>),
    /// Done.
    Done,
    /// Not done.
    Failed(Failure),
}

/// Why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
pub struct Failure {
    /// The error chain.
    pub message: String,
    /// What the daemon branches on.
    pub class: FailureClass,
    /// Errno of the failing system call, 0 when it was none.
    #[serde(default)]
    pub errno: i32,
}

/// Classes of failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum FailureClass {
    /// Anything else.
    #[default]
    Other,
    /// The program does not exist (exit code 127).
    CommandNotFound,
    /// The program cannot be executed (exit code 126).
    CommandNotExecutable,
    /// The request breaks a rule.
    Invalid,
    /// No such exec session, or the container has ended.
    NotFound,
    /// The container is in a state that forbids it.
    Conflict,
    /// This kernel cannot.
    Unsupported,
}

impl Member for FailureClass {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for FailureClass {
    fn expected(&self) -> &'static str {
        "a class of failure"
    }

    fn single(&mut self, value: Unexpected<'_>) -> Result<(), Wrong> {
        *self = match value {
            Unexpected::Str("Other") => FailureClass::Other,
            Unexpected::Str("CommandNotFound") => FailureClass::CommandNotFound,
            Unexpected::Str("CommandNotExecutable") => FailureClass::CommandNotExecutable,
            Unexpected::Str("Invalid") => FailureClass::Invalid,
            Unexpected::Str("NotFound") => FailureClass::NotFound,
            Unexpected::Str("Conflict") => FailureClass::Conflict,
            Unexpected::Str("Unsupported") => FailureClass::Unsupported,
            _ => return Err(Wrong::Value),
        };
        Ok(())
    }
}

/// What happens by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// The first process ended and everything else of the container is gone.
    Exited(Exit),
    /// An exec session ended.
    ExecExited {
        /// Which.
        exec_id: String,
        /// 0 to 255.
        exit_code: u8,
    },
    /// The kernel killed a process of the container for memory.
    OutOfMemory,
}

/// Everything on the watch socket after the first reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromShim {
    /// Answer to the request before.
    Reply(Reply),
    /// An event.
    Event(Event),
}

/// Exit code of a shim process with an order for which the time was too short: sysexits.h's EX_TEMPFAIL.
pub const TIMED_OUT: u8 = 75;

/// How a container ended; also the content of the exit file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
pub struct Exit {
    /// Which run this was: [`Launched::started_at`].
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// 0 to 255; 128 + signal when killed.
    pub exit_code: u8,
    /// Whether the kernel killed for memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Whether something of it has not ended though it was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remains: bool,
}

/// A container to make and start.
#[derive(Debug, Clone, Default, Serialize, Object)]
#[serde(default)]
pub struct Launch {
    /// Version the daemon speaks.
    pub version: u32,
    /// Container id.
    pub id: String,
    /// Directory with `config.json`.
    pub bundle: PathBuf,
    /// Directory for the socket; on a file system that a reboot empties.
    pub state_directory: PathBuf,
    /// Directory for the exit file: the bundle, or the state directory when a reboot makes the exit void (`--rm`).
    pub exit_directory: PathBuf,
    /// Whether the exit file survives a power cut.
    pub exit_durable: bool,
    /// The overlay that becomes the root, mounted inside the container's mount namespace at the bundle's root path.
    pub overlay: Option<Overlay>,
    /// A block device with a file system that becomes the root, mounted there likewise. With neither, the root path is
    /// a directory that is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// The file that output goes to.
    pub log: Option<LogFile>,
    /// Without a file: what each line begins with that syslog gets; empty for no such lines.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub syslog_tag: String,
    /// Number of their facility.
    #[serde(skip_serializing_if = "is_default")]
    pub syslog_facility: u32,
    /// Microseconds in each of which the cgroups above the container's give `realtime_runtime` to real-time processes;
    /// what is 0 stays as it is.
    #[serde(skip_serializing_if = "is_default")]
    pub realtime_period: i64,
    /// See there.
    #[serde(skip_serializing_if = "is_default")]
    pub realtime_runtime: i64,
    /// Whether the process has a standard input, kept open for clients; `/dev/null` otherwise.
    pub open_stdin: bool,
    /// Whether standard input ends when the first client that had it leaves.
    pub stdin_once: bool,
    /// MS_MOVE and chroot in place of pivot_root, for a host on a ram disk.
    pub no_pivot: bool,
    /// Another runtime than the built-in one: its name, the program, and what comes before all other arguments. The name is
    /// also that of the directory in the state directory that is its `--root`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtime: Vec<String>,
    /// Milliseconds in which the container must have started; 0 is no limit.
    pub start_timeout_ms: u64,
    /// Clients that attached before the start, each with as many of the message's descriptors as
    /// [`Streams::descriptors`] says, in order, behind the first, which is the listening socket.
    pub clients: Vec<Streams>,
}

/// overlayfs layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// Those of `lower` that are no directories but squashfs file systems, in a file or on a block device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// overlayfs's work directory, beside `upper`.
    pub work: PathBuf,
    /// Further mount options.
    pub options: Vec<String>,
}

/// What the shim applet is told that is to open a container's root, on its standard input. The answer is a descriptor,
/// or a text that says why there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct RootOrder {
    /// The layers. Nothing is written to any.
    pub overlay: Overlay,
    /// A block device in place of layers.
    pub device: Option<PathBuf>,
    /// Where it may be mounted for a moment.
    pub target: PathBuf,
}

/// docker's json-file log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct LogFile {
    /// The current file.
    pub path: PathBuf,
    /// Bytes at which it rotates; 0 is never.
    pub max_size: u64,
    /// Files including the current one.
    pub max_files: u32,
}

/// A started container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
pub struct Launched {
    /// Version the shim speaks.
    pub version: u32,
    /// Process id of the first process.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
    /// Process id of the shim.
    pub shim_pid: i32,
    /// Its start time.
    pub shim_start_time: u64,
    /// When the container started.
    pub started_at: Timestamp,
    /// Set when it has ended already.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// Exec sessions that run.
    #[serde(default)]
    pub execs: Vec<String>,
    /// Those of them that came with a note.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live_execs: Vec<ExecState>,
    /// The latest exec sessions that have ended, oldest first.
    #[serde(default)]
    pub ended_execs: Vec<ExecState>,
    /// Whether its cgroup is frozen.
    #[serde(default)]
    pub paused: bool,
}

/// An exec session that runs or has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct ExecState {
    /// Which.
    pub exec_id: String,
    /// 0 to 255, once it has ended.
    pub exit_code: u8,
    /// Process id as the shim sees it, while it runs.
    #[serde(skip_serializing_if = "is_default")]
    pub pid: i32,
    /// When it ended, if no daemon has been told of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<Timestamp>,
    /// [`Exec::note`]; ended sessions lose it when there is too much of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// A further process.
#[derive(Debug, Clone, Default, Serialize, Object)]
#[serde(default)]
pub struct Exec {
    /// Session id.
    pub exec_id: String,
    /// What to run.
    pub process: Process,
    /// Whether standard input is open.
    pub open_stdin: bool,
    /// Whether all capabilities are given.
    pub privileged: bool,
    /// The client; `None` for a detached session, whose output goes nowhere.
    pub streams: Option<Streams>,
    /// What a later daemon is told of the session with its state. The shim keeps it and does not look into it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How a client is connected. The shim owns the descriptors from the message on. The client is told the end by the end
/// of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct Streams {
    /// What travels.
    pub mode: StreamMode,
    /// Whether the client sends standard input.
    pub stdin: bool,
    /// Whether the client wants standard output.
    pub stdout: bool,
    /// Whether the client wants standard error.
    pub stderr: bool,
    /// Bytes to write to the connection once the request succeeded and before any stream byte: the response head.
    pub preamble: Vec<u8>,
    /// Bytes of standard input that were read from the connection together with the request.
    pub early: Vec<u8>,
    /// Key sequence that detaches, as bytes; empty for none.
    pub detach_keys: Vec<u8>,
}

/// What travels on a client's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum StreamMode {
    /// One descriptor, the connection: bytes as they are (terminals).
    #[default]
    Raw,
    /// One descriptor, the connection: docker's frames of an 8-byte head (stream, 0, 0, 0, length big-endian) towards
    /// the client, bytes as they are from it.
    Multiplexed,
    /// Four descriptors: the connection, then the client's own standard input, output and error. Data moves between
    /// the process and these; the connection carries the end: the shim writes one line of JSON, a
    /// [`StreamEnd`], and closes it. A client that closes it has left.
    Handed,
}

impl Member for StreamMode {
    fn place(&mut self) -> Place<'_> {
        Place::Free(self)
    }
}

impl Free for StreamMode {
    fn expected(&self) -> &'static str {
        "`Raw`, `Multiplexed` or `Handed`"
    }

    fn single(&mut self, value: Unexpected<'_>) -> Result<(), Wrong> {
        *self = match value {
            Unexpected::Str("Raw") => StreamMode::Raw,
            Unexpected::Str("Multiplexed") => StreamMode::Multiplexed,
            Unexpected::Str("Handed") => StreamMode::Handed,
            _ => return Err(Wrong::Value),
        };
        Ok(())
    }
}

impl Streams {
    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        if self.mode == StreamMode::Handed { 4 } else { 1 }
    }
}

/// The last line on the connection of a client with handed descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
pub struct StreamEnd {
    /// The process's exit code; absent when the client detached.
    pub exit_code: Option<u8>,
}

/// Resource use, summed over the container's cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Object)]
#[serde(default)]
pub struct Stats {
    /// Nanoseconds of processor time.
    pub cpu_usage: u64,
    /// Nanoseconds in user mode.
    pub cpu_user: u64,
    /// Nanoseconds in kernel mode.
    pub cpu_system: u64,
    /// Periods, periods throttled, nanoseconds throttled.
    pub cpu_throttling: [u64; 3],
    /// Bytes.
    pub memory_usage: u64,
    /// Most bytes ever.
    pub memory_max_usage: u64,
    /// Bytes; the host's memory when unlimited.
    pub memory_limit: u64,
    /// Counters of the kernel's `memory.stat`.
    pub memory_stat: std::collections::BTreeMap<String, u64>,
    /// Times the limit was hit.
    pub memory_failcnt: u64,
    /// Bytes of swap.
    pub swap_usage: u64,
    /// Processes and threads.
    pub pids: u64,
    /// 0 is unlimited.
    pub pids_limit: u64,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_write: u64,
}
