//! Blame: whether an error says something about the core under test or only about the test host.
//!
//! Both tiers stop a scenario or a check with a [`ScenarioError`], and this module is the only
//! place that decides which of its two kinds an error becomes:
//!
//! | error | kind |
//! |---|---|
//! | [`CoreError`] | [`ScenarioError::CoreViolation`], unless only the host causes its code ([`only_host_causes`]) |
//! | [`CoreFailure`]: a scenario on guests asked the core | as [`CoreError`], but [`ScenarioError::Inconclusive`] if a platform can cause its code ([`platform_causes`]) and a stand-in itself failed while the core was asked |
//! | something that the core had to do in time and did not | the core's, unless a stand-in itself failed while it was awaited, see `ScenarioContext::overdue_since` |
//! | [`PlatformError`] | [`ScenarioError::Inconclusive`]: the stand-in or the simulator failed |
//! | a job that fails with a code that a platform can cause | the core's, unless a stand-in itself failed while the job ran, see `ScenarioContext::follow` |
//! | `NotFound` for something that the core had to keep | [`ScenarioError::CoreViolation`], where the caller says so with [`KeptByCore`] |
//! | [`TestbedError`] | as above for the core's and the simulator's own errors; what a core had to do on the testbed and did not is the core's |
//! | [`harness::Error`], [`anyhow::Error`] | [`ScenarioError::Inconclusive`]: the host, a tool or the suite failed |
//! | [`harness::Error`] of a guest that the core recovered | the core's, unless its host starved the guest or was itself too slow, or the guest's image is unfit, see [`ScenarioError::of_recovered_guest`] |
//!
//! Findings have a blame as well: a rule about the suite's own stand-ins (`ST-`) that does not hold
//! makes the run unknown, see [`Score`](crate::rules::Score).
//!
//! `?` applies the table; [`ScenarioError::core`] and [`ScenarioError::inconclusive`] make the
//! other errors.

use std::fmt::Display;

use contract::{CoreError, ErrorCode, PlatformError, PlatformErrorKind};
use simulator::testbed::TestbedError;

/// Why a scenario or a check ended early, and whose failure that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The core under test broke a rule. The verdict is `fail`.
    #[error("{0}")]
    CoreViolation(String),
    /// The test host, a stand-in, a tool or the suite failed, so the run proves nothing about the
    /// core. The verdict is `unknown`.
    #[error("{0}")]
    Inconclusive(String),
    /// The core does not have this capability. The verdict is `skipped`.
    #[error("{}", crate::missing::why(.0))]
    Lacking(String),
}

impl ScenarioError {
    /// A failure of the core under test.
    pub fn core(what: impl Into<String>) -> Self {
        Self::CoreViolation(what.into())
    }

    /// A failure that says nothing about the core under test.
    pub fn inconclusive(what: impl Into<String>) -> Self {
        Self::Inconclusive(what.into())
    }

    /// What the core is to blame for, unless a stand-in itself failed meanwhile, which can be the
    /// cause.
    pub(crate) fn core_unless(what: String, stand_in_failure: Option<impl Display>) -> Self {
        match stand_in_failure {
            None => Self::CoreViolation(what),
            Some(failure) => {
                Self::Inconclusive(format!("{what}; meanwhile the stand-in itself failed: {failure}"))
            }
        }
    }

    /// The failure of a guest that runs from disks that the core recovered. It is the core's, which
    /// alone decides what is on these disks, unless the guest itself shows that it is not.
    /// `context` goes before the error's own text.
    #[must_use]
    pub fn of_recovered_guest(error: harness::Error, context: &str) -> Self {
        match only_host_or_image_causes(&error) {
            true => Self::Inconclusive(format!("{context}: {error}")),
            false => Self::from(error).attribute_to_core(context),
        }
    }

    /// Attributes an inconclusive error to the core, because only the core can have caused it here:
    /// for example a guest that does not boot from the disks that the core recovered. `context`
    /// goes before the error's own text. An error that already is the core's stays as it is.
    #[must_use]
    pub fn attribute_to_core(self, context: &str) -> Self {
        match self {
            Self::Inconclusive(what) => Self::CoreViolation(format!("{context}: {what}")),
            other @ (Self::CoreViolation(_) | Self::Lacking(_)) => other,
        }
    }
}

/// Whether an error of a guest says nothing about the disks that it runs from: the host did not let
/// it run or was itself too slow, or the guest's image is unfit.
fn only_host_or_image_causes(error: &harness::Error) -> bool {
    use harness::Error::{HostTimedOut, Starved, UnstablePages};
    matches!(error, Starved { .. } | HostTimedOut { .. } | UnstablePages { .. })
}

/// Whether an error of the core with this code is the test host's failure: only the core's store
/// qualifies, which lies in a directory of the host and fails when that is full or cannot be
/// written.
#[must_use]
pub fn only_host_causes(code: ErrorCode) -> bool {
    code == ErrorCode::Store
}

