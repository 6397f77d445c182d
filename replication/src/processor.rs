//! The processor: turns what landed into recovery points.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{Access, Bytes, CoreError, DiskId, ErrorCode, ItemId, Platform, RecoveryPoint, VolumeId};
use nbd::Client;

use crate::core::Inner;
use crate::exports::open_all;
use crate::item::{Item, Landed, Replica, Volumes};
use crate::landing::{self, Reader};
use crate::tap::Tap;
use crate::thinning::thin_out;
use crate::transfer::{blocking, link};

/// Processes everything that has landed. Returns how many points were made.
pub(crate) async fn process_all(core: &Inner, item: &Item) -> Result<u64, CoreError> {
    let _one_at_a_time = item.processing.lock().await;
    let mut made = 0;
    loop {
        let next = {
            let record = item.record.lock().await;
            record.replica.as_ref().and_then(|replica| replica.landed.first().cloned())
        };
        let Some(landed) = next else { break };
        process_one(core, item, &landed).await?;
        made += 1;
    }
    thin_out(core, item).await?;
    Ok(made)
}

async fn process_one(core: &Inner, item: &Item, landed: &Landed) -> Result<(), CoreError> {
    let (platform, head, names, id) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        // The same name at every attempt, so that a leftover of an earlier one is found.
        let names = volumes_for(&item.id, replica, landed.number);
        (
            core.platform(&record.on(replica.side).0)?,
            replica.head().clone(),
            names,
            replica.name_point(&item.id, landed.number),
        )
    };
    let path = landing::path(&core.landing_dir(&item.id), landed.number);
    let volumes: Volumes = head.iter().map(|(disk, _)| disk.clone()).zip(names).collect();
    let built = async {
        for ((_, below), (_, name)) in head.iter().zip(&volumes) {
            platform.delete_volume(name).await?;
            platform.derive_volume(name, below).await?;
        }
        apply(&platform, path.clone(), &volumes, landed.number, core.tap()).await
    };
    if let Err(error) = built.await {
        // Half a point is none; the next attempt makes new ones.
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
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.landed.retain(|other| other.number != landed.number);
            replica.points.push(point);
            replica.processed_count += 1;
        }
    })
    .await?;
    // The point is stored; what it was made of is needed no more.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// What the volumes of a transfer's point are named: the same at every attempt.
fn volumes_for(item: &ItemId, replica: &Replica, number: u64) -> Vec<VolumeId> {
    let name = |disk: &DiskId| VolumeId(format!("{item}-{disk}-r{}p{number}", replica.round));
    replica.base.iter().map(|(disk, _)| name(disk)).collect()
}

/// Deletes what attempts to process left behind that could not clean up after themselves: no volume may stand on a
/// point that is merged or deleted.
pub(crate) async fn delete_unfinished(
    platform: &Arc<dyn Platform>,
    item: &ItemId,
    replica: &Replica,
) -> Result<(), CoreError> {
    for landed in &replica.landed {
        for volume in volumes_for(item, replica, landed.number) {
            platform.delete_volume(&volume).await?;
        }
    }
    Ok(())
}

/// Writes a transfer into the deltas of a new point.
async fn apply(
    platform: &Arc<dyn Platform>,
    path: PathBuf,
    volumes: &Volumes,
    batch: u64,
    tap: Option<Arc<dyn Tap>>,
) -> Result<(), CoreError> {
    let opened = open_all(platform, volumes, Some(Access::Write)).await?;
    let uris = opened.uris();
    let written = blocking(move || {
        let clients: Result<Vec<_>, _> = uris.iter().map(|uri| Client::connect(uri)).collect();
        let mut clients = clients.map_err(link)?;
        let mut reader = Reader::open(&path)?;
        while let Some(mut extent) = reader.next()? {
            if tap.as_ref().is_some_and(|tap| !tap.pass(batch, &mut extent)) {
                continue;
            }
            let client = clients.get_mut(extent.disk).ok_or_else(|| {
                CoreError::new(ErrorCode::Store, format!("the landing log names disk {}", extent.disk))
            })?;
            write(client, extent.offset, &extent.data)?;
        }
        clients.iter_mut().try_for_each(|client| client.flush().map_err(link))
    })
    .await;
    opened.close(written).await
}

/// Writes content; a stretch of zeroes as such, so that it takes no room.
pub(crate) fn write(client: &mut Client, offset: u64, data: &[u8]) -> Result<(), CoreError> {
    if data.iter().all(|byte| *byte == 0) {
        return client.zero(offset, data.len() as u64).map_err(link);
    }
    client.write(offset, data).map_err(link)
}

pub(crate) fn not_replicating() -> CoreError {
    CoreError::new(ErrorCode::NotAllowedInState, "nothing replicates")
}

/// Name of an item's directory in the landing log; no two items have the same.
pub(crate) fn landing_name(item: &ItemId) -> String {
    let mut name = String::new();
    for c in item.0.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => name.push(c),
            // Writing to a string cannot fail.
            other => drop(write!(name, "_{:x}_", u32::from(other))),
        }
    }
    name
}
