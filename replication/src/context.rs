//! What all parts of the core share: sites, store, items, jobs, plans, policies and time.
//!
//! The context holds data and the means to change it; what is done with the data is in the modules
//! above.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{CoreError, ErrorCode, ItemId, JobId, PlanId, Platform, RecoveryPlan, SiteId, Timestamp};
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::error::unknown;
use crate::fault_hook::FaultHook;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::jobs::registry::Jobs;
use crate::landing_log;
use crate::machines_in_use::MachinesInUse;
use crate::policy::Policies;
use crate::state::Record;
use crate::store::Store;
use crate::tasks::Tasks;

/// What a core is built from.
pub struct Config {
    /// The sites between which machines are replicated.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Directory of the store and the landing log.
    pub dir: PathBuf,
    /// Changes what the core does, for the conformance suite's own tests.
    pub fault_hook: Option<Arc<dyn FaultHook>>,
    /// Source of time.
    pub clock: Clock,
}

/// The state shared by all tasks of a core.
pub(crate) struct Context {
    config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) policies: Policies,
    items: Mutex<BTreeMap<ItemId, Arc<Item>>>,
    machines: MachinesInUse,
    pub(crate) jobs: Mutex<Jobs>,
    pub(crate) plans: Mutex<BTreeMap<PlanId, RecoveryPlan>>,
    /// The tasks that execute jobs.
    pub(crate) tasks: Tasks,
    /// Whether every item in the store is recovered. No job starts before, because recovery closes
    /// everything that the previous process left open and must not close what a new job opens.
    recovered: watch::Sender<bool>,
}

impl Context {
    /// Opens the store and loads everything in it. Starts nothing.
    pub(crate) fn load(config: Config) -> Result<Self, CoreError> {
        std::fs::create_dir_all(&config.dir).map_err(|error| {
            CoreError::new(ErrorCode::Store, format!("{}: {error}", config.dir.display()))
        })?;
        let store = Arc::new(Store::open(&config.dir.join("core.db"), config.fault_hook.clone())?);
        let policies = Policies::load(&store)?;
        let mut jobs = Jobs::default();
        for job in store.jobs()? {
            jobs.add(Job::from_stored(Arc::clone(&store), config.clock.clone(), job));
        }
        let (records, machines) = (store.items()?, MachinesInUse::default());
        records.iter().for_each(|record| machines.add(record));
        let items = records.into_iter().map(|record| (record.id.clone(), Arc::new(Item::new(record))));
        let plans = store.plans()?.into_iter().map(|plan| (plan.id.clone(), plan));
        Ok(Self {
            items: Mutex::new(items.collect()),
            machines,
            jobs: Mutex::new(jobs),
            plans: Mutex::new(plans.collect()),
            tasks: Tasks::default(),
            recovered: watch::Sender::new(false),
            config,
            store,
            policies,
        })
    }

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

    pub(crate) fn fault_hook(&self) -> Option<Arc<dyn FaultHook>> {
        self.config.fault_hook.clone()
    }

    /// Directory of an item's landing log.
    pub(crate) fn landing_dir(&self, item: &ItemId) -> PathBuf {
        self.config.dir.join("landing").join(landing_log::directory_name(item))
    }

    /// Deletes an item's landing log.
    pub(crate) fn clear_landing(&self, item: &ItemId) -> Result<(), CoreError> {
        match std::fs::remove_dir_all(self.landing_dir(item)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CoreError::new(ErrorCode::Store, format!("the landing log cannot be cleared: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Waits until every item in the store is recovered.
    pub(crate) async fn wait_until_recovered(&self) {
        // The sender lives as long as the context.
        let _ = self.recovered.subscribe().wait_for(|recovered| *recovered).await;
    }

    pub(crate) fn set_recovered(&self) {
        self.recovered.send_replace(true);
    }

    /// All items, sorted by id.
    pub(crate) async fn all_items(&self) -> Vec<Arc<Item>> {
        self.items.lock().await.values().cloned().collect()
    }

    pub(crate) async fn find(&self, id: &ItemId) -> Result<Arc<Item>, CoreError> {
        self.items.lock().await.get(id).cloned().ok_or_else(|| unknown("item", id))
    }

    pub(crate) async fn find_job(&self, id: &JobId) -> Result<Job, CoreError> {
        self.jobs.lock().await.get(id).cloned().ok_or_else(|| unknown("job", id))
    }

    /// Whether the item is still protected.
    pub(crate) async fn contains(&self, id: &ItemId) -> bool {
        self.items.lock().await.contains_key(id)
    }

    /// Refuses an item that shares its id, its machine or its target with another.
    pub(crate) async fn refuse_duplicate(&self, record: &Record) -> Result<(), CoreError> {
        self.refuse_among(&*self.items.lock().await, record)
    }

    fn refuse_among(&self, items: &BTreeMap<ItemId, Arc<Item>>, record: &Record) -> Result<(), CoreError> {
        if items.contains_key(&record.id) {
            let text = format!("there is already an item {}", record.id);
            return Err(CoreError::new(ErrorCode::AlreadyProtected, text));
        }
        self.machines.refuse_shared(record)
    }

    pub(crate) async fn add_item(&self, record: Record) -> Result<Arc<Item>, CoreError> {
        let mut items = self.items.lock().await;
        self.refuse_among(&items, &record)?;
        self.store.put_item(&record)?;
        self.machines.add(&record);
        let item = Arc::new(Item::new(record));
        items.insert(item.id.clone(), Arc::clone(&item));
        Ok(item)
    }

    pub(crate) async fn remove_item(&self, item: &Item) -> Result<(), CoreError> {
        let record = item.record.lock().await;
        self.store.remove_item(&record)?;
        self.machines.remove(&record);
        drop(record);
        self.items.lock().await.remove(&item.id);
        Ok(())
    }

    /// Changes an item's record. The change is stored before anyone sees it.
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

    /// Changes an item's record unless `change` returns an error. The change is stored before
    /// anyone sees it.
    pub(crate) async fn try_update(
        &self,
        item: &Item,
        change: impl FnOnce(&mut Record) -> Result<(), CoreError>,
    ) -> Result<(), CoreError> {
        let mut record = item.record.lock().await;
        let mut changed = record.clone();
        change(&mut changed)?;
        self.store.put_item(&changed)?;
        self.machines.change(&record, &changed);
        *record = changed;
        drop(record);
        item.notify();
        Ok(())
    }

    /// Records why replication does not work.
    pub(crate) async fn set_replication_error(&self, item: &Item, error: CoreError) {
        let change = |record: &mut Record| record.replication_error = Some(error.message);
        if let Err(error) = self.update(item, change).await {
            tracing::error!(item = %item.id, %error, "cannot store the replication error");
        }
    }

    /// Records that replication works again.
    pub(crate) async fn clear_replication_error(&self, item: &Item) {
        let failed = item.record.lock().await.replication_error.is_some();
        if failed && let Err(error) = self.update(item, |record| record.replication_error = None).await {
            tracing::error!(item = %item.id, %error, "cannot clear the replication error");
        }
    }
}