/// Whether what a platform did can be the cause of an error with this code.
#[must_use]
pub fn platform_causes(code: ErrorCode) -> bool {
    // What failed in a member of a plan is told by the member's own job.
    matches!(code, ErrorCode::Platform | ErrorCode::ShutdownFailed | ErrorCode::MemberFailed)
}

/// An error of the core on guests, and the failure of a stand-in itself that can be its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreFailure {
    /// The core's error.
    pub error: CoreError,
    /// How a stand-in itself failed; `None` if none did, or if no platform can cause the error.
    pub stand_in_failure: Option<PlatformError>,
}

impl CoreFailure {
    /// An error of the core. `stand_in_failure` says how a stand-in itself failed meanwhile, if one
    /// did.
    pub(crate) fn new(error: CoreError, stand_in_failure: impl FnOnce() -> Option<PlatformError>) -> Self {
        let stand_in_failure = if platform_causes(error.code) { stand_in_failure() } else { None };
        Self { error, stand_in_failure }
    }
}

impl From<CoreFailure> for ScenarioError {
    fn from(CoreFailure { error, stand_in_failure }: CoreFailure) -> Self {
        match stand_in_failure {
            None => error.into(),
            failure => Self::core_unless(format!("the core: {error}"), failure),
        }
    }
}

impl From<CoreError> for ScenarioError {
    fn from(error: CoreError) -> Self {
        let what = format!("the core: {error}");
        if only_host_causes(error.code) { Self::Inconclusive(what) } else { Self::CoreViolation(what) }
    }
}

impl From<PlatformError> for ScenarioError {
    fn from(error: PlatformError) -> Self {
        Self::Inconclusive(error.to_string())
    }
}

impl From<TestbedError> for ScenarioError {
    fn from(error: TestbedError) -> Self {
        let host_fails = match &error {
            TestbedError::Platform(_) | TestbedError::Host { .. } => true,
            TestbedError::Core(_) | TestbedError::JobFailed(_) => error.code().is_some_and(only_host_causes),
            TestbedError::TimedOut { .. }
            | TestbedError::JobEndless { .. }
            | TestbedError::NotStarted { .. }
            | TestbedError::VolumeGone { .. }
            | TestbedError::Missing { .. }
            | TestbedError::NotAPrefix(_)
            | TestbedError::NotFresh(_)
            | TestbedError::WrongPoint(_)
            | TestbedError::BadScriptContext { .. }
            | TestbedError::LeftOpen(_) => false,
        };
        let what = error.to_string();
        if host_fails { Self::Inconclusive(what) } else { Self::CoreViolation(what) }
    }
}

impl From<harness::Error> for ScenarioError {
    fn from(error: harness::Error) -> Self {
        Self::Inconclusive(error.to_string())
    }
}

impl From<anyhow::Error> for ScenarioError {
    fn from(error: anyhow::Error) -> Self {
        Self::Inconclusive(format!("{error:#}"))
    }
}

/// Blames the core for a platform's `NotFound` where the core had to keep what was looked for.
pub trait KeptByCore<T> {
    /// Turns `NotFound` into a [`ScenarioError::CoreViolation`]; every other error of the platform
    /// stays [`ScenarioError::Inconclusive`]. `what` names the object, such as `the recovery
    /// point's volume`.
    ///
    /// # Errors
    /// The platform's error, with its blame.
    fn kept_by_core(self, what: &str) -> Result<T, ScenarioError>;
}

