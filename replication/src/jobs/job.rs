//! A job at run time: its steps, and the signals sent to it while it runs.

use std::sync::Arc;

use contract::{
    Bytes, CoreError, ErrorCode, JobId, JobState, JobSubject, JobView, Millis, PlanState, Step, StepState,
    Timestamp,
};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::state::{StoredJob, Task};
use crate::store::Store;

/// A job at run time. Clones share one job.
#[derive(Clone)]
pub(crate) struct Job {
    view: watch::Sender<JobView>,
    task: Arc<Task>,
    store: Arc<Store>,
    clock: Clock,
    /// The last signal sent to the job.
    signal: watch::Sender<Signal>,
}

/// A signal to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    None,
    Complete,
    Resume,
    Cancel,
}

impl Job {
    /// A job that is in the store.
    pub(crate) fn from_stored(store: Arc<Store>, clock: Clock, stored: StoredJob) -> Self {
        let (view, _) = watch::channel(stored.view);
        let (signal, _) = watch::channel(Signal::None);
        Self { view, task: Arc::new(stored.task), store, clock, signal }
    }

    /// The job with its next attempt about to begin, to be stored.
    pub(crate) fn next_attempt(&self) -> StoredJob {
        let mut view = self.view();
        view.state = JobState::InProgress;
        view.attempt += 1;
        view.revision += 1;
        view.steps.clear();
        view.error = None;
        view.ended = None;
        self.stored(view)
    }

    /// Begins the attempt that was stored, without the signals sent to the previous one.
    pub(crate) fn restart(&self, view: JobView) {
        self.signal.send_replace(Signal::None);
        self.show(view);
    }

    fn stored(&self, view: JobView) -> StoredJob {
        StoredJob { view, task: Task::clone(&self.task) }
    }

    /// Marks the steps that were interrupted by a stop of the core, before the job runs again.
    pub(crate) fn mark_interrupted(&self) -> Result<(), CoreError> {
        self.change(|view| {
            view.state = JobState::InProgress;
            for step in view.steps.iter_mut().filter(|step| step.state == StepState::InProgress) {
                step.state = StepState::Failed;
                step.took.get_or_insert_default();
                "the core was stopped; the step runs again".clone_into(&mut step.note);
            }
        })
    }

