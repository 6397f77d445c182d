//! The limits of change tracking: a full log, a lost record, and how often a snapshot met either.

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, ChangeId, ChangesUnavailable, DiskId, DiskSnapshot, MachineId, PlatformError,
    PlatformErrorKind as Kind,
};
use harness::Error;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use crate::state::State;
use crate::{Boot, StandInSite, TrackingMechanism};

/// Time limit for a snapshot to wait until it is allowed, and for open snapshots to close.
const TURN_WITHIN: Duration = Duration::from_secs(60);

/// While it exists, no snapshot of the site's machines can be opened: requests wait.
pub struct SnapshotsBlocked {
    _alone: OwnedRwLockWriteGuard<()>,
}

impl StandInSite {
    /// Waits until every open snapshot is closed, and blocks new ones. Replication falls behind
    /// meanwhile; guests are not affected.
    ///
    /// # Errors
    /// A snapshot stays open.
    pub async fn block_snapshots(&self) -> Result<SnapshotsBlocked, PlatformError> {
        let blocked = async {
            let mut closed = self.closed.subscribe();
            let blocked = SnapshotsBlocked { _alone: Arc::clone(&self.snapshotting).write_owned().await };
            loop {
                closed.borrow_and_update();
                if self.state.lock().await.snapshots.is_empty() {
                    return blocked;
                }
                if closed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let waited = tokio::time::timeout(TURN_WITHIN, blocked).await;
        // The core that opened a snapshot has to close it.
        waited.map_err(|_| self.refuse(Kind::TimedOut, format!("a snapshot stays open for {TURN_WITHIN:?}")))
    }

    /// Waits until a snapshot may be opened.
    pub(crate) async fn snapshot_permit(&self) -> Result<OwnedRwLockReadGuard<()>, PlatformError> {
        let permit = Arc::clone(&self.snapshotting).read_owned();
        let waited = tokio::time::timeout(TURN_WITHIN, permit).await;
        waited.map_err(|_| self.failed("open a snapshot")(still_blocked()))
    }

    /// Why changes that were asked for were not available, for each such snapshot of a machine in
    /// order; recorded below the core.
    pub async fn changes_unavailable(&self, machine: &MachineId) -> Vec<ChangesUnavailable> {
        self.state
            .lock()
            .await
            .machines
            .get(machine)
            .map(|record| record.changes_unavailable.clone())
            .unwrap_or_default()
    }

    /// How many snapshots of a machine were opened with the question what had changed; counted
    /// below the core.
    pub async fn changes_asked_for(&self, machine: &MachineId) -> u64 {
        self.state.lock().await.machines.get(machine).map_or(0, |record| record.changes_asked_for)
    }

    /// Discards the change log since a snapshot if it has outgrown its share of a disk. Returns
    /// whether it has.
    pub(crate) async fn discard_full_log(
        &self,
        boot: &Boot,
        since: &ChangeId,
        disks: &[(DiskId, Bytes)],
    ) -> Result<bool, PlatformError> {
        let TrackingMechanism::ReplicaLog { percent } = self.config.profile.tracking else {
            return Ok(false);
        };
        let monitor = boot.guest.monitor();
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await;
        let nodes = nodes.map_err(self.failed("query the size of the change log"))?;
        let mut full = false;
        for (disk, size) in disks {
            let logged = logged(&nodes, boot.format_node(disk), since).ok_or_else(|| {
                self.refuse(
                    Kind::Failed,
                    format!("QEMU does not report how much of {disk} changed since {since}"),
                )
            })?;
            full |= logged.0 * 100 > size.0 * percent;
        }
        if full {
            let remove = |(disk, _): &(DiskId, Bytes)| {
                let data = json!({"node": boot.format_node(disk), "name": since});
                json!({"type": "block-dirty-bitmap-remove", "data": data})
            };
            let actions: Vec<_> = disks.iter().map(remove).collect();
            let discarded = monitor.execute("transaction", json!({"actions": actions})).await;
            discarded.map_err(self.failed("discard the change log"))?;
        }
        Ok(full)
    }
}

/// The error of a snapshot that was not allowed in time. Only the suite blocks snapshots.
fn still_blocked() -> Error {
    Error::HostTimedOut {
        awaited: "the end of a block on snapshots".to_owned(),
        bound: TURN_WITHIN,
        seen: "they are still blocked".to_owned(),
    }
}

/// Bytes of a node that changed since a snapshot.
fn logged(nodes: &Value, node: &str, since: &ChangeId) -> Option<Bytes> {
    let node = nodes.as_array()?.iter().find(|known| known["node-name"] == node)?;
    let bitmap =
        node["dirty-bitmaps"].as_array()?.iter().find(|bitmap| bitmap["name"] == since.0.as_str())?;
    bitmap["count"].as_u64().map(Bytes)
}

impl State {
    /// Records that changes were asked for, if they were. If they are not available for every disk,
    /// marks the snapshot and records the reason.
    pub(crate) fn record_answer_about_changes(
        &mut self,
        machine: &MachineId,
        asked: bool,
        why: ChangesUnavailable,
        snapshot: &mut DiskSnapshot,
    ) {
        if !asked {
            return;
        }
        let unavailable = snapshot.disks.iter().any(|disk| disk.changed.is_none());
        snapshot.changes_unavailable = unavailable.then_some(why);
        if let Some(record) = self.machines.get_mut(machine) {
            record.changes_asked_for += 1;
            record.changes_unavailable.extend(snapshot.changes_unavailable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_stays_blocked_is_no_doing_of_a_core() {
        assert!(matches!(still_blocked(), Error::HostTimedOut { .. }));
    }

    #[test]
    fn the_size_of_the_log_is_the_count_of_its_bitmap() {
        let bitmaps = json!([{"name": "change-1", "count": 65536}, {"name": "change-2", "count": 0}]);
        let nodes = json!([{"node-name": "other"}, {"node-name": "format-data", "dirty-bitmaps": bitmaps}]);
        let since = |moment: &str| logged(&nodes, "format-data", &ChangeId(moment.to_owned()));
        assert_eq!((since("change-1"), since("change-2")), (Some(Bytes(65536)), Some(Bytes(0))));
        assert_eq!((since("change-3"), logged(&nodes, "other", &ChangeId("change-1".into()))), (None, None));
    }
}
