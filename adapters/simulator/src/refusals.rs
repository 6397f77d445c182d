//! How a site says no.

use std::fmt;

use contract::{PlatformError, PlatformErrorKind as Kind};

use inventory::Denial;

use crate::SimSite;

impl SimSite {
    pub(crate) fn refuse(&self, kind: Kind, message: impl Into<String>) -> PlatformError {
        PlatformError { site: self.label().to_owned(), kind, message: message.into() }
    }

    /// Converts a denial by the site's components to an error of this site.
    pub(crate) fn denied(&self) -> impl Fn(Denial) -> PlatformError {
        |denial| self.refuse(denial.kind, denial.message)
    }

    pub(crate) fn unknown(&self, what: &str, id: &dyn fmt::Display) -> PlatformError {
        self.refuse(Kind::NotFound, format!("there is no {what} {id}"))
    }
}
