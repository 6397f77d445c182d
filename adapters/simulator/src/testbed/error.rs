//! What ends a run on the testbed early.

use contract::{
    CoreError, Direction, ErrorCode, JobId, JobKind, JobState, JobView, PlatformError, PlatformErrorKind,
    PointChoice, PointId, Timestamp,
};

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
    /// A job did not end within the testbed's patience.
    #[error("{job} did not end within {hours} hours of virtual time")]
    JobEndless {
        /// The job.
        job: JobId,
        /// How long the test waited.
        hours: u64,
    },
    /// A machine was not started that the core had to start.
    #[error("a boot of {machine} is missing")]
    NotStarted {
        /// The machine.
        machine: String,
    },
    /// A volume is gone that the core had to keep.
    #[error("the volume {volume} is missing")]
    VolumeGone {
        /// The volume.
        volume: contract::VolumeId,
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
    /// A machine was started without writes that its recovery point must contain, or with later
    /// ones.
    #[error(transparent)]
    NotFresh(#[from] NotFresh),
    /// The core used another recovery point than the one that was asked for.
    #[error(transparent)]
    WrongPoint(#[from] WrongPoint),
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
    /// The direction that it had.
    pub direction: Direction,
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
        Self {
            job: view.id,
            kind: view.kind,
            direction: view.direction,
            state: view.state,
            last_step,
            error: view.error,
        }
    }
}

/// Disks from which a machine was started and which are no prefix of its source's writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{machine} (boot {boot}) was started from disks that its source never had: {cut}")]
pub struct NotAPrefix {
    /// The machine that was started.
    pub machine: contract::MachineId,
    /// Number of its boot.
    pub boot: u32,
    /// What its disks hold instead.
    pub cut: Cut,
}

/// A machine that was started without writes from before the time of its recovery point, or with
/// later ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFresh {
    /// The machine that was started.
    pub machine: contract::MachineId,
    /// The time that the core shows for the recovery point.
    pub point: Timestamp,
    /// How many of the source's writes it was started with.
    pub writes: usize,
    /// When the first write was made that is missing; `None`: none is.
    pub lacks: Option<Timestamp>,
    /// The ledger records that are missing.
    pub records: Vec<u64>,
    /// When the first write was made that is later than the point; `None`: none is.
    pub excess: Option<Timestamp>,
}

impl std::error::Error for NotFresh {}

impl std::fmt::Display for NotFresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { machine, point, writes, lacks, records, excess } = self;
        write!(f, "{machine} was started from a point of {} ms with the first {writes} writes; ", point.0)?;
        if let Some(at) = lacks {
            write!(f, "it lacks writes since {} ms", at.0)?;
            if let (Some(first), Some(last)) = (records.first(), records.last()) {
                write!(f, ", among them records {first} to {last}")?;
            }
        }
        match excess {
            Some(at) if lacks.is_some() => write!(f, "; it has writes of {} ms", at.0),
            Some(at) => write!(f, "it has writes of {} ms, which is later", at.0),
            None => Ok(()),
        }
    }
}

/// A recovery point that is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{choice:?} was asked for, and {item} failed over to {chosen}")]
pub struct WrongPoint {
    /// The item.
    pub item: contract::ItemId,
    /// What was asked for.
    pub choice: PointChoice,
    /// The point that the core used.
    pub chosen: PointId,
}

impl TestbedError {
    /// Something that the core had to make or keep is missing.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    /// The host could not do something that the testbed needs.
    pub fn host(what: impl Into<String>, reason: impl ToString) -> Self {
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
