//! A protected item at run time.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use contract::{CoreError, ErrorCode, ItemId, JobId};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::state::Record;

/// The background tasks that replicate an item; [`crate::replication_tasks`] starts and stops them.
pub(crate) struct ReplicationTasks {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) handles: [JoinHandle<()>; 2],
}

/// A protected item: its stored record and what exists only while the core runs.
pub(crate) struct Item {
    pub(crate) id: ItemId,
    pub(crate) record: Mutex<Record>,
    /// Counts changes of the record, to wake watchers.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) tasks: Mutex<Option<ReplicationTasks>>,
    /// The job that works on the item.
    job: std::sync::Mutex<Option<JobId>>,
    /// Locked by whoever makes points: the replication tasks, or a failover to the latest point.
    pub(crate) processing: Mutex<()>,
    /// Locked by whoever merges points, after `processing` if that is locked too.
    pub(crate) merging: Mutex<()>,
    /// Whether its replication tasks run. Its consistency group transfers it only while they do.
    pub(crate) replicating: AtomicBool,
    /// Locked during a transfer.
    pub(crate) receiving: Arc<Mutex<()>>,
    /// Number of the transfer that landed last, to wake the processing task.
    pub(crate) landed: watch::Sender<u64>,
}

impl Item {
    pub(crate) fn new(record: Record) -> Self {
        let (changed, _) = watch::channel(0);
        let job = record.active_command.as_ref().map(|active| active.job.clone());
        Self {
            id: record.id.clone(),
            record: Mutex::new(record),
            changed,
            tasks: Mutex::default(),
            job: std::sync::Mutex::new(job),
            processing: Mutex::default(),
            merging: Mutex::default(),
            replicating: AtomicBool::new(false),
            receiving: Arc::default(),
            landed: watch::Sender::new(0),
        }
    }

    /// The job that works on the item.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_job(&self, job: Option<JobId>) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = job;
    }

    /// Refuses an item that a job works on.
    pub(crate) fn ensure_idle(&self) -> Result<(), CoreError> {
        match self.job() {
            Some(job) => Err(CoreError::new(ErrorCode::Busy, format!("job {job} works on item {}", self.id))),
            None => Ok(()),
        }
    }

    /// Wakes those who wait for a change of the item.
    pub(crate) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
