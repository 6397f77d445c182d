//! The early end of a check: which step failed, and which rule that step itself is about.
//!
//! When a check ends early, only the rule of the step that failed is broken; nothing can be said
//! about the other rules that the check judges. [`rule_of`] is the table of steps and rules:
//!
//! | what failed | rule |
//! |---|---|
//! | a job that protects a machine or ends its protection | LC-01 |
//! | a failover's job, out / back | FO-01 / FB-14, planned: PF-01 / HF-01 |
//! | the job of a test failover, of its clean-up | TF-01, TF-06 |
//! | the job of a change of point | FO-02 |
//! | the job of a commit, after a failover out / back | FO-04 / FB-11 |
//! | the job of a reprotection, of a reverse replication | RE-01, HF-17 |
//! | a request that had to be accepted and was refused by the code of a precondition | the rule of the precondition |
//! | another request that had to be accepted; a job that does not end | JO-01 |
//! | the job of a verification | FX-41 |
//! | recovery points that do not come | RP-15 |
//! | a machine that was never started | FO-01 |
//! | a volume of a recovery point that is gone | RP-20 |
//! | something else that the core had to make, keep or show | MO-06 |
//! | a script's context that cannot be read | PL-03 |
//! | snapshots and exports that a closed core left open | LC-01 |
//! | disks that are no prefix of the source's writes, or not as old as their point | FO-10 |
//! | another point than the one that was asked for | RP-02, RP-04, RP-06, RP-08, RP-09, FO-01 |
//!
//! The last two, a machine that was never started although the job succeeded, and a refusal for a
//! precondition that is met are comparisons of what the core did with what it had to do, which a
//! step makes by itself, and count as assertions of their rules.

use contract::{CoreError, Direction, ErrorCode, JobKind, PlatformError, PointChoice};
use simulator::testbed::{JobFailed, TestbedError};

use crate::blame::ScenarioError;
use crate::rules::RuleId;
use crate::rules::ids::*;

/// Why a check ended before its end.
#[derive(Clone, Debug)]
pub(crate) struct EarlyEnd {
    /// The error, with its blame.
    pub(crate) error: ScenarioError,
    /// The rule of the step that failed.
    pub(crate) rule: RuleId,
    /// Whether the step compared what the core did with what the rule demands.
    pub(crate) asserted: bool,
    /// Whether the core said that it does not support what the step asked for.
    pub(crate) unsupported: bool,
}

impl EarlyEnd {
    /// The core did not do what `rule` demands.
    pub(crate) fn core(rule: RuleId, what: impl Into<String>) -> Self {
        Self { error: ScenarioError::core(what), rule, asserted: true, unsupported: false }
    }

    /// The core does not support something, without which nothing can be said about `rule`.
    pub(crate) fn unsupported(rule: RuleId, what: &str) -> Self {
        let error = ScenarioError::core(format!("the core does not support {what}"));
        Self { error, rule, asserted: false, unsupported: true }
    }

    /// Whether the core refused or did not do what it had to do, without a comparison that asserts
    /// another rule.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.error, ScenarioError::CoreViolation(_)) && !self.asserted && !self.unsupported
    }

    /// The suite could not do its part.
    pub(crate) fn inconclusive(what: impl Into<String>) -> Self {
        let error = ScenarioError::inconclusive(what);
        Self { error, rule: MO_06, asserted: false, unsupported: false }
    }

    /// Something is missing that the core had to make, keep or show.
    pub(crate) fn missing(what: &str) -> Self {
        let error = ScenarioError::core(format!("{what} is missing"));
        Self { error, rule: MO_06, asserted: false, unsupported: false }
    }
}

impl From<TestbedError> for EarlyEnd {
    fn from(error: TestbedError) -> Self {
        let (rule, asserted) = rule_of(&error);
        let unsupported = error.code() == Some(ErrorCode::NotSupported);
        Self { error: error.into(), rule, asserted, unsupported }
    }
}

impl From<CoreError> for EarlyEnd {
    fn from(error: CoreError) -> Self {
        TestbedError::from(error).into()
    }
}

impl From<PlatformError> for EarlyEnd {
    fn from(error: PlatformError) -> Self {
        TestbedError::from(error).into()
    }
}

