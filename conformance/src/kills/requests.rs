//! The jobs that were asked for: those whose answer was lost, and those that failed because the
//! core was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::*;
use futures_util::future::BoxFuture;
use wire::client::Client;

/// Sends a request that starts a job.
pub(super) type Ask = Arc<dyn Fn(Arc<Client>) -> BoxFuture<'static, Result<JobId, CoreError>> + Send + Sync>;

/// Whom a request is about.
pub(super) trait About {
    /// Its item or plan.
    fn subject(&self) -> JobSubject;
}

macro_rules! about {
    ($($request:ty: $subject:ident($($field:ident)?);)+) => {$(
        impl About for $request {
            fn subject(&self) -> JobSubject {
                JobSubject::$subject(self$(.$field)?.clone())
            }
        }
    )+};
}
about! {
    ItemId: Item();
    EnableProtection: Item(item);
    FailoverRequest: Item(item);
    TestFailoverRequest: Item(item);
    ReprotectRequest: Item(item);
    PlanId: Plan();
    PlanFailoverRequest: Plan(plan);
    PlanTestFailoverRequest: Plan(plan);
    PlanReprotectRequest: Plan(plan);
}

/// A job that was asked for.
struct Asked {
    ask: Ask,
    /// Whether it was at work when the core was killed.
    interrupted: bool,
    /// The job that replaced it.
    replaced_by: Option<JobId>,
}

/// All jobs that were asked for.
#[derive(Default)]
pub(super) struct Requests {
    jobs: Mutex<BTreeMap<JobId, Asked>>,
    /// Jobs that are known to have ended.
    ended: Mutex<BTreeSet<JobId>>,
}

impl Requests {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<JobId, Asked>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<JobId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the answer to a request.
    pub(super) fn started(&self, job: &JobId, ask: Ask) {
        let asked = Asked { ask, interrupted: false, replaced_by: None };
        self.jobs().insert(job.clone(), asked);
    }

    /// Notes that a job has ended.
    pub(super) fn has_ended(&self, job: &JobId) {
        self.ended().insert(job.clone());
    }

    /// Notes that the core is killed now.
    pub(super) fn interrupt(&self) {
        let ended = self.ended();
        let mut jobs = self.jobs();
        let at_work = jobs.iter_mut().filter(|(id, _)| !ended.contains(*id));
        at_work.for_each(|(_, asked)| asked.interrupted = true);
    }

    /// The jobs that were started and are not known to have ended.
    pub(super) fn at_work(&self) -> Vec<JobId> {
        let ended = self.ended();
        self.jobs().keys().filter(|id| !ended.contains(*id)).cloned().collect()
    }

    /// The job that does now what `job` was asked for.
    pub(super) fn current(&self, job: &JobId) -> JobId {
        let jobs = self.jobs();
        let mut job = job;
        while let Some(next) = jobs.get(job).and_then(|asked| asked.replaced_by.as_ref()) {
            job = next;
        }
        job.clone()
    }

    /// How to ask again for a job that failed, if it failed because the core was killed: it was at
    /// work then, and was not replaced before.
    pub(super) fn to_repeat(&self, view: &JobView) -> Option<Ask> {
        if view.state != JobState::Failed {
            return None;
        }
        let jobs = self.jobs();
        let asked = jobs.get(&view.id).filter(|asked| asked.interrupted && asked.replaced_by.is_none());
        asked.map(|asked| Arc::clone(&asked.ask))
    }

    /// Notes that a job replaces another.
    pub(super) fn replace(&self, job: &JobId, by: &JobId, ask: Ask) {
        self.started(by, ask);
        if let Some(asked) = self.jobs().get_mut(job) {
            asked.replaced_by = Some(by.clone());
        }
    }

    /// The job that a lost request has started, if it was accepted: one about the same subject that
    /// nobody knows yet.
    ///
    /// # Errors
    /// The core does not answer. `not-supported`: it lists no jobs, and none is at work.
    pub(super) async fn accepted(
        &self,
        core: &Client,
        subject: &JobSubject,
    ) -> Result<Option<JobId>, CoreError> {
        let filter = match subject.clone() {
            JobSubject::Item(item) => JobFilter { item: Some(item), ..JobFilter::default() },
            JobSubject::Plan(plan) => JobFilter { plan: Some(plan), ..JobFilter::default() },
        };
        let listed = match (core.jobs(&filter).await, subject) {
            (Ok(jobs), _) => {
                jobs.into_iter().filter(|job| job.subject == *subject).map(|job| job.id).collect()
            }
            (Err(error), JobSubject::Item(item)) if error.code == ErrorCode::NotSupported => {
                let at_work = core.item(item).await.ok().and_then(|view| view.job);
                if at_work.is_none() {
                    return Err(error);
                }
                Vec::from_iter(at_work)
            }
            (Err(error), _) => return Err(error),
        };
        let known = self.jobs();
        Ok(listed.into_iter().rev().find(|job| !known.contains_key(job)))
    }
}
