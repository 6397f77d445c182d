//! Jobs of the core: following one to its end.

use contract::{JobId, JobState, JobView, StepState};

use crate::blame::{CoreFailure, ScenarioError, platform_causes};
use crate::real::context::{ScenarioContext, json_name};
use crate::real::job_limit::{Exceeded, JobLimit};
use crate::rules::ids::JO_01;

impl ScenarioContext {
    /// Waits until a job has ended well and shows each of its steps while it runs. `label` is the
    /// name under which the steps appear in progress and trace: an edge, or a phase such as
    /// `protect`.
    ///
    /// # Errors
    /// The job failed, was cancelled or stood still (JO-01). All are the core's failure, unless a
    /// stand-in itself failed meanwhile and can be the cause. Or it went on for too long.
    pub(crate) async fn follow(&self, label: &str, job: &JobId) -> Result<JobView, ScenarioError> {
        let ended = self.show_until_end(label, job).await?;
        let kind = json_name(&ended.kind);
        for step in &ended.steps {
            self.trace(format!("{label}: {kind} step `{}` {}", step.name, json_name(&step.state)));
        }
        self.check_job(&ended);
        let Some(why) = why_not_well(&ended) else { return Ok(ended) };
        let what = format!("{label}: the core's {kind} job {why}");
        Err(self.blame_of_failed_job(what, &ended))
    }

    /// Whose failure `what` is: a job that has ended and did not end well.
    pub(crate) fn blame_of_failed_job(&self, what: String, job: &JobView) -> ScenarioError {
        blame_of_failed_job(what, job, self.stand_in_failure(job.started))
    }

    /// Waits until a job has ended, well or not.
    ///
    /// # Errors
    /// It stood still (JO-01), which is the core's failure unless a stand-in itself failed, or it
    /// went on for too long.
    pub(crate) async fn ended_job(&self, label: &str, job: &JobId) -> Result<JobView, ScenarioError> {
        self.job_once(label, job, JobState::ended).await
    }

    /// Waits until the state of a job is one of those that are awaited.
    ///
    /// # Errors
    /// As of [`ended_job`](Self::ended_job).
    pub(crate) async fn job_once(
        &self,
        label: &str,
        job: &JobId,
        is_awaited: impl Fn(JobState) -> bool,
    ) -> Result<JobView, ScenarioError> {
        let mut limit = JobLimit::begin();
        let mut view = self.within(&mut limit, label, job, self.core.job(job)).await?;
        while !is_awaited(view.state) {
            view = self.within(&mut limit, label, job, self.core.watch_job(job, view.revision)).await?;
        }
        Ok(view)
    }

    /// Waits for the next view of a job within its limit.
    async fn within(
        &self,
        limit: &mut JobLimit,
        label: &str,
        job: &JobId,
        next: impl Future<Output = Result<JobView, CoreFailure>>,
    ) -> Result<JobView, ScenarioError> {
        match limit.within(next).await {
            Ok(view) => {
                let view = view?;
                limit.saw(&view);
                Ok(view)
            }
            Err(exceeded @ Exceeded::StoodStill) => {
                let found = format!("job {job} {exceeded}");
                Err(self.overdue_since(limit.began_at(), JO_01, label, &found))
            }
            Err(exceeded @ Exceeded::StillAtWork) => {
                let found = format!("{label}: job {job} {exceeded}");
                self.unknown(JO_01, found.clone());
                Err(ScenarioError::Inconclusive(found))
            }
        }
    }

    /// Shows each step of a job as it runs, until the job has ended.
    async fn show_until_end(&self, label: &str, job: &JobId) -> Result<JobView, ScenarioError> {
        let mut limit = JobLimit::begin();
        let mut view = self.within(&mut limit, label, job, self.core.job(job)).await?;
        while !view.state.ended() {
            let running = view.steps.last().map(|step| step.name.clone());
            let shown = running.as_deref().map(|name| self.evidence.step(label, name));
            let steps = view.steps.len();
            while !view.state.ended() && view.steps.len() == steps {
                let next = self.core.watch_job(job, view.revision);
                view = self.within(&mut limit, label, job, next).await?;
                let last = view.steps.last().and_then(|step| Some((step, step.progress?)));
                if let Some((step, (done, total))) = last {
                    self.evidence.progress(label, &step.name, done.0, total.0, "bytes");
                }
            }
            if let Some(shown) = shown
                && view.state != JobState::Failed
            {
                shown.done();
            }
        }
        Ok(view)
    }

