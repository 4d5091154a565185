//! The run state of a container and which verb is allowed in which state.

use crate::api::container::Health;
use crate::api::shim::{Exit, Launched};
use crate::error::{Error, Kind, Result};
use crate::modules::container::health::UNHEALTHY;
use crate::utils::json::{Object, is_default};
use crate::utils::time::Timestamp;
use serde::Serialize;

/// The run state, with the field names of `container_state.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Run {
    /// The first process runs, or is frozen.
    #[serde(skip_serializing_if = "is_default")]
    pub running: bool,
    /// Frozen.
    #[serde(skip_serializing_if = "is_default")]
    pub paused: bool,
    /// A start is under way.
    #[serde(skip_serializing_if = "is_default")]
    pub starting: bool,
    /// Its last run has ended and the next is to come, by policy.
    #[serde(skip_serializing_if = "is_default")]
    pub restarting: bool,
    /// A removal is under way.
    #[serde(skip_serializing_if = "is_default")]
    pub removal_inprogress: bool,
    /// The kernel killed for memory.
    #[serde(rename = "OOMKilled", skip_serializing_if = "is_default")]
    pub oom_killed: bool,
    /// First process, 0 when none.
    #[serde(skip_serializing_if = "is_default")]
    pub pid: i32,
    /// Its shim.
    #[serde(rename = "PPid", skip_serializing_if = "is_default")]
    pub shim_pid: i32,
    /// Start time of the first process in clock ticks since boot.
    #[serde(skip_serializing_if = "is_default")]
    pub start_time: u64,
    /// Start time of the shim.
    #[serde(rename = "PStartTime", skip_serializing_if = "is_default")]
    pub shim_start_time: u64,
    /// Exit code of the last run.
    #[serde(skip_serializing_if = "is_default")]
    pub exit_code: i32,
    /// Why the last start failed.
    #[serde(skip_serializing_if = "is_default")]
    pub error: String,
    /// Last start.
    pub started_at: Timestamp,
    /// Last end.
    pub finished_at: Timestamp,
    /// Restarts by policy.
    #[serde(skip_serializing_if = "is_default")]
    pub restart_count: u64,
    /// The user stopped it, so no policy starts it again.
    #[serde(skip_serializing_if = "is_default")]
    pub has_been_manually_stopped: bool,
    /// What its health check says, when it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<Health>>,
    /// It goes when the run has ended: a removal gave up waiting for that.
    #[serde(skip_serializing_if = "is_default")]
    pub unwanted: bool,
    /// With its anonymous volumes.
    #[serde(skip_serializing_if = "is_default")]
    pub with_volumes: bool,
    /// What of the last run has not ended though it was killed: until it has, there can be no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remains: Option<Remains>,
    /// What is wrong with its files, so that it can only be removed once it does not run; empty when nothing is. Found
    /// out anew by every daemon.
    #[serde(skip)]
    pub damage: String,
}

/// Where to find what has not ended: in its cgroup, or it is the first process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Object)]
#[serde(default, rename_all = "PascalCase")]
pub struct Remains {
    /// First process, which may have ended.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
}

/// The states a verb is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Never started.
    Created,
    /// Being started.
    Starting,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Has run and will be started again in a moment.
    Restarting,
    /// Has run.
    Exited,
    /// Has run, and something of it has not ended.
    Remaining,
    /// Its files are damaged.
    Dead,
    /// Being removed.
    Removing,
}

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Run it.
    Start,
    /// End it politely.
    Stop,
    /// Send a signal.
    Kill,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Unpause,
    /// Run a further process.
    Exec,
    /// Connect to its streams.
    Attach,
    /// Look at its processes, counters or terminal.
    Look,
    /// Share its namespaces.
    Join,
    /// Change its name or limits.
    Edit,
    /// Read and change its files.
    Copy,
    /// Remove it.
    Remove,
    /// Kill and remove it.
    ForceRemove,
}

/// What becomes of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Go,
    /// Nothing is to do.
    Nothing,
}

