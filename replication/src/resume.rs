//! What a job was asked to do, kept with its item, so that a core that was killed goes on where it stopped.
//!
//! Every step can be done again: what a step makes is named and stored before it is made, and made anew if a
//! leftover of that name is there; what it deletes may be gone. So a job is resumed by doing it again.

use std::sync::Arc;

use contract::{CoreError, FailoverRequest, JobId, Phase, PointChoice, TestFailoverRequest};
use serde::{Deserialize, Serialize};

use crate::core::Inner;
use crate::item::Item;
use crate::jobs::Job;
use crate::processor::finish_pruning;
use crate::{commit, drill, failover, protect, reprotect};

/// What a job was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Enable,
    Disable,
    Failover(FailoverRequest),
    ChangePoint(PointChoice),
    Commit,
    Reprotect,
    TestFailover(TestFailoverRequest),
    TestFailoverCleanup,
}

/// The job that holds an item, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) job: JobId,
    pub(crate) order: Order,
}

/// Does what was ordered, for the first time or again.
pub(crate) async fn perform(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    order: &Order,
) -> Result<(), CoreError> {
    match order {
        Order::Enable => protect::begin(core, item, job).await,
        Order::Disable => protect::end(core, item, job).await,
        Order::Failover(request) => failover::work(core, item, job, request).await,
        Order::ChangePoint(choice) => failover::rebuild(core, item, job, choice).await,
        Order::Commit => commit::finalise(core, item, job).await,
        Order::Reprotect => reprotect::work(core, item, job).await,
        Order::TestFailover(request) => drill::hold(core, item, job, request).await,
        Order::TestFailoverCleanup => drill::dismantle(core, item, job).await,
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
        finish_pruning(core, item).await?;
        core.start_engine(item).await;
    }
    Ok(())
}
