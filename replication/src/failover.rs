//! Failover in both directions, and change of point.

use std::sync::Arc;

use contract::{
    CoreError, Direction, ErrorCode, FailoverKind, FailoverRequest, ItemId, JobId, Network, Operation, Phase,
    PlatformError, PlatformErrorKind, PointChoice, PointId, PowerState, RecoveryPoint, Side,
};

use crate::core::Inner;
use crate::item::{Item, Record, Volumes};
use crate::jobs::Job;
use crate::order::Order;
use crate::place;
use crate::points::choose;
use crate::processor::{delete_unfinished, not_replicating, process_all};
use crate::protect::delete_points;
use crate::receive::transfer_once;
use crate::table::Pair;
use crate::target::{self, create_machine, derive_disks, hydrate, hydrate_if_due, name_disks, remove_target};
use crate::{back_to_hyperv, test_failover, thinning};

pub(crate) async fn fail_over(core: &Arc<Inner>, request: &FailoverRequest) -> Result<JobId, CoreError> {
    let item = core.find(&request.item).await?;
    core.run(&item, Order::Failover(request.clone())).await
}

pub(crate) fn operation(kind: FailoverKind) -> Operation {
    match kind {
        FailoverKind::Unplanned => Operation::UnplannedFailover,
        FailoverKind::Planned => Operation::PlannedFailover,
    }
}

/// What a failover request must bring, by where the item stands.
pub(crate) fn check(
    core: &Inner,
    record: &Record,
    request: &FailoverRequest,
) -> Result<Direction, CoreError> {
    let direction = Direction::from_side(record.protection.active);
    core.check(record, operation(request.kind))?;
    if request.direction != direction {
        let text = format!("{} fails over {direction:?}, not {:?}", record.id, request.direction);
        return Err(CoreError::new(ErrorCode::WrongDirection, text));
    }
    if is_back_to_hyperv(record) {
        back_to_hyperv::check(request)?;
        return Ok(direction);
    }
    if request.data_sync.is_some() {
        let text = "only a failback to Hyper-V synchronises its data at a time of its own; leave that out";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    if request.kind == FailoverKind::Planned && request.point != PointChoice::Latest {
        let text = "a planned failover starts from the latest point (PF-05)";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    choose(core, record, &request.point)?;
    Ok(direction)
}

fn is_back_to_hyperv(record: &Record) -> bool {
    record.pair == Pair::HyperV && record.protection.active == Side::Recovery
}

pub(crate) async fn work(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let before = item.record.lock().await.clone();
    let back = request.direction == Direction::RecoveryToPrimary;
    let mut reached = Reached::Nothing;
    let result = if is_back_to_hyperv(&before) {
        back_to_hyperv::fail_back(core, item, job, request).await
    } else {
        attempt(core, item, job, request, &mut reached).await
    };
    let Err(error) = result else { return Ok(()) };
    // Whatever it was that failed: once it was asked to stop, it does not come back by itself (FO-12).
    let error = job.checkpoint().err().unwrap_or(error);
    core.stop_engine(item).await;
    core.update(item, |record| record.completing = false).await?;
    let served_on = serve_on(core, item, back).await;
    if !is_back_to_hyperv(&before) {
        settle(core, item, &error, reached).await?;
    }
    match served_on {
        Ok(()) => Err(error),
        Err(more) => Err(CoreError::new(error.code, format!("{error}; and afterwards: {more}"))),
    }
}

/// How far a failover came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Whatever was built can be taken down again.
    Nothing,
    /// The original disks are partly merged.
    Merging,
}

async fn attempt(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    reached: &mut Reached,
) -> Result<(), CoreError> {
    let before = item.record.lock().await.clone();
    if before.test_failover.is_some() {
        job.step("clean up test failover", test_failover::remove(core, item)).await?;
    }
    if let Some(point) = before.merging {
        *reached = Reached::Merging;
        return into_original(core, item, job, &point).await;
    }
    let back = request.direction == Direction::RecoveryToPrimary;
    let point = prepare(core, item, job, request, back).await?;
    if back {
        place::arrive(core, item, job).await?;
        job.checkpoint()?;
        core.update(item, |record| record.merging = Some(point.clone())).await?;
        *reached = Reached::Merging;
        return into_original(core, item, job, &point).await;
    }
    onto_new(core, item, job, &point).await
}

/// After a failover that failed: whoever served goes on serving, once it is sure that the target does not (LC-10).
async fn serve_on(core: &Inner, item: &Item, back: bool) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let (site, machine) = record.on(record.protection.active);
    let down = if back {
        let (site, machine) = &record.primary;
        match core.platform(site)?.power_off(machine).await {
            // It was still to be made.
            Err(error) if error.kind == PlatformErrorKind::NotFound => Ok(()),
            done => done.map_err(CoreError::from),
        }
    } else {
        remove_target(&core.platform(&record.recovery.0)?, &record).await
    };
    if record.served && (down.is_ok() || !record.starting) {
        target::start(core, site, machine).await?;
        core.update(item, |record| record.served = false).await?;
    }
    down?;
    core.update(item, |record| {
        record.starting = false;
        if !back {
            record.built.clear();
        }
    })
    .await
}

