//! Conversion of errors to platform errors, and the failures of the site itself among them.

use std::time::Instant;

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
            let kind = match &error {
                Error::TimedOut { .. } | Error::Starved { .. } => Kind::TimedOut,
                Error::Tool { output, .. } if output.contains("No space left") => Kind::Full,
                Error::File { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
                _ => Kind::Failed,
            };
            let host_failed = kind == Kind::Full || matches!(error, Error::Starved { .. });
            let error = self.refuse(kind, format!("{tried}: {error}"));
            if host_failed {
                self.note_failure(&error);
            }
            error
        }
    }

    /// Records a failure, unless an injected fault or the loss of the site explains it.
    pub(crate) fn note_failure(&self, error: &PlatformError) {
        if lock(&self.faults.present).is_empty() && !self.is_lost() {
            lock(&self.own_failures).push(OwnFailure { at: now(), error: error.clone() });
        }
    }
}
