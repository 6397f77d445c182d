//! The failures of stand-ins themselves, for which no core is to blame.

use std::sync::Arc;

use contract::{PlatformError, PlatformErrorKind, Timestamp};
use standins::{OwnFailure, StandInSite};

/// The failures so far of the stand-ins of a scenario themselves. Clones share the stand-ins.
#[derive(Clone)]
pub(crate) struct StandInFailures {
    so_far: Arc<dyn Fn() -> Vec<OwnFailure> + Send + Sync>,
}

impl StandInFailures {
    /// Those of these sites.
    pub(crate) fn of<'a>(sites: impl Iterator<Item = &'a Arc<StandInSite>>) -> Self {
        let sites: Vec<_> = sites.map(Arc::clone).collect();
        Self::told_by(move || sites.iter().flat_map(|site| site.own_failures()).collect())
    }

    /// Those that `so_far` returns.
    pub(crate) fn told_by(so_far: impl Fn() -> Vec<OwnFailure> + Send + Sync + 'static) -> Self {
        Self { so_far: Arc::new(so_far) }
    }

    /// The first one since a moment of the host's clock.
    pub(crate) fn first_since(&self, moment: Timestamp) -> Option<PlatformError> {
        let since = (self.so_far)().into_iter().filter(|failure| failure.at >= moment);
        since.min_by_key(|failure| failure.at).map(|first| first.error)
    }

    /// The last one of a kind.
    pub(crate) fn last_of_kind(&self, kind: PlatformErrorKind) -> Option<PlatformError> {
        let of_kind = (self.so_far)().into_iter().filter(|failure| failure.error.kind == kind);
        of_kind.max_by_key(|failure| failure.at).map(|last| last.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_since_the_moment_count_and_the_first_of_them_is_told() {
        let failed = |at, message: &str| {
            let (site, kind, message) = ("cloud".to_owned(), PlatformErrorKind::Failed, message.to_owned());
            OwnFailure { at: Timestamp(at), error: PlatformError { site, kind, message } }
        };
        let failures = StandInFailures::told_by(move || {
            vec![failed(9, "third"), failed(2, "first"), failed(5, "second")]
        });
        let first_since = |at| failures.first_since(Timestamp(at)).map(|error| error.message);
        assert_eq!(first_since(0).as_deref(), Some("first"));
        assert_eq!(first_since(5).as_deref(), Some("second"));
        assert_eq!(first_since(10), None);
        let last = failures.last_of_kind(PlatformErrorKind::Failed);
        assert_eq!(last.map(|error| error.message).as_deref(), Some("third"));
        assert_eq!(failures.last_of_kind(PlatformErrorKind::NotQuiesced), None);
    }
}
