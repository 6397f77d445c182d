//! Jobs and their steps.

use std::sync::Arc;

use contract::{
    Bytes, CoreError, Direction, ErrorCode, JobId, JobKind, JobState, JobSubject, JobView, Millis, PlanState,
    Step, StepState, Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::order::Order;
use crate::plan::PlanTask;
use crate::store::Store;

/// What a job was told to do; kept as long as the job, so that it can be retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    Item(Order),
    Plan(PlanTask),
}

impl Task {
    fn kind(&self) -> JobKind {
        match self {
            Self::Item(order) => order.kind(),
            Self::Plan(task) => task.order.kind(),
        }
    }
}

/// A job as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) view: JobView,
    pub(crate) task: Task,
}

impl Kept {
    /// A job that is about to begin.
    pub(crate) fn new(
        id: JobId,
        subject: JobSubject,
        task: Task,
        direction: Direction,
        parent: Option<JobId>,
        started: Timestamp,
    ) -> Self {
        let view = JobView {
            id,
            subject,
            parent,
            kind: task.kind(),
            direction,
            state: JobState::InProgress,
            revision: 1,
            actions: Vec::new(),
            attempt: 1,
            plan: None,
            steps: Vec::new(),
            error: None,
            started,
            ended: None,
        };
        Self { view, task }
    }
}

/// A job at run time. Clones are the same job.
#[derive(Clone)]
pub(crate) struct Job {
    view: watch::Sender<JobView>,
    task: Arc<Task>,
    store: Arc<Store>,
    clock: Clock,
    /// What the outside has asked of it.
    asked: watch::Sender<Asked>,
}

/// What the outside may ask of a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Complete,
    Resume,
    Cancel,
}

impl Job {
    /// A job that the store has.
    pub(crate) fn known(store: Arc<Store>, clock: Clock, kept: Kept) -> Self {
        let (view, _) = watch::channel(kept.view);
        let (asked, _) = watch::channel(Asked::Nothing);
        Self { view, task: Arc::new(kept.task), store, clock, asked }
    }

    /// The same job with its next attempt about to begin; not stored yet.
    pub(crate) fn anew(&self) -> Kept {
        let mut view = self.view();
        view.state = JobState::InProgress;
        view.attempt += 1;
        view.revision += 1;
        view.steps.clear();
        view.error = None;
        view.ended = None;
        self.kept(view)
    }

    /// Shows the attempt that was stored, and forgets what was asked of the one before.
    pub(crate) fn restart(&self, view: JobView) {
        self.asked.send_replace(Asked::Nothing);
        self.show(view);
    }

    fn kept(&self, view: JobView) -> Kept {
        Kept { view, task: Task::clone(&self.task) }
    }

    /// Says that the job goes on after the core was stopped in its midst.
    pub(crate) fn go_on(&self) -> Result<(), CoreError> {
        self.change(|view| {
            view.state = JobState::InProgress;
            for step in view.steps.iter_mut().filter(|step| step.state == StepState::InProgress) {
                step.state = StepState::Failed;
                step.took.get_or_insert_default();
                "the core was stopped; done again".clone_into(&mut step.note);
            }
        })
    }

    pub(crate) fn view(&self) -> JobView {
        self.view.borrow().clone()
    }

    pub(crate) fn id(&self) -> JobId {
        self.view.borrow().id.clone()
    }

    pub(crate) fn state(&self) -> JobState {
        self.view.borrow().state
    }

    pub(crate) fn subject(&self) -> JobSubject {
        self.view.borrow().subject.clone()
    }

