//! The time limit of a job of the core: it holds for each part of the job's progress, because how
//! much a job has to copy is up to the core.

use std::time::Duration;

use contract::{JobView, StepState, Timestamp};
use tokio::time::Instant;

use crate::real::edge::freshness;

/// How long a job of the core may take without progress.
pub(crate) const JOB_WITHIN: Duration = Duration::from_secs(300);
/// How long the suite follows a job that makes progress.
const FOLLOWED_FOR: Duration = Duration::from_secs(3600);

/// How far a job has come; what counts most is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Progress {
    attempt: u32,
    steps_begun: usize,
    steps_ended: usize,
    /// Bytes that all steps say they have processed.
    bytes: u64,
}

impl Progress {
    fn of(job: &JobView) -> Self {
        let ended = job.steps.iter().filter(|step| step.state != StepState::InProgress);
        let bytes = job.steps.iter().filter_map(|step| step.progress).map(|(done, _)| done.0);
        Self {
            attempt: job.attempt,
            steps_begun: job.steps.len(),
            steps_ended: ended.count(),
            bytes: bytes.fold(0, u64::saturating_add),
        }
    }
}

/// Which limit a job exceeded. Shown as what the job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// It made no progress for [`JOB_WITHIN`].
    StoodStill,
    /// It still makes progress after [`FOLLOWED_FOR`].
    StillAtWork,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StoodStill => write!(f, "has not ended and made no progress for {JOB_WITHIN:?}"),
            Self::StillAtWork => write!(f, "still makes progress after {FOLLOWED_FOR:?}"),
        }
    }
}

/// The limit of one job that is followed.
#[derive(Debug)]
pub(crate) struct JobLimit {
    began: Instant,
    began_at: Timestamp,
    furthest: Progress,
    /// When it came that far.
    since: Instant,
}

impl JobLimit {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, began_at: freshness::now(), furthest: Progress::default(), since: now }
    }

    /// When it began.
    pub(crate) fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// Notes how far the job has come.
    pub(crate) fn saw(&mut self, job: &JobView) {
        let progress = Progress::of(job);
        if progress > self.furthest {
            self.furthest = progress;
            self.since = Instant::now();
        }
    }

    /// Waits for `next`, which the core answers.
    ///
    /// # Errors
    /// The job exceeded a limit. An answer does not help that comes at once and shows nothing new.
    pub(crate) async fn within<T>(&self, next: impl Future<Output = T>) -> Result<T, Exceeded> {
        let (stands_still, ends) = (self.since + JOB_WITHIN, self.began + FOLLOWED_FOR);
        let (until, exceeded) = match stands_still <= ends {
            true => (stands_still, Exceeded::StoodStill),
            false => (ends, Exceeded::StillAtWork),
        };
        if Instant::now() >= until {
            return Err(exceeded);
        }
        tokio::time::timeout_at(until, next).await.map_err(|_| exceeded)
    }
}

#[cfg(test)]
mod tests {
    use contract::{Bytes, Direction, ItemId, JobId, JobKind, JobState, JobSubject, Step};

    use super::*;

    /// A job whose only step has processed so many bytes.
    fn copied(bytes: u64) -> JobView {
        let step = Step {
            name: "copy".to_owned(),
            state: StepState::InProgress,
            started: Timestamp(1),
            took: None,
            note: String::new(),
            progress: Some((Bytes(bytes), Bytes(1 << 40))),
        };
        JobView {
            id: JobId::from("job-1"),
            subject: JobSubject::Item(ItemId::from("shop")),
            parent: None,
            kind: JobKind::Reprotect,
            direction: Direction::RecoveryToPrimary,
            state: JobState::InProgress,
            revision: 1,
            actions: vec![],
            attempt: 1,
            plan: None,
            steps: vec![step],
            error: None,
            started: Timestamp(1),
            ended: None,
        }
    }

    /// Follows a job whose state the core shows every `every`, until it exceeds a limit. Returns
    /// which, and after what time.
    async fn follow(every: Duration, bytes: impl Fn(u64) -> u64) -> (Exceeded, Duration) {
        let began = Instant::now();
        let mut limit = JobLimit::begin();
        for number in 1.. {
            let next = async {
                tokio::time::sleep(every).await;
                copied(bytes(number))
            };
            match limit.within(next).await {
                Ok(job) => limit.saw(&job),
                Err(exceeded) => return (exceeded, began.elapsed()),
            }
        }
        unreachable!("every job exceeds a limit")
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_may_take_long_only_while_it_comes_further() {
        let every = Duration::from_secs(200);
        assert_eq!(follow(every, |number| number).await, (Exceeded::StillAtWork, FOLLOWED_FOR));
        let (exceeded, after) = follow(every, |number| number.min(10)).await;
        assert_eq!((exceeded, after), (Exceeded::StoodStill, every * 10 + JOB_WITHIN));
        let back_and_forth = follow(every, |number| number % 2).await;
        assert_eq!(back_and_forth, (Exceeded::StoodStill, every + JOB_WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_that_answers_often_gains_no_time() {
        let often = follow(Duration::from_millis(10), |_| 1).await;
        assert_eq!(often.0, Exceeded::StoodStill);
        assert!(often.1 <= JOB_WITHIN + Duration::from_millis(20), "{often:?}");
    }

    #[test]
    fn each_part_of_the_progress_counts() {
        let before = Progress::of(&copied(7));
        let mut ended = copied(0);
        ended.steps[0].state = StepState::Done;
        let mut next_step = copied(0);
        next_step.steps.extend(copied(0).steps);
        let mut next_attempt = copied(0);
        next_attempt.attempt = 2;
        next_attempt.steps.clear();
        for further in [copied(8), ended, next_step, next_attempt] {
            assert!(Progress::of(&further) > before, "{further:?}");
        }
    }
}
