//! Conversion of errors to platform errors, and the failures of the site itself among them.

use contract::{PlatformError, PlatformErrorKind as Kind};
use harness::Error;

use crate::StandInSite;
use crate::active_faults::lock;
use crate::own_failure::OwnFailure;
use crate::snapshots::now;
use inventory::Denial;

impl StandInSite {
    /// Failures of the site itself so far, oldest first.
    #[must_use]
    pub fn own_failures(&self) -> Vec<OwnFailure> {
        lock(&self.own_failures).clone()
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
