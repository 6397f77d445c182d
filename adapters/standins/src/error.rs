//! Conversion of errors to platform errors, and the failures of the site itself among them.

use std::time::{Duration, Instant};

use contract::{PlatformError, PlatformErrorKind as Kind, Timestamp};
use harness::{Ending, Error};

use crate::StandInSite;
use crate::active_faults::lock;
use crate::own_failure::OwnFailure;
use crate::snapshots::now;
use inventory::Denial;

impl StandInSite {
    /// Failures of the site itself so far, oldest first.
    #[must_use]
    pub fn own_failures(&self) -> Vec<OwnFailure> {
        let mut failures = lock(&self.own_failures).clone();
        failures.extend(self.unexplained_ends());
        failures.sort_by_key(|failure| failure.at);
        failures
    }

    /// The ends so far of QEMUs and storage daemons that nobody had asked for: neither the core nor
    /// an injected fault, nor the guest itself.
    #[must_use]
    pub fn unexplained_ends(&self) -> Vec<OwnFailure> {
        let guests = lock(&self.endings).clone();
        let ends = guests.into_iter().chain(self.storage.endings());
        ends.filter_map(|ending| ending.unexplained().map(|gone| self.unexplained_end(&ending, gone)))
            .collect()
    }

    fn unexplained_end(&self, ending: &Ending, gone: Instant) -> OwnFailure {
        let message = format!(
            "{} crashed, or something other than the suite killed it: look at its log, and at the host's for \
             the out-of-memory killer",
            ending.who()
        );
        let ago = u64::try_from(gone.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = PlatformError { site: self.label().to_owned(), kind: Kind::Failed, message };
        OwnFailure { at: Timestamp(now().0.saturating_sub(ago)), error }
    }

    /// An error of this site.
    pub(crate) fn refuse(&self, kind: Kind, message: impl Into<String>) -> PlatformError {
        let error = PlatformError { site: self.label().to_owned(), kind, message: message.into() };
        // Every other kind is an answer that the platform is expected to give.
        if kind == Kind::Failed {
            self.note_failure(&error);
        }
        error
    }

    /// Converts a denial by the site's components to an error of this site.
    pub(crate) fn denied(&self) -> impl Fn(Denial) -> PlatformError {
        |denial| self.refuse(denial.kind, denial.message)
    }

    /// Converts a harness error to an error of this site.
    pub(crate) fn failed(&self, tried: &str) -> impl FnOnce(Error) -> PlatformError {
        let tried = tried.to_owned();
        move |error| {
            let message = format!("{tried}: {error}");
            let site = self.label().to_owned();
            let answer = PlatformError { site, kind: kind_of(&error), message };
            if let Some(waited) = own_failure_after(&error) {
                self.note_failure_after(waited, &answer);
            }
            answer
        }
    }

    /// Records a failure, unless an injected fault or the loss of the site explains it.
    pub(crate) fn note_failure(&self, error: &PlatformError) {
        self.note_failure_after(Duration::ZERO, error);
    }

    /// As [`Self::note_failure`], for something that was waited for so long. A fault that was
    /// present at any time of the wait explains the failure.
    fn note_failure_after(&self, waited: Duration, error: &PlatformError) {
        if !self.faults.explain(waited) && !self.is_lost() {
            lock(&self.own_failures).push(OwnFailure { at: now(), error: error.clone() });
        }
    }
}

/// The kind under which the site reports a harness error.
fn kind_of(error: &Error) -> Kind {
    match error {
        Error::TimedOut { .. } | Error::HostTimedOut { .. } | Error::Starved { .. } => Kind::TimedOut,
        Error::Tool { output, .. } if output.contains("No space left") => Kind::Full,
        Error::File { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
        _ => Kind::Failed,
    }
}

/// How long the site had been waiting when it failed itself; `None` if the error is no failure of
/// the site: a guest, or the core that uses the site, exceeded its time limit.
fn own_failure_after(error: &Error) -> Option<Duration> {
    match error {
        Error::TimedOut { .. } => None,
        Error::HostTimedOut { bound, .. } | Error::Starved { bound, .. } => Some(*bound),
        _ => Some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    fn awaited() -> String {
        "shop: QEMU's connection".to_owned()
    }

    #[test]
    fn only_time_limits_that_a_guest_or_a_core_may_exceed_are_no_failure_of_the_site() {
        let seen = String::new;
        let by_guest = Error::TimedOut { awaited: "shop: shutdown".to_owned(), bound: BOUND, seen: seen() };
        assert_eq!((kind_of(&by_guest), own_failure_after(&by_guest)), (Kind::TimedOut, None));
        let by_host = [
            Error::HostTimedOut { awaited: awaited(), bound: BOUND, seen: seen() },
            Error::Starved { awaited: awaited(), bound: BOUND, why: seen() },
        ];
        for error in by_host {
            assert_eq!(
                (kind_of(&error), own_failure_after(&error)),
                (Kind::TimedOut, Some(BOUND)),
                "{error}"
            );
        }
        let silent = Error::Silent { tried: "start shop".to_owned(), bound: BOUND };
        assert_eq!((kind_of(&silent), own_failure_after(&silent)), (Kind::Failed, Some(Duration::ZERO)));
    }
}
