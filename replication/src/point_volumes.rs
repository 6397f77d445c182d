//! The volumes of recovery points: their names, and how they are deleted and merged into the base.

use std::sync::Arc;

use contract::{CoreError, DiskId, ItemId, Platform, RecoveryPoint, VolumeId};

use crate::state::{Replica, Volumes};

/// Volume names for the point of a transfer. Every attempt to process the transfer uses the same,
/// so that it finds the leftovers of an earlier attempt.
pub(crate) fn names(item: &ItemId, replica: &Replica, number: u64) -> Vec<VolumeId> {
    let name = |disk: &DiskId| VolumeId(format!("{item}-{disk}-r{}p{number}", replica.round));
    replica.base.iter().map(|(disk, _)| name(disk)).collect()
}

/// Deletes leftovers of failed attempts to process a transfer. They are deltas over a point, which
/// therefore could be neither merged nor deleted.
pub(crate) async fn delete_unfinished(
    platform: &Arc<dyn Platform>,
    item: &ItemId,
    replica: &Replica,
) -> Result<(), CoreError> {
    for landed in &replica.landed {
        for volume in names(item, replica, landed.number) {
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
