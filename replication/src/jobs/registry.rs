//! The list of all jobs.

use std::collections::BTreeMap;

use contract::{JobFilter, JobId, JobKind, JobSubject, JobView};

use crate::jobs::job::Job;

/// All jobs, oldest first.
#[derive(Default)]
pub(crate) struct Jobs {
    all: Vec<Job>,
    index: BTreeMap<JobId, usize>,
}

/// The latest jobs of each subject.
pub(crate) type LatestJobs = BTreeMap<JobSubject, Latest>;

/// Index of a subject's latest jobs in [`Jobs`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Latest {
    of_any_kind: usize,
    no_test_failover: usize,
}

impl Jobs {
    /// The id of the next job.
    pub(crate) fn next_id(&self) -> JobId {
        JobId(format!("job-{}", self.all.len() + 1))
    }

    pub(crate) fn add(&mut self, job: Job) -> Job {
        self.index.insert(job.id(), self.all.len());
        self.all.push(job.clone());
        job
    }

    pub(crate) fn get(&self, id: &JobId) -> Option<&Job> {
        self.all.get(*self.index.get(id)?)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.all.iter()
    }

    /// Views of the jobs that match a filter.
    pub(crate) fn matching(&self, filter: &JobFilter) -> Vec<JobView> {
        let subject_of = |id: &JobId| self.get(id).map(Job::subject);
        let fits = |view: &JobView| matches(view, filter, view.parent.as_ref().and_then(subject_of).as_ref());
        let shown = |view: &JobView| fits(view).then(|| view.clone());
        self.all.iter().filter_map(|job| job.read(shown)).collect()
    }

    /// The latest job of each subject, and its latest that is not a test failover.
    pub(crate) fn latest(&self) -> LatestJobs {
        let mut latest = LatestJobs::new();
        for (index, job) in self.all.iter().enumerate() {
            let (subject, test_failover) =
                job.read(|view| (view.subject.clone(), is_test_failover(view.kind)));
            let latest = latest.entry(subject).or_default();
            latest.of_any_kind = index;
            if !test_failover {
                latest.no_test_failover = index;
            }
        }
        latest
    }

    /// Whether a later job has changed the subject. A test failover supersedes only earlier test
    /// failovers.
    pub(crate) fn is_superseded(&self, view: &JobView, latest: &LatestJobs) -> bool {
        let (Some(own), Some(latest)) = (self.index.get(&view.id), latest.get(&view.subject)) else {
            return false;
        };
        *own < if is_test_failover(view.kind) { latest.of_any_kind } else { latest.no_test_failover }
    }
}

fn is_test_failover(kind: JobKind) -> bool {
    matches!(kind, JobKind::TestFailover | JobKind::TestFailoverCleanup)
}

/// Whether a job matches a filter. `parent` is the subject of the job's parent.
fn matches(view: &JobView, filter: &JobFilter, parent: Option<&JobSubject>) -> bool {
    let item = filter.item.clone().map(JobSubject::Item);
    let plan = filter.plan.clone().map(JobSubject::Plan);
    item.is_none_or(|item| item == view.subject)
        && plan.is_none_or(|plan| plan == view.subject || Some(&plan) == parent)
        && filter.parent.as_ref().is_none_or(|parent| Some(parent) == view.parent.as_ref())
        && filter.state.is_none_or(|state| state == view.state)
        && filter.kind.is_none_or(|kind| kind == view.kind)
}
