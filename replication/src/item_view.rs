//! An item as the core shows it.

use contract::{
    Bytes, CoreError, Health, ItemView, Operation, Phase, Policy, RecoveryPoint, TestFailoverStatus,
    Timestamp,
};

use crate::context::Context;
use crate::item::Item;
use crate::points;
use crate::resync;
use crate::state::{Landed, Record, Replica};

/// The current view of an item.
pub(crate) async fn show(ctx: &Context, item: &Item) -> Result<ItemView, CoreError> {
    let record = item.record.lock().await.clone();
    let policy = ctx.policies.in_force(&record)?;
    let now = ctx.now();
    let warning = warning(&record, &policy.policy, now);
    let job = item.job();
    let allowed = if job.is_some() { Vec::new() } else { allowed(&record) };
    Ok(ItemView {
        health: health(&record, warning.is_some()),
        test_failover_status: test_failover_status(&record),
        test_failover: record.test_failover.as_ref().map(|test_failover| test_failover.machine.clone()),
        synchronisation_incomplete: record.progress.is_data_sync_incomplete(),
        points: listed_points(&record, &policy.policy, now),
        trouble: record.replication_error.or(warning).unwrap_or_default(),
        id: record.id,
        protection: record.protection,
        primary: record.primary,
        recovery: record.recovery,
        allowed,
        job,
        policy,
        group: record.group,
        failed_over_to: record.failed_over_to,
        target: record.target,
        issues: record.issues,
        verification: record.replica.as_ref().and_then(|replica| replica.verified),
        resynchronisations: record.replica.map(|replica| replica.resynchronised).unwrap_or_default(),
    })
}

/// Points that can be chosen, then transfers that are not processed yet.
fn listed_points(record: &Record, policy: &Policy, now: Timestamp) -> Vec<RecoveryPoint> {
    let Some(replica) = &record.replica else { return Vec::new() };
    let unprocessed = |landed: &Landed| RecoveryPoint {
        id: landed.point_id(&record.id),
        time: landed.time,
        consistency: landed.consistency,
        processed: false,
        multi_vm: landed.multi_vm.clone(),
        change_id: landed.change.clone(),
        transferred: Bytes(landed.bytes),
        volumes: Vec::new(),
    };
    points::available(replica, policy, now).chain(replica.landed.iter().map(unprocessed)).collect()
}

fn test_failover_status(record: &Record) -> TestFailoverStatus {
    match record.pair.find(record.protection, Operation::TestFailover) {
        Some(_) if record.test_failover_performed => TestFailoverStatus::Performed,
        Some(_) => TestFailoverStatus::Recommended,
        None => TestFailoverStatus::NotApplicable,
    }
}

fn health(record: &Record, has_warning: bool) -> Health {
    if record.progress.is_data_sync_incomplete() {
        return Health::Critical;
    }
    match (record.protection.phase, &record.replication_error) {
        (Phase::CommitPending | Phase::Committed, _) => Health::NotApplicable,
        (Phase::Stopped, _) | (_, Some(_)) => Health::Critical,
        (Phase::InitialReplication | Phase::Protected, None) if has_warning => Health::Warning,
        (Phase::InitialReplication | Phase::Protected, None) => Health::Healthy,
    }
}

/// What is wrong although replication works: data older than the policy's threshold (MO-01), a
/// resynchronisation, or guests that could not be quiesced.
fn warning(record: &Record, policy: &Policy, now: Timestamp) -> Option<String> {
    let received = record.replica.as_ref().and_then(Replica::received_at);
    // What has received nothing yet is as old as its replication.
    let is_first = record.protection.phase == Phase::InitialReplication;
    let since = received.or(record.replicating_since.filter(|_| is_first));
    let age = since.map(|since| now.since(since)).filter(|age| *age > policy.rpo_threshold);
    let what = if received.is_some() { "the newest data is" } else { "nothing has been received for" };
    let old = if received.is_some() { " old" } else { "" };
    let behind = age.map(|age| format!("{what} {age}{old}; the threshold is {}", policy.rpo_threshold));
    let resync = record.replica.as_ref().and_then(|replica| replica.resynchronising).map(resync::message);
    behind.or(resync).or_else(|| record.quiesce_warning.clone())
}

/// Operations that can be requested of an item without a job.
fn allowed(record: &Record) -> Vec<Operation> {
    let mut allowed = record.pair.allowed(record.protection);
    // These two are requests to a running job.
    allowed.retain(|op| !matches!(op, Operation::CompleteFailover | Operation::CancelFailover));
    let inapplicable =
        if record.test_failover.is_some() { Operation::TestFailover } else { Operation::TestFailoverCleanup };
    allowed.retain(|op| *op != inapplicable);
    allowed.retain(|op| *op != Operation::ChangePoint || !record.progress.is_committing());
    // A replication group is reprotected as a whole, by a plan (EX-R13).
    allowed.retain(|op| *op != Operation::Reprotect || record.group.is_none());
    allowed
}
