//! Failover in both directions.

use std::sync::Arc;

use contract::{
    CoreError, Direction, ErrorCode, FailoverKind, FailoverRequest, Operation, Phase, PointChoice,
    RecoveryPoint, Side, Step,
};

use crate::context::Context;
use crate::error::not_replicating;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::{failback_target, hyperv_failback, source, target, test_failover};
use crate::points::{choose, choose_as_of};
use crate::processor::process_all;
use crate::receive::transfer_one;
use crate::state::{Progress, Record, Volumes};
use crate::table::Pair;
use crate::{point_volumes, replication_tasks, retention};

/// Whether a request can be executed in the item's state. Returns the direction of the failover.
pub(crate) fn check(
    ctx: &Context,
    record: &Record,
    request: &FailoverRequest,
) -> Result<Direction, CoreError> {
    let direction = Direction::from_side(record.protection.active);
    let operation = match request.kind {
        FailoverKind::Unplanned => Operation::UnplannedFailover,
        FailoverKind::Planned => Operation::PlannedFailover,
    };
    check_state(record, operation)?;
    if request.direction != direction {
        let text = format!("{} fails over {direction:?}, not {:?}", record.id, request.direction);
        return Err(CoreError::new(ErrorCode::WrongDirection, text));
    }
    if is_hyperv_failback(record) {
        hyperv_failback::check(request)?;
        return Ok(direction);
    }
    if request.data_sync.is_some() {
        let text = "`data_sync` is only for a failback to Hyper-V; leave it out";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    if request.kind == FailoverKind::Planned && request.point != PointChoice::Latest {
        let text = "a planned failover always uses the latest point (PF-05)";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    choose(ctx, record, &request.point)?;
    Ok(direction)
}

fn is_hyperv_failback(record: &Record) -> bool {
    record.pair == Pair::HyperV && record.protection.active == Side::Recovery
}

/// Performs a failover. If it fails, restores the state before it as far as possible.
pub(crate) async fn perform(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
) -> Result<(), CoreError> {
    let is_hyperv_failback = is_hyperv_failback(&*item.record.lock().await);
    let is_failback = request.direction == Direction::RecoveryToPrimary;
    let mut failure_point = FailurePoint::BeforeMerge;
    let result = if is_hyperv_failback {
        hyperv_failback::perform(ctx, item, job, request).await
    } else {
        attempt(ctx, item, job, request, &mut failure_point).await
    };
    let Err(error) = result else { return Ok(()) };
    // If the job was cancelled, that counts as the reason, whatever failed: replication must not
    // start again (FO-12).
    let error = job.checkpoint().err().unwrap_or(error);
    replication_tasks::stop(item).await;
    ctx.update(item, |record| record.progress.interrupt_data_sync()).await?;
    let restored = source::restart_after_failure(ctx, item, is_failback).await;
    if !is_hyperv_failback {
        settle(ctx, item, &error, failure_point).await?;
    }
    match restored {
        Ok(()) => Err(error),
        Err(more) => {
            Err(CoreError::new(error.code, format!("{error}; restoring the machines failed too: {more}")))
        }
    }
}

/// How far a failover had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailurePoint {
    /// Everything that it created can be removed again.
    BeforeMerge,
    /// The original disks are partly merged.
    DuringMerge,
}

async fn attempt(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    failure_point: &mut FailurePoint,
) -> Result<(), CoreError> {
    let before = item.record.lock().await.clone();
    if before.test_failover.is_some() {
        job.step("clean up test failover", test_failover::remove(ctx, item)).await?;
    }
    // A merge that had begun before a restart is continued.
    if let Progress::Merging { point, .. } = &before.progress {
        *failure_point = FailurePoint::DuringMerge;
        return merge_into_original(ctx, item, job, point).await;
    }
    let is_failback = request.direction == Direction::RecoveryToPrimary;
    let point = prepare(ctx, item, job, request, is_failback).await?;
    if is_failback {
        failback_target::reattach_disks(ctx, item, job).await?;
        job.checkpoint()?;
        ctx.update(item, |record| record.progress.begin_merge(point.clone())).await?;
        *failure_point = FailurePoint::DuringMerge;
        return merge_into_original(ctx, item, job, &point).await;
    }
    target::build_and_switch(ctx, item, job, &point).await
}

/// After a failed failover: replication starts again, so that the failover can be retried. After a
/// cancellation (FO-12), or with partly merged disks, the item stops instead.
async fn settle(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    error: &CoreError,
    failure_point: FailurePoint,
) -> Result<(), CoreError> {
    if error.code == ErrorCode::Cancelled || failure_point == FailurePoint::DuringMerge {
        return ctx
            .update(item, |record| {
                record.protection.phase = Phase::Stopped;
                record.progress.abandon_merge();
            })
            .await;
    }
    replication_tasks::start(ctx, item).await;
    Ok(())
}

/// Shuts down the source, stops replication, transfers and processes what is left, and chooses the
/// point.
async fn prepare(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: &FailoverRequest,
    is_failback: bool,
) -> Result<RecoveryPoint, CoreError> {
    // A planned failover requires the shutdown (PF-04), and so does a failback, because it must
    // never leave both sides running (LC-10).
    let required = is_failback || request.kind == FailoverKind::Planned;
    let received = item.record.lock().await.replica.as_ref().map_or(0, |replica| replica.received_count);
    let shutdown = source::shut_down(ctx, item, request);
    let is_down = match (required, request.shut_down_source) {
        (true, _) => job.step(Step::SHUT_DOWN_SOURCE, shutdown).await.map(|()| true)?,
        (false, true) => job.try_step(Step::SHUT_DOWN_SOURCE, shutdown).await?,
        (false, false) => false,
    };
    job.step("stop replication", async {
        replication_tasks::stop(item).await;
        Ok(())
    })
    .await?;
    if is_down {
        let last = async { transfer_one(ctx, item).await.map(drop) };
        if required {
            job.step("transfer last changes", last).await?;
        } else {
            job.try_step("transfer last changes", last).await?;
        }
    }
    if request.point == PointChoice::Latest {
        job.step(Step::PROCESS_RECEIVED, async {
            let created = process_all(ctx, item).await?;
            job.note(&format!("{created} transfers were waiting"))
        })
        .await?;
    }
    retention::finish_merge(ctx, item).await?;
    let mut record = item.record.lock().await.clone();
    if request.point == PointChoice::Latest && !required && !request.shut_down_source {
        leave_out_later(&mut record, received);
    }
    choose_as_of(ctx, &record, &request.point, job.read(|view| view.started))
}

/// Leaves out the points of transfers that were on their way when the failover was asked for: their
/// data was not received then (RP-03). They are the last ones: dates may be those of a clock that
/// differs. `received` transfers were there.
fn leave_out_later(record: &mut Record, received: u64) {
    if let Some(replica) = &mut record.replica {
        let later = replica.processed_count.saturating_sub(received) as usize;
        replica.points.truncate(replica.points.len().saturating_sub(later));
    }
}

/// Merges the points up to the chosen one into the original machine's disks, starts it and makes
/// the primary side active.
async fn merge_into_original(
    ctx: &Context,
    item: &Item,
    job: &Job,
    point: &RecoveryPoint,
) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let platform = ctx.platform(&record.primary.0)?;
    let merged = point_volumes::merge_into_base(&platform, &item.id, replica, point);
    job.step("merge into original disks", merged).await?;
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.points.clear();
            replica.landed.clear();
        }
    })
    .await?;
    let (site, machine) = &record.primary;
    let changes_platform = failback_target::changes_platform(ctx, item).await?;
    if changes_platform || record.tools_started.is_some() {
        let disks = platform.machine(machine).await?.disks;
        let disks: Volumes = disks.into_iter().map(|disk| (disk.id, disk.volume)).collect();
        if changes_platform {
            let disks = (record.source_identity.os, &disks);
            target::hydrate(ctx, job, site, disks, "the machine fails back to another platform").await?;
        }
        let has_tools = platform.site().await?.kind.profile().vmware_tools;
        if let Some(started) = record.tools_started.filter(|_| has_tools) {
            target::enable_tools(ctx, job, site, &disks, started).await?;
        }
    }
    target::start_and_switch(ctx, item, job, &point.id, Side::Primary, record.built.clone()).await
}
