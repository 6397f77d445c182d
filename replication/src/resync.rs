//! Resynchronisation: transfers for which the source could not name the changes.
//!
//! Such a transfer compares every disk with the replica and sends what differs. This module records
//! it, so that the item shows why a transfer takes long.

use contract::{Bytes, ChangeId, ChangesUnavailable, CoreError, DiskSnapshot, Resynchronisation};

use crate::context::Context;
use crate::item::Item;
use crate::state::Replica;

/// Number of resynchronisations that are remembered.
const REMEMBERED: usize = 16;

/// Why a snapshot that should name the changes since `since` does not; `None` if it does, or need
/// not.
pub(crate) fn needed(since: Option<&ChangeId>, snapshot: &DiskSnapshot) -> Option<ChangesUnavailable> {
    since?;
    let available = snapshot.disks.iter().all(|disk| disk.changed.is_some());
    // A platform that gives no reason has lost its change record.
    (!available).then(|| snapshot.changes_unavailable.unwrap_or(ChangesUnavailable::RecordLost))
}

/// Records that a resynchronisation begins, if `why` gives a reason for one.
pub(crate) async fn begin(
    ctx: &Context,
    item: &Item,
    why: Option<ChangesUnavailable>,
) -> Result<(), CoreError> {
    if why.is_none() {
        return Ok(());
    }
    tracing::warn!(item = %item.id, ?why, "the changes are unavailable; every disk is compared");
    set(ctx, item, why).await
}

/// Records that a resynchronisation has failed. The error itself is recorded elsewhere.
pub(crate) async fn abort(ctx: &Context, item: &Item, why: Option<ChangesUnavailable>) {
    if why.is_some()
        && let Err(error) = set(ctx, item, None).await
    {
        tracing::error!(item = %item.id, %error, "cannot store the end of a resynchronisation");
    }
}

async fn set(ctx: &Context, item: &Item, why: Option<ChangesUnavailable>) -> Result<(), CoreError> {
    ctx.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.resynchronising = why;
        }
    })
    .await
}

/// Message for an item whose resynchronisation is under way.
pub(crate) fn message(why: ChangesUnavailable) -> String {
    format!("{why}; every disk is compared with the replica, and what differs is sent")
}

/// Records a transfer that has landed, as a resynchronisation if `why` gives a reason for one.
pub(crate) fn finish(
    replica: &mut Replica,
    why: Option<ChangesUnavailable>,
    snapshot: &DiskSnapshot,
    sent: Bytes,
) {
    replica.resynchronising = None;
    let Some(why) = why else { return };
    let compared = snapshot.disks.iter().filter(|disk| disk.changed.is_none()).map(|disk| disk.size.0).sum();
    let done = Resynchronisation { at: snapshot.taken_at, why, compared: Bytes(compared), sent };
    replica.resynchronised.push(done);
    let surplus = replica.resynchronised.len().saturating_sub(REMEMBERED);
    replica.resynchronised.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Side, SnapshotDisk, SnapshotId, Timestamp};

    fn snapshot(changed: [bool; 2], changes_unavailable: Option<ChangesUnavailable>) -> DiskSnapshot {
        let disk = |known: bool| SnapshotDisk {
            id: "disk".into(),
            size: Bytes(100),
            uri: String::new(),
            changed: known.then(|| "context".to_owned()),
        };
        let change_id = ChangeId("second".to_owned());
        let id = SnapshotId("snapshot".to_owned());
        DiskSnapshot {
            id,
            taken_at: Timestamp(7),
            change_id,
            disks: changed.map(disk).to_vec(),
            changes_unavailable,
        }
    }

    #[test]
    fn a_resynchronisation_is_needed_only_if_requested_changes_are_unavailable() {
        let first = ChangeId("first".to_owned());
        let full = Some(ChangesUnavailable::LogFull);
        assert_eq!(needed(None, &snapshot([false, false], None)), None);
        assert_eq!(needed(Some(&first), &snapshot([true, true], full)), None);
        assert_eq!(needed(Some(&first), &snapshot([true, false], full)), full);
        assert_eq!(
            needed(Some(&first), &snapshot([false, false], None)),
            Some(ChangesUnavailable::RecordLost)
        );
    }

    #[test]
    fn the_latest_resynchronisations_are_remembered_with_their_cost() {
        let mut replica = Replica::new(Side::Recovery, 1, Vec::new());
        let snapshot = snapshot([true, false], Some(ChangesUnavailable::LogFull));
        for sent in 0..20 {
            finish(&mut replica, snapshot.changes_unavailable, &snapshot, Bytes(sent));
        }
        finish(&mut replica, None, &snapshot, Bytes(99));
        let sent: Vec<_> = replica.resynchronised.iter().map(|done| done.sent.0).collect();
        assert_eq!(sent, (4..20).collect::<Vec<_>>());
        assert_eq!(replica.resynchronised[0].compared, Bytes(100));
    }
}
