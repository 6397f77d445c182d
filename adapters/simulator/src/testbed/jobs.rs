//! Following a job of the core on a testbed.

use contract::{CoreError, JobId, JobState, JobView};

use super::items::LOOK_EVERY;
use super::{JobFailed, Testbed, TestbedError, patiently};

/// A job to follow: its id, or a core's answer to the request that starts it.
pub trait IntoJob {
    /// The job's id, or the core's refusal.
    ///
    /// # Errors
    /// The core refused the request.
    fn into_job(self) -> Result<JobId, CoreError>;
}

impl IntoJob for &JobId {
    fn into_job(self) -> Result<JobId, CoreError> {
        Ok(self.clone())
    }
}

impl IntoJob for Result<JobId, CoreError> {
    fn into_job(self) -> Result<JobId, CoreError> {
        self
    }
}

impl Testbed {
    /// Follows a job to its end, whatever that is.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not end.
    pub async fn ended(&self, job: impl IntoJob) -> Result<JobView, TestbedError> {
        self.until(job, |_| false).await
    }

    /// Follows a job until `reached` says that it is where the test wants it, or until it ends.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not come so far.
    pub async fn until(
        &self,
        job: impl IntoJob,
        reached: impl Fn(&JobView) -> bool,
    ) -> Result<JobView, TestbedError> {
        let job = job.into_job()?;
        let follow = async {
            let mut view = self.core.job(&job).await?;
            while !view.state.ended() && !reached(&view) {
                let known = view.revision;
                view = self.core.watch_job(&job, known).await?;
                if view.revision == known {
                    // The core answered before anything changed, which it may. Time has to pass.
                    self.advance(LOOK_EVERY).await;
                }
            }
            Ok::<_, CoreError>(view)
        };
        patiently(format!("the end of {job}"), follow).await.map_err(|error| match error {
            TestbedError::TimedOut { hours, .. } => TestbedError::JobEndless { job: job.clone(), hours },
            other => other,
        })
    }

    /// Follows a job until it is in this state.
    ///
    /// # Errors
    /// The core refuses the job, or the job ends before.
    pub async fn reaches(&self, job: impl IntoJob, state: JobState) -> Result<JobView, TestbedError> {
        let view = self.until(job, |view| view.state == state).await?;
        if view.state == state { Ok(view) } else { Err(JobFailed::from(view).into()) }
    }

    /// Follows a job to its end, which must be a success, if only with a warning.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not succeed.
    pub async fn completed(&self, job: impl IntoJob) -> Result<JobView, TestbedError> {
        let view = self.ended(job).await?;
        match view.state {
            JobState::Completed | JobState::CompletedWithWarning => Ok(view),
            _ => Err(JobFailed::from(view).into()),
        }
    }
}
