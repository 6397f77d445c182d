//! The core: its items, jobs and store, and the interface over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    Bytes, Capabilities, Consistency, CoreError, Direction, EnableProtection, ErrorCode, FailoverRequest,
    ItemId, ItemView, JobId, JobKind, JobView, Operation, Phase, Platform, PointChoice, Protection,
    RecoveryPoint, ReplicationCore, ReprotectRequest, SiteId, TestFailoverRequest, View,
};
use tokio::sync::Mutex;

use crate::engine::Engine;
use crate::item::{Item, Record, Volumes};
use crate::jobs::Job;
use crate::processor::{landing_name, not_replicating};
use crate::resume::{Order, Pending};
use crate::store::Store;
use crate::tap::Tap;
use crate::{commit, drill, failover, protect, reprotect, resume};

/// What a core is made of.
pub struct Config {
    /// The sites it works between.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Its store and landing log.
    pub dir: PathBuf,
    /// Makes it faulty, for the suite's own tests.
    pub tap: Option<Arc<dyn Tap>>,
}

/// The built-in core.
pub struct Core {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    store: Arc<Store>,
    items: Mutex<BTreeMap<ItemId, Arc<Item>>>,
    jobs: Mutex<BTreeMap<JobId, Job>>,
}

impl Core {
    /// Opens the store in the configured directory and takes up what is in it: items replicate again, jobs go on.
    /// Runs on a tokio runtime.
    ///
    /// # Errors
    /// The directory or the store cannot be used, or holds what is not understood.
    pub fn open(config: Config) -> Result<Self, CoreError> {
        std::fs::create_dir_all(&config.dir).map_err(|error| {
            CoreError::new(ErrorCode::Store, format!("{}: {error}", config.dir.display()))
        })?;
        let store = Arc::new(Store::open(&config.dir.join("core.db"))?);
        let (records, views) = store.load()?;
        let known = |view: JobView| (view.id.clone(), Job::known(Arc::clone(&store), view));
        let jobs = Mutex::new(views.into_iter().map(known).collect());
        let items = records.into_iter().map(|record| (record.id.clone(), Arc::new(Item::new(record))));
        let items: BTreeMap<_, _> = items.collect();
        let left: Vec<_> = items.values().cloned().collect();
        let inner = Arc::new(Inner { config, store, items: Mutex::new(items), jobs });
        for item in &left {
            item.set_holder(item.record.try_lock().ok().and_then(|r| Some(r.pending.as_ref()?.job.clone())));
        }
        if !left.is_empty() {
            tokio::spawn(Arc::clone(&inner).take_up_all(left));
        }
        Ok(Self { inner })
    }
}

impl Inner {
    pub(crate) fn platform(&self, site: &SiteId) -> Result<Arc<dyn Platform>, CoreError> {
        let platform = self.config.platforms.get(site).cloned();
        platform.ok_or_else(|| unknown("site", site))
    }

    pub(crate) fn tap(&self) -> Option<Arc<dyn Tap>> {
        self.config.tap.clone()
    }

    pub(crate) fn landing_dir(&self, item: &ItemId) -> PathBuf {
        self.config.dir.join("landing").join(landing_name(item))
    }

