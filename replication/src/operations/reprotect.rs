//! Reprotection: the active machine replicates to the side it came from (RE-01, RE-29).

use std::sync::Arc;

use contract::{Bytes, CoreError, Direction, ErrorCode, Operation, Phase, ReprotectRequest, Side};

use crate::context::Context;
use crate::full_sync::synchronise;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::failback_target;
use crate::preconditions::{self, Request, Way, When};
use crate::replication_tasks;
use crate::state::{Record, Replica, Volumes};

/// Whether the item can be reprotected. Returns the direction of replication.
pub(crate) fn check(record: &Record, request: &ReprotectRequest) -> Result<Direction, CoreError> {
    check_state(record, Operation::Reprotect)?;
    let direction = Direction::from_side(record.protection.active);
    if request.direction != direction {
        let text = format!("{} can replicate {direction:?}, not {:?}", record.id, request.direction);
        return Err(CoreError::new(ErrorCode::WrongDirection, text));
    }
    Ok(direction)
}

/// Whether replication of a Hyper-V machine to the cloud can start again. Returns the direction of
/// replication.
pub(crate) fn check_reverse(record: &Record) -> Result<Direction, CoreError> {
    check_state(record, Operation::ReverseReplicate)?;
    Ok(Direction::from_side(record.protection.active))
}

/// Performs a reprotection. Without a request it is a reverse replication, which has no settings
/// (HF-17, HF-27).
pub(crate) async fn perform(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: Option<&ReprotectRequest>,
) -> Result<(), CoreError> {
    let result = begin(ctx, item, job, request).await;
    if result.is_err() {
        // The machine goes on running, unprotected, and the request can be repeated.
        ctx.update(item, |record| {
            record.protection.phase = Phase::Committed;
            record.replica = None;
            record.route = None;
        })
        .await?;
        failback_target::discard_target_best_effort(ctx, item).await;
    }
    result
}

async fn begin(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: Option<&ReprotectRequest>,
) -> Result<(), CoreError> {
    let active = item.record.lock().await.protection.active;
    let side = active.other();
    if let (Side::Primary, Some(request)) = (side, request) {
        job.step("check prerequisites", check_prerequisites(ctx, item, request)).await?;
        failback_target::ensure_target(ctx, item, job, request).await?;
    }
    let other = item.record.lock().await.on(side).clone();
    failback_target::warn_if_both_ran(ctx, job, &other).await?;
    // The machine has to be off while its disks are written (RE-02).
    job.step("turn off the other side", failback_target::power_off(ctx, &other)).await?;
    if let Some(request) = request {
        failback_target::prepare_ends(ctx, item, job, request).await?;
    }
    let base = job.step("find replica", find_base(ctx, item, side)).await?;
    let now = ctx.now();
    ctx.update(item, |record| {
        record.replicating_since = Some(now);
        record.route = request.cloned();
        let round = record.next_number();
        record.replica = Some(Replica::new(side, round, base));
        record.protection.phase = Phase::InitialReplication;
        record.failed_over_to = None;
        record.replication_error = None;
        record.test_failover_performed = false;
    })
    .await?;
    job.step("synchronise differences", async {
        let bytes = synchronise(ctx, item, job).await?;
        job.note(&format!("{} transferred", Bytes(bytes)))
    })
    .await?;
    replication_tasks::start(ctx, item).await;
    Ok(())
}

/// Checks the preconditions that fail the job, so that it can be retried (RE-16).
async fn check_prerequisites(
    ctx: &Context,
    item: &Item,
    request: &ReprotectRequest,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    preconditions::check(ctx, &record, Request::Reprotect(request), Way::ReprotectBack, When::InJob).await
}

/// The volumes that receive: the disks of the machine on that side if it exists, otherwise the
/// volumes that the side kept from an earlier round.
async fn find_base(ctx: &Context, item: &Item, side: Side) -> Result<Volumes, CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = record.on(side).clone();
    let platform = ctx.platform(&site)?;
    let machines = platform.machines().await?;
    if let Some(view) = machines.into_iter().find(|view| view.id == machine) {
        return Ok(view.disks.into_iter().map(|disk| (disk.id, disk.volume)).collect());
    }
    record.seed.filter(|_| side == Side::Recovery).ok_or_else(|| {
        let text = format!("machine {machine} no longer exists at {site}, and no replica of it was kept");
        CoreError::new(ErrorCode::NotSupported, text)
    })
}
