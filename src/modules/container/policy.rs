//! Restart policies: whether a container is started again after its exit, and when.

use super::run::Run;
use crate::api::container::RestartPolicy;
use crate::error::{Error, Result};
use std::time::Duration;

/// Exit code with which the init of a system container asks for a reboot.
const REBOOT: i32 = 129;
/// Before the first restart.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between restarts that follow each other.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length was a good one: the next restart comes at once again.
const GOOD: Duration = Duration::from_secs(10);

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// After every exit that nobody asked for; after a start of the daemon whatever ended it.
    Always,
    /// After every exit that nobody asked for.
    UnlessStopped,
    /// After an exit with this code.
    OnReboot,
    /// After an exit with another code than 0, so many times; 0 is no limit.
    OnFailure(u64),
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// `Kind::Invalid` naming what is wrong.
    pub fn parse(policy: &RestartPolicy) -> Result<Policy> {
        let count = policy.maximum_retry_count;
        let parsed = match policy.name.as_str() {
            "" | "no" => Policy::No,
            "always" => Policy::Always,
            "unless-stopped" => Policy::UnlessStopped,
            "on-reboot" => Policy::OnReboot,
            "on-failure" => Policy::OnFailure(count.try_into().unwrap_or_default()),
            other => return Err(Error::invalid(format!("invalid restart policy {other:?}"))),
        };
        if count < 0 || (count > 0 && !matches!(parsed, Policy::OnFailure(_))) {
            return Err(Error::invalid(
                "maximum retry count goes with the restart policy on-failure and is not negative",
            ));
        }
        Ok(parsed)
    }

    /// Whether a run that ended like this is followed by another.
    pub fn restarts(self, run: &Run) -> bool {
        run.damage.is_empty()
            && !run.has_been_manually_stopped
            && match self {
                Policy::No => false,
                Policy::Always | Policy::UnlessStopped => true,
                Policy::OnReboot => run.exit_code == REBOOT,
                Policy::OnFailure(most) => run.exit_code != 0 && (most == 0 || run.restart_count < most),
            }
    }

    /// Whether a daemon that has just started starts a container which it found ended.
    pub fn restarts_with_daemon(self, run: &Run) -> bool {
        run.started_at.is_set() && run.damage.is_empty() && (self == Policy::Always || self.restarts(run))
    }
}

/// Spaces out restarts: 100 ms, doubled each time up to a minute, from the start again after a run of ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff(Duration);

impl Backoff {
    /// The delay before the next restart, after a run that lasted this long.
    pub fn next(&mut self, lasted: Duration) -> Duration {
        self.0 = if lasted >= GOOD || self.0.is_zero() { SHORTEST } else { (self.0 * 2).min(LONGEST) };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utils::time::Timestamp;

    fn policy(name: &str, maximum_retry_count: i64) -> Result<Policy> {
        Policy::parse(&RestartPolicy { name: name.into(), maximum_retry_count })
    }

    #[test]
    fn policies_are_read() {
        assert_eq!(policy("", 0).unwrap(), Policy::No);
        assert_eq!(policy("on-failure", 3).unwrap(), Policy::OnFailure(3));
        for (name, count, part) in
            [("sometimes", 0, "sometimes"), ("always", 1, "on-failure"), ("on-failure", -1, "negative")]
        {
            assert!(policy(name, count).unwrap_err().to_string().contains(part), "{name}");
        }
    }

    #[test]
    fn who_is_started_again() {
        let started_at = Timestamp::from_unix(1, 0);
        let run = |exit_code, stopped, restart_count| Run {
            exit_code,
            restart_count,
            has_been_manually_stopped: stopped,
            started_at,
            ..Run::default()
        };
        // Of: exit 0, exit 3, stopped by a person, exit 129, exit 3 after two restarts.
        let runs = [run(0, false, 0), run(3, false, 0), run(143, true, 0), run(129, false, 0), run(3, false, 2)];
        for (policy, after_exit, with_daemon) in [
            (Policy::No, "-----", "-----"),
            (Policy::Always, "RR-RR", "RRRRR"),
            (Policy::UnlessStopped, "RR-RR", "RR-RR"),
            (Policy::OnReboot, "---R-", "---R-"),
            (Policy::OnFailure(0), "-R-RR", "-R-RR"),
            (Policy::OnFailure(2), "-R-R-", "-R-R-"),
        ] {
            let word = |test: &dyn Fn(&Run) -> bool| -> String {
                runs.iter().map(|r| if test(r) { 'R' } else { '-' }).collect()
            };
            assert_eq!(word(&|r| policy.restarts(r)), after_exit, "{policy:?}");
            assert_eq!(word(&|r| policy.restarts_with_daemon(r)), with_daemon, "{policy:?}");
        }
        assert!(!Policy::Always.restarts_with_daemon(&Run::default()), "one that nobody ever started");
        let damaged = Run { damage: "hostconfig.json".into(), ..run(1, false, 0) };
        assert!(!Policy::Always.restarts(&damaged) && !Policy::Always.restarts_with_daemon(&damaged));
    }

    #[test]
    fn restarts_are_spaced_out() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(1);
        let delays: Vec<u128> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(backoff.next(GOOD), SHORTEST);
        assert_eq!(backoff.next(short), 2 * SHORTEST);
    }
}