    /// JO-01: each operation is a job whose steps have ended and are timed.
    fn check_job(&self, job: &JobView) {
        let timed = job.steps.iter().all(|step| step.state != StepState::InProgress && step.took.is_some());
        let found =
            format!("{}: {} steps, all ended and timed: {timed}", json_name(&job.kind), job.steps.len());
        self.check(JO_01, timed && job.ended.is_some() && !job.steps.is_empty(), found);
    }
}

/// Whose failure it is that a job did not end well. `stand_in_failure` says how a stand-in itself
/// failed while the job ran, if one did.
pub(crate) fn blame_of_failed_job(
    what: String,
    job: &JobView,
    stand_in_failure: Option<impl std::fmt::Display>,
) -> ScenarioError {
    let by_platform = job.error.as_ref().is_some_and(|error| platform_causes(error.code));
    ScenarioError::core_unless(what, stand_in_failure.filter(|_| by_platform))
}

/// Why a job that has ended did not end well; `None` if it did. The state decides as well as the
/// error: a core that cancels a job and gives no reason has not done what was asked.
fn why_not_well(job: &JobView) -> Option<String> {
    match (&job.error, job.state) {
        (Some(error), _) => Some(format!("failed: {error}")),
        (None, JobState::Completed | JobState::CompletedWithWarning | JobState::PartiallySucceeded) => None,
        (None, state) => Some(format!("ended {}, without an error", json_name(&state))),
    }
}

#[cfg(test)]
mod tests {
    use contract::{CoreError, Direction, ErrorCode, ItemId, JobKind, JobSubject, Timestamp};

    use super::*;

    fn ended(state: JobState, error: Option<CoreError>) -> JobView {
        JobView {
            id: JobId::from("job-1"),
            subject: JobSubject::Item(ItemId::from("shop")),
            parent: None,
            kind: JobKind::Commit,
            direction: Direction::PrimaryToRecovery,
            state,
            revision: 1,
            actions: vec![],
            attempt: 1,
            plan: None,
            steps: vec![],
            error,
            started: Timestamp(1),
            ended: Some(Timestamp(2)),
        }
    }

    #[test]
    fn a_job_ends_well_only_by_its_state_and_without_an_error() {
        for state in [JobState::Completed, JobState::CompletedWithWarning, JobState::PartiallySucceeded] {
            assert_eq!(why_not_well(&ended(state, None)), None, "{state:?}");
        }
        for state in [JobState::Failed, JobState::Cancelled] {
            let why = why_not_well(&ended(state, None));
            assert!(why.is_some_and(|why| why.ends_with("without an error")), "{state:?}");
        }
        let error = CoreError::new(ErrorCode::Platform, "no space left");
        let why = why_not_well(&ended(JobState::Completed, Some(error)));
        assert_eq!(why.as_deref(), Some("failed: no space left"));
    }

    #[test]
    fn a_job_that_its_platform_made_fail_is_the_hosts_failure_if_the_stand_in_itself_failed() {
        let failed = |code| ended(JobState::Failed, Some(CoreError::new(code, "libvirt is gone")));
        let blame = |code, failure| blame_of_failed_job("the job failed".to_owned(), &failed(code), failure);
        let by_host = blame(ErrorCode::Platform, Some("no connection to libvirt"));
        assert!(matches!(by_host, ScenarioError::Inconclusive(why) if why.contains("no connection")));
        let by_core = [
            blame(ErrorCode::Platform, None),
            blame(ErrorCode::NoRecoveryPoint, Some("no connection to libvirt")),
        ];
        assert!(by_core.iter().all(|blame| matches!(blame, ScenarioError::CoreViolation(_))));
    }
}
