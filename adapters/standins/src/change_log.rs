//! Where the record of changes ends: a log that is full, a record that is lost, and how often a view met either.

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, ChangeId, ChangesUnavailable, DiskId, DiskSnapshot, MachineId, PlatformError,
    PlatformErrorKind as Kind,
};
use harness::machine::format_node;
use harness::qmp::Monitor;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use crate::site::role;
use crate::state::State;
use crate::{StandInSite, TrackingMechanism};

/// How long a view may wait for its turn, and views for their end.
const TURN_WITHIN: Duration = Duration::from_secs(60);

/// While it lives, no machine of the site is viewed: whoever asks for a view waits.
pub struct SnapshotsBlocked {
    _alone: OwnedRwLockWriteGuard<()>,
}

impl StandInSite {
    /// Lets every view that is open come to its end and no other begin. Replication falls behind meanwhile; guests notice
    /// nothing.
    ///
    /// # Errors
    /// A view stays open.
    pub async fn block_snapshots(&self) -> Result<SnapshotsBlocked, PlatformError> {
        let held = async {
            let mut closed = self.closed.subscribe();
            let held = SnapshotsBlocked { _alone: Arc::clone(&self.viewing).write_owned().await };
            loop {
                closed.borrow_and_update();
                if self.state.lock().await.views.is_empty() {
                    return held;
                }
                if closed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        self.in_turn(held).await
    }

    /// Waits until views may be opened.
    pub(crate) async fn snapshot_permit(&self) -> Result<OwnedRwLockReadGuard<()>, PlatformError> {
        self.in_turn(Arc::clone(&self.viewing).read_owned()).await
    }

    async fn in_turn<T>(&self, wait: impl Future<Output = T>) -> Result<T, PlatformError> {
        let waited = tokio::time::timeout(TURN_WITHIN, wait).await;
        waited.map_err(|_| self.refuse(Kind::TimedOut, format!("views were held for {TURN_WITHIN:?}")))
    }

    /// Why views of a machine could not tell changes that were asked for, in order: counted below the core.
    pub async fn changes_unavailable(&self, machine: &MachineId) -> Vec<ChangesUnavailable> {
        self.state
            .lock()
            .await
            .machines
            .get(machine)
            .map(|record| record.changes_unavailable.clone())
            .unwrap_or_default()
    }

    /// Gives up the log of changes since a moment if it has outgrown its share of a disk. Returns whether it has.
    pub(crate) async fn give_up_full_log(
        &self,
        monitor: &Monitor,
        since: &ChangeId,
        disks: &[(DiskId, Bytes)],
    ) -> Result<bool, PlatformError> {
        let TrackingMechanism::ReplicaLog { percent } = self.config.profile.tracking else {
            return Ok(false);
        };
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await;
        let nodes = nodes.map_err(self.failed("look at the log of changes"))?;
        let mut full = false;
        for (disk, size) in disks {
            let logged = logged(&nodes, &format_node(role(disk)), since).ok_or_else(|| {
                self.refuse(
                    Kind::Failed,
                    format!("QEMU does not say how much of {disk} changed since {since}"),
                )
            })?;
            full |= logged.0 * 100 > size.0 * percent;
        }
        if full {
            let remove = |(disk, _): &(DiskId, Bytes)| {
                let data = json!({"node": format_node(role(disk)), "name": since});
                json!({"type": "block-dirty-bitmap-remove", "data": data})
            };
            let actions: Vec<_> = disks.iter().map(remove).collect();
            let given_up = monitor.execute("transaction", json!({"actions": actions})).await;
            given_up.map_err(self.failed("give up the log of changes"))?;
        }
        Ok(full)
    }
}

/// How much of a node changed since a moment.
fn logged(nodes: &Value, node: &str, since: &ChangeId) -> Option<Bytes> {
    let node = nodes.as_array()?.iter().find(|known| known["node-name"] == node)?;
    let bitmap =
        node["dirty-bitmaps"].as_array()?.iter().find(|bitmap| bitmap["name"] == since.0.as_str())?;
    bitmap["count"].as_u64().map(Bytes)
}

impl State {
    /// Completes a view that was asked for changes and cannot tell them of every disk, and takes a note of it.
    pub(crate) fn note_untold(
        &mut self,
        machine: &MachineId,
        asked: bool,
        why: ChangesUnavailable,
        view: &mut DiskSnapshot,
    ) {
        if asked && view.disks.iter().any(|disk| disk.changed.is_none()) {
            view.changes_unavailable = Some(why);
            if let Some(record) = self.machines.get_mut(machine) {
                record.changes_unavailable.push(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_as_large_as_its_bitmap_says() {
        let bitmaps = json!([{"name": "change-1", "count": 65536}, {"name": "change-2", "count": 0}]);
        let nodes = json!([{"node-name": "other"}, {"node-name": "format-data", "dirty-bitmaps": bitmaps}]);
        let since = |moment: &str| logged(&nodes, "format-data", &ChangeId(moment.to_owned()));
        assert_eq!((since("change-1"), since("change-2")), (Some(Bytes(65536)), Some(Bytes(0))));
        assert_eq!((since("change-3"), logged(&nodes, "other", &ChangeId("change-1".into()))), (None, None));
    }
}
