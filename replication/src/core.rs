//! The core: its items, jobs and store, and the interface over them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{
    Bytes, Consistency, CoreError, DiskSnapshot, ErrorCode, ItemId, ItemView, Operation, Phase, PlanId,
    Platform, Protection, RecoveryPlan, RecoveryPoint, SiteId, Timestamp,
};
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::configuration;
use crate::desk::Jobs;
use crate::engine::Engine;
use crate::item::{Item, Record, Volumes};
use crate::jobs::Job;
use crate::policy::Policies;
use crate::processor::{landing_name, not_replicating};
use crate::store::Store;
use crate::tap::Tap;

/// What a core is made of.
pub struct Config {
    /// The sites it works between.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Its store and landing log.
    pub dir: PathBuf,
    /// Makes it faulty, for the suite's own tests.
    pub tap: Option<Arc<dyn Tap>>,
    /// What tells it the time.
    pub clock: Clock,
}

/// The built-in core.
pub struct Core {
    pub(crate) inner: Arc<Inner>,
    /// Looks at every item's configuration at regular times.
    pub(crate) looks: tokio::task::AbortHandle,
}

pub(crate) struct Inner {
    config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) policies: Policies,
    pub(crate) items: Mutex<BTreeMap<ItemId, Arc<Item>>>,
    pub(crate) jobs: Mutex<Jobs>,
    pub(crate) plans: Mutex<BTreeMap<PlanId, RecoveryPlan>>,
    /// Whether all that was in the store has been taken up. Nothing new begins before: what the last core left open is
    /// being closed, and must not be taken for what is new.
    pub(crate) taken_up: watch::Sender<bool>,
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
        let store = Arc::new(Store::open(&config.dir.join("core.db"), config.tap.clone())?);
        let (records, kept) = store.load()?;
        let policies = Policies::load(&store)?;
        let mut jobs = Jobs::default();
        for job in kept {
            jobs.add(Job::known(Arc::clone(&store), config.clock.clone(), job));
        }
        let jobs = Mutex::new(jobs);
        let items = records.into_iter().map(|record| (record.id.clone(), Arc::new(Item::new(record))));
        let items: BTreeMap<_, _> = items.collect();
        let left: Vec<_> = items.values().cloned().collect();
        let plans = store.plans()?.into_iter().map(|plan| (plan.id.clone(), plan)).collect();
        let (items, plans) = (Mutex::new(items), Mutex::new(plans));
        let inner = Arc::new(Inner {
            config,
            store,
            policies,
            items,
            jobs,
            plans,
            taken_up: watch::Sender::new(false),
        });
        for item in &left {
            item.set_holder(item.record.try_lock().ok().and_then(|r| Some(r.pending.as_ref()?.job.clone())));
        }
        tokio::spawn(Arc::clone(&inner).take_up_all(left));
        let looks = tokio::spawn(configuration::look_regularly(Arc::downgrade(&inner))).abort_handle();
        Ok(Self { inner, looks })
    }
}

impl Inner {
    pub(crate) fn platform(&self, site: &SiteId) -> Result<Arc<dyn Platform>, CoreError> {
        let platform = self.config.platforms.get(site).cloned();
        platform.ok_or_else(|| unknown("site", site))
    }

    pub(crate) fn platforms(&self) -> &BTreeMap<SiteId, Arc<dyn Platform>> {
        &self.config.platforms
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.config.clock.clone()
    }

    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
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

    /// All items, sorted by name.
    pub(crate) async fn all_items(&self) -> Vec<Arc<Item>> {
        self.items.lock().await.values().cloned().collect()
    }

    pub(crate) async fn view(&self, item: &Item) -> Result<ItemView, CoreError> {
        let policy = self.policies.in_force(&*item.record.lock().await)?;
        Ok(item.view(policy, self.now()).await)
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
        let change = |record: &mut Record| {
            change(record);
            Ok(())
        };
        self.try_update(item, change).await
    }

    /// The same, unless the change is refused.
    pub(crate) async fn try_update(
        &self,
        item: &Item,
        change: impl FnOnce(&mut Record) -> Result<(), CoreError>,
    ) -> Result<(), CoreError> {
        let mut record = item.record.lock().await;
        let mut changed = record.clone();
        change(&mut changed)?;
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
        view: &DiskSnapshot,
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
            multi_vm: None,
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
    pub(crate) async fn held_by<T>(
        &self,
        item: &ItemId,
        ask: impl FnOnce(&Job) -> T,
    ) -> Result<Option<T>, CoreError> {
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