impl Run {
    /// The state as verbs see it.
    pub fn phase(&self) -> Phase {
        match self {
            r if r.removal_inprogress || r.unwanted && !r.running => Phase::Removing,
            r if r.running && r.paused => Phase::Paused,
            r if r.running => Phase::Running,
            r if r.starting => Phase::Starting,
            r if r.restarting => Phase::Restarting,
            r if r.remains.is_some() => Phase::Remaining,
            r if !r.damage.is_empty() => Phase::Dead,
            r if r.started_at.is_set() => Phase::Exited,
            _ => Phase::Created,
        }
    }

    /// The word in listings.
    pub fn word(&self) -> &'static str {
        match self.phase() {
            // By policy, unless it is a person's.
            Phase::Starting if self.restarting => "restarting",
            Phase::Created | Phase::Starting => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited | Phase::Remaining => "exited",
            Phase::Dead => "dead",
            Phase::Removing => "removing",
        }
    }

    /// A start begins.
    pub fn begin(&mut self) {
        self.starting = true;
        self.error.clear();
    }

    /// The start succeeded.
    pub fn started(&mut self, launched: &Launched) {
        let restart_count = self.restart_count;
        *self = Run {
            running: true,
            paused: launched.paused,
            pid: launched.pid,
            shim_pid: launched.shim_pid,
            start_time: launched.start_time,
            shim_start_time: launched.shim_start_time,
            started_at: launched.started_at,
            finished_at: self.finished_at,
            restart_count,
            removal_inprogress: self.removal_inprogress,
            damage: std::mem::take(&mut self.damage),
            ..Run::default()
        };
    }

    /// The start failed.
    pub fn not_started(&mut self, exit_code: i32, error: String) {
        self.starting = false;
        self.restarting = false;
        self.exit_code = exit_code;
        self.error = error;
    }

    /// Whether there is a run, or one is to come without anybody's doing.
    pub fn is_active(&self) -> bool {
        self.running || self.starting || self.restarting
    }

    /// Whether all of it has ended, and a worker is about to remove it.
    pub fn is_going(&self) -> bool {
        self.unwanted && !self.running && !self.removal_inprogress && self.remains.is_none()
    }

    /// Whether it has run and does not any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase(), Phase::Exited | Phase::Remaining)
    }

    /// The run ended.
    pub fn exited(&mut self, exit: &Exit) {
        self.running = false;
        self.paused = false;
        self.starting = false;
        self.restarting = false;
        self.remains = exit.remains.then_some(Remains { pid: self.pid, start_time: self.start_time });
        self.pid = 0;
        self.shim_pid = 0;
        self.start_time = 0;
        self.shim_start_time = 0;
        self.exit_code = i32::from(exit.exit_code);
        self.oom_killed |= exit.oom_killed;
        if exit.started_at.is_set() {
            self.started_at = exit.started_at;
        }
        self.finished_at = exit.finished_at;
        // Nobody asks it any more, and docker has it so.
        if let Some(health) = &mut self.health {
            health.status = UNHEALTHY.into();
        }
    }

    /// Whether this exit belongs to the run that this state knows or to a later one.
    pub fn concerns(&self, exit: &Exit) -> bool {
        exit.started_at >= self.started_at && (self.running || exit.finished_at > self.finished_at)
    }
}

impl Verb {
    /// For messages.
    fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Kill => "kill",
            Verb::Pause => "pause",
            Verb::Unpause => "unpause",
            Verb::Exec => "exec in",
            Verb::Attach => "attach to",
            Verb::Look => "look into",
            Verb::Join => "join",
            Verb::Edit => "change",
            Verb::Copy => "copy files of",
            Verb::Remove | Verb::ForceRemove => "remove",
        }
    }
}

