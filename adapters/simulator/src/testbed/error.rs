//! What ends a run on the testbed early.

use contract::{CoreError, ErrorCode, JobId, JobKind, JobState, JobView, PlatformError, PlatformErrorKind};

use crate::Cut;

/// Why a run on the [`Testbed`](super::Testbed) did not get to its end.
///
/// Each variant says who failed: the simulator and the host with [`TestbedError::Platform`] and
/// [`TestbedError::Host`], the core with all others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestbedError {
    /// The core refused a request that it had to accept, or failed.
    #[error("the core: {0}")]
    Core(#[from] CoreError),
    /// A simulated site refused a request of the test, or failed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// A job had to succeed and did not.
    #[error(transparent)]
    JobFailed(#[from] JobFailed),
    /// Something that had to come did not come within the testbed's patience.
    #[error("{what} did not come within {hours} hours of virtual time")]
    TimedOut {
        /// What the test waited for.
        what: String,
        /// How long it waited.
        hours: u64,
    },
    /// The core did not make or keep something that it had to make or keep.
    #[error("{what} is missing")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// A machine was started from disks that its source never had.
    #[error(transparent)]
    NotAPrefix(#[from] NotAPrefix),
    /// The core gave a script a context that cannot be read.
    #[error("a script was given an unreadable context, {line}: {reason}")]
    BadScriptContext {
        /// The line that the script wrote down.
        line: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// The core was closed and left exports and snapshots open at the sites.
    #[error("{0} snapshots and exports are still open after the core was closed")]
    LeftOpen(usize),
    /// The host could not do its part.
    #[error("{what}: {reason}")]
    Host {
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: String,
    },
}

/// A job that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{job} ({kind:?}) ended {state:?}, last step {last_step:?}: {error:?}")]
pub struct JobFailed {
    /// The job.
    pub job: JobId,
    /// What it had to do.
    pub kind: JobKind,
    /// How it ended.
    pub state: JobState,
    /// Its last step; empty if it had none.
    pub last_step: String,
    /// The error that the core shows.
    pub error: Option<CoreError>,
}

impl From<JobView> for JobFailed {
    fn from(view: JobView) -> Self {
        let last_step = view.steps.last().map(|step| step.name.clone()).unwrap_or_default();
        Self { job: view.id, kind: view.kind, state: view.state, last_step, error: view.error }
    }
}

/// Disks from which a machine was started and which are no prefix of its source's writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{machine} (boot {boot}) was started from disks that its source never had: {cut:?}")]
pub struct NotAPrefix {
    /// The machine that was started.
    pub machine: contract::MachineId,
    /// Number of its boot.
    pub boot: u32,
    /// What its disks hold instead.
    pub cut: Cut,
}

impl TestbedError {
    /// Something that the core had to make or keep is missing.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    pub(super) fn host(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Host { what: what.into(), reason: reason.to_string() }
    }

    /// The code with which the core refused or failed, if it was the core.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Core(error) => Some(error.code),
            Self::JobFailed(failed) => failed.error.as_ref().map(|error| error.code),
            _ => None,
        }
    }
}

/// Reads a site's answer about something that the core had to make or keep: if the site has no such
/// thing, the core failed, and every other error is the site's. `what` names the thing.
///
/// # Errors
/// [`TestbedError::Missing`] instead of [`PlatformErrorKind::NotFound`];
/// [`TestbedError::Platform`] for other errors.
pub fn kept<T>(what: &str, answer: Result<T, PlatformError>) -> Result<T, TestbedError> {
    answer.map_err(|error| match error.kind {
        PlatformErrorKind::NotFound => TestbedError::missing(what),
        _ => error.into(),
    })
}