impl<T> KeptByCore<T> for Result<T, PlatformError> {
    fn kept_by_core(self, what: &str) -> Result<T, ScenarioError> {
        self.map_err(|error| match error.kind {
            PlatformErrorKind::NotFound => {
                ScenarioError::CoreViolation(format!("the core did not keep {what}: {error}"))
            }
            _ => error.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform_error(kind: PlatformErrorKind) -> PlatformError {
        PlatformError { site: "cloud".to_owned(), kind, message: "no volume shop-system".to_owned() }
    }

    #[test]
    fn errors_of_the_core_are_violations_unless_only_the_host_causes_them() {
        let refused = CoreError::new(ErrorCode::WrongDirection, "the item cannot go that way");
        let expected = ScenarioError::core("the core: the item cannot go that way");
        assert_eq!(ScenarioError::from(refused), expected);
        let disk_full = CoreError::new(ErrorCode::Store, "no space left");
        assert_eq!(ScenarioError::from(disk_full), ScenarioError::inconclusive("the core: no space left"));
    }

    #[test]
    fn an_error_that_a_platform_can_cause_is_no_violation_if_the_stand_in_itself_failed() {
        let blame = |code, failure: Option<PlatformError>| {
            ScenarioError::from(CoreFailure::new(CoreError::new(code, "cloud: no answer"), || failure))
        };
        let failed = || Some(platform_error(PlatformErrorKind::Failed));
        for code in [ErrorCode::Platform, ErrorCode::ShutdownFailed, ErrorCode::MemberFailed] {
            let text = "the core: cloud: no answer; meanwhile the stand-in itself failed: cloud: no volume shop-system";
            assert_eq!(blame(code, failed()), ScenarioError::inconclusive(text), "{code:?}");
            assert_eq!(blame(code, None), ScenarioError::core("the core: cloud: no answer"), "{code:?}");
        }
        let by_core = blame(ErrorCode::NoRecoveryPoint, failed());
        assert_eq!(by_core, ScenarioError::core("the core: cloud: no answer"));
        assert!(matches!(blame(ErrorCode::Store, None), ScenarioError::Inconclusive(_)));
    }

    #[test]
    fn a_missing_object_is_a_violation_only_where_the_core_had_to_keep_it() {
        let found = |kind| Err::<(), _>(platform_error(kind));
        let plain = ScenarioError::from(platform_error(PlatformErrorKind::NotFound));
        assert_eq!(plain, ScenarioError::inconclusive("cloud: no volume shop-system"));
        let kept = found(PlatformErrorKind::NotFound).kept_by_core("the recovery point's volume");
        assert!(matches!(kept, Err(ScenarioError::CoreViolation(what)) if what.contains("recovery point")));
        let unreachable = found(PlatformErrorKind::Unreachable).kept_by_core("the recovery point's volume");
        assert!(matches!(unreachable, Err(ScenarioError::Inconclusive(_))));
    }

    #[test]
    fn the_core_is_to_blame_for_what_it_leaves_out_on_the_testbed_and_not_for_the_simulator() {
        let core = [
            TestbedError::missing("a processed point of item-web"),
            TestbedError::TimedOut { what: "the end of job-1".to_owned(), hours: 24 },
            TestbedError::Core(CoreError::new(ErrorCode::Busy, "another job holds the item")),
            TestbedError::LeftOpen(2),
        ];
        for error in core {
            assert!(matches!(error.clone().into(), ScenarioError::CoreViolation(_)), "{error}");
        }
        let host = [
            TestbedError::Platform(platform_error(PlatformErrorKind::NotFound)),
            TestbedError::Host { what: "make a directory".to_owned(), reason: "no space left".to_owned() },
            TestbedError::Core(CoreError::new(ErrorCode::Store, "no space left")),
        ];
        for error in host {
            assert!(matches!(error.clone().into(), ScenarioError::Inconclusive(_)), "{error}");
        }
        let kept =
            simulator::testbed::kept("the copy", Err::<(), _>(platform_error(PlatformErrorKind::NotFound)));
        assert_eq!(kept.map_err(ScenarioError::from), Err(ScenarioError::core("the copy is missing")));
    }

    #[test]
    fn a_guest_that_does_not_come_up_is_the_cores_failure_unless_its_host_did_not_let_it_run() {
        let bound = std::time::Duration::from_secs(120);
        let awaited = || "shop: the witness's hello".to_owned();
        let blame = |error| ScenarioError::of_recovered_guest(error, "failover: it did not come up");
        let seen = "ROUNDTRIP-NO-ROOT drivers: none".to_owned();
        let core = [
            harness::Error::TimedOut { awaited: awaited(), bound, seen: String::new() },
            harness::Error::Died { who: "shop".to_owned(), awaited: awaited(), last_words: seen },
            harness::Error::Witness { machine: "shop".to_owned(), what: "cannot read the ledger".to_owned() },
        ];
        for error in core {
            assert!(matches!(blame(error), ScenarioError::CoreViolation(_)));
        }
        let why = "its kernel says: watchdog: BUG: soft lockup - CPU#0 stuck for 22s!".to_owned();
        let starved = blame(harness::Error::Starved { awaited: awaited(), bound, why });
        let text = "failover: it did not come up: the host starved the guest: shop: the witness's hello did not \
                    happen within 120s; its kernel says: watchdog: BUG: soft lockup - CPU#0 stuck for 22s!";
        assert_eq!(starved, ScenarioError::inconclusive(text));
        let slow = harness::Error::HostTimedOut { awaited: awaited(), bound, seen: String::new() };
        assert!(matches!(blame(slow), ScenarioError::Inconclusive(_)));
        let pages = harness::Error::UnstablePages { machine: "shop".to_owned(), disk: "data".to_owned() };
        assert!(matches!(blame(pages), ScenarioError::Inconclusive(_)));
    }

    #[test]
    fn attributing_an_error_to_the_core_keeps_what_the_core_was_blamed_for() {
        let host = ScenarioError::inconclusive("no hello in 120 s").attribute_to_core("it did not come up");
        assert_eq!(host, ScenarioError::core("it did not come up: no hello in 120 s"));
        let violation = ScenarioError::core("its disk is torn").attribute_to_core("it did not come up");
        assert_eq!(violation, ScenarioError::core("its disk is torn"));
    }
}