    /// What `look` finds in the view.
    pub(crate) fn look<T>(&self, look: impl Fn(&JobView) -> T) -> T {
        look(&self.view.borrow())
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    pub(crate) fn watch(&self) -> watch::Receiver<JobView> {
        self.view.subscribe()
    }

    /// Asks it to stop at its next checkpoint.
    pub(crate) fn cancel(&self) {
        self.asked.send_replace(Asked::Cancel);
    }

    /// Lets it go on if it waits for that. Returns whether it did.
    pub(crate) fn complete(&self) -> bool {
        self.answer(JobState::WaitingForCompletion, Asked::Complete)
    }

    /// Says that a manual step is done, if it waits for that. Returns whether it did.
    pub(crate) fn resume(&self) -> bool {
        self.answer(JobState::WaitingForManualAction, Asked::Resume)
    }

    fn answer(&self, waiting: JobState, answer: Asked) -> bool {
        self.state() == waiting
            && self.asked.send_if_modified(|asked| {
                let first = *asked == Asked::Nothing;
                if first {
                    *asked = answer;
                }
                first
            })
    }

    /// An error once it was asked to stop.
    pub(crate) fn checkpoint(&self) -> Result<(), CoreError> {
        match *self.asked.borrow() {
            Asked::Cancel => Err(CoreError::new(ErrorCode::Cancelled, "cancelled by request")),
            Asked::Nothing | Asked::Complete | Asked::Resume => Ok(()),
        }
    }

    /// Waits, for any length of time, until it is told to go on or to stop (HF-08).
    pub(crate) async fn wait_for_completion(&self) -> Result<(), CoreError> {
        self.wait(JobState::WaitingForCompletion).await
    }

    /// Waits, for any length of time, until a person has done what is asked (PL-04).
    pub(crate) async fn wait_for_person(&self, instruction: &str) -> Result<(), CoreError> {
        self.note(instruction)?;
        self.wait(JobState::WaitingForManualAction).await
    }

    async fn wait(&self, state: JobState) -> Result<(), CoreError> {
        self.change(|view| view.state = state)?;
        let mut asked = self.asked.subscribe();
        // The sender lives as long as this job does.
        let _ = asked.wait_for(|asked| *asked != Asked::Nothing).await;
        self.checkpoint()?;
        self.change(|view| view.state = JobState::InProgress)?;
        // The same may be asked again, unless it was told to stop meanwhile.
        self.asked.send_if_modified(|asked| {
            let answered = *asked != Asked::Cancel;
            if answered {
                *asked = Asked::Nothing;
            }
            answered
        });
        Ok(())
    }

    /// Runs one step. Its failure is the job's.
    pub(crate) async fn step<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, CoreError>>,
    ) -> Result<T, CoreError> {
        self.step_with(name, |_, _| (), work, |_, _, _| ()).await
    }

    /// The same, and stores with the step's beginning and its end what else they mean.
    pub(crate) async fn step_with<T>(
        &self,
        name: &str,
        began: impl FnOnce(&mut JobView, Timestamp),
        work: impl Future<Output = Result<T, CoreError>>,
        ended: impl FnOnce(&mut JobView, &Result<T, CoreError>, Timestamp),
    ) -> Result<T, CoreError> {
        self.checkpoint()?;
        let since = self.begin(name, began)?;
        let result = work.await;
        let (state, note) = match &result {
            Ok(_) => (StepState::Done, ""),
            Err(error) => (StepState::Failed, error.message.as_str()),
        };
        self.end(since, state, note, |view| ended(view, &result, self.clock.now()))?;
        result
    }

    /// Runs one step whose failure the job outlives (FO-07). Returns whether it succeeded.
    pub(crate) async fn try_step(
        &self,
        name: &str,
        work: impl Future<Output = Result<(), CoreError>>,
    ) -> Result<bool, CoreError> {
        let since = self.begin(name, |_, _| ())?;
        match work.await {
            Ok(()) => self.end(since, StepState::Done, "", |_| ()).map(|()| true),
            Err(error) => self.end(since, StepState::Warning, &error.message, |_| ()).map(|()| false),
        }
    }

    /// Adds to the note of the step at work.
    pub(crate) fn note(&self, note: &str) -> Result<(), CoreError> {
        self.change(|view| {
            if let Some(step) = view.steps.last_mut() {
                note.clone_into(&mut step.note);
            }
        })
    }

    /// Tells how far the step at work has come. Shown and not stored: a restart begins the step again.
    pub(crate) fn progress(&self, done: u64, total: u64) {
        self.hint(|view| {
            if let Some(step) = view.steps.last_mut() {
                step.progress = Some((Bytes(done), Bytes(total)));
            }
        });
    }

