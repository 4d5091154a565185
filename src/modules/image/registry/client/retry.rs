//! When to try again: twice as late each time, as the registry asks when it does, and not for ever.

use super::super::Cancel;
use crate::error::{Error, Kind};
use std::time::Duration;

/// The longest wait that a registry may ask for. Hourly limits are for the user to know.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often and how late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Attempts in all, of which none gave a byte more than the one before.
    pub attempts: u32,
    /// Before the second one.
    pub first: Duration,
    /// The longest wait that was not asked for.
    pub longest: Duration,
}

impl Policy {
    /// Over half a minute, as long as a flaky link takes to come back.
    pub(super) const USUAL: Policy =
        Policy { attempts: 6, first: Duration::from_secs(1), longest: Duration::from_secs(16) };
}

/// Why a request failed, and what may help.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub remedy: Remedy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing: the peer answered.
    None,
    /// Another protocol or host: nobody there who speaks this one.
    Elsewhere,
    /// Time: so much when the peer said how much.
    Later(Option<Duration>),
}

impl Failure {
    pub(super) fn new(error: Error, remedy: Remedy) -> Failure {
        Failure { error, remedy }
    }

    pub(super) fn context(self, text: impl Into<String>) -> Failure {
        Failure { error: self.error.context(text), ..self }
    }
}

/// Errors of our own checks: another attempt gives the same.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error, remedy: Remedy::None }
    }
}

/// Attempts at one thing.
pub(super) struct Attempts {
    policy: Policy,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(policy: Policy) -> Attempts {
        Attempts { policy, failed: 0 }
    }

    /// Something came: the count begins anew.
    pub(super) fn progress(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next attempt, or gives the failure back when there is none.
    pub(super) fn wait(&mut self, failure: Failure, cancel: &Cancel) -> std::result::Result<(), Failure> {
        cancel.check()?;
        let Remedy::Later(asked) = failure.remedy else { return Err(failure) };
        self.failed += 1;
        if self.failed >= self.policy.attempts || asked.is_some_and(|time| time > PATIENCE) {
            return Err(failure);
        }
        let time = asked.unwrap_or_else(|| self.pause());
        log::debug!("again in {} ms: {}", time.as_millis(), failure.error);
        Ok(cancel.wait(time)?)
    }

    /// Between half and all of the doubled time, so that a rack of boards does not knock in step.
    fn pause(&self) -> Duration {
        let doubled = self.policy.first.saturating_mul(1 << (self.failed - 1).min(16));
        let mut byte = [0];
        let _ = crate::utils::sys::random::fill(&mut byte); // without, they knock in step
        doubled.min(self.policy.longest).mul_f32(0.5 + f32::from(byte[0]) / 512.0)
    }
}

/// Runs `attempt` until it succeeds or nothing more can help.
pub(super) fn repeat<T>(
    policy: Policy,
    cancel: &Cancel,
    mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
) -> std::result::Result<T, Failure> {
    let mut attempts = Attempts::new(policy);
    loop {
        cancel.check()?;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => attempts.wait(failure, cancel)?,
        }
    }
}

/// The value of `Retry-After` in seconds (RFC 9110, 10.2.3); its other form, a date, means nothing on a board whose
/// clock is wrong.
pub(super) fn retry_after(value: Option<&str>) -> Option<Duration> {
    value.and_then(|v| v.trim().parse().ok()).map(Duration::from_secs)
}

/// A failure that the other end may get over.
pub(super) fn later(text: impl Into<String>) -> Failure {
    Failure::new(Error::new(Kind::Remote, text), Remedy::Later(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Policy = Policy { attempts: 3, first: Duration::from_millis(1), longest: Duration::from_millis(2) };

    #[test]
    fn gives_up_after_the_last_attempt_and_at_once_where_time_does_not_help() {
        for (remedy, want) in [
            (Remedy::Later(None), 3),
            (Remedy::Later(Some(Duration::from_millis(1))), 3),
            (Remedy::Later(Some(Duration::from_secs(3600))), 1),
            (Remedy::None, 1),
            (Remedy::Elsewhere, 1),
        ] {
            let mut count = 0;
            let failure = repeat::<()>(QUICK, &Cancel::new(), || {
                count += 1;
                Err(Failure::new(Error::new(Kind::Remote, "x"), remedy))
            });
            assert_eq!((count, failure.unwrap_err().remedy), (want, remedy));
        }
    }

    #[test]
    fn waits_grow_to_the_longest() {
        let mut attempts = Attempts::new(Policy::USUAL);
        for (failed, most) in [(1, 1), (2, 2), (5, 16), (60, 16)] {
            attempts.failed = failed;
            let pause = attempts.pause();
            assert!(pause <= Duration::from_secs(most) && pause * 2 >= Duration::from_secs(most), "{pause:?}");
        }
    }

    #[test]
    fn cancelling_ends_it() {
        let cancel = Cancel::new();
        let failure = repeat::<()>(Policy::USUAL, &cancel, || {
            cancel.cancel();
            Err(later("x"))
        });
        assert_eq!(failure.unwrap_err().error.to_string(), "cancelled");
    }

    #[test]
    fn seconds_only() {
        assert_eq!(retry_after(Some(" 7 ")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(Some("Fri, 31 Dec 1999 23:59:59 GMT")), None);
        assert_eq!(retry_after(None), None);
    }
}
