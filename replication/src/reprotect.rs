//! Reprotection: the machine that runs now replicates to the side it came from (RE-01, RE-29).

use std::sync::Arc;

use contract::{CoreError, Direction, ErrorCode, ItemId, JobId, Operation, Phase, ReprotectRequest, Side};

use crate::core::Inner;
use crate::engine::synchronise;
use crate::item::{Item, Record, Replica, Volumes};
use crate::jobs::Job;
use crate::order::Order;

pub(crate) async fn reprotect(core: &Arc<Inner>, request: &ReprotectRequest) -> Result<JobId, CoreError> {
    let item = core.find(&request.item).await?;
    if let Some(group) = &item.record.lock().await.group {
        let text =
            format!("{} is of group {group}, which is reprotected as a whole, by a plan", request.item);
        return Err(CoreError::new(ErrorCode::OnlyThroughPlan, text));
    }
    core.run(&item, Order::Reprotect(request.clone())).await
}

pub(crate) fn check(
    core: &Inner,
    record: &Record,
    request: &ReprotectRequest,
) -> Result<Direction, CoreError> {
    core.check(record, Operation::Reprotect)?;
    let direction = Direction::from_side(record.protection.active);
    if request.direction != direction {
        let text = format!("{} can replicate {direction:?}, not {:?}", record.id, request.direction);
        return Err(CoreError::new(ErrorCode::WrongDirection, text));
    }
    Ok(direction)
}

pub(crate) async fn reverse_replicate(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::ReverseReplicate).await
}

pub(crate) fn check_reverse(core: &Inner, record: &Record) -> Result<Direction, CoreError> {
    core.check(record, Operation::ReverseReplicate)?;
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn work(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let result = begin(core, item, job).await;
    if result.is_err() {
        // The machine runs on as it did, unprotected; the same request may be made again.
        core.update(item, |record| {
            record.protection.phase = Phase::Committed;
            record.replica = None;
        })
        .await?;
    }
    result
}

async fn begin(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    let active = item.record.lock().await.protection.active;
    let side = active.other();
    job.step("turn off the other side", turn_off(core, item, side)).await?;
    let base = job.step("find replica", find_base(core, item, side)).await?;
    core.update(item, |record| {
        let round = record.next();
        record.replica = Some(Replica::new(side, round, base));
        record.protection.phase = Phase::InitialReplication;
        record.failed_over_to = None;
        record.trouble = None;
        record.drilled = false;
        (record.served, record.starting) = (false, false);
    })
    .await?;
    job.step("synchronise differences", async {
        let bytes = synchronise(core, item, job).await?;
        job.note(&format!("{} travelled", contract::Bytes(bytes)))
    })
    .await?;
    core.start_engine(item).await;
    Ok(())
}

/// The machine on the receiving side is off while its disks are written (RE-02).
async fn turn_off(core: &Inner, item: &Item, side: Side) -> Result<(), CoreError> {
    let (site, machine) = item.record.lock().await.on(side).clone();
    let platform = core.platform(&site)?;
    let exists = platform.machines().await?.iter().any(|view| view.id == machine);
    if exists {
        platform.power_off(&machine).await?;
    }
    Ok(())
}

/// Where the replica goes: into the disks of the machine that still exists on that side (original location), or
/// onto what the side kept of an earlier round.
async fn find_base(core: &Inner, item: &Item, side: Side) -> Result<Volumes, CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = record.on(side).clone();
    let platform = core.platform(&site)?;
    let machines = platform.machines().await?;
    if let Some(view) = machines.into_iter().find(|view| view.id == machine) {
        return Ok(view.disks.into_iter().map(|disk| (disk.id, disk.volume)).collect());
    }
    record.seed.filter(|_| side == Side::Recovery).ok_or_else(|| {
        let text = format!("machine {machine} exists no more at {site}, and nothing of it was kept");
        CoreError::new(ErrorCode::NotSupported, text)
    })
}