/// What can be tried again stays protected; after a cancellation (FO-12), or with disks half merged, replication does
/// not come back by itself.
async fn settle(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    error: &CoreError,
    reached: Reached,
) -> Result<(), CoreError> {
    if error.code == ErrorCode::Cancelled || reached == Reached::Merging {
        return core
            .update(item, |record| {
                record.protection.phase = Phase::Stopped;
                record.merging = None;
            })
            .await;
    }
    core.start_engine(item).await;
    Ok(())
}

/// Everything up to the choice of point: the source's end, the last transfer, the processing.
async fn prepare(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    back: bool,
) -> Result<RecoveryPoint, CoreError> {
    // A planned failover is refused without a shutdown (PF-04), and a failback never leaves both sides running
    // (LC-10): there the shutdown is no option.
    let shutdown = shut_down_source(core, item, request);
    let must = back || request.kind == FailoverKind::Planned;
    let is_down = match (must, request.shut_down_source) {
        (true, _) => job.step("shut down source", shutdown).await.map(|()| true)?,
        (false, true) => job.try_step("shut down source", shutdown).await?,
        (false, false) => false,
    };
    job.step("stop replication", async {
        core.stop_engine(item).await;
        Ok(())
    })
    .await?;
    if is_down {
        let last = async { transfer_once(core, item).await.map(drop) };
        if must {
            job.step("transfer last changes", last).await?;
        } else {
            job.try_step("transfer last changes", last).await?;
        }
    }
    if request.point == PointChoice::Latest {
        job.step("process received data", async {
            let made = process_all(core, item).await?;
            job.note(&format!("{made} transfers were waiting"))
        })
        .await?;
    }
    thinning::finish(core, item).await?;
    choose(core, &*item.record.lock().await, &request.point)
}

/// Shuts the machine down that serves, and notes first that it did: it has to go on if the failover fails.
pub(crate) async fn shut_down_source(
    core: &Inner,
    item: &Item,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let (site, machine) = {
        let record = item.record.lock().await;
        record.on(record.protection.active).clone()
    };
    let platform = core.platform(&site)?;
    let failed = |error: PlatformError| CoreError::new(ErrorCode::ShutdownFailed, error.to_string());
    if platform.machine(&machine).await.map_err(failed)?.power == PowerState::On {
        core.update(item, |record| record.served = true).await?;
    }
    let done = platform.shut_down(&machine, request.shutdown_within).await;
    done.map_err(failed)
}

