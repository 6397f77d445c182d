//! Reprotection: the machine that runs now replicates to the side it came from (RE-01, RE-29).

use std::sync::Arc;

use contract::{CoreError, Direction, ErrorCode, ItemId, JobId, Operation, Phase, ReprotectRequest, Side};

use crate::core::Inner;
use crate::engine::synchronise;
use crate::item::{Item, Record, Replica, Volumes};
use crate::jobs::Job;
use crate::order::Order;
use crate::place;
use crate::preconditions::{Asked, Way, When, look_and_ask};

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

/// With what is wrong here the job fails, and can be retried (RE-16).
async fn prerequisites(core: &Inner, item: &Item, request: &ReprotectRequest) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    look_and_ask(core, &record, Asked::Reprotect(request), Way::ReprotectBack, When::InJob).await
}

pub(crate) async fn reverse_replicate(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::ReverseReplicate).await
}

pub(crate) fn check_reverse(core: &Inner, record: &Record) -> Result<Direction, CoreError> {
    core.check(record, Operation::ReverseReplicate)?;
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn work(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: Option<&ReprotectRequest>,
) -> Result<(), CoreError> {
    let result = begin(core, item, job, request).await;
    if result.is_err() {
        // The machine runs on as it did, unprotected; the same request may be made again.
        core.update(item, |record| {
            record.protection.phase = Phase::Committed;
            record.replica = None;
            record.route = None;
        })
        .await?;
        place::clear(core, item).await;
    }
    result
}

async fn begin(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: Option<&ReprotectRequest>,
) -> Result<(), CoreError> {
    let active = item.record.lock().await.protection.active;
    let side = active.other();
    if let (Side::Primary, Some(request)) = (side, request) {
        job.step("check prerequisites", prerequisites(core, item, request)).await?;
        place::settle(core, item, job, request).await?;
    }
    let other = item.record.lock().await.on(side).clone();
    // Off while its disks are written (RE-02).
    job.step("turn off the other side", place::turn_off(core, &other)).await?;
    if let Some(request) = request {
        place::set_out(core, item, job, request).await?;
    }
    let base = job.step("find replica", find_base(core, item, side)).await?;
    core.update(item, |record| {
        record.route = request.cloned();
        let round = record.next();
        record.replica = Some(Replica::new(side, round, base));
        record.protection.phase = Phase::InitialReplication;
        record.failed_over_to = None;
        record.trouble = None;
        record.test_failover_performed = false;
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

/// Where the replica goes: into the disks of the machine that there is on that side, or onto what the side kept of an
/// earlier round.
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
