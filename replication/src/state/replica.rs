//! Replication of an item in one direction.

use contract::{
    Bytes, ChangeId, ChangesUnavailable, Consistency, CoreError, DiskId, DiskSnapshot, ErrorCode,
    GroupPointId, ItemId, PointId, RecoveryPoint, Resynchronisation, Side, SnapshotDisk, Timestamp,
    Verification, VolumeId,
};
use serde::{Deserialize, Serialize};

use crate::error::unknown;

/// Between the item's id and the numbers in the id of a recovery point.
const POINT: &str = "-point-";

/// The volume of each disk, in the machine's order.
pub(crate) type Volumes = Vec<(DiskId, VolumeId)>;

/// A transfer in the landing log that is not processed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Landed {
    /// Counted from 1 since replication in this direction began.
    pub(crate) number: u64,
    pub(crate) change: ChangeId,
    pub(crate) time: Timestamp,
    pub(crate) bytes: u64,
    pub(crate) consistency: Consistency,
    pub(crate) multi_vm: Option<GroupPointId>,
}

impl Landed {
    /// The id under which the transfer is listed until it becomes a recovery point.
    pub(crate) fn point_id(&self, item: &ItemId) -> PointId {
        PointId(format!("{item}-landed-{}", self.number))
    }
}

/// A merge of expired points that has begun. Until it is done, the volumes above `into` may or may
/// not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingMerge {
    /// The oldest point that is kept.
    pub(crate) keep: PointId,
    /// The volumes that its content is merged into: those of the oldest expired point.
    pub(crate) into: Volumes,
}

/// Replication in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replica {
    /// The side that receives.
    pub(crate) side: Side,
    /// Unique number of this direction's round; distinguishes its points and volumes from those of
    /// earlier rounds.
    pub(crate) round: u64,
    /// The volumes below all recovery points.
    pub(crate) base: Volumes,
    /// Sizes of the machine's disks when replication in this direction began, and so those of the
    /// volumes.
    #[serde(default)]
    pub(crate) sizes: Vec<Bytes>,
    /// The source's disks when replication in this direction began. Empty in a record that an
    /// earlier release has stored.
    #[serde(default)]
    pub(crate) disks: Vec<DiskId>,
    /// Processed points, oldest first.
    pub(crate) points: Vec<RecoveryPoint>,
    /// Transfers that are received and not processed, oldest first.
    pub(crate) landed: Vec<Landed>,
    /// The source's change id up to which data has been received.
    pub(crate) received: Option<ChangeId>,
    /// Why the transfer under way compares whole disks, if it does.
    #[serde(default)]
    pub(crate) resynchronising: Option<ChangesUnavailable>,
    /// The latest transfers that compared whole disks, oldest first.
    #[serde(default)]
    pub(crate) resynchronised: Vec<Resynchronisation>,
    /// What the last verification found.
    #[serde(default)]
    pub(crate) verified: Option<Verification>,
    /// A merge of expired points that has begun.
    pub(crate) pending_merge: Option<PendingMerge>,
    /// Transfers received since replication in this direction began.
    pub(crate) received_count: u64,
    /// Points processed since replication in this direction began.
    pub(crate) processed_count: u64,
}

impl Replica {
    pub(crate) fn new(side: Side, round: u64, base: Volumes) -> Self {
        Self {
            side,
            round,
            base,
            sizes: Vec::new(),
            disks: Vec::new(),
            points: Vec::new(),
            landed: Vec::new(),
            received: None,
            resynchronising: None,
            resynchronised: Vec::new(),
            verified: None,
            pending_merge: None,
            received_count: 0,
            processed_count: 0,
        }
    }

    /// The first disk of a snapshot that no longer has the size of its replica.
    pub(crate) fn resized<'a>(&self, snapshot: &'a DiskSnapshot) -> Option<(&'a SnapshotDisk, Bytes)> {
        let mut disks = snapshot.disks.iter().zip(self.sizes.iter().copied());
        disks.find(|(disk, size)| disk.size != *size)
    }

    /// Whether a snapshot has other disks than the source had when replication began: one was
    /// added, removed, or has another place.
    pub(crate) fn has_other_disks(&self, snapshot: &DiskSnapshot) -> bool {
        let ids = snapshot.disks.iter().map(|disk| &disk.id);
        !self.disks.is_empty() && !ids.eq(self.disks.iter())
    }

    /// Adds the point of a transfer that is the newest.
    pub(crate) fn add_processed(&mut self, point: RecoveryPoint) {
        self.points.push(point);
        self.processed_count += 1;
    }

    /// Volumes with the newest processed content.
    pub(crate) fn head(&self) -> &Volumes {
        self.points.last().map_or(&self.base, |point| &point.volumes)
    }

    /// The id of this round's point `number`. Ids contain the round, so that an id noted in an
    /// earlier round never means another point.
    pub(crate) fn point_id(&self, item: &ItemId, number: u64) -> PointId {
        PointId(format!("{item}{POINT}{}-{number}", self.round))
    }

    /// The error for a point that does not exist: it is not processed yet, has expired, or never
    /// existed.
    pub(crate) fn missing(&self, item: &ItemId, id: &PointId) -> CoreError {
        if self.landed.iter().any(|landed| landed.point_id(item) == *id) {
            let text = format!("recovery point {id} is not processed yet");
            return CoreError::new(ErrorCode::NoRecoveryPoint, text);
        }
        let numbers = id.0.strip_prefix(&format!("{item}{POINT}")).and_then(|rest| rest.split_once('-'));
        let numbers = numbers.and_then(|(round, number)| Some((round.parse().ok()?, number.parse().ok()?)));
        let existed = |numbers: (u64, u64)| {
            numbers.0 < self.round || numbers.0 == self.round && numbers.1 <= self.processed_count
        };
        if numbers.is_some_and(existed) {
            let text = format!("recovery point {id} no longer exists; choose a newer one");
            return CoreError::new(ErrorCode::PointExpired, text);
        }
        unknown("recovery point", id)
    }

    /// Time of the newest received data; `None` before the first point.
    pub(crate) fn received_at(&self) -> Option<Timestamp> {
        let landed = self.landed.last().map(|landed| landed.time);
        landed.or_else(|| self.points.last().map(|point| point.time))
    }

    /// Time of the newest received data that is application-consistent.
    pub(crate) fn last_app_consistent(&self) -> Option<Timestamp> {
        let landed = self.landed.iter().rev().find(|landed| landed.consistency == Consistency::App);
        let point = || self.points.iter().rev().find(|point| point.consistency == Consistency::App);
        landed.map(|landed| landed.time).or_else(|| point().map(|point| point.time))
    }

    pub(crate) fn point(&self, id: &PointId) -> Option<&RecoveryPoint> {
        self.points.iter().find(|point| point.id == *id)
    }
}