    /// A tracing span that names the job, for everything that executes it.
    pub(crate) fn span(&self) -> tracing::Span {
        self.read(|view| match &view.subject {
            JobSubject::Item(item) => tracing::info_span!("job", job = %view.id, kind = ?view.kind, %item),
            JobSubject::Plan(plan) => tracing::info_span!("job", job = %view.id, kind = ?view.kind, %plan),
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

    /// Reads the view without copying it.
    pub(crate) fn read<T>(&self, read: impl Fn(&JobView) -> T) -> T {
        read(&self.view.borrow())
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    pub(crate) fn watch(&self) -> watch::Receiver<JobView> {
        self.view.subscribe()
    }

    /// Signals the job to stop at its next checkpoint.
    pub(crate) fn cancel(&self) {
        self.signal.send_replace(Signal::Cancel);
    }

    /// Lets the job continue if it waits to be completed. Returns whether it did.
    pub(crate) fn complete(&self) -> bool {
        self.answer(JobState::WaitingForCompletion, Signal::Complete)
    }

    /// Lets the job continue if it waits for a manual step. Returns whether it did.
    pub(crate) fn resume(&self) -> bool {
        self.answer(JobState::WaitingForManualAction, Signal::Resume)
    }

    fn answer(&self, waiting: JobState, answer: Signal) -> bool {
        self.state() == waiting
            && self.signal.send_if_modified(|signal| {
                let first = *signal == Signal::None;
                if first {
                    *signal = answer;
                }
                first
            })
    }

    /// Returns an error if the job was signalled to stop.
    pub(crate) fn checkpoint(&self) -> Result<(), CoreError> {
        match *self.signal.borrow() {
            Signal::Cancel => Err(CoreError::new(ErrorCode::Cancelled, "cancelled by request")),
            Signal::None | Signal::Complete | Signal::Resume => Ok(()),
        }
    }

    /// Waits until the job is completed or cancelled, however long it takes (HF-08).
    pub(crate) async fn wait_for_completion(&self) -> Result<(), CoreError> {
        self.wait(JobState::WaitingForCompletion).await
    }

    /// Waits until a manual step is done or the job is cancelled, however long it takes (PL-04).
    pub(crate) async fn wait_for_manual_step(&self, instruction: &str) -> Result<(), CoreError> {
        self.note(instruction)?;
        self.wait(JobState::WaitingForManualAction).await
    }

    async fn wait(&self, state: JobState) -> Result<(), CoreError> {
        self.change(|view| view.state = state)?;
        let mut signal = self.signal.subscribe();
        // The sender lives as long as the job.
        let _ = signal.wait_for(|signal| *signal != Signal::None).await;
        self.checkpoint()?;
        self.change(|view| view.state = JobState::InProgress)?;
        // Makes room for the next signal, but keeps a cancellation that came meanwhile.
        self.signal.send_if_modified(|signal| {
            let answered = *signal != Signal::Cancel;
            if answered {
                *signal = Signal::None;
            }
            answered
        });
        Ok(())
    }

    /// Runs a step. If it fails, the job is to fail.
    pub(crate) async fn step<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, CoreError>>,
    ) -> Result<T, CoreError> {
        self.step_with(name, |_, _| (), work, |_, _, _| ()).await
    }

    /// Runs a step, and applies `began` and `ended` to the job's view in the same writes that store
    /// the step's beginning and end. If the step fails, the job is to fail.
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

    /// Runs a step whose failure is only a warning (FO-07). Returns whether it succeeded.
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

    /// Runs a step whose failure is only a warning if it `may_fail`.
    pub(crate) async fn step_or_warn(
        &self,
        may_fail: bool,
        name: &str,
        work: impl Future<Output = Result<(), CoreError>>,
    ) -> Result<(), CoreError> {
        match may_fail {
            true => self.try_step(name, work).await.map(drop),
            false => self.step(name, work).await,
        }
    }

    /// Records a step that is a warning.
    pub(crate) async fn warn(&self, name: &str, text: String) -> Result<(), CoreError> {
        let warning = async { Err(CoreError::new(ErrorCode::NotCurable, text)) };
        self.try_step(name, warning).await.map(drop)
    }

    /// Sets the note of the current step.
    pub(crate) fn note(&self, note: &str) -> Result<(), CoreError> {
        self.change(|view| {
            if let Some(step) = view.steps.last_mut() {
                note.clone_into(&mut step.note);
            }
        })
    }

    /// Shows how far the current step has come. It is not stored, because a restart begins the step
    /// again.
    pub(crate) fn progress(&self, done: u64, total: u64) {
        self.change_unstored(|view| {
            if let Some(step) = view.steps.last_mut() {
                step.progress = Some((Bytes(done), Bytes(total)));
            }
        });
    }

    /// Changes the view without storing it. The change is stored with the next one.
    pub(crate) fn change_unstored(&self, change: impl FnOnce(&mut JobView)) {
        self.view.send_modify(|view| {
            view.revision += 1;
            change(view);
        });
    }

    /// Waits for the job's end. If `parent` is cancelled while the job waits to be completed, the
    /// job is cancelled too.
    pub(crate) async fn wait_for_end(&self, parent: &Self) -> JobView {
        let mut view = self.watch();
        let mut signal = parent.signal.subscribe();
        loop {
            let now = view.borrow_and_update().clone();
            if now.state.ended() {
                return now;
            }
            if now.state == JobState::WaitingForCompletion && *signal.borrow_and_update() == Signal::Cancel {
                self.cancel();
            }
            // Both senders live as long as their jobs.
            tokio::select! {
                _ = view.changed() => {}
                _ = signal.changed() => {}
            }
        }
    }

    fn begin(&self, name: &str, also: impl FnOnce(&mut JobView, Timestamp)) -> Result<Timestamp, CoreError> {
        let started = self.clock.now();
        let step = Step {
            name: name.to_owned(),
            state: StepState::InProgress,
            started,
            took: None,
            note: String::new(),
            progress: None,
        };
        self.change(|view| {
            also(view, started);
            view.steps.push(step);
        })?;
        tracing::debug!(step = name, "step began");
        Ok(started)
    }

    fn end(
        &self,
        began: Timestamp,
        state: StepState,
        note: &str,
        also: impl FnOnce(&mut JobView),
    ) -> Result<(), CoreError> {
        let took = self.clock.now().since(began);
        self.change(|view| {
            also(view);
            if let Some(step) = view.steps.last_mut() {
                step.state = state;
                step.took = Some(took);
                if !note.is_empty() {
                    note.clone_into(&mut step.note);
                }
            }
        })?;
        tracing::debug!(?state, note, "step ended");
        Ok(())
    }

    /// The view of the job after it has ended with `result`.
    pub(crate) fn end_of(&self, result: Result<(), CoreError>) -> JobView {
        ended(self.view(), &self.task, result, self.clock.now())
    }

    /// Stores the job's end.
    pub(crate) fn store_end(&self, end: &JobView) -> Result<(), CoreError> {
        self.store.put_job(&self.stored(end.clone()))
    }

    /// Shows a stored view to the job's watchers.
    pub(crate) fn show(&self, view: JobView) {
        self.view.send_replace(view);
    }

    /// Changes the view: stores it, then shows it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut JobView)) -> Result<(), CoreError> {
        let mut view = self.view();
        change(&mut view);
        view.revision += 1;
        // Stored first, so that no watcher sees a change that a crash would undo.
        let stored = self.stored(view);
        self.store.put_job(&stored)?;
        self.show(stored.view);
        Ok(())
    }
}

/// A job's view after its end.
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
        let actions = progress.manual.0 + progress.scripts.0;
        progress.took = Some(Millis(now.since(view.started).0.saturating_sub(actions)));
    }
    view.error = result.err();
    view.ended = Some(now);
    view.revision += 1;
    view
}

/// Whether the job is a plan's that went on after errors and has finished some machines (EX-T6).
fn is_partly_done(view: &JobView, task: &Task) -> bool {
    let Task::Plan(task) = task else { return false };
    let mut members = view.plan.iter().flat_map(|progress| &progress.members);
    !task.command.stops_on_error() && members.any(|member| member.state == PlanState::Done)
}
