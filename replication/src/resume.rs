//! What a job was asked to do, kept with its item, so that a core that was killed goes on where it stopped.
//!
//! Every step can be done again: what a step makes is named and stored before it is made, and made anew if a
//! leftover of that name is there; what it deletes may be gone. So a job is resumed by doing it again.

use std::sync::Arc;

use contract::{CoreError, JobId, Phase, Protection};
use serde::{Deserialize, Serialize};

use crate::core::Inner;
use crate::item::{Item, Record};
use crate::order::Order;
use crate::thinning;

/// The job that holds an item, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) job: JobId,
    pub(crate) order: Order,
    /// Where the item stood when the job began.
    pub(crate) from: Protection,
}

impl Pending {
    /// Whether the item has arrived where the job leads, so that only the job's end is left to be told. Arriving is
    /// the last thing a job does.
    pub(crate) fn has_arrived(&self, record: &Record) -> bool {
        let row = self.order.operation().and_then(|operation| record.pair.find(self.from, operation));
        let to = row.and_then(|row| row.to);
        self.from != record.protection && to == Some(record.protection)
    }
}

/// Takes an item up again after a restart: replication goes on, and so does the job that held it.
pub(crate) async fn take_up(core: &Arc<Inner>, item: &Arc<Item>) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let beside = match record.pending.as_ref().map(|pending| &pending.order) {
        None | Some(Order::TestFailover(_) | Order::TestFailoverCleanup) => true,
        Some(_) => false,
    };
    if record.protection.phase == Phase::Protected && beside {
        // What cannot be finished now is finished before anything else is processed.
        let finished = thinning::finish(core, item).await;
        core.start_engine(item).await;
        finished?;
    }
    Ok(())
}
