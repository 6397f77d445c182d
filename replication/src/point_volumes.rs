//! The volumes of recovery points: their names, and how they are made, deleted and merged into the
//! base.

use std::sync::Arc;

use contract::{Bytes, CoreError, DiskId, ItemId, Platform, PointId, RecoveryPoint, VolumeId};

use crate::context::Context;
use crate::error::not_replicating;
use crate::state::{Landed, Record, Replica, Volumes};

/// A point that is being made: deltas over the volumes of the newest point.
pub(crate) struct PointBuild {
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) volumes: Volumes,
    below: Volumes,
    id: PointId,
}

impl PointBuild {
    /// The point of transfer `number`. Makes nothing yet.
    pub(crate) fn plan(ctx: &Context, record: &Record, number: u64) -> Result<Self, CoreError> {
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let below = replica.head().clone();
        let names = names(&record.id, replica, number);
        Ok(Self {
            platform: ctx.platform(&record.on(replica.side).0)?,
            volumes: below.iter().map(|(disk, _)| disk.clone()).zip(names).collect(),
            below,
            id: replica.point_id(&record.id, number),
        })
    }

    /// Makes the volumes, and deletes what an earlier attempt has left of them.
    pub(crate) async fn create(&self) -> Result<(), CoreError> {
        for ((_, below), (_, name)) in self.below.iter().zip(&self.volumes) {
            self.platform.delete_volume(name).await?;
            self.platform.derive_volume(name, below).await?;
        }
        Ok(())
    }

    /// Deletes the volumes: an incomplete point is of no use, and the next attempt makes them
    /// again.
    pub(crate) async fn delete(&self) -> Result<(), CoreError> {
        for (_, volume) in &self.volumes {
            self.platform.delete_volume(volume).await?;
        }
        Ok(())
    }

    /// The point, once its volumes hold the content of a transfer.
    pub(crate) fn into_point(self, landed: Landed) -> RecoveryPoint {
        RecoveryPoint {
            id: self.id,
            time: landed.time,
            consistency: landed.consistency,
            processed: true,
            multi_vm: landed.multi_vm,
            change_id: landed.change,
            transferred: Bytes(landed.bytes),
            volumes: self.volumes,
        }
    }
}

/// Volume names for the point of a transfer. Every attempt to process the transfer uses the same,
/// so that it finds the leftovers of an earlier attempt.
fn names(item: &ItemId, replica: &Replica, number: u64) -> Vec<VolumeId> {
    let name = |disk: &DiskId| VolumeId(format!("{item}-{disk}-r{}p{number}", replica.round));
    replica.base.iter().map(|(disk, _)| name(disk)).collect()
}

/// Deletes leftovers of failed attempts to make a point of a transfer: of those that have landed,
/// and of the one after the last that was received. They are deltas over a point, which therefore
/// could be neither merged nor deleted.
pub(crate) async fn delete_unfinished(
    platform: &Arc<dyn Platform>,
    item: &ItemId,
    replica: &Replica,
) -> Result<(), CoreError> {
    let landed = replica.landed.iter().map(|landed| landed.number);
    for number in landed.chain([replica.received_count + 1]) {
        for volume in names(item, replica, number) {
            platform.delete_volume(&volume).await?;
        }
    }
    Ok(())
}

/// Deletes the volumes of points, newest first, but not the base.
pub(crate) async fn delete(
    platform: &Arc<dyn Platform>,
    points: &[RecoveryPoint],
    base: &Volumes,
) -> Result<(), CoreError> {
    for point in points.iter().rev() {
        for (_, volume) in &point.volumes {
            if base.iter().all(|(_, kept)| kept != volume) {
                platform.delete_volume(volume).await?;
            }
        }
    }
    Ok(())
}

/// Merges a point into the base and deletes all newer points. Older points become part of the base.
/// It can be repeated.
pub(crate) async fn merge_into_base(
    platform: &Arc<dyn Platform>,
    item: &ItemId,
    replica: &Replica,
    point: &RecoveryPoint,
) -> Result<(), CoreError> {
    let newer: Vec<_> = replica.points.iter().skip_while(|p| p.id != point.id).skip(1).cloned().collect();
    delete_unfinished(platform, item, replica).await?;
    delete(platform, &newer, &replica.base).await?;
    for ((_, top), (_, base)) in point.volumes.iter().zip(&replica.base) {
        platform.merge_volumes(top, base).await?;
    }
    Ok(())
}
