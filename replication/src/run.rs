//! How a job runs: it begins together with the hold on its item, and after a restart it goes on.

use std::sync::Arc;

use contract::{CoreError, ErrorCode, JobId, JobState, JobSubject};
use tokio::sync::mpsc;

use crate::core::Inner;
use crate::item::{Item, Record};
use crate::jobs::{Job, Kept, Task};
use crate::order::Order;
use crate::plan;
use crate::resume::{self, Pending};

impl Inner {
    /// Does what is ordered as a job that holds the item. What is refused leaves no trace.
    pub(crate) async fn run(self: &Arc<Self>, item: &Arc<Item>, order: Order) -> Result<JobId, CoreError> {
        self.run_under(item, order, None).await
    }

    /// The same for a plan's job.
    pub(crate) async fn run_under(
        self: &Arc<Self>,
        item: &Arc<Item>,
        order: Order,
        parent: Option<JobId>,
    ) -> Result<JobId, CoreError> {
        self.look_ahead(item, &order).await?;
        let mut record = item.record.lock().await;
        free(item)?;
        let direction = order.check(self, &record)?;
        let mut jobs = self.jobs.lock().await;
        let subject = JobSubject::Item(item.id.clone());
        let kept = Kept::new(jobs.next(), subject, Task::Item(order.clone()), direction, parent, self.now());
        self.hold(item, &mut record, &kept, &order)?;
        let id = kept.view.id.clone();
        let job = jobs.add(Job::known(Arc::clone(&self.store), self.clock(), kept));
        drop((jobs, record));
        tokio::spawn(Arc::clone(self).carry_out(Arc::clone(item), job, order));
        Ok(id)
    }

    /// Does a failed job again.
    pub(crate) async fn run_again(
        self: &Arc<Self>,
        item: &Arc<Item>,
        job: &Job,
        order: &Order,
    ) -> Result<(), CoreError> {
        self.look_ahead(item, order).await?;
        let mut record = item.record.lock().await;
        free(item)?;
        // It may have been retried by another since it was looked at.
        if job.state() != JobState::Failed {
            return Err(not_failed(job));
        }
        order.check(self, &record)?;
        let again = job.anew();
        self.hold(item, &mut record, &again, order)?;
        job.restart(again.view);
        drop(record);
        tokio::spawn(Arc::clone(self).carry_out(Arc::clone(item), job.clone(), order.clone()));
        Ok(())
    }

    /// Asks what platforms have to say to an order before it becomes a job. They are asked only for an item in the
    /// right state that no job holds.
    async fn look_ahead(&self, item: &Item, order: &Order) -> Result<(), CoreError> {
        self.ready().await;
        free(item)?;
        let record = item.record.lock().await.clone();
        order.check(self, &record)?;
        order.look(self, &record).await
    }

    /// Stores a job and that it holds the item, both or neither.
    fn hold(&self, item: &Item, record: &mut Record, job: &Kept, order: &Order) -> Result<(), CoreError> {
        let id = job.view.id.clone();
        let mut changed = record.clone();
        changed.pending = Some(Pending { job: id.clone(), order: order.clone(), from: record.protection });
        self.store.begin(job, &changed)?;
        *record = changed;
        item.set_holder(Some(id));
        Ok(())
    }

    async fn carry_out(self: Arc<Self>, item: Arc<Item>, job: Job, order: Order) {
        let result = order.perform(&self, &item, &job).await;
        self.conclude(&item, &job, result).await;
    }

    /// Ends a job: told in the store first, so that after a restart it is not done again.
    async fn conclude(&self, item: &Item, job: &Job, result: Result<(), CoreError>) {
        let id = job.id();
        let end = job.end_of(result);
        let mut ended = job.store_end(&end);
        // An item whose protection ended is in no store any more.
        if ended.is_ok() && self.items.lock().await.contains_key(&item.id) {
            let done = |record: &mut Record| record.pending = record.pending.take().filter(|p| p.job != id);
            ended = self.update(item, done).await;
        }
        item.set_holder(None);
        item.changed.send_modify(|count| *count += 1);
        job.show(end);
        if let Err(error) = ended {
            tracing::error!(%error, "a job's end could not be stored");
        }
    }

    /// Returns once everything that was in the store is taken up.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as the core.
        let _ = self.taken_up.subscribe().wait_for(|ready| *ready).await;
    }

    /// Takes up what was in the store, once nothing that was left open stands in the way.
    pub(crate) async fn take_up_all(self: Arc<Self>, items: Vec<Arc<Item>>) {
        for (site, platform) in self.platforms() {
            // A site that cannot be reached now has nothing open that could be in the way now.
            if let Err(error) = platform.close_all().await {
                tracing::warn!(%site, %error, "what was left open could not be closed");
            }
        }
        let (taking_up, mut taken_up) = mpsc::channel::<()>(1);
        for item in items {
            tokio::spawn(Arc::clone(&self).take_up(item, taking_up.clone()));
        }
        drop(taking_up);
        // Nobody sends; it ends when every item has let go of its end.
        let _ = taken_up.recv().await;
        self.taken_up.send_replace(true);
        plan::take_up(&self).await;
    }

    /// What an item was told to do last, and the job that does it, unless it is done.
    async fn pending(&self, item: &Item) -> Option<(Pending, Option<Job>)> {
        let pending = item.record.lock().await.pending.clone()?;
        let job = self.jobs.lock().await.get(&pending.job).cloned();
        Some((pending, job))
    }

    /// Ends a job of which nothing but the end was missing.
    async fn conclude_arrived(&self, item: &Item) {
        let Some((pending, Some(job))) = self.pending(item).await else { return };
        let arrived = pending.has_arrived(&*item.record.lock().await);
        if arrived && !job.state().ended() {
            self.conclude(item, &job, Ok(())).await;
        }
    }

    /// Takes up an item that was in the store: first its replication, then the job that held it.
    async fn take_up(self: Arc<Self>, item: Arc<Item>, taking_up: mpsc::Sender<()>) {
        self.conclude_arrived(&item).await;
        if let Err(error) = resume::take_up(&self, &item).await {
            self.report_trouble(&item, error.message).await;
        }
        // Looked up before anything new can be begun with it.
        let pending = self.pending(&item).await;
        drop(taking_up);
        let Some((pending, job)) = pending else { return };
        match job {
            Some(job) if !job.state().ended() => {
                if let Err(error) = job.go_on() {
                    tracing::error!(%error, "a job could not be taken up");
                }
                self.carry_out(item, job, pending.order).await;
            }
            _ => {
                // It had ended; only the item did not know yet.
                let cleared = self.update(&item, |record| record.pending = None).await;
                item.set_holder(None);
                if let Err(error) = cleared {
                    tracing::error!(%error, "an ended job could not be cleared");
                }
            }
        }
    }
}

/// Refuses an item that a job holds.
pub(crate) fn free(item: &Item) -> Result<(), CoreError> {
    match item.holder() {
        Some(holder) => Err(CoreError::new(ErrorCode::Busy, format!("job {holder} holds item {}", item.id))),
        None => Ok(()),
    }
}

pub(crate) fn not_failed(job: &Job) -> CoreError {
    let text = format!("{} did not fail; it is {:?}", job.id(), job.state());
    CoreError::new(ErrorCode::NotAllowedInState, text)
}
