//! Test failover: a separate copy in an isolated network, while replication goes on (TF-01 to TF-08).

use std::sync::Arc;

use contract::{
    CoreError, Direction, ErrorCode, ItemId, JobId, MachineId, Network, Operation, RecoveryPoint,
    TestFailoverRequest,
};

use crate::core::Inner;
use crate::item::{Item, Record, TestFailoverCopy, Volumes};
use crate::jobs::Job;
use crate::order::Order;
use crate::points::choose;
use crate::processor::process_all;
use crate::target::{
    create_machine, derive_disks, hydrate_if_due, is_ours, name_disks, start as start_machine,
};
use crate::thinning;

pub(crate) async fn start(core: &Arc<Inner>, request: &TestFailoverRequest) -> Result<JobId, CoreError> {
    let item = core.find(&request.item).await?;
    core.run(&item, Order::TestFailover(request.clone())).await
}

pub(crate) fn check(
    core: &Inner,
    record: &Record,
    request: &TestFailoverRequest,
) -> Result<Direction, CoreError> {
    if request.network == Network::Production {
        let text = "a test failover needs a network that is used for nothing else";
        return Err(CoreError::new(ErrorCode::BadRequest, text));
    }
    core.check(record, Operation::TestFailover)?;
    if let Some(test_failover) = &record.test_failover {
        let text = format!("test failover {} runs already; clean it up first", test_failover.machine);
        return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
    }
    choose(core, record, &request.point)?;
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn hold(
    core: &Arc<Inner>,
    item: &Arc<Item>,
    job: &Job,
    request: &TestFailoverRequest,
) -> Result<(), CoreError> {
    // What the core had built when it was stopped.
    remove(core, item).await?;
    let result = build(core, item, job, request).await;
    if result.is_err() {
        // What was built so far is taken down again; the machine stays protected as it was.
        remove(core, item).await?;
    }
    result
}

async fn build(
    core: &Arc<Inner>,
    item: &Item,
    job: &Job,
    request: &TestFailoverRequest,
) -> Result<(), CoreError> {
    if request.point == contract::PointChoice::Latest {
        job.step("process received data", async { process_all(core, item).await.map(drop) }).await?;
    }
    let (point, machine, disks) = reserve(core, item, request).await?;
    job.step("build target disks", derive_disks(core, item, &point, &disks)).await?;
    hydrate_if_due(core, item, job, &disks).await?;
    let created = create_machine(core, item, &machine, &disks, request.network);
    job.step("create target machine", created).await?;
    let site = item.record.lock().await.recovery.0.clone();
    job.step("start target machine", start_machine(core, &site, &machine)).await
}

/// Chooses the point and notes the test failover before anything of it is built, while no point can be merged away: so
/// that whatever breaks off is cleaned up, and the point stays as long as the test failover.
async fn reserve(
    core: &Inner,
    item: &Item,
    request: &TestFailoverRequest,
) -> Result<(RecoveryPoint, MachineId, Volumes), CoreError> {
    let _no_merge = item.processing.lock().await;
    thinning::finish(core, item).await?;
    let (point, machine) = {
        let record = item.record.lock().await;
        let point = choose(core, &record, &request.point)?;
        (point, MachineId(format!("{}-test", record.recovery.1)))
    };
    let note = |record: &mut Record, disks| {
        record.test_failover =
            Some(TestFailoverCopy { machine: machine.clone(), point: point.id.clone(), disks });
    };
    let disks = name_disks(core, item, &point, "test", note).await?;
    Ok((point, machine, disks))
}

pub(crate) async fn clean_up(core: &Arc<Inner>, item: &ItemId) -> Result<JobId, CoreError> {
    let item = core.find(item).await?;
    core.run(&item, Order::TestFailoverCleanup).await
}

pub(crate) fn check_clean_up(core: &Inner, record: &Record) -> Result<Direction, CoreError> {
    core.check(record, Operation::TestFailoverCleanup)?;
    if record.test_failover.is_none() {
        return Err(CoreError::new(ErrorCode::NotAllowedInState, "there is no test failover to clean up"));
    }
    Ok(Direction::from_side(record.protection.active))
}

pub(crate) async fn dismantle(core: &Arc<Inner>, item: &Arc<Item>, job: &Job) -> Result<(), CoreError> {
    job.step("remove test machine", remove(core, item)).await?;
    // A test failover counts only once it has been cleaned up (EX-M2).
    core.update(item, |record| record.test_failover_performed = true).await
}

/// Removes everything a test failover made; nothing if there is none.
pub(crate) async fn remove(core: &Inner, item: &Item) -> Result<(), CoreError> {
    let (site, test_failover) = {
        let record = item.record.lock().await;
        (record.recovery.0.clone(), record.test_failover.clone())
    };
    let Some(test_failover) = test_failover else { return Ok(()) };
    let platform = core.platform(&site)?;
    if is_ours(&platform, &test_failover.machine, &test_failover.disks).await? {
        platform.power_off(&test_failover.machine).await?;
        platform.delete_machine(&test_failover.machine).await?;
    }
    for (_, volume) in &test_failover.disks {
        platform.delete_volume(volume).await?;
    }
    core.update(item, |record| record.test_failover = None).await
}