    /// Shows what is not worth storing, or will be stored with what comes next.
    pub(crate) fn hint(&self, hint: impl FnOnce(&mut JobView)) {
        self.view.send_modify(|view| {
            view.revision += 1;
            hint(view);
        });
    }

    /// Waits for this job's end. While it waits for a person and the job above is cancelled, so is this one.
    pub(crate) async fn followed_by(&self, above: &Self) -> JobView {
        let (mut view, mut asked) = (self.watch(), above.asked.subscribe());
        loop {
            let now = view.borrow_and_update().clone();
            if now.state.ended() {
                return now;
            }
            if now.state == JobState::WaitingForCompletion && *asked.borrow_and_update() == Asked::Cancel {
                self.cancel();
            }
            // Both senders live as long as their jobs do.
            tokio::select! {
                _ = view.changed() => {}
                _ = asked.changed() => {}
            }
        }
    }

    fn begin(&self, name: &str, also: impl FnOnce(&mut JobView, Timestamp)) -> Result<Instant, CoreError> {
        let step = Step {
            name: name.to_owned(),
            state: StepState::InProgress,
            started: self.clock.now(),
            took: None,
            note: String::new(),
            progress: None,
        };
        self.change(|view| {
            also(view, step.started);
            view.steps.push(step);
        })?;
        Ok(Instant::now())
    }

    fn end(
        &self,
        began: Instant,
        state: StepState,
        note: &str,
        also: impl FnOnce(&mut JobView),
    ) -> Result<(), CoreError> {
        self.change(|view| {
            also(view);
            if let Some(step) = view.steps.last_mut() {
                step.state = state;
                step.took = Some(began.elapsed().into());
                if !note.is_empty() {
                    note.clone_into(&mut step.note);
                }
            }
        })
    }

    /// The job as it will be once it has ended with `result`.
    pub(crate) fn end_of(&self, result: Result<(), CoreError>) -> JobView {
        ended(self.view(), &self.task, result, self.clock.now())
    }

    /// Stores how the job ended.
    pub(crate) fn store_end(&self, end: &JobView) -> Result<(), CoreError> {
        self.store.put_job(&self.kept(end.clone()))
    }

    /// Shows what was stored to all who watch it.
    pub(crate) fn show(&self, view: JobView) {
        self.view.send_replace(view);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut JobView)) -> Result<(), CoreError> {
        let mut view = self.view();
        change(&mut view);
        view.revision += 1;
        // Stored before it is shown: nobody sees what a crash could take back.
        let kept = self.kept(view);
        self.store.put_job(&kept)?;
        self.show(kept.view);
        Ok(())
    }
}

/// A job as it is once it has ended.
fn ended(mut view: JobView, task: &Task, result: Result<(), CoreError>, now: Timestamp) -> JobView {
    let warned = view.steps.iter().any(|step| step.state == StepState::Warning);
    view.state = match (&result, warned) {
        (Err(error), _) if error.code == ErrorCode::Cancelled => JobState::Cancelled,
        (Err(_), _) if is_partly_done(&view, task) => JobState::PartiallySucceeded,
        (Err(_), _) => JobState::Failed,
        (Ok(()), true) => JobState::CompletedWithWarning,
        (Ok(()), false) => JobState::Completed,
    };
    if let Some(progress) = &mut view.plan {
        let others = progress.manual.0 + progress.scripts.0;
        progress.took = Some(Millis(now.since(view.started).0.saturating_sub(others)));
    }
    view.error = result.err();
    view.ended = Some(now);
    view.revision += 1;
    view
}

/// Whether a plan came to its end, with some of its machines (EX-T6).
fn is_partly_done(view: &JobView, task: &Task) -> bool {
    let Task::Plan(task) = task else { return false };
    let mut members = view.plan.iter().flat_map(|progress| &progress.members);
    !task.order.stops_on_error() && members.any(|member| member.state == PlanState::Done)
}
