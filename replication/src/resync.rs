//! What is told of a transfer for which the source could not say what had changed.
//!
//! The transfer itself is one like others: it compares the disks with the replica and sends what differs.

use contract::{Bytes, ChangeId, ChangesUnavailable, CoreError, DiskSnapshot, Resynchronisation};

use crate::core::Inner;
use crate::item::{Item, Replica};

/// How many are kept in mind.
const KEPT: usize = 16;

/// Why a view has to be compared although it was asked for changes; `None` if it tells them.
pub(crate) fn needed(since: Option<&ChangeId>, view: &DiskSnapshot) -> Option<ChangesUnavailable> {
    since?;
    let tells = view.disks.iter().all(|disk| disk.changed.is_some());
    // A platform that gives no reason has lost them.
    (!tells).then(|| view.changes_unavailable.unwrap_or(ChangesUnavailable::RecordLost))
}

/// Tells that one begins.
pub(crate) async fn begin(
    core: &Inner,
    item: &Item,
    why: Option<ChangesUnavailable>,
) -> Result<(), CoreError> {
    if why.is_none() {
        return Ok(());
    }
    tracing::warn!(item = %item.id, ?why, "changes cannot be told; every disk is compared");
    show(core, item, why).await
}

/// Tells that one broke off. Why it did is told elsewhere.
pub(crate) async fn break_off(core: &Inner, item: &Item, why: Option<ChangesUnavailable>) {
    if why.is_some()
        && let Err(error) = show(core, item, None).await
    {
        tracing::error!(item = %item.id, %error, "the end of a resynchronisation could not be stored");
    }
}

async fn show(core: &Inner, item: &Item, why: Option<ChangesUnavailable>) -> Result<(), CoreError> {
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.resynchronising = why;
        }
    })
    .await
}

/// In words, while it is under way.
pub(crate) fn told(why: ChangesUnavailable) -> String {
    format!("{why}; every disk is compared with the replica, and what differs is sent")
}

/// Notes one that has landed.
pub(crate) fn note(replica: &mut Replica, why: Option<ChangesUnavailable>, view: &DiskSnapshot, sent: Bytes) {
    replica.resynchronising = None;
    let Some(why) = why else { return };
    let compared = view.disks.iter().filter(|disk| disk.changed.is_none()).map(|disk| disk.size.0).sum();
    let done = Resynchronisation { at: view.taken_at, why, compared: Bytes(compared), sent };
    replica.resynchronised.push(done);
    let surplus = replica.resynchronised.len().saturating_sub(KEPT);
    replica.resynchronised.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Side, SnapshotDisk, SnapshotId, Timestamp};

    fn view(changed: [bool; 2], changes_unavailable: Option<ChangesUnavailable>) -> DiskSnapshot {
        let disk = |told: bool| SnapshotDisk {
            id: "disk".into(),
            size: Bytes(100),
            uri: String::new(),
            changed: told.then(|| "context".to_owned()),
        };
        let change_id = ChangeId("second".to_owned());
        let id = SnapshotId("view".to_owned());
        DiskSnapshot {
            id,
            taken_at: Timestamp(7),
            change_id,
            disks: changed.map(disk).to_vec(),
            changes_unavailable,
        }
    }

    #[test]
    fn only_changes_that_were_asked_for_and_are_not_told_are_missed() {
        let first = ChangeId("first".to_owned());
        let full = Some(ChangesUnavailable::LogFull);
        assert_eq!(needed(None, &view([false, false], None)), None);
        assert_eq!(needed(Some(&first), &view([true, true], full)), None);
        assert_eq!(needed(Some(&first), &view([true, false], full)), full);
        assert_eq!(needed(Some(&first), &view([false, false], None)), Some(ChangesUnavailable::RecordLost));
    }

    #[test]
    fn the_last_ones_are_kept_with_what_they_cost() {
        let mut replica = Replica::new(Side::Recovery, 1, Vec::new());
        let view = view([true, false], Some(ChangesUnavailable::LogFull));
        for sent in 0..20 {
            note(&mut replica, view.changes_unavailable, &view, Bytes(sent));
        }
        note(&mut replica, None, &view, Bytes(99));
        let sent: Vec<_> = replica.resynchronised.iter().map(|done| done.sent.0).collect();
        assert_eq!(sent, (4..20).collect::<Vec<_>>());
        assert_eq!(replica.resynchronised[0].compared, Bytes(100));
    }
}