/// The rule of the step that failed with an error, and whether the error is an assertion of it.
pub(crate) fn rule_of(error: &TestbedError) -> (RuleId, bool) {
    match error {
        TestbedError::JobFailed(failed) => (rule_of_job(failed), false),
        TestbedError::Core(refusal) => {
            rule_of_precondition(refusal.code).map_or((JO_01, false), |rule| (rule, true))
        }
        TestbedError::JobEndless { .. } => (JO_01, false),
        TestbedError::TimedOut { .. } => (RP_15, false),
        TestbedError::NotStarted { .. } => (FO_01, true),
        TestbedError::VolumeGone { .. } => (RP_20, false),
        TestbedError::Platform(_) | TestbedError::Host { .. } | TestbedError::Missing { .. } => {
            (MO_06, false)
        }
        TestbedError::BadScriptContext { .. } => (PL_03, false),
        TestbedError::LeftOpen(_) => (LC_01, false),
        TestbedError::NotAPrefix(_) | TestbedError::NotFresh(_) => (FO_10, true),
        TestbedError::WrongPoint(wrong) => (rule_of_choice(&wrong.choice), true),
    }
}

fn rule_of_job(failed: &JobFailed) -> RuleId {
    let is_out = failed.direction == Direction::PrimaryToRecovery;
    match failed.kind {
        JobKind::EnableProtection | JobKind::DisableProtection => LC_01,
        JobKind::UnplannedFailover if is_out => FO_01,
        JobKind::UnplannedFailover => FB_14,
        JobKind::PlannedFailover if is_out => PF_01,
        JobKind::PlannedFailover => HF_01,
        JobKind::TestFailover => TF_01,
        JobKind::TestFailoverCleanup => TF_06,
        JobKind::ChangePoint => FO_02,
        JobKind::Commit if is_out => FO_04,
        JobKind::Commit => FB_11,
        JobKind::Reprotect => RE_01,
        JobKind::ReverseReplicate => HF_17,
        JobKind::Verify => FX_41,
    }
}

/// The rule of the precondition for which a core refused a request. Where a request must be
/// accepted, every precondition is met.
fn rule_of_precondition(code: ErrorCode) -> Option<RuleId> {
    Some(match code {
        ErrorCode::AppConsistencyDisabled => RP_06,
        ErrorCode::MultiVmNeedsGroup => RP_07,
        ErrorCode::PointExpired => RP_14,
        ErrorCode::IllegalName | ErrorCode::TooManyDisks => FO_18,
        ErrorCode::ConfigurationServerDisconnected => RE_06,
        ErrorCode::MachineNotRegistered => RE_07,
        ErrorCode::GroupMixesOs => RE_10,
        ErrorCode::MasterTargetWrongOs => RE_11,
        ErrorCode::GroupMixesMasterTargets => RE_12,
        ErrorCode::PortBlocked => RE_13,
        ErrorCode::VcenterNotDiscovered => RE_18,
        ErrorCode::HostEditionFree => RE_19,
        ErrorCode::ReleaseNotSupported => RE_20,
        ErrorCode::MachineMigrated => RE_21,
        ErrorCode::MachineMoved => RE_22,
        ErrorCode::CloudMachineGone => RE_23,
        ErrorCode::ProcessServerNotGiven
        | ErrorCode::MasterTargetNotGiven
        | ErrorCode::RetentionDriveNotGiven => RE_25,
        ErrorCode::DatastoreNotGiven | ErrorCode::DatastoreUnknown => RE_26,
        ErrorCode::DatastoreNotMounted => RE_28,
        ErrorCode::HostDisconnected => HF_02,
        ErrorCode::CertificateNotGiven | ErrorCode::CertificateWrong => HF_14,
        ErrorCode::HostUnknown | ErrorCode::MachineMissing => HF_22,
        ErrorCode::SwitchMissing => HF_23,
        ErrorCode::HostNotPrepared => HF_24,
        ErrorCode::ManagedDisks => HF_26,
        ErrorCode::ProcessServerUnknown => IN_01,
        ErrorCode::PrivateLinkDown => IN_02,
        ErrorCode::RetentionDriveUnknown => IN_04,
        ErrorCode::ProcessServerDisconnected
        | ErrorCode::MasterTargetDisconnected
        | ErrorCode::VcenterDisconnected => IN_05,
        ErrorCode::FailbackSiteUnfit => PH_01,
        ErrorCode::FailbackSiteNotGiven | ErrorCode::MasterTargetUnknown => PH_02,
        ErrorCode::MasterTargetForeign => PO_05,
        _ => return None,
    })
}

fn rule_of_choice(choice: &PointChoice) -> RuleId {
    match choice {
        PointChoice::Latest => RP_02,
        PointChoice::LatestProcessed => RP_04,
        PointChoice::LatestAppConsistent => RP_06,
        PointChoice::LatestMultiVm => RP_08,
        PointChoice::LatestMultiVmAppConsistent => RP_09,
        PointChoice::Custom(_) => FO_01,
    }
}

impl std::fmt::Display for EarlyEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}
