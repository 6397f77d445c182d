//! The processor: turns landed transfers into recovery points.

use std::path::PathBuf;

use contract::{Access, CoreError};

use crate::context::Context;
use crate::disk_writers::DiskWriters;
use crate::exports::open_all;
use crate::item::Item;
use crate::landing_log::{self, Reader};
use crate::point_volumes::PointBuild;
use crate::retention;
use crate::state::Landed;
use crate::transfer::blocking;

/// Processes every landed transfer, then applies retention. Returns the number of points created.
pub(crate) async fn process_all(ctx: &Context, item: &Item) -> Result<u64, CoreError> {
    let _one_at_a_time = item.processing.lock().await;
    let mut created = 0;
    loop {
        let next = {
            let record = item.record.lock().await;
            record.replica.as_ref().and_then(|replica| replica.landed.first().cloned())
        };
        let Some(landed) = next else { break };
        process_one(ctx, item, &landed).await?;
        created += 1;
    }
    let _one_at_a_time = item.merging.lock().await;
    retention::apply(ctx, item).await?;
    Ok(created)
}

/// Processes what had been received when it is called. Does not wait for a transfer on its way.
pub(crate) async fn process_received(ctx: &Context, item: &Item) -> Result<(), CoreError> {
    let waits = item.record.lock().await.replica.as_ref().is_some_and(|replica| !replica.landed.is_empty());
    if waits { process_all(ctx, item).await.map(drop) } else { Ok(()) }
}

async fn process_one(ctx: &Context, item: &Item, landed: &Landed) -> Result<(), CoreError> {
    let build = PointBuild::plan(ctx, &*item.record.lock().await, landed.number)?;
    let path = landing_log::path(&ctx.landing_dir(&item.id), landed.number);
    let built = async {
        build.create().await?;
        apply(&build, path.clone(), landed.number, ctx).await
    };
    if let Err(error) = built.await {
        build.delete().await?;
        return Err(error);
    }
    let point = build.into_point(landed.clone());
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.landed.retain(|other| other.number != landed.number);
            replica.add_processed(point);
        }
    })
    .await?;
    // The point is stored, so the transfer's file is no longer needed.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// Writes a transfer into the volumes of a new point.
async fn apply(build: &PointBuild, path: PathBuf, batch: u64, ctx: &Context) -> Result<(), CoreError> {
    let opened = open_all(&build.platform, &build.volumes, Some(Access::Write)).await?;
    let uris = opened.uris();
    let (fault_hook, flushes) = (ctx.fault_hook(), ctx.flushes());
    let written = blocking(move || {
        let mut disks = DiskWriters::connect(&uris, flushes, fault_hook.is_none())?;
        let mut reader = Reader::open(&path)?;
        while let Some(mut extent) = reader.next()? {
            if fault_hook.as_ref().is_some_and(|hook| !hook.pass(batch, &mut extent)) {
                continue;
            }
            disks.write(extent.disk, extent.offset, &extent.data)?;
        }
        disks.flush()?;
        disks.check()
    })
    .await;
    opened.close(written).await
}