/// Out: a new machine on deltas over the point, so that nothing is copied and the point stays as it is.
async fn onto_new(core: &Inner, item: &Item, job: &Job, point: &RecoveryPoint) -> Result<(), CoreError> {
    let leftover = item.record.lock().await.clone();
    if !leftover.built.is_empty() {
        let platform = core.platform(&leftover.recovery.0)?;
        job.step("remove half-built target", remove_target(&platform, &leftover)).await?;
    }
    core.update(item, |record| record.starting = false).await?;
    let disks = name_disks(core, item, point, "run", |record, disks| record.built = disks).await?;
    job.step("build target disks", derive_disks(core, item, point, &disks)).await?;
    hydrate_if_due(core, item, job, &disks).await?;
    let machine = item.record.lock().await.recovery.1.clone();
    let network = item.record.lock().await.target.network.unwrap_or(Network::Production);
    let created = create_machine(core, item, &machine, &disks, network);
    let made = job.step("create target machine", created).await?;
    core.update(item, |record| record.group_there = made.placement.resource_group).await?;
    finish(core, item, job, &point.id, Side::Recovery, disks).await
}

/// Back: the points are merged into the original machine's own disks.
async fn into_original(core: &Inner, item: &Item, job: &Job, point: &RecoveryPoint) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = core.platform(&record.primary.0)?;
    job.step("merge into original disks", async {
        let newer: Vec<_> = replica.points.iter().skip_while(|p| p.id != point.id).skip(1).cloned().collect();
        delete_unfinished(&platform, &item.id, replica).await?;
        delete_points(&platform, &newer, &replica.base).await?;
        for ((_, top), (_, base)) in point.volumes.iter().zip(&replica.base) {
            platform.merge_volumes(top, base).await?;
        }
        Ok(())
    })
    .await?;
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    if place::changes_platform(core, item).await? {
        let (site, machine) = &record.primary;
        let disks = core.platform(site)?.machine(machine).await?.disks;
        let disks: Volumes = disks.into_iter().map(|disk| (disk.id, disk.volume)).collect();
        hydrate(core, job, site, &disks, "it comes back to another platform").await?;
    }
    finish(core, item, job, &point.id, Side::Primary, record.built.clone()).await
}

/// Starts the target, then the item changes sides.
async fn finish(
    core: &Inner,
    item: &Item,
    job: &Job,
    point: &PointId,
    to: Side,
    built: Volumes,
) -> Result<(), CoreError> {
    let (site, machine) = item.record.lock().await.on(to).clone();
    core.update(item, |record| record.starting = true).await?;
    job.step("start target machine", target::start(core, &site, &machine)).await?;
    core.update(item, |record| {
        record.protection.phase = Phase::CommitPending;
        record.protection.active = to;
        record.failed_over_to = Some(point.clone());
        record.merging = None;
        record.route = None;
        if to == Side::Primary {
            // It serves from here on.
            record.placed = None;
        }
        record.built = built;
        (record.served, record.starting) = (false, false);
        record.trouble = None;
    })
    .await
}

/// Builds the target again from another point (FO-02).
pub(crate) async fn change_point(
    core: &Arc<Inner>,
    item: &ItemId,
    choice: &PointChoice,
) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::ChangePoint(choice.clone())).await
}

pub(crate) fn check_change(
    core: &Inner,
    record: &Record,
    choice: &PointChoice,
) -> Result<Direction, CoreError> {
    core.check(record, Operation::ChangePoint)?;
    if record.committing {
        let text = format!("a commit of {} has begun; commit it again", record.id);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    choose(core, record, choice)?;
    Ok(Direction::from_side(record.protection.active.other()))
}

pub(crate) async fn rebuild(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    choice: &PointChoice,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let point = choose(core, &record, choice)?;
    let platform = core.platform(&record.recovery.0)?;
    job.step("remove target machine", remove_target(&platform, &record)).await?;
    // Until there is another machine nothing can be committed.
    core.update(item, |record| {
        record.built.clear();
        record.failed_over_to = None;
    })
    .await?;
    onto_new(core, item, job, &point).await
}
