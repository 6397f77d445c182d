//! Requests that a fault stands in the way of: the core refuses them, or lets their jobs fail.

use std::fmt;

use contract::{CoreError, ErrorCode, JobId, JobState, JobView};

use crate::rules::RuleLog;
use crate::rules::ids::JO_03;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::retries;
use crate::sim::testbed::Testbed;

/// What became of a request.
pub(crate) enum Attempt {
    /// The core refused it.
    Refused(CoreError),
    /// Its job ended.
    Ended(Box<JobView>),
}

impl Attempt {
    /// Follows a request to its end.
    ///
    /// # Errors
    /// The core does not support the request, or its job does not end.
    pub(crate) async fn of(testbed: &Testbed, asked: Result<JobId, CoreError>) -> Result<Self, EarlyEnd> {
        match asked {
            Err(refusal) if refusal.code == ErrorCode::NotSupported => Err(refusal.into()),
            Err(refusal) => Ok(Self::Refused(refusal)),
            Ok(job) => Ok(Self::Ended(Box::new(testbed.ended(&job).await?))),
        }
    }

    /// Whether the core did not do what it was asked for: it refused, or the job failed.
    pub(crate) fn failed(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Ended(job) => job.state == JobState::Failed,
        }
    }

    /// The code with which the core refused, or with which the job failed.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Ended(job) => job.error.as_ref().filter(|_| self.failed()).map(|error| error.code),
        }
    }

    /// Tries it again once the fault is repaired: retries the job, or makes the request again if
    /// there is no job to retry, about which JO-03 says nothing.
    ///
    /// # Errors
    /// It does not succeed.
    pub(crate) async fn repeat(
        self,
        testbed: &Testbed,
        rules: &mut RuleLog,
        request: impl Future<Output = Result<JobId, CoreError>>,
    ) -> Result<(), EarlyEnd> {
        let Self::Ended(failed) = self else {
            rules.leave_out(JO_03);
            testbed.completed(request.await).await?;
            return Ok(());
        };
        retries(testbed, rules, &failed.id).await?;
        let view = testbed.completed(&failed.id).await?;
        let found = format!("the retry is attempt {} of the same job", view.attempt);
        rules.check(JO_03, view.attempt == 2, found);
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the core refused by {:?}", refusal.code),
            Self::Ended(job) => {
                write!(f, "the job ended {:?}: {:?}", job.state, job.error.as_ref().map(|it| it.code))
            }
        }
    }
}
