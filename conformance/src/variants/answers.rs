//! Variants that refuse what the built-in core lets fail, and the reverse, or support less.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, EnableProtection, ErrorCode, ItemView, JobId, JobKind, JobState, JobSubject,
    JobView, Millis, Phase, PlatformKind, Policy, ReplicationCore, Timestamp,
};

use super::difference::{Difference, JobRequest};

/// What it implements.
const FEW: [&str; 7] =
    ["enable_protection", "item", "test_failover", "failover", "commit", "job", "watch_job"];
/// The platforms that it can protect machines of.
const SOURCES: [PlatformKind; 5] = [
    PlatformKind::Vmware,
    PlatformKind::Physical,
    PlatformKind::HyperV,
    PlatformKind::Azure,
    PlatformKind::Kvm,
];

/// Implements few methods, and has a policy of its own.
pub(super) struct MinimumCore;

#[async_trait]
impl Difference for MinimumCore {
    fn implements(&self, method: &str) -> bool {
        FEW.contains(&method)
    }

    fn capabilities(&self, all: Capabilities) -> Capabilities {
        use contract::Operation::{Commit, PlannedFailover, TestFailover, UnplannedFailover};
        let operations = vec![UnplannedFailover, PlannedFailover, TestFailover, Commit];
        Capabilities {
            operations,
            plans: contract::PlanLimits { groups: 0, items: 0 },
            windows_registry: false,
            several_nics: false,
            ..all
        }
    }

    async fn protect(
        &self,
        core: &dyn ReplicationCore,
        request: &EnableProtection,
    ) -> Result<JobId, CoreError> {
        let mut answer = core.enable_protection(request).await;
        for source in SOURCES {
            if answer.is_ok() {
                break;
            }
            let policy =
                Policy { app_consistent_every: None, ..Policy::for_machines_of(source, Millis(60_000)) };
            // A policy for another platform, or none, does not help.
            drop(core.delete_policy(&request.policy).await);
            drop(core.create_policy(&request.policy, &policy).await);
            answer = core.enable_protection(request).await;
        }
        answer
    }
}

/// Accepts every request that would start a job, and lets the job fail at once where the built-in
/// core refuses the request.
#[derive(Default)]
pub(super) struct FailsJobs {
    jobs: Mutex<Vec<JobView>>,
}

impl FailsJobs {
    fn jobs(&self) -> MutexGuard<'_, Vec<JobView>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of the newest thing that a core shows, which its clock has reached.
async fn now(core: &dyn ReplicationCore) -> Timestamp {
    let jobs = core.jobs(&contract::JobFilter::default()).await.unwrap_or_default();
    let newest = jobs.iter().map(|job| job.ended.unwrap_or(job.started)).max();
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    newest.unwrap_or(Timestamp(u64::try_from(host.as_millis()).unwrap_or_default()))
}

#[async_trait]
impl Difference for FailsJobs {
    async fn started(
        &self,
        core: &dyn ReplicationCore,
        request: JobRequest,
        answer: Result<JobId, CoreError>,
    ) -> Result<JobId, CoreError> {
        let Err(error) = answer else { return answer };
        let at = now(core).await;
        let mut jobs = self.jobs();
        let id = JobId(format!("refused-{}", jobs.len() + 1));
        jobs.push(JobView {
            id: id.clone(),
            subject: request.subject,
            parent: None,
            kind: request.kind,
            direction: request.direction,
            state: JobState::Failed,
            revision: 1,
            actions: Vec::new(),
            attempt: 1,
            plan: None,
            steps: Vec::new(),
            error: Some(error),
            started: at,
            ended: Some(at),
        });
        Ok(id)
    }

    fn own_jobs(&self) -> Vec<JobView> {
        self.jobs().clone()
    }
}

/// How long a request may take until it is refused.
const EXAMINATION: Duration = Duration::from_secs(10);

/// Preconditions at which the built-in core lets the job fail.
const FOUND_LATE: [ErrorCode; 3] =
    [ErrorCode::MasterTargetHasSnapshots, ErrorCode::DatastoresNotListed, ErrorCode::UuidClash];

/// Refuses a request for which the built-in core lets the job fail because a precondition is
/// broken.
#[derive(Default)]
pub(super) struct RefusesEarly {
    hidden: Mutex<BTreeSet<JobId>>,
}

impl RefusesEarly {
    fn hidden(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Difference for RefusesEarly {
    async fn started(
        &self,
        core: &dyn ReplicationCore,
        _request: JobRequest,
        answer: Result<JobId, CoreError>,
    ) -> Result<JobId, CoreError> {
        let id = answer?;
        let examine = async {
            let mut view = core.job(&id).await?;
            while view.steps.is_empty() && !view.state.ended() {
                view = core.watch_job(&id, view.revision).await?;
            }
            Ok::<_, CoreError>(view)
        };
        let Ok(Ok(view)) = tokio::time::timeout(EXAMINATION, examine).await else { return Ok(id) };
        match view.error.filter(|error| FOUND_LATE.contains(&error.code)) {
            Some(error) => {
                self.hidden().insert(id);
                Err(error)
            }
            None => Ok(id),
        }
    }

    fn hides_job(&self, id: &JobId) -> bool {
        self.hidden().contains(id)
    }
}

/// Gives another reason for a refusal where two are true: that a machine without protection has no
/// recovery point, and that a commit needs a failover that has ended.
pub(super) struct OtherReasons;

#[async_trait]
impl Difference for OtherReasons {
    async fn started(
        &self,
        core: &dyn ReplicationCore,
        request: JobRequest,
        answer: Result<JobId, CoreError>,
    ) -> Result<JobId, CoreError> {
        use JobKind::{ChangePoint, Commit, PlannedFailover, TestFailover, UnplannedFailover};
        let (Err(error), JobSubject::Item(item)) = (&answer, &request.subject) else { return answer };
        let has_none = |view: ItemView| view.protection.phase == Phase::Committed && view.points.is_empty();
        let other = match (error.code, request.kind) {
            (ErrorCode::Busy, Commit) => ErrorCode::NotAllowedInState,
            (
                ErrorCode::NotAllowedInState,
                ChangePoint | PlannedFailover | TestFailover | UnplannedFailover,
            ) if core.item(item).await.is_ok_and(has_none) => ErrorCode::NoRecoveryPoint,
            _ => return answer,
        };
        answer.map_err(|error| CoreError { code: other, ..error })
    }
}

/// Refuses to protect a machine under a name that the target platform does not allow.
pub(super) struct ChecksNamesEarly;

impl Difference for ChecksNamesEarly {
    fn refuses_protection(&self, request: &EnableProtection) -> Option<CoreError> {
        let name = &request.target.machine;
        let refusal = || CoreError::new(ErrorCode::IllegalName, format!("{name} contains an underscore"));
        name.0.contains('_').then(refusal)
    }
}

/// Takes new target settings without a look at them.
pub(super) struct ChecksSettingsLater;

impl Difference for ChecksSettingsLater {
    fn checks_new_settings(&self) -> bool {
        false
    }
}
