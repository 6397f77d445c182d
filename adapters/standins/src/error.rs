//! Conversion of errors to platform errors.

use contract::{PlatformError, PlatformErrorKind as Kind};
use harness::Error;

use crate::StandInSite;
use inventory::Denial;

impl StandInSite {
    /// An error of this site.
    pub(crate) fn refuse(&self, kind: Kind, message: impl Into<String>) -> PlatformError {
        PlatformError { site: self.label().to_owned(), kind, message: message.into() }
    }

    /// Converts a denial by the site's components to an error of this site.
    pub(crate) fn denied(&self) -> impl Fn(Denial) -> PlatformError {
        |denial| self.refuse(denial.kind, denial.message)
    }

    /// Converts a harness error to an error of this site.
    pub(crate) fn failed(&self, tried: &str) -> impl FnOnce(Error) -> PlatformError {
        let site = self.label().to_owned();
        let tried = tried.to_owned();
        move |error| {
            let kind = match &error {
                Error::TimedOut { .. } => Kind::TimedOut,
                Error::Tool { output, .. } if output.contains("No space left") => Kind::Full,
                Error::File { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => Kind::Full,
                _ => Kind::Failed,
            };
            PlatformError { site, kind, message: format!("{tried}: {error}") }
        }
    }
}
