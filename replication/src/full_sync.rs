//! Full synchronisation: the pass with which replication in a direction begins.

use std::sync::Arc;

use contract::{
    Access, Acknowledge, Bytes, Consistency, CoreError, DiskSnapshot, Phase, Platform, RecoveryPoint,
    SnapshotDisk,
};

use crate::bulk_copy::{self, Manner};
use crate::context::Context;
use crate::error::not_replicating;
use crate::exports::open_all;
use crate::fault_hook::{Flushes, GRAIN};
use crate::item::Item;
use crate::jobs::job::Job;
use crate::receive::other_disks;
use crate::state::Volumes;
use crate::transfer::{Source, blocking};

/// Makes the replica's base equal to a snapshot of the source and records it as the first recovery
/// point, with which the item becomes protected. Returns the number of bytes written.
pub(crate) async fn synchronise(ctx: &Context, item: &Item, job: &Job) -> Result<u64, CoreError> {
    let (source, machine, target, base) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let (site, machine) = record.on(replica.side.other()).clone();
        let target = ctx.platform(&record.on(replica.side).0)?;
        (ctx.platform(&site)?, machine, target, replica.base.clone())
    };
    let snapshot = source.open_snapshot(&machine, None).await?;
    let manner = Manner { flushes: ctx.flushes() != Flushes::None, clears: ctx.clears_target() };
    let copied = if snapshot.disks.len() == base.len() {
        copy_snapshot(&target, &snapshot, &base, manner, job).await
    } else {
        Err(other_disks(&snapshot, base.len()))
    };
    let acknowledge = if copied.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = source.close_snapshot(&snapshot.id, acknowledge).await;
    let bytes = copied?;
    closed?;
    record_first_point(ctx, item, &snapshot, &base, bytes).await?;
    Ok(bytes)
}

async fn copy_snapshot(
    target: &Arc<dyn Platform>,
    snapshot: &DiskSnapshot,
    base: &Volumes,
    manner: Manner,
    job: &Job,
) -> Result<u64, CoreError> {
    let total = snapshot.disks.iter().map(|disk| disk.size.0).sum();
    let opened = open_all(target, base, Some(Access::Write)).await?;
    let disks = snapshot.disks.iter().zip(opened.uris());
    let source = |(disk, against): (&SnapshotDisk, String)| Source {
        uri: disk.uri.clone(),
        changed: None,
        against,
        grain: GRAIN,
    };
    let disks: Vec<_> = disks.map(source).collect();
    let job = job.clone();
    let copied = blocking(move || bulk_copy::copy(&disks, manner, &|done| job.progress(done, total))).await;
    opened.close(copied).await
}

async fn record_first_point(
    ctx: &Context,
    item: &Item,
    snapshot: &DiskSnapshot,
    base: &Volumes,
    bytes: u64,
) -> Result<(), CoreError> {
    let id = match &item.record.lock().await.replica {
        Some(replica) => replica.point_id(&item.id, 1),
        None => return Err(not_replicating()),
    };
    let point = RecoveryPoint {
        id,
        time: snapshot.taken_at,
        consistency: Consistency::Crash,
        processed: true,
        multi_vm: None,
        change_id: snapshot.change_id.clone(),
        transferred: Bytes(bytes),
        volumes: base.clone(),
    };
    ctx.update(item, |record| {
        record.protection.phase = Phase::Protected;
        if let Some(replica) = &mut record.replica {
            replica.received = Some(snapshot.change_id.clone());
            replica.sizes = snapshot.disks.iter().map(|disk| disk.size).collect();
            replica.disks = snapshot.disks.iter().map(|disk| disk.id.clone()).collect();
            replica.received_count = 1;
            replica.processed_count = 1;
            replica.points.push(point);
        }
    })
    .await
}
