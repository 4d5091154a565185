//! The status column of listings.

use super::health::STARTING;
use super::run::{Phase, Run};
use crate::utils::time::{Timestamp, human_duration};

/// `Up 3 minutes`, `Up 3 minutes (Paused)`, `Exited (0) 2 minutes ago`, `Created`, `Removal In Progress`.
pub fn text(run: &Run, now: Timestamp) -> String {
    let up = || format!("Up {}", human_duration(now.since(run.started_at)));
    match run.phase() {
        Phase::Created => "Created".into(),
        Phase::Starting if !run.restarting => "Created".into(),
        Phase::Running => match run.health.as_ref().map(|h| h.status.as_str()) {
            None | Some("") => up(),
            Some(STARTING) => format!("{} (health: starting)", up()),
            Some(status) => format!("{} ({status})", up()),
        },
        Phase::Paused => format!("{} (Paused)", up()),
        Phase::Restarting | Phase::Starting => {
            format!("Restarting ({}) {} ago", run.exit_code, human_duration(now.since(run.finished_at)))
        }
        Phase::Removing => "Removal In Progress".into(),
        Phase::Dead => "Dead".into(),
        Phase::Exited | Phase::Remaining if run.finished_at.is_set() => {
            format!("Exited ({}) {} ago", run.exit_code, human_duration(now.since(run.finished_at)))
        }
        Phase::Exited | Phase::Remaining => format!("Exited ({})", run.exit_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let t = |s| Timestamp::from_unix(s, 0);
        let now = t(1000);
        let mut run = Run::default();
        assert_eq!(text(&run, now), "Created");
        run = Run { running: true, started_at: t(820), ..Run::default() };
        assert_eq!(text(&run, now), "Up 3 minutes");
        run.health = Some(super::super::health::starting());
        assert_eq!(text(&run, now), "Up 3 minutes (health: starting)");
        run.health.as_mut().unwrap().status = "healthy".into();
        assert_eq!(text(&run, now), "Up 3 minutes (healthy)");
        run.paused = true;
        assert_eq!(text(&run, now), "Up 3 minutes (Paused)");
        run = Run { started_at: t(820), finished_at: t(995), exit_code: 137, ..Run::default() };
        assert_eq!(text(&run, now), "Exited (137) 5 seconds ago");
        run.finished_at = Timestamp::UNSET;
        assert_eq!(text(&run, now), "Exited (137)");
        run.damage = "config.v2.json is missing".into();
        assert_eq!(text(&run, now), "Dead");
        run.removal_inprogress = true;
        assert_eq!(text(&run, now), "Removal In Progress");
    }
}
