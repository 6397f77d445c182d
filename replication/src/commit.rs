//! Commit: a failover becomes final, and its points go (FO-03, FO-04); a failback's cloud machine goes (FB-11).

use std::sync::Arc;

use contract::{CoreError, Direction, ErrorCode, ItemId, JobId, Operation, Phase, PowerState, Side};

use crate::core::Inner;
use crate::item::{Item, Record};
use crate::jobs::Job;
use crate::order::Order;
use crate::processor::{delete_unfinished, not_replicating};
use crate::protect::delete_points;
use crate::target::is_ours;

pub(crate) async fn commit(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::Commit).await
}

pub(crate) fn check(core: &Inner, record: &Record) -> Result<Direction, CoreError> {
    core.check(record, Operation::Commit)?;
    Ok(Direction::from_side(record.protection.active.other()))
}

pub(crate) async fn finalise(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    match record.protection.active {
        Side::Recovery => job.step("delete recovery points", merge_points(core, item, &record)).await?,
        Side::Primary => job.step("remove cloud machine", remove_cloud(core, &record)).await?,
    }
    core.update(item, |record| {
        record.protection.phase = Phase::Committed;
        record.committing = false;
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

/// Merges the points up to the chosen one into the base, under the running machine, and deletes the rest (FO-04).
async fn merge_points(core: &Inner, item: &Item, record: &Record) -> Result<(), CoreError> {
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = core.platform(&record.recovery.0)?;
    let built = is_ours(&platform, &record.recovery.1, &record.built).await?;
    if !built || record.failed_over_to.is_none() {
        // A change of point that failed left none; what is committed now would be a machine that nobody has.
        let text = format!("there is no machine {} to commit; choose a point again", record.recovery.1);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    if replica.points.is_empty() {
        // Done before the core was stopped.
        return Ok(());
    }
    let chosen = record.failed_over_to.as_ref().and_then(|id| replica.point(id));
    let chosen = chosen.ok_or_else(|| CoreError::new(ErrorCode::PointExpired, "the chosen point is gone"))?;
    core.update(item, |record| record.committing = true).await?;
    let newer: Vec<_> = replica.points.iter().skip_while(|p| p.id != chosen.id).skip(1).cloned().collect();
    delete_unfinished(&platform, &item.id, replica).await?;
    delete_points(&platform, &newer, &replica.base).await?;
    for ((_, top), (_, base)) in chosen.volumes.iter().zip(&replica.base) {
        platform.merge_volumes(top, base).await?;
    }
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    // Transfers that were never processed are of no use any more.
    core.clear_landing(&item.id)
}

/// Removes the cloud machine and its disks (FB-11, HF-16). Their last content is merged into the replica below,
/// which stays as seed, so that what travels next is only what changed since (HF-18, C-18).
async fn remove_cloud(core: &Inner, record: &Record) -> Result<(), CoreError> {
    let platform = core.platform(&record.recovery.0)?;
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