/// Judges a verb: the whole table of states and verbs. The texts are the original's where scripts match them.
///
/// # Errors
/// `Kind::Conflict` with the reason.
pub fn permit(verb: Verb, phase: Phase, id: &str) -> Result<Verdict> {
    use Phase::{Created, Dead, Exited, Paused, Remaining, Removing, Restarting, Running, Starting};
    let refuse = |text: String| Err(Error::new(Kind::Conflict, text));
    match (verb, phase) {
        (Verb::Remove | Verb::ForceRemove, Removing) => {
            refuse(format!("You cannot remove container {id}: its removal is already in progress"))
        }
        (_, Removing) => refuse(format!("Container {id} is marked for removal and cannot be used")),

        (_, Remaining) => refuse(format!("You cannot {} container {id} in garbage collector progress.", verb.word())),

        (Verb::Remove, Dead) => Ok(Verdict::Go),
        (Verb::ForceRemove, _) => Ok(Verdict::Go),
        (_, Dead) => refuse(format!("Container {id} is damaged and can only be removed")),

        (Verb::Start, Created | Exited) => Ok(Verdict::Go),
        (Verb::Start, Running | Starting | Restarting) => Ok(Verdict::Nothing),
        (Verb::Start, Paused) => refuse("Cannot start a paused container, try unpause instead.".into()),

        (Verb::Stop, Running | Paused | Starting | Restarting) => Ok(Verdict::Go),
        (Verb::Stop, Created | Exited) => Ok(Verdict::Nothing),

        (Verb::Kill, Running | Paused | Restarting) => Ok(Verdict::Go),
        (Verb::Kill, Created | Exited | Starting) => {
            refuse(format!("Cannot kill container: Container {id} is not running"))
        }

        (Verb::Pause, Running) => Ok(Verdict::Go),
        (Verb::Pause, Paused) => refuse(format!("Container {id} is already paused")),
        (Verb::Unpause, Paused) => Ok(Verdict::Go),
        (Verb::Unpause, Running) => refuse(format!("Container {id} is not paused")),

        (Verb::Exec, Running) => Ok(Verdict::Go),
        (Verb::Pause | Verb::Exec | Verb::Look, Restarting) => {
            refuse(format!("Container {id} is restarting, wait until the container is running"))
        }
        (Verb::Attach, Restarting) => {
            refuse("You cannot attach to a restarting container, wait until it is running".into())
        }

        (Verb::Exec, Paused) => refuse(format!("Container {id} paused, unpause the container before exec")),

        (Verb::Attach, Running | Created | Exited | Starting) => Ok(Verdict::Go),
        (Verb::Attach, Paused) => refuse("You cannot attach to a paused container, unpause it first".into()),

        (Verb::Look, Running | Paused) => Ok(Verdict::Go),
        (Verb::Join, Running | Paused) => Ok(Verdict::Go),
        (Verb::Join, Created | Exited | Starting | Restarting) => {
            refuse("Can not join namespace of a non running container".into())
        }

        (Verb::Unpause, Restarting)
        | (Verb::Pause | Verb::Unpause | Verb::Exec | Verb::Look, Created | Exited | Starting) => {
            refuse(format!("Container {id} is not running"))
        }

        (Verb::Edit, _) => Ok(Verdict::Go),
        (Verb::Copy, Created | Exited | Starting | Running | Paused | Restarting) => Ok(Verdict::Go),

        (Verb::Remove, Created | Exited) => Ok(Verdict::Go),
        (Verb::Remove, Running | Starting) => refuse(format!(
            "You cannot remove a running container {id}. Stop the container before attempting removal or use -f"
        )),
        (Verb::Remove, Restarting) => refuse(format!(
            "You cannot remove a restarting container {id}. Stop the container before attempting removal or use -f"
        )),
        (Verb::Remove, Paused) => refuse(format!(
            "You cannot remove a paused container {id}. Unpause and then stop the container before attempting removal or \
             use -f"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 9] = [
        Phase::Created,
        Phase::Starting,
        Phase::Running,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
        Phase::Remaining,
        Phase::Dead,
        Phase::Removing,
    ];

    /// `G`o, `N`othing, refused `-`, in the order of [`PHASES`].
    #[test]
    fn the_whole_table() {
        for (verb, want) in [
            (Verb::Start, "GNN-NG---"),
            (Verb::Stop, "NGGGGN---"),
            (Verb::Kill, "--GGG----"),
            (Verb::Pause, "--G------"),
            (Verb::Unpause, "---G-----"),
            (Verb::Exec, "--G------"),
            (Verb::Attach, "GGG--G---"),
            (Verb::Look, "--GG-----"),
            (Verb::Join, "--GG-----"),
            (Verb::Edit, "GGGGGG---"),
            (Verb::Copy, "GGGGGG---"),
            (Verb::Remove, "G----G-G-"),
            (Verb::ForceRemove, "GGGGGG-G-"),
        ] {
            let got: String = PHASES
                .iter()
                .map(|&p| match permit(verb, p, "x") {
                    Ok(Verdict::Go) => 'G',
                    Ok(Verdict::Nothing) => 'N',
                    Err(e) => {
                        assert_eq!(e.kind(), Kind::Conflict);
                        '-'
                    }
                })
                .collect();
            assert_eq!(got, want, "{verb:?}");
        }
    }

    #[test]
    fn texts_that_scripts_match() {
        let text = |verb, phase| permit(verb, phase, "ID").unwrap_err().to_string();
        assert_eq!(text(Verb::Kill, Phase::Exited), "Cannot kill container: Container ID is not running");
        assert_eq!(text(Verb::Exec, Phase::Exited), "Container ID is not running");
        assert_eq!(text(Verb::Exec, Phase::Paused), "Container ID paused, unpause the container before exec");
        assert_eq!(text(Verb::Pause, Phase::Paused), "Container ID is already paused");
        assert_eq!(text(Verb::Unpause, Phase::Running), "Container ID is not paused");
        assert_eq!(
            text(Verb::Remove, Phase::Running),
            "You cannot remove a running container ID. Stop the container before attempting removal or use -f"
        );
        assert_eq!(text(Verb::Join, Phase::Exited), "Can not join namespace of a non running container");
    }

    #[test]
    fn one_life() {
        let t = |s| Timestamp::from_unix(s, 0);
        let mut run = Run::default();
        assert_eq!((run.phase(), run.word()), (Phase::Created, "created"));
        run.begin();
        assert_eq!((run.phase(), run.word()), (Phase::Starting, "created"));
        run.not_started(127, "no such program".into());
        assert_eq!((run.phase(), run.exit_code), (Phase::Created, 127));
        run.begin();
        run.started(&Launched { pid: 7, shim_pid: 6, started_at: t(100), ..Launched::default() });
        assert_eq!((run.phase(), run.exit_code, run.error.as_str()), (Phase::Running, 0, ""));
        run.paused = true;
        assert_eq!(run.phase(), Phase::Paused);
        let exit = Exit { started_at: t(100), finished_at: t(110), exit_code: 137, oom_killed: true, remains: false };
        assert!(run.concerns(&exit));
        run.exited(&exit);
        assert_eq!((run.phase(), run.exit_code, run.pid, run.paused), (Phase::Exited, 137, 0, false));
        assert!(run.oom_killed && !run.concerns(&exit));
        assert!(!run.concerns(&Exit { started_at: t(50), finished_at: t(60), ..Exit::default() }));
        assert!(run.concerns(&Exit { started_at: t(120), finished_at: t(130), ..Exit::default() }));
        run.damage = "hostconfig.json".into();
        assert_eq!((run.phase(), run.word()), (Phase::Dead, "dead"));
        run.started(&Launched { pid: 7, started_at: t(200), ..Launched::default() });
        assert_eq!(run.phase(), Phase::Running, "a running one is shown as what it is");
        run.exited(&Exit { started_at: t(200), finished_at: t(210), ..Exit::default() });
        assert_eq!(run.phase(), Phase::Dead);
    }

    #[test]
    fn the_file_has_the_originals_names() {
        let run = Run { running: true, pid: 3, shim_pid: 2, oom_killed: true, ..Run::default() };
        let text = crate::utils::json::to_text(&run);
        for name in ["\"Running\":true", "\"Pid\":3", "\"PPid\":2", "\"OOMKilled\":true", "\"StartedAt\":\"0001"] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(crate::utils::json::parse::<Run>(text.as_bytes()).unwrap(), run);
        let foreign =
            br#"{"Dead":true,"Health":{"Status":""},"ExitCode":3,"StartedAt":"2026-11-24T03:50:28.13+01:00"}"#;
        assert_eq!(crate::utils::json::parse::<Run>(foreign).unwrap().exit_code, 3);
    }
}
