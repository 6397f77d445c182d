//! Commit: makes a failover final and deletes its recovery points (FO-03, FO-04), or removes the
//! cloud machine after a failback (FB-11).

use std::sync::Arc;

use contract::{CoreError, Direction, ErrorCode, Operation, Phase, PowerState, Side};

use crate::context::Context;
use crate::error::not_replicating;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::target::is_ours;
use crate::point_volumes;
use crate::state::{Progress, Record};

/// Whether the item can be committed. Returns the direction of the failover.
pub(crate) fn check(record: &Record) -> Result<Direction, CoreError> {
    check_state(record, Operation::Commit)?;
    Ok(Direction::from_side(record.protection.active.other()))
}

pub(crate) async fn perform(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    match record.protection.active {
        Side::Recovery => job.step("delete recovery points", merge_points(ctx, item, &record)).await?,
        Side::Primary => job.step("remove cloud machine", remove_cloud_machine(ctx, &record)).await?,
    }
    ctx.update(item, |record| {
        record.protection.phase = Phase::Committed;
        record.progress = Progress::Idle;
        if record.protection.active == Side::Primary {
            record.built.clear();
        }
        if let Some(replica) = record.replica.take()
            && replica.side == Side::Recovery
        {
            record.seed = Some(replica.base);
        }
    })
    .await
}

/// Merges the points up to the chosen one into the base, under the running machine, and deletes the
/// rest (FO-04).
async fn merge_points(ctx: &Context, item: &Item, record: &Record) -> Result<(), CoreError> {
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = ctx.platform(&record.recovery.0)?;
    let exists = is_ours(&platform, &record.recovery.1, &record.built).await?;
    if !exists || record.failed_over_to.is_none() {
        // A failed change of point leaves no target machine, so there is nothing to commit.
        let text = format!("there is no machine {} to commit; choose a point again", record.recovery.1);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    if replica.points.is_empty() {
        // The merge was done before a restart of the core.
        return Ok(());
    }
    let chosen = record.failed_over_to.as_ref().and_then(|id| replica.point(id));
    let chosen =
        chosen.ok_or_else(|| CoreError::new(ErrorCode::PointExpired, "the chosen point no longer exists"))?;
    ctx.update(item, |record| record.progress = Progress::Committing).await?;
    point_volumes::merge_into_base(&platform, &item.id, replica, chosen).await?;
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    // Transfers that were never processed are of no use any more.
    ctx.clear_landing(&item.id)
}

/// Removes the cloud machine and its disks (FB-11, HF-16). The disks' content is merged into the
/// replica below, which stays as the seed, so that the next synchronisation transfers only later
/// changes (HF-18, C-18).
async fn remove_cloud_machine(ctx: &Context, record: &Record) -> Result<(), CoreError> {
    let platform = ctx.platform(&record.recovery.0)?;
    let machines = platform.machines().await?;
    if let Some(view) = machines.iter().find(|view| view.id == record.recovery.1)
        && view.power == PowerState::On
    {
        let text = format!("cloud machine {} still runs", view.id);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    platform.delete_machine(&record.recovery.1).await?;
    for (disk, volume) in &record.built {
        match record.seed.iter().flatten().find(|(seeded, _)| seeded == disk) {
            Some((_, seed)) => platform.merge_volumes(volume, seed).await?,
            None => platform.delete_volume(volume).await?,
        }
    }
    Ok(())
}
