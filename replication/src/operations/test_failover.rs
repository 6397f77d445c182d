//! Test failover: an isolated copy of the machine, while replication goes on (TF-01 to TF-08).

use std::sync::Arc;

use contract::{
    CoreError, Direction, ErrorCode, MachineId, Network, Operation, PointChoice, RecoveryPoint, Step,
    TestFailoverRequest,
};

use crate::context::Context;
use crate::item::Item;
use crate::jobs::job::Job;
use crate::operations::allowed::check_state;
use crate::operations::target::{self, adapt_disks, create_machine, derive_disks, is_ours, name_disks};
use crate::points::choose;
use crate::processor::process_received;
use crate::retention;
use crate::state::{Record, TestFailoverCopy, Volumes};

/// Whether a test failover can be performed. Returns the direction of replication.
pub(crate) fn check(
    ctx: &Context,
    record: &Record,
    request: &TestFailoverRequest,
) -> Result<Direction, CoreError> {
    if request.network == Network::Production {
        let text = "a test failover needs an isolated network";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    check_state(record, Operation::TestFailover)?;
    if let Some(test_failover) = &record.test_failover {
        let text = format!("test failover {} still exists; clean it up first", test_failover.machine);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    choose(ctx, record, &request.point)?;
    Ok(Direction::from_side(record.protection.active))
}

/// Performs a test failover. If it fails, removes what it has built; the machine stays protected.
pub(crate) async fn perform(
    ctx: &Arc<Context>,
    item: &Arc<Item>,
    job: &Job,
    request: &TestFailoverRequest,
) -> Result<(), CoreError> {
    // The job may have built something before a restart of the core.
    remove(ctx, item).await?;
    let result = build(ctx, item, job, request).await;
    if result.is_err() {
        remove(ctx, item).await?;
    }
    result
}

async fn build(
    ctx: &Arc<Context>,
    item: &Item,
    job: &Job,
    request: &TestFailoverRequest,
) -> Result<(), CoreError> {
    if request.point == PointChoice::Latest {
        job.step(Step::PROCESS_RECEIVED, process_received(ctx, item)).await?;
    }
    let (point, machine, disks) = reserve(ctx, item, request).await?;
    job.step("build target disks", derive_disks(ctx, item, &point, &disks)).await?;
    adapt_disks(ctx, item, job, &disks).await?;
    let created = create_machine(ctx, item, &machine, &disks, request.network);
    job.step("create target machine", created).await?;
    let site = item.record.lock().await.recovery.0.clone();
    job.step("start target machine", target::start(ctx, &site, &machine)).await
}

/// Chooses the point and records the test failover while no point can be merged away. From then on
/// the point is kept as long as the test failover exists, and everything that is built is cleaned
/// up after a failure.
async fn reserve(
    ctx: &Context,
    item: &Item,
    request: &TestFailoverRequest,
) -> Result<(RecoveryPoint, MachineId, Volumes), CoreError> {
    let merges =
        item.record.lock().await.replica.as_ref().is_some_and(|replica| replica.pending_merge.is_some());
    // No point is made over those that are merged.
    let _no_point = if merges { Some(item.processing.lock().await) } else { None };
    let _no_merge = item.merging.lock().await;
    retention::finish_merge(ctx, item).await?;
    let (point, machine) = {
        let record = item.record.lock().await;
        let point = choose(ctx, &record, &request.point)?;
        (point, ctx.test_machine(&record.recovery.1))
    };
    let record_names = |record: &mut Record, disks| {
        record.test_failover =
            Some(TestFailoverCopy { machine: machine.clone(), point: point.id.clone(), disks });
    };
    let disks = name_disks(ctx, item, &point, "test", record_names).await?;
    Ok((point, machine, disks))
}

/// Whether there is a test failover to clean up. Returns the direction of replication.
pub(crate) fn check_clean_up(record: &Record) -> Result<Direction, CoreError> {
    check_state(record, Operation::TestFailoverCleanup)?;
    if record.test_failover.is_none() {
        return Err(CoreError::new(ErrorCode::NotAllowedInState, "there is no test failover to clean up"));
    }
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn clean_up(ctx: &Arc<Context>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    job.step("remove test machine", remove(ctx, item)).await?;
    // A test failover counts as performed only after its clean-up (EX-M2).
    ctx.update(item, |record| record.test_failover_performed = true).await
}

/// Removes everything that a test failover has built, if there is one.
pub(super) async fn remove(ctx: &Context, item: &Item) -> Result<(), CoreError> {
    let (site, test_failover) = {
        let record = item.record.lock().await;
        (record.recovery.0.clone(), record.test_failover.clone())
    };
    let Some(test_failover) = test_failover else { return Ok(()) };
    let platform = ctx.platform(&site)?;
    if is_ours(&platform, &test_failover.machine, &test_failover.disks).await? {
        platform.power_off(&test_failover.machine).await?;
        platform.delete_machine(&test_failover.machine).await?;
    }
    for (_, volume) in &test_failover.disks {
        platform.delete_volume(volume).await?;
    }
    ctx.update(item, |record| record.test_failover = None).await
}