    /// Empties an item's landing log.
    pub(crate) fn clear_landing(&self, item: &ItemId) -> Result<(), CoreError> {
        match std::fs::remove_dir_all(self.landing_dir(item)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CoreError::new(ErrorCode::Store, format!("the landing log cannot be cleared: {error}")))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn find(&self, id: &ItemId) -> Result<Arc<Item>, CoreError> {
        self.items.lock().await.get(id).cloned().ok_or_else(|| unknown("item", id))
    }

    /// Refuses an item that shares its name, its machine or its target with another.
    pub(crate) async fn refuse_taken(&self, record: &Record) -> Result<(), CoreError> {
        refuse_taken(&*self.items.lock().await, record).await
    }

    pub(crate) async fn add_item(&self, record: Record) -> Result<Arc<Item>, CoreError> {
        let mut items = self.items.lock().await;
        refuse_taken(&items, &record).await?;
        self.store.put_item(&record)?;
        let item = Arc::new(Item::new(record));
        items.insert(item.id.clone(), Arc::clone(&item));
        Ok(item)
    }

    pub(crate) async fn remove_item(&self, item: &Item) -> Result<(), CoreError> {
        self.store.remove_item(&*item.record.lock().await)?;
        self.items.lock().await.remove(&item.id);
        Ok(())
    }

    /// Changes an item's record: stored first, shown then.
    pub(crate) async fn update(
        &self,
        item: &Item,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), CoreError> {
        let mut record = item.record.lock().await;
        let mut changed = record.clone();
        change(&mut changed);
        self.store.put_item(&changed)?;
        *record = changed;
        drop(record);
        item.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    pub(crate) async fn report_trouble(&self, item: &Item, what: String) {
        if let Err(error) = self.update(item, |record| record.trouble = Some(what)).await {
            tracing::error!(item = %item.id, %error, "trouble could not be stored");
        }
    }

    /// Replication works again.
    pub(crate) async fn clear_trouble(&self, item: &Item) {
        let troubled = item.record.lock().await.trouble.is_some();
        if troubled && let Err(error) = self.update(item, |record| record.trouble = None).await {
            tracing::error!(item = %item.id, %error, "the end of trouble could not be stored");
        }
    }

    /// Makes a base that has just been filled the first recovery point.
    pub(crate) async fn first_point(
        &self,
        item: &Item,
        view: &View,
        base: &Volumes,
        bytes: u64,
    ) -> Result<(), CoreError> {
        let first = match &item.record.lock().await.replica {
            Some(replica) => replica.name_point(&item.id, 1),
            None => return Err(not_replicating()),
        };
        let point = RecoveryPoint {
            id: first,
            time: view.taken_at,
            consistency: Consistency::Crash,
            processed: true,
            change_id: view.change_id.clone(),
            transferred: Bytes(bytes),
            volumes: base.clone(),
        };
        self.update(item, |record| {
            record.protection.phase = Phase::Protected;
            if let Some(replica) = &mut record.replica {
                replica.received = Some(view.change_id.clone());
                replica.received_count = 1;
                replica.processed_count = 1;
                replica.points.push(point);
            }
        })
        .await
    }

    pub(crate) async fn start_engine(self: &Arc<Self>, item: &Arc<Item>) {
        *item.engine.lock().await = Some(Engine::start(self, item));
    }

    pub(crate) async fn stop_engine(&self, item: &Item) {
        if let Some(engine) = item.engine.lock().await.take() {
            engine.stop().await;
        }
    }

    /// What `ask` says to the job that holds an item, if one does.
    async fn held_by<T>(&self, item: &ItemId, ask: impl FnOnce(&Job) -> T) -> Result<Option<T>, CoreError> {
        let Some(holder) = self.find(item).await?.holder() else { return Ok(None) };
        Ok(self.jobs.lock().await.get(&holder).map(ask))
    }

    /// Where an operation would lead, or why it is refused.
    pub(crate) fn check(
        &self,
        record: &Record,
        operation: Operation,
    ) -> Result<Option<Protection>, CoreError> {
        let from = record.protection;
        record.pair.find(from, operation).map(|row| row.to).ok_or_else(|| {
            let text = format!(
                "{operation:?} is not allowed for {} while it is {:?} on the {:?} side",
                record.id, from.phase, from.active
            );
            CoreError::new(ErrorCode::NotAllowedInState, text)
        })
    }

    /// Does what is ordered as a job that holds the item. `check` sees the record first; what it refuses leaves no
    /// trace.
    pub(crate) async fn run(
        self: &Arc<Self>,
        item: &Arc<Item>,
        kind: JobKind,
        order: Order,
        check: impl FnOnce(&Record) -> Result<Direction, CoreError>,
    ) -> Result<JobId, CoreError> {
        let mut record = item.record.lock().await;
        if let Some(holder) = item.holder() {
            return Err(CoreError::new(ErrorCode::Busy, format!("job {holder} holds item {}", item.id)));
        }
        let direction = check(&record)?;
        let mut jobs = self.jobs.lock().await;
        let id = JobId(format!("job-{}", jobs.len() + 1));
        let job = Job::new(Arc::clone(&self.store), id.clone(), &item.id, kind, direction)?;
        let mut changed = record.clone();
        changed.pending = Some(Pending { job: id.clone(), order: order.clone() });
        self.store.put_item(&changed)?;
        *record = changed;
        jobs.insert(id.clone(), job.clone());
        item.set_holder(Some(id.clone()));
        drop((jobs, record));
        tokio::spawn(Arc::clone(self).carry_out(Arc::clone(item), job, order));
        Ok(id)
    }

    async fn carry_out(self: Arc<Self>, item: Arc<Item>, job: Job, order: Order) {
        let result = resume::perform(&self, &item, &job, &order).await;
        self.conclude(&item, &job, result).await;
    }

    /// Ends a job: told in the store first, so that after a restart it is not done again.
    async fn conclude(&self, item: &Item, job: &Job, result: Result<(), CoreError>) {
        let id = job.view().id;
        let mut ended = job.store_end(result.clone());
        // An item whose protection ended is in no store any more.
        if ended.is_ok() && self.items.lock().await.contains_key(&item.id) {
            let done = |record: &mut Record| record.pending = record.pending.take().filter(|p| p.job != id);
            ended = self.update(item, done).await;
        }
        item.set_holder(None);
        item.changed.send_modify(|count| *count += 1);
        job.show_end(result);
        if let Err(error) = ended {
            tracing::error!(%error, "a job's end could not be stored");
        }
    }

    /// Takes up what was in the store, once nothing that was left open stands in the way.
    async fn take_up_all(self: Arc<Self>, items: Vec<Arc<Item>>) {
        for (site, platform) in &self.config.platforms {
            // A site that cannot be reached now has nothing open that could be in the way now.
            if let Err(error) = platform.close_all().await {
                tracing::warn!(%site, %error, "what was left open could not be closed");
            }
        }
        for item in items {
            tokio::spawn(Arc::clone(&self).take_up(item));
        }
    }

    /// Takes up an item that was in the store: first its replication, then the job that held it.
    async fn take_up(self: Arc<Self>, item: Arc<Item>) {
        if let Err(error) = resume::take_up(&self, &item).await {
            self.report_trouble(&item, error.message).await;
        }
        let pending = item.record.lock().await.pending.clone();
        let Some(pending) = pending else { return };
        let job = self.jobs.lock().await.get(&pending.job).cloned();
        match job {
            Some(job) if !job.view().state.ended() => {
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

async fn refuse_taken(items: &BTreeMap<ItemId, Arc<Item>>, record: &Record) -> Result<(), CoreError> {
    for item in items.values() {
        let other = item.record.lock().await;
        let text = if other.id == record.id {
            format!("there is an item {} already", other.id)
        } else if other.primary == record.primary {
            format!("machine {} is already protected as item {}", other.primary.1, other.id)
        } else if other.recovery == record.recovery {
            format!("machine {} is the target of item {} already", other.recovery.1, other.id)
        } else {
            continue;
        };
        return Err(CoreError::new(ErrorCode::AlreadyProtected, text));
    }
    Ok(())
}

pub(crate) fn unknown(what: &str, id: &dyn std::fmt::Display) -> CoreError {
    CoreError::new(ErrorCode::UnknownId, format!("there is no {what} {id}"))
}

#[async_trait]
impl ReplicationCore for Core {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        use Operation::{
            CancelFailover, ChangePoint, Commit, CompleteFailover, DisableProtection, PlannedFailover,
            Reprotect, ReverseReplicate, TestFailover, TestFailoverCleanup, UnplannedFailover,
        };
        Ok(Capabilities {
            name: format!("built-in {}", env!("CARGO_PKG_VERSION")),
            operations: vec![
                TestFailover,
                TestFailoverCleanup,
                PlannedFailover,
                UnplannedFailover,
                CompleteFailover,
                CancelFailover,
                ChangePoint,
                Commit,
                Reprotect,
                ReverseReplicate,
                DisableProtection,
            ],
        })
    }

    async fn enable_protection(&self, request: &EnableProtection) -> Result<JobId, CoreError> {
        protect::enable(&self.inner, request).await
    }

    async fn disable_protection(&self, item: &ItemId) -> Result<JobId, CoreError> {
        protect::disable(&self.inner, item).await
    }

    async fn item(&self, item: &ItemId) -> Result<ItemView, CoreError> {
        Ok(self.inner.find(item).await?.view().await)
    }

    async fn items(&self) -> Result<Vec<ItemView>, CoreError> {
        let items: Vec<_> = self.inner.items.lock().await.values().cloned().collect();
        let mut views = Vec::new();
        for item in items {
            views.push(item.view().await);
        }
        Ok(views)
    }

    async fn watch_points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        let item = self.inner.find(item).await?;
        let mut changed = item.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let record = item.record.lock().await.clone();
            match (&record.replica, &record.trouble) {
                (Some(replica), _) if replica.processed_count >= count => return Ok(item.view().await),
                (_, Some(trouble)) => return Err(CoreError::new(ErrorCode::Platform, trouble.clone())),
                (None, None) => return Err(not_replicating()),
                (Some(_), None) => {}
            }
            if changed.changed().await.is_err() {
                return Err(not_replicating());
            }
        }
    }

    async fn failover(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        failover::fail_over(&self.inner, request).await
    }

    async fn test_failover(&self, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
        drill::start(&self.inner, request).await
    }

    async fn clean_up_test_failover(&self, item: &ItemId) -> Result<JobId, CoreError> {
        drill::clean_up(&self.inner, item).await
    }

    async fn complete_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        match self.inner.held_by(item, |job| job.complete()).await? {
            Some(true) => Ok(()),
            _ => Err(CoreError::new(ErrorCode::NotAllowedInState, "no failover waits to be completed")),
        }
    }

    async fn cancel_failover(&self, item: &ItemId) -> Result<(), CoreError> {
        let cancelled = self.inner.held_by(item, |job| {
            let is_failover =
                matches!(job.view().kind, JobKind::UnplannedFailover | JobKind::PlannedFailover);
            if is_failover {
                job.cancel();
            }
            is_failover
        });
        match cancelled.await? {
            Some(true) => Ok(()),
            _ => Err(CoreError::new(ErrorCode::NotAllowedInState, "no failover runs")),
        }
    }

    async fn reverse_replicate(&self, item: &ItemId) -> Result<JobId, CoreError> {
        reprotect::reverse_replicate(&self.inner, item).await
    }

    async fn change_point(&self, item: &ItemId, point: &PointChoice) -> Result<JobId, CoreError> {
        failover::change_point(&self.inner, item, point).await
    }

    async fn commit(&self, item: &ItemId) -> Result<JobId, CoreError> {
        commit::commit(&self.inner, item).await
    }

    async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobId, CoreError> {
        reprotect::reprotect(&self.inner, request).await
    }

    async fn job(&self, job: &JobId) -> Result<JobView, CoreError> {
        let jobs = self.inner.jobs.lock().await;
        jobs.get(job).map(Job::view).ok_or_else(|| unknown("job", job))
    }

    async fn watch_job(&self, job: &JobId, after: u64) -> Result<JobView, CoreError> {
        let mut view = {
            let jobs = self.inner.jobs.lock().await;
            jobs.get(job).ok_or_else(|| unknown("job", job))?.watch()
        };
        let seen = view.wait_for(|view| view.revision > after || view.state.ended()).await;
        seen.map(|view| view.clone()).map_err(|_| unknown("job", job))
    }

    async fn close(&self) -> Result<(), CoreError> {
        let items: Vec<_> = self.inner.items.lock().await.values().cloned().collect();
        for item in items {
            self.inner.stop_engine(&item).await;
        }
        Ok(())
    }
}
