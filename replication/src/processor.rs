//! The processor: turns landed transfers into recovery points.

use std::path::PathBuf;
use std::sync::Arc;

use contract::{Access, Bytes, CoreError, ErrorCode, Platform, RecoveryPoint};
use nbd::Client;

use crate::context::Context;
use crate::error::not_replicating;
use crate::exports::open_all;
use crate::fault_hook::{Extent, Flushes};
use crate::item::Item;
use crate::landing_log::{self, Reader};
use crate::state::{Landed, Volumes};
use crate::transfer::{blocking, nbd_error, write};
use crate::{point_volumes, retention};

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
    retention::apply(ctx, item).await?;
    Ok(created)
}

async fn process_one(ctx: &Context, item: &Item, landed: &Landed) -> Result<(), CoreError> {
    let (platform, head, names, id) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        (
            ctx.platform(&record.on(replica.side).0)?,
            replica.head().clone(),
            point_volumes::names(&item.id, replica, landed.number),
            replica.point_id(&item.id, landed.number),
        )
    };
    let path = landing_log::path(&ctx.landing_dir(&item.id), landed.number);
    let volumes: Volumes = head.iter().map(|(disk, _)| disk.clone()).zip(names).collect();
    let built = async {
        for ((_, below), (_, name)) in head.iter().zip(&volumes) {
            platform.delete_volume(name).await?;
            platform.derive_volume(name, below).await?;
        }
        apply(&platform, path.clone(), &volumes, landed.number, ctx).await
    };
    if let Err(error) = built.await {
        // An incomplete point is of no use; the next attempt creates its volumes again.
        for (_, volume) in &volumes {
            platform.delete_volume(volume).await?;
        }
        return Err(error);
    }
    let point = RecoveryPoint {
        id,
        time: landed.time,
        consistency: landed.consistency,
        processed: true,
        multi_vm: landed.multi_vm.clone(),
        change_id: landed.change.clone(),
        transferred: Bytes(landed.bytes),
        volumes,
    };
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.landed.retain(|other| other.number != landed.number);
            replica.points.push(point);
            replica.processed_count += 1;
        }
    })
    .await?;
    // The point is stored, so the transfer's file is no longer needed.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// Writes a transfer into the volumes of a new point.
async fn apply(
    platform: &Arc<dyn Platform>,
    path: PathBuf,
    volumes: &Volumes,
    batch: u64,
    ctx: &Context,
) -> Result<(), CoreError> {
    let opened = open_all(platform, volumes, Some(Access::Write)).await?;
    let uris = opened.uris();
    let (fault_hook, flushes) = (ctx.fault_hook(), ctx.flushes());
    let written = blocking(move || {
        let mut disks = DiskWriters::connect(&uris, flushes)?;
        let mut reader = Reader::open(&path)?;
        while let Some(mut extent) = reader.next()? {
            if fault_hook.as_ref().is_some_and(|hook| !hook.pass(batch, &mut extent)) {
                continue;
            }
            disks.write(&extent)?;
        }
        disks.flush()
    })
    .await;
    opened.close(written).await
}

/// Connections to the disks of a new point.
struct DiskWriters {
    /// Those of each disk.
    clients: Vec<Vec<Client>>,
    flushes: Flushes,
    written: usize,
}

impl DiskWriters {
    fn connect(uris: &[String], flushes: Flushes) -> Result<Self, CoreError> {
        let count = if flushes == Flushes::FirstOfFour { 4 } else { 1 };
        let connect = |uri: &String| (0..count).map(|_| Client::connect(uri)).collect();
        let clients = uris.iter().map(connect).collect::<Result<_, _>>().map_err(nbd_error)?;
        Ok(Self { clients, flushes, written: 0 })
    }

    fn write(&mut self, extent: &Extent) -> Result<(), CoreError> {
        let clients = self.clients.get_mut(extent.disk).ok_or_else(|| {
            let text = format!("the landing log names disk {}, which does not exist", extent.disk);
            CoreError::new(ErrorCode::Store, text)
        })?;
        let turn = self.written % clients.len();
        self.written += 1;
        write(&mut clients[turn], extent.offset, &extent.data)
    }

    /// Makes what was written durable.
    fn flush(&mut self) -> Result<(), CoreError> {
        if self.flushes == Flushes::None {
            return Ok(());
        }
        let firsts = self.clients.iter_mut().filter_map(|clients| clients.first_mut());
        firsts.into_iter().try_for_each(|client| client.flush().map_err(nbd_error))
    }
}
